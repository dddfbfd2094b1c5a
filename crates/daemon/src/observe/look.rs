//! Looks: what is asked on suspicion, each within a bounded time.
//!
//! Every part of a look is answered or says why not. What the evidence proves is the engine's business.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use engine::Input;
use engine::observe::{
    Blindness, Cause, Current, Door, Evidence, GuestEvidence, GuestId, GuestKind, GuestLook, Inspection,
    Live, NodeEvidence, NodeLook, NodeName, Seen, Task, View,
};
use jiff::{SignedDuration, Timestamp};
use pve::{JournalQuery, TaskQuery, TaskSource};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::ask::About;
use super::bill::Call;
use super::doors::out_of_time;
use super::rounds::{SERVICES_WITHIN, no_path, path_name};
use super::skew::in_our_time;
use super::{Observer, evidence, seen_at, translate};
use crate::kill_point;

/// Tasks of one node looked through on a suspicion: more than PVE keeps, which is two files of 500 to 1000 (pve-domain 3.1).
const TASKS_MAX: u32 = 3_000;
/// Guests whose QEMU is asked itself: one that hangs keeps a worker of its node for 3 s.
const CURRENT_MAX: usize = 8;
/// How long a node may take over each part of a look at its guests. A list of containers takes a second on a busy node.
pub(super) const PART_WITHIN: Duration = Duration::from_secs(10);
/// A journal is worth waiting for, but not as long as what decides.
const JOURNAL_WITHIN: Duration = Duration::from_secs(6);
/// Of those whose QEMU hangs, two at a time are asked, for 3 s each.
const CURRENT_WITHIN: Duration = Duration::from_secs(15);
/// A look at a node, in all: whatever hangs, the engine gets its answer before it decides without one (15 s). Whose cluster
/// file system is down is known once three endpoints have said so, each after 3 s.
const NODE_WITHIN: Duration = Duration::from_secs(12);
/// How long one endpoint is waited for in it.
const VIEW_WITHIN: Duration = Duration::from_secs(4);
/// The same for each of the two questions at its door, of which at most one is answered late or never. A node whose
/// cluster file system is down holds its refusal back for 3 s.
const KNOCK_WITHIN: Duration = Duration::from_secs(4);

impl Observer {
    /// Looks, and hands in what was found. Must be called inside a tokio runtime.
    pub fn inspect(self: &Arc<Observer>, inspection: Inspection) {
        let observer = Arc::clone(self);
        tokio::spawn(async move {
            // Nobody closes this semaphore.
            let _seat = match &inspection {
                Inspection::Guests(_) | Inspection::Services(_) | Inspection::Review(_) => {
                    observer.looks.acquire().await
                }
                Inspection::Node(_) => observer.node_looks.acquire().await,
            };
            kill_point::of("look.begun", || Some(word(&inspection)));
            let answer = match &inspection {
                Inspection::Guests(look) => Evidence::Guests(observer.guest_evidence(look).await),
                Inspection::Node(look) => Evidence::Node(observer.node_evidence(look).await),
                Inspection::Services(node) => Evidence::Services(observer.service_evidence(node).await),
                Inspection::Review(look) => Evidence::Review(observer.review(look).await),
            };
            kill_point::of("look.answered", || Some(word(&inspection)));
            let answered = observer.inputs.send(Input::Inspected { inspection, answer }).await;
            if answered.is_err() {
                tracing::debug!("an answer came after the end");
            }
        });
    }

    pub(super) async fn service_evidence(&self, node: &NodeName) -> Seen<Vec<engine::observe::Service>> {
        // Another one may be at it, and then comes ours.
        let within = SERVICES_WITHIN * 2;
        match timeout(self.clock.real(within), self.services_of(node)).await {
            Ok(seen) => seen,
            Err(_elapsed) => Seen::NotReached(out_of_time("the list of services", within)),
        }
    }

