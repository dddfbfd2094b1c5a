//! High availability: what PVE does by itself when a guest or a node fails, and how long it takes.
//!
//! Restarted where it was, then on another node, then given up; a node that is lost is fenced, its guests recovered
//! elsewhere; a node that loses its quorum while it runs such guests resets itself. Groups, rules and priorities are
//! not simulated: the refuge is the first node that can take a guest.

use engine::observe::{GuestId, NodeName};
use jiff::{SignedDuration, Timestamp};

use super::act::Verb;
use super::life::Due;
use super::model::Power;
use super::task::Actor;
use super::{Cluster, Trouble};

/// HA's loop: how long until it notices that a guest is down.
pub(super) const HA_LOOP: SignedDuration = SignedDuration::from_secs(9);
/// How long a wish takes until HA's loop sees it.
const HA_WISH: SignedDuration = SignedDuration::from_secs(5);
/// From the loss of a node until HA fences its guests, and until they are started elsewhere.
const HA_FENCE: SignedDuration = SignedDuration::from_secs(60);
const HA_RECOVER: SignedDuration = SignedDuration::from_secs(150);
/// Between the decision to recover a guest and its start.
const HA_PLACE: SignedDuration = SignedDuration::from_secs(2);
/// A node without a quorum that has guests of HA lets its watchdog reset it after this.
const WATCHDOG: SignedDuration = SignedDuration::from_secs(60);
/// Starts by HA that may fail on one node.
const FAILURES_MAX: u32 = 2;
/// How long the loss of a node stays unsaid by HA: one loop, or the life of the master's lock if it was the master.
const WORD_LAGS: SignedDuration = SignedDuration::from_secs(10);
const MASTER_LOCK: SignedDuration = SignedDuration::from_secs(130);

impl Cluster {
    /// HA's word for a node (`online`, `maintenance`, `unknown`, `fence`), or the mode of its agent (`restart`,
    /// `shutdown`) where that tells more; `None` where nothing is managed by HA.
    pub fn ha_word(&self, name: &NodeName) -> Option<&str> {
        if self.guests.values().all(|guest| guest.spec.ha.is_none()) {
            return None;
        }
        let node = self.nodes.get(name)?;
        if let Some(word) = node.ha.as_deref().or(node.ha_mode.as_deref()) {
            return Some(word);
        }
        let Some(left) = node.left_at else { return Some("online") };
        if self.guests_on(name).any(|id| self.guests[&id].ha_managed() == Some("fence")) {
            return Some("fence");
        }
        let master = self.nodes.keys().next() == Some(name);
        let lags = if master { MASTER_LOCK } else { WORD_LAGS };
        Some(if self.now.duration_since(left) < lags { "online" } else { "unknown" })
    }

    /// HA's state of a guest is set by hand, or HA lets go of it.
    pub fn set_ha(&mut self, id: GuestId, state: Option<&str>) -> Result<(), Trouble> {
        let runs = self.guest(id)?.process.is_some();
        let state = match state {
            Some("stopped" | "disabled") if runs => Some("request_stop"),
            other => other,
        };
        let guest = self.guest_mut(id)?;
        guest.spec.ha = state.map(str::to_owned);
        (guest.ha_failures, guest.ha_relocated) = (0, false);
        if state.is_some() {
            self.order(HA_WISH, Due::Ha(id));
        }
        Ok(())
    }

    /// HA takes a node out of service: its guests move away, one after the other, where another node can take them.
    pub fn maintenance(&mut self, name: &NodeName, on: bool) -> Result<(), Trouble> {
        self.node_mut(name)?.ha = on.then(|| "maintenance".into());
        let here: Vec<GuestId> = self.guests_on(name).collect();
        for id in here {
            if on && self.guests[&id].ha_managed() == Some("started") {
                self.order(HA_WISH, Due::Ha(id));
            }
        }
        Ok(())
    }

    /// Who has a quorum may have changed: whoever lost it has a minute, whoever is cut off from it counts as lost.
    pub(super) fn membership_changed(&mut self) {
        let now = self.now;
        let names: Vec<NodeName> = self.nodes.keys().cloned().collect();
        let decides = names.iter().any(|name| self.nodes[name].alive() && self.quorate(name));
        for name in names {
            let quorate = self.quorate(&name);
            let Some(node) = self.nodes.get_mut(&name) else { continue };
            if !node.alive() {
                node.alone_since = None;
                continue;
            }
            match (quorate, node.alone_since) {
                (true, _) => {
                    node.alone_since = None;
                    if node.member {
                        node.left_at = None;
                    }
                }
                (false, Some(_)) => {}
                (false, None) => {
                    node.alone_since = Some(now);
                    self.order(WATCHDOG, Due::SelfFence(name.clone(), now));
                }
            }
            let cut = !quorate && decides && self.nodes.get(&name).is_some_and(|node| node.left_at.is_none());
            if cut && let Some(node) = self.nodes.get_mut(&name) {
                node.left_at = Some(now);
                self.begin_loss(&name);
            }
        }
    }

    /// The others have lost a node at this instant: HA begins to count.
    pub(super) fn begin_loss(&mut self, name: &NodeName) {
        let Some(left) = self.nodes.get(name).and_then(|node| node.left_at) else { return };
        self.order(HA_FENCE, Due::Fence(name.clone(), left));
        self.order(HA_RECOVER, Due::Recover(name.clone(), left));
    }

    pub(super) fn fence(&mut self, name: &NodeName, left: Timestamp) {
        for id in self.lost_with(name, left, "started") {
            if let Ok(guest) = self.guest_mut(id) {
                guest.spec.ha = Some("fence".into());
            }
        }
    }

