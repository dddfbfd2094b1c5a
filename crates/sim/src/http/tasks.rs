//! The lists of tasks: 25 of each node in the cluster's, all that its node kept in a node's own.
//!
//! The cluster's list of a node is what that node last said: of one that is dead or on the other side it stands
//! still, and what ran then runs for ever. A token never sees its own tasks there without `Sys.Audit` on `/`, for PVE
//! compares it with the user; in a node's own list it does.

use std::collections::BTreeMap;

use engine::observe::NodeName;
use jiff::Timestamp;

use super::access::Caller;
use super::views::row;
use crate::cluster::{Cluster, Node, SHOWN_MAX, Task};
use crate::json::{Json, Row};

/// Since when a node has not been heard of.
pub(super) type Unheard = BTreeMap<NodeName, Timestamp>;

/// Parameters of a call by name.
pub(super) trait Get<'g>: Fn(&str) -> Option<&'g str> {}
impl<'g, F: Fn(&str) -> Option<&'g str>> Get<'g> for F {}

/// `/cluster/tasks`: the newest of each node, also of dead ones.
pub(super) fn of_cluster<'a>(cluster: &'a Cluster, unheard: &Unheard, caller: &Caller) -> Json<'a> {
    let all = caller.may("Sys.Audit", "/");
    let mine = |task: &Task| all || (caller.by.token.is_none() && task.by.user == caller.by.user);
    let mut rows = Vec::new();
    for (name, node) in cluster.nodes() {
        let heard_until = unheard.get(name).copied().unwrap_or(Timestamp::MAX);
        let heard = node.tasks.newest_first().filter(|task| task.started_at <= heard_until);
        for task in heard.take(SHOWN_MAX).filter(|task| mine(task)) {
            let ended = task.ended.as_ref().filter(|(at, _)| *at <= heard_until);
            let mut row = common(name, task, ended);
            match ended {
                Some(_) => row.extend(row! { "saved" => "1" }),
                None => row.extend(row! { "pid" => task.pid }),
            }
            user_split(&mut row, task);
            rows.push(Json::Map(row));
        }
    }
    Json::Bag(rows)
}

/// The rows of a page of `/nodes/N/tasks`, and how many there are in all. Running ones come first.
pub(super) fn of_node<'a, 'g>(node: &'a Node, caller: &Caller, get: &impl Get<'g>) -> (Json<'a>, usize) {
    let number = |name: &str| get(name).and_then(|n| n.parse::<i64>().ok()).filter(|n| *n > 0);
    let source = get("source").unwrap_or("archive");
    let all = caller.audits(&node.spec.name);
    let statuses: Option<Vec<&str>> = get("statusfilter").map(|list| list.split([',', ';', ' ']).collect());
    let wanted = |task: &&Task| {
        let began = task.started_at.as_second();
        let status = task.ended.as_ref().map(|(_, status)| status.as_str());
        (match source {
            "active" => status.is_none(),
            "all" => true,
            _ => status.is_some(),
        }) && (all || task.by == caller.by)
            && get("vmid").is_none_or(|vmid| task.id == vmid)
            && get("typefilter").is_none_or(|kind| task.kind == kind)
            && get("userfilter")
                .is_none_or(|user| task.by.full().to_lowercase().contains(&user.to_lowercase()))
            && number("since").is_none_or(|since| began >= since)
            && number("until").is_none_or(|until| began <= until)
            && (get("errors") != Some("1") || status.is_some_and(|status| status != "OK"))
            && statuses
                .as_ref()
                .is_none_or(|kinds| status.is_some_and(|status| kinds.contains(&class(status))))
    };
    let mut found: Vec<&Task> = node.tasks.newest_first().filter(wanted).collect();
    found.sort_by_key(|task| task.ended.is_some());
    let page = |name, default| get(name).and_then(|n| n.parse().ok()).unwrap_or(default);
    let rows = found.iter().skip(page("start", 0)).take(page("limit", 50));
    let rows = rows.map(|task| of_node_row(&node.spec.name, task)).collect();
    (Json::List(rows), found.len())
}

/// PVE's classes of how a task ended.
fn class(status: &str) -> &'static str {
    match status {
        "OK" => "ok",
        "unexpected status" => "unknown",
        status if status.starts_with("WARNINGS:") => "warning",
        _ => "error",
    }
}

