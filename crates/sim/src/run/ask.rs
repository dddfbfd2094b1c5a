//! Ask: what the virtual daemon asks in each round and on each look, and what it makes of the answers.
//!
//! One endpoint is its home: another one is tried when it cannot be connected to, when it is silent (from the next
//! call on), and when its view has no quorum. Every call is numbered, and any may be made to fail. What could not be
//! seen is marked with its cause, never left out.

use std::collections::{BTreeMap, BTreeSet};

use engine::observe::{
    Blindness, Cause, Door, Evidence, GuestEvidence, GuestKind, GuestLook, GuestReview, Inspection,
    NodeEvidence, NodeLook, NodeName, Presence, Review, ReviewLook, Round, Seen, Service, ServiceReview,
    Snapshot, Subject,
};
use jiff::{SignedDuration, Timestamp};

use super::faults::Faults;
use super::reach::{By, Failed, Failure, reach};
use crate::cluster::{Cluster, Rights};
use crate::rng::Rng;

/// How long an answer takes that nothing delays, at least and at most.
const ANSWER_MIN: SignedDuration = SignedDuration::from_millis(50);
const ANSWER_SPREAD_MS: usize = 150;

/// The virtual daemon's way to its cluster.
#[derive(Clone)]
pub(super) struct Asker {
    endpoints: Vec<NodeName>,
    pub(super) home: usize,
    rights: Rights,
    pub(super) faults: Faults,
    rng: Rng,
    /// How many calls were made so far, and which.
    pub(super) made: u64,
    pub(super) asked: Vec<Asked>,
    /// What the calls are made for.
    purpose: Purpose,
    /// What was made to fail, in words.
    pub(super) failed: Vec<String>,
    /// What the last critical round said of each node.
    pub(super) known: BTreeMap<NodeName, Presence>,
}

/// One call of the virtual daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// When the round or look that it is part of began.
    pub at: Timestamp,
    /// What was asked, in a word.
    pub what: &'static str,
    /// What it was asked for.
    pub purpose: Purpose,
}

/// What a call is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// A round of polling.
    Round(Round),
    /// A look that the engine wished for.
    Look,
    /// Something that is done, and its task.
    Act,
}

/// How far the one call of an act came.
pub(super) enum Called {
    /// To the end, by this endpoint.
    Through(NodeName),
    /// It was sent, and its answer was lost.
    Lost(String),
    /// It was refused.
    Refused(String),
    /// No endpoint could be reached, so it was not sent.
    Not(String),
}

/// An answer, and how long it took.
type Answer<T> = (Result<T, Blindness>, SignedDuration);

impl Asker {
    pub(super) fn new(endpoints: Vec<NodeName>, rights: Rights, faults: Faults, seed: u64) -> Asker {
        let (rng, known) = (Rng::new(seed ^ 0xa5c3), BTreeMap::new());
        Asker {
            endpoints,
            home: 0,
            rights,
            faults,
            rng,
            made: 0,
            asked: Vec::new(),
            purpose: Purpose::Look,
            failed: Vec::new(),
            known,
        }
    }

    /// The nodes that are worth a question of their own.
    pub(super) fn present(&self) -> Vec<NodeName> {
        let there = self.known.iter().filter(|(_, presence)| **presence != Presence::Offline);
        there.map(|(name, _)| name.clone()).collect()
    }

