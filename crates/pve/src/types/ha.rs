//! High availability: `/cluster/ha/status/current` for people, `.../manager_status` for machines.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use super::open_enum;
use crate::ids::NodeName;
use crate::lenient;

open_enum! {
    /// What HA does with a service. In `/cluster/resources` it is the wished state until HA has looked at it.
    HaState {
        Started = "started",
        Stopped = "stopped",
        Queued = "queued",
        RequestStart = "request_start",
        RequestStartBalance = "request_start_balance",
        RequestStop = "request_stop",
        Migrate = "migrate",
        Relocate = "relocate",
        Fence = "fence",
        Recovery = "recovery",
        /// HA waits, because its node is being restarted on purpose.
        Freeze = "freeze",
        /// HA has given up; a human must set the service to disabled.
        Error = "error",
        Enabled = "enabled",
        Disabled = "disabled",
        /// HA leaves it to others.
        Ignored = "ignored",
        Starting = "starting",
        Stopping = "stopping",
        Deleting = "deleting",
    }
}

open_enum! {
    /// What HA thinks of a node.
    HaNodeState {
        Online = "online",
        Maintenance = "maintenance",
        Unknown = "unknown",
        Fence = "fence",
        Gone = "gone",
    }
}

/// A row of `/cluster/ha/status/current`. `status` is a sentence for people, with a date in it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(from = "Flat")]
pub enum HaRow {
    Quorum(HaQuorum),
    Master(HaMaster),
    Lrm(HaLrm),
    Service(Box<HaService>),
    Fencing(HaFencing),
    Other { kind: Box<str>, id: Box<str> },
}

#[derive(Clone, Debug, PartialEq)]
pub struct HaQuorum {
    pub node: Option<NodeName>,
    pub quorate: Option<bool>,
    pub status: Option<Box<str>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct HaMaster {
    pub node: Option<NodeName>,
    /// More than 30 s old: the master is dead.
    pub timestamp: Option<Timestamp>,
    pub status: Option<Box<str>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct HaLrm {
    pub node: Option<NodeName>,
    pub timestamp: Option<Timestamp>,
    pub status: Option<Box<str>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct HaService {
    /// `vm:101`, `ct:200`.
    pub sid: Option<Box<str>>,
    pub node: Option<NodeName>,
    pub state: Option<HaState>,
    pub crm_state: Option<HaState>,
    pub request_state: Option<HaState>,
    pub max_restart: Option<u32>,
    pub max_relocate: Option<u32>,
    pub failback: Option<bool>,
    pub comment: Option<Box<str>>,
    pub status: Option<Box<str>>,
}

/// From PVE 9.2 on: whether HA may act at all.
#[derive(Clone, Debug, PartialEq)]
pub struct HaFencing {
    pub node: Option<NodeName>,
    /// armed, standby, disarmed, ..
    pub armed_state: Option<Box<str>>,
    pub status: Option<Box<str>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Flat {
    #[serde(rename = "type", deserialize_with = "lenient::text")]
    kind: Option<Box<str>>,
    #[serde(deserialize_with = "lenient::text")]
    id: Option<Box<str>>,
    #[serde(deserialize_with = "lenient::node")]
    node: Option<NodeName>,
    #[serde(deserialize_with = "lenient::text")]
    status: Option<Box<str>>,
    #[serde(deserialize_with = "lenient::flag")]
    quorate: Option<bool>,
    #[serde(deserialize_with = "lenient::time")]
    timestamp: Option<Timestamp>,
    #[serde(deserialize_with = "lenient::text")]
    sid: Option<Box<str>>,
    #[serde(deserialize_with = "lenient::word")]
    state: Option<HaState>,
    #[serde(deserialize_with = "lenient::word")]
    crm_state: Option<HaState>,
    #[serde(deserialize_with = "lenient::word")]
    request_state: Option<HaState>,
    #[serde(deserialize_with = "lenient::small")]
    max_restart: Option<u32>,
    #[serde(deserialize_with = "lenient::small")]
    max_relocate: Option<u32>,
    #[serde(deserialize_with = "lenient::flag")]
    failback: Option<bool>,
    #[serde(deserialize_with = "lenient::text")]
    comment: Option<Box<str>>,
    #[serde(rename = "armed-state", deserialize_with = "lenient::text")]
    armed_state: Option<Box<str>>,
}

impl From<Flat> for HaRow {
    fn from(row: Flat) -> HaRow {
        let Flat { kind, id, node, status, quorate, timestamp, armed_state, .. } = row;
        let kind = kind.unwrap_or_default();
        match &*kind {
            "quorum" => HaRow::Quorum(HaQuorum { node, quorate, status }),
            "master" => HaRow::Master(HaMaster { node, timestamp, status }),
            "lrm" => HaRow::Lrm(HaLrm { node, timestamp, status }),
            "fencing" => HaRow::Fencing(HaFencing { node, armed_state, status }),
            "service" => HaRow::Service(Box::new(HaService {
                sid: row.sid,
                node,
                state: row.state,
                crm_state: row.crm_state,
                request_state: row.request_state,
                max_restart: row.max_restart,
                max_relocate: row.max_relocate,
                failback: row.failback,
                comment: row.comment,
                status,
            })),
            _ => HaRow::Other { kind, id: id.unwrap_or_default() },
        }
    }
}

/// `/cluster/ha/status/manager_status`: HA's own notes. Empty parts where HA was never used.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct HaManagerStatus {
    pub manager_status: ManagerStatus,
    pub lrm_status: BTreeMap<NodeName, LrmStatus>,
    pub quorum: ManagerQuorum,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ManagerQuorum {
    #[serde(deserialize_with = "lenient::node")]
    pub node: Option<NodeName>,
    /// PVE writes `"1"`, and `""` or null for no; so whatever is not yes is no.
    #[serde(deserialize_with = "lenient::flag_or_false")]
    pub quorate: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ManagerStatus {
    #[serde(deserialize_with = "lenient::node")]
    pub master_node: Option<NodeName>,
    #[serde(deserialize_with = "lenient::time")]
    pub timestamp: Option<Timestamp>,
    pub node_status: BTreeMap<NodeName, HaNodeState>,
    /// By sid.
    pub service_status: BTreeMap<Box<str>, ManagedService>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ManagedService {
    #[serde(deserialize_with = "lenient::node")]
    pub node: Option<NodeName>,
    #[serde(deserialize_with = "lenient::word")]
    pub state: Option<HaState>,
    #[serde(deserialize_with = "lenient::flag_or_false")]
    pub running: bool,
    /// Where it is being moved to.
    #[serde(deserialize_with = "lenient::node")]
    pub target: Option<NodeName>,
    #[serde(deserialize_with = "lenient::text")]
    pub uid: Option<Box<str>>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct LrmStatus {
    /// active, restart, shutdown, maintenance: planned downtime shows here.
    #[serde(deserialize_with = "lenient::text")]
    pub mode: Option<Box<str>>,
    /// active, wait_for_agent_lock, lost_agent_lock, maintenance, ..
    #[serde(deserialize_with = "lenient::text")]
    pub state: Option<Box<str>>,
    #[serde(deserialize_with = "lenient::time")]
    pub timestamp: Option<Timestamp>,
}
