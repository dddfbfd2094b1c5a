//! Orders of events in which Jarvis would have done harm, or would have done or said nothing for ever: what was looked at elsewhere
//! or too early, what was known and forgotten, what is waited for and never comes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by its panic")]

mod world;

use engine::act::Outcome;
use engine::decide::{Autonomy, Controls, KillSwitch, Maintenance, Only, Remedy, Runbook, built_in, usual};
use engine::detect::Condition;
use engine::incident::IncidentId;
use engine::observe::{Cause, Evidence, GuestStatus, Inspection, Presence, Review, Round, Seen, Task};
use engine::policy::Policy;
use engine::record::Order;
use engine::{Command, Input};
use world::play::{acted, controls, crash, kept, off, play, play_calls, restart, watch};
use world::{UPTIME, Watch, World, at, stop_of_101};

fn asks_pve1(inspection: &Inspection) -> bool {
    matches!(inspection, Inspection::Guests(look) if look.node.as_str() == "pve1")
}

fn done() -> Outcome {
    Outcome::Done { upid: Some("UPID:pve1:qmstart".into()), said: "OK".into() }
}

/// It was looked at where it was, had to wait for another node's turn, and was moved meanwhile: what its new node knows of it
/// is asked first.
#[test]
fn a_look_at_a_node_allows_nothing_on_another_one() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    for id in ["qemu/101", "qemu/102"] {
        crash(&mut world, id);
    }
    play_calls(&mut watch, &mut world, 17, 40, &mut |_, _, _| None);
    assert_eq!(acted(&watch, "qemu/101").len(), 1, "{:#?}", watch.log);
    world.guest("qemu/102").node = "pve1".parse().unwrap();
    // Somebody starts it there.
    let start = Task {
        upid: "UPID:pve1:qmstart:102".into(),
        kind: "qmstart".into(),
        id: "102".into(),
        ended_at: None,
        status: None,
        ..stop_of_101(40)
    };
    world.tasks.push(start);
    play_calls(&mut watch, &mut world, 41, 60, &mut |_, _, _| None);
    assert_eq!(acted(&watch, "qemu/102"), [""; 0], "{:#?}", watch.log);
}

/// Its node could not be asked at first. Before the crash is told, somebody stops it, so that it stays down.
#[test]
fn a_stop_after_a_crash_and_before_it_is_told_counts() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    crash(&mut world, "qemu/101");
    watch.step(17, world.round(Round::Critical, 17));
    // The question is lost: it is asked once more after a minute and a half.
    watch.step(19, Input::Tick);
    watch.asked.clear();
    world.tasks.push(stop_of_101(40));
    play(&mut watch, &mut world, 29, 200, true);
    assert!(watch.log.iter().any(|line| line.contains("opened")), "{:#?}", watch.log);
    assert_eq!(acted(&watch, "qemu/101"), [""; 0], "{:#?}", watch.log);
}

/// The same, where Jarvis was away in between.
#[test]
fn a_stop_while_jarvis_was_away_counts() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    crash(&mut world, "qemu/101");
    watch.step(17, world.round(Round::Critical, 17));
    let (checkpoint, told) = kept(&watch);
    world.tasks.push(stop_of_101(200));
    restart(&mut watch, Policy::default(), 300, &checkpoint, told);
    watch.set(300, off());
    play(&mut watch, &mut world, 301, 500, true);
    assert_eq!(acted(&watch, "qemu/101"), [""; 0], "{:#?}", watch.log);
}

/// It was told as mended, and nothing else is known of the time since the checkpoint.
#[test]
fn a_crash_while_jarvis_was_away_after_it_was_mended_is_told() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    crash(&mut world, "qemu/101");
    play(&mut watch, &mut world, 17, 30, true);
    let (checkpoint, told) = kept(&watch);
    play(&mut watch, &mut world, 31, 110, true);
    assert!(watch.log.last().unwrap().contains("mended by Jarvis"), "{:#?}", watch.log);
    crash(&mut world, "qemu/101");
    restart(&mut watch, Policy::default(), 150, &checkpoint, told);
    watch.set(150, off());
    play(&mut watch, &mut world, 151, 260, true);
    let opened = watch.log.iter().filter(|line| line.contains("opened")).count();
    assert_eq!(opened, 2, "{:#?}", watch.log);
}

