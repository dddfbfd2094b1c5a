//! What PVE's lists look like: keys, types and their absence as recorded from PVE 9.2.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use engine::observe::{GuestKind, NodeName, Presence};

use super::access::Caller;
use super::dump::Dump;
use super::ha;
use crate::cluster::{Api, Cluster, Guest, GuestStats, MIB, Node, NodeSeen, Numbers, PlaceSeen, Storage};
use crate::json::{Json, Row};
use crate::rng::{Rng, noise};

/// The version that it says it is.
pub(super) const VERSION: &str = "9.2.11";
const RELEASE: &str = "9.2";
pub(super) const REPOID: &str = "14a22df35955d97d";

macro_rules! row {
    ($($key:literal => $value:expr),* $(,)?) => {
        vec![$((std::borrow::Cow::Borrowed($key), $crate::json::Json::from($value))),*]
    };
}
pub(super) use row;

pub(super) fn version<'a>() -> Json<'a> {
    Json::Map(row! { "version" => VERSION, "release" => RELEASE, "repoid" => REPOID })
}

/// An index of a folder of the API.
pub(super) fn index<'a>(key: &'static str, names: &[&'static str]) -> Json<'a> {
    Json::Bag(names.iter().map(|name| Json::Map(vec![(key.into(), Json::from(*name))])).collect())
}

/// Who looks, and at what.
pub(super) struct Sight<'a> {
    pub(super) cluster: &'a Cluster,
    /// The node that was asked.
    pub(super) viewer: &'a NodeName,
    /// The statistics as that node's worker has them.
    pub(super) dump: &'a Dump,
    pub(super) caller: &'a Caller,
}

impl<'a> Sight<'a> {
    /// The nodes: membership is fresh, statistics are the worker's.
    fn nodes(&self) -> impl Iterator<Item = NodeSeen<'a>> + '_ {
        self.cluster.nodes_seen(self.viewer).map(|seen| {
            let stats = self.dump.nodes.get(&seen.node.spec.name);
            let presence = match (seen.presence, stats) {
                (Presence::Offline, _) => Presence::Offline,
                (Presence::Online | Presence::Unknown, Some(_)) => Presence::Online,
                (Presence::Online | Presence::Unknown, None) => Presence::Unknown,
            };
            NodeSeen { presence, stats, ..seen }
        })
    }
}

/// `/cluster/resources`; `only` is its `type`.
pub(super) fn resources<'a>(sight: &Sight<'a>, only: Option<&str>) -> Json<'a> {
    let Sight { cluster, viewer, dump, caller } = *sight;
    let wanted = |kind: &str| only.is_none_or(|only| only == kind);
    let empty = cluster.nodes().get(viewer).is_some_and(|node| node.api == Api::Empty);
    let mut rows = Vec::new();
    if wanted("node") {
        for seen in sight.nodes() {
            let mut row = node_row(&seen, caller);
            row.extend(row! { "hastate" => ha::node_state(cluster, seen.node) });
            if seen.stats.is_some() {
                row.extend(row! { "cgroup-mode" => 2i64 });
            }
            rows.push(Json::Map(row));
        }
    }
    if !empty && wanted("vm") {
        let guests = cluster.guests_seen(viewer).filter(|seen| caller.sees(seen.guest));
        rows.extend(guests.map(|seen| {
            let stats = dump.guests.get(&seen.guest.spec.id);
            Json::Map(guest_row(seen.guest, stats, caller))
        }));
    }
    if !empty && wanted("storage") {
        let places = cluster.places_seen(viewer).filter(|seen| caller.sees_storage(&seen.storage.spec.name));
        rows.extend(places.map(|seen| {
            let used = dump.places.get(&(seen.storage.spec.name.clone(), seen.node.clone()));
            Json::Map(storage_row(&seen, used.copied()))
        }));
    }
    if only.is_none() {
        rows.extend(pool_rows(cluster, dump, caller));
        if caller.may("SDN.Audit", "/sdn/zones/localnetwork") {
            let online = sight.nodes().filter(|seen| seen.presence == Presence::Online);
            rows.extend(online.map(|seen| network_row(&seen.node.spec.name)));
        }
    }
    Json::Bag(rows)
}

/// `/nodes`
pub(super) fn nodes<'a>(sight: &Sight<'a>, fingerprints: &'a BTreeMap<NodeName, String>) -> Json<'a> {
    let rows = sight.nodes().map(|seen| {
        let mut row = node_row(&seen, sight.caller);
        if let Some(print) = fingerprints.get(&seen.node.spec.name) {
            row.extend(row! { "ssl_fingerprint" => print.as_str() });
        }
        Json::Map(row)
    });
    Json::Bag(rows.collect())
}

