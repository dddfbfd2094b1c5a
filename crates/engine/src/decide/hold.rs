//! Holds: why nothing is done although something could be. Each carries what it is about, so its words are complete.

use std::fmt;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Autonomy, KillSwitch};
use crate::observe::NodeName;
use crate::record::By;

/// One objection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hold {
    /// Somebody stopped everything, or nothing can be recorded.
    KillSwitch(KillSwitch),
    /// This Jarvis only watches; another one acts.
    Standby,
    /// Jarvis is not allowed to so much by itself.
    Level {
        /// What it is allowed to.
        is: Autonomy,
        /// What the runbook asks for.
        needs: Autonomy,
    },
    /// It may heal by itself until then.
    Grace(Timestamp),
    /// The last attempt was a moment ago.
    Cooldown(Timestamp),
    /// Something else is worked on, on another node.
    BlastRadius(NodeName),
    /// Another guest of its node is just being started, or comes before it in the start order.
    Queue(NodeName),
    /// Its turn on its node is then: starts are not made all at once (pve-domain 9.27).
    Stagger(Timestamp),
    /// The cluster cannot decide.
    NoQuorum,
    /// Jarvis does not see the cluster as it is now.
    NotSeen(Box<str>),
    /// A node is acted on only when it was seen to be gone from two others.
    OneView,
    /// PVE knows no address to wake it by.
    NoAddress,
    /// The owner said so, or Jarvis itself runs there.
    Protected(Box<str>),
    /// Its tag forbids it.
    TaggedIgnore,
    /// Nothing says that it is to run: neither `onboot` nor the tag.
    NotWanted,
    /// A template can never run.
    Template,
    /// A transition holds it.
    Locked(Box<str>),
    /// HA manages it, in this state.
    HighAvailability(Box<str>),
    /// A task of PVE is at work on it.
    TaskRuns(By),
    /// Somebody else has just started it.
    StartedBy(By),
    /// Somebody stopped it since.
    StoppedBy(By),
    /// It is not as the incident says: it runs, or stands still.
    NotStopped(Box<str>),
    /// It has not failed: it ended in order.
    NotFailed,
    /// It is not where it was.
    NotThere,
    /// Its node has just booted: `startall` goes first (pve-domain 9.6).
    NodeBoots(Timestamp),
    /// Its node is not a member that can be asked to do anything.
    NodeAway(NodeName),
    /// What keeps it from working is still there.
    CauseStands(Box<str>),
    /// Restarting it may cut the node off (pve-domain 9.29).
    Vital,
    /// Somebody announced work on it, until then.
    Maintenance(Timestamp),
    /// Too much happens at once; people are asked first.
    Storm,
    /// An operator said that nothing is to be done.
    Dismissed(Box<str>),
}

impl Hold {
    /// Who stopped it, where that is what is objected.
    pub(crate) fn stopped_by(&self) -> Option<&By> {
        if let Hold::StoppedBy(by) = self { Some(by) } else { None }
    }

    /// When it will be over by itself, where that is known.
    pub fn until(&self) -> Option<Timestamp> {
        match self {
            Hold::Grace(until)
            | Hold::Cooldown(until)
            | Hold::Stagger(until)
            | Hold::NodeBoots(until)
            | Hold::Maintenance(until) => Some(*until),
            Hold::KillSwitch(_)
            | Hold::Standby
            | Hold::Level { .. }
            | Hold::BlastRadius(_)
            | Hold::Queue(_)
            | Hold::NoQuorum
            | Hold::NotSeen(_)
            | Hold::OneView
            | Hold::NoAddress
            | Hold::Protected(_)
            | Hold::TaggedIgnore
            | Hold::NotWanted
            | Hold::Template
            | Hold::Locked(_)
            | Hold::HighAvailability(_)
            | Hold::TaskRuns(_)
            | Hold::StartedBy(_)
            | Hold::StoppedBy(_)
            | Hold::NotStopped(_)
            | Hold::NotFailed
            | Hold::NotThere
            | Hold::NodeAway(_)
            | Hold::CauseStands(_)
            | Hold::Vital
            | Hold::Storm
            | Hold::Dismissed(_) => None,
        }
    }

    /// Whether it is only a matter of time until Jarvis goes on: then nobody needs to be told. That Jarvis cannot see is an
    /// incident of its own where it lasts; at each start it lasts until the first round.
    pub fn is_wait(&self) -> bool {
        match self {
            Hold::Grace(_)
            | Hold::Cooldown(_)
            | Hold::BlastRadius(_)
            | Hold::Queue(_)
            | Hold::Stagger(_)
            | Hold::NodeBoots(_)
            | Hold::TaskRuns(_)
            | Hold::StartedBy(_)
            | Hold::NotSeen(_)
            | Hold::NotStopped(_) => true,
            Hold::KillSwitch(_)
            | Hold::Standby
            | Hold::Level { .. }
            | Hold::NoQuorum
            | Hold::OneView
            | Hold::NoAddress
            | Hold::Protected(_)
            | Hold::TaggedIgnore
            | Hold::NotWanted
            | Hold::Template
            | Hold::Locked(_)
            | Hold::HighAvailability(_)
            | Hold::StoppedBy(_)
            | Hold::NotFailed
            | Hold::NotThere
            | Hold::NodeAway(_)
            | Hold::CauseStands(_)
            | Hold::Vital
            | Hold::Maintenance(_)
            | Hold::Storm
            | Hold::Dismissed(_) => false,
        }
    }

