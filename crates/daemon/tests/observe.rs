//! What the observer makes of a simulated cluster that answers as PVE does: rounds, doors, and each kind of look.
//!
//! Each test waits for what it expects. Time in the cluster runs five times as fast, so that PVE's own patience (30 s)
//! costs six seconds.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by its panic")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use daemon::clock::Clock;
use daemon::supervise::{self, Stop};
use daemon::{Observer, Tiers};
use engine::Input;
use engine::observe::{
    Blindness, Cause, Door, Evidence, GuestEvidence, GuestId, GuestLook, Inspection, NodeEvidence, NodeLook,
    NodeName, Round, Seen, Snapshot,
};
use jiff::{SignedDuration, Timestamp};
use sim::http::{Options, Server};
use sim::script::Script;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

const SPEED: f64 = 5.0;
const TOKEN: &str = "jarvis@pve!test";
const SECRET: &str = "33333333-3333-3333-3333-333333333333";
const LAB: &str = "nodes pve1 pve2 pve3\n\
    guest qemu/101 web on pve1 running onboot\n\
    guest qemu/102 db on pve2 running onboot\n\
    guest qemu/103 mail on pve2 running onboot\n\
    guest lxc/200 dns on pve2 running onboot\n\
    at 60:00 end\n";

/// A cluster and who observes it.
struct Lab {
    cluster: Server,
    observer: Arc<Observer>,
    inputs: mpsc::Receiver<Input>,
    clock: Arc<Clock>,
    tiers: Tiers,
    pollers: JoinSet<anyhow::Result<()>>,
    stop: Stop,
    /// Its end is the end of the pollers.
    _stops: watch::Sender<bool>,
}

impl Lab {
    /// `rights` as the simulator writes them; endpoints in the order of the nodes' names.
    fn new(rights: &str) -> Lab {
        let mut options = Options::script(&Script::parse(LAB).unwrap()).unwrap();
        options.tokens = vec![format!("{TOKEN}={SECRET}:{rights}").parse().unwrap()];
        options.speed = SPEED;
        let cluster = Server::start(options).unwrap();
        let clock = Arc::new(Clock::faster(cluster.now().unwrap(), Instant::now(), SPEED));
        let trust = pve::Trust::Ca(cluster.ca_pem().as_bytes().into());
        let mut clients: Vec<pve::Client> = Vec::new();
        for url in cluster.endpoints() {
            let endpoint = pve::Endpoint::new(&url, trust.clone()).unwrap();
            clients.push(match clients.first() {
                Some(first) => first.beside(endpoint).unwrap(),
                None => {
                    let token = pve::Token::new(TOKEN, pve::Secret::new(SECRET)).unwrap();
                    pve::Client::new(endpoint, token, pve::Limits::default()).unwrap()
                }
            });
        }
        let (sender, inputs) = mpsc::channel(64);
        let (stops, stop) = supervise::stop();
        let observer = Observer::new("lab".parse().unwrap(), clients, Arc::clone(&clock), sender);
        let seconds = Duration::from_secs;
        let tiers = Tiers {
            live: Some(seconds(2)),
            critical: seconds(4),
            important: seconds(5),
            routine: seconds(30),
            background: seconds(60),
        };
        let (observer, pollers) = (Arc::new(observer), JoinSet::new());
        Lab { cluster, observer, inputs, clock, tiers, pollers, stop, _stops: stops }
    }

    fn watch(&mut self, rounds: &[Round]) {
        for round in rounds {
            let (observer, stop) = (Arc::clone(&self.observer), self.stop.clone());
            match round {
                Round::Live => self.pollers.spawn(observer.live(self.tiers.live.unwrap(), stop)),
                Round::Critical | Round::Important | Round::Routine | Round::Background => {
                    self.pollers.spawn(observer.tier(*round, self.tiers, stop))
                }
            };
        }
    }

    fn apply(&self, line: &str) {
        self.cluster.apply(line).unwrap();
    }

