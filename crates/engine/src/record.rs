//! Record: what is written down, in the words that the operator reads.
//!
//! The `Display` of an [`Entry`] is the line of the log, of the scenarios' expected logs and, later, of
//! `jarvis why`: one text for all three.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::act::{Action, Attempt, Outcome};
use crate::decide::{self, Hold};
use crate::detect::{Condition, Finding};
use crate::incident::{IncidentId, Resolution};
use crate::observe::{GuestStatus, NodeName, Subject};

/// One thing worth writing down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When the engine knew it.
    pub at: Timestamp,
    /// What it is about.
    pub subject: Subject,
    /// The subject's name, for people.
    pub name: Option<Box<str>>,
    /// The node it is about or happened on.
    pub node: Option<NodeName>,
    /// What happened.
    pub fact: Fact,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Fact {
    /// Trouble began.
    Opened {
        /// Its identity.
        incident: IncidentId,
        /// What was found.
        finding: Finding,
        /// The event that it was told with, where that was one for many.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        group: Option<IncidentId>,
    },
    /// Trouble got worse or better without ending: another condition of the same incident.
    Turned {
        /// Its identity.
        incident: IncidentId,
        /// What it was.
        from: Condition,
        /// What it is.
        finding: Finding,
    },
    /// Trouble ended.
    Resolved {
        /// Its identity.
        incident: IncidentId,
        /// What it was at the end.
        finding: Finding,
        /// How long it was open.
        lasted: SignedDuration,
        /// Why it ended.
        by: Resolution,
    },
    /// Something that is no trouble.
    Noted(Note),
    /// How the cluster is as a whole.
    Heartbeat(Summary),
    /// What was decided, done and seen about an incident.
    Remedy {
        /// Its identity.
        incident: IncidentId,
        /// What it is.
        condition: Condition,
        /// What happened.
        step: Step,
    },
    /// Too much happens at once: nothing is done until it is over.
    Storm {
        /// New incidents within a minute; 0: it is over.
        incidents: u32,
    },
}

/// One step on the way from an incident to its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Step {
    /// Nothing is done, for these reasons. Said when they change.
    Held {
        /// What would have been done.
        action: Action,
        /// Why it is not.
        holds: Vec<Hold>,
        /// By which runbook it would have been done.
        runbook: Box<str>,
        /// What Jarvis was allowed to then, 0 to 4.
        level: u8,
    },
    /// This could be done, if somebody approved.
    Recommended {
        /// What.
        action: Action,
        /// By which runbook.
        runbook: Box<str>,
    },
    /// This is about to be done. Recorded before the call.
    Intended {
        /// What, and the how manyth time.
        attempt: Attempt,
        /// How many there may be.
        of: u32,
        /// Who approved it, where somebody did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        approved: Option<Box<str>>,
    },
    /// The call has ended.
    Acted {
        /// Which attempt.
        attempt: Attempt,
        /// How.
        outcome: Outcome,
    },
    /// It has been looked at.
    Verified {
        /// Which attempt.
        attempt: Attempt,
        /// Whether it helped.
        helped: bool,
        /// What was seen.
        words: Box<str>,
        /// PVE's task, where there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        upid: Option<Box<str>>,
    },
    /// People are called; nothing more is done until it is over, or somebody says so.
    Escalated {
        /// Why.
        words: Box<str>,
        /// What was tried.
        action: Action,
        /// By which runbook.
        runbook: Box<str>,
        /// What Jarvis was allowed to then, 0 to 4.
        level: u8,
        /// How often it was tried.
        attempts: u32,
    },
    /// What was approved could not be done for so long that it has to be approved again.
    Lapsed {
        /// Who approved it.
        by: Box<str>,
        /// When.
        since: Timestamp,
        /// What would have been done.
        action: Action,
        /// Whether it is left to people now, as it was before it was approved.
        escalated: bool,
    },
    /// An operator said something about it.
    Ordered {
        /// Who.
        by: Box<str>,
        /// What.
        order: Order,
    },
}

/// What an operator may say about an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Order {
    /// Do it, whatever the level says.
    Approve,
    /// Do nothing about it.
    Dismiss,
    /// I have seen it.
    Acknowledge,
    /// It is over.
    Resolve,
}

impl Order {
    /// As it is said of an incident.
    pub fn words(self) -> &'static str {
        match self {
            Order::Approve => "approved",
            Order::Dismiss => "dismissed",
            Order::Acknowledge => "seen",
            Order::Resolve => "closed",
        }
    }
}

