//! What clients have after reconnects, restarts, slow times and full buffers: every event once and in order, and the
//! rows that the server has.

#![cfg(test)]

#[path = "wire/client.rs"]
mod client;
#[path = "server/harness.rs"]
#[expect(dead_code, reason = "the other tests of the server use the rest of it")]
mod harness;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use client::Client;
use daemon::record::{NewEvent, Source};
use daemon::report::Limits;
use daemon::report::auth::Password;
use daemon::report::page::{GuestMarks, GuestRow, Page, Quorum};
use engine::observe::{GuestId, GuestKind, GuestStatus};
use engine::report::{EventKind, Severity};
use harness::{Fixture, Folder, PASSWORD};
use jiff::Timestamp;
use serde_json::{Value, json};

/// Pseudo-random numbers from a seed (SplitMix64), so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }
}

async fn fixture(folder: Folder) -> Fixture {
    Fixture::of(folder, &["lab", "edge"], Limits::default(), Some(Password::new(PASSWORD))).await
}

fn event(cluster: Option<&str>, title: &str) -> NewEvent {
    let at = Timestamp::UNIX_EPOCH;
    let event = NewEvent::plain(at, EventKind::Alert, Severity::Error, Source::Monitor, title, "it is gone");
    NewEvent { cluster: cluster.map(Into::into), ..event }
}

/// A program at `/events` that keeps what it was sent, and comes back with the last number it has.
struct Program {
    clusters: Option<Value>,
    sees: fn(Option<&str>) -> bool,
    connection: Option<Client>,
    has: Vec<i64>,
    /// What it was told that it will not get.
    gaps: Vec<(i64, i64)>,
}

impl Program {
    fn new(clusters: Option<Value>, sees: fn(Option<&str>) -> bool) -> Program {
        Program { clusters, sees, connection: None, has: Vec::new(), gaps: Vec::new() }
    }

    fn last(&self) -> i64 {
        let gap = self.gaps.last().map_or(0, |(_, until)| *until);
        self.has.last().copied().unwrap_or(0).max(gap)
    }

    async fn connect(&mut self, fixture: &Fixture) {
        if self.connection.is_none() {
            let mut auth = json!({"token": fixture.token(), "since": self.last()});
            if let Some(clusters) = &self.clusters {
                auth["clusters"] = clusters.clone();
            }
            self.connection = Some(Client::join(fixture.address(), "/events", &auth).await);
        }
    }

    /// Reads one message and keeps it; gives its title.
    async fn read(&mut self) -> String {
        let last = self.last();
        let (name, body) = self.connection.as_mut().unwrap().message().await;
        match name.as_str() {
            "event" => {
                let seq = body["seq"].as_i64().unwrap();
                assert!(seq > last, "{seq} came after {last}");
                self.has.push(seq);
                body["title"].as_str().unwrap().to_owned()
            }
            "gap" => {
                assert_eq!(body["after"].as_i64(), Some(last));
                self.gaps.push((last, body["until"].as_i64().unwrap()));
                String::new()
            }
            other => panic!("{other}"),
        }
    }
}

