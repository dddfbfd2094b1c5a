//! A cluster written by hand, and an engine that watches it: what the tests of turns are made of.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by its panic")]
#![allow(
    unreachable_pub,
    dead_code,
    reason = "it is a module of several test programs, and each uses another part"
)]

pub mod play;

use std::collections::{BTreeMap, BTreeSet};

use engine::decide::{Autonomy, Controls, KillSwitch, Permit};
use engine::observe::{
    Blindness, Cause, Current, Door, Evidence, Guest, GuestConfig, GuestEvidence, GuestId, GuestKind,
    GuestReview, GuestStatus, Inspection, Live, Node, NodeEvidence, NodeName, Presence, Quorum, Review,
    ReviewLook, Round, Seen, Service, ServiceReview, Snapshot, Storage, StorageName, Subject, Task, Usage,
    View,
};
use engine::policy::Policy;
use engine::record::{Entry, Fact};
use engine::report::{Event, EventKind};
use engine::{Command, Effect, Engine, Input};
use expect_test::Expect;
use jiff::Timestamp;

/// Seconds on the test's clock; boot was long before.
pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

/// Of a node that has been up all along: it moves by itself. Any other uptime is shown as it stands.
pub const UPTIME: u64 = 500_000;

/// A cluster of pve1 and pve2 with VM 101 and container 200 on pve1 and VM 102 on pve2, written by hand.
#[derive(Clone)]
pub struct World {
    pub nodes: BTreeMap<NodeName, Node>,
    pub guests: BTreeMap<GuestId, Guest>,
    pub tasks: Vec<Task>,
    pub blind: Option<Cause>,
    /// The second at which the statistics of all guests stalled.
    pub stalled: Option<i64>,
    /// By how many seconds the clock of the rounds was set back.
    pub clock_set_back: i64,
    pub empty_is_true: bool,
    pub storages: BTreeMap<(StorageName, NodeName), Storage>,
    /// What the journal says, where the token may read it.
    pub journal: Option<Vec<&'static str>>,
    /// When pve1 booted, by its own uptime.
    pub booted: i64,
    /// Whether QEMUs answer on their monitor.
    pub monitor: bool,
    /// What the views, HA and the door say of a node that is looked at.
    pub views: Vec<(&'static str, bool, Option<bool>)>,
    pub ha: Option<&'static str>,
    pub door: Door,
    /// A node's services, as name and state.
    pub services: Vec<(&'static str, &'static str)>,
    /// The guests of which the live lists say that they have no process.
    pub dead: BTreeSet<GuestId>,
    /// When guests were started anew.
    pub started: BTreeMap<GuestId, i64>,
    /// The guests that are to start with their node, and their order.
    pub onboot: BTreeSet<GuestId>,
    pub orders: BTreeMap<GuestId, u32>,
    pub ups: BTreeMap<GuestId, u32>,
    /// Why a guest cannot be looked at closely.
    pub unreviewed: Option<&'static str>,
}

impl World {
    pub fn new() -> World {
        let node = |_| Node {
            presence: Presence::Online,
            uptime: Some(UPTIME),
            cpu: Some(0.1),
            memory: Some(Usage { used: 10, total: 100 }),
            disk: Some(Usage { used: 10, total: 100 }),
        };
        let guest = |name: &str, node: &str| Guest {
            name: Some(name.into()),
            node: node.parse().unwrap(),
            status: GuestStatus::Running,
            uptime: 1000,
            io: None,
            template: false,
            lock: None,
            ha: None,
            tags: Vec::new(),
            pool: None,
        };
        World {
            nodes: ["pve1", "pve2"].into_iter().map(|name| (name.parse().unwrap(), node(name))).collect(),
            guests: BTreeMap::from([
                ("qemu/101".parse().unwrap(), guest("web01", "pve1")),
                ("qemu/102".parse().unwrap(), guest("db01", "pve2")),
                ("lxc/200".parse().unwrap(), guest("dns", "pve1")),
            ]),
            tasks: Vec::new(),
            blind: None,
            stalled: None,
            clock_set_back: 0,
            empty_is_true: false,
            storages: BTreeMap::new(),
            journal: None,
            booted: -500_000,
            monitor: true,
            views: vec![("pve8", true, Some(false)), ("pve9", true, Some(false))],
            ha: None,
            door: Door::Silent,
            services: Vec::new(),
            dead: BTreeSet::new(),
            started: BTreeMap::new(),
            onboot: ["qemu/101", "qemu/102", "lxc/200"].map(|id| id.parse().unwrap()).into(),
            orders: BTreeMap::new(),
            ups: BTreeMap::new(),
            unreviewed: None,
        }
    }

    pub fn guest(&mut self, id: &str) -> &mut Guest {
        self.guests.get_mut(&id.parse().unwrap()).unwrap()
    }

