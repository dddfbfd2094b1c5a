//! Delta: one cluster's picture as a row of versions, what leads from each to the next, and what is kept of that.
//!
//! A delta holds only the fields that changed, and of numbers only those that moved by a step that an eye would see:
//! a guest's CPU, memory and counters change in every round, and sending all of it was ten megabytes a minute for
//! 10,000 guests (docs/adr/0019). All clients of a cluster have the same versions. Whom they are sent to is `feeds`'
//! business; this knows no socket and no clock.

mod table;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use engine::observe::{ClusterName, GuestId, Presence};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use super::details::GuestMarks;
use super::page::{GuestRow, NodeRow, Page, Published, Quorum, StorageRow};
use table::{Cell, Change, Field, Row, Step, Table};

/// Deltas that are kept for clients that come back: a quarter of an hour of a busy cluster's rounds.
const KEPT_MAX: usize = 128;
/// Bytes of them. A client that missed more is served better by a snapshot.
const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Traffic below this many bytes a second is chatter (ARP, broadcasts) and shown as none.
const CHATTER: f64 = 2_000.0;

/// JSON, written once and sent to many.
pub(super) type Text = Arc<RawValue>;

const fn field(name: &'static str, step: Step) -> Field {
    Field { name, step }
}

/// What a client knows of a node, and from when on a change is told.
const NODE: &[Field] = &[
    field("name", Step::Any),
    field("host", Step::Any),
    field("status", Step::Any),
    field("cpu", Step::By(0.01)),
    field("maxcpu", Step::Any),
    field("mem", Step::Part(0.01, "maxmem")),
    field("maxmem", Step::Any),
    field("disk", Step::Part(0.001, "maxdisk")),
    field("maxdisk", Step::Any),
    field("startedAt", Step::By(60.0)),
    field("temperatures", Step::Any),
    field("ha", Step::Any),
];

/// The same of a guest. `startedAt` stands for the uptime, which changes all the time and says no more; `netin` and
/// `netout` are bytes a second, since counters of bytes change all the time too.
const GUEST: &[Field] = &[
    field("vmid", Step::Any),
    field("name", Step::Any),
    field("type", Step::Any),
    field("status", Step::Any),
    field("node", Step::Any),
    field("cpu", Step::By(0.03)),
    field("maxcpu", Step::Any),
    field("mem", Step::Part(0.02, "maxmem")),
    field("maxmem", Step::Any),
    field("disk", Step::Part(0.01, "maxdisk")),
    field("maxdisk", Step::Any),
    field("netin", Step::Ratio(0.5)),
    field("netout", Step::Ratio(0.5)),
    field("startedAt", Step::By(60.0)),
    field("tags", Step::Any),
    field("pool", Step::Any),
    field("lock", Step::Any),
    field("ha", Step::Any),
    field("template", Step::Any),
];

/// The same of a storage on a node.
const STORAGE: &[Field] = &[
    field("storage", Step::Any),
    field("node", Step::Any),
    field("type", Step::Any),
    field("status", Step::Any),
    field("used", Step::Part(0.001, "total")),
    field("avail", Step::Part(0.001, "total")),
    field("total", Step::Any),
    field("content", Step::Any),
    field("shared", Step::Any),
];

/// What was published of a cluster.
pub(super) struct Picture {
    pub(super) nodes: Option<Published<[NodeRow]>>,
    pub(super) guests: Option<Published<[GuestRow]>>,
    pub(super) storages: Option<Published<[StorageRow]>>,
    pub(super) quorum: Option<Published<Quorum>>,
    /// Whether the cluster is seen now; where it is not, the picture is the last one there was.
    pub(super) seeing: bool,
}

impl Picture {
    pub(super) fn of(page: &Page, seeing: bool) -> Picture {
        Picture {
            nodes: page.nodes(),
            guests: page.guests(),
            storages: page.storages(),
            quorum: page.quorum(),
            seeing,
        }
    }
}

/// One cluster's picture as its clients have it.
pub(super) struct Feed {
    cluster: ClusterName,
    version: u64,
    nodes: Section<[NodeRow]>,
    guests: Section<[GuestRow]>,
    storages: Section<[StorageRow]>,
    quorum: Option<Published<Quorum>>,
    seeing: bool,
    /// Each guest's counters of bytes in the round before.
    counters: HashMap<GuestId, (u64, u64)>,
    snapshot: Option<Text>,
}

