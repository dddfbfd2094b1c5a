//! Params: what stands behind the `?` of a call, read once, with everything that is wrong with it told at once.
//!
//! A parameter that nobody asked for is wrong as well: a misspelt filter must not be taken for none.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use jiff::Timestamp;

use crate::report::problem::{Problem, Wrong};

/// How many rows a list has when nobody says how many, and at most.
const ROWS_DEFAULT: u32 = 50;
const ROWS_MAX: u32 = 1000;
/// Longest word of a filter, in characters: as long as the longest that is stored.
const WORD_MAX: usize = 200;
/// Longest part of a name that is looked for, in characters.
const PART_MAX: usize = 100;
/// Longest cursor, in characters. Ours have some 60.
const CURSOR_MAX: usize = 400;

/// What a call may be asked with.
pub(in crate::report) trait Asks: Sized {
    fn read(params: &mut Params) -> Self;
}

/// A call's parameters, as an argument of its handler.
pub(in crate::report) struct Asked<T>(pub(super) T);

impl<S: Sync, T: Asks> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Asked<T>, Problem> {
        Params::read(parts.uri.query().unwrap_or_default()).map(Asked)
    }
}

/// A call that takes no parameters.
pub(in crate::report) struct Nothing;

impl Asks for Nothing {
    fn read(_: &mut Params) -> Nothing {
        Nothing
    }
}

/// The parameters while they are read.
pub(in crate::report) struct Params {
    given: Vec<(String, String)>,
    asked_for: Vec<&'static str>,
    errors: Vec<Wrong>,
}

impl Params {
    fn read<T: Asks>(query: &str) -> Result<T, Problem> {
        let given = pairs(query);
        let mut params = Params { given, asked_for: Vec::new(), errors: Vec::new() };
        let asked = T::read(&mut params);
        let Params { given, asked_for, mut errors } = params;
        for (number, (name, _)) in given.iter().enumerate() {
            if !asked_for.contains(&name.as_str()) {
                let allowed = if asked_for.is_empty() { "none".to_owned() } else { asked_for.join(", ") };
                errors.push(Wrong {
                    parameter: name.chars().take(40).collect(),
                    detail: format!("there is no such parameter; allowed: {allowed}"),
                    allowed: asked_for.clone(),
                });
            } else if given[..number].iter().any(|(earlier, _)| earlier == name) {
                let detail = "is given more than once".to_owned();
                errors.push(Wrong { parameter: name.clone(), detail, allowed: Vec::new() });
            }
        }
        if errors.is_empty() { Ok(asked) } else { Err(Problem::wrong(errors)) }
    }

    fn take(&mut self, name: &'static str) -> Option<String> {
        self.asked_for.push(name);
        self.given.iter().find(|(given, _)| given == name).map(|(_, value)| value.clone())
    }

    pub(super) fn refuse(&mut self, parameter: &'static str, detail: String, allowed: &[&'static str]) {
        self.errors.push(Wrong { parameter: parameter.to_owned(), detail, allowed: allowed.to_vec() });
    }

    /// A word, not empty and not longer than any that is stored.
    pub(super) fn word(&mut self, name: &'static str) -> Option<String> {
        self.within(name, WORD_MAX)
    }

    /// Part of a name.
    pub(super) fn part(&mut self, name: &'static str) -> Option<String> {
        self.within(name, PART_MAX)
    }

    pub(super) fn cursor(&mut self) -> Option<String> {
        self.within("cursor", CURSOR_MAX)
    }

    fn within(&mut self, name: &'static str, max: usize) -> Option<String> {
        let text = self.take(name)?;
        if (1..=max).contains(&text.chars().count()) {
            return Some(text);
        }
        self.refuse(name, format!("must have 1 to {max} characters"), &[]);
        None
    }

    /// One of some words.
    pub(super) fn choice<T: Copy>(&mut self, name: &'static str, all: &[(&'static str, T)]) -> Option<T> {
        let text = self.take(name)?;
        let found = all.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let words: Vec<_> = all.iter().map(|(word, _)| *word).collect();
            self.refuse(name, format!("must be one of {}", words.join(", ")), &words);
        }
        found
    }

    pub(super) fn flag(&mut self, name: &'static str) -> Option<bool> {
        self.choice(name, &[("true", true), ("false", false)])
    }

    /// ISO 8601 with an offset.
    pub(super) fn time(&mut self, name: &'static str) -> Option<Timestamp> {
        let text = self.take(name)?;
        let time = text.parse().ok();
        if time.is_none() {
            let detail = "must be a time in ISO 8601 with an offset, such as 2026-01-31T12:00:00Z";
            self.refuse(name, detail.to_owned(), &[]);
        }
        time
    }

    pub(super) fn limit(&mut self) -> u32 {
        let Some(text) = self.take("limit") else { return ROWS_DEFAULT };
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let limit = text.parse().ok().filter(|limit| digits && (1..=ROWS_MAX).contains(limit));
        if limit.is_none() {
            self.refuse("limit", format!("must be a whole number from 1 to {ROWS_MAX}"), &[]);
        }
        limit.unwrap_or(ROWS_DEFAULT)
    }
}

