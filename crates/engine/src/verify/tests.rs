//! Looks after a call, as a line of looks and the verdict of each: `.` not yet (and when to look next), `+` it helped, `-` it did not.

use expect_test::{Expect, expect};

use super::*;
use crate::decide::{Remedy, usual};
use crate::detect::Condition;
use crate::observe::{Blindness, Cause, GuestId, ServiceId};

fn at(second: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second)
}

fn second(at: Timestamp) -> i64 {
    at.duration_since(Timestamp::UNIX_EPOCH).as_secs()
}

/// A call that ended at 100, of a runbook that looks after 15 s, wants 60 s, and gives it 180 s.
fn watch(action: Action, outcome: Outcome) -> Watch {
    let attempt = Attempt { number: 1, action, runbook: "book".into(), at: at(98), level: 3 };
    Watch::new(attempt, outcome, at(100), &usual("book", Condition::VmCrashed, Remedy::Start))
}

fn start() -> Action {
    Action::StartGuest { guest: "qemu/101".parse::<GuestId>().unwrap(), node: "pve1".parse().unwrap() }
}

fn done() -> Outcome {
    Outcome::Done { upid: None, said: "OK".into() }
}

fn failed() -> Outcome {
    Outcome::Failed { upid: None, why: "start failed".into() }
}

/// `TIME WORD` for each look. Of a guest `run/PID/UPTIME` (with `@TIME` as of when, where that is not now), `starting` (stopped, a
/// task is at it), `gone`, `unseen` or a state; of a service systemd's word, `gone` or `unseen`; `-` is time that passes.
fn looks(mut watch: Watch, looks: &str) -> String {
    let service = matches!(watch.attempt.action, Action::RestartService { .. });
    let verdicts = looks.split(", ").map(|look| {
        let (time, word) = look.split_once(' ').unwrap();
        let now: i64 = time.parse().unwrap();
        let state = |status, pid: Option<u32>, uptime| Current {
            status,
            pid,
            uptime,
            lock: None,
            ha: None,
            monitor: true,
        };
        let (word, as_of) =
            word.split_once('@').map_or((word, now), |(word, at)| (word, at.parse().unwrap()));
        let seen = |value| Seen::At { value, asked_at: at(as_of) };
        let parts: Vec<&str> = word.split('/').collect();
        let current = match parts[..] {
            ["run", pid, uptime] => {
                seen(Some(state(GuestStatus::Running, Some(pid.parse().unwrap()), uptime.parse().unwrap())))
            }
            ["gone"] => seen(None),
            ["unseen"] => {
                Seen::NotReached(Blindness { cause: Cause::Unreachable, words: "for the test".into() })
            }
            ["paused"] => seen(Some(state(GuestStatus::Paused, Some(7), 500))),
            _ => seen(Some(state(GuestStatus::Stopped, None, 0))),
        };
        let sight = match (word, service) {
            ("-", _) => Sight::Nothing,
            ("unseen", true) => Sight::Service(None),
            ("gone", true) => Sight::Service(Some(None)),
            (word, true) => Sight::Service(Some(Some(word))),
            (word, false) => Sight::Guest { current: &current, starting: word == "starting" },
        };
        match watch.judge(at(now), &sight) {
            Verdict::Met(words) => format!("+ {words}"),
            Verdict::Missed(words) => format!("- {words}"),
            Verdict::NotYet => format!(". {}", second(watch.look_at)),
        }
    });
    verdicts.collect::<Vec<_>>().join(", ")
}

#[track_caller]
fn check(rows: Vec<(&str, Watch, &str)>, expected: Expect) {
    let rows = rows.into_iter().map(|(name, watch, seen)| {
        let first = second(watch.look_at);
        format!("{name:<34} {first}: {}", looks(watch, seen))
    });
    expected.assert_eq(&rows.collect::<Vec<_>>().join("\n"));
}

