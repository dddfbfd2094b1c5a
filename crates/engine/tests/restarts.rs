//! What is told of guests that ended with their node, and what is done about those that PVE does not start again.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by its panic")]

mod world;

use std::collections::BTreeSet;

use engine::Input;
use engine::act::Outcome;
use engine::decide::Autonomy;
use engine::observe::{Blindness, Cause, Evidence, GuestEvidence, Inspection, Round, Seen, Task};
use engine::policy::Policy;
use expect_test::expect;
use world::play::{acted, drive, play, watch};
use world::{Watch, World, at, stop_of_101};

/// pve1 loses power at 12 and is up at 17; its `startall` brings the container back, and not the machine.
fn reset() -> (World, Watch) {
    let mut world = World::new();
    let watch = watch(&world, Autonomy::ActReport);
    world.reset(17);
    world.start("lxc/200", 25);
    (world, watch)
}

fn task(kind: &str, id: &str, began: i64, ended: Option<i64>, status: &str) -> Task {
    Task {
        upid: format!("UPID:pve1:{kind}:{began}").into(),
        kind: kind.into(),
        id: id.into(),
        user: "root@pam".into(),
        started_at: at(began),
        ended_at: ended.map(at),
        status: ended.map(|_| status.into()),
    }
}

#[test]
fn what_pve_does_not_start_again_is_started_by_us() {
    let (mut world, mut watch) = reset();
    world.tasks.push(task("qmstart", "101", 22, Some(23), "storage 'nfs' is not online"));
    play(&mut watch, &mut world, 29, 450, true);
    watch.check(expect![[r#"
        29   noted                        node/pve1: was restarted; it was not seen to leave
        317  inspect   pve1 qemu/101
        317  opened    VM_CRASHED         qemu/101 (web01): running to stopped with its node's restart; PVE could not start it again (storage 'nfs' is not online)
        317  held      VM_CRASHED         qemu/101 (web01): it may heal by itself for 0:15
        332  inspect   qemu/101 closely
        332  acting    VM_CRASHED         qemu/101 (web01): start it on pve1, attempt 1 of 3 (vm-crashed-restart)
        334  acted     VM_CRASHED         qemu/101 (web01): its task ended: OK
        349  inspect   qemu/101 closely
        369  inspect   qemu/101 closely
        389  inspect   qemu/101 closely
        393  inspect   qemu/101 closely
        393  verified  VM_CRASHED         qemu/101 (web01): it has run for 1:00
        393  resolved  VM_CRASHED         qemu/101 (web01): running again, mended by Jarvis after 1:16"#]]);
}

#[test]
fn pve_is_waited_for_while_it_starts_its_guests() {
    let (mut world, mut watch) = reset();
    // Some of them wait for a minute after the one before.
    world.tasks = vec![task("startall", "", 20, None, "")];
    play(&mut watch, &mut world, 29, 353, true);
    world.tasks = vec![task("startall", "", 20, Some(350), "OK")];
    play(&mut watch, &mut world, 353, 500, true);
    watch.check(expect![[r#"
        29   noted                        node/pve1: was restarted; it was not seen to leave
        317  inspect   pve1 qemu/101
        329  inspect   pve1 qemu/101
        353  inspect   pve1 qemu/101
        353  opened    VM_CRASHED         qemu/101 (web01): running to stopped with its node's restart; it is to run, and nobody has started it again
        353  held      VM_CRASHED         qemu/101 (web01): it may heal by itself for 0:15
        368  inspect   qemu/101 closely
        368  acting    VM_CRASHED         qemu/101 (web01): start it on pve1, attempt 1 of 3 (vm-crashed-restart)
        370  acted     VM_CRASHED         qemu/101 (web01): its task ended: OK
        385  inspect   qemu/101 closely
        405  inspect   qemu/101 closely
        425  inspect   qemu/101 closely
        429  inspect   qemu/101 closely
        429  verified  VM_CRASHED         qemu/101 (web01): it has run for 1:00
        429  resolved  VM_CRASHED         qemu/101 (web01): running again, mended by Jarvis after 1:16"#]]);
}

#[test]
fn who_goes_second_is_not_in_a_hurry() {
    let (mut world, mut watch) = reset();
    world.tasks = vec![task("startall", "", 20, None, "")];
    play(&mut watch, &mut world, 29, 353, true);
    // PVE does it after all.
    world.tasks =
        vec![task("startall", "", 20, Some(360), "OK"), task("qmstart", "101", 355, Some(356), "OK")];
    world.start("qemu/101", 356);
    play(&mut watch, &mut world, 365, 500, true);
    watch.check(expect![[r#"
        29   noted                        node/pve1: was restarted; it was not seen to leave
        317  inspect   pve1 qemu/101
        329  inspect   pve1 qemu/101
        353  inspect   pve1 qemu/101"#]]);
}

#[test]
fn what_nobody_wants_to_run_is_told_and_left_alone() {
    let (mut world, mut watch) = reset();
    world.onboot.clear();
    play(&mut watch, &mut world, 29, 450, true);
    watch.check(expect![[r#"
        29   noted                        node/pve1: was restarted; it was not seen to leave
        317  inspect   pve1 qemu/101
        317  noted                        qemu/101 (web01): running to stopped, with its node's restart"#]]);
}

#[test]
fn what_somebody_stopped_stays_so() {
    // Before the power went, or on the node that is back.
    for second in [10, 100] {
        let (mut world, mut watch) = reset();
        world.tasks.push(stop_of_101(second));
        play(&mut watch, &mut world, 29, 450, true);
        let told: Vec<&str> =
            watch.log.iter().map(String::as_str).filter(|line| !line.contains("inspect")).collect();
        assert_eq!(told.len(), 2, "{told:#?}");
        assert!(
            told[1].ends_with("qemu/101 (web01): running to stopped, by alice@pve (qmstop)"),
            "{told:#?}"
        );
    }
}

#[test]
fn what_came_back_and_ended_again_has_crashed() {
    let (mut world, mut watch) = reset();
    world.onboot.clear();
    world.tasks.push(task("qmstart", "101", 22, Some(24), "OK"));
    play(&mut watch, &mut world, 29, 360, true);
    watch.check(expect![[r#"
        29   noted                        node/pve1: was restarted; it was not seen to leave
        317  inspect   pve1 qemu/101
        317  opened    VM_CRASHED         qemu/101 (web01): running to stopped, and no task asked for it (a crash, or a power-off from inside)
        317  held      VM_CRASHED         qemu/101 (web01): it may heal by itself for 0:15
        332  inspect   qemu/101 closely
        332  held      VM_CRASHED         qemu/101 (web01): neither onboot nor the tag jarvis-restart says that it is to run"#]]);
}

#[test]
fn what_ha_manages_is_left_to_it() {
    let (mut world, mut watch) = reset();
    world.guest("qemu/101").ha = Some("started".into());
    play(&mut watch, &mut world, 29, 450, true);
    watch.check(expect![[r#"
        29   noted                        node/pve1: was restarted; it was not seen to leave
        125  opened    HA_ERROR           qemu/101 (web01): HA manages it (state started) and has not brought it back
        317  inspect   pve1 qemu/101
        317  noted                        qemu/101 (web01): running to stopped, with its node's restart"#]]);
}

#[test]
fn what_could_not_be_read_is_asked_again() {
    let (mut world, mut watch) = reset();
    for round in (29..305).step_by(12) {
        watch.critical(&world, round);
    }
    // At first its node's list, then its configuration.
    for second in [317, 327] {
        watch.step(second, Input::Tick);
        let inspection = watch.asked.pop().unwrap();
        let Evidence::Guests(mut answer) = world.answer(&inspection, second) else { panic!() };
        match second {
            317 => answer.live = Seen::NotReached(hidden()),
            _ => answer.configs = [("qemu/101".parse().unwrap(), Seen::NotReached(hidden()))].into(),
        }
        watch.step(second, Input::Inspected { inspection, answer: Evidence::Guests(answer) });
    }
    play(&mut watch, &mut world, 329, 376, true);
    watch.check(expect![[r#"
        29   noted                        node/pve1: was restarted; it was not seen to leave
        317  inspect   pve1 qemu/101
        327  inspect   pve1 qemu/101
        341  inspect   pve1 qemu/101
        341  opened    VM_CRASHED         qemu/101 (web01): running to stopped with its node's restart; it is to run, and nobody has started it again
        341  held      VM_CRASHED         qemu/101 (web01): it may heal by itself for 0:15
        356  inspect   qemu/101 closely
        356  acting    VM_CRASHED         qemu/101 (web01): start it on pve1, attempt 1 of 3 (vm-crashed-restart)
        358  acted     VM_CRASHED         qemu/101 (web01): its task ended: OK
        373  inspect   qemu/101 closely"#]]);
}

#[test]
fn a_node_that_goes_down_again_begins_anew() {
    let (mut world, mut watch) = reset();
    play(&mut watch, &mut world, 29, 200, true);
    world.reset(205);
    play(&mut watch, &mut world, 209, 600, true);
    watch.check(expect![[r#"
        29   noted                        node/pve1: was restarted; it was not seen to leave
        209  noted                        node/pve1: was restarted; it was not seen to leave
        317  inspect   pve1 qemu/101
        509  inspect   pve1 qemu/101 lxc/200
        509  opened    VM_CRASHED         qemu/101 (web01): running to stopped with its node's restart; it is to run, and nobody has started it again
        509  opened    CT_CRASHED         lxc/200 (dns): running to stopped with its node's restart; it is to run, and nobody has started it again
        509  held      VM_CRASHED         qemu/101 (web01): it may heal by itself for 0:15
        509  held      CT_CRASHED         lxc/200 (dns): it may heal by itself for 0:15
        524  inspect   qemu/101 closely
        524  inspect   lxc/200 closely
        524  acting    VM_CRASHED         qemu/101 (web01): start it on pve1, attempt 1 of 3 (vm-crashed-restart)
        524  held      CT_CRASHED         lxc/200 (dns): the guest before it was just started; 0:03 more
        526  acted     VM_CRASHED         qemu/101 (web01): its task ended: OK
        527  acting    CT_CRASHED         lxc/200 (dns): start it on pve1, attempt 1 of 3 (ct-crashed-restart)
        529  acted     CT_CRASHED         lxc/200 (dns): its task ended: OK
        539  inspect   lxc/200 closely
        541  inspect   qemu/101 closely
        559  inspect   lxc/200 closely
        561  inspect   qemu/101 closely
        579  inspect   lxc/200 closely
        581  inspect   qemu/101 closely
        585  inspect   qemu/101 closely
        585  verified  VM_CRASHED         qemu/101 (web01): it has run for 1:00
        585  resolved  VM_CRASHED         qemu/101 (web01): running again, mended by Jarvis after 1:16
        588  inspect   lxc/200 closely
        588  verified  CT_CRASHED         lxc/200 (dns): it has run for 1:00
        588  resolved  CT_CRASHED         lxc/200 (dns): running again, mended by Jarvis after 1:19"#]]);
}

#[test]
fn many_are_told_as_one_and_started_in_their_order() {
    let mut world = World::new();
    let web = world.guest("qemu/101").clone();
    for vmid in 110..121 {
        let id = format!("qemu/{vmid}").parse().unwrap();
        world.guests.insert(id, web.clone());
        world.onboot.insert(id);
    }
    world.orders.insert("qemu/115".parse().unwrap(), 1);
    let mut watch = watch(&world, Autonomy::ActReport);
    world.reset(17);
    play(&mut watch, &mut world, 29, 330, true);
    let told: Vec<String> =
        watch.told.iter().map(|event| format!("{}: {}", event.title, event.message)).collect();
    expect![[r#"
        Node pve1 was restarted: node pve1: was restarted; it was not seen to leave
        13 guests not started again on pve1: 13 guests on pve1 are to run and were not started again after its restart: web01 (101), web01 (110), web01 (111), web01 (112), web01 (113) and 8 more
        Storm of incidents: cluster lab: 13 new incidents within a minute have one cause that a restart does not mend; nothing is done by itself until 5 minutes have passed without as many"#]]
        .assert_eq(&told.join("\n"));
}

#[test]
fn one_look_reads_a_bounded_number_of_configurations() {
    let mut world = World::new();
    let web = world.guest("qemu/101").clone();
    for vmid in 1_000..1_100 {
        let id = format!("qemu/{vmid}").parse().unwrap();
        world.guests.insert(id, web.clone());
    }
    let mut watch = watch(&world, Autonomy::ActReport);
    world.reset(17);
    let mut read = Vec::new();
    for round in (29..480).step_by(12) {
        watch.step(round, world.round(Round::Critical, round));
        for second in round..round + 12 {
            if watch.engine.next_wake().is_some_and(|wake| wake <= at(second)) {
                watch.step(second, Input::Tick);
            }
            for inspection in std::mem::take(&mut watch.asked) {
                if let Inspection::Guests(look) = &inspection {
                    read.push(look.configs.len());
                }
                let answer = world.answer(&inspection, second);
                watch.step(second, Input::Inspected { inspection, answer });
            }
        }
    }
    assert_eq!(read, [32, 32, 32, 6]);
}

/// PVE could start none of them, and each look takes its node three seconds: what was found of the first is old before the last
/// has been looked at.
#[test]
fn sixty_guests_are_started_one_after_the_other_however_slow_the_looks() {
    let mut world = World::new();
    let web = world.guest("qemu/101").clone();
    for vmid in 1_000..1_060 {
        let id = format!("qemu/{vmid}").parse().unwrap();
        world.guests.insert(id, web.clone());
        world.onboot.insert(id);
    }
    world.orders.insert("qemu/1059".parse().unwrap(), 1);
    let mut watch = Watch::allowed(Policy { storm: 1_000, ..Policy::default() }, Autonomy::ActReport);
    watch.critical(&world, 5);
    world.reset(17);
    let mut coming: Vec<(i64, Inspection)> = Vec::new();
    for second in 29..1_200 {
        if second % 12 == 5 {
            watch.step(second, world.round(Round::Critical, second));
        }
        if watch.engine.next_wake().is_some_and(|wake| wake <= at(second)) {
            watch.step(second, Input::Tick);
        }
        let (due, later) = std::mem::take(&mut coming).into_iter().partition(|(at, _)| *at <= second);
        coming = later;
        for (_, inspection) in due {
            let answer = world.answer(&inspection, second - 3);
            watch.step(second, Input::Inspected { inspection, answer });
        }
        coming
            .extend(std::mem::take(&mut watch.asked).into_iter().map(|inspection| (second + 3, inspection)));
        for permit in std::mem::take(&mut watch.permits) {
            let (incident, subject, attempt) = permit.redeem();
            world.start(&subject.to_string(), second);
            let outcome = Outcome::Done { upid: Some("UPID:pve1:qmstart".into()), said: "OK".into() };
            watch.step(second, Input::Acted { incident, attempt: attempt.number, outcome });
        }
    }
    let started = acted(&watch, "qemu/1");
    assert_eq!(started.len(), 61, "{:#?}", watch.log.iter().rev().take(20).collect::<Vec<_>>());
    let subjects: BTreeSet<_> = started.iter().map(|line| line.split_whitespace().nth(3)).collect();
    assert_eq!(subjects.len(), 61, "each of them once");
    assert!(started[0].contains("qemu/1059 "), "in their order: {}", started[0]);
}

fn hidden() -> Blindness {
    Blindness { cause: Cause::Unreachable, words: "595 connection refused".into() }
}

/// How often the guest was looked at, and the last that was told of it.
fn looks_and_end(watch: &Watch) -> (usize, String) {
    let of_it = watch.log.iter().filter(|line| line.contains("qemu/101"));
    let (looks, told): (Vec<&String>, Vec<&String>) = of_it.partition(|line| line.contains("inspect"));
    (looks.len(), told.last().map_or("nothing", |line| &line[5..]).trim_start().into())
}

#[test]
fn what_is_never_known_is_given_up_and_said() {
    type Change = fn(&mut GuestEvidence);
    #[rustfmt::skip]
    let table: [(&str, Change, &str); 4] = [
        ("its node's list, and its boot", |found| (found.live, found.booted_at) = (Seen::NotReached(hidden()), Seen::NotReached(hidden())), "its node was restarted, and 595 connection refused"),
        ("its node's tasks", |found| found.tasks = Seen::NotReached(hidden()), "its node was restarted, and 595 connection refused"),
        ("its configuration", |found| found.configs.values_mut().for_each(|config| *config = Seen::NotReached(hidden())), "its node was restarted, and whether it is to run could not be read"),
        ("PVE's start of its guests", |found| found.tasks = Seen::At { value: Vec::new(), asked_at: found.tasks.asked_at().unwrap() }, "its node was restarted, and has not started its guests"),
    ];
    for (what, change, why) in table {
        let (world, mut watch) = reset();
        drive(&mut watch, &world, (29, 40_000), &mut |found, _| change(found));
        let (looks, end) = looks_and_end(&watch);
        assert_eq!(
            (looks, &*end),
            (
                100,
                &*format!(
                    "noted                        qemu/101 (web01): running to stopped, cause not known: {why}"
                )
            ),
            "{what}"
        );
    }
}

/// A list that cannot be read, for one unreadable row or a right that is gone, hides nothing for ever: the guest's own row stands.
#[test]
fn what_its_node_does_not_list_is_found_by_its_row() {
    let (world, mut watch) = reset();
    drive(&mut watch, &world, (29, 400), &mut |found, _| found.live = Seen::NotReached(hidden()));
    let opened: Vec<&String> = watch.log.iter().filter(|line| line.contains("opened")).collect();
    assert!(
        opened.len() == 1 && opened[0].ends_with("it is to run, and nobody has started it again"),
        "{:#?}",
        watch.log
    );
}

#[test]
fn what_was_moved_meanwhile_is_not_started_where_it_is() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::ActReport);
    // VM 102 comes to pve1, which then loses power; who stopped it may be known where it was.
    world.guest("qemu/102").node = "pve1".parse().unwrap();
    watch.step(17, world.round(Round::Critical, 17));
    world.reset(19);
    drive(&mut watch, &world, (29, 400), &mut |_, _| {});
    let of_it: Vec<&String> =
        watch.log.iter().filter(|line| line.contains("qemu/102") && !line.contains("inspect")).collect();
    assert!(
        of_it.last().unwrap().ends_with("running to stopped, with its node's restart"),
        "{:#?}",
        watch.log
    );
}

#[test]
fn what_was_made_a_template_meanwhile_is_not_started() {
    let (world, mut watch) = reset();
    drive(&mut watch, &world, (29, 400), &mut |found, _| {
        for config in found.configs.values_mut() {
            if let Seen::At { value: Some(config), .. } = config {
                config.template = true;
            }
        }
    });
    let (looks, end) = looks_and_end(&watch);
    assert_eq!(
        (looks, &end[end.len() - 43..]),
        (1, "running to stopped, with its node's restart"),
        "{:#?}",
        watch.log
    );
}

#[test]
fn a_backup_that_a_power_cut_ended_has_stopped_nobody() {
    let (mut world, mut watch) = reset();
    world.tasks.push(task("vzdump", "101", 8, Some(17), "unexpected status"));
    world
        .tasks
        .push(Task { user: "alice@pve".into(), ..task("qmigrate", "101", 2, Some(17), "unexpected status") });
    play(&mut watch, &mut world, 29, 330, true);
    watch.check(expect![[r#"
        29   noted                        node/pve1: was restarted; it was not seen to leave
        317  inspect   pve1 qemu/101
        317  opened    VM_CRASHED         qemu/101 (web01): running to stopped with its node's restart; it is to run, and nobody has started it again
        317  held      VM_CRASHED         qemu/101 (web01): it may heal by itself for 0:15"#]]);
}

/// One row that could not be read, or was hidden for a moment, while PVE is waited for.
#[test]
fn one_round_without_its_row_hides_no_stop() {
    let (mut world, mut watch) = reset();
    play(&mut watch, &mut world, 29, 100, true);
    let mut hidden = world.clone();
    hidden.guests.remove(&"qemu/101".parse().unwrap());
    watch.step(101, hidden.round(Round::Critical, 101));
    watch.look(&world, 101, 3);
    play(&mut watch, &mut world, 113, 330, true);
    let opened = watch.log.iter().filter(|line| line.contains("opened    VM_CRASHED         qemu/101"));
    assert_eq!(opened.count(), 1, "{:#?}", watch.log);
}