    /// A round, and how long it takes. A live one is about one node.
    pub(super) fn round(
        &mut self,
        cluster: &Cluster,
        round: Round,
        node: Option<&NodeName>,
    ) -> (Snapshot, SignedDuration) {
        self.purpose = Purpose::Round(round);
        let mut snapshot = Snapshot::new(round, cluster.now());
        let mut takes = SignedDuration::ZERO;
        match round {
            Round::Live => {
                let Some(node) = node else { return (snapshot, takes) };
                let kinds = BTreeSet::from([GuestKind::Qemu]);
                let list = self.on_node(cluster, "qemu", node, By::Daemon, |viewer| {
                    cluster.live_list(viewer, node, &kinds)
                });
                takes = list.1;
                snapshot.live.insert(node.clone(), seen(cluster, list.0));
            }
            Round::Critical => takes = self.critical(cluster, &mut snapshot),
            Round::Important => {
                let nodes = self.whole(cluster, "resources", By::Proxy, |viewer| cluster.nodes_of(viewer));
                takes = nodes.1;
                snapshot.nodes = seen(cluster, nodes.0);
                for node in self.present() {
                    let (door, slow) = self.door(cluster, &node);
                    takes = takes.max(slow);
                    snapshot.doors.insert(node, seen(cluster, door));
                }
            }
            Round::Routine => {
                for node in self.present() {
                    let (services, slow) = self.services(cluster, &node);
                    // One node after the other: it costs each of them 0.7 s of work.
                    takes += slow;
                    snapshot.services.insert(node.clone(), seen(cluster, services));
                    let wakes = self.on_node(cluster, "node config", &node, By::Proxy, |_| {
                        Ok(cluster.nodes().get(&node).and_then(|node| node.spec.mac))
                    });
                    takes += wakes.1;
                    snapshot.wakes.insert(node.clone(), seen(cluster, wakes.0));
                    let sensors = self.beside(cluster, &node);
                    takes += sensors.1;
                    snapshot.temperatures.insert(node, seen(cluster, sensors.0));
                }
            }
            Round::Background => {
                let storages =
                    self.whole(cluster, "resources", By::Proxy, |viewer| Ok(cluster.storages_of(viewer)));
                takes = storages.1;
                snapshot.storages = seen(cluster, storages.0);
            }
        }
        (snapshot, takes)
    }

    /// A look, and how long it takes.
    pub(super) fn look(&mut self, cluster: &Cluster, inspection: &Inspection) -> (Evidence, SignedDuration) {
        self.purpose = Purpose::Look;
        match inspection {
            Inspection::Guests(look) => {
                let (evidence, takes) = self.guests(cluster, look);
                (Evidence::Guests(evidence), takes)
            }
            Inspection::Node(look) => {
                let (evidence, takes) = self.node(cluster, look);
                (Evidence::Node(evidence), takes)
            }
            Inspection::Services(node) => {
                let (services, takes) = self.services(cluster, node);
                (Evidence::Services(seen(cluster, services)), takes)
            }
            Inspection::Review(look) => {
                let (review, takes) = self.review(cluster, look);
                (Evidence::Review(review), takes)
            }
        }
    }

    /// A close look: three questions to a guest's node, two about a service.
    fn review(&mut self, cluster: &Cluster, look: &ReviewLook) -> (Review, SignedDuration) {
        let node = &look.node;
        let Subject::Guest(id) = look.subject else {
            let (services, services_take) = self.services(cluster, node);
            let tasks = self.on_node(cluster, "tasks", node, By::Proxy, |viewer| {
                cluster.tasks_of(viewer, node, look.since)
            });
            let review = ServiceReview { services: seen(cluster, services), tasks: seen(cluster, tasks.0) };
            return (Review::Service(review), services_take + tasks.1);
        };
        let config = self.on_node(cluster, "config", node, By::Proxy, |_| Ok(cluster.config_of(node, id)));
        let current =
            self.on_node(cluster, "current", node, By::Daemon, |_| Ok(cluster.current_of(node, id).ok()));
        let tasks = self
            .on_node(cluster, "tasks", node, By::Proxy, |viewer| cluster.tasks_of(viewer, node, look.since));
        let takes = config.1 + current.1 + tasks.1;
        let (config, current) = (seen(cluster, config.0), seen(cluster, current.0));
        (Review::Guest(GuestReview { config, current, tasks: seen(cluster, tasks.0) }), takes)
    }

