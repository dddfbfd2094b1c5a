//! The same story: compares what was told in a run with what was told in one where a single call failed. It knows the
//! entries and nothing of the cluster; whether what was told is true, the judge says.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;

use engine::detect::{Check, Fault, Finding, Trace};
use engine::observe::{Round, Subject};
use engine::policy::Metric;
use engine::record::{By, Entry, Fact, LeftBy, Note, Why};
use engine::{Effect, Input};
use jiff::{SignedDuration, Timestamp};
use sim::run::Moment;
use sim::script::Tiers;

/// Beside two polls of its tier: a call that times out (10 s), and the answers that the look after it needs.
const ALLOWANCE: SignedDuration = SignedDuration::from_secs(15);

/// What was told of each subject, in order.
#[derive(Clone, Default)]
pub(crate) struct Story {
    told: BTreeMap<Thread, Vec<Told>>,
    heartbeats: usize,
    /// Critical rounds that saw nothing.
    blind: Vec<Timestamp>,
}

/// What has an order: the findings of one check on one subject, or the notes of a subject. A crash and a storage that
/// fills are told in the order in which they are seen.
type Thread = (Subject, Option<Check>);

/// One entry, as far as a failed call may not change it.
#[derive(Clone)]
struct Told {
    at: Timestamp,
    /// What must be the same.
    what: String,
    /// What a failed call may have said of it, piece by piece.
    adds: Vec<String>,
    patience: Patience,
    line: String,
}

/// How much later an entry may come because of one failed call.
#[derive(Clone, Copy)]
struct Patience {
    /// Whose poll shows it.
    tier: Round,
    /// What a look that is made anew costs besides.
    more: SignedDuration,
}

impl Patience {
    fn of(tier: Round) -> Patience {
        Patience { tier, more: SignedDuration::ZERO }
    }
}

impl Story {
    pub(crate) fn see(&mut self, moment: &Moment) {
        if let Input::Observed(snapshot) = moment.input
            && snapshot.round == Round::Critical
            && !moment.engine.seeing()
        {
            self.blind.push(snapshot.began_at);
        }
        for effect in moment.effects {
            if let Effect::Record(entry) = effect {
                self.add(entry);
            }
        }
    }

    fn add(&mut self, entry: &Entry) {
        let check = match &entry.fact {
            Fact::Opened { finding, .. } | Fact::Turned { finding, .. } | Fact::Resolved { finding, .. } => {
                Some(finding.check())
            }
            Fact::Noted(_) | Fact::Heartbeat(_) | Fact::Remedy { .. } | Fact::Storm { .. } => None,
        };
        let (what, adds, patience) = match &entry.fact {
            Fact::Opened { finding, .. } => {
                let (words, adds) = found(finding);
                (format!("opened {words}"), adds, patience(finding))
            }
            Fact::Turned { from, finding, .. } => {
                let (words, adds) = found(finding);
                (format!("turned from {} to {words}", from.as_str()), adds, patience(finding))
            }
            Fact::Resolved { finding, by, .. } => (
                format!("resolved {} by {by:?}", finding.condition().as_str()),
                Vec::new(),
                patience(finding),
            ),
            Fact::Noted(note) => {
                let (words, adds) = noted(note);
                (format!("noted {words}"), adds, Patience::of(Round::Critical))
            }
            Fact::Heartbeat(_) => {
                self.heartbeats += 1;
                return;
            }
            // What is done about it is another question; here nothing may be done.
            Fact::Remedy { .. } | Fact::Storm { .. } => return,
        };
        let line = entry.to_string().trim_end().to_owned();
        let told = Told { at: entry.at, what, adds, patience, line };
        self.told.entry((entry.subject.clone(), check)).or_default().push(told);
    }

    /// When something was told.
    pub(crate) fn times(&self) -> impl Iterator<Item = Timestamp> {
        self.told.values().flatten().map(|told| told.at)
    }

