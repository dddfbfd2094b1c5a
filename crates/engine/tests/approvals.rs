//! How long an approval holds: against its guardrails, the kill switch, restarts and clocks.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by its panic")]

mod world;

use engine::decide::{Autonomy, Controls, KillSwitch, Runbook};
use engine::incident::IncidentId;
use engine::policy::Policy;
use engine::record::Order;
use engine::{Command, Input, Next};
use expect_test::expect;
use jiff::SignedDuration;
use world::play::{acted, controls, crash, kept, play, restart, watch};
use world::{Watch, World};

/// What is done for a crashed machine, changed.
fn policy(change: impl Fn(&mut Runbook)) -> Policy {
    let mut policy = Policy::default();
    policy.runbooks.iter_mut().filter(|book| &*book.id == "vm-crashed-restart").for_each(change);
    policy
}

fn approve(incident: IncidentId) -> Input {
    Input::Commanded(Command::Order { incident, by: "alice".into(), order: Order::Approve })
}

/// A crash at 17 that is known at 53, and about which nothing is done: nothing says that the guest is to run.
fn held(level: Autonomy) -> (World, Watch, IncidentId) {
    let mut world = World::new();
    let mut watch = watch(&world, level);
    world.onboot.clear();
    crash(&mut world, "qemu/101");
    play(&mut watch, &mut world, 17, 53, true);
    let incident = watch.engine.open_incidents().next().unwrap().1.id;
    (world, watch, incident)
}

