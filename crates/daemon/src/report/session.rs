//! Session: the login of a page, which lies in a cookie that no script can read, and the ticket with which it opens
//! its sockets.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::auth::{ADMIN, Password, TICKET_LASTS, Verified};
use super::caller::Role;
use super::login::{BAD_TOKEN, cookie, cookie_name, log_in};
use super::origin::From;
use super::peer::{Peer, Secured};
use super::problem::Problem;
use super::web::{App, Shared, read_json};

type Answer<T> = Result<T, Problem>;

/// For everybody: here one logs in.
pub(super) fn public() -> Router<Arc<App>> {
    Router::new().route("/api/v1/session", post(begin))
}

/// For whoever is logged in.
pub(super) fn private() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/session", get(show).delete(end))
        .route("/api/v1/session/ticket", post(ticket))
}

/// Who one is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Session {
    user: Box<str>,
    role: Role,
    /// The clusters that the role is for; null: all.
    clusters: Option<Vec<String>>,
    /// To be sent as `X-CSRF-Token` with each call that changes something; null for whoever shows no cookie.
    csrf: Option<String>,
    /// Seconds; null: never.
    expires_in: Option<u64>,
}

impl Session {
    fn of(app: &App, verified: &Verified, now: Timestamp) -> Session {
        let Verified { caller, pass, .. } = verified;
        Session {
            user: caller.name.clone(),
            role: caller.role,
            clusters: caller.clusters.as_deref().map(|names| names.iter().map(ToString::to_string).collect()),
            csrf: app.auth.csrf(*pass),
            expires_in: verified.left(now).map(|left| left.as_secs()),
        }
    }
}

async fn begin(State(app): Shared, peer: Peer, request: Request) -> Answer<Response> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Login {
        username: Option<String>,
        password: String,
    }
    const SHAPE: &str = r#"{"username": TEXT, "password": TEXT}"#;
    // Another page could log its visitor in as somebody else, and read what they then do there.
    if app.origins.from(request.headers(), peer.secured) == From::Others {
        return Err(Problem::new(StatusCode::FORBIDDEN, "This page may not log in here"));
    }
    let before = cookie(request.headers(), peer.secured).map(str::to_owned);
    let body: Login = read_json(&app.limits, request, SHAPE).await?;
    let name = body.username.unwrap_or_else(|| ADMIN.into());
    let issued = log_in(&app, peer, name, Password::new(body.password), true).await?;
    let now = Timestamp::now();
    // A login is always a new one; what the browser brought along ends, whoever had put it there.
    if let Some(before) = before.and_then(|cookie| app.auth.verify_cookie(&cookie, now)) {
        app.auth.log_out(before.pass).await?;
    }
    let verified = app.auth.verify_cookie(&issued.token, now);
    let verified = verified.ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, BAD_TOKEN))?;
    let session = Session::of(&app, &verified, now);
    let mut response = Json(session).into_response();
    set_cookie(response.headers_mut(), peer.secured, &issued.token, issued.expires_in);
    Ok(response)
}

async fn show(State(app): Shared, Extension(verified): Extension<Verified>) -> Json<Session> {
    Json(Session::of(&app, &verified, Timestamp::now()))
}

async fn end(State(app): Shared, peer: Peer, Extension(verified): Extension<Verified>) -> Answer<Response> {
    app.auth.log_out(verified.pass).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    set_cookie(response.headers_mut(), peer.secured, "", 0);
    Ok(response)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ticket {
    ticket: String,
    expires_in: i64,
}

async fn ticket(State(app): Shared, Extension(verified): Extension<Verified>) -> Answer<Json<Ticket>> {
    let ticket = app.auth.ticket(verified.pass, Timestamp::now()).map_err(super::refusal::Refusal::from)?;
    let full =
        || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "Too many tickets at once, try again in a minute");
    Ok(Json(Ticket { ticket: ticket.ok_or_else(full)?, expires_in: TICKET_LASTS.as_secs() }))
}

/// `max_age` 0 takes it away.
fn set_cookie(headers: &mut HeaderMap, secured: Secured, value: &str, max_age: i64) {
    let secure = match secured {
        Secured::No => "",
        Secured::Here | Secured::ByProxy => "; Secure",
    };
    let name = cookie_name(secured);
    let text = format!("{name}={value}; Path=/; Max-Age={max_age}; HttpOnly; SameSite=Strict{secure}");
    // Our own letters and digits: there is nothing in them that a header could not hold.
    if let Ok(value) = HeaderValue::from_str(&text) {
        headers.append(header::SET_COOKIE, value);
    }
}
