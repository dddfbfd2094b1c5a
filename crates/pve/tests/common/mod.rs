//! Which type the answer of a path has, and what is understood of it. Shared by the tests of recorded answers and by
//! the example `parse_body`.

use std::collections::BTreeMap;

use pve::answer::{Understood, fields_of, understand};
use pve::types::*;
use pve::{Asked, Error, ExitStatus, Upid};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// An answer as it came over the wire.
pub(crate) struct Answer<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) status: u16,
    pub(crate) reason: &'a str,
    pub(crate) body: &'a [u8],
}

/// What is understood of it.
#[derive(Debug)]
pub(crate) struct Report {
    /// The type it was read as.
    pub(crate) kind: &'static str,
    /// How many rows of each type.
    pub(crate) rows: BTreeMap<String, usize>,
    pub(crate) unreadable: Vec<Unreadable>,
    /// Words (of status, lock, ..) that are on no list of ours.
    pub(crate) unknown_words: BTreeMap<String, usize>,
    /// Keys that no field of ours stands for.
    pub(crate) unknown_keys: BTreeMap<String, usize>,
}

impl Report {
    /// All rows, also those that cannot be read.
    pub(crate) fn total(&self) -> usize {
        self.rows.values().sum::<usize>() + self.unreadable.len()
    }
}

/// Reads an answer by its path. `None` if the path is none that we use or will use.
pub(crate) fn read(answer: &Answer<'_>) -> Option<Result<Report, Error>> {
    let path = answer.path.split(['?', '#']).next().unwrap_or_default();
    let path = path.strip_prefix("/api2/json").unwrap_or(path).strip_prefix('/')?;
    let segments: Vec<&str> = path.split('/').collect();
    let report = match (answer.method, &*segments) {
        ("GET", ["version"] | ["nodes", _, "version"]) => one::<Version>(answer, "version", &[]),
        ("GET", ["nodes"]) => list::<NodeRow>(answer, "nodes", &[]),
        ("GET", ["cluster", "resources"]) => list::<Resource>(answer, "resources", &[]),
        ("GET", ["cluster", "status"]) => list::<ClusterRow>(answer, "cluster status", &CLUSTER_STATUS),
        ("GET", ["cluster", "tasks"] | ["nodes", _, "tasks"]) => list::<Task>(answer, "tasks", &TASK),
        ("GET", ["cluster", "log"]) => list::<LogEntry>(answer, "cluster log", &[]),
        ("GET", ["cluster", "metrics", "export"]) => metrics(answer),
        ("GET", ["cluster", "ha", "status", "current"]) => list::<HaRow>(answer, "HA status", &[]),
        ("GET", ["cluster", "ha", "status", "manager_status"]) => {
            one::<HaManagerStatus>(answer, "HA manager", &[])
        }
        ("GET", ["access", "permissions"]) => one::<Permissions>(answer, "permissions", &[]),
        ("GET", ["nodes", _, "status"]) => one::<NodeReport>(answer, "node status", &[]),
        ("GET", ["nodes", _, "qemu" | "lxc"]) => list::<LiveGuest>(answer, "guests of a node", &LIVE_GUEST),
        ("GET", ["nodes", _, "qemu" | "lxc", _, "status", "current"]) => {
            one::<LiveGuest>(answer, "guest status", &LIVE_GUEST)
        }
        ("GET", ["nodes", _, "qemu" | "lxc", _, "config"]) => {
            one::<GuestConfig>(answer, "guest configuration", &[])
        }
        ("GET", ["nodes", _, "tasks", _, "status"]) => one::<TaskStatus>(answer, "task status", &TASK),
        ("GET", ["nodes", _, "tasks", _, "log"]) => list::<LogLine>(answer, "task log", &[]),
        ("GET", ["nodes", _, "services"]) => list::<Service>(answer, "services", &[]),
        ("GET", ["nodes", _, "services", _, "state"]) => one::<Service>(answer, "service", &[]),
        ("GET", ["nodes", _, "storage"]) => list::<StorageRow>(answer, "storages of a node", &[]),
        ("GET", ["nodes", _, "storage", _, "status"]) => one::<StorageState>(answer, "storage status", &[]),
        ("GET", ["nodes", _, "config"]) => one::<NodeConfig>(answer, "node configuration", &[]),
        ("GET", ["nodes", _, "time"]) => one::<NodeTime>(answer, "node time", &[]),
        ("GET", ["nodes", _, "journal"]) => list::<String>(answer, "journal", &[]),
        ("GET", ["nodes", _, "rrddata"] | ["nodes", _, _, _, "rrddata"]) => {
            list::<RrdPoint>(answer, "rrddata", &[])
        }
        ("POST", ["nodes", _, "qemu" | "lxc", _, "status", _]) => one::<Upid>(answer, "task id", &[]),
        _ => return None,
    };
    Some(report)
}

