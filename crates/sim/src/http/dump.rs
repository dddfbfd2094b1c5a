//! The statistics as one pveproxy worker has them: a copy of what its node received, up to two seconds old.
//!
//! Each worker keeps its own copy, so two connections to one node may be answered by different ages: answers go
//! back in time between connections, never on one. Memberships and configurations are not in it: they are fresh.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::observe::{GuestId, NodeName, StorageName};

use crate::cluster::{Cluster, GuestStats, NodeStats};

/// Workers of pveproxy on each node.
pub(super) const WORKERS: u64 = 3;
/// Whole seconds after which a worker reads anew.
const KEPT_SECONDS: i64 = 2;

/// A copy of the statistics.
pub(super) struct Dump {
    /// When it was taken, in whole seconds, as the worker reckons.
    at: i64,
    /// The cluster's generation then; two copies of one generation are equal, unless something expired in between.
    pub(super) generation: u64,
    pub(super) nodes: BTreeMap<NodeName, NodeStats>,
    pub(super) guests: BTreeMap<GuestId, GuestStats>,
    /// Bytes in use.
    pub(super) places: BTreeMap<(StorageName, NodeName), u64>,
}

impl Dump {
    fn take(cluster: &Cluster, viewer: &NodeName) -> Dump {
        let nodes = cluster.nodes_seen(viewer);
        let nodes = nodes.filter_map(|seen| Some((seen.node.spec.name.clone(), seen.stats?.clone())));
        let guests = cluster.guests_seen(viewer);
        let guests = guests.filter_map(|seen| Some((seen.guest.spec.id, seen.stats?.clone())));
        let places = cluster.places_seen(viewer);
        let places =
            places.filter_map(|seen| Some(((seen.storage.spec.name.clone(), seen.node.clone()), seen.used?)));
        Dump {
            at: cluster.now().as_second(),
            generation: cluster.generation(),
            nodes: nodes.collect(),
            guests: guests.collect(),
            places: places.collect(),
        }
    }

    fn old(&self, cluster: &Cluster) -> bool {
        cluster.now().as_second() - self.at >= KEPT_SECONDS
    }
}

/// The copies of all workers that were asked for one.
#[derive(Default)]
pub(super) struct Dumps(BTreeMap<(NodeName, u64), Arc<Dump>>);

impl Dumps {
    /// The copy of one worker of a node.
    pub(super) fn of(&mut self, cluster: &Cluster, node: &NodeName, worker: u64) -> Arc<Dump> {
        let fresh = || Arc::new(Dump::take(cluster, node));
        let kept = self.0.entry((node.clone(), worker)).or_insert_with(fresh);
        if kept.old(cluster) {
            *kept = fresh();
        }
        kept.clone()
    }
}
