//! The guardrails: each may object to acting now, and all are asked, so that an operator sees every objection at once.
//! A function and a line in the list, and a row in the table below: that is a guardrail.
//!
//! None knows another, and none is asked whether people may be called: that is always safe.

use jiff::{SignedDuration, Timestamp};

use super::{Autonomy, Case, GuestCase, GuestFacts, Hold, KillSwitch, SubjectCase};
use crate::act::Action;
use crate::observe::{GuestId, Task};
use crate::record::By;

/// A guest with this tag is never acted on.
pub const IGNORE_TAG: &str = "jarvis-ignore";
/// A guest with this tag may be started, as if it were to start with its node.
pub const RESTART_TAG: &str = "jarvis-restart";
/// Services of which a restart may have the node's watchdog reset it, or take it out of the cluster (pve-domain 9.29).
/// Every name that begins with one of these.
pub const VITAL: [&str; 4] = ["corosync", "pve-cluster", "pve-ha-", "watchdog"];

/// Least time between two starts on one node, whose guests may ask for more (`up=`): PVE's own startall waits as long
/// (pve-domain 9.27).
pub(crate) const STAGGER: SignedDuration = SignedDuration::from_secs(3);
/// Clocks of nodes differ by seconds (pve-domain 9.26).
pub(crate) const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(5);
/// A node is woken only when so many others miss it.
pub(crate) const VIEWS_MIN: u32 = 2;
/// A start by somebody else is given this long to show its effect.
const START_SHOWS: SignedDuration = SignedDuration::from_secs(60);

/// What systemd says of a service that came to its end without a fault.
const ENDED_IN_ORDER: &str = "inactive";

/// All of them, in the order in which they are told.
pub const GUARDRAILS: [fn(&Case) -> Option<Hold>; 29] = [
    kill_switch,
    standby,
    level,
    dismissed,
    storm,
    maintenance,
    protected,
    tagged_ignore,
    vital,
    quorum,
    seen,
    node_away,
    node_boots,
    two_views,
    no_address,
    high_availability,
    template,
    locked,
    not_there,
    not_stopped,
    not_failed,
    stopped_by,
    started_by,
    task_runs,
    cause_stands,
    not_wanted,
    grace,
    cooldown,
    turn,
];

fn kill_switch(case: &Case) -> Option<Hold> {
    match case.controls.kill_switch {
        KillSwitch::Off => None,
        switch @ (KillSwitch::On | KillSwitch::NotKnown | KillSwitch::StoreFails) => {
            Some(Hold::KillSwitch(switch))
        }
    }
}

fn standby(case: &Case) -> Option<Hold> {
    case.controls.standby.then_some(Hold::Standby)
}

/// From "recommend" on, what the level does not allow is proposed instead.
fn level(case: &Case) -> Option<Hold> {
    let is = case.controls.level;
    let needs = case.runbook.level;
    (is < Autonomy::Recommend && !case.approved).then_some(Hold::Level { is, needs })
}

fn dismissed(case: &Case) -> Option<Hold> {
    case.dismissed.map(|by| Hold::Dismissed(by.into()))
}

fn storm(case: &Case) -> Option<Hold> {
    case.storm.then_some(Hold::Storm)
}

fn maintenance(case: &Case) -> Option<Hold> {
    case.maintenance.map(Hold::Maintenance)
}

fn protected(case: &Case) -> Option<Hold> {
    case.protected.map(|why| Hold::Protected(why.into()))
}

fn tagged_ignore(case: &Case) -> Option<Hold> {
    has_tag(guest(case)?, IGNORE_TAG).then_some(Hold::TaggedIgnore)
}

fn vital(case: &Case) -> Option<Hold> {
    let SubjectCase::Service { name, .. } = &case.subject else { return None };
    VITAL.iter().any(|vital| name.starts_with(vital)).then_some(Hold::Vital)
}

fn quorum(case: &Case) -> Option<Hold> {
    (!case.quorate).then_some(Hold::NoQuorum)
}

fn seen(case: &Case) -> Option<Hold> {
    case.blind.map(|why| Hold::NotSeen(why.into()))
}

/// The node that would be asked; one that is to be woken is away by nature.
fn node_away(case: &Case) -> Option<Hold> {
    match case.action {
        Action::WakeNode { .. } => None,
        Action::StartGuest { node, .. } | Action::ResumeGuest { node, .. } => {
            case.node.is_none().then(|| Hold::NodeAway(node.clone()))
        }
        Action::RestartService { service } => {
            case.node.is_none().then(|| Hold::NodeAway(service.node.clone()))
        }
    }
}

