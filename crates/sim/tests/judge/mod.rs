//! Judges what was told by what really happened. It knows the simulator's truth, and of the engine only what it says.

pub(crate) mod acts;

use std::collections::{BTreeMap, BTreeSet};

use acts::Acts;
use engine::decide::RESTART_TAG;
use engine::detect::Finding;

use engine::observe::{GuestId, NodeName, Presence, Round, Seen, Snapshot, Subject};
use engine::record::{Entry, Fact, Note, Why};
use engine::{Effect, Input};
use jiff::{SignedDuration, Timestamp};
use sim::cluster::{Befell, Cluster};
use sim::run::{BEGIN, Moment};
use sim::script::Script;

/// A death is one that must be told when nothing else was done to the guest for so long before and after it.
const QUIET_BEFORE: SignedDuration = SignedDuration::from_secs(150);
const QUIET_AFTER: SignedDuration = SignedDuration::from_secs(45);
/// The same for what was done to its node: a boot and its settling take this long.
const NODE_QUIET: SignedDuration = SignedDuration::from_secs(450);
/// Good rounds after which what must be told has been told: three looks, each of which may wait for its timeout.
const ROUNDS_MAX: u32 = 12;
/// A death is told this late at most: when one look after the other fails, and a lock holds what is known in between.
const LATE: SignedDuration = SignedDuration::from_secs(450);
/// From a look at a guest until what is found is told: several calls, one of which may wait for its timeout.
const ON_ITS_WAY: SignedDuration = SignedDuration::from_secs(15);
/// PVE shows what a node has not said anew for so long (pve-domain 1.4), and then some.
const GHOST: SignedDuration = SignedDuration::from_secs(330);
/// From a node's boot until PVE has had its time to start its guests, as the engine counts it and at least.
const SETTLES: SignedDuration = SignedDuration::from_secs(285);
/// The same, until what PVE did not start is owed: a boot that is told late, and rows that are old.
const SETTLED: SignedDuration = SignedDuration::from_secs(400);
/// What was so a moment ago may still be told.
const LATELY: SignedDuration = SignedDuration::from_secs(45);

#[derive(Clone)]
pub(crate) struct Judge {
    /// When the script touches a guest or a node, apart from letting a guest die.
    touched: BTreeMap<String, Vec<Timestamp>>,
    /// How far the truth has been read.
    read: usize,
    guests: BTreeMap<GuestId, Track>,
    nodes: BTreeMap<NodeName, Membership>,
    /// Guests that a good round has shown with a process.
    shown: BTreeSet<GuestId>,
    open: BTreeMap<String, String>,
    pub(crate) deaths: u64,
    pub(crate) told: u64,
    /// Deaths that had to be told.
    pub(crate) due: u64,
    /// Guests that their node's restart left, wrongly, and that were told.
    pub(crate) left: u64,
    pub(crate) acts: Acts,
}

/// How a guest's latest process ended, while it has none.
#[derive(Clone)]
struct Track {
    ended: Option<End>,
    /// The end before the process that it has: a verdict may be on its way when somebody starts it.
    before: Option<End>,
    began: Timestamp,
}

#[derive(Clone)]
struct End {
    at: Timestamp,
    befell: Befell,
    told: bool,
    /// The boot of which it was told that PVE could not start it again.
    again: Option<Timestamp>,
    /// Whether it must be told, and how many good rounds have not.
    due: bool,
    rounds: u32,
    /// Where it was.
    node: Option<NodeName>,
}

#[derive(Clone)]
struct Membership {
    /// When it was last away, in truth.
    away: Option<Timestamp>,
    /// Whether a good round has shown it as a member since it was last told to be away.
    known: bool,
    /// Whether its absence has been told.
    told: bool,
    rounds: u32,
}