struct Section<T: ?Sized> {
    table: Table,
    from: Option<Published<T>>,
}

/// What a round brought.
#[derive(Debug)]
pub(super) enum News {
    /// Rows changed: the next version.
    Delta(Delta),
    /// The rows are the same, and newer.
    Seen(Text),
    /// Nobody looked again since.
    None,
}

/// The way from one version to the next.
#[derive(Clone, Debug)]
pub(super) struct Delta {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) text: Text,
}

/// When PVE was asked for each part; `null` before the first round.
#[derive(Serialize)]
struct SeenAt {
    nodes: Option<Timestamp>,
    guests: Option<Timestamp>,
    storages: Option<Timestamp>,
    quorum: Option<Timestamp>,
}

impl Feed {
    /// Nothing seen yet. `version` is any number that no client can have from an earlier life of the server.
    pub(super) fn new(cluster: ClusterName, version: u64) -> Feed {
        Feed {
            cluster,
            version,
            nodes: Section::new(NODE),
            guests: Section::new(GUEST),
            storages: Section::new(STORAGE),
            quorum: None,
            seeing: false,
            counters: HashMap::new(),
            snapshot: None,
        }
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// How many rows would be written at once.
    pub(super) fn len(&self) -> usize {
        self.nodes.table.len() + self.guests.table.len() + self.storages.table.len()
    }

    /// Nobody looks: the rows go. Whoever comes later begins with a snapshot.
    pub(super) fn forget(&mut self) {
        *self = Feed::new(self.cluster.clone(), self.version + 1);
    }

    /// Takes what is seen now.
    pub(super) fn take(&mut self, picture: Picture) -> News {
        let Picture { nodes, guests, storages, quorum, seeing } = picture;
        let cluster = self.cluster.clone();
        let mut newer = self.seeing != seeing;
        self.seeing = seeing;
        let nodes = self.nodes.take(nodes, &mut newer, |published| {
            let at = published.seen_at;
            published.rows.iter().map(|row| node(&cluster, row, at)).collect()
        });
        let counters = &mut self.counters;
        let before = self.guests.from.as_ref().map(|published| published.seen_at);
        let guests = self.guests.take(guests, &mut newer, |published| {
            let at = published.seen_at;
            let seconds = before.map(|before| at.duration_since(before).as_secs_f64());
            let mut now = HashMap::with_capacity(published.rows.len());
            let row = |row: &GuestRow| {
                now.insert(row.id, (row.netin, row.netout));
                let (netin, netout) = counters.get(&row.id).copied().unwrap_or((row.netin, row.netout));
                let rate = |from: u64, to: u64| rate(to.saturating_sub(from), seconds);
                guest(&cluster, row, at, rate(netin, row.netin), rate(netout, row.netout))
            };
            let rows = published.rows.iter().map(row).collect();
            *counters = now;
            rows
        });
        let storages = self.storages.take(storages, &mut newer, |published| {
            published.rows.iter().map(|row| storage(&cluster, row)).collect()
        });
        let old = self.quorum.take();
        newer |= old.as_ref().map(|old| old.seen_at) != quorum.as_ref().map(|new| new.seen_at);
        let voted = match (&old, &quorum) {
            (Some(old), Some(new)) => (*old.rows != *new.rows).then_some(*new.rows),
            (None, Some(new)) => Some(*new.rows),
            (Some(_) | None, None) => None,
        };
        self.quorum = quorum;
        if nodes.is_none() && guests.is_none() && storages.is_none() && voted.is_none() {
            if !newer {
                return News::None;
            }
            self.snapshot = None;
            return text(&self.seen()).map_or(News::None, News::Seen);
        }
        self.snapshot = None;
        let from = self.version;
        self.version += 1;
        let wire = DeltaWire {
            cluster: &self.cluster,
            from,
            to: self.version,
            seen_at: self.seen_at(),
            seeing,
            nodes,
            guests,
            storages,
            quorum: voted,
        };
        match text(&wire) {
            Some(text) => News::Delta(Delta { from, to: self.version, text }),
            // It cannot be written: the version is skipped, and clients are led over it by a snapshot.
            None => News::None,
        }
    }

    /// Everything, written once for each state.
    pub(super) fn snapshot(&mut self) -> Option<Text> {
        if self.snapshot.is_none() {
            self.snapshot = text(&SnapshotWire {
                cluster: &self.cluster,
                version: self.version,
                seen_at: self.seen_at(),
                seeing: self.seeing,
                nodes: self.nodes.shown(),
                guests: self.guests.shown(),
                storages: self.storages.shown(),
                quorum: self.quorum.as_ref().map(|quorum| *quorum.rows),
            });
        }
        self.snapshot.clone()
    }

    fn seen(&self) -> SeenWire<'_> {
        SeenWire {
            cluster: &self.cluster,
            version: self.version,
            seen_at: self.seen_at(),
            seeing: self.seeing,
        }
    }

