//! Login: who asks is found out here, for every call behind the login, and here they log in by the original's calls.
//!
//! A bearer token is shown by programs, and by the original's page. A cookie is sent by a browser whatever page made it
//! ask, so it is believed only together with what another page cannot know or make: for each call that changes
//! something the session's CSRF token, and that the browser itself says that the call comes from our own page; and no call
//! at all is made by it that another page has a browser make, as far as the browser says so. Where both are sent the bearer
//! token counts, because somebody meant it.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use utoipa::ToSchema;

use super::auth::{ADMIN, Attempt, DEVICE_LASTS, Denied, Pass, Password, Verified};
use super::bucket;
use super::caller;
use super::local::{self, Call, Shown};
use super::logins::{Place, Try};
use super::origin::{From, of_another_page};
use super::peer::{Peer, Secured};
use super::problem::Problem;
use super::refusal::{Error, Refusal};
use super::token::Issued;
use super::web::{Answer, App, Shared, read_bytes, read_said};

/// The contract's words; the page logs out on them, so nothing else may use them.
pub(super) const NO_TOKEN: &str = "Authentication required";
pub(super) const BAD_TOKEN: &str = "Invalid or expired token";

/// To whoever lets a browser send the cookie along.
const OTHER_PAGE: &str = "This page may not use the login of another one";

/// What a page sends with each call that changes something.
pub(super) const CSRF_HEADER: &str = "X-CSRF-Token";

/// The cookie's name. `__Host-` has the browser see to it that no other host, and nobody without TLS, has set it.
pub(super) const SESSION_COOKIE: &str = "__Host-jarvis";

/// Largest answer that is sealed, in bytes: the most that the command line reads. Ours are in memory as a whole already.
const SEALED_MAX: usize = 80 * 1024 * 1024;

/// Lets through whoever may, with their [`caller::Caller`] and [`Verified`] for the handlers.
pub(super) async fn required(State(app): Shared, peer: Peer, request: Request, next: Next) -> Response {
    let routed = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str).to_owned();
    let token = bearer(request.headers());
    let by_cookie = token.is_none();
    let proof = token.and_then(|token| app.local.read(token, peer.address, Timestamp::now()));
    let answer = match proof {
        Some(shown) => of_this_machine(&app, shown, request, next).await,
        None => match identify(&app, peer, request.method(), request.headers(), &routed) {
            Ok(verified) => Ok(next.run(of(verified, request)).await),
            Err(refusal) => Err(refusal),
        },
    };
    match answer {
        Ok(mut response) => {
            if by_cookie {
                // What a browser has kept it shows at the press of a button, also when the login is over.
                response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            }
            response
        }
        Err(refusal) if routed.starts_with("/api/v1/") => Problem::from(refusal).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

/// The request, with who asks.
fn of(verified: Verified, mut request: Request) -> Request {
    request.extensions_mut().insert(verified.caller.clone());
    request.extensions_mut().insert(verified);
    request
}

/// A call of the command line: its proof is for this call alone, and the answer is sealed for it.
async fn of_this_machine(app: &App, shown: Shown, request: Request, next: Next) -> Answer<Response> {
    let (parts, body) = request.into_parts();
    let bytes = read_bytes(&app.limits, body).await?;
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let call = Call { method: parts.method.as_str(), path, body: &bytes };
    let now = Timestamp::now();
    if !app.local.accepts(&shown, call, now) {
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, BAD_TOKEN));
    }
    let verified =
        Verified { caller: shown.caller.clone(), pass: Pass::Local, until: Some(now + local::LASTS) };
    let response = next.run(of(verified, Request::from_parts(parts, bytes.into()))).await;
    let (mut parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, SEALED_MAX).await.map_err(|error| {
        tracing::error!("an answer to the command line broke off: {error}");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "The answer could not be made; the log says why")
    })?;
    if let Ok(seal) = HeaderValue::from_str(&app.local.seal(&shown, parts.status, &bytes)) {
        parts.headers.insert(local::SEAL_HEADER, seal);
    }
    Ok(Response::from_parts(parts, bytes.into()))
}

fn identify(app: &App, peer: Peer, method: &Method, headers: &HeaderMap, routed: &str) -> Answer<Verified> {
    let now = Timestamp::now();
    let unknown = |words| Refusal::new(StatusCode::UNAUTHORIZED, words);
    let verified = if let Some(token) = bearer(headers) {
        app.auth.verify(token, now).ok_or_else(|| unknown(BAD_TOKEN))?
    } else {
        let cookie = cookie(headers, peer.secured).ok_or_else(|| unknown(NO_TOKEN))?;
        let verified = app.auth.verify_cookie(cookie, now).ok_or_else(|| unknown(BAD_TOKEN))?;
        if !matches!(*method, Method::GET | Method::HEAD) {
            not_forged(app, peer, headers, &verified)?;
        } else if of_another_page(headers) {
            // It could not read the answer, but have it made, and learn from how long that took.
            return Err(Refusal::new(StatusCode::FORBIDDEN, OTHER_PAGE));
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
        From::Others => return Err(forged(OTHER_PAGE)),
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

/// The name of the cookie by which a browser is known in which somebody has logged in; see `auth::device`.
fn device_cookie_name(secured: Secured) -> &'static str {
    match secured {
        Secured::No => "jarvis-device",
        Secured::Here | Secured::ByProxy => "__Host-jarvis-device",
    }
}

/// The login's cookie.
pub(super) fn cookie(headers: &HeaderMap, secured: Secured) -> Option<&str> {
    cookie_named(headers, cookie_name(secured))
}

/// The cookie, if there is exactly one: of two, one was set by somebody who should not be able to.
fn cookie_named<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
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
    responses((status = 200, body = Token), (status = 401, description = "Not the password.", body = Error),
        (status = 403, description = "The page is not ours.", body = Error)))]
