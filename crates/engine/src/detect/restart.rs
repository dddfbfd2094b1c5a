//! Restarts: a guest that ended with its node, or was stopped before that left, and that PVE has had its time to start again.
//!
//! PVE's own `startall` goes first (pve-domain 9.27): nothing is said before it has ended and the node has settled.

use jiff::Timestamp;

use crate::decide::{CLOCK_SKEW, is_start, is_wanted, stopped_since, succeeded};
use crate::observe::{Guest, GuestConfig, GuestId, Task};
use crate::record::By;

/// What is to be said of such a guest that still has no process.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Left {
    /// PVE has not started its guests yet, or is still at it, or somebody starts this one.
    NotYet,
    /// It was started after the restart: at this time it ran, and what ended it since is another question.
    RanAt(Timestamp),
    /// Somebody stopped it, before the restart or since, or switched its node off in order, and no boot has overruled that.
    StoppedBy(By),
    /// It is to run. How a start of it ended that failed, in PVE's words.
    Wanted { failed: Option<Box<str>> },
    /// Nothing says that it is to run, or HA sees to it.
    NotWanted,
    /// Whether it is to run could not be read.
    NotRead,
}

/// The verdict. `last_seen` is when it was last seen with a process, which is before its node booted.
pub(crate) fn left(
    id: GuestId,
    guest: &Guest,
    config: &GuestConfig,
    tasks: &[Task],
    last_seen: Timestamp,
    booted_at: Timestamp,
) -> Left {
    let vmid = id.vmid.to_string();
    // Other work on it stands against starting it, not against telling.
    let starts_it = |task: &&Task| (*task.id == *vmid && is_start(&task.kind)) || is_start_of_all(&task.kind);
    if tasks.iter().filter(starts_it).any(|task| task.ended_at.is_none()) {
        return Left::NotYet;
    }
    // Each boot has its own, which tells besides that the list reaches back as far: who stopped it since is in it.
    let boots = |task: &Task| &*task.kind == "startall" && task.started_at >= booted_at - CLOCK_SKEW;
    if !tasks.iter().any(boots) {
        return Left::NotYet;
    }
    if let Some(by) = stopped_since(tasks, id, last_seen - CLOCK_SKEW) {
        return Left::StoppedBy(by);
    }
    let starts = || {
        let of_it = |task: &&Task| *task.id == *vmid && is_start(&task.kind) && task.started_at >= booted_at;
        tasks.iter().filter(of_it)
    };
    if let Some(ran_at) = starts().filter(|task| succeeded(task)).filter_map(|task| task.ended_at).max() {
        return Left::RanAt(ran_at);
    }
    let managed = guest.ha.as_deref().is_some_and(|state| state != "ignored");
    if managed || !is_wanted(config.onboot, &config.tags) {
        return Left::NotWanted;
    }
    let failed = starts().max_by_key(|task| task.started_at).and_then(|task| task.status.clone());
    Left::Wanted { failed }
}