/// The same of a node.
#[test]
fn a_node_that_is_lost_again_while_jarvis_was_away_is_told() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    let wake = |watch: &mut Watch, world: &mut World, from, to| {
        play_calls(watch, world, from, to, &mut |_, _, _| {
            Some(Outcome::Done { upid: None, said: "sent".into() })
        });
    };
    world.node("pve2").presence = Presence::Offline;
    wake(&mut watch, &mut world, 17, 90);
    let (checkpoint, told) = kept(&watch);
    world.node("pve2").presence = Presence::Online;
    wake(&mut watch, &mut world, 101, 120);
    assert!(watch.log.iter().any(|line| line.contains("mended by Jarvis")), "{:#?}", watch.log);
    world.node("pve2").presence = Presence::Offline;
    restart(&mut watch, Policy::default(), 150, &checkpoint, told);
    watch.set(150, off());
    wake(&mut watch, &mut world, 151, 200);
    let opened = watch.log.iter().filter(|line| line.contains("opened")).count();
    assert_eq!(opened, 2, "{:#?}", watch.log);
}

/// The node dies right after a start on it: nobody can ever look whether that helped, and the others are not made to wait for it.
#[test]
fn an_attempt_that_nobody_can_look_at_does_not_hold_the_cluster_for_ever() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    crash(&mut world, "qemu/101");
    play(&mut watch, &mut world, 17, 40, true);
    assert_eq!(acted(&watch, "qemu/101").len(), 1, "{:#?}", watch.log);
    world.node("pve1").presence = Presence::Offline;
    world.views = vec![("pve8", true, Some(false))];
    world.unreviewed = Some("pve1 does not answer");
    play(&mut watch, &mut world, 41, 100, true);
    crash(&mut world, "qemu/102");
    let mut round = 101;
    while round < 1_000 {
        // pve2 answers, pve1 does not.
        watch.step(round, world.round(Round::Critical, round));
        for second in round..round + 12 {
            let wake = watch.engine.next_wake().is_some_and(|wake| wake <= at(second));
            if wake {
                watch.step(second, Input::Tick);
            }
            for inspection in std::mem::take(&mut watch.asked) {
                world.unreviewed = match &inspection {
                    Inspection::Review(look) if look.node.as_str() == "pve2" => None,
                    Inspection::Guests(_)
                    | Inspection::Node(_)
                    | Inspection::Services(_)
                    | Inspection::Review(_) => Some("pve1 does not answer"),
                };
                let answer = world.answer(&inspection, second);
                watch.step(second, Input::Inspected { inspection, answer });
            }
        }
        round += 12;
    }
    assert_eq!(acted(&watch, "qemu/102").len(), 1, "{:#?}", watch.log);
}

/// While nothing is seen at all, nothing is given up: the first look afterwards says that it helped.
#[test]
fn an_attempt_is_not_given_up_while_the_cluster_cannot_be_seen() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    crash(&mut world, "qemu/101");
    play(&mut watch, &mut world, 17, 40, true);
    (world.blind, world.unreviewed) = (Some(Cause::Unreachable), Some("nothing answers"));
    play(&mut watch, &mut world, 41, 1_500, true);
    (world.blind, world.unreviewed) = (None, None);
    play(&mut watch, &mut world, 1_501, 1_540, true);
    assert!(watch.log.last().unwrap().contains("mended by Jarvis"), "{:#?}", watch.log);
}

