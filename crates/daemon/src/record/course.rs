//! Course: how far what is done about incidents has come, as their rows of the journal say.
//!
//! Not a column of its own: what was said last is one row, found by its incident, and there is nothing that could differ
//! from the journal.

use std::collections::HashMap;

use engine::decide::Hold;
use engine::record::{Entry, Fact, Step};
use jiff::Timestamp;
use sqlx::SqlitePool;

use super::row::{text, whole};

/// Longest entry that is read back, in bytes: one holds at most every objection that there is.
const ENTRY_MAX: u32 = 64 * 1024;

/// What was done about one incident, and what stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Course {
    /// How often something was done, calls that could not be made left out.
    pub attempts: u32,
    /// What objects, and since when these do.
    pub holds: Vec<(Hold, Timestamp)>,
    /// What an operator might approve.
    pub proposed: Option<String>,
    /// What is under way: the call, or the look at whether it helped.
    pub acting: Option<String>,
    /// Whether people were called.
    pub escalated: bool,
}

impl Course {
    fn of(attempts: u32, last: Option<Entry>) -> Course {
        let mut course = Course { attempts, ..Course::default() };
        let Some(Entry { at, fact: Fact::Remedy { step, .. }, .. }) = last else { return course };
        match step {
            Step::Held { holds, .. } => course.holds = holds.into_iter().map(|hold| (hold, at)).collect(),
            Step::Recommended { action, .. } => course.proposed = Some(action.to_string()),
            Step::Intended { attempt, .. } => course.acting = Some(attempt.action.to_string()),
            // What could not be made leaves it as it was; what was made is looked at.
            Step::Acted { attempt, outcome } => {
                let made = !matches!(outcome, engine::act::Outcome::NotMade { .. });
                course.acting = made.then(|| attempt.action.to_string());
            }
            Step::Escalated { action, .. } | Step::Lapsed { action, escalated: true, .. } => {
                (course.proposed, course.escalated) = (Some(action.to_string()), true)
            }
            // Nothing is said until the next turn of the engine.
            Step::Verified { .. } | Step::Lapsed { .. } | Step::Ordered { .. } => {}
        }
        course
    }
}

/// Of the incidents with these numbers (a JSON list).
pub(super) const COURSES: &str = "SELECT i.value AS incident, \
     (SELECT sum(j.kind = 'intended') - sum(j.kind = 'acted' AND instr(j.entry, '\"outcome\":{\"NotMade\"') > 0) \
      FROM incident_entries AS e CROSS JOIN journal AS j ON j.seq = e.journal_seq WHERE e.incident = i.value) AS attempts, \
     (SELECT iif(octet_length(j.entry) <= ?2, j.entry, '') FROM incident_entries AS e \
      CROSS JOIN journal AS j ON j.seq = e.journal_seq WHERE e.incident = i.value \
      AND (j.kind IN ('held', 'advised', 'intended', 'acted', 'verified', 'escalated', 'lapsed') \
      OR (j.kind = 'ordered' AND instr(j.entry, '\"order\":\"acknowledge\"') = 0)) \
      ORDER BY e.journal_seq DESC LIMIT 1) AS last FROM json_each(?1) AS i";

pub(super) async fn courses(
    pool: &SqlitePool,
    incidents: &[i64],
) -> Result<HashMap<i64, Course>, sqlx::Error> {
    let numbers = serde_json::Value::from(incidents).to_string();
    let rows = sqlx::query(COURSES).bind(numbers).bind(ENTRY_MAX).fetch_all(pool).await?;
    let course = |row| {
        let attempts = whole(row, "attempts").and_then(|count| u32::try_from(count).ok()).unwrap_or_default();
        // An entry of another version says nothing here.
        let last = text(row, "last").and_then(|entry| serde_json::from_str(&entry).ok());
        Some((whole(row, "incident")?, Course::of(attempts, last)))
    };
    Ok(rows.iter().filter_map(course).collect())
}