    /// The one call of an act: whether it came through, and by which endpoint.
    pub(super) fn call(
        &mut self,
        cluster: &Cluster,
        what: &'static str,
        about: Option<&NodeName>,
    ) -> (Called, SignedDuration) {
        self.purpose = Purpose::Act;
        let mut spent = SignedDuration::ZERO;
        let mut last = String::from("no endpoint is configured");
        for turn in 0..self.endpoints.len() {
            let index = (self.home + turn) % self.endpoints.len();
            let viewer = self.endpoints[index].clone();
            let failure = match self.one(cluster, what, &viewer, about, By::Daemon, |_| Ok(())) {
                Ok(((), takes)) => return (Called::Through(viewer), spent + takes),
                Err(failure) => failure,
            };
            spent += failure.takes;
            last = failure.blindness.words.clone();
            let elsewhere = match failure.what {
                Failed::Endpoint => true,
                Failed::HopRefused | Failed::HopGone | Failed::HopClusterFs | Failed::Silence => false,
                Failed::Answered if failure.may_have_acted() => return (Called::Lost(last), spent),
                Failed::Answered => false,
            };
            if !elsewhere {
                return (Called::Refused(last), spent);
            }
        }
        (Called::Not(last), spent)
    }

    /// The tasks of what is acted on, listed before the call.
    pub(super) fn own_tasks(&mut self, cluster: &Cluster, node: &NodeName) -> Answer<()> {
        self.purpose = Purpose::Act;
        self.on_node(cluster, "own tasks", node, By::Proxy, |_| Ok(()))
    }

    /// How a task ended; `None` while it runs.
    pub(super) fn task_end(
        &mut self,
        cluster: &Cluster,
        node: &NodeName,
        upid: &str,
    ) -> Answer<Option<String>> {
        self.purpose = Purpose::Act;
        self.on_node(cluster, "task status", node, By::Daemon, |_| {
            let tasks = cluster.nodes().get(node).map(|node| &node.tasks);
            let task = tasks.and_then(|tasks| tasks.newest_first().find(|task| task.upid == upid));
            Ok(match task {
                Some(task) => task.ended.as_ref().map(|(_, status)| status.clone()),
                None => Some("unexpected status".into()),
            })
        })
    }

    pub(super) fn home_node(&self) -> NodeName {
        self.endpoints[self.home].clone()
    }

    pub(super) fn rights(&self) -> Rights {
        self.rights
    }

    /// Vote and resources of one endpoint, which is of the majority if any is.
    fn critical(&mut self, cluster: &Cluster, snapshot: &mut Snapshot) -> SignedDuration {
        let mut takes = SignedDuration::ZERO;
        for _ in 0..self.endpoints.len().max(1) {
            let quorum = self.whole(cluster, "status", By::Daemon, |viewer| cluster.quorum_of(viewer));
            let rows = self.whole(cluster, "resources", By::Proxy, |viewer| {
                let whole = !cluster.hides(viewer);
                Ok((cluster.nodes_of(viewer)?, cluster.guests_of(viewer), cluster.storages_of(viewer), whole))
            });
            takes += quorum.1.max(rows.1);
            let minority = matches!(&quorum.0, Ok(quorum) if !quorum.quorate);
            snapshot.quorum = seen(cluster, quorum.0);
            match rows.0 {
                Ok((nodes, guests, storages, whole)) => {
                    self.known = nodes.iter().map(|(name, node)| (name.clone(), node.presence)).collect();
                    snapshot.nodes = seen(cluster, Ok(nodes));
                    snapshot.guests = seen(cluster, Ok(guests));
                    snapshot.storages = seen(cluster, Ok(storages));
                    snapshot.empty_is_true = whole;
                }
                Err(blindness) => {
                    snapshot.nodes = Seen::NotReached(blindness.clone());
                    snapshot.guests = Seen::NotReached(blindness.clone());
                    snapshot.storages = Seen::NotReached(blindness);
                }
            }
            if !minority || self.endpoints.len() < 2 {
                break;
            }
            self.move_on();
        }
        takes
    }

