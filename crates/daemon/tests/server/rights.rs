//! Roles and routes: every call asked by everybody, from the one table of rights; and every route is in that table.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use axum::http::Method;
use daemon::report::auth::Password;
use daemon::report::caller::{NEEDS, PUBLIC, Role};
use engine::report::{EventKind, Severity};
use jiff::Timestamp;

use crate::harness::{Fixture, Folder, PASSWORD, edge, lab};
use crate::v1::{documented, filled_in, publish};

/// What a role may be answered: anything but that it may not, or that nobody knows who asks.
#[tokio::test]
async fn each_role_on_each_route() {
    let fixture = Fixture::new().await;
    for role in Role::ALL {
        fixture.user(role.as_str().to_owned().replace("admin", "chief").as_str(), role, None).await;
    }
    fixture.user("elsewhere", Role::Operator, Some(&[edge()])).await;
    // What nobody has seen cannot be shown to anybody.
    publish(&fixture, Timestamp::now());
    let callers: [(&str, Option<&str>, Option<Role>); 6] = [
        ("nobody", None, None),
        ("a bad token", Some("jrs_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), None),
        ("viewer", Some("viewer"), Some(Role::Viewer)),
        ("operator", Some("operator"), Some(Role::Operator)),
        ("admin", Some("chief"), Some(Role::Admin)),
        ("operator elsewhere", Some("elsewhere"), Some(Role::Operator)),
    ];
    let (mut matrix, mut wrong) = (String::new(), 0);
    for (method, path, needed) in NEEDS {
        for (name, user, role) in callers {
            // A new login each time: some calls end it.
            let token = match (user, role) {
                (Some(user), Some(_)) => Some(fixture.token_of(user).await),
                (user, _) => user.map(str::to_owned),
            };
            let bearer = token.map(|token| format!("Authorization: Bearer {token}"));
            let mut lines = vec!["Content-Type: application/json"];
            lines.extend(bearer.as_deref());
            let body = if *method == Method::GET { "" } else { "{}" };
            let status = fixture.call(&format!("{method} {}", filled_in(path)), &lines, body).await.status;
            let fits = match role {
                None => status == 401,
                Some(role) if role < *needed => status == 403,
                // 404 and 400 are the handler's word on what is not there; 405 and 0 would be no word of a handler.
                Some(_) => !matches!(status, 0 | 401 | 403 | 405 | 500..),
            };
            wrong += usize::from(!fits);
            let mark = if fits { ' ' } else { '!' };
            writeln!(matrix, "{mark} {method:6} {path:48} {needed:8} {name:18} {status}").unwrap();
        }
    }
    assert_eq!(wrong, 0, "wrong answers are marked:\n{matrix}");
    fixture.stop().await;
}

#[tokio::test]
async fn what_is_public_asks_for_no_token() {
    let fixture = Fixture::new().await;
    for (method, path) in PUBLIC {
        let lines = ["Content-Type: application/json"];
        let body = if *method == Method::GET { "" } else { "{}" };
        let reply = fixture.call(&format!("{method} {path}"), &lines, body).await;
        assert!(!matches!(reply.status, 0 | 401 | 403 | 404 | 405), "{method} {path}: {}", reply.shown());
    }
    fixture.stop().await;
}

/// A route that nobody listed needs an admin, which is safe but surely not what was meant. Every route is in the document:
/// see `v1`.
#[test]
fn every_route_is_in_the_table() {
    // The text for whoever looks with a browser is no call.
    let mut routed: BTreeSet<String> = documented().into_keys().collect();
    routed.insert("GET /".into());
    let listed = NEEDS.iter().map(|(method, path, _)| (method, path));
    let listed = listed.chain(PUBLIC.iter().map(|(method, path)| (method, path)));
    let listed: BTreeSet<String> = listed.map(|(method, path)| format!("{method} {path}")).collect();
    assert_eq!(routed, listed, "left: what is routed; right: what caller.rs lists");
    assert_eq!(listed.len(), NEEDS.len() + PUBLIC.len(), "each once");
}

/// One rule, whichever door is asked: one's clusters, what is about Jarvis as a whole, and, for those who see everything,
/// what the original wrote of nobody knows which cluster.
#[tokio::test]
async fn who_is_of_one_cluster_sees_nothing_of_another() {
    use daemon::record::{NewEvent, Source};
    use sqlx::Connection;

    let fixture = Fixture::new().await;
    let event = |cluster: Option<&str>, title: &str| {
        let (at, alert, error) = (Timestamp::now(), EventKind::Alert, Severity::Error);
        let plain = NewEvent::plain(at, alert, error, Source::Monitor, title, "it is gone");
        NewEvent { cluster: cluster.map(str::to_owned), ..plain }
    };
    let of = |cluster: &str| event(Some(cluster), &format!("of-{cluster}"));
    fixture.store.save_events(vec![of("lab"), of("edge"), of("gone")], None).await.unwrap();
    let path = fixture.folder.path().join("jarvis.db");
    let mut original = sqlx::SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
    let insert =
        "INSERT INTO events (type, source, summary) VALUES ('alert', 'monitor', '[Monitor] of-old: x')";
    sqlx::query(insert).execute(&mut original).await.unwrap();
    original.close().await.unwrap();
    fixture.store.save_events(vec![event(None, "of-all")], None).await.unwrap();
    const TITLES: [&str; 5] = ["of-lab", "of-edge", "of-gone", "of-old", "of-all"];
    let seen =
        |text: &str| TITLES.into_iter().filter(|title| text.contains(title)).collect::<Vec<_>>().join(" ");

    fixture.user("all", Role::Viewer, None).await;
    fixture.user("lab", Role::Viewer, Some(&[lab()])).await;
    fixture.user("edge", Role::Viewer, Some(&[edge()])).await;
    #[rustfmt::skip]
    let table = [
        // The old page knows of the first cluster alone.
        ("all",  "of-lab of-old of-all", "of-lab of-edge of-gone of-old of-all"),
        ("lab",  "of-lab of-all",        "of-lab of-all"),
        ("edge", "of-all",               "of-edge of-all"),
    ];
    for (user, old, new) in table {
        let token = fixture.token_of(user).await;
        for path in ["/api/memory/events", "/api/memory/events/unresolved"] {
            assert_eq!(seen(&fixture.get(path, &token).await.body), old, "{user}: {path}");
        }
        assert_eq!(seen(&fixture.get("/api/v1/events", &token).await.body), new, "{user}: a list");
        let mut one_by_one = String::new();
        for seq in 1..=5 {
            one_by_one += &fixture.get(&format!("/api/v1/events/{seq}"), &token).await.body;
        }
        assert_eq!(seen(&one_by_one), new, "{user}: one by one");
        for (clusters, expected) in [("", old), (r#","clusters":"all""#, new)] {
            let auth = format!(r#"{{"token":"{token}","since":0{clusters}}}"#);
            let socket = fixture.join("/events", &auth).await;
            let mut heard = String::new();
            while !heard.contains("of-all") {
                heard += &socket.hear().await.concat();
            }
            assert_eq!(seen(&heard), expected, "{user}: a socket{clusters}");
        }
    }
    let auth = format!(r#"{{"token":"{}"}}"#, fixture.token_of("edge").await);
    let arrays = fixture.join("/cluster", &auth).await;
    assert_eq!(arrays.hear().await, [r#"44/cluster,{"message":"This login is for other clusters"}"#]);
    fixture.stop().await;
}

#[tokio::test]
async fn what_a_cluster_that_is_watched_no_more_has_left_is_for_those_who_see_all() {
    use daemon::record::{ActionResult, NewAction, NewEvent, Source};
    let folder = Folder::new();
    let limits = daemon::report::Limits::default();
    let fixture = Fixture::of(folder, &["lab"], limits, Some(Password::new(PASSWORD))).await;
    fixture.user("local", Role::Viewer, Some(&[lab()])).await;
    fixture.user("everywhere", Role::Viewer, None).await;
    let at = Timestamp::now();
    let event = |cluster: Option<&str>, title: &str| {
        let (alert, error) = (EventKind::Alert, Severity::Error);
        let event = NewEvent::plain(at, alert, error, Source::Monitor, title, "it is gone");
        NewEvent { cluster: cluster.map(str::to_owned), ..event }
    };
    let events = vec![event(Some("lab"), "of lab"), event(Some("gone"), "of gone"), event(None, "of none")];
    fixture.store.save_events(events, None).await.unwrap();
    for (cluster, action) in [("lab", "in_lab"), ("gone", "in_gone")] {
        let action = NewAction {
            at,
            incident_key: "VM_CRASHED:101".into(),
            incident_id: "i1".into(),
            runbook_id: "r".into(),
            condition: "VM_CRASHED".into(),
            action: action.into(),
            action_args: None,
            result: ActionResult::Success,
            result_details: None,
            verification_result: None,
            autonomy_level: 3,
            node: None,
            attempt_number: 1,
            escalated: false,
            email_sent: false,
            cluster: Some(cluster.into()),
        };
        fixture.store.save_autonomy_action(action).await.unwrap();
    }
    #[rustfmt::skip]
    let table = [
        // the call                           what all see,   what of the cluster that is gone
        ("/api/memory/events",              "of lab",       "of gone"),
        ("/api/memory/events/unresolved",   "of lab",       "of gone"),
        ("/api/monitor/actions",            "in_lab",       "in_gone"),
        ("/api/v1/events",                  "of lab",       "of gone"),
        ("/api/v1/events?cluster=gone",     "",             "of gone"),
        ("/api/v1/actions",                 "in_lab",       "in_gone"),
    ];
    for (path, both, gone) in table {
        for (who, sees) in [("local", false), ("everywhere", true)] {
            let reply = fixture.get(path, &fixture.token_of(who).await).await;
            assert_eq!(reply.status, 200, "{path} {who}: {}", reply.body);
            assert!(reply.body.contains(both), "{path} {who}: {}", reply.body);
            assert_eq!(reply.body.contains(gone), sees, "{path} {who}: {}", reply.body);
        }
    }
    for (who, expected) in [("local", false), ("everywhere", true)] {
        let auth = format!(r#"{{"token":"{}","since":0,"clusters":"all"}}"#, fixture.token_of(who).await);
        let socket = fixture.join("/events", &auth).await;
        let mut heard = socket.hear_until("42/events,").await;
        while !heard.iter().any(|packet| packet.contains("of none")) {
            heard.extend(socket.hear().await);
        }
        assert_eq!(heard.iter().any(|packet| packet.contains("of gone")), expected, "{who}: {heard:?}");
    }
    fixture.stop().await;
}

#[tokio::test]
async fn whoever_may_not_act_somewhere_learns_nothing_of_it() {
    let fixture = Fixture::new().await;
    fixture.user("local", Role::Operator, Some(&[edge()])).await;
    let bearer = format!("Authorization: Bearer {}", fixture.token_of("local").await);
    let post = async |path: &str, body: &str| {
        let lines = [bearer.as_str(), "Content-Type: application/json"];
        fixture.call(&format!("POST {path}"), &lines, body).await.shown()
    };
    let unnamed = r#"400 {"error":"cluster must be named in args: there is edge","success":false}"#;
    let not_there = r#"400 {"error":"no cluster `lab` is watched: there is edge","success":false}"#;
    for (wish, refused) in [
        (r#"{"tool":"start_vm","args":{"node":"pve1","vmid":101}}"#, unnamed),
        (r#"{"tool":"wake_node","args":{"node":"pve1"}}"#, unnamed),
        (r#"{"tool":"wake_node","args":{"node":"pve1","cluster":"lab"}}"#, not_there),
    ] {
        assert_eq!(post("/api/tools/execute", wish).await, refused, "{wish}");
    }
    let token = post("/api/v1/tokens", r#"{"name":"x","clusters":["lab"]}"#).await;
    let guess = post("/api/v1/tokens", r#"{"name":"x","clusters":["zzz"]}"#).await;
    assert_eq!(token, guess, "a cluster that is there and one that is not");
    assert!(!guess.contains("lab"), "{guess}");
    fixture.stop().await;
    // Where there is one cluster, it is the one that is meant, also by who may not act there.
    let password = Some(Password::new(PASSWORD));
    let fixture = Fixture::of(Folder::new(), &["lab"], daemon::report::Limits::default(), password).await;
    fixture.user("local", Role::Operator, Some(&[edge()])).await;
    let wish = r#"{"tool":"start_vm","args":{"node":"pve1","vmid":101}}"#;
    let reply = fixture.ask("POST /api/tools/execute", &fixture.token_of("local").await, wish).await;
    let refused = r#"403 {"error":"local may not act in the cluster that is meant","success":false}"#;
    assert_eq!(reply.shown(), refused);
    fixture.stop().await;
}

#[tokio::test]
async fn nobody_s_calls_keep_the_kill_switch_from_being_set() {
    let fixture = Fixture::within(daemon::report::Limits { requests: 0, ..Default::default() }).await;
    let token = fixture.token();
    assert_eq!(fixture.get("/api/monitor/status", &token).await.status, 503, "all places are taken");
    let bearer = format!("Authorization: Bearer {token}");
    let set = fixture.call("PUT /api/monitor/killswitch", &[&bearer], r#"{"active":true}"#).await;
    assert_eq!(set.shown(), r#"200 {"killSwitch":true}"#);
    fixture.stop().await;
}

/// Counts of all clusters tell what happens in those that are none of theirs.
#[tokio::test]
async fn whoever_sees_some_clusters_is_told_no_count_of_all() {
    let fixture = Fixture::new().await;
    publish(&fixture, Timestamp::now());
    fixture.user("all", Role::Viewer, None).await;
    fixture.user("local", Role::Viewer, Some(&[edge()])).await;
    let (all, local) = (fixture.token_of("all").await, fixture.token_of("local").await);
    // A page that looks at the other cluster.
    let page = fixture.join("/cluster", &format!(r#"{{"token":"{all}"}}"#)).await;
    page.hear_until("42/cluster,").await;
    let families = async |token: &str| -> BTreeSet<String> {
        let metrics = fixture.get("/metrics", token).await;
        assert_eq!(metrics.status, 200);
        let samples = metrics.body.lines().filter(|line| !line.starts_with('#'));
        samples.map(|line| line.split(['{', ' ']).next().unwrap_or_default().to_owned()).collect()
    };
    let (every, own) = (families(&all).await, families(&local).await);
    let counted = |name: &&String| name.starts_with("jarvis_") || name.starts_with("process_");
    assert_eq!(
        own.iter().filter(counted).collect::<Vec<_>>(),
        ["jarvis_build_info", "jarvis_cluster_seen", "jarvis_kill_switch", "jarvis_store_failing"],
    );
    for name in ["jarvis_sessions", "jarvis_socket_clients", "jarvis_events_total", "jarvis_journal_head"] {
        assert!(every.contains(name), "{name} is not in {every:?}");
    }
    let sessions = fixture.get("/metrics", &all).await.body;
    assert!(sessions.contains("\njarvis_sessions 3\n"), "of the fixture, of all and of local: {sessions}");
    let health = async |token: &str| {
        let reply = fixture.get("/api/v1/health", token).await;
        let health: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
        format!("{} {}", health["store"], health["sockets"]["clients"])
    };
    assert_eq!(health(&local).await, r#"{"status":"ok"} 0"#);
    let told = health(&all).await;
    assert!(told.contains(r#""writes":"#) && told.ends_with(" 1"), "{told}");
    fixture.stop().await;
}
