//! The engine: one door in, one list of effects out.
//!
//! `step` takes everything that can happen and answers with everything that is to be done, in order. It decides
//! from what *is* (level, not edge): a round that was missed is made good by the next one.

mod attempt;
mod fold;
mod found;
mod group;
mod guests;
mod memory;
mod moved;
mod nodes;
mod orders;
mod prospect;
mod remedy;
mod stopped;
mod storages;

use std::collections::{BTreeMap, BTreeSet};

pub use self::memory::Memory as Checkpoint;
use self::memory::{KnownGuest, Memory};
pub use self::prospect::{Next, Prospect};
use self::remedy::{Scratch, VIEW_MAX};
use crate::act::Outcome;
use crate::decide::{Controls, KillSwitch, Permit};
use crate::detect::{Check, Finding, node};
use crate::incident::{Change, Found, Incident, IncidentId, Incidents, Resolution, Slot, State};
use crate::observe::{
    Blindness, Cause, ClusterName, Evidence, Guest, GuestId, Inspection, Node, NodeName, Presence, Quorum,
    Round, Seen, Snapshot, Subject,
};
use crate::policy::Policy;
use crate::record::{Entry, Fact, Note, Order, Summary};
use crate::report::{self, Event};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Two failed rounds in a row are blindness; one may be a lost packet.
const BLIND_AFTER: u32 = 2;

/// Everything that can happen to the engine; there is no other door.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// The call of an [`Effect::Act`] has ended.
    Acted {
        /// The incident that it was for.
        incident: IncidentId,
        /// The attempt's number.
        attempt: u32,
        /// How it ended.
        outcome: Outcome,
    },
    /// An operator said something.
    Commanded(Command),
    /// The time that [`Engine::next_wake`] gave has come.
    Tick,
}

/// What operators say, and what the daemon has found out about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// What holds from now on.
    Controls(Controls),
    /// Something about an incident. One that is not open changes nothing.
    Order {
        /// Which one.
        incident: IncidentId,
        /// Who.
        by: Box<str>,
        /// What.
        order: Order,
    },
    /// The guest in which, or the node on which, Jarvis itself runs. What somebody said in the settings counts more.
    Found(Vec<Subject>),
}

/// Everything that the engine can ask of the world, in the order in which it is to be done.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Write this down, before anything that follows.
    Record(Entry),
    /// Look at some guests of one node.
    Inspect(Inspection),
    /// Tell this.
    Notify(Event),
    /// Do this once, after what stands before it is recorded; not at all where that fails.
    Act(Permit),
}

/// All that an engine knows at one moment, but not its policy: for who wants to go through what followed once more. Not for a
/// restart, after which the world must be asked anew ([`Checkpoint`]).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Moment {
    memory: Memory,
    controls: Controls,
    scratch: Scratch,
}

/// Watches one cluster.
#[derive(Clone, Debug)]
pub struct Engine {
    cluster: ClusterName,
    policy: Policy,
    memory: Memory,
    controls: Controls,
    scratch: Scratch,
}

impl Engine {
    /// An engine that knows nothing yet: its first critical round only records.
    ///
    /// `seed` is the start of the incidents' ids; the same seed and inputs give the same effects.
    pub fn new(cluster: ClusterName, policy: Policy, seed: u64) -> Engine {
        let memory = Memory {
            judged: BTreeMap::new(),
            blind_rounds: 0,
            blind_by: None,
            quorate: true,
            frozen: false,
            judged_live: BTreeMap::new(),
            nodes: BTreeMap::new(),
            guests: BTreeMap::new(),
            storages: BTreeSet::new(),
            suspects: BTreeMap::new(),
            node_suspects: BTreeMap::new(),
            service_suspects: BTreeMap::new(),
            incidents: Incidents::new(seed),
            attempts: Vec::new(),
            opened: Vec::new(),
            storm: None,
            last_starts: BTreeMap::new(),
        };
        Engine { cluster, policy, memory, controls: Controls::default(), scratch: Scratch::default() }
    }