    fn guests(&mut self, cluster: &Cluster, look: &GuestLook) -> (GuestEvidence, SignedDuration) {
        let node = &look.node;
        let kinds: BTreeSet<GuestKind> = look.guests.iter().map(|guest| guest.kind).collect();
        let mut takes = SignedDuration::ZERO;
        let mut live = Ok(BTreeMap::new());
        // One call for each kind; without one of them the list is none.
        for kind in kinds {
            let only = BTreeSet::from([kind]);
            let list = self.on_node(cluster, kind.as_str(), node, By::Daemon, |viewer| {
                if cluster.hides(viewer) {
                    return Err(no_right("/vms, VM.Audit")); // The daemon asks for its rights before it believes.
                }
                cluster.live_list(viewer, node, &only)
            });
            takes += list.1;
            live = match (live, list.0) {
                (Ok(mut all), Ok(some)) => {
                    all.extend(some);
                    Ok(all)
                }
                (Err(blindness), _) | (_, Err(blindness)) => Err(blindness),
            };
        }
        let tasks = self
            .on_node(cluster, "tasks", node, By::Proxy, |viewer| cluster.tasks_of(viewer, node, look.since));
        let boot =
            self.on_node(cluster, "node status", node, By::Proxy, |viewer| cluster.boot_of(viewer, node));
        takes += tasks.1 + boot.1;
        let down = |id| live.as_ref().is_ok_and(|live| live.get(id).is_some_and(|of| !of.running));
        let journal = if look.guests.iter().any(down) {
            let rights = self.rights;
            let lines = self.on_node(cluster, "journal", node, By::Daemon, |_| match rights {
                Rights::All => Ok(cluster.journal_since(node, look.journal_since)),
                Rights::Auditor => Err(no_right(&format!("/nodes/{node}, Sys.Syslog"))),
            });
            takes += lines.1;
            seen(cluster, lines.0)
        } else {
            Seen::NotAsked
        };
        let mut current = BTreeMap::new();
        for id in &look.current {
            let of = self.on_node(cluster, "current", node, By::Daemon, |_| cluster.current_of(node, *id));
            takes += of.1;
            current.insert(*id, seen(cluster, of.0));
        }
        let mut configs = BTreeMap::new();
        let runs = |id| live.as_ref().is_ok_and(|live| live.get(id).is_some_and(|of| of.running));
        for id in look.configs.iter().filter(|id| !runs(*id)) {
            let of = self.on_node(cluster, "config", node, By::Proxy, |_| Ok(cluster.config_of(node, *id)));
            takes += of.1;
            configs.insert(*id, seen(cluster, of.0));
        }
        let (live, tasks) = (seen(cluster, live), seen(cluster, tasks.0));
        (GuestEvidence { live, tasks, booted_at: seen(cluster, boot.0), journal, current, configs }, takes)
    }

    fn node(&mut self, cluster: &Cluster, look: &NodeLook) -> (NodeEvidence, SignedDuration) {
        let mut takes = SignedDuration::ZERO;
        let mut views = BTreeMap::new();
        // All at once: one that is silent holds nobody up.
        for endpoint in self.endpoints.clone() {
            let view = self.one(cluster, "status", &endpoint, None, By::Daemon, |viewer| {
                cluster.view_of(viewer, &look.node)
            });
            let (view, slow) = settle(view);
            takes = takes.max(slow);
            views.insert(endpoint.as_str().into(), seen(cluster, view));
        }
        let tasks = self.whole(cluster, "cluster tasks", By::Proxy, |viewer| {
            cluster.cluster_tasks_of(viewer, &look.node, look.since)
        });
        let ha = self.whole(cluster, "ha", By::Proxy, |viewer| {
            cluster.may_audit(viewer)?;
            Ok(cluster.ha_word(&look.node).map(Into::into))
        });
        let door = self.door(cluster, &look.node);
        takes = takes.max(tasks.1).max(ha.1).max(door.1);
        let (tasks, ha) = (seen(cluster, tasks.0), seen(cluster, ha.0));
        (NodeEvidence { views, tasks, ha, door: seen(cluster, door.0) }, takes)
    }

