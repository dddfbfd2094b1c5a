//! Local: whoever may read the key beside the store speaks for the daemon's own machine.
//!
//! The command line makes a proof with that key for each call: who it is, what it asks, good for a minute, once, and never
//! written down. It can do nothing that its reader could not do otherwise to the database beside it; so it shows who is
//! at work instead of asking for a password that a script would have to keep. It opens no sockets.
//!
//! While the daemon is down, another program of the machine may answer at its address. The proof that it is shown is for
//! that one call, and for no daemon that starts later; and what it answers lacks the seal that only the key can make.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use super::caller::{Caller, Role, Via};
use crate::key::{mac, random};

/// How long a proof is good: one call, on one machine with one clock.
pub(super) const LASTS: SignedDuration = SignedDuration::from_secs(60);
/// The header of an answer that shows that whoever made it knows the key.
pub(crate) const SEAL_HEADER: &str = "x-jarvis-seal";
/// What tells a proof from every other token.
const PREFIX: &str = "jarvis-local.";
/// What is mixed into the signatures, so that no other of this key can stand for them.
const LABEL: &[u8] = b"local proof 2";
const SEAL_LABEL: &[u8] = b"local answer 1";
/// Ours have below 300 bytes; nothing longer is looked at.
const PROOF_MAX: usize = 512;
/// Longest name of somebody, in bytes: a system's users have at most 32.
const NAME_MAX: usize = 64;
/// Proofs of the last minute that were used; some 100 bytes each. A script that asks more than 100 times a second waits.
const USED_MAX: usize = 6_000;
/// A proof's clock is the daemon's own, but for what an adjustment takes back.
const AHEAD_MAX: i64 = 1_000;

#[derive(Serialize, Deserialize)]
struct Claims {
    name: Box<str>,
    /// Milliseconds.
    iat: i64,
    exp: i64,
    /// No two proofs are the same.
    jti: String,
    /// SHA-256 of the call.
    call: String,
}

/// What is asked, as it goes over the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) method: &'a str,
    /// With its query.
    pub(crate) path: &'a str,
    pub(crate) body: &'a [u8],
}

impl Call<'_> {
    fn digest(&self) -> [u8; 32] {
        // Neither a method nor a path holds a line break.
        let head = format!("{}\n{}\n", self.method, self.path);
        Sha256::new().chain_update(head).chain_update(self.body).finalize().into()
    }
}

/// A proof for one call, to be sent as a token.
pub(crate) struct Proof {
    pub(crate) token: String,
    signature: [u8; 32],
}

impl Proof {
    /// Whether an answer is the one of whoever knows the key to this very proof.
    pub(crate) fn answers(&self, key: &[u8; 32], status: StatusCode, body: &[u8], seal: &[u8]) -> bool {
        sealed(key, &self.signature, status, body).as_bytes().ct_eq(seal).into()
    }
}

fn sealed(key: &[u8; 32], signature: &[u8; 32], status: StatusCode, body: &[u8]) -> String {
    BASE64.encode(mac(key, &[SEAL_LABEL, signature, status.as_str().as_bytes(), body]))
}

/// A proof of a user of this machine.
///
/// # Errors
/// The system gives no random bits.
pub(crate) fn prove(key: &[u8; 32], name: &str, call: Call<'_>, now: Timestamp) -> anyhow::Result<Proof> {
    let iat = now.as_millisecond();
    let exp = (now + LASTS).as_millisecond();
    let jti = BASE64.encode(random::<9>()?);
    let end = name.floor_char_boundary(NAME_MAX);
    let call = BASE64.encode(call.digest());
    let claims =
        BASE64.encode(serde_json::to_vec(&Claims { name: name[..end].into(), iat, exp, jti, call })?);
    let signature = mac(key, &[LABEL, claims.as_bytes()]);
    Ok(Proof { token: format!("{PREFIX}{claims}.{}", BASE64.encode(signature)), signature })
}

