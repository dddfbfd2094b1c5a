//! Login: who asks is found out here, for every call behind the login, and here they log in by the original's calls.
//!
//! A bearer token is shown by programs, and by the original's page. A cookie is sent by a browser whatever page made it
//! ask, so it is believed only together with what another page cannot know or make: for each call that changes
//! something the session's CSRF token, and that the browser itself says that the call comes from our own page. Where both
//! are sent the bearer token counts, because somebody meant it.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{self, HeaderMap};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use utoipa::ToSchema;

use super::auth::{ADMIN, Attempt, Denied, Pass, Password, Verified};
use super::bucket;
use super::caller;
use super::local;
use super::logins::Try;
use super::origin::From;
use super::peer::{Peer, Secured};
use super::problem::Problem;
use super::refusal::{Error, Refusal};
use super::token::Issued;
use super::web::{Answer, App, Shared, read_body};

/// The contract's words; the page logs out on them, so nothing else may use them.
pub(super) const NO_TOKEN: &str = "Authentication required";
pub(super) const BAD_TOKEN: &str = "Invalid or expired token";

/// What a page sends with each call that changes something.
pub(super) const CSRF_HEADER: &str = "X-CSRF-Token";

/// The cookie's name. `__Host-` has the browser see to it that no other host, and nobody without TLS, has set it.
pub(super) const SESSION_COOKIE: &str = "__Host-jarvis";

/// Lets through whoever may, with their [`caller::Caller`] and [`Verified`] for the handlers.
pub(super) async fn required(State(app): Shared, peer: Peer, mut request: Request, next: Next) -> Response {
    let routed = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str).to_owned();
    match identify(&app, peer, request.method(), request.headers(), &routed) {
        Ok(verified) => {
            request.extensions_mut().insert(verified.caller.clone());
            request.extensions_mut().insert(verified);
            next.run(request).await
        }
        Err(refusal) if routed.starts_with("/api/v1/") => Problem::from(refusal).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

fn identify(app: &App, peer: Peer, method: &Method, headers: &HeaderMap, routed: &str) -> Answer<Verified> {
    let now = Timestamp::now();
    let unknown = |words| Refusal::new(StatusCode::UNAUTHORIZED, words);
    let verified = if let Some(token) = bearer(headers) {
        let local = || {
            let caller = app.local.caller(token, peer.address, now)?;
            Some(Verified { caller, pass: Pass::Local, until: Some(now + local::LASTS) })
        };
        app.auth.verify(token, now).or_else(local).ok_or_else(|| unknown(BAD_TOKEN))?
    } else {
        let cookie = cookie(headers, peer.secured).ok_or_else(|| unknown(NO_TOKEN))?;
        let verified = app.auth.verify_cookie(cookie, now).ok_or_else(|| unknown(BAD_TOKEN))?;
        if !matches!(*method, Method::GET | Method::HEAD) {
            not_forged(app, peer, headers, &verified)?;
        }
        verified
    };
    let needed = caller::needed(method, routed);
    let caller = &verified.caller;
    if caller.role < needed {
        let error = format!("This needs the role {needed}; {} has the role {}", caller.name, caller.role);
        return Err(Refusal::new(StatusCode::FORBIDDEN, error));
    }
    Ok(verified)
}

/// A call that a cookie stands for, and that changes something, was made by our own page.
fn not_forged(app: &App, peer: Peer, headers: &HeaderMap, verified: &Verified) -> Answer<()> {
    let forged = |error: &str| Refusal::new(StatusCode::FORBIDDEN, error);
    match app.origins.from(headers, peer.secured) {
        From::Ours => {}
        From::Nobody => {
            return Err(forged(
                "A call with a cookie has to say where it comes from: send Origin, or a bearer token",
            ));
        }
        From::Others => return Err(forged("This page may not use the login of another one")),
    }
    let expected = app.auth.csrf(verified.pass).unwrap_or_default();
    let given = headers.get(CSRF_HEADER).map_or(&b""[..], |value| value.as_bytes());
    if !expected.is_empty() && bool::from(expected.as_bytes().ct_eq(given)) {
        return Ok(());
    }
    Err(forged("The header X-CSRF-Token is missing or wrong: GET /api/v1/session says the right one"))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let given = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = given.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// The cookie's name, which on loopback, without TLS, cannot be that one.
pub(super) fn cookie_name(secured: Secured) -> &'static str {
    match secured {
        Secured::No => "jarvis",
        Secured::Here | Secured::ByProxy => SESSION_COOKIE,
    }
}

/// The cookie, if there is exactly one: of two, one was set by somebody who should not be able to.
pub(super) fn cookie(headers: &HeaderMap, secured: Secured) -> Option<&str> {
    let name = cookie_name(secured);
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut ours = pairs.filter(|(given, _)| *given == name).map(|(_, value)| value);
    let first = ours.next();
    if ours.next().is_some() { None } else { first }
}

/// What a program sends with each call, as `Authorization: Bearer TOKEN`.
#[derive(Serialize, ToSchema)]
#[schema(as = Login)]
#[serde(rename_all = "camelCase")]
pub(super) struct Token {
    token: String,
    /// Seconds.
    expires_in: i64,
}

impl std::convert::From<Issued> for Json<Token> {
    fn from(Issued { token, expires_in }: Issued) -> Json<Token> {
        Json(Token { token, expires_in })
    }
}

#[derive(Deserialize, ToSchema)]
#[schema(as = OriginalLogin)]
pub(super) struct Login {
    /// May be left out: `admin`.
    username: Option<String>,
    password: String,
}

/// A token for whoever knows the password.
#[utoipa::path(post, path = "/api/auth/login", tag = "original", security(()), request_body = Login,
    responses((status = 200, body = Token), (status = 401, description = "Not the password.", body = Error)))]
