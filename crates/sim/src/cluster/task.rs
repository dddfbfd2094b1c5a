//! Tasks: what PVE writes down of everything that it does, per node.

use std::collections::VecDeque;

use engine::observe::NodeName;
use jiff::Timestamp;

/// How many tasks a node keeps: PVE's index files hold roughly this many.
pub(super) const KEPT_MAX: usize = 1000;
/// How many tasks of a node the cluster-wide list shows.
pub const SHOWN_MAX: usize = 25;

/// Who asked for something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// `user@realm`.
    pub user: String,
    /// The token's name, when it was one.
    pub token: Option<String>,
}

impl Actor {
    /// PVE itself: boot, HA, `qm` on the shell.
    pub fn root() -> Actor {
        Actor { user: "root@pam".into(), token: None }
    }

    /// From `user@realm` or `user@realm!token`.
    pub fn parse(text: &str) -> Actor {
        match text.split_once('!') {
            Some((user, token)) => Actor { user: user.into(), token: Some(token.into()) },
            None => Actor { user: text.into(), token: None },
        }
    }

    /// As in a UPID: the user, and the token where there is one.
    pub fn full(&self) -> String {
        match &self.token {
            Some(token) => format!("{}!{token}", self.user),
            None => self.user.clone(),
        }
    }
}

/// One task.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// PVE's id of it.
    pub upid: String,
    /// The worker's process.
    pub pid: u32,
    /// When that process began, in hundredths of a second since boot.
    pub pstart: u64,
    /// When it began; whole seconds, as in its id.
    pub started_at: Timestamp,
    /// PVE's word for what it does.
    pub kind: String,
    /// What it is about: a guest's number, or nothing.
    pub id: String,
    /// Who asked.
    pub by: Actor,
    /// When and how it ended; `None` while it runs.
    pub ended: Option<(Timestamp, String)>,
    /// What it printed.
    pub log: Vec<String>,
}

impl Task {
    /// The program that did it, as the journal names it.
    pub(super) fn program(&self) -> String {
        let name = match (&*self.kind, &*self.by.user) {
            ("startall" | "stopall", _) => "pve-guests",
            (kind, "root@pam") if kind.starts_with("qm") => "qm",
            (kind, "root@pam") if kind.starts_with("vz") && kind != "vzdump" => "pct",
            (_, _) => "pvedaemon",
        };
        format!("{name}[{}]", self.pid)
    }
}

/// A node's tasks, oldest first.
#[derive(Clone, Debug, Default)]
pub struct TaskLog {
    tasks: VecDeque<Task>,
    begun: u32,
}

impl TaskLog {
    /// Begins a task and gives its id.
    pub fn begin(
        &mut self,
        node: &NodeName,
        booted_at: Timestamp,
        now: Timestamp,
        kind: &str,
        id: &str,
        by: &Actor,
    ) -> String {
        self.begun += 1;
        let pid = 1000 + self.begun.wrapping_mul(7) % 4_000_000;
        let since_boot = now.as_millisecond() - booted_at.as_millisecond();
        let pstart = u64::try_from(since_boot / 10).unwrap_or(0);
        let second = now.as_second();
        let upid = format!("UPID:{node}:{pid:08X}:{pstart:08X}:{second:08X}:{kind}:{id}:{}:", by.full());
        if self.tasks.len() >= KEPT_MAX {
            self.tasks.pop_front();
        }
        self.tasks.push_back(Task {
            upid: upid.clone(),
            pid,
            pstart,
            started_at: Timestamp::from_second(second).unwrap_or(now),
            kind: kind.into(),
            id: id.into(),
            by: by.clone(),
            ended: None,
            log: Vec::new(),
        });
        upid
    }

    /// Ends a task. A task that ended before, or was forgotten, stays as it is.
    pub fn end(&mut self, upid: &str, now: Timestamp, status: &str) {
        if let Some(task) = self.tasks.iter_mut().rev().find(|t| t.upid == upid && t.ended.is_none()) {
            let last = if status == "OK" { "TASK OK".into() } else { format!("TASK ERROR: {status}") };
            task.log.push(last);
            task.ended = Some((now, status.into()));
        }
    }

    /// What was running when the node lost power is found dead when it is up again.
    pub fn end_all_unexpected(&mut self, now: Timestamp) {
        for task in self.tasks.iter_mut().filter(|t| t.ended.is_none()) {
            task.ended = Some((now, "unexpected status".into()));
        }
    }

    /// Adds a line to a task's log.
    pub fn say(&mut self, upid: &str, line: &str) {
        if let Some(task) = self.tasks.iter_mut().rev().find(|t| t.upid == upid) {
            task.log.push(line.into());
        }
    }

    /// By id.
    pub fn get(&self, upid: &str) -> Option<&Task> {
        self.tasks.iter().rev().find(|t| t.upid == upid)
    }

    /// All that are kept, newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Task> {
        self.tasks.iter().rev()
    }
}

/// The node in a UPID (`UPID:NODE:...`).
pub fn upid_node(upid: &str) -> Option<&str> {
    let mut parts = upid.split(':');
    (parts.next() == Some("UPID")).then(|| parts.next()).flatten().filter(|_| upid.split(':').count() >= 9)
}