/// A proof that was shown, and is one; whether it is for the call is asked when that has been read ([`Local::accepts`]).
pub(super) struct Shown {
    pub(super) caller: Caller,
    signature: [u8; 32],
    claims: Claims,
}

/// Judges proofs.
pub(super) struct Local {
    key: [u8; 32],
    /// Where the daemon listens: who comes to an address of this machine from that same address is on it.
    own: IpAddr,
    /// What was proved before that was not proved to this daemon.
    started: Timestamp,
    used: Mutex<HashMap<String, i64>>,
}

impl Local {
    pub(super) fn new(key: [u8; 32], own: IpAddr, started: Timestamp) -> Local {
        Local { key, own: own.to_canonical(), started, used: Mutex::default() }
    }

    /// Who shows such a proof: an admin, for whoever may read the key could sign a login of one.
    ///
    /// From this machine only: a key that was copied, in a backup say, opens nothing from elsewhere.
    pub(super) fn read(&self, token: &str, peer: IpAddr, now: Timestamp) -> Option<Shown> {
        if token.len() > PROOF_MAX || !(peer.is_loopback() || peer == self.own) {
            return None;
        }
        let (claims, signature) = token.strip_prefix(PREFIX)?.split_once('.')?;
        let signature: [u8; 32] = BASE64.decode(signature).ok()?.try_into().ok()?;
        if !bool::from(mac(&self.key, &[LABEL, claims.as_bytes()]).ct_eq(&signature)) {
            return None;
        }
        let claims: Claims = serde_json::from_slice(&BASE64.decode(claims).ok()?).ok()?;
        let lasts = claims.exp.checked_sub(claims.iat)?;
        // Also not one that a clock which ran ahead made for later.
        let ms = now.as_millisecond();
        let longest = i64::try_from(LASTS.as_millis()).ok()?;
        let good = (0..=longest).contains(&lasts) && ms < claims.exp && ms >= claims.iat - AHEAD_MAX;
        let ours = claims.iat >= self.started.as_millisecond();
        let plain = !claims.name.is_empty() && !claims.name.contains(char::is_control);
        let name = claims.name.clone();
        let caller = Caller { name, role: Role::Admin, clusters: None, via: Via::CommandLine };
        (good && ours && plain).then_some(Shown { caller, signature, claims })
    }

    /// Whether it was made for this call, and is shown for the first time.
    pub(super) fn accepts(&self, shown: &Shown, call: Call<'_>, now: Timestamp) -> bool {
        if shown.claims.call != BASE64.encode(call.digest()) {
            return false;
        }
        let now = now.as_millisecond();
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() >= USED_MAX {
            used.retain(|_, exp| *exp > now);
        }
        used.len() < USED_MAX && used.insert(shown.claims.jti.clone(), shown.claims.exp).is_none()
    }

