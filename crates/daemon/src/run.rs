//! The loop: what happened goes into the engine, what is to be done comes out. Nothing else calls `step`.
//!
//! One loop a cluster. What the engine says is to be told is written to the store first; the server tells what the
//! store has committed. While the store fails, events wait here, and the loop keeps watching and says so.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use engine::observe::{ClusterName, Round};
use engine::policy::Policy;
use engine::record::{Entry, Fact};
use engine::report::Severity;
use engine::{Checkpoint, Effect, Engine, Input};
use jiff::{SignedDuration, Timestamp};
use pve::Client;
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::observe::{Observer, Source, Tiers};
use crate::record::{self, NewEvent, Store};
use crate::report::live::Live;
use crate::report::page::Page;
use crate::supervise::{self, Stop};

/// Rounds and answers that wait for the engine. It takes milliseconds over each; more than this means that it hangs,
/// and then the pollers had better wait than fill the memory.
const INPUTS_MAX: usize = 64;
/// Events that wait for a store that fails. Beyond it the oldest are dropped, and the log says so.
const WAITING_MAX: usize = 10_000;
/// Events in one transaction.
const TOGETHER_MAX: usize = 500;
/// What checkpoints may write on average, in bytes per second: a small cluster's is written with every event, one of
/// 10,000 guests every few minutes (docs/adr/0005).
const CHECKPOINT_BYTES_PER_SECOND: usize = 20_000;

/// Everything that watching one cluster needs.
#[derive(Clone)]
pub struct Watched {
    /// Its name in the configuration.
    pub name: ClusterName,
    /// Its endpoints, in the order of the configuration.
    pub clients: Vec<Client>,
    /// The settings of its engine.
    pub policy: Policy,
    /// Where its nodes' sensors are read, if anywhere.
    pub temperature: Option<Source>,
    /// How often each tier asks.
    pub tiers: Tiers,
    /// The daemon's clock.
    pub clock: Arc<Clock>,
    /// The daemon's store.
    pub store: Store,
    /// Where it says whether it sees.
    pub live: Arc<Live>,
    /// The page; only the first cluster has one.
    pub page: Option<Arc<Page>>,
}

/// Watches one cluster until the daemon stops: its pollers, each kept alive by itself, and the loop.
pub async fn watch(watched: Watched, stop: Stop) -> anyhow::Result<()> {
    let Watched { name, clients, policy, temperature, tiers, clock, store, live, page } = watched;
    let engine = remembered(&store, &name, policy).await?;
    let (sender, inputs) = mpsc::channel(INPUTS_MAX);
    let observer = Observer::new(name.clone(), clients, Arc::clone(&clock), sender);
    let observer = Arc::new(observer.with_sensors(temperature, tiers.routine));
    // They end with this set: the loop that ends takes its pollers with it.
    let mut pollers = tokio::task::JoinSet::new();
    for round in [Round::Critical, Round::Important, Round::Routine, Round::Background] {
        let (observer, stop) = (Arc::clone(&observer), stop.clone());
        let make = {
            let stop = stop.clone();
            move || Arc::clone(&observer).tier(round, tiers, stop.clone())
        };
        pollers.spawn(supervise::keep_alive(format!("{name} {} poller", round.as_str()), stop, make));
    }
    if let Some(every) = tiers.live {
        let (observer, stop) = (Arc::clone(&observer), stop.clone());
        let make = {
            let stop = stop.clone();
            move || Arc::clone(&observer).live(every, stop.clone())
        };
        pollers.spawn(supervise::keep_alive(format!("{name} live poller"), stop, make));
    }
    if let Some(page) = page {
        let (observer, stop) = (Arc::clone(&observer), stop.clone());
        let make = {
            let stop = stop.clone();
            move || Arc::clone(&observer).page(Arc::clone(&page), stop.clone())
        };
        pollers.spawn(supervise::keep_alive(format!("{name} page poller"), stop, make));
    }
    let last_checkpoint = (clock.now(), 0);
    let mut turns = Loop { engine, observer, clock, store, live, waiting: VecDeque::new(), last_checkpoint };
    turns.run(inputs, stop).await
}

/// The engine as it was when the daemon last ran, or a new one.
async fn remembered(store: &Store, name: &ClusterName, policy: Policy) -> anyhow::Result<Engine> {
    if let Some(kept) = store.load_checkpoint(name).await? {
        match serde_json::from_str::<Checkpoint>(&kept.state) {
            Ok(checkpoint) => {
                tracing::info!(cluster = %name, from = %kept.at, "going on from the recorded state");
                return Ok(Engine::restore(name.clone(), policy, getrandom::u64()?, Some(checkpoint), []));
            }
            // Another version wrote it. What it knew is lost; what it told is in the events.
            Err(error) => {
                tracing::warn!(cluster = %name, %error, "the recorded state cannot be read; starting anew")
            }
        }
    }
    Ok(Engine::new(name.clone(), policy, getrandom::u64()?))
}

