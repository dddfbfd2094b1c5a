//! A store that takes no writes: what takes something away works all the same, at once, and whoever asked for it is told that
//! it was not stored; what gives something is refused.

use std::path::Path;
use std::time::Duration;

use daemon::record::Store;
use daemon::report::Limits;
use daemon::report::auth::{Attempt, Auth, Lane, Password};
use daemon::report::caller::Role;
use jiff::Timestamp;
use serde_json::Value;

use crate::BAD_TOKEN;
use crate::harness::{Fixture, PASSWORD};

/// A disk that is full, a file system that became read-only: what is asked of the store is answered, what is written fails.
pub(crate) async fn refuse_writes(folder: &Path) {
    for (table, what) in on_each_table(folder).await {
        let rule = format!(
            "CREATE TRIGGER refused_{table}_{what} BEFORE {what} ON {table} \
             BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        );
        run(folder, rule).await;
    }
}

/// There is room again.
async fn take_writes(folder: &Path) {
    for (table, what) in on_each_table(folder).await {
        run(folder, format!("DROP TRIGGER refused_{table}_{what}")).await;
    }
}

async fn on_each_table(folder: &Path) -> Vec<(String, &'static str)> {
    use sqlx::Row;
    let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    let tables = sqlx::query(sql).fetch_all(&mut connect(folder).await).await.unwrap();
    let each = |table: String| ["INSERT", "UPDATE", "DELETE"].map(|what| (table.clone(), what));
    tables.iter().flat_map(|row| each(row.get::<String, _>(0))).collect()
}

async fn run(folder: &Path, sql: String) {
    sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut connect(folder).await).await.unwrap();
}

async fn connect(folder: &Path) -> sqlx::SqliteConnection {
    let path = format!("sqlite://{}", folder.join("jarvis.db").display());
    <sqlx::SqliteConnection as sqlx::Connection>::connect(&path).await.unwrap()
}

const ON: &str = r#"{"active":true}"#;
const OFF: &str = r#"{"active":false}"#;
const ON_UNSTORED: &str = r#"503 {"error":"The kill switch is on, until the next restart of Jarvis: it could not be stored (the log says why); set it once more when the store can be written","killSwitch":true}"#;

