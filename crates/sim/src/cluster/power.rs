//! Power: how nodes go down and come up, cleanly or not, and what that does to their guests.
//!
//! What the others make of it is in `side` and `ha`.

use std::collections::BTreeMap;

use engine::observe::{GuestId, GuestKind, MacAddress, NodeName};
use jiff::{SignedDuration, Timestamp};

use super::act::{Refusal, Verb};
use super::ha::HA_LOOP;
use super::life::{Due, Step};
use super::model::{Power, ServiceState};
use super::task::Actor;
use super::truth::Befell;
use super::{Cluster, STATS_EVERY, Trouble};

/// How long corosync takes to notice that a node is dead.
const MEMBERSHIP_DELAY: SignedDuration = SignedDuration::from_secs(8);
/// From power-on until the system is up and a member again.
const BOOT_TAKES: SignedDuration = SignedDuration::from_secs(30);
/// How old a node is by its own reckoning when it joins: its kernel came first.
const KERNEL_BEFORE_JOIN: SignedDuration = SignedDuration::from_secs(22);
/// From joining until the boot's own task starts the guests.
const STARTALL_AFTER_JOIN: SignedDuration = SignedDuration::from_secs(2);
/// Between two guests at boot, where the first of them does not say otherwise.
const STARTALL_STEP: SignedDuration = SignedDuration::from_secs(3);
/// A hard reset that is over before corosync notices.
const RESET_TAKES: SignedDuration = SignedDuration::from_millis(6_500);
/// How long a guest has to obey when its node shuts down.
const STOPALL_TIMEOUT: u32 = 180;
/// How often the shutdown of a node looks whether a group of guests is down.
const STOPALL_LOOK: SignedDuration = SignedDuration::from_secs(1);

impl Cluster {
    /// A node loses power. The others notice after some seconds, and show its guests as running for minutes.
    pub fn kill_node(&mut self, name: &NodeName) -> Result<(), Trouble> {
        if self.node(name)?.power == Power::Off {
            return Err(Trouble::NoSense(format!("node `{name}` is off already")));
        }
        self.lose_power(name)?;
        let life = self.node(name)?.life;
        self.order(MEMBERSHIP_DELAY, Due::Lost(name.clone(), life));
        Ok(())
    }

    /// A node is switched on.
    pub fn start_node(&mut self, name: &NodeName) -> Result<(), Trouble> {
        if self.node(name)?.power != Power::Off {
            return Err(Trouble::NoSense(format!("node `{name}` is on already")));
        }
        self.boot(name, BOOT_TAKES)
    }

    /// A node's settings name the MAC address that wakes it.
    pub fn set_mac(&mut self, name: &NodeName, mac: MacAddress) -> Result<(), Trouble> {
        self.node_mut(name)?.spec.mac = Some(mac);
        Ok(())
    }

    /// One node sends the packet that wakes another, which gives the MAC address that it was made of. It does nothing to
    /// a node that is on.
    pub fn wake_node(&mut self, from: &NodeName, name: &NodeName) -> Result<MacAddress, Refusal> {
        if from == name {
            return Err(Refusal(format!("'{name}' is local node, cannot wake my self!")));
        }
        let Some(node) = self.nodes.get(name) else {
            return Err(Refusal(format!("no such cluster node '{name}'")));
        };
        let Some(mac) = node.spec.mac else {
            return Err(Refusal(format!("No wake on LAN MAC address defined for '{name}'!")));
        };
        if node.power == Power::Off && self.start_node(name).is_err() {
            return Err(Refusal(format!("node '{name}' does not start")));
        }
        Ok(mac)
    }

    /// A packet to an address, from somewhere on the network: a node that is off and has it wakes.
    pub fn packet(&mut self, mac: MacAddress) {
        let mut nodes = self.nodes.values();
        let asleep = nodes.find(|node| node.spec.mac == Some(mac) && node.power == Power::Off);
        let name = asleep.map(|node| node.spec.name.clone());
        if let Some(name) = name {
            self.start_node(&name).ok(); // One that does not start is not to be had by this packet either.
        }
    }

