//! What is recorded: events, actions, the journal, preferences. Newest first, page by page.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::answer::Has;
use super::params::{Asked, Asks, Nothing, Params};
use super::picture::bad_cursor;
use super::shape::{ActionResult, EventType, Severity, Source, Time, json};
use super::{Reply, Shared, bounds, cursor};
use crate::record::{
    self, ActionFilter, ActionRow, Ended, EventFilter, EventRow, JournalFilter, JournalRow, ListPage,
};
use crate::report::caller::{Caller, Role};
use crate::report::problem::Problem;
use crate::report::web::App;

/// What every list can be asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Window {
    /// Most rows in the answer.
    #[param(minimum = 1, maximum = 1000, default = 50)]
    limit: u32,
    /// Where to go on: `next` of the page before.
    #[param(min_length = 1, max_length = 400)]
    cursor: Option<String>,
    /// At or after this time.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<jiff::Timestamp>,
    /// Before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<jiff::Timestamp>,
    /// Of this cluster only.
    #[param(min_length = 1, max_length = 200)]
    cluster: Option<String>,
}

impl Asks for Window {
    fn read(params: &mut Params) -> Window {
        Window {
            limit: params.limit(),
            cursor: params.cursor(),
            since: params.time("since"),
            until: params.time("until"),
            cluster: params.word("cluster"),
        }
    }
}

impl<A: Asks, B: Asks> Asks for (A, B) {
    fn read(params: &mut Params) -> (A, B) {
        (A::read(params), B::read(params))
    }
}

impl Window {
    /// As the store is asked, within what the caller sees.
    pub(super) fn read(self, list: &str, caller: &Caller) -> Result<record::Window, Problem> {
        let Window { limit, cursor, since, until, cluster } = self;
        let after = cursor.map(|cursor| cursor::read(list, &cursor).ok_or_else(bad_cursor)).transpose()?;
        Ok(record::Window { limit, after, since, until, within: bounds(caller), cluster, bytes: None })
    }
}

/// A page as it is sent, with where the next one is.
pub(super) fn page<R, T, A: Serialize>(
    has: &Has,
    list: &str,
    page: ListPage<R>,
    item: impl FnMut(R) -> T,
    answer: impl FnOnce(Vec<T>, Option<String>) -> A,
) -> Reply {
    let ListPage { rows, next } = page;
    let next = next.map(|position| cursor::written(list, &position));
    let response = has.answer(&answer(rows.into_iter().map(item).collect(), next.clone()))?;
    Ok(has.linked(response, next.as_deref()))
}

