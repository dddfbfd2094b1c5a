//! Backups: what a guest goes through while it is written away, by mode and by whether it runs.
//!
//! One task a node, which takes its guests one after the other; PVE names the guest in it only when there is one. What
//! is written where, and whether it can be read again, is not simulated.

use std::collections::BTreeMap;

use engine::observe::{GuestId, GuestKind, NodeName};
use jiff::SignedDuration;

use super::journal::End;
use super::life::Step;
use super::model::BackupMode;
use super::task::Actor;
use super::truth::Befell;
use super::{Cluster, Trouble};

/// How long a guest that obeys takes to shut down.
const SHUTDOWN_MS: i64 = 3_200;

/// A backup task under way.
#[derive(Clone, Debug)]
pub(super) struct Job {
    left: Vec<GuestId>,
    mode: BackupMode,
    takes: SignedDuration,
    failed: bool,
}

/// A step of a backup of one guest.
#[derive(Clone, Debug)]
pub(super) enum Part {
    /// The next guest, or the end.
    Next,
    /// A machine is in this run state.
    State(&'static str),
    /// It is shut down, by a task of its own or by the backup itself.
    Halt(Option<String>),
    /// It has a process, in this run state.
    Begin(&'static str),
    /// A stopped one gets a process for the backup only.
    Lend,
    /// That process is gone again.
    Drop,
    /// The guest is written.
    Done,
}

impl Cluster {
    /// Backs guests up: one task for each node that has one of them.
    pub fn backup(
        &mut self,
        by: &Actor,
        guests: &[GuestId],
        mode: BackupMode,
        takes: SignedDuration,
    ) -> Result<Vec<String>, Trouble> {
        let mut by_node: BTreeMap<NodeName, Vec<GuestId>> = BTreeMap::new();
        for id in guests {
            by_node.entry(self.guest(*id)?.spec.node.clone()).or_default().push(*id);
        }
        let mut tasks = Vec::new();
        for (node, guests) in by_node {
            if !self.node(&node)?.alive() {
                return Err(Trouble::NoSense(format!("node `{node}` is down")));
            }
            let about = if let [one] = guests[..] { one.vmid.to_string() } else { String::new() };
            let first = guests[0];
            let upid = self.task(&node, "vzdump", &about, by);
            let job = Job { left: guests, mode, takes, failed: false };
            self.then(&node, &upid, first, 300, Step::Backup(job, Part::Next));
            tasks.push(upid);
        }
        Ok(tasks)
    }

    pub(super) fn backup_part(&mut self, node: &NodeName, upid: &str, id: GuestId, mut job: Job, part: Part) {
        match part {
            Part::Next => {
                if job.left.is_empty() {
                    let status = if job.failed { "job errors" } else { "OK" };
                    return self.end_task(node, upid, status);
                }
                let id = job.left.remove(0);
                self.backup_begins(node, upid, id, job);
            }
            Part::State(state) => {
                if let Ok(Some(process)) = self.guest_mut(id).map(|guest| guest.process.as_mut()) {
                    process.state = state.into();
                }
            }
            Part::Halt(task) => {
                self.ends(id, End::Asked);
                if let Some(task) = task {
                    self.then(node, &task, id, 900, Step::End("OK".into()));
                }
            }
            Part::Begin(state) => {
                if self.guests.get(&id).is_some_and(|guest| guest.process.is_none()) {
                    self.process_begins(node, id, Befell::Began);
                    if let Ok(Some(process)) = self.guest_mut(id).map(|guest| guest.process.as_mut()) {
                        process.state = state.into();
                    }
                }
            }
            Part::Lend => {
                if self.guests.get(&id).is_some_and(|guest| guest.process.is_none()) {
                    self.process_begins(node, id, Befell::Lent);
                    if let Ok(Some(process)) = self.guest_mut(id).map(|guest| guest.process.as_mut()) {
                        process.state = "prelaunch".into();
                    }
                }
            }
            Part::Drop => {
                // Whoever was about to start it when the backup began was first: then none was lent.
                let process = self.guests.get(&id).and_then(|guest| guest.process.as_ref());
                if process.is_some_and(|process| &*process.state == "prelaunch") {
                    self.ends(id, End::Returned);
                }
                self.backup_done(node, upid, id, job);
            }
            Part::Done => self.backup_done(node, upid, id, job),
        }
    }

    fn backup_begins(&mut self, node: &NodeName, upid: &str, id: GuestId, mut job: Job) {
        let here = self.guests.get(&id).filter(|guest| guest.spec.node == *node);
        let Some(guest) = here.filter(|guest| guest.spec.lock.is_none()) else {
            job.failed = true;
            return self.then(node, upid, id, 100, Step::Backup(job, Part::Next));
        };
        let runs = guest.process.is_some();
        let (mode, takes) = (job.mode, job.takes.as_millis() as i64);
        if let Ok(guest) = self.guest_mut(id) {
            guest.spec.lock = Some("backup".into());
        }
        let mut plan = |millis: i64, part: Part| {
            self.then(node, upid, id, millis, Step::Backup(job.clone(), part));
        };
        match (id.kind, runs, mode) {
            (GuestKind::Qemu, false, _) => {
                plan(2_000, Part::Lend);
                plan(2_000 + takes, Part::Drop);
            }
            (GuestKind::Qemu, true, BackupMode::Snapshot)
            | (GuestKind::Lxc, true, BackupMode::Snapshot | BackupMode::Suspend)
            | (GuestKind::Lxc, false, _) => plan(takes, Part::Done),
            (GuestKind::Qemu, true, BackupMode::Suspend) => {
                plan(1_000, Part::State("paused"));
                plan(takes, Part::State("running"));
                plan(takes + 500, Part::Done);
            }
            (GuestKind::Qemu, true, BackupMode::Stop) => {
                let about = id.vmid.to_string();
                plan(5_200, Part::Begin("prelaunch"));
                plan(6_200, Part::State("running"));
                plan(6_200 + takes, Part::Done);
                let task = self.task(node, "qmshutdown", &about, &Actor::root());
                self.then(node, upid, id, SHUTDOWN_MS, Step::Backup(job, Part::Halt(Some(task))));
            }
            (GuestKind::Lxc, true, BackupMode::Stop) => {
                plan(SHUTDOWN_MS, Part::Halt(None));
                plan(SHUTDOWN_MS + takes, Part::Begin("running"));
                plan(SHUTDOWN_MS + takes + 1_000, Part::Done);
            }
        }
    }

    fn backup_done(&mut self, node: &NodeName, upid: &str, id: GuestId, job: Job) {
        if let Ok(guest) = self.guest_mut(id) {
            guest.spec.lock.take_if(|lock| lock == "backup");
        }
        // A machine that shut itself down meanwhile was kept only for the backup.
        let kept = self.guests.get(&id).and_then(|guest| guest.process.as_ref());
        if kept.is_some_and(|process| &*process.state == "shutdown") {
            self.ends(id, End::PoweredOff);
        }
        self.then(node, upid, id, 200, Step::Backup(job, Part::Next));
    }
}
