//! The journal's two ends: the anchor at the oldest and the head at the newest, each signed with the store's key.
//!
//! The head is kept in a file beside the database, because a chain whose last rows are cut off is a whole chain. It is
//! written after each commit that appended something, by a task of its own that skips what is already outdated, so
//! that nobody waits for it; after a power cut or a kill it may be some rows behind, never ahead. At the next opening
//! the two are compared. What does not fit is said, and written into the journal itself as a `break`, so that going
//! on does not cover it up.
//!
//! Both ends say as well from where rows have to be signed, which those of earlier versions are not: the head names the row,
//! and an anchor has one of two signatures. An end of an earlier version says nothing of it, and is taken as it is: its rows
//! are sealed by the first one that is signed.
//!
//! What this cannot show: that the file, the head and the key were put back together to an earlier state (a restored
//! backup of the whole folder), or that somebody who can read the key wrote all of it anew.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;
use subtle::ConstantTimeEq;
use tokio::sync::watch;

use super::chain::{Digest, Head, Misfit, Sign, Signer};
use super::journal::{self, JournalRow, Kind};
use super::new::NewEntry;
use crate::key;
use crate::kill_point;
use crate::secret_file::SecretFile;

/// Rows that are looked through at a time for the first signed one.
const BATCH: i64 = 500;

/// What the ends are signed with, and say.
#[derive(Clone)]
pub(super) struct Seal {
    pub(super) signer: Signer,
    /// From this row on every one is signed.
    pub(super) first: i64,
}

/// What an anchor's signature says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchored {
    /// Every row after it has to be signed.
    Signed,
    /// Nothing of that.
    Plain,
    /// It is not of this store's key.
    Foreign,
}

impl Signer {
    /// The signature of an anchor; `signed`: every row after it has to be.
    pub(super) fn anchor(&self, head: Head, signed: bool) -> [u8; 32] {
        let what: &[u8] = if signed { b"anchor of signed rows " } else { b"anchor " };
        key::mac(&self.ends, &[what, &head.seq.to_be_bytes(), &head.digest])
    }

    pub(super) fn anchored(&self, head: Head, signature: &[u8]) -> Anchored {
        let fits = |signed| bool::from(self.anchor(head, signed).as_slice().ct_eq(signature));
        match (fits(true), fits(false)) {
            (true, _) => Anchored::Signed,
            (false, true) => Anchored::Plain,
            (false, false) => Anchored::Foreign,
        }
    }

    /// The signature of a head; `first`: from which row on each has to be signed, where it says that.
    fn head(&self, head: Head, first: Option<i64>) -> [u8; 32] {
        let (seq, digest) = (head.seq.to_be_bytes(), &head.digest[..]);
        match first {
            Some(first) => {
                key::mac(&self.ends, &[b"head of signed rows ", &seq, digest, &first.to_be_bytes()])
            }
            None => key::mac(&self.ends, &[b"head ", &seq, digest]),
        }
    }

    pub(super) fn fits(&self, signed: &Signed) -> bool {
        self.head(signed.head, signed.first).as_slice().ct_eq(&signed.signature).into()
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
    /// Absent in those of before rows were signed.
    signed_from: Option<i64>,
    signature: String,
}

/// A head as the file has it, whoever wrote it.
#[derive(Clone, Debug)]
pub(super) struct Signed {
    pub(super) head: Head,
    /// From which row on each has to be signed.
    pub(super) first: Option<i64>,
    signature: Vec<u8>,
}

impl HeadFile {
    pub(super) fn beside(database: &Path) -> HeadFile {
        let mut name = database.as_os_str().to_owned();
        name.push(".head");
        HeadFile(name.into())
    }

    /// `None`: there is no file, or it holds no head. Changes nothing.
    pub(super) fn read(&self) -> anyhow::Result<Option<Signed>> {
        let text = SecretFile::new(self.0.clone()).look()?.unwrap_or_default();
        let Ok(Written { seq, hash, signed_from: first, signature }) = serde_json::from_str(&text) else {
            return Ok(None);
        };
        let (hash, signature) = (from_hex(&hash), from_hex(&signature));
        let digest = hash.and_then(|hash| Digest::try_from(hash).ok());
        let head = digest.map(|digest| Head { seq, digest });
        Ok(head.zip(signature).map(|(head, signature)| Signed { head, first, signature }))
    }

