//! What befalls nodes and guests: crashes, power loss, boots, HA, and the statistics that tell of them late.

use engine::observe::{GuestId, GuestKind, NodeName, StorageName};
use jiff::SignedDuration;

use super::act::{Verb, locked};
use super::model::{Power, Process};
use super::stats::part;
use super::task::Actor;
use super::{Cluster, STATS_EVERY, Trouble};
use crate::rng::noise;

/// How long corosync takes to notice that a node is dead.
const MEMBERSHIP_DELAY: SignedDuration = SignedDuration::from_secs(8);
/// From power-on until the system is up and a member again.
const BOOT_TAKES: SignedDuration = SignedDuration::from_secs(30);
/// How old a node is by its own reckoning when it joins: its kernel came first.
const KERNEL_BEFORE_JOIN: SignedDuration = SignedDuration::from_secs(22);
/// From joining until the boot's own task starts the guests.
const STARTALL_AFTER_JOIN: SignedDuration = SignedDuration::from_secs(2);
/// Between two guests at boot.
const STARTALL_STEP: SignedDuration = SignedDuration::from_secs(3);
/// HA's loop: how long until it notices that a guest is down.
const HA_LOOP: SignedDuration = SignedDuration::from_secs(9);
/// From the loss of a node until HA fences its guests, and until they are started elsewhere.
const HA_FENCE: SignedDuration = SignedDuration::from_secs(60);
const HA_RECOVER: SignedDuration = SignedDuration::from_secs(150);
/// Starts by HA that may fail before it gives up.
const HA_FAILURES_MAX: u32 = 2;

/// Something that is going to happen.
#[derive(Clone, Debug)]
pub(super) enum Due {
    /// A node tells the others its numbers; with the life of the node for which it was ordered.
    Broadcast(NodeName, u32),
    /// Corosync notices that a node is dead.
    Lost(NodeName, u32),
    /// A node's system is up.
    Up(NodeName, u32),
    /// A clean shutdown is over; with whether it boots again.
    Off(NodeName, u32, bool),
    /// A node's boot starts its guests.
    StartAll(NodeName, u32),
    /// The next guest of a boot.
    StartNext { node: NodeName, life: u32, upid: String, left: Vec<GuestId> },
    /// A step of a task.
    Step { node: NodeName, life: u32, upid: String, guest: GuestId, step: Step },
    /// HA looks at a guest.
    Ha(GuestId),
    /// HA gives up a dead node.
    Fence(NodeName, u32),
    /// HA moves the guests of a dead node.
    Recover(NodeName, u32),
    /// A guest's own shutdown is through.
    PoweredOff(GuestId),
}

/// A step of a task.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Whether the guest may start at all.
    StartChecks,
    /// Its process is there.
    Started,
    /// Its process is gone.
    Stop,
    /// A guest that ignores the request to shut down has used up its time.
    ShutdownIgnored { force: bool },
    /// PVE starts it again by a task of its own.
    StartByRoot,
    /// It is started again inside the same task.
    StartInside,
    /// It is in this run state.
    State(Box<str>),
    /// It is on its new node.
    Arrive { to: NodeName },
    /// The task is over.
    End(String),
}

impl Cluster {
    pub(super) fn befall(&mut self, due: Due) {
        match due {
            Due::Broadcast(node, life) => {
                if self.lives(&node, life) {
                    self.broadcast(&node);
                    self.order(STATS_EVERY, Due::Broadcast(node, life));
                }
            }
            Due::Lost(node, life) => self.lost(&node, life),
            Due::Up(node, life) => self.up(&node, life),
            Due::Off(node, life, again) => self.off(&node, life, again),
            Due::StartAll(node, life) => self.start_all(&node, life),
            Due::StartNext { node, life, upid, left } => self.start_next(node, life, upid, left),
            Due::Step { node, life, upid, guest, step } => {
                if self.lives(&node, life) {
                    self.step(&node, &upid, guest, step);
                }
            }
            Due::Ha(id) => self.ha_looks(id),
            Due::Fence(node, life) => self.fence(&node, life),
            Due::Recover(node, life) => self.recover(&node, life),
            Due::PoweredOff(id) => self.gone(id),
        }
    }

