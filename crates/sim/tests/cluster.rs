//! The simulated cluster on its virtual clock: when things show, and what they leave behind.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic, its helpers too")]

use engine::observe::{GuestStatus, NodeName, Presence, Round};
use jiff::{SignedDuration, Timestamp};
use sim::cluster::{Actor, Cluster, Verb};
use sim::script::{Command, Script};

const BEGIN: Timestamp = Timestamp::UNIX_EPOCH;

fn build(lines: &str) -> Cluster {
    Script::parse(&format!("{lines}\nat 1:00 end")).unwrap().build(BEGIN).unwrap()
}

fn seconds(n: i64) -> Timestamp {
    BEGIN + SignedDuration::from_secs(n)
}

fn node(name: &str) -> NodeName {
    name.parse().unwrap()
}

/// Presence and the guest's word, by the list of `viewer`.
fn shown(cluster: &Cluster, viewer: &str, of: &str, guest: &str) -> (Presence, GuestStatus) {
    let snapshot = cluster.snapshot(&node(viewer), Round::Critical);
    let nodes = snapshot.nodes.value().unwrap();
    let guests = snapshot.guests.value().unwrap();
    (nodes[&node(of)].presence, guests[&guest.parse().unwrap()].status.clone())
}

#[test]
fn a_killed_node_is_noticed_late_and_its_guests_are_ghosts_for_300_s() {
    let mut cluster = build("nodes pve1 pve2 pve3\nguest qemu/101 web on pve3 running");
    cluster.advance(seconds(60));
    cluster.kill_node(&node("pve3")).unwrap();
    #[rustfmt::skip]
    let table = [
        ("not noticed yet",              67, Presence::Online,  GuestStatus::Running),
        ("corosync noticed",             69, Presence::Offline, GuestStatus::Running),
        ("its guest is still running",  340, Presence::Offline, GuestStatus::Running),
        ("300 s after its last word",   361, Presence::Offline, GuestStatus::Unknown),
    ];
    for (name, at, presence, status) in table {
        cluster.advance(seconds(at));
        assert_eq!(shown(&cluster, "pve1", "pve3", "qemu/101"), (presence, status), "{name}, at {at} s");
    }
}

#[test]
fn a_clean_shutdown_is_noticed_at_once_and_leaves_tasks() {
    let mut cluster =
        build("nodes pve1 pve2 pve3\nguest qemu/101 web on pve3 running\nguest lxc/200 dns on pve3 running");
    cluster.advance(seconds(60));
    cluster.shutdown_node(&node("pve3"), false).unwrap();
    cluster.advance(seconds(66));
    assert_eq!(shown(&cluster, "pve1", "pve3", "qemu/101").0, Presence::Offline);
    let tasks: Vec<_> = cluster.nodes()[&node("pve3")].tasks.newest_first().collect();
    let kinds: Vec<_> = tasks.iter().map(|task| task.kind.as_str()).collect();
    assert_eq!(kinds, ["vzshutdown", "qmshutdown", "stopall"]);
    assert!(tasks.iter().all(|task| task.by == Actor::root() && task.ended.is_some()));
}

#[test]
fn a_boot_starts_guests_in_their_order_and_removes_stale_locks() {
    let mut cluster = build(
        "nodes pve1 pve2 pve3
         guest qemu/101 last on pve3 running onboot
         guest qemu/102 first on pve3 running onboot order=1
         guest qemu/103 second on pve3 running onboot order=2 lock=backup
         guest qemu/104 never on pve3 running",
    );
    cluster.advance(seconds(60));
    cluster.kill_node(&node("pve3")).unwrap();
    cluster.advance(seconds(90));
    cluster.start_node(&node("pve3")).unwrap();
    cluster.advance(seconds(150));
    let node = &cluster.nodes()[&node("pve3")];
    let started: Vec<_> = node
        .tasks
        .newest_first()
        .map(|task| (task.kind.as_str(), task.id.as_str(), task.by.user.as_str()))
        .collect();
    let root = "root@pam";
    assert_eq!(
        started,
        [
            ("qmstart", "101", root),
            ("qmstart", "103", root),
            ("qmstart", "102", root),
            ("startall", "", root)
        ],
        "newest first"
    );
    let running = |id: &str| cluster.guests()[&id.parse().unwrap()].process.is_some();
    assert!(running("qemu/101") && running("qemu/102") && running("qemu/103") && !running("qemu/104"));
    assert!(node.uptime(cluster.now()) < 60, "its uptime began anew");
}

#[test]
fn numbers_change_at_each_broadcast_and_only_then() {
    let mut cluster = build("nodes pve1 pve2\nguest qemu/101 web on pve1 running");
    let stats = |cluster: &Cluster| cluster.guests()[&"qemu/101".parse().unwrap()].stats.clone().unwrap();
    let mut changes = Vec::new();
    let mut last = stats(&cluster);
    for at in 1..=60 {
        cluster.advance(seconds(at));
        let now = stats(&cluster);
        if now != last {
            assert_ne!((now.numbers.cpu, now.numbers.memory), (last.numbers.cpu, last.numbers.memory));
            changes.push(at);
            last = now;
        }
    }
    assert_eq!(changes.len(), 6, "every 10 s: {changes:?}");
    assert!(changes.windows(2).all(|pair| pair[1] - pair[0] == 10), "{changes:?}");
}

