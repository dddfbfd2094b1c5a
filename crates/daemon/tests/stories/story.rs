//! A story: what was told, in the form in which two tellings of the same thing are equal. Which telling is right is
//! others' business.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What was told of each subject, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Story(pub(crate) BTreeMap<String, Vec<String>>);

impl Story {
    /// From the lines of a log, `m:ss  KIND CONDITION SUBJECT: WORDS`.
    pub(crate) fn of_log(log: &str) -> Story {
        let mut story = Story::default();
        for line in log.lines() {
            let (_, entry) = line.trim_start().split_once("  ").unwrap_or_else(|| panic!("no time in {line:?}"));
            let Some((subject, told)) = told(entry) else { continue };
            story.0.entry(subject).or_default().push(told);
        }
        story
    }

    /// What of this story was told differently, line by line.
    pub(crate) fn compare(&self, told: &Story) -> Result<(), String> {
        if told == self {
            return Ok(());
        }
        let mut diff = String::new();
        let nothing = Vec::new();
        let mut subjects: Vec<_> = self.0.keys().chain(told.0.keys()).collect();
        subjects.sort();
        subjects.dedup();
        for subject in subjects {
            let expected = self.0.get(subject).unwrap_or(&nothing);
            let told = told.0.get(subject).unwrap_or(&nothing);
            if expected != told {
                let mut say = |sign, lines: &[String]| {
                    lines.iter().for_each(|line| writeln!(diff, "  {sign} {subject}: {line}").unwrap());
                };
                say("expected", expected);
                say("told    ", told);
            }
        }
        Err(diff)
    }
}

/// The subject of an entry, and what is told of it whenever it is told; `None` of a heartbeat.
fn told(entry: &str) -> Option<(String, String)> {
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
    let mut words = words;
    if kind == "resolved" {
        // How long it lasted.
        words = words.rsplit_once(" after ").map_or(words, |(words, _)| words);
    }
    if condition == "MONITOR_BLIND" && kind != "resolved" {
        // After the cause come the words of the one call that failed.
        words = words.split_once(": ").map_or(words, |(cause, _)| cause);
    }
    words = words.split_once("cause not known: ").map_or(words, |(before, _)| before);
    Some((subject.to_owned(), format!("{kind} {condition} {words}")))
}
