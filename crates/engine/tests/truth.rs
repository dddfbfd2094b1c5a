//! Turns in which the engine finds out why, or that it cannot know: live lists, looks, faults, groups, and what is left
//! after a kill. Each test is a table of what happens, turn by turn, and the log that comes of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by its panic")]

mod world;

use engine::decide::Autonomy;
use engine::observe::{Blindness, Cause, Door, Evidence, GuestStatus, Presence, Round, Seen, Task};
use engine::policy::Policy;
use engine::report::Event;
use engine::{Engine, Input};
use expect_test::expect;
use world::play::{crash, kept, play, restart, watch};
use world::{UPTIME, Watch, World, at, seen, startall, stop_of_101};

/// What a look found, if the question for tasks had failed.
fn without_tasks(mut answer: Evidence) -> Evidence {
    let hidden = Seen::NotReached(Blindness { cause: Cause::Unreachable, words: "timed out".into() });
    match &mut answer {
        Evidence::Guests(guests) => guests.tasks = hidden,
        Evidence::Node(node) => node.tasks = hidden,
        Evidence::Services(_) | Evidence::Review(_) => {}
    }
    answer
}

fn started() -> (World, Watch) {
    let (world, mut watch) = (World::new(), Watch::new());
    watch.critical(&world, 5);
    (world, watch)
}

