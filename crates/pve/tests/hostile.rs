//! What a server can do to us: each row is one bad server, the error it makes, and the text that people read.

#![allow(clippy::unwrap_used, reason = "helpers of tests; a panic is the report")]

#[path = "common/server.rs"]
mod server;

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use pve::types::Version;
use pve::{
    Client, Endpoint, Error, GuestId, GuestKind, Limits, NodeName, Obstacle, Secret, Step, Token, Trust,
};
use server::{Identity, Play, Server};
use tokio::net::TcpListener;
use tokio::sync::Notify;

const SECRET: &str = "5e3c1f00-dead-beef-0000-1234567890ab";
const MIB: u64 = 1024 * 1024;
/// The HTTP library's largest read buffer, rounded up.
const CHUNK: u64 = MIB / 2;

fn token() -> Token {
    Token::new("mon@pve!t1", Secret::new(SECRET)).unwrap()
}

/// Short, so that a server which says nothing costs the test little.
fn limits() -> Limits {
    let soon = Duration::from_millis(300);
    Limits {
        connect: Duration::from_secs(5),
        cheap: Duration::from_secs(20),
        forwarded: soon,
        body: 8 * MIB,
        ..Limits::default()
    }
}

fn client(server: &Server, trust: Trust) -> Client {
    let endpoint = Endpoint::new(&format!("https://{}", server.address), trust).unwrap();
    Client::new(endpoint, token(), limits()).unwrap()
}

fn node() -> NodeName {
    NodeName::new("pve1").unwrap()
}

const GUEST: GuestId = GuestId { kind: GuestKind::Qemu, vmid: 101 };

fn answer(status_line: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status_line}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn json(body: &str) -> Vec<u8> {
    answer("200 OK", "Connection: Keep-Alive\r\n", body)
}

const VERSION: &str = r#"{"data":{"version":"9.2.11","release":"9.2","repoid":"x"}}"#;

/// Asks `GET /version` of a server that makes one play.
async fn version_of(plays: Vec<Play>) -> (Result<Version, Error>, Server) {
    let identity = Identity::new();
    let server = Server::start(&identity, plays).await;
    let answer = client(&server, Trust::Fingerprint(identity.fingerprint())).version().await;
    (answer, server)
}

/// The error's variant and its text, with the port, which changes, as `:PORT`.
fn told(error: &Error) -> String {
    let variant = format!("{error:?}");
    let variant = variant.split([' ', '{']).next().unwrap();
    let endpoint = error.asked().endpoint.to_string();
    format!("{variant}: {}", error.to_string().replace(&endpoint, "HOST"))
}

