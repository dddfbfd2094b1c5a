//! PVE's answers about single nodes and guests, as the engine knows them. PVE's quirks die here.

use std::collections::BTreeMap;

use engine::observe::{
    Blindness, Cause, Current, GuestConfig, GuestId, GuestKind, GuestStatus, Live, NodeName, Service, Task,
    View,
};
use pve::types::{self, ClusterStatus, HaState, LiveGuest, Rows};

use super::translate::node_name;

/// Lines of a journal that are handed on: the kernel writes a hundred when memory runs out.
const JOURNAL_LINES_MAX: usize = 500;
/// Longest line, in characters. What names a guest or a process stands at its beginning.
const JOURNAL_LINE_MAX: usize = 500;
/// What lines about the end of a guest hold (pve-crash-evidence 2). Where there are more lines than are kept, the others
/// go first.
const TELLING: [&str; 8] = [
    ".scope: ",
    "pve-container@",
    "qmeventd",
    "segfault",
    "Out of memory",
    "out of memory",
    "oom",
    "started with PID",
];

/// A node's live list. A row that cannot be read may be the very guest that was asked about, so it hides the list.
pub(super) fn live(kind: GuestKind, rows: Rows<LiveGuest>) -> Result<BTreeMap<GuestId, Live>, Blindness> {
    if let Some(row) = rows.unreadable.first() {
        let words = format!("row {} of the node's guests cannot be read: {}", row.index, row.why);
        return Err(Blindness { cause: Cause::Malformed, words });
    }
    let live = |row: LiveGuest| {
        let running = row.status.has_process();
        let lock = row.lock.map(|lock| lock.as_str().into());
        let live = Live { running, pid: row.pid, uptime: row.uptime.unwrap_or(0), lock };
        (GuestId { kind, vmid: row.vmid }, live)
    };
    Ok(rows.rows.into_iter().map(live).collect())
}

/// A node's tasks. One that cannot be read is left out with a warning: it is one of hundreds.
pub(super) fn tasks(rows: Rows<types::Task>) -> Vec<Task> {
    for row in &rows.unreadable {
        tracing::warn!(upid = row.subject.as_deref().unwrap_or("?"), why = %row.why, "a task cannot be read");
    }
    let task = |row: types::Task| Task {
        upid: row.upid.as_str().into(),
        kind: row.upid.kind().into(),
        id: row.upid.id().unwrap_or_default().into(),
        user: row.upid.authid().into(),
        started_at: row.upid.started_at(),
        ended_at: row.ended_at,
        status: row.exit.map(|exit| exit.to_string().into()),
    };
    rows.rows.into_iter().map(task).collect()
}

/// A node's services. One whose name PVE would never give is left out, with a warning; of one that cannot be read nothing
/// is known, and the others are.
pub(super) fn services(node: &NodeName, rows: Rows<types::Service>) -> Result<Vec<Service>, Blindness> {
    if rows.rows.is_empty() {
        // PVE's list is fixed and never empty, so there is something wrong with this one.
        let why = rows.unreadable.first().map_or("it holds none", |row| &*row.why);
        let words = format!("the services of {node} cannot be read: {why}");
        return Err(Blindness { cause: Cause::Malformed, words });
    }
    for row in &rows.unreadable {
        tracing::warn!(%node, service = row.subject.as_deref().unwrap_or("?"), why = %row.why, "a service cannot be read");
    }
    let service = |row: types::Service| {
        let Ok(name) = row.service.parse() else {
            tracing::warn!(%node, service = %row.service, "a service whose name PVE would never give is left out");
            return None;
        };
        let enabled = row.unit_state.as_deref() == Some("enabled");
        Some(Service { name, enabled, active: row.active_state.or(row.state)? })
    };
    Ok(rows.rows.into_iter().filter_map(service).collect())
}

