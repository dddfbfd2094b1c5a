//! What lies between the node that is asked and the node that must answer, and how each of it fails.
//!
//! PVE's order: the asked node's pveproxy, then the other node's pveproxy, then that node's pvedaemon for what needs
//! the rights of root. Each failure is an HTTP status of its own, and none of it touches the cluster.

use std::time::Duration;

use engine::observe::NodeName;

use crate::cluster::{Api, Cluster, Node, Power};

/// How long one hop waits for the next that takes the connection and says nothing.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// How long until nobody answers for an address that is dead.
const NO_ROUTE: Duration = Duration::from_secs(3);
/// How long a node without its cluster file system holds back its refusal.
pub(super) const NO_CLUSTERFS_DELAY: Duration = Duration::from_secs(3);
/// What such a node says to everything.
pub(super) const NO_CLUSTERFS: &str =
    "RPCEnvironment init request failed: Unable to load access control list: Connection refused";

/// A failure between two hops: an answer without a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) status: u16,
    pub(super) reason: &'static str,
    pub(super) after: Duration,
}

impl Lost {
    const fn at_once(status: u16, reason: &'static str) -> Lost {
        Lost { status, reason, after: Duration::ZERO }
    }

    /// Nobody listens there.
    pub(super) const REFUSED: Lost = Lost::at_once(595, "Connection refused");
    /// It was there when the question came and is not any more.
    pub(super) const RESET: Lost = Lost::at_once(596, "Connection reset by peer");
    /// It listens and says nothing; whoever waited has waited already.
    pub(super) const SILENT: Lost = Lost::at_once(596, "Connection timed out");
    const NO_ROUTE: Lost = Lost { status: 595, reason: "No route to host", after: NO_ROUTE };
}

/// Whether one node's pveproxy gets an answer from another's.
pub(super) fn to(cluster: &Cluster, viewer: &NodeName, node: &Node) -> Result<(), Lost> {
    if node.spec.name == *viewer {
        return Ok(());
    }
    if node.power == Power::Off || cut(cluster, viewer, node) {
        return Err(Lost::NO_ROUTE);
    }
    if node.power == Power::Booting || node.proxy_down {
        return Err(Lost::REFUSED);
    }
    match node.api {
        Api::Refused => Err(Lost::REFUSED),
        Api::Reset => Err(Lost::RESET),
        Api::Unreachable => Err(Lost { after: PATIENCE, ..Lost::at_once(595, "Connection timed out") }),
        Api::Hang => Err(Lost { after: PATIENCE, ..Lost::SILENT }),
        Api::Up | Api::Slow(_) | Api::Denied | Api::Blind | Api::Empty | Api::Garbage | Api::Truncated => {
            Ok(())
        }
    }
}

/// Whether the network between two nodes is cut. A node whose cluster file system is down is no member either, and
/// can be reached all the same.
fn cut(cluster: &Cluster, viewer: &NodeName, node: &Node) -> bool {
    let asked = cluster.nodes().get(viewer);
    let outside = node.clusterfs_down || asked.is_some_and(|asked| asked.clusterfs_down);
    asked.is_some_and(|asked| asked.side != node.side)
        || (node.alive() && node.member && !outside && !cluster.online(viewer, &node.spec.name))
}
