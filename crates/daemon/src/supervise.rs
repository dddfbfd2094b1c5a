//! Keeps a task alive: one that ends or panics is started again, and says so.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long to wait before a dead task is started again: doubled at each death, up to the most.
const RESTART_AFTER: Duration = Duration::from_secs(1);
const RESTART_AFTER_MAX: Duration = Duration::from_secs(60);
/// A task that lived this long is well again: its next death is its first.
const WELL_AFTER: Duration = Duration::from_secs(300);

/// What a task has for its last checkpoint; a daemon stops within two seconds.
const PUT_AWAY_WITHIN: Duration = Duration::from_secs(1);

/// Tells tasks that the daemon stops.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

/// Makes a [`Stop`] and what sets it.
pub fn stop() -> (watch::Sender<bool>, Stop) {
    let (sender, receiver) = watch::channel(false);
    (sender, Stop(receiver))
}

impl Stop {
    /// Returns when the daemon stops, at once if it has.
    pub async fn asked(&mut self) {
        // The sender going away means the same.
        if self.0.wait_for(|stop| *stop).await.is_err() {
            tracing::debug!("the stop signal's sender is gone");
        }
    }

    /// Whether the daemon stops.
    pub fn is_asked(&self) -> bool {
        *self.0.borrow()
    }
}

/// Runs `make()` until the daemon stops, and again whenever it ends or panics before.
pub async fn keep_alive<F, T>(name: String, mut stop: Stop, mut make: F)
where
    F: FnMut() -> T,
    T: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let mut wait = RESTART_AFTER;
    while !stop.is_asked() {
        let began = tokio::time::Instant::now();
        // In a set of its own: whoever drops this future ends the task with it.
        let mut task = JoinSet::new();
        task.spawn(make());
        let ended = tokio::select! {
            ended = task.join_next() => ended,
            () = stop.asked() => {
                // It knows of the stop too and has things to put away; a question that hangs is cut off.
                if tokio::time::timeout(PUT_AWAY_WITHIN, task.join_next()).await.is_err() {
                    tracing::debug!(task = name, "cut off in the middle of something");
                }
                return;
            }
        };
        let Some(ended) = ended else { return };
        let why = match ended {
            Ok(Ok(())) => "it ended".to_owned(),
            Ok(Err(error)) => format!("{error:#}"),
            Err(join) if join.is_panic() => "it panicked".to_owned(),
            Err(join) => join.to_string(),
        };
        if stop.is_asked() {
            return;
        }
        if began.elapsed() >= WELL_AFTER {
            wait = RESTART_AFTER;
        }
        tracing::error!(task = name, why, again_in = ?wait, "a task died and is started again");
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.asked() => return,
        }
        wait = (wait * 2).min(RESTART_AFTER_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_or_ends_is_started_again_until_the_stop() {
        let (sender, stop) = stop();
        let lives = Arc::new(AtomicU32::new(0));
        let counted = lives.clone();
        let kept = tokio::spawn(keep_alive("poller".into(), stop, move || {
            let life = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                match life {
                    0 => panic!("the first life ends in a panic"),
                    1 => anyhow::bail!("the second in an error"),
                    2 => Ok(()),
                    _ => std::future::pending().await,
                }
            }
        }));
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(lives.load(Ordering::SeqCst), 4);
        sender.send(true).unwrap();
        kept.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_lets_a_task_put_its_things_away_and_cuts_off_one_that_hangs() {
        let put_away = Arc::new(AtomicU32::new(0));
        for hangs in [false, true] {
            let (sender, stop) = stop();
            let (done, told) = (put_away.clone(), stop.clone());
            let kept = tokio::spawn(keep_alive("loop".into(), stop, move || {
                let (done, mut told) = (done.clone(), told.clone());
                async move {
                    told.asked().await;
                    tokio::time::sleep(Duration::from_millis(if hangs { 60_000 } else { 200 })).await;
                    done.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                }
            }));
            tokio::time::sleep(Duration::from_secs(1)).await;
            sender.send(true).unwrap();
            kept.await.unwrap();
        }
        assert_eq!(put_away.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_ends_with_its_keeper() {
        let (_sender, stop) = stop();
        let alive = Arc::new(());
        let held = alive.clone();
        let mut keeper = Box::pin(keep_alive("poller".into(), stop, move || {
            let held = held.clone();
            async move {
                std::future::pending::<()>().await;
                drop(held);
                Ok(())
            }
        }));
        let started = tokio::time::timeout(Duration::from_secs(1), &mut keeper).await;
        assert!(started.is_err(), "it is kept alive");
        drop(keeper);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(Arc::strong_count(&alive), 1);
    }
}
