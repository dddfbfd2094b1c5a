//! `jarvis audit verify`: walks the journal from its anchor to its head, and names the first row that does not fit.
//!
//! Reads only, in batches and from one snapshot, so it may run beside the daemon and takes the same memory for any
//! journal. It mends nothing.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};

use super::journal::{self, Head, JournalRow, Kind, Misfit};
use super::open::{Cause, Code};
use super::seal::{self, HeadFile, Seal, What};
use crate::key;

/// Rows in memory at a time.
const BATCH: i64 = 500;
/// How long a foreign hand on the file is waited for.
const BUSY_MAX: Duration = Duration::from_secs(5);
/// Breaks that are repeated in words; the rest is counted.
const BREAKS_SHOWN: usize = 5;

/// Why a journal was not found to be whole.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Name another file.
    #[error("{} is not there", path.display())]
    NoStore {
        /// The file.
        path: PathBuf,
    },
    /// Somebody changed it, or it was restored from a backup.
    #[error("{}: the journal does not fit: {misfit}", path.display())]
    Misfit {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        misfit: Misfit,
    },
    /// The same, found by the daemon at a start, which wrote it down and went on.
    #[error("{}: the journal is whole since, but was broken before a start of the daemon: {breaks}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// Which rows say so, and what they say.
        breaks: String,
    },
    /// Look at the cause.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What was checked, and fits. Its words are a report for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    path: PathBuf,
    rows: u64,
    /// Number and time of the oldest and of the newest row.
    ends: Option<((i64, Timestamp), (i64, Timestamp))>,
    anchor: Option<i64>,
    head: Option<i64>,
    /// Whether there was a key to check signatures with.
    signatures: bool,
    /// Whether there is a journal at all.
    journal: bool,
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        if !self.journal {
            return writeln!(f, "{path}: no journal yet; the daemon begins one when it opens the store");
        }
        let signed =
            if self.signatures { "signed" } else { "its signature unchecked, there is no jarvis.key" };
        match self.ends {
            None => writeln!(f, "{path}: the journal is whole: no rows")?,
            Some(((first, from), (last, to))) => writeln!(
                f,
                "{path}: the journal is whole: {} row{}, {first} of {from:.0} to {last} of {to:.0}",
                self.rows,
                if self.rows == 1 { "" } else { "s" }
            )?,
        }
        match self.anchor {
            None => writeln!(f, "  oldest end: the very first row; nothing was pruned")?,
            Some(seq) => writeln!(f, "  oldest end: pruned up to row {seq} ({signed})")?,
        }
        match self.head {
            None => writeln!(f, "  newest end: nothing was written yet"),
            Some(seq) => writeln!(f, "  newest end: the head beside the database is at row {seq} ({signed})"),
        }
    }
}

/// Walks the journal of a store.
///
/// # Errors
/// What does not fit, or why it cannot be read.
pub async fn verify(path: &Path) -> Result<Verified, VerifyError> {
    if !path.is_file() {
        return Err(VerifyError::NoStore { path: path.to_owned() });
    }
    let unreadable = |source| VerifyError::Unreadable { path: path.to_owned(), source };
    let by_sqlite = |error: sqlx::Error| unreadable(Cause::from(error).into());
    // By the one path of the file, as the daemon has it: what lies beside it lies beside that one.
    let path_at = std::fs::canonicalize(path).map_err(|error| unreadable(error.into()))?;
    let folder = path_at.parent().unwrap_or(Path::new("."));
    let seal = key::read(folder).map_err(|error| unreadable(error.into()))?.map(|key| Seal::new(&key));
    // Before the snapshot: the head follows the rows, so rows that come meanwhile are no trouble.
    let signed = HeadFile::beside(&path_at).read().map_err(|error| unreadable(error.into()))?;
    let mut conn = open(&path_at).await.map_err(by_sqlite)?;
    let walked = async {
        sqlx::query("BEGIN").execute(&mut conn).await?;
        // The chain covers the journal alone; a page that was overwritten may be any table's.
        let pages: String = sqlx::query("PRAGMA quick_check(1)").fetch_one(&mut conn).await?.try_get(0)?;
        if pages != "ok" {
            return Err(sqlx::Error::Protocol(format!("its pages do not fit each other ({pages})")));
        }
        walk(&mut conn, seal.as_ref(), signed.as_ref()).await
    };
    let walked = walked.await;
    if let Err(error) = conn.close().await {
        tracing::debug!(%error, "the reading connection was not closed cleanly");
    }
    let path = path.to_owned();
    match walked.map_err(by_sqlite)? {
        Ok(walked) if walked.breaks == 0 => Ok(Verified {
            path,
            rows: walked.rows,
            ends: walked.ends,
            anchor: walked.anchor,
            head: signed.map(|signed| signed.head.seq).filter(|seq| *seq > 0),
            signatures: seal.is_some(),
            journal: walked.journal,
        }),
        Ok(walked) => Err(VerifyError::Broken { path, breaks: walked.words }),
        Err(misfit) => Err(VerifyError::Misfit { path, misfit }),
    }
}

