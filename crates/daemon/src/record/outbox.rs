//! Outbox: what people are told by mail and webhook, from the transaction that recorded it until it was accepted.
//!
//! A row is one event for one channel, put in with that event: what was recorded is told, also when Jarvis dies in
//! between. A call goes alone and carries its incident's story as it was then; reports wait and go together. The channels
//! are rows as well: which are configured is known inside the transaction, and how each goes survives a restart.

mod deliver;

use std::collections::HashMap;
use std::sync::Arc;

use engine::record::Entry;
use engine::report::{Severity, Urgency};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection, SqlitePool};
use uuid::Uuid;

use super::new::{NewEvent, cut};
use super::row::{EventRow, severity_from_word, text, whole};
use super::{Answer, PRUNE_BATCH, PRUNE_BATCHES_MAX, Store, before, time};

use deliver::{Begin, Deliver, Fail, PruneOutbox, UseChannels};

/// Rows that may wait for one channel: some days of everything that a cluster in trouble has to say. A group of guests is
/// one row.
const WAITING_MAX: i64 = 10_000;
/// Lines of a story in one message. An incident that goes on for weeks has more; who wants those asks `jarvis why`.
const STORY_MAX: i64 = 300;
/// Longest line of a story, in bytes: the reasons of a refusal, in words.
const LINE_MAX: usize = 600;
/// Rows that are looked at to say what is sent next: a report takes some hundred of them.
const LOOKED_AT_MAX: i64 = 1_000;
/// Longest entry that is read for a story, in bytes; see the journal's own.
const ENTRY_READ_MAX: i64 = 256 * 1024;

/// What kind of channel it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelKind {
    /// E-mail to one address.
    Mail,
    /// An HTTP call.
    Webhook,
}

impl ChannelKind {
    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            ChannelKind::Mail => "mail",
            ChannelKind::Webhook => "webhook",
        }
    }
}

/// One channel, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewChannel {
    /// Its name: `mail:admin@example.org`, `webhook:pager`.
    pub name: String,
    /// Its kind.
    pub kind: ChannelKind,
    /// The least severity of what goes into its reports.
    pub least: Severity,
}

/// How one channel goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelRow {
    /// Its name.
    pub name: String,
    /// Tries in a row that failed.
    pub failures: u32,
    /// Since when.
    pub failing_since: Option<Timestamp>,
    /// Not before this, except for a call that was never tried.
    pub next_try: Option<Timestamp>,
    /// When the last report was accepted.
    pub reported: Option<Timestamp>,
    /// When the last message was accepted.
    pub last_ok: Option<Timestamp>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When that was.
    pub last_error_at: Option<Timestamp>,
    /// Messages that were accepted.
    pub delivered: u64,
    /// Events that were refused for good.
    pub refused: u64,
    /// Events that had waited for too long.
    pub expired: u64,
    /// Events for which there was no room.
    pub dropped: u64,
    /// Events given up since the last message that was accepted.
    pub untold: u64,
    /// Events that wait.
    pub waiting: u64,
}

impl ChannelRow {
    /// Whether the last try failed.
    pub fn is_failing(&self) -> bool {
        self.failing_since.is_some()
    }
}

/// An event that waits for a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its number.
    pub id: i64,
    /// Whether it is a message of its own.
    pub call: bool,
    /// When it was put in.
    pub made: Timestamp,
    /// The message that it goes with, once that was tried.
    pub message: Option<Uuid>,
}

/// What is told of an event, as it was when it happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Content {
    /// When it happened.
    pub at: Timestamp,
    /// The event's number.
    pub seq: i64,
    /// The event's identity: a UUID.
    pub id: String,
    /// How bad.
    pub severity: String,
    /// Its title.
    pub title: String,
    /// One sentence.
    pub message: String,
    /// The cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The condition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// What it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The subject's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The incident.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incident_id: Option<String>,
    /// Whether it ends its incident.
    pub over: bool,
    /// Of a call: what happened to the incident, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub story: Vec<Line>,
    /// Earlier lines that are left out of it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub story_left_out: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// One line of a story.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When.
    pub at: Timestamp,
    /// What kind of step, in a word.
    pub kind: String,
    /// What happened.
    pub words: String,
}

