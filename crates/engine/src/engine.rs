//! The engine: one door in, one list of effects out.
//!
//! `step` takes everything that can happen and answers with everything that is to be done, in order. It decides
//! from what *is* (level, not edge): a round that was missed is made good by the next one.

mod guests;
mod memory;

use std::collections::{BTreeMap, BTreeSet};

pub use self::memory::Memory as Checkpoint;
use self::memory::{KnownNode, Memory};
use crate::detect::{Check, Finding, node, storage};
use crate::incident::{Change, Found, Incidents, Resolution, Slot};
use crate::observe::{
    Blindness, Cause, ClusterName, Evidence, Guest, GuestId, Inspection, Node, NodeName, Presence, Quorum,
    Round, Seen, Snapshot, Storage, StorageName, Subject,
};
use crate::policy::{Metric, Policy};
use crate::record::{Entry, Fact, Note, Summary};
use crate::report::{self, Event};
use jiff::{SignedDuration, Timestamp};

/// Two failed rounds in a row are blindness; one may be a lost packet.
const BLIND_AFTER: u32 = 2;
/// A node that has just come tells of its storages some cycles of 10 s later than of itself.
const STORAGE_SETTLE: SignedDuration = SignedDuration::from_secs(60);

/// Everything that can happen to the engine; there is no other door.
#[derive(Clone, Debug)]
pub enum Input {
    /// A round of polling is complete.
    Observed(Snapshot),
    /// The answer to an [`Effect::Inspect`].
    Inspected {
        /// What was asked.
        inspection: Inspection,
        /// What was found.
        answer: Evidence,
    },
    /// The time that [`Engine::next_wake`] gave has come.
    Tick,
}

/// Everything that the engine can ask of the world, in the order in which it is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Write this down, before anything that follows.
    Record(Entry),
    /// Look at some guests of one node.
    Inspect(Inspection),
    /// Tell this.
    Notify(Event),
}

/// Watches one cluster.
#[derive(Clone, Debug)]
pub struct Engine {
    cluster: ClusterName,
    policy: Policy,
    memory: Memory,
}

impl Engine {
    /// An engine that knows nothing yet: its first critical round only records.
    ///
    /// `seed` is the start of the incidents' ids; the same seed and inputs give the same effects.
    pub fn new(cluster: ClusterName, policy: Policy, seed: u64) -> Engine {
        let memory = Memory {
            judged: BTreeMap::new(),
            blind_rounds: 0,
            quorate: true,
            nodes: BTreeMap::new(),
            guests: BTreeMap::new(),
            storages: BTreeSet::new(),
            suspects: BTreeMap::new(),
            incidents: Incidents::new(seed),
        };
        Engine { cluster, policy, memory }
    }

    /// An engine that goes on where another one stopped. What was asked and not answered is asked again.
    pub fn restore(cluster: ClusterName, policy: Policy, checkpoint: Checkpoint) -> Engine {
        let mut memory = checkpoint;
        // The system's clock may have been set back meanwhile, so no time of the past may make anything wait. And a
        // new process has no late answers: that a round was judged counts, when it was does not.
        memory.judged.values_mut().for_each(|began_at| *began_at = Timestamp::MIN);
        for suspect in memory.suspects.values_mut() {
            suspect.asked_at = None;
            if !suspect.after_restart {
                suspect.due = Timestamp::MIN;
            }
        }
        Engine { cluster, policy, memory }
    }