fn node_row<'a>(seen: &NodeSeen<'a>, caller: &Caller) -> Row<'a> {
    let spec = &seen.node.spec;
    let status = match seen.presence {
        Presence::Online => "online",
        Presence::Offline => "offline",
        Presence::Unknown => "unknown",
    };
    let mut row = row! {
        "id" => format!("node/{}", spec.name), "node" => spec.name.as_str(), "type" => "node",
        "status" => status, "level" => "",
    };
    if let Some(stats) = seen.stats.filter(|_| caller.audits(&spec.name)) {
        row.extend(row! { "maxcpu" => spec.cores, "maxmem" => spec.memory, "maxdisk" => spec.disk });
        if seen.presence == Presence::Online {
            row.extend(row! {
                "uptime" => stats.uptime, "cpu" => stats.cpu, "mem" => stats.memory, "disk" => stats.disk,
            });
        }
    }
    row
}

/// The most fields that a guest's row has.
const GUEST_FIELDS_MAX: usize = 24;

fn guest_row<'a>(guest: &'a Guest, stats: Option<&'a GuestStats>, caller: &Caller) -> Row<'a> {
    let spec = &guest.spec;
    let kind = spec.id.kind.as_str();
    // Of ten thousand guests, growing step by step would be a third of the work.
    let mut row = Vec::with_capacity(GUEST_FIELDS_MAX);
    row.extend(row! {
        "id" => spec.id.to_string(), "vmid" => spec.id.vmid, "node" => spec.node.as_str(), "type" => kind,
    });
    match stats {
        Some(stats) => {
            let n = &stats.numbers;
            row.extend(row! {
                "status" => &*stats.status, "name" => spec.name.as_str(), "template" => spec.template,
                "uptime" => n.uptime, "cpu" => n.cpu, "maxcpu" => spec.cores, "mem" => n.memory,
                "maxmem" => spec.memory, "disk" => n.disk, "maxdisk" => spec.disk, "netin" => n.netin,
                "netout" => n.netout, "diskread" => n.diskread, "diskwrite" => n.diskwrite,
                "memhost" => if spec.id.kind == GuestKind::Qemu { n.memory } else { 0 },
            });
        }
        None => row.extend(row! { "status" => "unknown" }),
    }
    config_fields(&mut row, guest);
    if let Some(pool) = spec.pool.as_ref().filter(|pool| caller.sees_pool(pool)) {
        row.extend(row! { "pool" => pool.as_str() });
    }
    if let Some(ha) = &spec.ha {
        row.extend(row! { "hastate" => ha.as_str() });
    }
    row
}

/// What is read from the configuration, and so is fresh even when nothing else is.
fn config_fields<'a>(row: &mut Row<'a>, guest: &'a Guest) {
    if let Some(lock) = &guest.spec.lock {
        row.extend(row! { "lock" => lock.as_str() });
    }
    if !guest.spec.tags.is_empty() {
        row.extend(row! { "tags" => guest.spec.tags.join(";") });
    }
}

fn storage_row<'a>(seen: &PlaceSeen<'a>, used: Option<u64>) -> Row<'a> {
    let spec = &seen.storage.spec;
    let mut row = row! {
        "id" => format!("storage/{}/{}", seen.node, spec.name), "storage" => spec.name.as_str(),
        "node" => seen.node.as_str(), "type" => "storage", "plugintype" => spec.plugin.as_str(),
        "shared" => spec.shared, "content" => content(seen.storage),
        "status" => if used.is_some() { "available" } else { "unknown" },
    };
    if let Some(used) = used {
        row.extend(row! { "disk" => used, "maxdisk" => spec.total });
    }
    row
}

pub(super) fn content(storage: &Storage) -> &'static str {
    if storage.spec.shared {
        "images,rootdir,backup,iso"
    } else {
        "iso,vztmpl,snippets,rootdir,images,backup"
    }
}

/// The sums are of all members, also of those that the caller may not see.
fn pool_rows<'a>(cluster: &'a Cluster, dump: &Dump, caller: &Caller) -> Vec<Json<'a>> {
    let mut sums: BTreeMap<&str, (u64, Numbers, u64, u64)> = BTreeMap::new();
    for guest in cluster.guests().values() {
        let Some(pool) = guest.spec.pool.as_ref().filter(|pool| caller.sees_pool(pool)) else { continue };
        let sum = sums.entry(pool).or_default();
        let stats = dump.guests.get(&guest.spec.id);
        if let Some(stats) = stats.filter(|stats| &*stats.status != "stopped") {
            let n = &stats.numbers;
            sum.0 += 1;
            sum.1.uptime = sum.1.uptime.max(n.uptime);
            sum.1.memory += n.memory;
            sum.1.cpu += n.cpu * f64::from(guest.spec.cores);
            sum.2 += u64::from(guest.spec.cores);
            sum.3 += guest.spec.memory;
        }
    }
    let rows = sums.into_iter().map(|(pool, (running, n, cores, memory))| {
        let mut row = row! { "id" => format!("/pool/{pool}"), "pool" => pool, "type" => "pool" };
        if running > 0 {
            row.extend(row! {
                "uptime" => n.uptime, "mem" => n.memory, "maxmem" => memory, "maxcpu" => cores,
                "cpu" => n.cpu / cores.max(1) as f64,
            });
        }
        Json::Map(row)
    });
    rows.collect()
}

