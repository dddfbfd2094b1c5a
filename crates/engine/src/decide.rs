//! Decide: what is to be done now about one open incident.
//!
//! Pure, and asked again at every turn, so a hold loses nothing: when its cause lifts, the next turn acts. It sees a
//! [`Case`] and nothing else. Only it makes a [`Permit`].

mod guardrail;
mod hold;
mod runbook;
#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::about::About;
use crate::act::{Action, Attempt};
use crate::incident::IncidentId;
use crate::observe::{GuestId, NodeName, Subject, Task};
use crate::record::By;

pub(crate) use guardrail::{
    CLOCK_SKEW, STAGGER, VIEWS_MIN, ask_again, is_start, is_stop, is_wanted, stopped_since, succeeded,
};
pub use guardrail::{GUARDRAILS, IGNORE_TAG, RESTART_TAG, VITAL};
pub(crate) use hold::is_news;
pub use hold::{Hold, words};
pub use runbook::{Known, Only, Remedy, Runbook, WINDOW_MAX, built_in, runbook, usual};

/// What a look found allows an act for this long after it was asked for (its answer may take half of it): a person or another
/// Jarvis may come in between, and this process may have been suspended. A permit is good for as long, at most.
pub(crate) const FRESH: SignedDuration = SignedDuration::from_secs(20);
/// The call that a look allows is made within this from when the look was asked for, or not at all.
const CALL_WITHIN: SignedDuration = SignedDuration::from_secs(25);

/// What the operator allows Jarvis to do by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Autonomy {
    /// Record only.
    Observe,
    /// Tell.
    Alert,
    /// Propose; an operator may approve.
    Recommend,
    /// Act, and tell.
    ActReport,
    /// Act; only the journal and the feed say so.
    ActSilent,
}

impl Autonomy {
    /// Every level, by its number.
    pub const ALL: [Autonomy; 5] =
        [Autonomy::Observe, Autonomy::Alert, Autonomy::Recommend, Autonomy::ActReport, Autonomy::ActSilent];

    /// As stored and sent: 0 to 4.
    pub fn number(self) -> u8 {
        match self {
            Autonomy::Observe => 0,
            Autonomy::Alert => 1,
            Autonomy::Recommend => 2,
            Autonomy::ActReport => 3,
            Autonomy::ActSilent => 4,
        }
    }

    /// What it means.
    pub fn words(self) -> &'static str {
        match self {
            Autonomy::Observe => "observe",
            Autonomy::Alert => "alert",
            Autonomy::Recommend => "recommend",
            Autonomy::ActReport => "act and report",
            Autonomy::ActSilent => "act silently",
        }
    }
}

/// Whether everything is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KillSwitch {
    /// No.
    Off,
    /// Somebody stopped everything.
    On,
    /// Nobody has said yet.
    NotKnown,
    /// What is done could not be recorded.
    StoreFails,
}

/// What operators have set. It comes from outside, and is safe until it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Controls {
    /// Whether everything is stopped.
    pub kill_switch: KillSwitch,
    /// What Jarvis may do by itself.
    pub level: Autonomy,
    /// Whether this Jarvis only watches.
    pub standby: bool,
    /// Announced work, as instants: those that last or are to come.
    pub maintenance: Vec<Maintenance>,
}

impl Default for Controls {
    fn default() -> Controls {
        Controls {
            kill_switch: KillSwitch::NotKnown,
            level: Autonomy::Observe,
            standby: false,
            maintenance: Vec::new(),
        }
    }
}

/// Announced work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    /// On what.
    pub subject: About,
    /// From then on.
    pub from: Timestamp,
    /// Until then.
    pub until: Timestamp,
}

/// Until when something that is meant by some of the windows is in work without a break; `None`: it is not now.
pub fn maintained(windows: &[Maintenance], now: Timestamp, known: &Known) -> Option<Timestamp> {
    let meant: Vec<&Maintenance> = windows.iter().filter(|window| window.subject.means(known)).collect();
    let mut until = None;
    // One that begins before another ends goes on with it. Each turn reaches further, so it ends.
    loop {
        let at = until.unwrap_or(now);
        let reached = |window: &&&Maintenance| window.from <= at && at < window.until;
        match meant.iter().filter(reached).map(|window| window.until).max() {
            Some(further) => until = Some(further),
            None => return until,
        }
    }
}

