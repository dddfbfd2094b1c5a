//! Report: what people and programs are told of an entry. Titles and kinds are fixed by the original's page.
//!
//! Not every entry is an event: what is told is decided here, what is written down is not.

mod urgency;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use urgency::Urgency;

use crate::act::Outcome;
use crate::decide::Hold;
use crate::detect::{Condition, Finding};
use crate::incident::IncidentId;
use crate::observe::{ClusterName, GuestId, GuestStatus, NodeName, Subject};
use crate::policy::Metric;
use crate::record::{Entry, Fact, LeftBy, Note, Step, Summary, Why};

/// One message for the page, the programs and the `events` table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When the engine knew it.
    pub at: Timestamp,
    /// What kind of message it is.
    pub kind: EventKind,
    /// How bad.
    pub severity: Severity,
    /// Never empty.
    pub title: String,
    /// One sentence.
    pub message: String,
    /// The node it is about or happened on.
    pub node: Option<NodeName>,
    /// What it is about.
    pub subject: Subject,
    /// The condition, where it is about one.
    pub condition: Option<Condition>,
    /// The incident, where it belongs to one.
    pub incident: Option<IncidentId>,
    /// True when it ends its incident: earlier events of it are then resolved.
    pub resolves: bool,
    /// Other incidents that end with it, and groups of which no member is open any more; their earlier events are then
    /// resolved too.
    pub also_ends: Vec<IncidentId>,
    /// Whether people are told besides those who look: by mail and webhook.
    #[serde(default)]
    pub urgency: Urgency,
    /// The facts, for programs.
    pub details: Details,
}

/// The kinds of message that the original's page knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// Something a person should know.
    Alert,
    /// Something that Jarvis does.
    Action,
    /// How things are.
    Status,
    /// A number.
    Metric,
}

impl EventKind {
    /// As stored and sent.
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Alert => "alert",
            EventKind::Action => "action",
            EventKind::Status => "status",
            EventKind::Metric => "metric",
        }
    }
}

/// How bad, in the original's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// News.
    Info,
    /// To be looked at.
    Warning,
    /// Broken.
    Error,
    /// Broken badly.
    Critical,
}

impl Severity {
    /// As stored and sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
            Severity::Critical => "critical",
        }
    }
}

/// The facts of an event: of a state change target and states, of a threshold metric, value and mark.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// The subject's name, or its id where it has none.
    pub target: String,
    /// What it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_state: Option<String>,
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_state: Option<String>,
    /// Why it is so, where its condition alone would say something else: `node restart` of a guest that did not come back with its node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Which number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// In percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// In percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// Who did it, where a task says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// PVE's id of that task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upid: Option<String>,
    /// The guests that are part of it: those of a lost node, or of a group told as one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub guests: Vec<String>,
}

/// What is told of an entry of a cluster.
pub fn event(cluster: &ClusterName, entry: &Entry) -> Event {
    let mut event = Event {
        at: entry.at,
        kind: EventKind::Alert,
        severity: Severity::Info,
        title: String::new(),
        message: String::new(),
        node: entry.node.clone(),
        subject: entry.subject.clone(),
        condition: None,
        incident: None,
        resolves: false,
        also_ends: Vec::new(),
        urgency: Urgency::Feed,
        details: Details { target: target(entry), ..Details::default() },
    };
    match &entry.fact {
        Fact::Opened { incident, finding, .. } => {
            event.incident = Some(*incident);
            raised(&mut event, cluster, entry, finding, None);
        }
        Fact::Turned { incident, from, finding } => {
            event.incident = Some(*incident);
            raised(&mut event, cluster, entry, finding, Some(*from));
        }
        Fact::Resolved { incident, finding, lasted, by } => {
            let condition = finding.condition();
            event.incident = Some(*incident);
            event.condition = Some(condition);
            event.resolves = true;
            event.title = format!("Resolved: {} on {}", condition.as_str(), place_in(cluster, entry));
            event.message = format!(
                "{}: {} after {}",
                person(cluster, entry),
                by.words(finding),
                crate::record::duration(*lasted)
            );
            event.details.current_state = Some("resolved".into());
        }
        Fact::Noted(note) => noted(&mut event, cluster, entry, note),
        Fact::Heartbeat(summary) => heartbeat(&mut event, cluster, summary),
        Fact::Remedy { incident, condition, step } => {
            event.incident = Some(*incident);
            event.condition = Some(*condition);
            remedy(&mut event, cluster, entry, *condition, step);
        }
        Fact::Storm { incidents } => {
            event.title =
                if *incidents == 0 { "Storm of incidents over" } else { "Storm of incidents" }.into();
            event.severity = if *incidents == 0 { Severity::Info } else { Severity::Critical };
            event.message = format!("cluster {cluster}: {}", crate::record::storm_words(*incidents));
        }
    }
    event.urgency = urgency::of(&entry.fact, event.severity);
    event
}