/// What became of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    /// The other side has it.
    Accepted,
    /// It has not, or nobody knows; the channel waits until then.
    Failed {
        /// Why.
        error: String,
        /// When the next try may be.
        next_try: Timestamp,
    },
    /// It will not have it.
    Refused {
        /// Why.
        error: String,
    },
}

impl Store {
    /// From now on these are the channels of the outbox. What waits for any other is given up.
    pub async fn use_channels(&self, channels: Vec<NewChannel>, at: Timestamp) -> Answer<()> {
        self.write(UseChannels { channels, at }).await
    }

    /// How the channels go that are in use, by name.
    pub async fn channels(&self) -> Answer<Vec<ChannelRow>> {
        Ok(all(&self.shared.readers).await?)
    }

    /// How a channel goes, and what waits for it: calls first, each kind oldest first. `None`: it is not in use.
    pub async fn outbox(&self, channel: &str) -> Answer<Option<(ChannelRow, Vec<Waiting>)>> {
        Ok(waiting(&self.shared.readers, channel, LOOKED_AT_MAX).await?)
    }

    /// What some rows tell, and that they are about to be tried as this message, or the one that they are already.
    pub async fn begin_message(&self, ids: &[i64], message: Uuid) -> Answer<Vec<Content>> {
        self.write(Begin { ids: ids.to_owned(), message }).await?;
        Ok(contents(&self.shared.readers, ids).await?)
    }

    /// What became of a message of a channel that has these rows.
    pub async fn end_message(
        &self,
        channel: &NewChannel,
        ids: &[i64],
        report: bool,
        tried: Tried,
        at: Timestamp,
    ) -> Answer<()> {
        let (name, ids) = (channel.name.clone(), ids.to_owned());
        let fail = match tried {
            Tried::Accepted => {
                let accepted = Deliver { channel: name, kind: channel.kind, ids, report, at };
                return self.write(accepted).await.map(drop);
            }
            Tried::Failed { error, next_try } => {
                Fail { channel: name, ids, error, refused: false, at, next_try }
            }
            Tried::Refused { error } => Fail { channel: name, ids, error, refused: true, at, next_try: at },
        };
        self.write(fail).await.map(drop)
    }

    /// Takes away what was put in so many days ago (at least one) and waits no more. Returns how many.
    pub async fn cleanup_old_messages(&self, days: u32, now: Timestamp) -> Answer<u64> {
        let Some(before) = before(days, now) else { return Ok(0) };
        let mut gone = 0;
        for _ in 0..PRUNE_BATCHES_MAX {
            let batch = self.write(PruneOutbox { before, batch: PRUNE_BATCH }).await?;
            gone += batch;
            if batch < PRUNE_BATCH.unsigned_abs() {
                break;
            }
        }
        Ok(gone)
    }
}

/// Whether an event is put in for a channel, and how: asked inside the transaction that records the event.
fn wanted(channel: &NewChannel, event: &NewEvent, urgency: Urgency) -> bool {
    if event.not_over.as_deref() == Some(&channel.name) {
        return false;
    }
    match urgency {
        Urgency::Feed => false,
        Urgency::Report(severity) => severity >= channel.least,
        Urgency::Call => true,
    }
}

/// Puts in what is told of these events. `actions`: of the incidents for which people are called, the row that says so.
pub(super) async fn put(
    conn: &mut SqliteConnection,
    events: &[NewEvent],
    rows: &[Arc<EventRow>],
    actions: &HashMap<&str, i64>,
) -> Result<(), sqlx::Error> {
    if events.iter().all(|event| event.urgency == Urgency::Feed) {
        return Ok(());
    }
    let channels = channels(conn).await?;
    if channels.is_empty() {
        return Ok(());
    }
    let mut put = false;
    for (event, row) in events.iter().zip(rows) {
        let reported = matches!(event.urgency, Urgency::Report(_)) && event.resolves;
        let called = reported && was_called(conn, event).await?;
        let urgency = if called { Urgency::Call } else { event.urgency };
        let wanting: Vec<_> = channels.iter().filter(|channel| wanted(channel, event, urgency)).collect();
        if wanting.is_empty() {
            continue;
        }
        put = true;
        let content = content(conn, event, row, urgency).await?;
        let action = event.incident_id.as_deref().and_then(|id| actions.get(id)).copied();
        for channel in wanting {
            insert(conn, &channel.name, urgency, event, row.id, &content, action).await?;
        }
    }
    if put {
        for channel in &channels {
            drop_oldest(conn, &channel.name, event_time(events)).await?;
        }
    }
    Ok(())
}

