//! Observe: what one round of polling saw, and what it could not see.
//!
//! Plain data. The translation from PVE's JSON lives in the daemon and dies there; nothing here guesses.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Why a name or an id was refused at the border.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadId {
    /// A node or storage name that PVE would never give.
    #[error(
        "`{0}` is no {1} name: 1 to 100 characters, letters, digits, `-`, `_` and `.`, starting with a letter or digit"
    )]
    Name(String, &'static str),
    /// Neither `qemu/ID` nor `lxc/ID`.
    #[error("`{0}` is no guest: write `qemu/ID` or `lxc/ID` with an ID from 100 to 999999999")]
    Guest(String),
    /// None of the four kinds of subject.
    #[error("`{0}` is no subject: write `node/NAME`, `qemu/ID`, `lxc/ID`, `storage/NAME` or `cluster`")]
    Subject(String),
}

fn checked(name: &str, what: &'static str) -> Result<Box<str>, BadId> {
    let head = name.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    let tail = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if head && tail && name.len() <= 100 {
        Ok(name.into())
    } else {
        Err(BadId::Name(name.chars().take(120).collect(), what))
    }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// The name as PVE writes it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = BadId;
            fn from_str(name: &str) -> Result<$name, BadId> {
                checked(name, $what).map($name)
            }
        }
        impl TryFrom<String> for $name {
            type Error = BadId;
            fn try_from(name: String) -> Result<$name, BadId> {
                name.parse()
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.into()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name_type!(
    /// A node of the cluster, as PVE names it (`pve1`).
    NodeName, "node"
);
name_type!(
    /// A storage as PVE names it (`local-lvm`); on several nodes the name is the same.
    StorageName, "storage"
);
name_type!(
    /// A watched cluster, as the configuration names it.
    ClusterName, "cluster"
);

/// The two kinds of guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GuestKind {
    /// A virtual machine.
    Qemu,
    /// A container.
    Lxc,
}

impl GuestKind {
    /// `qemu` or `lxc`, as in PVE's paths.
    pub fn as_str(self) -> &'static str {
        match self {
            GuestKind::Qemu => "qemu",
            GuestKind::Lxc => "lxc",
        }
    }

    /// `VM` or `Container`, as in titles.
    pub fn title(self) -> &'static str {
        match self {
            GuestKind::Qemu => "VM",
            GuestKind::Lxc => "Container",
        }
    }
}

/// A guest, made once at the border and never parsed from a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GuestId {
    /// Virtual machine or container.
    pub kind: GuestKind,
    /// Unique in its cluster, across both kinds.
    pub vmid: u32,
}

impl FromStr for GuestId {
    type Err = BadId;
    fn from_str(text: &str) -> Result<GuestId, BadId> {
        let bad = || BadId::Guest(text.chars().take(120).collect());
        let (kind, vmid) = text.split_once('/').ok_or_else(bad)?;
        let kind = match kind {
            "qemu" => GuestKind::Qemu,
            "lxc" => GuestKind::Lxc,
            _ => return Err(bad()),
        };
        let plain = vmid.bytes().all(|b| b.is_ascii_digit());
        let vmid: u32 = vmid.parse().map_err(|_| bad())?;
        if plain && (100..=999_999_999).contains(&vmid) { Ok(GuestId { kind, vmid }) } else { Err(bad()) }
    }
}

impl TryFrom<String> for GuestId {
    type Error = BadId;
    fn try_from(text: String) -> Result<GuestId, BadId> {
        text.parse()
    }
}

impl From<GuestId> for String {
    fn from(id: GuestId) -> String {
        id.to_string()
    }
}

impl fmt::Display for GuestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.kind.as_str(), self.vmid))
    }
}

/// A storage as something to be told about: a shared one once, a local one per node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StorageId {
    /// The storage's name.
    pub name: StorageName,
    /// Its node; `None` for a shared storage.
    pub node: Option<NodeName>,
}

/// What a thing is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Subject {
    /// The cluster as a whole: quorum, and Jarvis's own sight of it.
    Cluster,
    /// A node.
    Node(NodeName),
    /// A virtual machine or container.
    Guest(GuestId),
    /// A storage.
    Storage(StorageId),
}

impl Subject {
    /// The short form of incident keys (`VM_CRASHED:101`): PVE's id without its kind, which the condition tells.
    pub fn key(&self) -> String {
        match self {
            Subject::Cluster => "cluster".into(),
            Subject::Node(name) => name.to_string(),
            Subject::Guest(id) => id.vmid.to_string(),
            Subject::Storage(StorageId { name, node: None }) => name.to_string(),
            Subject::Storage(StorageId { name, node: Some(node) }) => format!("{node}/{name}"),
        }
    }
}

