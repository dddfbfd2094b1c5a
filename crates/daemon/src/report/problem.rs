//! Problem: why a call of `/api/v1` is refused (RFC 9457). The calls of the original keep their own shape (`refusal`).

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::auth::Objection;
use super::refusal::Refusal;

/// A refusal. The title is the status's own word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) title: &'static str,
    pub(super) detail: String,
    retry_after: Option<Duration>,
}

impl Problem {
    /// What happened, and what to do.
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Problem {
        let title = status.canonical_reason().unwrap_or("Refused");
        Problem { status, title, detail: detail.into(), retry_after: None }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        let retry_after = refusal.wait();
        Problem { retry_after, ..Problem::new(refusal.status, refusal.error) }
    }
}

impl From<Objection> for Problem {
    fn from(objection: Objection) -> Problem {
        let status = match &objection {
            Objection::NotYours(_) | Objection::MoreThanItsUser => StatusCode::FORBIDDEN,
            Objection::NoSuchUser | Objection::NoSuchToken => StatusCode::NOT_FOUND,
            Objection::UserExists
            | Objection::LastAdmin
            | Objection::TheAdmin
            | Objection::Configured
            | Objection::TooMany(_) => StatusCode::CONFLICT,
            Objection::Malformed(_) => StatusCode::BAD_REQUEST,
            Objection::Denied(denied) => return Refusal::from(*denied).into(),
            Objection::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Problem::new(status, objection.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body<'a> {
            r#type: &'static str,
            title: &'static str,
            status: u16,
            detail: &'a str,
        }
        let Problem { status, title, detail, retry_after } = &self;
        let body = Body { r#type: "about:blank", title, status: status.as_u16(), detail };
        // The headers are those of any refusal; only the body is another one.
        let mut refusal = Refusal::new(*status, "");
        if let Some(wait) = retry_after {
            refusal = refusal.retry_after(*wait);
        }
        let (mut parts, _) = refusal.into_response().into_parts();
        parts.headers.remove(header::CONTENT_LENGTH);
        parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        // Plain data: there is nothing in it that JSON could not say.
        Response::from_parts(parts, serde_json::to_vec(&body).unwrap_or_default().into())
    }
}
