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

use super::chain::{Head, Misfit, Signer, Since, Walk};
use super::journal::{self, JournalRow, Kind};
use super::open::{Cause, Code};
use super::seal::{Anchored, HeadFile, Newest, Signed, Unproven};
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
    /// Put the key beside it.
    #[error(
        "{}: there is no jarvis.key beside it, and without it nobody can tell who wrote the journal: put the key there that \
         it was written with, that of the same backup. Its rows fit each other: {rows}", path.display()
    )]
    NoKey {
        /// The file.
        path: PathBuf,
        /// Which rows there are.
        rows: String,
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
    rows: String,
    anchor: Option<i64>,
    head: Option<i64>,
    signatures: String,
    /// Whether there are rows, and none of them is signed.
    unsigned: bool,
    unproven: Option<Unproven>,
    /// Whether there is a journal at all.
    journal: bool,
}

impl Verified {
    /// Whether all of it was written by whoever has the key, or by an earlier version up to its last head. Where not, it fits,
    /// and whoever could write the file may have written some of it.
    pub fn is_proven(&self) -> bool {
        !self.unsigned && self.unproven.is_none()
    }
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        if !self.journal {
            return writeln!(f, "{path}: no journal yet; the daemon begins one when it opens the store");
        }
        writeln!(f, "{path}: the journal is whole: {}", self.rows)?;
        match self.anchor {
            None => writeln!(f, "  oldest end: the very first row; nothing was pruned")?,
            Some(seq) => writeln!(f, "  oldest end: pruned up to row {seq} (signed)")?,
        }
        match self.head {
            None => writeln!(f, "  newest end: nothing was written yet")?,
            Some(seq) => writeln!(f, "  newest end: the head beside the database is at row {seq} (signed)")?,
        }
        if !self.signatures.is_empty() {
            writeln!(f, "  signatures: {}", self.signatures)?;
        }
        match &self.unproven {
            None => Ok(()),
            Some(rows) => writeln!(
                f,
                "  unproven: {rows} came after the last head of a version that did not sign its rows; whoever could \
                 write the file may have written them"
            ),
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
    let signer = key::read(folder).map_err(|error| unreadable(error.into()))?.map(|key| Signer::new(&key));
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
        walk(&mut conn, signer.as_ref(), signed.as_ref()).await
    };
    let walked = walked.await;
    if let Err(error) = conn.close().await {
        tracing::debug!(%error, "the reading connection was not closed cleanly");
    }
    let path = path.to_owned();
    match walked.map_err(by_sqlite)? {
        // Whoever takes the key away must not be told that all is well.
        Ok(found) if signer.is_none() && found.rows > 0 => {
            Err(VerifyError::NoKey { path, rows: found.rows() })
        }
        Ok(found) if found.breaks > 0 => Err(VerifyError::Broken { path, breaks: found.words }),
        Ok(found) => Ok(Verified {
            path,
            rows: found.rows(),
            anchor: found.anchor,
            head: signed.map(|signed| signed.head.seq).filter(|seq| *seq > 0),
            signatures: found.signatures,
            unsigned: found.unsigned,
            unproven: found.unproven,
            journal: found.journal,
        }),
        Err(misfit) => Err(VerifyError::Misfit { path, misfit }),
    }
}

