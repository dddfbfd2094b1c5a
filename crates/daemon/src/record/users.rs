//! Users: who may ask, their tokens and their logins, as they are stored.
//!
//! It knows no rule: who may be removed, and who is let in, is decided where all of it is kept in memory
//! (`report::auth`). Each change is written together with the journal's row that says who made it.

use std::fmt;

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection, SqlitePool};
use uuid::Uuid;

use super::chain::{Head, Signer};
use super::journal;
use super::new::NewEntry;
use super::write::Write;

/// Most rows of one table that are read: hundred times what is made (`report::auth` bounds that).
const ROWS_MAX: i64 = 100_000;

/// A password's hash. Shows itself to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordText(pub Box<str>);

impl fmt::Debug for PasswordText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordText(..)")
    }
}

/// One user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRow {
    /// Who.
    pub name: String,
    /// `viewer`, `operator`, `admin`.
    pub role: String,
    /// The clusters that the role is for; `None`: all.
    pub clusters: Option<Vec<String>>,
    /// The password's hash; `None`: there is none.
    pub password: Option<PasswordText>,
    /// When it was made.
    pub created: Timestamp,
    /// Since when the user is not let in.
    pub disabled: Option<Timestamp>,
}

/// What a program shows instead of a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// Its number.
    pub id: Uuid,
    /// Whose.
    pub user: String,
    /// What for, in the user's words.
    pub name: String,
    /// SHA-256 of the secret.
    pub digest: [u8; 32],
    /// As of a user.
    pub role: String,
    /// As of a user.
    pub clusters: Option<Vec<String>>,
    /// When it was made.
    pub created: Timestamp,
    /// The first moment in which it is void.
    pub expires: Option<Timestamp>,
    /// When it was used, to the minute.
    pub last_used: Option<Timestamp>,
    /// Since when it is void.
    pub revoked: Option<Timestamp>,
}

/// One login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// SHA-256 of the secret.
    pub digest: [u8; 32],
    /// Whose.
    pub user: String,
    /// Whether it lies in a page's cookie.
    pub cookie: bool,
    /// When it was made.
    pub created: Timestamp,
    /// The first moment in which it is void.
    pub expires: Timestamp,
}

/// From where somebody has logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRow {
    /// Who.
    pub user: String,
    /// An address or a network.
    pub peer: String,
    /// When last, to the day.
    pub seen: Timestamp,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct AccountRows {
    /// Every user.
    pub users: Vec<UserRow>,
    /// Every token.
    pub tokens: Vec<TokenRow>,
    /// Every login that has not ended.
    pub sessions: Vec<SessionRow>,
    /// From where they came.
    pub peers: Vec<PeerRow>,
}

/// One change. Several are made together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountChange {
    /// A user is made, or becomes this.
    PutUser(UserRow),
    /// A user goes, with all tokens, logins and peers.
    RemoveUser(String),
    /// A token is made.
    PutToken(TokenRow),
    /// A token is void from now on.
    RevokeToken(Uuid, Timestamp),
    /// A token that had ended is forgotten.
    ForgetToken(Uuid),
    /// A token was used.
    TokenUsed(Uuid, Timestamp),
    /// Somebody logged in.
    PutSession(SessionRow),
    /// A login ends.
    EndSession([u8; 32]),
    /// Somebody logged in from there.
    PutPeer(PeerRow),
    /// Nobody came from there for long.
    ForgetPeer {
        /// Who.
        user: String,
        /// From where.
        peer: String,
    },
}

/// Changes and what the journal says of them.
pub(super) struct ChangeAccounts {
    pub(super) signer: Signer,
    pub(super) changes: Vec<AccountChange>,
    pub(super) entries: Vec<NewEntry>,
}

impl Write for ChangeAccounts {
    type Output = Option<Head>;

    async fn apply(&self, conn: &mut SqliteConnection) -> Result<Self::Output, sqlx::Error> {
        for change in &self.changes {
            change.apply(conn).await?;
        }
        if self.entries.is_empty() {
            return Ok(None);
        }
        let end = journal::head(conn).await?;
        journal::append(conn, &self.signer, end, &self.entries).await.map(Some)
    }