fn node_boots(case: &Case) -> Option<Hold> {
    let node = case.node?;
    let until = node.booted_at? + node.settle;
    (case.now < until).then_some(Hold::NodeBoots(until))
}

fn two_views(case: &Case) -> Option<Hold> {
    let SubjectCase::Node { views, .. } = case.subject else { return None };
    (views < VIEWS_MIN).then_some(Hold::OneView)
}

fn no_address(case: &Case) -> Option<Hold> {
    let SubjectCase::Node { address, .. } = case.subject else { return None };
    (address == Some(false)).then_some(Hold::NoAddress)
}

fn high_availability(case: &Case) -> Option<Hold> {
    let state = match &case.subject {
        SubjectCase::Guest(guest) => {
            let now = guest.review.as_ref().and_then(|facts| facts.ha);
            [now, guest.ha].into_iter().flatten().find(|state| *state != "ignored")
        }
        SubjectCase::Node { .. } | SubjectCase::Service { .. } => None,
    };
    state.map(|state| Hold::HighAvailability(state.into()))
}

fn template(case: &Case) -> Option<Hold> {
    let guest = guest(case)?;
    let template = guest.template || guest.review.as_ref().is_some_and(|facts| facts.template);
    template.then_some(Hold::Template)
}

fn locked(case: &Case) -> Option<Hold> {
    let guest = guest(case)?;
    let lock = guest.lock.or_else(|| guest.review.as_ref().and_then(|facts| facts.lock));
    lock.map(|lock| Hold::Locked(lock.into()))
}

fn not_there(case: &Case) -> Option<Hold> {
    let gone = match &case.subject {
        SubjectCase::Guest(guest) => guest.review.as_ref()?.state.is_none(),
        SubjectCase::Service { review, .. } => review.as_ref()?.active.is_none(),
        SubjectCase::Node { .. } => false,
    };
    gone.then_some(Hold::NotThere)
}

/// What is started must be stopped; what is resumed must stand still for the fault that it was told with; a service that is
/// restarted must be down.
fn not_stopped(case: &Case) -> Option<Hold> {
    let state = match &case.subject {
        SubjectCase::Guest(guest) => guest.review.as_ref()?.state?,
        SubjectCase::Service { review, .. } => review.as_ref()?.active?,
        SubjectCase::Node { .. } => return None,
    };
    let fits = match case.action {
        Action::StartGuest { .. } => state == "stopped",
        Action::ResumeGuest { .. } => state == "io-error",
        Action::RestartService { .. } => matches!(state, "failed" | ENDED_IN_ORDER),
        Action::WakeNode { .. } => true,
    };
    (!fits).then(|| Hold::NotStopped(state.into()))
}

/// A service that ended in order was stopped by somebody at its node, of whom PVE has no task; one that crashed has failed.
fn not_failed(case: &Case) -> Option<Hold> {
    let SubjectCase::Service { review, .. } = &case.subject else { return None };
    (review.as_ref()?.active? == ENDED_IN_ORDER).then_some(Hold::NotFailed)
}

/// Somebody asked for it to be stopped after it had crashed. Then it is to be so. It may have been told long after it was seen
/// to be down: its node could not be asked, or Jarvis was away.
fn stopped_by(case: &Case) -> Option<Hold> {
    if let SubjectCase::Service { name, review } = &case.subject {
        let facts = review.as_ref()?;
        let others = facts.tasks.iter().filter(|task| *task.id == **name && is_of_service(&task.kind));
        // Whoever started it again afterwards wanted it to run.
        let last = others.max_by_key(|task| task.started_at)?;
        return (&*last.kind == "srvstop").then(|| Hold::StoppedBy(by(last)));
    }
    let guest = guest(case)?;
    let began = guest.down_since.unwrap_or(case.since).min(case.since) - CLOCK_SKEW;
    let tasks = facts(case)?.tasks;
    let since = stopped_since(tasks, guest.id, began).or_else(|| case.stopped.cloned());
    since.or_else(|| forgotten(tasks, guest.id, began, case.stopped_here?)).map(Hold::StoppedBy)
}

