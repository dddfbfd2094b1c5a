//! Another cluster: whoever is let into one learns nothing of another, changes nothing there, and is sent nothing of it.

use std::collections::BTreeMap;

use daemon::record::{NewEvent, Source};
use daemon::report::caller::Role;
use daemon::report::page::NodeRow;
use engine::observe::Presence;
use engine::report::{EventKind, Severity};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::harness::{Fixture, Polling, edge};
use crate::v1::{opened, publish, tell};

/// What only the other cluster has.
const MARKS: [&str; 5] = ["\"lab\"", "lab/", "pve1", "eb01", "theirs"];

fn marked(text: &str) -> Option<&'static str> {
    MARKS.into_iter().find(|mark| text.contains(mark))
}

fn node(name: &str) -> NodeRow {
    NodeRow {
        node: name.parse().unwrap(),
        host: "10.0.1.11".into(),
        status: Presence::Online,
        cpu: 0.5,
        maxcpu: 8.0,
        mem: 1,
        maxmem: 2,
        disk: 3,
        maxdisk: 4,
        uptime: 5,
        temperatures: BTreeMap::new(),
        ha: None,
    }
}

async fn event(fixture: &Fixture, cluster: &str, title: &str) {
    let (at, alert, error) = (Timestamp::now(), EventKind::Alert, Severity::Error);
    let event = NewEvent::plain(at, alert, error, Source::Monitor, title, "it is gone");
    fixture.store.save_event(NewEvent { cluster: Some(cluster.into()), ..event }).await.unwrap();
}

