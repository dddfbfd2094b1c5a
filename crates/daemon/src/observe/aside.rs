//! Aside: what a person asks about one guest or node and nothing is judged by: how it was over the last hours, and what its
//! configuration says. PVE is asked when they ask, never by itself.

use engine::observe::{Blindness, GuestId, GuestKind, NodeName};
use pve::Upid;
use pve::types::{GuestConfig, LogLine, Page, RrdPoint};

use super::Observer;
use super::ask::{About, Unanswered};
use super::bill::Call;
use super::look::PART_WITHIN;
use super::rounds::{no_path, path_name};

/// Questions at a time: each is a file that a node reads, some 10 ms of it, so whoever asks without end has it do so with a
/// part of one core.
pub(super) const ASIDES_MAX: usize = 2;
/// Points that are shown: PVE gives some 70, and of a day in newer versions 1,440.
const POINTS_MAX: usize = 2_000;

/// Lines of a task's log that are shown: the last ones, which say how it ended. A start writes some five, a backup hundreds.
const LINES_MAX: u32 = 200;
/// Longest of them, in bytes; what a guest's hook writes has no end.
const LINE_MAX: usize = 1_000;

/// What a task wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TaskSaid {
    pub(crate) lines: Vec<String>,
    /// Whether there are more before them.
    pub(crate) truncated: bool,
}

/// Over how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// Point by minute.
    Hour,
    /// Point by half an hour, in newer versions by minute.
    Day,
    /// Point by some hours.
    Week,
}

/// How something was, point by point, oldest first. What was not measured is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Course {
    /// Seconds of Unix time.
    pub(crate) at: Vec<i64>,
    /// Fraction of its cores.
    pub(crate) cpu: Vec<Option<f64>>,
    /// Fraction of its memory.
    pub(crate) memory: Vec<Option<f64>>,
    /// Fraction of its disk: of a node the root disk; of a virtual machine nobody knows.
    pub(crate) disk: Vec<Option<f64>>,
    /// Bytes a second.
    pub(crate) netin: Vec<Option<f64>>,
    /// Bytes a second.
    pub(crate) netout: Vec<Option<f64>>,
}

/// What a guest's configuration says about how it is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Configured {
    /// Whether its node starts it at boot.
    pub(crate) onboot: bool,
    /// Its place in its node's start order.
    pub(crate) start_order: Option<u32>,
    /// Whether PVE refuses to remove it.
    pub(crate) protection: bool,
    /// Whether its guest agent is enabled.
    pub(crate) agent: bool,
}

impl Observer {
    /// How a node was, or a guest of it.
    ///
    /// # Errors
    /// Why PVE did not say.
    pub(crate) async fn course(
        &self,
        node: &NodeName,
        guest: Option<GuestId>,
        over: Over,
    ) -> Result<Course, Blindness> {
        let _turn = self.asides.acquire().await;
        let path = path_name(node).ok_or_else(|| no_path(node))?;
        let (path, over) = (&path, timeframe(over));
        let about = About::NodeWithin(PART_WITHIN);
        let points = match guest.map(guest_id) {
            Some(guest) => {
                let ask = |client: pve::Client| async move { client.guest_history(path, guest, over).await };
                self.endpoints.ask(Call::History, about, ask).await?
            }
            None => {
                let ask = |client: pve::Client| async move { client.node_history(path, over).await };
                self.endpoints.ask(Call::History, about, ask).await?
            }
        };
        Ok(course(points.rows.iter()))
    }

    /// What a task wrote; `None` where PVE knows of none.
    ///
    /// # Errors
    /// Why PVE did not say.
    pub(crate) async fn task_log(&self, upid: &Upid) -> Result<Option<TaskSaid>, Blindness> {
        let _turn = self.asides.acquire().await;
        let asked = |start: u32| {
            let ask = move |client: pve::Client| async move { client.task_log(upid, start, LINES_MAX).await };
            self.endpoints.put(Call::TaskLog, About::NodeWithin(PART_WITHIN), ask)
        };
        match last_lines(asked).await {
            Ok(said) => Ok(Some(said)),
            Err(Unanswered::Failed(pve::Error::NotFound { .. })) => Ok(None),
            Err(unanswered) => Err(unanswered.blindness()),
        }
    }

    /// What a guest's configuration says.
    ///
    /// # Errors
    /// Why PVE did not say.
    pub(crate) async fn configured(&self, node: &NodeName, guest: GuestId) -> Result<Configured, Blindness> {
        let _turn = self.asides.acquire().await;
        let path = path_name(node).ok_or_else(|| no_path(node))?;
        let (path, guest) = (&path, guest_id(guest));
        let ask = |client: pve::Client| async move { client.guest_config(path, guest).await };
        let config: GuestConfig =
            self.endpoints.ask(Call::Config, About::NodeWithin(PART_WITHIN), ask).await?;
        Ok(Configured {
            onboot: config.onboot(),
            start_order: config.start_order(),
            protection: config.protection(),
            agent: config.agent(),
        })
    }
}

/// The last lines of a log, of which a page is asked for by where it starts, and each says how many lines there are.
async fn last_lines<E, F>(page_at: impl Fn(u32) -> F) -> Result<TaskSaid, E>
where
    F: Future<Output = Result<Page<LogLine>, E>>,
{
    let first = page_at(0).await?;
    let total = first.total.and_then(|total| u32::try_from(total).ok()).unwrap_or(0);
    let before = total.saturating_sub(LINES_MAX);
    let page = match before {
        0 => first,
        _ => page_at(before).await?,
    };
    Ok(TaskSaid { lines: page.rows.rows.iter().map(line).collect(), truncated: before > 0 })
}