/// A guest, what is asked of it, what happens by when, and how its task ends.
#[test]
fn one_row_per_thing_that_is_asked() {
    let lab = "nodes pve1 pve2
        guest qemu/101 web on pve1 running
        guest qemu/102 idle on pve1
        guest qemu/103 deaf on pve1 running deaf
        guest qemu/104 busy on pve1 running lock=backup
        guest lxc/200 dns on pve1 running
        guest qemu/105 ha on pve1 running ha=started";
    let shutdown = |timeout, force| Verb::Shutdown { timeout, force };
    #[rustfmt::skip]
    let table = [
        ("a start", "qemu/102", Verb::Start, 3, true, "qmstart", Some("OK")),
        ("a stop", "qemu/101", Verb::Stop, 2, false, "qmstop", Some("OK")),
        ("a stop of what is stopped", "qemu/102", Verb::Stop, 2, false, "qmstop", Some("OK")),
        ("a stop of a container", "lxc/200", Verb::Stop, 2, false, "vzstop", Some("OK")),
        ("a stop of a locked one", "qemu/104", Verb::Stop, 2, true, "qmstop", Some("VM is locked (backup)")),
        ("a shutdown", "qemu/101", shutdown(60, false), 5, false, "qmshutdown", Some("OK")),
        ("a shutdown that is ignored", "qemu/103", shutdown(60, false), 59, true, "qmshutdown", None),
        ("and runs out", "qemu/103", shutdown(60, false), 61, true, "qmshutdown", Some("VM quit/powerdown failed - got timeout")),
        ("or ends by force", "qemu/103", shutdown(10, true), 11, false, "qmshutdown", Some("OK")),
        ("a pause", "qemu/101", Verb::Pause, 1, true, "qmpause", Some("OK")),
        ("a move", "qemu/101", Verb::Migrate { to: node("pve2") }, 7, true, "qmigrate", Some("OK")),
        ("a stop through HA is OK before it is done", "qemu/105", Verb::Stop, 3, true, "hastop", Some("OK")),
    ];
    for (name, guest, verb, after, running, kind, status) in table {
        let mut cluster = build(lab);
        let id = guest.parse().unwrap();
        let upid = cluster.request(&Actor::parse("op@pve!t1"), &node("pve1"), id, verb).unwrap();
        cluster.advance(seconds(after));
        assert_eq!(cluster.guests()[&id].process.is_some(), running, "{name}: runs");
        let task = cluster.nodes()[&node("pve1")].tasks.get(&upid).unwrap();
        assert_eq!(task.kind, kind, "{name}");
        assert_eq!(task.ended.as_ref().map(|(_, status)| status.as_str()), status, "{name}: its end");
    }
}

#[test]
fn ha_restarts_gives_up_and_moves() {
    let mut cluster = build("nodes pve1 pve2 pve3\nguest qemu/101 web on pve1 running ha=started");
    let id = "qemu/101".parse().unwrap();
    let state = |cluster: &Cluster| {
        let guest = &cluster.guests()[&id];
        (guest.process.is_some(), guest.spec.ha.clone().unwrap(), guest.spec.node.to_string())
    };
    cluster.crash(id).unwrap();
    cluster.advance(seconds(12));
    assert_eq!(state(&cluster), (true, "started".into(), "pve1".into()), "restarted within 12 s");

    cluster.apply(&Command::parse("break qemu/101").unwrap()).unwrap();
    cluster.crash(id).unwrap();
    cluster.advance(seconds(80));
    assert_eq!(state(&cluster), (false, "error".into(), "pve2".into()), "two failures on each of two nodes");

    let mut cluster = build("nodes pve1 pve2 pve3\nguest qemu/101 web on pve1 running ha=started");
    cluster.kill_node(&node("pve1")).unwrap();
    cluster.advance(seconds(90));
    assert_eq!(state(&cluster), (false, "fence".into(), "pve1".into()));
    cluster.advance(seconds(170));
    assert_eq!(state(&cluster), (true, "started".into(), "pve2".into()), "started elsewhere");
}

#[test]
fn the_same_seed_gives_the_same_cluster() {
    let shot = |seed| {
        let mut cluster = Cluster::generated(4, 200, seed, BEGIN).unwrap();
        cluster.advance(seconds(3600));
        format!("{:?}", cluster.snapshot(&node("pve1"), Round::Critical))
    };
    assert_eq!(shot(7), shot(7));
    assert_ne!(shot(7), shot(8));
}

#[test]
fn time_never_runs_backwards_and_what_is_past_stays() {
    let mut cluster = build("nodes pve1");
    cluster.advance(seconds(100));
    cluster.advance(seconds(50));
    assert_eq!(cluster.now(), seconds(100));
    assert!(cluster.next_due().unwrap() > seconds(100));
}

#[test]
fn limits_are_errors() {
    let at = BEGIN;
    assert!(Cluster::generated(65, 1, 1, at).is_err(), "too many nodes");
    assert!(Cluster::generated(0, 1, 1, at).is_err(), "no node");
    assert!(Cluster::generated(1, 50_001, 1, at).is_err(), "too many guests");
    assert!(Cluster::generated(64, 10, 1, at).is_ok());
}
