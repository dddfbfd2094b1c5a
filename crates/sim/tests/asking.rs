//! The virtual daemon: what it asks, which endpoint, and what it makes of a call that fails.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic, its helpers too")]

use std::collections::{BTreeMap, BTreeSet};

use engine::Input;
use engine::observe::{Cause, Door, Evidence, NodeName, Round, Seen, Snapshot};
use jiff::SignedDuration;
use sim::run::{BEGIN, Fault, Faults, Report, watch_with};
use sim::script::Script;

const LAB: &str = "nodes pve1 pve2 pve3\nguest qemu/101 web01 on pve1 running\nguest qemu/102 db01 on pve2 running\n\
                   guest lxc/200 dns on pve3 running\nstorage nfs shared 1000GiB used 40%\n";

/// Plays some lines beside the lab's and gives every input of the engine with its second.
fn inputs(lines: &str, faults: &Faults) -> (Vec<(f64, Input)>, Report) {
    let script = Script::parse(&format!("{LAB}{lines}\nat 5:00 end")).unwrap();
    let mut inputs = Vec::new();
    let report = watch_with(&script, faults, &mut |moment| {
        inputs.push((moment.at.duration_since(BEGIN).as_secs_f64(), moment.input.clone()));
    });
    (inputs, report.unwrap())
}

fn rounds(inputs: &[(f64, Input)], round: Round) -> Vec<(f64, Snapshot)> {
    let of = |(at, input): &(f64, Input)| match input {
        Input::Observed(snapshot) if snapshot.round == round => Some((*at, snapshot.clone())),
        Input::Observed(_)
        | Input::Inspected { .. }
        | Input::Acted { .. }
        | Input::Commanded(_)
        | Input::Tick => None,
    };
    inputs.iter().filter_map(of).collect()
}

fn node(name: &str) -> NodeName {
    name.parse().unwrap()
}

fn cause<T>(seen: &Seen<T>) -> Option<Cause> {
    match seen {
        Seen::NotReached(blindness) => Some(blindness.cause),
        Seen::At { .. } | Seen::NotAsked => None,
    }
}

#[test]
fn a_failed_call_is_a_part_not_reached_and_never_an_empty_list() {
    let table = [
        (Fault::Timeout, Cause::Unreachable, "timed out", 15.0),
        (Fault::Error500, Cause::Malformed, "500 got timeout", 5.0),
        (Fault::Hop595, Cause::Unreachable, "595 No route to host", 5.0),
        (Fault::Reset, Cause::Unreachable, "connection reset by peer", 5.0),
        (Fault::Truncated, Cause::Malformed, "the answer ended before its end", 5.0),
    ];
    for (fault, expected, words, at) in table {
        // The first round asks for the vote, then for all rows.
        for number in [1, 2] {
            let (inputs, report) = inputs("", &Faults::Call { number, fault });
            let (when, snapshot) = rounds(&inputs, Round::Critical).remove(0);
            assert!((at..at + 1.0).contains(&when), "{fault:?}: at {when}");
            let vote = (number == 1).then_some(expected);
            let rows = (number == 2).then_some(expected);
            assert_eq!(cause(&snapshot.quorum), vote, "{fault:?} of call {number}: quorum");
            assert_eq!(cause(&snapshot.nodes), rows, "{fault:?} of call {number}: nodes");
            assert_eq!(cause(&snapshot.guests), rows, "{fault:?} of call {number}: guests");
            assert_eq!(cause(&snapshot.storages), rows, "{fault:?} of call {number}: storages");
            if let Seen::NotReached(blindness) = &snapshot.quorum {
                assert_eq!(blindness.words, words);
            }
            assert_eq!(report.failed.len(), 1);
        }
    }
}

#[test]
fn every_call_can_be_made_to_fail() {
    let (_, sound) = inputs("at 1:00 crash qemu/101", &Faults::None);
    let (_, again) = inputs("at 1:00 crash qemu/101", &Faults::None);
    assert_eq!((sound.calls, &sound.log), (again.calls, &again.log), "the same calls in each run");
    assert!(sound.calls > 400, "a live call each 2 s of each of three nodes: {}", sound.calls);
    for number in [1, 2, 3, sound.calls / 2, sound.calls] {
        let (_, report) = inputs("at 1:00 crash qemu/101", &Faults::Call { number, fault: Fault::Reset });
        assert_eq!(report.failed.len(), 1, "call {number}");
    }
    let some = |probability, seed| inputs("", &Faults::Each { probability, seed }).1.failed;
    assert_eq!(some(0.05, 1), some(0.05, 1), "the same seed, the same failures");
    assert_ne!(some(0.05, 1), some(0.05, 2));
    assert!(some(0.0, 1).is_empty() && some(1.0, 1).len() > 50);
}

