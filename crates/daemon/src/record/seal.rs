//! The journal's two ends: the anchor at the oldest and the head at the newest, each signed with the store's key.
//!
//! The head is kept in a file beside the database, because a chain whose last rows are cut off is a whole chain. It is
//! written after each commit that appended something, by a task of its own that skips what is already outdated, so
//! that nobody waits for it; after a power cut or a kill it may be some rows behind, never ahead. At the next opening
//! the two are compared. What does not fit is said, and written into the journal itself as a `break`, so that going
//! on does not cover it up.
//!
//! What this cannot show: that the file, the head and the key were put back together to an earlier state (a restored
//! backup of the whole folder), or that somebody who can read the key wrote all of it anew.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;
use subtle::ConstantTimeEq;
use tokio::sync::watch;

use super::journal::{self, Hash, Head, Kind, Misfit};
use super::new::NewEntry;
use crate::key;
use crate::kill_point;
use crate::secret_file::SecretFile;

/// The head has some 200 bytes; a larger file is something else.
const SIZE_MAX: u64 = 4096;

/// Signs the ends.
#[derive(Clone)]
pub(super) struct Seal([u8; 32]);

/// Which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Anchor,
    Head,
}

impl Seal {
    pub(super) fn new(key: &[u8; 32]) -> Seal {
        // A key of its own: nothing that is signed elsewhere with the store's key can pass for an end.
        Seal(key::mac(key, &[b"the ends of the journal"]))
    }

    pub(super) fn sign(&self, what: What, head: Head) -> Hash {
        let what: &[u8] = match what {
            What::Anchor => b"anchor",
            What::Head => b"head",
        };
        key::mac(&self.0, &[what, b" ", &head.seq.to_be_bytes(), &head.hash])
    }

    pub(super) fn fits(&self, what: What, head: Head, signature: &[u8]) -> bool {
        self.sign(what, head).as_slice().ct_eq(signature).into()
    }
}

/// The file beside the database that holds the newest end.
#[derive(Clone, Debug)]
pub(super) struct HeadFile(PathBuf);

/// As it is written: JSON, hashes in hex.
#[derive(Serialize, Deserialize)]
struct Written {
    seq: i64,
    hash: String,
    signature: String,
}

/// A head as the file has it, whoever wrote it.
#[derive(Clone, Debug)]
pub(super) struct Signed {
    pub(super) head: Head,
    pub(super) signature: Vec<u8>,
}

impl HeadFile {
    pub(super) fn beside(database: &Path) -> HeadFile {
        let mut name = database.as_os_str().to_owned();
        name.push(".head");
        HeadFile(name.into())
    }

    /// `None`: there is no file, or it holds no head.
    pub(super) fn read(&self) -> io::Result<Option<Signed>> {
        let file = match File::open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut text = Vec::new();
        file.take(SIZE_MAX).read_to_end(&mut text)?;
        let Ok(Written { seq, hash, signature }) = serde_json::from_slice(&text) else { return Ok(None) };
        let (hash, signature) = (from_hex(&hash), from_hex(&signature));
        let hash = hash.and_then(|hash| Hash::try_from(hash).ok());
        Ok(hash.zip(signature).map(|(hash, signature)| Signed { head: Head { seq, hash }, signature }))
    }

    pub(super) fn write(&self, seal: &Seal, head: Head) -> anyhow::Result<()> {
        let written = Written {
            seq: head.seq,
            hash: to_hex(&head.hash),
            signature: to_hex(&seal.sign(What::Head, head)),
        };
        SecretFile::new(self.0.clone()).write(&serde_json::to_string(&written)?)
    }

