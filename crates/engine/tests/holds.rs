//! What holds an act although something could be done, from when to when: too much at once, what cannot be seen, what somebody
//! announced or did elsewhere, looks that are not answered. Each test is a table of what happens, and the log that comes of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by its panic")]

mod world;

use engine::decide::{Autonomy, Controls, Hold, KillSwitch, Maintenance};
use engine::observe::{
    Cause, GuestStatus, Inspection, NodeName, Presence, Round, Storage, StorageName, Subject, Task, Usage,
};
use engine::policy::Policy;
use engine::record::{Fact, Order};
use engine::{Command, Input};
use expect_test::expect;
use world::play::{crash, play, play_calls, watch};
use world::{Watch, World, at, stop_of_101};

/// A watch for which more than this many incidents within a minute are a storm.
fn watch_of_storms(world: &World, storm: u32) -> Watch {
    let mut watch = Watch::allowed(Policy { storm, ..Policy::default() }, Autonomy::ActReport);
    watch.critical(world, 5);
    watch
}

fn controls(kill_switch: KillSwitch) -> Controls {
    Controls { kill_switch, level: Autonomy::ActReport, ..Controls::default() }
}

/// Only the lines in which one of these words stands.
fn lines<'a>(watch: &'a Watch, words: &[&str]) -> Vec<&'a str> {
    let lines = watch.log.iter().map(String::as_str);
    lines.filter(|line| words.iter().any(|word| line.contains(word))).collect()
}

