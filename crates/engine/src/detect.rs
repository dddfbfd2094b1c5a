//! Detect: every check. What is true of a subject now, given the last verdict and what this round saw.
//!
//! Pure, and one file per kind of subject. A check that cannot see keeps its last verdict: absence is no
//! evidence, neither of trouble nor of recovery.

pub(crate) mod fault;
pub(crate) mod guest;
pub(crate) mod node;
pub(crate) mod restart;
pub(crate) mod service;
pub(crate) mod storage;
pub(crate) mod threshold;
pub(crate) mod trace;

use serde::{Deserialize, Serialize};

use crate::observe::{Cause, Door, GuestId, GuestKind, GuestStatus, NodeName};
pub use fault::Fault;
pub use trace::Trace;

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
    /// A guest stopped and nobody asked for it, or is not started again with its node.
    GuestCrashed,
    /// A value stands above its mark.
    OverMark(Metric),
    /// A storage is not there for a node that lives.
    StorageOffline,
    /// A node's own statistics do not move.
    StatsStale,
    /// A node lives, and its API does not answer.
    NodeApi,
    /// A virtual machine has a process and cannot work.
    GuestFault,
    /// HA gave a guest up, or does not bring it back.
    HaFailed,
    /// A service that is to run does not.
    ServiceDown,
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
        guests: Vec<GuestId>,
        /// From how many nodes of the majority it was seen to be gone. One alone may be mistaken.
        views: u32,
        /// How far a question to the node itself comes, where that was asked.
        door: Option<Door>,
    },
    /// A guest stopped and nobody asked for it.
    GuestCrashed {
        /// Virtual machine or container.
        kind: GuestKind,
        /// What it did before.
        previous: GuestStatus,
        /// What its node's journal adds.
        trace: Trace,
    },
    /// A guest is to run, and is not started again after its node's restart.
    GuestNotStarted {
        /// Virtual machine or container.
        kind: GuestKind,
        /// What it did before its node's restart. `Stopped`: it was stopped in order, and PVE has tried to start it with its node.
        previous: GuestStatus,
        /// How the last start of it since the boot failed, whoever asked for it, in PVE's words; `None` where none is known.
        failed: Option<Box<str>>,
    },
    /// A value stands above its mark.
    OverMark {
        /// Which value.
        metric: Metric,
        /// Where on the ladder.
        rung: Rung,
        /// The value, in percent; of a temperature in degrees Celsius.
        percent: f64,
        /// The mark that it is above.
        mark: f64,
    },
    /// A storage is not there for a node that lives.
    StorageOffline {
        /// The nodes that miss it.
        nodes: Vec<NodeName>,
    },
    /// A node's own statistics do not move: what is shown of it and its guests is old.
    StatsStale,
    /// A node lives, and its API does not answer.
    NodeApi {
        /// How far a question comes.
        door: Door,
    },
    /// A virtual machine has a process and cannot work.
    GuestFault {
        /// Why.
        fault: Fault,
    },
    /// HA gave a guest up, or does not bring it back.
    HaFailed {
        /// Virtual machine or container.
        kind: GuestKind,
        /// HA's word for its state.
        state: Box<str>,
    },
    /// A service that is to run does not.
    ServiceDown {
        /// systemd's word for what it does.
        active: Box<str>,
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
    /// A node's statistics do not move.
    StatsStale,
    /// A node lives, and its API does not answer.
    NodeApiDown,
    /// A virtual machine has a process and cannot work.
    VmFault,
    /// HA gave a guest up, or does not bring it back.
    HaError,
    /// A service that is to run does not.
    ServiceDown,
    /// A sensor above its mark.
    TempHigh,
}

impl Finding {
    /// What it is found by.
    pub fn check(&self) -> Check {
        match self {
            Finding::Blind { .. } => Check::Blind,
            Finding::QuorumLost { .. } => Check::Quorum,
            Finding::NodeUnreachable { .. } => Check::NodeUnreachable,
            Finding::GuestCrashed { .. } | Finding::GuestNotStarted { .. } => Check::GuestCrashed,
            Finding::OverMark { metric, .. } => Check::OverMark(*metric),
            Finding::StorageOffline { .. } => Check::StorageOffline,
            Finding::StatsStale => Check::StatsStale,
            Finding::NodeApi { .. } => Check::NodeApi,
            Finding::GuestFault { .. } => Check::GuestFault,
            Finding::HaFailed { .. } => Check::HaFailed,
            Finding::ServiceDown { .. } => Check::ServiceDown,
        }
    }

    /// What it is called.
    pub fn condition(&self) -> Condition {
        match self {
            Finding::Blind { .. } => Condition::MonitorBlind,
            Finding::QuorumLost { .. } => Condition::QuorumLost,
            Finding::NodeUnreachable { .. } => Condition::NodeUnreachable,
            Finding::GuestCrashed { kind, .. } | Finding::GuestNotStarted { kind, .. } => match kind {
                GuestKind::Qemu => Condition::VmCrashed,
                GuestKind::Lxc => Condition::CtCrashed,
            },
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
            Finding::StatsStale => Condition::StatsStale,
            Finding::NodeApi { .. } => Condition::NodeApiDown,
            Finding::GuestFault { .. } => Condition::VmFault,
            Finding::HaFailed { .. } => Condition::HaError,
            Finding::ServiceDown { .. } => Condition::ServiceDown,
        }
    }

