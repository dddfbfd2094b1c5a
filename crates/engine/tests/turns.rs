//! Turns of the engine that a simulated cluster cannot stage: late answers, gaps, restarts. Each test is a table of
//! what happens, turn by turn, and the log that comes of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by its panic")]

mod world;

use std::collections::BTreeMap;

use engine::observe::{
    Blindness, Cause, Evidence, GuestEvidence, GuestStatus, NodeName, Presence, Round, Seen, Storage,
    StorageName, Usage,
};
use engine::policy::{Marks, Metric, Policy};
use engine::{Engine, Input};
use expect_test::expect;
use jiff::SignedDuration;
use world::{UPTIME, Watch, World, at, startall, stop_of_101};

#[test]
fn a_crash_is_told_after_a_look_and_cleared_when_it_runs() {
    let (mut world, mut watch) = (World::new(), Watch::new());
    watch.critical(&world, 5);
    world.guest("qemu/101").status = GuestStatus::Stopped;
    watch.critical(&world, 17);
    watch.critical(&world, 29); // an unchanged poll says nothing
    world.start("qemu/101", 35);
    watch.critical(&world, 41);
    watch.check(expect![[r#"
        19   inspect   pve1 qemu/101
        19   opened    VM_CRASHED         qemu/101 (web01): running to stopped, and no task asked for it (a crash, or a power-off from inside)
        41   resolved  VM_CRASHED         qemu/101 (web01): running again after 0:22"#]]);
}

#[test]
fn a_late_answer_never_overwrites_a_newer_one() {
    let (mut world, mut watch) = (World::new(), Watch::new());
    watch.critical(&world, 5);
    let mut old = world.clone();
    old.guest("qemu/101").status = GuestStatus::Stopped;
    watch.critical(&world, 29);
    watch.step(31, old.round(Round::Critical, 17));
    world.guest("qemu/102").tags.push("prod".into());
    watch.critical(&world, 41);
    watch.check(expect![""]);
}

#[test]
fn two_failed_rounds_are_blindness_and_no_crash() {
    let (mut world, mut watch) = (World::new(), Watch::new());
    watch.critical(&world, 5);
    world.blind = Some(Cause::Refused);
    watch.critical(&world, 17);
    watch.critical(&world, 29);
    watch.critical(&world, 41);
    world.blind = None;
    watch.critical(&world, 53);
    watch.check(expect![[r#"
        29   opened    MONITOR_BLIND      cluster: the token is refused: for the test
        53   resolved  MONITOR_BLIND      cluster: seen again after 0:24"#]]);
}

#[test]
fn an_empty_list_is_no_crash() {
    let (world, mut watch) = (World::new(), Watch::new());
    watch.critical(&world, 5);
    let empty = World { guests: BTreeMap::new(), ..world.clone() };
    watch.critical(&empty, 17);
    watch.critical(&empty, 29);
    watch.critical(&world, 41);
    watch.check(expect![[r#"
        29   opened    MONITOR_BLIND      cluster: the token has no rights: the list of guests is empty; check the token's rights (Sys.Audit, VM.Audit)
        41   resolved  MONITOR_BLIND      cluster: seen again after 0:12"#]]);
}

#[test]
fn a_node_that_cannot_be_asked_gives_no_crash_and_is_asked_less_and_less() {
    let (mut world, mut watch) = (World::new(), Watch::new());
    watch.critical(&world, 5);
    world.guest("qemu/101").status = GuestStatus::Stopped;
    watch.step(17, world.round(Round::Critical, 17));
    let mut now = 17;
    while let Some(wake) = watch.engine.next_wake().filter(|wake| *wake < at(300)) {
        now = wake.duration_since(at(0)).as_secs().max(now);
        watch.step(now, Input::Tick);
        for inspection in std::mem::take(&mut watch.asked) {
            let hidden = Blindness { cause: Cause::Unreachable, words: "595 connection refused".into() };
            let answer = Evidence::Guests(GuestEvidence {
                live: Seen::NotReached(hidden.clone()),
                tasks: Seen::NotReached(hidden.clone()),
                booted_at: Seen::NotReached(hidden),
                journal: Seen::NotAsked,
                current: BTreeMap::new(),
                configs: BTreeMap::new(),
            });
            watch.step(now, Input::Inspected { inspection, answer });
        }
    }
    watch.check(expect![[r#"
        19   inspect   pve1 qemu/101
        29   inspect   pve1 qemu/101
        49   inspect   pve1 qemu/101
        49   noted                        qemu/101 (web01): running to stopped, cause not known: 595 connection refused"#]]);
}

#[test]
fn a_lost_node_is_one_incident_and_its_return_another_line() {
    let (mut world, mut watch) = (World::new(), Watch::new());
    watch.critical(&world, 5);
    world.node("pve1").presence = Presence::Offline;
    world.node("pve1").uptime = None;
    watch.critical(&world, 17);
    watch.critical(&world, 29);
    // After 300 s its guests are unknown; then it is back, and startall works through its order.
    world.guest("qemu/101").status = GuestStatus::Unknown;
    world.guest("lxc/200").status = GuestStatus::Unknown;
    watch.critical(&world, 329);
    world.node("pve1").presence = Presence::Online;
    world.guest("qemu/101").status = GuestStatus::Stopped;
    world.guest("lxc/200").status = GuestStatus::Stopped;
    (world.booted, world.tasks) = (371, vec![startall(400)]);
    for now in [401, 413, 425, 683, 695] {
        world.node("pve1").uptime = Some(now - 371);
        if now == 425 {
            world.start("qemu/101", 420);
        }
        watch.critical(&world, now as i64); // at 683, 5 minutes after its boot: the container did not come back
    }
    watch.check(expect![[r#"
        17   inspect   node pve1
        17   opened    NODE_UNREACHABLE   node/pve1: left the cluster with 2 running guests
        401  resolved  NODE_UNREACHABLE   node/pve1: online again after 6:24
        683  inspect   pve1 lxc/200
        683  opened    CT_CRASHED         lxc/200 (dns): running to stopped with its node's restart; it is to run, and nobody has started it again"#]]);
}

#[test]
fn the_ghosts_of_a_node_that_came_back_are_not_believed() {
    let (mut world, mut watch) = (World::new(), Watch::new());
    watch.critical(&world, 5);
    world.node("pve1").presence = Presence::Offline;
    world.node("pve1").uptime = None;
    watch.critical(&world, 17);
    // Back after a restart; its old uptime and its guests' old rows stand until its first broadcast.
    world.node("pve1").presence = Presence::Online;
    world.node("pve1").uptime = Some(UPTIME + 5);
    for now in [29, 41, 53] {
        watch.critical(&world, now);
    }
    world.node("pve1").uptime = Some(40);
    world.guest("qemu/101").status = GuestStatus::Stopped;
    world.guest("lxc/200").status = GuestStatus::Stopped;
    watch.critical(&world, 65);
    watch.check(expect![[r#"
        17   inspect   node pve1
        17   opened    NODE_UNREACHABLE   node/pve1: left the cluster with 2 running guests
        29   resolved  NODE_UNREACHABLE   node/pve1: online again after 0:12"#]]);
}

#[test]
fn a_stop_that_the_statistics_showed_late_is_no_crash() {
    let (mut world, mut watch) = (World::new(), Watch::new());
    watch.critical(&world, 5);
    // Stopped at second 8, but the row of second 17 is 12 s old.
    world.tasks.push(stop_of_101(7));
    watch.critical(&world, 17);
    world.guest("qemu/101").status = GuestStatus::Stopped;
    watch.critical(&world, 29);
    watch.check(expect![[r#"
        31   inspect   pve1 qemu/101
        31   noted                        qemu/101 (web01): running to stopped, by alice@pve (qmstop)"#]]);
}

#[test]
fn a_guest_that_died_while_nobody_looked_is_noticed_after_a_restart() {
    let (mut world, mut watch) = (World::new(), Watch::new());
    watch.critical(&world, 5);
    let checkpoint = serde_json::to_string(watch.engine.checkpoint()).unwrap();
    let restored = serde_json::from_str(&checkpoint).unwrap();
    watch.engine =
        Engine::restore("lab".parse().unwrap(), Policy::default(), 8, at(3599), Some(restored), []);
    world.guest("lxc/200").status = GuestStatus::Stopped;
    watch.critical(&world, 3600);
    watch.check(expect![[r#"
        3602 inspect   pve1 lxc/200
        3602 opened    CT_CRASHED         lxc/200 (dns): running to stopped, and no task asked for it (a crash, or a power-off from inside)"#]]);
}

#[test]
fn an_open_incident_survives_a_restart_and_keeps_its_id() {
    let (mut world, mut watch) = (World::new(), Watch::new());
    watch.critical(&world, 5);
    world.guest("qemu/101").status = GuestStatus::Stopped;
    watch.critical(&world, 17);
    let before = watch.engine.checkpoint();
    let text = serde_json::to_string(&before).unwrap();
    watch.engine = Engine::restore(
        "lab".parse().unwrap(),
        Policy::default(),
        8,
        at(20),
        Some(serde_json::from_str(&text).unwrap()),
        [],
    );
    watch.critical(&world, 29); // told once, not again
    world.start("qemu/101", 35);
    watch.critical(&world, 41);
    watch.check(expect![[r#"
        19   inspect   pve1 qemu/101
        19   opened    VM_CRASHED         qemu/101 (web01): running to stopped, and no task asked for it (a crash, or a power-off from inside)
        41   resolved  VM_CRASHED         qemu/101 (web01): running again after 0:22"#]]);
}

#[test]
fn a_threshold_that_must_last_is_told_when_it_has() {
    let mut policy = Policy::default();
    let pending = SignedDuration::from_secs(60);
    policy.marks.insert(Metric::Memory, Marks::new(85.0, Some(95.0), 2.0, pending).unwrap());
    let (mut world, mut watch) = (World::new(), Watch::with(policy));
    watch.critical(&world, 5);
    world.node("pve2").memory = Some(Usage { used: 90, total: 100 });
    watch.step(20, world.round(Round::Important, 20));
    world.node("pve2").memory = Some(Usage { used: 50, total: 100 });
    watch.step(52, world.round(Round::Important, 52)); // a short peak leaves no trace
    world.node("pve2").memory = Some(Usage { used: 90, total: 100 });
    for now in [84, 116, 148] {
        watch.step(now, world.round(Round::Important, now));
    }
    watch.check(expect!["148  opened    RAM_HIGH           node/pve2: RAM at 90.0 %, above 85 %"]);
}

#[test]
fn the_first_round_only_records_and_thresholds_wait_for_it() {
    let (mut world, mut watch) = (World::new(), Watch::new());
    world.node("pve1").presence = Presence::Offline;
    world.guest("qemu/102").status = GuestStatus::Stopped;
    world.node("pve2").disk = Some(Usage { used: 97, total: 100 });
    watch.step(2, world.round(Round::Important, 2));
    watch.critical(&world, 5);
    watch.critical(&world, 17);
    watch.step(34, world.round(Round::Important, 34));
    watch.check(expect!["34   opened    DISK_CRITICAL      node/pve2: Disk at 97.0 %, above 95 %"]);
}

#[test]
fn the_same_inputs_give_the_same_effects() {
    let run = || {
        let (mut world, mut watch) = (World::new(), Watch::new());
        watch.critical(&world, 5);
        world.guest("qemu/101").status = GuestStatus::Stopped;
        watch.critical(&world, 17);
        watch.engine.checkpoint().clone()
    };
    assert_eq!(run(), run());
}

#[test]
fn a_restart_with_the_clock_set_back_is_not_deaf() {
    let (mut world, mut watch) = (World::new(), Watch::new());
    watch.critical(&world, 5000);
    let kept = serde_json::to_string(watch.engine.checkpoint()).unwrap();
    watch.engine = Engine::restore(
        "lab".parse().unwrap(),
        Policy::default(),
        8,
        at(1390),
        Some(serde_json::from_str(&kept).unwrap()),
        [],
    );
    world.clock_set_back = 3612;
    world.node("pve2").presence = Presence::Offline;
    world.guest("qemu/101").status = GuestStatus::Stopped;
    watch.critical(&world, 1400);
    watch.check(expect![[r#"
        1400 inspect   node pve2
        1402 inspect   pve1 qemu/101
        1402 opened    NODE_UNREACHABLE   node/pve2: left the cluster with 1 running guest
        1402 opened    VM_CRASHED         qemu/101 (web01): running to stopped, and no task asked for it (a crash, or a power-off from inside)"#]]);
}

#[test]
fn a_stop_while_the_statistics_stalled_is_no_crash() {
    let (mut world, mut watch) = (World::new(), Watch::new());
    watch.critical(&world, 5);
    world.stalled = Some(5);
    world.tasks.push(stop_of_101(20));
    for now in [17, 29, 41, 53, 65, 77, 89, 101, 113, 125] {
        watch.critical(&world, now);
    }
    world.stalled = None;
    world.guest("qemu/101").status = GuestStatus::Stopped;
    watch.critical(&world, 137);
    watch.check(expect![[r#"
        139  inspect   pve1 qemu/101
        139  noted                        qemu/101 (web01): running to stopped, by alice@pve (qmstop)"#]]);
}

#[test]
fn an_answer_to_an_earlier_question_judges_nothing() {
    let (mut world, mut watch) = (World::new(), Watch::new());
    watch.critical(&world, 5);
    world.guest("qemu/101").status = GuestStatus::Stopped;
    watch.step(17, world.round(Round::Critical, 17));
    watch.step(19, Input::Tick);
    let (slow, early) = (watch.asked.remove(0), world.clone());
    world.start("qemu/101", 25);
    watch.step(29, world.round(Round::Critical, 29));
    world.tasks.push(stop_of_101(33));
    world.guest("qemu/101").status = GuestStatus::Stopped;
    watch.step(41, world.round(Round::Critical, 41));
    watch.step(43, Input::Tick);
    let answer = early.answer(&slow, 19);
    watch.step(44, Input::Inspected { inspection: slow, answer });
    let inspection = watch.asked.remove(1);
    let answer = world.answer(&inspection, 45);
    watch.step(45, Input::Inspected { inspection, answer });
    watch.check(expect![[r#"
        19   inspect   pve1 qemu/101
        29   inspect   pve1 qemu/101
        43   inspect   pve1 qemu/101
        45   noted                        qemu/101 (web01): running to stopped, by alice@pve (qmstop)"#]]);
}

#[test]
fn a_backup_of_a_crashed_guest_does_not_close_its_incident() {
    let (mut world, mut watch) = (World::new(), Watch::new());
    watch.critical(&world, 5);
    world.guest("qemu/101").status = GuestStatus::Stopped;
    watch.critical(&world, 17);
    world.guest("qemu/101").status = GuestStatus::Other("prelaunch".into());
    world.guest("qemu/101").lock = Some("backup".into());
    watch.critical(&world, 29);
    world.guest("qemu/101").status = GuestStatus::Stopped;
    world.guest("qemu/101").lock = None;
    watch.critical(&world, 41);
    watch.check(expect![[r#"
        19   inspect   pve1 qemu/101
        19   opened    VM_CRASHED         qemu/101 (web01): running to stopped, and no task asked for it (a crash, or a power-off from inside)"#]]);
}

#[test]
fn all_guests_destroyed_is_told_where_the_rights_vouch_for_it() {
    let (mut world, mut watch) = (World::new(), Watch::new());
    watch.critical(&world, 5);
    world.guests.clear();
    world.empty_is_true = true;
    watch.critical(&world, 17);
    watch.critical(&world, 29);
    watch.check(expect![[r#"
        17   inspect   pve1 qemu/101 lxc/200
        17   inspect   pve2 qemu/102
        17   noted                        qemu/101 (web01): is gone
        17   noted                        lxc/200 (dns): is gone
        17   noted                        qemu/102 (db01): is gone"#]]);
}

#[test]
fn a_node_taken_out_takes_its_guests_and_their_incidents_with_it() {
    let (mut world, mut watch) = (World::new(), Watch::new());
    watch.critical(&world, 5);
    world.guest("qemu/102").status = GuestStatus::Stopped;
    watch.critical(&world, 17);
    world.node("pve2").presence = Presence::Offline;
    watch.critical(&world, 29);
    world.nodes.remove(&"pve2".parse().unwrap());
    world.guests.remove(&"qemu/102".parse().unwrap());
    watch.critical(&world, 41); // One row may be unreadable.
    watch.critical(&world, 53);
    watch.step(300, world.round(Round::Routine, 300));
    watch.check(expect![[r#"
        19   inspect   pve2 qemu/102
        19   opened    VM_CRASHED         qemu/102 (db01): running to stopped, and no task asked for it (a crash, or a power-off from inside)
        29   inspect   node pve2
        29   opened    NODE_UNREACHABLE   node/pve2: left the cluster
        53   resolved  NODE_UNREACHABLE   node/pve2: gone from the cluster after 0:24
        53   resolved  VM_CRASHED         qemu/102 (db01): gone from the cluster after 0:34
        53   noted                        node/pve2: is gone from the cluster
        300  heartbeat                    cluster: 1 of 1 nodes online, 2 of 2 guests running, nothing open"#]]);
}

#[test]
fn a_peak_that_nobody_saw_last_is_not_told() {
    let mut policy = Policy::default();
    let pending = SignedDuration::from_secs(60);
    policy.marks.insert(Metric::Memory, Marks::new(85.0, Some(95.0), 2.0, pending).unwrap());
    let (mut world, mut watch) = (World::new(), Watch::with(policy));
    watch.critical(&world, 5);
    world.node("pve2").memory = Some(Usage { used: 90, total: 100 });
    watch.step(20, world.round(Round::Important, 20));
    world.node("pve2").presence = Presence::Offline;
    world.node("pve2").memory = None;
    watch.critical(&world, 29);
    watch.step(84, world.round(Round::Important, 84));
    watch.check(expect![[r#"
            29   inspect   node pve2
            29   opened    NODE_UNREACHABLE   node/pve2: left the cluster with 1 running guest"#]]);
}

#[test]
fn a_storage_outage_does_not_end_with_its_node() {
    let (mut world, mut watch) = (World::new(), Watch::new());
    let key: (StorageName, NodeName) = ("local".parse().unwrap(), "pve2".parse().unwrap());
    let usage = Some(Usage { used: 10, total: 100 });
    world.storages.insert(key.clone(), Storage { shared: false, available: true, usage });
    watch.critical(&world, 5);
    world.storages.insert(key.clone(), Storage { shared: false, available: false, usage: None });
    watch.critical(&world, 101);
    world.node("pve2").presence = Presence::Offline;
    watch.critical(&world, 113);
    world.node("pve2").presence = Presence::Online;
    watch.critical(&world, 125);
    watch.critical(&world, 197);
    world.storages.insert(key, Storage { shared: false, available: true, usage });
    watch.critical(&world, 209);
    watch.check(expect![[r#"
        101  opened    STORAGE_OFFLINE    storage/pve2/local: not available on pve2
        113  inspect   node pve2
        113  opened    NODE_UNREACHABLE   node/pve2: left the cluster with 1 running guest
        125  resolved  NODE_UNREACHABLE   node/pve2: online again after 0:12
        209  resolved  STORAGE_OFFLINE    storage/pve2/local: available again after 1:48"#]]);
}