/// Told once, and not of each; it ends five minutes after the last minute of it, and then all are mended.
#[test]
fn in_a_storm_nothing_is_done_and_after_it_all_is_mended() {
    let mut world = World::new();
    let mut watch = watch_of_storms(&world, 2);
    for id in ["qemu/101", "lxc/200", "qemu/102"] {
        crash(&mut world, id);
    }
    play(&mut watch, &mut world, 17, 100, true);
    // The last turn in which three had begun within a minute was at 77.
    assert_eq!(watch.engine.next_wake(), Some(at(77 + 300)));
    play(&mut watch, &mut world, 101, 376, true);
    watch.step(376, Input::Tick);
    assert_eq!(watch.engine.open_incidents().count(), 3, "nothing is done, and nothing else is said");
    let objections = watch.engine.objections(at(376)).into_iter().map(|(_, holds)| holds);
    assert_eq!(objections.collect::<Vec<_>>(), vec![vec![Hold::Storm]; 3], "who asks is told so of each");
    play(&mut watch, &mut world, 377, 600, true);
    assert_eq!(watch.engine.open_incidents().count(), 0);
    expect![[r#"
        19   held      VM_CRASHED         qemu/101 (web01): it may heal by itself for 0:15
        19   held      CT_CRASHED         lxc/200 (dns): it may heal by itself for 0:15
        19   storm                        cluster: 3 new incidents within a minute have one cause that a restart does not mend; nothing is done by itself until 5 minutes have passed without as many
        19   held      VM_CRASHED         qemu/101 (web01): too much happens at once; it may heal by itself for 0:15
        19   held      VM_CRASHED         qemu/102 (db01): too much happens at once; it may heal by itself for 0:15
        19   held      CT_CRASHED         lxc/200 (dns): too much happens at once; it may heal by itself for 0:15
        377  storm                        cluster: the storm is over; what is still wrong is seen to again
        377  acting    VM_CRASHED         qemu/102 (db01): start it on pve2, attempt 1 of 3 (vm-crashed-restart)
        377  held      VM_CRASHED         qemu/101 (web01): pve2 is worked on, and one node at a time
        377  held      CT_CRASHED         lxc/200 (dns): pve2 is worked on, and one node at a time
        438  resolved  VM_CRASHED         qemu/102 (db01): running again, mended by Jarvis after 6:59
        438  acting    VM_CRASHED         qemu/101 (web01): start it on pve1, attempt 1 of 3 (vm-crashed-restart)
        440  held      CT_CRASHED         lxc/200 (dns): the guest before it was just started; 0:01 more
        441  acting    CT_CRASHED         lxc/200 (dns): start it on pve1, attempt 1 of 3 (ct-crashed-restart)
        499  resolved  VM_CRASHED         qemu/101 (web01): running again, mended by Jarvis after 8:00
        502  resolved  CT_CRASHED         lxc/200 (dns): running again, mended by Jarvis after 8:03"#]].assert_eq(&lines(&watch, &["storm", "held", "acting", "resolved"]).join("\n"));
}

/// One more keeps it going, and is not told of.
#[test]
fn a_storm_goes_on_while_more_begins() {
    let mut world = World::new();
    let mut watch = watch_of_storms(&world, 1);
    for id in ["qemu/101", "lxc/200"] {
        crash(&mut world, id);
    }
    play(&mut watch, &mut world, 17, 136, true);
    // Two services: again two within a minute.
    world.services = vec![("chrony", "failed"), ("cron", "failed")];
    watch.step(140, Input::Observed(world.node_round(Round::Routine, "pve1", 140)));
    play_calls(&mut watch, &mut world, 141, 520, &mut |_, _, _| None);
    expect![[r#"
        19   opened    VM_CRASHED         qemu/101 (web01): running to stopped, and no task asked for it (a crash, or a power-off from inside)
        19   opened    CT_CRASHED         lxc/200 (dns): running to stopped, and no task asked for it (a crash, or a power-off from inside)
        19   storm                        cluster: 2 new incidents within a minute have one cause that a restart does not mend; nothing is done by itself until 5 minutes have passed without as many
        150  opened    SERVICE_DOWN       service/pve1/chrony: is enabled and failed
        150  opened    SERVICE_DOWN       service/pve1/cron: is enabled and failed
        501  storm                        cluster: the storm is over; what is still wrong is seen to again
        501  acting    VM_CRASHED         qemu/101 (web01): start it on pve1, attempt 1 of 3 (vm-crashed-restart)
        501  acting    SERVICE_DOWN       service/pve1/chrony: restart it on pve1, attempt 1 of 3 (service-down-restart)
        501  acting    SERVICE_DOWN       service/pve1/cron: restart it on pve1, attempt 1 of 3 (service-down-restart)
        504  acting    CT_CRASHED         lxc/200 (dns): start it on pve1, attempt 1 of 3 (ct-crashed-restart)"#]].assert_eq(&lines(&watch, &["storm", "opened", "acting"]).join("\n"));
}

/// Two guests crash, and a third one: more than two within a minute are a storm; two are not, nor are three in 60 s and more.
#[test]
fn what_is_a_storm() {
    let table = [
        ("as many as may be", 3, 17, false),
        ("one more than that", 2, 17, true),
        ("one more, 59 s later", 2, 76, true),
        ("one more, 60 s later", 2, 77, false),
    ];
    for (row, storm, third, expected) in table {
        let mut world = World::new();
        let mut watch = watch_of_storms(&world, storm);
        world.onboot.clear();
        for id in ["qemu/101", "lxc/200"] {
            crash(&mut world, id);
        }
        if third > 17 {
            play(&mut watch, &mut world, 17, third - 1, true);
        }
        crash(&mut world, "qemu/102");
        play(&mut watch, &mut world, third, third + 5, true);
        let opened = lines(&watch, &["opened"]);
        assert!(opened.len() == 3 && opened[2].starts_with(&(third + 2).to_string()), "{row}: {opened:#?}");
        let storms = watch.journal.iter().filter(|entry| matches!(entry.fact, Fact::Storm { .. })).count();
        assert_eq!(storms == 1, expected, "{row}");
    }
}

/// One round that is lost is no incident yet, and nothing is done in it.
#[test]
fn while_the_cluster_cannot_be_seen_nothing_is_done() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    crash(&mut world, "qemu/101");
    play(&mut watch, &mut world, 17, 28, true);
    world.blind = Some(Cause::Unreachable);
    play(&mut watch, &mut world, 29, 40, true);
    world.blind = None;
    play(&mut watch, &mut world, 41, 50, true);
    watch.check(expect![[r#"
        19   inspect   pve1 qemu/101
        19   opened    VM_CRASHED         qemu/101 (web01): running to stopped, and no task asked for it (a crash, or a power-off from inside)
        19   held      VM_CRASHED         qemu/101 (web01): it may heal by itself for 0:15
        34   held      VM_CRASHED         qemu/101 (web01): not seen as it is now: the cluster cannot be seen
        41   inspect   qemu/101 closely
        41   acting    VM_CRASHED         qemu/101 (web01): start it on pve1, attempt 1 of 3 (vm-crashed-restart)
        43   acted     VM_CRASHED         qemu/101 (web01): its task ended: OK"#]]);
}

#[test]
fn what_was_seen_too_long_ago_allows_nothing() {
    for (row, second, expected) in [
        ("two rounds and the time they take", 17 + 45, "inspect   qemu/101 closely"),
        ("longer than that", 17 + 46, "not seen as it is now: the last round is too old"),
    ] {
        let mut world = World::new();
        let mut watch = watch(&world, Autonomy::ActReport);
        watch.set(6, controls(KillSwitch::On));
        crash(&mut world, "qemu/101");
        play(&mut watch, &mut world, 17, 28, true);
        watch.set(second, controls(KillSwitch::Off));
        let last = watch.log.last().unwrap();
        assert!(last.ends_with(expected), "{row}: {last}");
    }
}

/// A node is back as a member, and its rows are those of before it left: nothing is done on it until it has told of itself.
#[test]
fn a_node_that_has_not_told_of_itself_since_it_came_back_is_waited_for() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    watch.set(6, controls(KillSwitch::On));
    crash(&mut world, "qemu/102");
    play(&mut watch, &mut world, 17, 40, true);
    world.node("pve2").presence = Presence::Offline;
    play(&mut watch, &mut world, 41, 76, true);
    world.node("pve2").presence = Presence::Online;
    world.node("pve2").uptime = Some(world::UPTIME + 29);
    watch.set(77, controls(KillSwitch::Off));
    play(&mut watch, &mut world, 77, 124, true);
    world.node("pve2").uptime = Some(40);
    play(&mut watch, &mut world, 125, 150, true);
    watch.check(expect![[r#"
        19   inspect   pve2 qemu/102
        19   opened    VM_CRASHED         qemu/102 (db01): running to stopped, and no task asked for it (a crash, or a power-off from inside)
        19   held      VM_CRASHED         qemu/102 (db01): the kill switch is on; it may heal by itself for 0:15
        41   inspect   node pve2
        41   held      VM_CRASHED         qemu/102 (db01): the kill switch is on; pve2 is not there to be asked
        41   opened    NODE_UNREACHABLE   node/pve2: left the cluster
        41   held      NODE_UNREACHABLE   node/pve2: the kill switch is on; it may heal by itself for 1:00
        77   held      VM_CRASHED         qemu/102 (db01): pve2 is not there to be asked
        77   held      NODE_UNREACHABLE   node/pve2: it may heal by itself for 0:24
        77   resolved  NODE_UNREACHABLE   node/pve2: online again after 0:36
        77   held      VM_CRASHED         qemu/102 (db01): not seen as it is now: pve2 has not told of itself since it came back
        125  held      VM_CRASHED         qemu/102 (db01): its node has just booted, and PVE starts its guests first; 4:20 more"#]]);
}

/// While nobody looked its node was restarted, and the first row that is seen of it is the one of before, or says the very
/// same: as long as that can be, nothing is done on it.
#[test]
fn a_row_that_is_as_it_was_before_nobody_looked_says_nothing_of_that_time() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    watch.set(6, controls(KillSwitch::On));
    crash(&mut world, "qemu/102");
    world.node("pve2").uptime = Some(62);
    play(&mut watch, &mut world, 17, 40, true);
    world.blind = Some(Cause::Unreachable);
    play(&mut watch, &mut world, 41, 350, true);
    world.blind = None;
    watch.set(351, controls(KillSwitch::Off));
    play(&mut watch, &mut world, 353, 364, true);
    world.node("pve2").uptime = Some(74);
    play(&mut watch, &mut world, 365, 376, true);
    // It was that young before as well, and nobody may have seen it; the next one tells.
    world.node("pve2").uptime = Some(88);
    play(&mut watch, &mut world, 379, 390, true);
    watch.check(expect![[r#"
        17   noted                        node/pve2: was restarted; it was not seen to leave
        19   inspect   pve2 qemu/102
        19   opened    VM_CRASHED         qemu/102 (db01): running to stopped, and no task asked for it (a crash, or a power-off from inside)
        19   held      VM_CRASHED         qemu/102 (db01): the kill switch is on; its node has just booted, and PVE starts its guests first; 3:56 more; it may heal by itself for 0:15
        53   opened    MONITOR_BLIND      cluster: no endpoint answers: for the test
        351  held      VM_CRASHED         qemu/102 (db01): not seen as it is now: the cluster cannot be seen
        353  resolved  MONITOR_BLIND      cluster: seen again after 5:00
        379  held      VM_CRASHED         qemu/102 (db01): its node has just booted, and PVE starts its guests first; 3:32 more"#]]);
}

/// On the node to which it is moved, nobody knows who stopped it. Jarvis does.
#[test]
fn who_stopped_a_guest_is_known_after_it_was_moved() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    crash(&mut world, "qemu/101");
    play(&mut watch, &mut world, 17, 28, true);
    world.tasks.push(stop_of_101(28));
    play(&mut watch, &mut world, 29, 40, true);
    world.guest("qemu/101").node = "pve2".parse().unwrap();
    world.tasks.clear();
    play(&mut watch, &mut world, 41, 330, true);
    watch.check(expect![[r#"
        19   inspect   pve1 qemu/101
        19   opened    VM_CRASHED         qemu/101 (web01): running to stopped, and no task asked for it (a crash, or a power-off from inside)
        19   held      VM_CRASHED         qemu/101 (web01): it may heal by itself for 0:15
        34   inspect   qemu/101 closely
        34   held      VM_CRASHED         qemu/101 (web01): stopped since by alice@pve (qmstop)
        43   inspect   pve1 qemu/101
        43   noted                        qemu/101 (web01): moved from pve1 to pve2
        154  inspect   qemu/101 closely
        274  inspect   qemu/101 closely"#]]);
}

/// Jarvis started it, somebody stopped it, and it is moved before it may be tried again: whether a round told of the stop or
/// only the look that verifies, it is known on the node that knows nothing of it.
#[test]
fn who_stopped_a_guest_after_our_start_is_known_after_it_was_moved() {
    for (row, stopped, lost, moved) in [
        ("a round told of it", 43, None, 50),
        ("only the look that verifies", 48, Some(Cause::Unreachable), 52),
    ] {
        let mut world = World::new();
        let mut watch = watch(&world, Autonomy::ActReport);
        crash(&mut world, "qemu/101");
        play(&mut watch, &mut world, 17, stopped, true);
        assert!(watch.log.iter().any(|line| line.contains("acted")), "{row}: {:#?}", watch.log);
        crash(&mut world, "qemu/101");
        world.tasks.push(stop_of_101(stopped));
        world.blind = lost;
        play(&mut watch, &mut world, stopped + 1, moved, true);
        world.blind = None;
        world.guest("qemu/101").node = "pve2".parse().unwrap();
        world.tasks.clear();
        play(&mut watch, &mut world, moved, 330, true);
        let since = watch.log.iter().position(|line| line.contains("acted")).unwrap();
        let since = &watch.log[since..];
        assert!(
            since.iter().any(|line| line.contains("stopped since by alice@pve (qmstop)")),
            "{row}: {since:#?}"
        );
        assert!(!since.iter().any(|line| line.contains("acting")), "{row}: {since:#?}");
    }
}

/// Whoever stopped it has started it since, and it crashed once more: where it is, its node's own tasks say so.
#[test]
fn who_stopped_a_guest_and_started_it_again_wants_it_to_run() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    crash(&mut world, "qemu/101");
    play(&mut watch, &mut world, 17, 28, true);
    world.tasks.push(stop_of_101(28));
    play(&mut watch, &mut world, 29, 40, true);
    let start = Task { kind: "qmstart".into(), upid: "UPID:pve1:qmstart:101".into(), ..stop_of_101(45) };
    world.tasks.push(start);
    play(&mut watch, &mut world, 41, 170, true);
    watch.check(expect![[r#"
        19   inspect   pve1 qemu/101
        19   opened    VM_CRASHED         qemu/101 (web01): running to stopped, and no task asked for it (a crash, or a power-off from inside)
        19   held      VM_CRASHED         qemu/101 (web01): it may heal by itself for 0:15
        34   inspect   qemu/101 closely
        34   held      VM_CRASHED         qemu/101 (web01): stopped since by alice@pve (qmstop)
        154  inspect   qemu/101 closely
        154  acting    VM_CRASHED         qemu/101 (web01): start it on pve1, attempt 1 of 3 (vm-crashed-restart)
        156  acted     VM_CRASHED         qemu/101 (web01): its task ended: OK"#]]);
}

/// Work on a node is work on its guests, its services and itself, and on nothing else.
#[test]
fn work_that_is_announced_for_a_node_holds_what_is_on_it() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    let of = |subject: &str| Maintenance { subject: subject.parse().unwrap(), from: at(0), until: at(90) };
    let controls = Controls { maintenance: vec![of("node/pve2")], ..controls(KillSwitch::Off) };
    watch.set(6, controls);
    world.services = vec![("chrony", "failed")];
    watch.step(8, Input::Observed(world.node_round(Round::Routine, "pve2", 8)));
    watch.look(&world, 8, 40);
    for id in ["qemu/101", "qemu/102"] {
        crash(&mut world, id);
    }
    play(&mut watch, &mut world, 29, 52, true);
    world.node("pve2").presence = Presence::Offline;
    play(&mut watch, &mut world, 53, 60, true);
    expect![[r#"
        18   held      SERVICE_DOWN       service/pve2/chrony: maintenance until 13:48 UTC; it may heal by itself for 0:15
        31   held      VM_CRASHED         qemu/101 (web01): it may heal by itself for 0:15
        31   held      VM_CRASHED         qemu/102 (db01): maintenance until 13:48 UTC; it may heal by itself for 0:15
        46   acting    VM_CRASHED         qemu/101 (web01): start it on pve1, attempt 1 of 3 (vm-crashed-restart)
        53   held      SERVICE_DOWN       service/pve2/chrony: maintenance until 13:48 UTC; pve2 is not there to be asked; pve1 is worked on, and one node at a time
        53   held      VM_CRASHED         qemu/102 (db01): maintenance until 13:48 UTC; pve2 is not there to be asked; pve1 is worked on, and one node at a time
        53   held      NODE_UNREACHABLE   node/pve2: maintenance until 13:48 UTC; it may heal by itself for 1:00; pve1 is worked on, and one node at a time"#]].assert_eq(&lines(&watch, &["held", "acting"]).join("\n"));
}

/// Where Jarvis itself runs nothing is done, nor to the node that carries it; what somebody said of that counts alone.
#[test]
fn where_jarvis_was_found_to_run_nothing_is_done() {
    let own = |ids: &[&str]| ids.iter().map(|id| id.parse().unwrap()).collect::<Vec<Subject>>();
    let run = |said: &[&str], found: &[&[&str]]| -> String {
        let mut world = World::new();
        let policy = Policy { own: own(said), ..Policy::default() };
        let mut watch = Watch::allowed(policy, Autonomy::Recommend);
        watch.critical(&world, 5);
        for found in found {
            watch.step(6, Input::Commanded(Command::Found(own(found))));
        }
        world.services = vec![("chrony", "failed")];
        watch.step(8, Input::Observed(world.node_round(Round::Routine, "pve1", 8)));
        watch.look(&world, 8, 40);
        crash(&mut world, "qemu/101");
        play(&mut watch, &mut world, 29, 60, true);
        lines(&watch, &["held", "advised"]).join("\n")
    };
    let touched = run(&[], &[]);
    assert!(touched.contains("advised   SERVICE_DOWN") && !touched.contains("Jarvis runs"), "{touched}");
    assert_eq!(run(&[], &[&["qemu/101"], &[]]), touched, "what is not so any more holds nothing");
    assert_eq!(run(&["lxc/200"], &[&["qemu/101"]]), run(&["lxc/200"], &[]), "what was said counts alone");
    assert_eq!(run(&[], &[&["qemu/101"]]), run(&["qemu/101"], &[]), "and what was found counts like that");
    expect![[r#"
        18   held      SERVICE_DOWN       service/pve1/chrony: protected: Jarvis runs on this node; it may heal by itself for 0:15
        31   held      VM_CRASHED         qemu/101 (web01): protected: Jarvis runs in it; it may heal by itself for 0:15"#]].assert_eq(&run(&[], &[&["qemu/101"]]));
    expect![[r#"
        18   held      SERVICE_DOWN       service/pve1/chrony: protected: Jarvis runs on this node; it may heal by itself for 0:15
        31   held      VM_CRASHED         qemu/101 (web01): it may heal by itself for 0:15
        46   advised   VM_CRASHED         qemu/101 (web01): start it on pve1, if somebody approves"#]].assert_eq(&run(&[], &[&["node/pve1"]]));
}

/// A proposal that waits for its look makes nobody wait who is allowed.
#[test]
fn what_is_only_proposed_is_not_waited_for() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::Recommend);
    crash(&mut world, "qemu/101");
    play(&mut watch, &mut world, 17, 52, true);
    let incident = watch.engine.open_incidents().next().unwrap().1.id;
    crash(&mut world, "lxc/200");
    watch.step(53, world.round(Round::Critical, 53));
    watch.look(&world, 53, 2);
    watch.step(65, world.round(Round::Critical, 65));
    // The look at the container is not answered.
    watch.step(70, Input::Tick);
    assert_eq!(watch.asked.len(), 1);
    watch.asked.clear();
    watch.step(71, Input::Commanded(Command::Order { incident, by: "bob".into(), order: Order::Approve }));
    watch.look(&world, 71, 0);
    expect![[r#"
        19   held      VM_CRASHED         qemu/101 (web01): it may heal by itself for 0:15
        34   inspect   qemu/101 closely
        34   advised   VM_CRASHED         qemu/101 (web01): start it on pve1, if somebody approves
        55   held      CT_CRASHED         lxc/200 (dns): it may heal by itself for 0:15
        70   inspect   lxc/200 closely
        71   inspect   qemu/101 closely
        71   acting    VM_CRASHED         qemu/101 (web01): start it on pve1, attempt 1 of 3 (vm-crashed-restart), approved by bob"#]].assert_eq(&lines(&watch, &["advised", "closely", "acting", "held"]).join("\n"));
}

/// A machine goes on when the storage of its node has room again, and is there.
#[test]
fn a_machine_without_room_is_left_until_there_is_some() {
    let place = |node: &str| -> (StorageName, NodeName) { ("local".parse().unwrap(), node.parse().unwrap()) };
    let storage =
        |available, used| Storage { shared: false, available, usage: Some(Usage { used, total: 100 }) };
    let table = [
        ("its storage is full", "pve1", storage(true, 98), "storage local is full"),
        ("its storage is away", "pve1", storage(false, 10), "storage local is away"),
        (
            "its storage has room",
            "pve1",
            storage(true, 97),
            "resume it on pve1, attempt 1 of 3 (vm-fault-resume)",
        ),
        (
            "another node's is full",
            "pve2",
            storage(true, 100),
            "resume it on pve1, attempt 1 of 3 (vm-fault-resume)",
        ),
        (
            "it is away there",
            "pve2",
            storage(false, 100),
            "resume it on pve1, attempt 1 of 3 (vm-fault-resume)",
        ),
    ];
    for (row, node, storage, expected) in table {
        let mut world = World::new();
        let mut watch = watch(&world, Autonomy::ActReport);
        world.guest("qemu/101").status = GuestStatus::Other("io-error".into());
        world.storages.insert(place(node), storage);
        play_calls(&mut watch, &mut world, 17, 40, &mut |_, _, _| None);
        let last = watch.log.last().unwrap();
        assert!(last.contains("VM_FAULT") && last.ends_with(expected), "{row}: {last}");
        if expected.starts_with("storage") {
            world.storages.insert(place(node), Storage { available: true, usage: None, shared: false });
            play_calls(&mut watch, &mut world, 41, 200, &mut |_, _, _| None);
            assert!(watch.log.last().unwrap().contains("acting"), "{row}: {:#?}", watch.log);
        }
    }
}

/// A start needs no room.
#[test]
fn a_full_storage_holds_no_start() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    let full = Storage { shared: false, available: true, usage: Some(Usage { used: 100, total: 100 }) };
    world.storages.insert(("local".parse().unwrap(), "pve1".parse().unwrap()), full);
    crash(&mut world, "qemu/101");
    play_calls(&mut watch, &mut world, 17, 40, &mut |_, _, _| None);
    assert!(watch.log.last().unwrap().contains("acting"), "{:#?}", watch.log);
}

/// One that is not answered is made again after half a minute, and not before, whatever happens meanwhile.
#[test]
fn a_look_that_is_not_answered_is_made_again() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    crash(&mut world, "qemu/101");
    play(&mut watch, &mut world, 17, 33, true);
    watch.step(34, Input::Tick);
    for second in [34, 41, 53, 63] {
        watch.step(second, world.round(Round::Critical, second));
        assert_eq!(watch.engine.next_wake(), Some(at(34 + 30)), "at {second}");
    }
    watch.step(64, Input::Tick);
    expect![[r#"
        34   inspect   qemu/101 closely
        64   inspect   qemu/101 closely"#]]
    .assert_eq(&lines(&watch, &["closely"]).join("\n"));
}

/// From before the incident on; of a service that has been down for long, from a day ago on.
#[test]
fn how_far_back_a_look_asks_for_tasks() {
    const DAY: i64 = 86_400;
    let since = |watch: &Watch| match watch.asked.last() {
        Some(Inspection::Review(look)) => Some(look.since),
        _ => None,
    };
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    crash(&mut world, "qemu/101");
    play(&mut watch, &mut world, 17, 33, true);
    watch.step(34, Input::Tick);
    assert_eq!(since(&watch), Some(at(19 - 3600)), "of a guest");

    let mut world = World::new();
    let mut watch = world::play::watch(&world, Autonomy::ActReport);
    world.services = vec![("chrony", "failed")];
    watch.step(8, Input::Observed(world.node_round(Round::Routine, "pve1", 8)));
    watch.look(&world, 8, 10);
    watch.step(29, world.round(Round::Critical, 29));
    watch.step(33, Input::Tick);
    assert_eq!(since(&watch), Some(at(18 - 3600)), "of a service");
    watch.step(3 * DAY, world.round(Round::Critical, 3 * DAY));
    assert_eq!(since(&watch), Some(at(2 * DAY)), "of a service that nobody mended");
}

/// One that finds nothing out is made again ten seconds later; until then it is not known what may be done.
#[test]
fn a_look_that_finds_nothing_out_is_made_again() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    world.unreviewed = Some("pve1 does not answer");
    crash(&mut world, "qemu/101");
    play(&mut watch, &mut world, 17, 34, true);
    watch.look(&world, 34, 0);
    for second in [38, 43] {
        watch.step(second, world.round(Round::Critical, second));
        assert_eq!(watch.engine.next_wake(), Some(at(44)), "at {second}");
    }
    watch.look(&world, 44, 0);
    world.unreviewed = None;
    play(&mut watch, &mut world, 50, 60, true);
    watch.check(expect![[r#"
        19   inspect   pve1 qemu/101
        19   opened    VM_CRASHED         qemu/101 (web01): running to stopped, and no task asked for it (a crash, or a power-off from inside)
        19   held      VM_CRASHED         qemu/101 (web01): it may heal by itself for 0:15
        34   inspect   qemu/101 closely
        34   held      VM_CRASHED         qemu/101 (web01): not seen as it is now: it could not be looked at (pve1 does not answer)
        44   inspect   qemu/101 closely
        54   inspect   qemu/101 closely
        54   acting    VM_CRASHED         qemu/101 (web01): start it on pve1, attempt 1 of 3 (vm-crashed-restart)
        56   acted     VM_CRASHED         qemu/101 (web01): its task ended: OK"#]]);
}

/// Something else holds it, when it is time to look again: then it is looked at when that is over.
#[test]
fn a_look_that_would_change_nothing_is_not_made() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    world.onboot.clear();
    crash(&mut world, "qemu/101");
    play(&mut watch, &mut world, 17, 40, true);
    watch.set(45, controls(KillSwitch::On));
    play(&mut watch, &mut world, 46, 154, true);
    watch.step(34 + 120, Input::Tick);
    assert_eq!(watch.engine.next_wake(), None);
    play(&mut watch, &mut world, 161, 166, true);
    watch.set(170, controls(KillSwitch::Off));
    expect![[r#"
        19   held      VM_CRASHED         qemu/101 (web01): it may heal by itself for 0:15
        34   inspect   qemu/101 closely
        34   held      VM_CRASHED         qemu/101 (web01): neither onboot nor the tag jarvis-restart says that it is to run
        45   held      VM_CRASHED         qemu/101 (web01): the kill switch is on; neither onboot nor the tag jarvis-restart says that it is to run
        170  inspect   qemu/101 closely"#]].assert_eq(&lines(&watch, &["closely", "held"]).join("\n"));
}

/// What a look allows is good for less than 20 s from when it was made.
#[test]
fn how_old_a_look_may_be() {
    for (row, guest, answered, acts) in [
        ("a guest's, in time", true, 34 + 19, true),
        ("a guest's, too late", true, 34 + 20, false),
        ("a service's, in time", false, 34 + 19, true),
        ("a service's, too late", false, 34 + 20, false),
    ] {
        let mut world = World::new();
        let mut watch = watch(&world, Autonomy::ActReport);
        if guest {
            crash(&mut world, "qemu/101");
        } else {
            world.services = vec![("chrony", "failed"), ("cron", "active")];
            watch.step(8, Input::Observed(world.node_round(Round::Routine, "pve1", 8)));
            watch.look(&world, 8, 10);
        }
        for second in [17, 29] {
            watch.critical(&world, second);
        }
        watch.step(34, Input::Tick);
        let inspection = watch.asked.pop().unwrap();
        let answer = world.answer(&inspection, 34);
        watch.step(answered, Input::Inspected { inspection, answer });
        assert_eq!(watch.permits.len() == 1, acts, "{row}: {:#?}", watch.log);
        assert_eq!(watch.asked.len() == 1, !acts, "{row}: it is looked at again");
    }
}
