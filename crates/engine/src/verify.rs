//! Verify: did it help? Judged by what was seen after the call had ended, never by what the call answered.
//!
//! Absence is no verdict: what could not be looked at is looked at again. Who cannot look at one thing for long, and sees the
//! rest of the cluster, gives it up: what else is wrong would wait for it.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::act::{Action, Attempt, Outcome};
use crate::decide::Runbook;
use crate::observe::{Current, GuestStatus, Seen};
use crate::record::duration;

/// How often what is not yet decided is looked at.
const LOOK_EVERY: SignedDuration = SignedDuration::from_secs(20);
/// A call that failed is soon looked at: there is nothing to wait for.
const LOOK_SOON: SignedDuration = SignedDuration::from_secs(1);
/// A task that is still at work is given this much longer than what its runbook allows.
const TASK_MAX: SignedDuration = SignedDuration::from_mins(10);

/// An attempt whose call has ended and of which nobody knows yet whether it helped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    /// What was done.
    pub attempt: Attempt,
    /// How the call ended.
    pub outcome: Outcome,
    /// When: what was seen before says nothing.
    pub acted_at: Timestamp,
    /// When it counts as failed.
    pub deadline: Timestamp,
    /// When to look next.
    pub look_at: Timestamp,
    /// How long it must be well.
    pub well_for: SignedDuration,
    /// Since when it has been seen well.
    pub proof: Option<Proof>,
}

/// Something that was seen well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// When first.
    pub at: Timestamp,
    /// As which process.
    pub pid: Option<u32>,
}

/// What a look found.
#[derive(Clone, Debug, PartialEq)]
pub enum Sight<'a> {
    /// Of a guest; the inner `None`: it is not there.
    Guest {
        /// What its node says of it.
        current: &'a Seen<Option<Current>>,
        /// Whether a task that starts it is still at work.
        starting: bool,
    },
    /// Of a service: systemd's word; the inner `None`: PVE does not know it.
    Service(Option<Option<&'a str>>),
    /// Nothing new: time has passed.
    Nothing,
    /// It cannot be looked at, and nobody waits for that any longer.
    Never,
}

/// Whether it helped.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It did, as was seen.
    Met(String),
    /// Not known yet; look again.
    NotYet,
    /// It did not.
    Missed(String),
}

impl Watch {
    /// Begins when a call has ended.
    pub fn new(attempt: Attempt, outcome: Outcome, now: Timestamp, runbook: &Runbook) -> Watch {
        let first = match &outcome {
            Outcome::Done { .. } | Outcome::Runs { .. } => runbook.first_look,
            Outcome::Failed { .. } | Outcome::Unknown { .. } | Outcome::NotMade { .. } => LOOK_SOON,
        };
        // Nobody was woken by a call that was refused.
        let refused =
            matches!((&outcome, &attempt.action), (Outcome::Failed { .. }, Action::WakeNode { .. }));
        Watch {
            attempt,
            outcome,
            acted_at: now,
            deadline: if refused { now } else { now + runbook.verify_within },
            look_at: now + first,
            well_for: runbook.verify_for,
            proof: None,
        }
    }

    /// The clock may have been set back since: nothing of the past may make it wait.
    pub(crate) fn woken(&mut self, now: Timestamp) {
        let allowed = self.deadline.duration_since(self.acted_at);
        self.look_at = now;
        self.acted_at = self.acted_at.min(now);
        self.deadline = self.deadline.min(now + allowed);
        self.proof = None;
    }

    /// What was seen, weighed.
    pub fn judge(&mut self, now: Timestamp, sight: &Sight) -> Verdict {
        let verdict = match sight {
            Sight::Guest { current, starting } => self.guest(now, current, *starting),
            Sight::Service(active) => self.service(now, *active),
            Sight::Nothing => self.late(now),
            Sight::Never => {
                let since = duration(now.duration_since(self.acted_at));
                Verdict::Missed(format!("in {since} since the call nobody could look whether it helped"))
            }
        };
        if verdict == Verdict::NotYet && self.look_at <= now {
            let well_at = self.proof.map(|proof| proof.at + self.well_for).filter(|at| *at > now);
            self.look_at = well_at.map_or(now + LOOK_EVERY, |at| at.min(now + LOOK_EVERY));
        }
        verdict
    }

    fn guest(&mut self, now: Timestamp, current: &Seen<Option<Current>>, starting: bool) -> Verdict {
        let Seen::At { value: current, asked_at } = current else { return Verdict::NotYet };
        if *asked_at < self.acted_at {
            return Verdict::NotYet; // It shows how things were before.
        }
        let Some(current) = current else { return Verdict::Missed("it is not on its node any more".into()) };
        if current.status != GuestStatus::Running {
            self.proof = None;
            if starting && now < self.acted_at + TASK_MAX {
                return Verdict::NotYet;
            }
            return Verdict::Missed(self.not_running(now, current.status.as_str()));
        }
        let same = self.proof.filter(|proof| proof.pid == current.pid);
        // A machine that is resumed has been up all along; of one that was started its uptime counts.
        let lived = match self.attempt.action {
            Action::StartGuest { .. } => i64::try_from(current.uptime).unwrap_or(0),
            Action::ResumeGuest { .. } | Action::WakeNode { .. } | Action::RestartService { .. } => 0,
        };
        let began = asked_at.checked_sub(SignedDuration::from_secs(lived)).unwrap_or(*asked_at);
        let proof = same.unwrap_or(Proof { at: began, pid: current.pid });
        self.proof = Some(proof);
        let well_for = asked_at.duration_since(proof.at);
        if well_for >= self.well_for {
            return Verdict::Met(format!("it has run for {}", duration(well_for)));
        }
        self.late(now)
    }

    fn service(&mut self, now: Timestamp, active: Option<Option<&str>>) -> Verdict {
        match active {
            None => Verdict::NotYet,
            Some(Some("active")) => {
                let proof = *self.proof.get_or_insert(Proof { at: now, pid: None });
                let well_for = now.duration_since(proof.at);
                if well_for >= self.well_for {
                    return Verdict::Met(format!("it has been active for {}", duration(well_for)));
                }
                self.late(now)
            }
            Some(Some("activating" | "reloading")) => {
                self.proof = None;
                self.late(now)
            }
            Some(Some(word)) => Verdict::Missed(self.not_running(now, word)),
            Some(None) => Verdict::Missed("its node does not know it any more".into()),
        }
    }

    fn late(&self, now: Timestamp) -> Verdict {
        if now < self.deadline {
            return Verdict::NotYet;
        }
        let within = duration(self.deadline.duration_since(self.acted_at));
        Verdict::Missed(match self.attempt.action {
            Action::WakeNode { .. } => match &self.outcome {
                Outcome::Failed { why, .. } => format!("it is still away: {why}"),
                Outcome::Done { .. }
                | Outcome::Runs { .. }
                | Outcome::Unknown { .. }
                | Outcome::NotMade { .. } => format!("it has not come back within {within}"),
            },
            Action::StartGuest { .. } | Action::ResumeGuest { .. } | Action::RestartService { .. } => {
                format!("it has not kept running within {within}")
            }
        })
    }

    fn not_running(&self, now: Timestamp, state: &str) -> String {
        match &self.outcome {
            Outcome::Failed { why, .. } => format!("it is {state}: {why}"),
            Outcome::Done { .. }
            | Outcome::Runs { .. }
            | Outcome::Unknown { .. }
            | Outcome::NotMade { .. } => {
                format!("it is {state} {} after the call", duration(now.duration_since(self.acted_at)))
            }
        }
    }
}

#[cfg(test)]
mod tests;
