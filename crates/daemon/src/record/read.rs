//! Every question to the store. Newest first, except where the caller catches up.

use engine::observe::ClusterName;
use engine::report::EventKind;
use jiff::Timestamp;
use sqlx::{Row, SqliteExecutor, SqlitePool};

use super::list::part;
use super::new::{Checkpoint, Kept};
use super::row::{ActionRow, EventRow, Preference, SnapshotRow};
use super::time;

/// The columns that [`EventRow::read`] reads.
macro_rules! event_columns {
    () => {
        "id, timestamp, at_ms, type, severity, source, node, summary, details, resolved, resolved_at, \
         resolved_ms, resolved_by, uuid, cluster, condition, subject, incident_id, title, message"
    };
}
pub(super) use event_columns;

/// The columns that [`ActionRow::read`] reads.
macro_rules! action_columns {
    () => {
        "id, timestamp, at_ms, incident_key, incident_id, runbook_id, condition, action, action_args, result, \
         result_details, verification_result, autonomy_level, node, attempt_number, escalated, email_sent, cluster"
    };
}
pub(super) use action_columns;

macro_rules! events {
    ($tail:literal) => {
        sqlx::query(concat!("SELECT ", event_columns!(), " FROM events ", $tail))
    };
}

macro_rules! actions {
    ($tail:literal) => {
        sqlx::query(concat!("SELECT ", action_columns!(), " FROM autonomy_actions ", $tail))
    };
}

type Rows<T> = Result<Vec<T>, sqlx::Error>;

pub(super) async fn recent_events(pool: &SqlitePool, limit: i64) -> Rows<EventRow> {
    let rows = events!("ORDER BY id DESC LIMIT ?1").bind(limit).fetch_all(pool).await?;
    Ok(rows.iter().map(EventRow::read).collect())
}

/// What waits to be over. News and heartbeats of the monitor that belong to no incident never will be, so they do
/// not count, although their `resolved` is 0 as the original has it. An index has the same words (0002_ours.sql).
macro_rules! unresolved {
    () => {
        "coalesce(resolved, 0) = 0 \
         AND NOT (source = 'monitor' AND type IN ('status', 'metric') AND incident_id IS NULL)"
    };
}
pub(super) use unresolved;

pub(super) const UNRESOLVED: &str =
    concat!("SELECT ", event_columns!(), " FROM events WHERE ", unresolved!(), " ORDER BY id DESC LIMIT ?1");

/// The column holds seconds, so the second itself is looked at again by its milliseconds. A row without them may
/// be from any part of its second and is given. `:` follows `9`: a text that begins with no digit is no time, and
/// is not later than every other.
pub(super) const SINCE: &str = concat!(
    "SELECT ",
    event_columns!(),
    " FROM events WHERE timestamp >= ?1 AND timestamp < ':' \
     AND (timestamp > ?1 OR at_ms IS NULL OR at_ms >= ?2) \
     ORDER BY timestamp DESC, id DESC LIMIT ?3"
);

pub(super) async fn event(on: impl SqliteExecutor<'_>, id: i64) -> Result<Option<EventRow>, sqlx::Error> {
    let row = events!("WHERE id = ?1").bind(id).fetch_optional(on).await?;
    Ok(row.as_ref().map(EventRow::read))
}

pub(super) async fn unresolved_events(pool: &SqlitePool, limit: i64) -> Rows<EventRow> {
    let rows = sqlx::query(UNRESOLVED).bind(limit).fetch_all(pool).await?;
    Ok(rows.iter().map(EventRow::read).collect())
}

pub(super) async fn events_since(pool: &SqlitePool, since: Timestamp, limit: i64) -> Rows<EventRow> {
    let rows = sqlx::query(SINCE).bind(time::to_text(since)).bind(since.as_millisecond()).bind(limit);
    Ok(rows.fetch_all(pool).await?.iter().map(EventRow::read).collect())
}

pub(super) async fn events_after_seq(pool: &SqlitePool, seq: i64, limit: i64) -> Rows<EventRow> {
    let rows = events!("WHERE id > ?1 ORDER BY id LIMIT ?2").bind(seq).bind(limit).fetch_all(pool).await?;
    Ok(rows.iter().map(EventRow::read).collect())
}

pub(super) async fn events_by_node(pool: &SqlitePool, node: &str, limit: i64) -> Rows<EventRow> {
    let rows = events!("WHERE node = ?1 ORDER BY id DESC LIMIT ?2").bind(node).bind(limit);
    Ok(rows.fetch_all(pool).await?.iter().map(EventRow::read).collect())
}

