//! Fold: what was told since the last checkpoint, put back into memory.
//!
//! A process that was killed knows what it knew at its last checkpoint, and the journal knows what it told since. Both
//! together are what it knew: nothing is told twice, and no incident is opened anew. Nothing here tells or asks.

use jiff::Timestamp;

use super::memory::{Address, Departure, KnownGuest, KnownNode, LiveSeen};
use super::{Engine, Memory};
use crate::act::Outcome;
use crate::decide::{Hold, KillSwitch};
use crate::detect::guest::{self, ROW_AGE};
use crate::detect::{Check, Finding};
use crate::incident::{Course, Incident, IncidentId, Resolution, Said, Slot, State};
use crate::observe::{Guest, GuestId, GuestStatus, NodeName, Presence, Round, Subject};
use crate::record::{Entry, Fact, Note, Step};
use crate::verify::Watch;

impl Memory {
    /// The system's clock may have been set back since, so no time of the past may make anything wait, and none may lie
    /// ahead. And a new process has no late answers: that a round was judged counts, when it was does not.
    pub(super) fn woken(mut self, now: Timestamp) -> Memory {
        // When something was last seen as it was is not known where its time lies ahead. Too early is on the safe side:
        // more can explain what happened since.
        let long_ago = now.checked_sub(guest::TASKS_BEFORE).unwrap_or(now);
        let seen = |time: &mut Timestamp| {
            if *time > now {
                *time = long_ago;
            }
        };
        let past = |time: &mut Timestamp| *time = (*time).min(now);
        for known in self.nodes.values_mut() {
            known.seen_at.iter_mut().for_each(seen);
            for time in [&mut known.member_since, &mut known.online_since, &mut known.moved_at] {
                time.iter_mut().for_each(past);
            }
            known.booted_at.iter_mut().for_each(past);
            known.unheard = true;
        }
        for known in self.guests.values_mut() {
            seen(&mut known.seen_at);
            known.alive_at.iter_mut().for_each(seen);
            known.told_at.iter_mut().for_each(seen);
            for time in [&mut known.down_since, &mut known.wanted_since, &mut known.moved_at] {
                time.iter_mut().for_each(past);
            }
        }
        for suspect in self.suspects.values_mut() {
            seen(&mut suspect.last_seen);
        }
        for suspect in self.node_suspects.values_mut() {
            seen(&mut suspect.last_seen);
        }
        self.service_suspects.values_mut().for_each(past);
        self.incidents.since_at_most(now);
        self.attempts.iter_mut().flat_map(|(_, made)| made).for_each(past);
        self.last_starts.values_mut().for_each(|last| past(&mut last.at));
        self.opened.iter_mut().for_each(past);
        self.storm.iter_mut().for_each(past);
        self.judged.values_mut().for_each(|began_at| *began_at = Timestamp::MIN);
        self.judged.remove(&Round::Live);
        self.judged_live.clear();
        self.guests.values_mut().for_each(|known| known.live = None);
        for suspect in self.node_suspects.values_mut() {
            (suspect.asked_at, suspect.due) = (None, Timestamp::MIN);
        }
        for suspect in self.suspects.values_mut() {
            (suspect.asked_at, suspect.due) = (None, Timestamp::MIN);
        }
        self
    }
}

impl Entry {
    /// The same, told at `now` at the latest: what was told since a checkpoint lies ahead as well where the clock was set back.
    pub(super) fn not_after(mut self, now: Timestamp) -> Entry {
        self.at = self.at.min(now);
        if let Fact::Remedy { step: Step::Intended { attempt, .. } | Step::Acted { attempt, .. }, .. } =
            &mut self.fact
        {
            attempt.at = attempt.at.min(now);
        }
        self
    }
}

