//! `/nodes/N/journal`: a node's journal as PVE's reader prints it, cursors first and last.
//!
//! The cursors and their corners follow the reader's source: nothing new after a cursor is that cursor twice; a
//! time after the last line, a cursor that cannot be parsed and options that exclude each other make it fail, which
//! is an answer 200 with an empty body. The field names of `structured=1` were never seen on the wire: they are
//! journald's own, and nobody should lean on them. A line's priority is not kept; it is read from what it says.

use super::views::row;
use crate::cluster::{JournalLine, Node};
use crate::json::Json;

/// Microseconds in a second.
const MICROS: i64 = 1_000_000;
/// What a line is whose text says nothing else.
const INFO: u8 = 6;

/// What is asked for.
#[derive(Default)]
pub(super) struct Question<'a> {
    pub(super) last: Option<usize>,
    pub(super) since: Option<i64>,
    pub(super) until: Option<i64>,
    pub(super) after: Option<&'a str>,
    pub(super) before: Option<&'a str>,
    pub(super) structured: bool,
    pub(super) kernel: bool,
    pub(super) priority: Option<&'a str>,
    pub(super) service: Option<&'a str>,
    pub(super) unit: Option<&'a str>,
}

/// A line and its place: its time, and its number among those of the same microsecond. The journal forgets its
/// oldest lines, so a number from its beginning would point to another line later.
type Place = (i64, u64);

/// `None` is the reader's failure: an empty body.
pub(super) fn answer<'a>(node: &'a Node, asked: &Question) -> Option<Json<'a>> {
    if asked.last.is_some_and(|last| last > 0) && (asked.since.is_some() || asked.after.is_some())
        || asked.since.is_some() && asked.after.is_some()
        || asked.until.is_some() && asked.before.is_some()
    {
        return None;
    }
    let after = asked.after.map(place).transpose_none()?;
    let before = asked.before.map(place).transpose_none()?;
    let all: Vec<(Place, &JournalLine)> = places(node).collect();
    // Like the reader: it stands on a line, and its last word is where it stands then.
    let from = match (after, asked.since) {
        (Some(after), _) => all.partition_point(|(at, _)| *at <= after),
        (None, Some(since)) => all.partition_point(|((micros, _), _)| *micros < since * MICROS),
        (None, None) => 0,
    };
    let until = asked
        .until
        .map_or(all.len(), |until| all.partition_point(|((micros, _), _)| *micros < until * MICROS));
    let end = before.map_or(until, |before| all.partition_point(|(at, _)| *at < before)).max(from);
    let wanted = |line: &JournalLine| fits(line, asked);
    let mut lines: Vec<&(Place, &JournalLine)> =
        all[from..end].iter().filter(|(_, line)| wanted(line)).collect();
    if let Some(last) = asked.last.filter(|last| *last > 0) {
        lines.drain(..lines.len().saturating_sub(last));
    }
    let stood =
        all.get(end).filter(|_| end < all.len()).or(all.get(end.wrapping_sub(1)).filter(|_| end > from));
    let first = after.or(lines.first().map(|(at, _)| *at)).or(stood.map(|(at, _)| *at))?;
    let last = stood.map_or(first, |(at, _)| *at);
    if asked.structured {
        let rows = lines.iter().map(|(at, line)| Json::Map(fields(node, *at, line)));
        return Some(Json::List(rows.collect()));
    }
    if lines.is_empty() && after.is_none() {
        return Some(Json::List(vec![Json::from(cursor(node, last))]));
    }
    let mut out = vec![Json::from(cursor(node, first))];
    let mut before_boot = None;
    for (_, line) in lines {
        let old = line.at < node.booted_at;
        if before_boot == Some(true) && !old {
            out.push(Json::from("-- Reboot --"));
        }
        before_boot = Some(old);
        let at = line.at.strftime("%b %d %H:%M:%S").to_string();
        out.push(Json::from(format!("{at} {} {}", node.spec.name, line.text)));
    }
    out.push(Json::from(cursor(node, last)));
    Some(Json::List(out))
}

/// A cursor that cannot be parsed is not the same as none.
trait TransposeNone<T> {
    fn transpose_none(self) -> Option<Option<T>>;
}

impl<T> TransposeNone<T> for Option<Option<T>> {
    fn transpose_none(self) -> Option<Option<T>> {
        match self {
            None => Some(None),
            Some(None) => None,
            Some(Some(value)) => Some(Some(value)),
        }
    }
}

fn places(node: &Node) -> impl Iterator<Item = (Place, &JournalLine)> {
    let mut last: Place = (i64::MIN, 0);
    node.journal.iter().map(move |line| {
        let micros = line.at.as_microsecond();
        let number = if micros == last.0 { last.1 + 1 } else { 0 };
        last = (micros, number);
        (last, line)
    })
}

/// As systemd writes it: the file, the number, the boot, the times. Only the last parts mean something here.
fn cursor(node: &Node, (micros, number): Place) -> String {
    let boot = u64::try_from(node.booted_at.as_microsecond()).unwrap_or(0);
    let micros = u64::try_from(micros).unwrap_or(0);
    let since_boot = micros.saturating_sub(boot);
    format!(
        "s={:032x};i={number:x};b={boot:032x};m={since_boot:x};t={micros:x};x={:016x}",
        node.number,
        micros ^ number
    )
}

