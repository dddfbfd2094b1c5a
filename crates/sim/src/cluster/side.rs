//! Membership: who sees whom, who may decide, and what each side of a cut remembers of the other.
//!
//! A cut takes effect at once: it stands for the instant at which corosync has noticed, 7 to 10 s after the cable
//! went. What a node does about a lost quorum is in `ha`.

use std::collections::BTreeMap;

use engine::observe::{GuestId, NodeName, StorageName};
use jiff::{SignedDuration, Timestamp};

use super::life::Due;
use super::model::{Guest, GuestStats, Node, NodeStats, Place, Power, ServiceState};
use super::task::Actor;
use super::{Cluster, Daemon, Trouble};

/// How long a service takes to be restarted.
const RESTART_TAKES: SignedDuration = SignedDuration::from_millis(900);

/// What one side last heard of everything that is not on it any more; `None` where it had heard nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    /// Guests made later elsewhere are not known here.
    pub(super) since: Timestamp,
    nodes: BTreeMap<NodeName, Option<NodeStats>>,
    guests: BTreeMap<GuestId, Option<GuestStats>>,
    places: BTreeMap<(StorageName, NodeName), Option<(u64, Timestamp)>>,
}

impl Cluster {
    /// Whether a node's side of the cluster may decide: more than half of all nodes are on it.
    pub fn quorate(&self, viewer: &NodeName) -> bool {
        if self.nodes.get(viewer).is_some_and(|node| node.clusterfs_down) {
            return false;
        }
        let online = self.nodes.keys().filter(|name| self.online(viewer, name)).count();
        self.nodes.len() == 1 || online * 2 > self.nodes.len()
    }

    /// Whether one node counts another as online.
    pub fn online(&self, viewer: &NodeName, name: &NodeName) -> bool {
        if viewer == name {
            return true;
        }
        let side = self.side_of(viewer);
        !self.split && self.nodes.get(name).is_some_and(|node| node.member && node.side == side)
    }

    /// Cuts every node off from every other one (nobody has a quorum), or joins them again.
    pub fn split(&mut self, split: bool) {
        self.split = split;
        self.touch();
        self.membership_changed();
    }

    /// Puts nodes on a side of their own, or back on the side of the others: nodes see only those of their own side.
    pub fn side(&mut self, side: u8, names: &[NodeName]) -> Result<(), Trouble> {
        for name in names {
            self.node(name)?;
        }
        for name in names {
            let from = self.side_of(name);
            if from == side {
                continue;
            }
            let joins = self.nodes.values().any(|node| node.side == side);
            if !joins {
                // A new side begins with all that its first node had heard.
                let heard = self.all_heard(from);
                self.heard.insert(side, heard);
            }
            self.carry_over(name, from, side);
            self.node_mut(name)?.side = side;
            self.heard.retain(|side, _| self.nodes.values().any(|node| node.side == *side));
        }
        let mut sides = self.nodes.values().map(|node| node.side);
        let first = sides.next();
        if sides.all(|side| Some(side) == first) {
            self.heard.clear();
        }
        self.touch();
        self.membership_changed();
        Ok(())
    }

    /// A daemon of a node goes down or comes up again.
    pub fn daemon(&mut self, name: &NodeName, daemon: Daemon, down: bool) -> Result<(), Trouble> {
        let now = self.now;
        let node = self.node_mut(name)?;
        let service = match daemon {
            Daemon::Proxy => {
                node.proxy_down = down;
                Some("pveproxy")
            }
            Daemon::Pvedaemon => {
                node.daemon_down = down;
                Some("pvedaemon")
            }
            Daemon::ClusterFs => {
                node.clusterfs_down = down;
                node.listens_since = now;
                // The others see the process leave its group at once; no timeout has to pass.
                node.member = !down && node.alive();
                node.left_at = if node.member { None } else { node.left_at.or(Some(now)) };
                Some("pve-cluster")
            }
            Daemon::Hung => {
                node.daemon_hung = down;
                None
            }
        };
        if let Some(service) = service {
            let state = ServiceState::from_word(if down { "failed" } else { "active" });
            node.services.insert(service.into(), state);
        }
        if daemon == Daemon::ClusterFs {
            if down {
                self.begin_loss(name);
            }
            self.membership_changed();
        }
        Ok(())
    }