/// Things that are no trouble, but news.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Note {
    /// A guest changed its state, and this is why.
    GuestChanged {
        /// What it did before.
        from: GuestStatus,
        /// What it does now.
        to: GuestStatus,
        /// Why.
        why: Why,
    },
    /// A guest moved to another node.
    GuestMoved {
        /// Where it was.
        from: NodeName,
        /// Where it is.
        to: NodeName,
        /// Who moved it, where a task says so.
        by: Option<By>,
    },
    /// A guest that was not there before.
    GuestAppeared {
        /// Who made it, where a task says so.
        by: Option<By>,
    },
    /// A guest that is not there any more.
    GuestGone {
        /// Who destroyed it, where a task says so.
        by: Option<By>,
    },
    /// A guest was restarted between two looks: it ran before and runs again, as another process.
    GuestRestarted {
        /// Why.
        why: Why,
    },
    /// A node left because somebody wanted it to.
    NodeLeft {
        /// Who.
        by: LeftBy,
    },
    /// A node that had left on purpose is a member again.
    NodeBack,
    /// A node was restarted and nobody saw it leave.
    NodeRestarted,
    /// A node that was not there before.
    NodeAppeared,
    /// A node that is not there any more.
    NodeGone,
}

/// Why a guest changed its state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Why {
    /// A task of PVE did it, for somebody.
    Task(By),
    /// A task started it again, and none had stopped it: a crash, or a power-off from inside, that somebody mended before
    /// it could be told.
    StartedBy(By),
    /// HA manages it: its stop is HA's business.
    HighAvailability {
        /// HA's own word for its state.
        state: Box<str>,
    },
    /// A transition holds it (`backup`, `suspended`, ...).
    Locked(Box<str>),
    /// Its node was restarted, and it has not come back since.
    NodeRestarted,
    /// No task explains it, and none has to: a guest that runs again, or that stands still.
    NoTask,
    /// The node could not be asked, so the cause is not known.
    NotAsked(Box<str>),
}

/// Who did something, by which task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct By {
    /// PVE's user, with the token where one was used (`op@pve!t1`).
    pub user: Box<str>,
    /// PVE's word for the task (`qmstop`).
    pub task: Box<str>,
    /// PVE's id of the task.
    pub upid: Box<str>,
}

/// Who wanted a node to leave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeftBy {
    /// A task of PVE took it down: its own shutdown, whoever began that.
    Task(By),
    /// HA's word for it (`maintenance`, `shutdown`, `restart`).
    HighAvailability(Box<str>),
}

/// How the cluster is as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Nodes that are members.
    pub nodes_online: u32,
    /// Nodes in all.
    pub nodes: u32,
    /// Guests with a process.
    pub guests_running: u32,
    /// Guests in all, templates left out.
    pub guests: u32,
    /// Incidents that are not over.
    pub incidents: u32,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = match &self.name {
            Some(name) => format!("{} ({name})", self.subject),
            None => self.subject.to_string(),
        };
        match &self.fact {
            Fact::Opened { finding, .. } => {
                write!(f, "opened    {:<18} {subject}: {}", finding.condition().as_str(), finding.words())
            }
            Fact::Turned { from, finding, .. } if *from == finding.condition() => {
                write!(f, "turned    {:<18} {subject}: {}", from.as_str(), finding.words())
            }
            Fact::Turned { from, finding, .. } => write!(
                f,
                "turned    {:<18} {subject}: {}, was {}",
                finding.condition().as_str(),
                finding.words(),
                from.as_str()
            ),
            Fact::Resolved { finding, lasted, by, .. } => write!(
                f,
                "resolved  {:<18} {subject}: {} after {}",
                finding.condition().as_str(),
                by.words(finding),
                duration(*lasted)
            ),
            Fact::Noted(note) => write!(f, "noted     {:<18} {subject}: {}", "", note.words()),
            Fact::Heartbeat(summary) => write!(f, "heartbeat {:<18} {subject}: {}", "", summary.words()),
            Fact::Remedy { condition, step, .. } => {
                write!(f, "{:<9} {:<18} {subject}: {}", step.word(), condition.as_str(), step.words(self.at))
            }
            Fact::Storm { incidents } => {
                write!(f, "storm     {:<18} {subject}: {}", "", storm_words(*incidents))
            }
        }
    }
}