    /// What makes it true, in words that follow the subject.
    pub fn words(&self) -> String {
        match self {
            Finding::Blind { cause, words } => format!("{}: {words}", cause.words()),
            Finding::QuorumLost { online, expected } => {
                format!("no quorum, {online} of {expected} nodes online")
            }
            Finding::NodeUnreachable { guests, views, door } => unreachable(guests, *views, *door),
            // PVE itself shows no difference between a crash and a power-off from inside (pve-crash-evidence 2).
            Finding::GuestCrashed { previous, trace, .. } => {
                format!("{} to stopped, and no task asked for it{}", previous.as_str(), trace.words())
            }
            Finding::GuestNotStarted { previous, failed, .. } => {
                let then = match failed {
                    Some(words) => format!("PVE could not start it again ({words})"),
                    None => "it is to run, and nobody has started it again".into(),
                };
                match previous.has_process() {
                    Some(false) => format!("stopped before its node's restart; {then}"),
                    Some(true) | None => {
                        format!("{} to stopped with its node's restart; {then}", previous.as_str())
                    }
                }
            }
            Finding::OverMark { metric, percent, mark, .. } => {
                let unit = metric.unit();
                format!("{} at {percent:.1} {unit}, above {mark} {unit}", metric.title())
            }
            Finding::StorageOffline { nodes } => {
                let nodes: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
                format!("not available on {}", nodes.join(", "))
            }
            Finding::StatsStale => {
                "its statistics do not move, so what is shown of it and its guests is old".into()
            }
            Finding::NodeApi { door } => door.words().into(),
            Finding::GuestFault { fault } => fault.words().into(),
            Finding::HaFailed { state, .. } if &**state == "error" => {
                "HA gave it up (state error); nobody touches it until its state is set to disabled".into()
            }
            Finding::HaFailed { state, .. } => {
                format!("HA manages it (state {state}) and has not brought it back")
            }
            Finding::ServiceDown { active } => format!("is enabled and {active}"),
        }
    }

    /// How it is over when it is, in words that follow the subject.
    pub fn over(&self) -> &'static str {
        match self {
            Finding::Blind { .. } => "seen again",
            Finding::QuorumLost { .. } => "quorate again",
            Finding::NodeUnreachable { .. } => "online again",
            Finding::GuestCrashed { .. } | Finding::GuestNotStarted { .. } => "running again",
            Finding::OverMark { .. } => "below its mark again",
            Finding::StorageOffline { .. } => "available again",
            Finding::StatsStale => "its statistics move again",
            Finding::NodeApi { .. } => "answers again",
            Finding::GuestFault { .. } => "works again, or has stopped",
            Finding::HaFailed { .. } => "in order again",
            Finding::ServiceDown { .. } => "active again",
        }
    }
}

fn unreachable(guests: &[GuestId], views: u32, door: Option<Door>) -> String {
    let with = match guests.len() {
        0 => String::new(),
        1 => " with 1 running guest".into(),
        n => format!(" with {n} running guests"),
    };
    let host = match door {
        Some(Door::Open | Door::DaemonDown | Door::ProxyDown | Door::ClusterFsDown | Door::Hung) => {
            "; its host still answers, so it is cut off and not dead"
        }
        Some(Door::Silent) | None => "",
    };
    let from = if views <= 1 { " (seen from one node)" } else { "" };
    format!("left the cluster{with}{host}{from}")
}

impl Door {
    /// What is wrong, in words that follow the node.
    fn words(self) -> &'static str {
        match self {
            Door::Open => "answers",
            Door::ProxyDown => "is a member, but its API is down: pveproxy does not listen",
            Door::DaemonDown => "is a member, but half its API is down: pvedaemon does not answer",
            Door::ClusterFsDown => "lives, but its cluster file system (pmxcfs) is down, and its API with it",
            Door::Hung => "is a member, but its API takes questions and does not answer them in time",
            Door::Silent => "is a member, but nothing comes back from its address",
        }
    }
}

impl Condition {
    /// Every one.
    pub const ALL: [Condition; 19] = [
        Condition::MonitorBlind,
        Condition::QuorumLost,
        Condition::NodeUnreachable,
        Condition::VmCrashed,
        Condition::CtCrashed,
        Condition::DiskHigh,
        Condition::DiskCritical,
        Condition::RamHigh,
        Condition::RamCritical,
        Condition::CpuHigh,
        Condition::StorageHigh,
        Condition::StorageCritical,
        Condition::StorageOffline,
        Condition::StatsStale,
        Condition::NodeApiDown,
        Condition::VmFault,
        Condition::HaError,
        Condition::ServiceDown,
        Condition::TempHigh,
    ];

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
            Condition::StatsStale => "STATS_STALE",
            Condition::NodeApiDown => "NODE_API_DOWN",
            Condition::VmFault => "VM_FAULT",
            Condition::HaError => "HA_ERROR",
            Condition::ServiceDown => "SERVICE_DOWN",
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
            Condition::VmCrashed
            | Condition::CtCrashed
            | Condition::DiskHigh
            | Condition::StorageOffline
            | Condition::NodeApiDown
            | Condition::VmFault
            | Condition::HaError
            | Condition::ServiceDown => Severity::Error,
            Condition::RamHigh
            | Condition::CpuHigh
            | Condition::StorageHigh
            | Condition::StatsStale
            | Condition::TempHigh => Severity::Warning,
        }
    }
}