#[test]
fn whether_a_start_helped() {
    let row = |name, seen| (name, watch(start(), done()), seen);
    check(
        vec![
            row("it runs on and on", "115 run/7/14, 135 run/7/34, 155 run/7/54, 161 run/7/60"),
            row("a second too short", "160 run/7/59, 161 run/7/60"),
            row("it is another process by then", "115 run/7/14, 160 run/8/5, 220 run/8/65"),
            row("it stops in between", "115 run/7/14, 135 stopped"),
            row("its task is still at it", "115 starting, 699 starting, 700 starting"),
            row("it was gone and runs again", "115 run/7/14, 135 starting, 155 run/8/3, 212 run/8/60"),
            row("it is not there any more", "115 gone"),
            row("nobody can say for a long time", "115 unseen, 135 unseen, 900 unseen, 920 run/7/800"),
            row("an answer from before the call", "115 run/7/500@99, 135 run/7/500"),
            row("an answer from just when it ended", "115 run/7/500@100"),
            row("an answer that is a second old", "115 run/7/14, 161 run/7/59@160, 181 run/7/80"),
            row("it never lasts", "115 run/7/1, 160 run/8/1, 279 run/9/1, 280 run/10/1"),
            row("it stands still", "115 paused"),
            ("the call had failed", watch(start(), failed()), "101 stopped"),
            ("it had failed, and it runs", watch(start(), failed()), "101 run/7/40, 121 run/7/60"),
        ],
        expect![[r#"
            it runs on and on                  115: . 135, . 155, . 161, + it has run for 1:00
            a second too short                 115: . 161, + it has run for 1:00
            it is another process by then      115: . 135, . 180, + it has run for 1:05
            it stops in between                115: . 135, - it is stopped 0:35 after the call
            its task is still at it            115: . 135, . 719, - it is stopped 10:00 after the call
            it was gone and runs again         115: . 135, . 155, . 175, + it has run for 1:00
            it is not there any more           115: - it is not on its node any more
            nobody can say for a long time     115: . 135, . 155, . 920, + it has run for 13:20
            an answer from before the call     115: . 135, + it has run for 8:20
            an answer from just when it ended  115: + it has run for 8:20
            an answer that is a second old     115: . 135, . 181, + it has run for 1:20
            it never lasts                     115: . 135, . 180, . 299, - it has not kept running within 3:00
            it stands still                    115: - it is paused 0:15 after the call
            the call had failed                101: - it is stopped: start failed
            it had failed, and it runs         101: . 121, + it has run for 1:00"#]],
    );
}

#[test]
fn whether_a_resume_a_restart_or_a_wake_helped() {
    let guest = "qemu/101".parse().unwrap();
    let resume = || Action::ResumeGuest { guest, node: "pve1".parse().unwrap() };
    let service = ServiceId { node: "pve1".parse().unwrap(), name: "chrony".parse().unwrap() };
    let restart = || Action::RestartService { service: service.clone() };
    let wake = || Action::WakeNode { node: "pve1".parse().unwrap(), mac: None };
    check(
        vec![
            // It has been up all along: its uptime says nothing.
            ("a machine goes on", watch(resume(), done()), "115 run/7/9000, 174 run/7/9059, 175 run/7/9060"),
            ("it stands still again", watch(resume(), done()), "115 run/7/9000, 135 paused"),
            ("a service is active", watch(restart(), done()), "115 active, 174 active, 175 active"),
            ("it is on its way", watch(restart(), done()), "115 activating, 135 active, 195 active"),
            ("it falls back", watch(restart(), done()), "115 active, 120 reloading, 140 active, 200 active"),
            ("it fails again", watch(restart(), done()), "115 active, 135 failed"),
            ("its node does not know it", watch(restart(), done()), "115 gone"),
            ("nobody can say", watch(restart(), done()), "115 unseen, 500 unseen"),
            ("it is on its way for ever", watch(restart(), done()), "115 activating, 280 activating"),
            ("a node that does not come", watch(wake(), done()), "130 -, 279 -, 280 -"),
            ("nobody would wake it", watch(wake(), failed()), "100 -"),
        ],
        expect![[r#"
            a machine goes on                  115: . 135, . 175, + it has run for 1:00
            it stands still again              115: . 135, - it is paused 0:35 after the call
            a service is active                115: . 135, . 175, + it has been active for 1:00
            it is on its way                   115: . 135, . 155, + it has been active for 1:00
            it falls back                      115: . 135, . 135, . 160, + it has been active for 1:00
            it fails again                     115: . 135, - it is failed 0:35 after the call
            its node does not know it          115: - its node does not know it any more
            nobody can say                     115: . 135, . 520
            it is on its way for ever          115: . 135, - it has not kept running within 3:00
            a node that does not come          115: . 150, . 299, - it has not come back within 3:00
            nobody would wake it               101: - it is still away: start failed"#]],
    );
}

/// The clock was set back by an hour, or Jarvis was away: it looks at once, with as much time as it had.
#[test]
fn a_clock_that_was_set_back_makes_nothing_wait() {
    let mut before = watch(start(), done());
    before.woken(at(130));
    let times = |watch: &Watch| (second(watch.look_at), second(watch.acted_at), second(watch.deadline));
    assert_eq!(times(&before), (130, 100, 280), "after a pause");
    let mut back = watch(start(), done());
    back.proof = Some(Proof { at: at(95), pid: Some(7) });
    back.woken(at(-3500));
    assert_eq!(times(&back), (-3500, -3500, -3500 + 180), "set back");
    assert_eq!(back.proof, None, "what was seen then was seen at another time");
}