    /// What the first input that is wanted holds.
    async fn wait<T>(&mut self, what: &str, mut wanted: impl FnMut(Input) -> Option<T>) -> T {
        let found = async {
            loop {
                if let Some(found) = wanted(self.inputs.recv().await.unwrap()) {
                    return found;
                }
            }
        };
        let patience = Duration::from_secs(60);
        tokio::time::timeout(patience, found).await.unwrap_or_else(|_| panic!("{what} did not come"))
    }

    async fn round<T>(&mut self, what: &str, mut wanted: impl FnMut(Snapshot) -> Option<T>) -> T {
        let wanted = |input| if let Input::Observed(snapshot) = input { wanted(snapshot) } else { None };
        self.wait(what, wanted).await
    }

    async fn look(&mut self, inspection: Inspection) -> Evidence {
        self.observer.inspect(inspection.clone());
        let mine = |input| match input {
            Input::Inspected { inspection: asked, answer } if asked == inspection => Some(answer),
            Input::Inspected { .. }
            | Input::Observed(_)
            | Input::Acted { .. }
            | Input::Commanded(_)
            | Input::Tick => None,
        };
        self.wait("an answer", mine).await
    }

    async fn guests(&mut self, node: &str, guests: &[&str], current: &[&str]) -> GuestEvidence {
        let ids = |list: &[&str]| list.iter().map(|id| id.parse().unwrap()).collect();
        let since = self.clock.now() - SignedDuration::from_mins(10);
        let look = GuestLook {
            node: name(node),
            guests: ids(guests),
            current: ids(current),
            configs: ids(guests),
            since,
            journal_since: since,
        };
        let Evidence::Guests(evidence) = self.look(Inspection::Guests(look)).await else { panic!() };
        evidence
    }

    async fn node(&mut self, node: &str) -> NodeEvidence {
        let since = self.clock.now() - SignedDuration::from_mins(30);
        let look = NodeLook { node: name(node), since };
        let Evidence::Node(evidence) = self.look(Inspection::Node(look)).await else { panic!() };
        evidence
    }
}

fn name(node: &str) -> NodeName {
    node.parse().unwrap()
}

fn guest(id: &str) -> GuestId {
    id.parse().unwrap()
}

/// Why something was not seen, or its value.
fn cause<T: std::fmt::Debug>(seen: &Seen<T>) -> Cause {
    let Seen::NotReached(Blindness { cause, .. }) = seen else { panic!("{seen:?}") };
    *cause
}

/// The state of a guest in a node's own list, where the snapshot holds one.
fn runs(snapshot: &Snapshot, node: &str, id: &str) -> Option<bool> {
    let list = snapshot.live.get(&name(node))?.value()?;
    Some(list.get(&guest(id)).is_some_and(|live| live.running))
}

#[tokio::test]
async fn the_live_tier_sees_a_crash_and_a_node_that_hangs_holds_up_no_other() {
    let mut lab = Lab::new("auditor");
    lab.watch(&[Round::Critical, Round::Live]);
    lab.round("the first list of pve1", |seen| runs(&seen, "pve1", "qemu/101")).await;
    lab.round("the first list of pve2", |seen| runs(&seen, "pve2", "qemu/102")).await;
    lab.apply("crash qemu/102");
    lab.round("the crash", |seen| (runs(&seen, "pve2", "qemu/102") == Some(false)).then_some(())).await;

    lab.apply("daemon pve2 hang down");
    let mut lists = 0;
    let blind = lab.round("the end of patience with pve2", |seen| {
        assert_eq!(seen.round == Round::Live, !seen.live.is_empty());
        assert!(seen.live.len() <= 1, "one node a snapshot");
        assert!(!seen.live.contains_key(&name("pve3")), "it holds no virtual machine");
        lists += u32::from(seen.live.get(&name("pve1")).is_some_and(|seen| seen.value().is_some()));
        seen.live.get(&name("pve2")).filter(|seen| seen.value().is_none()).map(cause)
    });
    assert_eq!(blind.await, Cause::Unreachable);
    assert!(lists >= 3, "pve1 was listed {lists} times while pve2 hung");
}

