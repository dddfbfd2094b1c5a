//! Attempts: from the end of a call, over looks at what came of it, to whether it helped.
//!
//! What was begun is never begun again from here: an attempt that did not help leaves its incident open, and the next
//! decision is made like the first. Whether it helped is judged in [`crate::verify`].

use jiff::{SignedDuration, Timestamp};

use super::remedy::Outlived;
use super::{Engine, Turn};
use crate::act::{Attempt, Outcome};
use crate::decide::{self, Remedy, Runbook};
use crate::detect::{Check, Condition};
use crate::incident::{IncidentId, Resolution, Said, Slot, State};
use crate::observe::{GuestStatus, Live, NodeName, Review, Seen, Subject, Task};
use crate::record::{Entry, Fact, Step, duration};
use crate::verify::{Sight, Verdict, Watch};

/// A call that could not be made is tried again after this.
const NOT_MADE_AGAIN: SignedDuration = SignedDuration::from_secs(10);
/// After so many in a row it is tried less and less often, as each fills the journal.
const NOT_MADE_SOON: u32 = 3;
/// After ten minutes and forty seconds at the latest: what keeps it from being made is over some time.
const NOT_MADE_DOUBLED_MAX: u32 = 6;
/// A call of which nothing is heard for this long is lost: an act is followed for five minutes.
const CALL_MAX: SignedDuration = SignedDuration::from_mins(10);
const UNHEARD: &str = "nothing was heard of it";
/// Where what was done cannot be looked at although the cluster is seen, it counts as failed so long after its runbook would have
/// given it up: its node may never come back, and until then nothing is done on any other one.
const UNSEEN_MAX: SignedDuration = SignedDuration::from_mins(10);
/// Tasks of ours that are remembered.
const OWN_MAX: usize = 100;

impl Engine {
    /// What a call came to.
    pub(super) fn acted(&mut self, turn: &mut Turn, id: IncidentId, number: u32, outcome: Outcome) {
        if let Some(upid) = outcome.upid() {
            self.scratch.own.push(upid.into());
            let surplus = self.scratch.own.len().saturating_sub(OWN_MAX);
            self.scratch.own.drain(..surplus);
        }
        let outlived = &mut self.scratch.outlived;
        if let Some(at) =
            outlived.iter().position(|call| call.incident == id && call.attempt.number == number)
        {
            let call = outlived.remove(at);
            return self.outcome_of(turn, call, outcome);
        }
        let Some(slot) = self.memory.incidents.by_id(id).cloned() else { return };
        let Some(incident) = self.memory.incidents.get(&slot) else { return };
        let State::Acting { since, attempt, .. } = incident.state.clone() else { return };
        if attempt.number == number {
            self.call_ended(turn, &slot, since, attempt, outcome);
        }
    }

    fn call_ended(
        &mut self,
        turn: &mut Turn,
        slot: &Slot,
        since: Timestamp,
        attempt: Attempt,
        outcome: Outcome,
    ) {
        let step = Step::Acted { attempt: attempt.clone(), outcome: outcome.clone() };
        self.step_taken(turn, slot, step);
        self.scratch.reviews.remove(slot);
        let made = !matches!(outcome, Outcome::NotMade { .. });
        self.settle_count(Some(slot), &attempt, &outcome);
        let Some(incident) = self.memory.incidents.get(slot) else { return };
        let runbook = self.runbook_named(&attempt.runbook, incident.finding.condition());
        let Some(incident) = self.memory.incidents.get_mut(slot) else { return };
        if made {
            let watch = Watch::new(attempt, outcome, turn.now, &runbook);
            incident.course.not_made = 0;
            incident.state = State::Verifying { since, watch };
        } else {
            incident.state = State::Open { since };
            incident.course.not_made = incident.course.not_made.saturating_add(1);
            incident.course.not_before = Some(turn.now + not_made_again(incident.course.not_made));
            incident.course.said = Said::Nothing;
        }
    }

    /// Sets right what was counted when it was decided: what was not made was no attempt, and nobody waits for what did not start.
    fn settle_count(&mut self, slot: Option<&Slot>, attempt: &Attempt, outcome: &Outcome) {
        let made = !matches!(outcome, Outcome::NotMade { .. });
        if let Some(slot) = slot.filter(|_| !made) {
            self.memory.uncount(slot, attempt.at);
        }
        if !made || matches!(outcome, Outcome::Failed { .. }) {
            self.memory.not_started(attempt);
        }
    }

