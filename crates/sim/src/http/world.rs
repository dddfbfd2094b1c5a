//! What all listeners share: the cluster with its clock and script, or the recorded answers; and the counts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::observe::NodeName;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::access::Token;
use super::api::{self, Desk, Errand, Kept, Received};
use super::clock::Clock;
use super::control::{Counter, Counts, LEVERS};
use super::dump::{Dumps, WORKERS};
use super::errand::{self, Daemon};
use super::fault::{Fault, FaultCounts, Switchboard};
use super::recorded::Recorded;
use super::tasks::Unheard;
use super::wire::{Answer, Request};
use crate::cluster::{Api, Cluster};
use crate::rng::Rng;
use crate::script::{self, Command};

/// How many things may be planned at once through the control interface and a script together.
const PLANNED_MAX: usize = 200_000;

/// A live cluster and what is going to happen to it.
pub(super) struct World {
    cluster: Cluster,
    clock: Clock,
    planned: BTreeMap<(Timestamp, u64), Command>,
    plans: u64,
    rng: Rng,
    kept: Kept,
    dumps: Dumps,
    /// By the node that does not hear.
    unheard: BTreeMap<NodeName, Unheard>,
    generation: u64,
}

impl World {
    pub(super) fn new(
        cluster: Cluster,
        steps: Vec<(SignedDuration, Command)>,
        speed: f64,
        seed: u64,
    ) -> World {
        let began = cluster.now();
        let clock = Clock::new(began, speed);
        let planned = BTreeMap::new();
        let mut world = World {
            cluster,
            clock,
            planned,
            plans: 0,
            rng: Rng::new(seed),
            kept: Kept::default(),
            dumps: Dumps::default(),
            unheard: BTreeMap::new(),
            generation: u64::MAX,
        };
        for (at, command) in steps {
            world.plan(began + at, command);
        }
        world
    }

    fn plan(&mut self, at: Timestamp, command: Command) {
        self.plans += 1;
        self.planned.insert((at, self.plans), command);
    }

    fn catch_up(&mut self) {
        let now = self.clock.now();
        while let Some(entry) = self.planned.first_entry()
            && entry.key().0 <= now
        {
            let ((at, _), command) = entry.remove_entry();
            self.cluster.advance(at);
            if let Err(trouble) = self.cluster.apply(&command) {
                tracing::warn!(%trouble, ?command, "a planned command of the scenario made no sense");
            }
        }
        self.cluster.advance(now);
        self.listen();
    }

    /// Notes who does not hear whom any more: the lists of tasks stand still from then on.
    fn listen(&mut self) {
        if self.generation == self.cluster.generation() {
            return;
        }
        self.generation = self.cluster.generation();
        let (cluster, now) = (&self.cluster, self.cluster.now());
        for viewer in cluster.nodes().keys() {
            let unheard = self.unheard.entry(viewer.clone()).or_default();
            for name in cluster.nodes().keys() {
                if cluster.online(viewer, name) {
                    unheard.remove(name);
                } else {
                    unheard.entry(name.clone()).or_insert(now);
                }
            }
        }
    }
}

/// Where answers come from.
pub(super) enum Source {
    Live(Box<Mutex<World>>),
    Recorded(Recorded),
}

/// What a listener must know of its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sign {
    /// Whether anybody listens at all.
    pub(super) open: bool,
    /// Whether it has power.
    pub(super) alive: bool,
    /// What is wrong.
    pub(super) api: Api,
    /// Whether pvedaemon is down.
    pub(super) daemon_down: bool,
    /// Whether pvedaemon takes questions and does not answer.
    pub(super) daemon_hung: bool,
}

pub(super) struct Shared {
    source: Source,
    tokens: Mutex<Vec<Token>>,
    fingerprints: BTreeMap<NodeName, String>,
    delay_401: Duration,
    counter: Counter,
    faults: Mutex<Switchboard>,
    signs: BTreeMap<NodeName, watch::Sender<Sign>>,
    daemons: BTreeMap<NodeName, Daemon>,
    connections: AtomicU64,
    speed: f64,
    stopped: watch::Receiver<bool>,
}

/// How the cluster is to be served.
pub(super) struct Manner {
    pub(super) tokens: Vec<Token>,
    pub(super) fingerprints: BTreeMap<NodeName, String>,
    pub(super) delay_401: Duration,
    pub(super) speed: f64,
}

/// An answer, and what is to be done to it on its way.
pub(super) struct Served {
    pub(super) answer: Answer,
    /// For the counters.
    pub(super) call: String,
    pub(super) fault: Option<Fault>,
}

