//! What becomes of a message: each step of it as a write.

use std::collections::HashMap;
use std::sync::Arc;

use engine::report::{EventKind, Severity, Urgency};
use jiff::{SignedDuration, Timestamp};
use sqlx::{Row, SqliteConnection};
use uuid::Uuid;

use super::super::chain::Head;
use super::super::change::{SaveTurn, Saved, save_events};
use super::super::new::{NewEvent, cut};
use super::super::row::{EventRow, Source, whole};
use super::super::write::Write;
use super::{ChannelKind, NewChannel, end_told, mark_sent, ms};

/// Longest words of an error that are kept, in bytes: a mail server may say a whole page.
const ERROR_MAX: usize = 500;
/// A channel that has failed for so long is told as an event: a server that restarts is back by then.
const TOLD_AFTER: SignedDuration = SignedDuration::from_mins(15);
/// A report that waited for so long is news to nobody.
const REPORT_KEPT: SignedDuration = SignedDuration::from_hours(2 * 24);
/// As long as mail servers try.
const CALL_KEPT: SignedDuration = SignedDuration::from_hours(5 * 24);

/// From now on these are the channels. What waits for another one is given up.
pub(in super::super) struct UseChannels {
    pub(in super::super) channels: Vec<NewChannel>,
    pub(in super::super) at: Timestamp,
}

impl Write for UseChannels {
    type Output = ();

    async fn apply(&self, conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        sqlx::query("UPDATE outbox_channels SET in_use = 0").execute(&mut *conn).await?;
        for channel in &self.channels {
            // Who starts it anew may have mended what was wrong: it is tried at once.
            sqlx::query(
                "INSERT INTO outbox_channels (name, kind, least, in_use) VALUES (?1, ?2, ?3, 1) \
                 ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, least = excluded.least, in_use = 1, \
                 next_try_ms = NULL",
            )
            .bind(channel.name.as_str())
            .bind(channel.kind.as_str())
            .bind(channel.least.as_str())
            .execute(&mut *conn)
            .await?;
        }
        // What tells that one fails which is not there any more would never be over.
        let told = "SELECT told_event FROM outbox_channels WHERE in_use = 0 AND told_event IS NOT NULL";
        for row in sqlx::query(told).fetch_all(&mut *conn).await? {
            end_told(conn, row.try_get("told_event")?, self.at).await?;
        }
        sqlx::query("UPDATE outbox_channels SET told_event = NULL WHERE in_use = 0")
            .execute(&mut *conn)
            .await?;
        sqlx::query(
            "UPDATE outbox SET gave_up_ms = ?1, last_error = 'not configured any more' \
             WHERE delivered_ms IS NULL AND gave_up_ms IS NULL \
             AND channel IN (SELECT name FROM outbox_channels WHERE in_use = 0)",
        )
        .bind(ms(self.at))
        .execute(conn)
        .await
        .map(drop)
    }
}

/// Rows become a message, which is about to be tried.
pub(in super::super) struct Begin {
    pub(in super::super) ids: Vec<i64>,
    pub(in super::super) message: Uuid,
}

impl Write for Begin {
    type Output = ();

    async fn apply(&self, conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        sqlx::query(
            "UPDATE outbox SET message = coalesce(message, ?2), tries = tries + 1 \
             WHERE id IN (SELECT value FROM json_each(?1))",
        )
        .bind(json(&self.ids))
        .bind(self.message.to_string())
        .execute(conn)
        .await
        .map(drop)
    }
}

fn json(ids: &[i64]) -> String {
    serde_json::Value::from(ids).to_string()
}

/// A message was accepted.
pub(in super::super) struct Deliver {
    pub(in super::super) channel: String,
    pub(in super::super) kind: ChannelKind,
    pub(in super::super) ids: Vec<i64>,
    /// Whether it was a report, after which the next one waits.
    pub(in super::super) report: bool,
    pub(in super::super) at: Timestamp,
}

