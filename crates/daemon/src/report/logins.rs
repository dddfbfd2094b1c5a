//! Logins: how often somebody may try a password. Who guesses is slowed down; nobody is locked out.
//!
//! Four kinds of trying, each with its own budget:
//!
//! - **A browser in which the user whom it names has logged in before** (`auth::device`): a few tries at once, then one per
//!   interval. Nobody else reaches this budget, also not from the same address.
//! - **A place from which that user has logged in before**: as many. What is done from other places does not reach it; who
//!   else is at that place shares it.
//! - **A stranger**, while few strangers fail: as many, per address.
//! - **A stranger, while strangers fail**: has to announce itself. The answer says when to come back, from one second up
//!   to one minute the more they fail, and that turn is then kept for it. So each guess costs an address a minute, and yet a
//!   user at a new place is let in by the second try. Turns are [`TURN_EVERY`] apart, so all strangers together
//!   never use more than a part of this machine: with a thousand addresses guessing, the wait is 100 s at most.
//!
//! What strangers fail is counted for all names together. Counted for each, the wait would tell which names exist, or
//! made-up names would have to be counted too, of which there is no end.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::auth::{Device, Lane};
use super::bucket::{Rate, network};

/// Strangers' failures at which they begin to wait, and how fast one is forgotten.
const FAILURES_FREE: u32 = 10;
const FAILURE_FORGOTTEN: Duration = Duration::from_secs(6);
/// Beyond so many, more make no difference: it is over ten minutes after the last one.
const FAILURES_MAX: u32 = 100;
/// So many failures more double the wait.
const DOUBLES_EVERY: u32 = 10;
const WAIT_MIN: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Turns of strangers that wait are so far apart: a hash takes some 40 ms.
const TURN_EVERY: Duration = Duration::from_millis(100);
/// How long a turn is kept for whoever was told to come back: people do not come to the second.
const TURN_KEPT: Duration = Duration::from_secs(120);
/// Strangers that are remembered, and that may wait; some 100 bytes each. Whoever comes while so many addresses attack is
/// told to come again, without a promise.
const STRANGERS_MAX: usize = 16_384;
/// How often who may be forgotten is looked for.
const SWEPT_EVERY: Duration = Duration::from_secs(1);
/// Known places and browsers whose tries are remembered, some 100 bytes each; a user has 64 places, and a browser more with
/// each login. Beyond that the one that has least left to wait is forgotten.
const KNOWN_MAX: usize = 16_384;

/// From where somebody tries, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// A browser in which the user has logged in before.
    Device(Device),
    /// An address or network from which the user has logged in before.
    Known(IpAddr),
    /// Any other one.
    Strange(IpAddr),
}

/// Everybody's tries.
pub(super) struct Logins {
    rate: Rate,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: HashMap<(Place, Box<str>), Instant>,
    strangers: HashMap<IpAddr, Stranger>,
    /// When the last failure of strangers will be forgotten.
    failures_until: Option<Instant>,
    /// When those who have nothing to wait for were last looked for.
    swept: Option<Instant>,
    /// The first turn that is not promised to anybody.
    next_turn: Option<Instant>,
}

/// What is remembered of an address.
#[derive(Default)]
struct Stranger {
    /// When its bucket is full again.
    full_at: Option<Instant>,
    /// The one user that it has tried since its bucket was full, and how often; `None`: several.
    only: Option<(Box<str>, u32)>,
    /// When its turn is.
    turn: Option<Instant>,
}

/// A try that may be made. Tell how it ended with [`Logins::succeeded`]; what is not told has failed.
#[derive(Debug)]
pub(super) struct Try {
    place: Place,
    name: Box<str>,
}

impl Try {
    /// Where its password waits to be compared.
    pub(super) fn lane(&self) -> Lane {
        match self.place {
            Place::Device(_) | Place::Known(_) => Lane::Known,
            Place::Strange(_) => Lane::Stranger,
        }
    }
}

