//! What somebody asks of a cluster: start, stop, move, and how PVE answers: at once, or in a task.

use engine::observe::{GuestId, GuestKind, NodeName};
use jiff::SignedDuration;

use super::life::{Due, Step};
use super::model::{Guest, GuestSpec};
use super::task::Actor;
use super::{Cluster, Trouble};

/// A refusal on the spot: PVE's status 500 with this text. Everything else fails later, in the task.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// What can be asked of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Start it.
    Start,
    /// Cut its power.
    Stop,
    /// Ask it to shut down.
    Shutdown {
        /// How long it may take.
        timeout: u32,
        /// Cut its power when it takes longer.
        force: bool,
    },
    /// Stop and start.
    Reboot,
    /// Make its process stand still.
    Pause,
    /// Let it go on.
    Resume,
    /// Write its memory to disk and end its process (a machine's hibernation).
    Suspend,
    /// Take it back to a snapshot that has no memory in it: it is stopped.
    Rollback,
    /// Move it to another node, running or not.
    Migrate {
        /// Where to.
        to: NodeName,
    },
}

/// How long a guest that obeys takes to shut down.
const SHUTDOWN_TAKES: SignedDuration = SignedDuration::from_millis(3_200);

impl Cluster {
    /// Asks a node for something to be done to a guest. Gives the task's id.
    ///
    /// The permission is the caller's business. A virtual machine that is not there is a task that fails; a
    /// container that is not there is refused.
    pub fn request(
        &mut self,
        by: &Actor,
        node: &NodeName,
        id: GuestId,
        verb: Verb,
    ) -> Result<String, Refusal> {
        if !self.nodes.get(node).is_some_and(|n| n.alive()) {
            return Err(Refusal(format!("node '{node}' is not up")));
        }
        let here = self.guests.get(&id).filter(|guest| guest.spec.node == *node);
        let Some(guest) = here else {
            let missing = format!("Configuration file '{}' does not exist", Guest::config_path(node, id));
            return match id.kind {
                GuestKind::Qemu => {
                    let upid = self.task(node, task_kind(id.kind, &verb), &id.vmid.to_string(), by);
                    self.then(node, &upid, id, 110, Step::End(missing));
                    Ok(upid)
                }
                GuestKind::Lxc => Err(Refusal(missing)),
            };
        };
        let running = guest.process.is_some();
        let paused = guest.process.as_ref().is_some_and(|p| &*p.state == "paused");
        let managed = guest.ha_managed().is_some();
        if matches!(verb, Verb::Start | Verb::Migrate { .. }) && !self.quorate(node) {
            return Err(Refusal("cluster not ready - no quorum?".into()));
        }
        match (id.kind, &verb) {
            (GuestKind::Lxc, Verb::Start) if running && !managed => {
                return Err(Refusal(format!("CT {} already running", id.vmid)));
            }
            (GuestKind::Lxc, Verb::Stop | Verb::Shutdown { .. } | Verb::Reboot | Verb::Pause)
                if !running && !managed =>
            {
                return Err(Refusal(format!("CT {} not running", id.vmid)));
            }
            (GuestKind::Qemu, Verb::Reboot) if !running => {
                return Err(Refusal(format!("VM {} not running", id.vmid)));
            }
            (GuestKind::Qemu, Verb::Shutdown { .. }) if paused => {
                return Err(Refusal("VM is paused - cannot shutdown".into()));
            }
            (_, _) => {}
        }
        if let Verb::Migrate { to } = &verb {
            self.check_migration(id, node, to)?;
        }
        if managed && matches!(verb, Verb::Start | Verb::Stop | Verb::Shutdown { .. }) {
            return Ok(self.ask_ha(node, id, &verb, by));
        }
        Ok(self.begin(node, id, verb, by))
    }