/// Who was seen to have stopped it, where its node's tasks do not reach back so far any more. All that they have is younger, so
/// whoever started it by one of them did so afterwards.
fn forgotten(tasks: &[Task], id: GuestId, began: Timestamp, by: &By) -> Option<By> {
    let vmid = id.vmid.to_string();
    let listed = tasks.iter().any(|task| task.upid == by.upid);
    let started =
        |task: &Task| *task.id == *vmid && is_start(&task.kind) && succeeded(task) && task.started_at > began;
    (!listed && !tasks.iter().any(started)).then(|| by.clone())
}

/// Who stopped a guest since then, by its node's tasks, where nobody has started it again and no boot has overruled it.
pub(crate) fn stopped_since(tasks: &[Task], id: GuestId, began: Timestamp) -> Option<By> {
    let vmid = id.vmid.to_string();
    // Who started it again afterwards wanted it to run; and so did PVE, at a boot, although it could not.
    let undone = |stop: &Task| {
        let after = |start: &Task| {
            (succeeded(start) && stop.ended_at.is_some_and(|ended| start.started_at > ended))
                || overruled_by_boot(stop, start, tasks)
        };
        tasks.iter().filter(|task| *task.id == *vmid && is_start(&task.kind)).any(after)
    };
    let stops = |task: &&Task| {
        is_of(task, &vmid)
            && is_stop(&task.kind)
            && task.ended_at.is_none_or(|ended| ended >= began)
            && !undone(task)
    };
    tasks.iter().filter(stops).max_by_key(|task| task.started_at).map(by)
}

/// Whether a boot has overruled a stop: that began before a `startall` of root@pam, and `start`, root@pam's too, began while that
/// ran. PVE does not mark a boot's tasks, so root's own "start all guests" counts as one. Only when the stop began is compared:
/// `startall` reads once whom it is to start, and a stop that the boot cut off is listed as ended later. No restore, rollback or removal is
/// overruled: what one that was cut off leaves is not whole.
fn overruled_by_boot(stop: &Task, start: &Task, tasks: &[Task]) -> bool {
    let root = |task: &Task| &*task.user == "root@pam";
    let rebuilds = ["rollback", "restore", "destroy"].iter().any(|word| stop.kind.ends_with(word));
    let boots = |task: &Task| {
        let until = task.ended_at.unwrap_or(start.started_at);
        &*task.kind == "startall"
            && root(task)
            && stop.started_at < task.started_at
            && (task.started_at..=until).contains(&start.started_at)
    };
    let ended = stop.ended_at.is_some() && start.ended_at.is_some();
    ended && !rebuilds && root(start) && tasks.iter().any(boots)
}

/// Another hand is at the same work: a second start is one too many, whoever makes it.
fn started_by(case: &Case) -> Option<Hold> {
    let (_, own) = tasks(case)?;
    let shows = case.now - START_SHOWS;
    let starts = |task: &&Task| {
        is_start(&task.kind)
            && !own.contains(&task.upid)
            && task.ended_at.is_none_or(|ended| ended >= shows && succeeded(task))
    };
    latest(case, starts).map(Hold::StartedBy)
}

/// A backup, a migration, a restore, or the node's own work on all of its guests.
fn task_runs(case: &Case) -> Option<Hold> {
    match &case.subject {
        SubjectCase::Guest(_) | SubjectCase::Service { .. } => {
            latest(case, |task| task.ended_at.is_none() && !is_start(&task.kind))
                .or_else(|| latest(case, |task| task.ended_at.is_none()))
                .map(Hold::TaskRuns)
        }
        SubjectCase::Node { .. } => None,
    }
}

fn cause_stands(case: &Case) -> Option<Hold> {
    facts(case)?.cause_stands.map(|why| Hold::CauseStands(why.into()))
}

/// A start needs somebody's word that the guest is to run. One that stands still ran a moment ago.
fn not_wanted(case: &Case) -> Option<Hold> {
    let Action::StartGuest { .. } = case.action else { return None };
    let facts = facts(case)?;
    (!is_wanted(facts.onboot, facts.tags)).then_some(Hold::NotWanted)
}

/// Whether somebody said that a guest is to run.
pub(crate) fn is_wanted(onboot: bool, tags: &[Box<str>]) -> bool {
    onboot || tags.iter().any(|tag| tag.eq_ignore_ascii_case(RESTART_TAG))
}

fn grace(case: &Case) -> Option<Hold> {
    let until = case.since + case.runbook.grace;
    (case.now < until).then_some(Hold::Grace(until))
}

fn cooldown(case: &Case) -> Option<Hold> {
    let last = case.attempts.last().map(|last| *last + case.runbook.cooldown);
    let until = last.max(case.not_before)?;
    (case.now < until).then_some(Hold::Cooldown(until))
}

