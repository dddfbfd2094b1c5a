//! The simulated cluster as a client meets it, on real ports and the real clock.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic, its helpers too")]
#![cfg(feature = "http")]

mod common;

use std::time::{Duration, Instant};

use common::{AUDITOR, Connection, NOBODY, OPERATOR, ask, tokens, until};
use sim::http::{Options, Server};
use sim::script::Script;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const LAB: &str = "
    nodes pve1 pve2 pve3
    guest qemu/100 web01 on pve1 running onboot tags=prod,web
    guest qemu/102 tmpl on pve1 template
    guest qemu/103 broken on pve1 broken
    guest qemu/104 idle on pve1
    guest qemu/105 locked on pve1 lock=backup
    guest qemu/106 paused on pve1 paused
    guest qemu/110 app01 on pve2 running
    guest lxc/200 dns on pve1 running
    guest lxc/201 old on pve1
    storage nfs shared 1000GiB used 40%
    at 1:00:00 end";

fn start(change: impl FnOnce(&mut Options)) -> Server {
    let mut options = Options::script(&Script::parse(LAB).unwrap()).unwrap();
    options.tokens = tokens();
    options.delay_401 = Duration::from_millis(20);
    change(&mut options);
    Server::start(options).unwrap()
}

/// Whether the server ends a connection by itself, and not because it has been silent for 5 s.
async fn ends_at_once(connection: &mut Connection) -> bool {
    matches!(tokio::time::timeout(Duration::from_secs(2), connection.receive()).await, Ok(None))
}

