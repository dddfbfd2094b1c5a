//! Guests: from a change in a row, over a question to the guest's node, to what is told of it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::memory::{KnownGuest, Suspect};
use super::{Effect, Engine, Sight, Turn};
use crate::detect::guest::{self, Suspicion};
use crate::detect::{Check, Fault, Finding, fault};
use crate::incident::{Resolution, Slot};
use crate::observe::{
    Current, Guest, GuestEvidence, GuestId, GuestKind, GuestLook, GuestStatus, Inspection, NodeName,
    Presence, Round, Seen, Snapshot, Subject,
};
use crate::record::{Note, Why};

/// How soon a node that did not answer is asked again (longer each time, up to the patience), and how often
/// before a stop is told with its cause unknown.
pub(super) const ASK_AGAIN: SignedDuration = SignedDuration::from_secs(10);
pub(super) const ASK_TIMES: u32 = 3;
const ASK_PATIENCE: u32 = 30;
/// An inspection whose answer is lost (the asker was restarted) is made again after this.
const ANSWER_WITHIN: SignedDuration = SignedDuration::from_secs(90);

/// QEMUs that one look asks themselves: each that hangs keeps a worker of its node busy for 3 s.
const CURRENT_MAX: usize = 8;
/// Configurations that one look reads.
const CONFIGS_MAX: usize = 32;

/// For this long after a move the rows of a guest may still be those of its old process (pve-domain 1.4). A process that began
/// within it is the move's own, and no restart.
const MOVE_SETTLE: SignedDuration = SignedDuration::from_secs(60);

/// A guest of which a change was suspected, and that is again as it was.
struct Void {
    /// Whether its process is another one than before.
    restarted: bool,
    /// Whether it was down, and is again.
    was_down: bool,
    last_seen: Timestamp,
}

impl Engine {
    pub(super) fn guests(&mut self, turn: &mut Turn, seen: Sight, first: bool) {
        let joined_at = self.joined_at(&seen);
        let Sight { guests, asked_at, .. } = seen;
        let believed: BTreeSet<NodeName> = self
            .memory
            .nodes
            .iter()
            .filter(|(_, node)| node.believed)
            .map(|(name, _)| name.clone())
            .collect();
        let vanished: Vec<GuestId> = self
            .memory
            .guests
            .iter()
            .filter(|(id, known)| !guests.contains_key(id) && believed.contains(&known.guest.node))
            .map(|(id, _)| *id)
            .collect();
        let orphans: Vec<GuestId> = self
            .memory
            .guests
            .iter()
            .filter(|(id, known)| {
                !guests.contains_key(id) && !self.memory.nodes.contains_key(&known.guest.node)
            })
            .map(|(id, _)| *id)
            .collect();
        for id in orphans {
            self.remove_subject(turn, &Subject::Guest(id));
            self.memory.suspects.remove(&id);
            self.memory.guests.remove(&id);
        }
        for (id, row) in guests {
            if believed.contains(&row.node) {
                self.row(turn, (id, row), (asked_at, joined_at), first);
            } else if first {
                // Its row is a ghost of up to 300 s (pve-domain 1.4): where it lies is known, how it is is not.
                let guest = Guest { status: GuestStatus::Unknown, ..row };
                self.memory.guests.insert(id, KnownGuest::new(guest, asked_at));
            }
        }
        for id in vanished {
            let seen_at = self.memory.guests.get(&id).map_or(asked_at, |known| known.seen_at);
            let suspect = Suspect::new(Suspicion::Vanished, seen_at, turn.now);
            if let Some(to) = self.memory.guests.get(&id).map(|known| known.guest.node.clone()) {
                self.tell_unexplained_move(turn, id, to);
            }
            if let Some(Suspect { suspicion: Suspicion::Changed { from }, uptime, .. }) =
                self.memory.suspects.get(&id)
                && let Some(known) = self.memory.guests.get_mut(&id)
                && known.guest.status == GuestStatus::Stopped
            {
                // Its stop is still to be explained, and is seen anew if it is there after all.
                known.unsee_stop(from, *uptime);
            }
            match self.memory.suspects.get(&id).map(|suspect| &suspect.suspicion) {
                Some(Suspicion::Vanished) => {}
                Some(
                    Suspicion::Changed { .. }
                    | Suspicion::Moved { .. }
                    | Suspicion::Appeared
                    | Suspicion::Restarted
                    | Suspicion::Hung
                    | Suspicion::Held { .. }
                    | Suspicion::StoppedBefore { .. },
                )
                | None => {
                    self.memory.suspects.insert(id, suspect);
                }
            }
        }
    }

