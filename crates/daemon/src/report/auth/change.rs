//! Change: users and tokens made, changed and ended, by somebody who may. Each change is in the journal with who made
//! it, and never with a secret.
//!
//! Whether somebody may is asked here, where it cannot be forgotten, beside the table of roles that guards the calls.
//!
//! An API token may end before its user does, and its user may end it. So it gives nobody anything that would go on
//! after it, whoever's it is: it makes no token, no user and no password, and gives no rights. It may take.

use engine::observe::ClusterName;
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::accounts::{Scope, within, words};
use super::{ApiToken, Auth, Denied, Pass, Password, User, UserName, broken, check_password};
use crate::record::{AccountChange, NewEntry, Operator, StoreError, TokenRow};
use crate::report::auth::Lane;
use crate::report::caller::{Caller, Role, Via};
use crate::report::token::{self, Purpose};
use crate::words::plain;

/// Users in all.
const USERS_MAX: usize = 1_000;
/// Tokens of one user, those that have ended among them; the oldest of these make room.
const TOKENS_MAX: usize = 100;
/// Longest name of a token.
const TOKEN_NAME_MAX: usize = 64;
/// Clusters that one user or token may name.
const CLUSTERS_MAX: usize = 100;

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum Objection {
    /// Ask somebody who may.
    #[error("{0} may not do this")]
    NotYours(Box<str>),
    /// Look at the list.
    #[error("there is no user of that name")]
    NoSuchUser,
    /// Look at the list.
    #[error("there is no such token")]
    NoSuchToken,
    /// Take another name, or change the one who is there.
    #[error("there is a user of that name already")]
    UserExists,
    /// Make another admin first.
    #[error("this is the last admin who can log in: make another one first")]
    LastAdmin,
    /// Disable it instead.
    #[error("admin is always there, as an admin of all clusters: another admin may disable it")]
    TheAdmin,
    /// Change the configuration.
    #[error(
        "admin's password is given by the configuration (JARVIS_PASSWORD, password_file): change it there, or take it out first"
    )]
    Configured,
    /// Come with a password.
    #[error("an API token gives nobody anything that would outlive it: log in with a password for this")]
    NotByToken,
    /// Come with a password.
    #[error("an API token ends itself, and no other: log in with a password for this")]
    NotThisToken,
    /// Less.
    #[error("a token may not have more than its user and whoever makes it: a lesser role, or fewer clusters")]
    MoreThanItsUser,
    /// Say something else.
    #[error("{0}")]
    Malformed(Box<str>),
    /// End some first.
    #[error("there are {0} already, and no more are kept: remove some first")]
    TooMany(usize),
    /// The old password was wrong, or hashing failed.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The log says why.
    #[error("the change could not be stored; the log says why")]
    Store(#[source] StoreError),
    /// Do it once more when the store can be written, or change anything else.
    #[error(
        "this is in force, and could not be stored (the log says why): until it is, which is tried at each change of \
         users, a restart of Jarvis would undo it"
    )]
    Unstored(#[source] StoreError),
}

impl From<StoreError> for Objection {
    fn from(error: StoreError) -> Objection {
        tracing::error!("a change of the users could not be stored: {error:#}");
        Objection::Store(error)
    }
}

/// A user to be made.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// Who.
    pub name: UserName,
    /// What they may.
    pub role: Role,
    /// Where.
    pub clusters: Scope,
    /// `None`: for programs, which show tokens.
    pub password: Option<Password>,
}

/// What is to become of a user; `None` leaves it.
#[derive(Clone, Debug, Default)]
pub struct UserPatch {
    /// What they may.
    pub role: Option<Role>,
    /// Where.
    pub clusters: Option<Scope>,
    /// Whether they are let in.
    pub disabled: Option<bool>,
}

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Whose.
    pub user: UserName,
    /// What for.
    pub name: String,
    /// What it may; `None`: as its user.
    pub role: Option<Role>,
    /// Where; `None`: as its user.
    pub clusters: Option<Box<[ClusterName]>>,
    /// The first moment in which it is void.
    pub expires: Option<Timestamp>,
}

type Done<T> = Result<T, Objection>;

