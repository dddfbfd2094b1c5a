//! Recorded times of a real PVE, played to the engine: what was on the wire, translated, told.
//!
//! A moment of a recording becomes a round at the second at which it was taken; between them the engine is woken when
//! it wishes to be. What was not recorded at a moment is as it was last recorded, but that uptimes go on. What the
//! engine asks for and nobody recorded is not reached. The logs are in `tests/data/recorded/`; the comment at each
//! test says what the right story is, and why.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};

use engine::observe::{
    Blindness, Cause, Door, Evidence, GuestEvidence, GuestId, GuestKind, Inspection, Live, NodeEvidence,
    Review, Round, Seen, ServiceReview, Snapshot, Task,
};
use engine::policy::Policy;
use engine::record::Fact;
use engine::{Effect, Engine, Input};
use expect_test::{ExpectFile, expect_file};
use jiff::{SignedDuration, Timestamp};
use pve::types::{self, ClusterStatus, LiveGuest, Resource, Rows};
use serde_json::{Value, json};

use super::{evidence, translate};

/// An engine that wants to be woken more often than this before the next moment is caught in a loop.
const TICKS_MAX: u32 = 1_000;

// ---- The stories ----

/// `kill -9` on everything of pve3, which had one guest, `cache01`, and five seconds later nothing of it is on the
/// network. Right: pve3 is told once, at the first round that sees it offline (8.1 s), with one guest; `cache01`, whose
/// row goes on saying `running`, is not told by itself; no storage of pve3 is told, no lost quorum (2 of 3). That its
/// address refuses connections from the first second is not told beside it as an API that is down: the node is gone,
/// and who refuses is the host that all nodes of this laboratory share.
#[test]
fn a_node_is_killed() {
    let mut play = Play::new(at("17:25:20"));
    play.three_nodes();
    play.node_killed();
    play.expect(expect_file!["../../tests/data/recorded/node-killed.log"]);
}

/// A Jarvis that was installed after pve3 had died, and never knew it. Right: nothing of pve3 and `cache01`, not when
/// their statistics expire either (17:30:20); the quorum lost with pve2 (17:27:01) and back (17:27:37), and of pve2
/// itself nothing, since only a minority saw it away; `app01` on pve2 stopped, by nobody knows what (no crash: the node
/// was not there to be asked for its tasks).
#[test]
fn statistics_of_a_node_expire_that_was_dead_before_anybody_looked() {
    let mut play = Play::new(at("17:25:20"));
    play.base("cluster3/cluster-resources", "cluster3/cluster-status");
    play.expiry();
    play.expect(expect_file!["../../tests/data/recorded/expiry.log"]);
}

/// All of it: pve3 dies; pve2 goes, and pve1 alone has no quorum; an operator's stop of VM 106 works nevertheless; pve2
/// comes back with `app01` stopped; pve3's statistics expire; pve1 is a member without statistics for four seconds; and
/// after seven minutes of which nothing was recorded all nodes are there, most guests newly started.
///
/// Right: pve3 unreachable at 17:25:29, online again at 17:37:52. The quorum lost and back; pve2 never told as
/// unreachable, since only a minority saw it away. 106 stopped by op@pve!t1 (qmstop). `app01` stopped, cause not known,
/// and never a crash. `cache01` and pve3's storages never told, neither when they become `unknown` nor on return, when
/// its uptime of 12 s at most says that it was restarted; so may CT 200's. pve1 without statistics for four seconds: at
/// most a warning that its statistics are stale, over again four seconds later. VMs 100 and 110 run again, and why is
/// not known: their tasks were not recorded. In the seven minutes nobody asked, so nothing was blind or stale.
#[test]
fn from_the_death_of_a_node_to_its_return() {
    let mut play = Play::new(at("17:25:20"));
    play.three_nodes();
    play.node_killed();
    play.expiry();
    play.now = at("17:37:52");
    play.tasks.clear();
    play.base("cluster3-fixed-qmp/cluster-resources", "cluster3-fixed-qmp/cluster-status");
    play.live("pve1", "cluster3-fixed-qmp/node-qemu");
    play.critical();
    play.live_round("pve1");
    play.pass(SignedDuration::from_secs(30));
    play.expect(expect_file!["../../tests/data/recorded/chronicle.log"]);
}

