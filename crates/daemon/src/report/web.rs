//! Web: the REST calls of the contract that read, and the login. Every answer is JSON, refusals too.
//!
//! What an operator changes is in [`control`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode, Uri, Version};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use engine::observe::ClusterName;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tower_http::cors::{AllowOrigin, CorsLayer};
use utoipa::openapi::OpenApi;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Auth;
use super::caller::Caller;
use super::control;
use super::live::Live;
use super::local::Local;
use super::login;
use super::logins::Logins;
use super::metrics::Scrapes;
use super::origin::Origins;
use super::peer::{Peer, Secured};
use super::problem::{self, Problem};
use super::refusal::Refusal;
use super::solo::Solo;
use super::tally::{Kind, Tally};
use super::tools::{self, Tools};
use super::turns::{self, Turns, Until};
use super::{Limits, metrics, page::Page, session, site, users, v1};
use crate::record::{self, RestAction, RestEvent, Scope, Store, StoreError};
use crate::supervise::Stop;
use crate::words;

/// How many rows a list has when nobody says how many, and at most.
const ROWS_DEFAULT: u32 = 50;
const ROWS_MAX: u32 = 1000;

/// How long the store may take to show that it is alive.
const HEALTH_WAIT: Duration = Duration::from_secs(2);

/// All that the handlers share.
pub(super) struct App {
    pub(super) store: Store,
    pub(super) auth: Arc<Auth>,
    pub(super) local: Local,
    pub(super) live: Arc<Live>,
    /// The first cluster's: what the old page shows.
    pub(super) page: Arc<Page>,
    /// Every cluster's, in the configuration's order.
    pub(super) pages: Vec<(ClusterName, Arc<Page>)>,
    pub(super) origins: Arc<Origins>,
    pub(super) limits: Limits,
    /// The highest autonomy level that the configuration allows.
    pub(super) ceiling: u8,
    pub(super) switching: Arc<control::Switching>,
    pub(super) tools: Tools,
    pub(super) logins: Logins,
    pub(super) turns: Arc<Turns>,
    /// Files of the journal that are being sent.
    pub(super) exports: Arc<Turns>,
    pub(super) scrapes: Arc<Scrapes>,
    /// Through the journal.
    pub(super) walks: Arc<Solo<v1::Walked>>,
    pub(super) stop: Stop,
    pub(super) tally: Tally,
}

impl App {
    /// A cluster that a caller names. Whoever may not see one does not learn here that it exists.
    ///
    /// # Errors
    /// Which one there is none of, for people.
    pub(super) fn named_cluster(
        &self,
        caller: &Caller,
        named: &str,
    ) -> Result<(&ClusterName, &Page), String> {
        let page = self.pages.iter().find(|(name, _)| name.as_str() == named && caller.sees(name));
        let page = page.map(|(name, page)| (name, &**page));
        page.ok_or_else(|| {
            let named: String = words::plain(named).chars().take(100).collect();
            format!("no cluster `{named}` is watched: {}", self.shown_clusters(caller))
        })
    }

    /// `there are lab, edge`: those that a caller may see.
    pub(super) fn shown_clusters(&self, caller: &Caller) -> String {
        let names = self.pages.iter().map(|(name, _)| name).filter(|name| caller.sees(name));
        match &names.map(ClusterName::as_str).collect::<Vec<_>>()[..] {
            [] => "there is none for you".into(),
            [one] => format!("there is {one}"),
            several => format!("there are {}", several.join(", ")),
        }
    }
}

pub(super) type Shared = State<Arc<App>>;
pub(super) type Answer<T> = Result<T, Refusal>;

/// The REST calls, with their limits.
pub(super) fn router(app: Arc<App>) -> Router {
    let private = private()
        .route_layer(middleware::from_fn_with_state(app.clone(), counted))
        .route_layer(middleware::from_fn_with_state(app.clone(), login::required));
    let public = public().route_layer(middleware::from_fn_with_state(app.clone(), counted));
    let router: Router<Arc<App>> = private.merge(public).merge(logins()).into();
    router
        .merge(site::router())
        .method_not_allowed_fallback(async |method: Method| {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not allowed here"))
        })
        .fallback(async || Refusal::new(StatusCode::NOT_FOUND, "There is nothing here"))
        .layer(middleware::from_fn_with_state(app.clone(), timed))
        .layer(middleware::from_fn(problem::spoken))
        .with_state(app)
}

/// The calls that need a login.
fn private() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(status))
        .routes(routes!(actions))
        .routes(routes!(events, control::save_event))
        .routes(routes!(unresolved))
        .routes(routes!(preferences))
        .merge(control::routes())
        .merge(tools::routes())
        .routes(routes!(login::log_out))
        .merge(session::private())
        .merge(users::private())
        .merge(v1::router())
        .routes(routes!(metrics::metrics))
}

/// The calls for everybody.
fn public() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(health)).merge(v1::public())
}

/// The logins are not counted: their bodies may come slowly, and those who send them must not be able to hold up those
/// who have one. They are bounded by the connections and by the queue for the hash.
fn logins() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(login::login)).routes(routes!(login::set_up)).merge(session::public())
}