    /// Writes every head that is sent, or the newest of several, until nobody can send one any more.
    pub(super) async fn keep(self, seal: Seal, mut heads: watch::Receiver<Head>) {
        let mut failing = false;
        while heads.changed().await.is_ok() {
            let head = *heads.borrow_and_update();
            kill_point::at("head.begun");
            let (file, seal) = (self.clone(), seal.clone());
            let written = tokio::task::spawn_blocking(move || file.write(&seal, head)).await;
            match written.map_err(anyhow::Error::from).and_then(|written| written) {
                Ok(()) => {
                    failing = false;
                    kill_point::at("head.kept");
                }
                // The rows are safe; said once, not with every row.
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!("a cut journal would not show: {error:#}");
                }
                Err(_) => {}
            }
        }
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// What is wrong with the newest end. `found` is what the journal holds at the number that the head names.
pub(super) fn judge(
    seal: Option<&Seal>,
    signed: Option<&Signed>,
    last: Head,
    found: Option<Hash>,
) -> Result<(), Misfit> {
    let Some(Signed { head, signature }) = signed else {
        // A store that is new has written nothing, and then there is nothing to miss.
        return if last == Head::NONE { Ok(()) } else { Err(Misfit::NoHead { last: last.seq }) };
    };
    if seal.is_some_and(|seal| !seal.fits(What::Head, *head, signature)) {
        return Err(Misfit::HeadUnsigned { head: head.seq });
    }
    if head.seq > last.seq {
        return Err(Misfit::Truncated { last: last.seq, head: head.seq });
    }
    if found == Some(head.hash) || *head == Head::NONE {
        Ok(())
    } else {
        Err(Misfit::NotTheHead { seq: head.seq })
    }
}

/// Compares the ends with what was signed, at the opening. What does not fit becomes a row of the journal, and the
/// ends are signed anew: going on must be possible, and must not be silent.
pub(super) async fn check_in(
    conn: &mut SqliteConnection,
    file: &HeadFile,
    seal: &Seal,
    now: Timestamp,
) -> Result<CheckedIn, sqlx::Error> {
    let signed = file.read().unwrap_or_else(|error| {
        tracing::warn!(%error, "the journal's head cannot be read");
        None
    });
    let last = journal::head(conn).await?;
    let anchor = journal::anchor(conn).await?;
    let found = match &signed {
        Some(Signed { head, .. }) => found(conn, head.seq).await?,
        None => None,
    };
    let unsigned = anchor.as_ref().filter(|anchor| !seal.fits(What::Anchor, anchor.head, &anchor.signature));
    let misfits = [
        unsigned.map(|anchor| Misfit::Anchor { seq: anchor.head.seq }),
        judge(Some(seal), signed.as_ref(), last, found).err(),
    ];
    let mut head = last;
    for misfit in misfits.into_iter().flatten() {
        tracing::error!("the journal does not fit: {misfit}");
        if let Misfit::Truncated { head: had, .. } = misfit {
            // No number is used twice, so that nobody who remembers one is given another row for it.
            head.seq = head.seq.max(had);
        }
        // A checkpoint that includes rows which are gone would hide the next ones, which may get their numbers.
        sqlx::query("UPDATE checkpoints SET journal_seq = min(journal_seq, ?1)")
            .bind(last.seq)
            .execute(&mut *conn)
            .await?;
        let said = signed.as_ref().map(|signed| {
            let Signed { head, signature } = signed;
            serde_json::json!({ "seq": head.seq, "hash": to_hex(&head.hash), "signature": to_hex(signature) })
        });
        let entry = serde_json::json!({ "found": misfit.to_string(), "last": last.seq, "head": said });
        let entry = NewEntry {
            at: now,
            cluster: None,
            kind: Kind::Break,
            entry: entry.to_string(),
            told: None,
            about: None,
            action: None,
        };
        head = journal::append(conn, head, &[entry]).await?;
    }
    if let Some(anchor) = unsigned {
        journal::set_anchor(conn, anchor.head, seal).await?;
    }
    Ok(CheckedIn { head, missing: signed.is_none() })
}

/// How the ends are after an opening.
pub(super) struct CheckedIn {
    /// Where the journal ends.
    pub(super) head: Head,
    /// Whether there was no head beside the database.
    pub(super) missing: bool,
}

/// The hash of a row, or of the anchor where the row was pruned.
pub(super) async fn found(conn: &mut SqliteConnection, seq: i64) -> Result<Option<Hash>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT hash FROM journal WHERE seq = ?1 UNION ALL SELECT hash FROM journal_anchor WHERE seq = ?1",
    )
    .bind(seq)
    .fetch_optional(conn)
    .await?;
    Ok(row.and_then(|row| sqlx::Row::try_get::<Vec<u8>, _>(&row, "hash").ok()?.try_into().ok()))
}
