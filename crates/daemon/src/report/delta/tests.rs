//! What a client has after any sequence of snapshots and deltas, and what a minute of them weighs.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use engine::observe::{GuestKind, GuestStatus};
use serde_json::Value;

use super::*;

/// Pseudo-random numbers from a seed (SplitMix64), so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// From -1 to 1.
    fn swing(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn published<T>(rows: Vec<T>, seen_at: Timestamp) -> Option<Published<[T]>> {
    Some(Published { seen_at, rows: rows.into() })
}

fn guest_row(vmid: u32) -> GuestRow {
    GuestRow {
        id: GuestId { kind: if vmid.is_multiple_of(3) { GuestKind::Lxc } else { GuestKind::Qemu }, vmid },
        name: Some(format!("guest-{vmid}").into()),
        status: GuestStatus::Running,
        node: format!("pve{}", vmid % 32).parse().unwrap(),
        cpu: 0.01,
        maxcpu: 4.0,
        mem: 3 << 30,
        maxmem: 8 << 30,
        disk: 0,
        maxdisk: 64 << 30,
        netin: 0,
        netout: 0,
        uptime: 1000,
        marks: GuestMarks::default(),
    }
}

fn picture(guests: Option<Published<[GuestRow]>>) -> Picture {
    Picture { nodes: None, guests, storages: None, quorum: None, seeing: true }
}

/// A client as a page would write it.
#[derive(Default)]
struct Client {
    version: u64,
    rows: BTreeMap<String, Value>,
}

impl Client {
    fn snapshot(&mut self, text: &Text) {
        let snapshot: Value = serde_json::from_str(text.get()).unwrap();
        self.version = snapshot["version"].as_u64().unwrap();
        let rows = snapshot["guests"].as_array().into_iter().flatten();
        self.rows = rows.map(|row| (row["id"].as_str().unwrap().to_owned(), row.clone())).collect();
    }

    fn delta(&mut self, text: &Text) {
        let delta: Value = serde_json::from_str(text.get()).unwrap();
        assert_eq!(delta["from"].as_u64(), Some(self.version), "no gap and no double");
        self.version = delta["to"].as_u64().unwrap();
        for set in delta["guests"]["set"].as_array().into_iter().flatten() {
            let row = self.rows.entry(set["id"].as_str().unwrap().to_owned()).or_insert_with(|| set.clone());
            row.as_object_mut().unwrap().extend(set.as_object().unwrap().clone());
        }
        for gone in delta["guests"]["gone"].as_array().into_iter().flatten() {
            assert!(self.rows.remove(gone.as_str().unwrap()).is_some(), "{gone} was there");
        }
    }
}

#[test]
fn each_message_has_the_shape_that_the_readme_shows() {
    let mut feed = Feed::new("lab".parse().unwrap(), 7);
    let empty = r#"{"cluster":"lab","version":7,"seenAt":{"nodes":null,"guests":null,"storages":null,"quorum":null},"seeing":false,"nodes":null,"guests":null,"storages":null,"quorum":null}"#;
    assert_eq!(feed.snapshot().unwrap().get(), empty, "before the first round nothing is said to be gone");

    let marks = GuestMarks {
        tags: vec!["prod".into(), "web".into()],
        lock: Some("backup".into()),
        ..GuestMarks::default()
    };
    let mut guests = vec![GuestRow { netin: 1000, marks, ..guest_row(101) }];
    let node = NodeRow {
        node: "pve1".parse().unwrap(),
        host: "10.0.0.11".into(),
        status: Presence::Online,
        cpu: 0.25,
        maxcpu: 8.0,
        mem: 1,
        maxmem: 2,
        disk: 3,
        maxdisk: 4,
        uptime: 5,
        temperatures: BTreeMap::from([("cpu".into(), 54.4)]),
        ha: Some("maintenance".into()),
    };
    let storage = StorageRow {
        storage: "local".parse().unwrap(),
        node: "pve1".parse().unwrap(),
        r#type: "dir".into(),
        active: true,
        total: 3,
        used: 1,
        avail: 2,
        content: "iso".into(),
        shared: false,
    };
    let quorum = |second| {
        let rows = Arc::new(Quorum { quorate: true, nodes: 1, expected: 1 });
        Some(Published { seen_at: at(second), rows })
    };
    let nodes = published(vec![node], at(0));
    let storages = published(vec![storage], at(0));
    let with = |guests: &[GuestRow], second| Picture {
        nodes: nodes.clone(),
        guests: published(guests.to_vec(), at(second)),
        storages: storages.clone(),
        quorum: quorum(second),
        seeing: true,
    };
    let News::Delta(first) = feed.take(with(&guests, 0)) else { panic!("everything is new") };
    let rows = r#"[{"id":"lab/node/pve1","name":"pve1","host":"10.0.0.11","status":"online","cpu":0.25,"maxcpu":8.0,"mem":1,"maxmem":2,"disk":3,"maxdisk":4,"startedAt":1699999995,"temperatures":{"cpu":54.0},"ha":"maintenance"}]"#;
    assert!(first.text.get().contains(&format!(r#""nodes":{{"set":{rows},"gone":[]}}"#)), "{}", first.text);
    let shown = feed.snapshot().unwrap();
    let guest = r#"[{"id":"lab/qemu/101","vmid":101,"name":"guest-101","type":"qemu","status":"running","node":"pve5","cpu":0.01,"maxcpu":4.0,"mem":3221225472,"maxmem":8589934592,"disk":0,"maxdisk":68719476736,"netin":0,"netout":0,"startedAt":1699999000,"tags":"prod;web","pool":null,"lock":"backup","ha":null,"template":false}]"#;
    let storage = r#"[{"id":"lab/storage/pve1/local","storage":"local","node":"pve1","type":"dir","status":"active","used":1,"avail":2,"total":3,"content":"iso","shared":false}]"#;
    let seen = r#"{"nodes":"2023-11-14T22:13:20Z","guests":"2023-11-14T22:13:20Z","storages":"2023-11-14T22:13:20Z","quorum":"2023-11-14T22:13:20Z"}"#;
    let expected = format!(
        r#"{{"cluster":"lab","version":8,"seenAt":{seen},"seeing":true,"nodes":{rows},"guests":{guest},"storages":{storage},"quorum":{{"quorate":true,"nodes":1,"expected":1}}}}"#
    );
    assert_eq!(shown.get(), expected);

    // Fifteen seconds later: 40 KB a second came in, the uptime grew, and nothing else happened.
    guests[0].netin += 612_345;
    guests[0].uptime += 15;
    let News::Delta(second) = feed.take(with(&guests, 15)) else { panic!("traffic began") };
    let seen = seen.replacen("20Z\",\"storages", "35Z\",\"storages", 1).replace("20Z\"}", "35Z\"}");
    assert_eq!(
        second.text.get(),
        format!(
            r#"{{"cluster":"lab","from":8,"to":9,"seenAt":{seen},"seeing":true,"guests":{{"set":[{{"id":"lab/qemu/101","netin":41000}}],"gone":[]}}}}"#
        )
    );
    guests[0].netin += 600_000;
    let third = with(&guests, 30);
    let again = Picture { nodes: third.nodes.clone(), guests: third.guests.clone(), ..with(&guests, 30) };
    let News::Seen(text) = feed.take(third) else { panic!("the same rate") };
    assert!(text.get().starts_with(r#"{"cluster":"lab","version":9,"seenAt":{"#), "{text}");
    let News::Seen(text) = feed.take(Picture { seeing: false, ..again }) else { panic!("blind") };
    assert!(text.get().ends_with(r#""seeing":false}"#), "{text}");
}

/// Clients that come, go, return with what they have and fall behind have the server's rows at every version.
#[test]
fn whatever_a_client_missed_it_has_the_same_rows() {
    for seed in 0..50 {
        let mut dice = Dice(seed);
        let mut feed = Feed::new("lab".parse().unwrap(), dice.next() >> 12);
        let mut ring = Ring::default();
        let mut rows: Vec<GuestRow> = (100..140).map(guest_row).collect();
        let mut clients: Vec<Client> = (0..6).map(|_| Client::default()).collect();
        let (mut led, mut shown) = (0, 0);
        for round in 0..150_i64 {
            for _ in 0..dice.below(4) {
                let which = dice.below(rows.len() as u64) as usize;
                match dice.below(5) {
                    0 => drop(rows.swap_remove(which)),
                    1 => rows.push(guest_row(200 + u32::try_from(round).unwrap() * 8 + dice.below(8) as u32)),
                    2 => rows[which].status = GuestStatus::Stopped,
                    3 => rows[which].cpu = dice.swing().abs(),
                    _ => rows[which].mem = dice.below(8 << 30),
                }
            }
            rows.sort_by_key(|row| row.id);
            rows.dedup_by_key(|row| row.id);
            if dice.below(100) == 0 {
                feed.forget();
                ring = Ring::default();
            }
            if let News::Delta(delta) = feed.take(picture(published(rows.clone(), at(round * 15)))) {
                ring.push(delta);
            }
            for (index, client) in clients.iter_mut().enumerate() {
                // The first looks each time, the last once in a few hundred rounds.
                if dice.below(1 << (index * 2)) > 0 {
                    continue;
                }
                match ring.after(client.version, feed.version()) {
                    Some(deltas) => {
                        led += deltas.len();
                        deltas.iter().for_each(|delta| client.delta(&delta.text));
                    }
                    None => {
                        shown += 1;
                        client.snapshot(&feed.snapshot().unwrap());
                    }
                }
                if dice.below(4) > 0 {
                    continue;
                }
                let mut truth = Client::default();
                feed.snapshot = None;
                truth.snapshot(&feed.snapshot().unwrap());
                assert_eq!(client.version, truth.version, "seed {seed}");
                assert_eq!(client.rows, truth.rows, "seed {seed}, round {round}, client {index}");
                let names: BTreeSet<String> = rows.iter().map(|row| format!("lab/{}", row.id)).collect();
                assert_eq!(truth.rows.keys().cloned().collect::<BTreeSet<_>>(), names, "seed {seed}");
            }
        }
        assert!(led > 200 && shown > 2, "seed {seed}: {led} deltas, {shown} snapshots");
    }
}

#[test]
fn only_so_much_is_kept() {
    let mut ring = Ring::default();
    let delta = |from: u64, size: usize| Delta {
        from,
        to: from + 1,
        text: RawValue::from_string(format!("\"{}\"", "x".repeat(size))).unwrap().into(),
    };
    (0..200).for_each(|version| ring.push(delta(version, 10)));
    assert_eq!(ring.after(72, 200).unwrap().len(), 128);
    for (name, version) in [("too long ago", 71), ("never was", 300), ("of another life", u64::MAX)] {
        assert!(ring.after(version, 200).is_none(), "{name}");
    }
    assert!(ring.after(200, 200).unwrap().is_empty(), "nothing was missed");
    assert!(ring.after(199, 201).is_none(), "one that could not be written is not skipped silently");
    (200..206).for_each(|version| ring.push(delta(version, 1024 * 1024)));
    assert_eq!(ring.kept.len(), 3, "four megabytes");
    assert!(ring.bytes <= KEPT_BYTES_MAX);
}

/// 10,000 guests of which 8,000 run. Of those, `calm` percent do next to nothing, as most guests do most of the time;
/// the others wander, and one in seven of them changes wildly. Each minute 5 change their state.
struct World {
    dice: Dice,
    rows: Vec<GuestRow>,
    calm: u64,
}

impl World {
    fn new(calm: u64) -> World {
        let mut rows: Vec<GuestRow> = (1000..11_000).map(guest_row).collect();
        rows.iter_mut().step_by(5).for_each(|row| {
            *row = GuestRow { status: GuestStatus::Stopped, cpu: 0.0, mem: 0, uptime: 0, ..row.clone() };
        });
        World { dice: Dice(1), rows, calm }
    }

    fn round(&mut self) {
        for (index, row) in self.rows.iter_mut().enumerate() {
            if row.status == GuestStatus::Stopped {
                continue;
            }
            row.uptime += 15;
            let swing = self.dice.swing();
            let (cpu, mem, net) = match index as u64 % 100 {
                calm if calm < self.calm => (0.01 + 0.01 * swing, 2_000_000.0 * swing, 15 * 300),
                wild if wild % 7 == 0 => ((0.5 + 0.5 * swing).abs(), 8e8 * swing, self.dice.below(1 << 28)),
                _ => ((row.cpu + 0.03 * swing).clamp(0.0, 1.0), 5e7 * swing, 15 * 200_000),
            };
            row.cpu = cpu;
            row.mem = (row.mem as f64 + mem).clamp(1e8, row.maxmem as f64) as u64;
            row.netin += net + self.dice.below(1000);
            row.netout += net / 3 + self.dice.below(1000);
        }
        if self.dice.below(4) < 2 {
            let which = self.dice.below(10_000) as usize;
            self.rows[which].status = GuestStatus::Stopped;
            self.rows[which + 1 - 2 * (which / 9999)].status = GuestStatus::Running;
        }
    }
}

/// The gate on bytes: a client of 10,000 guests is sent 2 KB a second while it is quiet and 7 KB when four fifths of
/// all guests work, where the arrays are 150 KB a second.
#[test]
fn a_minute_of_ten_thousand_guests() {
    for (name, calm, most) in [("quiet", 80, 120_000), ("busy", 20, 400_000)] {
        let mut world = World::new(calm);
        let mut feed = Feed::new("lab".parse().unwrap(), 0);
        let (mut arrays, mut whole, mut exact, mut sent) = (0, 0, 0, 0);
        let mut exactly = Table::new(EXACT);
        for round in 0..7 {
            world.round();
            let arrived = published(world.rows.clone(), at(round * 15));
            let before = feed.guests.from.clone();
            let News::Delta(delta) = feed.take(picture(arrived.clone())) else { panic!("something changed") };
            let change = exactly.take(world.rows.iter().map(|row| {
                let (id, cells) = guest(&feed.cluster, row, at(0), row.netin, row.netout);
                (id, cells)
            }));
            // The first rounds lead from nothing to what is measured.
            if round < 3 {
                continue;
            }
            let json = |row: &GuestRow| serde_json::to_string(row).unwrap().len() + 1;
            arrays += world.rows.iter().map(json).sum::<usize>();
            let old = before.unwrap();
            whole += world
                .rows
                .iter()
                .zip(old.rows.iter())
                .filter(|(a, b)| a != b)
                .map(|(a, _)| json(a))
                .sum::<usize>();
            exact += serde_json::to_string(&change).unwrap().len();
            sent += delta.text.get().len();
        }
        // `cargo test -p daemon --lib a_minute_of -- --nocapture`: the figures of docs/adr/0019.
        let line = format!(
            "{name}: arrays {arrays}, whole rows {whole}, exact fields {exact}, sent {sent} bytes a minute"
        );
        assert!(sent < most, "{line}");
        assert!(whole * 3 > arrays, "whole rows would have been no gain: {line}");
        writeln!(std::io::stderr(), "{line}").unwrap();
    }
}

/// Every field with every change.
const EXACT: &[Field] = &[
    field("vmid", Step::Any),
    field("name", Step::Any),
    field("type", Step::Any),
    field("status", Step::Any),
    field("node", Step::Any),
    field("cpu", Step::Any),
    field("maxcpu", Step::Any),
    field("mem", Step::Any),
    field("maxmem", Step::Any),
    field("disk", Step::Any),
    field("maxdisk", Step::Any),
    field("netin", Step::Any),
    field("netout", Step::Any),
    field("startedAt", Step::Any),
];