/// A lone node, and operators at work. Recorded are the tasks and what `status/current` said; the rows follow from
/// them as pvestatd would have sent them.
///
/// Right: CT 200 stopped by op@pve!t1 (vzstop). VM 101 runs, started for HA by root@pam. VM 100 paused, and runs again;
/// that nobody obeyed its shutdown is no news. VM 101 stopped: HA did that at op's wish (hastop), so the note says HA,
/// or the task (qmstop by root@pam). Nothing is a crash, no incident opens.
#[test]
fn operators_at_work() {
    let mut play = Play::new(at("17:10:14"));
    play.base("cluster-resources", "cluster-status");
    play.live("pve1", "node-qemu");
    play.critical();
    play.live_round("pve1");

    play.tasks("pve1", "node-tasks-after");
    for (time, answer) in [("17:12:15", "lxc-200-after-stop-0"), ("17:12:16", "lxc-200-after-stop-1")] {
        play.now = at(time);
        play.current("lxc/200", answer);
        play.critical();
    }
    play.now = at("17:12:17");
    play.current("lxc/200", "lxc-200-after-stop-2");
    play.critical();

    play.now = at("17:17:12");
    play.tasks("pve1", "task.after-shutdown-timeout");
    play.tasks("pve1", "task.cluster-active");
    play.current("qemu/101", "qemu-101-current-ha-running");
    play.row("qemu/101", json!({ "hastate": "started" }));
    play.critical();
    // Tasks: qmpause 100 OK at 17:17:15; hastop 101 at 17:17:12 and, by HA, qmstop 101 OK at 17:17:23.
    play.now = at("17:17:15");
    play.current("qemu/101", "ha.after-stop-101");
    play.critical();
    play.now = at("17:17:20");
    play.row("qemu/100", json!({ "status": "paused" }));
    play.critical();
    play.now = at("17:17:25");
    play.row("qemu/101", json!({ "status": "stopped", "uptime": 0, "hastate": "stopped" }));
    play.critical();
    // qmresume 100 OK at 17:17:27; qmshutdown 100 from 17:17:27, given up at 17:17:31.
    play.now = at("17:17:31");
    play.row("qemu/100", json!({ "status": "running" }));
    play.critical();
    play.pass(SignedDuration::from_secs(30));
    play.expect(expect_file!["../../tests/data/recorded/operators.log"]);
}

impl Play {
    /// The cluster as it was a second before the kill.
    fn three_nodes(&mut self) {
        self.base("cluster3/cluster-resources", "cluster3/cluster-status");
        for node in ["pve1", "pve2", "pve3"] {
            self.live(node, &format!("cluster3/{node}.qemu"));
        }
        // The others remember a dead node's tasks. Those of the nodes themselves were asked in the same second.
        self.cluster_tasks = tasks(&answer("cluster3/cluster-tasks"));
        self.critical();
        ["pve1", "pve2", "pve3"].into_iter().for_each(|node| self.live_round(node));
        // From here on none of the nodes' own lists was recorded.
        self.live.clear();
    }

    /// `timeline-node-killed.json`: seconds since the kill, as pve1 said it; and questions to pve3, through pve1.
    fn node_killed(&mut self) {
        let killed = at("17:25:21");
        for moment in list(&recorded("timeline-node-killed")) {
            let seconds = moment.get("t").or_else(|| moment.get("t_done")).and_then(Value::as_f64).unwrap();
            self.now = killed + SignedDuration::from_secs_f64(seconds);
            let Some(change) = moment.get("change") else {
                self.doors.insert("pve3".into(), door(moment["status"].as_str().unwrap()));
                self.important();
                continue;
            };
            for (node, status) in change["res_nodes"].as_object().unwrap() {
                self.row(
                    &format!("node/{node}"),
                    json!({ "status": status, "hastate": change["res_node_hastate"][node] }),
                );
            }
            self.guest("qemu/120", &change["vm120"]);
            self.storages_of_pve3(&change["stor3"]);
            for (name, flag) in change["cstatus"].as_object().unwrap() {
                let member = self.status.iter_mut().find(|row| row["name"] == name.as_str()).unwrap();
                member[if name == "lab" { "quorate" } else { "online" }] = flag.clone();
            }
            self.critical();
        }
    }

    /// `timeline-expiry.json`, which goes on with the same cluster, with what was recorded without quorum in between.
    fn expiry(&mut self) {
        for moment in list(&recorded("timeline-expiry")) {
            self.now = at(moment["at"].as_str().unwrap());
            if self.now > at("17:27:04") && self.status.iter().any(|row| row["quorate"] == 0) {
                self.without_quorum();
                self.now = at(moment["at"].as_str().unwrap());
            }
            let state = &moment["state"];
            for row in list(&state["vm120"]).iter().chain(&list(&state["node3"])) {
                self.whole_row(row);
            }
            for node in list(&state["nodes"]) {
                self.row(&format!("node/{}", node[0].as_str().unwrap()), json!({ "status": node[1] }));
            }
            self.guest("qemu/110", &state["vm110"]);
            self.storages_of_pve3(&state["stor3"]);
            self.vote();
            self.critical();
        }
    }