impl Write for Deliver {
    type Output = Saved;

    async fn apply(&self, conn: &mut SqliteConnection) -> Result<Saved, sqlx::Error> {
        let ids = json(&self.ids);
        sqlx::query(
            "UPDATE outbox SET delivered_ms = ?2, last_error = NULL \
             WHERE id IN (SELECT value FROM json_each(?1))",
        )
        .bind(ids.as_str())
        .bind(ms(self.at))
        .execute(&mut *conn)
        .await?;
        if self.kind == ChannelKind::Mail {
            mark_sent(conn, &ids).await?;
        }
        let before = state(conn, &self.channel).await?;
        sqlx::query(
            "UPDATE outbox_channels SET failures = 0, failing_since_ms = NULL, next_try_ms = NULL, \
             last_ok_ms = ?2, reported_ms = iif(?3, ?2, reported_ms), delivered = delivered + 1, untold = 0, \
             told_event = NULL WHERE name = ?1",
        )
        .bind(self.channel.as_str())
        .bind(ms(self.at))
        .bind(self.report)
        .execute(&mut *conn)
        .await?;
        let Some(told) = before.told else { return nothing() };
        end_told(conn, told, self.at).await?;
        let title = format!("{} works again", shown(&self.channel));
        let message = "a message was accepted; what waited for it is delivered";
        let event =
            NewEvent::plain(self.at, EventKind::Status, Severity::Info, Source::System, &title, message);
        tell(conn, NewEvent { resolves: true, ..event }, &self.channel).await
    }

    fn events(saved: &Saved) -> &[Arc<EventRow>] {
        SaveTurn::events(saved)
    }

    fn head(saved: &Saved) -> Option<Head> {
        SaveTurn::head(saved)
    }
}

/// A message was not accepted.
pub(in super::super) struct Fail {
    pub(in super::super) channel: String,
    pub(in super::super) ids: Vec<i64>,
    pub(in super::super) error: String,
    /// Whether no later try would be.
    pub(in super::super) refused: bool,
    pub(in super::super) at: Timestamp,
    pub(in super::super) next_try: Timestamp,
}

impl Write for Fail {
    type Output = Saved;

    async fn apply(&self, conn: &mut SqliteConnection) -> Result<Saved, sqlx::Error> {
        let (at, mut error) = (self.at, self.error.clone());
        cut(&mut error, ERROR_MAX);
        sqlx::query(
            "UPDATE outbox SET last_error = ?2, gave_up_ms = ?3 WHERE id IN (SELECT value FROM json_each(?1))",
        )
        .bind(json(&self.ids))
        .bind(error.as_str())
        .bind(self.refused.then(|| ms(at)))
        .execute(&mut *conn)
        .await?;
        let refused = if self.refused { i64::try_from(self.ids.len()).unwrap_or(i64::MAX) } else { 0 };
        let expired = self.expire(conn).await?;
        // Who refuses one message may take the next: only what is about the channel holds it up.
        sqlx::query(
            "UPDATE outbox_channels SET last_error = ?2, last_error_ms = ?3, refused = refused + ?4, \
             expired = expired + ?5, untold = untold + ?4 + ?5, failures = failures + ?6, \
             failing_since_ms = coalesce(failing_since_ms, ?3), next_try_ms = iif(?6, ?7, next_try_ms) \
             WHERE name = ?1",
        )
        .bind(self.channel.as_str())
        .bind(error.as_str())
        .bind(ms(at))
        .bind(refused)
        .bind(expired)
        .bind(!self.refused)
        .bind(ms(self.next_try))
        .execute(&mut *conn)
        .await?;
        let state = state(conn, &self.channel).await?;
        let since = state.failing_since.unwrap_or(at);
        let long = at.duration_since(since) >= TOLD_AFTER;
        if state.told.is_some() || !(long || self.refused) {
            return nothing();
        }
        let title = format!("{} fails", shown(&self.channel));
        let message = if self.refused {
            format!("it refused a message for good, which is given up: {error}")
        } else {
            let since = since.strftime("%Y-%m-%d %H:%M:%S UTC");
            format!("since {since} nothing was accepted, and what is to be told waits: {error}")
        };
        let event = NewEvent::plain(at, EventKind::Alert, Severity::Error, Source::System, &title, &message);
        let saved = tell(conn, event, &self.channel).await?;
        sqlx::query("UPDATE outbox_channels SET told_event = ?2 WHERE name = ?1")
            .bind(self.channel.as_str())
            .bind(saved.rows.first().map(|row| row.id))
            .execute(conn)
            .await?;
        Ok(saved)
    }

