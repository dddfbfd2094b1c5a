//! Announced work and silences: what a body may say, who may say it, what everybody is told of it, and where it shows.

use daemon::record::{NewEntry, NewEvent};
use daemon::report::caller::Role;
use engine::detect::Finding;
use engine::incident::IncidentId;
use engine::observe::Cause;
use engine::record::{Entry, Fact};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::harness::{Fixture, Folder, PASSWORD, Reply, edge, lab, next_summer};
use super::v1::{opened, publish, tell};

fn body(reply: &Reply) -> Value {
    serde_json::from_str(&reply.body).unwrap_or_else(|error| panic!("{error}: {}", reply.shown()))
}

async fn of_lab() -> Fixture {
    let password = Some(daemon::report::auth::Password::new(PASSWORD));
    Fixture::of(Folder::new(), &["lab"], daemon::report::Limits::default(), password).await
}

async fn post(fixture: &Fixture, path: &str, given: &Value) -> Reply {
    fixture.ask(&format!("POST {path}"), &fixture.token(), &given.to_string()).await
}

const MAINTENANCE: &str = "/api/v1/maintenance";
const SILENCES: &str = "/api/v1/silences";

#[tokio::test]
async fn work_is_announced_shown_and_ended_with_who_it_was() {
    let fixture = of_lab().await;
    publish(&fixture, Timestamp::now());
    let screen = fixture.join("/events", &format!(r#"{{"token":"{}"}}"#, fixture.token())).await;
    screen.hear_until("40/events,").await;

    let once = json!({ "subject": "node/pve1", "minutes": 120, "note": "new memory" });
    let made = post(&fixture, MAINTENANCE, &once).await;
    assert_eq!(made.status, 201, "{}", made.shown());
    let heard = screen.hear_until("42/events,").await.concat();
    assert!(heard.contains("Maintenance announced"), "{heard}");
    let now = body(&made);
    let id = now["id"].as_str().unwrap();
    assert_eq!(made.header("location").unwrap(), format!("{MAINTENANCE}/{id}"));
    let shown = ["cluster", "subject", "note", "by", "state"].map(|key| now[key].as_str().unwrap());
    assert_eq!(shown, ["lab", "node/pve1", "new memory", "admin (login)", "inForce"]);
    // The node, and the three guests on it.
    assert_eq!((&now["means"], &now["next"]), (&4.into(), &Value::Null));
    assert_eq!(now["current"]["until"], now["until"]);

    let weekly = json!({ "subject": "tag:prod", "days": ["sun", "mon"], "at": "02:00", "minutes": 180,
        "zone": "europe/berlin" });
    let weekly = body(&post(&fixture, MAINTENANCE, &weekly).await);
    let shown = ["days", "at", "minutes", "zone", "from", "until"].map(|key| weekly[key].to_string());
    assert_eq!(shown, [r#"["mon","sun"]"#, r#""02:00""#, "180", r#""Europe/Berlin""#, "null", "null"]);
    assert!(weekly["next"]["from"].is_string() && weekly["means"] == 3, "{weekly}");

    let list = fixture.get(MAINTENANCE, &fixture.token()).await;
    let items = body(&list)["items"].as_array().unwrap().len();
    assert_eq!((items, list.header("etag").is_some()), (2, true));
    let ended = fixture.ask(&format!("DELETE {MAINTENANCE}/{id}"), &fixture.token(), "").await;
    assert_eq!((ended.status, body(&ended)["state"].as_str()), (200, Some("ended")), "{}", ended.shown());
    assert_eq!((&body(&ended)["endedBy"], &body(&ended)["current"]), (&"admin (login)".into(), &Value::Null));
    let again = fixture.ask(&format!("DELETE {MAINTENANCE}/{id}"), &fixture.token(), "").await;
    assert_eq!((again.status, body(&again)["detail"].as_str()), (409, Some("it is over already")));
    for (query, expected) in [("", 1), ("?state=over", 1), ("?state=all", 2), ("?state=open&cluster=lab", 1)]
    {
        let list = body(&fixture.get(&format!("{MAINTENANCE}{query}"), &fixture.token()).await);
        assert_eq!(list["items"].as_array().unwrap().len(), expected, "{query}: {list}");
    }
    assert_eq!(fixture.get(&format!("{SILENCES}?state=all"), &fixture.token()).await.body, r#"{"items":[]}"#);

    let silence = json!({ "subject": "qemu/101", "minutes": 240, "condition": "VM_CRASHED" });
    let silence = body(&post(&fixture, SILENCES, &silence).await);
    let shown = ["cluster", "subject", "condition", "state", "means"].map(|key| silence[key].to_string());
    assert_eq!(shown, [r#""lab""#, r#""qemu/101""#, r#""VM_CRASHED""#, r#""inForce""#, "1"]);
    let silence = silence["id"].as_str().unwrap();
    // A silence is no maintenance, although both have ids.
    let other = fixture.ask(&format!("DELETE {MAINTENANCE}/{silence}"), &fixture.token(), "").await;
    assert_eq!(other.status, 404);
    let ended = fixture.ask(&format!("DELETE {SILENCES}/{silence}"), &fixture.token(), "").await;
    assert_eq!((ended.status, body(&ended)["state"].as_str()), (200, Some("ended")));

    let operated = fixture.operated();
    let did: Vec<&str> = operated.iter().map(|row| row.split(" {").next().unwrap()).collect();
    assert_eq!(
        did,
        [
            "admin (login) maintenanceSet",
            "admin (login) maintenanceSet",
            "admin (login) maintenanceEnded",
            "admin (login) silenceSet",
            "admin (login) silenceEnded",
        ]
    );
    assert!(
        operated[0].contains(r#""subject":"node/pve1""#) && operated[0].contains("new memory"),
        "{operated:?}"
    );
    let events = fixture.get("/api/memory/events", &fixture.token()).await.body;
    for told in [
        "node/pve1 in lab from 20",
        "(new memory)",
        "each mon,sun at 02:00 (Europe/Berlin) for 3:00:00",
        "VM_CRASHED of qemu/101",
    ] {
        assert!(events.contains(told), "{told}: {events}");
    }
    let unresolved = fixture.get("/api/memory/events/unresolved", &fixture.token()).await.body;
    assert_eq!(unresolved, r#"{"events":[]}"#, "news of a change is over with itself");
    // It outlives the daemon.
    let Fixture { server, store, folder, .. } = fixture;
    server.shutdown().await;
    assert!(store.close().await);
    let store = daemon::record::Store::open(&folder.path().join("jarvis.db")).await.unwrap();
    assert_eq!(store.open_notices(None, Timestamp::now()).await.unwrap().len(), 1);
    assert!(store.close().await);
}

#[tokio::test]
async fn what_a_body_says_is_understood_or_told_to_be_wrong() {
    let fixture = of_lab().await;
    let now = Timestamp::now();
    let ahead = |hours: i64| (now + SignedDuration::from_hours(hours)).to_string();
    let summer = next_summer();
    let long = "x".repeat(501);
    let node = |more: Value| {
        let mut all = json!({ "subject": "node/pve1" });
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let shape = "The body must be JSON: ";
    let missing = "until: is missing: say when it ends, or with `minutes` how long it lasts";
    let time = "must be a time: 2026-12-01T22:00Z, with another offset, or without one and `zone` beside it";
    #[rustfmt::skip]
    let table = [
        ("for so long",               MAINTENANCE, node(json!({ "minutes": 1 })), None),
        ("until then",                MAINTENANCE, node(json!({ "until": ahead(2) })), None),
        ("to come",                   MAINTENANCE, node(json!({ "from": ahead(24), "until": ahead(26) })), None),
        ("to come, for so long",      MAINTENANCE, node(json!({ "from": ahead(24), "minutes": 60 })), None),
        ("a local time",              MAINTENANCE, node(json!({ "from": format!("{summer}T22:00"), "minutes": 60, "zone": "Europe/Berlin" })), None),
        ("the longest",               MAINTENANCE, node(json!({ "minutes": 90 * 24 * 60 })), None),
        ("a whole day of each week",  MAINTENANCE, node(json!({ "days": ["mon"], "at": "00:00", "zone": "UTC", "minutes": 1440 })), None),
        ("everything",                MAINTENANCE, json!({ "subject": "cluster", "minutes": 5 }), None),
        ("nothing",                   MAINTENANCE, json!({}), Some(shape)),
        ("a key too many",            MAINTENANCE, node(json!({ "minutes": 5, "for": "2h" })), Some(shape)),
        ("no end",                    MAINTENANCE, node(json!({})), Some(missing)),
        ("no subject of ours",        MAINTENANCE, json!({ "subject": "pve1", "minutes": 5 }), Some("subject: `pve1` is nothing that can be meant: write cluster, node/pve1,")),
        ("too long",                  MAINTENANCE, node(json!({ "minutes": 90 * 24 * 60 + 1 })), Some("minutes: must be a whole number from 1 to 129600")),
        ("no time at all",            MAINTENANCE, node(json!({ "minutes": 0 })), Some("minutes: must be a whole number from 1 to 129600")),
        ("too long by its end",       MAINTENANCE, node(json!({ "until": ahead(24 * 91) })), Some("until: must be at most 90 days after `from`")),
        ("over already",              MAINTENANCE, node(json!({ "until": ahead(-1) })), Some("until: must be in the future, and after `from`")),
        ("ends before it begins",     MAINTENANCE, node(json!({ "from": ahead(4), "until": ahead(3) })), Some("until: must be in the future, and after `from`")),
        ("far away",                  MAINTENANCE, node(json!({ "from": ahead(24 * 400), "minutes": 5 })), Some("from: must be within a year from now")),
        ("two ends",                  MAINTENANCE, node(json!({ "until": ahead(1), "minutes": 5 })), Some("minutes: is given beside `until`; give one of them")),
        ("prose",                     MAINTENANCE, node(json!({ "from": "tomorrow", "minutes": 5 })), Some("from: must be a time")),
        ("a zone that is none",       MAINTENANCE, node(json!({ "minutes": 5, "zone": "Europe/Atlantis" })), Some("zone: there is no such time zone; write one of the IANA database, like Europe/Berlin or UTC")),
        ("a machine's own zone",      MAINTENANCE, node(json!({ "minutes": 5, "zone": "localtime" })), Some("zone: there is no such time zone; write one of the IANA database")),
        ("a path for a zone",         MAINTENANCE, node(json!({ "minutes": 5, "zone": "../../etc/passwd" })), Some("zone: there is no such time zone")),
        ("no such day",               MAINTENANCE, node(json!({ "days": ["sunday"], "at": "02:00", "zone": "UTC", "minutes": 5 })), Some("days: days are mon, tue, wed, thu, fri, sat, sun")),
        ("no days",                   MAINTENANCE, node(json!({ "days": [], "at": "02:00", "zone": "UTC", "minutes": 5 })), Some("days: days are mon")),
        ("no local time",             MAINTENANCE, node(json!({ "days": ["sun"], "at": "2am", "zone": "UTC", "minutes": 5 })), Some("at: must be a local time, such as 02:00")),
        ("a day of 25 hours",         MAINTENANCE, node(json!({ "days": ["sun"], "at": "02:00", "zone": "UTC", "minutes": 1500 })), Some("minutes: must be a whole number from 1 to 1440, a day")),
        ("each week until",           MAINTENANCE, node(json!({ "days": ["sun"], "at": "02:00", "zone": "UTC", "minutes": 5, "until": ahead(1) })), Some("until: is for what is once")),
        ("a time without days",       MAINTENANCE, node(json!({ "at": "02:00", "zone": "UTC", "minutes": 5 })), Some("days: days are mon")),
        ("two lines of a note",       MAINTENANCE, node(json!({ "minutes": 5, "note": "a\nb" })), Some("note: must be one line of at most 500 bytes")),
        ("a book of a note",          MAINTENANCE, node(json!({ "minutes": 5, "note": long })), Some("note: must be one line of at most 500 bytes")),
        ("no such cluster",           MAINTENANCE, node(json!({ "minutes": 5, "cluster": "lap" })), Some("cluster: no cluster `lap` is watched: there is lab")),
        ("all that is wrong",         MAINTENANCE, json!({ "subject": "x", "zone": "y" }), Some("3 parameters are wrong")),
        ("a silence",                 SILENCES,    node(json!({ "minutes": 240 })), None),
        ("the longest silence",       SILENCES,    node(json!({ "until": ahead(30 * 24 - 1) })), None),
        ("of a condition",            SILENCES,    node(json!({ "minutes": 240, "condition": "MONITOR_BLIND" })), None),
        ("a silence without an end",  SILENCES,    node(json!({})), Some(missing)),
        ("a silence for too long",    SILENCES,    node(json!({ "until": ahead(31 * 24) })), Some("until: must be at most 30 days after `from`")),
        ("no such condition",         SILENCES,    node(json!({ "minutes": 5, "condition": "VM_CRASH" })), Some("condition: must be one of MONITOR_BLIND, QUORUM_LOST,")),
        ("each week, by no clock",    MAINTENANCE, node(json!({ "days": ["sun"], "at": "02:00", "minutes": 5 })), Some("zone: is missing")),
        ("local, by no clock",        MAINTENANCE, node(json!({ "from": format!("{summer}T22:00"), "minutes": 5 })), Some(time)),
        ("a weekly silence",          SILENCES,    node(json!({ "days": ["sun"], "at": "02:00", "minutes": 5 })), Some(shape)),
        ("a time that is none",       SILENCES,    node(json!({ "until": "25:00" })), Some(time)),
    ];
    for (name, path, given, expected) in table {
        let reply = post(&fixture, path, &given).await;
        match expected {
            None => assert_eq!(reply.status, 201, "{name}: {}", reply.shown()),
            Some(words) => {
                assert_eq!(reply.status, 400, "{name}: {}", reply.shown());
                let detail = body(&reply)["detail"].as_str().unwrap().to_owned();
                assert!(detail.contains(words), "{name}: {detail}");
            }
        }
    }
    let local = body(&fixture.get(&format!("{MAINTENANCE}?state=open"), &fixture.token()).await);
    let from: Vec<&str> =
        local["items"].as_array().unwrap().iter().filter_map(|it| it["from"].as_str()).collect();
    let expected = format!("{summer}T20:00:00.000Z");
    assert!(from.contains(&&*expected), "22:00 in Berlin's summer: {from:?}");
    fixture.stop().await;
}

#[tokio::test]
async fn who_may_announce_for_which_cluster() {
    let fixture = Fixture::of_two().await;
    fixture.user("viewer", Role::Viewer, None).await;
    fixture.user("all", Role::Operator, None).await;
    fixture.user("of-lab", Role::Operator, Some(&[lab()])).await;
    fixture.user("of-edge", Role::Operator, Some(&[edge()])).await;
    let every = "Every cluster is meant, and this needs the role operator for all";
    #[rustfmt::skip]
    let table = [
        ("a viewer",                      "viewer",  json!({ "subject": "cluster", "cluster": "lab" }), 403, "role"),
        ("of all, everywhere",            "all",     json!({ "subject": "cluster" }),                   201, "null"),
        ("of all, in one",                "all",     json!({ "subject": "cluster", "cluster": "lab" }), 201, "lab"),
        ("of all, a tag everywhere",      "all",     json!({ "subject": "tag:web", "cluster": null }),  201, "null"),
        ("a node of which cluster?",      "all",     json!({ "subject": "node/pve1" }),                 400, "cluster: is missing: it is another thing in each; there are lab, edge"),
        ("of one, there",                 "of-edge", json!({ "subject": "node/pve1", "cluster": "edge" }), 201, "edge"),
        ("of one, everywhere",            "of-edge", json!({ "subject": "cluster" }),                   403, every),
        ("of one, a tag everywhere",      "of-edge", json!({ "subject": "tag:web" }),                   403, every),
        ("of one, elsewhere",             "of-edge", json!({ "subject": "cluster", "cluster": "lab" }), 400, "cluster: no cluster `lab` is watched: there is edge"),
    ];
    for path in [MAINTENANCE, SILENCES] {
        for (name, who, mut given, status, words) in table.clone() {
            given["minutes"] = 60.into();
            let reply =
                fixture.ask(&format!("POST {path}"), &fixture.token_of(who).await, &given.to_string()).await;
            assert_eq!(reply.status, status, "{path} {name}: {}", reply.shown());
            let body = body(&reply);
            let said = match status {
                201 => body["cluster"].as_str().unwrap_or("null"),
                _ => body["detail"].as_str().unwrap(),
            };
            assert!(said.contains(words), "{path} {name}: {said}");
        }
        // Everybody sees what is about every cluster, and what is about their own.
        for (who, expected) in [("viewer", 4), ("all", 4), ("of-edge", 3), ("of-lab", 3)] {
            let list = body(&fixture.get(path, &fixture.token_of(who).await).await);
            assert_eq!(list["items"].as_array().unwrap().len(), expected, "{path} {who}: {list}");
        }
        let list = body(&fixture.get(path, &fixture.token()).await);
        let id = |cluster: Value| {
            let items = list["items"].as_array().unwrap();
            items.iter().find(|it| it["cluster"] == cluster).unwrap()["id"].as_str().unwrap().to_owned()
        };
        let (of_all, of_lab) = (id(Value::Null), id("lab".into()));
        #[rustfmt::skip]
        let ends = [
            ("a viewer",                      "viewer",  &of_lab, 403),
            ("of one: what is about all",     "of-edge", &of_all, 403),
            ("of one: what is another's",     "of-edge", &of_lab, 404),
            ("of the one",                    "of-lab",  &of_lab, 200),
            ("of all",                        "all",     &of_all, 200),
        ];
        for (name, who, id, status) in ends {
            let reply = fixture.ask(&format!("DELETE {path}/{id}"), &fixture.token_of(who).await, "").await;
            assert_eq!(reply.status, status, "{path} {name}: {}", reply.shown());
        }
    }
    fixture.stop().await;
}

#[tokio::test]
async fn an_incident_and_its_events_say_by_whom_people_are_not_told() {
    let fixture = of_lab().await;
    publish(&fixture, Timestamp::now());
    let told = async |id: u128, events: &Value| {
        // As the loop tells it, now, with how the guest is marked.
        let entry = Entry { at: Timestamp::now(), ..opened(0, id) };
        let event = NewEvent::from_engine(&lab(), &engine::report::event(&lab(), &entry));
        let of = daemon::record::Marks { tags: ["prod".into()].into(), ..Default::default() };
        let event = NewEvent { of: Some(of.into()), ..event };
        let entries = vec![NewEntry::from_engine(&lab(), true, &entry)];
        let rows = fixture.store.save_turn(entries, vec![event], None).await.unwrap();
        let details: Value = serde_json::from_str(rows[0].details.as_deref().unwrap()).unwrap();
        let shown = ["kind", "by", "note"].map(|key| details["muted"][key].clone());
        assert_eq!(json!(shown), *events, "{details}");
        assert_eq!(details["target"], "web01", "the rest of it is as it was");
    };
    told(1, &json!([null, null, null])).await;
    let silence = json!({ "subject": "tag:PROD", "minutes": 60, "note": "known" });
    assert_eq!(post(&fixture, SILENCES, &silence).await.status, 201);
    told(2, &json!(["silence", "admin (login)", "known"])).await;
    let work = json!({ "subject": "node/pve1", "minutes": 60, "note": "memory" });
    let work = body(&post(&fixture, MAINTENANCE, &work).await);
    told(3, &json!(["maintenance", "admin (login)", "memory"])).await;
    // What Jarvis cannot see is not silenced by the way, but by work on everything.
    let incident: IncidentId = serde_json::from_str("9").unwrap();
    let finding = Finding::Blind { cause: Cause::Unreachable, words: "no route".into() };
    let fact = Fact::Opened { incident, finding, group: None };
    let blind =
        Entry { at: Timestamp::now(), subject: "cluster".parse().unwrap(), name: None, node: None, fact };
    tell(&fixture, "lab", vec![blind]).await;

    let shown = async || {
        let list = body(&fixture.get("/api/v1/incidents?state=open", &fixture.token()).await);
        let row = |row: &Value| {
            let by = |kind: &str| row[kind]["by"].as_str().unwrap_or("-").to_owned();
            format!("{}: {} {}", row["type"].as_str().unwrap(), by("maintenance"), by("silence"))
        };
        list["items"].as_array().unwrap().iter().map(row).collect::<Vec<_>>()
    };
    let both = "VM_CRASHED: admin (login) admin (login)";
    assert_eq!(shown().await, ["MONITOR_BLIND: - -", both, both, both]);
    let story =
        body(&fixture.get("/api/v1/incidents/00000000-0000-0000-0000-000000000001", &fixture.token()).await);
    let until = &story["incident"]["maintenance"]["until"];
    assert_eq!((until, &story["incident"]["maintenance"]["id"]), (&work["until"], &work["id"]));
    // When it is over, it is.
    let id = work["id"].as_str().unwrap();
    assert_eq!(fixture.ask(&format!("DELETE {MAINTENANCE}/{id}"), &fixture.token(), "").await.status, 200);
    let silenced = "VM_CRASHED: - admin (login)";
    assert_eq!(shown().await, ["MONITOR_BLIND: - -", silenced, silenced, silenced]);
    fixture.stop().await;
}

/// Who operates one cluster takes no room from another, nor from what is about all of them.
#[tokio::test]
async fn each_cluster_has_its_own_room() {
    let fixture = Fixture::of_two().await;
    let of = |cluster: Value| json!({ "subject": "cluster", "minutes": 60, "cluster": cluster });
    for _ in 0..200 {
        assert_eq!(post(&fixture, MAINTENANCE, &of("edge".into())).await.status, 201);
    }
    for (name, given, expected) in [
        ("the same", of("edge".into()), 409),
        ("another", of("lab".into()), 201),
        ("all of them", json!({ "subject": "tag:web", "minutes": 60 }), 201),
    ] {
        let reply = post(&fixture, MAINTENANCE, &given).await;
        assert_eq!(reply.status, expected, "{name}: {}", reply.shown());
    }
    fixture.stop().await;
}

#[tokio::test]
async fn there_are_only_so_many_and_what_is_over_makes_room() {
    let fixture = of_lab().await;
    let silence = json!({ "subject": "cluster", "minutes": 60 });
    for _ in 0..200 {
        assert_eq!(post(&fixture, SILENCES, &silence).await.status, 201);
    }
    let full = post(&fixture, SILENCES, &silence).await;
    assert_eq!(full.status, 409);
    assert!(
        full.body.contains("there are 200 already, which is the most; end some of them first"),
        "{}",
        full.body
    );
    let events = fixture.store.get_recent_events(1_000).await.unwrap().len();
    assert_eq!(events, 200, "what was refused is not told");
    // The other kind has its own room.
    assert_eq!(post(&fixture, MAINTENANCE, &silence).await.status, 201);
    let list = body(&fixture.get(SILENCES, &fixture.token()).await);
    let id = list["items"][0]["id"].as_str().unwrap();
    assert_eq!(fixture.ask(&format!("DELETE {SILENCES}/{id}"), &fixture.token(), "").await.status, 200);
    assert_eq!(post(&fixture, SILENCES, &silence).await.status, 201);
    // A month later nothing of it is left but in the journal.
    let later = Timestamp::now() + SignedDuration::from_hours(24 * 40);
    assert_eq!(fixture.store.cleanup_old_notices(30, later).await.unwrap(), 202);
    assert_eq!(fixture.store.all_notices(daemon::record::NoticeKind::Silence).await.unwrap(), []);
    fixture.stop().await;
}