/// The clock was set back by an hour while Jarvis was away: what was told since the checkpoint lies ahead.
#[test]
fn a_clock_set_back_makes_nothing_that_was_told_wait_for_it() {
    let mut world = World::new();
    let mut watch = Watch::allowed(Policy::default(), Autonomy::ActReport);
    watch.critical(&world, 3_605);
    let (checkpoint, told) = kept(&watch);
    crash(&mut world, "qemu/101");
    play(&mut watch, &mut world, 3_617, 3_625, true);
    assert!(watch.log.iter().any(|line| line.contains("opened")), "{:#?}", watch.log);
    world.clock_set_back = 3_600;
    restart(&mut watch, Policy::default(), 30, &checkpoint, told);
    watch.set(30, off());
    play(&mut watch, &mut world, 31, 120, true);
    assert_eq!(acted(&watch, "qemu/101").len(), 1, "{:#?}", watch.log);
}

/// The same in the middle of an attempt.
#[test]
fn a_clock_set_back_makes_no_attempt_wait_for_it() {
    let mut world = World::new();
    let mut watch = Watch::allowed(Policy::default(), Autonomy::ActReport);
    watch.critical(&world, 3_605);
    let (checkpoint, told) = kept(&watch);
    crash(&mut world, "qemu/101");
    play(&mut watch, &mut world, 3_617, 3_640, true);
    assert!(watch.log.iter().any(|line| line.contains("acted")), "{:#?}", watch.log);
    world.clock_set_back = 3_600;
    world.started.insert("qemu/101".parse().unwrap(), 35);
    restart(&mut watch, Policy::default(), 40, &checkpoint, told);
    watch.set(40, off());
    play(&mut watch, &mut world, 41, 400, true);
    assert_eq!(watch.engine.underway(), 0, "{:#?}", watch.log);
}

/// The same of the last start on a node: the next one on it waits three seconds, and no hour.
#[test]
fn a_clock_set_back_makes_no_start_wait_for_it() {
    let mut world = World::new();
    let mut watch = Watch::allowed(Policy::default(), Autonomy::ActReport);
    watch.critical(&world, 3_605);
    crash(&mut world, "qemu/101");
    play(&mut watch, &mut world, 3_617, 3_710, true);
    assert!(watch.log.last().unwrap().contains("mended by Jarvis"), "{:#?}", watch.log);
    let (checkpoint, told) = kept(&watch);
    crash(&mut world, "lxc/200");
    world.clock_set_back = 3_600;
    world.started.insert("qemu/101".parse().unwrap(), 3_635);
    restart(&mut watch, Policy::default(), 120, &checkpoint, told);
    watch.set(120, off());
    play(&mut watch, &mut world, 121, 200, true);
    assert_eq!(acted(&watch, "lxc/200").len(), 1, "{:#?}", watch.log);
}

/// The same of a boot: what waits for it to settle is looked at at once, and what is found then says how long it still waits.
#[test]
fn a_clock_set_back_makes_no_boot_wait_for_it() {
    let mut world = World::new();
    let mut watch = Watch::allowed(Policy::default(), Autonomy::ActReport);
    watch.critical(&world, 3_605);
    world.reset(3_617);
    world.start("lxc/200", 3_625);
    play(&mut watch, &mut world, 3_629, 3_660, true);
    let (checkpoint, told) = kept(&watch);
    world.clock_set_back = 3_600;
    world.reset(17);
    world.start("lxc/200", 25);
    restart(&mut watch, Policy::default(), 70, &checkpoint, told);
    watch.set(70, off());
    play(&mut watch, &mut world, 71, 420, true);
    assert_eq!(acted(&watch, "qemu/101").len(), 1, "{:#?}", watch.log);
}

/// Two attempts that lie ahead are two, although a third one was not made.
#[test]
fn a_clock_set_back_gives_no_attempts_back() {
    let mut world = World::new();
    let mut watch = Watch::allowed(Policy::default(), Autonomy::ActReport);
    watch.critical(&world, 3_605);
    let (checkpoint, told) = kept(&watch);
    crash(&mut world, "qemu/101");
    let mut calls = 0;
    play_calls(&mut watch, &mut world, 3_617, 3_762, &mut |_, _, _| {
        calls += 1;
        let why = "start failed".into();
        Some(if calls == 3 { Outcome::NotMade { why } } else { Outcome::Failed { upid: None, why } })
    });
    assert_eq!(calls, 3, "{:#?}", watch.log);
    world.clock_set_back = 3_600;
    restart(&mut watch, Policy::default(), 190, &checkpoint, told);
    watch.set(190, off());
    play(&mut watch, &mut world, 191, 700, false);
    let restarted =
        watch.log.iter().position(|line| line.contains("restart") && line.starts_with("190")).unwrap();
    let since = &watch.log[restarted..];
    assert!(since.iter().any(|line| line.contains("escalated")), "{:#?}", watch.log);
    assert_eq!(since.iter().filter(|line| line.contains("acting")).count(), 1, "{:#?}", watch.log);
}

