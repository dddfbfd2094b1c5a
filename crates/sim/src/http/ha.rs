//! What PVE tells of high availability. Only what an observer needs; rules and groups are not simulated.

use engine::observe::{GuestKind, NodeName};

use super::views::row;
use crate::cluster::{Cluster, Guest};
use crate::json::Json;
use std::borrow::Cow;

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

/// The master is the first node that lives.
fn master(cluster: &Cluster) -> Option<&NodeName> {
    cluster.nodes().iter().find(|(_, node)| node.member).map(|(name, _)| name)
}

/// `/cluster/ha/status/current`
pub(super) fn current<'a>(cluster: &'a Cluster, viewer: &'a NodeName) -> Json<'a> {
    let quorate = cluster.quorate(viewer);
    let now = cluster.now().as_second();
    let status = if quorate { "OK".to_owned() } else { format!("No quorum on node '{viewer}'!") };
    let mut rows = vec![Json::Map(row! {
        "type" => "quorum", "id" => "quorum", "node" => viewer.as_str(), "quorate" => quorate, "status" => status,
    })];
    if let Some(master) = master(cluster) {
        rows.push(Json::Map(row! {
            "type" => "master", "id" => "master", "node" => master.as_str(), "timestamp" => now,
            "status" => format!("{master} (active)"),
        }));
        rows.push(Json::Map(row! {
            "type" => "fencing", "id" => "fencing", "node" => master.as_str(), "armed-state" => "armed",
            "status" => "armed (CRM watchdog active)",
        }));
    }
    for (name, node) in cluster.nodes() {
        let told = node.left_at.map_or(now, |left| left.as_second());
        let mood = if node.left_at.is_some() { "old timestamp - dead?" } else { "active, watchdog active" };
        rows.push(Json::Map(row! {
            "type" => "lrm", "id" => format!("lrm:{name}"), "node" => name.as_str(), "timestamp" => told,
            "status" => format!("{name} ({mood})"),
        }));
    }
    for (guest, state) in managed(cluster) {
        let (sid, node) = (sid(guest), &guest.spec.node);
        rows.push(Json::Map(row! {
            "type" => "service", "id" => format!("service:{sid}"), "node" => node.as_str(), "state" => state,
            "crm_state" => state, "request_state" => wanted(state), "max_restart" => 1i64, "max_relocate" => 1i64,
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
        let online = if node.left_at.is_some() { "unknown" } else { "online" };
        nodes.push((Cow::from(name.as_str()), Json::from(online)));
        let told = node.left_at.map_or(now, |left| left.as_second());
        let lrm = Json::Map(row! {
            "mode" => "active", "state" => "active", "timestamp" => told, "results" => Json::Map(Vec::new()),
        });
        lrms.push((Cow::from(name.as_str()), lrm));
    }
    let services = managed(cluster).map(|(guest, state)| {
        let service = row! { "node" => guest.spec.node.as_str(), "state" => state, "uid" => sid(guest) };
        (Cow::from(sid(guest)), Json::Map(service))
    });
    let manager = row! {
        "master_node" => master(cluster).map_or("", NodeName::as_str), "timestamp" => now,
        "node_status" => Json::Map(nodes), "service_status" => Json::Map(services.collect()),
    };
    let quorate = if cluster.quorate(viewer) { "1" } else { "" };
    Json::Map(row! {
        "manager_status" => Json::Map(manager), "lrm_status" => Json::Map(lrms),
        "quorum" => Json::Map(row! { "node" => viewer.as_str(), "quorate" => quorate }),
    })
}

fn wanted(state: &str) -> &'static str {
    match state {
        "stopped" | "request_stop" => "stopped",
        "disabled" => "disabled",
        "ignored" => "ignored",
        _ => "started",
    }
}
