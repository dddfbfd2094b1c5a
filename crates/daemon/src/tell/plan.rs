//! Plan: what is sent next over a channel, and when. A function of what waits and of the time.
//!
//! A call goes alone and at once. Reports are collected for a moment, go together, and leave room between each other, so
//! that nobody is flooded. While the other side fails, tries become rarer; what waits meanwhile goes together. A message that
//! is not taken for its own sake waits for itself.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::record::{ChannelRow, Waiting};

/// Events in one report: a mail of some hundred kilobytes at most. The rest goes with the next one.
const TOGETHER_MAX: usize = 200;

/// Waits after the first, the second, ... failure in a row, in seconds; the last one is for all further ones. A call that
/// comes up meanwhile is tried at once, so that this is what reports wait for.
const AGAIN: [i64; 5] = [10, 30, 60, 120, 300];

/// How closely reports may follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How long the first event waits for others.
    pub collect: SignedDuration,
    /// How long after a report the next one may go.
    pub apart: SignedDuration,
}

impl Pace {
    /// For people: what belongs together comes within half a minute, and nobody reads a mail more often than each five.
    pub const MAIL: Pace =
        Pace { collect: SignedDuration::from_secs(30), apart: SignedDuration::from_mins(5) };
    /// For programs: as it happens, and together where much happens.
    pub const WEBHOOK: Pace = Pace { collect: SignedDuration::ZERO, apart: SignedDuration::from_secs(5) };
}

/// What a try failed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// The way to the other side: nothing else would be taken either.
    Channel,
    /// This message: another one may be taken.
    Message,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send these, as one message.
    Send {
        /// The rows.
        ids: Vec<i64>,
        /// The message that they are already; `None`: they become one.
        message: Option<Uuid>,
        /// Whether it is a call.
        call: bool,
        /// When the first of them was put in.
        made: Timestamp,
    },
    /// Nothing until then, unless something else comes up.
    At(Timestamp),
    /// Nothing waits.
    Idle,
}

/// Messages that were tried and not taken, since the daemon began: the next turn is another one's.
///
/// Not kept over a restart: whoever starts it anew may have mended what was wrong.
#[derive(Debug, Default)]
pub struct Held(BTreeMap<Uuid, Hold>);

#[derive(Debug)]
struct Hold {
    /// Tries in which it was this message that was not taken.
    failures: u32,
    /// When it was tried last.
    tried: Timestamp,
    /// Not before this.
    until: Option<Timestamp>,
}

impl Held {
    /// A try failed. Returns when the channel may be tried again that has failed so often in a row, this time included.
    ///
    /// What is about one message holds up that one; the others go on, one in ten seconds at most.
    pub fn failed(&mut self, now: Timestamp, message: Uuid, of: Of, in_a_row: u32) -> Timestamp {
        let hold = self.0.entry(message).or_insert(Hold { failures: 0, tried: now, until: None });
        hold.tried = now;
        match of {
            Of::Channel => again(now, in_a_row),
            Of::Message => {
                hold.failures = hold.failures.saturating_add(1);
                hold.until = Some(again(now, hold.failures));
                again(now, 1)
            }
        }
    }

    /// Forgets what does not wait any more.
    pub fn keep(&mut self, waiting: &[Waiting]) {
        if !self.0.is_empty() {
            self.0.retain(|message, _| waiting.iter().any(|waits| waits.message == Some(*message)));
        }
    }

    /// Whether it waits for its own sake.
    pub fn is_held(&self, message: Uuid) -> bool {
        self.until(Some(message)).is_some()
    }

    fn tried(&self, message: Option<Uuid>) -> Option<Timestamp> {
        message.and_then(|message| self.0.get(&message)).map(|hold| hold.tried)
    }

    fn until(&self, message: Option<Uuid>) -> Option<Timestamp> {
        message.and_then(|message| self.0.get(&message)).and_then(|hold| hold.until)
    }
}

/// What is sent next. `waiting` is in the order of [`crate::record::Store::outbox`].
///
/// Of what may go now, it is what was not tried yet or is longest ago, so that one that is never taken holds up no other;
/// a call before the report.
pub fn next(now: Timestamp, pace: Pace, channel: &ChannelRow, held: &Held, waiting: &[Waiting]) -> Next {
    let (calls, reports): (Vec<&Waiting>, Vec<&Waiting>) = waiting.iter().partition(|waits| waits.call);
    let not_before = |message| channel.next_try.max(held.until(message)).map_or(now, |until| until.max(now));
    let calls = calls.iter().map(|call| {
        let due = call.message.map_or(now, |message| not_before(Some(message)));
        let send = Next::Send { ids: vec![call.id], message: call.message, call: true, made: call.made };
        (due, held.tried(call.message), send)
    });
    let report = report(now, pace, channel, &reports).map(|(due, message, send)| {
        let due = due.max(not_before(message));
        (due, held.tried(message), send)
    });
    let mut soonest = None;
    let mut first: Option<(Option<Timestamp>, Next)> = None;
    for (due, tried, send) in calls.chain(report) {
        if due > now {
            soonest = Some(soonest.map_or(due, |soonest: Timestamp| soonest.min(due)));
        } else if first.as_ref().is_none_or(|(other, _)| tried < *other) {
            first = Some((tried, send));
        }
    }
    let until = soonest.or(channel.next_try.filter(|until| *until > now));
    first.map(|(_, send)| send).or(until.map(Next::At)).unwrap_or(Next::Idle)
}

/// The report that is next, when it is due where nothing fails, and the message that it is already.
fn report(
    now: Timestamp,
    pace: Pace,
    channel: &ChannelRow,
    reports: &[&Waiting],
) -> Option<(Timestamp, Option<Uuid>, Next)> {
    let oldest = reports.first()?;
    // A message that was begun stays as it is, or who got it already would get parts of it twice.
    let begun = reports.iter().find_map(|report| report.message);
    let due = match begun {
        Some(_) => now,
        None => {
            // What lies in the future was written by a clock that was wrong since.
            let collected = later(oldest.made.min(now), pace.collect);
            let apart = channel.reported.map(|at| later(at.min(now), pace.apart));
            apart.map_or(collected, |apart| apart.max(collected))
        }
    };
    let together = reports.iter().filter(|report| report.message == begun).take(match begun {
        Some(_) => usize::MAX,
        None => TOGETHER_MAX,
    });
    let ids: Vec<i64> = together.clone().map(|report| report.id).collect();
    let made = together.map(|report| report.made).min().unwrap_or(now);
    Some((due, begun, Next::Send { ids, message: begun, call: false, made }))
}

/// When a channel may be tried again that has failed so often in a row, this time included.
fn again(now: Timestamp, failures: u32) -> Timestamp {
    let index = usize::try_from(failures).unwrap_or(usize::MAX).saturating_sub(1).min(AGAIN.len() - 1);
    later(now, SignedDuration::from_secs(AGAIN[index]))
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
