//! The loop: what happened goes into the engine, what is to be done comes out. Nothing else calls `step`.
//!
//! One loop a cluster. What the engine writes down and tells goes into the store first, a turn at a time and each turn
//! as a whole; the server tells what the store has committed. While the store fails, turns wait here, and the loop
//! keeps watching and says so.

mod actor;
mod controls;
mod restore;
pub mod waiting;

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::decide::{Controls, KillSwitch, Permit};
use engine::observe::{ClusterName, Round, Subject};
use engine::policy::Policy;
use engine::record::{Entry, Fact, Order, Step};
use engine::report::Severity;
use engine::{Command, Effect, Engine, Input};
use jiff::{SignedDuration, Timestamp};
use pve::Client;
use tokio::sync::{mpsc, watch};

use crate::act::Hands;
use crate::clock::Clock;
use crate::kill_point;
use crate::machine::Machine;
use crate::observe::itself::Found;
use crate::observe::{Observer, Source, Tiers};
use crate::operate::{ORDERS_MAX, Ordered, Taken};
use crate::record::{self, NewEntry, NewEvent, NoticeKind, Store};
use crate::report::live::{Given, Live};
use crate::report::page::Page;
use crate::supervise::{self, Stop};
use crate::tape::{self, Tape};
use crate::words::plain;
use actor::Actor;
use controls::Set;
use waiting::{NotTaken, Waiting};

/// Rounds and answers that wait for the engine. It takes milliseconds over each; more than this means that it hangs,
/// and then the pollers had better wait than fill the memory.
const INPUTS_MAX: usize = 64;
/// What checkpoints may write on average, in bytes per second: a small cluster's is written with every event, one of
/// 10,000 guests every few minutes (docs/adr/0005).
const CHECKPOINT_BYTES_PER_SECOND: usize = 20_000;
/// A checkpoint up to this size, in bytes, is written in the transaction of the events before it. A larger one comes
/// after them in its own: together they would keep other writers waiting.
const CHECKPOINT_TOGETHER_MAX: usize = 256 * 1024;
/// Effects that are worked off before others get their turn on this thread: some milliseconds.
const EFFECTS_TOGETHER: usize = 100;
/// After a failure the store is left alone for this long: each try may wait for a foreign hand on the file, and the
/// cluster is to be watched meanwhile.
const STORE_AGAIN: Duration = Duration::from_secs(2);
/// The log's name for what the engine writes down, so that a terminal that shows the events need not show it twice.
pub const TOLD: &str = "jarvis::told";

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
    /// Where it shows what it sees, if anywhere.
    pub page: Option<Arc<Page>>,
    /// What acts for it.
    pub hands: Hands,
    /// Whether it is the configuration's first.
    pub first: bool,
    /// The highest level that the configuration allows, 0 to 4.
    pub autonomy_ceiling: u8,
    /// Whether it never acts, whatever operators set.
    pub standby: bool,
    /// The machine that this runs on, which may be a guest or a node of the cluster.
    pub machine: Arc<Machine>,
    /// Where its tape is kept, if it is.
    pub tape: Option<tape::Settings>,
}

/// Watches one cluster until the daemon stops: its pollers, each kept alive by itself, and the loop.
pub async fn watch(watched: Watched, stop: Stop) -> anyhow::Result<()> {
    let Watched {
        name,
        clients,
        policy,
        temperature,
        tiers,
        clock,
        store,
        live,
        page,
        hands,
        first,
        autonomy_ceiling,
        standby,
        machine,
        tape,
    } = watched;
    live.set_policy(&name, Given { policy: policy.clone(), standby });
    let said = !policy.own.is_empty();
    let tape = Tape::new(&name, tape.as_ref())?;
    let engine = restore::engine(&store, &name, policy, clock.now()).await?;
    kill_point::at("start.restored");
    let (sender, inputs) = mpsc::channel(INPUTS_MAX);
    let (cluster, own) = (name.clone(), sender.clone());
    let actor = Arc::new(Actor {
        cluster,
        hands,
        store: store.clone(),
        live: Arc::clone(&live),
        clock: Arc::clone(&clock),
        inputs: own,
    });
    let observer =
        Observer::new(name.clone(), clients, Arc::clone(&clock), sender).with_meter(live.meter(&name));
    let observer = Arc::new(observer.with_sensors(temperature, tiers.routine));
    live.open_eyes(&name, &observer);
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
    // It lives as long as this watch, also where nobody looks.
    let (say, found) = watch::channel(Vec::new());
    if !said && machine.name.is_some() {
        let (observer, say, stop) = (Arc::clone(&observer), say.clone(), stop.clone());
        let make = {
            let stop = stop.clone();
            move || {
                Arc::clone(&observer).know_itself(
                    Arc::clone(&machine),
                    tiers.important,
                    say.clone(),
                    stop.clone(),
                )
            }
        };
        pollers.spawn(supervise::keep_alive(format!("{name} look at itself"), stop, make));
    }
    let kept = Checkpointed { last: None, due: false };
    let (desk, orders) = mpsc::channel(ORDERS_MAX);
    live.open_desk(&name, desk);
    let mut turns = Loop {
        engine,
        observer,
        actor,
        clock,
        settings: store.settings_changed(),
        halts: live.halts(),
        found,
        store,
        live,
        waiting: Waiting::default(),
        kept,
        store_again: None,
        first,
        autonomy_ceiling,
        standby,
        controls: None,
        failed: false,
        reread: false,
        tape,
    };
    turns.run(inputs, orders, stop).await
}