impl Auth {
    /// Everybody, by name.
    pub fn users(&self, by: &Caller) -> Done<Vec<User>> {
        rules(by)?;
        Ok(self.books.read().users().cloned().map(|user| self.shown(user)).collect())
    }

    /// As it is in force: `admin` has the configured password where there is one.
    fn shown(&self, user: User) -> User {
        match self.settled.get() {
            Some(Some(hash)) if user.name == UserName::admin() => {
                User { password: Some(hash.clone()), ..user }
            }
            Some(_) | None => user,
        }
    }

    /// A new user.
    ///
    /// # Errors
    /// See [`Objection`]; here and below.
    pub async fn add_user(&self, by: &Caller, new: NewUser, now: Timestamp) -> Done<User> {
        rules(by)?;
        gives(by)?;
        let NewUser { name, role, clusters, password } = new;
        few(&clusters)?;
        let password = match password {
            Some(password) => {
                check_password(&password)?;
                Some(self.hasher.hash(password).await?)
            }
            None => None,
        };
        let turn = self.turn().await;
        let user = User { name, role, clusters, password, created: now, disabled: None };
        {
            let accounts = self.books.read();
            if accounts.user(&user.name).is_some() {
                return Err(Objection::UserExists);
            }
            let count = accounts.users().count();
            if count >= USERS_MAX {
                return Err(Objection::TooMany(count));
            }
        }
        let what = json!({ "user": user.name.as_str(), "role": role, "clusters": words(&user.clusters) });
        let changes = vec![AccountChange::PutUser(user.row())];
        self.books.commit(turn, changes, Some(entry(now, by, "userAdded", &what))).await?;
        Ok(user)
    }

    /// Another role, other clusters, or whether the user is let in. All of these end the user's logins; tokens go on
    /// with the lesser of theirs and the user's rights, or not at all.
    pub async fn change_user(
        &self,
        by: &Caller,
        name: &UserName,
        patch: UserPatch,
        now: Timestamp,
    ) -> Done<User> {
        rules(by)?;
        let turn = self.turn().await;
        let (user, changes, takes) = {
            let accounts = self.books.read();
            let before = accounts.user(name).ok_or(Objection::NoSuchUser)?;
            let mut user = before.clone();
            user.role = patch.role.unwrap_or(user.role);
            user.clusters = patch.clusters.unwrap_or(user.clusters);
            few(&user.clusters)?;
            user.disabled = match patch.disabled {
                Some(true) => user.disabled.or(Some(now)),
                Some(false) => None,
                None => user.disabled,
            };
            let let_in = before.disabled.is_some() && user.disabled.is_none();
            let takes = !let_in && user.role <= before.role && within(&user.clusters, &before.clusters);
            if !takes {
                gives(by)?;
            }
            if *name == UserName::admin() {
                if user.role != Role::Admin || user.clusters.is_some() {
                    return Err(Objection::TheAdmin);
                }
                if user.disabled.is_some() && self.configured.is_some() {
                    return Err(Objection::Configured);
                }
            }
            let ruled = self.configured.is_some() || accounts.ruled_without(name, Some(&user));
            if user != *before && !ruled {
                return Err(Objection::LastAdmin);
            }
            let mut changes = Vec::new();
            if user != *before {
                changes = accounts.ends_of(name, None);
                changes.push(AccountChange::PutUser(user.row()));
            }
            (user, changes, takes)
        };
        if changes.is_empty() {
            self.books.catch_up(turn).await.map_err(unstored)?;
            return Ok(self.shown(user));
        }
        let what = json!({ "user": name.as_str(), "role": user.role, "clusters": words(&user.clusters), "disabled": user.disabled.is_some() });
        let entry = entry(now, by, "userChanged", &what);
        if takes {
            self.books.take_away(turn, changes, Some(entry)).await.map_err(unstored)?;
        } else {
            self.books.commit(turn, changes, Some(entry)).await?;
        }
        Ok(self.shown(user))
    }

