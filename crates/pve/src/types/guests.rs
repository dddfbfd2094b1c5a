//! Guests as their own node sees them: `/nodes/{node}/{qemu,lxc}` and `.../status/current`.

use serde::Deserialize;

use super::ha::HaState;
use super::open_enum;
use super::resources::{Vmid, split_tags};
use crate::lenient;

open_enum! {
    /// What a guest does. PVE puts QEMU's own run state here in `/cluster/resources` and in `qmpstatus`; a list of
    /// one node knows only running and stopped.
    GuestStatus {
        Running = "running",
        Stopped = "stopped",
        /// The node has told nothing about it for 300 s.
        Unknown = "unknown",
        Paused = "paused",
        /// Being set up: a backup of a stopped guest, or an incoming migration.
        Prelaunch = "prelaunch",
        /// A disk failed or a storage is full; it can go on once that is mended.
        IoError = "io-error",
        InternalError = "internal-error",
        GuestPanicked = "guest-panicked",
        /// The guest has shut down and its process is kept (during a backup).
        Shutdown = "shutdown",
        Suspended = "suspended",
        Watchdog = "watchdog",
        InMigrate = "inmigrate",
        PostMigrate = "postmigrate",
        FinishMigrate = "finish-migrate",
        SaveVm = "save-vm",
        RestoreVm = "restore-vm",
        Debug = "debug",
        Colo = "colo",
    }
}

impl GuestStatus {
    /// Whether the guest has a process, as far as is known.
    pub fn has_process(&self) -> bool {
        !matches!(self, GuestStatus::Stopped | GuestStatus::Unknown)
    }
}

open_enum! {
    /// Why a guest must be left alone.
    Lock {
        Backup = "backup",
        Clone = "clone",
        Create = "create",
        Migrate = "migrate",
        Rollback = "rollback",
        Snapshot = "snapshot",
        SnapshotDelete = "snapshot-delete",
        Suspending = "suspending",
        /// Hibernated: stopped, and a start resumes it.
        Suspended = "suspended",
        Import = "import",
        Restore = "restore",
        Destroyed = "destroyed",
        Disk = "disk",
        Fstrim = "fstrim",
        Mounted = "mounted",
    }
}

/// Share of time, in percent, that something waited for a resource; from PVE 9 on, only while the guest runs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressure {
    pub cpu_some: Option<f64>,
    pub cpu_full: Option<f64>,
    pub io_some: Option<f64>,
    pub io_full: Option<f64>,
    pub memory_some: Option<f64>,
    pub memory_full: Option<f64>,
}

/// Whether HA looks after a guest; only in `status/current`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct HaManaged {
    #[serde(deserialize_with = "lenient::flag_or_false")]
    pub managed: bool,
    #[serde(deserialize_with = "lenient::word")]
    pub state: Option<HaState>,
}

/// A guest, live. The lists and `status/current` share these fields; which are there depends on both.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Flat")]
pub struct LiveGuest {
    pub vmid: u32,
    /// Running or stopped.
    pub status: GuestStatus,
    /// QEMU's run state, in `status/current`. Falls back to `status` when QEMU does not answer.
    pub qmpstatus: Option<GuestStatus>,
    pub name: Option<Box<str>>,
    /// Absent in the lists where it would be 0.
    pub template: bool,
    pub lock: Option<Lock>,
    pub tags: Option<Box<str>>,
    pub pid: Option<u32>,
    pub uptime: Option<u64>,
    /// Against the last call of the same server process; for thresholds use `/cluster/resources`.
    pub cpu: Option<f64>,
    pub cpus: Option<f64>,
    pub mem: Option<u64>,
    pub maxmem: Option<u64>,
    pub memhost: Option<u64>,
    pub swap: Option<u64>,
    pub maxswap: Option<u64>,
    pub disk: Option<u64>,
    pub maxdisk: Option<u64>,
    pub netin: Option<u64>,
    pub netout: Option<u64>,
    pub diskread: Option<u64>,
    pub diskwrite: Option<u64>,
    pub pressure: Pressure,
    pub ha: Option<HaManaged>,
    /// The agent is enabled in the configuration; nothing is said of whether it answers.
    pub agent: Option<bool>,
    /// QEMU's version. In `status/current` of a running machine, its absence means that QEMU does not answer.
    pub running_qemu: Option<Box<str>>,
    pub running_machine: Option<Box<str>>,
}

