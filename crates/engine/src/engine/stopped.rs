//! Stops: the verdict on a guest that is seen without a process, on one that ended with its node, and on one that was stopped before
//! its node left.

use jiff::{SignedDuration, Timestamp};

use super::guests::{ASK_AGAIN, ASK_TIMES};
use super::memory::{KnownGuest, KnownNode, Suspect};
use super::{Engine, Turn};
use crate::decide::is_stop;
use crate::detect::guest::{self, Scope, Stopped, Suspicion};
use crate::detect::restart::{Left, left};
use crate::detect::{Check, Finding, trace};
use crate::incident::Slot;
use crate::observe::{GuestEvidence, GuestId, GuestStatus, Seen, Subject};
use crate::record::Why;

/// A guest that stopped in a transition is looked at again after this, then less and less often, and so many times, which is two
/// days: the backup of a large one may take one.
const HELD_AGAIN: SignedDuration = SignedDuration::from_secs(60);
const HELD_TIMES: u32 = 600;
/// So often a look at it that failed is soon made again; and one at a guest that its node's restart took.
const SOON_TIMES: u32 = 60;
/// Looks in a row that do not find a guest in its node's list although its row says that it is there, before the row is
/// believed alone. One that moves has another row within two rounds.
const UNLISTED_TIMES: u32 = 3;
/// Looks at a guest that its node's restart took, before it is given up that it could not be read, or that PVE is still at
/// work: ten minutes of failing calls, and then longer and longer apart, three hours at least.
const RESTART_TIMES: u32 = 100;

impl Engine {
    /// The verdict on a guest that was seen without a process.
    pub(super) fn stopped(
        &mut self,
        turn: &mut Turn,
        id: GuestId,
        known: &KnownGuest,
        from: &GuestStatus,
        suspect: &Suspect,
        answer: &GuestEvidence,
    ) {
        let (verdict, moved_since) = self.verdict(turn.now, id, known, suspect, answer);
        let verdict =
            if suspect.after_restart { self.with_its_node(known, verdict, answer) } else { verdict };
        if let Some(known) = self.memory.guests.get_mut(&id) {
            known.looked_at(id, answer);
        }
        let held = guest::holds(&verdict);
        let times = if suspect.after_restart { RESTART_TIMES } else { ASK_TIMES };
        let why = match verdict {
            Stopped::NodeRestarted { booted_at } => {
                let settled_at = booted_at + self.policy.boot_settle;
                if suspect.after_restart && turn.now >= settled_at {
                    return self.not_back(turn, (id, known), (suspect, from, moved_since), booted_at, answer);
                }
                if let Some(suspect) = self.memory.suspects.get_mut(&id) {
                    (suspect.asked_at, suspect.after_restart, suspect.due) = (None, true, settled_at);
                }
                return;
            }
            Stopped::RunsAgain | Stopped::NotHere => {
                // The row was old, or the next round will tell: as if the stop had not been seen.
                if let Some(known) = self.memory.guests.get_mut(&id) {
                    // A younger process than the one before is told by the next row.
                    known.unsee_stop(from, suspect.uptime);
                    if verdict == Stopped::NotHere {
                        // Its row may go on saying that it is here and stopped; then that is since now.
                        known.unlisted = known.unlisted.saturating_add(1);
                    } else {
                        (known.unlisted, known.down_since) = (0, None);
                    }
                }
                self.memory.suspects.remove(&id);
                return;
            }
            Stopped::NotAsked(_) if suspect.tries < times => {
                return if suspect.after_restart {
                    self.ask_soon(turn.now, id)
                } else {
                    self.ask_again(turn.now, id)
                };
            }
            Stopped::Template => {
                self.memory.suspects.remove(&id);
                return;
            }
            Stopped::Crashed if moved_since => {
                // What was asked is where it is; what stopped it may have happened where it was.
                Why::NotAsked("it was moved since it was last seen running".into())
            }
            Stopped::Crashed => {
                self.memory.suspects.remove(&id);
                return self.crashed(turn, id, known, from, answer);
            }
            Stopped::NotAsked(words) if suspect.after_restart => {
                Why::NotAsked(format!("its node was restarted, and {words}").into())
            }
            Stopped::NotAsked(words) => Why::NotAsked(words),
            Stopped::Task(by) => Why::Task(by),
            Stopped::HighAvailability(state) => Why::HighAvailability { state },
            Stopped::Locked(lock) => Why::Locked(lock),
        };
        self.memory.suspects.remove(&id);
        self.changed(turn, id, why, from);
        if held {
            let suspicion = Suspicion::Held { from: from.clone() };
            let suspect = Suspect::new(suspicion, suspect.last_seen, turn.now + HELD_AGAIN);
            self.memory.suspects.insert(id, suspect);
        }
    }

