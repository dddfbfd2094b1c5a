//! Window: when announced work takes place, as instants. Once, or each week at a local time.
//!
//! The time zone is an argument, with its rules in it: where they come from is for the daemon to know. What is done in a
//! window is at stake, so where a clock is put forward or back it is rather too long than too short: it begins with the
//! first of two equal times, lasts at least as long as was said, and at least until the clock on the wall shows its end.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{DateTime, Time, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

/// Longest weekly window, in minutes: a day. More is on more days.
pub const MINUTES_MAX: u32 = 24 * 60;
/// How far occurrences are looked for, in days: a week, and a day on either side for the zones.
const DAYS_LOOKED_AT: i32 = 9;

/// From an instant until another, which is not in it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    /// From then on.
    pub from: Timestamp,
    /// Until then.
    pub until: Timestamp,
}

impl Span {
    /// Whether it lasts at an instant.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.from <= now && now < self.until
    }
}

/// Days of the week; at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Days(u8);

/// The days by the word that people write, from Monday on.
const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// Why a text is no days.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("days are mon, tue, wed, thu, fri, sat, sun, several of them with commas")]
pub struct BadDays;

impl Days {
    /// Whether a day is one of them.
    pub fn has(self, day: Weekday) -> bool {
        self.0 & bit(day) != 0
    }
}

fn bit(day: Weekday) -> u8 {
    1 << day.to_monday_zero_offset()
}

impl FromStr for Days {
    type Err = BadDays;
    fn from_str(text: &str) -> Result<Days, BadDays> {
        let mut days = 0;
        for word in text.split(',') {
            let found = DAYS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word.trim()));
            days |= bit(found.ok_or(BadDays)?.1);
        }
        Ok(Days(days))
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = DAYS.iter().filter(|(_, day)| self.has(*day)).map(|(word, _)| *word);
        f.write_str(&words.collect::<Vec<_>>().join(","))
    }
}

impl TryFrom<String> for Days {
    type Error = BadDays;
    fn try_from(text: String) -> Result<Days, BadDays> {
        text.parse()
    }
}

impl From<Days> for String {
    fn from(days: Days) -> String {
        days.to_string()
    }
}

/// A window of each week, by a clock on some wall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weekly {
    /// On these days.
    pub days: Days,
    /// From this local time on.
    pub at: Time,
    /// For so many minutes, at most [`MINUTES_MAX`].
    pub minutes: u32,
}

impl Weekly {
    /// Those that end after `from` and begin before `until`, in their order; what overlaps or touches is one. Not
    /// further ahead than a week: that shows every one of them.
    pub fn within(&self, zone: &TimeZone, from: Timestamp, until: Timestamp) -> Vec<Span> {
        let today = zone.to_datetime(from).date();
        // Two days back: a window of a day, and one that a clock put back makes longer.
        let days = (-2..=DAYS_LOOKED_AT).filter_map(|day| today.checked_add(day.days()).ok());
        let days = days.filter(|date| self.days.has(date.weekday()));
        let spans = days.filter_map(|date| self.on(zone, date.to_datetime(self.at)));
        joined(spans.filter(|span| span.until > from && span.from < until).collect())
    }

    /// The one that lasts now, as long as it lasts without a break, and the next one after it.
    pub fn now_and_next(&self, zone: &TimeZone, now: Timestamp) -> (Option<Span>, Option<Span>) {
        let ahead = now.checked_add(SignedDuration::from_hours(24 * 8)).unwrap_or(Timestamp::MAX);
        let spans = self.within(zone, now, ahead);
        let lasts = spans.iter().find(|span| span.holds(now)).copied();
        (lasts, spans.into_iter().find(|span| span.from > now))
    }

    fn on(&self, zone: &TimeZone, begins: DateTime) -> Option<Span> {
        let lasts = SignedDuration::from_mins(i64::from(self.minutes));
        let from = instant(zone, begins, Edge::Begin)?;
        let wall = instant(zone, begins.checked_add(lasts).ok()?, Edge::End)?;
        Some(Span { from, until: wall.max(from.checked_add(lasts).ok()?) })
    }
}

