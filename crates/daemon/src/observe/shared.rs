//! One answer for all who ask: fresh enough, it is shared; two questions of one kind never overlap.

use std::sync::Arc;

use engine::observe::Blindness;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;

use crate::clock::Clock;

/// The latest answer to one question, and when it was asked.
pub(super) struct Shared<T> {
    latest: Mutex<Option<(Timestamp, Arc<T>)>>,
}

impl<T> Shared<T> {
    pub(super) fn new() -> Shared<T> {
        Shared { latest: Mutex::new(None) }
    }

    /// The latest answer if it is at most `age` old, otherwise a new one. Whoever asks meanwhile waits for the same
    /// answer. A failure is not kept: the next one asks again.
    pub(super) async fn get(
        &self,
        clock: &Clock,
        age: SignedDuration,
        ask: impl AsyncFnOnce() -> Result<T, Blindness>,
    ) -> Result<(Timestamp, Arc<T>), Blindness> {
        let mut latest = self.latest.lock().await;
        let now = clock.now();
        if let Some((asked_at, answer)) = &*latest
            && now.duration_since(*asked_at) <= age
        {
            return Ok((*asked_at, Arc::clone(answer)));
        }
        let answer = Arc::new(ask().await?);
        *latest = Some((now, Arc::clone(&answer)));
        Ok((now, answer))
    }

    /// The latest answer, however old.
    pub(super) async fn latest(&self) -> Option<(Timestamp, Arc<T>)> {
        self.latest.lock().await.as_ref().map(|(asked_at, answer)| (*asked_at, Arc::clone(answer)))
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
        assert!(shared.get(&clock, minute, ask).await.is_err());
        let answers = tokio::join!(shared.get(&clock, minute, ask), shared.get(&clock, minute, ask));
        assert_eq!((*answers.0.unwrap().1, *answers.1.unwrap().1), (1, 1), "asked once for both");
        let old = SignedDuration::from_secs(-1);
        assert_eq!(*shared.get(&clock, old, ask).await.unwrap().1, 2, "too old, asked again");
    }
}
