//! Token: what somebody shows to be let in. 256 random bits behind a prefix that says what they are for.
//!
//! Nothing is in a token: what it may is looked up, so that it ends the moment somebody says so. Kept is its SHA-256,
//! prefix included, so that a cookie shown as a bearer token is nobody's. A random secret of this size needs no slow
//! hash. The prefixes let a secret scanner find one that somebody pasted where it does not belong.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jiff::SignedDuration;
use sha2::{Digest as _, Sha256};

use crate::key::random;

/// How long a login is valid: a working day with its night, so that a wall display is logged in once a day.
pub const LASTS: SignedDuration = SignedDuration::from_hours(24);

/// What is kept of a token.
pub(super) type Digest = [u8; 32];

/// Ours have 47 bytes; nothing longer is looked at.
const TOKEN_MAX: usize = 128;

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A login of a program, or of the original's page: shown as a bearer token, and by sockets.
    Session,
    /// A login of a page of ours: shown in a cookie, and nowhere else.
    Cookie,
    /// What a program shows instead of a password.
    Api,
    /// Lets one connection of sockets in.
    Ticket,
}

impl Purpose {
    const ALL: [Purpose; 4] = [Purpose::Session, Purpose::Cookie, Purpose::Api, Purpose::Ticket];

    fn prefix(self) -> &'static str {
        match self {
            Purpose::Session => "jrs_",
            Purpose::Cookie => "jrc_",
            Purpose::Api => "jrv_",
            Purpose::Ticket => "jrt_",
        }
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

/// A new one, and what is kept of it.
///
/// # Errors
/// The system gives no random bits.
pub(super) fn make(purpose: Purpose) -> anyhow::Result<(String, Digest)> {
    let token = format!("{}{}", purpose.prefix(), BASE64.encode(random::<32>()?));
    let digest = digest(&token);
    Ok((token, digest))
}

/// What a token claims to be for, and what would be kept of it.
pub(super) fn read(token: &str) -> Option<(Purpose, Digest)> {
    let purpose = Purpose::ALL.into_iter().find(|purpose| token.starts_with(purpose.prefix()))?;
    (token.len() <= TOKEN_MAX).then(|| (purpose, digest(token)))
}

fn digest(token: &str) -> Digest {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_one_thing() {
        let (cookie, kept) = make(Purpose::Cookie).unwrap();
        assert_eq!(cookie.len(), 47);
        type Read = Option<(Purpose, bool)>;
        let table: [(&str, String, Read); 6] = [
            ("itself", cookie.clone(), Some((Purpose::Cookie, true))),
            (
                "a cookie shown as a bearer token",
                cookie.replacen("jrc_", "jrs_", 1),
                Some((Purpose::Session, false)),
            ),
            ("cut", cookie[..46].to_owned(), Some((Purpose::Cookie, false))),
            ("longer than any of ours", format!("{cookie}{}", "A".repeat(TOKEN_MAX)), None),
            ("of no kind", "eyJhbGciOiJub25lIn0.e30.".into(), None),
            ("empty", String::new(), None),
        ];
        for (name, token, expected) in table {
            let read = read(&token).map(|(purpose, digest)| (purpose, digest == kept));
            assert_eq!(read, expected, "{name}");
        }
    }

    #[test]
    fn no_two_tokens_are_the_same_and_none_shows_itself() {
        assert_ne!(make(Purpose::Api).unwrap(), make(Purpose::Api).unwrap());
        let issued = Issued { token: "jrs_secret".into(), expires_in: 86_400 };
        assert_eq!(format!("{issued:?}"), "Issued { expires_in: 86400, .. }");
    }
}
