//! Forks: a scenario in which each call fails in turn, each time on a copy of the run as it was just before the call.
//!
//! What happens before the call is played once. What happens after it is played until the run is again where it is
//! without the fault: from there on it goes the same way, but for milliseconds of the answers' travel.

use std::collections::BTreeMap;

use engine::Checkpoint;
use engine::observe::{NodeName, Presence, Round};
use jiff::{SignedDuration, Timestamp};

use super::{Asked, Fault, Faults, Mail, Moment, Next, Ordeal, Play, Report};
use crate::script::{BadScript, Script};

/// Runs are compared so often; less often would save comparisons, and play on for longer.
const MARK_EVERY: SignedDuration = SignedDuration::from_secs(6);

/// Whoever watches a run that is copied is copied with it.
pub trait Watch: Clone {
    /// One turn of the engine.
    fn see(&mut self, moment: &Moment);
}

/// One run with one call that failed.
#[derive(Clone, Debug)]
pub struct Fork<W> {
    /// The call's number, from 1.
    pub number: u64,
    /// The call.
    pub asked: Asked,
    /// How it failed.
    pub fault: Fault,
    /// What was seen, before the call too.
    pub watch: W,
    /// When the run was again where it is without the fault; `None` when it was played to its end.
    pub joined: Option<Timestamp>,
    /// The run, as far as it was played.
    pub report: Report,
}

/// Where a run is at one instant at which no answer is on its way.
struct Mark {
    at: Timestamp,
    memory: Checkpoint,
    home: usize,
    known: BTreeMap<NodeName, Presence>,
    rounds: BTreeMap<(Round, Option<NodeName>), Timestamp>,
}

/// Plays a scenario once for each fault that `choose` names for one of its calls, and hands each run to `done`.
///
/// # Errors
///
/// As [`super::run`].
pub fn each_call<W: Watch>(
    script: &Script,
    mut watch: W,
    choose: &dyn Fn(u64, &Asked) -> Vec<Fault>,
    done: &mut dyn FnMut(Fork<W>),
) -> Result<(), BadScript> {
    let marks = marks(script)?;
    let mut play = Play::new(script, &Ordeal::default())?;
    while let Some((at, next)) = play.next() {
        if at > play.end {
            break;
        }
        play.cluster.advance(at);
        let before = play.asks(&next).then(|| play.without_history());
        let made = play.asker.made;
        play.happen(at, next.clone(), &mut |moment| watch.see(moment))?;
        let Some(before) = before else { continue };
        for number in made + 1..=play.asker.made {
            let Some(asked) = usize::try_from(number - 1).ok().and_then(|k| play.asker.asked.get(k)) else {
                continue;
            };
            for fault in choose(number, asked) {
                let mut fork = before.clone();
                fork.asker.faults = Faults::Call { number, fault };
                let mut watch = watch.clone();
                fork.happen(at, next.clone(), &mut |moment| watch.see(moment))?;
                let first = marks.partition_point(|mark| mark.at <= at);
                let joined = fork.join(&marks[first..], &mut |moment| watch.see(moment))?;
                if joined.is_none() {
                    fork.report.repeated = fork.once_more();
                }
                fork.report.failed = fork.asker.failed;
                done(Fork { number, asked: *asked, fault, watch, joined, report: fork.report });
            }
        }
    }
    Ok(())
}

/// The marks of the run without a fault.
fn marks(script: &Script) -> Result<Vec<Mark>, BadScript> {
    let mut play = Play::new(script, &Ordeal::default())?;
    let mut marks: Vec<Mark> = Vec::new();
    let mut last = super::BEGIN;
    while let Some((at, next)) = play.next() {
        // What has happened until `last` has happened in full.
        let due = marks.last().is_none_or(|mark| last.duration_since(mark.at) >= MARK_EVERY);
        if at > last && due && play.mail.is_empty() {
            marks.push(play.mark(last));
        }
        if at > play.end {
            break;
        }
        play.cluster.advance(at);
        play.happen(at, next, &mut |_| ())?;
        last = at;
    }
    Ok(marks)
}

impl<'a> Play<'a> {
    /// Whether this makes calls.
    fn asks(&self, next: &Next) -> bool {
        match next {
            Next::Round(..) => true,
            Next::Mail => matches!(self.mail.first_key_value(), Some((_, Mail::Look(_)))),
            Next::Kill | Next::Step | Next::Tick => false,
        }
    }

    /// A copy that has forgotten its calls, of which there may be many.
    fn without_history(&mut self) -> Play<'a> {
        let asked = std::mem::take(&mut self.asker.asked);
        let copy = self.clone();
        self.asker.asked = asked;
        copy
    }

    fn mark(&self, at: Timestamp) -> Mark {
        Mark {
            at,
            memory: self.engine.checkpoint().clone(),
            home: self.asker.home,
            known: self.asker.known.clone(),
            rounds: self.rounds.clone(),
        }
    }

    fn is_at(&self, mark: &Mark) -> bool {
        let same = self.asker.home == mark.home && self.asker.known == mark.known;
        self.mail.is_empty() && same && self.rounds == mark.rounds && *self.engine.checkpoint() == mark.memory
    }

    /// Plays on until a mark is met or the end is; says which mark it was.
    fn join(&mut self, marks: &[Mark], see: &mut dyn FnMut(&Moment)) -> Result<Option<Timestamp>, BadScript> {
        let mut marks = marks.iter().peekable();
        while let Some((at, next)) = self.next() {
            while let Some(mark) = marks.next_if(|mark| mark.at < at) {
                if self.is_at(mark) {
                    return Ok(Some(mark.at));
                }
            }
            if at > self.end {
                break;
            }
            self.cluster.advance(at);
            self.happen(at, next, see)?;
        }
        Ok(None)
    }
}
