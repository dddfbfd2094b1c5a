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
            Hold::Cooldown(until) => format!("it was tried a moment ago; {} more", left(until)),
            Hold::BlastRadius(node) => format!("{node} is worked on, and one node at a time"),
            Hold::Queue(node) => format!("another guest of {node} goes first"),
            Hold::Stagger(until) => format!("the guest before it was just started; {} more", left(until)),
            Hold::NoQuorum => "the cluster has no quorum".into(),
            Hold::NotSeen(why) => format!("not seen as it is now: {why}"),
            Hold::NoAddress => {
                "PVE knows no address to wake it by (wakeonlan among the node's options is not set)".into()
            }
            Hold::OneView => {
                "seen to be gone from one node only, and two are needed: if it is off, wake it yourself"
                    .into()
            }
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

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    /// Seconds; it is 100.
    fn at(second: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second)
    }

    fn by() -> By {
        By { user: "alice@pve".into(), task: "qmstop".into(), upid: "UPID:s".into() }
    }

    fn every() -> Vec<Hold> {
        let node: NodeName = "pve2".parse().unwrap();
        vec![
            Hold::KillSwitch(KillSwitch::On),
            Hold::Standby,
            Hold::Level { is: Autonomy::Alert, needs: Autonomy::ActReport },
            Hold::Grace(at(115)),
            Hold::Cooldown(at(160)),
            Hold::BlastRadius(node.clone()),
            Hold::Queue(node.clone()),
            Hold::Stagger(at(103)),
            Hold::NoQuorum,
            Hold::NotSeen("the last round is too old".into()),
            Hold::OneView,
            Hold::NoAddress,
            Hold::Protected("by the configuration".into()),
            Hold::TaggedIgnore,
            Hold::NotWanted,
            Hold::Template,
            Hold::Locked("backup".into()),
            Hold::HighAvailability("started".into()),
            Hold::TaskRuns(by()),
            Hold::StartedBy(by()),
            Hold::StoppedBy(by()),
            Hold::NotStopped("running".into()),
            Hold::NotFailed,
            Hold::NotThere,
            Hold::NodeBoots(at(400)),
            Hold::NodeAway(node),
            Hold::CauseStands("storage nfs is away".into()),
            Hold::Vital,
            Hold::Maintenance(at(86_500)),
            Hold::Storm,
            Hold::Dismissed("bob".into()),
        ]
    }

    /// The word that programs get, whether it is only waited for (`~`), when it is over by itself, and what people read.
    #[test]
    fn every_objection_has_its_word_and_its_words() {
        let rows = every().into_iter().map(|hold| {
            let until = hold.until().map_or(String::new(), |until| until.as_second().to_string());
            let waits = if hold.is_wait() { "~" } else { " " };
            format!("{waits} {:<16} {until:<6} {}", hold.to_string(), hold.words(at(100)))
        });
        expect![[r#"
              killSwitch              the kill switch is on
              standby                 this Jarvis is on standby
              level                   the level is 1 (alert), and this needs 3
            ~ grace            115    it may heal by itself for 0:15
            ~ cooldown         160    it was tried a moment ago; 1:00 more
            ~ blastRadius             pve2 is worked on, and one node at a time
            ~ queue                   another guest of pve2 goes first
            ~ stagger          103    the guest before it was just started; 0:03 more
              noQuorum                the cluster has no quorum
            ~ notSeen                 not seen as it is now: the last round is too old
              oneView                 seen to be gone from one node only, and two are needed: if it is off, wake it yourself
              noAddress               PVE knows no address to wake it by (wakeonlan among the node's options is not set)
              protected               protected: by the configuration
              taggedIgnore            its tag jarvis-ignore
              notWanted               neither onboot nor the tag jarvis-restart says that it is to run
              template                it is a template
              locked                  it is locked (backup)
              highAvailability        HA manages it (state started)
            ~ taskRuns                a task is at work on it, by alice@pve (qmstop)
            ~ startedBy               just started by alice@pve (qmstop)
              stoppedBy               stopped since by alice@pve (qmstop)
            ~ notStopped              it is running
              notFailed               it has not failed: it ended in order (inactive), as one does that somebody stops
              notThere                it is not on its node any more
            ~ nodeBoots        400    its node has just booted, and PVE starts its guests first; 5:00 more
              nodeAway                pve2 is not there to be asked
              causeStands             storage nfs is away
              vital                   restarting it may cut its node off
              maintenance      86500  maintenance until 1970-01-02 00:01 UTC
              storm                   too much happens at once
              dismissed               dismissed by bob"#]].assert_eq(&rows.collect::<Vec<_>>().join("\n"));
    }

    /// What of a change of the objections is said.
    #[test]
    fn what_is_news_of_objections() {
        let (grace, later) = (|| Hold::Grace(at(115)), || Hold::Grace(at(175)));
        let (cooldown, locked) = (|| Hold::Cooldown(at(160)), || Hold::Locked("backup".into()));
        let table = [
            ("the same", vec![locked()], vec![locked()], false),
            ("another lock", vec![locked()], vec![Hold::Locked("migrate".into())], true),
            ("one more that lasts", vec![locked()], vec![locked(), Hold::NotWanted], true),
            ("one less that lasts", vec![locked(), Hold::NotWanted], vec![locked()], true),
            ("the wait beside it is over", vec![locked(), grace()], vec![locked()], false),
            ("what lasted is over, the same is waited for", vec![locked(), grace()], vec![grace()], true),
            ("beside the wait, one that lasts", vec![grace()], vec![locked(), grace()], true),
            ("waits on, for longer", vec![grace()], vec![later()], false),
            ("waits for another thing", vec![grace()], vec![cooldown()], true),
            ("waits for one thing more", vec![grace()], vec![grace(), cooldown()], false),
        ];
        for (row, before, now, news) in table {
            assert_eq!(is_news(&before, &now), news, "{row}");
        }
    }
}
