//! One answer for all who ask: fresh enough, it is shared; two questions of one kind never overlap.

use std::sync::Arc;

use engine::observe::Blindness;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::clock::Clock;

/// The latest answer to one question, and when it was asked.
pub(super) struct Shared<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    latest: Option<(Timestamp, Arc<T>)>,
    /// The latest failure, and when it came.
    failed: Option<(Instant, Blindness)>,
}

impl<T> Shared<T> {
    pub(super) fn new() -> Shared<T> {
        Shared { state: Mutex::new(State { latest: None, failed: None }) }
    }

    /// The latest answer if it is at most `age` old, otherwise a new one. Whoever asks meanwhile waits for the same
    /// answer, or the same failure: ten who wait for a hanging endpoint must not each let it hang anew.
    pub(super) async fn get(
        &self,
        clock: &Clock,
        age: SignedDuration,
        ask: impl AsyncFnOnce() -> Result<T, Blindness>,
    ) -> Result<(Timestamp, Arc<T>), Blindness> {
        let came = Instant::now();
        let mut state = self.state.lock().await;
        let now = clock.now();
        if let Some((asked_at, answer)) = &state.latest
            && now.duration_since(*asked_at) <= age
        {
            return Ok((*asked_at, Arc::clone(answer)));
        }
        if let Some((failed_at, blindness)) = &state.failed
            && *failed_at >= came
        {
            return Err(blindness.clone());
        }
        match ask().await {
            Ok(answer) => {
                let answer = Arc::new(answer);
                state.latest = Some((now, Arc::clone(&answer)));
                Ok((now, answer))
            }
            Err(blindness) => {
                state.failed = Some((Instant::now(), blindness.clone()));
                Err(blindness)
            }
        }
    }

    /// The latest answer, however old.
    pub(super) async fn latest(&self) -> Option<(Timestamp, Arc<T>)> {
        self.state.lock().await.latest.as_ref().map(|(asked_at, answer)| (*asked_at, Arc::clone(answer)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::observe::Cause;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test]
    async fn one_question_for_all_who_ask_and_none_is_kept_that_failed() {
        let (shared, clock, asked) = (Shared::new(), Clock::wall(), AtomicU32::new(0));
        let ask = async || {
            let number = asked.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            if number == 0 {
                return Err(Blindness { cause: Cause::Unreachable, words: "refused".into() });
            }
            Ok(number)
        };
        let minute = SignedDuration::from_mins(1);
        let failures = tokio::join!(shared.get(&clock, minute, ask), shared.get(&clock, minute, ask));
        assert!(failures.0.is_err() && failures.1.is_err(), "one failure for both who waited");
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        let answers = tokio::join!(shared.get(&clock, minute, ask), shared.get(&clock, minute, ask));
        assert_eq!((*answers.0.unwrap().1, *answers.1.unwrap().1), (1, 1), "asked once for both");
        let old = SignedDuration::from_secs(-1);
        assert_eq!(*shared.get(&clock, old, ask).await.unwrap().1, 2, "too old, asked again");
    }
}
