//! Moves: what the node that a guest left knows of it, and the one to which it was moved does not.

use jiff::{SignedDuration, Timestamp};

use super::Engine;
use crate::decide::{CLOCK_SKEW, stopped_since};
use crate::detect::guest::{Suspicion, TASKS_BEFORE};
use crate::observe::{GuestId, NodeName, Subject, Task};

/// Who stopped a guest before it was moved is looked for among the tasks of a day, like who touched a service.
const MOVE_TASKS: SignedDuration = SignedDuration::from_hours(24);

impl Engine {
    /// Since when something open is known about a guest: when it was seen to be down, or was told.
    pub(super) fn trouble_since(&self, id: GuestId) -> Option<Timestamp> {
        let told = self.memory.incidents.told().filter(|(slot, _)| slot.subject == Subject::Guest(id));
        let told = told.filter_map(|(_, incident)| incident.state.told_at()).min()?;
        let down = self.memory.guests.get(&id).and_then(|known| known.down_since);
        Some(down.map_or(told, |down| down.min(told)))
    }

    /// Since when the node that it left is asked for tasks: not for those of many days, with which a busy node would be long at
    /// work.
    pub(super) fn tasks_since(&self, id: GuestId, last_seen: Timestamp) -> Timestamp {
        let trouble = self.trouble_since(id).unwrap_or(last_seen).max(last_seen - MOVE_TASKS);
        trouble.min(last_seen) - TASKS_BEFORE
    }

    /// Keeps who stopped it, by the tasks of a node where it is or was: whoever moves a guest that somebody stopped since moves
    /// one that is to stay so.
    pub(super) fn keep_who_stopped(&mut self, id: GuestId, node: &NodeName, tasks: Option<&Vec<Task>>) {
        let (Some(tasks), Some(since)) = (tasks, self.trouble_since(id)) else { return };
        if let Some(by) = stopped_since(tasks, id, since - CLOCK_SKEW) {
            self.memory.incidents.stopped(id, node, &by);
        }
    }

    /// Why a guest is left alone that is not where it was: the node that it left is being asked, or it is to be seen whether it is
    /// anywhere.
    pub(super) fn unasked_where_it_was(&self, subject: &Subject) -> Option<String> {
        let Subject::Guest(id) = subject else { return None };
        match &self.memory.suspects.get(id)?.suspicion {
            Suspicion::Moved { from } => Some(format!("{from} is asked who stopped it there")),
            Suspicion::Vanished => Some("the last round does not list it".into()),
            Suspicion::Changed { .. }
            | Suspicion::Appeared
            | Suspicion::Restarted
            | Suspicion::Hung
            | Suspicion::Held { .. }
            | Suspicion::StoppedBefore { .. } => None,
        }
    }
}
