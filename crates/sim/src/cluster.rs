//! A cluster on a virtual clock: what it consists of, and how time passes in it.
//!
//! Nothing here reads a clock. [`Cluster::advance`] is told what time it is and does all that is due until
//! then, in order: statistics every 10 s, tasks that end, nodes that boot, HA that restarts. Two clusters with
//! the same seed and the same orders are equal at every instant.
//!
//! Behind it: `act` (what somebody asks for), `life` (what befalls guests), `power` (nodes), `ha` (what PVE does about it by
//! itself), `backup`, `side` (who sees whom), `stats` (what nodes tell of themselves), `see` (what an observer is
//! shown, which is not the same as what is), `truth` (what is, for tests), `task`, `journal`, `model`, and `generate`
//! (large clusters).

mod act;
mod backup;
mod generate;
mod ha;
mod journal;
mod life;
mod model;
mod power;
mod see;
mod side;
mod stats;
mod task;
mod truth;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use engine::observe::{ClusterName, GuestId, GuestKind, NodeName, StorageName};
use jiff::{SignedDuration, Timestamp};

pub use act::{Refusal, Verb};
pub use journal::JOURNAL_MAX;
pub use model::*;
pub use see::{GuestSeen, NodeSeen, PlaceSeen, STATS_AGE_MAX};
pub use task::{Actor, SHOWN_MAX, Task, upid_node};
pub use truth::{Befell, Truth};

use crate::rng::noise;
use life::Due;
pub(crate) use stats::part as part_of;

/// How often a node's statistics service tells the others (pvestatd).
pub const STATS_EVERY: SignedDuration = SignedDuration::from_secs(10);

/// Limits of a cluster: far above what PVE supports, so that a typing error cannot eat the machine.
pub const NODES_MAX: usize = 64;
/// See [`NODES_MAX`].
pub const GUESTS_MAX: usize = 50_000;
/// See [`NODES_MAX`].
pub const STORAGES_MAX: usize = 200;

/// Why the cluster cannot be changed as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// No such node.
    #[error("there is no node `{0}`")]
    NoNode(String),
    /// No such guest.
    #[error("there is no guest `{0}`")]
    NoGuest(GuestId),
    /// No such storage, or not on this node.
    #[error("there is no storage `{0}`")]
    NoStorage(String),
    /// The name or number is in use.
    #[error("`{0}` is there already")]
    Taken(String),
    /// A limit.
    #[error("too many {what}: {max} at most")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// It makes no sense in the present state.
    #[error("{0}")]
    NoSense(String),
    /// PVE refuses it.
    #[error("PVE refuses: {0}")]
    Refused(#[from] Refusal),
}

/// A cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    name: ClusterName,
    seed: u64,
    began_at: Timestamp,
    now: Timestamp,
    nodes: BTreeMap<NodeName, Node>,
    guests: BTreeMap<GuestId, Guest>,
    storages: BTreeMap<StorageName, Storage>,
    due: BTreeMap<(Timestamp, u64), Due>,
    ordered: u64,
    split: bool,
    /// By side, while there is more than one.
    heard: BTreeMap<u8, side::Heard>,
    truth: Vec<Truth>,
    generation: u64,
}

impl Cluster {
    /// An empty cluster at the given time. A single node is a stand-alone one: no cluster row, always quorate.
    pub fn new(name: ClusterName, seed: u64, at: Timestamp) -> Cluster {
        Cluster {
            name,
            seed,
            began_at: at,
            now: at,
            nodes: BTreeMap::new(),
            guests: BTreeMap::new(),
            storages: BTreeMap::new(),
            due: BTreeMap::new(),
            ordered: 0,
            split: false,
            heard: BTreeMap::new(),
            truth: Vec::new(),
            generation: 0,
        }
    }

    /// Adds a node that has run for some days.
    pub fn add_node(&mut self, spec: NodeSpec) -> Result<(), Trouble> {
        if self.nodes.contains_key(&spec.name) {
            return Err(Trouble::Taken(spec.name.to_string()));
        }
        if self.nodes.len() >= NODES_MAX {
            return Err(Trouble::TooMany { what: "nodes", max: NODES_MAX });
        }
        let number = self.nodes.len() as u32 + 1;
        let days = 10 + (noise(self.seed, u64::from(number), 0) * 20.0) as i64;
        let name = spec.name.clone();
        let node = Node {
            number,
            power: Power::On,
            member: true,
            left_at: None,
            life: 0,
            booted_at: self.now - SignedDuration::from_hours(24 * days),
            listens_since: Timestamp::MIN,
            stalled: false,
            cpu: 0.05 + 0.1 * noise(self.seed, u64::from(number), 1),
            memory: 0.3 + 0.2 * noise(self.seed, u64::from(number), 2),
            disk: 0.2 + 0.2 * noise(self.seed, u64::from(number), 3),
            pinned: false,
            api: Api::Up,
            proxy_down: false,
            daemon_down: false,
            clusterfs_down: false,
            daemon_hung: false,
            side: 0,
            ha: None,
            ha_mode: None,
            alone_since: None,
            services: model::services(),
            temperatures: BTreeMap::from([("cpu".into(), 45.0)]),
            stats: None,
            tasks: task::TaskLog::default(),
            journal: VecDeque::new(),
            spec,
        };
        self.nodes.insert(name.clone(), node);
        // A node of its own has no corosync to run, though the unit is enabled.
        let corosync = if self.nodes.len() == 1 { "inactive" } else { "active" };
        for node in self.nodes.values_mut() {
            node.services.insert("corosync".into(), ServiceState::from_word(corosync));
        }
        self.broadcast(&name);
        // Each node has its own phase within the 10 s, as it began its service at its own second.
        let phase = (noise(self.seed, u64::from(number), 4) * 9_900.0) as i64 + 100;
        self.order(SignedDuration::from_millis(phase), Due::Broadcast(name, 0));
        self.touch();
        Ok(())
    }

