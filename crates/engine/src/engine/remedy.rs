//! Remedies: from an open incident over a decision, an act and a look to its end or to people.
//!
//! Asked anew at every turn: what is to be done follows from what is, so nothing is forgotten that had to wait. This file
//! fills the case and moves the incident's state; what is right is decided in [`crate::decide`], whether it helped in
//! [`crate::verify`].

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::found::{as_of, facts, missing, service_facts};
use super::memory::{Departure, KnownNode};
use super::{Effect, Engine, Turn};
use crate::act::{Action, Attempt};
use crate::decide::{self, Case, Decision, GuestCase, Hold, Known, NodeCase, Remedy, Runbook, SubjectCase};
use crate::detect::guest::TASKS_BEFORE;
use crate::detect::{Condition, Fault, Finding};
use crate::incident::{Incident, IncidentId, Resolution, Said, Slot, State};
use crate::observe::{
    GuestConfig, Inspection, MacAddress, NodeName, Presence, Review, ReviewLook, Round, Storage, StorageName,
    Subject, Usage,
};
use crate::record::{Entry, Fact, Step};

/// What it objects to stands for this long; then the subject is looked at again.
const STANDS: SignedDuration = SignedDuration::from_mins(2);
/// Who touched a service last is looked for among the tasks of a day.
const SERVICE_TASKS: SignedDuration = SignedDuration::from_hours(24);
/// A look that is not answered within this is made again.
const ANSWER_WITHIN: SignedDuration = SignedDuration::from_secs(30);
/// One that found nothing out is made again after this.
const ASK_AGAIN: SignedDuration = SignedDuration::from_secs(10);
/// Looks in vain after which what was done is given up: the first may have been asked while nothing could be seen.
const IN_VAIN_MAX: u32 = 2;
/// Looks under way at once: each costs its node three calls.
const LOOKS_MAX: usize = 4;
/// The cluster is seen as it is now when the last critical round is no older: two rounds and the time they take.
pub(super) const VIEW_MAX: SignedDuration = SignedDuration::from_secs(45);
/// A storm is over when this long has passed without one.
const STORM_OVER: SignedDuration = SignedDuration::from_mins(5);
const STORM_WITHIN: SignedDuration = SignedDuration::from_secs(60);
/// Incidents of the last minute that are counted.
const COUNTED_MAX: usize = 1_000;
/// From this on a storage has no room, in percent: a machine that goes on writes at once.
const FULL: f64 = 98.0;

/// What was found out about a subject for a decision. It is not kept over a restart: then it is looked at anew.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Reviewed {
    /// When it was asked for, while the answer is to come.
    asked_at: Option<Timestamp>,
    /// As of when, and what.
    answer: Option<(Timestamp, Review)>,
    /// Which node gave that answer.
    #[serde(default)]
    pub(super) of: Option<NodeName>,
    /// When it could not be found out, and why.
    failed: Option<(Timestamp, Box<str>)>,
    /// Looks in a row that found nothing out although the rest of the cluster is seen, after all the time that there was.
    #[serde(default)]
    in_vain: u32,
}

/// What is only known while the process lives.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Scratch {
    #[serde(with = "crate::as_list")]
    pub(super) reviews: BTreeMap<Slot, Reviewed>,
    /// When a decision may change although nothing happens.
    pub(super) wake: Option<Timestamp>,
    /// Calls whose incident ended before they did.
    #[serde(default)]
    pub(super) outlived: Vec<Outlived>,
    /// Tasks that our own acts began.
    pub(super) own: Vec<Box<str>>,
    /// Storages without room, or away, as the last critical round had them, and how they are.
    pub(super) full: Vec<(StorageName, NodeName, Box<str>)>,
    /// Where Jarvis itself was found to run.
    #[serde(default)]
    pub(super) found: Vec<Subject>,
}

