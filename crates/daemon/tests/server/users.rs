//! Users and API tokens through their calls: made, changed, ended, and what the journal says of it.

use daemon::report::caller::Role;
use serde_json::Value;

use crate::harness::{Fixture, PASSWORD, edge, lab};

const NEW: &str = "correct horse battery";

fn json(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

/// The title and detail of a problem, or the status alone.
fn problem(reply: &crate::harness::Reply) -> String {
    if reply.header("content-type") != Some("application/problem+json") {
        return format!("{} (no problem)", reply.status);
    }
    let body = json(&reply.body);
    assert_eq!(body["status"], reply.status, "{}", reply.body);
    format!("{} {}", reply.status, body["detail"].as_str().unwrap())
}

#[tokio::test]
async fn a_user_is_made_changed_and_removed() {
    let fixture = Fixture::new().await;
    let admin = fixture.token();
    let made =
        r#"{"name":"bob@example.org","role":"operator","clusters":["lab"],"password":"correct horse"}"#;
    let reply = fixture.ask("POST /api/v1/users", &admin, made).await;
    assert_eq!(reply.status, 201, "{}", reply.body);
    assert_eq!(reply.header("location"), Some("/api/v1/users/bob@example.org"));
    let bob = json(&reply.body);
    assert_eq!(
        (&bob["role"], &bob["clusters"], &bob["hasPassword"]),
        (&"operator".into(), &serde_json::json!(["lab"]), &true.into())
    );
    assert!(!reply.body.contains("argon2") && !reply.body.contains(PASSWORD));

    let login = |password: &str| format!(r#"{{"username":"bob@example.org","password":"{password}"}}"#);
    let token = fixture.post("/api/auth/login", &login(PASSWORD)).await;
    let token = json(&token.body)["token"].as_str().unwrap().to_owned();
    let who = json(&fixture.get("/api/v1/session", &token).await.body);
    assert_eq!(
        (&who["user"], &who["role"], &who["csrf"]),
        (&"bob@example.org".into(), &"operator".into(), &Value::Null)
    );

    let path = "/api/v1/users/bob@example.org";
    let changed = fixture.ask(&format!("PATCH {path}"), &admin, r#"{"role":"viewer","clusters":null}"#).await;
    assert_eq!(json(&changed.body)["clusters"], Value::Null);
    assert_eq!(fixture.get("/api/v1/session", &token).await.status, 401, "another role ends the logins");
    let listed = json(&fixture.get("/api/v1/users", &admin).await.body);
    let names: Vec<_> =
        listed["items"].as_array().unwrap().iter().map(|user| user["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["admin", "bob@example.org"]);

    let token = fixture.token_of("bob@example.org").await;
    let own = format!(r#"{{"old":"{PASSWORD}","new":"{NEW}"}}"#);
    let other = fixture.token_of("bob@example.org").await;
    assert_eq!(fixture.ask(&format!("POST {path}/password"), &token, &own).await.status, 204);
    assert_eq!(fixture.get("/api/v1/session", &token).await.status, 200, "the login that asked goes on");
    assert_eq!(fixture.get("/api/v1/session", &other).await.status, 401, "the others do not");
    assert_eq!(fixture.post("/api/auth/login", &login(PASSWORD)).await.status, 401);
    assert_eq!(fixture.post("/api/auth/login", &login(NEW)).await.status, 200);
    let set =
        fixture.ask(&format!("POST {path}/password"), &admin, &format!(r#"{{"new":"{PASSWORD}"}}"#)).await;
    assert_eq!(set.status, 204, "an admin needs no old one: {}", set.body);
    assert_eq!(fixture.get("/api/v1/session", &token).await.status, 401);

    assert_eq!(fixture.ask(&format!("DELETE {path}"), &admin, "").await.status, 204);
    assert_eq!(
        fixture.post("/api/auth/login", &login(PASSWORD)).await.shown(),
        r#"401 {"error":"Invalid password"}"#
    );
    let rows = fixture.store.get_recent_events(10).await.unwrap();
    assert!(rows.is_empty(), "nothing of it is an event");
    let said = journal(fixture).await;
    let did: Vec<_> = said
        .iter()
        .map(|entry| format!("{} {} {}", entry["by"], entry["via"], entry["did"]).replace('"', ""))
        .collect();
    assert_eq!(
        did[2..],
        [
            "admin login userAdded",
            "admin login userChanged",
            "bob@example.org login passwordSet",
            "admin login passwordSet",
            "admin login userRemoved",
        ]
    );
}

/// A token that somebody finds, or that is about to end, must not be able to go on under another name.
#[tokio::test]
async fn a_token_gives_nobody_what_would_outlive_it() {
    const GIVES: &str =
        "403 an API token gives nobody anything that would outlive it: log in with a password for this";
    const OTHERS: &str = "403 an API token ends itself, and no other: log in with a password for this";
    let fixture = Fixture::new().await;
    fixture.user("bob", Role::Operator, None).await;
    fixture.user("eve", Role::Operator, Some(&[lab()])).await;
    fixture.user("gone", Role::Viewer, None).await;
    let (admin, bob) = (fixture.token(), fixture.token_of("bob").await);
    assert_eq!(fixture.ask("PATCH /api/v1/users/gone", &admin, r#"{"disabled":true}"#).await.status, 200);
    let make = async |login: &str, body: &str| {
        let made = json(&fixture.ask("POST /api/v1/tokens", login, body).await.body);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&made["secret"]), text(&made["token"]["id"]))
    };
    let soon = r#"{"name":"of a day","expiresAt":"2100-01-01T00:00:00Z"}"#;
    let (own, own_id) = make(&bob, soon).await;
    let (_, sibling) = make(&bob, r#"{"name":"sibling"}"#).await;
    let (chief, chief_id) = make(&admin, soon).await;
    let (_, admins) = make(&admin, r#"{"name":"another of admin's"}"#).await;
    let end = |id: &str| format!("DELETE /api/v1/tokens/{id}");
    let new_password = format!(r#"{{"old":"{PASSWORD}","new":"{NEW}"}}"#);
    let (token, user) =
        ("POST /api/v1/tokens".to_owned(), |name: &str| format!("PATCH /api/v1/users/{name}"));
    #[rustfmt::skip]
    let table: [(&str, &str, String, &str, &str); 20] = [
        ("a token for ever",             &own,   token.clone(), r#"{"name":"x"}"#, GIVES),
        ("one that ends before it",      &own,   token.clone(), r#"{"name":"x","expiresAt":"2099-01-01T00:00:00Z"}"#, GIVES),
        ("one that may less",            &own,   token.clone(), r#"{"name":"x","role":"viewer"}"#, GIVES),
        ("an admin's makes a token",     &chief, token.clone(), r#"{"name":"x"}"#, GIVES),
        ("and one for somebody else",    &chief, token, r#"{"name":"x","user":"bob"}"#, GIVES),
        ("a user",                       &chief, "POST /api/v1/users".into(), r#"{"name":"x","role":"admin","password":"correct horse"}"#, GIVES),
        ("more of a role",               &chief, user("bob"), r#"{"role":"admin"}"#, GIVES),
        ("more clusters",                &chief, user("eve"), r#"{"clusters":null}"#, GIVES),
        ("a way back in",                &chief, user("gone"), r#"{"disabled":false}"#, GIVES),
        ("somebody's password",          &chief, "POST /api/v1/users/bob/password".into(), r#"{"new":"correct horse"}"#, GIVES),
        ("one's own password",           &own,   "POST /api/v1/users/bob/password".into(), &new_password, GIVES),
        ("ends a sibling",               &own,   end(&sibling), "", OTHERS),
        ("ends one of somebody else",    &own,   end(&admins), "", "404 there is no such token"),
        ("less of a role",               &chief, user("bob"), r#"{"role":"viewer"}"#, "200"),
        ("fewer clusters",               &chief, user("bob"), r#"{"clusters":["lab"]}"#, "200"),
        ("an admin's ends anybody's",    &chief, end(&sibling), "", "204"),
        ("and a sibling of its own",     &chief, end(&admins), "", "204"),
        ("it ends itself",               &own,   end(&own_id), "", "204"),
        ("puts somebody out",            &chief, user("bob"), r#"{"disabled":true}"#, "200"),
        ("and itself",                   &chief, end(&chief_id), "", "204"),
    ];
    for (name, secret, call, body, expected) in table {
        let reply = fixture.ask(&call, secret, body).await;
        let said = if reply.status < 300 { reply.status.to_string() } else { problem(&reply) };
        assert_eq!(said, expected, "{name}");
    }
    for (name, secret) in [("bob's", &own), ("admin's", &chief)] {
        assert_eq!(fixture.get("/api/v1/session", secret).await.status, 401, "{name} is over");
    }
    let listed = json(&fixture.get("/api/v1/tokens", &admin).await.body);
    assert_eq!(listed["items"].as_array().unwrap().len(), 4, "none was made by another");
    fixture.stop().await;
}

/// What operators did, in its order; no secret is in it.
async fn journal(fixture: Fixture) -> Vec<Value> {
    use sqlx::{Connection, Row};
    let Fixture { server, store, folder, auth, .. } = fixture;
    server.shutdown().await;
    drop(auth);
    assert!(store.close().await);
    let path = format!("sqlite://{}", folder.path().join("jarvis.db").display());
    let mut conn = sqlx::SqliteConnection::connect(&path).await.unwrap();
    let rows = sqlx::query("SELECT entry FROM journal WHERE kind = 'operator' ORDER BY seq");
    let rows = rows.fetch_all(&mut conn).await.unwrap();
    let rows: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    for row in &rows {
        for secret in ["argon2", PASSWORD, NEW, "jrv_", "jrs_"] {
            assert!(!row.contains(secret), "{row}");
        }
    }
    daemon::record::verify(&folder.path().join("jarvis.db")).await.unwrap();
    rows.iter().map(|row| json(row)).collect()
}

#[tokio::test]
async fn each_way_in_which_a_change_of_users_is_refused() {
    let fixture = Fixture::new().await;
    fixture.user("bob", Role::Operator, None).await;
    fixture.user("local-admin", Role::Admin, Some(&[edge()])).await;
    let (admin, bob, local) =
        (fixture.token(), fixture.token_of("bob").await, fixture.token_of("local-admin").await);
    let user = |name: &str| format!(r#"{{"name":{name},"role":"viewer"}}"#);
    let long = "a".repeat(65);
    let named =
        "400 a user's name has 1 to 64 of a-z, 0-9, `.`, `_`, `-`, `@`, and begins with a letter or digit";
    let shape = r#"400 The body must be JSON: {"name": TEXT, "role": "viewer"|"operator"|"admin", "clusters": null|[TEXT], "password": null|TEXT}"#;
    let last = "409 admin is always there, as an admin of all clusters: another admin may disable it";
    let table: [(&str, &str, &str, String, &str); 24] = [
        (
            "an operator",
            &bob,
            "POST /api/v1/users",
            user(r#""eve""#),
            "403 This needs the role admin; bob has the role operator",
        ),
        (
            "an admin of one cluster",
            &local,
            "POST /api/v1/users",
            user(r#""eve""#),
            "403 local-admin may not do this",
        ),
        (
            "an admin of one cluster looks",
            &local,
            "GET /api/v1/users",
            String::new(),
            "403 local-admin may not do this",
        ),
        (
            "a name that is there",
            &admin,
            "POST /api/v1/users",
            user(r#""bob""#),
            "409 there is a user of that name already",
        ),
        ("a header in a name", &admin, "POST /api/v1/users", user(r#""bob\r\nX-Evil: 1""#), named),
        ("a path in a name", &admin, "POST /api/v1/users", user(r#""../bob""#), named),
        ("a name that is too long", &admin, "POST /api/v1/users", user(&format!("{long:?}")), named),
        (
            "a role that is none",
            &admin,
            "POST /api/v1/users",
            r#"{"name":"eve","role":"root"}"#.into(),
            shape,
        ),
        (
            "a field that is none",
            &admin,
            "POST /api/v1/users",
            r#"{"name":"eve","role":"viewer","admin":true}"#.into(),
            shape,
        ),
        (
            "a cluster that is none",
            &admin,
            "POST /api/v1/users",
            r#"{"name":"eve","role":"viewer","clusters":["lap"]}"#.into(),
            "400 no such cluster is watched; there are lab, edge",
        ),
        (
            "a short password",
            &admin,
            "POST /api/v1/users",
            r#"{"name":"eve","role":"viewer","password":"short"}"#.into(),
            "400 The password must have 8 to 1024 bytes, and not blanks alone",
        ),
        (
            "a password of blanks",
            &admin,
            "POST /api/v1/users",
            r#"{"name":"eve","role":"viewer","password":"        "}"#.into(),
            "400 The password must have 8 to 1024 bytes, and not blanks alone",
        ),
        (
            "a password of other blanks",
            &admin,
            "POST /api/v1/users/bob/password",
            r#"{"new":"\u00a0\u2003\t\u3000\n \u0000"}"#.into(),
            "400 The password must have 8 to 1024 bytes, and not blanks alone",
        ),
        (
            "nobody",
            &admin,
            "PATCH /api/v1/users/eve",
            r#"{"role":"viewer"}"#.into(),
            "404 there is no user of that name",
        ),
        (
            "a name that can be none",
            &admin,
            "DELETE /api/v1/users/..%2f..%2fetc",
            String::new(),
            "404 there is no user of that name",
        ),
        ("admin removed", &admin, "DELETE /api/v1/users/admin", String::new(), last),
        ("admin demoted", &admin, "PATCH /api/v1/users/admin", r#"{"role":"viewer"}"#.into(), last),
        ("admin of one cluster", &admin, "PATCH /api/v1/users/admin", r#"{"clusters":["lab"]}"#.into(), last),
        (
            "admin disabled, who is configured",
            &admin,
            "PATCH /api/v1/users/admin",
            r#"{"disabled":true}"#.into(),
            "409 admin's password is given by the configuration (JARVIS_PASSWORD, password_file): change it there, or take it out first",
        ),
        (
            "admin's password, which is configured",
            &admin,
            "POST /api/v1/users/admin/password",
            format!(r#"{{"old":"{PASSWORD}","new":"{NEW}"}}"#),
            "409 admin's password is given by the configuration (JARVIS_PASSWORD, password_file): change it there, or take it out first",
        ),
        (
            "one's own password without the old one",
            &bob,
            "POST /api/v1/users/bob/password",
            format!(r#"{{"new":"{NEW}"}}"#),
            "403 Invalid password",
        ),
        (
            "one's own password with a wrong one",
            &bob,
            "POST /api/v1/users/bob/password",
            format!(r#"{{"old":"wrong","new":"{NEW}"}}"#),
            "403 Invalid password",
        ),
        (
            "somebody else's password",
            &bob,
            "POST /api/v1/users/admin/password",
            format!(r#"{{"old":"{PASSWORD}","new":"{NEW}"}}"#),
            "403 bob may not do this",
        ),
        ("a body that is no JSON", &admin, "POST /api/v1/users", "name=eve".into(), shape),
    ];
    for (name, token, call, body, expected) in table {
        assert_eq!(problem(&fixture.ask(call, token, &body).await), expected, "{name}");
    }
    let form = fixture
        .call(
            "POST /api/v1/users",
            &[&format!("Authorization: Bearer {admin}"), "Content-Type: text/plain"],
            "{}",
        )
        .await;
    assert_eq!(problem(&form), "415 Send the body as JSON, with Content-Type: application/json");
    fixture.stop().await;
}

#[tokio::test]
async fn the_last_admin_stays() {
    let fixture = Fixture::with(Default::default(), None).await;
    let code = fixture.auth.take_setup_code().unwrap();
    let set =
        fixture.post("/api/auth/setup", &format!(r#"{{"code":"{code}","password":"{PASSWORD}"}}"#)).await;
    let admin = json(&set.body)["token"].as_str().unwrap().to_owned();
    let disable = r#"{"disabled":true}"#;
    let last = "409 this is the last admin who can log in: make another one first";
    assert_eq!(problem(&fixture.ask("PATCH /api/v1/users/admin", &admin, disable).await), last);
    fixture.user("chief", Role::Admin, None).await;
    assert_eq!(fixture.ask("PATCH /api/v1/users/admin", &admin, disable).await.status, 200);
    assert_eq!(fixture.get("/api/v1/session", &admin).await.status, 401, "at once");
    let body = format!(r#"{{"password":"{PASSWORD}"}}"#);
    assert_eq!(fixture.post("/api/auth/login", &body).await.shown(), r#"401 {"error":"Invalid password"}"#);
    let chief = fixture.token_of("chief").await;
    for (call, body) in [
        ("DELETE", ""),
        ("PATCH", r#"{"role":"operator"}"#),
        ("PATCH", disable),
        ("PATCH", r#"{"clusters":["lab"]}"#),
    ] {
        let reply = fixture.ask(&format!("{call} /api/v1/users/chief"), &chief, body).await;
        assert_eq!(problem(&reply), last, "{call} {body}");
    }
    fixture.stop().await;
}

#[tokio::test]
async fn a_token_is_shown_once_and_has_no_more_than_its_user() {
    let fixture = Fixture::new().await;
    fixture.user("bob", Role::Operator, Some(&[lab()])).await;
    let (admin, bob) = (fixture.token(), fixture.token_of("bob").await);
    let more =
        "403 a token may not have more than its user and whoever makes it: a lesser role, or fewer clusters";
    let table: [(&str, &str, &str, &str); 10] = [
        ("a role above one's own", &bob, r#"{"name":"x","role":"admin"}"#, more),
        (
            "a cluster that is not one's own",
            &bob,
            r#"{"name":"x","clusters":["edge"]}"#,
            "400 no such cluster is watched; there are lab",
        ),
        ("somebody else's", &bob, r#"{"name":"x","user":"admin"}"#, "403 bob may not do this"),
        ("more than its user, by an admin", &admin, r#"{"name":"x","user":"bob","role":"admin"}"#, more),
        ("of nobody", &admin, r#"{"name":"x","user":"eve"}"#, "404 there is no user of that name"),
        (
            "without a name",
            &bob,
            r#"{"name":" "}"#,
            "400 a token's name has 1 to 64 bytes, on one line, without signs that are not seen",
        ),
        (
            "with a header in its name",
            &bob,
            r#"{"name":"x\r\nX-Evil: 1"}"#,
            "400 a token's name has 1 to 64 bytes, on one line, without signs that are not seen",
        ),
        (
            "that turns the reading direction",
            &bob,
            r#"{"name":"x\u202etxt"}"#,
            "400 a token's name has 1 to 64 bytes, on one line, without signs that are not seen",
        ),
        (
            "that has ended",
            &bob,
            r#"{"name":"x","expiresAt":"2020-01-01T00:00:00Z"}"#,
            "400 a token ends in the future, or never",
        ),
        (
            "with an end that is none",
            &bob,
            r#"{"name":"x","expiresAt":"soon"}"#,
            "400 The body must be JSON: ",
        ),
    ];
    for (name, token, body, expected) in table {
        let said = problem(&fixture.ask("POST /api/v1/tokens", token, body).await);
        assert!(said.starts_with(expected), "{name}: {said}");
    }
    let reply = fixture.ask("POST /api/v1/tokens", &bob, r#"{"name":"script","role":"viewer"}"#).await;
    assert_eq!(reply.status, 201, "{}", reply.body);
    let made = json(&reply.body);
    let secret = made["secret"].as_str().unwrap();
    assert!(secret.starts_with("jrv_") && secret.len() == 47, "{secret}");
    assert_eq!(
        (&made["token"]["role"], &made["token"]["clusters"]),
        (&"viewer".into(), &serde_json::json!(["lab"]))
    );
    assert_eq!(fixture.get("/api/monitor/status", secret).await.status, 200);
    let listed = fixture.get("/api/v1/tokens", &bob).await.body;
    assert!(!listed.contains("jrv_") && listed.contains(r#""lastUsedAt":"2"#), "{listed}");
    assert!(fixture.get("/api/v1/tokens", &admin).await.body.contains("script"), "an admin sees everybody's");

    let out = fixture.ask("POST /api/auth/logout", secret, "").await;
    assert_eq!(
        out.shown(),
        r#"400 {"error":"an API token is no login: revoke it with DELETE /api/v1/tokens/ID"}"#
    );

    let path = format!("DELETE /api/v1/tokens/{}", made["token"]["id"].as_str().unwrap());
    fixture.user("eve", Role::Operator, None).await;
    let eve = fixture.token_of("eve").await;
    assert_eq!(
        problem(&fixture.ask(&path, &eve, "").await),
        "404 there is no such token",
        "nor does eve learn of it"
    );
    let auth = format!(r#"{{"token":"{secret}"}}"#);
    let socket = fixture.join("/events", &auth).await;
    socket.hear_until("40/events,").await;
    assert_eq!(fixture.ask(&path, &bob, "").await.status, 204);
    assert_eq!(fixture.get("/api/monitor/status", secret).await.status, 401, "at once");
    let heard = socket.hear_until("41/events,").await;
    assert!(heard.iter().any(|packet| packet.contains("auth_expired")), "{heard:?}");
    assert!(fixture.get("/api/v1/tokens", &bob).await.body.contains(r#""revokedAt":"2"#));
    let said = journal(fixture).await;
    let did: Vec<_> = said.iter().map(|entry| entry["did"].as_str().unwrap()).collect();
    assert_eq!(did[3..], ["tokenAdded", "userAdded", "tokenRevoked"]);
}