    /// Begins the task itself, whoever wanted it: an operator, the boot of a node, or HA.
    pub(super) fn begin(&mut self, node: &NodeName, id: GuestId, verb: Verb, by: &Actor) -> String {
        let upid = self.task(node, task_kind(id.kind, &verb), &id.vmid.to_string(), by);
        let qemu = id.kind == GuestKind::Qemu;
        match verb {
            Verb::Start => {
                self.then(node, &upid, id, 100, Step::StartChecks);
            }
            Verb::Stop => {
                self.then(node, &upid, id, if qemu { 180 } else { 1_500 }, Step::Stop);
                self.then(node, &upid, id, if qemu { 1_400 } else { 1_600 }, Step::End("OK".into()));
            }
            Verb::Shutdown { timeout, force } => {
                let deaf = self.guests.get(&id).is_some_and(|g| g.spec.deaf);
                if deaf {
                    let patience = i64::from(timeout) * 1000;
                    self.then(node, &upid, id, patience, Step::ShutdownIgnored { force });
                } else {
                    let takes = SHUTDOWN_TAKES.as_millis() as i64;
                    self.then(node, &upid, id, takes, Step::Stop);
                    self.then(node, &upid, id, takes + 1_000, Step::End("OK".into()));
                }
            }
            Verb::Reboot => {
                let takes = SHUTDOWN_TAKES.as_millis() as i64;
                self.then(node, &upid, id, takes, Step::Stop);
                if qemu {
                    self.then(node, &upid, id, takes + 900, Step::End("OK".into()));
                    self.then(node, &upid, id, takes + 1_100, Step::StartByRoot);
                } else {
                    self.then(node, &upid, id, takes + 1_300, Step::StartInside);
                    self.then(node, &upid, id, takes + 1_500, Step::End("OK".into()));
                }
            }
            Verb::Pause => self.then(node, &upid, id, 200, Step::State("paused".into())),
            Verb::Resume => self.then(node, &upid, id, 200, Step::State("running".into())),
            Verb::Suspend | Verb::Rollback => self.begin_held(node, &upid, id, &verb),
            Verb::Migrate { to } => self.begin_move(node, &upid, id, to),
        }
        upid
    }

    /// What holds a lock while it lasts.
    fn begin_held(&mut self, node: &NodeName, upid: &str, id: GuestId, verb: &Verb) {
        let suspends = *verb == Verb::Suspend;
        let Ok(guest) = self.guest_mut(id) else { return };
        let objection = match &guest.spec.lock {
            Some(lock) => Some(locked(id.kind, lock)),
            None if suspends && guest.process.is_none() => Some(format!("VM {} not running", id.vmid)),
            None => None,
        };
        if let Some(objection) = objection {
            return self.then(node, upid, id, 110, Step::End(objection));
        }
        guest.spec.lock = Some(if suspends { "suspending" } else { "rollback" }.into());
        if suspends {
            self.then(node, upid, id, 2_000, Step::Suspended);
            self.then(node, upid, id, 2_200, Step::End("OK".into()));
        } else {
            self.then(node, upid, id, 500, Step::Halt);
            self.then(node, upid, id, 2_000, Step::Unlocked);
        }
    }

    /// A machine that runs moves while it runs; a container that runs is stopped for it and started on its new node.
    fn begin_move(&mut self, node: &NodeName, upid: &str, id: GuestId, to: NodeName) {
        let Ok(guest) = self.guest_mut(id) else { return };
        guest.spec.lock = Some("migrate".into());
        let state = guest.process.as_ref().map(|process| process.state.clone());
        match (id.kind, &state) {
            (GuestKind::Qemu, Some(_)) => {
                self.then(node, upid, id, 1_000, Step::Await { to: to.clone() });
                self.then(node, upid, id, 5_200, Step::Passing("finish-migrate".into()));
                self.then(node, upid, id, 5_400, Step::Passing("postmigrate".into()));
                self.then(node, upid, id, 5_600, Step::Arrive { to, state });
            }
            (GuestKind::Lxc, Some(_)) => {
                self.then(node, upid, id, SHUTDOWN_TAKES.as_millis() as i64, Step::Halt);
                self.then(node, upid, id, 4_500, Step::Arrive { to, state });
            }
            (GuestKind::Qemu | GuestKind::Lxc, None) => {
                self.then(node, upid, id, 3_000, Step::Arrive { to, state });
            }
        }
    }

    /// Makes a new guest, with the task of doing so.
    pub fn create(&mut self, by: &Actor, spec: GuestSpec) -> Result<String, Trouble> {
        let (node, id) = (spec.node.clone(), spec.id);
        if !self.node(&node)?.alive() {
            return Err(Trouble::NoSense(format!("node `{node}` is down")));
        }
        self.add_guest(spec)?;
        // Unlike a guest that was there from the beginning, a new one is not known until the next broadcast.
        let now = self.now;
        let guest = self.guest_mut(id)?;
        guest.stats = None;
        guest.created_at = now;
        if let Some(process) = &mut guest.process {
            process.since = now;
        }
        let upid = self.task(&node, kind_of(id.kind, "create"), &id.vmid.to_string(), by);
        self.then(&node, &upid, id, 400, Step::End("OK".into()));
        Ok(upid)
    }