    /// A guest's process is gone at this instant, and nobody asked for it: no task tells why.
    pub fn crash(&mut self, id: GuestId) -> Result<(), Trouble> {
        self.must_run(id)?;
        self.gone(id);
        Ok(())
    }

    /// The guest shuts itself down from inside: like a crash, only slower.
    pub fn power_off(&mut self, id: GuestId) -> Result<(), Trouble> {
        self.must_run(id)?;
        self.order(SignedDuration::from_millis(2_300), Due::PoweredOff(id));
        Ok(())
    }

    /// The guest is in another run state, and nobody asked for it (`io-error`, `guest-panicked`).
    pub fn run_state(&mut self, id: GuestId, state: &str) -> Result<(), Trouble> {
        self.must_run(id)?;
        if let Some(process) = &mut self.guest_mut(id)?.process {
            process.state = state.into();
        }
        Ok(())
    }

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
        let node = self.node_mut(name)?;
        if node.power != Power::Off {
            return Err(Trouble::NoSense(format!("node `{name}` is on already")));
        }
        node.power = Power::Booting;
        let life = node.life;
        self.order(BOOT_TAKES, Due::Up(name.clone(), life));
        Ok(())
    }

    /// A node goes down cleanly: its guests are shut down by tasks, then it leaves the cluster at once.
    pub fn shutdown_node(&mut self, name: &NodeName, boot_again: bool) -> Result<(), Trouble> {
        let node = self.node_mut(name)?;
        if node.power != Power::On {
            return Err(Trouble::NoSense(format!("node `{name}` is not up")));
        }
        node.power = Power::Leaving;
        let life = node.life;
        let root = Actor::root();
        let upid = self.task(name, "stopall", "", &root);
        let running: Vec<GuestId> = self.guests_on(name).filter(|id| self.runs(*id)).collect();
        let mut longest = 1_500;
        for id in running {
            if self.guests[&id].ha_managed().is_some()
                && let Ok(guest) = self.guest_mut(id)
            {
                guest.spec.ha = Some("freeze".into());
            }
            self.begin(name, id, Verb::Shutdown { timeout: 30, force: true }, &root);
            longest = longest.max(if self.guests[&id].spec.deaf { 33_000 } else { 5_000 });
        }
        let any = GuestId { kind: GuestKind::Qemu, vmid: 100 };
        self.then(name, &upid, any, longest, Step::End("OK".into()));
        self.order(SignedDuration::from_millis(longest + 1_000), Due::Off(name.clone(), life, boot_again));
        Ok(())
    }

    /// A storage is lost on one of its nodes, or on all; or it is back.
    pub fn storage_active(
        &mut self,
        storage: &StorageName,
        node: Option<&NodeName>,
        active: bool,
    ) -> Result<(), Trouble> {
        self.change_places(storage, node, |place| place.active = active)
    }

    /// Sets how full a storage is, as a fraction.
    pub fn storage_used(
        &mut self,
        storage: &StorageName,
        node: Option<&NodeName>,
        fraction: f64,
    ) -> Result<(), Trouble> {
        let total = self.storages.get(storage).map_or(0, |s| s.spec.total);
        self.change_places(storage, node, |place| place.used = part(total, fraction))
    }

    fn change_places(
        &mut self,
        storage: &StorageName,
        node: Option<&NodeName>,
        change: impl Fn(&mut super::Place),
    ) -> Result<(), Trouble> {
        self.touch();
        let found = self.storages.get_mut(storage).ok_or_else(|| Trouble::NoStorage(storage.to_string()))?;
        let mut changed = 0;
        // What is shared is one thing: it cannot be fuller on one node than on another.
        let everywhere = node.is_none();
        for (_, place) in found.places.iter_mut().filter(|(at, _)| everywhere || Some(*at) == node) {
            change(place);
            changed += 1;
        }
        let missing = || Trouble::NoStorage(format!("{storage}` on `{}", node.map_or("?", NodeName::as_str)));
        if changed > 0 { Ok(()) } else { Err(missing()) }
    }

    pub(super) fn guests_on<'a>(&'a self, node: &'a NodeName) -> impl Iterator<Item = GuestId> + 'a {
        self.guests.iter().filter(move |(_, guest)| guest.spec.node == *node).map(|(id, _)| *id)
    }

    fn lives(&self, node: &NodeName, life: u32) -> bool {
        self.nodes.get(node).is_some_and(|n| n.life == life && n.alive())
    }

    fn runs(&self, id: GuestId) -> bool {
        self.guests.get(&id).is_some_and(|guest| guest.process.is_some())
    }

    fn must_run(&self, id: GuestId) -> Result<(), Trouble> {
        match self.guest(id)?.process {
            Some(_) => Ok(()),
            None => Err(Trouble::NoSense(format!("{id} does not run"))),
        }
    }

    fn lose_power(&mut self, name: &NodeName) -> Result<(), Trouble> {
        let node = self.node_mut(name)?;
        node.power = Power::Off;
        node.life += 1;
        let here: Vec<GuestId> = self.guests_on(name).collect();
        for id in here {
            self.guest_mut(id)?.process = None;
        }
        Ok(())
    }

    fn lost(&mut self, name: &NodeName, life: u32) {
        let now = self.now;
        let Ok(node) = self.node_mut(name) else { return };
        if node.life != life || node.alive() {
            return; // It was back before anybody noticed.
        }
        node.member = false;
        node.left_at = Some(now);
        self.order(HA_FENCE, Due::Fence(name.clone(), life));
        self.order(HA_RECOVER, Due::Recover(name.clone(), life));
    }

    fn off(&mut self, name: &NodeName, life: u32, boot_again: bool) {
        if !self.lives(name, life) || self.lose_power(name).is_err() {
            return;
        }
        let now = self.now;
        if let Ok(node) = self.node_mut(name) {
            node.member = false;
            node.left_at = Some(now);
        }
        if boot_again {
            // It was off an instant ago, so it can be started.
            let started = self.start_node(name);
            debug_assert!(started.is_ok());
        }
    }

    fn up(&mut self, name: &NodeName, life: u32) {
        let now = self.now;
        let Ok(node) = self.node_mut(name) else { return };
        if node.life != life || node.power != Power::Booting {
            return;
        }
        node.power = Power::On;
        node.member = true;
        node.left_at = None;
        node.booted_at = now - KERNEL_BEFORE_JOIN;
        node.tasks.end_all_unexpected(now);
        self.order(STATS_EVERY, Due::Broadcast(name.clone(), life));
        self.order(STARTALL_AFTER_JOIN, Due::StartAll(name.clone(), life));
    }

    /// The boot's own task: stale backup locks go, then the guests with `onboot` start in their order.
    fn start_all(&mut self, name: &NodeName, life: u32) {
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

    fn start_next(&mut self, node: NodeName, life: u32, upid: String, mut left: Vec<GuestId>) {
        if !self.lives(&node, life) {
            return;
        }
        if !self.quorate(&node) {
            self.order(STARTALL_STEP, Due::StartNext { node, life, upid, left }); // It waits for a quorum.
            return;
        }
        if left.is_empty() {
            let now = self.now;
            if let Ok(found) = self.node_mut(&node) {
                found.tasks.end(&upid, now, "OK");
            }
            return;
        }
        let id = left.remove(0);
        if self.guests.get(&id).is_some_and(|guest| guest.process.is_none() && guest.spec.node == node) {
            self.begin(&node, id, Verb::Start, &Actor::root());
        }
        self.order(STARTALL_STEP, Due::StartNext { node, life, upid, left });
    }

    fn step(&mut self, node: &NodeName, upid: &str, id: GuestId, step: Step) {
        match step {
            Step::StartChecks => match self.start_objection(node, id) {
                Some(objection) => {
                    self.end_task(node, upid, &objection);
                    self.start_failed(id);
                }
                None => {
                    let takes = 360 + (noise(self.seed, u64::from(id.vmid), 5) * 1_000.0) as i64;
                    self.then(node, upid, id, takes, Step::Started);
                    self.then(node, upid, id, takes + 60, Step::End("OK".into()));
                }
            },
            Step::Started | Step::StartInside => self.process_begins(node, id),
            Step::Stop => match self.guests.get(&id).and_then(|guest| guest.spec.lock.clone()) {
                Some(lock) => self.end_task(node, upid, &locked(id.kind, &lock)),
                None => self.gone(id),
            },
            Step::ShutdownIgnored { force: false } => {
                self.end_task(node, upid, "VM quit/powerdown failed - got timeout");
            }
            Step::ShutdownIgnored { force: true } => {
                if let Ok(found) = self.node_mut(node) {
                    found.tasks.say(upid, "VM still running - terminating now with SIGTERM");
                }
                self.gone(id);
                self.end_task(node, upid, "OK");
            }
            Step::StartByRoot => {
                self.begin(node, id, Verb::Start, &Actor::root());
            }
            Step::State(state) => {
                let what = if self.runs(id) { "OK".into() } else { format!("VM {} not running", id.vmid) };
                if let Ok(Some(process)) = self.guest_mut(id).map(|guest| guest.process.as_mut()) {
                    process.state = state;
                }
                self.end_task(node, upid, &what);
            }
            Step::Arrive { to } => self.arrive(node, upid, id, to),
            Step::End(status) => self.end_task(node, upid, &status),
        }
    }

    fn start_objection(&self, node: &NodeName, id: GuestId) -> Option<String> {
        let (what, vmid) = (if id.kind == GuestKind::Qemu { "VM" } else { "CT" }, id.vmid);
        let here = self.guests.get(&id).filter(|guest| guest.spec.node == *node);
        let Some(guest) = here else {
            let path = super::Guest::config_path(node, id);
            return Some(format!("Configuration file '{path}' does not exist"));
        };
        if guest.spec.template {
            return Some(match id.kind {
                GuestKind::Qemu => "you can't start a vm if it's a template".into(),
                GuestKind::Lxc => "you can't start a CT if it's a template".into(),
            });
        }
        // A hibernated machine carries a lock, and starting it is how it wakes.
        if let Some(lock) =
            guest.spec.lock.as_deref().filter(|lock| *lock != "suspended" && *lock != "mounted")
        {
            return Some(locked(id.kind, lock));
        }
        if guest.process.is_some() {
            return Some(format!("{what} {vmid} already running"));
        }
        guest.spec.broken.then(|| match id.kind {
            GuestKind::Qemu => format!("volume 'local:{vmid}/vm-{vmid}-disk-0.raw' does not exist"),
            GuestKind::Lxc => format!("startup for container '{vmid}' failed"),
        })
    }

    fn process_begins(&mut self, node: &NodeName, id: GuestId) {
        let (now, pid) = (self.now, 2_000 + (self.ordered % 4_000_000) as u32);
        if let Ok(guest) = self.guest_mut(id)
            && guest.spec.node == *node
        {
            guest.process = Some(Process { pid, since: now, state: "running".into(), hung: false });
            guest.spec.lock.take_if(|lock| lock == "suspended");
            guest.ha_failures = 0;
        }
    }

    fn arrive(&mut self, node: &NodeName, upid: &str, id: GuestId, to: NodeName) {
        if !self.nodes.get(&to).is_some_and(super::Node::alive) {
            if let Ok(guest) = self.guest_mut(id) {
                guest.spec.lock = None;
            }
            return self.end_task(node, upid, "migration aborted");
        }
        let ran = self.guests.get(&id).and_then(|guest| guest.process.clone());
        if let Ok(guest) = self.guest_mut(id) {
            guest.spec.node = to.clone();
            guest.spec.lock = None;
        }
        if let Some(process) = ran {
            // The target has a process of its own, younger than the guest's work.
            let start = self.task(
                &to,
                if id.kind == GuestKind::Qemu { "qmstart" } else { "vzstart" },
                &id.vmid.to_string(),
                &Actor::root(),
            );
            self.process_begins(&to, id);
            if let Ok(Some(new)) = self.guest_mut(id).map(|guest| guest.process.as_mut()) {
                new.state = process.state;
            }
            self.then(&to, &start, id, 300, Step::End("OK".into()));
        }
        self.end_task(node, upid, "OK");
    }

    fn gone(&mut self, id: GuestId) {
        let Ok(guest) = self.guest_mut(id) else { return };
        if guest.process.take().is_none() {
            return;
        }
        let state = guest.ha_managed().map(str::to_owned);
        if state.as_deref() == Some("request_stop") {
            guest.spec.ha = Some("stopped".into());
        }
        if state.as_deref() == Some("started") {
            self.order(HA_LOOP, Due::Ha(id));
        }
    }

    fn ha_looks(&mut self, id: GuestId) {
        let Some(guest) = self.guests.get(&id) else { return };
        let (node, runs) = (guest.spec.node.clone(), guest.process.is_some());
        if !self.nodes.get(&node).is_some_and(super::Node::alive) {
            return; // Fencing decides.
        }
        match (guest.ha_managed(), runs) {
            (Some("started"), false) => {
                self.begin(&node, id, Verb::Start, &Actor::root());
            }
            (Some("request_stop"), true) => {
                self.begin(&node, id, Verb::Stop, &Actor::root());
            }
            (Some("request_stop"), false) => {
                if let Ok(guest) = self.guest_mut(id) {
                    guest.spec.ha = Some("stopped".into());
                }
            }
            (_, _) => {}
        }
    }

    fn start_failed(&mut self, id: GuestId) {
        let Ok(guest) = self.guest_mut(id) else { return };
        if guest.ha_managed() != Some("started") || guest.process.is_some() {
            return;
        }
        guest.ha_failures += 1;
        if guest.ha_failures >= HA_FAILURES_MAX {
            guest.spec.ha = Some("error".into());
        } else {
            self.order(HA_LOOP, Due::Ha(id));
        }
    }

    fn still_lost(&self, name: &NodeName, life: u32) -> bool {
        self.nodes.get(name).is_some_and(|node| node.life == life && !node.member)
    }

    fn fence(&mut self, name: &NodeName, life: u32) {
        if !self.still_lost(name, life) {
            return;
        }
        let here: Vec<GuestId> = self.guests_on(name).collect();
        for id in here {
            if let Ok(guest) = self.guest_mut(id)
                && guest.ha_managed() == Some("started")
            {
                guest.spec.ha = Some("fence".into());
            }
        }
    }

    fn recover(&mut self, name: &NodeName, life: u32) {
        if !self.still_lost(name, life) {
            return;
        }
        let refuge = self.nodes.iter().find(|(_, node)| node.alive() && node.member).map(|(n, _)| n.clone());
        let Some(refuge) = refuge.filter(|refuge| self.quorate(refuge)) else { return };
        let fenced: Vec<GuestId> =
            self.guests_on(name).filter(|id| self.guests[id].ha_managed() == Some("fence")).collect();
        for id in fenced {
            if let Ok(guest) = self.guest_mut(id) {
                guest.spec.node = refuge.clone();
                guest.spec.lock = None;
                guest.spec.ha = Some("started".into());
            }
            self.begin(&refuge, id, Verb::Start, &Actor::root());
        }
    }

    fn end_task(&mut self, node: &NodeName, upid: &str, status: &str) {
        let now = self.now;
        if let Ok(found) = self.node_mut(node) {
            found.tasks.end(upid, now, status);
        }
    }
}
