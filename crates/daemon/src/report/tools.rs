//! Tools: what an operator does by hand in a cluster, through us. The old page's calls.
//!
//! An operator's own act is not held up by the kill switch or the level: those bind what Jarvis does on its own
//! (ADR 18). What cannot be taken back wants to be confirmed, and what could take a node out of its cluster is never
//! done. The intent is in the journal before the one call is made, the outcome after it, both with who it was (`deed`);
//! the act goes on when whoever asked for it goes away, and what a process left in its middle the next one brings to its
//! end in the journal (`left`).

mod deed;
mod left;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use engine::decide::VITAL;
use engine::observe::{ClusterName, GuestId, GuestKind, NodeName, Presence, ServiceName};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::caller::{Caller, Role};
use super::page::Page;
use super::refusal::Refusal;
use super::web::{Answer, App, Query, Shared, parse_body, read_bytes};
use crate::act::{Act, Hands, Verb};
use deed::Deed;
pub(super) use left::finish_left;

/// Acts at once, in all clusters. PVE does not limit starts by itself, and a person does not start more by hand.
const ACTS_MAX: u32 = 8;
/// How long an act goes on after the daemon was asked to stop: most tasks end within it, and what was sent is answered.
const STOPPING_MAX: Duration = Duration::from_secs(5);
/// And then its outcome still has to be stored.
const STORED_WITHIN: Duration = Duration::from_secs(1);
/// Longest name of a service, in bytes.
const SERVICE_MAX: usize = 64;

const SHAPE: &str = r#"{"tool": NAME, "args": {"node", "vmid" or "service", "cluster" where there are several, and "confirmed": true where it is needed}}"#;
/// What belongs into `args`.
const ARGS: [&str; 6] = ["node", "vmid", "service", "confirmed", "graceful", "cluster"];

/// How much a tool can spoil. What is green looks only, and there is none so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ToolTier)]
enum Tier {
    Yellow,
    /// Has to be confirmed.
    Red,
    /// Is never done.
    Black,
}

/// What a tool is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    Guest(GuestKind, Verb),
    Wake,
    RestartService,
}

const TOOLS: [(&str, Tier, Tool); 8] = [
    ("start_vm", Tier::Yellow, Tool::Guest(GuestKind::Qemu, Verb::Start)),
    ("stop_vm", Tier::Red, Tool::Guest(GuestKind::Qemu, Verb::Stop)),
    ("restart_vm", Tier::Red, Tool::Guest(GuestKind::Qemu, Verb::Reboot)),
    ("start_container", Tier::Yellow, Tool::Guest(GuestKind::Lxc, Verb::Start)),
    ("stop_container", Tier::Red, Tool::Guest(GuestKind::Lxc, Verb::Stop)),
    ("restart_container", Tier::Red, Tool::Guest(GuestKind::Lxc, Verb::Reboot)),
    ("wake_node", Tier::Yellow, Tool::Wake),
    ("restart_service", Tier::Red, Tool::RestartService),
];

/// The calls. Who may make them is in the table of [`super::caller`].
pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(execute))
}

/// What acts, and what is being done.
pub(super) struct Tools {
    hands: Vec<(ClusterName, Hands)>,
    seats: Arc<Semaphore>,
    busy: Arc<Mutex<BTreeSet<String>>>,
}

impl Tools {
    pub(super) fn new(hands: Vec<(ClusterName, Hands)>) -> Tools {
        Tools { hands, seats: Arc::new(Semaphore::new(ACTS_MAX as usize)), busy: Arc::default() }
    }

    fn hands(&self, cluster: &str) -> Option<Hands> {
        self.hands.iter().find(|(name, _)| name.as_str() == cluster).map(|(_, hands)| hands.clone())
    }

    /// Waits until nothing is being done any more, for some seconds at most, and lets nothing begin. Whoever calls it
    /// has asked the acts to stop.
    pub(super) async fn end(&self) {
        if self.seats.available_permits() < ACTS_MAX as usize {
            tracing::info!("waiting for what is being done by hand, {} s at most", STOPPING_MAX.as_secs());
        }
        let all = self.seats.acquire_many(ACTS_MAX);
        match tokio::time::timeout(STOPPING_MAX + STORED_WITHIN, all).await {
            Ok(Ok(all)) => all.forget(),
            // Nobody closes it.
            Ok(Err(_)) => {}
            Err(_) => tracing::warn!("how an act ended is not recorded; the next start looks"),
        }
    }

