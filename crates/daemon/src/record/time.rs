//! Times as the tables hold them.
//!
//! The original writes `YYYY-MM-DD HH:MM:SS` in UTC, and whoever moves from it has scripts that compare that text
//! with `datetime('now', '-1 day')`. A fraction or a `Z` would break them, so our rows keep the same text, and the
//! milliseconds stand beside it in a column of our own. The text stays the truth: where a foreign hand has changed
//! it, the milliseconds no longer belong to it and are left out.

use jiff::tz::Offset;
use jiff::{Timestamp, civil};

/// In the original's form, cut to the second.
pub(super) fn to_text(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// From the two columns. `None` when there is no text that says a time.
pub(super) fn from_columns(text: Option<&str>, at_ms: Option<i64>) -> Option<Timestamp> {
    let second = from_text(text?)?;
    let exact = at_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    Some(exact.filter(|exact| to_text(*exact) == to_text(second)).unwrap_or(second))
}

/// The original's form, or ISO 8601 with an offset, as a hand at the command line might write it.
fn from_text(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at);
    }
    Offset::UTC.to_timestamp(text.parse::<civil::DateTime>().ok()?).ok()
}

/// On the wire: ISO 8601 with milliseconds and `Z`.
pub(super) fn to_wire(at: Timestamp) -> String {
    format!("{at:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_from_its_two_columns() {
        #[rustfmt::skip]
        let table = [
            ("the original's row",            Some("2026-11-23 18:58:01"),       None,                  "2026-11-23T18:58:01.000Z"),
            ("our row",                       Some("2026-11-23 18:58:01"),       Some(1_795_460_281_250),  "2026-11-23T18:58:01.250Z"),
            ("milliseconds of another time",  Some("2026-11-23 18:58:01"),       Some(1_795_460_282_250),  "2026-11-23T18:58:01.000Z"),
            ("milliseconds out of range",     Some("2026-11-23 18:58:01"),       Some(i64::MAX),        "2026-11-23T18:58:01.000Z"),
            ("ISO 8601 with Z",               Some("2026-11-23T18:58:01.5Z"),    None,                  "2026-11-23T18:58:01.500Z"),
            ("ISO 8601 with an offset",       Some("2026-11-23T19:58:01+01:00"), None,                  "2026-11-23T18:58:01.000Z"),
            ("a date alone is midnight",      Some("2026-11-23"),                None,                  "2026-11-23T00:00:00.000Z"),
            ("before the epoch",              Some("1969-12-31 23:59:59"),       Some(-1),              "1969-12-31T23:59:59.999Z"),
            ("no text",                       None,                              Some(1_795_460_281_250),  "-"),
            ("empty",                         Some(""),                          None,                  "-"),
            ("prose",                         Some("yesterday"),                 None,                  "-"),
        ];
        for (name, text, at_ms, expected) in table {
            let read = from_columns(text, at_ms).map_or_else(|| "-".to_owned(), to_wire);
            assert_eq!(read, expected, "{name}");
        }
    }

    #[test]
    fn what_is_written_is_the_original_s_form() {
        let at: Timestamp = "2026-01-02T03:04:05.678Z".parse().unwrap();
        assert_eq!(to_text(at), "2026-01-02 03:04:05");
        assert_eq!(from_columns(Some(&to_text(at)), Some(at.as_millisecond())), Some(at));
    }
}