    /// What one node says itself of its virtual machines: the alarm. It is believed about a stop and nothing else, since
    /// the list calls everything that has a process `running`.
    pub(super) fn live(&mut self, turn: &mut Turn, snapshot: &Snapshot) {
        let sees = self.seeing() || self.memory.frozen;
        let sees = sees && self.memory.judged.contains_key(&Round::Critical) && self.memory.quorate;
        for (name, list) in &snapshot.live {
            let Seen::At { value: list, asked_at } = list else { continue };
            let late = self.memory.judged_live.get(name).is_some_and(|newest| newest >= asked_at);
            // Without statistics the list is all there is.
            let node = self.memory.nodes.get(name);
            let believed = node.is_some_and(|node| node.believed || node.presence == Presence::Unknown);
            if !sees || late || !believed {
                continue;
            }
            self.memory.judged_live.insert(name.clone(), *asked_at);
            for (id, live) in list {
                let known = self.memory.guests.get(id).filter(|known| known.guest.node == *name);
                let Some(before) = known.cloned() else { continue }; // The next round makes its acquaintance.
                // Who moved it is still to be said; how it is where it is now, a row says first.
                let moving = self.moved_from(*id).is_some();
                if before.seen_at <= *asked_at && !moving {
                    self.guest(turn, *id, Some(&before), before.with_live(live, *asked_at), false);
                }
            }
        }
    }

    /// One guest's row, on a node that can be believed.
    fn row(
        &mut self,
        turn: &mut Turn,
        (id, row): (GuestId, Guest),
        (asked_at, joined_at): (Timestamp, Option<Timestamp>),
        first: bool,
    ) {
        let before = self.memory.guests.get(&id).cloned();
        let known = match &before {
            Some(before) => before.with_row(row, asked_at, joined_at),
            None => KnownGuest::new(row, asked_at),
        };
        if self.quiet(id, &known.guest) {
            self.end_all_of(turn, &Subject::Guest(id), Resolution::Unwatched);
        }
        self.guest(turn, id, before.as_ref(), known, first);
        self.fault(turn, id);
        self.ha(turn, id);
    }

