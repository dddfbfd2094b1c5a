//! Metrics: `GET /metrics` in Prometheus's text format. Jarvis's own health, and the clusters with the names of
//! prometheus-pve-exporter where they mean the same, with a `cluster` label more (docs/adr/0020).
//!
//! Made from what is there when it is asked for: it asks no cluster and writes nothing. What a caller may not see is
//! not in it.

use std::collections::HashMap;
use std::fmt::{Display, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use engine::observe::{ClusterName, GuestStatus, NodeName, Presence, StorageName};
use engine::report::Severity;
use jiff::Timestamp;
use tokio::sync::OnceCell;

use super::caller::Caller;
use super::meter::{Meter, Tries};
use super::page::{Details, GuestRow, NodeRow, Page, Published, Quorum, StorageRow};
use super::process;
use super::refusal::Refusal;
use super::tally::Kind;
use super::web::{Answer, App, Query};
use crate::record::{ChannelRow, Store};

/// The format's name and version.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Bytes of one guest's lines, to begin with; only a hint.
const GUEST_BYTES: usize = 1100;
/// So long an answer is everybody's who may see the same: some numbers are a second older then, and nobody can have ten
/// megabytes written for each of many calls.
const SHARED_FOR: Duration = Duration::from_secs(1);

/// States that the exporter knows of a guest that HA manages, and of a node; one of them is 1.
const GUEST_HA: [&str; 11] = [
    "stopped",
    "request_stop",
    "request_start",
    "request_start_balance",
    "started",
    "fence",
    "recovery",
    "migrate",
    "relocate",
    "freeze",
    "error",
];
const NODE_HA: [&str; 5] = ["online", "maintenance", "unknown", "fence", "gone"];
/// Locks that it knows.
const LOCKS: [&str; 9] = [
    "backup",
    "clone",
    "create",
    "migrate",
    "rollback",
    "snapshot",
    "snapshot-delete",
    "suspended",
    "suspending",
];

/// Jarvis and the clusters, for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "jarvis",
    responses((status = 200, description = "Prometheus's text format", content_type = "text/plain", body = String)))]
pub(super) async fn metrics(State(app): State<Arc<App>>, caller: Caller, uri: Uri) -> Answer<Response> {
    Query::parse(&uri, &[])?;
    let sight = Sight::of(&app, &caller);
    let text = app.scrapes.shared(sight.clone(), || written(&app, &sight)).await?;
    Ok(([(header::CONTENT_TYPE, TEXT)], text).into_response())
}

/// What a caller is shown.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Sight {
    /// Also what speaks of all of Jarvis: its counts would tell of clusters that are none of theirs.
    everything: bool,
    clusters: Vec<ClusterName>,
}

impl Sight {
    fn of(app: &App, caller: &Caller) -> Sight {
        let names = app.pages.iter().map(|(cluster, _)| cluster);
        let clusters = names.filter(|cluster| caller.sees(cluster)).cloned().collect();
        Sight { everything: caller.clusters.is_none(), clusters }
    }
}

/// What was written a moment ago, for all who may see the same.
#[derive(Default)]
pub(super) struct Scrapes(Mutex<HashMap<Sight, Arc<OnceCell<Bytes>>>>);

