//! What is handed to the store, and how it is made fit: bounded, and with a summary that the page can split.

use engine::observe::ClusterName;
use engine::record::{Entry, Fact, Step};
use engine::report::{Event, EventKind, Severity, Urgency};
use jiff::Timestamp;
use uuid::Uuid;

use super::incidents::{self, Told};
use super::journal::Kind;
use super::remedy;
use super::row::{ActionResult, Source};
use crate::words::plain;

/// Longest words of one column, in bytes. A name or key of PVE has at most some hundred.
const WORD_MAX: usize = 200;
/// Longest title, in bytes: one line of the page.
const TITLE_MAX: usize = 300;
/// Longest message, in bytes: an error's own words are part of it and may be a page of HTML.
const MESSAGE_MAX: usize = 2_000;
/// Longest summary, in bytes: prefix, title and message.
const SUMMARY_MAX: usize = TITLE_MAX + MESSAGE_MAX + 20;
/// Most details of one event, in bytes of JSON. The engine's own are below 1 KiB.
const DETAILS_MAX: usize = 64 * 1024;

/// Most JSON of one entry of the journal, in bytes. The engine's own are below 2 KiB; an error's words are part of some.
const ENTRY_MAX: usize = 256 * 1024;

/// An entry on its way into the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEntry {
    /// When it happened; the journal's column keeps it to the millisecond.
    pub at: Timestamp,
    /// Whose it is; `None`: the store's own.
    pub cluster: Option<String>,
    /// What kind of row it becomes.
    pub kind: Kind,
    /// JSON text.
    pub entry: String,
    /// What it says of an incident, where it is about one: the row of `incidents` goes with it. Boxed: most say nothing.
    pub told: Option<Box<Told>>,
    /// The incident whose story it is part of, where it says nothing of how the incident itself is.
    pub about: Option<Box<str>>,
    /// The row of `autonomy_actions` that goes with it, where it is an outcome.
    pub action: Option<Box<NewAction>>,
}

impl NewEntry {
    /// What the engine of a cluster wrote down. `first`: it is the configuration's first.
    pub fn from_engine(cluster: &ClusterName, first: bool, entry: &Entry) -> NewEntry {
        let kind = match &entry.fact {
            Fact::Opened { .. } => Kind::Opened,
            Fact::Turned { .. } => Kind::Turned,
            Fact::Resolved { .. } => Kind::Resolved,
            Fact::Noted(_) => Kind::Noted,
            Fact::Heartbeat(_) => Kind::Heartbeat,
            Fact::Storm { .. } => Kind::Storm,
            Fact::Remedy { step, .. } => match step {
                Step::Held { .. } => Kind::Held,
                Step::Recommended { .. } => Kind::Advised,
                Step::Intended { .. } => Kind::Intended,
                Step::Acted { .. } => Kind::Acted,
                Step::Verified { .. } => Kind::Verified,
                Step::Escalated { .. } => Kind::Escalated,
                Step::Lapsed { .. } => Kind::Lapsed,
                Step::Ordered { .. } => Kind::Ordered,
            },
        };
        // Plain data with strings as its keys: there is nothing in it that JSON could not say.
        let json = serde_json::to_string(entry).unwrap_or_else(|error| {
            serde_json::json!({ "unwritten": error.to_string(), "words": entry.to_string() }).to_string()
        });
        NewEntry {
            at: entry.at,
            cluster: Some(cluster.to_string()),
            kind,
            entry: fit_json(json, ENTRY_MAX),
            told: incidents::told(cluster, entry).map(Box::new),
            about: match &entry.fact {
                Fact::Remedy { incident, .. } => Some(incident.to_string().into()),
                Fact::Opened { .. }
                | Fact::Turned { .. }
                | Fact::Resolved { .. }
                | Fact::Noted(_)
                | Fact::Heartbeat(_)
                | Fact::Storm { .. } => None,
            },
            action: remedy::action(cluster, first, entry).map(|action| Box::new(action.fitted())),
        }
    }
}

/// Who changed something, and how they had shown who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// The user's name.
    pub name: String,
    /// `login`, `token NAME` or `command line`.
    pub via: String,
}

