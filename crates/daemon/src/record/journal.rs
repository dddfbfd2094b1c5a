//! The journal: every entry in its order, each row chained to the one before it by its hash. It is the truth, and
//! `events` is its projection, written in the same transaction.
//!
//! A row's hash covers the hash of the row before it and everything that the row says, so a row that is changed,
//! taken out, put in or moved breaks the chain there. What a chain alone cannot show is that its *ends* were cut:
//! [`super::seal`] holds those. Rows go only at the oldest end, and leave an anchor where the rest hangs.
//!
//! Nothing here knows what an entry means.

use std::fmt;

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection, SqliteExecutor};

use super::new::NewEntry;
use super::seal::{Seal, What};
use super::write::Write;

/// A row's hash, or of the row before the first one.
pub(super) type Hash = [u8; 32];

/// Rows in one statement. With seven columns each that is far below SQLite's 32,766 parameters, and the text of a full
/// statement is always the same, so it is parsed once.
const ROWS_TOGETHER: usize = 200;
/// Longest entry of a row that is read back, in bytes: what is written is bounded to a quarter of it.
const ENTRY_READ_MAX: u32 = 1024 * 1024;
/// Most rows that are kept, however young: some 2 GB. A clock that once ran years ahead must not keep what it wrote,
/// and all that came after it, for those years.
const ROWS_KEPT_MAX: i64 = 2_000_000;

/// Where a chain ends: the number and the hash of a row, or of what stands before the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) seq: i64,
    pub(super) hash: Hash,
}

impl Head {
    /// Before the first row.
    pub(super) const NONE: Head = Head { seq: 0, hash: [0; 32] };

    /// The row that comes after this one.
    fn next(self, entry: &NewEntry) -> Head {
        let seq = self.seq.saturating_add(1);
        let at_ms = entry.at.as_millisecond();
        Head {
            seq,
            hash: hash(&self.hash, seq, at_ms, entry.cluster.as_deref(), entry.kind.as_str(), &entry.entry),
        }
    }
}

/// One row as it is stored, whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalRow {
    /// Its number.
    pub seq: i64,
    /// When it happened, in Unix milliseconds.
    pub at_ms: i64,
    /// Whose it is; `None`: the store's own.
    pub cluster: Option<String>,
    /// What kind of row it is.
    pub kind: String,
    /// JSON text.
    pub entry: String,
    prev: Vec<u8>,
    hash: Vec<u8>,
}

/// The first row that does not fit, and how.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// Rows were taken away, or numbers changed.
    #[error("row {seq} follows row {after}: what was between them is missing")]
    Missing {
        /// The row.
        seq: i64,
        /// The one before it that is there.
        after: i64,
    },
    /// The row before it is not the one that was there when it was written.
    #[error("row {seq} was not written after row {after} as that stands: one of the two was replaced")]
    Replaced {
        /// The row.
        seq: i64,
        /// The one before it.
        after: i64,
    },
    /// It does not say what it said.
    #[error("row {seq} was changed after it was written")]
    Changed {
        /// The row.
        seq: i64,
    },
    /// It is too large to be one of ours.
    #[error("row {seq} is larger than any that is written here")]
    Foreign {
        /// The row.
        seq: i64,
    },
    /// The oldest end is not where a pruning left it.
    #[error(
        "the anchor at row {seq}, from where older rows were pruned, is not signed with this store's key"
    )]
    Anchor {
        /// The row that the anchor names.
        seq: i64,
    },
    /// The newest end is not where it was.
    #[error(
        "the journal ends at row {last}, and the head beside the database says that it had come to row {head}"
    )]
    Truncated {
        /// The last row that is there.
        last: i64,
        /// The one that the head names.
        head: i64,
    },
    /// The row that the head names is another one.
    #[error("row {seq} is not the one that the head beside the database names")]
    NotTheHead {
        /// The row.
        seq: i64,
    },
    /// The head was removed, or cannot be read.
    #[error(
        "the head beside the database is missing or cannot be read, and the journal has come to row {last}"
    )]
    NoHead {
        /// The last row that is there.
        last: i64,
    },
    /// The head is somebody else's.
    #[error("the head beside the database, at row {head}, is not signed with this store's key")]
    HeadUnsigned {
        /// The row that it names.
        head: i64,
    },
    /// The table is gone although the store had one.
    #[error("the journal's table is missing")]
    NoTable,
}

impl JournalRow {
    /// Reads the columns of [`COLUMNS`]; what has another type than ours reads as empty and then does not fit.
    pub(super) fn read(row: &SqliteRow) -> JournalRow {
        let text = |column| row.try_get::<Option<String>, _>(column).ok().flatten();
        JournalRow {
            seq: row.try_get("seq").unwrap_or_default(),
            at_ms: row.try_get("at_ms").unwrap_or_default(),
            cluster: text("cluster"),
            kind: text("kind").unwrap_or_default(),
            entry: text("entry").unwrap_or_default(),
            prev: row.try_get("prev").unwrap_or_default(),
            hash: row.try_get("hash").unwrap_or_default(),
        }
    }

