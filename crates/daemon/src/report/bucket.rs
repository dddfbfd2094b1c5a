//! Buckets: how often somebody may try. A few tries at once, then one per interval; nobody is locked out for good.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many peers are remembered. Who is forgotten under a flood gets a fresh bucket; the flood as a whole is
/// bounded elsewhere (one hash at a time).
const PEERS_MAX: usize = 1024;

/// So many tries at once, then one per interval (the generic cell rate algorithm).
#[derive(Clone, Copy)]
struct Rate {
    burst: u32,
    every: Duration,
}

impl Rate {
    /// Takes one try from a bucket that will be full again at `full`; gives when it then will be.
    fn take(self, full: Option<Instant>, now: Instant) -> Result<Instant, Duration> {
        let full = full.unwrap_or(now).max(now);
        let owed = full.duration_since(now) + self.every;
        let allowed = self.every * self.burst;
        if owed > allowed { Err(owed - allowed) } else { Ok(full + self.every) }
    }
}

/// The tries of one.
pub(super) struct Bucket {
    rate: Rate,
    full_at: Mutex<Option<Instant>>,
}

impl Bucket {
    /// `burst` tries at once, then one per `every`.
    pub(super) fn new(burst: u32, every: Duration) -> Bucket {
        Bucket { rate: Rate { burst, every }, full_at: Mutex::new(None) }
    }

    /// Takes one try.
    ///
    /// # Errors
    /// How long until there is one.
    pub(super) fn take(&self, now: Instant) -> Result<(), Duration> {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        *full_at = Some(self.rate.take(*full_at, now)?);
        Ok(())
    }
}

/// The tries of each peer.
pub(super) struct Buckets {
    rate: Rate,
    full_at: Mutex<HashMap<IpAddr, Instant>>,
}

impl Buckets {
    /// `burst` tries at once, then one per `every`.
    pub(super) fn new(burst: u32, every: Duration) -> Buckets {
        Buckets { rate: Rate { burst, every }, full_at: Mutex::new(HashMap::new()) }
    }

    /// Takes one try.
    ///
    /// # Errors
    /// How long until there is one.
    pub(super) fn take(&self, peer: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = network(peer);
        if full_at.len() >= PEERS_MAX && !full_at.contains_key(&peer) {
            full_at.retain(|_, full| *full > now);
            let fullest = full_at.iter().min_by_key(|(_, full)| **full).map(|(peer, _)| *peer);
            if let Some(fullest) = fullest.filter(|_| full_at.len() >= PEERS_MAX) {
                full_at.remove(&fullest);
            }
        }
        let full = self.rate.take(full_at.get(&peer).copied(), now)?;
        full_at.insert(peer, full);
        Ok(())
    }

    /// The peer has shown that it is no stranger.
    pub(super) fn forgive(&self, peer: IpAddr) {
        self.full_at.lock().unwrap_or_else(PoisonError::into_inner).remove(&network(peer));
    }
}

/// One household: an IPv4 address, or the /64 network of an IPv6 address, of which anybody has 2^64 addresses.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        IpAddr::V4(address) => IpAddr::V4(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_refills_one_try_at_a_time() {
        let buckets = Buckets::new(3, Duration::from_secs(10));
        let peer = "192.0.2.1".parse().unwrap();
        let start = Instant::now();
        let table: [(u64, &str, Result<(), u64>); 8] = [
            (0, "first of the burst", Ok(())),
            (0, "second", Ok(())),
            (0, "third", Ok(())),
            (0, "beyond the burst", Err(10)),
            (4, "still beyond, and asking cost nothing", Err(6)),
            (10, "one has come back", Ok(())),
            (10, "but only one", Err(10)),
            (3600, "an hour later all is forgotten", Ok(())),
        ];
        for (second, name, expected) in table {
            let got = buckets.take(peer, start + Duration::from_secs(second));
            assert_eq!(got, expected.map_err(Duration::from_secs), "{name}");
        }
        buckets.forgive(peer);
        for _ in 0..3 {
            assert_eq!(buckets.take(peer, start), Ok(()), "forgiven");
        }
    }

    #[test]
    fn peers_do_not_share_and_the_table_is_bounded() {
        let buckets = Buckets::new(1, Duration::from_secs(10));
        let now = Instant::now();
        for n in 0..3 * PEERS_MAX as u32 {
            let peer = IpAddr::V4(std::net::Ipv4Addr::from_bits(n));
            assert_eq!(buckets.take(peer, now), Ok(()), "peer {n}");
        }
        assert!(buckets.full_at.lock().unwrap().len() <= PEERS_MAX);
    }

    #[test]
    fn an_ipv6_network_is_one_peer() {
        let buckets = Buckets::new(1, Duration::from_secs(10));
        let now = Instant::now();
        assert!(buckets.take("2001:db8::1".parse().unwrap(), now).is_ok());
        assert!(buckets.take("2001:db8::2".parse().unwrap(), now).is_err(), "same /64");
        assert!(buckets.take("2001:db8:0:1::1".parse().unwrap(), now).is_ok(), "another /64");
        assert!(buckets.take("192.0.2.1".parse().unwrap(), now).is_ok());
        assert!(buckets.take("::ffff:192.0.2.1".parse().unwrap(), now).is_err(), "the same address, mapped");
    }
}
