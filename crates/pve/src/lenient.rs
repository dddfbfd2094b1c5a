//! Reads numbers, truths and words the way PVE's server writes them, which is loosely.
//!
//! Perl has no types: the same field is `1`, `"1"`, `1.0` or absent, depending on version and code path. The rule
//! here, for everything that is not an identity: a scalar that makes no sense is `None` ("not known"); a list or
//! an object where a scalar belongs is an error of the row, because then the schema has changed.

use std::fmt;

use jiff::Timestamp;
use serde::de::{Deserializer, Error, Visitor};

use crate::ids::NodeName;

#[derive(Clone, Copy)]
enum Scalar<'a> {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(&'a str),
    Null,
}

/// Hands any scalar to a function, whatever its JSON type.
struct Any<F>(F);

impl<'de, T, F: FnOnce(Scalar<'_>) -> T> Visitor<'de> for Any<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, a text, a truth or null")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<T, E> {
        Ok(self.0(Scalar::Unsigned(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<T, E> {
        Ok(self.0(Scalar::Signed(value)))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<T, E> {
        Ok(self.0(Scalar::Float(value)))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<T, E> {
        Ok(self.0(Scalar::Bool(value)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<T, E> {
        Ok(self.0(Scalar::Text(value)))
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        Ok(self.0(Scalar::Null))
    }
}

fn scalar<'de, D: Deserializer<'de>, T>(from: D, then: impl FnOnce(Scalar<'_>) -> T) -> Result<T, D::Error> {
    from.deserialize_any(Any(then))
}

/// A measure that may have a fraction. Infinite and not-a-number are not known.
pub(crate) fn float<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    scalar(from, as_float)
}

/// A count: bytes, seconds, cores. A fraction is cut off; less than nothing is not known.
pub(crate) fn count<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    scalar(from, as_count)
}

/// A count that must fit 32 bits (process ids, percentages, small totals).
pub(crate) fn small<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    scalar(from, |value| as_count(value).and_then(|count| u32::try_from(count).ok()))
}

/// Perl's truth: `""`, `"0"` and `0` are false. `null` and words we do not know are not known.
pub(crate) fn flag<'de, D: Deserializer<'de>>(from: D) -> Result<Option<bool>, D::Error> {
    scalar(from, as_flag)
}

/// A flag that PVE leaves out instead of writing `0`.
pub(crate) fn flag_or_false<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    Ok(flag(from)?.unwrap_or(false))
}

/// Seconds since 1970. Zero is "never" in PVE, so it is `None`.
pub(crate) fn time<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
    scalar(from, |value| {
        let seconds = as_count(value).filter(|&seconds| seconds > 0)?;
        Timestamp::from_second(i64::try_from(seconds).ok()?).ok()
    })
}

/// A text, also where PVE writes a number. Empty is absent: PVE writes both for the same thing.
pub(crate) fn text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Box<str>>, D::Error> {
    scalar(from, as_text)
}

/// Any scalar as the text that PVE's own tools would print; null is empty. For maps of settings.
pub(crate) fn plain<'de, D: Deserializer<'de>>(from: D) -> Result<Box<str>, D::Error> {
    Ok(text(from)?.unwrap_or_default())
}

/// One word of an open list. Empty is absent.
pub(crate) fn word<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: for<'a> From<&'a str>,
{
    scalar(from, |value| as_text(value).map(|text| T::from(&text)))
}

/// A node's name where it is a remark and not what the row is about.
pub(crate) fn node<'de, D: Deserializer<'de>>(from: D) -> Result<Option<NodeName>, D::Error> {
    scalar(from, |value| NodeName::new(&as_text(value)?).ok())
}

fn as_float(value: Scalar<'_>) -> Option<f64> {
    let number = match value {
        Scalar::Unsigned(number) => number as f64,
        Scalar::Signed(number) => number as f64,
        Scalar::Float(number) => number,
        Scalar::Text(text) => text.trim().parse().ok()?,
        Scalar::Bool(_) | Scalar::Null => return None,
    };
    number.is_finite().then_some(number)
}

fn as_count(value: Scalar<'_>) -> Option<u64> {
    match value {
        Scalar::Unsigned(number) => Some(number),
        Scalar::Text(text) => match text.trim().parse() {
            Ok(number) => Some(number),
            Err(_) => whole(as_float(value)?),
        },
        Scalar::Signed(_) | Scalar::Float(_) => whole(as_float(value)?),
        Scalar::Bool(_) | Scalar::Null => None,
    }
}

/// Sizes from 1e15 on come as `1.46366987889541e+15`: Perl prints floats with 15 digits.
fn whole(number: f64) -> Option<u64> {
    (0.0..u64::MAX as f64).contains(&number).then_some(number as u64)
}

fn as_flag(value: Scalar<'_>) -> Option<bool> {
    match value {
        Scalar::Bool(truth) => Some(truth),
        Scalar::Unsigned(number) => Some(number != 0),
        Scalar::Signed(number) => Some(number != 0),
        Scalar::Float(number) => Some(number != 0.0),
        Scalar::Text("" | "0" | "false" | "no" | "off") => Some(false),
        Scalar::Text("1" | "true" | "yes" | "on") => Some(true),
        Scalar::Text(_) | Scalar::Null => None,
    }
}

fn as_text(value: Scalar<'_>) -> Option<Box<str>> {
    match value {
        Scalar::Text("") | Scalar::Null => None,
        Scalar::Text(text) => Some(text.into()),
        Scalar::Unsigned(number) => Some(number.to_string().into()),
        Scalar::Signed(number) => Some(number.to_string().into()),
        Scalar::Float(number) => Some(number.to_string().into()),
        Scalar::Bool(truth) => Some(if truth { "1" } else { "0" }.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T>(
        json: &str,
        with: impl FnOnce(&mut serde_json::Deserializer<serde_json::de::StrRead<'_>>) -> T,
    ) -> T {
        with(&mut serde_json::Deserializer::from_str(json))
    }

    #[test]
    fn numbers_as_perl_writes_them() {
        #[rustfmt::skip]
        let table = [
            // name                          json                      float           count
            ("an integer",                   "7",                      Some(7.0),      Some(7)),
            ("zero",                         "0",                      Some(0.0),      Some(0)),
            ("a fraction",                   "0.5",                    Some(0.5),      Some(0)),
            ("a float that is whole",        "20917064772.2667",       Some(20917064772.2667), Some(20_917_064_772)),
            ("1.46 PB that went through float", "1.46366987889541e+15", Some(1.46366987889541e15), Some(1_463_669_878_895_410)),
            ("the largest integer",          "18446744073709551615",   Some(18446744073709551615.0), Some(u64::MAX)),
            ("beyond the largest",           "1e20",                   Some(1e20),     None),
            ("a number as text",             r#""2400.000""#,          Some(2400.0),   Some(2400)),
            ("an exact large text",          r#""9007199254740993""#,  Some(9007199254740992.0), Some(9_007_199_254_740_993)),
            ("pressure of a container",      r#""0.00""#,              Some(0.0),      Some(0)),
            ("a text with blanks",           r#"" 12 ""#,              Some(12.0),     Some(12)),
            ("less than nothing",            "-1",                     Some(-1.0),     None),
            ("less than nothing, as text",   r#""-1""#,                Some(-1.0),     None),
            ("not applicable",               r#""N/A""#,               None,           None),
            ("not a number",                 r#""nan""#,               None,           None),
            ("infinite",                     r#""inf""#,               None,           None),
            ("empty",                        r#""""#,                  None,           None),
            ("null",                         "null",                   None,           None),
            ("a truth",                      "true",                   None,           None),
        ];
        for (name, json, expected_float, expected_count) in table {
            assert_eq!(read(json, |from| float(from)).unwrap(), expected_float, "{name}: float of {json}");
            assert_eq!(read(json, |from| count(from)).unwrap(), expected_count, "{name}: count of {json}");
        }
        for json in ["[]", "[1]", "{}", r#"{"used":1}"#] {
            assert!(read(json, |from| float(from)).is_err(), "{json}");
            assert!(read(json, |from| count(from)).is_err(), "{json}");
        }
    }

    #[test]
    fn truths_as_perl_writes_them() {
        #[rustfmt::skip]
        let table = [
            ("one", "1", Some(true)), ("zero", "0", Some(false)), ("one as text", r#""1""#, Some(true)),
            ("zero as text", r#""0""#, Some(false)), ("Perl's false", r#""""#, Some(false)),
            ("true", "true", Some(true)), ("false", "false", Some(false)), ("null", "null", None),
            ("a float", "1.0", Some(true)), ("yes", r#""yes""#, Some(true)), ("more than one", "2", Some(true)),
            ("a word", r#""maybe""#, None),
        ];
        for (name, json, expected) in table {
            assert_eq!(read(json, |from| flag(from)).unwrap(), expected, "{name}: {json}");
        }
        assert!(read("[]", |from| flag(from)).is_err());
    }

    #[test]
    fn texts_and_times() {
        let text = |json| read(json, |from| text(from)).unwrap();
        assert_eq!(text(r#""db01""#).as_deref(), Some("db01"));
        assert_eq!(text("200").as_deref(), Some("200"));
        assert_eq!(text(r#""""#), None);
        assert_eq!(text("null"), None);
        let time = |json| read(json, |from| time(from)).unwrap();
        assert_eq!(time("1795454713"), Some(Timestamp::from_second(1_795_454_713).unwrap()));
        assert_eq!(time(r#""1795454713""#), Some(Timestamp::from_second(1_795_454_713).unwrap()));
        assert_eq!(time("0"), None, "never");
        assert_eq!(time("1e18"), None, "beyond any calendar");
    }
}
