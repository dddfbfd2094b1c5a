//! Rounds: what each tier asks, and when.
//!
//! What is asked of single nodes is asked of one after the other, and ends before the next round begins.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use engine::Input;
use engine::observe::{Blindness, Cause, Door, NodeName, Round, Seen, Service, Snapshot};
use jiff::{SignedDuration, Timestamp};
use pve::types::{ClusterStatus, Permissions, Resource, Rows};

use super::ask::About;
use super::bill::Call;
use super::{Asked, Known, Observer, Tiers, evidence, seen, seen_at, translate};
use crate::supervise::Stop;

/// A critical round may use what another consumer asked for a moment ago, not more: statistics change each 10 s.
const CRITICAL_AGE: SignedDuration = SignedDuration::from_secs(2);
/// Thresholds and capacity are judged on what the last critical round brought, so they cost the cluster nothing.
pub(super) const SLOW_AGE: SignedDuration = SignedDuration::from_secs(15);
/// Rights change seldom, and a stop is not told as a crash without knowing them.
const RIGHTS_AGE: SignedDuration = SignedDuration::from_mins(5);
/// How long a list of guests must have been empty to be believed. Until then it counts as blindness.
const EMPTY_BELIEVED: SignedDuration = SignedDuration::from_mins(10);
/// No answer is as young as this.
const NEVER: SignedDuration = SignedDuration::MIN;
/// How long each endpoint is waited for before the next one is asked for the vote. The answer is small, so that only a
/// node in trouble takes longer than the 3 s that PVE holds back a 401; and a round of which every endpoint hangs is to
/// end before the second one is late.
const STATUS_WITHIN: Duration = Duration::from_secs(5);
/// Of a round's interval, what asking node by node may take: the round is over before the next one is due.
const SHARE: f64 = 0.75;
/// How long a door is knocked at: it answers in milliseconds, or its node is in trouble.
const DOOR_WITHIN: Duration = Duration::from_secs(5);
/// A list of services takes a second, several on a busy node.
pub(super) const SERVICES_WITHIN: Duration = Duration::from_secs(15);

/// What a token needs to see everything: path, privilege, and what is not seen without.
pub(super) const NEEDED: [(&str, &str, &str); 4] = [
    ("/", "Sys.Audit", "quorum is not seen"),
    ("/nodes", "Sys.Audit", "nodes have no numbers, and a stop's cause stays unknown"),
    ("/vms", "VM.Audit", "guests are not seen, or only those of its pools"),
    ("/storage", "Datastore.Audit", "storages are not seen, or only some"),
];
/// And what it needs to read why a guest died.
pub(super) const JOURNALS: (&str, &str) = ("/nodes", "Sys.Syslog");