#[tokio::test]
async fn bad_answers() {
    let html = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>";
    let unended = |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{body}").into_bytes();
    let empty = |line: &str| format!("HTTP/1.1 {line}\r\nConnection: close\r\n\r\n").into_bytes();
    let echo = format!(r#"{{"data":null,"message":"no {SECRET} here"}}"#);
    let echoing_line = format!("500 what is {SECRET}");
    #[rustfmt::skip]
    let table: Vec<(&str, Vec<u8>, &str)> = vec![
        ("JSON cut short", json(r#"{"data":{"version":"9."#),
            "Malformed: GET /version at HOST gave an answer that cannot be read at data.version: EOF while parsing a string at line 1 column 22; it begins with `{\"data\":{\"version\":\"9.`"),
        ("a list where an object belongs", json(r#"{"data":[1,2]}"#),
            "Malformed: GET /version at HOST gave an answer that cannot be read at data[0]: invalid type: integer `1`, expected a string at line 1 column 10; it begins with `{\"data\":[1,2]}`"),
        ("a number where a text belongs", json(r#"{"data":{"version":{}}}"#),
            "Malformed: GET /version at HOST gave an answer that cannot be read at data.version: invalid type: map, expected a string at line 1 column 19; it begins with `{\"data\":{\"version\":{}}}`"),
        ("no data", json("{}"),
            "Malformed: GET /version at HOST gave an answer that cannot be read at its beginning or end: missing field `data` at line 1 column 2; it begins with `{}`"),
        ("nothing", json(""),
            "Malformed: GET /version at HOST gave an answer that cannot be read at its beginning or end: EOF while parsing a value at line 1 column 0; it begins with ``"),
        ("a page for browsers", json(html),
            "Malformed: GET /version at HOST gave an answer that cannot be read at its beginning or end: expected value at line 1 column 1; it begins with `<!DOCTYPE html> <html><head><title>Sign in</title></head></html>`"),
        ("nested without end", json(&"[".repeat(100_000)), ""),
        ("compressed in another way", answer("200 OK", "Content-Encoding: deflate\r\n", "xxxx"),
            "Malformed: GET /version at HOST gave an answer that cannot be read at its headers: it is compressed, which was not asked for; it begins with ``"),
        ("compressed", answer("200 OK", "Content-Encoding: gzip\r\n", "xxxx"),
            "Malformed: GET /version at HOST gave an answer that cannot be read at its headers: it is compressed, which was not asked for; it begins with ``"),
        ("401, empty", empty("401 Authentication failed!"),
            "Unauthorized: GET /version at HOST was refused with 401: Authentication failed!; check that the token exists, is enabled and has not expired, and that its secret is the right one"),
        ("403 in the reason only (before 8.3)", answer("403 Permission check failed (/nodes/a, Sys.Audit)", "", r#"{"data":null}"#),
            "Forbidden: GET /version at HOST is forbidden: Permission check failed (/nodes/a, Sys.Audit); grant Sys.Audit on /nodes/a to the token and to its user"),
        ("500 in the reason only (before 8.3)", answer("500 VM is locked (backup)", "", r#"{"data":null}"#),
            "Locked: GET /version at HOST failed, because the subject is locked: VM is locked (backup)"),
        ("500 in the message", answer("500 Internal Server Error", "", r#"{"data":null,"message":"cluster not ready - no quorum?\n"}"#),
            "NoQuorum: GET /version at HOST failed, because the node has no quorum: cluster not ready - no quorum?"),
        ("a reason that is not ASCII", answer("500 f\u{fc}r", "", ""),
            "Rejected: GET /version at HOST was rejected with 500: no readable reason was given"),
        ("595, empty", empty("595 Connection refused"),
            "Hop: GET /version at HOST got no further than the endpoint: 595 Connection refused"),
        ("596, empty", empty("596 Connection timed out"),
            "Hop: GET /version at HOST got no further than the endpoint: 596 Connection timed out"),
        ("501", answer("501 Method 'GET /version' not implemented", "", r#"{"data":null}"#),
            "Unsupported: GET /version at HOST is not supported by this server: Method 'GET /version' not implemented"),
        ("pmxcfs is down", answer("500 RPCEnvironment init request failed: Unable to load access control list: Connection refused", "", ""),
            "NoClusterFs: GET /version at HOST failed, because the cluster file system (pve-cluster) is down there: RPCEnvironment init request failed: Unable to load access control list: Connection refused"),
        ("a proxy in front", answer("502 Bad Gateway", "", html),
            "Rejected: GET /version at HOST was rejected with 502: Bad Gateway"),
        ("a proxy's 404 is no missing guest", answer("404 Not Found", "", r#"{"message":"no such task"}"#),
            "Rejected: GET /version at HOST was rejected with 404: no such task"),
        ("a refusal that is cut short", unended("{").replace_status("400 Parameter verification failed."),
            "Rejected: GET /version at HOST was rejected with 400: Parameter verification failed."),
        ("closed in the middle", unended(r#"{"data":"#),
            "Unreachable: GET /version at HOST failed while reading the answer: it closed the connection"),
        ("no HTTP at all", b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec(),
            "Unreachable: GET /version at HOST failed while waiting for the answer: the connection failed"),
        ("terminal codes", answer("500 \x1b[31mred", "", "{\"message\":\"a\\u001b[31m\\r\\nb\\u202e\"}"),
            "Unreachable: GET /version at HOST failed while waiting for the answer: the connection failed"),
        ("terminal codes in the message", answer("500 x", "", "{\"message\":\"a\\u001b[31m\\r\\nb\\u202ec\"}"),
            "Rejected: GET /version at HOST was rejected with 500: a [31m  b c"),
        ("our secret in the message", answer("500 x", "", &echo),
            "Rejected: GET /version at HOST was rejected with 500: no ************************************ here"),
        ("our secret in the reason", answer(&echoing_line, "", ""),
            "Rejected: GET /version at HOST was rejected with 500: what is ************************************"),
        ("our secret in a page", json(SECRET),
            "Malformed: GET /version at HOST gave an answer that cannot be read at its beginning or end: expected value at line 1 column 1; it begins with `************************************`"),
    ];
    let mut wrong = Vec::new();
    for (name, bytes, expected) in table {
        let (answer, _server) = version_of(vec![Play::Close(bytes.clone()), Play::Close(bytes)]).await;
        let error = answer.expect_err(name);
        let told = told(&error);
        if expected.is_empty() {
            // The text is long; only that it is bounded matters.
            assert!(told.starts_with("Malformed: ") && told.len() < 1500, "{name}: {told}");
        } else if told != expected {
            wrong.push(format!("{name}\n  told:     {told}\n  expected: {expected}"));
        }
        assert!(!format!("{error:?}").contains(SECRET), "{name}");
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Where every field is optional, serde would take an empty list for an object that says nothing.
#[tokio::test]
async fn a_list_is_no_object() {
    let identity = Identity::new();
    let server = Server::start(&identity, vec![Play::Keep(json(r#"{"data":[]}"#))]).await;
    let client = client(&server, Trust::Fingerprint(identity.fingerprint()));
    let error = client.node_status(&node()).await.unwrap_err();
    assert_eq!(
        told(&error),
        "Malformed: GET /nodes/pve1/status at HOST gave an answer that cannot be read at data: \
         a list where an object belongs; it begins with `{\"data\":[]}`"
    );
}

/// An answer without a length ends where its connection ends, and only TLS's farewell tells that from a break.
#[tokio::test]
async fn an_answer_that_ends_without_farewell_was_cut_off() {
    let open_ended = [b"HTTP/1.1 200 OK\r\n\r\n", VERSION.as_bytes()].concat();
    let (answer, _server) = version_of(vec![Play::Close(open_ended.clone())]).await;
    assert_eq!(&*answer.unwrap().version, "9.2.11");
    let (answer, _server) = version_of(vec![Play::Cut(open_ended)]).await;
    let error = answer.unwrap_err();
    assert!(matches!(error, Error::Unreachable { step: Step::Reading, .. }), "{error}");
}

trait ReplaceStatus {
    fn replace_status(self, line: &str) -> Self;
}

impl ReplaceStatus for Vec<u8> {
    fn replace_status(self, line: &str) -> Vec<u8> {
        String::from_utf8(self).unwrap().replace("200 OK", line).into_bytes()
    }
}

#[tokio::test]
async fn a_body_without_end() {
    let total = 100 * MIB;
    let flood = |head: &str| {
        let (head, piece) = (format!("HTTP/1.1 200 OK\r\n{head}\r\n").into_bytes(), vec![b' '; 64 * 1024]);
        vec![Play::Flood { head, piece, bytes: total }]
    };
    let limit = limits().body;

    let (answer, server) = version_of(flood(&format!("Content-Length: {total}\r\n"))).await;
    let error = answer.unwrap_err();
    assert!(
        matches!(error, Error::TooLarge { limit: told, seen, .. } if told == limit && seen == total),
        "{error}"
    );
    assert_eq!(
        told(&error),
        "TooLarge: GET /version at HOST answered with more than 8388608 bytes (104857600 announced or read); the rest was not read"
    );
    assert!(server.flooded() < limit, "nothing was read: {} bytes left the server", server.flooded());

    let (answer, server) = version_of(flood("Connection: close\r\n")).await;
    let error = answer.unwrap_err();
    let Error::TooLarge { seen, .. } = error else { panic!("{error}") };
    assert!((limit + 1..=limit + CHUNK).contains(&seen), "read {seen} of at most {limit} and one chunk");
    assert!(server.flooded() < total / 2, "{} bytes left the server", server.flooded());

    // A refusal is told by its status, however much comes with it.
    let head = b"HTTP/1.1 401 No ticket\r\nConnection: close\r\n\r\n".to_vec();
    let (answer, server) =
        version_of(vec![Play::Flood { head, piece: vec![b'x'; 64 * 1024], bytes: total }]).await;
    assert!(matches!(answer.unwrap_err(), Error::Unauthorized { .. }));
    assert!(server.flooded() < total / 2, "{} bytes left the server", server.flooded());
}

#[tokio::test]
async fn a_large_answer_is_read_whole() {
    // Over the size from which parsing moves to another thread.
    let row = r#"{"id":"qemu/100","vmid":100,"type":"qemu","node":"pve1","status":"running","name":"a-name-of-some-length"}"#;
    let body = format!(r#"{{"data":[{}]}}"#, vec![row; 20_000].join(","));
    assert!(body.len() > 2_000_000);
    let identity = Identity::new();
    let server =
        Server::start(&identity, vec![Play::Keep(json(&body)), Play::Keep(json(&body[..body.len() - 2]))])
            .await;
    let client = client(&server, Trust::Fingerprint(identity.fingerprint()));
    let rows = client.cluster_resources().await.unwrap();
    assert_eq!((rows.rows.len(), rows.unreadable.len()), (20_000, 0));
    let error = client.cluster_resources().await.unwrap_err();
    assert!(matches!(error, Error::Malformed { .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_says_nothing() {
    let identity = Identity::new();
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_vec();
    let plays = vec![
        Play::Hang(Vec::new()),
        Play::Hang(half),
        Play::Hang(b"HTTP/1.1 403 No\r\nContent-Length: 9\r\n\r\n".to_vec()),
    ];
    let server = Server::start(&identity, plays).await;
    let client = client(&server, Trust::Fingerprint(identity.fingerprint()));

    let error = client.node_status(&node()).await.unwrap_err();
    assert_eq!(
        told(&error),
        "TimedOut: GET /nodes/pve1/status at HOST took longer than 300 ms while waiting for the answer"
    );
    assert!(error.may_have_acted());
    assert_eq!(server.seen().len(), 1, "what timed out may still run there, so it is not asked again");
    let error = client.node_status(&node()).await.unwrap_err();
    assert_eq!(
        told(&error),
        "TimedOut: GET /nodes/pve1/status at HOST took longer than 300 ms while reading the answer"
    );
    let error = client.node_status(&node()).await.unwrap_err();
    assert!(matches!(error, Error::Forbidden { .. }), "the status line says enough: {error}");

    // The kernel takes the connection; nobody ever speaks TLS.
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint =
        Endpoint::new(&format!("https://{}", mute.local_addr().unwrap()), Trust::Insecure).unwrap();
    let short = Limits { connect: Duration::from_millis(200), ..Limits::default() };
    let error = Client::new(endpoint, token(), short).unwrap().version().await.unwrap_err();
    assert_eq!(told(&error), "Unreachable: GET /version at HOST failed while connecting: it does not answer");
    assert!(!error.may_have_acted());
}

#[tokio::test]
async fn nobody_is_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let endpoint = Endpoint::new(&format!("https://{address}"), Trust::Insecure).unwrap();
    let client = Client::new(endpoint, token(), limits()).unwrap();
    let error = client.guest_start(&node(), GUEST).await.unwrap_err();
    assert_eq!(
        told(&error),
        "Unreachable: POST /nodes/pve1/qemu/101/status/start at HOST failed while connecting: the connection was refused; is pveproxy running there?"
    );
    assert!(!error.may_have_acted() && error.is_endpoint_fault());
    assert!(error.source().is_some(), "the chain tells more");
}

#[tokio::test]
async fn a_connection_that_breaks() {
    // A question is asked twice, an action once: it may have been begun.
    for (name, play) in [("reset", Play::Reset), ("closed", Play::Silence)] {
        let identity = Identity::new();
        let server = Server::start(&identity, vec![play.clone(), play.clone(), play]).await;
        let client = client(&server, Trust::Fingerprint(identity.fingerprint()));
        let error = client.version().await.unwrap_err();
        assert_eq!(
            told(&error),
            "Unreachable: GET /version at HOST failed while waiting for the answer: it closed the connection",
            "{name}"
        );
        assert_eq!(server.seen().len(), 2, "{name}: asked once more");
        let error = client.guest_start(&node(), GUEST).await.unwrap_err();
        assert!(
            matches!(error, Error::Unreachable { step: Step::Waiting, obstacle: Obstacle::Closed, .. }),
            "{name}: {error}"
        );
        assert!(error.may_have_acted(), "{name}");
        assert_eq!(server.seen().len(), 3, "{name}: an action is never repeated");
    }
}

#[tokio::test]
async fn a_kept_connection_that_the_server_closes() {
    let identity = Identity::new();
    let upid = json(r#"{"data":"UPID:pve1:00000AA8:00041356:6B0473EA:qmstart:101:mon@pve!t1:"}"#);
    let plays = vec![
        Play::Keep(json(VERSION)), // GET on connection 0
        Play::Silence,             // GET on connection 0, closed as it is sent
        Play::Keep(json(VERSION)), // the same GET once more, on connection 1
        Play::Silence,             // POST on connection 1
        Play::Keep(upid),          // another POST, on connection 2
    ];
    let server = Server::start(&identity, plays).await;
    let client = client(&server, Trust::Fingerprint(identity.fingerprint()));
    client.version().await.unwrap();
    client.version().await.unwrap();
    let connections = |server: &Server| server.seen().iter().map(|seen| seen.connection).collect::<Vec<_>>();
    assert_eq!(connections(&server), [0, 0, 1]);
    let error = client.guest_start(&node(), GUEST).await.unwrap_err();
    assert!(error.may_have_acted(), "{error}");
    assert_eq!(connections(&server), [0, 0, 1, 1], "the action was not repeated");
    assert_eq!(client.guest_start(&node(), GUEST).await.unwrap().vmid(), Some(101));
}

#[tokio::test]
async fn connections_are_reused_unless_the_server_says_close() {
    let identity = Identity::new();
    // The third is what PVE says for calls that run in pvedaemon, though it keeps the connection.
    let both = answer("200 OK", "Connection: close\r\nConnection: Keep-Alive\r\n", VERSION);
    let plays = vec![
        Play::Keep(json(VERSION)),
        Play::Keep(both),
        Play::Keep(json(VERSION)),
        Play::Keep(json(VERSION)),
    ];
    let server = Server::start(&identity, plays).await;
    let client = client(&server, Trust::Fingerprint(identity.fingerprint()));
    for _ in 0..4 {
        client.version().await.unwrap();
    }
    let connections: Vec<usize> = server.seen().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [0, 0, 1, 1], "close wins over Keep-Alive");
}

#[tokio::test]
async fn certificates() {
    let right = Identity::new();
    let other = Identity::new();
    let named = Identity::for_name("pve1.lab");
    let expired = Identity::expired();
    let stolen = Identity::stolen_from(&right);
    let ca = |identity: &Identity| Trust::Ca(identity.ca_pem.as_bytes().into());
    let pin = |identity: &Identity| Trust::Fingerprint(identity.fingerprint());
    let (right_print, other_print) = (right.fingerprint(), other.fingerprint());
    #[rustfmt::skip]
    let table = vec![
        ("the right pin", &right, pin(&right), None),
        ("the right pin, for another name", &named, pin(&named), None),
        ("the right pin, expired", &expired, pin(&expired), None),
        ("the right CA", &right, ca(&right), None),
        ("anybody", &other, Trust::Insecure, None),
        ("a wrong pin", &other, pin(&right), Some(format!("its certificate is not the pinned one ({right_print}); it presented {other_print}"))),
        ("the right certificate without its key", &stolen, pin(&right), Some("it does not hold the key of the certificate it presented".to_owned())),
        ("without its key, for anybody", &stolen, Trust::Insecure, Some("it does not hold the key of the certificate it presented".to_owned())),
        ("a wrong CA", &other, ca(&right), Some(format!("none of the trusted CAs vouches for its certificate; PVE's own is vouched for by the cluster's /etc/pve/pve-root-ca.pem (ca_file); it presented {other_print}"))),
        ("the right CA, for another name", &named, ca(&named), Some(format!("its certificate is not for the name 127.0.0.1; it presented {}", named.fingerprint()))),
        ("the right CA, expired", &expired, ca(&expired), Some(format!("its certificate has expired; it presented {}", expired.fingerprint()))),
        ("unknown to this system", &right, Trust::SystemRoots, Some(format!("none of the trusted CAs vouches for its certificate; PVE's own is vouched for by the cluster's /etc/pve/pve-root-ca.pem (ca_file); it presented {right_print}"))),
    ];
    for (name, identity, trust, refused) in table {
        let server = Server::start(identity, vec![Play::Keep(json(VERSION))]).await;
        let endpoint = Endpoint::new(&format!("https://{}", server.address), trust).unwrap();
        let client = match Client::new(endpoint, token(), limits()) {
            Ok(client) => client,
            // A machine without roots says so when the client is made.
            Err(pve::BuildError::NoSystemRoots) => continue,
            Err(error) => panic!("{name}: {error}"),
        };
        let answer = client.version().await;
        let Some(why) = refused else {
            assert_eq!(answer.unwrap().release.as_deref(), Some("9.2"), "{name}");
            continue;
        };
        let error = answer.expect_err(name);
        let expected =
            format!("Untrusted: GET /version at HOST was not sent, because the server is not trusted: {why}");
        assert_eq!(told(&error), expected, "{name}");
        assert!(server.seen().is_empty(), "{name}: the token was not sent");
        assert!(!error.may_have_acted(), "{name}");
    }

    // A server that does not speak TLS.
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = plain.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 301 Moved\r\n\r\n").await.ok();
            // Read until the client goes away, so that closing does not reset what was written.
            tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut Vec::new()).await.ok();
        }
    });
    let endpoint = Endpoint::new(&format!("https://{address}"), Trust::Insecure).unwrap();
    let error = Client::new(endpoint, token(), limits()).unwrap().version().await.unwrap_err();
    assert_eq!(
        told(&error),
        "Untrusted: GET /version at HOST was not sent, because the server is not trusted: it does not speak TLS"
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let identity = Identity::new();
    let elsewhere = Server::start(&identity, vec![Play::Keep(json(VERSION))]).await;
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let location = format!("Location: https://{}/api2/json/version\r\n", elsewhere.address);
        let (answer, server) = version_of(vec![Play::Keep(answer(status, &location, ""))]).await;
        let code = &status[..3];
        assert_eq!(
            told(&answer.unwrap_err()),
            format!(
                "Rejected: GET /version at HOST was rejected with {code}: it redirects, which is not followed; check the endpoint's address"
            )
        );
        assert_eq!(server.seen().len(), 1);
    }
    assert!(elsewhere.seen().is_empty(), "the token went nowhere else");
}

#[tokio::test]
async fn what_is_sent() {
    let identity = Identity::new();
    let upid = r#"{"data":"UPID:pve1:00000AA8:00041356:6B0473EA:qmshutdown:101:mon@pve!t1:"}"#;
    let plays = vec![
        Play::Keep(json(r#"{"data":[],"total":7}"#)),
        Play::Keep(json(upid)),
        Play::Keep(json(upid)),
        Play::Keep(json(r#"{"data":[]}"#)),
    ];
    let server = Server::start(&identity, plays).await;
    let client = client(&server, Trust::Ca(identity.ca_pem.as_bytes().into()));
    let query = pve::TaskQuery { typefilter: Some("a&b=c d".into()), limit: Some(5), ..Default::default() };
    assert_eq!(client.node_tasks(&node(), &query).await.unwrap().total, Some(7));
    client.guest_shutdown(&node(), GUEST, Some(Duration::from_secs(90))).await.unwrap();
    let task = client.guest_stop(&node(), GUEST).await.unwrap();
    client.task_log(&task, 0, 500).await.unwrap();
    let seen = server.seen();
    let host = format!("host: {}", server.address);
    let common = |text: &str| {
        let mut lines: Vec<&str> = text.split("\r\n").filter(|line| !line.is_empty()).collect();
        let before = lines.len();
        lines.retain(|line| {
            let authorization = format!("authorization: PVEAPIToken=mon@pve!t1={SECRET}");
            ![&*authorization, "accept: */*", &*host].contains(line)
                && !line.starts_with("user-agent: jarvis/")
        });
        assert_eq!(before - lines.len(), 4, "{text}");
        lines.join(" | ")
    };
    let told: Vec<String> = seen.iter().map(|seen| common(&seen.text)).collect();
    assert_eq!(
        told,
        [
            "GET /api2/json/nodes/pve1/tasks?source=archive&limit=5&typefilter=a%26b%3Dc+d HTTP/1.1",
            "POST /api2/json/nodes/pve1/qemu/101/status/shutdown HTTP/1.1 | \
             content-type: application/x-www-form-urlencoded | content-length: 10 | timeout=90",
            "POST /api2/json/nodes/pve1/qemu/101/status/stop HTTP/1.1 | content-length: 0",
            "GET /api2/json/nodes/pve1/tasks/UPID:pve1:00000AA8:00041356:6B0473EA:qmshutdown:101:mon@pve!t1:/log\
             ?start=0&limit=500 HTTP/1.1",
        ]
    );
}

#[tokio::test]
async fn two_at_a_time_per_node() {
    let identity = Identity::new();
    let go = Arc::new(Notify::new());
    let status = json(r#"{"data":{"uptime":1}}"#);
    let plays = vec![Play::Later(Arc::clone(&go), status); 5];
    let mut server = Server::start(&identity, plays).await;
    let endpoint = || Endpoint::new(&format!("https://{}", server.address), Trust::Insecure).unwrap();
    let limits = Limits { forwarded: Duration::from_secs(20), ..limits() };
    let first = Client::new(endpoint(), token(), limits).unwrap();
    // Another way to the same node does not make more room on it.
    let second = first.beside(endpoint()).unwrap();
    let ask = |client: &Client, node: &str| {
        let (client, node) = (client.clone(), NodeName::new(node).unwrap());
        tokio::spawn(async move { client.node_status(&node).await.unwrap().uptime })
    };
    let asked = [ask(&first, "pve1"), ask(&second, "pve1"), ask(&first, "pve1"), ask(&second, "pve1")];
    server.arrival().await;
    server.arrival().await;
    // Another node has seats of its own. By the time its request is there, a third for pve1 would be as well.
    let other = ask(&first, "pve2");
    server.arrival().await;
    assert!(!server.has_arrival(), "two for pve1, one for pve2");
    let on_pve1 = server.seen().iter().filter(|seen| seen.text.contains("/nodes/pve1/")).count();
    assert_eq!(on_pve1, 2);
    for _ in 0..2 {
        go.notify_one();
        server.arrival().await;
    }
    for _ in 0..3 {
        go.notify_one();
    }
    for asked in asked.into_iter().chain([other]) {
        assert_eq!(asked.await.unwrap(), Some(1));
    }
}

/// Who gives up early leaves the seat taken, because the node is still at work.
#[tokio::test]
async fn impatience_makes_no_third_call() {
    let identity = Identity::new();
    let go = Arc::new(Notify::new());
    let status = json(r#"{"data":{"uptime":1}}"#);
    let mut server = Server::start(&identity, vec![Play::Later(Arc::clone(&go), status); 3]).await;
    let endpoint = Endpoint::new(&format!("https://{}", server.address), Trust::Insecure).unwrap();
    let limits = Limits { forwarded: Duration::from_secs(20), ..limits() };
    let client = Client::new(endpoint, token(), limits).unwrap();
    let hasty = client.within(Duration::from_millis(200));
    let node = node();
    let mut steps = Vec::new();
    for _ in 0..3 {
        let error = hasty.node_status(&node).await.unwrap_err();
        let Error::TimedOut { step, after, .. } = error else { panic!("{error}") };
        assert_eq!(after, Duration::from_millis(200));
        steps.push(step);
    }
    assert_eq!(steps, [Step::Waiting, Step::Waiting, Step::Queued]);
    assert_eq!(server.seen().len(), 2, "the third was not sent");

    // Dropping the question is no different from losing patience with it.
    server.arrival().await;
    server.arrival().await;
    go.notify_one();
    let dropped = tokio::spawn({
        let (client, node) = (client.clone(), node.clone());
        async move { client.node_status(&node).await }
    });
    server.arrival().await;
    dropped.abort();
    assert!(dropped.await.unwrap_err().is_cancelled());
    let error = hasty.node_status(&node).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { step: Step::Queued, .. }), "{error}");
    go.notify_one();
    go.notify_one();
}

#[tokio::test]
async fn waiting_for_a_seat_has_an_end() {
    let identity = Identity::new();
    let mut server = Server::start(&identity, vec![Play::Hang(Vec::new()); 3]).await;
    let endpoint = Endpoint::new(&format!("https://{}", server.address), Trust::Insecure).unwrap();
    let limits = Limits { in_flight_per_node: 1, ..limits() };
    let client = Client::new(endpoint, token(), limits).unwrap();
    let (node, ask) = (node(), client.clone());
    let first = tokio::spawn(async move { ask.node_status(&node).await });
    server.arrival().await;
    let here = self::node();
    let (second, third) = tokio::join!(client.node_status(&here), client.node_status(&here));
    let steps = [first.await.unwrap(), second, third].map(|answer| {
        let error = answer.unwrap_err();
        let Error::TimedOut { step, .. } = error else { panic!("{error}") };
        step
    });
    // The second and the third gave up on the queue as the first gave up on its answer; one of them may have got
    // the seat at that very moment, both cannot have.
    assert_eq!(steps[0], Step::Waiting);
    assert!(steps[1..].contains(&Step::Queued), "{steps:?}");
}
