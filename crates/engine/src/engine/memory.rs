//! What the engine remembers between two turns, and how the newest row becomes part of it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::act::{Action, Attempt};
use crate::decide::{STAGGER, WINDOW_MAX};
use crate::detect::guest::{self, ROW_AGE, Suspicion};
use crate::detect::node;
use crate::incident::{Incidents, Slot};
use crate::observe::{
    Cause, Guest, GuestEvidence, GuestId, GuestStatus, Live, MacAddress, Node, NodeName, Presence, Round,
    Seen, StorageName,
};

/// All that the engine remembers, to be written down and given back after a restart. From outside it is opaque.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// When the newest judged round of each kind began: an older one that arrives late is dropped.
    pub(super) judged: BTreeMap<Round, Timestamp>,
    /// The same of each node's live list.
    #[serde(default)]
    pub(super) judged_live: BTreeMap<NodeName, Timestamp>,
    /// Failed critical rounds in a row.
    pub(super) blind_rounds: u32,
    /// What the last of them failed by, and how many in a row did by that.
    #[serde(default)]
    pub(super) blind_by: Option<(Cause, u32)>,
    pub(super) quorate: bool,
    /// Whether the last rounds were blind because nothing in them moved: what nodes say themselves is then still true.
    #[serde(default)]
    pub(super) frozen: bool,
    pub(super) nodes: BTreeMap<NodeName, KnownNode>,
    pub(super) guests: BTreeMap<GuestId, KnownGuest>,
    /// Storages that were seen available.
    pub(super) storages: BTreeSet<(StorageName, NodeName)>,
    pub(super) suspects: BTreeMap<GuestId, Suspect>,
    #[serde(default)]
    pub(super) node_suspects: BTreeMap<NodeName, NodeSuspect>,
    /// Nodes of whose services one is down, and when to look again.
    #[serde(default)]
    pub(super) service_suspects: BTreeMap<NodeName, Timestamp>,
    pub(super) incidents: Incidents,
    /// When something was done about each check of a subject, across incidents: who dies again has no fresh count.
    #[serde(default)]
    pub(super) attempts: Vec<(Slot, Vec<Timestamp>)>,
    /// When the incidents of the last minute began.
    #[serde(default)]
    pub(super) opened: Vec<Timestamp>,
    /// When too many last began at once, until that is over.
    #[serde(default)]
    pub(super) storm: Option<Timestamp>,
    /// The last start on each node.
    #[serde(default)]
    pub(super) last_starts: BTreeMap<NodeName, LastStart>,
}

/// Longest that the others on its node wait after the start of one guest, whatever its configuration asks for.
const UP_MAX: SignedDuration = SignedDuration::from_mins(10);

/// Attempts that are remembered of one key. Each makes the others wait, so it is a bound for the memory only.
const ATTEMPTS_MAX: usize = 1_000;

impl Memory {
    /// What was done about a key within a window, oldest first.
    pub(super) fn attempts_of(&self, slot: &Slot, now: Timestamp, window: SignedDuration) -> Vec<Timestamp> {
        let made = self.attempts.iter().find(|(of, _)| of == slot).map_or(&[][..], |(_, made)| made);
        made.iter().copied().filter(|at| now.duration_since(*at) < window).collect()
    }

    pub(super) fn count(&mut self, slot: &Slot, attempt: &Attempt, up: Option<u32>) {
        let at = attempt.at;
        self.last_starts.retain(|_, last| at.duration_since(last.at) < UP_MAX);
        if let Action::StartGuest { node, .. } = &attempt.action {
            let up = SignedDuration::from_secs(up.unwrap_or(0).into());
            self.last_starts.insert(node.clone(), LastStart { at, apart: up.clamp(STAGGER, UP_MAX) });
        }
        for (_, made) in &mut self.attempts {
            made.retain(|made| at.duration_since(*made) < WINDOW_MAX);
        }
        self.attempts.retain(|(_, made)| !made.is_empty());
        match self.attempts.iter_mut().find(|(of, _)| of == slot) {
            Some((_, made)) => {
                made.push(at);
                let surplus = made.len().saturating_sub(ATTEMPTS_MAX);
                made.drain(..surplus);
            }
            None => self.attempts.push((slot.clone(), vec![at])),
        }
    }

