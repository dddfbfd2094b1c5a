//! Every statement that changes something, each as a [`Write`].

use std::collections::HashMap;
use std::sync::Arc;

use engine::report::{EventKind, Severity};
use jiff::Timestamp;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::chain::{Head, Signer};
use super::incidents;
use super::journal::{self, Kind};
use super::mute;
use super::new::{Checkpoint, NewAction, NewEntry, NewEvent};
use super::outbox;
use super::read::{action_columns, event_columns};
use super::row::{ActionRow, EventRow, Preference, SnapshotRow, Source};
use super::time;
use super::write::Write;
use crate::kill_point;

/// Rows in one statement: with 21 columns each far below SQLite's 32,766 parameters, and the text of a full statement
/// is always the same, so it is parsed once.
const ROWS_TOGETHER: usize = 100;

/// What one turn of an engine says: entries for the journal, events that are their projection, and where the engine
/// goes on after them. All or nothing.
pub(super) struct SaveTurn {
    pub(super) signer: Signer,
    pub(super) entries: Vec<NewEntry>,
    pub(super) events: Vec<NewEvent>,
    pub(super) checkpoint: Option<Checkpoint>,
}

/// What a turn became.
pub(super) struct Saved {
    pub(super) rows: Vec<Arc<EventRow>>,
    /// Where the journal ends, if something was appended.
    pub(super) head: Option<Head>,
}

impl Write for SaveTurn {
    type Output = Saved;

    async fn apply(&self, conn: &mut SqliteConnection) -> Result<Self::Output, sqlx::Error> {
        let SaveTurn { signer, entries, events, checkpoint } = self;
        let mut head = None;
        // Of the incidents for which people are called, the row that says so.
        let mut calls = HashMap::new();
        if !entries.is_empty() {
            let end = journal::head(conn).await?;
            head = Some(journal::append(conn, signer, end, entries).await?);
            kill_point::of("turn.entries", || self.kinds());
            incidents::project(conn, end.seq, entries).await?;
            for action in entries.iter().filter_map(|entry| entry.action.as_deref()) {
                let row = insert_action(conn, action).await?;
                if action.escalated {
                    calls.insert(action.incident_id.as_str(), row.id);
                }
            }
        }
        let rows = save_events(conn, events, &calls).await?;
        if let Some(checkpoint) = checkpoint {
            // Nobody else appends this cluster's entries, so its state includes all of them up to here.
            let end = match head {
                Some(head) => head,
                None => journal::head(conn).await?,
            };
            upsert_checkpoint(conn, checkpoint, end.seq).await?;
        }
        kill_point::of("turn.events", || self.kinds());
        Ok(Saved { rows, head })
    }

    fn events(saved: &Self::Output) -> &[Arc<EventRow>] {
        &saved.rows
    }

    fn head(saved: &Self::Output) -> Option<Head> {
        saved.head
    }

    fn kinds(&self) -> Vec<&'static str> {
        self.entries.iter().map(|entry| entry.kind.as_str()).collect()
    }
}

/// Stores fitted events, and puts into the outbox what people are told of them. `calls`: of the incidents for which people are
/// called, the row that says so.
pub(super) async fn save_events(
    conn: &mut SqliteConnection,
    events: &[NewEvent],
    calls: &HashMap<&str, i64>,
) -> Result<Vec<Arc<EventRow>>, sqlx::Error> {
    resolve_earlier(conn, events).await?;
    // What people are not told is recorded and shown all the same.
    let marked = mute::marked(conn, events).await;
    let events = marked.as_deref().unwrap_or(events);
    let rows = insert_events(conn, events).await?;
    outbox::put(conn, events, &rows, calls).await?;
    Ok(rows)
}