fn event_time(events: &[NewEvent]) -> Timestamp {
    events.iter().map(|event| event.at).max().unwrap_or(Timestamp::UNIX_EPOCH)
}

async fn channels(conn: &mut SqliteConnection) -> Result<Vec<NewChannel>, sqlx::Error> {
    let rows = sqlx::query("SELECT name, kind, least FROM outbox_channels WHERE in_use = 1 ORDER BY name");
    let rows = rows.fetch_all(conn).await?;
    let read = |row: &SqliteRow| {
        let kind = text(row, "kind")?;
        let kinds = [ChannelKind::Mail, ChannelKind::Webhook];
        Some(NewChannel {
            name: text(row, "name")?,
            kind: kinds.into_iter().find(|known| known.as_str() == kind)?,
            least: text(row, "least").and_then(|word| severity_from_word(&word))?,
        })
    };
    Ok(rows.iter().filter_map(read).collect())
}

/// Whether people were called about what an event ends: then they are told at once that it is over.
pub(super) const WAS_CALLED: &str = "SELECT 1 FROM autonomy_actions AS a WHERE a.incident_id IN \
     (SELECT value FROM json_each(?1)) AND a.cluster IS ?2 AND +a.escalated = 1 LIMIT 1";

async fn was_called(conn: &mut SqliteConnection, event: &NewEvent) -> Result<bool, sqlx::Error> {
    let ids: Vec<&str> =
        event.incident_id.as_deref().into_iter().chain(event.also_ends.iter().map(String::as_str)).collect();
    if ids.is_empty() {
        return Ok(false);
    }
    let ids = serde_json::Value::from(ids).to_string();
    let called = sqlx::query(WAS_CALLED).bind(ids).bind(event.cluster.as_deref());
    Ok(called.fetch_optional(conn).await?.is_some())
}

