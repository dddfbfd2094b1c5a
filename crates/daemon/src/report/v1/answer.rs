//! Answer: JSON with a tag by which a client that has it already is told so (RFC 9110, 8.8.3 and 13.1.2).
//!
//! A list's tag is a hash of what is sent, and strong: what costs is the store, which has to be asked anyway, and a
//! counter of writes would change with every heartbeat. A picture's tag is which picture it is, and weak: its age is
//! in it and grows by itself. It is known before the rows are written out, which for 10,000 guests is what costs.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::convert::Infallible;

use crate::report::problem::Problem;

/// Bytes of a hash that are a tag: enough that no two answers of one address ever have the same.
const TAG: usize = 16;
/// A browser may keep it, asks each time whether it still holds, and shares it with nobody.
const KEPT: HeaderValue = HeaderValue::from_static("private, no-cache");

/// What the client has already, and where it asks.
pub(super) struct Has {
    tags: HeaderMap,
    /// As it was asked.
    whole: String,
    /// Without the cursor.
    path: String,
}

impl<S: Sync> FromRequestParts<S> for Has {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Has, Infallible> {
        let mut tags = HeaderMap::new();
        for value in parts.headers.get_all(header::IF_NONE_MATCH) {
            tags.append(header::IF_NONE_MATCH, value.clone());
        }
        let query = parts.uri.query().unwrap_or_default();
        let kept: Vec<&str> =
            query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("cursor=")).collect();
        let path = format!("{}?{}", parts.uri.path(), kept.join("&"));
        let whole = format!("{}?{query}", parts.uri.path());
        Ok(Has { tags, whole, path })
    }
}

impl Has {
    /// Where it asks, with everything that it asks.
    pub(super) fn whole(&self) -> &str {
        &self.whole
    }

    /// A 304 where the client has what the tag names.
    pub(super) fn already(&self, tag: &str) -> Option<Response> {
        let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        let given = self.tags.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let mut given = given.flat_map(|value| value.split(','));
        let has = given.any(|given| given.trim() == "*" || opaque(given) == opaque(tag));
        has.then(|| {
            let mut response = StatusCode::NOT_MODIFIED.into_response();
            tagged(&mut response, tag);
            response
        })
    }

    /// An answer by its content.
    pub(super) fn answer(&self, value: &impl Serialize) -> Result<Response, Problem> {
        Ok(self.answer_bytes(written(value)?))
    }

    /// The same of what is JSON already.
    pub(super) fn answer_bytes(&self, body: Vec<u8>) -> Response {
        let tag = format!("\"{}\"", hash(&[&body]));
        self.already(&tag).unwrap_or_else(|| json(body, &tag))
    }

    /// An answer that is made only where the client has none with this tag.
    pub(super) fn answer_or<T: Serialize>(
        &self,
        tag: &str,
        make: impl FnOnce() -> T,
    ) -> Result<Response, Problem> {
        match self.already(tag) {
            Some(response) => Ok(response),
            None => self.answer_as(tag, &make()),
        }
    }

    /// An answer whose tag is known before it is written.
    pub(super) fn answer_as(&self, tag: &str, value: &impl Serialize) -> Result<Response, Problem> {
        Ok(json(written(value)?, tag))
    }

    /// Where the next page is, as a `Link`. The client's own filters go with it.
    pub(super) fn linked(&self, mut response: Response, next: Option<&str>) -> Response {
        let Some(next) = next else { return response };
        let join = if self.path.ends_with('?') { "" } else { "&" };
        let link = format!("<{}{join}cursor={next}>; rel=\"next\"", self.path);
        if let Ok(link) = HeaderValue::from_str(&link) {
            response.headers_mut().insert(header::LINK, link);
        }
        response
    }
}

/// A weak tag of whatever names the content.
pub(super) fn weak(parts: &[&[u8]]) -> String {
    format!("W/\"{}\"", hash(parts))
}

fn hash(parts: &[&[u8]]) -> String {
    let mut sum = Sha256::new();
    for part in parts {
        sum.update((part.len() as u64).to_be_bytes());
        sum.update(part);
    }
    URL_SAFE_NO_PAD.encode(&sum.finalize()[..TAG])
}

fn written(value: &impl Serialize) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec(value).map_err(|error| {
        tracing::error!("an answer could not be written: {error}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "The answer could not be written; the log says why")
    })
}

fn json(body: Vec<u8>, tag: &str) -> Response {
    let mut response = body.into_response();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    tagged(&mut response, tag);
    response
}

fn tagged(response: &mut Response, tag: &str) {
    if let Ok(tag) = HeaderValue::from_str(tag) {
        response.headers_mut().insert(header::ETAG, tag);
        response.headers_mut().insert(header::CACHE_CONTROL, KEPT);
    }
}