    /// Adds a guest that runs, if it does, for some hours.
    pub fn add_guest(&mut self, spec: GuestSpec) -> Result<(), Trouble> {
        if !self.nodes.contains_key(&spec.node) {
            return Err(Trouble::NoNode(spec.node.to_string()));
        }
        if self.guest_of_number(spec.id.vmid).is_some() {
            return Err(Trouble::Taken(spec.id.to_string()));
        }
        if self.guests.len() >= GUESTS_MAX {
            return Err(Trouble::TooMany { what: "guests", max: GUESTS_MAX });
        }
        if spec.template && spec.running {
            return Err(Trouble::NoSense(format!("{} is a template: it can never run", spec.id)));
        }
        let vmid = u64::from(spec.id.vmid);
        let hours = 1 + (noise(self.seed, vmid, 0) * 200.0) as i64;
        let process = spec.running.then(|| Process {
            pid: 100_000 + spec.id.vmid % 1_000_000,
            since: self.now - SignedDuration::from_hours(hours),
            state: if spec.paused { "paused" } else { "running" }.into(),
            hung: false,
        });
        let id = spec.id;
        let guest =
            Guest { created_at: self.now, process, stats: None, ha_failures: 0, ha_relocated: false, spec };
        self.guests.insert(id, guest);
        self.broadcast_guest(id);
        self.touch();
        Ok(())
    }

    /// Adds a storage.
    pub fn add_storage(&mut self, spec: StorageSpec) -> Result<(), Trouble> {
        if self.storages.contains_key(&spec.name) {
            return Err(Trouble::Taken(spec.name.to_string()));
        }
        if self.storages.len() >= STORAGES_MAX {
            return Err(Trouble::TooMany { what: "storages", max: STORAGES_MAX });
        }
        let nodes: Vec<NodeName> = match &spec.nodes {
            Some(nodes) => nodes.iter().cloned().collect(),
            None => self.nodes.keys().cloned().collect(),
        };
        if let Some(unknown) = nodes.iter().find(|n| !self.nodes.contains_key(*n)) {
            return Err(Trouble::NoNode(unknown.to_string()));
        }
        let place =
            Place { used: spec.used, active: true, since: self.now, stats: Some((spec.used, self.now)) };
        let places = nodes.into_iter().map(|node| (node, place.clone())).collect();
        self.storages.insert(spec.name.clone(), Storage { spec, places });
        self.touch();
        Ok(())
    }

    /// Lets every node broadcast at once, so that what was set up before the start is seen from the start.
    pub fn settle(&mut self) {
        let names: Vec<NodeName> = self.nodes.keys().cloned().collect();
        for name in &names {
            self.broadcast(name);
        }
    }

    /// Does all that is due until then. Time never runs backwards: an earlier time changes nothing.
    pub fn advance(&mut self, to: Timestamp) {
        while let Some(entry) = self.due.first_entry()
            && entry.key().0 <= to
        {
            let ((at, _), due) = entry.remove_entry();
            self.now = self.now.max(at);
            self.befall(due);
        }
        self.now = self.now.max(to);
    }

    /// The next instant at which something is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// Its name.
    pub fn name(&self) -> &ClusterName {
        &self.name
    }

    /// What time it is in it.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// When it began.
    pub fn began_at(&self) -> Timestamp {
        self.began_at
    }

    /// Its seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Changes whenever anything that a list shows may have changed, so that a list may be kept until then.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// All nodes.
    pub fn nodes(&self) -> &BTreeMap<NodeName, Node> {
        &self.nodes
    }

    /// All guests.
    pub fn guests(&self) -> &BTreeMap<GuestId, Guest> {
        &self.guests
    }

    /// All storages.
    pub fn storages(&self) -> &BTreeMap<StorageName, Storage> {
        &self.storages
    }

    /// All pools that a guest is in.
    pub fn pools(&self) -> BTreeSet<&str> {
        self.guests.values().filter_map(|g| g.spec.pool.as_deref()).collect()
    }

    /// A node by name.
    pub fn node(&self, name: &NodeName) -> Result<&Node, Trouble> {
        self.nodes.get(name).ok_or_else(|| Trouble::NoNode(name.to_string()))
    }

    /// A guest by id.
    pub fn guest(&self, id: GuestId) -> Result<&Guest, Trouble> {
        self.guests.get(&id).ok_or(Trouble::NoGuest(id))
    }

    /// The guest with a number, of whichever kind.
    pub fn guest_of_number(&self, vmid: u32) -> Option<&Guest> {
        [GuestKind::Qemu, GuestKind::Lxc]
            .into_iter()
            .find_map(|kind| self.guests.get(&GuestId { kind, vmid }))
    }

    pub(crate) fn node_mut(&mut self, name: &NodeName) -> Result<&mut Node, Trouble> {
        self.touch();
        self.nodes.get_mut(name).ok_or_else(|| Trouble::NoNode(name.to_string()))
    }

    pub(crate) fn guest_mut(&mut self, id: GuestId) -> Result<&mut Guest, Trouble> {
        self.touch();
        self.guests.get_mut(&id).ok_or(Trouble::NoGuest(id))
    }

    fn touch(&mut self) {
        self.generation += 1;
    }

    fn order(&mut self, after: SignedDuration, due: Due) {
        self.ordered += 1;
        self.due.insert((self.now + after, self.ordered), due);
    }
}