    /// A start that failed lets the next one wait no longer than it must.
    pub(super) fn not_started(&mut self, attempt: &Attempt) {
        if let Action::StartGuest { node, .. } = &attempt.action
            && let Some(last) = self.last_starts.get_mut(node).filter(|last| last.at == attempt.at)
        {
            last.apart = STAGGER;
        }
    }

    /// It was decided, and not made.
    pub(super) fn uncount(&mut self, slot: &Slot, at: Timestamp) {
        if let Some((_, made)) = self.attempts.iter_mut().find(|(of, _)| of == slot) {
            // One of them: where the clock was set back, several are of the same time.
            if let Some(last) = made.iter().rposition(|made| *made == at) {
                made.remove(last);
            }
        }
    }
}

/// A start, and how long the next one on the same node waits for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct LastStart {
    pub(super) at: Timestamp,
    pub(super) apart: SignedDuration,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct KnownNode {
    pub(super) presence: Presence,
    /// When it was last seen as a member.
    #[serde(default)]
    pub(super) seen_at: Option<Timestamp>,
    /// Since when it has been seen as a member without a break.
    #[serde(default)]
    pub(super) member_since: Option<Timestamp>,
    /// Since when it has been seen online, so with statistics, without a break.
    pub(super) online_since: Option<Timestamp>,
    pub(super) booted_at: Option<Timestamp>,
    /// Its uptime when it was last believed.
    pub(super) uptime: Option<u64>,
    /// When its uptime was last seen to move.
    #[serde(default)]
    pub(super) moved_at: Option<Timestamp>,
    /// Whether its row is still the one of before a time in which nobody looked: what became of it then is not known.
    #[serde(default)]
    pub(super) unheard: bool,
    /// Whether its rows say how it is, and not how it was before it left.
    pub(super) believed: bool,
    /// Rounds in a row that did not list it.
    #[serde(default)]
    pub(super) missing: u32,
    /// What became of it, while it is no member and that is known.
    #[serde(default)]
    pub(super) departure: Option<Departure>,
    /// The address that wakes it, as it was last said.
    #[serde(default)]
    pub(super) address: Address,
}

/// What is known of the address that wakes a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Address {
    /// Its settings have not been read yet.
    #[default]
    NotKnown,
    /// Its settings name none.
    None,
    /// This one.
    Is(MacAddress),
}

impl Address {
    /// Whether PVE can wake it at all, where that is known.
    pub(super) fn is_there(self) -> Option<bool> {
        match self {
            Address::NotKnown => None,
            Address::None => Some(false),
            Address::Is(_) => Some(true),
        }
    }

    /// The address.
    pub(super) fn mac(self) -> Option<MacAddress> {
        match self {
            Address::NotKnown | Address::None => None,
            Address::Is(mac) => Some(mac),
        }
    }
}

