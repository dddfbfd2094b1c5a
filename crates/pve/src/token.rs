//! Who we are: an API token whose secret never shows.

use std::fmt;

use reqwest::header::HeaderValue;

/// A text that no `Debug` prints; it has no `Display`, so it cannot slip into a sentence either.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    pub fn new(text: impl Into<Box<str>>) -> Secret {
        Secret(text.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// An API token: `id` is `user@realm!name`, the secret is the UUID that PVE showed once.
#[derive(Clone, Debug)]
pub struct Token {
    id: Box<str>,
    secret: Secret,
}

/// Why a token cannot be sent. PVE would answer each of these with a bare 401 after three seconds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("`{0}` is not a token id; it looks like user@realm!name")]
    Id(Box<str>),
    #[error("the token's secret is empty")]
    NoSecret,
    #[error("the token's secret holds a blank, a line break or a character that is not ASCII; copy it again")]
    Secret,
}

impl Token {
    pub fn new(id: &str, secret: Secret) -> Result<Token, TokenError> {
        let sendable = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        let parts = || {
            let (user, name) = id.split_once('!')?;
            let (user, realm) = user.rsplit_once('@')?;
            Some([user, realm, name])
        };
        let named = parts().is_some_and(|parts| parts.iter().all(|part| !part.is_empty()));
        if !named || !sendable(id) || id.contains('=') {
            // Somebody may have pasted the whole header; what follows `=` is then the secret.
            let shown = id.split('=').next().unwrap_or_default();
            return Err(TokenError::Id(crate::answer::excerpt(shown.as_bytes(), 60)));
        }
        if secret.expose().is_empty() {
            return Err(TokenError::NoSecret);
        }
        if !sendable(secret.expose()) {
            return Err(TokenError::Secret);
        }
        Ok(Token { id: id.into(), secret })
    }

    /// `user@realm!name`: no secret; PVE prints it in task ids.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Marked sensitive, so that the HTTP library prints it as `Sensitive`.
    pub(crate) fn header(&self) -> Result<HeaderValue, TokenError> {
        let text = format!("PVEAPIToken={}={}", self.id, self.secret.expose());
        let mut value = HeaderValue::from_str(&text).map_err(|_| TokenError::Secret)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_checked_before_it_is_sent() {
        let id = |text: &str| Err(TokenError::Id(text.into()));
        #[rustfmt::skip]
        let table = [
            ("plain", "mon@pve!t1", "s3cret", Ok(())),
            ("an e-mail address as user", "a@b.example@pve!t1", "s", Ok(())),
            ("no token name", "mon@pve", "s", id("mon@pve")),
            ("empty token name", "mon@pve!", "s", id("mon@pve!")),
            ("no realm", "mon!t1", "s", id("mon!t1")),
            ("the whole header pasted", "mon@pve!t1=s3cret", "s", id("mon@pve!t1")),
            ("a line break in the id", "mon@pve!t1\n", "s", id("mon@pve!t1 ")),
            ("no secret", "mon@pve!t1", "", Err(TokenError::NoSecret)),
            ("a trailing blank", "mon@pve!t1", "s ", Err(TokenError::Secret)),
            ("a line break", "mon@pve!t1", "s\r\nX: y", Err(TokenError::Secret)),
        ];
        for (name, id, secret, expected) in table {
            assert_eq!(Token::new(id, Secret::new(secret)).map(|_| ()), expected, "{name}");
        }
    }

    #[test]
    fn the_secret_never_shows() {
        let token = Token::new("mon@pve!t1", Secret::new("s3cret")).unwrap();
        let header = token.header().unwrap();
        assert_eq!(format!("{token:?}"), r#"Token { id: "mon@pve!t1", secret: *** }"#);
        assert_eq!(format!("{header:?}"), "Sensitive");
        assert_eq!(header.as_bytes(), b"PVEAPIToken=mon@pve!t1=s3cret");
    }
}