    /// A place for one more act, if nothing is being done to its subject.
    fn take(&self, subject: String) -> Result<Turn, String> {
        let subject = self.mark(subject)?;
        let seat = self.seats.clone().try_acquire_owned();
        let seat =
            seat.map_err(|_| format!("{ACTS_MAX} acts are being done already, wait for one to end"))?;
        Ok(Turn { _subject: subject, _seat: seat })
    }

    /// Nothing else is done to it for as long as the value lives.
    fn mark(&self, subject: String) -> Result<Busy, String> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if !busy.insert(subject.clone()) {
            return Err(format!("something is being done to {subject} already, wait for it to end"));
        }
        Ok(Busy { subject, all: Arc::clone(&self.busy) })
    }
}

/// The right to do something to a subject, for as long as the value lives.
struct Turn {
    _subject: Busy,
    _seat: OwnedSemaphorePermit,
}

/// A subject to which something is being done.
struct Busy {
    subject: String,
    all: Arc<Mutex<BTreeSet<String>>>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.subject);
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = ToolList)]
struct Listed {
    tools: Vec<ListedTool>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Tool)]
struct ListedTool {
    name: &'static str,
    tier: Tier,
}

/// What can be done by hand.
#[utoipa::path(get, path = "/api/tools", tag = "original", operation_id = "tools",
    responses((status = 200, body = Listed)))]
async fn list(request: Request) -> Answer<Json<Listed>> {
    Query::parse(request.uri(), &[])?;
    let tools = TOOLS.iter().map(|(name, tier, _)| ListedTool { name, tier: *tier }).collect();
    Ok(Json(Listed { tools }))
}

/// Why a tool was not used, or did not do what it is for.
#[derive(Debug, PartialEq, Eq)]
enum No {
    Unknown(String),
    Bad(String),
    /// By its tier.
    Blocked(Tier, String),
    Forbidden(String),
    /// As another call would have been refused.
    Otherwise(StatusCode, String),
}

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> No {
        No::Otherwise(refusal.status, refusal.error)
    }
}

impl IntoResponse for No {
    fn into_response(self) -> Response {
        let (status, error, tier) = match self {
            No::Unknown(error) => (StatusCode::NOT_FOUND, error, None),
            No::Bad(error) => (StatusCode::BAD_REQUEST, error, None),
            No::Blocked(tier, error) => (StatusCode::FORBIDDEN, error, Some(tier)),
            No::Forbidden(error) => (StatusCode::FORBIDDEN, error, None),
            No::Otherwise(status, error) => (status, error, None),
        };
        let body = Refused { blocked: tier.map(|_| true), error, success: Some(false), tier };
        (status, Json(body)).into_response()
    }
}

#[derive(Deserialize, ToSchema)]
#[schema(as = ToolWanted)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// As the list of them has it.
    tool: String,
    #[serde(default)]
    args: Args,
}

/// As given: each is judged by itself, so that the answer names the one that is wrong.
#[derive(Default, Deserialize, ToSchema)]
#[schema(as = ToolArgs)]
#[serde(deny_unknown_fields)]
struct Args {
    #[serde(default)]
    #[schema(value_type = String, required)]
    node: Value,
    /// For guests.
    #[serde(default)]
    #[schema(value_type = Option<u32>)]
    vmid: Value,
    /// For services.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    service: Value,
    /// For what is red.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    confirmed: Value,
    /// Ours: ask a guest to shut down instead of pulling its plug.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    graceful: Value,
    /// Ours: which cluster. It may be left out only where a single one is watched.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    cluster: Value,
}

/// What came of it.
#[derive(Serialize, ToSchema)]
#[schema(as = ToolDone)]
struct Succeeded<'a> {
    result: [Text<'a>; 1],
    success: bool,
    tier: Tier,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ToolText)]
struct Text<'a> {
    text: &'a str,
    r#type: &'static str,
}