async fn content(
    conn: &mut SqliteConnection,
    event: &NewEvent,
    row: &EventRow,
    urgency: Urgency,
) -> Result<String, sqlx::Error> {
    let details =
        event.details.as_deref().and_then(|json| serde_json::from_str::<serde_json::Value>(json).ok());
    let target = details.as_ref().and_then(|details| details["target"].as_str()).map(str::to_owned);
    let mut content = Content {
        at: row.timestamp,
        seq: row.id,
        id: row.uuid.to_string(),
        severity: row.severity.as_str().to_owned(),
        title: row.title.clone(),
        message: row.message.clone(),
        cluster: row.cluster.clone(),
        node: row.node.clone(),
        condition: row.condition.clone(),
        subject: row.subject.clone(),
        target,
        incident_id: row.incident_id.clone(),
        over: event.resolves && event.incident_id.is_some(),
        story: Vec::new(),
        story_left_out: 0,
    };
    if let (Urgency::Call, Some(incident), Some(cluster)) = (urgency, &row.incident_id, &row.cluster) {
        (content.story, content.story_left_out) = story(conn, incident, cluster).await?;
    }
    serde_json::to_string(&content).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// The newest lines of an incident's story, oldest first.
pub(super) const STORY: &str = "SELECT at_ms, kind, iif(octet_length(entry) <= ?1, entry, '') AS entry FROM journal WHERE seq IN \
     (SELECT journal_seq FROM incident_entries WHERE incident = ?2 ORDER BY journal_seq DESC LIMIT ?3) ORDER BY seq";

async fn story(
    conn: &mut SqliteConnection,
    incident: &str,
    cluster: &str,
) -> Result<(Vec<Line>, i64), sqlx::Error> {
    let number = sqlx::query(
        "SELECT i.seq, (SELECT count(*) FROM incident_entries WHERE incident = i.seq) AS entries FROM incidents AS i \
         WHERE substr(i.id, 1, 6) = substr(?1, 1, 6) AND i.id = ?1 AND i.cluster = ?2",
    );
    let Some(number) = number.bind(incident).bind(cluster).fetch_optional(&mut *conn).await? else {
        return Ok((Vec::new(), 0));
    };
    let (seq, entries): (i64, i64) = (number.try_get("seq")?, number.try_get("entries")?);
    let rows = sqlx::query(STORY).bind(ENTRY_READ_MAX).bind(seq).bind(STORY_MAX).fetch_all(conn).await?;
    Ok((rows.iter().filter_map(line).collect(), (entries - STORY_MAX).max(0)))
}

/// As `jarvis why` tells it: the words of an entry begin with its kind, its condition and its subject, which stand above.
fn line(row: &SqliteRow) -> Option<Line> {
    let at = Timestamp::from_millisecond(whole(row, "at_ms")?).ok()?;
    let kind = text(row, "kind")?;
    let entry = serde_json::from_str::<Entry>(&text(row, "entry")?).ok();
    let (kind, words) = match entry.map(|entry| entry.to_string()) {
        Some(words) => {
            let what = words.split_once(": ").map_or(words.as_str(), |(_, what)| what);
            let mut what = what.split_whitespace().collect::<Vec<_>>().join(" ");
            cut(&mut what, LINE_MAX);
            (words.split(' ').next().unwrap_or_default().to_owned(), what)
        }
        None => (kind, String::new()),
    };
    Some(Line { at, kind, words })
}

async fn insert(
    conn: &mut SqliteConnection,
    channel: &str,
    urgency: Urgency,
    event: &NewEvent,
    seq: i64,
    content: &str,
    action: Option<i64>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO outbox (channel, urgency, made_ms, event, cluster, incident, content, action) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )
    .bind(channel)
    .bind(if urgency == Urgency::Call { "call" } else { "report" })
    .bind(event.at.as_millisecond())
    .bind(seq)
    .bind(event.cluster.as_deref())
    .bind(event.incident_id.as_deref())
    .bind(content)
    .bind(action)
    .execute(conn)
    .await
    .map(drop)
}

/// What waits for one channel.
macro_rules! waits_for {
    () => {
        "channel = ?1 AND delivered_ms IS NULL AND gave_up_ms IS NULL"
    };
}
/// Makes room: the oldest go first, calls last. `report` follows `call` in the alphabet.
async fn drop_oldest(conn: &mut SqliteConnection, channel: &str, at: Timestamp) -> Result<(), sqlx::Error> {
    let count = sqlx::query(concat!("SELECT count(*) AS waiting FROM outbox WHERE ", waits_for!()));
    let count: i64 = count.bind(channel).fetch_one(&mut *conn).await?.try_get("waiting")?;
    if count <= WAITING_MAX {
        return Ok(());
    }
    let dropped = sqlx::query(concat!(
        "UPDATE outbox SET gave_up_ms = ?2, last_error = 'too much waited' WHERE id IN (SELECT id FROM outbox WHERE ",
        waits_for!(),
        " ORDER BY urgency DESC, id LIMIT ?3)"
    ));
    let dropped = dropped.bind(channel).bind(at.as_millisecond()).bind(count - WAITING_MAX);
    let dropped = dropped.execute(&mut *conn).await?.rows_affected();
    sqlx::query("UPDATE outbox_channels SET dropped = dropped + ?2, untold = untold + ?2 WHERE name = ?1")
        .bind(channel)
        .bind(i64::try_from(dropped).unwrap_or(i64::MAX))
        .execute(conn)
        .await
        .map(drop)
}

/// How the channels go that are in use.
pub(super) async fn all(pool: &SqlitePool) -> Result<Vec<ChannelRow>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT *, (SELECT count(*) FROM outbox WHERE channel = name AND delivered_ms IS NULL AND gave_up_ms IS NULL) \
         AS waiting FROM outbox_channels WHERE in_use = 1 ORDER BY name",
    );
    Ok(rows.fetch_all(pool).await?.iter().map(channel_row).collect())
}

