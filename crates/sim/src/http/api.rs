//! PVE's API: which call it is, who may make it, which node answers it, and its answer.
//!
//! In PVE's own order: the method, the path's format, the token, the call, its permission, the node that it is
//! for, its parameters, the thing itself. Whoever changes the order changes which error a client gets.

use std::collections::BTreeMap;
use std::time::Duration;

use engine::observe::{GuestId, GuestKind, NodeName};

use super::access::{self, Caller, Rights, Token};
use super::calls::{Call, Doing, What, find, verify};
use super::wire::{Answer, Body, PROTECTED, PROXIED, Request, unescape};
use super::{ha, views};
use crate::cluster::{Api, Cluster, Guest, Node, Power, Task, Verb};
use crate::json::Json;
use crate::rng::Rng;

/// A list of more guests than this is kept until something changes.
const KEEP_LIST_FROM: usize = 500;
/// How long one node waits for another that takes the connection and says nothing.
const PROXY_PATIENCE: Duration = Duration::from_secs(30);

/// What an answer is made from.
pub(super) struct Desk<'a> {
    pub(super) cluster: &'a mut Cluster,
    /// The node that was asked.
    pub(super) viewer: &'a NodeName,
    pub(super) tokens: &'a [Token],
    pub(super) fingerprints: &'a BTreeMap<NodeName, String>,
    pub(super) rng: &'a mut Rng,
    pub(super) kept: &'a mut Kept,
    pub(super) delay_401: Duration,
}

/// Large lists that were built and are still true.
#[derive(Default)]
pub(super) struct Kept(BTreeMap<(NodeName, bool, String), (u64, Body)>);

