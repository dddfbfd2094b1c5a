//! Turns in which PVE or the clock misleads: rows that are missing once, statistics that end in pieces, times that lie
//! ahead, numbers that no PVE would send. Each test is a table of what happens, and the log that comes of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by its panic")]

mod world;

use engine::observe::{
    Blindness, Cause, Evidence, GuestStatus, Presence, Round, Seen, Storage, StorageName, Task, Usage,
};
use engine::policy::Policy;
use engine::{Engine, Input};
use expect_test::expect;
use world::{UPTIME, Watch, World, at, stop_of_101};

fn started() -> (World, Watch) {
    let (world, mut watch) = (World::new(), Watch::new());
    watch.critical(&world, 5);
    (world, watch)
}

/// Critical rounds each 12 s, this many, from here on.
fn rounds(watch: &mut Watch, world: &World, from: i64, count: i64) {
    for round in 0..count {
        watch.critical(world, from + 12 * round);
    }
}

fn storage() -> Storage {
    Storage { shared: false, available: true, usage: Some(Usage { used: 1, total: 100 }) }
}

fn on_pve1(name: &str) -> (StorageName, engine::observe::NodeName) {
    (name.parse().unwrap(), "pve1".parse().unwrap())
}

/// Whether or not the node's statistics are told of.
#[test]
fn a_row_of_stalled_statistics_is_no_proof_of_a_stop() {
    let ignored = Policy { ignore: vec!["node/pve1".parse().unwrap()], ..Policy::default() };
    for policy in [Policy::default(), ignored] {
        stalled_statistics(Watch::with(policy));
    }
}

fn stalled_statistics(mut watch: Watch) {
    let world = World::new();
    watch.critical(&world, 5);
    // The statistics stall, and what they show is of a time when the container was down.
    let mut shown = world.clone();
    shown.node("pve1").uptime = Some(UPTIME + 5);
    watch.critical(&shown, 17);
    watch.critical(&shown, 29);
    watch.critical(&shown, 41);
    shown.guest("lxc/200").status = GuestStatus::Stopped;
    // Its node says at first that it runs, and then cannot be asked for its list any more.
    for round in (53..173).step_by(12) {
        watch.step(round, shown.round(Round::Critical, round));
        for second in round..round + 12 {
            if watch.engine.next_wake().is_some_and(|wake| wake <= at(second)) {
                watch.step(second, Input::Tick);
            }
            for inspection in std::mem::take(&mut watch.asked) {
                let mut answer = world.answer(&inspection, second);
                if let Evidence::Guests(found) = &mut answer
                    && second > 80
                {
                    let words = "595 connection refused".into();
                    found.live = Seen::NotReached(Blindness { cause: Cause::Unreachable, words });
                }
                watch.step(second, Input::Inspected { inspection, answer });
            }
        }
    }
    let told: Vec<&String> = watch.log.iter().filter(|line| line.contains("CRASHED")).collect();
    assert!(told.is_empty(), "{:#?}", watch.log);
}

/// PVE drops what a node has not said anew for 300 s; but whoever joins gets it once more, and it is as young as that then.
#[test]
fn who_joins_shows_old_statistics_once_more() {
    let (mut world, mut watch) = started();
    world.node("pve1").uptime = Some(UPTIME + 17);
    world.stalled = Some(17);
    watch.critical(&world, 17);
    watch.critical(&world, 29);
    // It dies while no row can show it, and its node says so itself.
    let mut dead = world.clone();
    dead.dead.insert("qemu/101".parse().unwrap());
    watch.step(31, dead.live("pve1", 31));
    watch.look(&dead, 31, 3);
    world.node("pve2").presence = Presence::Offline;
    for round in (41..329).step_by(12) {
        watch.step(round, world.round(Round::Critical, round));
        watch.look(&dead, round, 3);
    }
    world.node("pve2").presence = Presence::Online;
    for round in (329..400).step_by(12) {
        watch.step(round, world.round(Round::Critical, round));
        watch.look(&dead, round, 3);
    }
    let told: Vec<&String> = watch.log.iter().filter(|line| line.contains("qemu/101")).collect();
    assert_eq!(told.len(), 2, "a look and a crash: {:#?}", watch.log);
    assert!(!watch.log.iter().any(|line| line.contains("resolved  STATS_STALE")), "{:#?}", watch.log);
}

