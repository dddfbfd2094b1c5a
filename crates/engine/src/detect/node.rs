//! Nodes: who left the cluster and why, whose statistics stand still, and what stands above its mark.
//!
//! That a node is shown as offline is a suspicion too: it is what one other node's membership says. Before it is called
//! lost, the other endpoints, its tasks, HA and its own address are asked.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::detect::{Check, Finding, threshold};
use crate::incident::{Incident, Slot};
use crate::observe::{Door, Node, NodeEvidence, NodeName, Presence, Seen, Subject, Task};
use crate::policy::{Metric, Policy, Rung};
use crate::record::{By, LeftBy};

/// A node's shutdown ends its guests by this task, and PVE's own user asks for it; anybody else's is a bulk action.
const SHUTDOWN_TASK: (&str, &str) = ("stopall", "root@pam");
/// How long a shutdown may take until the node leaves: each guest is given up to 180 s, and one may be obstinate.
pub(crate) const SHUTDOWN_WITHIN: SignedDuration = SignedDuration::from_mins(30);
/// The shutdown of so many guests by PVE's own user at once is a node's shutdown too: of more than 25 tasks the others
/// remember the newest only, and then the node's own is not among them (pve-domain 3.1).
const SHUTDOWN_GUESTS: usize = 5;
/// How long after its last guest has been stopped a node that is going down leaves.
const LEAVES_WITHIN: SignedDuration = SignedDuration::from_mins(5);

/// What became of a node that is no member any more.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Left {
    /// Another node of the majority counts it as a member: the one that was asked first is mistaken.
    StillThere,
    /// It was asked to.
    OnPurpose(LeftBy),
    /// It lives, and its cluster file system does not.
    ClusterFsDown,
    /// It is lost, as so many nodes of the majority see it; with how far a question to it comes.
    Lost { views: u32, door: Option<Door> },
}

/// The verdict on a node that was a member until `last_seen`.
pub(crate) fn why_left(name: &NodeName, last_seen: Timestamp, evidence: &NodeEvidence) -> Left {
    // A view of the side that may not decide shows every node of the other side as gone (pve-domain 4.2).
    let deciding = || evidence.views.values().filter_map(Seen::value).filter(|view| view.quorate);
    if deciding().any(|view| view.online == Some(true) && view.from.as_ref() != Some(name)) {
        return Left::StillThere;
    }
    if let Some(by) = evidence.tasks.value().and_then(|tasks| shutdown(tasks, last_seen)) {
        return Left::OnPurpose(LeftBy::Task(by));
    }
    if let Some(Some(word)) = evidence.ha.value()
        && matches!(&**word, "maintenance" | "shutdown" | "restart")
    {
        return Left::OnPurpose(LeftBy::HighAvailability(word.clone()));
    }
    let door = evidence.door.value().copied();
    if door == Some(Door::ClusterFsDown) {
        return Left::ClusterFsDown;
    }
    let views = deciding().filter(|view| view.online == Some(false)).count();
    Left::Lost { views: u32::try_from(views).unwrap_or(u32::MAX), door }
}

/// Whether a part of a look is missing that may change the verdict: the node's own door, its tasks, HA's word, or any
/// other's view of it.
pub(crate) fn silent(evidence: &NodeEvidence) -> bool {
    evidence.door.value().is_none()
        || evidence.tasks.value().is_none()
        || evidence.ha.value().is_none()
        || evidence.views.values().all(|view| view.value().is_none())
}

/// Whether some node of the majority counts a node as a member.
pub(crate) fn member(evidence: &NodeEvidence) -> bool {
    let views = evidence.views.values().filter_map(Seen::value);
    views.into_iter().any(|view| view.quorate && view.online == Some(true))
}

/// The shutdown that a node was in when it was last seen.
fn shutdown(tasks: &[Task], last_seen: Timestamp) -> Option<By> {
    let (kind, user) = SHUTDOWN_TASK;
    let in_time = |task: &&Task| {
        &*task.user == user
            && task.started_at >= last_seen - SHUTDOWN_WITHIN
            && task.ended_at.is_none_or(|ended| ended >= last_seen - LEAVES_WITHIN)
    };
    let latest = |tasks: &mut dyn Iterator<Item = &Task>| tasks.max_by_key(|task| task.started_at).cloned();
    let own = latest(&mut tasks.iter().filter(in_time).filter(|task| &*task.kind == kind));
    let of_guest = |task: &&Task| matches!(&*task.kind, "qmshutdown" | "vzshutdown");
    let guests: BTreeSet<&str> =
        tasks.iter().filter(in_time).filter(of_guest).map(|task| &*task.id).collect();
    let many = (guests.len() >= SHUTDOWN_GUESTS)
        .then(|| latest(&mut tasks.iter().filter(in_time).filter(of_guest)))
        .flatten();
    let task = own.or(many)?;
    // It came up again since, so what it went down for is over.
    let up_again = tasks.iter().any(|later| &*later.kind == "startall" && later.started_at > task.started_at);
    (!up_again).then(|| By { user: task.user.clone(), task: task.kind.clone(), upid: task.upid.clone() })
}

