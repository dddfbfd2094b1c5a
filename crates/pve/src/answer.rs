//! Turns status line and body into a typed answer or an [`Error`]. Pure: no socket, no clock.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde_json::value::RawValue;

use crate::error::{Asked, Error, Refusal};
use crate::lenient;

/// What is kept of PVE's own words. The longest seen is a task error with a command line, under 400.
const REASON_MAX: usize = 500;
/// What is kept of an answer that cannot be read: enough to tell HTML from JSON.
const EXCERPT_MAX: usize = 120;
/// PVE reports one error per parameter; no call of ours has more parameters.
const ERRORS_MAX: usize = 16;

/// PVE wraps every answer: the data, and for some lists how many there are in all.
#[derive(Deserialize)]
struct Envelope<T> {
    data: T,
    #[serde(default, deserialize_with = "lenient::count")]
    total: Option<u64>,
}

/// What came back: the data, and how many rows PVE has in all, where it says so.
pub struct Understood<T> {
    pub data: T,
    pub total: Option<u64>,
}

/// Reads an answer. `reason` is the HTTP reason phrase, which carries PVE's error text.
pub fn understand<T: DeserializeOwned>(
    asked: &Asked,
    status: u16,
    reason: &str,
    body: &[u8],
) -> Result<Understood<T>, Error> {
    if !(200..300).contains(&status) {
        return Err(refused(asked, status, reason, body));
    }
    // PVE writes UTF-8; should a name ever hold something else, one mark in it must not cost the whole list.
    let text = String::from_utf8_lossy(body);
    match serde_json::from_str::<Envelope<T>>(&text) {
        Ok(_) if is_list_for_object::<T>(&text) => {
            Err(malformed(asked, "data", "a list where an object belongs", body))
        }
        Ok(Envelope { data, total }) => Ok(Understood { data, total }),
        Err(error) => {
            // Read once more, slowly, to learn where it went wrong: only bad answers pay for the path.
            let slow = &mut serde_json::Deserializer::from_str(&text);
            let found = serde_path_to_error::deserialize::<_, Envelope<T>>(slow).err();
            let place = found.as_ref().map_or_else(|| ".".to_owned(), |found| found.path().to_string());
            let why = found.map_or_else(|| error.to_string(), |found| found.inner().to_string());
            Err(malformed(asked, &place, &why, body))
        }
    }
}

/// serde would read a list into a struct, field by field; with optional fields even an empty one. Lists of rows are
/// the bulk and are no structs, so only small answers are looked at twice.
fn is_list_for_object<T: DeserializeOwned>(text: &str) -> bool {
    fields_of::<T>().is_some()
        && serde_json::from_str::<Envelope<&RawValue>>(text)
            .is_ok_and(|answer| answer.data.get().starts_with('['))
}

/// The fields that a type would read, found by asking its deserializer; `None` if it is no struct.
pub fn fields_of<T: DeserializeOwned>() -> Option<&'static [&'static str]> {
    let mut fields = None;
    // It always fails; on its way it names the fields.
    T::deserialize(Probe(&mut fields)).err();
    fields
}