    /// A node loses power and is up again before anybody notices: it never leaves the cluster.
    pub fn reset_node(&mut self, name: &NodeName) -> Result<(), Trouble> {
        if !self.node(name)?.alive() {
            return Err(Trouble::NoSense(format!("node `{name}` is not up")));
        }
        self.lose_power(name)?;
        self.boot(name, RESET_TAKES)
    }

    /// A node's watchdog resets it: it is lost to the others, and boots.
    pub(super) fn restart_hard(&mut self, name: &NodeName) {
        if self.lose_power(name).is_err() || self.boot(name, BOOT_TAKES).is_err() {
            return;
        }
        let life = self.nodes.get(name).map_or(0, |node| node.life);
        self.order(MEMBERSHIP_DELAY, Due::Lost(name.clone(), life));
    }

    fn boot(&mut self, name: &NodeName, takes: SignedDuration) -> Result<(), Trouble> {
        let node = self.node_mut(name)?;
        node.power = Power::Booting;
        let life = node.life;
        // Its kernel began well before it joins, and never before it was switched on.
        let kernel = KERNEL_BEFORE_JOIN.min(takes - SignedDuration::from_secs(1));
        let booted_at = self.now + takes - kernel;
        self.order(takes, Due::Up(name.clone(), life, booted_at));
        Ok(())
    }

    /// A node goes down cleanly: its guests are shut down by tasks, then it leaves the cluster at once.
    ///
    /// Those that started last are asked first, and one that does not obey keeps the others waiting.
    pub fn shutdown_node(&mut self, name: &NodeName, boot_again: bool) -> Result<(), Trouble> {
        let node = self.node_mut(name)?;
        if node.power != Power::On {
            return Err(Trouble::NoSense(format!("node `{name}` is not up")));
        }
        node.power = Power::Leaving;
        node.ha_mode = Some(if boot_again { "restart" } else { "shutdown" }.into());
        let life = node.life;
        let upid = self.task(name, "stopall", "", &Actor::root());
        let running: Vec<GuestId> = self.guests_on(name).filter(|id| self.runs(*id)).collect();
        let mut groups: BTreeMap<u32, Vec<GuestId>> = BTreeMap::new();
        for id in running {
            // What only waits for its node's return is frozen; what is to run elsewhere is not.
            if boot_again && self.guests[&id].ha_managed().is_some() {
                self.ha_state(id, "freeze");
            }
            groups.entry(self.guests[&id].spec.order.unwrap_or(u32::MAX)).or_default().push(id);
        }
        let groups: Vec<Vec<GuestId>> = groups.into_values().collect();
        self.stop_group(name, groups.last());
        let due = Due::StopNext { node: name.clone(), life, upid, groups, again: boot_again };
        self.order(STOPALL_LOOK, due);
        Ok(())
    }

    fn stop_group(&mut self, name: &NodeName, group: Option<&Vec<GuestId>>) {
        for id in group.into_iter().flatten().filter(|id| self.runs(**id)).copied().collect::<Vec<_>>() {
            self.begin(name, id, Verb::Shutdown { timeout: STOPALL_TIMEOUT, force: true }, &Actor::root());
        }
    }

    pub(super) fn stop_next(
        &mut self,
        node: NodeName,
        life: u32,
        upid: String,
        mut groups: Vec<Vec<GuestId>>,
        again: bool,
    ) {
        if !self.lives(&node, life) {
            return;
        }
        if !groups.last().is_some_and(|group| group.iter().any(|id| self.runs_on(*id, &node))) {
            groups.pop();
            if groups.is_empty() {
                let any = GuestId { kind: GuestKind::Qemu, vmid: 100 };
                self.then(&node, &upid, any, 1_000, Step::End("OK".into()));
                return self.order(SignedDuration::from_secs(2), Due::Off(node, life, again));
            }
            let group = groups.last().cloned();
            self.stop_group(&node, group.as_ref());
        }
        self.order(STOPALL_LOOK, Due::StopNext { node, life, upid, groups, again });
    }

    fn lose_power(&mut self, name: &NodeName) -> Result<(), Trouble> {
        let node = self.node_mut(name)?;
        node.power = Power::Off;
        node.life += 1;
        node.alone_since = None;
        let here: Vec<GuestId> = self.guests_on(name).collect();
        for id in here {
            if self.guest_mut(id)?.process.take().is_some() {
                self.befell(id, Befell::NodeLost);
            }
        }
        Ok(())
    }