    fn seen_at(&self) -> SeenAt {
        SeenAt {
            nodes: self.nodes.seen_at(),
            guests: self.guests.seen_at(),
            storages: self.storages.seen_at(),
            quorum: self.quorum.as_ref().map(|quorum| quorum.seen_at),
        }
    }
}

impl<T: ?Sized> Section<T> {
    fn new(fields: &'static [Field]) -> Section<T> {
        Section { table: Table::new(fields), from: None }
    }

    fn seen_at(&self) -> Option<Timestamp> {
        self.from.as_ref().map(|from| from.seen_at)
    }

    /// `None` before the first round: no rows would say that there are none.
    fn shown(&self) -> Option<&Table> {
        self.from.as_ref().map(|_| &self.table)
    }

    fn take(
        &mut self,
        published: Option<Published<T>>,
        newer: &mut bool,
        rows: impl FnOnce(&Published<T>) -> Vec<Row>,
    ) -> Option<Change> {
        let published = published?;
        let first = self.from.is_none();
        if self.from.as_ref().is_some_and(|from| Arc::ptr_eq(&from.rows, &published.rows)) {
            return None;
        }
        *newer = true;
        let change = self.table.take(rows(&published));
        self.from = Some(published);
        // The first one is told even if it is empty: then it is known that there are none.
        (first || !change.is_empty()).then_some(change)
    }
}

/// The deltas that are kept, newest last.
#[derive(Debug, Default)]
pub(super) struct Ring {
    kept: VecDeque<Delta>,
    bytes: usize,
}

impl Ring {
    pub(super) fn push(&mut self, delta: Delta) {
        self.bytes += delta.text.get().len();
        self.kept.push_back(delta);
        while self.kept.len() > KEPT_MAX || self.bytes > KEPT_BYTES_MAX {
            let Some(oldest) = self.kept.pop_front() else { return };
            self.bytes -= oldest.text.get().len();
        }
    }