    /// An engine that goes on where another one stopped: its last checkpoint, and what was told since, oldest first.
    /// What was asked and not answered is asked again.
    ///
    /// `seed` is the start of the ids of incidents to come; a new one for each start, or ids of the time after the
    /// checkpoint would be given out twice. `now` is when it goes on, by a clock that may have been set back since.
    pub fn restore(
        cluster: ClusterName,
        policy: Policy,
        seed: u64,
        now: Timestamp,
        last: Option<Checkpoint>,
        since: impl IntoIterator<Item = Entry>,
    ) -> Engine {
        let mut engine = Engine::new(cluster, policy, seed);
        if let Some(last) = last {
            engine.memory = last.woken(now);
        }
        since.into_iter().for_each(|entry| engine.fold(entry.not_after(now)));
        engine.memory.incidents.reseed(seed);
        engine
    }

    /// What [`Engine::resume`] needs.
    pub fn moment(&self) -> Moment {
        Moment { memory: self.memory.clone(), controls: self.controls.clone(), scratch: self.scratch.clone() }
    }

    /// An engine in the middle of what another one was at: the same inputs give the same effects, the ids of incidents
    /// included, as far as the policies agree.
    pub fn resume(cluster: ClusterName, policy: Policy, moment: Moment) -> Engine {
        let Moment { memory, controls, scratch } = moment;
        Engine { cluster, policy, memory, controls, scratch }
    }

