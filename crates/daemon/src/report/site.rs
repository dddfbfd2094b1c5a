//! Site: the page itself, as `web/dist` was when this was compiled, and what it may do in a browser.
//!
//! The addresses of its screens answer with the page, so that a mail can link to an incident; every other address that is
//! not there is a 404 in JSON, as for programs. Nothing of it is secret: what is watched it asks for with a login.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::Request;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::refusal::Refusal;
use super::web::App;

/// A file of the page.
struct File {
    /// Where it is asked for.
    path: &'static str,
    plain: &'static [u8],
    gzip: Option<&'static [u8]>,
}

/// All of them; none where the page was not built.
static FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/site.rs"));

/// Where the page's screens are. What they show is the page's own affair.
pub(super) const SCREENS: [&str; 13] = [
    "/",
    "/login",
    "/setup",
    "/incidents",
    "/incidents/{id}",
    "/activity",
    "/guests",
    "/guests/{cluster}/{kind}/{vmid}",
    "/nodes/{cluster}/{node}",
    "/policy",
    "/audit",
    "/jarvis",
    "/users",
];

/// What the page may load: itself, and nothing else. Its styles are a file: no style and no script stands in the markup.
/// Only Svelte's own policy may make markup of text, which it does of its templates; of data it makes text.
const MAY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; manifest-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
     trusted-types svelte-trusted-html",
);
/// A file whose name is made of its content never changes.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// Everything else is asked for each time, and mostly has not changed.
const ASKED_FOR: HeaderValue = HeaderValue::from_static("no-cache");
/// Files with such names.
const HASHED: &str = "/assets/";

const NOT_BUILT: &str = include_str!("site/not_built.html");

/// The page's files and screens.
pub(super) fn router() -> Router<Arc<App>> {
    let router = SCREENS.iter().fold(Router::new(), |router, screen| router.route(screen, get(front)));
    FILES
        .iter()
        .filter(|file| file.path != "/index.html")
        .fold(router, |router, file| router.route(file.path, get(file_by_path)))
}

async fn front(request: Request) -> Response {
    match found("/index.html") {
        Some(file) => answer(file, request.headers()),
        None => {
            let mut response = (StatusCode::OK, NOT_BUILT).into_response();
            response.headers_mut().insert(header::CONTENT_TYPE, kind("/index.html"));
            response
        }
    }
}

async fn file_by_path(uri: Uri, headers: HeaderMap) -> Response {
    match found(uri.path()) {
        Some(file) => answer(file, &headers),
        None => Refusal::new(StatusCode::NOT_FOUND, "There is nothing here").into_response(),
    }
}

fn found(path: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.path == path)
}

fn answer(file: &'static File, asked: &HeaderMap) -> Response {
    let tag = tag(file);
    let has = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|given| given.to_str().ok());
    let has =
        has.flat_map(|given| given.split(',')).any(|given| given.trim().trim_start_matches("W/") == tag);
    let accepts =
        asked.get(header::ACCEPT_ENCODING).and_then(|given| given.to_str().ok()).unwrap_or_default();
    let gzip = file.gzip.filter(|_| accepts_gzip(accepts));
    let mut response = match (has, gzip) {
        (true, _) => StatusCode::NOT_MODIFIED.into_response(),
        (false, Some(packed)) => packed.into_response(),
        (false, None) => file.plain.into_response(),
    };
    let mut set = |name: HeaderName, value| response.headers_mut().insert(name, value);
    set(header::CACHE_CONTROL, if file.path.starts_with(HASHED) { FOR_EVER } else { ASKED_FOR });
    set(header::CONTENT_SECURITY_POLICY, MAY);
    set(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        set(header::ETAG, tag);
    }
    if !has {
        set(header::CONTENT_TYPE, kind(file.path));
        if gzip.is_some() {
            set(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
    }
    response
}

/// Whether gzip is named, and not with a weight of 0.
fn accepts_gzip(accepts: &str) -> bool {
    accepts.split(',').any(|one| {
        let mut parts = one.split(';').map(str::trim);
        let refused = |part: &str| part.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0));
        parts.next() == Some("gzip") && !parts.any(refused)
    })
}

/// The same for the packed file and the plain one: weak, because their bytes differ.
fn tag(file: &'static File) -> String {
    static TAGS: OnceLock<Vec<(&str, String)>> = OnceLock::new();
    let tags = TAGS.get_or_init(|| {
        let hash = |plain: &[u8]| format!("\"{}\"", URL_SAFE_NO_PAD.encode(&Sha256::digest(plain)[..16]));
        FILES.iter().map(|file| (file.path, hash(file.plain))).collect()
    });
    tags.iter().find(|(path, _)| *path == file.path).map(|(_, tag)| tag.clone()).unwrap_or_default()
}

fn kind(path: &str) -> HeaderValue {
    HeaderValue::from_static(match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "txt" => "text/plain; charset=utf-8",
        "webmanifest" => "application/manifest+json",
        _ => "application/octet-stream",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_gzip() {
        for (accepts, expected) in [
            ("gzip, deflate, br", true),
            ("br;q=1.0, gzip;q=0.8", true),
            ("gzip;q=0", false),
            ("br", false),
            ("", false),
            ("notgzip", false),
        ] {
            assert_eq!(accepts_gzip(accepts), expected, "{accepts}");
        }
    }

    #[test]
    fn every_kind_of_file_is_known() {
        for file in FILES {
            assert_ne!(kind(file.path), "application/octet-stream", "{}", file.path);
        }
    }
}