/// Inserts fitted events in their order. An incident that ends among them takes those before it along.
async fn insert_events(
    conn: &mut SqliteConnection,
    events: &[NewEvent],
) -> Result<Vec<Arc<EventRow>>, sqlx::Error> {
    let mut ends = vec![None; events.len()];
    let mut ended = HashMap::new();
    for (event, end) in events.iter().zip(&mut ends).rev() {
        *end = if event.resolves {
            Some(event)
        } else {
            incident(event).and_then(|key| ended.get(&key).copied())
        };
        ended.extend(over(event).map(|key| (key, event)));
    }
    let mut rows = Vec::with_capacity(events.len());
    for (chunk, ends) in events.chunks(ROWS_TOGETHER).zip(ends.chunks(ROWS_TOGETHER)) {
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO events (timestamp, at_ms, type, severity, source, node, summary, details, resolved, \
             resolved_at, resolved_ms, resolved_by, uuid, cluster, condition, subject, incident_id, title, message) ",
        );
        insert.push_values(chunk.iter().zip(ends), |mut row, (event, end)| {
            let end: Option<&NewEvent> = *end;
            row.push_bind(time::to_text(event.at))
                .push_bind(event.at.as_millisecond())
                .push_bind(event.kind.as_str())
                .push_bind(event.severity.as_str())
                .push_bind(event.source.as_str())
                .push_bind(event.node.as_deref())
                .push_bind(event.summary.as_deref().unwrap_or_default())
                .push_bind(event.details.as_deref())
                .push_bind(end.is_some())
                .push_bind(end.map(|end| time::to_text(end.at)))
                .push_bind(end.map(|end| end.at.as_millisecond()))
                .push_bind(end.map(|end| end.source.as_str()))
                .push_bind(event.uuid.to_string())
                .push_bind(event.cluster.as_deref())
                .push_bind(event.condition.as_deref())
                .push_bind(event.subject.as_deref())
                .push_bind(event.incident_id.as_deref())
                .push_bind(event.title.as_str())
                .push_bind(event.message.as_str());
        });
        let done = insert.build().execute(&mut *conn).await?;
        // One writer, so the numbers of one statement follow each other, unless a foreign trigger left some out.
        let count = i64::try_from(chunk.len()).unwrap_or(i64::MAX);
        if done.rows_affected() != chunk.len() as u64 {
            return Err(sqlx::Error::Protocol("a trigger in the store kept events out of it".into()));
        }
        let first = done.last_insert_rowid() - count + 1;
        rows.extend((first..).zip(chunk).map(|(id, event)| Arc::new(EventRow::of(event, id))));
    }
    Ok(rows)
}

/// By cluster as well: two engines may make the same id.
fn incident(event: &NewEvent) -> Option<(&str, Option<&str>)> {
    Some((event.incident_id.as_deref()?, event.cluster.as_deref()))
}

/// The incidents that an event ends, and the groups that end with them.
fn over(event: &NewEvent) -> impl Iterator<Item = (&str, Option<&str>)> {
    let cluster = event.cluster.as_deref();
    let groups = event.also_ends.iter().map(move |id| (id.as_str(), cluster));
    incident(event).into_iter().chain(groups).filter(|_| event.resolves)
}

/// The incidents are over, so is what was told of them before.
///
/// `+` keeps SQLite from searching by `resolved`, which is 0 in nearly every row, and has it search by the incident.
pub(super) const RESOLVE_EARLIER: &str = "UPDATE events SET resolved = 1, resolved_at = over.value ->> 2, \
     resolved_ms = over.value ->> 3, resolved_by = over.value ->> 4 FROM json_each(?1) AS over \
     WHERE events.incident_id = over.value ->> 0 AND events.cluster IS over.value ->> 1 AND +events.resolved = 0";

async fn resolve_earlier(conn: &mut SqliteConnection, events: &[NewEvent]) -> Result<(), sqlx::Error> {
    let mut ends = HashMap::new();
    for event in events {
        for key in over(event) {
            ends.entry(key).or_insert(event);
        }
    }
    if ends.is_empty() {
        return Ok(());
    }
    let over = ends.into_iter().map(|((incident, cluster), end)| {
        (incident, cluster, time::to_text(end.at), end.at.as_millisecond(), end.source.as_str())
    });
    let over = serde_json::to_string(&over.collect::<Vec<_>>());
    let over = over.map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query(RESOLVE_EARLIER).bind(over).execute(conn).await.map(drop)
}

async fn upsert_checkpoint(
    conn: &mut SqliteConnection,
    checkpoint: &Checkpoint,
    seq: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO checkpoints (cluster, at_ms, state, journal_seq) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (cluster) DO UPDATE SET at_ms = excluded.at_ms, state = excluded.state, \
         journal_seq = excluded.journal_seq",
    )
    .bind(checkpoint.cluster.as_str())
    .bind(checkpoint.at.as_millisecond())
    .bind(checkpoint.state.as_str())
    .bind(seq)
    .execute(conn)
    .await
    .map(drop)
}

