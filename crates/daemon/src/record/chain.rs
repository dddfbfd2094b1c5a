//! The chain: what makes a row of the journal the one that was written after another, by somebody who has the key.
//!
//! A row's *digest* (SHA-256) covers the digest of the row before it and everything that the row says; the next row keeps it as
//! `prev`. Its `hash` is the signature: the HMAC-SHA256 of its digest, with a key that is derived from the store's. So who
//! has the key knows of each row alone whether it is ours, wherever the head has come to; and who has none, or another one,
//! can still see that the rows fit each other, also those that were signed with a key that is lost.
//!
//! Rows of before rows were signed have the digest itself as their `hash`. From which row on each has to be signed is in
//! the signed head ([`super::seal`]), so that nobody can pass off a row of today as one of then.

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use super::journal::{JournalRow, Kind};
use super::new::NewEntry;
use crate::key;

/// A row's digest, or of the row before the first one.
pub(super) type Digest = [u8; 32];

/// Where a chain ends: the number and the digest of a row, or of what stands before the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) seq: i64,
    pub(super) digest: Digest,
}

impl Head {
    /// Before the first row.
    pub(super) const NONE: Head = Head { seq: 0, digest: [0; 32] };

    /// The row that comes after this one.
    pub(super) fn next(self, entry: &NewEntry) -> Head {
        let seq = self.seq.saturating_add(1);
        let at_ms = entry.at.as_millisecond();
        let cluster = entry.cluster.as_deref();
        Head { seq, digest: digest(&self.digest, seq, at_ms, cluster, entry.kind.as_str(), &entry.entry) }
    }
}

/// SHA-256 over the parts, each with its length, so that no two rows can be written as the same bytes.
pub(super) fn digest(
    prev: &Digest,
    seq: i64,
    at_ms: i64,
    cluster: Option<&str>,
    kind: &str,
    entry: &str,
) -> Digest {
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

/// Signs the rows and the ends. Keys of their own: nothing that is signed elsewhere with the store's key can pass for a row or
/// an end, nor one of them for the other.
#[derive(Clone)]
pub(super) struct Signer {
    pub(super) ends: [u8; 32],
    rows: [u8; 32],
}

/// What a row's signature is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// Made with this store's key.
    Ours,
    /// None: the row's digest, which anybody can compute.
    Plain,
    /// Of another key, or of another row.
    Foreign,
}

impl Signer {
    pub(super) fn new(key: &[u8; 32]) -> Signer {
        Signer {
            ends: key::mac(key, &[b"the ends of the journal"]),
            rows: key::mac(key, &[b"the rows of the journal"]),
        }
    }

    /// The signature of a row.
    pub(super) fn row(&self, digest: &Digest) -> [u8; 32] {
        key::mac(&self.rows, &[digest])
    }

    /// Whose signature a row has.
    pub(super) fn of(&self, row: &JournalRow) -> Sign {
        let digest = row.digest();
        if self.row(&digest).as_slice().ct_eq(&row.hash).into() {
            Sign::Ours
        } else if row.hash == digest {
            Sign::Plain
        } else {
            Sign::Foreign
        }
    }
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
    #[error("row {seq} was changed after it was written, or was written with another key")]
    Changed {
        /// The row.
        seq: i64,
    },
    /// It says what its writer wanted, who had no key.
    #[error("row {seq} is not signed: it was written by somebody who does not have this store's key")]
    Unsigned {
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
        "the head beside the database is missing or cannot be read, and the journal has come to row {last}{}",
        if *.signed { "" } else { ", which is not signed: anybody may have written it and all before it" }
    )]
    NoHead {
        /// The last row that is there.
        last: i64,
        /// Whether that one is signed with the store's key.
        signed: bool,
    },
    /// The head is somebody else's.
    #[error("the head beside the database, at row {head}, is not signed with this store's key")]
    HeadUnsigned {
        /// The row that it names.
        head: i64,
    },
    /// The key is not the one that all of it was signed with.
    #[error(
        "jarvis.key is another key than the journal was written with: neither its head nor its last row, {last}, is \
         signed with it"
    )]
    OtherKey {
        /// The last row.
        last: i64,
    },
    /// The table is gone although the store had one.
    #[error("the journal's table is missing")]
    NoTable,
}

/// From where rows have to be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Since {
    /// From this row on, as the head says, and rows before it are of before rows were signed.
    Row(i64),
    /// From this row on, which says that the journal was broken there: the key may have been another one before it.
    Break(i64),
    /// From the first row on that is: there is no head that would say it, or none yet.
    TheFirst,
}

/// A walk along the chain, from the oldest row to the newest one.
pub(super) struct Walk<'a> {
    signer: Option<&'a Signer>,
    since: Since,
    /// Where it has come to.
    pub(super) at: Head,
    /// First and last row without a signature.
    pub(super) plain: Option<(i64, i64)>,
    /// First and last row with one of another key.
    pub(super) foreign: Option<(i64, i64)>,
    /// Rows with this store's signature.
    pub(super) ours: u64,
}

impl<'a> Walk<'a> {
    /// Without a signer it is seen only whether the rows fit each other.
    pub(super) fn new(signer: Option<&'a Signer>, since: Since, at: Head) -> Walk<'a> {
        Walk { signer, since, at, plain: None, foreign: None, ours: 0 }
    }

    /// Whether a row hangs on where the walk has come to.
    pub(super) fn hangs(&self, row: &JournalRow) -> Result<(), Misfit> {
        let (seq, after) = (row.seq, self.at.seq);
        // The store leaves a hole itself where it found the newest end cut off, and says so in the row after it.
        let mended = row.kind == Kind::Break.as_str() && seq > after;
        if seq != after.saturating_add(1) && !mended {
            Err(Misfit::Missing { seq, after })
        } else if row.prev != self.at.digest {
            Err(Misfit::Replaced { seq, after })
        } else {
            Ok(())
        }
    }

    /// Goes on to a row, if it belongs there.
    pub(super) fn step(&mut self, row: &JournalRow) -> Result<(), Misfit> {
        self.hangs(row)?;
        let seq = row.seq;
        if row.entry.is_empty() {
            return Err(Misfit::Foreign { seq });
        }
        if let Some(signer) = self.signer {
            let has_to_be = match self.since {
                Since::Row(first) | Since::Break(first) => seq >= first,
                Since::TheFirst => self.ours > 0,
            };
            match (signer.of(row), has_to_be) {
                (Sign::Ours, _) => self.ours += 1,
                (Sign::Plain, true) => return Err(Misfit::Unsigned { seq }),
                (Sign::Plain, false) => self.plain = Some((self.plain.map_or(seq, |(from, _)| from), seq)),
                // What it says is held by the row after it, up to the break, which is signed.
                (Sign::Foreign, false) if matches!(self.since, Since::Break(_)) => {
                    self.foreign = Some((self.foreign.map_or(seq, |(from, _)| from), seq));
                }
                (Sign::Foreign, _) => return Err(Misfit::Changed { seq }),
            }
        }
        self.at = Head { seq, digest: row.digest() };
        Ok(())
    }
}
