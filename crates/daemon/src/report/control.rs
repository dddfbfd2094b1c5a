//! Control: what operators set. The kill switch, the level, preferences, and events of their own.
//!
//! Every change is one transaction of the store: the preference, its row of the journal with who it was, and the
//! event. A body that is not exactly what a call wants changes nothing.
//!
//! Stopping is always safe, so any operator may stop, also one who is limited to some clusters or to none; to let it act again,
//! and to change the level, is to decide for all clusters. What the two keys of the autonomy mean is checked here
//! whichever call they come by, so that there is no way around the ceiling.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use engine::observe::ClusterName;
use engine::report::Severity;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::{Mutex, Semaphore};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::{Caller, Role};
use super::refusal::Refusal;
use super::switches::{Fields, TOO_MANY};
use super::web::{self, Answer, App, Query, Shared, read_body};
use crate::record::{
    self, Done, KILL_SWITCH, LEVEL, NewEntry, NewEvent, Operator, Setting, Source, kind_from_word,
    severity_from_word,
};

/// How long the store may take to say what is in force before the safe answer is given.
const IN_FORCE_WAIT: Duration = Duration::from_secs(2);
/// The highest level that there is.
const LEVEL_MAX: u8 = 4;
/// Longest key of a preference, in bytes; the store's own limit is higher.
const KEY_MAX: usize = 100;
/// Longest summary of an event, in bytes: what the store keeps of one.
const SUMMARY_MAX: usize = 2_000;
/// Longest name of a node, in bytes: a DNS label.
const NODE_MAX: usize = 63;

/// Who may wait for the kill switch to be stored; whoever stops everything has stopped it without waiting.
const SWITCHING_MAX: usize = 64;

/// Where the kill switch is set.
pub(super) const KILL_SWITCH_PATH: &str = "/api/monitor/killswitch";
pub(super) const KILL_SWITCH_SHAPE: &str = r#"{"active": true} or {"active": false}"#;
const VALUE_SHAPE: &str = r#"{"value": TEXT}"#;
const EVENT_SHAPE: &str =
    r#"{"type", "summary", and where known "severity", "source", "node", "details", "cluster"}"#;

/// The calls. Who may make them is in the table of [`super::caller`].
pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(set_kill_switch))
        .routes(routes!(set_level))
        .routes(routes!(set_preference))
}

/// What is in force.
pub(super) struct InForce {
    pub(super) level: u8,
    pub(super) kill_switch: bool,
}

/// Where the store does not say, nothing may be done: the kill switch counts as on. It is on in memory, too, where it could
/// not be stored.
pub(super) async fn in_force(app: &App) -> InForce {
    let read = async {
        let level = app.store.get_preference(LEVEL).await?;
        let kill_switch = app.store.get_preference(KILL_SWITCH).await?;
        Ok::<_, record::StoreError>(InForce {
            level: record::level_in_force(level.as_ref().map(|row| row.value.as_str()), app.ceiling),
            kill_switch: record::kill_switch_in_force(kill_switch.as_ref().map(|row| row.value.as_str())),
        })
    };
    match tokio::time::timeout(IN_FORCE_WAIT, read).await {
        Ok(Ok(InForce { level, kill_switch })) => {
            return InForce { level, kill_switch: kill_switch || app.live.halted() };
        }
        Ok(Err(error)) => {
            tracing::error!("what is in force cannot be read: {:#}", anyhow::Error::from(error))
        }
        Err(_) => tracing::error!("the store does not say what is in force; the kill switch counts as on"),
    }
    InForce { level: 0, kill_switch: true }
}

/// What was stored is in force from the start.
pub(super) async fn begin(app: &App) {
    if in_force(app).await.kill_switch {
        app.live.halt(true);
    }
}

fn bad(error: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, error)
}