/// Why it was not done, or did not go well.
#[derive(Serialize, ToSchema)]
#[schema(as = ToolRefused)]
struct Refused {
    #[serde(skip_serializing_if = "Option::is_none")]
    blocked: Option<bool>,
    error: String,
    /// Left out where the call did not get as far as the tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    success: Option<bool>,
    /// Where the tier is why.
    #[serde(skip_serializing_if = "Option::is_none")]
    tier: Option<Tier>,
}

/// What is to be done, and how people call it.
#[derive(Debug)]
struct Plan {
    act: Act,
    /// `VM web01 (101)`.
    label: String,
}

/// Does one thing by hand.
///
/// What stops something wants `"confirmed": true` in its `args`; where several clusters are watched, `args` name one.
#[utoipa::path(post, path = "/api/tools/execute", tag = "original", operation_id = "execute_tool", request_body = Wanted,
    responses(
        (status = 200, body = Succeeded<'static>),
        (status = 400, description = "It cannot be done as it stands, or it failed.", body = Refused),
        (status = 403, description = "It is not confirmed, never done, or not for the caller.", body = Refused),
        (status = 404, description = "There is no such tool.", body = Refused)))]
async fn execute(State(app): Shared, caller: Caller, request: Request) -> Result<Response, No> {
    Query::parse(request.uri(), &[])?;
    let wanted = read_wanted(&read_bytes(&app.limits, request.into_body()).await?)?;
    let (tier, tool) = tool_of(&wanted.tool)?;
    let (cluster, page) = cluster_of(&app, &caller, &wanted.args.cluster)?;
    // Before a word is said of what is there.
    if !caller.may(Role::Operator, Some(cluster)) {
        let place = if caller.sees(cluster) { cluster.as_str() } else { "that is meant" };
        return Err(No::Forbidden(format!("{} may not act in the cluster {place}", caller.name)));
    }
    let Plan { act, label } = plan(&wanted, tier, tool, page, |guest| app.live.runs_in(cluster, guest))?;
    if !app.live.clusters(Instant::now()).any(|(name, seen)| name == cluster && seen) {
        return Err(No::Bad(format!(
            "the cluster {cluster} is not seen at the moment: what is there is not known"
        )));
    }
    let hands = app.tools.hands(cluster.as_str());
    let hands =
        hands.ok_or_else(|| No::Bad(format!("nothing can be done in the cluster {cluster} from here")))?;
    let turn = app.tools.take(busy_as(&label, cluster.as_str())).map_err(No::Bad)?;
    let deed = Deed {
        id: Uuid::new_v4(),
        tool: wanted.tool,
        cluster: cluster.to_string(),
        node: node_of(&act).to_string(),
        act: Some(act),
        label: label.clone(),
        by: caller.operator(),
        store: app.store.clone(),
        live: Arc::clone(&app.live),
    };
    let (begun, task) = watch::channel(None);
    let (tell, told) = oneshot::channel();
    let (recorded, is_recorded) = oneshot::channel();
    let stop = app.stop.clone();
    // On its own: a browser that goes away must not leave an intent without its act, nor an act without its outcome.
    tokio::spawn(async move {
        let is_saved = deed.asked().await;
        if recorded.send(is_saved).is_err() {
            tracing::debug!("whoever asked for this act has gone");
        }
        if is_saved {
            let outcome = deed.done(&hands, &begun, stop).await;
            if tell.send(outcome).is_err() {
                tracing::debug!("nobody waits for this act any more");
            }
        }
        drop(turn);
    });
    if !is_recorded.await.unwrap_or(false) {
        let words = "nothing was done, because it cannot be recorded; the log says why";
        return Err(No::Otherwise(StatusCode::INTERNAL_SERVER_ERROR, words.into()));
    }
    let mut stop = app.stop.clone();
    let waited = tokio::select! {
        waited = tokio::time::timeout(app.limits.act, told) => waited,
        () = stop.asked() => {
            return Err(No::Bad(format!("{label}: Jarvis stops; what comes of it is told as an event")));
        }
    };
    let outcome = match waited {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => return Err(No::Bad(format!("{label}: Jarvis stopped before it ended"))),
        Err(_) => {
            let text = match &*task.borrow() {
                Some(upid) => format!("{label}: still running ({upid}); its end will be told as an event"),
                None => {
                    format!("{label}: PVE has not answered yet; what comes of it will be told as an event")
                }
            };
            return Ok(succeeded(&text, tier));
        }
    };
    if outcome.is_success() {
        Ok(succeeded(&format!("{label}: {outcome}"), tier))
    } else {
        Err(No::Bad(format!("{label}: {outcome}")))
    }
}