/// A call whose incident ended before it did, and what that was.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Outlived {
    pub(super) incident: IncidentId,
    /// What it counts for.
    #[serde(default)]
    pub(super) slot: Option<Slot>,
    pub(super) condition: Condition,
    pub(super) subject: Subject,
    pub(super) name: Option<Box<str>>,
    pub(super) node: Option<NodeName>,
    pub(super) attempt: Attempt,
}

/// What a candidate does in this turn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It is looked at.
    Looks,
    /// Another one of its node goes first.
    Queues,
    /// It is decided on.
    Goes,
}

/// An open incident about which something may be done.
pub(super) struct Candidate {
    pub(super) slot: Slot,
    incident: IncidentId,
    condition: Condition,
    since: Timestamp,
    pub(super) action: Action,
    pub(super) runbook: Runbook,
    order: u32,
}

impl Engine {
    pub(super) fn remedies(&mut self, turn: &mut Turn) {
        self.scratch.wake = None;
        self.leave_ignored(turn);
        self.storm(turn);
        self.lost_calls(turn);
        self.verify_due(turn);
        self.lapse_old_approvals(turn);
        self.decide_all(turn);
        let open = &self.memory.incidents;
        self.scratch.reviews.retain(|slot, _| open.get(slot).is_some());
    }

    /// What the configuration ignores since the last start has nothing open, and nothing is done about it.
    fn leave_ignored(&mut self, turn: &mut Turn) {
        let told = self.memory.incidents.told();
        let ignored = told.filter(|(slot, incident)| {
            self.policy.ignores(&slot.subject, self.known(&slot.subject, incident).tags)
        });
        let slots: Vec<Slot> = ignored.map(|(slot, _)| slot.clone()).collect();
        for slot in slots {
            self.gone(turn, slot, Resolution::Unwatched);
        }
    }

    pub(super) fn wake_at(&mut self, at: Timestamp) {
        self.scratch.wake = Some(self.scratch.wake.map_or(at, |wake| wake.min(at)));
    }

    /// What a look at a subject found.
    pub(super) fn reviewed(&mut self, turn: &mut Turn, look: &ReviewLook, answer: &Review) {
        let slots: Vec<Slot> =
            self.memory.incidents.slots().filter(|slot| slot.subject == look.subject).cloned().collect();
        for slot in slots {
            let hopeless = self.is_hopeless(turn.now, &slot);
            let Some(reviewed) = self.scratch.reviews.get_mut(&slot) else { continue };
            let Some(asked_at) = reviewed.asked_at else { continue };
            let made_at = match answer {
                Review::Guest(found) => found.current.asked_at(),
                Review::Service(found) => found.services.asked_at(),
            };
            if made_at.is_some_and(|at| at < asked_at) {
                continue; // The answer to an earlier question.
            }
            reviewed.asked_at = None;
            match missing(answer) {
                None => {
                    let at = as_of(answer).unwrap_or(turn.now).min(turn.now);
                    (reviewed.answer, reviewed.failed) = (Some((at, answer.clone())), None);
                    (reviewed.of, reviewed.in_vain) = (Some(look.node.clone()), 0);
                }
                Some(why) => {
                    reviewed.failed = Some((turn.now, why));
                    reviewed.in_vain = if hopeless { reviewed.in_vain.saturating_add(1) } else { 0 };
                }
            }
            let give_up = reviewed.in_vain >= IN_VAIN_MAX;
            self.verify(turn, &slot, Some(answer).filter(|_| !give_up));
        }
    }

