//! Deed: one act on its way, with who wants it; its rows in the journal and what people are told of it.
//!
//! Three rows: `toolAsked` before the call, `toolBegun` with PVE's task as soon as there is one, `toolEnded` with the
//! outcome. The first two are all that another process needs to find out what became of it ([`super::left`]).
//! It decides nothing, and it acts once.

use std::sync::Arc;

use engine::observe::{GuestId, NodeName};
use engine::report::{EventKind, Severity};
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use super::STOPPING_MAX;
use crate::act::{Act, Begun, Hands, Outcome, Verb};
use crate::record::{NewEntry, NewEvent, Operator, Source, Store};
use crate::report::live::Live;
use crate::supervise::Stop;

/// What the journal calls the rows of an act.
pub(super) const ASKED: &str = "toolAsked";
pub(super) const BEGUN: &str = "toolBegun";
pub(super) const ENDED: &str = "toolEnded";

/// An act on its way, with who wants it.
pub(super) struct Deed {
    pub(super) id: Uuid,
    pub(super) tool: String,
    pub(super) cluster: String,
    pub(super) node: String,
    /// `None`: the row does not say it as we do.
    pub(super) act: Option<Act>,
    /// `VM web01 (101)`.
    pub(super) label: String,
    pub(super) by: Operator,
    pub(super) store: Store,
    /// By whose clock it is written down.
    pub(super) live: Arc<Live>,
}

impl Deed {
    /// Writes the intent down. False: it could not be, and nothing may be done.
    pub(super) async fn asked(&self) -> bool {
        let act = self.act.as_ref().map(written);
        self.record(ASKED, json!({ "act": act }), Vec::new(), "an act was not begun").await
    }

    /// Does it and records how it ended. `begun` is told the task as soon as there is one.
    pub(super) async fn done(
        &self,
        hands: &Hands,
        begun: &watch::Sender<Option<String>>,
        mut stop: Stop,
    ) -> Outcome {
        let stopped = async {
            stop.asked().await;
            tokio::time::sleep(STOPPING_MAX).await;
        };
        let outcome = tokio::select! {
            outcome = self.act(hands, begun) => outcome,
            // What was sent goes on without us; the journal says that nobody saw its end.
            () = stopped => match begun.borrow().clone() {
                Some(upid) => Outcome::Runs { upid },
                None => Outcome::Unknown { why: "Jarvis was stopped before PVE answered".into() },
            },
        };
        self.ended(&outcome).await;
        outcome
    }

    async fn act(&self, hands: &Hands, begun: &watch::Sender<Option<String>>) -> Outcome {
        let Some(act) = &self.act else {
            return Outcome::Failed { upid: None, why: "not tried: nothing says what it is".into() };
        };
        match hands.begin(act).await {
            Begun::Task(upid) => {
                begun.send_replace(Some(upid.to_string()));
                let why = "an act goes on, and its task is not recorded";
                self.record(BEGUN, json!({ "upid": upid.to_string() }), Vec::new(), why).await;
                hands.follow(&upid).await
            }
            Begun::Over(outcome) => outcome,
        }
    }

    /// Records how it ended, and tells it.
    pub(super) async fn ended(&self, outcome: &Outcome) {
        let more = json!({ "outcome": outcome.word(), "upid": outcome.upid(), "words": outcome.to_string() });
        self.record(ENDED, more, vec![self.event(outcome)], "how an act ended was not recorded").await;
    }

    /// False, and said in the log: the store did not take it.
    async fn record(&self, did: &str, more: Value, events: Vec<NewEvent>, or_else: &str) -> bool {
        let mut what = json!({
            "id": self.id.to_string(), "tool": self.tool, "cluster": self.cluster, "node": self.node,
            "subject": self.label,
        });
        if let (Value::Object(what), Value::Object(more)) = (&mut what, more) {
            what.extend(more);
        }
        let entry = NewEntry::by_operator(self.live.now(), &self.by, did, &what);
        match self.store.save_turn(vec![entry], events, None).await {
            Ok(_) => true,
            Err(error) => {
                tracing::error!(subject = self.label, "{or_else}: {:#}", anyhow::Error::from(error));
                false
            }
        }
    }