#[tokio::test]
async fn doors_are_shut_in_their_own_ways() {
    let mut lab = Lab::new("auditor");
    lab.watch(&[Round::Critical, Round::Important, Round::Live]);
    let table = [
        ("daemon pve2 pveproxy down", Door::ProxyDown, "daemon pve2 pveproxy up"),
        ("daemon pve2 pvedaemon down", Door::DaemonDown, "daemon pve2 pvedaemon up"),
        ("daemon pve2 hang down", Door::Hung, "daemon pve2 hang up"),
    ];
    let door =
        |seen: &Snapshot, node: &str| seen.doors.get(&name(node)).and_then(|door| door.value().copied());
    lab.round("open doors", |seen| (door(&seen, "pve2") == Some(Door::Open)).then_some(())).await;
    for (shut, expected, open) in table {
        lab.apply(shut);
        let others = |seen: &Snapshot| [door(seen, "pve1"), door(seen, "pve3")];
        let told = lab.round(shut, |seen| (door(&seen, "pve2") == Some(expected)).then(|| others(&seen)));
        // One that hangs may use up the round's time; who was not asked then is asked first in the next.
        let told = told.await;
        assert!(told.iter().flatten().all(|door| *door == Door::Open), "{shut}: {told:?}");
        lab.round("the last one", |seen| (door(&seen, "pve3") == Some(Door::Open)).then_some(())).await;
        lab.apply(open);
        lab.round(open, |seen| (door(&seen, "pve2") == Some(Door::Open)).then_some(())).await;
    }
}

#[tokio::test]
async fn a_look_at_guests() {
    let mut lab = Lab::new("observer");
    let well = lab.guests("pve2", &["qemu/102", "lxc/200"], &["qemu/103"]).await;
    let live = well.live.value().unwrap();
    assert!(live[&guest("qemu/102")].running && live[&guest("lxc/200")].running);
    assert!(live[&guest("qemu/102")].pid.is_some());
    assert_eq!(well.journal, Seen::NotAsked, "all of them run");
    assert!(well.configs.is_empty(), "all of them run");
    assert!(well.current[&guest("qemu/103")].value().unwrap().monitor);
    let up = lab.clock.now().duration_since(*well.booted_at.value().unwrap());
    assert!(up > SignedDuration::ZERO, "it booted before it was asked: {up}");

    lab.apply("crash qemu/102 segfault");
    lab.apply("stop lxc/200 by alice@pve");
    lab.apply("hang qemu/103");
    let gone = |evidence: &GuestEvidence| {
        let live = evidence.live.value().unwrap();
        !live[&guest("qemu/102")].running && !live[&guest("lxc/200")].running
    };
    let mut found = lab.guests("pve2", &["qemu/102", "lxc/200"], &["qemu/103"]).await;
    while !gone(&found) {
        found = lab.guests("pve2", &["qemu/102", "lxc/200"], &["qemu/103"]).await;
    }
    let tasks = found.tasks.value().unwrap();
    let stop = tasks.iter().find(|task| &*task.kind == "vzstop").unwrap();
    assert_eq!((&*stop.id, &*stop.user), ("200", "alice@pve"));
    assert!(!tasks.iter().any(|task| &*task.id == "102"), "nobody asked for the crash");
    let journal = found.journal.value().unwrap();
    assert!(journal.iter().any(|line| line.contains("segfault")), "{journal:?}");
    assert!(journal.iter().any(|line| line.contains("102.scope")), "{journal:?}");
    let read: Vec<String> = found.configs.keys().map(ToString::to_string).collect();
    assert_eq!(read, ["qemu/102", "lxc/200"]);
    let config = found.configs[&guest("qemu/102")].value().unwrap().as_ref().unwrap();
    assert!(config.onboot && !config.template, "{config:?}");
    let hung = found.current[&guest("qemu/103")].value().unwrap();
    assert_eq!((hung.status.as_str(), hung.monitor), ("running", false));
}

#[tokio::test]
async fn a_busy_node_s_tasks_are_all_looked_through() {
    let mut lab = Lab::new("observer");
    lab.apply("stop lxc/200 by alice@pve");
    for _ in 0..300 {
        lab.apply("service pve2 cron inactive by bob@pve");
        lab.apply("service pve2 cron active by bob@pve");
    }
    let found = lab.guests("pve2", &["lxc/200"], &[]).await;
    let tasks = found.tasks.value().unwrap();
    assert!(tasks.len() > 600, "{} of more than 600", tasks.len());
    assert!(tasks.iter().any(|task| (&*task.kind, &*task.user) == ("vzstop", "alice@pve")), "the oldest too");
}

