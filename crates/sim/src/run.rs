//! Engine + cluster -> log: a scenario played on the virtual clock, with a daemon that is never slow or ill.
//!
//! The part of the daemon is played in its simplest form: rounds by tier, looks when the engine asks for them, ticks
//! when it wants to be woken. What it asks is in `ask`, how far a call comes in `reach`, which of them fail in `faults`,
//! and how each of them is made to fail in turn in `forks`.
//! Nothing waits, so an hour takes a few milliseconds.

mod ask;
mod faults;
mod forks;
mod hands;
mod reach;

use std::collections::BTreeMap;

use engine::act::Outcome;
use engine::decide::{Controls, KillSwitch, Maintenance};
use engine::observe::{Inspection, NodeName, Round, Snapshot};
use engine::policy::Policy;
use engine::record::{Entry, Order};
use engine::{Checkpoint, Command as Said, Effect, Engine, Input};
use jiff::{SignedDuration, Timestamp};

use crate::cluster::Cluster;
use crate::script::{BadScript, Command, Jarvis, Script, Step};

use ask::Asker;
pub use ask::{Asked, Purpose};
pub use faults::{Fault, Faults};
pub use forks::{Fork, Watch, each_call};
use hands::{Deed, Move};

/// When every scenario begins: a Monday morning, 2026-01-05T08:00:00Z.
pub const BEGIN: Timestamp = Timestamp::constant(1_767_600_000, 0);
/// From the engine's wish until the first call of a look, or the call of an act.
const LOOK_BEGINS: SignedDuration = SignedDuration::from_millis(50);
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

/// After so many entries, or so much time, the virtual daemon writes a checkpoint.
const CHECKPOINT_EVERY: usize = 7;
const CHECKPOINT_AFTER: SignedDuration = SignedDuration::from_mins(2);

/// What a scenario came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// One line per entry: `m:ss  text`.
    pub log: String,
    /// What the engine asked for when it was shown the same rounds once more at the same time. Must be empty.
    pub repeated: Vec<String>,
    /// How many calls the virtual daemon made.
    pub calls: u64,
    /// Those calls, in order: the first one is number 1.
    pub asked: Vec<Asked>,
    /// Which of them were made to fail, in words.
    pub failed: Vec<String>,
    /// How many had been made when each of the script's timed steps happened.
    pub marks: Vec<u64>,
    /// Commands of the script that made no sense when their time had come.
    pub senseless: u64,
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
    watch_with(script, &Faults::None, see)
}

/// Plays a scenario to its end with some of the virtual daemon's calls failing, and shows every turn of the engine.
///
/// Without a fault the calls are the same in every run, so that each can be made to fail in turn: [`Report::calls`]
/// says how many there are.
///
/// # Errors
///
/// As [`run`].
pub fn watch_with(
    script: &Script,
    faults: &Faults,
    see: &mut dyn FnMut(&Moment),
) -> Result<Report, BadScript> {
    let ordeal = Ordeal { faults: faults.clone(), ..Ordeal::default() };
    endure(script, &ordeal, see)
}

/// What is done to the virtual daemon beside what the script does to the cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ordeal {
    /// Which of its calls fail.
    pub faults: Faults,
    /// When it is killed and started anew, with its last checkpoint and the entries since.
    pub kills: Vec<SignedDuration>,
    /// Whether commands of the script that make no sense when their time has come are left out, as a random script needs
    /// it. They are counted in [`Report::senseless`].
    pub lenient: bool,
}

/// Plays a scenario to its end under an ordeal, and shows every turn of the engine.
///
/// # Errors
///
/// As [`run`].
pub fn endure(script: &Script, ordeal: &Ordeal, see: &mut dyn FnMut(&Moment)) -> Result<Report, BadScript> {
    let mut play = Play::new(script, ordeal)?;
    while let Some((at, next)) = play.next() {
        if at > play.end {
            break;
        }
        play.cluster.advance(at);
        play.happen(at, next, see)?;
    }
    play.report.repeated = play.once_more();
    (play.report.calls, play.report.failed) = (play.asker.made, play.asker.failed);
    play.report.asked = play.asker.asked;
    Ok(play.report)
}

