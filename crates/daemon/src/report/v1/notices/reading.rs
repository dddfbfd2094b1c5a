//! Reading: what a body says of an announcement. All that is wrong with it is told at once.

use axum::http::StatusCode;
use engine::about::About;
use engine::observe::ClusterName;
use engine::window::{Days, Edge, MINUTES_MAX, Span, Weekly, instant};
use jiff::civil::{DateTime, Time as LocalTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::NewMaintenance;
use crate::record::{NOTE_MAX, When};
use crate::report::caller::{Caller, Role};
use crate::report::problem::{Problem, Wrong};
use crate::report::web::App;
use crate::zone;

/// How far ahead something is announced: what is further away is nobody's plan yet.
const AHEAD_MAX: SignedDuration = SignedDuration::from_hours(24 * 366);

const TIME_SHAPE: &str =
    "must be a time: 2026-12-01T22:00Z, with another offset, or without one and `zone` beside it";

/// What is wrong with a body, while it is read.
#[derive(Default)]
pub(super) struct Reading {
    pub(super) errors: Vec<Wrong>,
}

impl Reading {
    pub(super) fn wrong(&mut self, parameter: &str, detail: impl Into<String>) {
        let (parameter, detail) = (parameter.to_owned(), detail.into());
        self.errors.push(Wrong { parameter, detail, allowed: Vec::new() });
    }

    pub(super) fn about(&mut self, subject: &str) -> Option<About> {
        subject
            .parse()
            .map_err(|error: engine::about::BadAbout| self.wrong("subject", error.to_string()))
            .ok()
    }

    pub(super) fn note(&mut self, note: Option<String>) -> String {
        let note = note.unwrap_or_default().trim().to_owned();
        if note.len() > NOTE_MAX || note.contains(char::is_control) {
            self.wrong("note", format!("must be one line of at most {NOTE_MAX} bytes"));
        }
        note
    }

    /// By whose clocks local times are. None is assumed: whoever means 02:00 means it by a clock on a wall.
    pub(super) fn zone(&mut self, name: Option<&str>) -> Option<(TimeZone, String)> {
        let found = zone::find(name?);
        if found.is_none() {
            self.wrong(
                "zone",
                "there is no such time zone; write one of the IANA database, like Europe/Berlin or UTC",
            );
        }
        let zone = found?;
        let name = zone.iana_name().unwrap_or("UTC").to_owned();
        Some((zone, name))
    }

    pub(super) fn time(
        &mut self,
        parameter: &str,
        text: &str,
        zone: Option<&TimeZone>,
        edge: Edge,
    ) -> Option<Timestamp> {
        if let Ok(at) = text.parse::<Timestamp>() {
            return Some(at);
        }
        let local = text.parse::<DateTime>().ok().filter(|_| !text.contains(['Z', 'z', '[']));
        let at = local.and_then(|local| instant(zone?, local, edge));
        if at.is_none() {
            self.wrong(parameter, TIME_SHAPE);
        }
        at
    }

    /// From now on or later, until a time or for so long.
    pub(super) fn once(
        &mut self,
        now: Timestamp,
        from: Option<Timestamp>,
        until: Option<Timestamp>,
        minutes: Option<u32>,
        most: u32,
    ) -> Option<When> {
        let from = from.unwrap_or(now);
        if from > now.checked_add(AHEAD_MAX).unwrap_or(Timestamp::MAX) {
            self.wrong("from", "must be within a year from now");
            return None;
        }
        let lasts = |minutes: u32| SignedDuration::from_mins(i64::from(minutes));
        let until = match (until, minutes) {
            (Some(until), None) => until,
            // What is within a year from now has some years before all calendars end.
            (None, Some(minutes)) if (1..=most).contains(&minutes) => {
                from.checked_add(lasts(minutes)).unwrap_or(Timestamp::MAX)
            }
            (None, Some(_)) => {
                let days = most / (24 * 60);
                self.wrong("minutes", format!("must be a whole number from 1 to {most}, {days} days"));
                return None;
            }
            (Some(_), Some(_)) => {
                self.wrong("minutes", "is given beside `until`; give one of them");
                return None;
            }
            (None, None) => {
                self.wrong("until", "is missing: say when it ends, or with `minutes` how long it lasts");
                return None;
            }
        };
        if until <= now || until <= from {
            self.wrong("until", "must be in the future, and after `from`");
            return None;
        }
        if until.duration_since(from) > lasts(most) {
            self.wrong("until", format!("must be at most {} days after `from`", most / (24 * 60)));
            return None;
        }
        Some(When::Once(Span { from, until }))
    }

    pub(super) fn weekly(&mut self, body: &NewMaintenance, zone: Option<(TimeZone, String)>) -> Option<When> {
        for (name, given) in [("from", &body.from), ("until", &body.until)] {
            if given.is_some() {
                self.wrong(name, "is for what is once; each week it is `days`, `at` and `minutes`");
            }
        }
        if body.zone.is_none() {
            self.wrong(
                "zone",
                "is missing: `at` is a time by some clock; write one like Europe/Berlin or UTC",
            );
        }
        let days = body.days.as_deref().unwrap_or_default().join(",").parse::<Days>();
        let days = days.map_err(|error| self.wrong("days", error.to_string())).ok();
        let at = body.at.as_deref().and_then(local_time);
        if at.is_none() {
            self.wrong("at", "must be a local time, such as 02:00");
        }
        let minutes = body.minutes.filter(|minutes| (1..=MINUTES_MAX).contains(minutes));
        if minutes.is_none() {
            self.wrong("minutes", format!("must be a whole number from 1 to {MINUTES_MAX}, a day"));
        }
        let (days, at, minutes, (_, zone)) = (days?, at?, minutes?, zone?);
        Some(When::Weekly { weekly: Weekly { days, at, minutes }, zone })
    }

    /// Whose it is, if the caller may say so.
    pub(super) fn place(
        &mut self,
        app: &App,
        caller: &Caller,
        named: Option<&str>,
        about: Option<&About>,
    ) -> Result<Option<ClusterName>, Problem> {
        let forbidden = |words: String| Problem::new(StatusCode::FORBIDDEN, words);
        let cluster = match (named, &app.pages[..]) {
            (Some(named), _) => match app.named_cluster(caller, named) {
                Ok((name, _)) => Some(name),
                Err(words) => {
                    self.wrong("cluster", words);
                    return Ok(None);
                }
            },
            (None, [(only, _)]) => Some(only),
            (None, _) if about.is_some_and(|about| !about.spans_clusters()) => {
                let shown = app.shown_clusters(caller);
                self.wrong("cluster", format!("is missing: it is another thing in each; {shown}"));
                return Ok(None);
            }
            (None, _) => None,
        };
        match cluster {
            _ if caller.may(Role::Operator, cluster) => Ok(cluster.cloned()),
            Some(cluster) if caller.sees(cluster) => {
                Err(forbidden(format!("This needs the role operator for the cluster {cluster}")))
            }
            Some(_) | None => {
                let shown = app.shown_clusters(caller);
                Err(forbidden(format!(
                    "Every cluster is meant, and this needs the role operator for all; {shown}"
                )))
            }
        }
    }
}

/// `02:00`; a second would be lost.
fn local_time(text: &str) -> Option<LocalTime> {
    let (hours, minutes) = text.split_once(':')?;
    let digits = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(hours) || !digits(minutes) {
        return None;
    }
    LocalTime::new(hours.parse().ok()?, minutes.parse().ok()?, 0, 0).ok()
}
