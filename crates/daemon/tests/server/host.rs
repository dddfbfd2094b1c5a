//! Whoever asks for another host than us, as the page of a name that was turned onto this machine does, reaches nothing.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::harness::{DESK, Fixture, PASSWORD, Reply};

async fn asked(fixture: &Fixture, first: &str, lines: &[&str], body: &str) -> Reply {
    let mut stream = TcpStream::connect(fixture.address()).await.unwrap();
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let length = body.len();
    let text = format!("{first}\r\n{lines}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).await.unwrap();
    Reply::read(stream).await
}

/// Each door of the house, by a name that is ours and by one that is not.
#[tokio::test]
async fn only_by_a_name_of_its_own() {
    let fixture = Fixture::new().await;
    let bearer = format!("Authorization: Bearer {}", fixture.token());
    let login = format!(r#"{{"password":"{PASSWORD}"}}"#);
    let upgrade = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    ];
    let json = "Content-Type: application/json";
    #[rustfmt::skip]
    let doors: [(&str, Vec<&str>, &str, u16); 9] = [
        ("POST /api/v1/session",                        vec![json],             &login, 200),
        ("POST /api/auth/login",                        vec![json],             &login, 200),
        ("GET /api/v1/events",                          vec![&bearer],          "",     200),
        ("GET /api/monitor/status",                     vec![&bearer],          "",     200),
        ("GET /api/health?liveness",                    vec![],                 "",     200),
        ("GET /",                                       vec![],                 "",     200),
        ("GET /nowhere",                                vec![],                 "",     404),
        ("GET /socket.io/?EIO=4&transport=polling",     vec![],                 "",     200),
        ("GET /socket.io/?EIO=4&transport=websocket",   upgrade.to_vec(),       "",     101),
    ];
    let evil = "evil.example:4000";
    for (call, lines, body, expected) in doors {
        for host in
            ["127.0.0.1:4000", "localhost", "jarvis.lan:80", "[::1]:4000", "desk.example.org:8443", evil]
        {
            let origin = format!("Origin: http://{host}");
            let named = format!("Host: {host}");
            let mut lines = lines.clone();
            lines.extend([named.as_str(), &origin]);
            let socket = call.contains("websocket");
            if socket && host != evil {
                let mut stream = TcpStream::connect(fixture.address()).await.unwrap();
                let text = format!("{call} HTTP/1.1\r\n{}\r\n\r\n", lines.join("\r\n"));
                stream.write_all(text.as_bytes()).await.unwrap();
                let mut start = [0; 12];
                tokio::io::AsyncReadExt::read_exact(&mut stream, &mut start).await.unwrap();
                assert_eq!(String::from_utf8_lossy(&start), format!("HTTP/1.1 {expected}"), "{call} {host}");
                continue;
            }
            let reply = asked(&fixture, &format!("{call} HTTP/1.1"), &lines, body).await;
            if host != evil {
                assert_eq!(reply.status, expected, "{call} {host}: {}", reply.shown());
                continue;
            }
            assert_eq!(reply.status, 421, "{call} {host}: {}", reply.shown());
            assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{call}");
            assert_eq!(reply.header("set-cookie"), None, "{call}");
            assert!(
                reply.body.contains("`evil.example:4000`") && reply.body.contains("server.public_url"),
                "{call}: {}",
                reply.body
            );
            assert!(!reply.body.contains("jarvis.lan") && !reply.body.contains(DESK), "{}", reply.body);
        }
    }
    fixture.stop().await;
}

#[tokio::test]
async fn however_the_host_is_named() {
    let fixture = Fixture::new().await;
    #[rustfmt::skip]
    let table: [(&str, &str, &[&str], u16); 6] = [
        ("in the first line, ours",              "GET http://localhost/api/health?liveness HTTP/1.1",    &["Host: localhost"],    200),
        ("in the first line, another",           "GET http://evil.example/api/health?liveness HTTP/1.1", &["Host: localhost"],    421),
        ("in the first line ours, then another", "GET http://localhost/api/health?liveness HTTP/1.1",    &["Host: evil.example"], 421),
        ("nowhere, as HTTP/1.0 allows",          "GET /api/health?liveness HTTP/1.0",                    &[],                     200),
        ("by HTTP/1.0",                          "GET /api/health?liveness HTTP/1.0",                    &["Host: evil.example"], 421),
        ("by what a proxy may be believed",      "GET /api/health?liveness HTTP/1.1",
            &["Host: evil.example", "X-Forwarded-Proto: https", "X-Forwarded-Host: localhost"],                                   421),
    ];
    for (name, first, lines, expected) in table {
        let reply = asked(&fixture, first, lines, "").await;
        assert_eq!(reply.status, expected, "{name}: {}", reply.shown());
    }
    fixture.stop().await;
}