    /// What is known of a guest, against what was known before.
    fn guest(
        &mut self,
        turn: &mut Turn,
        id: GuestId,
        before: Option<&KnownGuest>,
        known: KnownGuest,
        first: bool,
    ) {
        let quiet = first || self.quiet(id, &known.guest);
        let suspicion = guest::suspect(before.map(|known| &known.guest), &known.guest).filter(|_| !quiet);
        let alive = known.guest.status.has_process();
        let booted_at = self.memory.nodes.get(&known.guest.node).and_then(|node| node.booted_at);
        let last_seen = match (&suspicion, before) {
            (Some(Suspicion::Changed { .. }), Some(before)) if alive == Some(false) => {
                before.alive_at.unwrap_or(before.seen_at)
            }
            // A stop that a look took back moved `seen_at` on, although no process was seen then: it counts from when one was.
            (Some(Suspicion::Restarted), Some(before)) => {
                let seen = before.seen_at - guest::ROW_AGE;
                before.alive_at.map_or(seen, |alive_at| alive_at.min(seen))
            }
            // A row may be that old, and what it shows have changed before it was asked for.
            (_, Some(before)) => before.seen_at - guest::ROW_AGE,
            // It was not there a round ago.
            (_, None) => known.seen_at - guest::ROW_AGE * 2,
        };
        let to = known.guest.status.clone();
        self.memory.guests.insert(id, known);

        let slot = Slot { check: Check::GuestCrashed, subject: Subject::Guest(id) };
        let resolved = alive == Some(true) && self.gone(turn, slot, Resolution::Itself);
        let (suspicion, last_seen) = match self.drop_void(id, &to) {
            // It runs again before anybody could say why it had stopped: then that is what is to be explained.
            Some(void) if void.restarted && !quiet => (Some(Suspicion::Restarted), void.last_seen),
            // It ran in between, as a row said, and is down again.
            Some(void) if void.was_down && matches!(suspicion, Some(Suspicion::Changed { .. })) => {
                (suspicion, last_seen)
            }
            Some(_) => return,
            None => (suspicion, last_seen),
        };
        let Some(suspicion) = suspicion.filter(|_| !resolved) else { return };
        let node_restarted = booted_at.is_some_and(|booted_at| booted_at > last_seen);
        // A restart of its node and a move are told as such, and either gives a guest a younger process.
        let by_move =
            |known: &KnownGuest| known.moved_at.is_some_and(|at| known.began_at() < at + MOVE_SETTLE);
        let moved = self.memory.guests.get(&id).is_some_and(by_move);
        if suspicion == Suspicion::Restarted && (node_restarted || moved) {
            return;
        }
        let uptime = before.map_or(0, |before| before.guest.uptime);
        let unexplained = self.memory.suspects.get(&id).map(|suspect| (&suspect.suspicion, suspect.uptime));
        let (suspicion, uptime) = match unexplained {
            // Not yet explained, and it went on changing: what counts is what it was at first.
            Some((Suspicion::Changed { from }, uptime)) => {
                (Suspicion::Changed { from: from.clone() }, uptime)
            }
            Some((
                Suspicion::Moved { .. }
                | Suspicion::Appeared
                | Suspicion::Vanished
                | Suspicion::Restarted
                | Suspicion::Hung
                | Suspicion::Held { .. }
                | Suspicion::StoppedBefore { .. },
                _,
            ))
            | None => (suspicion, uptime),
        };
        if let Some(before) = before {
            self.tell_unexplained_move(turn, id, before.guest.node.clone());
        }
        let mut suspect = Suspect::new(suspicion, last_seen, turn.now);
        suspect.uptime = uptime;
        if to == GuestStatus::Stopped {
            suspect.due = turn.now + self.policy.stop_patience;
            if let Some(booted_at) = booted_at.filter(|_| node_restarted) {
                suspect.after_restart = true;
                suspect.due = booted_at + self.policy.boot_settle;
            }
        }
        self.memory.suspects.insert(id, suspect);
    }

    /// Tells of a move while who did it is still being asked: the next change replaces that suspicion, and it would never be told.
    fn tell_unexplained_move(&self, turn: &mut Turn, id: GuestId, to: NodeName) {
        if let Some(from) = self.moved_from(id) {
            self.note(
                turn,
                Subject::Guest(id),
                self.memory.guests.get(&id).and_then(|known| known.guest.name.clone()),
                Some(to.clone()),
                Note::GuestMoved { from, to, by: None },
            );
        }
    }

    /// The node that a guest left, while who moved it is being asked.
    fn moved_from(&self, id: GuestId) -> Option<NodeName> {
        let Suspicion::Moved { from } = &self.memory.suspects.get(&id)?.suspicion else { return None };
        Some(from.clone())
    }

    fn quiet(&self, id: GuestId, guest: &Guest) -> bool {
        guest.template || self.policy.ignores(&Subject::Guest(id), &guest.tags)
    }