/// An ended task here splits user and token, a running one does not.
fn of_node_row<'a>(node: &'a NodeName, task: &'a Task) -> Json<'a> {
    let mut row = common(node, task, task.ended.as_ref());
    row.extend(row! { "pid" => task.pid, "pstart" => task.pstart });
    if task.ended.is_some() {
        user_split(&mut row, task);
    } else {
        row.extend(row! { "user" => task.by.full(), "status" => "RUNNING", "saved" => "0" });
    }
    Json::Map(row)
}

/// `/nodes/N/tasks/UPID/status`
pub(super) fn status<'a>(node: &'a NodeName, task: &'a Task) -> Json<'a> {
    let mut row = row! {
        "upid" => task.upid.as_str(), "node" => node.as_str(), "pid" => task.pid, "pstart" => task.pstart,
        "starttime" => task.started_at.as_second(), "type" => task.kind.as_str(), "id" => task.id.as_str(),
    };
    user_split(&mut row, task);
    match &task.ended {
        Some((_, status)) => row.extend(row! { "status" => "stopped", "exitstatus" => status.as_str() }),
        None => row.extend(row! { "status" => "running" }),
    }
    Json::Map(row)
}

fn common<'a>(node: &'a NodeName, task: &'a Task, ended: Option<&'a (Timestamp, String)>) -> Row<'a> {
    let mut row = row! {
        "upid" => task.upid.as_str(), "node" => node.as_str(), "starttime" => task.started_at.as_second(),
        "type" => task.kind.as_str(), "id" => task.id.as_str(),
    };
    if let Some((at, status)) = ended {
        row.extend(row! { "endtime" => at.as_second(), "status" => status.as_str() });
    }
    row
}

fn user_split<'a>(row: &mut Row<'a>, task: &'a Task) {
    row.extend(row! { "user" => task.by.user.as_str() });
    if let Some(token) = &task.by.token {
        row.extend(row! { "tokenid" => token.as_str() });
    }
}

/// `/nodes/N/tasks/UPID/log`
pub(super) fn log(task: &Task, start: usize, limit: usize) -> Json<'_> {
    let lines = task.log.iter().enumerate().skip(start).take(limit);
    let mut rows: Vec<Json> =
        lines.map(|(at, line)| Json::Map(row! { "n" => at as u64 + 1, "t" => line.as_str() })).collect();
    if rows.is_empty() {
        rows.push(Json::Map(row! { "n" => 1i64, "t" => "no content" }));
    }
    Json::List(rows)
}

/// One line of the cluster's log.
struct Line<'a> {
    at: i64,
    node: &'a Node,
    pid: u32,
    tag: &'static str,
    user: String,
    priority: i64,
    text: String,
}

/// `/cluster/log`: what starts and ends on all nodes, newest first. It has many more lines in a real cluster; these
/// are the ones that a list of 25 tasks makes one look for. What the other side of a cut does is not in it.
pub(super) fn cluster_log<'a>(cluster: &'a Cluster, unheard: &Unheard, max: usize) -> Json<'a> {
    let mut lines = Vec::new();
    for (name, node) in cluster.nodes() {
        let heard_until = unheard.get(name).map_or(i64::MAX, |at| at.as_second());
        let line = |at, pid, tag, user, text| Line { at, node, pid, tag, user, priority: 6, text };
        let boot = "starting cluster log".to_owned();
        lines.push(line(node.booted_at.as_second(), 1, "cluster", "root@pam".into(), boot));
        for task in node.tasks.newest_first() {
            let user = task.by.full();
            let tag = if user == "root@pam" { "pvesh" } else { "pvedaemon" };
            let text = format!("starting task {}", task.upid);
            lines.push(line(task.started_at.as_second(), task.pid, tag, user.clone(), text));
            if let Some((at, status)) = &task.ended {
                let text = format!("end task {} {status}", task.upid);
                let priority = if status == "OK" { 6 } else { 3 };
                lines.push(Line { priority, ..line(at.as_second(), task.pid, tag, user, text) });
            }
        }
        lines.retain(|line| line.node.number != node.number || line.at <= heard_until);
    }
    lines.sort_by_key(|line| std::cmp::Reverse(line.at));
    let rows = lines.into_iter().take(max).enumerate().map(|(at, line)| {
        let uid = at as u64 + 1;
        Json::Map(row! {
            "uid" => uid, "id" => format!("{uid}:{}", line.node.spec.name), "time" => line.at,
            "pri" => line.priority, "tag" => line.tag, "pid" => line.pid,
            "node" => line.node.spec.name.as_str(), "user" => line.user, "msg" => line.text,
        })
    });
    Json::List(rows.collect())
}
