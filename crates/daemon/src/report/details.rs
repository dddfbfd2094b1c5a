//! Details: what PVE says of its subjects besides what a page shows: with a guest for `/metrics` and `/api/v1`, of nodes and
//! the cluster for `/metrics` alone.

use std::collections::BTreeMap;

use engine::observe::{ClusterName, NodeName};

/// Of one cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Details {
    /// Of each node.
    pub nodes: BTreeMap<NodeName, NodeDetails>,
    /// Of the cluster; none on a node that is in none.
    pub cluster: Option<ClusterInfo>,
}

/// Of a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeDetails {
    /// Its subscription's level.
    pub level: Box<str>,
    /// Its number in the vote.
    pub nodeid: Box<str>,
}

/// What else PVE says of a guest. The old page is not told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestMarks {
    /// In PVE's order.
    pub tags: Vec<Box<str>>,
    /// The pool it is in.
    pub pool: Option<Box<str>>,
    /// PVE's word for what holds it.
    pub lock: Option<Box<str>>,
    /// HA's word for its state, where HA manages it.
    pub ha: Option<Box<str>>,
    /// Whether it is a template.
    pub template: bool,
}

/// Of a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterInfo {
    /// PVE's own name of it.
    pub name: Box<str>,
    /// How many nodes it has.
    pub nodes: u32,
    /// The version of its configuration.
    pub version: u64,
}

impl Details {
    /// As prometheus-pve-exporter has it; by our own name where PVE has none.
    pub(super) fn cluster_id(&self, name: &ClusterName) -> String {
        let own = self.cluster.as_ref().map(|cluster| &*cluster.name);
        format!("cluster/{}", own.unwrap_or(name.as_str()))
    }
}
