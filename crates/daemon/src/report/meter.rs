//! Meter: what the pollers of one cluster count for `/metrics`. Written by the observer, read by whoever scrapes.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often something was tried, with what outcome, and how long it took in all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tries {
    /// Those that brought something.
    pub good: u64,
    /// Those that did not.
    pub bad: u64,
    /// How long all of them took.
    pub took: Duration,
}

type Kinds = BTreeMap<&'static str, Tries>;

/// The counts of one cluster. The kinds are words of the program, so that there are only so many.
#[derive(Debug, Default)]
pub struct Meter {
    rounds: Mutex<Kinds>,
    calls: Mutex<Kinds>,
}

impl Meter {
    /// A round of a tier, and whether it saw what it looked for.
    pub fn round(&self, tier: &'static str, took: Duration, saw: bool) {
        note(&self.rounds, tier, took, saw);
    }

    /// A call of PVE's API, and whether it was answered.
    pub fn call(&self, kind: &'static str, took: Duration, answered: bool) {
        note(&self.calls, kind, took, answered);
    }

    /// By tier.
    pub fn rounds(&self) -> BTreeMap<&'static str, Tries> {
        lock(&self.rounds).clone()
    }

    /// By kind of call.
    pub fn calls(&self) -> BTreeMap<&'static str, Tries> {
        lock(&self.calls).clone()
    }
}

fn lock(kinds: &Mutex<Kinds>) -> MutexGuard<'_, Kinds> {
    kinds.lock().unwrap_or_else(PoisonError::into_inner)
}

fn note(kinds: &Mutex<Kinds>, kind: &'static str, took: Duration, good: bool) {
    let mut kinds = lock(kinds);
    let tries = kinds.entry(kind).or_default();
    *(if good { &mut tries.good } else { &mut tries.bad }) += 1;
    tries.took += took;
}
