//! Rows: the shapes of what is seen, and what may be asked of them. `picture` fills them.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::params::{Asks, Params};
use super::shape::{GuestKind, NodeStatus, Time};

/// Whether a picture may be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Freshness {
    /// As recent as it should be.
    Fresh,
    /// Older than it should be, or the cluster cannot be seen just now: how it was, not how it is.
    Stale,
    /// Nothing was seen yet since Jarvis started.
    Unseen,
}

/// Which picture of a cluster something was taken from.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Picture {
    /// The cluster.
    pub(super) cluster: String,
    /// Whether it may be believed.
    pub(super) freshness: Freshness,
    /// When PVE was asked.
    pub(super) seen_at: Option<Time>,
    /// Seconds since then.
    pub(super) age_seconds: Option<u64>,
}

/// A watched cluster.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cluster {
    /// Its name in the configuration, and its id.
    pub(super) cluster: String,
    /// Whether the last rounds saw it.
    pub(super) seeing: bool,
    /// The vote, and when it was seen.
    pub(super) quorum: Quorum,
    /// How many nodes there are.
    pub(super) nodes: Count,
    /// How many guests there are, without templates, which never run.
    pub(super) guests: Count,
    /// How many storages there are, one for each node that has it.
    pub(super) storages: Count,
    /// Incidents that are not over.
    pub(super) open_incidents: u64,
}

/// The vote.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Quorum {
    pub(super) picture: Picture,
    /// Whether the answering node is on the side that may decide.
    pub(super) quorate: Option<bool>,
    /// Votes online.
    pub(super) votes_online: Option<u32>,
    /// Votes in all.
    pub(super) votes_expected: Option<u32>,
}

/// How many of something.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Count {
    pub(super) picture: Picture,
    /// All of them.
    pub(super) total: Option<u64>,
    /// Those that are online, running, active.
    pub(super) up: Option<u64>,
}

/// The clusters.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ClusterList {
    /// In the configuration's order.
    pub(super) items: Vec<Cluster>,
}

/// A node.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Node {
    /// `CLUSTER/node/NAME`.
    #[schema(example = "lab/node/pve1")]
    pub(super) id: String,
    /// Whose it is.
    pub(super) cluster: String,
    /// Its name.
    pub(super) node: String,
    /// Where it is reached, as its cluster says; its name where that is not known.
    pub(super) address: String,
    /// Whether it is a member.
    pub(super) status: NodeStatus,
    /// HA's word for its state, where HA is used (`online`, `maintenance`).
    pub(super) ha_state: Option<String>,
    /// Of all its cores, 0 to 1.
    pub(super) cpu_fraction: Option<f64>,
    /// How many it has.
    pub(super) cpu_cores: Option<f64>,
    pub(super) memory_used_bytes: Option<u64>,
    pub(super) memory_total_bytes: Option<u64>,
    /// Of the root disk.
    pub(super) disk_used_bytes: Option<u64>,
    /// Of the root disk.
    pub(super) disk_total_bytes: Option<u64>,
    /// Since its boot.
    pub(super) uptime_seconds: Option<u64>,
    /// By sensor; empty where there is no source.
    pub(super) temperatures_celsius: BTreeMap<String, f64>,
}

/// A virtual machine or container.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Guest {
    /// `CLUSTER/KIND/VMID`.
    #[schema(example = "lab/qemu/101")]
    pub(super) id: String,
    /// Whose it is.
    pub(super) cluster: String,
    /// Virtual machine or container.
    pub(super) kind: GuestKind,
    /// PVE's number.
    pub(super) vmid: u32,
    /// Its name, where PVE knows one.
    pub(super) name: Option<String>,
    /// The node that has it.
    pub(super) node: String,
    /// `running`, `stopped`, `paused`, `unknown` (nothing is known just now), or PVE's word for another run state.
    pub(super) status: String,
    /// Whether it is a template, which never runs.
    pub(super) template: bool,
    /// In PVE's order.
    pub(super) tags: Vec<String>,
    /// The pool it is in.
    pub(super) pool: Option<String>,
    /// PVE's word for what holds it (`backup`, `migrate`).
    pub(super) lock: Option<String>,
    /// HA's word for its state, where HA manages it.
    pub(super) ha_state: Option<String>,
    /// Of its cores, 0 to 1.
    pub(super) cpu_fraction: Option<f64>,
    /// How many it has; a container's limit may be a fraction.
    pub(super) cpu_cores: Option<f64>,
    pub(super) memory_used_bytes: Option<u64>,
    pub(super) memory_total_bytes: Option<u64>,
    /// Of a container; the inside of a virtual machine PVE does not see.
    pub(super) disk_used_bytes: Option<u64>,
    pub(super) disk_total_bytes: Option<u64>,
    /// Received since its start.
    pub(super) network_in_bytes: Option<u64>,
    /// Sent since its start.
    pub(super) network_out_bytes: Option<u64>,
    /// Since its start.
    pub(super) uptime_seconds: Option<u64>,
}

/// A storage as one node sees it; a shared one is there once for each node.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Storage {
    /// `CLUSTER/storage/NODE/NAME`.
    #[schema(example = "lab/storage/pve1/local")]
    pub(super) id: String,
    /// Whose it is.
    pub(super) cluster: String,
    /// Its name.
    pub(super) storage: String,
    /// The node that sees it.
    pub(super) node: String,
    /// PVE's word for what it is (`dir`, `zfspool`, `nfs`); empty where PVE does not say.
    pub(super) r#type: String,
    /// Whether the node reaches it.
    pub(super) active: bool,
    /// Whether it is the same one on every node.
    pub(super) shared: bool,
    pub(super) used_bytes: Option<u64>,
    pub(super) free_bytes: Option<u64>,
    pub(super) total_bytes: Option<u64>,
    /// What may lie on it (`images`, `backup`).
    pub(super) content: Vec<String>,
}

