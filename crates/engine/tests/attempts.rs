//! What comes of a call: lost, not made, of no use, too late, and what was seen afterwards although the rows say another
//! thing yet. Each test is a table of what happens, and the log that comes of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by its panic")]

mod world;

use engine::act::Outcome;
use engine::decide::{Autonomy, Controls, KillSwitch};
use engine::observe::{GuestStatus, Presence, Round, Task};
use engine::policy::Policy;
use engine::{Engine, Input};
use expect_test::expect;
use world::play::{crash, play, play_calls, watch};
use world::{Watch, World, at};

/// A start that is at work, by somebody.
fn start_of(id: &str, second: i64) -> Task {
    Task {
        upid: format!("UPID:pve1:qmstart:{id}").into(),
        kind: "qmstart".into(),
        id: id.into(),
        user: "alice@pve".into(),
        started_at: at(second),
        ended_at: None,
        status: None,
    }
}

fn done() -> Outcome {
    Outcome::Done { upid: Some("UPID:pve1:qmstart".into()), said: "OK".into() }
}

/// Ten minutes after a call of which nothing came back, it is looked for what became of it; it is not made again.
#[test]
fn a_call_of_which_nothing_is_heard_is_looked_for() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    crash(&mut world, "qemu/101");
    play_calls(&mut watch, &mut world, 17, 628, &mut |world, attempt, second| {
        world.start(&attempt.action.subject().to_string(), second + 1);
        None
    });
    assert_eq!(watch.engine.next_wake(), Some(at(34 + 600)));
    watch.step(633, Input::Tick);
    assert_eq!(watch.engine.underway(), 1, "it may still come back");
    play(&mut watch, &mut world, 634, 640, true);
    watch.check(expect![[r#"
        19   inspect   pve1 qemu/101
        19   opened    VM_CRASHED         qemu/101 (web01): running to stopped, and no task asked for it (a crash, or a power-off from inside)
        19   held      VM_CRASHED         qemu/101 (web01): it may heal by itself for 0:15
        34   inspect   qemu/101 closely
        34   acting    VM_CRASHED         qemu/101 (web01): start it on pve1, attempt 1 of 3 (vm-crashed-restart)
        634  acted     VM_CRASHED         qemu/101 (web01): nobody knows whether it was done: nothing was heard of it
        635  inspect   qemu/101 closely
        635  verified  VM_CRASHED         qemu/101 (web01): it has run for 10:00
        635  resolved  VM_CRASHED         qemu/101 (web01): running again, mended by Jarvis after 10:16"#]]);
}

#[test]
fn a_lost_call_that_did_nothing_is_an_attempt_all_the_same() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    crash(&mut world, "qemu/101");
    let mut calls = 0;
    play_calls(&mut watch, &mut world, 17, 660, &mut |_, _, _| {
        calls += 1;
        None
    });
    assert_eq!(calls, 2);
    watch.check(expect![[r#"
        19   inspect   pve1 qemu/101
        19   opened    VM_CRASHED         qemu/101 (web01): running to stopped, and no task asked for it (a crash, or a power-off from inside)
        19   held      VM_CRASHED         qemu/101 (web01): it may heal by itself for 0:15
        34   inspect   qemu/101 closely
        34   acting    VM_CRASHED         qemu/101 (web01): start it on pve1, attempt 1 of 3 (vm-crashed-restart)
        634  acted     VM_CRASHED         qemu/101 (web01): nobody knows whether it was done: nothing was heard of it
        635  inspect   qemu/101 closely
        635  missed    VM_CRASHED         qemu/101 (web01): it is stopped 0:01 after the call
        635  inspect   qemu/101 closely
        635  acting    VM_CRASHED         qemu/101 (web01): start it on pve1, attempt 2 of 3 (vm-crashed-restart)"#]]);
}

/// A call that was not made is no attempt: it is made ten seconds later, for the first time.
#[test]
fn a_call_that_was_not_made_is_made_later_and_does_not_count() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    crash(&mut world, "qemu/101");
    let mut calls = 0;
    play_calls(&mut watch, &mut world, 17, 60, &mut |world, attempt, second| {
        calls += 1;
        if calls < 3 {
            return Some(Outcome::NotMade { why: "the store could not write".into() });
        }
        world.start(&attempt.action.subject().to_string(), second + 1);
        Some(done())
    });
    watch.check(expect![[r#"
        19   inspect   pve1 qemu/101
        19   opened    VM_CRASHED         qemu/101 (web01): running to stopped, and no task asked for it (a crash, or a power-off from inside)
        19   held      VM_CRASHED         qemu/101 (web01): it may heal by itself for 0:15
        34   inspect   qemu/101 closely
        34   acting    VM_CRASHED         qemu/101 (web01): start it on pve1, attempt 1 of 3 (vm-crashed-restart)
        36   acted     VM_CRASHED         qemu/101 (web01): not done: the store could not write
        36   held      VM_CRASHED         qemu/101 (web01): it was tried a moment ago; 0:10 more; the guest before it was just started; 0:01 more
        46   inspect   qemu/101 closely
        46   acting    VM_CRASHED         qemu/101 (web01): start it on pve1, attempt 1 of 3 (vm-crashed-restart)
        48   acted     VM_CRASHED         qemu/101 (web01): not done: the store could not write
        48   held      VM_CRASHED         qemu/101 (web01): it was tried a moment ago; 0:10 more; the guest before it was just started; 0:01 more
        58   inspect   qemu/101 closely
        58   acting    VM_CRASHED         qemu/101 (web01): start it on pve1, attempt 1 of 3 (vm-crashed-restart)
        60   acted     VM_CRASHED         qemu/101 (web01): its task ended: OK"#]]);
}

/// The task of the start is followed for a while and goes on: what is not up yet is waited for as long as it is at it. Another
/// guest's task says nothing.
#[test]
fn a_start_that_is_still_at_work_is_waited_for() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    crash(&mut world, "qemu/101");
    let runs = || Some(Outcome::Runs { upid: "UPID:pve1:qmstart:101".into() });
    play_calls(&mut watch, &mut world, 17, 80, &mut |world, _, second| {
        world.tasks.push(Task { user: "root@pam!jarvis".into(), ..start_of("101", second) });
        runs()
    });
    // It came to nothing, while another guest is started.
    world.tasks = vec![
        Task { ended_at: Some(at(85)), status: Some("start failed".into()), ..start_of("101", 34) },
        start_of("102", 84),
    ];
    play_calls(&mut watch, &mut world, 89, 100, &mut |_, _, _| runs());
    watch.check(expect![[r#"
        19   inspect   pve1 qemu/101
        19   opened    VM_CRASHED         qemu/101 (web01): running to stopped, and no task asked for it (a crash, or a power-off from inside)
        19   held      VM_CRASHED         qemu/101 (web01): it may heal by itself for 0:15
        34   inspect   qemu/101 closely
        34   acting    VM_CRASHED         qemu/101 (web01): start it on pve1, attempt 1 of 3 (vm-crashed-restart)
        36   acted     VM_CRASHED         qemu/101 (web01): its task is still running
        51   inspect   qemu/101 closely
        71   inspect   qemu/101 closely
        91   inspect   qemu/101 closely
        91   missed    VM_CRASHED         qemu/101 (web01): it is stopped 0:55 after the call
        91   held      VM_CRASHED         qemu/101 (web01): it was tried a moment ago; 0:03 more
        94   inspect   qemu/101 closely
        94   acting    VM_CRASHED         qemu/101 (web01): start it on pve1, attempt 2 of 3 (vm-crashed-restart)
        96   acted     VM_CRASHED         qemu/101 (web01): its task is still running"#]]);
}

/// It starts, dies, and is started again by its own means, until nobody waits any longer: it runs, so the incident is over, but
/// the attempt has not helped.
#[test]
fn a_guest_that_never_lasts_and_runs_all_the_same_was_not_mended() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    crash(&mut world, "qemu/101");
    play(&mut watch, &mut world, 17, 60, true);
    for second in (65..240).step_by(12) {
        world.start("qemu/101", second - 2);
        play(&mut watch, &mut world, second, second + 12, true);
    }
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
        111  inspect   qemu/101 closely
        131  inspect   qemu/101 closely
        151  inspect   qemu/101 closely
        171  inspect   qemu/101 closely
        191  inspect   qemu/101 closely
        211  inspect   qemu/101 closely
        231  inspect   qemu/101 closely
        231  missed    VM_CRASHED         qemu/101 (web01): it has not kept running within 3:00
        231  resolved  VM_CRASHED         qemu/101 (web01): running again after 3:32"#]]);
}

#[test]
fn a_service_that_stays_active_is_mended() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    world.services = vec![("chrony", "failed")];
    watch.step(8, Input::Observed(world.node_round(Round::Routine, "pve1", 8)));
    watch.look(&world, 8, 40);
    play_calls(&mut watch, &mut world, 29, 77, &mut |world, _, _| {
        world.services = vec![("chrony", "active")];
        Some(done())
    });
    watch.check(expect![[r#"
        8    heartbeat                    cluster: 2 of 2 nodes online, 3 of 3 guests running, nothing open
        18   inspect   services of pve1
        18   opened    SERVICE_DOWN       service/pve1/chrony: is enabled and failed
        18   held      SERVICE_DOWN       service/pve1/chrony: it may heal by itself for 0:15
        33   inspect   service/pve1/chrony closely
        33   acting    SERVICE_DOWN       service/pve1/chrony: restart it on pve1, attempt 1 of 3 (service-down-restart)
        35   acted     SERVICE_DOWN       service/pve1/chrony: its task ended: OK
        40   inspect   service/pve1/chrony closely
        50   inspect   service/pve1/chrony closely
        50   verified  SERVICE_DOWN       service/pve1/chrony: it has been active for 0:10
        50   resolved  SERVICE_DOWN       service/pve1/chrony: active again, mended by Jarvis after 0:32"#]]);
}

/// Its node says that it is dead again; the rows of the next seconds still show how it ran before. They end nothing.
#[test]
fn a_guest_that_died_again_is_not_over_by_an_old_row() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    crash(&mut world, "qemu/101");
    play(&mut watch, &mut world, 17, 50, true);
    // It died a moment ago, and no statistics say so yet.
    world.dead.insert("qemu/101".parse().unwrap());
    world.stalled = Some(47);
    play(&mut watch, &mut world, 51, 62, true);
    assert_eq!(watch.engine.summary().guests_running, 2);
    play(&mut watch, &mut world, 63, 75, true);
    watch.check(expect![[r#"
        19   inspect   pve1 qemu/101
        19   opened    VM_CRASHED         qemu/101 (web01): running to stopped, and no task asked for it (a crash, or a power-off from inside)
        19   held      VM_CRASHED         qemu/101 (web01): it may heal by itself for 0:15
        34   inspect   qemu/101 closely
        34   acting    VM_CRASHED         qemu/101 (web01): start it on pve1, attempt 1 of 3 (vm-crashed-restart)
        36   acted     VM_CRASHED         qemu/101 (web01): its task ended: OK
        51   inspect   qemu/101 closely
        51   missed    VM_CRASHED         qemu/101 (web01): it is stopped 0:15 after the call
        51   held      VM_CRASHED         qemu/101 (web01): it was tried a moment ago; 0:43 more"#]]);
}

/// It was seen to run by its node's own word, and its rows say "stopped" for as long as the statistics stand still.
#[test]
fn a_guest_that_was_mended_runs_whatever_its_row_says_yet() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    crash(&mut world, "qemu/101");
    play_calls(&mut watch, &mut world, 17, 36, &mut |_, _, _| Some(done()));
    let old = world.clone();
    world.start("qemu/101", 35);
    let user = "root@pam!jarvis".into();
    let over = Task { user, ended_at: Some(at(36)), status: Some("OK".into()), ..start_of("101", 34) };
    world.tasks.push(over);
    for second in 37..=100 {
        if second % 12 == 5 {
            watch.step(second, old.round(Round::Critical, second));
        }
        watch.look(&world, second, 0);
    }
    assert_eq!(watch.engine.summary().guests_running, 3);
    // The rows come round, and have nothing to tell.
    play(&mut watch, &mut world, 101, 140, true);
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

/// A node that two others do not see is woken when it does not come back by itself, and is mended when it is a member.
#[test]
fn a_lost_node_is_woken() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    world.node("pve2").presence = Presence::Offline;
    let wake = |watch: &mut Watch, world: &mut World, from, to| {
        play_calls(watch, world, from, to, &mut |_, _, _| {
            Some(Outcome::Done { upid: None, said: "the packet was sent".into() })
        });
    };
    wake(&mut watch, &mut world, 17, 500);
    world.node("pve2").presence = Presence::Online;
    wake(&mut watch, &mut world, 509, 520);
    watch.check(expect![[r#"
        17   inspect   node pve2
        17   opened    NODE_UNREACHABLE   node/pve2: left the cluster with 1 running guest
        17   held      NODE_UNREACHABLE   node/pve2: it may heal by itself for 1:00
        77   acting    NODE_UNREACHABLE   node/pve2: wake it, attempt 1 of 3 (node-unreachable-wol)
        79   acted     NODE_UNREACHABLE   node/pve2: the packet was sent
        379  missed    NODE_UNREACHABLE   node/pve2: it has not come back within 5:00
        379  acting    NODE_UNREACHABLE   node/pve2: wake it, attempt 2 of 3 (node-unreachable-wol)
        381  acted     NODE_UNREACHABLE   node/pve2: the packet was sent
        509  verified  NODE_UNREACHABLE   node/pve2: it is a member again, 2:08 after the call
        509  resolved  NODE_UNREACHABLE   node/pve2: online again, mended by Jarvis after 8:12"#]]);
}

/// It was a member again when a round began, and the packet was sent before that round was answered.
#[test]
fn a_node_that_was_back_before_the_call_was_not_woken_by_it() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    world.node("pve2").presence = Presence::Offline;
    play_calls(&mut watch, &mut world, 17, 78, &mut |_, _, _| {
        Some(Outcome::Done { upid: None, said: "the packet was sent".into() })
    });
    let called = watch.log.iter().position(|line| line.starts_with("79   acted")).unwrap();
    world.node("pve2").presence = Presence::Online;
    watch.step(80, world.round(Round::Critical, 78));
    assert!(watch.log[called..].iter().all(|line| !line.contains("verified")), "{:#?}", watch.log);
    assert!(watch.log.last().unwrap().ends_with("node/pve2: online again after 1:03"), "{:#?}", watch.log);
}

/// What one node alone does not see may be that node's own trouble.
#[test]
fn a_node_that_one_other_does_not_see_is_not_woken() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    world.node("pve2").presence = Presence::Offline;
    world.views = vec![("pve8", true, Some(false))];
    play(&mut watch, &mut world, 17, 200, true);
    assert!(watch.engine.open_incidents().count() > 0 && watch.permits.is_empty());
    watch.check(expect![[r#"
        17   inspect   node pve2
        17   opened    NODE_UNREACHABLE   node/pve2: left the cluster with 1 running guest (seen from one node)
        17   held      NODE_UNREACHABLE   node/pve2: seen to be gone from one node only, and two are needed: if it is off, wake it yourself; it may heal by itself for 1:00
        89   inspect   node pve2
        161  inspect   node pve2"#]]);
}

/// While nobody can see whether it is a member, its time is not up.
#[test]
fn a_node_is_not_given_up_while_the_cluster_cannot_be_seen() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    world.node("pve2").presence = Presence::Offline;
    let call = || Some(Outcome::Done { upid: None, said: "the packet was sent".into() });
    play_calls(&mut watch, &mut world, 17, 300, &mut |_, _, _| call());
    world.blind = Some(engine::observe::Cause::Unreachable);
    play_calls(&mut watch, &mut world, 305, 420, &mut |_, _, _| call());
    assert_eq!(watch.engine.underway(), 1);
    world.blind = None;
    play_calls(&mut watch, &mut world, 425, 426, &mut |_, _, _| call());
    watch.check(expect![[r#"
        17   inspect   node pve2
        17   opened    NODE_UNREACHABLE   node/pve2: left the cluster with 1 running guest
        17   held      NODE_UNREACHABLE   node/pve2: it may heal by itself for 1:00
        77   acting    NODE_UNREACHABLE   node/pve2: wake it, attempt 1 of 3 (node-unreachable-wol)
        79   acted     NODE_UNREACHABLE   node/pve2: the packet was sent
        317  opened    MONITOR_BLIND      cluster: no endpoint answers: for the test
        425  resolved  MONITOR_BLIND      cluster: seen again after 1:48
        425  missed    NODE_UNREACHABLE   node/pve2: it has not come back within 5:00
        425  acting    NODE_UNREACHABLE   node/pve2: wake it, attempt 2 of 3 (node-unreachable-wol)
        427  acted     NODE_UNREACHABLE   node/pve2: the packet was sent"#]]);
}

/// A virtual machine that goes on again for half a minute is mended; it has been up all along.
#[test]
fn a_machine_that_stood_still_goes_on() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    world.guest("qemu/101").status = GuestStatus::Other("io-error".into());
    play_calls(&mut watch, &mut world, 17, 90, &mut |world, _, _| {
        world.guest("qemu/101").status = GuestStatus::Running;
        Some(Outcome::Done { upid: Some("UPID:pve1:qmresume".into()), said: "OK".into() })
    });
    watch.check(expect![[r#"
        17   opened    VM_FAULT           qemu/101 (web01): stands still after a disk error (io-error): free or mend its storage, then resume it
        17   held      VM_FAULT           qemu/101 (web01): it may heal by itself for 0:15
        32   inspect   qemu/101 closely
        32   acting    VM_FAULT           qemu/101 (web01): resume it on pve1, attempt 1 of 3 (vm-fault-resume)
        34   acted     VM_FAULT           qemu/101 (web01): its task ended: OK
        39   inspect   qemu/101 closely
        59   inspect   qemu/101 closely
        69   inspect   qemu/101 closely
        69   verified  VM_FAULT           qemu/101 (web01): it has run for 0:30
        69   resolved  VM_FAULT           qemu/101 (web01): works again, mended by Jarvis after 0:52"#]]);
}

/// Whoever is killed right after a start still knows when that was: the next guest of the node waits its three seconds.
#[test]
fn the_stagger_outlives_a_restart() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    crash(&mut world, "qemu/101");
    crash(&mut world, "lxc/200");
    watch.step(17, world.round(Round::Critical, 17));
    for second in 17..=34 {
        for _ in 0..5 {
            watch.look(&world, second, 0);
        }
    }
    assert_eq!(watch.permits.drain(..).count(), 1, "{:#?}", watch.log);
    let kept = watch.engine.checkpoint().clone();
    watch.engine = Engine::restore("lab".parse().unwrap(), Policy::default(), 9, at(35), Some(kept), []);
    watch.set(
        35,
        Controls { level: Autonomy::ActReport, kill_switch: KillSwitch::Off, ..Controls::default() },
    );
    watch.step(35, world.round(Round::Critical, 35));
    let mut began = Vec::new();
    for second in 35..=40 {
        for _ in 0..5 {
            watch.look(&world, second, 0);
        }
        began.extend(watch.permits.drain(..).map(|_| second));
    }
    assert_eq!(began, [37], "{:#?}", watch.log);
}
