//! Storages: capacity and outages, a shared storage once, a local one per node.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{Engine, Turn};
use crate::detect::{Check, Finding, node, storage};
use crate::incident::{Resolution, Slot};
use crate::observe::{NodeName, Presence, Seen, Snapshot, Storage, StorageName, Subject};
use crate::policy::Metric;

/// A node that has just come tells of its storages some cycles of 10 s later than of itself.
const STORAGE_SETTLE: SignedDuration = SignedDuration::from_secs(60);

impl Engine {
    pub(super) fn capacity(&mut self, turn: &mut Turn, snapshot: &Snapshot) {
        let Seen::At { value: storages, asked_at } = &snapshot.storages else { return };
        let groups = storage::group(storages, &self.memory.storages, |node| self.settled(*asked_at, node));
        for (id, group) in groups {
            let node = id.node.clone();
            let subject = Subject::Storage(id);
            let slot = Slot { check: Check::OverMark(Metric::Storage), subject: subject.clone() };
            let Some(percent) = group.usage.and_then(|usage| usage.percent()) else { continue };
            let last = self.memory.incidents.get(&slot);
            let finding = node::over_mark(&self.policy, &subject, Metric::Storage, last, percent);
            self.judged(turn, slot, finding, node);
        }
    }

    pub(super) fn outages(
        &mut self,
        turn: &mut Turn,
        storages: &BTreeMap<(StorageName, NodeName), Storage>,
        asked_at: Timestamp,
    ) {
        let groups = storage::group(storages, &self.memory.storages, |node| self.settled(asked_at, node));
        let seen = storages.iter().filter(|(_, storage)| storage.available).map(|(key, _)| key.clone());
        self.memory.storages.extend(seen);
        for (id, group) in &groups {
            let slot = Slot { check: Check::StorageOffline, subject: Subject::Storage(id.clone()) };
            let Some(nodes) = group.missing.clone() else { continue };
            let finding = (!nodes.is_empty()).then_some(Finding::StorageOffline { nodes });
            self.judged(turn, slot, finding, id.node.clone());
        }
        // A storage that was taken out of the configuration has no rows at all any more.
        self.memory.storages.retain(|key| storages.contains_key(key));
        for check in [Check::StorageOffline, Check::OverMark(Metric::Storage)] {
            for slot in self.memory.incidents.slots_of(check) {
                let listed = matches!(&slot.subject, Subject::Storage(id) if groups.contains_key(id));
                if !listed {
                    self.gone(turn, slot, Resolution::Removed);
                }
            }
        }
    }

    /// Whether a node lives, and had lived long enough to have told of its storages when they were asked for.
    fn settled(&self, asked_at: Timestamp, name: &NodeName) -> bool {
        let slot = Slot { check: Check::StatsStale, subject: Subject::Node(name.clone()) };
        self.memory.incidents.get(&slot).is_none()
            && self.memory.nodes.get(name).is_some_and(|node| {
                node.presence == Presence::Online
                    && node.online_since.is_some_and(|since| asked_at.duration_since(since) >= STORAGE_SETTLE)
            })
    }
}
