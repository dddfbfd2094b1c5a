//! Notices: announced work (maintenance) and silences. What a body says is checked here, all of it at once; when a window
//! takes place is for the engine's `window` to know.

mod quiet;
mod reading;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::about::About;
use engine::decide::Known;
use engine::detect::Condition;
use engine::observe::{ClusterName, Subject};
use engine::window::{Edge, Span};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::answer::Has;
use super::params::{Asked, Asks, Nothing, Params};
use super::shape::Time;
use super::{Reply, Shared, seen};
use crate::record::{NewNotice, Notice, NoticeKind, OPEN_MAX, When};
use crate::report::caller::{Caller, Role};
use crate::report::page::GuestMarks;
use crate::report::problem::Problem;
use crate::report::web::{App, read_json};
pub(super) use quiet::{Announced, Quiet};
use reading::Reading;

/// Longest work that is announced once, in minutes: what lasts longer is a guest or node to be left alone by the
/// configuration.
const MAINTENANCE_MINUTES_MAX: u32 = 90 * 24 * 60;
/// Longest silence, in minutes. There is none without an end: whoever wants it longer says so again.
const SILENCE_MINUTES_MAX: u32 = 30 * 24 * 60;
/// Where a notice is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) enum NoticeState {
    /// It holds now.
    InForce,
    /// It is to come; of a weekly one, again.
    ToCome,
    /// Its time is over.
    Over,
    /// Somebody ended it before that.
    Ended,
}

/// From an instant until another.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Period {
    from: Time,
    until: Time,
}

impl Period {
    fn of(span: Span) -> Period {
        Period { from: Time(span.from), until: Time(span.until) }
    }
}

/// Work that somebody announced: nothing is done about what it is on, and people are not told.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Maintenance {
    /// Its UUID.
    #[schema(value_type = Uuid)]
    id: String,
    /// Where; null: in every cluster.
    cluster: Option<String>,
    /// On what: a node means its guests, services and storages too, `cluster` everything.
    #[schema(example = "node/pve1")]
    subject: String,
    /// What for.
    note: String,
    /// Who announced it.
    by: String,
    /// When.
    made_at: Time,
    state: NoticeState,
    /// As it holds now, without a break.
    current: Option<Period>,
    /// When it holds next.
    next: Option<Period>,
    /// On these days of each week; empty where it is once.
    days: Vec<String>,
    /// From this local time on.
    #[schema(example = "02:00")]
    at: Option<String>,
    /// For so many minutes.
    minutes: Option<u32>,
    /// By this zone's clocks.
    #[schema(example = "Europe/Berlin")]
    zone: Option<String>,
    /// Where it is once: from then on.
    from: Option<Time>,
    /// Where it is once: until then.
    until: Option<Time>,
    /// When somebody ended it.
    ended_at: Option<Time>,
    /// Who.
    ended_by: Option<String>,
    /// How many nodes and guests that are seen it means; in the answer to who announces it, and only where that can be
    /// counted. 0 is worth a second look.
    #[serde(skip_serializing_if = "Option::is_none")]
    means: Option<usize>,
}

/// Something of which people are not told. It is recorded and shown, and what can be done about it is done.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Silence {
    /// Its UUID.
    #[schema(value_type = Uuid)]
    id: String,
    /// Where; null: in every cluster.
    cluster: Option<String>,
    /// About what.
    #[schema(example = "tag:web")]
    subject: String,
    /// Which condition; null: all of them, but for MONITOR_BLIND, QUORUM_LOST, and that Jarvis calls people.
    #[schema(example = "DISK_HIGH")]
    condition: Option<String>,
    /// What for.
    note: String,
    /// Who asked for it.
    by: String,
    /// When.
    made_at: Time,
    state: NoticeState,
    /// Until then.
    until: Option<Time>,
    /// When somebody ended it.
    ended_at: Option<Time>,
    /// Who.
    ended_by: Option<String>,
    /// How many nodes and guests that are seen it means; in the answer to who asks for it, and only where that can be
    /// counted. 0 is worth a second look.
    #[serde(skip_serializing_if = "Option::is_none")]
    means: Option<usize>,
}

fn state(notice: &Notice, now: Timestamp) -> NoticeState {
    match (&notice.ended, notice.is_over(now), notice.now_and_next(now).0) {
        (Some(_), _, _) => NoticeState::Ended,
        (None, true, _) => NoticeState::Over,
        (None, false, Some(_)) => NoticeState::InForce,
        (None, false, None) => NoticeState::ToCome,
    }
}

