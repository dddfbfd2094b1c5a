//! Random clusters, faults, operators, HA and backups from a seed, judged by what really befell the guests and nodes.
//!
//! The judge (`tests/judge`) knows the simulator's truth and never asks the engine what it thinks: no crash that was none,
//! no crash untold, no node called lost that lives, none lost and untold, nothing told twice, also after a kill.
//!
//! A failure prints the seed and the scenario; `SWARM_SEED=n cargo test -p sim --test swarm -- --nocapture` plays it again
//! and prints its log. `make swarm` plays until a million faults have been seen, `SWARM_FAULTS=n` sets another number.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic, its helpers too")]

#[path = "../judge/mod.rs"]
mod judge;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use engine::record::duration;
use engine::{Effect, Input};
use jiff::SignedDuration;
use judge::Judge;
use judge::acts::Count;
use sim::Rng;
use sim::run::{BEGIN, Faults, Ordeal, endure};
use sim::script::Script;

/// In the daily tests the swarm stops here, however far it came.
const TIME_MAX: Duration = Duration::from_secs(40);

/// So many scenarios may fail before it is given up.
const FAILED_MAX: usize = 10;
/// After so many scenarios it says how far it has come.
const PROGRESS: u64 = 1_000;

/// Of so many faults, each guardrail must have objected [`MET_MIN`] times.
const MANY: u64 = 1_000_000;
const MET_MIN: u64 = 1_000;
/// What guardrails can say.
const OBJECTIONS: [&str; 31] = [
    "killSwitch",
    "standby",
    "level",
    "grace",
    "cooldown",
    "blastRadius",
    "queue",
    "stagger",
    "noQuorum",
    "oneView",
    "noAddress",
    "notSeen",
    "protected",
    "taggedIgnore",
    "notWanted",
    "template",
    "locked",
    "highAvailability",
    "taskRuns",
    "startedBy",
    "stoppedBy",
    "notStopped",
    "notFailed",
    "notThere",
    "nodeBoots",
    "nodeAway",
    "causeStands",
    "vital",
    "maintenance",
    "storm",
    "dismissed",
];

