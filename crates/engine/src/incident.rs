//! The incidents: what is open, and the only place where that changes.
//!
//! At most one incident is open per check and subject, by map key. A finding that must last waits here as
//! pending; nothing is recorded of one that goes away before.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use crate::act::{Action, Attempt};
use crate::decide::{Hold, is_stop};
use crate::detect::{Check, Finding};
use crate::observe::{Door, GuestId, NodeName, Subject};
use crate::record::{By, Note, Order, Why};
use crate::verify::Watch;

/// An incident's identity: 128 bits, written as a UUID (version 8, RFC 9562).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IncidentId(u128);

impl fmt::Display for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = format!("{:032x}", self.0);
        write!(f, "{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}

impl std::str::FromStr for IncidentId {
    type Err = BadIncidentId;
    fn from_str(text: &str) -> Result<IncidentId, BadIncidentId> {
        let digits: String = text.split('-').collect();
        let read = u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32).map(IncidentId);
        read.filter(|id| id.to_string() == text.to_ascii_lowercase()).ok_or(BadIncidentId)
    }
}

/// Why a text is no incident's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an incident's id is a UUID")]
pub struct BadIncidentId;

/// Makes incident ids from a seed, so that a replay makes the same ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ids {
    state: u64,
}

impl Ids {
    pub(crate) fn new(seed: u64) -> Ids {
        Ids { state: seed }
    }

    pub(crate) fn next(&mut self) -> IncidentId {
        let bits = u128::from(self.mix()) << 64 | u128::from(self.mix());
        let version = bits & !(0xf << 76) | 0x8 << 76;
        IncidentId(version & !(0b11 << 62) | 0b10 << 62)
    }

    /// splitmix64: every 64-bit seed gives a sequence without repeats.
    fn mix(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// What makes an incident the same one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Slot {
    /// What is looked for.
    pub check: Check,
    /// On what.
    pub subject: Subject,
}

/// Trouble that is not over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Its identity for as long as it is open.
    pub id: IncidentId,
    /// What was found, as it is now.
    pub finding: Finding,
    /// The node it is about or happened on.
    pub node: Option<NodeName>,
    /// The subject's name, for people.
    pub name: Option<Box<str>>,
    /// Each state carries what is true only in it.
    pub state: State,
    /// The event that it was told with, where that was one for many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<IncidentId>,
    /// What was said about doing something.
    #[serde(default, skip_serializing_if = "Course::is_new")]
    pub course: Course,
}

/// Where an incident is in its life.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum State {
    /// Found, but not yet for as long as it must last.
    Pending {
        /// When it was first found.
        since: Timestamp,
    },
    /// Told, and nothing is being done.
    Open {
        /// When it was told.
        since: Timestamp,
    },
    /// Something is being done; the call has not ended.
    Acting {
        /// When it was told.
        since: Timestamp,
        /// What.
        attempt: Attempt,
        /// Whether this very process makes the call. After a restart nobody does.
        #[serde(skip)]
        here: bool,
    },
    /// The call has ended; whether it helped is to be seen.
    Verifying {
        /// When it was told.
        since: Timestamp,
        /// What is waited for.
        watch: Watch,
    },
    /// People were called. Nothing more is done until it is over, or somebody says so.
    Escalated {
        /// When it was told.
        since: Timestamp,
        /// When they were called.
        at: Timestamp,
    },
}

impl State {
    /// When it was told; `None` while it waits.
    pub fn told_at(&self) -> Option<Timestamp> {
        match self {
            State::Pending { .. } => None,
            State::Open { since }
            | State::Acting { since, .. }
            | State::Verifying { since, .. }
            | State::Escalated { since, .. } => Some(*since),
        }
    }

    /// The attempt that is under way.
    pub fn attempt(&self) -> Option<&Attempt> {
        match self {
            State::Acting { attempt, .. } => Some(attempt),
            State::Verifying { watch, .. } => Some(&watch.attempt),
            State::Pending { .. } | State::Open { .. } | State::Escalated { .. } => None,
        }
    }

    /// A word for programs.
    pub fn as_str(&self) -> &'static str {
        match self {
            State::Pending { .. } => "pending",
            State::Open { .. } => "open",
            State::Acting { .. } => "acting",
            State::Verifying { .. } => "verifying",
            State::Escalated { .. } => "escalated",
        }
    }
}

/// What was said about doing something, so that it is said once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Course {
    /// The last of it.
    pub said: Said,
    /// Who said that it is to be done, and when.
    #[serde(default, deserialize_with = "dated", skip_serializing_if = "Option::is_none")]
    pub approved: Option<Approval>,
    /// Who said that nothing is to be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dismissed: Option<Box<str>>,
    /// Who has seen it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Box<str>>,
    /// A call that could not be made is not tried again before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Calls in a row that could not be made.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub not_made: u32,
    /// Who stopped it since, and on which node that is written down: elsewhere nobody knows of it any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<(By, NodeName)>,
}