/// Whoever stops everything means what was approved before as well.
#[test]
fn an_approval_does_not_outlive_the_kill_switch() {
    let (mut world, mut watch, incident) = held(Autonomy::Recommend);
    // Something holds it.
    watch.step(54, approve(incident));
    let controls = |kill_switch| Controls { kill_switch, level: Autonomy::Recommend, ..Controls::default() };
    watch.set(60, controls(KillSwitch::On));
    watch.set(61, controls(KillSwitch::Off));
    world.onboot.insert("qemu/101".parse().unwrap());
    play(&mut watch, &mut world, 65, 240, true);
    watch.check(expect![[r#"
        19   inspect   pve1 qemu/101
        19   opened    VM_CRASHED         qemu/101 (web01): running to stopped, and no task asked for it (a crash, or a power-off from inside)
        19   held      VM_CRASHED         qemu/101 (web01): it may heal by itself for 0:15
        34   inspect   qemu/101 closely
        34   held      VM_CRASHED         qemu/101 (web01): neither onboot nor the tag jarvis-restart says that it is to run
        54   ordered   VM_CRASHED         qemu/101 (web01): approved by alice
        54   held      VM_CRASHED         qemu/101 (web01): neither onboot nor the tag jarvis-restart says that it is to run
        60   held      VM_CRASHED         qemu/101 (web01): the kill switch is on; neither onboot nor the tag jarvis-restart says that it is to run
        61   held      VM_CRASHED         qemu/101 (web01): neither onboot nor the tag jarvis-restart says that it is to run
        154  inspect   qemu/101 closely
        154  advised   VM_CRASHED         qemu/101 (web01): start it on pve1, if somebody approves"#]]);
}

/// Whoever approved it saw how things were then. What held it is mended more than an hour later.
#[test]
fn an_approval_holds_for_an_hour() {
    let (mut world, mut watch, incident) = held(Autonomy::Recommend);
    watch.step(54, approve(incident));
    play(&mut watch, &mut world, 65, 3_700, true);
    world.onboot.insert("qemu/101".parse().unwrap());
    play(&mut watch, &mut world, 3_701, 3_900, true);
    watch.log.retain(|line| !line.contains("inspect"));
    watch.check(expect![[r#"
        19   opened    VM_CRASHED         qemu/101 (web01): running to stopped, and no task asked for it (a crash, or a power-off from inside)
        19   held      VM_CRASHED         qemu/101 (web01): it may heal by itself for 0:15
        34   held      VM_CRASHED         qemu/101 (web01): neither onboot nor the tag jarvis-restart says that it is to run
        54   ordered   VM_CRASHED         qemu/101 (web01): approved by alice
        54   held      VM_CRASHED         qemu/101 (web01): neither onboot nor the tag jarvis-restart says that it is to run
        3654 lapsed    VM_CRASHED         qemu/101 (web01): start it on pve1: alice approved it 1:00:00 ago, and it could not be done since; it has to be approved again
        3654 held      VM_CRASHED         qemu/101 (web01): neither onboot nor the tag jarvis-restart says that it is to run
        3754 advised   VM_CRASHED         qemu/101 (web01): start it on pve1, if somebody approves"#]]);
}

/// At a level at which Jarvis acts by itself there is nothing to be approved again.
#[test]
fn an_approval_that_nobody_needed_lapses_without_a_word() {
    let (mut world, mut watch, incident) = held(Autonomy::ActReport);
    watch.step(54, approve(incident));
    play(&mut watch, &mut world, 65, 3_700, true);
    world.onboot.insert("qemu/101".parse().unwrap());
    play(&mut watch, &mut world, 3_701, 3_800, true);
    watch.log.retain(|line| line.contains("lapsed") || line.contains("acting"));
    watch.check(expect!["3754 acting    VM_CRASHED         qemu/101 (web01): start it on pve1, attempt 1 of 3 (vm-crashed-restart)"]);
}

/// After the last attempt somebody approves another one. It is held, and left to people again.
#[test]
fn an_approval_after_the_last_attempt_lapses_to_people() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    crash(&mut world, "qemu/101");
    play(&mut watch, &mut world, 17, 353, false);
    let incident = watch.engine.open_incidents().next().unwrap().1.id;
    watch.step(354, approve(incident));
    world.onboot.clear();
    play(&mut watch, &mut world, 355, 4_000, true);
    watch
        .log
        .retain(|line| line.starts_with(|digit: char| digit.is_ascii_digit()) && !line.contains("inspect"));
    let told = watch.log.iter().position(|line| line.contains("escalated")).unwrap();
    watch.log.drain(..told);
    watch.check(expect![[r#"
        157  escalated VM_CRASHED         qemu/101 (web01): 3 attempts within 1:00:00, and no more are made (vm-crashed-restart) until it is over, or somebody says so
        354  ordered   VM_CRASHED         qemu/101 (web01): approved by alice
        355  held      VM_CRASHED         qemu/101 (web01): neither onboot nor the tag jarvis-restart says that it is to run
        3954 lapsed    VM_CRASHED         qemu/101 (web01): start it on pve1: alice approved it 1:00:00 ago, and it could not be done since; it is left to people"#]]);
    assert_eq!(watch.engine.prospects()[0].next, Next::People);
}

/// Whoever approves another attempt knows that it has to wait for its turn, be that longer than an approval holds.
#[test]
fn an_approval_waits_for_the_cooldown_first() {
    let (hours, mut world) = (SignedDuration::from_hours, World::new());
    let policy = policy(|book| (book.cooldown, book.window) = (hours(2), hours(24)));
    let mut watch = Watch::allowed(policy, Autonomy::Recommend);
    watch.critical(&world, 5);
    crash(&mut world, "qemu/101");
    play(&mut watch, &mut world, 17, 53, false);
    let incident = watch.engine.open_incidents().next().unwrap().1.id;
    watch.step(54, approve(incident));
    play(&mut watch, &mut world, 55, 99, false);
    watch.step(100, approve(incident));
    // It waits for two hours, and for almost one more for a hold.
    play(&mut watch, &mut world, 101, 7_000, true);
    world.onboot.clear();
    play(&mut watch, &mut world, 7_001, 10_700, true);
    world.onboot.insert("qemu/101".parse().unwrap());
    play(&mut watch, &mut world, 10_701, 10_850, true);
    watch.log.retain(|line| line.contains("lapsed") || line.contains("acting"));
    watch.check(expect![[r#"
        55   acting    VM_CRASHED         qemu/101 (web01): start it on pve1, attempt 1 of 3 (vm-crashed-restart), approved by alice
        10735 acting    VM_CRASHED         qemu/101 (web01): start it on pve1, attempt 2 of 3 (vm-crashed-restart), approved by alice"#]]);
}

/// What was approved before everything was stopped is dropped with it, also when Jarvis is killed afterwards.
#[test]
fn an_approval_that_lapsed_does_not_come_back_with_a_restart() {
    let (mut world, mut watch, incident) = held(Autonomy::Recommend);
    let (checkpoint, told) = kept(&watch);
    watch.step(54, approve(incident));
    watch.set(60, controls(KillSwitch::On, Autonomy::Recommend));
    watch.set(61, controls(KillSwitch::Off, Autonomy::Recommend));
    world.onboot.insert("qemu/101".parse().unwrap());
    restart(&mut watch, Policy::default(), 70, &checkpoint, told);
    watch.set(70, controls(KillSwitch::Off, Autonomy::Recommend));
    play(&mut watch, &mut world, 71, 240, true);
    assert_eq!(acted(&watch, "qemu/101"), [""; 0], "{:#?}", watch.log);
}

/// Nor does one that is too old, whether Jarvis was killed before that was written down or after.
#[test]
fn an_approval_that_is_too_old_does_not_come_back_with_a_restart() {
    for killed in [3_600, 3_700] {
        let (mut world, mut watch, incident) = held(Autonomy::Recommend);
        let (checkpoint, told) = kept(&watch);
        watch.step(54, approve(incident));
        play(&mut watch, &mut world, 65, killed, true);
        world.onboot.insert("qemu/101".parse().unwrap());
        restart(&mut watch, Policy::default(), 3_701, &checkpoint, told);
        watch.set(3_701, controls(KillSwitch::Off, Autonomy::Recommend));
        play(&mut watch, &mut world, 3_702, 3_900, true);
        assert_eq!(acted(&watch, "qemu/101"), [""; 0], "killed at {killed}: {:#?}", watch.log);
        let lapsed = watch.log.iter().filter(|line| line.contains("lapsed")).count();
        assert_eq!(lapsed, 1, "killed at {killed}: {:#?}", watch.log);
    }
}

/// Nor does it hold for longer where the clock was set back meanwhile.
#[test]
fn an_approval_holds_no_longer_for_a_clock_that_was_set_back() {
    let mut world = World::new();
    let mut watch = Watch::allowed(Policy::default(), Autonomy::Recommend);
    watch.critical(&world, 86_405);
    world.onboot.clear();
    crash(&mut world, "qemu/101");
    play(&mut watch, &mut world, 86_417, 86_453, true);
    let incident = watch.engine.open_incidents().next().unwrap().1.id;
    watch.step(86_454, approve(incident));
    let (checkpoint, told) = kept(&watch);
    world.clock_set_back = 86_400;
    restart(&mut watch, Policy::default(), 60, &checkpoint, told);
    watch.set(60, controls(KillSwitch::Off, Autonomy::Recommend));
    play(&mut watch, &mut world, 61, 3_700, true);
    world.onboot.insert("qemu/101".parse().unwrap());
    play(&mut watch, &mut world, 3_701, 3_900, true);
    assert_eq!(acted(&watch, "qemu/101"), [""; 0], "{:#?}", watch.log);
    assert!(watch.log.iter().any(|line| line.contains("lapsed")), "{:#?}", watch.log);
}