#[derive(Clone)]
struct Play<'a> {
    script: &'a Script,
    cluster: Cluster,
    engine: Engine,
    asker: Asker,
    /// What is still to happen by the script, in order.
    steps: std::iter::Peekable<std::vec::IntoIter<(SignedDuration, &'a Step)>>,
    /// When each round is next; a live one is a node's own.
    rounds: BTreeMap<(Round, Option<NodeName>), Timestamp>,
    /// What is on its way.
    mail: BTreeMap<(Timestamp, u64), Mail>,
    sent: u64,
    last: BTreeMap<(Round, Option<NodeName>), Snapshot>,
    ticks: (Timestamp, u32),
    end: Timestamp,
    report: Report,
    lenient: bool,
    /// Whether the newest critical round was one of the majority.
    quorate: bool,
    /// When the virtual daemon is killed, the next one last.
    kills: Vec<Timestamp>,
    /// The last checkpoint, and what was recorded since.
    kept: (Checkpoint, Vec<Entry>),
    kept_at: Timestamp,
    /// What operators have set, and how often one of them has dismissed or closed something. A restart finds it as it was.
    controls: (Controls, u32),
}

#[derive(Clone)]
enum Next {
    Kill,
    Step,
    Round(Round, Option<NodeName>),
    Mail,
    Tick,
}

#[derive(Clone)]
enum Mail {
    /// A look is to be taken.
    Look(Inspection),
    /// What was seen when it was asked, however late it comes.
    Answer(Option<NodeName>, Box<Input>),
    /// Something is to be done, or its task to be looked at.
    Deed(Box<Deed>),
}

