//! Every guardrail by its rows: a case in which all is well, and what one change of it comes to.

use expect_test::{Expect, expect};
use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::detect::Condition;
use crate::observe::ServiceId;

mod tasks;

/// All that a case borrows, so that a row can change it.
struct World {
    runbook: Runbook,
    action: Action,
    attempts: Vec<Timestamp>,
    approved: bool,
    dismissed: Option<&'static str>,
    stopped: Option<By>,
    stopped_here: Option<By>,
    controls: Controls,
    maintenance: Option<Timestamp>,
    quorate: bool,
    blind: Option<&'static str>,
    protected: Option<&'static str>,
    storm: bool,
    busy: Option<NodeName>,
    queued: bool,
    next_start: Option<Timestamp>,
    not_before: Option<Timestamp>,
    looked_at: Option<Timestamp>,
    node: Option<NodeCase>,
    template: bool,
    lock: Option<&'static str>,
    ha: Option<&'static str>,
    tags: Vec<Box<str>>,
    review: Option<Facts>,
    views: u32,
    address: Option<bool>,
    service: &'static str,
    looked: Option<ServiceLook>,
}

struct ServiceLook {
    fresh: bool,
    active: Option<&'static str>,
    tasks: Vec<Task>,
}

struct Facts {
    fresh: bool,
    onboot: bool,
    template: bool,
    lock: Option<&'static str>,
    ha: Option<&'static str>,
    tags: Vec<Box<str>>,
    state: Option<&'static str>,
    tasks: Vec<Task>,
    cause: Option<&'static str>,
}

/// Seconds; the incident was told at 1000, and it is 1100.
fn at(second: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second)
}

fn guest() -> World {
    let book = built_in().into_iter().find(|book| book.condition == Condition::VmCrashed).unwrap();
    World {
        runbook: book,
        action: Action::StartGuest { guest: "qemu/101".parse().unwrap(), node: "pve1".parse().unwrap() },
        attempts: Vec::new(),
        approved: false,
        dismissed: None,
        stopped: None,
        stopped_here: None,
        controls: Controls {
            kill_switch: KillSwitch::Off,
            level: Autonomy::ActReport,
            standby: false,
            maintenance: Vec::new(),
        },
        maintenance: None,
        quorate: true,
        blind: None,
        protected: None,
        storm: false,
        busy: None,
        queued: false,
        next_start: None,
        not_before: None,
        looked_at: None,
        node: Some(NodeCase { booted_at: Some(at(-90_000)), settle: SignedDuration::from_mins(5) }),
        template: false,
        lock: None,
        ha: None,
        tags: Vec::new(),
        review: Some(Facts {
            fresh: true,
            onboot: true,
            template: false,
            lock: None,
            ha: None,
            tags: Vec::new(),
            state: Some("stopped"),
            tasks: Vec::new(),
            cause: None,
        }),
        views: 2,
        address: Some(true),
        service: "",
        looked: None,
    }
}

fn of(condition: Condition) -> Runbook {
    built_in().into_iter().find(|book| book.condition == condition).unwrap()
}

fn node() -> World {
    let action = Action::WakeNode { node: "pve1".parse().unwrap(), mac: None };
    World { runbook: of(Condition::NodeUnreachable), action, node: None, ..guest() }
}

fn service(name: &'static str) -> World {
    let service = ServiceId { node: "pve1".parse().unwrap(), name: name.parse().unwrap() };
    let action = Action::RestartService { service };
    let looked = Some(ServiceLook { fresh: true, active: Some("failed"), tasks: Vec::new() });
    World { runbook: of(Condition::ServiceDown), action, service: name, looked, ..guest() }
}

fn fault() -> World {
    let action = Action::ResumeGuest { guest: "qemu/101".parse().unwrap(), node: "pve1".parse().unwrap() };
    let mut world = World { runbook: of(Condition::VmFault), action, ..guest() };
    world.facts().state = Some("io-error");
    world
}