/// The last that a node said before its statistics stalled was seen by nobody, and is what the one that joined shows.
#[test]
fn old_statistics_that_nobody_has_seen_are_old_all_the_same() {
    let (mut world, mut watch) = started();
    let dead = |world: &World| {
        let mut dead = world.clone();
        dead.dead.insert("qemu/101".parse().unwrap());
        dead
    };
    // Seen as it was at 17; what it said at 47 does not come through.
    world.node("pve1").uptime = Some(UPTIME + 17);
    world.stalled = Some(17);
    for round in [17, 29, 41, 53] {
        watch.critical(&world, round);
    }
    watch.step(55, dead(&world).live("pve1", 55));
    watch.look(&dead(&world), 55, 3);
    // After 300 s PVE drops what it knows; and pve2 goes and comes while nobody can look.
    let mut nothing = world.clone();
    nothing.node("pve1").presence = Presence::Unknown;
    nothing.node("pve1").uptime = None;
    for id in ["qemu/101", "lxc/200"] {
        nothing.guest(id).status = GuestStatus::Unknown;
    }
    watch.critical(&nothing, 329);
    nothing.blind = Some(Cause::Unreachable);
    watch.critical(&nothing, 341);
    watch.critical(&nothing, 353);
    world.node("pve1").uptime = Some(UPTIME + 47);
    world.stalled = Some(47);
    for round in (365..450).step_by(12) {
        watch.step(round, world.round(Round::Critical, round));
        watch.look(&dead(&world), round, 3);
    }
    let told: Vec<&String> = watch.log.iter().filter(|line| line.contains("qemu/101")).collect();
    assert_eq!(told.len(), 2, "a look and a crash: {:#?}", watch.log);
}