#[tokio::test]
async fn one_row_per_refusal() {
    let server = start(|_| ());
    let missing = "500 Configuration file 'nodes/pve1/qemu-server/999.conf' does not exist";
    let elsewhere = "500 Configuration file 'nodes/pve1/qemu-server/110.conf' does not exist";
    #[rustfmt::skip]
    let table = [
        // name, method, path, token, status line, whether there is a body
        ("a wrong secret", "GET", "/version", "op@pve!t1=wrong", "401 Authentication failed!", false),
        ("an unknown path", "GET", "/nosuch/thing", AUDITOR, "501 Method 'GET /nosuch/thing' not implemented", true),
        ("an unknown path without a token", "GET", "/nosuch", "x", "401 Authentication failed!", false),
        ("a method that is not there", "DELETE", "/version", AUDITOR, "501 Method 'DELETE /version' not implemented", true),
        ("HEAD", "HEAD", "/version", AUDITOR, "501 method 'HEAD' not available", false),
        ("GET of an act", "GET", "/nodes/pve1/qemu/104/status/start", OPERATOR, "501 Method 'GET /nodes/pve1/qemu/104/status/start' not implemented", true),
        ("a missing guest", "GET", "/nodes/pve1/qemu/999/status/current", AUDITOR, missing, true),
        ("a guest of another node", "GET", "/nodes/pve1/qemu/110/config", AUDITOR, elsewhere, true),
        ("a container asked as a machine", "GET", "/nodes/pve1/qemu/200/status/current", AUDITOR, "500 Configuration file 'nodes/pve1/qemu-server/200.conf' does not exist", true),
        ("a number that is none", "GET", "/nodes/pve1/qemu/abc/status/current", AUDITOR, "400 Parameter verification failed.", true),
        ("an unknown parameter", "GET", "/version?foo=bar", AUDITOR, "400 Parameter verification failed.", true),
        ("an unknown type", "GET", "/cluster/resources?type=lxc", AUDITOR, "400 Parameter verification failed.", true),
        ("an unknown task", "GET", "/nodes/pve1/tasks/UPID:pve1:0000AAAA:00001111:66666666:qmstart:104:op@pve!t1:/status", AUDITOR, "400 Parameter verification failed.", true),
        ("an unknown node", "GET", "/nodes/nonode/qemu", AUDITOR, "500 hostname lookup 'nonode' failed - failed to get address info for: nonode: Name or service not known", true),
        ("an auditor who starts", "POST", "/nodes/pve1/qemu/104/status/start", AUDITOR, "403 Permission check failed (/vms/104, VM.PowerMgmt)", true),
        ("the right before the thing", "POST", "/nodes/pve1/qemu/999/status/start", AUDITOR, "403 Permission check failed (/vms/999, VM.PowerMgmt)", true),
        ("nobody asks for the cluster", "GET", "/cluster/status", NOBODY, "403 Permission check failed (/, Sys.Audit)", true),
        ("nobody asks for a guest", "GET", "/nodes/pve1/qemu/100/status/current", NOBODY, "403 Permission check failed (/vms/100, VM.Audit)", true),
        ("a container that runs is started", "POST", "/nodes/pve1/lxc/200/status/start", OPERATOR, "500 CT 200 already running", true),
        ("a container that does not run is stopped", "POST", "/nodes/pve1/lxc/201/status/stop", OPERATOR, "500 CT 201 not running", true),
        ("an auditor who wakes", "POST", "/nodes/pve2/wakeonlan", AUDITOR, "403 Permission check failed (/nodes/pve2, Sys.PowerMgmt)", true),
        ("a node wakes itself", "POST", "/nodes/pve1/wakeonlan", OPERATOR, "500 'pve1' is local node, cannot wake my self!", true),
        ("a node without an address", "POST", "/nodes/pve2/wakeonlan", OPERATOR, "500 No wake on LAN MAC address defined for 'pve2'!", true),
        ("an unknown node is woken", "POST", "/nodes/nonode/wakeonlan", OPERATOR, "500 no such cluster node 'nonode'", true),
        ("an auditor who restarts a service", "POST", "/nodes/pve1/services/cron/restart", AUDITOR, "403 Permission check failed (/nodes/pve1, Sys.Modify)", true),
        ("an unknown service", "POST", "/nodes/pve1/services/nginx/restart", OPERATOR, "400 Parameter verification failed.", true),
        ("a paused machine is shut down", "POST", "/nodes/pve1/qemu/106/status/shutdown", OPERATOR, "500 VM is paused - cannot shutdown", true),
    ];
    for (name, method, path, token, expected, body) in table {
        let mut connection = Connection::open(&server, 0).await.unwrap();
        let reply = connection.ask(method, path, token, "").await.unwrap();
        assert_eq!(reply.line(), expected, "{name}");
        assert_eq!(reply.all("Connection"), ["close"], "{name}");
        assert_eq!(reply.all("Content-Type").len(), usize::from(body), "{name}");
        assert_eq!(reply.all("Content-Length").len(), usize::from(body), "{name}");
        if body {
            let message = reply.json()["message"].as_str().unwrap().trim_end().to_owned();
            assert_eq!(format!("{} {message}", reply.status), expected, "{name}");
            assert!(reply.json()["data"].is_null(), "{name}");
        }
        assert!(ends_at_once(&mut connection).await, "{name}: the connection must end");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn parameters_are_named_in_errors() {
    let server = start(|_| ());
    let mut connection = Connection::open(&server, 0).await.unwrap();
    let path = "/nodes/pve1/qemu/104/status/start";
    let reply = connection.ask("POST", path, OPERATOR, "timeout=abc&foo=1").await.unwrap();
    let errors = &reply.json()["errors"];
    assert_eq!(errors["timeout"], "type check ('integer') failed - got 'abc'");
    assert!(errors["foo"].as_str().unwrap().contains("not defined in schema"));
    server.shutdown().await;
}

#[tokio::test]
async fn connections_live_as_long_as_in_pve() {
    let server = start(|_| ());
    let mut connection = Connection::open(&server, 0).await.unwrap();
    for request in 1..=100 {
        let reply = connection.ask("GET", "/version", AUDITOR, "").await.unwrap();
        let expected = if request == 100 { "close" } else { "Keep-Alive" };
        assert_eq!(reply.all("Connection"), [expected], "request {request}");
    }
    assert!(ends_at_once(&mut connection).await, "the 100th answer ends the connection");

    // Three at once, answered in order.
    let mut connection = Connection::open(&server, 0).await.unwrap();
    let one = format!("GET /api2/json/version HTTP/1.1\r\nAuthorization: PVEAPIToken={AUDITOR}\r\n\r\n");
    connection.send(&one.repeat(3)).await.unwrap();
    for _ in 0..3 {
        assert_eq!(connection.receive().await.unwrap().status, 200);
    }
    server.shutdown().await;
}

/// pve-crash-evidence 4: who obeys the first of the two opens a connection per call.
#[tokio::test]
async fn protected_calls_say_both_and_stay_open() {
    let server = start(|_| ());
    let mut connection = Connection::open(&server, 0).await.unwrap();
    for (name, path, expected) in [
        ("in pveproxy itself", "/cluster/resources", &["Keep-Alive"][..]),
        ("by pvedaemon", "/nodes/pve1/qemu", &["close", "Keep-Alive"]),
        ("by another node", "/nodes/pve2/qemu", &["Keep-Alive", "Keep-Alive"]),
        ("by pvedaemon again", "/cluster/status", &["close", "Keep-Alive"]),
    ] {
        let reply = connection.ask("GET", path, AUDITOR, "").await.unwrap();
        assert_eq!(reply.all("Connection"), expected, "{name}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn long_headers_and_bodies_where_none_belongs() {
    let server = start(|_| ());
    let with = |filler: usize| {
        let filler = "x".repeat(filler);
        format!(
            "GET /api2/json/version HTTP/1.1\r\nAuthorization: PVEAPIToken={AUDITOR}\r\nX-Filler: {filler}\r\n\r\n"
        )
    };
    let mut connection = Connection::open(&server, 0).await.unwrap();
    connection.send(&with(7_800)).await.unwrap();
    assert_eq!(connection.receive().await.unwrap().status, 200);
    let mut connection = Connection::open(&server, 0).await.unwrap();
    connection.send(&with(9_000)).await.unwrap();
    assert!(ends_at_once(&mut connection).await, "more than 8 KiB: closed without a word");
    let mut connection = Connection::open(&server, 0).await.unwrap();
    let reply = connection.ask("GET", "/version", AUDITOR, "a=1").await.unwrap();
    assert_eq!(reply.line(), "501 Unexpected content for method 'GET'");
    server.shutdown().await;
}

#[tokio::test]
async fn silence_ends_a_connection_after_five_seconds() {
    let server = start(|_| ());
    let mut connection = Connection::open(&server, 0).await.unwrap();
    assert_eq!(connection.ask("GET", "/version", AUDITOR, "").await.unwrap().status, 200);
    let began = Instant::now();
    assert!(connection.receive().await.is_none());
    let silent = began.elapsed().as_secs_f64();
    assert!((4.5..7.0).contains(&silent), "after {silent} s");
    server.shutdown().await;
}

#[tokio::test]
async fn plain_http_is_sent_to_https() {
    let server = start(|_| ());
    let address = *server.addresses().values().next().unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 301 Moved Permanently\r\n"), "{reply}");
    server.shutdown().await;
}

#[tokio::test]
async fn refused_tokens_wait_and_others_do_not() {
    let server = start(|options| options.delay_401 = Duration::from_millis(800));
    let began = Instant::now();
    let slow = ask(&server, "GET", "/version", "op@pve!t1=wrong");
    let quick = async {
        assert_eq!(ask(&server, "GET", "/version", OPERATOR).await.status, 200);
        began.elapsed()
    };
    let (refused, quick) = tokio::join!(slow, quick);
    assert_eq!(refused.status, 401);
    assert!(began.elapsed() >= Duration::from_millis(800), "the 401 was not held back");
    assert!(quick < Duration::from_millis(700), "another request waited for it: {quick:?}");
    server.shutdown().await;
}

#[tokio::test]
async fn one_row_per_way_a_start_ends() {
    let server = start(|options| options.speed = 20.0);
    #[rustfmt::skip]
    let table = [
        ("good", "qemu/104", "OK"),
        ("running", "qemu/100", "VM 100 already running"),
        ("locked", "qemu/105", "VM is locked (backup)"),
        ("a template", "qemu/102", "you can't start a vm if it's a template"),
        ("its disk is missing", "qemu/103", "volume 'local:103/vm-103-disk-0.raw' does not exist"),
        ("not there", "qemu/999", "Configuration file 'nodes/pve1/qemu-server/999.conf' does not exist"),
        ("a container", "lxc/201", "OK"),
    ];
    for (name, guest, expected) in table {
        let reply = ask(&server, "POST", &format!("/nodes/pve1/{guest}/status/start"), OPERATOR).await;
        assert_eq!(reply.line(), "200 OK", "{name}");
        let upid = reply.data().as_str().unwrap().to_owned();
        assert!(upid.starts_with("UPID:pve1:") && upid.ends_with(":op@pve!t1:"), "{name}: {upid}");
        let path = format!("/nodes/pve1/tasks/{}/status", upid.replace(':', "%3A"));
        until(name, || async { ask(&server, "GET", &path, AUDITOR).await.data()["status"] == "stopped" })
            .await;
        let ended = ask(&server, "GET", &path, AUDITOR).await.data();
        assert_eq!(ended["exitstatus"], expected, "{name}");
        assert_eq!((&ended["user"], &ended["tokenid"]), (&"op@pve".into(), &"t1".into()), "{name}");
        let log = ask(&server, "GET", &format!("/nodes/pve1/tasks/{upid}/log"), AUDITOR).await.data();
        let last = log.as_array().unwrap().last().unwrap()["t"].as_str().unwrap().to_owned();
        let told = if expected == "OK" { "TASK OK".into() } else { format!("TASK ERROR: {expected}") };
        assert_eq!(last, told, "{name}");
    }
    let live = ask(&server, "GET", "/nodes/pve1/qemu/104/status/current", AUDITOR).await.data();
    assert_eq!((&live["status"], &live["qmpstatus"]), (&"running".into(), &"running".into()));
    server.shutdown().await;
}

#[tokio::test]
async fn a_crash_shows_live_at_once_and_in_the_list_later() {
    let server = start(|_| ());
    server.apply("crash qemu/100").unwrap();
    let live = ask(&server, "GET", "/nodes/pve1/qemu", AUDITOR).await.data();
    let live = live.as_array().unwrap().iter().find(|row| row["vmid"] == 100).unwrap().clone();
    assert_eq!(live["status"], "stopped");
    // Its node tells the others within 10 s; how soon depends on its phase, so only the order is known.
    let listed = ask(&server, "GET", "/cluster/resources", AUDITOR).await.row("id", "qemu/100");
    assert!(listed["status"] == "running" || listed["status"] == "stopped");
    server.shutdown().await;
}

#[tokio::test]
async fn a_dead_node_is_595_then_offline_and_its_guests_are_ghosts() {
    let server = start(|options| options.speed = 60.0);
    server.apply("kill-node pve2").unwrap();
    let reply = ask(&server, "GET", "/nodes/pve2/qemu", AUDITOR).await;
    assert_eq!((reply.line().as_str(), reply.body.as_str()), ("595 No route to host", ""));
    until("its port is closed", || async { Connection::open(&server, 1).await.is_err() }).await;
    until("it is offline", || async {
        ask(&server, "GET", "/nodes", AUDITOR).await.row("node", "pve2")["status"] == "offline"
    })
    .await;
    let listed = ask(&server, "GET", "/cluster/resources", AUDITOR).await;
    assert_eq!(listed.row("id", "qemu/110")["status"], "running", "its guests are shown as they were");
    assert_eq!(listed.row("id", "storage/pve2/nfs")["status"], "available");
    until("after 300 s they are unknown", || async {
        let listed = ask(&server, "GET", "/cluster/resources", AUDITOR).await;
        let guest = listed.row("id", "qemu/110");
        guest["status"] == "unknown" && guest.get("name").is_none() && guest["node"] == "pve2"
    })
    .await;
    server.apply("start-node pve2").unwrap();
    until("it is back", || async { Connection::open(&server, 1).await.is_ok() }).await;
    server.shutdown().await;
}

#[tokio::test]
async fn without_a_quorum_nothing_starts_and_all_is_readable() {
    let server = start(|_| ());
    server.apply("quorum lost").unwrap();
    let start = ask(&server, "POST", "/nodes/pve1/qemu/104/status/start", OPERATOR).await;
    assert_eq!(start.line(), "500 cluster not ready - no quorum?");
    let stop = ask(&server, "POST", "/nodes/pve1/qemu/100/status/stop", OPERATOR).await;
    assert_eq!(stop.line(), "200 OK", "stopping needs none");
    let status = ask(&server, "GET", "/cluster/status", AUDITOR).await;
    assert_eq!(status.row("type", "cluster")["quorate"], 0);
    assert_eq!(status.row("name", "pve2")["online"], 0, "the other side looks dead");
    server.shutdown().await;
}

#[tokio::test]
async fn rights_filter_lists_without_a_word() {
    let server = start(|_| ());
    let all = ask(&server, "GET", "/cluster/resources", AUDITOR).await.data().as_array().unwrap().len();
    let bare = ask(&server, "GET", "/cluster/resources", NOBODY).await;
    let rows = bare.data();
    assert!(all > 10 && rows.as_array().unwrap().len() == 3, "three nodes and nothing else: {rows}");
    assert!(rows[0].get("cpu").is_none() && rows[0]["status"] == "online");
    for path in ["/nodes/pve1/qemu", "/nodes/pve1/storage", "/cluster/tasks", "/nodes/pve1/tasks"] {
        assert_eq!(ask(&server, "GET", path, NOBODY).await.data(), serde_json::json!([]), "{path}");
    }
    assert_eq!(ask(&server, "GET", "/access/permissions", NOBODY).await.data(), serde_json::json!({}));
    assert_eq!(ask(&server, "GET", "/access/permissions", AUDITOR).await.data()["/"]["Sys.Audit"], 1);
    server.shutdown().await;
}

#[tokio::test]
async fn one_row_per_illness_of_the_api() {
    let server = start(|_| ());
    let get = |path: &'static str| {
        let server = &server;
        async move {
            let mut connection = Connection::open(server, 0).await.ok()?;
            connection.ask("GET", path, AUDITOR, "").await
        }
    };
    server.apply("api pve1 garbage").unwrap();
    let reply = get("/version").await.unwrap();
    assert!(reply.status == 200 && serde_json::from_str::<serde_json::Value>(&reply.body).is_err());
    server.apply("api pve1 truncated").unwrap();
    assert!(get("/cluster/resources").await.is_none(), "the body ends before its end");
    server.apply("api pve1 denied").unwrap();
    assert_eq!(get("/version").await.unwrap().line(), "401 Authentication failed!");
    server.apply("api pve1 blind").unwrap();
    assert_eq!(get("/cluster/status").await.unwrap().status, 403);
    assert_eq!(get("/nodes/pve1/qemu").await.unwrap().data(), serde_json::json!([]));
    server.apply("api pve1 empty").unwrap();
    let rows = get("/cluster/resources").await.unwrap().data();
    assert!(rows.as_array().unwrap().iter().all(|row| row["type"] != "qemu" && row["type"] != "storage"));
    server.apply("api pve1 reset").unwrap();
    assert!(get("/version").await.is_none());
    server.apply("api pve1 refused").unwrap();
    until("nobody listens", || async { Connection::open(&server, 0).await.is_err() }).await;
    server.apply("api pve1 back").unwrap();
    until("it listens again", || async { get("/version").await.is_some() }).await;
    server.apply("api pve1 hang").unwrap();
    let answer = tokio::time::timeout(Duration::from_millis(300), get("/version")).await;
    assert!(answer.is_err(), "a hanging API must not answer");
    server.apply("api pve1 slow=200").unwrap();
    let began = Instant::now();
    assert_eq!(get("/version").await.unwrap().status, 200);
    assert!(began.elapsed() >= Duration::from_millis(200));
    server.shutdown().await;
}

#[tokio::test]
async fn the_control_interface_breaks_and_counts() {
    let server = start(|options| options.control = Some("127.0.0.1:0".parse().unwrap()));
    let pull = |method: &'static str, path: &'static str, body: &'static str| {
        let address = server.control_addr().unwrap();
        async move {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let text = format!("{method} {path} HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(text.as_bytes()).await.unwrap();
            let mut reply = String::new();
            stream.read_to_string(&mut reply).await.unwrap();
            reply
        }
    };
    for _ in 0..3 {
        ask(&server, "GET", "/nodes/pve1/qemu", AUDITOR).await;
    }
    let counts = server.counts();
    let list = &counts.calls["GET /nodes/{node}/qemu"];
    assert_eq!((list.count, list.statuses[&200], counts.connections), (3, 3, 3));
    assert!(list.bytes > 1_000 && counts.bytes_total >= list.bytes);
    assert!(pull("GET", "/counters", "").await.contains("GET /nodes/{node}/qemu"));
    assert!(pull("POST", "/counters/reset", "").await.starts_with("HTTP/1.1 200"));
    assert_eq!(server.counts().calls_total, 0);
    assert!(
        pull("POST", "/script", "# two\ncrash qemu/100\nkill-node pve3\n").await.contains("\"applied\":2")
    );
    let guest = "qemu/100".parse().unwrap();
    assert_eq!(server.with_cluster(|cluster| cluster.guests()[&guest].process.is_none()), Some(true));
    let bad = pull("POST", "/script", "crsh qemu/100").await;
    assert!(
        bad.starts_with("HTTP/1.1 400")
            && bad.contains("line 1: `crsh` is no command; did you mean `crash`?")
    );
    let outside = start_error("0.0.0.0:0");
    assert!(outside.contains("loopback"), "{outside}");
    server.shutdown().await;
}

fn start_error(control: &str) -> String {
    let mut options = Options::script(&Script::parse(LAB).unwrap()).unwrap();
    options.control = Some(control.parse().unwrap());
    Server::start(options).map(drop).unwrap_err().to_string()
}

#[tokio::test]
async fn no_two_answers_have_the_same_order() {
    let server = start(|_| ());
    let mut bodies = std::collections::BTreeSet::new();
    for _ in 0..5 {
        bodies.insert(ask(&server, "GET", "/cluster/status", AUDITOR).await.body);
    }
    assert!(bodies.len() > 1, "a client that compares bodies must fail here");
    server.shutdown().await;
}

#[tokio::test]
async fn ten_thousand_guests_are_listed_quickly_and_kept() {
    let mut options = Options::generated(32, 10_000, 1).unwrap();
    options.tokens = tokens();
    let server = Server::start(options).unwrap();
    let mut connection = Connection::open(&server, 0).await.unwrap();
    let mut times = Vec::new();
    for _ in 0..6 {
        let began = Instant::now();
        let reply = connection.ask("GET", "/cluster/resources", AUDITOR, "").await.unwrap();
        times.push(began.elapsed());
        assert!(reply.body.len() > 3_000_000, "{} bytes", reply.body.len());
    }
    times.sort();
    println!("10,000 guests on 32 nodes, each answer: {times:?}");
    assert!(times[0] < Duration::from_secs(2), "{times:?}");
    server.shutdown().await;
}

#[tokio::test]
async fn recorded_answers_are_served_as_they_are() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded");
    let server = Server::start(Options::recorded(&folder).unwrap()).unwrap();
    let recorded = std::fs::read_to_string(folder.join("cluster-resources.json")).unwrap();
    let recorded: serde_json::Value = serde_json::from_str(&recorded).unwrap();
    let reply = ask(&server, "GET", "/cluster/resources", "any@pve!t=x").await;
    assert_eq!(reply.body, recorded["response"]["raw_body"].as_str().unwrap(), "byte for byte");
    for path in
        ["/version", "/cluster/status", "/cluster/tasks", "/nodes/pve1/qemu", "/nodes/pve1/tasks?vmid=101"]
    {
        assert_eq!(ask(&server, "GET", path, "any@pve!t=x").await.line(), "200 OK", "{path}");
    }
    let unknown = ask(&server, "GET", "/nodes/pve1/nosuch", "any@pve!t=x").await;
    assert_eq!(unknown.line(), "501 Method 'GET /nodes/pve1/nosuch' not implemented");
    let error = ask(&server, "GET", "/nodes/pve1/qemu/999/config", "any@pve!t=x").await;
    assert_eq!(error.line(), "500 Configuration file 'nodes/pve1/qemu-server/999.conf' does not exist");
    server.shutdown().await;
}

#[tokio::test]
async fn a_node_is_woken_by_another_and_restarts_a_service() {
    let server = start(|options| options.speed = 50.0);
    let pve3 = "pve3".parse().unwrap();
    server.change_cluster(|cluster| {
        cluster.set_mac(&pve3, "AA:BB:CC:DD:EE:03".parse().unwrap()).unwrap();
        cluster.kill_node(&pve3).unwrap();
        cluster.service(&"pve1".parse().unwrap(), "cron", "failed").unwrap();
    });
    let mut connection = Connection::open(&server, 0).await.unwrap();
    let woken = connection.ask("POST", "/nodes/pve3/wakeonlan", OPERATOR, "").await.unwrap();
    assert_eq!(woken.data(), "AA:BB:CC:DD:EE:03");
    let up = |server: &Server| server.with_cluster(|cluster| cluster.nodes()[&pve3].alive()).unwrap();
    until("the node is up", async || up(&server)).await;

    // The first one was idle for too long.
    let mut connection = Connection::open(&server, 0).await.unwrap();
    let restarted = connection.ask("POST", "/nodes/pve1/services/cron/restart", OPERATOR, "").await.unwrap();
    let upid = restarted.data().as_str().unwrap().to_owned();
    assert!(upid.contains(":srvrestart:cron:op@pve!t1:"), "{upid}");
    let ended = |server: &Server| {
        let task = server.with_cluster(|cluster| {
            let node = &cluster.nodes()[&"pve1".parse().unwrap()];
            (node.tasks.get(&upid).unwrap().ended.clone(), node.services["cron"].active.clone())
        });
        task.unwrap()
    };
    until("the task ends", async || ended(&server).0.is_some()).await;
    let (end, active) = ended(&server);
    assert_eq!((end.unwrap().1.as_str(), &*active), ("OK", "active"));
    server.shutdown().await;
}
