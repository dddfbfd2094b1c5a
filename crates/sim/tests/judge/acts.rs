//! Judges what was done by what was really so: no act on what must be left alone, and none left out that should be made.
//!
//! What the engine could not know yet is no fault of its: what changed within [`UNSEEN`] before an act is excused.

use std::collections::{BTreeMap, BTreeSet};

use engine::about::About;
use engine::act::{Action, Outcome};
use engine::decide::{Autonomy, Controls, Hold, IGNORE_TAG, KillSwitch, Permit};
use engine::incident::{IncidentId, Said, State};
use engine::observe::{Evidence, GuestId, Inspection, NodeName, Review, Subject};
use engine::record::{Entry, Fact, Order, Step};
use engine::{Command, Effect, Input};
use jiff::{SignedDuration, Timestamp};
use sim::cluster::{Befell, Power};
use sim::run::Moment;
use sim::script::Script;

/// From a look at a guest until it is acted on, and the time that its answer took.
const UNSEEN: SignedDuration = SignedDuration::from_secs(25);
/// A round that the engine still believes.
const VIEW: SignedDuration = SignedDuration::from_secs(60);
/// What may be acted on is, when nothing else was worked on and nothing stood against it for so long: the cooldown, and
/// looks of which most fail.
const DUE_AFTER: SignedDuration = SignedDuration::from_secs(240);
const ATTEMPTS_MAX: usize = 3;
const WINDOW: SignedDuration = SignedDuration::from_hours(1);
const COOLDOWN: SignedDuration = SignedDuration::from_secs(60);
/// PVE's own start of its guests, and the engine's patience with it.
const BOOT_SETTLE: SignedDuration = SignedDuration::from_secs(330);

/// Every runbook leaves a guest alone for longer at first.
const GRACE: SignedDuration = SignedDuration::from_secs(15);
/// An approval is for how things were when it was given.
const APPROVAL: SignedDuration = SignedDuration::from_hours(1);
/// So many tasks of one node may be new since the last turn of the engine.
const TASKS_NEW: usize = 30;
const STAGGER: SignedDuration = SignedDuration::from_secs(3);
/// What went away is shown for so long as it was.
const SHOWN: SignedDuration = SignedDuration::from_secs(314);
/// From this on a storage has no room, in percent.
const FULL: u64 = 98;

