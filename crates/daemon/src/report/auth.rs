//! Auth: who may ask. Signed tokens, the one password, and the setup code that sets it.
//!
//! What is secret lies in two files beside the database, readable by their owner only, and never in the store,
//! whose preferences REST prints:
//!
//! - `jarvis.key`: 256 random bits, made on first start. Without it every token is void.
//! - `jarvis.password`: the admin's password as an Argon2id hash.
//!
//! A password in the configuration is *the* password for as long as it stands there. Tokens are signed with the
//! key and the hash together, so a changed password ends every session without a list of them.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use argon2::{Algorithm, Argon2, Params, PasswordHash, PasswordHasher, PasswordVerifier, Version};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::{OnceCell, Semaphore};

use super::token::{Claims, Issued, TokenKey};
use crate::key::{self, mac, random};
use crate::secret_file::SecretFile;

/// Argon2id with 7 MiB, 5 passes, 1 lane: of the settings that OWASP holds equal the one with the least memory,
/// because the daemon's memory is measured and one hash at a time is all there ever is.
const HASH_MEMORY_KIB: u32 = 7 * 1024;
const HASH_PASSES: u32 = 5;
const HASH_LANES: u32 = 1;

/// How long a login waits for its turn to be hashed. One hash takes well below 0.1 s.
const HASH_WAIT: Duration = Duration::from_secs(5);

/// How many logins may wait for their turn: as many as get it in that time on a slow machine.
const HASH_QUEUE: usize = 8;

/// A new password's least length: what NIST asks of a password that stands alone.
pub const PASSWORD_MIN: usize = 8;
/// A password's greatest length in bytes, so that nobody hashes megabytes.
pub const PASSWORD_MAX: usize = 1024;

/// A password as typed. Shows itself to nobody.
#[derive(Clone)]
pub struct Password(Box<str>);

impl Password {
    /// Any text; lengths are checked where they matter.
    pub fn new(text: impl Into<Box<str>>) -> Password {
        Password(text.into())
    }

    fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Why nobody was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Not the password.
    #[error("Invalid password")]
    Wrong,
    /// Not the code, or none is valid.
    #[error("Invalid setup code")]
    WrongCode,
    /// There is nothing to compare with yet.
    #[error("No password is set yet: use the setup code from the log")]
    NotSetUp,
    /// The setup code has done its work.
    #[error("A password is already set")]
    AlreadySetUp,
    /// A new password that is too short or too long.
    #[error("The password must have {PASSWORD_MIN} to {PASSWORD_MAX} bytes")]
    BadPassword,
    /// Too many wait for their turn.
    #[error("Too many logins at once, try again")]
    Busy,
    /// The hash could not be made, read or written; the log says why.
    #[error("The password could not be checked; the log says why")]
    Broken,
}

/// Who may ask; see the module. Shared by REST and the sockets.
pub struct Auth {
    key: [u8; 32],
    password_file: SecretFile,
    state: RwLock<Arc<State>>,
    configured: Option<Password>,
    /// Set once the configured password has become the stored one.
    settled: OnceCell<()>,
    setup: Mutex<Setup>,
    /// One hash at a time: memory, and a bound on what strangers can make this machine compute.
    hashing: Arc<Semaphore>,
    /// Places to wait for that.
    queue: Semaphore,
}

/// What changes when the password does.
struct State {
    hash: Option<Box<str>>,
    token_key: TokenKey,
}

struct Setup {
    /// SHA-256 of the code: 100 random bits need no slow hash.
    digest: Option<[u8; 32]>,
    unread: Option<String>,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").finish_non_exhaustive()
    }
}

impl Auth {
    /// Reads the key and the hash from `folder`, making the key on first start. Reads and writes two small files;
    /// hashes nothing. Without a configured and a stored password there is a setup code for
    /// [`Auth::take_setup_code`], a new one at each start.
    ///
    /// # Errors
    /// A file that cannot be read, written or understood; a configured password that is empty or too long.
    pub fn open(folder: &Path, configured: Option<Password>) -> anyhow::Result<Auth> {
        if let Some(password) = &configured {
            let length = password.bytes().len();
            anyhow::ensure!(
                length > 0,
                "the configured password is empty: set JARVIS_PASSWORD or password_file to one, or remove both"
            );
            anyhow::ensure!(
                length <= PASSWORD_MAX,
                "the configured password is longer than {PASSWORD_MAX} bytes"
            );
        }
        let key = key::read_or_make(folder)?;
        let password_file = SecretFile::new(folder.join("jarvis.password"));
        let hash: Option<Box<str>> = password_file.read()?.map(|text| text.trim().into());
        if let Some(hash) = &hash {
            PasswordHash::new(hash).map_err(|error| {
                anyhow::anyhow!(
                    "{password_file} does not hold a password hash ({error}); remove it to set a new one"
                )
            })?;
        }
        let setup = if configured.is_none() && hash.is_none() {
            let code = setup_code()?;
            Setup { digest: Some(Sha256::digest(code.as_bytes()).into()), unread: Some(code) }
        } else {
            Setup { digest: None, unread: None }
        };
        Ok(Auth {
            state: RwLock::new(Arc::new(State::new(&key, hash))),
            key,
            password_file,
            configured,
            settled: OnceCell::new(),
            setup: Mutex::new(setup),
            hashing: Arc::new(Semaphore::new(1)),
            queue: Semaphore::new(HASH_QUEUE),
        })
    }