impl Maintenance {
    fn of(notice: Notice, now: Timestamp) -> Maintenance {
        let state = state(&notice, now);
        let (current, next) = notice.now_and_next(now);
        let (once, weekly) = match notice.when {
            When::Once(span) => (Some(span), None),
            When::Weekly { weekly, zone } => (None, Some((weekly, zone))),
            When::Unclear => (None, None),
        };
        let days = weekly.as_ref().map(|(weekly, _)| weekly.days.to_string());
        Maintenance {
            id: notice.id.to_string(),
            cluster: notice.cluster,
            subject: notice.about.to_string(),
            note: notice.note,
            by: notice.by,
            made_at: Time(notice.made),
            state,
            current: current.map(Period::of),
            next: next.map(Period::of),
            days: days.iter().flat_map(|days| days.split(',')).map(str::to_owned).collect(),
            at: weekly.as_ref().map(|(weekly, _)| weekly.at.strftime("%H:%M").to_string()),
            minutes: weekly.as_ref().map(|(weekly, _)| weekly.minutes),
            zone: weekly.map(|(_, zone)| zone),
            from: once.map(|span| Time(span.from)),
            until: once.map(|span| Time(span.until)),
            ended_at: notice.ended.as_ref().map(|(at, _)| Time(*at)),
            ended_by: notice.ended.map(|(_, by)| by),
            means: None,
        }
    }
}

impl Silence {
    fn of(notice: Notice, now: Timestamp) -> Silence {
        Silence {
            id: notice.id.to_string(),
            state: state(&notice, now),
            cluster: notice.cluster,
            subject: notice.about.to_string(),
            condition: notice.condition,
            note: notice.note,
            by: notice.by,
            made_at: Time(notice.made),
            until: match notice.when {
                When::Once(span) => Some(Time(span.until)),
                When::Weekly { .. } | When::Unclear => None,
            },
            ended_at: notice.ended.as_ref().map(|(at, _)| Time(*at)),
            ended_by: notice.ended.map(|(_, by)| by),
            means: None,
        }
    }
}

/// Announced work, newest first: all of it on one page, since there are at most some hundred.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MaintenanceList {
    items: Vec<Maintenance>,
}

/// Silences, newest first: all of them on one page, since there are at most some hundred.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SilenceList {
    items: Vec<Silence>,
}

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) enum Which {
    /// Those that hold or are to come.
    Open,
    /// Those that are over, or that somebody ended.
    Over,
    /// All that are kept.
    All,
}

/// Which notices.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct NoticesAsked {
    /// Those that hold or are to come, unless something else is asked for.
    #[param(inline)]
    state: Option<Which>,
    /// About things of this cluster; those about every cluster are among them.
    #[param(min_length = 1, max_length = 200)]
    cluster: Option<String>,
}

impl Asks for NoticesAsked {
    fn read(params: &mut Params) -> NoticesAsked {
        let states = [("open", Which::Open), ("over", Which::Over), ("all", Which::All)];
        NoticesAsked { state: params.choice("state", &states), cluster: params.word("cluster") }
    }
}

/// What a caller sees of a kind.
async fn listed(
    app: &App,
    caller: &Caller,
    kind: NoticeKind,
    asked: NoticesAsked,
    now: Timestamp,
) -> Result<Vec<Notice>, Problem> {
    let NoticesAsked { state, cluster } = asked;
    let clusters = seen(app, caller, cluster.as_deref())?;
    let mut notices = app.store.all_notices(kind).await?;
    notices.retain(|notice| {
        let wanted = match state.unwrap_or(Which::Open) {
            Which::Open => !notice.is_over(now),
            Which::Over => notice.is_over(now),
            Which::All => true,
        };
        // Those of a cluster that is watched no more are for whoever sees all of them.
        let gone = cluster.is_none() && caller.clusters.is_none();
        wanted && (gone || clusters.iter().any(|(name, _)| notice.is_of(name.as_str())))
    });
    Ok(notices)
}

/// The announced work, newest first.
#[utoipa::path(get, path = "/api/v1/maintenance", tag = "operators", params(NoticesAsked),
    responses((status = 200, body = MaintenanceList)))]