    pub(super) fn lost(&mut self, name: &NodeName, life: u32) {
        let now = self.now;
        let Ok(node) = self.node_mut(name) else { return };
        if node.life != life || node.alive() {
            return; // It was back before anybody noticed.
        }
        node.member = false;
        // Who was cut off before is not lost a second time.
        if node.left_at.is_none() {
            node.left_at = Some(now);
            self.begin_loss(name);
        }
        self.membership_changed();
    }

    pub(super) fn off(&mut self, name: &NodeName, life: u32, boot_again: bool) {
        if !self.lives(name, life) || self.lose_power(name).is_err() {
            return;
        }
        let now = self.now;
        if let Ok(node) = self.node_mut(name) {
            node.member = false;
            node.left_at = node.left_at.or(Some(now));
        }
        self.begin_loss(name);
        self.membership_changed();
        if boot_again {
            // It was off an instant ago, so it can be started.
            let started = self.start_node(name);
            debug_assert!(started.is_ok());
        }
    }

    pub(super) fn up(&mut self, name: &NodeName, life: u32, booted_at: Timestamp) {
        let now = self.now;
        let Ok(node) = self.node_mut(name) else { return };
        if node.life != life || node.power != Power::Booting {
            return;
        }
        node.power = Power::On;
        node.member = true;
        node.ha_mode = None;
        node.booted_at = booted_at;
        node.listens_since = now;
        // A boot starts every service anew.
        (node.stalled, node.proxy_down, node.daemon_down) = (false, false, false);
        (node.daemon_hung, node.clusterfs_down) = (false, false);
        for state in node.services.values_mut().filter(|state| &*state.unit == "enabled") {
            *state = ServiceState::from_word("active");
        }
        node.tasks.end_all_unexpected(now);
        self.order(STATS_EVERY, Due::Broadcast(name.clone(), life));
        self.order(STARTALL_AFTER_JOIN, Due::StartAll(name.clone(), life));
        self.membership_changed();
        self.journal(name, "kernel: Linux version 6.17.2-1-pve");
    }

    /// The boot's own task: stale backup locks go, then the guests with `onboot` start in their order.
    pub(super) fn start_all(&mut self, name: &NodeName, life: u32) {
        if !self.lives(name, life) {
            return;
        }
        let upid = self.task(name, "startall", "", &Actor::root());
        let here: Vec<GuestId> = self.guests_on(name).collect();
        for id in &here {
            if let Ok(guest) = self.guest_mut(*id) {
                guest.spec.lock.take_if(|lock| lock == "backup");
                if guest.spec.ha.as_deref() == Some("freeze") {
                    guest.spec.ha = Some("started".into());
                }
            }
            if self.guests[id].ha_managed() == Some("started") {
                self.order(HA_LOOP, Due::Ha(*id));
            }
        }
        let mut left: Vec<GuestId> = here
            .into_iter()
            .filter(|id| {
                let guest = &self.guests[id];
                guest.spec.onboot && !guest.spec.template && guest.ha_managed().is_none()
            })
            .collect();
        left.sort_by_key(|id| (self.guests[id].spec.order.unwrap_or(u32::MAX), id.vmid));
        self.start_next(name.clone(), life, upid, left);
    }

    pub(super) fn start_next(&mut self, node: NodeName, life: u32, upid: String, mut left: Vec<GuestId>) {
        if !self.lives(&node, life) {
            return;
        }
        if !self.quorate(&node) {
            self.order(STARTALL_STEP, Due::StartNext { node, life, upid, left }); // It waits for a quorum.
            return;
        }
        if left.is_empty() {
            return self.end_task(&node, &upid, "OK");
        }
        let id = left.remove(0);
        let mut wait = STARTALL_STEP;
        if let Some(guest) =
            self.guests.get(&id).filter(|guest| guest.process.is_none() && guest.spec.node == node)
        {
            wait = guest.spec.up.map_or(wait, |up| SignedDuration::from_secs(up.into()));
            self.begin(&node, id, Verb::Start, &Actor::root());
        }
        self.order(wait, Due::StartNext { node, life, upid, left });
    }
}
