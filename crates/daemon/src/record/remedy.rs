//! Remedies: the row of the original's `autonomy_actions` that goes with an entry of the journal. One row for each outcome:
//! what was blocked, what was done and whether it helped, and that people were called.
//!
//! The truth is the journal; this is for the original's page and scripts.

use engine::act::{Action, Attempt};
use engine::observe::ClusterName;
use engine::record::{Entry, Fact, Step};
use serde_json::json;

use super::new::NewAction;
use super::row::ActionResult;

/// The row for an entry; `None` where it is no outcome. `first`: the cluster is the configuration's first, whose keys have
/// no name before them.
pub(super) fn action(cluster: &ClusterName, first: bool, entry: &Entry) -> Option<NewAction> {
    let Fact::Remedy { incident, condition, step } = &entry.fact else { return None };
    let condition = condition.as_str();
    let key = format!("{condition}:{}", entry.subject.key());
    let row = |runbook: &str, action: &Action, level: u8, result: ActionResult| NewAction {
        at: entry.at,
        incident_key: if first { key.clone() } else { format!("{cluster}/{key}") },
        incident_id: incident.to_string(),
        runbook_id: runbook.to_owned(),
        condition: condition.to_owned(),
        action: action.as_str().to_owned(),
        action_args: Some(args(action)),
        result,
        result_details: Some(step.words(entry.at)),
        verification_result: None,
        autonomy_level: level,
        node: Some(action.node().to_string()),
        attempt_number: 1,
        escalated: false,
        email_sent: false,
        cluster: Some(cluster.to_string()),
    };
    let of_attempt = |attempt: &Attempt, result| NewAction {
        attempt_number: attempt.number,
        ..row(&attempt.runbook, &attempt.action, attempt.level, result)
    };
    match step {
        Step::Held { action, runbook, level, .. } if engine::report::is_told(&entry.fact) => {
            Some(row(runbook, action, *level, ActionResult::Blocked))
        }
        Step::Verified { attempt, helped, words, upid } => {
            let result = if *helped { ActionResult::Success } else { ActionResult::Failure };
            let details = upid.as_ref().map_or_else(|| "no task".to_owned(), |upid| format!("task {upid}"));
            Some(NewAction {
                result_details: Some(details),
                verification_result: Some(words.to_string()),
                ..of_attempt(attempt, result)
            })
        }
        Step::Acted { attempt, .. } if engine::report::is_told(&entry.fact) => {
            Some(of_attempt(attempt, ActionResult::Blocked))
        }
        Step::Escalated { action, runbook, level, attempts, .. } => Some(NewAction {
            attempt_number: *attempts,
            escalated: true,
            ..row(runbook, action, *level, ActionResult::Escalated)
        }),
        Step::Held { .. }
        | Step::Recommended { .. }
        | Step::Intended { .. }
        | Step::Acted { .. }
        | Step::Lapsed { .. }
        | Step::Ordered { .. } => None,
    }
}

fn args(action: &Action) -> String {
    match action {
        Action::StartGuest { guest, node } | Action::ResumeGuest { guest, node } => {
            json!({ "node": node.as_str(), "vmid": guest.vmid, "type": guest.kind.as_str() })
        }
        Action::WakeNode { node, .. } => json!({ "node": node.as_str() }),
        Action::RestartService { service } => {
            json!({ "node": service.node.as_str(), "service": service.name.as_str() })
        }
    }
    .to_string()
}