impl Caller {
    /// As the journal names them.
    pub(super) fn operator(&self) -> Operator {
        Operator { name: self.name.to_string(), via: self.via.to_string() }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct KillSwitch {
    /// Whether everything is to stop.
    active: bool,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct KillSwitchSet {
    kill_switch: bool,
}

/// Stops everything that Jarvis does on its own, or lets it act again.
#[utoipa::path(put, path = "/api/monitor/killswitch", tag = "original", request_body = KillSwitch,
    responses((status = 200, body = KillSwitchSet)))]
async fn set_kill_switch(
    State(app): Shared,
    caller: Caller,
    request: Request,
) -> Answer<Json<KillSwitchSet>> {
    Query::parse(request.uri(), &[])?;
    let KillSwitch { active } = read_body(&app.limits, request, KILL_SWITCH_SHAPE).await?;
    Ok(Json(KillSwitchSet { kill_switch: set_switch(&app, &caller, active).await? }))
}

/// Sets the kill switch, and says whether it is on.
pub(super) async fn set_switch(app: &App, caller: &Caller, active: bool) -> Answer<bool> {
    set(app, caller, Setting::KillSwitch(active)).await?;
    // Who let it go on may have been overtaken by somebody who stopped it.
    Ok(active || app.live.halted())
}

/// What is left to who has said it too often to be stored: stopping.
pub(super) fn stop_unstored(app: &App, caller: &Caller, active: bool) -> Answer<bool> {
    may_set(caller, &Setting::KillSwitch(active))?;
    if !active {
        return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, TOO_MANY));
    }
    app.live.halt(true);
    Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, ON_TOO_OFTEN).stopped())
}

const ON_TOO_OFTEN: &str = "The kill switch is on; it was said too often at once to be stored each time";

/// The kill switch. It stops first and is stored then, so that it works whatever the store does; what is to go on is stored
/// first. A caller who hangs up leaves nothing half done.
async fn switch(app: &App, active: bool, by: Operator) -> Answer<Option<Done>> {
    if active {
        app.live.halt(true);
    }
    let (store, live, turn) = (app.store.clone(), Arc::clone(&app.live), Arc::clone(&app.switching));
    let stored = async move {
        let place = Arc::clone(&turn.places).try_acquire_owned().ok()?;
        let done = tokio::spawn(async move {
            // One after the other, so that what is in force and what is stored last were said last.
            let turn = turn.turn.lock().await;
            if active {
                live.halt(true);
            }
            let stops = live.stops();
            let done = store.set_by_operator(Setting::KillSwitch(active), &by, live.now()).await;
            if !active && done.is_ok() {
                live.go_on_since(stops);
            }
            drop((turn, place));
            done
        });
        Some(done.await.unwrap_or(Err(record::StoreError::Closed)))
    };
    match stored.await {
        Some(Ok(done)) => Ok(done),
        Some(Err(error)) if active => {
            tracing::error!(
                "the kill switch is on, and could not be stored: {:#}",
                anyhow::Error::from(error)
            );
            Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, ON_UNSTORED).stopped())
        }
        None if active => Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, ON_UNSTORED).stopped()),
        Some(Err(error)) => Err(error.into()),
        None => Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "Too many requests at once, try again")),
    }
}

/// What a caller is told whose stop could not be stored.
const ON_UNSTORED: &str = "The kill switch is on, until the next restart of Jarvis: it could not be stored (the log says why); \
                           set it once more when the store can be written";

/// Who sets the kill switch does so one after the other, and only so many wait.
pub(super) struct Switching {
    places: Arc<Semaphore>,
    turn: Mutex<()>,
}

impl Default for Switching {
    fn default() -> Switching {
        Switching { places: Arc::new(Semaphore::new(SWITCHING_MAX)), turn: Mutex::new(()) }
    }
}

#[derive(ToSchema)]
#[schema(as = AutonomyLevel)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read by hand")]
struct LevelBody {
    /// Up to the configured one.
    #[schema(maximum = 4)]
    level: u8,
}

#[derive(Serialize, ToSchema)]
#[schema(as = AutonomyLevelSet)]
#[serde(rename_all = "camelCase")]
struct LevelSet {
    autonomy_level: u8,
}

/// How much Jarvis may do on its own.
#[utoipa::path(put, path = "/api/monitor/autonomy-level", tag = "original", request_body = LevelBody,
    responses((status = 200, body = LevelSet)))]