/// Reading alone. Where the folder cannot be written and nobody has the file open, SQLite wants to be told that it
/// does not change.
async fn open(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(BUSY_MAX);
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    let settled = std::fs::metadata(PathBuf::from(wal)).map_or(true, |wal| wal.len() == 0);
    let opened = async {
        let mut conn = options.clone().connect().await?;
        sqlx::query("SELECT COUNT(*) FROM sqlite_schema").fetch_one(&mut conn).await?;
        Ok(conn)
    };
    match opened.await {
        Err(error) if settled && Code::of(&error) == Code::Denied => options.immutable(true).connect().await,
        opened => opened,
    }
}

#[derive(Default)]
struct Walked {
    journal: bool,
    rows: u64,
    ends: Option<((i64, Timestamp), (i64, Timestamp))>,
    anchor: Option<i64>,
    breaks: usize,
    /// What the breaks say.
    words: String,
}

impl Walked {
    fn row(&mut self, row: &JournalRow) {
        let end = (row.seq, row.at());
        self.rows += 1;
        self.ends = Some((self.ends.map_or(end, |(first, _)| first), end));
        if row.kind == Kind::Break.as_str() {
            self.breaks += 1;
            if self.breaks <= BREAKS_SHOWN {
                let entry: serde_json::Value = serde_json::from_str(&row.entry).unwrap_or_default();
                let found = entry["found"].as_str().unwrap_or("no words");
                let and = if self.breaks == 1 { "" } else { "; " };
                self.words.push_str(&format!("{and}row {} of {:.0} says: {found}", row.seq, row.at()));
            }
        }
    }
}

async fn walk(
    conn: &mut SqliteConnection,
    seal: Option<&Seal>,
    signed: Option<&seal::Signed>,
) -> Result<Result<Walked, Misfit>, sqlx::Error> {
    let there =
        sqlx::query("SELECT COUNT(*) AS n FROM sqlite_schema WHERE name IN ('journal', 'journal_anchor')");
    if there.fetch_one(&mut *conn).await?.try_get::<i64, _>("n")? < 2 {
        // Without a head there never was a journal here: the first opening that makes one writes both.
        return Ok(if signed.is_some() { Err(Misfit::NoTable) } else { Ok(Walked::default()) });
    }
    let mut walked = Walked { journal: true, ..Walked::default() };
    let mut at = Head::NONE;
    if let Some(anchor) = journal::anchor(conn).await? {
        if seal.is_some_and(|seal| !seal.fits(What::Anchor, anchor.head, &anchor.signature)) {
            return Ok(Err(Misfit::Anchor { seq: anchor.head.seq }));
        }
        at = anchor.head;
        walked.anchor = Some(at.seq);
    }
    let mut from = i64::MIN;
    loop {
        let rows = journal::rows_after(&mut *conn, from, BATCH).await?;
        let Some(last) = rows.last() else { break };
        from = last.seq;
        for row in &rows {
            at = match row.after(at) {
                Ok(head) => head,
                Err(misfit) => return Ok(Err(misfit)),
            };
            walked.row(row);
        }
    }
    let found = match signed {
        Some(signed) => seal::found(conn, signed.head.seq).await?,
        None => None,
    };
    if let Err(misfit) = seal::judge(seal, signed, at, found) {
        return Ok(Err(misfit));
    }
    if let Some(more) = walked.breaks.checked_sub(BREAKS_SHOWN).filter(|more| *more > 0) {
        walked.words.push_str(&format!("; and {more} more"));
    }
    Ok(Ok(walked))
}
