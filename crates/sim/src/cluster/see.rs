//! What an observer is shown, which is not the same as what is: memberships of one node's view, statistics
//! up to 300 s old, and the same translated to the engine's types.

use std::collections::{BTreeMap, BTreeSet};

use engine::observe::{
    Blindness, Cause, Current, GuestConfig, GuestId, GuestKind, GuestStatus, Live, NodeName, Presence,
    Quorum, Round, Seen, Service, Snapshot, Storage as StorageOf, StorageName, Task as TaskOf, Usage, View,
};
use jiff::{SignedDuration, Timestamp};

use super::Cluster;
use super::model::{Api, Guest, GuestStats, Node, NodeStats, Place, Storage};
use super::task::{SHOWN_MAX, Task};

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
            let stats = heard.filter(|stats| self.fresh(viewer, stats.at));
            let presence = match (self.online(viewer, name), stats.is_some()) {
                (false, _) => Presence::Offline,
                (true, true) => Presence::Online,
                (true, false) => Presence::Unknown,
            };
            NodeSeen { node, presence, stats }
        })
    }

    /// Every guest of the cluster, as one node shows it.
    pub fn guests_seen<'a>(&'a self, viewer: &'a NodeName) -> impl Iterator<Item = GuestSeen<'a>> + 'a {
        let side = self.side_of(viewer);
        self.guests.iter().filter(move |(_, guest)| self.guest_known(side, guest)).map(move |(id, guest)| {
            let stats = self.guest_heard(side, *id, guest).filter(|stats| self.fresh(viewer, stats.at));
            GuestSeen { guest, stats }
        })
    }

    /// Every storage on every node, as one node shows it.
    pub fn places_seen<'a>(&'a self, viewer: &'a NodeName) -> impl Iterator<Item = PlaceSeen<'a>> + 'a {
        let side = self.side_of(viewer);
        self.storages.iter().flat_map(move |(name, storage)| {
            storage.places.iter().map(move |(node, place)| {
                let heard = self.place_heard(side, name, node, place);
                let used = heard.filter(|(_, at)| self.fresh(viewer, *at)).map(|(used, _)| used);
                PlaceSeen { storage, node, place, used }
            })
        })
    }

    /// All that `/cluster/resources` and `/cluster/status` of one node show.
    pub fn snapshot(&self, viewer: &NodeName, round: Round) -> Snapshot {
        let asked_at = self.now;
        let nodes = self.nodes_of(viewer);
        Snapshot {
            quorum: self
                .quorum_of(viewer)
                .map_or_else(Seen::NotReached, |value| Seen::At { value, asked_at }),
            nodes: nodes.map_or_else(Seen::NotReached, |value| Seen::At { value, asked_at }),
            guests: Seen::At { value: self.guests_of(viewer), asked_at },
            storages: Seen::At { value: self.storages_of(viewer), asked_at },
            empty_is_true: !self.hides(viewer),
            ..Snapshot::new(round, asked_at)
        }
    }

    /// The vote, as one node counts it.
    pub(crate) fn quorum_of(&self, viewer: &NodeName) -> Result<Quorum, Blindness> {
        self.may_audit(viewer)?;
        let online = self.nodes.keys().filter(|name| self.online(viewer, name)).count() as u32;
        Ok(Quorum { quorate: self.quorate(viewer), online, expected: self.nodes.len() as u32 })
    }

    /// Every node, as one of them shows it; without the right to see more, no more than that they are there.
    pub(crate) fn nodes_of(
        &self,
        viewer: &NodeName,
    ) -> Result<BTreeMap<NodeName, engine::observe::Node>, Blindness> {
        let blind = self.may_audit(viewer).is_err();
        let rows = self.nodes_seen(viewer).map(|seen| {
            let mut row = node_of(&seen);
            if blind {
                (row.uptime, row.cpu, row.memory, row.disk) = (None, None, None, None);
            }
            (seen.node.spec.name.clone(), row)
        });
        Ok(rows.collect())
    }

    /// Every guest, as one node shows it.
    pub(crate) fn guests_of(&self, viewer: &NodeName) -> BTreeMap<GuestId, engine::observe::Guest> {
        if self.hides(viewer) {
            return BTreeMap::new();
        }
        self.guests_seen(viewer).map(|seen| (seen.guest.spec.id, guest_of(&seen))).collect()
    }

    /// Every storage on every node, as one node shows it.
    pub(crate) fn storages_of(&self, viewer: &NodeName) -> BTreeMap<(StorageName, NodeName), StorageOf> {
        if self.hides(viewer) { BTreeMap::new() } else { self.places_seen(viewer).map(storage_of).collect() }
    }

    /// A node's own list of its guests of some kinds, live.
    pub(crate) fn live_list(
        &self,
        viewer: &NodeName,
        node: &NodeName,
        kinds: &BTreeSet<GuestKind>,
    ) -> Result<BTreeMap<GuestId, Live>, Blindness> {
        if self.hides(viewer) || self.hides(node) {
            return Ok(BTreeMap::new()); // Filtered in silence.
        }
        let here = self.guests_on(node).filter(|id| kinds.contains(&id.kind));
        Ok(here.map(|id| (id, self.live(id))).collect())
    }

    /// A node's own tasks since then. PVE compares whole seconds.
    pub(crate) fn tasks_of(
        &self,
        viewer: &NodeName,
        node: &NodeName,
        since: Timestamp,
    ) -> Result<Vec<TaskOf>, Blindness> {
        if self.may_audit(viewer).is_err() {
            return Ok(Vec::new()); // A token without the right sees its own only, and it has none.
        }
        let Some(node) = self.nodes.get(node) else { return Ok(Vec::new()) };
        let new = |task: &&Task| task.started_at.as_second() >= since.as_second();
        Ok(node.tasks.newest_first().filter(new).map(task_of).collect())
    }

    /// A node's tasks as the others remember them: the last few only.
    pub(crate) fn cluster_tasks_of(
        &self,
        viewer: &NodeName,
        node: &NodeName,
        since: Timestamp,
    ) -> Result<Vec<TaskOf>, Blindness> {
        let mut tasks = self.tasks_of(viewer, node, since)?;
        tasks.truncate(SHOWN_MAX);
        Ok(tasks)
    }

    /// When a node's system came up, by its uptime in whole seconds.
    pub(crate) fn boot_of(&self, viewer: &NodeName, node: &NodeName) -> Result<Timestamp, Blindness> {
        self.may_audit(viewer)?;
        let uptime = self.nodes.get(node).map_or(0, |node| node.uptime(self.now));
        Ok(self.now - SignedDuration::from_secs(i64::try_from(uptime).unwrap_or(0)))
    }

    /// What QEMU says of a machine itself, asked on a node.
    pub(crate) fn current_of(&self, node: &NodeName, id: GuestId) -> Result<Current, Blindness> {
        let Some(guest) = self.guests.get(&id).filter(|guest| guest.spec.node == *node) else {
            let words = format!("500 Configuration file '{}' does not exist", Guest::config_path(node, id));
            return Err(Blindness { cause: Cause::Malformed, words });
        };
        Ok(match &guest.process {
            None => Current {
                status: GuestStatus::Stopped,
                monitor: false,
                pid: None,
                uptime: 0,
                lock: guest.spec.lock.as_deref().map(Into::into),
                ha: guest.ha_managed().map(Into::into),
            },
            Some(process) => Current {
                status: GuestStatus::from_pve(process.word()),
                monitor: !process.hung,
                pid: Some(process.pid),
                uptime: super::model::seconds(process.since, self.now),
                lock: guest.spec.lock.as_deref().map(Into::into),
                ha: guest.ha_managed().map(Into::into),
            },
        })
    }

    /// What of a guest's configuration matters, as its node has it.
    pub(crate) fn config_of(&self, node: &NodeName, id: GuestId) -> Option<GuestConfig> {
        let spec = &self.guests.get(&id).filter(|guest| guest.spec.node == *node)?.spec;
        Some(GuestConfig {
            onboot: spec.onboot,
            order: spec.order,
            up: spec.up,
            template: spec.template,
            lock: spec.lock.as_deref().map(Into::into),
            tags: spec.tags.iter().map(|tag| tag.as_str().into()).collect(),
        })
    }

    /// How one node sees another.
    pub(crate) fn view_of(&self, viewer: &NodeName, node: &NodeName) -> Result<View, Blindness> {
        self.may_audit(viewer)?;
        let online = self.nodes.contains_key(node).then(|| self.online(viewer, node));
        Ok(View { from: Some(viewer.clone()), quorate: self.quorate(viewer), online })
    }

    /// A node's services.
    pub(crate) fn services_of(&self, viewer: &NodeName, node: &NodeName) -> Result<Vec<Service>, Blindness> {
        self.may_audit(viewer)?;
        let services = self.nodes.get(node).map(|node| &node.services).into_iter().flatten();
        let read = services.filter_map(|(name, state)| {
            let (enabled, active) = (&*state.unit == "enabled", state.active.clone());
            Some(Service { name: name.parse().ok()?, enabled, active })
        });
        Ok(read.collect())
    }

    /// Whether the token may see more than that nodes are there.
    pub(crate) fn may_audit(&self, viewer: &NodeName) -> Result<(), Blindness> {
        match self.nodes.get(viewer).map(|node| node.api) {
            Some(Api::Blind) => {
                let words = "403 Permission check failed (/, Sys.Audit)".into();
                Err(Blindness { cause: Cause::RightsLost, words })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether a node's API shows a token no guests and no storages, and says nothing of it.
    pub(crate) fn hides(&self, viewer: &NodeName) -> bool {
        self.nodes.get(viewer).is_some_and(|node| matches!(node.api, Api::Blind | Api::Empty))
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

    /// Whether a node still shows what was broadcast then: for a while, and only what it has received itself since its
    /// own cluster file system came up.
    fn fresh(&self, viewer: &NodeName, at: Timestamp) -> bool {
        let received = self.nodes.get(viewer).is_none_or(|node| at >= node.listens_since);
        received && self.now.duration_since(at) <= STATS_AGE_MAX
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
        pool: spec.pool.as_deref().map(Into::into),
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