    /// An incident that ends while its call is under way does not end the call: its node is worked on until that has, and what
    /// came of it is written down.
    pub(super) fn outlive(&mut self, slot: &Slot) {
        if let Some(incident) = self.memory.incidents.get(slot)
            && let State::Acting { attempt, here: true, .. } = &incident.state
        {
            self.scratch.outlived.push(Outlived {
                incident: incident.id,
                slot: Some(slot.clone()),
                condition: incident.finding.condition(),
                subject: slot.subject.clone(),
                name: incident.name.clone(),
                node: incident.node.clone(),
                attempt: attempt.clone(),
            });
        }
    }

    fn outcome_of(&mut self, turn: &mut Turn, call: Outlived, outcome: Outcome) {
        let Outlived { incident, slot, condition, subject, name, node, attempt } = call;
        self.settle_count(slot.as_ref(), &attempt, &outcome);
        let fact = Fact::Remedy { incident, condition, step: Step::Acted { attempt, outcome } };
        self.tell(turn, Entry { at: turn.now, subject, name, node, fact });
    }

    /// Calls that nobody makes any more: this process did not begin them, or has not heard of them for too long.
    pub(super) fn lost_calls(&mut self, turn: &mut Turn) {
        let waited = |call: &Outlived| call.attempt.at + CALL_MAX;
        let (lost, awaited): (Vec<Outlived>, Vec<Outlived>) =
            std::mem::take(&mut self.scratch.outlived).into_iter().partition(|call| waited(call) <= turn.now);
        for call in lost {
            self.outcome_of(turn, call, Outcome::Unknown { why: UNHEARD.into() });
        }
        if let Some(until) = awaited.iter().map(waited).min() {
            self.wake_at(until);
        }
        self.scratch.outlived = awaited;
        let told = self.memory.incidents.told();
        let calls: Vec<_> = told
            .filter_map(|(slot, incident)| match &incident.state {
                State::Acting { since, attempt, here } => {
                    Some((slot.clone(), *since, attempt.clone(), *here))
                }
                State::Pending { .. }
                | State::Open { .. }
                | State::Verifying { .. }
                | State::Escalated { .. } => None,
            })
            .collect();
        for (slot, since, attempt, here) in calls {
            let until = attempt.at + CALL_MAX;
            let why = match here {
                false => "Jarvis was stopped while it was under way",
                true if turn.now >= until => UNHEARD,
                true => {
                    self.wake_at(until);
                    continue;
                }
            };
            self.call_ended(turn, &slot, since, attempt, Outcome::Unknown { why: why.into() });
        }
    }

    /// Looks whose time has come, and what has taken too long.
    pub(super) fn verify_due(&mut self, turn: &mut Turn) {
        let told = self.memory.incidents.told();
        let due: Vec<(Slot, Timestamp)> = told
            .filter_map(|(slot, incident)| match &incident.state {
                State::Verifying { watch, .. } => {
                    // Nobody has to be asked whether a node is a member again.
                    let node = slot.check == Check::NodeUnreachable;
                    Some((slot.clone(), if node { watch.deadline } else { watch.look_at }))
                }
                State::Pending { .. }
                | State::Open { .. }
                | State::Acting { .. }
                | State::Escalated { .. } => None,
            })
            .collect();
        for (slot, at) in due {
            if at > turn.now {
                self.wake_at(at);
            } else if slot.check == Check::NodeUnreachable {
                if self.unseen(turn.now).is_none() {
                    self.verify(turn, &slot, None);
                }
            } else {
                self.ask_review(turn, &slot);
            }
        }
    }

    /// Whether it is time to give up what cannot be looked at, while the rest of the cluster is seen.
    pub(super) fn is_hopeless(&self, now: Timestamp, slot: &Slot) -> bool {
        match self.memory.incidents.get(slot).map(|incident| &incident.state) {
            Some(State::Verifying { watch, .. }) => {
                now >= watch.deadline + UNSEEN_MAX && self.unseen(now).is_none()
            }
            Some(
                State::Pending { .. } | State::Open { .. } | State::Acting { .. } | State::Escalated { .. },
            )
            | None => false,
        }
    }

    /// A node is a member again of which it is being seen whether a call woke it. True if that can have: what was seen before
    /// the call had ended has nothing to do with it.
    pub(super) fn came_back(&self, turn: &mut Turn, slot: &Slot, name: &NodeName, watch: &Watch) -> bool {
        let seen_at = self.memory.nodes.get(name).and_then(|known| known.seen_at);
        let helped = seen_at.is_some_and(|at| at >= watch.acted_at);
        if helped {
            let since = duration(turn.now.duration_since(watch.acted_at));
            let words = format!("it is a member again, {since} after the call").into();
            let (attempt, upid) = (watch.attempt.clone(), watch.outcome.upid().map(Into::into));
            self.step_taken(turn, slot, Step::Verified { attempt, helped, words, upid });
        }
        helped
    }

