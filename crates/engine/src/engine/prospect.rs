//! Prospect: what comes next for each open incident, for whoever looks at it while it is open.
//!
//! It is read from what the engine already knows; nothing is decided here, and asking changes nothing.

use jiff::Timestamp;

use super::Engine;
use crate::act::{Action, Attempt};
use crate::decide::{self, Hold, Known, Remedy};
use crate::incident::{Course, Incident, IncidentId, Said, Slot, State};
use crate::observe::Subject;

/// Open incidents of which it is said: more than a screen shows, and so few that saying it costs a turn nothing. Where
/// there are more, a storm is raging, and the same holds for all of them.
const PROSPECTS_MAX: usize = 500;

/// What comes next for an open incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prospect {
    /// Which one.
    pub incident: IncidentId,
    /// What comes next.
    pub next: Next,
    /// Who said that it is to be done.
    pub approved: Option<Box<str>>,
    /// Who said that nothing is to be done.
    pub dismissed: Option<Box<str>>,
    /// Who has seen it.
    pub acknowledged: Option<Box<str>>,
}

/// The next step of an open incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// No runbook is for it: people are told, and that is all.
    Nothing,
    /// It is looked at before anything is said.
    Looks,
    /// This would be done, and it is not, for these reasons.
    Held {
        /// What.
        action: Action,
        /// Why not now.
        holds: Vec<Hold>,
    },
    /// This is done when an operator approves.
    Recommended {
        /// What.
        action: Action,
    },
    /// This is being done.
    Acts {
        /// What, and the how manyth time.
        attempt: Attempt,
        /// How many there may be.
        of: u32,
    },
    /// This was done; whether it helped is being looked at.
    Verifies {
        /// What, and the how manyth time.
        attempt: Attempt,
        /// How many there may be.
        of: u32,
        /// When it counts as failed.
        until: Timestamp,
    },
    /// It was tried as often as it may be within a while, and is left to people.
    People,
}

impl Engine {
    /// What comes next for each open incident, for a bounded number of them.
    pub fn prospects(&self) -> Vec<Prospect> {
        let told = self.memory.incidents.told().take(PROSPECTS_MAX);
        told.map(|(slot, incident)| self.prospect(slot, incident)).collect()
    }

    /// What comes next for one open incident; `None`: it is not open, or not told yet.
    pub fn prospect_of(&self, incident: IncidentId) -> Option<Prospect> {
        let (slot, incident) = self.memory.incidents.told().find(|(_, open)| open.id == incident)?;
        Some(self.prospect(slot, incident))
    }

    fn prospect(&self, slot: &Slot, incident: &Incident) -> Prospect {
        let Course { approved, dismissed, acknowledged, .. } = incident.course.clone();
        let next = self.next_of(slot, incident);
        let approved = approved.map(|approval| approval.by);
        Prospect { incident: incident.id, next, approved, dismissed, acknowledged }
    }

    fn next_of(&self, slot: &Slot, incident: &Incident) -> Next {
        let of = |attempt: &Attempt| {
            let book = self.runbook_named(&attempt.runbook, incident.finding.condition());
            book.attempts.max(attempt.number)
        };
        match &incident.state {
            State::Acting { attempt, .. } => Next::Acts { attempt: attempt.clone(), of: of(attempt) },
            State::Verifying { watch, .. } => Next::Verifies {
                attempt: watch.attempt.clone(),
                of: of(&watch.attempt),
                until: watch.deadline,
            },
            State::Escalated { .. } if incident.course.approved.is_none() => Next::People,
            State::Pending { .. } | State::Open { .. } | State::Escalated { .. } => {
                self.next_of_open(slot, incident)
            }
        }
    }

    fn next_of_open(&self, slot: &Slot, incident: &Incident) -> Next {
        let Some(action) = self.what_would_be_done(slot, incident) else { return Next::Nothing };
        if self.memory.storm.is_some() {
            // Told once and not of each, so none of them remembers it.
            return Next::Held { action, holds: vec![Hold::Storm] };
        }
        match &incident.course.said {
            Said::Nothing => Next::Looks,
            Said::Held(holds) => Next::Held { action, holds: holds.clone() },
            Said::Recommended(action) => Next::Recommended { action: action.clone() },
        }
    }

    fn what_would_be_done(&self, slot: &Slot, incident: &Incident) -> Option<Action> {
        let known = match &slot.subject {
            Subject::Guest(id) => self.memory.guests.get(id),
            Subject::Cluster | Subject::Node(_) | Subject::Storage(_) | Subject::Service(_) => None,
        };
        let node = known.map(|known| &known.guest.node).or(incident.node.as_ref());
        let by = Known {
            subject: &slot.subject,
            node,
            name: incident.name.as_deref(),
            tags: known.map_or(&[], |known| &known.guest.tags),
            pool: known.and_then(|known| known.guest.pool.as_deref()),
        };
        let book = decide::runbook(&self.policy.runbooks, incident.finding.condition(), &by)?;
        if book.remedy == Remedy::Nothing {
            return None;
        }
        super::remedy::action(book.remedy, &slot.subject, node, &incident.finding, None)
    }
}
