//! Guests: what changed, and why, once the guest's own node has been asked.
//!
//! A change seen in a round is a suspicion, never a verdict: `/cluster/resources` shows what a node's statistics
//! said up to some seconds ago. The verdict comes from the node's live list and its tasks.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::observe::{Guest, GuestEvidence, GuestId, GuestKind, GuestStatus, Live, NodeName, Seen, Task};
use crate::record::{By, Why};

/// Clocks of nodes differ by seconds (pve-domain 9.26), and a task may begin a moment before what it causes.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(5);

/// How old a row of `/cluster/resources` may be: a broadcast each 10 s, its way, and two caches (pve-domain 1.3). A guest
/// whose row says that it runs ran this long ago; later it may have stopped.
pub(crate) const ROW_AGE: SignedDuration = SignedDuration::from_secs(14);

/// How long a row may go on showing a process that is gone: PVE drops what a node has not said anew for 300 s (pve-domain
/// 1.4), and what is shown may itself be as old as any row.
pub(crate) const GHOST_MAX: SignedDuration = SignedDuration::from_secs(300 + 14);

/// How far back a task may have begun that ends now: `stopall` gives each guest 180 s, a shutdown may be given
/// much longer (pve-domain 3.6).
pub(crate) const TASKS_BEFORE: SignedDuration = SignedDuration::from_hours(1);

/// What seems to have happened to a guest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Suspicion {
    /// Its state is another one.
    Changed { from: GuestStatus },
    /// Its configuration lies on another node.
    Moved { from: NodeName },
    /// It was not there before.
    Appeared,
    /// It is not there any more.
    Vanished,
    /// It runs, as another process than before.
    Restarted,
    /// Its QEMU seems not to answer.
    Hung,
    /// It stopped while a transition held it, and is looked at again when that is over.
    Held { from: GuestStatus },
    /// It was stopped before its node left, which was told: whether PVE has tried to start it with the boot is looked at.
    StoppedBefore { from: GuestStatus },
}

/// What a round's row of a guest means against what is remembered of it.
pub(crate) fn suspect(before: Option<&Guest>, now: &Guest) -> Option<Suspicion> {
    let Some(before) = before else { return Some(Suspicion::Appeared) };
    // A guest that moved and changed is first one that moved: what it does there is the next round's question.
    if now.node != before.node {
        return Some(Suspicion::Moved { from: before.node.clone() });
    }
    match (manner(&before.status), manner(&now.status)) {
        (Some(was), Some(is)) if was != is => Some(Suspicion::Changed { from: before.status.clone() }),
        (Some(Manner::Alive | Manner::Paused), Some(_)) if restarted(before, now) => {
            Some(Suspicion::Restarted)
        }
        (_, _) => None,
    }
}

/// An uptime that goes back by less than this is two workers with caches of different age (pve-crash-evidence 3).
const UPTIME_JITTER: u64 = 30;

/// Whether a guest's process is a younger one than before, by its uptime.
pub(crate) fn restarted(before: &Guest, now: &Guest) -> bool {
    younger_than(before.uptime, now)
}

/// Whether a guest's process is younger than one that had lived for so many seconds.
pub(crate) fn younger_than(uptime: u64, now: &Guest) -> bool {
    now.status.has_process() == Some(true) && now.uptime.saturating_add(UPTIME_JITTER) < uptime
}

/// How a guest lives. QMP knows a dozen run states that a VM passes through on its way (`inmigrate`,
/// `save-vm`); for the question whether something happened to it they are all life.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Alive,
    Paused,
    Stopped,
}

fn manner(status: &GuestStatus) -> Option<Manner> {
    match status {
        GuestStatus::Paused => Some(Manner::Paused),
        GuestStatus::Stopped => Some(Manner::Stopped),
        GuestStatus::Running | GuestStatus::Other(_) | GuestStatus::Unknown => {
            status.has_process().map(|_| Manner::Alive)
        }
    }
}

