//! Unmute: what people were not told while somebody had asked for quiet, and what is still so when the quiet is over.
//!
//! An event that would have been told carries in its details how (`muted.urgency`). When what muted it holds no more, and its
//! incident is still open, that is told as an event of its own, once: announced work is over, and somebody should know what it
//! left behind. One event for each incident, the gravest; `muted.told` marks those that it is for.

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

/// Events of open incidents that are looked at together; there are as many incidents only where a whole cluster is worked on.
const LOOKED_AT_MAX: i64 = 1_000;

/// Not over, and not told although it would have been. In the very words of the index of what is
/// not over, which holds few of the rows.
pub(super) const HELD_BACK: &str = "SELECT id, severity, title, message, node, cluster, condition, subject, incident_id, details \
     FROM events WHERE coalesce(resolved, 0) = 0 \
     AND NOT (source = 'monitor' AND type IN ('status', 'metric') AND incident_id IS NULL) AND incident_id IS NOT NULL \
     AND json_valid(details) AND json_extract(details, '$.muted.urgency') IS NOT NULL \
     AND json_extract(details, '$.muted.told') IS NULL ORDER BY id LIMIT ?1";

impl Store {
    /// Tells what is still so of what people were not told while somebody had asked for quiet. Returns of how many incidents.
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
        let rows = sqlx::query(HELD_BACK).bind(LOOKED_AT_MAX).fetch_all(&mut *conn).await?;
        if rows.is_empty() {
            return Ok(Saved { rows: Vec::new(), head: None });
        }
        let mutes = Mutes::read(conn, self.at).await?;
        let due = rows.iter().filter_map(Held::read).filter(|held| !held.is_muted(&mutes));
        let (mut ids, mut gravest) = (Vec::new(), BTreeMap::<(String, String), Held>::new());
        for held in due {
            ids.push(held.id);
            let key = (held.cluster.clone(), held.incident.clone());
            match gravest.get(&key) {
                Some(known) if (known.calls(), known.severity) > (held.calls(), held.severity) => {}
                Some(_) | None => drop(gravest.insert(key, held)),
            }
        }
        sqlx::query(
            "UPDATE events SET details = json_set(details, '$.muted.told', ?2) \
             WHERE id IN (SELECT value FROM json_each(?1))",
        )
        .bind(Value::from(ids).to_string())
        .bind(self.at.to_string())
        .execute(&mut *conn)
        .await?;
        let events: Vec<NewEvent> = gravest.into_values().map(|held| held.event(self.at).fitted()).collect();
        let rows = save_events(conn, &events, &HashMap::new()).await?;
        Ok(Saved { rows, head: None })
    }

    fn events(output: &Saved) -> &[Arc<EventRow>] {
        SaveTurn::events(output)
    }

    fn head(output: &Saved) -> Option<chain::Head> {
        SaveTurn::head(output)
    }
}

/// An event that people were not told.
struct Held {
    id: i64,
    severity: Severity,
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
            id: row.try_get("id").ok()?,
            severity: text(row, "severity").and_then(|word| severity_from_word(&word))?,
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

    /// Whether what muted it still holds, or something else does.
    fn is_muted(&self, mutes: &Mutes) -> bool {
        if self.details["muted"]["id"].as_str().is_some_and(|id| mutes.holds(id)) {
            return true;
        }
        let Ok(subject) = self.subject.parse::<Subject>() else { return false };
        let node = self.node.as_deref().and_then(|node| node.parse::<NodeName>().ok());
        let known = Known {
            subject: &subject,
            node: node.as_ref(),
            name: self.details["target"].as_str(),
            tags: &[],
            pool: None,
        };
        let (cluster, condition) = (self.cluster.as_str(), self.condition.as_deref());
        mutes.muted(&Telling { cluster, condition, known, calls_people: self.calls() }).is_some()
    }

    fn event(self, at: Timestamp) -> NewEvent {
        let urgency = if self.calls() { Urgency::Call } else { Urgency::Report(self.severity) };
        let muted = &self.details["muted"];
        let (what, by) =
            (muted["kind"].as_str().unwrap_or("quiet"), muted["by"].as_str().unwrap_or("somebody"));
        let title = format!("Still so after {what}: {}", self.title);
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