/// Keys that are left unread on purpose: they repeat the task id, where the lists do not even agree.
const TASK: [&str; 9] = ["node", "pid", "pstart", "starttime", "type", "id", "user", "tokenid", "saved"];
/// Large (`blockstat`), of no use, or a repetition of the path.
const LIVE_GUEST: [&str; 10] = [
    "type",
    "blockstat",
    "clipboard",
    "ballooninfo",
    "balloon",
    "balloon_min",
    "shares",
    "nics",
    "proxmox-support",
    "serial",
];
const CLUSTER_STATUS: [&str; 11] =
    ["type", "id", "name", "nodes", "version", "quorate", "online", "local", "nodeid", "ip", "level"];

fn one<T: Described + DeserializeOwned>(
    answer: &Answer<'_>,
    kind: &'static str,
    unread: &[&str],
) -> Result<Report, Error> {
    let data = understood::<T>(answer)?.data;
    Ok(report(answer, kind, &[data], Vec::new(), unread))
}

fn list<T: Described + DeserializeOwned>(
    answer: &Answer<'_>,
    kind: &'static str,
    unread: &[&str],
) -> Result<Report, Error> {
    let data = understood::<Rows<T>>(answer)?.data;
    Ok(report(answer, kind, &data.rows, data.unreadable, unread))
}

fn metrics(answer: &Answer<'_>) -> Result<Report, Error> {
    let export = understood::<MetricsExport>(answer)?.data.data;
    Ok(report(answer, "metrics", &export.rows, export.unreadable, &["data"]))
}

fn understood<T: DeserializeOwned>(answer: &Answer<'_>) -> Result<Understood<T>, Error> {
    let call = format!("{} {}", answer.method, answer.path);
    let asked = Asked { call: call.into(), endpoint: "a recorded answer".into() };
    understand(&asked, answer.status, answer.reason, answer.body)
}

fn report<T: Described + DeserializeOwned>(
    answer: &Answer<'_>,
    kind: &'static str,
    read: &[T],
    unreadable: Vec<Unreadable>,
    unread: &[&str],
) -> Report {
    let mut rows = BTreeMap::new();
    let mut unknown_words = BTreeMap::new();
    for row in read {
        *rows.entry(row.kind()).or_default() += 1;
        for word in row.unknown_words() {
            *unknown_words.entry(word).or_default() += 1;
        }
    }
    let unknown_keys = unknown_keys::<T>(answer.body, unread);
    Report { kind, rows, unreadable, unknown_words, unknown_keys }
}

fn unknown_keys<T: DeserializeOwned>(body: &[u8], unread: &[&str]) -> BTreeMap<String, usize> {
    let mut unknown = BTreeMap::new();
    // A type without fixed fields has no unknown ones.
    let Some(known) = fields_of::<T>().or((!unread.is_empty()).then_some(&[])) else { return unknown };
    let data = serde_json::from_slice::<Value>(body).map(|mut body| body["data"].take()).unwrap_or_default();
    let rows = if let Value::Array(rows) = data { rows } else { vec![data] };
    for key in rows.iter().filter_map(Value::as_object).flat_map(serde_json::Map::keys) {
        if !known.contains(&key.as_str()) && !unread.contains(&key.as_str()) {
            *unknown.entry(key.clone()).or_default() += 1;
        }
    }
    unknown
}

/// How a row is counted, and which of its words are on no list of ours.
trait Described {
    fn kind(&self) -> String {
        "answer".to_owned()
    }

    fn unknown_words(&self) -> Vec<String> {
        Vec::new()
    }
}

fn word(name: &str, text: &str, known: bool) -> Option<String> {
    (!known).then(|| format!("{name} `{text}`"))
}

impl Described for Resource {
    fn kind(&self) -> String {
        Resource::kind(self).to_string()
    }

