//! Every statement that changes something, each as a [`Write`].

use std::sync::Arc;

use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::new::{Checkpoint, NewAction, NewEvent};
use super::read::{action_columns, event_columns};
use super::row::{ActionRow, EventRow, Preference, SnapshotRow};
use super::time;
use super::write::Write;

/// Who ends an incident's events when the engine says that it is over.
const MONITOR: &str = "monitor";

/// Events, in their order, and where the engine goes on after them: both or neither.
pub(super) struct SaveEvents {
    pub(super) events: Vec<NewEvent>,
    pub(super) checkpoint: Option<Checkpoint>,
}

impl Write for SaveEvents {
    type Output = Vec<Arc<EventRow>>;

    async fn apply(&self, conn: &mut SqliteConnection) -> Result<Self::Output, sqlx::Error> {
        let mut rows = Vec::with_capacity(self.events.len());
        for event in &self.events {
            if event.resolves {
                resolve_earlier(conn, event).await?;
            }
            rows.push(Arc::new(insert_event(conn, event).await?));
        }
        if let Some(checkpoint) = &self.checkpoint {
            upsert_checkpoint(conn, checkpoint).await?;
        }
        Ok(rows)
    }

    fn events(rows: &Self::Output) -> &[Arc<EventRow>] {
        rows
    }
}

async fn insert_event(conn: &mut SqliteConnection, event: &NewEvent) -> Result<EventRow, sqlx::Error> {
    let resolved_at = event.resolves.then_some(event.at);
    let row = sqlx::query(concat!(
        "INSERT INTO events (timestamp, at_ms, type, severity, source, node, summary, details, resolved, \
         resolved_at, resolved_ms, resolved_by, uuid, cluster, condition, subject, incident_id, title, message) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19) RETURNING ",
        event_columns!()
    ))
    .bind(time::to_text(event.at))
    .bind(event.at.as_millisecond())
    .bind(event.kind.as_str())
    .bind(event.severity.as_str())
    .bind(event.source.as_str())
    .bind(event.node.as_deref())
    .bind(event.summary.as_deref().unwrap_or_default())
    .bind(event.details.as_deref())
    .bind(event.resolves)
    .bind(resolved_at.map(time::to_text))
    .bind(resolved_at.map(Timestamp::as_millisecond))
    .bind(event.resolves.then_some(MONITOR))
    .bind(event.uuid.to_string())
    .bind(event.cluster.as_deref())
    .bind(event.condition.as_deref())
    .bind(event.subject.as_deref())
    .bind(event.incident_id.as_deref())
    .bind(event.title.as_str())
    .bind(event.message.as_str())
    .fetch_one(conn)
    .await?;
    Ok(EventRow::read(&row))
}

/// The incident is over, so is what was told of it. By cluster as well: two engines may make the same id.
///
/// `+` keeps SQLite from searching by `resolved`, which is 0 in nearly every row, and has it search by the incident.
pub(super) const RESOLVE_EARLIER: &str = "UPDATE events SET resolved = 1, resolved_at = ?1, resolved_ms = ?2, resolved_by = ?3 \
     WHERE incident_id = ?4 AND cluster IS ?5 AND +resolved = 0";

async fn resolve_earlier(conn: &mut SqliteConnection, event: &NewEvent) -> Result<(), sqlx::Error> {
    let Some(incident) = event.incident_id.as_deref() else { return Ok(()) };
    sqlx::query(RESOLVE_EARLIER)
        .bind(time::to_text(event.at))
        .bind(event.at.as_millisecond())
        .bind(MONITOR)
        .bind(incident)
        .bind(event.cluster.as_deref())
        .execute(conn)
        .await
        .map(drop)
}

async fn upsert_checkpoint(conn: &mut SqliteConnection, checkpoint: &Checkpoint) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO checkpoints (cluster, at_ms, state) VALUES (?1, ?2, ?3) \
         ON CONFLICT (cluster) DO UPDATE SET at_ms = excluded.at_ms, state = excluded.state",
    )
    .bind(checkpoint.cluster.as_str())
    .bind(checkpoint.at.as_millisecond())
    .bind(checkpoint.state.as_str())
    .execute(conn)
    .await
    .map(drop)
}

/// A person says that it is over. `None`: there is no such event. One that is over already stays as it is.
pub(super) struct ResolveEvent {
    pub(super) id: i64,
    pub(super) by: String,
    pub(super) at: Timestamp,
}

impl Write for ResolveEvent {
    type Output = Option<EventRow>;

