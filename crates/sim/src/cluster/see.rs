//! What an observer is shown, which is not the same as what is: memberships of one node's view, statistics
//! up to 300 s old, and the same translated to the engine's types.

use std::collections::BTreeMap;

use engine::observe::{
    GuestEvidence, GuestId, GuestLook, GuestStatus, Live, NodeName, Presence, Quorum, Round, Seen, Snapshot,
    Storage as StorageOf, StorageName, Task as TaskOf, Usage,
};
use jiff::{SignedDuration, Timestamp};

use super::Cluster;
use super::model::{Api, Guest, GuestStats, Node, NodeStats, Place, Storage};
use super::task::Task;

/// How long the last statistics of anything are shown as if they were new.
pub const STATS_AGE_MAX: SignedDuration = SignedDuration::from_secs(300);

/// A node as another one shows it.
pub struct NodeSeen<'a> {
    /// What it is.
    pub node: &'a Node,
    /// Membership and statistics together.
    pub presence: Presence,
    /// Its last statistics, while they are young enough.
    pub stats: Option<&'a NodeStats>,
}

/// A guest as the cluster's list shows it.
pub struct GuestSeen<'a> {
    /// What it is: configuration is always fresh.
    pub guest: &'a Guest,
    /// Its last statistics, while they are young enough.
    pub stats: Option<&'a GuestStats>,
}

/// A storage on one node as the cluster's list shows it.
pub struct PlaceSeen<'a> {
    /// What it is.
    pub storage: &'a Storage,
    /// Where.
    pub node: &'a NodeName,
    /// What its node itself knows now.
    pub place: &'a Place,
    /// Bytes in use by its last statistics, while they are young enough.
    pub used: Option<u64>,
}

impl Cluster {
    /// Every node, as one of them shows it.
    pub fn nodes_seen<'a>(&'a self, viewer: &'a NodeName) -> impl Iterator<Item = NodeSeen<'a>> + 'a {
        self.nodes.iter().map(move |(name, node)| {
            let heard = self.node_heard(self.side_of(viewer), name, node);
            let stats = heard.filter(|stats| self.fresh(stats.at));
            let presence = match (self.online(viewer, name), stats.is_some()) {
                (false, _) => Presence::Offline,
                (true, true) => Presence::Online,
                (true, false) => Presence::Unknown,
            };
            NodeSeen { node, presence, stats }
        })
    }

    /// Every guest of the cluster, as one node shows it.
    pub fn guests_seen(&self, viewer: &NodeName) -> impl Iterator<Item = GuestSeen<'_>> + '_ {
        let side = self.side_of(viewer);
        self.guests.iter().filter(move |(_, guest)| self.guest_known(side, guest)).map(move |(id, guest)| {
            let stats = self.guest_heard(side, *id, guest).filter(|stats| self.fresh(stats.at));
            GuestSeen { guest, stats }
        })
    }

    /// Every storage on every node, as one node shows it.
    pub fn places_seen(&self, viewer: &NodeName) -> impl Iterator<Item = PlaceSeen<'_>> + '_ {
        let side = self.side_of(viewer);
        self.storages.iter().flat_map(move |(name, storage)| {
            storage.places.iter().map(move |(node, place)| {
                let heard = self.place_heard(side, name, node, place);
                let used = heard.filter(|(_, at)| self.fresh(*at)).map(|(used, _)| used);
                PlaceSeen { storage, node, place, used }
            })
        })
    }

    /// The nodes whose API answers as it should, in order of their names.
    pub fn answering(&self) -> impl Iterator<Item = &NodeName> + '_ {
        let sound = |node: &Node| node.alive() && matches!(node.api, Api::Up | Api::Slow(_) | Api::Empty);
        self.nodes.iter().filter(move |(_, node)| sound(node)).map(|(name, _)| name)
    }

    /// What a round of polling one node's API would see.
    pub fn snapshot(&self, viewer: &NodeName, round: Round) -> Snapshot {
        let at = self.now;
        let empty = self.nodes.get(viewer).is_some_and(|node| node.api == Api::Empty);
        let nodes: BTreeMap<_, _> =
            self.nodes_seen(viewer).map(|seen| (seen.node.spec.name.clone(), node_of(&seen))).collect();
        let online = self.nodes.keys().filter(|name| self.online(viewer, name)).count() as u32;
        let quorum = Quorum { quorate: self.quorate(viewer), online, expected: self.nodes.len() as u32 };
        let guests =
            self.guests_seen(viewer).filter(|_| !empty).map(|seen| (seen.guest.spec.id, guest_of(&seen)));
        let storages = self.places_seen(viewer).filter(|_| !empty).map(storage_of);
        Snapshot {
            quorum: Seen::At { value: quorum, asked_at: at },
            nodes: Seen::At { value: nodes, asked_at: at },
            guests: Seen::At { value: guests.collect(), asked_at: at },
            storages: Seen::At { value: storages.collect(), asked_at: at },
            empty_is_true: !empty,
            ..Snapshot::new(round, at)
        }
    }

    /// What a look at a node itself would find: its live list and its tasks.
    pub fn evidence(&self, inspection: &GuestLook) -> Option<GuestEvidence> {
        let asked_at = self.now;
        let node = self.nodes.get(&inspection.node).filter(|node| node.alive())?;
        let live = self.guests_on(&inspection.node).map(|id| (id, self.live(id))).collect();
        // PVE compares whole seconds.
        let since = inspection.since.as_second();
        let tasks = node
            .tasks
            .newest_first()
            .filter(|task| task.started_at.as_second() >= since)
            .map(task_of)
            .collect();
        Some(GuestEvidence {
            live: Seen::At { value: live, asked_at },
            tasks: Seen::At { value: tasks, asked_at },
            booted_at: Seen::At { value: node.booted_at, asked_at },
            journal: Seen::NotAsked,
            current: BTreeMap::new(),
        })
    }

    fn live(&self, id: GuestId) -> Live {
        let guest = &self.guests[&id];
        Live {
            running: guest.process.is_some(),
            pid: guest.process.as_ref().map(|process| process.pid),
            uptime: guest
                .process
                .as_ref()
                .map_or(0, |process| super::model::seconds(process.since, self.now)),
            lock: guest.spec.lock.as_deref().map(Into::into),
        }
    }

    fn fresh(&self, at: Timestamp) -> bool {
        self.now.duration_since(at) <= STATS_AGE_MAX
    }
}

