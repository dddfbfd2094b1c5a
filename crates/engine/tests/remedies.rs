//! What is done about incidents, turn by turn: a table of what happens, and the log that comes of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by its panic")]

mod world;

use engine::decide::{Autonomy, Controls, KillSwitch};
use engine::observe::Round;
use engine::policy::Policy;
use engine::record::Order;
use engine::{Command, Input, Next};
use expect_test::expect;
use world::play::{acted, crash, play, watch};
use world::{Watch, World};

#[test]
fn a_crashed_guest_is_started_and_looked_after() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    crash(&mut world, "qemu/101");
    play(&mut watch, &mut world, 17, 150, true);
    watch.check(expect![[r#"
        19   inspect   pve1 qemu/101
        19   opened    VM_CRASHED         qemu/101 (web01): running to stopped, and no task asked for it (a crash, or a power-off from inside)
        19   held      VM_CRASHED         qemu/101 (web01): it may heal by itself for 0:15
        34   inspect   qemu/101 closely
        34   acting    VM_CRASHED         qemu/101 (web01): start it on pve1, attempt 1 of 3 (vm-crashed-restart)
        36   acted     VM_CRASHED         qemu/101 (web01): its task ended: OK
        51   inspect   qemu/101 closely
        71   inspect   qemu/101 closely
        91   inspect   qemu/101 closely
        95   inspect   qemu/101 closely
        95   verified  VM_CRASHED         qemu/101 (web01): it has run for 1:00
        95   resolved  VM_CRASHED         qemu/101 (web01): running again, mended by Jarvis after 1:16"#]]);
}

#[test]
fn three_attempts_and_then_people() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    crash(&mut world, "qemu/101");
    play(&mut watch, &mut world, 17, 600, false);
    watch.check(expect![[r#"
        19   inspect   pve1 qemu/101
        19   opened    VM_CRASHED         qemu/101 (web01): running to stopped, and no task asked for it (a crash, or a power-off from inside)
        19   held      VM_CRASHED         qemu/101 (web01): it may heal by itself for 0:15
        34   inspect   qemu/101 closely
        34   acting    VM_CRASHED         qemu/101 (web01): start it on pve1, attempt 1 of 3 (vm-crashed-restart)
        36   acted     VM_CRASHED         qemu/101 (web01): its task failed: start failed: QEMU exited with code 1
        37   inspect   qemu/101 closely
        37   missed    VM_CRASHED         qemu/101 (web01): it is stopped: start failed: QEMU exited with code 1
        37   held      VM_CRASHED         qemu/101 (web01): it was tried a moment ago; 0:57 more
        94   inspect   qemu/101 closely
        94   acting    VM_CRASHED         qemu/101 (web01): start it on pve1, attempt 2 of 3 (vm-crashed-restart)
        96   acted     VM_CRASHED         qemu/101 (web01): its task failed: start failed: QEMU exited with code 1
        97   inspect   qemu/101 closely
        97   missed    VM_CRASHED         qemu/101 (web01): it is stopped: start failed: QEMU exited with code 1
        97   held      VM_CRASHED         qemu/101 (web01): it was tried a moment ago; 0:57 more
        154  inspect   qemu/101 closely
        154  acting    VM_CRASHED         qemu/101 (web01): start it on pve1, attempt 3 of 3 (vm-crashed-restart)
        156  acted     VM_CRASHED         qemu/101 (web01): its task failed: start failed: QEMU exited with code 1
        157  inspect   qemu/101 closely
        157  missed    VM_CRASHED         qemu/101 (web01): it is stopped: start failed: QEMU exited with code 1
        157  escalated VM_CRASHED         qemu/101 (web01): 3 attempts within 1:00:00, and no more are made (vm-crashed-restart) until it is over, or somebody says so"#]]);
}

#[test]
fn a_recommendation_is_done_when_somebody_approves() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::Recommend);
    crash(&mut world, "lxc/200");
    play(&mut watch, &mut world, 17, 77, true);
    let incident = watch.engine.open_incidents().next().unwrap().1.id;
    let order = Command::Order { incident, by: "bob".into(), order: Order::Approve };
    watch.step(80, Input::Commanded(order));
    play(&mut watch, &mut world, 81, 200, true);
    watch.check(expect![[r#"
        19   inspect   pve1 lxc/200
        19   opened    CT_CRASHED         lxc/200 (dns): running to stopped, and no task asked for it (a crash, or a power-off from inside)
        19   held      CT_CRASHED         lxc/200 (dns): it may heal by itself for 0:15
        34   inspect   lxc/200 closely
        34   advised   CT_CRASHED         lxc/200 (dns): start it on pve1, if somebody approves
        80   ordered   CT_CRASHED         lxc/200 (dns): approved by bob
        80   inspect   lxc/200 closely
        81   acting    CT_CRASHED         lxc/200 (dns): start it on pve1, attempt 1 of 3 (ct-crashed-restart), approved by bob
        83   acted     CT_CRASHED         lxc/200 (dns): its task ended: OK
        93   inspect   lxc/200 closely
        113  inspect   lxc/200 closely
        133  inspect   lxc/200 closely
        142  inspect   lxc/200 closely
        142  verified  CT_CRASHED         lxc/200 (dns): it has run for 1:00
        142  resolved  CT_CRASHED         lxc/200 (dns): running again, mended by Jarvis after 2:03"#]]);
}

#[test]
fn with_the_kill_switch_nothing_is_done_and_off_it_is() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    let set = |kill_switch| Controls { kill_switch, level: Autonomy::ActReport, ..Controls::default() };
    watch.set(6, set(KillSwitch::On));
    crash(&mut world, "qemu/101");
    play(&mut watch, &mut world, 17, 89, true);
    watch.set(90, set(KillSwitch::Off));
    play(&mut watch, &mut world, 101, 220, true);
    watch.check(expect![[r#"
        19   inspect   pve1 qemu/101
        19   opened    VM_CRASHED         qemu/101 (web01): running to stopped, and no task asked for it (a crash, or a power-off from inside)
        19   held      VM_CRASHED         qemu/101 (web01): the kill switch is on; it may heal by itself for 0:15
        90   inspect   qemu/101 closely
        101  acting    VM_CRASHED         qemu/101 (web01): start it on pve1, attempt 1 of 3 (vm-crashed-restart)
        103  acted     VM_CRASHED         qemu/101 (web01): its task ended: OK
        118  inspect   qemu/101 closely
        138  inspect   qemu/101 closely
        158  inspect   qemu/101 closely
        162  inspect   qemu/101 closely
        162  verified  VM_CRASHED         qemu/101 (web01): it has run for 1:00
        162  resolved  VM_CRASHED         qemu/101 (web01): running again, mended by Jarvis after 2:23"#]]);
}

#[test]
fn the_node_that_carries_jarvis_is_left_alone() {
    let mut world = World::new();
    let own = vec!["qemu/102".parse().unwrap()];
    let mut watch = Watch::allowed(Policy { own, ..Policy::default() }, Autonomy::ActReport);
    watch.critical(&world, 5);
    world.services = vec![("chrony", "failed")];
    for (node, now) in [("pve2", 7), ("pve1", 8)] {
        watch.step(now, Input::Observed(world.node_round(Round::Routine, node, now)));
        watch.look(&world, now, 40);
    }
    play(&mut watch, &mut world, 29, 89, false);
    watch.check(expect![[r#"
        7    heartbeat                    cluster: 2 of 2 nodes online, 3 of 3 guests running, nothing open
        17   inspect   services of pve2
        17   opened    SERVICE_DOWN       service/pve2/chrony: is enabled and failed
        17   held      SERVICE_DOWN       service/pve2/chrony: protected: Jarvis runs on this node; it may heal by itself for 0:15
        8    heartbeat                    cluster: 2 of 2 nodes online, 3 of 3 guests running, 1 incident open
        18   inspect   services of pve1
        18   opened    SERVICE_DOWN       service/pve1/chrony: is enabled and failed
        18   held      SERVICE_DOWN       service/pve1/chrony: it may heal by itself for 0:15
        33   inspect   service/pve1/chrony closely
        33   acting    SERVICE_DOWN       service/pve1/chrony: restart it on pve1, attempt 1 of 3 (service-down-restart)
        35   acted     SERVICE_DOWN       service/pve1/chrony: its task failed: start failed: QEMU exited with code 1
        36   inspect   service/pve1/chrony closely
        36   missed    SERVICE_DOWN       service/pve1/chrony: it is failed: start failed: QEMU exited with code 1
        36   held      SERVICE_DOWN       service/pve1/chrony: it was tried a moment ago; 0:57 more"#]]);
}

/// `startup: order=1,up=40`: as at the boot of its node, the next one waits. For one that did not start, nobody does.
#[test]
fn the_next_start_waits_as_long_as_the_one_before_it_asks_for() {
    for (works, waits) in [(true, 40), (false, 3)] {
        let mut world = World::new();
        world.orders.insert("lxc/200".parse().unwrap(), 1);
        world.ups.insert("lxc/200".parse().unwrap(), 40);
        let mut watch = watch(&world, Autonomy::ActReport);
        for id in ["qemu/101", "lxc/200"] {
            crash(&mut world, id);
        }
        play(&mut watch, &mut world, 17, 90, works);
        let began = |of: &str| {
            let line = acted(&watch, of)[0];
            line.split_whitespace().next().unwrap().parse::<i64>().unwrap()
        };
        assert_eq!(began("qemu/101") - began("lxc/200"), waits, "{:#?}", watch.log);
    }
}

#[test]
fn one_node_at_a_time_and_on_it_in_its_start_order() {
    let mut world = World::new();
    world.orders.insert("lxc/200".parse().unwrap(), 1);
    world.orders.insert("qemu/101".parse().unwrap(), 2);
    let mut watch = watch(&world, Autonomy::ActReport);
    for id in ["qemu/101", "lxc/200", "qemu/102"] {
        crash(&mut world, id);
    }
    play(&mut watch, &mut world, 17, 300, true);
    watch.check(expect![[r#"
        19   inspect   pve1 qemu/101 lxc/200
        19   inspect   pve2 qemu/102
        19   opened    VM_CRASHED         qemu/101 (web01): running to stopped, and no task asked for it (a crash, or a power-off from inside)
        19   opened    CT_CRASHED         lxc/200 (dns): running to stopped, and no task asked for it (a crash, or a power-off from inside)
        19   held      VM_CRASHED         qemu/101 (web01): it may heal by itself for 0:15
        19   held      CT_CRASHED         lxc/200 (dns): it may heal by itself for 0:15
        19   opened    VM_CRASHED         qemu/102 (db01): running to stopped, and no task asked for it (a crash, or a power-off from inside)
        19   held      VM_CRASHED         qemu/102 (db01): it may heal by itself for 0:15
        34   inspect   qemu/101 closely
        34   inspect   qemu/102 closely
        34   inspect   lxc/200 closely
        34   acting    VM_CRASHED         qemu/102 (db01): start it on pve2, attempt 1 of 3 (vm-crashed-restart)
        34   held      CT_CRASHED         lxc/200 (dns): pve2 is worked on, and one node at a time
        34   held      VM_CRASHED         qemu/101 (web01): pve2 is worked on, and one node at a time
        36   acted     VM_CRASHED         qemu/102 (db01): its task ended: OK
        51   inspect   qemu/102 closely
        71   inspect   qemu/102 closely
        91   inspect   qemu/102 closely
        95   inspect   qemu/102 closely
        95   verified  VM_CRASHED         qemu/102 (db01): it has run for 1:00
        95   resolved  VM_CRASHED         qemu/102 (db01): running again, mended by Jarvis after 1:16
        95   inspect   lxc/200 closely
        95   acting    CT_CRASHED         lxc/200 (dns): start it on pve1, attempt 1 of 3 (ct-crashed-restart)
        97   acted     CT_CRASHED         lxc/200 (dns): its task ended: OK
        97   held      VM_CRASHED         qemu/101 (web01): the guest before it was just started; 0:01 more
        98   inspect   qemu/101 closely
        98   acting    VM_CRASHED         qemu/101 (web01): start it on pve1, attempt 1 of 3 (vm-crashed-restart)
        100  acted     VM_CRASHED         qemu/101 (web01): its task ended: OK
        107  inspect   lxc/200 closely
        115  inspect   qemu/101 closely
        127  inspect   lxc/200 closely
        135  inspect   qemu/101 closely
        147  inspect   lxc/200 closely
        155  inspect   qemu/101 closely
        156  inspect   lxc/200 closely
        156  verified  CT_CRASHED         lxc/200 (dns): it has run for 1:00
        156  resolved  CT_CRASHED         lxc/200 (dns): running again, mended by Jarvis after 2:17
        159  inspect   qemu/101 closely
        159  verified  VM_CRASHED         qemu/101 (web01): it has run for 1:00
        159  resolved  VM_CRASHED         qemu/101 (web01): running again, mended by Jarvis after 2:20"#]]);
}

/// What a page says beside an open incident, from the crash to the end.
#[test]
fn what_comes_next_for_an_open_incident() {
    let show = |watch: &Watch| {
        let next = watch.engine.prospects().into_iter().map(|prospect| match prospect.next {
            Next::Nothing => "nothing".into(),
            Next::Looks => "looks".into(),
            Next::Held { action, holds } => format!("held: {action}: {holds:?}"),
            Next::Recommended { action } => format!("recommended: {action}"),
            Next::Acts { attempt, of } => format!("acts: {} of {of}", attempt.number),
            Next::Verifies { attempt, of, .. } => format!("verifies: {} of {of}", attempt.number),
            Next::People => "people".into(),
        });
        next.collect::<Vec<String>>().join(", ")
    };
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    assert_eq!(show(&watch), "", "nothing is open");
    crash(&mut world, "qemu/101");
    let table = [
        ("it may heal by itself", 17, 28, true, "held: start it on pve1: [Grace("),
        ("it was started, and is looked at", 29, 40, true, "verifies: 1 of 3"),
        ("it has helped", 41, 100, true, ""),
    ];
    for (name, from, to, works, expected) in table {
        play(&mut watch, &mut world, from, to, works);
        let shown = show(&watch);
        assert!(shown.starts_with(expected) && shown.is_empty() == expected.is_empty(), "{name}: {shown}");
    }
    crash(&mut world, "lxc/200");
    for (name, from, to, expected) in [
        ("another one, which cannot be started", 101, 140, "held: start it on pve1: [Cooldown("),
        ("people were called", 141, 800, "people"),
    ] {
        play(&mut watch, &mut world, from, to, false);
        let shown = show(&watch);
        assert!(shown.starts_with(expected), "{name}: {shown}");
    }
}

/// What a look objected to stands for two minutes; then it is looked at again, and nothing is forgotten.
#[test]
fn what_a_look_objected_to_is_looked_at_again() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    world.onboot.clear();
    crash(&mut world, "qemu/101");
    play(&mut watch, &mut world, 17, 77, true);
    world.onboot.insert("qemu/101".parse().unwrap());
    play(&mut watch, &mut world, 89, 160, true);
    watch.check(expect![[r#"
        19   inspect   pve1 qemu/101
        19   opened    VM_CRASHED         qemu/101 (web01): running to stopped, and no task asked for it (a crash, or a power-off from inside)
        19   held      VM_CRASHED         qemu/101 (web01): it may heal by itself for 0:15
        34   inspect   qemu/101 closely
        34   held      VM_CRASHED         qemu/101 (web01): neither onboot nor the tag jarvis-restart says that it is to run
        154  inspect   qemu/101 closely
        154  acting    VM_CRASHED         qemu/101 (web01): start it on pve1, attempt 1 of 3 (vm-crashed-restart)
        156  acted     VM_CRASHED         qemu/101 (web01): its task ended: OK"#]]);
}

#[test]
fn a_service_that_fails_later_is_looked_at_again() {
    let mut world = World::new();
    world.services = vec![("chrony", "active")];
    let mut watch = watch(&world, Autonomy::ActReport);
    world.services = vec![("chrony", "inactive")];
    watch.step(8, Input::Observed(world.node_round(Round::Routine, "pve1", 8)));
    watch.look(&world, 8, 40);
    play(&mut watch, &mut world, 29, 77, true);
    world.services = vec![("chrony", "failed")];
    play(&mut watch, &mut world, 89, 170, false);
    watch.check(expect![[r#"
        8    heartbeat                    cluster: 2 of 2 nodes online, 3 of 3 guests running, nothing open
        18   inspect   services of pve1
        18   opened    SERVICE_DOWN       service/pve1/chrony: is enabled and inactive
        18   held      SERVICE_DOWN       service/pve1/chrony: it may heal by itself for 0:15
        33   inspect   service/pve1/chrony closely
        33   held      SERVICE_DOWN       service/pve1/chrony: it has not failed: it ended in order (inactive), as one does that somebody stops
        153  inspect   service/pve1/chrony closely
        153  acting    SERVICE_DOWN       service/pve1/chrony: restart it on pve1, attempt 1 of 3 (service-down-restart)
        155  acted     SERVICE_DOWN       service/pve1/chrony: its task failed: start failed: QEMU exited with code 1
        156  inspect   service/pve1/chrony closely
        156  missed    SERVICE_DOWN       service/pve1/chrony: it is failed: start failed: QEMU exited with code 1
        156  held      SERVICE_DOWN       service/pve1/chrony: it was tried a moment ago; 0:57 more"#]]);
}

/// An answer that comes late, because Jarvis was suspended or the node is slow, says how things were: it is looked at again.
#[test]
fn a_look_that_is_old_when_it_arrives_allows_nothing() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    crash(&mut world, "qemu/101");
    play(&mut watch, &mut world, 17, 30, true);
    watch.step(34, Input::Tick);
    let asked = watch.asked.pop().unwrap();
    let answer = world.answer(&asked, 34);
    watch.step(56, world.round(Round::Critical, 56));
    watch.step(58, Input::Inspected { inspection: asked, answer });
    assert!(watch.permits.is_empty(), "{:#?}", watch.log);
    play(&mut watch, &mut world, 59, 70, true);
    watch.check(expect![[r#"
        19   inspect   pve1 qemu/101
        19   opened    VM_CRASHED         qemu/101 (web01): running to stopped, and no task asked for it (a crash, or a power-off from inside)
        19   held      VM_CRASHED         qemu/101 (web01): it may heal by itself for 0:15
        34   inspect   qemu/101 closely
        58   inspect   qemu/101 closely
        59   acting    VM_CRASHED         qemu/101 (web01): start it on pve1, attempt 1 of 3 (vm-crashed-restart)
        61   acted     VM_CRASHED         qemu/101 (web01): its task ended: OK"#]]);
}