    /// A virtual machine that has a process and cannot work.
    fn fault(&mut self, turn: &mut Turn, id: GuestId) {
        let Some(known) = self.memory.guests.get(&id).filter(|known| !self.quiet(id, &known.guest)) else {
            return;
        };
        let guest = known.guest.clone();
        let slot = Slot { check: Check::GuestFault, subject: Subject::Guest(id) };
        let open = self.memory.incidents.get(&slot).map(|incident| &incident.finding);
        let hung = matches!(open, Some(Finding::GuestFault { fault: Fault::Hung }));
        if let Some(fault) = fault::fault(&guest.status) {
            let finding = Finding::GuestFault { fault };
            self.found(turn, slot, finding, Some(guest.node), guest.name);
        } else if guest.status == GuestStatus::Unknown
            || (hung && !known.had_io && guest.status == GuestStatus::Running)
        {
            // Not seen, or still as silent as when it was found.
        } else if fault::seems_hung(known.had_io, &guest.status, guest.io) {
            let seen_at = known.seen_at;
            if !hung && id.kind == GuestKind::Qemu && !self.memory.suspects.contains_key(&id) {
                let suspect = Suspect::new(Suspicion::Hung, seen_at, turn.now);
                self.memory.suspects.insert(id, suspect);
            }
        } else {
            self.gone(turn, slot, Resolution::Itself);
        }
    }

    /// A guest that HA gave up, or does not bring back although it should run.
    fn ha(&mut self, turn: &mut Turn, id: GuestId) {
        let Some(known) = self.memory.guests.get(&id).filter(|known| !self.quiet(id, &known.guest)) else {
            return;
        };
        let since = known.down_since.zip(known.wanted_since).map(|(down, wanted)| down.max(wanted));
        let down = since.is_some_and(|since| turn.now.duration_since(since) >= guest::HA_PATIENCE);
        let failed =
            known.guest.ha.clone().filter(|state| {
                &**state == "error" || (down && crate::record::HA_RESTARTS.contains(&&**state))
            });
        let (node, name) = (known.guest.node.clone(), known.guest.name.clone());
        let slot = Slot { check: Check::HaFailed, subject: Subject::Guest(id) };
        match failed {
            Some(state) => {
                self.found(turn, slot, Finding::HaFailed { kind: id.kind, state }, Some(node), name);
            }
            None => {
                self.gone(turn, slot, Resolution::Itself);
            }
        }
    }

    /// Drops a suspicion that the newest row has made void; `None` if something has changed after all.
    fn drop_void(&mut self, id: GuestId, to: &GuestStatus) -> Option<Void> {
        let suspect = self.memory.suspects.get(&id)?;
        let void = match &suspect.suspicion {
            Suspicion::Changed { from } if guest::same_manner(from, to) => {
                let known = self.memory.guests.get(&id);
                let restarted = known.is_some_and(|known| guest::younger_than(suspect.uptime, &known.guest));
                let was_down = from.has_process() == Some(false);
                Some(Void { restarted, was_down, last_seen: suspect.last_seen })
            }
            Suspicion::Vanished => None, // It is there; what it does now is another question.
            Suspicion::Changed { .. }
            | Suspicion::Moved { .. }
            | Suspicion::Appeared
            | Suspicion::Restarted
            | Suspicion::Hung
            | Suspicion::Held { .. }
            | Suspicion::StoppedBefore { .. } => return None,
        };
        self.memory.suspects.remove(&id);
        void
    }

