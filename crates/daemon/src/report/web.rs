//! Web: the REST calls of the contract that read, and the login. Every answer is JSON, refusals too.
//!
//! What writes (kill switch, autonomy, tools) comes with the operators' commands.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use engine::observe::ClusterName;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tower_http::cors::{AllowOrigin, CorsLayer};
use utoipa::openapi::OpenApi;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Auth, Denied, Password};
use super::bucket::Buckets;
use super::caller;
use super::live::Live;
use super::origin::Origins;
use super::peer::Peer;
use super::refusal::{Error, Refusal};
use super::token::Issued;
use super::{Limits, page::Page, problem, v1};
use crate::record::{RestAction, RestEvent, Store, StoreError};
use crate::supervise::Stop;

/// How many rows a list has when nobody says how many, and at most.
const ROWS_DEFAULT: u32 = 50;
const ROWS_MAX: u32 = 1000;

/// How long the store may take to show that it is alive.
const HEALTH_WAIT: Duration = Duration::from_secs(2);

/// All that the handlers share.
pub(super) struct App {
    pub(super) store: Store,
    pub(super) auth: Arc<Auth>,
    pub(super) live: Arc<Live>,
    /// The first cluster's: what the old page shows.
    pub(super) page: Arc<Page>,
    /// Every cluster's, in the configuration's order.
    pub(super) pages: Vec<(ClusterName, Arc<Page>)>,
    pub(super) origins: Arc<Origins>,
    pub(super) limits: Limits,
    /// The highest autonomy level that the configuration allows.
    pub(super) ceiling: u8,
    pub(super) logins: Buckets,
    pub(super) requests: Semaphore,
    pub(super) stop: Stop,
}

type Shared = State<Arc<App>>;
type Answer<T> = Result<T, Refusal>;

/// The REST calls, with their limits.
pub(super) fn router(app: Arc<App>) -> Router {
    let private = private()
        .route_layer(middleware::from_fn_with_state(app.clone(), counted))
        .route_layer(middleware::from_fn_with_state(app.clone(), with_token));
    let public = public().route_layer(middleware::from_fn_with_state(app.clone(), counted));
    let router: Router<Arc<App>> = private.merge(public).merge(logins()).into();
    router
        .route("/", get(front))
        .method_not_allowed_fallback(async |method: Method| {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not allowed here"))
        })
        .fallback(async || Refusal::new(StatusCode::NOT_FOUND, "There is nothing here"))
        .layer(middleware::from_fn_with_state(app.clone(), timed))
        .layer(middleware::from_fn(problem::spoken))
        .with_state(app)
}

/// The calls that need a token.
fn private() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(status))
        .routes(routes!(actions))
        .routes(routes!(events))
        .routes(routes!(unresolved))
        .routes(routes!(preferences))
        .merge(v1::router())
}

/// The calls for everybody.
fn public() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(health)).merge(v1::public())
}

/// The logins are not counted: their bodies may come slowly, and those who send them must not be able to hold up those
/// who have a token. They are bounded by the connections and by the queue for the hash.
fn logins() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(login)).routes(routes!(set_up))
}

/// Every call as it is described where it is answered.
pub(super) fn described() -> OpenApi {
    private().merge(public()).merge(logins()).into_openapi()
}

/// Which other origins' pages may read the answers.
pub(super) fn cors(origins: Arc<Origins>) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(move |origin, _| origins.lists(origin)))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, header::IF_NONE_MATCH])
        .expose_headers([header::RETRY_AFTER, header::ETAG, header::LINK])
        .max_age(Duration::from_secs(600))
}

/// What every answer says to a browser. Nothing here is a page yet, so nothing may load or be framed.
pub(super) async fn hardened(request: Request, next: Next) -> Response {
    const HEADERS: [(HeaderName, HeaderValue); 5] = [
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}

/// A limit on how many calls run at once.
async fn counted(State(app): Shared, request: Request, next: Next) -> Response {
    let Ok(_turn) = app.requests.try_acquire() else {
        return Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "Too many requests at once, try again")
            .retry_after(Duration::from_secs(1))
            .into_response();
    };
    next.run(request).await
}