/// Whether a guest lives in the same manner as before; false where either is not known.
pub(crate) fn same_manner(a: &GuestStatus, b: &GuestStatus) -> bool {
    manner(a).is_some() && manner(a) == manner(b)
}

/// Why a guest that has no process any more has none.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Stopped {
    /// It runs: the statistics were old, or it was only restarted.
    RunsAgain,
    /// It is not on this node any more: moved or destroyed, which the next round tells.
    NotHere,
    /// A template runs never, whatever its row said.
    Template,
    /// A task of PVE stopped it.
    Task(By),
    /// HA manages it.
    HighAvailability(Box<str>),
    /// A transition holds it.
    Locked(Box<str>),
    /// Its node was restarted meanwhile; when that was.
    NodeRestarted { booted_at: Timestamp },
    /// Nobody asked for it.
    Crashed,
    /// Its node could not be asked.
    NotAsked(Box<str>),
}

/// The verdict on a stop. `last_seen` is when the guest was last seen with a process, `down_at` when it was first seen
/// without one, and `row_stands` whether its row has said long enough that it is here and stopped to be believed without
/// its node's own list: one that cannot be read must not hide a stop for ever.
///
/// The order is that of pve-domain 3.6; a task outranks HA, since HA's own stops are tasks too and name who asked.
pub(crate) fn why_stopped(
    id: GuestId,
    guest: &Guest,
    last_seen: Timestamp,
    evidence: &GuestEvidence,
    down_at: Timestamp,
    row_stands: bool,
) -> Stopped {
    if guest.template {
        return Stopped::Template;
    }
    let not_asked = || Stopped::NotAsked("it was not asked".into());
    let tasks = match &evidence.tasks {
        Seen::At { value: tasks, .. } => tasks,
        Seen::NotReached(blindness) => return Stopped::NotAsked(blindness.words.as_str().into()),
        Seen::NotAsked => return not_asked(),
    };
    let live = match &evidence.live {
        Seen::At { value: live, .. } => live.get(&id),
        Seen::NotReached(_) if row_stands => None,
        Seen::NotReached(blindness) => return Stopped::NotAsked(blindness.words.as_str().into()),
        Seen::NotAsked => return not_asked(),
    };
    match live {
        Some(live) if live.running => return Stopped::RunsAgain,
        None if !row_stands => return Stopped::NotHere,
        Some(_) | None => {}
    }
    if let Some(booted_at) = evidence.booted_at.value().copied().filter(|booted_at| *booted_at > last_seen) {
        return Stopped::NodeRestarted { booted_at };
    }
    if let Some(task) = cause(tasks, id, last_seen, down_at, stops_of(id.kind)) {
        return Stopped::Task(task);
    }
    if let Some(lock) = live.and_then(|live| live.lock.as_ref()).or(guest.lock.as_ref()) {
        // A backup in stop mode has no task of its own for a container (pve-domain 3.2); without the lock it is the
        // backup of another guest.
        let container = id.kind == GuestKind::Lxc;
        let backup = (container && &**lock == "backup")
            .then(|| cause(tasks, id, last_seen, down_at, backs_up))
            .flatten();
        return backup.map_or_else(|| Stopped::Locked(lock.clone()), Stopped::Task);
    }
    match guest.ha.as_deref() {
        Some(state) if state != "ignored" => Stopped::HighAvailability(state.into()),
        Some(_) | None => match &evidence.booted_at {
            Seen::At { .. } => Stopped::Crashed,
            // It may have ended with its node.
            Seen::NotReached(blindness) => Stopped::NotAsked(blindness.words.as_str().into()),
            Seen::NotAsked => Stopped::NotAsked("when its node booted is not known".into()),
        },
    }
}

