//! What operators set: the kill switch, the level, every other preference, and that an event is over; with who it was.
//!
//! One transaction stores the preference, its row of the journal and, where something is different now, the event
//! that tells everybody. What is in force is read here too, from a text that anybody may have written: what cannot be
//! read stops everything. Who may change what is asked before, by whoever knows the caller.

use engine::report::{EventKind, Severity, Urgency};
use jiff::Timestamp;
use serde_json::json;
use sqlx::{Row, SqliteConnection};

use super::chain::{Head, Signer};
use super::change::{ResolveEvent, SaveTurn, Saved, SetPreference};
use super::new::{NewEntry, NewEvent, Operator, cut};
use super::read;
use super::row::{EventRow, Preference, Source};
use super::write::Write;

/// The preference that stops all acting, as the original wrote it: `true` or `false`.
pub const KILL_SWITCH: &str = "autonomy.killSwitch";
/// The preference that says how much may be done: `0` to `4`.
pub const LEVEL: &str = "autonomy.level";

/// Most preferences that operators may make: as many as one answer shows, so that none is hidden.
const PREFERENCES_MAX: i64 = 1_000;
/// Longest value that the journal repeats, in bytes: it is to say what was changed, not to be a second store.
const REPEATED_MAX: usize = 1_000;
/// Longest name of who ended an event, in bytes.
const NAME_MAX: usize = 200;

/// What an operator sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Stop everything, or let it act again.
    KillSwitch(bool),
    /// How much may be done.
    Level {
        /// 0 to 4.
        level: u8,
        /// The highest one that the configuration allows: what is in force is never above it.
        ceiling: u8,
    },
    /// A preference that means nothing to the daemon.
    Other {
        /// Its key.
        key: String,
        /// Its text.
        value: String,
    },
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// As it is stored now.
    pub preference: Preference,
    /// Whether anything is in force that was not before.
    pub changed: bool,
}

/// The level in force. A fresh store starts at the ceiling; what cannot be read allows nothing but watching.
pub fn level_in_force(stored: Option<&str>, ceiling: u8) -> u8 {
    stored.map_or(ceiling, |level| level.trim().parse().unwrap_or(0).min(ceiling))
}

/// Whether the kill switch is on. What cannot be read stops everything.
pub fn kill_switch_in_force(stored: Option<&str>) -> bool {
    !matches!(stored.map(str::trim), None | Some("false"))
}

/// `L1_ALERT`, as the contract calls the levels.
pub fn level_name(level: u8) -> &'static str {
    match level {
        0 => "L0_OBSERVE",
        1 => "L1_ALERT",
        2 => "L2_RECOMMEND",
        3 => "L3_ACT_REPORT",
        _ => "L4_ACT_SILENT",
    }
}

impl Setting {
    /// The preference's key.
    pub fn key(&self) -> &str {
        match self {
            Setting::KillSwitch(_) => KILL_SWITCH,
            Setting::Level { .. } => LEVEL,
            Setting::Other { key, .. } => key,
        }
    }

    fn value(&self) -> String {
        match self {
            Setting::KillSwitch(active) => active.to_string(),
            Setting::Level { level, .. } => level.to_string(),
            Setting::Other { value, .. } => value.clone(),
        }
    }

