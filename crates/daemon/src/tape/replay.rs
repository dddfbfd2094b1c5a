//! Replay: a tape once more, with today's policy, and what would be said otherwise.
//!
//! The world does not answer to what is only tried: an act that was not made then counts as not made now, and what followed is
//! what followed then. So the first difference about something is exact, and later ones about it tell where things went apart.

use std::collections::BTreeMap;
use std::path::Path;

use engine::act::Outcome;
use engine::decide::{Autonomy, Controls};
use engine::detect::Condition;
use engine::observe::Subject;
use engine::policy::Policy;
use engine::{Command, Effect, Engine, Input};
use jiff::{SignedDuration, Timestamp};

use super::{Head, Next, Played, Turn, VERSION};

/// How much later than it was due a turn by the clock may have been made: on a busy machine, or beside a slow disk. Whatever comes in
/// meanwhile is decided on as well, so this delays little of what another policy would do.
const LATE_MAX: SignedDuration = SignedDuration::from_secs(10);
/// Why an act is not made here.
const ONLY_TRIED: &str = "it is only tried, on a tape";

/// Something that was said then and not today, or the other way round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// When first.
    pub at: Timestamp,
    /// Whether it is said today; otherwise it was said then.
    pub today: bool,
    /// As the log has it.
    pub line: String,
    /// How often.
    pub times: u64,
}

/// What a piece came to.
#[derive(Clone, Debug, Default)]
pub struct Replayed {
    /// From when to when.
    pub span: Option<(Timestamp, Timestamp)>,
    /// Turns of the engine.
    pub turns: u64,
    /// What was said then, heartbeats left out.
    pub said: u64,
    /// In the order of time.
    pub differences: Vec<Difference>,
    /// What was open when it began, in the words of its lines.
    pub open: Vec<String>,
    /// Whether the piece's end is missing.
    pub cut: bool,
}

/// Adds what the next piece came to.
///
/// A piece begins with what was known *then*, so of an incident that lasts over several pieces each finds the same difference once
/// more. That is no second act, and is told as the same line.
pub fn go_on(all: &mut Vec<Difference>, next: Replayed) {
    let Replayed { differences, open, .. } = next;
    let before = all.len();
    for difference in differences {
        let lasting = open.iter().any(|about| is_about(&difference.line, about));
        let same = |told: &&mut Difference| told.today == difference.today && told.line == difference.line;
        match all[..before].iter_mut().rev().filter(|_| lasting).find(same) {
            Some(told) => told.times += difference.times,
            None => all.push(difference),
        }
    }
}

/// What lines about an incident have in common.
fn about(condition: Condition, subject: &Subject) -> String {
    format!(" {:<18} {subject}", condition.as_str())
}

/// Whether a line is about this, and not about one whose name begins with it.
fn is_about(line: &str, about: &str) -> bool {
    let rest = line.split_once(about).map(|(_, rest)| rest);
    rest.is_some_and(|rest| rest.starts_with([':', ' ']))
}

/// Plays a piece with this policy, and with this level instead of the one that was set then, if one is given.
///
/// # Errors
/// It cannot be read, or is no piece of a tape of this version.
pub fn replay(path: &Path, policy: Policy, level: Option<Autonomy>) -> Result<Replayed, String> {
    let mut played = Played::open(path).map_err(|error| error.to_string())?;
    let Head { version, cluster, at, moment } = match played.next::<Version>()? {
        Next::Some(Version { version: VERSION }) => played.again::<Head>()?,
        Next::Some(Version { version }) => {
            return Err(format!("it is of version {version}, and this jarvis knows {VERSION}"));
        }
        Next::End | Next::Cut => return Ok(Replayed { cut: true, ..Replayed::default() }),
    };
    debug_assert_eq!(version, VERSION);
    let mut replay = Replay {
        engine: Engine::resume(cluster, policy, moment),
        level,
        told: Replayed { span: Some((at, at)), ..Replayed::default() },
        differences: BTreeMap::new(),
    };
    let open = replay.engine.open_incidents();
    replay.told.open =
        open.map(|(slot, incident)| about(incident.finding.condition(), &slot.subject)).collect();
    if let Some(level) = level {
        let controls = Controls { level, ..replay.engine.controls().clone() };
        replay.turn(at, Input::Commanded(Command::Controls(controls)), &[]);
    }
    loop {
        match played.next::<Turn>()? {
            Next::Some(Turn { at, input, said }) => replay.next(at, input, &said),
            Next::End => break,
            Next::Cut => {
                replay.told.cut = true;
                break;
            }
        }
    }
    Ok(replay.end())
}

/// What is read first of a head, whatever follows.
#[derive(serde::Deserialize)]
struct Version {
    version: u32,
}

impl Played {
    /// The line that was just read, as something else.
    fn again<T: for<'de> serde::Deserialize<'de>>(&self) -> Result<T, String> {
        serde_json::from_slice(&self.line).map_err(|error| error.to_string())
    }
}

struct Replay {
    engine: Engine,
    level: Option<Autonomy>,
    told: Replayed,
    /// By line: when first on the side that says it more often, and how often it is said more today than then.
    differences: BTreeMap<String, (Timestamp, i64)>,
}

