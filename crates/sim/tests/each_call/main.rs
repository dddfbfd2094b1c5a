//! Every scenario once more with one of its calls failing, for each call in turn: the same story, and no false crash.
//!
//! A failed call is one lost round, or one look that knows less. So nothing may be told of it; what is told may come later
//! (two polls), and may lack what the call would have said; and it must be true, as the judge of the swarm sees it.
//!
//! `EACH_CALL=all` fails every call in every way (400,000 runs); `EACH_CALL=scenario` does so with one scenario (or those whose name
//! begins so), and `EACH_CALL="scenario 17 Reset"` plays one of them and prints what was told. Without it, a choice is
//! made that has every call near to what happens, and a sample of those in quiet times.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic, its helpers too")]

#[path = "../judge/mod.rs"]
mod judge;
mod story;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use engine::observe::Round;
use jiff::{SignedDuration, Timestamp};
use judge::Judge;

use engine::decide::Autonomy;
use sim::Rng;
use sim::run::{Asked, BEGIN, Fault, Faults, Fork, Moment, Purpose, Report, Watch, each_call, watch_with};
use sim::script::Script;
use story::Story;

/// As many as a small machine has cores.
const THREADS: usize = 2;
/// Failures of a scenario that are printed in full; of the others only the number.
const SHOWN_MAX: usize = 2;

/// In the daily tests: one of so many calls at which nothing happens near.
const QUIET_ONE_OF: u64 = 8;
/// What is near: before something happens or is told, and after it.
const NEAR_BEFORE: SignedDuration = SignedDuration::from_secs(13);
const NEAR_AFTER: SignedDuration = SignedDuration::from_secs(26);

/// Other words for the same truth, or one that is told in one run only: the scenario, what is told of it, and why that
/// is right. None of them is a crash.
const ALSO_TRUE: [(&str, &str, &str); 3] = [
    (
        "ha-guest-crash-on-slow-ha",
        "running to stopped, in a transition (lock migrate) instead of",
        "a look 20 s later finds HA at work: it holds the guest to bring it elsewhere",
    ),
    (
        "node-reboot-obstinate-guest",
        "untold: noted                        qemu/102 (deaf01): running to stopped, by root@pam (stopall)",
        "its node leaves 15 s after it, on purpose, and that explains it",
    ),
    (
        "backup-and-power-off-inside",
        "untold: noted                        qemu/101 (web01): shutdown to stopped, in a transition (lock backup)",
        "a look 12 s later finds the backup over: it is told as what it is at once, without the note before",
    ),
];

#[test]
fn one_failed_call_changes_no_story() {
    let chosen = std::env::var("EACH_CALL").unwrap_or_default();
    let words: Vec<&str> = chosen.split_whitespace().collect();
    let (which, name) = match &words[..] {
        [] => (Which::Sample, ""),
        ["all"] => (Which::All, ""),
        [name] => (Which::All, *name),
        [name, number, fault] => {
            let (story, sum) = replay(name, number, fault);
            println!("{story}");
            assert!(sum.runs == 1 && sum.failed == 0, "{}", sum.words());
            return;
        }
        _ => panic!("EACH_CALL is \"all\", a scenario, or a scenario, a number and a fault: {chosen}"),
    };
    let mut scenarios = scenarios(name);
    // The longest ones first, so that no thread has to wait for one of them at the end.
    scenarios.sort_by_key(|scenario| std::cmp::Reverse(scenario.clean.calls));
    let began = Instant::now();
    let (next, sum) = (AtomicUsize::new(0), Mutex::new(Sum::default()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
                    scenario.play(which, &sum);
                }
            });
        }
    });
    let sum = sum.into_inner().unwrap();
    let calls: usize = scenarios.iter().map(Scenario::calls).sum();
    println!("{sum} of {} scenarios with {calls} calls, in {:.0?}", scenarios.len(), began.elapsed());
    assert!(sum.runs > 0, "no scenario is called {name}");
    assert!(sum.failed == 0, "{} of {} runs tell another story:\n{}", sum.failed, sum.runs, sum.words());
}

