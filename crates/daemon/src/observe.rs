//! Observe: polling tiers over one shared observation, and the looks that the engine asks for.
//!
//! A poll that fails is an observation too ("not reached"), never an error that ends anything. An answer fresh
//! enough is shared instead of asked for again; two polls of one kind never overlap. Only configured endpoints are
//! contacted, never addresses that a cluster merely reports.

#[cfg(test)]
mod recorded;
mod shared;
mod temperature;
mod translate;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use engine::Input;
use engine::observe::{
    Blindness, Cause, ClusterName, Evidence, GuestEvidence, GuestId, GuestKind, GuestLook, Inspection, Live,
    NodeName, Round, Seen, Snapshot, Task,
};
use jiff::{SignedDuration, Timestamp};
use pve::types::{ClusterStatus, Permissions, Resource, Rows};
use pve::{Client, TaskQuery, TaskSource};
use tokio::sync::{Mutex, mpsc};

use self::shared::Shared;
use self::temperature::Sensors;
pub use self::temperature::Source;
use crate::clock::Clock;
use crate::report::page::{self, Page};
use crate::supervise::Stop;

/// A critical round may use what another consumer asked for a moment ago, not more: statistics change each 10 s.
const CRITICAL_AGE: SignedDuration = SignedDuration::from_secs(2);
/// Thresholds and capacity are judged on what the last critical round brought, so they cost the cluster nothing.
const SLOW_AGE: SignedDuration = SignedDuration::from_secs(15);
/// The page takes what is there rather than ask for its own.
const PAGE_AGE: SignedDuration = SignedDuration::from_secs(8);
/// How often each array of the page is shown (contract 2), and how often that is looked into.
const NODES_EVERY: SignedDuration = SignedDuration::from_secs(10);
const GUESTS_EVERY: SignedDuration = SignedDuration::from_secs(15);
const STORAGES_EVERY: SignedDuration = SignedDuration::from_secs(30);
const PAGE_STEP: Duration = Duration::from_secs(5);
/// A step that wakes a moment early must not wait for the next one.
const PAGE_SLACK: SignedDuration = SignedDuration::from_millis(500);
/// Rights change seldom, and a stop is not told as a crash without knowing them.
const RIGHTS_AGE: SignedDuration = SignedDuration::from_mins(5);
/// Each 401 costs the node 3 s and may look like an attack (pve-domain 9.22).
const AFTER_REFUSAL: SignedDuration = SignedDuration::from_secs(60);
/// How long a list of guests must have been empty to be believed. Until then it counts as blindness.
const EMPTY_BELIEVED: SignedDuration = SignedDuration::from_mins(10);
/// No answer is as young as this.
const NEVER: SignedDuration = SignedDuration::MIN;
/// Tasks of one node looked through on a suspicion; PVE itself keeps some 500 to 1000.
const TASKS_MAX: u32 = 500;

/// What a token needs to see everything: path, privilege, and what is not seen without.
const NEEDED: [(&str, &str, &str); 4] = [
    ("/", "Sys.Audit", "quorum is not seen"),
    ("/nodes", "Sys.Audit", "nodes have no numbers, and a stop's cause stays unknown"),
    ("/vms", "VM.Audit", "guests are not seen, or only those of its pools"),
    ("/storage", "Datastore.Audit", "storages are not seen, or only some"),
];

/// An answer that may be shared, with when it was asked, or why there is none.
type Asked<T> = Result<(Timestamp, Arc<T>), Blindness>;

/// Sees one cluster.
pub(crate) struct Observer {
    cluster: ClusterName,
    clients: Vec<Client>,
    /// The endpoint that answered last.
    home: AtomicUsize,
    refused: Mutex<Option<(Timestamp, Blindness)>>,
    /// Since when the list of guests has been empty.
    empty_since: Mutex<Option<Timestamp>>,
    resources: Shared<Rows<Resource>>,
    status: Shared<ClusterStatus>,
    rights: Shared<Permissions>,
    sensors: Sensors,
    clock: Arc<Clock>,
    inputs: mpsc::Sender<Input>,
}

/// How often each tier asks, on the daemon's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiers {
    /// The alarm; `None` when it is off.
    pub live: Option<Duration>,
    /// State changes.
    pub critical: Duration,
    /// Thresholds of nodes.
    pub important: Duration,
    /// Heartbeat.
    pub routine: Duration,
    /// Storage capacity, retention.
    pub background: Duration,
}