    /// The verdict on a guest that is known to have ended with its node: when that booted is known to some seconds only, and
    /// this answer may say that it was before the guest was last seen.
    fn with_its_node(&self, known: &KnownGuest, verdict: Stopped, answer: &GuestEvidence) -> Stopped {
        match verdict {
            Stopped::Task(_) | Stopped::HighAvailability(_) | Stopped::Locked(_) | Stopped::Crashed => {
                let node = self.memory.nodes.get(&known.guest.node);
                let booted_at = answer.booted_at.value().copied().or_else(|| node?.booted_at);
                match booted_at {
                    Some(booted_at) => Stopped::NodeRestarted { booted_at },
                    None => Stopped::NotAsked("when its node booted is not known".into()),
                }
            }
            Stopped::NodeRestarted { .. }
            | Stopped::RunsAgain
            | Stopped::NotHere
            | Stopped::Template
            | Stopped::NotAsked(_) => verdict,
        }
    }

    /// A guest that ended with its node, and that PVE has had its time to start again.
    fn not_back(
        &mut self,
        turn: &mut Turn,
        (id, known): (GuestId, &KnownGuest),
        (suspect, from, moved): (&Suspect, &GuestStatus, bool),
        booted_at: Timestamp,
        answer: &GuestEvidence,
    ) {
        let tasks = answer.tasks.value().map_or(&[][..], Vec::as_slice);
        let found = match moved {
            // It is at another node's now, and so is who could say what it did there.
            true => Left::NotWanted,
            false => left_by(id, known, answer, suspect.last_seen, booted_at),
        };
        let asks = suspect.tries < RESTART_TIMES;
        let why = match found {
            Left::NotRead if asks => return self.ask_soon(turn.now, id),
            Left::NotYet if asks => return self.ask_again(turn.now, id),
            Left::RanAt(ran_at) => {
                let suspect = Suspect { last_seen: ran_at, after_restart: false, ..suspect.clone() };
                self.memory.suspects.insert(id, suspect.clone());
                return self.stopped(turn, id, known, from, &suspect, answer);
            }
            Left::Wanted { failed } => {
                self.memory.suspects.remove(&id);
                let mut previous = from.clone();
                // It was stopped in order before the boot, and `left` found that stop overruled: PVE tried to start it. The same tasks
                // as there: a backup or a migration that a power cut ended has stopped nobody.
                let stops: fn(&str, Scope) -> bool = |kind, _| is_stop(kind);
                if let Some(by) = guest::cause(tasks, id, suspect.last_seen, booted_at, stops) {
                    self.changed(turn, id, Why::Task(by), from);
                    previous = GuestStatus::Stopped;
                }
                let finding = Finding::GuestNotStarted { kind: id.kind, previous, failed };
                return self.found_down(turn, id, known, finding);
            }
            Left::StoppedBy(by) => Why::Task(by),
            Left::NotWanted => Why::NodeRestarted,
            Left::NotYet => Why::NotAsked("its node was restarted, and has not started its guests".into()),
            Left::NotRead => {
                Why::NotAsked("its node was restarted, and whether it is to run could not be read".into())
            }
        };
        self.memory.suspects.remove(&id);
        self.changed(turn, id, why, from);
    }

    /// A guest that stopped while a transition held it: when that is over, nobody may have stopped it after all. True if
    /// it is to be looked at again.
    pub(super) fn held(
        &mut self,
        turn: &mut Turn,
        id: GuestId,
        known: &KnownGuest,
        (suspect, from): (&Suspect, &GuestStatus),
        answer: &GuestEvidence,
    ) -> bool {
        if known.guest.status != GuestStatus::Stopped || suspect.tries >= HELD_TIMES {
            return false;
        }
        let (verdict, moved_since) = self.verdict(turn.now, id, known, suspect, answer);
        if guest::holds(&verdict) {
            self.ask_again(turn.now, id);
            return true;
        }
        if matches!(verdict, Stopped::NotAsked(_)) {
            self.ask_soon(turn.now, id);
            return true;
        }
        if verdict == Stopped::Crashed && !moved_since {
            self.crashed(turn, id, known, from, answer);
        }
        false
    }