    fn services(&mut self, cluster: &Cluster, node: &NodeName) -> Answer<Vec<Service>> {
        self.on_node(cluster, "services", node, By::Daemon, |viewer| cluster.services_of(viewer, node))
    }

    /// How far a question to a node comes: first what its pveproxy does itself, then what its pvedaemon must do.
    fn door(&mut self, cluster: &Cluster, node: &NodeName) -> Answer<Door> {
        let (first, takes) = self.through(cluster, "node status", node, By::Proxy);
        let proxy = match first {
            Ok(()) => None,
            Err(failure) => match failure.what {
                Failed::HopRefused => Some(Ok(Door::ProxyDown)),
                Failed::HopGone => Some(Ok(Door::Silent)),
                Failed::HopClusterFs => Some(Ok(Door::ClusterFsDown)),
                Failed::Silence => Some(Ok(Door::Hung)),
                Failed::Endpoint | Failed::Answered => Some(Err(failure.blindness)),
            },
        };
        if let Some(door) = proxy {
            return (door, takes);
        }
        let (second, more) = self.through(cluster, "node time", node, By::Daemon);
        let door = match second {
            Ok(()) => Ok(Door::Open),
            Err(failure) => match failure.what {
                Failed::HopRefused => Ok(Door::DaemonDown),
                Failed::Silence => Ok(Door::Hung),
                Failed::HopGone => Ok(Door::Silent),
                Failed::HopClusterFs => Ok(Door::ClusterFsDown),
                Failed::Endpoint | Failed::Answered => Err(failure.blindness),
            },
        };
        (door, takes + more)
    }

    fn through(
        &mut self,
        cluster: &Cluster,
        what: &'static str,
        node: &NodeName,
        by: By,
    ) -> (Result<(), Failure>, SignedDuration) {
        let answer = self.put(cluster, what, Some(node), by, |_| Ok(()));
        let takes = answer.as_ref().map_or_else(|failure| failure.takes, |(_, takes)| *takes);
        (answer.map(|((), _)| ()), takes)
    }

    /// What is not asked of PVE at all: a node's own exporter, on its own port.
    fn beside(&mut self, cluster: &Cluster, node: &NodeName) -> Answer<BTreeMap<Box<str>, f64>> {
        if let Some((blindness, takes)) = self.fails(cluster, "sensors", node) {
            return (Err(blindness), takes);
        }
        let there = cluster.nodes().get(node).filter(|node| node.alive());
        let answer = there
            .map(|node| node.temperatures.clone())
            .ok_or_else(|| Blindness { cause: Cause::Unreachable, words: "no route to host".into() });
        (answer, self.travel())
    }

