//! What PVE tells of high availability. Only what an observer needs; rules and groups are not simulated.

use std::borrow::Cow;

use engine::observe::{GuestKind, NodeName};
use jiff::Timestamp;

use super::views::row;
use crate::cluster::{Cluster, Guest, Node};
use crate::json::Json;

fn sid(guest: &Guest) -> String {
    let kind = match guest.spec.id.kind {
        GuestKind::Qemu => "vm",
        GuestKind::Lxc => "ct",
    };
    format!("{kind}:{}", guest.spec.id.vmid)
}

fn managed(cluster: &Cluster) -> impl Iterator<Item = (&Guest, &str)> {
    cluster.guests().values().filter_map(|guest| Some((guest, guest.spec.ha.as_deref()?)))
}

/// How long the lock of a master that is gone keeps others from its place, and they need to take it.
const MASTER_LOCK: i64 = 130;
/// The master's loop: how long until it notices that a node is gone.
const NOTICED: i64 = 10;
/// An agent's word that is older than this is a dead one's.
const OLD: i64 = 30;

/// Seconds since the others lost a node.
fn lost_for(cluster: &Cluster, node: &Node) -> Option<i64> {
    node.left_at.map(|left| cluster.now().as_second() - left.as_second())
}

/// The master is the first node that is there, or that has been gone for less than its lock lasts.
fn master(cluster: &Cluster) -> Option<(&NodeName, &Node)> {
    let holds = |node: &Node| lost_for(cluster, node).is_none_or(|gone| gone < MASTER_LOCK);
    cluster.nodes().iter().find(|(_, node)| holds(node))
}

/// HA's own word for a node, in its row and in the manager's state. It is the master's, so it stands still until a
/// dead master's place is taken.
pub(super) fn node_state<'a>(cluster: &Cluster, node: &'a Node) -> &'a str {
    let judged = master(cluster).is_some_and(|(_, master)| master.left_at.is_none());
    let fenced = |(guest, state): (&Guest, &str)| guest.spec.node == node.spec.name && state == "fence";
    match lost_for(cluster, node) {
        Some(_) if judged && managed(cluster).any(fenced) => "fence",
        Some(gone) if gone > NOTICED && judged => "unknown",
        Some(_) | None => node.ha.as_deref().unwrap_or("online"),
    }
}

/// An agent's state and mode, and the words of its row.
fn agent<'a>(cluster: &Cluster, name: &NodeName, node: &'a Node) -> (&'static str, &'a str, String) {
    let busy = managed(cluster).any(|(guest, state)| {
        guest.spec.node == *name && !matches!(state, "stopped" | "disabled" | "ignored")
    });
    let mode = mode(node);
    let (state, words) = match mode {
        "maintenance" => ("maintenance", "maintenance mode".to_owned()),
        _ if busy => ("active", "active, watchdog active".to_owned()),
        _ => ("wait_for_agent_lock", "idle, watchdog standby".to_owned()),
    };
    let words = if matches!(mode, "restart" | "shutdown") { format!("{mode} mode") } else { words };
    (state, mode, words)
}

/// What the agent last wrote of itself: it outlives the node's power.
fn mode(node: &Node) -> &str {
    match (node.ha_mode.as_deref(), node.ha.as_deref()) {
        (Some(mode), _) => mode,
        (None, Some("maintenance")) => "maintenance",
        (None, _) => "active",
    }
}

fn date(second: i64) -> String {
    let at = Timestamp::from_second(second).unwrap_or_default();
    at.strftime("%a %b %e %H:%M:%S %Y").to_string()
}

