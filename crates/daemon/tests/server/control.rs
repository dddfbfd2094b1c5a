//! What operators set, through the sockets: bodies, the one transaction, and that every browser hears of it.

use std::process::Command;

use daemon::record::{NewEvent, verify};
use daemon::report::caller::Role;
use serde_json::Value;

use super::at;
use super::harness::{Fixture, Polling, edge, lab};
use super::v1::{opened, tell};

impl Fixture {
    /// A call with a token and a body.
    pub(crate) async fn set(&self, call: &str, body: &str) -> String {
        let token = format!("Authorization: Bearer {}", self.token());
        self.call(call, &[&token, "Content-Type: application/json"], body).await.shown()
    }

    /// The journal's rows of operators, newest last: what they did and its particulars.
    pub(crate) fn operated(&self) -> Vec<String> {
        let path = self.folder.path().join("jarvis.db");
        let sql =
            "SELECT entry FROM journal WHERE kind = 'operator' AND entry ->> 'via' <> 'start' ORDER BY seq";
        let out = Command::new("sqlite3").arg(path).arg(sql).output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        let shown = |line: &str| {
            let entry: Value = serde_json::from_str(line).unwrap();
            let [by, via, did] = ["by", "via", "did"].map(|key| entry[key].as_str().unwrap().to_owned());
            format!("{by} ({via}) {did} {}", entry["what"])
        };
        text.lines().map(shown).collect()
    }
}

const KILL_SWITCH_SHAPE: &str =
    r#"400 {"error":"The body must be JSON: {\"active\": true} or {\"active\": false}"}"#;
const NO_LEVEL: &str = r#"400 {"error":"Level must be 0-4"}"#;