async fn set_level(State(app): Shared, caller: Caller, request: Request) -> Answer<Json<LevelSet>> {
    Query::parse(request.uri(), &[])?;
    // Whatever is no level is answered in the contract's one sentence.
    let body: Option<Fields> = match read_body(&app.limits, request, "").await {
        Err(refusal) if refusal.status == StatusCode::BAD_REQUEST => None,
        body => Some(body?),
    };
    let level = level_said(&app, body.as_ref())?;
    Ok(Json(LevelSet { autonomy_level: set_autonomy(&app, &caller, level).await? }))
}

/// What a body says of the level.
pub(super) fn level_said(app: &App, body: Option<&Fields>) -> Answer<Setting> {
    level_of(app, body.and_then(|body| whole(body.only("level")?)))
}

/// Sets the level, and says which one it is.
pub(super) async fn set_autonomy(app: &App, caller: &Caller, level: Setting) -> Answer<u8> {
    set(app, caller, level.clone()).await?;
    let Setting::Level { level, .. } = level else { return Err(bad(NO_LEVEL)) };
    Ok(level)
}

/// JSON knows one kind of number only: `1.0` is as whole as `1`.
fn whole(given: &Value) -> Option<u64> {
    let given = given.as_f64()?;
    (0..=LEVEL_MAX).find(|level| f64::from(*level).total_cmp(&given).is_eq()).map(u64::from)
}

const NO_LEVEL: &str = "Level must be 0-4";

fn level_of(app: &App, given: Option<u64>) -> Answer<Setting> {
    let level = given.and_then(|level| u8::try_from(level).ok()).filter(|level| *level <= LEVEL_MAX);
    let level = level.ok_or_else(|| bad(NO_LEVEL))?;
    let ceiling = app.ceiling;
    if level > ceiling {
        let error = format!("Level is limited to {ceiling} by the configuration");
        return Err(Refusal::new(StatusCode::CONFLICT, error));
    }
    Ok(Setting::Level { level, ceiling })
}

#[derive(Serialize, ToSchema)]
#[schema(as = OriginalPreferenceSet)]
struct Set {
    preference: web::Preference,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = OriginalPreferenceValue)]
#[serde(deny_unknown_fields)]
struct ValueBody {
    value: String,
}

/// Sets a preference. What the keys of the autonomy mean is checked here too.
#[utoipa::path(put, path = "/api/memory/preferences/{key}", tag = "original", request_body = ValueBody,
    params(("key" = String, Path, description = "Its key", pattern = "^[A-Za-z0-9._:-]+$", max_length = 100)),
    responses((status = 200, body = Set)))]

async fn set_preference(
    State(app): Shared,
    Path(key): Path<String>,
    caller: Caller,
    request: Request,
) -> Answer<Json<Set>> {
    Query::parse(request.uri(), &[])?;
    let ValueBody { value } = read_body(&app.limits, request, VALUE_SHAPE).await?;
    let setting = setting_of(&app, key, value)?;
    let done = set(&app, &caller, setting).await?;
    Ok(Json(Set { preference: done.preference.into() }))
}

