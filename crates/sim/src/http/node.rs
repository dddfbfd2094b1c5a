//! What a node says of itself: its state, its services, its clock, its settings.

use super::access::Caller;
use super::tasks::Get;
use super::views::{REPOID, VERSION, content, row};
use crate::cluster::{Api, Cluster, Node};
use crate::json::Json;

/// `/nodes/N/status`: live, with some numbers as texts.
pub(super) fn status<'a>(cluster: &'a Cluster, node: &'a Node) -> Json<'a> {
    let spec = &node.spec;
    let used = (spec.memory as f64 * node.memory) as u64;
    let disk = (spec.disk as f64 * node.disk) as u64;
    let load = format!("{:.2}", node.cpu * f64::from(spec.cores));
    let release = "6.17.4-1-pve";
    Json::Map(row! {
        "uptime" => node.uptime(cluster.now()), "cpu" => node.cpu, "wait" => 0i64, "idle" => 0i64,
        "kversion" => format!("Linux {release} #1 SMP PREEMPT_DYNAMIC @0"),
        "pveversion" => format!("pve-manager/{VERSION}/{REPOID}"),
        "loadavg" => Json::List(vec![load.clone().into(), load.clone().into(), load.into()]),
        "memory" => Json::Map(row! {
            "total" => spec.memory, "used" => used, "free" => spec.memory - used,
            "available" => spec.memory - used,
        }),
        "swap" => Json::Map(row! { "total" => 0i64, "used" => 0i64, "free" => 0i64 }),
        "rootfs" => Json::Map(row! {
            "total" => spec.disk, "used" => disk, "free" => spec.disk - disk, "avail" => spec.disk - disk,
        }),
        "ksm" => Json::Map(row! { "shared" => 0i64 }),
        "boot-info" => Json::Map(row! { "mode" => "legacy-bios" }),
        "current-kernel" => Json::Map(row! {
            "release" => release, "version" => "#1 SMP PREEMPT_DYNAMIC @0", "machine" => "x86_64",
            "sysname" => "Linux",
        }),
        "cpuinfo" => Json::Map(row! {
            "cpus" => spec.cores, "cores" => spec.cores, "sockets" => 1i64, "model" => "simulated",
            "mhz" => "2596.128", "hvm" => "", "user_hz" => 100i64, "vendor" => "AuthenticAMD",
            "family" => "25", "flags" => "fpu",
        }),
    })
}

/// `/nodes/N/storage`: live, so an outage shows at once.
pub(super) fn storages<'a, 'g>(
    cluster: &'a Cluster,
    node: &'a Node,
    caller: &Caller,
    get: &impl Get<'g>,
) -> Json<'a> {
    if node.api == Api::Empty {
        return Json::Bag(Vec::new());
    }
    let rows = cluster.storages().values().filter_map(|storage| {
        let place = storage.places.get(&node.spec.name)?;
        let named = get("storage").is_none_or(|only| only == storage.spec.name.as_str());
        if !named || !caller.sees_storage(&storage.spec.name) {
            return None;
        }
        let spec = &storage.spec;
        let total = if place.active { spec.total } else { 0 };
        let used = if place.active { place.used } else { 0 };
        let mut row = row! {
            "storage" => spec.name.as_str(), "type" => spec.plugin.as_str(), "content" => content(storage),
            "enabled" => 1i64, "active" => place.active, "shared" => spec.shared, "total" => total,
            "used" => used, "avail" => total - used,
        };
        if total > 0 {
            row.extend(row! { "used_fraction" => used as f64 / total as f64 });
        }
        Some(Json::Map(row))
    });
    Json::Bag(rows.collect())
}

/// What a plugin asks over the network, so that a server that is gone is waited for.
const OVER_THE_NETWORK: &[&str] = &["nfs", "cifs", "pbs", "iscsi", "glusterfs"];

/// Whether asking for its storages makes a node wait for a server that does not answer.
pub(super) fn waits_for_storage(cluster: &Cluster, node: &Node) -> bool {
    cluster.storages().values().any(|storage| {
        let gone = storage.places.get(&node.spec.name).is_some_and(|place| !place.active);
        gone && OVER_THE_NETWORK.contains(&storage.spec.plugin.as_str())
    })
}

/// `/nodes/N/services`
pub(super) fn services(node: &Node) -> Json<'_> {
    let rows = node.services.iter().map(|(name, service)| {
        Json::Map(row! {
            "service" => &**name, "name" => &**name, "desc" => format!("{name}.service"),
            "state" => &*service.state, "active-state" => &*service.active, "unit-state" => &*service.unit,
        })
    });
    Json::Bag(rows.collect())
}

/// `/nodes/N/time`
pub(super) fn time(cluster: &Cluster) -> Json<'_> {
    let now = cluster.now().as_second();
    Json::Map(row! { "time" => now, "localtime" => now, "timezone" => "Etc/UTC" })
}

/// `/nodes/N/config`: a node whose settings nobody changed has none.
pub(super) fn config(node: &Node) -> Json<'_> {
    Json::Map(match &node.spec.mac {
        Some(mac) => row! { "wakeonlan" => mac.to_string() },
        None => Vec::new(),
    })
}
