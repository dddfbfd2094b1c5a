//! The journal for whoever audits it: whether it is as it was written, and all of it as a file.

use std::path::Path;

use daemon::report::caller::Role;
use engine::record::{Fact, Order, Step};
use serde_json::Value;
use sqlx::Connection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Fixture, Reply, edge};
use crate::slow::ask_and_stop;
use crate::v1::{entry, incident, opened, tell};

const VERIFICATION: &str = "/api/v1/journal/verification";
const EXPORT: &str = "/api/v1/journal/export";
/// More than is read at a time.
const ROWS: u128 = 1_203;

fn json(reply: &Reply) -> Value {
    serde_json::from_str(&reply.body).unwrap_or_else(|error| panic!("{error}: {}", reply.shown()))
}

pub(crate) async fn touch(folder: &Path, sql: &'static str) {
    let path = folder.join("jarvis.db");
    let mut conn = sqlx::SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
    sqlx::query(sql).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
}

/// What a walk finds, and what is said of it to those who see all clusters and to those who see one.
#[tokio::test]
async fn a_row_that_somebody_touched_is_named() {
    for (name, sql, state, says) in [
        ("as it was written", None, "whole", "the journal is whole: 5 rows"),
        (
            "a row was changed",
            Some("UPDATE journal SET entry = replace(entry, 'web01', 'web02') WHERE kind = 'opened'"),
            "broken",
            "the journal does not fit: row 5",
        ),
        (
            "a row was removed",
            Some("DELETE FROM journal WHERE seq = 3"),
            "broken",
            "the journal does not fit: row 4",
        ),
    ] {
        let fixture = Fixture::new().await;
        fixture.user("olga", Role::Operator, None).await;
        fixture.user("otto", Role::Operator, Some(&[edge()])).await;
        tell(&fixture, "lab", vec![opened(0, 7)]).await;
        let rows = fixture.store.health().journal_head;
        assert_eq!(rows, 5, "{name}: what a start and two users write, and one thing told");
        // Before it is touched: what is written after that may find it, too, and says so in a row of its own.
        let (olga, otto) = (fixture.token_of("olga").await, fixture.token_of("otto").await);
        if let Some(sql) = sql {
            touch(fixture.folder.path(), sql).await;
        }
        let found = json(&fixture.get(VERIFICATION, &olga).await);
        assert_eq!((&found["running"], &found["state"]), (&false.into(), &state.into()), "{name}: {found}");
        assert!(found["words"].as_str().unwrap().contains(says), "{name}: {found}");
        assert!(found["checkedAt"].is_string() && found["tookSeconds"].is_f64(), "{name}: {found}");
        let elsewhere = json(&fixture.get(VERIFICATION, &otto).await);
        assert_eq!((&elsewhere["state"], &elsewhere["words"]), (&state.into(), &Value::Null), "{name}");
        assert_eq!(elsewhere["checkedAt"], found["checkedAt"], "{name}: the same walk");
        fixture.stop().await;
    }
}

/// A body in chunks, which must have its end.
fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n").expect("a size");
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return whole;
        }
        whole.push_str(&rest[..size]);
        body = rest[size..].strip_prefix("\r\n").unwrap();
    }
}

