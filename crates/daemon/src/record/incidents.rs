//! Incidents: what the journal says of each, as one row, written in the transaction that writes the journal's rows.
//!
//! A projection: it decides nothing, and could be made anew from the journal. Rows of before there was this table are
//! made so once, by [`fill`]; of what the journal no longer holds, the events are taken.

use std::collections::{HashMap, hash_map};

use engine::observe::ClusterName;
use engine::record::{Entry, Fact};
use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection, SqlitePool};

use super::journal::JournalRow;
use super::list::{Part, event_bytes, part};
use super::new::{NewEntry, cut, fit_json};
use super::read::event_columns;
use super::row::{EventRow, severity_from_word, text, whole};

/// Longest words of one column, in bytes.
const WORD_MAX: usize = 200;
/// Most details of one incident, in bytes of JSON: a lost node names its guests, some 20 bytes each.
const DETAILS_MAX: usize = 64 * 1024;
/// Rows of the journal that are read together when a file is brought up to date.
const FILL_BATCH: i64 = 1_000;
/// Longest entry that is read back, in bytes; see the journal's own.
const ENTRY_READ_MAX: u32 = 1024 * 1024;

/// What an entry of the journal says of an incident: the row as it is after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    id: String,
    condition: &'static str,
    severity: &'static str,
    subject: String,
    name: Option<String>,
    node: Option<String>,
    group: Option<String>,
    opened: Timestamp,
    turned: Option<Timestamp>,
    resolved: Option<Timestamp>,
    resolution: Option<&'static str>,
    details: Option<String>,
}

impl Told {
    /// What is told of an incident after something else was.
    fn after(self, earlier: &Told) -> Told {
        Told {
            group: earlier.group.clone().or(self.group),
            opened: earlier.opened,
            turned: self.turned.or(earlier.turned),
            resolved: earlier.resolved.or(self.resolved),
            resolution: earlier.resolution.or(self.resolution),
            details: self.details.or_else(|| earlier.details.clone()),
            ..self
        }
    }

    /// As the statements read it.
    fn columns(&self, cluster: &str) -> serde_json::Value {
        let Told { id, condition, severity, subject, name, node, group, .. } = self;
        let ms = |at: Option<Timestamp>| at.map(Timestamp::as_millisecond);
        let (opened, turned, resolved) = (self.opened.as_millisecond(), ms(self.turned), ms(self.resolved));
        let (resolution, details) = (self.resolution, &self.details);
        serde_json::json!([
            cluster, id, condition, severity, subject, name, node, group, opened, turned, resolved,
            resolution, details
        ])
    }
}

/// How an incident ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The finding is gone.
    Itself,
    /// The subject is gone from the cluster.
    Removed,
    /// It is not watched any more: hidden from the token, a template, or ignored.
    Unwatched,
    /// It is part of something worse, which is told instead.
    Superseded,
    /// What Jarvis did has helped.
    Mended,
    /// An operator closed it.
    Closed,
    /// Watching began anew, and nobody would have ended it.
    Anew,
}

impl Resolution {
    const ALL: [Resolution; 7] = [
        Resolution::Itself,
        Resolution::Removed,
        Resolution::Unwatched,
        Resolution::Superseded,
        Resolution::Mended,
        Resolution::Closed,
        Resolution::Anew,
    ];

    /// As stored and sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Resolution::Itself => "itself",
            Resolution::Removed => "removed",
            Resolution::Unwatched => "unwatched",
            Resolution::Superseded => "superseded",
            Resolution::Mended => "mended",
            Resolution::Closed => "closed",
            Resolution::Anew => "anew",
        }
    }

    fn from_word(word: &str) -> Option<Resolution> {
        Resolution::ALL.into_iter().find(|resolution| resolution.as_str() == word)
    }
}

impl From<engine::incident::Resolution> for Resolution {
    fn from(by: engine::incident::Resolution) -> Resolution {
        use engine::incident::Resolution as By;
        match by {
            By::Itself => Resolution::Itself,
            By::Removed => Resolution::Removed,
            By::Unwatched => Resolution::Unwatched,
            By::Superseded => Resolution::Superseded,
            By::Mended => Resolution::Mended,
            By::Closed => Resolution::Closed,
        }
    }
}