struct Loop {
    engine: Engine,
    observer: Arc<Observer>,
    clock: Arc<Clock>,
    store: Store,
    live: Arc<Live>,
    /// Told by the engine, not yet in the store.
    waiting: VecDeque<NewEvent>,
    /// When the last checkpoint was written, and how many bytes it had.
    last_checkpoint: (Timestamp, usize),
}

impl Loop {
    async fn run(&mut self, mut inputs: mpsc::Receiver<Input>, mut stop: Stop) -> anyhow::Result<()> {
        loop {
            let wake = self.engine.next_wake();
            let input = tokio::select! {
                input = inputs.recv() => match input {
                    Some(input) => input,
                    None => break,
                },
                () = sleep_until(&self.clock, wake) => Input::Tick,
                () = stop.asked() => break,
            };
            self.turn(input).await;
        }
        self.checkpoint_now().await;
        Ok(())
    }

    async fn turn(&mut self, input: Input) {
        let told = self.waiting.len();
        let round = matches!(&input, Input::Observed(snapshot) if snapshot.round == Round::Critical);
        for effect in self.engine.step(self.clock.now(), input) {
            match effect {
                Effect::Record(entry) => log(self.engine.cluster(), &entry),
                Effect::Inspect(inspection) => self.observer.inspect(inspection),
                Effect::Notify(event) => {
                    self.waiting.push_back(NewEvent::from_engine(self.engine.cluster(), &event));
                }
            }
        }
        if round && self.engine.seeing() {
            self.live.saw(self.engine.cluster(), Instant::now());
        } else if round {
            self.live.blind(self.engine.cluster());
            self.observer.move_on();
        }
        if self.waiting.len() > told && self.checkpoint_due() {
            self.checkpoint_now().await;
        } else {
            self.store_waiting(None).await;
        }
    }

    /// Writes the events that wait, and with the last of them the checkpoint, if there is one.
    async fn store_waiting(&mut self, mut checkpoint: Option<record::Checkpoint>) {
        while !self.waiting.is_empty() || checkpoint.is_some() {
            let together: Vec<NewEvent> = self.waiting.iter().take(TOGETHER_MAX).cloned().collect();
            let count = together.len();
            let with = if count == self.waiting.len() { checkpoint.take() } else { None };
            if let Err(error) = self.store.save_events(together, with).await {
                let error = anyhow::Error::from(error);
                tracing::error!(
                    cluster = %self.engine.cluster(),
                    waiting = self.waiting.len(),
                    "the store does not take what is to be told: {error:#}"
                );
                let over = self.waiting.len().saturating_sub(WAITING_MAX);
                if over > 0 {
                    self.waiting.drain(..over);
                    tracing::error!(
                        dropped = over,
                        "too many events wait for the store; the oldest are lost"
                    );
                }
                return;
            }
            self.waiting.drain(..count);
        }
    }

    /// Small checkpoints are written with every event, large ones as seldom as keeps the average low.
    fn checkpoint_due(&self) -> bool {
        let (at, bytes) = self.last_checkpoint;
        let seconds = i64::try_from(bytes / CHECKPOINT_BYTES_PER_SECOND).unwrap_or(i64::MAX);
        self.clock.now().duration_since(at) >= SignedDuration::from_secs(seconds)
    }

    async fn checkpoint_now(&mut self) {
        let at = self.clock.now();
        let checkpoint = match serde_json::to_string(self.engine.checkpoint()) {
            Ok(state) => {
                self.last_checkpoint = (at, state.len());
                Some(record::Checkpoint { cluster: self.engine.cluster().clone(), at, state })
            }
            Err(error) => {
                tracing::error!(%error, "the engine's state cannot be written");
                None
            }
        };
        self.store_waiting(checkpoint).await;
    }
}

/// As loud as what it says is bad, so that a log that is filtered by level still holds the trouble.
fn log(cluster: &ClusterName, entry: &Entry) {
    let severity = match &entry.fact {
        Fact::Opened { finding, .. } | Fact::Turned { finding, .. } => finding.condition().severity(),
        Fact::Resolved { .. } | Fact::Noted(_) | Fact::Heartbeat(_) => Severity::Info,
    };
    match severity {
        Severity::Critical | Severity::Error => tracing::error!(%cluster, "{entry}"),
        Severity::Warning => tracing::warn!(%cluster, "{entry}"),
        Severity::Info => tracing::info!(%cluster, "{entry}"),
    }
}

async fn sleep_until(clock: &Clock, wake: Option<Timestamp>) {
    match wake {
        Some(wake) => clock.sleep_until(wake).await,
        None => std::future::pending().await,
    }
}