    /// Asks about every suspect whose time has come, one question per node.
    pub(super) fn inspect_due(&mut self, turn: &mut Turn) {
        let mut questions: BTreeMap<NodeName, GuestLook> = BTreeMap::new();
        let due: Vec<GuestId> = self
            .memory
            .suspects
            .iter()
            .filter(|(_, suspect)| suspect.due <= turn.now)
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let Some(known) = self.memory.guests.get(&id) else {
                self.memory.suspects.remove(&id);
                continue;
            };
            let last_seen = self.memory.suspects.get(&id).map_or(turn.now, |suspect| suspect.last_seen);
            let since = self.tasks_since(id, last_seen);
            let Some(suspect) = self.memory.suspects.get_mut(&id) else { continue };
            let node = match &suspect.suspicion {
                Suspicion::Moved { from } => from.clone(), // The task runs where the guest was.
                Suspicion::Changed { .. }
                | Suspicion::Appeared
                | Suspicion::Vanished
                | Suspicion::Restarted
                | Suspicion::Hung
                | Suspicion::Held { .. }
                | Suspicion::StoppedBefore { .. } => known.guest.node.clone(),
            };
            let hung = suspect.suspicion == Suspicion::Hung;
            let full = |question: &GuestLook| {
                (hung && question.current.len() >= CURRENT_MAX)
                    || (suspect.after_restart && question.configs.len() >= CONFIGS_MAX)
            };
            if questions.get(&node).is_some_and(full) {
                suspect.due = turn.now + ASK_AGAIN;
                continue;
            }
            suspect.asked_at = Some(turn.now);
            suspect.tries += 1;
            suspect.due = turn.now + ANSWER_WITHIN;
            let question = questions.entry(node.clone()).or_insert_with(|| GuestLook {
                node,
                guests: BTreeSet::new(),
                current: BTreeSet::new(),
                configs: BTreeSet::new(),
                since,
                journal_since: suspect.last_seen,
            });
            question.journal_since = question.journal_since.min(suspect.last_seen);
            question.since = question.since.min(since);
            question.guests.insert(id);
            if hung {
                question.current.insert(id);
            }
            if suspect.after_restart {
                question.configs.insert(id);
            }
        }
        turn.effects.extend(questions.into_values().map(|look| Effect::Inspect(Inspection::Guests(look))));
    }

    pub(super) fn inspected(&mut self, turn: &mut Turn, inspection: &GuestLook, answer: &GuestEvidence) {
        for id in &inspection.guests {
            // Explained meanwhile, asked by nobody, or the late answer to an earlier question.
            let Some(suspect) =
                self.memory.suspects.get(id).filter(|suspect| suspect.awaits(answer)).cloned()
            else {
                continue;
            };
            let Some(known) = self.memory.guests.get(id).cloned() else { continue };
            let now = turn.now;
            let by = |class| match &answer.tasks {
                Seen::At { value: tasks, .. } => guest::cause(tasks, *id, suspect.last_seen, now, class),
                Seen::NotAsked | Seen::NotReached(_) => None,
            };
            // What could not be asked is asked again, before it is told that nobody is known to have done it.
            let asks_who = match &suspect.suspicion {
                Suspicion::Changed { .. } => known.guest.status != GuestStatus::Stopped,
                // A node that is away will not say who moved it.
                Suspicion::Moved { from } => {
                    let node = self.memory.nodes.get(from);
                    node.is_some_and(|node| node.presence == Presence::Online)
                }
                Suspicion::Appeared | Suspicion::Restarted => true,
                Suspicion::Vanished
                | Suspicion::Hung
                | Suspicion::Held { .. }
                | Suspicion::StoppedBefore { .. } => false,
            };
            if asks_who && answer.tasks.value().is_none() && suspect.tries < ASK_TIMES {
                self.ask_again(turn.now, *id);
                continue;
            }
            match &suspect.suspicion {
                Suspicion::Changed { from } if known.guest.status == GuestStatus::Stopped => {
                    self.stopped(turn, *id, &known, from, &suspect, answer);
                    continue;
                }
                Suspicion::Changed { from } => {
                    let why = match &answer.tasks {
                        Seen::At { .. } => {
                            by(guest::causes_of(&known.guest.status)).map_or(Why::NoTask, Why::Task)
                        }
                        Seen::NotAsked => Why::NotAsked("its tasks were not asked for".into()),
                        Seen::NotReached(blindness) => Why::NotAsked(blindness.words.as_str().into()),
                    };
                    self.changed(turn, *id, why, from);
                }
                Suspicion::Moved { from } => {
                    let (from, to) = (from.clone(), known.guest.node.clone());
                    self.keep_who_stopped(*id, &from, answer.tasks.value());
                    let note = Note::GuestMoved { from, to, by: by(guest::moves) };
                    self.note_guest(turn, *id, note);
                }
                Suspicion::Appeared => {
                    let note = Note::GuestAppeared { by: by(guest::creates) };
                    self.note_guest(turn, *id, note);
                }
                Suspicion::Restarted => {
                    let tasks = answer.tasks.value().map(Vec::as_slice);
                    // What it was restarted by began before its process did.
                    let began = known.began_at();
                    let why =
                        guest::why_restarted(*id, &known.guest, suspect.last_seen, tasks, began.min(now));
                    self.note_guest(turn, *id, Note::GuestRestarted { why });
                }
                Suspicion::Held { from } => {
                    if self.held(turn, *id, &known, (&suspect, from), answer) {
                        continue;
                    }
                }
                Suspicion::StoppedBefore { from } => {
                    if self.stopped_before(turn, (*id, &known), (&suspect, from), answer) {
                        continue;
                    }
                }
                Suspicion::Hung => {
                    if self.hung(turn, *id, &known, &suspect, answer.current.get(id)) {
                        continue;
                    }
                }
                Suspicion::Vanished => match guest::still_there(&answer.live, *id) {
                    Some(true) => {
                        // Still there: a row that could not be read, or a right that is gone. Its node's own list may
                        // still tell of it.
                        self.ask_again(turn.now, *id);
                        continue;
                    }
                    Some(false) => {
                        self.remove_subject(turn, &Subject::Guest(*id));
                        self.note_guest(turn, *id, Note::GuestGone { by: by(guest::destroys) });
                        self.memory.guests.remove(id);
                    }
                    None if suspect.tries < ASK_TIMES => {
                        self.ask_again(turn.now, *id);
                        continue;
                    }
                    None => {
                        // Destroyed, or hidden from us: not known, so not told. It is new if it shows up again.
                        self.end_all_of(turn, &Subject::Guest(*id), Resolution::Unwatched);
                        self.memory.guests.remove(id);
                    }
                },
            }
            self.memory.suspects.remove(id);
        }
    }

    /// What QEMU's own answer says of a machine that seems to hang; true if it is to be asked once more.
    fn hung(
        &mut self,
        turn: &mut Turn,
        id: GuestId,
        known: &KnownGuest,
        suspect: &Suspect,
        current: Option<&Seen<Current>>,
    ) -> bool {
        let Some(Seen::At { value: current, .. }) = current else {
            // Not answered at all: the next round that shows it will ask anew.
            return false;
        };
        if current.monitor || known.guest.status != GuestStatus::Running {
            // A machine that answers and reads nothing has nothing to read: it is not to be asked in every round.
            if let Some(known) = self.memory.guests.get_mut(&id) {
                known.had_io = false;
            }
            return false;
        }
        if suspect.tries < 2 {
            if let Some(suspect) = self.memory.suspects.get_mut(&id) {
                (suspect.asked_at, suspect.due) = (None, turn.now + fault::HUNG_AGAIN);
            }
            return true;
        }
        if let Some(known) = self.memory.guests.get_mut(&id) {
            known.had_io = false;
        }
        let slot = Slot { check: Check::GuestFault, subject: Subject::Guest(id) };
        let finding = Finding::GuestFault { fault: Fault::Hung };
        self.found(turn, slot, finding, Some(known.guest.node.clone()), known.guest.name.clone());
        false
    }

    pub(super) fn ask_again(&mut self, now: Timestamp, id: GuestId) {
        if let Some(suspect) = self.memory.suspects.get_mut(&id) {
            suspect.asked_at = None;
            // Later and later: a node that does not answer is not helped by more questions.
            suspect.due = now + ASK_AGAIN * i32::try_from(suspect.tries.clamp(1, ASK_PATIENCE)).unwrap_or(1);
        }
    }

    /// A node that was taken out of the cluster takes with it the guests that are no longer listed.
    pub(super) fn remove_guests_of(
        &mut self,
        turn: &mut Turn,
        node: &NodeName,
        listed: &BTreeMap<GuestId, Guest>,
    ) {
        let lost =
            |(id, known): &(&GuestId, &KnownGuest)| known.guest.node == *node && !listed.contains_key(id);
        let guests: Vec<GuestId> = self.memory.guests.iter().filter(lost).map(|(id, _)| *id).collect();
        for id in guests {
            self.remove_subject(turn, &Subject::Guest(id));
            self.memory.suspects.remove(&id);
            self.memory.guests.remove(&id);
        }
    }

    /// The guests that ran on a node when it was last seen.
    pub(super) fn alive_on(&self, name: &NodeName) -> Vec<GuestId> {
        let alive = |(_, known): &(&GuestId, &KnownGuest)| {
            known.guest.node == *name && known.guest.status.has_process() == Some(true)
        };
        self.memory.guests.iter().filter(alive).map(|(id, _)| *id).collect()
    }

    /// A node has booted. Those of its guests that were stopped before, and ran within [`guest::TASKS_BEFORE`] before they were last
    /// seen there, are looked at when it has settled: PVE may have tried to start them, in vain.
    pub(super) fn suspect_after_boot(&mut self, now: Timestamp, name: &NodeName) {
        let free = |id: &GuestId| {
            let slot = Slot { check: Check::GuestCrashed, subject: Subject::Guest(*id) };
            let suspect = self.memory.suspects.get(id);
            // What held it before the boot is over.
            let free = suspect.is_none_or(|suspect| matches!(suspect.suspicion, Suspicion::Held { .. }));
            free && self.memory.incidents.get(&slot).is_none()
        };
        let down: Vec<(GuestId, Timestamp)> = self
            .memory
            .guests
            .iter()
            .filter(|(id, known)| {
                known.guest.node == *name
                    && known.guest.status == GuestStatus::Stopped
                    && !self.quiet(**id, &known.guest)
                    && free(id)
            })
            .filter_map(|(id, known)| Some((*id, known.alive_at?, known.seen_at)))
            .filter(|(_, alive_at, seen_at)| *alive_at >= *seen_at - guest::TASKS_BEFORE)
            .map(|(id, alive_at, _)| (id, alive_at))
            .collect();
        let booted_at = self.memory.nodes.get(name).and_then(|node| node.booted_at).unwrap_or(now);
        for (id, alive_at) in down {
            let suspicion = Suspicion::StoppedBefore { from: GuestStatus::Running };
            let mut suspect = Suspect::new(suspicion, alive_at, booted_at + self.policy.boot_settle);
            suspect.after_restart = true;
            self.memory.suspects.insert(id, suspect);
        }
    }

    /// What was suspected on a node that then left is explained by its leaving.
    pub(super) fn forget_suspects_on(&mut self, name: &NodeName) {
        let guests = &mut self.memory.guests;
        self.memory.suspects.retain(|id, suspect| {
            let Some(known) = guests.get_mut(id).filter(|known| known.guest.node == *name) else {
                return true;
            };
            if let Suspicion::Changed { from } = &suspect.suspicion {
                known.guest.status = from.clone();
                known.down_since = None;
            }
            false
        });
    }

    pub(super) fn changed(&mut self, turn: &mut Turn, id: GuestId, why: Why, from: &GuestStatus) {
        let Some(known) = self.memory.guests.get(&id) else { return };
        let note = Note::GuestChanged { from: from.clone(), to: known.guest.status.clone(), why };
        let node = known.guest.node.clone();
        self.memory.incidents.noted(id, &node, &note);
        self.note_guest(turn, id, note);
    }

    fn note_guest(&self, turn: &mut Turn, id: GuestId, note: Note) {
        let known = self.memory.guests.get(&id);
        let name = known.and_then(|known| known.guest.name.clone());
        let node = known.map(|known| known.guest.node.clone());
        self.note(turn, Subject::Guest(id), name, node, note);
    }
}