    /// pve1 alone, at 17:27:04: all rows, the vote, and an operator's stop of VM 106, which was over within a second.
    fn without_quorum(&mut self) {
        self.now = at("17:27:04");
        let derived = self.status.clone();
        self.base("no-quorum/cluster-resources", "no-quorum/cluster-status");
        let vote = |rows: &[Value]| {
            let word = |row: &Value| {
                (row["name"].to_string(), row["quorate"].to_string() + &row["online"].to_string())
            };
            rows.iter().map(word).collect::<BTreeMap<_, _>>()
        };
        assert_eq!(vote(&derived), vote(&self.status), "the vote follows from the members");
        self.critical();
        self.now = at("17:27:10");
        self.tasks("pve1", "no-quorum/tasks-after");
        self.live("pve1", "cluster3/pve1.qemu");
        self.row("qemu/106", json!({ "status": "stopped", "uptime": 0 }));
    }

    /// The vote was recorded at some moments only; it is a plain majority of three.
    fn vote(&mut self) {
        let online = |name: &Value| self.rows.get(&format!("node/{}", name.as_str().unwrap_or_default()));
        let online = |name: &Value| online(name).is_some_and(|(_, row)| row["status"] != "offline");
        let members: Vec<bool> = self.status.iter().map(|row| online(&row["name"])).collect();
        let votes = members.iter().filter(|online| **online).count();
        for (row, online) in self.status.iter_mut().zip(members) {
            match row["type"] == "cluster" {
                true => row["quorate"] = json!(u8::from(votes >= 2)),
                false => row["online"] = json!(u8::from(online)),
            }
        }
    }

    fn guest(&mut self, id: &str, recorded: &Value) {
        self.row(id, json!({ "status": recorded[0][0], "name": recorded[0][1] }));
    }

    fn storages_of_pve3(&mut self, recorded: &Value) {
        for storage in list(recorded) {
            let id = format!("storage/pve3/{}", storage[0].as_str().unwrap());
            self.row(&id, json!({ "status": storage[1] }));
        }
    }
}

// ---- How they are played ----

struct Play {
    engine: Engine,
    now: Timestamp,
    /// The rows of `/cluster/resources` by id, each with when its uptime was recorded.
    rows: BTreeMap<String, (Timestamp, Value)>,
    /// The rows of `/cluster/status`, pve1's.
    status: Vec<Value>,
    /// The nodes' own lists of virtual machines, where they are known to hold.
    live: BTreeMap<String, Vec<Value>>,
    /// The nodes' own tasks.
    tasks: BTreeMap<String, Vec<Task>>,
    /// What the others remember.
    cluster_tasks: Vec<Task>,
    doors: BTreeMap<String, Door>,
    log: String,
}

impl Play {
    fn new(now: Timestamp) -> Play {
        Play {
            engine: Engine::new("lab".parse().unwrap(), Policy::default(), 1),
            now,
            rows: BTreeMap::new(),
            status: Vec::new(),
            live: BTreeMap::new(),
            tasks: BTreeMap::new(),
            cluster_tasks: Vec::new(),
            doors: BTreeMap::new(),
            log: String::new(),
        }
    }

    /// A complete answer: what is not in it is gone.
    fn base(&mut self, resources: &str, status: &str) {
        self.rows.clear();
        list(&answer(resources)).iter().for_each(|row| self.whole_row(row));
        self.status = list(&answer(status));
    }

    fn whole_row(&mut self, row: &Value) {
        self.rows.insert(row["id"].as_str().unwrap().to_owned(), (self.now, row.clone()));
    }

    /// What was recorded of a row. A state without statistics has none: neither name nor numbers.
    fn row(&mut self, id: &str, change: Value) {
        let Value::Object(change) = change else { panic!("{change} is no row") };
        let now = self.now;
        let (recorded_at, Value::Object(row)) = self.rows.get_mut(id).unwrap() else {
            panic!("{id} is no row")
        };
        if change.contains_key("uptime") {
            *recorded_at = now;
        }
        let status = change.get("status").and_then(Value::as_str).map(str::to_owned);
        if let Some("offline" | "unknown") = status.as_deref() {
            ["uptime", "cpu", "mem", "disk"].into_iter().for_each(|number| drop(row.remove(number)));
        }
        // The node's own list knows of processes only.
        let node = row.get("node").and_then(Value::as_str).unwrap_or_default();
        if let Some(status) = status
            && let Some(list) = self.live.get_mut(node)
            && let Some(live) = list.iter_mut().find(|live| id == format!("qemu/{}", live["vmid"]))
        {
            live["status"] = json!(if status == "stopped" { "stopped" } else { "running" });
        }
        row.extend(change.into_iter().filter(|(_, value)| !value.is_null()));
    }