/// Why there is no data.
enum Fail {
    /// 401
    Unknown(&'static str),
    /// 403
    Denied(String, &'static str),
    /// 400, by parameter.
    Bad(Vec<(String, String)>),
    /// 500
    Died(String),
    /// 501
    Unimplemented,
    /// 595, 596: between two nodes.
    Proxy(u16, &'static str, Duration),
}

/// What a call gave.
enum Data {
    Value(String),
    Kept(Body),
}

/// Answers; the second is the call's name for the counters.
pub(super) fn answer(desk: &mut Desk, request: &Request) -> (Answer, String) {
    let method = request.method.as_str();
    if !matches!(method, "GET" | "POST" | "PUT" | "DELETE") {
        let answer = Answer::bare(501, format!("method '{method}' not available"));
        return (answer, format!("{method} (not available)"));
    }
    let path = request.path();
    let Some((format, path)) =
        path.strip_prefix("/api2/").map(|rest| rest.split_once('/').unwrap_or((rest, "")))
    else {
        let text = format!("no such file '{path}'");
        return (Answer::text(500, text.clone(), format!("{text}\n")), format!("{method} (no API)"));
    };
    let segments: Vec<String> =
        path.split('/').filter(|part| !part.is_empty()).map(|part| unescape(part, false)).collect();
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    if !matches!(format, "json" | "extjs") {
        let text = format!("no formatter for uri /{path}, {format}");
        return (Answer::text(501, text.clone(), text), format!("{method} (format)"));
    }
    let call = find(method, &parts);
    let name = call.as_ref().map_or("(unknown)", |call| call.pattern);
    let name = format!("{method} {name}");
    let node = parts.get(1).filter(|_| parts[0] == "nodes").map(|node| (*node).to_owned());
    let done = authenticated(desk, request).and_then(|caller| {
        let call = call.as_ref().ok_or(Fail::Unimplemented)?;
        handle(desk, &caller, call, &parts, request)
    });
    let mut answer = match done {
        Ok(Data::Value(value)) if format == "extjs" => Answer::ok(format!("{{\"success\":1,{}", &value[1..])),
        Ok(Data::Value(value)) => Answer::ok(value),
        Ok(Data::Kept(body)) => Answer::ok(body),
        Err(fail) => refusal(fail, desk, method, &parts, format == "extjs"),
    };
    if answer.status < 400 {
        let elsewhere = node.is_some_and(|node| node != desk.viewer.as_str());
        if elsewhere {
            answer.connection = PROXIED;
        } else if call.is_some_and(|call| call.protected) {
            answer.connection = PROTECTED;
        }
    }
    (answer, name)
}

fn authenticated(desk: &Desk, request: &Request) -> Result<Caller, Fail> {
    let api = desk.cluster.nodes().get(desk.viewer).map_or(Api::Up, |node| node.api);
    if api == Api::Denied {
        return Err(Fail::Unknown("Authentication failed!"));
    }
    let mut caller = access::authenticate(request, desk.tokens).map_err(Fail::Unknown)?;
    if api == Api::Blind {
        caller.rights = Rights::Nothing;
    }
    Ok(caller)
}

fn refusal(fail: Fail, desk: &mut Desk, method: &str, parts: &[&str], extjs: bool) -> Answer {
    let (status, reason, errors) = match fail {
        Fail::Unknown(reason) => {
            return Answer { delay: desk.delay_401, ..Answer::bare(401, reason) };
        }
        Fail::Proxy(status, reason, delay) => return Answer { delay, ..Answer::bare(status, reason) },
        Fail::Unimplemented => {
            let path = parts.join("/");
            (501, format!("Method '{method} /{path}' not implemented"), Vec::new())
        }
        Fail::Denied(path, right) => (403, format!("Permission check failed ({path}, {right})"), Vec::new()),
        Fail::Bad(errors) => (400, "Parameter verification failed.".into(), errors),
        Fail::Died(text) => (500, text, Vec::new()),
    };
    let end = if status == 501 { "" } else { "\n" };
    let mut row = views::row! { "data" => Json::Null, "message" => format!("{reason}{end}") };
    if !errors.is_empty() {
        let errors = errors.into_iter().map(|(name, text)| (name.into(), Json::from(text))).collect();
        row.push(("errors".into(), Json::Map(errors)));
    }
    if extjs {
        row.extend(views::row! { "success" => 0i64, "status" => i64::from(status) });
    }
    let mut out = String::new();
    Json::Map(row).print(&mut out, desk.rng);
    let answer = if extjs { Answer::bare(200, "OK") } else { Answer::bare(status, reason) };
    Answer { body: Some(out.into()), ..answer }
}

fn handle(
    desk: &mut Desk,
    caller: &Caller,
    call: &Call,
    parts: &[&str],
    request: &Request,
) -> Result<Data, Fail> {
    permit(caller, call, parts)?;
    let node = match parts {
        ["nodes", name, _, ..] => Some(target(desk, name)?),
        _ => None,
    };
    let given = parameters(request)?;
    verify(call, parts, &given).map_err(Fail::Bad)?;
    let get = |name: &str| given.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    if let (What::Act(kind, doing), Some(node)) = (call.what, &node) {
        let upid = act(desk, caller, node, guest_id(kind, parts)?, doing, &get)?;
        return Ok(print(desk.rng, Json::from(upid), None));
    }
    let (cluster, viewer) = (&*desk.cluster, desk.viewer);
    if call.what == What::Resources {
        return Ok(resources(desk, get("type"), caller));
    }
    let mut total = None;
    let data = match call.what {
        What::Index(key, names) => views::index(key, names),
        What::Version | What::NodeVersion => views::version(),
        What::Nodes => views::nodes(cluster, viewer, desk.fingerprints, caller.sees()),
        What::ClusterStatus => views::cluster_status(cluster, viewer, desk.rng),
        What::ClusterTasks if caller.sees() => views::cluster_tasks(cluster),
        What::Permissions => permissions(caller),
        What::HaCurrent => ha::current(cluster, viewer),
        What::HaManager => ha::manager_status(cluster, viewer),
        What::NotBackedUp => not_backed_up(cluster),
        What::Qdevice => Json::Map(Vec::new()),
        What::Pools if caller.sees() => {
            let pools = cluster.pools().into_iter();
            Json::Bag(pools.map(|pool| Json::Map(views::row! { "poolid" => pool })).collect())
        }
        What::Subscription => Json::Map(views::row! {
            "status" => "notfound", "message" => "There is no subscription key",
            "url" => "https://www.proxmox.com/en/proxmox-virtual-environment/pricing",
        }),
        What::NodeStatus => views::node_status(cluster, known(cluster, node.as_ref())?),
        What::Guests(kind) if caller.sees() => {
            views::guests_of(cluster, known(cluster, node.as_ref())?, kind, get("full") == Some("1"))
        }
        What::Storage if caller.sees() => views::storages_of(cluster, known(cluster, node.as_ref())?),
        What::Current(kind) => views::current(cluster, here(cluster, node.as_ref(), guest_id(kind, parts)?)?),
        What::Config(kind) => views::config(here(cluster, node.as_ref(), guest_id(kind, parts)?)?),
        What::Tasks => {
            let (rows, count) = tasks(known(cluster, node.as_ref())?, caller, &get);
            total = Some(count);
            rows
        }
        What::TaskStatus => {
            let node = known(cluster, node.as_ref())?;
            views::task_status(&node.spec.name, task(node, caller, parts)?)
        }
        What::TaskLog => {
            let task = task(known(cluster, node.as_ref())?, caller, parts)?;
            let number = |name, default| get(name).and_then(|n| n.parse().ok()).unwrap_or(default);
            total = Some(task.log.len());
            log_lines(task, number("start", 0), number("limit", 50))
        }
        What::ClusterTasks | What::Pools | What::Guests(_) | What::Storage | What::Empty => {
            Json::List(Vec::new())
        }
        What::Resources | What::Act(..) => Json::Null, // Answered above.
    };
    Ok(print(desk.rng, data, total))
}

fn print(rng: &mut Rng, data: Json, total: Option<usize>) -> Data {
    let mut row = vec![("data".into(), data)];
    if let Some(total) = total {
        row.push(("total".into(), Json::from(total as u64)));
    }
    let mut out = String::new();
    Json::Map(row).print(&mut out, rng);
    Data::Value(out)
}

fn resources(desk: &mut Desk, only: Option<&str>, caller: &Caller) -> Data {
    let cluster = &*desk.cluster;
    let key = (desk.viewer.clone(), caller.sees(), only.unwrap_or_default().to_owned());
    if let Some((generation, body)) = desk.kept.0.get(&key)
        && *generation == cluster.generation()
    {
        return Data::Kept(body.clone());
    }
    let data = views::resources(cluster, desk.viewer, only, caller.sees());
    let mut out = String::new();
    Json::Map(vec![("data".into(), data)]).print(&mut out, desk.rng);
    if cluster.guests().len() < KEEP_LIST_FROM {
        return Data::Value(out);
    }
    let body: Body = out.into();
    desk.kept.0.insert(key, (cluster.generation(), body.clone()));
    Data::Kept(body)
}

/// The permission check comes before everything that the call is about, so a missing guest is 403 to some.
fn permit(caller: &Caller, call: &Call, parts: &[&str]) -> Result<(), Fail> {
    let part = |at: usize| parts.get(at).copied().unwrap_or_default();
    let allow =
        |allowed: bool, path: String, right| if allowed { Ok(()) } else { Err(Fail::Denied(path, right)) };
    match call.what {
        What::ClusterStatus | What::HaCurrent | What::HaManager | What::NotBackedUp | What::Qdevice => {
            allow(caller.sees(), "/".into(), "Sys.Audit")
        }
        What::NodeStatus => allow(caller.sees(), format!("/nodes/{}", part(1)), "Sys.Audit"),
        What::Current(_) | What::Config(_) => allow(caller.sees(), format!("/vms/{}", part(3)), "VM.Audit"),
        What::Act(..) => allow(caller.acts(), format!("/vms/{}", part(3)), "VM.PowerMgmt"),
        // Open to every token: what it may not see is left out of the answer.
        What::Index(..)
        | What::Version
        | What::Nodes
        | What::Resources
        | What::ClusterTasks
        | What::Permissions
        | What::Empty
        | What::Pools
        | What::NodeVersion
        | What::Guests(_)
        | What::Tasks
        | What::TaskStatus
        | What::TaskLog
        | What::Storage
        | What::Subscription => Ok(()),
    }
}

/// The node that a call is for, if it can be reached from the one that was asked.
fn target(desk: &Desk, name: &str) -> Result<NodeName, Fail> {
    let found = name.parse::<NodeName>().ok().and_then(|name| desk.cluster.nodes().get(&name));
    let Some(node) = found else {
        let why = format!("failed to get address info for: {name}: Name or service not known");
        return Err(Fail::Died(format!("hostname lookup '{name}' failed - {why}")));
    };
    let name = node.spec.name.clone();
    if name == *desk.viewer {
        return Ok(name);
    }
    let down = matches!(node.power, Power::Off);
    let cut = !desk.cluster.quorate(desk.viewer) && !desk.cluster.online(desk.viewer, &name);
    match node.api {
        _ if down || cut => Err(Fail::Proxy(595, "No route to host", Duration::ZERO)),
        _ if node.power == Power::Booting => Err(Fail::Proxy(595, "Connection refused", Duration::ZERO)),
        Api::Refused => Err(Fail::Proxy(595, "Connection refused", Duration::ZERO)),
        Api::Reset => Err(Fail::Proxy(596, "Connection reset by peer", Duration::ZERO)),
        Api::Unreachable => Err(Fail::Proxy(595, "Connection timed out", PROXY_PATIENCE)),
        Api::Hang => Err(Fail::Proxy(596, "Connection timed out", PROXY_PATIENCE)),
        Api::Up | Api::Slow(_) | Api::Denied | Api::Blind | Api::Empty | Api::Garbage | Api::Truncated => {
            Ok(name)
        }
    }
}

/// Query, or body of a POST: a form or JSON.
fn parameters(request: &Request) -> Result<Vec<(String, String)>, Fail> {
    let mut all = form(request.query());
    let body = String::from_utf8_lossy(&request.body);
    if body.trim().is_empty() {
        return Ok(all);
    }
    if request.header("content-type").is_some_and(|kind| kind.starts_with("application/json")) {
        let map: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&body)
            .map_err(|error| Fail::Died(format!("malformed JSON string, {error}")))?;
        all.extend(map.into_iter().map(|(key, value)| {
            let text = match &value {
                serde_json::Value::String(text) => text.clone(),
                serde_json::Value::Bool(yes) => if *yes { "1" } else { "0" }.into(),
                serde_json::Value::Null => String::new(),
                serde_json::Value::Number(_) | serde_json::Value::Array(_) | serde_json::Value::Object(_) => {
                    value.to_string()
                }
            };
            (key, text)
        }));
    } else {
        all.extend(form(&body));
    }
    Ok(all)
}

fn form(text: &str) -> Vec<(String, String)> {
    let pairs = text.split(['&', ';']).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (unescape(key, true), unescape(value, true))
        })
        .collect()
}

