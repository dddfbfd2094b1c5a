//! What the store gives back: rows, and their shapes for REST (contract 4) and for the socket (contract 5).
//!
//! A row may be the original's, written by another program years ago. So reading never fails on a value: what has
//! no meaning for us is given the most harmless one, and what was never there is derived.

use engine::report::{EventKind, Severity};
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use utoipa::ToSchema;
use uuid::Uuid;

use super::new::NewEvent;
use super::time;

/// Who an event comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Jarvis watching.
    Monitor,
    /// A person.
    User,
    /// Jarvis speaking.
    Jarvis,
    /// The daemon about itself.
    System,
}

impl Source {
    /// As stored and sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Monitor => "monitor",
            Source::User => "user",
            Source::Jarvis => "jarvis",
            Source::System => "system",
        }
    }

    /// From a word of the contract; `None` for any other.
    pub fn from_word(word: &str) -> Option<Source> {
        [Source::Monitor, Source::User, Source::Jarvis, Source::System]
            .into_iter()
            .find(|s| s.as_str() == word)
    }

    /// As the summary's prefix: `[Monitor]`.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Source::Monitor => "Monitor",
            Source::User => "User",
            Source::Jarvis => "Jarvis",
            Source::System => "System",
        }
    }
}

/// A kind of event from a word of the contract; `None` for any other.
pub fn kind_from_word(word: &str) -> Option<EventKind> {
    let kinds = [EventKind::Alert, EventKind::Action, EventKind::Status, EventKind::Metric];
    kinds.into_iter().find(|kind| kind.as_str() == word)
}

/// A severity from a word of the contract; `None` for any other.
pub fn severity_from_word(word: &str) -> Option<Severity> {
    let severities = [Severity::Info, Severity::Warning, Severity::Error, Severity::Critical];
    severities.into_iter().find(|severity| severity.as_str() == word)
}

/// One row of `events`.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRow {
    /// The row's number; `seq` on the wire. It only grows.
    pub id: i64,
    /// The event's identity on the wire. Of a row without one it is made from the number, so it is the same each
    /// time it is read.
    pub uuid: Uuid,
    /// When it happened. A text that says no time is read as 1970: the row is kept, and is the oldest.
    pub timestamp: Timestamp,
    /// What kind of message it is. An unknown word is read as a status.
    pub kind: EventKind,
    /// How bad. An unknown word is read as info.
    pub severity: Severity,
    /// Who it comes from. An unknown word is read as the system.
    pub source: Source,
    /// The node it is about or happened on.
    pub node: Option<String>,
    /// `[Monitor] TITLE: MESSAGE`.
    pub summary: String,
    /// Never empty; of the original's rows taken from the summary.
    pub title: String,
    /// One sentence; of the original's rows taken from the summary, and empty where that has no second part.
    pub message: String,
    /// The facts as they are stored: JSON text, which in the original's rows may be anything.
    pub details: Option<String>,
    /// Whether it is over.
    pub resolved: bool,
    /// When it was over.
    pub resolved_at: Option<Timestamp>,
    /// Who said so.
    pub resolved_by: Option<String>,
    /// The cluster it is about; the original knew only one.
    pub cluster: Option<String>,
    /// The condition, where it is about one (`VM_CRASHED`).
    pub condition: Option<String>,
    /// What it is about (`qemu/101`).
    pub subject: Option<String>,
    /// The incident, where it belongs to one.
    pub incident_id: Option<String>,
    /// Whether it is ours: without a cluster it is then about Jarvis as a whole. The original's are of a cluster that
    /// nobody knows.
    pub ours: bool,
}

/// An event as the existing page's REST calls show it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OriginalEvent)]
#[serde(rename_all = "camelCase")]
pub struct RestEvent<'a> {
    id: i64,
    #[schema(format = DateTime)]
    timestamp: String,
    #[schema(value_type = String)]
    r#type: EventKind,
    #[schema(value_type = String)]
    severity: Severity,
    #[schema(value_type = String)]
    source: Source,
    node: Option<&'a str>,
    summary: &'a str,
    #[schema(value_type = serde_json::Value)]
    details: Option<Json<'a>>,
    resolved: bool,
    resolved_at: Option<String>,
    resolved_by: Option<&'a str>,
}

