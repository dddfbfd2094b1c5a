//! Plan: what is sent next over a channel, and when. A function of what waits and of the time.
//!
//! A call goes alone and at once. Reports are collected for a moment, go together, and leave room between each other, so
//! that nobody is flooded. While the other side fails, tries become rarer; what waits meanwhile goes together.

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

/// What is sent next. `waiting` is in the order of [`crate::record::Store::outbox`].
pub fn next(now: Timestamp, pace: Pace, channel: &ChannelRow, waiting: &[Waiting]) -> Next {
    let held = channel.next_try.filter(|until| *until > now);
    let (calls, reports): (Vec<&Waiting>, Vec<&Waiting>) = waiting.iter().partition(|waits| waits.call);
    let untried = calls.iter().find(|call| call.message.is_none());
    let oldest = calls.first().filter(|_| held.is_none());
    if let Some(call) = oldest.or(untried) {
        return Next::Send { ids: vec![call.id], message: call.message, call: true, made: call.made };
    }
    let Some(report) = reports.first() else { return held.map_or(Next::Idle, Next::At) };
    // A message that was begun stays as it is, or who got it already would get parts of it twice.
    let begun = reports.iter().find_map(|report| report.message);
    let due = match begun {
        Some(_) => now,
        None => {
            // What lies in the future was written by a clock that was wrong since.
            let collected = later(report.made.min(now), pace.collect);
            let apart = channel.reported.map(|at| later(at.min(now), pace.apart));
            apart.map_or(collected, |apart| apart.max(collected))
        }
    };
    let due = held.map_or(due, |held| held.max(due));
    if due > now {
        return Next::At(due);
    }
    let together = reports.iter().filter(|report| report.message == begun).take(match begun {
        Some(_) => usize::MAX,
        None => TOGETHER_MAX,
    });
    let ids: Vec<i64> = together.clone().map(|report| report.id).collect();
    let made = together.map(|report| report.made).min().unwrap_or(now);
    Next::Send { ids, message: begun, call: false, made }
}

/// When a channel may be tried again that has failed so often in a row, this time included.
pub fn again(now: Timestamp, failures: u32) -> Timestamp {
    let index = usize::try_from(failures).unwrap_or(usize::MAX).saturating_sub(1).min(AGAIN.len() - 1);
    later(now, SignedDuration::from_secs(AGAIN[index]))
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
