//! The daemon's one clock: the engine's `now`, the tiers' intervals and the age of an answer all come from here.
//!
//! It never runs backwards, because a clock set back must not repeat what was done or lengthen a wait. For the
//! demo it may run faster than the world, together with the simulated cluster.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

/// Wall time that never runs backwards; see the module.
#[derive(Debug)]
pub struct Clock {
    pace: Pace,
    /// The latest time handed out, and when that was.
    latest: Mutex<(Timestamp, Instant)>,
}

#[derive(Debug)]
enum Pace {
    Wall,
    Faster { from: Timestamp, since: Instant, speed: f64 },
}

impl Clock {
    /// The world's clock.
    pub fn wall() -> Clock {
        Clock { pace: Pace::Wall, latest: Mutex::new((Timestamp::now(), Instant::now())) }
    }

    /// A clock that showed `from` at `since` and runs `speed` times as fast as the world.
    pub fn faster(from: Timestamp, since: Instant, speed: f64) -> Clock {
        Clock { pace: Pace::Faster { from, since, speed }, latest: Mutex::new((from, since)) }
    }

    /// What the clock shows. When the system's clock is set back, this one runs on from where it was.
    pub fn now(&self) -> Timestamp {
        match &self.pace {
            Pace::Wall => self.at(Timestamp::now(), Instant::now()),
            Pace::Faster { from, since, speed } => later(*from, since.elapsed().mul_f64(*speed)),
        }
    }

    /// Whether it is the demo's, which shows made-up time.
    pub fn is_made_up(&self) -> bool {
        match self.pace {
            Pace::Wall => false,
            Pace::Faster { .. } => true,
        }
    }

    fn at(&self, wall: Timestamp, instant: Instant) -> Timestamp {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let (shown, shown_at) = *latest;
        let now = wall.max(later(shown, instant.saturating_duration_since(shown_at)));
        *latest = (now, instant);
        now
    }

    /// How long to sleep in the world for `duration` to pass on this clock.
    pub fn real(&self, duration: Duration) -> Duration {
        match &self.pace {
            Pace::Wall => duration,
            Pace::Faster { speed, .. } => duration.div_f64(speed.max(f64::MIN_POSITIVE)),
        }
    }

    /// What goes by this clock's pace and never jumps: two of these are as far apart as the time between them is long on
    /// this clock. Not to be slept until, see [`Clock::sleep`].
    pub fn instant(&self) -> Instant {
        match &self.pace {
            Pace::Wall => Instant::now(),
            Pace::Faster { since, speed, .. } => *since + since.elapsed().mul_f64(*speed),
        }
    }

    /// Sleeps for so long on this clock.
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(self.real(duration)).await;
    }

    /// Sleeps until the clock shows `until`.
    pub async fn sleep_until(&self, until: Timestamp) {
        let left = Duration::try_from(until.duration_since(self.now())).unwrap_or(Duration::ZERO);
        tokio::time::sleep(self.real(left)).await;
    }
}

fn later(from: Timestamp, passed: Duration) -> Timestamp {
    let passed = SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
    from.checked_add(passed).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_set_back_runs_on_and_one_set_forward_jumps() {
        let start = Instant::now();
        let wall = |second: i64| Timestamp::from_second(1_000_000 + second).unwrap();
        let clock = Clock { pace: Pace::Wall, latest: Mutex::new((wall(0), start)) };
        #[rustfmt::skip]
        let table = [
            ("as the world goes",                 1,     1,     1),
            ("set back by an hour, it runs on", -3590,  11,    11),
            ("the world catches up",             -3580, 21,    21),
            ("set forward, it jumps",             7200, 22,  7200),
        ];
        for (row, world, passed, expected) in table {
            assert_eq!(clock.at(wall(world), start + Duration::from_secs(passed)), wall(expected), "{row}");
        }
    }

    #[test]
    fn a_faster_clock_sleeps_less() {
        let clock = Clock::faster(Timestamp::UNIX_EPOCH, Instant::now(), 6.0);
        assert_eq!(clock.real(Duration::from_secs(12)), Duration::from_secs(2));
        let since = Instant::now();
        let clock = Clock::faster(Timestamp::UNIX_EPOCH, since, 1000.0);
        let (before, between, after) = (since.elapsed(), clock.instant(), since.elapsed());
        let passed = between - since;
        assert!(before * 1000 <= passed && passed <= after * 1000, "{before:?} {passed:?} {after:?}");
    }
}