impl fmt::Display for Subject {
    /// As PVE writes ids: `node/pve1`, `qemu/101`, `storage/pve1/local`; a shared storage has no node.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Cluster => f.pad("cluster"),
            Subject::Node(name) => f.pad(&format!("node/{name}")),
            Subject::Guest(id) => fmt::Display::fmt(id, f),
            Subject::Storage(_) => f.pad(&format!("storage/{}", self.key())),
        }
    }
}

impl FromStr for Subject {
    type Err = BadId;
    fn from_str(text: &str) -> Result<Subject, BadId> {
        let bad = || BadId::Subject(text.chars().take(120).collect());
        if text == "cluster" {
            return Ok(Subject::Cluster);
        }
        match text.split_once('/').ok_or_else(bad)? {
            ("node", name) => Ok(Subject::Node(name.parse()?)),
            ("qemu" | "lxc", _) => Ok(Subject::Guest(text.parse()?)),
            ("storage", rest) => {
                let (node, name) = match rest.split_once('/') {
                    Some((node, name)) => (Some(node.parse()?), name),
                    None => (None, rest),
                };
                Ok(Subject::Storage(StorageId { name: name.parse()?, node }))
            }
            (_, _) => Err(bad()),
        }
    }
}

impl TryFrom<String> for Subject {
    type Error = BadId;
    fn try_from(text: String) -> Result<Subject, BadId> {
        text.parse()
    }
}

impl From<Subject> for String {
    fn from(subject: Subject) -> String {
        subject.to_string()
    }
}

/// Which tier of polling made a round: it decides what the round is judged for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Round {
    /// Nodes, guests, quorum: state changes (12 s).
    Critical,
    /// Thresholds of nodes (32 s).
    Important,
    /// Heartbeat (5 min).
    Routine,
    /// Storage capacity (30 min).
    Background,
}

impl Round {
    /// The tier's name in the configuration and the log.
    pub fn as_str(self) -> &'static str {
        match self {
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
        }
    }
}

/// What one round of polling one cluster saw. What it could not see is marked, never left out.
#[derive(Clone, Debug, PartialEq)]
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
    pub storages: Seen<BTreeMap<(StorageName, NodeName), Storage>>,
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
    /// A template can never run.
    pub template: bool,
    /// A transition in progress (`backup`, `migrate`, `suspended`...).
    pub lock: Option<Box<str>>,
    /// HA's state of it; present only for an HA resource.
    pub ha: Option<Box<str>>,
    /// Its tags.
    pub tags: Vec<Box<str>>,
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

    /// Whether the guest lives; `None` where that is not known. `prelaunch` is a process that does not run its guest:
    /// a backup of a stopped one, or one on its way from another node. It says nothing of how the guest is.
    pub fn has_process(&self) -> Option<bool> {
        match self {
            GuestStatus::Running | GuestStatus::Paused => Some(true),
            GuestStatus::Other(word) => (&**word != "prelaunch").then_some(true),
            GuestStatus::Stopped => Some(false),
            GuestStatus::Unknown => None,
        }
    }
}

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

/// A look at some guests of one node, on suspicion: their live state, and the node's tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    /// Whom to ask about.
    pub node: NodeName,
    /// The guests that changed.
    pub guests: BTreeSet<GuestId>,
    /// Tasks that began before this cannot have caused what was seen.
    pub since: Timestamp,
}

/// What an [`Inspection`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// The node's own live list of guests; one that is absent is not there any more.
    pub live: Seen<BTreeMap<GuestId, Live>>,
    /// The node's tasks, running and ended, that began at or after [`Inspection::since`].
    pub tasks: Seen<Vec<Task>>,
}

/// A guest as its own node sees it now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// Whether its process exists.
    pub running: bool,
    /// A transition in progress.
    pub lock: Option<Box<str>>,
}

/// A task of PVE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// PVE's id of it.
    pub upid: Box<str>,
    /// PVE's word for what it does (`qmstop`, `vzdump`, `startall`).
    pub kind: Box<str>,
    /// What it is about: a guest's number, a service, or nothing (node-wide).
    pub id: Box<str>,
    /// Who asked, as `user@realm`; of a token the user and the token (`op@pve!t1`).
    pub user: Box<str>,
    /// When it began, by the node's clock.
    pub started_at: Timestamp,
    /// When it ended; `None` while it runs.
    pub ended_at: Option<Timestamp>,
    /// `OK`, `WARNINGS: n` or the error's text; `None` while it runs.
    pub status: Option<Box<str>>,
}