    /// What [`Engine::restore`] needs.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.memory
    }

    /// The cluster that this engine watches.
    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// Whether the last critical round could be believed.
    pub fn seeing(&self) -> bool {
        self.memory.blind_rounds == 0
    }

    /// When `step` wants to be called again although nothing happened.
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.memory
            .suspects
            .values()
            .filter(|suspect| !suspect.after_restart)
            .map(|suspect| suspect.due)
            .min()
    }

    /// The whole engine: what happened, to what is to be done about it.
    pub fn step(&mut self, now: Timestamp, input: Input) -> Vec<Effect> {
        let mut turn = Turn { now, effects: Vec::new() };
        match input {
            Input::Observed(snapshot) => self.observed(&mut turn, snapshot),
            Input::Inspected { inspection: Inspection::Guests(look), answer: Evidence::Guests(answer) } => {
                self.inspected(&mut turn, &look, &answer);
            }
            Input::Inspected { .. } => {}
            Input::Tick => {}
        }
        self.inspect_due(&mut turn);
        turn.effects
    }

    fn observed(&mut self, turn: &mut Turn, snapshot: Snapshot) {
        let newest = self.memory.judged.get(&snapshot.round).copied();
        if newest.is_some_and(|newest| snapshot.began_at < newest) {
            return; // A late answer never overwrites a newer one.
        }
        match snapshot.round {
            Round::Critical => return self.critical(turn, snapshot),
            Round::Live => return,
            // The first critical round of a fresh install records what is; only then is there anything to judge.
            Round::Important | Round::Routine | Round::Background
                if !self.memory.judged.contains_key(&Round::Critical) =>
            {
                return;
            }
            Round::Important => self.thresholds(turn, &snapshot),
            Round::Routine => self.heartbeat(turn),
            Round::Background => self.capacity(turn, &snapshot),
        }
        self.memory.judged.insert(snapshot.round, snapshot.began_at);
    }

    fn critical(&mut self, turn: &mut Turn, snapshot: Snapshot) {
        let (began_at, storages) = (snapshot.began_at, snapshot.storages.clone());
        let seen = match self.sight(snapshot) {
            Ok(seen) => seen,
            Err(blindness) => return self.blind(turn, blindness),
        };
        self.memory.blind_rounds = 0;
        self.gone(turn, Slot { check: Check::Blind, subject: Subject::Cluster }, Resolution::Itself);
        self.quorum(turn, seen.quorum);
        if !self.memory.quorate {
            // The view of a minority: every node of the other side looks offline to it (pve-domain 4.2).
            return;
        }
        let first = self.memory.judged.insert(Round::Critical, began_at).is_none();
        self.nodes(turn, &seen, first);
        self.guests(turn, seen, first);
        if let Seen::At { value: storages, .. } = &storages {
            self.outages(turn, storages);
        }
    }

    /// What a round saw, or why it cannot be believed. Without knowing the vote, a lost node may be our own loss.
    fn sight(&self, snapshot: Snapshot) -> Result<Sight, Blindness> {
        let not_asked = || Blindness { cause: Cause::Malformed, words: "the round was not asked for".into() };
        let (quorum, nodes, guests, asked_at) = match (snapshot.quorum, snapshot.nodes, snapshot.guests) {
            (
                Seen::At { value: quorum, .. },
                Seen::At { value: nodes, asked_at },
                Seen::At { value: guests, .. },
            ) => (quorum, nodes, guests, asked_at),
            (_, Seen::NotReached(blindness), _)
            | (_, _, Seen::NotReached(blindness))
            | (Seen::NotReached(blindness), _, _) => return Err(blindness),
            (Seen::NotAsked, _, _) | (_, Seen::NotAsked, _) | (_, _, Seen::NotAsked) => {
                return Err(not_asked());
            }
        };
        // A cluster always has the node that answers, and all guests do not vanish at once: an empty list is
        // what a token without rights sees (pve-domain 5.4, 9.24).
        let lost = |what: &str| Blindness {
            cause: Cause::RightsLost,
            words: format!("the list of {what} is empty; check the token's rights (Sys.Audit, VM.Audit)"),
        };
        if nodes.is_empty() {
            return Err(lost("nodes"));
        }
        if guests.is_empty() && self.memory.guests.len() > 1 && !snapshot.empty_is_true {
            return Err(lost("guests"));
        }
        Ok(Sight { quorum, nodes, guests, asked_at })
    }

    fn blind(&mut self, turn: &mut Turn, Blindness { cause, words }: Blindness) {
        self.memory.blind_rounds = self.memory.blind_rounds.saturating_add(1);
        if self.memory.blind_rounds >= BLIND_AFTER {
            let slot = Slot { check: Check::Blind, subject: Subject::Cluster };
            self.found(turn, slot, Finding::Blind { cause, words }, None, None);
        }
    }

    fn quorum(&mut self, turn: &mut Turn, quorum: Quorum) {
        self.memory.quorate = quorum.quorate;
        let slot = Slot { check: Check::Quorum, subject: Subject::Cluster };
        if quorum.quorate {
            self.gone(turn, slot, Resolution::Itself);
        } else {
            let Quorum { online, expected, .. } = quorum;
            self.found(turn, slot, Finding::QuorumLost { online, expected }, None, None);
        }
    }

    fn nodes(&mut self, turn: &mut Turn, seen: &Sight, first: bool) {
        for (name, node) in &seen.nodes {
            let subject = Subject::Node(name.clone());
            let slot = Slot { check: Check::NodeUnreachable, subject: subject.clone() };
            let before = self.memory.nodes.get(name).cloned();
            if before.is_none() && !first {
                self.note(turn, subject, None, Some(name.clone()), Note::NodeAppeared);
            }
            let open = self.memory.incidents.get(&slot).is_some();
            let known = KnownNode::now(before.as_ref(), node, seen.asked_at);
            self.memory.nodes.insert(name.clone(), known);
            if node::lost(before.map(|before| before.presence), node.presence, open) {
                let guests = self.alive_on(name);
                let guests = match self.memory.incidents.get(&slot).map(|incident| &incident.finding) {
                    Some(Finding::NodeUnreachable { guests }) => *guests, // As it was when it left.
                    Some(_) | None => guests,
                };
                self.found(turn, slot, Finding::NodeUnreachable { guests }, Some(name.clone()), None);
                self.forget_suspects_on(name);
            } else if node.presence != Presence::Offline {
                self.gone(turn, slot, Resolution::Itself);
            }
        }
        let removed: Vec<NodeName> =
            self.memory.nodes.keys().filter(|name| !seen.nodes.contains_key(*name)).cloned().collect();
        for name in removed {
            self.memory.nodes.remove(&name);
            self.remove_subject(turn, &Subject::Node(name.clone()));
            self.remove_guests_of(turn, &name, &seen.guests);
            self.note(turn, Subject::Node(name.clone()), None, Some(name), Note::NodeGone);
        }
    }

    fn thresholds(&mut self, turn: &mut Turn, snapshot: &Snapshot) {
        let Seen::At { value: nodes, .. } = &snapshot.nodes else { return };
        for (name, node) in nodes {
            if !self.memory.nodes.contains_key(name) {
                continue; // The next critical round makes its acquaintance.
            }
            let incidents = &self.memory.incidents;
            let ladders: Vec<_> =
                node::ladders(&self.policy, name, node, |slot| incidents.get(slot)).collect();
            for (slot, finding) in ladders {
                self.judged(turn, slot, finding, Some(name.clone()));
            }
        }
    }

    fn capacity(&mut self, turn: &mut Turn, snapshot: &Snapshot) {
        let Seen::At { value: storages, .. } = &snapshot.storages else { return };
        let groups = storage::group(storages, &self.memory.storages, |node| self.settled(turn.now, node));
        for (id, group) in groups {
            let node = id.node.clone();
            let subject = Subject::Storage(id);
            let slot = Slot { check: Check::OverMark(Metric::Storage), subject: subject.clone() };
            let Some(percent) = group.usage.and_then(|usage| usage.percent()) else { continue };
            let last = self.memory.incidents.get(&slot);
            let finding = node::over_mark(&self.policy, &subject, Metric::Storage, last, percent);
            self.judged(turn, slot, finding, node);
        }
    }

    fn outages(&mut self, turn: &mut Turn, storages: &BTreeMap<(StorageName, NodeName), Storage>) {
        let groups = storage::group(storages, &self.memory.storages, |node| self.settled(turn.now, node));
        let seen = storages.iter().filter(|(_, storage)| storage.available).map(|(key, _)| key.clone());
        self.memory.storages.extend(seen);
        for (id, group) in &groups {
            let slot = Slot { check: Check::StorageOffline, subject: Subject::Storage(id.clone()) };
            let Some(nodes) = group.missing.clone() else { continue };
            let finding = (!nodes.is_empty()).then_some(Finding::StorageOffline { nodes });
            self.judged(turn, slot, finding, id.node.clone());
        }
        // A storage that was taken out of the configuration has no rows at all any more.
        self.memory.storages.retain(|key| storages.contains_key(key));
        for check in [Check::StorageOffline, Check::OverMark(Metric::Storage)] {
            for slot in self.memory.incidents.slots_of(check) {
                let listed = matches!(&slot.subject, Subject::Storage(id) if groups.contains_key(id));
                if !listed {
                    self.gone(turn, slot, Resolution::Removed);
                }
            }
        }
    }

    fn heartbeat(&mut self, turn: &mut Turn) {
        let fact = Fact::Heartbeat(self.summary());
        self.tell(turn, Entry { at: turn.now, subject: Subject::Cluster, name: None, node: None, fact });
    }

    /// How the cluster is as a whole, from what is remembered.
    pub fn summary(&self) -> Summary {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let nodes = self.memory.nodes.values();
        let guests = self.memory.guests.values().filter(|known| !known.guest.template);
        Summary {
            nodes_online: count(nodes.clone().filter(|node| node.presence == Presence::Online).count()),
            nodes: count(nodes.count()),
            guests_running: count(
                guests.clone().filter(|known| known.guest.status.has_process() == Some(true)).count(),
            ),
            guests: count(guests.count()),
            incidents: count(self.memory.incidents.told().count()),
        }
    }

    /// Whether a node lives, and has lived long enough to have told of its storages.
    fn settled(&self, now: Timestamp, name: &NodeName) -> bool {
        self.memory.nodes.get(name).is_some_and(|node| {
            node.presence == Presence::Online
                && node.online_since.is_some_and(|since| now.duration_since(since) >= STORAGE_SETTLE)
        })
    }

    fn remove_subject(&mut self, turn: &mut Turn, subject: &Subject) {
        let slots: Vec<Slot> =
            self.memory.incidents.slots().filter(|slot| slot.subject == *subject).cloned().collect();
        for slot in slots {
            self.gone(turn, slot, Resolution::Removed);
        }
    }

    fn judged(&mut self, turn: &mut Turn, slot: Slot, finding: Option<Finding>, node: Option<NodeName>) {
        match finding {
            Some(finding) => self.found(turn, slot, finding, node, None),
            None => {
                self.gone(turn, slot, Resolution::Itself);
            }
        }
    }

    fn found(
        &mut self,
        turn: &mut Turn,
        slot: Slot,
        finding: Finding,
        node: Option<NodeName>,
        name: Option<Box<str>>,
    ) {
        if self.policy.ignores(&slot.subject, &[]) {
            return;
        }
        let pending = match slot.check {
            Check::OverMark(metric) => self.policy.marks(&slot.subject, metric).pending,
            Check::Blind
            | Check::Quorum
            | Check::NodeUnreachable
            | Check::GuestCrashed
            | Check::StorageOffline => SignedDuration::ZERO,
        };
        let subject = slot.subject.clone();
        let change = self.memory.incidents.found(turn.now, Found { slot, finding, node, name, pending });
        self.changed_incident(turn, subject, change);
    }

    /// Ends an incident, if there is one; true if it had been told.
    fn gone(&mut self, turn: &mut Turn, slot: Slot, by: Resolution) -> bool {
        let change = self.memory.incidents.gone(&slot, by);
        let told = change.is_some();
        self.changed_incident(turn, slot.subject, change);
        told
    }

    fn changed_incident(&mut self, turn: &mut Turn, subject: Subject, change: Option<Change>) {
        let Some(change) = change else { return };
        let (incident, fact) = match change {
            Change::Opened(incident) => {
                let fact = Fact::Opened { incident: incident.id, finding: incident.finding.clone() };
                (incident, fact)
            }
            Change::Turned { incident, from } => {
                let finding = incident.finding.clone();
                let fact = Fact::Turned { incident: incident.id, from: from.condition(), finding };
                (incident, fact)
            }
            Change::Resolved { incident, since, by } => {
                let lasted = turn.now.duration_since(since);
                let finding = incident.finding.clone();
                let fact = Fact::Resolved { incident: incident.id, finding, lasted, by };
                (incident, fact)
            }
        };
        self.tell(turn, Entry { at: turn.now, subject, name: incident.name, node: incident.node, fact });
    }

    fn note(
        &self,
        turn: &mut Turn,
        subject: Subject,
        name: Option<Box<str>>,
        node: Option<NodeName>,
        note: Note,
    ) {
        if !self.policy.ignores(&subject, &[]) {
            self.tell(turn, Entry { at: turn.now, subject, name, node, fact: Fact::Noted(note) });
        }
    }

    fn tell(&self, turn: &mut Turn, entry: Entry) {
        let event = report::event(&entry);
        turn.effects.push(Effect::Record(entry));
        turn.effects.push(Effect::Notify(event));
    }
}

/// One call of `step`.
struct Turn {
    now: Timestamp,
    effects: Vec<Effect>,
}

/// What a critical round saw, where it can be believed.
struct Sight {
    quorum: Quorum,
    nodes: BTreeMap<NodeName, Node>,
    guests: BTreeMap<GuestId, Guest>,
    asked_at: Timestamp,
}
