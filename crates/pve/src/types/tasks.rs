//! Tasks: the lists, one task's state, its log.

use jiff::Timestamp;
use serde::Deserialize;

use crate::lenient;
use crate::upid::{ExitStatus, Upid};

/// A row of `/cluster/tasks` and `/nodes/{node}/tasks`. What repeats the task id is read from it alone: the lists
/// disagree on whether `user` holds the token's name.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(from = "Flat")]
pub struct Task {
    pub upid: Upid,
    /// By the node's clock. Only finished tasks have one.
    pub ended_at: Option<Timestamp>,
    /// `None` while it runs.
    pub exit: Option<ExitStatus>,
}

#[derive(Deserialize)]
struct Flat {
    upid: Upid,
    #[serde(default, deserialize_with = "lenient::time")]
    endtime: Option<Timestamp>,
    #[serde(default, deserialize_with = "lenient::text")]
    status: Option<Box<str>>,
}

impl From<Flat> for Task {
    fn from(row: Flat) -> Task {
        let exit = match row.status.as_deref() {
            Some("RUNNING") if row.endtime.is_none() => None,
            Some(status) => Some(ExitStatus::parse(status)),
            // Ended, and nobody knows how.
            None => row.endtime.map(|_| ExitStatus::parse("")),
        };
        Task { upid: row.upid, ended_at: row.endtime, exit }
    }
}

/// `/nodes/{node}/tasks/{upid}/status`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "FlatStatus")]
pub struct TaskStatus {
    pub upid: Upid,
    pub state: TaskState,
}

impl TaskStatus {
    /// How it ended; `None` while it runs.
    pub fn exit(&self) -> Option<&ExitStatus> {
        match &self.state {
            TaskState::Running => None,
            TaskState::Stopped(exit) => Some(exit),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum TaskState {
    Running,
    Stopped(ExitStatus),
}

#[derive(Deserialize)]
struct FlatStatus {
    upid: Upid,
    #[serde(default, deserialize_with = "lenient::text")]
    status: Option<Box<str>>,
    #[serde(default, deserialize_with = "lenient::text")]
    exitstatus: Option<Box<str>>,
}

impl TryFrom<FlatStatus> for TaskStatus {
    type Error = String;

    fn try_from(row: FlatStatus) -> Result<TaskStatus, String> {
        let state = match row.status.as_deref() {
            Some("running") => TaskState::Running,
            Some("stopped") => {
                TaskState::Stopped(ExitStatus::parse(row.exitstatus.as_deref().unwrap_or_default()))
            }
            // Neither success nor failure may be guessed.
            other => return Err(format!("a task is neither running nor stopped but {other:?}")),
        };
        Ok(TaskStatus { upid: row.upid, state })
    }
}

/// A line of a task's log. The last says `TASK OK` or `TASK ERROR: ..`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct LogLine {
    /// From 1.
    pub n: u64,
    #[serde(default, deserialize_with = "lenient::plain")]
    pub t: Box<str>,
}
