//! Every scenario of the simulator once more: the daemon's own loop, store and PVE client against the same cluster behind
//! PVE's HTTP API. What is told must be what `expected.log` says.
//!
//! The clock of both runs [`SPEED`] times as fast as the world. Compared is what is told of each subject, in order:
//! neither times nor the order between subjects, which depend on how long an answer really took, nor heartbeats. Where
//! the translation makes a difference, the folder holds `expected.daemon.log` and its README says why.
//!
//! ```text
//! STORY=node-loss cargo test -p daemon --test stories      those whose name contains it
//! STORIES=all ...                                          also those that last too long for every day, see `LONG`
//! UPDATE_EXPECT=1 ...                                      writes `expected.daemon.log` of those that differ
//! ```

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by its panic")]

#[path = "stories/play.rs"]
mod play;
#[path = "stories/story.rs"]
mod story;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sim::script::Script;

use story::Story;

/// How many times faster than the world. Of an answer over TLS, some 10 ms in a busy test, this makes 0.2 s.
const SPEED: f64 = 20.0;
/// A scenario that failed is played again at this speed, alone: a machine that is busy with something else is slow in
/// the world's time, and this makes it four times as quick in the cluster's. Only what fails at both fails.
const SPEED_AGAIN: f64 = 5.0;
/// Scenarios at a time. They mostly wait.
const AT_ONCE: usize = 5;

/// Played only with `STORIES=all`: longer than this.
const LONG: Duration = Duration::from_secs(25 * 60);

/// A scenario's folder.
struct Scenario {
    name: String,
    folder: PathBuf,
    script: Script,
}

impl Scenario {
    fn all() -> Vec<Scenario> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sim/scenarios");
        let mut all: Vec<Scenario> =
            std::fs::read_dir(folder).unwrap().map(|entry| Scenario::read(&entry.unwrap().path())).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        assert!(all.len() > 20, "the scenarios are somewhere else");
        all
    }

    fn read(folder: &Path) -> Scenario {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(folder.join("scenario.txt")).unwrap();
        let script = Script::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        Scenario { name, folder: folder.to_owned(), script }
    }

    fn length(&self) -> Duration {
        self.script.length.unsigned_abs()
    }

    /// The log that the daemon is held against.
    fn golden(&self) -> PathBuf {
        let own = self.folder.join("expected.daemon.log");
        if own.exists() { own } else { self.folder.join("expected.log") }
    }

    fn expected(&self) -> Story {
        Story::of_log(&std::fs::read_to_string(self.golden()).unwrap())
    }

    /// Plays it, and says what was told differently, if anything.
    fn judge(&self, speed: f64) -> Result<(), String> {
        let expected = self.expected();
        let log = play::play(&self.name, &self.script, speed, |log| Story::of_log(log) == expected);
        let Err(diff) = expected.compare(&Story::of_log(&log)) else { return Ok(()) };
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(self.folder.join("expected.daemon.log"), &log).unwrap();
        }
        Err(format!("{diff}{log}"))
    }
}

/// Does something with each of them, some at a time, the longest first; in the order in which they were given.
fn each<T: Send, R: Send>(of: &[T], at_once: usize, length: impl Fn(&T) -> Duration, work: impl Fn(&T) -> R + Sync) -> Vec<R>
where
    T: Sync,
{
    let mut order: Vec<usize> = (0..of.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(length(&of[*at])));
    let queue = Mutex::new(VecDeque::from(order));
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(at) = next else { return };
                    let result = work(&of[at]);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

fn number(variable: &str) -> Option<f64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

#[test]
fn every_scenario_is_told_by_the_daemon_too() {
    let began = Instant::now();
    let only = std::env::var("STORY").ok();
    let named = |scenario: &Scenario| only.as_ref().is_none_or(|only| scenario.name.contains(only.as_str()));
    let long = std::env::var("STORIES").is_ok_and(|which| which == "all");
    let (scenarios, left): (Vec<_>, Vec<_>) =
        Scenario::all().into_iter().filter(named).partition(|scenario| long || scenario.length() <= LONG);
    for scenario in left {
        println!("left out without STORIES=all, as it lasts {:?}: {}", scenario.length(), scenario.name);
    }
    let speed = number("STORIES_SPEED").unwrap_or(SPEED);
    let at_once = number("STORIES_AT_ONCE").map_or(AT_ONCE, |count| count as usize);
    let judged = each(&scenarios, at_once, Scenario::length, |scenario| scenario.judge(speed));
    let told = scenarios.iter().zip(judged);
    let differ: Vec<_> = told.filter_map(|(scenario, judged)| Some((scenario, judged.err()?))).collect();
    for (scenario, diff) in &differ {
        println!("{} at {speed} times the world's speed:\n{diff}", scenario.name);
    }
    let again: Vec<_> = differ.into_iter().map(|(scenario, _)| scenario).collect();
    let judged = each(&again, at_once, |scenario| scenario.length(), |scenario| scenario.judge(SPEED_AGAIN));
    let mut failed = Vec::new();
    for (scenario, judged) in again.iter().zip(judged) {
        match judged {
            Ok(()) => println!("{} is told well at {SPEED_AGAIN} times the world's speed", scenario.name),
            Err(diff) => {
                println!("{} at {SPEED_AGAIN} times the world's speed:\n{diff}", scenario.name);
                failed.push(&scenario.name);
            }
        }
    }
    println!("{} scenarios in {:?}", scenarios.len(), began.elapsed());
    assert!(failed.is_empty(), "scenarios that the daemon tells differently (STORY=name plays one): {failed:#?}");
}