/// A limit on how long a call may take.
async fn timed(State(app): Shared, request: Request, next: Next) -> Response {
    match tokio::time::timeout(app.limits.request, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "The answer took too long, try again")
            .retry_after(Duration::from_secs(1))
            .into_response(),
    }
}

async fn with_token(State(app): Shared, mut request: Request, next: Next) -> Answer<Response> {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = given.and_then(|given| given.split_once(' ')).and_then(|(scheme, token)| {
        let token = token.trim();
        (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
    });
    let token = token.ok_or_else(|| Refusal::new(StatusCode::UNAUTHORIZED, NO_TOKEN))?;
    let claims = app.auth.verify(token, Timestamp::now());
    let caller = claims.ok_or_else(|| Refusal::new(StatusCode::UNAUTHORIZED, BAD_TOKEN))?.caller();
    let routed = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let needed = caller::needed(request.method(), routed);
    if caller.role < needed {
        let error = format!("This needs the role {needed}; {} has the role {}", caller.name, caller.role);
        return Err(Refusal::new(StatusCode::FORBIDDEN, error));
    }
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// The names of a page's session, as the document says them; without TLS, on loopback, the cookie is `jarvis`.
pub(super) const SESSION_COOKIE: &str = "__Host-jarvis";
pub(super) const CSRF_HEADER: &str = "X-CSRF-Token";

/// The contract's words; the page logs out on them, so nothing else may use them.
pub(super) const NO_TOKEN: &str = "Authentication required";
pub(super) const BAD_TOKEN: &str = "Invalid or expired token";

async fn front() -> &'static str {
    "Jarvis watches this Proxmox VE cluster.\n\
     Health: GET /api/health. Everything else asks for a token: POST /api/auth/login.\n"
}

/// What a program sends with each call, as `Authorization: Bearer TOKEN`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Token {
    token: String,
    /// Seconds.
    expires_in: i64,
}

impl From<Issued> for Json<Token> {
    fn from(Issued { token, expires_in }: Issued) -> Json<Token> {
        Json(Token { token, expires_in })
    }
}

#[derive(Deserialize, ToSchema)]
struct Login {
    /// May be left out.
    username: Option<String>,
    password: String,
}

/// A token for whoever knows the password.
#[utoipa::path(post, path = "/api/auth/login", tag = "original", security(()), request_body = Login,
    responses((status = 200, body = Token), (status = 401, description = "Not the password.", body = Error)))]
async fn login(State(app): Shared, peer: Peer, request: Request) -> Answer<Json<Token>> {
    const SHAPE: &str = r#"{"password": TEXT}"#;
    let body: Login = read_body(&app.limits, request, SHAPE).await?;
    try_from_peer(&app, peer)?;
    if body.username.is_some_and(|name| name != "admin") {
        return Err(Denied::Wrong.into());
    }
    let issued = app.auth.login(Password::new(body.password), Timestamp::now()).await;
    let issued =
        issued.inspect_err(|denied| tracing::warn!(peer = %peer.address, "login refused: {denied}"))?;
    app.logins.forgive(peer.address);
    Ok(issued.into())
}

#[derive(Deserialize, ToSchema)]
struct SetUp {
    /// From the log.
    code: String,
    /// 8 to 1,024 bytes.
    password: String,
}

/// Sets the first password, once, and gives a token.
#[utoipa::path(post, path = "/api/auth/setup", tag = "original", security(()), request_body = SetUp,
    responses((status = 200, body = Token), (status = 401, description = "Not the code.", body = Error)))]
