//! Time that passes over a watched cluster, in which what is allowed is done.

use engine::act::{Attempt, Outcome};
use engine::decide::{Autonomy, Controls, KillSwitch};
use engine::observe::{Evidence, GuestEvidence, GuestStatus, Round};
use engine::policy::Policy;
use engine::{Checkpoint, Engine, Input};

use super::{Watch, World, at};

/// A watch that has seen everything run, and may do this much.
pub fn watch(world: &World, level: Autonomy) -> Watch {
    let mut watch = Watch::allowed(Policy::default(), level);
    watch.critical(world, 5);
    watch
}

/// A guest is down, and nobody asked for it.
pub fn crash(world: &mut World, id: &str) {
    world.guest(id).status = GuestStatus::Stopped;
}

/// What a call came to, made at this second; `None`: nothing is heard of it.
pub type Call<'a> = dyn FnMut(&mut World, &Attempt, i64) -> Option<Outcome> + 'a;

/// Rounds each 12 s from `from` on, up to `to`, with every wake in between, and what is allowed is done: a start takes
/// two seconds and works, unless the world is said to be broken.
pub fn play(watch: &mut Watch, world: &mut World, from: i64, to: i64, works: bool) {
    play_calls(watch, world, from, to, &mut |world, attempt, second| {
        let upid = Some("UPID:pve1:qmstart".into());
        Some(if works {
            world.start(&attempt.action.subject().to_string(), second + 1);
            Outcome::Done { upid, said: "OK".into() }
        } else {
            Outcome::Failed { upid, why: "start failed: QEMU exited with code 1".into() }
        })
    });
}

/// The same, with calls that come to something else; each takes two seconds.
pub fn play_calls(watch: &mut Watch, world: &mut World, from: i64, to: i64, call: &mut Call) {
    let mut round = from;
    while round <= to {
        watch.step(round, world.round(Round::Critical, round));
        let next = (round + 12).min(to);
        for second in round..next {
            for _ in 0..5 {
                watch.look(world, second, 0);
            }
            for permit in std::mem::take(&mut watch.permits) {
                let (incident, _, attempt) = permit.redeem();
                if let Some(outcome) = call(world, &attempt, second) {
                    watch.step(second + 2, Input::Acted { incident, attempt: attempt.number, outcome });
                }
            }
        }
        round += 12;
    }
}

/// What is in force.
pub fn controls(kill_switch: KillSwitch, level: Autonomy) -> Controls {
    Controls { kill_switch, level, ..Controls::default() }
}

/// All is allowed that runbooks allow.
pub fn off() -> Controls {
    controls(KillSwitch::Off, Autonomy::ActReport)
}

/// Killed after this checkpoint, and started again at this second with what the journal has since.
pub fn restart(watch: &mut Watch, policy: Policy, now: i64, kept: &str, told: usize) {
    let since = watch.journal[told..].to_vec();
    let kept: Checkpoint = serde_json::from_str(kept).unwrap();
    watch.engine = Engine::restore("lab".parse().unwrap(), policy, 9, at(now), Some(kept), since);
    (watch.asked, watch.permits) = (Vec::new(), Vec::new());
    watch.log.push(format!("{now:<4} restart"));
}

/// What is kept of it: a checkpoint, and how much was told before that.
pub fn kept(watch: &Watch) -> (String, usize) {
    (serde_json::to_string(watch.engine.checkpoint()).unwrap(), watch.journal.len())
}

/// What was done to one subject.
pub fn acted<'a>(watch: &'a Watch, of: &str) -> Vec<&'a str> {
    let lines = watch.log.iter().map(String::as_str);
    lines.filter(|line| line.contains("acting") && line.contains(of)).collect()
}

/// Rounds each 12 s, and each answer about guests as `change` leaves it.
pub fn drive(
    watch: &mut Watch,
    world: &World,
    (from, to): (i64, i64),
    change: &mut dyn FnMut(&mut GuestEvidence, i64),
) {
    for second in from..to {
        if (second - from) % 12 == 0 {
            watch.step(second, world.round(Round::Critical, second));
        }
        if watch.engine.next_wake().is_some_and(|wake| wake <= at(second)) {
            watch.step(second, Input::Tick);
        }
        for inspection in std::mem::take(&mut watch.asked) {
            let mut answer = world.answer(&inspection, second);
            if let Evidence::Guests(found) = &mut answer {
                change(found, second);
            }
            watch.step(second, Input::Inspected { inspection, answer });
        }
    }
}
