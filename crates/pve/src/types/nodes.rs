//! Nodes: `/nodes` and what one node tells of itself, its services and its storages.

use jiff::Timestamp;
use serde::Deserialize;

use super::open_enum;
use crate::ids::NodeName;
use crate::lenient;

open_enum! {
    /// Whether a node is a member of the cluster, as the contacted node sees it; no ping, no API.
    NodeStatus {
        Online = "online",
        Offline = "offline",
        /// A member whose numbers are more than 300 s old: its pvestatd is stuck. Guests run on.
        Unknown = "unknown",
    }
}

open_enum! {
    /// Whether a storage's numbers are fresh. An outage shows here only after 300 s.
    StorageStatus {
        Available = "available",
        Unknown = "unknown",
    }
}

/// A row of `/nodes`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct NodeRow {
    pub node: NodeName,
    pub status: NodeStatus,
    #[serde(default, deserialize_with = "lenient::count")]
    pub uptime: Option<u64>,
    #[serde(default, deserialize_with = "lenient::float")]
    pub cpu: Option<f64>,
    #[serde(default, deserialize_with = "lenient::float")]
    pub maxcpu: Option<f64>,
    #[serde(default, deserialize_with = "lenient::count")]
    pub mem: Option<u64>,
    #[serde(default, deserialize_with = "lenient::count")]
    pub maxmem: Option<u64>,
    #[serde(default, deserialize_with = "lenient::count")]
    pub disk: Option<u64>,
    #[serde(default, deserialize_with = "lenient::count")]
    pub maxdisk: Option<u64>,
    #[serde(default, deserialize_with = "lenient::text")]
    pub level: Option<Box<str>>,
    #[serde(default, deserialize_with = "lenient::text")]
    pub ssl_fingerprint: Option<Box<str>>,
    /// `node/pve1`; repeats the name.
    #[serde(default, deserialize_with = "lenient::text")]
    pub id: Option<Box<str>>,
    #[serde(default, rename = "type", deserialize_with = "lenient::text")]
    pub kind: Option<Box<str>>,
}

/// `/nodes/{node}/status`: a node about itself, live.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct NodeReport {
    #[serde(deserialize_with = "lenient::count")]
    pub uptime: Option<u64>,
    #[serde(deserialize_with = "lenient::float")]
    pub cpu: Option<f64>,
    /// Share of time spent waiting for disks.
    #[serde(deserialize_with = "lenient::float")]
    pub wait: Option<f64>,
    #[serde(deserialize_with = "lenient::float")]
    pub idle: Option<f64>,
    /// Over 1, 5 and 15 minutes. PVE writes them as texts.
    pub loadavg: Vec<Load>,
    pub memory: Space,
    pub swap: Space,
    pub rootfs: Space,
    pub cpuinfo: Cpuinfo,
    #[serde(deserialize_with = "lenient::text")]
    pub kversion: Option<Box<str>>,
    /// `pve-manager/9.2.11/14a22df35955d97d`.
    #[serde(deserialize_with = "lenient::text")]
    pub pveversion: Option<Box<str>>,
    pub current_kernel: Kernel,
    pub boot_info: BootInfo,
    pub ksm: Ksm,
}