fn channel_row(row: &SqliteRow) -> ChannelRow {
    let count = |column| whole(row, column).and_then(|count| u64::try_from(count).ok()).unwrap_or_default();
    let at = |column| whole(row, column).and_then(|ms| Timestamp::from_millisecond(ms).ok());
    ChannelRow {
        name: text(row, "name").unwrap_or_default(),
        failures: u32::try_from(count("failures")).unwrap_or(u32::MAX),
        failing_since: at("failing_since_ms"),
        next_try: at("next_try_ms"),
        reported: at("reported_ms"),
        last_ok: at("last_ok_ms"),
        last_error: text(row, "last_error"),
        last_error_at: at("last_error_ms"),
        delivered: count("delivered"),
        refused: count("refused"),
        expired: count("expired"),
        dropped: count("dropped"),
        untold: count("untold"),
        waiting: count("waiting"),
    }
}

/// How a channel goes, and what waits for it: calls first, each kind oldest first. `None`: it is not in use.
pub(super) async fn waiting(
    pool: &SqlitePool,
    channel: &str,
    most: i64,
) -> Result<Option<(ChannelRow, Vec<Waiting>)>, sqlx::Error> {
    let row = sqlx::query("SELECT *, 0 AS waiting FROM outbox_channels WHERE name = ?1 AND in_use = 1");
    let Some(row) = row.bind(channel).fetch_optional(pool).await? else { return Ok(None) };
    let rows = sqlx::query(WAITING).bind(channel).bind(most).fetch_all(pool).await?;
    Ok(Some((channel_row(&row), rows.iter().filter_map(waits).collect())))
}

pub(super) const WAITING: &str = concat!(
    "SELECT id, urgency, made_ms, message FROM outbox WHERE ",
    waits_for!(),
    " ORDER BY urgency, id LIMIT ?2"
);

fn waits(row: &SqliteRow) -> Option<Waiting> {
    Some(Waiting {
        id: whole(row, "id")?,
        call: text(row, "urgency")? == "call",
        made: Timestamp::from_millisecond(whole(row, "made_ms")?).ok()?,
        message: text(row, "message").and_then(|uuid| uuid.parse().ok()),
    })
}

/// What some rows tell, in the order of their numbers.
pub(super) async fn contents(pool: &SqlitePool, ids: &[i64]) -> Result<Vec<Content>, sqlx::Error> {
    let ids = serde_json::Value::from(ids).to_string();
    let rows =
        sqlx::query("SELECT content FROM outbox WHERE id IN (SELECT value FROM json_each(?1)) ORDER BY id");
    let rows = rows.bind(ids).fetch_all(pool).await?;
    let content = |row: &SqliteRow| {
        let json = text(row, "content")?;
        serde_json::from_str(&json)
            .inspect_err(|error| tracing::error!(%error, "a row of the outbox is not read"))
            .ok()
    };
    Ok(rows.iter().filter_map(content).collect())
}

/// Whether a mail was accepted that tells of it: the row of the original's table says so.
async fn mark_sent(conn: &mut SqliteConnection, ids: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE autonomy_actions SET email_sent = 1 WHERE id IN \
         (SELECT action FROM outbox WHERE id IN (SELECT value FROM json_each(?1)) AND action IS NOT NULL)",
    )
    .bind(ids)
    .execute(conn)
    .await
    .map(drop)
}

fn ms(at: Timestamp) -> i64 {
    at.as_millisecond()
}

/// The event that told that a channel fails is over.
async fn end_told(conn: &mut SqliteConnection, event: i64, at: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE events SET resolved = 1, resolved_at = ?2, resolved_ms = ?3, resolved_by = 'system' \
         WHERE id = ?1 AND coalesce(resolved, 0) = 0",
    )
    .bind(event)
    .bind(time::to_text(at))
    .bind(ms(at))
    .execute(conn)
    .await
    .map(drop)
}

#[cfg(test)]
mod tests;