fn network_row(node: &NodeName) -> Json<'_> {
    Json::Map(row! {
        "id" => format!("network/{node}/zone/localnetwork"), "node" => node.as_str(), "type" => "network",
        "network" => "localnetwork", "network-type" => "zone", "status" => "ok",
    })
}

/// `/cluster/status`: the cluster's own row first, then the nodes in any order. A stand-alone node has no row of the
/// cluster, and the number 0.
pub(super) fn cluster_status<'a>(cluster: &'a Cluster, viewer: &'a NodeName, rng: &mut Rng) -> Json<'a> {
    let clustered = cluster.nodes().len() > 1;
    let nodes = cluster.nodes().iter().map(|(name, node)| {
        Json::Map(row! {
            "type" => "node", "id" => format!("node/{name}"), "name" => name.as_str(),
            "nodeid" => if clustered { node.number } else { 0 }, "ip" => address(node),
            "local" => name == viewer, "online" => cluster.online(viewer, name), "level" => "",
        })
    });
    let mut rows: Vec<Json> = nodes.collect();
    rng.shuffle(&mut rows);
    if clustered {
        let head = row! {
            "type" => "cluster", "id" => "cluster", "name" => cluster.name().as_str(),
            "nodes" => cluster.nodes().len() as u64, "version" => cluster.nodes().len() as u64,
            "quorate" => cluster.quorate(viewer),
        };
        rows.insert(0, Json::Map(head));
    }
    Json::List(rows)
}

/// An address of the range for documentation: whoever connects to what a cluster reports must fail.
fn address(node: &Node) -> String {
    format!("192.0.2.{}", 10 + node.number)
}

/// `/nodes/N/qemu` and `/nodes/N/lxc`: live, without a run state.
pub(super) fn guests_of<'a>(
    cluster: &'a Cluster,
    node: &'a Node,
    caller: &Caller,
    kind: GuestKind,
    full: bool,
) -> Json<'a> {
    if node.api == Api::Empty {
        return Json::Bag(Vec::new());
    }
    let here = cluster.guests().values().filter(|g| g.spec.node == node.spec.name && g.spec.id.kind == kind);
    let rows = here.filter(|guest| caller.sees(guest)).map(|guest| {
        let mut row = live_row(cluster, guest);
        if full && kind == GuestKind::Qemu {
            qmp_fields(&mut row, cluster, guest);
        }
        Json::Map(row)
    });
    Json::Bag(rows.collect())
}

/// `status/current`
pub(super) fn current<'a>(cluster: &'a Cluster, guest: &'a Guest) -> Json<'a> {
    let mut row = live_row(cluster, guest);
    if guest.spec.id.kind == GuestKind::Qemu {
        qmp_fields(&mut row, cluster, guest);
    }
    let ha = match guest.ha_managed() {
        Some(state) => row! { "managed" => 1i64, "state" => state },
        None => row! { "managed" => 0i64 },
    };
    row.push(("ha".into(), Json::Map(ha)));
    Json::Map(row)
}

fn live_row<'a>(cluster: &'a Cluster, guest: &'a Guest) -> Row<'a> {
    let spec = &guest.spec;
    let n = cluster.numbers(spec.id);
    let mut row = row! {
        "vmid" => spec.id.vmid, "name" => spec.name.as_str(), "uptime" => n.uptime, "cpu" => n.cpu,
        "status" => if guest.process.is_some() { "running" } else { "stopped" }, "cpus" => spec.cores,
        "mem" => n.memory, "maxmem" => spec.memory, "disk" => n.disk, "maxdisk" => spec.disk,
        "netin" => n.netin, "netout" => n.netout,
    };
    if spec.template {
        row.extend(row! { "template" => 1i64 });
    }
    config_fields(&mut row, guest);
    if let Some(process) = &guest.process {
        row.extend(row! { "pid" => process.pid });
    }
    match spec.id.kind {
        GuestKind::Qemu => row.extend(row! { "memhost" => n.memory }),
        GuestKind::Lxc => row.extend(row! {
            "type" => "lxc", "swap" => 0i64, "maxswap" => 512 * MIB, "diskread" => n.diskread,
            "diskwrite" => n.diskwrite,
        }),
    }
    if guest.process.is_some() {
        for (at, name) in
            ["cpusome", "cpufull", "iosome", "iofull", "memorysome", "memoryfull"].iter().enumerate()
        {
            // A container's pressure is a text, a machine's a number.
            let share = (noise(cluster.seed(), u64::from(spec.id.vmid), at as u64) * 300.0).floor() / 100.0;
            let value = match spec.id.kind {
                GuestKind::Qemu => Json::Num(share),
                GuestKind::Lxc => Json::from(format!("{share:.2}")),
            };
            row.push((format!("pressure{name}").into(), value));
        }
    }
    row
}

