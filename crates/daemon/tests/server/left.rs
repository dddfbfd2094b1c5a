//! Acts in whose middle somebody went away: the process that did them, or the one who asked.

use std::time::{Duration, Instant};

use daemon::act::{Act, Begun, Verb};
use daemon::record::{NewEntry, Operator, Store};
use daemon::report::Limits;
use engine::observe::GuestId;
use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::{ConnectOptions, Connection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::harness::{Fixture, Folder};
use super::tools::{Acting, cluster, hands, without_upids};

/// Longest wait for what is to be told.
const TOLD_WITHIN: Duration = Duration::from_secs(60);

/// What a process that was killed has written of one act.
struct Written<'a> {
    label: &'a str,
    /// Whose words say what it is.
    cluster: &'a str,
    act: Value,
    begun: Option<String>,
    ended: bool,
}

impl Written<'_> {
    fn rows(&self) -> Vec<NewEntry> {
        let by = Operator { name: "alice".into(), via: "token desk".into() };
        let id = uuid::Uuid::new_v4().to_string();
        let row = |did: &str, more: Value| {
            let mut what = json!({
                "id": id, "tool": "start_vm", "cluster": self.cluster, "node": "pve1", "subject": self.label,
            });
            what.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            NewEntry::by_operator(Timestamp::now(), &by, did, &what)
        };
        let mut rows = vec![row("toolAsked", json!({ "act": self.act }))];
        rows.extend(self.begun.as_ref().map(|upid| row("toolBegun", json!({ "upid": upid }))));
        if self.ended {
            rows.push(row("toolEnded", json!({ "outcome": "done", "upid": self.begun, "words": "x" })));
        }
        rows
    }
}

fn guest(vmid: u32) -> GuestId {
    format!("qemu/{vmid}").parse().unwrap()
}

