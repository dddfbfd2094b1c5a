//! Nodes: who left the cluster, who came back, and what stands above its mark.

use crate::detect::{Check, Finding, threshold};
use crate::incident::{Incident, Slot};
use crate::observe::{Node, NodeName, Presence, Subject};
use crate::policy::{Metric, Policy, Rung};

/// Whether a node is lost. `before` is what was known of its membership; `open` is whether it is told already.
///
/// A node that was never seen as a member is not lost: it was down before anybody looked.
pub(crate) fn lost(before: Option<Presence>, now: Presence, open: bool) -> bool {
    match now {
        Presence::Offline => open || matches!(before, Some(Presence::Online | Presence::Unknown)),
        // Without statistics, but a member: its statistics stalled, it did not leave.
        Presence::Online | Presence::Unknown => false,
    }
}

/// The rung on which the last round left this ladder.
pub(crate) fn last_rung(incident: Option<&Incident>) -> Rung {
    match incident.map(|incident| &incident.finding) {
        Some(Finding::OverMark { rung, .. }) => *rung,
        Some(
            Finding::Blind { .. }
            | Finding::QuorumLost { .. }
            | Finding::NodeUnreachable { .. }
            | Finding::GuestCrashed { .. }
            | Finding::StorageOffline { .. },
        )
        | None => Rung::Well,
    }
}

/// The finding of one ladder now; `None` when the value stands below its marks.
pub(crate) fn over_mark(
    policy: &Policy,
    subject: &Subject,
    metric: Metric,
    last: Option<&Incident>,
    percent: f64,
) -> Option<Finding> {
    let marks = policy.marks(subject, metric);
    let rung = threshold::judge(last_rung(last), Some(percent), &marks);
    marks.mark(rung).map(|mark| Finding::OverMark { metric, rung, percent, mark })
}

/// Every ladder of one node that this round saw. An offline node shows nothing, so nothing changes.
pub(crate) fn ladders<'a>(
    policy: &'a Policy,
    name: &NodeName,
    node: &'a Node,
    last: impl Fn(&Slot) -> Option<&'a Incident> + 'a,
) -> impl Iterator<Item = (Slot, Option<Finding>)> + 'a {
    let subject = Subject::Node(name.clone());
    [Metric::Disk, Metric::Memory, Metric::Cpu].into_iter().filter_map(move |metric| {
        let percent = (node.presence == Presence::Online).then(|| metric.of(node)).flatten()?;
        let slot = Slot { check: Check::OverMark(metric), subject: subject.clone() };
        let finding = over_mark(policy, &subject, metric, last(&slot), percent);
        Some((slot, finding))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_a_node_is_lost() {
        use Presence::{Offline, Online, Unknown};
        #[rustfmt::skip]
        let table = [
            // row                                        before         now      open   lost
            ("was a member, left",                        Some(Online),  Offline, false, true),
            ("had no statistics, left",                   Some(Unknown), Offline, false, true),
            ("is away, was told",                         Some(Offline), Offline, true,  true),
            ("was away when first seen",                  None,          Offline, false, false),
            ("is away, was away, never told",             Some(Offline), Offline, false, false),
            ("is back",                                   Some(Offline), Online,  true,  false),
            ("is back, statistics will follow",           Some(Offline), Unknown, true,  false),
            ("its statistics stalled",                    Some(Online),  Unknown, false, false),
        ];
        for (row, before, now, open, expected) in table {
            assert_eq!(lost(before, now, open), expected, "{row}");
        }
    }
}