/// An event as the socket's `event` message shows it, with what we add: cluster, condition, subject, incident, seq.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SocketEvent<'a> {
    id: String,
    r#type: EventKind,
    severity: Severity,
    title: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
    source: Source,
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    incident_id: Option<&'a str>,
    seq: i64,
}

impl EventRow {
    /// As the existing page's REST calls show it.
    pub fn rest(&self) -> RestEvent<'_> {
        RestEvent {
            id: self.id,
            timestamp: time::to_wire(self.timestamp),
            r#type: self.kind,
            severity: self.severity,
            source: self.source,
            node: self.node.as_deref(),
            summary: &self.summary,
            details: self.details.as_deref().map(Json),
            resolved: self.resolved,
            resolved_at: self.resolved_at.map(time::to_wire),
            resolved_by: self.resolved_by.as_deref(),
        }
    }

    /// As the socket's `event` message shows it.
    pub fn socket(&self) -> SocketEvent<'_> {
        SocketEvent {
            id: self.uuid.to_string(),
            r#type: self.kind,
            severity: self.severity,
            title: &self.title,
            message: &self.message,
            node: self.node.as_deref(),
            source: self.source,
            timestamp: time::to_wire(self.timestamp),
            resolved_at: self.resolved_at.map(time::to_wire),
            cluster: self.cluster.as_deref(),
            condition: self.condition.as_deref(),
            subject: self.subject.as_deref(),
            incident_id: self.incident_id.as_deref(),
            seq: self.id,
        }
    }

    /// The row that a fitted event became, as reading it would give it.
    pub(super) fn of(event: &NewEvent, id: i64) -> EventRow {
        let kept = |at: Timestamp| {
            time::from_columns(Some(&time::to_text(at)), Some(at.as_millisecond()))
                .unwrap_or(Timestamp::UNIX_EPOCH)
        };
        EventRow {
            id,
            uuid: event.uuid,
            timestamp: kept(event.at),
            kind: event.kind,
            severity: event.severity,
            source: event.source,
            node: event.node.clone(),
            summary: event.summary.clone().unwrap_or_default(),
            title: event.title.clone(),
            message: event.message.clone(),
            details: event.details.clone(),
            resolved: event.resolves,
            resolved_at: event.resolves.then(|| kept(event.at)),
            resolved_by: event.resolves.then(|| event.source.as_str().to_owned()),
            cluster: event.cluster.clone(),
            condition: event.condition.clone(),
            subject: event.subject.clone(),
            incident_id: event.incident_id.clone(),
            ours: true,
        }
    }

    pub(super) fn read(row: &SqliteRow) -> EventRow {
        let id = whole(row, "id").unwrap_or_default();
        let kind = text(row, "type").and_then(|word| kind_from_word(&word)).unwrap_or(EventKind::Status);
        let summary = text(row, "summary").unwrap_or_default();
        let (derived_title, derived_message) = split_summary(&summary);
        let title = text(row, "title").filter(|title| !title.trim().is_empty());
        let title = title.or(derived_title).unwrap_or_else(|| kind.as_str().to_owned());
        EventRow {
            id,
            uuid: text(row, "uuid").and_then(|uuid| uuid.parse().ok()).unwrap_or_else(|| numbered(id)),
            timestamp: time::from_columns(text(row, "timestamp").as_deref(), whole(row, "at_ms"))
                .unwrap_or(Timestamp::UNIX_EPOCH),
            kind,
            severity: text(row, "severity")
                .and_then(|word| severity_from_word(&word))
                .unwrap_or(Severity::Info),
            source: text(row, "source").and_then(|word| Source::from_word(&word)).unwrap_or(Source::System),
            node: text(row, "node"),
            title,
            message: text(row, "message").or(derived_message).unwrap_or_default(),
            summary,
            details: text(row, "details"),
            resolved: whole(row, "resolved").unwrap_or_default() != 0,
            resolved_at: time::from_columns(text(row, "resolved_at").as_deref(), whole(row, "resolved_ms")),
            resolved_by: text(row, "resolved_by"),
            cluster: text(row, "cluster"),
            condition: text(row, "condition"),
            subject: text(row, "subject"),
            incident_id: text(row, "incident_id"),
            ours: whole(row, "at_ms").is_some(),
        }
    }
}