/// `m:ss`, or `h:mm:ss` from one hour on.
pub fn duration(lasted: SignedDuration) -> String {
    let seconds = lasted.as_secs().max(0);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

impl Resolution {
    /// How it ended, in words.
    pub fn words(self, finding: &Finding) -> String {
        match self {
            Resolution::Itself => finding.over().into(),
            Resolution::Removed => "gone from the cluster".into(),
            Resolution::Unwatched => "not watched any more".into(),
            Resolution::Superseded => "part of something worse".into(),
            Resolution::Mended => {
                // Resumed, it has not stopped.
                let fault = matches!(finding, Finding::GuestFault { .. });
                format!("{}, mended by Jarvis", if fault { "works again" } else { finding.over() })
            }
            Resolution::Closed => "closed by an operator".into(),
        }
    }
}

/// What a storm means, in words.
pub(crate) fn storm_words(incidents: u32) -> String {
    if incidents == 0 {
        return "the storm is over; what is still wrong is seen to again".into();
    }
    format!(
        "{incidents} new incidents within a minute have one cause that a restart does not mend; nothing is done \
         by itself until 5 minutes have passed without as many"
    )
}

impl Step {
    /// What kind of step it is, in one word.
    pub fn word(&self) -> &'static str {
        match self {
            Step::Held { .. } => "held",
            Step::Recommended { .. } => "advised",
            Step::Intended { .. } => "acting",
            Step::Acted { .. } => "acted",
            Step::Verified { helped: true, .. } => "verified",
            Step::Verified { helped: false, .. } => "missed",
            Step::Escalated { .. } => "escalated",
            Step::Lapsed { .. } => "lapsed",
            Step::Ordered { .. } => "ordered",
        }
    }

    /// What happened, in words that follow the subject.
    pub fn words(&self, at: Timestamp) -> String {
        match self {
            Step::Held { holds, .. } => decide::words(holds, at),
            Step::Recommended { action, .. } => format!("{action}, if somebody approves"),
            Step::Intended { attempt, of, approved, .. } => {
                let by = approved.as_ref().map(|by| format!(", approved by {by}")).unwrap_or_default();
                format!("{}, attempt {} of {of} ({}){by}", attempt.action, attempt.number, attempt.runbook)
            }
            Step::Acted { outcome, .. } => outcome.to_string(),
            Step::Verified { words, .. } => words.to_string(),
            Step::Escalated { words, .. } => words.to_string(),
            Step::Lapsed { by, since, action, escalated } => {
                let ago = duration(at.duration_since(*since));
                let next = if *escalated { "it is left to people" } else { "it has to be approved again" };
                format!("{action}: {by} approved it {ago} ago, and it could not be done since; {next}")
            }
            Step::Ordered { by, order } => format!("{} by {by}", order.words()),
        }
    }
}

impl Note {
    /// What happened, in words that follow the subject.
    pub fn words(&self) -> String {
        let by = |by: &Option<By>| by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
        match self {
            Note::GuestChanged { from, to, why } => {
                format!("{} to {}, {}", from.as_str(), to.as_str(), why.words(to))
            }
            Note::GuestMoved { from, to, by: who } => format!("moved from {from} to {to}{}", by(who)),
            Note::GuestAppeared { by: who } => match who {
                Some(who) => format!("was created by {who}"),
                None => "is new".into(),
            },
            Note::GuestGone { by: who } => match who {
                Some(who) => format!("was destroyed by {who}"),
                None => "is gone".into(),
            },
            Note::GuestRestarted { why } => format!("was restarted, {}", why.words(&GuestStatus::Running)),
            Note::NodeLeft { by: LeftBy::Task(by) } => format!("left on purpose: shut down by {by}"),
            Note::NodeLeft { by: LeftBy::HighAvailability(word) } => {
                format!("left on purpose: HA has it in {word}")
            }
            Note::NodeBack => "is back".into(),
            Note::NodeRestarted => "was restarted; it was not seen to leave".into(),
            Note::NodeAppeared => "is new in the cluster".into(),
            Note::NodeGone => "is gone from the cluster".into(),
        }
    }
}

/// HA's states in which it starts a guest that is down; in `error`, `stopped` and `disabled` nobody does (pve-domain 3.5).
pub(crate) const HA_RESTARTS: [&str; 7] =
    ["started", "enabled", "queued", "request_start", "recovery", "fence", "migrate"];

impl Why {
    /// Why, in words that follow the change.
    pub fn words(&self, to: &GuestStatus) -> String {
        let ended = to.has_process() == Some(false);
        match self {
            Why::Task(by) if ended && by.reboots() => format!("for a reboot by {by}"),
            Why::Task(by) => format!("by {by}"),
            Why::StartedBy(by) => {
                format!("no task stopped it (a crash, or a power-off from inside); started again by {by}")
            }
            Why::HighAvailability { state } if ended && HA_RESTARTS.contains(&&**state) => {
                format!("HA manages it (state {state}) and is the one to restart it")
            }
            Why::HighAvailability { state } => format!("HA manages it (state {state})"),
            Why::Locked(lock) => format!("in a transition (lock {lock})"),
            Why::NodeRestarted => "with its node's restart".into(),
            Why::NoTask => "no task says why".into(),
            Why::NotAsked(words) => format!("cause not known: {words}"),
        }
    }
}

impl By {
    /// Whether the task starts again what it stops.
    pub(crate) fn reboots(&self) -> bool {
        matches!(&*self.task, "qmreboot" | "vzreboot")
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.user, self.task)
    }
}

impl Summary {
    /// Whether there is nothing to worry about.
    pub fn nominal(&self) -> bool {
        self.incidents == 0 && self.nodes_online == self.nodes
    }

    /// The numbers, in words.
    pub fn words(&self) -> String {
        let Summary { nodes_online, nodes, guests_running, guests, incidents } = self;
        let incidents = match incidents {
            0 => "nothing open".to_owned(),
            1 => "1 incident open".to_owned(),
            n => format!("{n} incidents open"),
        };
        format!(
            "{nodes_online} of {nodes} nodes online, {guests_running} of {guests} guests running, {incidents}"
        )
    }
}
