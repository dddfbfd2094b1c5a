//! A look at a store for `jarvis doctor`: whether it can be read, and how far it has come. Reads only, also beside the daemon.

use std::path::Path;

use sqlx::{Connection, Row};

use super::journal;
use super::migrate;
use super::open::Cause;
use super::verify::open;

/// How a store was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looked {
    /// Its schema; `None`: the original's, or nobody's yet.
    pub schema: Option<i64>,
    /// Whether a newer Jarvis has been here.
    pub newer: bool,
    /// Number of the newest row of its journal.
    pub journal: i64,
}

/// Looks at it.
///
/// # Errors
/// What SQLite says.
pub async fn look(path: &Path) -> Result<Looked, Cause> {
    let mut conn = open(path).await?;
    let there = "SELECT COUNT(*) AS n FROM sqlite_schema WHERE name IN ('jarvis_schema', 'journal', 'journal_anchor')";
    let there: i64 = sqlx::query(there).fetch_one(&mut conn).await?.try_get("n")?;
    let mut looked = Looked { schema: None, newer: false, journal: 0 };
    if there == 3 {
        let schema = sqlx::query("SELECT MAX(version) AS version FROM jarvis_schema");
        looked.schema = schema.fetch_one(&mut conn).await?.try_get("version")?;
        looked.newer = looked.schema.is_some_and(|schema| schema > migrate::newest());
        looked.journal = journal::head(&mut conn).await?.seq;
    }
    conn.close().await?;
    Ok(looked)
}
