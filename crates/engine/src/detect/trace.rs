//! Traces: what a node's journal says of a guest that stopped and that nobody stopped.
//!
//! PVE itself shows no difference between a crash and a power-off from inside (pve-crash-evidence 2). The journal
//! knows more, where the token may read it; what it says here is a hint in the words of the event, and never changes
//! the verdict.

use serde::{Deserialize, Serialize};

use crate::observe::{GuestId, GuestKind, Seen};

/// What the journal adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trace {
    /// It could not be read: the token has no Sys.Syslog on the node, or the node did not answer.
    Hidden,
    /// It was read, and says nothing of why: a kill, an abort, or a container's end.
    Nothing,
    /// The kernel ran out of memory and killed the process.
    OutOfMemory,
    /// The process ran into a segmentation fault.
    Segfault,
    /// The process was killed by a signal.
    Killed,
    /// QEMU told of its end before it ended: the guest was powered off from inside, or asked through QEMU's monitor.
    /// Seen in 6 of 7 clean ends and in no crash.
    CleanEnd,
}

/// Lines between the end of a guest's scope and the line that belongs to it.
const NEAR: usize = 4;

/// What the journal's lines say of one guest. `pid` is the process that it had, where that is known.
pub(crate) fn trace(id: GuestId, pid: Option<u32>, journal: &Seen<Vec<Box<str>>>) -> Trace {
    let Some(lines) = journal.value().filter(|lines| !lines.is_empty()) else { return Trace::Hidden };
    let started = format!("VM {} started with PID ", id.vmid);
    let pid = pid.or_else(|| lines.iter().rev().find_map(|line| number_after(line, &started)));
    let own = |line: &str| match id.kind {
        GuestKind::Qemu => pid.is_some_and(|pid| concerns(line, pid)),
        GuestKind::Lxc => false,
    };
    let unit = match id.kind {
        GuestKind::Qemu => format!("{}.scope: ", id.vmid),
        GuestKind::Lxc => format!("pve-container@{}.service: ", id.vmid),
    };
    if lines.iter().any(|line| {
        (line.contains("Killed process") && own(line))
            || after(line, &unit).is_some_and(|rest| rest.contains("OOM killer") || rest.contains("oom-kill"))
    }) {
        return Trace::OutOfMemory;
    }
    if lines.iter().any(|line| line.contains("segfault at") && own(line)) {
        return Trace::Segfault;
    }
    if lines.iter().any(|line| after(line, &unit).is_some_and(|rest| rest.contains("code=killed"))) {
        return Trace::Killed;
    }
    let clean = id.kind == GuestKind::Qemu && ended_in_order(id, lines, &unit);
    if clean { Trace::CleanEnd } else { Trace::Nothing }
}

/// `qmeventd` says that a QEMU's socket closed after QEMU had told of its end. The line has no number of a guest, so
/// it counts only beside the end of this guest's scope, and only when no other guest ended there.
fn ended_in_order(id: GuestId, lines: &[Box<str>], unit: &str) -> bool {
    let told = format!("{}: cannot send QMP message", id.vmid);
    if lines.iter().any(|line| line.contains("qmeventd") && after(line, &told).is_some()) {
        return true;
    }
    let ends = |line: &str| line.contains(".scope: Deactivated successfully");
    let Some(end) = lines.iter().rposition(|line| ends(line) && after(line, unit).is_some()) else {
        return false;
    };
    let near = &lines[end.saturating_sub(NEAR)..lines.len().min(end + NEAR + 1)];
    near.iter().filter(|line| ends(line)).count() == 1
        && near
            .iter()
            .any(|line| line.contains("qmeventd") && line.contains("read: Connection reset by peer"))
}

/// Whether a line of the kernel is about this process: `qemu-system-x86[335]: …` or `… process 335 (…`.
fn concerns(line: &str, pid: u32) -> bool {
    line.contains(&format!("[{pid}]: segfault")) || line.contains(&format!("process {pid} ("))
}

/// What follows `words` where they stand at the beginning of a word.
fn after<'a>(line: &'a str, words: &str) -> Option<&'a str> {
    line.match_indices(words).find_map(|(at, _)| {
        let fresh = line[..at].chars().next_back().is_none_or(|before| !before.is_alphanumeric());
        fresh.then(|| &line[at + words.len()..])
    })
}