    fn events(saved: &Saved) -> &[Arc<EventRow>] {
        SaveTurn::events(saved)
    }

    fn head(saved: &Saved) -> Option<Head> {
        SaveTurn::head(saved)
    }
}

impl Fail {
    /// What has waited for too long is given up.
    async fn expire(&self, conn: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
        let before = |kept| ms(self.at.checked_sub(kept).unwrap_or(Timestamp::MIN));
        let gone = sqlx::query(
            "UPDATE outbox SET gave_up_ms = ?2, last_error = 'waited for too long' WHERE channel = ?1 \
             AND delivered_ms IS NULL AND gave_up_ms IS NULL AND made_ms < iif(urgency = 'call', ?3, ?4)",
        )
        .bind(self.channel.as_str())
        .bind(ms(self.at))
        .bind(before(CALL_KEPT))
        .bind(before(REPORT_KEPT))
        .execute(conn)
        .await?;
        Ok(i64::try_from(gone.rows_affected()).unwrap_or(i64::MAX))
    }
}

struct State {
    failing_since: Option<Timestamp>,
    told: Option<i64>,
}

async fn state(conn: &mut SqliteConnection, channel: &str) -> Result<State, sqlx::Error> {
    let row = sqlx::query("SELECT failing_since_ms, told_event FROM outbox_channels WHERE name = ?1");
    let row = row.bind(channel).fetch_optional(conn).await?;
    let since = row.as_ref().and_then(|row| whole(row, "failing_since_ms"));
    Ok(State {
        failing_since: since.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
        told: row.as_ref().and_then(|row| whole(row, "told_event")),
    })
}

/// Over every other channel: the one that fails cannot say so itself.
async fn tell(conn: &mut SqliteConnection, event: NewEvent, channel: &str) -> Result<Saved, sqlx::Error> {
    let (urgency, not_over) = (Urgency::Report(Severity::Error), Some(channel.to_owned()));
    let event = NewEvent { urgency, not_over, ..event }.fitted();
    let rows = save_events(conn, &[event], &HashMap::new()).await?;
    Ok(Saved { rows, head: None })
}

fn nothing() -> Result<Saved, sqlx::Error> {
    Ok(Saved { rows: Vec::new(), head: None })
}

/// A channel's name at the beginning of a sentence.
fn shown(channel: &str) -> String {
    match channel.split_once(':') {
        Some(("mail", address)) => format!("Mail to {address}"),
        Some(("webhook", name)) => format!("Webhook {name}"),
        _ => format!("Channel {channel}"),
    }
}

/// One batch of what was put in before a time and waits no more.
pub(in super::super) struct PruneOutbox {
    pub(in super::super) before: Timestamp,
    pub(in super::super) batch: i64,
}

impl Write for PruneOutbox {
    type Output = u64;

    async fn apply(&self, conn: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
        let done = sqlx::query(
            "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE made_ms < ?1 \
             AND (delivered_ms IS NOT NULL OR gave_up_ms IS NOT NULL) ORDER BY made_ms LIMIT ?2)",
        );
        let done = done.bind(ms(self.before)).bind(self.batch).execute(conn).await?;
        Ok(done.rows_affected())
    }
}
