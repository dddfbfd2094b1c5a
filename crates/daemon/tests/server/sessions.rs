//! Sessions of pages: their cookie, what guards it against other pages, tickets for sockets, and that what ends ends at
//! once.

use daemon::report::caller::Role;
use serde_json::Value;

use crate::harness::{DESK, Fixture, PASSWORD, Reply};
use crate::{BAD_TOKEN, NO_TOKEN};

const OWN: &str = "Origin: http://jarvis.lan";
const LOGIN: &str = r#"{"password":"correct horse"}"#;

struct Page {
    cookie: String,
    csrf: String,
}

/// The one cookie that an answer sets: its name with its value, and its attributes.
fn set(reply: &Reply) -> (String, String) {
    let line = reply.header("set-cookie").unwrap_or_else(|| panic!("no cookie: {}", reply.head));
    let (pair, attributes) = line.split_once("; ").unwrap();
    (pair.to_owned(), attributes.to_owned())
}

async fn log_in(fixture: &Fixture) -> Page {
    let reply = fixture.call("POST /api/v1/session", &[OWN, "Content-Type: application/json"], LOGIN).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    let body: Value = serde_json::from_str(&reply.body).unwrap();
    let (cookie, attributes) = set(&reply);
    assert_eq!(attributes, "Path=/; Max-Age=86400; HttpOnly; SameSite=Strict");
    assert!(cookie.starts_with("jarvis=jrc_"), "{cookie}");
    assert_eq!(
        (&body["user"], &body["role"], &body["clusters"]),
        (&"admin".into(), &"admin".into(), &Value::Null)
    );
    assert!(!reply.body.contains("jrc_"), "no script reads what is in the cookie");
    Page {
        cookie: format!("Cookie: {cookie}"),
        csrf: format!("X-CSRF-Token: {}", body["csrf"].as_str().unwrap()),
    }
}

#[tokio::test]
async fn a_cookie_alone_changes_nothing() {
    let fixture = Fixture::new().await;
    let page = log_in(&fixture).await;
    let other = log_in(&fixture).await;
    let desk = format!("Origin: {DESK}");
    let evil = "Origin: https://evil.example";
    let token = format!("Authorization: Bearer {}", fixture.token());
    let (cookie, csrf) = (page.cookie.as_str(), page.csrf.as_str());
    let table: [(&str, &[&str], u16); 16] = [
        ("the page itself", &[cookie, csrf, OWN], 200),
        ("the page, by what the browser says of it", &[cookie, csrf, "Sec-Fetch-Site: same-origin"], 200),
        ("a listed page", &[cookie, csrf, &desk], 200),
        ("without the CSRF token", &[cookie, OWN], 403),
        ("with an empty one", &[cookie, OWN, "X-CSRF-Token: "], 403),
        ("with another login's", &[cookie, OWN, &other.csrf], 403),
        ("from another page", &[cookie, csrf, evil], 403),
        ("from another page without Origin", &[cookie, csrf, "Sec-Fetch-Site: cross-site"], 403),
        ("from a neighbour", &[cookie, csrf, "Sec-Fetch-Site: same-site"], 403),
        ("from a frame in a sandbox", &[cookie, csrf, "Origin: null"], 403),
        ("from nowhere", &[cookie, csrf], 403),
        ("the CSRF token alone", &[csrf, OWN], 401),
        ("a cookie that is not ours", &["Cookie: jarvis=jrc_AAAA", csrf, OWN], 401),
        ("two cookies of ours", &[cookie, &other.cookie, csrf, OWN], 401),
        ("a bearer token, which no page sends unasked", &[&token, evil], 200),
        ("a bearer token beside the cookie", &[&token, cookie], 200),
    ];
    for (name, lines, expected) in table {
        let reply = fixture.call("POST /api/v1/session/ticket", lines, "").await;
        assert_eq!(reply.status, expected, "{name}: {}", reply.body);
        if expected != 200 {
            assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{name}");
        }
    }
    let look = fixture.call("GET /api/monitor/status", &[cookie], "").await;
    assert_eq!(look.status, 200, "a look needs no CSRF token; another page cannot read it: {}", look.body);
    let look = fixture.call("GET /api/v1/session", &[cookie, evil], "").await;
    assert_eq!(look.header("access-control-allow-origin"), None);
    assert_eq!(look.header("access-control-allow-credentials"), None);
    let again: Value = serde_json::from_str(&look.body).unwrap();
    assert_eq!(
        format!("X-CSRF-Token: {}", again["csrf"].as_str().unwrap()),
        page.csrf,
        "the same after a reload"
    );
    fixture.stop().await;
}

