//! Incidents: what was or is wrong, one by one, and the story of each.

use std::collections::HashMap;

use axum::extract::{Path, State};
use engine::decide::Hold;
use engine::incident::IncidentId;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::answer::Has;
use super::list::{Entry, Event, Window, page};
use super::next::Next;
use super::notices::{Announced, Quiet};
use super::params::{Asked, Asks, Params};
use super::shape::{Resolution, Severity, Time, json, key};
use super::{Reply, Shared};
use crate::record::{Course, IncidentFilter, IncidentRow, NoticeKind, StoreError};
use crate::report::caller::{Caller, Role};
use crate::report::problem::Problem;
use crate::report::web::App;

/// Most events and most entries of one story, each of at most as many bytes as a page has. A guest that flaps for weeks is
/// many incidents, not one long one.
const STORY_MAX: u32 = 1000;

/// Where an incident is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum IncidentState {
    /// It is not over.
    Open,
    /// It is over.
    Resolved,
}

/// Something that is or was wrong.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Incident {
    /// Its UUID. Two clusters may have made the same one, so it is whole only with `cluster`.
    #[schema(value_type = uuid::Uuid)]
    id: String,
    /// `CONDITION:SUBJECT`, with `CLUSTER/` before it for clusters after the first. The next one of the same kind has the same.
    #[schema(example = "VM_CRASHED:101")]
    key: String,
    /// Whose it is.
    cluster: String,
    /// The condition, as it is or was at the end.
    #[schema(example = "VM_CRASHED")]
    r#type: String,
    /// How bad.
    severity: Severity,
    /// Where it is in its life.
    state: IncidentState,
    /// What it is about, as PVE writes ids.
    #[schema(example = "qemu/101")]
    subject: String,
    /// What it is about, for people: the subject's name, or its id where it has none.
    target: String,
    /// The node it is about or happened on.
    node: Option<String>,
    /// When it was told.
    detected_at: Time,
    /// When it last got another condition.
    turned_at: Option<Time>,
    /// When it ended.
    resolved_at: Option<Time>,
    /// How it ended.
    resolution: Option<Resolution>,
    /// The facts of the event that it was last told with.
    #[schema(value_type = serde_json::Value)]
    details: Option<Box<RawValue>>,
    /// What comes next, as its engine last said; null when it is over, and where too many are open to say it of each.
    next: Option<Next>,
    /// How often something was done about it, as far as the journal is kept.
    attempts: u32,
    /// What is under way, for people; null where nothing is.
    #[schema(example = "start it on pve1")]
    acting: Option<String>,
    /// What is done when an operator approves, for people; null where there is nothing to approve.
    #[schema(example = "start it on pve1")]
    proposed: Option<String>,
    /// Whether Jarvis gave up and called people.
    escalated: bool,
    /// Why nothing is done by itself; empty where nothing objects, nothing could be done, or it is over.
    holds: Vec<Objection>,
    /// The announced work that it is part of now: nothing is done about it, and people are not told.
    maintenance: Option<Announced>,
    /// The silence that is on it now: people are not told.
    silence: Option<Announced>,
}

/// Why nothing is done.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Objection {
    /// The guardrail's word.
    #[schema(example = "killSwitch")]
    hold: String,
    /// For people, as of when it was told.
    #[schema(example = "the kill switch is on")]
    words: String,
}

/// How far each of these has come. What is over has nothing that stands any more.
async fn courses(app: &App, rows: &[IncidentRow]) -> Result<HashMap<i64, Course>, StoreError> {
    let numbers: Vec<i64> = rows.iter().map(|row| row.seq).collect();
    let mut courses = app.store.courses(&numbers).await?;
    for row in rows.iter().filter(|row| row.resolved.is_some()) {
        if let Some(course) = courses.get_mut(&row.seq) {
            *course = Course { attempts: course.attempts, escalated: course.escalated, ..Course::default() };
        }
    }
    Ok(courses)
}

impl Incident {
    fn of(app: &App, quiet: &Quiet, row: IncidentRow, course: Course) -> Incident {
        let Course { attempts, holds, proposed, acting, escalated } = course;
        let objection =
            |(hold, at): (Hold, Timestamp)| Objection { hold: hold.to_string(), words: hold.words(at) };
        let state = if row.resolved.is_some() { IncidentState::Resolved } else { IncidentState::Open };
        let id: Option<IncidentId> = row.id.parse().ok().filter(|_| state == IncidentState::Open);
        let ahead = id.and_then(|id| {
            let prospects = app.live.prospects(&row.cluster);
            prospects.iter().find(|prospect| prospect.incident == id).map(|it| Next::of(it, app.live.now()))
        });
        Incident {
            next: ahead,
            maintenance: quiet.of(NoticeKind::Maintenance, &row),
            silence: quiet.of(NoticeKind::Silence, &row),
            key: key(app, &row.cluster, &row.condition, &row.subject),
            id: row.id,
            cluster: row.cluster,
            r#type: row.condition,
            severity: row.severity.into(),
            state,
            target: row.name.unwrap_or_else(|| row.subject.clone()),
            subject: row.subject,
            node: row.node,
            detected_at: Time(row.opened),
            turned_at: row.turned.map(Time),
            resolved_at: row.resolved.map(Time),
            resolution: row.resolution.map(Into::into),
            details: row.details.as_deref().and_then(json),
            attempts,
            acting,
            proposed,
            escalated,
            holds: holds.into_iter().map(objection).collect(),
        }
    }
}

