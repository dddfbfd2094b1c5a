//! Accounts: who may ask, in memory. Every rule about them, and no clock, store or socket.
//!
//! One process holds the store, so what is here is what is there: asking who somebody is costs no SQL. What changes is
//! written first and applied here after it (see `super`).

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use engine::observe::ClusterName;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::record::{AccountChange, AccountRows, PasswordText, PeerRow, SessionRow, TokenRow, UserRow};
use crate::report::caller::{Caller, Role, Via};
use crate::report::token::Digest;

/// The user that is always there: whose password the configuration or the setup code gives.
pub const ADMIN: &str = "admin";

/// Longest name of a user: an address of e-mail fits.
const NAME_MAX: usize = 64;
/// Logins of one user. A script that logs in each minute, and never logs out, still leaves the page its login for most of
/// a day.
const SESSIONS_PER_USER: usize = 1_000;
/// Logins in all; some 200 bytes each.
const SESSIONS_MAX: usize = 10_000;
/// Addresses that are remembered of one user: home, work, and each phone network of a month.
const PEERS_PER_USER: usize = 64;
/// How long an address is remembered.
const PEER_REMEMBERED: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How exactly it is known when an address was last seen: it is not worth a write at each login.
const PEER_SEEN_EVERY: SignedDuration = SignedDuration::from_hours(24);
/// How exactly it is known when a token was last used.
const USED_EVERY: SignedDuration = SignedDuration::from_secs(60);

/// A user's name: small letters, digits, `.`, `_`, `-`, `@`, beginning with a letter or digit. Two names never look
/// alike, and none means something to a log, a header or a path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(Box<str>);

impl UserName {
    /// `admin`.
    pub fn admin() -> UserName {
        UserName(ADMIN.into())
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<UserName, &'static str> {
        let plain =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-' | '@');
        let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if begins && text.len() <= NAME_MAX && text.chars().all(plain) {
            Ok(UserName(text.into()))
        } else {
            Err(
                "a user's name has 1 to 64 of a-z, 0-9, `.`, `_`, `-`, `@`, and begins with a letter or digit",
            )
        }
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The clusters that a role is for; `None`: all.
pub type Scope = Option<Box<[ClusterName]>>;

/// One user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Who.
    pub name: UserName,
    /// What they may.
    pub role: Role,
    /// Where.
    pub clusters: Scope,
    /// `None`: nobody logs in with one.
    pub password: Option<PasswordText>,
    /// When it was made.
    pub created: Timestamp,
    /// Since when nobody is let in as this user.
    pub disabled: Option<Timestamp>,
}

impl User {
    fn read(row: UserRow) -> Option<User> {
        Some(User {
            name: row.name.parse().ok()?,
            role: Role::from_word(&row.role).unwrap_or(Role::Viewer),
            clusters: row.clusters.map(scope),
            password: row.password,
            created: row.created,
            disabled: row.disabled,
        })
    }

    /// As it is stored.
    pub(super) fn row(&self) -> UserRow {
        UserRow {
            name: self.name.to_string(),
            role: self.role.to_string(),
            clusters: words(&self.clusters),
            password: self.password.clone(),
            created: self.created,
            disabled: self.disabled,
        }
    }

    /// Whether this one could let somebody back in who locked everybody out.
    fn rules(&self) -> bool {
        self.role == Role::Admin
            && self.clusters.is_none()
            && self.disabled.is_none()
            && self.password.is_some()
    }
}

/// What a program shows instead of a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiToken {
    /// Its number.
    pub id: Uuid,
    /// Whose.
    pub user: UserName,
    /// What for.
    pub name: Box<str>,
    /// What it may at most.
    pub role: Role,
    /// Where at most.
    pub clusters: Scope,
    /// When it was made.
    pub created: Timestamp,
    /// The first moment in which it is void.
    pub expires: Option<Timestamp>,
    /// When it was used, to the minute.
    pub last_used: Option<Timestamp>,
    /// Since when it is void.
    pub revoked: Option<Timestamp>,
    digest: Digest,
}

