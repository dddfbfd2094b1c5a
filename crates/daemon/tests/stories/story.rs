//! A story: what was told, in the form in which two tellings of the same thing are equal. Which telling is right is
//! others' business.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A difference of more lines says no more than this many.
const LINES_MAX: usize = 20;
/// Two entries this close, in seconds, were caused by one thing: a critical round, and what it asks on top.
const TOGETHER: i64 = 15;

/// What was told of each subject, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Story(BTreeMap<String, Vec<Line>>);

/// One entry, without its time.
#[derive(Clone, Debug)]
struct Line {
    /// From the beginning, in seconds.
    at: i64,
    /// Told or not, depending on who comes first: `?` before its time.
    optional: bool,
    /// A guest that has no statistics yet has none.
    name: Option<String>,
    kind: String,
    /// Empty of a note.
    condition: String,
    words: String,
}

impl Story {
    /// From the lines of a log, `m:ss  KIND CONDITION SUBJECT (NAME): WORDS`. Heartbeats are left out.
    pub(crate) fn of_log(log: &str) -> Story {
        let mut story = Story::default();
        for line in log.lines() {
            let (time, entry) =
                line.trim_start().split_once("  ").unwrap_or_else(|| panic!("no time in {line:?}"));
            let (optional, time) = match time.strip_prefix('?') {
                Some(time) => (true, time),
                None => (false, time),
            };
            let at = time.trim().split(':').fold(0, |sum, part| sum * 60 + part.parse::<i64>().unwrap());
            if let Some((subject, line)) = read(entry.trim_start(), at, optional) {
                story.0.entry(subject).or_default().push(line);
            }
        }
        for lines in story.0.values_mut() {
            in_one_order(lines);
            lines.dedup_by(|a, b| a.kind == "held" && b.kind == "held" && a.words == b.words);
        }
        story
    }

    /// What was told differently from this story, line by line.
    pub(crate) fn compare(&self, told: &Story) -> Result<(), String> {
        self.compare_by(told, same)
    }

    /// As [`Story::compare`], where words may lack what one lost answer would have added: whom, why, and seen by how many.
    pub(crate) fn compare_gist(&self, told: &Story) -> Result<(), String> {
        let seen = |story: &Story| story.clone().without_remedies().restarts();
        seen(self).compare_by(&seen(told), alike)
    }

    /// The same story without what was done: one that was tried again did as well as one that helped at once.
    fn without_remedies(mut self) -> Story {
        self.0.values_mut().for_each(|lines| lines.retain(|line| !REMEDY.contains(&line.kind.as_str())));
        self
    }

    /// The same story with the stop and the start of a guest told as one: whoever lost the answer between saw no more.
    fn restarts(&self) -> Story {
        let mut story = self.clone();
        for lines in story.0.values_mut() {
            for at in (1..lines.len()).rev() {
                let stopped = lines[at - 1].words.starts_with("running to stopped");
                if stopped && lines[at].words.starts_with("stopped to running") {
                    let optional = lines[at].optional && lines[at - 1].optional;
                    lines.remove(at);
                    let words = "was restarted".to_owned();
                    lines[at - 1] = Line { optional, words, ..lines[at - 1].clone() };
                }
            }
        }
        story
    }

    /// Only which incidents were opened, without their words. `MONITOR_BLIND` is left out: it depends on which round a failing call
    /// falls into.
    pub(crate) fn opened_only(mut self) -> Story {
        for lines in self.0.values_mut() {
            lines.retain(|line| line.kind == "opened" && line.condition != "MONITOR_BLIND");
            lines.iter_mut().for_each(|line| line.words.clear());
        }
        self
    }

    /// The same story without what is told of some conditions.
    pub(crate) fn without(mut self, left_out: impl Fn(&str) -> bool) -> Story {
        self.0.values_mut().for_each(|lines| lines.retain(|line| !left_out(&line.condition)));
        self
    }

    fn compare_by(&self, told: &Story, same: fn(&Line, &Line) -> bool) -> Result<(), String> {
        let nothing = Vec::new();
        let mut diff = Vec::new();
        for subject in self.0.keys().chain(told.0.keys()).collect::<BTreeSet<_>>() {
            let expected = self.0.get(subject).unwrap_or(&nothing);
            let told = told.0.get(subject).unwrap_or(&nothing);
            if !tells(expected, told, same) {
                let say = |sign, lines: &[Line]| -> Vec<String> {
                    lines.iter().map(|line| format!("  {sign} {subject}: {line}")).collect()
                };
                diff.extend(say("expected", expected));
                diff.extend(say("told    ", told));
            }
        }
        let more = diff.len().saturating_sub(LINES_MAX);
        diff.truncate(LINES_MAX);
        if more > 0 {
            diff.push(format!("  and {more} lines more"));
        }
        if diff.is_empty() { Ok(()) } else { Err(diff.join("\n") + "\n") }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line { at, optional, name, kind, condition, words } = self;
        let (optional, name) = (if *optional { "perhaps " } else { "" }, name.as_deref().unwrap_or("-"));
        write!(f, "{optional}{}:{:02} {kind} {condition} ({name}) {words}", at / 60, at % 60)
    }
}

