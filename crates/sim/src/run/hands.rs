//! Hands: the virtual daemon's one call of an act, and the task that it began, followed to its end.
//!
//! As the daemon's, they list the subject's tasks first, and ask whether it is still allowed right before the call.
//!
//! A call whose answer is lost may have been made: then the task is looked for, and the call is never repeated.

use engine::act::{Action, Attempt, Outcome};
use engine::decide::{Controls, KillSwitch, Permit};
use engine::incident::IncidentId;
use engine::observe::{MacAddress, NodeName};
use jiff::{SignedDuration, Timestamp};

use super::ask::{Asker, Called};
use crate::cluster::{Actor, Cluster, Refusal, Rights, Verb};

/// The token that acts; PVE's tasks name it.
const TOKEN: &str = "jarvis@pve!act";
/// When a task is first looked at, and then again: the daemon does the same.
const FIRST_LOOK: SignedDuration = SignedDuration::from_millis(300);
const LOOK_EVERY: SignedDuration = SignedDuration::from_secs(1);
/// How long it is followed.
const FOLLOW_MAX: SignedDuration = SignedDuration::from_secs(300);

/// A deed on its way.
#[derive(Clone)]
pub(super) struct Deed {
    pub(super) incident: IncidentId,
    pub(super) attempt: Attempt,
    /// After this its permit is worth nothing.
    until: Timestamp,
    /// What operators had set when it was decided, and how often one of them had withdrawn something.
    controls: (Controls, u32),
    /// Whether the tasks of what it is about have been listed, from which a lost one would be told.
    listed: bool,
    /// The task that it began, and since when it is followed.
    task: Option<(NodeName, String, Timestamp)>,
}

/// What comes of a deed's next move, and when.
pub(super) enum Move {
    /// It is over.
    Ended(Outcome, SignedDuration),
    /// It goes on.
    GoesOn(Deed, SignedDuration),
}

impl Deed {
    pub(super) fn new(permit: Permit, controls: (Controls, u32)) -> Deed {
        let until = permit.until();
        let (incident, _, attempt) = permit.redeem();
        let listed = matches!(attempt.action, Action::WakeNode { .. });
        Deed { incident, attempt, until, controls, listed, task: None }
    }

    /// Why the call is not made after all, asked immediately before it.
    pub(super) fn refusal(&self, now: Timestamp, controls: &(Controls, u32)) -> Option<&'static str> {
        let calls = self.listed && self.task.is_none();
        if !calls {
            return None;
        }
        if now > self.until {
            return Some("it took too long to get to the call");
        }
        if controls.0.kill_switch != KillSwitch::Off {
            return Some("the kill switch is on");
        }
        (*controls != self.controls)
            .then_some("somebody has just set, announced, dismissed or closed something")
    }

    /// The call, or another look at its task.
    pub(super) fn go(mut self, cluster: &mut Cluster, asker: &mut Asker) -> Move {
        match self.task.clone() {
            None if !self.listed => {
                let (listed, takes) = asker.own_tasks(cluster, self.attempt.action.node());
                match listed {
                    Ok(()) => {
                        self.listed = true;
                        Move::GoesOn(self, takes)
                    }
                    Err(why) => {
                        let why = why.words.into_boxed_str();
                        Move::Ended(Outcome::Failed { upid: None, why }, takes)
                    }
                }
            }
            None => self.call(cluster, asker),
            Some((node, upid, since)) => {
                let ended = asker.task_end(cluster, &node, &upid);
                let (ended, takes) = (ended.0.ok().flatten(), ended.1);
                if let Some(status) = ended {
                    let upid = Some(upid.into_boxed_str());
                    let good = status == "OK" || status.starts_with("WARNINGS");
                    let status = status.into_boxed_str();
                    let outcome = match good {
                        true => Outcome::Done { upid, said: status },
                        false => Outcome::Failed { upid, why: status },
                    };
                    return Move::Ended(outcome, takes);
                }
                if cluster.now().duration_since(since) >= FOLLOW_MAX {
                    return Move::Ended(Outcome::Runs { upid: upid.into() }, takes);
                }
                self.task = Some((node, upid, since));
                Move::GoesOn(self, takes + LOOK_EVERY)
            }
        }
    }

    fn call(mut self, cluster: &mut Cluster, asker: &mut Asker) -> Move {
        let about = match &self.attempt.action {
            Action::WakeNode { .. } => None,
            Action::StartGuest { .. } | Action::ResumeGuest { .. } | Action::RestartService { .. } => {
                Some(self.attempt.action.node())
            }
        };
        let (called, takes) = asker.call(cluster, self.attempt.action.as_str(), about);
        let lost = match &called {
            Called::Through(_) => None,
            Called::Lost(words) => Some(words.clone()),
            Called::Refused(words) => {
                let why = words.as_str().into();
                return Move::Ended(Outcome::Failed { upid: None, why }, takes);
            }
            Called::Not(words) => {
                if let Action::WakeNode { mac: Some(mac), .. } = self.attempt.action {
                    cluster.packet(mac);
                    let said =
                        format!("Jarvis itself sent a packet to {mac}, as no node could be asked: {words}");
                    return Move::Ended(Outcome::Done { upid: None, said: said.into() }, takes);
                }
                let why = words.as_str().into();
                return Move::Ended(Outcome::Failed { upid: None, why }, takes);
            }
        };
        let viewer = match &called {
            Called::Through(viewer) => viewer.clone(),
            Called::Lost(_) | Called::Not(_) | Called::Refused(_) => asker.home_node(),
        };
        if asker.rights() == Rights::Auditor {
            let why = "403 Permission check failed (VM.PowerMgmt)".into();
            return Move::Ended(Outcome::Failed { upid: None, why }, takes);
        }
        match make(cluster, &viewer, &self.attempt.action) {
            Err(Refusal(why)) => {
                let why = lost.unwrap_or(why).into();
                Move::Ended(Outcome::Failed { upid: None, why }, takes)
            }
            Ok(Made::Sent(_)) if lost.is_some() => {
                Move::Ended(Outcome::Unknown { why: lost.unwrap_or_default().into() }, takes)
            }
            Ok(Made::Sent(mac)) => {
                let said = format!("a packet to {mac} was sent; a node takes minutes to boot").into();
                Move::Ended(Outcome::Done { upid: None, said }, takes)
            }
            Ok(Made::Task(upid)) => {
                let node = self.attempt.action.node().clone();
                self.task = Some((node, upid, cluster.now()));
                Move::GoesOn(self, takes + FIRST_LOOK)
            }
        }
    }
}

enum Made {
    Task(String),
    Sent(MacAddress),
}

fn make(cluster: &mut Cluster, viewer: &NodeName, action: &Action) -> Result<Made, Refusal> {
    let by = Actor::parse(TOKEN);
    match action {
        Action::StartGuest { guest, node } => cluster.request(&by, node, *guest, Verb::Start).map(Made::Task),
        Action::ResumeGuest { guest, node } => {
            cluster.request(&by, node, *guest, Verb::Resume).map(Made::Task)
        }
        Action::WakeNode { node, .. } => cluster.wake_node(viewer, node).map(Made::Sent),
        Action::RestartService { service } => {
            Ok(Made::Task(cluster.restart_service(&by, &service.node, service.name.as_str())))
        }
    }
}