/// Whoever disables a service that has failed does not want it to run, and no round has seen that yet.
#[test]
fn a_service_that_was_disabled_is_not_restarted() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    world.services = vec![("chrony", "failed")];
    watch.step(8, Input::Observed(world.node_round(Round::Routine, "pve1", 8)));
    watch.look(&world, 8, 20);
    watch.step(29, world.round(Round::Critical, 29));
    watch.step(33, Input::Tick);
    for inspection in std::mem::take(&mut watch.asked) {
        let mut answer = world.answer(&inspection, 33);
        if let Evidence::Review(Review::Service(found)) = &mut answer
            && let Seen::At { value, .. } = &mut found.services
        {
            value[0].enabled = false;
        }
        watch.step(33, Input::Inspected { inspection, answer });
    }
    assert_eq!(acted(&watch, "chrony"), [""; 0], "{:#?}", watch.log);
    assert_eq!(watch.permits.len(), 0);
}

/// A tag that was given a moment ago stands in the configuration, and in no row yet.
#[test]
fn a_tag_of_a_moment_ago_counts() {
    let protect = Policy { protect_tags: vec!["prod".into()], ..Policy::default() };
    let work = Maintenance { subject: "tag:prod".parse().unwrap(), from: at(0), until: at(900) };
    let only = vec![Only::Tag("prod".into())];
    let hands_off = Runbook { only, ..usual("hands-off", Condition::VmCrashed, Remedy::Nothing) };
    let runbooks = [hands_off].into_iter().chain(built_in()).collect();
    for (row, policy, maintenance) in [
        ("it protects", protect, Vec::new()),
        ("work is announced on it", Policy::default(), vec![work]),
        ("a runbook does nothing", Policy { runbooks, ..Policy::default() }, Vec::new()),
    ] {
        let mut world = World::new();
        let mut watch = Watch::allowed(policy, Autonomy::ActReport);
        watch.critical(&world, 5);
        watch.set(6, Controls { maintenance, ..off() });
        crash(&mut world, "qemu/101");
        play(&mut watch, &mut world, 17, 30, true);
        watch.step(34, Input::Tick);
        world.guest("qemu/101").tags = vec!["prod".into()];
        for inspection in std::mem::take(&mut watch.asked) {
            let answer = world.answer(&inspection, 34);
            watch.step(34, Input::Inspected { inspection, answer });
        }
        play(&mut watch, &mut world, 41, 100, true);
        assert_eq!(acted(&watch, "qemu/101"), [""; 0], "{row}: {:#?}", watch.log);
    }
}

/// What the configuration ignores from now on is not acted on, whatever was open about it.
#[test]
fn what_is_ignored_from_now_on_is_left_alone() {
    for ignored in ["node/pve2", "service/pve1/chrony", "qemu/101"] {
        let mut world = World::new();
        let mut watch = watch(&world, Autonomy::Observe);
        crash(&mut world, "qemu/101");
        world.services = vec![("chrony", "failed")];
        watch.step(8, Input::Observed(world.node_round(Round::Routine, "pve1", 8)));
        watch.look(&world, 8, 20);
        world.node("pve2").presence = Presence::Offline;
        play(&mut watch, &mut world, 29, 60, true);
        assert_eq!(watch.engine.open_incidents().count(), 3, "{:#?}", watch.log);
        let (checkpoint, told) = kept(&watch);
        let policy = Policy { ignore: vec![ignored.parse().unwrap()], ..Policy::default() };
        restart(&mut watch, policy, 65, &checkpoint, told);
        watch.set(65, off());
        play_calls(&mut watch, &mut world, 66, 700, &mut |_, _, _| Some(done()));
        assert_eq!(acted(&watch, ignored), [""; 0], "{ignored}: {:#?}", watch.log);
        let open: Vec<String> =
            watch.engine.open_incidents().map(|(slot, _)| slot.subject.to_string()).collect();
        assert!(!open.contains(&ignored.to_owned()), "{open:?}");
    }
}