fn qmp_fields<'a>(row: &mut Row<'a>, cluster: &'a Cluster, guest: &'a Guest) {
    let n = cluster.numbers(guest.spec.id);
    match &guest.process {
        // What only QEMU itself can tell is not there; the rest is read from the system.
        Some(process) if process.hung => row.extend(row! { "qmpstatus" => "running" }),
        Some(process) => row.extend(row! {
            "qmpstatus" => &*process.state, "running-machine" => "pc-i440fx-10.0", "running-qemu" => "10.0.13",
            "clipboard" => Json::Null, "proxmox-support" => Json::Map(row! {
                "pbs-dirty-bitmap" => 1i64, "query-bitmap-info" => 1i64, "backup-max-workers" => 1i64,
                "pbs-masterkey" => 1i64, "pbs-library-version" => "1.5.1 (UNKNOWN)",
            }),
            "diskread" => n.diskread, "diskwrite" => n.diskwrite,
            "blockstat" => Json::Map(row! { "scsi0" => Json::Map(row! {
                "rd_bytes" => n.diskread, "wr_bytes" => n.diskwrite, "rd_operations" => n.diskread / 4096,
                "wr_operations" => n.diskwrite / 4096, "flush_operations" => 0i64,
                "failed_rd_operations" => 0i64, "failed_wr_operations" => 0i64,
            }) }),
        }),
        None => row.extend(row! { "qmpstatus" => "stopped" }),
    }
}

/// `config`: memory is a text for a machine and a number for a container.
pub(super) fn config(guest: &Guest) -> Json<'_> {
    let spec = &guest.spec;
    let mut hasher = DefaultHasher::new();
    format!("{spec:?}").hash(&mut hasher);
    let mut digest = Rng::new(hasher.finish());
    let digest = format!("{:016x}{:016x}{:08x}", digest.bits(), digest.bits(), digest.bits() as u32);
    let mut row = row! { "digest" => digest, "cores" => spec.cores };
    match spec.id.kind {
        GuestKind::Qemu => row.extend(row! {
            "name" => spec.name.as_str(), "memory" => (spec.memory / MIB).to_string(), "ostype" => "l26",
            "boot" => "order=scsi0", "scsihw" => "virtio-scsi-pci",
            "scsi0" => format!("local:{0}/vm-{0}-disk-0.raw,size={1}G", spec.id.vmid, spec.disk >> 30),
            "meta" => format!("creation-qemu=10.0.13,ctime={}", guest.created_at.as_second()),
            "vmgenid" => uuid(spec.id.vmid, 1), "smbios1" => format!("uuid={}", uuid(spec.id.vmid, 2)),
        }),
        GuestKind::Lxc => row.extend(row! {
            "hostname" => spec.name.as_str(), "memory" => spec.memory / MIB, "swap" => 512i64,
            "ostype" => "debian", "arch" => "amd64", "unprivileged" => 1i64,
            "rootfs" => format!("local:{0}/subvol-{0}-disk-0.subvol,size={1}G", spec.id.vmid, spec.disk >> 30),
        }),
    }
    if spec.onboot {
        row.extend(row! { "onboot" => 1i64 });
    }
    let parts = [spec.order.map(|order| format!("order={order}")), spec.up.map(|up| format!("up={up}"))];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if !parts.is_empty() {
        row.extend(row! { "startup" => parts.join(",") });
    }
    if spec.template {
        row.extend(row! { "template" => 1i64 });
    }
    config_fields(&mut row, guest);
    Json::Map(row)
}

fn uuid(vmid: u32, which: u64) -> String {
    let mut rng = Rng::new(u64::from(vmid) << 8 | which);
    let (a, b) = (rng.bits(), rng.bits());
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        a >> 32,
        a >> 16 & 0xffff,
        a & 0xfff,
        b >> 52,
        b & 0xffff_ffff_ffff
    )
}
