//! The command line's proof: what it is worth to a program that answers in the daemon's place, or stands between.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Fixture, PASSWORD, Reply};
use daemon::report::Limits;
use daemon::report::auth::Password;

/// The configuration of whoever believes that the daemon is at that port.
fn config(folder: &Path, port: u16) -> PathBuf {
    let path = folder.join(format!("{port}.toml"));
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:{port}\"\n[store]\npath = \"{}\"\n[[cluster]]\nname = \"lab\"\n\
         endpoints = [\"https://a\"]\ntoken_id = \"a@pve!b\"\ntoken_secret_env = \"NOT_HERE\"\n",
        folder.join("jarvis.db").display()
    );
    std::fs::write(&path, text).unwrap();
    path
}

fn jarvis(words: &str, config: PathBuf) -> tokio::task::JoinHandle<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jarvis"));
    command.args(words.split_whitespace()).arg("--config").arg(config);
    for name in ["JARVIS_TOKEN", "JARVIS_LOG", "SUDO_USER", "PORT", "DB_PATH"] {
        command.env_remove(name);
    }
    tokio::task::spawn_blocking(move || command.output().unwrap())
}

/// What one call sends, to its last byte.
async fn asked(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 4096];
        let read = stream.read(&mut part).await.unwrap();
        bytes.extend_from_slice(&part[..read]);
        let text = String::from_utf8(bytes.clone()).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().filter_map(|line| line.split_once(": ")).find_map(|(name, value)| {
            name.eq_ignore_ascii_case("content-length").then(|| value.parse().unwrap())
        });
        if body.len() >= length.unwrap_or(0) {
            return text;
        }
    }
}

/// The same bytes, to the daemon.
async fn replay(fixture: &Fixture, text: &str) -> (Reply, String) {
    let mut stream = TcpStream::connect(fixture.address()).await.unwrap();
    let text = text.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    stream.write_all(text.as_bytes()).await.unwrap();
    let reply = Reply::read(stream).await;
    let whole = format!("{}\r\n\r\n{}", reply.head, reply.body);
    (reply, whole)
}

/// A call of the command line through a program that may have made the answer itself, or changed the daemon's.
async fn through(
    fixture: &Fixture,
    words: &str,
    answer: Option<&str>,
    change: (&str, &str),
) -> (Output, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let running = jarvis(words, config(fixture.folder.path(), port));
    let (mut stream, _) = listener.accept().await.unwrap();
    let said = asked(&mut stream).await;
    let told = match answer {
        Some(body) => format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
        None => replay(fixture, &said).await.1.replace(change.0, change.1),
    };
    stream.write_all(told.as_bytes()).await.unwrap();
    drop(stream);
    (running.await.unwrap(), said)
}

const STOP: &str = "kill-switch on";
const OK: &str = r#"{"killSwitch":true}"#;

#[tokio::test]
async fn who_answers_in_the_daemon_s_place_is_not_believed() {
    let fixture = Fixture::new().await;
    let key = fixture.folder.path().join("jarvis.key");
    let foreign =
        format!("answers what no jarvis does: it does not show that it has the key {}\n", key.display());
    let foreign = foreign.as_str();
    type Change = (&'static str, &'static str);
    let table: [(&str, &str, Option<&str>, Change, &str); 6] = [
        ("the daemon, by a way round", STOP, None, ("", ""), ""),
        ("that says that it stopped", STOP, Some(OK), ("", ""), foreign),
        ("that says that nothing happened", "events", Some(r#"{"events":[]}"#), ("", ""), foreign),
        (
            "that changes the answer",
            "kill-switch status",
            None,
            (r#""killSwitch":true"#, r#""killSwitch":null"#),
            foreign,
        ),
        ("that makes a success of a refusal", "autonomy 3", None, ("409 Conflict", "200 OK"), foreign),
        ("that takes the seal away", STOP, None, ("x-jarvis-seal", "x-other"), foreign),
    ];
    for (name, words, answer, change, expected) in table {
        let (output, _) = through(&fixture, words, answer, change).await;
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.success(), expected.is_empty(), "{name}: {error}");
        assert!(error.ends_with(expected), "{name}: {error}");
    }
    fixture.stop().await;
}

#[tokio::test]
async fn a_proof_is_worth_nothing_but_the_call_it_was_made_for() {
    let fixture = Fixture::new().await;
    let (_, used) = through(&fixture, STOP, None, ("", "")).await;
    assert_eq!(replay(&fixture, &used).await.0.status, 401, "a second time");
    let (_, caught) = through(&fixture, STOP, Some(OK), ("", "")).await;
    let token = caught.lines().find(|line| line.starts_with("authorization: ")).unwrap();
    let json = "Content-Type: application/json";
    for (name, call, body) in [
        ("another body", "PUT /api/monitor/killswitch", r#"{"active":false}"#),
        ("no body", "PUT /api/monitor/killswitch", ""),
        ("another call", "PUT /api/monitor/autonomy-level", r#"{"level":2}"#),
        ("another user", "POST /api/v1/users", r#"{"name":"eve","role":"admin","password":"correct horse"}"#),
        ("a look", "GET /api/monitor/killswitch", r#"{"active":true}"#),
        ("another look", "GET /api/monitor/status", ""),
        ("a query", "PUT /api/monitor/killswitch?x", r#"{"active":true}"#),
    ] {
        let reply = fixture.call(call, &[token, json], body).await;
        assert!(matches!(reply.status, 401 | 405), "{name}: {}", reply.shown());
    }
    let socket =
        fixture.join("/events", &format!(r#"{{"token":"{}"}}"#, token.rsplit(' ').next().unwrap())).await;
    assert_eq!(socket.hear().await, [r#"44/events,{"message":"Invalid or expired token"}"#]);
    assert_eq!(replay(&fixture, &caught).await.0.status, 200, "what was wanted");
    assert_eq!(replay(&fixture, &caught).await.0.status, 401, "and once");

    // While the daemon was down.
    let (_, early) = through(&fixture, STOP, Some(OK), ("", "")).await;
    let Fixture { server, store, folder, auth, .. } = fixture;
    server.shutdown().await;
    drop(auth);
    store.close().await;
    let fixture = Fixture::of(folder, &["lab"], Limits::default(), Some(Password::new(PASSWORD))).await;
    assert_eq!(replay(&fixture, &early).await.0.status, 401, "a proof from before its start");
    let (output, _) = through(&fixture, STOP, None, ("", "")).await;
    assert!(output.status.success(), "{output:?}");
    fixture.stop().await;
}