/// What became of a node that is no member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Departure {
    /// It was away before anybody looked.
    Before,
    /// It is lost.
    Lost,
    /// It is lost, as far as is known: what somebody may have asked it to do could not be read yet.
    Unasked,
    /// Somebody wanted it to leave.
    OnPurpose,
    /// It lives, and its cluster file system does not.
    ClusterFsDown,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct KnownGuest {
    pub(super) guest: Guest,
    /// When its state was last seen, on a node that could be believed.
    pub(super) seen_at: Timestamp,
    /// When it had a process for certain.
    pub(super) alive_at: Option<Timestamp>,
    /// When its node told what the latest row with a process says, at the earliest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) told_at: Option<Timestamp>,
    /// What its node's own list said last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) live: Option<LiveSeen>,
    /// The process that it has, or had last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pid: Option<u32>,
    /// Whether that process is one that a backup may have lent it: the list calls it running, and no row has said so yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) lent: bool,
    /// Since when it has been seen without a process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) down_since: Option<Timestamp>,
    /// Since when HA has been to run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) wanted_since: Option<Timestamp>,
    /// When it was seen on another node than before: its process there is younger than its work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) moved_at: Option<Timestamp>,
    /// When its node itself last said, in a look, that it had no process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) down_at: Option<Timestamp>,
    /// Seconds that its last process had lived by the last row that showed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lived: Option<u64>,
    /// Whether its process has been seen to read or write.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) had_io: bool,
    /// Looks in a row that did not find it in its node's list.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) unlisted: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LiveSeen {
    pub(super) running: bool,
    pub(super) at: Timestamp,
    /// Seconds since its start, then.
    #[serde(default)]
    pub(super) uptime: u64,
}

/// By how much an uptime may be too large: seconds are cut, and clocks differ.
const UPTIME_SLACK: SignedDuration = SignedDuration::from_secs(5);

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
    /// Seconds that its process had lived when it was last seen as it was before.
    #[serde(default)]
    pub(super) uptime: u64,
    /// The guest's node was restarted since: `startall` may yet bring it back.
    pub(super) after_restart: bool,
}

/// A node of which something is not right, and which is looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct NodeSuspect {
    pub(super) suspicion: NodeSuspicion,
    /// When it was last seen as a member.
    pub(super) last_seen: Timestamp,
    /// When to look, and then again.
    pub(super) due: Timestamp,
    /// When it was last looked at, if the answer is still to come.
    pub(super) asked_at: Option<Timestamp>,
    pub(super) tries: u32,
}

/// What is not right with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum NodeSuspicion {
    /// It is no member any more.
    Absent,
    /// Its API does not answer.
    Door,
}

impl LiveSeen {
    /// Whether a process of this age is an older one than the node's own list shows. Both count in whole seconds.
    fn younger_than(&self, uptime: u64, asked_at: Timestamp) -> bool {
        let since = u64::try_from(asked_at.duration_since(self.at).as_secs()).unwrap_or(0);
        uptime > self.uptime.saturating_add(since).saturating_add(3)
    }
}

impl Suspect {
    pub(super) fn new(suspicion: Suspicion, last_seen: Timestamp, due: Timestamp) -> Suspect {
        Suspect { suspicion, last_seen, due, asked_at: None, tries: 0, uptime: 0, after_restart: false }
    }

    /// Whether this is the answer to the latest question about it, as far as it says when it was made.
    pub(super) fn awaits(&self, answer: &GuestEvidence) -> bool {
        let made_at = match (&answer.live, &answer.tasks) {
            (Seen::At { asked_at: live, .. }, Seen::At { asked_at: tasks, .. }) => Some(*live.min(tasks)),
            (Seen::NotAsked | Seen::NotReached(_), _) | (_, Seen::NotAsked | Seen::NotReached(_)) => None,
        };
        self.asked_at.is_some_and(|asked_at| made_at.is_none_or(|made_at| made_at >= asked_at))
    }
}

impl NodeSuspect {
    pub(super) fn new(suspicion: NodeSuspicion, last_seen: Timestamp, due: Timestamp) -> NodeSuspect {
        NodeSuspect { suspicion, last_seen, due, asked_at: None, tries: 0 }
    }
}

/// An uptime and the time between two answers, both in whole seconds.
const ROUNDED: SignedDuration = SignedDuration::from_secs(2);
/// A node's uptime that goes back by less than this is two workers with caches of different age (pve-crash-evidence 3).
const UPTIME_JITTER: u64 = 30;

