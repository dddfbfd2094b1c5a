//! Logging in: by password, by the code from the log, and what a login is worth from its first second to its last.

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use daemon::record::Store;
use daemon::report::Limits;
use daemon::report::auth::{Attempt, Auth, Denied, Lane, Password, UserName};
use jiff::{SignedDuration, Timestamp};

use crate::harness::{Fixture, Folder, PASSWORD};
use crate::unwritable::refuse_writes;
use crate::{BAD_TOKEN, NO_TOKEN};

const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// As the server would: from loopback.
async fn log_in(auth: &Auth, name: &str, password: &str, now: Timestamp) -> Result<String, Denied> {
    let attempt = Attempt { name: name.into(), peer: HOME, lane: Lane::Stranger, page: false };
    Ok(auth.login(&attempt, Password::new(password), now).await?.token)
}

async fn open(folder: &Path, password: Option<&str>) -> (Store, Auth) {
    let store = Store::open(&folder.join("jarvis.db")).await.unwrap();
    let auth = Auth::open(folder, store.clone(), password.map(Password::new)).await.unwrap();
    auth.settle().await.unwrap();
    (store, auth)
}

#[tokio::test]
async fn each_way_to_present_a_token() {
    let fixture = Fixture::new().await;
    let token = fixture.token();
    let day = SignedDuration::from_hours(24);
    let admin = UserName::admin();
    let issued = async |ago| fixture.auth.issue(&admin, false, Timestamp::now() - ago).await.unwrap().token;
    let (expired, nearly) = (issued(day).await, issued(day - SignedDuration::from_secs(60)).await);
    let stranger = Fixture::new().await;
    let foreign = stranger.token();
    stranger.stop().await;
    let page = fixture.auth.issue(&admin, true, Timestamp::now()).await.unwrap().token;
    let table: [(&str, String, &str); 11] = [
        ("as the page does", format!("Authorization: Bearer {token}"), "200"),
        ("in other letters", format!("authorization: bearer {token}"), "200"),
        ("in its last minute", format!("Authorization: Bearer {nearly}"), "200"),
        ("expired", format!("Authorization: Bearer {expired}"), BAD_TOKEN),
        ("of another server with the same password", format!("Authorization: Bearer {foreign}"), BAD_TOKEN),
        ("without a scheme", format!("Authorization: {token}"), NO_TOKEN),
        ("another scheme", format!("Authorization: Basic {token}"), NO_TOKEN),
        ("empty", "Authorization: Bearer ".into(), NO_TOKEN),
        ("in a cookie", format!("Cookie: token={token}"), NO_TOKEN),
        ("in our own cookie", format!("Cookie: jarvis={token}"), BAD_TOKEN),
        ("a page's cookie as a token", format!("Authorization: Bearer {page}"), BAD_TOKEN),
    ];
    for (name, header, expected) in table {
        let reply = fixture.call("GET /api/monitor/status", &[&header], "").await;
        assert!(reply.shown().starts_with(expected), "{name}: {}", reply.shown());
    }
    fixture.stop().await;
}