#[test]
fn a_node_without_statistics_still_tells_of_its_machines_itself() {
    let (mut world, mut watch) = started();
    world.node("pve1").uptime = Some(UPTIME + 5);
    world.stalled = Some(5);
    rounds(&mut watch, &world, 17, 25);
    world.node("pve1").presence = Presence::Unknown;
    world.node("pve1").uptime = None;
    let living = world.clone();
    for id in ["qemu/101", "lxc/200"] {
        world.guest(id).status = GuestStatus::Unknown;
    }
    watch.critical(&world, 317);
    watch.step(320, living.live("pve1", 320));
    // It dies, and there is no row that could say so.
    let mut dead = living.clone();
    dead.dead.insert("qemu/101".parse().unwrap());
    watch.step(322, dead.live("pve1", 322));
    watch.look(&dead, 322, 3);
    watch.critical(&world, 329);
    watch.check(expect![[r#"
        77   opened    STATS_STALE        node/pve1: its statistics do not move, so what is shown of it and its guests is old
        324  inspect   pve1 qemu/101
        324  opened    VM_CRASHED         qemu/101 (web01): running to stopped, and no task asked for it (a crash, or a power-off from inside)"#]]);
}

#[test]
fn ha_s_time_begins_when_ha_is_to_run_a_guest() {
    let mut world = World::new();
    let mut watch = Watch::new();
    world.guest("qemu/101").ha = Some("stopped".into());
    world.guest("qemu/101").status = GuestStatus::Stopped;
    rounds(&mut watch, &world, 5, 20);
    // An operator starts it: HA takes some seconds, and the row some more.
    world.guest("qemu/101").ha = Some("started".into());
    watch.critical(&world, 257);
    world.start("qemu/101", 259);
    watch.critical(&world, 269);
    watch.check(expect![[r#"
        269  inspect   pve1 qemu/101
        269  noted                        qemu/101 (web01): stopped to running, no task says why"#]]);
}

#[test]
fn a_clock_set_back_while_jarvis_was_away_makes_no_crash_of_a_stop() {
    let (mut world, mut watch) = started();
    watch.critical(&world, 3600);
    watch.step(3602, world.live("pve1", 3602));
    let kept = watch.engine.checkpoint().clone();
    // By an hour: it is second 55 again.
    watch.engine = Engine::restore("lab".parse().unwrap(), Policy::default(), 9, at(55), Some(kept), []);
    world.clock_set_back = 3600;
    rounds(&mut watch, &world, 60, 3);
    world.tasks.push(stop_of_101(90));
    world.guest("qemu/101").status = GuestStatus::Stopped;
    watch.critical(&world, 96);
    watch.check(expect![[r#"
        98   inspect   pve1 qemu/101
        98   noted                        qemu/101 (web01): running to stopped, by alice@pve (qmstop)"#]]);
}

#[test]
fn an_uptime_that_no_machine_has_ends_nothing() {
    let (mut world, mut watch) = started();
    world.guest("lxc/200").uptime = u64::MAX / 2;
    watch.critical(&world, 17);
    world.guest("lxc/200").uptime = 1_000_000_000_000;
    watch.critical(&world, 29);
    watch.check(expect![[r#"
        29   inspect   pve1 lxc/200
        29   noted                        lxc/200 (dns): was restarted, no task says why"#]]);
}

#[test]
fn what_is_not_watched_any_more_has_nothing_open() {
    let (mut world, mut watch) =
        (World::new(), Watch::with(Policy { ignore_tags: vec!["lab".into()], ..Policy::default() }));
    watch.critical(&world, 5);
    world.guest("qemu/101").status = GuestStatus::Stopped;
    world.guest("qemu/102").status = GuestStatus::Other("io-error".into());
    watch.critical(&world, 17);
    world.guest("qemu/101").template = true;
    world.guest("qemu/102").tags = vec!["lab".into()];
    watch.critical(&world, 29);
    assert_eq!(watch.engine.summary().incidents, 0);
    watch.check(expect![[r#"
        17   opened    VM_FAULT           qemu/102 (db01): stands still after a disk error (io-error): free or mend its storage, then resume it
        19   inspect   pve1 qemu/101
        19   opened    VM_CRASHED         qemu/101 (web01): running to stopped, and no task asked for it (a crash, or a power-off from inside)
        29   resolved  VM_CRASHED         qemu/101 (web01): not watched any more after 0:10
        29   resolved  VM_FAULT           qemu/102 (db01): not watched any more after 0:12"#]]);
}

#[test]
fn a_guest_that_a_removed_node_leaves_behind_goes_with_its_row() {
    let (mut world, mut watch) = started();
    world.guest("qemu/102").status = GuestStatus::Stopped;
    watch.critical(&world, 17);
    world.nodes.remove(&"pve2".parse().unwrap()).unwrap();
    world.guest("qemu/102").status = GuestStatus::Unknown;
    rounds(&mut watch, &world, 29, 2);
    world.guests.remove(&"qemu/102".parse().unwrap());
    watch.critical(&world, 53);
    assert_eq!(watch.engine.summary().incidents, 0);
    watch.check(expect![[r#"
        19   inspect   pve2 qemu/102
        19   opened    VM_CRASHED         qemu/102 (db01): running to stopped, and no task asked for it (a crash, or a power-off from inside)
        41   noted                        node/pve2: is gone from the cluster
        53   resolved  VM_CRASHED         qemu/102 (db01): gone from the cluster after 0:34"#]]);
}

#[test]
fn storages_whose_statistics_end_a_cycle_before_their_node_s_are_not_offline() {
    let (mut world, mut watch) = started();
    world.storages.insert(on_pve1("local"), storage());
    rounds(&mut watch, &world, 17, 7);
    world.node("pve1").uptime = Some(UPTIME + 89);
    world.stalled = Some(89);
    rounds(&mut watch, &world, 101, 24);
    world.storages.get_mut(&on_pve1("local")).unwrap().available = false;
    watch.critical(&world, 389);
    world.node("pve1").presence = Presence::Unknown;
    world.node("pve1").uptime = None;
    watch.critical(&world, 401);
    watch.check(expect!["125  opened    STATS_STALE        node/pve1: its statistics do not move, so what is shown of it and its guests is old"]);
}

/// A round is judged by when it was asked for: an answer that took long says no more than a quick one.
#[test]
fn whether_a_node_has_told_of_its_storages_is_asked_of_the_round_s_own_time() {
    let (mut world, mut watch) = started();
    world.storages.insert(on_pve1("local"), storage());
    rounds(&mut watch, &world, 17, 3);
    world.node("pve1").presence = Presence::Offline;
    rounds(&mut watch, &world, 53, 4);
    world.node("pve1").presence = Presence::Online;
    world.storages.get_mut(&on_pve1("local")).unwrap().available = false;
    rounds(&mut watch, &world, 101, 4);
    let told = watch.log.len();
    watch.step(163, world.round(Round::Critical, 160));
    assert_eq!(watch.log[told..], [""; 0]);
    watch.step(164, world.round(Round::Critical, 161));
    assert!(watch.log[told].contains("STORAGE_OFFLINE"), "{:#?}", watch.log);
}

/// The first row on another node does not say how the guest is, however often it is judged.
#[test]
fn the_round_that_shows_a_move_says_no_more_when_it_is_judged_again() {
    let (mut world, mut watch) = started();
    world.guest("qemu/101").status = GuestStatus::Other("io-error".into());
    rounds(&mut watch, &world, 17, 3);
    let guest = world.guest("qemu/101");
    (guest.node, guest.status) = ("pve2".parse().unwrap(), GuestStatus::Running);
    for second in [53, 54] {
        watch.step(second, world.round(Round::Critical, 53));
    }
    watch.check(expect![[r#"
        17   opened    VM_FAULT           qemu/101 (web01): stands still after a disk error (io-error): free or mend its storage, then resume it
        53   inspect   pve1 qemu/101"#]]);
}

/// It died soon after its start, and its node says so; a row that is older than that shows a process as young as a new one.
#[test]
fn an_old_row_of_a_young_guest_ends_no_crash() {
    let (mut world, mut watch) = started();
    world.start("qemu/101", 16);
    rounds(&mut watch, &world, 17, 1);
    world.guest("qemu/101").status = GuestStatus::Stopped;
    rounds(&mut watch, &world, 29, 1);
    world.guest("qemu/101").status = GuestStatus::Running;
    // Known by its uptime to be older than the look; as young as a process since then would be; known again.
    for (round, shown) in [(34, 27), (37, 23), (40, 27)] {
        world.stalled = Some(shown);
        watch.step(round, world.round(Round::Critical, round));
    }
    world.guest("qemu/101").status = GuestStatus::Stopped;
    rounds(&mut watch, &world, 53, 2);
    let told: Vec<_> = watch.log.iter().filter(|line| !line.contains("inspect")).collect();
    assert!(told.last().is_some_and(|line| line.contains("opened    VM_CRASHED")), "{told:#?}");
    assert!(!told.iter().any(|line| line.contains("running again")), "{told:#?}");
}

#[test]
fn an_empty_list_of_storages_ends_no_outage() {
    let (mut world, mut watch) = started();
    for name in ["local", "nfs"] {
        world.storages.insert(on_pve1(name), storage());
    }
    rounds(&mut watch, &world, 17, 7);
    world.storages.get_mut(&on_pve1("nfs")).unwrap().available = false;
    watch.critical(&world, 101);
    let kept = std::mem::take(&mut world.storages);
    watch.critical(&world, 113);
    world.storages = kept;
    rounds(&mut watch, &world, 125, 2);
    assert_eq!(watch.engine.summary().incidents, 1);
    watch.check(expect!["101  opened    STORAGE_OFFLINE    storage/pve1/nfs: not available on pve1"]);
}

#[test]
fn a_row_that_is_missing_once_neither_forgets_a_guest_nor_hides_its_crash() {
    let (mut world, mut watch) = started();
    let guest = world.guests.remove(&"qemu/101".parse().unwrap()).unwrap();
    watch.step(17, world.round(Round::Critical, 17));
    world.guests.insert("qemu/101".parse().unwrap(), guest);
    watch.look(&world, 17, 3);
    world.guest("qemu/101").status = GuestStatus::Stopped;
    rounds(&mut watch, &world, 29, 3);
    watch.check(expect![[r#"
        17   inspect   pve1 qemu/101
        31   inspect   pve1 qemu/101
        31   opened    VM_CRASHED         qemu/101 (web01): running to stopped, and no task asked for it (a crash, or a power-off from inside)"#]]);
}

#[test]
fn a_lost_node_whose_row_is_missing_once_is_still_lost() {
    let (mut world, mut watch) = started();
    world.node("pve2").presence = Presence::Offline;
    watch.critical(&world, 17);
    let node = world.nodes.remove(&"pve2".parse().unwrap()).unwrap();
    watch.critical(&world, 29);
    world.nodes.insert("pve2".parse().unwrap(), node);
    rounds(&mut watch, &world, 41, 3);
    assert_eq!(watch.engine.summary().incidents, 1);
    watch.check(expect![[r#"
        17   inspect   node pve2
        17   opened    NODE_UNREACHABLE   node/pve2: left the cluster with 1 running guest"#]]);
}

#[test]
fn who_did_it_is_asked_again_when_the_tasks_did_not_come() {
    let (mut world, mut watch) = started();
    world.start("lxc/200", 35);
    world.tasks.push(Task { kind: "vzreboot".into(), id: "200".into(), ..stop_of_101(33) });
    watch.step(41, world.round(Round::Critical, 41));
    let inspection = watch.asked.remove(0);
    let mut answer = world.answer(&inspection, 41);
    if let Evidence::Guests(found) = &mut answer {
        let hidden = Blindness { cause: Cause::Unreachable, words: "timed out".into() };
        found.tasks = Seen::NotReached(hidden);
    }
    watch.step(42, Input::Inspected { inspection, answer });
    watch.look(&world, 42, 11);
    watch.check(expect![[r#"
        41   inspect   pve1 lxc/200
        52   inspect   pve1 lxc/200
        52   noted                        lxc/200 (dns): was restarted, by alice@pve (vzreboot)"#]]);
}

#[test]
fn a_machine_that_dies_during_its_backup_is_told_when_the_backup_is_over() {
    let (mut world, mut watch) = started();
    let backup = Task {
        kind: "vzdump".into(),
        user: "root@pam".into(),
        ended_at: None,
        status: None,
        ..stop_of_101(10)
    };
    world.tasks.push(backup);
    world.guest("qemu/101").lock = Some("backup".into());
    watch.critical(&world, 17);
    world.guest("qemu/101").status = GuestStatus::Stopped;
    watch.critical(&world, 29);
    watch.look(&world, 31, 70);
    world.guest("qemu/101").lock = None;
    world.tasks[0].ended_at = Some(at(100));
    world.tasks[0].status = Some("job errors".into());
    watch.critical(&world, 95);
    watch.look(&world, 95, 30);
    world.start("qemu/101", 120);
    watch.critical(&world, 130);
    watch.check(expect![[r#"
        31   inspect   pve1 qemu/101
        31   noted                        qemu/101 (web01): running to stopped, in a transition (lock backup)
        91   inspect   pve1 qemu/101
        101  inspect   pve1 qemu/101
        101  opened    VM_CRASHED         qemu/101 (web01): running to stopped, and no task asked for it (a crash, or a power-off from inside)
        130  resolved  VM_CRASHED         qemu/101 (web01): running again after 0:29"#]]);
}

#[test]
fn a_machine_that_a_transition_held_and_somebody_started_is_told_as_started() {
    let (mut world, mut watch) = started();
    world.guest("qemu/101").lock = Some("backup".into());
    world.guest("qemu/101").status = GuestStatus::Stopped;
    watch.critical(&world, 17);
    world.guest("qemu/101").lock = None;
    world.start("qemu/101", 35);
    watch.critical(&world, 41);
    watch.look(&world, 41, 120);
    watch.check(expect![[r#"
        19   inspect   pve1 qemu/101
        19   noted                        qemu/101 (web01): running to stopped, in a transition (lock backup)
        41   inspect   pve1 qemu/101
        41   noted                        qemu/101 (web01): stopped to running, no task says why"#]]);
}

/// Its node was rolled back to a snapshot of itself, say: the process is older than the death that was told. A row can
/// repeat a dead process for 300 s at the most, so after that it is a living one, whatever its age.
#[test]
fn a_guest_that_runs_is_not_held_for_dead_for_ever_because_its_process_is_old() {
    for (name, id, says_live) in [
        ("a container, of which only the rows tell", "lxc/200", false),
        ("a machine, and its node is not asked", "qemu/101", false),
        ("a machine that its node's own list shows", "qemu/101", true),
    ] {
        let (mut world, mut watch) = started();
        world.guest(id).status = GuestStatus::Stopped;
        watch.critical(&world, 17);
        watch.step(19, Input::Tick);
        watch.look(&world, 19, 1);
        assert_eq!(watch.engine.summary().incidents, 1, "{name}");
        world.guest(id).status = GuestStatus::Running;
        world.guest(id).uptime = 3 * UPTIME;
        watch.critical(&world, 29);
        assert_eq!(watch.engine.summary().incidents, 1, "{name}: it may be an old row");
        if says_live {
            watch.step(33, world.live("pve1", 33));
            watch.critical(&world, 41);
        } else {
            for round in 0..28 {
                watch.critical(&world, 41 + 12 * round);
            }
        }
        assert_eq!(watch.engine.summary().incidents, 0, "{name}: {:#?}", watch.log);
    }
}

/// Statistics that stall in the second in which a machine began repeat an uptime of 0: its death is told once all the same.
#[test]
fn a_row_of_the_moment_of_a_start_does_not_bring_a_dead_machine_back() {
    let (mut world, mut watch) = started();
    world.start("qemu/101", 17);
    world.stalled = Some(17);
    watch.critical(&world, 17);
    let mut dead = world.clone();
    dead.dead.insert("qemu/101".parse().unwrap());
    watch.step(22, dead.live("pve1", 22));
    watch.look(&dead, 22, 3);
    for round in 0..3 {
        let now = 45 + 25 * round;
        watch.critical(&world, now);
        watch.step(now + 2, dead.live("pve1", now + 2));
        watch.look(&dead, now + 2, 3);
    }
    watch.check(expect![[r#"
        17   inspect   pve1 qemu/101
        17   noted                        qemu/101 (web01): was restarted, no task says why
        24   inspect   pve1 qemu/101
        24   opened    VM_CRASHED         qemu/101 (web01): running to stopped, and no task asked for it (a crash, or a power-off from inside)"#]]);
    // It begins once more, and its row moves.
    world.start("qemu/101", 110);
    world.stalled = None;
    watch.critical(&world, 130);
    assert_eq!(watch.engine.summary().incidents, 0, "{:#?}", watch.log);
}

/// The round is asked first, its answer comes last, and in between the node itself says that the machine is down.
#[test]
fn a_round_that_was_asked_before_its_node_said_otherwise_brings_nothing_back() {
    let (mut world, mut watch) = started();
    world.start("qemu/101", 10);
    watch.critical(&world, 17);
    watch.look(&world, 17, 1);
    let mut dead = world.clone();
    dead.dead.insert("qemu/101".parse().unwrap());
    watch.step(24, dead.live("pve1", 24));
    watch.look(&dead, 24, 3);
    // Its last row is of the second before it died.
    world.stalled = Some(23);
    watch.step(30, dead.live("pve1", 30));
    watch.step(31, world.round(Round::Critical, 29));
    watch.check(expect![[r#"
        17   inspect   pve1 qemu/101
        17   noted                        qemu/101 (web01): was restarted, no task says why
        26   inspect   pve1 qemu/101
        26   opened    VM_CRASHED         qemu/101 (web01): running to stopped, and no task asked for it (a crash, or a power-off from inside)"#]]);
}

#[test]
fn guests_of_a_node_that_is_away_are_not_counted_as_running() {
    let (mut world, mut watch) = started();
    let before = watch.engine.summary();
    assert_eq!((before.guests_running, before.guests), (3, 3));
    world.node("pve2").presence = Presence::Offline;
    world.guest("qemu/102").status = GuestStatus::Unknown;
    rounds(&mut watch, &world, 17, 3);
    let after = watch.engine.summary();
    assert_eq!((after.guests_running, after.guests), (2, 3));
}

#[test]
fn a_blindness_says_its_newest_cause() {
    let (mut world, mut watch) = started();
    world.blind = Some(Cause::Unreachable);
    rounds(&mut watch, &world, 17, 3);
    // Back, with a certificate that nobody vouches for.
    world.blind = Some(Cause::Untrusted);
    rounds(&mut watch, &world, 53, 3);
    // One round of another cause between is no news.
    world.blind = Some(Cause::Unreachable);
    rounds(&mut watch, &world, 89, 1);
    world.blind = Some(Cause::Untrusted);
    rounds(&mut watch, &world, 101, 3);
    world.blind = None;
    rounds(&mut watch, &world, 137, 1);
    watch.check(expect![[r#"
        29   opened    MONITOR_BLIND      cluster: no endpoint answers: for the test
        65   turned    MONITOR_BLIND      cluster: the certificate is not the trusted one: for the test
        137  resolved  MONITOR_BLIND      cluster: seen again after 1:48"#]]);
}

/// The look's answers, with the node's own list hidden from the token, or empty as a lost right makes it.
fn look_without_list(watch: &mut Watch, world: &World, now: i64, refused: bool) {
    for inspection in std::mem::take(&mut watch.asked) {
        let mut answer = world.answer(&inspection, now);
        if let Evidence::Guests(guests) = &mut answer {
            let words = "403".into();
            guests.live = match refused {
                true => Seen::NotReached(Blindness { cause: Cause::RightsLost, words }),
                false => world::seen(now, Default::default()),
            };
        }
        watch.step(now, Input::Inspected { inspection, answer });
    }
}

#[test]
fn a_node_s_list_that_cannot_be_read_does_not_hide_a_crash() {
    for refused in [true, false] {
        let (mut world, mut watch) = started();
        world.guest("qemu/101").status = GuestStatus::Stopped;
        for second in 17..120 {
            if (second - 17) % 12 == 0 {
                watch.step(second, world.round(Round::Critical, second));
            }
            watch.step(second, Input::Tick);
            look_without_list(&mut watch, &world, second, refused);
        }
        let told: Vec<_> = watch.log.iter().filter(|line| line.contains("VM_CRASHED")).collect();
        assert_eq!(told.len(), 1, "refused: {refused}: {:#?}", watch.log);
    }
}

#[test]
fn who_starts_a_guest_is_not_who_stopped_it() {
    let start = |second| engine::observe::Task {
        kind: "qmstart".into(),
        upid: "UPID:pve1:qmstart:101".into(),
        ..stop_of_101(second)
    };
    // Nobody looked from second 17 on: the endpoint was away, or Jarvis itself was halted.
    for (name, blind) in [("the API was away", true), ("Jarvis was halted", false)] {
        let (mut world, mut watch) = started();
        watch.step(16, world.live("pve1", 16));
        watch.critical(&world, 17);
        if blind {
            world.blind = Some(Cause::Unreachable);
            rounds(&mut watch, &world, 29, 4);
            world.blind = None;
        }
        world.start("qemu/101", 44);
        world.tasks.push(start(44));
        let Input::Observed(mut live) = world.live("pve1", 88) else { unreachable!() };
        if let Some(Seen::At { value, .. }) = live.live.get_mut(&"pve1".parse().unwrap()) {
            let live = value.get_mut(&"qemu/101".parse().unwrap()).unwrap();
            (live.pid, live.uptime) = (Some(9999), 44);
        }
        if !blind {
            watch.step(88, Input::Observed(live));
        }
        watch.critical(&world, 89);
        watch.critical(&world, 101);
        let told: Vec<_> = watch.log.iter().filter(|line| line.contains("qemu/101 (web01)")).collect();
        assert_eq!(told.len(), 1, "{name}: {:#?}", watch.log);
        assert!(told[0].contains("was restarted, no task stopped it (a crash, or a power-off from inside); started again by alice@pve (qmstart)"), "{name}: {told:?}");
    }
}

#[test]
fn a_word_that_neither_qemu_nor_lxc_has_is_no_state() {
    let (mut world, mut watch) = started();
    for (round, word) in ["Stopped", "", "7", "off"].into_iter().enumerate() {
        world.guest("lxc/200").status = GuestStatus::from_pve(word);
        watch.critical(&world, 17 + 12 * round as i64);
    }
    world.guest("lxc/200").status = GuestStatus::Running;
    watch.critical(&world, 77);
    watch.check(expect![[r#""#]]);
}

#[test]
fn a_reboot_that_is_seen_half_way_is_told_as_one() {
    let (mut world, mut watch) = started();
    world.tasks.push(engine::observe::Task {
        kind: "qmreboot".into(),
        ended_at: None,
        status: None,
        ..stop_of_101(15)
    });
    world.guest("qemu/101").status = GuestStatus::Stopped;
    watch.critical(&world, 17);
    world.start("qemu/101", 25);
    watch.critical(&world, 29);
    assert_eq!(watch.told[0].title, "VM web01 (101) is being rebooted");
    watch.check(expect![[r#"
        19   inspect   pve1 qemu/101
        19   noted                        qemu/101 (web01): running to stopped, for a reboot by alice@pve (qmreboot)
        29   inspect   pve1 qemu/101
        29   noted                        qemu/101 (web01): stopped to running, by alice@pve (qmreboot)"#]]);
}
