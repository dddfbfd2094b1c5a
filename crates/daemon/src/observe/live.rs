//! Live: the alarm. Each node that holds virtual machines is asked for its own list of them, again and again.
//!
//! Every node has a lane of its own, so that one that hangs delays no other. How soon a node is asked again depends on
//! how long it took: it is never more than a tenth of the time at work for us, nor is it asked while it may still be at
//! work on the last question. What a list means is the engine's business.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine::Input;
use engine::observe::{Blindness, Cause, GuestId, GuestKind, Live, NodeName, Round, Seen, Snapshot};
use jiff::Timestamp;
use tokio::task::JoinSet;

use super::ask::{About, Unanswered};
use super::bill::Call;
use super::doors::Daemons;
use super::rounds::{no_path, path_name};
use super::{Observer, Tiers, evidence};
use crate::clock::Clock;
use crate::supervise::Stop;

/// Nodes asked at the same time. A list comes after some 20 ms, so that four at a time ask 400 nodes in 2 s.
const AT_ONCE: usize = 4;
/// A call that takes longer than this holds no other up any more: it waits for its own node only.
const QUICK: Duration = Duration::from_secs(1);
/// How long a list is waited for. The call goes on after that, because the node may be at work on it until PVE itself
/// gives up (30 s), and must not be asked again before.
const PATIENCE: Duration = Duration::from_secs(10);
/// A node rests so many times as long as it was at work.
const REST: u32 = 9;
/// The longest rest of a node that answers.
const REST_MAX: Duration = Duration::from_secs(60);
/// After a failure: doubled at each, up to the most.
const BACK_OFF: Duration = Duration::from_secs(2);
const BACK_OFF_MAX: Duration = Duration::from_secs(30);
/// Failures in a row after which the log says that the alarm is slower for a node: a minute, by the back-off.
const FAILURES_TOLD: u32 = 5;

/// How long a node is left alone after a call for which it was at work for `worked`. `failures` is how many failed in a
/// row.
fn rest(every: Duration, worked: Duration, failures: u32) -> Duration {
    let budget = worked.saturating_mul(REST).min(REST_MAX);
    // From one beginning to the next, where the node is quick.
    let pace = budget.max(every.saturating_sub(worked));
    match failures {
        0 => pace,
        failures => pace.max(BACK_OFF.saturating_mul(1 << (failures - 1).min(8)).min(BACK_OFF_MAX)),
    }
}

/// One node's turn.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Lane {
    turn: Turn,
    failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Turn {
    /// To be asked then.
    Due(Instant),
    /// Asked, and the answer is waited for.
    Asked { at: Instant, asked_at: Timestamp },
    /// Asked, and given up; the call has not ended.
    GivenUp,
}

impl Lane {
    fn new(due: Instant) -> Lane {
        Lane { turn: Turn::Due(due), failures: 0 }
    }

    fn is_due(&self, now: Instant) -> bool {
        matches!(self.turn, Turn::Due(due) if due <= now)
    }

    /// Whether its call counts among those at the same time.
    fn is_quick(&self, now: Instant) -> bool {
        matches!(self.turn, Turn::Asked { at, .. } if now.saturating_duration_since(at) < QUICK)
    }

    /// When something is to be done about it next, besides its call's end.
    fn wake(&self, now: Instant) -> Option<Instant> {
        match self.turn {
            Turn::Due(due) => Some(due),
            Turn::Asked { at, .. } if self.is_quick(now) => Some(at + QUICK),
            Turn::Asked { at, .. } => Some(at + PATIENCE),
            Turn::GivenUp => None,
        }
    }

    /// Loses patience: when the question was sent, if it is to be told that it had no answer.
    fn give_up(&mut self, now: Instant) -> Option<Timestamp> {
        let Turn::Asked { at, asked_at } = self.turn else { return None };
        if now.saturating_duration_since(at) < PATIENCE {
            return None;
        }
        self.turn = Turn::GivenUp;
        Some(asked_at)
    }

    /// Its call has ended. Whether the answer is still waited for.
    fn ended(&mut self, now: Instant, every: Duration, worked: Duration, answered: bool) -> bool {
        let in_time = matches!(self.turn, Turn::Asked { .. });
        self.failures = if answered && in_time { 0 } else { self.failures.saturating_add(1) };
        self.turn = Turn::Due(now + rest(every, worked, self.failures));
        in_time
    }
}

