//! Detect: every check. What is true of a subject now, given the last verdict and what this round saw.
//!
//! Pure, and one file per kind of subject. A check that cannot see keeps its last verdict: absence is no
//! evidence, neither of trouble nor of recovery.

pub(crate) mod guest;
pub(crate) mod node;
pub(crate) mod storage;
pub(crate) mod threshold;

use serde::{Deserialize, Serialize};

use crate::observe::{Cause, GuestKind, GuestStatus, NodeName};
use crate::policy::{Metric, Rung};
use crate::report::Severity;

/// A kind of trouble that we look for. Two rungs of one ladder are one check, so they are one incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Check {
    /// Jarvis itself cannot see.
    Blind,
    /// The cluster cannot decide.
    Quorum,
    /// A node left without being asked to.
    NodeUnreachable,
    /// A guest stopped and nobody asked for it.
    GuestCrashed,
    /// A value stands above its mark.
    OverMark(Metric),
    /// A storage is not there for a node that lives.
    StorageOffline,
}

/// A check that is true of a subject now, with what makes it true.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Finding {
    /// Jarvis itself cannot see.
    Blind {
        /// Why.
        cause: Cause,
        /// The error's own words.
        words: String,
    },
    /// The cluster cannot decide.
    QuorumLost {
        /// Nodes online.
        online: u32,
        /// Nodes in all.
        expected: u32,
    },
    /// A node left without being asked to.
    NodeUnreachable {
        /// Guests that ran there when it was last seen: they are part of this one incident.
        guests: u32,
    },
    /// A guest stopped and nobody asked for it.
    GuestCrashed {
        /// Virtual machine or container.
        kind: GuestKind,
        /// What it did before.
        previous: GuestStatus,
    },
    /// A value stands above its mark.
    OverMark {
        /// Which value.
        metric: Metric,
        /// Where on the ladder.
        rung: Rung,
        /// The value.
        percent: f64,
        /// The mark that it is above.
        mark: f64,
    },
    /// A storage is not there for a node that lives.
    StorageOffline {
        /// The nodes that miss it.
        nodes: Vec<NodeName>,
    },
}

/// What a finding is called, in the original's table and in ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Condition {
    /// Jarvis itself cannot see.
    MonitorBlind,
    /// The cluster cannot decide.
    QuorumLost,
    /// A node left without being asked to.
    NodeUnreachable,
    /// A virtual machine stopped and nobody asked for it.
    VmCrashed,
    /// A container stopped and nobody asked for it.
    CtCrashed,
    /// Root disk above the lower mark.
    DiskHigh,
    /// Root disk above the upper mark.
    DiskCritical,
    /// Memory above the lower mark.
    RamHigh,
    /// Memory above the upper mark.
    RamCritical,
    /// CPU above its mark.
    CpuHigh,
    /// Storage above the lower mark.
    StorageHigh,
    /// Storage above the upper mark.
    StorageCritical,
    /// A storage is not there for a node that lives.
    StorageOffline,
    /// A sensor above its mark.
    TempHigh,
}

impl Finding {
    /// What it is called.
    pub fn condition(&self) -> Condition {
        match self {
            Finding::Blind { .. } => Condition::MonitorBlind,
            Finding::QuorumLost { .. } => Condition::QuorumLost,
            Finding::NodeUnreachable { .. } => Condition::NodeUnreachable,
            Finding::GuestCrashed { kind: GuestKind::Qemu, .. } => Condition::VmCrashed,
            Finding::GuestCrashed { kind: GuestKind::Lxc, .. } => Condition::CtCrashed,
            Finding::OverMark { metric, rung, .. } => match (metric, rung) {
                (Metric::Disk, Rung::Critical) => Condition::DiskCritical,
                (Metric::Disk, Rung::High | Rung::Well) => Condition::DiskHigh,
                (Metric::Memory, Rung::Critical) => Condition::RamCritical,
                (Metric::Memory, Rung::High | Rung::Well) => Condition::RamHigh,
                (Metric::Cpu, _) => Condition::CpuHigh,
                (Metric::Storage, Rung::Critical) => Condition::StorageCritical,
                (Metric::Storage, Rung::High | Rung::Well) => Condition::StorageHigh,
                (Metric::Temperature, _) => Condition::TempHigh,
            },
            Finding::StorageOffline { .. } => Condition::StorageOffline,
        }
    }

    /// What makes it true, in words that follow the subject.
    pub fn words(&self) -> String {
        match self {
            Finding::Blind { cause, words } => format!("{}: {words}", cause.words()),
            Finding::QuorumLost { online, expected } => {
                format!("no quorum, {online} of {expected} nodes online")
            }
            Finding::NodeUnreachable { guests: 0 } => "left the cluster".into(),
            Finding::NodeUnreachable { guests: 1 } => "left the cluster with 1 running guest".into(),
            Finding::NodeUnreachable { guests } => format!("left the cluster with {guests} running guests"),
            // PVE shows no difference between the two (pve-crash-evidence 2).
            Finding::GuestCrashed { previous, .. } => format!(
                "{} to stopped, and no task asked for it (a crash, or a power-off from inside)",
                previous.as_str()
            ),
            Finding::OverMark { metric, percent, mark, .. } => {
                let unit = metric.unit();
                format!("{} at {percent:.1} {unit}, above {mark} {unit}", metric.title())
            }
            Finding::StorageOffline { nodes } => {
                let nodes: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
                format!("not available on {}", nodes.join(", "))
            }
        }
    }

    /// How it is over when it is, in words that follow the subject.
    pub fn over(&self) -> &'static str {
        match self {
            Finding::Blind { .. } => "seen again",
            Finding::QuorumLost { .. } => "quorate again",
            Finding::NodeUnreachable { .. } => "online again",
            Finding::GuestCrashed { .. } => "running again",
            Finding::OverMark { .. } => "below its mark again",
            Finding::StorageOffline { .. } => "available again",
        }
    }
}

impl Condition {
    /// As stored and sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Condition::MonitorBlind => "MONITOR_BLIND",
            Condition::QuorumLost => "QUORUM_LOST",
            Condition::NodeUnreachable => "NODE_UNREACHABLE",
            Condition::VmCrashed => "VM_CRASHED",
            Condition::CtCrashed => "CT_CRASHED",
            Condition::DiskHigh => "DISK_HIGH",
            Condition::DiskCritical => "DISK_CRITICAL",
            Condition::RamHigh => "RAM_HIGH",
            Condition::RamCritical => "RAM_CRITICAL",
            Condition::CpuHigh => "CPU_HIGH",
            Condition::StorageHigh => "STORAGE_HIGH",
            Condition::StorageCritical => "STORAGE_CRITICAL",
            Condition::StorageOffline => "STORAGE_OFFLINE",
            Condition::TempHigh => "TEMP_HIGH",
        }
    }

    /// How bad (contract 1).
    pub fn severity(self) -> Severity {
        match self {
            Condition::MonitorBlind
            | Condition::QuorumLost
            | Condition::NodeUnreachable
            | Condition::DiskCritical
            | Condition::RamCritical
            | Condition::StorageCritical => Severity::Critical,
            Condition::VmCrashed | Condition::CtCrashed | Condition::DiskHigh | Condition::StorageOffline => {
                Severity::Error
            }
            Condition::RamHigh | Condition::CpuHigh | Condition::StorageHigh | Condition::TempHigh => {
                Severity::Warning
            }
        }
    }
}