    /// Destroys a guest; a running one is refused, as in PVE.
    pub fn destroy(&mut self, by: &Actor, id: GuestId) -> Result<String, Trouble> {
        let guest = self.guest(id)?;
        if guest.process.is_some() {
            let what = if id.kind == GuestKind::Qemu { "VM" } else { "CT" };
            let text = format!("{what} {} is running - destroy failed", id.vmid);
            return Err(Trouble::Refused(Refusal(text)));
        }
        let node = guest.spec.node.clone();
        let upid = self.task(&node, kind_of(id.kind, "destroy"), &id.vmid.to_string(), by);
        self.guests.remove(&id);
        self.befell(id, super::Befell::Removed);
        self.touch();
        self.then(&node, &upid, id, 600, Step::End("OK".into()));
        Ok(upid)
    }

    /// Begins a task and nothing more.
    pub(super) fn task(&mut self, node: &NodeName, kind: &str, id: &str, by: &Actor) -> String {
        let now = self.now;
        let Ok(found) = self.node_mut(node) else { return String::new() };
        let upid = found.tasks.begin(node, found.booted_at, now, kind, id, by);
        if let Some(task) = found.tasks.get(&upid) {
            let line = format!("{}: <{}> starting task {upid}", task.program(), by.full());
            self.journal(node, line);
        }
        upid
    }

    /// Orders a step of a task; it does not happen if the node loses power before.
    pub(super) fn then(&mut self, node: &NodeName, upid: &str, guest: GuestId, millis: i64, step: Step) {
        let life = self.nodes.get(node).map_or(0, |n| n.life);
        let due = Due::Step { node: node.clone(), life, upid: upid.into(), guest, step };
        self.order(SignedDuration::from_millis(millis), due);
    }

    fn check_migration(&self, id: GuestId, from: &NodeName, to: &NodeName) -> Result<(), Refusal> {
        let guest = self.guests.get(&id).ok_or_else(|| Refusal(format!("no such guest {id}")))?;
        if from == to {
            return Err(Refusal("target is local node.".into()));
        }
        if !self.nodes.contains_key(to) {
            return Err(Refusal(format!("no such cluster node '{to}'")));
        }
        if !self.online(from, to) {
            return Err(Refusal(format!("target node '{to}' is offline")));
        }
        match &guest.spec.lock {
            Some(lock) => Err(Refusal(locked(id.kind, lock))),
            None => Ok(()),
        }
    }

    /// HA takes a wish and answers OK; what was wished for happens later, by its own hand.
    fn ask_ha(&mut self, node: &NodeName, id: GuestId, verb: &Verb, by: &Actor) -> String {
        let start = *verb == Verb::Start;
        let upid = self.task(node, if start { "hastart" } else { "hastop" }, &id.vmid.to_string(), by);
        self.then(node, &upid, id, 1_800, Step::End("OK".into()));
        if let Ok(guest) = self.guest_mut(id) {
            guest.spec.ha = Some(if start { "started" } else { "request_stop" }.into());
            (guest.ha_failures, guest.ha_relocated) = (0, false);
        }
        self.order(SignedDuration::from_secs(5), Due::Ha(id));
        upid
    }
}

/// PVE's text for a guest that is locked.
pub(super) fn locked(kind: GuestKind, lock: &str) -> String {
    match kind {
        GuestKind::Qemu => format!("VM is locked ({lock})"),
        GuestKind::Lxc => format!("CT is locked ({lock})"),
    }
}

fn kind_of(kind: GuestKind, what: &'static str) -> &'static str {
    match (kind, what) {
        (GuestKind::Qemu, "create") => "qmcreate",
        (GuestKind::Qemu, _) => "qmdestroy",
        (GuestKind::Lxc, "create") => "vzcreate",
        (GuestKind::Lxc, _) => "vzdestroy",
    }
}

fn task_kind(kind: GuestKind, verb: &Verb) -> &'static str {
    let qemu = kind == GuestKind::Qemu;
    match verb {
        Verb::Start if qemu => "qmstart",
        Verb::Start => "vzstart",
        Verb::Stop if qemu => "qmstop",
        Verb::Stop => "vzstop",
        Verb::Shutdown { .. } if qemu => "qmshutdown",
        Verb::Shutdown { .. } => "vzshutdown",
        Verb::Reboot if qemu => "qmreboot",
        Verb::Reboot => "vzreboot",
        Verb::Pause if qemu => "qmpause",
        Verb::Pause => "vzsuspend",
        Verb::Resume if qemu => "qmresume",
        Verb::Resume => "vzresume",
        Verb::Suspend if qemu => "qmsuspend",
        Verb::Suspend => "vzsuspend",
        Verb::Rollback if qemu => "qmrollback",
        Verb::Rollback => "vzrollback",
        Verb::Migrate { .. } if qemu => "qmigrate",
        Verb::Migrate { .. } => "vzmigrate",
    }
}
