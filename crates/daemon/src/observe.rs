//! Observe: polling tiers over one shared observation, and the looks that the engine asks for.
//!
//! A poll that fails is an observation too ("not reached"), never an error that ends anything. An answer fresh
//! enough is shared instead of asked for again; two polls of one kind never overlap. Only configured endpoints are
//! contacted, never addresses that a cluster merely reports.
//!
//! ```text
//! rounds      what each tier asks of the cluster, and of its nodes one after the other
//! live        the alarm: each node's own list of virtual machines, within a budget per node
//! doors       how far a question to a node comes
//! look        what is asked on suspicion
//! doctor      whether all of it can be asked at all, for `jarvis doctor`
//! itself      whether Jarvis runs in the cluster, and where
//! page        what the old page shows
//! ask         which endpoint is asked, and when another is tried
//! temperature what the nodes' sensors read, which PVE does not know
//! bill        what all of it costs
//! shared      one answer for all who ask
//! translate   PVE's answers to rounds as the engine and the page know them
//! evidence    PVE's answers about single nodes and guests
//! ```

mod aside;
mod ask;
mod bill;
pub(crate) mod doctor;
mod doors;
mod evidence;
pub(crate) mod itself;
mod live;
mod look;
mod page;
#[cfg(test)]
mod recorded;
mod review;
mod rounds;
mod shared;
mod skew;
mod temperature;
mod translate;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex as Lock};
use std::time::Duration;

use engine::Input;
use engine::observe::{Blindness, ClusterName, GuestKind, NodeName, Presence, Round, Seen, Snapshot};
use jiff::Timestamp;
use pve::Client;
use pve::types::{ClusterStatus, Permissions, Resource, Rows};
use tokio::sync::{Mutex, Semaphore, mpsc, watch};

pub(crate) use self::aside::{Configured, Course, Over};
use self::ask::Endpoints;
use self::doors::Daemons;
use self::shared::Shared;
use self::temperature::Sensors;
pub use self::temperature::Source;
use crate::clock::Clock;
use crate::report::meter::Meter;

/// An answer that may be shared, with when it was asked, or why there is none.
type Asked<T> = Result<(Timestamp, Arc<T>), Blindness>;

/// Looks at a time. Each holds its answers in memory, and a node's death asks for one per node at most.
const LOOKS_MAX: usize = 16;

/// Sees one cluster: rounds and looks come out of the channel that it was given.
pub struct Observer {
    cluster: ClusterName,
    endpoints: Endpoints,
    /// Since when the list of guests has been empty.
    empty_since: Mutex<Option<Timestamp>>,
    resources: Shared<Rows<Resource>>,
    status: Shared<ClusterStatus>,
    rights: Shared<Permissions>,
    sensors: Sensors,
    /// Whom the newest critical round knows.
    known: watch::Sender<Known>,
    /// What is known of each node's pvedaemon from live calls.
    daemons: Lock<BTreeMap<NodeName, Daemons>>,
    /// Whose door is next; a round that ran out of time goes on there.
    door_next: AtomicUsize,
    /// Held by whoever asks for services: never two at once (pve-domain 6).
    services_turn: Mutex<()>,
    looks: Semaphore,
    /// Looks at nodes do not wait behind those at guests: a lost node must be told whatever hangs.
    node_looks: Semaphore,
    /// What people ask waits behind what people ask.
    asides: Semaphore,
    clock: Arc<Clock>,
    inputs: mpsc::Sender<Input>,
}

/// Whom the newest critical round knows; kept while rounds fail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    /// Members of the cluster that are there, with or without statistics.
    members: BTreeSet<NodeName>,
    /// Those of them that hold a virtual machine.
    with_machines: BTreeSet<NodeName>,
}

impl Known {
    /// `None` where the round saw no nodes.
    fn of(snapshot: &Snapshot) -> Option<Known> {
        let nodes = snapshot.nodes.value()?;
        let there = |presence| match presence {
            // Without statistics the live list is all there is.
            Presence::Online | Presence::Unknown => true,
            Presence::Offline => false,
        };
        let members: BTreeSet<NodeName> =
            nodes.iter().filter(|(_, node)| there(node.presence)).map(|(name, _)| name.clone()).collect();
        let guests = snapshot.guests.value().into_iter().flatten();
        let with_machines = guests
            .filter(|(id, guest)| {
                id.kind == GuestKind::Qemu && !guest.template && members.contains(&guest.node)
            })
            .map(|(_, guest)| guest.node.clone())
            .collect();
        Some(Known { members, with_machines })
    }
}