#[tokio::test]
async fn the_file_has_every_row_once_and_no_other() {
    let fixture = Fixture::new().await;
    fixture.user("otto", Role::Operator, Some(&[edge()])).await;
    let (all, otto) = (fixture.token(), fixture.token_of("otto").await);
    let told = (0..ROWS).map(|id| opened(i64::try_from(id).unwrap(), id)).collect();
    tell(&fixture, "lab", told).await;
    tell(&fixture, "edge", vec![opened(5_000, 1)]).await;
    let rows = fixture.store.health().journal_head;
    let lines = |reply: &Reply| -> Vec<Value> {
        assert_eq!(
            (reply.status, reply.header("transfer-encoding")),
            (200, Some("chunked")),
            "{}",
            reply.head
        );
        unchunked(&reply.body).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let seqs = |rows: &[Value]| -> Vec<i64> { rows.iter().map(|row| row["seq"].as_i64().unwrap()).collect() };

    let whole = fixture.get(EXPORT, &all).await;
    assert_eq!(whole.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(whole.header("content-disposition"), Some("attachment; filename=\"jarvis-journal.ndjson\""));
    assert_eq!(whole.header("cache-control"), Some("no-store"));
    let whole = lines(&whole);
    // By their times, and what is told here is of years ago.
    let mut all_of_them = seqs(&whole);
    all_of_them.sort_unstable();
    assert!(all_of_them.into_iter().eq(1..=rows), "each once");
    let last = whole.last().unwrap();
    assert!(last["words"].as_str().unwrap().starts_with("opened VM_CRASHED"), "{last}");

    let count = async |query: &str, token: &str| {
        lines(&fixture.get(&format!("{EXPORT}?{query}"), token).await).len() as u128
    };
    assert_eq!(count("kind=opened", &all).await, ROWS + 1);
    assert_eq!(count("kind=resolved", &all).await, 0);
    assert_eq!(count("cluster=edge", &all).await, 1);
    assert_eq!(count("kind=opened&until=2023-11-14T22:13:30Z", &all).await, 10);
    assert_eq!(count("since=2023-11-14T22:13:30Z&kind=opened&cluster=lab", &all).await, ROWS - 10);
    assert_eq!(count("", &otto).await, 1, "no row of another cluster, and none of all of Jarvis");
    let wrong = json(&fixture.get(&format!("{EXPORT}?limit=5"), &all).await);
    assert_eq!(
        wrong["detail"],
        "limit: there is no such parameter; allowed: since, until, cluster, kind, by"
    );
    fixture.stop().await;
}

/// HTTP/1.0 has no end of a file but that of its connection: one that was cut off would look whole.
#[tokio::test]
async fn who_could_not_tell_a_part_from_the_whole_gets_none() {
    let fixture = Fixture::new().await;
    let token = fixture.token();
    for (name, version, lines, status) in [
        ("HTTP/1.1", "1.1", "", 200),
        ("HTTP/1.0", "1.0", "", 505),
        ("HTTP/1.0 that keeps its connection", "1.0", "Connection: keep-alive\r\n", 505),
    ] {
        let mut stream = TcpStream::connect(fixture.address()).await.unwrap();
        let closed = if lines.is_empty() { "Connection: close\r\n" } else { lines };
        let text = format!(
            "GET {EXPORT} HTTP/{version}\r\nHost: jarvis.lan\r\n{closed}Authorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(text.as_bytes()).await.unwrap();
        // It keeps its connection, so its end is not waited for.
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.unwrap();
        assert_eq!(&String::from_utf8_lossy(&start)[9..], status.to_string(), "{name}");
        let mut rest = vec![0; 1024];
        let read = stream.read(&mut rest).await.unwrap();
        let rest = String::from_utf8_lossy(&rest[..read]).into_owned();
        let refused = rest.contains("application/problem+json") && rest.contains("proxy_http_version 1.1");
        assert_eq!(refused, status == 505, "{name}: {rest}");
    }
    // It took nobody's turn.
    assert_eq!(fixture.get(EXPORT, &token).await.status, 200);
    fixture.stop().await;
}

/// Who does not read their file keeps themselves from another, and others only where there are as many of those.
#[tokio::test]
async fn few_files_are_made_at_a_time() {
    let fixture = Fixture::new().await;
    for name in ["olga", "otto", "oskar"] {
        fixture.user(name, Role::Operator, None).await;
    }
    let told = (0..300_u128).map(|id| opened(i64::try_from(id).unwrap(), id)).collect();
    tell(&fixture, "lab", told).await;
    // Some 18 MB: more than any kernel keeps for a client.
    touch(
        fixture.folder.path(),
        "UPDATE journal SET entry = json_set(entry, '$.long', hex(zeroblob(30000)))",
    )
    .await;
    let [olga, otto, oskar] =
        [fixture.token_of("olga").await, fixture.token_of("otto").await, fixture.token_of("oskar").await];
    let mut unread = Vec::new();
    for (name, token, expected) in [
        ("the first", &olga, "200"),
        ("another of the same", &olga, "429"),
        ("somebody else's", &otto, "200"),
        ("a third", &oskar, "429"),
    ] {
        let (stream, status) = ask_and_stop(&fixture, EXPORT, token).await;
        assert_eq!(status, format!("HTTP/1.1 {expected}"), "{name}");
        unread.push(stream);
    }
    let refused = fixture.get(EXPORT, &oskar).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("5")), "{}", refused.body);
    assert_eq!(fixture.get("/api/v1/journal", &olga).await.status, 200, "everything else is answered");
    drop(unread);
    // The server hears of a closed connection when it next writes to it.
    while fixture.get(EXPORT, &oskar).await.status != 200 {
        tokio::task::yield_now().await;
    }
    fixture.stop().await;
}

/// Whoever is shut out in the middle gets no more of it, and what they have does not look whole.
#[tokio::test]
async fn who_is_shut_out_gets_no_more_of_the_file() {
    let fixture = Fixture::new().await;
    fixture.user("olga", Role::Operator, None).await;
    let told = (0..300_u128).map(|id| opened(i64::try_from(id).unwrap(), id)).collect();
    tell(&fixture, "lab", told).await;
    let long = "UPDATE journal SET entry = json_set(entry, '$.long', hex(zeroblob(30000)))";
    touch(fixture.folder.path(), long).await;
    let olga = fixture.token_of("olga").await;
    let (mut stream, status) = ask_and_stop(&fixture, EXPORT, &olga).await;
    assert_eq!(status, "HTTP/1.1 200");
    let out = fixture.ask("PATCH /api/v1/users/olga", &fixture.token(), r#"{"disabled":true}"#).await;
    assert_eq!(out.status, 200, "{}", out.body);
    let mut rest = Vec::new();
    // Cut off: its end is missing, or the connection was reset.
    let whole = stream.read_to_end(&mut rest).await.is_ok() && rest.ends_with(b"0\r\n\r\n");
    assert!(!whole, "{} bytes, to the end", rest.len());
    assert!(rest.len() < 10_000_000, "{} bytes", rest.len());
    fixture.stop().await;
}

/// Whoever audits asks what one person did, by whatever way, also about incidents; of no part of a name, and of nobody's texts.
#[tokio::test]
async fn what_somebody_did_is_found_by_their_name() {
    let fixture = Fixture::new().await;
    fixture.user("olga", Role::Operator, None).await;
    fixture.user("ol", Role::Operator, None).await;
    let (olga, ol) = (fixture.token_of("olga").await, fixture.token_of("ol").await);
    for (token, active) in [(&olga, true), (&ol, false)] {
        let body = format!(r#"{{"active": {active}}}"#);
        let set = fixture.ask("PUT /api/monitor/killswitch", token, &body).await;
        assert_eq!(set.status, 200, "{}", set.shown());
    }
    let said = |by: &str| {
        let step = Step::Ordered { by: by.into(), order: Order::Dismiss };
        let condition = engine::detect::Condition::VmCrashed;
        entry(1, Fact::Remedy { incident: incident(7), condition, step })
    };
    let rows = vec![opened(0, 7), said("olga (login)"), said("alice (sudo) (command line)")];
    tell(&fixture, "lab", rows).await;
    let broken = "UPDATE journal SET entry = 'olga' WHERE kind = 'opened'";
    touch(fixture.folder.path(), broken).await;
    #[rustfmt::skip]
    let table = [
        ("by a call and of an incident", "by=olga",              vec!["operator olga (login)", "ordered olga (login)"]),
        ("who has a shorter name",       "by=ol",                vec!["operator ol (login)"]),
        ("at a terminal",                "by=alice",             vec!["ordered alice (sudo) (command line)"]),
        ("with the kind",                "by=olga&kind=ordered", vec!["ordered olga (login)"]),
        ("nobody",                       "by=nobody",            vec![]),
        ("a part of a text",             "by=login",             vec![]),
    ];
    for (name, query, expected) in table {
        let found = json(&fixture.get(&format!("/api/v1/journal?{query}"), &olga).await);
        let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
        let rows = found["items"].as_array().unwrap().iter();
        let rows: Vec<_> = rows.map(|row| format!("{} {}", text(row, "kind"), text(row, "by"))).collect();
        assert_eq!(rows, expected, "{name}");
        let exported = fixture.get(&format!("{EXPORT}?{query}"), &olga).await;
        let lines = exported.body.lines().filter(|line| line.starts_with('{')).count();
        assert_eq!(lines, expected.len(), "{name}, as a file");
    }
}