impl NewEntry {
    /// What somebody changed: `did` in a word (`killSwitch`, `userAdded`), and its particulars.
    pub fn by_operator(at: Timestamp, by: &Operator, did: &str, what: &serde_json::Value) -> NewEntry {
        let entry = serde_json::json!({ "by": by.name, "via": by.via, "did": did, "what": what });
        let entry = fit_json(entry.to_string(), ENTRY_MAX);
        NewEntry { at, cluster: None, kind: Kind::Operator, entry, told: None, about: None, action: None }
    }
}

/// An event on its way into the store.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// Its identity on the wire.
    pub uuid: Uuid,
    /// When it happened; kept to the millisecond.
    pub at: Timestamp,
    /// What kind of message it is.
    pub kind: EventKind,
    /// How bad.
    pub severity: Severity,
    /// Who it comes from.
    pub source: Source,
    /// The node it is about or happened on.
    pub node: Option<String>,
    /// An empty one is replaced by the kind: the page dies without a title.
    pub title: String,
    /// One sentence.
    pub message: String,
    /// As somebody else wrote it; `None`: made of source, title and message.
    pub summary: Option<String>,
    /// The facts: JSON text.
    pub details: Option<String>,
    /// The cluster it is about.
    pub cluster: Option<String>,
    /// The condition, where it is about one.
    pub condition: Option<String>,
    /// What it is about.
    pub subject: Option<String>,
    /// The incident, where it belongs to one.
    pub incident_id: Option<String>,
    /// True when it ends its incident: it is stored as resolved, and so are the incident's earlier events.
    pub resolves: bool,
    /// Other incidents, and groups of incidents, that end with it.
    pub also_ends: Vec<String>,
    /// By what else operators may mean its subject. Not stored.
    pub of: Option<Box<Marks>>,
    /// Whether people are told besides those who look, and how soon.
    pub urgency: Urgency,
    /// The channel that it is about, and so cannot be told over.
    pub not_over: Option<String>,
}

/// What a guest is called, and how it is marked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Its name.
    pub name: Option<Box<str>>,
    /// Its tags.
    pub tags: Box<[Box<str>]>,
    /// Its pool.
    pub pool: Option<Box<str>>,
}

impl NewEvent {
    /// What the engine told of a cluster. The identity is made here, once.
    pub fn from_engine(cluster: &ClusterName, event: &Event) -> NewEvent {
        NewEvent {
            uuid: Uuid::new_v4(),
            at: event.at,
            kind: event.kind,
            severity: event.severity,
            source: Source::Monitor,
            node: event.node.as_ref().map(ToString::to_string),
            title: event.title.clone(),
            message: event.message.clone(),
            summary: None,
            // Plain data without maps: there is nothing in it that JSON could not say.
            details: serde_json::to_string(&event.details).ok(),
            cluster: Some(cluster.to_string()),
            condition: event.condition.map(|condition| condition.as_str().to_owned()),
            subject: Some(event.subject.to_string()),
            incident_id: event.incident.map(|id| id.to_string()),
            resolves: event.resolves,
            also_ends: event.also_ends.iter().map(ToString::to_string).collect(),
            of: None,
            urgency: event.urgency,
            not_over: None,
        }
    }

    /// What a person, a program or the daemon itself has to say about nothing in particular.
    pub fn plain(
        at: Timestamp,
        kind: EventKind,
        severity: Severity,
        source: Source,
        title: &str,
        message: &str,
    ) -> NewEvent {
        NewEvent {
            uuid: Uuid::new_v4(),
            at,
            kind,
            severity,
            source,
            node: None,
            title: title.to_owned(),
            message: message.to_owned(),
            summary: None,
            details: None,
            cluster: None,
            condition: None,
            subject: None,
            incident_id: None,
            resolves: false,
            also_ends: Vec::new(),
            of: None,
            urgency: Urgency::Report(severity),
            not_over: None,
        }
    }