/// Why a guest that ran is another process: what stopped it in between, or else what started it.
pub(crate) fn why_restarted(
    id: GuestId,
    guest: &Guest,
    last_seen: Timestamp,
    tasks: Option<&[Task]>,
    now: Timestamp,
) -> Why {
    let Some(tasks) = tasks else { return Why::NotAsked("its node's tasks could not be asked".into()) };
    // A stop that a start has undone is just what is looked for here.
    let stopped = tasks.iter().filter(|task| !matches!(&*task.kind, "qmstart" | "vzstart")).cloned();
    let stopped = cause(&stopped.collect::<Vec<_>>(), id, last_seen, now, stops);
    let started = || cause(tasks, id, last_seen, now, starts);
    let managed = guest.ha.as_deref().filter(|state| *state != "ignored");
    match (stopped, managed) {
        (Some(by), _) => Why::Task(by),
        // HA's own start is root's task, as is everything that PVE does by itself.
        (None, Some(state)) => Why::HighAvailability { state: state.into() },
        // Who starts a guest has not stopped it.
        (None, None) => match started() {
            Some(by) if matches!(&*by.task, "qmstart" | "vzstart") => Why::StartedBy(by),
            Some(by) => Why::Task(by),
            None => Why::NoTask,
        },
    }
}

/// How long HA may take to bring a guest back: its loop is 10 s, a retry and a relocation included (pve-domain 3.5).
pub(crate) const HA_PATIENCE: SignedDuration = SignedDuration::from_secs(90);

/// The latest task that can have caused what happened to `id` between `last_seen` and `now`.
pub(crate) fn cause(
    tasks: &[Task],
    id: GuestId,
    last_seen: Timestamp,
    now: Timestamp,
    class: fn(&str, Scope) -> bool,
) -> Option<By> {
    let vmid = id.vmid.to_string();
    let scope = |task: &Task| match &*task.id {
        "" => Some(Scope::Node),
        id if id == vmid => Some(Scope::Guest),
        _ => None,
    };
    tasks
        .iter()
        .filter(|task| scope(task).is_some_and(|scope| class(&task.kind, scope)))
        .filter(|task| task.started_at <= now + CLOCK_SKEW)
        .filter(|task| task.ended_at.is_none_or(|ended| ended >= last_seen - CLOCK_SKEW))
        .filter(|task| !undone(task, tasks, &vmid))
        // What was asked of HA names who asked; what HA then does is root's (pve-domain 3.5). So does a job whose own tasks
        // are root's; they begin in the same second, of which PVE's lists tell no parts and no order.
        .max_by_key(|task| (task.kind.starts_with("ha"), task.started_at.as_second(), is_job(&task.kind)))
        .map(|task| By { user: task.user.clone(), task: task.kind.clone(), upid: task.upid.clone() })
}

/// Tasks that begin others for each guest that they are about.
fn is_job(kind: &str) -> bool {
    matches!(kind, "vzdump" | "startall" | "stopall" | "suspendall" | "migrateall")
        || kind.starts_with("bulk-")
}

/// Whether the guest was started again after a task had ended: then it is not what stopped it in the end. A start that
/// failed, or has not ended, undoes nothing.
fn undone(task: &Task, tasks: &[Task], vmid: &str) -> bool {
    let Some(ended) = task.ended_at else { return false };
    stops(&task.kind, Scope::Guest)
        && tasks.iter().any(|later| {
            &*later.id == vmid
                && matches!(&*later.kind, "qmstart" | "vzstart")
                && later.started_at > ended
                && later
                    .status
                    .as_deref()
                    .is_some_and(|status| status == "OK" || status.starts_with("WARNINGS"))
        })
}

/// Whether a guest was started, and that worked, after a time.
pub(crate) fn started_after(tasks: &[Task], id: GuestId, after: Timestamp) -> bool {
    let vmid = id.vmid.to_string();
    tasks.iter().any(|task| {
        let worked =
            task.status.as_deref().is_some_and(|status| status == "OK" || status.starts_with("WARNINGS"));
        *task.id == *vmid && matches!(&*task.kind, "qmstart" | "vzstart") && worked && task.started_at > after
    })
}