    /// A guest is started anew, at this second.
    pub fn start(&mut self, id: &str, second: i64) {
        self.guest(id).status = GuestStatus::Running;
        let id = id.parse().unwrap();
        self.dead.remove(&id);
        self.started.insert(id, second);
    }

    /// A backup starts a stopped machine as a paused process of its own, at this second.
    pub fn lend(&mut self, id: &str, second: i64) {
        self.start(id, second);
        self.guest(id).status = GuestStatus::Other("prelaunch".into());
        self.guest(id).lock = Some("backup".into());
    }

    /// The backup is over, and its process gone.
    pub fn take_back(&mut self, id: &str) {
        self.guest(id).status = GuestStatus::Stopped;
        self.guest(id).lock = None;
    }

    /// pve1 loses power and is up again at this second, before anybody noticed: its guests have no process.
    pub fn reset(&mut self, second: i64) {
        self.booted = second;
        self.tasks.push(startall(second + 3));
        for guest in self.guests.values_mut().filter(|guest| guest.node.as_str() == "pve1") {
            guest.status = GuestStatus::Stopped;
        }
    }

    pub fn node(&mut self, name: &str) -> &mut Node {
        self.nodes.get_mut(&name.parse::<NodeName>().unwrap()).unwrap()
    }

    pub fn round(&self, round: Round, began: i64) -> Input {
        let began_at = at(began);
        let hidden = |cause| Blindness { cause, words: "for the test".into() };
        let online = self.nodes.values().filter(|node| node.presence == Presence::Online).count();
        let mut guests = self.guests.clone();
        let mut nodes = self.nodes.clone();
        let passed = began + self.clock_set_back;
        for (name, node) in nodes.iter_mut().filter(|(_, node)| node.uptime == Some(UPTIME)) {
            let booted = if name.as_str() == "pve1" { self.booted } else { -(UPTIME as i64) };
            node.uptime = Some((passed - booted).max(0) as u64);
        }
        for (id, guest) in guests.iter_mut().filter(|(_, guest)| guest.status == GuestStatus::Running) {
            let until = self.stalled.unwrap_or(passed);
            guest.uptime = match self.started.get(id) {
                Some(second) => (until - second).max(0) as u64,
                None => guest.uptime + until as u64,
            };
        }
        let quorum = Quorum {
            quorate: true,
            online: u32::try_from(online).unwrap(),
            expected: self.nodes.len() as u32,
        };
        Input::Observed(match self.blind {
            None => Snapshot {
                quorum: Seen::At { value: quorum, asked_at: began_at },
                nodes: Seen::At { value: nodes, asked_at: began_at },
                guests: Seen::At { value: guests, asked_at: began_at },
                storages: Seen::At { value: self.storages.clone(), asked_at: began_at },
                empty_is_true: self.empty_is_true,
                ..Snapshot::new(round, began_at)
            },
            Some(cause) => Snapshot {
                quorum: Seen::NotReached(hidden(cause)),
                nodes: Seen::NotReached(hidden(cause)),
                guests: Seen::NotReached(hidden(cause)),
                ..Snapshot::new(round, began_at)
            },
        })
    }

    pub fn answer(&self, inspection: &Inspection, now: i64) -> Evidence {
        let look = match inspection {
            Inspection::Guests(look) => look,
            Inspection::Node(look) => return self.node_answer(&look.node, now),
            Inspection::Services(_) => return Evidence::Services(seen(now, self.services())),
            Inspection::Review(look) => return Evidence::Review(self.review(look, now)),
        };
        let here = self.guests.iter().filter(|(_, guest)| guest.node == look.node);
        let live = here.map(|(id, guest)| {
            let (running, _) = self.process(*id);
            (*id, Live { running, pid: None, uptime: guest.uptime, lock: guest.lock.clone() })
        });
        let asked_at = at(now);
        Evidence::Guests(GuestEvidence {
            live: Seen::At { value: live.collect(), asked_at },
            tasks: Seen::At { value: self.tasks.clone(), asked_at },
            booted_at: Seen::At { value: at(self.booted), asked_at },
            journal: match &self.journal {
                Some(lines) => seen(now, lines.iter().map(|line| (*line).into()).collect()),
                None => Seen::NotAsked,
            },
            current: look.current.iter().map(|id| (*id, seen(now, self.current(*id)))).collect(),
            configs: look.configs.iter().map(|id| (*id, seen(now, self.config(*id)))).collect(),
        })
    }
}

impl World {
    /// Seen from both nodes of a cluster of three or more, of which these two are a part.
    pub fn node_answer(&self, name: &NodeName, now: i64) -> Evidence {
        let asked_at = at(now);
        let view = |(from, quorate, online): &(&str, bool, Option<bool>)| {
            let view = View { from: from.parse().ok(), quorate: *quorate, online: *online };
            ((*from).into(), Seen::At { value: view, asked_at })
        };
        assert!(self.nodes.contains_key(name), "{name} is looked at and is not there");
        Evidence::Node(NodeEvidence {
            views: self.views.iter().map(view).collect(),
            tasks: Seen::At { value: self.tasks.clone(), asked_at },
            ha: Seen::At { value: self.ha.map(Into::into), asked_at },
            door: Seen::At { value: self.door, asked_at },
        })
    }

