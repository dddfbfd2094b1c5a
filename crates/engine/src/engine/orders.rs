//! Orders: what operators say about an incident, and how long an approval holds.

use jiff::SignedDuration;

use super::{Engine, Turn};
use crate::incident::{IncidentId, Resolution, Slot};
use crate::record::{Order, Step};

/// So long what was approved may wait for its guardrails. Whoever approved it saw how things were then: what is held by a
/// forgotten lock over a weekend is not to happen when somebody who mends it opens that.
pub(crate) const APPROVAL_HOLDS: SignedDuration = SignedDuration::from_hours(1);

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
    pub(super) fn approvals_lapse(&mut self) {
        let slots: Vec<Slot> = self.memory.incidents.slots().cloned().collect();
        for slot in slots {
            if let Some(incident) = self.memory.incidents.get_mut(&slot) {
                incident.course.approved = None;
            }
        }
    }

    /// What could not be done for so long is asked about again.
    pub(super) fn old_approvals_lapse(&mut self, turn: &mut Turn) {
        let approved = |slot: &Slot| {
            let approval = self.memory.incidents.get(slot)?.course.approved.clone()?;
            Some((slot.clone(), approval))
        };
        let approved: Vec<_> = self.memory.incidents.slots().filter_map(approved).collect();
        for (slot, approval) in approved {
            let until = approval.at + APPROVAL_HOLDS;
            if turn.now < until {
                self.wake_at(until);
                continue;
            }
            if let Some(incident) = self.memory.incidents.get_mut(&slot) {
                incident.course.approved = None;
            }
            self.step_taken(turn, &slot, Step::Lapsed { by: approval.by });
        }
    }
}