/// One endpoint did not answer when the node was lost; a minute later it does, and sees the same.
#[test]
fn a_second_view_that_comes_later_counts() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    world.node("pve2").presence = Presence::Offline;
    world.views = vec![("pve8", true, Some(false))];
    play_calls(&mut watch, &mut world, 17, 100, &mut |_, _, _| None);
    world.views.push(("pve9", true, Some(false)));
    play_calls(&mut watch, &mut world, 101, 400, &mut |_, _, _| None);
    assert_eq!(acted(&watch, "pve2").len(), 1, "{:#?}", watch.log);
}

/// Its tasks could not be read when it left, so it was told as lost; they say that somebody shut it down.
#[test]
fn a_node_of_which_nobody_knows_why_it_left_is_not_woken() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    world.node("pve2").presence = Presence::Offline;
    world.tasks.push(Task {
        kind: "stopall".into(),
        id: "".into(),
        user: "root@pam".into(),
        ..stop_of_101(10)
    });
    let mut round = 17;
    while round < 400 {
        watch.step(round, world.round(Round::Critical, round));
        for second in round..round + 12 {
            if watch.engine.next_wake().is_some_and(|wake| wake <= at(second)) {
                watch.step(second, Input::Tick);
            }
            for inspection in std::mem::take(&mut watch.asked) {
                let mut answer = world.answer(&inspection, second);
                if let Evidence::Node(found) = &mut answer
                    && second < 200
                {
                    found.tasks = Seen::NotAsked;
                }
                watch.step(second, Input::Inspected { inspection, answer });
            }
        }
        round += 12;
    }
    assert_eq!(acted(&watch, "pve2"), [""; 0], "{:#?}", watch.log);
    assert!(watch.log.last().unwrap().contains("left on purpose"), "{:#?}", watch.log);
    assert_eq!(watch.engine.open_incidents().count(), 0, "{:#?}", watch.log);
}

/// Without its statistics service a node's row says "unknown": the node is a member that can be asked, and that service is just
/// what is to be restarted.
#[test]
fn a_node_without_statistics_can_have_its_service_restarted() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    world.services = vec![("pvestatd", "failed")];
    world.node("pve1").presence = Presence::Unknown;
    world.node("pve1").uptime = None;
    for id in ["qemu/101", "lxc/200"] {
        world.guest(id).status = GuestStatus::Unknown;
    }
    play_calls(&mut watch, &mut world, 17, 320, &mut |_, _, _| None);
    watch.step(321, Input::Observed(world.node_round(Round::Routine, "pve1", 321)));
    watch.look(&world, 321, 20);
    play_calls(&mut watch, &mut world, 335, 400, &mut |_, _, _| None);
    assert_eq!(acted(&watch, "pvestatd").len(), 1, "{:#?}", watch.log);
}

/// The same of one that came back a moment ago: when it booted, nothing says.
#[test]
fn a_node_that_came_back_without_statistics_boots() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    world.services = vec![("pvestatd", "failed")];
    world.node("pve1").presence = Presence::Offline;
    play_calls(&mut watch, &mut world, 400, 410, &mut |_, _, _| None);
    world.node("pve1").presence = Presence::Unknown;
    world.node("pve1").uptime = None;
    play_calls(&mut watch, &mut world, 412, 422, &mut |_, _, _| None);
    watch.step(423, Input::Observed(world.node_round(Round::Routine, "pve1", 423)));
    watch.look(&world, 423, 20);
    play_calls(&mut watch, &mut world, 436, 710, &mut |_, _, _| None);
    assert_eq!(acted(&watch, "pvestatd"), [""; 0], "{:#?}", watch.log);
    play_calls(&mut watch, &mut world, 712, 720, &mut |_, _, _| None);
    assert_eq!(acted(&watch, "pvestatd").len(), 1, "{:#?}", watch.log);
}

