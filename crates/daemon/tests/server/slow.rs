//! Those who ask and do not read: their answers hold their turns, and are cut off; others are answered meanwhile. And
//! those who were away for long.

use std::time::Duration;

use daemon::record::{NewEvent, Source};
use daemon::report::Limits;
use daemon::report::caller::Role;
use daemon::report::page::{GuestMarks, GuestRow};
use engine::observe::{GuestId, GuestKind, GuestStatus};
use engine::report::{EventKind, Severity};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::at;
use crate::harness::{Fixture, lab};

/// Their metrics are some 13 MB: more than any kernel keeps for a client.
const GUESTS: u32 = 20_000;

fn publish_guests(fixture: &Fixture) {
    let guest = |vmid| GuestRow {
        id: GuestId { kind: GuestKind::Qemu, vmid },
        name: Some(format!("guest-{vmid}").into()),
        status: GuestStatus::Running,
        node: "pve1".parse().unwrap(),
        cpu: 0.25,
        maxcpu: 2.0,
        mem: 1,
        maxmem: 2,
        disk: 0,
        maxdisk: 3,
        netin: 1,
        netout: 2,
        uptime: 3,
        marks: GuestMarks::default(),
    };
    fixture.page.publish_guests((100..100 + GUESTS).map(guest).collect(), at(0));
}

/// Asks, takes the first bytes of the answer, and no more.
pub(crate) async fn ask_and_stop(fixture: &Fixture, path: &str, token: &str) -> (TcpStream, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(fixture.address()).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: jarvis.lan\r\nAuthorization: Bearer {token}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    (stream, String::from_utf8(status.to_vec()).unwrap())
}

#[tokio::test]
async fn an_answer_that_is_not_read_holds_its_turn_and_one_caller_not_all_of_them() {
    let fixture = Fixture::within(Limits { requests: 4, ..Limits::default() }).await;
    publish_guests(&fixture);
    for name in ["slow", "other"] {
        fixture.user(name, Role::Viewer, None).await;
    }
    let (slow, other) = (fixture.token_of("slow").await, fixture.token_of("other").await);
    let mut unread = Vec::new();
    for (name, expected) in [("first", "200"), ("second", "200"), ("more than half", "503")] {
        let (stream, status) = ask_and_stop(&fixture, "/metrics", &slow).await;
        assert_eq!(status, format!("HTTP/1.1 {expected}"), "the {name}");
        unread.push(stream);
    }
    let refused = fixture.get("/api/monitor/status", &slow).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")), "{}", refused.body);
    assert_eq!(fixture.get("/api/monitor/status", &other).await.status, 200, "somebody else is answered");
    let read = fixture.get("/metrics", &other).await;
    assert_eq!(read.status, 200);
    assert_eq!(read.header("content-length"), Some(read.body.len().to_string().as_str()), "all of it came");
    drop(unread);
    // The server hears of a closed connection when it next writes to it.
    while fixture.get("/api/monitor/status", &slow).await.status != 200 {
        tokio::task::yield_now().await;
    }
    fixture.stop().await;
}

#[tokio::test]
async fn an_answer_that_is_not_read_in_time_is_cut_off() {
    let limits = Limits { requests: 2, answer: Duration::from_millis(300), ..Limits::default() };
    let fixture = Fixture::within(limits).await;
    publish_guests(&fixture);
    let token = fixture.token();
    let (mut unread, status) = ask_and_stop(&fixture, "/metrics", &token).await;
    assert_eq!(status, "HTTP/1.1 200");
    while fixture.get("/api/monitor/status", &token).await.status != 200 {
        tokio::task::yield_now().await;
    }
    let mut rest = Vec::new();
    // Whether the end is a reset or not, is the kernel's affair.
    drop(unread.read_to_end(&mut rest).await);
    assert!(rest.len() < 10_000_000, "{} bytes came all the same", rest.len());
    // A connection that is read goes on, whatever its age is.
    assert_eq!(fixture.get("/metrics", &token).await.status, 200);
    fixture.stop().await;
}

/// A quiet cluster's client that was away for long: what lies behind tens of thousands of others' events is not looked
/// for, and it is told so.
#[tokio::test]
async fn who_was_away_for_too_long_is_told_so() {
    use sqlx::Connection;

    let fixture = Fixture::new().await;
    let count = daemon::record::LOOKED_AT_MAX + 10;
    let path = fixture.folder.path().join("jarvis.db");
    let mut others = sqlx::SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
    let insert = "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < ?1) INSERT INTO events \
        (type, source, severity, summary, cluster, at_ms) SELECT 'alert', 'monitor', 'info', 'x', 'edge', 1 FROM n";
    sqlx::query(insert).bind(count).execute(&mut others).await.unwrap();
    others.close().await.unwrap();
    fixture.user("local", Role::Viewer, Some(&[lab()])).await;
    let token = fixture.token_of("local").await;
    let (alert, error) = (EventKind::Alert, Severity::Error);
    let ours = NewEvent::plain(at(0), alert, error, Source::Monitor, "ours", "it is gone");
    let ours = NewEvent { cluster: Some("lab".into()), ..ours };
    fixture.store.save_events(vec![ours], None).await.unwrap();
    for (since, expected) in [
        (0, r#"42/events,["gap",{"after":0,"until":11}]"#),
        (9, r#"42/events,["gap",{"after":9,"until":11}]"#),
        (11, r#"42/events,["event","#),
    ] {
        let socket = fixture.join("/events", &format!(r#"{{"token":"{token}","since":{since}}}"#)).await;
        let heard = socket.hear_until("42/events,").await;
        let first = heard.iter().find(|packet| packet.starts_with("42/events,")).unwrap();
        assert!(first.starts_with(expected), "{since}: {first}");
    }
    fixture.stop().await;
}