    async fn apply(&self, conn: &mut SqliteConnection) -> Result<Self::Output, sqlx::Error> {
        sqlx::query(
            "UPDATE events SET resolved = 1, resolved_at = ?1, resolved_ms = ?2, resolved_by = ?3 \
             WHERE id = ?4 AND (resolved = 0 OR resolved IS NULL)",
        )
        .bind(time::to_text(self.at))
        .bind(self.at.as_millisecond())
        .bind(self.by.as_str())
        .bind(self.id)
        .execute(&mut *conn)
        .await?;
        let row = sqlx::query(concat!("SELECT ", event_columns!(), " FROM events WHERE id = ?1"))
            .bind(self.id)
            .fetch_optional(conn)
            .await?;
        Ok(row.as_ref().map(EventRow::read))
    }
}

pub(super) struct SaveAction(pub(super) NewAction);

impl Write for SaveAction {
    type Output = ActionRow;

    async fn apply(&self, conn: &mut SqliteConnection) -> Result<Self::Output, sqlx::Error> {
        let SaveAction(action) = self;
        let row = sqlx::query(concat!(
            "INSERT INTO autonomy_actions (timestamp, at_ms, incident_key, incident_id, runbook_id, condition, \
             action, action_args, result, result_details, verification_result, autonomy_level, node, \
             attempt_number, escalated, email_sent, cluster) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17) RETURNING ",
            action_columns!()
        ))
        .bind(time::to_text(action.at))
        .bind(action.at.as_millisecond())
        .bind(action.incident_key.as_str())
        .bind(action.incident_id.as_str())
        .bind(action.runbook_id.as_str())
        .bind(action.condition.as_str())
        .bind(action.action.as_str())
        .bind(action.action_args.as_deref())
        .bind(action.result.as_str())
        .bind(action.result_details.as_deref())
        .bind(action.verification_result.as_deref())
        .bind(i64::from(action.autonomy_level))
        .bind(action.node.as_deref())
        .bind(i64::from(action.attempt_number))
        .bind(action.escalated)
        .bind(action.email_sent)
        .bind(action.cluster.as_deref())
        .fetch_one(conn)
        .await?;
        Ok(ActionRow::read(&row))
    }
}

pub(super) struct SetPreference {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) at: Timestamp,
}

impl Write for SetPreference {
    type Output = Preference;

    async fn apply(&self, conn: &mut SqliteConnection) -> Result<Self::Output, sqlx::Error> {
        let row = sqlx::query(
            "INSERT INTO preferences (key, value, updated_at) VALUES (?1, ?2, ?3) \
             ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at \
             RETURNING key, value, updated_at",
        )
        .bind(self.key.as_str())
        .bind(self.value.as_str())
        .bind(time::to_text(self.at))
        .fetch_one(conn)
        .await?;
        Ok(Preference::read(&row))
    }
}

pub(super) struct SaveSnapshot {
    pub(super) cluster: String,
    pub(super) at: Timestamp,
    pub(super) snapshot: String,
}

impl Write for SaveSnapshot {
    type Output = SnapshotRow;

    async fn apply(&self, conn: &mut SqliteConnection) -> Result<Self::Output, sqlx::Error> {
        let row = sqlx::query(
            "INSERT INTO cluster_snapshots (timestamp, at_ms, cluster, snapshot) VALUES (?1, ?2, ?3, ?4) \
             RETURNING id, timestamp, at_ms, cluster, snapshot",
        )
        .bind(time::to_text(self.at))
        .bind(self.at.as_millisecond())
        .bind(self.cluster.as_str())
        .bind(self.snapshot.as_str())
        .fetch_one(conn)
        .await?;
        Ok(SnapshotRow::read(&row))
    }
}

/// What is kept for a time only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Events,
    Actions,
    Snapshots,
}

/// One batch of what is older than a time. The oldest numbers go first; how many went is returned.
pub(super) struct Prune {
    pub(super) kept: Kept,
    pub(super) before: Timestamp,
    pub(super) batch: i64,
}

impl Write for Prune {
    type Output = u64;

    async fn apply(&self, conn: &mut SqliteConnection) -> Result<Self::Output, sqlx::Error> {
        let sql = match self.kept {
            Kept::Events => {
                "DELETE FROM events WHERE id IN \
                 (SELECT id FROM events WHERE timestamp < ?1 ORDER BY timestamp LIMIT ?2)"
            }
            Kept::Actions => {
                "DELETE FROM autonomy_actions WHERE id IN \
                 (SELECT id FROM autonomy_actions WHERE timestamp < ?1 ORDER BY timestamp LIMIT ?2)"
            }
            Kept::Snapshots => {
                "DELETE FROM cluster_snapshots WHERE id IN \
                 (SELECT id FROM cluster_snapshots WHERE timestamp < ?1 ORDER BY id LIMIT ?2)"
            }
        };
        let done = sqlx::query(sql).bind(time::to_text(self.before)).bind(self.batch).execute(conn).await?;
        Ok(done.rows_affected())
    }
}