/// An API token of admin's, for less than admin may.
async fn api_token(fixture: &Fixture, role: &str) -> (String, String) {
    let body = format!(r#"{{"name":"{role} of edge","role":"{role}","clusters":["edge"]}}"#);
    let made = fixture.ask("POST /api/v1/tokens", &fixture.token(), &body).await;
    let made: Value = serde_json::from_str(&made.body).unwrap();
    (made["secret"].as_str().unwrap().into(), made["token"]["id"].as_str().unwrap().into())
}

/// The same, of a cluster that nobody watches.
fn of_none(text: &str) -> String {
    let forms = [("\"lab\"", "\"zzz\""), ("/lab", "/zzz"), ("=lab", "=zzz"), ("`lab`", "`zzz`")];
    forms.into_iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// All that somebody could have changed.
async fn state(fixture: &Fixture) -> String {
    let admin = fixture.token();
    let mut tokens: Value = serde_json::from_str(&fixture.get("/api/v1/tokens", &admin).await.body).unwrap();
    for token in tokens["items"].as_array_mut().unwrap() {
        token["lastUsedAt"] = Value::Null;
    }
    let users = fixture.get("/api/v1/users", &admin).await.body;
    let preferences = fixture.store.all_preferences().await.unwrap();
    let events = fixture.store.get_recent_events(100).await.unwrap();
    format!("{tokens}\n{users}\n{preferences:?}\n{events:?}\n{:?}", fixture.operated())
}

#[tokio::test]
async fn each_call_for_another_cluster() {
    let fixture = Fixture::new().await;
    publish(&fixture, Timestamp::now());
    fixture.pages[1].1.publish_nodes(vec![node("edgenode")], Timestamp::now());
    tell(&fixture, "lab", vec![opened(0, 7)]).await;
    event(&fixture, "lab", "theirs").await;
    let (_, admins) = api_token(&fixture, "viewer").await;
    let mut callers = Vec::new();
    for role in Role::ALL {
        let name = format!("{role}-of-edge");
        fixture.user(&name, role, Some(&[edge()])).await;
        callers.push((name.clone(), role, fixture.token_of(&name).await));
        let (secret, _) = api_token(&fixture, role.as_str()).await;
        callers.push((format!("token {name}"), role, secret));
    }
    use Role::{Operator, Viewer};
    let revoke = format!("DELETE /api/v1/tokens/{admins}");
    let mut ends = Vec::new();
    for path in ["maintenance", "silences"] {
        let theirs = r#"{"subject":"node/pve1","minutes":60,"cluster":"lab","note":"theirs"}"#;
        let made = fixture.ask(&format!("POST /api/v1/{path}"), &fixture.token(), theirs).await;
        let made: Value = serde_json::from_str(&made.body).unwrap();
        ends.push(format!("DELETE /api/v1/{path}/{}", made["id"].as_str().unwrap()));
    }
    let (end_work, end_silence) = (ends.remove(0), ends.remove(0));
    // The least role that gets as far as the answer; less is 403 anyway.
    #[rustfmt::skip]
    let table: [(&str, &str, Role, u16); 64] = [
        ("GET /api/v1/clusters",                        "", Viewer, 200),
        ("GET /api/v1/clusters/lab",                    "", Viewer, 404),
        ("GET /api/v1/clusters/lab/nodes",              "", Viewer, 404),
        ("GET /api/v1/clusters/lab/nodes/pve1",         "", Viewer, 404),
        ("GET /api/v1/clusters/lab/guests",             "", Viewer, 404),
        ("GET /api/v1/clusters/lab/guests/qemu/101",    "", Viewer, 404),
        ("GET /api/v1/clusters/lab/storages",           "", Viewer, 404),
        ("GET /api/v1/clusters/lab/checkup",            "", Role::Admin, 404),
        ("GET /api/v1/clusters/lab/nodes/pve1/history", "", Viewer, 404),
        ("GET /api/v1/clusters/lab/guests/qemu/101/history", "", Viewer, 404),
        ("GET /api/v1/clusters/lab/guests/qemu/101/config", "", Viewer, 404),
        ("GET /api/v1/clusters/lab/tasks/UPID:pve1:00000001:00000001:00000001:qmstart:101:a@pve:/log", "", Operator, 404),
        ("GET /api/v1/clusters/edge/nodes/pve1",        "", Viewer, 404),
        ("GET /api/v1/nodes",                           "", Viewer, 200),
        ("GET /api/v1/nodes?cluster=lab",               "", Viewer, 404),
        ("GET /api/v1/guests",                          "", Viewer, 200),
        ("GET /api/v1/guests?cluster=lab",              "", Viewer, 404),
        ("GET /api/v1/guests?name=web",                 "", Viewer, 200),
        ("GET /api/v1/storages",                        "", Viewer, 200),
        ("GET /api/v1/storages?cluster=lab",            "", Viewer, 404),
        ("GET /api/v1/incidents",                       "", Viewer, 200),
        ("GET /api/v1/incidents?cluster=lab",           "", Viewer, 200),
        ("GET /api/v1/incidents/00000000-0000-0000-0000-000000000007", "", Viewer, 404),
        ("POST /api/v1/incidents/00000000-0000-0000-0000-000000000007/approve", "", Operator, 404),
        ("POST /api/v1/incidents/00000000-0000-0000-0000-000000000007/resolve?cluster=lab", "", Operator, 404),
        ("GET /api/v1/events",                          "", Viewer, 200),
        ("GET /api/v1/events?cluster=lab",              "", Viewer, 200),
        ("GET /api/v1/events/1",                        "", Viewer, 404),
        ("POST /api/v1/events/1/resolve",               "", Operator, 404),
        ("GET /api/v1/actions",                         "", Viewer, 200),
        ("GET /api/v1/actions?cluster=lab",             "", Viewer, 200),
        ("GET /api/v1/journal?cluster=lab",             "", Operator, 200),
        ("GET /api/v1/maintenance",                     "", Viewer, 200),
        ("GET /api/v1/maintenance?state=all",           "", Viewer, 200),
        ("GET /api/v1/maintenance?cluster=lab",         "", Viewer, 404),
        ("POST /api/v1/maintenance",                    r#"{"subject":"cluster","minutes":5,"cluster":"lab"}"#, Operator, 400),
        ("POST /api/v1/maintenance",                    r#"{"subject":"qemu/101","minutes":5,"cluster":"lab"}"#, Operator, 400),
        ("POST /api/v1/maintenance",                    r#"{"subject":"cluster","minutes":5}"#, Operator, 403),
        (&end_work,                                     "", Operator, 404),
        ("GET /api/v1/silences",                        "", Viewer, 200),
        ("GET /api/v1/silences?state=all",              "", Viewer, 200),
        ("GET /api/v1/silences?cluster=lab",            "", Viewer, 404),
        ("POST /api/v1/silences",                       r#"{"subject":"cluster","minutes":5,"cluster":"lab"}"#, Operator, 400),
        ("POST /api/v1/silences",                       r#"{"subject":"qemu/101","minutes":5,"cluster":"lab"}"#, Operator, 400),
        ("POST /api/v1/silences",                       r#"{"subject":"cluster","minutes":5}"#, Operator, 403),
        (&end_silence,                                  "", Operator, 404),
        ("GET /api/v1/health",                          "", Viewer, 200),
        ("GET /metrics",                                "", Viewer, 200),
        ("GET /api/memory/events",                      "", Viewer, 200),
        ("GET /api/memory/events/unresolved",           "", Viewer, 200),
        ("GET /api/monitor/actions",                    "", Viewer, 200),
        ("PUT /api/monitor/killswitch",                 r#"{"active":false}"#, Operator, 403),
        ("PUT /api/monitor/autonomy-level",             r#"{"level":1}"#, Operator, 403),
        ("PUT /api/memory/preferences/theme",           r#"{"value":"dark"}"#, Operator, 403),
        ("PUT /api/memory/preferences/autonomy.killSwitch", r#"{"value":"false"}"#, Operator, 403),
        ("POST /api/memory/events",                     r#"{"type":"status","summary":"x"}"#, Operator, 403),
        ("POST /api/memory/events",                     r#"{"type":"status","summary":"x","cluster":"lab"}"#, Operator, 400),
        ("POST /api/tools/execute",                     r#"{"tool":"start_vm","args":{"cluster":"lab","node":"pve1","vmid":101}}"#, Operator, 400),
        ("POST /api/tools/execute",                     r#"{"tool":"stop_vm","args":{"node":"pve1","vmid":101,"confirmed":true}}"#, Operator, 400),
        ("POST /api/v1/users",                          r#"{"name":"x","role":"viewer"}"#, Role::Admin, 403),
        ("PATCH /api/v1/users/admin",                   r#"{"disabled":true}"#, Role::Admin, 403),
        ("DELETE /api/v1/users/viewer-of-edge",         "", Role::Admin, 403),
        ("POST /api/v1/users/admin/password",           r#"{"new":"correct horse battery"}"#, Viewer, 403),
        (&revoke,                                       "", Viewer, 404),
    ];
    let before = state(&fixture).await;
    let (mut shown, mut wrong) = (String::new(), 0);
    for (call, body, needs, expected) in table {
        for (who, role, token) in &callers {
            let reply = fixture.ask(call, token, body).await;
            let expected = match expected {
                _ if *role < needs => 403,
                // The token is one of admin's own, whose names alone are the same; a sibling it does not end.
                404 if call == revoke && who.starts_with("token") => 403,
                expected => expected,
            };
            // A refusal may say again what was asked.
            let told = if reply.status < 300 { marked(&reply.body) } else { None };
            if reply.status != expected || told.is_some() {
                wrong += 1;
                shown.push_str(&format!("{who}: {call} {body}: {expected}, not {}\n", reply.shown()));
            }
            // Nor is it told whether there is such a cluster.
            let (call_of_none, body_of_none) = (of_none(call), of_none(body));
            if (call_of_none.as_str(), body_of_none.as_str()) != (call, body) {
                let other = fixture.ask(&call_of_none, token, &body_of_none).await.shown();
                if of_none(&reply.shown()) != other {
                    wrong += 1;
                    shown
                        .push_str(&format!("{who}: {call} {body}: {}, but of none {other}\n", reply.shown()));
                }
            }
        }
    }
    assert_eq!(wrong, 0, "\n{shown}");
    assert_eq!(state(&fixture).await, before, "nothing was changed");
    fixture.stop().await;
}

/// The packets up to one that holds the words.
async fn hear(socket: &Polling<'_>, words: &str) -> Vec<String> {
    let mut heard = Vec::new();
    while !heard.iter().any(|packet: &String| packet.contains(words)) {
        heard.extend(socket.hear().await);
    }
    heard
}

#[tokio::test]
async fn no_socket_is_sent_anything_of_another_cluster() {
    let fixture = Fixture::new().await;
    let named = json!(["lab", "edge"]);
    let since = json!({"lab": 1, "edge": 1});
    type Row = (&'static str, Role, bool, Value, Value, bool);
    #[rustfmt::skip]
    let table: [Row; 6] = [
        ("an admin of all",            Role::Admin,    false, json!("all"),   Value::Null,   true),
        ("a viewer",                   Role::Viewer,   true,  json!("all"),   Value::Null,   false),
        ("an operator, by name",       Role::Operator, true,  named,          Value::Null,   false),
        ("an admin of some",           Role::Admin,    true,  json!("all"),   Value::Null,   false),
        ("who says it was here",       Role::Viewer,   true,  json!("all"),   since,         false),
        ("who does not say which",     Role::Operator, true,  Value::Null,    Value::Null,   false),
    ];
    for (n, (name, role, limited, clusters, since, expected)) in table.into_iter().enumerate() {
        publish(&fixture, Timestamp::now());
        let publish_edge = |names: &[String]| {
            let rows = names.iter().map(|name| node(name)).collect();
            fixture.pages[1].1.publish_nodes(rows, Timestamp::now());
        };
        let (one, two) = (format!("edgenode{n}a"), format!("edgenode{n}b"));
        publish_edge(std::slice::from_ref(&one));
        let scope = [edge()];
        fixture.user(&format!("user{n}"), role, limited.then_some(&scope[..])).await;
        let token = fixture.token_of(&format!("user{n}")).await;
        let auth = json!({"token": token, "clusters": clusters, "deltas": true, "since": since});
        let rows = fixture.join("/cluster", &auth.to_string()).await;
        let events = json!({"token": token, "clusters": clusters, "since": 0});
        let events = fixture.join("/events", &events.to_string()).await;
        let mut heard = hear(&rows, &one).await;
        for wish in [r#"["resync",{"cluster":"lab"}]"#, r#"["requestRefresh"]"#] {
            rows.say(&format!("42/cluster,{wish}")).await;
        }
        // What changes there comes before what changes here, twice, so that it would have come.
        for round in 0..2 {
            publish(&fixture, Timestamp::now());
            fixture
                .page
                .publish_nodes(vec![node("pve1"), node(&format!("pve1-{n}-{round}"))], Timestamp::now());
            let last = format!("{two}{round}");
            publish_edge(&[one.clone(), last.clone()]);
            heard.extend(hear(&rows, &last).await);
        }
        event(&fixture, "lab", "theirs").await;
        if clusters != Value::Null {
            event(&fixture, "edge", &format!("ours {n}")).await;
            heard.extend(hear(&events, &format!("ours {n}")).await);
        } else {
            // It is taken for an old page, which is shown the first cluster; so it is told what is of none.
            let (at, status, info) = (Timestamp::now(), EventKind::Status, Severity::Info);
            let everybodys =
                NewEvent::plain(at, status, info, Source::Monitor, &format!("everybodys {n}"), "");
            fixture.store.save_event(everybodys).await.unwrap();
            heard.extend(hear(&events, &format!("everybodys {n}")).await);
        }
        let told: Vec<_> =
            heard.iter().filter_map(|packet| marked(packet).map(|mark| (mark, packet))).collect();
        assert_eq!(!told.is_empty(), expected, "{name}: {told:?}");
    }
    fixture.stop().await;
}

#[tokio::test]
async fn who_loses_a_cluster_is_put_out_before_it_says_more() {
    let fixture = Fixture::new().await;
    publish(&fixture, Timestamp::now());
    fixture.user("bob", Role::Operator, None).await;
    let token = fixture.token_of("bob").await;
    let auth = json!({"token": token, "clusters": "all", "deltas": true}).to_string();
    let rows = fixture.join("/cluster", &auth).await;
    let heard = hear(&rows, "pve1").await;
    assert!(heard.iter().any(|packet| marked(packet).is_some()), "{heard:?}");
    let less = fixture.ask("PATCH /api/v1/users/bob", &fixture.token(), r#"{"clusters":["edge"]}"#).await;
    assert_eq!(less.status, 200, "{}", less.body);
    let heard = rows.hear_until("41/cluster,").await;
    assert!(heard.iter().any(|packet| packet.contains("auth_expired")), "{heard:?}");
    let again = fixture.join("/cluster", &auth).await;
    assert_eq!(again.hear().await, [r#"44/cluster,{"message":"Invalid or expired token"}"#]);
    fixture.stop().await;
}
