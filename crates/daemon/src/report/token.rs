//! Token: what a login gets. A JSON Web Token (RFC 7519) signed with HMAC-SHA-256, and no other algorithm.
//!
//! The first part of a token is compared with the only one that we write, byte for byte. So the algorithm is never
//! the sender's choice, and a token signed with another key is refused before its contents are read.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::caller::{Caller, Role, Via};
use crate::key::mac;

/// How long a token is valid: a working day with its night, so that a wall display is logged in once a day.
pub const LASTS: SignedDuration = SignedDuration::from_hours(24);

/// Ours have below 300 bytes; nothing longer is looked at.
const TOKEN_MAX: usize = 1024;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who: always `admin` so far.
    pub sub: Box<str>,
    /// When it was made, in seconds of Unix time.
    pub iat: i64,
    /// The first second in which it is void.
    pub exp: i64,
    /// 128 random bits: no two tokens are the same.
    pub jti: Box<str>,
}

impl Claims {
    /// Whoever has a token is the admin: there is one user so far.
    pub(super) fn caller(&self) -> Caller {
        Caller { name: self.sub.clone(), role: Role::Admin, clusters: None, via: Via::Session }
    }

    /// How long it is still valid, at least zero.
    pub fn left(&self, now: Timestamp) -> std::time::Duration {
        let end = Timestamp::from_second(self.exp).unwrap_or(Timestamp::UNIX_EPOCH);
        std::time::Duration::try_from(end.duration_since(now)).unwrap_or_default()
    }
}

/// A token on its way to who logged in. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    /// The token itself.
    pub token: String,
    /// Seconds.
    pub expires_in: i64,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}

/// The key with which tokens are signed, and the only header that they have.
pub(super) struct TokenKey {
    key: [u8; 32],
    header: String,
}

impl TokenKey {
    pub(super) fn new(key: [u8; 32]) -> TokenKey {
        // The key's name tells nothing of the key: it is one more HMAC under it.
        let name = BASE64.encode(&mac(&key, &[b"name"])[..6]);
        let header = BASE64.encode(format!(r#"{{"alg":"HS256","kid":"{name}","typ":"JWT"}}"#));
        TokenKey { key, header }
    }

    pub(super) fn issue(&self, now: Timestamp, jti: [u8; 16]) -> serde_json::Result<Issued> {
        let iat = now.as_second();
        let exp = iat + LASTS.as_secs();
        let claims = Claims { sub: "admin".into(), iat, exp, jti: BASE64.encode(jti).into() };
        let claims = BASE64.encode(serde_json::to_vec(&claims)?);
        let signature = BASE64.encode(self.sign(&claims));
        Ok(Issued { token: format!("{}.{claims}.{signature}", self.header), expires_in: LASTS.as_secs() })
    }

    pub(super) fn verify(&self, token: &str, now: Timestamp) -> Option<Claims> {
        if token.len() > TOKEN_MAX {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        if header != self.header {
            return None;
        }
        let signature = BASE64.decode(signature).ok()?;
        if !bool::from(self.sign(claims).as_slice().ct_eq(&signature)) {
            return None;
        }
        let claims: Claims = serde_json::from_slice(&BASE64.decode(claims).ok()?).ok()?;
        (now.as_second() < claims.exp).then_some(claims)
    }

    fn sign(&self, claims: &str) -> [u8; 32] {
        mac(&self.key, &[self.header.as_bytes(), b".", claims.as_bytes()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_per_way_to_be_wrong() {
        let key = TokenKey::new([7; 32]);
        let born = Timestamp::from_second(1_700_000_000).unwrap();
        let after = |seconds| born + SignedDuration::from_secs(seconds);
        let day = LASTS.as_secs();
        let good = key.issue(born, [1; 16]).unwrap().token;
        let parts: Vec<&str> = good.split('.').collect();
        let with = |claims: &str| {
            let claims = BASE64.encode(claims);
            format!("{}.{claims}.{}", key.header, BASE64.encode(key.sign(&claims)))
        };
        let other = TokenKey::new([8; 32]).issue(born, [1; 16]).unwrap().token;
        let none = BASE64.encode(r#"{"alg":"none","typ":"JWT"}"#);
        let forever = BASE64.encode(r#"{"sub":"admin","iat":0,"exp":99999999999,"jti":""}"#);

        let table: [(&str, String, i64, bool); 14] = [
            ("fresh", good.clone(), 0, true),
            ("in its last second", good.clone(), day - 1, true),
            ("expired", good.clone(), day, false),
            ("long expired", good.clone(), day * 365, false),
            ("made by a clock that was ahead", good.clone(), -3600, true),
            ("another key", other, 0, false),
            ("signature cut", good[..good.len() - 1].to_owned(), 0, false),
            ("signature empty", format!("{}.{}.", parts[0], parts[1]), 0, false),
            ("claims changed", format!("{}.{forever}.{}", parts[0], parts[2]), 0, false),
            ("no algorithm", format!("{none}.{}.", parts[1]), 0, false),
            ("no algorithm, our signature", format!("{none}.{}.{}", parts[1], parts[2]), 0, false),
            ("claims without an end", with(r#"{"sub":"admin","iat":0,"jti":""}"#), 0, false),
            ("empty", String::new(), 0, false),
            ("longer than any of ours", format!("{good}{}", "A".repeat(TOKEN_MAX)), 0, false),
        ];
        for (name, token, seconds, expected) in table {
            assert_eq!(key.verify(&token, after(seconds)).is_some(), expected, "{name}");
        }
    }

    #[test]
    fn no_two_tokens_are_the_same_and_none_shows_itself() {
        let key = TokenKey::new([7; 32]);
        let issued = key.issue(Timestamp::UNIX_EPOCH, [1; 16]).unwrap();
        assert_ne!(issued, key.issue(Timestamp::UNIX_EPOCH, [2; 16]).unwrap());
        assert_eq!(format!("{issued:?}"), "Issued { expires_in: 86400, .. }");
    }
}