impl Default for Tiers {
    /// Contract 2.
    fn default() -> Tiers {
        Tiers {
            live: Some(Duration::from_secs(2)),
            critical: Duration::from_secs(12),
            important: Duration::from_secs(32),
            routine: Duration::from_secs(5 * 60),
            background: Duration::from_secs(30 * 60),
        }
    }
}

impl Tiers {
    /// When a tier first asks. With the default intervals no two tiers ever meet: no two of the offsets differ by a
    /// multiple of the greatest common divisor of their intervals.
    fn first(round: Round) -> Duration {
        Duration::from_secs(match round {
            Round::Live => 6,
            Round::Critical => 5,
            Round::Important => 8,
            Round::Routine => 10,
            Round::Background => 15,
        })
    }

    fn every(&self, round: Round) -> Duration {
        match round {
            Round::Live => self.live.unwrap_or(self.critical),
            Round::Critical => self.critical,
            Round::Important => self.important,
            Round::Routine => self.routine,
            Round::Background => self.background,
        }
    }
}

impl Observer {
    /// `clients` are the cluster's endpoints in the order of the configuration; answers to inspections go to
    /// `inputs`.
    pub(crate) fn new(
        cluster: ClusterName,
        clients: Vec<Client>,
        clock: Arc<Clock>,
        inputs: mpsc::Sender<Input>,
    ) -> Observer {
        Observer {
            sensors: Sensors::none(cluster.clone()),
            cluster,
            clients,
            home: AtomicUsize::new(0),
            refused: Mutex::new(None),
            empty_since: Mutex::new(None),
            resources: Shared::new(),
            status: Shared::new(),
            rights: Shared::new(),
            clock,
            inputs,
        }
    }

    /// One tier, for ever.
    pub(crate) async fn tier(
        self: Arc<Observer>,
        round: Round,
        tiers: Tiers,
        mut stop: Stop,
    ) -> anyhow::Result<()> {
        let every = SignedDuration::try_from(tiers.every(round))?;
        let mut due = self.clock.now() + SignedDuration::try_from(Tiers::first(round))?;
        let (mut introduced, mut saw) = (false, round == Round::Critical);
        loop {
            tokio::select! {
                () = self.clock.sleep_until(due) => {}
                () = stop.asked() => return Ok(()),
            }
            let began = std::time::Instant::now();
            let snapshot = self.round(round).await;
            self.log(round, &snapshot, began.elapsed());
            let seen = snapshot.nodes.value().is_some();
            if let Seen::NotReached(Blindness { cause, words }) = &snapshot.nodes
                && saw
            {
                tracing::warn!(cluster = %self.cluster, "{}: {words}", cause.words());
            }
            saw = seen && round == Round::Critical;
            self.inputs.send(Input::Observed(snapshot)).await?;
            if round == Round::Critical && !introduced && seen {
                self.introduce().await;
                introduced = true;
            }
            // A round that took longer than its interval is not made up for: the next one comes at its time.
            let now = self.clock.now();
            while due <= now {
                due += every;
            }
        }
    }

    /// Says once what is watched, and what the token may not see: PVE leaves that out of its lists without a word.
    async fn introduce(&self) {
        if let Ok(version) = self.ask(true, |client| async move { client.version().await }).await {
            tracing::info!(cluster = %self.cluster, pve = %version.version, "the cluster answers");
        }
        let Ok((_, rights)) = self.rights().await else { return };
        for (path, privilege, unseen) in NEEDED {
            if !rights.allows(path, privilege) {
                tracing::warn!(
                    cluster = %self.cluster,
                    "the token lacks {privilege} on {path}, so {unseen}; PVEAuditor on / holds all that is needed"
                );
            }
        }
    }

    fn log(&self, round: Round, snapshot: &Snapshot, took: Duration) {
        let count = |seen: Option<usize>| seen.map_or("-".to_owned(), |count| count.to_string());
        tracing::debug!(
            cluster = %self.cluster,
            tier = round.as_str(),
            took_ms = took.as_millis(),
            nodes = count(snapshot.nodes.value().map(BTreeMap::len)),
            guests = count(snapshot.guests.value().map(BTreeMap::len)),
            storages = count(snapshot.storages.value().map(BTreeMap::len)),
            "round complete"
        );
    }