fn task(kind: &str, id: &str, ended: Option<(i64, &str)>) -> Task {
    Task {
        upid: format!("UPID:{kind}").into(),
        kind: kind.into(),
        id: id.into(),
        user: "alice@pve".into(),
        started_at: at(1050),
        ended_at: ended.map(|(second, _)| at(second)),
        status: ended.map(|(_, status)| status.into()),
    }
}

impl World {
    fn facts(&mut self) -> &mut Facts {
        self.review.as_mut().unwrap()
    }

    fn looked(mut self, change: impl FnOnce(&mut ServiceLook)) -> World {
        change(self.looked.as_mut().unwrap());
        self
    }

    fn tasks(mut self, tasks: &[Task]) -> World {
        self.facts().tasks = tasks.to_vec();
        self
    }

    fn with(mut self, change: impl FnOnce(&mut World)) -> World {
        change(&mut self);
        self
    }

    fn decision(&self) -> Decision {
        let own: Vec<Box<str>> = vec!["UPID:qmstart-own".into()];
        let subject = match &self.action {
            Action::WakeNode { .. } => SubjectCase::Node { views: self.views, address: self.address },
            Action::RestartService { .. } => {
                let review = self.looked.as_ref().map(|look| ServiceFacts {
                    fresh: look.fresh,
                    active: look.active,
                    tasks: &look.tasks,
                    own: &own,
                });
                SubjectCase::Service { name: self.service, review }
            }
            Action::StartGuest { guest, .. } | Action::ResumeGuest { guest, .. } => {
                SubjectCase::Guest(GuestCase {
                    id: *guest,
                    template: self.template,
                    lock: self.lock,
                    ha: self.ha,
                    tags: &self.tags,
                    down_since: None,
                    review: self.review.as_ref().map(|facts| GuestFacts {
                        fresh: facts.fresh,
                        onboot: facts.onboot,
                        template: facts.template,
                        lock: facts.lock,
                        ha: facts.ha,
                        tags: &facts.tags,
                        state: facts.state,
                        tasks: &facts.tasks,
                        own: &own,
                        cause_stands: facts.cause,
                    }),
                })
            }
        };
        let case = Case {
            now: at(1100),
            runbook: &self.runbook,
            action: &self.action,
            since: at(1000),
            attempts: &self.attempts,
            approved: self.approved,
            dismissed: self.dismissed,
            stopped: self.stopped.as_ref(),
            stopped_here: self.stopped_here.as_ref(),
            controls: &self.controls,
            maintenance: self.maintenance,
            quorate: self.quorate,
            blind: self.blind,
            protected: self.protected,
            storm: self.storm,
            busy: self.busy.as_ref(),
            queued: self.queued,
            next_start: self.next_start,
            not_before: self.not_before,
            looked_at: self.looked_at,
            node: self.node,
            subject,
        };
        let id = crate::incident::Ids::new(1).next();
        decide(&case, id, &self.action.subject())
    }

    fn decide(&self) -> String {
        match self.decision() {
            Decision::Act(permit) => {
                let attempt = permit.redeem().2;
                format!("act: {}, attempt {}", attempt.action, attempt.number)
            }
            Decision::Recommend(action) => format!("recommend: {action}"),
            Decision::Hold(holds) => {
                assert!(!holds.is_empty(), "a hold has a reason");
                format!("hold: {}", words(&holds, at(1100)))
            }
            Decision::Look => "look".into(),
            Decision::Escalate => "escalate".into(),
        }
    }
}

#[track_caller]
fn check(table: Vec<(&str, World)>, expected: Expect) {
    let rows: Vec<String> =
        table.into_iter().map(|(row, world)| format!("{row:<44} {}", world.decide())).collect();
    expected.assert_eq(&rows.join("\n"));
}

fn level(level: Autonomy) -> World {
    guest().with(|world| world.controls.level = level)
}

