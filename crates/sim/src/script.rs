//! The scenario language: what a cluster is made of, and what happens to it when.
//!
//! ```text
//! nodes pve1 pve2 pve3
//! guest qemu/101 web01 on pve1 running onboot tags=web,prod
//! storage nfs shared 1000GiB used 40%
//! at 1:00  crash qemu/101
//! at 2:00  stop qemu/101 by alice@pve
//! at 9:00  end
//! ```
//!
//! One statement a line, `#` begins a comment, times are `m:ss` or `h:mm:ss` from the start. A command without
//! `at` happens before the start. `docs` of every statement are the tables [`STATEMENTS`] and [`COMMANDS`].

mod apply;
mod named;
mod parse;
mod specs;
mod words;

use engine::about::About;
use engine::decide::Autonomy;
use engine::observe::{ClusterName, GuestId, NodeName, Round, StorageName, Subject};
use engine::record::Order;
use jiff::{SignedDuration, Timestamp};

use crate::cluster::{
    Actor, Api, BackupMode, Cluster, Daemon, Death, GuestSpec, NodeSpec, Rights, StorageSpec, Trouble,
};

pub use named::NAMED;
pub use parse::{COMMANDS, STATEMENTS};

/// A script of more lines is refused: nobody wrote it by hand.
pub const LINES_MAX: usize = 100_000;
/// The longest scenario: a month.
pub const LENGTH_MAX: SignedDuration = SignedDuration::from_hours(31 * 24);

/// Why a script cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct BadScript {
    /// From 1.
    pub line: usize,
    /// What is wrong and what is allowed.
    pub what: String,
}

/// How often the virtual daemon looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiers {
    /// When the first round is.
    pub first: SignedDuration,
    /// The alarm; zero when it is off.
    pub live: SignedDuration,
    /// State changes.
    pub critical: SignedDuration,
    /// Thresholds.
    pub important: SignedDuration,
    /// Heartbeat.
    pub routine: SignedDuration,
    /// Storage capacity.
    pub background: SignedDuration,
}

impl Default for Tiers {
    fn default() -> Tiers {
        Tiers {
            first: SignedDuration::from_secs(5),
            live: SignedDuration::from_secs(2),
            critical: SignedDuration::from_secs(12),
            important: SignedDuration::from_secs(32),
            routine: SignedDuration::from_secs(300),
            background: SignedDuration::from_secs(1800),
        }
    }
}

impl Tiers {
    /// The interval of one tier.
    pub fn every(&self, round: Round) -> SignedDuration {
        match round {
            Round::Live => self.live,
            Round::Critical => self.critical,
            Round::Important => self.important,
            Round::Routine => self.routine,
            Round::Background => self.background,
        }
    }
}

/// A parsed scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    /// The cluster's name.
    pub cluster: ClusterName,
    /// The seed of its noise.
    pub seed: u64,
    /// What it is made of.
    pub nodes: Vec<NodeSpec>,
    /// See [`Script::nodes`], and the line of each.
    pub guests: Vec<(usize, GuestSpec)>,
    /// See [`Script::nodes`], and the line of each.
    pub storages: Vec<(usize, StorageSpec)>,
    /// How often the virtual daemon looks.
    pub tiers: Tiers,
    /// The nodes that the virtual daemon may ask; empty for all of them.
    pub endpoints: Vec<NodeName>,
    /// What its token may see.
    pub rights: Rights,
    /// What happens, in the order of time.
    pub steps: Vec<Step>,
    /// What Jarvis is allowed to do by itself.
    pub autonomy: Autonomy,
    /// What it is never to act on.
    pub protect: Vec<Subject>,
    /// How long it lasts.
    pub length: SignedDuration,
}

/// What an operator says to Jarvis.
#[derive(Clone, Debug, PartialEq)]
pub enum Jarvis {
    /// Stop everything, or go on.
    KillSwitch(bool),
    /// What it may do by itself from now on.
    Level(Autonomy),
    /// Somebody works on this, for so long.
    Announce(About, SignedDuration),
    /// Something about what is open on a subject.
    Order(Subject, String, Order),
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// From the start; `None` is before it.
    pub at: Option<SignedDuration>,
    /// The line in the script, from 1.
    pub line: usize,
    /// What.
    pub command: Command,
}