    pub(super) fn write(&self, seal: &Seal, head: Head) -> anyhow::Result<()> {
        let written = Written {
            seq: head.seq,
            hash: to_hex(&head.digest),
            signed_from: Some(seal.first),
            signature: to_hex(&seal.signer.head(head, Some(seal.first))),
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

/// The newest end, as it was found.
pub(super) struct Newest<'a> {
    /// The head beside the database.
    pub(super) signed: Option<&'a Signed>,
    /// Where the journal ends.
    pub(super) last: Head,
    /// Whose signature the row there has, where there is one, and a key.
    pub(super) sign: Option<Sign>,
    /// What the journal holds at the number that the head names.
    pub(super) found: Option<Digest>,
}

impl Newest<'_> {
    /// What is wrong with it. Without a signer no signature is looked at.
    pub(super) fn judge(&self, signer: Option<&Signer>) -> Result<(), Misfit> {
        let last = self.last.seq;
        let Some(signed) = self.signed else {
            // A store that is new has written nothing, and then there is nothing to miss.
            let signed = signer.is_none() || self.sign == Some(Sign::Ours);
            return if self.last == Head::NONE { Ok(()) } else { Err(Misfit::NoHead { last, signed }) };
        };
        let Head { seq: head, digest } = signed.head;
        if signer.is_some_and(|signer| !signer.fits(signed)) {
            let other = self.sign == Some(Sign::Foreign);
            return Err(if other { Misfit::OtherKey { last } } else { Misfit::HeadUnsigned { head } });
        }
        if head > last {
            Err(Misfit::Truncated { last, head })
        } else if self.found == Some(digest) || signed.head == Head::NONE {
            Ok(())
        } else {
            Err(Misfit::NotTheHead { seq: head })
        }
    }
}

/// Compares the ends with what was signed, at the opening. What does not fit becomes a row of the journal, and the
/// ends are signed anew: going on must be possible, and must not be silent.
pub(super) async fn check_in(
    conn: &mut SqliteConnection,
    file: &HeadFile,
    signer: Signer,
    now: Timestamp,
) -> Result<CheckedIn, sqlx::Error> {
    let signed = file.read().unwrap_or_else(|error| {
        tracing::warn!("the journal's head cannot be read: {error:#}");
        None
    });
    let signed = signed.as_ref();
    let last = journal::head(conn).await?;
    let anchor = journal::anchor(conn).await?;
    let found = match signed {
        Some(signed) => journal::digest_at(conn, signed.head.seq).await?,
        None => None,
    };
    let sign = journal::last(conn).await?.map(|row| signer.of(&row));
    let unsigned = anchor
        .as_ref()
        .filter(|anchor| matches!(signer.anchored(anchor.head, &anchor.signature), Anchored::Foreign));
    let misfits = [
        unsigned.map(|anchor| Misfit::Anchor { seq: anchor.head.seq }),
        Newest { signed, last, sign, found }.judge(Some(&signer)).err(),
    ];
    let ours = signed.filter(|signed| signer.fits(signed));
    let first = match ours {
        Some(Signed { first: Some(first), .. }) => Some(*first),
        // One of an earlier version; rows may have been signed since, if a death came before the next head.
        Some(old) => first_signed(conn, &signer, old.head.seq).await?,
        None => None,
    };
    let mut entries = Vec::new();
    for misfit in misfits.into_iter().flatten() {
        tracing::error!("the journal does not fit: {misfit}");
        // A checkpoint that includes rows which are gone would hide the next ones, which may get their numbers.
        sqlx::query("UPDATE checkpoints SET journal_seq = min(journal_seq, ?1)")
            .bind(last.seq)
            .execute(&mut *conn)
            .await?;
        let said = signed.map(|signed| {
            let Signed { head, first, signature } = signed;
            serde_json::json!({
                "seq": head.seq, "hash": to_hex(&head.digest), "signed_from": first, "signature": to_hex(signature)
            })
        });
        let entry = serde_json::json!({ "found": misfit.to_string(), "last": last.seq, "head": said });
        entries.push(of_the_store(now, Kind::Break, &entry));
    }
    if let (Some(old), None) = (ours, first)
        && last != Head::NONE
    {
        let behind = Unproven::between(old.head.seq, last.seq);
        entries.push(of_the_store(now, Kind::Signed, &serde_json::json!({ "unproven": behind })));
    }
    let from = match ours {
        // No number is used twice, so that nobody who remembers one is given another row for it.
        Some(cut) if cut.head.seq > last.seq => Head { seq: cut.head.seq, ..last },
        Some(_) | None => last,
    };
    let first = first.unwrap_or_else(|| from.seq.saturating_add(1));
    let head = journal::append(conn, &signer, from, &entries).await?;
    if let Some(anchor) = unsigned {
        let signed = anchor.head.seq.saturating_add(1) >= first;
        journal::set_anchor(conn, &signer, anchor.head, signed).await?;
    }
    // Without a break nothing was appended after the hole.
    let head = if entries.is_empty() { last } else { head };
    Ok(CheckedIn { head, seal: Seal { signer, first }, missing: signed.is_none() })
}

/// How the ends are after an opening.
pub(super) struct CheckedIn {
    /// Where the journal ends.
    pub(super) head: Head,
    /// What to sign the next ones with.
    pub(super) seal: Seal,
    /// Whether there was no head beside the database.
    pub(super) missing: bool,
}

/// Rows of an earlier version, unsigned, that came after the last head of then: nobody ever signed for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Unproven {
    from: i64,
    to: i64,
}

impl Unproven {
    /// The rows after the head up to the last one, if there are some.
    pub(super) fn between(head: i64, last: i64) -> Option<Unproven> {
        (last > head).then(|| Unproven { from: head.saturating_add(1), to: last })
    }

    /// As the row says that begins the signed ones.
    pub(super) fn of(row: &JournalRow) -> Option<Unproven> {
        let entry: serde_json::Value = serde_json::from_str(&row.entry).ok()?;
        serde_json::from_value(entry.get("unproven")?.clone()).ok()
    }
}

impl std::fmt::Display for Unproven {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Unproven { from, to } = self;
        if from == to { write!(f, "row {from}") } else { write!(f, "rows {from} to {to}") }
    }
}

fn of_the_store(at: Timestamp, kind: Kind, entry: &serde_json::Value) -> NewEntry {
    NewEntry { at, cluster: None, kind, entry: entry.to_string(), told: None, about: None, action: None }
}

/// The first signed row after one.
async fn first_signed(
    conn: &mut SqliteConnection,
    signer: &Signer,
    after: i64,
) -> Result<Option<i64>, sqlx::Error> {
    let mut after = after;
    loop {
        let rows = journal::rows_after(&mut *conn, after, BATCH).await?;
        let Some(last) = rows.last() else { return Ok(None) };
        after = last.seq;
        if let Some(row) = rows.iter().find(|row| signer.of(row) == Sign::Ours) {
            return Ok(Some(row.seq));
        }
    }
}
