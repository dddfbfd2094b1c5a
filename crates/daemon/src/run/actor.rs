//! The actor: a permit of the engine becomes one call, and what came of it goes back to the engine.
//!
//! It chooses nothing. It asks one question, right before the call: whether the kill switch is on, in memory or in the
//! store. What cannot be read stops it, like a switch that is on; and so does whatever else operators have set, announced or
//! dismissed since it was decided, which is then decided anew.

use std::sync::Arc;

use engine::Input;
use engine::act::{Action, Outcome as Told};
use engine::decide::Permit;
use engine::observe::ClusterName;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use crate::act::{Act, Begun, Hands, Outcome, Verb};
use crate::clock::Clock;
use crate::kill_point;
use crate::record::{KILL_SWITCH, Store, kill_switch_in_force};
use crate::report::live::Live;

/// Redeems the permits of one cluster's engine.
#[derive(Clone)]
pub(super) struct Actor {
    pub(super) cluster: ClusterName,
    pub(super) hands: Hands,
    pub(super) store: Store,
    pub(super) live: Arc<Live>,
    pub(super) clock: Arc<Clock>,
    pub(super) inputs: mpsc::Sender<Input>,
}

impl Actor {
    /// Does it beside the loop. Must be called inside a tokio runtime.
    pub(super) fn begin(self: &Arc<Actor>, permit: Permit, settings: watch::Receiver<u64>) {
        let actor = Arc::clone(self);
        tokio::spawn(async move {
            let until = permit.until();
            let (incident, subject, attempt) = permit.redeem();
            let number = attempt.number;
            kill_point::at("act.redeemed");
            let allowed = async || {
                if let Some(why) = actor.refusal(&settings, until).await {
                    return Err(why);
                }
                let cluster = &actor.cluster;
                tracing::info!(%cluster, %subject, "{}: attempt {number}", attempt.action);
                kill_point::at("act.allowed");
                Ok(())
            };
            let outcome = match actor.hands.begin_if(&deed(&attempt.action), allowed).await {
                Ok(Begun::Task(upid)) => told(actor.hands.follow(&upid).await),
                Ok(Begun::Over(outcome)) => told(outcome),
                Err(why) => Told::NotMade { why: why.into() },
            };
            let input = Input::Acted { incident, attempt: number, outcome };
            kill_point::at("act.ended");
            if actor.inputs.send(input).await.is_err() {
                // The journal has the intent; the next start looks whether it was done.
                tracing::warn!(cluster = %actor.cluster, "an act ended after the end of its watch");
            }
        });
    }

    /// The engine is told that it was not done.
    pub(super) fn refuse(self: &Arc<Actor>, permit: Permit, why: &'static str) {
        let actor = Arc::clone(self);
        tokio::spawn(async move {
            let (incident, _, attempt) = permit.redeem();
            let outcome = Told::NotMade { why: why.into() };
            let input = Input::Acted { incident, attempt: attempt.number, outcome };
            if actor.inputs.send(input).await.is_err() {
                tracing::debug!("a refusal came after the end");
            }
        });
    }

    /// `settings` tells of changes since what the decision knew, which is worth nothing after `until`.
    async fn refusal(&self, settings: &watch::Receiver<u64>, until: Timestamp) -> Option<&'static str> {
        // Nobody knows what happened meanwhile: the process was suspended, or the cluster was slow to answer.
        if self.clock.now() > until {
            return Some("it took too long to get to the call");
        }
        // A stop that the store would not take holds all the same.
        if self.live.halted() {
            return Some("the kill switch is on");
        }
        match self.store.get_preference(KILL_SWITCH).await {
            Ok(stored) => {
                let stored = stored.as_ref().map(|stored| stored.value.as_str());
                if kill_switch_in_force(stored) {
                    return Some("the kill switch is on");
                }
                // A store that is closed tells of nothing any more, and takes nothing either.
                let changed = settings.has_changed().unwrap_or(true);
                changed.then_some("somebody has just set, announced, dismissed or closed something")
            }
            Err(error) => {
                tracing::error!(cluster = %self.cluster, "the kill switch cannot be read: {error}");
                Some("whether the kill switch is on could not be read")
            }
        }
    }
}