#[test]
fn live_rounds_ask_one_node_each_and_only_those_that_are_there() {
    let (inputs, _) = inputs("at 1:00 kill-node pve3", &Faults::None);
    let mut asked: BTreeMap<NodeName, Vec<f64>> = BTreeMap::new();
    for (_, snapshot) in rounds(&inputs, Round::Live) {
        let at = snapshot.began_at.duration_since(BEGIN).as_secs_f64();
        assert_eq!(snapshot.live.len(), 1, "one node a round");
        assert_eq!(snapshot.guests, Seen::NotAsked);
        for (name, list) in &snapshot.live {
            if let Some(list) = list.value() {
                assert!(list.keys().all(|id| id.to_string().starts_with("qemu")), "virtual machines only");
            }
            asked.entry(name.clone()).or_default().push(at);
        }
    }
    for (name, times) in &asked {
        let until = if *name == node("pve3") { 78.0 } else { 300.0 };
        let count = times.iter().filter(|at| **at > 6.0 && **at < 60.0).count();
        assert!((26..=28).contains(&count), "{name}: each 2 s, {count} in 54 s");
        assert!(
            times.iter().all(|at| *at < until),
            "{name} is not asked any more when it is known to be gone"
        );
    }
    let firsts: BTreeSet<i64> = asked.values().map(|times| (times[0] * 1000.0) as i64).collect();
    assert_eq!(firsts.len(), 3, "each node at an instant of its own");
    let (inputs, _) = self::inputs("every live off", &Faults::None);
    assert!(rounds(&inputs, Round::Live).is_empty());
}

#[test]
fn answers_may_overtake_each_other() {
    let (inputs, _) = inputs("api pve2 slow=1500", &Faults::None);
    let asked = inputs.iter().filter_map(|(_, input)| match input {
        Input::Observed(snapshot) => Some(snapshot.began_at),
        Input::Inspected { .. } | Input::Acted { .. } | Input::Commanded(_) | Input::Tick => None,
    });
    let asked: Vec<_> = asked.collect();
    assert!(asked.windows(2).any(|pair| pair[1] < pair[0]), "none came before one that was asked earlier");
}

/// What befalls the first endpoint at 1:00, and what the first critical round after it sees.
#[test]
fn another_endpoint_is_asked_where_the_first_one_fails() {
    #[rustfmt::skip]
    let table = [
        ("its power is lost",                 "kill-node pve1", None),
        ("nobody listens",                    "daemon pve1 pveproxy down", None),
        ("connections are refused",           "api pve1 refused", None),
        ("connections are reset",             "api pve1 reset", None),
        ("no packet comes back",              "api pve1 unreachable", None),
        ("its pvedaemon is dead",             "daemon pve1 pvedaemon down", None),
        ("its cluster file system is dead",   "daemon pve1 pmxcfs down", None),
        ("it is on the side of the minority", "side 1 pve1", None),
        ("it is silent: the next call",       "api pve1 hang", Some(Cause::Unreachable)),
        ("the token is refused there",        "api pve1 denied", Some(Cause::Refused)),
        ("it garbles",                        "api pve1 garbage", Some(Cause::Malformed)),
    ];
    for (name, command, expected) in table {
        let (inputs, _) = inputs(&format!("every live off\nat 1:00 {command}"), &Faults::None);
        let after: Vec<Snapshot> = rounds(&inputs, Round::Critical)
            .into_iter()
            .map(|(_, s)| s)
            .filter(|s| s.began_at > BEGIN + SignedDuration::from_mins(1))
            .collect();
        assert_eq!(cause(&after[0].quorum), expected, "{name}: quorum");
        // What was silent for so long is asked nothing more.
        let rows = expected.filter(|cause| *cause != Cause::Unreachable);
        assert_eq!(cause(&after[0].guests), rows, "{name}: guests");
        if expected.is_none() {
            assert!(after[0].quorum.value().unwrap().quorate, "{name}: a majority is asked");
        }
    }
}

#[test]
fn only_the_configured_endpoints_are_asked() {
    let (inputs, _) = inputs("endpoints pve1\nat 1:00 kill-node pve1", &Faults::None);
    let (_, last) = rounds(&inputs, Round::Critical).pop().unwrap();
    assert_eq!(cause(&last.guests), Some(Cause::Unreachable), "two others live, and are none of ours");
}

/// What befalls a node, and how far a question to it comes.
#[test]
fn doors() {
    #[rustfmt::skip]
    let table = [
        ("nothing",                     "pve2", "unlock qemu/101", Some(Door::Open)),
        ("pveproxy is dead",            "pve2", "daemon pve2 pveproxy down", Some(Door::ProxyDown)),
        ("pvedaemon is dead",           "pve2", "daemon pve2 pvedaemon down", Some(Door::DaemonDown)),
        ("pvedaemon hangs",             "pve2", "daemon pve2 hang down", Some(Door::Hung)),
        ("everything hangs",            "pve2", "api pve2 hang", Some(Door::Hung)),
        ("it is cut off from outside",  "pve2", "api pve2 unreachable", Some(Door::Silent)),
        ("the home's own pvedaemon",    "pve1", "daemon pve1 pvedaemon down", Some(Door::DaemonDown)),
        ("its statistics stand still",  "pve2", "stats pve2 stalled", Some(Door::Open)),
        ("the token is refused there",  "pve2", "api pve2 denied", None),
    ];
    for (name, of, command, expected) in table {
        let (inputs, _) = inputs(&format!("at 1:00 {command}"), &Faults::None);
        let (_, last) = rounds(&inputs, Round::Important).pop().unwrap();
        assert_eq!(last.doors[&node(of)].value().copied(), expected, "{name}");
    }
}

