//! Session: the login of a page, which lies in a cookie that no script can read, and the ticket with which it opens
//! its sockets.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{ADMIN, Password, TICKET_LASTS, Verified};
use super::caller::Role;
use super::login::{BAD_TOKEN, Browser, cookie, cookie_name, log_in, not_of_another_page, set_cookie};
use super::peer::Peer;
use super::problem::{MEDIA_TYPE, Problem};
use super::v1::{Asked, Nothing};
use super::web::{App, Shared, read_json};

type Answer<T> = Result<T, Problem>;

/// For everybody: here one logs in.
pub(super) fn public() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(begin))
}

/// For whoever is logged in.
pub(super) fn private() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(show, end)).routes(routes!(ticket))
}

/// Who one is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Session {
    #[schema(value_type = String)]
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

#[derive(Deserialize, ToSchema)]
#[schema(as = SessionLogin)]
#[serde(deny_unknown_fields)]
struct Login {
    /// May be left out: `admin`.
    username: Option<String>,
    password: String,
}

/// Logs a page in, by a cookie.
#[utoipa::path(post, path = "/api/v1/session", tag = "who", operation_id = "log_in", security(()), request_body = Login,
    responses(
        (status = 200, body = Session, headers(("Set-Cookie" = String, description = "The login; no script can read it."))),
        (status = 401, description = "Not the password.", body = Problem, content_type = MEDIA_TYPE),
        (status = 403, description = "The page is not ours.", body = Problem, content_type = MEDIA_TYPE)))]
async fn begin(State(app): Shared, peer: Peer, _: Asked<Nothing>, request: Request) -> Answer<Response> {
    const SHAPE: &str = r#"{"username": TEXT, "password": TEXT}"#;
    not_of_another_page(&app, peer, request.headers())?;
    let before = cookie(request.headers(), peer.secured).map(str::to_owned);
    let browser = Browser::of(peer, request.headers());
    let body: Login = read_json(&app.limits, request, SHAPE).await?;
    let name = body.username.unwrap_or_else(|| ADMIN.into());
    let (issued, device) = log_in(&app, &browser, name, Password::new(body.password), true).await?;
    let now = Timestamp::now();
    // A login is always a new one; what the browser brought along ends, whoever had put it there.
    if let Some(before) = before.and_then(|cookie| app.auth.verify_cookie(&cookie, now)) {
        // It is over also where that cannot be stored, which the log says, and nobody is kept out for it.
        app.auth.log_out(before.pass).await.unwrap_or_default();
    }
    let verified = app.auth.verify_cookie(&issued.token, now);
    let verified = verified.ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, BAD_TOKEN))?;
    let session = Session::of(&app, &verified, now);
    let mut response = Json(session).into_response();
    set_cookie(response.headers_mut(), peer.secured, cookie_name, &issued.token, issued.expires_in);
    browser.keep(response.headers_mut(), device);
    Ok(response)
}

/// Who one is, and what a page sends with its calls.
#[utoipa::path(get, path = "/api/v1/session", tag = "who", operation_id = "session",
    responses((status = 200, body = Session)))]
async fn show(
    State(app): Shared,
    _: Asked<Nothing>,
    Extension(verified): Extension<Verified>,
) -> Json<Session> {
    Json(Session::of(&app, &verified, Timestamp::now()))
}

/// Logs out. An API token is no login.
#[utoipa::path(delete, path = "/api/v1/session", tag = "who", operation_id = "log_out",
    responses((status = 204, description = "The login is over, also for open sockets.",
        headers(("Set-Cookie" = String, description = "Takes the cookie away.")))))]
async fn end(
    State(app): Shared,
    peer: Peer,
    _: Asked<Nothing>,
    Extension(verified): Extension<Verified>,
) -> Answer<Response> {
    app.auth.log_out(verified.pass).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    // That the browser is known goes on: it lets nobody in.
    set_cookie(response.headers_mut(), peer.secured, cookie_name, "", 0);
    Ok(response)
}

/// What a page shows its sockets instead of a token.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Ticket {
    ticket: String,
    /// Seconds.
    expires_in: i64,
}

/// A ticket for one connection of sockets.
#[utoipa::path(post, path = "/api/v1/session/ticket", tag = "who", responses((status = 200, body = Ticket)))]
async fn ticket(
    State(app): Shared,
    _: Asked<Nothing>,
    Extension(verified): Extension<Verified>,
) -> Answer<Json<Ticket>> {
    let ticket = app.auth.ticket(verified.pass, Timestamp::now()).map_err(super::refusal::Refusal::from)?;
    let full =
        || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "Too many tickets at once, try again in a minute");
    Ok(Json(Ticket { ticket: ticket.ok_or_else(full)?, expires_in: TICKET_LASTS.as_secs() }))
}