impl ApiToken {
    fn read(row: TokenRow) -> Option<ApiToken> {
        Some(ApiToken {
            id: row.id,
            user: row.user.parse().ok()?,
            name: row.name.into(),
            role: Role::from_word(&row.role).unwrap_or(Role::Viewer),
            clusters: row.clusters.map(scope),
            created: row.created,
            expires: row.expires,
            last_used: row.last_used,
            revoked: row.revoked,
            digest: row.digest,
        })
    }

    /// Whether it lets nobody in any more.
    pub fn ended(&self, now: Timestamp) -> bool {
        self.revoked.is_some() || self.expires.is_some_and(|end| end <= now)
    }
}

#[derive(Clone, Debug)]
struct Session {
    user: UserName,
    cookie: bool,
    created: Timestamp,
    expires: Timestamp,
}

/// What lets somebody in, without its secret: enough to ask again whether it still does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// A login of a program.
    Session(Digest),
    /// A login of a page, in its cookie.
    Page(Digest),
    /// An API token.
    Token(Uuid),
    /// The key beside the store: the command line of this machine, for one call.
    Local,
}

/// Somebody who is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Who, and what they may now.
    pub caller: Caller,
    /// By what.
    pub pass: Pass,
    /// Until when at most.
    pub until: Option<Timestamp>,
}

impl Verified {
    /// How long it is still valid, at least zero; `None`: for ever.
    pub fn left(&self, now: Timestamp) -> Option<std::time::Duration> {
        self.until.map(|until| std::time::Duration::try_from(until.duration_since(now)).unwrap_or_default())
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    users: BTreeMap<UserName, User>,
    tokens: BTreeMap<Uuid, ApiToken>,
    by_digest: HashMap<Digest, Uuid>,
    sessions: HashMap<Digest, Session>,
    peers: HashMap<(UserName, IpAddr), Timestamp>,
}

impl Accounts {
    /// How many logins are not over.
    pub(super) fn sessions(&self, now: Timestamp) -> usize {
        self.sessions.values().filter(|session| session.expires > now).count()
    }

    /// What was stored.
    pub(super) fn read(rows: AccountRows) -> Accounts {
        let mut accounts = Accounts::default();
        let AccountRows { users, tokens, sessions, peers } = rows;
        users.into_iter().map(AccountChange::PutUser).for_each(|change| accounts.apply(change));
        tokens.into_iter().map(AccountChange::PutToken).for_each(|change| accounts.apply(change));
        sessions.into_iter().map(AccountChange::PutSession).for_each(|change| accounts.apply(change));
        peers.into_iter().map(AccountChange::PutPeer).for_each(|change| accounts.apply(change));
        accounts
    }

    /// What was written becomes true here.
    pub(super) fn apply(&mut self, change: AccountChange) {
        match change {
            AccountChange::PutUser(row) => {
                if let Some(user) = User::read(row) {
                    self.users.insert(user.name.clone(), user);
                }
            }
            AccountChange::RemoveUser(name) => {
                self.users.retain(|user, _| user.as_str() != name);
                self.tokens.retain(|_, token| token.user.as_str() != name);
                self.by_digest.retain(|_, id| self.tokens.contains_key(id));
                self.sessions.retain(|_, session| session.user.as_str() != name);
                self.peers.retain(|(user, _), _| user.as_str() != name);
            }
            AccountChange::PutToken(row) => {
                if let Some(token) = ApiToken::read(row) {
                    self.by_digest.insert(token.digest, token.id);
                    self.tokens.insert(token.id, token);
                }
            }
            AccountChange::RevokeToken(id, at) => {
                if let Some(token) = self.tokens.get_mut(&id) {
                    token.revoked = token.revoked.or(Some(at));
                }
            }
            AccountChange::ForgetToken(id) => {
                if let Some(token) = self.tokens.remove(&id) {
                    self.by_digest.remove(&token.digest);
                }
            }
            AccountChange::TokenUsed(id, at) => {
                if let Some(token) = self.tokens.get_mut(&id) {
                    token.last_used = Some(at);
                }
            }
            AccountChange::PutSession(SessionRow { digest, user, created, expires, cookie }) => {
                if let Ok(user) = user.parse() {
                    self.sessions.insert(digest, Session { user, cookie, created, expires });
                }
            }
            AccountChange::EndSession(digest) => {
                self.sessions.remove(&digest);
            }
            AccountChange::PutPeer(PeerRow { user, peer, seen }) => {
                if let (Ok(user), Ok(peer)) = (user.parse(), peer.parse()) {
                    self.peers.insert((user, peer), seen);
                }
            }
            AccountChange::ForgetPeer { user, peer } => {
                self.peers.retain(|(name, address), _| name.as_str() != user || address.to_string() != peer);
            }
        }
    }

