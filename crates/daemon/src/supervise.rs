//! Keeps a task alive: one that ends or panics is started again, and says so.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;

/// How long to wait before a dead task is started again: doubled at each death, up to the most.
const RESTART_AFTER: Duration = Duration::from_secs(1);
const RESTART_AFTER_MAX: Duration = Duration::from_secs(60);
/// A task that lived this long is well again: its next death is its first.
const WELL_AFTER: Duration = Duration::from_secs(300);

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
        let mut task = tokio::spawn(make());
        let ended = tokio::select! {
            ended = &mut task => ended,
            () = stop.asked() => {
                // Its work is to look; a look that is cut off is only not told.
                task.abort();
                return;
            }
        };
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
}