    /// Where the chain is after this row, if the row belongs there.
    pub(super) fn after(&self, head: Head) -> Result<Head, Misfit> {
        let JournalRow { seq, at_ms, .. } = *self;
        // The store leaves a hole itself where it found the newest end cut off, and says so in the row after it.
        let mended = self.kind == Kind::Break.as_str() && seq > head.seq;
        if seq != head.seq.saturating_add(1) && !mended {
            return Err(Misfit::Missing { seq, after: head.seq });
        }
        if self.prev != head.hash {
            return Err(Misfit::Replaced { seq, after: head.seq });
        }
        if self.entry.is_empty() {
            return Err(Misfit::Foreign { seq });
        }
        let hash = hash(&head.hash, seq, at_ms, self.cluster.as_deref(), &self.kind, &self.entry);
        if self.hash != hash {
            return Err(Misfit::Changed { seq });
        }
        Ok(Head { seq, hash })
    }

    /// When it happened.
    pub fn at(&self) -> Timestamp {
        Timestamp::from_millisecond(self.at_ms).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// The columns that [`JournalRow::read`] reads.
macro_rules! columns {
    () => {
        "seq, at_ms, cluster, kind, iif(octet_length(entry) <= ?1, entry, '') AS entry, prev, hash"
    };
}

/// The kinds of rows. Intents, outcomes, decisions and operators' changes are to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An incident began.
    Opened,
    /// An incident got another condition.
    Turned,
    /// An incident ended.
    Resolved,
    /// News.
    Noted,
    /// How the cluster is.
    Heartbeat,
    /// Why nothing is done about an incident.
    Held,
    /// What could be done about it, if somebody approved.
    Advised,
    /// What is about to be done about it.
    Intended,
    /// How a call ended.
    Acted,
    /// Whether it helped.
    Verified,
    /// People are called.
    Escalated,
    /// An operator said something about an incident.
    Ordered,
    /// Too much happens at once, or that is over.
    Storm,
    /// A cluster's engine began anew, because what it knew could not be read.
    Anew,
    /// Somebody changed something that is Jarvis's own: the kill switch, the level, a user.
    Operator,
    /// The store found that its journal was cut or its ends unsigned.
    Break,
}

impl Kind {
    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Opened => "opened",
            Kind::Turned => "turned",
            Kind::Resolved => "resolved",
            Kind::Noted => "noted",
            Kind::Heartbeat => "heartbeat",
            Kind::Held => "held",
            Kind::Advised => "advised",
            Kind::Intended => "intended",
            Kind::Acted => "acted",
            Kind::Verified => "verified",
            Kind::Escalated => "escalated",
            Kind::Ordered => "ordered",
            Kind::Storm => "storm",
            Kind::Anew => "anew",
            Kind::Operator => "operator",
            Kind::Break => "break",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// SHA-256 over the parts, each with its length, so that no two rows can be written as the same bytes.
fn hash(prev: &Hash, seq: i64, at_ms: i64, cluster: Option<&str>, kind: &str, entry: &str) -> Hash {
    let mut sum = Sha256::new();
    sum.update(prev);
    sum.update(seq.to_be_bytes());
    sum.update(at_ms.to_be_bytes());
    sum.update([u8::from(cluster.is_some())]);
    for text in [cluster.unwrap_or_default(), kind, entry] {
        sum.update((text.len() as u64).to_be_bytes());
        sum.update(text.as_bytes());
    }
    sum.finalize().into()
}

/// Where the chain ends.
pub(super) async fn head(conn: &mut SqliteConnection) -> Result<Head, sqlx::Error> {
    let last = sqlx::query("SELECT seq, hash FROM journal ORDER BY seq DESC LIMIT 1");
    match last.fetch_optional(&mut *conn).await? {
        Some(row) => head_of(&row),
        None => Ok(anchor(conn).await?.map_or(Head::NONE, |anchor| anchor.head)),
    }
}

fn head_of(row: &SqliteRow) -> Result<Head, sqlx::Error> {
    let hash: Vec<u8> = row.try_get("hash")?;
    // A hash of another length is nobody's; the next row hangs on zeros then, and the walk names the place.
    Ok(Head { seq: row.try_get("seq")?, hash: hash.try_into().unwrap_or_default() })
}

/// From where older rows were pruned.
pub(super) struct Anchor {
    pub(super) head: Head,
    pub(super) signature: Vec<u8>,
}

pub(super) async fn anchor(conn: &mut SqliteConnection) -> Result<Option<Anchor>, sqlx::Error> {
    let row = sqlx::query("SELECT seq, hash, signature FROM journal_anchor").fetch_optional(conn).await?;
    row.map(|row| Ok(Anchor { head: head_of(&row)?, signature: row.try_get("signature")? })).transpose()
}

pub(super) async fn set_anchor(
    conn: &mut SqliteConnection,
    head: Head,
    seal: &Seal,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO journal_anchor (id, seq, hash, signature) VALUES (1, ?1, ?2, ?3) \
         ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, hash = excluded.hash, signature = excluded.signature",
    )
    .bind(head.seq)
    .bind(&head.hash[..])
    .bind(&seal.sign(What::Anchor, head)[..])
    .execute(conn)
    .await
    .map(drop)
}

/// Appends entries in their order, after `head`. Returns where the chain ends then.
pub(super) async fn append(
    conn: &mut SqliteConnection,
    head: Head,
    entries: &[NewEntry],
) -> Result<Head, sqlx::Error> {
    let mut last = head;
    for chunk in entries.chunks(ROWS_TOGETHER) {
        let chained: Vec<(Head, Hash)> = chunk
            .iter()
            .map(|entry| {
                let prev = last.hash;
                last = last.next(entry);
                (last, prev)
            })
            .collect();
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO journal (seq, at_ms, cluster, kind, entry, prev, hash) ",
        );
        insert.push_values(chunk.iter().zip(&chained), |mut row, (entry, (head, prev))| {
            row.push_bind(head.seq)
                .push_bind(entry.at.as_millisecond())
                .push_bind(entry.cluster.as_deref())
                .push_bind(entry.kind.as_str())
                .push_bind(entry.entry.as_str())
                .push_bind(&prev[..])
                .push_bind(&head.hash[..]);
        });
        insert.build().execute(&mut *conn).await?;
    }
    Ok(last)
}

