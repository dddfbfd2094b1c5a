//! PVE's API: which call it is, who may make it, which node answers it, and its answer.
//!
//! In PVE's own order: the method, the path's format, the token, the call, its permission, the node that it is
//! for; and there, perhaps by another process: its parameters, the thing itself. Whoever changes the order changes
//! which error a client gets.

use std::collections::BTreeMap;
use std::time::Duration;

use engine::observe::{GuestId, GuestKind, NodeName};

use super::access::{self, Caller, Token};
use super::calls::{Call, Doing, What, find, verify};
use super::dump::Dumps;
use super::hop::{self, Lost};
use super::rights::Rights;
use super::tasks::{Get, Unheard};
use super::views::{self, Sight};
use super::wire::{Answer, Body, Coding, JSON_STREAM, PROTECTED, PROXIED, Request, unescape};
use super::{errand, ha, history, journal, node, tasks};
use crate::cluster::{Api, Cluster, Guest, Node, Task, Verb};
use crate::json::Json;
use crate::rng::Rng;

/// A list of more guests than this is kept until something changes.
const KEEP_LIST_FROM: usize = 500;
/// Lines of the cluster's log, where nobody says how many.
const LOG_LINES: usize = 50;

/// What an answer is made from.
pub(super) struct Desk<'a> {
    pub(super) cluster: &'a mut Cluster,
    /// The node whose process answers.
    pub(super) viewer: &'a NodeName,
    pub(super) tokens: &'a [Token],
    pub(super) fingerprints: &'a BTreeMap<NodeName, String>,
    pub(super) rng: &'a mut Rng,
    pub(super) kept: &'a mut Kept,
    pub(super) dumps: &'a mut Dumps,
    /// Whose copy of the statistics is read.
    pub(super) worker: u64,
    /// Whom the viewer does not hear any more, and since when.
    pub(super) unheard: &'a Unheard,
    pub(super) delay_401: Duration,
}

/// Large lists that were built and are still true, by who asked whom for which type.
#[derive(Default)]
pub(super) struct Kept(BTreeMap<(NodeName, Rights, String), KeptList>);

struct KeptList {
    /// The generations of the cluster and of the statistics that it was made of.
    made_of: (u64, u64),
    body: Body,
}

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
    Lost(Lost),
}

/// What a call gave.
enum Data {
    Value(String),
    Kept(Body),
    /// The journal's reader.
    Stream(String),
}

/// What pveproxy makes of a request.
pub(super) enum Received {
    /// An answer.
    Answer(Answer, String),
    /// Something to be done, by the process of a node that does such things.
    Errand(Box<Errand>),
}

/// A request that was found good by pveproxy.
pub(super) struct Errand {
    /// The node that does it.
    pub(super) at: NodeName,
    /// For the counters.
    pub(super) name: String,
    /// Whether pvedaemon must do it.
    pub(super) protected: bool,
    /// What the other node takes longer.
    pub(super) slow: Duration,
    relayed: bool,
    extjs: bool,
    call: Call,
    parts: Vec<String>,
    caller: Caller,
    request: Request,
}

impl Errand {
    fn parts(&self) -> Vec<&str> {
        self.parts.iter().map(String::as_str).collect()
    }
}

/// What pveproxy does itself.
pub(super) fn receive(desk: &mut Desk, request: Request) -> Received {
    let method = request.method.clone();
    if !matches!(method.as_str(), "GET" | "POST" | "PUT" | "DELETE") {
        let answer = Answer::bare(501, format!("method '{method}' not available"));
        return Received::Answer(answer, format!("{method} (not available)"));
    }
    let path = request.path();
    let Some((format, path)) =
        path.strip_prefix("/api2/").map(|rest| rest.split_once('/').unwrap_or((rest, "")))
    else {
        let text = format!("no such file '{path}'");
        let answer = Answer::text(500, text.clone(), format!("{text}\n"));
        return Received::Answer(answer, format!("{method} (no API)"));
    };
    if !matches!(format, "json" | "extjs") {
        let text = format!("no formatter for uri /{path}, {format}");
        let answer = Answer::text(501, text.clone(), text);
        return Received::Answer(answer, format!("{method} (format)"));
    }
    let extjs = format == "extjs";
    let segments = path.split('/').filter(|part| !part.is_empty());
    let segments: Vec<String> = segments.map(|part| unescape(part, false)).collect();
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    let call = find(&method, &parts);
    let name = format!("{method} {}", call.as_ref().map_or("(unknown)", |call| call.pattern));
    if desk.cluster.nodes().get(desk.viewer).is_some_and(|node| node.clusterfs_down) {
        return Received::Answer(without_clusterfs(), name);
    }
    let found = authenticated(desk, &request, desk.viewer).and_then(|caller| {
        let call = call.ok_or(Fail::Unimplemented)?;
        permit(&caller, &call, &parts, desk.cluster)?;
        let at = match parts.as_slice() {
            ["nodes", _, _, ..] if call.what == What::Wake => desk.viewer.clone(),
            ["nodes", name, _, ..] => target(desk, name)?,
            _ => desk.viewer.clone(),
        };
        let relayed = at != *desk.viewer;
        // The other node checks the token and its rights once more.
        let caller = if relayed { authenticated(desk, &request, &at)? } else { caller };
        Ok((call, caller, at, relayed))
    });
    let (call, caller, at, relayed) = match found {
        Ok(found) => found,
        Err(fail) => return Received::Answer(refusal(fail, desk, &method, &parts, extjs), name),
    };
    let node = desk.cluster.nodes().get(&at).filter(|_| relayed);
    if node.is_some_and(|node| node.clusterfs_down) {
        return Received::Answer(without_clusterfs(), name);
    }
    let slow = match node.map(|node| node.api) {
        Some(Api::Slow(millis)) => Duration::from_millis(millis.into()),
        _ => Duration::ZERO,
    };
    let protected = call.protected;
    let errand = Errand { at, name, protected, slow, relayed, extjs, call, parts: segments, caller, request };
    Received::Errand(Box::new(errand))
}