impl Scrapes {
    /// The answer of this moment. Who comes while it is written waits for it.
    async fn shared<F: Future<Output = Answer<Bytes>>>(
        self: &Arc<Scrapes>,
        sight: Sight,
        write: impl FnOnce() -> F,
    ) -> Answer<Bytes> {
        let cell = Arc::clone(self.lock().entry(sight.clone()).or_default());
        let write = async || {
            let text = write().await?;
            let scrapes = Arc::clone(self);
            tokio::spawn(async move {
                tokio::time::sleep(SHARED_FOR).await;
                scrapes.lock().remove(&sight);
            });
            Ok(text)
        };
        cell.get_or_try_init(write).await.cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Sight, Arc<OnceCell<Bytes>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn written(app: &App, sight: &Sight) -> Answer<Bytes> {
    let now = Timestamp::now();
    let seen = app.pages.iter().filter(|(cluster, _)| sight.clusters.contains(cluster));
    let clusters: Vec<Watched> = seen.map(|(cluster, page)| watched(app, cluster, page)).collect();
    let mut text = Exposition::default();
    own(&mut text, &app.store);
    let help = "Whether everything that Jarvis does on its own is stopped.";
    text.alone("jarvis_kill_switch", "gauge", help, u8::from(app.live.halted()));
    if sight.everything {
        whole(&mut text, app);
        // A store that cannot be read says so by itself, above.
        told(&mut text, &app.store.channels().await.unwrap_or_default());
    }
    // 10,000 guests are seven megabytes, which would hold up an async thread.
    let written = tokio::task::spawn_blocking(move || {
        of_clusters(&mut text, &clusters, now);
        Bytes::from(text.0)
    });
    written.await.map_err(|error| {
        tracing::error!("the metrics could not be written: {error}");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "The metrics could not be written; the log says why")
    })
}

/// One cluster at the moment of the scrape.
struct Watched {
    name: ClusterName,
    seeing: bool,
    meter: Arc<Meter>,
    nodes: Option<Published<[NodeRow]>>,
    guests: Option<Published<[GuestRow]>>,
    storages: Option<Published<[StorageRow]>>,
    quorum: Option<Published<Quorum>>,
    details: Arc<Details>,
}

fn watched(app: &App, cluster: &ClusterName, page: &Page) -> Watched {
    Watched {
        name: cluster.clone(),
        seeing: app.live.sees(cluster, Instant::now()),
        meter: app.live.meter(cluster),
        nodes: page.nodes(),
        guests: page.guests(),
        storages: page.storages(),
        quorum: page.quorum(),
        details: page.details(),
    }
}

/// Text in Prometheus's format.
#[derive(Default)]
pub(super) struct Exposition(String);

impl Exposition {
    /// Begins a family; its samples come next.
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string never fails.
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}").unwrap_or_default();
    }

    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (index, (label, value)) in labels.iter().enumerate() {
            self.0.push(if index == 0 { '{' } else { ',' });
            self.0.push_str(label);
            self.0.push_str("=\"");
            for sign in value.chars() {
                match sign {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    sign => self.0.push(sign),
                }
            }
            self.0.push('"');
        }
        let end = if labels.is_empty() { "" } else { "}" };
        writeln!(self.0, "{end} {value}").unwrap_or_default();
    }

    pub(super) fn alone(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }
}

