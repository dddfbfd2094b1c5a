//! Unmute: what people were not told while somebody had asked for quiet, and what is not over when the quiet is.
//!
//! An event that would have been told carries in its details how, how bad it is and by what else it may be meant
//! (`muted.urgency` and the like). When what muted it holds no more, nothing else does, and its incident is still open, that
//! is told as an event of its own, once; `muted.told` marks those that it is for. What is told is what stood last: the
//! condition as it turned, and a call for people if nothing came after it. What held an incident, or was proposed while work
//! was announced, is not: the engine decides anew when work ends, and says so.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use engine::decide::Known;
use engine::observe::{NodeName, Subject};
use engine::report::{EventKind, Severity, Urgency};
use jiff::Timestamp;
use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::change::{SaveTurn, Saved, save_events};
use super::mute::{Mutes, Telling};
use super::new::NewEvent;
use super::row::{EventRow, Source, severity_from_word, text};
use super::write::Write;
use super::{Answer, Store, chain};

/// Events that are read together.
const ROWS_TOGETHER: i64 = 1_000;

/// Not over, and not told although it would have been. In the very words of the index of what is
/// not over, which holds few of the rows. `newest`: whether the incident has no later event of this kind.
pub(super) const HELD_BACK: &str = "SELECT id, type, severity, title, message, node, cluster, condition, subject, incident_id, details, \
     NOT EXISTS (SELECT 1 FROM events AS later WHERE later.incident_id = events.incident_id \
     AND later.cluster IS events.cluster AND later.type = events.type AND later.id > events.id) AS newest \
     FROM events WHERE coalesce(resolved, 0) = 0 \
     AND NOT (source = 'monitor' AND type IN ('status', 'metric') AND incident_id IS NULL) AND incident_id IS NOT NULL \
     AND json_valid(details) AND json_extract(details, '$.muted.urgency') IS NOT NULL \
     AND json_extract(details, '$.muted.told') IS NULL AND id > ?1 ORDER BY id LIMIT ?2";

impl Store {
    /// Tells what is not over of what people were not told while somebody had asked for quiet. Returns of how many incidents.
    pub async fn tell_unmuted(&self, at: Timestamp) -> Answer<usize> {
        Ok(self.write(TellUnmuted { at }).await?.rows.len())
    }
}

/// What was held back by what holds no more.
struct TellUnmuted {
    at: Timestamp,
}

impl Write for TellUnmuted {
    type Output = Saved;

    async fn apply(&self, conn: &mut SqliteConnection) -> Result<Saved, sqlx::Error> {
        let (mut seen, mut due): (Vec<i64>, BTreeMap<(String, String), Held>) = Default::default();
        let (mut mutes, mut last) = (None, 0);
        loop {
            let rows = sqlx::query(HELD_BACK).bind(last).bind(ROWS_TOGETHER).fetch_all(&mut *conn).await?;
            let Some(end) = rows.last() else { break };
            last = end.try_get("id")?;
            if mutes.is_none() {
                mutes = Some(Mutes::read(conn, self.at).await?);
            }
            let Some(mutes) = &mutes else { break };
            for row in &rows {
                let held = Held::read(row);
                if held.as_ref().is_some_and(|held| held.is_muted(mutes)) {
                    continue;
                }
                // What cannot be read will not be the next time either.
                seen.push(row.try_get("id")?);
                let Some(held) = held.filter(Held::stands) else { continue };
                let key = (held.cluster.clone(), held.incident.clone());
                // A call says more than the condition that it is about.
                if !due.get(&key).is_some_and(Held::calls) {
                    due.insert(key, held);
                }
            }
        }
        if seen.is_empty() {
            return Ok(Saved { rows: Vec::new(), head: None });
        }
        sqlx::query(
            "UPDATE events SET details = json_set(details, '$.muted.told', ?2) \
             WHERE id IN (SELECT value FROM json_each(?1))",
        )
        .bind(Value::from(seen).to_string())
        .bind(self.at.to_string())
        .execute(&mut *conn)
        .await?;
        let mut actions = HashMap::new();
        for held in due.values().filter(|held| held.calls()) {
            if let Some(action) = called_by(conn, held).await? {
                actions.insert(held.incident.clone(), action);
            }
        }
        let actions = actions.iter().map(|(incident, action)| (incident.as_str(), *action)).collect();
        let events: Vec<NewEvent> = due.into_values().map(|held| held.event(self.at).fitted()).collect();
        let rows = save_events(conn, &events, &actions).await?;
        Ok(Saved { rows, head: None })
    }

