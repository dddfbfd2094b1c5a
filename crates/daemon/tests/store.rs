//! The store through its public door, on a fresh file and on a file of the original; trouble has its own file.

#![cfg(test)]

#[path = "store/adopting.rs"]
mod adopting;
#[path = "store/bulk.rs"]
mod bulk;
#[path = "store/damage.rs"]
mod damage;
#[path = "store/help.rs"]
mod help;
#[path = "store/incidents.rs"]
mod incidents;
#[path = "store/journal.rs"]
mod journal;
#[path = "store/list.rs"]
mod list;
#[path = "store/names.rs"]
mod names;
#[path = "store/schemas.rs"]
mod schemas;
#[path = "store/trouble.rs"]
mod trouble;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use daemon::record::{ActionResult, Checkpoint, EventRow, NewAction, NewEvent, Source, Store, StoreError};
use engine::detect::{Condition, Finding, Trace};
use engine::incident::IncidentId;
use engine::observe::{GuestKind, GuestStatus, Subject};
use engine::report::{Details, Event, EventKind, Severity, Urgency};
use expect_test::{Expect, expect};

use help::{Folder, action, at, checkpoint, event, ids, kept, lab, read_column};

// ---- A file of the original ----

#[tokio::test]
async fn the_original_s_rows_read_as_events() {
    let folder = Folder::new();
    let store = Store::open(&folder.original().await).await.unwrap();
    let rows = store.get_recent_events(100).await.unwrap();
    let json = |row: &EventRow| {
        format!(
            "{}\n{}\n",
            serde_json::to_string(&row.rest()).unwrap(),
            serde_json::to_string(&row.socket()).unwrap()
        )
    };
    let shown: Vec<String> = rows.iter().map(json).collect();
    expect![[r#"
        {"id":8,"timestamp":"1970-01-01T00:00:00.000Z","type":"alert","severity":"warning","source":"user","node":"pve3","summary":"User: look at this","details":"�\u0000�","resolved":false,"resolvedAt":null,"resolvedBy":null}
        {"id":"00000000-0000-8000-8000-000000000008","type":"alert","severity":"warning","title":"User","message":"look at this","node":"pve3","source":"user","timestamp":"1970-01-01T00:00:00.000Z","seq":8}

        {"id":7,"timestamp":"2024-03-05T11:09:00.250Z","type":"status","severity":"info","source":"user","node":"pve3","summary":"","details":[],"resolved":true,"resolvedAt":null,"resolvedBy":null}
        {"id":"00000000-0000-8000-8000-000000000007","type":"status","severity":"info","title":"status","message":"","node":"pve3","source":"user","timestamp":"2024-03-05T11:09:00.250Z","seq":7}

        {"id":6,"timestamp":"2024-03-05T11:08:00.000Z","type":"metric","severity":"info","source":"system","node":"pve3","summary":"[System] cpu:","details":42,"resolved":false,"resolvedAt":null,"resolvedBy":null}
        {"id":"00000000-0000-8000-8000-000000000006","type":"metric","severity":"info","title":"cpu:","message":"","node":"pve3","source":"system","timestamp":"2024-03-05T11:08:00.000Z","seq":6}

        {"id":5,"timestamp":"2024-03-05T11:07:00.000Z","type":"action","severity":"warning","source":"jarvis","node":"pve2","summary":"[Jarvis] 🔥 Remediation starting- vm-crashed: attempt 1: start_vm","details":"{\"vmid\":101,","resolved":false,"resolvedAt":null,"resolvedBy":null}
        {"id":"00000000-0000-8000-8000-000000000005","type":"action","severity":"warning","title":"🔥 Remediation starting- vm-crashed","message":"attempt 1: start_vm","node":"pve2","source":"jarvis","timestamp":"2024-03-05T11:07:00.000Z","seq":5}

        {"id":4,"timestamp":"2024-03-05T11:06:00.000Z","type":"alert","severity":"info","source":"system","node":null,"summary":"something","details":null,"resolved":false,"resolvedAt":null,"resolvedBy":null}
        {"id":"00000000-0000-8000-8000-000000000004","type":"alert","severity":"info","title":"something","message":"","source":"system","timestamp":"2024-03-05T11:06:00.000Z","seq":4}

        {"id":3,"timestamp":"2024-03-05T11:05:00.000Z","type":"status","severity":"info","source":"monitor","node":null,"summary":"[Monitor] Systems Nominal: 3 nodes online","details":null,"resolved":false,"resolvedAt":null,"resolvedBy":null}
        {"id":"00000000-0000-8000-8000-000000000003","type":"status","severity":"info","title":"Systems Nominal","message":"3 nodes online","source":"monitor","timestamp":"2024-03-05T11:05:00.000Z","seq":3}

        {"id":2,"timestamp":"2024-03-05T11:00:00.000Z","type":"alert","severity":"error","source":"monitor","node":"pve2","summary":"[Monitor] VM web01 (101) crashed: qemu/101 running to stopped","details":{"target": "web01", "previousState": "running",  "currentState": "stopped"},"resolved":false,"resolvedAt":null,"resolvedBy":null}
        {"id":"00000000-0000-8000-8000-000000000002","type":"alert","severity":"error","title":"VM web01 (101) crashed","message":"qemu/101 running to stopped","node":"pve2","source":"monitor","timestamp":"2024-03-05T11:00:00.000Z","seq":2}

        {"id":1,"timestamp":"2024-03-01T02:10:44.000Z","type":"alert","severity":"critical","source":"monitor","node":"pve1","summary":"[Monitor] Node pve1 offline: node/pve1: online to offline","details":{"target":"pve1","previousState":"online","currentState":"offline"},"resolved":true,"resolvedAt":"2024-03-01T02:19:02.000Z","resolvedBy":"monitor"}
        {"id":"00000000-0000-8000-8000-000000000001","type":"alert","severity":"critical","title":"Node pve1 offline","message":"node/pve1: online to offline","node":"pve1","source":"monitor","timestamp":"2024-03-01T02:10:44.000Z","resolvedAt":"2024-03-01T02:19:02.000Z","seq":1}
    "#]].assert_eq(&shown.join("\n"));
}

#[tokio::test]
async fn every_question_has_its_answer_on_a_file_of_the_original() {
    let folder = Folder::new();
    let store = Store::open(&folder.original().await).await.unwrap();
    let mut answers = String::new();
    let mut answer = |question: &str, ids: Vec<i64>| writeln!(answers, "{question:<38} {ids:?}").unwrap();

    answer("recent, at most 3", ids(&store.get_recent_events(3).await.unwrap()));
    answer("unresolved", ids(&store.get_unresolved(50).await.unwrap()));
    let since = at("2024-03-05T11:06:00Z");
    answer("since a row's own time", ids(&store.get_events_since(since, 50).await.unwrap()));
    let since = at("2024-03-05T11:06:00.001Z");
    answer("since within that second", ids(&store.get_events_since(since, 50).await.unwrap()));
    answer("after number 5", ids(&store.get_events_after_seq(5, 50).await.unwrap()));
    answer("after the last number", ids(&store.get_events_after_seq(8, 50).await.unwrap()));
    answer("on pve3", ids(&store.get_events_by_node("pve3", 50).await.unwrap()));
    answer("on a node that is none", ids(&store.get_events_by_node("pve3' OR 1", 50).await.unwrap()));
    answer("alerts", ids(&store.get_events_by_type(EventKind::Alert, 50).await.unwrap()));
    let numbers = |rows: Vec<daemon::record::ActionRow>| rows.iter().map(|row| row.id).collect::<Vec<_>>();
    answer("actions", numbers(store.get_autonomy_actions(50).await.unwrap()));
    let key = "VM_CRASHED:101";
    answer("actions by key, at most 2", numbers(store.get_actions_by_incident_key(key, 2).await.unwrap()));
    for (name, since) in [
        ("attempts since before all", "2024-01-01T00:00:00Z"),
        ("attempts since the second one", "2024-03-05T11:02:07Z"),
        ("attempts since after it", "2024-03-05T11:02:08Z"),
    ] {
        let count = store.get_attempt_count_since(key, at(since)).await.unwrap();
        answer(name, vec![i64::try_from(count).unwrap()]);
    }
    expect![[r#"
        recent, at most 3                      [8, 7, 6]
        unresolved                             [8, 6, 5, 4, 2]
        since a row's own time                 [7, 6, 5, 4]
        since within that second               [7, 6, 5, 4]
        after number 5                         [6, 7, 8]
        after the last number                  []
        on pve3                                [8, 7, 6]
        on a node that is none                 []
        alerts                                 [8, 4, 2, 1]
        actions                                [4, 3, 2, 1]
        actions by key, at most 2              [3, 2]
        attempts since before all              [2]
        attempts since the second one          [1]
        attempts since after it                [0]
    "#]]
    .assert_eq(&answers);

    let preferences = store.all_preferences().await.unwrap();
    let shown: Vec<String> = preferences
        .iter()
        .map(|p| format!("{}={} {:?}", p.key, p.value, p.updated_at.map(|at| at.to_string())))
        .collect();
    expect![[r#"
        autonomy.killSwitch=false Some("2024-03-01T00:00:00Z")
        autonomy.level=3 Some("2024-03-01T00:00:00Z")
        voice=Daniel 🎙 None"#]]
    .assert_eq(&shown.join("\n"));
    assert_eq!(store.get_preference("autonomy.level").await.unwrap().unwrap().value, "3");
    assert_eq!(store.latest_cluster_snapshot(&lab()).await.unwrap(), None, "the original's is of no cluster");
}

#[tokio::test]
async fn the_original_s_actions_read_as_its_page_expects() {
    let folder = Folder::new();
    let store = Store::open(&folder.original().await).await.unwrap();
    let rows = store.get_autonomy_actions(50).await.unwrap();
    let shown: Vec<String> = rows.iter().map(|row| serde_json::to_string(&row.rest()).unwrap()).collect();
    expect![[r#"
        {"id":4,"timestamp":"2024-03-06T08:00:00.000Z","incidentKey":"NODE_UNREACHABLE:pve1","incidentId":"c3c9a5b4-7a0e-4b1d-8f7e-6a5b4c3d2e1f","runbookId":"node-unreachable-wol","condition":"NODE_UNREACHABLE","action":"wake_node","actionArgs":"pve1","result":"escalated","resultDetails":null,"verificationResult":null,"autonomyLevel":3,"node":"pve1","attemptNumber":3,"escalated":true,"emailSent":true}
        {"id":3,"timestamp":"2024-03-05T11:02:09.000Z","incidentKey":"VM_CRASHED:101","incidentId":"0e8d1f7a-93b2-4f0c-8a55-1d2c3b4a5f60","runbookId":"vm-crashed-restart","condition":"VM_CRASHED","action":"start_vm","actionArgs":null,"result":"blocked","resultDetails":"cooldown","verificationResult":null,"autonomyLevel":3,"node":null,"attemptNumber":3,"escalated":false,"emailSent":false}
        {"id":2,"timestamp":"2024-03-05T11:02:07.000Z","incidentKey":"VM_CRASHED:101","incidentId":"5f0c7d2e-0d3b-4a51-9c8e-2b1f6a7d9e10","runbookId":"vm-crashed-restart","condition":"VM_CRASHED","action":"start_vm","actionArgs":{"node":"pve2","vmid":101,"confirmed":true},"result":"success","resultDetails":"started","verificationResult":"running","autonomyLevel":3,"node":"pve2","attemptNumber":2,"escalated":false,"emailSent":true}
        {"id":1,"timestamp":"2024-03-05T11:00:07.000Z","incidentKey":"VM_CRASHED:101","incidentId":"5f0c7d2e-0d3b-4a51-9c8e-2b1f6a7d9e10","runbookId":"vm-crashed-restart","condition":"VM_CRASHED","action":"start_vm","actionArgs":{"node":"pve2","vmid":101,"confirmed":true},"result":"failure","resultDetails":"guest is locked","verificationResult":null,"autonomyLevel":3,"node":"pve2","attemptNumber":1,"escalated":false,"emailSent":false}"#]].assert_eq(&shown.join("\n"));
}

#[tokio::test]
async fn everything_can_be_written_to_a_file_of_the_original() {
    let folder = Folder::new();
    let store = Store::open(&folder.original().await).await.unwrap();
    write_everything(&store, 8, 4).await;
}

// ---- A fresh file ----

#[tokio::test]
async fn everything_can_be_written_to_a_fresh_file() {
    let folder = Folder::new();
    let store = Store::open(&folder.path("new.db")).await.unwrap();
    write_everything(&store, 0, 0).await;
}

#[tokio::test]
async fn a_fresh_store_is_its_owner_s_alone() {
    let folder = Folder::new();
    let path = folder.path("a/b/jarvis.db");
    let store = Store::open(&path).await.unwrap();
    store.save_event(event("one")).await.unwrap();
    store.close().await;
    let store = Store::open(&path).await.unwrap();
    store.save_event(event("two")).await.unwrap();
    let mode = |path: &Path| format!("{:o}", fs::metadata(path).unwrap().permissions().mode() & 0o777);
    #[rustfmt::skip]
    let table = [
        ("the folder",          folder.path("a/b"),                 "700"),
        ("the folder above",    folder.path("a"),                   "700"),
        ("the database",        path.clone(),                       "600"),
        ("its log",             folder.path("a/b/jarvis.db-wal"),   "600"),
        ("its log's index",     folder.path("a/b/jarvis.db-shm"),   "600"),
        ("its lock",            folder.path("a/b/jarvis.db.lock"),  "600"),
        ("its key",             folder.path("a/b/jarvis.key"),      "600"),
        ("its journal's head",  folder.path("a/b/jarvis.db.head"),  "600"),
    ];
    for (name, path, expected) in table {
        assert_eq!(mode(&path), expected, "{name}");
    }
}

#[tokio::test]
async fn what_was_written_is_there_after_opening_again() {
    let folder = Folder::new();
    let path = folder.path("jarvis.db");
    let store = Store::open(&path).await.unwrap();
    let saved =
        store.save_events(vec![event("one"), event("two")], Some(checkpoint("{\"n\":1}"))).await.unwrap();
    assert!(store.close().await);
    assert!(!folder.path("jarvis.db-wal").exists(), "the log is moved into the file");

    let store = Store::open(&path).await.unwrap();
    let read = store.get_events_after_seq(0, 10).await.unwrap();
    assert_eq!(read.iter().collect::<Vec<_>>(), saved.iter().map(|row| &**row).collect::<Vec<_>>());
    assert_eq!(store.load_checkpoint(&lab()).await.unwrap(), Some(kept("{\"n\":1}", 0)));
    assert_eq!(store.save_event(event("three")).await.unwrap().id, 3);
    let runs = read_column(&path, "SELECT name FROM jarvis_schema ORDER BY version").await;
    assert_eq!(
        runs,
        ["original", "ours", "journal", "users", "incidents", "outbox", "notices"],
        "each migration once"
    );
}

#[tokio::test]
async fn the_four_tables_show_at_the_command_line_while_the_store_is_open() {
    let folder = Folder::new();
    let path = folder.path("jarvis.db");
    let store = Store::open(&path).await.unwrap();
    store.save_event(event("one")).await.unwrap();
    let sqlite3 = |command: &str| {
        let output = Command::new("sqlite3").arg(&path).arg(command).output();
        let output = output.expect("this test needs the sqlite3 command line");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let tables = sqlite3(".tables");
    for table in ["events", "autonomy_actions", "preferences", "cluster_snapshots"] {
        assert!(tables.split_whitespace().any(|name| name == table), "{table} in {tables}");
    }
    // A script of the original's operators.
    let recent = sqlite3("SELECT summary FROM events WHERE timestamp > datetime('2026-11-22', '+1 day')");
    assert_eq!(recent, "[Monitor] one: message of one\n");
}

// ---- Events ----

#[tokio::test]
async fn an_end_resolves_what_its_incident_told_before() {
    let folder = Folder::new();
    let store = Store::open(&folder.path("jarvis.db")).await.unwrap();
    let of = |cluster: &str, incident: Option<&str>, title: &str, resolves: bool| NewEvent {
        cluster: Some(cluster.into()),
        incident_id: incident.map(str::to_owned),
        resolves,
        ..event(title)
    };
    let end_at = at("2026-11-23T19:00:00.750Z");
    let events = vec![
        of("lab", Some("i-1"), "opened", false),
        of("lab", Some("i-1"), "turned", false),
        of("lab", Some("i-2"), "another incident", false),
        of("edge", Some("i-1"), "the same id elsewhere", false),
        of("lab", None, "no incident", false),
        NewEvent { at: end_at, ..of("lab", Some("i-1"), "over", true) },
        of("lab", Some("i-1"), "after the end", false),
    ];
    let told = store.save_events(events, None).await.unwrap();
    let shown: Vec<String> = store
        .get_events_after_seq(0, 50)
        .await
        .unwrap()
        .iter()
        .map(|row| {
            let at = row.resolved_at.map(|at| at.to_string()).unwrap_or_default();
            format!("{:<21} {} {} {}", row.title, row.resolved, at, row.resolved_by.as_deref().unwrap_or("-"))
        })
        .collect();
    expect![[r#"
        opened                true 2026-11-23T19:00:00.75Z monitor
        turned                true 2026-11-23T19:00:00.75Z monitor
        another incident      false  -
        the same id elsewhere false  -
        no incident           false  -
        over                  true 2026-11-23T19:00:00.75Z monitor
        after the end         false  -"#]]
    .assert_eq(&shown.join("\n"));
    assert!(told[5].resolved, "the end itself is told as resolved");
    assert_eq!(ids(&store.get_unresolved(50).await.unwrap()), [7, 5, 4, 3]);
}

#[tokio::test]
async fn what_the_engine_tells_is_stored_in_the_original_s_words() {
    let folder = Folder::new();
    let store = Store::open(&folder.path("jarvis.db")).await.unwrap();
    let incident: IncidentId = serde_json::from_str("170141183460469231731687303715884105727").unwrap();
    let finding =
        Finding::GuestCrashed { kind: GuestKind::Qemu, previous: GuestStatus::Running, trace: Trace::Hidden };
    let told = Event {
        at: at("2026-11-23T18:58:01.250987Z"),
        kind: EventKind::Alert,
        severity: Severity::Error,
        title: "VM a:b (101) crashed".into(),
        message: format!("VM a:b (101) on pve1: {}", finding.words()),
        node: Some("pve1".parse().unwrap()),
        subject: Subject::Guest("qemu/101".parse().unwrap()),
        condition: Some(Condition::VmCrashed),
        incident: Some(incident),
        resolves: false,
        also_ends: Vec::new(),
        urgency: Urgency::Feed,
        details: Details { target: "a:b".into(), ..Details::default() },
    };
    let row = store.save_event(NewEvent::from_engine(&lab(), &told)).await.unwrap();
    let mut socket = serde_json::to_value(row.socket()).unwrap();
    assert_eq!(socket["id"].as_str().unwrap().len(), 36);
    socket["id"] = "(a UUID)".into();
    let shown = format!(
        "{}\n{}",
        serde_json::to_string_pretty(&socket).unwrap(),
        serde_json::to_string_pretty(&row.rest()).unwrap()
    );
    expect![[r#"
        {
          "cluster": "lab",
          "condition": "VM_CRASHED",
          "id": "(a UUID)",
          "incidentId": "7fffffff-ffff-ffff-ffff-ffffffffffff",
          "message": "VM a:b (101) on pve1: running to stopped, and no task asked for it (a crash, or a power-off from inside)",
          "node": "pve1",
          "seq": 1,
          "severity": "error",
          "source": "monitor",
          "subject": "qemu/101",
          "timestamp": "2026-11-23T18:58:01.250Z",
          "title": "VM a:b (101) crashed",
          "type": "alert"
        }
        {
          "id": 1,
          "timestamp": "2026-11-23T18:58:01.250Z",
          "type": "alert",
          "severity": "error",
          "source": "monitor",
          "node": "pve1",
          "summary": "[Monitor] VM a-b (101) crashed: VM a:b (101) on pve1: running to stopped, and no task asked for it (a crash, or a power-off from inside)",
          "details": {"target":"a:b"},
          "resolved": false,
          "resolvedAt": null,
          "resolvedBy": null
        }"#]].assert_eq(&shown);
    let text = read_column(store.path(), "SELECT timestamp FROM events").await;
    assert_eq!(text, ["2026-11-23 18:58:01"], "the original's form");
}

#[tokio::test]
async fn texts_are_made_fit() {
    let folder = Folder::new();
    let store = Store::open(&folder.path("jarvis.db")).await.unwrap();
    let long = |n: usize| "é".repeat(n);
    #[rustfmt::skip]
    let table: [(&str, NewEvent, Expect); 9] = [
        ("a colon in the title",   NewEvent { title: "a: b:c".into(), ..event("x") }, expect!["a colon in the title | a: b:c | message of x | [Monitor] a- b-c: message of x | pve1"]),
        ("a blank title",          NewEvent { title: " ".into(), ..event("x") }, expect!["a blank title | alert | message of x | [Monitor] alert: message of x | pve1"]),
        ("no message",             NewEvent { message: String::new(), ..event("x") }, expect!["no message | x |  | [Monitor] x: x | pve1"]),
        ("line breaks",            NewEvent { title: "a\nb".into(), message: "c\r\nd".into(), ..event("x") }, expect!["line breaks | a b | c  d | [Monitor] a b: c  d | pve1"]),
        ("a user's own summary",   NewEvent { summary: Some("as I: wrote it".into()), source: Source::User, ..event("x") }, expect!["a user's own summary | x | message of x | as I: wrote it | pve1"]),
        ("a user's blank summary", NewEvent { summary: Some(" ".into()), source: Source::User, ..event("x") }, expect!["a user's blank summary | x | message of x | [User] x: message of x | pve1"]),
        ("a long title",           NewEvent { title: long(400), message: "m".into(), ..event("x") }, expect!["a long title | (299 bytes)éé… | m | (312 bytes): m | pve1"]),
        ("a long message",         NewEvent { message: long(4_000), ..event("x") }, expect!["a long message | x | (1999 bytes)éé… | (2012 bytes)éé… | pve1"]),
        ("a long node",            NewEvent { node: Some(long(400)), ..event("x") }, expect!["a long node | x | message of x | [Monitor] x: message of x | (199 bytes)éé…"]),
    ];
    for (name, new, expected) in table {
        let row = store.save_event(new).await.unwrap();
        let short = |text: &str| {
            if text.len() < 80 {
                return text.replace('\r', "\\r").replace('\n', "\\n");
            }
            let tail: String = text.chars().skip(text.chars().count() - 3).collect();
            format!("({} bytes){tail}", text.len())
        };
        let node = row.node.as_deref().unwrap_or("-");
        expected.assert_eq(&[name, &row.title, &row.message, &row.summary, node].map(short).join(" | "));
    }
    let huge = format!("[{}1]", "1,".repeat(40_000));
    let row = store.save_event(NewEvent { details: Some(huge.clone()), ..event("x") }).await.unwrap();
    let details: serde_json::Value = serde_json::from_str(row.details.as_deref().unwrap()).unwrap();
    assert_eq!((&details["truncated"], &details["bytes"]), (&true.into(), &huge.len().into()));
    assert!(details["head"].as_str().unwrap().ends_with("1,1,…"), "{details}");
}

#[tokio::test]
async fn a_person_resolves_an_event_once() {
    let folder = Folder::new();
    let store = Store::open(&folder.path("jarvis.db")).await.unwrap();
    let id = store.save_event(event("one")).await.unwrap().id;
    #[rustfmt::skip]
    let table = [
        ("the first time",      id,     "anna", "2026-11-23T20:00:00.5Z", "anna 2026-11-23T20:00:00.5Z"),
        ("a second time",       id,     "ben",  "2026-11-23T21:00:00Z",   "anna 2026-11-23T20:00:00.5Z"),
        ("one that is none",    id + 1, "anna", "2026-11-23T20:00:00Z",   "-"),
    ];
    for (name, id, by, when, expected) in table {
        let row = store.resolve_event(id, by, at(when)).await.unwrap();
        let shown = row
            .map_or("-".into(), |row| format!("{} {}", row.resolved_by.unwrap(), row.resolved_at.unwrap()));
        assert_eq!(shown, expected, "{name}");
    }
    assert_eq!(ids(&store.get_unresolved(10).await.unwrap()), Vec::<i64>::new());
}

#[tokio::test]
async fn a_limit_is_at_least_one_and_at_most_a_thousand() {
    let folder = Folder::new();
    let store = Store::open(&folder.path("jarvis.db")).await.unwrap();
    store.save_events((0..1_001).map(|n| event(&n.to_string())).collect(), None).await.unwrap();
    #[rustfmt::skip]
    let table = [("none", 0, 1), ("one", 1, 1), ("as many as there are allowed", 1_000, 1_000), ("all", u32::MAX, 1_000)];
    for (name, limit, expected) in table {
        assert_eq!(store.get_recent_events(limit).await.unwrap().len(), expected, "{name}");
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused_whole() {
    let folder = Folder::new();
    let store = Store::open(&folder.path("jarvis.db")).await.unwrap();
    let megabytes = |n: usize| " ".repeat(n << 20);
    let now = at("2026-11-23T18:58:01Z");
    let words = |result: Result<(), StoreError>| result.unwrap_err().to_string();
    let big = Checkpoint { state: megabytes(33), ..checkpoint("") };
    #[rustfmt::skip]
    let table = [
        ("a checkpoint",  words(store.save_events(vec![event("with it")], Some(big)).await.map(drop)),
                          "a checkpoint is too large to be stored: 34603008, and at most 33554432"),
        ("a snapshot",    words(store.save_cluster_snapshot(&lab(), megabytes(33), now).await.map(drop)),
                          "a snapshot is too large to be stored: 34603008, and at most 33554432"),
        ("a key",         words(store.set_preference(&"k".repeat(201), "v", now).await.map(drop)),
                          "a preference's key is too large to be stored: 201, and at most 200"),
        ("a value",       words(store.set_preference("k", &megabytes(1), now).await.map(drop)),
                          "a preference's value is too large to be stored: 1048576, and at most 65536"),
        ("events",        words(store.save_events(vec![event("x"); 20_001], None).await.map(drop)),
                          "a number of events is too large to be stored: 20001, and at most 20000"),
    ];
    for (name, words, expected) in table {
        assert_eq!(words, expected, "{name}");
    }
    assert_eq!(store.get_recent_events(10).await.unwrap(), [], "nothing of it is stored");
}

#[tokio::test]
async fn who_lags_behind_is_told_so_and_catches_up() {
    let folder = Folder::new();
    let store = Store::open(&folder.path("jarvis.db")).await.unwrap();
    let mut listener = store.committed();
    store.save_events((0..1_500).map(|n| event(&n.to_string())).collect(), None).await.unwrap();
    let lagged = listener.recv().await.unwrap_err();
    assert!(matches!(lagged, tokio::sync::broadcast::error::RecvError::Lagged(476)), "{lagged:?}");
    let mut seen = 0;
    while let [.., last] = &store.get_events_after_seq(seen, 1_000).await.unwrap()[..] {
        seen = last.id;
    }
    assert_eq!(seen, 1_500);
}

// ---- Age ----

#[tokio::test]
async fn what_is_old_goes_in_bounded_batches() {
    let folder = Folder::new();
    let store = Store::open(&folder.path("jarvis.db")).await.unwrap();
    let now = at("2026-11-23T12:00:00Z");
    let on = |time: &str| NewEvent { at: at(time), ..event(time) };
    let mut events = vec![on("2026-10-23T12:00:00Z"); 1_200];
    events.extend([on("2026-10-24T11:59:59Z"), on("2026-10-24T12:00:00Z"), on("2026-11-23T11:00:00Z")]);
    store.save_events(events, None).await.unwrap();
    for time in ["2026-10-24T11:59:59Z", "2026-10-24T12:00:00Z"] {
        store.save_autonomy_action(NewAction { at: at(time), ..action() }).await.unwrap();
        store.save_cluster_snapshot(&lab(), "{}".into(), at(time)).await.unwrap();
    }
    let commits = store.written().commits;
    assert_eq!(store.cleanup_old_events(30, now).await.unwrap(), 1_201);
    assert_eq!(store.written().commits - commits, 3, "500 rows at a time");
    assert_eq!(store.cleanup_old_actions(30, now).await.unwrap(), 1);
    assert_eq!(store.cleanup_old_snapshots(30, now).await.unwrap(), 1);
    assert_eq!(ids(&store.get_recent_events(10).await.unwrap()), [1_203, 1_202]);
    assert_eq!(store.cleanup_old_events(0, now).await.unwrap(), 1, "no day is less than one");
    assert_eq!(store.cleanup_old_events(u32::MAX, now).await.unwrap(), 0, "before all time");
}

// ---- Help ----

/// Every way of writing, and every one read back. `events` and `actions` are the numbers before.
async fn write_everything(store: &Store, events: i64, actions: i64) {
    let now = at("2026-11-23T18:58:01.250Z");
    let mut listener = store.committed();

    let row = store.save_event(event("one")).await.unwrap();
    assert_eq!(row.id, events + 1);
    assert_eq!(row.timestamp, now);
    assert_eq!(listener.recv().await.unwrap(), row);
    assert_eq!(store.get_recent_events(1).await.unwrap()[0], *row, "what is told is what is read");
    let rows = store.save_events(vec![event("two"), event("three")], Some(checkpoint("{}"))).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), [events + 2, events + 3]);
    assert_eq!(ids(&store.get_events_by_node("pve1", 2).await.unwrap()), [events + 3, events + 2]);
    assert_eq!(ids(&store.get_events_by_type(EventKind::Alert, 1).await.unwrap()), [events + 3]);
    #[rustfmt::skip]
    let table = [
        ("the millisecond itself",  "2026-11-23T18:58:01.250Z", 3),
        ("the one after it",        "2026-11-23T18:58:01.251Z", 0),
        ("the second",              "2026-11-23T18:58:01Z",     3),
        ("the next second",         "2026-11-23T18:58:02Z",     0),
    ];
    for (name, since, expected) in table {
        assert_eq!(store.get_events_since(at(since), 50).await.unwrap().len(), expected, "since {name}");
    }
    let resolved = store.resolve_event(row.id, "anna", now).await.unwrap().unwrap();
    assert_eq!((resolved.resolved, resolved.resolved_at), (true, Some(now)));
    assert!(!ids(&store.get_unresolved(100).await.unwrap()).contains(&row.id));

    let saved = store.save_autonomy_action(action()).await.unwrap();
    assert_eq!((saved.id, saved.timestamp), (actions + 1, now));
    assert_eq!(store.get_autonomy_actions(1).await.unwrap()[0], saved);
    assert_eq!(store.get_actions_by_incident_key("VM_CRASHED:9999", 20).await.unwrap(), [saved]);
    store.save_autonomy_action(NewAction { result: ActionResult::Blocked, ..action() }).await.unwrap();
    #[rustfmt::skip]
    let table = [("the millisecond itself", now, 1), ("the one after it", at("2026-11-23T18:58:01.251Z"), 0)];
    for (name, since, expected) in table {
        let count = store.get_attempt_count_since("VM_CRASHED:9999", since).await.unwrap();
        assert_eq!(count, expected, "attempts since {name}; a blocked one is none");
    }

    assert_eq!(store.get_preference("theme").await.unwrap(), None);
    store.set_preference("theme", "dark", now).await.unwrap();
    let set = store.set_preference("theme", "light", at("2026-11-23T19:00:00Z")).await.unwrap();
    assert_eq!((set.value.as_str(), set.updated_at), ("light", Some(at("2026-11-23T19:00:00Z"))));
    assert_eq!(store.get_preference("theme").await.unwrap(), Some(set.clone()));
    assert!(store.all_preferences().await.unwrap().contains(&set));

    store.save_cluster_snapshot(&lab(), "{\"n\":1}".into(), now).await.unwrap();
    let last = store.save_cluster_snapshot(&lab(), "{\"n\":2}".into(), now).await.unwrap();
    assert_eq!(store.latest_cluster_snapshot(&lab()).await.unwrap(), Some(last));

    assert_eq!(store.load_checkpoint(&lab()).await.unwrap(), Some(kept("{}", 0)));
    store.save_checkpoint(checkpoint("{\"later\":true}")).await.unwrap();
    assert_eq!(store.load_checkpoint(&lab()).await.unwrap(), Some(kept("{\"later\":true}", 0)));
}

#[test]
fn a_store_can_be_handed_to_every_task() {
    fn check<T: Clone + Send + Sync + 'static>() {}
    check::<(Store, Arc<EventRow>)>();
}