    /// What leads from a version to the newest; `None` where something of it is not kept, or it is no version of ours.
    pub(super) fn after(&self, version: u64, newest: u64) -> Option<Vec<Delta>> {
        if version == newest {
            return Some(Vec::new());
        }
        let start = self.kept.iter().position(|delta| delta.from == version)?;
        let deltas: Vec<Delta> = self.kept.iter().skip(start).cloned().collect();
        let whole = deltas.windows(2).all(|pair| matches!(pair, [a, b] if a.to == b.from));
        (whole && deltas.last().is_some_and(|last| last.to == newest)).then_some(deltas)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SnapshotWire<'a> {
    cluster: &'a ClusterName,
    version: u64,
    seen_at: SeenAt,
    seeing: bool,
    nodes: Option<&'a Table>,
    guests: Option<&'a Table>,
    storages: Option<&'a Table>,
    quorum: Option<Quorum>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeltaWire<'a> {
    cluster: &'a ClusterName,
    from: u64,
    to: u64,
    seen_at: SeenAt,
    seeing: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<Change>,
    #[serde(skip_serializing_if = "Option::is_none")]
    guests: Option<Change>,
    #[serde(skip_serializing_if = "Option::is_none")]
    storages: Option<Change>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quorum: Option<Quorum>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SeenWire<'a> {
    cluster: &'a ClusterName,
    version: u64,
    seen_at: SeenAt,
    seeing: bool,
}

fn text(wire: &impl Serialize) -> Option<Text> {
    serde_json::value::to_raw_value(wire)
        .inspect_err(|error| tracing::error!("a message of /cluster could not be written: {error}"))
        .ok()
        .map(Arc::from)
}

fn node(cluster: &ClusterName, row: &NodeRow, seen_at: Timestamp) -> Row {
    let NodeRow { node, host, status, cpu, maxcpu, mem, maxmem, disk, maxdisk, uptime, temperatures, ha } =
        row;
    let status = match status {
        Presence::Online => "online",
        Presence::Offline => "offline",
        Presence::Unknown => "unknown",
    };
    // Whole degrees: sensors tremble by tenths.
    let temperatures = temperatures.iter().map(|(zone, celsius)| (zone.clone(), celsius.round())).collect();
    let cells = [
        Cell::Text(node.as_str().into()),
        Cell::Text(host.clone()),
        Cell::Text(status.into()),
        Cell::Real(thousandths(*cpu)),
        Cell::Real(*maxcpu),
        Cell::Whole(*mem),
        Cell::Whole(*maxmem),
        Cell::Whole(*disk),
        Cell::Whole(*maxdisk),
        started_at(*uptime, seen_at),
        Cell::Zones(temperatures),
        word(ha.as_deref()),
    ];
    (format!("{cluster}/node/{node}").into(), cells.into())
}

fn guest(cluster: &ClusterName, row: &GuestRow, seen_at: Timestamp, netin: u64, netout: u64) -> Row {
    let GuestRow {
        id,
        name,
        status,
        node,
        cpu,
        maxcpu,
        mem,
        maxmem,
        disk,
        maxdisk,
        netin: _,
        netout: _,
        uptime,
        marks: GuestMarks { tags, pool, lock, ha, template },
    } = row;
    let cells = [
        Cell::Whole(id.vmid.into()),
        Cell::Text(name.clone().unwrap_or_else(|| id.to_string().into())),
        Cell::Text(id.kind.as_str().into()),
        Cell::Text(status.as_str().into()),
        Cell::Text(node.as_str().into()),
        Cell::Real(thousandths(*cpu)),
        Cell::Real(*maxcpu),
        Cell::Whole(*mem),
        Cell::Whole(*maxmem),
        Cell::Whole(*disk),
        Cell::Whole(*maxdisk),
        Cell::Whole(netin),
        Cell::Whole(netout),
        started_at(*uptime, seen_at),
        // A tag has no semicolon: PVE separates them by it.
        Cell::Text(tags.join(";").into()),
        word(pool.as_deref()),
        word(lock.as_deref()),
        word(ha.as_deref()),
        Cell::Flag(*template),
    ];
    (format!("{cluster}/{id}").into(), cells.into())
}

fn storage(cluster: &ClusterName, row: &StorageRow) -> Row {
    let StorageRow { storage, node, r#type, active, total, used, avail, content, shared } = row;
    let cells = [
        Cell::Text(storage.as_str().into()),
        Cell::Text(node.as_str().into()),
        Cell::Text(r#type.clone()),
        Cell::Text(if *active { "active" } else { "inactive" }.into()),
        Cell::Whole(*used),
        Cell::Whole(*avail),
        Cell::Whole(*total),
        Cell::Text(content.clone()),
        Cell::Flag(*shared),
    ];
    (format!("{cluster}/storage/{node}/{storage}").into(), cells.into())
}

/// PVE's word, where there is one.
fn word(word: Option<&str>) -> Cell {
    word.map_or(Cell::Nothing, |word| Cell::Text(word.into()))
}

/// Seconds of Unix time; nothing for what does not run.
fn started_at(uptime: u64, seen_at: Timestamp) -> Cell {
    let started = i64::try_from(uptime).ok().and_then(|uptime| seen_at.as_second().checked_sub(uptime));
    match started.and_then(|started| u64::try_from(started).ok()) {
        Some(started) if uptime > 0 => Cell::Whole(started),
        Some(_) | None => Cell::Nothing,
    }
}

fn thousandths(fraction: f64) -> f64 {
    (fraction * 1000.0).round() / 1000.0
}

/// Bytes a second to two digits, and none for chatter.
fn rate(bytes: u64, seconds: Option<f64>) -> u64 {
    let Some(seconds) = seconds.filter(|seconds| *seconds > 0.0) else { return 0 };
    let rate = bytes as f64 / seconds;
    if rate < CHATTER {
        return 0;
    }
    let unit = 10_f64.powf(rate.log10().floor() - 1.0);
    ((rate / unit).round() * unit) as u64
}

#[cfg(test)]
#[path = "delta/tests.rs"]
mod tests;