async fn set_up(State(app): Shared, peer: Peer, request: Request) -> Answer<Json<Token>> {
    const SHAPE: &str = r#"{"code": TEXT, "password": TEXT}"#;
    let body: SetUp = read_body(&app.limits, request, SHAPE).await?;
    try_from_peer(&app, peer)?;
    let issued = app.auth.set_up(&body.code, Password::new(body.password), Timestamp::now()).await;
    let issued =
        issued.inspect_err(|denied| tracing::warn!(peer = %peer.address, "setup refused: {denied}"))?;
    tracing::info!(peer = %peer.address, "the admin's password is set");
    app.logins.forgive(peer.address);
    Ok(issued.into())
}

fn try_from_peer(app: &App, peer: Peer) -> Answer<()> {
    app.logins.take(peer.address, Instant::now()).map_err(|wait| {
        Refusal::new(StatusCode::TOO_MANY_REQUESTS, "Too many attempts, try again later").retry_after(wait)
    })
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Refusal {
        let status = match denied {
            Denied::Wrong | Denied::WrongCode => StatusCode::UNAUTHORIZED,
            Denied::NotSetUp | Denied::AlreadySetUp => StatusCode::CONFLICT,
            Denied::BadPassword => StatusCode::BAD_REQUEST,
            Denied::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Denied::Broken => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let refusal = Refusal::new(status, denied.to_string());
        if denied == Denied::Busy { refusal.retry_after(Duration::from_secs(1)) } else { refusal }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = PublicHealth)]
struct Health {
    status: &'static str,
    timestamp: String,
    /// Seconds.
    uptime: u64,
    version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    components: Option<Components>,
}

#[derive(Serialize, ToSchema)]
struct Components {
    store: Component,
    monitor: Component,
    sockets: Sockets,
}

#[derive(Serialize, ToSchema)]
struct Component {
    status: &'static str,
}

#[derive(Serialize, ToSchema)]
struct Sockets {
    status: &'static str,
    clients: usize,
}

/// How Jarvis is, for a program that starts it anew. Public, so it says how things are and nothing about what is watched.
#[utoipa::path(get, path = "/api/health", tag = "original", security(()),
    params(("liveness" = Option<String>, Query, description = "Asks only whether it runs, not whether it sees")),
    responses((status = 200, body = Health), (status = 503, description = "A part of it is ill.", body = Health)))]
async fn health(State(app): Shared, uri: Uri) -> Answer<(StatusCode, Json<Health>)> {
    let liveness = Query::parse(&uri, &["liveness"])?.get("liveness").is_some();
    let now = Instant::now();
    let mut health = Health {
        status: "ok",
        timestamp: to_wire(Timestamp::now()),
        uptime: app.live.uptime(now).as_secs(),
        version: env!("CARGO_PKG_VERSION"),
        components: None,
    };
    if liveness {
        return Ok((StatusCode::OK, Json(health)));
    }
    let store = tokio::time::timeout(HEALTH_WAIT, app.store.get_preference("autonomy.level")).await;
    // One that can be read but not written tells nothing any more, and nobody else would say so.
    let store = matches!(store, Ok(Ok(_))) && !app.store.is_failing();
    let monitor = app.live.clusters(now).all(|(_, seen)| seen);
    let word = |well, ill| if well { "ok" } else { ill };
    health.components = Some(Components {
        store: Component { status: word(store, "down") },
        monitor: Component { status: word(monitor, "blind") },
        sockets: Sockets { status: "ok", clients: app.pages.iter().map(|(_, page)| page.clients()).sum() },
    });
    if store && monitor {
        return Ok((StatusCode::OK, Json(health)));
    }
    health.status = "degraded";
    Ok((StatusCode::SERVICE_UNAVAILABLE, Json(health)))
}

/// What the original page shows above all.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct MonitorStatus {
    running: bool,
    autonomy_level: u8,
    kill_switch: bool,
    active_remediations: usize,
}

