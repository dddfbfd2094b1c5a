//! Judges what was done by what was really so: no act on what must be left alone, and none left out that should be made.
//!
//! What the engine could not know yet is no fault of its: what changed within [`UNSEEN`] before an act is excused.

use std::collections::{BTreeMap, BTreeSet};

use engine::about::About;
use engine::act::Action;
use engine::decide::{Autonomy, Controls, Hold, IGNORE_TAG, KillSwitch, Permit, RESTART_TAG};
use engine::incident::{IncidentId, Said, State};
use engine::observe::{GuestId, NodeName, Subject};
use engine::record::{Entry, Fact, Order, Step};
use engine::{Command, Effect, Input};
use jiff::{SignedDuration, Timestamp};
use sim::cluster::{Befell, Cluster, Power};
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

/// How often each guardrail began to object to something that could be done, and how often nothing else did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Objections(pub(crate) BTreeMap<&'static str, Count>);

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    pub(crate) met: u64,
    pub(crate) alone: u64,
}

impl Objections {
    fn see(
        &mut self,
        before: &BTreeMap<IncidentId, BTreeSet<&'static str>>,
        now: &BTreeMap<IncidentId, BTreeSet<&'static str>>,
    ) {
        for (incident, words) in now {
            let known = before.get(incident);
            for word in words.iter().filter(|word| known.is_none_or(|known| !known.contains(*word))) {
                self.0.entry(word).or_default().met += 1;
            }
            if let (Some(word), 1, true) = (words.first(), words.len(), known != Some(words)) {
                self.0.entry(word).or_default().alone += 1;
            }
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
    approved: BTreeSet<IncidentId>,
    /// Since when nothing stands against acting on a guest.
    free: BTreeMap<GuestId, Timestamp>,
    last_end: BTreeMap<GuestId, (Befell, Timestamp)>,
    storm: bool,
    read: usize,
    /// What stood against acting on each incident a moment ago.
    standing: BTreeMap<IncidentId, BTreeSet<&'static str>>,
    pub(crate) objections: Objections,
    pub(crate) acts: u64,
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
        let standing = moment.engine.objections(moment.at).into_iter();
        let standing = standing.map(|(incident, holds)| (incident, holds.iter().map(Hold::as_str).collect()));
        let standing = standing.collect();
        self.objections.see(&self.standing, &standing);
        self.standing = standing;
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
                Power::Leaving => self.left.insert(name.clone()),
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
        let Fact::Remedy { incident, step, .. } = &entry.fact else { return };
        match step {
            Step::Ordered { order: Order::Approve, .. } => {
                self.approved.insert(*incident);
            }
            Step::Ordered { order: Order::Dismiss, .. } => {
                self.approved.remove(incident);
            }
            Step::Verified { helped: true, .. } => self.mended += 1,
            Step::Escalated { .. } => self.escalated += 1,
            Step::Held { .. }
            | Step::Recommended { .. }
            | Step::Intended { .. }
            | Step::Acted { .. }
            | Step::Verified { .. }
            | Step::Ordered { .. } => {}
        }
    }

    fn act(&mut self, moment: &Moment, permit: &Permit) {
        let (now, subject) = (moment.at, permit.subject());
        let breach = |what: &str| panic!("BREACH at {now}: {subject} is acted on, and {what}");
        let lately = |since: Timestamp| now.duration_since(since) <= UNSEEN;
        let controls = self.controls.clone().unwrap_or_default();
        let approved = self.approved.remove(&permit.incident());
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
            self.guest(moment.cluster, *guest, &permit.attempt().action, &breach, &lately);
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

    fn guest(
        &self,
        cluster: &Cluster,
        id: GuestId,
        action: &Action,
        breach: &dyn Fn(&str),
        lately: &dyn Fn(Timestamp) -> bool,
    ) {
        // One that is not there any more was destroyed a moment ago, or the rows of its node are old.
        let Some(guest) = cluster.guests().get(&id) else { return };
        let old = |known: &BTreeMap<GuestId, (bool, Timestamp)>| {
            known.get(&id).is_some_and(|(is, since)| *is && !lately(*since))
        };
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
        if !guest.spec.onboot && !guest.spec.tags.iter().any(|tag| tag == RESTART_TAG) {
            breach("nothing says that it is to run");
        }
        if let Some((Befell::Asked, at)) = self.last_end.get(&id)
            && !lately(*at)
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
            let since = *self.free.entry(id).or_insert(moment.at);
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
        let wanted = guest.spec.onboot || tags.iter().any(|tag| tag == RESTART_TAG);
        let ended = self.last_end.get(&id).map(|(befell, _)| *befell);
        let attempts = self
            .made
            .get(&Subject::Guest(id).to_string())
            .map_or(0, |made| made.iter().filter(|at| moment.at.duration_since(**at) < WINDOW).count());
        guest.process.is_none()
            && wanted
            && !tags.iter().any(|tag| tag == IGNORE_TAG)
            && !guest.spec.template
            && guest.spec.lock.is_none()
            && guest.ha_managed().is_none()
            && guest.spec.ha.is_none()
            && !self.protect.contains(&Subject::Guest(id))
            && matches!(ended, Some(Befell::Died | Befell::PoweredOff))
            && node.alive()
            && moment.at.duration_since(node.booted_at) > BOOT_SETTLE
            && cluster.nodes().values().all(|node| node.alive() && !node.clusterfs_down)
            && cluster.nodes().keys().all(|name| cluster.quorate(name))
            && !busy
            && !stopped
            && attempts < ATTEMPTS_MAX
    }
}