    /// Without its blindness, where the failed call stands next to a round that saw nothing by itself: then two in a row
    /// saw nothing, and that is told with good reason.
    pub(crate) fn without_blindness_near(&mut self, other: &mut Story, at: Timestamp, tiers: &Tiers) {
        let near = |blind: &Timestamp| blind.duration_since(at).abs() <= tiers.critical * 3 / 2;
        if self.blind.iter().any(near) {
            let thread = (Subject::Cluster, Some(Check::Blind));
            self.told.remove(&thread);
            other.told.remove(&thread);
        }
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
        let threads: BTreeSet<&Thread> = self.told.keys().chain(other.told.keys()).collect();
        for thread in threads {
            let mut clean = self.told.get(thread).unwrap_or(&nothing).iter().peekable();
            let mut ill = other.told.get(thread).unwrap_or(&nothing).iter().peekable();
            loop {
                let trouble = match (clean.peek(), ill.peek()) {
                    (Some(c), Some(i)) => match c.against(i, tiers) {
                        None => {
                            latest = latest.max(i.at.duration_since(c.at));
                            clean.next();
                            ill.next();
                            continue;
                        }
                        Some(trouble) => trouble,
                    },
                    (Some(c), None) if c.at <= end => format!("untold: {}", c.line),
                    (None, Some(i)) if i.at <= end => format!("told without reason: {}", i.line),
                    (Some(_), None) | (None, Some(_) | None) => break,
                };
                if same_stop(&mut clean, &mut ill, tiers) || same_stop(&mut ill, &mut clean, tiers) {
                    continue;
                }
                // What was so in one round only is not seen when that is the one that is lost.
                let mut after = clean.clone();
                if let (Some(opened), Some(over)) = (after.next(), after.next())
                    && opened.in_one_round(over, tiers)
                {
                    clean = after;
                    continue;
                }
                troubles.push(trouble);
                break; // What follows in this thread is another story.
            }
        }
        if other.heartbeats + 1 < self.heartbeats {
            troubles.push(format!("{} heartbeats, and were {}", other.heartbeats, self.heartbeats));
        }
        (troubles, latest)
    }
}

/// A guest that stopped and runs again at the next poll is one that was restarted, when the poll or the look between the
/// two is the one that is lost. Goes past both, if that is what stands here.
fn same_stop(
    twice: &mut Peekable<std::slice::Iter<Told>>,
    once: &mut Peekable<std::slice::Iter<Told>>,
    tiers: &Tiers,
) -> bool {
    let mut ahead = twice.clone();
    let (Some(stop), Some(start), Some(restart)) = (ahead.next(), ahead.next(), once.peek()) else {
        return false;
    };
    let stopped = stop.what.ends_with(" to stopped") && start.what.starts_with("noted stopped to ");
    let by_one_of_them = restart.adds.iter().all(|by| stop.adds.contains(by) || start.adds.contains(by));
    let in_time = start.at.duration_since(stop.at) <= tiers.critical * 2 + ALLOWANCE;
    let same = stopped && restart.what == "noted was restarted" && by_one_of_them && in_time;
    if same {
        *twice = ahead;
        once.next();
    }
    same
}

impl Told {
    fn latest(&self, tiers: &Tiers) -> Timestamp {
        self.at + tiers.every(self.patience.tier) * 2 + self.patience.more + ALLOWANCE
    }

    /// Whether this is trouble that was over when it was looked at for the second time.
    fn in_one_round(&self, over: &Told, tiers: &Tiers) -> bool {
        let seen = over.at.duration_since(self.at);
        let pair = self.what.starts_with("opened ") && over.what.starts_with("resolved ");
        let pair = pair && !self.what.contains("_CRASHED"); // A death leaves a younger process behind.
        pair && seen <= tiers.every(self.patience.tier) + SignedDuration::from_secs(1)
    }

    /// What is wrong with `ill` in this one's place.
    fn against(&self, ill: &Told, tiers: &Tiers) -> Option<String> {
        let lacks = ill.adds.iter().all(|piece| self.adds.contains(piece));
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
        Some(format!("{wrong}: {} instead of {} ({} s later)", ill.line, self.line, late.as_secs()))
    }
}

