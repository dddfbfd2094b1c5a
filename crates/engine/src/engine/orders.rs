//! Orders: what operators say about an incident, and how long an approval holds.

use jiff::SignedDuration;

use super::{Engine, Turn};
use crate::incident::{IncidentId, Resolution, Said, Slot, State};
use crate::record::{Order, Step};

/// So long what was approved may wait for its guardrails. Whoever approved it saw how things were then: what a forgotten lock
/// holds over a weekend is not to happen when somebody who mends it opens that.
const APPROVAL_HOLDS: SignedDuration = SignedDuration::from_hours(1);

impl Engine {
    /// What an operator said about an incident; nothing, if it is over.
    pub(super) fn ordered(&mut self, turn: &mut Turn, id: IncidentId, by: &str, order: Order) {
        let Some(slot) = self.memory.incidents.by_id(id).cloned() else { return };
        self.step_taken(turn, &slot, Step::Ordered { by: by.into(), order });
        if let Some(incident) = self.memory.incidents.get_mut(&slot) {
            incident.course.order(by, order, turn.now);
        }
        if order == Order::Resolve {
            self.end(turn, slot, Resolution::Closed);
        }
    }

    /// Who stops everything means what was approved before, too: it is not done when the switch is off again.
    pub(super) fn drop_approvals(&mut self) {
        let slots: Vec<Slot> = self.memory.incidents.slots().cloned().collect();
        for slot in slots {
            if let Some(incident) = self.memory.incidents.get_mut(&slot) {
                incident.course.approved = None;
            }
        }
    }

    /// What was approved and could not be done for too long has to be approved again.
    pub(super) fn lapse_old_approvals(&mut self, turn: &mut Turn) {
        // Each turn comes by here, and there are seldom any.
        if self.memory.incidents.told().all(|(_, incident)| incident.course.approved.is_none()) {
            return;
        }
        for candidate in self.candidates() {
            let (slot, runbook) = (candidate.slot, candidate.runbook);
            let made = self.memory.attempts_of(&slot, turn.now, runbook.window);
            let Some(incident) = self.memory.incidents.get_mut(&slot) else { continue };
            let Some(approval) = incident.course.approved.clone() else { continue };
            // It waits for its turn after the last attempt first: whoever approved it knew that.
            let since = made.last().map_or(approval.at, |last| approval.at.max(*last + runbook.cooldown));
            if turn.now < since + APPROVAL_HOLDS {
                self.wake_at(since + APPROVAL_HOLDS);
                continue;
            }
            incident.course.approved = None;
            let escalated = matches!(incident.state, State::Escalated { .. });
            // What was not tried too often, Jarvis does by itself when nothing holds it: there is nothing to be approved again.
            if !escalated && self.controls.level >= runbook.level {
                continue;
            }
            if !escalated {
                incident.course.said = Said::Nothing; // What holds it is said anew after this.
            }
            let (by, since) = (approval.by, approval.at);
            self.step_taken(turn, &slot, Step::Lapsed { by, since, action: candidate.action, escalated });
        }
    }
}
