//! Auth: who may ask. Users and their passwords, logins, API tokens, tickets, and the setup code that sets the first
//! password.
//!
//! Everything is in the store (`record::users`) and, for asking, in memory ([`accounts`]). A change is written first and
//! then applied here, one after the other, by a task of its own: a caller who hangs up in the middle leaves nothing half
//! done. Whoever is let in for longer than a call hears of each change ([`Auth::changes`]) and asks again.
//!
//! A password in the configuration is *the* password of `admin` for as long as it stands there, and takes the place of none
//! that is stored ([`configured`]). Beside the database lies `jarvis.key`, 256 random bits that only its owner may read:
//! what a page shows against forged requests is made of it.
//!
//! It does not say what a role may: that is [`super::caller`]. Nor how often somebody may try: that is `logins`.

mod accounts;
mod books;
mod change;
mod configured;
mod device;
mod hash;
mod ticket;

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::{OnceCell, watch};

use super::caller::Role;
use super::token::{self, Digest, Issued, Purpose};
use crate::key::{self, mac, random};
use crate::record::{AccountChange, NewEntry, Operator, PasswordText, SessionRow, Store, StoreError};
use crate::secret_file::SecretFile;
use accounts::Accounts;
use books::{Books, Turn};
use hash::Hasher;
use ticket::Tickets;

pub use accounts::{ADMIN, ApiToken, Pass, Scope, User, UserName, Verified};
pub use change::{NewToken, NewUser, Objection, UserPatch};
pub(super) use device::{Device, LASTS as DEVICE_LASTS};
pub use hash::{Lane, Password};
pub(super) use ticket::LASTS as TICKET_LASTS;

/// A new password's least length: what NIST asks of a password that stands alone.
pub const PASSWORD_MIN: usize = 8;
/// A password's greatest length in bytes, so that nobody hashes megabytes.
pub const PASSWORD_MAX: usize = 1024;

/// How long the setup code from the log is valid. A restart shows a new one.
const SETUP_LASTS: SignedDuration = SignedDuration::from_hours(24);

/// Why nobody was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Not the password, or nobody of that name, or somebody who is not let in: nobody learns which.
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
    /// A new password that is too short or too long, or nothing but blanks.
    #[error("The password must have {PASSWORD_MIN} to {PASSWORD_MAX} bytes, and not blanks alone")]
    BadPassword,
    /// Too many wait for their turn.
    #[error("Too many logins at once, try again")]
    Busy,
    /// The hash could not be made, read or written; the log says why.
    #[error("The password could not be checked; the log says why")]
    Broken,
}

/// Who wants to be let in, and from where.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// A user's name as typed.
    pub name: String,
    /// The address or network it comes from.
    pub peer: IpAddr,
    /// Where its password waits to be compared.
    pub lane: Lane,
    /// Whether it is a page, which keeps its login in a cookie.
    pub page: bool,
}

/// Who may ask; see the module. Shared by REST and the sockets.
pub struct Auth {
    key: [u8; 32],
    books: Arc<Books>,
    turns: Arc<tokio::sync::Mutex<()>>,
    configured: Option<Password>,
    /// The configured password's hash, once it was made, or none.
    settled: OnceCell<Option<PasswordText>>,
    /// Which password was configured last, so that another one ends the logins of before.
    last_configured: SecretFile,
    setup: Mutex<Setup>,
    hasher: Hasher,
    tickets: Mutex<Tickets>,
}

struct Setup {
    /// SHA-256 of the code: 100 random bits need no slow hash.
    digest: Option<Digest>,
    until: Timestamp,
    unread: Option<String>,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").finish_non_exhaustive()
    }
}