fn is_start_of_all(kind: &str) -> bool {
    matches!(kind, "startall" | "bulk-start")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::guest::tests::{at, task, vm};

    fn config(onboot: bool, tags: &[&str]) -> GuestConfig {
        GuestConfig { onboot, tags: tags.iter().map(|tag| (*tag).into()).collect(), ..GuestConfig::default() }
    }

    /// Seen with a process at 990, its node booted at 1100; it is looked at some minutes later.
    #[test]
    fn what_a_restart_left() {
        let (boots, none) = (|| config(true, &[]), Vec::new);
        let root = |task: Task| Task { user: "root@pam".into(), ..task };
        let startall = || root(task("startall", "", 1110, Some(1120), "OK"));
        let failed = || root(task("qmstart", "101", 1112, Some(1113), "storage 'nfs' is not online"));
        let wanted = |failed: Option<&str>| Left::Wanted { failed: failed.map(Into::into) };
        let stopped = |task: Task| Left::StoppedBy(By { user: task.user, task: task.kind, upid: task.upid });
        type Row = (&'static str, Option<&'static str>, GuestConfig, Vec<Task>, Left);
        #[rustfmt::skip]
        let table: Vec<Row> = vec![
            ("PVE has not begun with its guests", None, boots(), none(), Left::NotYet),
            ("that was at another boot", None, boots(), vec![task("startall", "", 700, Some(720), "OK")], Left::NotYet),
            ("it starts with its node, and no task did", None, boots(), vec![startall()], wanted(None)),
            ("PVE could not start it", None, boots(), vec![startall(), failed()], wanted(Some("storage 'nfs' is not online"))),
            ("PVE tried twice", None, boots(), vec![startall(), failed(), task("qmstart", "101", 1150, Some(1151), "timeout")], wanted(Some("timeout"))),
            ("a start that failed before the restart", None, boots(), vec![startall(), task("qmstart", "101", 900, Some(901), "timeout")], wanted(None)),
            ("a start at the very instant", None, boots(), vec![startall(), task("qmstart", "101", 1100, Some(1101), "timeout")], wanted(Some("timeout"))),
            ("a start of another guest", None, boots(), vec![startall(), task("qmstart", "1101", 1112, Some(1113), "OK")], wanted(None)),
            ("its tag says so", None, config(false, &["web", "Jarvis-Restart"]), vec![startall()], wanted(None)),
            ("nothing says so", None, config(false, &["web"]), vec![startall()], Left::NotWanted),
            ("HA sees to it", Some("started"), boots(), vec![startall()], Left::NotWanted),
            ("HA ignores it", Some("ignored"), boots(), vec![startall()], wanted(None)),
            ("startall runs", None, boots(), vec![task("startall", "", 1110, None, "")], Left::NotYet),
            ("its start runs", None, boots(), vec![task("qmstart", "101", 1400, None, "")], Left::NotYet),
            ("another one's start runs", None, boots(), vec![startall(), task("qmstart", "102", 1400, None, "")], wanted(None)),
            ("an update of its node runs", None, boots(), vec![startall(), task("aptupdate", "", 1400, None, "")], wanted(None)),
            ("somebody stopped it before the restart", None, boots(), vec![startall(), task("qmstop", "101", 991, Some(993), "OK")], stopped(task("qmstop", "101", 991, Some(993), "OK"))),
            ("somebody stopped it long before: it ran again", None, boots(), vec![startall(), task("qmstop", "101", 900, Some(902), "OK")], wanted(None)),
            ("its node was switched off in order", None, boots(), vec![task("stopall", "", 995, Some(1005), "OK"), startall()], stopped(task("stopall", "", 995, Some(1005), "OK"))),
            ("the same, and PVE could not start it", None, boots(), vec![task("stopall", "", 995, Some(1005), "OK"), startall(), failed()], wanted(Some("storage 'nfs' is not online"))),
            ("the same, and somebody stopped it since", None, boots(), vec![task("stopall", "", 995, Some(1005), "OK"), startall(), failed(), task("qmstop", "101", 1200, Some(1201), "OK")], stopped(task("qmstop", "101", 1200, Some(1201), "OK"))),
            ("somebody stopped it since", None, boots(), vec![startall(), failed(), task("qmstop", "101", 1200, Some(1201), "OK")], stopped(task("qmstop", "101", 1200, Some(1201), "OK"))),
            ("it was started, and ended again", None, boots(), vec![startall(), task("qmstart", "101", 1112, Some(1114), "OK")], Left::RanAt(at(1114))),
            ("it was started with a warning, and ended again", None, boots(), vec![startall(), task("qmstart", "101", 1112, Some(1114), "WARNINGS: 1")], Left::RanAt(at(1114))),
            ("it was started, and somebody stopped it", None, boots(), vec![startall(), task("qmstart", "101", 1112, Some(1114), "OK"), task("qmstop", "101", 1200, Some(1201), "OK")], stopped(task("qmstop", "101", 1200, Some(1201), "OK"))),
            ("a backup of several runs", None, boots(), vec![startall(), task("vzdump", "", 1400, None, "")], wanted(None)),
            ("a backup that the restart cut off", None, boots(), vec![startall(), task("vzdump", "101", 980, Some(1100), "unexpected status")], wanted(None)),
        ];
        for (row, ha, config, tasks, expected) in table {
            let found = left(
                "qemu/101".parse().unwrap(),
                &Guest { ha: ha.map(Into::into), ..vm() },
                &config,
                &tasks,
                at(990),
                at(1100),
            );
            assert_eq!(found, expected, "{row}");
        }
    }
}