fn switch(switch: KillSwitch) -> World {
    guest().with(|world| world.controls.kill_switch = switch)
}

fn facts(change: impl FnOnce(&mut Facts)) -> World {
    guest().with(|world| change(world.facts()))
}

#[test]
fn what_operators_have_set() {
    check(
        vec![
            ("all is well", guest()),
            ("the kill switch is on", switch(KillSwitch::On)),
            ("whether it is on is not known", switch(KillSwitch::NotKnown)),
            ("nothing can be recorded", switch(KillSwitch::StoreFails)),
            ("on standby", guest().with(|world| world.controls.standby = true)),
            ("level 0", level(Autonomy::Observe)),
            ("level 1", level(Autonomy::Alert)),
            ("level 2", level(Autonomy::Recommend)),
            ("level 2, not looked at lately", level(Autonomy::Recommend).with(|w| w.facts().fresh = false)),
            ("level 4", level(Autonomy::ActSilent)),
            ("a runbook that needs 4", guest().with(|world| world.runbook.level = Autonomy::ActSilent)),
            ("approved at level 0", level(Autonomy::Observe).with(|world| world.approved = true)),
            ("approved at level 2", level(Autonomy::Recommend).with(|world| world.approved = true)),
            ("approved, the kill switch is on", switch(KillSwitch::On).with(|world| world.approved = true)),
            ("dismissed", guest().with(|world| world.dismissed = Some("bob"))),
            ("maintenance", guest().with(|world| world.maintenance = Some(at(4700)))),
            ("protected", guest().with(|world| world.protected = Some("Jarvis runs in it"))),
            (
                "several at once",
                switch(KillSwitch::On).with(|world| {
                    world.maintenance = Some(at(1160));
                    world.lock = Some("backup");
                }),
            ),
        ],
        expect![[r#"
            all is well                                  act: start it on pve1, attempt 1
            the kill switch is on                        hold: the kill switch is on
            whether it is on is not known                hold: whether the kill switch is on is not known yet
            nothing can be recorded                      hold: nothing can be recorded (the store fails), so nothing is done
            on standby                                   hold: this Jarvis is on standby
            level 0                                      hold: the level is 0 (observe), and this needs 3
            level 1                                      hold: the level is 1 (alert), and this needs 3
            level 2                                      recommend: start it on pve1
            level 2, not looked at lately                recommend: start it on pve1
            level 4                                      act: start it on pve1, attempt 1
            a runbook that needs 4                       recommend: start it on pve1
            approved at level 0                          act: start it on pve1, attempt 1
            approved at level 2                          act: start it on pve1, attempt 1
            approved, the kill switch is on              hold: the kill switch is on
            dismissed                                    hold: dismissed by bob
            maintenance                                  hold: maintenance until 01:18 UTC
            protected                                    hold: protected: Jarvis runs in it
            several at once                              hold: the kill switch is on; maintenance until 00:19 UTC; it is locked (backup)"#]],
    );
}

#[test]
fn what_the_cluster_is_like() {
    let boots = |second| {
        guest().with(|world| {
            world.node = Some(NodeCase { booted_at: Some(at(second)), settle: SignedDuration::from_mins(5) });
        })
    };
    check(
        vec![
            ("a storm", guest().with(|world| world.storm = true)),
            ("no quorum", guest().with(|world| world.quorate = false)),
            ("not seen", guest().with(|world| world.blind = Some("the last round is too old"))),
            ("its node is away", guest().with(|world| world.node = None)),
            ("its node boots", boots(900)),
            ("its node booted five minutes ago", boots(800)),
            (
                "when its node booted is not known",
                guest().with(|world| {
                    world.node = Some(NodeCase { booted_at: None, settle: SignedDuration::from_mins(5) });
                }),
            ),
            ("another node is worked on", guest().with(|w| w.busy = Some("pve2".parse().unwrap()))),
            ("its own node is worked on", guest().with(|w| w.busy = Some("pve1".parse().unwrap()))),
            ("another guest goes first", guest().with(|world| world.queued = true)),
            ("one was just started there", guest().with(|world| world.next_start = Some(at(1101)))),
            (
                "a call that could not be made is not tried again at once",
                guest().with(|world| world.not_before = Some(at(1110))),
            ),
            (
                "and something else objects as well",
                guest().with(|world| (world.not_before, world.quorate) = (Some(at(1110)), false)),
            ),
            ("after that it is", guest().with(|world| world.not_before = Some(at(1100)))),
            (
                "the longer of the two counts",
                guest().with(|world| (world.not_before, world.attempts) = (Some(at(1110)), vec![at(1070)])),
            ),
            (
                "one was started there, and has had its time",
                guest().with(|world| world.next_start = Some(at(1100))),
            ),
        ],
        expect![[r#"
            a storm                                      hold: too much happens at once
            no quorum                                    hold: the cluster has no quorum
            not seen                                     hold: not seen as it is now: the last round is too old
            its node is away                             hold: pve1 is not there to be asked
            its node boots                               hold: its node has just booted, and PVE starts its guests first; 1:40 more
            its node booted five minutes ago             act: start it on pve1, attempt 1
            when its node booted is not known            act: start it on pve1, attempt 1
            another node is worked on                    hold: pve2 is worked on, and one node at a time
            its own node is worked on                    act: start it on pve1, attempt 1
            another guest goes first                     hold: another guest of pve1 goes first
            one was just started there                   hold: the guest before it was just started; 0:01 more
            a call that could not be made is not tried again at once hold: it was tried a moment ago; 0:10 more
            and something else objects as well           hold: the cluster has no quorum; it was tried a moment ago; 0:10 more
            after that it is                             act: start it on pve1, attempt 1
            the longer of the two counts                 hold: it was tried a moment ago; 0:30 more
            one was started there, and has had its time  act: start it on pve1, attempt 1"#]],
    );
}

#[test]
fn what_the_guest_is_like() {
    let tag = |tag: &str| {
        let tag: Box<str> = tag.into();
        facts(move |facts| (facts.onboot, facts.tags) = (false, vec![tag]))
    };
    check(
        vec![
            ("not looked at yet", guest().with(|world| world.review = None)),
            ("looked at a while ago", facts(|facts| facts.fresh = false)),
            ("a template by its row", guest().with(|world| world.template = true)),
            ("a template by its configuration", facts(|facts| facts.template = true)),
            ("locked by its row", guest().with(|world| world.lock = Some("migrate"))),
            ("locked by its configuration", facts(|facts| facts.lock = Some("snapshot"))),
            ("suspended to disk", facts(|facts| facts.lock = Some("suspended"))),
            ("HA runs it", guest().with(|world| world.ha = Some("started"))),
            ("HA gave it up", guest().with(|world| world.ha = Some("error"))),
            ("HA took it a moment ago", facts(|facts| facts.ha = Some("started"))),
            ("HA has just let it go", {
                let mut world = guest().with(|world| world.ha = Some("stopped"));
                world.facts().ha = Some("ignored");
                world
            }),
            ("HA ignores it", guest().with(|world| world.ha = Some("ignored"))),
            ("not on its node", facts(|facts| facts.state = None)),
            ("it runs", facts(|facts| facts.state = Some("running"))),
            ("it is paused", facts(|facts| facts.state = Some("paused"))),
            ("a backup lent it a process", facts(|facts| facts.state = Some("prelaunch"))),
            ("neither onboot nor a tag", facts(|facts| facts.onboot = false)),
            ("the tag", tag("jarvis-restart")),
            ("the tag in another case", tag("Jarvis-Restart")),
            ("another tag", tag("jarvis")),
            ("onboot, and told to ignore", facts(|facts| facts.tags = vec!["jarvis-ignore".into()])),
            ("told to ignore, by its row", guest().with(|w| w.tags = vec!["jarvis-ignore".into()])),
        ],
        expect![[r#"
            not looked at yet                            look
            looked at a while ago                        look
            a template by its row                        hold: it is a template
            a template by its configuration              hold: it is a template
            locked by its row                            hold: it is locked (migrate)
            locked by its configuration                  hold: it is locked (snapshot)
            suspended to disk                            hold: it is locked (suspended)
            HA runs it                                   hold: HA manages it (state started)
            HA gave it up                                hold: HA manages it (state error)
            HA took it a moment ago                      hold: HA manages it (state started)
            HA has just let it go                        hold: HA manages it (state stopped)
            HA ignores it                                act: start it on pve1, attempt 1
            not on its node                              hold: it is not on its node any more
            it runs                                      hold: it is running
            it is paused                                 hold: it is paused
            a backup lent it a process                   hold: it is prelaunch
            neither onboot nor a tag                     hold: neither onboot nor the tag jarvis-restart says that it is to run
            the tag                                      act: start it on pve1, attempt 1
            the tag in another case                      act: start it on pve1, attempt 1
            another tag                                  hold: neither onboot nor the tag jarvis-restart says that it is to run
            onboot, and told to ignore                   hold: its tag jarvis-ignore
            told to ignore, by its row                   hold: its tag jarvis-ignore"#]],
    );
}

#[test]
fn how_often_and_when() {
    let tried = |seconds: &[i64]| {
        let attempts = seconds.iter().copied().map(at).collect();
        guest().with(|world| world.attempts = attempts)
    };
    check(
        vec![
            ("in its first seconds", guest().with(|w| w.runbook.grace = SignedDuration::from_secs(130))),
            ("grace is just over", guest().with(|w| w.runbook.grace = SignedDuration::from_secs(100))),
            ("tried half a minute ago", tried(&[1070])),
            ("tried a minute ago", tried(&[1040])),
            ("tried twice", tried(&[500, 1040])),
            ("tried three times", tried(&[200, 500, 1040])),
            ("three times, and the kill switch is on", {
                tried(&[200, 500, 1040]).with(|world| world.controls.kill_switch = KillSwitch::On)
            }),
            ("three times, and somebody approves", tried(&[200, 500, 1040]).with(|w| w.approved = true)),
            ("three times, approved within the cooldown", {
                tried(&[200, 500, 1070]).with(|w| w.approved = true)
            }),
        ],
        expect![[r#"
            in its first seconds                         hold: it may heal by itself for 0:30
            grace is just over                           act: start it on pve1, attempt 1
            tried half a minute ago                      hold: it was tried a moment ago; 0:30 more
            tried a minute ago                           act: start it on pve1, attempt 2
            tried twice                                  act: start it on pve1, attempt 3
            tried three times                            escalate
            three times, and the kill switch is on       escalate
            three times, and somebody approves           act: start it on pve1, attempt 4
            three times, approved within the cooldown    hold: it was tried a moment ago; 0:30 more"#]],
    );
}

#[test]
fn nodes_services_and_faults() {
    check(
        vec![
            ("a node seen to be gone by two", node()),
            ("by one", node().with(|world| world.views = 1)),
            ("no address to wake it by", node().with(|world| world.address = Some(false))),
            ("whether there is one is not known", node().with(|world| world.address = None)),
            ("a node without quorum", node().with(|world| world.quorate = false)),
            ("a service", service("pvestatd")),
            ("corosync", service("corosync")),
            ("the cluster file system", service("pve-cluster")),
            ("HA's local manager", service("pve-ha-lrm")),
            ("HA's cluster manager", service("pve-ha-crm")),
            ("the watchdog", service("watchdog-mux")),
            ("a service on a node that is away", service("pvestatd").with(|world| world.node = None)),
            ("a machine with a disk error", fault()),
            ("its storage is full", fault().with(|w| w.facts().cause = Some("storage ceph is full"))),
            ("it has stopped since", fault().with(|w| w.facts().state = Some("stopped"))),
            ("it goes on already", fault().with(|w| w.facts().state = Some("running"))),
            ("it need not start with its node", fault().with(|w| w.facts().onboot = false)),
        ],
        expect![[r#"
            a node seen to be gone by two                act: wake it, attempt 1
            by one                                       hold: seen to be gone from one node only, and two are needed: if it is off, wake it yourself
            no address to wake it by                     hold: PVE knows no address to wake it by (wakeonlan among the node's options is not set)
            whether there is one is not known            act: wake it, attempt 1
            a node without quorum                        hold: the cluster has no quorum
            a service                                    act: restart it on pve1, attempt 1
            corosync                                     hold: restarting it may cut its node off
            the cluster file system                      hold: restarting it may cut its node off
            HA's local manager                           hold: restarting it may cut its node off
            HA's cluster manager                         hold: restarting it may cut its node off
            the watchdog                                 hold: restarting it may cut its node off
            a service on a node that is away             hold: pve1 is not there to be asked
            a machine with a disk error                  act: resume it on pve1, attempt 1
            its storage is full                          hold: storage ceph is full
            it has stopped since                         hold: it is stopped
            it goes on already                           hold: it is running
            it need not start with its node              act: resume it on pve1, attempt 1"#]],
    );
}

#[test]
fn a_service_is_looked_at_and_what_somebody_stopped_is_left_alone() {
    let active = |word| service("chrony").looked(|look| look.active = word);
    let tasks = |tasks: &[Task]| service("chrony").looked(|look| look.tasks = tasks.to_vec());
    let srv = |kind, second: i64, ended| Task { started_at: at(second), ..task(kind, "chrony", ended) };
    let ours =
        Task { upid: "UPID:qmstart-own".into(), ..srv("srvrestart", 1060, Some((1061, "command failed"))) };
    check(
        vec![
            ("not looked at yet", service("chrony").with(|world| world.looked = None)),
            ("looked at a while ago", service("chrony").looked(|look| look.fresh = false)),
            ("it has failed", active(Some("failed"))),
            ("it ended in order", active(Some("inactive"))),
            ("it runs again", active(Some("active"))),
            ("it is just being started", active(Some("activating"))),
            ("its node does not know it", active(None)),
            ("somebody restarts it", tasks(&[srv("srvrestart", 1098, None)])),
            ("somebody stops it", tasks(&[srv("srvstop", 1098, None)])),
            ("somebody stopped it before it was told", tasks(&[srv("srvstop", 400, Some((401, "OK")))])),
            ("and started it again, and then it failed", {
                tasks(&[srv("srvstop", 400, Some((401, "OK"))), srv("srvstart", 500, Some((501, "OK")))])
            }),
            ("somebody restarted it a moment ago", tasks(&[srv("srvrestart", 1070, Some((1071, "OK")))])),
            ("our own restart, a moment ago", tasks(&[ours])),
            ("another service was stopped", {
                tasks(&[Task { id: "cron".into(), ..srv("srvstop", 1050, Some((1051, "OK"))) }])
            }),
            ("another kind of task with this id is at work", tasks(&[srv("download", 1098, None)])),
            ("it was stopped, and such a task came later", {
                tasks(&[srv("srvstop", 400, Some((401, "OK"))), srv("download", 500, Some((501, "OK")))])
            }),
        ],
        expect![[r#"
            not looked at yet                            look
            looked at a while ago                        look
            it has failed                                act: restart it on pve1, attempt 1
            it ended in order                            hold: it has not failed: it ended in order (inactive), as one does that somebody stops
            it runs again                                hold: it is active
            it is just being started                     hold: it is activating
            its node does not know it                    hold: it is not on its node any more
            somebody restarts it                         hold: just started by alice@pve (srvrestart); a task is at work on it, by alice@pve (srvrestart)
            somebody stops it                            hold: stopped since by alice@pve (srvstop); a task is at work on it, by alice@pve (srvstop)
            somebody stopped it before it was told       hold: stopped since by alice@pve (srvstop)
            and started it again, and then it failed     act: restart it on pve1, attempt 1
            somebody restarted it a moment ago           hold: just started by alice@pve (srvrestart)
            our own restart, a moment ago                act: restart it on pve1, attempt 1
            another service was stopped                  act: restart it on pve1, attempt 1
            another kind of task with this id is at work act: restart it on pve1, attempt 1
            it was stopped, and such a task came later   hold: stopped since by alice@pve (srvstop)"#]],
    );
}

#[test]
fn what_is_in_maintenance() {
    use super::{Known, Maintenance, maintained};
    let node: NodeName = "pve1".parse().unwrap();
    let subject: Subject = "qemu/101".parse().unwrap();
    let tags: [Box<str>; 1] = ["web".into()];
    let known =
        Known { subject: &subject, node: Some(&node), name: Some("web01"), tags: &tags, pool: Some("shop") };
    /// About what, from which second until which.
    type Windows = &'static [(&'static str, i64, i64)];
    #[rustfmt::skip]
    let table: [(&str, Windows, &str); 16] = [
        ("nothing",                          &[],                                                            "-"),
        ("itself",                           &[("qemu/101", 50, 200)],                                       "200"),
        ("another one",                      &[("qemu/102", 50, 200)],                                       "-"),
        ("its node",                         &[("node/pve1", 50, 200)],                                      "200"),
        ("everything",                       &[("cluster", 50, 200)],                                        "200"),
        ("its tag",                          &[("tag:web", 50, 200)],                                        "200"),
        ("its pool",                         &[("pool:shop", 50, 200)],                                      "200"),
        ("it begins now",                    &[("cluster", 100, 200)],                                       "200"),
        ("it is to come",                    &[("cluster", 101, 200)],                                       "-"),
        ("it ends now",                      &[("cluster", 50, 100)],                                        "-"),
        ("two at once",                      &[("qemu/101", 50, 150), ("cluster", 60, 120)],                 "150"),
        ("one goes on with another",         &[("qemu/101", 50, 150), ("node/pve1", 140, 300)],              "300"),
        ("one begins when the other ends",   &[("qemu/101", 50, 150), ("node/pve1", 150, 300)],              "300"),
        ("with a break",                     &[("qemu/101", 50, 150), ("node/pve1", 151, 300)],              "150"),
        ("a chain, in any order",            &[("cluster", 290, 400), ("node/pve1", 140, 300), ("tag:web", 50, 150)], "400"),
        ("the link is another one's",        &[("qemu/101", 50, 150), ("qemu/102", 140, 300), ("cluster", 290, 400)], "150"),
    ];
    for (name, windows, expected) in table {
        let at = |second| Timestamp::from_second(second).unwrap();
        let windows: Vec<Maintenance> = windows
            .iter()
            .map(|(about, from, until)| Maintenance {
                subject: about.parse().unwrap(),
                from: at(*from),
                until: at(*until),
            })
            .collect();
        let until = maintained(&windows, at(100), &known);
        let until = until.map_or("-".to_owned(), |until| until.as_second().to_string());
        assert_eq!(until, expected, "{name}");
    }
}

/// It is 1100, and a look allows an act for 20 s from when it was asked for.
#[test]
fn how_long_a_permit_is_good() {
    let table = [
        ("looked at this instant", Some(1100), 1120),
        ("looked at some seconds ago", Some(1096), 1120),
        ("the look took long", Some(1081), 1106),
        ("nothing is looked at before a node is woken", None, 1120),
    ];
    for (name, looked_at, until) in table {
        let world = guest().with(|world| world.looked_at = looked_at.map(at));
        let Decision::Act(permit) = world.decision() else { panic!("{name}: nothing is done") };
        assert_eq!(permit.until(), at(until), "{name}");
    }
}