impl Replay {
    fn next(&mut self, at: Timestamp, mut input: Input, said: &[String]) {
        // What this policy waits for may be due at other times than then.
        while let Some(wake) = self.engine.next_wake().filter(|wake| *wake + LATE_MAX < at) {
            self.turn(wake, Input::Tick, &[]);
            if self.engine.next_wake() == Some(wake) {
                break;
            }
        }
        if let (Input::Commanded(Command::Controls(controls)), Some(level)) = (&mut input, self.level) {
            controls.level = level;
        }
        self.told.turns += 1;
        self.told.span = self.told.span.map(|(from, _)| (from, at));
        self.turn(at, input, said);
    }

    fn turn(&mut self, at: Timestamp, input: Input, then: &[String]) {
        let mut today = Vec::new();
        let mut permits = Vec::new();
        for effect in self.engine.step(at, input) {
            match effect {
                Effect::Record(entry) => today.push(entry.to_string()),
                Effect::Act(permit) => permits.push(permit),
                Effect::Inspect(_) | Effect::Notify(_) => {}
            }
        }
        for line in then.iter().filter(|line| is_news(line)) {
            self.told.said += 1;
            self.count(at, line, -1);
        }
        for line in today.iter().filter(|line| is_news(line)) {
            self.count(at, line, 1);
        }
        for permit in permits {
            let (incident, subject, attempt) = permit.redeem();
            let line = |line: &&String| line.starts_with("acting") && line.contains(&subject.to_string());
            // What was done then as well has its outcome on the tape.
            let done = today.iter().find(line).is_some_and(|line| then.contains(line));
            if !done {
                let outcome = Outcome::NotMade { why: ONLY_TRIED.into() };
                self.turn(at, Input::Acted { incident, attempt: attempt.number, outcome }, &[]);
            }
        }
    }

    fn count(&mut self, at: Timestamp, line: &str, by: i64) {
        // That an act was not made is no news: it is only tried.
        if line.contains(ONLY_TRIED) {
            return;
        }
        let (first, count) = self.differences.entry(line.to_owned()).or_insert((at, 0));
        if *count == 0 {
            *first = at;
        }
        *count += by;
    }

    fn end(self) -> Replayed {
        let mut differences: Vec<Difference> = self
            .differences
            .into_iter()
            .filter(|(_, (_, count))| *count != 0)
            .map(|(line, (at, count))| Difference { at, today: count > 0, line, times: count.unsigned_abs() })
            .collect();
        differences.sort_by(|a, b| (a.at, a.today, &a.line).cmp(&(b.at, b.today, &b.line)));
        Replayed { differences, ..self.told }
    }
}

fn is_news(line: &str) -> bool {
    !line.starts_with("heartbeat")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was open when it began, and its differences: said only now, or only then (`-`).
    type Piece = (&'static [&'static str], &'static [&'static str]);

    fn told(pieces: &[Piece]) -> Vec<String> {
        let mut all = Vec::new();
        for (hour, (open, lines)) in pieces.iter().enumerate() {
            let at = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hour as i64);
            let difference = |line: &&str| {
                let today = !line.starts_with('-');
                Difference { at, today, line: line.trim_start_matches('-').into(), times: 1 }
            };
            let open = open.iter().map(|subject| about(Condition::VmCrashed, &subject.parse().unwrap()));
            let differences = lines.iter().map(difference).collect();
            go_on(&mut all, Replayed { open: open.collect(), differences, ..Replayed::default() });
        }
        let show = |Difference { at, today, line, times }: Difference| {
            format!("{} {} {} {times}", at.as_second() / 3600, if today { "now" } else { "then" }, &line[..7])
        };
        all.into_iter().map(show).collect()
    }

    #[test]
    fn what_lasts_over_pieces_is_told_once() {
        const ACTS: &str = "acting    VM_CRASHED         qemu/101 (web01): start it on pve1, attempt 1 of 3";
        const LONGER: &str = "acting    VM_CRASHED         qemu/1011 (db): start it on pve1, attempt 1 of 3";
        const ADVISED: &str = "advised   VM_CRASHED         qemu/101 (web01): start it on pve1";
        const NOT_ADVISED: &str = "-advised   VM_CRASHED         qemu/101 (web01): start it on pve1";
        #[rustfmt::skip]
        let table: [(&str, &[Piece], &[&str]); 6] = [
            ("the same incident",        &[(&[], &[ACTS]), (&["qemu/101"], &[ACTS]), (&["qemu/101"], &[ACTS])], &["0 now acting  3"]),
            ("the guest crashed again",  &[(&[], &[ACTS]), (&[], &[ACTS])],                 &["0 now acting  1", "1 now acting  1"]),
            ("another one is open",      &[(&[], &[ACTS]), (&["qemu/100", "qemu/1011"], &[ACTS])], &["0 now acting  1", "1 now acting  1"]),
            ("one with a shorter name",  &[(&[], &[LONGER]), (&["qemu/101"], &[LONGER])],   &["0 now acting  1", "1 now acting  1"]),
            ("something else about it",  &[(&[], &[NOT_ADVISED]), (&["qemu/101"], &[ACTS])], &["0 then advised 1", "1 now acting  1"]),
            ("now and then are two",     &[(&[], &[NOT_ADVISED]), (&["qemu/101"], &[ADVISED])], &["0 then advised 1", "1 now advised 1"]),
        ];
        for (name, pieces, expected) in table {
            assert_eq!(told(pieces), expected, "{name}");
        }
    }
}