/// How an attempt of Jarvis ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ActionResult {
    /// Seen to have helped.
    Success,
    /// Seen not to have helped, or refused by PVE.
    Failure,
    /// Not done: a guardrail objected.
    Blocked,
    /// Handed to a person.
    Escalated,
}

impl ActionResult {
    /// As stored and sent.
    pub fn as_str(self) -> &'static str {
        match self {
            ActionResult::Success => "success",
            ActionResult::Failure => "failure",
            ActionResult::Blocked => "blocked",
            ActionResult::Escalated => "escalated",
        }
    }

    /// From a word of the contract; `None` for any other.
    pub fn from_word(word: &str) -> Option<ActionResult> {
        use ActionResult::{Blocked, Escalated, Failure, Success};
        [Success, Failure, Blocked, Escalated].into_iter().find(|result| result.as_str() == word)
    }
}

/// One row of `autonomy_actions`.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionRow {
    /// The row's number.
    pub id: i64,
    /// When it was done. A text that says no time is read as 1970.
    pub timestamp: Timestamp,
    /// `VM_CRASHED:101`.
    pub incident_key: String,
    /// The incident's UUID.
    pub incident_id: String,
    /// Which runbook.
    pub runbook_id: String,
    /// The condition it answers (`VM_CRASHED`).
    pub condition: String,
    /// What was done (`start_vm`).
    pub action: String,
    /// To what: JSON text as it is stored.
    pub action_args: Option<String>,
    /// How it ended. An unknown word is read as a failure, so that no attempt looks better than it is known to be.
    pub result: ActionResult,
    /// In words.
    pub result_details: Option<String>,
    /// What a look afterwards showed.
    pub verification_result: Option<String>,
    /// 0 to 4.
    pub autonomy_level: i64,
    /// Where.
    pub node: Option<String>,
    /// From 1.
    pub attempt_number: i64,
    /// Whether a person was called.
    pub escalated: bool,
    /// Whether a mail went out.
    pub email_sent: bool,
    /// The cluster; the original knew only one.
    pub cluster: Option<String>,
}

/// An action as the existing page's REST calls show it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OriginalAction)]
#[serde(rename_all = "camelCase")]
pub struct RestAction<'a> {
    id: i64,
    timestamp: String,
    incident_key: &'a str,
    incident_id: &'a str,
    runbook_id: &'a str,
    condition: &'a str,
    action: &'a str,
    #[schema(value_type = serde_json::Value)]
    action_args: Option<Json<'a>>,
    #[schema(value_type = String)]
    result: ActionResult,
    result_details: Option<&'a str>,
    verification_result: Option<&'a str>,
    autonomy_level: i64,
    node: Option<&'a str>,
    attempt_number: i64,
    escalated: bool,
    email_sent: bool,
}