struct Probe<'a>(&'a mut Option<&'static [&'static str]>);

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Self::Error> {
        Err(serde::de::Error::custom("only asking"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = Some(fields);
        self.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

pub(crate) fn malformed(asked: &Asked, place: &str, why: &str, body: &[u8]) -> Error {
    let place = if place == "." { "its beginning or end" } else { place };
    Error::Malformed {
        asked: Box::new(asked.clone()),
        place: excerpt(place.as_bytes(), EXCERPT_MAX),
        why: excerpt(why.as_bytes(), EXCERPT_MAX * 2),
        excerpt: excerpt(body, EXCERPT_MAX),
    }
}

/// The body of a refusal. Empty for 401 and 59x; without `message` before PVE 8.3.
#[derive(Default, Deserialize)]
#[serde(default)]
struct RefusalBody {
    #[serde(deserialize_with = "lenient::text")]
    message: Option<Box<str>>,
    errors: Option<BTreeMap<Box<str>, serde_json::Value>>,
}

/// A refusal that another kind of body may come with must not fail for that: what cannot be read is left out.
fn refused(asked: &Asked, status: u16, reason: &str, body: &[u8]) -> Error {
    let body: RefusalBody = serde_json::from_slice(body).unwrap_or_default();
    let errors: BTreeMap<Box<str>, Box<str>> = body
        .errors
        .unwrap_or_default()
        .into_iter()
        .take(ERRORS_MAX)
        .map(|(parameter, why)| {
            let why = why.as_str().map_or_else(|| why.to_string(), str::to_owned);
            (excerpt(parameter.as_bytes(), 60), excerpt(why.as_bytes(), 200))
        })
        .collect();
    let message = body.message.as_deref().map(str::trim).filter(|message| !message.is_empty());
    let text = message.unwrap_or(reason).trim();
    let text = if text.is_empty() { "no readable reason was given" } else { text };

    let asked = Box::new(asked.clone());
    let reason = excerpt(text.as_bytes(), REASON_MAX);
    match status {
        401 => return Error::Unauthorized { asked, reason },
        403 => {
            let (path, privilege) = missing_right(text).unzip();
            return Error::Forbidden { asked, path, privilege, reason };
        }
        501 => return Error::Unsupported { asked, reason },
        595..=599 => return Error::Hop { asked, code: status, reason },
        300..=399 => {
            let reason = "it redirects, which is not followed; check the endpoint's address".into();
            return Error::Rejected { asked, status, reason, errors: Box::new(errors) };
        }
        _ => {}
    }
    // PVE's own refusals are 400 and 500; anything else comes from something in front of it, whose words mean
    // something else ("404 not found" is no missing guest).
    if status != 400 && status != 500 {
        return Error::Rejected { asked, status, reason, errors: Box::new(errors) };
    }
    let named = errors.values().map(|why| Refusal::of(why)).find(|named| *named != Refusal::Other);
    match named.unwrap_or_else(|| Refusal::of(text)) {
        Refusal::Locked => Error::Locked { asked, reason },
        Refusal::NoQuorum => Error::NoQuorum { asked, reason },
        Refusal::NotFound => {
            // For a missing task or storage the message is only "Parameter verification failed."
            let named = errors.values().find(|why| Refusal::of(why) == Refusal::NotFound).cloned();
            Error::NotFound { asked, reason: named.unwrap_or(reason) }
        }
        Refusal::Already => Error::Already { asked, reason },
        Refusal::NoClusterFs => Error::NoClusterFs { asked, reason },
        Refusal::Other => Error::Rejected { asked, status, reason, errors: Box::new(errors) },
    }
}

/// `Permission check failed (/vms/100, VM.PowerMgmt)` names path and privilege. The path is empty where PVE had
/// none to name.
fn missing_right(text: &str) -> Option<(Box<str>, Box<str>)> {
    let (_, rest) = text.split_once("Permission check failed (")?;
    let (inside, _) = rest.split_once(')')?;
    let (path, privilege) = inside.split_once(", ")?;
    Some((path.trim().into(), privilege.trim().into()))
}

/// The beginning of a text of unknown origin, fit to stand in a log line: one line, no control characters, at most
/// `max` characters.
pub(crate) fn excerpt(bytes: &[u8], max: usize) -> Box<str> {
    // A character has at most four bytes, so the rest cannot matter.
    let bytes = &bytes[..bytes.len().min(max.saturating_mul(4).saturating_add(4))];
    let text = String::from_utf8_lossy(bytes);
    let mut short: String = text.chars().take(max).map(fit_for_a_line).collect();
    if text.chars().count() > max {
        short.push('…');
    }
    short.into()
}

/// Control characters could forge log lines or drive a terminal, and so could the marks that turn the direction of
/// writing around.
fn fit_for_a_line(character: char) -> char {
    let turns =
        matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let breaks = matches!(character, '\u{2028}' | '\u{2029}');
    if character.is_control() || turns || breaks { ' ' } else { character }
}

/// Overwrites a secret wherever the server repeats it, so that it cannot reach a log by way of an answer. The
/// length stays the same, so that JSON stays JSON.
pub(crate) fn blot_out(text: &mut [u8], secret: &[u8]) {
    // A short "secret" of a test or a mistake is part of many words; PVE's are UUIDs of 36 characters.
    if secret.len() < 8 {
        return;
    }
    let mut from = 0;
    while let Some(at) = text[from..].iter().position(|byte| *byte == secret[0]) {
        let start = from + at;
        if text[start..].starts_with(secret) {
            text[start..start + secret.len()].fill(b'*');
            from = start + secret.len();
        } else {
            from = start + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_are_short_and_tame() {
        assert_eq!(&*excerpt(b"plain", 10), "plain");
        assert_eq!(&*excerpt(b"a\r\nb\x1b[31mc", 20), "a  b [31mc");
        assert_eq!(&*excerpt("ab\u{202e}cd".as_bytes(), 10), "ab cd");
        assert_eq!(&*excerpt("ééééé".as_bytes(), 3), "ééé…");
        assert_eq!(&*excerpt(b"\xff\xfe", 10), "\u{fffd}\u{fffd}");
        assert_eq!(excerpt(&[b'x'; 1_000_000], 120).chars().count(), 121);
    }

    #[test]
    fn a_repeated_secret_is_blotted_out() {
        let check = |text: &str, expected: &str| {
            let mut bytes = text.as_bytes().to_vec();
            blot_out(&mut bytes, b"12345678");
            assert_eq!(String::from_utf8(bytes).unwrap(), expected);
        };
        check("12345678", "********");
        check("a12345678b12345678", "a********b********");
        check("1123456781234567", "1********1234567");
        check("nothing", "nothing");
        check("", "");
        let mut bytes = b"abc".to_vec();
        blot_out(&mut bytes, b"b");
        assert_eq!(bytes, b"abc", "too short to be a secret");
        blot_out(&mut bytes, b"");
    }
}