/// What an engine's entry says of an incident; `None` where it is about none.
pub(super) fn told(cluster: &ClusterName, entry: &Entry) -> Option<Told> {
    let (id, finding) = match &entry.fact {
        Fact::Opened { incident, finding, .. }
        | Fact::Turned { incident, finding, .. }
        | Fact::Resolved { incident, finding, .. } => (incident, finding),
        Fact::Noted(_) | Fact::Heartbeat(_) | Fact::Remedy { .. } | Fact::Storm { .. } => return None,
    };
    let word = |text: String| {
        let mut text = text;
        cut(&mut text, WORD_MAX);
        text
    };
    let condition = finding.condition();
    // What an incident is about was said when it opened or turned; its end adds only how it ended.
    let details = || {
        let json = serde_json::to_string(&engine::report::event(cluster, entry).details).ok()?;
        Some(fit_json(json, DETAILS_MAX))
    };
    let mut told = Told {
        id: id.to_string(),
        condition: condition.as_str(),
        severity: condition.severity().as_str(),
        subject: word(entry.subject.to_string()),
        name: entry.name.as_ref().map(|name| word(name.to_string())),
        node: entry.node.as_ref().map(|node| word(node.to_string())),
        group: None,
        opened: entry.at,
        turned: None,
        resolved: None,
        resolution: None,
        details: None,
    };
    match &entry.fact {
        Fact::Opened { group, .. } => {
            told.group = group.map(|group| group.to_string());
            told.details = details();
        }
        Fact::Turned { .. } => {
            told.turned = Some(entry.at);
            told.details = details();
        }
        Fact::Resolved { lasted, by, .. } => {
            // Of one whose opening is not in the journal any more.
            told.opened = entry.at.checked_sub(*lasted).unwrap_or(entry.at);
            told.resolved = Some(entry.at);
            told.resolution = Some(Resolution::from(*by).as_str());
        }
        Fact::Noted(_) | Fact::Heartbeat(_) | Fact::Remedy { .. } | Fact::Storm { .. } => {}
    }
    Some(told)
}

/// What came earlier of an incident is overwritten by what it is now, and what it became is added.
pub(super) const CHANGE: &str = "UPDATE incidents SET condition = t.value ->> 2, severity = t.value ->> 3, \
     name = coalesce(t.value ->> 5, name), node = coalesce(t.value ->> 6, node), \
     turned_ms = coalesce(t.value ->> 9, turned_ms), resolved_ms = coalesce(resolved_ms, t.value ->> 10), \
     resolution = coalesce(resolution, t.value ->> 11), details = coalesce(t.value ->> 12, details) \
     FROM json_each(?1) AS t WHERE substr(incidents.id, 1, 6) = substr(t.value ->> 1, 1, 6) \
     AND incidents.id = t.value ->> 1 AND incidents.cluster = t.value ->> 0";

pub(super) const OPEN: &str = "INSERT INTO incidents (cluster, id, condition, severity, subject, name, node, group_id, \
     opened_ms, turned_ms, resolved_ms, resolution, details) \
     SELECT t.value ->> 0, t.value ->> 1, t.value ->> 2, t.value ->> 3, t.value ->> 4, t.value ->> 5, t.value ->> 6, \
     t.value ->> 7, t.value ->> 8, t.value ->> 9, t.value ->> 10, t.value ->> 11, t.value ->> 12 \
     FROM json_each(?1) AS t WHERE NOT EXISTS (SELECT 1 FROM incidents AS i \
     WHERE substr(i.id, 1, 6) = substr(t.value ->> 1, 1, 6) AND i.id = t.value ->> 1 AND i.cluster = t.value ->> 0)";

pub(super) const LINK: &str = "INSERT OR IGNORE INTO incident_entries (incident, journal_seq) \
     SELECT i.seq, t.value ->> 2 FROM json_each(?1) AS t CROSS JOIN incidents AS i \
     ON substr(i.id, 1, 6) = substr(t.value ->> 1, 1, 6) AND i.id = t.value ->> 1 AND i.cluster = t.value ->> 0";