impl KnownNode {
    /// `joined_at` is when a node last joined the cluster.
    pub(super) fn now(
        before: Option<&KnownNode>,
        node: &Node,
        asked_at: Timestamp,
        joined_at: Option<Timestamp>,
    ) -> KnownNode {
        let last_uptime = before.and_then(|before| before.uptime);
        // A row that repeats itself says nothing about when its node booted.
        // One that is older than PVE keeps any is another one: its node has been up for as long once more. Who joins is
        // given all of them anew.
        let kept =
            |at: Timestamp| asked_at.duration_since(at.max(joined_at.unwrap_or(at))) <= guest::GHOST_MAX;
        let kept = before.and_then(|before| before.moved_at).is_none_or(kept);
        let moved = node.uptime.filter(|uptime| !kept || last_uptime != Some(*uptime));
        let seconds = moved.and_then(|uptime| i64::try_from(uptime).ok());
        let booted_at =
            seconds.and_then(|uptime| asked_at.checked_sub(SignedDuration::from_secs(uptime)).ok());
        let lags = before.is_some_and(|before| before.lags(node, asked_at));
        let online_since = match (node.presence, before) {
            (Presence::Online, Some(_)) if lags => Some(asked_at),
            (Presence::Online, Some(before)) => before.online_since.or(Some(asked_at)),
            (Presence::Online, None) => Some(asked_at),
            (Presence::Offline | Presence::Unknown, _) => None,
        };
        let believed = match (online_since, before) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(_), Some(_)) if lags => false,
            (Some(since), Some(before)) => before.believed || before.heard_anew(node, since, asked_at),
        };
        let member = node.presence != Presence::Offline;
        KnownNode {
            presence: node.presence,
            member_since: before.and_then(|b| b.member_since).or(Some(asked_at)).filter(|_| member),
            seen_at: if member { Some(asked_at) } else { before.and_then(|before| before.seen_at) },
            online_since,
            booted_at: booted_at.or(before.and_then(|before| before.booted_at)),
            uptime: if believed || lags { node.uptime } else { last_uptime },
            moved_at: moved
                .map(|_| asked_at)
                .or(before.and_then(|before| before.moved_at))
                .or(Some(asked_at)),
            unheard: before.is_some_and(|before| before.unheard) && node.uptime.is_some() && moved.is_none(),
            believed,
            missing: 0,
            address: before.map(|before| before.address).unwrap_or_default(),
            departure: if member { None } else { before.map_or(Some(Departure::Before), |b| b.departure) },
        }
    }

    /// Whether a row that has moved on shows a node younger than it must be by now: one that booted while nobody saw it, or what
    /// it said long ago and nobody has seen, which whoever joins is given. The next one tells which: until then it counts as one
    /// that has just booted, of which nothing is believed.
    fn lags(&self, node: &Node, asked_at: Timestamp) -> bool {
        let (Some(last), Some(uptime), Some(booted_at)) = (self.uptime, node.uptime, self.booted_at) else {
            return false;
        };
        let behind = asked_at.duration_since(booted_at) - seconds(uptime);
        uptime > last && behind > seconds(UPTIME_JITTER) + ROW_AGE
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

    /// Whether its statistics stand still, as it was last seen.
    pub(super) fn stalled(&self) -> bool {
        let (moved_at, member_since) = (self.moved_at, self.member_since);
        let seen =
            self.seen_at.map(|at| node::stalled(self.presence, self.uptime, moved_at, member_since, at));
        seen.unwrap_or(false)
    }

    /// Whether it was restarted since it was last seen.
    pub(super) fn restarted(&self, node: &Node) -> bool {
        match (self.uptime, node.uptime) {
            (Some(before), Some(now)) => now.saturating_add(UPTIME_JITTER) < before,
            (None, _) | (_, None) => false,
        }
    }
}

/// However large it is; nobody may add to it.
fn seconds(uptime: u64) -> SignedDuration {
    SignedDuration::from_secs(i64::try_from(uptime).unwrap_or(i64::MAX))
}

fn wanted(row: &Guest) -> bool {
    row.ha.as_deref().is_some_and(|state| crate::record::HA_RESTARTS.contains(&state))
}