fn number_after(line: &str, words: &str) -> Option<u32> {
    let digits: String = after(line, words)?.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

impl Trace {
    /// Why it stopped, in words that follow "no task asked for it".
    pub(crate) fn words(self) -> &'static str {
        match self {
            Trace::Hidden => " (a crash, or a power-off from inside)",
            Trace::Nothing => {
                " (a crash, a kill, or a power-off from inside; the node's journal does not say which)"
            }
            Trace::OutOfMemory => ": its node ran out of memory, and the kernel killed it",
            Trace::Segfault => ": its process crashed (segmentation fault)",
            Trace::Killed => ": its process was killed by a signal",
            Trace::CleanEnd => ": it ended in order, most likely powered off from inside",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{Blindness, Cause};
    use jiff::Timestamp;

    /// Its name, the guest, its process, the journal, the verdict.
    type Row = (&'static str, &'static str, Option<u32>, &'static [&'static str], Trace);

    /// The lines are those of pve-crash-evidence 2.
    #[test]
    fn what_the_journal_says() {
        const SCOPE: &str = "systemd[1]: 100.scope: Deactivated successfully.";
        const CLEANUP: &str = "qmeventd[722]: Starting cleanup for 100";
        const RESET: &str = "qmeventd[722]: read: Connection reset by peer";
        #[rustfmt::skip]
        let table: [Row; 17] = [
            ("no line at all",                  "qemu/100", Some(335), &[], Trace::Hidden),
            ("a kill",                          "qemu/100", Some(335), &[SCOPE, CLEANUP], Trace::Nothing),
            ("a segfault",                      "qemu/100", Some(335), &["kernel: qemu-system-x86[335]: segfault at 0 ip 0 sp 7f error 14 likely on CPU 0", SCOPE, CLEANUP], Trace::Segfault),
            ("another process's segfault",      "qemu/100", Some(335), &["kernel: qemu-system-x86[3350]: segfault at 0 ip 0 sp 7f error 14", SCOPE], Trace::Nothing),
            ("a segfault, the pid by its start","qemu/100", None,      &["pvedaemon[9]: VM 100 started with PID 335 using pc", "kernel: kvm[335]: segfault at 0 ip 0", SCOPE], Trace::Segfault),
            ("a segfault, the pid not known",   "qemu/100", None,      &["kernel: kvm[335]: segfault at 0 ip 0", SCOPE], Trace::Nothing),
            ("out of memory",                   "qemu/100", Some(7557), &["kernel: Memory cgroup out of memory: Killed process 7557 (qemu-system-x86) total-vm:1kB", SCOPE], Trace::OutOfMemory),
            ("another one's memory",            "qemu/100", Some(7557), &["kernel: Out of memory: Killed process 755 (kvm)", SCOPE], Trace::Nothing),
            ("systemd says out of memory",      "qemu/100", None,      &["systemd[1]: 100.scope: A process of this unit has been killed by the OOM killer.", SCOPE], Trace::OutOfMemory),
            ("the same of guest 1100",          "qemu/100", None,      &["systemd[1]: 1100.scope: A process of this unit has been killed by the OOM killer."], Trace::Nothing),
            ("powered off from inside",         "qemu/100", Some(335), &[RESET, SCOPE, CLEANUP], Trace::CleanEnd),
            ("the hint comes after the scope",  "qemu/100", Some(335), &[SCOPE, RESET, CLEANUP], Trace::CleanEnd),
            ("two ended there, so whose is it", "qemu/100", Some(335), &[RESET, "systemd[1]: 101.scope: Deactivated successfully.", SCOPE], Trace::Nothing),
            ("SIGTERM from outside",            "qemu/100", Some(335), &["qmeventd[722]: 100: cannot send QMP message", SCOPE], Trace::CleanEnd),
            ("the same of guest 1100",          "qemu/100", Some(335), &["qmeventd[722]: 1100: cannot send QMP message", SCOPE], Trace::Nothing),
            ("a container's monitor killed",    "lxc/200",  None,      &["systemd[1]: pve-container@200.service: Main process exited, code=killed, status=9/KILL"], Trace::Killed),
            ("a container's init killed",       "lxc/200",  Some(335), &["systemd[1]: pve-container@200.service: Deactivated successfully."], Trace::Nothing),
        ];
        for (row, id, pid, lines, expected) in table {
            let lines = lines.iter().map(|line| (*line).into()).collect();
            let journal = Seen::At { value: lines, asked_at: Timestamp::UNIX_EPOCH };
            assert_eq!(trace(id.parse().unwrap(), pid, &journal), expected, "{row}");
        }
        let refused = Blindness { cause: Cause::RightsLost, words: "403".into() };
        let hidden = [Seen::NotAsked, Seen::NotReached(refused)];
        assert!(hidden.iter().all(|seen| trace("qemu/100".parse().unwrap(), None, seen) == Trace::Hidden));
    }
}