/// A cluster's engine begins anew: what it had told and not ended nobody else would ever end.
pub(super) struct StartAnew {
    pub(super) signer: Signer,
    pub(super) reason: String,
    /// Where the new engine begins.
    pub(super) checkpoint: Checkpoint,
}

/// Open incidents' events of one cluster. `+` has SQLite search among what waits to be over, not among all incidents.
pub(super) const CLOSE_OPEN: &str = "UPDATE events SET resolved = 1, resolved_at = ?1, resolved_ms = ?2, resolved_by = ?3 \
     WHERE coalesce(resolved, 0) = 0 AND NOT (source = 'monitor' AND type IN ('status', 'metric') AND incident_id IS NULL) \
     AND +cluster = ?4 AND +incident_id IS NOT NULL";

impl Write for StartAnew {
    type Output = Saved;

    async fn apply(&self, conn: &mut SqliteConnection) -> Result<Self::Output, sqlx::Error> {
        let StartAnew { signer, reason, checkpoint } = self;
        let (cluster, at) = (checkpoint.cluster.as_str(), checkpoint.at);
        let closed = sqlx::query(CLOSE_OPEN)
            .bind(time::to_text(at))
            .bind(at.as_millisecond())
            .bind(Source::System.as_str())
            .bind(cluster)
            .execute(&mut *conn)
            .await?
            .rows_affected();
        let entry = serde_json::json!({ "reason": reason, "closed": closed }).to_string();
        let entry = NewEntry {
            at,
            cluster: Some(cluster.to_owned()),
            kind: Kind::Anew,
            entry,
            told: None,
            about: None,
            action: None,
        };
        let next = journal::head(conn).await?.seq.saturating_add(1);
        incidents::end_all(conn, cluster, at, next).await?;
        let title = format!("Watching {cluster} begins anew");
        let over = match closed {
            0 => "no event was open".to_owned(),
            1 => "1 event that was open is closed".to_owned(),
            n => format!("{n} events that were open are closed"),
        };
        let message = format!("{reason}; {over}, and what is wrong is told again");
        let event =
            NewEvent::plain(at, EventKind::Status, Severity::Warning, Source::System, &title, &message);
        // It is over with itself: nothing would ever end it.
        let event = NewEvent { cluster: Some(cluster.to_owned()), resolves: true, ..event }.fitted();
        let (signer, checkpoint) = (signer.clone(), Some(checkpoint.clone()));
        let turn = SaveTurn { signer, entries: vec![entry], events: vec![event], checkpoint };
        turn.apply(conn).await
    }

    fn events(saved: &Self::Output) -> &[Arc<EventRow>] {
        &saved.rows
    }

    fn head(saved: &Self::Output) -> Option<Head> {
        saved.head
    }
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
        insert_action(conn, &self.0).await
    }
}

async fn insert_action(conn: &mut SqliteConnection, action: &NewAction) -> Result<ActionRow, sqlx::Error> {
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
pub(super) enum Aged {
    Events,
    Incidents,
    Actions,
    Snapshots,
}

/// One batch of what is older than a time. The oldest numbers go first; how many went is returned.
pub(super) struct Prune {
    pub(super) aged: Aged,
    pub(super) before: Timestamp,
    pub(super) batch: i64,
}

impl Write for Prune {
    type Output = u64;

    async fn apply(&self, conn: &mut SqliteConnection) -> Result<Self::Output, sqlx::Error> {
        let sql = match self.aged {
            Aged::Incidents => return incidents::prune(conn, self.before, self.batch).await,
            Aged::Events => {
                "DELETE FROM events WHERE id IN \
                 (SELECT id FROM events WHERE timestamp < ?1 ORDER BY timestamp LIMIT ?2)"
            }
            Aged::Actions => {
                "DELETE FROM autonomy_actions WHERE id IN \
                 (SELECT id FROM autonomy_actions WHERE timestamp < ?1 ORDER BY timestamp LIMIT ?2)"
            }
            Aged::Snapshots => {
                "DELETE FROM cluster_snapshots WHERE id IN \
                 (SELECT id FROM cluster_snapshots WHERE timestamp < ?1 ORDER BY id LIMIT ?2)"
            }
        };
        let done = sqlx::query(sql).bind(time::to_text(self.before)).bind(self.batch).execute(conn).await?;
        Ok(done.rows_affected())
    }
}