impl Observer {
    /// One tier, until the daemon stops.
    ///
    /// # Errors
    /// Nobody takes what it sees any more.
    pub async fn tier(self: Arc<Observer>, round: Round, tiers: Tiers, mut stop: Stop) -> anyhow::Result<()> {
        let every = SignedDuration::try_from(tiers.every(round))?;
        let mut due = self.clock.now() + SignedDuration::try_from(Tiers::first(round))?;
        let (mut introduced, mut saw) = (false, round == Round::Critical);
        let mut billed = Instant::now();
        loop {
            tokio::select! {
                () = self.clock.sleep_until(due) => {}
                () = stop.asked() => return Ok(()),
            }
            let began = Instant::now();
            let snapshot = self.round(round, &tiers).await;
            self.log(round, &snapshot, began.elapsed());
            self.endpoints.meter().round(round.as_str(), began.elapsed(), saw_what_it_looked_for(&snapshot));
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
            if round == Round::Routine {
                self.endpoints.bill().log(&self.cluster, billed.elapsed());
                billed = Instant::now();
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
        let version =
            self.endpoints.ask(Call::Version, About::Cluster, |client| async move { client.version().await });
        if let Ok(version) = version.await {
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
        if !rights.allows(JOURNALS.0, JOURNALS.1) {
            tracing::info!(
                cluster = %self.cluster,
                "the token lacks Sys.Syslog on /nodes (PVEAuditor does not hold it), so a crash is told without what the \
                 node's journal says of it"
            );
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
            doors = snapshot.doors.len(),
            services = snapshot.services.len(),
            "round complete"
        );
    }

    /// Asks what one tier asks.
    async fn round(&self, round: Round, tiers: &Tiers) -> Snapshot {
        let began_at = self.clock.now();
        let until = Instant::now() + self.clock.real(tiers.every(round)).mul_f64(SHARE);
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
                snapshot.quorum = translate::quorum(&status, resources.is_ok());
                snapshot.empty_is_true = self.empty_is_true(&snapshot).await;
                if let Some(known) = Known::of(&snapshot) {
                    self.known.send_if_modified(|old| {
                        *old != known && {
                            *old = known;
                            true
                        }
                    });
                }
            }
            Round::Important => {
                snapshot.nodes = seen(&self.resources(SLOW_AGE).await, translate::nodes);
                snapshot.doors = self.doors(until).await;
            }
            Round::Routine => {
                (snapshot.services, snapshot.temperatures, snapshot.wakes) =
                    tokio::join!(self.services(until), self.temperatures(), self.wakes());
            }
            Round::Background => {
                snapshot.storages = seen(&self.resources(SLOW_AGE).await, translate::storages);
            }
            // It has a poller of its own, which asks node by node.
            Round::Live => {}
        }
        snapshot
    }

    /// Vote and resources from one endpoint, which is of the majority if any is. A node that was cut off answers too,
    /// with every node of the other side offline (pve-domain 4.2), and must not be believed while another can be asked;
    /// one that does not say how the vote stands is no better.
    async fn majority_view(&self) -> (Asked<ClusterStatus>, Asked<Rows<Resource>>) {
        let mut age = CRITICAL_AGE;
        let mut view = (self.status(age).await, self.resources(age).await);
        for _ in 1..self.endpoints.count() {
            if !matches!(&view.0, Ok((_, status)) if status.quorate() != Some(true)) {
                break;
            }
            self.endpoints.move_on();
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

    pub(super) async fn resources(&self, age: SignedDuration) -> Asked<Rows<Resource>> {
        let asked = self.resources.get(&self.clock, age, async || {
            let rows = self.endpoints.ask(Call::Resources, About::Cluster, |client| async move {
                client.cluster_resources().await
            });
            let rows = rows.await?;
            for row in &rows.unreadable {
                let subject = row.subject.as_deref().unwrap_or("?");
                tracing::warn!(cluster = %self.cluster, subject, why = %row.why, "a row cannot be read");
            }
            Ok(rows)
        });
        asked.await
    }

    pub(super) async fn status(&self, age: SignedDuration) -> Asked<ClusterStatus> {
        let asked = self.status.get(&self.clock, age, async || {
            let about = About::ClusterWithin(STATUS_WITHIN);
            let status = self
                .endpoints
                .ask(Call::ClusterStatus, about, |client| async move { client.cluster_status().await });
            status.await
        });
        asked.await
    }

    pub(super) async fn rights(&self) -> Asked<Permissions> {
        let asked = self.rights.get(&self.clock, RIGHTS_AGE, async || {
            let rights = self
                .endpoints
                .ask(Call::Permissions, About::Cluster, |client| async move { client.permissions().await });
            rights.await
        });
        asked.await
    }

    /// Each member's door, one after the other until the time is up; the next round goes on where this one ended.
    async fn doors(&self, until: Instant) -> BTreeMap<NodeName, Seen<Door>> {
        let members = self.members();
        let from = self.door_next.load(Ordering::Relaxed);
        let mut doors = BTreeMap::new();
        for name in members.iter().cycle().skip(from % members.len().max(1)).take(members.len()) {
            if Instant::now() >= until {
                break;
            }
            let Some(node) = path_name(name) else { continue };
            let asked_at = self.clock.now();
            let door = self.door(name, &node, true, false, DOOR_WITHIN).await;
            doors.insert(name.clone(), seen_at(asked_at, door));
        }
        if doors.len() < members.len() {
            self.door_next.store(from.wrapping_add(doors.len()), Ordering::Relaxed);
        }
        doors
    }

    /// Each member's services, one after the other until the time is up.
    async fn services(&self, until: Instant) -> BTreeMap<NodeName, Seen<Vec<Service>>> {
        let mut services = BTreeMap::new();
        for name in self.members() {
            if Instant::now() >= until {
                break;
            }
            let seen = self.services_of(&name).await;
            services.insert(name, seen);
        }
        services
    }

    /// One node's services. A list costs its node 0.7 s of CPU in one of its three workers, so whoever comes meanwhile
    /// waits.
    pub(super) async fn services_of(&self, name: &NodeName) -> Seen<Vec<Service>> {
        let Some(node) = path_name(name) else { return Seen::NotReached(no_path(name)) };
        let asked_at: Timestamp;
        let answer = {
            let _turn = self.services_turn.lock().await;
            asked_at = self.clock.now();
            let about = About::NodeWithin(SERVICES_WITHIN);
            let node = &node;
            let asked = self
                .endpoints
                .ask(Call::Services, about, |client| async move { client.node_services(node).await });
            asked.await
        };
        seen_at(asked_at, answer.and_then(|rows| evidence::services(name, rows)))
    }
}

/// Whether a round brought what its tier is there for. One that had nobody to ask did.
fn saw_what_it_looked_for(snapshot: &Snapshot) -> bool {
    match snapshot.round {
        Round::Critical | Round::Important => snapshot.nodes.value().is_some(),
        Round::Background => snapshot.storages.value().is_some(),
        Round::Routine => {
            let services = &snapshot.services;
            services.is_empty() || services.values().any(|seen| seen.value().is_some())
        }
        Round::Live => true,
    }
}

/// A node's name as it may stand in a path.
pub(super) fn path_name(name: &NodeName) -> Option<pve::NodeName> {
    pve::NodeName::new(name.as_str()).ok()
}

/// Why a node is not asked.
pub(super) fn no_path(name: &NodeName) -> Blindness {
    Blindness { cause: Cause::Malformed, words: format!("`{name}` cannot stand in a path") }
}