macro_rules! lists {
    ($($(#[$doc:meta])* $name:ident of $item:ident),+) => {
        $($(#[$doc])*
        #[derive(Debug, Serialize, ToSchema)]
        pub(super) struct $name {
            /// The rows of this page.
            pub(super) items: Vec<$item>,
            /// What to give as `cursor` for the next page; absent at the end.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub(super) next: Option<String>,
            /// What the rows were taken from, one for each cluster.
            pub(super) pictures: Vec<Picture>,
        })+
    };
}

lists! {
    /// A page of nodes, by cluster and name.
    NodeList of Node,
    /// A page of guests, by cluster and number.
    GuestList of Guest,
    /// A page of storages, by cluster, name and node.
    StorageList of Storage
}

macro_rules! one {
    ($($(#[$doc:meta])* $name:ident of $item:ident),+) => {
        $($(#[$doc])*
        #[derive(Debug, Serialize, ToSchema)]
        pub(super) struct $name {
            /// What it was taken from.
            pub(super) picture: Picture,
            pub(super) item: $item,
        })+
    };
}

one! {
    /// One node.
    NodeSeen of Node,
    /// One guest.
    GuestSeen of Guest
}

/// Which nodes.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct NodesAsked {
    /// Most rows in the answer.
    #[param(minimum = 1, maximum = 1000, default = 50)]
    pub(super) limit: u32,
    /// Where to go on: `next` of the page before.
    #[param(min_length = 1, max_length = 400)]
    pub(super) cursor: Option<String>,
    /// Membership.
    #[param(inline)]
    pub(super) status: Option<NodeStatus>,
    /// Part of the name, whatever its case.
    #[param(min_length = 1, max_length = 100)]
    pub(super) name: Option<String>,
}

impl Asks for NodesAsked {
    fn read(params: &mut Params) -> NodesAsked {
        NodesAsked {
            limit: params.limit(),
            cursor: params.cursor(),
            status: params.choice("status", NodeStatus::ALL).map(Into::into),
            name: params.part("name"),
        }
    }
}

/// Which guests.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct GuestsAsked {
    /// Most rows in the answer.
    #[param(minimum = 1, maximum = 1000, default = 50)]
    pub(super) limit: u32,
    /// Where to go on: `next` of the page before.
    #[param(min_length = 1, max_length = 400)]
    pub(super) cursor: Option<String>,
    /// Virtual machines or containers.
    #[param(inline)]
    pub(super) kind: Option<GuestKind>,
    /// The state in PVE's word.
    #[param(min_length = 1, max_length = 200)]
    pub(super) status: Option<String>,
    /// On this node.
    #[param(min_length = 1, max_length = 200)]
    pub(super) node: Option<String>,
    /// With this tag.
    #[param(min_length = 1, max_length = 200)]
    pub(super) tag: Option<String>,
    /// In this pool.
    #[param(min_length = 1, max_length = 200)]
    pub(super) pool: Option<String>,
    /// Templates only, or none.
    pub(super) template: Option<bool>,
    /// Part of the name, whatever its case.
    #[param(min_length = 1, max_length = 100)]
    pub(super) name: Option<String>,
}

impl Asks for GuestsAsked {
    fn read(params: &mut Params) -> GuestsAsked {
        GuestsAsked {
            limit: params.limit(),
            cursor: params.cursor(),
            kind: params.choice("kind", GuestKind::ALL).map(Into::into),
            status: params.word("status"),
            node: params.word("node"),
            tag: params.word("tag"),
            pool: params.word("pool"),
            template: params.flag("template"),
            name: params.part("name"),
        }
    }
}

/// Which storages.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StoragesAsked {
    /// Most rows in the answer.
    #[param(minimum = 1, maximum = 1000, default = 50)]
    pub(super) limit: u32,
    /// Where to go on: `next` of the page before.
    #[param(min_length = 1, max_length = 400)]
    pub(super) cursor: Option<String>,
    /// As this node sees them.
    #[param(min_length = 1, max_length = 200)]
    pub(super) node: Option<String>,
    /// PVE's word for what they are.
    #[param(min_length = 1, max_length = 200)]
    pub(super) r#type: Option<String>,
    /// Those that are reached, or those that are not.
    pub(super) active: Option<bool>,
    /// Part of the name, whatever its case.
    #[param(min_length = 1, max_length = 100)]
    pub(super) name: Option<String>,
}

impl Asks for StoragesAsked {
    fn read(params: &mut Params) -> StoragesAsked {
        StoragesAsked {
            limit: params.limit(),
            cursor: params.cursor(),
            node: params.word("node"),
            r#type: params.word("type"),
            active: params.flag("active"),
            name: params.part("name"),
        }
    }
}

/// Whose.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct WhoseAsked {
    /// Of this cluster only.
    #[param(min_length = 1, max_length = 200)]
    pub(super) cluster: Option<String>,
}

impl Asks for WhoseAsked {
    fn read(params: &mut Params) -> WhoseAsked {
        WhoseAsked { cluster: params.word("cluster") }
    }
}
