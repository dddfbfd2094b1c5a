//! Aside: what is asked of PVE only when somebody looks: how a guest or a node was over the last hours, what a guest's
//! configuration says, and what a task wrote.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use engine::observe::{Blindness, ClusterName, GuestId, NodeName};
use pve::Upid;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::answer::Has;
use super::params::{Asked, Asks, Nothing, Params};
use super::{Reply, Shared, only};
use crate::observe::{Configured, Course, Observer, Over};
use crate::report::caller::Caller;
use crate::report::page::{NodeRow, Page};
use crate::report::problem::{MEDIA_TYPE, Problem};
use crate::report::web::App;

/// Over how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Span {
    /// By the minute.
    Hour,
    /// By half an hour, or by the minute: as PVE has it.
    Day,
    /// By some hours.
    Week,
}

/// Over how long.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SpanAsked {
    /// An hour where nothing is said.
    #[param(inline)]
    over: Option<Span>,
}

impl Asks for SpanAsked {
    fn read(params: &mut Params) -> SpanAsked {
        let spans = [("hour", Span::Hour), ("day", Span::Day), ("week", Span::Week)];
        SpanAsked { over: params.choice("over", &spans) }
    }
}

/// How something was, by columns, oldest first; each column is as long as `at`. What was not measured is null.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct History {
    over: Span,
    /// Seconds of Unix time.
    at: Vec<i64>,
    /// Of its cores, 0 to 1.
    cpu_fraction: Vec<Option<f64>>,
    memory_fraction: Vec<Option<f64>>,
    /// Of a node the root disk; of a virtual machine PVE does not know it.
    disk_fraction: Vec<Option<f64>>,
    network_in_bytes_per_second: Vec<Option<f64>>,
    network_out_bytes_per_second: Vec<Option<f64>>,
}

/// What a guest's configuration says about how it is treated.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct GuestConfigured {
    /// Whether its node starts it at boot; then it is started when it has crashed, too.
    onboot: bool,
    /// Its place in its node's start order.
    start_order: Option<u32>,
    /// Whether PVE refuses to remove it.
    protection: bool,
    /// Whether its guest agent is enabled.
    agent: bool,
}

/// How a node was.
#[utoipa::path(get, path = "/api/v1/clusters/{cluster}/nodes/{node}/history", tag = "seen",
    params(("cluster" = String, Path, description = "Its cluster's name"), ("node" = String, Path, description = "Its name"), SpanAsked),
    responses((status = 200, body = History), (status = 502, description = "PVE did not say.", body = Problem, content_type = MEDIA_TYPE)))]
pub(super) async fn node_history(
    State(app): Shared,
    caller: Caller,
    has: Has,
    Path((cluster, node)): Path<(String, String)>,
    Asked(SpanAsked { over }): Asked<SpanAsked>,
) -> Reply {
    let (name, page) = only(&app, &caller, &cluster)?;
    let there = page.nodes();
    let row = there.as_ref().and_then(|there| there.rows.iter().find(|row| row.node.as_str() == node));
    let node = row.map(|row| row.node.clone()).ok_or_else(absent)?;
    course(&app, name, &has, &node, None, over.unwrap_or(Span::Hour)).await
}

/// How a guest was.
#[utoipa::path(get, path = "/api/v1/clusters/{cluster}/guests/{kind}/{vmid}/history", tag = "seen",
    params(
        ("cluster" = String, Path, description = "Its cluster's name"),
        ("kind" = inline(super::shape::GuestKind), Path, description = "Virtual machine or container"),
        ("vmid" = u32, Path, description = "PVE's number", minimum = 100, maximum = 999_999_999),
        SpanAsked,
    ),
    responses((status = 200, body = History), (status = 502, description = "PVE did not say.", body = Problem, content_type = MEDIA_TYPE)))]
pub(super) async fn guest_history(
    State(app): Shared,
    caller: Caller,
    has: Has,
    Path((cluster, kind, vmid)): Path<(String, String, String)>,
    Asked(SpanAsked { over }): Asked<SpanAsked>,
) -> Reply {
    let (name, page) = only(&app, &caller, &cluster)?;
    let (node, guest) = guest_of(page, &kind, &vmid)?;
    course(&app, name, &has, &node, Some(guest), over.unwrap_or(Span::Hour)).await
}