pub(super) async fn login(State(app): Shared, peer: Peer, request: Request) -> Answer<Json<Token>> {
    const SHAPE: &str = r#"{"password": TEXT}"#;
    let body: Login = read_body(&app.limits, request, SHAPE).await?;
    let name = body.username.unwrap_or_else(|| ADMIN.into());
    Ok(log_in(&app, peer, name, Password::new(body.password), false).await?.into())
}

/// A login, within the budget of whoever tries.
pub(super) async fn log_in(
    app: &Arc<App>,
    peer: Peer,
    name: String,
    password: Password,
    page: bool,
) -> Answer<Issued> {
    let tried = try_once(app, peer, &name)?;
    let now = Timestamp::now();
    let attempt = Attempt { name, peer: bucket::network(peer.address), lane: tried.lane, page };
    let issued = app.auth.login(&attempt, password, now).await;
    let issued =
        issued.inspect_err(|denied| tracing::warn!(peer = %peer.address, "login refused: {denied}"))?;
    app.logins.succeeded(tried);
    Ok(issued)
}

#[derive(Deserialize, ToSchema)]
pub(super) struct SetUp {
    /// From the log.
    code: String,
    /// 8 to 1,024 bytes.
    password: String,
}

/// Sets the first password, once, and gives a token.
#[utoipa::path(post, path = "/api/auth/setup", tag = "original", security(()), request_body = SetUp,
    responses((status = 200, body = Token), (status = 401, description = "Not the code.", body = Error)))]
pub(super) async fn set_up(State(app): Shared, peer: Peer, request: Request) -> Answer<Json<Token>> {
    const SHAPE: &str = r#"{"code": TEXT, "password": TEXT}"#;
    let body: SetUp = read_body(&app.limits, request, SHAPE).await?;
    let tried = try_once(&app, peer, ADMIN)?;
    let issued = app.auth.set_up(&body.code, Password::new(body.password), Timestamp::now()).await;
    let issued =
        issued.inspect_err(|denied| tracing::warn!(peer = %peer.address, "setup refused: {denied}"))?;
    tracing::info!(peer = %peer.address, "the admin's password is set");
    app.logins.succeeded(tried);
    Ok(issued.into())
}

/// Ends the login that is shown. An API token is none.
#[utoipa::path(post, path = "/api/auth/logout", tag = "original", operation_id = "original_log_out",
    responses((status = 204, description = "It is over, also for open sockets.")))]
pub(super) async fn log_out(
    State(app): Shared,
    axum::Extension(verified): axum::Extension<Verified>,
) -> Answer<StatusCode> {
    app.auth.log_out(verified.pass).await.map_err(|objection| {
        let Problem { status, detail, .. } = objection.into();
        Refusal::new(status, detail)
    })?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes one try of a password from whoever is at the other end.
fn try_once(app: &App, peer: Peer, name: &str) -> Answer<Try> {
    let known = app.auth.knows(name, bucket::network(peer.address), Timestamp::now());
    take_try(app, peer, name, known)
}

/// As [`try_once`], for somebody of whom it is known whether they are.
pub(super) fn take_try(app: &App, peer: Peer, name: &str, known: bool) -> Answer<Try> {
    app.logins.take(peer.address, name, known, Instant::now()).map_err(|wait| {
        Refusal::new(StatusCode::TOO_MANY_REQUESTS, "Too many attempts, try again later").retry_after(wait)
    })
}

impl std::convert::From<Denied> for Refusal {
    fn from(denied: Denied) -> Refusal {
        let status = match denied {
            Denied::Wrong | Denied::WrongCode => StatusCode::UNAUTHORIZED,
            Denied::NotSetUp | Denied::AlreadySetUp => StatusCode::CONFLICT,
            Denied::BadPassword => StatusCode::BAD_REQUEST,
            Denied::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Denied::Broken => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let refusal = Refusal::new(status, denied.to_string());
        if denied == Denied::Busy { refusal.retry_after(std::time::Duration::from_secs(1)) } else { refusal }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_cookie_of_ours_counts() {
        let table: [(&str, &[&str], Secured, Option<&str>); 7] = [
            ("alone", &["jarvis=a"], Secured::No, Some("a")),
            ("among others", &["x=1; jarvis=a; y=2"], Secured::No, Some("a")),
            ("in another line", &["x=1", "jarvis=a"], Secured::No, Some("a")),
            ("twice", &["jarvis=a; jarvis=b"], Secured::No, None),
            ("over TLS the plain one is nobody's", &["jarvis=a"], Secured::Here, None),
            ("over TLS", &["jarvis=a; __Host-jarvis=b"], Secured::ByProxy, Some("b")),
            ("another name that ends alike", &["xjarvis=a"], Secured::No, None),
        ];
        for (name, lines, secured, expected) in table {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::COOKIE, line.parse().unwrap());
            }
            assert_eq!(cookie(&headers, secured), expected, "{name}");
        }
    }
}
