//! Follow: sends one client of `/events` every event that it may see, once and in order, from the live stream while it
//! keeps up and from the store while it does not.
//!
//! Events of clusters that it may not see, or did not ask for, are passed over without a word: they are no gap.

use std::future::Future;
use std::time::Duration;

use serde::Serialize;
use socketioxide::extract::SocketRef;
use socketioxide::{SendError, SocketError};
use tokio::sync::broadcast::error::RecvError;

use crate::record::{Ahead, EventRow, LOOKED_AT_MAX, Scope, Store, StoreError};

/// What a client that comes back is given at most of what it missed.
pub(super) const MISSED_MAX: u32 = 1000;
/// How many rows are read at once for a client that lags.
const CATCH_UP_ROWS: u32 = 200;
/// A client that had no room is looked at again so often, for so long, and is then given only so many at a time:
/// one that reads gets 1,280 a second, and has room for a heartbeat meanwhile.
const ROOM_EVERY: Duration = Duration::from_millis(25);
const ROOM_ROWS: usize = 32;
const ROOM_WAIT: Duration = Duration::from_secs(30);
/// How long to wait before the store is asked again.
const STORE_EVERY: Duration = Duration::from_secs(1);

/// One client and what it may see.
pub(super) struct Follower<'a> {
    pub(super) store: &'a Store,
    pub(super) socket: &'a SocketRef,
    pub(super) scope: Scope,
}

/// Why an event was not sent.
enum Unsent {
    NoRoom,
    Gone,
}

struct Gone;

impl Follower<'_> {
    /// Ends when the client is gone or is to be put out. `newest` is the last event before it was let in, where that
    /// is known.
    pub(super) async fn follow(&self, since: Option<i64>, newest: Option<i64>) {
        // First where it stands, then the stream, then what came between: so nothing falls between them.
        let Some(mut cursor) = self.start(since, newest).await else { return };
        let mut live = self.store.committed();
        if !self.catch_up(&mut cursor, false).await {
            return;
        }
        loop {
            let kept_up = match live.recv().await {
                Ok(row) if row.id <= cursor => true,
                Ok(row) if !self.scope.holds(&row) => {
                    cursor = row.id;
                    true
                }
                Ok(row) => match self.send(&row) {
                    Ok(()) => {
                        cursor = row.id;
                        true
                    }
                    Err(Unsent::NoRoom) => false,
                    Err(Unsent::Gone) => return,
                },
                Err(RecvError::Lagged(_)) => false,
                // The store closes after the server; a client of the next one asks it for what it missed.
                Err(RecvError::Closed) => std::future::pending().await,
            };
            if !kept_up && !self.catch_up(&mut cursor, true).await {
                return;
            }
        }
    }

    /// The number after which the client is to be sent everything.
    async fn start(&self, since: Option<i64>, newest: Option<i64>) -> Option<i64> {
        let newest = match newest {
            Some(newest) => newest,
            None => self.insist(|store| store.get_recent_events(1)).await.first().map_or(0, |row| row.id),
        };
        let Some(since) = since else { return Some(newest) };
        if since > newest {
            // Another database, or an older copy of it: its numbers mean nothing to us.
            return self.gap(since, newest).then_some(newest);
        }
        // What was too old to be kept, or is too much to be given.
        let oldest = self.insist(|store| store.get_events_after_seq(0, 1)).await;
        let kept = oldest.first().map_or(newest, |row| row.id - 1);
        // What is so far behind is not looked for: of a quiet cluster it would be the whole table, for each who comes.
        let from = kept.max(newest - LOOKED_AT_MAX).max(since);
        let from = self.insist(|store| store.seq_with_at_most_behind(from, MISSED_MAX, &self.scope)).await;
        if from == since {
            return Some(since);
        }
        self.gap(since, from).then_some(from)
    }

    /// Tells a client that it will not be sent the events after `after` up to and with `until`.
    fn gap(&self, after: i64, until: i64) -> bool {
        self.socket.emit("gap", &Gap { after, until }).is_ok()
    }

    /// Sends everything after `cursor` that the store holds. False when the client is gone or has stood still for
    /// too long.
    async fn catch_up(&self, cursor: &mut i64, mut gently: bool) -> bool {
        loop {
            let after = *cursor;
            let Ahead { rows, next } =
                self.insist(|store| store.get_events_after_seq_of(after, CATCH_UP_ROWS, &self.scope)).await;
            for (sent, row) in rows.iter().enumerate() {
                if gently && sent % ROOM_ROWS == 0 {
                    tokio::time::sleep(ROOM_EVERY).await;
                }
                match tokio::time::timeout(ROOM_WAIT, self.send_patiently(row)).await {
                    Ok(Ok(waited)) => gently |= waited,
                    Ok(Err(Gone)) | Err(_) => return false,
                }
                *cursor = row.id;
            }
            match next {
                Some(next) => *cursor = next,
                None => return true,
            }
        }
    }

    /// Whether it had to wait for room.
    async fn send_patiently(&self, row: &EventRow) -> Result<bool, Gone> {
        let mut waited = false;
        loop {
            match self.send(row) {
                Ok(()) => return Ok(waited),
                Err(Unsent::Gone) => return Err(Gone),
                Err(Unsent::NoRoom) => tokio::time::sleep(ROOM_EVERY).await,
            }
            waited = true;
        }
    }

    fn send(&self, row: &EventRow) -> Result<(), Unsent> {
        match self.socket.emit("event", &row.socket()) {
            Ok(()) => Ok(()),
            Err(SendError::Socket(SocketError::InternalChannelFull)) => Err(Unsent::NoRoom),
            Err(SendError::Socket(SocketError::Closed)) => Err(Unsent::Gone),
            Err(SendError::Serialize(error)) => {
                // It would fail for everybody and for ever; the others are not held up for it.
                tracing::error!(seq = row.id, "an event could not be written: {error}");
                Ok(())
            }
        }
    }

    /// Asks until the store answers; the client leaving ends it.
    async fn insist<'s, T, F>(&'s self, ask: impl Fn(&'s Store) -> F) -> T
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        loop {
            match ask(self.store).await {
                Ok(rows) => return rows,
                Err(error) => {
                    tracing::warn!("a client waits for its events: {:#}", anyhow::Error::from(error));
                    tokio::time::sleep(STORE_EVERY).await;
                }
            }
        }
    }
}

#[derive(Serialize)]
struct Gap {
    after: i64,
    until: i64,
}