#[test]
fn a_routine_round_has_services_and_sensors_of_each_node() {
    let lines = "autonomy 1\nevery routine 1m\nservice pve2 chrony failed\ntemperature pve3 cpu 91";
    let (inputs, _) = inputs(lines, &Faults::None);
    let (_, last) = rounds(&inputs, Round::Routine).pop().unwrap();
    let services = last.services[&node("pve2")].value().unwrap();
    let chrony = services.iter().find(|service| service.name.as_str() == "chrony").unwrap();
    assert_eq!((chrony.enabled, &*chrony.active), (true, "failed"));
    assert_eq!((services.len(), last.services.len()), (23, 3));
    assert_eq!(last.temperatures[&node("pve3")].value().unwrap()["cpu"], 91.0);
}

/// What a look at a stopped guest finds.
#[test]
fn looks_at_guests() {
    let look = |lines: &str| {
        let (inputs, _) = inputs(lines, &Faults::None);
        let found = inputs.into_iter().find_map(|(_, input)| match input {
            Input::Inspected { answer: Evidence::Guests(evidence), .. } => Some(evidence),
            Input::Inspected { .. }
            | Input::Observed(_)
            | Input::Acted { .. }
            | Input::Commanded(_)
            | Input::Tick => None,
        });
        found.unwrap()
    };
    let id = "qemu/101".parse().unwrap();
    let evidence = look("at 1:00 crash qemu/101 segfault");
    assert!(!evidence.live.value().unwrap()[&id].running);
    assert!(evidence.tasks.value().unwrap().is_empty());
    assert!(*evidence.booted_at.value().unwrap() < BEGIN, "the node has run for days");
    let journal = evidence.journal.value().unwrap();
    assert!(journal[0].starts_with("Jan 05 08:01:00 pve1 kernel: kvm[100101]: segfault at"), "{journal:?}");
    assert_eq!(journal.len(), 6, "{journal:?}");

    let evidence = look("at 1:00 stop qemu/101 by op@pve!t1");
    let task = &evidence.tasks.value().unwrap()[0];
    assert_eq!((&*task.kind, &*task.id, &*task.user), ("qmstop", "101", "op@pve!t1"));

    let evidence = look("rights auditor\nat 1:00 crash qemu/101 segfault");
    assert_eq!(cause(&evidence.journal), Some(Cause::RightsLost));
    assert!(evidence.live.value().is_some());

    let evidence = look("at 1:00 hang qemu/101");
    assert_eq!(evidence.journal, Seen::NotAsked, "it runs");
    let current = evidence.current[&id].value().unwrap();
    assert_eq!((current.status.as_str(), current.monitor), ("running", false));
}

/// What a look at a node that left finds.
#[test]
fn looks_at_nodes() {
    let look = |lines: &str| {
        let (inputs, _) = inputs(lines, &Faults::None);
        let found = inputs.into_iter().find_map(|(_, input)| match input {
            Input::Inspected { answer: Evidence::Node(evidence), .. } => Some(evidence),
            Input::Inspected { .. }
            | Input::Observed(_)
            | Input::Acted { .. }
            | Input::Commanded(_)
            | Input::Tick => None,
        });
        found.unwrap()
    };
    let killed = look("ha qemu/101 started\nat 1:00 kill-node pve3");
    let views: Vec<_> =
        killed.views.iter().map(|(label, view)| (&**label, view.value().map(|view| view.online))).collect();
    assert_eq!(views, [("pve1", Some(Some(false))), ("pve2", Some(Some(false))), ("pve3", None)]);
    assert!(killed.tasks.value().unwrap().is_empty(), "nobody wanted it to go");
    assert_eq!(killed.ha.value().unwrap().as_deref(), Some("online"), "HA is slow to say so");
    assert_eq!(killed.door.value(), Some(&Door::Silent));

    let left = look("at 1:00 shutdown-node pve3");
    let tasks: Vec<_> = left.tasks.value().unwrap().iter().map(|task| &*task.kind).collect();
    assert_eq!(tasks, ["vzshutdown", "stopall"], "the others remember them");
    assert_eq!(left.ha.value().unwrap().as_deref(), None, "HA has nothing to do here");

    let dead = look("at 1:00 daemon pve3 pmxcfs down");
    assert_eq!(dead.door.value(), Some(&Door::ClusterFsDown));
}