    /// Who shows a login's digest.
    pub(super) fn session(&self, digest: Digest, now: Timestamp) -> Option<Verified> {
        let session = self.sessions.get(&digest)?;
        let user = self.active(&session.user)?;
        (now < session.expires).then(|| Verified {
            caller: Caller {
                name: user.name.as_str().into(),
                role: user.role,
                clusters: user.clusters.clone(),
                via: Via::Session,
            },
            pass: if session.cookie { Pass::Page(digest) } else { Pass::Session(digest) },
            until: Some(session.expires),
        })
    }

    /// Who shows a token's digest.
    pub(super) fn token(&self, digest: Digest, now: Timestamp) -> Option<Verified> {
        self.token_by_id(*self.by_digest.get(&digest)?, now)
    }

    fn token_by_id(&self, id: Uuid, now: Timestamp) -> Option<Verified> {
        let token = self.tokens.get(&id).filter(|token| !token.ended(now))?;
        let user = self.active(&token.user)?;
        // The user may have lost rights since the token was made.
        Some(Verified {
            caller: Caller {
                name: user.name.as_str().into(),
                role: token.role.min(user.role),
                clusters: both(&token.clusters, &user.clusters),
                via: Via::Token(token.name.clone()),
            },
            pass: Pass::Token(id),
            until: token.expires,
        })
    }

    /// Whether somebody who was let in still is, and what they may now.
    pub(super) fn still(&self, pass: Pass, now: Timestamp) -> Option<Verified> {
        match pass {
            Pass::Session(digest) | Pass::Page(digest) => self.session(digest, now),
            Pass::Token(id) => self.token_by_id(id, now),
            // It opens no sockets, and a call is over at once.
            Pass::Local => None,
        }
    }

    /// Whether it is time to note that a token was used.
    pub(super) fn use_is_news(&self, id: Uuid, now: Timestamp) -> bool {
        let used = self.tokens.get(&id).and_then(|token| token.last_used);
        used.is_none_or(|used| now.duration_since(used) >= USED_EVERY)
    }

    pub(super) fn user(&self, name: &UserName) -> Option<&User> {
        self.users.get(name)
    }

    pub(super) fn users(&self) -> impl Iterator<Item = &User> {
        self.users.values()
    }

    pub(super) fn api_token(&self, id: Uuid) -> Option<&ApiToken> {
        self.tokens.get(&id)
    }

    /// In the order in which they were made.
    pub(super) fn tokens_of(&self, user: Option<&UserName>) -> Vec<ApiToken> {
        let own = self.tokens.values().filter(|token| user.is_none_or(|user| token.user == *user));
        let mut own: Vec<ApiToken> = own.cloned().collect();
        own.sort_by_key(|token| (token.created, token.id));
        own
    }

    /// Whether anybody is left who rules, once this user has become something else or gone.
    pub(super) fn ruled_without(&self, name: &UserName, becomes: Option<&User>) -> bool {
        becomes.is_some_and(User::rules) || self.users.values().any(|user| user.name != *name && user.rules())
    }

    /// Whether somebody could log in who may do everything.
    pub(super) fn ruled(&self) -> bool {
        self.users.values().any(User::rules)
    }

    /// What ends when all logins of a user do, but one.
    pub(super) fn ends_of(&self, name: &UserName, but: Option<Pass>) -> Vec<AccountChange> {
        let kept =
            |digest: &Digest| matches!(but, Some(Pass::Session(but) | Pass::Page(but)) if but == *digest);
        let own = self.sessions.iter().filter(|(digest, session)| session.user == *name && !kept(digest));
        own.map(|(digest, _)| AccountChange::EndSession(*digest)).collect()
    }

