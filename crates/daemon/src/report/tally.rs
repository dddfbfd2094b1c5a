//! Tally: how many clients there are of each kind, for those who work only while somebody looks, and for `/metrics`.

use std::sync::atomic::{AtomicUsize, Ordering};

/// What a client came for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `/cluster` as the old page wants it.
    Arrays,
    /// `/cluster` as ours does.
    Deltas,
    /// `/events`.
    Events,
}

/// The counts.
#[derive(Debug, Default)]
pub(super) struct Tally([AtomicUsize; 3]);

impl Tally {
    /// Counts a client for as long as the value lives.
    pub(super) fn enter(&self, kind: Kind) -> Present<'_> {
        self.0[kind as usize].fetch_add(1, Ordering::Relaxed);
        Present(&self.0[kind as usize])
    }

    pub(super) fn count(&self, kind: Kind) -> usize {
        self.0[kind as usize].load(Ordering::Relaxed)
    }
}

/// A client that is there.
pub(super) struct Present<'a>(&'a AtomicUsize);

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