/// How often each tier asks, on the daemon's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiers {
    /// The alarm; `None` when it is off.
    pub live: Option<Duration>,
    /// State changes.
    pub critical: Duration,
    /// Thresholds of nodes, and whether their API answers.
    pub important: Duration,
    /// Services, sensors, heartbeat.
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
    /// multiple of the greatest common divisor of their intervals. The live tier goes by each node's own pace.
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
    pub fn new(
        cluster: ClusterName,
        clients: Vec<Client>,
        clock: Arc<Clock>,
        inputs: mpsc::Sender<Input>,
    ) -> Observer {
        Observer {
            sensors: Sensors::none(cluster.clone()),
            endpoints: Endpoints::new(cluster.clone(), clients, Arc::clone(&clock)),
            cluster,
            empty_since: Mutex::new(None),
            resources: Shared::new(),
            status: Shared::new(),
            rights: Shared::new(),
            known: watch::Sender::new(Known::default()),
            daemons: Lock::default(),
            door_next: AtomicUsize::new(0),
            services_turn: Mutex::new(()),
            looks: Semaphore::new(LOOKS_MAX),
            node_looks: Semaphore::new(LOOKS_MAX),
            asides: Semaphore::new(aside::ASIDES_MAX),
            clock,
            inputs,
        }
    }

    /// Its rounds and calls are counted there.
    #[must_use]
    pub fn with_meter(mut self, meter: Arc<Meter>) -> Observer {
        self.endpoints.count_in(meter);
        self
    }

    /// The engine makes nothing of what this endpoint answers: it is stale, or of the minority. Another one may know
    /// better.
    pub fn move_on(&self) {
        if self.endpoints.move_on() {
            tracing::debug!(cluster = %self.cluster, "the endpoint's answers do not show the cluster; asking the next one");
        }
    }

    /// Members of the cluster as the newest critical round saw them.
    fn members(&self) -> Vec<NodeName> {
        self.known.borrow().members.iter().cloned().collect()
    }
}

fn seen<T, U>(asked: &Asked<T>, translate: impl FnOnce(&T) -> U) -> Seen<U> {
    match asked {
        Ok((asked_at, answer)) => Seen::At { value: translate(answer), asked_at: *asked_at },
        Err(blindness) => Seen::NotReached(blindness.clone()),
    }
}

/// As [`seen`], of an answer that nobody shares.
fn seen_at<T>(asked_at: Timestamp, answer: Result<T, Blindness>) -> Seen<T> {
    match answer {
        Ok(value) => Seen::At { value, asked_at },
        Err(blindness) => Seen::NotReached(blindness),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::observe::{Guest, GuestStatus, Node};

    #[test]
    fn whom_a_critical_round_knows() {
        let node = |presence| Node { presence, uptime: None, cpu: None, memory: None, disk: None };
        let guest = |node: &str, template| Guest {
            name: None,
            node: node.parse().unwrap(),
            status: GuestStatus::Stopped,
            uptime: 0,
            io: None,
            template,
            lock: None,
            ha: None,
            tags: Vec::new(),
            pool: None,
        };
        let asked_at = Timestamp::UNIX_EPOCH;
        let mut snapshot = Snapshot::new(Round::Critical, asked_at);
        assert_eq!(Known::of(&snapshot), None, "a round that saw no nodes says nothing");
        let presences = [
            ("pve1", Presence::Online),
            ("pve2", Presence::Unknown),
            ("pve3", Presence::Offline),
            ("pve4", Presence::Online),
            ("pve5", Presence::Online),
        ];
        let value = presences.map(|(name, presence)| (name.parse().unwrap(), node(presence))).into();
        snapshot.nodes = Seen::At { value, asked_at };
        let guests = [
            ("qemu/100", guest("pve1", false)),
            ("qemu/101", guest("pve2", false)),
            ("qemu/102", guest("pve3", false)),
            ("qemu/103", guest("pve4", true)),
            ("lxc/200", guest("pve5", false)),
        ];
        let value = guests.map(|(id, guest)| (id.parse().unwrap(), guest)).into();
        snapshot.guests = Seen::At { value, asked_at };
        let known = Known::of(&snapshot).unwrap();
        let names =
            |set: BTreeSet<NodeName>| set.iter().map(|name| name.as_str().to_owned()).collect::<Vec<_>>();
        assert_eq!(
            names(known.members),
            ["pve1", "pve2", "pve4", "pve5"],
            "one without statistics is a member"
        );
        assert_eq!(
            names(known.with_machines),
            ["pve1", "pve2"],
            "neither templates nor containers are asked for"
        );
    }
}