    /// Whether too many incidents began within the last minute, and since when.
    fn storm(&mut self, turn: &mut Turn) {
        let opened = turn
            .effects
            .iter()
            .filter(|effect| matches!(effect, Effect::Record(Entry { fact: Fact::Opened { .. }, .. })));
        let opened = opened.count().min(COUNTED_MAX);
        let now = turn.now;
        let recent = &mut self.memory.opened;
        recent.extend(std::iter::repeat_n(now, opened));
        recent.retain(|at| now.duration_since(*at) < STORM_WITHIN);
        let surplus = recent.len().saturating_sub(COUNTED_MAX);
        recent.drain(..surplus);
        let count = u32::try_from(recent.len()).unwrap_or(u32::MAX);
        let (before, raging) = (self.memory.storm, count > self.policy.storm);
        let told = match before {
            Some(_) if raging => {
                self.memory.storm = Some(now);
                None
            }
            None if raging => {
                self.memory.storm = Some(now);
                Some(count)
            }
            Some(last) if now.duration_since(last) >= STORM_OVER => {
                self.memory.storm = None;
                Some(0)
            }
            Some(_) | None => None,
        };
        if let Some(last) = self.memory.storm {
            self.wake_at(last + STORM_OVER);
        }
        if let Some(incidents) = told {
            let fact = Fact::Storm { incidents };
            self.tell(turn, Entry { at: now, subject: Subject::Cluster, name: None, node: None, fact });
        }
    }

    fn decide_all(&mut self, turn: &mut Turn) {
        let candidates = self.candidates();
        let places = self.places(turn.now, &candidates);
        for (candidate, place) in candidates.into_iter().zip(places) {
            if place == Place::Looks {
                self.ask_review(turn, &candidate.slot);
                continue;
            }
            let decision = self.decide_on(turn.now, &candidate, place == Place::Queues);
            self.follow(turn, candidate, decision);
        }
    }