/// All that a decision may depend on. What is not here cannot sway it.
#[derive(Clone, Debug)]
pub struct Case<'a> {
    /// When it is decided.
    pub now: Timestamp,
    /// What it is about.
    pub runbook: &'a Runbook,
    /// What would be done.
    pub action: &'a Action,
    /// When the incident was told.
    pub since: Timestamp,
    /// Earlier attempts of the same key within the runbook's window, oldest first.
    pub attempts: &'a [Timestamp],
    /// Whether an operator said that it is to be done.
    pub approved: bool,
    /// Which operator said that nothing is to be done.
    pub dismissed: Option<&'a str>,
    /// What operators have set.
    pub controls: &'a Controls,
    /// Who stopped it since, as it was known before it was moved.
    pub stopped: Option<&'a By>,
    /// Who was seen to have stopped it since, on the node where it is: PVE forgets its tasks in the end.
    pub stopped_here: Option<&'a By>,
    /// Until when work is announced that this subject is part of.
    pub maintenance: Option<Timestamp>,
    /// Whether the cluster can decide, as it was last seen.
    pub quorate: bool,
    /// Why the cluster, or this part of it, is not seen as it is now.
    pub blind: Option<&'a str>,
    /// Why it is protected.
    pub protected: Option<&'a str>,
    /// Whether too much happens at once.
    pub storm: bool,
    /// The node that is worked on, if any.
    pub busy: Option<&'a NodeName>,
    /// Whether another guest of the same node goes first.
    pub queued: bool,
    /// When the next start on the same node may be made, by the guest that was started there last.
    pub next_start: Option<Timestamp>,
    /// Before when no call is to be made again: the last one could not be.
    pub not_before: Option<Timestamp>,
    /// As of when the look that may allow it was asked for, where one is needed.
    pub looked_at: Option<Timestamp>,
    /// What is known of the node that would be asked; `None`: it is not there.
    pub node: Option<NodeCase>,
    /// What it is done to.
    pub subject: SubjectCase<'a>,
}

/// What is known of a node that would be asked to do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeCase {
    /// When it booted, where that is known.
    pub booted_at: Option<Timestamp>,
    /// How long PVE's own start of its guests is given.
    pub settle: SignedDuration,
}

/// What is known of the subject.
#[derive(Clone, Debug)]
pub enum SubjectCase<'a> {
    /// A guest.
    Guest(GuestCase<'a>),
    /// A node, and from how many others it was seen to be gone.
    Node {
        /// Nodes of the majority that do not see it.
        views: u32,
        /// Whether PVE knows an address to wake it by; `None`: not known.
        address: Option<bool>,
    },
    /// A service.
    Service {
        /// Its name.
        name: &'a str,
        /// What was found when it was looked at just now; `None`: not yet.
        review: Option<ServiceFacts<'a>>,
    },
}

impl SubjectCase<'_> {
    /// The same, as if it had not been looked at.
    pub(crate) fn before_the_look(self) -> Self {
        match self {
            SubjectCase::Guest(guest) => SubjectCase::Guest(GuestCase { review: None, ..guest }),
            SubjectCase::Service { name, .. } => SubjectCase::Service { name, review: None },
            SubjectCase::Node { views, address } => SubjectCase::Node { views, address },
        }
    }
}

/// What is known of a guest.
#[derive(Clone, Debug)]
pub struct GuestCase<'a> {
    /// Which one.
    pub id: GuestId,
    /// From its row.
    pub template: bool,
    /// From its row.
    pub lock: Option<&'a str>,
    /// HA's state of it, from its row.
    pub ha: Option<&'a str>,
    /// Its tags.
    pub tags: &'a [Box<str>],
    /// Since when it has been seen without a process.
    pub down_since: Option<Timestamp>,
    /// What was found when it was looked at just now; `None`: not yet.
    pub review: Option<GuestFacts<'a>>,
}

