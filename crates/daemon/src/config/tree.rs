//! A TOML document read key by key, with the place of everything and a list of all that is wrong.
//!
//! serde stops at the first error. Who starts a daemon over a cluster wants to hear of all of them at once, so
//! the document is walked by hand: what a table is asked for is what it may hold, and the rest is unknown.

use std::fmt;
use std::fmt::Write;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// Where something stands: in the file, or in the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// `cluster[0].endpoints[1]`.
    pub(super) key: String,
    pub(super) spot: Spot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spot {
    /// A byte of the file.
    Byte(usize),
    /// A variable.
    Environment(&'static str),
    /// Nowhere: something is missing.
    Nowhere,
}

impl Place {
    pub(super) fn environment(key: impl Into<String>, name: &'static str) -> Place {
        Place { key: key.into(), spot: Spot::Environment(name) }
    }
}

/// All that is wrong, in the order in which it stands in the file.
#[derive(Debug)]
pub(super) struct Problems<'a> {
    file: &'a str,
    text: &'a str,
    list: Vec<Problem>,
    /// Problems beyond the most that are told.
    more: usize,
}

/// A person mends a few at a time; a file of which everything is wrong is the wrong file.
const PROBLEMS_MAX: usize = 50;

#[derive(Debug)]
struct Problem {
    /// Where in the file; what is not in it comes last.
    byte: usize,
    key: String,
    line: String,
}

impl<'a> Problems<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Problems<'a> {
        Problems { file, text, list: Vec::new(), more: 0 }
    }

    pub(super) fn add(&mut self, place: &Place, words: impl fmt::Display) {
        let Place { key, spot } = place;
        if self.list.len() >= PROBLEMS_MAX {
            self.more += 1;
            return;
        }
        let byte = match spot {
            Spot::Byte(byte) => *byte,
            Spot::Environment(_) | Spot::Nowhere => usize::MAX,
        };
        let line = format!("{}: {key}: {words}", self.source(*spot));
        self.list.push(Problem { byte, key: key.clone(), line });
    }

    /// What the parser says of a broken document. Its own words only: its drawing of the line would show a secret.
    pub(super) fn add_syntax(&mut self, error: &toml::de::Error) {
        if self.list.len() >= PROBLEMS_MAX {
            self.more += 1;
            return;
        }
        let byte = error.span().map_or(0, |span| span.start);
        let line = format!("{}: {}", self.source(Spot::Byte(byte)), error.message().trim());
        self.list.push(Problem { byte, key: String::new(), line });
    }

    /// Where a setting comes from: `jarvis.toml:12:3`, `environment PORT`.
    pub(super) fn source(&self, spot: Spot) -> String {
        match spot {
            Spot::Byte(byte) => {
                let before = self.text.get(..byte).unwrap_or(self.text);
                let line = before.matches('\n').count() + 1;
                let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
                format!("{}:{line}:{column}", self.file)
            }
            Spot::Environment(name) => format!("environment {name}"),
            Spot::Nowhere => self.file.to_owned(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether a key has been found wrong: what was not read because of that is not missing.
    pub(super) fn has(&self, key: &str) -> bool {
        self.list.iter().any(|problem| problem.key == key)
    }

    pub(super) fn into_lines(mut self) -> Vec<String> {
        self.list.sort_by_key(|problem| problem.byte);
        let more = (self.more > 0).then(|| format!("and {} more", self.more));
        let lines = self.list.into_iter().map(|problem| printable(&problem.line));
        lines.chain(more).collect()
    }
}

/// A text that a terminal may be given: keys and names of the file may hold anything.
fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_control() {
            true => printable.extend(character.escape_default()),
            false => printable.push(character),
        }
    }
    printable
}

/// One table of the document. What it is asked for is what it may hold.
pub(super) struct Table<'d> {
    /// Empty for the document itself.
    path: String,
    byte: usize,
    entries: &'d DeTable<'d>,
    asked: Vec<&'static str>,
}

