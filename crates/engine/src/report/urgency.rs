//! Urgency: whether people are told of something besides those who look, by mail and webhook, and how soon.
//!
//! What is in the feed is for whoever looks at it. What is sent interrupts somebody, so it is little: trouble and its
//! end, what waits for a person, and at once only what nobody but a person can mend.

use serde::{Deserialize, Serialize};

use super::Severity;
use crate::act::{Attempt, Outcome};
use crate::decide::Autonomy;
use crate::detect::Condition;
use crate::record::{Fact, Step};

/// How soon people are told, besides those who look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Urgency {
    /// Not at all.
    #[default]
    Feed,
    /// With the next report, if they asked for what is as bad as this. Of an end, how bad was what ended.
    Report(Severity),
    /// At once, whatever they asked for: Jarvis does no more about it.
    Call,
}

/// How urgent an entry is, whose event is `severity` bad.
pub(super) fn of(fact: &Fact, severity: Severity) -> Urgency {
    match fact {
        Fact::Opened { finding, .. } | Fact::Resolved { finding, .. } => {
            Urgency::Report(finding.condition().severity())
        }
        // Better is news to whoever was told that it is bad.
        Fact::Turned { from, finding, .. } => {
            Urgency::Report(finding.condition().severity().max(from.severity()))
        }
        Fact::Noted(_) => Urgency::Report(severity),
        Fact::Heartbeat(_) => Urgency::Feed,
        Fact::Storm { incidents: 0 } => Urgency::Report(Severity::Critical),
        Fact::Storm { .. } => Urgency::Call,
        Fact::Remedy { condition, step, .. } => remedy(*condition, step),
    }
}

fn remedy(condition: Condition, step: &Step) -> Urgency {
    let report = Urgency::Report(condition.severity());
    match step {
        Step::Escalated { .. } => Urgency::Call,
        // Whoever approved it counts on it.
        Step::Recommended { .. } | Step::Lapsed { .. } => report,
        // What stands in the way of what nobody would be told of is no news either.
        Step::Held { level, .. } if is_silent(*level) => Urgency::Feed,
        Step::Held { .. } => report,
        Step::Verified { attempt, helped: false, .. }
        | Step::Acted { attempt, outcome: Outcome::NotMade { .. } }
            if !silently(attempt) =>
        {
            report
        }
        // What came of it is told with its end; who gave an order knows it.
        Step::Verified { .. } | Step::Acted { .. } | Step::Intended { .. } | Step::Ordered { .. } => {
            Urgency::Feed
        }
    }
}

fn silently(attempt: &Attempt) -> bool {
    is_silent(attempt.level)
}

fn is_silent(level: u8) -> bool {
    level >= Autonomy::ActSilent.number()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::act::Action;
    use crate::decide::Hold;
    use crate::detect::Finding;
    use crate::incident::{IncidentId, Resolution};
    use crate::observe::{NodeName, ServiceId};
    use crate::record::{Note, Order, Summary};

    #[test]
    fn what_is_sent_and_how_soon() {
        let node = "pve1".parse::<NodeName>().unwrap();
        let incident = "00000000-0000-8000-8000-000000000001".parse::<IncidentId>().unwrap();
        let attempt = |level| Attempt {
            number: 1,
            action: Action::RestartService {
                service: ServiceId { node: node.clone(), name: "pvestatd".parse().unwrap() },
            },
            runbook: "r".into(),
            at: Timestamp::UNIX_EPOCH,
            level,
        };
        let step = |step| Fact::Remedy { incident, condition: Condition::VmCrashed, step };
        let verified = |helped, level| {
            step(Step::Verified { attempt: attempt(level), helped, words: "w".into(), upid: None })
        };
        let not_made = |level| {
            let outcome = Outcome::NotMade { why: "w".into() };
            step(Step::Acted { attempt: attempt(level), outcome })
        };
        let held = |level| {
            let (action, holds) = (attempt(level).action, vec![Hold::NoQuorum]);
            step(Step::Held { action, holds, runbook: "r".into(), level })
        };
        let service = || Finding::ServiceDown { active: "failed".into() };
        let stale = || Finding::StatsStale;
        let resolved = |finding| Fact::Resolved {
            incident,
            finding,
            lasted: jiff::SignedDuration::ZERO,
            by: Resolution::Itself,
        };
        use Severity::{Critical, Error, Info, Warning};
        #[rustfmt::skip]
        let table = [
            ("trouble",                         Fact::Opened { incident, finding: service(), group: None }, Error, Urgency::Report(Error)),
            ("less trouble",                    Fact::Opened { incident, finding: stale(), group: None }, Warning, Urgency::Report(Warning)),
            ("its end, as bad as it was",       resolved(service()), Info, Urgency::Report(Error)),
            ("a turn for the better",           Fact::Turned { incident, from: Condition::DiskCritical, finding: stale() }, Warning, Urgency::Report(Critical)),
            ("a turn for the worse",            Fact::Turned { incident, from: Condition::StatsStale, finding: service() }, Error, Urgency::Report(Error)),
            ("news",                            Fact::Noted(Note::NodeBack), Info, Urgency::Report(Info)),
            ("a heartbeat",                     Fact::Heartbeat(Summary::default()), Warning, Urgency::Feed),
            ("a storm",                         Fact::Storm { incidents: 11 }, Critical, Urgency::Call),
            ("a storm's end",                   Fact::Storm { incidents: 0 }, Info, Urgency::Report(Critical)),
            ("something waits for an approval", step(Step::Recommended { action: attempt(2).action, runbook: "r".into() }), Info, Urgency::Report(Error)),
            ("something stands in its way",     held(3), Info, Urgency::Report(Error)),
            ("in the way of a silent one",      held(4), Info, Urgency::Feed),
            ("an attempt begins",               step(Step::Intended { attempt: attempt(3), of: 3, approved: None }), Info, Urgency::Feed),
            ("an attempt has failed",           verified(false, 3), Warning, Urgency::Report(Error)),
            ("a silent attempt has failed",     verified(false, 4), Warning, Urgency::Feed),
            ("an attempt has helped",           verified(true, 3), Info, Urgency::Feed),
            ("a call was not made",             not_made(3), Info, Urgency::Report(Error)),
            ("a silent call was not made",      not_made(4), Info, Urgency::Feed),
            ("an approval lapsed",              step(Step::Lapsed { by: "alice".into(), since: attempt(3).at, action: attempt(3).action, escalated: false }), Info, Urgency::Report(Severity::Error)),
            ("an operator's order",             step(Step::Ordered { by: "alice".into(), order: Order::Dismiss }), Info, Urgency::Feed),
            ("people are called, at any level", step(Step::Escalated { words: "w".into(), action: attempt(4).action, runbook: "r".into(), level: 4, attempts: 3 }), Critical, Urgency::Call),
        ];
        for (name, fact, severity, expected) in table {
            assert_eq!(of(&fact, severity), expected, "{name}");
        }
    }
}
