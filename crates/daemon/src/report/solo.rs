//! Solo: something that takes long and that many may ask for. It runs once at a time, whoever asks waits for some seconds, and
//! its last answer is kept for who comes next.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// How long who asks is kept waiting. A call as a whole has some seconds more; whoever wants the rest asks again.
const WAITS: Duration = Duration::from_secs(8);

/// One thing that runs once at a time.
#[derive(Debug)]
pub(crate) struct Solo<T>(watch::Sender<State<T>>);

#[derive(Debug)]
struct State<T> {
    runs: bool,
    /// What it last answered, and until when that is an answer.
    last: Option<(Instant, Arc<T>)>,
}

/// What is known of it now.
#[derive(Debug)]
pub(crate) struct Known<T> {
    /// Whether it runs.
    pub(crate) runs: bool,
    /// What it last answered.
    pub(crate) last: Option<Arc<T>>,
}

impl<T> Default for Solo<T> {
    fn default() -> Solo<T> {
        Solo(watch::Sender::new(State { runs: false, last: None }))
    }
}

impl<T: Send + Sync + 'static> Solo<T> {
    /// Its answer. It is run where it does not run and its last answer holds no longer: for how long it does is said of the
    /// answer and of the time that it took.
    pub(crate) async fn ask<F>(
        self: &Arc<Self>,
        holds: impl FnOnce(&T, Duration) -> Duration + Send + 'static,
        make: impl FnOnce() -> F,
    ) -> Known<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let begins = self.0.send_if_modified(|state| {
            let fresh = state.last.as_ref().is_some_and(|(until, _)| Instant::now() < *until);
            let begins = !state.runs && !fresh;
            state.runs |= begins;
            begins
        });
        if begins {
            let (turn, work) = (Turn(Arc::clone(self)), make());
            tokio::spawn(async move {
                let began = Instant::now();
                let answer = work.await;
                let until = Instant::now() + holds(&answer, began.elapsed());
                turn.0.0.send_modify(|state| state.last = Some((until, Arc::new(answer))));
            });
        }
        let mut state = self.0.subscribe();
        // Its sender is ours, so there is nothing but the end to wait for, or that it takes longer.
        let ended = tokio::time::timeout(WAITS, state.wait_for(|state| !state.runs)).await;
        let runs = !matches!(ended, Ok(Ok(_)));
        Known { runs, last: self.0.borrow().last.as_ref().map(|(_, answer)| Arc::clone(answer)) }
    }
}

/// That it runs; over when dropped, also by a panic, which must not keep everybody from it for good.
struct Turn<T>(Arc<Solo<T>>);

impl<T> Drop for Turn<T> {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.runs = false);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const HOLDS: Duration = Duration::from_secs(30);

    /// The second answer holds ten times as long as it took.
    fn holds(answer: &u32, took: Duration) -> Duration {
        if *answer == 2 { took * 10 } else { HOLDS }
    }

    /// Asks; the answer is how often it was run before.
    async fn ask(solo: &Arc<Solo<u32>>, runs: &Arc<AtomicU32>, takes: u64) -> (bool, Option<u32>) {
        let count = Arc::clone(runs);
        let known = solo
            .ask(holds, || async move {
                tokio::time::sleep(Duration::from_secs(takes)).await;
                count.fetch_add(1, Ordering::Relaxed) + 1
            })
            .await;
        (known.runs, known.last.map(|answer| *answer))
    }

    #[tokio::test(start_paused = true)]
    async fn once_at_a_time_and_its_last_answer_for_who_comes_next() {
        let (solo, runs) = (Arc::new(Solo::default()), Arc::default());
        let (first, second) = tokio::join!(ask(&solo, &runs, 2), ask(&solo, &runs, 2));
        assert_eq!((first, second), ((false, Some(1)), (false, Some(1))), "both at once");
        assert_eq!(ask(&solo, &runs, 2).await, (false, Some(1)), "a moment later");
        tokio::time::sleep(HOLDS).await;
        assert_eq!(ask(&solo, &runs, 20).await, (true, Some(1)), "it takes longer than anybody waits");
        assert_eq!(ask(&solo, &runs, 20).await, (true, Some(1)), "and is not begun again");
        assert_eq!(ask(&solo, &runs, 20).await, (false, Some(2)), "until it has ended");
        tokio::time::sleep(Duration::from_secs(199)).await;
        assert_eq!(ask(&solo, &runs, 2).await, (false, Some(2)), "it took 20 s, and holds 200");
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(ask(&solo, &runs, 2).await, (false, Some(3)));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_panics_keeps_nobody_from_the_next() {
        let (solo, runs) = (Arc::new(Solo::<u32>::default()), Arc::default());
        let known = solo.ask(holds, || async { panic!("on purpose") }).await;
        assert!(!known.runs && known.last.is_none());
        assert_eq!(ask(&solo, &runs, 1).await, (false, Some(1)));
    }
}
