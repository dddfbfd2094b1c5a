//! The same story: compares what was told in a run with what was told in one where a single call failed. It knows the
//! entries and nothing of the cluster; whether what was told is true, the judge says.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use engine::Effect;
use engine::detect::{Finding, Trace};
use engine::observe::{Round, Subject};
use engine::policy::Metric;
use engine::record::{By, Entry, Fact, LeftBy, Note, Why};
use jiff::{SignedDuration, Timestamp};
use sim::run::Moment;
use sim::script::Tiers;

/// Beside two polls of its tier: a call that times out (10 s), and the answers that the look after it needs.
const ALLOWANCE: SignedDuration = SignedDuration::from_secs(15);

/// What was told of each subject, in order.
#[derive(Clone, Default)]
pub(crate) struct Story {
    told: BTreeMap<Subject, Vec<Told>>,
    heartbeats: usize,
}

/// One entry, as far as a failed call may not change it.
#[derive(Clone)]
struct Told {
    at: Timestamp,
    /// What must be the same.
    what: String,
    /// What the failed call may have said of it; `None` when it says that it does not know.
    adds: Option<String>,
    /// Whose poll shows it.
    tier: Round,
    line: String,
}

impl Story {
    pub(crate) fn see(&mut self, moment: &Moment) {
        for effect in moment.effects {
            if let Effect::Record(entry) = effect {
                self.add(entry);
            }
        }
    }

    fn add(&mut self, entry: &Entry) {
        let (what, adds, tier) = match &entry.fact {
            Fact::Opened { finding, .. } => {
                let (words, adds) = found(finding);
                (format!("opened {words}"), adds, tier(finding))
            }
            Fact::Turned { from, finding, .. } => {
                let (words, adds) = found(finding);
                (format!("turned from {} to {words}", from.as_str()), adds, tier(finding))
            }
            Fact::Resolved { finding, by, .. } => {
                (format!("resolved {} by {by:?}", finding.condition().as_str()), None, tier(finding))
            }
            Fact::Noted(note) => {
                let (words, adds) = noted(note);
                (format!("noted {words}"), adds, Round::Critical)
            }
            Fact::Heartbeat(_) => {
                self.heartbeats += 1;
                return;
            }
        };
        let line = entry.to_string().trim_end().to_owned();
        let told = Told { at: entry.at, what, adds, tier, line };
        self.told.entry(entry.subject.clone()).or_default().push(told);
    }

    /// What was told until then.
    pub(crate) fn until(&self, end: Timestamp) -> Story {
        let mut story = self.clone();
        story.told.values_mut().for_each(|told| told.retain(|told| told.at <= end));
        story.heartbeats = 0; // They are no part of it that could differ for good.
        story
    }

    /// When the last of what was told until `end` must have been told whatever single call had failed.
    pub(crate) fn must_be_told_by(&self, end: Timestamp, tiers: &Tiers) -> Timestamp {
        let in_time = self.told.values().flatten().filter(|told| told.at <= end);
        in_time.map(|told| told.latest(tiers)).max().unwrap_or(end).max(end)
    }

    /// What is not the same in `other`, one line each; and by how much the latest entry came later.
    ///
    /// What either tells after `end` may be missing in the other: that one may have ended too early for it.
    pub(crate) fn differs(
        &self,
        other: &Story,
        end: Timestamp,
        tiers: &Tiers,
    ) -> (Vec<String>, SignedDuration) {
        let (mut troubles, mut latest) = (Vec::new(), SignedDuration::ZERO);
        let nothing = Vec::new();
        let subjects: std::collections::BTreeSet<&Subject> =
            self.told.keys().chain(other.told.keys()).collect();
        for subject in subjects {
            let clean = self.told.get(subject).unwrap_or(&nothing);
            let ill = other.told.get(subject).unwrap_or(&nothing);
            for k in 0..clean.len().max(ill.len()) {
                match (clean.get(k), ill.get(k)) {
                    (Some(clean), Some(ill)) => {
                        if let Some(trouble) = clean.against(ill, tiers) {
                            troubles.push(trouble);
                            break; // What follows of this subject is another story.
                        }
                        latest = latest.max(ill.at.duration_since(clean.at));
                    }
                    (Some(clean), None) if clean.at <= end => {
                        troubles.push(format!("untold: {}", clean.line));
                        break;
                    }
                    (None, Some(ill)) if ill.at <= end => {
                        troubles.push(format!("told without reason: {}", ill.line));
                        break;
                    }
                    (Some(_), None) | (None, Some(_) | None) => break,
                }
            }
        }
        if other.heartbeats + 1 < self.heartbeats {
            troubles.push(format!("{} heartbeats, and were {}", other.heartbeats, self.heartbeats));
        }
        (troubles, latest)
    }
}

