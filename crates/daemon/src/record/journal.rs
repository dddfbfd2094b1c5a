//! The journal: every entry in its order, each row chained to the one before it and signed ([`super::chain`]). It is the
//! truth, and `events` is its projection, written in the same transaction.
//!
//! A row that is changed, taken out, put in or moved breaks the chain there, and nobody adds one without the key. What a
//! chain cannot show is that its *ends* were cut: [`super::seal`] holds those. Rows go only at the oldest end, and leave
//! an anchor where the rest hangs.
//!
//! Nothing here knows what an entry means.

use std::fmt;

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection, SqliteExecutor};

use super::chain::{self, Digest, Head, Misfit, Signer, Since, Walk};
use super::new::NewEntry;
use super::seal::{Anchored, Seal};
use super::write::Write;

/// Rows in one statement. With seven columns each that is far below SQLite's 32,766 parameters, and the text of a full
/// statement is always the same, so it is parsed once.
const ROWS_TOGETHER: usize = 200;
/// Longest entry of a row that is read back, in bytes: what is written is bounded to a quarter of it.
const ENTRY_READ_MAX: u32 = 1024 * 1024;
/// Most rows that are kept, however young: some 2 GB. A clock that once ran years ahead must not keep what it wrote,
/// and all that came after it, for those years.
const ROWS_KEPT_MAX: i64 = 2_000_000;

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
    pub(super) prev: Vec<u8>,
    pub(super) hash: Vec<u8>,
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

    /// What the next row hangs on, as this one stands.
    pub(super) fn digest(&self) -> Digest {
        // A `prev` of another length is nobody's; the row does not fit then, and the walk names the place.
        let prev = <&Digest>::try_from(self.prev.as_slice()).unwrap_or(&[0; 32]);
        chain::digest(prev, self.seq, self.at_ms, self.cluster.as_deref(), &self.kind, &self.entry)
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
    /// What was approved about an incident could not be done for too long.
    Lapsed,
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
    /// Rows are signed from here on: those before it are of an earlier version.
    Signed,
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
            Kind::Lapsed => "lapsed",
            Kind::Ordered => "ordered",
            Kind::Storm => "storm",
            Kind::Anew => "anew",
            Kind::Operator => "operator",
            Kind::Break => "break",
            Kind::Signed => "signed",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where the chain ends.
pub(super) async fn head(conn: &mut SqliteConnection) -> Result<Head, sqlx::Error> {
    match last(conn).await? {
        Some(row) => Ok(Head { seq: row.seq, digest: row.digest() }),
        None => Ok(anchor(conn).await?.map_or(Head::NONE, |anchor| anchor.head)),
    }
}

/// The newest row.
pub(super) async fn last(conn: &mut SqliteConnection) -> Result<Option<JournalRow>, sqlx::Error> {
    let last = sqlx::query(concat!("SELECT ", columns!(), " FROM journal ORDER BY seq DESC LIMIT 1"));
    Ok(last.bind(ENTRY_READ_MAX).fetch_optional(conn).await?.as_ref().map(JournalRow::read))
}

/// What hangs on a row: its digest, or the anchor's where the row was pruned.
pub(super) async fn digest_at(conn: &mut SqliteConnection, seq: i64) -> Result<Option<Digest>, sqlx::Error> {
    let row = sqlx::query(concat!("SELECT ", columns!(), " FROM journal WHERE seq = ?2"));
    if let Some(row) = row.bind(ENTRY_READ_MAX).bind(seq).fetch_optional(&mut *conn).await? {
        return Ok(Some(JournalRow::read(&row).digest()));
    }
    let anchor = anchor(conn).await?;
    Ok(anchor.map(|anchor| anchor.head).filter(|head| head.seq == seq).map(|head| head.digest))
}

/// From where rows have to be signed, when the head says that it is from a row on.
pub(super) async fn since(conn: &mut SqliteConnection, first: i64) -> Result<Since, sqlx::Error> {
    let kind = sqlx::query("SELECT kind FROM journal WHERE seq = ?1").bind(first);
    let kind = kind.fetch_optional(conn).await?.map(|row| row.try_get::<String, _>("kind")).transpose()?;
    let broken = kind.is_some_and(|kind| kind == Kind::Break.as_str());
    Ok(if broken { Since::Break(first) } else { Since::Row(first) })
}

/// From where older rows were pruned.
pub(super) struct Anchor {
    pub(super) head: Head,
    pub(super) signature: Vec<u8>,
}

pub(super) async fn anchor(conn: &mut SqliteConnection) -> Result<Option<Anchor>, sqlx::Error> {
    let row = sqlx::query("SELECT seq, hash, signature FROM journal_anchor").fetch_optional(conn).await?;
    row.map(|row| {
        let hash: Vec<u8> = row.try_get("hash")?;
        // One of another length is nobody's, and is not signed.
        let head = Head { seq: row.try_get("seq")?, digest: hash.try_into().unwrap_or_default() };
        Ok(Anchor { head, signature: row.try_get("signature")? })
    })
    .transpose()
}

/// Moves it; `signed` says whether every row after it has to be.
pub(super) async fn set_anchor(
    conn: &mut SqliteConnection,
    signer: &Signer,
    head: Head,
    signed: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO journal_anchor (id, seq, hash, signature) VALUES (1, ?1, ?2, ?3) \
         ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, hash = excluded.hash, signature = excluded.signature",
    )
    .bind(head.seq)
    .bind(&head.digest[..])
    .bind(&signer.anchor(head, signed)[..])
    .execute(conn)
    .await
    .map(drop)
}

