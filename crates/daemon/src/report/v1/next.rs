//! Next: what comes next for an open incident, as its engine last said; a page shows it beside the incident.

use engine::{Next as Ahead, Prospect};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::shape::Time;

/// The next step of an open incident, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum NextStep {
    /// No runbook is for it: people are told, and that is all.
    Nothing,
    /// It is looked at before anything is said.
    Looks,
    /// Something would be done, and is not, for the reasons in `holds`.
    Held,
    /// Something is done when an operator approves.
    Proposed,
    /// Something is being done.
    Acts,
    /// Something was done, and whether it helped is being looked at.
    Verifies,
    /// It was tried as often as it may be within a while, and is left to people: they are called where a channel is set up.
    People,
}

/// Why nothing is done.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NextObjection)]
pub(super) struct Objection {
    /// The guardrail's word, as in docs/runbooks.md.
    #[schema(example = "grace")]
    word: &'static str,
    /// For people.
    words: String,
    /// When it ends by itself, where that is known.
    until: Option<Time>,
    /// Whether it is only a matter of time until it goes on.
    wait: bool,
}

/// What comes next for an open incident.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Next {
    step: NextStep,
    /// What is, was or would be done, as an order.
    #[schema(example = "start it on pve1")]
    action: Option<String>,
    /// When what is waited for is over: a wait, or the time by which it must have helped.
    until: Option<Time>,
    /// The how manyth time.
    attempt: Option<u32>,
    /// How many times there may be.
    of: Option<u32>,
    /// Why nothing is done.
    holds: Vec<Objection>,
    /// Who said that it is to be done.
    #[schema(value_type = Option<String>)]
    approved_by: Option<Box<str>>,
    /// Who said that nothing is to be done.
    #[schema(value_type = Option<String>)]
    dismissed_by: Option<Box<str>>,
    /// Who has seen it.
    #[schema(value_type = Option<String>)]
    acknowledged_by: Option<Box<str>>,
}

impl Next {
    pub(super) fn of(prospect: &Prospect, now: Timestamp) -> Next {
        let Prospect { next, approved, dismissed, acknowledged, .. } = prospect;
        let mut shown = Next {
            step: NextStep::Nothing,
            action: None,
            until: None,
            attempt: None,
            of: None,
            holds: Vec::new(),
            approved_by: approved.clone(),
            dismissed_by: dismissed.clone(),
            acknowledged_by: acknowledged.clone(),
        };
        match next {
            Ahead::Nothing => {}
            Ahead::Looks => shown.step = NextStep::Looks,
            Ahead::People => shown.step = NextStep::People,
            Ahead::Recommended { action } => {
                shown.step = NextStep::Proposed;
                shown.action = Some(action.to_string());
            }
            Ahead::Held { action, holds } => {
                shown.step = NextStep::Held;
                shown.action = Some(action.to_string());
                shown.until = holds.iter().filter_map(engine::decide::Hold::until).max().map(Time);
                let objection = |hold: &engine::decide::Hold| Objection {
                    word: hold.as_str(),
                    words: hold.words(now),
                    until: hold.until().map(Time),
                    wait: hold.is_wait(),
                };
                // A wait that has passed objects no more; the engine says at its next turn what does.
                let stands = |hold: &&engine::decide::Hold| hold.until().is_none_or(|until| until > now);
                shown.holds = holds.iter().filter(stands).map(objection).collect();
            }
            Ahead::Acts { attempt, of } => {
                shown.step = NextStep::Acts;
                shown.action = Some(attempt.action.to_string());
                (shown.attempt, shown.of) = (Some(attempt.number), Some(*of));
            }
            Ahead::Verifies { attempt, of, until } => {
                shown.step = NextStep::Verifies;
                shown.action = Some(attempt.action.to_string());
                (shown.attempt, shown.of) = (Some(attempt.number), Some(*of));
                shown.until = Some(Time(*until));
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use engine::act::Action;
    use engine::decide::Hold;

    use super::*;

    #[test]
    fn a_wait_that_has_passed_objects_no_more() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let action = Action::StartGuest { guest: "qemu/101".parse().unwrap(), node: "pve1".parse().unwrap() };
        let table = [
            ("one that lasts", vec![Hold::Grace(at(11))], 1),
            ("one that ends now", vec![Hold::Grace(at(10))], 0),
            ("one that has passed", vec![Hold::Cooldown(at(3))], 0),
            ("beside one that does not pass", vec![Hold::Standby, Hold::Grace(at(3))], 1),
        ];
        for (name, holds, stand) in table {
            let prospect = Prospect {
                incident: "01234567-89ab-8def-8123-456789abcdef".parse().unwrap(),
                next: Ahead::Held { action: action.clone(), holds },
                approved: None,
                dismissed: None,
                acknowledged: None,
            };
            let shown = Next::of(&prospect, at(10));
            assert_eq!(shown.step, NextStep::Held, "{name}");
            assert_eq!(shown.holds.len(), stand, "{name}");
        }
    }
}