/// How a call ended.
struct Ended {
    node: NodeName,
    asked_at: Timestamp,
    answer: Result<BTreeMap<GuestId, Live>, Blindness>,
    daemons: Daemons,
    /// How long the node may have been at work on it.
    worked: Duration,
}

impl Observer {
    /// The live tier, until the daemon stops. `every` is on the daemon's clock.
    ///
    /// # Errors
    /// Nobody takes what it sees any more.
    pub async fn live(self: Arc<Observer>, every: Duration, mut stop: Stop) -> anyhow::Result<()> {
        let mut known = self.known.subscribe();
        let mut lanes: BTreeMap<NodeName, Lane> = BTreeMap::new();
        let mut calls: JoinSet<Ended> = JoinSet::new();
        tokio::select! {
            () = self.clock.sleep(Tiers::first(Round::Live)) => {}
            () = stop.asked() => return Ok(()),
        }
        loop {
            let now = self.clock.instant();
            let wanted = known.borrow_and_update().with_machines.clone();
            // A call that has not ended keeps its lane: who comes back must not be asked twice at a time.
            lanes.retain(|node, lane| wanted.contains(node) || !matches!(lane.turn, Turn::Due(_)));
            for node in &wanted {
                // One after the other from the start, so that they do not all come at the same instant.
                let later = every.mul_f64(lanes.len() as f64 / wanted.len() as f64);
                lanes.entry(node.clone()).or_insert_with(|| Lane::new(now + later));
            }
            let mut room = AT_ONCE.saturating_sub(lanes.values().filter(|lane| lane.is_quick(now)).count());
            for (node, lane) in &mut lanes {
                if let Some(asked_at) = lane.give_up(now) {
                    let seconds = PATIENCE.as_secs();
                    let words = format!("{node} did not list its virtual machines within {seconds} s");
                    let blindness = Blindness { cause: Cause::Unreachable, words };
                    self.tell(node, asked_at, Seen::NotReached(blindness)).await?;
                }
                if room > 0 && lane.is_due(now) {
                    let asked_at = self.clock.now();
                    lane.turn = Turn::Asked { at: now, asked_at };
                    room -= 1;
                    self.note_daemons(node, Daemons::Asked(now));
                    let (observer, node) = (Arc::clone(&self), node.clone());
                    calls.spawn(async move { observer.list(node, asked_at).await });
                }
            }
            let wakes = lanes.values().filter(|lane| room > 0 || !lane.is_due(now));
            let wake = wakes.filter_map(|lane| lane.wake(now)).min();
            let ended = tokio::select! {
                ended = calls.join_next(), if !calls.is_empty() => ended,
                () = sleep_until(&self.clock, wake) => None,
                changed = known.changed() => {
                    changed?;
                    None
                }
                () = stop.asked() => return Ok(()),
            };
            let Some(ended) = ended else { continue };
            let Ended { node, asked_at, answer, daemons, worked } = ended?;
            self.note_daemons(&node, daemons);
            let waited_for = match lanes.get_mut(&node) {
                Some(lane) => {
                    let waited_for = lane.ended(self.clock.instant(), every, worked, answer.is_ok());
                    if lane.failures == FAILURES_TOLD
                        && let Err(blindness) = &answer
                    {
                        tracing::warn!(cluster = %self.cluster, %node, "its own list of virtual machines cannot be had: {}; \
                            crashes there show some seconds later, in the cluster's list", blindness.words);
                    }
                    waited_for
                }
                None => false,
            };
            // An answer that comes after it was given up is old news.
            if waited_for {
                self.tell(&node, asked_at, super::seen_at(asked_at, answer)).await?;
            }
        }
    }

    async fn tell(
        &self,
        node: &NodeName,
        asked_at: Timestamp,
        seen: Seen<BTreeMap<GuestId, Live>>,
    ) -> anyhow::Result<()> {
        let mut snapshot = Snapshot::new(Round::Live, asked_at);
        snapshot.live.insert(node.clone(), seen);
        Ok(self.inputs.send(Input::Observed(snapshot)).await?)
    }

