//! The one place that knows what time it really is, and how much faster the simulated cluster's runs.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

/// Cluster time from real time.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    began: Timestamp,
    began_real: Instant,
    speed: f64,
}

impl Clock {
    /// It is `at` now, and time runs `speed` times as fast as it really does.
    pub(super) fn new(at: Timestamp, speed: f64) -> Clock {
        Clock { began: at, began_real: Instant::now(), speed }
    }

    pub(super) fn now(&self) -> Timestamp {
        let elapsed = self.began_real.elapsed().as_secs_f64() * self.speed;
        // A clock that has run out of numbers stands still; nobody will live to see it.
        self.began.checked_add(SignedDuration::from_millis((elapsed * 1e3) as i64)).unwrap_or(Timestamp::MAX)
    }
}