impl Auth {
    /// Reads the key from `folder`, making it on first start, and everybody from the store; hashes nothing. The
    /// password file of earlier versions is taken over into the store. Without a configured and a stored password there
    /// is a setup code for [`Auth::take_setup_code`], a new one at each start.
    ///
    /// # Errors
    /// A file or store that cannot be read, written or understood; a configured password that is empty or too long.
    pub async fn open(folder: &Path, store: Store, configured: Option<Password>) -> anyhow::Result<Auth> {
        if let Some(password) = &configured {
            let length = password.bytes().len();
            anyhow::ensure!(
                !password.is_blank(),
                "the configured password is empty: set JARVIS_PASSWORD or password_file to one, or remove both"
            );
            anyhow::ensure!(
                length <= PASSWORD_MAX,
                "the configured password is longer than {PASSWORD_MAX} bytes"
            );
        }
        let key = key::read_or_make(folder)?;
        let rows = store.accounts().await.context("the users could not be read")?;
        let books = Arc::new(Books::new(store, Accounts::read(rows)));
        take_over(&books, &SecretFile::new(folder.join("jarvis.password"))).await?;
        let last_configured = SecretFile::new(folder.join(configured::FILE));
        if configured.is_none() {
            configured::forget(&books, &last_configured).await?;
        }
        let setup = if configured.is_none() && !books.read().ruled() {
            let code = setup_code()?;
            let until = Timestamp::now() + SETUP_LASTS;
            Setup { digest: Some(Sha256::digest(code.as_bytes()).into()), until, unread: Some(code) }
        } else {
            Setup { digest: None, until: Timestamp::UNIX_EPOCH, unread: None }
        };
        Ok(Auth {
            key,
            books,
            turns: Arc::default(),
            configured,
            settled: OnceCell::new(),
            last_configured,
            setup: Mutex::new(setup),
            hasher: Hasher::new(),
            tickets: Mutex::default(),
        })
    }

    /// The setup code, once: for whoever shows it to the operator.
    pub fn take_setup_code(&self) -> Option<String> {
        self.setup.lock().unwrap_or_else(PoisonError::into_inner).unread.take()
    }

    /// A login for whoever knows the password.
    ///
    /// # Errors
    /// See [`Denied`]. The caller bounds how often a stranger may try.
    pub async fn login(
        &self,
        attempt: &Attempt,
        password: Password,
        now: Timestamp,
    ) -> Result<Issued, Denied> {
        if password.bytes().len() > PASSWORD_MAX {
            return Err(Denied::Wrong);
        }
        let name: Option<UserName> = attempt.name.parse().ok();
        if name == Some(UserName::admin()) {
            self.settle().await?;
            if self.configured.is_none() && !self.books.read().ruled() {
                return Err(Denied::NotSetUp);
            }
        }
        let hash = name.as_ref().and_then(|name| self.hash_of(name));
        let known = hash.clone();
        if !self.hasher.matches(attempt.lane, password, hash).await? {
            return Err(Denied::Wrong);
        }
        let Some(name) = name else { return Err(Denied::Wrong) };
        let turn = self.turn().await;
        // It may have been changed while this one was compared.
        if self.hash_of(&name) != known {
            return Err(Denied::Wrong);
        }
        let came = self.books.read().came_from(&name, attempt.peer, now);
        self.issue_within(turn, &name, attempt.page, came, now).await
    }

    /// The hash of somebody who is let in.
    fn hash_of(&self, name: &UserName) -> Option<PasswordText> {
        let accounts = self.books.read();
        let user = accounts.user(name).filter(|user| user.disabled.is_none())?;
        if self.configured.is_some() && *name == UserName::admin() {
            return self.settled.get().cloned().flatten();
        }
        user.password.clone()
    }

    /// Sets the first password, for whoever read the code in the log, and logs in.
    ///
    /// # Errors
    /// See [`Denied`]. The caller bounds how often a stranger may try.
    pub async fn set_up(
        &self,
        code: &str,
        password: Password,
        peer: IpAddr,
        now: Timestamp,
    ) -> Result<Issued, Denied> {
        if self.configured.is_some() || self.books.read().ruled() {
            return Err(Denied::AlreadySetUp);
        }
        let given: Digest = Sha256::digest(code.trim().to_ascii_uppercase().as_bytes()).into();
        let valid = |setup: &Setup| {
            now < setup.until && setup.digest.is_some_and(|digest| digest.ct_eq(&given).into())
        };
        if !valid(&self.setup.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Err(Denied::WrongCode);
        }
        check_password(&password)?;
        let hash = self.hasher.hash(password).await?;
        {
            // Used up before anything is set: two who come at once with the same code are not both let in.
            let mut setup = self.setup.lock().unwrap_or_else(PoisonError::into_inner);
            if !valid(&setup) {
                return Err(Denied::AlreadySetUp);
            }
            setup.digest = None;
        }
        if let Err(error) = self.set_admins_password(hash, now).await {
            self.setup.lock().unwrap_or_else(PoisonError::into_inner).digest = Some(given);
            return Err(broken("the password could not be written")(error));
        }
        let (turn, admin) = (self.turn().await, UserName::admin());
        let came = self.books.read().came_from(&admin, peer, now);
        self.issue_within(turn, &admin, false, came, now).await
    }

