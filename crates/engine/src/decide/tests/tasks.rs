//! What a guest's tasks say: who stopped it, who started it, who works on it.

use expect_test::expect;

use super::*;

#[test]
fn who_was_seen_to_have_stopped_it_and_is_not_in_the_list_any_more() {
    let by = |upid: &str| By { user: "alice@pve".into(), task: "qmstop".into(), upid: upid.into() };
    let seen = |tasks: &[Task]| guest().with(|world| world.stopped_here = Some(by("UPID:s"))).tasks(tasks);
    let at_second = |second, task| Task { started_at: at(second), ..task };
    let start = |second, id, status| at_second(second, task("qmstart", id, Some((second + 1, status))));
    check(
        vec![
            ("nothing is listed", seen(&[])),
            (
                "other tasks of it are",
                seen(&[at_second(1010, task("qmsnapshot", "101", Some((1011, "OK"))))]),
            ),
            ("its own is, and was over before", {
                let stop = task("qmstop", "101", Some((990, "OK")));
                seen(&[Task { started_at: at(900), upid: "UPID:s".into(), ..stop }])
            }),
            ("it was started since", seen(&[start(1001, "101", "OK")])),
            ("it was started since, in vain", seen(&[start(1001, "101", "failed")])),
            ("another guest was started since", seen(&[start(1001, "102", "OK")])),
            ("it was started within the clocks' skew", seen(&[start(996, "101", "OK")])),
            ("it was started before", seen(&[start(995, "101", "OK")])),
        ],
        expect![[r#"
            nothing is listed                            hold: stopped since by alice@pve (qmstop)
            other tasks of it are                        hold: stopped since by alice@pve (qmstop)
            its own is, and was over before              act: start it on pve1, attempt 1
            it was started since                         act: start it on pve1, attempt 1
            it was started since, in vain                hold: stopped since by alice@pve (qmstop)
            another guest was started since              hold: stopped since by alice@pve (qmstop)
            it was started within the clocks' skew       act: start it on pve1, attempt 1
            it was started before                        hold: stopped since by alice@pve (qmstop)"#]],
    );
}

/// What PVE starts at boot was to run, whoever stopped it before.
#[test]
fn what_a_boot_could_not_start_is_not_what_somebody_stopped() {
    let of = |kind, id, from, until: Option<i64>, status| Task {
        started_at: at(from),
        ..task(kind, id, until.map(|until| (until, status)))
    };
    let root = |task: Task| Task { user: "root@pam".into(), ..task };
    let stop = |from, until| of("qmstop", "101", from, Some(until), "OK");
    let tried = |from, until| root(of("qmstart", "101", from, until, "failed"));
    let boot = |until| root(of("startall", "", 1020, until, "OK"));
    let over = || boot(Some(1030));
    let by_alice = |task: Task| Task { user: "alice@pve".into(), ..task };
    #[rustfmt::skip]
    let rows = vec![
        ("tried in vain", vec![stop(1010, 1012), over(), tried(1022, Some(1023))]),
        ("it was the first", vec![stop(1010, 1012), over(), tried(1020, Some(1021))]),
        ("it was the last", vec![stop(1010, 1012), over(), tried(1030, Some(1031))]),
        ("the boot cut the stop off", vec![stop(1010, 1025), over(), tried(1022, Some(1023))]),
        ("all of its node were stopped", vec![of("stopall", "", 1010, Some(1012), "OK"), over(), tried(1022, Some(1023))]),
        ("tried by somebody before", vec![stop(1010, 1012), tried(1019, Some(1021)), boot(None)]),
        ("tried by somebody since", vec![stop(1010, 1012), over(), tried(1031, Some(1033))]),
        ("tried by somebody meanwhile", vec![stop(1010, 1012), over(), by_alice(tried(1022, Some(1023)))]),
        ("somebody starts all", vec![stop(1010, 1012), by_alice(over()), by_alice(tried(1022, Some(1023)))]),
        ("not tried", vec![stop(1010, 1012), over()]),
        ("another one was tried", vec![stop(1010, 1012), over(), root(of("qmstart", "102", 1022, Some(1023), "failed"))]),
        ("being tried", vec![stop(1010, 1012), boot(None), tried(1022, None)]),
        ("stopped after that", vec![over(), tried(1022, Some(1023)), stop(1040, 1041)]),
        ("stopped in the same second", vec![stop(1020, 1021), over(), tried(1022, Some(1023))]),
        ("stopped while its turn had not come", vec![over(), stop(1022, 1023), tried(1028, Some(1029))]),
        ("still being stopped", vec![of("qmshutdown", "101", 1010, None, ""), over(), tried(1022, Some(1023))]),
        ("being restored, cut off by the boot", vec![of("qmrestore", "101", 1010, Some(1021), "unexpected status"), over(), tried(1022, Some(1023))]),
    ];
    check(
        rows.into_iter().map(|(name, tasks)| (name, guest().tasks(&tasks))).collect(),
        expect![[r#"
        tried in vain                                act: start it on pve1, attempt 1
        it was the first                             act: start it on pve1, attempt 1
        it was the last                              act: start it on pve1, attempt 1
        the boot cut the stop off                    act: start it on pve1, attempt 1
        all of its node were stopped                 act: start it on pve1, attempt 1
        tried by somebody before                     hold: stopped since by alice@pve (qmstop); a task is at work on it, by root@pam (startall)
        tried by somebody since                      hold: stopped since by alice@pve (qmstop)
        tried by somebody meanwhile                  hold: stopped since by alice@pve (qmstop)
        somebody starts all                          hold: stopped since by alice@pve (qmstop)
        not tried                                    hold: stopped since by alice@pve (qmstop)
        another one was tried                        hold: stopped since by alice@pve (qmstop)
        being tried                                  hold: stopped since by alice@pve (qmstop); just started by root@pam (qmstart); a task is at work on it, by root@pam (startall)
        stopped after that                           hold: stopped since by alice@pve (qmstop)
        stopped in the same second                   hold: stopped since by alice@pve (qmstop)
        stopped while its turn had not come          hold: stopped since by alice@pve (qmstop)
        still being stopped                          hold: stopped since by alice@pve (qmshutdown); a task is at work on it, by alice@pve (qmshutdown)
        being restored, cut off by the boot          hold: stopped since by alice@pve (qmrestore)"#]],
    );
}

#[test]
fn what_tasks_say() {
    let own = Task { upid: "UPID:qmstart-own".into(), ..task("qmstart", "101", Some((1055, "OK"))) };
    let running = Task { ended_at: None, status: None, ..own.clone() };
    let skewed = Task { started_at: at(994), ..task("qmstop", "101", Some((995, "OK"))) };
    let early = Task { started_at: at(900), ..task("qmstop", "101", Some((990, "OK"))) };
    check(
        vec![
            ("stopped by somebody since", guest().tasks(&[task("qmstop", "101", Some((1052, "OK")))])),
            ("stopped since, and started again, and down", {
                let stop = Task { started_at: at(1010), ..task("qmstop", "101", Some((1012, "OK"))) };
                let start = Task { started_at: at(1020), ..task("qmstart", "101", Some((1022, "OK"))) };
                guest().tasks(&[stop, start])
            }),
            ("stopped since, and started in vain", {
                let stop = Task { started_at: at(1010), ..task("qmstop", "101", Some((1012, "OK"))) };
                let start = Task { started_at: at(1020), ..task("qmstart", "101", Some((1022, "failed"))) };
                guest().tasks(&[stop, start])
            }),
            ("stopped, and started in the same second", {
                let stop = Task { started_at: at(1010), ..task("qmstop", "101", Some((1012, "OK"))) };
                let start = Task { started_at: at(1012), ..task("qmstart", "101", Some((1014, "OK"))) };
                guest().tasks(&[stop, start])
            }),
            ("taken back to a snapshot", guest().tasks(&[task("qmrollback", "101", Some((1052, "OK")))])),
            ("being stopped", guest().tasks(&[task("qmshutdown", "101", None)])),
            (
                "stopped before it was moved",
                guest().with(|world| {
                    let by = By { user: "alice@pve".into(), task: "qmstop".into(), upid: "UPID:s".into() };
                    world.stopped = Some(by);
                }),
            ),
            ("another guest was stopped", guest().tasks(&[task("qmstop", "102", Some((1052, "OK")))])),
            ("a stop that was over before", guest().tasks(&[early])),
            ("over just before, by the node's own clock", guest().tasks(&[skewed])),
            ("the node's own stopall", guest().tasks(&[task("stopall", "", Some((1052, "OK")))])),
            ("started by somebody", guest().tasks(&[task("qmstart", "101", Some((1055, "OK")))])),
            (
                "started by somebody, in vain",
                guest().tasks(&[task("qmstart", "101", Some((1055, "failed")))]),
            ),
            ("being started by somebody", guest().tasks(&[task("qmstart", "101", None)])),
            ("started by HA", guest().tasks(&[task("hastart", "101", Some((1055, "OK")))])),
            ("started by somebody, long ago", {
                let early = Task { started_at: at(1001), ..task("qmstart", "101", Some((1002, "OK"))) };
                guest().tasks(&[early])
            }),
            ("started by ourselves, and down again", guest().tasks(&[own])),
            ("our own start is at work", guest().tasks(&[running])),
            ("a backup of it", guest().tasks(&[task("vzdump", "101", None)])),
            ("a backup of another guest", guest().tasks(&[task("vzdump", "102", None)])),
            ("a backup of it, and somebody's start", {
                let start = Task { started_at: at(1060), ..task("qmstart", "101", None) };
                guest().tasks(&[task("vzdump", "101", None), start])
            }),
            ("a backup of many", guest().tasks(&[task("vzdump", "", None)])),
            ("a backup of many, over", guest().tasks(&[task("vzdump", "", Some((1090, "OK")))])),
            ("it is being moved", guest().tasks(&[task("qmigrate", "101", None)])),
            ("its node starts all", guest().tasks(&[task("startall", "", None)])),
            ("a download", guest().tasks(&[task("download", "", None)])),
            ("a console", guest().tasks(&[task("vncproxy", "102", None)])),
        ],
        expect![[r#"
            stopped by somebody since                    hold: stopped since by alice@pve (qmstop)
            stopped since, and started again, and down   act: start it on pve1, attempt 1
            stopped since, and started in vain           hold: stopped since by alice@pve (qmstop)
            stopped, and started in the same second      hold: stopped since by alice@pve (qmstop)
            taken back to a snapshot                     hold: stopped since by alice@pve (qmrollback)
            being stopped                                hold: stopped since by alice@pve (qmshutdown); a task is at work on it, by alice@pve (qmshutdown)
            stopped before it was moved                  hold: stopped since by alice@pve (qmstop)
            another guest was stopped                    act: start it on pve1, attempt 1
            a stop that was over before                  act: start it on pve1, attempt 1
            over just before, by the node's own clock    hold: stopped since by alice@pve (qmstop)
            the node's own stopall                       hold: stopped since by alice@pve (stopall)
            started by somebody                          hold: just started by alice@pve (qmstart)
            started by somebody, in vain                 act: start it on pve1, attempt 1
            being started by somebody                    hold: just started by alice@pve (qmstart); a task is at work on it, by alice@pve (qmstart)
            started by HA                                hold: just started by alice@pve (hastart)
            started by somebody, long ago                act: start it on pve1, attempt 1
            started by ourselves, and down again         act: start it on pve1, attempt 1
            our own start is at work                     hold: a task is at work on it, by alice@pve (qmstart)
            a backup of it                               hold: a task is at work on it, by alice@pve (vzdump)
            a backup of another guest                    act: start it on pve1, attempt 1
            a backup of it, and somebody's start         hold: just started by alice@pve (qmstart); a task is at work on it, by alice@pve (vzdump)
            a backup of many                             hold: a task is at work on it, by alice@pve (vzdump)
            a backup of many, over                       act: start it on pve1, attempt 1
            it is being moved                            hold: a task is at work on it, by alice@pve (qmigrate)
            its node starts all                          hold: a task is at work on it, by alice@pve (startall)
            a download                                   act: start it on pve1, attempt 1
            a console                                    act: start it on pve1, attempt 1"#]],
    );
}