fn setting_of(app: &App, key: String, value: String) -> Answer<Setting> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    if key.is_empty() || key.len() > KEY_MAX || !key.bytes().all(plain) {
        return Err(bad(format!("A key has 1 to {KEY_MAX} letters, digits, `.`, `_`, `:` or `-`")));
    }
    match key.as_str() {
        KILL_SWITCH => match value.as_str() {
            "true" => Ok(Setting::KillSwitch(true)),
            "false" => Ok(Setting::KillSwitch(false)),
            _ => Err(bad(format!(r#"{KILL_SWITCH} must be "true" or "false""#))),
        },
        LEVEL => {
            let one_digit = value.len() == 1 && value.bytes().all(|byte| byte.is_ascii_digit());
            level_of(app, one_digit.then(|| value.parse().ok()).flatten())
        }
        // A misspelt one would look as if it had stopped something.
        _ if key.to_ascii_lowercase().starts_with("autonomy.") => {
            Err(bad(format!("There is no such key; those of the autonomy are {KILL_SWITCH} and {LEVEL}")))
        }
        _ => Ok(Setting::Other { key, value }),
    }
}

async fn set(app: &App, caller: &Caller, setting: Setting) -> Answer<Done> {
    may_set(caller, &setting)?;
    let key = setting.key().to_owned();
    let done = match setting {
        Setting::KillSwitch(active) => switch(app, active, caller.operator()).await?,
        setting @ (Setting::Level { .. } | Setting::Other { .. }) => {
            app.store.set_by_operator(setting, &caller.operator(), app.live.now()).await?
        }
    };
    let done = done.ok_or_else(|| {
        Refusal::new(StatusCode::CONFLICT, "There are 1000 preferences already; no other one is kept")
    })?;
    tracing::info!(by = %caller.name, via = %caller.via, changed = done.changed, "{key} is set");
    Ok(done)
}

/// Stopping is safe whoever does it; everything else here is for all clusters.
fn may_set(caller: &Caller, setting: &Setting) -> Answer<()> {
    match setting {
        Setting::KillSwitch(true) if caller.role >= Role::Operator => Ok(()),
        Setting::KillSwitch(_) | Setting::Level { .. } | Setting::Other { .. } => {
            for_all(caller, "To change this")
        }
    }
}

/// Refuses those who may not decide for all clusters.
fn for_all(caller: &Caller, to_do_this: &str) -> Answer<()> {
    if caller.may(Role::Operator, None) {
        return Ok(());
    }
    let error =
        format!("{to_do_this} needs the role operator for all clusters; {} has it for some", caller.name);
    Err(Refusal::new(StatusCode::FORBIDDEN, error))
}

/// An event that somebody wants to be kept and told.
#[derive(Deserialize, ToSchema)]
#[schema(as = OriginalNewEvent)]
#[serde(deny_unknown_fields)]
struct GivenEvent {
    #[schema(pattern = "^(alert|action|status|metric)$")]
    r#type: String,
    /// One line of at most 2,000 bytes.
    #[schema(
        max_length = 2000,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    summary: String,
    #[schema(pattern = "^(info|warning|error|critical)$")]
    severity: Option<String>,
    #[schema(pattern = "^(monitor|user|jarvis|system)$")]
    source: Option<String>,
    #[schema(pattern = "^[!-~]+$", max_length = 63)]
    node: Option<String>,
    /// Any JSON of at most 100 levels, with numbers below 1e308 and whole characters.
    #[schema(value_type = Option<Value>)]
    details: Option<Box<RawValue>>,
    /// One that is watched.
    cluster: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = OriginalSavedEvent)]
pub(super) struct Saved<'a> {
    event: record::RestEvent<'a>,
}

