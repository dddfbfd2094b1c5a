//! Refusal: an answer that is none. `{"error": "..."}` with its status, for every way to be refused.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::problem::Said;

/// Why a call is refused, for people.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) error: String,
    retry_after: Option<Duration>,
    stopped: bool,
}

/// Why a call was refused, for people.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Error {
    error: String,
    /// True where the kill switch is on all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    kill_switch: Option<bool>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Refusal {
        Refusal { status, error: error.into(), retry_after: None, stopped: false }
    }

    /// How long to wait before another try, as its header says it.
    pub(super) fn wait(&self) -> Option<HeaderValue> {
        // Whole seconds, rounded up: who comes back on time must not be early.
        let seconds = |wait: Duration| wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.retry_after.map(|wait| HeaderValue::from(seconds(wait)))
    }

    /// The kill switch is on all the same.
    pub(super) fn stopped(mut self) -> Refusal {
        self.stopped = true;
        self
    }

    /// As a socket is told it: its status, which no answer carries there, beside the words.
    pub(super) fn as_message(&self) -> Value {
        let mut message = json!({ "error": self.error, "status": self.status.as_u16() });
        if self.stopped {
            message["killSwitch"] = true.into();
        }
        message
    }

    /// When it is worth another try.
    pub(super) fn retry_after(mut self, wait: Duration) -> Refusal {
        self.retry_after = Some(wait);
        self
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let said = Said(self.error.clone());
        let wait = self.wait();
        let body = Error { error: self.error, kill_switch: self.stopped.then_some(true) };
        let mut response = (self.status, Json(body)).into_response();
        response.extensions_mut().insert(said);
        if let Some(wait) = wait {
            response.headers_mut().insert(header::RETRY_AFTER, wait);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