/// Which calls are made to fail, and how.
#[derive(Clone, Copy)]
enum Which {
    /// Every one in every way.
    All,
    /// One way each, and of those that hardly matter only some.
    Sample,
}

/// One scenario, and its story when nothing fails.
struct Scenario {
    name: String,
    text: String,
    /// Long enough that what one failed call delays is told before its end.
    script: Script,
    /// As long as it was written.
    length: SignedDuration,
    clean: Report,
    story: Story,
    /// When something happens or is told.
    eventful: Vec<Timestamp>,
}

fn scenarios(prefix: &str) -> Vec<Scenario> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut paths: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 20, "the scenarios are somewhere else: {}", folder.display());
    let wanted = |path: &&std::path::PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(prefix);
    // A story of an act goes on from what Jarvis did: without it there is no such story.
    let seen_only =
        |path: &&std::path::PathBuf| !path.file_name().unwrap().to_string_lossy().starts_with("act-");
    paths.iter().filter(wanted).filter(seen_only).map(|path| Scenario::read(path)).collect()
}

impl Scenario {
    fn read(path: &Path) -> Scenario {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path.join("scenario.txt")).unwrap();
        let mut script = Script::parse(&text).unwrap_or_else(|error| panic!("{name}/scenario.txt, {error}"));
        // What is seen is the question; what is done makes each failed call another story.
        script.autonomy = Autonomy::Alert;
        let length = script.length;
        let mut first = Watcher::new(&script, &text);
        watch_with(&script, &Faults::None, &mut |moment| first.see(moment)).unwrap();
        let end = first.story.must_be_told_by(BEGIN + length, &script.tiers);
        script.length = end.duration_since(BEGIN);
        let mut watcher = Watcher::new(&script, &text);
        let clean = watch_with(&script, &Faults::None, &mut |moment| watcher.see(moment)).unwrap();
        watcher.judge.end();
        assert_eq!(watcher.trouble, None, "{name}: judged without any fault");
        let happens = script.timed_steps().map(|(at, _)| BEGIN + at);
        let eventful = happens.chain(watcher.story.times()).collect();
        Scenario { name, text, script, length, clean, story: watcher.story, eventful }
    }

    fn play(&self, which: Which, sum: &Mutex<Sum>) {
        let end = BEGIN + self.length;
        let choose = |number: u64, asked: &Asked| match which {
            _ if asked.at > end => Vec::new(),
            Which::All => Fault::ALL.to_vec(),
            Which::Sample => self.sample(number, asked),
        };
        let mut local = Sum::default();
        let watcher = Watcher::new(&self.script, &self.text);
        each_call(&self.script, watcher, &choose, &mut |fork| local.add(self, &fork)).unwrap();
        sum.lock().unwrap().join(local);
    }

    /// One fault for a call, another one for the next; of the calls in quiet times only some.
    fn sample(&self, number: u64, asked: &Asked) -> Vec<Fault> {
        let near = |at: &Timestamp| *at >= asked.at - NEAR_AFTER && *at <= asked.at + NEAR_BEFORE;
        let live = asked.purpose == Purpose::Round(Round::Live);
        let chosen = asked.purpose == Purpose::Look
            || (!live && self.eventful.iter().any(near))
            || Rng::new(self.script.seed ^ number).bits().is_multiple_of(QUIET_ONE_OF);
        let turn = number + self.name.len() as u64;
        chosen.then(|| Fault::ALL[(turn % Fault::ALL.len() as u64) as usize]).into_iter().collect()
    }

    /// What is wrong with a run, and by how much an entry of it came later.
    fn judge(&self, fork: &Fork<Watcher>) -> (Vec<String>, SignedDuration) {
        let end = BEGIN + self.length;
        let (mut story, end) = match fork.joined {
            Some(joined) => (self.story.until(joined), joined),
            None => (self.story.clone(), end),
        };
        let mut ill = fork.watch.story.clone();
        if fork.asked.purpose == Purpose::Round(Round::Critical) {
            story.without_blindness_near(&mut ill, fork.asked.at, &self.script.tiers);
        }
        let (mut troubles, latest) = story.differs(&ill, end, &self.script.tiers);
        let also_true = |(scenario, words, _): &(&str, &str, &str), trouble: &str| {
            *scenario == self.name && trouble.contains(words)
        };
        troubles.retain(|trouble| !ALSO_TRUE.iter().any(|known| also_true(known, trouble)));
        troubles.extend(fork.watch.trouble.clone());
        troubles.extend(fork.report.repeated.iter().map(|what| format!("told twice: {what}")));
        (troubles, latest)
    }

    /// The calls that are made before the scenario's own end.
    fn calls(&self) -> usize {
        self.clean.asked.partition_point(|call| call.at <= BEGIN + self.length)
    }
}

