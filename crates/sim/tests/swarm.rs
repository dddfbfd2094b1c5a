//! Random scenarios from a seed. Nothing is expected but what must hold in every one of them.
//!
//! A failure prints the seed and the scenario: `SWARM_SEED=n cargo test -p sim --test swarm -- --nocapture` plays it
//! again and prints its log.
//! `SWARM_RUNS=n` plays more of them.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic, its helpers too")]

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use engine::observe::{GuestId, Seen, Subject};
use engine::record::Fact;
use engine::{Effect, Input};
use jiff::{SignedDuration, Timestamp};
use sim::Rng;
use sim::run::{BEGIN, Moment, watch};
use sim::script::{Command, Script};

const RUNS: u64 = 100;
/// The swarm stops here, however many were asked for by default: it must never be why nobody runs the tests.
const TIME_MAX: Duration = Duration::from_secs(4);

#[test]
fn what_must_hold_in_every_scenario() {
    if let Some(seed) = number("SWARM_SEED") {
        println!("{}\n{}", scenario(seed), play(seed));
        return;
    }
    let runs = number("SWARM_RUNS");
    let began = Instant::now();
    for seed in 1..=runs.unwrap_or(RUNS) {
        if catch_unwind(AssertUnwindSafe(|| play(seed))).is_err() {
            panic!("seed {seed} failed; SWARM_SEED={seed} plays it again:\n{}", scenario(seed));
        }
        if runs.is_none() && began.elapsed() > TIME_MAX {
            println!("{seed} of {RUNS} scenarios in {TIME_MAX:?}");
            return;
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Gives the log.
fn play(seed: u64) -> String {
    let script = Script::parse(&scenario(seed)).unwrap_or_else(|error| panic!("{error}\n{}", scenario(seed)));
    let mut rules = Rules { asked_for: asked_for(&script), deaths: deaths(&script), ..Rules::default() };
    let report = watch(&script, &mut |moment| rules.hold(moment)).unwrap_or_else(|error| panic!("{error}"));
    assert!(report.repeated.is_empty(), "told twice: {:#?}\n{}", report.repeated, report.log);
    report.log
}

/// What an operator asked for, by guest: when.
fn asked_for(script: &Script) -> BTreeMap<GuestId, Vec<Timestamp>> {
    let mut asked: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (at, step) in script.timed_steps() {
        if let Command::Ask { guest, .. } = &step.command {
            asked.entry(*guest).or_default().push(BEGIN + at);
        }
    }
    asked
}

/// When a guest dies and nobody asked for it.
fn deaths(script: &Script) -> BTreeMap<GuestId, Vec<Timestamp>> {
    let mut deaths: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (at, step) in script.timed_steps() {
        if let Command::Crash(guest, _) | Command::PowerOff(guest) = &step.command {
            deaths.entry(*guest).or_default().push(BEGIN + at);
        }
    }
    deaths
}

#[derive(Default)]
struct Rules {
    open: BTreeMap<String, String>,
    crashed: BTreeSet<GuestId>,
    asked_for: BTreeMap<GuestId, Vec<Timestamp>>,
    /// When the script lets a guest die, and how many of these deaths have been told.
    deaths: BTreeMap<GuestId, Vec<Timestamp>>,
    told: BTreeMap<GuestId, usize>,
    blind: bool,
    now: Option<Timestamp>,
}

impl Rules {
    fn hold(&mut self, moment: &Moment) {
        assert!(self.now.is_none_or(|before| before <= moment.at), "time runs backwards");
        self.now = Some(moment.at);
        if let Input::Observed(snapshot) = moment.input {
            self.blind = matches!(snapshot.guests, Seen::NotReached(_));
        }
        for effect in moment.effects {
            if let Effect::Record(entry) = effect {
                self.entry(moment, &entry.subject, &entry.fact);
            }
        }
    }

    fn entry(&mut self, moment: &Moment, subject: &Subject, fact: &Fact) {
        match fact {
            Fact::Opened { incident, finding } => {
                let slot = format!("{} {subject}", check(finding.condition().as_str()));
                let other = self.open.insert(slot.clone(), format!("{incident:?}"));
                assert!(other.is_none(), "two open incidents for {slot}");
                if let (Subject::Guest(id), true) = (subject, slot.starts_with("CRASHED")) {
                    self.crash(moment, *id);
                }
            }
            Fact::Turned { incident, finding, .. } => {
                let slot = format!("{} {subject}", check(finding.condition().as_str()));
                let known = self.open.get(&slot);
                assert_eq!(known, Some(&format!("{incident:?}")), "{slot} turned, but another is open");
            }
            Fact::Resolved { incident, finding, .. } => {
                let slot = format!("{} {subject}", check(finding.condition().as_str()));
                let known = self.open.remove(&slot);
                assert_eq!(known, Some(format!("{incident:?}")), "{slot} resolved, but it was not open");
                if let Subject::Guest(id) = subject {
                    self.crashed.remove(id);
                }
            }
            Fact::Noted(_) | Fact::Heartbeat(_) => {}
        }
    }

    fn crash(&mut self, moment: &Moment, id: GuestId) {
        assert!(!self.blind, "{id} is told as crashed while nothing can be seen");
        assert!(self.crashed.insert(id), "{id} is told as crashed twice");
        let guest = moment.cluster.guests().get(&id);
        assert!(guest.is_some_and(|guest| !guest.spec.template), "{id} is told as crashed and can never run");
        let deaths = self.deaths.get(&id).into_iter().flatten().filter(|at| **at <= moment.at).count();
        let told = self.told.entry(id).or_default();
        *told += 1;
        assert!(*told <= deaths, "{id} is told as crashed {told} times and died {deaths} times");
        // A stop that somebody asked for within the last minute, and nothing else that befell it.
        let asked = self.asked_for.get(&id).into_iter().flatten();
        let recent = asked.filter(|at| **at <= moment.at && moment.at.duration_since(**at) < RECENT);
        assert_eq!(recent.count(), 0, "{id} is told as crashed, but somebody had just asked for something");
    }
}

/// Scenarios keep a guest that somebody asked something of away from other trouble for this long.
const RECENT: SignedDuration = SignedDuration::from_secs(90);

/// Conditions of one check are rungs of one ladder.
fn check(condition: &str) -> &str {
    match condition {
        "VM_CRASHED" | "CT_CRASHED" => "CRASHED",
        other => other.trim_end_matches("_HIGH").trim_end_matches("_CRITICAL"),
    }
}

/// What a random scenario keeps in mind, so that its commands make sense.
struct World {
    rng: Rng,
    text: String,
    nodes: usize,
    /// Guests that the script lets run, and where; one that is busy is left alone until then.
    guests: BTreeMap<String, (usize, bool, i64)>,
    /// Nodes that are off, or not yet long enough up again.
    down: BTreeSet<usize>,
    ready: BTreeMap<usize, i64>,
}

/// A scenario of 15 minutes with some 30 events.
fn scenario(seed: u64) -> String {
    let mut rng = Rng::new(seed.wrapping_mul(0x2545_f491));
    let nodes = 2 + rng.below(4);
    let mut world = World {
        text: format!("seed {seed}\n"),
        nodes,
        guests: BTreeMap::new(),
        down: BTreeSet::new(),
        ready: BTreeMap::new(),
        rng,
    };
    let names: Vec<String> = (1..=nodes).map(|k| format!("pve{k}")).collect();
    world.say(&format!("nodes {}", names.join(" ")));
    for k in 0..4 + world.rng.below(10) {
        let kind = if world.rng.below(3) == 0 { "lxc" } else { "qemu" };
        let (id, node) = (format!("{kind}/{}", 100 + k), world.rng.below(nodes));
        let running = world.rng.below(4) > 0;
        let onboot = if world.rng.below(2) == 0 { " onboot" } else { "" };
        let state = if running { "running" } else { "stopped" };
        world.say(&format!("guest {id} g{k} on pve{} {state}{onboot}", node + 1));
        world.guests.insert(id, (node, running, 0));
    }
    world.say("guest qemu/900 tmpl on pve1 template");
    world.say("storage nfs shared 1000GiB used 40%");
    world.say("storage local local 100GiB used 40%");
    let mut at = 20;
    for _ in 0..10 + world.rng.below(40) {
        at += 1 + world.rng.below(40) as i64;
        world.event(at);
    }
    let end = at + 30;
    world.say(&format!("at {} end", clock(end)));
    world.text
}

fn clock(seconds: i64) -> String {
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

impl World {
    fn say(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn at(&mut self, at: i64, command: &str) {
        self.say(&format!("at {} {command}", clock(at)));
    }

    /// A guest on a node that is up, that has not been touched of late.
    fn guest(&mut self, at: i64, running: bool) -> Option<(String, usize)> {
        let free = self.guests.iter().filter(|(_, (node, runs, busy))| {
            *runs == running
                && *busy <= at
                && !self.down.contains(node)
                && self.ready.get(node).is_none_or(|ready| *ready <= at)
        });
        let free: Vec<(String, usize)> = free.map(|(id, (node, ..))| (id.clone(), *node)).collect();
        let chosen = self.rng.below(free.len());
        free.into_iter().nth(chosen)
    }

    /// Whether every node is up, and has been for a while.
    fn whole(&self, at: i64) -> bool {
        self.down.is_empty() && self.ready.values().all(|ready| *ready <= at)
    }

    fn set(&mut self, id: &str, running: bool, busy_until: i64) {
        if let Some(guest) = self.guests.get_mut(id) {
            (guest.1, guest.2) = (running, busy_until);
        }
    }

    fn event(&mut self, at: i64) {
        let by = ["", " by alice@pve", " by op@pve!t1"][self.rng.below(3)];
        let quiet = at + RECENT.as_secs();
        match self.rng.below(18) {
            0..=2 => {
                if let Some((id, _)) = self.guest(at, true) {
                    self.at(at, &format!("crash {id}"));
                    self.set(&id, false, at + 30);
                }
            }
            3..=5 => {
                if let Some((id, _)) = self.guest(at, true) {
                    let verb = ["stop", "shutdown"][self.rng.below(2)];
                    self.at(at, &format!("{verb} {id}{by}"));
                    self.set(&id, false, quiet);
                }
            }
            6 | 7 => {
                if let Some((id, _)) = self.guest(at, false).filter(|_| self.down.is_empty()) {
                    self.at(at, &format!("start {id}{by}"));
                    self.set(&id, true, quiet);
                }
            }
            8 => {
                if let Some((id, _)) = self.guest(at, true).filter(|(id, _)| id.starts_with("qemu")) {
                    self.at(at, &format!("reboot {id}{by}"));
                    self.set(&id, true, quiet);
                }
            }
            9 => {
                if let Some((id, from)) = self.guest(at, true).filter(|_| self.whole(at)) {
                    let to = (from + 1) % self.nodes;
                    self.at(at, &format!("migrate {id} to pve{}{by}", to + 1));
                    self.guests.insert(id, (to, true, quiet));
                }
            }
            10 | 11 => {
                let (node, level) = (self.rng.below(self.nodes) + 1, 50 + self.rng.below(50));
                let what = ["disk", "memory", "cpu"][self.rng.below(3)];
                self.at(at, &format!("{what} node/pve{node} {level}%"));
            }
            12 => {
                let level = 30 + self.rng.below(70);
                self.at(at, &format!("storage nfs used {level}%"));
            }
            13 => {
                let word = ["offline", "online"][self.rng.below(2)];
                self.at(at, &format!("storage nfs {word}"));
            }
            14 => {
                let words = ["unreachable", "denied", "empty", "garbage", "slow=3000", "back", "back"];
                let word = words[self.rng.below(words.len())];
                self.at(at, &format!("api {word}"));
            }
            15 => {
                // Nobody starts anything without a quorum: it is back at once.
                self.at(at, "quorum lost");
                self.at(at, "quorum back");
            }
            _ => self.node(at),
        }
    }

    /// At most one node is off, so that there is a quorum; its guests die with it and are left alone.
    fn node(&mut self, at: i64) {
        if let Some(node) = self.down.pop_first() {
            self.at(at, &format!("start-node pve{}", node + 1));
            self.ready.insert(node, at + 600);
            return;
        }
        let node = self.rng.below(self.nodes);
        if self.nodes > 2 && self.ready.get(&node).is_none_or(|ready| *ready <= at) {
            self.at(at, &format!("kill-node pve{}", node + 1));
            self.down.insert(node);
            for guest in self.guests.values_mut().filter(|guest| guest.0 == node) {
                guest.2 = i64::MAX; // Whether it comes back is its node's business.
            }
        }
    }
}