#[tokio::test]
async fn the_kill_switch_stops_at_once_and_goes_off_only_when_that_is_stored() {
    let fixture = Fixture::new().await;
    let folder = fixture.folder.path().to_owned();
    let switch = async |body| fixture.set("PUT /api/monitor/killswitch", body).await;
    let preference = async |value: &str| {
        let body = format!(r#"{{"value":"{value}"}}"#);
        fixture.set("PUT /api/memory/preferences/autonomy.killSwitch", &body).await
    };
    let shown = async |on: bool, name: &str| {
        let status = fixture.get("/api/monitor/status", &fixture.token()).await.body;
        assert!(status.contains(&format!(r#""killSwitch":{on}"#)), "{name}: {status}");
        assert_eq!(fixture.live.halted(), on, "{name}");
        // An answer is shared for a second.
        let expected = format!("\njarvis_kill_switch {}\n", u8::from(on));
        for _ in 0..100 {
            if fixture.get("/metrics", &fixture.token()).await.body.contains(&expected) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{name}: /metrics does not say it");
    };
    let mut halts = fixture.live.halts();
    shown(false, "to begin with").await;
    refuse_writes(&folder).await;
    assert_eq!(switch(ON).await, ON_UNSTORED);
    assert!(halts.has_changed().unwrap() && *halts.borrow_and_update(), "who acts is woken");
    shown(true, "on, unstored").await;
    assert_eq!(switch(ON).await, ON_UNSTORED, "again");
    for refused in [switch(OFF).await, preference("false").await] {
        assert_eq!(refused, r#"500 {"error":"The store did not answer; the log says why"}"#);
        shown(true, "off is stored first").await;
    }
    take_writes(&folder).await;
    assert_eq!(switch(ON).await, r#"200 {"killSwitch":true}"#);
    assert_eq!(switch(OFF).await, r#"200 {"killSwitch":false}"#);
    shown(false, "off, stored").await;
    assert!(preference("true").await.starts_with("200 "));
    shown(true, "by the preference").await;

    // What is stored is in force from the start.
    let Fixture { server, store, folder, auth, .. } = fixture;
    server.shutdown().await;
    drop(auth);
    store.close().await;
    let again = Fixture::of(folder, &["lab", "edge"], Limits::default(), Some(Password::new(PASSWORD))).await;
    assert!(again.live.halted());
    again.stop().await;
}

/// What is in the way of being let in, for somebody of whom something was taken.
struct Left {
    user: String,
    token: String,
    api: String,
    id: String,
}

#[tokio::test]
async fn who_is_put_out_is_out_at_once_and_stays_so_when_there_is_room_again() {
    let fixture = Fixture::new().await;
    let folder = fixture.folder.path().to_owned();
    let admin = fixture.token();
    let unstored = "this is in force, and could not be stored (the log says why): until it is, which is tried at each change of \
                    users, a restart of Jarvis would undo it";
    // Whether the password is good for a login afterwards, and the token for a call.
    #[rustfmt::skip]
    let changes: [(&str, &str, &str, bool, bool); 7] = [
        ("disabled",         "PATCH /api/v1/users/USER",         r#"{"disabled":true}"#,         false, false),
        ("less",             "PATCH /api/v1/users/USER",         r#"{"role":"viewer"}"#,         true,  true),
        ("fewer clusters",   "PATCH /api/v1/users/USER",         r#"{"clusters":["edge"]}"#,     true,  true),
        ("another password", "POST /api/v1/users/USER/password", r#"{"new":"another password"}"#, false, true),
        ("removed",          "DELETE /api/v1/users/USER",        "",                             false, false),
        ("a token revoked",  "DELETE /api/v1/tokens/ID",         "",                             true,  false),
        ("logged out",       "DELETE /api/v1/session",           "",                             true,  true),
    ];
    let mut all = Vec::new();
    for number in 0..changes.len() {
        let user = format!("user{number}");
        fixture.user(&user, Role::Operator, None).await;
        let token = fixture.token_of(&user).await;
        let made = fixture.ask("POST /api/v1/tokens", &token, r#"{"name":"script"}"#).await;
        let made: Value = serde_json::from_str(&made.body).unwrap();
        let [api, id] = [&made["secret"], &made["token"]["id"]].map(|text| text.as_str().unwrap().to_owned());
        all.push(Left { user, token, api, id });
    }
    refuse_writes(&folder).await;
    let home = std::net::Ipv4Addr::LOCALHOST.into();
    let knows = async |left: &Left| {
        let attempt = Attempt { name: left.user.clone(), peer: home, lane: Lane::Known, page: false };
        fixture.auth.login(&attempt, Password::new(PASSWORD), Timestamp::now()).await.is_ok()
    };
    for ((name, call, body, password, token), left) in changes.into_iter().zip(&all) {
        let auth = format!(r#"{{"token":"{}"}}"#, left.token);
        let socket = fixture.join("/events", &auth).await;
        socket.hear_until("40/events,").await;
        let call = call.replace("USER", &left.user).replace("ID", &left.id);
        let by = if name == "logged out" { &left.token } else { &admin };
        let reply = fixture.ask(&call, by, body).await;
        assert_eq!(reply.status, 503, "{name}: {}", reply.body);
        assert!(reply.body.contains(unstored), "{name}: {}", reply.body);
        if name != "a token revoked" {
            assert_eq!(fixture.get("/api/monitor/status", &left.token).await.shown(), BAD_TOKEN, "{name}");
            let heard = socket.hear_until("41/events,").await;
            assert!(heard.iter().any(|packet| packet.contains("auth_expired")), "{name}: {heard:?}");
        }
        let shown = fixture.get("/api/monitor/status", &left.api).await.status == 200;
        assert_eq!((knows(left).await, shown), (password, token), "{name}");
        // Asking once more does not make it sound as if it were stored by now.
        if name != "logged out" {
            assert_eq!(fixture.ask(&call, &admin, body).await.status, 503, "{name} again");
        }
    }
    for (name, call, body) in [
        ("a user", "POST /api/v1/users", r#"{"name":"eve","role":"viewer"}"#),
        ("more", "PATCH /api/v1/users/user1", r#"{"role":"admin"}"#),
        ("back again", "PATCH /api/v1/users/user0", r#"{"disabled":false}"#),
        ("a token", "POST /api/v1/tokens", r#"{"name":"script"}"#),
    ] {
        let reply = fixture.ask(call, &admin, body).await;
        assert_eq!(reply.status, 500, "{name}: {}", reply.body);
    }
    assert!(!knows(&all[0]).await, "what gives something is stored first");

    // There is room: the next change takes the others along, and their rows of the journal.
    take_writes(&folder).await;
    assert_eq!(
        fixture.ask("DELETE /api/v1/users/user4", &admin, "").await.status,
        204,
        "by now it is stored"
    );
    let did: Vec<String> =
        fixture.operated().iter().filter_map(|row| Some(row.split(' ').nth(2)?.to_owned())).collect();
    let taken = ["userChanged", "userChanged", "userChanged", "passwordSet", "userRemoved", "tokenRevoked"];
    for what in taken {
        let expected = taken.iter().filter(|other| **other == what).count();
        let seen = did.iter().filter(|did| *did == what).count();
        assert!(seen >= expected, "{what} {seen} times: {did:?}");
    }
    let Fixture { server, store, folder, auth, .. } = fixture;
    server.shutdown().await;
    drop(auth);
    store.close().await;
    let store = Store::open(&folder.path().join("jarvis.db")).await.unwrap();
    let auth = Auth::open(folder.path(), store.clone(), Some(Password::new(PASSWORD))).await.unwrap();
    let now = Timestamp::now();
    for ((name, _, _, _, token), left) in changes.into_iter().zip(&all) {
        let session = auth.verify(&left.token, now).is_some();
        assert_eq!(session, name == "a token revoked", "{name}: the login after a restart");
        assert_eq!(auth.verify(&left.api, now).is_some(), token, "{name}: the token after a restart");
    }
    store.close().await;
}