    /// A row as pvestatd sends it for what `status/current` says.
    fn current(&mut self, id: &str, file: &str) {
        let current = answer(file);
        self.row(id, json!({ "status": current["status"], "uptime": current["uptime"] }));
    }

    fn live(&mut self, node: &str, file: &str) {
        self.live.insert(node.into(), list(&answer(file)));
    }

    /// Adds to what is known of a node's tasks.
    fn tasks(&mut self, node: &str, file: &str) {
        let known = self.tasks.entry(node.into()).or_default();
        for task in tasks(&answer(file)) {
            known.retain(|known| known.upid != task.upid || known.ended_at.is_some());
            if known.iter().all(|known| known.upid != task.upid) {
                known.push(task);
            }
        }
    }

    fn critical(&mut self) {
        let resources: Rows<Resource> = typed(&self.resources());
        assert_eq!(resources.unreadable, Vec::new());
        let status: ClusterStatus = typed(&Value::Array(self.status.clone()));
        let mut round = Snapshot::new(Round::Critical, self.now);
        round.nodes = self.seen(translate::nodes(&resources));
        round.guests = self.seen(translate::guests(&resources));
        round.storages = self.seen(translate::storages(&resources));
        round.quorum = translate::quorum(&Ok((self.now, status.into())), true);
        self.observed(round);
    }

    /// Nodes' numbers, and how far a question to each comes.
    fn important(&mut self) {
        let mut round = Snapshot::new(Round::Important, self.now);
        round.nodes = self.seen(translate::nodes(&typed(&self.resources())));
        let doors = self.doors.iter().map(|(node, door)| (node.parse().unwrap(), self.seen(*door)));
        round.doors = doors.collect();
        self.observed(round);
    }

    fn live_round(&mut self, node: &str) {
        let mut round = Snapshot::new(Round::Live, self.now);
        round.live.insert(node.parse().unwrap(), self.live_of(node, &[GuestKind::Qemu]));
        self.observed(round);
    }

    /// Time in which nothing was recorded, but the engine is awake.
    fn pass(&mut self, duration: SignedDuration) {
        self.now += duration;
        self.wake();
    }

    fn observed(&mut self, round: Snapshot) {
        self.wake();
        self.turn(self.now, Input::Observed(round));
    }

    fn wake(&mut self) {
        for _ in 0..TICKS_MAX {
            let Some(wake) = self.engine.next_wake().filter(|wake| *wake < self.now) else { return };
            self.turn(wake, Input::Tick);
        }
        panic!("the engine wants to be woken without end before {}", self.now);
    }