/// What a task is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// One guest.
    Guest,
    /// Its node, and with it any guest there.
    Node,
}

/// Tasks that end a guest's process on its node (pve-domain 3.2), also those that start it again afterwards.
pub(crate) fn stops(kind: &str, scope: Scope) -> bool {
    match scope {
        Scope::Guest => matches!(
            kind,
            "qmstop"
                | "qmshutdown"
                | "qmreboot"
                | "qmsuspend"
                | "qmigrate"
                | "qmrollback"
                | "qmrestore"
                | "qmdestroy"
                | "vzstop"
                | "vzshutdown"
                | "vzreboot"
                | "vzsuspend"
                | "vzmigrate"
                | "vzrollback"
                | "vzrestore"
                | "vzdestroy"
                | "hastop"
                | "hashutdown"
                | "hamigrate"
                | "harelocate"
                | "vzdump"
        ),
        Scope::Node => matches!(
            kind,
            "stopall" | "suspendall" | "migrateall" | "bulk-shutdown" | "bulk-suspend" | "bulk-migrate"
        ),
    }
}

/// A backup stops a container by itself; a machine it shuts down by a task of its own (pve-domain 3.2).
fn stops_of(kind: GuestKind) -> fn(&str, Scope) -> bool {
    match kind {
        GuestKind::Qemu => |kind, scope| stops(kind, scope) && kind != "vzdump",
        GuestKind::Lxc => stops,
    }
}

/// Whether what held a guest may be over later without its being stopped by anybody: then it is looked at again. One that
/// is suspended to disk is stopped because somebody wanted it to be.
pub(crate) fn holds(verdict: &Stopped) -> bool {
    match verdict {
        Stopped::Locked(lock) => &**lock != "suspended",
        Stopped::Task(by) => &*by.task == "vzdump",
        Stopped::RunsAgain
        | Stopped::NotHere
        | Stopped::Template
        | Stopped::HighAvailability(_)
        | Stopped::NodeRestarted { .. }
        | Stopped::Crashed
        | Stopped::NotAsked(_) => false,
    }
}

/// Backups. One of several guests has no id (pve-domain 3.2).
fn backs_up(kind: &str, _: Scope) -> bool {
    kind == "vzdump"
}

/// Tasks that give a guest a process, or let it run on.
pub(crate) fn starts(kind: &str, scope: Scope) -> bool {
    match scope {
        Scope::Guest => matches!(
            kind,
            "qmstart"
                | "qmresume"
                | "qmreboot"
                | "qmrollback"
                | "vzstart"
                | "vzresume"
                | "vzreboot"
                | "vzrollback"
                | "hastart"
                | "vzdump"
        ),
        Scope::Node => matches!(kind, "startall" | "bulk-start" | "vzdump"),
    }
}

/// Tasks that let a guest stand still.
pub(crate) fn pauses(kind: &str, scope: Scope) -> bool {
    match scope {
        Scope::Guest => matches!(kind, "qmpause" | "qmsuspend" | "vzsuspend" | "vzdump" | "qmsnapshot"),
        Scope::Node => matches!(kind, "suspendall" | "bulk-suspend" | "vzdump"),
    }
}

/// Tasks that move a guest to another node.
pub(crate) fn moves(kind: &str, scope: Scope) -> bool {
    match scope {
        Scope::Guest => matches!(kind, "qmigrate" | "vzmigrate" | "hamigrate" | "harelocate"),
        Scope::Node => matches!(kind, "migrateall" | "bulk-migrate"),
    }
}

/// Tasks that make a guest.
pub(crate) fn creates(kind: &str, scope: Scope) -> bool {
    scope == Scope::Guest
        && matches!(kind, "qmcreate" | "qmclone" | "qmrestore" | "vzcreate" | "vzclone" | "vzrestore")
}

/// Tasks that destroy a guest.
pub(crate) fn destroys(kind: &str, scope: Scope) -> bool {
    scope == Scope::Guest && matches!(kind, "qmdestroy" | "vzdestroy")
}