#[tokio::test]
async fn a_look_with_fewer_rights_says_which_are_missing() {
    let mut lab = Lab::new("auditor");
    lab.apply("crash qemu/102");
    let mut found = lab.guests("pve2", &["qemu/102"], &[]).await;
    while found.live.value().unwrap()[&guest("qemu/102")].running {
        found = lab.guests("pve2", &["qemu/102"], &[]).await;
    }
    assert_eq!(cause(&found.journal), Cause::RightsLost, "PVEAuditor does not hold Sys.Syslog");
    assert!(found.tasks.value().is_some());

    let mut lab = Lab::new("auditor@/vms/101");
    let found = lab.guests("pve2", &["qemu/102"], &[]).await;
    assert_eq!((cause(&found.live), cause(&found.tasks)), (Cause::RightsLost, Cause::RightsLost));
    let found = lab.guests("pve1", &["qemu/101"], &[]).await;
    assert!(found.live.value().is_some(), "its own guest it sees");
    assert_eq!(cause(&found.tasks), Cause::RightsLost, "an empty list of tasks is no proof");
    let node = lab.node("pve2").await;
    assert_eq!((cause(&node.tasks), cause(&node.ha)), (Cause::RightsLost, Cause::RightsLost));
}

#[tokio::test]
async fn a_look_at_a_node() {
    let mut lab = Lab::new("auditor");
    lab.watch(&[Round::Critical]);
    let labels: BTreeMap<String, String> = lab
        .cluster
        .addresses()
        .iter()
        .map(|(node, address)| (address.to_string(), node.to_string()))
        .collect();
    let seen_by = |evidence: &NodeEvidence| -> Vec<String> {
        let mut lines = Vec::new();
        for (label, seen) in &evidence.views {
            let node = &labels[&**label];
            lines.push(match seen.value() {
                Some(view) => {
                    let from = view.from.as_ref().unwrap();
                    assert_eq!(node, from.as_str(), "the endpoint says who it is");
                    format!("{from} {} {:?}", view.quorate, view.online)
                }
                None => format!("{node} not reached"),
            });
        }
        lines.sort();
        lines
    };
    lab.round("a first round", |seen| seen.nodes.value().map(|_| ())).await;
    let well = lab.node("pve2").await;
    let all = ["pve1 true Some(true)", "pve2 true Some(true)", "pve3 true Some(true)"];
    assert_eq!(seen_by(&well), all);
    assert_eq!(well.door.value(), Some(&Door::Open));
    assert!(well.ha.value().is_some());

    lab.apply("maintenance pve2 on");
    let mut kept = lab.node("pve2").await;
    while kept.ha.value().unwrap().as_deref() != Some("maintenance") {
        kept = lab.node("pve2").await;
    }

    lab.apply("shutdown-node pve2");
    let offline = |seen: Snapshot| {
        let node = seen.nodes.value()?.get(&name("pve2"))?;
        (node.presence == engine::observe::Presence::Offline).then_some(())
    };
    lab.round("pve2 offline", offline).await;
    let left = lab.node("pve2").await;
    let two = ["pve1 true Some(false)", "pve2 not reached", "pve3 true Some(false)"];
    assert_eq!(seen_by(&left), two);
    assert_eq!(left.door.value(), Some(&Door::Silent));
    let tasks = left.tasks.value().unwrap();
    assert!(tasks.iter().any(|task| &*task.kind == "stopall" && &*task.user == "root@pam"), "{tasks:?}");
    assert!(tasks.iter().all(|task| task.upid.starts_with("UPID:pve2:")), "only its own");
}

#[tokio::test]
async fn a_node_whose_file_system_is_down_says_so() {
    let mut lab = Lab::new("auditor");
    lab.apply("daemon pve3 pmxcfs down");
    let found = lab.node("pve3").await;
    assert_eq!(found.door.value(), Some(&Door::ClusterFsDown), "{:?}", found.door);
}