/// What is read by a cookie is read by our page or by whoever types its address: what another page has a browser fetch is
/// refused, also where it could not read the answer, since it could measure it.
#[tokio::test]
async fn what_another_page_has_a_browser_read() {
    let fixture = Fixture::new().await;
    let page = log_in(&fixture).await;
    let token = format!("Authorization: Bearer {}", fixture.token());
    let (cookie, desk) = (page.cookie.as_str(), format!("Origin: {DESK}"));
    let table: [(&str, &[&str], u16); 11] = [
        ("our page", &[cookie, "Sec-Fetch-Site: same-origin"], 200),
        ("an address that is typed", &[cookie, "Sec-Fetch-Site: none"], 200),
        ("a browser that says nothing", &[cookie], 200),
        (
            "a picture of another page",
            &[cookie, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"],
            403,
        ),
        ("a script of a neighbour", &[cookie, "Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: no-cors"], 403),
        ("a link in a mail", &[cookie, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"], 403),
        ("a listed page by a cookie", &[cookie, &desk, "Sec-Fetch-Site: same-site"], 403),
        ("a listed page by a token", &[&token, &desk, "Sec-Fetch-Site: cross-site"], 200),
        ("a token beside the cookie", &[&token, cookie, "Sec-Fetch-Site: same-site"], 200),
        ("two words of it", &[cookie, "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"], 403),
        ("a word that nobody knows", &[cookie, "Sec-Fetch-Site: elsewhere"], 403),
    ];
    for path in ["/api/v1/events", "/api/v1/session", "/api/monitor/status", "/metrics"] {
        for method in ["GET", "HEAD"] {
            for (name, lines, expected) in table {
                let reply = fixture.call(&format!("{method} {path}"), lines, "").await;
                assert_eq!(reply.status, expected, "{method} {path}, {name}: {}", reply.body);
            }
        }
    }
    let link = [cookie, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"];
    let shown = fixture.call("GET /incidents/1", &link, "").await;
    assert_eq!(shown.status, 200, "the page itself opens from a mail");
    // Sockets look at no cookie, and at where they come from all the same.
    let sockets: [(&str, &[&str], u16); 6] = [
        ("our page", &["Sec-Fetch-Site: same-origin"], 200),
        ("a program", &[], 200),
        ("a listed page", &[&desk, "Sec-Fetch-Site: cross-site"], 200),
        ("a listed page's neighbour", &[&desk, cookie, "Sec-Fetch-Site: same-site"], 200),
        ("a picture of another page", &["Sec-Fetch-Site: cross-site"], 403),
        ("the same with a cookie", &[cookie, "Sec-Fetch-Site: same-site"], 403),
    ];
    for (name, lines, expected) in sockets {
        let reply = fixture.call("GET /socket.io/?EIO=4&transport=polling", lines, "").await;
        assert_eq!(reply.status, expected, "a socket, {name}: {}", reply.body);
    }
    // Where a browser asks all the same, no other page gets hold of what comes.
    for path in ["/", "/api/v1/session", "/api/health", "/nowhere", "/socket.io/?EIO=4&transport=polling"] {
        let reply = fixture.call(&format!("GET {path}"), &[], "").await;
        for name in ["cross-origin-resource-policy", "cross-origin-opener-policy"] {
            assert_eq!(reply.header(name), Some("same-origin"), "{path}: {}", reply.head);
        }
    }
    fixture.stop().await;
}

/// The Back button of a browser shows what it has kept, without a question, also after the login is over. So it keeps nothing.
#[tokio::test]
async fn a_browser_keeps_nothing_that_was_read_by_a_cookie() {
    let fixture = Fixture::new().await;
    let page = log_in(&fixture).await;
    let token = format!("Authorization: Bearer {}", fixture.token());
    let mut tags = 0;
    for (path, of_a_program) in [
        ("/api/v1/events", "private, no-cache"),
        ("/api/v1/incidents", "private, no-cache"),
        ("/api/v1/guests", "private, no-cache"),
        ("/api/v1/journal", "private, no-cache"),
        ("/api/v1/users", "no-store"),
        ("/api/v1/session", "no-store"),
        ("/api/v1/journal/export", "no-store"),
        ("/api/v1/nowhere", "no-store"),
        ("/api/memory/events", "no-store"),
        ("/metrics", "no-store"),
    ] {
        let call = format!("GET {path}");
        let read = fixture.call(&call, &[&page.cookie], "").await;
        assert_eq!(read.header("cache-control"), Some("no-store"), "{path}: {}", read.head);
        assert_eq!(
            read.head.to_ascii_lowercase().matches("cache-control").count(),
            1,
            "{path}: {}",
            read.head
        );
        let program = fixture.call(&call, &[&token], "").await;
        assert_eq!(program.header("cache-control"), Some(of_a_program), "{path}: {}", program.head);
        if let Some(tag) = read.header("etag") {
            tags += 1;
            let again = [page.cookie.as_str(), &format!("If-None-Match: {tag}")];
            let again = fixture.call(&call, &again, "").await;
            let kept = again.header("cache-control");
            assert_eq!((again.status, kept), (304, Some("no-store")), "{path}: a tag still counts");
        }
    }
    assert!(tags >= 3, "{tags}");
    fixture.stop().await;
}

/// CORS: which page may read what, and that no page may send a cookie along from elsewhere.
#[tokio::test]
async fn what_other_origins_are_told_before_they_ask() {
    let fixture = Fixture::new().await;
    let table: [(&str, &str, &str, Option<&str>); 4] = [
        ("a listed page", DESK, "PATCH", Some(DESK)),
        ("our own, which need not ask", "http://jarvis.lan", "PATCH", None),
        ("another page", "https://evil.example", "PATCH", None),
        ("a sandbox", "null", "POST", None),
    ];
    for (name, origin, method, expected) in table {
        for path in ["/api/v1/users", "/api/v1/session", "/api/auth/login"] {
            let asks = [format!("Origin: {origin}"), format!("Access-Control-Request-Method: {method}")];
            let asks: Vec<&str> = asks.iter().map(String::as_str).collect();
            let reply = fixture.call(&format!("OPTIONS {path}"), &asks, "").await;
            assert_eq!(reply.header("access-control-allow-origin"), expected, "{name}, {path}");
            assert_eq!(reply.header("access-control-allow-credentials"), None, "{name}, {path}");
            let allowed = reply.header("access-control-allow-headers").unwrap_or_default();
            assert!(!allowed.contains("csrf") && !allowed.contains('*'), "{name}, {path}: {allowed}");
        }
    }
    fixture.stop().await;
}

#[tokio::test]
async fn nobody_is_logged_in_by_another_page_or_with_a_session_of_its_making() {
    let fixture = Fixture::new().await;
    for (name, line, expected) in [
        ("another page", "Origin: https://evil.example", 403),
        ("another page without Origin", "Sec-Fetch-Site: cross-site", 403),
        ("a program", "X-Nothing: 1", 200),
    ] {
        let reply =
            fixture.call("POST /api/v1/session", &[line, "Content-Type: application/json"], LOGIN).await;
        assert_eq!(reply.status, expected, "{name}: {}", reply.body);
    }
    let form = fixture.call("POST /api/v1/session", &[OWN, "Content-Type: text/plain"], LOGIN).await;
    assert_eq!(form.status, 415, "what a form can send: {}", form.body);

    // Whatever the browser brought along, ours or made up, is not what it goes on with.
    let before = log_in(&fixture).await;
    for planted in [before.cookie.as_str(), "Cookie: jarvis=jrc_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]
    {
        let lines = [OWN, planted, "Content-Type: application/json"];
        let reply = fixture.call("POST /api/v1/session", &lines, LOGIN).await;
        let (cookie, _) = set(&reply);
        assert_ne!(format!("Cookie: {cookie}"), planted);
        let old = fixture.call("GET /api/v1/session", &[planted], "").await;
        assert_eq!(old.status, 401, "what was planted is nobody's: {}", old.body);
        assert_eq!(
            fixture.call("GET /api/v1/session", &[&format!("Cookie: {cookie}")], "").await.status,
            200
        );
    }
    let wrong = r#"{"username":"nobody","password":"correct horse"}"#;
    let reply = fixture.call("POST /api/v1/session", &[OWN, "Content-Type: application/json"], wrong).await;
    assert_eq!(reply.body, r#"{"status":401,"title":"Unauthorized","detail":"Invalid password"}"#);
    assert_eq!(reply.header("set-cookie"), None);
    fixture.stop().await;
}

/// A page that somebody at the admin's own place has open guesses on and on: it is refused before it takes a try.
#[tokio::test]
async fn another_page_takes_none_of_its_visitors_tries() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.post("/api/auth/login", LOGIN).await.status, 200, "the admin is known here");
    let (json, text) = ("Content-Type: application/json", "Content-Type: text/plain");
    let table: [(&str, &[&str], u16); 5] = [
        ("another page", &["Origin: https://evil.example", "Sec-Fetch-Site: cross-site", text], 403),
        ("another page's JSON", &["Origin: https://evil.example", json], 403),
        ("a picture or a form", &["Sec-Fetch-Site: cross-site", text], 403),
        ("another page of the domain", &["Sec-Fetch-Site: same-site", json], 403),
        ("an old browser, which says nothing", &[text], 415),
    ];
    for (call, body) in [
        ("POST /api/auth/login", r#"{"password":"guess"}"#),
        ("POST /api/auth/setup", r#"{"code":"AAAA","password":"a good password"}"#),
        ("POST /api/v1/session", r#"{"password":"guess"}"#),
    ] {
        for (name, lines, expected) in table {
            for _ in 0..7 {
                let reply = fixture.call(call, lines, body).await;
                assert_eq!(reply.status, expected, "{call} {name}: {}", reply.body);
            }
        }
    }
    assert_eq!(fixture.post("/api/auth/login", LOGIN).await.status, 200, "no try was taken");
    for lines in [&[OWN, json], &[&format!("Origin: {DESK}"), json]] {
        let reply = fixture.call("POST /api/auth/login", lines, LOGIN).await;
        assert_eq!(reply.status, 200, "our page, and a listed one: {}", reply.body);
    }
    fixture.stop().await;
}

#[tokio::test]
async fn through_a_proxy_with_tls_the_cookie_is_bound_to_the_host() {
    let fixture = Fixture::new().await;
    let lines = ["Origin: https://jarvis.lan", "X-Forwarded-Proto: https", "Content-Type: application/json"];
    let reply = fixture.call("POST /api/v1/session", &lines, LOGIN).await;
    let (cookie, attributes) = set(&reply);
    assert!(cookie.starts_with("__Host-jarvis=jrc_"), "{cookie}");
    assert_eq!(attributes, "Path=/; Max-Age=86400; HttpOnly; SameSite=Strict; Secure");
    let cookie = format!("Cookie: {cookie}");
    let asked = fixture.call("GET /api/v1/session", &[&cookie, "X-Forwarded-Proto: https"], "").await;
    assert_eq!(asked.status, 200);
    assert_eq!(asked.header("strict-transport-security"), None, "a proxy's TLS is its own affair");
    let plain = cookie.replace("__Host-", "");
    let plain = fixture.call("GET /api/v1/session", &[&plain, "X-Forwarded-Proto: https"], "").await;
    assert_eq!(plain.status, 401, "one that a neighbour without TLS could have set");
    fixture.stop().await;
}

#[tokio::test]
async fn a_logout_ends_a_login_and_its_sockets_at_once() {
    let fixture = Fixture::new().await;
    let page = log_in(&fixture).await;
    let token = fixture.token_of("admin").await;
    let stays = fixture.join("/events", &format!(r#"{{"token":"{}"}}"#, fixture.token())).await;
    stays.hear_until("40/events,").await;
    let cases: [(&str, &str, Vec<String>); 2] = [
        ("a program", "POST /api/auth/logout", vec![format!("Authorization: Bearer {token}")]),
        ("a page", "DELETE /api/v1/session", vec![page.cookie, page.csrf, OWN.into()]),
    ];
    for (name, call, lines) in cases {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let ticket = fixture.call("POST /api/v1/session/ticket", &lines, "").await;
        let ticket: Value = serde_json::from_str(&ticket.body).unwrap();
        let auth = format!(r#"{{"token":"{}"}}"#, ticket["ticket"].as_str().unwrap());
        let socket = fixture.join("/cluster", &auth).await;
        socket.hear_until("40/cluster,").await;
        let reply = fixture.call(call, &lines, "").await;
        assert_eq!(reply.status, 204, "{name}: {}", reply.body);
        if name == "a page" {
            assert_eq!(
                set(&reply),
                ("jarvis=".into(), "Path=/; Max-Age=0; HttpOnly; SameSite=Strict".into())
            );
        }
        assert_eq!(fixture.call("GET /api/monitor/status", &lines, "").await.shown(), BAD_TOKEN, "{name}");
        let heard = socket.hear_until("41/cluster,").await;
        let expired = r#"42/cluster,["auth_expired",{"message":"Invalid or expired token"}]"#.to_owned();
        assert!(heard.contains(&expired), "{name}: {heard:?}");
    }
    assert_eq!(
        fixture.get("/api/monitor/status", &fixture.token()).await.status,
        200,
        "the other login goes on"
    );
    let event = crate::event(0, "still here");
    fixture.store.save_event(event).await.unwrap();
    stays.hear_until(r#"42/events,["event""#).await;
    fixture.stop().await;
}

/// Each change that takes rights away, and what was open by them.
#[tokio::test]
async fn what_a_user_loses_their_sockets_lose_at_once() {
    let fixture = Fixture::new().await;
    let admin = fixture.token();
    let changes: [(&str, &str, &str); 5] = [
        ("disabled", "PATCH /api/v1/users/USER", r#"{"disabled":true}"#),
        ("another role", "PATCH /api/v1/users/USER", r#"{"role":"viewer"}"#),
        ("other clusters", "PATCH /api/v1/users/USER", r#"{"clusters":["edge"]}"#),
        ("another password", "POST /api/v1/users/USER/password", r#"{"new":"another password"}"#),
        ("removed", "DELETE /api/v1/users/USER", ""),
    ];
    for (number, (name, call, body)) in changes.into_iter().enumerate() {
        let user = format!("user{number}");
        fixture.user(&user, Role::Operator, None).await;
        let token = fixture.token_of(&user).await;
        let auth = format!(r#"{{"token":"{token}"}}"#);
        let socket = fixture.join("/events", &auth).await;
        socket.hear_until("40/events,").await;
        let reply = fixture.ask(&call.replace("USER", &user), &admin, body).await;
        assert!(reply.status < 300, "{name}: {}", reply.body);
        assert_eq!(fixture.get("/api/monitor/status", &token).await.shown(), BAD_TOKEN, "{name}");
        let heard = socket.hear_until("41/events,").await;
        assert!(heard.iter().any(|packet| packet.contains("auth_expired")), "{name}: {heard:?}");
        let again = fixture.join("/events", &auth).await;
        let refused = r#"44/events,{"message":"Invalid or expired token"}"#;
        assert_eq!(again.hear().await, [refused], "{name}");
    }
    fixture.stop().await;
}

#[tokio::test]
async fn a_ticket_lets_one_connection_in_and_a_cookie_none() {
    let fixture = Fixture::new().await;
    let page = log_in(&fixture).await;
    let lines = [page.cookie.as_str(), page.csrf.as_str(), OWN];
    let reply = fixture.call("POST /api/v1/session/ticket", &lines, "").await;
    assert!(reply.body.ends_with(r#"","expiresIn":60}"#), "{}", reply.body);
    let ticket = reply.body.split('"').nth(3).unwrap();
    let auth = format!(r#"{{"token":"{ticket}"}}"#);
    let socket = fixture.join("/cluster", &auth).await;
    socket.hear_until("40/cluster,").await;
    socket.say(&format!("40/events,{auth}")).await;
    socket.hear_until("40/events,").await;

    let refused = |namespace: &str| format!(r#"44{namespace},{{"message":"Invalid or expired token"}}"#);
    let second = fixture.join("/events", &auth).await;
    assert_eq!(second.hear().await, [refused("/events")], "another connection with the same ticket");
    let cookie = page.cookie.trim_start_matches("Cookie: jarvis=");
    let with_cookie = fixture.join("/events", &format!(r#"{{"token":"{cookie}"}}"#)).await;
    assert_eq!(with_cookie.hear().await, [refused("/events")], "what is in the cookie");
    assert_eq!(
        fixture.get("/api/monitor/status", ticket).await.shown(),
        BAD_TOKEN,
        "a ticket is for sockets"
    );
    let address = "/socket.io/?EIO=4&transport=polling";
    let hello = fixture.call(&format!("GET {address}"), &[&page.cookie], "").await;
    let sid = hello.body.split('"').nth(3).unwrap();
    let address = format!("{address}&sid={sid}");
    fixture.call(&format!("POST {address}"), &[&page.cookie], "40/events,").await;
    let refused = r#"44/events,{"message":"Authentication required"}"#;
    let mut heard = String::new();
    // A ping may come before it.
    for _ in 0..5 {
        heard += &fixture.call(&format!("GET {address}"), &[&page.cookie], "").await.body;
        if heard.contains("/events") {
            break;
        }
    }
    assert!(heard.contains(refused), "a cookie sent along is not looked at: {heard}");
    assert_eq!(fixture.call("POST /api/v1/session/ticket", &[], "").await.status, 401);
    assert_eq!(fixture.call("GET /api/monitor/status", &[], "").await.shown(), NO_TOKEN);
    assert_eq!(PASSWORD, "correct horse", "as in LOGIN");
    fixture.stop().await;
}