/// `/cluster/ha/status/current`
pub(super) fn current<'a>(cluster: &'a Cluster, viewer: &'a NodeName) -> Json<'a> {
    let quorate = cluster.quorate(viewer);
    let now = cluster.now().as_second();
    let status = if quorate { "OK".to_owned() } else { format!("No quorum on node '{viewer}'!") };
    let mut rows = vec![Json::Map(row! {
        "type" => "quorum", "id" => "quorum", "node" => viewer.as_str(), "quorate" => quorate, "status" => status,
    })];
    if let Some((master, node)) = master(cluster) {
        let told = node.left_at.map_or(now, |left| left.as_second());
        let mood = if now - told > OLD { "old timestamp - dead?" } else { "active" };
        rows.push(Json::Map(row! {
            "type" => "master", "id" => "master", "node" => master.as_str(), "timestamp" => told,
            "status" => format!("{master} ({mood}, {})", date(told)),
        }));
        rows.push(Json::Map(row! {
            "type" => "fencing", "id" => "fencing", "node" => master.as_str(), "armed-state" => "armed",
            "status" => "armed (CRM watchdog active)",
        }));
    }
    for (name, node) in cluster.nodes() {
        let told = node.left_at.map_or(now, |left| left.as_second());
        let (_, _, words) = agent(cluster, name, node);
        let words = if now - told > OLD { "old timestamp - dead?".into() } else { words };
        rows.push(Json::Map(row! {
            "type" => "lrm", "id" => format!("lrm:{name}"), "node" => name.as_str(), "timestamp" => told,
            "status" => format!("{name} ({words}, {})", date(told)),
        }));
    }
    for (guest, state) in managed(cluster) {
        let (sid, node) = (sid(guest), &guest.spec.node);
        rows.push(Json::Map(row! {
            "type" => "service", "id" => format!("service:{sid}"), "node" => node.as_str(), "state" => state,
            "crm_state" => crm_state(state), "request_state" => wanted(state), "max_restart" => 1i64, "max_relocate" => 1i64,
            "failback" => 1i64, "status" => format!("{sid} ({node}, {state})"), "sid" => sid,
        }));
    }
    Json::List(rows)
}

/// `/cluster/ha/status/manager_status`
pub(super) fn manager_status<'a>(cluster: &'a Cluster, viewer: &'a NodeName) -> Json<'a> {
    let now = cluster.now().as_second();
    let mut nodes = Vec::new();
    let mut lrms = Vec::new();
    for (name, node) in cluster.nodes() {
        nodes.push((Cow::from(name.as_str()), Json::from(node_state(cluster, node))));
        let told = node.left_at.map_or(now, |left| left.as_second());
        let (state, mode, _) = agent(cluster, name, node);
        let lrm = Json::Map(row! {
            "mode" => mode, "state" => state, "timestamp" => told, "results" => Json::Map(Vec::new()),
        });
        lrms.push((Cow::from(name.as_str()), lrm));
    }
    let services = managed(cluster).map(|(guest, state)| {
        let mut service =
            row! { "node" => guest.spec.node.as_str(), "state" => crm_state(state), "uid" => sid(guest) };
        if state == "started" && guest.process.is_some() {
            service.extend(row! { "running" => 1i64 });
        }
        (Cow::from(sid(guest)), Json::Map(service))
    });
    let leader = master(cluster);
    let told = leader.and_then(|(_, node)| node.left_at).map_or(now, |left| left.as_second());
    let manager = row! {
        "master_node" => leader.map_or("", |(name, _)| name.as_str()), "timestamp" => told,
        "node_status" => Json::Map(nodes), "service_status" => Json::Map(services.collect()),
    };
    let quorate = if cluster.quorate(viewer) { "1" } else { "" };
    Json::Map(row! {
        "manager_status" => Json::Map(manager), "lrm_status" => Json::Map(lrms),
        "quorum" => Json::Map(row! { "node" => viewer.as_str(), "quorate" => quorate }),
    })
}

/// What the manager itself calls the state: a disabled service is one that it has stopped.
fn crm_state(state: &str) -> &str {
    if state == "disabled" { "stopped" } else { state }
}

fn wanted(state: &str) -> &'static str {
    match state {
        "stopped" | "request_stop" => "stopped",
        "disabled" => "disabled",
        "ignored" => "ignored",
        _ => "started",
    }
}