    /// A guest whose stop before its node left was told: it is news only if PVE has tried to start it since, and could not. True if
    /// it is to be looked at again.
    pub(super) fn stopped_before(
        &mut self,
        turn: &mut Turn,
        (id, known): (GuestId, &KnownGuest),
        (suspect, from): (&Suspect, &GuestStatus),
        answer: &GuestEvidence,
    ) -> bool {
        let (verdict, moved_since) = self.verdict(turn.now, id, known, suspect, answer);
        if known.guest.status != GuestStatus::Stopped || moved_since {
            return false;
        }
        let asks = suspect.tries < RESTART_TIMES;
        let booted_at = match verdict {
            Stopped::NodeRestarted { booted_at } => booted_at,
            Stopped::NotAsked(_) if asks => {
                self.ask_soon(turn.now, id);
                return true;
            }
            // Something has lent it a process, or it is moved: if that lasts, a row says so, and this is over.
            Stopped::RunsAgain | Stopped::NotHere if asks => {
                self.ask_again(turn.now, id);
                return true;
            }
            // What stopped it in order is among the tasks, and whether its node has booted since could not be read.
            Stopped::Task(_) if asks && answer.booted_at.value().is_none() => {
                self.ask_soon(turn.now, id);
                return true;
            }
            // It was no boot, or there is nothing to see.
            Stopped::NotAsked(_)
            | Stopped::RunsAgain
            | Stopped::NotHere
            | Stopped::Template
            | Stopped::Task(_)
            | Stopped::HighAvailability(_)
            | Stopped::Locked(_)
            | Stopped::Crashed => return false,
        };
        let settled_at = booted_at + self.policy.boot_settle;
        if turn.now < settled_at {
            if let Some(suspect) = self.memory.suspects.get_mut(&id) {
                (suspect.asked_at, suspect.due) = (None, settled_at);
            }
            return true;
        }
        match left_by(id, known, answer, suspect.last_seen, booted_at) {
            Left::NotYet if asks => {
                self.ask_again(turn.now, id);
                true
            }
            Left::NotRead if asks => {
                self.ask_soon(turn.now, id);
                true
            }
            Left::Wanted { failed: failed @ Some(_) } => {
                let previous = GuestStatus::Stopped;
                let finding = Finding::GuestNotStarted { kind: id.kind, previous, failed };
                self.found_down(turn, id, known, finding);
                false
            }
            // It came back, and was gone before a row showed it.
            Left::RanAt(ran_at) => {
                let suspect = Suspect { last_seen: ran_at, ..suspect.clone() };
                let (verdict, moved_since) = self.verdict(turn.now, id, known, &suspect, answer);
                if verdict == Stopped::Crashed && !moved_since {
                    self.crashed(turn, id, known, from, answer);
                }
                false
            }
            Left::NotYet
            | Left::Wanted { failed: None }
            | Left::StoppedBy(_)
            | Left::NotWanted
            | Left::NotRead => false,
        }
    }

    /// A call that failed is soon made again; it is what it asks about that takes its time.
    fn ask_soon(&mut self, now: Timestamp, id: GuestId) {
        self.ask_again(now, id);
        let soon = self.memory.suspects.get_mut(&id).filter(|suspect| suspect.tries < SOON_TIMES);
        if let Some(suspect) = soon {
            suspect.due = now + ASK_AGAIN;
        }
    }

    /// The verdict on a guest without a process, and whether it was moved since it was last seen with one: then what stopped
    /// it may have happened where it was, and not where it was looked at.
    fn verdict(
        &self,
        now: Timestamp,
        id: GuestId,
        known: &KnownGuest,
        suspect: &Suspect,
        answer: &GuestEvidence,
    ) -> (Stopped, bool) {
        // What began after it was seen to be down did not stop it, though somebody may have asked for that too.
        let down_at = known.down_since.map_or(now, |since| since.min(now));
        // Unless it was started since, and is down again.
        let tasks = answer.tasks.value().map_or(&[][..], Vec::as_slice);
        // What held it may have started it, too, by no task of its own.
        let held = matches!(suspect.suspicion, Suspicion::Held { .. });
        let down_at = if held || guest::started_after(tasks, id, down_at) { now } else { down_at };
        let long_asked = suspect.tries >= ASK_TIMES || known.unlisted >= UNLISTED_TIMES;
        // A row of statistics that do not move may have stood so for as long as they do.
        let moving = !self.memory.nodes.get(&known.guest.node).is_some_and(KnownNode::stalled);
        let row_stands = long_asked && moving && row_stands(now, id, known, answer);
        let verdict = guest::why_stopped(id, &known.guest, suspect.last_seen, answer, down_at, row_stands);
        (verdict, known.moved_at.is_some_and(|at| at > suspect.last_seen))
    }