#[test]
fn the_live_list_tells_a_crash_within_five_seconds_and_old_rows_do_not_end_it() {
    let (mut world, mut watch) = started();
    watch.step(10, world.live("pve1", 10));
    // It dies at second 11; the list of second 12 knows, the rows of second 17 do not yet.
    world.dead.insert("qemu/101".parse().unwrap());
    watch.step(12, world.live("pve1", 12));
    watch.look(&world, 12, 3);
    watch.step(16, world.live("pve1", 16));
    watch.critical(&world, 17);
    // The node does not answer any more, and its statistics stall: the row of second 17 comes again and again.
    world.stalled = Some(17);
    for now in [29, 41, 53] {
        watch.critical(&world, now);
    }
    world.stalled = None;
    world.start("qemu/101", 60);
    watch.critical(&world, 65);
    watch.check(expect![[r#"
        14   inspect   pve1 qemu/101
        14   opened    VM_CRASHED         qemu/101 (web01): running to stopped, and no task asked for it (a crash, or a power-off from inside)
        65   resolved  VM_CRASHED         qemu/101 (web01): running again after 0:51"#]]);
}

#[test]
fn the_live_list_is_no_judge_of_what_runs() {
    let (mut world, mut watch) = started();
    // A backup starts a stopped machine as a paused process, which the list calls running.
    world.guest("qemu/101").status = GuestStatus::Stopped;
    world.tasks.push(stop_of_101(7));
    watch.critical(&world, 17);
    world.lend("qemu/101", 18);
    watch.step(20, world.live("pve1", 20));
    watch.critical(&world, 29);
    world.take_back("qemu/101");
    watch.step(40, world.live("pve1", 40));
    watch.critical(&world, 41);
    watch.check(expect![[r#"
        19   inspect   pve1 qemu/101
        19   noted                        qemu/101 (web01): running to stopped, by alice@pve (qmstop)"#]]);
}

#[test]
fn a_late_live_list_changes_nothing() {
    let (mut world, mut watch) = started();
    let newer = world.live("pve1", 12);
    world.dead.insert("qemu/101".parse().unwrap());
    let older = world.live("pve1", 11);
    watch.step(12, newer);
    watch.step(13, older);
    assert_eq!(watch.engine.next_wake(), None);
}

#[test]
fn the_journal_says_why() {
    let (mut world, mut watch) = started();
    world.journal = Some(vec![
        "kernel: kvm[4101]: segfault at 0 ip 0000 sp 0000 error 14",
        "systemd[1]: 101.scope: Deactivated successfully.",
    ]);
    watch.step(10, world.live("pve1", 10));
    world.dead.insert("qemu/101".parse().unwrap());
    watch.step(12, world.live("pve1", 12));
    watch.look(&world, 12, 3);
    watch.check(expect![[r#"
        14   inspect   pve1 qemu/101
        14   opened    VM_CRASHED         qemu/101 (web01): running to stopped, and no task asked for it: its process crashed (segmentation fault)"#]]);
}

#[test]
fn a_node_that_was_reset_unseen_is_no_crash_of_its_guests() {
    let (mut world, mut watch) = started();
    world.onboot.clear();
    watch.step(10, world.live("pve1", 10));
    // Reset at 12, up again at 19, before anybody noticed; startall brings back 101 and not 200.
    world.booted = 17;
    world.tasks.push(startall(20));
    world.dead.insert("qemu/101".parse().unwrap());
    watch.step(21, world.live("pve1", 21));
    watch.look(&world, 21, 3);
    world.start("qemu/101", 22);
    world.node("pve1").uptime = Some(25);
    world.guest("lxc/200").status = GuestStatus::Stopped;
    watch.critical(&world, 41);
    world.node("pve1").uptime = Some(314);
    watch.critical(&world, 330);
    watch.check(expect![[r#"
        23   inspect   pve1 qemu/101
        41   noted                        node/pve1: was restarted; it was not seen to leave
        330  inspect   pve1 lxc/200
        330  noted                        lxc/200 (dns): running to stopped, with its node's restart"#]]);
}

#[test]
fn a_backup_right_after_its_node_booted_does_not_make_a_crash_of_a_guest() {
    let mut world = World::new();
    world.onboot.clear();
    let mut watch = Watch::new();
    // No live list has been heard yet. The node is reset at 12 and up again at 17; the first thing on it is a backup.
    watch.critical(&world, 5);
    (world.booted, world.node("pve1").uptime) = (17, Some(8));
    world.tasks.push(startall(18));
    world.lend("qemu/101", 20);
    world.start("lxc/200", 18);
    watch.critical(&world, 25);
    watch.step(30, world.live("pve1", 30));
    world.node("pve1").uptime = Some(20);
    watch.critical(&world, 37);
    world.take_back("qemu/101");
    watch.step(41, world.live("pve1", 41));
    watch.look(&world, 41, 3);
    world.node("pve1").uptime = Some(314);
    watch.critical(&world, 331);
    watch.check(expect![[r#"
        25   noted                        node/pve1: was restarted; it was not seen to leave
        331  inspect   pve1 qemu/101
        331  noted                        qemu/101 (web01): running to stopped, with its node's restart"#]]);
}

#[test]
fn a_crash_right_after_a_move_is_not_told_as_the_move() {
    let (mut world, mut watch) = started();
    // It is moved within a round, and no row has numbers from its new node yet.
    world.guest("qemu/101").node = "pve2".parse().unwrap();
    world.start("qemu/101", 13);
    let moved = Task { kind: "qmigrate".into(), upid: "UPID:pve1:qmigrate:101".into(), ..stop_of_101(6) };
    world.tasks.push(Task { ended_at: Some(at(15)), ..moved });
    watch.critical(&world, 17);
    watch.step(20, world.live("pve2", 20));
    watch.step(27, world.live("pve2", 27));
    world.dead.insert("qemu/101".parse().unwrap());
    watch.step(28, world.live("pve2", 28));
    watch.look(&world, 28, 3);
    watch.check(expect![[r#"
        17   inspect   pve1 qemu/101
        17   noted                        qemu/101 (web01): moved from pve1 to pve2 by alice@pve (qmigrate)
        30   inspect   pve2 qemu/101
        30   opened    VM_CRASHED         qemu/101 (web01): running to stopped, and no task asked for it (a crash, or a power-off from inside)"#]]);
}

/// HA moves a guest and starts it there: for a moment the other node's list has it without a process.
#[test]
fn a_move_is_told_whatever_is_seen_before_anybody_said_who_did_it() {
    for (name, stops, answered, expected) in [
        (
            "its new node's list says that it is down",
            false,
            true,
            expect![[r#"
                17   inspect   pve1 qemu/101
                19   noted                        qemu/101 (web01): moved from pve1 to pve2 by alice@pve (qmigrate)"#]],
        ),
        (
            "nobody answers, and the next row says so, too",
            true,
            false,
            expect![[r#"
                17   inspect   pve1 qemu/101
                29   noted                        qemu/101 (web01): moved from pve1 to pve2
                31   inspect   pve2 qemu/101
                31   noted                        qemu/101 (web01): running to stopped, cause not known: it was moved since it was last seen running"#]],
        ),
    ] {
        println!("{name}");
        let (mut world, mut watch) = started();
        world.guest("qemu/101").node = "pve2".parse().unwrap();
        world.dead.insert("qemu/101".parse().unwrap());
        let moved = Task { kind: "qmigrate".into(), upid: "UPID:pve1:qmigrate:101".into(), ..stop_of_101(6) };
        world.tasks.push(Task { ended_at: Some(at(15)), ..moved });
        watch.step(17, world.round(Round::Critical, 17));
        watch.step(18, world.live("pve2", 18));
        if answered {
            world.start("qemu/101", 19);
            watch.look(&world, 19, 1);
            watch.step(20, world.live("pve2", 20));
        } else {
            watch.asked.clear();
        }
        if stops {
            world.tasks.clear();
            world.guest("qemu/101").status = GuestStatus::Stopped;
        }
        watch.critical(&world, 29);
        watch.critical(&world, 41);
        watch.check(expected);
    }
}

/// The next move comes, or the guest is gone, while the node that it left still says nothing.
#[test]
fn no_move_hides_the_one_before() {
    for (name, gone) in [("it is moved on", false), ("it is destroyed", true)] {
        let (mut world, mut watch) = started();
        world.nodes.insert("pve3".parse().unwrap(), world.nodes.values().next().unwrap().clone());
        watch.critical(&world, 17);
        world.guest("qemu/101").node = "pve2".parse().unwrap();
        watch.step(29, world.round(Round::Critical, 29));
        match gone {
            true => drop(world.guests.remove(&"qemu/101".parse().unwrap())),
            false => world.guest("qemu/101").node = "pve3".parse().unwrap(),
        }
        watch.asked.clear();
        watch.critical(&world, 41);
        watch.look(&world, 43, 3);
        let told: Vec<_> =
            watch.log.iter().filter(|line| line.contains("qemu/101 (web01): moved from")).collect();
        let first = told.first().is_some_and(|line| line.ends_with("moved from pve1 to pve2"));
        assert!(first, "{name}: {:#?}", watch.log);
    }
}

/// A node that comes back is a member before its statistics are there. Its own list has its guests without a process then, and
/// in the look that follows PVE has started them: they ended with their node, and crashed no more than the others.
#[test]
fn a_guest_that_runs_again_by_the_time_of_the_look_ended_when_it_was_last_seen() {
    let (mut world, mut watch) = started();
    world.node("pve1").presence = Presence::Offline;
    for now in [17, 29, 41] {
        watch.critical(&world, now);
    }
    world.node("pve1").presence = Presence::Unknown;
    world.node("pve1").uptime = None;
    world.booted = 25;
    let old = ["qemu/101", "lxc/200"].map(|id| (id, world.guest(id).clone()));
    for (id, _) in &old {
        world.guest(id).status = GuestStatus::Unknown;
    }
    watch.critical(&world, 53);
    watch.step(54, world.live("pve1", 54));
    world.node("pve1").presence = Presence::Online;
    world.node("pve1").uptime = Some(UPTIME);
    world.start("qemu/101", 55);
    world.start("lxc/200", 55);
    watch.step(55, world.live("pve1", 55));
    watch.look(&world, 56, 3);
    watch.step(58, world.live("pve1", 58));
    for now in [65, 77, 89, 101] {
        watch.critical(&world, now);
    }
    watch.check(expect![[r#"
        17   inspect   node pve1
        17   opened    NODE_UNREACHABLE   node/pve1: left the cluster with 2 running guests
        53   resolved  NODE_UNREACHABLE   node/pve1: online again after 0:36
        56   inspect   pve1 qemu/101"#]]);
}

#[test]
fn a_guest_that_restarts_between_two_looks_is_told_with_who_did_it() {
    let (mut world, mut watch) = started();
    world.start("lxc/200", 35);
    watch.critical(&world, 41);
    world.start("qemu/101", 47);
    world.tasks.push(Task { kind: "qmreboot".into(), ..stop_of_101(45) });
    watch.critical(&world, 53);
    watch.check(expect![[r#"
        41   inspect   pve1 lxc/200
        41   noted                        lxc/200 (dns): was restarted, no task says why
        53   inspect   pve1 qemu/101
        53   noted                        qemu/101 (web01): was restarted, by alice@pve (qmreboot)"#]]);
}

#[test]
fn a_node_that_went_down_on_purpose_is_no_outage() {
    let (mut world, mut watch) = started();
    world.tasks.push(Task {
        kind: "stopall".into(),
        id: "".into(),
        user: "root@pam".into(),
        ended_at: None,
        status: None,
        ..stop_of_101(10)
    });
    world.node("pve1").presence = Presence::Offline;
    watch.critical(&world, 29);
    watch.critical(&world, 41);
    world.node("pve1").presence = Presence::Online;
    watch.critical(&world, 300);
    watch.check(expect![[r#"
        29   inspect   node pve1
        29   noted                        node/pve1: left on purpose: shut down by root@pam (stopall)
        300  noted                        node/pve1: is back"#]]);
}

#[test]
fn a_node_that_another_one_still_sees_is_not_lost() {
    let (mut world, mut watch) = started();
    world.node("pve1").presence = Presence::Offline;
    world.views = vec![("pve8", true, Some(false)), ("pve9", true, Some(true))];
    watch.critical(&world, 17);
    world.views = vec![("pve8", true, Some(false)), ("pve9", false, Some(true))];
    watch.critical(&world, 29);
    watch.check(expect![[r#"
        17   inspect   node pve1
        29   inspect   node pve1
        29   opened    NODE_UNREACHABLE   node/pve1: left the cluster with 2 running guests (seen from one node)"#]]);
}

#[test]
fn a_look_at_a_lost_node_that_is_never_answered_does_not_hide_the_loss() {
    let (mut world, mut watch) = started();
    world.node("pve1").presence = Presence::Offline;
    watch.step(17, world.round(Round::Critical, 17));
    watch.asked.clear();
    watch.step(32, Input::Tick);
    watch.check(expect![[r#"
        17   inspect   node pve1
        32   opened    NODE_UNREACHABLE   node/pve1: left the cluster with 2 running guests (seen from one node)"#]]);
}

#[test]
fn a_node_without_its_cluster_file_system_lives_until_it_does_not() {
    let (mut world, mut watch) = started();
    world.node("pve1").presence = Presence::Offline;
    world.door = Door::ClusterFsDown;
    watch.critical(&world, 17);
    world.door = Door::Silent;
    watch.critical(&world, 29);
    watch.look(&world, 29, 60);
    watch.check(expect![[r#"
        17   inspect   node pve1
        17   opened    NODE_API_DOWN      node/pve1: lives, but its cluster file system (pmxcfs) is down, and its API with it
        89   inspect   node pve1
        89   resolved  NODE_API_DOWN      node/pve1: part of something worse after 1:12
        89   opened    NODE_UNREACHABLE   node/pve1: left the cluster with 2 running guests"#]]);
}

#[test]
fn an_api_that_restarts_is_no_trouble_and_one_that_stays_away_is() {
    let (mut world, mut watch) = started();
    let important = |world: &World, now| Input::Observed(world.node_round(Round::Important, "pve1", now));
    world.views = vec![("pve8", true, Some(true))];
    world.door = Door::ProxyDown;
    watch.step(20, important(&world, 20));
    world.door = Door::Open;
    watch.look(&world, 20, 10);
    world.door = Door::DaemonDown;
    watch.step(52, important(&world, 52));
    watch.look(&world, 52, 10);
    watch.step(84, important(&world, 84));
    // What a node that has just died does not answer is no fault of its API.
    world.views = vec![("pve8", true, Some(false))];
    world.door = Door::Silent;
    watch.step(85, Input::Observed(world.node_round(Round::Important, "pve2", 85)));
    watch.look(&world, 85, 10);
    world.door = Door::Open;
    watch.step(116, important(&world, 116));
    watch.check(expect![[r#"
        30   inspect   node pve1
        62   inspect   node pve1
        62   opened    NODE_API_DOWN      node/pve1: is a member, but half its API is down: pvedaemon does not answer
        95   inspect   node pve2
        116  resolved  NODE_API_DOWN      node/pve1: answers again after 0:54"#]]);
}

#[test]
fn a_service_is_down_when_two_looks_say_so() {
    let (mut world, mut watch) = started();
    let routine = |world: &World, now| Input::Observed(world.node_round(Round::Routine, "pve1", now));
    world.services = vec![("pvestatd", "active"), ("chrony", "inactive")];
    watch.step(20, routine(&world, 20));
    world.services = vec![("pvestatd", "failed"), ("chrony", "active")];
    watch.look(&world, 20, 10);
    watch.step(320, routine(&world, 320));
    world.services = vec![("pvestatd", "active"), ("chrony", "active")];
    watch.step(620, routine(&world, 620));
    watch.check(expect![[r#"
        20   heartbeat                    cluster: 2 of 2 nodes online, 3 of 3 guests running, nothing open
        30   inspect   services of pve1
        30   opened    SERVICE_DOWN       service/pve1/pvestatd: is enabled and failed
        320  heartbeat                    cluster: 2 of 2 nodes online, 3 of 3 guests running, 1 incident open
        620  resolved  SERVICE_DOWN       service/pve1/pvestatd: active again after 9:50
        620  heartbeat                    cluster: 2 of 2 nodes online, 3 of 3 guests running, nothing open"#]]);
}

#[test]
fn a_sensor_above_its_mark_rings_once() {
    let (_, mut watch) = started();
    for (now, celsius) in [(300, 79.0), (600, 81.5), (900, 78.0), (1200, 74.9)] {
        let mut round = engine::observe::Snapshot::new(Round::Routine, at(now));
        let sensors = [("acpitz".into(), 40.0), ("package".into(), celsius), ("broken".into(), f64::NAN)];
        round.temperatures.insert("pve1".parse().unwrap(), seen(now, sensors.into()));
        watch.step(now, Input::Observed(round));
    }
    watch.log.retain(|line| !line.contains("heartbeat"));
    watch.check(expect![[r#"
        600  opened    TEMP_HIGH          node/pve1: Temperature at 81.5 °C, above 80 °C
        1200 resolved  TEMP_HIGH          node/pve1: below its mark again after 10:00"#]]);
}

#[test]
fn statistics_that_stand_still_are_the_nodes_or_else_the_one_that_answers() {
    let (mut world, mut watch) = started();
    watch.critical(&world, 65);
    world.node("pve1").uptime = Some(500_065);
    for now in [77, 89, 101] {
        watch.critical(&world, now);
    }
    world.node("pve1").uptime = Some(500_110);
    watch.critical(&world, 113);
    world.node("pve2").uptime = Some(500_113);
    for now in [125, 137, 149, 161] {
        watch.critical(&world, now);
    }
    assert!(!watch.engine.seeing());
    world.node("pve1").uptime = Some(500_170);
    watch.critical(&world, 173);
    watch.check(expect![[r#"
        101  opened    STATS_STALE        node/pve1: its statistics do not move, so what is shown of it and its guests is old
        113  resolved  STATS_STALE        node/pve1: its statistics move again after 0:12
        161  opened    MONITOR_BLIND      cluster: the answers are too old: the statistics of every node stand still
        173  resolved  MONITOR_BLIND      cluster: seen again after 0:12
        173  opened    STATS_STALE        node/pve2: its statistics do not move, so what is shown of it and its guests is old"#]]);
}

#[test]
fn a_machine_that_cannot_work_is_a_fault_until_it_can() {
    let (mut world, mut watch) = started();
    world.guest("qemu/101").status = GuestStatus::Other("io-error".into());
    watch.critical(&world, 17);
    world.guest("qemu/101").status = GuestStatus::Unknown;
    watch.critical(&world, 29);
    world.guest("qemu/101").status = GuestStatus::Running;
    watch.critical(&world, 41);
    watch.check(expect![[r#"
        17   opened    VM_FAULT           qemu/101 (web01): stands still after a disk error (io-error): free or mend its storage, then resume it
        41   resolved  VM_FAULT           qemu/101 (web01): works again, or has stopped after 0:24"#]]);
}

#[test]
fn a_machine_hangs_when_its_qemu_is_silent_twice() {
    let (mut world, mut watch) = started();
    world.guest("qemu/101").io = Some(4096);
    watch.critical(&world, 17);
    // Silent once, during a snapshot.
    (world.guest("qemu/101").io, world.monitor) = (Some(0), false);
    watch.critical(&world, 29);
    world.monitor = true;
    watch.look(&world, 29, 40);
    // And for good.
    (world.guest("qemu/101").io, world.monitor) = (Some(8192), false);
    watch.critical(&world, 77);
    world.guest("qemu/101").io = Some(0);
    watch.critical(&world, 89);
    watch.look(&world, 89, 40);
    watch.critical(&world, 125);
    world.guest("qemu/101").io = Some(1);
    watch.critical(&world, 137);
    watch.check(expect![[r#"
        29   inspect   pve1 qemu/101
        59   inspect   pve1 qemu/101
        89   inspect   pve1 qemu/101
        119  inspect   pve1 qemu/101
        119  opened    VM_FAULT           qemu/101 (web01): its QEMU does not answer (hung)
        137  resolved  VM_FAULT           qemu/101 (web01): works again, or has stopped after 0:18"#]]);
}

#[test]
fn ha_has_its_time_and_then_it_is_told() {
    let (mut world, mut watch) = started();
    world.guest("qemu/101").ha = Some("started".into());
    world.guest("qemu/101").status = GuestStatus::Stopped;
    for now in [17, 29, 41, 53, 65, 77, 89, 101, 113] {
        watch.critical(&world, now);
    }
    world.guest("qemu/101").ha = Some("error".into());
    watch.critical(&world, 125);
    world.guest("qemu/101").ha = Some("disabled".into());
    watch.critical(&world, 137);
    watch.check(expect![[r#"
        19   inspect   pve1 qemu/101
        19   noted                        qemu/101 (web01): running to stopped, HA manages it (state started) and is the one to restart it
        113  opened    HA_ERROR           qemu/101 (web01): HA manages it (state started) and has not brought it back
        137  resolved  HA_ERROR           qemu/101 (web01): in order again after 0:24"#]]);
}

#[test]
fn many_guests_of_a_node_are_told_as_one_and_each_has_its_incident() {
    let (mut world, mut watch) = (World::new(), Watch::new());
    let one = world.guest("qemu/102").clone();
    for vmid in 110..125 {
        world.guests.insert(format!("qemu/{vmid}").parse().unwrap(), one.clone());
    }
    watch.critical(&world, 5);
    for vmid in 110..125 {
        world.guest(&format!("qemu/{vmid}")).status = GuestStatus::Stopped;
    }
    watch.critical(&world, 17);
    assert_eq!(watch.log.iter().filter(|line| line.contains("opened")).count(), 15);
    for vmid in 110..113 {
        world.start(&format!("qemu/{vmid}"), 25);
    }
    watch.critical(&world, 29);
    for vmid in 113..125 {
        world.start(&format!("qemu/{vmid}"), 37);
    }
    watch.critical(&world, 41);
    let story = |event: &Event| {
        let (ends, guests) = (event.also_ends.len(), event.details.guests.len());
        format!("{} | {} | {guests} guests, ends {ends} more", event.title, event.message)
    };
    let told: Vec<String> = watch.told.iter().map(story).collect();
    let group = watch.told[0].incident.unwrap();
    assert!(watch.told.last().unwrap().also_ends.contains(&group), "the group ends with its last member");
    expect![[r#"
        15 VMs crashed on pve2 | 15 VMs on pve2 stopped, and no task asked for it: db01 (110), db01 (111), db01 (112), db01 (113), db01 (114) and 10 more | 15 guests, ends 0 more
        Storm of incidents | cluster lab: 15 new incidents within a minute have one cause that a restart does not mend; nothing is done by itself until 5 minutes have passed without as many | 0 guests, ends 0 more
        Resolved: VM_CRASHED on pve2 | VM db01 (110) on pve2: running again after 0:10 | 0 guests, ends 0 more
        Resolved: VM_CRASHED on pve2 | VM db01 (111) on pve2: running again after 0:10 | 0 guests, ends 0 more
        Resolved: VM_CRASHED on pve2 | VM db01 (112) on pve2: running again after 0:10 | 0 guests, ends 0 more
        Resolved: VM_CRASHED on pve2 | 12 VMs on pve2: no longer in VM_CRASHED: db01 (113), db01 (114), db01 (115), db01 (116), db01 (117) and 7 more | 12 guests, ends 12 more"#]]
    .assert_eq(&told.join("\n"));
}

#[test]
fn what_was_told_since_the_checkpoint_is_not_told_again() {
    let (mut world, mut watch) = started();
    let checkpoint = watch.engine.checkpoint().clone();
    watch.journal.clear();
    world.guest("qemu/101").status = GuestStatus::Stopped;
    world.node("pve2").presence = Presence::Offline;
    watch.critical(&world, 17);
    world.guests.remove(&"lxc/200".parse().unwrap());
    watch.critical(&world, 29);
    let told = watch.log.len();
    let policy = Policy::default();
    let cluster = watch.engine.cluster().clone();
    watch.engine =
        Engine::restore(cluster, policy, 9, at(40), Some(checkpoint), std::mem::take(&mut watch.journal));
    watch.critical(&world, 41);
    watch.critical(&world, 53);
    assert_eq!(watch.log[told..], [""; 0]);
    world.start("qemu/101", 60);
    world.node("pve2").presence = Presence::Online;
    watch.critical(&world, 65);
    watch.check(expect![[r#"
        17   inspect   node pve2
        19   inspect   pve1 qemu/101
        19   opened    NODE_UNREACHABLE   node/pve2: left the cluster with 1 running guest
        19   opened    VM_CRASHED         qemu/101 (web01): running to stopped, and no task asked for it (a crash, or a power-off from inside)
        29   inspect   pve1 lxc/200
        29   noted                        lxc/200 (dns): is gone
        65   resolved  NODE_UNREACHABLE   node/pve2: online again after 0:46
        65   resolved  VM_CRASHED         qemu/101 (web01): running again after 0:46"#]]);
}

#[test]
fn a_guest_that_runs_again_before_its_look_succeeds_was_restarted() {
    let (mut world, mut watch) = started();
    watch.step(10, world.live("pve1", 10));
    world.dead.insert("qemu/101".parse().unwrap());
    watch.step(12, world.live("pve1", 12));
    watch.step(14, Input::Tick);
    let inspection = watch.asked.remove(0);
    let answer = without_tasks(world.answer(&inspection, 14));
    watch.step(15, Input::Inspected { inspection, answer });
    world.tasks.push(Task { kind: "qmreboot".into(), ..stop_of_101(11) });
    world.start("qemu/101", 16);
    watch.critical(&world, 53);
    watch.check(expect![[r#"
        14   inspect   pve1 qemu/101
        53   inspect   pve1 qemu/101
        53   noted                        qemu/101 (web01): was restarted, by alice@pve (qmreboot)"#]]);
}

#[test]
fn one_question_of_a_look_that_fails_makes_no_departure_a_loss() {
    let (mut world, mut watch) = started();
    world.tasks.push(Task {
        kind: "stopall".into(),
        id: "".into(),
        user: "root@pam".into(),
        ..stop_of_101(10)
    });
    world.node("pve2").presence = Presence::Offline;
    watch.step(17, world.round(Round::Critical, 17));
    let inspection = watch.asked.remove(0);
    let answer = without_tasks(world.answer(&inspection, 17));
    watch.step(17, Input::Inspected { inspection, answer });
    watch.look(&world, 18, 2);
    watch.check(expect![[r#"
        17   inspect   node pve2
        18   inspect   node pve2
        18   noted                        node/pve2: left on purpose: shut down by root@pam (stopall)"#]]);
}

#[test]
fn a_task_that_began_after_a_stop_did_not_stop_it() {
    let (mut world, mut watch) = started();
    watch.step(10, world.live("pve1", 10));
    world.dead.insert("qemu/101".parse().unwrap());
    watch.step(12, world.live("pve1", 12));
    watch.step(14, Input::Tick);
    let inspection = watch.asked.remove(0);
    let answer = without_tasks(world.answer(&inspection, 14));
    watch.step(24, Input::Inspected { inspection, answer });
    world.tasks.push(stop_of_101(30));
    watch.look(&world, 34, 3);
    watch.check(expect![[r#"
        14   inspect   pve1 qemu/101
        34   inspect   pve1 qemu/101
        34   opened    VM_CRASHED         qemu/101 (web01): running to stopped, and no task asked for it (a crash, or a power-off from inside)"#]]);
}

/// What is asked is where it is now: who stopped it may have done so where it was, and that node's tasks say nothing of it.
#[test]
fn a_guest_that_is_down_where_it_was_moved_to_may_have_been_stopped_before() {
    let (mut world, mut watch) = started();
    world.guest("qemu/101").node = "pve2".parse().unwrap();
    world.guest("qemu/101").status = GuestStatus::Stopped;
    for round in (17..90).step_by(12) {
        watch.critical(&world, round);
    }
    let told: Vec<&String> = watch.log.iter().filter(|line| line.contains("running to stopped")).collect();
    assert!(
        told.len() == 1 && told[0].ends_with("cause not known: it was moved since it was last seen running"),
        "{:#?}",
        watch.log
    );
}

/// Killed after it was told that a guest runs again, or is elsewhere, and before that was kept: its process is younger than what
/// was kept of it, which is no restart.
#[test]
fn what_was_told_before_a_kill_is_not_told_as_a_restart_after_it() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::Alert);
    let (checkpoint, told) = kept(&watch);
    crash(&mut world, "qemu/101");
    play(&mut watch, &mut world, 17, 40, true);
    world.start("qemu/101", 41);
    play(&mut watch, &mut world, 41, 60, true);
    assert!(watch.log.last().unwrap().contains("running again"), "{:#?}", watch.log);
    world.guest("qemu/102").node = "pve1".parse().unwrap();
    world.start("qemu/102", 62);
    play(&mut watch, &mut world, 65, 70, true);
    assert!(watch.log.last().unwrap().contains("moved from pve2 to pve1"), "{:#?}", watch.log);
    restart(&mut watch, Policy::default(), 130, &checkpoint, told);
    let before = watch.log.len();
    play(&mut watch, &mut world, 131, 200, true);
    assert_eq!(watch.log[before..], [""; 0]);
}