/// Which tasks can have brought a guest into a state.
pub(crate) fn causes_of(to: &GuestStatus) -> fn(&str, Scope) -> bool {
    match to {
        GuestStatus::Stopped => stops,
        GuestStatus::Paused => pauses,
        GuestStatus::Running | GuestStatus::Other(_) | GuestStatus::Unknown => starts,
    }
}

/// Whether the live list still holds a guest; `None` where it could not be asked.
pub(crate) fn still_there(live: &Seen<BTreeMap<GuestId, Live>>, id: GuestId) -> Option<bool> {
    live.value().map(|live| live.contains_key(&id))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::observe::{Blindness, Cause};

    pub(crate) fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    pub(crate) fn task(kind: &str, id: &str, started: i64, ended: Option<i64>, status: &str) -> Task {
        Task {
            upid: format!("UPID:pve1:{kind}:{id}").into(),
            kind: kind.into(),
            id: id.into(),
            user: "alice@pve".into(),
            started_at: at(started),
            ended_at: ended.map(at),
            status: ended.map(|_| status.into()),
        }
    }

    fn root(task: Task) -> Task {
        Task { user: "root@pam".into(), ..task }
    }

    /// VM 101, which is down.
    pub(crate) fn vm() -> Guest {
        Guest {
            name: Some("web01".into()),
            node: "pve1".parse().unwrap(),
            status: GuestStatus::Stopped,
            uptime: 0,
            io: None,
            template: false,
            lock: None,
            ha: None,
            tags: Vec::new(),
            pool: None,
        }
    }

    fn seen<T>(value: T) -> Seen<T> {
        Seen::At { value, asked_at: at(1000) }
    }

    fn live(running: bool, lock: Option<&str>) -> Seen<BTreeMap<GuestId, Live>> {
        let id = "qemu/101".parse().unwrap();
        seen(BTreeMap::from([(
            id,
            Live { running, pid: Some(4711), uptime: 60, lock: lock.map(Into::into) },
        )]))
    }

    /// Its name, the row of resources, the node's live list, its tasks, the verdict.
    type Row = (&'static str, Guest, Seen<BTreeMap<GuestId, Live>>, Seen<Vec<Task>>, &'static str);

    /// The guest was last seen running at second 990; it is second 1002.
    #[test]
    fn why_a_guest_stopped() {
        let stopped = || live(false, None);
        let ha = |state: &str| Guest { ha: Some(state.into()), ..vm() };
        let hidden = || Blindness { cause: Cause::Unreachable, words: "connection refused".into() };
        let none = Vec::new;
        #[rustfmt::skip]
        let table: Vec<Row> = vec![
            ("no task", vm(), stopped(), seen(none()), "crashed"),
            ("stopped by an operator", vm(), stopped(), seen(vec![task("qmstop", "101", 995, Some(996), "OK")]), "alice@pve (qmstop)"),
            ("a shutdown that began minutes ago", vm(), stopped(), seen(vec![task("qmshutdown", "101", 800, Some(999), "OK")]), "alice@pve (qmshutdown)"),
            ("a shutdown that runs", vm(), stopped(), seen(vec![task("qmshutdown", "101", 960, None, "")]), "alice@pve (qmshutdown)"),
            ("a failed shutdown may still complete", vm(), stopped(), seen(vec![task("qmshutdown", "101", 960, Some(1000), "got timeout")]), "alice@pve (qmshutdown)"),
            ("a stop that ended long before", vm(), stopped(), seen(vec![task("qmstop", "101", 700, Some(701), "OK")]), "crashed"),
            ("a stop that ended within the clocks' skew", vm(), stopped(), seen(vec![task("qmstop", "101", 985, Some(986), "OK")]), "alice@pve (qmstop)"),
            ("a stop of another guest", vm(), stopped(), seen(vec![task("qmstop", "1010", 995, Some(996), "OK")]), "crashed"),
            ("a stop that came after it was down", vm(), stopped(), seen(vec![task("qmstop", "101", 1008, Some(1009), "OK")]), "crashed"),
            ("a start is no stop", vm(), stopped(), seen(vec![task("qmstart", "101", 991, Some(992), "OK")]), "crashed"),
            ("the node stops all its guests", vm(), stopped(), seen(vec![task("stopall", "", 991, None, "")]), "alice@pve (stopall)"),
            ("the backup of a machine does not stop it", vm(), live(false, Some("backup")), seen(vec![task("vzdump", "", 900, None, "")]), "locked (backup)"),
            ("a backup of other guests", vm(), stopped(), seen(vec![task("vzdump", "", 900, None, "")]), "crashed"),
            ("stopped, started again, then dead", vm(), stopped(), seen(vec![task("qmstop", "101", 988, Some(989), "OK"), task("qmstart", "101", 991, Some(992), "OK")]), "crashed"),
            ("stopped, and a start under way", vm(), stopped(), seen(vec![task("qmstop", "101", 988, Some(989), "OK"), task("qmstart", "101", 1001, None, "")]), "alice@pve (qmstop)"),
            ("stopped, and a start that failed", vm(), stopped(), seen(vec![task("qmstop", "101", 988, Some(989), "OK"), task("qmstart", "101", 991, Some(992), "VM is locked (backup)")]), "alice@pve (qmstop)"),
            ("a service of the same number", vm(), stopped(), seen(vec![task("srvstop", "101", 995, Some(996), "OK")]), "crashed"),
            ("the later of two tasks", vm(), stopped(), seen(vec![task("qmshutdown", "101", 980, Some(995), "got timeout"), task("qmstop", "101", 996, Some(997), "OK")]), "alice@pve (qmstop)"),
            ("it runs after all", vm(), live(true, None), seen(none()), "runs again"),
            ("it is on another node", vm(), seen(BTreeMap::new()), seen(none()), "not here"),
            ("locked", vm(), live(false, Some("suspended")), seen(none()), "locked (suspended)"),
            ("managed by HA", ha("started"), stopped(), seen(none()), "HA (started)"),
            ("stopped by an operator through HA", ha("request_stop"), stopped(), seen(vec![task("hastop", "101", 990, Some(991), "OK")]), "alice@pve (hastop)"),
            ("HA does it for an operator", ha("stopped"), stopped(), seen(vec![task("hastop", "101", 988, Some(990), "OK"), root(task("qmstop", "101", 996, Some(997), "OK"))]), "alice@pve (hastop)"),
            ("ignored by HA", ha("ignored"), stopped(), seen(none()), "crashed"),
            ("a template", Guest { template: true, ..vm() }, stopped(), seen(none()), "template"),
            ("the node does not answer", vm(), Seen::NotReached(hidden()), seen(none()), "not asked: connection refused"),
            ("the tasks are hidden", vm(), stopped(), Seen::NotReached(hidden()), "not asked: connection refused"),
        ];
        for (row, guest, live, tasks, expected) in table {
            let evidence = GuestEvidence {
                live,
                tasks,
                booted_at: seen(at(-500_000)),
                journal: Seen::NotAsked,
                current: BTreeMap::new(),
                configs: BTreeMap::new(),
            };
            let verdict =
                why_stopped("qemu/101".parse().unwrap(), &guest, at(990), &evidence, at(1002), false);
            let words = match verdict {
                Stopped::RunsAgain => "runs again".into(),
                Stopped::NotHere => "not here".into(),
                Stopped::Template => "template".into(),
                Stopped::Task(by) => by.to_string(),
                Stopped::HighAvailability(state) => format!("HA ({state})"),
                Stopped::Locked(lock) => format!("locked ({lock})"),
                Stopped::NodeRestarted { .. } => "its node was restarted".into(),
                Stopped::Crashed => "crashed".into(),
                Stopped::NotAsked(words) => format!("not asked: {words}"),
            };
            assert_eq!(words, expected, "{row}");
        }
    }

    #[test]
    fn a_row_that_stands_is_believed_without_the_node_s_own_list() {
        let hidden = || Blindness { cause: Cause::RightsLost, words: "403".into() };
        let stop = task("qmstop", "101", 995, Some(996), "OK");
        let locked = || Guest { lock: Some("suspended".into()), ..vm() };
        type Row = (&'static str, Guest, Seen<BTreeMap<GuestId, Live>>, Seen<Vec<Task>>, Stopped);
        #[rustfmt::skip]
        let table: Vec<Row> = vec![
            ("the list is refused", vm(), Seen::NotReached(hidden()), seen(Vec::new()), Stopped::Crashed),
            ("the list is empty", vm(), seen(BTreeMap::new()), seen(Vec::new()), Stopped::Crashed),
            ("a task says why all the same", vm(), Seen::NotReached(hidden()), seen(vec![stop.clone()]), Stopped::Task(By { user: stop.user.clone(), task: stop.kind.clone(), upid: stop.upid.clone() })),
            ("and so does the row's lock", locked(), Seen::NotReached(hidden()), seen(Vec::new()), Stopped::Locked("suspended".into())),
            ("the list says that it runs", vm(), live(true, None), seen(Vec::new()), Stopped::RunsAgain),
            ("the tasks are hidden as well", vm(), Seen::NotReached(hidden()), Seen::NotReached(hidden()), Stopped::NotAsked("403".into())),
        ];
        for (row, guest, live, tasks, expected) in table {
            let booted_at = seen(at(-500_000));
            let evidence = GuestEvidence {
                live,
                tasks,
                booted_at,
                journal: Seen::NotAsked,
                current: BTreeMap::new(),
                configs: BTreeMap::new(),
            };
            let verdict =
                why_stopped("qemu/101".parse().unwrap(), &guest, at(990), &evidence, at(1002), true);
            assert_eq!(verdict, expected, "{row}");
        }
    }

    #[test]
    fn what_a_row_means() {
        let with = |status: GuestStatus, node: &str| Guest { status, node: node.parse().unwrap(), ..vm() };
        use GuestStatus::{Paused, Running, Stopped, Unknown};
        #[rustfmt::skip]
        let table = [
            ("nothing new",                     Some(with(Running, "pve1")), with(Running, "pve1"), None),
            ("stopped",                         Some(with(Running, "pve1")), with(Stopped, "pve1"), Some(Suspicion::Changed { from: Running })),
            ("started",                         Some(with(Stopped, "pve1")), with(Running, "pve1"), Some(Suspicion::Changed { from: Stopped })),
            ("paused",                          Some(with(Running, "pve1")), with(Paused, "pve1"),  Some(Suspicion::Changed { from: Running })),
            ("on its way",                      Some(with(Running, "pve1")), with(GuestStatus::Other("inmigrate".into()), "pve1"), None),
            ("a stopped one in a backup",       Some(with(Stopped, "pve1")), with(GuestStatus::Other("prelaunch".into()), "pve1"), None),
            ("moved and stopped",               Some(with(Running, "pve1")), with(Stopped, "pve2"), Some(Suspicion::Moved { from: "pve1".parse().unwrap() })),
            ("a ghost of 300 s says nothing",   Some(with(Running, "pve1")), with(Unknown, "pve1"), None),
            ("moved",                           Some(with(Running, "pve1")), with(Running, "pve2"), Some(Suspicion::Moved { from: "pve1".parse().unwrap() })),
            ("moved without statistics",        Some(with(Running, "pve1")), with(Unknown, "pve2"), Some(Suspicion::Moved { from: "pve1".parse().unwrap() })),
            ("new",                             None,                        with(Stopped, "pve1"), Some(Suspicion::Appeared)),
        ];
        for (row, before, now, expected) in table {
            assert_eq!(suspect(before.as_ref(), &now), expected, "{row}");
        }
    }
}