macro_rules! lists {
    ($($(#[$doc:meta])* $name:ident of $item:ident),+) => {
        $($(#[$doc])*
        #[derive(Debug, Serialize, ToSchema)]
        pub(super) struct $name {
            /// The rows of this page; fewer than `limit`, even none, where a filter fits little and there is more to look at.
            items: Vec<$item>,
            /// What to give as `cursor` for the next page; absent at the end.
            #[serde(skip_serializing_if = "Option::is_none")]
            next: Option<String>,
        })+
    };
}

lists! {
    /// A page of events, newest first.
    EventList of Event,
    /// A page of actions, newest first.
    ActionList of Action,
    /// A page of the journal, newest first.
    JournalList of Entry
}

/// Something that was told.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event {
    /// Its number, which only grows: what a socket's client gives as `since`.
    seq: i64,
    /// Its UUID.
    #[schema(value_type = uuid::Uuid)]
    id: String,
    /// The cluster it is about; absent where it is about none, and in what the original JARVIS wrote.
    cluster: Option<String>,
    /// When it happened.
    at: Time,
    /// What kind of message it is.
    r#type: EventType,
    /// How bad.
    severity: Severity,
    /// Who it comes from.
    source: Source,
    /// The node it is about or happened on.
    node: Option<String>,
    /// What it is about, as PVE writes ids.
    subject: Option<String>,
    /// The condition, where it is about one.
    condition: Option<String>,
    /// The incident, or the group of incidents, that it belongs to.
    incident_id: Option<String>,
    /// Never empty.
    title: String,
    /// One sentence; may be empty.
    message: String,
    /// The facts, for programs.
    #[schema(value_type = serde_json::Value)]
    details: Option<Box<RawValue>>,
    /// Whether it is over.
    resolved: bool,
    /// When it was over.
    resolved_at: Option<Time>,
    /// Who said so.
    resolved_by: Option<String>,
}

impl From<EventRow> for Event {
    fn from(row: EventRow) -> Event {
        Event {
            seq: row.id,
            id: row.uuid.to_string(),
            cluster: row.cluster,
            at: Time(row.timestamp),
            r#type: row.kind.into(),
            severity: row.severity.into(),
            source: row.source.into(),
            node: row.node,
            subject: row.subject,
            condition: row.condition,
            incident_id: row.incident_id,
            title: row.title,
            message: row.message,
            details: row.details.as_deref().and_then(json),
            resolved: row.resolved,
            resolved_at: row.resolved_at.map(Time),
            resolved_by: row.resolved_by,
        }
    }
}

/// Which events.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsAsked {
    /// What kind of message.
    #[param(inline)]
    r#type: Option<EventType>,
    /// How bad.
    #[param(inline)]
    severity: Option<Severity>,
    /// Who they come from.
    #[param(inline)]
    source: Option<Source>,
    /// About this node, or something on it.
    #[param(min_length = 1, max_length = 200)]
    node: Option<String>,
    /// About this.
    #[param(min_length = 1, max_length = 200, example = "qemu/101")]
    subject: Option<String>,
    /// With this condition.
    #[param(min_length = 1, max_length = 200, example = "VM_CRASHED")]
    condition: Option<String>,
    /// Of this incident, or group of incidents.
    #[param(min_length = 1, max_length = 200)]
    incident: Option<String>,
    /// Over, or not.
    resolved: Option<bool>,
    /// Part of the title, whatever its case.
    #[param(min_length = 1, max_length = 100)]
    title: Option<String>,
}

impl Asks for EventsAsked {
    fn read(params: &mut Params) -> EventsAsked {
        EventsAsked {
            r#type: params.choice("type", EventType::ALL).map(Into::into),
            severity: params.choice("severity", Severity::ALL).map(Into::into),
            source: params.choice("source", Source::ALL).map(Into::into),
            node: params.word("node"),
            subject: params.word("subject"),
            condition: params.word("condition"),
            incident: params.word("incident"),
            resolved: params.flag("resolved"),
            title: params.part("title"),
        }
    }
}

/// What was told, newest first.
#[utoipa::path(get, path = "/api/v1/events", tag = "recorded", params(Window, EventsAsked),
    responses((status = 200, body = EventList)))]
pub(super) async fn events(
    State(app): Shared,
    caller: Caller,
    has: Has,
    Asked((window, asked)): Asked<(Window, EventsAsked)>,
) -> Reply {
    let EventsAsked { r#type, severity, source, node, subject, condition, incident, resolved, title } = asked;
    let filter = EventFilter {
        kind: r#type.map(EventType::inner),
        severity: severity.map(Severity::inner),
        source: source.map(Source::inner),
        node,
        subject,
        condition,
        incident,
        resolved,
        title,
    };
    let listed = app.store.list_events(window.read("events", &caller)?, filter).await?;
    page(&has, "events", listed, Event::from, |items, next| EventList { items, next })
}

/// One event.
#[utoipa::path(get, path = "/api/v1/events/{seq}", tag = "recorded",
    params(("seq" = i64, Path, description = "Its number", minimum = 1)), responses((status = 200, body = Event)))]
pub(super) async fn event(
    State(app): Shared,
    caller: Caller,
    has: Has,
    Path(seq): Path<String>,
    _: Asked<Nothing>,
) -> Reply {
    has.answer(&Event::from(event_seen(&app, &caller, &seq).await?))
}

/// Says that an event is over, which nothing else would ever end: one that somebody posted, or that Jarvis told of itself.
///
/// What an incident told ends with it. One that is over stays as it is.
#[utoipa::path(post, path = "/api/v1/events/{seq}/resolve", tag = "operators",
    params(("seq" = i64, Path, description = "Its number", minimum = 1)),
    responses((status = 200, body = Event), (status = 409, description = "An incident ends it.", body = Problem,
        content_type = "application/problem+json")))]