/// What can happen to a cluster.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// An operator says something to Jarvis; the cluster knows nothing of it.
    Jarvis(Jarvis),
    /// Its process is gone, and nobody asked for it.
    Crash(GuestId, Death),
    /// Its QEMU stops answering, or answers again.
    Hang(GuestId, bool),
    /// Its system restarts from inside.
    RebootInside(GuestId),
    /// Somebody backs guests up, one after the other.
    Backup {
        /// Which.
        guests: Vec<GuestId>,
        /// How.
        mode: BackupMode,
        /// How long each of them takes.
        takes: SignedDuration,
        /// Who.
        by: Actor,
    },
    /// It shuts itself down from inside.
    PowerOff(GuestId),
    /// Somebody asks PVE for something.
    Ask {
        /// What.
        verb: crate::cluster::Verb,
        /// Of whom.
        guest: GuestId,
        /// Who.
        by: Actor,
    },
    /// Somebody makes a guest.
    Create {
        /// What it is.
        spec: GuestSpec,
        /// Who.
        by: Actor,
    },
    /// Somebody destroys a guest.
    Destroy {
        /// Which.
        guest: GuestId,
        /// Who.
        by: Actor,
    },
    /// Its configuration gets a lock, or loses it.
    Lock(GuestId, Option<String>),
    /// It is in another run state (`io-error`), and nobody asked for it.
    State(GuestId, String),
    /// Its disk image is missing, or back.
    Broken(GuestId, bool),
    /// HA's state of it, or none.
    Ha(GuestId, Option<String>),
    /// A node loses power.
    KillNode(NodeName),
    /// A node is switched on.
    StartNode(NodeName),
    /// A node goes down cleanly, and comes back or not.
    ShutdownNode(NodeName, bool),
    /// A node loses power and is up again before anybody notices.
    ResetNode(NodeName),
    /// A node is taken out of the cluster for good; the configurations of its guests stay.
    Evict(NodeName),
    /// A daemon of a node is down, or up again.
    Daemon(NodeName, Daemon, bool),
    /// These nodes see only each other, and whoever is on the same side.
    Side(u8, Vec<NodeName>),
    /// A service of a node is in another state, in systemd's words.
    Service(NodeName, String, String),
    /// Somebody has PVE start or stop a service of a node: a task says who it was.
    ServiceBy(NodeName, String, String, Actor),
    /// A sensor of a node, in degrees Celsius.
    Temperature(NodeName, String, f64),
    /// HA takes a node out of service, or back.
    Maintenance(NodeName, bool),
    /// How full a node's root disk is, as a fraction.
    Disk(NodeName, f64),
    /// How full its memory is.
    Memory(NodeName, f64),
    /// How busy its cores are.
    Cpu(NodeName, f64),
    /// How full a storage is, on one node or all.
    StorageUsed(StorageName, Option<NodeName>, f64),
    /// Whether a storage can be reached.
    StorageActive(StorageName, Option<NodeName>, bool),
    /// Every node alone, or all together.
    Quorum(bool),
    /// What is wrong with the API of one node or all.
    Api(Option<NodeName>, Api),
    /// Whether a node's statistics service hangs.
    Stalled(NodeName, bool),
}

impl Script {
    /// Reads a script.
    pub fn parse(text: &str) -> Result<Script, BadScript> {
        parse::script(text)
    }

    /// The cluster as it is before the start.
    pub fn build(&self, at: Timestamp) -> Result<Cluster, BadScript> {
        let mut cluster = Cluster::new(self.cluster.clone(), self.seed, at);
        let on = |line: usize| move |trouble: Trouble| BadScript { line, what: trouble.to_string() };
        for node in &self.nodes {
            cluster.add_node(node.clone()).map_err(on(1))?;
        }
        for (line, guest) in &self.guests {
            cluster.add_guest(guest.clone()).map_err(on(*line))?;
        }
        for (line, storage) in &self.storages {
            cluster.add_storage(storage.clone()).map_err(on(*line))?;
        }
        for step in self.steps.iter().filter(|step| step.at.is_none()) {
            cluster.apply(&step.command).map_err(on(step.line))?;
        }
        cluster.settle();
        Ok(cluster)
    }

    /// What happens after the start, in order.
    pub fn timed_steps(&self) -> impl Iterator<Item = (SignedDuration, &Step)> {
        self.steps.iter().filter_map(|step| step.at.map(|at| (at, step)))
    }
}

impl Command {
    /// Reads one command, as it stands after `at TIME`.
    ///
    /// The error says what is wrong and what is allowed.
    pub fn parse(line: &str) -> Result<Command, String> {
        parse::command_line(line)
    }
}

/// A scenario by its name.
///
/// # Errors
///
/// A name that is not among [`NAMED`]; the text says which are, and which was perhaps meant.
pub fn named(name: &str) -> Result<&'static str, String> {
    if let Some((_, script)) = NAMED.iter().find(|(known, _)| *known == name) {
        return Ok(script);
    }
    let names = NAMED.iter().map(|(known, _)| *known);
    // Some ninety: the list is for who has nothing like any of them.
    Err(match words::nearest(name, names.clone()) {
        Some(near) => format!("there is no scenario `{name}`; did you mean `{near}`?"),
        None => format!("there is no scenario `{name}`; there are {}", names.collect::<Vec<_>>().join(", ")),
    })
}

/// Reads `at 1:10 crash qemu/101` or `crash qemu/101` (which is now).
pub fn timed_command(line: &str) -> Result<(SignedDuration, Command), String> {
    parse::timed_command(line)
}