    /// What the journal calls the deed.
    fn did(&self) -> &'static str {
        match self {
            Setting::KillSwitch(_) => "killSwitch",
            Setting::Level { .. } => "autonomyLevel",
            Setting::Other { .. } => "preference",
        }
    }

    /// Whether something else is in force once it is set.
    fn changes(&self, stored: Option<&str>) -> bool {
        match self {
            Setting::KillSwitch(active) => kill_switch_in_force(stored) != *active,
            Setting::Level { level, ceiling } => level_in_force(stored, *ceiling) != *level,
            Setting::Other { value, .. } => stored != Some(value),
        }
    }

    /// What everybody is told. `None`: what means nothing to the daemon is no news to anybody.
    fn event(&self, stored: Option<&str>, by: &Operator, at: Timestamp) -> Option<NewEvent> {
        let who = format!("{} ({})", by.name, by.via);
        let (severity, title, message) = match self {
            Setting::KillSwitch(true) => (
                Severity::Warning,
                "KILL SWITCH ACTIVATED".to_owned(),
                format!("{who} stopped everything that Jarvis does on its own"),
            ),
            Setting::KillSwitch(false) => (
                Severity::Info,
                "KILL SWITCH OFF".to_owned(),
                format!("{who} lets Jarvis act again, as far as its level allows"),
            ),
            Setting::Level { level, ceiling } => (
                Severity::Info,
                format!("Autonomy level set to {}", level_name(*level)),
                format!("{who} changed it from {}", level_name(level_in_force(stored, *ceiling))),
            ),
            Setting::Other { .. } => return None,
        };
        let event = NewEvent::plain(at, EventKind::Status, severity, Source::User, &title, &message);
        // Whether Jarvis acts at all concerns whoever relies on it, however bad that is.
        let urgency = match self {
            Setting::KillSwitch(_) => Urgency::Report(Severity::Critical),
            Setting::Level { .. } | Setting::Other { .. } => event.urgency,
        };
        // It is over with itself: nothing would ever end it.
        Some(NewEvent { resolves: true, urgency, ..event })
    }
}

/// Sets it, for somebody.
pub(super) struct Operate {
    pub(super) signer: Signer,
    pub(super) setting: Setting,
    pub(super) by: Operator,
    pub(super) at: Timestamp,
}

/// What was written; `done` is `None` where there is no room for one more preference, and then nothing was.
pub(super) struct Operated {
    pub(super) done: Option<Done>,
    saved: Saved,
}

impl Write for Operate {
    type Output = Operated;

    async fn apply(&self, conn: &mut SqliteConnection) -> Result<Self::Output, sqlx::Error> {
        let Operate { signer, setting, by, at } = self;
        let row = sqlx::query("SELECT value FROM preferences WHERE key = ?1").bind(setting.key());
        let row = row.fetch_optional(&mut *conn).await?;
        // What is no text, though it should be, reads as one that nobody understands.
        let stored: Option<String> = row.map(|row| row.try_get(0).unwrap_or_default());
        if stored.is_none() && matches!(setting, Setting::Other { .. }) && is_full(conn).await? {
            return Ok(Operated { done: None, saved: Saved { rows: Vec::new(), head: None } });
        }
        let stored = stored.as_deref();
        let changed = setting.changes(stored);
        let (key, value) = (setting.key().to_owned(), setting.value());
        let what = json!({
            "key": key, "old": stored.map(repeated), "new": repeated(&value), "changed": changed,
        });
        let entry = NewEntry::by_operator(*at, by, setting.did(), &what);
        let event = if changed { setting.event(stored, by, *at) } else { None };
        let events = event.into_iter().map(NewEvent::fitted).collect();
        let preference = SetPreference { key, value, at: *at }.apply(conn).await?;
        let signer = signer.clone();
        let saved = SaveTurn { signer, entries: vec![entry], events, checkpoint: None }.apply(conn).await?;
        Ok(Operated { done: Some(Done { preference, changed }), saved })
    }

    fn events(operated: &Self::Output) -> &[std::sync::Arc<EventRow>] {
        SaveTurn::events(&operated.saved)
    }

    fn head(operated: &Self::Output) -> Option<Head> {
        SaveTurn::head(&operated.saved)
    }
}

/// What became of somebody's word that an event is over.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    /// It is over; `now` by this word.
    Over {
        /// The event.
        row: Box<EventRow>,
        /// Not before.
        now: bool,
    },
    /// It belongs to an incident, which is over when what it is about is.
    OfIncident,
    /// There is none.
    Absent,
}

/// Somebody says that an event is over.
pub(super) struct EndEvent {
    pub(super) signer: Signer,
    pub(super) id: i64,
    pub(super) by: Operator,
    pub(super) at: Timestamp,
}

/// What was written, if anything.
pub(super) struct EndedEvent {
    pub(super) ended: Ended,
    saved: Saved,
}

impl Write for EndEvent {
    type Output = EndedEvent;