fn guest_id(kind: GuestKind, parts: &[&str]) -> Result<GuestId, Fail> {
    let vmid = parts.get(3).and_then(|vmid| vmid.parse().ok());
    vmid.map(|vmid| GuestId { kind, vmid }).ok_or(Fail::Unimplemented)
}

fn known<'a>(cluster: &'a Cluster, name: Option<&NodeName>) -> Result<&'a Node, Fail> {
    name.and_then(|name| cluster.nodes().get(name)).ok_or(Fail::Unimplemented)
}

/// A guest on its own node; asked anywhere else it does not exist.
fn here<'a>(cluster: &'a Cluster, node: Option<&NodeName>, id: GuestId) -> Result<&'a Guest, Fail> {
    let name = &known(cluster, node)?.spec.name;
    cluster.guests().get(&id).filter(|guest| guest.spec.node == *name).ok_or_else(|| {
        Fail::Died(format!("Configuration file '{}' does not exist", Guest::config_path(name, id)))
    })
}

fn act<'g>(
    desk: &mut Desk,
    caller: &Caller,
    node: &NodeName,
    id: GuestId,
    doing: Doing,
    get: &impl Fn(&str) -> Option<&'g str>,
) -> Result<String, Fail> {
    let verb = match doing {
        Doing::Start => Verb::Start,
        Doing::Stop => Verb::Stop,
        Doing::Shutdown => {
            let timeout = get("timeout").and_then(|t| t.parse().ok()).unwrap_or(60);
            Verb::Shutdown { timeout, force: get("forceStop") == Some("1") }
        }
        Doing::Reboot => Verb::Reboot,
        Doing::Suspend => Verb::Pause,
        Doing::Resume => Verb::Resume,
    };
    desk.cluster.request(&caller.by, node, id, verb).map_err(|refusal| Fail::Died(refusal.0))
}