    /// Whether the node's own list calls it running, which it does of one that a backup lent a process, too; and its process.
    fn process(&self, id: GuestId) -> (bool, Option<u32>) {
        let status = &self.guests[&id].status;
        let lent = matches!(status, GuestStatus::Other(word) if &**word == "prelaunch");
        let running = (lent || status.has_process() == Some(true)) && !self.dead.contains(&id);
        let started = self.started.get(&id).copied().unwrap_or_default();
        (running, running.then(|| 4000 + id.vmid + u32::try_from(started).unwrap()))
    }

    fn current(&self, id: GuestId) -> Current {
        let guest = &self.guests[&id];
        let dead = self.dead.contains(&id);
        Current {
            status: if dead { GuestStatus::Stopped } else { guest.status.clone() },
            monitor: self.monitor,
            pid: self.process(id).1,
            uptime: 0,
            lock: guest.lock.clone(),
            ha: guest.ha.clone(),
        }
    }

    /// What is found when a guest or a service is looked at closely.
    fn review(&self, look: &ReviewLook, now: i64) -> Review {
        let Subject::Guest(id) = look.subject else {
            let (services, tasks) = (seen(now, self.services()), seen(now, self.tasks.clone()));
            return Review::Service(ServiceReview { services, tasks });
        };
        if let Some(why) = self.unreviewed {
            let blindness = || Blindness { cause: Cause::Unreachable, words: why.into() };
            return Review::Guest(GuestReview {
                config: Seen::NotReached(blindness()),
                current: Seen::NotReached(blindness()),
                tasks: Seen::NotReached(blindness()),
            });
        }
        let guest = self.guests.get(&id).filter(|guest| guest.node == look.node);
        let config = guest.and_then(|_| self.config(id));
        let uptime = self.started.get(&id).map_or(1_000_000, |started| now - started);
        let current = guest.map(|_| Current { uptime: u64::try_from(uptime).unwrap(), ..self.current(id) });
        let current = current.map(|current| match current.pid {
            Some(_) => current,
            None => Current { uptime: 0, ..current },
        });
        Review::Guest(GuestReview {
            config: seen(now, config),
            current: seen(now, current),
            tasks: seen(now, self.tasks.clone()),
        })
    }

    fn config(&self, id: GuestId) -> Option<GuestConfig> {
        self.guests.get(&id).map(|guest| GuestConfig {
            onboot: self.onboot.contains(&id),
            order: self.orders.get(&id).copied(),
            up: self.ups.get(&id).copied(),
            template: guest.template,
            lock: guest.lock.clone(),
            tags: guest.tags.clone(),
        })
    }

    pub fn services(&self) -> Vec<Service> {
        let service = |(name, active): &(&str, &str)| Service {
            name: name.parse().unwrap(),
            enabled: true,
            active: (*active).into(),
        };
        self.services.iter().map(service).collect()
    }

    /// What one node's own list of its virtual machines says.
    pub fn live(&self, node: &str, now: i64) -> Input {
        let node: NodeName = node.parse().unwrap();
        let here = self.guests.iter().filter(|(id, guest)| guest.node == node && id.kind == GuestKind::Qemu);
        let live: BTreeMap<GuestId, Live> = here
            .map(|(id, guest)| {
                let (running, pid) = self.process(*id);
                let uptime = match self.started.get(id) {
                    Some(second) => (now - second).max(0) as u64,
                    None => guest.uptime + now as u64,
                };
                (*id, Live { running, pid, uptime, lock: guest.lock.clone() })
            })
            .collect();
        let mut snapshot = Snapshot::new(Round::Live, at(now));
        snapshot.live.insert(node, seen(now, live));
        Input::Observed(snapshot)
    }

