//! The server through its sockets: every REST call with and without a token, every limit, and what the stock
//! Socket.IO client cannot be made to do (tests/socketio has the rest).

#![cfg(test)]

#[path = "server/abuse.rs"]
mod abuse;
#[path = "server/ahead.rs"]
mod ahead;
#[path = "server/audit.rs"]
mod audit;
#[path = "server/checkup.rs"]
mod checkup;
#[path = "server/cli.rs"]
mod cli;
#[path = "server/control.rs"]
mod control;
#[path = "server/foreign.rs"]
mod foreign;
#[path = "server/harness.rs"]
mod harness;
#[path = "server/host.rs"]
mod host;
#[path = "server/itself.rs"]
mod itself;
#[path = "server/left.rs"]
mod left;
#[path = "server/local.rs"]
mod local;
#[path = "server/logins.rs"]
mod logins;
#[path = "server/notices.rs"]
mod notices;
#[path = "server/orders.rs"]
mod orders;
#[path = "server/rights.rs"]
mod rights;
#[path = "server/sessions.rs"]
mod sessions;
#[path = "server/site.rs"]
mod site;
#[path = "server/slow.rs"]
mod slow;
#[path = "server/task_log.rs"]
mod task_log;
#[path = "server/tls.rs"]
mod tls;
#[path = "server/tools.rs"]
mod tools;
#[path = "server/unwritable.rs"]
mod unwritable;
#[path = "server/users.rs"]
mod users;
#[path = "server/v1.rs"]
mod v1;
#[path = "server/waking.rs"]
mod waking;

use std::time::{Duration, Instant};

use daemon::record::{ActionResult, NewAction, NewEvent, Source};
use daemon::report::page::Quorum;
use daemon::report::{Limits, Server, ServerOptions};
use engine::report::{EventKind, Severity};
use harness::{DESK, Fixture, Reply, edge, lab};
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const NO_TOKEN: &str = r#"401 {"error":"Authentication required"}"#;
const BAD_TOKEN: &str = r#"401 {"error":"Invalid or expired token"}"#;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn event(second: i64, title: &str) -> NewEvent {
    NewEvent::plain(at(second), EventKind::Alert, Severity::Error, Source::Monitor, title, "it is gone")
}