impl Logins {
    /// `burst` tries at once, then one per `every`.
    pub(super) fn new(burst: u32, every: Duration) -> Logins {
        Logins { rate: Rate { burst, every }, state: Mutex::default() }
    }

    /// Takes one try.
    ///
    /// # Errors
    /// How long until there is one.
    pub(super) fn take(&self, place: Place, name: &str, now: Instant) -> Result<Try, Duration> {
        let name: Box<str> = name.chars().take(64).collect::<String>().into();
        let place = match place {
            Place::Device(device) => Place::Device(device),
            Place::Known(peer) => Place::Known(network(peer)),
            Place::Strange(peer) => Place::Strange(network(peer)),
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match place {
            Place::Device(_) | Place::Known(_) => state.take_known(self.rate, (place, name.clone()), now)?,
            Place::Strange(peer) => state.take_stranger(self.rate, peer, &name, now)?,
        }
        Ok(Try { place, name })
    }

    /// Whoever tried knew the password: the failures before it, of this user from there, were slips.
    pub(super) fn succeeded(&self, tried: Try) {
        let Try { place, name } = tried;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match place {
            Place::Device(_) | Place::Known(_) => {
                state.known.remove(&(place, name));
            }
            Place::Strange(peer) => {
                // Not those of other users: who has a password of their own must not be able to guess on for ever.
                let only = state.strangers.get(&peer).and_then(|stranger| stranger.only.clone());
                if let Some((_, count)) = only.filter(|(only, _)| *only == name) {
                    state.strangers.remove(&peer);
                    state.failures_until =
                        state.failures_until.and_then(|until| until.checked_sub(FAILURE_FORGOTTEN * count));
                }
            }
        }
    }
}

impl State {
    fn take_known(&mut self, rate: Rate, key: (Place, Box<str>), now: Instant) -> Result<(), Duration> {
        if self.known.len() >= KNOWN_MAX && !self.known.contains_key(&key) {
            self.known.retain(|_, full| *full > now);
            let soonest = self.known.iter().min_by_key(|(_, full)| **full).map(|(key, _)| key.clone());
            if let Some(soonest) = soonest.filter(|_| self.known.len() >= KNOWN_MAX) {
                self.known.remove(&soonest);
            }
        }
        let full = rate.take(self.known.get(&key).copied(), now)?;
        self.known.insert(key, full);
        Ok(())
    }

    fn take_stranger(&mut self, rate: Rate, peer: IpAddr, name: &str, now: Instant) -> Result<(), Duration> {
        if !self.has_room(peer, now) {
            return Err(WAIT_MAX);
        }
        let wait = wait(self.failures(now));
        let stranger = self.strangers.entry(peer).or_default();
        let full = rate.take(stranger.full_at, now)?;
        if !wait.is_zero() {
            match stranger.turn {
                Some(turn) if turn > now => return Err(turn - now),
                Some(turn) if now.duration_since(turn) <= TURN_KEPT => {}
                Some(_) | None => {
                    let turn = (now + wait).max(self.next_turn.unwrap_or(now));
                    stranger.turn = Some(turn);
                    self.next_turn = Some(turn + TURN_EVERY);
                    return Err(turn - now);
                }
            }
        }
        stranger.turn = None;
        let fresh = stranger.full_at.is_none_or(|full| full <= now);
        stranger.only = match stranger.only.take() {
            _ if fresh => Some((name.into(), 1)),
            Some((only, count)) if *only == *name => Some((only, count + 1)),
            Some(_) | None => None,
        };
        stranger.full_at = Some(full);
        let most = now + FAILURE_FORGOTTEN * FAILURES_MAX;
        let until = self.failures_until.unwrap_or(now).max(now) + FAILURE_FORGOTTEN;
        self.failures_until = Some(until.min(most));
        Ok(())
    }