/// Every call as it is described where it is answered.
pub(super) fn described() -> OpenApi {
    private().merge(public()).merge(logins()).into_openapi()
}

/// Which other origins' pages may read the answers.
pub(super) fn cors(origins: Arc<Origins>) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(move |origin, _| origins.lists(origin)))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, header::IF_NONE_MATCH])
        .expose_headers([header::RETRY_AFTER, header::ETAG, header::LINK])
        .max_age(Duration::from_secs(600))
}

/// What every answer says to a browser. Only the page itself (`site`) says more: everything else may load nothing.
pub(super) async fn hardened(request: Request, next: Next) -> Response {
    const HEADERS: [(HeaderName, HeaderValue); 7] = [
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        // No other page gets hold of it: as a picture or a script, or of the window that shows it. What CORS allows goes on.
        (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
        (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    ];
    // For a year, and only where it is ours to say: a proxy's TLS is its own affair.
    const TLS_ONLY: HeaderValue = HeaderValue::from_static("max-age=31536000");
    let here = request.extensions().get::<Peer>().is_some_and(|peer| peer.secured == Secured::Here);
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(value);
    }
    if here {
        response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, TLS_ONLY);
    }
    response
}

/// Headers of which the first and the last mean different things to different programs on the way, so each comes once.
const ONCE: [HeaderName; 3] = [header::HOST, header::AUTHORIZATION, header::ORIGIN];

/// Refuses what does not say, or says twice, whom it is for and from whom it comes (RFC 9112, 3.2).
pub(super) async fn unambiguous(request: Request, next: Next) -> Response {
    let headers = request.headers();
    if let Some(name) = ONCE.iter().find(|name| headers.get_all(*name).iter().nth(1).is_some()) {
        return Refusal::new(StatusCode::BAD_REQUEST, format!("The header {name} comes more than once"))
            .into_response();
    }
    if request.version() == Version::HTTP_11 && !headers.contains_key(header::HOST) {
        return Refusal::new(StatusCode::BAD_REQUEST, "The header host is missing").into_response();
    }
    next.run(request).await
}

/// A limit on how many calls run at once, and on what of their answers waits to be read.
///
/// The kill switch is not among them: whoever keeps all the others busy must not keep an operator from stopping everything.
async fn counted(State(app): Shared, request: Request, next: Next) -> Response {
    let routed = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    if routed == control::KILL_SWITCH_PATH {
        return next.run(request).await;
    }
    let refused = |words: &str| {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, words)
            .retry_after(Duration::from_secs(1))
            .into_response()
    };
    let who = request.extensions().get::<Caller>().map_or("", |caller| &caller.name);
    let Some(turn) = Turns::take(&app.turns, who) else {
        return refused("Too many requests at once, try again");
    };
    let until = request.extensions().get::<Until>().cloned();
    let response = next.run(request).await;
    turns::hold(response, turn, until, app.limits.answer)
        .unwrap_or_else(|| refused("Too many answers wait to be read, try again"))
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

#[derive(Serialize, ToSchema)]
#[schema(as = PublicHealth)]
struct Health {
    status: &'static str,
    timestamp: String,
    /// Seconds.
    uptime: u64,
    version: &'static str,
    /// Whether this is the demo, whose password everybody knows; absent where it is not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    demo: bool,
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
#[utoipa::path(get, path = "/api/health", tag = "original", operation_id = "public_health", security(()),
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
        demo: app.live.is_demo(),
        components: None,
    };
    if liveness {
        return Ok((StatusCode::OK, Json(health)));
    }
    let store = tokio::time::timeout(HEALTH_WAIT, app.store.get_preference("autonomy.level")).await;
    // One that can be read but not written tells nothing any more, and nobody else would say so.
    let store = matches!(store, Ok(Ok(_))) && !app.store.is_failing();
    let damaged = app.store.damage().is_some();
    let monitor = app.live.clusters(now).all(|(_, seen)| seen);
    let word = |well, ill| if well { "ok" } else { ill };
    health.components = Some(Components {
        store: Component {
            status: match (store, damaged) {
                (_, true) => "damaged",
                (true, false) => "ok",
                (false, false) => "down",
            },
        },
        monitor: Component { status: word(monitor, "blind") },
        sockets: Sockets {
            status: "ok",
            clients: app.tally.count(Kind::Arrays) + app.tally.count(Kind::Deltas),
        },
    });
    if store && !damaged && monitor {
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
    let control::InForce { level, kill_switch } = control::in_force(&app).await;
    Ok(Json(MonitorStatus {
        running: app.live.seeing(Instant::now()),
        autonomy_level: level,
        kill_switch,
        active_remediations: app.live.active_remediations(),
    }))
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

/// Whose rows the old page is shown: it knows of the first cluster only, and the others are under `/api/v1`.
pub(super) fn shown(app: &App, caller: &Caller) -> Scope {
    let everything = caller.clusters.is_none();
    match &app.pages[..] {
        // There is no other cluster, so every row is of this one or of none.
        [] | [_] if everything => Scope::ALL,
        // What a cluster that is not watched any more has left is not for those who are let into some.
        pages => {
            let first = pages.first().map(|(cluster, _)| cluster).filter(|first| caller.sees(first));
            Scope::of(first).and_unknown(everything)
        }
    }
}

/// How many.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct Limited {
    /// Most rows in the answer; fewer where they weigh megabytes.
    #[param(minimum = 1, maximum = 1000, default = 50)]
    #[expect(dead_code, reason = "read by hand")]
    limit: Option<u32>,
}

