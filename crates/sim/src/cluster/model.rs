//! The parts of a cluster as plain data: nodes, guests, storages, and what was last broadcast of each.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use engine::observe::{GuestId, MacAddress, NodeName, StorageName};
use jiff::Timestamp;

use super::task::TaskLog;

/// One MiB in bytes.
pub const MIB: u64 = 1 << 20;
/// One GiB in bytes.
pub const GIB: u64 = 1 << 30;

/// A node to be added.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeSpec {
    /// Its name.
    pub name: NodeName,
    /// Cores.
    pub cores: u32,
    /// Memory in bytes.
    pub memory: u64,
    /// Root disk in bytes.
    pub disk: u64,
    /// The address that wakes it, as its settings name it.
    pub mac: Option<MacAddress>,
}

impl NodeSpec {
    /// A node of 16 cores, 64 GiB of memory and a root disk of 100 GiB.
    pub fn new(name: NodeName) -> NodeSpec {
        NodeSpec { name, cores: 16, memory: 64 * GIB, disk: 100 * GIB, mac: None }
    }
}

/// A guest to be added.
#[derive(Clone, Debug, PartialEq)]
pub struct GuestSpec {
    /// Kind and number.
    pub id: GuestId,
    /// Its name.
    pub name: String,
    /// Where its configuration lies.
    pub node: NodeName,
    /// Whether it runs from the start.
    pub running: bool,
    /// Whether its process stands still from the start.
    pub paused: bool,
    /// Whether its node starts it at boot.
    pub onboot: bool,
    /// Seconds that its node waits after its start before it starts the next guest (`up=N` of PVE's `startup`).
    pub up: Option<u32>,
    /// Its place at boot (`order=N` of PVE's `startup`); those without one come last.
    pub order: Option<u32>,
    /// Its tags.
    pub tags: Vec<String>,
    /// A lock in its configuration.
    pub lock: Option<String>,
    /// A template can never run.
    pub template: bool,
    /// HA's state of it; `None` when HA does not manage it.
    pub ha: Option<String>,
    /// Its pool.
    pub pool: Option<String>,
    /// The storage that its disk lies on, where that matters: a full one stops its writes.
    pub volume: Option<StorageName>,
    /// Cores.
    pub cores: u32,
    /// Memory in bytes.
    pub memory: u64,
    /// Disk in bytes.
    pub disk: u64,
    /// Its disk image is missing, so that it cannot start.
    pub broken: bool,
    /// It ignores the request to shut down.
    pub deaf: bool,
}

impl GuestSpec {
    /// A stopped guest with 1 core, 1 GiB of memory and 8 GiB of disk.
    pub fn new(id: GuestId, name: impl Into<String>, node: NodeName) -> GuestSpec {
        GuestSpec {
            id,
            name: name.into(),
            node,
            running: false,
            paused: false,
            onboot: false,
            up: None,
            order: None,
            tags: Vec::new(),
            lock: None,
            template: false,
            ha: None,
            pool: None,
            volume: None,
            cores: 1,
            memory: GIB,
            disk: 8 * GIB,
            broken: false,
            deaf: false,
        }
    }
}

/// A storage to be added.
#[derive(Clone, Debug, PartialEq)]
pub struct StorageSpec {
    /// Its name.
    pub name: StorageName,
    /// Its nodes; `None` for every node.
    pub nodes: Option<BTreeSet<NodeName>>,
    /// The same content on every node.
    pub shared: bool,
    /// Capacity in bytes, on each node.
    pub total: u64,
    /// In use, in bytes.
    pub used: u64,
    /// PVE's word for what it is (`dir`, `nfs`, `lvmthin`).
    pub plugin: String,
}

impl StorageSpec {
    /// An empty `nfs` (shared) or `dir` (local) storage of 100 GiB on every node.
    pub fn new(name: StorageName, shared: bool) -> StorageSpec {
        let plugin = if shared { "nfs" } else { "dir" }.into();
        StorageSpec { name, nodes: None, shared, total: 100 * GIB, used: 0, plugin }
    }
}

/// Whether a node has power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// Its system runs.
    On,
    /// Switched on, not yet up.
    Booting,
    /// Going down cleanly; its system still runs.
    Leaving,
    /// Off.
    Off,
}

/// What is wrong with a node's API. Nothing of it touches the node's membership or its guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// Nothing.
    Up,
    /// No packet comes back.
    Unreachable,
    /// Nobody listens.
    Refused,
    /// Connections are reset.
    Reset,
    /// Requests are taken and never answered.
    Hang,
    /// Answers come after this many milliseconds.
    Slow(u32),
    /// Every token is refused (401).
    Denied,
    /// Every token has lost its rights: lists are silently empty, single things are 403.
    Blind,
    /// Lists of guests and storages are empty, whatever there is; nodes are still shown.
    Empty,
    /// Answers are no JSON.
    Garbage,
    /// Answers end before their end.
    Truncated,
}