    fn events(output: &Saved) -> &[Arc<EventRow>] {
        SaveTurn::events(output)
    }

    fn head(output: &Saved) -> Option<chain::Head> {
        SaveTurn::head(output)
    }
}

/// The row of the original's table that says whether a mail was accepted about a call.
async fn called_by(conn: &mut SqliteConnection, held: &Held) -> Result<Option<i64>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT id FROM autonomy_actions WHERE incident_id = ?1 AND cluster IS ?2 AND +escalated = 1 \
         ORDER BY id DESC LIMIT 1",
    );
    let row = row.bind(held.incident.as_str()).bind(held.cluster.as_str()).fetch_optional(conn).await?;
    row.map(|row| row.try_get("id")).transpose()
}

/// An event that people were not told.
struct Held {
    severity: Severity,
    /// Whether its incident has no later event of its kind.
    newest: bool,
    /// Whether it is what is wrong, and not what was done about it.
    alert: bool,
    title: String,
    message: String,
    cluster: String,
    node: Option<String>,
    condition: Option<String>,
    subject: String,
    incident: String,
    details: Value,
}

impl Held {
    fn read(row: &SqliteRow) -> Option<Held> {
        Some(Held {
            severity: text(row, "severity").and_then(|word| severity_from_word(&word))?,
            newest: row.try_get("newest").ok()?,
            alert: text(row, "type")? == EventKind::Alert.as_str(),
            title: text(row, "title")?,
            message: text(row, "message").unwrap_or_default(),
            cluster: text(row, "cluster")?,
            node: text(row, "node"),
            condition: text(row, "condition"),
            subject: text(row, "subject")?,
            incident: text(row, "incident_id")?,
            details: text(row, "details").and_then(|json| serde_json::from_str(&json).ok())?,
        })
    }

    fn calls(&self) -> bool {
        self.details["muted"]["urgency"] == "call"
    }

    /// Whether it is still what there is to say. During a silence what is proposed stays so; work that ends is decided anew.
    fn stands(&self) -> bool {
        let silenced = self.details["muted"]["kind"] == "silence";
        self.newest && (self.alert || self.calls() || silenced)
    }

    /// Whether what muted it still holds, or something else does.
    fn is_muted(&self, mutes: &Mutes) -> bool {
        let muted = &self.details["muted"];
        if muted["id"].as_str().is_some_and(|id| mutes.holds(id)) {
            return true;
        }
        let Ok(subject) = self.subject.parse::<Subject>() else { return false };
        let node = self.node.as_deref().and_then(|node| node.parse::<NodeName>().ok());
        let tags = muted["tags"].as_array().map_or(&[][..], Vec::as_slice);
        let tags: Vec<Box<str>> = tags.iter().filter_map(|tag| tag.as_str().map(Into::into)).collect();
        let name = muted["name"].as_str().or_else(|| self.details["target"].as_str());
        let known =
            Known { subject: &subject, node: node.as_ref(), name, tags: &tags, pool: muted["pool"].as_str() };
        let (cluster, condition) = (self.cluster.as_str(), self.condition.as_deref());
        mutes.muted(&Telling { cluster, condition, known, calls_people: self.calls() }).is_some()
    }

    fn event(self, at: Timestamp) -> NewEvent {
        let muted = &self.details["muted"];
        let severity = muted["severity"].as_str().and_then(severity_from_word).unwrap_or(self.severity);
        let urgency = if self.calls() { Urgency::Call } else { Urgency::Report(severity) };
        let (what, by) =
            (muted["kind"].as_str().unwrap_or("quiet"), muted["by"].as_str().unwrap_or("somebody"));
        let title = format!("Not over after {what}: {}", self.title);
        let message = format!("{} (not told while the {what} by {by} lasted)", self.message);
        let mut details = self.details;
        if let Value::Object(details) = &mut details {
            details.remove("muted");
        }
        NewEvent {
            node: self.node,
            details: Some(details.to_string()),
            cluster: Some(self.cluster),
            condition: self.condition,
            subject: Some(self.subject),
            incident_id: Some(self.incident),
            urgency,
            ..NewEvent::plain(at, EventKind::Alert, self.severity, Source::Monitor, &title, &message)
        }
    }
}