pub(super) async fn resolve_event(
    State(app): Shared,
    caller: Caller,
    Path(seq): Path<String>,
    _: Asked<Nothing>,
) -> Reply {
    let row = event_seen(&app, &caller, &seq).await?;
    let cluster = row.cluster.as_deref().map(str::parse).transpose().map_err(|_| absent())?;
    if !caller.may(Role::Operator, cluster.as_ref()) {
        let place =
            row.cluster.map_or_else(|| "all clusters".to_owned(), |cluster| format!("the cluster {cluster}"));
        return Err(Problem::new(StatusCode::FORBIDDEN, format!("This needs the role operator for {place}")));
    }
    match app.store.end_event(row.id, &caller.operator(), app.live.now()).await? {
        Ended::Over { row, now } => {
            if now {
                tracing::info!(by = %caller.name, via = %caller.via, seq = row.id, "an event is resolved");
            }
            Ok(Json(Event::from(*row)).into_response())
        }
        Ended::OfIncident => {
            let words = "an incident told it, which ends when what it is about is over, or by POST /api/v1/incidents/{id}/resolve";
            Err(Problem::new(StatusCode::CONFLICT, words))
        }
        Ended::Absent => Err(absent()),
    }
}

fn absent() -> Problem {
    Problem::not_found("there is no such event, or it is pruned")
}

/// An event by its number, if it is the caller's to see.
async fn event_seen(app: &App, caller: &Caller, seq: &str) -> Result<EventRow, Problem> {
    let row = app.store.event(seq.parse().map_err(|_| absent())?).await?.ok_or_else(absent)?;
    let sees = match &row.cluster {
        Some(cluster) => cluster.parse().is_ok_and(|cluster| caller.sees(&cluster)),
        // As `Scope` has it.
        None => caller.clusters.is_none() || row.ours,
    };
    if !sees {
        return Err(absent());
    }
    Ok(row)
}

/// An attempt of Jarvis to mend something, and how it ended.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Action {
    /// Its number, which only grows.
    seq: i64,
    /// The cluster; absent in what the original JARVIS wrote.
    cluster: Option<String>,
    /// When it was done.
    at: Time,
    /// The key of the incident it answers.
    #[schema(example = "VM_CRASHED:101")]
    incident_key: String,
    /// The incident it answers.
    incident_id: String,
    /// Which runbook.
    runbook_id: String,
    /// The condition it answers.
    condition: String,
    /// What was done.
    action: String,
    /// To what.
    #[schema(value_type = serde_json::Value)]
    arguments: Option<Box<RawValue>>,
    /// How it ended.
    result: ActionResult,
    /// In words.
    result_details: Option<String>,
    /// What a look afterwards showed.
    verification_result: Option<String>,
    /// 0 to 4.
    autonomy_level: i64,
    /// Where.
    node: Option<String>,
    /// From 1.
    attempt: i64,
    /// Whether a person was called.
    escalated: bool,
    /// Whether a mail went out.
    email_sent: bool,
}

impl From<ActionRow> for Action {
    fn from(row: ActionRow) -> Action {
        Action {
            seq: row.id,
            cluster: row.cluster,
            at: Time(row.timestamp),
            incident_key: row.incident_key,
            incident_id: row.incident_id,
            runbook_id: row.runbook_id,
            condition: row.condition,
            action: row.action,
            arguments: row.action_args.as_deref().and_then(json),
            result: row.result.into(),
            result_details: row.result_details,
            verification_result: row.verification_result,
            autonomy_level: row.autonomy_level,
            node: row.node,
            attempt: row.attempt_number,
            escalated: row.escalated,
            email_sent: row.email_sent,
        }
    }
}

/// Which actions.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ActionsAsked {
    /// For incidents with this key.
    #[param(min_length = 1, max_length = 200, example = "VM_CRASHED:101")]
    key: Option<String>,
    /// For this incident.
    #[param(min_length = 1, max_length = 200)]
    incident: Option<String>,
    /// On this node.
    #[param(min_length = 1, max_length = 200)]
    node: Option<String>,
    /// Against this condition.
    #[param(min_length = 1, max_length = 200, example = "VM_CRASHED")]
    condition: Option<String>,
    /// How they ended.
    #[param(inline)]
    result: Option<ActionResult>,
}

impl Asks for ActionsAsked {
    fn read(params: &mut Params) -> ActionsAsked {
        ActionsAsked {
            key: params.word("key"),
            incident: params.word("incident"),
            node: params.word("node"),
            condition: params.word("condition"),
            result: params.choice("result", ActionResult::ALL).map(Into::into),
        }
    }
}

/// What Jarvis did by itself, newest first.
///
/// What operators did by hand is among the events, and in the journal (`kind=operator`) with who it was.
#[utoipa::path(get, path = "/api/v1/actions", tag = "recorded", params(Window, ActionsAsked),
    responses((status = 200, body = ActionList)))]