pub(super) async fn maintenance(
    State(app): Shared,
    caller: Caller,
    has: Has,
    Asked(asked): Asked<NoticesAsked>,
) -> Reply {
    let now = app.live.now();
    let notices = listed(&app, &caller, NoticeKind::Maintenance, asked, now).await?;
    has.answer(&MaintenanceList { items: notices.into_iter().map(|one| Maintenance::of(one, now)).collect() })
}

/// The silences, newest first.
#[utoipa::path(get, path = "/api/v1/silences", tag = "operators", params(NoticesAsked),
    responses((status = 200, body = SilenceList)))]
pub(super) async fn silences(
    State(app): Shared,
    caller: Caller,
    has: Has,
    Asked(asked): Asked<NoticesAsked>,
) -> Reply {
    let now = app.live.now();
    let notices = listed(&app, &caller, NoticeKind::Silence, asked, now).await?;
    has.answer(&SilenceList { items: notices.into_iter().map(|one| Silence::of(one, now)).collect() })
}

/// Work to be announced: once, by `from` and `until` or `minutes`; or each week, by `days`, `at`, `minutes` and `zone`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewMaintenance {
    /// Where; null or left out: the only cluster that is watched, or every one, where `subject` may mean something in each.
    cluster: Option<String>,
    /// On what: cluster, node/pve1, qemu/101, lxc/102, storage/local, service/pve1/NAME, tag:NAME, pool:NAME or name:NAME.
    #[schema(example = "node/pve1")]
    subject: String,
    /// What for.
    #[schema(max_length = 500)]
    note: Option<String>,
    /// From then on; left out: from now on. With an offset, or local together with `zone`.
    #[schema(example = "2026-12-01T22:00:00Z")]
    from: Option<String>,
    /// Until then; or `minutes`.
    #[schema(example = "2026-12-02T01:00:00Z")]
    until: Option<String>,
    /// For so long: once at most 90 days, each week at most a day.
    minutes: Option<u32>,
    /// On these days of each week: mon, tue, wed, thu, fri, sat, sun.
    #[schema(max_items = 7, example = json!(["sun"]))]
    days: Option<Vec<String>>,
    /// From this local time of theirs on.
    #[schema(example = "02:00")]
    at: Option<String>,
    /// By which clocks local times are meant. Left out: then no time may be local, and none comes each week.
    #[schema(example = "Europe/Berlin")]
    zone: Option<String>,
}

const MAINTENANCE_SHAPE: &str = r#"{"subject": TEXT, "note": TEXT, "cluster": null|TEXT} with "from": TIME and "until": TIME or "minutes": NUMBER; or with "days": ["sun"], "at": "02:00", "minutes": NUMBER, "zone": "Europe/Berlin""#;

/// Something of which people are not to be told.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewSilence {
    /// Where; null or left out: the only cluster that is watched, or every one, where `subject` may mean something in each.
    cluster: Option<String>,
    /// About what: cluster, node/pve1, qemu/101, lxc/102, storage/local, service/pve1/NAME, tag:NAME, pool:NAME or name:NAME.
    #[schema(example = "tag:web")]
    subject: String,
    /// Which condition; left out: all but for MONITOR_BLIND, QUORUM_LOST, and that Jarvis calls people.
    #[schema(example = "DISK_HIGH")]
    condition: Option<String>,
    /// What for.
    #[schema(max_length = 500)]
    note: Option<String>,
    /// Until then; or `minutes`. With an offset, or local together with `zone`.
    #[schema(example = "2026-12-02T01:00:00Z")]
    until: Option<String>,
    /// For so long, at most 30 days.
    minutes: Option<u32>,
    /// By which clocks a local time is meant. Left out: then it may not be local.
    #[schema(example = "Europe/Berlin")]
    zone: Option<String>,
}

const SILENCE_SHAPE: &str = r#"{"subject": TEXT, "condition": null|TEXT, "note": TEXT, "cluster": null|TEXT} with "until": TIME or "minutes": NUMBER"#;

/// Announces work: from now on or later nothing is done about what it is on, and people are not told of it.
#[utoipa::path(post, path = "/api/v1/maintenance", tag = "operators", request_body = NewMaintenance,
    responses((status = 201, body = Maintenance, headers(("Location" = String, description = "Its address.")))))]