/// A page of incidents, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct IncidentList {
    /// The rows of this page; fewer than `limit`, even none, where a filter fits little and there is more to look at.
    items: Vec<Incident>,
    /// What to give as `cursor` for the next page; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// An incident with all that was told and written down of it, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct IncidentStory {
    incident: Incident,
    /// What was told of it, as far as that is kept; with it the event that told it among others.
    events: Vec<Event>,
    /// What was written down of it, as far as that is kept; absent for a viewer, who may not read the journal.
    #[serde(skip_serializing_if = "Option::is_none")]
    journal: Option<Vec<Entry>>,
    /// Whether there is more of either than is shown.
    truncated: bool,
}

/// Which incidents.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct IncidentsAsked {
    /// Open or resolved.
    #[param(inline)]
    state: Option<IncidentState>,
    /// How bad.
    #[param(inline)]
    severity: Option<Severity>,
    /// About this node, or something on it.
    #[param(min_length = 1, max_length = 200)]
    node: Option<String>,
    /// About this.
    #[param(min_length = 1, max_length = 200, example = "qemu/101")]
    subject: Option<String>,
    /// With this condition.
    #[param(min_length = 1, max_length = 200, example = "VM_CRASHED")]
    condition: Option<String>,
    /// Part of the subject's name, whatever its case.
    #[param(min_length = 1, max_length = 100)]
    name: Option<String>,
}

impl Asks for IncidentsAsked {
    fn read(params: &mut Params) -> IncidentsAsked {
        let states = [("open", IncidentState::Open), ("resolved", IncidentState::Resolved)];
        IncidentsAsked {
            state: params.choice("state", &states),
            severity: params.choice("severity", Severity::ALL).map(Into::into),
            node: params.word("node"),
            subject: params.word("subject"),
            condition: params.word("condition"),
            name: params.part("name"),
        }
    }
}

/// The incidents, newest first. `since` and `until` go by when they were told.
#[utoipa::path(get, path = "/api/v1/incidents", tag = "recorded", params(Window, IncidentsAsked),
    responses((status = 200, body = IncidentList)))]
pub(super) async fn incidents(
    State(app): Shared,
    caller: Caller,
    has: Has,
    Asked((window, asked)): Asked<(Window, IncidentsAsked)>,
) -> Reply {
    let IncidentsAsked { state, severity, node, subject, condition, name } = asked;
    let filter = IncidentFilter {
        open: state.map(|state| state == IncidentState::Open),
        severity: severity.map(Severity::inner),
        node,
        subject,
        condition,
        name,
    };
    let listed = app.store.list_incidents(window.read("incidents", &caller)?, filter).await?;
    let mut courses = courses(&app, &listed.rows).await?;
    let quiet = Quiet::read(&app).await?;
    let item = |row: IncidentRow| {
        let course = courses.remove(&row.seq).unwrap_or_default();
        Incident::of(&app, &quiet, row, course)
    };
    page(&has, "incidents", listed, item, |items, next| IncidentList { items, next })
}

/// Which of two that have the same id.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct IncidentAsked {
    /// Of this cluster.
    #[param(min_length = 1, max_length = 200)]
    cluster: Option<String>,
}

impl IncidentAsked {
    pub(super) fn is_of(&self, cluster: &str) -> bool {
        self.cluster.as_deref().is_none_or(|meant| meant == cluster)
    }
}

impl Asks for IncidentAsked {
    fn read(params: &mut Params) -> IncidentAsked {
        IncidentAsked { cluster: params.word("cluster") }
    }
}

/// One incident with its story.
#[utoipa::path(get, path = "/api/v1/incidents/{id}", tag = "recorded",
    params(("id" = uuid::Uuid, Path, description = "Its UUID"), IncidentAsked),
    responses((status = 200, body = IncidentStory)))]
pub(super) async fn incident(
    State(app): Shared,
    caller: Caller,
    has: Has,
    Path(id): Path<String>,
    Asked(asked): Asked<IncidentAsked>,
) -> Reply {
    let found = app.store.incidents_by_id(&id).await?;
    let sees = |row: &IncidentRow| row.cluster.parse().is_ok_and(|cluster| caller.sees(&cluster));
    let row = found.into_iter().find(|row| sees(row) && asked.is_of(&row.cluster));
    let row = row.ok_or_else(|| Problem::not_found("there is no such incident, or it is pruned"))?;
    let events = app.store.incident_events(&row, STORY_MAX).await?;
    let reads = row.cluster.parse().is_ok_and(|cluster| caller.may(Role::Operator, Some(&cluster)));
    let journal = match reads {
        true => Some(app.store.incident_entries(&row, STORY_MAX).await?),
        false => None,
    };
    let course = courses(&app, std::slice::from_ref(&row)).await?.remove(&row.seq).unwrap_or_default();
    let quiet = Quiet::read(&app).await?;
    has.answer(&IncidentStory {
        truncated: events.truncated || journal.as_ref().is_some_and(|journal| journal.truncated),
        incident: Incident::of(&app, &quiet, row, course),
        events: events.rows.into_iter().map(Event::from).collect(),
        journal: journal.map(|journal| journal.rows.into_iter().map(Entry::from).collect()),
    })
}