    async fn list(&self, node: NodeName, asked_at: Timestamp) -> Ended {
        let Some(name) = path_name(&node) else {
            let answer = Err(no_path(&node));
            return Ended { node, asked_at, answer, daemons: Daemons::Failed, worked: Duration::ZERO };
        };
        let (name, sent_at) = (&name, &Mutex::new(self.clock.instant()));
        let list = |client: pve::Client| {
            // Of the last endpoint that is tried: what came before it was not the node's work.
            *sent_at.lock().unwrap_or_else(PoisonError::into_inner) = self.clock.instant();
            async move { client.qemu_list(name).await }
        };
        let listed = self.endpoints.put(Call::Qemu, About::Node, list).await;
        let now = self.clock.instant();
        let daemons = Daemons::of(&listed, now);
        let reached = match &listed {
            Ok(_) => true,
            Err(Unanswered::Held(_)) => false,
            // What never came to the node cost it nothing.
            Err(Unanswered::Failed(error)) => error.may_have_acted(),
        };
        let sent_at = *sent_at.lock().unwrap_or_else(PoisonError::into_inner);
        let worked = if reached { now.saturating_duration_since(sent_at) } else { Duration::ZERO };
        let answer = listed.map_err(|unanswered| unanswered.blindness());
        let answer = answer.and_then(|rows| evidence::live(GuestKind::Qemu, rows));
        Ended { node, asked_at, answer, daemons, worked }
    }
}

async fn sleep_until(clock: &Clock, wake: Option<Instant>) {
    match wake {
        Some(wake) => clock.sleep(wake.saturating_duration_since(clock.instant())).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(2);

    #[test]
    fn how_long_a_node_rests() {
        let ms = Duration::from_millis;
        #[rustfmt::skip]
        let table = [
            // what it is                      worked     failures  rest
            ("quick: from beginning to beginning", ms(20),     0, ms(1_980)),
            ("at the edge of the budget",      ms(200),    0, ms(1_800)),
            ("slower than the budget allows",  ms(500),    0, ms(4_500)),
            ("a second",                       ms(1_000),  0, ms(9_000)),
            ("so slow that the cap holds",     ms(9_000),  0, ms(60_000)),
            ("never reached",                  ms(0),      1, ms(2_000)),
            ("refused again",                  ms(1),      2, ms(4_000)),
            ("and again",                      ms(1),      3, ms(8_000)),
            ("for the fifth time",             ms(1),      5, ms(30_000)),
            ("for ever",                       ms(1), u32::MAX, ms(30_000)),
            ("slow and failed",                ms(2_000),  1, ms(18_000)),
            ("PVE gave up on it after 30 s",   ms(30_000), 1, ms(60_000)),
        ];
        for (name, took, failures, expected) in table {
            assert_eq!(rest(EVERY, took, failures), expected, "{name}");
        }
        for took in [1, 10, 100, 300, 1_000, 3_000, 6_666].map(ms) {
            let share = took.as_secs_f64() / (took + rest(EVERY, took, 0)).as_secs_f64();
            assert!(share <= 0.1 + 1e-9, "{took:?} takes {share} of a worker");
        }
    }

    #[test]
    fn a_lane_from_one_call_to_the_next() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let asked_at = Timestamp::UNIX_EPOCH;
        let mut lane = Lane::new(at(1));
        assert!(!lane.is_due(at(0)) && lane.is_due(at(1)));
        lane.turn = Turn::Asked { at: at(1), asked_at };
        assert!(!lane.is_due(at(100)), "never asked while it may be at work");
        assert!(lane.is_quick(at(1)) && !lane.is_quick(at(2)), "then it holds nobody up");
        assert_eq!((lane.wake(at(1)), lane.wake(at(2))), (Some(at(2)), Some(at(11))));
        assert_eq!(lane.give_up(at(10)), None);
        assert_eq!(lane.give_up(at(11)), Some(asked_at), "told once");
        assert_eq!((lane.give_up(at(12)), lane.wake(at(12)), lane.is_due(at(12))), (None, None, false));
        let worked = Duration::from_secs;
        assert!(!lane.ended(at(31), EVERY, worked(30), true), "too late to be told");
        assert_eq!(lane, Lane { turn: Turn::Due(at(31) + REST_MAX), failures: 1 });
        lane.turn = Turn::Asked { at: at(91), asked_at };
        assert!(lane.ended(at(91), EVERY, worked(0), true));
        assert_eq!(lane, Lane { turn: Turn::Due(at(93)), failures: 0 });
        for (turn, wait) in [2, 4, 8, 16, 30, 30].into_iter().enumerate() {
            lane.turn = Turn::Asked { at: at(200), asked_at };
            assert!(lane.ended(at(230), EVERY, worked(0), false), "30 s on the way are not the node's");
            assert_eq!(lane.turn, Turn::Due(at(230 + wait)), "failure {}", turn + 1);
        }
    }
}