/// What the process does that must, and how long it is busy with it.
pub(super) fn perform(desk: &mut Desk, errand: &Errand) -> (Answer, Duration) {
    let cost = errand::cost(desk.cluster, &errand.at, errand.call.what, errand);
    let parts = errand.parts();
    let mut answer = match handle(desk, errand, &parts) {
        Ok(Data::Value(value)) if errand.extjs => Answer::ok(format!("{{\"success\":1,{}", &value[1..])),
        Ok(Data::Value(value)) => Answer::ok(value),
        Ok(Data::Kept(body)) => Answer::ok(body),
        Ok(Data::Stream(value)) => {
            Answer { coding: Coding::Stream, content_type: JSON_STREAM, ..Answer::ok(value) }
        }
        Err(fail) => refusal(fail, desk, &errand.request.method, &parts, errand.extjs),
    };
    if !answer.closes() {
        if errand.relayed {
            answer.connection = PROXIED;
        } else if errand.protected {
            answer.connection = PROTECTED;
        }
    }
    answer.delay = answer.delay.max(errand.slow);
    (answer, cost)
}

/// Before anybody is known: without a body, like a 401, and as late.
fn without_clusterfs() -> Answer {
    Answer { delay: hop::NO_CLUSTERFS_DELAY, ..Answer::bare(500, hop::NO_CLUSTERFS) }
}

fn authenticated(desk: &Desk, request: &Request, at: &NodeName) -> Result<Caller, Fail> {
    let api = desk.cluster.nodes().get(at).map_or(Api::Up, |node| node.api);
    if api == Api::Denied {
        return Err(Fail::Unknown("Authentication failed!"));
    }
    let mut caller = access::authenticate(request, desk.tokens).map_err(Fail::Unknown)?;
    if api == Api::Blind {
        caller.rights = Rights::none();
    }
    Ok(caller)
}

