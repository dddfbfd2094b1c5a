//! Who asks: tokens, and how each way to be refused reads.

use std::str::FromStr;

use engine::observe::{NodeName, StorageName};
use subtle::ConstantTimeEq as _;

use super::rights::{BadRights, Rights};
use super::wire::Request;
use crate::cluster::{Actor, Guest};

/// An API token that the simulated cluster accepts.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// `user@realm!name`.
    pub id: String,
    /// Its secret.
    pub secret: String,
    /// What it may do.
    pub rights: Rights,
}

impl std::fmt::Debug for Token {
    /// Without the secret, even a made-up one: the habit is worth more than the line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token({} {:?})", self.id, self.rights)
    }
}

/// Why a text is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    /// Its form.
    #[error("a token is written USER@REALM!NAME=SECRET, with `:RIGHTS` at its end for fewer rights")]
    Form,
    /// Its rights.
    #[error(transparent)]
    Rights(#[from] BadRights),
}

impl FromStr for Token {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Token, BadToken> {
        let (text, rights) = match text.rsplit_once(':') {
            Some((text, rights)) => (text, rights.parse()?),
            None => (text, Rights::full()),
        };
        let (id, secret) = text.split_once('=').ok_or(BadToken::Form)?;
        let (user, name) = id.split_once('!').ok_or(BadToken::Form)?;
        if secret.is_empty() || name.is_empty() || !user.contains('@') {
            return Err(BadToken::Form);
        }
        Ok(Token { id: id.into(), secret: secret.into(), rights })
    }
}

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) by: Actor,
    pub(super) rights: Rights,
}

impl Caller {
    /// Whether it may do something on a path.
    pub(super) fn may(&self, privilege: &str, path: &str) -> bool {
        self.rights.may(privilege, path)
    }

    /// Whether it may see a guest in a list.
    pub(super) fn sees(&self, guest: &Guest) -> bool {
        self.rights.may_guest("VM.Audit", guest)
    }

    /// Whether it may see what a node says of itself, and everybody's tasks there.
    pub(super) fn audits(&self, node: &NodeName) -> bool {
        self.may("Sys.Audit", &format!("/nodes/{node}"))
    }

    /// Whether it may see a storage in a list.
    pub(super) fn sees_storage(&self, storage: &StorageName) -> bool {
        let path = format!("/storage/{storage}");
        self.may("Datastore.Audit", &path) || self.may("Datastore.AllocateSpace", &path)
    }

    /// Whether it may see a pool, and which guests are in it.
    pub(super) fn sees_pool(&self, pool: &str) -> bool {
        self.may("Pool.Audit", &format!("/pool/{pool}"))
    }
}

/// Finds the token of a request. The error is the reason phrase of the 401.
pub(super) fn authenticate(request: &Request, tokens: &[Token]) -> Result<Caller, &'static str> {
    let Some(given) = request.header("authorization").and_then(|text| text.strip_prefix("PVEAPIToken"))
    else {
        let ticket = request.header("cookie").is_some_and(|cookie| cookie.contains("PVEAuthCookie"));
        return Err(if ticket { "Authentication failed!" } else { "No ticket" });
    };
    let wrong = "Authentication failed!";
    let given = given.strip_prefix(['=', ' ']).ok_or(wrong)?;
    let (id, secret) = given.split_once('=').ok_or(wrong)?;
    let mut found = None;
    // All are compared, and each in constant time: what is wrong with a token must not show in how long it takes.
    for token in tokens {
        let same =
            token.id.as_bytes().ct_eq(id.as_bytes()) & token.secret.as_bytes().ct_eq(secret.as_bytes());
        if bool::from(same) {
            found = Some(Caller { by: Actor::parse(&token.id), rights: token.rights.clone() });
        }
    }
    found.ok_or(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_per_way_to_be_refused() {
        let tokens = ["mon@pve!t1=s1:auditor".parse().unwrap(), "op@pve!t1=s2".parse().unwrap()];
        #[rustfmt::skip]
        let table = [
            ("no header",            None,                              Err("No ticket")),
            ("another scheme",       Some("Bearer abc"),                Err("No ticket")),
            ("scheme in small",      Some("pveapitoken=mon@pve!t1=s1"), Err("No ticket")),
            ("no token",             Some("PVEAPIToken=garbage"),       Err("Authentication failed!")),
            ("another's secret",     Some("PVEAPIToken=mon@pve!t1=s2"), Err("Authentication failed!")),
            ("a blank at its end",   Some("PVEAPIToken=mon@pve!t1=s1 "), Err("Authentication failed!")),
            ("good",                 Some("PVEAPIToken=mon@pve!t1=s1"), Ok("mon@pve!t1")),
            ("a blank for the sign", Some("PVEAPIToken mon@pve!t1=s1"), Ok("mon@pve!t1")),
        ];
        for (name, header, expected) in table {
            let headers = header.map(|text| ("authorization".into(), text.into())).into_iter().collect();
            let request = Request { headers, ..Request::default() };
            let found = authenticate(&request, &tokens).map(|caller| caller.by.full());
            assert_eq!(found, expected.map(str::to_owned), "{name}");
        }
    }
}
