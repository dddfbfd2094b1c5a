//! Nodes: from a membership that ends or an API that is silent, over a look at the node, to what is told of it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::memory::{Address, Departure, KnownNode, NodeSuspect, NodeSuspicion};
use super::{Effect, Engine, Sight, Turn};
use crate::decide::VIEWS_MIN;
use crate::detect::node::{self, Left, SHUTDOWN_WITHIN};
use crate::detect::{Check, Finding, service};
use crate::incident::{Resolution, Slot};
use crate::observe::{
    Door, Inspection, Node, NodeEvidence, NodeLook, NodeName, Presence, Seen, Service, ServiceId, Snapshot,
    Subject,
};
use crate::policy::Metric;
use crate::record::Note;

/// A look at a node that is not answered within this is given up, and the verdict goes without it: a lost node must be
/// told whatever hangs.
const LOOK_WITHIN: SignedDuration = SignedDuration::from_secs(15);
/// An API that does not answer is asked once more after this: a service that restarts is away for 3 to 5 s.
const DOOR_AGAIN: SignedDuration = SignedDuration::from_secs(10);
/// A look at an absent node that is not answered in full is made once more, soon.
const ABSENT_TIMES: u32 = 2;
const ABSENT_AGAIN: SignedDuration = SignedDuration::from_secs(1);
/// A node is taken out of the cluster when so many rounds in a row do not list it: one row may be unreadable.
const GONE_AFTER: u32 = 2;
/// How often a look may find out nothing before it is left to the next round.
const DOOR_TIMES: u32 = 3;
/// A node whose cluster file system is down may die as well, which its membership does not show.
const CLUSTER_FS_AGAIN: SignedDuration = SignedDuration::from_secs(60);

/// A node that is lost is looked at again after this while fewer than two others are known not to see it, or its tasks could not be
/// read: who could not be asked at first can say so later, and without that nobody wakes it.
const LOST_AGAIN: SignedDuration = SignedDuration::from_secs(60);

impl Engine {
    /// When a node last joined the cluster, as far as it was seen.
    pub(super) fn joined_at(&self, seen: &Sight) -> Option<Timestamp> {
        let members = seen.nodes.iter().filter(|(_, node)| node.presence != Presence::Offline);
        let since = |name: &NodeName| {
            let known = self.memory.nodes.get(name)?;
            Some(known.member_since.unwrap_or(seen.asked_at))
        };
        members.filter_map(|(name, _)| since(name)).max()
    }

    /// `fresh` says that this round has not been judged before.
    pub(super) fn nodes(&mut self, turn: &mut Turn, seen: &Sight, first: bool, fresh: bool) {
        let joined_at = self.joined_at(seen);
        for (name, node) in &seen.nodes {
            let before = self.memory.nodes.get(name).cloned();
            if before.is_none() && !first {
                let subject = Subject::Node(name.clone());
                self.note(turn, subject, None, Some(name.clone()), Note::NodeAppeared);
            }
            let known = KnownNode::now(before.as_ref(), node, seen.asked_at, joined_at);
            let stalled =
                node::stalled(node.presence, node.uptime, known.moved_at, known.member_since, seen.asked_at);
            self.memory.nodes.insert(name.clone(), known);
            match node.presence {
                Presence::Offline => self.absent(turn, name, before.as_ref()),
                Presence::Online | Presence::Unknown => {
                    self.present(turn, name, node, before.as_ref(), stalled)
                }
            }
        }
        let mut removed: Vec<NodeName> = Vec::new();
        for (name, known) in self.memory.nodes.iter_mut().filter(|(name, _)| !seen.nodes.contains_key(*name))
        {
            known.missing += u32::from(fresh);
            if known.missing >= GONE_AFTER {
                removed.push(name.clone());
            }
        }
        for name in removed {
            self.memory.nodes.remove(&name);
            self.memory.node_suspects.remove(&name);
            self.memory.service_suspects.remove(&name);
            self.memory.judged_live.remove(&name);
            self.remove_subject(turn, &Subject::Node(name.clone()));
            self.remove_services_of(turn, &name);
            self.remove_guests_of(turn, &name, &seen.guests);
            self.note(turn, Subject::Node(name.clone()), None, Some(name), Note::NodeGone);
        }
    }