    fn crashed(
        &mut self,
        turn: &mut Turn,
        id: GuestId,
        known: &KnownGuest,
        from: &GuestStatus,
        answer: &GuestEvidence,
    ) {
        let trace = trace::trace(id, known.pid, &answer.journal);
        let finding = Finding::GuestCrashed { kind: id.kind, previous: from.clone(), trace };
        self.found_down(turn, id, known, finding);
    }

    /// Why ever it is down, it is one check, so that a guest has one incident.
    fn found_down(&mut self, turn: &mut Turn, id: GuestId, known: &KnownGuest, finding: Finding) {
        let slot = Slot { check: Check::GuestCrashed, subject: Subject::Guest(id) };
        self.found(turn, slot, finding, Some(known.guest.node.clone()), known.guest.name.clone());
    }
}

/// What is to be said of a guest after its node's boot, by this look at it.
fn left_by(
    id: GuestId,
    known: &KnownGuest,
    answer: &GuestEvidence,
    last_seen: Timestamp,
    booted_at: Timestamp,
) -> Left {
    let tasks = answer.tasks.value().map_or(&[][..], Vec::as_slice);
    match answer.configs.get(&id).and_then(Seen::value) {
        Some(Some(config)) if config.template => Left::NotWanted,
        Some(Some(config)) => left(id, &known.guest, config, tasks, last_seen, booted_at),
        // Moved or destroyed just now, which the next round tells.
        Some(None) => Left::NotYet,
        None => Left::NotRead,
    }
}

/// Whether the newest row alone proves that the guest has no process: it came long enough after the first that said so,
/// it is not old, and nobody has started the guest since what it may show.
fn row_stands(now: Timestamp, id: GuestId, known: &KnownGuest, answer: &GuestEvidence) -> bool {
    let stood = known.down_since.is_some_and(|since| known.seen_at.duration_since(since) >= guest::ROW_AGE);
    let young = now.duration_since(known.seen_at) <= guest::ROW_AGE * 2;
    let shown_at = known.seen_at - guest::ROW_AGE;
    let tasks = answer.tasks.value().map_or(&[][..], Vec::as_slice);
    stood && young && guest::cause(tasks, id, shown_at, now, guest::starts).is_none()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::detect::guest::tests::{at, task, vm};

    /// It is 1,000; a row is up to 14 s old when it is asked for.
    #[test]
    fn when_a_row_alone_proves_a_stop() {
        #[rustfmt::skip]
        let table = [
            // first said so, last said so, a start by somebody, expected
            ("for one broadcast",                   Some(980), 994,   None,              true),
            ("for less: it may be the same one",    Some(981), 994,   None,              false),
            ("it never did",                        None,      994,   None,              false),
            ("the last one is as old as may be",    Some(900), 972,   None,              true),
            ("the last one is older",               Some(900), 971,   None,              false),
            ("somebody has started it since",       Some(900), 994,   Some((985, 986)),  false),
            ("what it may show is of before that",  Some(900), 994,   Some((974, 976)),  false),
            ("somebody had started it before",      Some(900), 994,   Some((960, 970)),  true),
            ("a start that still runs",             Some(900), 994,   Some((990, 9_999)), false),
        ];
        for (name, since, seen_at, start, expected) in table {
            let known = KnownGuest { down_since: since.map(at), ..KnownGuest::new(vm(), at(seen_at)) };
            let task = start.map(|(began, ended)| {
                task("qmstart", "101", began, Some(ended).filter(|ended| *ended < 1_000), "OK")
            });
            let answer = GuestEvidence {
                live: Seen::NotAsked,
                tasks: Seen::At { value: task.into_iter().collect(), asked_at: at(1_000) },
                booted_at: Seen::NotAsked,
                journal: Seen::NotAsked,
                current: BTreeMap::new(),
                configs: BTreeMap::new(),
            };
            let stands = row_stands(at(1_000), "qemu/101".parse().unwrap(), &known, &answer);
            assert_eq!(stands, expected, "{name}");
        }
    }
}