/// What a look at a guest found, made for this decision.
#[derive(Clone, Debug)]
pub struct GuestFacts<'a> {
    /// Whether it was found just now. What it objects to stands until the next look; what it allows does not.
    pub fresh: bool,
    /// Whether PVE is to start it with its node.
    pub onboot: bool,
    /// From its configuration.
    pub template: bool,
    /// From its configuration or its process.
    pub lock: Option<&'a str>,
    /// HA's state of it, as its node says now.
    pub ha: Option<&'a str>,
    /// Its tags, as they are now.
    pub tags: &'a [Box<str>],
    /// What its node says it does, in PVE's word; `None`: it is not there.
    pub state: Option<&'a str>,
    /// Its node's tasks since some time before the incident.
    pub tasks: &'a [Task],
    /// Our own tasks.
    pub own: &'a [Box<str>],
    /// What keeps it from working and is still there, in words.
    pub cause_stands: Option<&'a str>,
}

/// What a look at a service found, made for this decision.
#[derive(Clone, Debug)]
pub struct ServiceFacts<'a> {
    /// As of a guest.
    pub fresh: bool,
    /// systemd's word for it; `None`: its node does not know it.
    pub active: Option<&'a str>,
    /// Its node's tasks since some time before the incident.
    pub tasks: &'a [Task],
    /// Our own tasks.
    pub own: &'a [Box<str>],
}

/// What is to be done.
#[derive(Debug, PartialEq)]
#[must_use]
pub enum Decision {
    /// This, once.
    Act(Permit),
    /// Ask an operator. The objections are what would hold it beside the level.
    Recommend(Action),
    /// Nothing now, for these reasons; never empty.
    Hold(Vec<Hold>),
    /// Look at the subject first.
    Look,
    /// Call people.
    Escalate,
}

/// Leave to do one thing once: only [`decide`] makes one, and redeeming it spends it.
#[derive(Debug, PartialEq)]
pub struct Permit {
    incident: IncidentId,
    subject: Subject,
    attempt: Attempt,
    until: Timestamp,
}

impl Permit {
    /// What it allows, once.
    pub fn redeem(self) -> (IncidentId, Subject, Attempt) {
        (self.incident, self.subject, self.attempt)
    }

    /// The incident that it is for.
    pub fn incident(&self) -> IncidentId {
        self.incident
    }

    /// What it is about, without spending it.
    pub fn attempt(&self) -> &Attempt {
        &self.attempt
    }

    /// After this it is worth nothing: what it goes by was seen too long ago.
    pub fn until(&self) -> Timestamp {
        self.until
    }

    /// The incident's subject.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }
}

/// The decision on one open incident.
pub fn decide(case: &Case, incident: IncidentId, subject: &Subject) -> Decision {
    let made = u32::try_from(case.attempts.len()).unwrap_or(u32::MAX);
    // Calling people is always safe, so no guardrail stands in front of it. Who approves knows what was tried.
    if made >= case.runbook.attempts && !case.approved {
        return Decision::Escalate;
    }
    let holds: Vec<Hold> = GUARDRAILS.iter().filter_map(|ask| ask(case)).collect();
    if !holds.is_empty() {
        return Decision::Hold(holds);
    }
    let fresh = match &case.subject {
        SubjectCase::Guest(guest) => guest.review.as_ref().map(|facts| facts.fresh),
        SubjectCase::Service { review, .. } => review.as_ref().map(|facts| facts.fresh),
        SubjectCase::Node { .. } => Some(true),
    };
    let allowed = case.approved || case.controls.level >= case.runbook.level;
    match fresh {
        None => return Decision::Look,
        Some(false) if allowed => return Decision::Look,
        Some(_) if !allowed => return Decision::Recommend(case.action.clone()),
        Some(_) => {}
    }
    let until = case.looked_at.map_or(case.now + FRESH, |at| at + CALL_WITHIN).min(case.now + FRESH);
    let attempt = Attempt {
        number: made.saturating_add(1),
        action: case.action.clone(),
        runbook: case.runbook.id.clone(),
        at: case.now,
        level: case.controls.level.number(),
    };
    Decision::Act(Permit { incident, subject: subject.clone(), attempt, until })
}