impl KnownGuest {
    /// The first time that it is seen.
    pub(super) fn new(row: Guest, asked_at: Timestamp) -> KnownGuest {
        let alive = row.status.has_process();
        KnownGuest {
            seen_at: asked_at,
            alive_at: (alive == Some(true)).then_some(asked_at - ROW_AGE),
            told_at: (alive == Some(true)).then_some(asked_at - ROW_AGE),
            live: None,
            pid: None,
            lent: false,
            down_since: (alive == Some(false)).then_some(asked_at),
            wanted_since: wanted(&row).then_some(asked_at),
            moved_at: None,
            down_at: None,
            lived: (alive == Some(true)).then_some(row.uptime),
            had_io: row.io.is_some_and(|io| io > 0),
            unlisted: 0,
            guest: row,
        }
    }

    /// The newest row, with what it does not say kept from before. `joined_at` is when a node last joined the cluster.
    pub(super) fn with_row(
        &self,
        mut row: Guest,
        asked_at: Timestamp,
        joined_at: Option<Timestamp>,
    ) -> KnownGuest {
        let before = &self.guest;
        row.name = row.name.or_else(|| before.name.clone());
        // The round that shows a move may be judged again.
        let moved = row.node != before.node || self.moved_at == Some(asked_at);
        let restarted = moved || guest::restarted(before, &row);
        let mut seen_at = asked_at;
        // Neither a row without statistics, nor the first one on another node, nor one that is older than what the
        // node itself has said since, says how the guest is.
        let silent = row.status.has_process().is_none();
        let outranked = self.outranks(&row, asked_at, joined_at);
        if silent || moved || outranked {
            row.status = before.status.clone();
            // An old row that says "running" is known again by its uptime; one that says "stopped" has none.
            row.uptime = if silent || (outranked && row.uptime == 0) { before.uptime } else { row.uptime };
            seen_at = self.seen_at;
        }
        let alive = row.status.has_process();
        let told_at = match alive {
            Some(true) => self.told_at(&row, seen_at),
            Some(false) | None => self.told_at,
        };
        KnownGuest {
            seen_at,
            alive_at: self.alive_at.max(told_at.filter(|_| alive == Some(true))),
            told_at,
            live: self.live.filter(|_| !moved),
            pid: self.pid.filter(|_| !moved),
            lent: self.lent && (silent || outranked),
            down_since: match alive {
                Some(false) => self.down_since.or(Some(asked_at)),
                Some(true) => None,
                None => self.down_since,
            },
            wanted_since: wanted(&row).then(|| self.wanted_since.unwrap_or(asked_at)),
            moved_at: if moved { Some(asked_at) } else { self.moved_at },
            down_at: self.down_at.filter(|_| alive != Some(true) && !moved),
            lived: if alive == Some(true) { Some(row.uptime) } else { self.lived },
            unlisted: if moved || alive == Some(true) { 0 } else { self.unlisted },
            had_io: alive == Some(true) && ((self.had_io && !restarted) || row.io.is_some_and(|io| io > 0)),
            guest: row,
        }
    }

    /// When a row that says "running" was told by its node, at the earliest. It may be 300 s old, and after a time without
    /// sight so may one that is new to us; but its uptime has grown by as much as the time that passed between the two.
    fn told_at(&self, row: &Guest, asked_at: Timestamp) -> Option<Timestamp> {
        let youngest = asked_at - ROW_AGE;
        let looked = asked_at.duration_since(self.seen_at) <= ROW_AGE * 2;
        let seen_before = self.seen_at - ROW_AGE;
        let last = self.told_at.unwrap_or(seen_before);
        let same = self.told_at.is_some() && self.guest.status.has_process() == Some(true);
        let same = same && row.node == self.guest.node;
        let grown = row.uptime.checked_sub(self.guest.uptime).filter(|_| same);
        let grown = grown.and_then(|seconds| i64::try_from(seconds).ok()).map(SignedDuration::from_secs);
        let told_at = match grown {
            Some(grown) => last.checked_add(grown).unwrap_or(youngest),
            // Another process: it is told by a node that lives, unless nobody has looked for a while.
            None if looked => youngest,
            None => last.max(seen_before),
        };
        Some(told_at.min(youngest).max(last))
    }