    fn event(&self, outcome: &Outcome) -> NewEvent {
        let Operator { name, via } = &self.by;
        let (doing, done) = match &self.act {
            Some(Act::Guest { verb: Verb::Start, .. }) => ("Start", "started"),
            Some(Act::Guest { verb: Verb::Stop, .. }) => ("Stop", "stopped"),
            Some(Act::Guest { verb: Verb::Shutdown, .. }) => ("Shutdown", "shut down"),
            Some(Act::Guest { verb: Verb::Reboot, .. }) => ("Restart", "restarted"),
            Some(Act::Guest { verb: Verb::Resume, .. }) => ("Resume", "resumed"),
            Some(Act::Wake { .. }) => ("Waking", "sent a wake-up packet"),
            Some(Act::RestartService { .. }) => ("Restart", "restarted"),
            None => (self.tool.as_str(), "worked on"),
        };
        let label = &self.label;
        let (severity, title) = match outcome {
            Outcome::Done { .. } => (Severity::Info, format!("{label} {done} by {name}")),
            Outcome::Handed { .. } => (Severity::Info, format!("{doing} of {label} handed to HA by {name}")),
            Outcome::Runs { .. } => (Severity::Warning, format!("{doing} of {label} still running")),
            Outcome::Unknown { .. } => {
                (Severity::Error, format!("{doing} of {label} has an unknown outcome"))
            }
            Outcome::Failed { .. } => (Severity::Error, format!("{doing} of {label} failed")),
        };
        let message = format!("{name} ({via}): {outcome}");
        let event =
            NewEvent::plain(self.live.now(), EventKind::Action, severity, Source::User, &title, &message);
        let subject = match &self.act {
            Some(Act::Guest { guest, .. }) => Some(guest.to_string()),
            Some(Act::Wake { node, .. } | Act::RestartService { node, .. }) => Some(format!("node/{node}")),
            None => None,
        };
        NewEvent {
            node: Some(self.node.clone()),
            cluster: Some(self.cluster.clone()),
            subject,
            // It is over with itself: nothing would ever end it.
            resolves: true,
            ..event
        }
    }
}

/// An act as the journal has it, for whoever has to look for it later; where it is done is beside it.
fn written(act: &Act) -> Value {
    match act {
        Act::Guest { guest, verb, .. } => json!({ "guest": guest.to_string(), "verb": verb_word(*verb) }),
        Act::Wake { .. } => json!({ "wake": true }),
        Act::RestartService { service, .. } => json!({ "service": &**service }),
    }
}

/// The same, read back.
pub(super) fn read(node: &str, act: &Value) -> Option<Act> {
    let node: NodeName = node.parse().ok()?;
    if let Some(guest) = act["guest"].as_str() {
        let guest: GuestId = guest.parse().ok()?;
        let word = act["verb"].as_str()?;
        let verb = VERBS.into_iter().find(|verb| verb_word(*verb) == word)?;
        return Some(Act::Guest { node, guest, verb });
    }
    if let Some(service) = act["service"].as_str() {
        return Some(Act::RestartService { node, service: service.into() });
    }
    (act["wake"] == true).then_some(Act::Wake { node, mac: None })
}

const VERBS: [Verb; 5] = [Verb::Start, Verb::Stop, Verb::Shutdown, Verb::Reboot, Verb::Resume];

fn verb_word(verb: Verb) -> &'static str {
    match verb {
        Verb::Start => "start",
        Verb::Stop => "stop",
        Verb::Shutdown => "shutdown",
        Verb::Reboot => "reboot",
        Verb::Resume => "resume",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_of_an_act_is_read_back() {
        let node: NodeName = "pve1".parse().unwrap();
        let guest: GuestId = "lxc/200".parse().unwrap();
        let guests = VERBS.map(|verb| Act::Guest { node: node.clone(), guest, verb });
        let service = Act::RestartService { node: node.clone(), service: "pvestatd".into() };
        for act in guests.into_iter().chain([service, Act::Wake { node, mac: None }]) {
            assert_eq!(read("pve1", &written(&act)).as_ref(), Some(&act), "{act:?}");
        }
        #[rustfmt::skip]
        let table = [
            ("nothing",            "pve1", json!(null)),
            ("a wish of tomorrow", "pve1", json!({ "guest": "qemu/101", "verb": "fly" })),
            ("no guest",           "pve1", json!({ "guest": "101", "verb": "start" })),
            ("no waking",          "pve1", json!({ "wake": false })),
            ("no node",            "a/b",  json!({ "wake": true })),
        ];
        for (name, node, act) in table {
            assert_eq!(read(node, &act), None, "{name}");
        }
    }
}