    /// Nodes that a minority does not see may be dead or alive; when they are seen again, what is shown of them at first
    /// may be from before.
    pub(super) fn out_of_sight(&mut self, now: Timestamp, nodes: &BTreeMap<NodeName, Node>) {
        self.unwatched(now);
        let away = |name: &NodeName| nodes.get(name).is_some_and(|node| node.presence == Presence::Offline);
        for (_, known) in self.memory.nodes.iter_mut().filter(|(name, _)| away(name)) {
            (known.member_since, known.online_since, known.believed) = (None, None, false);
        }
    }

    /// While nobody looks, nothing is seen to stand still; and a row that is afterwards as it was says nothing of that time.
    pub(super) fn unwatched(&mut self, now: Timestamp) {
        for known in self.memory.nodes.values_mut() {
            (known.moved_at, known.unheard) = (Some(now), true);
        }
    }

    /// Whether nothing that the round shows has moved for longer than statistics take: then it is not the nodes that
    /// stalled, but the one that answers. Of a node that is alone nobody can tell.
    pub(super) fn frozen(&self, nodes: &BTreeMap<NodeName, Node>, asked_at: Timestamp) -> bool {
        let stands_still = |(name, node): (&NodeName, &Node)| {
            self.memory.nodes.get(name).is_some_and(|known| {
                known.uptime == node.uptime
                    && node::stalled(node.presence, node.uptime, known.moved_at, known.member_since, asked_at)
            })
        };
        let online: Vec<_> = nodes.iter().filter(|(_, node)| node.presence == Presence::Online).collect();
        online.len() > 1 && online.into_iter().all(stands_still)
    }

    fn absent(&mut self, turn: &mut Turn, name: &NodeName, before: Option<&KnownNode>) {
        let Some(before) = before else { return };
        let lost = Slot { check: Check::NodeUnreachable, subject: Subject::Node(name.clone()) };
        let again = match before.departure {
            _ if before.presence != Presence::Offline => {
                // What was suspected on it is explained by its leaving.
                self.forget_suspects_on(name);
                turn.now
            }
            None => turn.now, // Another node counted it as a member; it is to be asked again.
            Some(Departure::ClusterFsDown) => turn.now + CLUSTER_FS_AGAIN,
            Some(Departure::Unasked) => turn.now + LOST_AGAIN,
            Some(Departure::Lost) if self.views_of(&lost).is_some_and(|views| views < VIEWS_MIN) => {
                turn.now + LOST_AGAIN
            }
            Some(Departure::Before | Departure::Lost | Departure::OnPurpose) => return,
        };
        let last_seen = before.seen_at.unwrap_or(turn.now);
        let suspects = &mut self.memory.node_suspects;
        let absent = suspects.get(name).is_some_and(|known| known.suspicion == NodeSuspicion::Absent);
        if !absent {
            suspects.insert(name.clone(), NodeSuspect::new(NodeSuspicion::Absent, last_seen, again));
        }
    }

    fn present(
        &mut self,
        turn: &mut Turn,
        name: &NodeName,
        node: &Node,
        before: Option<&KnownNode>,
        stalled: bool,
    ) {
        let subject = Subject::Node(name.clone());
        let slot = |check| Slot { check, subject: subject.clone() };
        self.memory
            .node_suspects
            .retain(|suspect, known| suspect != name || known.suspicion == NodeSuspicion::Door);
        self.gone(turn, slot(Check::NodeUnreachable), Resolution::Itself);
        let departure = before.and_then(|before| before.departure);
        let younger = before.filter(|before| before.restarted(node));
        if departure == Some(Departure::OnPurpose) {
            self.note(turn, subject.clone(), None, Some(name.clone()), Note::NodeBack);
        } else if younger.is_some_and(|before| before.believed) {
            self.note(turn, subject.clone(), None, Some(name.clone()), Note::NodeRestarted);
        }
        // However it left, and also if there was no quorum to see that: its uptime shows the boot once its statistics are believed.
        if younger.is_some() && self.memory.nodes.get(name).is_some_and(|known| known.believed) {
            self.suspect_after_boot(turn.now, name);
        }
        if departure == Some(Departure::ClusterFsDown) {
            self.gone(turn, slot(Check::NodeApi), Resolution::Itself);
        }
        if stalled {
            self.found(turn, slot(Check::StatsStale), Finding::StatsStale, Some(name.clone()), None);
        } else if node.presence == Presence::Online {
            self.gone(turn, slot(Check::StatsStale), Resolution::Itself);
        }
    }