    /// What ends to make room for one more login: what is over, and the oldest beyond the limits.
    pub(super) fn room_for(&self, name: &UserName, now: Timestamp) -> Vec<AccountChange> {
        let (over, lasting): (Vec<_>, Vec<_>) =
            self.sessions.iter().partition(|(_, session)| session.expires <= now);
        let mut ends: Vec<Digest> = over.into_iter().map(|(digest, _)| *digest).collect();
        let (mut own, mut others): (Vec<_>, Vec<_>) =
            lasting.into_iter().partition(|(_, session)| session.user == *name);
        own.sort_by_key(|(_, session)| session.created);
        let surplus = (own.len() + 1).saturating_sub(SESSIONS_PER_USER);
        ends.extend(own.drain(..surplus).map(|(digest, _)| *digest));
        let all = own.len() + others.len() + 1;
        others.extend(own);
        others.sort_by_key(|(_, session)| session.created);
        ends.extend(others.iter().take(all.saturating_sub(SESSIONS_MAX)).map(|(digest, _)| **digest));
        ends.into_iter().map(AccountChange::EndSession).collect()
    }

    /// Whether the user has logged in from there within a month.
    pub(super) fn knows(&self, name: &UserName, peer: IpAddr, now: Timestamp) -> bool {
        let seen = self.peers.get(&(name.clone(), peer));
        seen.is_some_and(|seen| now.duration_since(*seen) <= PEER_REMEMBERED)
    }

    /// What is to be remembered when the user has logged in from there.
    pub(super) fn came_from(&self, name: &UserName, peer: IpAddr, now: Timestamp) -> Vec<AccountChange> {
        let seen = self.peers.get(&(name.clone(), peer));
        if seen.is_some_and(|seen| now.duration_since(*seen) < PEER_SEEN_EVERY) {
            return Vec::new();
        }
        let mut others: Vec<_> =
            self.peers.iter().filter(|((user, address), _)| user == name && *address != peer).collect();
        others.sort_by_key(|(_, seen)| **seen);
        let surplus = (others.len() + 1).saturating_sub(PEERS_PER_USER);
        let gone = others.into_iter().take(surplus).map(|((user, address), _)| AccountChange::ForgetPeer {
            user: user.to_string(),
            peer: address.to_string(),
        });
        let here = PeerRow { user: name.to_string(), peer: peer.to_string(), seen: now };
        gone.chain([AccountChange::PutPeer(here)]).collect()
    }

