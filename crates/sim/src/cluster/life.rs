//! What befalls guests and storages: deaths, restarts, the steps of tasks; and the list of all that is due.
//!
//! Nodes that lose power are in `power`. What HA makes of it is in `ha`, who sees it in `side`, what the node's journal says in `journal`.

use engine::observe::{GuestId, GuestKind, NodeName, StorageName};
use jiff::{SignedDuration, Timestamp};

use super::act::{Verb, locked};
use super::backup::{Job, Part};
use super::ha::HA_LOOP;
use super::journal::End;
use super::model::{Death, Process};
use super::stats::part;
use super::task::Actor;
use super::truth::Befell;
use super::{Cluster, STATS_EVERY, Trouble};
use crate::rng::noise;

/// How long before its arrival a machine's new process was made.
const AWAITED: SignedDuration = SignedDuration::from_millis(4_600);
/// How long a container takes to restart from inside.
const INSIDE_TAKES: SignedDuration = SignedDuration::from_millis(1_100);

/// Something that is going to happen.
#[derive(Clone, Debug)]
pub(super) enum Due {
    /// A node tells the others its numbers; with the life of the node for which it was ordered.
    Broadcast(NodeName, u32),
    /// Corosync notices that a node is dead.
    Lost(NodeName, u32),
    /// A node's system is up; with when its kernel began.
    Up(NodeName, u32, Timestamp),
    /// The shutdown of a node looks after its guests, one group after the other.
    StopNext { node: NodeName, life: u32, upid: String, groups: Vec<Vec<GuestId>>, again: bool },
    /// A clean shutdown is over; with whether it boots again.
    Off(NodeName, u32, bool),
    /// A node's boot starts its guests.
    StartAll(NodeName, u32),
    /// The next guest of a boot.
    StartNext { node: NodeName, life: u32, upid: String, left: Vec<GuestId> },
    /// A step of a task.
    Step { node: NodeName, life: u32, upid: String, guest: GuestId, step: Step },
    /// A service has been restarted, by a task.
    Restarted { node: NodeName, life: u32, upid: String, service: Box<str> },
    /// HA looks at a guest.
    Ha(GuestId),
    /// HA gives up a node that was lost then.
    Fence(NodeName, Timestamp),
    /// HA moves the guests of a node that was lost then.
    Recover(NodeName, Timestamp),
    /// The watchdog of a node that has had no quorum since then.
    SelfFence(NodeName, Timestamp),
    /// A guest's own shutdown is through.
    PoweredOff(GuestId),
    /// A container that restarted from inside is up again.
    Again(NodeName, u32, GuestId),
    /// Somebody writes a line into a node's journal.
    Journal { node: NodeName, life: u32, text: String },
}

