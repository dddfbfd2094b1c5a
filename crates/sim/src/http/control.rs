//! The control interface: breaks things on demand, and counts what clients cost.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::observe::NodeName;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::wire::{self, Answer, Incoming, Payload};
use super::world::Shared;
use jiff::Timestamp;

/// The lines that are no part of the scenario language.
pub(super) const LEVERS: &str = "fault KIND [n=N] [times=N] [p=P seed=S] [path=/P] [node=N], fault off, \
     rights TOKEN RIGHTS, revoke TOKEN, token TOKEN=SECRET[:RIGHTS]";
/// More different calls than this are counted together.
const CALLS_MAX: usize = 500;
const IDLE: Duration = Duration::from_secs(5);

/// What one call cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CallCount {
    /// How often it was answered.
    pub count: u64,
    /// Bytes of head and body that were sent for it, before TLS.
    pub bytes: u64,
    /// How often by status.
    pub statuses: BTreeMap<u16, u64>,
}

/// What all clients cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// By call: `GET /nodes/{node}/qemu`.
    pub calls: BTreeMap<String, CallCount>,
    /// Answers by the node that was asked.
    pub nodes: BTreeMap<String, u64>,
    /// Connections that were accepted.
    pub connections: u64,
    /// Answers in all.
    pub calls_total: u64,
    /// Bytes of all answers, before TLS.
    pub bytes_total: u64,
}

/// Counts at the server, where a client cannot forget one.
#[derive(Default)]
pub(super) struct Counter(Mutex<Counts>);

impl Counter {
    pub(super) fn connected(&self, node: &NodeName) {
        let mut counts = self.lock();
        counts.connections += 1;
        counts.nodes.entry(node.to_string()).or_default();
    }

    pub(super) fn answered(&self, node: &NodeName, call: &str, status: u16, bytes: u64) {
        let mut counts = self.lock();
        counts.calls_total += 1;
        counts.bytes_total += bytes;
        *counts.nodes.entry(node.to_string()).or_default() += 1;
        let known = counts.calls.contains_key(call) || counts.calls.len() < CALLS_MAX;
        let entry = counts.calls.entry(if known { call.to_owned() } else { "(others)".into() }).or_default();
        entry.count += 1;
        entry.bytes += bytes;
        *entry.statuses.entry(status).or_default() += 1;
    }

    pub(super) fn read(&self) -> Counts {
        self.lock().clone()
    }

    pub(super) fn reset(&self) {
        *self.lock() = Counts::default();
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let mut guests = JoinSet::new();
    loop {
        while guests.try_join_next().is_some() {}
        tokio::select! {
            _ = stopped.changed() => return, // Dropping the set ends what is left.
            came = listener.accept() => {
                if let Ok((stream, _)) = came {
                    guests.spawn(one(stream, shared.clone()));
                }
            }
        }
    }
}

/// One request per connection: it is a lever, no API.
async fn one(mut stream: TcpStream, shared: Arc<Shared>) {
    let Incoming::Request(request) = wire::read(&mut stream, &mut Vec::new(), IDLE).await else { return };
    let answer = match (request.method.as_str(), request.path()) {
        ("POST", "/script") => match play(&shared, &String::from_utf8_lossy(&request.body)) {
            Ok(done) => Answer::ok(format!("{{\"applied\":{done}}}")),
            Err(what) => Answer::text(400, "Bad Request", format!("{what}\n")),
        },
        ("GET", "/counters") => match serde_json::to_string(&shared.counts()) {
            Ok(counts) => Answer::ok(counts),
            Err(error) => Answer::text(500, "Internal Server Error", error.to_string()),
        },
        ("GET", "/faults") => match serde_json::to_string(&shared.fault_counts()) {
            Ok(counts) => Answer::ok(counts),
            Err(error) => Answer::text(500, "Internal Server Error", error.to_string()),
        },
        ("POST", "/counters/reset") => {
            shared.reset_counts();
            Answer::ok("{}")
        }
        (_, _) => {
            let text = "there are POST /script, GET /counters, POST /counters/reset and GET /faults\n";
            Answer::text(404, "Not Found", text.into())
        }
    };
    let payload = Payload::of(&answer, false);
    let head = wire::head(&answer, &payload, Timestamp::now(), true);
    if let Err(error) = wire::send(&mut stream, &head, payload.bytes()).await {
        tracing::debug!(%error, "whoever pulled the lever did not wait");
    }
}

/// Line by line; what came before a bad line has happened.
fn play(shared: &Shared, text: &str) -> Result<usize, String> {
    let lines = text.lines().enumerate().filter(|(_, line)| {
        let code = line.split('#').next().unwrap_or_default();
        !code.trim().is_empty()
    });
    let mut done = 0;
    for (at, line) in lines {
        shared.apply(line).map_err(|what| format!("line {}: {what}", at + 1))?;
        done += 1;
    }
    Ok(done)
}
