//! A node's journal: the lines that tell why a guest stopped, as systemd, the kernel, qmeventd and PVE write them.
//!
//! Only lines that somebody may look for are written (pve-crash-evidence 2); a real journal is full of others.

use engine::observe::{GuestId, GuestKind, NodeName};
use jiff::{SignedDuration, Timestamp};

use super::Cluster;
use super::life::Due;
use super::model::{Death, JournalLine, seconds};
use crate::rng::noise;

/// How many lines a node keeps.
pub const JOURNAL_MAX: usize = 2_000;
/// qmeventd waits about this long before it cleans up after a machine.
const CLEANUP_AFTER: SignedDuration = SignedDuration::from_millis(1_050);
/// How long systemd takes to let go of a container that ended by itself.
const UNIT_AFTER: SignedDuration = SignedDuration::from_millis(1_270);
/// Of seven clean ends six left qmeventd's hint behind.
const HINT_MISSED: f64 = 1.0 / 7.0;

impl Cluster {
    /// Adds a line to a node's journal; nothing can be written while it is down.
    pub(super) fn journal(&mut self, name: &NodeName, text: impl Into<Box<str>>) {
        let at = self.now;
        let Some(node) = self.nodes.get_mut(name).filter(|node| node.alive()) else { return };
        if node.journal.len() >= JOURNAL_MAX {
            node.journal.pop_front();
        }
        node.journal.push_back(JournalLine { at, text: text.into() });
    }

    /// The lines of a node's journal since then, as PVE prints them. Whole seconds, as PVE compares them.
    pub fn journal_since(&self, name: &NodeName, since: Timestamp) -> Vec<Box<str>> {
        let Some(node) = self.nodes.get(name) else { return Vec::new() };
        let lines = node.journal.iter().filter(|line| line.at.as_second() >= since.as_second());
        lines
            .map(|line| format!("{} {name} {}", line.at.strftime("%b %d %H:%M:%S"), line.text).into())
            .collect()
    }

    /// What is written when a guest's process is gone, by how it went.
    pub(super) fn journal_end(&mut self, node: &NodeName, id: GuestId, pid: u32, since: Timestamp, end: End) {
        match id.kind {
            GuestKind::Qemu => self.machine_ends(node, id.vmid, pid, since, end),
            GuestKind::Lxc => self.container_ends(node, id.vmid, end),
        }
    }

    fn machine_ends(&mut self, node: &NodeName, vmid: u32, pid: u32, since: Timestamp, end: End) {
        match end {
            End::Died(Death::Killed | Death::Init) => {}
            End::Died(Death::Segfault) => {
                let at =
                    0x7f00_0000_0000u64 | (noise(self.seed, u64::from(pid), 1) * f64::from(u32::MAX)) as u64;
                self.journal(node, format!(
                    "kernel: kvm[{pid}]: segfault at 0 ip {at:016x} sp 00007ffd6a31c2e8 error 14 likely on CPU 0 (core 0, socket 0)"
                ));
                self.journal(node, "kernel: Code: Unable to access opcode bytes at 0xffffffffffffffd6.");
            }
            End::Died(Death::OutOfMemory) => {
                let group = format!("/qemu.slice/{vmid}.scope");
                let first =
                    "kernel: kvm invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0";
                self.journal(node, first);
                self.journal(node, format!(
                    "kernel: oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset={vmid}.scope,mems_allowed=0,\
                     oom_memcg={group},task_memcg={group},task=kvm,pid={pid},uid=0"
                ));
                self.journal(
                    node,
                    format!(
                        "kernel: Memory cgroup out of memory: Killed process {pid} (kvm) total-vm:2621440kB, \
                     anon-rss:1048576kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:2400kB oom_score_adj:0"
                    ),
                );
            }
            End::PoweredOff => {
                if noise(self.seed, u64::from(pid), self.now.as_second() as u64) >= HINT_MISSED {
                    self.journal(node, "qmeventd[722]: read: Connection reset by peer");
                }
            }
            End::Asked | End::Returned => self.journal(node, "qmeventd[722]: read: Connection reset by peer"),
        }
        self.journal(node, format!("systemd[1]: {vmid}.scope: Deactivated successfully."));
        let lived = seconds(since, self.now);
        if lived > 10 {
            let (minutes, rest) = (lived / 600, lived / 10 % 60);
            self.journal(
                node,
                format!("systemd[1]: {vmid}.scope: Consumed {minutes}min {rest}.663s CPU time."),
            );
        }
        self.journal_later(node, CLEANUP_AFTER, format!("qmeventd[722]: Starting cleanup for {vmid}"));
        self.journal_later(node, CLEANUP_AFTER, format!("qmeventd[722]: Finished cleanup for {vmid}"));
    }

    fn container_ends(&mut self, node: &NodeName, vmid: u32, end: End) {
        let unit = format!("pve-container@{vmid}.service");
        match end {
            End::Died(Death::Killed | Death::Segfault | Death::OutOfMemory) => {
                self.journal(
                    node,
                    format!("systemd[1]: {unit}: Main process exited, code=killed, status=9/KILL"),
                );
                self.journal(node, format!("systemd[1]: {unit}: Failed with result 'signal'."));
            }
            End::Died(Death::Init) | End::PoweredOff | End::Asked | End::Returned => {
                self.journal_later(
                    node,
                    UNIT_AFTER,
                    format!("systemd[1]: {unit}: Deactivated successfully."),
                );
            }
        }
    }

    pub(super) fn journal_later(&mut self, node: &NodeName, after: SignedDuration, text: String) {
        let life = self.nodes.get(node).map_or(0, |node| node.life);
        self.order(after, Due::Journal { node: node.clone(), life, text });
    }
}

/// How a guest's process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Nobody asked for it.
    Died(Death),
    /// The guest's own system switched it off.
    PoweredOff,
    /// A task, or PVE itself.
    Asked,
    /// A backup that had started it for itself.
    Returned,
}