    fn active(&self, name: &UserName) -> Option<&User> {
        self.users.get(name).filter(|user| user.disabled.is_none())
    }
}

/// Whether somebody who is let in may not be any more, or may do something else.
pub(super) fn may_end(change: &AccountChange) -> bool {
    match change {
        AccountChange::PutUser(_)
        | AccountChange::RemoveUser(_)
        | AccountChange::RevokeToken(..)
        | AccountChange::ForgetToken(_)
        | AccountChange::EndSession(_) => true,
        AccountChange::PutToken(_)
        | AccountChange::TokenUsed(..)
        | AccountChange::PutSession(_)
        | AccountChange::PutPeer(_)
        | AccountChange::ForgetPeer { .. } => false,
    }
}

/// A name that is none of a cluster's is left out: it gives no right to anything.
fn scope(names: Vec<String>) -> Box<[ClusterName]> {
    names.iter().filter_map(|name| name.parse().ok()).collect()
}

pub(super) fn words(scope: &Scope) -> Option<Vec<String>> {
    scope.as_ref().map(|names| names.iter().map(ToString::to_string).collect())
}

/// The clusters that are in both.
fn both(a: &Scope, b: &Scope) -> Scope {
    match (a, b) {
        (None, scope) | (scope, None) => scope.clone(),
        (Some(a), Some(b)) => Some(a.iter().filter(|name| b.contains(name)).cloned().collect()),
    }
}

/// Whether a scope is within another one.
pub(super) fn within(inner: &Scope, outer: &Scope) -> bool {
    match (inner, outer) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(inner), Some(outer)) => inner.iter().all(|name| outer.contains(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn user(name: &str, role: Role, clusters: Option<&[&str]>) -> User {
        User {
            name: name.parse().unwrap(),
            role,
            clusters: clusters.map(|names| names.iter().map(|name| name.parse().unwrap()).collect()),
            password: Some(PasswordText("hash".into())),
            created: at(0),
            disabled: None,
        }
    }

    fn put(accounts: &mut Accounts, user: &User) {
        accounts.apply(AccountChange::PutUser(user.row()));
    }

    fn login(accounts: &mut Accounts, name: &str, number: u32, second: i64) -> Digest {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&number.to_be_bytes());
        let expires = at(second + 86_400);
        let row = SessionRow { digest, user: name.into(), cookie: false, created: at(second), expires };
        accounts.apply(AccountChange::PutSession(row));
        digest
    }

    #[test]
    fn what_is_a_name() {
        let table: [(&str, &str, bool); 12] = [
            ("plain", "alice", true),
            ("an address", "alice.b-c_d@example.org", true),
            ("a digit first", "4alice", true),
            ("longest", &"a".repeat(64), true),
            ("too long", &"a".repeat(65), false),
            ("empty", "", false),
            ("capitals, which look like others", "Alice", false),
            ("letters that look like ours", "аlice", false),
            ("a line break", "alice\r\nX-Evil: 1", false),
            ("a path", "../alice", false),
            ("a dot first", ".alice", false),
            ("a space", "alice b", false),
        ];
        for (name, text, expected) in table {
            assert_eq!(text.parse::<UserName>().is_ok(), expected, "{name}");
        }
    }

    #[test]
    fn somebody_always_rules() {
        let admin = user(ADMIN, Role::Admin, None);
        let with = |changed: fn(&mut User)| {
            let mut user = user("bob", Role::Admin, None);
            changed(&mut user);
            user
        };
        let table: [(&str, Option<User>, bool); 6] = [
            ("no other", None, false),
            ("another admin", Some(with(|_| {})), true),
            ("an operator", Some(with(|user| user.role = Role::Operator)), false),
            ("an admin of one cluster", Some(with(|user| user.clusters = Some(Box::new([])))), false),
            ("an admin who is not let in", Some(with(|user| user.disabled = Some(at(0)))), false),
            ("an admin without a password", Some(with(|user| user.password = None)), false),
        ];
        for (name, other, expected) in table {
            let mut accounts = Accounts::default();
            put(&mut accounts, &admin);
            other.iter().for_each(|other| put(&mut accounts, other));
            assert_eq!(accounts.ruled_without(&admin.name, None), expected, "{name}: removed");
            let demoted = User { role: Role::Viewer, ..admin.clone() };
            assert_eq!(accounts.ruled_without(&admin.name, Some(&demoted)), expected, "{name}: demoted");
            assert!(accounts.ruled_without(&admin.name, Some(&admin)), "{name}: unchanged");
        }
    }

    #[test]
    fn a_token_never_has_more_than_its_user() {
        type May = (Role, Option<&'static [&'static str]>);
        let table: [(&str, May, May, May); 5] = [
            ("as much", (Role::Admin, None), (Role::Admin, None), (Role::Admin, None)),
            ("less", (Role::Viewer, Some(&["lab"])), (Role::Admin, None), (Role::Viewer, Some(&["lab"]))),
            ("the user was demoted", (Role::Admin, None), (Role::Viewer, None), (Role::Viewer, None)),
            (
                "the user lost a cluster",
                (Role::Viewer, None),
                (Role::Viewer, Some(&["lab"])),
                (Role::Viewer, Some(&["lab"])),
            ),
            (
                "nothing in common",
                (Role::Viewer, Some(&["edge"])),
                (Role::Viewer, Some(&["lab"])),
                (Role::Viewer, Some(&[])),
            ),
        ];
        for (name, token, owner, expected) in table {
            let mut accounts = Accounts::default();
            put(&mut accounts, &user("bob", owner.0, owner.1));
            let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
            accounts.apply(AccountChange::PutToken(TokenRow {
                id: Uuid::nil(),
                user: "bob".into(),
                name: "script".into(),
                digest: [7; 32],
                role: token.0.to_string(),
                clusters: token.1.map(names),
                created: at(0),
                expires: Some(at(60)),
                last_used: None,
                revoked: None,
            }));
            let caller = accounts.token([7; 32], at(1)).unwrap().caller;
            assert_eq!((caller.role, words(&caller.clusters)), (expected.0, expected.1.map(names)), "{name}");
            assert_eq!(accounts.token([7; 32], at(60)), None, "{name}: expired");
            accounts.apply(AccountChange::RevokeToken(Uuid::nil(), at(2)));
            assert_eq!(accounts.token([7; 32], at(3)), None, "{name}: revoked");
        }
    }