impl Shared {
    pub(super) fn new(
        source: Source,
        manner: Manner,
        nodes: &[NodeName],
        stopped: watch::Receiver<bool>,
    ) -> Shared {
        let open = Sign { open: true, alive: true, api: Api::Up, daemon_down: false, daemon_hung: false };
        let shared = Shared {
            source,
            tokens: Mutex::new(manner.tokens),
            fingerprints: manner.fingerprints,
            delay_401: manner.delay_401,
            counter: Counter::default(),
            faults: Mutex::default(),
            signs: nodes.iter().map(|node| (node.clone(), watch::Sender::new(open))).collect(),
            daemons: nodes.iter().map(|node| (node.clone(), Daemon::new())).collect(),
            connections: AtomicU64::new(0),
            speed: manner.speed,
            stopped,
        };
        shared.catch_up();
        shared
    }

    /// How long a time of the cluster really takes.
    pub(super) fn real(&self, time: Duration) -> Duration {
        time.div_f64(self.speed)
    }

    /// Lets a time of the cluster pass.
    pub(super) async fn sleep(&self, time: Duration) {
        if !time.is_zero() {
            tokio::time::sleep(self.real(time)).await;
        }
    }

    pub(super) fn stopped(&self) -> watch::Receiver<bool> {
        self.stopped.clone()
    }

    pub(super) fn daemon(&self, node: &NodeName) -> Option<&Daemon> {
        self.daemons.get(node)
    }