/// Judges, and writes the story down.
#[derive(Clone)]
struct Watcher {
    judge: Judge,
    story: Story,
    /// What the judge said; it says no more after that.
    trouble: Option<String>,
}

impl Watcher {
    fn new(script: &Script, text: &str) -> Watcher {
        Watcher { judge: Judge::new(script, text), story: Story::default(), trouble: None }
    }
}

impl Watch for Watcher {
    fn see(&mut self, moment: &Moment) {
        self.story.see(moment);
        if self.trouble.is_some() {
            return;
        }
        let judge = &mut self.judge;
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| judge.see(moment))) {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            self.trouble = Some(format!("judged: {}", text.unwrap_or("by a panic without words")));
        }
    }
}

/// What is told without the fault and with it, and the judgement.
fn replay(name: &str, number: &str, fault: &str) -> (String, Sum) {
    let scenarios = scenarios(name);
    let scenario = scenarios.iter().find(|scenario| scenario.name == name).unwrap();
    let fault = Fault::ALL.into_iter().find(|known| format!("{known:?}") == fault).unwrap();
    let number: u64 = number.parse().unwrap();
    let faults = Faults::Call { number, fault };
    let report = watch_with(&scenario.script, &faults, &mut |_| ()).unwrap();
    let clean = &scenario.clean.log;
    let story = format!("without a fault:\n{clean}\nwith {:?}:\n{}", report.failed, report.log);
    let choose = |k: u64, _: &Asked| if k == number { vec![fault] } else { Vec::new() };
    let watcher = Watcher::new(&scenario.script, &scenario.text);
    let mut sum = Sum::default();
    each_call(&scenario.script, watcher, &choose, &mut |fork| sum.add(scenario, &fork)).unwrap();
    (story, sum)
}

/// What the runs came to.
#[derive(Default)]
struct Sum {
    runs: u64,
    failed: u64,
    shown: Vec<String>,
    by: BTreeMap<String, u64>,
    latest: (SignedDuration, String),
}

impl Sum {
    fn add(&mut self, scenario: &Scenario, fork: &Fork<Watcher>) {
        let (troubles, latest) = scenario.judge(fork);
        let Fork { number, fault, asked, .. } = fork;
        let replay = format!("EACH_CALL=\"{} {number} {fault:?}\"", scenario.name);
        self.runs += 1;
        if latest > self.latest.0 {
            self.latest = (latest, replay.clone());
        }
        if troubles.is_empty() {
            return;
        }
        self.failed += 1;
        *self.by.entry(format!("{}: {} ({:?})", scenario.name, asked.what, asked.purpose)).or_default() += 1;
        let at = asked.at.duration_since(BEGIN).as_secs();
        let call = format!("{} at {}:{:02}", asked.what, at / 60, at % 60);
        self.shown.push(format!("{replay} ({call})\n    {}", troubles.join("\n    ")));
        self.shown.truncate(SHOWN_MAX);
    }

    fn join(&mut self, other: Sum) {
        self.runs += other.runs;
        self.failed += other.failed;
        self.shown.extend(other.shown);
        self.by.extend(other.by);
        if other.latest.0 > self.latest.0 {
            self.latest = other.latest;
        }
    }

    fn words(&self) -> String {
        let by: Vec<String> = self.by.iter().map(|(what, count)| format!("{count:5} {what}")).collect();
        format!("{}\n{}", self.shown.join("\n"), by.join("\n"))
    }
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (latest, which) = (self.latest.0.as_secs(), &self.latest.1);
        write!(
            f,
            "{} runs with one failed call each, an entry at most {latest} s later ({which}),",
            self.runs
        )
    }
}