    /// A user goes, with all tokens and logins.
    pub async fn remove_user(&self, by: &Caller, name: &UserName, now: Timestamp) -> Done<()> {
        rules(by)?;
        let turn = self.turn().await;
        if self.books.left_in_store(name.as_str()) && self.books.read().user(name).is_none() {
            return self.books.catch_up(turn).await.map_err(unstored);
        }
        {
            let accounts = self.books.read();
            accounts.user(name).ok_or(Objection::NoSuchUser)?;
            if *name == UserName::admin() {
                return Err(Objection::TheAdmin);
            }
            if self.configured.is_none() && !accounts.ruled_without(name, None) {
                return Err(Objection::LastAdmin);
            }
        }
        let changes = vec![AccountChange::RemoveUser(name.to_string())];
        let what = json!({ "user": name.as_str() });
        let entry = entry(now, by, "userRemoved", &what);
        self.books.take_away(turn, changes, Some(entry)).await.map_err(unstored)
    }

    /// A new password: one's own by whoever knows the old one, anybody's by an admin. Ends the user's logins but the one
    /// that asks.
    pub async fn set_password(
        &self,
        by: (&Caller, Pass),
        name: &UserName,
        old: Option<Password>,
        new: Password,
        now: Timestamp,
    ) -> Done<()> {
        let (by, pass) = by;
        let own = *by.name == *name.as_str();
        if !own {
            rules(by)?;
        }
        gives(by)?;
        check_password(&new)?;
        if *name == UserName::admin() && self.configured.is_some() {
            return Err(Objection::Configured);
        }
        let before = self.books.read().user(name).ok_or(Objection::NoSuchUser)?.password.clone();
        if own {
            let old = old.filter(|old| old.bytes().len() <= super::PASSWORD_MAX).ok_or(Denied::Wrong)?;
            if !self.hasher.matches(Lane::Known, old, before.clone()).await? {
                return Err(Denied::Wrong.into());
            }
        }
        let hash = self.hasher.hash(new).await?;
        let turn = self.turn().await;
        let changes = {
            let accounts = self.books.read();
            let user = accounts.user(name).ok_or(Objection::NoSuchUser)?;
            if own && user.password != before {
                return Err(Denied::Wrong.into());
            }
            let user = User { password: Some(hash), ..user.clone() };
            let mut changes = accounts.ends_of(name, Some(pass));
            changes.push(AccountChange::PutUser(user.row()));
            changes
        };
        let entry = entry(now, by, "passwordSet", &json!({ "user": name.as_str() }));
        if before.is_some() {
            // It takes the old one away, and every login with it.
            return self.books.take_away(turn, changes, Some(entry)).await.map_err(unstored);
        }
        Ok(self.books.commit(turn, changes, Some(entry)).await?)
    }

    /// One's own tokens; an admin's are everybody's.
    pub fn api_tokens(&self, by: &Caller) -> Vec<ApiToken> {
        let all = by.may(Role::Admin, None);
        let Ok(own) = by.name.parse() else { return Vec::new() };
        self.books.read().tokens_of(if all { None } else { Some(&own) })
    }

    /// A token, and its secret, which nobody can be told again.
    pub async fn add_token(&self, by: &Caller, new: NewToken, now: Timestamp) -> Done<(ApiToken, String)> {
        let NewToken { user: name, name: purpose, role, clusters, expires } = new;
        if *by.name != *name.as_str() {
            rules(by)?;
        }
        gives(by)?;
        let shown = purpose.trim();
        if shown.is_empty() || shown.len() > TOKEN_NAME_MAX || plain(shown) != shown {
            let words = format!(
                "a token's name has 1 to {TOKEN_NAME_MAX} bytes, on one line, without signs that are not seen"
            );
            return Err(Objection::Malformed(words.into()));
        }
        if expires.is_some_and(|end| end <= now) {
            return Err(Objection::Malformed("a token ends in the future, or never".into()));
        }
        let turn = self.turn().await;
        let (secret, mut changes, row) = {
            let accounts = self.books.read();
            let user = accounts.user(&name).ok_or(Objection::NoSuchUser)?;
            let role = role.unwrap_or(user.role.min(by.role));
            let own = || if within(&user.clusters, &by.clusters) { &user.clusters } else { &by.clusters };
            let clusters = clusters.map_or_else(|| own().clone(), Some);
            few(&clusters)?;
            let fits = |limit: Role, scope: &Scope| role <= limit && within(&clusters, scope);
            if !fits(user.role, &user.clusters) || !fits(by.role, &by.clusters) {
                return Err(Objection::MoreThanItsUser);
            }
            let tokens = accounts.tokens_of(Some(&name));
            let mut changes = Vec::new();
            if tokens.len() >= TOKENS_MAX {
                let ended = tokens.iter().find(|token| token.ended(now));
                let ended = ended.ok_or(Objection::TooMany(tokens.len()))?;
                changes.push(AccountChange::ForgetToken(ended.id));
            }
            let (secret, digest) = token::make(Purpose::Api).map_err(broken("no random bits for a token"))?;
            let row = TokenRow {
                id: Uuid::new_v4(),
                user: name.to_string(),
                name: shown.to_owned(),
                digest,
                role: role.to_string(),
                clusters: words(&clusters),
                created: now,
                expires,
                last_used: None,
                revoked: None,
            };
            (secret, changes, row)
        };
        let id = row.id;
        let what = json!({ "token": id.to_string(), "name": shown, "user": name.as_str(), "role": row.role, "clusters": row.clusters });
        changes.push(AccountChange::PutToken(row));
        self.books.commit(turn, changes, Some(entry(now, by, "tokenAdded", &what))).await?;
        let made = self.books.read().api_token(id).cloned().ok_or(Objection::NoSuchToken)?;
        Ok((made, secret))
    }

