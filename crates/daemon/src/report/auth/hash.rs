//! Hash: passwords, slowly. One hash at a time: memory, and a bound on what strangers can make this machine compute.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use argon2::{Algorithm, Argon2, Params, PasswordHash, PasswordHasher, PasswordVerifier, Version};
use tokio::sync::Semaphore;

use super::{Denied, broken};
use crate::record::PasswordText;

/// Argon2id with 7 MiB, 5 passes, 1 lane: of the settings that OWASP holds equal the one with the least memory,
/// because the daemon's memory is measured and one hash at a time is all there ever is.
const HASH_MEMORY_KIB: u32 = 7 * 1024;
const HASH_PASSES: u32 = 5;
const HASH_LANES: u32 = 1;

/// How long a login waits for its turn to be hashed. One hash takes well below 0.1 s.
const HASH_WAIT: Duration = Duration::from_secs(5);

/// How many logins of each kind may wait for their turn: both together get it in that time on a slow machine.
const HASH_QUEUE: usize = 8;

/// What a password is compared with where there is none, so that nobody learns from the time it takes who exists.
const NOBODY: &str =
    "$argon2id$v=19$m=7168,t=5,p=1$bm9ib2R5IGlzIG5hbWVk$bm9ib2R5IGhhcyBhIHBhc3N3b3JkIHRoYXQgZml0cyE";

/// A password as typed. Shows itself to nobody.
#[derive(Clone)]
pub struct Password(Box<str>);

impl Password {
    /// Any text; lengths are checked where they matter.
    pub fn new(text: impl Into<Box<str>>) -> Password {
        Password(text.into())
    }

    /// Whether there is nothing in it that could be seen.
    pub(super) fn is_blank(&self) -> bool {
        self.0.chars().all(|sign| sign.is_whitespace() || sign.is_control())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Whose turn it is for. Each has its own places to wait, so that a crowd of strangers does not fill those of the
/// people who belong here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Somebody who has logged in from there before, or who is logged in.
    Known,
    /// Anybody else.
    Stranger,
}

/// Hashes, one at a time.
pub(super) struct Hasher {
    hashing: Arc<Semaphore>,
    known: Semaphore,
    strangers: Semaphore,
}

impl Hasher {
    pub(super) fn new() -> Hasher {
        Hasher {
            hashing: Arc::new(Semaphore::new(1)),
            known: Semaphore::new(HASH_QUEUE),
            strangers: Semaphore::new(HASH_QUEUE),
        }
    }

    /// Whether it is the password; without a hash never, and that takes as long.
    pub(super) async fn matches(
        &self,
        lane: Lane,
        password: Password,
        hash: Option<PasswordText>,
    ) -> Result<bool, Denied> {
        self.hashed(lane, move || {
            let parsed = PasswordHash::new(hash.as_ref().map_or(NOBODY, |hash| &hash.0))?;
            match hasher()?.verify_password(password.bytes(), &parsed) {
                Ok(()) => Ok(hash.is_some()),
                Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
                Err(error) => Err(error),
            }
        })
        .await
    }

    pub(super) async fn hash(&self, password: Password) -> Result<PasswordText, Denied> {
        self.hashed(Lane::Known, move || {
            let hash = hasher()?.hash_password(password.bytes())?.to_string();
            Ok(PasswordText(hash.into()))
        })
        .await
    }

    /// Runs `work` off the async threads, one at a time.
    async fn hashed<T: Send + 'static>(
        &self,
        lane: Lane,
        work: impl FnOnce() -> argon2::password_hash::Result<T> + Send + 'static,
    ) -> Result<T, Denied> {
        let queue = match lane {
            Lane::Known => &self.known,
            Lane::Stranger => &self.strangers,
        };
        let _place = queue.try_acquire().map_err(|_| Denied::Busy)?;
        let turn = tokio::time::timeout(HASH_WAIT, self.hashing.clone().acquire_owned());
        let turn = turn.await.map_err(|_| Denied::Busy)?.map_err(|_| Denied::Busy)?;
        tokio::task::spawn_blocking(move || {
            // Given back here, not by the caller: who hangs up early does not let a second hash begin.
            let result = work();
            drop(turn);
            result
        })
        .await
        .map_err(broken("hashing a password panicked"))?
        .map_err(broken("a password could not be hashed"))
    }
}

fn hasher() -> argon2::password_hash::Result<Argon2<'static>> {
    let params = Params::new(HASH_MEMORY_KIB, HASH_PASSES, HASH_LANES, None)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// Whether a text is a hash that can be compared with.
///
/// # Errors
/// Why not.
pub(super) fn check(text: &str) -> Result<(), impl fmt::Display + use<>> {
    PasswordHash::new(text).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The time it takes tells nobody apart only as long as the parameters are the same ones.
    #[tokio::test]
    async fn nobody_costs_as_much_as_somebody() {
        let hasher = Hasher::new();
        let real = hasher.hash(Password::new("correct horse")).await.unwrap();
        let parameters = |hash: &str| hash.split('$').take(4).collect::<Vec<_>>().join("$");
        assert_eq!(parameters(NOBODY), parameters(&real.0));
        let lengths = |hash: &str| hash.split('$').skip(5).map(str::len).collect::<Vec<_>>();
        assert_eq!(lengths(NOBODY), lengths(&real.0));
        let lane = Lane::Stranger;
        assert!(hasher.matches(lane, Password::new("correct horse"), Some(real.clone())).await.unwrap());
        assert!(!hasher.matches(lane, Password::new("wrong horse"), Some(real)).await.unwrap());
        assert!(!hasher.matches(lane, Password::new("nobody"), None).await.unwrap());
    }
}
