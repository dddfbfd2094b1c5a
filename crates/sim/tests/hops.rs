//! What lies between a client and an answer: dead hops, busy workers, lost rights, single faults, on the real clock.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic, its helpers too")]
#![cfg(feature = "http")]

mod common;

use std::time::{Duration, Instant};

use common::{AUDITOR, Connection, OPERATOR, ask, ask_at, tokens, until};
use serde_json::Value;
use sim::http::{Fault, Options, Server};
use sim::script::Script;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// All that an auditor sees, and the logs.
const OBSERVER: &str = "obs@pve!t1=obs-secret";

const LAB: &str = "
    nodes pve1 pve2 pve3
    guest qemu/100 web01 on pve1 running pool=prod
    guest qemu/104 idle on pve1
    guest qemu/110 app01 on pve2 running ha=started
    guest qemu/111 stuck on pve2 running
    guest lxc/200 dns on pve1 running pool=prod
    storage nfs shared 1000GiB used 40%
    at 10:00:00 end";

fn start(change: impl FnOnce(&mut Options)) -> Server {
    let mut options = Options::script(&Script::parse(LAB).unwrap()).unwrap();
    options.tokens = tokens();
    options.tokens.push(format!("{OBSERVER}:observer").parse().unwrap());
    options.delay_401 = Duration::from_millis(20);
    change(&mut options);
    Server::start(options).unwrap()
}

fn rows(data: &Value) -> &Vec<Value> {
    data.as_array().unwrap_or_else(|| panic!("no list: {data}"))
}

/// Seconds of the cluster that something took.
async fn timed<R>(speed: f64, work: impl Future<Output = R>) -> (R, f64) {
    let began = Instant::now();
    let done = work.await;
    (done, began.elapsed().as_secs_f64() * speed)
}