/// The node that it left is asked who moved it, and knows who stopped it: right before, or while nobody looked at it as something
/// else held it.
#[test]
fn who_stopped_a_guest_is_known_of_the_node_that_it_left() {
    let kill = controls(KillSwitch::On, Autonomy::ActReport);
    for (row, held, stopped) in
        [("within one round of its move", off(), 31), ("in a time of work", kill.clone(), 25)]
    {
        let mut world = World::new();
        let mut watch = watch(&world, Autonomy::ActReport);
        watch.set(6, held);
        crash(&mut world, "qemu/101");
        play(&mut watch, &mut world, 17, 28, true);
        world.tasks.push(stop_of_101(stopped));
        if stopped < 29 {
            play(&mut watch, &mut world, 29, 3_900, true);
        }
        let now = if stopped < 29 { 3_905 } else { 33 };
        world.guest("qemu/101").node = "pve2".parse().unwrap();
        let knows = world.clone();
        // Its new node has no such task.
        world.tasks.clear();
        watch.step(now, world.round(Round::Critical, now));
        watch.set(now, off());
        for second in now..now + 4 {
            if watch.engine.next_wake().is_some_and(|wake| wake <= at(second)) {
                watch.step(second, Input::Tick);
            }
            if second < now + 2 {
                continue; // pve1 is slow.
            }
            for inspection in std::mem::take(&mut watch.asked) {
                let mut knows = if asks_pve1(&inspection) { knows.clone() } else { world.clone() };
                if let Inspection::Guests(look) = &inspection {
                    knows.tasks.retain(|task| task.started_at >= look.since);
                }
                let answer = knows.answer(&inspection, second);
                watch.step(second, Input::Inspected { inspection, answer });
            }
        }
        play(&mut watch, &mut world, now + 12, now + 400, true);
        assert_eq!(acted(&watch, "qemu/101"), [""; 0], "{row}: {:#?}", watch.log);
        assert!(
            watch.log.iter().any(|line| line.contains("stopped since by alice")),
            "{row}: {:#?}",
            watch.log
        );
    }
}

/// No round came for some minutes, lost or not (the process was suspended). The node's row is as it was before: it may have been
/// restarted meanwhile, and PVE's own start of its guests goes first.
#[test]
fn a_row_that_is_as_it_was_before_no_round_came_says_nothing_of_that_time() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    watch.set(6, controls(KillSwitch::On, Autonomy::ActReport));
    crash(&mut world, "qemu/102");
    play(&mut watch, &mut world, 17, 40, true);
    world.node("pve2").uptime = Some(UPTIME + 29);
    watch.set(240, off());
    play(&mut watch, &mut world, 241, 252, true);
    assert_eq!(acted(&watch, "qemu/102"), [""; 0], "{:#?}", watch.log);
    world.node("pve2").uptime = Some(30);
    play(&mut watch, &mut world, 253, 290, true);
    assert_eq!(acted(&watch, "qemu/102"), [""; 0], "{:#?}", watch.log);
}

/// Beside another guest's crash that of qemu/101 comes first, and its call is made at 34; somebody closes its incident before
/// that is heard of.
fn closed_during_its_call(other: &str) -> (World, Watch, IncidentId) {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    world.orders.insert("qemu/101".parse().unwrap(), 1);
    for id in ["qemu/101", other] {
        crash(&mut world, id);
    }
    play_calls(&mut watch, &mut world, 17, 35, &mut |_, _, _| None);
    let incident =
        watch.engine.open_incidents().find(|(_, open)| open.state.attempt().is_some()).unwrap().1.id;
    watch.step(36, Input::Commanded(Command::Order { incident, by: "bob".into(), order: Order::Resolve }));
    (world, watch, incident)
}