    /// One input, and the answers to all that it makes the engine ask.
    fn turn(&mut self, now: Timestamp, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for effect in self.engine.step(now, input) {
                match effect {
                    // What is done about it was not recorded.
                    Effect::Record(entry)
                        if matches!(entry.fact, Fact::Remedy { .. } | Fact::Storm { .. }) => {}
                    Effect::Record(entry) => {
                        let time = now.strftime("%H:%M:%S%.1f");
                        self.log.push_str(&format!("{time}  {entry}\n"));
                    }
                    Effect::Inspect(inspection) => {
                        let answer = self.inspect(now, &inspection);
                        inputs.push_back(Input::Inspected { inspection, answer });
                    }
                    Effect::Notify(_) => {}
                    Effect::Act(permit) => panic!("nobody said that anything may be done: {permit:?}"),
                }
            }
        }
    }

    fn inspect(&self, now: Timestamp, inspection: &Inspection) -> Evidence {
        match inspection {
            Inspection::Guests(look) => {
                let mut kinds: Vec<GuestKind> = look.guests.iter().map(|guest| guest.kind).collect();
                kinds.dedup();
                let known = self.tasks.get(look.node.as_str());
                let began = |task: &&Task| task.started_at >= look.since && task.started_at <= now;
                let tasks = known.map(|tasks| tasks.iter().filter(began).cloned().collect());
                Evidence::Guests(GuestEvidence {
                    live: self.live_of(look.node.as_str(), &kinds),
                    tasks: tasks.map_or_else(unrecorded, |value| Seen::At { value, asked_at: now }),
                    booted_at: unrecorded(),
                    journal: unrecorded(),
                    current: look.current.iter().map(|guest| (*guest, unrecorded())).collect(),
                    configs: look.configs.iter().map(|guest| (*guest, unrecorded())).collect(),
                })
            }
            Inspection::Node(look) => {
                let status: ClusterStatus = typed(&Value::Array(self.status.clone()));
                let view = evidence::view(&status, &look.node).unwrap();
                let node = self.rows.get(&format!("node/{}", look.node));
                let ha = node.and_then(|(_, row)| row["hastate"].as_str()).map(Into::into);
                let mine = |task: &&Task| {
                    task.upid.split(':').nth(1) == Some(look.node.as_str()) && task.started_at >= look.since
                };
                Evidence::Node(NodeEvidence {
                    views: BTreeMap::from([("pve1".into(), Seen::At { value: view, asked_at: now })]),
                    tasks: Seen::At {
                        value: self.cluster_tasks.iter().filter(mine).cloned().collect(),
                        asked_at: now,
                    },
                    ha: Seen::At { value: ha, asked_at: now },
                    door: self.doors.get(look.node.as_str()).map_or_else(unrecorded, |door| self.seen(*door)),
                })
            }
            Inspection::Services(_) => Evidence::Services(unrecorded()),
            Inspection::Review(_) => {
                let (services, tasks) = (unrecorded(), unrecorded());
                Evidence::Review(Review::Service(ServiceReview { services, tasks }))
            }
        }
    }

    /// A node's own list; of containers what their rows say, which are as live as they were recorded.
    fn live_of(&self, node: &str, kinds: &[GuestKind]) -> Seen<BTreeMap<GuestId, Live>> {
        let Some(list) = self.live.get(node) else { return unrecorded() };
        let mut live = BTreeMap::new();
        for kind in kinds {
            let rows: Vec<Value> = match kind {
                GuestKind::Qemu => list.clone(),
                GuestKind::Lxc => {
                    let rows = self.rows.values().map(|(_, row)| row);
                    rows.filter(|row| row["type"] == "lxc" && row["node"] == node).cloned().collect()
                }
            };
            let rows: Rows<LiveGuest> = typed(&Value::Array(rows));
            live.extend(evidence::live(*kind, rows).unwrap());
        }
        self.seen(live)
    }

    fn seen<T>(&self, value: T) -> Seen<T> {
        Seen::At { value, asked_at: self.now }
    }

    /// The rows at this moment: uptimes go on where something is up, as PVE's own statistics would.
    fn resources(&self) -> Value {
        let gone = |row: &Value| {
            let node = row["node"].as_str().map(|node| self.rows.get(&format!("node/{node}")));
            node.flatten().is_some_and(|(_, node)| node["status"] != "online")
        };
        let row = |(recorded_at, row): &(Timestamp, Value)| {
            let mut row = row.clone();
            let up = row["status"] != "stopped" && !gone(&row);
            if let Some(uptime) = row["uptime"].as_u64().filter(|_| up) {
                row["uptime"] =
                    json!(uptime + self.now.duration_since(*recorded_at).unsigned_abs().as_secs());
            }
            row
        };
        Value::Array(self.rows.values().map(row).collect())
    }

    #[track_caller]
    fn expect(&self, log: ExpectFile) {
        log.assert_eq(&self.log);
    }
}

fn unrecorded<T>() -> Seen<T> {
    Seen::NotReached(Blindness { cause: Cause::Unreachable, words: "it was not recorded".into() })
}

/// All recordings are of one afternoon.
fn at(time: &str) -> Timestamp {
    format!("2026-11-23T{time}Z").parse().unwrap()
}

/// As `doors` reads it.
fn door(status_line: &str) -> Door {
    match status_line.strip_prefix("HTTP/1.1 ").unwrap() {
        "595 Connection refused" => Door::ProxyDown,
        other => panic!("{other} was not recorded"),
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pve/tests/answers")
}

fn recorded(file: &str) -> Value {
    let text = std::fs::read_to_string(folder().join(format!("{file}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// What PVE answered: its `data`.
fn answer(file: &str) -> Value {
    let Value::Object(mut answer) = recorded(file)["response"]["json"].take() else {
        panic!("{file} is no answer")
    };
    answer.remove("data").unwrap()
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().unwrap().clone()
}

/// As the client reads it: from text.
fn typed<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_str(&value.to_string()).unwrap()
}

fn tasks(rows: &Value) -> Vec<Task> {
    let rows: Rows<types::Task> = typed(rows);
    assert_eq!(rows.unreadable, Vec::new());
    evidence::tasks(rows)
}
