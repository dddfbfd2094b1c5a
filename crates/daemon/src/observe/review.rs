//! Reviews: one subject looked at closely, right before something is done to it and afterwards; and what is remembered of
//! nodes for the time when they cannot be asked.

use std::collections::BTreeMap;
use std::time::Duration;

use engine::observe::{
    GuestConfig, GuestId, GuestKind, GuestReview, MacAddress, NodeName, Presence, Review, ReviewLook, Seen,
    ServiceReview, Subject,
};
use pve::Error;
use pve::types::LiveGuest;

use super::ask::About;
use super::bill::Call;
use super::doors::out_of_time;
use super::look::PART_WITHIN;
use super::rounds::{no_path, path_name};
use super::skew::in_our_time;
use super::{Observer, evidence, seen_at, translate};

/// Reading the configurations of guests that ended with their node, in all.
const CONFIGS_WITHIN: Duration = Duration::from_secs(15);

impl Observer {
    /// What is found when a subject is looked at closely: a guest's configuration, its process and its node's tasks; of a
    /// service the services of its node, and its tasks.
    pub(super) async fn review(&self, look: &ReviewLook) -> Review {
        match &look.subject {
            Subject::Guest(id) => Review::Guest(self.guest_review(look, *id).await),
            Subject::Cluster | Subject::Node(_) | Subject::Storage(_) | Subject::Service(_) => {
                Review::Service(self.service_review(look).await)
            }
        }
    }

    async fn service_review(&self, look: &ReviewLook) -> ServiceReview {
        let Some(node) = path_name(&look.node) else {
            let unseen = || no_path(&look.node);
            return ServiceReview { services: Seen::NotReached(unseen()), tasks: Seen::NotReached(unseen()) };
        };
        let skew = self.skew(&look.node, &node).await;
        let since = look.since.checked_add(skew.clone().unwrap_or_default()).unwrap_or(look.since);
        // One after the other: the list of services may wait for its turn, and who stopped one meanwhile is to be known.
        let services = self.service_evidence(&look.node).await;
        let asked_at = self.clock.now();
        let tasks = self.node_tasks(&look.node, &node, since).await;
        let tasks = seen_at(asked_at, tasks.and_then(|tasks| Ok(in_our_time(tasks, skew?))));
        ServiceReview { services, tasks }
    }

    async fn guest_review(&self, look: &ReviewLook, id: GuestId) -> GuestReview {
        let Some(node) = path_name(&look.node) else {
            let unseen = || no_path(&look.node);
            return GuestReview {
                config: Seen::NotReached(unseen()),
                current: Seen::NotReached(unseen()),
                tasks: Seen::NotReached(unseen()),
            };
        };
        let (node, guest) = (&node, path_id(id));
        let about = About::NodeWithin(PART_WITHIN);
        let skew = self.skew(&look.node, node).await;
        let ahead = skew.clone().unwrap_or_default();
        let since = look.since.checked_add(ahead).unwrap_or(look.since);
        let asked_at = self.clock.now();
        let config = self.config(node, id, PART_WITHIN);
        let current = self
            .endpoints
            .ask(Call::Current, about, |client| async move { there(client.guest_status(node, guest).await) });
        let (config, current, tasks) =
            tokio::join!(config, current, self.node_tasks(&look.node, node, since));
        GuestReview {
            config,
            current: seen_at(
                asked_at,
                current.map(|found: Option<LiveGuest>| found.as_ref().map(evidence::current)),
            ),
            tasks: seen_at(asked_at, tasks.and_then(|tasks| Ok(in_our_time(tasks, skew?)))),
        }
    }

    /// A guest's configuration; `None`: it has none on that node.
    async fn config(&self, node: &pve::NodeName, id: GuestId, within: Duration) -> Seen<Option<GuestConfig>> {
        let asked_at = self.clock.now();
        let guest = path_id(id);
        let config = self.endpoints.ask(Call::Config, About::NodeWithin(within), |client| async move {
            there(client.guest_config(node, guest).await)
        });
        seen_at(asked_at, config.await.map(|found| found.as_ref().map(evidence::config)))
    }

    /// The configurations of some guests of one node, one after the other: it has three workers for everybody.
    pub(super) async fn configs(
        &self,
        node: &pve::NodeName,
        guests: Vec<GuestId>,
    ) -> BTreeMap<GuestId, Seen<Option<GuestConfig>>> {
        let until = self.clock.instant() + CONFIGS_WITHIN;
        let mut configs = BTreeMap::new();
        for id in guests {
            let left = until.saturating_duration_since(self.clock.instant());
            let config = match left.is_zero() {
                true => Seen::NotReached(out_of_time("the guests' configurations", CONFIGS_WITHIN)),
                false => self.config(node, id, left.min(PART_WITHIN)).await,
            };
            configs.insert(id, config);
        }
        configs
    }

    /// The address that wakes each node, from its settings.
    pub(super) async fn wakes(&self) -> BTreeMap<NodeName, Seen<Option<MacAddress>>> {
        let mut wakes = BTreeMap::new();
        let Ok((_, rows)) = self.resources(super::rounds::SLOW_AGE).await else { return wakes };
        let there =
            translate::nodes(&rows).into_iter().filter(|(_, node)| node.presence != Presence::Offline);
        for name in there.map(|(name, _)| name) {
            let asked_at = self.clock.now();
            let answer = match path_name(&name) {
                None => Err(no_path(&name)),
                Some(node) => {
                    let node = &node;
                    let about = About::NodeWithin(PART_WITHIN);
                    let asked = self
                        .endpoints
                        .ask(Call::NodeConfig, about, |client| async move { client.node_config(node).await });
                    asked.await.map(|config| config.wakeonlan().and_then(address))
                }
            };
            wakes.insert(name, seen_at(asked_at, answer));
        }
        wakes
    }
}

fn path_id(id: GuestId) -> pve::GuestId {
    let kind = match id.kind {
        GuestKind::Qemu => pve::GuestKind::Qemu,
        GuestKind::Lxc => pve::GuestKind::Lxc,
    };
    pve::GuestId { kind, vmid: id.vmid }
}

/// The MAC address alone; PVE keeps options behind a comma. PVE lets nothing else in.
fn address(text: &str) -> Option<MacAddress> {
    let first = text.split(',').next().unwrap_or_default();
    let parsed = first.strip_prefix("mac=").unwrap_or(first).parse();
    parsed.inspect_err(|error| tracing::warn!("the wakeonlan of a node is not used: {error}")).ok()
}

/// What is not there is an answer too.
fn there<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