    async fn guest_evidence(&self, look: &GuestLook) -> GuestEvidence {
        let Some(node) = path_name(&look.node) else { return unseen(no_path(&look.node)) };
        if let Err(blindness) = self.may_see(look).await {
            return unseen(blindness);
        }
        let skew = self.skew(&look.node, &node).await;
        let ahead = skew.clone().unwrap_or_default();
        let theirs = |ours: Timestamp| ours.checked_add(ahead).unwrap_or(ours);
        // The client lets two at a time through to the node, which has three workers for everybody (pve-domain 7.1).
        let (live, tasks, booted_at) = tokio::join!(
            self.live_lists(&node, &look.guests),
            self.tasks(look, &node, theirs(look.since), &skew),
            self.booted_at(&node)
        );
        let down = |live: &BTreeMap<GuestId, Live>| {
            look.guests.iter().any(|guest| live.get(guest).is_none_or(|live| !live.running))
        };
        // Also where its list cannot be read: then its row may be believed after some looks.
        let ended =
            |id: &&GuestId| !live.value().is_some_and(|all| all.get(id).is_some_and(|live| live.running));
        let ended: Vec<GuestId> = look.configs.iter().filter(ended).copied().collect();
        let (journal, current, configs) = tokio::join!(
            async {
                match live.value().is_some_and(down) {
                    true => self.journal(&look.node, &node, theirs(look.journal_since)).await,
                    false => Seen::NotAsked,
                }
            },
            self.currents(&node, &look.current),
            self.configs(&node, ended)
        );
        GuestEvidence { live, tasks, booted_at, journal, current, configs }
    }

    /// A guest that the token may not see is missing in the node's list just like one that is destroyed.
    async fn may_see(&self, look: &GuestLook) -> Result<(), Blindness> {
        let (_, rights) = self.rights().await?;
        let hidden = |guest: &&GuestId| !rights.allows(&format!("/vms/{}", guest.vmid), "VM.Audit");
        match look.guests.iter().find(hidden) {
            Some(guest) => {
                let words = format!("the token lacks VM.Audit on /vms/{}", guest.vmid);
                Err(Blindness { cause: Cause::RightsLost, words })
            }
            None => Ok(()),
        }
    }

    /// The node's lists of the kinds that are looked at, one after the other; all of them or none.
    async fn live_lists(
        &self,
        node: &pve::NodeName,
        guests: &BTreeSet<GuestId>,
    ) -> Seen<BTreeMap<GuestId, Live>> {
        let kinds: BTreeSet<GuestKind> = guests.iter().map(|guest| guest.kind).collect();
        let about = About::NodeWithin(PART_WITHIN);
        let asked_at = self.clock.now();
        let mut live = BTreeMap::new();
        for kind in kinds {
            let rows = match kind {
                GuestKind::Qemu => {
                    let list = |client: pve::Client| async move { client.qemu_list(node).await };
                    self.endpoints.ask(Call::Qemu, about, list).await
                }
                GuestKind::Lxc => {
                    let list = |client: pve::Client| async move { client.lxc_list(node).await };
                    self.endpoints.ask(Call::Lxc, about, list).await
                }
            };
            match rows.and_then(|rows| evidence::live(kind, rows)) {
                Ok(guests) => live.extend(guests),
                Err(blindness) => return Seen::NotReached(blindness),
            }
        }
        Seen::At { value: live, asked_at }
    }

    /// The node's tasks, and those of these guests on other nodes: one that was stopped and then moved was stopped there.
    async fn tasks(
        &self,
        look: &GuestLook,
        node: &pve::NodeName,
        since: Timestamp,
        skew: &Result<SignedDuration, Blindness>,
    ) -> Seen<Vec<Task>> {
        let asked_at = self.clock.now();
        let (own, others) =
            tokio::join!(self.node_tasks(&look.node, node, since), self.tasks_elsewhere(look));
        // Without the node's time nobody knows when its tasks were.
        let tasks = own.and_then(|own| {
            let mut tasks = in_our_time(own, skew.clone()?);
            tasks.extend(others);
            Ok(tasks)
        });
        seen_at(asked_at, tasks)
    }

    /// Without them a guest that was moved meanwhile is one whose stop is not explained, which is no wrong verdict: so
    /// whatever fails here is left out.
    async fn tasks_elsewhere(&self, look: &GuestLook) -> Vec<Task> {
        let about = About::ClusterWithin(VIEW_WITHIN);
        let rows = self
            .endpoints
            .ask(Call::ClusterTasks, about, |client| async move { client.cluster_tasks().await });
        let Ok(mut rows) = rows.await else { return Vec::new() };
        let ids: BTreeSet<String> = look.guests.iter().map(|guest| guest.vmid.to_string()).collect();
        rows.rows.retain(|task| {
            let here = task.upid.node().as_str() == look.node.as_str();
            !here && task.upid.id().is_some_and(|id| ids.contains(id))
        });
        evidence::tasks(rows)
    }