fn line(LogLine { t, .. }: &LogLine) -> String {
    let end = (0..=t.len().min(LINE_MAX)).rev().find(|end| t.is_char_boundary(*end)).unwrap_or(0);
    match end < t.len() {
        true => format!("{}...", &t[..end]),
        false => t.to_string(),
    }
}

pub(super) fn guest_id(id: GuestId) -> pve::GuestId {
    let kind = match id.kind {
        GuestKind::Qemu => pve::GuestKind::Qemu,
        GuestKind::Lxc => pve::GuestKind::Lxc,
    };
    pve::GuestId { kind, vmid: id.vmid }
}

fn timeframe(over: Over) -> pve::Timeframe {
    match over {
        Over::Hour => pve::Timeframe::Hour,
        Over::Day => pve::Timeframe::Day,
        Over::Week => pve::Timeframe::Week,
    }
}

/// A guest's points and a node's call the same things by other names.
fn course<'a>(points: impl Iterator<Item = &'a RrdPoint>) -> Course {
    let mut course = Course::default();
    for point in points.take(POINTS_MAX) {
        let value = |name: &str| point.values.get(name).copied();
        let part = |used: Option<f64>, all: Option<f64>| match (used, all) {
            (Some(used), Some(all)) if all > 0.0 => Some(used / all),
            (Some(_) | None, Some(_) | None) => None,
        };
        course.at.push(point.time.as_second());
        course.cpu.push(value("cpu"));
        let memory = part(value("mem"), value("maxmem"));
        course.memory.push(memory.or_else(|| part(value("memused"), value("memtotal"))));
        // Of a virtual machine PVE writes 0, which is no measure.
        let disk = part(value("disk").filter(|used| *used > 0.0), value("maxdisk"));
        course.disk.push(disk.or_else(|| part(value("rootused"), value("roottotal"))));
        course.netin.push(value("netin"));
        course.netout.push(value("netout"));
    }
    course
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::convert::Infallible;

    use jiff::Timestamp;
    use pve::types::Rows;

    use super::*;

    #[tokio::test]
    async fn the_last_lines_of_a_log_are_shown() {
        for (name, lines, says_how_many, shown, asked) in [
            ("nothing yet", 0, true, None, &[0][..]),
            ("a start", 5, true, Some((1, 5)), &[0]),
            ("as many as are shown", 200, true, Some((1, 200)), &[0]),
            ("one more", 201, true, Some((2, 201)), &[0, 1]),
            ("a backup", 4_321, true, Some((4_122, 4_321)), &[0, 4_121]),
            ("PVE does not say how many there are", 201, false, Some((1, 200)), &[0]),
        ] {
            let starts = RefCell::new(Vec::new());
            let page_at = async |start: u32| {
                starts.borrow_mut().push(start);
                let line = |n: u32| LogLine { n: n.into(), t: format!("line {n}").into() };
                let rows = (start + 1..=lines).take(LINES_MAX as usize).map(line).collect();
                let total = says_how_many.then_some(u64::from(lines));
                Ok::<_, Infallible>(Page { rows: Rows { rows, unreadable: Vec::new() }, total })
            };
            let Ok(said) = last_lines(page_at).await;
            let ends = said.lines.first().zip(said.lines.last());
            let expected = shown.map(|(first, last)| (format!("line {first}"), format!("line {last}")));
            assert_eq!(ends.map(|(first, last)| (first.clone(), last.clone())), expected, "{name}");
            assert_eq!(*starts.borrow(), asked, "{name}");
            assert_eq!(said.truncated, asked.len() > 1, "{name}");
        }
    }

    #[test]
    fn a_line_without_an_end_is_cut_at_a_letter() {
        let long = "ä".repeat(LINE_MAX);
        for (name, text, expected) in [
            ("a short one", "TASK OK", "TASK OK".to_owned()),
            ("none", "", String::new()),
            ("as long as may be", &*"x".repeat(LINE_MAX), "x".repeat(LINE_MAX)),
            ("longer, in letters of two bytes", &*long, format!("{}...", "ä".repeat(LINE_MAX / 2))),
            (
                "the end within a letter",
                &*format!("x{long}"),
                format!("x{}...", "ä".repeat(LINE_MAX / 2 - 1)),
            ),
        ] {
            assert_eq!(line(&LogLine { n: 1, t: text.into() }), expected, "{name}");
        }
    }

    #[test]
    fn what_was_not_measured_is_not_zero() {
        let point = |second, values: &[(&str, f64)]| RrdPoint {
            time: Timestamp::from_second(second).unwrap(),
            values: values.iter().map(|(name, value)| ((*name).into(), *value)).collect(),
        };
        let points = [
            point(60, &[]),
            point(120, &[("cpu", 0.5), ("mem", 1.0), ("maxmem", 4.0), ("disk", 0.0), ("maxdisk", 8.0)]),
            point(
                180,
                &[("cpu", 0.1), ("memused", 1.0), ("memtotal", 2.0), ("rootused", 3.0), ("roottotal", 4.0)],
            ),
            point(240, &[("mem", 1.0), ("maxmem", 0.0), ("netin", 7.0)]),
        ];
        let course = course(points.iter());
        assert_eq!(course.at, [60, 120, 180, 240]);
        assert_eq!(course.cpu, [None, Some(0.5), Some(0.1), None]);
        assert_eq!(course.memory, [None, Some(0.25), Some(0.5), None]);
        assert_eq!(course.disk, [None, None, Some(0.75), None]);
        assert_eq!(course.netin, [None, None, None, Some(7.0)]);
    }
}