    /// How far a question to each node came, in an important round. Questions go through the endpoint that is asked; as
    /// long as that cannot be believed itself, what does not come back says nothing of the others.
    pub(super) fn doors(&mut self, turn: &mut Turn, snapshot: &Snapshot) {
        if !(self.seeing() && self.memory.quorate) {
            return;
        }
        for (name, door) in &snapshot.doors {
            let member = self.memory.nodes.get(name).is_some_and(|known| known.presence != Presence::Offline);
            let (Some(door), true) = (door.value().copied(), member) else { continue };
            let slot = Slot { check: Check::NodeApi, subject: Subject::Node(name.clone()) };
            if door == Door::Open {
                self.memory
                    .node_suspects
                    .retain(|suspect, known| suspect != name || known.suspicion == NodeSuspicion::Absent);
                self.gone(turn, slot, Resolution::Itself);
            } else if self.memory.incidents.get(&slot).is_some() {
                self.found(turn, slot, Finding::NodeApi { door }, Some(name.clone()), None);
            } else {
                let due = turn.now + DOOR_AGAIN;
                let suspect = NodeSuspect::new(NodeSuspicion::Door, turn.now, due);
                self.memory.node_suspects.entry(name.clone()).or_insert(suspect);
            }
        }
    }

    /// Asks about every node whose time has come.
    pub(super) fn look_at_nodes(&mut self, turn: &mut Turn) {
        let due: Vec<NodeName> = self
            .memory
            .node_suspects
            .iter()
            .filter(|(_, suspect)| suspect.due <= turn.now)
            .map(|(name, _)| name.clone())
            .collect();
        for name in due {
            let Some(suspect) = self.memory.node_suspects.get_mut(&name) else { continue };
            if suspect.asked_at.is_some() {
                let unanswered = NodeEvidence {
                    views: BTreeMap::new(),
                    tasks: Seen::NotAsked,
                    ha: Seen::NotAsked,
                    door: Seen::NotAsked,
                };
                self.judge_node(turn, &name, &unanswered, true);
                continue;
            }
            suspect.asked_at = Some(turn.now);
            suspect.tries += 1;
            suspect.due = turn.now + LOOK_WITHIN;
            let since = suspect.last_seen - SHUTDOWN_WITHIN;
            turn.effects.push(Effect::Inspect(Inspection::Node(NodeLook { node: name, since })));
        }
        let due: Vec<NodeName> = self
            .memory
            .service_suspects
            .iter()
            .filter(|(_, due)| **due <= turn.now)
            .map(|(name, _)| name.clone())
            .collect();
        for name in due {
            // Asked once: the answer, or else the next routine round, says the rest.
            self.memory.service_suspects.remove(&name);
            turn.effects.push(Effect::Inspect(Inspection::Services(name)));
        }
    }

    pub(super) fn node_looked_at(&mut self, turn: &mut Turn, look: &NodeLook, answer: &NodeEvidence) {
        let Some(suspect) = self.memory.node_suspects.get(&look.node) else { return };
        let Some(asked_at) = suspect.asked_at else { return };
        let late = |seen: &Seen<crate::observe::View>| match seen {
            Seen::At { asked_at: made_at, .. } => *made_at < asked_at,
            Seen::NotAsked | Seen::NotReached(_) => false,
        };
        if answer.views.values().any(late) {
            return; // The answer to an earlier question.
        }
        self.judge_node(turn, &look.node, answer, false);
    }