    pub(super) async fn node_tasks(
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
        let page = self.endpoints.ask(Call::Tasks, About::NodeWithin(PART_WITHIN), |client| async move {
            client.node_tasks(node, query).await
        });
        let page = page.await?;
        let (total, listed) = (page.total.unwrap_or(0), page.rows.total());
        if listed >= TASKS_MAX as usize || total > listed as u64 {
            // Whatever stopped the guest may be among those that were cut off.
            let words = format!("{name} has more tasks since then than can be looked through ({listed})");
            return Err(Blindness { cause: Cause::Malformed, words });
        }
        Ok(evidence::tasks(page.rows))
    }

    async fn booted_at(&self, node: &pve::NodeName) -> Seen<Timestamp> {
        let about = About::NodeWithin(PART_WITHIN);
        let report = self
            .endpoints
            .ask(Call::NodeStatus, about, |client| async move { client.node_status(node).await });
        let report = report.await;
        // The uptime is of the answer, not of the question.
        let answered_at = self.clock.now();
        seen_at(answered_at, report.and_then(|report| booted_at(report.uptime, answered_at)))
    }

    async fn journal(&self, name: &NodeName, node: &pve::NodeName, since: Timestamp) -> Seen<Vec<Box<str>>> {
        let asked_at = self.clock.now();
        let journal = async {
            let (_, rights) = self.rights().await?;
            if !rights.allows(&format!("/nodes/{name}"), "Sys.Syslog") {
                let words = format!("the token lacks Sys.Syslog on /nodes/{name}");
                return Err(Blindness { cause: Cause::RightsLost, words });
            }
            let (about, query) = (About::NodeWithin(JOURNAL_WITHIN), JournalQuery::Since(since));
            let journal = self
                .endpoints
                .ask(Call::Journal, about, |client| async move { client.node_journal(node, query).await });
            evidence::journal(name, journal.await?)
        };
        seen_at(asked_at, journal.await)
    }

    async fn currents(
        &self,
        node: &pve::NodeName,
        guests: &BTreeSet<GuestId>,
    ) -> BTreeMap<GuestId, Seen<Current>> {
        let machines = guests.iter().filter(|guest| guest.kind == GuestKind::Qemu);
        let mut seen = BTreeMap::new();
        // One after the other: each may keep a worker for 3 s, and the node has three for everybody.
        let until = self.clock.instant() + CURRENT_WITHIN;
        for guest in machines.take(CURRENT_MAX) {
            let left = until.saturating_duration_since(self.clock.instant());
            let asked_at = self.clock.now();
            if left.is_zero() {
                let blindness = out_of_time("what QEMU says of itself", CURRENT_WITHIN);
                seen.insert(*guest, Seen::NotReached(blindness));
                continue;
            }
            let id = pve::GuestId { kind: pve::GuestKind::Qemu, vmid: guest.vmid };
            let asked = self.endpoints.ask(Call::Current, About::NodeWithin(left), |client| async move {
                client.guest_status(node, id).await
            });
            let answer = asked.await.map(|answer| evidence::current(&answer));
            seen.insert(*guest, seen_at(asked_at, answer));
        }
        seen
    }

    async fn node_evidence(&self, look: &NodeLook) -> NodeEvidence {
        let late = |what: &str| out_of_time(what, NODE_WITHIN);
        let within = self.clock.real(NODE_WITHIN);
        let asked_at = self.clock.now();
        let (views, tasks, ha, door) = tokio::join!(
            self.views(&look.node),
            timeout(within, self.cluster_tasks(look)),
            timeout(within, self.ha_word(&look.node)),
            timeout(within, self.knock(&look.node)),
        );
        NodeEvidence {
            views,
            tasks: seen_at(asked_at, tasks.unwrap_or_else(|_elapsed| Err(late("the tasks of the cluster")))),
            ha: seen_at(asked_at, ha.unwrap_or_else(|_elapsed| Err(late("HA")))),
            door: seen_at(asked_at, door.unwrap_or_else(|_elapsed| Err(late("the node's door")))),
        }
    }