/// What a guest's configuration says about how it is treated.
#[utoipa::path(get, path = "/api/v1/clusters/{cluster}/guests/{kind}/{vmid}/config", tag = "seen",
    params(
        ("cluster" = String, Path, description = "Its cluster's name"),
        ("kind" = inline(super::shape::GuestKind), Path, description = "Virtual machine or container"),
        ("vmid" = u32, Path, description = "PVE's number", minimum = 100, maximum = 999_999_999),
    ),
    responses((status = 200, body = GuestConfigured), (status = 502, description = "PVE did not say.", body = Problem, content_type = MEDIA_TYPE)))]
pub(super) async fn guest_config(
    State(app): Shared,
    caller: Caller,
    has: Has,
    Path((cluster, kind, vmid)): Path<(String, String, String)>,
    _: Asked<Nothing>,
) -> Reply {
    let (name, page) = only(&app, &caller, &cluster)?;
    let (node, guest) = guest_of(page, &kind, &vmid)?;
    let configured = eyes(&app, name)?.configured(&node, guest).await.map_err(not_said)?;
    let Configured { onboot, start_order, protection, agent } = configured;
    has.answer(&GuestConfigured { onboot, start_order, protection, agent })
}

/// What a task wrote while it ran.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct TaskLog {
    /// PVE's id of it.
    upid: String,
    /// Its last lines, oldest first; the very last says how it ended.
    lines: Vec<String>,
    /// Whether there are more before them.
    truncated: bool,
}

/// What a task wrote: what became of an attempt, in PVE's own words.
#[utoipa::path(get, path = "/api/v1/clusters/{cluster}/tasks/{upid}/log", tag = "seen",
    params(
        ("cluster" = String, Path, description = "Its cluster's name"),
        ("upid" = String, Path, description = "PVE's id of it", example = "UPID:pve1:0000C8E4:0000E1BB:6AAF0B1A:qmstart:101:root@pam:"),
    ),
    responses((status = 200, body = TaskLog), (status = 502, description = "PVE did not say.", body = Problem, content_type = MEDIA_TYPE)))]
pub(super) async fn task_log(
    State(app): Shared,
    caller: Caller,
    has: Has,
    Path((cluster, upid)): Path<(String, String)>,
    _: Asked<Nothing>,
) -> Reply {
    let (name, page) = only(&app, &caller, &cluster)?;
    let no_task = || Problem::not_found("there is no such task: it is written UPID:NODE:...");
    let upid: Upid = upid.parse().map_err(|_| no_task())?;
    let there = page.nodes();
    let is_there = |row: &NodeRow| row.node.as_str() == upid.node().as_str();
    if !there.as_ref().is_some_and(|there| there.rows.iter().any(is_there)) {
        return Err(absent());
    }
    let said = eyes(&app, name)?.task_log(&upid).await.map_err(not_said)?;
    let said = said.ok_or_else(|| Problem::not_found("PVE knows of no such task, or has forgotten it"))?;
    has.answer(&TaskLog { upid: upid.to_string(), lines: said.lines, truncated: said.truncated })
}

async fn course(
    app: &App,
    cluster: &ClusterName,
    has: &Has,
    node: &NodeName,
    guest: Option<GuestId>,
    over: Span,
) -> Reply {
    let span = match over {
        Span::Hour => Over::Hour,
        Span::Day => Over::Day,
        Span::Week => Over::Week,
    };
    let course = eyes(app, cluster)?.course(node, guest, span).await.map_err(not_said)?;
    let Course { at, cpu, memory, disk, netin, netout } = course;
    has.answer(&History {
        over,
        at,
        cpu_fraction: cpu,
        memory_fraction: memory,
        disk_fraction: disk,
        network_in_bytes_per_second: netin,
        network_out_bytes_per_second: netout,
    })
}

fn guest_of(page: &Page, kind: &str, vmid: &str) -> Result<(NodeName, GuestId), Problem> {
    let guest = format!("{kind}/{vmid}");
    let there = page.guests();
    let row = there.as_ref().and_then(|there| there.rows.iter().find(|row| row.id.to_string() == guest));
    row.map(|row| (row.node.clone(), row.id)).ok_or_else(absent)
}

fn absent() -> Problem {
    Problem::not_found("there is none of that name, or it is not seen yet")
}

fn eyes(app: &App, cluster: &ClusterName) -> Result<Arc<Observer>, Problem> {
    app.live.eyes(cluster).ok_or_else(|| Problem::not_found(format!("{cluster} is not watched just now")))
}

fn not_said(blindness: Blindness) -> Problem {
    Problem::new(StatusCode::BAD_GATEWAY, format!("PVE did not say: {}", blindness.words))
}