    /// The setup code, once: for whoever shows it to the operator.
    pub fn take_setup_code(&self) -> Option<String> {
        self.setup.lock().unwrap_or_else(PoisonError::into_inner).unread.take()
    }

    /// Makes the configured password the stored one. Costs one hash, so it runs beside the start, not in it; a
    /// login that comes earlier waits for it.
    ///
    /// # Errors
    /// [`Denied::Broken`] when the hash cannot be made or written.
    pub async fn settle(&self) -> Result<(), Denied> {
        self.settled.get_or_try_init(|| self.settle_once()).await.copied()
    }

    async fn settle_once(&self) -> Result<(), Denied> {
        let Some(password) = &self.configured else { return Ok(()) };
        if let Some(hash) = self.state().hash.clone()
            && self.matches(password.clone(), hash).await?
        {
            return Ok(());
        }
        self.store(password.clone()).await
    }

    /// A token for whoever knows the password.
    ///
    /// # Errors
    /// See [`Denied`]. The caller bounds how often a stranger may try.
    pub async fn login(&self, password: Password, now: Timestamp) -> Result<Issued, Denied> {
        if password.bytes().len() > PASSWORD_MAX {
            return Err(Denied::Wrong);
        }
        self.settle().await?;
        let hash = self.state().hash.clone().ok_or(Denied::NotSetUp)?;
        if self.matches(password, hash).await? { self.issue(now) } else { Err(Denied::Wrong) }
    }

    /// Sets the first password, for whoever read the code in the log, and logs in.
    ///
    /// # Errors
    /// See [`Denied`]. The caller bounds how often a stranger may try.
    pub async fn set_up(&self, code: &str, password: Password, now: Timestamp) -> Result<Issued, Denied> {
        if self.configured.is_some() || self.state().hash.is_some() {
            return Err(Denied::AlreadySetUp);
        }
        let given: [u8; 32] = Sha256::digest(code.trim().to_ascii_uppercase().as_bytes()).into();
        let valid = || {
            let setup = self.setup.lock().unwrap_or_else(PoisonError::into_inner);
            setup.digest.is_some_and(|digest| digest.ct_eq(&given).into())
        };
        if !valid() {
            return Err(Denied::WrongCode);
        }
        if !(PASSWORD_MIN..=PASSWORD_MAX).contains(&password.bytes().len()) {
            return Err(Denied::BadPassword);
        }
        self.store(password).await?;
        self.setup.lock().unwrap_or_else(PoisonError::into_inner).digest = None;
        self.issue(now)
    }

    /// A token that is valid from `now` for [`token::LASTS`].
    ///
    /// # Errors
    /// [`Denied::Broken`] when the system gives no random bits.
    pub fn issue(&self, now: Timestamp) -> Result<Issued, Denied> {
        let jti = random::<16>().map_err(broken("no random bits for a token"))?;
        self.state().token_key.issue(now, jti).map_err(broken("a token could not be made"))
    }

    /// What a token says, if it is ours and `now` is before its end.
    pub fn verify(&self, token: &str, now: Timestamp) -> Option<Claims> {
        self.state().token_key.verify(token, now)
    }

    fn state(&self) -> Arc<State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn matches(&self, password: Password, hash: Box<str>) -> Result<bool, Denied> {
        self.hashed(move || {
            let parsed = PasswordHash::new(&hash)?;
            match hasher()?.verify_password(password.bytes(), &parsed) {
                Ok(()) => Ok(true),
                Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
                Err(error) => Err(error),
            }
        })
        .await
    }

    async fn store(&self, password: Password) -> Result<(), Denied> {
        let file = self.password_file.clone();
        let hash: Box<str> = self
            .hashed(move || Ok(hasher()?.hash_password(password.bytes())?.to_string().into_boxed_str()))
            .await?;
        let written = hash.clone();
        tokio::task::spawn_blocking(move || file.write(&written))
            .await
            .map_err(broken("writing the password panicked"))?
            .map_err(broken("the password could not be written"))?;
        let state = Arc::new(State::new(&self.key, Some(hash)));
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        Ok(())
    }

    /// Runs `work` off the async threads, one at a time.
    async fn hashed<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> argon2::password_hash::Result<T> + Send + 'static,
    ) -> Result<T, Denied> {
        let _place = self.queue.try_acquire().map_err(|_| Denied::Busy)?;
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

impl State {
    fn new(key: &[u8; 32], hash: Option<Box<str>>) -> State {
        let bound = mac(key, &[b"tokens of ", hash.as_deref().unwrap_or_default().as_bytes()]);
        State { hash, token_key: TokenKey::new(bound) }
    }
}

fn hasher() -> argon2::password_hash::Result<Argon2<'static>> {
    let params = Params::new(HASH_MEMORY_KIB, HASH_PASSES, HASH_LANES, None)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// Five groups of four signs, 100 bits, without the signs that look like others.
fn setup_code() -> anyhow::Result<String> {
    const SIGNS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let signs = random::<20>()?.map(|byte| char::from(SIGNS[usize::from(byte % 32)]));
    let groups: Vec<String> = signs.chunks(4).map(|group| group.iter().collect()).collect();
    Ok(groups.join("-"))
}

/// Logs the cause and leaves the caller a [`Denied::Broken`].
fn broken<E: fmt::Display>(what: &'static str) -> impl FnOnce(E) -> Denied {
    move |error| {
        tracing::error!("{what}: {error:#}");
        Denied::Broken
    }
}
