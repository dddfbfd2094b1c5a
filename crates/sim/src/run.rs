//! Engine + cluster -> log: a scenario played on the virtual clock, with a daemon that is never slow or ill.
//!
//! The part of the daemon is played in its simplest form: rounds by tier, looks when the engine asks for them,
//! ticks when it wants to be woken. Nothing waits, so an hour takes a few milliseconds.

use std::collections::BTreeMap;

use engine::observe::{
    Blindness, Cause, Evidence, GuestEvidence, GuestLook, Inspection, NodeName, Round, Seen, Snapshot,
};
use engine::policy::Policy;
use engine::{Effect, Engine, Input};
use jiff::{SignedDuration, Timestamp};

use crate::cluster::{Api, Cluster};
use crate::script::{BadScript, Script, Step};

/// When every scenario begins: a Monday morning, 2026-01-05T08:00:00Z.
pub const BEGIN: Timestamp = Timestamp::constant(1_767_600_000, 0);
/// How long a look at a node takes.
const INSPECT_TAKES: SignedDuration = SignedDuration::from_millis(200);
/// After this a question is given up.
const PATIENCE: SignedDuration = SignedDuration::from_secs(10);
/// The tiers do not ask at the same instant; the state of things comes first.
const ROUNDS: [(Round, SignedDuration); 4] = [
    (Round::Critical, SignedDuration::ZERO),
    (Round::Important, SignedDuration::from_secs(1)),
    (Round::Routine, SignedDuration::from_secs(2)),
    (Round::Background, SignedDuration::from_secs(3)),
];
/// An engine that wants to be woken more often than this at one instant is caught in a loop.
const TICKS_MAX: u32 = 20;

/// What a scenario came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// One line per entry: `m:ss  text`.
    pub log: String,
    /// What the engine asked for when it was shown the same rounds once more at the same time. Must be empty.
    pub repeated: Vec<String>,
}

/// One turn of the engine, for whoever watches a scenario.
pub struct Moment<'a> {
    /// When.
    pub at: Timestamp,
    /// What the engine was given.
    pub input: &'a Input,
    /// What it asked for.
    pub effects: &'a [Effect],
    /// The engine after it.
    pub engine: &'a Engine,
    /// The cluster as it really is.
    pub cluster: &'a Cluster,
}

/// Plays a scenario to its end.
///
/// # Errors
///
/// A command of the script that makes no sense when its time has come, with its line.
pub fn run(script: &Script) -> Result<Report, BadScript> {
    watch(script, &mut |_| ())
}

/// Plays a scenario to its end and shows every turn of the engine.
///
/// # Errors
///
/// As [`run`].
pub fn watch(script: &Script, see: &mut dyn FnMut(&Moment)) -> Result<Report, BadScript> {
    let mut play = Play::new(script)?;
    while let Some((at, next)) = play.next() {
        if at > play.end {
            break;
        }
        play.cluster.advance(at);
        play.happen(at, next, see)?;
    }
    play.report.repeated = play.once_more();
    Ok(play.report)
}

struct Play<'a> {
    script: &'a Script,
    cluster: Cluster,
    engine: Engine,
    /// What is still to happen by the script, in order.
    steps: std::iter::Peekable<Box<dyn Iterator<Item = (SignedDuration, &'a Step)> + 'a>>,
    rounds: BTreeMap<Round, Timestamp>,
    /// Answers on their way.
    answers: BTreeMap<(Timestamp, u64), Answer>,
    asked: u64,
    last: BTreeMap<Round, Snapshot>,
    ticks: (Timestamp, u32),
    end: Timestamp,
    report: Report,
}

enum Next {
    Step,
    Round(Round),
    Answer,
    Tick,
}

enum Answer {
    /// What was seen when it was asked, however late it comes.
    Round(Snapshot),
    /// What is found when it comes.
    Look(GuestLook),
}