    /// What shows whoever made the proof that the answer is ours.
    pub(super) fn seal(&self, shown: &Shown, status: StatusCode, body: &[u8]) -> String {
        sealed(&self.key, &shown.signature, status, body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const STOP: Call<'_> = Call { method: "PUT", path: "/stop?now", body: b"{}" };

    fn born() -> Timestamp {
        Timestamp::from_second(1_700_000_000).unwrap()
    }

    #[test]
    fn one_row_per_way_to_be_wrong() {
        let key = [7; 32];
        let good = prove(&key, "alice", STOP, born()).unwrap().token;
        let signed = |label: &[u8], claims: &str| {
            let claims = BASE64.encode(claims);
            format!("{PREFIX}{claims}.{}", BASE64.encode(mac(&key, &[label, claims.as_bytes()])))
        };
        let (iat, minute, hour) = (1_700_000_000_000, 1_700_000_060_000, 1_700_003_600_000);
        let claims = |name: &str, exp: i64| {
            format!(r#"{{"name":"{name}","iat":{iat},"exp":{exp},"jti":"x","call":"y"}}"#)
        };
        let other = prove(&[8; 32], "alice", STOP, born()).unwrap().token;
        #[rustfmt::skip]
        let table = [
            ("fresh",                        good.clone(),                              0,  true),
            ("in its last second",           good.clone(),                              59, true),
            ("after a minute",               good.clone(),                              60, false),
            ("before it was made",           good.clone(),                              -2, false),
            ("made by hand with the key",    signed(LABEL, &claims("bob", minute)),     0,  true),
            ("for longer than a minute",     signed(LABEL, &claims("bob", hour)),       0,  false),
            ("with the end before its birth", signed(LABEL, &claims("bob", iat - 1)),   -1, false),
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
            let now = born() + SignedDuration::from_secs(seconds);
            assert_eq!(Local::new(key, HERE, born()).read(&token, HERE, now).is_some(), expected, "{name}");
        }
        let lan = "10.0.0.5".parse().unwrap();
        for (name, peer, expected) in [
            ("this machine", HERE, true),
            ("by its own address", lan, true),
            ("another", "10.0.0.6".parse().unwrap(), false),
        ] {
            assert_eq!(Local::new(key, lan, born()).read(&good, peer, born()).is_some(), expected, "{name}");
        }
        for (name, started, expected) in
            [("before it", 1, true), ("with it", 0, true), ("after it", -1, false)]
        {
            let started = born() - SignedDuration::from_millis(started);
            let read = Local::new(key, HERE, started).read(&good, HERE, born());
            assert_eq!(read.is_some(), expected, "a daemon that started {name}");
        }
        let caller = Local::new(key, HERE, born()).read(&good, HERE, born()).unwrap().caller;
        assert_eq!((&*caller.name, caller.role, caller.via), ("alice", Role::Admin, Via::CommandLine));
        assert_ne!(good, prove(&key, "alice", STOP, born()).unwrap().token);
    }

    #[test]
    fn a_proof_is_for_one_call_and_once() {
        let key = [7; 32];
        let local = Local::new(key, HERE, born());
        let shown = || local.read(&prove(&key, "alice", STOP, born()).unwrap().token, HERE, born()).unwrap();
        for (name, call, expected) in [
            ("itself", STOP, true),
            ("another method", Call { method: "GET", ..STOP }, false),
            ("another path", Call { path: "/start?now", ..STOP }, false),
            ("another query", Call { path: "/stop?later", ..STOP }, false),
            ("another body", Call { body: b"[]", ..STOP }, false),
            ("the body in the path", Call { path: "/stop?now\n{}", body: b"", ..STOP }, false),
        ] {
            assert_eq!(local.accepts(&shown(), call, born()), expected, "{name}");
        }
        let once = shown();
        let used = [born(), born()].map(|now| local.accepts(&once, STOP, now));
        assert_eq!(used, [true, false]);
        let accepted = (0..USED_MAX).filter(|_| local.accepts(&shown(), STOP, born())).count();
        assert_eq!(accepted, USED_MAX - 2, "as many as are remembered, and then none");
        assert!(local.accepts(&shown(), STOP, born() + LASTS), "what is over makes room");
    }

    #[test]
    fn an_answer_is_sealed_as_it_is_and_to_whom() {
        let (key, ok) = ([7; 32], StatusCode::OK);
        let local = Local::new(key, HERE, born());
        let (proof, other) =
            (prove(&key, "a", STOP, born()).unwrap(), prove(&key, "a", STOP, born()).unwrap());
        let shown = local.read(&proof.token, HERE, born()).unwrap();
        let seal = local.seal(&shown, ok, b"done");
        for (name, proof, status, body, seal, expected) in [
            ("as it is", &proof, ok, "done", &*seal, true),
            ("to another proof", &other, ok, "done", &seal, false),
            ("another status", &proof, StatusCode::CONFLICT, "done", &seal, false),
            ("another body", &proof, ok, "not done", &seal, false),
            ("no seal", &proof, ok, "done", "", false),
        ] {
            assert_eq!(proof.answers(&key, status, body.as_bytes(), seal.as_bytes()), expected, "{name}");
        }
    }
}
