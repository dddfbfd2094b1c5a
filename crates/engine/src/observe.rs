//! Observe: what one round of polling saw, and what it could not see.
//!
//! Plain data. The translation from PVE's JSON lives in the daemon and dies there; nothing here guesses. What is
//! looked at on suspicion, and what such a look found, is in `look`; names and ids are in `ids`.

mod ids;
mod look;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use ids::{
    BadId, ClusterName, GuestId, GuestKind, MacAddress, NodeName, ServiceId, ServiceName, StorageId,
    StorageName, Subject,
};
pub use look::{
    Current, Door, Evidence, GuestConfig, GuestEvidence, GuestLook, GuestReview, Inspection, Live,
    NodeEvidence, NodeLook, Review, ReviewLook, ServiceReview, Task, View,
};

/// Which tier of polling made a round: it decides what the round is judged for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Round {
    /// The alarm: what nodes say themselves of their virtual machines (2 s).
    Live,
    /// Nodes, guests, quorum: state changes (12 s).
    Critical,
    /// Thresholds of nodes, and whether their API answers (32 s).
    Important,
    /// Services, temperature, heartbeat (5 min).
    Routine,
    /// Storage capacity (30 min).
    Background,
}

impl Round {
    /// The tier's name in the configuration and the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Round::Live => "live",
            Round::Critical => "critical",
            Round::Important => "important",
            Round::Routine => "routine",
            Round::Background => "background",
        }
    }
}

/// An answer, or the fact that there is none. Absence is never an empty list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Seen<T> {
    /// Answered.
    At {
        /// What the answer said.
        value: T,
        /// When the question was sent: the answer is no older than PVE's own statistics at that instant.
        asked_at: Timestamp,
    },
    /// The round was not about it.
    NotAsked,
    /// Asked, and not answered.
    NotReached(Blindness),
}

impl<T> Seen<T> {
    /// The answer, if there was one.
    pub fn value(&self) -> Option<&T> {
        match self {
            Seen::At { value, .. } => Some(value),
            Seen::NotAsked | Seen::NotReached(_) => None,
        }
    }

    /// When the question was sent, if it was answered.
    pub fn asked_at(&self) -> Option<Timestamp> {
        match self {
            Seen::At { asked_at, .. } => Some(*asked_at),
            Seen::NotAsked | Seen::NotReached(_) => None,
        }
    }
}

/// Why a question had no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blindness {
    /// What kind of failure it was.
    pub cause: Cause,
    /// The error's own words, for people.
    pub words: String,
}

/// The kinds of blindness that call for different help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Cause {
    /// No connection, a hang, a reset: no endpoint answers.
    Unreachable,
    /// The certificate is not the one that the configuration trusts.
    Untrusted,
    /// 401: the token is not accepted.
    Refused,
    /// 403, or an answer that holds nothing at all: the token's rights are gone.
    RightsLost,
    /// An answer that could not be read.
    Malformed,
    /// No endpoint says whether the cluster has quorum.
    NoQuorumSeen,
    /// Answers come, and nothing in them moves any more.
    Stale,
}

impl Cause {
    /// In words, after "Jarvis cannot see the cluster: ".
    pub fn words(self) -> &'static str {
        match self {
            Cause::Unreachable => "no endpoint answers",
            Cause::Untrusted => "the certificate is not the trusted one",
            Cause::Refused => "the token is refused",
            Cause::RightsLost => "the token has no rights",
            Cause::Malformed => "the answers cannot be read",
            Cause::NoQuorumSeen => "nobody says whether the cluster has quorum",
            Cause::Stale => "the answers are too old",
        }
    }
}

/// What one round of polling one cluster saw. What it could not see is marked, never left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The tier that asked.
    pub round: Round,
    /// When the first question was sent.
    pub began_at: Timestamp,
    /// The vote, as the answering node sees it. A stand-alone node counts as quorate.
    pub quorum: Seen<Quorum>,
    /// Every node of the cluster that the answering node knows.
    pub nodes: Seen<BTreeMap<NodeName, Node>>,
    /// Every guest that the token may see.
    pub guests: Seen<BTreeMap<GuestId, Guest>>,
    /// Whether an empty list of guests is the truth: the token's rights say that it may see them all, and the list has
    /// stayed empty. Otherwise it is a glitch, or a lost right (pve-domain 5.4, 9.24).
    pub empty_is_true: bool,
    /// Every storage on every node that the token may see.
    #[serde(with = "crate::as_list::seen")]
    pub storages: Seen<BTreeMap<(StorageName, NodeName), Storage>>,
    /// Each node's own list of its virtual machines, live. A node that was not asked is not in it.
    pub live: BTreeMap<NodeName, Seen<BTreeMap<GuestId, Live>>>,
    /// How far a question to each node itself comes.
    pub doors: BTreeMap<NodeName, Seen<Door>>,
    /// Each node's services.
    pub services: BTreeMap<NodeName, Seen<Vec<Service>>>,
    /// Each node's sensors, in degrees Celsius.
    pub temperatures: BTreeMap<NodeName, Seen<BTreeMap<Box<str>, f64>>>,
    /// The address that wakes each node, from its settings; the inner `None`: it has none.
    pub wakes: BTreeMap<NodeName, Seen<Option<MacAddress>>>,
}

