//! Reach: how far one call comes, to an endpoint and through it to a node, and how long that takes.
//!
//! What PVE and the network do with a call, as pve-domain 4.3 has it; what is asked then, and which endpoint is tried
//! next, is in `ask`.

use engine::observe::{Blindness, Cause, NodeName};
use jiff::SignedDuration;

use super::PATIENCE;
use crate::cluster::{Api, Cluster, Node};

/// Until the network says that nobody is there.
const NO_ROUTE_TAKES: SignedDuration = SignedDuration::from_secs(1);
/// A token that is not accepted is made to wait, and so is everybody on a node without its cluster file system.
const PENALTY: SignedDuration = SignedDuration::from_secs(3);
const QUICK: SignedDuration = SignedDuration::from_millis(5);

/// Which daemon must do the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// pveproxy does it itself.
    Proxy,
    /// pvedaemon does it (a protected call).
    Daemon,
}

/// Why a call came to nothing.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) what: Failed,
    pub(super) blindness: Blindness,
    pub(super) takes: SignedDuration,
}

impl Failure {
    /// Whether what was asked for may have been done all the same: the call went out, and its answer was lost.
    pub(super) fn may_have_acted(&self) -> bool {
        super::faults::Fault::ALL
            .into_iter()
            .any(|fault| fault.loses_the_answer() && fault.blindness() == self.blindness)
    }
}

/// The kinds of failure that call for different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// No connection to the endpoint, or its cluster file system is down: another endpoint may know.
    Endpoint,
    /// No answer in time: another endpoint may know, and the next call is to ask it.
    Silence,
    /// The endpoint answered that the node behind it refuses connections (its own pvedaemon, for what is its own).
    HopRefused,
    /// The endpoint answered that the node behind it is not there.
    HopGone,
    /// The node behind it answered that its cluster file system is down.
    HopClusterFs,
    /// It answered, and refuses or garbles: no other endpoint knows better.
    Answered,
}

/// How far a call to `viewer` comes; about the cluster, or through it about a node.
pub(super) fn reach(
    cluster: &Cluster,
    viewer: &NodeName,
    about: Option<&NodeName>,
    by: By,
) -> Result<SignedDuration, Failure> {
    let Some(endpoint) = cluster.nodes().get(viewer) else {
        return Err(gone(Failed::Endpoint, "no route to host"));
    };
    let here = door(endpoint)?;
    let target = about.filter(|name| *name != viewer);
    let (worker, there) = match target {
        None => (endpoint, SignedDuration::ZERO),
        Some(name) => (behind(cluster, viewer, name)?, behind_takes(cluster, name)),
    };
    // What makes an answer slow is most often the one thing between all of them.
    let takes = here.max(there);
    if takes > PATIENCE {
        return Err(silent());
    }
    if by == By::Daemon && worker.daemon_down {
        return Err(failure(Failed::HopRefused, Cause::Unreachable, "595 Connection refused", QUICK));
    }
    if by == By::Daemon && worker.daemon_hung {
        return Err(silent());
    }
    match endpoint.api {
        Api::Garbage => {
            Err(failure(Failed::Answered, Cause::Malformed, "expected value at line 1 column 1", takes))
        }
        Api::Truncated => {
            Err(failure(Failed::Answered, Cause::Malformed, "the answer ended before its end", takes))
        }
        Api::Up
        | Api::Slow(_)
        | Api::Blind
        | Api::Empty
        | Api::Unreachable
        | Api::Refused
        | Api::Reset
        | Api::Hang
        | Api::Denied => Ok(takes),
    }
}

/// Whether an endpoint takes a call at all.
fn door(node: &Node) -> Result<SignedDuration, Failure> {
    if !node.alive() {
        return Err(gone(Failed::Endpoint, "no route to host"));
    }
    if node.proxy_down {
        return Err(failure(Failed::Endpoint, Cause::Unreachable, "connection refused", QUICK));
    }
    match node.api {
        Api::Unreachable => return Err(gone(Failed::Endpoint, "timed out")),
        Api::Refused => {
            return Err(failure(Failed::Endpoint, Cause::Unreachable, "connection refused", QUICK));
        }
        Api::Reset => {
            return Err(failure(Failed::Endpoint, Cause::Unreachable, "connection reset by peer", QUICK));
        }
        Api::Hang => return Err(silent()),
        Api::Denied => {
            return Err(failure(Failed::Answered, Cause::Refused, "401 Authentication failed!", PENALTY));
        }
        Api::Up | Api::Slow(_) | Api::Blind | Api::Empty | Api::Garbage | Api::Truncated => {}
    }
    if node.clusterfs_down {
        return Err(failure(Failed::Endpoint, Cause::Unreachable, NO_CLUSTER_FS, PENALTY));
    }
    let takes = slowness(node);
    if takes > PATIENCE { Err(silent()) } else { Ok(takes) }
}

const NO_CLUSTER_FS: &str = "500 RPCEnvironment init request failed: Unable to load access control list";

/// The node behind an endpoint, when the call comes through to it.
fn behind<'a>(cluster: &'a Cluster, viewer: &NodeName, name: &NodeName) -> Result<&'a Node, Failure> {
    let no_route = || gone(Failed::HopGone, "595 No route to host");
    let node = cluster.nodes().get(name).ok_or_else(no_route)?;
    // What corosync cannot cross, a question cannot cross either; without its file system a node can still be reached.
    let cut = !cluster.online(viewer, name) && !node.clusterfs_down && node.member;
    if !node.alive() || cut {
        return Err(no_route());
    }
    let refused = || failure(Failed::HopRefused, Cause::Unreachable, "595 Connection refused", QUICK);
    if node.proxy_down {
        return Err(refused());
    }
    match node.api {
        Api::Refused => return Err(refused()),
        Api::Unreachable => return Err(gone(Failed::HopGone, "595 Connection timed out")),
        Api::Reset => {
            return Err(failure(
                Failed::HopRefused,
                Cause::Unreachable,
                "596 Connection reset by peer",
                QUICK,
            ));
        }
        Api::Hang => return Err(silent()),
        Api::Denied => {
            return Err(failure(Failed::Answered, Cause::Refused, "401 Authentication failed!", PENALTY));
        }
        Api::Up | Api::Slow(_) | Api::Blind | Api::Empty | Api::Garbage | Api::Truncated => {}
    }
    if node.clusterfs_down {
        return Err(failure(Failed::HopClusterFs, Cause::Unreachable, NO_CLUSTER_FS, PENALTY));
    }
    Ok(node)
}

fn behind_takes(cluster: &Cluster, name: &NodeName) -> SignedDuration {
    cluster.nodes().get(name).map_or(SignedDuration::ZERO, slowness)
}

fn slowness(node: &Node) -> SignedDuration {
    match node.api {
        Api::Slow(millis) => SignedDuration::from_millis(millis.into()),
        Api::Up
        | Api::Unreachable
        | Api::Refused
        | Api::Reset
        | Api::Hang
        | Api::Denied
        | Api::Blind
        | Api::Empty
        | Api::Garbage
        | Api::Truncated => SignedDuration::ZERO,
    }
}

fn silent() -> Failure {
    failure(Failed::Silence, Cause::Unreachable, "timed out", PATIENCE)
}

fn gone(what: Failed, words: &str) -> Failure {
    failure(what, Cause::Unreachable, words, NO_ROUTE_TAKES)
}

fn failure(what: Failed, cause: Cause, words: &str, takes: SignedDuration) -> Failure {
    Failure { what, blindness: Blindness { cause, words: words.into() }, takes }
}
