//! What PVE's lists look like: keys, types and their absence as recorded from PVE 9.2.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use engine::observe::{GuestKind, NodeName, Presence};

use crate::cluster::{
    Api, Cluster, Guest, GuestSeen, MIB, Node, NodeSeen, Numbers, PlaceSeen, SHOWN_MAX, Storage, Task,
};
use crate::json::{Json, Row};
use crate::rng::{Rng, noise};

/// The version that it says it is.
const VERSION: &str = "9.2.11";
const RELEASE: &str = "9.2";
const REPOID: &str = "14a22df35955d97d";

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

/// `/cluster/resources`; `only` is its `type`.
pub(super) fn resources<'a>(
    cluster: &'a Cluster,
    viewer: &'a NodeName,
    only: Option<&str>,
    sees: bool,
) -> Json<'a> {
    let wanted = |kind: &str| only.is_none_or(|only| only == kind);
    let empty = cluster.nodes().get(viewer).is_some_and(|node| node.api == Api::Empty);
    let mut rows = Vec::new();
    if wanted("node") {
        for seen in cluster.nodes_seen(viewer) {
            let mut row = node_row(&seen, sees);
            row.extend(row! { "hastate" => ha_state(cluster, &seen) });
            if seen.stats.is_some() {
                row.extend(row! { "cgroup-mode" => 2i64 });
            }
            rows.push(Json::Map(row));
        }
    }
    if sees && !empty && wanted("vm") {
        rows.extend(cluster.guests_seen(viewer).map(|seen| Json::Map(guest_row(&seen))));
    }
    if sees && !empty && wanted("storage") {
        rows.extend(cluster.places_seen(viewer).map(|seen| Json::Map(storage_row(&seen))));
    }
    if sees && only.is_none() {
        rows.extend(pool_rows(cluster, viewer));
        let online = cluster.nodes_seen(viewer).filter(|seen| seen.presence == Presence::Online);
        rows.extend(online.map(|seen| network_row(&seen.node.spec.name)));
    }
    Json::Bag(rows)
}

/// `/nodes`
pub(super) fn nodes<'a>(
    cluster: &'a Cluster,
    viewer: &'a NodeName,
    fingerprints: &'a BTreeMap<NodeName, String>,
    sees: bool,
) -> Json<'a> {
    let rows = cluster.nodes_seen(viewer).map(|seen| {
        let mut row = node_row(&seen, sees);
        if let Some(print) = fingerprints.get(&seen.node.spec.name) {
            row.extend(row! { "ssl_fingerprint" => print.as_str() });
        }
        Json::Map(row)
    });
    Json::Bag(rows.collect())
}

fn node_row<'a>(seen: &NodeSeen<'a>, sees: bool) -> Row<'a> {
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
    if let Some(stats) = seen.stats.filter(|_| sees) {
        row.extend(row! { "maxcpu" => spec.cores, "maxmem" => spec.memory, "maxdisk" => spec.disk });
        if seen.presence == Presence::Online {
            row.extend(row! {
                "uptime" => stats.uptime, "cpu" => stats.cpu, "mem" => stats.memory, "disk" => stats.disk,
            });
        }
    }
    row
}

/// HA's own view of a node lags: a dead one stays `online` for a minute.
fn ha_state(cluster: &Cluster, seen: &NodeSeen) -> &'static str {
    match seen.node.left_at {
        Some(left) if cluster.now().as_second() - left.as_second() > 60 => "unknown",
        Some(_) | None => "online",
    }
}

/// The most fields that a guest's row has.
const GUEST_FIELDS_MAX: usize = 24;

fn guest_row<'a>(seen: &GuestSeen<'a>) -> Row<'a> {
    let spec = &seen.guest.spec;
    let kind = spec.id.kind.as_str();
    // Of ten thousand guests, growing step by step would be a third of the work.
    let mut row = Vec::with_capacity(GUEST_FIELDS_MAX);
    row.extend(row! {
        "id" => spec.id.to_string(), "vmid" => spec.id.vmid, "node" => spec.node.as_str(), "type" => kind,
    });
    match seen.stats {
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
    config_fields(&mut row, seen.guest);
    if let Some(pool) = &spec.pool {
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

fn storage_row<'a>(seen: &PlaceSeen<'a>) -> Row<'a> {
    let spec = &seen.storage.spec;
    let mut row = row! {
        "id" => format!("storage/{}/{}", seen.node, spec.name), "storage" => spec.name.as_str(),
        "node" => seen.node.as_str(), "type" => "storage", "plugintype" => spec.plugin.as_str(),
        "shared" => spec.shared, "content" => content(seen.storage),
        "status" => if seen.used.is_some() { "available" } else { "unknown" },
    };
    if let Some(used) = seen.used {
        row.extend(row! { "disk" => used, "maxdisk" => spec.total });
    }
    row
}