    /// Whether what is known is newer than a row that says otherwise: the node's own list said so a moment ago, or the
    /// row shows the very process that is known to be gone.
    fn outranks(&self, row: &Guest, asked_at: Timestamp, joined_at: Option<Timestamp>) -> bool {
        let age = |live: &LiveSeen| asked_at.duration_since(live.at);
        // One that was asked while the round was under way says more than its row; one that lies far ahead is of another clock.
        let live = self.live.filter(|live| age(live).abs() < ROW_AGE);
        let contradicted = live.is_some_and(|live| match row.status.has_process() {
            Some(true) => !live.running || live.younger_than(row.uptime, asked_at),
            Some(false) => live.running,
            None => false,
        });
        let returns =
            self.guest.status.has_process() == Some(false) && row.status.has_process() == Some(true);
        let repeated = row.uptime == self.guest.uptime;
        contradicted
            || (returns
                && self.haunted(asked_at, joined_at)
                && (repeated || self.outlived(row.uptime, asked_at)))
    }

    /// As if its stop had not been seen: how it was before, and how many seconds its process had lived then.
    pub(super) fn unsee_stop(&mut self, from: &GuestStatus, uptime: u64) {
        (self.guest.status, self.guest.uptime) = (from.clone(), uptime);
        self.live = None;
    }

    /// When the process that its row shows began, as far as that says.
    pub(super) fn began_at(&self) -> Timestamp {
        self.seen_at.checked_sub(seconds(self.guest.uptime)).unwrap_or(self.seen_at)
    }

    /// Whether a row may still show the process that is gone: PVE drops what it has not heard anew for 300 s, and whoever joins
    /// is given it once more. Not if the
    /// node's own list has shown it since: a younger process may be one that a backup lent, but one that is older than the
    /// death never died.
    fn haunted(&self, asked_at: Timestamp, joined_at: Option<Timestamp>) -> bool {
        let Some(since) = self.down_since else { return true };
        let lives = self.live.is_some_and(|live| {
            live.running
                && live.at > since
                && seconds(live.uptime) > live.at.duration_since(since) + UPTIME_SLACK
        });
        !lives && asked_at.duration_since(since.max(joined_at.unwrap_or(since))) <= guest::GHOST_MAX
    }

    /// Whether a process of this age was there before the guest was seen without one: then it is the one that is gone.
    fn outlived(&self, uptime: u64, asked_at: Timestamp) -> bool {
        let Some(since) = self.down_since else { return false };
        let age = seconds(uptime);
        // What its node said was so then; a row that said so was up to that much older. And a row of before that look may show
        // the process that is gone, unless it is younger than that one was.
        let by_look = self.down_at.map(|at| asked_at.duration_since(at)).is_some_and(|since| {
            age > since + ROUNDED || (since < ROW_AGE && self.lived.is_some_and(|lived| uptime >= lived))
        });
        by_look || age > asked_at.duration_since(since) + ROW_AGE
    }

    /// Its node said in a look that it had no process: one that is older has not come back.
    pub(super) fn looked_at(&mut self, id: GuestId, answer: &GuestEvidence) {
        let Seen::At { value: all, asked_at } = &answer.live else { return };
        if all.get(&id).is_some_and(|live| !live.running) {
            self.down_at = self.down_at.max(Some(*asked_at));
        }
    }