impl Engine {
    pub(super) fn fold(&mut self, entry: Entry) {
        let Entry { at, subject, name, node, fact } = entry;
        match fact {
            Fact::Opened { incident: id, finding, group } => {
                self.fold_finding(at, &subject, node.as_ref(), &finding);
                let slot = Slot { check: finding.check(), subject };
                let state = State::Open { since: at };
                let course = Course::default();
                self.memory.incidents.put(slot, Incident { id, finding, node, name, state, group, course });
                self.memory.opened.push(at);
            }
            Fact::Turned { finding, .. } => {
                let slot = Slot { check: finding.check(), subject };
                self.memory.incidents.turn(&slot, finding);
            }
            Fact::Resolved { finding, by, .. } => {
                // Only what is over by itself, or was seen to be mended, says how its subject is.
                if matches!(by, Resolution::Itself | Resolution::Mended) {
                    self.fold_end(at, &subject, &finding);
                }
                self.memory.incidents.take(&Slot { check: finding.check(), subject });
            }
            Fact::Noted(note) => self.fold_note(at, &subject, name, node, note),
            Fact::Heartbeat(_) => {}
            Fact::Storm { incidents } => self.memory.storm = (incidents > 0).then_some(at),
            Fact::Remedy { incident, step, .. } => self.fold_step(at, incident, step),
        }
    }

    /// What was decided and done; an attempt that was begun counts, however it ended.
    fn fold_step(&mut self, at: Timestamp, id: IncidentId, step: Step) {
        let Some(slot) = self.memory.incidents.by_id(id).cloned() else { return };
        if let Step::Intended { attempt, .. } = &step {
            self.memory.count(&slot, attempt, None);
        }
        if let Step::Acted { attempt, outcome: Outcome::NotMade { .. } } = &step {
            self.memory.uncount(&slot, attempt.at);
        }
        let condition = self.memory.incidents.get(&slot).map(|incident| incident.finding.condition());
        let book = match (&step, condition) {
            (Step::Acted { attempt, .. }, Some(condition)) => {
                Some(self.runbook_named(&attempt.runbook, condition))
            }
            (_, _) => None,
        };
        let Some(incident) = self.memory.incidents.get_mut(&slot) else { return };
        let Some(since) = incident.state.told_at() else { return };
        let course = &mut incident.course;
        match step {
            Step::Held { action, holds, .. } => {
                course.object(action.node(), &holds);
                // Who stopped everything meant what was approved before, too.
                if holds.contains(&Hold::KillSwitch(KillSwitch::On)) {
                    course.approved = None;
                }
                course.said = Said::Held(holds);
            }
            Step::Recommended { action, .. } => course.said = Said::Recommended(action),
            Step::Intended { attempt, .. } => {
                (course.said, course.approved) = (Said::Nothing, None);
                incident.state = State::Acting { since, attempt, here: false };
            }
            Step::Acted { outcome: Outcome::NotMade { .. }, .. } => {
                course.said = Said::Nothing;
                incident.state = State::Open { since };
            }
            Step::Acted { attempt, outcome } => {
                if let Some(book) = book {
                    let watch = Watch::new(attempt, outcome, at, &book);
                    incident.state = State::Verifying { since, watch };
                }
            }
            Step::Verified { .. } => {
                (course.said, course.approved) = (Said::Nothing, None);
                incident.state = State::Open { since };
            }
            Step::Escalated { .. } => {
                course.said = Said::Nothing;
                incident.state = State::Escalated { since, at };
            }
            Step::Ordered { by, order } => course.order(&by, order, at),
            Step::Lapsed { escalated, .. } => {
                course.approved = None;
                if !escalated {
                    course.said = Said::Nothing;
                }
            }
        }
    }

    fn fold_finding(&mut self, at: Timestamp, subject: &Subject, node: Option<&NodeName>, finding: &Finding) {
        match (finding, subject) {
            (Finding::GuestCrashed { .. } | Finding::GuestNotStarted { .. }, Subject::Guest(id)) => {
                self.fold_guest(at, *id, node, GuestStatus::Stopped);
            }
            (Finding::NodeUnreachable { .. }, Subject::Node(name)) => {
                // What is known of why it left does not stand there: it is asked once more before anything is done.
                self.fold_node(at, name, Presence::Offline, Some(Departure::Unasked));
            }
            (_, _) => {}
        }
    }

    fn fold_end(&mut self, at: Timestamp, subject: &Subject, finding: &Finding) {
        match (finding.check(), subject) {
            (Check::GuestCrashed, Subject::Guest(id)) => {
                self.fold_guest(at, *id, None, GuestStatus::Running);
            }
            (Check::NodeUnreachable, Subject::Node(name)) => {
                self.fold_node(at, name, Presence::Online, None);
            }
            (_, _) => {}
        }
    }