#[tokio::test]
async fn a_wrong_body_changes_nothing() {
    let fixture = Fixture::new().await;
    let token = fixture.token();
    let table = [
        ("nothing", "{}"),
        ("no body", ""),
        ("no JSON", "active"),
        ("a word", r#"{"active":"yes"}"#),
        ("a text that looks like one", r#"{"active":"true"}"#),
        ("a number", r#"{"active":1}"#),
        ("null", r#"{"active":null}"#),
        ("a bare bool", "true"),
        ("a list", "[true]"),
        ("twice", r#"{"active":true,"active":false}"#),
        ("one key more", r#"{"active":true,"force":true}"#),
    ];
    for on in [false, true] {
        let body = format!(r#"{{"active":{on}}}"#);
        let expected = format!(r#"200 {{"killSwitch":{on}}}"#);
        assert_eq!(fixture.set("PUT /api/monitor/killswitch", &body).await, expected);
        for (name, body) in table {
            let answer = fixture.set("PUT /api/monitor/killswitch", body).await;
            assert_eq!(answer, KILL_SWITCH_SHAPE, "{name}");
            let status = fixture.get("/api/monitor/status", &token).await.body;
            assert!(status.contains(&format!(r#""killSwitch":{on}"#)), "{name}: {status}");
        }
    }
    let table = [
        ("none", "{}", NO_LEVEL),
        ("no body", "", NO_LEVEL),
        ("no JSON", "level=1", NO_LEVEL),
        ("a text", r#"{"level":"1"}"#, NO_LEVEL),
        ("a fraction", r#"{"level":1.5}"#, NO_LEVEL),
        ("negative", r#"{"level":-1}"#, NO_LEVEL),
        ("too high", r#"{"level":5}"#, NO_LEVEL),
        ("far too high", r#"{"level":256}"#, NO_LEVEL),
        ("one key more", r#"{"level":1,"x":1}"#, NO_LEVEL),
        (
            "above the ceiling",
            r#"{"level":3}"#,
            r#"409 {"error":"Level is limited to 2 by the configuration"}"#,
        ),
        ("lowered", r#"{"level":1}"#, r#"200 {"autonomyLevel":1}"#),
        ("whole, with a point", r#"{"level":1.0}"#, r#"200 {"autonomyLevel":1}"#),
        ("at the ceiling", r#"{"level":2}"#, r#"200 {"autonomyLevel":2}"#),
        ("to nothing", r#"{"level":0}"#, r#"200 {"autonomyLevel":0}"#),
        (
            "still above the ceiling",
            r#"{"level":4}"#,
            r#"409 {"error":"Level is limited to 2 by the configuration"}"#,
        ),
    ];
    for (name, body, expected) in table {
        assert_eq!(fixture.set("PUT /api/monitor/autonomy-level", body).await, expected, "{name}");
    }
    let status = fixture.get("/api/monitor/status", &token).await.body;
    assert!(status.contains(r#""autonomyLevel":0,"killSwitch":true"#), "{status}");
    fixture.stop().await;
}

#[tokio::test]
async fn without_a_token_nothing_is_set() {
    let fixture = Fixture::new().await;
    for call in [
        "PUT /api/monitor/killswitch",
        "PUT /api/monitor/autonomy-level",
        "PUT /api/memory/preferences/theme",
        "POST /api/memory/events",
    ] {
        let reply = fixture.call(call, &[], r#"{"active":true}"#).await;
        assert_eq!(reply.shown(), super::NO_TOKEN, "{call}");
    }
    assert!(fixture.operated().is_empty());
    fixture.stop().await;
}

#[tokio::test]
async fn every_browser_knows_within_a_second_and_the_journal_knows_who() {
    let fixture = Fixture::new().await;
    let auth = format!(r#"{{"token":"{}"}}"#, fixture.token());
    let screens = [fixture.join("/events", &auth).await, fixture.join("/events", &auth).await];
    for screen in &screens {
        screen.hear_until("40/events,").await;
    }
    #[rustfmt::skip]
    let table = [
        ("PUT /api/monitor/killswitch", r#"{"active":true}"#, Some("KILL SWITCH ACTIVATED")),
        ("PUT /api/monitor/killswitch", r#"{"active":true}"#, None),
        ("PUT /api/monitor/killswitch", r#"{"active":false}"#, Some("KILL SWITCH OFF")),
        ("PUT /api/monitor/autonomy-level", r#"{"level":1}"#, Some("Autonomy level set to L1_ALERT")),
        ("PUT /api/monitor/autonomy-level", r#"{"level":1}"#, None),
        ("PUT /api/memory/preferences/autonomy.killSwitch", r#"{"value":"true"}"#, Some("KILL SWITCH ACTIVATED")),
        ("PUT /api/memory/preferences/theme", r#"{"value":"dark"}"#, None),
        ("PUT /api/monitor/autonomy-level", r#"{"level":2}"#, Some("Autonomy level set to L2_RECOMMEND")),
    ];
    let mut told = 0;
    for (call, body, title) in table {
        assert!(fixture.set(call, body).await.starts_with("200 "), "{call} {body}");
        // What is told next shows that nothing was told in between: events keep their order.
        let Some(title) = title else { continue };
        told += 1;
        for screen in &screens {
            let began = std::time::Instant::now();
            let heard = screen.hear_until("42/events,[\"event\"").await;
            assert!(began.elapsed().as_millis() < 1_000, "{title} after {:?}", began.elapsed());
            let heard: Vec<_> = heard.iter().filter(|packet| packet.starts_with("42/events,")).collect();
            let [event] = heard[..] else { panic!("{title}: {heard:?}") };
            let event: Value = serde_json::from_str(&event["42/events,".len()..]).unwrap();
            let event = &event[1];
            assert_eq!(event["title"], title);
            assert_eq!((&event["type"], &event["source"]), (&"status".into(), &"user".into()));
            assert_eq!(event["seq"], told, "{title}");
        }
    }
    let expected = [
        r#"admin (login) killSwitch {"changed":true,"key":"autonomy.killSwitch","new":"true","old":null}"#,
        r#"admin (login) killSwitch {"changed":false,"key":"autonomy.killSwitch","new":"true","old":"true"}"#,
        r#"admin (login) killSwitch {"changed":true,"key":"autonomy.killSwitch","new":"false","old":"true"}"#,
        r#"admin (login) autonomyLevel {"changed":true,"key":"autonomy.level","new":"1","old":null}"#,
        r#"admin (login) autonomyLevel {"changed":false,"key":"autonomy.level","new":"1","old":"1"}"#,
        r#"admin (login) killSwitch {"changed":true,"key":"autonomy.killSwitch","new":"true","old":"false"}"#,
        r#"admin (login) preference {"changed":true,"key":"theme","new":"dark","old":null}"#,
        r#"admin (login) autonomyLevel {"changed":true,"key":"autonomy.level","new":"2","old":"1"}"#,
    ];
    assert_eq!(fixture.operated(), expected);
    let events = fixture.get("/api/memory/events", &fixture.token()).await.body;
    assert!(
        events.contains(
            r#""summary":"[User] KILL SWITCH OFF: admin (login) lets Jarvis act again, as far as its level allows""#
        ),
        "{events}"
    );
    let unresolved = fixture.get("/api/memory/events/unresolved", &fixture.token()).await.body;
    assert_eq!(unresolved, r#"{"events":[]}"#, "news of a change is over with itself");
    let path = fixture.folder.path().join("jarvis.db");
    fixture.server.shutdown().await;
    assert!(fixture.store.close().await);
    assert!(verify(&path).await.is_ok(), "the chain holds");
}

/// One message on a socket, and its answer.
async fn said(screen: &Polling<'_>, message: &str) -> String {
    screen.say(&format!("42/events,7{message}")).await;
    let heard = screen.hear_until("43/events,7").await;
    let answer = heard.iter().find_map(|packet| packet.strip_prefix("43/events,7")).unwrap();
    answer.trim_start_matches('[').trim_end_matches(']').to_owned()
}

#[tokio::test]
async fn the_kill_switch_and_the_level_by_socket() {
    let fixture = Fixture::of_two().await;
    fixture.user("vera", Role::Viewer, None).await;
    fixture.user("olga", Role::Operator, None).await;
    fixture.user("otto", Role::Operator, Some(&[edge()])).await;
    fixture.user("nina", Role::Operator, Some(&[])).await;
    let (on, off) = (r#"{"killSwitch":true}"#, r#"{"killSwitch":false}"#);
    let shape = r#"{"error":"The message must have one body: {\"active\": true} or {\"active\": false}","status":400}"#;
    let level = r#"{"error":"Level must be 0-4","status":400}"#;
    let high = r#"{"error":"Level is limited to 2 by the configuration","status":409}"#;
    #[rustfmt::skip]
    let table = [
        ("a viewer stops nothing",       "vera", r#"["killSwitch",{"active":true}]"#,                   "403", false, 2),
        ("nor sets a level",             "vera", r#"["autonomyLevel",{"level":1}]"#,                    "403", false, 2),
        ("an operator stops",            "olga", r#"["killSwitch",{"active":true}]"#,                   on,    true,  2),
        ("a word",                       "olga", r#"["killSwitch",{"active":"no"}]"#,                   shape, true,  2),
        ("nothing",                      "olga", r#"["killSwitch",{}]"#,                                shape, true,  2),
        ("not even a body",              "olga", r#"["killSwitch"]"#,                                   shape, true,  2),
        ("a bare bool",                  "olga", r#"["killSwitch",false]"#,                             shape, true,  2),
        ("a list",                       "olga", r#"["killSwitch",[false]]"#,                           shape, true,  2),
        ("twice",                        "olga", r#"["killSwitch",{"active":true,"active":false}]"#,    shape, true,  2),
        ("one key more",                 "olga", r#"["killSwitch",{"active":false,"force":true}]"#,     shape, true,  2),
        ("of some, to let it act again", "otto", r#"["killSwitch",{"active":false}]"#,                  "403", true,  2),
        ("of none, to let it act again", "nina", r#"["killSwitch",{"active":false}]"#,                  "403", true,  2),
        ("an operator lets it act",      "olga", r#"["killSwitch",{"active":false}]"#,                  off,   false, 2),
        ("of none, to stop",             "nina", r#"["killSwitch",{"active":true}]"#,                   on,    true,  2),
        ("and to let it act after that", "nina", r#"["killSwitch",{"active":false}]"#,                  "403", true,  2),
        ("of none, the level",           "nina", r#"["autonomyLevel",{"level":0}]"#,                    "403", true,  2),
        ("an operator, once more",       "olga", r#"["killSwitch",{"active":false}]"#,                  off,   false, 2),
        ("of some, to stop",             "otto", r#"["killSwitch",{"active":true}]"#,                   on,    true,  2),
        ("of some, the level",           "otto", r#"["autonomyLevel",{"level":0}]"#,                    "403", true,  2),
        ("the level",                    "olga", r#"["autonomyLevel",{"level":1}]"#,  r#"{"autonomyLevel":1}"#, true,  1),
        ("a text for it",                "vera", r#"["autonomyLevel",{"level":"2"}]"#,                  level, true,  1),
        ("two levels",                   "vera", r#"["autonomyLevel",{"level":0,"level":2}]"#,          level, true,  1),
        ("no level",                     "vera", r#"["autonomyLevel"]"#,                                level, true,  1),
        ("above the ceiling",            "vera", r#"["autonomyLevel",{"level":3}]"#,                    high,  true,  1),
    ];
    let auth =
        async |name: &str| format!(r#"{{"token":"{}","clusters":"all"}}"#, fixture.token_of(name).await);
    let mut screens = std::collections::BTreeMap::new();
    for name in ["vera", "olga", "otto", "nina"] {
        let screen = fixture.join("/events", &auth(name).await).await;
        screen.hear_until("40/events,").await;
        screens.insert(name, screen);
    }
    for (name, by, message, expected, stopped, level) in table {
        let answer = said(&screens[by], message).await;
        let refused = format!(r#""status":{expected}"#);
        assert!(answer == expected || answer.contains(&refused), "{name}: {answer}");
        let status = fixture.get("/api/monitor/status", &fixture.token()).await.body;
        let shown = format!(r#""autonomyLevel":{level},"killSwitch":{stopped}"#);
        assert!(status.contains(&shown), "{name}: {status}");
    }
    let operated = fixture.operated();
    let stops = operated.iter().filter(|row| row.contains("killSwitch") || row.contains("autonomyLevel"));
    let by: Vec<_> = stops.map(|row| row.split_once(" {").unwrap().0).collect();
    let expected = ["olga", "olga", "nina", "olga", "otto"].map(|by| format!("{by} (login) killSwitch"));
    assert_eq!(by, [&expected[..], &["olga (login) autonomyLevel".into()]].concat());

    // By REST, and by the preference behind it, as by socket.
    let nina = fixture.token_of("nina").await;
    for (call, body, expected) in [
        ("PUT /api/monitor/killswitch", r#"{"active":true}"#, 200),
        ("PUT /api/monitor/killswitch", r#"{"active":false}"#, 403),
        ("PUT /api/memory/preferences/autonomy.killSwitch", r#"{"value":"true"}"#, 200),
        ("PUT /api/memory/preferences/autonomy.killSwitch", r#"{"value":"false"}"#, 403),
        ("PUT /api/memory/preferences/autonomy.level", r#"{"value":"0"}"#, 403),
        ("PUT /api/monitor/autonomy-level", r#"{"level":0}"#, 403),
    ] {
        let reply = fixture.ask(call, &nina, body).await;
        assert_eq!(reply.status, expected, "of none: {call} {body}: {}", reply.body);
    }

    // Who floods it fills no journal, and stops all the same.
    let packets: Vec<_> =
        (0..40).map(|n| format!(r#"42/events,{n}["killSwitch",{{"active":true}}]"#)).collect();
    let flood = fixture.join("/events", &auth("olga").await).await;
    flood.hear_until("40/events,").await;
    flood.say(&packets.join("\u{1e}")).await;
    let mut answers = Vec::new();
    while answers.len() < 40 {
        let heard = flood.hear().await;
        answers.extend(heard.into_iter().filter(|packet| packet.starts_with("43/events,")));
    }
    let kept = answers.iter().filter(|answer| answer.ends_with(&format!("[{on}]"))).count();
    let only_on = answers
        .iter()
        .filter(|answer| answer.contains(r#""status":503"#) && answer.contains(r#""killSwitch":true"#));
    assert!((1..=20).contains(&kept) && kept + only_on.count() == 40, "{answers:?}");
    fixture.stop().await;
}

#[tokio::test]
async fn what_is_in_force_where_the_store_does_not_say_is_that_everything_stops() {
    let fixture = Fixture::new().await;
    let token = fixture.token();
    fixture.live.saw(&lab(), std::time::Instant::now());
    fixture.store.close().await;
    let status = fixture.get("/api/monitor/status", &token).await.shown();
    assert_eq!(status, r#"200 {"running":true,"autonomyLevel":0,"killSwitch":true,"activeRemediations":0}"#);
    let refused = fixture.set("PUT /api/monitor/killswitch", r#"{"active":false}"#).await;
    assert_eq!(refused, r#"500 {"error":"The store did not answer; the log says why"}"#);
    fixture.server.shutdown().await;
}

#[tokio::test]
async fn a_preference_is_no_way_around_the_ceiling() {
    let fixture = Fixture::new().await;
    let bad_key = r#"400 {"error":"A key has 1 to 100 letters, digits, `.`, `_`, `:` or `-`"}"#;
    let no_such = r#"400 {"error":"There is no such key; those of the autonomy are autonomy.killSwitch and autonomy.level"}"#;
    let shape = r#"400 {"error":"The body must be JSON: {\"value\": TEXT}"}"#;
    let limited = r#"409 {"error":"Level is limited to 2 by the configuration"}"#;
    let no_bool = r#"400 {"error":"autonomy.killSwitch must be \"true\" or \"false\""}"#;
    let long = "k".repeat(101);
    #[rustfmt::skip]
    let table = [
        ("a level", "autonomy.level", r#"{"value":"1"}"#, r#"200 {"preference":{"key":"autonomy.level","value":"1""#),
        ("above the ceiling", "autonomy.level", r#"{"value":"3"}"#, limited),
        ("no level", "autonomy.level", r#"{"value":"5"}"#, NO_LEVEL),
        ("with a sign", "autonomy.level", r#"{"value":"+1"}"#, NO_LEVEL),
        ("with a blank", "autonomy.level", r#"{"value":" 1"}"#, NO_LEVEL),
        ("a number", "autonomy.level", r#"{"value":1}"#, shape),
        ("no bool", "autonomy.killSwitch", r#"{"value":"off"}"#, no_bool),
        ("a bool that is no text", "autonomy.killSwitch", r#"{"value":false}"#, shape),
        ("misspelt", "autonomy.killswitch", r#"{"value":"true"}"#, no_such),
        ("escaped", "autonomy%2Elevel", r#"{"value":"4"}"#, limited),
        ("our own", "theme", r#"{"value":"dark"}"#, r#"200 {"preference":{"key":"theme","value":"dark""#),
        ("empty", "theme", r#"{"value":""}"#, r#"200 {"preference":{"key":"theme","value":"""#),
        ("no value", "theme", "{}", shape),
        ("a path", "..%2F..%2Fetc", r#"{"value":"x"}"#, bad_key),
        ("a line break", "a%0Ab", r#"{"value":"x"}"#, bad_key),
        ("too long", &long, r#"{"value":"x"}"#, bad_key),
    ];
    for (name, key, body, expected) in table {
        let answer = fixture.set(&format!("PUT /api/memory/preferences/{key}"), body).await;
        assert!(answer.starts_with(expected), "{name}: {answer}");
    }
    let status = fixture.get("/api/monitor/status", &fixture.token()).await.body;
    assert!(status.contains(r#""autonomyLevel":1,"killSwitch":false"#), "{status}");
    fixture.stop().await;
}

#[tokio::test]
async fn more_preferences_than_are_shown_are_not_kept() {
    let fixture = Fixture::new().await;
    for n in 0..1_000 {
        let key = format!("key{n}");
        fixture.store.set_preference(&key, "x", at(0)).await.unwrap();
    }
    let full = r#"409 {"error":"There are 1000 preferences already; no other one is kept"}"#;
    assert_eq!(fixture.set("PUT /api/memory/preferences/one-more", r#"{"value":"x"}"#).await, full);
    let again = fixture.set("PUT /api/memory/preferences/key7", r#"{"value":"y"}"#).await;
    assert!(again.starts_with(r#"200 {"preference":{"key":"key7","value":"y""#), "{again}");
    let stop = fixture.set("PUT /api/monitor/killswitch", r#"{"active":true}"#).await;
    assert_eq!(stop, r#"200 {"killSwitch":true}"#, "there is always room to stop");
    fixture.stop().await;
}

#[tokio::test]
async fn an_event_of_somebody_is_kept_told_and_journalled() {
    let fixture = Fixture::new().await;
    let body = r#"{"type":"action","summary":"[User] Backup: done by hand","node":"pve1","details":{"n":1}}"#;
    let answer = fixture.set("POST /api/memory/events", body).await;
    assert!(answer.starts_with(r#"201 {"event":{"id":1,"timestamp":"2"#), "{answer}");
    let rest = r#","type":"action","severity":"info","source":"user","node":"pve1","summary":"[User] Backup: done by hand","details":{"n":1},"resolved":false,"resolvedAt":null,"resolvedBy":null}}"#;
    assert!(answer.ends_with(rest), "{answer}");
    let refused = fixture.set("POST /api/memory/events", r#"{"type":"alarm","summary":"x"}"#).await;
    assert_eq!(refused, r#"400 {"error":"type must be alert, action, status or metric"}"#);
    let elsewhere = r#"{"type":"alert","summary":"x","cluster":"moon"}"#;
    let refused = fixture.set("POST /api/memory/events", elsewhere).await;
    assert_eq!(refused, r#"400 {"error":"no cluster `moon` is watched: there are lab, edge"}"#);
    let here = r#"{"type":"alert","summary":"Fan: loud","cluster":"lab"}"#;
    assert!(fixture.set("POST /api/memory/events", here).await.starts_with("201 "));
    let operated = fixture.operated();
    assert_eq!(operated.len(), 2, "{operated:?}");
    assert!(operated[0].starts_with("admin (login) event {"), "{operated:?}");
    assert!(operated[0].contains(r#""summary":"[User] Backup: done by hand""#), "{operated:?}");
    assert!(operated[1].contains(r#""cluster":"lab""#), "{operated:?}");
    fixture.stop().await;
}

#[tokio::test]
async fn an_event_that_nothing_ends_is_ended_by_an_operator() {
    let fixture = Fixture::new().await;
    let given = |cluster: &str| {
        format!(r#"{{"type":"alert","summary":"[User] Fan: loud","severity":"error"{cluster}}}"#)
    };
    for cluster in ["", r#","cluster":"lab""#, r#","cluster":"edge""#] {
        assert!(fixture.set("POST /api/memory/events", &given(cluster)).await.starts_with("201 "));
    }
    tell(&fixture, "lab", vec![opened(0, 7)]).await;
    fixture.user("local", Role::Operator, Some(&[edge()])).await;
    fixture.user("looks", Role::Viewer, None).await;
    let [admin, local, looks] =
        [fixture.token(), fixture.token_of("local").await, fixture.token_of("looks").await];
    let auth = format!(r#"{{"token":"{admin}"}}"#);
    let screen = fixture.join("/events", &auth).await;
    screen.hear_until("40/events,").await;
    #[rustfmt::skip]
    let table = [
        ("a viewer's word",              &looks, "1", 403, "needs the role operator"),
        ("of all, by one's",             &local, "1", 403, "This needs the role operator for all clusters"),
        ("of another cluster",           &local, "2", 404, "there is no such event, or it is pruned"),
        ("one's own",                    &local, "3", 200, r#""resolved":true,"resolvedAt":"2"#),
        ("of all, by all's",             &admin, "1", 200, r#""resolvedBy":"admin""#),
        ("again, by another",            &admin, "3", 200, r#""resolvedBy":"local""#),
        ("what an incident told",        &admin, "4", 409, "an incident told it, which ends when what it is about is over"),
        ("one that is none",             &admin, "99", 404, "there is no such event"),
        ("no number",                    &admin, "x", 404, "there is no such event"),
    ];
    for (name, token, seq, status, words) in table {
        let reply = fixture.ask(&format!("POST /api/v1/events/{seq}/resolve"), token, "").await;
        assert_eq!(reply.status, status, "{name}: {}", reply.body);
        assert!(reply.body.contains(words), "{name}: {}", reply.body);
    }
    let operated = fixture.operated();
    let ended: Vec<_> = operated.iter().filter(|row| row.contains("eventResolved")).collect();
    let [first, second] = ended[..] else { panic!("{operated:#?}") };
    assert!(first.starts_with("local (login) eventResolved {\"cluster\":\"edge\",\"seq\":3,"), "{first}");
    assert!(second.starts_with("admin (login) eventResolved {\"cluster\":null,\"seq\":1,"), "{second}");
    let heard = screen.hear_until("42/events,").await.concat();
    assert!(
        heard.contains("Event 1 resolved") && heard.contains("admin (login) says that it is over: Fan"),
        "{heard}"
    );
    let open = fixture.get("/api/v1/events?resolved=false", &admin).await.body;
    let left: Vec<_> =
        ["\"seq\":1,", "\"seq\":2,", "\"seq\":3,"].iter().map(|seq| open.contains(seq)).collect();
    assert_eq!(left, [false, true, false], "{open}");
    let path = fixture.folder.path().join("jarvis.db");
    fixture.server.shutdown().await;
    assert!(fixture.store.close().await);
    assert!(verify(&path).await.is_ok(), "the chain holds");
}

#[tokio::test]
async fn with_several_clusters_the_old_calls_speak_of_the_first_and_of_what_is_everybodys() {
    let fixture = Fixture::of_two().await;
    let of = |cluster: Option<&str>, title: &str| NewEvent {
        cluster: cluster.map(str::to_owned),
        ..super::event(0, title)
    };
    let events = vec![of(Some("lab"), "here"), of(Some("edge"), "there"), of(None, "everywhere")];
    fixture.store.save_events(events, None).await.unwrap();
    let token = fixture.token();
    for path in ["/api/memory/events", "/api/memory/events/unresolved"] {
        let body = fixture.get(path, &token).await.body;
        let told = ["here", "there", "everywhere"].map(|title| body.contains(&format!("[Monitor] {title}:")));
        assert_eq!(told, [true, false, true], "{path}: {body}");
    }
    let limited = fixture.get("/api/memory/events?limit=2", &token).await.body;
    assert!(limited.contains("here") && limited.contains("everywhere"), "of two, both: {limited}");
    fixture.stop().await;
}