pub(super) async fn actions(
    State(app): Shared,
    caller: Caller,
    has: Has,
    Asked((window, asked)): Asked<(Window, ActionsAsked)>,
) -> Reply {
    let ActionsAsked { key, incident, node, condition, result } = asked;
    let filter = ActionFilter { key, incident, node, condition, result: result.map(ActionResult::inner) };
    let listed = app.store.list_actions(window.read("actions", &caller)?, filter).await?;
    page(&has, "actions", listed, Action::from, |items, next| ActionList { items, next })
}

/// A row of the journal.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    /// Its number, without a gap.
    seq: i64,
    /// Whose it is; absent: Jarvis's own.
    cluster: Option<String>,
    /// When it happened.
    at: Time,
    /// What kind of row it is (`opened`, `resolved`, `noted`, `operator`).
    #[schema(example = "opened")]
    kind: String,
    /// Who did it, and by which way, where it was a person.
    #[schema(example = "olga (login)")]
    by: Option<String>,
    /// What it says, for people, where it is an engine's.
    words: Option<String>,
    /// What it says, for programs; `jarvis audit verify` says whether it is as it was written.
    #[schema(value_type = serde_json::Value)]
    entry: Option<Box<RawValue>>,
}

impl From<JournalRow> for Entry {
    fn from(row: JournalRow) -> Entry {
        let words = serde_json::from_str::<engine::record::Entry>(&row.entry).ok();
        // The words are set in columns for the log.
        let words = words.map(|entry| entry.to_string().split_whitespace().collect::<Vec<_>>().join(" "));
        Entry {
            at: Time(row.at()),
            seq: row.seq,
            words,
            by: who(&row.entry),
            entry: json(&row.entry),
            cluster: row.cluster,
            kind: row.kind,
        }
    }
}

/// Who a row names: an operator's own says it, and an engine's of what an operator said.
fn who(entry: &str) -> Option<String> {
    let entry: serde_json::Value = serde_json::from_str(entry).ok()?;
    let text = |pointer| entry.pointer(pointer).and_then(serde_json::Value::as_str);
    match (text("/by"), text("/via")) {
        (Some(by), Some(via)) => Some(format!("{by} ({via})")),
        (Some(by), None) => Some(by.to_owned()),
        (None, _) => text("/fact/Remedy/step/Ordered/by").map(str::to_owned),
    }
}

/// Which rows of the journal.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct JournalAsked {
    /// Of this kind.
    #[param(min_length = 1, max_length = 200, example = "opened")]
    kind: Option<String>,
    /// Of what this user did, by whatever way.
    #[param(min_length = 1, max_length = 200, example = "olga")]
    by: Option<String>,
}

impl Asks for JournalAsked {
    fn read(params: &mut Params) -> JournalAsked {
        JournalAsked { kind: params.word("kind"), by: params.word("by") }
    }
}

impl JournalAsked {
    pub(super) fn filter(self) -> JournalFilter {
        let JournalAsked { kind, by } = self;
        JournalFilter { kind, by }
    }
}

/// What was written down, newest first. For operators.
#[utoipa::path(get, path = "/api/v1/journal", tag = "recorded", params(Window, JournalAsked),
    responses((status = 200, body = JournalList)))]
pub(super) async fn journal(
    State(app): Shared,
    caller: Caller,
    has: Has,
    Asked((window, asked)): Asked<(Window, JournalAsked)>,
) -> Reply {
    let listed = app.store.list_journal(window.read("journal", &caller)?, asked.filter()).await?;
    page(&has, "journal", listed, Entry::from, |items, next| JournalList { items, next })
}

/// Something that was set.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Preference {
    #[schema(example = "autonomy.level")]
    key: String,
    /// Text, whatever it means.
    value: String,
    /// When it was last set, where the row says so.
    updated_at: Option<Time>,
}

/// What is set, by key; at most 1,000, and no more after 4 MiB.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PreferenceList {
    items: Vec<Preference>,
}

/// What is set.
#[utoipa::path(get, path = "/api/v1/preferences", tag = "recorded", responses((status = 200, body = PreferenceList)))]
pub(super) async fn preferences(State(app): Shared, has: Has, _: Asked<Nothing>) -> Reply {
    let rows = app.store.all_preferences().await?.into_iter();
    let item = |row: record::Preference| Preference {
        key: row.key,
        value: row.value,
        updated_at: row.updated_at.map(Time),
    };
    has.answer(&PreferenceList { items: rows.map(item).collect() })
}
