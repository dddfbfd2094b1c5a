//! Device: a browser in which somebody has logged in before, told apart from the others at its address.
//!
//! An address may be many people's: a household, an office, a proxy that nobody declared. So a login leaves a cookie
//! that lets nobody in, and says only: whoever sends this has logged in as that user. It earns its holder a budget of tries
//! that no neighbour uses up (OWASP calls it a device cookie). Nothing is stored: it is signed.
//!
//! A stolen one gives its thief as many guesses as a place where the user has logged in, and only until its end.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jiff::{SignedDuration, Timestamp};
use subtle::ConstantTimeEq;

use super::accounts::UserName;
use crate::key::{mac, random};

/// How long a browser is known: as long as an address is. Each login begins it anew.
pub(crate) const LASTS: SignedDuration = SignedDuration::from_hours(30 * 24);
/// What tells it from every other secret of ours, for whoever looks for those.
const PREFIX: &str = "jrd_";
/// What is mixed into the signature, so that no other of this key can stand for it.
const LABEL: &[u8] = b"device 1";
/// The random part and the end.
const CLAIMS: usize = 16 + 8;

/// Which browser; random, and of no use without the signature.
pub(crate) type Device = [u8; 16];

/// A new browser of a user's, as it is kept in its cookie.
///
/// # Errors
/// The system gives no random bits.
pub(super) fn make(key: &[u8; 32], user: &UserName, now: Timestamp) -> anyhow::Result<String> {
    Ok(signed(key, user, random()?, (now + LASTS).as_second()))
}

/// Which browser of the user's it is. `None`: of nobody's, or of somebody else's.
pub(super) fn read(key: &[u8; 32], user: &UserName, cookie: &str, now: Timestamp) -> Option<Device> {
    // The decoded length is exact, so nothing long is hashed.
    let (claims, _) = cookie.strip_prefix(PREFIX)?.split_once('.')?;
    let claims: [u8; CLAIMS] = BASE64.decode(claims.get(..CLAIMS * 4 / 3)?).ok()?.try_into().ok()?;
    let (device, until) = claims.split_at(16);
    let (device, until) = (device.try_into().ok()?, i64::from_be_bytes(until.try_into().ok()?));
    let ours = signed(key, user, device, until);
    let now = now.as_second();
    let lasts = until.checked_sub(now)?;
    // Also not one that a clock which ran ahead made for later.
    let good = (1..=LASTS.as_secs()).contains(&lasts);
    (good && bool::from(ours.as_bytes().ct_eq(cookie.as_bytes()))).then_some(device)
}

fn signed(key: &[u8; 32], user: &UserName, device: Device, until: i64) -> String {
    let until = until.to_be_bytes();
    let signature = mac(key, &[LABEL, &device, &until, user.as_str().as_bytes()]);
    let claims = BASE64.encode([&device[..], &until[..]].concat());
    format!("{PREFIX}{claims}.{}", BASE64.encode(signature))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_per_way_to_be_no_browser_of_the_users() {
        let (key, now) = ([7; 32], Timestamp::from_second(1_700_000_000).unwrap());
        let bob: UserName = "bob".parse().unwrap();
        let good = make(&key, &bob, now).unwrap();
        let end = now.as_second() + LASTS.as_secs();
        let cut = good[..good.len() - 1].to_owned();
        let month = 30 * 86_400;
        #[rustfmt::skip]
        let table: [(&str, String, i64, bool); 12] = [
            ("fresh",                     good.clone(), 0, true),
            ("in its last second",        good.clone(), month - 1, true),
            ("a month later",             good.clone(), month, false),
            ("before it was made",        good.clone(), -1, false),
            ("of another user",           make(&key, &"eve".parse().unwrap(), now).unwrap(), 0, false),
            ("of another daemon",         make(&[8; 32], &bob, now).unwrap(), 0, false),
            ("with a later end",          good.replacen(&good[24..36], &signed(&key, &bob, [0; 16], end + 9)[24..36], 1), 0, false),
            ("cut",                       cut, 0, false),
            ("with something behind it",  format!("{good}A"), 0, false),
            ("empty",                     String::new(), 0, false),
            ("only a prefix",             PREFIX.into(), 0, false),
            ("signs that are no base64",  good.replacen("jrd_", "jrd_ü", 1), 0, false),
        ];
        for (name, cookie, second, expected) in table {
            let at = now + SignedDuration::from_secs(second);
            assert_eq!(read(&key, &bob, &cookie, at).is_some(), expected, "{name}");
        }
        let browser = |cookie: &str| read(&key, &bob, cookie, now);
        assert_eq!(browser(&good), browser(&good));
        assert_ne!(browser(&good), browser(&make(&key, &bob, now).unwrap()), "each login is another browser");
    }
}