/// The subject of an entry, and what is told of it whenever it is told; `None` of a heartbeat.
fn read(entry: &str, at: i64, optional: bool) -> Option<(String, Line)> {
    let (kind, rest) = entry.split_once(' ')?;
    if kind == "heartbeat" {
        return None;
    }
    let (head, words) = rest.trim_start().split_once(": ").unwrap_or_else(|| panic!("no words in {entry:?}"));
    // A condition in capitals comes before the subject, but not of a note.
    let (condition, subject) = match head.split_once(' ') {
        Some((condition, subject)) if kind != "noted" => (condition, subject.trim_start()),
        Some(_) | None => ("", head),
    };
    let (subject, name) = match subject.strip_suffix(')').and_then(|subject| subject.split_once(" (")) {
        Some((subject, name)) => (subject, Some(name.to_owned())),
        None => (subject, None),
    };
    let mut words = words;
    if kind == "resolved" {
        // How long it lasted.
        words = words.rsplit_once(" after ").map_or(words, |(words, _)| words);
    }
    if condition == "MONITOR_BLIND" && kind != "resolved" {
        // After the cause come the words of the one call that failed, which are its client's own.
        words = words.split_once(": ").map_or(words, |(cause, _)| cause);
    }
    // The same.
    words = words.split_once("cause not known: ").map_or(words, |(before, _)| before);
    if matches!(kind, "acted" | "missed") {
        // Why a call was refused is said in the words of whoever made it.
        words = words.split_once(": ").map_or(words, |(before, _)| before);
    }
    let lasting = if kind == "held" { without_waits(words) } else { words.to_owned() };
    if lasting.is_empty() {
        return None;
    }
    let words = lasting.as_str();
    let words = if REMEDY.contains(&kind) { without_times(words) } else { words.to_owned() };
    let (kind, condition) = (kind.to_owned(), condition.to_owned());
    Some((subject.to_owned(), Line { at, optional, name, kind, condition, words }))
}

/// What is told of something done about an incident. How long things took then depends on the machine.
const REMEDY: [&str; 9] =
    ["held", "advised", "acting", "acted", "verified", "missed", "escalated", "lapsed", "ordered"];

/// What is only waited for: whether it is met depends on when a look was answered. The engine's own run has it.
const WAITS: [&str; 6] = [
    "it may heal by itself",
    "its node has just booted, and PVE starts its guests first",
    "it was tried a moment ago",
    "the guest before it was just started",
    "is worked on, and one node at a time",
    "goes first",
];

/// Objections without those of [`WAITS`], nor how much longer they stand (`0:03 more`, which comes after a `;` of its own).
fn without_waits(words: &str) -> String {
    let mut waits = false;
    let lasting = words.split("; ").filter(|why| {
        let how_long = waits && why.ends_with(" more");
        waits = WAITS.iter().any(|wait| why.contains(wait));
        !waits && !how_long
    });
    lasting.collect::<Vec<_>>().join("; ")
}

/// `m:ss` wherever it stands becomes `T`, and `0:05 after the call` the same.
fn without_times(words: &str) -> String {
    let timeless = |word: &str| {
        let bare = word.trim_end_matches([';', ',', '.']);
        let time = bare.split_once(':').is_some_and(|(minutes, seconds)| {
            !minutes.is_empty()
                && format!("{minutes}{seconds}").bytes().all(|b| b.is_ascii_digit() || b == b':')
        });
        if time { word.replacen(bare, "T", 1) } else { word.to_owned() }
    };
    words.split(' ').map(timeless).collect::<Vec<_>>().join(" ")
}

/// The end of an incident comes with the row that shows it, and why it ended with the answer to a question: of two such
/// neighbours the note counts as the first.
fn in_one_order(lines: &mut [Line]) {
    let ended = |line: &Line| line.kind == "resolved";
    for _ in 0..lines.len() {
        for at in 1..lines.len() {
            let (first, second) = (&lines[at - 1], &lines[at]);
            if ended(first) && second.kind == "noted" && (second.at - first.at).abs() <= TOGETHER {
                lines.swap(at - 1, at);
            }
        }
    }
}

/// Whether what was told is what is expected, where optional lines may be missing.
fn tells(expected: &[Line], told: &[Line], same: fn(&Line, &Line) -> bool) -> bool {
    match (expected, told) {
        ([], told) => told.is_empty(),
        ([line, rest @ ..], told) => {
            (line.optional && tells(rest, told, same))
                || matches!(told, [first, others @ ..] if same(line, first) && tells(rest, others, same))
        }
    }
}

fn same(expected: &Line, told: &Line) -> bool {
    let named = told.name.is_none() || told.name == expected.name;
    named
        && (&expected.kind, &expected.condition, &expected.words)
            == (&told.kind, &told.condition, &told.words)
}

fn alike(expected: &Line, told: &Line) -> bool {
    // An incident is what its condition says; of a note only the beginning is what happened.
    let gist = |line: &Line| match line.condition.as_str() {
        "" => line.words.split(", ").next().and_then(|words| words.split(" by ").next()).map(str::to_owned),
        _ => None,
    };
    (&expected.kind, &expected.condition, gist(expected)) == (&told.kind, &told.condition, gist(told))
}