impl<'d> Table<'d> {
    pub(super) fn root(document: &'d Spanned<DeTable<'d>>) -> Table<'d> {
        Table { path: String::new(), byte: 0, entries: document.get_ref(), asked: Vec::new() }
    }

    /// The table as a whole.
    pub(super) fn place(&self) -> Place {
        Place { key: self.path.clone(), spot: Spot::Byte(self.byte) }
    }

    /// Where a key of this table is missing.
    pub(super) fn missing(&self, key: &str) -> Place {
        Place { key: self.key(key), spot: Spot::Byte(self.byte) }
    }

    pub(super) fn string(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Option<At<String>> {
        let value = self.ask(key)?;
        string(value, self.key(key), problems)
    }

    pub(super) fn strings(
        &mut self,
        key: &'static str,
        problems: &mut Problems<'_>,
    ) -> Option<At<Vec<At<String>>>> {
        let At { value: items, place } = self.list(key, "a list of texts", problems)?;
        let value = items.into_iter().filter_map(|(path, item)| string(item, path, problems)).collect();
        Some(At { value, place })
    }

    pub(super) fn boolean(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Option<At<bool>> {
        let (value, place) = self.ask_at(key)?;
        let DeValue::Boolean(value) = value.get_ref() else {
            return wrong(&place, "true or false", value, problems);
        };
        Some(At { value: *value, place })
    }

    pub(super) fn integer(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Option<At<i64>> {
        let (value, place) = self.ask_at(key)?;
        let DeValue::Integer(number) = value.get_ref() else {
            return wrong(&place, "a whole number", value, problems);
        };
        let number = whole(number);
        if number.is_none() {
            problems.add(&place, TOO_LARGE);
        }
        number.map(|value| At { value, place })
    }

    pub(super) fn number(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Option<At<f64>> {
        let (value, place) = self.ask_at(key)?;
        let number = if let DeValue::Integer(number) = value.get_ref() {
            whole(number).map(|value| value as f64)
        } else if let DeValue::Float(number) = value.get_ref() {
            number.as_str().parse().ok()
        } else {
            return wrong(&place, "a number", value, problems);
        };
        let finite = number.filter(|value: &f64| value.is_finite());
        if finite.is_none() {
            problems.add(&place, "must be a finite number");
        }
        finite.map(|value| At { value, place })
    }

    pub(super) fn table(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Option<Table<'d>> {
        let value = self.ask(key)?;
        table(value, self.key(key), problems)
    }

    /// `[[key]]`, or a list of tables.
    pub(super) fn tables(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Vec<Table<'d>> {
        let Some(items) = self.list(key, "a list of tables", problems) else { return Vec::new() };
        items.value.into_iter().filter_map(|(path, item)| table(item, path, problems)).collect()
    }

    /// A list whose items are texts or tables.
    pub(super) fn mixed(
        &mut self,
        key: &'static str,
        problems: &mut Problems<'_>,
    ) -> Option<At<Vec<Mixed<'d>>>> {
        let At { value: items, place } = self.list(key, "a list of texts or tables", problems)?;
        let mut mixed = Vec::with_capacity(items.len());
        for (path, item) in items {
            if let DeValue::Table(_) = item.get_ref() {
                mixed.extend(table(item, path, problems).map(Mixed::Table));
            } else {
                mixed.extend(string(item, path, problems).map(Mixed::Text));
            }
        }
        Some(At { value: mixed, place })
    }

    /// Whatever was not asked for is unknown.
    pub(super) fn finish(self, problems: &mut Problems<'_>) {
        for key in self.entries.keys() {
            let name: &str = key.get_ref();
            let place = Place { key: self.key(name), spot: Spot::Byte(key.span().start) };
            if !self.asked.contains(&name) {
                problems.add(&place, unknown(name, &self.asked));
            }
        }
    }

    fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn ask(&mut self, key: &'static str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.asked.push(key);
        self.entries.get(key)
    }

    fn ask_at(&mut self, key: &'static str) -> Option<(&'d Spanned<DeValue<'d>>, Place)> {
        let value = self.ask(key)?;
        Some((value, Place { key: self.key(key), spot: Spot::Byte(value.span().start) }))
    }

    fn list(
        &mut self,
        key: &'static str,
        expected: &str,
        problems: &mut Problems<'_>,
    ) -> Option<At<Items<'d>>> {
        let (value, place) = self.ask_at(key)?;
        let DeValue::Array(items) = value.get_ref() else {
            return wrong(&place, expected, value, problems);
        };
        let item = |(at, item)| (format!("{}[{at}]", place.key), item);
        let value = items.iter().enumerate().map(item).collect();
        Some(At { value, place })
    }
}

/// The items of a list, each with its key.
type Items<'d> = Vec<(String, &'d Spanned<DeValue<'d>>)>;

const TOO_LARGE: &str = "the number is too large";

/// An item of a list that may hold both.
pub(super) enum Mixed<'d> {
    Text(At<String>),
    Table(Table<'d>),
}

fn whole(number: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn string(value: &Spanned<DeValue<'_>>, key: String, problems: &mut Problems<'_>) -> Option<At<String>> {
    let place = Place { key, spot: Spot::Byte(value.span().start) };
    let DeValue::String(text) = value.get_ref() else {
        return wrong(&place, "a text in quotes", value, problems);
    };
    Some(At { value: text.clone().into_owned(), place })
}

fn table<'d>(
    value: &'d Spanned<DeValue<'d>>,
    path: String,
    problems: &mut Problems<'_>,
) -> Option<Table<'d>> {
    let byte = value.span().start;
    let DeValue::Table(entries) = value.get_ref() else {
        return wrong(&Place { key: path, spot: Spot::Byte(byte) }, "a table", value, problems);
    };
    Some(Table { path, byte, entries, asked: Vec::new() })
}

/// The value itself is not shown: it may be a secret in the wrong place.
fn wrong<T>(
    place: &Place,
    expected: &str,
    found: &Spanned<DeValue<'_>>,
    problems: &mut Problems<'_>,
) -> Option<T> {
    let found = match found.get_ref() {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    problems.add(place, format_args!("must be {expected}, not {found}"));
    None
}

/// How alike a key must be to be suggested; found by trying typos against names that only share a few letters.
const ALIKE_MIN: f64 = 0.8;

fn unknown(name: &str, known: &[&'static str]) -> String {
    let shown: String = name.chars().take(60).collect();
    let alike = |candidate: &&'static str| strsim::jaro_winkler(name, candidate);
    let nearest = known.iter().copied().max_by(|a, b| alike(a).total_cmp(&alike(b)));
    let mut words = format!("unknown key `{shown}`: ");
    match nearest.filter(|candidate| alike(candidate) >= ALIKE_MIN) {
        Some(candidate) => write!(words, "did you mean `{candidate}`?"),
        None => write!(words, "known here are {}", known.join(", ")),
    }
    .unwrap_or_default();
    words
}