    /// How each endpoint sees the node, all asked at the same time, and anew.
    async fn views(&self, node: &NodeName) -> BTreeMap<Box<str>, Seen<View>> {
        let asked_at = self.clock.now();
        let mut views: BTreeMap<Box<str>, Seen<View>> = BTreeMap::new();
        let mut asked = JoinSet::new();
        for client in self.endpoints.each() {
            let label: Box<str> = client.endpoint().label().into();
            let client = client.within(self.clock.real(VIEW_WITHIN));
            // Whoever does not come back was not reached.
            let lost = Blindness { cause: Cause::Unreachable, words: format!("{label} was not asked") };
            views.insert(label.clone(), Seen::NotReached(lost));
            asked.spawn(async move {
                let began = std::time::Instant::now();
                let status = client.cluster_status().await;
                (label, status, began.elapsed())
            });
        }
        while let Some(answered) = asked.join_next().await {
            let Ok((label, status, took)) = answered else { continue };
            self.endpoints.bill().note(Call::ClusterStatus, took, status.is_ok());
            let view = match status {
                Ok(status) => evidence::view(&status, node),
                Err(error) => Err(translate::blindness(&error)),
            };
            views.insert(label, seen_at(asked_at, view));
        }
        views
    }

    /// The node's tasks as the others remember them.
    async fn cluster_tasks(&self, look: &NodeLook) -> Result<Vec<Task>, Blindness> {
        let (_, rights) = self.rights().await?;
        if !rights.allows("/", "Sys.Audit") {
            let words = "the token lacks Sys.Audit on /, so others' tasks are hidden from it".into();
            return Err(Blindness { cause: Cause::RightsLost, words });
        }
        let about = About::ClusterWithin(VIEW_WITHIN);
        let rows = self
            .endpoints
            .ask(Call::ClusterTasks, about, |client| async move { client.cluster_tasks().await });
        let mut rows = rows.await?;
        let name = look.node.as_str();
        // Both are told in whole seconds.
        rows.rows.retain(|task| {
            task.upid.node().as_str() == name && task.upid.started_at().as_second() >= look.since.as_second()
        });
        Ok(evidence::tasks(rows))
    }

    async fn ha_word(&self, node: &NodeName) -> Result<Option<Box<str>>, Blindness> {
        let about = About::ClusterWithin(VIEW_WITHIN);
        let status = self
            .endpoints
            .ask(Call::HaManager, about, |client| async move { client.ha_manager_status().await });
        Ok(evidence::ha_word(&status.await?, node))
    }

    async fn knock(&self, name: &NodeName) -> Result<Door, Blindness> {
        let node = path_name(name).ok_or_else(|| no_path(name))?;
        let online = self.known.borrow().members.contains(name);
        self.door(name, &node, online, true, KNOCK_WITHIN).await
    }
}

fn booted_at(uptime: Option<u64>, now: Timestamp) -> Result<Timestamp, Blindness> {
    let unsaid =
        || Blindness { cause: Cause::Malformed, words: "the node does not say how long it is up".into() };
    let uptime = i64::try_from(uptime.ok_or_else(unsaid)?).map_err(|_| unsaid())?;
    now.checked_sub(SignedDuration::from_secs(uptime)).map_err(|_| unsaid())
}

/// A look that was not reached.
fn unseen(blindness: Blindness) -> GuestEvidence {
    GuestEvidence {
        live: Seen::NotReached(blindness.clone()),
        tasks: Seen::NotReached(blindness.clone()),
        booted_at: Seen::NotReached(blindness),
        journal: Seen::NotAsked,
        current: BTreeMap::new(),
        configs: BTreeMap::new(),
    }
}

/// What is looked at, for the kill points.
fn word(inspection: &Inspection) -> &'static str {
    match inspection {
        Inspection::Guests(_) => "guests",
        Inspection::Node(_) => "node",
        Inspection::Services(_) => "services",
        Inspection::Review(_) => "review",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_a_node_booted() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let table = [
            ("an hour ago", Some(3_600), Ok(996_400)),
            ("just now", Some(0), Ok(1_000_000)),
            ("it does not say", None, Err(Cause::Malformed)),
            ("longer than there is time", Some(u64::MAX), Err(Cause::Malformed)),
        ];
        for (name, uptime, expected) in table {
            let booted =
                booted_at(uptime, now).map(Timestamp::as_second).map_err(|blindness| blindness.cause);
            assert_eq!(booted, expected, "{name}");
        }
    }
}
