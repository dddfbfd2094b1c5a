//! Problem: an answer under `/api/v1` that is none, as RFC 9457 has it (`application/problem+json`).
//!
//! A refusal of the old calls stays `{"error"}`. What is shared by both, the login above all, refuses as it always did;
//! [`spoken`] writes it anew where the call was one of `/api/v1`.

use std::borrow::Cow;

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::Objection;
use super::refusal::Refusal;
use crate::record::StoreError;

/// RFC 9457's media type.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";
/// What this speaks for.
const WITHIN: &str = "/api/v1";
/// To whoever asks it for what there is.
const ROOT: &str = "This is where the calls begin; GET /api/v1/openapi.json says which there are";

/// Why a call was not answered (RFC 9457). Its `type` is left out, which means `about:blank`: the status says it all.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// The HTTP status.
    #[serde(serialize_with = "number")]
    #[schema(value_type = u16, example = 400)]
    pub(super) status: StatusCode,
    /// The status in words.
    #[schema(value_type = String, example = "Bad Request")]
    title: &'static str,
    /// What is wrong here, and what to do, for people.
    #[schema(value_type = String)]
    pub(super) detail: Cow<'static, str>,
    /// Each parameter that is wrong, where that is the trouble.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) errors: Vec<Wrong>,
    #[serde(skip)]
    retry_after: Option<HeaderValue>,
}

/// A parameter that is wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Wrong {
    /// Its name.
    pub(super) parameter: String,
    /// What is wrong with it.
    pub(super) detail: String,
    /// What may stand there, where that is a list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub(super) allowed: Vec<&'static str>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Problem {
        let title = status.canonical_reason().unwrap_or("Refused");
        Problem { status, title, detail: detail.into(), errors: Vec::new(), retry_after: None }
    }

    pub(super) fn not_found(detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, detail)
    }

    /// Parameters that cannot be taken; at least one.
    pub(super) fn wrong(errors: Vec<Wrong>) -> Problem {
        let detail = match &errors[..] {
            [one] => format!("{}: {}", one.parameter, one.detail),
            several => format!("{} parameters are wrong", several.len()),
        };
        Problem { errors, ..Problem::new(StatusCode::BAD_REQUEST, detail) }
    }

    /// What will be there soon.
    pub(super) fn not_yet(detail: impl Into<Cow<'static, str>>) -> Problem {
        let retry_after = Some(HeaderValue::from_static("5"));
        Problem { retry_after, ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        Refusal::from(error).into()
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
            Objection::NotYours(_)
            | Objection::NotByToken
            | Objection::NotThisToken
            | Objection::MoreThanItsUser => StatusCode::FORBIDDEN,
            Objection::NoSuchUser | Objection::NoSuchToken => StatusCode::NOT_FOUND,
            Objection::UserExists
            | Objection::LastAdmin
            | Objection::TheAdmin
            | Objection::Configured
            | Objection::TooMany(_) => StatusCode::CONFLICT,
            Objection::Malformed(_) => StatusCode::BAD_REQUEST,
            Objection::Denied(denied) => return Refusal::from(*denied).into(),
            Objection::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Objection::Unstored(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Problem::new(status, objection.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // Plain text and numbers: there is nothing in it that JSON could not say.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, wait);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// What a refusal said, kept beside its response so that it can be said anew.
#[derive(Clone, Debug)]
pub(super) struct Said(pub(super) String);

/// Every refusal under `/api/v1` is a problem, whoever refused: the login, a limit, the router itself. Headers stay.
pub(super) async fn spoken(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let within = path.strip_prefix(WITHIN);
    let ours = within.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let is_root = within.is_some_and(|rest| matches!(rest, "" | "/"));
    let response = next.run(request).await;
    let status = response.status();
    let told = response.headers().get(header::CONTENT_TYPE).is_some_and(|given| given == MEDIA_TYPE);
    if !ours || told || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let said = response.extensions().get::<Said>().map(|Said(said)| said.clone());
    let said = if is_root && status == StatusCode::NOT_FOUND { Some(ROOT.to_owned()) } else { said };
    let detail = said.map_or(Cow::Borrowed("The call cannot be answered as it stands"), Cow::Owned);
    let mut problem = Problem::new(status, detail).into_response();
    let own: Vec<_> = problem.headers().keys().cloned().collect();
    for (name, value) in response.headers() {
        if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH && !own.contains(name) {
            problem.headers_mut().append(name, value.clone());
        }
    }
    problem
}
