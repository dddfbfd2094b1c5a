//! `/api/v1` through its sockets: what it shows, page by page, to whom, and the document that says so.

use std::collections::{BTreeMap, BTreeSet};

use daemon::record::{NewEntry, NewEvent, Source};
use daemon::report::caller::Role;
use daemon::report::page::{GuestMarks, GuestRow, NodeRow, Quorum, StorageRow};
use engine::act::{Action, Attempt, Outcome};
use engine::decide::{Hold, KillSwitch};
use engine::detect::{Condition, Finding, Trace};
use engine::incident::{IncidentId, Resolution};
use engine::observe::{GuestKind, GuestStatus, Presence};
use engine::record::{Entry, Fact, Order, Step};
use engine::report::{EventKind, Severity};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::at;
use super::harness::{Fixture, Reply, lab};

fn json(reply: &Reply) -> Value {
    serde_json::from_str(&reply.body).unwrap_or_else(|error| panic!("{error}: {}", reply.body))
}

fn guest_row(id: &str, name: &str, status: GuestStatus) -> GuestRow {
    GuestRow {
        id: id.parse().unwrap(),
        name: Some(name.into()),
        status,
        node: "pve1".parse().unwrap(),
        cpu: 0.5,
        maxcpu: 1.5,
        mem: 1,
        maxmem: 2,
        disk: 0,
        maxdisk: 4,
        netin: 5,
        netout: 6,
        uptime: 7,
        marks: GuestMarks {
            tags: vec!["prod".into()],
            pool: Some("web".into()),
            lock: None,
            ha: None,
            template: false,
        },
    }
}

/// One cluster of a node that is there and one that is not, three guests, a storage.
pub(crate) fn publish(fixture: &Fixture, seen_at: Timestamp) {
    let node = |name: &str, status| NodeRow {
        node: name.parse().unwrap(),
        host: "10.0.0.11".into(),
        status,
        cpu: 0.25,
        maxcpu: 8.0,
        mem: 1,
        maxmem: 2,
        disk: 3,
        maxdisk: 4,
        uptime: 5,
        temperatures: BTreeMap::from([("cpu".into(), 54.5)]),
        ha: Some("online".into()),
    };
    let nodes = vec![node("pve1", Presence::Online), node("pve2", Presence::Offline)];
    fixture.page.publish_nodes(nodes, seen_at);
    let guests = vec![
        guest_row("qemu/101", "Web01", GuestStatus::Running),
        guest_row("lxc/1000", "db", GuestStatus::Stopped),
        guest_row("qemu/200", "web02", GuestStatus::Unknown),
    ];
    fixture.page.publish_guests(guests, seen_at);
    let storage = StorageRow {
        storage: "local".parse().unwrap(),
        node: "pve1".parse().unwrap(),
        r#type: "dir".into(),
        active: true,
        total: 3,
        used: 1,
        avail: 2,
        content: "iso,backup".into(),
        shared: false,
    };
    fixture.page.publish_storage(vec![storage], seen_at);
    fixture.page.publish_quorum(Quorum { quorate: true, nodes: 1, expected: 2 }, seen_at);
}

pub(crate) fn incident(bits: u128) -> IncidentId {
    serde_json::from_str(&bits.to_string()).unwrap()
}

fn crashed() -> Finding {
    Finding::GuestCrashed { kind: GuestKind::Qemu, previous: GuestStatus::Running, trace: Trace::Segfault }
}

pub(crate) fn entry(second: i64, fact: Fact) -> Entry {
    Entry {
        at: at(second),
        subject: "qemu/101".parse().unwrap(),
        name: Some("web01".into()),
        node: Some("pve1".parse().unwrap()),
        fact,
    }
}

/// As the loop stores a turn.
pub(crate) async fn tell(fixture: &Fixture, cluster: &str, entries: Vec<Entry>) {
    let cluster = cluster.parse().unwrap();
    let events =
        entries.iter().map(|entry| NewEvent::from_engine(&cluster, &engine::report::event(&cluster, entry)));
    let events = events.collect();
    let entries = entries.iter().map(|entry| NewEntry::from_engine(&cluster, true, entry)).collect();
    fixture.store.save_turn(entries, events, None).await.unwrap();
}