/// What a node's journal says, oldest first and no more than is looked through.
pub(super) fn journal(node: &NodeName, journal: Option<types::Journal>) -> Result<Vec<Box<str>>, Blindness> {
    let Some(types::Journal { lines, .. }) = journal else {
        let words = format!("the journal of {node} gave nothing at all, which is no proof of silence");
        return Err(Blindness { cause: Cause::Malformed, words });
    };
    let lines: Vec<Box<str>> = lines.into_iter().map(|line| bounded(&line)).collect();
    if lines.len() <= JOURNAL_LINES_MAX {
        return Ok(lines);
    }
    tracing::debug!(%node, lines = lines.len(), "a journal with more lines than are kept");
    let telling = |line: &str| TELLING.iter().any(|words| line.contains(words));
    let mut kept: Vec<Box<str>> = lines.into_iter().filter(|line| telling(line)).collect();
    // What was looked for happened just before the look.
    kept.drain(..kept.len().saturating_sub(JOURNAL_LINES_MAX));
    Ok(kept)
}

fn bounded(line: &str) -> Box<str> {
    match line.char_indices().nth(JOURNAL_LINE_MAX) {
        Some((end, _)) => line[..end].into(),
        None => line.into(),
    }
}

/// What QEMU says of itself. One that does not answer leaves out its version (pve-domain 1.4).
pub(super) fn current(answer: &LiveGuest) -> Current {
    let status = answer.qmpstatus.as_ref().unwrap_or(&answer.status);
    Current {
        status: GuestStatus::from_pve(status.as_str()),
        monitor: answer.running_qemu.is_some(),
        pid: answer.pid,
        uptime: answer.uptime.unwrap_or(0),
        lock: answer.lock.as_ref().map(|lock| lock.as_str().into()),
        ha: answer.ha.as_ref().filter(|ha| ha.managed).map(|ha| {
            // Managed, and nothing said of how: HA has not come to it yet.
            ha.state.as_ref().map_or("managed", HaState::as_str).into()
        }),
    }
}

/// What of a guest's configuration matters for doing something to it.
pub(super) fn config(answer: &pve::types::GuestConfig) -> GuestConfig {
    GuestConfig {
        onboot: answer.onboot(),
        order: answer.start_order(),
        up: answer.start_up(),
        template: answer.template(),
        lock: answer.lock().map(|lock| lock.as_str().into()),
        tags: answer.tags().map(Into::into).collect(),
    }
}

/// How an endpoint sees a node.
pub(super) fn view(status: &ClusterStatus, node: &NodeName) -> Result<View, Blindness> {
    let Some(quorate) = status.quorate() else {
        let words = "the answer does not say whether the cluster has quorum".into();
        return Err(Blindness { cause: Cause::NoQuorumSeen, words });
    };
    let member = status.nodes.iter().find(|member| member.name.as_str() == node.as_str());
    Ok(View {
        from: status.local().and_then(|member| node_name(&member.name)),
        quorate,
        online: member.and_then(|member| member.online),
    })
}