/// What the entries say of incidents, after they were appended to the journal behind the row `after`.
pub(super) async fn project(
    conn: &mut SqliteConnection,
    after: i64,
    entries: &[NewEntry],
) -> Result<(), sqlx::Error> {
    let numbered = || (after.saturating_add(1)..).zip(entries);
    let told = numbered().filter_map(|(seq, entry)| {
        let told = entry.told.as_deref()?;
        Some((entry.cluster.as_deref()?, seq, told))
    });
    write(conn, told).await?;
    let about: Vec<(&str, &str, i64)> = numbered()
        .filter_map(|(seq, entry)| Some((entry.cluster.as_deref()?, entry.about.as_deref()?, seq)))
        .collect();
    if about.is_empty() {
        return Ok(());
    }
    let links = serde_json::to_string(&about).map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query(LINK).bind(links).execute(conn).await.map(drop)
}

async fn write<'a>(
    conn: &mut SqliteConnection,
    told: impl Iterator<Item = (&'a str, i64, &'a Told)>,
) -> Result<(), sqlx::Error> {
    // In their order, and each incident once: it may open, turn and end in one turn.
    let (mut rows, mut links): (Vec<(&str, Told)>, _) = (Vec::new(), Vec::new());
    let mut places: HashMap<(&str, &str), usize> = HashMap::new();
    for (cluster, seq, told) in told {
        links.push((cluster, &told.id, seq));
        match places.entry((cluster, &told.id)) {
            hash_map::Entry::Occupied(place) => {
                let earlier = &mut rows[*place.get()].1;
                *earlier = told.clone().after(earlier);
            }
            hash_map::Entry::Vacant(place) => {
                place.insert(rows.len());
                rows.push((cluster, told.clone()));
            }
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    let rows: Vec<serde_json::Value> = rows.iter().map(|(cluster, told)| told.columns(cluster)).collect();
    let encode = |error: serde_json::Error| sqlx::Error::Encode(error.into());
    let rows = serde_json::to_string(&rows).map_err(encode)?;
    sqlx::query(CHANGE).bind(rows.as_str()).execute(&mut *conn).await?;
    sqlx::query(OPEN).bind(rows.as_str()).execute(&mut *conn).await?;
    sqlx::query(LINK).bind(serde_json::to_string(&links).map_err(encode)?).execute(conn).await.map(drop)
}

/// Every open incident of a cluster ends, because watching begins anew with the journal's row `seq`.
pub(super) async fn end_all(
    conn: &mut SqliteConnection,
    cluster: &str,
    at: Timestamp,
    seq: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT OR IGNORE INTO incident_entries (incident, journal_seq) \
         SELECT seq, ?2 FROM incidents WHERE cluster = ?1 AND resolved_ms IS NULL",
    )
    .bind(cluster)
    .bind(seq)
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        "UPDATE incidents SET resolved_ms = ?2, resolution = ?3 WHERE cluster = ?1 AND resolved_ms IS NULL",
    )
    .bind(cluster)
    .bind(at.as_millisecond())
    .bind(Resolution::Anew.as_str())
    .execute(conn)
    .await
    .map(drop)
}