    /// `last` says that there is no more time to ask once more.
    fn judge_node(&mut self, turn: &mut Turn, name: &NodeName, evidence: &NodeEvidence, last: bool) {
        let Some(mut suspect) = self.memory.node_suspects.remove(name) else { return };
        match suspect.suspicion {
            // What is not seen at all is no evidence; the next round that can be believed suspects it again.
            NodeSuspicion::Absent if !(self.seeing() && self.memory.quorate) => {}
            // One call that failed must not make it lost: without its door nobody knows whether it lives, without its
            // tasks nobody knows whether it was to leave.
            NodeSuspicion::Absent if !last && suspect.tries < ABSENT_TIMES && node::silent(evidence) => {
                (suspect.asked_at, suspect.due) = (None, turn.now + ABSENT_AGAIN);
                self.memory.node_suspects.insert(name.clone(), suspect);
            }
            NodeSuspicion::Absent => self.judge_absent(turn, name, suspect.last_seen, evidence),
            NodeSuspicion::Door => self.judge_door(turn, name, suspect, evidence),
        }
    }

    fn judge_absent(
        &mut self,
        turn: &mut Turn,
        name: &NodeName,
        last_seen: Timestamp,
        evidence: &NodeEvidence,
    ) {
        let subject = Subject::Node(name.clone());
        let lost = Slot { check: Check::NodeUnreachable, subject: subject.clone() };
        if let Some(known) = self.views_of(&lost) {
            return self.judge_lost(
                turn,
                name,
                lost,
                known,
                node::why_left(name, last_seen, evidence),
                evidence,
            );
        }
        let api = Slot { check: Check::NodeApi, subject: subject.clone() };
        let departure = match node::why_left(name, last_seen, evidence) {
            Left::StillThere => return, // As long as it is shown as gone, it is asked about again.
            Left::OnPurpose(by) => {
                self.gone(turn, api, Resolution::Superseded);
                self.note(turn, subject, None, Some(name.clone()), Note::NodeLeft { by });
                Departure::OnPurpose
            }
            Left::ClusterFsDown => {
                let finding = Finding::NodeApi { door: Door::ClusterFsDown };
                self.found(turn, api, finding, Some(name.clone()), None);
                Departure::ClusterFsDown
            }
            Left::Lost { views, door } => {
                self.gone(turn, api, Resolution::Superseded);
                let guests = self.alive_on(name);
                let slot = Slot { check: Check::NodeUnreachable, subject };
                let finding = Finding::NodeUnreachable { guests, views, door };
                self.found(turn, slot, finding, Some(name.clone()), None);
                if evidence.tasks.value().is_some() { Departure::Lost } else { Departure::Unasked }
            }
        };
        if let Some(known) = self.memory.nodes.get_mut(name) {
            known.departure = Some(departure);
        }
    }

    /// A node that was told as lost: who misses it as well, and that somebody wanted it to leave, is news; all else was said.
    fn judge_lost(
        &mut self,
        turn: &mut Turn,
        name: &NodeName,
        lost: Slot,
        known: u32,
        left: Left,
        evidence: &NodeEvidence,
    ) {
        let departure = match left {
            Left::OnPurpose(by) => {
                self.gone(turn, lost, Resolution::Unwatched);
                let subject = Subject::Node(name.clone());
                self.note(turn, subject, None, Some(name.clone()), Note::NodeLeft { by });
                Departure::OnPurpose
            }
            Left::Lost { views, .. } => {
                if let Some(incident) = self.memory.incidents.get_mut(&lost)
                    && let Finding::NodeUnreachable { views: told, .. } = &mut incident.finding
                {
                    *told = views.max(known);
                }
                if evidence.tasks.value().is_none() {
                    return;
                }
                Departure::Lost
            }
            Left::StillThere | Left::ClusterFsDown => return,
        };
        if let Some(known) = self.memory.nodes.get_mut(name) {
            known.departure = Some(departure);
        }
    }

