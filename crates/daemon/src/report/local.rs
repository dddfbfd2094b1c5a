//! Local: whoever may read the key beside the store speaks for the daemon's own machine.
//!
//! The command line makes a proof with that key: who it is, good for a minute, and never written down. It can do
//! nothing that its reader could not do otherwise to the database beside it; so it shows who is at work
//! instead of asking for a password that a script would have to keep. It opens no sockets.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::caller::{Caller, Role, Via};
use crate::key::{mac, random};

/// How long a proof is good: one call, on one machine with one clock.
pub(super) const LASTS: SignedDuration = SignedDuration::from_secs(60);
/// What tells a proof from every other token.
const PREFIX: &str = "jarvis-local.";
/// What is mixed into the signature, so that no other of this key can stand for it.
const LABEL: &[u8] = b"local proof 1";
/// Ours have below 200 bytes; nothing longer is looked at.
const PROOF_MAX: usize = 512;
/// Longest name of somebody, in bytes: a system's users have at most 32.
const NAME_MAX: usize = 64;

#[derive(Serialize, Deserialize)]
struct Claims {
    name: Box<str>,
    iat: i64,
    exp: i64,
    /// No two proofs are the same.
    jti: String,
}

/// A proof for a user of this machine, to be sent as a token.
///
/// # Errors
/// The system gives no random bits.
pub(crate) fn prove(key: &[u8; 32], name: &str, now: Timestamp) -> anyhow::Result<String> {
    let iat = now.as_second();
    let jti = BASE64.encode(random::<9>()?);
    let end = name.floor_char_boundary(NAME_MAX);
    let claims = Claims { name: name[..end].into(), iat, exp: iat + LASTS.as_secs(), jti };
    let claims = BASE64.encode(serde_json::to_vec(&claims)?);
    let signature = BASE64.encode(mac(key, &[LABEL, claims.as_bytes()]));
    Ok(format!("{PREFIX}{claims}.{signature}"))
}

/// Judges proofs.
pub(super) struct Local {
    key: [u8; 32],
    /// Where the daemon listens: who comes to an address of this machine from that same address is on it.
    own: IpAddr,
}

impl Local {
    pub(super) fn new(key: [u8; 32], own: IpAddr) -> Local {
        Local { key, own: own.to_canonical() }
    }

    /// Who shows such a proof: an admin, for whoever may read the key could sign a login of one.
    ///
    /// From this machine only: a key that was copied, in a backup say, opens nothing from elsewhere.
    pub(super) fn caller(&self, token: &str, peer: IpAddr, now: Timestamp) -> Option<Caller> {
        if token.len() > PROOF_MAX || !(peer.is_loopback() || peer == self.own) {
            return None;
        }
        let (claims, signature) = token.strip_prefix(PREFIX)?.split_once('.')?;
        let signature = BASE64.decode(signature).ok()?;
        if !bool::from(mac(&self.key, &[LABEL, claims.as_bytes()]).as_slice().ct_eq(&signature)) {
            return None;
        }
        let claims: Claims = serde_json::from_slice(&BASE64.decode(claims).ok()?).ok()?;
        let lasts = claims.exp.checked_sub(claims.iat)?;
        // Also not one that a clock which ran ahead made for later.
        let now = now.as_second();
        let good = (0..=LASTS.as_secs()).contains(&lasts) && now < claims.exp && now >= claims.iat - 1;
        let plain = !claims.name.is_empty() && !claims.name.contains(char::is_control);
        let caller = Caller { name: claims.name, role: Role::Admin, clusters: None, via: Via::CommandLine };
        (good && plain).then_some(caller)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn one_row_per_way_to_be_wrong() {
        let key = [7; 32];
        let born = Timestamp::from_second(1_700_000_000).unwrap();
        let good = prove(&key, "alice", born).unwrap();
        let signed = |label: &[u8], claims: &str| {
            let claims = BASE64.encode(claims);
            format!("{PREFIX}{claims}.{}", BASE64.encode(mac(&key, &[label, claims.as_bytes()])))
        };
        let (iat, minute, hour) = (1_700_000_000, 1_700_000_060, 1_700_003_600);
        let claims =
            |name: &str, exp: i64| format!(r#"{{"name":"{name}","iat":{iat},"exp":{exp},"jti":"x"}}"#);
        let other = prove(&[8; 32], "alice", born).unwrap();
        #[rustfmt::skip]
        let table = [
            ("fresh",                        good.clone(),                              0,  true),
            ("in its last second",           good.clone(),                              59, true),
            ("after a minute",               good.clone(),                              60, false),
            ("before it was made",           good.clone(),                              -2, false),
            ("made by hand with the key",    signed(LABEL, &claims("bob", minute)),     0,  true),
            ("for longer than a minute",     signed(LABEL, &claims("bob", hour)),       0,  false),
            ("with the end before its birth", signed(LABEL, &claims("bob", iat - 1)),   -2, false),
            ("another label",                signed(b"name", &claims("bob", minute)),   0,  false),
            ("nobody",                       signed(LABEL, &claims("", minute)),        0,  false),
            ("a name with a line break",     signed(LABEL, &claims("a\\nb", minute)),   0,  false),
            ("another key",                  other,                                     0,  false),
            ("without its prefix",           good[PREFIX.len()..].to_owned(),           0,  false),
            ("cut",                          good[..good.len() - 1].to_owned(),         0,  false),
            ("empty",                        String::new(),                             0,  false),
            ("only a prefix",                PREFIX.to_owned(),                         0,  false),
            ("longer than any of ours",      format!("{good}{}", "A".repeat(PROOF_MAX)), 0, false),
        ];
        for (name, token, seconds, expected) in table {
            let now = born + SignedDuration::from_secs(seconds);
            assert_eq!(Local::new(key, HERE).caller(&token, HERE, now).is_some(), expected, "{name}");
        }
        let lan = "10.0.0.5".parse().unwrap();
        for (name, peer, expected) in [
            ("this machine", HERE, true),
            ("by its own address", lan, true),
            ("another", "10.0.0.6".parse().unwrap(), false),
        ] {
            assert_eq!(Local::new(key, lan).caller(&good, peer, born).is_some(), expected, "{name}");
        }
        let caller = Local::new(key, HERE).caller(&good, HERE, born).unwrap();
        assert_eq!((&*caller.name, caller.role, caller.via), ("alice", Role::Admin, Via::CommandLine));
        assert_ne!(good, prove(&key, "alice", born).unwrap());
    }
}