    /// Asks what one tier asks.
    async fn round(&self, round: Round) -> Snapshot {
        let began_at = self.clock.now();
        let mut snapshot = Snapshot::new(round, began_at);
        match round {
            Round::Critical => {
                let (status, resources) = self.majority_view().await;
                // The round is as old as its oldest part.
                let oldest = resources.as_ref().map_or(began_at, |(asked_at, _)| *asked_at);
                snapshot.began_at = began_at.min(oldest);
                snapshot.nodes = seen(&resources, translate::nodes);
                snapshot.guests = seen(&resources, translate::guests);
                snapshot.storages = seen(&resources, translate::storages);
                snapshot.quorum = translate::quorum(&status);
                snapshot.empty_is_true = self.empty_is_true(&snapshot).await;
            }
            Round::Important => {
                snapshot.nodes = seen(&self.resources(SLOW_AGE).await, translate::nodes);
            }
            Round::Background => {
                snapshot.storages = seen(&self.resources(SLOW_AGE).await, translate::storages);
            }
            Round::Routine => snapshot.temperatures = self.temperatures().await,
            Round::Live => {}
        }
        snapshot
    }

    /// Vote and resources from one endpoint, which is of the majority if any is. A node that was cut off answers too,
    /// with every node of the other side offline (pve-domain 4.2), and must not be believed while another can be asked.
    async fn majority_view(&self) -> (Asked<ClusterStatus>, Asked<Rows<Resource>>) {
        let mut age = CRITICAL_AGE;
        let mut view = (self.status(age).await, self.resources(age).await);
        for _ in 1..self.clients.len() {
            if !matches!(&view.0, Ok((_, status)) if status.quorate() == Some(false)) {
                break;
            }
            let home = (self.home.load(Ordering::Relaxed) + 1) % self.clients.len();
            self.home.store(home, Ordering::Relaxed);
            tracing::warn!(cluster = %self.cluster, "the endpoint has no quorum; asking the next one");
            age = NEVER;
            view = (self.status(age).await, self.resources(age).await);
        }
        view
    }

    /// Whether an empty list of guests is the truth: the token may see all guests there are, and the list stays empty.
    /// One that comes back empty is more often a glitch than the end of all guests (pve-domain 9.24).
    async fn empty_is_true(&self, snapshot: &Snapshot) -> bool {
        let now = self.clock.now();
        let mut since = self.empty_since.lock().await;
        match snapshot.guests.value() {
            Some(guests) if guests.is_empty() => {}
            Some(_) => {
                *since = None;
                return false;
            }
            None => return false,
        }
        let lasts = now.duration_since(*since.get_or_insert(now)) >= EMPTY_BELIEVED;
        lasts && matches!(self.rights().await, Ok((_, rights)) if rights.allows("/vms", "VM.Audit"))
    }

    async fn resources(&self, age: SignedDuration) -> Asked<Rows<Resource>> {
        let asked = self.resources.get(&self.clock, age, async || {
            let rows = self.ask(true, |client| async move { client.cluster_resources().await }).await?;
            for row in &rows.unreadable {
                let subject = row.subject.as_deref().unwrap_or("?");
                tracing::warn!(cluster = %self.cluster, subject, why = %row.why, "a row cannot be read");
            }
            Ok(rows)
        });
        asked.await
    }

    async fn status(&self, age: SignedDuration) -> Asked<ClusterStatus> {
        let asked = self.status.get(&self.clock, age, async || {
            self.ask(true, |client| async move { client.cluster_status().await }).await
        });
        asked.await
    }

    async fn rights(&self) -> Asked<Permissions> {
        let asked = self.rights.get(&self.clock, RIGHTS_AGE, async || {
            self.ask(true, |client| async move { client.permissions().await }).await
        });
        asked.await
    }

