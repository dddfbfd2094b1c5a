//! What all listeners share: the cluster with its clock and script, or the recorded answers; and the counts.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::observe::NodeName;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::access::Token;
use super::api::{self, Desk, Kept};
use super::clock::Clock;
use super::control::{Counter, Counts};
use super::recorded::Recorded;
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
        let mut world =
            World { cluster, clock, planned, plans: 0, rng: Rng::new(seed), kept: Kept::default() };
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
    /// What is wrong.
    pub(super) api: Api,
}

pub(super) struct Shared {
    source: Source,
    tokens: Vec<Token>,
    fingerprints: BTreeMap<NodeName, String>,
    delay_401: Duration,
    counter: Counter,
    signs: BTreeMap<NodeName, watch::Sender<Sign>>,
}

impl Shared {
    pub(super) fn new(
        source: Source,
        tokens: Vec<Token>,
        fingerprints: BTreeMap<NodeName, String>,
        delay_401: Duration,
        nodes: &[NodeName],
    ) -> Shared {
        let open = Sign { open: true, api: Api::Up };
        let signs = nodes.iter().map(|node| (node.clone(), watch::Sender::new(open))).collect();
        let shared = Shared { source, tokens, fingerprints, delay_401, counter: Counter::default(), signs };
        shared.catch_up();
        shared
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

    /// Lets the cluster's time pass until now, and the listeners know what came of it.
    pub(super) fn catch_up(&self) {
        if let Some(mut world) = self.world() {
            world.catch_up();
            self.tell(&world.cluster);
        }
    }

    /// Makes a line of the scenario language happen. The error says what is wrong.
    pub(super) fn apply(&self, line: &str) -> Result<(), String> {
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

    /// Answers a request to a node; the second is the call's name for the counters.
    pub(super) fn answer(&self, node: &NodeName, request: &Request) -> (Answer, String) {
        match &self.source {
            Source::Live(_) => {
                let Some(mut world) = self.world() else {
                    return (Answer::bare(500, "no cluster"), "-".into());
                };
                world.catch_up();
                let World { cluster, rng, kept, .. } = &mut *world;
                let mut desk = Desk {
                    cluster,
                    viewer: node,
                    tokens: &self.tokens,
                    fingerprints: &self.fingerprints,
                    rng,
                    kept,
                    delay_401: self.delay_401,
                };
                let answered = api::answer(&mut desk, request);
                self.tell(&world.cluster);
                answered
            }
            Source::Recorded(recorded) => recorded.answer(request, &self.tokens, self.delay_401),
        }
    }

    fn tell(&self, cluster: &Cluster) {
        for (name, node) in cluster.nodes() {
            let sign = Sign { open: node.alive() && node.api != Api::Refused, api: node.api };
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