/// The same, and another call on that node ends first: each outcome is that of its own call.
#[test]
fn the_outcome_of_a_call_is_not_taken_for_that_of_one_that_outlived_its_incident() {
    let (mut world, mut watch, incident) = closed_during_its_call("lxc/200");
    play(&mut watch, &mut world, 41, 60, true);
    watch.step(61, Input::Acted { incident, attempt: 1, outcome: done() });
    let acted: Vec<&str> =
        watch.log.iter().filter_map(|line| line.split_once("  acted ")).map(|(_, of)| of).collect();
    assert!(
        acted.len() == 2 && acted[0].contains("lxc/200") && acted[1].contains("qemu/101"),
        "{:#?}",
        watch.log
    );
}

/// The same, and nothing is ever heard of the call: after ten minutes nobody waits for it any more.
#[test]
fn a_call_that_outlived_its_incident_is_waited_for_ten_minutes() {
    let (mut world, mut watch, _) = closed_during_its_call("qemu/102");
    assert!(acted(&watch, "qemu/101")[0].starts_with("34 "), "{:#?}", watch.log);
    play_calls(&mut watch, &mut world, 42, 700, &mut |_, _, _| None);
    let [freed] = acted(&watch, "qemu/102")[..] else { panic!("{:#?}", watch.log) };
    assert!(freed.starts_with("634 "), "{freed}");
    assert!(
        watch.log.iter().any(|line| line.starts_with("634  acted") && line.contains("nothing was heard")),
        "{:#?}",
        watch.log
    );
}

/// Somebody closes an incident before its call is made, which then is not: that was no attempt, and nobody waits for its start.
#[test]
fn a_call_that_was_withdrawn_with_its_incident_was_no_attempt() {
    let mut world = World::new();
    world.orders.insert("qemu/101".parse().unwrap(), 1);
    world.ups.insert("qemu/101".parse().unwrap(), 300);
    let mut watch = watch(&world, Autonomy::ActReport);
    for id in ["qemu/101", "lxc/200"] {
        crash(&mut world, id);
    }
    play_calls(&mut watch, &mut world, 17, 35, &mut |_, _, _| None);
    let incident =
        watch.engine.open_incidents().find(|(_, open)| open.state.attempt().is_some()).unwrap().1.id;
    watch.step(36, Input::Commanded(Command::Order { incident, by: "bob".into(), order: Order::Resolve }));
    let outcome =
        Outcome::NotMade { why: "somebody has just set, announced, dismissed or closed something".into() };
    watch.step(37, Input::Acted { incident, attempt: 1, outcome });
    play(&mut watch, &mut world, 41, 120, true);
    let other = acted(&watch, "lxc/200");
    assert!(other.len() == 1 && other[0].starts_with("37 "), "{:#?}", watch.log);
    // It runs, and crashes once more: that is its first attempt.
    world.start("qemu/101", 121);
    play(&mut watch, &mut world, 125, 150, true);
    crash(&mut world, "qemu/101");
    play(&mut watch, &mut world, 161, 200, true);
    let again = acted(&watch, "qemu/101");
    assert!(again.len() == 2 && again[1].contains("attempt 1 of 3"), "{:#?}", watch.log);
}

/// Somebody closes an incident while its call is under way: until it has ended, its node is worked on.
#[test]
fn a_call_that_is_under_way_holds_other_nodes_although_its_incident_was_closed() {
    let (mut world, mut watch, incident) = closed_during_its_call("qemu/102");
    assert_eq!(acted(&watch, "qemu/101").len(), 1, "{:#?}", watch.log);
    play_calls(&mut watch, &mut world, 42, 60, &mut |_, _, _| None);
    assert_eq!(acted(&watch, "qemu/102"), [""; 0], "{:#?}", watch.log);
    watch.step(61, Input::Acted { incident, attempt: 1, outcome: done() });
    // What came of it is written down, once.
    watch.step(62, Input::Acted { incident, attempt: 1, outcome: done() });
    let outcomes = |watch: &Watch| watch.log.iter().filter(|line| line.contains("  acted ")).count();
    assert_eq!(outcomes(&watch), 1, "{:#?}", watch.log);
    play_calls(&mut watch, &mut world, 66, 80, &mut |_, _, _| None);
    assert_eq!(acted(&watch, "qemu/102").len(), 1, "{:#?}", watch.log);
}