/// How a guest's process ends when nobody asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// A signal from outside, or an assertion: nothing says which. Of a container its monitor (`lxc-start`).
    Killed,
    /// An error in QEMU itself.
    Segfault,
    /// The kernel needed its memory.
    OutOfMemory,
    /// A container's init is killed; of a virtual machine the same as [`Death::Killed`].
    Init,
}

/// How a backup gets a guest to hold still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupMode {
    /// It runs on.
    Snapshot,
    /// It stands still for a while: a machine is paused, a container frozen.
    Suspend,
    /// It is shut down; a machine runs on from the start of its backup, a container from the end.
    Stop,
}

/// What a node's API is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Daemon {
    /// Listens to everybody (`pveproxy`).
    Proxy,
    /// Does what needs the rights of root (`pvedaemon`).
    Pvedaemon,
    /// The cluster's file system (`pmxcfs`, the service `pve-cluster`), and the node's membership with it.
    ClusterFs,
    /// pvedaemon runs, takes questions and never answers.
    Hung,
}

/// What the virtual daemon's token may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Everything, the journal included.
    All,
    /// What the role PVEAuditor has: everything but the journal.
    Auditor,
}

/// What a node's own statistics said of it at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeStats {
    /// When the others received it.
    pub at: Timestamp,
    /// Seconds since boot.
    pub uptime: u64,
    /// Fraction of all cores.
    pub cpu: f64,
    /// Bytes in use.
    pub memory: u64,
    /// Bytes of the root disk in use.
    pub disk: u64,
}

/// A node.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it is.
    pub spec: NodeSpec,
    /// Its number in the cluster, from 1.
    pub number: u32,
    /// Whether it has power.
    pub power: Power,
    /// Whether the others count it as a member (corosync notices a death only after some seconds).
    pub member: bool,
    /// When the others lost it.
    pub left_at: Option<Timestamp>,
    /// Counts its lives, so that what was planned in one does not happen in the next.
    pub life: u32,
    /// When its system came up.
    pub booted_at: Timestamp,
    /// Since when its cluster file system has been receiving what the others tell.
    pub listens_since: Timestamp,
    /// Its statistics service hangs: nothing new is broadcast.
    pub stalled: bool,
    /// Fraction of all cores; jitters unless it was set.
    pub cpu: f64,
    /// Fraction of the memory in use.
    pub memory: f64,
    /// Fraction of the root disk in use.
    pub disk: f64,
    /// Whether [`Node::cpu`] and [`Node::memory`] were set by a scenario and must be shown as they are.
    pub pinned: bool,
    /// What is wrong with its API.
    pub api: Api,
    /// pveproxy does not listen: questions from outside and from other nodes are refused.
    pub proxy_down: bool,
    /// pvedaemon does not run: what it would have to answer is refused.
    pub daemon_down: bool,
    /// pmxcfs does not run: the node is no member any more, and its API can check no rights; its guests live.
    pub clusterfs_down: bool,
    /// Protected questions are taken and never answered (pvedaemon's workers hang).
    pub daemon_hung: bool,
    /// Which side of a partition it is on; nodes see only those of their own side.
    pub side: u8,
    /// HA's word for the node, where it is not simply there (`maintenance`).
    pub ha: Option<Box<str>>,
    /// The mode of its HA agent, where it is not simply `active` (`restart`, `shutdown`): the last that it wrote, so it
    /// outlives the node's power.
    pub ha_mode: Option<Box<str>>,
    /// Since when it has been without a quorum.
    pub alone_since: Option<Timestamp>,
    /// Its services: name, to systemd's words (unit state, active state).
    pub services: BTreeMap<Box<str>, ServiceState>,
    /// Its sensors, in degrees Celsius.
    pub temperatures: BTreeMap<Box<str>, f64>,
    /// What was last broadcast.
    pub stats: Option<NodeStats>,
    /// Its tasks.
    pub tasks: TaskLog,
    /// Its journal, oldest first; bounded.
    pub journal: VecDeque<JournalLine>,
}

/// A service as systemd sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceState {
    /// `enabled`, `disabled`, `not-found`, `masked`.
    pub unit: Box<str>,
    /// `active`, `inactive`, `failed`, `activating`.
    pub active: Box<str>,
    /// systemd's sub state (`running`, `dead`, `failed`, `exited`).
    pub state: Box<str>,
}

/// The words that a scenario may use of a service: systemd's active state, or `disabled`.
pub const SERVICE_WORDS: [&str; 5] = ["active", "failed", "inactive", "activating", "disabled"];

impl ServiceState {
    /// From one of [`SERVICE_WORDS`].
    pub fn from_word(word: &str) -> ServiceState {
        let (unit, active, state) = match word {
            "failed" => ("enabled", "failed", "failed"),
            "inactive" => ("enabled", "inactive", "dead"),
            "activating" => ("enabled", "activating", "auto-restart"),
            "disabled" => ("disabled", "inactive", "dead"),
            _ => ("enabled", "active", "running"),
        };
        ServiceState { unit: unit.into(), active: active.into(), state: state.into() }
    }
}

