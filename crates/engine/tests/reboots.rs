//! What is told of guests that were stopped before their node was rebooted in order, and what is done about those that PVE
//! cannot start again.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by its panic")]

mod world;

use engine::decide::{Autonomy, KillSwitch};
use engine::observe::{Blindness, Cause, Evidence, GuestEvidence, GuestStatus, Presence, Round, Seen, Task};
use engine::record::Order;
use engine::{Command, Input};
use expect_test::expect;
use jiff::SignedDuration;
use world::play::{controls, drive, play, watch};
use world::{Watch, World, at, startall};

fn task(kind: &str, id: &str, began: i64, ended: i64, status: &str) -> Task {
    Task {
        upid: format!("UPID:pve1:{kind}:{began}").into(),
        kind: kind.into(),
        id: id.into(),
        user: "root@pam".into(),
        started_at: at(began),
        ended_at: Some(at(ended)),
        status: Some(status.into()),
    }
}

fn hidden<T>() -> Seen<T> {
    Seen::NotReached(Blindness { cause: Cause::Unreachable, words: "595 no route".into() })
}

fn in_vain() -> Task {
    task("qmstart", "101", 204, 205, "storage 'nfs' is not online")
}

/// pve1 is shut down in order at 10, and up at 200 with its `startall` at 203, which brings the container back.
struct Reboot {
    world: World,
    watch: Watch,
}

impl Reboot {
    /// Until it is away.
    fn new() -> Reboot {
        let mut world = World::new();
        let mut watch = watch(&world, Autonomy::ActReport);
        world.tasks.push(task("stopall", "", 10, 15, "OK"));
        world.tasks.push(task("qmshutdown", "101", 11, 13, "OK"));
        for id in ["qemu/101", "lxc/200"] {
            world.guest(id).status = GuestStatus::Stopped;
        }
        play(&mut watch, &mut world, 17, 28, true);
        Reboot { world, watch }
    }

    fn away(mut self) -> Reboot {
        self.world.node("pve1").presence = Presence::Offline;
        play(&mut self.watch, &mut self.world, 29, 199, true);
        self
    }

    /// It is up again, with these tasks besides.
    fn up(mut self, tasks: &[Task]) -> Reboot {
        self.world.node("pve1").presence = Presence::Online;
        self.world.booted = 200;
        self.world.tasks.push(startall(203));
        self.world.start("lxc/200", 208);
        self.world.tasks.push(task("vzstart", "200", 207, 208, "OK"));
        self.world.tasks.extend(tasks.iter().cloned());
        self
    }

    fn plays(mut self, from: i64, to: i64) -> Reboot {
        play(&mut self.watch, &mut self.world, from, to, true);
        self
    }

    fn lines(&self, of: &str) -> Vec<&String> {
        self.watch.log.iter().filter(|line| line.contains(of)).collect()
    }
}