    pub(super) fn verify(&mut self, turn: &mut Turn, slot: &Slot, review: Option<&Review>) {
        let Some(incident) = self.memory.incidents.get_mut(slot) else { return };
        let State::Verifying { since, watch } = &mut incident.state else { return };
        let since = *since;
        let sight = match (review, &slot.subject) {
            (Some(Review::Guest(answer)), Subject::Guest(id)) => {
                let vmid = id.vmid.to_string();
                let tasks = answer.tasks.value().map_or(&[][..], Vec::as_slice);
                let starts = |task: &Task| task.ended_at.is_none() && *task.id == *vmid;
                Sight::Guest { current: &answer.current, starting: tasks.iter().any(starts) }
            }
            (Some(Review::Service(answer)), Subject::Service(id)) => {
                let services = answer.services.value();
                let of = services.map(|all| all.iter().find(|service| service.name == id.name));
                Sight::Service(of.map(|service| service.map(|service| &*service.active)))
            }
            (None, Subject::Guest(_) | Subject::Service(_)) => Sight::Never,
            (Some(Review::Guest(_) | Review::Service(_)) | None, _) => Sight::Nothing,
        };
        let verdict = watch.judge(turn.now, &sight);
        let (attempt, upid) = (watch.attempt.clone(), watch.outcome.upid().map(Into::into));
        let at = watch.look_at;
        let (helped, words) = match verdict {
            Verdict::NotYet => return self.wake_at(at.max(turn.now)),
            Verdict::Met(words) => (true, words.into()),
            Verdict::Missed(words) => (false, words.into()),
        };
        self.step_taken(turn, slot, Step::Verified { attempt, helped, words, upid });
        if let Some(review) = review.filter(|_| !helped) {
            self.is_down(slot, review);
        }
        // It came too late to count, and runs all the same: then the incident is over by itself.
        let runs = |review: &Review| match review {
            Review::Guest(answer) => matches!(answer.current.value(),
                Some(Some(current)) if current.status == GuestStatus::Running),
            Review::Service(_) => false,
        };
        if helped || review.is_some_and(runs) {
            self.lives(turn.now, slot);
            self.end(turn, slot.clone(), if helped { Resolution::Mended } else { Resolution::Itself });
        } else if let Some(incident) = self.memory.incidents.get_mut(slot) {
            incident.state = State::Open { since };
            (incident.course.said, incident.course.approved) = (Said::Nothing, None);
        }
        let looked = self.scratch.reviews.remove(slot).and_then(|reviewed| reviewed.of);
        // The next look may be at another node, which knows nothing of what this one does.
        if let (Some(Review::Guest(answer)), Subject::Guest(id), Some(node)) = (review, &slot.subject, looked)
        {
            self.keep_who_stopped(*id, &node, answer.tasks.value());
        }
    }

    /// A guest that its node says is stopped is known to be, whatever a row of some seconds ago says yet.
    fn is_down(&mut self, slot: &Slot, review: &Review) {
        let (Subject::Guest(id), Review::Guest(answer)) = (&slot.subject, review) else { return };
        let Seen::At { value: Some(current), asked_at } = &answer.current else { return };
        if current.status == GuestStatus::Stopped
            && let Some(known) = self.memory.guests.get_mut(id)
            && known.seen_at <= *asked_at
        {
            let live = Live { running: false, pid: None, uptime: 0, lock: current.lock.clone() };
            *known = known.with_live(&live, *asked_at);
        }
    }

    /// A guest that was verified to run is known to run, whatever its row says yet.
    fn lives(&mut self, now: Timestamp, slot: &Slot) {
        if let (Subject::Guest(id), Check::GuestCrashed) = (&slot.subject, slot.check) {
            self.fold_guest(now, *id, None, GuestStatus::Running);
        }
    }

    /// The runbook of an attempt; one that was taken out of the configuration since is judged by its kind's usual bounds.
    pub(super) fn runbook_named(&self, id: &str, condition: Condition) -> Runbook {
        let named = self.policy.runbooks.iter().find(|book| *book.id == *id).cloned();
        named.unwrap_or_else(|| decide::usual(id, condition, Remedy::Nothing))
    }
}

/// How long after so many calls in a row that were not made the next is tried.
fn not_made_again(times: u32) -> SignedDuration {
    let doubled = times.saturating_sub(NOT_MADE_SOON).min(NOT_MADE_DOUBLED_MAX);
    NOT_MADE_AGAIN * 2_i32.pow(doubled)
}