    /// Asks the endpoint that answered last, and the others in turn when it is the endpoint that fails.
    ///
    /// `whole` says that the question is about the cluster and not about one node.
    async fn ask<T, A>(&self, whole: bool, call: impl Fn(Client) -> A) -> Result<T, Blindness>
    where
        A: Future<Output = Result<T, pve::Error>>,
    {
        if let Some((until, blindness)) = &*self.refused.lock().await
            && self.clock.now() < *until
        {
            return Err(blindness.clone());
        }
        let home = self.home.load(Ordering::Relaxed);
        let mut first_failure = None;
        for turn in 0..self.clients.len() {
            let index = (home + turn) % self.clients.len();
            let Some(client) = self.clients.get(index) else { continue };
            match call(client.clone()).await {
                Ok(answer) => {
                    // Two calls at a time may find out; it is said once.
                    if turn > 0 && self.home.swap(index, Ordering::Relaxed) != index {
                        let endpoint = client.endpoint().label();
                        tracing::warn!(cluster = %self.cluster, endpoint, "asking another endpoint from now on");
                    }
                    return Ok(answer);
                }
                Err(error) => {
                    tracing::debug!(cluster = %self.cluster, error = %chain(&error), "not reached");
                    // A call about the whole cluster goes no further than the endpoint itself: where that is as far as
                    // it gets, the endpoint's own pvedaemon is dead.
                    let elsewhere =
                        error.is_endpoint_fault() || (whole && matches!(error, pve::Error::Hop { .. }));
                    let blindness = translate::blindness(&error);
                    if blindness.cause == Cause::Refused {
                        let until = self.clock.now() + AFTER_REFUSAL;
                        *self.refused.lock().await = Some((until, blindness.clone()));
                    }
                    let blindness = first_failure.get_or_insert(blindness);
                    if !elsewhere {
                        return Err(blindness.clone());
                    }
                }
            }
        }
        Err(first_failure
            .unwrap_or(Blindness { cause: Cause::Unreachable, words: "no endpoint is configured".into() }))
    }

    /// Looks at some guests of one node and hands in what was found.
    pub(crate) fn inspect(self: &Arc<Observer>, inspection: Inspection) {
        let observer = Arc::clone(self);
        tokio::spawn(async move {
            let answer = match &inspection {
                Inspection::Guests(look) => Evidence::Guests(observer.guest_evidence(look).await),
                Inspection::Node(_) | Inspection::Services(_) => return,
            };
            let answered = observer.inputs.send(Input::Inspected { inspection, answer }).await;
            if answered.is_err() {
                tracing::debug!("an answer came after the end");
            }
        });
    }

    async fn guest_evidence(&self, inspection: &GuestLook) -> GuestEvidence {
        let kinds: BTreeSet<GuestKind> = inspection.guests.iter().map(|guest| guest.kind).collect();
        let Ok(node) = pve::NodeName::new(inspection.node.as_str()) else {
            let words = format!("`{}` cannot stand in a path", inspection.node);
            let hidden = Blindness { cause: Cause::Malformed, words };
            return unseen(hidden);
        };
        if let Err(blindness) = self.may_see(inspection).await {
            return unseen(blindness);
        }
        // One after the other: the node has three workers for everybody (pve-domain 7.1).
        let mut live = BTreeMap::new();
        let asked_at = self.clock.now();
        for kind in kinds {
            match self.live(&node, kind).await {
                Ok(guests) => live.extend(guests),
                Err(blindness) => return unseen(blindness),
            }
        }
        let live = Seen::At { value: live, asked_at };
        let asked_at = self.clock.now();
        let tasks = match self.tasks(&inspection.node, &node, inspection.since).await {
            Ok(value) => Seen::At { value, asked_at },
            Err(blindness) => Seen::NotReached(blindness),
        };
        GuestEvidence {
            live,
            tasks,
            booted_at: Seen::NotAsked,
            journal: Seen::NotAsked,
            current: BTreeMap::new(),
        }
    }

    /// A guest that the token may not see is missing in the node's list just like one that is destroyed.
    async fn may_see(&self, inspection: &GuestLook) -> Result<(), Blindness> {
        let (_, rights) = self.rights().await?;
        let hidden = |guest: &&GuestId| !rights.allows(&format!("/vms/{}", guest.vmid), "VM.Audit");
        match inspection.guests.iter().find(hidden) {
            Some(guest) => {
                let words = format!("the token lacks VM.Audit on /vms/{}", guest.vmid);
                Err(Blindness { cause: Cause::RightsLost, words })
            }
            None => Ok(()),
        }
    }

    async fn live(
        &self,
        node: &pve::NodeName,
        kind: GuestKind,
    ) -> Result<BTreeMap<GuestId, Live>, Blindness> {
        let rows = match kind {
            GuestKind::Qemu => self.ask(false, |client| async move { client.qemu_list(node).await }).await?,
            GuestKind::Lxc => self.ask(false, |client| async move { client.lxc_list(node).await }).await?,
        };
        translate::live(kind, rows)
    }