impl ActionRow {
    /// As the existing page's REST calls show it.
    pub fn rest(&self) -> RestAction<'_> {
        RestAction {
            id: self.id,
            timestamp: time::to_wire(self.timestamp),
            incident_key: &self.incident_key,
            incident_id: &self.incident_id,
            runbook_id: &self.runbook_id,
            condition: &self.condition,
            action: &self.action,
            action_args: self.action_args.as_deref().map(Json),
            result: self.result,
            result_details: self.result_details.as_deref(),
            verification_result: self.verification_result.as_deref(),
            autonomy_level: self.autonomy_level,
            node: self.node.as_deref(),
            attempt_number: self.attempt_number,
            escalated: self.escalated,
            email_sent: self.email_sent,
        }
    }

    pub(super) fn read(row: &SqliteRow) -> ActionRow {
        let words = |column| text(row, column).unwrap_or_default();
        ActionRow {
            id: whole(row, "id").unwrap_or_default(),
            timestamp: time::from_columns(text(row, "timestamp").as_deref(), whole(row, "at_ms"))
                .unwrap_or(Timestamp::UNIX_EPOCH),
            incident_key: words("incident_key"),
            incident_id: words("incident_id"),
            runbook_id: words("runbook_id"),
            condition: words("condition"),
            action: words("action"),
            action_args: text(row, "action_args"),
            result: ActionResult::from_word(&words("result")).unwrap_or(ActionResult::Failure),
            result_details: text(row, "result_details"),
            verification_result: text(row, "verification_result"),
            autonomy_level: whole(row, "autonomy_level").unwrap_or_default(),
            node: text(row, "node"),
            attempt_number: whole(row, "attempt_number").unwrap_or(1),
            escalated: whole(row, "escalated").unwrap_or_default() != 0,
            email_sent: whole(row, "email_sent").unwrap_or_default() != 0,
            cluster: text(row, "cluster"),
        }
    }
}

/// One row of `preferences`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preference {
    /// `autonomy.killSwitch`.
    pub key: String,
    /// Text, whatever it means.
    pub value: String,
    /// When it was last set, where the row says so.
    pub updated_at: Option<Timestamp>,
}

impl Preference {
    pub(super) fn read(row: &SqliteRow) -> Preference {
        Preference {
            key: text(row, "key").unwrap_or_default(),
            value: text(row, "value").unwrap_or_default(),
            updated_at: time::from_columns(text(row, "updated_at").as_deref(), None),
        }
    }
}

/// One row of `cluster_snapshots`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotRow {
    /// The row's number.
    pub id: i64,
    /// When it was taken. A text that says no time is read as 1970.
    pub timestamp: Timestamp,
    /// The cluster; the original knew only one.
    pub cluster: Option<String>,
    /// JSON text.
    pub snapshot: String,
}

impl SnapshotRow {
    pub(super) fn read(row: &SqliteRow) -> SnapshotRow {
        SnapshotRow {
            id: whole(row, "id").unwrap_or_default(),
            timestamp: time::from_columns(text(row, "timestamp").as_deref(), whole(row, "at_ms"))
                .unwrap_or(Timestamp::UNIX_EPOCH),
            cluster: text(row, "cluster"),
            snapshot: text(row, "snapshot").unwrap_or_default(),
        }
    }
}

/// JSON text on its way out: as the value that it is, or, where it is none, as a string of that text.
#[derive(Debug)]
struct Json<'a>(&'a str);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match sound_json(self.0) {
            Some(value) => value.serialize(serializer),
            None => serializer.serialize_str(self.0),
        }
    }
}

/// Deepest JSON that is kept or told as such. Readers give up at 128, and it stands some levels deep in what they are sent.
pub const JSON_DEPTH_MAX: usize = 100;

/// A JSON text that everybody can read. Its syntax allows more than that: numbers that no computer has, halves of
/// characters, any depth. A single one of these would make whole lists unreadable.
pub fn sound_json(text: &str) -> Option<&RawValue> {
    fn depth(value: &Value) -> usize {
        match value {
            Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
            Value::Object(items) => 1 + items.values().map(depth).max().unwrap_or(0),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
        }
    }
    let value: Value = serde_json::from_str(text).ok()?;
    serde_json::from_str(text).ok().filter(|_| depth(&value) <= JSON_DEPTH_MAX)
}