    /// A service is in another state, in systemd's words; of those that PVE's own work hangs on, the work with it.
    pub fn service(&mut self, name: &NodeName, service: &str, word: &str) -> Result<(), Trouble> {
        let down = word != "active";
        match service {
            "pveproxy" => self.daemon(name, Daemon::Proxy, down)?,
            "pvedaemon" => self.daemon(name, Daemon::Pvedaemon, down)?,
            "pve-cluster" => self.daemon(name, Daemon::ClusterFs, down)?,
            "pvestatd" => self.node_mut(name)?.stalled = down,
            _ => {}
        }
        let state = ServiceState::from_word(word);
        let old = self.node_mut(name)?.services.insert(service.into(), state.clone());
        if old.is_some_and(|old| old.active != state.active) {
            let line = match &*state.active {
                "failed" => format!("systemd[1]: {service}.service: Failed with result 'exit-code'."),
                "inactive" => format!("systemd[1]: {service}.service: Deactivated successfully."),
                _ => format!("systemd[1]: Started {service}.service."),
            };
            self.journal(name, line);
        }
        Ok(())
    }

    /// Somebody has PVE stop a service, or start it.
    pub fn service_by(
        &mut self,
        by: &Actor,
        name: &NodeName,
        service: &str,
        word: &str,
    ) -> Result<(), Trouble> {
        let upid = self.task(name, if word == "active" { "srvstart" } else { "srvstop" }, service, by);
        self.service(name, service, word)?;
        self.end_task(name, &upid, "OK");
        Ok(())
    }

    /// Somebody has a node restart one of its services. Gives the task's id.
    pub fn restart_service(&mut self, by: &Actor, name: &NodeName, service: &str) -> String {
        let upid = self.task(name, "srvrestart", service, by);
        let life = self.nodes.get(name).map_or(0, |node| node.life);
        let (node, task, service) = (name.clone(), upid.clone(), service.into());
        self.order(RESTART_TAKES, Due::Restarted { node, life, upid: task, service });
        upid
    }

    pub(super) fn restarted(&mut self, name: &NodeName, upid: &str, service: &str) {
        // One that nobody enabled starts all the same: systemd was asked to.
        let known = self.nodes.get(name).and_then(|node| node.services.get(service));
        let there = known.is_some_and(|state| &*state.unit != "not-found");
        let done = there && self.service(name, service, "active").is_ok();
        // A guess of the words: `systemctl` prints more, and the task's status is its error.
        let failed = format!("command 'systemctl restart {service}' failed: exit code 5");
        self.end_task(name, upid, if done { "OK" } else { &failed });
    }

    /// Takes a node that is off out of the cluster for good. The configurations of its guests stay, under its name.
    pub fn evict(&mut self, name: &NodeName) -> Result<(), Trouble> {
        if self.node(name)?.power != Power::Off {
            return Err(Trouble::NoSense(format!("node `{name}` must be off before it can be taken out")));
        }
        self.nodes.remove(name);
        for storage in self.storages.values_mut() {
            storage.places.remove(name);
        }
        self.touch();
        self.membership_changed();
        Ok(())
    }

    /// The side that a node is on; of one that is not there any more the first.
    pub(super) fn side_of(&self, name: &NodeName) -> u8 {
        self.nodes.get(name).map_or(0, |node| node.side)
    }