/// Somebody's word that what is proposed is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Who gave it.
    pub by: Box<str>,
    /// When.
    pub at: Timestamp,
}

/// An earlier version kept the name alone. Nobody knows how old such an approval is, so it counts no more.
fn dated<'de, D: Deserializer<'de>>(stored: D) -> Result<Option<Approval>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stored {
        Dated(Approval),
        Name(#[expect(dead_code, reason = "it is only recognised")] Box<str>),
    }
    Ok(match Option::deserialize(stored)? {
        Some(Stored::Dated(approval)) => Some(approval),
        Some(Stored::Name(_)) | None => None,
    })
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// What was said last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Said {
    /// Nothing yet.
    #[default]
    Nothing,
    /// Why nothing is done.
    Held(Vec<Hold>),
    /// What an operator might approve.
    Recommended(Action),
}

impl Course {
    /// What an operator said of it.
    pub(crate) fn order(&mut self, by: &str, order: Order, at: Timestamp) {
        self.said = Said::Nothing;
        match order {
            Order::Approve => {
                (self.approved, self.dismissed) = (Some(Approval { by: by.into(), at }), None);
            }
            Order::Dismiss => (self.approved, self.dismissed) = (None, Some(by.into())),
            Order::Acknowledge | Order::Resolve => self.acknowledged = Some(by.into()),
        }
    }

    /// What stands against it. Whoever stops a guest that is down wants it to stay so, also when it is moved to a node that
    /// knows nothing of it.
    pub(crate) fn object(&mut self, node: &NodeName, holds: &[Hold]) {
        if let Some(by) = holds.iter().find_map(Hold::stopped_by) {
            self.stopped_by(node, by);
        }
    }

    fn stopped_by(&mut self, node: &NodeName, by: &By) {
        self.stopped.get_or_insert_with(|| (by.clone(), node.clone()));
    }

    fn is_new(&self) -> bool {
        *self == Course::default()
    }
}

/// Why an incident ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resolution {
    /// The finding is gone.
    Itself,
    /// The subject is gone from the cluster.
    Removed,
    /// It is not watched any more: hidden from the token, a template, or ignored.
    Unwatched,
    /// It is part of something worse, which is told instead.
    Superseded,
    /// What Jarvis did has helped.
    Mended,
    /// An operator closed it.
    Closed,
}

/// What a change of the incidents has to say.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    Opened(Incident),
    Turned { incident: Incident, from: Finding },
    Resolved { incident: Incident, since: Timestamp, by: Resolution },
}

/// Every incident that is not over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Incidents {
    ids: Ids,
    // A list on the wire: a map with a struct as its key has no JSON form.
    #[serde(with = "crate::as_list")]
    open: BTreeMap<Slot, Incident>,
}

/// A finding on its way in.
pub(crate) struct Found {
    pub(crate) slot: Slot,
    pub(crate) finding: Finding,
    pub(crate) node: Option<NodeName>,
    pub(crate) name: Option<Box<str>>,
    /// How long it must last before it is told.
    pub(crate) pending: jiff::SignedDuration,
}

impl Incidents {
    pub(crate) fn new(seed: u64) -> Incidents {
        Incidents { ids: Ids::new(seed), open: BTreeMap::new() }
    }

    /// Ids to come are made from here.
    pub(crate) fn reseed(&mut self, seed: u64) {
        self.ids = Ids::new(seed);
    }

    /// No incident began after `now`, as far as anybody can tell.
    pub(crate) fn since_at_most(&mut self, now: Timestamp) {
        for incident in self.open.values_mut() {
            match &mut incident.state {
                State::Pending { since }
                | State::Open { since }
                | State::Acting { since, .. }
                | State::Escalated { since, .. } => *since = (*since).min(now),
                State::Verifying { since, watch } => {
                    *since = (*since).min(now);
                    watch.woken(now);
                }
            }
            if let Some(not_before) = &mut incident.course.not_before {
                *not_before = (*not_before).min(now);
            }
            if let Some(approval) = &mut incident.course.approved {
                approval.at = approval.at.min(now);
            }
        }
    }

    /// A change of a guest: whoever stopped it is known to what is open about it. `node` is where it was seen; where the task
    /// ran, its id says.
    pub(crate) fn noted(&mut self, id: GuestId, node: &NodeName, note: &Note) {
        let Note::GuestChanged { to, why: Why::Task(by), .. } = note else { return };
        if to.has_process() != Some(false) || !is_stop(&by.task) {
            return;
        }
        let ran_on = by.upid.split(':').nth(1).and_then(|name| name.parse().ok());
        let node = ran_on.unwrap_or_else(|| node.clone());
        self.stopped(id, &node, by);
    }