    async fn apply(&self, conn: &mut SqliteConnection) -> Result<Self::Output, sqlx::Error> {
        let EndEvent { signer, id, by, at } = self;
        let nothing = |ended| EndedEvent { ended, saved: Saved { rows: Vec::new(), head: None } };
        let Some(before) = read::event(&mut *conn, *id).await? else { return Ok(nothing(Ended::Absent)) };
        if before.incident_id.is_some() {
            return Ok(nothing(Ended::OfIncident));
        }
        if before.resolved {
            return Ok(nothing(Ended::Over { row: before.into(), now: false }));
        }
        let mut name = by.name.clone();
        cut(&mut name, NAME_MAX);
        let ended = ResolveEvent { id: *id, by: name, at: *at }.apply(conn).await?;
        let Some(row) = ended else { return Ok(nothing(Ended::Absent)) };
        let what =
            json!({ "seq": id, "uuid": row.uuid.to_string(), "cluster": row.cluster, "title": row.title });
        let entry = NewEntry::by_operator(*at, by, "eventResolved", &what);
        // Its own title is not repeated in the new one: some words there mean something to every page (contract 5).
        let message = format!("{} ({}) says that it is over: {}", by.name, by.via, row.title);
        let title = format!("Event {id} resolved");
        let event = NewEvent::plain(*at, EventKind::Status, Severity::Info, Source::User, &title, &message);
        let (cluster, node) = (row.cluster.clone(), row.node.clone());
        let event = NewEvent { resolves: true, cluster, node, ..event }.fitted();
        let (signer, events) = (signer.clone(), vec![event]);
        let saved = SaveTurn { signer, entries: vec![entry], events, checkpoint: None }.apply(conn).await?;
        Ok(EndedEvent { ended: Ended::Over { row: row.into(), now: true }, saved })
    }

    fn events(ended: &Self::Output) -> &[std::sync::Arc<EventRow>] {
        SaveTurn::events(&ended.saved)
    }

    fn head(ended: &Self::Output) -> Option<Head> {
        SaveTurn::head(&ended.saved)
    }
}

async fn is_full(conn: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let count: i64 = sqlx::query("SELECT COUNT(*) FROM preferences").fetch_one(conn).await?.try_get(0)?;
    Ok(count >= PREFERENCES_MAX)
}

fn repeated(value: &str) -> String {
    let mut value = value.to_owned();
    cut(&mut value, REPEATED_MAX);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_read_safely() {
        for (name, stored, ceiling, expected) in [
            ("fresh store", None, 2, 2),
            ("lowered", Some("1"), 2, 1),
            ("above the ceiling", Some("4"), 2, 2),
            ("the original's default under our ceiling", Some("3"), 3, 3),
            ("no number", Some("lots"), 3, 0),
            ("negative", Some("-1"), 3, 0),
        ] {
            assert_eq!(level_in_force(stored, ceiling), expected, "{name}");
        }
        for (name, stored, expected) in [
            ("fresh store", None, false),
            ("off", Some("false"), false),
            ("on", Some("true"), true),
            ("what the original wrote for a bad call", Some("undefined"), true),
        ] {
            assert_eq!(kill_switch_in_force(stored), expected, "{name}");
        }
    }

    #[test]
    fn what_is_a_change() {
        use Setting::{KillSwitch, Level};
        let other = |value: &str| Setting::Other { key: "theme".into(), value: value.into() };
        let level = |level| Level { level, ceiling: 2 };
        for (name, setting, stored, expected) in [
            ("on in a fresh store", KillSwitch(true), None, true),
            ("off in a fresh store", KillSwitch(false), None, false),
            ("on again", KillSwitch(true), Some("true"), false),
            ("on over what nobody understands", KillSwitch(true), Some("undefined"), false),
            ("off over what nobody understands", KillSwitch(false), Some("undefined"), true),
            ("the level that a fresh store starts at", level(2), None, false),
            ("a lower one", level(1), None, true),
            ("the ceiling over what is above it", level(2), Some("4"), false),
            ("another text", other("dark"), Some("light"), true),
            ("the same text", other("dark"), Some("dark"), false),
            ("a first text", other(""), None, true),
        ] {
            assert_eq!(setting.changes(stored), expected, "{name}");
        }
    }
}