impl LiveGuest {
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        split_tags(self.tags.as_deref())
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Flat {
    vmid: Option<Vmid>,
    #[serde(deserialize_with = "lenient::word")]
    status: Option<GuestStatus>,
    #[serde(deserialize_with = "lenient::word")]
    qmpstatus: Option<GuestStatus>,
    #[serde(deserialize_with = "lenient::text")]
    name: Option<Box<str>>,
    #[serde(deserialize_with = "lenient::flag_or_false")]
    template: bool,
    #[serde(deserialize_with = "lenient::word")]
    lock: Option<Lock>,
    #[serde(deserialize_with = "lenient::text")]
    tags: Option<Box<str>>,
    #[serde(deserialize_with = "lenient::small")]
    pid: Option<u32>,
    #[serde(deserialize_with = "lenient::count")]
    uptime: Option<u64>,
    #[serde(deserialize_with = "lenient::float")]
    cpu: Option<f64>,
    #[serde(deserialize_with = "lenient::float")]
    cpus: Option<f64>,
    #[serde(deserialize_with = "lenient::count")]
    mem: Option<u64>,
    #[serde(deserialize_with = "lenient::count")]
    maxmem: Option<u64>,
    #[serde(deserialize_with = "lenient::count")]
    memhost: Option<u64>,
    #[serde(deserialize_with = "lenient::count")]
    swap: Option<u64>,
    #[serde(deserialize_with = "lenient::count")]
    maxswap: Option<u64>,
    #[serde(deserialize_with = "lenient::count")]
    disk: Option<u64>,
    #[serde(deserialize_with = "lenient::count")]
    maxdisk: Option<u64>,
    #[serde(deserialize_with = "lenient::count")]
    netin: Option<u64>,
    #[serde(deserialize_with = "lenient::count")]
    netout: Option<u64>,
    #[serde(deserialize_with = "lenient::count")]
    diskread: Option<u64>,
    #[serde(deserialize_with = "lenient::count")]
    diskwrite: Option<u64>,
    #[serde(deserialize_with = "lenient::float")]
    pressurecpusome: Option<f64>,
    #[serde(deserialize_with = "lenient::float")]
    pressurecpufull: Option<f64>,
    #[serde(deserialize_with = "lenient::float")]
    pressureiosome: Option<f64>,
    #[serde(deserialize_with = "lenient::float")]
    pressureiofull: Option<f64>,
    #[serde(deserialize_with = "lenient::float")]
    pressurememorysome: Option<f64>,
    #[serde(deserialize_with = "lenient::float")]
    pressurememoryfull: Option<f64>,
    ha: Option<HaManaged>,
    #[serde(deserialize_with = "lenient::flag")]
    agent: Option<bool>,
    #[serde(rename = "running-qemu", deserialize_with = "lenient::text")]
    running_qemu: Option<Box<str>>,
    #[serde(rename = "running-machine", deserialize_with = "lenient::text")]
    running_machine: Option<Box<str>>,
}

impl TryFrom<Flat> for LiveGuest {
    type Error = &'static str;

    fn try_from(row: Flat) -> Result<LiveGuest, &'static str> {
        Ok(LiveGuest {
            vmid: row.vmid.ok_or("a guest without `vmid`")?.0,
            status: row.status.ok_or("a guest without `status`")?,
            qmpstatus: row.qmpstatus,
            name: row.name,
            template: row.template,
            lock: row.lock,
            tags: row.tags,
            pid: row.pid,
            uptime: row.uptime,
            cpu: row.cpu,
            cpus: row.cpus,
            mem: row.mem,
            maxmem: row.maxmem,
            memhost: row.memhost,
            swap: row.swap,
            maxswap: row.maxswap,
            disk: row.disk,
            maxdisk: row.maxdisk,
            netin: row.netin,
            netout: row.netout,
            diskread: row.diskread,
            diskwrite: row.diskwrite,
            pressure: Pressure {
                cpu_some: row.pressurecpusome,
                cpu_full: row.pressurecpufull,
                io_some: row.pressureiosome,
                io_full: row.pressureiofull,
                memory_some: row.pressurememorysome,
                memory_full: row.pressurememoryfull,
            },
            ha: row.ha,
            agent: row.agent,
            running_qemu: row.running_qemu,
            running_machine: row.running_machine,
        })
    }
}
