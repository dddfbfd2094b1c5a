//! The token's secret shows nowhere: not in what is printed, not in what is logged, not even if the server repeats it.
//!
//! Alone in its file, because whoever listens to all that is logged must be the only one to run.

#![allow(clippy::unwrap_used, reason = "helpers of tests; a panic is the report")]

#[path = "common/server.rs"]
#[allow(dead_code, reason = "the other users of the server need more of it")]
mod server;

use std::error::Error as _;
use std::io::Write;
use std::sync::{Arc, Mutex};

use pve::{Client, Endpoint, GuestId, Limits, NodeName, Secret, Token, Trust};
use server::{Identity, Play, Server};

const SECRET: &str = "5e3c1f00-dead-beef-0000-1234567890ab";

fn answer(status_line: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status_line}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_never_shows() {
    let captured = Captured::default();
    let writer = captured.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let identity = Identity::new();
    let (node, guest) = ("pve1".parse::<NodeName>().unwrap(), "qemu/101".parse::<GuestId>().unwrap());
    let ok = |headers: &str, body: &str| Play::Keep(answer("200 OK", headers, body));
    let row = format!(r#"{{"id":"{SECRET}","type":"qemu","vmid":"{SECRET}"}}"#);
    let plays = vec![
        ok("", &format!(r#"{{"data":{{"version":"PVEAPIToken=mon@pve!t1={SECRET}"}}}}"#)),
        ok("", &format!(r#"{{"data":[{row}]}}"#)),
        ok(&format!("Content-Encoding: {SECRET}\r\n"), ""),
        ok("", &format!(r#"{{"data":"{SECRET}"}}"#)),
        // So large that it is read on another thread.
        ok("", &format!(r#"{{"data":{{"{SECRET}":"{}"}}}}"#, "x".repeat(2_000_000))),
        Play::Keep(answer(&format!("403 {SECRET}"), "", "")),
        Play::Keep(answer("400 x", "", &format!(r#"{{"errors":{{"{SECRET}":"{SECRET}"}}}}"#))),
        Play::Reset,
    ];
    let server = Server::start(&identity, plays).await;
    let endpoint = Endpoint::new(&format!("https://{}", server.address), Trust::Insecure).unwrap();
    let token = Token::new("mon@pve!t1", Secret::new(SECRET)).unwrap();
    let client = Client::new(endpoint, token, Limits::default()).unwrap();
    let mut shown = vec![format!("{client:?} {client:#?} {:?}", client.limits())];
    shown.push(format!("{:?}", client.version().await.unwrap()));
    shown.push(format!("{:?}", client.cluster_resources().await.unwrap()));
    let mut errors = Vec::new();
    for _ in 0..5 {
        errors.push(client.version().await.unwrap_err());
    }
    errors.push(client.guest_start(&node, guest).await.unwrap_err());
    let variants = errors.iter().map(|error| format!("{error:?}").split(' ').next().unwrap().to_owned());
    assert_eq!(
        variants.collect::<Vec<_>>(),
        ["Malformed", "Malformed", "Malformed", "Forbidden", "Rejected", "Unreachable"]
    );
    for error in errors {
        shown.push(format!("{error} {error:?} {error:#?}"));
        let mut cause = error.source();
        while let Some(error) = cause {
            shown.push(format!("{error} {error:?}"));
            cause = error.source();
        }
    }
    assert!(server.seen()[0].text.contains(SECRET), "it was sent");
    let traced = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
    assert!(traced.contains("whoever answers at this address gets the token"), "{traced}");
    assert!(traced.contains("GET /version"), "{traced}");
    shown.push(traced);
    for text in shown {
        assert!(!text.contains(SECRET), "{text}");
    }
}
