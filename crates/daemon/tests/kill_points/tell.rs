//! `kill -9` around the delivery of a message: what was recorded is told, and what comes twice has the same identity.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use super::*;

/// Each message's bodies, under its identity.
type Bodies = BTreeMap<String, Vec<String>>;

/// Takes every call; where it listens, and what it has taken.
fn hook() -> (u16, Arc<Mutex<Bodies>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let taken = Arc::new(Mutex::new(Bodies::new()));
    let keeps = Arc::clone(&taken);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut id, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                let Some((name, value)) = line.trim().split_once(": ") else {
                    if line.trim().is_empty() { break } else { continue }
                };
                match name.to_lowercase().as_str() {
                    "webhook-id" => value.clone_into(&mut id),
                    "content-length" => length = value.parse().unwrap(),
                    _ => {}
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            keeps.lock().unwrap().entry(id).or_default().push(String::from_utf8(body).unwrap());
            // Who was killed meanwhile does not read it.
            stream.get_mut().write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").ok();
        }
    });
    (port, taken)
}

const LEFT: &str = "SELECT count(*) || '' FROM outbox WHERE delivered_ms IS NULL";
const TOLD: &str = "SELECT count(*) || '' FROM outbox WHERE delivered_ms IS NOT NULL";

/// `again`: how many messages came a second time.
async fn story(point: &str, again: usize) {
    let (port, taken) = hook();
    let cluster = cluster();
    let secret = "kill-".repeat(8);
    let hook = "[[webhook]]\nname = \"pager\"\nsecret_env = \"HOOK\"\n";
    let home =
        Home::new(&point.replace('.', "-"), &cluster, &format!("{hook}url = \"http://127.0.0.1:{port}/\"\n"));
    let store = home.store();
    let log = || std::fs::read_to_string(home.0.join("log")).unwrap();
    let begin = |kill_at| Life::begin_with(&home, kill_at, &[("HOOK", &secret)]);
    let mut life = begin(Some(point));
    assert!(within(STEP_MAX, || seen_once(&store)).await, "{point}: no first round\n{}", log());
    cluster.apply("crash qemu/101").unwrap();
    let mut status = None;
    let died = within(STEP_MAX, || {
        status = life.0.try_wait().unwrap();
        std::future::ready(status.is_some())
    });
    assert!(died.await, "{point} is never reached\n{}", log());
    assert_eq!(status.unwrap().signal(), Some(9), "{point}: it ended otherwise\n{}", log());
    let mut life = begin(None);
    let all_told =
        within(STEP_MAX, || async { count(&store, TOLD).await > 0 && count(&store, LEFT).await == 0 });
    assert!(all_told.await, "{point}: never told\n{}", log());
    life.kill();

    let taken = taken.lock().unwrap().clone();
    let twice: Vec<_> = taken.iter().filter(|(_, bodies)| bodies.len() > 1).collect();
    assert_eq!(twice.len(), again, "{point}: {taken:?}");
    let mut events: Vec<i64> = Vec::new();
    for (id, bodies) in &taken {
        assert!(
            bodies.len() <= 2 && bodies.iter().all(|body| *body == bodies[0]),
            "{point}: {id}: {bodies:?}"
        );
        let body: serde_json::Value = serde_json::from_str(&bodies[0]).unwrap();
        events.extend(
            body["data"]["events"].as_array().unwrap().iter().map(|event| event["seq"].as_i64().unwrap()),
        );
    }
    let seqs = ask(&store, "SELECT event || '' FROM outbox ORDER BY event").await;
    events.sort_unstable();
    assert_eq!(events.iter().map(ToString::to_string).collect::<Vec<_>>(), seqs, "{point}: each event once");
    assert!(!log().contains("panicked"), "{point}\n{}", log());
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_tells_each_is_told_and_a_second_time_only_as_the_same_message() {
    tokio::join!(story("tell.begun", 0), story("tell.accepted", 1), story("tell.recorded", 0));
}