/// Whether people are told of an entry at all. The rest is in the journal.
pub fn is_told(fact: &Fact) -> bool {
    match fact {
        Fact::Opened { .. }
        | Fact::Turned { .. }
        | Fact::Resolved { .. }
        | Fact::Noted(_)
        | Fact::Heartbeat(_)
        | Fact::Storm { .. } => true,
        Fact::Remedy { step, .. } => match step {
            // What only takes its time, and what nobody allowed, is no news; a storm is told once for all. Where it stands
            // again nothing is blocked, whatever else would object.
            Step::Held { holds, .. } => {
                holds.iter().any(|hold| !hold.is_wait())
                    && !holds
                        .iter()
                        .any(|hold| matches!(hold, Hold::Level { .. } | Hold::Storm | Hold::NotStopped(_)))
            }
            Step::Acted { outcome: Outcome::NotMade { .. }, .. } => true,
            // How the call ended is told with what came of it.
            Step::Acted { .. } | Step::Verified { helped: true, .. } => false,
            Step::Recommended { .. }
            | Step::Intended { .. }
            | Step::Verified { helped: false, .. }
            | Step::Escalated { .. }
            | Step::Lapsed { .. }
            | Step::Ordered { .. } => true,
        },
    }
}

fn remedy(event: &mut Event, cluster: &ClusterName, entry: &Entry, condition: Condition, step: &Step) {
    event.kind = EventKind::Action;
    event.message = format!("{}: {}", person(cluster, entry), step.words(entry.at));
    let condition = condition.as_str();
    match step {
        Step::Held { .. } => event.title = format!("Remediation blocked: {condition}"),
        Step::Recommended { runbook, .. } => event.title = format!("Remediation recommended: {runbook}"),
        Step::Intended { attempt, .. } => event.title = format!("Remediation starting: {}", attempt.runbook),
        Step::Acted { outcome: Outcome::NotMade { .. }, .. } => {
            event.title = format!("Remediation blocked: {condition}");
        }
        Step::Acted { .. } => event.title = format!("Remediation done: {condition}"),
        Step::Verified { helped: true, .. } => event.title = format!("Remediation verified: {condition}"),
        Step::Verified { helped: false, .. } => {
            event.severity = Severity::Warning;
            event.title = format!("Remediation failed: {condition} on {}", place_in(cluster, entry));
        }
        Step::Escalated { .. } => {
            event.kind = EventKind::Alert;
            event.severity = Severity::Critical;
            event.title = format!("Remediation escalated: {condition} on {}", place_in(cluster, entry));
        }
        Step::Lapsed { .. } => event.title = format!("Approval lapsed: {condition}"),
        Step::Ordered { order, .. } => event.title = format!("Incident {}: {condition}", order.words()),
    }
    event.details.user = match step {
        Step::Ordered { by, .. } | Step::Lapsed { by, .. } | Step::Intended { approved: Some(by), .. } => {
            Some(by.to_string())
        }
        Step::Held { .. }
        | Step::Recommended { .. }
        | Step::Intended { .. }
        | Step::Acted { .. }
        | Step::Verified { .. }
        | Step::Escalated { .. } => None,
    };
    event.details.upid = match step {
        Step::Acted { outcome, .. } => outcome.upid().map(str::to_owned),
        Step::Verified { upid, .. } => upid.as_deref().map(str::to_owned),
        Step::Held { .. }
        | Step::Recommended { .. }
        | Step::Intended { .. }
        | Step::Escalated { .. }
        | Step::Lapsed { .. }
        | Step::Ordered { .. } => None,
    };
}

