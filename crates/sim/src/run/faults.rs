//! Faults: which of the virtual daemon's calls fail, and how, whatever the cluster would have answered.

use engine::observe::{Blindness, Cause};
use jiff::SignedDuration;

use super::PATIENCE;
use crate::rng::Rng;

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing comes within 10 s.
    Timeout,
    /// The server says 500.
    Error500,
    /// The endpoint says that the node behind it cannot be reached.
    Hop595,
    /// The connection is reset.
    Reset,
    /// The answer ends before its end.
    Truncated,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 5] =
        [Fault::Timeout, Fault::Error500, Fault::Hop595, Fault::Reset, Fault::Truncated];

    /// How long it takes until the call has failed.
    pub(super) fn takes(self) -> SignedDuration {
        match self {
            Fault::Timeout => PATIENCE,
            Fault::Error500 | Fault::Hop595 | Fault::Reset | Fault::Truncated => {
                SignedDuration::from_millis(50)
            }
        }
    }

    /// Whether the call was made, and only its answer lost.
    pub(super) fn loses_the_answer(self) -> bool {
        match self {
            Fault::Timeout | Fault::Reset | Fault::Truncated => true,
            Fault::Error500 | Fault::Hop595 => false,
        }
    }

    pub(super) fn blindness(self) -> Blindness {
        let (cause, words) = match self {
            Fault::Timeout => (Cause::Unreachable, "timed out"),
            Fault::Error500 => (Cause::Malformed, "500 got timeout"),
            Fault::Hop595 => (Cause::Unreachable, "595 No route to host"),
            Fault::Reset => (Cause::Unreachable, "connection reset by peer"),
            Fault::Truncated => (Cause::Malformed, "the answer ended before its end"),
        };
        Blindness { cause, words: words.into() }
    }
}

/// Which calls of a run fail. Calls are numbered from 1 in the order in which they are made.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Faults {
    /// None.
    #[default]
    None,
    /// One of them.
    Call {
        /// Its number.
        number: u64,
        /// How it fails.
        fault: Fault,
    },
    /// Each with this probability, in any way: the same seed lets the same calls fail.
    Each {
        /// From 0 to 1.
        probability: f64,
        /// See [`Rng::new`].
        seed: u64,
    },
}

impl Faults {
    /// How a call fails, if it does.
    pub(super) fn of(&self, call: u64) -> Option<Fault> {
        match self {
            Faults::None => None,
            Faults::Call { number, fault } => (*number == call).then_some(*fault),
            Faults::Each { probability, seed } => {
                let mut rng = Rng::new(seed ^ call.wrapping_mul(0xd6e8_feb8_6659_fd93));
                let fails = rng.fraction() < *probability;
                fails.then(|| Fault::ALL[rng.below(Fault::ALL.len())])
            }
        }
    }
}