    async fn tasks(
        &self,
        name: &NodeName,
        node: &pve::NodeName,
        since: Timestamp,
    ) -> Result<Vec<Task>, Blindness> {
        // Without this right the list is not refused but empty (pve-domain 5.4), and every stop would look like a
        // crash.
        let (_, rights) = self.rights().await?;
        if !rights.allows(&format!("/nodes/{name}"), "Sys.Audit") {
            let words =
                format!("the token lacks Sys.Audit on /nodes/{name}, so others' tasks are hidden from it");
            return Err(Blindness { cause: Cause::RightsLost, words });
        }
        let query = TaskQuery {
            source: TaskSource::All,
            since: Some(since),
            limit: Some(TASKS_MAX),
            ..TaskQuery::default()
        };
        let query = &query;
        let page = self.ask(false, |client| async move { client.node_tasks(node, query).await }).await?;
        let (total, listed) = (page.total.unwrap_or(0), page.rows.total());
        if listed >= TASKS_MAX as usize || total > listed as u64 {
            // Whatever stopped the guest may be among those that were cut off.
            let words = format!("{name} has more tasks since then than can be looked through ({listed})");
            return Err(Blindness { cause: Cause::Malformed, words });
        }
        Ok(translate::tasks(page.rows))
    }

    /// Shows the page what it shows, as often as the contract says while anybody looks. While nobody does, it takes
    /// what the critical rounds bring and asks for nothing of its own.
    pub(crate) async fn page(self: Arc<Observer>, page: Arc<Page>, mut stop: Stop) -> anyhow::Result<()> {
        let mut watchers = page.watchers();
        let mut shown = Shown::default();
        loop {
            self.show(&page, &mut shown).await;
            tokio::select! {
                () = tokio::time::sleep(self.clock.real(PAGE_STEP)) => {}
                came = watchers.changed() => came?,
                () = stop.asked() => return Ok(()),
            }
        }
    }

    async fn show(&self, page: &Page, shown: &mut Shown) {
        let looked_at = page.clients() > 0;
        let now = self.clock.now();
        self.sensors.show(page, now);
        // First, because it knows the nodes' addresses.
        let status = if looked_at { self.status(PAGE_AGE).await.ok() } else { self.status.latest().await };
        if let Some((asked_at, status)) = status.clone()
            && due(&mut shown.quorum, asked_at, now, NODES_EVERY)
            && let Seen::At { value: quorum, .. } = translate::quorum(&Ok((asked_at, status)))
        {
            let engine::observe::Quorum { quorate, online, expected } = quorum;
            page.publish_quorum(page::Quorum { quorate, nodes: online, expected });
        }
        let rows =
            if looked_at { self.resources(PAGE_AGE).await.ok() } else { self.resources.latest().await };
        let Some((asked_at, rows)) = rows else { return };
        if due(&mut shown.nodes, asked_at, now, NODES_EVERY) {
            page.publish_nodes(translate::node_rows(&rows, status.as_ref().map(|(_, status)| &**status)));
        }
        if due(&mut shown.guests, asked_at, now, GUESTS_EVERY) {
            page.publish_guests(translate::guest_rows(&rows));
        }
        if due(&mut shown.storages, asked_at, now, STORAGES_EVERY) {
            page.publish_storage(translate::storage_rows(&rows));
        }
    }
}

/// What of the page was published, and from which answer: (published at, asked at).
#[derive(Default)]
struct Shown {
    nodes: Option<(Timestamp, Timestamp)>,
    guests: Option<(Timestamp, Timestamp)>,
    storages: Option<(Timestamp, Timestamp)>,
    quorum: Option<(Timestamp, Timestamp)>,
}

/// Whether an array's time has come and there is a newer answer to show; if so it counts as shown.
fn due(
    shown: &mut Option<(Timestamp, Timestamp)>,
    asked_at: Timestamp,
    now: Timestamp,
    every: SignedDuration,
) -> bool {
    let due = shown.is_none_or(|(at, from)| asked_at > from && now.duration_since(at) >= every - PAGE_SLACK);
    if due {
        *shown = Some((now, asked_at));
    }
    due
}

fn seen<T, U>(asked: &Result<(Timestamp, Arc<T>), Blindness>, translate: impl FnOnce(&T) -> U) -> Seen<U> {
    match asked {
        Ok((asked_at, answer)) => Seen::At { value: translate(answer), asked_at: *asked_at },
        Err(blindness) => Seen::NotReached(blindness.clone()),
    }
}

/// A look that was not reached.
fn unseen(blindness: Blindness) -> GuestEvidence {
    GuestEvidence {
        live: Seen::NotReached(blindness.clone()),
        tasks: Seen::NotReached(blindness.clone()),
        booted_at: Seen::NotReached(blindness),
        journal: Seen::NotAsked,
        current: BTreeMap::new(),
    }
}

/// An error with everything that caused it.
fn chain(error: &pve::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