/// How watching goes.
#[utoipa::path(get, path = "/api/monitor/status", tag = "original", responses((status = 200, body = MonitorStatus)))]
async fn status(State(app): Shared, uri: Uri) -> Answer<Json<MonitorStatus>> {
    Query::parse(&uri, &[])?;
    let level = app.store.get_preference("autonomy.level").await?;
    let kill_switch = app.store.get_preference("autonomy.killSwitch").await?;
    Ok(Json(MonitorStatus {
        running: app.live.seeing(Instant::now()),
        autonomy_level: autonomy_level(level.as_ref().map(|row| row.value.as_str()), app.ceiling),
        kill_switch: kill_switch_on(kill_switch.as_ref().map(|row| row.value.as_str())),
        active_remediations: app.live.active_remediations(),
    }))
}

/// A fresh store starts at the ceiling; what cannot be read allows nothing but watching.
fn autonomy_level(stored: Option<&str>, ceiling: u8) -> u8 {
    stored.map_or(ceiling, |level| level.trim().parse().unwrap_or(0).min(ceiling))
}

/// What cannot be read stops everything.
fn kill_switch_on(stored: Option<&str>) -> bool {
    !matches!(stored.map(str::trim), None | Some("false"))
}

#[derive(Serialize, ToSchema)]
#[schema(as = OriginalEvents)]
struct Events<'a> {
    events: Vec<RestEvent<'a>>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = OriginalActions)]
struct Actions<'a> {
    actions: Vec<RestAction<'a>>,
}

/// How many.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct Limited {
    /// Most rows in the answer.
    #[param(minimum = 1, maximum = 1000, default = 50)]
    #[expect(dead_code, reason = "read by hand")]
    limit: Option<u32>,
}

