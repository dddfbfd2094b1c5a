//! Whoever means harm: a crowd that guesses, paths and headers that want out, requests that are two, too large or too slow.

use std::time::{Duration, Instant};

use daemon::report::Limits;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::{Fixture, PASSWORD, Reply};

const WRONG: &str = r#"{"password":"wrong"}"#;

async fn raw(fixture: &Fixture, text: &str) -> Reply {
    let mut stream = TcpStream::connect(fixture.address()).await.unwrap();
    // A server that refuses what it has read so far need not read the rest.
    drop(stream.write_all(text.as_bytes()).await);
    Reply::read(stream).await
}

#[tokio::test]
async fn a_thousand_addresses_that_guess_keep_nobody_out() {
    let fixture = Fixture::new().await;
    let right = format!(r#"{{"password":"{PASSWORD}"}}"#);
    let try_from = async |peer: &str, body: &str| fixture.post_from(peer, "/api/auth/login", body).await;
    assert_eq!(try_from("192.0.2.1", &right).await.status, 200, "the user at home, who is known from now on");

    let began = Instant::now();
    let (mut guesses, mut told_to_wait) = (0, 0);
    for n in 0..1_000 {
        match try_from(&format!("10.0.{}.{}", n / 250, n % 250 + 1), WRONG).await.status {
            401 => guesses += 1,
            429 => told_to_wait += 1,
            other => panic!("{other}"),
        }
    }
    assert!(guesses <= 10 + began.elapsed().as_secs() / 6, "{guesses} guesses, {told_to_wait} told to wait");
    assert_eq!(try_from("192.0.2.1", &right).await.status, 200, "at home, at once");
    assert_eq!(try_from("192.0.2.1", WRONG).await.status, 401, "and who mistypes there");
    assert_eq!(try_from("192.0.2.1", &right).await.status, 200);
    let away = try_from("198.51.100.7", &right).await;
    let wait: u64 = away.header("retry-after").unwrap().parse().unwrap();
    assert_eq!(away.status, 429);
    assert!(wait <= 105, "{wait} s for the user at a place where nobody knows them");
    fixture.stop().await;
}

#[tokio::test]
async fn the_user_at_a_new_place_is_let_in_when_they_were_told_to_come() {
    let fixture = Fixture::new().await;
    let right = format!(r#"{{"username":"admin","password":"{PASSWORD}"}}"#);
    let call = "/api/v1/session";
    for n in 1..=10 {
        // Made-up names are no other budget, or there would be no end of budgets.
        let wrong = format!(r#"{{"username":"user{n}","password":"wrong"}}"#);
        assert_eq!(fixture.post_from(&format!("10.0.0.{n}"), call, &wrong).await.status, 401, "{n}");
    }
    let away = fixture.post_from("198.51.100.7", call, &right).await;
    assert_eq!((away.status, away.header("retry-after")), (429, Some("1")), "{}", away.body);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(fixture.post_from("198.51.100.7", call, &right).await.status, 200);
    assert_eq!(fixture.post_from("198.51.100.7", call, &right).await.status, 200, "and is known there now");
    fixture.stop().await;
}

#[tokio::test]
async fn who_exists_is_not_told() {
    let fixture = Fixture::new().await;
    fixture.user("bob", daemon::report::caller::Role::Viewer, None).await;
    let admin = fixture.token();
    fixture.user("eve", daemon::report::caller::Role::Viewer, None).await;
    fixture.ask("PATCH /api/v1/users/eve", &admin, r#"{"disabled":true}"#).await;
    let long = "x".repeat(2_000);
    let attempts = [
        ("somebody", "bob", "wrong"),
        ("nobody", "carol", "wrong"),
        ("nobody, with somebody's password", "carol", PASSWORD),
        ("somebody who is not let in", "eve", PASSWORD),
        ("no name at all", "", PASSWORD),
        ("a name that can be none", "Bob\\r\\nX-Evil: 1", PASSWORD),
        ("a password longer than any", "bob", &long),
    ];
    for (n, (name, user, password)) in attempts.into_iter().enumerate() {
        let body = format!(r#"{{"username":"{user}","password":"{password}"}}"#);
        let reply = fixture.post_from(&format!("10.0.0.{n}"), "/api/auth/login", &body).await;
        assert_eq!(reply.shown(), r#"401 {"error":"Invalid password"}"#, "{name}");
        assert_eq!(reply.header("x-evil"), None, "{name}");
    }
    fixture.stop().await;
}

#[tokio::test]
async fn no_path_leads_out() {
    let fixture = Fixture::new().await;
    let token = format!("Authorization: Bearer {}", fixture.token());
    for path in [
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2f..%2fetc%2fpasswd",
        "//etc/passwd",
        "/api/../../etc/passwd",
        "/api/v1/users/..%2f..%2fadmin",
        "/api/v1/users/%00",
        "/api/v1/tokens/..%5c..%5cjarvis.key",
        "/socket.io/../jarvis.key",
        "/jarvis.key",
        "/data/jarvis.db",
        "/api/memory/preferences/../../jarvis.db",
    ] {
        for call in ["GET", "DELETE"] {
            let reply = fixture.call(&format!("{call} {path}"), &[&token], "").await;
            assert!(matches!(reply.status, 400 | 404 | 405), "{call} {path}: {}", reply.shown());
            assert!(!reply.body.contains("root:") && !reply.body.contains("SQLite"), "{call} {path}");
        }
    }
    fixture.stop().await;
}

#[tokio::test]
async fn nothing_that_is_sent_becomes_a_header() {
    let fixture = Fixture::new().await;
    let token = format!("Authorization: Bearer {}", fixture.token());
    let json = "Content-Type: application/json";
    let evil = r#"{"name":"a\r\nSet-Cookie: jarvis=evil","role":"viewer"}"#;
    for (name, call, lines, body) in [
        ("in a path", "GET /api/%0d%0aSet-Cookie:%20jarvis=evil", vec![token.as_str()], ""),
        ("in a parameter", "GET /api/memory/events?%0d%0aSet-Cookie:%20jarvis=evil", vec![&token], ""),
        ("in a user's name", "POST /api/v1/users", vec![&token, json], evil),
        ("in a token's name", "POST /api/v1/tokens", vec![&token, json], evil),
        (
            "in an origin",
            "GET /",
            vec!["Origin: https://desk.example.org:8443%0d%0aSet-Cookie: jarvis=evil"],
            "",
        ),
        ("in a cookie", "GET /api/v1/session", vec!["Cookie: jarvis=%0d%0aSet-Cookie: jarvis=evil"], ""),
    ] {
        let reply = fixture.call(call, &lines, body).await;
        assert_eq!(reply.header("set-cookie"), None, "{name}: {}", reply.head);
        assert!(reply.status >= 200 && reply.status < 500, "{name}: {}", reply.shown());
    }
    fixture.stop().await;
}

/// A proxy in front may see one request where we see two; what can be read in two ways is refused.
#[tokio::test]
async fn a_request_is_one_request() {
    let fixture = Fixture::new().await;
    let hidden = "GET /api/health?liveness HTTP/1.1\r\nHost: x\r\n\r\n";
    let chunked = format!("0\r\n\r\n{hidden}");
    let guess = r#"{"password":"wrong"}"#;
    let whole = format!("{:x}\r\n{guess}\r\n0\r\n\r\n{hidden}", guess.len());
    let table: [(&str, String, String, u16); 10] = [
        // Read as chunks, as the standard has it, and nothing that follows is read at all: also where the call is good.
        (
            "a good call by chunks, and a length",
            format!("Transfer-Encoding: chunked\r\nContent-Length: {}", whole.len()),
            whole.clone(),
            401,
        ),
        (
            "a good call by chunks, after a length",
            "Content-Length: 5\r\nTransfer-Encoding: chunked".into(),
            whole,
            401,
        ),
        (
            "a length and chunks",
            format!("Content-Length: {}\r\nTransfer-Encoding: chunked", chunked.len()),
            chunked.clone(),
            400,
        ),
        (
            "chunks and a length",
            format!("Transfer-Encoding: chunked\r\nContent-Length: {}", chunked.len()),
            chunked.clone(),
            400,
        ),
        ("two lengths", "Content-Length: 2\r\nContent-Length: 60".into(), format!("{{}}{hidden}"), 400),
        ("a list of lengths", "Content-Length: 2, 60".into(), format!("{{}}{hidden}"), 400),
        ("a signed length", "Content-Length: +2".into(), format!("{{}}{hidden}"), 400),
        ("an encoding that is none", "Transfer-Encoding: xchunked".into(), chunked.clone(), 400),
        ("chunked, but not last", "Transfer-Encoding: chunked, identity".into(), chunked, 400),
        ("a space before the colon", "Content-Length : 2".into(), format!("{{}}{hidden}"), 400),
    ];
    for (name, headers, body, status) in table {
        let json = "Content-Type: application/json";
        let text = format!("POST /api/auth/login HTTP/1.1\r\nHost: x\r\n{json}\r\n{headers}\r\n\r\n{body}");
        let reply = raw(&fixture, &text).await;
        assert_eq!(reply.status, status, "{name}: {}", reply.head);
        assert_eq!(reply.header("connection"), Some("close"), "{name}");
        assert!(!reply.body.contains("uptime"), "{name}: the hidden request was answered: {}", reply.body);
    }
    fixture.stop().await;
}

#[tokio::test]
async fn whom_it_is_for_and_from_whom_is_said_once() {
    let fixture = Fixture::new().await;
    let good = format!("Authorization: Bearer {}", fixture.token());
    let status = "/api/monitor/status";
    let sockets = "/socket.io/?EIO=4&transport=polling";
    #[rustfmt::skip]
    let table: [(&str, &str, &[&str], u16); 9] = [
        ("once",                        status,  &["Host: x", &good],                                   200),
        ("no host",                     status,  &[&good],                                              400),
        ("two hosts",                   status,  &["Host: x", "Host: evil", &good],                     400),
        ("the same one twice",          status,  &["Host: x", "Host: x", &good],                        400),
        ("a good token, and another",   status,  &["Host: x", &good, "Authorization: Bearer x"],        400),
        ("another, and a good one",     status,  &["Host: x", "authorization: Bearer x", &good],        400),
        ("a socket of its own origin",  sockets, &["Host: x", "Origin: http://x"],                      200),
        ("of two origins",              sockets, &["Host: x", "Origin: http://x", "Origin: http://y"],  400),
        ("for two hosts",               sockets, &["Host: x", "Host: y", "Origin: http://y"],           400),
    ];
    for (name, path, headers, expected) in table {
        let text = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n{}\r\n\r\n", headers.join("\r\n"));
        let reply = raw(&fixture, &text).await;
        assert_eq!(reply.status, expected, "{name}: {}", reply.shown());
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{name}");
    }
    fixture.stop().await;
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_is_read() {
    let fixture = Fixture::new().await;
    let long = "x".repeat(40_000);
    let many: String = (0..200).map(|n| format!("X-{n}: 1\r\n")).collect();
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let head =
        "POST /api/v1/session HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n";
    let table: [(&str, String, &[u16]); 5] = [
        ("a path", format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"), &[414, 431]),
        ("a header", format!("GET / HTTP/1.1\r\nHost: x\r\nCookie: {long}\r\n\r\n"), &[431]),
        ("a number of headers", format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n"), &[431]),
        ("a body", format!("{head}Content-Length: 70000\r\n\r\n{}", "x".repeat(70_000)), &[413]),
        (
            "a body in chunks",
            format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n"),
            &[413],
        ),
    ];
    for (name, text, expected) in table {
        let reply = raw(&fixture, &text).await;
        assert!(expected.contains(&reply.status), "{name}: {}", reply.head);
    }
    fixture.stop().await;
}

#[tokio::test]
async fn a_body_that_comes_slowly_is_not_waited_for() {
    let read = Duration::from_millis(200);
    let fixture = Fixture::within(Limits { read, ..Limits::default() }).await;
    let token = fixture.token();
    for path in ["/api/v1/session", "/api/v1/users", "/api/v1/tokens", "/api/v1/users/admin/password"] {
        let text = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
        );
        let reply = raw(&fixture, &text).await;
        assert_eq!(reply.status, 408, "{path}: {}", reply.head);
        assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{path}");
    }
    fixture.stop().await;
}