    pub(super) fn recover(&mut self, name: &NodeName, left: Timestamp) {
        for id in self.lost_with(name, left, "fence") {
            if let Ok(guest) = self.guest_mut(id) {
                guest.spec.ha = Some("recovery".into());
            }
            self.order(HA_PLACE, Due::Ha(id));
        }
    }

    /// The watchdog of a node that has been without a quorum for a minute.
    pub(super) fn self_fence(&mut self, name: &NodeName, since: Timestamp) {
        let alone = self.nodes.get(name).is_some_and(|node| node.alive() && node.alone_since == Some(since));
        let guards = |id: &GuestId| {
            let idle = [None, Some("stopped"), Some("disabled"), Some("error"), Some("freeze")];
            !idle.contains(&self.guests[id].ha_managed())
        };
        if alone && self.guests_on(name).any(|id| guards(&id)) {
            self.restart_hard(name);
        }
    }

    pub(super) fn ha_looks(&mut self, id: GuestId) {
        let Some(guest) = self.guests.get(&id) else { return };
        let (node, runs) = (guest.spec.node.clone(), guest.process.is_some());
        let state = guest.ha_managed().map(str::to_owned);
        if state.as_deref() == Some("recovery") {
            return self.place(id, &node);
        }
        let Some(home) = self.nodes.get(&node) else { return };
        if home.power != Power::On {
            return; // Fencing decides, or the boot.
        }
        let leaves = home.ha.is_some();
        if !self.quorate(&node) {
            self.order(HA_LOOP, Due::Ha(id));
            return;
        }
        match (state.as_deref(), runs) {
            (Some("started"), _) if leaves => self.move_away(id, &node),
            (Some("started"), false) => {
                self.begin(&node, id, Verb::Start, &Actor::root());
            }
            (Some("request_stop"), true) => {
                self.begin(&node, id, Verb::Stop, &Actor::root());
            }
            (Some("request_stop"), false) => self.ha_state(id, "stopped"),
            (Some("relocate"), false) => {
                if let Some(to) = self.refuge(&node) {
                    self.begin(&node, id, Verb::Migrate { to }, &Actor::root());
                } else {
                    self.ha_state(id, "error");
                }
            }
            (_, _) => {}
        }
    }

    /// Once more where it is, then on another node, then never again until somebody sets it right.
    pub(super) fn start_failed(&mut self, id: GuestId) {
        let Ok(guest) = self.guest_mut(id) else { return };
        if guest.ha_managed() != Some("started") || guest.process.is_some() {
            return;
        }
        guest.ha_failures += 1;
        let node = guest.spec.node.clone();
        if guest.ha_failures < FAILURES_MAX {
            return self.order(HA_LOOP, Due::Ha(id));
        }
        let again = !guest.ha_relocated && self.refuge(&node).is_some();
        self.ha_state(id, if again { "relocate" } else { "error" });
        if let (true, Ok(guest)) = (again, self.guest_mut(id)) {
            (guest.ha_failures, guest.ha_relocated) = (0, true);
            self.order(HA_WISH, Due::Ha(id));
        }
    }

    /// A guest that HA sent to another node has come there.
    pub(super) fn ha_arrived(&mut self, id: GuestId) {
        let Some(state) = self.guests.get(&id).and_then(|guest| guest.ha_managed()) else { return };
        if matches!(state, "migrate" | "relocate") {
            self.ha_state(id, "started");
            self.order(HA_LOOP, Due::Ha(id));
        }
    }

    pub(super) fn ha_state(&mut self, id: GuestId, state: &str) {
        if let Ok(guest) = self.guest_mut(id) {
            guest.spec.ha = Some(state.into());
        }
    }

    /// Moves what a fenced node left behind. Without a node that can take it, it waits.
    fn place(&mut self, id: GuestId, from: &NodeName) {
        let Some(refuge) = self.refuge(from).filter(|refuge| self.quorate(refuge)) else {
            return self.order(HA_LOOP, Due::Ha(id));
        };
        self.relocate(id, &refuge);
        if let Ok(guest) = self.guest_mut(id) {
            guest.process = None;
            guest.spec.lock = None;
        }
        self.ha_state(id, "started");
        self.begin(&refuge, id, Verb::Start, &Actor::root());
    }

    fn move_away(&mut self, id: GuestId, from: &NodeName) {
        let Some(to) = self.refuge(from) else { return };
        if self.guests[&id].spec.lock.is_some() {
            return self.order(HA_LOOP, Due::Ha(id));
        }
        self.ha_state(id, if self.guests[&id].process.is_some() { "migrate" } else { "relocate" });
        self.begin(from, id, Verb::Migrate { to }, &Actor::root());
    }

    /// The first node on the side that decides that can take a guest from another one.
    fn refuge(&self, from: &NodeName) -> Option<NodeName> {
        let fits = |name: &NodeName| {
            let node = &self.nodes[name];
            name != from && node.power == Power::On && node.member && node.ha.is_none() && self.quorate(name)
        };
        self.nodes.keys().find(|name| fits(name)).cloned()
    }

    fn lost_with(&self, name: &NodeName, left: Timestamp, state: &str) -> Vec<GuestId> {
        let lost = self.nodes.get(name).is_some_and(|node| node.left_at == Some(left));
        let decides = self.nodes.iter().any(|(name, node)| node.alive() && self.quorate(name));
        let here = self.guests_on(name).filter(|id| self.guests[id].ha_managed() == Some(state));
        if lost && decides { here.collect() } else { Vec::new() }
    }
}