/// How far the checkpoints are.
struct Checkpointed {
    /// When this process last wrote one, and how many bytes it had.
    last: Option<(Timestamp, usize)>,
    /// Whether something was told since.
    due: bool,
}

struct Loop {
    engine: Engine,
    observer: Arc<Observer>,
    clock: Arc<Clock>,
    store: Store,
    live: Arc<Live>,
    /// Said by the engine, not yet in the store.
    waiting: Waiting,
    kept: Checkpointed,
    /// When the store may be tried again after it failed.
    store_again: Option<Instant>,
    actor: Arc<Actor>,
    /// Tells that an operator set something.
    settings: watch::Receiver<u64>,
    /// Tells that the kill switch was turned, also where that could not be stored.
    halts: watch::Receiver<bool>,
    /// Tells where Jarvis itself was found to run.
    found: watch::Receiver<Vec<Found>>,
    first: bool,
    autonomy_ceiling: u8,
    standby: bool,
    /// What the engine was last told that operators have set.
    controls: Option<Controls>,
    /// Whether the store failed when the engine was last told.
    failed: bool,
    /// Whether it is to be read again although this store was told of nothing: somebody may have written to the file.
    reread: bool,
    tape: Tape,
}

impl Loop {
    async fn run(
        &mut self,
        mut inputs: mpsc::Receiver<Input>,
        mut orders: mpsc::Receiver<Ordered>,
        mut stop: Stop,
    ) -> anyhow::Result<()> {
        loop {
            self.control().await;
            let wake = self.engine.next_wake();
            let input = tokio::select! {
                input = inputs.recv() => match input {
                    Some(input) => input,
                    None => break,
                },
                ordered = orders.recv() => match ordered {
                    Some(ordered) => {
                        self.ordered(ordered).await;
                        continue;
                    }
                    None => break,
                },
                () = sleep_until(&self.clock, wake) => Input::Tick,
                // Whoever sets something sets it through the store, which is there as long as this loop.
                _ = self.settings.changed() => continue,
                _ = self.halts.changed() => {
                    self.reread = true;
                    continue;
                }
                _ = self.found.changed() => self.itself(),
                () = stop.asked() => break,
            };
            self.turn(input).await;
        }
        // The last chance.
        self.store_again = None;
        self.checkpoint_now().await;
        Ok(())
    }

    /// What the engine is told of where Jarvis itself runs.
    fn itself(&mut self) -> Input {
        let (found, cluster) = (self.found.borrow_and_update().clone(), self.engine.cluster());
        match &found[..] {
            [] => tracing::warn!(%cluster, "where Jarvis itself runs is not known any more: it is not protected"),
            found => found.iter().for_each(|found| {
                tracing::info!(%cluster, "Jarvis runs in {found}: nothing is done to it, nor to the node that carries it");
            }),
        }
        self.live.set_found(cluster, &found);
        Input::Commanded(Command::Found(found.into_iter().map(|found| found.subject).collect()))
    }