/// Whether a node's statistics stand still. `moved_at` is when its uptime was last seen to change, `member_since` since
/// when it has been a member: one that has just come tells of itself a boot later.
pub(crate) fn stalled(
    presence: Presence,
    uptime: Option<u64>,
    moved_at: Option<Timestamp>,
    member_since: Option<Timestamp>,
    asked_at: Timestamp,
) -> bool {
    let longer = |since: Option<Timestamp>, than| since.is_some_and(|at| asked_at.duration_since(at) > than);
    let still = longer(moved_at, STILL_MAX) && longer(member_since, COMES_WITHIN);
    match presence {
        // The one that is asked has heard nothing for 300 s, or its own cluster file system was restarted a moment ago.
        Presence::Unknown => still,
        Presence::Offline => false,
        Presence::Online => uptime.is_some() && still,
    }
}

/// Statistics come each 10 s, and are up to 14 s old when they are shown; longer than this is no jitter (pve-domain 1.3).
const STILL_MAX: SignedDuration = SignedDuration::from_secs(30);
/// How long a node that has just come may need until its statistics service tells of it.
const COMES_WITHIN: SignedDuration = SignedDuration::from_secs(60);

/// The rung on which the last round left this ladder.
pub(crate) fn last_rung(incident: Option<&Incident>) -> Rung {
    match incident.map(|incident| &incident.finding) {
        Some(Finding::OverMark { rung, .. }) => *rung,
        Some(
            Finding::Blind { .. }
            | Finding::QuorumLost { .. }
            | Finding::NodeUnreachable { .. }
            | Finding::GuestCrashed { .. }
            | Finding::GuestNotStarted { .. }
            | Finding::StorageOffline { .. }
            | Finding::StatsStale
            | Finding::NodeApi { .. }
            | Finding::GuestFault { .. }
            | Finding::HaFailed { .. }
            | Finding::ServiceDown { .. },
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

    use crate::observe::{Blindness, Cause, View};
    use std::collections::BTreeMap;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn seen<T>(value: T) -> Seen<T> {
        Seen::At { value, asked_at: at(1002) }
    }

    /// `FROM+` counts it as a member, `FROM-` does not, `FROM-m` does not and is of the minority, `FROM!` is silent.
    fn views(text: &str) -> BTreeMap<Box<str>, Seen<View>> {
        let hidden = || Blindness { cause: Cause::Unreachable, words: "refused".into() };
        let view = |word: &str| {
            let from = word.trim_end_matches(['+', '-', 'm', '!']);
            let view = View {
                from: from.parse().ok(),
                quorate: !word.ends_with('m'),
                online: Some(word.contains('+')),
            };
            let seen = if word.ends_with('!') { Seen::NotReached(hidden()) } else { seen(view) };
            (from.into(), seen)
        };
        text.split_whitespace().map(view).collect()
    }

    fn task(kind: &str, user: &str, began: i64, ended: Option<i64>) -> Task {
        Task {
            upid: format!("UPID:{kind}").into(),
            kind: kind.into(),
            id: "".into(),
            user: user.into(),
            started_at: at(began),
            ended_at: ended.map(at),
            status: ended.map(|_| "OK".into()),
        }
    }

    /// pve3 was last seen as a member at second 990.
    #[test]
    fn why_a_node_left() {
        let none = Vec::new;
        let ha = |word: &str| seen(Some(word.into()));
        let root = "root@pam";
        type Row =
            (&'static str, &'static str, Seen<Vec<Task>>, Seen<Option<Box<str>>>, Seen<Door>, &'static str);
        let hidden = || Blindness { cause: Cause::Unreachable, words: "refused".into() };
        #[rustfmt::skip]
        let table: Vec<Row> = vec![
            ("two see it gone",                       "pve1- pve2-",   seen(none()), seen(None), seen(Door::Silent), "lost, 2 views, Silent"),
            ("one sees it gone",                      "pve1- pve2!",   seen(none()), seen(None), seen(Door::Silent), "lost, 1 views, Silent"),
            ("nobody answered",                       "pve1!",         Seen::NotReached(hidden()), Seen::NotReached(hidden()), Seen::NotReached(hidden()), "lost, 0 views, not asked"),
            ("another counts it as a member",         "pve1- pve2+",   seen(none()), seen(None), seen(Door::Silent), "still there"),
            ("one of the minority says nothing new",  "pve1- pve2+m",  seen(none()), seen(None), seen(Door::Silent), "lost, 1 views, Silent"),
            ("it counts itself as a member",          "pve1- pve3+",   seen(none()), seen(None), seen(Door::Open),   "lost, 1 views, Open"),
            ("cut off, its API answers",              "pve1- pve2-",   seen(none()), seen(None), seen(Door::Open),   "lost, 2 views, Open"),
            ("its cluster file system is down",       "pve1- pve2-",   seen(none()), seen(None), seen(Door::ClusterFsDown), "pmxcfs down"),
            ("it was going down",                     "pve1-",         seen(vec![task("stopall", root, 980, None)]), seen(None), seen(Door::Silent), "on purpose by root@pam (stopall)"),
            ("it had gone down",                      "pve1-",         seen(vec![task("stopall", root, 900, Some(985))]), seen(None), seen(Door::Silent), "on purpose by root@pam (stopall)"),
            ("an operator had stopped its guests",    "pve1-",         seen(vec![task("stopall", "alice@pve", 980, Some(985))]), seen(None), seen(Door::Silent), "lost, 1 views, Silent"),
            ("it went down an hour before",           "pve1-",         seen(vec![task("stopall", root, -2700, Some(-2690))]), seen(None), seen(Door::Silent), "lost, 1 views, Silent"),
            ("it went down, came up, and is lost",    "pve1-",         seen(vec![task("stopall", root, 800, Some(820)), task("startall", root, 900, Some(910))]), seen(None), seen(Door::Silent), "lost, 1 views, Silent"),
            ("its guests were stopped long before",   "pve1-",         seen(vec![task("stopall", root, 300, Some(320))]), seen(None), seen(Door::Silent), "lost, 1 views, Silent"),
            ("HA has it in maintenance",              "pve1-",         seen(none()), ha("maintenance"), seen(Door::Silent), "on purpose by HA (maintenance)"),
            ("HA knew of its restart",                "pve1-",         seen(none()), ha("restart"),     seen(Door::Silent), "on purpose by HA (restart)"),
            ("HA fences it",                          "pve1-",         seen(none()), ha("fence"),       seen(Door::Silent), "lost, 1 views, Silent"),
        ];
        for (row, from, tasks, ha, door, expected) in table {
            let evidence = NodeEvidence { views: views(from), tasks, ha, door };
            let words = match why_left(&"pve3".parse().unwrap(), at(990), &evidence) {
                Left::StillThere => "still there".into(),
                Left::OnPurpose(LeftBy::Task(by)) => format!("on purpose by {by}"),
                Left::OnPurpose(LeftBy::HighAvailability(word)) => format!("on purpose by HA ({word})"),
                Left::ClusterFsDown => "pmxcfs down".into(),
                Left::Lost { views, door } => {
                    let door = door.map_or("not asked".into(), |door| format!("{door:?}"));
                    format!("lost, {views} views, {door}")
                }
            };
            assert_eq!(words, expected, "{row}");
        }
    }

    #[test]
    fn when_statistics_stand_still() {
        use Presence::{Offline, Online, Unknown};
        #[rustfmt::skip]
        let table = [
            // row                                    now      uptime      moved       member since  stalled
            ("told of itself a moment ago",           Online,  Some(5000), Some(995),  Some(0),      false),
            ("30 s are jitter",                       Online,  Some(5000), Some(970),  Some(0),      false),
            ("longer is not",                         Online,  Some(5000), Some(969),  Some(0),      true),
            ("has just come",                         Online,  Some(5000), Some(900),  Some(950),    false),
            ("the token may not see its uptime",      Online,  None,       Some(900),  Some(0),      false),
            ("PVE has heard nothing for 300 s",       Unknown, None,       Some(700),  Some(0),      true),
            ("the cluster file system was restarted", Unknown, None,       Some(990),  Some(0),      false),
            ("is back, and has told nothing yet",     Unknown, None,       Some(700),  Some(980),    false),
            ("is away: that is another matter",       Offline, None,       Some(700),  None,         false),
        ];
        for (row, presence, uptime, moved, online, expected) in table {
            let verdict = stalled(presence, uptime, moved.map(at), online.map(at), at(1000));
            assert_eq!(verdict, expected, "{row}");
        }
    }
}