/// One node at a time; on it one guest after the other, in its start order.
fn turn(case: &Case) -> Option<Hold> {
    let node = case.action.node();
    if let Some(busy) = case.busy.filter(|busy| *busy != node) {
        return Some(Hold::BlastRadius(busy.clone()));
    }
    if case.queued {
        return Some(Hold::Queue(node.clone()));
    }
    let Action::StartGuest { .. } = case.action else { return None };
    let until = case.next_start?;
    (case.now < until).then_some(Hold::Stagger(until))
}

fn guest<'a>(case: &'a Case) -> Option<&'a GuestCase<'a>> {
    match &case.subject {
        SubjectCase::Guest(guest) => Some(guest),
        SubjectCase::Node { .. } | SubjectCase::Service { .. } => None,
    }
}

fn facts<'a>(case: &'a Case) -> Option<&'a GuestFacts<'a>> {
    guest(case)?.review.as_ref()
}

fn has_tag(guest: &GuestCase, tag: &str) -> bool {
    let now = guest.review.as_ref().map_or(guest.tags, |facts| facts.tags);
    now.iter().chain(guest.tags).any(|own| own.eq_ignore_ascii_case(tag))
}

/// What its node's tasks are, as far as it was looked at, and which are ours.
fn tasks<'a>(case: &'a Case) -> Option<(&'a [Task], &'a [Box<str>])> {
    match &case.subject {
        SubjectCase::Guest(guest) => guest.review.as_ref().map(|facts| (facts.tasks, facts.own)),
        SubjectCase::Service { review, .. } => review.as_ref().map(|facts| (facts.tasks, facts.own)),
        SubjectCase::Node { .. } => None,
    }
}

/// The latest task that fits: about a guest, or about all guests of its node; about a service.
fn latest(case: &Case, fits: impl Fn(&&Task) -> bool) -> Option<By> {
    let vmid = guest(case).map(|guest| guest.id.vmid.to_string());
    let is_about = |task: &&Task| match (&case.subject, &vmid) {
        (SubjectCase::Service { name, .. }, _) => *task.id == **name && is_of_service(&task.kind),
        (_, Some(vmid)) => is_of(task, vmid),
        (_, None) => false,
    };
    let about = tasks(case)?.0.iter().filter(is_about);
    about.filter(fits).max_by_key(|task| task.started_at).map(by)
}

fn by(task: &Task) -> By {
    By { user: task.user.clone(), task: task.kind.clone(), upid: task.upid.clone() }
}

/// Whether a task is about a guest, or about all guests of its node.
fn is_of(task: &Task, vmid: &str) -> bool {
    *task.id == *vmid || (task.id.is_empty() && is_for_all(&task.kind))
}

/// Tasks without an id that work on a node's guests; others (a download, an update) hinder nobody.
fn is_for_all(kind: &str) -> bool {
    matches!(kind, "vzdump" | "startall" | "stopall" | "suspendall" | "migrateall")
        || kind.starts_with("bulk-")
}

pub(crate) fn is_start(kind: &str) -> bool {
    matches!(
        kind,
        "qmstart" | "vzstart" | "hastart" | "qmreboot" | "vzreboot" | "srvstart" | "srvrestart" | "srvreload"
    )
}

/// Their id is the service's name.
fn is_of_service(kind: &str) -> bool {
    matches!(kind, "srvstart" | "srvstop" | "srvrestart" | "srvreload")
}

/// Tasks after which a guest stands still because somebody wanted what they do: a snapshot without memory leaves it so.
pub(crate) fn is_stop(kind: &str) -> bool {
    matches!(
        kind,
        "qmstop"
            | "qmshutdown"
            | "qmsuspend"
            | "qmrollback"
            | "qmrestore"
            | "qmdestroy"
            | "vzstop"
            | "vzshutdown"
            | "vzsuspend"
            | "vzrollback"
            | "vzrestore"
            | "vzdestroy"
            | "hastop"
            | "stopall"
            | "suspendall"
            | "bulk-shutdown"
            | "bulk-suspend"
    )
}

pub(crate) fn succeeded(task: &Task) -> bool {
    task.status.as_deref().is_some_and(|status| status == "OK" || status.starts_with("WARNINGS"))
}

/// When a case is worth asking again, by what holds it: each that ends by itself ends after now, or it would not hold.
pub(crate) fn ask_again(holds: &[Hold]) -> Option<Timestamp> {
    holds.iter().filter_map(Hold::until).min()
}