fn deed(action: &Action) -> Act {
    match action {
        Action::StartGuest { guest, node } => {
            Act::Guest { node: node.clone(), guest: *guest, verb: Verb::Start }
        }
        Action::ResumeGuest { guest, node } => {
            Act::Guest { node: node.clone(), guest: *guest, verb: Verb::Resume }
        }
        Action::WakeNode { node, mac } => Act::Wake { node: node.clone(), mac: *mac },
        Action::RestartService { service } => {
            Act::RestartService { node: service.node.clone(), service: service.name.as_str().into() }
        }
    }
}

fn told(outcome: Outcome) -> Told {
    match outcome {
        Outcome::Done { upid, said } => Told::Done { upid: upid.map(Into::into), said: said.into() },
        // Of a guest under HA nothing is asked; if HA took it a moment ago, it is HA's now, and the look tells.
        Outcome::Handed { upid } => Told::Done { upid: Some(upid.into()), said: "handed to HA".into() },
        Outcome::Failed { upid, why } => Told::Failed { upid: upid.map(Into::into), why: why.into() },
        Outcome::Runs { upid } => Told::Runs { upid: upid.into() },
        Outcome::Unknown { why } => Told::Unknown { why: why.into() },
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::{Duration, Instant};

    use jiff::SignedDuration;

    use super::*;

    struct Folder(PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap_or_default();
        }
    }

    /// What came in between a decision and its call.
    #[derive(Clone, Copy, PartialEq)]
    enum Between {
        Nothing,
        Seconds(i64),
        /// Somebody stored it.
        Switch(&'static str),
        /// Somebody stopped everything, and the store did not take it.
        Halt,
        /// Somebody set something else.
        Level,
        Closed,
    }

    #[tokio::test]
    async fn what_is_asked_once_more_before_the_call() {
        use Between::{Closed, Halt, Level, Nothing, Seconds, Switch};
        #[rustfmt::skip]
        let table = [
            ("nothing",                      Nothing,         None),
            ("a while",                      Seconds(15),     None),
            ("longer",                       Seconds(21),     Some("it took too long to get to the call")),
            ("a clock set back",             Seconds(-3_600), None),
            ("the kill switch",              Switch("true"),  Some("the kill switch is on")),
            ("a switch that cannot be read", Switch("maybe"), Some("the kill switch is on")),
            ("a switch set to off",          Switch("false"), Some("somebody has just set, announced, dismissed or closed something")),
            ("a stop that is not stored",    Halt,            Some("the kill switch is on")),
            ("another level",                Level,           Some("somebody has just set, announced, dismissed or closed something")),
            ("the store is closed",          Closed,          Some("whether the kill switch is on could not be read")),
        ];
        for (name, between, expected) in table {
            let folder = std::env::temp_dir().join(format!("jarvis-actor-{}", uuid::Uuid::new_v4()));
            let folder = Folder(folder);
            let store = Store::open(&folder.0.join("jarvis.db")).await.unwrap();
            let cluster: ClusterName = "lab".parse().unwrap();
            let live = Arc::new(Live::new([cluster.clone()], Duration::from_secs(10), Instant::now()));
            let (inputs, _received) = mpsc::channel(1);
            let clock = Arc::new(Clock::wall());
            let hands = Hands::new(Vec::new(), true);
            let actor = Actor { cluster, hands, store: store.clone(), live, clock, inputs };
            let settings = store.settings_changed();
            let now = actor.clock.now();
            let mut until = now + SignedDuration::from_secs(20);
            match between {
                Nothing => {}
                Seconds(seconds) => until -= SignedDuration::from_secs(seconds),
                Switch(value) => {
                    store.set_preference(KILL_SWITCH, value, now).await.unwrap();
                }
                Halt => actor.live.halt(true),
                Level => {
                    store.set_preference("autonomy.level", "4", now).await.unwrap();
                }
                Closed => assert!(store.close().await),
            }
            assert_eq!(actor.refusal(&settings, until).await, expected, "{name}");
        }
    }
}
