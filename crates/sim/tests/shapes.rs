//! The simulator's answers beside recorded ones of PVE 9.2: the same keys and the same JSON types.
//!
//! No key that the real one lacks, no type that it has not, and none missing that it always has. Rows are compared
//! with rows of their own kind (a stopped machine with stopped machines). What the recordings hold: see
//! `tests/recorded/`, made on loopback addresses with made-up tokens.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic, its helpers too")]
#![cfg(feature = "http")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use common::{AUDITOR, NOBODY, OPERATOR, ask, tokens};
use serde_json::Value;
use sim::http::{Options, Server};
use sim::script::Script;

const LAB: &str = "
    nodes pve1 pve2 pve3
    guest qemu/100 web01 on pve1 running onboot tags=prod,web pool=prod
    guest qemu/101 db01 on pve1 ha=stopped tags=db pool=prod
    guest qemu/102 tmpl on pve1 template
    guest qemu/104 idle on pve1 pool=dev
    guest qemu/105 locked on pve1 lock=backup
    guest qemu/106 hung on pve1
    guest qemu/111 stuck on pve2 running
    guest qemu/120 cache01 on pve3 running
    guest lxc/200 dns on pve1 running tags=infra
    guest lxc/202 ns2 on pve2 running ha=started tags=infra
    guest lxc/201 old on pve1 pool=dev
    guest qemu/112 off02 on pve2 ha=disabled
    storage nfs shared 1000GiB used 40%
    storage local local 100GiB used 20%
    storage usb local 100GiB used 20%
    storage usb offline
    at 1:00:00 end";

/// `PVEVMUser` on a pool and nothing else.
const POOL_USER: &str = "poolop@pve!t1=pool-secret";

/// Keys that PVE has and the recorded test hosts did not show; each is in PVE's own schema of its call.
const SCHEMA_ONLY: &[(&str, &str)] = &[
    ("lxc config", "cores"),
    ("lxc config", "startup"),
    ("lxc config", "onboot"),
    ("qemu config", "startup"),
    // The recorded QEMU was Debian's and not Proxmox's own, which says what it supports.
    ("qemu current", "proxmox-support"),
];

/// Keys of the recorded answers that are never simulated, and why.
const NOT_SIMULATED: &[(&str, &str, &str)] = &[
    ("qemu config", "description", "free text of that one machine"),
    ("qemu config", "kvm", "the recorded machines were emulated"),
    ("qemu config", "cpu", "the recorded machines were emulated"),
    ("qemu config", "vga", "a setting of that one machine"),
];

/// What the keys of one kind of row were seen to be.
#[derive(Default, Debug)]
struct Shape {
    always: Option<BTreeSet<String>>,
    types: BTreeMap<String, BTreeSet<&'static str>>,
}

type Shapes = BTreeMap<String, Shape>;
type Kind = fn(&Value) -> String;

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