/// By which name nothing else is done to it.
fn busy_as(label: &str, cluster: &str) -> String {
    format!("{label} in {cluster}")
}

fn node_of(act: &Act) -> &NodeName {
    match act {
        Act::Guest { node, .. } | Act::Wake { node, .. } | Act::RestartService { node, .. } => node,
    }
}

fn succeeded(text: &str, tier: Tier) -> Response {
    Json(Succeeded { result: [Text { text, r#type: "text" }], success: true, tier }).into_response()
}

/// What is wanted, or what of it stands in the wrong place.
fn read_wanted(body: &[u8]) -> Result<Wanted, No> {
    let refused = match parse_body(body, SHAPE) {
        Ok(wanted) => return Ok(wanted),
        Err(refused) => refused,
    };
    let given: Option<Value> = serde_json::from_slice(body).ok();
    let misplaced = given.and_then(|given| ARGS.into_iter().find(|name| given.get(name).is_some()));
    Err(match misplaced {
        Some(name) => No::Bad(format!("{name} belongs into args: {SHAPE}")),
        None => refused.into(),
    })
}

/// The one that is named. Whoever names none means one of their own making: with several, that may be another than the first.
fn cluster_of<'a>(app: &'a App, caller: &Caller, given: &Value) -> Result<(&'a ClusterName, &'a Page), No> {
    let named = match given {
        Value::Null => match &app.pages[..] {
            [(only, page)] => return Ok((only, page)),
            _ => {
                return Err(No::Bad(format!(
                    "cluster must be named in args: {}",
                    app.shown_clusters(caller)
                )));
            }
        },
        Value::String(given) => given.as_str(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            return Err(No::Bad(format!("cluster must be the name of one: {}", app.shown_clusters(caller))));
        }
    };
    app.named_cluster(caller, named).map_err(No::Bad)
}

fn tool_of(name: &str) -> Result<(Tier, Tool), No> {
    let found = TOOLS.iter().find(|(known, ..)| *known == name);
    found.map(|(_, tier, tool)| (*tier, *tool)).ok_or_else(|| {
        let known: Vec<_> = TOOLS.iter().map(|(name, ..)| *name).collect();
        No::Unknown(format!("There is no such tool; there are {}", known.join(", ")))
    })
}

/// What a wish comes to, by the current picture of the cluster. `is_ours` says whether Jarvis itself runs in a guest.
fn plan(
    wanted: &Wanted,
    tier: Tier,
    tool: Tool,
    page: &Page,
    is_ours: impl Fn(GuestId) -> bool,
) -> Result<Plan, No> {
    let Wanted { tool: name, args } = wanted;
    let bad = |words: &str| No::Bad(words.to_owned());
    let node: NodeName = text(&args.node)
        .and_then(|node| node.parse().ok())
        .ok_or_else(|| bad("node must be the name of a node"))?;
    let flag = |given: &Value, name: &str| match given {
        Value::Null => Ok(false),
        Value::Bool(given) => Ok(*given),
        Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            Err(No::Bad(format!("{name} must be true or false")))
        }
    };
    let confirmed = flag(&args.confirmed, "confirmed")?;
    let graceful = flag(&args.graceful, "graceful")?;
    let stops = matches!(tool, Tool::Guest(_, Verb::Stop));
    if graceful && !stops {
        return Err(bad("graceful is for stop_vm and stop_container"));
    }
    let is_guest = matches!(tool, Tool::Guest(..));
    if !is_guest && !args.vmid.is_null() {
        return Err(No::Bad(format!("vmid is not for {name}")));
    }
    if tool != Tool::RestartService && !args.service.is_null() {
        return Err(No::Bad(format!("service is not for {name}")));
    }
    let confirm = |what: &str| {
        if tier == Tier::Red && !confirmed {
            return Err(No::Blocked(tier, format!("{what} needs \"confirmed\": true")));
        }
        Ok(())
    };
    let (act, label) = match tool {
        Tool::Guest(kind, verb) => {
            let vmid = args.vmid.as_u64().and_then(|vmid| u32::try_from(vmid).ok());
            let vmid =
                vmid.filter(|vmid| *vmid > 0).ok_or_else(|| bad("vmid must be the number of a guest"))?;
            let guest = GuestId { kind, vmid };
            let label = guest_there(page, guest, &node)?;
            if verb != Verb::Start && is_ours(guest) {
                let words = format!(
                    "Jarvis runs in {label}: stopped from here, nobody would tell what came of it; PVE itself does it"
                );
                return Err(No::Blocked(Tier::Black, words));
            }
            confirm(name)?;
            let verb = if graceful { Verb::Shutdown } else { verb };
            (Act::Guest { node, guest, verb }, label)
        }
        Tool::Wake => {
            if node_there(page, &node)? == Presence::Online {
                return Err(No::Bad(format!("node {node} is online")));
            }
            let label = format!("node {node}");
            (Act::Wake { node, mac: None }, label)
        }
        Tool::RestartService => {
            let service = text(&args.service).and_then(service_name);
            let service = service.ok_or_else(|| bad("service must be the name of a service"))?;
            let service = service.as_str();
            if takes_a_node_out(service) {
                let words =
                    format!("{service} is never restarted from here: it may cost the node its cluster");
                return Err(No::Blocked(Tier::Black, words));
            }
            confirm(name)?;
            if node_there(page, &node)? == Presence::Offline {
                return Err(No::Bad(format!("node {node} is offline")));
            }
            let label = format!("service {service} on {node}");
            (Act::RestartService { node, service: service.into() }, label)
        }
    };
    Ok(Plan { act, label })
}

/// As PVE has it. However often the suffix is repeated, the service that is meant is the same, and so is what it may cost.
fn service_name(given: &str) -> Option<ServiceName> {
    let mut name = given;
    while let Some(shorter) = name.strip_suffix(".service") {
        name = shorter;
    }
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    // A dot at its end, or two in a row, is in no unit's name.
    let odd = name.ends_with('.') || name.contains("..");
    let good = name.len() <= SERVICE_MAX && name.bytes().all(plain) && !odd;
    name.parse().ok().filter(|_| good)
}

/// A restart of one of these can end in a fence: corosync and what HA and its watchdog stand on.
fn takes_a_node_out(service: &str) -> bool {
    VITAL.iter().any(|vital| service.starts_with(vital))
}

fn text(value: &Value) -> Option<&str> {
    value.as_str()
}

const NOT_SEEN: &str = "the cluster has not been seen yet: try again in some seconds";

/// The guest's name for people, if it is of that kind and on that node.
fn guest_there(page: &Page, guest: GuestId, node: &NodeName) -> Result<String, No> {
    let guests = page.guests().ok_or_else(|| No::Bad(NOT_SEEN.into()))?;
    let kind = |kind| match kind {
        GuestKind::Qemu => "VM",
        GuestKind::Lxc => "container",
    };
    let what = kind(guest.kind);
    let Some(row) = guests.rows.iter().find(|row| row.id.vmid == guest.vmid) else {
        return Err(No::Bad(format!("there is no {what} {}", guest.vmid)));
    };
    if row.id.kind != guest.kind {
        return Err(No::Bad(format!("{} is a {}, not a {what}", guest.vmid, kind(row.id.kind))));
    }
    if row.node != *node {
        return Err(No::Bad(format!("{what} {} is on {}, not on {node}", guest.vmid, row.node)));
    }
    Ok(match &row.name {
        Some(name) => format!("{what} {name} ({})", guest.vmid),
        None => format!("{what} {}", guest.vmid),
    })
}

fn node_there(page: &Page, node: &NodeName) -> Result<Presence, No> {
    let nodes = page.nodes().ok_or_else(|| No::Bad(NOT_SEEN.into()))?;
    let row = nodes.rows.iter().find(|row| row.node == *node);
    row.map(|row| row.status).ok_or_else(|| No::Bad(format!("there is no node {node}")))
}