#[test]
fn what_must_hold_in_every_scenario() {
    if let Some(seed) = number("SWARM_SEED") {
        println!("{}", world::scenario(seed));
        println!("{}", story(seed));
        play(seed);
        return;
    }
    let wanted = number("SWARM_FAULTS");
    let first = number("SWARM_FIRST").unwrap_or(1);
    let began = Instant::now();
    let mut sum = Sum::default();
    let mut failed = Vec::new();
    for seed in first.. {
        match catch_unwind(AssertUnwindSafe(|| play(seed))) {
            Ok(played) => sum.add(&played),
            // One fault is seldom alone, and a whole swarm takes its time: the others are to be seen, too.
            Err(_) => {
                println!("seed {seed} failed; SWARM_SEED={seed} plays it again:\n{}", world::scenario(seed));
                failed.push(seed);
            }
        }
        let enough = wanted.map_or(began.elapsed() > TIME_MAX, |wanted| sum.faults >= wanted);
        if enough || failed.len() == FAILED_MAX {
            break;
        }
        if seed.is_multiple_of(PROGRESS) {
            println!("up to seed {seed}: {} faults, {} scenarios failed", sum.faults, failed.len());
        }
    }
    assert!(failed.is_empty(), "these seeds failed: {failed:?}; SWARM_SEED=n plays one again");
    println!("{sum} in {:.0?}", began.elapsed());
    assert!(sum.objections.contains_key("maintenance"), "nobody announced work that mattered: {sum}");
    if sum.faults >= MANY {
        let met = |word: &str| sum.objections.get(word).map_or(0, |count| count.met);
        let rare: Vec<_> = OBJECTIONS.iter().filter(|word| met(word) < MET_MIN).collect();
        assert!(rare.is_empty(), "guardrails that objected too seldom for a proof: {rare:?}");
    }
    assert!(sum.deaths > 0 && sum.faults > 0, "a swarm in which nothing happens proves nothing: {sum}");
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// What is told in it, whether that is right or not.
fn story(seed: u64) -> String {
    let (script, ordeal) = (Script::parse(&world::scenario(seed)).unwrap(), ordeal(seed));
    let mut looks = String::new();
    let log = endure(&script, &ordeal, &mut |moment| {
        let at = duration(moment.at.duration_since(BEGIN));
        for effect in moment.effects {
            if let Effect::Inspect(inspection) = effect {
                looks.push_str(&format!("{at} {inspection:?}\n"));
            }
        }
        if let Input::Inspected { inspection, answer } = moment.input {
            looks.push_str(&format!("{at} {inspection:?} -> {answer:?}\n"));
        }
    });
    format!("kills at {:?}\n{looks}\n{}", ordeal.kills, log.unwrap().log)
}

fn ordeal(seed: u64) -> Ordeal {
    let length = Script::parse(&world::scenario(seed)).unwrap().length.as_secs() as usize;
    let mut rng = Rng::new(seed ^ 0x5eed);
    let probability = [0.0, 0.01, 0.05, 0.15][rng.below(4)];
    let kills = (0..rng.below(4)).map(|_| SignedDuration::from_secs(rng.below(length) as i64)).collect();
    Ordeal { faults: Faults::Each { probability, seed }, kills, lenient: true }
}

/// What one scenario came to.
struct Played {
    faults: u64,
    deaths: u64,
    told: u64,
    judged: u64,
    left: u64,
    owed: u64,
    withheld: u64,
    acts: u64,
    mended: u64,
    escalated: u64,
    objections: BTreeMap<&'static str, Count>,
}

fn play(seed: u64) -> Played {
    let text = world::scenario(seed);
    let script = Script::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let ordeal = ordeal(seed);
    let mut judge = Judge::new(&script, &text);
    let report = endure(&script, &ordeal, &mut |moment| judge.see(moment)).unwrap();
    judge.end();
    assert!(report.repeated.is_empty(), "told twice: {:#?}\n{}", report.repeated, report.log);
    let happened = script.steps.len() as u64 - report.senseless;
    Played {
        faults: report.failed.len() as u64 + happened,
        deaths: judge.deaths,
        told: judge.told,
        judged: judge.due,
        left: judge.left,
        owed: judge.acts.owed,
        withheld: judge.acts.withheld,
        acts: judge.acts.acts,
        mended: judge.acts.mended,
        escalated: judge.acts.escalated,
        objections: judge.acts.objections.counts,
    }
}

#[derive(Default)]
struct Sum {
    runs: u64,
    faults: u64,
    deaths: u64,
    told: u64,
    judged: u64,
    left: u64,
    owed: u64,
    withheld: u64,
    acts: u64,
    mended: u64,
    escalated: u64,
    objections: BTreeMap<&'static str, Count>,
}

impl Sum {
    fn add(&mut self, played: &Played) {
        self.runs += 1;
        self.faults += played.faults;
        self.deaths += played.deaths;
        self.told += played.told;
        self.judged += played.judged;
        self.left += played.left;
        self.owed += played.owed;
        self.withheld += played.withheld;
        self.acts += played.acts;
        self.mended += played.mended;
        self.escalated += played.escalated;
        for (word, count) in &played.objections {
            let sum = self.objections.entry(word).or_default();
            sum.met += count.met;
            sum.alone += count.alone;
        }
    }
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Sum {
            runs,
            faults,
            deaths,
            told,
            judged,
            left,
            owed,
            withheld,
            acts,
            mended,
            escalated,
            objections,
        } = self;
        write!(
            f,
            "{runs} scenarios, {faults} faults; {deaths} deaths, {told} told as crashes, 0 false; {judged} had to be told, 0 missed; \
             {left} told as left by their node's restart; {owed} had to be acted on, 0 stuck; {acts} acts ({withheld} withheld right before the call), {mended} mended, {escalated} escalated, 0 breaches; incidents to which each guardrail objected (and was alone to):"
        )?;
        for (word, Count { met, alone }) in objections {
            write!(f, " {word} {met} ({alone})")?;
        }
        Ok(())
    }
}