/// HA's word for a node. Its agent's mode tells of a planned absence, which the manager learns of later or not at all.
pub(super) fn ha_word(status: &types::HaManagerStatus, node: &NodeName) -> Option<Box<str>> {
    let node = pve::NodeName::new(node.as_str()).ok()?;
    let mode = status.lrm_status.get(&node).and_then(|agent| agent.mode.as_deref());
    let planned = mode.filter(|mode| ["maintenance", "restart", "shutdown"].contains(mode));
    let word = status.manager_status.node_status.get(&node).map(types::HaNodeState::as_str);
    planned.or(word).map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node() -> NodeName {
        "pve2".parse().unwrap()
    }

    #[test]
    fn has_words_for_a_node() {
        let status = |state: &str, mode: &str| -> types::HaManagerStatus {
            serde_json::from_value(json!({
                "manager_status": { "master_node": "pve1", "node_status": { "pve1": "online", "pve2": state } },
                "lrm_status": { "pve2": { "mode": mode, "state": "active", "timestamp": 1_795_453_930 } },
                "quorum": { "node": "pve1", "quorate": "1" },
            }))
            .unwrap()
        };
        #[rustfmt::skip]
        let table = [
            ("well",                                  status("online", "active"), Some("online")),
            ("gone without a word",                   status("unknown", "active"), Some("unknown")),
            ("being fenced",                          status("fence", "active"), Some("fence")),
            ("removed",                               status("gone", "active"), Some("gone")),
            ("maintenance",                           status("maintenance", "maintenance"), Some("maintenance")),
            ("maintenance, the manager knows first",  status("maintenance", "active"), Some("maintenance")),
            ("shut down: its agent said so",          status("unknown", "shutdown"), Some("shutdown")),
            ("restarting: its agent said so",         status("online", "restart"), Some("restart")),
            ("a mode of a later version",             status("unknown", "sleeping"), Some("unknown")),
            ("a state of a later version",            status("asleep", "active"), Some("asleep")),
        ];
        for (name, status, expected) in table {
            assert_eq!(ha_word(&status, &node()).as_deref(), expected, "{name}");
        }
        let never_used = types::HaManagerStatus::default();
        assert_eq!(ha_word(&never_used, &node()), None, "HA knows nothing of it");
    }

    #[test]
    fn how_an_endpoint_sees_a_node() {
        let status = |quorate: i32, rows: serde_json::Value| -> ClusterStatus {
            let mut list = vec![json!({"type":"cluster","name":"lab","nodes":2,"quorate":quorate})];
            list.extend(rows.as_array().unwrap().iter().cloned());
            serde_json::from_str(&serde_json::to_string(&list).unwrap()).unwrap()
        };
        let local = |name: &str| json!({"type":"node","name":name,"online":1,"local":1});
        let other = |online: i32| json!({"type":"node","name":"pve2","online":online,"local":0});
        let sees =
            |from: &str, quorate, online| Some(View { from: Some(from.parse().unwrap()), quorate, online });
        #[rustfmt::skip]
        let table = [
            ("it counts it",            status(1, json!([local("pve1"), other(1)])), sees("pve1", true, Some(true))),
            ("it misses it",            status(1, json!([local("pve1"), other(0)])), sees("pve1", true, Some(false))),
            ("a minority misses it",    status(0, json!([local("pve1"), other(0)])), sees("pve1", false, Some(false))),
            ("it does not know it",     status(1, json!([local("pve1")])), sees("pve1", true, None)),
            ("it is the node itself",   status(0, json!([local("pve2")])), sees("pve2", false, Some(true))),
        ];
        for (name, status, expected) in table {
            assert_eq!(view(&status, &node()).ok(), expected, "{name}");
        }
        let rows = r#"[{"type":"node","name":"pve1","local":1},{"type":"node","name":"pve2"}]"#;
        let unsaid: ClusterStatus = serde_json::from_str(rows).unwrap();
        assert_eq!(view(&unsaid, &node()).unwrap_err().cause, Cause::NoQuorumSeen);
    }

    #[test]
    fn services_as_systemd_sees_them() {
        let rows = |json: serde_json::Value| -> Rows<types::Service> {
            serde_json::from_str(&json.to_string()).unwrap()
        };
        let list = rows(json!([
            {"service":"pvestatd","state":"running","active-state":"active","unit-state":"enabled"},
            {"service":"pve-firewall","state":"failed","active-state":"failed","unit-state":"enabled"},
            {"service":"syslog","state":"dead","active-state":"inactive","unit-state":"not-found"},
            {"service":"old","state":"dead","unit-state":"enabled"},
            {"service":"mute","unit-state":"enabled"},
            {"service":"","state":"running"},
            7,
        ]));
        let told: Vec<String> = services(&node(), list)
            .unwrap()
            .iter()
            .map(|service| format!("{} {} {}", service.name, service.enabled, service.active))
            .collect();
        assert_eq!(
            told,
            ["pvestatd true active", "pve-firewall true failed", "syslog false inactive", "old true dead"],
            "one of which nothing is said is left out"
        );
        for (name, list) in [("nothing", json!([])), ("nothing that can be read", json!([1, 2]))] {
            assert_eq!(services(&node(), rows(list)).unwrap_err().cause, Cause::Malformed, "{name}");
        }
    }

    #[test]
    fn what_is_kept_of_a_journal() {
        let read = |lines: Vec<String>| {
            let read: types::Journal = serde_json::from_str(&serde_json::to_string(&lines).unwrap()).unwrap();
            journal(&node(), Some(read)).unwrap()
        };
        let noise = |count: usize| (0..count).map(|n| format!("Nov 23 22:17:07 pve2 sshd[{n}]: noise"));
        let end = "Nov 23 22:17:07 pve2 systemd[1]: 100.scope: Deactivated successfully.".to_owned();
        assert_eq!(read(vec![]), Vec::<Box<str>>::new(), "silence");
        assert_eq!(read(noise(500).collect()).len(), 500, "as many as are kept");
        let flood: Vec<String> = noise(2_000).chain([end.clone()]).chain(noise(2_000)).collect();
        assert_eq!(read(flood), [end.clone().into()], "a flood does not drown what tells");
        let many: Vec<String> =
            (0..600).map(|n| format!("pve2 systemd[1]: {n}.scope: Deactivated")).collect();
        let kept = read(many);
        assert_eq!((kept.len(), &*kept[0]), (500, "pve2 systemd[1]: 100.scope: Deactivated"), "the newest");
        let long = read(vec![format!("{end}{}", "\u{fc}".repeat(2_000))]);
        assert_eq!(long[0].chars().count(), JOURNAL_LINE_MAX);
        let nothing = journal(&node(), None).unwrap_err();
        assert_eq!(nothing.cause, Cause::Malformed, "nothing at all is no silence");
    }

    #[test]
    fn what_qemu_says_of_itself() {
        let read = |json: serde_json::Value| -> LiveGuest { serde_json::from_value(json).unwrap() };
        let qemu = "10.0.13";
        #[rustfmt::skip]
        let table = [
            ("it runs",             json!({"vmid":100,"status":"running","qmpstatus":"running","running-qemu":qemu}), "running", true),
            ("it is paused",        json!({"vmid":100,"status":"running","qmpstatus":"paused","running-qemu":qemu}), "paused", true),
            ("its disk failed",     json!({"vmid":100,"status":"running","qmpstatus":"io-error","running-qemu":qemu}), "io-error", true),
            ("it hangs",            json!({"vmid":100,"status":"running","qmpstatus":"running"}), "running", false),
            ("it is gone",          json!({"vmid":100,"status":"stopped","qmpstatus":"stopped"}), "stopped", false),
            ("no word of QEMU's",   json!({"vmid":100,"status":"running"}), "running", false),
        ];
        for (name, answer, status, monitor) in table {
            let told = current(&read(answer));
            assert_eq!((told.status.as_str(), told.monitor), (status, monitor), "{name}");
        }
        let of_ha =
            |ha: serde_json::Value| json!({"vmid":100,"status":"stopped","qmpstatus":"stopped","ha":ha});
        #[rustfmt::skip]
        let table = [
            ("HA has it",               of_ha(json!({"managed":1,"state":"started","group":""})), Some("started")),
            ("HA has just taken it",    of_ha(json!({"managed":1})), Some("managed")),
            ("a state of a later PVE",  of_ha(json!({"managed":1,"state":"napping"})), Some("napping")),
            ("HA ignores it",           of_ha(json!({"managed":0})), None),
            ("a state of before",       of_ha(json!({"managed":0,"state":"started"})), None),
            ("nothing is said of HA",   json!({"vmid":100,"status":"stopped"}), None),
        ];
        for (name, answer, expected) in table {
            assert_eq!(current(&read(answer)).ha.as_deref(), expected, "{name}");
        }
    }
}