/// One batch of what ended before a time; what is open stays, however old it is.
pub(super) async fn prune(
    conn: &mut SqliteConnection,
    before: Timestamp,
    batch: i64,
) -> Result<u64, sqlx::Error> {
    sqlx::query(
        "DELETE FROM incident_entries WHERE incident IN (SELECT seq FROM incidents \
         WHERE resolved_ms < ?1 ORDER BY resolved_ms LIMIT ?2)",
    )
    .bind(before.as_millisecond())
    .bind(batch)
    .execute(&mut *conn)
    .await?;
    let done = sqlx::query(
        "DELETE FROM incidents WHERE seq IN \
         (SELECT seq FROM incidents WHERE resolved_ms < ?1 ORDER BY resolved_ms LIMIT ?2)",
    )
    .bind(before.as_millisecond())
    .bind(batch)
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// A column of the last event of an incident that says it. What is wrong is never info, its end is: that one is asked last.
macro_rules! last {
    ($column:literal) => {
        concat!(
            "(SELECT l.",
            $column,
            " FROM events AS l WHERE l.incident_id = e.incident_id AND l.cluster = e.cluster AND l.type = 'alert' \
             AND l.condition IS NOT NULL AND l.at_ms IS NOT NULL AND l.",
            $column,
            " IS NOT NULL ORDER BY l.severity = 'info', l.at_ms DESC, l.id DESC LIMIT 1)"
        )
    };
}

/// Of the events that were told before the journal began: one row per incident that they name. How it ended they do not
/// say.
const FILL_FROM_EVENTS: &str = concat!(
    "INSERT INTO incidents (id, cluster, condition, severity, subject, node, opened_ms, resolved_ms, details) \
     SELECT e.incident_id, e.cluster, ",
    last!("condition"),
    ", ",
    last!("severity"),
    ", coalesce(",
    last!("subject"),
    ", 'cluster'), ",
    last!("node"),
    ", min(e.at_ms), max(e.resolved_ms), ",
    last!("details"),
    " FROM events AS e WHERE e.incident_id IS NOT NULL AND e.cluster IS NOT NULL AND e.condition IS NOT NULL \
     AND e.at_ms IS NOT NULL AND e.type = 'alert' \
     AND e.at_ms < coalesce((SELECT j.at_ms FROM journal AS j WHERE j.cluster = e.cluster ORDER BY j.seq LIMIT 1), \
     9223372036854775807) GROUP BY e.cluster, e.incident_id ORDER BY min(e.at_ms)"
);

/// Makes the table's rows of what is there, once.
pub(super) async fn fill(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query(FILL_FROM_EVENTS).execute(&mut *conn).await?;
    let mut after = i64::MIN;
    loop {
        let rows = sqlx::query(
            "SELECT seq, at_ms, cluster, kind, entry FROM journal WHERE seq > ?1 \
             AND kind IN ('opened', 'turned', 'resolved', 'anew') AND octet_length(entry) <= ?3 \
             ORDER BY seq LIMIT ?2",
        )
        .bind(after)
        .bind(FILL_BATCH)
        .bind(ENTRY_READ_MAX)
        .fetch_all(&mut *conn)
        .await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = whole(last, "seq").unwrap_or(i64::MAX);
        let mut batch: Vec<(String, i64, Told)> = Vec::new();
        for row in &rows {
            let (Some(cluster), Some(seq)) = (text(row, "cluster"), whole(row, "seq")) else { continue };
            if text(row, "kind").as_deref() == Some("anew") {
                write(&mut *conn, batch.iter().map(|(cluster, seq, told)| (&**cluster, *seq, told))).await?;
                batch.clear();
                end_all(&mut *conn, &cluster, time(row, "at_ms").unwrap_or_default(), seq).await?;
                continue;
            }
            // An entry of another version, or cut to its limit, says nothing here; the journal keeps it.
            let entry = text(row, "entry").and_then(|json| serde_json::from_str::<Entry>(&json).ok());
            let named = cluster.parse::<ClusterName>().ok();
            if let Some(told) = named.zip(entry).and_then(|(cluster, entry)| told(&cluster, &entry)) {
                batch.push((cluster, seq, told));
            }
        }
        write(&mut *conn, batch.iter().map(|(cluster, seq, told)| (&**cluster, *seq, told))).await?;
    }
}

/// One row of `incidents`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncidentRow {
    /// The row's number, in the order in which they were recorded.
    pub seq: i64,
    /// The engine's UUID.
    pub id: String,
    /// Whose it is.
    pub cluster: String,
    /// As it is, or was at the end.
    pub condition: String,
    /// How bad.
    pub severity: engine::report::Severity,
    /// What it is about (`qemu/101`).
    pub subject: String,
    /// The subject's name, for people.
    pub name: Option<String>,
    /// The node it is about or happened on.
    pub node: Option<String>,
    /// The event that it was told with, where that was one for many.
    pub group: Option<String>,
    /// When it was told.
    pub opened: Timestamp,
    /// When it last got another condition.
    pub turned: Option<Timestamp>,
    /// When it ended.
    pub resolved: Option<Timestamp>,
    /// How it ended. An unknown word is read as none.
    pub resolution: Option<Resolution>,
    /// JSON text: the facts of the event that it was last told with.
    pub details: Option<String>,
}