#[test]
fn what_pve_cannot_start_is_started_by_us() {
    let reboot = Reboot::new().away().up(&[in_vain()]).plays(210, 800);
    reboot.watch.check(expect![[r#"
        19   inspect   pve1 qemu/101 lxc/200
        19   noted                        qemu/101 (web01): running to stopped, by root@pam (qmshutdown)
        19   noted                        lxc/200 (dns): running to stopped, by root@pam (stopall)
        29   inspect   node pve1
        29   noted                        node/pve1: left on purpose: shut down by root@pam (stopall)
        210  noted                        node/pve1: is back
        234  inspect   pve1 lxc/200
        234  noted                        lxc/200 (dns): stopped to running, by root@pam (vzstart)
        510  inspect   pve1 qemu/101
        510  opened    VM_CRASHED         qemu/101 (web01): stopped before its node's restart; PVE could not start it again (storage 'nfs' is not online)
        510  held      VM_CRASHED         qemu/101 (web01): it may heal by itself for 0:15
        525  inspect   qemu/101 closely
        525  acting    VM_CRASHED         qemu/101 (web01): start it on pve1, attempt 1 of 3 (vm-crashed-restart)
        527  acted     VM_CRASHED         qemu/101 (web01): its task ended: OK
        542  inspect   qemu/101 closely
        562  inspect   qemu/101 closely
        582  inspect   qemu/101 closely
        586  inspect   qemu/101 closely
        586  verified  VM_CRASHED         qemu/101 (web01): it has run for 1:00
        586  resolved  VM_CRASHED         qemu/101 (web01): running again, mended by Jarvis after 1:16"#]]);
}

#[test]
fn what_pve_does_not_try_to_start_stays_as_it_was_told() {
    for (name, tasks) in [
        ("not tried: it has no onboot, or its node starts nobody", vec![]),
        ("somebody stopped it since", vec![in_vain(), task("qmstop", "101", 400, 401, "OK")]),
        (
            "somebody stopped it before its turn had come",
            vec![task("qmstop", "101", 204, 205, "OK"), Task { started_at: at(206), ..in_vain() }],
        ),
        ("somebody else started it in vain", vec![Task { user: "alice@pve".into(), ..in_vain() }]),
    ] {
        let reboot = Reboot::new().away().up(&tasks).plays(210, 800);
        assert_eq!(reboot.lines("CRASHED"), [""; 0], "{name}");
        assert_eq!(reboot.lines("inspect   pve1 qemu/101").len(), 2, "{name}: {:#?}", reboot.watch.log);
    }
}

#[test]
fn what_came_back_and_was_gone_before_a_row_showed_it_has_crashed() {
    let reboot = Reboot::new().away().up(&[task("qmstart", "101", 204, 206, "OK")]).plays(210, 520);
    assert_eq!(
        reboot.lines("opened"),
        [
            "510  opened    VM_CRASHED         qemu/101 (web01): running to stopped, and no task asked for it (a crash, or a power-off from inside)"
        ]
    );
}

/// The look at 510, with one answer after the other missing, then as it is.
#[test]
fn what_could_not_be_read_is_asked_again() {
    type Lose = fn(&mut GuestEvidence);
    let losses: [(&str, Lose); 4] = [
        ("when its node booted", |answer| answer.booted_at = hidden()),
        ("its node's list", |answer| answer.live = hidden()),
        ("its node's tasks", |answer| answer.tasks = hidden()),
        ("its configuration", |answer| answer.configs = [("qemu/101".parse().unwrap(), hidden())].into()),
    ];
    for (name, lose) in losses {
        let mut reboot = Reboot::new().away().up(&[in_vain()]).plays(210, 505);
        reboot.watch.step(510, Input::Tick);
        let inspection = reboot.watch.asked.pop().unwrap();
        let Evidence::Guests(mut answer) = reboot.world.answer(&inspection, 510) else { panic!() };
        lose(&mut answer);
        reboot.watch.step(510, Input::Inspected { inspection, answer: Evidence::Guests(answer) });
        let reboot = reboot.plays(511, 530);
        assert_eq!(reboot.lines("opened").len(), 1, "{name}: {:#?}", reboot.watch.log);
    }
}

#[test]
fn what_is_never_known_is_given_up() {
    type Change = fn(&mut GuestEvidence);
    let table: [(&str, Change); 5] = [
        ("its node's tasks", |found| found.tasks = hidden()),
        ("when its node booted", |found| found.booted_at = hidden()),
        ("its configuration", |found| found.configs.values_mut().for_each(|config| *config = hidden())),
        ("PVE's start of its guests", |found| {
            found.tasks = Seen::At { value: Vec::new(), asked_at: found.tasks.asked_at().unwrap() };
        }),
        ("whether the process that it has is its own", |found| {
            if let Seen::At { value: live, .. } = &mut found.live {
                live.values_mut().for_each(|live| live.running = true);
            }
        }),
    ];
    for (what, change) in table {
        let mut reboot = Reboot::new().away().up(&[in_vain()]).plays(210, 240);
        drive(&mut reboot.watch, &reboot.world, (241, 40_000), &mut |found, _| change(found));
        assert_eq!(reboot.lines("CRASHED"), [""; 0], "{what}");
        // The first look was before the reboot.
        assert_eq!(reboot.lines("inspect   pve1 qemu/101").len(), 101, "{what}");
    }
}

#[test]
fn what_ends_a_question_at_its_first_look() {
    type Change = fn(&mut World);
    let table: [(&str, Change); 2] = [
        ("it is where PVE moved it, and who could say what it did there is not", |world| {
            world.guest("qemu/101").node = "pve2".parse().unwrap();
        }),
        ("its node has not booted since, by itself", |world| world.booted = -500_000),
    ];
    for (what, change) in table {
        let mut reboot = Reboot::new().away().up(&[in_vain()]).plays(210, 480);
        change(&mut reboot.world);
        let reboot = reboot.plays(481, 1_000);
        assert_eq!(reboot.lines("CRASHED"), [""; 0], "{what}");
        assert!(reboot.lines("inspect   pve1 qemu/101").len() <= 3, "{what}: {:#?}", reboot.watch.log);
        assert_eq!(reboot.lines("inspect   pve2 qemu/101").len(), 0, "{what}: {:#?}", reboot.watch.log);
    }
}

/// By its uptime it booted at 200; it says itself that it was 30 s later, and is waited for as much longer.
#[test]
fn how_long_a_boot_is_waited_for_its_node_says() {
    let mut reboot = Reboot::new().away().up(&[in_vain()]).plays(210, 480);
    reboot.world.booted = 229;
    let start = reboot.world.tasks.iter_mut().filter(|task| task.started_at >= at(203));
    start.for_each(|task| (task.started_at, task.ended_at) = (at(232), Some(at(242))));
    let reboot = reboot.plays(481, 560);
    let looks: Vec<&str> = reboot.lines("inspect   pve1 qemu/101").iter().map(|line| &line[..3]).collect();
    assert_eq!(looks, ["19 ", "505", "529"]);
    assert_eq!(reboot.lines("opened").len(), 1, "{:#?}", reboot.watch.log);
}

/// PVE waits for a long time between its guests. Its node has enough to do.
#[test]
fn a_node_that_starts_its_guests_is_asked_more_and_more_seldom() {
    let mut reboot = Reboot::new().away().up(&[]);
    let boots = reboot.world.tasks.iter_mut().find(|task| &*task.kind == "startall").unwrap();
    (boots.ended_at, boots.status) = (None, None);
    let reboot = reboot.plays(210, 1_410);
    let time = |line: &String| line.split(' ').next().unwrap().parse::<i64>().unwrap();
    // The first look was before the reboot.
    let looks: Vec<i64> =
        reboot.lines("inspect   pve1 qemu/101")[1..].iter().map(|line| time(line)).collect();
    let gaps: Vec<i64> = looks.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.is_sorted() && gaps.first() < gaps.last(), "{looks:?}");
    assert!(looks.len() <= 16, "within 15 min: {looks:?}");
}

/// A cluster of two: without it nobody may say that it left. It may take hours.
#[test]
fn a_reboot_that_takes_the_quorum_is_one_all_the_same() {
    for hours in [0, 2] {
        without_quorum(Reboot::new(), hours * 3_600);
    }
}

fn without_quorum(mut reboot: Reboot, longer: i64) {
    reboot.world.node("pve1").presence = Presence::Offline;
    for second in (29..199 + longer).step_by(12) {
        let Input::Observed(mut alone) = reboot.world.round(Round::Critical, second) else { panic!() };
        if let Seen::At { value: quorum, .. } = &mut alone.quorum {
            quorum.quorate = false;
        }
        reboot.watch.step(second, Input::Observed(alone));
        reboot.watch.look(&reboot.world, second, 3);
    }
    let later = |task: Task| Task {
        started_at: task.started_at + SignedDuration::from_secs(longer),
        ended_at: task.ended_at.map(|ended| ended + SignedDuration::from_secs(longer)),
        ..task
    };
    let mut reboot = reboot.up(&[]);
    reboot.world.booted += longer;
    let old = reboot.world.tasks.split_off(2);
    reboot.world.tasks.extend(old.into_iter().chain([in_vain()]).map(later));
    let reboot = reboot.plays(210 + longer, 600 + longer);
    assert_eq!(reboot.lines("could not start it again").len(), 1, "{:#?}", reboot.watch.log);
}

/// Whoever closed it has seen it, and its node is away for a moment without booting.
#[test]
fn what_somebody_closed_is_not_told_again_without_a_new_boot() {
    let mut reboot = Reboot::new().away().up(&[in_vain()]);
    reboot.watch.set(205, controls(KillSwitch::On, Autonomy::ActReport));
    let mut reboot = reboot.plays(210, 600);
    let (_, open) = reboot.watch.engine.open_incidents().next().unwrap();
    let order = Command::Order { incident: open.id, by: "alice".into(), order: Order::Resolve };
    reboot.watch.step(601, Input::Commanded(order));
    reboot.world.node("pve1").presence = Presence::Offline;
    let mut reboot = reboot.plays(609, 700);
    reboot.world.node("pve1").presence = Presence::Online;
    let reboot = reboot.plays(705, 1_200);
    assert_eq!(reboot.lines("could not start it again").len(), 1, "{:#?}", reboot.watch.log);
}

/// A backup lends it a process while it is looked at; no row says so.
#[test]
fn a_process_that_was_lent_meanwhile_hides_nothing() {
    let mut reboot = Reboot::new().away().up(&[in_vain()]).plays(210, 505);
    reboot.world.lend("qemu/101", 506);
    let mut reboot = reboot.plays(507, 520);
    reboot.world.take_back("qemu/101");
    reboot.world.dead.insert("qemu/101".parse().unwrap());
    let reboot = reboot.plays(521, 600);
    assert_eq!(reboot.lines("could not start it again").len(), 1, "{:#?}", reboot.watch.log);
}

/// A row shows that it runs, the look that asks by whom is not answered, and it is gone.
#[test]
fn what_came_back_and_was_gone_before_that_was_explained_has_crashed() {
    let mut reboot = Reboot::new().away().up(&[task("qmstart", "101", 204, 206, "OK")]).plays(210, 225);
    reboot.world.start("qemu/101", 206);
    reboot.watch.step(234, reboot.world.round(Round::Critical, 234));
    reboot.watch.asked.clear();
    reboot.world.guest("qemu/101").status = GuestStatus::Stopped;
    let reboot = reboot.plays(246, 520);
    assert_eq!(reboot.lines("opened").len(), 1, "{:#?}", reboot.watch.log);
    assert!(reboot.lines("opened")[0].contains("no task asked for it"), "{:#?}", reboot.watch.log);
}

/// The row catches a container between its stop and its start, and the look finds that it runs. When it dies a little later, its
/// reboot is not what stopped it.
#[test]
fn a_container_that_dies_soon_after_its_reboot_has_crashed() {
    let mut world = World::new();
    let mut watch = watch(&world, Autonomy::Alert);
    play(&mut watch, &mut world, 17, 40, true);
    world.tasks.push(task("vzreboot", "200", 36, 42, "OK"));
    let mut down = world.clone();
    down.guest("lxc/200").status = GuestStatus::Stopped;
    watch.step(41, down.round(Round::Critical, 41));
    world.start("lxc/200", 42);
    watch.look(&world, 43, 0);
    // The next round is lost.
    play(&mut watch, &mut world, 65, 80, true);
    world.guest("lxc/200").status = GuestStatus::Stopped;
    play(&mut watch, &mut world, 89, 92, true);
    watch.check(expect![[r#"
        43   inspect   pve1 lxc/200
        65   inspect   pve1 lxc/200
        65   noted                        lxc/200 (dns): was restarted, by root@pam (vzreboot)
        91   inspect   pve1 lxc/200
        91   opened    CT_CRASHED         lxc/200 (dns): running to stopped, and no task asked for it (a crash, or a power-off from inside)
        91   held      CT_CRASHED         lxc/200 (dns): the level is 1 (alert), and this needs 3; it may heal by itself for 0:15"#]]);
}