    #[test]
    fn what_ends_a_login() {
        let bob = user("bob", Role::Viewer, None);
        let table: [(&str, AccountChange, i64, bool); 6] = [
            ("nothing", AccountChange::EndSession([9; 32]), 1, true),
            ("its end", AccountChange::EndSession([9; 32]), 86_400, false),
            ("a logout", AccountChange::EndSession([0; 32]), 1, false),
            (
                "the user is disabled",
                AccountChange::PutUser(User { disabled: Some(at(1)), ..bob.clone() }.row()),
                1,
                false,
            ),
            ("the user is removed", AccountChange::RemoveUser("bob".into()), 1, false),
            ("somebody else is removed", AccountChange::RemoveUser("eve".into()), 1, true),
        ];
        for (name, change, second, expected) in table {
            let mut accounts = Accounts::default();
            put(&mut accounts, &bob);
            let digest = login(&mut accounts, "bob", 0, 0);
            accounts.apply(change);
            assert_eq!(accounts.session(digest, at(second)).is_some(), expected, "{name}");
            assert_eq!(
                accounts.still(Pass::Session(digest), at(second)).is_some(),
                expected,
                "{name}, asked again"
            );
        }
    }

    #[test]
    fn logins_are_bounded_and_the_oldest_go() {
        let mut accounts = Accounts::default();
        let bob: UserName = "bob".parse().unwrap();
        let over = login(&mut accounts, "eve", 1_000_000, -90_000);
        for number in 0..SESSIONS_PER_USER as u32 {
            login(&mut accounts, "bob", number, i64::from(number));
        }
        let mut first = [0; 32];
        first[..4].copy_from_slice(&0_u32.to_be_bytes());
        let ends = accounts.room_for(&bob, at(2_000));
        assert_eq!(ends, [AccountChange::EndSession(over), AccountChange::EndSession(first)]);
        ends.into_iter().for_each(|end| accounts.apply(end));
        for number in 1..=SESSIONS_MAX as u32 {
            let name = format!("user{}", number % 50);
            login(&mut accounts, &name, 100_000 + number, 5_000 + i64::from(number));
        }
        let ends = accounts.room_for(&"carol".parse().unwrap(), at(20_000)).len();
        assert_eq!(ends, accounts.sessions.len() + 1 - SESSIONS_MAX);
    }

    #[test]
    fn from_where_somebody_came_is_remembered_for_a_month() {
        let mut accounts = Accounts::default();
        let bob: UserName = "bob".parse().unwrap();
        let peer = |n: u32| IpAddr::V4(std::net::Ipv4Addr::from_bits(n));
        let day = 86_400;
        for n in 0..PEERS_PER_USER as u32 + 1 {
            let came = accounts.came_from(&bob, peer(n), at(i64::from(n)));
            came.into_iter().for_each(|change| accounts.apply(change));
        }
        let now = at(PEERS_PER_USER as i64);
        assert!(!accounts.knows(&bob, peer(0), now), "the oldest went");
        assert!(accounts.knows(&bob, peer(1), now));
        assert!(!accounts.knows(&"eve".parse().unwrap(), peer(1), now), "somebody else's");
        assert!(accounts.knows(&bob, peer(1), at(30 * day)));
        assert!(!accounts.knows(&bob, peer(1), at(30 * day + 2)), "a month later");
        assert!(accounts.came_from(&bob, peer(1), at(60)).is_empty(), "the same day costs no write");
        assert_eq!(accounts.came_from(&bob, peer(1), at(day + 1)).len(), 1);
    }
}