/// About how many incidents each guardrail objected, and about how many at some time nothing else did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Objections {
    pub(crate) counts: BTreeMap<&'static str, Count>,
    met: BTreeSet<(IncidentId, &'static str)>,
    alone: BTreeSet<(IncidentId, &'static str)>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    pub(crate) met: u64,
    pub(crate) alone: u64,
}

impl Objections {
    fn see(&mut self, incident: IncidentId, holds: &[Hold]) {
        for hold in holds {
            let first = self.met.insert((incident, hold.as_str()));
            self.counts.entry(hold.as_str()).or_default().met += u64::from(first);
        }
        if let [only] = holds {
            let first = self.alone.insert((incident, only.as_str()));
            self.counts.entry(only.as_str()).or_default().alone += u64::from(first);
        }
    }
}

#[derive(Clone, Default)]
pub(crate) struct Acts {
    protect: BTreeSet<Subject>,
    controls: Option<Controls>,
    /// Since when each guest has been as it is: with a lock or without, under HA, a template, with a process.
    locked: BTreeMap<GuestId, (bool, Timestamp)>,
    managed: BTreeMap<GuestId, (bool, Timestamp)>,
    templates: BTreeMap<GuestId, (bool, Timestamp)>,
    runs: BTreeMap<GuestId, (bool, Timestamp)>,
    /// Since when each service has been in its state, in systemd's word.
    services: BTreeMap<(NodeName, String), (String, Timestamp)>,
    /// Since when each node has been with the majority, or not, and those that went down because somebody wanted that.
    members: BTreeMap<NodeName, (bool, Timestamp)>,
    left: BTreeSet<NodeName>,
    /// When somebody's side could last decide.
    quorate_at: Option<Timestamp>,
    /// Acts by subject.
    made: BTreeMap<String, Vec<Timestamp>>,
    approved: BTreeMap<IncidentId, Timestamp>,
    /// Since when nothing stands against acting on a guest.
    free: BTreeMap<GuestId, Timestamp>,
    last_end: BTreeMap<GuestId, (Befell, Timestamp)>,
    storm: bool,
    read: usize,
    /// When each guest was looked at last, everything about it: by this the engine is judged.
    looked: BTreeMap<GuestId, Timestamp>,
    /// Since when each guest has not been there.
    gone: BTreeMap<GuestId, Timestamp>,
    /// Since when fewer than two nodes could say whether another one is there.
    few: Option<Timestamp>,
    /// Since when it can be known of each node that it has a storage without room, or away.
    no_room: BTreeMap<NodeName, Timestamp>,
    opened: BTreeMap<IncidentId, Timestamp>,
    dismissed: BTreeSet<IncidentId>,
    /// Tasks that our calls began.
    calls: BTreeSet<String>,
    /// The last start on each node.
    started: BTreeMap<NodeName, Timestamp>,
    pub(crate) objections: Objections,
    pub(crate) acts: u64,
    /// Calls that were not made since something had changed right before.
    pub(crate) withheld: u64,
    /// Guests that nothing stood against starting, at some time.
    pub(crate) owed: u64,
    pub(crate) mended: u64,
    pub(crate) escalated: u64,
}

/// Attempts count for each runbook and subject.
fn key(runbook: &str, subject: &Subject) -> String {
    format!("{runbook} {subject}")
}

impl Acts {
    pub(crate) fn new(script: &Script) -> Acts {
        let controls =
            Controls { kill_switch: KillSwitch::Off, level: script.autonomy, ..Controls::default() };
        let protect = script.protect.iter().cloned().collect();
        Acts { protect, controls: Some(controls), ..Acts::default() }
    }

    pub(crate) fn see(&mut self, moment: &Moment) {
        self.read_truth(moment);
        if let Input::Inspected { inspection: Inspection::Review(look), answer } = moment.input
            && let (Subject::Guest(id), Evidence::Review(Review::Guest(found))) = (&look.subject, answer)
            && let (Some(config), Some(current), Some(tasks)) =
                (found.config.asked_at(), found.current.asked_at(), found.tasks.asked_at())
        {
            self.looked.insert(*id, config.min(current).min(tasks));
        }
        self.calls(moment);
        if let Input::Commanded(Command::Controls(controls)) = moment.input {
            self.controls = Some(controls.clone());
        }
        for effect in moment.effects {
            match effect {
                Effect::Record(entry) => self.entry(entry),
                Effect::Act(permit) => self.act(moment, permit),
                Effect::Inspect(_) | Effect::Notify(_) => {}
            }
        }
        let nodes: BTreeSet<&NodeName> = moment
            .engine
            .open_incidents()
            .filter_map(|(_, incident)| incident.state.attempt())
            .map(|attempt| attempt.action.node())
            .collect();
        assert!(nodes.len() <= 1, "BREACH at {}: two nodes are worked on at once: {nodes:?}", moment.at);
        self.due(moment, nodes.is_empty());
        for (incident, holds) in moment.engine.objections(moment.at) {
            self.objections.see(incident, &holds);
        }
    }

    /// No call is made once somebody has stopped everything, whatever was allowed before.
    fn calls(&mut self, moment: &Moment) {
        let stopped = self.controls.as_ref().is_some_and(|controls| controls.kill_switch != KillSwitch::Off);
        let nodes = moment.cluster.nodes().values();
        let ours = nodes.flat_map(|node| node.tasks.newest_first().take(TASKS_NEW));
        let ours = ours.filter(|task| task.by.user.starts_with("jarvis"));
        for task in ours {
            let new = self.calls.insert(task.upid.clone());
            assert!(
                !(new && stopped),
                "BREACH at {}: {} was called for after the stop",
                moment.at,
                task.upid
            );
        }
    }

    fn read_truth(&mut self, moment: &Moment) {
        let cluster = moment.cluster;
        for truth in &cluster.truth()[self.read..] {
            match truth.befell {
                Befell::Died | Befell::PoweredOff | Befell::Asked | Befell::NodeLost => {
                    self.last_end.insert(truth.guest, (truth.befell, truth.at));
                }
                Befell::Began
                | Befell::Lent
                | Befell::Returned
                | Befell::Restarted
                | Befell::Moved
                | Befell::Removed => {}
            }
        }
        self.read = cluster.truth().len();
        for (id, guest) in cluster.guests() {
            let note = |known: &mut BTreeMap<GuestId, (bool, Timestamp)>, is: bool| {
                let entry = known.entry(*id).or_insert((is, moment.at - WINDOW));
                if entry.0 != is {
                    *entry = (is, moment.at);
                }
            };
            note(&mut self.locked, guest.spec.lock.is_some());
            note(&mut self.managed, guest.ha_managed().is_some());
            note(&mut self.templates, guest.spec.template);
            note(&mut self.runs, guest.process.is_some());
        }
        for id in self.runs.keys().filter(|id| !cluster.guests().contains_key(*id)) {
            self.gone.entry(*id).or_insert(moment.at);
        }
        self.gone.retain(|id, _| !cluster.guests().contains_key(id));
        let members =
            cluster.nodes().iter().filter(|(name, node)| node.alive() && cluster.quorate(name)).count();
        self.few = if members < 2 { self.few.or(Some(moment.at)) } else { None };
        for name in cluster.nodes().keys() {
            let places = || {
                cluster.storages().values().filter_map(|storage| Some((storage, storage.places.get(name)?)))
            };
            let known = places().filter_map(|(storage, place)| {
                let full = place.used.saturating_mul(100) >= storage.spec.total.saturating_mul(FULL);
                match place.active {
                    true => full.then_some(place.since),
                    // PVE goes on showing one that went away as it was (pve-domain 1.4).
                    false => Some(place.since + SHOWN),
                }
            });
            match known.min() {
                Some(known) => drop(self.no_room.insert(name.clone(), known)),
                None => drop(self.no_room.remove(name)),
            }
        }
        for (name, node) in cluster.nodes() {
            for (service, state) in &node.services {
                let key = (name.clone(), service.to_string());
                let known = self.services.get(&key).is_some_and(|(word, _)| **word == *state.active);
                if !known {
                    self.services.insert(key, (state.active.to_string(), moment.at));
                }
            }
            // One that lives apart from the others cannot be told from one without power, and waking it does it no harm.
            let member = node.power != Power::Off && cluster.quorate(name);
            if self.members.get(name).is_none_or(|(before, _)| *before != member) {
                self.members.insert(name.clone(), (member, moment.at));
            }
            match node.power {
                // Who switches off one that is apart from the others tells it alone, and it is away.
                Power::Leaving => member && self.left.insert(name.clone()),
                Power::On | Power::Booting => self.left.remove(name),
                Power::Off => false,
            };
        }
        if cluster.nodes().iter().any(|(name, node)| node.alive() && cluster.quorate(name)) {
            self.quorate_at = Some(moment.at);
        }
    }

    fn entry(&mut self, entry: &Entry) {
        if let Fact::Storm { incidents } = &entry.fact {
            self.storm = *incidents > 0;
        }
        if let Fact::Opened { incident, .. } = &entry.fact {
            self.opened.insert(*incident, entry.at);
        }
        let Fact::Remedy { incident, step, .. } = &entry.fact else { return };
        match step {
            Step::Ordered { order: Order::Approve, .. } => {
                self.approved.insert(*incident, entry.at);
                self.dismissed.remove(incident);
            }
            Step::Ordered { order: Order::Dismiss, .. } => {
                self.approved.remove(incident);
                self.dismissed.insert(*incident);
            }
            Step::Lapsed { .. } => {
                self.approved.remove(incident);
            }
            Step::Verified { helped: true, .. } => self.mended += 1,
            Step::Escalated { .. } => self.escalated += 1,
            Step::Held { .. }
            | Step::Recommended { .. }
            | Step::Intended { .. }
            | Step::Verified { .. }
            | Step::Ordered { .. } => {}
            Step::Acted { attempt, outcome: Outcome::NotMade { .. } } => {
                self.withheld += 1;
                // What was not called for was no attempt.
                if let Some(made) = self.made.get_mut(&key(&attempt.runbook, &entry.subject)) {
                    made.pop();
                }
            }
            Step::Acted { .. } => {}
        }
    }

    fn act(&mut self, moment: &Moment, permit: &Permit) {
        let (now, subject) = (moment.at, permit.subject());
        let breach = |what: &str| panic!("BREACH at {now}: {subject} is acted on, and {what}");
        let lately = |since: Timestamp| now.duration_since(since) <= UNSEEN;
        let controls = self.controls.clone().unwrap_or_default();
        // One that waits for the cooldown of the last attempt waits a minute longer.
        let holds = |at: &Timestamp| now.duration_since(*at) <= APPROVAL + COOLDOWN;
        let approved = self.approved.remove(&permit.incident()).is_some_and(|at| holds(&at));
        if controls.kill_switch != KillSwitch::Off {
            breach("the kill switch is on");
        }
        if controls.level < Autonomy::ActReport && !approved {
            breach("nobody allowed it");
        }
        if controls.standby {
            breach("it is on standby");
        }
        let node = permit.attempt().action.node();
        if self.storm {
            breach("a storm rages");
        }
        if self.dismissed.contains(&permit.incident()) {
            breach("somebody said that nothing is to be done");
        }
        if self.opened.get(&permit.incident()).is_some_and(|at| now.duration_since(*at) < GRACE) {
            breach("it was told a moment ago");
        }
        self.node(moment, node, &permit.attempt().action, &breach);
        if controls.maintenance.iter().any(|window| {
            let meant = match &window.subject {
                About::Subject(Subject::Cluster) => true,
                About::Subject(about) => about == subject || *about == Subject::Node(node.clone()),
                // Tags as they are in truth; the simulator changes none.
                About::Tag(tag) => match subject {
                    Subject::Guest(id) => moment
                        .cluster
                        .guests()
                        .get(id)
                        .is_some_and(|guest| guest.spec.tags.iter().any(|own| **own == **tag)),
                    Subject::Cluster | Subject::Node(_) | Subject::Storage(_) | Subject::Service(_) => false,
                },
                About::Pool(_) | About::Name(_) => unreachable!("the swarm announces none"),
            };
            window.from <= now && now < window.until && meant
        }) {
            breach("it is in maintenance");
        }
        if self.protect.contains(subject) {
            breach("it is protected");
        }
        if self.quorate_at.is_none_or(|at| now.duration_since(at) > VIEW) {
            breach("there is no quorum");
        }
        if let Action::StartGuest { guest, .. } | Action::ResumeGuest { guest, .. } = &permit.attempt().action
        {
            self.guest(moment, *guest, &permit.attempt().action, &breach);
        }
        match &permit.attempt().action {
            Action::RestartService { service } => {
                let name = service.name.as_str();
                if ["corosync", "pve-cluster", "pve-ha-", "watchdog"]
                    .iter()
                    .any(|vital| name.starts_with(vital))
                {
                    breach("its restart may cut the node off");
                }
                match self.services.get(&(service.node.clone(), name.to_owned())) {
                    Some((word, since)) if word == "inactive" && !lately(*since) => {
                        breach("it was stopped in order")
                    }
                    Some((word, since)) if word == "active" && !lately(*since) => breach("it runs"),
                    Some(_) | None => {}
                }
            }
            Action::WakeNode { node, .. } => {
                // No look precedes it but the rounds, and a packet does nothing to a node that has power.
                let seen = |since: Timestamp| now.duration_since(since) > VIEW;
                if self.members.get(node).is_some_and(|(is, since)| *is && seen(*since)) {
                    breach("it is in the cluster");
                }
                if self.left.contains(node) {
                    breach("somebody switched it off");
                }
            }
            Action::StartGuest { .. } | Action::ResumeGuest { .. } => {}
        }
        let made = self.made.entry(key(&permit.attempt().runbook, subject)).or_default();
        made.retain(|at| now.duration_since(*at) < WINDOW);
        if made.len() >= ATTEMPTS_MAX && !approved {
            breach("it was tried three times within the hour");
        }
        if made.last().is_some_and(|last| now.duration_since(*last) < COOLDOWN) {
            breach("it was tried a moment ago");
        }
        made.push(now);
        self.acts += 1;
    }

    /// Where it is done.
    fn node(&mut self, moment: &Moment, name: &NodeName, action: &Action, breach: &dyn Fn(&str)) {
        let old = |since: Timestamp| moment.at.duration_since(since) > VIEW;
        let Some(node) = moment.cluster.nodes().get(name) else { return };
        match action {
            Action::WakeNode { .. } => {
                if self.few.is_some_and(old) {
                    breach("nobody could see it from two nodes");
                }
                return;
            }
            Action::StartGuest { .. } => {
                let last = self.started.insert(name.clone(), moment.at);
                if last.is_some_and(|last| moment.at.duration_since(last) < STAGGER) {
                    breach("the guest before it was just started");
                }
            }
            Action::ResumeGuest { .. } => {
                if self.no_room.get(name).is_some_and(|since| old(*since)) {
                    breach("there is no room");
                }
            }
            Action::RestartService { .. } => {}
        }
        let down = self.members.get(name).is_some_and(|(is, since)| !is && old(*since));
        if node.power == Power::Off && down {
            breach("its node is off");
        }
        // Until its rows show that it was restarted, it cannot be known.
        let up = moment.at.duration_since(node.booted_at);
        if up > VIEW && up < BOOT_SETTLE - SignedDuration::from_secs(35) {
            breach("its node has just booted");
        }
    }

    fn guest(&self, moment: &Moment, id: GuestId, action: &Action, breach: &dyn Fn(&str)) {
        let Some(looked) = self.looked.get(&id) else { return breach("it was not looked at") };
        if moment.at.duration_since(*looked) > UNSEEN {
            breach("it was looked at too long ago");
        }
        if self.gone.get(&id).is_some_and(|since| since <= looked) {
            breach("it was not there when it was looked at");
        }
        // One that is not there any more was destroyed since.
        let Some(guest) = moment.cluster.guests().get(&id) else { return };
        // What stood when it was looked at was there to be seen; what came since was not.
        let old = |known: &BTreeMap<GuestId, (bool, Timestamp)>| {
            known.get(&id).is_some_and(|(is, since)| *is && since <= looked)
        };
        let vmid = id.vmid.to_string();
        let node = moment.cluster.nodes().get(&guest.spec.node);
        let at_work = node.into_iter().flat_map(|node| node.tasks.newest_first()).any(|task| {
            let ours = task.by.user.starts_with("jarvis");
            let runs = task.ended.as_ref().is_none_or(|(ended, _)| ended > looked);
            task.id == vmid && runs && !ours && task.started_at + SignedDuration::from_secs(1) <= *looked
        });
        if at_work {
            breach("a task was at work on it");
        }
        if old(&self.templates) {
            breach("it is a template");
        }
        if old(&self.managed) {
            breach("HA manages it");
        }
        if old(&self.locked) {
            breach("it is locked");
        }
        if guest.spec.tags.iter().any(|tag| tag == IGNORE_TAG) {
            breach("its tag forbids it");
        }
        let Action::StartGuest { .. } = action else { return };
        if old(&self.runs) {
            breach("it has a process");
        }
        if !super::wants(&guest.spec.tags, guest.spec.onboot) {
            breach("nothing says that it is to run");
        }
        if let Some((Befell::Asked, at)) = self.last_end.get(&id)
            && at <= looked
            && !super::tried_in_vain(moment.cluster, id, *at)
        {
            breach("somebody stopped it");
        }
    }

    /// What may be acted on and is not.
    fn due(&mut self, moment: &Moment, idle: bool) {
        let controls = self.controls.clone().unwrap_or_default();
        let allowed = controls.kill_switch == KillSwitch::Off
            && !controls.standby
            && controls.level >= Autonomy::ActReport;
        // Announced work that is over holds nothing up: what is still down is due again.
        let announced = controls.maintenance.iter().any(|window| moment.at < window.until);
        let open = idle && allowed && !self.storm && !announced && moment.engine.seeing();
        let mut free = BTreeSet::new();
        if open {
            for (slot, incident) in moment.engine.open_incidents() {
                let Subject::Guest(id) = slot.subject else { continue };
                let crashed = matches!(incident.finding.condition().as_str(), "VM_CRASHED" | "CT_CRASHED");
                let waits = match (&incident.state, &incident.course.said) {
                    (State::Open { .. }, Said::Held(holds)) => {
                        // The engine's own reasons are not believed, but for what only it can count.
                        !holds.iter().any(|hold| matches!(hold, Hold::Dismissed(_)))
                    }
                    (State::Open { .. }, Said::Nothing | Said::Recommended(_)) => true,
                    (_, _) => false,
                };
                if crashed && waits && incident.course.dismissed.is_none() && self.may_start(moment, id) {
                    free.insert(id);
                }
            }
        }
        self.free.retain(|id, _| free.contains(id));
        for id in free {
            let since = *self.free.entry(id).or_insert_with(|| {
                self.owed += 1;
                moment.at
            });
            assert!(
                moment.at.duration_since(since) < DUE_AFTER,
                "STUCK at {}: nothing has stood against starting {id} since {since}",
                moment.at
            );
        }
    }

    fn may_start(&self, moment: &Moment, id: GuestId) -> bool {
        let cluster = moment.cluster;
        let Some(guest) = cluster.guests().get(&id) else { return false };
        let Some(node) = cluster.nodes().get(&guest.spec.node) else { return false };
        let vmid = id.vmid.to_string();
        let lately = |at: Timestamp| moment.at.duration_since(at) < DUE_AFTER;
        let busy = node.tasks.newest_first().any(|task| {
            let about = task.id == vmid || task.id.is_empty();
            about && task.ended.as_ref().is_none_or(|(ended, _)| lately(*ended))
        });
        // Who stops a guest that is down wants it to stay so, wherever it is moved to.
        let stopped = cluster.nodes().values().flat_map(|node| node.tasks.newest_first()).any(|task| {
            let about = task.id == vmid || task.id.is_empty();
            let stops = ["stop", "shutdown", "suspend"].iter().any(|word| task.kind.contains(word));
            about && stops && self.last_end.get(&id).is_some_and(|(_, at)| task.started_at >= *at - UNSEEN)
        });
        let tags = &guest.spec.tags;
        let wanted = super::wants(tags, guest.spec.onboot);
        let ended = self.last_end.get(&id).map(|(befell, _)| *befell);
        let subject = format!(" {}", Subject::Guest(id));
        let made = self.made.iter().filter(|(key, _)| key.ends_with(&subject)).flat_map(|(_, made)| made);
        let attempts = made.filter(|at| moment.at.duration_since(**at) < WINDOW).count();
        guest.process.is_none()
            && wanted
            && !tags.iter().any(|tag| tag == IGNORE_TAG)
            && !guest.spec.template
            && guest.spec.lock.is_none()
            && guest.ha_managed().is_none()
            && guest.spec.ha.is_none()
            && !self.protect.contains(&Subject::Guest(id))
            && matches!(ended, Some(Befell::Died | Befell::PoweredOff | Befell::NodeLost))
            && node.alive()
            && moment.at.duration_since(node.booted_at) > BOOT_SETTLE
            && cluster.nodes().values().all(|node| node.alive() && !node.clusterfs_down)
            && cluster.nodes().keys().all(|name| cluster.quorate(name))
            && !busy
            && !stopped
            && attempts < ATTEMPTS_MAX
    }
}