impl Told {
    fn latest(&self, tiers: &Tiers) -> Timestamp {
        self.at + tiers.every(self.tier) * 2 + ALLOWANCE
    }

    /// What is wrong with `ill` in this one's place.
    fn against(&self, ill: &Told, tiers: &Tiers) -> Option<String> {
        let lacks = ill.adds.is_none() || self.adds == ill.adds;
        let mut words = String::new();
        let wrong = if self.what != ill.what {
            "another thing is told"
        } else if !lacks {
            "it knows what is not so"
        } else if ill.at > self.latest(tiers) {
            "too late"
        } else {
            return None;
        };
        let late = ill.at.duration_since(self.at);
        let _ = write!(words, "{wrong}: {} instead of {} (later by {late:#})", ill.line, self.line);
        Some(words)
    }
}

/// A finding: its condition with what must be the same, and what a failed call may have said of it.
fn found(finding: &Finding) -> (String, Option<String>) {
    let name = finding.condition().as_str();
    match finding {
        // Why it sees nothing, and how many are in the vote just then, may change from round to round; so does a value.
        Finding::Blind { .. } | Finding::QuorumLost { .. } | Finding::OverMark { .. } => (name.into(), None),
        Finding::NodeUnreachable { guests, views, door } => {
            let known = (*views > 1 || door.is_some()).then(|| format!("{views} views, {door:?}"));
            (format!("{name} with {guests:?}"), known)
        }
        Finding::GuestCrashed { trace, .. } => {
            let known = match trace {
                Trace::Hidden => None,
                Trace::Nothing | Trace::OutOfMemory | Trace::Segfault | Trace::Killed | Trace::CleanEnd => {
                    Some(format!("{trace:?}"))
                }
            };
            (name.into(), known)
        }
        Finding::StorageOffline { .. }
        | Finding::StatsStale
        | Finding::NodeApi { .. }
        | Finding::GuestFault { .. }
        | Finding::HaFailed { .. }
        | Finding::ServiceDown { .. } => (format!("{name}: {}", finding.words()), None),
    }
}

/// A note: what must be the same, and what a failed call may have said of it.
fn noted(note: &Note) -> (String, Option<String>) {
    let by = |by: &Option<By>| by.as_ref().map(By::to_string);
    match note {
        Note::GuestChanged { from, to, why } => {
            (format!("{} to {}", from.as_str(), to.as_str()), known(why, to.has_process() == Some(false)))
        }
        Note::GuestMoved { from, to, by: who } => (format!("moved from {from} to {to}"), by(who)),
        Note::GuestAppeared { by: who } => ("is new".into(), by(who)),
        Note::GuestGone { by: who } => ("is gone".into(), by(who)),
        Note::GuestRestarted { why } => ("was restarted".into(), known(why, false)),
        Note::NodeLeft { by: LeftBy::Task(by) } => ("left on purpose".into(), Some(by.to_string())),
        Note::NodeLeft { by: LeftBy::HighAvailability(word) } => {
            ("left on purpose".into(), Some(word.to_string()))
        }
        Note::NodeBack | Note::NodeRestarted | Note::NodeAppeared | Note::NodeGone => (note.words(), None),
    }
}

/// Why, where that is known.
fn known(why: &Why, ended: bool) -> Option<String> {
    match why {
        Why::NotAsked(_) => None,
        Why::Task(by) => Some(by.to_string()),
        Why::HighAvailability { .. } => Some("HA".into()),
        Why::Locked(lock) => Some(format!("lock {lock}")),
        Why::NodeRestarted => Some("its node's restart".into()),
        Why::NoTask => Some(format!("no task, ended: {ended}")),
    }
}

/// By whose poll a finding comes and goes. What the live tier shows first, the critical one shows as well: a verdict
/// needs a look, and a look that failed is made anew at that one's pace.
fn tier(finding: &Finding) -> Round {
    match finding {
        Finding::Blind { .. }
        | Finding::QuorumLost { .. }
        | Finding::NodeUnreachable { .. }
        | Finding::GuestCrashed { .. }
        | Finding::StorageOffline { .. }
        | Finding::StatsStale
        | Finding::GuestFault { .. }
        | Finding::HaFailed { .. } => Round::Critical,
        Finding::NodeApi { .. } => Round::Important,
        Finding::ServiceDown { .. } => Round::Routine,
        Finding::OverMark { metric, .. } => match metric {
            Metric::Disk | Metric::Memory | Metric::Cpu => Round::Important,
            Metric::Storage => Round::Background,
            Metric::Temperature => Round::Routine,
        },
    }
}