    fn fold_note(
        &mut self,
        at: Timestamp,
        subject: &Subject,
        name: Option<Box<str>>,
        node: Option<NodeName>,
        note: Note,
    ) {
        if let (Subject::Guest(id), Some(node)) = (subject, &node) {
            self.memory.incidents.noted(*id, node, &note);
        }
        match (note, subject) {
            (Note::GuestChanged { to, .. }, Subject::Guest(id)) => {
                self.fold_guest(at, *id, node.as_ref(), to);
            }
            (Note::GuestMoved { to, .. }, Subject::Guest(id)) => {
                if let Some(known) = self.memory.guests.get_mut(id) {
                    known.guest.node = to;
                    known.moved_at = Some(at);
                }
                self.memory.suspects.remove(id);
            }
            (Note::GuestAppeared { .. }, Subject::Guest(id)) => {
                if let Some(node) = node {
                    let guest = Guest {
                        name,
                        node,
                        // How it is, the next round says.
                        status: GuestStatus::Unknown,
                        uptime: 0,
                        io: None,
                        template: false,
                        lock: None,
                        ha: None,
                        tags: Vec::new(),
                        pool: None,
                    };
                    self.memory.guests.entry(*id).or_insert_with(|| KnownGuest::new(guest, at));
                }
                self.memory.suspects.remove(id);
            }
            (Note::GuestGone { .. }, Subject::Guest(id)) => {
                self.memory.guests.remove(id);
                self.memory.suspects.remove(id);
            }
            (Note::GuestRestarted { .. }, Subject::Guest(id)) => {
                if let Some(known) = self.memory.guests.get_mut(id) {
                    known.guest.uptime = 0;
                }
                self.memory.suspects.remove(id);
            }
            (Note::NodeLeft { .. }, Subject::Node(name)) => {
                self.fold_node(at, name, Presence::Offline, Some(Departure::OnPurpose));
            }
            (Note::NodeBack | Note::NodeAppeared, Subject::Node(name)) => {
                self.fold_node(at, name, Presence::Online, None);
            }
            (Note::NodeRestarted, Subject::Node(name)) => {
                if let Some(known) = self.memory.nodes.get_mut(name) {
                    known.uptime = Some(0);
                }
                self.suspect_after_boot(at, name);
            }
            (Note::NodeGone, Subject::Node(name)) => {
                self.memory.nodes.remove(name);
                self.memory.node_suspects.remove(name);
            }
            (_, _) => {}
        }
    }

    /// What was told of a guest is how it was then; whatever was suspected of it is explained.
    pub(super) fn fold_guest(
        &mut self,
        at: Timestamp,
        id: GuestId,
        node: Option<&NodeName>,
        status: GuestStatus,
    ) {
        self.memory.suspects.remove(&id);
        let Some(known) = self.memory.guests.get_mut(&id) else { return };
        let alive = status.has_process();
        known.seen_at = known.seen_at.max(at);
        // It may have been down for a while when it was told.
        known.down_since = (alive == Some(false)).then(|| known.down_since.unwrap_or(at));
        known.guest.status = status;
        if let Some(node) = node {
            known.guest.node = node.clone();
        }
        if alive == Some(true) {
            // The process that is remembered, or a new one: with 0 the next row's uptime is taken as it is, and is no restart.
            known.guest.uptime = 0;
            // What it was told for was a row of up to this age.
            known.alive_at = known.alive_at.max(Some(at - ROW_AGE));
        } else if alive == Some(false) {
            known.had_io = false;
            // The rows of the next seconds may be older than what was told.
            known.live = Some(LiveSeen { running: false, at, uptime: 0 });
        }
    }

    fn fold_node(
        &mut self,
        at: Timestamp,
        name: &NodeName,
        presence: Presence,
        departure: Option<Departure>,
    ) {
        self.memory.node_suspects.remove(name);
        let known = self.memory.nodes.entry(name.clone()).or_insert(KnownNode {
            presence,
            seen_at: Some(at),
            member_since: None,
            online_since: None,
            booted_at: None,
            uptime: None,
            moved_at: Some(at),
            unheard: false,
            believed: false,
            missing: 0,
            departure,
            address: Address::NotKnown,
        });
        (known.presence, known.departure) = (presence, departure);
        if presence == Presence::Offline {
            (known.member_since, known.online_since, known.believed) = (None, None, false);
        }
    }
}