#[tokio::test]
async fn a_look_at_a_node_ends_whatever_hangs() {
    let mut lab = Lab::new("auditor");
    lab.node("pve2").await;
    lab.apply("api hang");
    let began = Instant::now();
    let found = lab.node("pve2").await;
    let took = began.elapsed();
    assert!(took < Duration::from_millis(6_500), "{took:?}");
    assert_eq!(found.views.len(), 3);
    assert!(found.views.values().all(|view| cause(view) == Cause::Unreachable));
    assert_eq!((cause(&found.tasks), cause(&found.ha)), (Cause::Unreachable, Cause::Unreachable));
}

#[tokio::test]
async fn services_in_rounds_and_looks() {
    let mut lab = Lab::new("auditor");
    lab.apply("service pve2 pve-firewall failed");
    lab.watch(&[Round::Critical, Round::Routine]);
    let services =
        lab.round("services of all", |seen| (seen.services.len() == 3).then_some(seen.services)).await;
    let firewall = |seen: &Seen<Vec<engine::observe::Service>>| {
        let services = seen.value().unwrap();
        let found = services.iter().find(|service| service.name.as_str() == "pve-firewall").unwrap();
        (found.enabled, found.active.to_string())
    };
    assert_eq!(firewall(&services[&name("pve2")]), (true, "failed".to_owned()));
    assert_eq!(firewall(&services[&name("pve1")]), (true, "active".to_owned()));
    lab.apply("service pve2 pve-firewall active");
    let answer = lab.look(Inspection::Services(name("pve2"))).await;
    let Evidence::Services(seen) = answer else { panic!("{answer:?}") };
    assert_eq!(firewall(&seen), (true, "active".to_owned()));
}

#[tokio::test]
async fn another_endpoint_is_asked_within_one_poll_and_when_the_answers_are_of_no_use() {
    let mut lab = Lab::new("auditor");
    lab.watch(&[Round::Critical]);
    lab.round("a first round", |seen| seen.nodes.value().map(|_| ())).await;
    lab.apply("daemon pve1 pveproxy down");
    for _ in 0..3 {
        lab.round("rounds go on", |seen| {
            assert!(seen.nodes.value().is_some() && seen.quorum.value().is_some(), "{:?}", seen.nodes);
            Some(())
        })
        .await;
    }
    lab.apply("daemon pve1 pveproxy up");
    let asked = |lab: &Lab| lab.cluster.counts().nodes.get("pve3").copied().unwrap_or_default();
    let before = asked(&lab);
    lab.observer.move_on();
    lab.round("a round", |_| Some(())).await;
    lab.round("a round", |_| Some(())).await;
    let after = asked(&lab);
    assert!(after > before, "the endpoint after that is asked");
}

#[tokio::test]
async fn nobody_says_whether_there_is_quorum() {
    let mut lab = Lab::new("auditor");
    lab.watch(&[Round::Critical]);
    lab.round("a first round", |seen| seen.quorum.value().map(|_| ())).await;
    // The vote goes through pvedaemon, resources do not.
    for node in ["pve1", "pve2", "pve3"] {
        lab.apply(&format!("daemon {node} pvedaemon down"));
    }
    let cause = lab.round("a hidden vote", |seen| {
        seen.nodes.value()?;
        seen.quorum.value().is_none().then(|| cause(&seen.quorum))
    });
    assert_eq!(cause.await, Cause::NoQuorumSeen);
}

/// The whole of a round fits between its question and the next: what was seen is stamped with when it was asked.
#[tokio::test]
async fn what_was_seen_is_as_old_as_its_question() {
    let mut lab = Lab::new("auditor");
    let began = lab.clock.now();
    lab.watch(&[Round::Critical, Round::Live]);
    let asked_at: Timestamp = lab
        .round("a list", |seen| match seen.live.get(&name("pve1"))? {
            Seen::At { asked_at, .. } => {
                assert_eq!(seen.began_at, *asked_at);
                Some(*asked_at)
            }
            Seen::NotAsked | Seen::NotReached(_) => None,
        })
        .await;
    assert!(asked_at > began && asked_at < lab.clock.now());
}