impl Judge {
    pub(crate) fn new(script: &Script, text: &str) -> Judge {
        let mut touched: BTreeMap<String, Vec<Timestamp>> = BTreeMap::new();
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (Some(&"at"), Some(when), Some(what)) = (words.first(), words.get(1), words.get(2)) else {
                continue;
            };
            if matches!(
                *what,
                "crash"
                    | "poweroff"
                    | "break"
                    | "mend"
                    | "end"
                    | "kill-switch"
                    | "allow"
                    | "announce"
                    | "approve"
                    | "dismiss"
            ) {
                continue;
            }
            let seconds: i64 = when.split(':').fold(0, |sum, part| sum * 60 + part.parse::<i64>().unwrap());
            let at = BEGIN + SignedDuration::from_secs(seconds);
            let mut named = false;
            for word in &words[3..] {
                let word = word.strip_prefix("node/").unwrap_or(word);
                if word.contains('/') || word.starts_with("pve") {
                    touched.entry(word.to_owned()).or_default().push(at);
                    named = true;
                }
            }
            if !named || matches!(*what, "side" | "quorum" | "api") {
                touched.entry("all".into()).or_default().push(at);
            }
        }
        assert!(!script.nodes.is_empty());
        Judge {
            touched,
            read: 0,
            guests: BTreeMap::new(),
            nodes: BTreeMap::new(),
            shown: BTreeSet::new(),
            open: BTreeMap::new(),
            deaths: 0,
            told: 0,
            due: 0,
            left: 0,
            acts: Acts::new(script),
        }
    }

    pub(crate) fn see(&mut self, moment: &Moment) {
        self.read_truth(moment.cluster);
        self.acts.see(moment);
        for (name, node) in moment.cluster.nodes() {
            let known = self.nodes.entry(name.clone()).or_insert(Membership {
                away: None,
                known: false,
                told: false,
                rounds: 0,
            });
            if away(moment.cluster, name) || !node.alive() {
                known.away = Some(moment.at);
            }
        }
        for effect in moment.effects {
            if let Effect::Record(entry) = effect {
                self.entry(moment, entry);
            }
        }
        if let Input::Observed(snapshot) = moment.input
            && snapshot.round == Round::Critical
            && moment.engine.seeing()
        {
            self.good_round(moment, snapshot);
        }
    }

    fn read_truth(&mut self, cluster: &Cluster) {
        for truth in &cluster.truth()[self.read..] {
            let track = self.guests.entry(truth.guest).or_insert(Track {
                ended: None,
                before: None,
                began: BEGIN - NODE_QUIET,
            });
            match truth.befell {
                Befell::Began => {
                    track.before = track.ended.take().or_else(|| track.before.take());
                    track.began = truth.at;
                }
                // It never ran: how it was before is how it is.
                Befell::Lent | Befell::Returned => {}
                Befell::Moved | Befell::Restarted => track.began = truth.at,
                Befell::Removed => track.ended = None,
                Befell::Died | Befell::PoweredOff | Befell::Asked | Befell::NodeLost => {
                    let died = matches!(truth.befell, Befell::Died | Befell::PoweredOff);
                    let began = track.began;
                    self.deaths += u64::from(died);
                    let due = died && self.must_be_told(cluster, truth.guest, truth.at, began);
                    self.due += u64::from(due);
                    // One that dies again while it is seen to is no news: its incident is not over.
                    let seen_to = self.open.contains_key(&format!("GuestCrashed {}", truth.guest));
                    let due = due && !seen_to;
                    let node = cluster.guests().get(&truth.guest).map(|guest| guest.spec.node.clone());
                    let (at, befell) = (truth.at, truth.befell);
                    let end = End { at, befell, told: false, again: None, due, rounds: 0, node };
                    self.guests.get_mut(&truth.guest).unwrap().ended = Some(end);
                }
            }
        }
        self.read = cluster.truth().len();
    }

    /// Whether nothing excuses silence about a death.
    fn must_be_told(&self, cluster: &Cluster, id: GuestId, at: Timestamp, began: Timestamp) -> bool {
        let Some(guest) = cluster.guests().get(&id) else { return false };
        let node = &guest.spec.node;
        let near = |what: &str, before: SignedDuration, after: SignedDuration| {
            let times = self.touched.get(what).into_iter().flatten();
            times.into_iter().any(|time| *time > at - before && *time < at + after)
        };
        let plain = guest.spec.ha.is_none() && guest.spec.lock.is_none() && !guest.spec.template;
        let quiet = !near(&id.to_string(), QUIET_BEFORE, QUIET_AFTER)
            && !near(node.as_str(), NODE_QUIET, NODE_QUIET)
            && !near("all", QUIET_BEFORE, QUIET_AFTER);
        // A node that is alone is reset by its watchdog soon after, and then the guest ended with it.
        let together = cluster.quorate(node);
        plain && quiet && together && self.shown.contains(&id) && at.duration_since(began) > QUIET_BEFORE
    }

    fn entry(&mut self, moment: &Moment, entry: &Entry) {
        match &entry.fact {
            Fact::Opened { incident, finding, .. } => {
                let slot = format!("{:?} {}", finding.check(), entry.subject);
                let other = self.open.insert(slot.clone(), format!("{incident}"));
                assert!(other.is_none(), "two open incidents for {slot}");
                match (&entry.subject, finding.condition().as_str()) {
                    (Subject::Guest(id), _) if matches!(finding, Finding::GuestNotStarted { .. }) => {
                        self.not_started(moment, *id);
                    }
                    (Subject::Guest(id), "VM_CRASHED" | "CT_CRASHED") => self.crash(moment, *id),
                    (Subject::Node(name), "NODE_UNREACHABLE") => self.lost(moment, name),
                    (Subject::Node(name), "NODE_API_DOWN") => self.node_told(name),
                    (_, _) => {}
                }
            }
            Fact::Turned { incident, finding, .. } => {
                let slot = format!("{:?} {}", finding.check(), entry.subject);
                assert_eq!(
                    self.open.get(&slot),
                    Some(&format!("{incident}")),
                    "{slot} turned, but another is open"
                );
                if let (Subject::Node(name), "NODE_API_DOWN") = (&entry.subject, finding.condition().as_str())
                {
                    self.node_told(name);
                }
            }
            Fact::Resolved { incident, finding, .. } => {
                let slot = format!("{:?} {}", finding.check(), entry.subject);
                let known = self.open.remove(&slot);
                assert_eq!(known, Some(format!("{incident}")), "{slot} resolved, but it was not open");
            }
            Fact::Noted(note) => self.note(moment, &entry.subject, note),
            Fact::Heartbeat(_) | Fact::Remedy { .. } | Fact::Storm { .. } => {}
        }
    }

    fn crash(&mut self, moment: &Moment, id: GuestId) {
        self.told += 1;
        let track = self.guests.get_mut(&id);
        let truth = moment.cluster.truth();
        let lately = truth.iter().rev().take_while(|truth| moment.at.duration_since(truth.at) < LATELY);
        let died_lately = lately
            .filter(|truth| truth.guest == id)
            .any(|truth| matches!(truth.befell, Befell::Died | Befell::PoweredOff));
        // What a backup lent it was not its own.
        let other = |befell: Befell| matches!(befell, Befell::Removed | Befell::Lent | Befell::Returned);
        let last = truth.iter().rev().filter(|truth| truth.guest == id && !other(truth.befell));
        let died_last = last.into_iter().next().is_some_and(|truth| {
            let died = matches!(truth.befell, Befell::Died | Befell::PoweredOff);
            died && moment.at.duration_since(truth.at) < LATE
        });
        // What is a template now may have run before, and crashed.
        let template = moment.cluster.guests().get(&id).is_some_and(|guest| guest.spec.template);
        assert!(!template || died_last, "{id} is told as crashed and can never run");
        let end = track.and_then(|track| {
            let overtaken = moment.at.duration_since(track.began) < ON_ITS_WAY;
            // What was told of the death before this one came late, and was taken for the newest.
            let died = |end: &End| matches!(end.befell, Befell::Died | Befell::PoweredOff);
            let late = track.before.as_ref().is_some_and(|before| {
                died(before) && !before.told && moment.at.duration_since(before.at) < LATE
            });
            let taken = track.ended.as_ref().is_some_and(|end| end.told);
            let ended = track.ended.as_mut().filter(|_| !(taken && late));
            ended.or(track.before.as_mut().filter(|_| overtaken || late))
        });
        match end {
            Some(end) if matches!(end.befell, Befell::Died | Befell::PoweredOff) => {
                assert!(!end.told, "{id} is told as crashed twice, at {}", moment.at);
                end.told = true;
            }
            Some(_) | None if died_lately => {}
            // It died, and while one call after the other failed it was destroyed.
            None if !moment.cluster.guests().contains_key(&id) && died_last => {}
            Some(end) => {
                panic!("FALSE CRASH: {id} at {}: its end was {:?} at {}", moment.at, end.befell, end.at)
            }
            None => panic!("FALSE CRASH: {id} at {}: it runs, or is not there", moment.at),
        }
    }

    /// A guest is told as one that ended with its node, is to run, and was not started again.
    fn not_started(&mut self, moment: &Moment, id: GuestId) {
        let wrong =
            |what: &str| panic!("FALSE: {id} is told as not started again at {}, and {what}", moment.at);
        let Some(guest) = moment.cluster.guests().get(&id) else { return };
        if !wants(&guest.spec.tags, guest.spec.onboot) {
            wrong("nothing says that it is to run");
        }
        let up = moment.cluster.nodes().get(&guest.spec.node).map(|node| node.booted_at);
        if up.is_some_and(|booted_at| moment.at.duration_since(booted_at) < SETTLES) {
            wrong("its node has just booted");
        }
        let tried = |end: &End| end.again != up && tried_in_vain(moment.cluster, id, end.at);
        let Some(track) = self.guests.get_mut(&id) else { return wrong("it never ran") };
        let began = track.began;
        let overtaken = moment.at.duration_since(began) < ON_ITS_WAY;
        match track.ended.as_mut().or(track.before.as_mut().filter(|_| overtaken)) {
            Some(end) if end.befell == Befell::NodeLost && !end.told => end.told = true,
            // Its stop may have been told. That PVE could not start it again is told once for each boot.
            Some(end) if tried(end) => end.again = up,
            // It died while nobody could see it, and then its node did; or what died since was a process that a backup lent it.
            Some(end)
                if matches!(end.befell, Befell::Died | Befell::PoweredOff)
                    && !end.told
                    && up.is_some_and(|booted_at| booted_at > end.at || booted_at > began) =>
            {
                end.told = true;
            }
            Some(end) => wrong(&format!("its end was {:?} at {}, told: {}", end.befell, end.at, end.told)),
            None => wrong("it runs"),
        }
        self.left += 1;
    }

    /// Whether a guest that ended with its node is to be told as not started again.
    fn is_left(&self, cluster: &Cluster, at: Timestamp, id: GuestId, end: &End) -> bool {
        let Some(guest) = cluster.guests().get(&id) else { return false };
        let Some(node) = cluster.nodes().get(&guest.spec.node) else { return false };
        let vmid = id.vmid.to_string();
        // What stopped it in order before its node's boot is over when PVE has tried to start it with that.
        let tried = end.befell == Befell::Asked && tried_in_vain(cluster, id, end.at);
        let stopped_at = if tried { node.booted_at } else { end.at - GHOST };
        // Who works on it, or on all guests of its node, is waited for; who stops it wants it to stay so.
        let mut tasks = node.tasks.newest_first().filter(|task| task.id == vmid || task.id.is_empty());
        let touched = tasks.any(|task| {
            let stops = ["stop", "shutdown", "suspend", "rollback", "restore", "destroy"];
            let stops = stops.iter().any(|word| task.kind.contains(word)) && task.started_at >= stopped_at;
            let lately = |ended: Timestamp| at.duration_since(ended) < LATE;
            stops || task.ended.as_ref().is_none_or(|(ended, _)| lately(*ended))
        });
        let ids = [id.to_string(), "all".to_owned()];
        let near = ids.iter().filter_map(|what| self.touched.get(what)).flatten();
        let meddled = near.into_iter().any(|time| *time > end.at - GHOST && *time <= at);
        ((end.befell == Befell::NodeLost && !end.told) || (tried && end.again != Some(node.booted_at)))
            && end.node.as_ref() == Some(&guest.spec.node)
            && guest.process.is_none()
            && guest.spec.ha.is_none()
            && guest.spec.lock.is_none()
            && !guest.spec.template
            && wants(&guest.spec.tags, guest.spec.onboot)
            && self.shown.contains(&id)
            && !self.open.contains_key(&format!("GuestCrashed {id}"))
            && node.alive()
            && node.booted_at > end.at
            && at.duration_since(node.booted_at) > SETTLED
            && cluster.quorate(&guest.spec.node)
            && !touched
            && !meddled
    }

    fn note(&mut self, moment: &Moment, subject: &Subject, note: &Note) {
        match (subject, note) {
            (Subject::Guest(id), Note::GuestChanged { to, why, .. }) if to.has_process() == Some(false) => {
                let ended = self.guests.get(id).and_then(|track| track.ended.as_ref());
                let left = ended.is_some_and(|end| self.is_left(moment.cluster, moment.at, *id, end));
                let Some(end) = self.guests.get_mut(id).and_then(|track| track.ended.as_mut()) else {
                    return;
                };
                let excused = match why {
                    // Its cause could not be found out, and it says so.
                    Why::NotAsked(_) => true,
                    // A shutdown that failed may still end it (pve-domain 3.6), and after a time without sight a row may be as
                    // old as PVE lets it be: whether the guest lived after the task is then not known.
                    Why::Task(by) => !end.due || ended_lately(moment.cluster, &by.upid, end.at),
                    Why::HighAvailability { .. } | Why::Locked(_) => !end.due,
                    Why::NodeRestarted | Why::NoTask | Why::StartedBy(_) => !end.due,
                };
                let (now, of_restart) = (moment.at, *why == Why::NodeRestarted);
                assert!(!(of_restart && left), "MISJUDGED: {id} is to run, and at {now} is told as {why:?}");
                assert!(
                    excused,
                    "MISJUDGED: {id} died at {} and is told as {why:?} at {}",
                    end.at, moment.at
                );
                // What a transition held is looked at again, and may then be told as what it was.
                let held = match why {
                    Why::Locked(lock) => &**lock != "suspended",
                    Why::Task(by) => &*by.task == "vzdump",
                    Why::HighAvailability { .. }
                    | Why::NodeRestarted
                    | Why::NoTask
                    | Why::StartedBy(_)
                    | Why::NotAsked(_) => false,
                };
                // Which restart of its node took it is not said: one that was before its end did not.
                let guests = moment.cluster.guests();
                let node = guests.get(id).and_then(|guest| moment.cluster.nodes().get(&guest.spec.node));
                let of_before =
                    *why == Why::NodeRestarted && node.is_some_and(|node| end.at > node.booted_at);
                end.told |= !held && !of_before;
            }
            // That nobody stopped it, which says that it crashed or was switched off from inside.
            (Subject::Guest(id), Note::GuestRestarted { why: Why::NoTask | Why::StartedBy(_) }) => {
                let truth = moment.cluster.truth().iter().rev().filter(|truth| truth.guest == *id);
                let lately = truth.take_while(|truth| moment.at.duration_since(truth.at) < GHOST);
                let ends: Vec<Befell> = lately.map(|truth| truth.befell).collect();
                let by_itself =
                    |end: &Befell| matches!(end, Befell::Died | Befell::PoweredOff | Befell::Restarted);
                let by_itself = ends.iter().any(by_itself);
                let with_its_node = ends.contains(&Befell::NodeLost);
                assert!(
                    by_itself || !with_its_node,
                    "MISTOLD: {id} ended with its node, and is told as restarted by nobody at {}",
                    moment.at
                );
            }
            (Subject::Guest(id), Note::GuestGone { .. }) => {
                self.guests.remove(id);
            }
            (Subject::Node(name), Note::NodeLeft { .. } | Note::NodeGone) => self.node_told(name),
            (_, _) => {}
        }
    }

    fn node_told(&mut self, name: &NodeName) {
        if let Some(known) = self.nodes.get_mut(name) {
            (known.told, known.known, known.rounds) = (true, false, 0);
        }
    }

    fn lost(&mut self, moment: &Moment, name: &NodeName) {
        let known = self.nodes.get(name);
        let away = known.and_then(|known| known.away);
        assert!(
            away.is_some_and(|away| moment.at.duration_since(away) < LATELY),
            "FALSE LOSS: {name} is told as lost at {} and was away at {away:?}",
            moment.at
        );
        self.node_told(name);
    }

    /// A round that the engine believed: what it shows, and what must have been told by then.
    fn good_round(&mut self, moment: &Moment, snapshot: &Snapshot) {
        let (Seen::At { value: quorum, .. }, Seen::At { value: nodes, .. }, Seen::At { value: guests, .. }) =
            (&snapshot.quorum, &snapshot.nodes, &snapshot.guests)
        else {
            return;
        };
        if !quorum.quorate {
            return;
        }
        let mut online = BTreeSet::new();
        for (name, node) in nodes {
            let Some(known) = self.nodes.get_mut(name) else { continue };
            match node.presence {
                Presence::Online | Presence::Unknown => {
                    online.insert(name.clone());
                    (known.known, known.told, known.rounds) = (true, false, 0);
                }
                Presence::Offline if known.known && !known.told => {
                    known.rounds += 1;
                    assert!(
                        known.rounds <= ROUNDS_MAX,
                        "MISSED: {name} is away and that is not told by {}",
                        moment.at
                    );
                }
                Presence::Offline => {}
            }
        }
        let left: BTreeSet<GuestId> = self
            .guests
            .iter()
            .filter(|(id, track)| {
                let end = track.ended.as_ref();
                end.is_some_and(|end| self.is_left(moment.cluster, moment.at, **id, end))
            })
            .map(|(id, _)| *id)
            .collect();
        let alive = guests.iter().filter(|(_, row)| row.status.has_process() == Some(true));
        self.shown.extend(alive.map(|(id, _)| *id));
        for (id, track) in &mut self.guests {
            let owed = |end: &End| (end.due && !end.told) || left.contains(id);
            let Some(end) = track.ended.as_mut().filter(|end| owed(end)) else { continue };
            let shown = guests.get(id).is_some_and(|row| online.contains(&row.node));
            end.rounds += u32::from(shown);
            assert!(
                end.rounds <= ROUNDS_MAX,
                "MISSED: {id} ended ({:?}) at {} and that is not told by {}",
                end.befell,
                end.at,
                moment.at
            );
        }
    }

    pub(crate) fn end(&self) {
        assert!(self.read > 0 || self.deaths == 0);
    }
}

