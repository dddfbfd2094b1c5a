//! Seats: how many sockets there may be, in all and per peer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// All seats.
pub(super) struct Seats {
    max: usize,
    max_per_peer: usize,
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// One seat, given back when dropped.
pub(super) struct Seat {
    seats: Arc<Seats>,
    peer: IpAddr,
    left: watch::Sender<()>,
}

/// Knows when a seat is given back.
pub(super) struct Vacated(watch::Receiver<()>);

impl Seats {
    pub(super) fn new(max: usize, max_per_peer: usize) -> Seats {
        Seats { max, max_per_peer, taken: Mutex::new(HashMap::new()) }
    }

    /// `None` when there is none left. Loopback is bounded by the whole alone: it is this machine's own programs,
    /// or a proxy that stands for everybody.
    pub(super) fn take(seats: &Arc<Seats>, peer: IpAddr) -> Option<Seat> {
        let mut taken = seats.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.get(&peer).copied().unwrap_or_default();
        let all: usize = taken.values().sum();
        if all >= seats.max || (own >= seats.max_per_peer && !peer.is_loopback()) {
            return None;
        }
        taken.insert(peer, own + 1);
        Some(Seat { seats: seats.clone(), peer, left: watch::Sender::default() })
    }
}

impl Seat {
    pub(super) fn vacated(&self) -> Vacated {
        Vacated(self.left.subscribe())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.peer) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.peer);
            }
        }
    }
}

impl Vacated {
    pub(super) async fn wait(&mut self) {
        // Nothing is ever sent; the end of the sender is the news.
        while self.0.changed().await.is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn seats_are_counted_and_given_back() {
        let seats = Arc::new(Seats::new(4, 2));
        let take = |peer: &str| Seats::take(&seats, peer.parse().unwrap());
        let first = take("192.0.2.1").unwrap();
        let _second = take("192.0.2.1").unwrap();
        assert!(take("192.0.2.1").is_none(), "two per peer");
        let _third = take("127.0.0.1").unwrap();
        let fourth = take("127.0.0.1").unwrap();
        assert!(take("127.0.0.1").is_none(), "four in all");

        let mut vacated = first.vacated();
        drop(first);
        vacated.wait().await;
        assert!(take("192.0.2.1").is_some(), "given back");
        drop(fourth);
        assert!(take("127.0.0.1").is_some());
        assert_eq!(seats.taken.lock().unwrap().len(), 2, "who has none is not remembered");
    }
}