fn raised(
    event: &mut Event,
    cluster: &ClusterName,
    entry: &Entry,
    finding: &Finding,
    from: Option<Condition>,
) {
    let condition = finding.condition();
    event.condition = Some(condition);
    event.severity = condition.severity();
    event.title = match finding {
        Finding::NodeUnreachable { .. } => format!("Node {} offline", place(entry)),
        Finding::GuestCrashed { .. } => format!("{} crashed", guest(entry)),
        Finding::GuestNotStarted { .. } => format!("{} not started again", guest(entry)),
        Finding::OverMark { metric: Metric::Temperature, .. } => {
            format!("Temperature high on {}", place(entry))
        }
        Finding::OverMark { metric, .. } => {
            format!("{} usage {} on {}", metric.title(), condition.severity().as_str(), place(entry))
        }
        Finding::StatsStale => format!("Statistics of {} stand still", place(entry)),
        Finding::NodeApi { .. } => format!("API of {} down", place(entry)),
        Finding::GuestFault { fault } => format!("{} in fault {}", guest(entry), fault.as_str()),
        Finding::HaFailed { .. } => format!("HA does not restart {}", guest(entry)),
        Finding::ServiceDown { .. } => match &entry.subject {
            Subject::Service(id) => format!("Service {} down on {}", id.name, id.node),
            Subject::Cluster | Subject::Node(_) | Subject::Guest(_) | Subject::Storage(_) => {
                format!("Service down on {}", place(entry))
            }
        },
        Finding::StorageOffline { .. } => format!("Storage {} offline", place(entry)),
        Finding::QuorumLost { .. } => format!("Cluster {cluster} without quorum"),
        Finding::Blind { .. } => format!("Jarvis cannot see cluster {cluster}"),
    };
    event.message = match from {
        Some(from) if from != condition => {
            format!("{}: {}, was {}", person(cluster, entry), finding.words(), from.as_str())
        }
        Some(_) | None => format!("{}: {}", person(cluster, entry), finding.words()),
    };
    match finding {
        Finding::NodeUnreachable { guests, .. } => {
            states(&mut event.details, "online", "offline");
            event.details.guests = guests.iter().map(ToString::to_string).collect();
        }
        Finding::StatsStale => states(&mut event.details, "moving", "still"),
        Finding::NodeApi { .. } => states(&mut event.details, "answering", "down"),
        Finding::GuestFault { fault } => states(&mut event.details, "running", fault.as_str()),
        Finding::HaFailed { state, .. } => states(&mut event.details, "started", state),
        Finding::ServiceDown { active } => states(&mut event.details, "active", active),
        Finding::GuestCrashed { previous, .. } => states(&mut event.details, previous.as_str(), "stopped"),
        Finding::GuestNotStarted { previous, .. } => {
            states(&mut event.details, previous.as_str(), "stopped");
            event.details.cause = Some("node restart".into());
        }
        Finding::StorageOffline { .. } => states(&mut event.details, "available", "unknown"),
        Finding::QuorumLost { .. } => states(&mut event.details, "quorate", "not quorate"),
        Finding::Blind { cause, .. } => states(&mut event.details, "seen", cause.words()),
        Finding::OverMark { metric, percent, mark, .. } => {
            event.details.metric = Some(metric.as_str().into());
            event.details.value = Some((percent * 10.0).round() / 10.0);
            event.details.threshold = Some(*mark);
        }
    }
}

fn states(details: &mut Details, previous: &str, current: &str) {
    details.previous_state = Some(previous.into());
    details.current_state = Some(current.into());
}