    /// A question about the cluster.
    fn whole<'n, T>(
        &mut self,
        cluster: &Cluster,
        what: &'static str,
        by: By,
        read: impl Fn(&NodeName) -> Result<T, Blindness> + 'n,
    ) -> Answer<T> {
        settle(self.put(cluster, what, None, by, read))
    }

    /// A question about a node, through the home endpoint.
    fn on_node<'n, T>(
        &mut self,
        cluster: &Cluster,
        what: &'static str,
        node: &NodeName,
        by: By,
        read: impl Fn(&NodeName) -> Result<T, Blindness> + 'n,
    ) -> Answer<T> {
        settle(self.put(cluster, what, Some(node), by, read))
    }

    /// Asks the endpoint that answered last, and the others in turn when it is the endpoint that fails.
    fn put<T>(
        &mut self,
        cluster: &Cluster,
        what: &'static str,
        about: Option<&NodeName>,
        by: By,
        read: impl Fn(&NodeName) -> Result<T, Blindness>,
    ) -> Result<(T, SignedDuration), Failure> {
        let mut spent = SignedDuration::ZERO;
        let mut last = None;
        for turn in 0..self.endpoints.len() {
            let index = (self.home + turn) % self.endpoints.len();
            let viewer = self.endpoints[index].clone();
            let mut failure = match self.one(cluster, what, &viewer, about, by, &read) {
                Ok((answer, takes)) => {
                    self.home = index;
                    return Ok((answer, spent + takes));
                }
                Err(failure) => failure,
            };
            spent += failure.takes;
            failure.takes = spent;
            let own = about.is_none() || about == Some(&viewer);
            let elsewhere = match failure.what {
                Failed::Endpoint => true,
                // What is the endpoint's own is refused by its own pvedaemon.
                Failed::HopRefused | Failed::HopGone | Failed::HopClusterFs => own && about.is_none(),
                // It has cost enough: the next call goes elsewhere.
                Failed::Silence if own => {
                    self.home = (index + 1) % self.endpoints.len();
                    false
                }
                Failed::Silence | Failed::Answered => false,
            };
            if !elsewhere {
                return Err(failure);
            }
            last = Some(failure);
        }
        Err(last.unwrap_or_else(|| Failure {
            what: Failed::Endpoint,
            blindness: Blindness { cause: Cause::Unreachable, words: "no endpoint is configured".into() },
            takes: SignedDuration::ZERO,
        }))
    }

    /// One call.
    fn one<T>(
        &mut self,
        cluster: &Cluster,
        what: &'static str,
        viewer: &NodeName,
        about: Option<&NodeName>,
        by: By,
        read: impl Fn(&NodeName) -> Result<T, Blindness>,
    ) -> Result<(T, SignedDuration), Failure> {
        if let Some((blindness, takes)) = self.fails(cluster, what, about.unwrap_or(viewer)) {
            return Err(Failure { what: Failed::Answered, blindness, takes });
        }
        let takes = reach(cluster, viewer, about, by)? + self.travel();
        match read(viewer) {
            Ok(answer) => Ok((answer, takes)),
            Err(blindness) => Err(Failure { what: Failed::Answered, blindness, takes }),
        }
    }

    /// Numbers a call, and says whether it is to fail.
    fn fails(
        &mut self,
        cluster: &Cluster,
        what: &'static str,
        node: &NodeName,
    ) -> Option<(Blindness, SignedDuration)> {
        self.made += 1;
        self.asked.push(Asked { at: cluster.now(), what, purpose: self.purpose });
        let fault = self.faults.of(self.made)?;
        self.failed.push(format!("call {} ({what} of {node}): {fault:?}", self.made));
        self.travel(); // So that the calls after it take as long as they would have without it.
        Some((fault.blindness(), fault.takes()))
    }

    fn travel(&mut self) -> SignedDuration {
        ANSWER_MIN + SignedDuration::from_millis(self.rng.below(ANSWER_SPREAD_MS) as i64)
    }

    fn move_on(&mut self) {
        self.home = (self.home + 1) % self.endpoints.len().max(1);
    }
}

fn settle<T>(answer: Result<(T, SignedDuration), Failure>) -> Answer<T> {
    match answer {
        Ok((answer, takes)) => (Ok(answer), takes),
        Err(failure) => (Err(failure.blindness), failure.takes),
    }
}

fn seen<T>(cluster: &Cluster, answer: Result<T, Blindness>) -> Seen<T> {
    match answer {
        Ok(value) => Seen::At { value, asked_at: cluster.now() },
        Err(blindness) => Seen::NotReached(blindness),
    }
}

fn no_right(what: &str) -> Blindness {
    Blindness { cause: Cause::RightsLost, words: format!("403 Permission check failed ({what})") }
}