fn content(storage: &Storage) -> &'static str {
    if storage.spec.shared {
        "images,rootdir,backup,iso"
    } else {
        "iso,vztmpl,snippets,rootdir,images,backup"
    }
}

fn pool_rows<'a>(cluster: &'a Cluster, viewer: &'a NodeName) -> Vec<Json<'a>> {
    let mut sums: BTreeMap<&str, (u64, Numbers, u64, u64)> = BTreeMap::new();
    for seen in cluster.guests_seen(viewer) {
        let Some(pool) = &seen.guest.spec.pool else { continue };
        let sum = sums.entry(pool).or_default();
        if let Some(stats) = seen.stats.filter(|stats| &*stats.status != "stopped") {
            let n = &stats.numbers;
            sum.0 += 1;
            sum.1.uptime = sum.1.uptime.max(n.uptime);
            sum.1.memory += n.memory;
            sum.1.cpu += n.cpu * f64::from(seen.guest.spec.cores);
            sum.2 += u64::from(seen.guest.spec.cores);
            sum.3 += seen.guest.spec.memory;
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

/// `/cluster/tasks`: the newest of each node, also of dead ones.
pub(super) fn cluster_tasks(cluster: &Cluster) -> Json<'_> {
    let tasks = cluster.nodes().iter().flat_map(|(name, node)| {
        node.tasks.newest_first().take(SHOWN_MAX).map(move |task| {
            let mut row = task_row(name, task);
            match &task.ended {
                Some(_) => row.extend(row! { "saved" => "1" }),
                None => row.extend(row! { "pid" => task.pid }),
            }
            user_split(&mut row, task);
            Json::Map(row)
        })
    });
    Json::Bag(tasks.collect())
}

/// A row of `/nodes/N/tasks`: an ended task there splits user and token, a running one does not.
pub(super) fn node_task<'a>(node: &'a NodeName, task: &'a Task) -> Json<'a> {
    let mut row = task_row(node, task);
    row.extend(row! { "pid" => task.pid, "pstart" => task.pstart });
    if task.ended.is_some() {
        user_split(&mut row, task);
    } else {
        row.extend(row! { "user" => task.by.full(), "status" => "RUNNING", "saved" => "0" });
    }
    Json::Map(row)
}

/// `/nodes/N/tasks/UPID/status`
pub(super) fn task_status<'a>(node: &'a NodeName, task: &'a Task) -> Json<'a> {
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

fn task_row<'a>(node: &'a NodeName, task: &'a Task) -> Row<'a> {
    let mut row = row! {
        "upid" => task.upid.as_str(), "node" => node.as_str(), "starttime" => task.started_at.as_second(),
        "type" => task.kind.as_str(), "id" => task.id.as_str(),
    };
    if let Some((at, status)) = &task.ended {
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

/// `/nodes/N/status`: live, with some numbers as texts.
pub(super) fn node_status<'a>(cluster: &'a Cluster, node: &'a Node) -> Json<'a> {
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

/// `/nodes/N/qemu` and `/nodes/N/lxc`: live, without a run state.
pub(super) fn guests_of<'a>(cluster: &'a Cluster, node: &'a Node, kind: GuestKind, full: bool) -> Json<'a> {
    if node.api == Api::Empty {
        return Json::Bag(Vec::new());
    }
    let here = cluster.guests().values().filter(|g| g.spec.node == node.spec.name && g.spec.id.kind == kind);
    let rows = here.map(|guest| {
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
    let ha = match &guest.spec.ha {
        Some(state) => row! { "managed" => 1i64, "state" => state.as_str() },
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
        Some(process) => row.extend(row! {
            "qmpstatus" => &*process.state, "running-machine" => "pc-i440fx-10.0", "running-qemu" => "10.0.13",
            "clipboard" => Json::Null, "diskread" => n.diskread, "diskwrite" => n.diskwrite,
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
    if let Some(order) = spec.order {
        row.extend(row! { "startup" => format!("order={order}") });
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

/// `/nodes/N/storage`: live, so an outage shows at once.
pub(super) fn storages_of<'a>(cluster: &'a Cluster, node: &'a Node) -> Json<'a> {
    if node.api == Api::Empty {
        return Json::Bag(Vec::new());
    }
    let rows = cluster.storages().values().filter_map(|storage| {
        let place = storage.places.get(&node.spec.name)?;
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