fn place(cursor: &str) -> Option<Place> {
    let part = |name: &str| {
        let found = cursor.split(';').find_map(|part| part.strip_prefix(name))?;
        u64::from_str_radix(found.strip_prefix('=')?, 16).ok()
    };
    Some((i64::try_from(part("t")?).ok()?, part("i")?))
}

fn fits(line: &JournalLine, asked: &Question) -> bool {
    let (identifier, _, message) = split(&line.text);
    let by_unit = |unit: &str| {
        let bare = unit.strip_suffix(".service").unwrap_or(unit);
        // What systemd says of a unit belongs to the unit.
        identifier == bare || (identifier == "systemd" && message.contains(&format!("{unit}:")))
    };
    (!asked.kernel || identifier == "kernel")
        && asked.service.is_none_or(|glob| matches(glob.as_bytes(), identifier.as_bytes()))
        && asked.unit.is_none_or(by_unit)
        && asked.priority.is_none_or(|range| {
            let (low, high) = range.split_once("..").unwrap_or(("0", range));
            let level = |text: &str| text.parse::<u8>().unwrap_or(INFO);
            (level(low)..=level(high)).contains(&priority(&line.text))
        })
}

/// `qmeventd[722]: Starting...` as identifier, process and message.
fn split(text: &str) -> (&str, Option<&str>, &str) {
    let (head, message) = text.split_once(": ").unwrap_or((text, ""));
    match head.split_once('[') {
        Some((identifier, pid)) => (identifier, pid.strip_suffix(']'), message),
        None => (head, None, message),
    }
}

/// What each line was recorded with (pve-crash-evidence 2): a segfault is 6, like everything that is no error.
fn priority(text: &str) -> u8 {
    const KNOWN: &[(&str, u8)] = &[
        ("Out of memory", 3),
        ("out of memory: Killed process", 3),
        ("Memory cgroup out of memory", 3),
        ("qga command failed", 3),
        ("quit/powerdown failed", 3),
        ("invoked oom-killer", 4),
        ("Guest Agent is not running", 4),
        ("terminating now with SIGTERM", 4),
        ("Main process exited, code=killed", 4),
        ("Failed with result", 4),
        ("unable to get PID", 4),
    ];
    KNOWN.iter().find(|(part, _)| text.contains(part)).map_or(INFO, |(_, level)| *level)
}

/// A shell's pattern: `*` and `?`.
fn matches(glob: &[u8], text: &[u8]) -> bool {
    match (glob.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            matches(rest, text) || text.split_first().is_some_and(|(_, text)| matches(glob, text))
        }
        (Some((b'?', glob)), Some((_, text))) => matches(glob, text),
        (Some((a, glob)), Some((b, text))) if a == b => matches(glob, text),
        (_, _) => false,
    }
}

fn fields<'a>(node: &'a Node, at: Place, line: &'a JournalLine) -> crate::json::Row<'a> {
    let (identifier, pid, message) = split(&line.text);
    let mut row = row! {
        "__CURSOR" => cursor(node, at), "__REALTIME_TIMESTAMP" => at.0.to_string(),
        "_HOSTNAME" => node.spec.name.as_str(), "SYSLOG_IDENTIFIER" => identifier,
        "PRIORITY" => priority(&line.text).to_string(), "MESSAGE" => message,
    };
    if let Some(pid) = pid {
        row.extend(row! { "_PID" => pid });
    }
    row
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn a_cursor_is_read_back() {
        let text = "s=0001;i=2;b=00ff;m=1;t=5f5e100;x=9";
        assert_eq!(place(text), Some((100_000_000, 2)));
        for bad in ["", "nonsense", "t=5f5e100", "i=1;t=xyz"] {
            assert_eq!(place(bad), None, "{bad}");
        }
    }

    #[test]
    fn one_row_per_filter() {
        let line = |text: &str| JournalLine { at: Timestamp::UNIX_EPOCH, text: text.into() };
        let kernel = "kernel: qemu-system-x86[335]: segfault at 0 ip 0 sp 0 error 14 likely on CPU 0";
        let scope = "systemd[1]: 100.scope: Deactivated successfully.";
        let event = "qmeventd[722]: Starting cleanup for 100";
        let killed = "kernel: Memory cgroup out of memory: Killed process 7557 (qemu-system-x86)";
        #[rustfmt::skip]
        let table = [
            ("no filter",               event,  Question::default(),                                              true),
            ("the kernel's",            kernel, Question { kernel: true, ..Question::default() },                 true),
            ("not the kernel's",        scope,  Question { kernel: true, ..Question::default() },                 false),
            ("of a scope",              scope,  Question { unit: Some("100.scope"), ..Question::default() },      true),
            ("of another scope",        scope,  Question { unit: Some("10.scope"), ..Question::default() },       false),
            ("of a service's unit",     event,  Question { unit: Some("qmeventd"), ..Question::default() },       true),
            ("by identifier",           event,  Question { service: Some("qmev*"), ..Question::default() },       true),
            ("by another identifier",   event,  Question { service: Some("pve?"), ..Question::default() },        false),
            ("errors hide a segfault",  kernel, Question { priority: Some("0..4"), ..Question::default() },       false),
            ("errors show an OOM kill", killed, Question { priority: Some("3"), ..Question::default() },          true),
        ];
        for (name, text, asked, expected) in table {
            assert_eq!(fits(&line(text), &asked), expected, "{name}");
        }
    }
}