fn node_of(seen: &NodeSeen) -> engine::observe::Node {
    let stats = seen.stats.filter(|_| seen.presence == Presence::Online);
    let spec = &seen.node.spec;
    engine::observe::Node {
        presence: seen.presence,
        uptime: stats.map(|s| s.uptime),
        cpu: stats.map(|s| s.cpu),
        memory: stats.map(|s| Usage { used: s.memory, total: spec.memory }),
        disk: stats.map(|s| Usage { used: s.disk, total: spec.disk }),
    }
}

fn guest_of(seen: &GuestSeen) -> engine::observe::Guest {
    let spec = &seen.guest.spec;
    engine::observe::Guest {
        name: seen.stats.map(|_| spec.name.as_str().into()),
        node: spec.node.clone(),
        status: seen.stats.map_or(GuestStatus::Unknown, |stats| GuestStatus::from_pve(&stats.status)),
        uptime: seen.stats.map_or(0, |stats| stats.numbers.uptime),
        io: seen.stats.map(|stats| stats.numbers.diskread + stats.numbers.diskwrite),
        template: spec.template,
        lock: spec.lock.as_deref().map(Into::into),
        ha: spec.ha.as_deref().map(Into::into),
        tags: spec.tags.iter().map(|tag| tag.as_str().into()).collect(),
    }
}

fn storage_of(seen: PlaceSeen) -> ((StorageName, NodeName), StorageOf) {
    let spec = &seen.storage.spec;
    let usage = seen.used.map(|used| Usage { used, total: spec.total });
    let storage = StorageOf { shared: spec.shared, available: usage.is_some(), usage };
    ((spec.name.clone(), seen.node.clone()), storage)
}

fn task_of(task: &Task) -> TaskOf {
    TaskOf {
        upid: task.upid.as_str().into(),
        kind: task.kind.as_str().into(),
        id: task.id.as_str().into(),
        user: task.by.full().into(),
        started_at: task.started_at,
        ended_at: task.ended.as_ref().map(|(at, _)| *at),
        status: task.ended.as_ref().map(|(_, status)| status.as_str().into()),
    }
}