    fn judge_door(
        &mut self,
        turn: &mut Turn,
        name: &NodeName,
        mut suspect: NodeSuspect,
        evidence: &NodeEvidence,
    ) {
        let slot = Slot { check: Check::NodeApi, subject: Subject::Node(name.clone()) };
        match evidence.door.value().copied() {
            Some(Door::Open) => {
                self.gone(turn, slot, Resolution::Itself);
            }
            Some(_) if !(self.seeing() && self.memory.quorate) => {}
            // Whether it is a member is asked again: one that died a moment ago answers nothing either.
            Some(_) if !node::member(evidence) => {}
            Some(door) => self.found(turn, slot, Finding::NodeApi { door }, Some(name.clone()), None),
            None if suspect.tries < DOOR_TIMES => {
                (suspect.asked_at, suspect.due) = (None, turn.now + DOOR_AGAIN);
                self.memory.node_suspects.insert(name.clone(), suspect);
            }
            None => {}
        }
    }

    /// A node's services in a routine round: one that is down is looked at again before it is told.
    pub(super) fn services(&mut self, turn: &mut Turn, snapshot: &Snapshot) {
        for (name, services) in &snapshot.services {
            let Some(services) = services.value().filter(|_| self.memory.nodes.contains_key(name)) else {
                continue;
            };
            if self.judge_services(turn, name, services, false) {
                self.memory.service_suspects.insert(name.clone(), turn.now + service::LOOK_AGAIN);
            }
        }
    }

    pub(super) fn services_looked_at(
        &mut self,
        turn: &mut Turn,
        name: &NodeName,
        answer: &Seen<Vec<Service>>,
    ) {
        if let Some(services) = answer.value().filter(|_| self.memory.nodes.contains_key(name)) {
            self.judge_services(turn, name, services, true);
        }
    }

    /// Tells of those that are down when this is the second look, or when they are told already; true if others are.
    fn judge_services(
        &mut self,
        turn: &mut Turn,
        name: &NodeName,
        services: &[Service],
        again: bool,
    ) -> bool {
        let alone = self.memory.nodes.len() == 1;
        let mut more = false;
        for slot in self.memory.incidents.slots_of(Check::ServiceDown) {
            let of_node = matches!(&slot.subject, Subject::Service(id)
                if id.node == *name && services.iter().all(|service| service.name != id.name));
            if of_node {
                self.gone(turn, slot, Resolution::Removed); // PVE does not know it any more.
            }
        }
        for found in services {
            let id = ServiceId { node: name.clone(), name: found.name.clone() };
            let slot = Slot { check: Check::ServiceDown, subject: Subject::Service(id) };
            if !service::down(found, alone) {
                self.gone(turn, slot, Resolution::Itself);
            } else if again || self.memory.incidents.get(&slot).is_some() {
                let finding = Finding::ServiceDown { active: found.active.clone() };
                self.found(turn, slot, finding, Some(name.clone()), None);
            } else {
                more = true;
            }
        }
        more
    }

    fn remove_services_of(&mut self, turn: &mut Turn, name: &NodeName) {
        for slot in self.memory.incidents.slots_of(Check::ServiceDown) {
            if matches!(&slot.subject, Subject::Service(id) if id.node == *name) {
                self.gone(turn, slot, Resolution::Removed);
            }
        }
    }

    /// The address that wakes each node, remembered for the time when it cannot be asked.
    pub(super) fn addresses(&mut self, snapshot: &Snapshot) {
        for (name, wakes) in &snapshot.wakes {
            if let (Some(known), Some(wakes)) = (self.memory.nodes.get_mut(name), wakes.value()) {
                known.address = wakes.map_or(Address::None, Address::Is);
            }
        }
    }

    /// Each node's hottest sensor, in a routine round.
    pub(super) fn temperatures(&mut self, turn: &mut Turn, snapshot: &Snapshot) {
        for (name, sensors) in &snapshot.temperatures {
            let Some(sensors) = sensors.value().filter(|_| self.memory.nodes.contains_key(name)) else {
                continue;
            };
            let hottest = sensors.values().copied().filter(|value| value.is_finite()).max_by(f64::total_cmp);
            let Some(hottest) = hottest else { continue };
            let subject = Subject::Node(name.clone());
            let slot = Slot { check: Check::OverMark(Metric::Temperature), subject: subject.clone() };
            let last = self.memory.incidents.get(&slot);
            let finding = node::over_mark(&self.policy, &subject, Metric::Temperature, last, hottest);
            self.judged(turn, slot, finding, Some(name.clone()));
        }
    }
}