    /// Who is to be looked at first, and who waits for that, in the order of the candidates. In its node's start order nobody goes
    /// before the order of all of them is known, or before the look at the one whose turn it is: what was found of the others
    /// grows old meanwhile, and is found anew when it is theirs.
    fn places(&self, now: Timestamp, candidates: &[Candidate]) -> Vec<Place> {
        let mut first = BTreeSet::new();
        let mut looking = BTreeSet::new();
        let mut places = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            let node = candidate.action.node();
            let decision = self.decide_on(now, candidate, false);
            let looks = matches!(decision, Decision::Look);
            let allowed = self.allowed(candidate);
            let in_turn =
                allowed && matches!(decision, Decision::Look | Decision::Act(_)) && first.insert(node);
            let asked = looks && (in_turn || !allowed || !self.is_ordered(candidate));
            if asked && allowed {
                looking.insert(node);
            }
            places.push(match (asked, looks) {
                (true, _) => Place::Looks,
                (false, true) => Place::Queues,
                (false, false) => Place::Goes,
            });
        }
        for (place, candidate) in places.iter_mut().zip(candidates) {
            if *place == Place::Goes && looking.contains(candidate.action.node()) {
                *place = Place::Queues;
            }
        }
        places
    }

    /// Whether its place in its node's start order is known, by a look however old.
    fn is_ordered(&self, candidate: &Candidate) -> bool {
        self.scratch.reviews.get(&candidate.slot).is_some_and(|reviewed| reviewed.answer.is_some())
    }

    /// What stands against doing something about each open incident, asked anew. A turn asks the same, and tells of it
    /// what is news.
    pub fn objections(&self, now: Timestamp) -> Vec<(IncidentId, Vec<Hold>)> {
        let candidates = self.candidates();
        let places = self.places(now, &candidates);
        let objections = |(candidate, place): (&Candidate, Place)| match self.decide_on(
            now,
            candidate,
            place == Place::Queues,
        ) {
            Decision::Hold(holds) => Some((candidate.incident, holds)),
            Decision::Look | Decision::Recommend(_) | Decision::Act(_) | Decision::Escalate => None,
        };
        candidates.iter().zip(places).filter_map(objections).collect()
    }

    fn follow(&mut self, turn: &mut Turn, candidate: Candidate, decision: Decision) {
        let Candidate { slot, condition, since, action, runbook, .. } = candidate;
        let level = self.controls.level.number();
        match decision {
            Decision::Look => self.ask_review(turn, &slot),
            Decision::Hold(holds) => {
                if let Some(at) = decide::ask_again(&holds) {
                    self.wake_at(at);
                }
                self.look_again(turn.now, &slot);
                if let Some(incident) = self.memory.incidents.get_mut(&slot) {
                    incident.course.object(action.node(), &holds);
                }
                // Whose turn it is within its node is decided within a breath, and may be its own.
                if matches!(holds[..], [Hold::Queue(_)]) {
                    return;
                }
                let said = Said::Held(holds.clone());
                self.say(turn, &slot, said, Step::Held { action, holds, runbook: runbook.id, level });
            }
            Decision::Recommend(action) => {
                self.look_again(turn.now, &slot);
                let said = Said::Recommended(action.clone());
                self.say(turn, &slot, said, Step::Recommended { action, runbook: runbook.id });
            }
            Decision::Escalate => {
                let attempts = self.memory.attempts_of(&slot, turn.now, runbook.window).len();
                let attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
                let plural = if attempts == 1 { "" } else { "s" };
                let words = format!(
                    "{attempts} attempt{plural} within {}, and no more are made ({}) until it is over, or somebody says so",
                    crate::record::duration(runbook.window),
                    runbook.id,
                );
                let words = words.into();
                let step = Step::Escalated { words, action, runbook: runbook.id, level, attempts };
                self.step_taken(turn, &slot, step);
                if let Some(incident) = self.memory.incidents.get_mut(&slot) {
                    incident.state = State::Escalated { since, at: turn.now };
                    incident.course.said = Said::Nothing;
                }
            }
            Decision::Act(permit) => {
                let attempt = permit.attempt().clone();
                let Some(incident) = self.memory.incidents.get_mut(&slot) else { return };
                incident.state = State::Acting { since, attempt: attempt.clone(), here: true };
                incident.course.said = Said::Nothing;
                let approved = incident.course.approved.take().map(|approval| approval.by);
                let up = self.config_of(&slot).and_then(|config| config.up);
                self.memory.count(&slot, &attempt, up);
                let of = runbook.attempts.max(attempt.number);
                self.step_taken(turn, &slot, Step::Intended { attempt, of, approved });
                turn.effects.push(Effect::Act(permit));
            }
        }
        debug_assert_eq!(Some(condition), self.memory.incidents.get(&slot).map(|i| i.finding.condition()));
    }

    /// Incidents that wait for something to be done, with what that would be: in start order, then the oldest first.
    pub(super) fn candidates(&self) -> Vec<Candidate> {
        let told = self.memory.incidents.told();
        let candidates = told.filter_map(|(slot, incident)| {
            let since = match (&incident.state, &incident.course.approved) {
                (State::Open { since }, _) | (State::Escalated { since, .. }, Some(_)) => *since,
                (State::Escalated { .. }, None)
                | (State::Pending { .. } | State::Acting { .. } | State::Verifying { .. }, _) => return None,
            };
            let tags = self.tags_of(slot);
            let by = Known { tags: &tags, ..self.known(&slot.subject, incident) };
            let node = by.node;
            let condition = incident.finding.condition();
            let runbook = decide::runbook(&self.policy.runbooks, condition, &by)?;
            let woken = match &slot.subject {
                Subject::Node(node) => self.memory.nodes.get(node).and_then(|known| known.address.mac()),
                Subject::Cluster | Subject::Guest(_) | Subject::Storage(_) | Subject::Service(_) => None,
            };
            let action = action(runbook.remedy, &slot.subject, node, &incident.finding, woken)?;
            let order = self.config_of(slot).and_then(|config| config.order).unwrap_or(u32::MAX);
            let (slot, incident) = (slot.clone(), incident.id);
            Some(Candidate { slot, incident, condition, since, action, runbook: runbook.clone(), order })
        });
        let mut candidates: Vec<Candidate> = candidates.collect();
        candidates.sort_by(|a, b| (a.order, a.since, &a.slot).cmp(&(b.order, b.since, &b.slot)));
        candidates
    }

    /// A guest's configuration, as far as it was looked at.
    fn config_of(&self, slot: &Slot) -> Option<&GuestConfig> {
        match &self.scratch.reviews.get(slot)?.answer.as_ref()?.1 {
            Review::Guest(found) => found.config.value()?.as_ref(),
            Review::Service(_) => None,
        }
    }

    /// A guest's tags: those of its row, and those that the look found, which no row may show yet.
    fn tags_of(&self, slot: &Slot) -> Vec<Box<str>> {
        let Subject::Guest(id) = &slot.subject else { return Vec::new() };
        let row = self.memory.guests.get(id).map(|known| &known.guest.tags);
        let look = self.config_of(slot).map(|config| &config.tags);
        row.into_iter().chain(look).flatten().cloned().collect()
    }

    /// Whether Jarvis would do it by itself, or somebody approved it.
    fn allowed(&self, candidate: &Candidate) -> bool {
        let approved =
            self.memory.incidents.get(&candidate.slot).is_some_and(|i| i.course.approved.is_some());
        approved || self.controls.level >= candidate.runbook.level
    }

    fn decide_on(&self, now: Timestamp, candidate: &Candidate, queued: bool) -> Decision {
        let Candidate { slot, incident, since, action, runbook, .. } = candidate;
        let open = self.memory.incidents.get(slot);
        let course = open.map(|incident| incident.course.clone()).unwrap_or_default();
        let attempts = self.memory.attempts_of(slot, now, runbook.window);
        let node = action.node();
        // One without statistics is a member that can be asked, and the service that makes them is just what may be down. Of
        // its guests nothing is known but what it says itself.
        let can_be_asked = |known: &&KnownNode| match (known.presence, action) {
            (Presence::Online, _) | (Presence::Unknown, Action::RestartService { .. }) => true,
            (Presence::Unknown | Presence::Offline, _) => false,
        };
        let known_node = self.memory.nodes.get(node).filter(can_be_asked);
        let known_node = known_node
            .map(|known| NodeCase { booted_at: booted_at(known), settle: self.policy.boot_settle })
            .filter(|_| !matches!(action, Action::WakeNode { .. }));
        let reviewed = self.scratch.reviews.get(slot);
        let failed = reviewed.and_then(|reviewed| reviewed.failed.as_ref());
        let failed = failed.filter(|(at, _)| now.duration_since(*at) < ASK_AGAIN);
        let blind = self
            .unseen(now)
            .or_else(|| self.unseen_node(action))
            .or_else(|| self.unasked_where_it_was(&slot.subject))
            .or_else(|| failed.map(|(_, why)| format!("it could not be looked at ({why})")));
        let answer = reviewed.and_then(|reviewed| reviewed.answer.as_ref());
        // What one node says allows nothing on another one, to which it was moved since.
        let here = reviewed.is_some_and(|reviewed| reviewed.of.as_ref() == Some(node));
        let fresh = |at: &Timestamp| here && now.duration_since(*at) < decide::FRESH;
        let guest = match &slot.subject {
            Subject::Guest(id) => self.memory.guests.get(id),
            Subject::Cluster | Subject::Node(_) | Subject::Storage(_) | Subject::Service(_) => None,
        };
        let tags = guest.map_or(&[][..], |known| &known.guest.tags);
        let cause = self.cause_stands(action);
        let subject = match (&slot.subject, guest) {
            (Subject::Guest(id), Some(known)) => SubjectCase::Guest(GuestCase {
                id: *id,
                template: known.guest.template,
                lock: known.guest.lock.as_deref(),
                ha: known.guest.ha.as_deref(),
                tags,
                down_since: known.down_since,
                review: answer
                    .and_then(|(at, review)| facts(review, fresh(at), &self.scratch.own, cause.as_deref())),
            }),
            (Subject::Service(id), _) => SubjectCase::Service {
                name: id.name.as_str(),
                review: answer
                    .and_then(|(at, review)| service_facts(review, &id.name, fresh(at), &self.scratch.own)),
            },
            (Subject::Node(_) | Subject::Guest(_) | Subject::Cluster | Subject::Storage(_), _) => {
                let address = self.memory.nodes.get(node).and_then(|known| known.address.is_there());
                SubjectCase::Node { views: self.views_of(slot).unwrap_or(0), address }
            }
        };
        let all_tags = self.tags_of(slot);
        let meant = open.map(|open| Known { tags: &all_tags, ..self.known(&slot.subject, open) });
        let maintenance = meant.and_then(|known| decide::maintained(&self.controls.maintenance, now, &known));
        let protected = self
            .policy
            .protects(self.own(), &slot.subject, &all_tags)
            .or_else(|| self.carries_us(&slot.subject));
        let case = Case {
            now,
            runbook,
            action,
            since: *since,
            attempts: &attempts,
            approved: course.approved.is_some(),
            dismissed: course.dismissed.as_deref(),
            stopped: course.stopped.as_ref().filter(|(_, at)| at != node).map(|(by, _)| by),
            stopped_here: course.stopped.as_ref().filter(|(_, at)| at == node).map(|(by, _)| by),
            controls: &self.controls,
            maintenance,
            quorate: self.memory.quorate,
            blind: blind.as_deref(),
            protected: protected.as_deref(),
            storm: self.memory.storm.is_some(),
            busy: self.busy(),
            queued,
            next_start: self.memory.last_starts.get(node).map(|last| last.at + last.apart),
            not_before: course.not_before,
            looked_at: answer.map(|(at, _)| *at),
            node: known_node,
            subject,
        };
        // What was found long ago still objects, but not alone: then it is time to look again.
        if answer.is_some_and(|(at, _)| now.duration_since(*at) >= STANDS) {
            let anew = case.subject.clone().before_the_look();
            let anew = Case { subject: anew, ..case.clone() };
            if decide::decide(&anew, *incident, &slot.subject) == Decision::Look {
                return Decision::Look;
            }
        }
        decide::decide(&case, *incident, &slot.subject)
    }

    /// The node that is worked on.
    fn busy(&self) -> Option<&NodeName> {
        let mut told = self.memory.incidents.told();
        let open =
            told.find_map(|(_, incident)| incident.state.attempt()).map(|attempt| attempt.action.node());
        open.or_else(|| self.scratch.outlived.first().map(|call| call.attempt.action.node()))
    }

    /// Why the cluster is not seen as it is now.
    pub(super) fn unseen(&self, now: Timestamp) -> Option<String> {
        let last = self.memory.judged.get(&Round::Critical);
        let young = last.is_some_and(|last| now.duration_since(*last) <= VIEW_MAX);
        if !self.seeing() {
            return Some("the cluster cannot be seen".into());
        }
        (!young).then(|| "the last round is too old".into())
    }

    fn unseen_node(&self, action: &Action) -> Option<String> {
        let node = action.node();
        let known = self.memory.nodes.get(node)?;
        if known.departure == Some(Departure::Unasked) && matches!(action, Action::WakeNode { .. }) {
            return Some("whether somebody wanted it to leave could not be asked yet".into());
        }
        let asked = known.presence == Presence::Online && !matches!(action, Action::WakeNode { .. });
        let since = match (known.believed, known.unheard) {
            (false, _) => "since it came back",
            (true, true) => "since Jarvis sees it again",
            (true, false) => return None,
        };
        asked.then(|| format!("{node} has not told of itself {since}"))
    }

    /// How many others miss a node that was told as lost.
    pub(super) fn views_of(&self, slot: &Slot) -> Option<u32> {
        match self.memory.incidents.get(slot).map(|incident| &incident.finding) {
            Some(Finding::NodeUnreachable { views, .. }) => Some(*views),
            Some(
                Finding::Blind { .. }
                | Finding::QuorumLost { .. }
                | Finding::GuestCrashed { .. }
                | Finding::GuestNotStarted { .. }
                | Finding::OverMark { .. }
                | Finding::StorageOffline { .. }
                | Finding::StatsStale
                | Finding::NodeApi { .. }
                | Finding::GuestFault { .. }
                | Finding::HaFailed { .. }
                | Finding::ServiceDown { .. },
            )
            | None => None,
        }
    }

    /// Where Jarvis itself runs: as somebody said, and where nobody did, as it was found out.
    fn own(&self) -> &[Subject] {
        if self.policy.own.is_empty() { &self.scratch.found } else { &self.policy.own }
    }

    /// Why a node, or a service of it, is not touched: the guest in which Jarvis runs is there now.
    fn carries_us(&self, subject: &Subject) -> Option<String> {
        let node = match subject {
            Subject::Node(node) => node,
            Subject::Service(id) => &id.node,
            Subject::Cluster | Subject::Guest(_) | Subject::Storage(_) => return None,
        };
        let ours = self.own().iter().filter_map(|own| match own {
            Subject::Guest(id) => self.memory.guests.get(id),
            Subject::Cluster | Subject::Node(_) | Subject::Storage(_) | Subject::Service(_) => None,
        });
        ours.into_iter().any(|known| known.guest.node == *node).then(|| "Jarvis runs on this node".to_owned())
    }

    /// What operators may mean a subject by.
    fn known<'a>(&'a self, subject: &'a Subject, incident: &'a Incident) -> Known<'a> {
        let known = match subject {
            Subject::Guest(id) => self.memory.guests.get(id),
            Subject::Cluster | Subject::Node(_) | Subject::Storage(_) | Subject::Service(_) => None,
        };
        Known {
            subject,
            node: known.map(|known| &known.guest.node).or(incident.node.as_ref()),
            // As it is called now: it may have been renamed since.
            name: known.and_then(|known| known.guest.name.as_deref()).or(incident.name.as_deref()),
            tags: known.map_or(&[], |known| &known.guest.tags),
            pool: known.and_then(|known| known.guest.pool.as_deref()),
        }
    }

    /// Of a machine that stands still after a disk error: a storage that it may lie on is still full or away.
    fn cause_stands(&self, action: &Action) -> Option<String> {
        let Action::ResumeGuest { node, .. } = action else { return None };
        let found = self.scratch.full.iter().find(|(_, of, _)| of == node);
        found.map(|(storage, _, how)| format!("storage {storage} is {how}"))
    }

    /// Which storages have no room, in a round that can be believed.
    pub(super) fn room(&mut self, storages: &BTreeMap<(StorageName, NodeName), Storage>) {
        let how = |storage: &Storage| match storage.usage.and_then(Usage::percent) {
            _ if !storage.available => Some("away"),
            Some(percent) if percent >= FULL => Some("full"),
            Some(_) | None => None,
        };
        let full = storages
            .iter()
            .filter_map(|((name, node), storage)| Some((name.clone(), node.clone(), how(storage)?.into())));
        self.scratch.full = full.collect();
    }

    pub(super) fn ask_review(&mut self, turn: &mut Turn, slot: &Slot) {
        let within = |at: Timestamp| turn.now.duration_since(at) < ANSWER_WITHIN;
        let asked_at = self.scratch.reviews.get(slot).and_then(|reviewed| reviewed.asked_at);
        if let Some(at) = asked_at.filter(|at| within(*at)) {
            return self.wake_at(at + ANSWER_WITHIN);
        }
        let underway = self.scratch.reviews.values().filter(|reviewed| reviewed.asked_at.is_some_and(within));
        if underway.count() >= LOOKS_MAX {
            return; // The next answer makes room.
        }
        let Some(incident) = self.memory.incidents.get(slot) else { return };
        let since = incident.state.told_at().unwrap_or(turn.now) - TASKS_BEFORE;
        // A service may be left alone for weeks, and its node does much in that time.
        let since = match slot.subject {
            Subject::Service(_) => since.max(turn.now - SERVICE_TASKS),
            Subject::Cluster | Subject::Node(_) | Subject::Guest(_) | Subject::Storage(_) => since,
        };
        let node = match &slot.subject {
            Subject::Guest(id) => self.memory.guests.get(id).map(|known| known.guest.node.clone()),
            Subject::Service(id) => Some(id.node.clone()),
            Subject::Cluster | Subject::Node(_) | Subject::Storage(_) => None,
        };
        let Some(node) = node.or_else(|| incident.node.clone()) else { return };
        let look = ReviewLook { subject: slot.subject.clone(), node, since };
        turn.effects.push(Effect::Inspect(Inspection::Review(look)));
        self.scratch.reviews.entry(slot.clone()).or_default().asked_at = Some(turn.now);
        self.wake_at(turn.now + ANSWER_WITHIN);
    }

    /// What was found stands for a while; then it is looked at again.
    fn look_again(&mut self, now: Timestamp, slot: &Slot) {
        let Some(reviewed) = self.scratch.reviews.get(slot) else { return };
        let stands = reviewed.answer.as_ref().map(|(at, _)| *at + STANDS);
        let failed = reviewed.failed.as_ref().map(|(at, _)| *at + ASK_AGAIN);
        if let Some(at) = stands.into_iter().chain(failed).filter(|at| *at > now).min() {
            self.wake_at(at);
        }
    }

    /// Says it when it is news.
    fn say(&mut self, turn: &mut Turn, slot: &Slot, said: Said, step: Step) {
        let Some(incident) = self.memory.incidents.get_mut(slot) else { return };
        let news = match (&incident.course.said, &said) {
            (Said::Held(before), Said::Held(now)) => decide::is_news(before, now),
            (before, now) => before != now,
        };
        if news {
            incident.course.said = said;
            self.step_taken(turn, slot, step);
        }
    }

    pub(super) fn step_taken(&self, turn: &mut Turn, slot: &Slot, step: Step) {
        let Some(incident) = self.memory.incidents.get(slot) else { return };
        let fact = Fact::Remedy { incident: incident.id, condition: incident.finding.condition(), step };
        let (name, node) = (incident.name.clone(), incident.node.clone());
        self.tell(turn, Entry { at: turn.now, subject: slot.subject.clone(), name, node, fact });
    }
}