/// Reading alone. Where the folder cannot be written and nobody has the file open, SQLite wants to be told that it
/// does not change.
pub(super) async fn open(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
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
struct Found {
    journal: bool,
    rows: u64,
    /// Number and time of the oldest and of the newest row.
    ends: Option<((i64, Timestamp), (i64, Timestamp))>,
    anchor: Option<i64>,
    breaks: usize,
    /// What the breaks say.
    words: String,
    /// Which rows are signed.
    signatures: String,
    unsigned: bool,
    unproven: Option<Unproven>,
}

impl Found {
    fn row(&mut self, row: &JournalRow) {
        let end = (row.seq, row.at());
        self.rows += 1;
        self.ends = Some((self.ends.map_or(end, |(first, _)| first), end));
        if row.kind == Kind::Signed.as_str() {
            self.unproven = Unproven::of(row);
        }
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

    fn rows(&self) -> String {
        let Some(((first, from), (last, to))) = self.ends else { return "no rows".to_owned() };
        let s = if self.rows == 1 { "" } else { "s" };
        format!("{} row{s}, {first} of {from:.0} to {last} of {to:.0}", self.rows)
    }

    /// At the end of the walk.
    fn sum_up(&mut self, walk: &Walk<'_>) {
        let foreign = walk.foreign.map(|(from, to)| format!("{} signed with another key", are(from, to)));
        let plain = walk.plain.map(|(from, to)| format!("{} not signed", are(from, to)));
        let others: Vec<String> = [foreign, plain].into_iter().flatten().collect();
        if let Some(more) = self.breaks.checked_sub(BREAKS_SHOWN).filter(|more| *more > 0) {
            self.words.push_str(&format!("; and {more} more"));
        }
        if self.breaks > 0 && !others.is_empty() {
            self.words.push_str(&format!("; of those before it, {}", others.join(", and ")));
        }
        self.unsigned = self.rows > 0 && walk.plain.is_some() && walk.ours == 0;
        self.signatures = match walk.plain {
            _ if self.rows == 0 => String::new(),
            None => "every row is signed".to_owned(),
            Some(_) if self.unsigned => {
                "no row is signed; the daemon signs them from its next start on".to_owned()
            }
            Some((from, to)) => {
                format!(
                    "{} of an earlier version, sealed by row {}; every row since is signed",
                    are(from, to),
                    to + 1
                )
            }
        };
    }
}

fn are(from: i64, to: i64) -> String {
    if from == to { format!("row {from} is") } else { format!("rows {from} to {to} are") }
}

async fn walk(
    conn: &mut SqliteConnection,
    signer: Option<&Signer>,
    signed: Option<&Signed>,
) -> Result<Result<Found, Misfit>, sqlx::Error> {
    let there =
        sqlx::query("SELECT COUNT(*) AS n FROM sqlite_schema WHERE name IN ('journal', 'journal_anchor')");
    if there.fetch_one(&mut *conn).await?.try_get::<i64, _>("n")? < 2 {
        // Without a head there never was a journal here: the first opening that makes one writes both.
        return Ok(if signed.is_some() { Err(Misfit::NoTable) } else { Ok(Found::default()) });
    }
    let last = journal::last(conn).await?;
    let sign = last.as_ref().zip(signer).map(|(last, signer)| signer.of(last));
    let found = match signed {
        Some(signed) => journal::digest_at(conn, signed.head.seq).await?,
        None => None,
    };
    let newest = |last| Newest { signed, last, sign, found }.judge(signer);
    if let Some(other @ Misfit::OtherKey { .. }) = newest(journal::head(conn).await?).err() {
        // Then nothing fits, and the first row that does not is no news.
        return Ok(Err(other));
    }
    let ours = signed.filter(|signed| signer.is_some_and(|signer| signer.fits(signed)));
    let mut since = match ours.and_then(|signed| signed.first) {
        Some(first) => journal::since(conn, first).await?,
        None => Since::TheFirst,
    };
    let mut found = Found { journal: true, ..Found::default() };
    let mut at = Head::NONE;
    if let Some(anchor) = journal::anchor(conn).await? {
        at = anchor.head;
        match signer.map(|signer| signer.anchored(at, &anchor.signature)) {
            Some(Anchored::Foreign) => return Ok(Err(Misfit::Anchor { seq: at.seq })),
            Some(Anchored::Signed) => since = Since::Row(at.seq),
            Some(Anchored::Plain) | None => {}
        }
        found.anchor = Some(at.seq);
    }
    let mut walk = Walk::new(signer, since, at);
    let mut from = i64::MIN;
    loop {
        let rows = journal::rows_after(&mut *conn, from, BATCH).await?;
        let Some(last) = rows.last() else { break };
        from = last.seq;
        for row in &rows {
            if let Err(misfit) = walk.step(row) {
                return Ok(Err(misfit));
            }
            found.row(row);
        }
    }
    if let Err(misfit) = newest(walk.at) {
        return Ok(Err(misfit));
    }
    if let (Some(head), 0) = (ours, walk.ours) {
        found.unproven = Unproven::between(head.head.seq, walk.at.seq);
    }
    found.sum_up(&walk);
    Ok(Ok(found))
}
