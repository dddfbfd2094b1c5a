//! The page and what is sent with it. Whether this build has the page or only the one that says how to build it, its
//! addresses answer alike.

use std::collections::BTreeMap;
use std::path::Path;

use super::harness::Fixture;
use super::v1::documented;

#[tokio::test]
async fn screens_answer_with_the_page_and_everything_else_as_before() {
    let fixture = Fixture::new().await;
    for (path, status, kind) in [
        ("/", 200, "text/html; charset=utf-8"),
        ("/incidents/00000000-0000-0000-0000-000000000007", 200, "text/html; charset=utf-8"),
        ("/incidents/1?cluster=lab", 200, "text/html; charset=utf-8"),
        ("/guests/lab/qemu/101", 200, "text/html; charset=utf-8"),
        ("/setup", 200, "text/html; charset=utf-8"),
        ("/incidents/1/2", 404, "application/json"),
        ("/nowhere", 404, "application/json"),
        ("/assets/none.js", 404, "application/json"),
        ("/.gitignore", 404, "application/json"),
        ("/index.html", 404, "application/json"),
        ("/api/v1/nowhere", 404, "application/problem+json"),
        ("/api/nowhere", 404, "application/json"),
    ] {
        let reply = fixture.call(&format!("GET {path}"), &[], "").await;
        assert_eq!((reply.status, reply.header("content-type")), (status, Some(kind)), "{path}");
    }
    let posted = fixture.call("POST /incidents", &["Content-Type: application/json"], "{}").await;
    assert_eq!(posted.status, 405, "a screen is only looked at");
    fixture.stop().await;
}

/// Nothing on the page may run, load or be framed that is not ours; not even where somebody's text became markup.
#[tokio::test]
async fn what_the_page_may_do() {
    let fixture = Fixture::new().await;
    let reply = fixture.call("GET /", &[], "").await;
    let policy = reply.header("content-security-policy").unwrap_or_default();
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains("http") && !policy.contains("data:"), "{policy}");
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(reply.header("x-frame-options"), Some("DENY"));
    assert!(!reply.body.contains("<style") && !reply.body.contains(" style="), "{}", reply.body);
    fixture.stop().await;
}

/// What has not changed is not sent again: the page is asked for each time, its files for good.
#[tokio::test]
async fn how_long_a_browser_keeps_it() {
    let fixture = Fixture::new().await;
    let page = fixture.call("GET /", &[], "").await;
    let Some(tag) = page.header("etag").map(str::to_owned) else {
        assert!(page.body.contains("compiled before the page was built"), "{}", page.body);
        fixture.stop().await;
        return;
    };
    assert_eq!(page.header("cache-control"), Some("no-cache"));
    let again = fixture.call("GET /incidents/7", &[&format!("If-None-Match: W/\"other\", {tag}")], "").await;
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    assert_eq!(again.header("etag"), Some(&*tag));
    assert!(
        again.header("content-security-policy").is_some_and(|policy| policy.contains("script-src 'self'"))
    );

    let script =
        page.body.split('"').find(|word| word.starts_with("/assets/") && word.ends_with(".js")).unwrap();
    let script = fixture.call(&format!("GET {script}"), &[], "").await;
    assert_eq!(script.status, 200);
    assert_eq!(script.header("cache-control"), Some("public, max-age=31536000, immutable"));
    assert_eq!(script.header("content-type"), Some("text/javascript; charset=utf-8"));
    assert_eq!(script.header("content-encoding"), None, "who takes no gzip is sent none");
    fixture.stop().await;
}

/// The page's types are made of `web/openapi.json`, so it must be the document of the calls as they are.
#[test]
fn the_pages_document_is_todays() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web/openapi.json");
    let today = daemon::report::v1::document::text();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, today).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    assert!(
        kept == today,
        "web/openapi.json is not what `jarvis openapi` prints: UPDATE_EXPECT=1 writes it; then see what web/ makes of it"
    );
}

/// Clients are made of the document: two calls of one name become one.
#[test]
fn each_call_has_a_name_of_its_own() {
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for (call, described) in documented() {
        let name = described["operationId"].as_str().unwrap().to_owned();
        if let Some(other) = names.insert(name.clone(), call.clone()) {
            panic!("{call} and {other} are both called {name}");
        }
    }
}