/// When a node booted. One without statistics does not say it, and may have come back just now.
fn booted_at(known: &KnownNode) -> Option<Timestamp> {
    let came = known.member_since.filter(|_| known.presence != Presence::Online);
    known.booted_at.max(came)
}

/// What a remedy means for a subject.
pub(super) fn action(
    remedy: Remedy,
    subject: &Subject,
    node: Option<&NodeName>,
    finding: &Finding,
    mac: Option<MacAddress>,
) -> Option<Action> {
    match (remedy, subject) {
        (Remedy::Start, Subject::Guest(guest)) => {
            Some(Action::StartGuest { guest: *guest, node: node?.clone() })
        }
        // Only what stopped it to lose nothing is over when its storage has room; the rest needs a restart.
        (Remedy::Resume, Subject::Guest(guest)) => {
            let stands = matches!(finding, Finding::GuestFault { fault: Fault::IoError });
            stands.then_some(Action::ResumeGuest { guest: *guest, node: node?.clone() })
        }
        (Remedy::Wake, Subject::Node(node)) => Some(Action::WakeNode { node: node.clone(), mac }),
        (Remedy::RestartService, Subject::Service(service)) => {
            Some(Action::RestartService { service: service.clone() })
        }
        (
            Remedy::Start | Remedy::Resume | Remedy::Wake | Remedy::RestartService | Remedy::Nothing,
            Subject::Cluster
            | Subject::Node(_)
            | Subject::Guest(_)
            | Subject::Storage(_)
            | Subject::Service(_),
        ) => None,
    }
}