/// Keeps an event and tells it.
#[utoipa::path(post, path = "/api/memory/events", tag = "original", request_body = GivenEvent,
    responses((status = 201, body = Saved<'static>)))]
pub(super) async fn save_event(State(app): Shared, caller: Caller, request: Request) -> Answer<Response> {
    Query::parse(request.uri(), &[])?;
    let given: GivenEvent = read_body(&app.limits, request, EVENT_SHAPE).await?;
    let cluster = match &given.cluster {
        None => None,
        Some(named) => Some(app.named_cluster(&caller, named).map_err(bad)?.0),
    };
    match cluster {
        None => for_all(&caller, "An event without a cluster is told to everybody and")?,
        Some(cluster) if caller.may(Role::Operator, Some(cluster)) => {}
        Some(_) => {
            return Err(Refusal::new(StatusCode::FORBIDDEN, "This needs the role operator for the cluster"));
        }
    }
    let at = app.live.now();
    let event = new_event(given, cluster, at)?;
    let what = json!({
        "uuid": event.uuid.to_string(), "type": event.kind, "severity": event.severity, "source": event.source,
        "cluster": event.cluster, "summary": event.summary,
    });
    let entry = NewEntry::by_operator(at, &caller.operator(), "event", &what);
    let rows = app.store.save_turn(vec![entry], vec![event], None).await?;
    let row = rows.first().ok_or(record::StoreError::Closed)?;
    Ok((StatusCode::CREATED, Json(Saved { event: row.rest() })).into_response())
}

fn new_event(given: GivenEvent, cluster: Option<&ClusterName>, at: Timestamp) -> Answer<NewEvent> {
    let GivenEvent { r#type, summary, severity, source, node, details, cluster: _ } = given;
    let kind = kind_from_word(&r#type).ok_or_else(|| bad("type must be alert, action, status or metric"))?;
    let severity = match severity {
        None => Severity::Info,
        Some(word) => severity_from_word(&word)
            .ok_or_else(|| bad("severity must be info, warning, error or critical"))?,
    };
    let source = match source {
        None => Source::User,
        Some(word) => {
            Source::from_word(&word).ok_or_else(|| bad("source must be monitor, user, jarvis or system"))?
        }
    };
    let summary = summary.trim();
    if summary.is_empty() || summary.len() > SUMMARY_MAX || summary.contains(char::is_control) {
        return Err(bad(format!("summary must be one line of 1 to {SUMMARY_MAX} bytes")));
    }
    let name =
        |name: &str| !name.is_empty() && name.len() <= NODE_MAX && name.bytes().all(|b| b.is_ascii_graphic());
    if node.as_deref().is_some_and(|node| !name(node)) {
        return Err(bad(format!("node must be a name of 1 to {NODE_MAX} plain characters")));
    }
    let (title, message) = record::split_summary(summary);
    // Every page takes such a title for the switch itself (contract 5).
    // A page makes capitals of it, which turns some other letters into these.
    let shown = title.as_deref().unwrap_or(summary).to_uppercase();
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    if shown.contains("KILL SWITCH") || shown.contains("ACTIVATED") {
        return Err(bad("the words \"kill switch\" and \"activated\" are Jarvis's own in a title"));
    }
    let event =
        NewEvent::plain(at, kind, severity, source, &title.unwrap_or_default(), &message.unwrap_or_default());
    let details = details.map(|details| details.get().to_owned()).filter(|details| details != "null");
    if details.as_deref().is_some_and(|details| record::sound_json(details).is_none()) {
        return Err(bad(format!(
            "details must be JSON that every program reads: numbers below 1e308, whole characters, at most \
             {} levels deep",
            record::JSON_DEPTH_MAX
        )));
    }
    Ok(NewEvent {
        summary: Some(summary.to_owned()),
        node,
        details,
        cluster: cluster.map(ToString::to_string),
        ..event
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::caller::Via;

    #[test]
    fn who_may_set_what() {
        use Role::{Admin, Operator, Viewer};
        let caller = |role, limited: bool| Caller {
            name: "alice".into(),
            role,
            clusters: limited.then(|| ["lab".parse().unwrap()].into()),
            via: Via::Session,
        };
        let level = Setting::Level { level: 1, ceiling: 2 };
        let other = Setting::Other { key: "theme".into(), value: "dark".into() };
        let (stop, resume) = (Setting::KillSwitch(true), Setting::KillSwitch(false));
        #[rustfmt::skip]
        let table = [
            //                                                        stop   resume level  other
            ("a viewer",                        caller(Viewer, false),   [false, false, false, false]),
            ("an operator",                     caller(Operator, false), [true,  true,  true,  true]),
            ("an operator of some clusters",    caller(Operator, true),  [true,  false, false, false]),
            ("an admin of some clusters",       caller(Admin, true),     [true,  false, false, false]),
            ("a viewer of some clusters",       caller(Viewer, true),    [false, false, false, false]),
            ("an admin",                        caller(Admin, false),    [true,  true,  true,  true]),
        ];
        for (name, caller, expected) in table {
            let may = [&stop, &resume, &level, &other].map(|setting| may_set(&caller, setting).is_ok());
            assert_eq!(may, expected, "{name}");
        }
    }

    #[test]
    fn what_an_event_of_somebody_becomes() {
        let new = |json: &str| {
            let given: GivenEvent = serde_json::from_str(json).map_err(|_| "shape".to_owned())?;
            let event = new_event(given, None, Timestamp::UNIX_EPOCH).map_err(|refusal| refusal.error)?;
            let NewEvent { title, message, kind, severity, source, details, .. } = event;
            let details = details.unwrap_or_else(|| "-".into());
            Ok::<_, String>(format!(
                "{} {} {} {title} | {message} | {details}",
                kind.as_str(),
                severity.as_str(),
                source.as_str()
            ))
        };
        let bad = |error: &str| Err(error.to_owned());
        let good = |shown: &str| Ok(shown.to_owned());
        let line = "summary must be one line of 1 to 2000 bytes";
        let unsound = "details must be JSON that every program reads: numbers below 1e308, whole characters, at most 100 levels deep";
        let with = |details: String| format!(r#"{{"type":"alert","summary":"x","details":{details}}}"#);
        let deep = with(format!("{}{}", "[".repeat(129), "]".repeat(129)));
        let digits = with("9".repeat(400));
        let long = format!(r#"{{"type":"alert","summary":"{}"}}"#, "x".repeat(2_001));
        #[rustfmt::skip]
        let table = [
            ("the least", r#"{"type":"action","summary":"Restarted nginx"}"#, good("action info user Restarted nginx |  | -")),
            ("as the page splits it", r#"{"type":"alert","summary":"[User] Backup: done","details":{"a":1}}"#, good(r#"alert info user Backup | done | {"a":1}"#)),
            ("everything", r#"{"type":"status","summary":"x","severity":"critical","source":"jarvis","node":"pve1","details":null}"#, good("status critical jarvis x |  | -")),
            ("no type", r#"{"summary":"x"}"#, bad("shape")),
            ("no summary", r#"{"type":"alert"}"#, bad("shape")),
            ("a key too many", r#"{"type":"alert","summary":"x","id":1}"#, bad("shape")),
            ("another type", r#"{"type":"alarm","summary":"x"}"#, bad("type must be alert, action, status or metric")),
            ("another severity", r#"{"type":"alert","summary":"x","severity":"high"}"#, bad("severity must be info, warning, error or critical")),
            ("another source", r#"{"type":"alert","summary":"x","source":"me"}"#, bad("source must be monitor, user, jarvis or system")),
            ("an empty summary", r#"{"type":"alert","summary":"  "}"#, bad(line)),
            ("the kill switch, made up", r#"{"type":"status","summary":"[Monitor] KILL SWITCH OFF: ok"}"#, bad("the words \"kill switch\" and \"activated\" are Jarvis's own in a title")),
            ("and in one piece", r#"{"type":"status","summary":"All DeActivated"}"#, bad("the words \"kill switch\" and \"activated\" are Jarvis's own in a title")),
            ("as a page makes capitals of it", r#"{"type":"status","summary":"[User] acTıvated: ok"}"#, bad("the words \"kill switch\" and \"activated\" are Jarvis's own in a title")),
            ("with another letter", r#"{"type":"status","summary":"[User] Kill ſwitch off: ok"}"#, bad("the words \"kill switch\" and \"activated\" are Jarvis's own in a title")),
            ("with another blank", r#"{"type":"status","summary":"[User] KILL\u00a0 SWITCH off: ok"}"#, bad("the words \"kill switch\" and \"activated\" are Jarvis's own in a title")),
            ("in the message they are words", r#"{"type":"status","summary":"[User] Drill: the kill switch was tried"}"#, good("status info user Drill | the kill switch was tried | -")),
            ("two lines", r#"{"type":"alert","summary":"a\nb"}"#, bad(line)),
            ("a book", long.as_str(), bad(line)),
            ("a number that nobody has", r#"{"type":"alert","summary":"x","details":{"a":1e99999}}"#, bad(unsound)),
            ("half a character", r#"{"type":"alert","summary":"x","details":{"a":"\ud800"}}"#, bad(unsound)),
            ("129 levels", deep.as_str(), bad(unsound)),
            ("400 digits", digits.as_str(), bad(unsound)),
            ("no node's name", r#"{"type":"alert","summary":"x","node":"a b"}"#, bad("node must be a name of 1 to 63 plain characters")),
        ];
        for (name, json, expected) in table {
            assert_eq!(new(json), expected, "{name}");
        }
    }
}
