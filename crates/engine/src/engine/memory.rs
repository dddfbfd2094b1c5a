//! What the engine remembers between two turns, and how the newest row becomes part of it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::detect::guest::{ROW_AGE, Suspicion};
use crate::incident::Incidents;
use crate::observe::{Guest, GuestEvidence, GuestId, Node, NodeName, Presence, Round, Seen, StorageName};

/// All that the engine remembers, to be written down and given back after a restart. From outside it is opaque.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// When the newest judged round of each kind began: an older one that arrives late is dropped.
    pub(super) judged: BTreeMap<Round, Timestamp>,
    /// Failed critical rounds in a row.
    pub(super) blind_rounds: u32,
    pub(super) quorate: bool,
    pub(super) nodes: BTreeMap<NodeName, KnownNode>,
    pub(super) guests: BTreeMap<GuestId, KnownGuest>,
    /// Storages that were seen available.
    pub(super) storages: BTreeSet<(StorageName, NodeName)>,
    pub(super) suspects: BTreeMap<GuestId, Suspect>,
    pub(super) incidents: Incidents,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct KnownNode {
    pub(super) presence: Presence,
    /// Since when it has been seen online without a break.
    pub(super) online_since: Option<Timestamp>,
    pub(super) booted_at: Option<Timestamp>,
    /// Its uptime when it was last believed.
    pub(super) uptime: Option<u64>,
    /// Whether its rows say how it is, and not how it was before it left.
    pub(super) believed: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct KnownGuest {
    pub(super) guest: Guest,
    /// When its state was last seen, on a node that could be believed.
    pub(super) seen_at: Timestamp,
    /// When it had a process for certain.
    pub(super) alive_at: Option<Timestamp>,
}

/// A change that waits for its explanation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Suspect {
    pub(super) suspicion: Suspicion,
    /// When the guest was last seen as it was before.
    pub(super) last_seen: Timestamp,
    /// When to ask, and then again.
    pub(super) due: Timestamp,
    /// When its node was last asked, if the answer is still to come.
    pub(super) asked_at: Option<Timestamp>,
    pub(super) tries: u32,
    /// The guest's node was restarted since: `startall` may yet bring it back.
    pub(super) after_restart: bool,
}

impl Suspect {
    pub(super) fn new(suspicion: Suspicion, last_seen: Timestamp, due: Timestamp) -> Suspect {
        Suspect { suspicion, last_seen, due, asked_at: None, tries: 0, after_restart: false }
    }
}

impl Suspect {
    /// Whether this is the answer to the latest question about it, as far as it says when it was made.
    pub(super) fn awaits(&self, answer: &GuestEvidence) -> bool {
        let made_at = match (&answer.live, &answer.tasks) {
            (Seen::At { asked_at: live, .. }, Seen::At { asked_at: tasks, .. }) => Some(*live.min(tasks)),
            (Seen::NotAsked | Seen::NotReached(_), _) | (_, Seen::NotAsked | Seen::NotReached(_)) => None,
        };
        self.asked_at.is_some_and(|asked_at| made_at.is_none_or(|made_at| made_at >= asked_at))
    }
}

impl KnownNode {
    pub(super) fn now(before: Option<&KnownNode>, node: &Node, asked_at: Timestamp) -> KnownNode {
        let seconds = node.uptime.and_then(|uptime| i64::try_from(uptime).ok());
        let booted_at =
            seconds.and_then(|uptime| asked_at.checked_sub(SignedDuration::from_secs(uptime)).ok());
        let online_since = match (node.presence, before) {
            (Presence::Online, Some(before)) => before.online_since.or(Some(asked_at)),
            (Presence::Online, None) => Some(asked_at),
            (Presence::Offline | Presence::Unknown, _) => None,
        };
        let believed = match (online_since, before) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(since), Some(before)) => before.believed || before.heard_anew(node, since, asked_at),
        };
        KnownNode {
            presence: node.presence,
            online_since,
            booted_at: booted_at.or(before.and_then(|before| before.booted_at)),
            uptime: if believed { node.uptime } else { before.and_then(|before| before.uptime) },
            believed,
        }
    }

    /// Whether a node that came back has told of itself since. Until then its rows, and those of its guests, are what
    /// it said before it left, for up to 300 s (pve-domain 1.4, pve-crash-evidence 6).
    fn heard_anew(&self, node: &Node, online_since: Timestamp, asked_at: Timestamp) -> bool {
        let told = match (self.uptime, node.uptime) {
            (Some(before), Some(now)) => now != before,
            // The token may not see it, so only time can tell.
            (None, _) | (_, None) => true,
        };
        told && asked_at.duration_since(online_since) >= ROW_AGE
    }
}

impl KnownGuest {
    /// The newest row, with what it does not say kept from before.
    pub(super) fn now(before: Option<&KnownGuest>, mut row: Guest, asked_at: Timestamp) -> KnownGuest {
        let Some(before) = before else {
            let alive = row.status.has_process() == Some(true);
            return KnownGuest {
                guest: row,
                seen_at: asked_at,
                alive_at: alive.then_some(asked_at - ROW_AGE),
            };
        };
        row.name = row.name.or_else(|| before.guest.name.clone());
        let mut seen_at = asked_at;
        // Neither a row without statistics, nor the first one on another node, says how the guest is.
        if row.status.has_process().is_none() || row.node != before.guest.node {
            row.status = before.guest.status.clone();
            seen_at = before.seen_at;
        }
        // A row may be 300 s old and still say "running"; its uptime tells whether it is a new one.
        let renewed = row.uptime == 0 || row.uptime != before.guest.uptime || before.alive_at.is_none();
        let alive_at = match row.status.has_process() {
            Some(true) if renewed => Some(seen_at - ROW_AGE),
            Some(true | false) | None => before.alive_at,
        };
        KnownGuest { guest: row, seen_at, alive_at }
    }
}