/// A number among texts; see [`NodeReport::loadavg`].
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Load(#[serde(deserialize_with = "lenient::float")] pub Option<f64>);

/// Bytes of memory, swap or root file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Space {
    #[serde(deserialize_with = "lenient::count")]
    pub total: Option<u64>,
    #[serde(deserialize_with = "lenient::count")]
    pub used: Option<u64>,
    #[serde(deserialize_with = "lenient::count")]
    pub free: Option<u64>,
    /// Of memory, from 2025 on: what could be had without swapping.
    #[serde(deserialize_with = "lenient::count")]
    pub available: Option<u64>,
    /// Of the root file system: what others than root may still use.
    #[serde(deserialize_with = "lenient::count")]
    pub avail: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Cpuinfo {
    #[serde(deserialize_with = "lenient::small")]
    pub cpus: Option<u32>,
    #[serde(deserialize_with = "lenient::small")]
    pub cores: Option<u32>,
    #[serde(deserialize_with = "lenient::small")]
    pub sockets: Option<u32>,
    #[serde(deserialize_with = "lenient::float")]
    pub mhz: Option<f64>,
    #[serde(deserialize_with = "lenient::text")]
    pub model: Option<Box<str>>,
    /// The processor can run virtual machines at full speed. PVE writes `""` for no.
    #[serde(deserialize_with = "lenient::flag")]
    pub hvm: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Kernel {
    #[serde(deserialize_with = "lenient::text")]
    pub release: Option<Box<str>>,
    #[serde(deserialize_with = "lenient::text")]
    pub machine: Option<Box<str>>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct BootInfo {
    #[serde(deserialize_with = "lenient::text")]
    pub mode: Option<Box<str>>,
    #[serde(deserialize_with = "lenient::flag")]
    pub secureboot: Option<bool>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Ksm {
    #[serde(deserialize_with = "lenient::count")]
    pub shared: Option<u64>,
}

/// A row of `/nodes/{node}/services`. Costs the node about a second.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Service {
    pub service: Box<str>,
    #[serde(default, deserialize_with = "lenient::text")]
    pub name: Option<Box<str>>,
    #[serde(default, deserialize_with = "lenient::text")]
    pub desc: Option<Box<str>>,
    /// systemd's sub-state: running, dead, exited, failed, ..
    #[serde(default, deserialize_with = "lenient::text")]
    pub state: Option<Box<str>>,
    /// active, inactive, failed, ..
    #[serde(default, deserialize_with = "lenient::text")]
    pub active_state: Option<Box<str>>,
    /// enabled, disabled, masked, not-found, ..
    #[serde(default, deserialize_with = "lenient::text")]
    pub unit_state: Option<Box<str>>,
}

/// A row of `/nodes/{node}/storage`: the node tried each storage just now.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "StorageState")]
pub struct StorageRow {
    pub storage: Box<str>,
    pub state: StorageState,
}

impl TryFrom<StorageState> for StorageRow {
    type Error = &'static str;

    fn try_from(state: StorageState) -> Result<StorageRow, &'static str> {
        let storage = state.storage.clone().ok_or("a storage without `storage`")?;
        Ok(StorageRow { storage, state })
    }
}

/// What a node says of one storage; also the whole of `/nodes/{node}/storage/{storage}/status`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct StorageState {
    /// Its name, where the question did not name it.
    #[serde(deserialize_with = "lenient::text")]
    pub storage: Option<Box<str>>,
    /// The plugin: dir, nfs, zfspool, ..
    #[serde(rename = "type", deserialize_with = "lenient::text")]
    pub kind: Option<Box<str>>,
    #[serde(deserialize_with = "lenient::text")]
    pub content: Option<Box<str>>,
    #[serde(deserialize_with = "lenient::flag")]
    pub enabled: Option<bool>,
    /// Whether it can be used now.
    #[serde(deserialize_with = "lenient::flag")]
    pub active: Option<bool>,
    #[serde(deserialize_with = "lenient::flag_or_false")]
    pub shared: bool,
    /// 0 while it is not active.
    #[serde(deserialize_with = "lenient::count")]
    pub total: Option<u64>,
    #[serde(deserialize_with = "lenient::count")]
    pub used: Option<u64>,
    #[serde(deserialize_with = "lenient::count")]
    pub avail: Option<u64>,
    /// Absent while it is not active.
    #[serde(deserialize_with = "lenient::float")]
    pub used_fraction: Option<f64>,
}

/// `/nodes/{node}/time`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct NodeTime {
    #[serde(deserialize_with = "lenient::time")]
    pub time: Option<Timestamp>,
    #[serde(deserialize_with = "lenient::text")]
    pub timezone: Option<Box<str>>,
    /// Seconds since 1970 as if local time were UTC; of use only for its difference to `time`.
    #[serde(deserialize_with = "lenient::count")]
    pub localtime: Option<u64>,
}