fn refusal(fail: Fail, desk: &mut Desk, method: &str, parts: &[&str], extjs: bool) -> Answer {
    let (status, reason, errors) = match fail {
        Fail::Unknown(reason) => {
            return Answer { delay: desk.delay_401, ..Answer::bare(401, reason) };
        }
        Fail::Lost(lost) => {
            return Answer { delay: lost.after, ..Answer::bare(lost.status, lost.reason) };
        }
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

fn handle(desk: &mut Desk, errand: &Errand, parts: &[&str]) -> Result<Data, Fail> {
    let Errand { call, caller, request, .. } = errand;
    let given = parameters(request)?;
    verify(call, parts, &given).map_err(Fail::Bad)?;
    let get = |name: &str| given.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    if let What::Act(kind, doing) = call.what {
        let upid = act(desk, caller, &errand.at, guest_id(kind, parts)?, doing, &get)?;
        return Ok(print(desk.rng, Json::from(upid), None));
    }
    if call.what == What::Wake {
        // A name that cannot be one is refused in words that we guess: nobody asks for it.
        let name =
            parts[1].parse().map_err(|_| Fail::Died(format!("no such cluster node '{}'", parts[1])))?;
        let mac = desk.cluster.wake_node(desk.viewer, &name).map_err(|refusal| Fail::Died(refusal.0))?;
        return Ok(print(desk.rng, Json::from(mac.to_string()), None));
    }
    if call.what == What::RestartService {
        known(desk.cluster, &errand.at)?;
        let upid = desk.cluster.restart_service(&caller.by, &errand.at, parts[3]);
        return Ok(print(desk.rng, Json::from(upid), None));
    }
    if call.what == What::Resources {
        return Ok(resources(desk, get("type"), caller));
    }
    let cluster = &*desk.cluster;
    if call.what == What::Journal {
        return Ok(Data::Stream(read_journal(known(cluster, &errand.at)?, &get, desk.rng)));
    }
    let number = |name, default| get(name).and_then(|n| n.parse().ok()).unwrap_or(default);
    let node = || known(cluster, &errand.at);
    let mut total = None;
    let data = match call.what {
        What::Index(key, names) => views::index(key, names),
        What::Version | What::NodeVersion => views::version(),
        What::Nodes => {
            let dump = desk.dumps.of(cluster, desk.viewer, desk.worker);
            let sight = Sight { cluster, viewer: desk.viewer, dump: &dump, caller };
            return Ok(print(desk.rng, views::nodes(&sight, desk.fingerprints), None));
        }
        What::ClusterStatus => views::cluster_status(cluster, desk.viewer, desk.rng),
        What::ClusterTasks => tasks::of_cluster(cluster, desk.unheard, caller),
        What::ClusterLog if caller.may("Sys.Syslog", "/") => {
            tasks::cluster_log(cluster, desk.unheard, number("max", LOG_LINES))
        }
        What::Permissions => permissions(caller, cluster),
        What::HaCurrent => ha::current(cluster, desk.viewer),
        What::HaManager => ha::manager_status(cluster, desk.viewer),
        What::NotBackedUp => not_backed_up(cluster),
        What::Qdevice => Json::Map(Vec::new()),
        What::Pools => {
            let pools = cluster.pools().into_iter().filter(|pool| caller.sees_pool(pool));
            Json::Bag(pools.map(|pool| Json::Map(views::row! { "poolid" => pool })).collect())
        }
        What::Subscription => Json::Map(views::row! {
            "status" => "notfound", "message" => "There is no subscription key",
            "url" => "https://www.proxmox.com/en/proxmox-virtual-environment/pricing",
        }),
        What::NodeStatus => node::status(cluster, node()?),
        What::NodeConfig => node::config(node()?),
        What::NodeTime => node::time(cluster),
        What::Services => node::services(node()?),
        What::Guests(kind) => views::guests_of(cluster, node()?, caller, kind, get("full") == Some("1")),
        What::Storage => node::storages(cluster, node()?, caller, &get),
        What::Current(kind) => views::current(cluster, here(cluster, &errand.at, guest_id(kind, parts)?)?),
        What::Config(kind) => views::config(here(cluster, &errand.at, guest_id(kind, parts)?)?),
        What::History(None) => history::of_node(cluster, node()?, &get),
        What::History(Some(kind)) => {
            history::of_guest(cluster, here(cluster, &errand.at, guest_id(kind, parts)?)?, &get)
        }
        What::Tasks => {
            let (rows, count) = tasks::of_node(node()?, caller, &get);
            total = Some(count);
            rows
        }
        What::TaskStatus => tasks::status(&errand.at, task(node()?, caller, parts)?),
        What::TaskLog => {
            let task = task(node()?, caller, parts)?;
            total = Some(task.log.len());
            tasks::log(task, number("start", 0), number("limit", 50))
        }
        What::ClusterLog | What::Empty => Json::List(Vec::new()),
        What::Resources | What::Journal | What::Act(..) | What::Wake | What::RestartService => Json::Null, // Answered above.
    };
    Ok(print(desk.rng, data, total))
}

/// What the reader printed: nothing at all, where it failed.
fn read_journal<'g>(node: &Node, get: &impl Get<'g>, rng: &mut Rng) -> String {
    let number = |name| get(name).and_then(|n| n.parse::<i64>().ok());
    let flag = |name| get(name) == Some("1");
    let asked = journal::Question {
        last: number("lastentries").and_then(|n| usize::try_from(n).ok()),
        since: number("since"),
        until: number("until"),
        after: get("startcursor"),
        before: get("endcursor"),
        structured: flag("structured"),
        kernel: flag("kernel"),
        priority: get("priority"),
        service: get("service"),
        unit: get("unit"),
    };
    let Some(data) = journal::answer(node, &asked) else { return String::new() };
    let mut out = String::new();
    Json::Map(views::row! { "data" => data }).print(&mut out, rng);
    out
}

/// Whether the call waits for the monitor of a QEMU that does not answer.
pub(super) fn asks_a_hung_guest(cluster: &Cluster, errand: &Errand) -> bool {
    let hung = |guest: &Guest| guest.process.as_ref().is_some_and(|process| process.hung);
    if let What::Current(kind) = errand.call.what {
        let id = guest_id(kind, &errand.parts()).ok();
        return id.and_then(|id| cluster.guests().get(&id)).is_some_and(hung);
    }
    // Only the full list asks the monitors.
    errand.call.what == What::Guests(GuestKind::Qemu)
        && errand.request.query().contains("full=1")
        && cluster.guests().values().any(|guest| guest.spec.node == errand.at && hung(guest))
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
    let key = (desk.viewer.clone(), caller.rights.clone(), only.unwrap_or_default().to_owned());
    let dump = desk.dumps.of(cluster, desk.viewer, desk.worker);
    let made_of = (cluster.generation(), dump.generation);
    if let Some(kept) = desk.kept.0.get(&key).filter(|kept| kept.made_of == made_of) {
        return Data::Kept(kept.body.clone());
    }
    let sight = Sight { cluster, viewer: desk.viewer, dump: &dump, caller };
    let data = views::resources(&sight, only);
    let mut out = String::new();
    Json::Map(vec![("data".into(), data)]).print(&mut out, desk.rng);
    if cluster.guests().len() < KEEP_LIST_FROM {
        return Data::Value(out);
    }
    let body: Body = out.into();
    desk.kept.0.insert(key, KeptList { made_of, body: body.clone() });
    Data::Kept(body)
}

/// The permission check comes before everything that the call is about, so a missing guest is 403 to some.
fn permit(caller: &Caller, call: &Call, parts: &[&str], cluster: &Cluster) -> Result<(), Fail> {
    let part = |at: usize| parts.get(at).copied().unwrap_or_default();
    let on = |right, path: String| {
        if caller.may(right, &path) { Ok(()) } else { Err(Fail::Denied(path, right)) }
    };
    let guest = |right| {
        let vmid = part(3).parse().ok();
        let by_pool = vmid.and_then(|vmid| cluster.guest_of_number(vmid));
        if by_pool.is_some_and(|guest| caller.rights.may_guest(right, guest)) {
            return Ok(());
        }
        on(right, format!("/vms/{}", part(3)))
    };
    match call.what {
        What::ClusterStatus
        | What::HaCurrent
        | What::HaManager
        | What::NotBackedUp
        | What::Qdevice
        | What::NodeConfig => on("Sys.Audit", "/".into()),
        What::NodeStatus | What::NodeTime | What::Services | What::History(None) => {
            on("Sys.Audit", format!("/nodes/{}", part(1)))
        }
        What::Journal => on("Sys.Syslog", format!("/nodes/{}", part(1))),
        What::Current(_) | What::Config(_) | What::History(Some(_)) => guest("VM.Audit"),
        What::Act(..) => guest("VM.PowerMgmt"),
        What::Wake => on("Sys.PowerMgmt", format!("/nodes/{}", part(1))),
        What::RestartService => on("Sys.Modify", format!("/nodes/{}", part(1))),
        // Open to every token: what it may not see is left out of the answer.
        What::Index(..)
        | What::Version
        | What::Nodes
        | What::Resources
        | What::ClusterTasks
        | What::ClusterLog
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
    hop::to(desk.cluster, desk.viewer, node).map_err(Fail::Lost)?;
    Ok(node.spec.name.clone())
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

fn known<'a>(cluster: &'a Cluster, name: &NodeName) -> Result<&'a Node, Fail> {
    cluster.nodes().get(name).ok_or(Fail::Unimplemented)
}

/// A guest on its own node; asked anywhere else it does not exist.
fn here<'a>(cluster: &'a Cluster, node: &NodeName, id: GuestId) -> Result<&'a Guest, Fail> {
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

fn permissions<'a>(caller: &Caller, cluster: &Cluster) -> Json<'a> {
    let rows = caller.rights.listed(cluster.guests().values()).into_iter().map(|(path, held)| {
        let row = held.into_iter().map(|(right, below)| (right.into(), Json::from(below))).collect();
        (path.into(), Json::Map(row))
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

fn task<'a>(node: &'a Node, caller: &Caller, parts: &[&str]) -> Result<&'a Task, Fail> {
    let gone = || Fail::Bad(vec![("upid".into(), "no such task".into())]);
    let task = node.tasks.get(parts[3]).ok_or_else(gone)?;
    if caller.audits(&node.spec.name) || task.by == caller.by {
        Ok(task)
    } else {
        Err(Fail::Denied(format!("/nodes/{}", node.spec.name), "Sys.Audit"))
    }
}
