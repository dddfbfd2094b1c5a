//! Pump: the one task that sends the page's arrays to `/cluster`.
//!
//! One task, so that an array is written once for all who wait for it: 1,000 pages that come back after a restart
//! share a snapshot of megabytes instead of having 1,000 of them made.

use std::sync::Arc;
use std::time::Duration;

use socketioxide::SocketIo;
use socketioxide::extract::SocketRef;
use socketioxide::operators::BroadcastOperators;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::page::Array;
use super::tally::Kind;
use super::web::App;

/// How many that wait for a snapshot are served by one.
const TOGETHER_MAX: usize = 256;
/// The room of those who are being sent a snapshot.
const FRESH: &str = "fresh";
/// The room of those who want arrays; the others are sent deltas (`feeds`).
pub(super) const ARRAYS: &str = "arrays";
/// How soon it is looked again whether a cluster that cannot be seen is seen again.
const BLIND_EVERY: Duration = Duration::from_secs(2);

/// Runs until nobody can wish for a snapshot any more: until the server is closed.
pub(super) async fn run(io: SocketIo, app: Arc<App>, mut wished: mpsc::Receiver<SocketRef>) {
    let mut published = app.page.published();
    let mut shown = *published.borrow_and_update();
    let mut due = Array::ALL.map(|array| Instant::now() + array.resend());
    let mut fresh = Vec::new();
    loop {
        let looked_at = app.tally.count(Kind::Arrays) > 0;
        let next = due.iter().min().copied().unwrap_or_else(Instant::now);
        tokio::select! {
            count = wished.recv_many(&mut fresh, TOGETHER_MAX) => {
                if count == 0 {
                    return;
                }
                snapshot(&io, &app, &fresh).await;
                fresh.clear();
            }
            changed = published.changed() => {
                if changed.is_err() {
                    return;
                }
                let now = *published.borrow_and_update();
                for array in Array::ALL.into_iter().filter(|array| now[*array as usize] != shown[*array as usize]) {
                    broadcast(&io, &app, array).await;
                    due[array as usize] = Instant::now() + array.resend();
                }
                shown = now;
            }
            () = tokio::time::sleep_until(next), if looked_at => {
                // Old rows are sent again only while the cluster is seen: the page's DATA STALE is the truth when
                // it is not.
                let seeing = app.live.seeing(std::time::Instant::now());
                let now = Instant::now();
                for array in Array::ALL {
                    if due[array as usize] > now {
                        continue;
                    }
                    if seeing {
                        broadcast(&io, &app, array).await;
                    }
                    due[array as usize] = now + if seeing { array.resend() } else { BLIND_EVERY };
                }
            }
        }
    }
}

/// Everything that was published, to those who came or asked.
async fn snapshot(io: &SocketIo, app: &App, fresh: &[SocketRef]) {
    let Some(cluster) = io.of("/cluster") else { return };
    fresh.iter().for_each(|socket| socket.join(FRESH));
    for array in Array::ALL {
        send(cluster.clone().within(FRESH), app, array).await;
    }
    fresh.iter().for_each(|socket| socket.leave(FRESH));
}

async fn broadcast(io: &SocketIo, app: &App, array: Array) {
    if app.tally.count(Kind::Arrays) == 0 {
        return;
    }
    if let Some(cluster) = io.of("/cluster") {
        send(cluster.within(ARRAYS), app, array).await;
    }
}

async fn send(to: BroadcastOperators, app: &App, array: Array) {
    let Some(text) = app.page.text(array).await else { return };
    if let Err(error) = to.emit(array.event(), &*text).await {
        // Some client has no room. It loses nothing: the next array says all that this one says.
        tracing::debug!(array = array.event(), "not sent to every page: {error}");
    }
}