    /// A token is void from now on, also for the sockets that it let in. One of somebody else is there for an admin
    /// alone. Who shows a token ends that one, and no other of its user's, unless it is an admin's.
    pub async fn revoke_token(&self, by: (&Caller, Pass), id: Uuid, now: Timestamp) -> Done<()> {
        let (by, pass) = by;
        let turn = self.turn().await;
        let token = self.books.read().api_token(id).cloned().ok_or(Objection::NoSuchToken)?;
        let rules = by.may(Role::Admin, None);
        if *by.name != *token.user.as_str() && !rules {
            return Err(Objection::NoSuchToken);
        }
        match pass {
            Pass::Token(own) if own != id && !rules => return Err(Objection::NotThisToken),
            Pass::Token(_) | Pass::Session(_) | Pass::Page(_) | Pass::Local => {}
        }
        if token.revoked.is_some() {
            return self.books.catch_up(turn).await.map_err(unstored);
        }
        let changes = vec![AccountChange::RevokeToken(id, now)];
        let what = json!({ "token": id.to_string(), "name": token.name, "user": token.user.as_str() });
        let entry = entry(now, by, "tokenRevoked", &what);
        self.books.take_away(turn, changes, Some(entry)).await.map_err(unstored)
    }

    /// A login ends.
    pub async fn log_out(&self, pass: Pass) -> Done<()> {
        let (Pass::Session(digest) | Pass::Page(digest)) = pass else {
            return Err(Objection::Malformed(
                "an API token is no login: revoke it with DELETE /api/v1/tokens/ID".into(),
            ));
        };
        let turn = self.turn().await;
        let changes = vec![AccountChange::EndSession(digest)];
        self.books.take_away(turn, changes, None).await.map_err(unstored)
    }
}

/// It is in force all the same.
fn unstored(error: StoreError) -> Objection {
    tracing::error!("a change of the users is in force and could not be stored: {error:#}");
    Objection::Unstored(error)
}

/// Users are of all clusters, and so is whoever decides about them.
fn rules(by: &Caller) -> Done<()> {
    if by.may(Role::Admin, None) { Ok(()) } else { Err(Objection::NotYours(by.name.clone())) }
}

/// What lasts is given by somebody who has just shown who they are, and not by what they once left with a program.
fn gives(by: &Caller) -> Done<()> {
    match by.via {
        Via::Session | Via::CommandLine => Ok(()),
        Via::Token(_) => Err(Objection::NotByToken),
    }
}

fn few(clusters: &Scope) -> Done<()> {
    let count = clusters.as_ref().map_or(0, |names| names.len());
    let words = || format!("at most {CLUSTERS_MAX} clusters can be named").into();
    if count <= CLUSTERS_MAX { Ok(()) } else { Err(Objection::Malformed(words())) }
}

fn entry(now: Timestamp, by: &Caller, did: &str, what: &serde_json::Value) -> NewEntry {
    let by = Operator { name: by.name.to_string(), via: by.via.to_string() };
    NewEntry::by_operator(now, &by, did, what)
}