pub(crate) fn opened(second: i64, id: u128) -> Entry {
    entry(second, Fact::Opened { incident: incident(id), finding: crashed(), group: None })
}

pub(crate) fn resolved(second: i64, id: u128) -> Entry {
    let lasted = SignedDuration::from_secs(60);
    let by = Resolution::Itself;
    entry(second, Fact::Resolved { incident: incident(id), finding: crashed(), lasted, by })
}

#[tokio::test]
async fn what_is_seen_says_when_it_was_seen() {
    let fixture = Fixture::new().await;
    let token = fixture.token();
    let unseen = json(&fixture.get("/api/v1/nodes", &token).await);
    assert_eq!(unseen["pictures"][0]["freshness"], "unseen");
    assert_eq!(unseen["items"], serde_json::json!([]));
    let one = fixture.get("/api/v1/clusters/lab/nodes/pve1", &token).await;
    assert_eq!(
        (one.status, one.header("retry-after")),
        (503, Some("5")),
        "nothing seen is not nothing there"
    );

    let now = Timestamp::now();
    fixture.live.saw(&lab(), std::time::Instant::now());
    publish(&fixture, now - SignedDuration::from_secs(2));
    let nodes = json(&fixture.get("/api/v1/nodes", &token).await);
    assert_eq!(nodes["pictures"][0]["freshness"], "fresh");
    let age = nodes["pictures"][0]["ageSeconds"].as_u64().unwrap();
    assert!((2..30).contains(&age), "{age}");
    assert_eq!(nodes["items"][0]["id"], "lab/node/pve1");
    assert_eq!(nodes["items"][0]["cpuFraction"], 0.25);
    assert_eq!(nodes["items"][1]["status"], "offline");
    assert_eq!(nodes["items"][1]["cpuFraction"], Value::Null, "of a node that is away nothing is known");

    // Old, although nobody said that it cannot be seen.
    publish(&fixture, now - SignedDuration::from_hours(1));
    let nodes = json(&fixture.get("/api/v1/nodes", &token).await);
    assert_eq!(nodes["pictures"][0]["freshness"], "stale");
    // New, and the cluster cannot be seen any more.
    publish(&fixture, Timestamp::now());
    fixture.live.blind(&lab());
    let guest = json(&fixture.get("/api/v1/clusters/lab/guests/qemu/101", &token).await);
    assert_eq!(guest["picture"]["freshness"], "stale");
    assert_eq!(guest["item"]["tags"], serde_json::json!(["prod"]));
    let template = guest_row("qemu/9000", "golden", GuestStatus::Stopped);
    let template = GuestRow { marks: GuestMarks { template: true, ..GuestMarks::default() }, ..template };
    let running = guest_row("qemu/101", "Web01", GuestStatus::Running);
    fixture.page.publish_guests(vec![running, template], Timestamp::now());
    let cluster = json(&fixture.get("/api/v1/clusters/lab", &token).await);
    assert_eq!(cluster["guests"]["total"], 1, "a template never runs, so it is not missed: {cluster}");
    assert_eq!((&cluster["seeing"], &cluster["guests"]["up"]), (&Value::Bool(false), &1.into()));
    let health = json(&fixture.get("/api/v1/health", &token).await);
    assert_eq!((&health["status"], &health["store"]["status"]), (&"degraded".into(), &"ok".into()));
    fixture.stop().await;
}

#[tokio::test]
async fn guests_by_filter_and_page_by_page() {
    let fixture = Fixture::new().await;
    let token = fixture.token();
    publish(&fixture, Timestamp::now());
    #[rustfmt::skip]
    let table = [
        ("all, by number",     "",                        "101 200 1000"),
        ("of a cluster",       "cluster=lab",             "101 200 1000"),
        ("part of a name",     "name=WEB",                "101 200"),
        ("by state",           "status=stopped",          "1000"),
        ("by kind",            "kind=lxc",                "1000"),
        ("by tag and name",    "tag=prod&name=db",        "1000"),
        ("by pool",            "pool=mail",               ""),
        ("templates",          "template=true",           ""),
        ("one page",           "limit=2",                 "101 200"),
    ];
    for (name, query, expected) in table {
        let guests = json(&fixture.get(&format!("/api/v1/guests?{query}"), &token).await);
        assert_eq!(numbers(&guests, "vmid"), expected, "{name}");
    }
    // A guest that comes between two pages is neither repeated nor does it hide another.
    let first = fixture.get("/api/v1/guests?limit=1&kind=qemu", &token).await;
    let link = first.header("link").unwrap().to_owned();
    let path = link.strip_prefix('<').unwrap().split('>').next().unwrap().to_owned();
    assert!(path.starts_with("/api/v1/guests?limit=1&kind=qemu&cursor="), "{path}");
    let second = fixture.get(&path, &token).await;
    assert_eq!(numbers(&json(&second), "vmid"), "200");
    assert_eq!((json(&second)["next"].clone(), second.header("link")), (Value::Null, None));
    let elsewhere = fixture.get("/api/v1/guests?cluster=nowhere", &token).await;
    assert_eq!(elsewhere.status, 404, "a cluster that nobody watches is not an empty one");
    fixture.stop().await;
}