    fn unknown_words(&self) -> Vec<String> {
        let words = match self {
            Resource::Node(node) => vec![
                word("node status", node.status.as_str(), node.status.is_known()),
                node.hastate
                    .as_ref()
                    .and_then(|state| word("node hastate", state.as_str(), state.is_known())),
            ],
            Resource::Guest(guest) => vec![
                word("guest status", guest.status.as_str(), guest.status.is_known()),
                guest.lock.as_ref().and_then(|lock| word("lock", lock.as_str(), lock.is_known())),
                guest.hastate.as_ref().and_then(|state| word("hastate", state.as_str(), state.is_known())),
            ],
            Resource::Storage(storage) => {
                vec![word("storage status", storage.status.as_str(), storage.status.is_known())]
            }
            Resource::Other { kind, .. } => vec![word("type", kind, false)],
            Resource::Pool(_) | Resource::Network(_) => Vec::new(),
        };
        words.into_iter().flatten().collect()
    }
}

impl Described for NodeRow {
    fn kind(&self) -> String {
        "node".to_owned()
    }

    fn unknown_words(&self) -> Vec<String> {
        word("node status", self.status.as_str(), self.status.is_known()).into_iter().collect()
    }
}

impl Described for LiveGuest {
    fn kind(&self) -> String {
        "guest".to_owned()
    }

    fn unknown_words(&self) -> Vec<String> {
        let words = [
            word("status", self.status.as_str(), self.status.is_known()),
            self.qmpstatus.as_ref().and_then(|status| word("qmpstatus", status.as_str(), status.is_known())),
            self.lock.as_ref().and_then(|lock| word("lock", lock.as_str(), lock.is_known())),
        ];
        words.into_iter().flatten().collect()
    }
}

impl Described for Task {
    fn kind(&self) -> String {
        match &self.exit {
            None => "running task",
            Some(ExitStatus::Ok) => "task that ended with OK",
            Some(ExitStatus::Warnings(_)) => "task that ended with warnings",
            Some(ExitStatus::Error(_)) => "task that failed",
            Some(ExitStatus::Unknown(_)) => "task that ended nobody knows how",
        }
        .to_owned()
    }
}

impl Described for ClusterRow {
    fn kind(&self) -> String {
        match self {
            ClusterRow::Cluster(_) => "cluster",
            ClusterRow::Node(_) => "node",
        }
        .to_owned()
    }
}

impl Described for HaRow {
    fn kind(&self) -> String {
        match self {
            HaRow::Quorum(_) => "quorum",
            HaRow::Master(_) => "master",
            HaRow::Lrm(_) => "lrm",
            HaRow::Service(_) => "service",
            HaRow::Fencing(_) => "fencing",
            HaRow::Other { kind, .. } => kind,
        }
        .to_owned()
    }

    fn unknown_words(&self) -> Vec<String> {
        match self {
            HaRow::Service(service) => {
                let states = [&service.state, &service.crm_state, &service.request_state];
                let states = states.into_iter().flatten();
                states.filter_map(|state| word("HA state", state.as_str(), state.is_known())).collect()
            }
            HaRow::Other { kind, .. } => word("type", kind, false).into_iter().collect(),
            HaRow::Quorum(_) | HaRow::Master(_) | HaRow::Lrm(_) | HaRow::Fencing(_) => Vec::new(),
        }
    }
}

impl Described for Upid {
    fn kind(&self) -> String {
        Upid::kind(self).to_owned()
    }
}

impl Described for StorageRow {
    fn kind(&self) -> String {
        "storage".to_owned()
    }
}

impl Described for Service {
    fn kind(&self) -> String {
        "service".to_owned()
    }
}

impl Described for LogLine {
    fn kind(&self) -> String {
        "line".to_owned()
    }
}

impl Described for String {
    fn kind(&self) -> String {
        "line".to_owned()
    }
}

impl Described for LogEntry {
    fn kind(&self) -> String {
        "entry".to_owned()
    }
}

impl Described for Metric {
    fn kind(&self) -> String {
        "metric".to_owned()
    }
}

impl Described for RrdPoint {
    fn kind(&self) -> String {
        "point".to_owned()
    }
}

impl Described for Version {}
impl Described for Permissions {}
impl Described for NodeReport {}
impl Described for NodeTime {}
impl Described for NodeConfig {}
impl Described for GuestConfig {}
impl Described for StorageState {}
impl Described for TaskStatus {}
impl Described for HaManagerStatus {}