    /// Its node's own list, at `asked_at`. It is believed about a stop; how a guest that runs does so, it does not say.
    pub(super) fn with_live(&self, live: &Live, asked_at: Timestamp) -> KnownGuest {
        let mut known = self.clone();
        known.live = Some(LiveSeen { running: live.running, at: asked_at, uptime: live.uptime });
        let ran = known.guest.status.has_process() == Some(true);
        if live.running {
            // Another process than the last, one that came after it was seen without any, or one that was not yet there when a row
            // last said how it is, or where.
            let seen_at = self.moved_at.map_or(self.seen_at, |at| at.max(self.seen_at));
            known.lent |= !ran
                || self.pid.is_some_and(|before| live.pid.is_some_and(|pid| pid != before))
                || seconds(live.uptime) < asked_at.duration_since(seen_at) - UPTIME_SLACK;
            known.pid = live.pid.or(known.pid);
            if ran && !known.lent {
                known.alive_at = known.alive_at.max(Some(asked_at));
            }
        } else if ran {
            // Its uptime stays as it was, so that a row that repeats it is known for an old one.
            known.guest.status = GuestStatus::Stopped;
            known.down_since = Some(asked_at);
            known.had_io = false;
            known.seen_at = asked_at;
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Engine;
    use crate::detect::Check;
    use crate::observe::Subject;
    use crate::policy::Policy;

    /// The first start's failure is known late, when the node has begun the next one.
    #[test]
    fn a_late_failure_shortens_no_other_guests_wait() {
        let at = |second| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second);
        let start = |id: &str, second| {
            let (guest, node): (GuestId, NodeName) = (id.parse().unwrap(), "pve1".parse().unwrap());
            let action = Action::StartGuest { guest, node };
            let slot = Slot { check: Check::GuestCrashed, subject: Subject::Guest(guest) };
            (slot, Attempt { number: 1, action, runbook: "test".into(), at: at(second), level: 3 })
        };
        let (first, second) = (start("qemu/101", 10), start("qemu/102", 70));
        for (name, failed, apart) in [("the first failed", &first, 90), ("the last failed", &second, 3)] {
            let mut memory = Engine::new("lab".parse().unwrap(), Policy::default(), 7).memory;
            memory.count(&first.0, &first.1, Some(60));
            memory.count(&second.0, &second.1, Some(90));
            memory.not_started(&failed.1);
            let last: Vec<_> = memory.last_starts.values().map(|last| (last.at, last.apart)).collect();
            assert_eq!(last, [(at(70), SignedDuration::from_secs(apart))], "{name}");
        }
    }

    /// A node that is seen again after so many seconds, with this uptime; it was 70 s then.
    #[test]
    fn when_a_node_booted_by_its_uptime() {
        let at = |second| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second);
        let (presence, cpu, memory, disk) = (Presence::Online, None, None, None);
        let node = |uptime| Node { presence, uptime: Some(uptime), cpu, memory, disk };
        let known = KnownNode::now(None, &node(70), at(1_000), None);
        #[rustfmt::skip]
        let table = [
            ("it has moved on",                         12, 82,  930),
            ("a row that repeats itself",               12, 70,  930),
            ("as long as PVE keeps one",               314, 70,  930),
            ("restarted, and up for as long once more", 315, 70, 1_245),
            ("restarted",                               60, 10, 1_050),
        ];
        for (name, after, uptime, booted) in table {
            let seen = KnownNode::now(Some(&known), &node(uptime), at(1_000 + after), None);
            assert_eq!(seen.booted_at, Some(at(booted)), "{name}");
        }
        // (the last join, the same row so long after it was first seen, when its node booted by that)
        for (name, joined, after, booted) in [
            ("somebody has joined since", 1_200, 315, 930),
            ("and has it as long as any", 1_200, 514, 930),
            ("longer", 1_200, 515, 1_445),
            ("somebody joined before", 900, 315, 1_245),
        ] {
            let seen = KnownNode::now(Some(&known), &node(70), at(1_000 + after), Some(at(joined)));
            assert_eq!(seen.booted_at, Some(at(booted)), "{name}");
        }
    }
}