impl<'a> Play<'a> {
    fn new(script: &'a Script, ordeal: &Ordeal) -> Result<Play<'a>, BadScript> {
        let cluster = script.build(BEGIN)?;
        let mut engine = Engine::new(script.cluster.clone(), policy(script), script.seed);
        let first = BEGIN + script.tiers.first;
        let steps: Vec<_> = script.timed_steps().collect();
        let endpoints = match &script.endpoints[..] {
            [] => cluster.nodes().keys().cloned().collect(),
            some => some.to_vec(),
        };
        let asker = Asker::new(endpoints, script.rights, ordeal.faults.clone(), script.seed);
        let mut kills: Vec<Timestamp> = ordeal.kills.iter().map(|at| BEGIN + *at).collect();
        kills.sort_by(|a, b| b.cmp(a));
        let kept = (engine.checkpoint().clone(), Vec::new());
        let controls = Controls {
            kill_switch: KillSwitch::Off,
            level: script.autonomy,
            standby: false,
            maintenance: Vec::new(),
        };
        engine.step(BEGIN, Input::Commanded(Said::Controls(controls.clone())));
        Ok(Play {
            script,
            cluster,
            engine,
            asker,
            steps: steps.into_iter().peekable(),
            rounds: ROUNDS.iter().map(|(round, offset)| ((*round, None), first + *offset)).collect(),
            mail: BTreeMap::new(),
            sent: 0,
            last: BTreeMap::new(),
            ticks: (BEGIN, 0),
            end: BEGIN + script.length,
            report: Report::default(),
            lenient: ordeal.lenient,
            quorate: true,
            kills,
            kept,
            kept_at: BEGIN,
            controls: (controls, 0),
        })
    }

    /// What happens next; of what happens at one instant the world comes before those who look at it.
    fn next(&mut self) -> Option<(Timestamp, Next)> {
        let step = self.steps.peek().map(|(at, _)| (BEGIN + *at, 0, Next::Step));
        let mail = self.mail.first_key_value().map(|((at, _), _)| (*at, 1, Next::Mail));
        let round = self.rounds.iter().min_by_key(|(_, at)| **at);
        let round = round.map(|((round, node), at)| (*at, 2, Next::Round(*round, node.clone())));
        let wake = self.engine.next_wake().map(|at| (at.max(self.cluster.now()), 3, Next::Tick));
        let kill = self.kills.last().map(|at| (*at, 0, Next::Kill));
        let all = [step, mail, round, wake, kill];
        all.into_iter().flatten().min_by_key(|(at, rank, _)| (*at, *rank)).map(|(at, _, next)| (at, next))
    }

    fn happen(&mut self, at: Timestamp, next: Next, see: &mut dyn FnMut(&Moment)) -> Result<(), BadScript> {
        match next {
            Next::Step => {
                if let Some((_, step)) = self.steps.next() {
                    self.report.marks.push(self.asker.made);
                    let wrong = |trouble: crate::cluster::Trouble| BadScript {
                        line: step.line,
                        what: trouble.to_string(),
                    };
                    if let Command::Jarvis(what) = &step.command {
                        return self.told(at, step.line, what, see);
                    }
                    match self.cluster.apply(&step.command) {
                        Err(_) if self.lenient => self.report.senseless += 1,
                        done => done.map_err(wrong)?,
                    }
                }
            }
            Next::Kill => self.kill(),
            Next::Round(round, node) => self.ask(at, round, node),
            Next::Mail => match self.mail.pop_first() {
                Some((_, Mail::Look(inspection))) => {
                    let (answer, takes) = self.asker.look(&self.cluster, &inspection);
                    let input = Box::new(Input::Inspected { inspection, answer });
                    self.send(at + takes, Mail::Answer(None, input));
                }
                Some((_, Mail::Deed(deed))) => {
                    let (incident, attempt) = (deed.incident, deed.attempt.number);
                    if let Some(why) = deed.refusal(at, &self.controls) {
                        let outcome = Outcome::NotMade { why: why.into() };
                        let input = Box::new(Input::Acted { incident, attempt, outcome });
                        self.send(at, Mail::Answer(None, input));
                        return Ok(());
                    }
                    match deed.go(&mut self.cluster, &mut self.asker) {
                        Move::GoesOn(deed, takes) => self.send(at + takes, Mail::Deed(Box::new(deed))),
                        Move::Ended(outcome, takes) => {
                            let input = Box::new(Input::Acted { incident, attempt, outcome });
                            self.send(at + takes, Mail::Answer(None, input));
                        }
                    }
                }
                Some((_, Mail::Answer(node, input))) => {
                    if matches!(&*input, Input::Observed(snapshot) if snapshot.round == Round::Critical) {
                        self.follow();
                    }
                    let observed = match &*input {
                        Input::Observed(snapshot) => Some(((snapshot.round, node), snapshot.clone())),
                        Input::Inspected { .. } | Input::Acted { .. } | Input::Commanded(_) | Input::Tick => {
                            None
                        }
                    };
                    self.turn(at, *input, see);
                    // A round that came while nothing could be believed was not judged, and may be when it comes again.
                    if let Some((key, snapshot)) = observed {
                        if let (Round::Critical, Some(quorum)) = (key.0, snapshot.quorum.value()) {
                            self.quorate = quorum.quorate;
                        }
                        match self.engine.seeing() && (self.quorate || key.0 == Round::Critical) {
                            true => self.last.insert(key, snapshot),
                            false => self.last.remove(&key),
                        };
                    }
                }
                None => {}
            },
            Next::Tick => {
                self.ticks = if self.ticks.0 == at { (at, self.ticks.1 + 1) } else { (at, 1) };
                assert!(self.ticks.1 <= TICKS_MAX, "the engine wants to be woken at {at} again and again");
                self.turn(at, Input::Tick, see);
            }
        }
        Ok(())
    }

    /// An operator says something to the virtual daemon.
    fn told(
        &mut self,
        at: Timestamp,
        line: usize,
        what: &Jarvis,
        see: &mut dyn FnMut(&Moment),
    ) -> Result<(), BadScript> {
        let said = match what {
            Jarvis::KillSwitch(on) => {
                self.controls.0.kill_switch = if *on { KillSwitch::On } else { KillSwitch::Off };
                Said::Controls(self.controls.0.clone())
            }
            Jarvis::Standby(on) => {
                self.controls.0.standby = *on;
                Said::Controls(self.controls.0.clone())
            }
            Jarvis::Level(level) => {
                self.controls.0.level = *level;
                Said::Controls(self.controls.0.clone())
            }
            Jarvis::Announce(subject, lasts) => {
                let (from, until) = (at, at + *lasts);
                self.controls.0.maintenance.push(Maintenance { subject: subject.clone(), from, until });
                Said::Controls(self.controls.0.clone())
            }
            Jarvis::Order(subject, by, order) => {
                self.controls.1 += u32::from(matches!(order, Order::Dismiss | Order::Resolve));
                let mut open = self.engine.open_incidents();
                let found = open.find(|(slot, _)| slot.subject == *subject).map(|(_, incident)| incident.id);
                match found {
                    Some(incident) => Said::Order { incident, by: by.as_str().into(), order: *order },
                    None if self.lenient => {
                        self.report.senseless += 1;
                        return Ok(());
                    }
                    None => {
                        let what = format!("nothing is open on `{subject}`");
                        return Err(BadScript { line, what });
                    }
                }
            }
        };
        self.turn(at, Input::Commanded(said), see);
        Ok(())
    }

    /// The daemon dies and is started anew: what was on its way is lost, and what it knew is what it had written down.
    fn kill(&mut self) {
        self.kills.pop();
        self.mail.clear();
        let (checkpoint, since) = self.kept.clone();
        let (cluster, seed) = (self.script.cluster.clone(), self.script.seed ^ self.sent);
        self.engine =
            Engine::restore(cluster, policy(self.script), seed, self.cluster.now(), Some(checkpoint), since);
        self.kept = (self.engine.checkpoint().clone(), Vec::new());
        let now = self.cluster.now();
        let controls = Box::new(Input::Commanded(Said::Controls(self.controls.0.clone())));
        self.send(now, Mail::Answer(None, controls));
        self.rounds = ROUNDS.iter().map(|(round, offset)| ((*round, None), now + *offset)).collect();
        self.last.clear();
    }

    /// Asks a round's questions. Rounds of one tier never overlap, nor do the live ones of one node.
    fn ask(&mut self, at: Timestamp, round: Round, node: Option<NodeName>) {
        let (snapshot, takes) = self.asker.round(&self.cluster, round, node.as_ref());
        let every = self.script.tiers.every(round);
        self.rounds.insert((round, node.clone()), at + every.max(takes));
        self.send(at + takes, Mail::Answer(node, Box::new(Input::Observed(snapshot))));
    }

    /// Live rounds follow what the last critical one said is there; each node has its own instant within the interval.
    fn follow(&mut self) {
        let every = self.script.tiers.live;
        if every.is_zero() {
            return;
        }
        let there = self.asker.present();
        self.rounds.retain(|(_, node), _| node.as_ref().is_none_or(|node| there.contains(node)));
        let now = self.cluster.now();
        let count = there.len().max(1) as i32;
        for (k, node) in (1..).zip(there) {
            self.rounds.entry((Round::Live, Some(node))).or_insert(now + every * k / count);
        }
    }

    fn send(&mut self, at: Timestamp, mail: Mail) {
        self.sent += 1;
        self.mail.insert((at, self.sent), mail);
    }

    fn turn(&mut self, at: Timestamp, input: Input, see: &mut dyn FnMut(&Moment)) {
        let effects = self.engine.step(at, input.clone());
        // A checkpoint is written now and then; what is recorded in between is in the journal.
        let due = at.duration_since(self.kept_at) >= CHECKPOINT_AFTER;
        // What is seen first is told to nobody, and is what everything later is compared with.
        let critical = matches!(&input, Input::Observed(seen) if seen.round == Round::Critical);
        let first = self.kept_at == BEGIN && critical && self.engine.seeing();
        if self.kept.1.len() >= CHECKPOINT_EVERY || due || first {
            self.kept = (self.engine.checkpoint().clone(), Vec::new());
            self.kept_at = at;
        } else {
            let recorded = effects.iter().filter_map(|effect| match effect {
                Effect::Record(entry) => Some(entry.clone()),
                Effect::Inspect(_) | Effect::Notify(_) | Effect::Act(_) => None,
            });
            self.kept.1.extend(recorded);
        }
        let (engine, cluster) = (&self.engine, &self.cluster);
        see(&Moment { at, input: &input, effects: &effects, engine, cluster });
        for effect in effects {
            match effect {
                Effect::Record(entry) => {
                    let clock = clock(at.duration_since(BEGIN));
                    self.report.log.push_str(&format!("{clock:>7}  {}\n", entry.to_string().trim_end()));
                }
                Effect::Inspect(inspection) => {
                    self.send(at + LOOK_BEGINS, Mail::Look(inspection));
                }
                Effect::Notify(_) => {} // Says what its entry says.
                Effect::Act(permit) => {
                    let deed = Deed::new(permit, self.controls.clone());
                    self.send(at + LOOK_BEGINS, Mail::Deed(Box::new(deed)));
                }
            }
        }
    }

    /// The last round of each tier once more, at the same time: nothing may come of it.
    fn once_more(&mut self) -> Vec<String> {
        let at = self.cluster.now();
        // What is due anyway is no answer to a round.
        self.engine.step(at, Input::Tick);
        let mut repeated = Vec::new();
        for ((round, _), snapshot) in &self.last {
            // A heartbeat is no judgement, and a second round that saw nothing is one more that saw nothing.
            let unseen = *round == Round::Critical && !self.engine.seeing();
            if *round == Round::Routine || unseen {
                continue;
            }
            let effects = self.engine.step(at, Input::Observed(snapshot.clone()));
            repeated.extend(effects.iter().map(|effect| format!("{}: {effect:?}", round.as_str())));
        }
        repeated
    }
}

fn policy(script: &Script) -> Policy {
    Policy { protect: script.protect.clone(), ..Policy::default() }
}

/// `m:ss`, or `h:mm:ss` from one hour on.
fn clock(time: SignedDuration) -> String {
    engine::record::duration(time)
}