/// pve-domain 4.3: which hop failed shows only in what else still answers.
#[tokio::test]
async fn one_row_per_hop_that_fails() {
    const SPEED: f64 = 20.0;
    const NO_CLUSTERFS: &str =
        "500 RPCEnvironment init request failed: Unable to load access control list: Connection refused";
    struct Row {
        name: &'static str,
        breaks: &'static str,
        mends: &'static str,
        // What each says: asked by pve1 or by pve2 itself, and after how many seconds.
        asked: &'static [(usize, &'static str, &'static str, std::ops::Range<f64>)],
    }
    // A handshake of 20 ms on a busy machine is 0.4 s here.
    let table = [
        Row {
            name: "pveproxy is down",
            breaks: "daemon pve2 pveproxy down",
            mends: "daemon pve2 pveproxy up",
            asked: &[
                (0, "/nodes/pve2/status", "595 Connection refused", 0.0..2.9),
                (0, "/nodes/pve2/qemu", "595 Connection refused", 0.0..2.9),
                (0, "/nodes/pve1/qemu", "200 OK", 0.0..2.9),
            ],
        },
        Row {
            name: "pvedaemon is down",
            breaks: "daemon pve2 pvedaemon down",
            mends: "daemon pve2 pvedaemon up",
            asked: &[
                (0, "/nodes/pve2/status", "200 OK", 0.0..2.9),
                (0, "/nodes/pve2/qemu", "595 Connection refused", 0.0..2.9),
                (1, "/nodes/pve2/status", "200 OK", 0.0..2.9),
                (1, "/nodes/pve2/qemu", "595 Connection refused", 0.0..2.9),
                (1, "/cluster/status", "595 Connection refused", 0.0..2.9),
                (1, "/cluster/resources", "200 OK", 0.0..2.9),
                (1, "/nodes/pve1/qemu", "200 OK", 0.0..2.9),
            ],
        },
        Row {
            name: "pvedaemon hangs",
            breaks: "daemon pve2 hang down",
            mends: "daemon pve2 hang up",
            asked: &[
                (0, "/nodes/pve2/status", "200 OK", 0.0..2.9),
                (0, "/nodes/pve2/qemu", "596 Connection timed out", 29.9..36.0),
                (1, "/nodes/pve2/services", "596 Connection timed out", 29.9..36.0),
                (1, "/version", "200 OK", 0.0..2.9),
            ],
        },
        Row {
            name: "pmxcfs is down",
            breaks: "daemon pve2 pmxcfs down",
            mends: "daemon pve2 pmxcfs up",
            asked: &[
                (1, "/version", NO_CLUSTERFS, 2.9..6.0),
                (1, "/cluster/resources", NO_CLUSTERFS, 2.9..6.0),
                (0, "/nodes/pve2/status", NO_CLUSTERFS, 2.9..6.0),
            ],
        },
        Row {
            name: "a cut network",
            breaks: "side 1 pve2",
            mends: "side 0 pve2",
            asked: &[
                (0, "/nodes/pve2/status", "595 No route to host", 2.9..6.0),
                (1, "/nodes/pve1/qemu", "595 No route to host", 2.9..6.0),
                (1, "/nodes/pve2/qemu", "200 OK", 0.0..2.9),
            ],
        },
        Row {
            name: "no power",
            breaks: "kill-node pve2",
            mends: "start-node pve2",
            asked: &[(0, "/nodes/pve2/status", "595 No route to host", 2.9..6.0)],
        },
    ];
    let server = start(|options| options.speed = SPEED);
    for row in table {
        server.apply(row.breaks).unwrap();
        for (k, path, expected, within) in row.asked {
            let what = format!("{}: {path} asked at node {}", row.name, k + 1);
            let (reply, took) = timed(SPEED, ask_at(&server, *k, path, AUDITOR)).await;
            assert_eq!(reply.line(), *expected, "{what}");
            assert!(within.contains(&took), "{what}: after {took:.1} s");
            assert!(reply.status == 200 || reply.body.is_empty(), "{what}: {}", reply.body);
        }
        server.apply(row.mends).unwrap();
        until("it answers again", || async {
            Connection::open(&server, 1).await.is_ok()
                && ask(&server, "GET", "/nodes/pve2/qemu", AUDITOR).await.status == 200
        })
        .await;
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_node_without_pveproxy_refuses_connections_and_stays_online() {
    let server = start(|_| ());
    server.apply("daemon pve2 pveproxy down").unwrap();
    until("nobody listens", || async { Connection::open(&server, 1).await.is_err() }).await;
    let status = ask(&server, "GET", "/cluster/status", AUDITOR).await;
    assert_eq!(status.row("name", "pve2")["online"], 1);
    server.apply("daemon pve2 pveproxy up").unwrap();
    until("it listens", || async { Connection::open(&server, 1).await.is_ok() }).await;
    server.shutdown().await;
}

#[tokio::test]
async fn each_side_of_a_cut_shows_its_own_view() {
    let server = start(|_| ());
    server.apply("side 1 pve3").unwrap();
    let view = async |k| {
        let reply = ask_at(&server, k, "/cluster/status", AUDITOR).await;
        let online = |name| reply.row("name", name)["online"].as_i64().unwrap();
        (reply.row("type", "cluster")["quorate"].as_i64().unwrap(), online("pve1"), online("pve3"))
    };
    assert_eq!(view(0).await, (1, 1, 0), "the majority");
    assert_eq!(view(2).await, (0, 0, 1), "the minority");
    let nodes = ask_at(&server, 2, "/nodes", AUDITOR).await;
    assert_eq!(nodes.row("node", "pve1")["status"], "offline");
    // What the majority does from now on, the minority does not hear.
    let started = ask(&server, "POST", "/nodes/pve1/qemu/104/status/start", OPERATOR).await;
    let upid = started.data().as_str().unwrap().to_owned();
    let listed = async |k| !ask_at(&server, k, "/cluster/tasks", AUDITOR).await.row("upid", &upid).is_null();
    assert!(listed(0).await, "on its own side");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let later = ask(&server, "POST", "/nodes/pve1/qemu/104/status/stop", OPERATOR).await;
    let later = later.data().as_str().unwrap().to_owned();
    assert!(ask_at(&server, 2, "/cluster/tasks", AUDITOR).await.row("upid", &later).is_null());
    server.shutdown().await;
}

#[tokio::test]
async fn a_dead_nodes_tasks_run_for_ever() {
    let server = start(|options| options.speed = 20.0);
    server.apply("shutdown qemu/111 timeout=300 by op@pve").unwrap();
    server.apply("kill-node pve2").unwrap();
    until("it is offline", || async {
        ask(&server, "GET", "/nodes", AUDITOR).await.row("node", "pve2")["status"] == "offline"
    })
    .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let task = ask(&server, "GET", "/cluster/tasks", AUDITOR).await.row("type", "qmshutdown");
    assert!(task["pid"].is_number() && task.get("endtime").is_none(), "{task}");
    server.shutdown().await;
}

/// pve-domain 7.1: who gives up does not free the worker that he kept busy.
#[tokio::test]
async fn abandoned_questions_keep_their_workers() {
    const SPEED: f64 = 5.0;
    let server = start(|options| options.speed = SPEED);
    let text = format!(
        "GET /api2/json/nodes/pve1/services HTTP/1.1\r\nAuthorization: PVEAPIToken={AUDITOR}\r\n\r\n"
    );
    for _ in 0..9 {
        let mut connection = Connection::open(&server, 0).await.unwrap();
        connection.send(&text).await.unwrap();
        // Time to be read, and gone.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (reply, took) = timed(SPEED, ask(&server, "GET", "/nodes/pve1/qemu", AUDITOR)).await;
    assert!(reply.status == 200 && took > 1.0, "three rounds of 0.7 s were before it: {took:.2} s");
    let (_, free) = timed(SPEED, ask(&server, "GET", "/version", AUDITOR)).await;
    assert!(free < 1.0, "pveproxy itself is free: {free:.2} s");
    server.shutdown().await;
}

#[tokio::test]
async fn a_pvedaemon_that_is_restarted_drops_what_it_had() {
    let server = start(|_| ());
    server.apply("daemon pve1 hang down").unwrap();
    let asked = ask(&server, "GET", "/nodes/pve1/qemu", AUDITOR);
    let restart = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.apply("daemon pve1 pvedaemon down").unwrap();
    };
    let (reply, ()) = tokio::join!(asked, restart);
    assert_eq!(reply.line(), "596 Connection reset by peer");
    server.shutdown().await;
}

/// pve-crash-evidence 3: one connection is monotonic, another one is answered from another copy.
#[tokio::test]
async fn answers_go_back_in_time_between_connections_only() {
    let server = start(|options| options.speed = 4.0);
    let uptimes = async |connection: &mut Connection| {
        let reply = connection.ask("GET", "/nodes", AUDITOR, "").await.unwrap();
        rows(&reply.data()).iter().map(|row| row["uptime"].as_u64().unwrap()).sum::<u64>()
    };
    // Two connections, two workers; asked a second of the cluster apart, they read anew a second apart.
    let mut one = Connection::open(&server, 0).await.unwrap();
    let mut last_one = uptimes(&mut one).await;
    tokio::time::sleep(Duration::from_millis(250)).await;
    let mut other = Connection::open(&server, 0).await.unwrap();
    let mut last_other = uptimes(&mut other).await;
    let mut back = 0;
    // Each node tells the others once in 10 s.
    for _ in 0..60 {
        let now_one = uptimes(&mut one).await;
        let now_other = uptimes(&mut other).await;
        assert!(now_one >= last_one && now_other >= last_other, "one worker never goes back");
        back += u32::from(now_other < now_one || now_one < last_other);
        (last_one, last_other) = (now_one, now_other);
        tokio::time::sleep(Duration::from_millis(45)).await;
    }
    assert!(back > 0, "no answer was older than one before it");
    server.shutdown().await;
}

#[tokio::test]
async fn a_hung_machine_runs_and_says_nothing() {
    const SPEED: f64 = 5.0;
    let server = start(|options| options.speed = SPEED);
    server.apply("hang qemu/111").unwrap();
    let path = "/nodes/pve2/qemu/111/status/current";
    let (hung, took) = timed(SPEED, ask(&server, "GET", path, AUDITOR)).await;
    assert!((3.0..6.0).contains(&took), "its monitor is waited for: {took:.1} s");
    let hung = hung.data();
    assert_eq!((&hung["status"], &hung["qmpstatus"]), (&"running".into(), &"running".into()));
    for field in ["running-qemu", "running-machine", "proxmox-support", "blockstat", "diskread"] {
        assert!(hung.get(field).is_none(), "{field} comes from QEMU: {hung}");
    }
    let sound = ask(&server, "GET", "/nodes/pve2/qemu/110/status/current", AUDITOR).await.data();
    assert!(sound["running-qemu"].is_string() && sound["blockstat"].is_object());
    let (list, took) = timed(SPEED, ask(&server, "GET", "/nodes/pve2/qemu", AUDITOR)).await;
    assert!(took < 2.5 && list.row("vmid", "").is_null(), "the plain list asks no monitor: {took:.1} s");
    server.shutdown().await;
}

#[tokio::test]
async fn a_journal_is_compressed_and_ends_with_its_connection() {
    let server = start(|options| options.speed = 5.0);
    let journal = async |query: &str| {
        let path = format!("/nodes/pve1/journal?{query}");
        ask(&server, "GET", &path, OBSERVER).await
    };
    let denied = ask(&server, "GET", "/nodes/pve1/journal?lastentries=1", AUDITOR).await;
    assert_eq!(denied.line(), "403 Permission check failed (/nodes/pve1, Sys.Syslog)");
    server.apply("stop qemu/100 by alice@pve").unwrap();
    until("its scope is gone", || async { journal("").await.body.contains("100.scope: Deactivated") }).await;
    let reply = journal("lastentries=1").await;
    assert_eq!(reply.all("Content-Encoding"), ["gzip"]);
    assert_eq!(reply.all("Content-Type"), ["application/json"]);
    assert_eq!((reply.all("Content-Length").len(), reply.all("Connection")), (0, vec!["close"]));
    let data = reply.data();
    let text = |at: usize| data[at].as_str().unwrap().to_owned();
    assert!(rows(&data).len() == 3 && text(0).starts_with("s=") && text(2) == text(0), "{data}");
    assert!(text(1).contains(" pve1 "), "{data}");
    let cursor = text(2).replace(';', "%3B").replace('=', "%3D");
    let (quiet, after) = (journal(&format!("startcursor={cursor}")).await.data(), cursor);
    if rows(&quiet).len() == 2 {
        assert_eq!(quiet[0], quiet[1], "nothing new is the cursor twice");
    }
    server.apply("start qemu/104").unwrap();
    until("new lines", || async {
        journal(&format!("startcursor={after}")).await.body.contains("qmstart:104")
    })
    .await;
    #[rustfmt::skip]
    let table = [
        ("a cursor that is none",      "startcursor=nonsense",              200, true),
        ("a time to come",             "since=4102444800",                  200, true),
        ("two beginnings",             "since=1&lastentries=3",             200, true),
        ("a unit with a blank",        "unit=a%20b",                        400, false),
        ("a priority that is none",    "priority=9",                        400, false),
        ("all of a unit",              "unit=100.scope",                    200, false),
    ];
    for (name, query, status, empty) in table {
        let reply = journal(query).await;
        assert_eq!((reply.status, reply.body.is_empty()), (status, empty), "{name}: {}", reply.body);
    }
    let scope = journal("unit=100.scope").await.data();
    let lines = &rows(&scope)[1..rows(&scope).len() - 1];
    assert!(
        !lines.is_empty() && lines.iter().all(|line| line.as_str().unwrap().contains("100.scope")),
        "{scope}"
    );
    server.shutdown().await;
}

#[tokio::test]
async fn gzip_goes_to_who_reads_it() {
    let server = start(|_| ());
    let mut connection = Connection::open(&server, 0).await.unwrap();
    for (name, path, header, expected) in [
        ("a long answer", "/cluster/resources", "Accept-Encoding: gzip, deflate\r\n", 1),
        ("a short one", "/version", "Accept-Encoding: gzip\r\n", 0),
        ("a client that cannot", "/cluster/resources", "", 0),
    ] {
        let text =
            format!("GET /api2/json{path} HTTP/1.1\r\nAuthorization: PVEAPIToken={AUDITOR}\r\n{header}\r\n");
        connection.send(&text).await.unwrap();
        let reply = connection.receive().await.unwrap();
        assert_eq!(reply.all("Content-Encoding").len(), expected, "{name}");
        assert!(reply.json()["data"].is_array() || path == "/version", "{name}");
    }
    server.shutdown().await;
}

/// pve-domain 5.4: nothing is refused, it is only not there.
#[tokio::test]
async fn one_row_per_right_that_is_missing() {
    let server = start(|_| ());
    server.apply("stop qemu/100 by op@pve!t1").unwrap();
    let count = |data: &Value, kind: &str| rows(data).iter().filter(|row| row["type"] == kind).count();
    #[rustfmt::skip]
    let table = [
        // name, rights, machines, containers, storages, pools, nodes with numbers, /cluster/status, tasks shown
        ("an auditor",                "auditor",                       4, 1, 3, 1, 3, 200, true),
        ("no rights of its own",      "none",                          0, 0, 0, 0, 0, 403, false),
        ("one guest",                 "auditor@/vms/100",              1, 0, 0, 0, 0, 403, false),
        ("a pool",                    "auditor@/pool/prod",            1, 1, 0, 1, 0, 403, false),
        ("a pool, as its user",       "user@/pool/prod",               1, 1, 0, 0, 0, 403, false),
        ("a node's numbers missing",  "auditor,none@/nodes/pve2",      4, 1, 3, 1, 2, 200, true),
        ("no storages",               "auditor-Datastore.Audit",       4, 1, 0, 1, 3, 200, true),
        ("no Sys.Audit",              "auditor-Sys.Audit",             4, 1, 3, 1, 0, 403, false),
    ];
    for (name, rights, machines, containers, storages, pools, numbers, status, tasks) in table {
        server.apply(&format!("rights mon@pve!t1 {rights}")).unwrap();
        let data = ask(&server, "GET", "/cluster/resources", AUDITOR).await.data();
        let seen = ["qemu", "lxc", "storage", "pool"].map(|kind| count(&data, kind));
        assert_eq!(seen, [machines, containers, storages, pools], "{name}");
        let counted = rows(&data).iter().filter(|row| row["type"] == "node" && row["cpu"].is_number());
        assert_eq!((count(&data, "node"), counted.count()), (3, numbers), "{name}: nodes are always listed");
        assert_eq!(ask(&server, "GET", "/cluster/status", AUDITOR).await.status, status, "{name}");
        let listed = ask(&server, "GET", "/cluster/tasks", AUDITOR).await.data();
        assert_eq!(!rows(&listed).is_empty(), tasks, "{name}: tasks");
        let log = ask(&server, "GET", "/cluster/log?max=9", AUDITOR).await.data();
        assert_eq!(log, serde_json::json!([]), "{name}: the log needs Sys.Syslog");
        let shown = ask(&server, "GET", "/access/permissions", AUDITOR).await.data();
        assert_eq!(
            shown.get("/").is_some(),
            rights.starts_with("auditor") && !rights.starts_with("auditor@"),
            "{name}"
        );
    }
    // A token sees its own tasks at the node, and never in the cluster's list.
    server.apply("rights op@pve!t1 user@/vms/100").unwrap();
    assert_eq!(ask(&server, "GET", "/cluster/tasks", OPERATOR).await.data(), serde_json::json!([]));
    let own = ask(&server, "GET", "/nodes/pve1/tasks?source=all", OPERATOR).await;
    assert_eq!(own.row("type", "qmstop")["id"], "100");
    let held = ask(&server, "GET", "/access/permissions", OBSERVER).await.data();
    assert_eq!((&held["/nodes"]["Sys.Syslog"], &held["/"]["Sys.Audit"]), (&1.into(), &1.into()));
    let log = ask(&server, "GET", "/cluster/log?max=5", OBSERVER).await.data();
    assert!(
        rows(&log).iter().any(|row| row["msg"].as_str().unwrap().starts_with("starting task UPID")),
        "{log}"
    );
    server.shutdown().await;
}

#[tokio::test]
async fn tokens_come_and_go_while_it_runs() {
    const SPEED: f64 = 10.0;
    let server = start(|options| {
        options.speed = SPEED;
        options.delay_401 = sim::http::DELAY_401;
    });
    assert_eq!(ask(&server, "GET", "/version", AUDITOR).await.status, 200);
    server.apply("revoke mon@pve!t1").unwrap();
    let (reply, took) = timed(SPEED, ask(&server, "GET", "/version", AUDITOR)).await;
    assert_eq!((reply.line().as_str(), reply.body.as_str()), ("401 Authentication failed!", ""));
    assert!((3.0..6.0).contains(&took), "held back for {took:.1} s");
    server.apply(&format!("token {AUDITOR}:auditor")).unwrap();
    assert_eq!(ask(&server, "GET", "/version", AUDITOR).await.status, 200);
    for (line, expected) in [
        ("revoke nobody@pve!x", "there is no token"),
        ("rights mon@pve!t1 auditr", "are no rights"),
        ("rights mon@pve!t1", "rights TOKEN RIGHTS"),
        ("token nonsense", "a token is written"),
        ("fault nonsense", "is no fault"),
    ] {
        let error = server.apply(line).unwrap_err().to_string();
        assert!(error.contains(expected), "{line}: {error}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn one_row_per_single_fault() {
    let server = start(|options| options.control = Some("127.0.0.1:0".parse().unwrap()));
    let get = |path: &'static str| {
        let server = &server;
        async move {
            let mut connection = Connection::open(server, 0).await.unwrap();
            let asked = connection.ask("GET", path, AUDITOR, "");
            let reply = tokio::time::timeout(Duration::from_millis(400), asked).await;
            match reply {
                Ok(Some(reply)) => reply.line(),
                Ok(None) => "ended".into(),
                Err(_) => "silence".into(),
            }
        }
    };
    for (fault, expected) in [
        ("timeout", "silence"),
        ("500", "500 got lock request timeout"),
        ("595", "595 Connection refused"),
        ("reset", "ended"),
        ("truncated", "ended"),
    ] {
        server.apply(&format!("fault {fault} n=2 path=/nodes/pve1")).unwrap();
        assert_eq!(get("/cluster/resources").await, "200 OK", "{fault}: another path");
        assert_eq!(get("/nodes/pve1/qemu").await, "200 OK", "{fault}: the first");
        assert_eq!(get("/nodes/pve1/qemu").await, expected, "{fault}: the second");
        assert_eq!(get("/nodes/pve1/qemu").await, "200 OK", "{fault}: only once");
        let counts = server.faults();
        assert_eq!((counts.asked, counts.failed), (3, 1), "{fault}: it is used up with the third");
        assert_eq!(counts.calls["GET /nodes/pve1/qemu"], 1, "{fault}");
    }
    assert_eq!(server.faults().kinds[&Fault::Truncated], 1);
    // An answer that is lost was an act that was done.
    server.apply("fault reset").unwrap();
    let mut connection = Connection::open(&server, 0).await.unwrap();
    assert!(connection.ask("POST", "/nodes/pve1/qemu/104/status/start", OPERATOR, "").await.is_none());
    let tasks = ask(&server, "GET", "/nodes/pve1/tasks?source=all&vmid=104", AUDITOR).await;
    assert_eq!(tasks.row("type", "qmstart")["id"], "104");
    let mut stream = tokio::net::TcpStream::connect(server.control_addr().unwrap()).await.unwrap();
    stream.write_all(b"GET /faults HTTP/1.1\r\n\r\n").await.unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).await.unwrap();
    assert!(told.contains("\"reset\":1"), "{told}");
    server.apply("fault 595 p=1").unwrap();
    assert_eq!(get("/version").await, "595 Connection refused");
    server.apply("fault off").unwrap();
    assert_eq!(get("/version").await, "200 OK");
    server.shutdown().await;
}

#[tokio::test]
async fn a_storage_that_is_gone_shows_at_its_node_first() {
    const SPEED: f64 = 10.0;
    let server = start(|options| options.speed = SPEED);
    server.apply("storage nfs on pve2 offline").unwrap();
    let listed = ask(&server, "GET", "/cluster/resources", AUDITOR).await;
    assert_eq!(listed.row("id", "storage/pve2/nfs")["status"], "available", "300 s long");
    let (reply, took) = timed(SPEED, ask(&server, "GET", "/nodes/pve2/storage", AUDITOR)).await;
    assert_eq!(
        (reply.row("storage", "nfs")["active"].as_i64(), reply.row("storage", "nfs")["total"].as_i64()),
        (Some(0), Some(0))
    );
    assert!((10.0..16.0).contains(&took), "its server is waited for: {took:.1} s");
    server.shutdown().await;
}

#[tokio::test]
async fn tasks_are_paged_and_filtered() {
    let server = start(|options| options.speed = 50.0);
    for line in
        ["start qemu/104 by a@pve", "stop qemu/100 by b@pve", "crash lxc/200", "start lxc/200 by a@pve"]
    {
        server.apply(line).unwrap();
    }
    let tasks =
        async |query: &str| ask(&server, "GET", &format!("/nodes/pve1/tasks?{query}"), AUDITOR).await.json();
    until("all have ended", || async { tasks("source=archive").await["total"] == 3 }).await;
    #[rustfmt::skip]
    let table = [
        ("finished ones",        "",                         3, 3),
        ("running ones",         "source=active",            0, 0),
        ("a page",               "limit=2",                  2, 3),
        ("the next page",        "limit=2&start=2",          1, 3),
        ("none",                 "limit=0",                  0, 3),
        ("of a guest",           "vmid=104",                 1, 1),
        ("of a type",            "typefilter=qmstop",        1, 1),
        ("of a user",            "userfilter=A%40PVE",       2, 2),
        ("of a class",           "statusfilter=ok",          3, 3),
        ("of another class",     "statusfilter=error",       0, 0),
        ("failed ones",          "errors=1",                 0, 0),
        ("from a time on",       "since=4102444800",         0, 0),
        ("up to a time",         "until=4102444800",         3, 3),
    ];
    for (name, query, count, total) in table {
        let reply = tasks(query).await;
        assert_eq!((rows(&reply["data"]).len(), reply["total"].as_u64().unwrap()), (count, total), "{name}");
    }
    for _ in 0..30 {
        server.apply("stop qemu/110 by b@pve").unwrap_or_default();
        server.apply("start qemu/104 by b@pve").unwrap();
    }
    let listed = ask(&server, "GET", "/cluster/tasks", AUDITOR).await.data();
    let of = |node: &str| rows(&listed).iter().filter(|row| row["node"] == node).count();
    assert_eq!((of("pve1"), of("pve2") <= 25), (25, true), "25 of each node at most");
    server.shutdown().await;
}

#[tokio::test]
async fn ha_tells_of_maintenance_and_of_a_node_that_is_gone() {
    let server = start(|options| options.speed = 60.0);
    server.apply("maintenance pve3 on").unwrap();
    let manager = async || ask(&server, "GET", "/cluster/ha/status/manager_status", AUDITOR).await.data();
    let state = manager().await;
    assert_eq!(state["manager_status"]["node_status"]["pve3"], "maintenance");
    assert_eq!(state["lrm_status"]["pve3"]["mode"], "maintenance");
    assert_eq!(state["lrm_status"]["pve2"]["state"], "active", "it holds a service");
    assert_eq!(state["lrm_status"]["pve1"]["state"], "wait_for_agent_lock", "it holds none");
    let listed = ask(&server, "GET", "/cluster/resources", AUDITOR).await;
    assert_eq!(listed.row("id", "node/pve3")["hastate"], "maintenance");
    server.apply("kill-node pve2").unwrap();
    until("its guest is recovered elsewhere", || async {
        let state = manager().await;
        let service = &state["manager_status"]["service_status"]["vm:110"];
        service["node"] == "pve1" && service["state"] == "started"
    })
    .await;
    let state = manager().await;
    assert_eq!(state["manager_status"]["node_status"]["pve2"], "unknown");
    let agents = ask(&server, "GET", "/cluster/ha/status/current", AUDITOR).await;
    let agent = agents.row("id", "lrm:pve2");
    assert!(agent["status"].as_str().unwrap().contains("old timestamp - dead?"), "{agent}");
    server.shutdown().await;
}

#[tokio::test]
async fn sensors_are_told_as_node_exporter_tells_them() {
    let server = start(|options| options.exporter = Some("127.0.0.1:0".parse().unwrap()));
    server.apply("temperature pve2 platform_coretemp_0/Package 87.5").unwrap();
    server.apply("temperature pve2 zone_x86_pkg_temp 81").unwrap();
    server.apply("temperature pve2 cpu 91").unwrap();
    let scrape = async |node: &str| {
        let address = server.exporters()[&node.parse().unwrap()];
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut reply = String::new();
        // Who has no power resets the connection; then nothing was read.
        stream.read_to_string(&mut reply).await.map(|_| reply).unwrap_or_default()
    };
    let text = scrape("pve2").await;
    for line in [
        "node_hwmon_temp_celsius{chip=\"cpu\",sensor=\"temp1\"} 91",
        "node_hwmon_sensor_label{chip=\"platform_coretemp_0\",label=\"Package\",sensor=\"temp2\"} 1",
        "node_thermal_zone_temp{type=\"zone_x86_pkg_temp\",zone=\"0\"} 81",
        "# TYPE node_hwmon_temp_celsius gauge",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(!scrape("pve1").await.contains("platform_coretemp_0"), "each node has its own sensors");
    server.apply("kill-node pve2").unwrap();
    assert_eq!(scrape("pve2").await, "", "nobody is there");
    server.shutdown().await;
}