    /// The worker of pveproxy that takes a new connection: each in turn, so that whoever connects anew meets another.
    pub(super) fn worker(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed) % WORKERS
    }

    fn tokens(&self) -> MutexGuard<'_, Vec<Token>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn faults(&self) -> MutexGuard<'_, Switchboard> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn fault_counts(&self) -> FaultCounts {
        self.faults().counts()
    }

    pub(super) fn fingerprints(&self) -> &BTreeMap<NodeName, String> {
        &self.fingerprints
    }

    pub(super) fn counter(&self) -> &Counter {
        &self.counter
    }

    pub(super) fn counts(&self) -> Counts {
        self.counter.read()
    }

    pub(super) fn reset_counts(&self) {
        self.counter.reset();
    }

    /// A node's sign, and every change of it.
    pub(super) fn sign(&self, node: &NodeName) -> Option<watch::Receiver<Sign>> {
        self.signs.get(node).map(watch::Sender::subscribe)
    }

    /// What time it is in the cluster.
    pub(super) fn now(&self) -> Option<Timestamp> {
        self.world().map(|mut world| {
            world.catch_up();
            world.cluster.now()
        })
    }

    pub(super) fn with_cluster<R>(&self, look: impl FnOnce(&Cluster) -> R) -> Option<R> {
        self.world().map(|mut world| {
            world.catch_up();
            look(&world.cluster)
        })
    }

    pub(super) fn change_cluster<R>(&self, change: impl FnOnce(&mut Cluster) -> R) -> Option<R> {
        self.world().map(|mut world| {
            world.catch_up();
            let done = change(&mut world.cluster);
            self.tell(&world.cluster);
            done
        })
    }

    /// Lets the cluster's time pass until now, and the listeners know what came of it.
    pub(super) fn catch_up(&self) {
        if let Some(mut world) = self.world() {
            world.catch_up();
            self.tell(&world.cluster);
        }
    }

    /// Makes a line happen: one of the scenario language, or a lever of this server. The error says what is wrong.
    pub(super) fn apply(&self, line: &str) -> Result<(), String> {
        let code = line.split('#').next().unwrap_or_default();
        match code.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["fault", words @ ..] => self.faults().set(words),
            ["rights", id, rights] => {
                let rights = rights.parse().map_err(|error| format!("{error}"))?;
                self.known_token(id, |token| token.rights = rights)
            }
            ["revoke", id] => {
                self.known_token(id, |_| ())?;
                self.tokens().retain(|token| token.id != *id);
                Ok(())
            }
            ["token", text] => {
                let token: Token = text.parse().map_err(|error| format!("{error}"))?;
                let mut tokens = self.tokens();
                tokens.retain(|known| known.id != token.id);
                tokens.push(token);
                Ok(())
            }
            ["rights" | "revoke" | "token", ..] => Err(LEVERS.into()),
            _ => self.play(line),
        }
    }

    fn known_token(&self, id: &str, change: impl FnOnce(&mut Token)) -> Result<(), String> {
        let mut tokens = self.tokens();
        let found = tokens.iter_mut().find(|token| token.id == id);
        found.map(change).ok_or_else(|| format!("there is no token `{id}`"))
    }

    fn play(&self, line: &str) -> Result<(), String> {
        let (after, command) = script::timed_command(line)?;
        let Some(mut world) = self.world() else {
            return Err("recorded answers cannot be changed".into());
        };
        world.catch_up();
        if after.is_zero() {
            world.cluster.apply(&command).map_err(|trouble| trouble.to_string())?;
            self.tell(&world.cluster);
        } else if world.planned.len() >= PLANNED_MAX {
            return Err(format!("too much is planned already: {PLANNED_MAX} commands at most"));
        } else {
            let at = world.cluster.now() + after;
            world.plan(at, command);
        }
        Ok(())
    }

    /// Answers a request that a worker of a node's pveproxy has read.
    pub(super) async fn serve(self: &Arc<Shared>, node: &NodeName, worker: u64, request: Request) -> Served {
        let fault = self.faults().next(node, &request);
        let call = format!("{} (fault)", request.method);
        let answer = match fault {
            Some(Fault::Error) => {
                let text = "got lock request timeout";
                let body = format!("{{\"data\":null,\"message\":\"{text}\\n\"}}");
                Answer { body: Some(body.into()), ..Answer::bare(500, text) }
            }
            Some(Fault::Proxy) => Answer::bare(595, "Connection refused"),
            None | Some(Fault::Timeout | Fault::Reset | Fault::Truncated) => {
                let (answer, call) = self.answer(node, worker, request).await;
                return Served { answer, call, fault };
            }
        };
        Served { answer, call, fault }
    }

    async fn answer(self: &Arc<Shared>, node: &NodeName, worker: u64, request: Request) -> (Answer, String) {
        if let Source::Recorded(recorded) = &self.source {
            return recorded.answer(&request, &self.tokens(), self.delay_401);
        }
        let received = self.at_desk(node, worker, |desk| api::receive(desk, request));
        match received {
            None => (Answer::bare(500, "no cluster"), "-".into()),
            Some(Received::Answer(answer, call)) => (answer, call),
            Some(Received::Errand(errand)) => {
                let call = errand.name.clone();
                if errand.protected {
                    return (errand::run(self, *errand).await, call);
                }
                let done = self.at_desk(&errand.at, worker, |desk| api::perform(desk, &errand));
                (done.map_or_else(|| Answer::bare(500, "no cluster"), |(answer, _)| answer), call)
            }
        }
    }

    /// What pvedaemon does, and how long it is busy with it.
    pub(super) fn perform(&self, errand: &Errand) -> Option<(Answer, Duration)> {
        // pvedaemon answers nothing out of the statistics, so it does not matter whose copy it is.
        self.at_desk(&errand.at, 0, |desk| api::perform(desk, errand))
    }

    fn at_desk<R>(&self, node: &NodeName, worker: u64, work: impl FnOnce(&mut Desk) -> R) -> Option<R> {
        let mut world = self.world()?;
        world.catch_up();
        let tokens = self.tokens();
        let World { cluster, rng, kept, dumps, unheard, .. } = &mut *world;
        let none = Unheard::new();
        let mut desk = Desk {
            cluster,
            viewer: node,
            tokens: &tokens,
            fingerprints: &self.fingerprints,
            rng,
            kept,
            dumps,
            worker,
            unheard: unheard.get(node).unwrap_or(&none),
            delay_401: self.delay_401,
        };
        let done = work(&mut desk);
        self.tell(&world.cluster);
        Some(done)
    }

    fn tell(&self, cluster: &Cluster) {
        for (name, node) in cluster.nodes() {
            let sign = Sign {
                open: node.alive() && node.api != Api::Refused && !node.proxy_down,
                alive: node.alive(),
                api: node.api,
                daemon_down: node.daemon_down,
                daemon_hung: node.daemon_hung,
            };
            if let Some(sender) = self.signs.get(name) {
                sender.send_if_modified(|old| std::mem::replace(old, sign) != sign);
            }
        }
    }

    /// A panic while answering one client leaves a cluster that may be odd, never one that is unsafe to read.
    fn world(&self) -> Option<MutexGuard<'_, World>> {
        match &self.source {
            Source::Live(world) => Some(world.lock().unwrap_or_else(PoisonError::into_inner)),
            Source::Recorded(_) => None,
        }
    }
}
