//! Groups: what happens to many guests of one node in one turn is told as one event. Every entry is recorded.
//!
//! A storage that fails takes 2,000 machines with it; nobody reads 2,000 lines, and no page draws them. Each guest keeps
//! its incident; only the telling is one.

use std::collections::BTreeMap;

use super::{Effect, Engine, Turn};
use crate::detect::{Condition, Finding};
use crate::incident::{IncidentId, Slot};
use crate::observe::{GuestKind, NodeName, Subject};
use crate::record::{Entry, Fact, Note};
use crate::report::{Details, Event};

/// From this many on they are told as one: fewer fit on a screen and say more by name.
const GROUP_MIN: usize = 10;
/// Names in the sentence of a group; all of them are in its details.
const NAMED_MAX: usize = 5;

/// What makes two events of a turn one kind of thing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    node: NodeName,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Opened(Condition),
    NotStarted,
    Resolved(Condition),
    /// What happened and why, in words.
    Noted(String),
}

impl Engine {
    /// Makes one event of many of a kind, and says which groups have ended.
    pub(super) fn group(&mut self, turn: &mut Turn) {
        let mut groups: BTreeMap<Key, Vec<usize>> = BTreeMap::new();
        for (at, effect) in turn.effects.iter().enumerate() {
            // An entry's event stands right behind it.
            if let (Effect::Record(entry), Some(Effect::Notify(_))) = (effect, turn.effects.get(at + 1))
                && let Some(key) = key(entry)
            {
                groups.entry(key).or_default().push(at);
            }
        }
        groups.retain(|_, members| members.len() >= GROUP_MIN);
        let mut dropped = vec![false; turn.effects.len()];
        for (key, members) in groups {
            let opened = matches!(key.what, What::Opened(_) | What::NotStarted);
            let id = opened.then(|| self.memory.incidents.next_id());
            let mut told = Told::default();
            for at in members.iter().copied() {
                if let Some(Effect::Record(entry)) = turn.effects.get_mut(at) {
                    told.add(entry);
                    if let (Fact::Opened { finding, group, .. }, Some(id)) = (&mut entry.fact, id) {
                        *group = Some(id);
                        let slot = Slot { check: finding.check(), subject: entry.subject.clone() };
                        self.memory.incidents.join(&slot, id);
                    }
                }
                dropped[at + 1] = true;
            }
            let Some(first) = members.first().copied() else { continue };
            if let Some(Effect::Notify(event)) = turn.effects.get_mut(first + 1) {
                told.into_event(&key, id, event);
                dropped[first + 1] = false;
            }
        }
        let left: BTreeMap<IncidentId, usize> =
            std::mem::take(&mut turn.left_groups).into_iter().map(|(at, group)| (group, at)).collect();
        for (ended, at) in left {
            let over = !self.memory.incidents.any_in(ended);
            // The event of a member that was folded into another one is gone; the group's end goes with that other one.
            let bearer = turn.effects.iter_mut().enumerate().filter(|(index, _)| !dropped[*index]);
            let bearer = bearer.filter_map(|(index, effect)| match effect {
                Effect::Notify(event) if event.resolves => Some((index, event)),
                Effect::Notify(_) | Effect::Record(_) | Effect::Inspect(_) | Effect::Act(_) => None,
            });
            let bearer = bearer.min_by_key(|(index, _)| index.abs_diff(at));
            if let (true, Some((_, event))) = (over, bearer) {
                event.also_ends.push(ended);
            }
        }
        let mut kept = dropped.into_iter();
        turn.effects.retain(|_| !kept.next().unwrap_or(false));
    }
}

fn key(entry: &Entry) -> Option<Key> {
    let (Subject::Guest(_), Some(node)) = (&entry.subject, &entry.node) else { return None };
    let what = match &entry.fact {
        Fact::Opened { finding: Finding::GuestNotStarted { .. }, .. } => What::NotStarted,
        Fact::Opened { finding, .. } => What::Opened(finding.condition()),
        Fact::Resolved { finding, .. } => What::Resolved(finding.condition()),
        Fact::Noted(Note::GuestMoved { from, by, .. }) => {
            let by = by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
            What::Noted(format!("moved from {from}{by}"))
        }
        Fact::Noted(note) => What::Noted(note.words()),
        Fact::Turned { .. } | Fact::Heartbeat(_) | Fact::Remedy { .. } | Fact::Storm { .. } => return None,
    };
    Some(Key { node: node.clone(), what })
}

/// The members of a group, as they are gone through.
#[derive(Default)]
struct Told {
    guests: Vec<String>,
    names: Vec<String>,
    kinds: (bool, bool),
    ends: Vec<IncidentId>,
}

impl Told {
    fn add(&mut self, entry: &Entry) {
        let Subject::Guest(id) = &entry.subject else { return };
        match id.kind {
            GuestKind::Qemu => self.kinds.0 = true,
            GuestKind::Lxc => self.kinds.1 = true,
        }
        self.guests.push(id.to_string());
        if self.names.len() < NAMED_MAX {
            self.names.push(match &entry.name {
                Some(name) => format!("{name} ({})", id.vmid),
                None => id.vmid.to_string(),
            });
        }
        if let Fact::Resolved { incident, .. } = &entry.fact {
            self.ends.push(*incident);
        }
    }

    /// Turns the first member's event into the one of all of them.
    fn into_event(self, key: &Key, id: Option<IncidentId>, event: &mut Event) {
        let many = match self.kinds {
            (true, false) => "VMs",
            (false, true) => "containers",
            (_, _) => "guests",
        };
        let (count, node) = (self.guests.len(), &key.node);
        let mut names = self.names.join(", ");
        if count > self.names.len() {
            names.push_str(&format!(" and {} more", count - self.names.len()));
        }
        (event.title, event.message) = match &key.what {
            What::Opened(Condition::VmCrashed | Condition::CtCrashed) => (
                format!("{count} {many} crashed on {node}"),
                format!("{count} {many} on {node} stopped, and no task asked for it: {names}"),
            ),
            What::NotStarted => (
                format!("{count} {many} not started again on {node}"),
                format!(
                    "{count} {many} on {node} are to run and were not started again after its restart: {names}"
                ),
            ),
            What::Opened(condition) => (
                format!("{count} {many} on {node} in {}", condition.as_str()),
                format!("{count} {many} on {node}: {names}"),
            ),
            What::Resolved(condition) => (
                format!("Resolved: {} on {node}", condition.as_str()),
                format!("{count} {many} on {node}: no longer in {}: {names}", condition.as_str()),
            ),
            What::Noted(words) => (
                format!("{count} {many} changed on {node}"),
                format!("{count} {many} on {node} {words}: {names}"),
            ),
        };
        // One task is not the others'.
        event.details.upid = None;
        event.details = Details { target: node.to_string(), guests: self.guests, ..event.details.clone() };
        event.subject = Subject::Node(key.node.clone());
        if event.resolves {
            event.incident = self.ends.first().copied();
            event.also_ends = self.ends.into_iter().skip(1).collect();
        } else {
            event.incident = id.or(event.incident);
        }
    }
}