    /// A login of a user that nobody asked a password for: after setting it, and for tests.
    ///
    /// # Errors
    /// [`Denied::Broken`] when the system gives no random bits.
    pub async fn issue(&self, name: &UserName, page: bool, now: Timestamp) -> Result<Issued, Denied> {
        let turn = self.turn().await;
        self.issue_within(turn, name, page, Vec::new(), now).await
    }

    async fn issue_within(
        &self,
        turn: Turn,
        name: &UserName,
        page: bool,
        mut changes: Vec<AccountChange>,
        now: Timestamp,
    ) -> Result<Issued, Denied> {
        let purpose = if page { Purpose::Cookie } else { Purpose::Session };
        let (token, digest) = token::make(purpose).map_err(broken("no random bits for a login"))?;
        let expires = now + token::LASTS;
        changes.extend(self.books.read().room_for(name, now));
        let row = SessionRow { digest, user: name.to_string(), cookie: page, created: now, expires };
        changes.push(AccountChange::PutSession(row));
        if let Err(error) = self.books.commit(turn, changes.clone(), None).await {
            // Whoever wants to stop something must be let in, also with a full disk.
            tracing::warn!("a login could not be stored and ends with the next restart: {error:#}");
            self.books.apply(changes);
        }
        Ok(Issued { token, expires_in: token::LASTS.as_secs() })
    }

    /// Who shows a bearer token, if it is ours and valid.
    pub fn verify(&self, token: &str, now: Timestamp) -> Option<Verified> {
        let (purpose, digest) = token::read(token)?;
        let verified = match purpose {
            Purpose::Session => self.books.read().session(digest, now)?,
            Purpose::Api => self.books.read().token(digest, now)?,
            // A cookie is believed as a cookie alone, and a ticket by a socket.
            Purpose::Cookie | Purpose::Ticket => return None,
        };
        self.note_use(verified.pass, now);
        Some(verified)
    }

    /// Who shows a page's cookie.
    pub(super) fn verify_cookie(&self, cookie: &str, now: Timestamp) -> Option<Verified> {
        match token::read(cookie)? {
            (Purpose::Cookie, digest) => self.books.read().session(digest, now),
            (Purpose::Session | Purpose::Api | Purpose::Ticket, _) => None,
        }
    }

    /// Who shows a token or a ticket when a socket connects; `connection` names the connection that it is part of.
    pub(super) fn verify_socket(&self, token: &str, connection: &str, now: Timestamp) -> Option<Verified> {
        let Some((Purpose::Ticket, digest)) = token::read(token) else { return self.verify(token, now) };
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        let pass = tickets.show(digest, connection, now)?;
        drop(tickets);
        self.still(pass, now)
    }

    /// A ticket for a socket, for whoever is let in. `None`: there are too many.
    ///
    /// # Errors
    /// [`Denied::Broken`] when the system gives no random bits.
    pub(super) fn ticket(&self, pass: Pass, now: Timestamp) -> Result<Option<String>, Denied> {
        let (ticket, digest) = token::make(Purpose::Ticket).map_err(broken("no random bits for a ticket"))?;
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(tickets.add(digest, pass, now).then_some(ticket))
    }

    /// Whether somebody who was let in still is, and what they may now.
    pub fn still(&self, pass: Pass, now: Timestamp) -> Option<Verified> {
        self.books.read().still(pass, now)
    }

    /// How many logins are not over.
    pub(super) fn sessions(&self, now: Timestamp) -> usize {
        self.books.read().sessions(now)
    }