/// A step of a task.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Whether the guest may start at all.
    StartChecks,
    /// Its process is there.
    Started,
    /// Its process is gone, if no lock protects it.
    Stop,
    /// Its process is gone, lock or not: the task itself holds the lock.
    Halt,
    /// A guest that ignores the request to shut down has used up its time.
    ShutdownIgnored { force: bool },
    /// PVE starts it again by a task of its own.
    StartByRoot,
    /// It is started again inside the same task.
    StartInside,
    /// It is in this run state, and the task is over.
    State(Box<str>),
    /// It is in this run state for a moment.
    Passing(Box<str>),
    /// Its new node makes a process for it.
    Await { to: NodeName },
    /// Its configuration is on its new node; with the run state that it had before.
    Arrive { to: NodeName, state: Option<Box<str>> },
    /// It goes on on its new node.
    Landed { to: NodeName, state: Box<str> },
    /// Its memory is on disk.
    Suspended,
    /// It loses its lock, and the task is over.
    Unlocked,
    /// A backup goes on.
    Backup(Job, Part),
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
            Due::Up(node, life, booted_at) => self.up(&node, life, booted_at),
            Due::StopNext { node, life, upid, groups, again } => {
                self.stop_next(node, life, upid, groups, again);
            }
            Due::Off(node, life, again) => self.off(&node, life, again),
            Due::StartAll(node, life) => self.start_all(&node, life),
            Due::StartNext { node, life, upid, left } => self.start_next(node, life, upid, left),
            Due::Step { node, life, upid, guest, step } => {
                if self.lives(&node, life) {
                    self.step(&node, &upid, guest, step);
                }
            }
            Due::Restarted { node, life, upid, service } => {
                if self.lives(&node, life) {
                    self.restarted(&node, &upid, &service);
                }
            }
            Due::Ha(id) => self.ha_looks(id),
            Due::Fence(node, left) => self.fence(&node, left),
            Due::Recover(node, left) => self.recover(&node, left),
            Due::SelfFence(node, since) => self.self_fence(&node, since),
            Due::PoweredOff(id) => self.powered_off(id),
            Due::Again(node, life, id) => {
                if self.lives(&node, life) && !self.runs(id) {
                    self.process_begins(&node, id, Befell::Began);
                }
            }
            Due::Journal { node, life, text } => {
                if self.lives(&node, life) {
                    self.journal(&node, text);
                }
            }
        }
    }

    /// A guest's process is killed at this instant, and nobody asked for it: no task tells why.
    pub fn crash(&mut self, id: GuestId) -> Result<(), Trouble> {
        self.die(id, Death::Killed)
    }

    /// A guest's process ends in this way at this instant; only its node's journal may tell how.
    pub fn die(&mut self, id: GuestId, how: Death) -> Result<(), Trouble> {
        self.must_run(id)?;
        self.ends(id, End::Died(how));
        Ok(())
    }

    /// The guest shuts itself down from inside: like a crash, only slower.
    pub fn power_off(&mut self, id: GuestId) -> Result<(), Trouble> {
        self.must_run(id)?;
        self.order(SignedDuration::from_millis(2_300), Due::PoweredOff(id));
        Ok(())
    }

    /// The guest's system restarts from inside. Of a machine nothing shows at all; a container gets another process,
    /// by chance with a second in between.
    pub fn reboot_inside(&mut self, id: GuestId) -> Result<(), Trouble> {
        self.must_run(id)?;
        if id.kind == GuestKind::Qemu {
            return Ok(());
        }
        let node = self.guest(id)?.spec.node.clone();
        let life = self.node(&node)?.life;
        for what in [": Deactivated successfully.", ""] {
            let verb = if what.is_empty() { "Stopped " } else { "" };
            self.journal(&node, format!("systemd[1]: {verb}pve-container@{}.service{what}", id.vmid));
        }
        self.guest_mut(id)?.process = None;
        self.befell(id, Befell::Restarted);
        let visible = noise(self.seed, u64::from(id.vmid), self.now.as_second() as u64) < 0.5;
        let takes = if visible { INSIDE_TAKES } else { SignedDuration::ZERO };
        self.order(takes, Due::Again(node, life, id));
        Ok(())
    }

    /// A machine's QEMU stops answering on its monitor, or answers again.
    pub fn hang(&mut self, id: GuestId, hung: bool) -> Result<(), Trouble> {
        self.must_run(id)?;
        self.must_be_its_own(id)?;
        if id.kind == GuestKind::Lxc {
            return Err(Trouble::NoSense(format!("{id} is a container: it has no monitor that could hang")));
        }
        if let Some(process) = &mut self.guest_mut(id)?.process {
            process.hung = hung;
        }
        Ok(())
    }

    /// Somebody makes a template of it. It never runs again.
    pub fn make_template(&mut self, id: GuestId) -> Result<(), Trouble> {
        let guest = self.guest_mut(id)?;
        if guest.process.is_some() {
            return Err(Trouble::NoSense(format!("{id} runs: no template can be made of it")));
        }
        guest.spec.template = true;
        Ok(())
    }

    /// The guest is in another run state, and nobody asked for it (`io-error`, `guest-panicked`).
    pub fn run_state(&mut self, id: GuestId, state: &str) -> Result<(), Trouble> {
        self.must_run(id)?;
        self.must_be_its_own(id)?;
        if let Some(process) = &mut self.guest_mut(id)?.process {
            process.state = state.into();
        }
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
        self.change_places(storage, node, |place| place.used = part(total, fraction))?;
        let stuck: Vec<GuestId> = self.guests.keys().copied().filter(|id| self.cannot_write(*id)).collect();
        for id in stuck {
            if let Some(process) = &mut self.guest_mut(id)?.process {
                process.state = "io-error".into();
            }
        }
        Ok(())
    }

    /// Whether a running machine's disk lies on a storage that is full on its node.
    fn cannot_write(&self, id: GuestId) -> bool {
        let guest = &self.guests[&id];
        let volume =
            guest.spec.volume.as_ref().filter(|_| id.kind == GuestKind::Qemu && guest.process.is_some());
        volume.and_then(|volume| self.storages.get(volume)).is_some_and(|storage| {
            storage.places.get(&guest.spec.node).is_some_and(|place| place.used >= storage.spec.total)
        })
    }

    fn change_places(
        &mut self,
        storage: &StorageName,
        node: Option<&NodeName>,
        change: impl Fn(&mut super::Place),
    ) -> Result<(), Trouble> {
        self.touch();
        let now = self.now;
        let found = self.storages.get_mut(storage).ok_or_else(|| Trouble::NoStorage(storage.to_string()))?;
        let mut changed = 0;
        // What is shared is one thing: it cannot be fuller on one node than on another.
        let everywhere = node.is_none();
        for (_, place) in found.places.iter_mut().filter(|(at, _)| everywhere || Some(*at) == node) {
            let before = (place.used, place.active);
            change(place);
            if (place.used, place.active) != before {
                place.since = now;
            }
            changed += 1;
        }
        let missing = || Trouble::NoStorage(format!("{storage}` on `{}", node.map_or("?", NodeName::as_str)));
        if changed > 0 { Ok(()) } else { Err(missing()) }
    }

    pub(super) fn guests_on<'a>(&'a self, node: &'a NodeName) -> impl Iterator<Item = GuestId> + 'a {
        self.guests.iter().filter(move |(_, guest)| guest.spec.node == *node).map(|(id, _)| *id)
    }

    pub(super) fn lives(&self, node: &NodeName, life: u32) -> bool {
        self.nodes.get(node).is_some_and(|n| n.life == life && n.alive())
    }

    pub(super) fn runs(&self, id: GuestId) -> bool {
        self.guests.get(&id).is_some_and(|guest| guest.process.is_some())
    }

    pub(super) fn runs_on(&self, id: GuestId, node: &NodeName) -> bool {
        self.guests.get(&id).is_some_and(|guest| guest.process.is_some() && guest.spec.node == *node)
    }

    /// A process that a backup lends to a stopped machine does not run it.
    fn must_be_its_own(&self, id: GuestId) -> Result<(), Trouble> {
        let lent = self.guest(id)?.process.as_ref().is_some_and(|process| &*process.state == "prelaunch");
        match lent {
            true => Err(Trouble::NoSense(format!("{id} is prelaunch: its process does not run it"))),
            false => Ok(()),
        }
    }

    fn must_run(&self, id: GuestId) -> Result<(), Trouble> {
        match self.guest(id)?.process {
            Some(_) => Ok(()),
            None => Err(Trouble::NoSense(format!("{id} does not run"))),
        }
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
            Step::Started | Step::StartInside => self.process_begins(node, id, Befell::Began),
            Step::Stop => match self.guests.get(&id).and_then(|guest| guest.spec.lock.clone()) {
                Some(lock) => self.end_task(node, upid, &locked(id.kind, &lock)),
                None => self.ends(id, End::Asked),
            },
            Step::Halt => self.ends(id, End::Asked),
            Step::ShutdownIgnored { force: false } => {
                self.end_task(node, upid, "VM quit/powerdown failed - got timeout");
            }
            // It was moved meanwhile: the node that waited has no hold on its process there.
            Step::ShutdownIgnored { force: true } if !self.runs_on(id, node) => {
                self.end_task(node, upid, "VM quit/powerdown failed - got timeout");
            }
            Step::ShutdownIgnored { force: true } => {
                if let Ok(found) = self.node_mut(node) {
                    found.tasks.say(upid, "VM still running - terminating now with SIGTERM");
                }
                self.ends(id, End::Asked);
                self.end_task(node, upid, "OK");
            }
            Step::StartByRoot => {
                self.begin(node, id, Verb::Start, &Actor::root());
            }
            Step::State(state) => {
                let what = if self.runs(id) { "OK".into() } else { format!("VM {} not running", id.vmid) };
                // A machine that still cannot write stands still again at once.
                let state = if self.runs(id) && self.cannot_write(id) { "io-error".into() } else { state };
                self.run_state(id, &state).unwrap_or_default();
                self.end_task(node, upid, &what);
            }
            Step::Passing(state) => self.run_state(id, &state).unwrap_or_default(),
            Step::Await { to } => {
                let task = self.task(&to, "qmstart", &id.vmid.to_string(), &Actor::root());
                self.then(&to, &task, id, 1_200, Step::End("OK".into()));
            }
            Step::Arrive { to, state } => self.arrive(node, upid, id, to, state),
            Step::Landed { to, state } => {
                if self.runs_on(id, &to) {
                    self.run_state(id, &state).unwrap_or_default();
                }
                self.unlock(id);
                self.ha_arrived(id);
                self.end_task(node, upid, "OK");
            }
            Step::Suspended => {
                self.ends(id, End::Asked);
                if let Ok(guest) = self.guest_mut(id) {
                    guest.spec.lock = Some("suspended".into());
                }
            }
            Step::Unlocked => {
                self.unlock(id);
                self.end_task(node, upid, "OK");
            }
            Step::Backup(job, part) => self.backup_part(node, upid, id, job, part),
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

    pub(super) fn process_begins(&mut self, node: &NodeName, id: GuestId, befell: Befell) {
        let (now, pid) = (self.now, 2_000 + (self.ordered % 4_000_000) as u32);
        if let Ok(guest) = self.guest_mut(id)
            && guest.spec.node == *node
        {
            guest.process = Some(Process { pid, since: now, state: "running".into(), hung: false });
            guest.spec.lock.take_if(|lock| lock == "suspended");
            (guest.ha_failures, guest.ha_relocated) = (0, false);
            self.befell(id, befell);
            let lines = match id.kind {
                GuestKind::Qemu => {
                    vec![
                        format!("Started {}.scope.", id.vmid),
                        format!("VM {} started with PID {pid}.", id.vmid),
                    ]
                }
                GuestKind::Lxc => vec![format!("Started pve-container@{}.service.", id.vmid)],
            };
            for (line, who) in lines.into_iter().zip(["systemd[1]", "qm[712]"]) {
                self.journal(node, format!("{who}: {line}"));
            }
        }
    }

    /// The configuration moves at once; the process on the new node is younger than the guest's work.
    fn arrive(&mut self, node: &NodeName, upid: &str, id: GuestId, to: NodeName, state: Option<Box<str>>) {
        let lives = self.nodes.get(&to).is_some_and(super::Node::alive) && self.online(node, &to);
        let whole = id.kind == GuestKind::Lxc || state.is_some() == self.runs(id);
        if !lives || !whole || self.guests.get(&id).is_none_or(|guest| guest.spec.node != *node) {
            if let Some(state) = state.filter(|_| id.kind == GuestKind::Qemu) {
                self.run_state(id, &state).unwrap_or_default();
            }
            self.unlock(id);
            self.ha_arrived(id);
            return self.end_task(node, upid, "migration aborted");
        }
        self.relocate(id, &to);
        match (id.kind, state) {
            (GuestKind::Qemu, Some(state)) => {
                self.process_begins(&to, id, Befell::Began);
                let awaited = self.now - AWAITED;
                if let Ok(Some(process)) = self.guest_mut(id).map(|guest| guest.process.as_mut()) {
                    (process.state, process.since) = ("inmigrate".into(), awaited);
                }
                self.then(node, upid, id, 400, Step::Landed { to, state });
            }
            (GuestKind::Lxc, Some(_)) => {
                self.unlock(id);
                self.begin(&to, id, Verb::Start, &Actor::root());
                self.ha_arrived(id);
                self.then(node, upid, id, 1_500, Step::End("OK".into()));
            }
            (GuestKind::Qemu | GuestKind::Lxc, None) => {
                self.unlock(id);
                self.ha_arrived(id);
                self.end_task(node, upid, "OK");
            }
        }
    }

    fn unlock(&mut self, id: GuestId) {
        if let Ok(guest) = self.guest_mut(id) {
            guest.spec.lock = None;
        }
    }

    /// A machine that shuts itself down during its backup is kept for it.
    fn powered_off(&mut self, id: GuestId) {
        let kept = self.guests.get(&id).is_some_and(|guest| guest.spec.lock.as_deref() == Some("backup"));
        if kept && id.kind == GuestKind::Qemu {
            self.run_state(id, "shutdown").unwrap_or_default();
        } else {
            self.ends(id, End::PoweredOff);
        }
    }

    /// A guest's process is gone: its node's journal says what it may, and HA begins to care.
    pub(super) fn ends(&mut self, id: GuestId, end: End) {
        let Ok(guest) = self.guest_mut(id) else { return };
        let Some(process) = guest.process.take() else { return };
        let node = guest.spec.node.clone();
        let state = guest.ha_managed().map(str::to_owned);
        let held = guest.spec.lock.is_some();
        if state.as_deref() == Some("request_stop") {
            guest.spec.ha = Some("stopped".into());
        }
        if state.as_deref() == Some("started") && !held {
            self.order(HA_LOOP, Due::Ha(id));
        }
        self.befell(
            id,
            match end {
                End::Died(_) => Befell::Died,
                End::PoweredOff => Befell::PoweredOff,
                End::Asked => Befell::Asked,
                End::Returned => Befell::Returned,
            },
        );
        self.journal_end(&node, id, process.pid, process.since, end);
    }

    pub(super) fn end_task(&mut self, node: &NodeName, upid: &str, status: &str) {
        let now = self.now;
        let Ok(found) = self.node_mut(node) else { return };
        found.tasks.end(upid, now, status);
        if let Some(task) = found.tasks.get(upid) {
            let line = format!("{}: <{}> end task {upid} {status}", task.program(), task.by.full());
            self.journal(node, line);
        }
    }
}