/// Appends entries in their order, after `head`, signed. Returns where the chain ends then.
pub(super) async fn append(
    conn: &mut SqliteConnection,
    signer: &Signer,
    head: Head,
    entries: &[NewEntry],
) -> Result<Head, sqlx::Error> {
    let mut last = head;
    for chunk in entries.chunks(ROWS_TOGETHER) {
        let chained: Vec<(i64, Digest, [u8; 32])> = chunk
            .iter()
            .map(|entry| {
                let prev = last.digest;
                last = last.next(entry);
                (last.seq, prev, signer.row(&last.digest))
            })
            .collect();
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO journal (seq, at_ms, cluster, kind, entry, prev, hash) ",
        );
        insert.push_values(chunk.iter().zip(&chained), |mut row, (entry, (seq, prev, signature))| {
            row.push_bind(*seq)
                .push_bind(entry.at.as_millisecond())
                .push_bind(entry.cluster.as_deref())
                .push_bind(entry.kind.as_str())
                .push_bind(entry.entry.as_str())
                .push_bind(&prev[..])
                .push_bind(&signature[..]);
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
        let mut since = since(conn, self.seal.first).await?;
        let mut signed = false;
        if let Some(anchor) = anchor(conn).await? {
            match self.seal.signer.anchored(anchor.head, &anchor.signature) {
                Anchored::Signed => (since, signed) = (Since::Row(anchor.head.seq), true),
                Anchored::Plain => {}
                Anchored::Foreign => return Ok(Err(Misfit::Anchor { seq: anchor.head.seq })),
            }
            at = anchor.head;
        }
        let mut walk = Walk::new(Some(&self.seal.signer), since, at);
        let mut gone = 0;
        // One more than go: what a row says is held by the one after it as well.
        for row in rows_after(&mut *conn, i64::MIN, self.batch.saturating_add(1)).await? {
            let stays = row.at() >= self.before && row.seq > oldest_kept;
            let fits =
                if stays || gone == self.batch.unsigned_abs() { walk.hangs(&row) } else { walk.step(&row) };
            if let Err(misfit) = fits {
                return Ok(Err(misfit));
            }
            if walk.at.seq != row.seq {
                break;
            }
            gone += 1;
        }
        if walk.at != at {
            sqlx::query("DELETE FROM journal WHERE seq <= ?1").bind(walk.at.seq).execute(&mut *conn).await?;
            signed |= walk.at.seq.saturating_add(1) >= self.seal.first;
            set_anchor(conn, &self.seal.signer, walk.at, signed).await?;
        }
        Ok(Ok(gone))
    }
}