    fn head(head: &Self::Output) -> Option<Head> {
        *head
    }
}

impl AccountChange {
    async fn apply(&self, conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let query = match self {
            AccountChange::PutUser(user) => sqlx::query(
                "INSERT INTO users (name, role, clusters, password, created_ms, disabled_ms) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (name) DO UPDATE SET role = excluded.role, \
                 clusters = excluded.clusters, password = excluded.password, disabled_ms = excluded.disabled_ms",
            )
            .bind(&user.name)
            .bind(&user.role)
            .bind(json(user.clusters.as_deref()))
            .bind(user.password.as_ref().map(|password| &*password.0))
            .bind(user.created.as_millisecond())
            .bind(user.disabled.map(Timestamp::as_millisecond)),
            AccountChange::RemoveUser(name) => {
                for sql in [
                    "DELETE FROM api_tokens WHERE user = ?1",
                    "DELETE FROM sessions WHERE user = ?1",
                    "DELETE FROM known_peers WHERE user = ?1",
                ] {
                    sqlx::query(sql).bind(name).execute(&mut *conn).await?;
                }
                sqlx::query("DELETE FROM users WHERE name = ?1").bind(name)
            }
            AccountChange::PutToken(token) => sqlx::query(
                "INSERT INTO api_tokens (id, user, name, digest, role, clusters, created_ms, expires_ms, last_used_ms, \
                 revoked_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )
            .bind(token.id.to_string())
            .bind(&token.user)
            .bind(&token.name)
            .bind(&token.digest[..])
            .bind(&token.role)
            .bind(json(token.clusters.as_deref()))
            .bind(token.created.as_millisecond())
            .bind(token.expires.map(Timestamp::as_millisecond))
            .bind(token.last_used.map(Timestamp::as_millisecond))
            .bind(token.revoked.map(Timestamp::as_millisecond)),
            AccountChange::RevokeToken(id, at) => {
                sqlx::query("UPDATE api_tokens SET revoked_ms = coalesce(revoked_ms, ?2) WHERE id = ?1")
                    .bind(id.to_string())
                    .bind(at.as_millisecond())
            }
            AccountChange::ForgetToken(id) => {
                sqlx::query("DELETE FROM api_tokens WHERE id = ?1").bind(id.to_string())
            }
            AccountChange::TokenUsed(id, at) => {
                sqlx::query("UPDATE api_tokens SET last_used_ms = ?2 WHERE id = ?1")
                    .bind(id.to_string())
                    .bind(at.as_millisecond())
            }
            AccountChange::PutSession(session) => sqlx::query(
                "INSERT INTO sessions (digest, user, cookie, created_ms, expires_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
            )
            .bind(&session.digest[..])
            .bind(&session.user)
            .bind(session.cookie)
            .bind(session.created.as_millisecond())
            .bind(session.expires.as_millisecond()),
            AccountChange::EndSession(digest) => {
                sqlx::query("DELETE FROM sessions WHERE digest = ?1").bind(&digest[..])
            }
            AccountChange::PutPeer(peer) => sqlx::query(
                "INSERT INTO known_peers (user, peer, seen_ms) VALUES (?1, ?2, ?3) \
                 ON CONFLICT (user, peer) DO UPDATE SET seen_ms = excluded.seen_ms",
            )
            .bind(&peer.user)
            .bind(&peer.peer)
            .bind(peer.seen.as_millisecond()),
            AccountChange::ForgetPeer { user, peer } => {
                sqlx::query("DELETE FROM known_peers WHERE user = ?1 AND peer = ?2").bind(user).bind(peer)
            }
        };
        query.execute(conn).await.map(drop)
    }
}

/// All that is stored. A row that is not ours, or was damaged, is read as the one with the least rights, or left out.
pub(super) async fn all(pool: &SqlitePool) -> Result<AccountRows, sqlx::Error> {
    let users = sqlx::query(
        "SELECT name, role, clusters, password, created_ms, disabled_ms FROM users ORDER BY name LIMIT ?1",
    );
    let tokens = sqlx::query(
        "SELECT id, user, name, digest, role, clusters, created_ms, expires_ms, last_used_ms, revoked_ms \
         FROM api_tokens ORDER BY created_ms, id LIMIT ?1",
    );
    let sessions = sqlx::query(
        "SELECT digest, user, cookie, created_ms, expires_ms FROM sessions ORDER BY created_ms DESC LIMIT ?1",
    );
    let peers = sqlx::query("SELECT user, peer, seen_ms FROM known_peers ORDER BY seen_ms DESC LIMIT ?1");
    Ok(AccountRows {
        users: users.bind(ROWS_MAX).fetch_all(pool).await?.iter().filter_map(user).collect(),
        tokens: tokens.bind(ROWS_MAX).fetch_all(pool).await?.iter().filter_map(token).collect(),
        sessions: sessions.bind(ROWS_MAX).fetch_all(pool).await?.iter().filter_map(session).collect(),
        peers: peers.bind(ROWS_MAX).fetch_all(pool).await?.iter().filter_map(peer).collect(),
    })
}

fn user(row: &SqliteRow) -> Option<UserRow> {
    let password: Option<String> = row.try_get("password").ok()?;
    Some(UserRow {
        name: row.try_get("name").ok()?,
        role: row.try_get("role").ok()?,
        clusters: clusters(row)?,
        password: password.map(|text| PasswordText(text.into())),
        created: at(row, "created_ms")?,
        disabled: perhaps_at(row, "disabled_ms")?,
    })
}

fn token(row: &SqliteRow) -> Option<TokenRow> {
    let id: String = row.try_get("id").ok()?;
    Some(TokenRow {
        id: id.parse().ok()?,
        user: row.try_get("user").ok()?,
        name: row.try_get("name").ok()?,
        digest: digest(row)?,
        role: row.try_get("role").ok()?,
        clusters: clusters(row)?,
        created: at(row, "created_ms")?,
        expires: perhaps_at(row, "expires_ms")?,
        last_used: perhaps_at(row, "last_used_ms")?,
        revoked: perhaps_at(row, "revoked_ms")?,
    })
}

fn session(row: &SqliteRow) -> Option<SessionRow> {
    Some(SessionRow {
        digest: digest(row)?,
        user: row.try_get("user").ok()?,
        cookie: row.try_get("cookie").ok()?,
        created: at(row, "created_ms")?,
        expires: at(row, "expires_ms")?,
    })
}

fn peer(row: &SqliteRow) -> Option<PeerRow> {
    Some(PeerRow {
        user: row.try_get("user").ok()?,
        peer: row.try_get("peer").ok()?,
        seen: at(row, "seen_ms")?,
    })
}

fn json(clusters: Option<&[String]>) -> Option<String> {
    clusters.map(|names| serde_json::Value::from(names).to_string())
}

/// A text that is no list of names means no cluster at all, never all of them.
fn clusters(row: &SqliteRow) -> Option<Option<Vec<String>>> {
    let text: Option<String> = row.try_get("clusters").ok()?;
    Some(text.map(|text| serde_json::from_str(&text).unwrap_or_default()))
}

fn digest(row: &SqliteRow) -> Option<[u8; 32]> {
    row.try_get::<Vec<u8>, _>("digest").ok()?.try_into().ok()
}

fn at(row: &SqliteRow, column: &str) -> Option<Timestamp> {
    Timestamp::from_millisecond(row.try_get(column).ok()?).ok()
}

fn perhaps_at(row: &SqliteRow, column: &str) -> Option<Option<Timestamp>> {
    let ms: Option<i64> = row.try_get(column).ok()?;
    ms.map(|ms| Timestamp::from_millisecond(ms).ok()).map_or(Some(None), |at| at.map(Some))
}