/// What was told, newest first.
#[utoipa::path(get, path = "/api/memory/events", tag = "original", operation_id = "original_events", params(Limited),
    responses((status = 200, body = Events<'static>)))]
async fn events(State(app): Shared, caller: Caller, uri: Uri) -> Answer<Response> {
    let limit = Query::parse(&uri, &["limit"])?.limit()?;
    let rows = app.store.get_recent_events_of(&shown(&app, &caller), limit).await?;
    let events: Vec<_> = rows.iter().map(|row| row.rest()).collect();
    Ok(Json(Events { events }).into_response())
}

/// What was told and is not over.
#[utoipa::path(get, path = "/api/memory/events/unresolved", tag = "original",
    responses((status = 200, body = Events<'static>)))]
async fn unresolved(State(app): Shared, caller: Caller, uri: Uri) -> Answer<Response> {
    Query::parse(&uri, &[])?;
    let rows = app.store.get_unresolved_of(&shown(&app, &caller), ROWS_MAX).await?;
    let events: Vec<_> = rows.iter().map(|row| row.rest()).collect();
    Ok(Json(Events { events }).into_response())
}

/// What Jarvis did by itself, newest first.
#[utoipa::path(get, path = "/api/monitor/actions", tag = "original", operation_id = "original_actions", params(Limited),
    responses((status = 200, body = Actions<'static>)))]
async fn actions(State(app): Shared, caller: Caller, uri: Uri) -> Answer<Response> {
    let limit = Query::parse(&uri, &["limit"])?.limit()?;
    let rows = app.store.get_autonomy_actions_of(&shown(&app, &caller), limit).await?;
    let actions: Vec<_> = rows.iter().map(|row| row.rest()).collect();
    Ok(Json(Actions { actions }).into_response())
}

#[derive(Serialize, ToSchema)]
#[schema(as = OriginalPreference)]
#[serde(rename_all = "camelCase")]
pub(super) struct Preference {
    key: String,
    value: String,
    updated_at: Option<String>,
}

impl From<record::Preference> for Preference {
    fn from(row: record::Preference) -> Preference {
        Preference { key: row.key, value: row.value, updated_at: row.updated_at.map(to_wire) }
    }
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
    let preferences = app.store.all_preferences().await?.into_iter().map(Preference::from).collect();
    Ok(Json(Preferences { preferences }))
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        tracing::error!("a call was not answered: {:#}", anyhow::Error::from(error));
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "The store did not answer; the log says why")
    }
}

/// ISO 8601 in UTC, to the millisecond.
pub(super) fn to_wire(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// A call's parameters, of which none is unknown: a misspelt one must not be taken for none.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(uri: &Uri, allowed: &[&str]) -> Answer<Query> {
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

/// A body, within the limits of size and time.
pub(super) async fn read_bytes(limits: &Limits, body: Body) -> Answer<Bytes> {
    let read = axum::body::to_bytes(body, limits.body);
    match tokio::time::timeout(limits.read, read).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => {
            let error = format!("The body must have at most {} bytes", limits.body);
            Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, error))
        }
        Err(_) => Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "The body came too slowly")),
    }
}

/// A JSON body of the given shape, within the limits of size and time.
pub(super) async fn read_body<T: for<'a> Deserialize<'a>>(
    limits: &Limits,
    request: Request,
    shape: &str,
) -> Answer<T> {
    parse_body(&read_bytes(limits, request.into_body()).await?, shape)
}

/// A body that was read, as JSON of the given shape.
pub(super) fn parse_body<T: for<'a> Deserialize<'a>>(bytes: &[u8], shape: &str) -> Answer<T> {
    // Without serde's own words: they would quote the body, which may hold a password. And serde would take a list for
    // an object, its items in the fields' order.
    let object = bytes.trim_ascii_start().starts_with(b"{");
    let body = if object { serde_json::from_slice(bytes).ok() } else { None };
    body.ok_or_else(|| Refusal::new(StatusCode::BAD_REQUEST, format!("The body must be JSON: {shape}")))
}

/// As [`read_body`], of a body that says that it is JSON, which no form of another page can.
pub(super) async fn read_said<T: for<'a> Deserialize<'a>>(
    limits: &Limits,
    request: Request,
    shape: &str,
) -> Answer<T> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        let error = "Send the body as JSON, with Content-Type: application/json";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error));
    }
    read_body(limits, request, shape).await
}

/// As [`read_said`], for `/api/v1`.
pub(super) async fn read_json<T: for<'a> Deserialize<'a>>(
    limits: &Limits,
    request: Request,
    shape: &str,
) -> Result<T, Problem> {
    Ok(read_said(limits, request, shape).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

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