    /// Turns at each change by which somebody may be let in no more, or may do less or more.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.books.changes()
    }

    /// Whether somebody of that name has logged in from there within a month.
    pub(super) fn knows(&self, name: &str, peer: IpAddr, now: Timestamp) -> bool {
        name.parse().is_ok_and(|name| self.books.read().knows(&name, peer, now))
    }

    /// What a browser keeps in which somebody has logged in; see [`device`]. Without random bits it goes without.
    pub(super) fn new_device(&self, name: &str, now: Timestamp) -> Option<String> {
        device::make(&self.key, &name.parse().ok()?, now).ok()
    }

    /// Which of the user's browsers it is, if it is one.
    pub(super) fn device(&self, name: &str, cookie: &str, now: Timestamp) -> Option<Device> {
        device::read(&self.key, &name.parse().ok()?, cookie, now)
    }

    /// What a page must send with each call that changes something: made of its login, and of no use without it.
    pub(super) fn csrf(&self, pass: Pass) -> Option<String> {
        match pass {
            Pass::Page(digest) => Some(BASE64.encode(mac(&self.key, &[b"csrf of ", &digest]))),
            Pass::Session(_) | Pass::Token(_) | Pass::Local => None,
        }
    }

    /// A token is used; noted at most once a minute, and nobody waits for it.
    fn note_use(&self, pass: Pass, now: Timestamp) {
        let Pass::Token(id) = pass else { return };
        if !self.books.read().use_is_news(id, now) {
            return;
        }
        let change = AccountChange::TokenUsed(id, now);
        self.books.write().apply(change.clone());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let store = self.books.store.clone();
            runtime.spawn(async move {
                if let Err(error) = store.change_accounts(vec![change], Vec::new()).await {
                    tracing::debug!("that a token was used could not be noted: {error}");
                }
            });
        }
    }

    /// Sets the first password.
    async fn set_admins_password(&self, hash: PasswordText, now: Timestamp) -> Result<(), StoreError> {
        let turn = self.turn().await;
        let name = UserName::admin();
        let (mut changes, created) = {
            let accounts = self.books.read();
            (accounts.ends_of(&name, None), accounts.user(&name).map_or(now, |admin| admin.created))
        };
        let admin =
            User { name, role: Role::Admin, clusters: None, password: Some(hash), created, disabled: None };
        changes.push(AccountChange::PutUser(admin.row()));
        let by = Operator { name: ADMIN.into(), via: "setup code".into() };
        let entry = NewEntry::by_operator(now, &by, "passwordSet", &serde_json::json!({ "user": ADMIN }));
        self.books.commit(turn, changes, Some(entry)).await
    }

    async fn turn(&self) -> Turn {
        self.turns.clone().lock_owned().await
    }
}

/// Makes `admin` where there is none, with the password that earlier versions kept in a file of its own, and removes that
/// file: two places for one password would be one too many.
async fn take_over(books: &Books, file: &SecretFile) -> anyhow::Result<()> {
    let text: Option<Box<str>> = file.read()?.map(|text| text.trim().into());
    if let Some(text) = &text {
        hash::check(text).map_err(|error| {
            anyhow::anyhow!("{file} does not hold a password hash ({error}); remove it to set a new one")
        })?;
    }
    let present = books.read().user(&UserName::admin()).cloned();
    let found = text.is_some();
    if present.as_ref().is_none_or(|admin| admin.password.is_none() && found) {
        let now = Timestamp::now();
        let admin = User {
            name: UserName::admin(),
            role: Role::Admin,
            clusters: None,
            password: text.map(PasswordText),
            created: present.map_or(now, |admin| admin.created),
            disabled: None,
        };
        let by = Operator { name: "jarvis".into(), via: "start".into() };
        let what = serde_json::json!({ "user": ADMIN, "role": "admin", "passwordTakenOver": found });
        let entry = NewEntry::by_operator(now, &by, "userAdded", &what);
        let changes = vec![AccountChange::PutUser(admin.row())];
        books.store.change_accounts(changes.clone(), vec![entry]).await.context("admin could not be made")?;
        books.apply(changes);
    }
    if found {
        file.remove()?;
        tracing::info!("{file} was taken over into the database and removed");
    }
    Ok(())
}

/// Whether a text will do as a new password.
fn check_password(password: &Password) -> Result<(), Denied> {
    let fits = (PASSWORD_MIN..=PASSWORD_MAX).contains(&password.bytes().len());
    if fits && !password.is_blank() { Ok(()) } else { Err(Denied::BadPassword) }
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