#[tokio::test]
async fn a_login_gives_a_token_that_works() {
    let fixture = Fixture::new().await;
    for body in [
        format!(r#"{{"password":"{PASSWORD}"}}"#),
        format!(r#"{{"username":"admin","password":"{PASSWORD}"}}"#),
    ] {
        let reply = fixture.post("/api/auth/login", &body).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert!(reply.body.ends_with(r#"","expiresIn":86400}"#), "{}", reply.body);
        let token = reply.body.split('"').nth(3).unwrap();
        assert_eq!(fixture.get("/api/monitor/status", token).await.status, 200);
    }
    fixture.stop().await;
}

#[tokio::test]
async fn who_guesses_is_slowed_down_and_nobody_else() {
    let login_every = Duration::from_secs(600);
    let fixture = Fixture::within(Limits { login_every, ..Limits::default() }).await;
    let wrong = r#"{"password":"wrong"}"#;
    let right = format!(r#"{{"password":"{PASSWORD}"}}"#);
    let guess = async |peer: &str, body: &str| fixture.post_from(peer, "/api/auth/login", body).await;

    for n in 1..=5 {
        assert_eq!(
            guess("192.0.2.1", wrong).await.shown(),
            r#"401 {"error":"Invalid password"}"#,
            "guess {n}"
        );
    }
    let slowed = guess("192.0.2.1", wrong).await;
    assert_eq!(slowed.shown(), r#"429 {"error":"Too many attempts, try again later"}"#);
    let wait: u64 = slowed.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=600).contains(&wait), "{wait} s: nobody is locked out for good");
    assert_eq!(guess("192.0.2.1", &right).await.status, 429, "nor is the right guess told apart");
    assert_eq!(guess("192.0.2.2", &right).await.status, 200, "somebody else is not slowed down");

    for round in 1..=3 {
        for _ in 0..4 {
            assert_eq!(guess("192.0.2.3", wrong).await.status, 401, "round {round}");
        }
        assert_eq!(guess("192.0.2.3", &right).await.status, 200, "who knows the password starts afresh");
    }
    let named = r#"{"username":"root","password":"correct horse"}"#;
    assert_eq!(guess("192.0.2.4", named).await.shown(), r#"401 {"error":"Invalid password"}"#);
    fixture.stop().await;
}

#[tokio::test]
async fn the_first_password_is_set_with_the_code_and_only_once() {
    let fixture = Fixture::with(Limits::default(), None).await;
    let code = fixture.auth.take_setup_code().unwrap();
    assert_eq!(fixture.auth.take_setup_code(), None, "shown once");
    let body = |code: &str, password: &str| format!(r#"{{"code":"{code}","password":"{password}"}}"#);
    let early = fixture.post("/api/auth/login", r#"{"password":""}"#).await;
    assert_eq!(early.shown(), r#"409 {"error":"No password is set yet: use the setup code from the log"}"#);
    for (name, body, expected) in [
        (
            "a wrong code",
            body("AAAA-AAAA-AAAA-AAAA-AAAA", "a good password"),
            r#"401 {"error":"Invalid setup code"}"#,
        ),
        ("no code", body("", "a good password"), r#"401 {"error":"Invalid setup code"}"#),
        (
            "a short password",
            body(&code, "short"),
            r#"400 {"error":"The password must have 8 to 1024 bytes, and not blanks alone"}"#,
        ),
    ] {
        assert_eq!(
            fixture.post_from("192.0.2.1", "/api/auth/setup", &body).await.shown(),
            expected,
            "{name}"
        );
    }
    let set = fixture.post("/api/auth/setup", &body(&code.to_lowercase(), "a good password")).await;
    assert_eq!(set.status, 200, "{}", set.body);
    let token = set.body.split('"').nth(3).unwrap();
    assert_eq!(fixture.get("/api/monitor/status", token).await.status, 200);
    let again = fixture.post("/api/auth/setup", &body(&code, "another password")).await;
    assert_eq!(again.shown(), r#"409 {"error":"A password is already set"}"#);

    let preferences = fixture.get("/api/memory/preferences", token).await;
    assert_eq!(preferences.shown(), r#"200 {"preferences":[]}"#, "no secret is among what REST prints");
    let token = token.to_owned();
    let Fixture { server, store, folder, auth, .. } = fixture;
    server.shutdown().await;
    drop(auth);
    assert!(store.close().await);
    let (store, restarted) = open(folder.path(), None).await;
    assert_eq!(restarted.take_setup_code(), None, "there is a password");
    assert!(restarted.verify(&token, Timestamp::now()).is_some(), "a restart ends no login");
    assert!(log_in(&restarted, "admin", "a good password", Timestamp::now()).await.is_ok());
    assert!(store.close().await);
}

#[tokio::test]
async fn a_changed_password_ends_every_login() {
    let folder = Folder::new();
    let now = Timestamp::now();
    let (store, first) = open(folder.path(), Some("first password")).await;
    let token = log_in(&first, "admin", "first password", now).await.unwrap();
    store.close().await;
    let (store, same) = open(folder.path(), Some("first password")).await;
    assert!(same.verify(&token, now).is_some(), "a restart ends no login");
    store.close().await;

    let (store, second) = open(folder.path(), Some("second password")).await;
    assert_eq!(log_in(&second, "admin", "first password", now).await, Err(Denied::Wrong));
    assert_eq!(second.verify(&token, now), None);
    assert!(log_in(&second, "admin", "second password", now).await.is_ok());
    let empty = Auth::open(folder.path(), store.clone(), Some(Password::new(""))).await;
    assert!(empty.is_err(), "empty is no password");
    store.close().await;

    let (store, none) = open(folder.path(), None).await;
    assert!(none.take_setup_code().is_some(), "nothing of it was stored");
    assert_eq!(log_in(&none, "admin", "second password", now).await, Err(Denied::NotSetUp));
    store.close().await;
}

/// As the documents say: for as long as it is configured, and no longer.
#[tokio::test]
async fn a_configured_password_counts_while_it_is_configured_and_replaces_none() {
    let folder = Folder::new();
    let now = Timestamp::now();
    let admin = crate::harness::admin();
    let (store, auth) = open(folder.path(), None).await;
    let code = auth.take_setup_code().unwrap();
    auth.set_up(&code, Password::new("the stored one"), HOME, now).await.unwrap();
    let second = daemon::report::auth::NewUser {
        name: "root2".parse().unwrap(),
        role: daemon::report::caller::Role::Admin,
        clusters: None,
        password: Some(Password::new(PASSWORD)),
    };
    auth.add_user(&admin, second, now).await.unwrap();
    store.close().await;
    drop(auth);
    let steps: [(&str, Option<&str>, &str, &str); 5] = [
        ("configured", Some("the configured one"), "the configured one", "the stored one"),
        ("another one", Some("a changed one"), "a changed one", "the configured one"),
        ("the same one", Some("a changed one"), "a changed one", "the stored one"),
        ("taken out", None, "the stored one", "a changed one"),
        ("not there for long", None, "the stored one", "the configured one"),
    ];
    let mut last: Option<(Option<&str>, String)> = None;
    for (name, configured, good, bad) in steps {
        let (store, auth) = open(folder.path(), configured).await;
        assert_eq!(auth.take_setup_code(), None, "{name}");
        if let Some((before, token)) = last {
            assert_eq!(
                auth.verify(&token, now).is_some(),
                before == configured,
                "{name}: the login of before"
            );
        }
        assert_eq!(log_in(&auth, "admin", bad, now).await, Err(Denied::Wrong), "{name}");
        let shown = auth.users(&admin).unwrap();
        assert!(shown.iter().all(|user| user.password.is_some()), "{name}: admin has a password");
        last = Some((configured, log_in(&auth, "admin", good, now).await.expect(name)));
        store.close().await;
    }
    assert!(!folder.path().join("jarvis.configured").exists(), "nothing is left of it");

    let (store, auth) = open(folder.path(), None).await;
    let off = daemon::report::auth::UserPatch { disabled: Some(true), ..Default::default() };
    auth.change_user(&admin, &UserName::admin(), off, now).await.unwrap();
    assert_eq!(log_in(&auth, "admin", "the stored one", now).await, Err(Denied::Wrong));
    store.close().await;
    // Who is locked out is let in again, and stays so.
    for (configured, good) in [(Some("the configured one"), "the configured one"), (None, "the stored one")] {
        let (store, auth) = open(folder.path(), configured).await;
        assert!(log_in(&auth, "admin", good, now).await.is_ok(), "who was disabled, with {configured:?}");
        store.close().await;
    }
}

#[tokio::test]
async fn the_code_from_the_log_is_valid_for_a_day() {
    let folder = Folder::new();
    let (store, auth) = open(folder.path(), None).await;
    let code = auth.take_setup_code().unwrap();
    let (day, password) = (SignedDuration::from_hours(24), || Password::new("a good password"));
    let late = auth.set_up(&code, password(), HOME, Timestamp::now() + day).await;
    assert_eq!(late, Err(Denied::WrongCode));
    let nearly =
        auth.set_up(&code, password(), HOME, Timestamp::now() + day - SignedDuration::from_secs(60)).await;
    assert!(nearly.is_ok());
    store.close().await;
}

/// Earlier versions kept it in a file of its own.
#[tokio::test]
async fn the_password_file_is_taken_over_and_goes() {
    let folder = Folder::new();
    let (store, auth) = open(folder.path(), Some(PASSWORD)).await;
    store.close().await;
    drop(auth);
    let hash = std::fs::read_to_string(folder.path().join("jarvis.configured")).unwrap();
    let hash = hash.trim();
    assert!(hash.starts_with("$argon2id$") && !hash.contains(PASSWORD), "{hash}");
    let earlier = Folder::new();
    let file = earlier.path().join("jarvis.password");
    std::fs::write(&file, format!("{hash}\n")).unwrap();
    let (store, auth) = open(earlier.path(), None).await;
    assert_eq!(auth.take_setup_code(), None);
    assert!(!file.exists());
    assert!(log_in(&auth, "admin", PASSWORD, Timestamp::now()).await.is_ok());
    store.close().await;
    let said = sqlx_text(earlier.path(), "SELECT group_concat(entry) FROM journal").await;
    assert!(said.contains(r#""passwordTakenOver":true"#) && !said.contains("argon2id"), "{said}");
}

async fn sqlx_text(folder: &Path, sql: &'static str) -> String {
    use sqlx::Connection;
    let path = format!("sqlite://{}", folder.join("jarvis.db").display());
    let mut conn = sqlx::SqliteConnection::connect(&path).await.unwrap();
    sqlx::Row::get(&sqlx::query(sql).fetch_one(&mut conn).await.unwrap(), 0)
}

#[tokio::test]
async fn secrets_are_kept_to_their_owner() {
    let folder = Folder::new();
    let (store, auth) = open(folder.path(), Some(PASSWORD)).await;
    let (key, password) = (folder.path().join("jarvis.key"), folder.path().join("jarvis.password"));
    let again = async || Auth::open(folder.path(), store.clone(), Some(Password::new(PASSWORD))).await;
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&key), 0o600);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    again().await.unwrap();
    assert_eq!(mode(&key), 0o600, "closed again");
    for path in [&key, &password] {
        let text = std::fs::read(path).unwrap_or_default();
        std::fs::write(path, "damaged").unwrap();
        let error = format!("{:#}", again().await.unwrap_err());
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(error.contains(name) && !error.contains("damaged"), "{error}");
        std::fs::write(path, text).unwrap();
    }
    assert_eq!(format!("{auth:?} {:?}", Password::new(PASSWORD)), "Auth { .. } Password(..)");
    store.close().await;
}

#[tokio::test]
async fn a_login_that_ends_ends_its_sockets() {
    let fixture = Fixture::new().await;
    let ago = SignedDuration::from_hours(24) - SignedDuration::from_secs(4);
    let issued = fixture.auth.issue(&UserName::admin(), false, Timestamp::now() - ago).await;
    let token = issued.unwrap().token;
    let auth = format!(r#"{{"token":"{token}"}}"#);
    let (cluster, events) = tokio::join!(fixture.join("/cluster", &auth), fixture.join("/events", &auth));
    for (namespace, polling) in [("/cluster", cluster), ("/events", events)] {
        let heard = polling.hear_until(&format!("41{namespace},")).await;
        let expired = format!(r#"42{namespace},["auth_expired",{{"message":"Invalid or expired token"}}]"#);
        assert!(heard[0].starts_with(&format!("40{namespace},")), "let in first: {heard:?}");
        assert!(heard.contains(&expired), "{heard:?}");
        let again = fixture.join(namespace, &auth).await;
        let refused = format!(r#"44{namespace},{{"message":"Invalid or expired token"}}"#);
        assert_eq!(again.hear().await, [refused]);
    }
    fixture.page.watchers().wait_for(|clients| *clients == 0).await.unwrap();
    fixture.stop().await;
}

/// Who wants to stop something must be let in most of all when something is wrong.
#[tokio::test]
async fn a_store_that_cannot_be_written_keeps_nobody_out() {
    let folder = Folder::new();
    let fixture =
        Fixture::of(folder, &["lab", "edge"], Limits::default(), Some(Password::new("first password"))).await;
    fixture.user("bob", daemon::report::caller::Role::Operator, None).await;
    refuse_writes(fixture.folder.path()).await;
    let Fixture { server, store, folder, auth, .. } = fixture;
    server.shutdown().await;
    drop(auth);
    store.close().await;

    // The password was changed in the configuration, and cannot be stored.
    let store = Store::open(&folder.path().join("jarvis.db")).await.unwrap();
    let auth =
        Auth::open(folder.path(), store.clone(), Some(Password::new("second password"))).await.unwrap();
    let now = Timestamp::now();
    for (name, user, password, expected) in [
        ("the configured one", "admin", "second password", Ok(())),
        ("again", "admin", "second password", Ok(())),
        ("the one before it", "admin", "first password", Err(Denied::Wrong)),
        ("somebody who was there before", "bob", PASSWORD, Ok(())),
        ("a guess", "bob", "wrong", Err(Denied::Wrong)),
    ] {
        let token = log_in(&auth, user, password, now).await;
        assert_eq!(token.as_ref().map(|_| ()).map_err(|denied| *denied), expected, "{name}");
        if let Ok(token) = token {
            assert_eq!(&*auth.verify(&token, now).expect(name).caller.name, user, "{name}");
        }
    }
    store.close().await;
    drop(auth);

    // It is tried again at each start, and by whoever starts it.
    let fixture =
        Fixture::of(folder, &["lab", "edge"], Limits::default(), Some(Password::new("second password")))
            .await;
    let reply = fixture.post("/api/auth/login", r#"{"password":"second password"}"#).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    let token = reply.body.split('"').nth(3).unwrap().to_owned();
    assert_eq!(fixture.get("/api/monitor/status", &token).await.status, 200);
    let bearer = format!("Authorization: Bearer {token}");
    let stop = fixture.call("PUT /api/monitor/killswitch", &[&bearer], r#"{"active":true}"#).await;
    assert!(stop.body.ends_with(r#","killSwitch":true}"#), "everything stops: {}", stop.shown());
    let own = fixture.ask("DELETE /api/v1/session", &token, "").await;
    assert_eq!(own.status, 204, "nothing of it was stored that could come back: {}", own.body);
    assert_eq!(fixture.get("/api/monitor/status", &token).await.status, 401);
    fixture.stop().await;
}

/// The cookie of that name that an answer sets, as it is sent back.
fn kept(reply: &crate::harness::Reply, name: &str) -> Option<String> {
    let mut lines = reply.head.lines().filter_map(|line| line.strip_prefix("set-cookie: "));
    let line = lines.find(|line| line.starts_with(name))?;
    Some(format!("Cookie: {}", line.split(';').next().unwrap()))
}

/// One address for all: a household, or a proxy that nobody declared.
#[tokio::test]
async fn a_browser_that_is_known_is_let_in_while_its_neighbour_guesses() {
    let login_every = Duration::from_secs(600);
    let fixture = Fixture::within(Limits { login_every, ..Limits::default() }).await;
    fixture.user("eve", daemon::report::caller::Role::Viewer, None).await;
    let json = "Content-Type: application/json";
    let body = |user: &str, password: &str| format!(r#"{{"username":"{user}","password":"{password}"}}"#);
    let right = body("admin", PASSWORD);
    let first = fixture.post("/api/auth/login", &right).await;
    let admins = kept(&first, "jarvis-device=jrd_").expect("a browser is known after its first login");
    let line = first.header("set-cookie").unwrap();
    assert!(line.ends_with("; Path=/; Max-Age=2592000; HttpOnly; SameSite=Strict"), "{line}");
    let page = fixture.call("POST /api/v1/session", &[json], &body("eve", PASSWORD)).await;
    let eves = kept(&page, "jarvis-device=jrd_").expect("so does a page's login");
    let login = kept(&page, "jarvis=jrc_").expect("beside its own cookie");
    let refused = fixture.call("GET /api/v1/session", &[&admins], "").await;
    assert_eq!(refused.status, 401, "it lets nobody in: {}", refused.body);
    assert!(fixture.call("GET /api/v1/session", &[&login], "").await.body.contains(r#""user":"eve""#));

    while fixture.post("/api/auth/login", &body("admin", "wrong")).await.status == 401 {}
    for (name, call, lines, expected) in [
        ("a program at the same address", "POST /api/auth/login", vec![json], 429),
        ("with somebody else's cookie", "POST /api/auth/login", vec![json, &eves], 429),
        ("with one made up", "POST /api/auth/login", vec![json, "Cookie: jarvis-device=jrd_AAAA"], 429),
        ("with two", "POST /api/auth/login", vec![json, &admins, &eves], 429),
        ("the user's browser", "POST /api/auth/login", vec![json, &admins], 200),
        ("the user's browser, for a page", "POST /api/v1/session", vec![json, &admins], 200),
    ] {
        assert_eq!(fixture.call(call, &lines, &right).await.status, expected, "{name}");
    }
    let bad = body("admin", "wrong");
    let mut tries = 0;
    while fixture.call("POST /api/auth/login", &[json, &admins], &bad).await.status == 401 {
        tries += 1;
    }
    assert_eq!(tries, 5, "a stolen one is no end of guesses");
    fixture.stop().await;

    let fixture = Fixture::with(Limits { login_every, ..Limits::default() }, None).await;
    let code = fixture.auth.take_setup_code().unwrap();
    let body = format!(r#"{{"code":"{code}","password":"{PASSWORD}"}}"#);
    let set = fixture.post_from("192.0.2.1", "/api/auth/setup", &body).await;
    assert!(kept(&set, "jarvis-device=jrd_").is_some(), "who set the first password is known: {}", set.head);
    for n in 1..=20 {
        fixture.post_from(&format!("10.0.0.{n}"), "/api/auth/login", &bad).await;
    }
    assert_eq!(fixture.post_from("192.0.2.9", "/api/auth/login", &right).await.status, 429);
    assert_eq!(
        fixture.post_from("192.0.2.1", "/api/auth/login", &right).await.status,
        200,
        "so is the place"
    );
    fixture.stop().await;
}