pub(super) async fn set_maintenance(
    State(app): Shared,
    caller: Caller,
    _: Asked<Nothing>,
    request: Request,
) -> Reply {
    let body: NewMaintenance = read_json(&app.limits, request, MAINTENANCE_SHAPE).await?;
    let (mut read, now) = (Reading::default(), app.live.now());
    let about = read.about(&body.subject);
    let cluster = read.place(&app, &caller, body.cluster.as_deref(), about.as_ref())?;
    let note = read.note(body.note.clone());
    let zone = read.zone(body.zone.as_deref());
    let when = if body.days.is_some() || body.at.is_some() {
        read.weekly(&body, zone)
    } else {
        let zone = zone.as_ref().map(|(zone, _)| zone);
        let mut time =
            |name, text: &Option<String>, edge| text.as_ref().map(|text| read.time(name, text, zone, edge));
        let (from, until) = (time("from", &body.from, Edge::Begin), time("until", &body.until, Edge::End));
        match (from, until) {
            (Some(None), _) | (_, Some(None)) => None,
            (from, until) => {
                read.once(now, from.flatten(), until.flatten(), body.minutes, MAINTENANCE_MINUTES_MAX)
            }
        }
    };
    let (kind, condition) = (NoticeKind::Maintenance, None);
    let (about, when) = whole(read, about, when)?;
    let (notice, means) = set(&app, &caller, kind, cluster, about, condition, note, when, now).await?;
    let id = notice.id;
    Ok(made(kind, id, Maintenance { means, ..Maintenance::of(notice, now) }))
}

/// Asks that people are not told of something until a time.
#[utoipa::path(post, path = "/api/v1/silences", tag = "operators", request_body = NewSilence,
    responses((status = 201, body = Silence, headers(("Location" = String, description = "Its address.")))))]
pub(super) async fn set_silence(
    State(app): Shared,
    caller: Caller,
    _: Asked<Nothing>,
    request: Request,
) -> Reply {
    let body: NewSilence = read_json(&app.limits, request, SILENCE_SHAPE).await?;
    let (mut read, now) = (Reading::default(), app.live.now());
    let about = read.about(&body.subject);
    let cluster = read.place(&app, &caller, body.cluster.as_deref(), about.as_ref())?;
    if let Some(word) = &body.condition
        && !Condition::ALL.iter().any(|condition| condition.as_str() == word)
    {
        let words: Vec<_> = Condition::ALL.iter().map(|condition| condition.as_str()).collect();
        read.wrong("condition", format!("must be one of {}", words.join(", ")));
    }
    let note = read.note(body.note);
    let zone = read.zone(body.zone.as_deref());
    let zone = zone.as_ref().map(|(zone, _)| zone);
    let until = body.until.as_ref().map(|text| read.time("until", text, zone, Edge::End));
    let when = match until {
        Some(None) => None,
        until => read.once(now, None, until.flatten(), body.minutes, SILENCE_MINUTES_MAX),
    };
    let kind = NoticeKind::Silence;
    let (about, when) = whole(read, about, when)?;
    let (notice, means) = set(&app, &caller, kind, cluster, about, body.condition, note, when, now).await?;
    let id = notice.id;
    Ok(made(kind, id, Silence { means, ..Silence::of(notice, now) }))
}

/// What was read, where nothing was wrong with it.
fn whole(read: Reading, about: Option<About>, when: Option<When>) -> Result<(About, When), Problem> {
    match (read.errors.is_empty(), about, when) {
        (true, Some(about), Some(when)) => Ok((about, when)),
        (_, _, _) => Err(Problem::wrong(read.errors)),
    }
}

#[expect(clippy::too_many_arguments, reason = "who says what of what, and when")]
async fn set(
    app: &App,
    caller: &Caller,
    kind: NoticeKind,
    cluster: Option<ClusterName>,
    about: About,
    condition: Option<String>,
    note: String,
    when: When,
    now: Timestamp,
) -> Result<(Notice, Option<usize>), Problem> {
    let means = meant(app, caller, cluster.as_ref(), &about);
    let cluster = cluster.map(|cluster| cluster.to_string());
    let new = NewNotice { kind, cluster, about, condition, note, when };
    let notice = app.store.set_notice(new, &caller.operator(), now).await?.ok_or_else(|| {
        let words = format!("there are {OPEN_MAX} already, which is the most; end some of them first");
        Problem::new(StatusCode::CONFLICT, words)
    })?;
    tracing::info!(by = %caller.name, via = %caller.via, id = %notice.id, kind = kind.as_str(), "an operator announced something");
    Ok((notice, means))
}