    /// A routine or important round of one node.
    pub fn node_round(&self, round: Round, node: &str, now: i64) -> Snapshot {
        let mut snapshot = Snapshot::new(round, at(now));
        let node: NodeName = node.parse().unwrap();
        match round {
            Round::Important => {
                snapshot.doors.insert(node, seen(now, self.door));
            }
            Round::Routine => {
                snapshot.services.insert(node, seen(now, self.services()));
            }
            Round::Live | Round::Critical | Round::Background => {}
        }
        snapshot
    }
}

pub fn seen<T>(now: i64, value: T) -> Seen<T> {
    Seen::At { value, asked_at: at(now) }
}

/// The engine, its log, and what it asked that is not answered yet.
pub struct Watch {
    pub engine: Engine,
    pub log: Vec<String>,
    pub asked: Vec<Inspection>,
    /// What was told.
    pub told: Vec<Event>,
    /// What was recorded, as the journal keeps it.
    pub journal: Vec<Entry>,
    /// What was allowed to be done, and not done yet.
    pub permits: Vec<Permit>,
    /// Whether what is decided about incidents is part of the log. Tests of what is seen leave it out.
    pub remedies: bool,
}

impl Watch {
    pub fn new() -> Watch {
        Watch::with(Policy::default())
    }

    pub fn with(policy: Policy) -> Watch {
        let engine = Engine::new("lab".parse().unwrap(), policy, 7);
        Watch {
            engine,
            log: Vec::new(),
            asked: Vec::new(),
            told: Vec::new(),
            journal: Vec::new(),
            permits: Vec::new(),
            remedies: false,
        }
    }

    /// One that is allowed to do things.
    pub fn allowed(policy: Policy, level: Autonomy) -> Watch {
        let mut watch = Watch::with(policy);
        watch.remedies = true;
        watch.set(0, Controls { kill_switch: KillSwitch::Off, level, ..Controls::default() });
        watch
    }

    pub fn set(&mut self, now: i64, controls: Controls) {
        self.step(now, Input::Commanded(Command::Controls(controls)));
    }

    pub fn step(&mut self, now: i64, input: Input) {
        for effect in self.engine.step(at(now), input) {
            match effect {
                Effect::Record(entry) => {
                    if self.remedies || !matches!(entry.fact, Fact::Remedy { .. }) {
                        self.log.push(format!("{now:<4} {entry}"));
                    }
                    self.journal.push(entry);
                }
                Effect::Inspect(inspection) => {
                    let line = match &inspection {
                        Inspection::Guests(look) => {
                            let guests: Vec<String> = look.guests.iter().map(ToString::to_string).collect();
                            format!("{} {}", look.node, guests.join(" "))
                        }
                        Inspection::Node(look) => format!("node {}", look.node),
                        Inspection::Services(node) => format!("services of {node}"),
                        Inspection::Review(look) => format!("{} closely", look.subject),
                    };
                    self.log.push(format!("{now:<4} inspect   {line}"));
                    self.asked.push(inspection);
                }
                Effect::Notify(event) => {
                    if self.remedies || event.kind != EventKind::Action {
                        self.told.push(event);
                    }
                }
                Effect::Act(permit) => self.permits.push(permit),
            }
        }
        // What is due was seen to, or time would be spent on nothing.
        let wake = self.engine.next_wake();
        assert!(wake.is_none_or(|wake| wake > at(now)), "at {now} it asks for {wake:?}: {:#?}", self.log);
    }

    /// The wait that the engine asks for, within some seconds, and honest answers to all its questions.
    pub fn look(&mut self, world: &World, now: i64, within: i64) {
        let wake = self.engine.next_wake().filter(|wake| *wake <= at(now + within));
        let later = wake.map_or(now, |wake| wake.duration_since(at(0)).as_secs().max(now));
        if wake.is_some() {
            self.step(later, Input::Tick);
        }
        for inspection in std::mem::take(&mut self.asked) {
            let answer = world.answer(&inspection, later);
            self.step(later, Input::Inspected { inspection, answer });
        }
    }

    /// A critical round, the wait that the engine asks for, and honest answers to all its questions.
    pub fn critical(&mut self, world: &World, now: i64) {
        self.step(now, world.round(Round::Critical, now));
        self.look(world, now, 3);
    }

    #[track_caller]
    pub fn check(&self, expected: Expect) {
        expected.assert_eq(&self.log.join("\n"));
    }
}

/// pve1 starts its guests after its boot, which takes ten seconds.
pub fn startall(second: i64) -> Task {
    Task {
        upid: format!("UPID:pve1:startall:{second}").into(),
        kind: "startall".into(),
        id: "".into(),
        user: "root@pam".into(),
        started_at: at(second),
        ended_at: Some(at(second + 10)),
        status: Some("OK".into()),
    }
}

/// alice stops VM 101, which takes a second.
pub fn stop_of_101(second: i64) -> Task {
    Task {
        upid: "UPID:pve1:qmstop:101".into(),
        kind: "qmstop".into(),
        id: "101".into(),
        user: "alice@pve".into(),
        started_at: at(second),
        ended_at: Some(at(second + 1)),
        status: Some("OK".into()),
    }
}
