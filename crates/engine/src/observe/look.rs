//! Looks: what is asked on suspicion, and what was found.
//!
//! A round shows what PVE's statistics say; a look asks the node itself, its tasks, and whoever else can tell. The
//! answer comes back as an input, so a replay has it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{GuestId, GuestStatus, NodeName, Seen, Service, Subject};

/// What the engine asks for on suspicion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Inspection {
    /// Some guests of one node.
    Guests(GuestLook),
    /// One node, and whoever else can tell of it.
    Node(NodeLook),
    /// The services of one node, once more.
    Services(NodeName),
    /// One subject, right before something is done to it or to see whether it helped.
    Review(ReviewLook),
}

/// A look at one subject that something is to be done to, or was done to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ReviewLook {
    /// Which one: a guest or a service.
    pub subject: Subject,
    /// Where it is.
    pub node: NodeName,
    /// Tasks that began before this are of no interest, unless they still run.
    pub since: Timestamp,
}

/// A look at some guests of one node: their live state, and the node's tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestLook {
    /// Whom to ask about.
    pub node: NodeName,
    /// The guests that changed.
    pub guests: BTreeSet<GuestId>,
    /// Those of them whose QEMU is to be asked itself (`status/current`), because it seems to hang.
    pub current: BTreeSet<GuestId>,
    /// Those of them whose configuration is to be read unless they are seen to run: their node was restarted, and they are to
    /// run again or not.
    #[serde(default)]
    pub configs: BTreeSet<GuestId>,
    /// Tasks that began before this cannot have caused what was seen.
    pub since: Timestamp,
    /// What the node's journal says is of interest from here on.
    pub journal_since: Timestamp,
}

/// A look at one node that left, or whose API does not answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLook {
    /// Which.
    pub node: NodeName,
    /// Tasks that began before this cannot be why it left.
    pub since: Timestamp,
}

/// What an [`Inspection`] found; of the same kind as the question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Evidence {
    /// Of guests.
    Guests(GuestEvidence),
    /// Of a node.
    Node(NodeEvidence),
    /// A node's services.
    Services(Seen<Vec<Service>>),
    /// Of one subject.
    Review(Review),
}

/// What a [`ReviewLook`] found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Review {
    /// Of a guest.
    Guest(GuestReview),
    /// Of a service.
    Service(ServiceReview),
}

/// What a [`ReviewLook`] at a service found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceReview {
    /// The services of its node.
    pub services: Seen<Vec<Service>>,
    /// Its node's tasks, running and ended.
    pub tasks: Seen<Vec<Task>>,
}

/// What a [`ReviewLook`] at a guest found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GuestReview {
    /// Its configuration; `None`: it has none on that node.
    pub config: Seen<Option<GuestConfig>>,
    /// What its node says that it does; `None`: it is not there.
    pub current: Seen<Option<Current>>,
    /// Its node's tasks, running and ended.
    pub tasks: Seen<Vec<Task>>,
}

/// What of a guest's configuration matters for doing something to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestConfig {
    /// Whether PVE starts it with its node; absent means no.
    pub onboot: bool,
    /// Its place in its node's start order; those without one come last.
    pub order: Option<u32>,
    /// Seconds that its node waits after its start before the next guest; absent means PVE's own 3.
    #[serde(default)]
    pub up: Option<u32>,
    /// A template can never run.
    pub template: bool,
    /// A transition in progress.
    pub lock: Option<Box<str>>,
    /// Its tags.
    pub tags: Vec<Box<str>>,
}

/// What a [`GuestLook`] found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GuestEvidence {
    /// The node's own live list of guests, of the kinds that were asked about; one that is absent is not there any more.
    pub live: Seen<BTreeMap<GuestId, Live>>,
    /// The node's tasks, running and ended, that began at or after [`GuestLook::since`].
    pub tasks: Seen<Vec<Task>>,
    /// When the node booted, by its own uptime.
    pub booted_at: Seen<Timestamp>,
    /// Lines of the node's journal since [`GuestLook::journal_since`], oldest first, as PVE prints them. Not asked when
    /// every guest runs; not reached without the right (Sys.Syslog on the node).
    pub journal: Seen<Vec<Box<str>>>,
    /// What QEMU says itself, of those in [`GuestLook::current`].
    pub current: BTreeMap<GuestId, Seen<Current>>,
    /// The configuration of those in [`GuestLook::configs`] that were not seen to run; `None`: there is none on that node.
    #[serde(default)]
    pub configs: BTreeMap<GuestId, Seen<Option<GuestConfig>>>,
}

/// What a [`NodeLook`] found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeEvidence {
    /// Each configured endpoint's view of the node, by the endpoint's label; asked after the suspicion arose.
    pub views: BTreeMap<Box<str>, Seen<View>>,
    /// The node's tasks as the others remember them (`/cluster/tasks`): the node itself may not be there to ask.
    pub tasks: Seen<Vec<Task>>,
    /// HA's word for the node (`online`, `maintenance`, `unknown`, `fence`, `gone`) or the mode of its agent
    /// (`maintenance`, `restart`, `shutdown`), whichever tells more; `None` where HA knows nothing of it.
    pub ha: Seen<Option<Box<str>>>,
    /// How far a question to the node itself comes.
    pub door: Seen<Door>,
}

/// How one endpoint sees a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The node that this endpoint is.
    pub from: Option<NodeName>,
    /// Whether it is on the side that may decide.
    pub quorate: bool,
    /// Whether it counts the node as a member; `None` where it does not know the node.
    pub online: Option<bool>,
}

/// How far a question to a node's API comes, asked through another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Door {
    /// It answers: pveproxy, pvedaemon and its cluster file system.
    Open,
    /// The host refuses the connection: it lives, and pveproxy does not listen.
    ProxyDown,
    /// pveproxy answers, pvedaemon does not.
    DaemonDown,
    /// Its cluster file system (pmxcfs) is down: it can check no rights, and answers nothing else.
    ClusterFsDown,
    /// It takes questions and does not answer them.
    Hung,
    /// Nothing comes back: no route, or silence.
    Silent,
}

/// A guest as its own node sees it now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// Whether its process exists. One that is `prelaunch` has a process too.
    pub running: bool,
    /// The number of that process.
    pub pid: Option<u32>,
    /// Seconds since its start.
    pub uptime: u64,
    /// A transition in progress.
    pub lock: Option<Box<str>>,
}

/// What `status/current` says of a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Current {
    /// QEMU's run state, or PVE's word where QEMU does not answer.
    pub status: GuestStatus,
    /// Whether QEMU's monitor answers. One that hangs leaves out what only QEMU can tell (pve-domain 1.4).
    pub monitor: bool,
    /// The number of its process.
    #[serde(default)]
    pub pid: Option<u32>,
    /// Seconds since its start.
    #[serde(default)]
    pub uptime: u64,
    /// A transition in progress.
    #[serde(default)]
    pub lock: Option<Box<str>>,
    /// HA's state of it, where HA manages it: sooner here than in the rows of the cluster.
    #[serde(default)]
    pub ha: Option<Box<str>>,
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