    /// What [`Engine::restore`] needs.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.memory
    }

    /// What operators have set, as this engine was last told.
    pub fn controls(&self) -> &Controls {
        &self.controls
    }

    /// The cluster that this engine watches.
    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// Whether the last critical round could be believed.
    pub fn seeing(&self) -> bool {
        self.memory.blind_rounds == 0
    }

    /// A guest as it was last seen.
    pub fn seen_guest(&self, guest: GuestId) -> Option<&Guest> {
        self.memory.guests.get(&guest).map(|known| &known.guest)
    }

    /// When `step` wants to be called again although nothing happened.
    pub fn next_wake(&self) -> Option<Timestamp> {
        let guests = self.memory.suspects.values().filter(|suspect| !suspect.after_restart);
        let nodes = self.memory.node_suspects.values().map(|suspect| suspect.due);
        let services = self.memory.service_suspects.values().copied();
        let remedies = self.scratch.wake.into_iter();
        guests.map(|suspect| suspect.due).chain(nodes).chain(services).chain(remedies).min()
    }

    /// The whole engine: what happened, to what is to be done about it.
    pub fn step(&mut self, now: Timestamp, input: Input) -> Vec<Effect> {
        let mut turn = Turn { now, effects: Vec::new(), left_groups: Vec::new() };
        match input {
            Input::Observed(snapshot) => self.observed(&mut turn, snapshot),
            Input::Inspected { inspection: Inspection::Guests(look), answer: Evidence::Guests(answer) } => {
                self.inspected(&mut turn, &look, &answer);
            }
            Input::Inspected { inspection: Inspection::Node(look), answer: Evidence::Node(answer) } => {
                self.node_looked_at(&mut turn, &look, &answer);
            }
            Input::Inspected {
                inspection: Inspection::Services(node),
                answer: Evidence::Services(answer),
            } => {
                self.services_looked_at(&mut turn, &node, &answer);
            }
            Input::Inspected { inspection: Inspection::Review(look), answer: Evidence::Review(answer) } => {
                self.reviewed(&mut turn, &look, &answer);
            }
            Input::Acted { incident, attempt, outcome } => self.acted(&mut turn, incident, attempt, outcome),
            Input::Commanded(Command::Controls(controls)) => {
                if controls.kill_switch == KillSwitch::On && self.controls.kill_switch != KillSwitch::On {
                    self.drop_approvals();
                }
                self.controls = controls;
            }
            Input::Commanded(Command::Order { incident, by, order }) => {
                self.ordered(&mut turn, incident, &by, order);
            }
            Input::Commanded(Command::Found(own)) => self.scratch.found = own,
            // An answer of another kind than its question answers nothing; what was asked is asked again.
            Input::Inspected { .. } | Input::Tick => {}
        }
        self.inspect_due(&mut turn);
        self.look_at_nodes(&mut turn);
        self.remedies(&mut turn);
        self.group(&mut turn);
        turn.effects
    }

    fn observed(&mut self, turn: &mut Turn, snapshot: Snapshot) {
        let newest = self.memory.judged.get(&snapshot.round).copied();
        if newest.is_some_and(|newest| snapshot.began_at < newest) {
            return; // A late answer never overwrites a newer one.
        }
        match snapshot.round {
            Round::Critical => return self.critical(turn, snapshot),
            // Each node's list comes as a round of its own, so each has its own order.
            Round::Live => return self.live(turn, &snapshot),
            // The first critical round of a fresh install records what is; only then is there anything to judge.
            Round::Important | Round::Routine | Round::Background
                if !self.memory.judged.contains_key(&Round::Critical) =>
            {
                return;
            }
            Round::Important => {
                self.thresholds(turn, &snapshot);
                self.doors(turn, &snapshot);
            }
            Round::Routine => {
                self.services(turn, &snapshot);
                self.addresses(&snapshot);
                self.temperatures(turn, &snapshot);
                self.heartbeat(turn);
            }
            Round::Background => self.capacity(turn, &snapshot),
        }
        self.memory.judged.insert(snapshot.round, snapshot.began_at);
    }

    fn critical(&mut self, turn: &mut Turn, snapshot: Snapshot) {
        let (began_at, storages) = (snapshot.began_at, snapshot.storages.clone());
        let seen = match self.sight(snapshot) {
            Ok(seen) => seen,
            Err(blindness) => {
                self.memory.frozen = false;
                // One round that was lost is no gap.
                if self.memory.blind_rounds >= BLIND_AFTER {
                    self.unwatched(turn.now);
                }
                return self.blind(turn, blindness);
            }
        };
        self.memory.frozen = self.frozen(&seen.nodes, seen.asked_at);
        if self.memory.frozen {
            let words = "the statistics of every node stand still".into();
            return self.blind(turn, Blindness { cause: Cause::Stale, words });
        }
        self.memory.blind_rounds = 0;
        self.memory.blind_by = None;
        self.gone(turn, Slot { check: Check::Blind, subject: Subject::Cluster }, Resolution::Itself);
        self.quorum(turn, seen.quorum);
        if !self.memory.quorate {
            // The view of a minority: every node of the other side looks offline to it (pve-domain 4.2).
            return self.out_of_sight(turn.now, &seen.nodes);
        }
        let last = self.memory.judged.insert(Round::Critical, began_at);
        let first = last.is_none();
        // A time without rounds is like one in which they failed; one without Jarvis is seen to when it goes on.
        let before = last.filter(|last| *last > Timestamp::MIN);
        if before.is_some_and(|before| began_at.duration_since(before) > VIEW_MAX) {
            self.unwatched(turn.now);
        }
        self.nodes(turn, &seen, first, last != Some(began_at));
        self.guests(turn, seen, first);
        if let Seen::At { value: storages, asked_at } = &storages
            && !storages.is_empty()
        {
            self.outages(turn, storages, *asked_at);
            self.room(storages);
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
        let streak = match self.memory.blind_by {
            Some((before, rounds)) if before == cause => rounds.saturating_add(1),
            Some(_) | None => 1,
        };
        self.memory.blind_by = Some((cause, streak));
        if self.memory.blind_rounds >= BLIND_AFTER {
            let slot = Slot { check: Check::Blind, subject: Subject::Cluster };
            let told = self.memory.incidents.get(&slot).map(|incident| &incident.finding);
            // One round of another cause is no news.
            if streak < BLIND_AFTER
                && matches!(told, Some(Finding::Blind { cause: told, .. }) if *told != cause)
            {
                return;
            }
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

    fn heartbeat(&mut self, turn: &mut Turn) {
        let fact = Fact::Heartbeat(self.summary());
        self.tell(turn, Entry { at: turn.now, subject: Subject::Cluster, name: None, node: None, fact });
    }

    /// How many incidents something is being done about.
    pub fn underway(&self) -> usize {
        self.open_incidents().filter(|(_, incident)| incident.state.attempt().is_some()).count()
    }

    /// Every incident that was told and is not over.
    pub fn open_incidents(&self) -> impl Iterator<Item = (&Slot, &Incident)> {
        self.memory.incidents.told()
    }

    /// How the cluster is as a whole, from what is remembered.
    pub fn summary(&self) -> Summary {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let nodes = self.memory.nodes.values();
        let guests = self.memory.guests.values().filter(|known| !known.guest.template);
        // Of a node that is away nobody knows how its guests are; what is remembered of them is no answer.
        let runs = |known: &&KnownGuest| {
            let node = self.memory.nodes.get(&known.guest.node);
            known.guest.status.has_process() == Some(true)
                && node.is_none_or(|node| node.presence != Presence::Offline)
        };
        Summary {
            nodes_online: count(nodes.clone().filter(|node| node.presence == Presence::Online).count()),
            nodes: count(nodes.count()),
            guests_running: count(guests.clone().filter(runs).count()),
            guests: count(guests.count()),
            incidents: count(self.memory.incidents.told().count()),
        }
    }

    fn remove_subject(&mut self, turn: &mut Turn, subject: &Subject) {
        self.end_all_of(turn, subject, Resolution::Removed);
    }

    fn end_all_of(&mut self, turn: &mut Turn, subject: &Subject, by: Resolution) {
        let slots: Vec<Slot> =
            self.memory.incidents.slots().filter(|slot| slot.subject == *subject).cloned().collect();
        for slot in slots {
            self.gone(turn, slot, by);
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
            | Check::StorageOffline
            | Check::StatsStale
            | Check::NodeApi
            | Check::GuestFault
            | Check::HaFailed
            | Check::ServiceDown => SignedDuration::ZERO,
        };
        let subject = slot.subject.clone();
        let change = self.memory.incidents.found(turn.now, Found { slot, finding, node, name, pending });
        self.changed_incident(turn, subject, change);
    }

    /// Ends an incident whose finding is gone, if there is one; true if it had been told. While something is done about
    /// it, whether it is over is for the verification to say.
    fn gone(&mut self, turn: &mut Turn, slot: Slot, by: Resolution) -> bool {
        let state = self.memory.incidents.get(&slot).map(|incident| incident.state.clone());
        let by = match (state, by, &slot.subject) {
            // A node that is a member again is what was waited for.
            (Some(State::Verifying { watch, .. }), Resolution::Itself, Subject::Node(name))
                if slot.check == Check::NodeUnreachable =>
            {
                match self.came_back(turn, &slot, name, &watch) {
                    true => Resolution::Mended,
                    false => Resolution::Itself,
                }
            }
            (Some(State::Acting { .. }), Resolution::Itself, _) if slot.check == Check::NodeUnreachable => by,
            (Some(State::Acting { .. } | State::Verifying { .. }), Resolution::Itself, _) => return true,
            (_, by, _) => by,
        };
        self.end(turn, slot, by)
    }

    fn end(&mut self, turn: &mut Turn, slot: Slot, by: Resolution) -> bool {
        self.outlive(&slot);
        let change = self.memory.incidents.gone(&slot, by);
        let told = change.is_some();
        self.changed_incident(turn, slot.subject, change);
        told
    }

    fn changed_incident(&mut self, turn: &mut Turn, subject: Subject, change: Option<Change>) {
        let Some(change) = change else { return };
        let (incident, fact) = match change {
            Change::Opened(incident) => {
                let finding = incident.finding.clone();
                let fact = Fact::Opened { incident: incident.id, finding, group: None };
                (incident, fact)
            }
            Change::Turned { incident, from } => {
                let finding = incident.finding.clone();
                let fact = Fact::Turned { incident: incident.id, from: from.condition(), finding };
                (incident, fact)
            }
            Change::Resolved { incident, since, by } => {
                if let Some(group) = incident.group {
                    turn.left_groups.push((turn.effects.len() + 1, group));
                }
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
        let event = report::is_told(&entry.fact).then(|| report::event(&self.cluster, &entry));
        turn.effects.push(Effect::Record(entry));
        turn.effects.extend(event.map(Effect::Notify));
    }
}

/// One call of `step`.
struct Turn {
    now: Timestamp,
    effects: Vec<Effect>,
    /// Groups that lost a member, with the place of the event that says so.
    left_groups: Vec<(usize, IncidentId)>,
}

/// What a critical round saw, where it can be believed.
struct Sight {
    quorum: Quorum,
    nodes: BTreeMap<NodeName, Node>,
    guests: BTreeMap<GuestId, Guest>,
    asked_at: Timestamp,
}