/// Every row of an answer with its kind; objects inside rows are rows of a kind of their own.
fn rows(kind: Kind, name: &str, data: &Value, out: &mut Vec<(String, Value)>) {
    match data {
        Value::Array(items) => items.iter().for_each(|item| rows(kind, name, item, out)),
        Value::Object(fields) => {
            let own = format!("{name}{}", kind(data));
            for (key, value) in fields {
                let inner = format!("{own}.{key}");
                // Objects with names for keys (disks, paths, nodes) have no shape of their own.
                let named = [
                    "blockstat",
                    "proxmox-support",
                    "results",
                    "node_status",
                    "service_status",
                    "lrm_status",
                ];
                if value.is_object() && !named.contains(&key.as_str()) {
                    rows(|_| String::new(), &inner, value, out);
                }
            }
            out.push((own, data.clone()));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn learn(shapes: &mut Shapes, kind: Kind, name: &str, data: &Value) {
    let mut found = Vec::new();
    rows(kind, name, data, &mut found);
    for (row, value) in found {
        let shape = shapes.entry(row).or_default();
        let fields = value.as_object().unwrap();
        let keys: BTreeSet<String> = fields.keys().cloned().collect();
        let always = shape.always.get_or_insert_with(|| keys.clone());
        always.retain(|key| keys.contains(key));
        for (key, value) in fields {
            shape.types.entry(key.clone()).or_default().insert(type_of(value));
        }
    }
}

/// The differences, one line each.
fn compare(shapes: &Shapes, kind: Kind, name: &str, data: &Value) -> BTreeSet<String> {
    let mut found = Vec::new();
    rows(kind, name, data, &mut found);
    let mut wrong = BTreeSet::new();
    for (row, value) in found {
        let Some(shape) = shapes.get(&row) else {
            wrong.insert(format!("{row}: no recorded row is of this kind"));
            continue;
        };
        let fields = value.as_object().unwrap();
        for (key, value) in fields {
            match shape.types.get(key) {
                None if SCHEMA_ONLY.contains(&(name, key)) => {}
                None => _ = wrong.insert(format!("{row}: has `{key}`, which the real one lacks")),
                Some(types) if !types.contains(type_of(value)) => {
                    wrong.insert(format!("{row}: `{key}` is a {}, the real one {types:?}", type_of(value)));
                }
                Some(_) => {}
            }
        }
        for key in shape.always.iter().flatten().filter(|key| !fields.contains_key(*key)) {
            if !NOT_SIMULATED.iter().any(|(known, name, _)| *known == row && name == key) {
                wrong.insert(format!("{row}: lacks `{key}`, which the real one always has"));
            }
        }
    }
    wrong
}

fn text(row: &Value, key: &str) -> String {
    row[key].as_str().map(|value| format!(" {value}")).unwrap_or_default()
}

fn plain(_: &Value) -> String {
    String::new()
}

fn resource(row: &Value) -> String {
    let template = if row["template"] == 1 { " template" } else { "" };
    let pool = if row["type"] == "pool" && row.get("cpu").is_some() { " with members" } else { "" };
    format!("{}{}{template}{pool}", text(row, "type"), text(row, "status"))
}

fn status_of(row: &Value) -> String {
    let template = if row["template"] == 1 { " template" } else { "" };
    format!("{}{template}", text(row, "status"))
}

fn storage(row: &Value) -> String {
    format!(" active {} enabled {}", row["active"], row["enabled"])
}

/// Running, ended well or badly: their status is a free text.
fn task(row: &Value) -> String {
    let state = if row.get("endtime").is_some() { "ended" } else { "running" };
    let token = if row.get("tokenid").is_some() { " token" } else { "" };
    format!(" {state}{token}")
}

fn ha(row: &Value) -> String {
    text(row, "type")
}

fn recorded(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
    let whole: Value = serde_json::from_str(&text).unwrap();
    let body = whole["response"]["json"].clone();
    assert!(body.is_object(), "{file} holds no JSON");
    body
}

struct Row {
    name: &'static str,
    kind: Kind,
    recorded: &'static [&'static str],
    path: &'static str,
    token: &'static str,
}

#[rustfmt::skip]
const TABLE: &[Row] = &[
    Row { name: "version", kind: plain, recorded: &["version.json"], path: "/version", token: AUDITOR },
    Row { name: "node version", kind: plain, recorded: &["pve1.version.json"], path: "/nodes/pve1/version", token: AUDITOR },
    Row { name: "nodes", kind: status_of, recorded: &["nodes.json", "no-quorum.nodes.json"], path: "/nodes", token: AUDITOR },
    Row { name: "nodes without rights", kind: status_of, recorded: &["as-mon-sep.nodes.json"], path: "/nodes", token: NOBODY },
    Row { name: "resources", kind: resource, recorded: &["cluster-resources.json", "qmp.cluster-resources.json", "standalone.cluster-resources.json"], path: "/cluster/resources", token: AUDITOR },
    Row { name: "resources without rights", kind: resource, recorded: &["as-mon-sep.cluster-resources.json"], path: "/cluster/resources", token: NOBODY },
    Row { name: "cluster status", kind: ha, recorded: &["cluster-status.json"], path: "/cluster/status", token: AUDITOR },
    Row { name: "cluster tasks", kind: task, recorded: &["cluster-tasks.json", "task.cluster-active.json"], path: "/cluster/tasks", token: AUDITOR },
    Row { name: "node tasks", kind: task, recorded: &["pve1.tasks.json", "task.after-shutdown-timeout.json", "task.node-active.json"], path: "/nodes/pve1/tasks?source=all", token: AUDITOR },
    Row { name: "node status", kind: plain, recorded: &["pve1.status.json"], path: "/nodes/pve1/status", token: AUDITOR },
    Row { name: "qemu list", kind: status_of, recorded: &["pve1.qemu.json", "node-qemu.json"], path: "/nodes/pve1/qemu", token: AUDITOR },
    Row { name: "lxc list", kind: status_of, recorded: &["pve1.lxc.json"], path: "/nodes/pve1/lxc", token: AUDITOR },
    Row { name: "qemu current", kind: status_of, recorded: &["qmp.qemu-100-current.json"], path: "/nodes/pve1/qemu/100/status/current", token: AUDITOR },
    Row { name: "qemu current of HA", kind: status_of, recorded: &["qmp.qemu-101-current.json"], path: "/nodes/pve1/qemu/101/status/current", token: AUDITOR },
    Row { name: "lxc current", kind: status_of, recorded: &["lxc-200-current.json"], path: "/nodes/pve1/lxc/200/status/current", token: AUDITOR },
    Row { name: "lxc current stopped", kind: status_of, recorded: &["lxc-201-current.json"], path: "/nodes/pve1/lxc/201/status/current", token: AUDITOR },
    Row { name: "qemu config", kind: plain, recorded: &["qemu-100-config.json"], path: "/nodes/pve1/qemu/100/config", token: AUDITOR },
    Row { name: "lxc config", kind: plain, recorded: &["lxc-200-config.json"], path: "/nodes/pve1/lxc/200/config", token: AUDITOR },
    Row { name: "qemu history", kind: plain, recorded: &["qemu-100-rrd.json"], path: "/nodes/pve1/qemu/100/rrddata?timeframe=hour", token: AUDITOR },
    Row { name: "lxc history", kind: plain, recorded: &["lxc-200-rrd.json"], path: "/nodes/pve1/lxc/200/rrddata?timeframe=hour", token: AUDITOR },
    Row { name: "node history", kind: plain, recorded: &["node-rrddata.json"], path: "/nodes/pve1/rrddata?timeframe=hour&cf=AVERAGE", token: AUDITOR },
    Row { name: "node storage", kind: storage, recorded: &["pve1.storage.json"], path: "/nodes/pve1/storage", token: AUDITOR },
    Row { name: "HA", kind: ha, recorded: &["ha-status-current.json", "cluster3.ha-status-current.json"], path: "/cluster/ha/status/current", token: AUDITOR },
    Row { name: "HA manager", kind: plain, recorded: &["ha-manager-status.json", "cluster3.ha-manager-status.json"], path: "/cluster/ha/status/manager_status", token: AUDITOR },
    Row { name: "qemu current of a hung one", kind: status_of, recorded: &["qemu-106-current.json", "no-qmp.qemu-100-current.json"], path: "/nodes/pve2/qemu/111/status/current", token: AUDITOR },
    Row { name: "services", kind: plain, recorded: &["node-services.json"], path: "/nodes/pve1/services", token: AUDITOR },
    Row { name: "services of another node", kind: plain, recorded: &["node-services.json"], path: "/nodes/pve2/services", token: AUDITOR },
    Row { name: "node time", kind: plain, recorded: &["node-time.json"], path: "/nodes/pve1/time", token: AUDITOR },
    Row { name: "node config", kind: plain, recorded: &["node-config.json"], path: "/nodes/pve1/config", token: AUDITOR },
    Row { name: "cluster log without its right", kind: plain, recorded: &["cluster-log.json"], path: "/cluster/log?max=5", token: AUDITOR },
    Row { name: "resources of a pool's user", kind: resource, recorded: &["as-poolop-t1.cluster-resources.json"], path: "/cluster/resources", token: POOL_USER },
    Row { name: "permissions of a pool's user", kind: plain, recorded: &["as-poolop-t1.access-permissions.json"], path: "/access/permissions", token: POOL_USER },
    Row { name: "not backed up", kind: plain, recorded: &["backup-notbacked.json"], path: "/cluster/backup-info/not-backed-up", token: AUDITOR },
    Row { name: "an unknown parameter", kind: plain, recorded: &["err.bad-param-type.json"], path: "/cluster/resources?type=bogus", token: AUDITOR },
    Row { name: "an unknown path", kind: plain, recorded: &["err.unknown-path.json"], path: "/nosuch", token: AUDITOR },
];

#[tokio::test]
async fn every_answer_has_the_shape_of_a_real_one() {
    let mut options = Options::script(&Script::parse(LAB).unwrap()).unwrap();
    options.tokens = tokens();
    options.tokens.push(format!("{POOL_USER}:user@/pool/prod").parse().unwrap());
    options.speed = 10.0;
    let server = Server::start(options).unwrap();
    // Some tasks of every sort: ended by a token, ended by root, and one that runs for a minute.
    let started = ask(&server, "POST", "/nodes/pve1/qemu/104/status/start", OPERATOR).await;
    for line in ["start qemu/106", "start qemu/105 by op@pve!t1", "hang qemu/111", "kill-node pve3"] {
        server.apply(line).unwrap();
    }
    let path = format!("/nodes/pve1/tasks/{}/status", started.data().as_str().unwrap());
    let mut wrong = BTreeSet::new();
    let mut seen_running = false;
    loop {
        let reply = ask(&server, "GET", &path, AUDITOR).await;
        let running = reply.data()["status"] == "running";
        seen_running |= running;
        let file = if running { "task.status-immediately.json" } else { "task.status-failed.json" };
        let mut shapes = Shapes::new();
        learn(&mut shapes, plain, "task status", &recorded(file)["data"]);
        wrong.extend(compare(&shapes, plain, "task status", &reply.data()));
        if !running {
            break;
        }
    }
    assert!(seen_running, "the task was over before anybody saw it run");
    while ask(&server, "GET", "/nodes", AUDITOR).await.row("node", "pve3")["status"] != "offline" {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    for row in TABLE {
        let mut shapes = Shapes::new();
        for file in row.recorded {
            learn(&mut shapes, plain, &format!("{} (around)", row.name), &without_data(&recorded(file)));
            learn(&mut shapes, row.kind, row.name, &recorded(file)["data"]);
        }
        add_unrecorded(&mut shapes, row.name);
        let reply = ask(&server, "GET", row.path, row.token).await;
        let around = compare(&shapes, plain, &format!("{} (around)", row.name), &without_data(&reply.json()));
        wrong.extend(around);
        wrong.extend(compare(&shapes, row.kind, row.name, &reply.data()));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    server.shutdown().await;
}

/// The outermost object, where what it holds is no row.
fn without_data(body: &Value) -> Value {
    let mut body = body.clone();
    body["data"] = Value::Null;
    body
}

/// Kinds of rows that were seen, but not in a file of the right sort: they are made of one that was.
fn add_unrecorded(shapes: &mut Shapes, name: &str) {
    let alike: &[(&str, &str, &str)] = match name {
        // timeline-node-killed: offline, it keeps its sizes and loses cpu, mem, disk and uptime.
        "resources" => &[("resources node offline", "resources node online", "cpu mem disk uptime")],
        "resources without rights" => {
            &[("resources without rights node offline", "resources without rights node online", "")]
        }
        "resources of a pool's user" => {
            &[("resources of a pool's user node offline", "resources of a pool's user node online", "")]
        }
        "nodes without rights" => &[("nodes without rights offline", "nodes without rights online", "")],
        _ => &[],
    };
    for (made, from, without) in alike {
        let source = &shapes[*from];
        let without: BTreeSet<&str> = without.split(' ').collect();
        let always = source.always.clone().unwrap_or_default();
        let always = always.into_iter().filter(|key| !without.contains(key.as_str())).collect();
        let types = source.types.clone().into_iter().filter(|(key, _)| !without.contains(key.as_str()));
        let shape = Shape { always: Some(always), types: types.collect() };
        shapes.insert((*made).into(), shape);
    }
}

#[test]
fn a_difference_is_named() {
    let mut shapes = Shapes::new();
    learn(&mut shapes, plain, "row", &serde_json::json!([{"a": 1, "b": "x"}, {"a": 2}]));
    let data = serde_json::json!([{"a": "1", "c": 0}, {"b": "x"}]);
    let wrong: Vec<String> = compare(&shapes, plain, "row", &data).into_iter().collect();
    assert_eq!(
        wrong,
        [
            "row: `a` is a text, the real one {\"number\"}",
            "row: has `c`, which the real one lacks",
            "row: lacks `a`, which the real one always has",
        ]
    );
}