/// A column as text. SQLite's columns hold any type, whatever they are declared as: a number is its digits, bytes
/// that are no text are shown as replacement characters, and only NULL is `None`.
pub(super) fn text(row: &SqliteRow, column: &str) -> Option<String> {
    if let Ok(text) = row.try_get_unchecked::<Option<String>, _>(column) {
        return text;
    }
    let bytes: Option<Vec<u8>> = row.try_get_unchecked(column).ok()?;
    bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// A column as a whole number; text that is none counts as 0, as SQLite itself has it.
pub(super) fn whole(row: &SqliteRow, column: &str) -> Option<i64> {
    row.try_get_unchecked::<Option<i64>, _>(column).ok()?
}

/// The identity of a row without one: the row's number in the last group of a version 8 UUID.
fn numbered(id: i64) -> Uuid {
    let low = u128::from(id.unsigned_abs()) & 0x0fff_ffff_ffff_ffff;
    Uuid::from_u128(0x8 << 76 | 0x8 << 60 | low)
}

/// Title and message of `[Monitor] TITLE: MESSAGE`. A summary of another shape is a title as a whole; an empty one
/// is nothing at all.
pub fn split_summary(summary: &str) -> (Option<String>, Option<String>) {
    let summary = summary.trim();
    let body = match summary.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((_, body)) if !body.trim().is_empty() => body.trim(),
        Some(_) | None => summary,
    };
    if body.is_empty() {
        return (None, None);
    }
    match body.split_once(':') {
        Some((title, message)) if !title.trim().is_empty() && !message.trim().is_empty() => {
            (Some(title.trim().to_owned()), Some(message.trim().to_owned()))
        }
        Some(_) | None => (Some(body.to_owned()), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_found_in_every_summary() {
        #[rustfmt::skip]
        let table = [
            ("the original's",     "[Monitor] VM web01 (101) crashed: was running", "VM web01 (101) crashed | was running"),
            ("no prefix",          "Backup: done at 02:00",                         "Backup | done at 02:00"),
            ("no colon",           "[User] Restarted nginx",                        "Restarted nginx | -"),
            ("nothing after it",   "[Monitor] Systems Nominal:",                    "Systems Nominal: | -"),
            ("nothing before it",  "[Monitor] : lost",                              ": lost | -"),
            ("only a prefix",      "[Monitor]",                                     "[Monitor] | -"),
            ("an unclosed prefix", "[Monitor VM 101: gone",                         "[Monitor VM 101 | gone"),
            ("empty",              "",                                              "- | -"),
            ("blank",              "  ",                                            "- | -"),
        ];
        for (name, summary, expected) in table {
            let (title, message) = split_summary(summary);
            let [title, message] = [title, message].map(|part| part.unwrap_or_else(|| "-".into()));
            assert_eq!(format!("{title} | {message}"), expected, "{name}");
        }
    }

    #[test]
    fn a_row_s_own_number_is_its_identity_where_it_has_none() {
        assert_eq!(numbered(42).to_string(), "00000000-0000-8000-8000-00000000002a");
        assert_eq!(numbered(42).get_version_num(), 8);
    }

    #[test]
    fn json_leaves_as_a_value_and_anything_else_as_text() {
        #[rustfmt::skip]
        let table = [
            ("an object",        r#"{"a": 1}"#,   r#"{"a": 1}"#),
            ("null",             "null",          "null"),
            ("cut off",          r#"{"a": "#,     r#""{\"a\": ""#),
            ("two values",       "1 2",           r#""1 2""#),
            ("nothing",          "",              r#""""#),
            ("no number of ours", r#"{"a":1e99999}"#, r#""{\"a\":1e99999}""#),
            ("half a character", r#"["\ud800"]"#, r#""[\"\\ud800\"]""#),
            ("a large number",   "1e300",         "1e300"),
        ];
        for (name, stored, expected) in table {
            assert_eq!(serde_json::to_string(&Json(stored)).unwrap(), expected, "{name}");
        }
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        for (depth, sound) in [(1, true), (100, true), (101, false), (129, false), (30_000, false)] {
            assert_eq!(sound_json(&nested(depth)).is_some(), sound, "{depth} deep");
        }
    }
}