    /// A word for programs and for counting.
    pub fn as_str(&self) -> &'static str {
        match self {
            Hold::KillSwitch(_) => "killSwitch",
            Hold::Standby => "standby",
            Hold::Level { .. } => "level",
            Hold::Grace(_) => "grace",
            Hold::Cooldown(_) => "cooldown",
            Hold::BlastRadius(_) => "blastRadius",
            Hold::Queue(_) => "queue",
            Hold::Stagger(_) => "stagger",
            Hold::NoQuorum => "noQuorum",
            Hold::NotSeen(_) => "notSeen",
            Hold::OneView => "oneView",
            Hold::NoAddress => "noAddress",
            Hold::Protected(_) => "protected",
            Hold::TaggedIgnore => "taggedIgnore",
            Hold::NotWanted => "notWanted",
            Hold::Template => "template",
            Hold::Locked(_) => "locked",
            Hold::HighAvailability(_) => "highAvailability",
            Hold::TaskRuns(_) => "taskRuns",
            Hold::StartedBy(_) => "startedBy",
            Hold::StoppedBy(_) => "stoppedBy",
            Hold::NotStopped(_) => "notStopped",
            Hold::NotFailed => "notFailed",
            Hold::NotThere => "notThere",
            Hold::NodeBoots(_) => "nodeBoots",
            Hold::NodeAway(_) => "nodeAway",
            Hold::CauseStands(_) => "causeStands",
            Hold::Vital => "vital",
            Hold::Maintenance(_) => "maintenance",
            Hold::Storm => "storm",
            Hold::Dismissed(_) => "dismissed",
        }
    }

    /// In words, as of `now`.
    pub fn words(&self, now: Timestamp) -> String {
        let left = |until: &Timestamp| {
            let left = until.duration_since(now).max(SignedDuration::ZERO);
            crate::record::duration(left)
        };
        match self {
            Hold::KillSwitch(KillSwitch::Off) => "the kill switch".into(),
            Hold::KillSwitch(KillSwitch::On) => "the kill switch is on".into(),
            Hold::KillSwitch(KillSwitch::NotKnown) => "whether the kill switch is on is not known yet".into(),
            Hold::KillSwitch(KillSwitch::StoreFails) => {
                "nothing can be recorded (the store fails), so nothing is done".into()
            }
            Hold::Standby => "this Jarvis is on standby".into(),
            Hold::Level { is, needs } => {
                format!("the level is {} ({}), and this needs {}", is.number(), is.words(), needs.number())
            }
            Hold::Grace(until) => format!("it may heal by itself for {}", left(until)),
            Hold::Cooldown(until) => format!("the last attempt was a moment ago; {} more", left(until)),
            Hold::BlastRadius(node) => format!("{node} is worked on, and one node at a time"),
            Hold::Queue(node) => format!("another guest of {node} goes first"),
            Hold::Stagger(until) => format!("the guest before it was just started; {} more", left(until)),
            Hold::NoQuorum => "the cluster has no quorum".into(),
            Hold::NotSeen(why) => format!("not seen as it is now: {why}"),
            Hold::NoAddress => {
                "PVE knows no address to wake it by (wakeonlan among the node's options is not set)".into()
            }
            Hold::OneView => "seen to be gone from one node only; two are needed".into(),
            Hold::Protected(why) => format!("protected: {why}"),
            Hold::TaggedIgnore => "its tag jarvis-ignore".into(),
            Hold::NotWanted => "neither onboot nor the tag jarvis-restart says that it is to run".into(),
            Hold::Template => "it is a template".into(),
            Hold::Locked(lock) => format!("it is locked ({lock})"),
            Hold::HighAvailability(state) => format!("HA manages it (state {state})"),
            Hold::TaskRuns(by) => format!("a task is at work on it, by {by}"),
            Hold::StartedBy(by) => format!("just started by {by}"),
            Hold::StoppedBy(by) => format!("stopped since by {by}"),
            Hold::NotStopped(state) => format!("it is {state}"),
            Hold::NotFailed => {
                "it has not failed: it ended in order (inactive), as one does that somebody stops".into()
            }
            Hold::NotThere => "it is not on its node any more".into(),
            Hold::NodeBoots(until) => {
                format!("its node has just booted, and PVE starts its guests first; {} more", left(until))
            }
            Hold::NodeAway(node) => format!("{node} is not there to be asked"),
            Hold::CauseStands(why) => why.to_string(),
            Hold::Vital => "restarting it may cut its node off".into(),
            Hold::Maintenance(until) => format!("maintenance until {}", clock(*until, now)),
            Hold::Storm => "too much happens at once".into(),
            Hold::Dismissed(by) => format!("dismissed by {by}"),
        }
    }
}

/// A time of today by its clock, any other with its date. In UTC, as all times that are written down.
fn clock(at: Timestamp, now: Timestamp) -> String {
    let local = |at: Timestamp| TimeZone::UTC.to_datetime(at);
    let (at, today) = (local(at), local(now).date());
    match at.date() == today {
        true => at.strftime("%H:%M UTC").to_string(),
        false => at.strftime("%Y-%m-%d %H:%M UTC").to_string(),
    }
}

/// Whether objections say anything that was not said: another one that lasts, or that what was waited for is over and
/// something else is waited for.
pub(crate) fn is_news(said: &[Hold], now: &[Hold]) -> bool {
    let lasting = |holds: &[Hold]| holds.iter().filter(|hold| !hold.is_wait()).cloned().collect::<Vec<_>>();
    let (before, after) = (lasting(said), lasting(now));
    if !after.is_empty() || !before.is_empty() {
        return before != after;
    }
    !now.iter().any(|hold| said.iter().any(|known| known.as_str() == hold.as_str()))
}

/// Objections in words.
pub fn words(holds: &[Hold], now: Timestamp) -> String {
    holds.iter().map(|hold| hold.words(now)).collect::<Vec<_>>().join("; ")
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