/// The services that PVE lists of every node (pve-domain 6), each as a fresh installation has it.
pub(super) fn services() -> BTreeMap<Box<str>, ServiceState> {
    const LIST: [&str; 23] = [
        "chrony",
        "corosync",
        "cron",
        "ksmtuned",
        "lxcfs",
        "postfix",
        "proxmox-firewall",
        "pve-cluster",
        "pve-firewall",
        "pve-ha-crm",
        "pve-ha-lrm",
        "pve-lxc-syscalld",
        "pvedaemon",
        "pvefw-logger",
        "pveproxy",
        "pvescheduler",
        "pvestatd",
        "qmeventd",
        "spiceproxy",
        "sshd",
        "syslog",
        "systemd-journald",
        "systemd-timesyncd",
    ];
    let state = |name: &str| {
        let (unit, active, state) = match name {
            "ksmtuned" | "syslog" => ("not-found", "inactive", "dead"),
            "systemd-timesyncd" => ("masked", "inactive", "dead"),
            "systemd-journald" => ("static", "active", "running"),
            _ => ("enabled", "active", "running"),
        };
        ServiceState { unit: unit.into(), active: active.into(), state: state.into() }
    };
    LIST.into_iter().map(|name| (name.into(), state(name))).collect()
}

/// One line of a node's journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalLine {
    /// When.
    pub at: Timestamp,
    /// What follows the host's name, as journalctl prints it: `qmeventd[722]: Starting cleanup for 100`.
    pub text: Box<str>,
}

impl Node {
    /// Whether its own services run, so that it can be asked.
    pub fn alive(&self) -> bool {
        matches!(self.power, Power::On | Power::Leaving)
    }

    /// Seconds since boot; 0 while it is down.
    pub fn uptime(&self, now: Timestamp) -> u64 {
        if self.alive() { seconds(self.booted_at, now) } else { 0 }
    }
}

/// A guest's process.
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    /// Its number on its node.
    pub pid: u32,
    /// When it began.
    pub since: Timestamp,
    /// QMP's run state (`running`, `paused`, `io-error`); of a container always `running`.
    pub state: Box<str>,
    /// QEMU does not answer on its monitor: the state cannot be read, and its disk counters read 0.
    pub hung: bool,
}

impl Process {
    /// PVE's word for it in the cluster's list: where QEMU does not answer, `running` is assumed.
    pub fn word(&self) -> &str {
        if self.hung { "running" } else { &self.state }
    }
}

/// What a node's statistics said of a guest at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct GuestStats {
    /// When the others received it.
    pub at: Timestamp,
    /// PVE's word.
    pub status: Box<str>,
    /// The numbers.
    pub numbers: Numbers,
}

/// A guest's numbers at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Numbers {
    /// Seconds since its start.
    pub uptime: u64,
    /// Fraction of its cores.
    pub cpu: f64,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of disk; always 0 for a virtual machine.
    pub disk: u64,
    /// Bytes received since its start.
    pub netin: u64,
    /// Bytes sent since its start.
    pub netout: u64,
    /// Bytes read since its start.
    pub diskread: u64,
    /// Bytes written since its start.
    pub diskwrite: u64,
}

/// A guest.
#[derive(Clone, Debug)]
pub struct Guest {
    /// Its configuration; `running` and `paused` in it are only how it began.
    pub spec: GuestSpec,
    /// When its configuration was made.
    pub created_at: Timestamp,
    /// Its process, if it runs.
    pub process: Option<Process>,
    /// What was last broadcast; `None` before the first time.
    pub stats: Option<GuestStats>,
    /// Starts by HA that failed since the last that did not.
    pub ha_failures: u32,
    /// Whether HA has tried another node since.
    pub ha_relocated: bool,
}

impl Guest {
    /// HA's state, where HA is in charge: an ignored guest is nobody's.
    pub fn ha_managed(&self) -> Option<&str> {
        self.spec.ha.as_deref().filter(|state| *state != "ignored")
    }

    /// The configuration file, as PVE's errors name it.
    pub fn config_path(node: &NodeName, id: GuestId) -> String {
        format!("nodes/{node}/{}/{}.conf", config_folder(id), id.vmid)
    }
}

/// The folder of a node's configurations, as PVE's errors name it.
pub(crate) fn config_folder(id: GuestId) -> &'static str {
    match id.kind {
        engine::observe::GuestKind::Qemu => "qemu-server",
        engine::observe::GuestKind::Lxc => "lxc",
    }
}

/// A storage on one node.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// In use, in bytes.
    pub used: u64,
    /// Whether it can be reached from its node.
    pub active: bool,
    /// Since when it has been so.
    pub since: Timestamp,
    /// Used bytes and the time, as last broadcast; an inactive storage is not broadcast at all.
    pub stats: Option<(u64, Timestamp)>,
}

/// A storage.
#[derive(Clone, Debug)]
pub struct Storage {
    /// What it is; `used` in it is only how it began.
    pub spec: StorageSpec,
    /// Its state on each of its nodes.
    pub places: BTreeMap<NodeName, Place>,
}

/// Whole seconds from one time to another; 0 when it would be negative.
pub(crate) fn seconds(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.as_second() - from.as_second()).unwrap_or(0)
}