pub(super) async fn events_by_type(pool: &SqlitePool, kind: EventKind, limit: i64) -> Rows<EventRow> {
    let rows = events!("WHERE type = ?1 ORDER BY id DESC LIMIT ?2").bind(kind.as_str()).bind(limit);
    Ok(rows.fetch_all(pool).await?.iter().map(EventRow::read).collect())
}

pub(super) async fn actions(pool: &SqlitePool, limit: i64) -> Rows<ActionRow> {
    let rows = actions!("ORDER BY id DESC LIMIT ?1").bind(limit).fetch_all(pool).await?;
    Ok(rows.iter().map(ActionRow::read).collect())
}

pub(super) async fn actions_by_incident_key(pool: &SqlitePool, key: &str, limit: i64) -> Rows<ActionRow> {
    let rows = actions!("WHERE incident_key = ?1 ORDER BY id DESC LIMIT ?2").bind(key).bind(limit);
    Ok(rows.fetch_all(pool).await?.iter().map(ActionRow::read).collect())
}

/// Something was done in an attempt, so what a guardrail blocked and what went to a person does not count.
pub(super) async fn attempt_count_since(
    pool: &SqlitePool,
    key: &str,
    since: Timestamp,
) -> Result<u64, sqlx::Error> {
    let row = sqlx::query(
        "SELECT COUNT(*) AS attempts FROM autonomy_actions WHERE incident_key = ?1 \
         AND (timestamp > ?2 OR (timestamp = ?2 AND (at_ms IS NULL OR at_ms >= ?3))) \
         AND result IN ('success', 'failure')",
    )
    .bind(key)
    .bind(time::to_text(since))
    .bind(since.as_millisecond())
    .fetch_one(pool)
    .await?;
    row.try_get::<i64, _>("attempts").map(i64::unsigned_abs)
}

pub(super) async fn preference(pool: &SqlitePool, key: &str) -> Result<Option<Preference>, sqlx::Error> {
    let row = sqlx::query("SELECT key, value, updated_at FROM preferences WHERE key = ?1").bind(key);
    Ok(row.fetch_optional(pool).await?.as_ref().map(Preference::read))
}

/// By key, as many as fit into a page.
pub(super) async fn preferences(pool: &SqlitePool, limit: i64) -> Rows<Preference> {
    let rows =
        sqlx::query("SELECT key, value, updated_at FROM preferences ORDER BY key LIMIT ?1").bind(limit);
    let bytes = |row: &Preference| row.key.len() + row.value.len();
    Ok(part(rows.fetch(pool), limit, Preference::read, bytes).await?.rows)
}

pub(super) async fn latest_snapshot(
    pool: &SqlitePool,
    cluster: &ClusterName,
) -> Result<Option<SnapshotRow>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT id, timestamp, at_ms, cluster, snapshot FROM cluster_snapshots WHERE cluster = ?1 \
         ORDER BY id DESC LIMIT 1",
    )
    .bind(cluster.as_str());
    Ok(row.fetch_optional(pool).await?.as_ref().map(SnapshotRow::read))
}

pub(super) async fn checkpoint(
    pool: &SqlitePool,
    cluster: &ClusterName,
) -> Result<Option<Kept>, sqlx::Error> {
    let row = sqlx::query("SELECT at_ms, state, journal_seq FROM checkpoints WHERE cluster = ?1");
    let Some(row) = row.bind(cluster.as_str()).fetch_optional(pool).await? else { return Ok(None) };
    let at = Timestamp::from_millisecond(row.try_get("at_ms")?).unwrap_or(Timestamp::UNIX_EPOCH);
    let checkpoint = Checkpoint { cluster: cluster.clone(), at, state: row.try_get("state")? };
    Ok(Some(Kept { checkpoint, seq: row.try_get("journal_seq")? }))
}

/// Whether an incident of a cluster is open, as far as the events say. `+` has SQLite search among what waits to be
/// over, not among all incidents.
pub(super) const OPEN_INCIDENT: &str = concat!(
    "SELECT EXISTS (SELECT 1 FROM events WHERE ",
    unresolved!(),
    " AND +cluster = ?1 AND +incident_id IS NOT NULL) AS open"
);

pub(super) async fn has_open_incident(pool: &SqlitePool, cluster: &ClusterName) -> Result<bool, sqlx::Error> {
    sqlx::query(OPEN_INCIDENT).bind(cluster.as_str()).fetch_one(pool).await?.try_get("open")
}