/// What was told, newest first.
#[utoipa::path(get, path = "/api/memory/events", tag = "original", operation_id = "original_events", params(Limited),
    responses((status = 200, body = Events<'static>)))]
async fn events(State(app): Shared, uri: Uri) -> Answer<Response> {
    let limit = Query::parse(&uri, &["limit"])?.limit()?;
    let rows = app.store.get_recent_events(limit).await?;
    let events: Vec<_> = rows.iter().map(|row| row.rest()).collect();
    Ok(Json(Events { events }).into_response())
}

/// What was told and is not over.
#[utoipa::path(get, path = "/api/memory/events/unresolved", tag = "original",
    responses((status = 200, body = Events<'static>)))]
async fn unresolved(State(app): Shared, uri: Uri) -> Answer<Response> {
    Query::parse(&uri, &[])?;
    let rows = app.store.get_unresolved(ROWS_MAX).await?;
    let events: Vec<_> = rows.iter().map(|row| row.rest()).collect();
    Ok(Json(Events { events }).into_response())
}

/// What was done, newest first.
#[utoipa::path(get, path = "/api/monitor/actions", tag = "original", operation_id = "original_actions", params(Limited),
    responses((status = 200, body = Actions<'static>)))]
async fn actions(State(app): Shared, uri: Uri) -> Answer<Response> {
    let limit = Query::parse(&uri, &["limit"])?.limit()?;
    let rows = app.store.get_autonomy_actions(limit).await?;
    let actions: Vec<_> = rows.iter().map(|row| row.rest()).collect();
    Ok(Json(Actions { actions }).into_response())
}

#[derive(Serialize, ToSchema)]
#[schema(as = OriginalPreference)]
#[serde(rename_all = "camelCase")]
struct Preference {
    key: String,
    value: String,
    updated_at: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = OriginalPreferences)]
struct Preferences {
    preferences: Vec<Preference>,
}

/// What is set.
#[utoipa::path(get, path = "/api/memory/preferences", tag = "original", operation_id = "original_preferences",
    responses((status = 200, body = Preferences)))]
async fn preferences(State(app): Shared, uri: Uri) -> Answer<Json<Preferences>> {
    Query::parse(&uri, &[])?;
    let rows = app.store.all_preferences().await?.into_iter();
    let preferences = rows
        .map(|row| Preference { key: row.key, value: row.value, updated_at: row.updated_at.map(to_wire) })
        .collect();
    Ok(Json(Preferences { preferences }))
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        tracing::error!("a call was not answered: {:#}", anyhow::Error::from(error));
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "The store did not answer; the log says why")
    }
}

/// ISO 8601 in UTC, to the millisecond.
fn to_wire(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// A call's parameters, of which none is unknown: a misspelt one must not be taken for none.
#[derive(Debug)]
struct Query(Vec<(String, String)>);

impl Query {
    fn parse(uri: &Uri, allowed: &[&str]) -> Answer<Query> {
        let bad = |error: String| Refusal::new(StatusCode::BAD_REQUEST, error);
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| bad("The parameters cannot be read".into()))?
            .0;
        match pairs.iter().find(|(name, _)| !allowed.contains(&name.as_str())) {
            None => Ok(Query(pairs)),
            Some((name, _)) => {
                let name: String = name.chars().take(40).collect();
                let allowed = if allowed.is_empty() { "none".into() } else { allowed.join(", ") };
                Err(bad(format!("Unknown parameter `{name}`; allowed: {allowed}")))
            }
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    fn limit(&self) -> Answer<u32> {
        let Some(text) = self.get("limit") else { return Ok(ROWS_DEFAULT) };
        let limit = text.parse().ok().filter(|limit| (1..=ROWS_MAX).contains(limit));
        limit.ok_or_else(|| {
            Refusal::new(
                StatusCode::BAD_REQUEST,
                format!("limit must be a whole number from 1 to {ROWS_MAX}"),
            )
        })
    }
}

/// A JSON body of the given shape, within the limits of size and time.
async fn read_body<T: for<'a> Deserialize<'a>>(limits: &Limits, request: Request, shape: &str) -> Answer<T> {
    let read = axum::body::to_bytes(request.into_body(), limits.body);
    let bytes = match tokio::time::timeout(limits.read, read).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => {
            let error = format!("The body must have at most {} bytes", limits.body);
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, error));
        }
        Err(_) => return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "The body came too slowly")),
    };
    // Without serde's own words: they would quote the body, which may hold a password.
    serde_json::from_slice(&bytes)
        .map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, format!("The body must be JSON: {shape}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_read_safely() {
        for (name, stored, ceiling, expected) in [
            ("fresh store", None, 2, 2),
            ("lowered", Some("1"), 2, 1),
            ("above the ceiling", Some("4"), 2, 2),
            ("the original's default under our ceiling", Some("3"), 3, 3),
            ("no number", Some("lots"), 3, 0),
            ("negative", Some("-1"), 3, 0),
        ] {
            assert_eq!(autonomy_level(stored, ceiling), expected, "{name}");
        }
        for (name, stored, expected) in [
            ("fresh store", None, false),
            ("off", Some("false"), false),
            ("on", Some("true"), true),
            ("what the original wrote for a bad call", Some("undefined"), true),
        ] {
            assert_eq!(kill_switch_on(stored), expected, "{name}");
        }
    }

    #[test]
    fn parameters() {
        let parse =
            |uri: &str| Query::parse(&uri.parse().unwrap(), &["limit"]).and_then(|query| query.limit());
        for (uri, expected) in [
            ("/", Ok(50)),
            ("/?limit=1", Ok(1)),
            ("/?limit=1000", Ok(1000)),
            ("/?limit=0", Err("limit must be a whole number from 1 to 1000")),
            ("/?limit=1001", Err("limit must be a whole number from 1 to 1000")),
            ("/?limit=-1", Err("limit must be a whole number from 1 to 1000")),
            ("/?limit=", Err("limit must be a whole number from 1 to 1000")),
            ("/?limit=ten", Err("limit must be a whole number from 1 to 1000")),
            ("/?limti=5", Err("Unknown parameter `limti`; allowed: limit")),
        ] {
            assert_eq!(parse(uri).map_err(|refusal| refusal.error), expected.map_err(str::to_owned), "{uri}");
        }
    }

    #[test]
    fn times_have_milliseconds_and_a_z() {
        assert_eq!(to_wire(Timestamp::from_second(0).unwrap()), "1970-01-01T00:00:00.000Z");
    }
}