/// The columns that [`IncidentRow::read`] reads.
macro_rules! incident_columns {
    () => {
        "seq, id, cluster, condition, severity, subject, name, node, group_id, opened_ms, turned_ms, resolved_ms, \
         resolution, details"
    };
}
pub(super) use incident_columns;

impl IncidentRow {
    pub(super) fn read(row: &SqliteRow) -> IncidentRow {
        let words = |column| text(row, column).unwrap_or_default();
        IncidentRow {
            seq: whole(row, "seq").unwrap_or_default(),
            id: words("id"),
            cluster: words("cluster"),
            condition: words("condition"),
            severity: severity_from_word(&words("severity")).unwrap_or(engine::report::Severity::Info),
            subject: words("subject"),
            name: text(row, "name"),
            node: text(row, "node"),
            group: text(row, "group_id"),
            opened: time(row, "opened_ms").unwrap_or_default(),
            turned: time(row, "turned_ms"),
            resolved: time(row, "resolved_ms"),
            resolution: text(row, "resolution").and_then(|word| Resolution::from_word(&word)),
            details: text(row, "details"),
        }
    }
}

fn time(row: &SqliteRow, column: &str) -> Option<Timestamp> {
    Timestamp::from_millisecond(whole(row, column)?).ok()
}

/// Those with an id: one, unless two engines made the same.
pub(super) async fn by_id(pool: &SqlitePool, id: &str) -> Result<Vec<IncidentRow>, sqlx::Error> {
    let rows = sqlx::query(concat!(
        "SELECT ",
        incident_columns!(),
        " FROM incidents WHERE substr(id, 1, 6) = substr(?1, 1, 6) AND id = ?1 ORDER BY seq DESC LIMIT 10"
    ));
    Ok(rows.bind(id).fetch_all(pool).await?.iter().map(IncidentRow::read).collect())
}

/// An incident's events, oldest first; those of its group with them.
pub(super) const EVENTS: &str = concat!(
    "SELECT ",
    event_columns!(),
    " FROM events WHERE incident_id IN (?1, ?2) AND cluster = ?3 ORDER BY id LIMIT ?4"
);

pub(super) async fn events(
    pool: &SqlitePool,
    incident: &IncidentRow,
    limit: i64,
) -> Result<Part<EventRow>, sqlx::Error> {
    let rows = sqlx::query(EVENTS)
        .bind(incident.id.as_str())
        .bind(incident.group.as_deref().unwrap_or(&incident.id))
        .bind(incident.cluster.as_str())
        .bind(limit.saturating_add(1));
    part(rows.fetch(pool), limit, EventRow::read, event_bytes).await
}

/// An incident's rows of the journal, oldest first.
pub(super) const ENTRIES: &str = "SELECT seq, at_ms, cluster, kind, iif(octet_length(entry) <= ?1, entry, '') AS entry, \
     prev, hash FROM journal WHERE seq IN (SELECT journal_seq FROM incident_entries WHERE incident = ?2 \
     ORDER BY journal_seq LIMIT ?3) ORDER BY seq";

pub(super) async fn entries(
    pool: &SqlitePool,
    incident: &IncidentRow,
    limit: i64,
) -> Result<Part<JournalRow>, sqlx::Error> {
    let rows = sqlx::query(ENTRIES).bind(ENTRY_READ_MAX).bind(incident.seq).bind(limit.saturating_add(1));
    part(rows.fetch(pool), limit, JournalRow::read, |row| row.entry.len()).await
}

/// How many are open, by cluster.
pub(super) async fn open_by_cluster(pool: &SqlitePool) -> Result<Vec<(String, i64)>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT cluster, count(*) AS open FROM incidents WHERE resolved_ms IS NULL GROUP BY cluster",
    );
    let rows = rows.fetch_all(pool).await?;
    rows.iter().map(|row| Ok((row.try_get("cluster")?, row.try_get("open")?))).collect()
}