fn numbers(page: &Value, field: &str) -> String {
    let items = page["items"].as_array().unwrap_or_else(|| panic!("{page}"));
    items.iter().map(|item| item[field].to_string()).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn an_incident_and_its_story() {
    let fixture = Fixture::new().await;
    let token = fixture.token();
    tell(&fixture, "lab", vec![opened(0, 7)]).await;
    tell(&fixture, "edge", vec![opened(1, 8)]).await;
    tell(&fixture, "lab", vec![resolved(60, 7)]).await;

    let incidents = json(&fixture.get("/api/v1/incidents", &token).await);
    let shown: Vec<String> = incidents["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| format!("{} {} {} {}", it["key"], it["state"], it["resolution"], it["detectedAt"]))
        .collect();
    assert_eq!(
        shown,
        [
            r#""edge/VM_CRASHED:101" "open" null "2023-11-14T22:13:21.000Z""#,
            r#""VM_CRASHED:101" "resolved" "itself" "2023-11-14T22:13:20.000Z""#,
        ]
    );
    let open = json(&fixture.get("/api/v1/incidents?state=open", &token).await);
    assert_eq!(open["items"].as_array().unwrap().len(), 1);
    let cluster = json(&fixture.get("/api/v1/clusters/lab", &token).await);
    assert_eq!(cluster["openIncidents"], 0);

    let id = incidents["items"][1]["id"].as_str().unwrap();
    let story = json(&fixture.get(&format!("/api/v1/incidents/{id}"), &token).await);
    let titles: Vec<&str> =
        story["events"].as_array().unwrap().iter().filter_map(|event| event["title"].as_str()).collect();
    assert_eq!(titles, ["VM web01 (101) crashed", "Resolved: VM_CRASHED on pve1"]);
    let kinds: Vec<&str> =
        story["journal"].as_array().unwrap().iter().filter_map(|entry| entry["kind"].as_str()).collect();
    assert_eq!(kinds, ["opened", "resolved"]);
    assert_eq!(story["truncated"], false);
    assert_eq!(story["incident"]["details"]["target"], "web01");
    let none = fixture.get(&format!("/api/v1/incidents/{id}?cluster=edge"), &token).await;
    assert_eq!(none.status, 404);
    fixture.stop().await;
}

fn step(second: i64, id: u128, step: Step) -> Entry {
    entry(second, Fact::Remedy { incident: incident(id), condition: Condition::VmCrashed, step })
}

/// What is done about an incident is shown with it, in the list as in its story.
#[tokio::test]
async fn how_far_an_incident_has_come() {
    let fixture = Fixture::new().await;
    fixture.user("vera", Role::Viewer, None).await;
    let token = fixture.token_of("vera").await;
    let action = || Action::StartGuest { guest: "qemu/101".parse().unwrap(), node: "pve1".parse().unwrap() };
    let attempt = |number| {
        let runbook = "vm-crashed-restart".into();
        Attempt { number, action: action(), runbook, at: at(0), level: 3 }
    };
    let held = |holds| Step::Held { action: action(), holds, runbook: "vm-crashed-restart".into(), level: 3 };
    let on = || Hold::KillSwitch(KillSwitch::On);
    let intended = |number| Step::Intended { attempt: attempt(number), of: 3, approved: None };
    let acted = |number, outcome| Step::Acted { attempt: attempt(number), outcome };
    let verified =
        |number, helped| Step::Verified { attempt: attempt(number), helped, words: "so".into(), upid: None };
    let done = Outcome::Done { upid: None, said: "OK".into() };
    let escalated = Step::Escalated {
        words: "no".into(),
        action: action(),
        runbook: "vm-crashed-restart".into(),
        level: 3,
        attempts: 2,
    };
    let lapsed = Step::Lapsed { by: "olga (login)".into(), since: at(0), action: action(), escalated: true };
    // What was said last is what stands; the rows add up.
    #[rustfmt::skip]
    let table: [(&str, Option<Step>, &str); 14] = [
        ("told",                  None,                                               "0 null null false []"),
        ("held, by two",          Some(held(vec![on(), Hold::Standby])),              r#"0 null null false ["killSwitch: the kill switch is on","standby: this Jarvis is on standby"]"#),
        ("by one",                Some(held(vec![Hold::Grace(at(40))])),              r#"0 null null false ["grace: it may heal by itself for 0:37"]"#),
        ("proposed",              Some(Step::Recommended { action: action(), runbook: "vm-crashed-restart".into() }), r#"0 null "start it on pve1" false []"#),
        ("approved",              Some(Step::Ordered { by: "olga (login)".into(), order: Order::Approve }), "0 null null false []"),
        ("under way",             Some(intended(1)),                                  r#"1 "start it on pve1" null false []"#),
        ("could not be made",     Some(acted(1, Outcome::NotMade { why: r#"a "outcome":{"NotMade" node"#.into() })), "0 null null false []"),
        ("under way again",       Some(intended(1)),                                  r#"1 "start it on pve1" null false []"#),
        ("made, and looked at",   Some(acted(1, done)),                               r#"1 "start it on pve1" null false []"#),
        ("it did not help",       Some(verified(1, false)),                           "1 null null false []"),
        ("and once more",         Some(intended(2)),                                  r#"2 "start it on pve1" null false []"#),
        ("people are called",     Some(escalated),                                    r#"2 null "start it on pve1" true []"#),
        ("tried once more, held", Some(held(vec![Hold::Standby])),                    r#"2 null null false ["standby: this Jarvis is on standby"]"#),
        ("which has lapsed",      Some(lapsed),                                       r#"2 null "start it on pve1" true []"#),
    ];
    let shown = |it: &Value| {
        let holds = it["holds"].as_array().unwrap().iter();
        let words =
            |hold: &Value| format!("{}: {}", hold["hold"].as_str().unwrap(), hold["words"].as_str().unwrap());
        let holds: Vec<_> = holds.map(words).collect();
        format!("{} {} {} {} {}", it["attempts"], it["acting"], it["proposed"], it["escalated"], json!(holds))
    };
    tell(&fixture, "edge", vec![opened(0, 7), step(1, 7, intended(1))]).await;
    tell(&fixture, "lab", vec![opened(0, 7)]).await;
    for (second, (name, said, expected)) in (1..).zip(table) {
        if let Some(said) = said {
            tell(&fixture, "lab", vec![step(second, 7, said)]).await;
        }
        let list = json(&fixture.get("/api/v1/incidents?cluster=lab", &token).await);
        assert_eq!(shown(&list["items"][0]), expected, "{name}");
        let id = list["items"][0]["id"].as_str().unwrap();
        let story = json(&fixture.get(&format!("/api/v1/incidents/{id}?cluster=lab"), &token).await);
        assert_eq!(story["incident"], list["items"][0], "{name}: in its story");
    }
    tell(&fixture, "lab", vec![resolved(60, 7)]).await;
    let list = json(&fixture.get("/api/v1/incidents?cluster=lab", &token).await);
    assert_eq!(shown(&list["items"][0]), "2 null null true []", "over");
    fixture.stop().await;
}

#[tokio::test]
async fn events_by_filter() {
    let fixture = Fixture::new().await;
    let token = fixture.token();
    tell(&fixture, "lab", vec![opened(0, 7)]).await;
    tell(&fixture, "lab", vec![resolved(60, 7)]).await;
    let word =
        NewEvent::plain(at(70), EventKind::Status, Severity::Info, Source::User, "Backup: ok", "all of it");
    fixture.store.save_event(NewEvent { node: Some("pve2".into()), ..word }).await.unwrap();
    #[rustfmt::skip]
    let table = [
        ("all, newest first",  "",                                       "3 2 1"),
        ("by severity",        "severity=error",                         "1"),
        ("by type",            "type=status",                            "3"),
        ("by source",          "source=monitor",                         "2 1"),
        ("by node",            "node=pve2",                              "3"),
        ("by subject",         "subject=qemu/101",                       "2 1"),
        ("by condition",       "condition=VM_CRASHED&severity=info",     "2"),
        ("over",               "resolved=true",                          "2 1"),
        ("not over",           "resolved=false",                         "3"),
        ("part of the title",  "title=WEB01",                            "1"),
        ("since",              "since=2023-11-14T22:14:20Z",             "3 2"),
        ("until",              "until=2023-11-14T22:14:20Z",             "1"),
        ("since and until",    "since=2023-11-14T22:14:20Z&until=2023-11-14T22:14:21Z", "2"),
        ("of a cluster",       "cluster=lab",                            "2 1"),
        ("of no cluster",      "cluster=nowhere",                        ""),
    ];
    for (name, query, expected) in table {
        let events = json(&fixture.get(&format!("/api/v1/events?{query}"), &token).await);
        assert_eq!(numbers(&events, "seq"), expected, "{name}");
    }
    let one = json(&fixture.get("/api/v1/events/3", &token).await);
    assert_eq!((&one["title"], &one["cluster"]), (&"Backup: ok".into(), &Value::Null));
    assert_eq!(fixture.get("/api/v1/events/4", &token).await.status, 404);
    let journal = json(&fixture.get("/api/v1/journal?kind=opened", &token).await);
    assert_eq!(numbers(&journal, "kind"), r#""opened""#);
    assert!(journal["items"][0]["words"].as_str().unwrap().starts_with("opened VM_CRASHED"), "{journal}");
    fixture.stop().await;
}

#[tokio::test]
async fn pages_miss_nothing_and_repeat_nothing_while_events_come() {
    let fixture = Fixture::new().await;
    let token = fixture.token();
    let event =
        |second| NewEvent::plain(at(second), EventKind::Alert, Severity::Error, Source::Monitor, "x", "y");
    // Many of one second: the place between them is their number.
    let events = (0..25).map(|n| event(n / 10)).collect();
    fixture.store.save_events(events, None).await.unwrap();
    let (mut path, mut seen) = ("/api/v1/events?limit=4&severity=error".to_owned(), Vec::new());
    loop {
        let page = json(&fixture.get(&path, &token).await);
        let seqs = page["items"].as_array().unwrap().iter().filter_map(|event| event["seq"].as_i64());
        seen.extend(seqs);
        fixture.store.save_event(event(100)).await.unwrap();
        match page["next"].as_str() {
            Some(next) => path = format!("/api/v1/events?limit=4&severity=error&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, (1..=25).rev().collect::<Vec<_>>());
    fixture.stop().await;
}

#[tokio::test]
async fn a_client_that_has_it_is_told_so() {
    let fixture = Fixture::new().await;
    let token = fixture.token();
    publish(&fixture, Timestamp::now());
    tell(&fixture, "lab", vec![opened(0, 7)]).await;
    let again = async |path: &str, tag: &str| {
        let lines = [format!("Authorization: Bearer {token}"), format!("If-None-Match: {tag}")];
        fixture.call(&format!("GET {path}"), &[&lines[0], &lines[1]], "").await
    };
    #[rustfmt::skip]
    let table = [
        ("a list",      "/api/v1/events",         "\""),
        ("a picture",   "/api/v1/guests",         "W/\""),
        ("a guest",     "/api/v1/clusters/lab/guests/qemu/101", "W/\""),
        ("the clusters", "/api/v1/clusters",      "W/\""),
        ("the document", "/api/v1/openapi.json",  "\""),
    ];
    for (name, path, begins) in table {
        let first = fixture.get(path, &token).await;
        assert_eq!(first.header("cache-control"), Some("private, no-cache"), "{name}");
        let tag = first.header("etag").unwrap();
        assert!(tag.starts_with(begins), "{name}: {tag}");
        for given in [tag, "*", &format!("\"other\", {tag}")] {
            let same = again(path, given).await;
            assert_eq!(
                (same.status, same.body.as_str(), same.header("etag")),
                (304, "", Some(tag)),
                "{name}"
            );
        }
        assert_eq!(again(path, "\"other\"").await.status, 200, "{name}");
    }
    let tag = fixture.get("/api/v1/events", &token).await.header("etag").unwrap().to_owned();
    tell(&fixture, "lab", vec![resolved(60, 7)]).await;
    assert_eq!(again("/api/v1/events", &tag).await.status, 200, "something was told");
    let tag = fixture.get("/api/v1/guests", &token).await.header("etag").unwrap().to_owned();
    publish(&fixture, Timestamp::now());
    assert_eq!(again("/api/v1/guests", &tag).await.status, 200, "there is a new picture");
    let refused = fixture.get("/api/v1/events?limit=0", &token).await;
    assert_eq!(refused.header("cache-control"), Some("no-store"));
    fixture.stop().await;
}

#[tokio::test]
async fn every_refusal_is_a_problem() {
    let fixture = Fixture::new().await;
    let token = fixture.token();
    let login = format!("Authorization: Bearer {token}");
    #[rustfmt::skip]
    let table: [(&str, &str, &[&str], u16, &str); 11] = [
        ("no token",         "GET /api/v1/events",               &[],                               401, "Authentication required"),
        ("bad token",        "GET /api/v1/events",               &["Authorization: Bearer x"],      401, "Invalid or expired token"),
        ("no such call",     "GET /api/v1/nothing",              &[&login],                         404, "There is nothing here"),
        ("where all begin",  "GET /api/v1",                      &[],                               404, "This is where the calls begin; GET /api/v1/openapi.json says which there are"),
        ("with a slash",     "GET /api/v1/",                     &[&login],                         404, "This is where the calls begin; GET /api/v1/openapi.json says which there are"),
        ("another method",   "DELETE /api/v1/events",            &[&login],                         405, "DELETE is not allowed here"),
        ("no such event",    "GET /api/v1/events/one",           &[&login],                         404, "there is no such event, or it is pruned"),
        ("a misspelt filter", "GET /api/v1/events/1?x=1",        &[&login],                         400, "x: there is no such parameter; allowed: none"),
        ("a bad cursor",     "GET /api/v1/events?cursor=abc",    &[&login],                         400, "cursor: is none of this list's; give `next` of the page before as it is"),
        ("a bad word",       "GET /api/v1/events?severity=bad",  &[&login],                         400, "severity: must be one of info, warning, error, critical"),
        ("two wrong",        "GET /api/v1/events?limit=0&since=1", &[&login],                       400, "2 parameters are wrong"),
    ];
    for (name, call, lines, status, detail) in table {
        let reply = fixture.call(call, lines, "").await;
        assert_eq!(reply.status, status, "{name}");
        assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{name}");
        let problem = json(&reply);
        assert_eq!((&problem["status"], &problem["detail"]), (&status.into(), &detail.into()), "{name}");
        assert_eq!(reply.header("www-authenticate").is_some(), status == 401, "{name}");
        assert_eq!(reply.header("allow").is_some(), status == 405, "{name}");
    }
    let wrong = json(&fixture.call("GET /api/v1/events?severity=bad", &[&login], "").await);
    assert_eq!(wrong["errors"][0]["allowed"], serde_json::json!(["info", "warning", "error", "critical"]));
    let old = fixture.get("/api/memory/events", "x").await;
    assert_eq!(
        old.shown(),
        r#"401 {"error":"Invalid or expired token"}"#,
        "the old calls refuse as they did"
    );
    fixture.stop().await;
}

/// `GET /api/v1/events/{seq}` of every call that the document has.
pub(crate) fn documented() -> BTreeMap<String, Value> {
    let document: Value = serde_json::from_str(daemon::report::v1::document::text()).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let mut calls = BTreeMap::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, call) in methods.as_object().unwrap() {
            calls.insert(format!("{} {path}", method.to_uppercase()), call.clone());
        }
    }
    calls
}

/// Whatever stands in `{}` becomes something that may be asked for.
pub(crate) fn filled_in(path: &str) -> String {
    let path = path.replace("{cluster}", "lab").replace("{node}", "pve1").replace("{kind}", "qemu");
    let path = path.replace("{vmid}", "101").replace("{seq}", "1");
    let path = path.replace("{order}", "acknowledge");
    let path = path.replace("{upid}", "UPID:pve1:0000C8E4:0000E1BB:6AAF0B1A:qmstart:101:root@pam:");
    let path = path.replace("{key}", "theme").replace("{name}", "nobody-of-that-name");
    path.replace("{id}", "00000000-0000-0000-0000-000000000007")
}

#[tokio::test]
async fn the_document_has_every_call_and_no_other() {
    let fixture = Fixture::new().await;
    let token = fixture.token();
    publish(&fixture, Timestamp::now());
    tell(&fixture, "lab", vec![opened(0, 7)]).await;
    let calls = documented();
    assert!(calls.len() > 20, "{:?}", calls.keys());
    let login = format!("Authorization: Bearer {token}");
    for (call, described) in &calls {
        let (method, path) = call.split_once(' ').unwrap();
        let path = filled_in(path);
        // A call that ends a login is to end its own.
        let own = fixture.token_of("admin").await;
        let own = format!("Authorization: Bearer {own}");
        let reply = fixture.call(&format!("{method} {path}"), &[&own], "").await;
        // A body that is missing is refused as such, and so is one that does not say that it is JSON; of the calls
        // that take none, some speak of somebody who is not there, and the others are done.
        let body = described.get("requestBody").is_some();
        let expected: &[u16] = match (method, body, path.starts_with("/api/v1/")) {
            // Nobody watches here who could ask a cluster.
            ("GET", ..) if path.ends_with("/config") || path.ends_with("/history") => &[404],
            ("GET", ..) if path.ends_with("/log") || path.ends_with("/checkup") => &[404],
            ("GET", ..) => &[200, 503],
            (_, true, true) => &[415],
            (_, true, false) if path.starts_with("/api/auth/") => &[415],
            (_, true, false) => &[400],
            (_, false, _) if path.contains("nobody") || path.contains("/tokens/") => &[404],
            // Nothing is announced.
            (_, false, _) if path.contains("/maintenance/") || path.contains("/silences/") => &[404],
            // No engine runs here that could be told.
            (_, false, _) if path.ends_with("/acknowledge") => &[409],
            // What there is was told by an incident.
            (_, false, _) if path.ends_with("/resolve") => &[409],
            (_, false, _) => &[200, 204],
        };
        assert!(expected.contains(&reply.status), "{call}: {}", reply.shown());
        let documented = described["responses"].get(reply.status.to_string()).is_some();
        assert!(documented, "{call} does not say that it may answer {}", reply.status);
        assert_eq!(fixture.call(&format!("TRACE {path}"), &[&login], "").await.status, 405, "{call}");

        let public = described.get("security").is_some();
        let stranger = fixture.call(&format!("{method} {path}"), &[], "").await;
        assert_eq!(stranger.status == 401, !public, "{call} without a token");

        // The parameters that it says it takes are those that it names when it is asked with another one.
        let names = described["parameters"].as_array().into_iter().flatten();
        let names = names.filter(|one| one["in"] == "query").filter_map(|one| one["name"].as_str());
        let names: BTreeSet<&str> = names.collect();
        if path.starts_with("/api/v1/") && method == "GET" {
            let wrong = json(&fixture.get(&format!("{path}?nope=1"), &token).await);
            let allowed = wrong["errors"][0].get("allowed").and_then(Value::as_array);
            let allowed: BTreeSet<&str> = allowed.into_iter().flatten().filter_map(Value::as_str).collect();
            assert_eq!((wrong["status"].clone(), allowed), (400.into(), names), "{call}");
        }
    }
    fixture.stop().await;
}

/// A route that is not made of a described call would be one that the document does not have.
#[test]
fn every_route_is_made_of_a_described_call() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report");
    let mut files = vec![folder];
    let mut looked_at = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        looked_at += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        let undescribed: Vec<&str> = text.lines().filter(|line| line.contains(".route(\"/api")).collect();
        assert!(
            undescribed.is_empty(),
            "{}: {undescribed:?}: write it as `.routes(routes!(HANDLER))`, with `#[utoipa::path]` at the handler",
            path.display()
        );
    }
    assert!(looked_at > 15, "{looked_at} files");
}
