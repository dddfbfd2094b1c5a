//! Two thousand guests die at once: what that costs the store, in commits and bytes. Seconds are the bench's.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use daemon::record::{Checkpoint, NewEntry, NewEvent, Store};
use daemon::run::waiting::Waiting;
use engine::detect::{Finding, Trace};
use engine::incident::IncidentId;
use engine::observe::{GuestKind, GuestStatus, Subject};
use engine::record::{Entry, Fact};
use engine::report;
use tokio::sync::broadcast::error::TryRecvError;

use super::help::{CHILD, Folder, at, lab};

const DEAD: u128 = 2_000;
/// Incidents that the store has seen before.
const USED: u128 = 10_000;
/// What the original wrote was 109 MB.
const BYTES_MAX: u64 = 20_000_000;

/// What an engine says of a guest that dies: an entry and its event.
fn dies(n: u128) -> (NewEntry, NewEvent) {
    // Scattered, as the engine's are: each finds a page of its own in the index.
    let scattered = n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let incident: IncidentId = serde_json::from_str(&scattered.to_string()).unwrap();
    let finding =
        Finding::GuestCrashed { kind: GuestKind::Qemu, previous: GuestStatus::Running, trace: Trace::Hidden };
    let entry = Entry {
        at: at("2026-11-23T18:58:01.250Z"),
        subject: Subject::Guest(format!("qemu/{}", 100 + n).parse().unwrap()),
        name: Some(format!("customer-web-{n}").into()),
        node: Some(format!("pve{}", n % 32).parse().unwrap()),
        fact: Fact::Opened { incident, finding, group: None },
    };
    (
        NewEntry::from_engine(&lab(), true, &entry),
        NewEvent::from_engine(&lab(), &report::event(&lab(), &entry)),
    )
}

/// As large as that of a cluster of 10,000 guests with as many incidents: some 2.5 MB and 0.8 MB.
fn state(fill: char) -> Checkpoint {
    let state = format!("{{\"guests\":\"{}\"}}", fill.to_string().repeat(3_300_000));
    Checkpoint { cluster: lab(), at: at("2026-11-23T18:58:01.250Z"), state }
}

/// In a process of its own, so that what others write is not counted.
#[tokio::test]
async fn two_thousand_deaths_let_others_in_between_and_are_less_than_20_mb() {
    if let Some(path) = std::env::var_os(CHILD) {
        return die(Path::new(&path)).await;
    }
    let folder = Folder::new();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "bulk::two_thousand_deaths_let_others_in_between_and_are_less_than_20_mb",
            "--nocapture",
        ])
        .env(CHILD, folder.path("jarvis.db"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    let numbers: BTreeMap<&str, u64> = said
        .lines()
        .filter_map(|line| line.strip_prefix("count ")?.split_once(' '))
        .map(|(name, number)| (name, number.parse().unwrap()))
        .collect();
    let number = |name| {
        *numbers.get(name).unwrap_or_else(|| panic!("{said}{}", String::from_utf8_lossy(&output.stderr)))
    };
    assert_eq!(number("told"), 2_000);
    assert_eq!(number("journalled"), 2_000);
    assert!(number("between") >= 3, "who comes meanwhile waits for a piece of it and not for all: {said}");
    let (turn, all) = (number("bytes_of_the_turn"), number("bytes_in_all"));
    assert!(turn > 1_000_000 && all > turn, "{turn} and {all} bytes: they were not counted");
    assert!(all < BYTES_MAX, "{turn} bytes with the turn, {all} with the checkpoint and the end");
}

/// What the test above starts in a process of its own.
async fn die(path: &Path) {
    // A store that has been in use, and has put away what it wrote.
    let store = Store::open(path).await.unwrap();
    let (entries, events): (Vec<_>, Vec<_>) = (DEAD..DEAD + USED).map(dies).unzip();
    store.save_turn(entries, events, Some(state('a'))).await.unwrap();
    assert!(store.close().await);
    let store = Store::open(path).await.unwrap();
    let seq = store.load_checkpoint(&lab()).await.unwrap().unwrap().seq;
    let before = written_bytes();

    // Somebody else who writes all the while, one write after the other.
    let (others, ended) = (store.clone(), Arc::new(AtomicBool::new(false)));
    let end = Arc::clone(&ended);
    let others = tokio::spawn(async move {
        let (mut between, mut longest) = (0, Duration::ZERO);
        while !end.load(Ordering::SeqCst) {
            let began = Instant::now();
            others.set_preference("theme", "dark", at("2026-11-23T18:58:01Z")).await.unwrap();
            longest = longest.max(began.elapsed());
            between += 1;
        }
        (between, longest)
    });
    let mut waiting = Waiting::default();
    for n in 0..DEAD {
        let (entry, event) = dies(n);
        waiting.record(entry);
        waiting.tell(event);
    }
    waiting.end_turn();
    let began = Instant::now();
    let mut listener = store.committed();
    waiting.store(&store, None).await.unwrap();
    let took = began.elapsed();
    ended.store(true, Ordering::SeqCst);
    let (between, longest): (u32, Duration) = others.await.unwrap();
    // Not a gate: in a debug build and beside other work it says little.
    println!("took {took:?} in all; another writer waited {longest:?} at most");
    let turn_bytes = written_bytes() - before;
    let mut told = 0;
    loop {
        match listener.try_recv() {
            Ok(_) => told += 1,
            Err(TryRecvError::Lagged(missed)) => told += missed,
            Err(TryRecvError::Empty | TryRecvError::Closed) => break,
        }
    }
    println!("count told {told}");
    println!("count journalled {}", store.journal_since(&lab(), seq).await.unwrap().len());
    println!("count between {between}");
    println!("count bytes_of_the_turn {turn_bytes}");

    store.save_checkpoint(state('b')).await.unwrap();
    assert!(store.close().await);
    println!("count bytes_in_all {}", written_bytes() - before);
}

/// What this process has handed to the kernel to be written, to whatever kind of disk.
fn written_bytes() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap().parse().unwrap()
}