#[tokio::test]
async fn what_a_killed_process_left_is_brought_to_its_end_and_never_done_again() {
    let cluster = cluster("full", 20.0);
    let hands = hands(&cluster);
    let start = async |vmid| {
        let act = Act::Guest { node: "pve1".parse().unwrap(), guest: guest(vmid), verb: Verb::Start };
        let Begun::Task(upid) = hands.begin(&act).await else { panic!("{vmid} was not begun") };
        hands.follow(&upid).await;
        upid.to_string()
    };
    let act = |vmid: u32| json!({ "guest": format!("qemu/{vmid}"), "verb": "start" });
    let written = |label, act, begun| Written { label, cluster: "lab", act, begun, ended: false };
    let known = start(104).await;
    let earlier = start(101).await;
    start(105).await;
    start(107).await;
    start(107).await;
    let was = |why: &str| {
        format!(
            "alice (token desk): Jarvis was stopped while it was under way, and {why}: look at it before trying again"
        )
    };
    #[rustfmt::skip]
    let table = [
        ("its task is known", written("VM idle (104)", act(104), Some(known)),
            "VM idle (104) started by alice", "alice (token desk): task UPID:qmstart ended: OK".into()),
        ("its answer was never seen", written("VM locked (105)", act(105), None),
            "Start of VM locked (105) failed", "alice (token desk): task UPID:qmstart failed: VM is locked (backup)".into()),
        ("an earlier one of the same kind is another's", written("VM web01 (101)", act(101), None),
            "Start of VM web01 (101) has an unknown outcome", was("PVE's list has no task that is surely this one")),
        ("two that it may have been", written("VM deaf (107)", act(107), None),
            "Start of VM deaf (107) has an unknown outcome", was("PVE's list has no task that is surely this one")),
        ("it never began", written("VM other (108)", act(108), None),
            "Start of VM other (108) has an unknown outcome", was("PVE's list has no task that is surely this one")),
        ("a packet leaves no trace", written("node pve3", json!({ "wake": true }), None),
            "Waking of node pve3 has an unknown outcome", was("a packet to wake a node leaves no trace")),
        ("its task's name is none", written("VM odd (109)", act(109), Some("UPID:x".into())),
            "Start of VM odd (109) has an unknown outcome", was("its task cannot be asked for (`UPID:x` is not a task id (UPID): no pid)")),
        ("its cluster is watched no more", Written { cluster: "gone", ..written("VM far (101)", act(101), None) },
            "Start of VM far (101) has an unknown outcome", was("the cluster gone is not watched any more")),
        ("a row that says it otherwise", written("VM old (104)", Value::Null, None),
            "start_vm of VM old (104) has an unknown outcome", was("the journal does not say what it was")),
    ];
    let folder = Folder::new();
    let store = Store::open(&folder.path().join("jarvis.db")).await.unwrap();
    let ended = Written { ended: true, begun: Some(earlier), ..written("VM web01 (101)", act(101), None) };
    let mut rows = ended.rows();
    rows.extend(table.iter().flat_map(|(_, written, ..)| written.rows()));
    // What is no act of ours changes nothing.
    let by = Operator { name: "alice".into(), via: "x".into() };
    rows.push(NewEntry::by_operator(Timestamp::now(), &by, "toolAsked", &json!({ "id": "no id" })));
    store.save_turn(rows, Vec::new(), None).await.unwrap();
    assert!(store.close().await);

    let acting = Acting::on(cluster, folder, Limits::default()).await;
    let posts = acting.calls("POST");
    let again = acting.execute("start_vm", r#"{"node":"pve1","vmid":101}"#).await;
    let busy = r#"400 {"error":"something is being done to VM web01 (101) in lab already, wait for it to end","success":false}"#;
    assert_eq!(again, busy, "while it is looked for");
    let began = Instant::now();
    let told = loop {
        let told = acting.fixture.store.get_recent_events(100).await.unwrap();
        if told.len() >= table.len() || began.elapsed() > TOLD_WITHIN {
            break told;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let told: Vec<String> =
        told.iter().map(|row| without_upids(&format!("{} | {}", row.title, row.message))).collect();
    for (name, _, title, message) in &table {
        assert!(told.contains(&format!("{title} | {message}")), "{name}: {told:#?}");
    }
    assert_eq!(told.len(), table.len(), "{told:#?}");
    assert_eq!(acting.calls("POST"), posts, "nothing was done");
    let operated = acting.fixture.operated();
    let count = |did: &str| operated.iter().filter(|row| row.contains(did)).count();
    assert_eq!(count(" toolAsked "), count(" toolEnded ") + 1, "all but the one that is none of ours");
    assert!(operated.iter().any(|row| row.starts_with("alice (token desk) toolEnded")));

    // At the next start there is nothing left.
    let Acting { fixture, cluster } = acting;
    let Fixture { server, store, folder, .. } = fixture;
    server.shutdown().await;
    assert!(store.close().await);
    let acting = Acting::on(cluster, folder, Limits::default()).await;
    let start = acting.execute("start_vm", r#"{"node":"pve1","vmid":101}"#).await;
    assert!(start.contains("already running"), "{start}");
    assert_eq!(acting.fixture.store.get_recent_events(100).await.unwrap().len(), table.len() + 1);
    acting.stop().await;
}

#[tokio::test]
async fn who_hangs_up_while_the_intent_is_written_leaves_no_intent_alone() {
    let limits = Limits { connections: 2, ..Limits::default() };
    let acting = Acting::within("full", limits, 20.0).await;
    let mut committed = acting.fixture.store.committed();
    // A foreign hand keeps the intent from being written.
    let path = acting.fixture.folder.path().join("jarvis.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let mut hand = options.connect().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut hand).await.unwrap();

    let body = r#"{"tool":"start_vm","args":{"node":"pve1","vmid":104}}"#;
    let call = format!(
        "POST /api/tools/execute HTTP/1.1\r\nHost: jarvis.lan\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
        acting.fixture.token(),
        body.len()
    );
    let ask = async || {
        let mut stream = TcpStream::connect(acting.fixture.address()).await.unwrap();
        stream.write_all(call.as_bytes()).await.unwrap();
        stream
    };
    // Whichever comes first holds the guest; the other one is answered that it does.
    let (mut one, mut other) = (ask().await, ask().await);
    let (mut in_one, mut in_other) = ([0; 1024], [0; 1024]);
    let (waiting, refused, answer) = tokio::select! {
        read = one.read(&mut in_one) => (other, one, String::from_utf8_lossy(&in_one[..read.unwrap()])),
        read = other.read(&mut in_other) => (one, other, String::from_utf8_lossy(&in_other[..read.unwrap()])),
    };
    assert!(answer.contains("something is being done to VM idle (104)"), "{answer}");
    drop(waiting);
    // The server has let go of it when there is room for another connection.
    let began = Instant::now();
    while acting.fixture.get("/api/health?liveness", "").await.status != 200 {
        assert!(began.elapsed() < Duration::from_secs(20), "the server holds on to the connection");
    }
    sqlx::query("ROLLBACK").execute(&mut hand).await.unwrap();
    hand.close().await.unwrap();
    let told = tokio::time::timeout(Duration::from_secs(20), committed.recv()).await;
    assert_eq!(told.expect("its outcome is told").unwrap().title, "VM idle (104) started by admin");
    let did: Vec<String> =
        acting.fixture.operated().iter().map(|row| row.split(' ').nth(2).unwrap().to_owned()).collect();
    assert_eq!(did, ["toolAsked", "toolBegun", "toolEnded"]);
    drop(refused);
    acting.stop().await;
}