/// What everybody may know who may look.
fn own(text: &mut Exposition, store: &Store) {
    text.family("jarvis_build_info", "gauge", "Which Jarvis this is.");
    text.sample("jarvis_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    let failing = u8::from(store.is_failing());
    text.alone(
        "jarvis_store_failing",
        "gauge",
        "Whether the last write failed: nothing is told then.",
        failing,
    );
}

/// What is counted of all clusters and all users together.
fn whole(text: &mut Exposition, app: &App) {
    let App { store, live, tally, auth, .. } = app;
    let remediations = live.active_remediations();
    text.alone("jarvis_remediations_active", "gauge", "Incidents that are being worked on.", remediations);
    let sessions = auth.sessions(Timestamp::now());
    text.alone("jarvis_sessions", "gauge", "Logins that are not over.", sessions);
    text.family("jarvis_socket_clients", "gauge", "Socket clients, by what they came for.");
    for (kind, word) in [(Kind::Arrays, "arrays"), (Kind::Deltas, "deltas"), (Kind::Events, "events")] {
        text.sample("jarvis_socket_clients", &[("kind", word)], tally.count(kind));
    }
    let health = store.health();
    text.family("jarvis_events_total", "counter", "Events stored since the start.");
    for severity in [Severity::Info, Severity::Warning, Severity::Error, Severity::Critical] {
        let count = health.events[severity as usize];
        text.sample("jarvis_events_total", &[("severity", severity.as_str())], count);
    }
    let written = store.written();
    text.alone("jarvis_store_writes_total", "counter", "Writes that were committed.", written.writes);
    text.alone("jarvis_store_commits_total", "counter", "Transactions that they took.", written.commits);
    text.alone("jarvis_store_queue_length", "gauge", "Writes that wait.", health.waiting);
    text.alone(
        "jarvis_journal_head",
        "gauge",
        "Number of the newest row of the journal.",
        health.journal_head,
    );
    process::write(text);
}

/// Who is told by mail and webhook, and how that goes.
fn told(text: &mut Exposition, channels: &[ChannelRow]) {
    type Family = (&'static str, &'static str, &'static str, fn(&ChannelRow) -> u64);
    const FAMILIES: [Family; 3] = [
        ("jarvis_notify_waiting", "gauge", "Events that wait to be told.", |channel| channel.waiting),
        ("jarvis_notify_failing", "gauge", "Whether the last try failed.", |channel| {
            u64::from(channel.is_failing())
        }),
        ("jarvis_notify_messages_total", "counter", "Messages that were accepted.", |channel| {
            channel.delivered
        }),
    ];
    for (name, kind, help, value) in FAMILIES {
        text.family(name, kind, help);
        for channel in channels {
            text.sample(name, &[("channel", channel.name.as_str())], value(channel));
        }
    }
    let name = "jarvis_notify_given_up_total";
    text.family(name, "counter", "Events that will not be told any more, by why.");
    for channel in channels {
        let ChannelRow { refused, expired, dropped, .. } = channel;
        for (why, count) in [("refused", refused), ("expired", expired), ("dropped", dropped)] {
            text.sample(name, &[("channel", channel.name.as_str()), ("why", why)], count);
        }
    }
}

fn of_clusters(text: &mut Exposition, clusters: &[Watched], now: Timestamp) {
    let guests: usize = clusters.iter().map(|of| of.guests.as_ref().map_or(0, |all| all.rows.len())).sum();
    text.0.reserve(guests * GUEST_BYTES);
    text.family("jarvis_cluster_seen", "gauge", "Whether the cluster is seen.");
    for of in clusters {
        text.sample("jarvis_cluster_seen", &[("cluster", of.name.as_str())], u8::from(of.seeing));
    }
    text.family("jarvis_picture_age_seconds", "gauge", "Since PVE was asked for what is shown.");
    for of in clusters {
        let parts = [
            ("nodes", of.nodes.as_ref().map(|part| part.seen_at)),
            ("guests", of.guests.as_ref().map(|part| part.seen_at)),
            ("storages", of.storages.as_ref().map(|part| part.seen_at)),
            ("quorum", of.quorum.as_ref().map(|part| part.seen_at)),
        ];
        for (part, seen_at) in parts {
            let Some(seen_at) = seen_at else { continue };
            let age = now.duration_since(seen_at).as_secs_f64().max(0.0);
            text.sample("jarvis_picture_age_seconds", &[("cluster", of.name.as_str()), ("part", part)], age);
        }
    }
    tries(text, clusters, "jarvis_polls", "Rounds of polling", "tier", Meter::rounds);
    tries(text, clusters, "jarvis_pve_calls", "Calls of PVE's API", "call", Meter::calls);
    of_pve(text, clusters);
}

/// A counter by outcome, and a summary of how long it took.
fn tries(
    text: &mut Exposition,
    clusters: &[Watched],
    name: &str,
    what: &str,
    label: &str,
    of: impl Fn(&Meter) -> std::collections::BTreeMap<&'static str, Tries>,
) {
    let all: Vec<_> = clusters.iter().map(|watched| (watched.name.as_str(), of(&watched.meter))).collect();
    let total = format!("{name}_total");
    text.family(&total, "counter", &format!("{what}, by outcome."));
    for (cluster, kinds) in &all {
        for (kind, tries) in kinds {
            for (outcome, count) in [("good", tries.good), ("bad", tries.bad)] {
                let labels = [("cluster", *cluster), (label, *kind), ("outcome", outcome)];
                text.sample(&total, &labels, count);
            }
        }
    }
    let took = format!("{}_duration_seconds", name.trim_end_matches('s'));
    text.family(&took, "summary", &format!("{what}: how long they took."));
    for (cluster, kinds) in &all {
        for (kind, tries) in kinds {
            let labels = [("cluster", *cluster), (label, *kind)];
            text.sample(&format!("{took}_sum"), &labels, tries.took.max(Duration::ZERO).as_secs_f64());
            text.sample(&format!("{took}_count"), &labels, tries.good + tries.bad);
        }
    }
}

/// One thing that PVE has: its id, and its number in each family.
struct Subject<'a> {
    cluster: &'a str,
    id: String,
    of: Of<'a>,
}

enum Of<'a> {
    Node(&'a NodeRow),
    Guest(&'a GuestRow),
    Storage(&'a StorageRow),
}

/// A family of the exporter: name, kind, help, and the value of what has one.
type Family = (&'static str, &'static str, &'static str, fn(&Of<'_>) -> Option<f64>);

const FAMILIES: [Family; 11] =
    [
        ("pve_cpu_usage_ratio", "gauge", "CPU utilization (nodes and guests).", |of| match of {
            Of::Node(row) => Some(row.cpu),
            Of::Guest(row) => Some(row.cpu),
            Of::Storage(_) => None,
        }),
        ("pve_cpu_usage_limit", "gauge", "Number of available CPUs (nodes and guests).", |of| match of {
            Of::Node(row) => Some(row.maxcpu),
            Of::Guest(row) => Some(row.maxcpu),
            Of::Storage(_) => None,
        }),
        ("pve_memory_usage_bytes", "gauge", "Used memory (nodes and guests).", |of| match of {
            Of::Node(row) => Some(row.mem as f64),
            Of::Guest(row) => Some(row.mem as f64),
            Of::Storage(_) => None,
        }),
        ("pve_memory_size_bytes", "gauge", "Available memory (nodes and guests).", |of| match of {
            Of::Node(row) => Some(row.maxmem as f64),
            Of::Guest(row) => Some(row.maxmem as f64),
            Of::Storage(_) => None,
        }),
        ("pve_disk_usage_bytes", "gauge", "Used space (storages, root disks of nodes and guests).", |of| {
            match of {
                Of::Node(row) => Some(row.disk as f64),
                Of::Guest(row) => Some(row.disk as f64),
                Of::Storage(row) => Some(row.used as f64),
            }
        }),
        ("pve_disk_size_bytes", "gauge", "Size (storages, root disks of nodes and guests).", |of| match of {
            Of::Node(row) => Some(row.maxdisk as f64),
            Of::Guest(row) => Some(row.maxdisk as f64),
            Of::Storage(row) => Some(row.total as f64),
        }),
        ("pve_network_receive_bytes_total", "counter", "Sent to the guest since it was started.", |of| {
            match of {
                Of::Guest(row) => Some(row.netin as f64),
                Of::Node(_) | Of::Storage(_) => None,
            }
        }),
        ("pve_network_transmit_bytes_total", "counter", "Sent by the guest since it was started.", |of| {
            match of {
                Of::Guest(row) => Some(row.netout as f64),
                Of::Node(_) | Of::Storage(_) => None,
            }
        }),
        ("pve_uptime_seconds", "gauge", "Since the start (nodes and guests).", |of| match of {
            Of::Node(row) => Some(row.uptime as f64),
            Of::Guest(row) => Some(row.uptime as f64),
            Of::Storage(_) => None,
        }),
        ("pve_storage_shared", "gauge", "Whether the storage is shared among the nodes.", |of| match of {
            Of::Storage(row) => Some(f64::from(u8::from(row.shared))),
            Of::Node(_) | Of::Guest(_) => None,
        }),
        (
            "pve_up",
            "gauge",
            "Whether a node is online, a guest running, a storage active, a cluster quorate.",
            |of| {
                Some(f64::from(u8::from(match of {
                    Of::Node(row) => row.status == Presence::Online || row.status == Presence::Unknown,
                    Of::Guest(row) => row.status == GuestStatus::Running,
                    Of::Storage(row) => row.active,
                })))
            },
        ),
    ];

fn of_pve(text: &mut Exposition, clusters: &[Watched]) {
    let subjects: Vec<Subject<'_>> = clusters.iter().flat_map(subjects).collect();
    for (name, kind, help, value) in FAMILIES {
        text.family(name, kind, help);
        for Subject { cluster, id, of } in &subjects {
            if let Some(value) = value(of) {
                text.sample(name, &[("cluster", cluster), ("id", id)], value);
            }
        }
        // The last of the families is `pve_up`, of which a cluster has one as well.
        if name == "pve_up" {
            for of in clusters {
                let Some(quorum) = &of.quorum else { continue };
                let labels = [("cluster", of.name.as_str()), ("id", &*of.details.cluster_id(&of.name))];
                text.sample(name, &labels, u8::from(quorum.rows.quorate));
            }
        }
    }
    infos(text, clusters);
    states(text, clusters);
}

fn subjects(watched: &Watched) -> impl Iterator<Item = Subject<'_>> {
    let cluster = watched.name.as_str();
    let nodes = watched.nodes.as_ref().into_iter().flat_map(|all| all.rows.iter());
    let guests = watched.guests.as_ref().into_iter().flat_map(|all| all.rows.iter());
    let storages = watched.storages.as_ref().into_iter().flat_map(|all| all.rows.iter());
    let nodes = nodes.map(move |row| Subject { cluster, id: node_id(&row.node), of: Of::Node(row) });
    let guests = guests.map(move |row| Subject { cluster, id: row.id.to_string(), of: Of::Guest(row) });
    let storages = storages.map(move |row| Subject {
        cluster,
        id: storage_id(&row.node, &row.storage),
        of: Of::Storage(row),
    });
    nodes.chain(guests).chain(storages)
}

fn node_id(node: &NodeName) -> String {
    format!("node/{node}")
}

fn storage_id(node: &NodeName, storage: &StorageName) -> String {
    format!("storage/{node}/{storage}")
}

fn infos(text: &mut Exposition, clusters: &[Watched]) {
    text.family("pve_node_info", "gauge", "Node info.");
    for of in clusters {
        for row in of.nodes.iter().flat_map(|all| all.rows.iter()) {
            let details = of.details.nodes.get(&row.node).cloned().unwrap_or_default();
            let labels = [
                ("cluster", of.name.as_str()),
                ("id", &*node_id(&row.node)),
                ("level", &*details.level),
                ("name", row.node.as_str()),
                ("nodeid", &*details.nodeid),
            ];
            text.sample("pve_node_info", &labels, 1);
        }
    }
    text.family("pve_guest_info", "gauge", "VM/CT info.");
    for of in clusters {
        for row in of.guests.iter().flat_map(|all| all.rows.iter()) {
            let labels = [
                ("cluster", of.name.as_str()),
                ("id", &*row.id.to_string()),
                ("node", row.node.as_str()),
                ("name", row.name.as_deref().unwrap_or_default()),
                ("type", row.id.kind.as_str()),
                ("template", if row.marks.template { "1" } else { "0" }),
                ("tags", &*row.marks.tags.join(";")),
            ];
            text.sample("pve_guest_info", &labels, 1);
        }
    }
    text.family("pve_storage_info", "gauge", "Storage info.");
    for of in clusters {
        for row in of.storages.iter().flat_map(|all| all.rows.iter()) {
            // In PVE's answers their order is another each time.
            let mut content: Vec<&str> = row.content.split(',').collect();
            content.sort_unstable();
            let labels = [
                ("cluster", of.name.as_str()),
                ("id", &*storage_id(&row.node, &row.storage)),
                ("node", row.node.as_str()),
                ("storage", row.storage.as_str()),
                ("plugintype", &*row.r#type),
                ("content", &*content.join(",")),
            ];
            text.sample("pve_storage_info", &labels, 1);
        }
    }
    text.family("pve_cluster_info", "gauge", "Cluster info.");
    for of in clusters {
        let (Some(quorum), Some(info)) = (&of.quorum, &of.details.cluster) else { continue };
        let labels = [
            ("cluster", of.name.as_str()),
            ("id", &*of.details.cluster_id(&of.name)),
            ("nodes", &*info.nodes.to_string()),
            ("quorate", if quorum.rows.quorate { "1" } else { "0" }),
            ("version", &*info.version.to_string()),
        ];
        text.sample("pve_cluster_info", &labels, 1);
    }
}

/// HA states and locks, of those that have one: the exporter writes twenty lines of every guest.
fn states(text: &mut Exposition, clusters: &[Watched]) {
    text.family("pve_ha_state", "gauge", "HA service status, of what HA manages.");
    for of in clusters {
        for row in of.nodes.iter().flat_map(|all| all.rows.iter()) {
            state(text, "pve_ha_state", &of.name, &node_id(&row.node), &NODE_HA, row.ha.as_deref());
        }
        for row in of.guests.iter().flat_map(|all| all.rows.iter()) {
            let ha = row.marks.ha.as_deref();
            state(text, "pve_ha_state", &of.name, &row.id.to_string(), &GUEST_HA, ha);
        }
    }
    text.family("pve_lock_state", "gauge", "The guest's current config lock, of guests that have one.");
    for of in clusters {
        for row in of.guests.iter().flat_map(|all| all.rows.iter()) {
            let lock = row.marks.lock.as_deref();
            state(text, "pve_lock_state", &of.name, &row.id.to_string(), &LOCKS, lock);
        }
    }
}

fn state(
    text: &mut Exposition,
    name: &str,
    cluster: &ClusterName,
    id: &str,
    all: &[&str],
    now: Option<&str>,
) {
    let Some(now) = now else { return };
    for state in all {
        let labels = [("cluster", cluster.as_str()), ("id", id), ("state", state)];
        text.sample(name, &labels, u8::from(*state == now));
    }
}

#[cfg(test)]
#[path = "metrics/tests.rs"]
mod tests;