/// Whether a guest's configuration says that it is to run.
pub(crate) fn wants(tags: &[String], onboot: bool) -> bool {
    onboot || tags.iter().any(|tag| tag.eq_ignore_ascii_case(RESTART_TAG))
}

/// Whether its node has tried to start a guest with its last boot, which was after its end, and could not.
pub(crate) fn tried_in_vain(cluster: &Cluster, id: GuestId, ended_at: Timestamp) -> bool {
    let vmid = id.vmid.to_string();
    let guest = cluster.guests().get(&id);
    let Some(node) = guest.and_then(|guest| cluster.nodes().get(&guest.spec.node)) else { return false };
    let of_boot = |at: Timestamp| {
        let mut tasks = node.tasks.newest_first().filter(|task| task.kind == "startall");
        tasks.any(|task| {
            let until = task.ended.as_ref().map_or(at, |(until, _)| *until);
            task.started_at <= at && at <= until
        })
    };
    node.booted_at > ended_at
        && node.tasks.newest_first().any(|task| {
            let failed = task.ended.as_ref().is_some_and(|(_, status)| status != "OK");
            task.id == vmid
                && task.kind.ends_with("start")
                && failed
                && task.started_at > node.booted_at
                && of_boot(task.started_at)
        })
}

/// Whether a task ended so shortly before that rows of before its end may still be shown.
fn ended_lately(cluster: &Cluster, upid: &str, at: Timestamp) -> bool {
    let mut tasks = cluster.nodes().values().flat_map(|node| node.tasks.newest_first());
    let task = tasks.find(|task| task.upid == upid);
    let ended = task.and_then(|task| task.ended.as_ref()).map(|(ended, _)| *ended);
    ended.is_some_and(|ended| at.duration_since(ended) < GHOST)
}

/// Whether a node is no member of the side that may decide, in truth.
fn away(cluster: &Cluster, name: &NodeName) -> bool {
    let deciding = cluster.nodes().keys().find(|viewer| {
        cluster.nodes()[*viewer].alive()
            && !cluster.nodes()[*viewer].clusterfs_down
            && cluster.quorate(viewer)
    });
    deciding.is_none_or(|viewer| !cluster.online(viewer, name))
}