    /// How many tries of strangers failed and are not forgotten; those that are not decided yet count.
    fn failures(&self, now: Instant) -> u32 {
        let left = self.failures_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        u32::try_from(left.as_millis().div_ceil(FAILURE_FORGOTTEN.as_millis())).unwrap_or(FAILURES_MAX)
    }

    /// Whether an address can be remembered. Who has nothing to wait for is forgotten, looked for once a second at most:
    /// it takes a millisecond, and a flood must not buy one with each call.
    fn has_room(&mut self, peer: IpAddr, now: Instant) -> bool {
        if self.strangers.len() < STRANGERS_MAX || self.strangers.contains_key(&peer) {
            return true;
        }
        if self.swept.is_none_or(|swept| now >= swept + SWEPT_EVERY) {
            self.swept = Some(now);
            self.strangers.retain(|_, stranger| {
                stranger.full_at.is_some_and(|full| full > now)
                    || stranger.turn.is_some_and(|turn| turn + TURN_KEPT > now)
            });
        }
        self.strangers.len() < STRANGERS_MAX
    }
}

/// How long a stranger has to wait when so many failed.
fn wait(failures: u32) -> Duration {
    if failures < FAILURES_FREE {
        return Duration::ZERO;
    }
    (WAIT_MIN * 2_u32.pow(((failures - FAILURES_FREE) / DOUBLES_EVERY).min(16))).min(WAIT_MAX)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const EVERY: Duration = Duration::from_secs(6);

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(n))
    }

    fn from(peer: IpAddr, known: bool) -> Place {
        if known { Place::Known(peer) } else { Place::Strange(peer) }
    }

    fn logins() -> Logins {
        Logins::new(5, EVERY)
    }

    #[test]
    fn the_more_fail_the_longer_strangers_wait() {
        for (failures, seconds) in
            [(0, 0), (9, 0), (10, 1), (19, 1), (20, 2), (40, 8), (69, 32), (70, 60), (100, 60)]
        {
            assert_eq!(wait(failures), Duration::from_secs(seconds), "{failures} failures");
        }
    }

    #[test]
    fn a_few_tries_then_one_per_interval_and_slips_are_forgiven() {
        let (logins, now) = (logins(), Instant::now());
        for known in [false, true] {
            let peer = address(u32::from(known));
            for round in 0..3 {
                for n in 0..4 {
                    assert!(logins.take(from(peer, known), "admin", now).is_ok(), "{known} {round} {n}");
                }
                logins.succeeded(logins.take(from(peer, known), "admin", now).unwrap());
            }
            for _ in 0..5 {
                logins.take(from(peer, known), "admin", now).unwrap();
            }
            assert_eq!(logins.take(from(peer, known), "admin", now).unwrap_err(), EVERY, "{known}");
            assert!(logins.take(from(peer, known), "admin", now + EVERY).is_ok(), "{known}");
        }
    }

    /// With a password of one's own one could otherwise guess another's without an end.
    #[test]
    fn a_login_as_somebody_else_forgives_nothing() {
        let (logins, now) = (logins(), Instant::now());
        let peer = address(1);
        let mut guesses = 0;
        for _ in 0..10 {
            guesses += u32::from(logins.take(from(peer, false), "admin", now).is_ok());
            if let Ok(own) = logins.take(from(peer, false), "eve", now) {
                logins.succeeded(own);
            }
        }
        assert!(guesses <= 3, "{guesses} guesses");
    }

    /// A thousand addresses that try whenever they may, for an hour.
    #[test]
    fn a_crowd_that_guesses_keeps_nobody_out() {
        let (logins, start) = (logins(), Instant::now());
        let mut next = vec![start; 1_000];
        let mut guesses = 0;
        let hour = Duration::from_secs(3_600);
        let mut waits = Vec::new();
        let mut second = 0;
        while Duration::from_secs(second) < hour {
            let now = start + Duration::from_secs(second);
            for (n, next) in next.iter_mut().enumerate() {
                if *next <= now {
                    match logins.take(from(address(n as u32), false), "admin", now) {
                        Ok(_) => guesses += 1,
                        Err(wait) => *next = now + wait,
                    }
                }
            }
            if second % 300 == 299 {
                let known = logins.take(from(address(70_000), true), "admin", now);
                assert_eq!(known.as_ref().map(Try::lane).ok(), Some(Lane::Known), "second {second}");
                logins.succeeded(known.unwrap());
                // The user at a place where nobody has seen them, who comes back when told to.
                let place = address(80_000 + second as u32);
                let wait = logins.take(from(place, false), "admin", now).unwrap_err();
                waits.push(wait);
                // Who is impatient is told the same turn.
                let half = logins.take(from(place, false), "admin", now + wait / 2).unwrap_err();
                assert_eq!(half, wait - wait / 2);
                let person = Duration::from_secs(20);
                let tried = logins.take(from(place, false), "admin", now + wait + person);
                assert_eq!(tried.unwrap().lane(), Lane::Stranger);
            }
            second += 1;
        }
        let longest = waits.iter().max().unwrap();
        assert!(*longest <= Duration::from_secs(110), "{waits:?}");
        // Without it they would have 600,000: one per 6 s each.
        assert!(guesses < 45_000, "{guesses} guesses in an hour");
        let later = start + hour + FAILURE_FORGOTTEN * FAILURES_MAX;
        assert!(
            logins.take(from(address(90_000), false), "admin", later).is_ok(),
            "when it is over, it is over"
        );
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (logins, now) = (logins(), Instant::now());
        for n in 0..3 * STRANGERS_MAX as u32 {
            drop(logins.take(from(address(n), false), &format!("user{n}"), now));
        }
        assert_eq!(logins.state.lock().unwrap().strangers.len(), STRANGERS_MAX);
        assert!(
            logins.take(from(address(u32::MAX), true), "admin", now).is_ok(),
            "who is known needs no room"
        );
        let turns = TURN_EVERY * STRANGERS_MAX as u32 + TURN_KEPT;
        assert!(
            logins.take(from(address(90_000), false), "admin", now + turns + WAIT_MAX).is_ok(),
            "they are forgotten"
        );
    }

    /// One address, as a household, an office, or a proxy that nobody declared: one guesses whenever it may, the other is
    /// the user.
    #[test]
    fn who_guesses_from_the_same_address_takes_no_try_of_the_users_browser() {
        let start = Instant::now();
        let home = address(1);
        type Guessed = (&'static str, Place, &'static str);
        let table: [(Guessed, bool); 5] = [
            (("as a stranger", Place::Strange(home), "admin"), true),
            (("where the user is known", Place::Known(home), "admin"), true),
            (("with a login of their own", Place::Device([2; 16]), "admin"), true),
            (("as somebody else", Place::Device([1; 16]), "eve"), true),
            (("with the user's own cookie", Place::Device([1; 16]), "admin"), false),
        ];
        for ((name, guesser, guessed), expected) in table {
            let logins = logins();
            let mut kept_out = 0;
            for second in 0..600 {
                let now = start + Duration::from_secs(second);
                while logins.take(guesser, guessed, now).is_ok() {}
                // The user mistypes now and then, and tries again.
                if second % 60 == 59 {
                    drop(logins.take(Place::Device([1; 16]), "admin", now));
                    match logins.take(Place::Device([1; 16]), "admin", now) {
                        Ok(tried) => logins.succeeded(tried),
                        Err(_) => kept_out += 1,
                    }
                }
            }
            assert_eq!(kept_out == 0, expected, "{name}: kept out {kept_out} times of 10");
        }
    }

    #[test]
    fn what_is_remembered_of_those_who_are_known_is_bounded() {
        let (logins, now) = (logins(), Instant::now());
        for n in 0..KNOWN_MAX as u128 + 20 {
            logins.take(Place::Device(n.to_be_bytes()), "admin", now).unwrap();
        }
        assert_eq!(logins.state.lock().unwrap().known.len(), KNOWN_MAX);
    }
}
