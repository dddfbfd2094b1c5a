//! Act: what can be done at all, as data. Nothing here does it.
//!
//! An [`Action`] leaves the engine in a [`Permit`](crate::decide::Permit), is made once by whoever holds that, and comes
//! back as an [`Outcome`]. Whether it helped is for [`crate::verify`] to see.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::observe::{GuestId, MacAddress, NodeName, ServiceId, Subject};

/// One thing that can be done to a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Start a guest where it is.
    StartGuest {
        /// Which one.
        guest: GuestId,
        /// Where its configuration lies.
        node: NodeName,
    },
    /// Let a virtual machine go on that stands still.
    ResumeGuest {
        /// Which one.
        guest: GuestId,
        /// Where it stands.
        node: NodeName,
    },
    /// Have another node send the packet that wakes this one; where no node can be asked to, send it.
    WakeNode {
        /// Which one.
        node: NodeName,
        /// Where to, as it was seen while the node could be asked; `None`: only PVE knows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mac: Option<MacAddress>,
    },
    /// Restart a service of a node.
    RestartService {
        /// Which one, and where.
        service: ServiceId,
    },
}

impl Action {
    /// The node that is worked on.
    pub fn node(&self) -> &NodeName {
        match self {
            Action::StartGuest { node, .. }
            | Action::ResumeGuest { node, .. }
            | Action::WakeNode { node, .. }
            | Action::RestartService { service: ServiceId { node, .. } } => node,
        }
    }

    /// What it is done to.
    pub fn subject(&self) -> Subject {
        match self {
            Action::StartGuest { guest, .. } | Action::ResumeGuest { guest, .. } => Subject::Guest(*guest),
            Action::WakeNode { node, .. } => Subject::Node(node.clone()),
            Action::RestartService { service } => Subject::Service(service.clone()),
        }
    }

    /// As stored in `autonomy_actions`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Action::StartGuest { .. } => "start",
            Action::ResumeGuest { .. } => "resume",
            Action::WakeNode { .. } => "wake",
            Action::RestartService { .. } => "restartService",
        }
    }
}

impl fmt::Display for Action {
    /// As an order: `start it on pve1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::StartGuest { node, .. } => write!(f, "start it on {node}"),
            Action::ResumeGuest { node, .. } => write!(f, "resume it on {node}"),
            Action::WakeNode { .. } => f.write_str("wake it"),
            Action::RestartService { service } => write!(f, "restart it on {}", service.node),
        }
    }
}

/// One use of a permit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number among those of its key that count, from 1.
    pub number: u32,
    /// What is done.
    pub action: Action,
    /// The runbook that wants it.
    pub runbook: Box<str>,
    /// When it was decided.
    pub at: Timestamp,
    /// What Jarvis was allowed to then, 0 to 4.
    pub level: u8,
}

/// How the one call of an attempt ended. That a task ended well is no proof that it helped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// PVE did it, by this task where there was one.
    Done {
        /// The task.
        upid: Option<Box<str>>,
        /// How the task ended, or what PVE answered.
        said: Box<str>,
    },
    /// It was not done.
    Failed {
        /// The task that failed; `None`: PVE refused, or was not reached.
        upid: Option<Box<str>>,
        /// Why.
        why: Box<str>,
    },
    /// The task still runs, after the time for which one is followed.
    Runs {
        /// The task.
        upid: Box<str>,
    },
    /// Nobody knows: it was sent, and neither an answer nor a task is there.
    Unknown {
        /// What was lost.
        why: Box<str>,
    },
    /// No call was made, so it was no attempt.
    NotMade {
        /// Why.
        why: Box<str>,
    },
}

impl Outcome {
    /// The task, where there is one.
    pub fn upid(&self) -> Option<&str> {
        match self {
            Outcome::Done { upid, .. } | Outcome::Failed { upid, .. } => upid.as_deref(),
            Outcome::Runs { upid } => Some(upid),
            Outcome::Unknown { .. } | Outcome::NotMade { .. } => None,
        }
    }

    /// A word for the stored row.
    pub fn as_str(&self) -> &'static str {
        match self {
            Outcome::Done { .. } => "done",
            Outcome::Failed { .. } => "failed",
            Outcome::Runs { .. } => "runs",
            Outcome::Unknown { .. } => "unknown",
            Outcome::NotMade { .. } => "notMade",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Done { upid: Some(_), said } => write!(f, "its task ended: {said}"),
            Outcome::Done { upid: None, said } => f.write_str(said),
            Outcome::Failed { upid: Some(_), why } => write!(f, "its task failed: {why}"),
            Outcome::Failed { upid: None, why } => write!(f, "refused: {why}"),
            Outcome::Runs { .. } => f.write_str("its task is still running"),
            Outcome::Unknown { why } => write!(f, "nobody knows whether it was done: {why}"),
            Outcome::NotMade { why } => write!(f, "not done: {why}"),
        }
    }
}
