//! Truth: what really befell each guest, written down as it happens. Tests judge by it; no observer is ever shown it.

use engine::observe::GuestId;
use jiff::Timestamp;

use super::Cluster;

/// What is kept: more than any test makes happen, and a bound all the same.
const TRUTH_MAX: usize = 1_000_000;

/// Something that befell a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truth {
    /// When.
    pub at: Timestamp,
    /// Whom.
    pub guest: GuestId,
    /// What.
    pub befell: Befell,
}

/// What can befall a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Befell {
    /// A process of it began.
    Began,
    /// A process of it began for its backup alone: it never runs.
    Lent,
    /// That process ended with the backup.
    Returned,
    /// Its process ended, and nobody asked for it.
    Died,
    /// Its own system switched it off. PVE shows no difference to a death.
    PoweredOff,
    /// Its process ended because a task or PVE itself wanted it to.
    Asked,
    /// Its process ended with its node.
    NodeLost,
    /// Its system restarted from inside.
    Restarted,
    /// Its configuration lies on another node.
    Moved,
    /// It is not there any more.
    Removed,
}

impl Cluster {
    /// All that befell its guests, oldest first.
    pub fn truth(&self) -> &[Truth] {
        &self.truth
    }

    pub(super) fn befell(&mut self, guest: GuestId, befell: Befell) {
        if self.truth.len() < TRUTH_MAX {
            self.truth.push(Truth { at: self.now, guest, befell });
        }
    }
}