/// It was looked at, had to wait for its turn, and is not listed any more when that comes: it may have been destroyed.
#[test]
fn a_guest_that_the_last_round_did_not_list_is_not_acted_on() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    for id in ["qemu/101", "qemu/102"] {
        crash(&mut world, id);
    }
    play_calls(&mut watch, &mut world, 17, 40, &mut |_, _, _| None);
    let open = watch.engine.open_incidents().find(|(_, open)| open.state.attempt().is_some());
    let incident = open.unwrap().1.id;
    world.guests.remove(&"qemu/102".parse().unwrap());
    watch.step(41, world.round(Round::Critical, 41));
    // Its turn comes.
    watch
        .step(42, Input::Acted { incident, attempt: 1, outcome: Outcome::NotMade { why: "refused".into() } });
    assert_eq!(acted(&watch, "qemu/102"), [""; 0], "{:#?}", watch.log);
}

/// PVE forgets its tasks after some hundred. That somebody stopped a guest was seen before, and holds.
#[test]
fn a_stop_that_pve_has_forgotten_holds() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    crash(&mut world, "qemu/101");
    play(&mut watch, &mut world, 17, 28, true);
    world.tasks.push(stop_of_101(28));
    play(&mut watch, &mut world, 29, 40, true);
    assert!(watch.log.last().unwrap().contains("stopped since by alice@pve (qmstop)"), "{:#?}", watch.log);
    world.tasks.clear();
    play(&mut watch, &mut world, 41, 400, true);
    assert_eq!(acted(&watch, "qemu/101"), [""; 0], "{:#?}", watch.log);
    // Somebody starts it later, and it crashes at once.
    world.tasks.push(Task {
        kind: "qmstart".into(),
        upid: "UPID:pve1:qmstart:101".into(),
        ..stop_of_101(405)
    });
    play(&mut watch, &mut world, 413, 600, true);
    assert_eq!(acted(&watch, "qemu/101").len(), 1, "{:#?}", watch.log);
}

/// A call that is never made is not decided on each ten seconds for ever: each time fills the journal.
#[test]
fn a_call_that_cannot_be_made_is_tried_less_and_less_often() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    crash(&mut world, "qemu/101");
    let (mut calls, mut last) = (0, 0);
    play_calls(&mut watch, &mut world, 17, 3_617, &mut |_, _, second| {
        (calls, last) = (calls + 1, second);
        Some(Outcome::NotMade { why: "it took too long to get to the call".into() })
    });
    assert!((8..=16).contains(&calls), "{calls}: {:#?}", watch.log);
    // It is made as soon as it can be.
    play(&mut watch, &mut world, 3_629, last + 800, true);
    assert!(watch.log.iter().any(|line| line.contains("its task ended: OK")), "{:#?}", watch.log);
    assert_eq!(watch.engine.open_incidents().count(), 0, "{:#?}", watch.log);
}

/// The backup of a large machine takes most of a day, and the machine crashed in its first hour: when it is over, that is told.
#[test]
fn a_crash_in_a_long_backup_is_told_when_that_is_over() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    crash(&mut world, "qemu/101");
    world.guest("qemu/101").lock = Some("backup".into());
    let mut now = 17;
    while now < 15 * 3_600 {
        play(&mut watch, &mut world, now, now + 12, true);
        now += 12;
    }
    assert!(!watch.log.iter().any(|line| line.contains("opened")), "{:#?}", watch.log);
    world.guest("qemu/101").lock = None;
    play(&mut watch, &mut world, now, now + 700, true);
    assert_eq!(acted(&watch, "qemu/101").len(), 1, "{:#?}", watch.log);
    assert!(watch.log.len() < 400, "it is not asked too often");
}