fn noted(event: &mut Event, cluster: &ClusterName, entry: &Entry, note: &Note) {
    event.kind = EventKind::Status;
    event.message = format!("{}: {}", person(cluster, entry), note.words());
    let by = match note {
        Note::GuestChanged { from, to, why } => {
            event.title = match why {
                Why::Task(by) if by.reboots() && to.has_process() == Some(false) => {
                    format!("{} is being rebooted", guest(entry))
                }
                Why::Task(_)
                | Why::StartedBy(_)
                | Why::HighAvailability { .. }
                | Why::Locked(_)
                | Why::NodeRestarted
                | Why::NoTask
                | Why::NotAsked(_) => format!("{} {}", guest(entry), changed(from, to)),
            };
            // Nobody asked for it in either case, and it will not come back by itself.
            if matches!(why, Why::NotAsked(_) | Why::NodeRestarted) && to.has_process() == Some(false) {
                event.severity = Severity::Warning;
            }
            states(&mut event.details, from.as_str(), to.as_str());
            match why {
                Why::Task(by) | Why::StartedBy(by) => Some(by),
                Why::HighAvailability { .. }
                | Why::Locked(_)
                | Why::NodeRestarted
                | Why::NoTask
                | Why::NotAsked(_) => None,
            }
        }
        Note::GuestMoved { from, to, by } => {
            event.title = format!("{} moved to {to}", guest(entry));
            states(&mut event.details, from.as_str(), to.as_str());
            by.as_ref()
        }
        Note::GuestAppeared { by } => {
            event.title = format!("{} created", guest(entry));
            by.as_ref()
        }
        Note::GuestGone { by } => {
            event.title = format!("{} removed", guest(entry));
            by.as_ref()
        }
        Note::GuestRestarted { why } => {
            event.title = format!("{} restarted", guest(entry));
            states(&mut event.details, "running", "running");
            match why {
                Why::Task(by) => Some(by),
                Why::StartedBy(by) => {
                    event.severity = Severity::Warning;
                    Some(by)
                }
                // Nobody asked for it: a guest that restarts by itself may do so again.
                Why::NoTask | Why::NotAsked(_) => {
                    event.severity = Severity::Warning;
                    None
                }
                Why::HighAvailability { .. } | Why::Locked(_) | Why::NodeRestarted => None,
            }
        }
        Note::NodeLeft { by } => {
            event.title = format!("Node {} left on purpose", place(entry));
            states(&mut event.details, "online", "offline");
            match by {
                LeftBy::Task(by) => Some(by),
                LeftBy::HighAvailability(_) => None,
            }
        }
        Note::NodeBack => {
            event.title = format!("Node {} is back", place(entry));
            states(&mut event.details, "offline", "online");
            None
        }
        Note::NodeRestarted => {
            event.title = format!("Node {} was restarted", place(entry));
            event.severity = Severity::Warning;
            None
        }
        Note::NodeAppeared => {
            event.title = format!("Node {} joined", place(entry));
            None
        }
        Note::NodeGone => {
            event.title = format!("Node {} removed", place(entry));
            None
        }
    };
    event.details.user = by.map(|by| by.user.to_string());
    event.details.upid = by.map(|by| by.upid.to_string());
}

fn changed(from: &GuestStatus, to: &GuestStatus) -> String {
    match (from, to) {
        (_, GuestStatus::Stopped) => "stopped".into(),
        (_, GuestStatus::Paused) => "paused".into(),
        (GuestStatus::Paused, GuestStatus::Running) => "resumed".into(),
        (_, GuestStatus::Running) => "running".into(),
        (_, GuestStatus::Unknown) => "not seen".into(),
        (_, GuestStatus::Other(word)) => format!("in state {word}"),
    }
}

fn heartbeat(event: &mut Event, cluster: &ClusterName, summary: &Summary) {
    event.kind = EventKind::Status;
    let nominal = summary.nominal();
    event.title = if nominal { "Systems Nominal" } else { "Cluster Degraded" }.into();
    event.severity = if nominal { Severity::Info } else { Severity::Warning };
    event.message = format!("cluster {cluster}: {}", summary.words());
}

/// The subject's name, or its id.
fn target(entry: &Entry) -> String {
    entry.name.as_deref().map_or_else(|| entry.subject.key(), str::to_owned)
}

/// The subject for the start of a sentence.
fn person(cluster: &ClusterName, entry: &Entry) -> String {
    match (&entry.subject, &entry.node) {
        (Subject::Guest(_), Some(node)) => format!("{} on {node}", guest(entry)),
        (Subject::Guest(_), None) => guest(entry),
        (Subject::Node(name), _) => format!("node {name}"),
        (Subject::Storage(_), _) => format!("storage {}", entry.subject.key()),
        (Subject::Service(id), _) => format!("service {} on {}", id.name, id.node),
        (Subject::Cluster, _) => format!("cluster {cluster}"),
    }
}

/// `VM NAME (ID)` or `Container NAME (ID)`.
fn guest(entry: &Entry) -> String {
    match entry.subject {
        Subject::Guest(GuestId { kind, vmid }) => match &entry.name {
            Some(name) => format!("{} {name} ({vmid})", kind.title()),
            None => format!("{} {vmid}", kind.title()),
        },
        Subject::Cluster | Subject::Node(_) | Subject::Storage(_) | Subject::Service(_) => {
            entry.subject.to_string()
        }
    }
}

/// As [`place`], with the cluster by its name.
fn place_in(cluster: &ClusterName, entry: &Entry) -> String {
    if entry.subject == Subject::Cluster { cluster.to_string() } else { place(entry) }
}

/// Where it is, for the end of a title: the node of a guest, otherwise the subject itself.
fn place(entry: &Entry) -> String {
    match (&entry.subject, &entry.node) {
        (Subject::Guest(_), Some(node)) => node.to_string(),
        (
            Subject::Cluster
            | Subject::Node(_)
            | Subject::Guest(_)
            | Subject::Storage(_)
            | Subject::Service(_),
            _,
        ) => entry.subject.key(),
    }
}