async fn filled() -> Fixture {
    let fixture = Fixture::new().await;
    let crashed = NewEvent {
        node: Some("pve1".into()),
        details: Some(r#"{"target":"web"}"#.into()),
        incident_id: Some("i1".into()),
        ..event(0, "VM web (101) crashed")
    };
    let cleared = NewEvent { resolves: true, ..event(60, "Resolved: DISK_HIGH on pve1") };
    fixture.store.save_events(vec![crashed, cleared], None).await.unwrap();
    let action = NewAction {
        at: at(5),
        incident_key: "VM_CRASHED:101".into(),
        incident_id: "i1".into(),
        runbook_id: "vm-crashed-restart".into(),
        condition: "VM_CRASHED".into(),
        action: "start_vm".into(),
        action_args: Some(r#"{"vmid":101}"#.into()),
        result: ActionResult::Success,
        result_details: None,
        verification_result: Some("runs".into()),
        autonomy_level: 3,
        node: Some("pve1".into()),
        attempt_number: 1,
        escalated: false,
        email_sent: false,
        cluster: None,
    };
    fixture.store.save_autonomy_action(action).await.unwrap();
    fixture.store.set_preference("autonomy.level", "1", at(0)).await.unwrap();
    fixture.store.set_preference("autonomy.killSwitch", "true", at(1)).await.unwrap();
    fixture.live.saw(&lab(), Instant::now());
    fixture
}

const CRASHED: &str = r#"{"id":1,"timestamp":"2023-11-14T22:13:20.000Z","type":"alert","severity":"error","source":"monitor","node":"pve1","summary":"[Monitor] VM web (101) crashed: it is gone","details":{"target":"web"},"resolved":false,"resolvedAt":null,"resolvedBy":null}"#;
const CLEARED: &str = r#"{"id":2,"timestamp":"2023-11-14T22:14:20.000Z","type":"alert","severity":"error","source":"monitor","node":null,"summary":"[Monitor] Resolved- DISK_HIGH on pve1: it is gone","details":null,"resolved":true,"resolvedAt":"2023-11-14T22:14:20.000Z","resolvedBy":"monitor"}"#;
const ACTION: &str = r#"{"id":1,"timestamp":"2023-11-14T22:13:25.000Z","incidentKey":"VM_CRASHED:101","incidentId":"i1","runbookId":"vm-crashed-restart","condition":"VM_CRASHED","action":"start_vm","actionArgs":{"vmid":101},"result":"success","resultDetails":null,"verificationResult":"runs","autonomyLevel":3,"node":"pve1","attemptNumber":1,"escalated":false,"emailSent":false}"#;
const PREFERENCES: &str = r#"{"preferences":[{"key":"autonomy.killSwitch","value":"true","updatedAt":"2023-11-14T22:13:21.000Z"},{"key":"autonomy.level","value":"1","updatedAt":"2023-11-14T22:13:20.000Z"}]}"#;

#[tokio::test]
async fn each_private_call_with_no_token_a_bad_one_and_a_good_one() {
    let fixture = filled().await;
    let token = fixture.token();
    let table: [(&str, String); 8] = [
        (
            "/api/monitor/status",
            r#"200 {"running":true,"autonomyLevel":1,"killSwitch":true,"activeRemediations":0}"#.into(),
        ),
        ("/api/monitor/actions", format!(r#"200 {{"actions":[{ACTION}]}}"#)),
        ("/api/monitor/actions?limit=1", format!(r#"200 {{"actions":[{ACTION}]}}"#)),
        ("/api/memory/events", format!(r#"200 {{"events":[{CLEARED},{CRASHED}]}}"#)),
        ("/api/memory/events?limit=1", format!(r#"200 {{"events":[{CLEARED}]}}"#)),
        ("/api/memory/events/unresolved", format!(r#"200 {{"events":[{CRASHED}]}}"#)),
        ("/api/memory/preferences", format!("200 {PREFERENCES}")),
        (
            "/api/memory/events?limit=0",
            r#"400 {"error":"limit must be a whole number from 1 to 1000"}"#.into(),
        ),
    ];
    for (path, expected) in table {
        assert_eq!(fixture.call(&format!("GET {path}"), &[], "").await.shown(), NO_TOKEN, "{path}");
        assert_eq!(fixture.get(path, "garbage").await.shown(), BAD_TOKEN, "{path}");
        assert_eq!(fixture.get(path, &token).await.shown(), expected, "{path}");
    }
    fixture.stop().await;
}

#[tokio::test]
async fn running_and_health_say_whether_the_cluster_is_seen() {
    let fixture = Fixture::new().await;
    let token = fixture.token();
    let seen = [("before the first round", false), ("after a good round", true), ("after a bad one", false)];
    for (name, sees) in seen {
        if sees {
            [lab(), edge()].iter().for_each(|cluster| fixture.live.saw(cluster, Instant::now()));
        } else {
            fixture.live.blind(&lab());
        }
        let status = fixture.get("/api/monitor/status", &token).await.body;
        assert!(
            status.contains(&format!(r#""running":{sees},"autonomyLevel":2,"killSwitch":false"#)),
            "{name}: {status}"
        );

        let alive = fixture.call("GET /api/health?liveness", &[], "").await;
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(alive.status, 200, "{name}");
        assert!(alive.body.starts_with(r#"{"status":"ok","timestamp":"2"#), "{name}: {}", alive.body);
        assert!(
            alive.body.ends_with(&format!(r#","uptime":0,"version":"{version}"}}"#)),
            "{name}: {}",
            alive.body
        );

        let health = fixture.call("GET /api/health", &[], "").await;
        let (code, word, monitor) = if sees { (200, "ok", "ok") } else { (503, "degraded", "blind") };
        let parts = format!(
            r#""components":{{"store":{{"status":"ok"}},"monitor":{{"status":"{monitor}"}},"sockets":{{"status":"ok","clients":0}}}}}}"#
        );
        assert_eq!(health.status, code, "{name}");
        assert!(health.body.starts_with(&format!(r#"{{"status":"{word}","#)), "{name}: {}", health.body);
        assert!(health.body.ends_with(&parts), "{name}: {}", health.body);
    }
    fixture.store.close().await;
    let down = fixture.call("GET /api/health", &[], "").await;
    assert!(down.status == 503 && down.body.contains(r#""store":{"status":"down"}"#), "{}", down.shown());
    let error = fixture.get("/api/memory/events", &token).await.shown();
    assert_eq!(error, r#"500 {"error":"The store did not answer; the log says why"}"#);
    fixture.server.shutdown().await;
}

#[tokio::test]
async fn whatever_is_refused_is_refused_in_json() {
    let fixture = Fixture::new().await;
    let token = format!("Authorization: Bearer {}", fixture.token());
    let long = format!(r#"{{"password":"{}"}}"#, "x".repeat(64 * 1024));
    let shape = r#"{"error":"The body must be JSON: {\"password\": TEXT}"}"#;
    let table: [(&str, &str, &str, &str); 13] = [
        ("an unknown path", "GET /api/nothing", "", r#"404 {"error":"There is nothing here"}"#),
        ("the page's cost calls", "GET /api/cost/today", "", r#"404 {"error":"There is nothing here"}"#),
        ("no favicon", "GET /favicon.ico", "", r#"404 {"error":"There is nothing here"}"#),
        ("another method", "DELETE /api/memory/events", "", r#"405 {"error":"DELETE is not allowed here"}"#),
        ("a get for a post", "GET /api/auth/login", "", r#"405 {"error":"GET is not allowed here"}"#),
        ("no body", "POST /api/auth/login", "", &format!("400 {shape}")),
        ("no JSON", "POST /api/auth/login", "password=x", &format!("400 {shape}")),
        ("JSON of another shape", "POST /api/auth/login", r#"{"passwort":"x"}"#, &format!("400 {shape}")),
        ("a number", "POST /api/auth/login", r#"{"password":1}"#, &format!("400 {shape}")),
        (
            "too long",
            "POST /api/auth/login",
            &long,
            r#"413 {"error":"The body must have at most 65536 bytes"}"#,
        ),
        (
            "a misspelt parameter",
            "GET /api/monitor/actions?limti=5",
            "",
            r#"400 {"error":"Unknown parameter `limti`; allowed: limit"}"#,
        ),
        (
            "a parameter where none is known",
            "GET /api/monitor/status?verbose",
            "",
            r#"400 {"error":"Unknown parameter `verbose`; allowed: none"}"#,
        ),
        (
            "a parameter of health",
            "GET /api/health?readiness",
            "",
            r#"400 {"error":"Unknown parameter `readiness`; allowed: liveness"}"#,
        ),
    ];
    for (name, call, body, expected) in table {
        let reply = fixture.call(call, &[&token, "Content-Type: application/json"], body).await;
        assert_eq!(reply.shown(), expected, "{name}");
        assert_eq!(reply.header("content-type"), Some("application/json"), "{name}");
    }
    let other = fixture.call("DELETE /api/memory/events", &[&token], "").await;
    assert_eq!(other.header("allow"), Some("GET,HEAD,POST"));
    fixture.stop().await;
}

#[tokio::test]
async fn every_answer_is_hardened() {
    let fixture = Fixture::new().await;
    // The page may load itself, and is asked for each time: see `site`.
    for call in [
        "GET /api/health",
        "GET /api/monitor/status",
        "GET /nothing",
        "DELETE /api/health",
        "OPTIONS /api/health",
        "GET /socket.io/?EIO=4&transport=polling",
        "GET /socket.io/?EIO=3",
    ] {
        let reply = fixture.call(call, &[], "").await;
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
        ] {
            assert_eq!(reply.header(name), Some(value), "{call}");
        }
        assert_eq!(reply.header("server"), None, "{call}");
    }
    fixture.stop().await;
}

#[tokio::test]
async fn only_listed_origins_may_read_the_answers() {
    let fixture = Fixture::new().await;
    let token = format!("Authorization: Bearer {}", fixture.token());
    for (name, origin, expected) in [
        ("listed", DESK, Some(DESK)),
        ("another port", "https://desk.example.org", None),
        ("another page", "https://evil.example", None),
        ("no page", "null", None),
    ] {
        let origin = format!("Origin: {origin}");
        let asks = ["Access-Control-Request-Method: GET", "Access-Control-Request-Headers: authorization"];
        let before = fixture.call("OPTIONS /api/memory/events", &[&origin, asks[0], asks[1]], "").await;
        assert_eq!(before.header("access-control-allow-origin"), expected, "{name}, asked before");
        let reply = fixture.call("GET /api/monitor/status", &[&origin, &token], "").await;
        assert_eq!(reply.header("access-control-allow-origin"), expected, "{name}");
        assert_eq!(reply.header("access-control-allow-credentials"), None, "{name}");
    }
    let refused = fixture.call("GET /api/monitor/status", &[&format!("Origin: {DESK}")], "").await;
    assert_eq!(refused.header("access-control-allow-origin"), Some(DESK), "refusals can be read too");
    fixture.stop().await;
}

#[tokio::test]
async fn slow_and_surplus_callers_are_let_go() {
    let read = Duration::from_millis(200);
    let fixture = Fixture::within(Limits { read, connections: 4, ..Limits::default() }).await;
    let send = async |text: &str| {
        let mut stream = TcpStream::connect(fixture.address()).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        Reply::read(stream).await
    };
    let began = Instant::now();
    let endless = send("GET /api/health HTTP/1.1\r\nHost: x\r\nX-Slow: ").await;
    assert_eq!(endless.status, 0, "headers that never end are not answered");
    let slow =
        send("POST /api/auth/login HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{").await;
    assert_eq!(slow.shown(), r#"408 {"error":"The body came too slowly"}"#);
    let idle = send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(idle.status, 200, "answered, and then closed for its silence");
    assert!(began.elapsed() < Duration::from_secs(5));
    let large = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Large: {}\r\n\r\n", "x".repeat(40_000));
    assert_eq!(send(&large).await.status, 431);

    let mut held = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(fixture.address()).await.unwrap();
        stream.write_all(b"GET /api/health?liveness HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
        held.push(stream);
    }
    let surplus = fixture.call("GET /api/health?liveness", &[], "").await;
    assert_eq!(surplus.status, 0, "closed without a word");
    drop(held);
    // The places are free as soon as the server has noticed, which takes it no time but a turn.
    let mut tries = 0;
    while fixture.call("GET /api/health?liveness", &[], "").await.status != 200 {
        tries += 1;
        assert!(tries < 1000);
    }
    fixture.stop().await;
}

#[tokio::test]
async fn too_many_calls_and_calls_that_take_too_long_are_told_to_come_again() {
    let fixture = Fixture::within(Limits { requests: 0, ..Limits::default() }).await;
    let many = fixture.get("/api/memory/events", &fixture.token()).await;
    assert_eq!(many.shown(), r#"503 {"error":"Too many requests at once, try again"}"#);
    assert_eq!(many.header("retry-after"), Some("1"));
    assert_eq!(fixture.post("/api/auth/login", "{}").await.status, 400, "logins are not held up by them");
    fixture.stop().await;

    let request = Duration::from_millis(100);
    let fixture = Fixture::within(Limits { request, ..Limits::default() }).await;
    let lines = ["Content-Type: application/json", "Content-Length: 9"];
    let long = fixture.call("POST /api/auth/login", &lines, "").await;
    assert_eq!(long.shown(), r#"503 {"error":"The answer took too long, try again"}"#);
    fixture.stop().await;
}

#[tokio::test]
async fn an_address_in_use_is_told_in_words() {
    let fixture = Fixture::new().await;
    let options = ServerOptions {
        listen: fixture.address(),
        allowed_origins: Vec::new(),
        names: Vec::new(),
        public_url: None,
        behind_proxy: Vec::new(),
        tls: None,
        store: fixture.store.clone(),
        auth: fixture.auth.clone(),
        live: fixture.live.clone(),
        pages: fixture.pages.clone(),
        autonomy_ceiling: 2,
        hands: Vec::new(),
    };
    let error = format!("{:#}", Server::start(options).await.err().unwrap());
    let expected = format!(
        "cannot listen on {}: another program listens there, perhaps another jarvis; stop it, or set server.listen or PORT",
        fixture.address()
    );
    assert!(error.starts_with(&expected), "{error}");
    fixture.stop().await;
}

#[tokio::test]
async fn the_server_stops_within_a_second_whoever_is_connected() {
    let fixture = Fixture::new().await;
    let auth = format!(r#"{{"token":"{}"}}"#, fixture.token());
    let polling = fixture.join("/events", &auth).await;
    polling.hear_until("40/events,").await;
    let mut silent = TcpStream::connect(fixture.address()).await.unwrap();
    silent.write_all(b"GET /api/he").await.unwrap();
    let began = Instant::now();
    let Fixture { server, store, folder, .. } = fixture;
    server.shutdown().await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    store.close().await;
    drop(folder);
}

#[tokio::test]
async fn a_client_that_did_not_read_for_a_while_misses_nothing() {
    let fixture = Fixture::new().await;
    let auth = format!(r#"{{"token":"{}"}}"#, fixture.token());
    let slow = fixture.join("/events", &auth).await;
    slow.hear_until("40/events,").await;
    // It reads nothing while more events come than its buffer holds.
    let many = |count: i64| (0..count).map(|n| event(n, &format!("event {n}"))).collect::<Vec<_>>();
    for _ in 0..20 {
        fixture.store.save_events(many(100), None).await.unwrap();
    }
    assert_eq!(seqs(&slow, 2000).await, (1..=2000).collect::<Vec<i64>>());

    let returning = fixture.join("/events", &auth.replace('}', r#","since":1000}"#)).await;
    assert_eq!(seqs(&returning, 1000).await, (1001..=2000).collect::<Vec<i64>>(), "a thousand are given");
    let long_gone = fixture.join("/events", &auth.replace('}', r#","since":999}"#)).await;
    let heard = long_gone.hear_until("42/events,").await;
    assert!(
        heard.contains(&r#"42/events,["gap",{"after":999,"until":1000}]"#.to_owned()),
        "{:?}",
        &heard[..2]
    );
    let of_another = fixture.join("/events", &auth.replace('}', r#","since":5000}"#)).await;
    of_another.hear_until(r#"42/events,["gap",{"after":5000,"until":2000}]"#).await;
    fixture.store.save_event(event(0, "last")).await.unwrap();
    assert_eq!(seqs(&of_another, 1).await, [2001]);
    fixture.stop().await;
}

async fn seqs(polling: &harness::Polling<'_>, count: usize) -> Vec<i64> {
    let mut seqs = Vec::new();
    while seqs.len() < count {
        let heard = polling.hear().await;
        let events = heard.iter().filter(|packet| packet.starts_with(r#"42/events,["event""#));
        seqs.extend(events.map(|packet| {
            let seq = packet.rsplit(r#""seq":"#).next().unwrap().trim_end_matches(['}', ']']);
            seq.parse::<i64>().unwrap()
        }));
    }
    seqs
}

#[tokio::test]
async fn there_are_only_so_many_sockets() {
    let fixture = Fixture::within(Limits { sockets: 2, ..Limits::default() }).await;
    let auth = format!(r#"{{"token":"{}"}}"#, fixture.token());
    let first = fixture.join("/cluster", &auth).await;
    first.hear_until("40/cluster,").await;
    let second = fixture.join("/events", &auth).await;
    second.hear_until("40/events,").await;
    let third = fixture.join("/events", &auth).await;
    assert_eq!(third.hear().await, [r#"44/events,{"message":"Too many connections"}"#]);
    first.say("41/cluster,").await;
    let mut watchers = fixture.page.watchers();
    watchers.wait_for(|clients| *clients == 0).await.unwrap();
    third.say(&format!("40/events,{auth}")).await;
    assert!(third.hear().await[0].starts_with("40/events,"), "a place is free again");
    fixture.stop().await;
}

/// On a clock that jumps to the next thing to do: forty seconds of silence take none.
#[tokio::test]
async fn what_does_not_change_is_sent_again_while_the_cluster_is_seen() {
    let fixture = Fixture::new().await;
    let auth = format!(r#"{{"token":"{}"}}"#, fixture.token());
    fixture.page.publish_quorum(Quorum { quorate: true, nodes: 3, expected: 3 }, Timestamp::now());
    fixture.live.saw(&lab(), Instant::now());
    // Only now: the store's own threads do not live on this clock.
    tokio::time::pause();
    let page = fixture.join("/cluster", &auth).await;
    let quorum = r#"42/cluster,["quorum",{"quorate":true,"nodes":3,"expected":3}]"#;
    let mut heard = page.hear_until(quorum).await;
    let came = tokio::time::Instant::now();
    for again in 1..=2 {
        heard.clear();
        heard.extend(page.hear_until(quorum).await);
        let passed = came.elapsed().as_secs();
        assert!(passed <= again * 20 + 1, "{passed} s after it came, again {again}");
    }
    fixture.live.blind(&lab());
    let storage = r#"42/cluster,["storage",[]]"#;
    let later = async {
        tokio::time::sleep(Duration::from_secs(100)).await;
        fixture.page.publish_storage(Vec::new(), Timestamp::now());
    };
    let (blind, ()) = tokio::join!(page.hear_until(storage), later);
    assert_eq!(blind, [storage], "old rows of a cluster that is not seen are not sent as if they were new");
    fixture.live.saw(&lab(), Instant::now());
    page.hear_until(quorum).await;
    let Fixture { server, store, folder, .. } = fixture;
    server.shutdown().await;
    drop((store, folder));
}