/// Which end of a window a local time is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// The first of two equal times.
    Begin,
    /// The second of them.
    End,
}

/// When a clock on a wall shows a time. One that it skips is the moment of the skip. `None`: beyond all calendars.
pub fn instant(zone: &TimeZone, local: DateTime, edge: Edge) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    match (ambiguous.offset(), edge) {
        (AmbiguousOffset::Unambiguous { .. }, _) => ambiguous.unambiguous().ok(),
        (AmbiguousOffset::Fold { .. }, Edge::Begin) => ambiguous.earlier().ok(),
        (AmbiguousOffset::Fold { .. }, Edge::End) => ambiguous.later().ok(),
        (AmbiguousOffset::Gap { .. }, _) => {
            // By the offset that was before, it is at the skip or after it.
            let after = ambiguous.later().ok()?;
            let before = after.checked_add(SignedDuration::from_nanos(1)).ok()?;
            zone.preceding(before).next().map(|skip| skip.timestamp())
        }
    }
}

/// Spans in their order, what overlaps or touches as one.
pub fn joined(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort();
    let mut all: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        match all.last_mut() {
            Some(last) if span.from <= last.until => last.until = last.until.max(span.until),
            Some(_) | None => all.push(span),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZoneDatabase;

    use super::*;

    fn zone(name: &str) -> TimeZone {
        // The rules that come with the program: what the machine has would make the test another one elsewhere.
        TimeZoneDatabase::bundled().get(name).unwrap()
    }

    fn weekly(days: &str, at: &str, minutes: u32) -> Weekly {
        Weekly { days: days.parse().unwrap(), at: at.parse().unwrap(), minutes }
    }

    fn told(span: Option<Span>) -> String {
        span.map_or("-".into(), |Span { from, until }| format!("{from} {until}").replace(":00Z", "Z"))
    }

    #[test]
    fn when_a_weekly_window_is() {
        // In 2026 Berlin's clocks go forward on 29 March, 02:00 to 03:00, and back on 25 October, 03:00 to 02:00; those of New
        // York on 8 March and 1 November.
        const B: &str = "Europe/Berlin";
        #[rustfmt::skip]
        let table = [
            ("within it",                    B, "sun", "02:00", 180, "2026-11-29T02:30Z", "2026-11-29T01:00Z 2026-11-29T04:00Z", "2026-12-06T01:00Z 2026-12-06T04:00Z"),
            ("at its first moment",          B, "sun", "02:00", 180, "2026-11-29T01:00Z", "2026-11-29T01:00Z 2026-11-29T04:00Z", "2026-12-06T01:00Z 2026-12-06T04:00Z"),
            ("at its end it is over",        B, "sun", "02:00", 180, "2026-11-29T04:00Z", "-", "2026-12-06T01:00Z 2026-12-06T04:00Z"),
            ("a moment before it",           B, "sun", "02:00", 180, "2026-11-29T00:59Z", "-", "2026-11-29T01:00Z 2026-11-29T04:00Z"),
            ("in summer an hour earlier",    B, "sun", "02:00", 180, "2026-07-04T12:00Z", "-", "2026-07-05T00:00Z 2026-07-05T03:00Z"),
            ("across midnight",              B, "fri", "23:00", 120, "2026-11-27T23:30Z", "2026-11-27T22:00Z 2026-11-28T00:00Z", "2026-12-04T22:00Z 2026-12-05T00:00Z"),
            ("across the end of the week",   B, "sun", "22:00", 240, "2026-11-30T00:30Z", "2026-11-29T21:00Z 2026-11-30T01:00Z", "2026-12-06T21:00Z 2026-12-07T01:00Z"),
            ("the day of the zone, not ours", "Pacific/Auckland", "mon", "02:00", 60, "2026-11-29T13:30Z", "2026-11-29T13:00Z 2026-11-29T14:00Z", "2026-12-06T13:00Z 2026-12-06T14:00Z"),
            ("far behind",                   "Pacific/Honolulu", "sat", "20:00", 60, "2026-11-29T06:30Z", "2026-11-29T06:00Z 2026-11-29T07:00Z", "2026-12-06T06:00Z 2026-12-06T07:00Z"),
            ("two days of a week",           B, "mon,thu", "01:00", 60, "2026-11-30T12:00Z", "-", "2026-12-03T00:00Z 2026-12-03T01:00Z"),
            ("a whole day each day: no end in sight", "UTC", "mon,tue,wed,thu,fri,sat,sun", "00:00", 1440, "2026-12-01T12:00Z", "2026-12-01T00:00Z 2026-12-10T00:00Z", "-"),
            ("touching the next: one",       "UTC", "mon,tue", "20:00", 1440, "2026-12-01T19:00Z", "2026-11-30T20:00Z 2026-12-02T20:00Z", "2026-12-07T20:00Z 2026-12-09T20:00Z"),
            ("in the second of them",        "UTC", "mon,tue", "20:00", 1440, "2026-12-01T20:00Z", "2026-12-01T20:00Z 2026-12-02T20:00Z", "2026-12-07T20:00Z 2026-12-09T20:00Z"),
            // 02:00 is not there: it begins when the clock is put forward (01:00 UTC), and lasts its two hours.
            ("forward, at its begin",        B, "sun", "02:00", 120, "2026-03-29T02:30Z", "2026-03-29T01:00Z 2026-03-29T03:00Z", "2026-04-05T00:00Z 2026-04-05T02:00Z"),
            ("forward, before its begin",    B, "sun", "02:00", 120, "2026-03-29T00:59Z", "-", "2026-03-29T01:00Z 2026-03-29T03:00Z"),
            ("forward, within the skipped hour", B, "sun", "02:30", 60, "2026-03-29T01:00Z", "2026-03-29T01:00Z 2026-03-29T02:00Z", "2026-04-05T00:30Z 2026-04-05T01:30Z"),
            // 01:00 to 03:00 on the wall is one hour; it lasts the two that were said.
            ("forward, in its middle",       B, "sun", "01:00", 120, "2026-03-29T01:30Z", "2026-03-29T00:00Z 2026-03-29T02:00Z", "2026-04-04T23:00Z 2026-04-05T01:00Z"),
            ("forward, ending in the skipped hour", B, "sun", "01:30", 60, "2026-03-29T01:15Z", "2026-03-29T00:30Z 2026-03-29T01:30Z", "2026-04-04T23:30Z 2026-04-05T00:30Z"),
            // 02:00 comes twice, at 00:00 and 01:00 UTC: from the first until the wall shows 04:00, three hours.
            ("back, at its begin",           B, "sun", "02:00", 120, "2026-10-25T02:30Z", "2026-10-25T00:00Z 2026-10-25T03:00Z", "2026-11-01T01:00Z 2026-11-01T03:00Z"),
            ("back, in the first of the two", B, "sun", "02:00", 120, "2026-10-25T00:00Z", "2026-10-25T00:00Z 2026-10-25T03:00Z", "2026-11-01T01:00Z 2026-11-01T03:00Z"),
            ("back, in its middle",          B, "sun", "01:00", 180, "2026-10-25T02:59Z", "2026-10-24T23:00Z 2026-10-25T03:00Z", "2026-11-01T00:00Z 2026-11-01T03:00Z"),
            ("back, ending in the hour that comes twice", B, "sat", "23:00", 210, "2026-10-25T01:15Z", "2026-10-24T21:00Z 2026-10-25T01:30Z", "2026-10-31T22:00Z 2026-11-01T01:30Z"),
            ("New York, forward",            "America/New_York", "sun", "02:30", 60, "2026-03-08T06:00Z", "-", "2026-03-08T07:00Z 2026-03-08T08:00Z"),
            ("New York, back",               "America/New_York", "sun", "01:00", 60, "2026-11-01T06:59Z", "2026-11-01T05:00Z 2026-11-01T07:00Z", "2026-11-08T06:00Z 2026-11-08T07:00Z"),
            ("a zone that puts it half an hour", "Australia/Lord_Howe", "sun", "01:45", 60, "2026-04-04T14:45Z", "2026-04-04T14:45Z 2026-04-04T16:15Z", "2026-04-11T15:15Z 2026-04-11T16:15Z"),
            ("a zone without such days",     "Asia/Tokyo", "sun", "02:00", 120, "2026-03-28T18:00Z", "2026-03-28T17:00Z 2026-03-28T19:00Z", "2026-04-04T17:00Z 2026-04-04T19:00Z"),
        ];
        for (name, of, days, at, minutes, now, lasts, next) in table {
            let (is, then) = weekly(days, at, minutes).now_and_next(&zone(of), stamp(now));
            assert_eq!((told(is).as_str(), told(then).as_str()), (lasts, next), "{name}");
        }
    }

    fn stamp(text: &str) -> Timestamp {
        text.replace('Z', ":00Z").parse().unwrap()
    }

    /// Whatever the instant: looking at it through one hour or a whole day shows the same windows, and none is shorter than was
    /// said or longer than by the hour that comes twice.
    #[test]
    fn no_moment_of_a_year_is_seen_otherwise_from_elsewhere() {
        let zone = zone("Europe/Berlin");
        let hour = SignedDuration::from_hours(1);
        for (days, at, minutes) in
            [("sun", "02:00", 180), ("mon,wed,sun", "23:30", 61), ("sat,sun", "00:00", 1440)]
        {
            let weekly = weekly(days, at, minutes);
            let mut now = stamp("2026-01-01T00:00Z");
            while now < stamp("2027-01-01T00:00Z") {
                let (lasts, next) = weekly.now_and_next(&zone, now);
                for ahead in [hour, 24 * hour] {
                    let seen = weekly.within(&zone, now, now + ahead);
                    assert_eq!(seen.iter().any(|span| span.holds(now)), lasts.is_some(), "{now} {ahead}");
                    let soon = next.is_some_and(|next| next.from < now + ahead);
                    assert_eq!(seen.iter().any(|span| span.from > now), soon, "{now} {ahead}");
                }
                for Span { from, until } in lasts.into_iter().chain(next) {
                    let said = SignedDuration::from_mins(i64::from(minutes));
                    let long = until.duration_since(from);
                    assert!(long >= said && long <= said * 2 + hour, "{now}: {from} {until}");
                }
                now += SignedDuration::from_mins(211);
            }
        }
    }

    #[test]
    fn what_a_clock_on_a_wall_shows() {
        let berlin = zone("Europe/Berlin");
        #[rustfmt::skip]
        let table = [
            ("a plain time",        "2026-12-01T22:00", "2026-12-01T21:00Z", "2026-12-01T21:00Z"),
            ("one that is skipped", "2026-03-29T02:30", "2026-03-29T01:00Z", "2026-03-29T01:00Z"),
            ("the skip itself",     "2026-03-29T02:00", "2026-03-29T01:00Z", "2026-03-29T01:00Z"),
            ("right after it",      "2026-03-29T03:00", "2026-03-29T01:00Z", "2026-03-29T01:00Z"),
            ("one that comes twice", "2026-10-25T02:30", "2026-10-25T00:30Z", "2026-10-25T01:30Z"),
        ];
        for (name, local, begins, ends) in table {
            let local: DateTime = local.parse().unwrap();
            let of = |edge| told(instant(&berlin, local, edge).map(|at| Span { from: at, until: at }));
            assert_eq!(of(Edge::Begin), format!("{begins} {begins}"), "{name}");
            assert_eq!(of(Edge::End), format!("{ends} {ends}"), "{name}");
        }
        assert_eq!(instant(&berlin, DateTime::MIN, Edge::Begin), None, "before all calendars");
    }

    #[test]
    fn which_days() {
        for (name, text, expected) in [
            ("one", "sun", Some("sun")),
            ("in any order and case", "Sat, mon", Some("mon,sat")),
            ("twice", "tue,tue", Some("tue")),
            ("none", "", None),
            ("in full", "sunday", None),
            ("a comma too many", "mon,", None),
        ] {
            assert_eq!(text.parse::<Days>().ok().map(|days| days.to_string()).as_deref(), expected, "{name}");
        }
    }
}