    /// Hands the engine what an operator said, and says what became of it.
    async fn ordered(&mut self, Ordered { incident, by, order, reply }: Ordered) {
        let open = self.engine.open_incidents().any(|(_, open)| open.id == incident);
        if open {
            self.turn(Input::Commanded(Command::Order { incident, by, order })).await;
        }
        // What was allowed before may not have been called for yet.
        if matches!(order, Order::Dismiss | Order::Resolve) {
            self.store.withdraw();
        }
        let taken = match (open, self.waiting.is_empty()) {
            (false, _) => Taken::NotOpen,
            (true, true) => Taken::Recorded(self.engine.prospect_of(incident).map(Box::new)),
            (true, false) => Taken::NotRecorded,
        };
        if reply.send(taken).is_err() {
            tracing::debug!("nobody waits for what became of an order");
        }
    }

    /// Tells the engine what holds, where that is something else than before: what operators have set, and whether what
    /// is done can be recorded.
    async fn control(&mut self) {
        let failing = self.store_again.is_some() || !self.waiting.is_empty();
        let unread = self.controls.is_none() || self.reread || self.settings.has_changed().unwrap_or(false);
        if !unread && failing == self.failed {
            return;
        }
        self.failed = failing;
        let mut controls = Controls { standby: self.standby, ..self.read_controls().await };
        // A switch that is on says more than a store that fails.
        if failing && controls.kill_switch != KillSwitch::On {
            controls.kill_switch = KillSwitch::StoreFails;
        }
        if self.controls.as_ref() != Some(&controls) {
            self.controls = Some(controls.clone());
            kill_point::at("start.controls");
            self.turn(Input::Commanded(Command::Controls(controls))).await;
        }
    }

    async fn read_controls(&mut self) -> Controls {
        self.reread = false;
        self.settings.mark_unchanged();
        let read = async {
            let switch = self.store.get_preference(record::KILL_SWITCH).await?;
            Ok::<_, record::StoreError>((switch, self.store.get_preference(record::LEVEL).await?))
        };
        let cluster = self.engine.cluster();
        let read = read.await.inspect_err(|error| {
            // To be tried again with the next round, at the latest.
            tracing::error!(%cluster, "what operators have set cannot be read: {error}");
        });
        let now = self.clock.now();
        let notices = self.store.open_notices(Some(NoticeKind::Maintenance), now).await;
        let notices = notices.inspect_err(|error| {
            tracing::error!(%cluster, "what operators have announced cannot be read: {error}");
        });
        let text = |stored: Option<record::Preference>| stored.map(|stored| stored.value);
        let set = read.ok().map(|(switch, level)| Set { switch: text(switch), level: text(level) });
        let known = self.controls.clone().unwrap_or_default();
        let announced = notices.ok().map(|notices| controls::announced(&notices, cluster, now));
        controls::in_force(known, self.live.halted(), self.autonomy_ceiling, set, announced)
    }

    async fn turn(&mut self, input: Input) {
        let mut permits: Vec<Permit> = Vec::new();
        let round = matches!(&input, Input::Observed(snapshot) if snapshot.round == Round::Critical);
        let now = self.clock.now();
        let taped = self.tape.before(now, &self.engine, &input);
        let mut said = Vec::new();
        for (count, effect) in self.engine.step(now, input).into_iter().enumerate() {
            match effect {
                Effect::Record(entry) => {
                    log(self.engine.cluster(), &entry);
                    if taped.is_some() {
                        said.push(entry.to_string());
                    }
                    self.waiting.record(NewEntry::from_engine(self.engine.cluster(), self.first, &entry));
                }
                Effect::Inspect(inspection) => self.observer.inspect(inspection),
                Effect::Notify(event) => {
                    let of = marks(&self.engine, &event.subject).map(Box::new);
                    let event = NewEvent::from_engine(self.engine.cluster(), &event);
                    self.waiting.tell(NewEvent { of, ..event });
                }
                Effect::Act(permit) => permits.push(permit),
            }
            if count % EFFECTS_TOGETHER == EFFECTS_TOGETHER - 1 {
                tokio::task::yield_now().await;
            }
        }
        self.tape.after(taped, said);
        self.kept.due |= self.waiting.end_turn();
        kill_point::of("turn.stepped", || self.waiting.kinds());
        self.reread |= round;
        if round && self.engine.seeing() {
            self.live.saw(self.engine.cluster(), Instant::now());
            // What is seen first is told to nobody, and is what everything later is compared with.
            self.kept.due |= self.kept.last.is_none();
        } else if round {
            self.live.blind(self.engine.cluster());
            self.observer.move_on();
        }
        self.live.set_active_remediations(self.engine.cluster(), self.engine.underway());
        self.live.set_prospects(self.engine.cluster(), self.engine.prospects());
        if self.store_again.is_none_or(|again| Instant::now() >= again) {
            self.store_again = None;
            if self.kept.due && self.checkpoint_affordable() {
                self.checkpoint_now().await;
            } else {
                self.store_waiting(None).await;
            }
        }
        // What could not be written down is not done.
        for permit in permits {
            match self.waiting.is_empty() {
                true => self.actor.begin(permit, self.settings.clone()),
                false => self.actor.refuse(permit, "it could not be recorded"),
            }
        }
    }