fn made(kind: NoticeKind, id: Uuid, body: impl Serialize) -> Response {
    let location = format!("{}/{id}", path(kind));
    (StatusCode::CREATED, [(header::LOCATION, location)], Json(body)).into_response()
}

fn path(kind: NoticeKind) -> &'static str {
    match kind {
        NoticeKind::Maintenance => "/api/v1/maintenance",
        NoticeKind::Silence => "/api/v1/silences",
    }
}

/// How many nodes and guests are meant, of those that are seen. `None`: that is not known, or everything is.
fn meant(app: &App, caller: &Caller, cluster: Option<&ClusterName>, about: &About) -> Option<usize> {
    if let About::Subject(Subject::Cluster | Subject::Storage(_) | Subject::Service(_)) = about {
        return None;
    }
    let mut count = 0;
    let pages =
        app.pages.iter().filter(|(name, _)| caller.sees(name) && cluster.is_none_or(|one| one == name));
    for (_, page) in pages {
        let (nodes, guests) = (page.nodes()?, page.guests()?);
        for row in nodes.rows.iter() {
            let subject = Subject::Node(row.node.clone());
            let name = Some(row.node.as_str());
            let known = Known { subject: &subject, node: Some(&row.node), name, tags: &[], pool: None };
            count += usize::from(about.means(&known));
        }
        for row in guests.rows.iter() {
            let subject = Subject::Guest(row.id);
            let GuestMarks { tags, pool, .. } = &row.marks;
            let known = Known {
                subject: &subject,
                node: Some(&row.node),
                name: row.name.as_deref(),
                tags,
                pool: pool.as_deref(),
            };
            count += usize::from(about.means(&known));
        }
    }
    Some(count)
}

/// Ends announced work: from now on Jarvis does again what is to be done. Of a weekly one none comes any more.
#[utoipa::path(delete, path = "/api/v1/maintenance/{id}", tag = "operators",
    params(("id" = Uuid, Path, description = "Its UUID")), responses((status = 200, body = Maintenance)))]
pub(super) async fn end_maintenance(
    State(app): Shared,
    caller: Caller,
    Path(id): Path<String>,
    _: Asked<Nothing>,
) -> Reply {
    let (notice, now) = end(&app, &caller, NoticeKind::Maintenance, &id).await?;
    Ok(Json(Maintenance::of(notice, now)).into_response())
}

/// Ends a silence: from now on people are told again.
#[utoipa::path(delete, path = "/api/v1/silences/{id}", tag = "operators",
    params(("id" = Uuid, Path, description = "Its UUID")), responses((status = 200, body = Silence)))]
pub(super) async fn end_silence(
    State(app): Shared,
    caller: Caller,
    Path(id): Path<String>,
    _: Asked<Nothing>,
) -> Reply {
    let (notice, now) = end(&app, &caller, NoticeKind::Silence, &id).await?;
    Ok(Json(Silence::of(notice, now)).into_response())
}

async fn end(app: &App, caller: &Caller, kind: NoticeKind, id: &str) -> Result<(Notice, Timestamp), Problem> {
    let absent = || Problem::not_found(format!("there is none of this id: GET {} lists them", path(kind)));
    let id: Uuid = id.parse().map_err(|_| absent())?;
    let notice = app.store.notice(&id).await?.filter(|notice| notice.kind == kind).ok_or_else(absent)?;
    let cluster: Option<ClusterName> =
        notice.cluster.as_deref().map(str::parse).transpose().map_err(|_| absent())?;
    if cluster.as_ref().is_some_and(|cluster| !caller.sees(cluster)) {
        return Err(absent());
    }
    if !caller.may(Role::Operator, cluster.as_ref()) {
        let place =
            cluster.map_or_else(|| "all clusters".to_owned(), |cluster| format!("the cluster {cluster}"));
        return Err(Problem::new(StatusCode::FORBIDDEN, format!("This needs the role operator for {place}")));
    }
    let now = app.live.now();
    if notice.is_over(now) {
        return Err(Problem::new(StatusCode::CONFLICT, "it is over already"));
    }
    let notice = app.store.end_notice(id, &caller.operator(), now).await?.ok_or_else(absent)?;
    tracing::info!(by = %caller.name, via = %caller.via, %id, kind = kind.as_str(), "an operator ended what was announced");
    Ok((notice, now))
}