/// How often there was what may go wrong.
#[derive(Default)]
struct Happened {
    reconnects: usize,
    restarts: usize,
    gaps: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_comes_once_and_in_order_whatever_happens_between() {
    // Side by side: a restart waits for half a second, a commit for the disk.
    let mut lives: tokio::task::JoinSet<Happened> = (0..50).map(a_life).collect();
    let mut all = Happened::default();
    while let Some(life) = lives.join_next().await {
        let Happened { reconnects, restarts, gaps } = life.unwrap();
        all.reconnects += reconnects;
        all.restarts += restarts;
        all.gaps += gaps;
    }
    let Happened { reconnects, restarts, gaps } = all;
    let enough = reconnects > 50 && restarts > 10 && gaps > 0;
    assert!(enough, "{reconnects} reconnects, {restarts} restarts, {gaps} gaps");
}

async fn a_life(seed: u64) -> Happened {
    let mut happened = Happened::default();
    let mut dice = Dice(seed);
    let mut fixture = fixture(Folder::new()).await;
    let mut programs = [
        Program::new(Some(json!("all")), |_| true),
        Program::new(None, |cluster| cluster.is_none_or(|cluster| cluster == "lab")),
        Program::new(Some(json!(["edge"])), |cluster| cluster.is_none_or(|cluster| cluster == "edge")),
    ];
    // (seq, cluster) of all that was committed.
    let mut stored: Vec<(i64, Option<String>)> = Vec::new();
    for _ in 0..30 {
        let who = dice.below(3) as usize;
        match dice.below(12) {
            0..=4 => {
                // A burst is more than a client's buffer holds, and more than who comes back is given.
                let count = if dice.below(60) == 0 { 2500 } else { 1 + dice.below(20) };
                let mut events = Vec::new();
                for n in 0..count {
                    let cluster = [Some("lab"), Some("edge"), None][dice.below(3) as usize];
                    events.push(event(cluster, &format!("event {n}")));
                }
                let rows = fixture.store.save_events(events, None).await.unwrap();
                stored.extend(rows.iter().map(|row| (row.id, row.cluster.clone())));
            }
            5 | 6 => programs[who].connect(&fixture).await,
            7 => {
                happened.reconnects += usize::from(programs[who].connection.take().is_some());
            }
            8 if dice.below(3) == 0 => {
                happened.restarts += 1;
                let Fixture { server, store, folder, .. } = fixture;
                server.shutdown().await;
                assert!(store.close().await);
                programs.iter_mut().for_each(|program| program.connection = None);
                fixture = self::fixture(folder).await;
            }
            _ => {
                // Reads some of what there must be for it, and leaves the rest where it is.
                let program = &mut programs[who];
                if program.connection.is_some() {
                    let last = program.last();
                    let due = stored.iter().filter(|(seq, of)| *seq > last && (program.sees)(of.as_deref()));
                    for _ in 0..(due.count() as u64).min(dice.below(30)) {
                        program.read().await;
                    }
                }
            }
        }
    }
    let end = fixture.store.save_event(event(None, "the end")).await.unwrap();
    stored.push((end.id, None));
    for (index, program) in programs.iter_mut().enumerate() {
        program.connect(&fixture).await;
        while program.read().await != "the end" {}
        let skipped = |seq: i64| program.gaps.iter().any(|(after, until)| seq > *after && seq <= *until);
        let due = stored.iter().filter(|(seq, of)| (program.sees)(of.as_deref()) && !skipped(*seq));
        let due: Vec<i64> = due.map(|(seq, _)| *seq).collect();
        assert_eq!(program.has, due, "seed {seed}, program {index}, gaps {:?}", program.gaps);
        happened.gaps += program.gaps.len();
    }
    drop(programs);
    fixture.stop().await;
    happened
}

#[tokio::test]
async fn what_is_passed_over_is_no_gap() {
    let fixture = fixture(Folder::new()).await;
    let many =
        |cluster, count| (0..count).map(|n| event(Some(cluster), &format!("event {n}"))).collect::<Vec<_>>();
    fixture.store.save_events(many("lab", 10), None).await.unwrap();
    fixture.store.save_events(many("edge", 3000), None).await.unwrap();
    fixture.store.save_events(many("lab", 2), None).await.unwrap();
    let mut old = Program::new(None, |_| true);
    old.connect(&fixture).await;
    while old.has.len() < 12 {
        old.read().await;
    }
    assert_eq!(
        (old.has[9], old.has[10], old.gaps.len()),
        (10, 3011, 0),
        "3,000 of another cluster lie between"
    );
    let mut edge = Program::new(Some(json!(["edge"])), |_| true);
    edge.connect(&fixture).await;
    edge.read().await;
    assert_eq!(edge.gaps, [(0, 2010)], "a thousand of its own are given");
    edge.read().await;
    assert_eq!(edge.has, [2011]);
    let day = jiff::SignedDuration::from_hours(48);
    // What was taken away for its age cannot be given, and is said to be missing.
    fixture.store.cleanup_old_events(1, Timestamp::UNIX_EPOCH + day).await.unwrap();
    fixture.store.save_event(event(Some("lab"), "the first that is left")).await.unwrap();
    let mut late = Program::new(None, |_| true);
    late.connect(&fixture).await;
    late.read().await;
    late.read().await;
    assert_eq!((late.gaps, late.has), (vec![(0, 3012)], vec![3013]));
    fixture.stop().await;
}

#[tokio::test]
async fn a_handshake_that_cannot_be_understood_is_refused_in_words() {
    let fixture = fixture(Folder::new()).await;
    let token = fixture.token();
    #[rustfmt::skip]
    let table = [
        ("/events",  json!({"since": "1"}),                "since must be a whole number, the seq of the last event received"),
        ("/events",  json!({"since": -1}),                 "since must be a whole number, the seq of the last event received"),
        ("/events",  json!({"clusters": "lab"}),           r#"clusters must be \"all\" or a list of names"#),
        ("/events",  json!({"clusters": ["lab", 1]}),      r#"clusters must be \"all\" or a list of names"#),
        ("/cluster", json!({"deltas": 1}),                 "deltas must be true or false"),
        ("/cluster", json!({"deltas": true, "since": 5}),  "since must say which version it has of each cluster, {CLUSTER: version}"),
        ("/cluster", json!({"deltas": true, "since": {"lab": "x"}}), "since must say which version it has of each cluster, {CLUSTER: version}"),
    ];
    for (namespace, mut auth, words) in table {
        auth["token"] = json!(token);
        let said = Client::knock(fixture.address(), namespace, &auth).await.packet().await;
        assert_eq!(said, format!(r#"44{namespace},{{"message":"{words}"}}"#), "{auth}");
    }
    fixture.stop().await;
}

fn guest(vmid: u32, status: GuestStatus, cpu: f64) -> GuestRow {
    GuestRow {
        id: GuestId { kind: GuestKind::Qemu, vmid },
        name: None,
        status,
        node: "pve1".parse().unwrap(),
        cpu,
        maxcpu: 1.0,
        mem: 1,
        maxmem: 2,
        disk: 0,
        maxdisk: 0,
        netin: 0,
        netout: 0,
        uptime: 0,
        marks: GuestMarks::default(),
    }
}

fn publish(page: &Page, cpus: &[f64]) {
    let rows = cpus.iter().zip(100..).map(|(cpu, vmid)| guest(vmid, GuestStatus::Running, *cpu)).collect();
    page.publish_guests(rows, Timestamp::now());
}

/// A page at `/cluster` that wants deltas, and complains about each that does not follow what it has.
#[derive(Default)]
struct Deltas {
    /// Version and CPU of each guest, by cluster.
    has: BTreeMap<String, (u64, BTreeMap<String, f64>)>,
    snapshots: usize,
}

impl Deltas {
    fn take(&mut self, name: &str, body: &Value) {
        let cluster = body["cluster"].as_str().unwrap().to_owned();
        let number = |key: &str| body[key].as_u64().unwrap();
        let set = |rows: &Value, into: &mut BTreeMap<String, f64>| {
            for row in rows.as_array().into_iter().flatten() {
                into.insert(row["id"].as_str().unwrap().into(), row["cpu"].as_f64().unwrap());
            }
        };
        match name {
            "snapshot" => {
                let mut rows = BTreeMap::new();
                set(&body["guests"], &mut rows);
                self.has.insert(cluster, (number("version"), rows));
                self.snapshots += 1;
            }
            "delta" => {
                let (version, rows) = self.has.get_mut(&cluster).expect("a snapshot first");
                assert_eq!(*version, number("from"), "no gap and no double");
                *version = number("to");
                set(&body["guests"]["set"], rows);
                for gone in body["guests"]["gone"].as_array().into_iter().flatten() {
                    rows.remove(gone.as_str().unwrap());
                }
            }
            "seen" => assert_eq!(self.has[&cluster].0, number("version")),
            other => panic!("{other}: {body}"),
        }
    }

    async fn until(&mut self, client: &mut Client, done: impl Fn(&Deltas, &Value) -> bool) {
        loop {
            let (name, body) = client.message().await;
            self.take(&name, &body);
            if done(self, &body) {
                return;
            }
        }
    }

    fn cpus(&self, cluster: &str) -> Vec<f64> {
        self.has.get(cluster).map(|(_, rows)| rows.values().copied().collect()).unwrap_or_default()
    }

    fn versions(&self) -> Value {
        self.has.iter().map(|(cluster, (version, _))| (cluster.clone(), json!(version))).collect()
    }
}

#[tokio::test]
async fn snapshots_deltas_and_coming_back() {
    let fixture = fixture(Folder::new()).await;
    let pages: Vec<Arc<Page>> = fixture.pages.iter().map(|(_, page)| page.clone()).collect();
    publish(&pages[0], &[0.1, 0.2]);
    publish(&pages[1], &[0.5]);
    fixture.live.saw(&"lab".parse().unwrap(), Instant::now());
    let auth = |since: Value| json!({"token": fixture.token(), "deltas": true, "since": since});
    let mut page = Deltas::default();
    let mut client = Client::join(fixture.address(), "/cluster", &auth(Value::Null)).await;
    page.until(&mut client, |page, _| page.snapshots == 2).await;
    assert_eq!((page.cpus("lab"), page.cpus("edge")), (vec![0.1, 0.2], vec![0.5]));

    publish(&pages[0], &[0.1, 0.9, 0.3]);
    page.until(&mut client, |page, _| page.cpus("lab") == [0.1, 0.9, 0.3]).await;
    publish(&pages[0], &[0.1]);
    page.until(&mut client, |page, _| page.cpus("lab") == [0.1]).await;
    // The same rows again are only said to be newer.
    let (version, _) = page.has["lab"].clone();
    publish(&pages[0], &[0.11]);
    page.until(&mut client, |_, body| body["version"] == json!(version) && body["seeing"] == true).await;
    assert_eq!(page.snapshots, 2);

    // Away for two versions.
    drop(client);
    let mut second = Deltas::default();
    let mut other = Client::join(fixture.address(), "/cluster", &auth(Value::Null)).await;
    for cpus in [[0.2], [0.4]] {
        publish(&pages[0], &cpus);
        second.until(&mut other, |second, _| second.cpus("lab") == cpus).await;
    }
    let mut client = Client::join(fixture.address(), "/cluster", &auth(page.versions())).await;
    page.until(&mut client, |page, _| page.cpus("lab") == [0.4]).await;
    assert_eq!((page.snapshots, &page.has), (2, &second.has), "led on from where it was, without a snapshot");

    // A version that never was, of a cluster that is known and one that is not.
    let strange = json!({"lab": 1, "edge": u64::MAX, "far": 3});
    let mut third = Deltas::default();
    let mut stranger = Client::join(fixture.address(), "/cluster", &auth(strange)).await;
    third.until(&mut stranger, |third, _| third.snapshots == 2).await;
    assert_eq!(third.has, second.has);

    // It asks: for one cluster, for all, and for none that there is.
    client.say("resync", json!({"cluster": "far"})).await;
    client.say("resync", json!("lab")).await;
    client.say("resync", json!({"cluster": "edge"})).await;
    page.until(&mut client, |page, body| page.snapshots == 3 && body["cluster"] == "edge").await;
    client.say("requestRefresh", Value::Null).await;
    page.until(&mut client, |page, _| page.snapshots == 5).await;

    // Only one cluster was asked for; the old page gets arrays, of the first, and nobody gets both.
    let mut auth_of_edge = auth(Value::Null);
    auth_of_edge["clusters"] = json!(["edge"]);
    let mut edge = Client::join(fixture.address(), "/cluster", &auth_of_edge).await;
    let mut only = Deltas::default();
    only.until(&mut edge, |only, _| only.snapshots == 1).await;
    let mut old = Client::join(fixture.address(), "/cluster", &json!({"token": fixture.token()})).await;
    let (name, rows) = old.message().await;
    assert_eq!((name.as_str(), rows[0]["vmid"].as_u64()), ("vms", Some(100)));
    publish(&pages[0], &[0.7]);
    pages[0].publish_quorum(Quorum { quorate: true, nodes: 1, expected: 1 }, Timestamp::now());
    publish(&pages[1], &[0.8]);
    only.until(&mut edge, |only, _| only.cpus("edge") == [0.8]).await;
    assert_eq!(only.has.len(), 1);
    page.until(&mut client, |page, _| page.cpus("lab") == [0.7] && page.cpus("edge") == [0.8]).await;
    assert_eq!(old.message().await.0, "vms");
    assert_eq!(old.message().await.0, "quorum");
    fixture.stop().await;
}

/// The events of a connection fill its buffer; the deltas of the same connection wait, and miss nothing.
#[tokio::test]
async fn a_client_without_room_is_not_sent_half() {
    let fixture = fixture(Folder::new()).await;
    let page = &fixture.page;
    publish(page, &[0.1]);
    let events = json!({"token": fixture.token()}).to_string();
    let slow = fixture.join("/events", &events).await;
    slow.hear_until("40/events,").await;
    slow.say(&format!("40/cluster,{}", json!({"token": fixture.token(), "deltas": true}))).await;
    let mut heard = slow.hear_until(r#"42/cluster,["snapshot",{"cluster":"edge""#).await;
    let mut client =
        Client::join(fixture.address(), "/cluster", &json!({"token": fixture.token(), "deltas": true})).await;
    let mut quick = Deltas::default();
    quick.until(&mut client, |quick, _| quick.snapshots == 2).await;
    // It reads nothing while more events come than its buffer holds, and the rows change.
    for _ in 0..20 {
        let many = (0..100).map(|n| event(None, &format!("event {n}"))).collect();
        fixture.store.save_events(many, None).await.unwrap();
    }
    for cpu in [0.2, 0.4, 0.6] {
        publish(page, &[cpu]);
        quick.until(&mut client, |quick, _| quick.cpus("lab") == [cpu]).await;
    }
    let mut page = Deltas::default();
    let mut seqs = Vec::new();
    let began = Instant::now();
    let mut waited = 0;
    loop {
        assert!(began.elapsed() < Duration::from_secs(30), "{} events, {:?}", seqs.len(), page.has);
        for packet in heard.drain(..) {
            let Some((namespace, body)) = packet.strip_prefix("42").and_then(|packet| packet.split_once(','))
            else {
                continue;
            };
            let message: Value = serde_json::from_str(body).unwrap();
            match namespace {
                "/cluster" => {
                    let name = message[0].as_str().unwrap();
                    if name == "delta" && waited == 0 {
                        waited = seqs.len();
                    }
                    page.take(name, &message[1]);
                }
                _ => seqs.push(message[1]["seq"].as_i64().unwrap()),
            }
        }
        if page.cpus("lab") == [0.6] && seqs.len() == 2000 {
            break;
        }
        heard = slow.hear().await;
    }
    assert!(waited > 1000, "the deltas came after {waited} events: there was room all the time");
    assert_eq!(seqs, (1..=2000).collect::<Vec<i64>>());
    assert_eq!(page.has["lab"], quick.has["lab"]);
    fixture.stop().await;
}