impl Snapshot {
    /// A round that has asked nothing yet.
    pub fn new(round: Round, began_at: Timestamp) -> Snapshot {
        Snapshot {
            round,
            began_at,
            quorum: Seen::NotAsked,
            nodes: Seen::NotAsked,
            guests: Seen::NotAsked,
            empty_is_true: false,
            storages: Seen::NotAsked,
            live: BTreeMap::new(),
            doors: BTreeMap::new(),
            services: BTreeMap::new(),
            temperatures: BTreeMap::new(),
            wakes: BTreeMap::new(),
        }
    }
}

/// The vote of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quorum {
    /// Whether the answering node is on the side that may decide.
    pub quorate: bool,
    /// Nodes online, as the answering node sees it.
    pub online: u32,
    /// Nodes in all.
    pub expected: u32,
}

/// A node as the cluster's membership and its own statistics show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Membership.
    pub presence: Presence,
    /// Seconds since its boot; absent while offline or unseen.
    pub uptime: Option<u64>,
    /// Fraction of all its cores, 0 to 1.
    pub cpu: Option<f64>,
    /// Memory in bytes.
    pub memory: Option<Usage>,
    /// Root disk in bytes.
    pub disk: Option<Usage>,
}

/// What membership and statistics say of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// A member, with statistics.
    Online,
    /// No member of the cluster, as the answering node sees it.
    Offline,
    /// A member without statistics for 300 s: not an outage.
    Unknown,
}

/// A part of a whole, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// In use.
    pub used: u64,
    /// In all; 0 means that nothing is known.
    pub total: u64,
}

impl Usage {
    /// used / total * 100; `None` when the total is 0, since that is no value at all.
    pub fn percent(self) -> Option<f64> {
        (self.total > 0).then(|| self.used as f64 / self.total as f64 * 100.0)
    }
}

/// A guest as `/cluster/resources` shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Guest {
    /// Its name; absent while PVE has no statistics of it.
    pub name: Option<Box<str>>,
    /// Where its configuration lies: fresh even when its statistics are not.
    pub node: NodeName,
    /// Its state.
    pub status: GuestStatus,
    /// Seconds since its start; 0 when stopped.
    pub uptime: u64,
    /// Bytes read and written since its start, where known. A virtual machine that runs and shows 0 after it had shown
    /// more is one whose QEMU does not answer (pve-domain 1.4).
    pub io: Option<u64>,
    /// A template can never run.
    pub template: bool,
    /// A transition in progress (`backup`, `migrate`, `suspended`...).
    pub lock: Option<Box<str>>,
    /// HA's state of it; present only for an HA resource.
    pub ha: Option<Box<str>>,
    /// Its tags.
    pub tags: Vec<Box<str>>,
    /// Its pool, where the token may see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Box<str>>,
}

/// A guest's state. PVE gives a VM's QMP run state, so the list is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GuestStatus {
    /// It runs.
    Running,
    /// A process that stands still (`paused`, `suspended`).
    Paused,
    /// No process.
    Stopped,
    /// No statistics for 300 s: nothing is known.
    Unknown,
    /// Another run state, in PVE's word; the process lives.
    Other(Box<str>),
}

impl GuestStatus {
    /// From PVE's word.
    pub fn from_pve(word: &str) -> GuestStatus {
        match word {
            "running" => GuestStatus::Running,
            "paused" | "suspended" => GuestStatus::Paused,
            "stopped" => GuestStatus::Stopped,
            "unknown" => GuestStatus::Unknown,
            other => GuestStatus::Other(other.into()),
        }
    }

    /// PVE's word.
    pub fn as_str(&self) -> &str {
        match self {
            GuestStatus::Running => "running",
            GuestStatus::Paused => "paused",
            GuestStatus::Stopped => "stopped",
            GuestStatus::Unknown => "unknown",
            GuestStatus::Other(word) => word,
        }
    }

    /// Whether the guest lives; `None` where that is not known, as with a word that neither QEMU nor LXC has. `prelaunch` is a process that does not run its guest:
    /// a backup of a stopped one, or one on its way from another node. It says nothing of how the guest is.
    pub fn has_process(&self) -> Option<bool> {
        match self {
            GuestStatus::Running | GuestStatus::Paused => Some(true),
            GuestStatus::Other(word) => ALIVE.contains(&&**word).then_some(true),
            GuestStatus::Stopped => Some(false),
            GuestStatus::Unknown => None,
        }
    }
}

/// QEMU's other run states (qapi `RunState`) and LXC's states with a process.
const ALIVE: [&str; 19] = [
    "inmigrate",
    "postmigrate",
    "finish-migrate",
    "restore-vm",
    "save-vm",
    "shutdown",
    "suspended",
    "watchdog",
    "debug",
    "colo",
    "guest-panicked",
    "internal-error",
    "io-error",
    "starting",
    "stopping",
    "aborting",
    "freezing",
    "frozen",
    "thawed",
];

/// One storage on one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Storage {
    /// The same storage on every node, to be judged once.
    pub shared: bool,
    /// Whether its node has statistics of it; an outage shows here after 300 s.
    pub available: bool,
    /// Its capacity, where known.
    pub usage: Option<Usage>,
}

/// A service of a node, as systemd sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its name in PVE (`pvestatd`).
    pub name: ServiceName,
    /// Whether it is to run: systemd's unit state is `enabled`.
    pub enabled: bool,
    /// systemd's word for what it does (`active`, `inactive`, `failed`, `activating`).
    pub active: Box<str>,
}