    /// A guest was stopped by somebody, on this node.
    pub(crate) fn stopped(&mut self, id: GuestId, node: &NodeName, by: &By) {
        let about = self.open.iter_mut().filter(|(slot, _)| slot.subject == Subject::Guest(id));
        for (_, incident) in about {
            incident.course.stopped_by(node, by);
        }
    }

    /// An id for a group of incidents.
    pub(crate) fn next_id(&mut self) -> IncidentId {
        self.ids.next()
    }

    /// Makes an incident part of a group.
    pub(crate) fn join(&mut self, slot: &Slot, group: IncidentId) {
        if let Some(incident) = self.open.get_mut(slot) {
            incident.group = Some(group);
        }
    }

    /// Whether any of a group is open.
    pub(crate) fn any_in(&self, group: IncidentId) -> bool {
        self.open.values().any(|incident| incident.group == Some(group))
    }

    /// Puts back one that was told before.
    pub(crate) fn put(&mut self, slot: Slot, incident: Incident) {
        self.open.insert(slot, incident);
    }

    /// Puts back what an incident turned into.
    pub(crate) fn turn(&mut self, slot: &Slot, finding: Finding) {
        if let Some(incident) = self.open.get_mut(slot) {
            incident.finding = finding;
        }
    }

    /// Takes out one that was told as over.
    pub(crate) fn take(&mut self, slot: &Slot) -> Option<Incident> {
        self.open.remove(slot)
    }

    /// Every incident that has been told and is not over.
    pub(crate) fn told(&self) -> impl Iterator<Item = (&Slot, &Incident)> {
        self.open.iter().filter(|(_, incident)| incident.state.told_at().is_some())
    }

    /// One that has been told, by its id.
    pub(crate) fn by_id(&self, id: IncidentId) -> Option<&Slot> {
        self.told().find(|(_, incident)| incident.id == id).map(|(slot, _)| slot)
    }

    pub(crate) fn get_mut(&mut self, slot: &Slot) -> Option<&mut Incident> {
        self.open.get_mut(slot)
    }

    pub(crate) fn get(&self, slot: &Slot) -> Option<&Incident> {
        self.open.get(slot)
    }

    /// Every slot, pending ones too.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.open.keys()
    }

    /// The slots of one check, pending ones too.
    pub(crate) fn slots_of(&self, check: Check) -> Vec<Slot> {
        self.open.keys().filter(|slot| slot.check == check).cloned().collect()
    }

    /// The finding is true now.
    pub(crate) fn found(&mut self, now: Timestamp, found: Found) -> Option<Change> {
        let Found { slot, finding, node, name, pending } = found;
        let ids = &mut self.ids;
        let incident = self.open.entry(slot).or_insert_with(|| Incident {
            id: ids.next(),
            finding: finding.clone(),
            node: node.clone(),
            name: name.clone(),
            state: State::Pending { since: now },
            group: None,
            course: Course::default(),
        });
        incident.node = node;
        incident.name = name.or_else(|| incident.name.take());
        match incident.state {
            State::Pending { since } if now.duration_since(since) >= pending => {
                incident.finding = finding;
                incident.state = State::Open { since: now };
                Some(Change::Opened(incident.clone()))
            }
            State::Pending { .. } => {
                incident.finding = finding;
                None
            }
            State::Open { .. } | State::Acting { .. } | State::Verifying { .. } | State::Escalated { .. } => {
                let from = std::mem::replace(&mut incident.finding, finding);
                let turned =
                    from.condition() != incident.finding.condition() || is_another(&from, &incident.finding);
                turned.then(|| Change::Turned { incident: incident.clone(), from })
            }
        }
    }

    /// The finding is gone. One that was still pending goes unrecorded.
    pub(crate) fn gone(&mut self, slot: &Slot, by: Resolution) -> Option<Change> {
        let incident = self.open.remove(slot)?;
        let since = incident.state.told_at()?;
        Some(Change::Resolved { incident, since, by })
    }
}

/// Whether what is wrong is something else than before, although it is called the same.
fn is_another(before: &Finding, now: &Finding) -> bool {
    match (before, now) {
        (Finding::Blind { cause: before, .. }, Finding::Blind { cause: now, .. }) => before != now,
        // A node whose cluster file system went down is no member any more; one that is slow in another way is the same.
        (Finding::NodeApi { door: before }, Finding::NodeApi { door: now }) => {
            (*before == Door::ClusterFsDown) != (*now == Door::ClusterFsDown)
        }
        (_, _) => false,
    }
}