pub(super) async fn login(State(app): Shared, peer: Peer, request: Request) -> Answer<Response> {
    const SHAPE: &str = r#"{"password": TEXT}"#;
    not_of_another_page(&app, peer, request.headers())?;
    let browser = Browser::of(peer, request.headers());
    let body: Login = read_said(&app.limits, request, SHAPE).await?;
    let name = body.username.unwrap_or_else(|| ADMIN.into());
    let (issued, device) = log_in(&app, &browser, name, Password::new(body.password), false).await?;
    let mut response = Json::<Token>::from(issued).into_response();
    browser.keep(response.headers_mut(), device);
    Ok(response)
}

/// Nobody logs in from another page: it would guess in its visitor's name, and use up the tries of the place where that
/// one is known; or log them in as somebody else, and read what they then do.
pub(super) fn not_of_another_page(app: &App, peer: Peer, headers: &HeaderMap) -> Answer<()> {
    match app.origins.from(headers, peer.secured) {
        From::Ours | From::Nobody => Ok(()),
        From::Others => Err(Refusal::new(StatusCode::FORBIDDEN, "This page may not log in here")),
    }
}

/// Who tries to log in, and what it brought along from an earlier login.
pub(super) struct Browser {
    peer: Peer,
    device: Option<Box<str>>,
}

impl Browser {
    pub(super) fn of(peer: Peer, headers: &HeaderMap) -> Browser {
        Browser { peer, device: cookie_named(headers, device_cookie_name(peer.secured)).map(Into::into) }
    }

    /// From where it tries, as that user.
    fn place(&self, app: &App, name: &str) -> Place {
        let (now, address) = (Timestamp::now(), self.peer.address);
        let device = self.device.as_deref().and_then(|cookie| app.auth.device(name, cookie, now));
        match device {
            Some(device) => Place::Device(device),
            None if app.auth.knows(name, bucket::network(address), now) => Place::Known(address),
            None => Place::Strange(address),
        }
    }

    /// Has it known from now on. A program takes no cookies.
    pub(super) fn keep(&self, headers: &mut HeaderMap, device: Option<String>) {
        if let Some(device) = device {
            set_cookie(headers, self.peer.secured, device_cookie_name, &device, DEVICE_LASTS.as_secs());
        }
    }
}

/// `max_age` 0 takes it away.
pub(super) fn set_cookie(
    headers: &mut HeaderMap,
    secured: Secured,
    name: fn(Secured) -> &'static str,
    value: &str,
    max_age: i64,
) {
    let secure = match secured {
        Secured::No => "",
        Secured::Here | Secured::ByProxy => "; Secure",
    };
    let name = name(secured);
    let text = format!("{name}={value}; Path=/; Max-Age={max_age}; HttpOnly; SameSite=Strict{secure}");
    // Our own letters and digits: there is nothing in them that a header could not hold.
    if let Ok(value) = HeaderValue::from_str(&text) {
        headers.append(header::SET_COOKIE, value);
    }
}

/// A login, within the budget of whoever tries, and what its browser is to be known by.
pub(super) async fn log_in(
    app: &Arc<App>,
    browser: &Browser,
    name: String,
    password: Password,
    page: bool,
) -> Answer<(Issued, Option<String>)> {
    let tried = take_try(app, browser.place(app, &name), &name)?;
    let (now, peer) = (Timestamp::now(), browser.peer.address);
    let attempt = Attempt { name, peer: bucket::network(peer), lane: tried.lane(), page };
    let issued = app.auth.login(&attempt, password, now).await;
    let issued = issued.inspect_err(|denied| tracing::warn!(%peer, "login refused: {denied}"))?;
    app.logins.succeeded(tried);
    Ok((issued, app.auth.new_device(&attempt.name, now)))
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
    responses((status = 200, body = Token), (status = 401, description = "Not the code.", body = Error),
        (status = 403, description = "The page is not ours.", body = Error)))]
pub(super) async fn set_up(State(app): Shared, peer: Peer, request: Request) -> Answer<Response> {
    const SHAPE: &str = r#"{"code": TEXT, "password": TEXT}"#;
    not_of_another_page(&app, peer, request.headers())?;
    let browser = Browser::of(peer, request.headers());
    let body: SetUp = read_said(&app.limits, request, SHAPE).await?;
    let tried = take_try(&app, browser.place(&app, ADMIN), ADMIN)?;
    let (now, peer) = (Timestamp::now(), peer.address);
    let password = Password::new(body.password);
    let issued = app.auth.set_up(&body.code, password, bucket::network(peer), now).await;
    let issued = issued.inspect_err(|denied| tracing::warn!(%peer, "setup refused: {denied}"))?;
    tracing::info!(%peer, "the admin's password is set");
    app.logins.succeeded(tried);
    let mut response = Json::<Token>::from(issued).into_response();
    browser.keep(response.headers_mut(), app.auth.new_device(ADMIN, now));
    Ok(response)
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

/// Takes one try of a password from whoever is there.
fn take_try(app: &App, place: Place, name: &str) -> Answer<Try> {
    app.logins.take(place, name, Instant::now()).map_err(|wait| {
        Refusal::new(StatusCode::TOO_MANY_REQUESTS, "Too many attempts, try again later").retry_after(wait)
    })
}

/// As [`take_try`], from somebody who is logged in as the user.
pub(super) fn take_own_try(app: &App, browser: &Browser, name: &str) -> Answer<Try> {
    let place = match browser.place(app, name) {
        Place::Strange(peer) => Place::Known(peer),
        place @ (Place::Device(_) | Place::Known(_)) => place,
    };
    take_try(app, place, name)
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