    /// With every text within its limit, and a title and a summary in any case.
    pub(super) fn fitted(mut self) -> NewEvent {
        if self.title.trim().is_empty() {
            self.title = self.kind.as_str().to_owned();
        }
        self.title = plain(&self.title).into_owned();
        self.message = plain(&self.message).into_owned();
        cut(&mut self.title, TITLE_MAX);
        cut(&mut self.message, MESSAGE_MAX);
        let summary = self.summary.take().filter(|summary| !summary.trim().is_empty());
        let mut summary = summary.unwrap_or_else(|| summary_of(self.source, &self.title, &self.message));
        cut(&mut summary, SUMMARY_MAX);
        self.summary = Some(summary);
        self.details = self.details.take().map(|details| fit_json(details, DETAILS_MAX));
        let words = [
            &mut self.node,
            &mut self.cluster,
            &mut self.condition,
            &mut self.subject,
            &mut self.incident_id,
        ];
        words.into_iter().flatten().for_each(|word| cut(word, WORD_MAX));
        self
    }
}

/// `[Monitor] TITLE: MESSAGE`, of two plain texts. The page splits it at the first colon, so the title has none; an empty
/// message would leave its pattern nothing to match.
fn summary_of(source: Source, title: &str, message: &str) -> String {
    let title = title.trim().replace(':', "-");
    let message = match message.trim() {
        "" => &title,
        message => message,
    };
    format!("[{}] {title}: {message}", source.prefix())
}

/// JSON above the limit is replaced by an object that says so and shows its beginning: cut JSON is no JSON.
pub(super) fn fit_json(json: String, max: usize) -> String {
    if json.len() <= max {
        return json;
    }
    let bytes = json.len();
    let mut head = json;
    cut(&mut head, MESSAGE_MAX);
    serde_json::json!({ "truncated": true, "bytes": bytes, "head": head }).to_string()
}

/// Cuts to at most `max` bytes, with an ellipsis as the last sign where something is missing.
pub(super) fn cut(text: &mut String, max: usize) {
    const ELLIPSIS: char = '…';
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max - ELLIPSIS.len_utf8()));
        text.push(ELLIPSIS);
    }
}

/// An outcome of an attempt on its way into `autonomy_actions`.
#[derive(Clone, Debug, PartialEq)]
pub struct NewAction {
    /// When it was done; kept to the millisecond.
    pub at: Timestamp,
    /// `VM_CRASHED:101`; for clusters after the first `CLUSTER/VM_CRASHED:101`.
    pub incident_key: String,
    /// The incident's UUID.
    pub incident_id: String,
    /// Which runbook.
    pub runbook_id: String,
    /// The condition it answers.
    pub condition: String,
    /// What was done.
    pub action: String,
    /// To what: JSON text.
    pub action_args: Option<String>,
    /// How it ended.
    pub result: ActionResult,
    /// In words.
    pub result_details: Option<String>,
    /// What a look afterwards showed.
    pub verification_result: Option<String>,
    /// 0 to 4.
    pub autonomy_level: u8,
    /// Where.
    pub node: Option<String>,
    /// From 1.
    pub attempt_number: u32,
    /// Whether a person was called.
    pub escalated: bool,
    /// Whether a mail went out.
    pub email_sent: bool,
    /// The cluster.
    pub cluster: Option<String>,
}

impl NewAction {
    /// With every text within its limit.
    pub(super) fn fitted(mut self) -> NewAction {
        for word in [
            &mut self.incident_key,
            &mut self.incident_id,
            &mut self.runbook_id,
            &mut self.condition,
            &mut self.action,
        ] {
            cut(word, WORD_MAX);
        }
        for word in [&mut self.node, &mut self.cluster].into_iter().flatten() {
            cut(word, WORD_MAX);
        }
        for words in [&mut self.result_details, &mut self.verification_result].into_iter().flatten() {
            cut(words, MESSAGE_MAX);
        }
        self.action_args = self.action_args.take().map(|args| fit_json(args, DETAILS_MAX));
        self
    }
}

/// All that the engine needs to go on after a restart, for one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Whose.
    pub cluster: ClusterName,
    /// When it was made; kept to the millisecond.
    pub at: Timestamp,
    /// JSON text, whatever the loop made of it.
    pub state: String,
}

/// A checkpoint as it was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What was handed in.
    pub checkpoint: Checkpoint,
    /// The last row of the journal that it includes; the engine goes on from the rows after it.
    pub seq: i64,
}