/// The pairs of a query. What is no UTF-8 becomes replacement characters, which no filter of ours has.
fn pairs(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

fn decoded(text: &str) -> String {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match (byte, digit(bytes.get(at)), digit(bytes.get(at + 1))) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or_default());
                at += 2;
            }
            (b'+', _, _) => out.push(b' '),
            (other, _, _) => out.push(*other),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Some3 {
        limit: u32,
        node: Option<String>,
        open: Option<bool>,
        since: Option<Timestamp>,
    }

    impl Asks for Some3 {
        fn read(params: &mut Params) -> Some3 {
            let (limit, node) = (params.limit(), params.word("node"));
            Some3 { limit, node, open: params.flag("open"), since: params.time("since") }
        }
    }

    #[test]
    fn what_is_taken_and_what_is_refused() {
        #[rustfmt::skip]
        let table = [
            ("nothing",          "",                               "50 - - -"),
            ("all",              "limit=7&node=pve1&open=true&since=2026-01-01T00:00:00Z", "7 pve1 true 2026-01-01T00:00:00Z"),
            ("encoded",          "node=a%2Fb+c%C3%A4",             "50 a/b cä - -"),
            ("an offset",        "since=2026-01-01T01:00:00%2B01:00", "50 - - 2026-01-01T00:00:00Z"),
            ("misspelt",         "limti=5",                        "limti: there is no such parameter; allowed: limit, node, open, since"),
            ("twice",            "node=a&node=b",                  "node: is given more than once"),
            ("empty",            "node=",                          "node: must have 1 to 200 characters"),
            ("no such word",     "open=yes",                       "open: must be one of true, false"),
            ("no number",        "limit=ten",                      "limit: must be a whole number from 1 to 1000"),
            ("signed",           "limit=%2B5",                     "limit: must be a whole number from 1 to 1000"),
            ("too many",         "limit=1001",                     "limit: must be a whole number from 1 to 1000"),
            ("no time",          "since=yesterday",                "since: must be a time in ISO 8601 with an offset, such as 2026-01-31T12:00:00Z"),
            ("a time of nowhere", "since=2026-01-01T00:00:00",     "since: must be a time in ISO 8601 with an offset, such as 2026-01-31T12:00:00Z"),
            ("two at once",      "limit=0&open=1",                 "2 parameters are wrong"),
        ];
        for (name, query, expected) in table {
            let read = match Params::read::<Some3>(query) {
                Ok(Some3 { limit, node, open, since }) => format!(
                    "{limit} {} {} {}",
                    node.unwrap_or("-".into()),
                    open.map_or("-".into(), |open| open.to_string()),
                    since.map_or("-".into(), |since| since.to_string())
                ),
                Err(problem) => problem.detail.into_owned(),
            };
            assert_eq!(read, expected, "{name}");
        }
    }
}