/// At most so many rows after one, oldest first, whosever they are.
pub(super) async fn rows_after(
    conn: impl SqliteExecutor<'_>,
    seq: i64,
    limit: i64,
) -> Result<Vec<JournalRow>, sqlx::Error> {
    let rows =
        sqlx::query(concat!("SELECT ", columns!(), " FROM journal WHERE seq > ?2 ORDER BY seq LIMIT ?3"));
    let rows = rows.bind(ENTRY_READ_MAX).bind(seq).bind(limit).fetch_all(conn).await?;
    Ok(rows.iter().map(JournalRow::read).collect())
}

/// At most so many rows of one cluster after one, oldest first.
pub(super) const OF_CLUSTER: &str =
    concat!("SELECT ", columns!(), " FROM journal WHERE cluster = ?2 AND seq > ?3 ORDER BY seq LIMIT ?4");

pub(super) async fn rows_of(
    conn: impl SqliteExecutor<'_>,
    cluster: &str,
    seq: i64,
    limit: i64,
) -> Result<Vec<JournalRow>, sqlx::Error> {
    let rows = sqlx::query(OF_CLUSTER).bind(ENTRY_READ_MAX).bind(cluster.to_owned()).bind(seq).bind(limit);
    Ok(rows.fetch_all(conn).await?.iter().map(JournalRow::read).collect())
}

/// One batch of the oldest rows, as far as they are older than a time; how many went is returned. What does not fit
/// stays where it is: the traces of a foreign hand are not to be tidied away.
pub(super) struct Prune {
    pub(super) before: Timestamp,
    pub(super) batch: i64,
    pub(super) seal: Seal,
}

impl Write for Prune {
    type Output = Result<u64, Misfit>;

    async fn apply(&self, conn: &mut SqliteConnection) -> Result<Self::Output, sqlx::Error> {
        let oldest_kept = head(conn).await?.seq.saturating_sub(ROWS_KEPT_MAX);
        let mut at = Head::NONE;
        if let Some(anchor) = anchor(conn).await? {
            if !self.seal.fits(What::Anchor, anchor.head, &anchor.signature) {
                return Ok(Err(Misfit::Anchor { seq: anchor.head.seq }));
            }
            at = anchor.head;
        }
        let from = at;
        let mut gone = 0;
        for row in rows_after(&mut *conn, i64::MIN, self.batch).await? {
            if row.at() >= self.before && row.seq > oldest_kept {
                break;
            }
            at = match row.after(at) {
                Ok(head) => head,
                Err(misfit) => return Ok(Err(misfit)),
            };
            gone += 1;
        }
        if at != from {
            sqlx::query("DELETE FROM journal WHERE seq <= ?1").bind(at.seq).execute(&mut *conn).await?;
            set_anchor(conn, at, &self.seal).await?;
        }
        Ok(Ok(gone))
    }
}