fn permissions<'a>(caller: &Caller) -> Json<'a> {
    let rights = access::privileges(caller.rights);
    let paths = ["/", "/access", "/nodes", "/pool", "/sdn", "/storage", "/vms"];
    let rows = paths.iter().filter(|_| !rights.is_empty()).map(|path| {
        let row = rights.iter().map(|right| ((*right).into(), Json::Int(1))).collect();
        ((*path).into(), Json::Map(row))
    });
    Json::Map(rows.collect())
}

fn not_backed_up(cluster: &Cluster) -> Json<'_> {
    let rows = cluster.guests().values().map(|guest| {
        let id = guest.spec.id;
        Json::Map(views::row! {
            "vmid" => id.vmid, "name" => guest.spec.name.as_str(), "type" => id.kind.as_str(),
        })
    });
    Json::Bag(rows.collect())
}

/// The rows of a page, and how many there are in all.
fn tasks<'a, 'g>(
    node: &'a Node,
    caller: &Caller,
    get: &impl Fn(&str) -> Option<&'g str>,
) -> (Json<'a>, usize) {
    let number = |name: &str| get(name).and_then(|n| n.parse::<i64>().ok());
    let source = get("source").unwrap_or("archive");
    let wanted = |task: &&Task| {
        let began = task.started_at.as_second();
        let status = task.ended.as_ref().map(|(_, status)| status.as_str());
        (match source {
            "active" => status.is_none(),
            "all" => true,
            _ => status.is_some(),
        }) && (caller.sees() || task.by == caller.by)
            && get("vmid").is_none_or(|vmid| task.id == vmid)
            && get("typefilter").is_none_or(|kind| task.kind == kind)
            && get("userfilter").is_none_or(|user| task.by.full().contains(user))
            && number("since").is_none_or(|since| began >= since)
            && number("until").is_none_or(|until| began <= until)
            && (get("errors") != Some("1") || status.is_some_and(|status| status != "OK"))
    };
    let found: Vec<&Task> = node.tasks.newest_first().filter(wanted).collect();
    let page = |name, default| number(name).and_then(|n| usize::try_from(n).ok()).unwrap_or(default);
    let rows = found.iter().skip(page("start", 0)).take(page("limit", 50));
    let rows = rows.map(|task| views::node_task(&node.spec.name, task)).collect();
    (Json::List(rows), found.len())
}

fn task<'a>(node: &'a Node, caller: &Caller, parts: &[&str]) -> Result<&'a Task, Fail> {
    let gone = || Fail::Bad(vec![("upid".into(), "no such task".into())]);
    let task = node.tasks.get(parts[3]).ok_or_else(gone)?;
    if caller.sees() || task.by == caller.by {
        Ok(task)
    } else {
        Err(Fail::Denied(format!("/nodes/{}", node.spec.name), "Sys.Audit"))
    }
}

fn log_lines(task: &Task, start: usize, limit: usize) -> Json<'_> {
    let lines = task.log.iter().enumerate().skip(start).take(limit);
    let mut rows: Vec<Json> = lines
        .map(|(at, line)| Json::Map(views::row! { "n" => at as u64 + 1, "t" => line.as_str() }))
        .collect();
    if rows.is_empty() {
        rows.push(Json::Map(views::row! { "n" => 1i64, "t" => "no content" }));
    }
    Json::List(rows)
}