/// A finding: its condition with what must be the same, and what a failed call may have said of it.
fn found(finding: &Finding) -> (String, Vec<String>) {
    let name = finding.condition().as_str();
    match finding {
        // Why it sees nothing, how many are in the vote and which nodes have told of a storage changes from round to
        // round, and so does a value.
        Finding::Blind { .. }
        | Finding::QuorumLost { .. }
        | Finding::OverMark { .. }
        | Finding::StorageOffline { .. } => (name.into(), Vec::new()),
        Finding::NodeUnreachable { guests, views, door } => {
            let seen = (2..=*views).map(|view| format!("view {view}"));
            let adds = seen.chain(door.map(|door| format!("{door:?}"))).collect();
            (format!("{name} with {guests:?}"), adds)
        }
        Finding::GuestCrashed { trace, .. } => {
            let adds = match trace {
                Trace::Hidden => Vec::new(),
                Trace::Nothing | Trace::OutOfMemory | Trace::Segfault | Trace::Killed | Trace::CleanEnd => {
                    vec![format!("{trace:?}")]
                }
            };
            (name.into(), adds)
        }
        Finding::StatsStale
        | Finding::GuestNotStarted { .. }
        | Finding::NodeApi { .. }
        | Finding::GuestFault { .. }
        | Finding::HaFailed { .. }
        | Finding::ServiceDown { .. } => (format!("{name}: {}", finding.words()), Vec::new()),
    }
}

/// A note: what must be the same, and what a failed call may have said of it.
fn noted(note: &Note) -> (String, Vec<String>) {
    let by = |by: &Option<By>| by.iter().map(By::to_string).collect();
    match note {
        Note::GuestChanged { from, to, why } => (format!("{} to {}", from.as_str(), to.as_str()), known(why)),
        Note::GuestMoved { from, to, by: who } => (format!("moved from {from} to {to}"), by(who)),
        Note::GuestAppeared { by: who } => ("is new".into(), by(who)),
        Note::GuestGone { by: who } => ("is gone".into(), by(who)),
        Note::GuestRestarted { why } => ("was restarted".into(), known(why)),
        Note::NodeLeft { by: LeftBy::Task(by) } => ("left on purpose".into(), vec![by.to_string()]),
        // HA's word says that somebody wanted it, and not who.
        Note::NodeLeft { by: LeftBy::HighAvailability(_) } => ("left on purpose".into(), Vec::new()),
        Note::NodeBack | Note::NodeRestarted | Note::NodeAppeared | Note::NodeGone => {
            (note.words(), Vec::new())
        }
    }
}

/// Why, where that is known. A verdict of a crash is no note, so what is wrong here is never one of those two.
fn known(why: &Why) -> Vec<String> {
    match why {
        Why::NotAsked(_) => Vec::new(),
        Why::Task(by) | Why::StartedBy(by) => vec![by.to_string()],
        Why::HighAvailability { .. } => vec!["HA".into()],
        Why::Locked(lock) => vec![format!("lock {lock}")],
        Why::NodeRestarted => vec!["its node's restart".into()],
        Why::NoTask => vec!["no task".into()],
    }
}

/// By whose poll a finding comes and goes. What the live tier shows first, the critical one shows as well: a verdict
/// needs a look, and a look that failed is made anew at that one's pace.
fn patience(finding: &Finding) -> Patience {
    match finding {
        // Two looks half a minute apart: when one of them is lost, there is a third.
        Finding::GuestFault { fault: Fault::Hung } => {
            Patience { tier: Round::Critical, more: SignedDuration::from_secs(30) }
        }
        Finding::Blind { .. }
        | Finding::QuorumLost { .. }
        | Finding::NodeUnreachable { .. }
        | Finding::GuestCrashed { .. }
        | Finding::GuestNotStarted { .. }
        | Finding::StorageOffline { .. }
        | Finding::StatsStale
        | Finding::GuestFault { .. }
        | Finding::HaFailed { .. } => Patience::of(Round::Critical),
        Finding::NodeApi { .. } => Patience::of(Round::Important),
        Finding::ServiceDown { .. } => Patience::of(Round::Routine),
        Finding::OverMark { metric, .. } => Patience::of(match metric {
            Metric::Disk | Metric::Memory | Metric::Cpu => Round::Important,
            Metric::Storage => Round::Background,
            Metric::Temperature => Round::Routine,
        }),
    }
}