impl<'a> Play<'a> {
    fn new(script: &'a Script) -> Result<Play<'a>, BadScript> {
        let cluster = script.build(BEGIN)?;
        let engine = Engine::new(script.cluster.clone(), Policy::default(), script.seed);
        let first = BEGIN + script.tiers.first;
        let steps: Box<dyn Iterator<Item = _>> = Box::new(script.timed_steps());
        Ok(Play {
            script,
            cluster,
            engine,
            steps: steps.peekable(),
            rounds: ROUNDS.iter().map(|(round, offset)| (*round, first + *offset)).collect(),
            answers: BTreeMap::new(),
            asked: 0,
            last: BTreeMap::new(),
            ticks: (BEGIN, 0),
            end: BEGIN + script.length,
            report: Report::default(),
        })
    }

    /// What happens next; of what happens at one instant the world comes before those who look at it.
    fn next(&mut self) -> Option<(Timestamp, Next)> {
        let step = self.steps.peek().map(|(at, _)| (BEGIN + *at, 0, Next::Step));
        let answer = self.answers.first_key_value().map(|((at, _), _)| (*at, 1, Next::Answer));
        let round = self.rounds.iter().min_by_key(|(_, at)| **at);
        let round = round.map(|(round, at)| (*at, 2, Next::Round(*round)));
        let wake = self.engine.next_wake().map(|at| (at.max(self.cluster.now()), 3, Next::Tick));
        let all = [step, answer, round, wake];
        all.into_iter().flatten().min_by_key(|(at, rank, _)| (*at, *rank)).map(|(at, _, next)| (at, next))
    }

    fn happen(&mut self, at: Timestamp, next: Next, see: &mut dyn FnMut(&Moment)) -> Result<(), BadScript> {
        match next {
            Next::Step => {
                if let Some((_, step)) = self.steps.next() {
                    let wrong = |trouble: crate::cluster::Trouble| BadScript {
                        line: step.line,
                        what: trouble.to_string(),
                    };
                    self.cluster.apply(&step.command).map_err(wrong)?;
                }
            }
            Next::Round(round) => self.ask(at, round),
            Next::Answer => {
                if let Some(((_, _), answer)) = self.answers.pop_first() {
                    let input = self.open(answer);
                    self.turn(at, input, see);
                }
            }
            Next::Tick => {
                self.ticks = if self.ticks.0 == at { (at, self.ticks.1 + 1) } else { (at, 1) };
                assert!(self.ticks.1 <= TICKS_MAX, "the engine wants to be woken at {at} again and again");
                self.turn(at, Input::Tick, see);
            }
        }
        Ok(())
    }

    /// Sends a round's question. Rounds of one tier never overlap.
    fn ask(&mut self, at: Timestamp, round: Round) {
        let (snapshot, takes) = look_around(&self.cluster, round);
        let every = self.script.tiers.every(round);
        self.rounds.insert(round, at + every.max(takes));
        self.expect(at + takes, Answer::Round(snapshot));
    }

    fn expect(&mut self, at: Timestamp, answer: Answer) {
        self.asked += 1;
        self.answers.insert((at, self.asked), answer);
    }

    fn open(&mut self, answer: Answer) -> Input {
        match answer {
            Answer::Round(snapshot) => {
                self.last.insert(snapshot.round, snapshot.clone());
                Input::Observed(snapshot)
            }
            Answer::Look(look) => {
                let answer = Evidence::Guests(look_at(&self.cluster, &look));
                Input::Inspected { inspection: Inspection::Guests(look), answer }
            }
        }
    }

    fn turn(&mut self, at: Timestamp, input: Input, see: &mut dyn FnMut(&Moment)) {
        let effects = self.engine.step(at, input.clone());
        for effect in &effects {
            match effect {
                Effect::Record(entry) => {
                    let clock = clock(at.duration_since(BEGIN));
                    self.report.log.push_str(&format!("{clock:>7}  {}\n", entry.to_string().trim_end()));
                }
                Effect::Inspect(Inspection::Guests(look)) => {
                    self.expect(at + INSPECT_TAKES, Answer::Look(look.clone()));
                }
                Effect::Inspect(Inspection::Node(_) | Inspection::Services(_)) => {}
                Effect::Notify(_) => {} // Says what its entry says.
            }
        }
        let (engine, cluster) = (&self.engine, &self.cluster);
        see(&Moment { at, input: &input, effects: &effects, engine, cluster });
    }

    /// The last round of each tier once more, at the same time: nothing may come of it. A heartbeat is no
    /// judgement, so its tier is left out.
    fn once_more(&mut self) -> Vec<String> {
        let at = self.cluster.now();
        let mut repeated = Vec::new();
        for round in [Round::Critical, Round::Important, Round::Background] {
            let Some(snapshot) = self.last.get(&round) else { continue };
            let effects = self.engine.step(at, Input::Observed(snapshot.clone()));
            repeated.extend(effects.iter().map(|effect| format!("{}: {effect:?}", round.as_str())));
        }
        repeated
    }
}

/// `m:ss`, or `h:mm:ss` from one hour on.
fn clock(time: SignedDuration) -> String {
    engine::record::duration(time)
}

/// One round by the first node that answers, and how long it takes; or why none does.
fn look_around(cluster: &Cluster, round: Round) -> (Snapshot, SignedDuration) {
    if let Some(viewer) = cluster.answering().next() {
        let takes = match cluster.nodes()[viewer].api {
            Api::Slow(millis) => SignedDuration::from_millis(millis.into()),
            Api::Up
            | Api::Unreachable
            | Api::Refused
            | Api::Reset
            | Api::Hang
            | Api::Denied
            | Api::Blind
            | Api::Empty
            | Api::Garbage
            | Api::Truncated => SignedDuration::ZERO,
        };
        if takes <= PATIENCE {
            return (cluster.snapshot(viewer, round), takes);
        }
        let words = "timed out".into();
        return (unseen(cluster, round, Blindness { cause: Cause::Unreachable, words }), PATIENCE);
    }
    // Of several nodes that fail, the one that says most.
    let blindness = cluster
        .nodes()
        .values()
        .map(|node| if node.alive() { node.api } else { Api::Unreachable })
        .map(blindness_of)
        .max_by_key(|blindness| blindness.cause)
        .unwrap_or(Blindness { cause: Cause::Unreachable, words: "no endpoint".into() });
    (unseen(cluster, round, blindness), SignedDuration::ZERO)
}

fn blindness_of(api: Api) -> Blindness {
    let (cause, words) = match api {
        Api::Up | Api::Slow(_) | Api::Empty | Api::Unreachable | Api::Hang => {
            (Cause::Unreachable, "timed out")
        }
        Api::Refused => (Cause::Unreachable, "connection refused"),
        Api::Reset => (Cause::Unreachable, "connection reset by peer"),
        Api::Denied => (Cause::Refused, "401 Authentication failed!"),
        Api::Blind => (Cause::RightsLost, "403 Permission check failed (/, Sys.Audit)"),
        Api::Garbage => (Cause::Malformed, "expected value at line 1 column 1"),
        Api::Truncated => (Cause::Malformed, "the answer ended before its end"),
    };
    Blindness { cause, words: words.into() }
}

fn unseen(cluster: &Cluster, round: Round, blindness: Blindness) -> Snapshot {
    Snapshot {
        quorum: Seen::NotReached(blindness.clone()),
        nodes: Seen::NotReached(blindness.clone()),
        guests: Seen::NotReached(blindness.clone()),
        storages: Seen::NotReached(blindness),
        ..Snapshot::new(round, cluster.now())
    }
}

/// A look at one node; through another one, so a dead node is an answer of its own.
fn look_at(cluster: &Cluster, inspection: &GuestLook) -> GuestEvidence {
    let reached = cluster.answering().next().is_some() && answers(cluster, &inspection.node);
    reached.then(|| cluster.evidence(inspection)).flatten().unwrap_or_else(|| {
        let words = "595 No route to host".into();
        let blindness = Blindness { cause: Cause::Unreachable, words };
        GuestEvidence {
            live: Seen::NotReached(blindness.clone()),
            tasks: Seen::NotReached(blindness.clone()),
            booted_at: Seen::NotReached(blindness),
            journal: Seen::NotAsked,
            current: BTreeMap::new(),
        }
    })
}

fn answers(cluster: &Cluster, node: &NodeName) -> bool {
    cluster.answering().any(|name| name == node)
}
