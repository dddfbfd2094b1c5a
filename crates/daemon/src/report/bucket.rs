//! Bucket: how often somebody may do something. A few times at once, then once per interval.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many tries at once, then one per interval (the generic cell rate algorithm).
#[derive(Clone, Copy)]
pub(super) struct Rate {
    pub(super) burst: u32,
    pub(super) every: Duration,
}

impl Rate {
    /// Takes one try from a bucket that will be full again at `full`; gives when it then will be.
    pub(super) fn take(self, full: Option<Instant>, now: Instant) -> Result<Instant, Duration> {
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

/// One household: an IPv4 address, or the /64 network of an IPv6 address, of which anybody has 2^64 addresses.
pub(super) fn network(peer: IpAddr) -> IpAddr {
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
        let bucket = Bucket::new(3, Duration::from_secs(10));
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
            let got = bucket.take(start + Duration::from_secs(second));
            assert_eq!(got, expected.map_err(Duration::from_secs), "{name}");
        }
    }

    #[test]
    fn an_ipv6_network_is_one_household() {
        let same = |a: &str, b: &str| network(a.parse().unwrap()) == network(b.parse().unwrap());
        assert!(same("2001:db8::1", "2001:db8::2"), "same /64");
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"), "another /64");
        assert!(!same("192.0.2.1", "192.0.2.2"));
        assert!(same("192.0.2.1", "::ffff:192.0.2.1"), "the same address, mapped");
    }
}