    pub(super) fn node_heard<'a>(
        &'a self,
        side: u8,
        name: &NodeName,
        node: &'a Node,
    ) -> Option<&'a NodeStats> {
        match self.heard.get(&side) {
            Some(heard) if node.side != side => heard.nodes.get(name).and_then(Option::as_ref),
            Some(_) | None => node.stats.as_ref(),
        }
    }

    pub(super) fn guest_heard<'a>(
        &'a self,
        side: u8,
        id: GuestId,
        guest: &'a Guest,
    ) -> Option<&'a GuestStats> {
        match self.heard.get(&side) {
            Some(heard) if self.side_of(&guest.spec.node) != side => {
                heard.guests.get(&id).and_then(Option::as_ref)
            }
            Some(_) | None => guest.stats.as_ref(),
        }
    }

    /// Whether a side knows that a guest exists at all.
    pub(super) fn guest_known(&self, side: u8, guest: &Guest) -> bool {
        match self.heard.get(&side) {
            Some(heard) => self.side_of(&guest.spec.node) == side || guest.created_at <= heard.since,
            None => true,
        }
    }

    pub(super) fn place_heard(
        &self,
        side: u8,
        storage: &StorageName,
        node: &NodeName,
        place: &Place,
    ) -> Option<(u64, Timestamp)> {
        match self.heard.get(&side) {
            Some(heard) if self.side_of(node) != side => {
                heard.places.get(&(storage.clone(), node.clone())).copied().flatten()
            }
            Some(_) | None => place.stats,
        }
    }

    /// Moves a guest's configuration. Its new node has told nothing of it yet: what its side had heard stays.
    pub(super) fn relocate(&mut self, id: GuestId, to: &NodeName) {
        let side = self.side_of(to);
        let Some(guest) = self.guests.get(&id) else { return };
        let stats = self.guest_heard(side, id, guest).cloned();
        if let Ok(guest) = self.guest_mut(id) {
            guest.stats = stats;
            guest.spec.node = to.clone();
        }
        self.befell(id, super::Befell::Moved);
    }

    fn all_heard(&self, side: u8) -> Heard {
        let nodes =
            self.nodes.iter().map(|(name, node)| (name.clone(), self.node_heard(side, name, node).cloned()));
        let guests = self.guests.iter().map(|(id, guest)| (*id, self.guest_heard(side, *id, guest).cloned()));
        let places = self.storages.iter().flat_map(|(storage, of)| {
            of.places.iter().map(move |(node, place)| {
                ((storage.clone(), node.clone()), self.place_heard(side, storage, node, place))
            })
        });
        Heard { since: self.now, nodes: nodes.collect(), guests: guests.collect(), places: places.collect() }
    }

    /// Whoever stays behind keeps what it last heard of a node and its guests; the side that the node joins goes on
    /// with what it had heard itself, until the node tells something new.
    fn carry_over(&mut self, name: &NodeName, from: u8, to: u8) {
        let stays = self.nodes.iter().any(|(other, node)| other != name && node.side == from);
        let here: Vec<GuestId> = self.guests_on(name).collect();
        let arrives = self.heard.get(&to).cloned();
        let now = self.now;
        if stays {
            let heard = self.heard.entry(from).or_insert_with(|| Heard { since: now, ..Heard::default() });
            heard.nodes.insert(name.clone(), self.nodes.get(name).and_then(|node| node.stats.clone()));
            for id in &here {
                heard.guests.insert(*id, self.guests.get(id).and_then(|guest| guest.stats.clone()));
            }
            for (storage, of) in &self.storages {
                if let Some(place) = of.places.get(name) {
                    heard.places.insert((storage.clone(), name.clone()), place.stats);
                }
            }
        }
        let Some(arrives) = arrives else { return };
        if let (Some(node), Some(stats)) = (self.nodes.get_mut(name), arrives.nodes.get(name)) {
            node.stats.clone_from(stats);
        }
        for id in here {
            if let (Some(guest), Some(stats)) = (self.guests.get_mut(&id), arrives.guests.get(&id)) {
                guest.stats.clone_from(stats);
            }
        }
        for (storage, of) in &mut self.storages {
            let heard = arrives.places.get(&(storage.clone(), name.clone()));
            if let (Some(place), Some(stats)) = (of.places.get_mut(name), heard) {
                place.stats = *stats;
            }
        }
    }
}