    /// Writes what waits, and with the last of it the checkpoint, if there is one. False: the store failed.
    async fn store_waiting(&mut self, checkpoint: Option<record::Checkpoint>) -> bool {
        let Err(NotTaken { error, dropped }) = self.waiting.store(&self.store, checkpoint).await else {
            return true;
        };
        let (cluster, error) = (self.engine.cluster(), anyhow::Error::from(error));
        let waiting = self.waiting.len();
        self.store_again = Some(Instant::now() + STORE_AGAIN);
        tracing::error!(%cluster, waiting, "the store does not take what is to be told: {error:#}");
        if dropped > 0 {
            tracing::error!(%cluster, dropped, "too many events wait for the store; the oldest are lost");
        }
        false
    }

    /// Small checkpoints are written with every event, large ones as seldom as keeps the average low.
    fn checkpoint_affordable(&self) -> bool {
        let Some((at, bytes)) = self.kept.last else { return true };
        let seconds = i64::try_from(bytes / CHECKPOINT_BYTES_PER_SECOND).unwrap_or(i64::MAX);
        self.clock.now().duration_since(at) >= SignedDuration::from_secs(seconds)
    }

    async fn checkpoint_now(&mut self) {
        let at = self.clock.now();
        let checkpoint = match restore::checkpoint(&self.engine, at) {
            Ok(checkpoint) => checkpoint,
            Err(error) => {
                tracing::error!(%error, "the engine's state cannot be written");
                self.store_waiting(None).await;
                return;
            }
        };
        kill_point::at("checkpoint.made");
        let bytes = checkpoint.state.len();
        let apart = bytes > CHECKPOINT_TOGETHER_MAX;
        // It includes what waits, so it is never in the store before that.
        let stored = (!apart || self.store_waiting(None).await) && self.store_waiting(Some(checkpoint)).await;
        // Also after a failure, so that one which does not fit is not made anew at every turn.
        self.kept = Checkpointed { last: Some((at, bytes)), due: !stored };
    }
}

/// By what else operators may mean a subject.
fn marks(engine: &Engine, subject: &Subject) -> Option<record::Marks> {
    let Subject::Guest(id) = subject else { return None };
    let guest = engine.seen_guest(*id)?;
    Some(record::Marks {
        name: guest.name.clone(),
        tags: guest.tags.clone().into(),
        pool: guest.pool.clone(),
    })
}

/// As loud as what it says is bad, so that a log that is filtered by level still holds the trouble.
fn log(cluster: &ClusterName, entry: &Entry) {
    let words = entry.to_string();
    let words = plain(&words);
    let severity = match &entry.fact {
        Fact::Opened { finding, .. } | Fact::Turned { finding, .. } => finding.condition().severity(),
        Fact::Remedy { step: Step::Escalated { .. }, .. } => Severity::Critical,
        Fact::Remedy { step: Step::Verified { helped: false, .. }, .. } => Severity::Warning,
        Fact::Storm { incidents } if *incidents > 0 => Severity::Critical,
        Fact::Resolved { .. }
        | Fact::Noted(_)
        | Fact::Heartbeat(_)
        | Fact::Remedy { .. }
        | Fact::Storm { .. } => Severity::Info,
    };
    match severity {
        Severity::Critical | Severity::Error => tracing::error!(target: TOLD, %cluster, "{words}"),
        Severity::Warning => tracing::warn!(target: TOLD, %cluster, "{words}"),
        Severity::Info => tracing::info!(target: TOLD, %cluster, "{words}"),
    }
}

async fn sleep_until(clock: &Clock, wake: Option<Timestamp>) {
    match wake {
        Some(wake) => clock.sleep_until(wake).await,
        None => std::future::pending().await,
    }
}
