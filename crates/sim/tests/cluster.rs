//! The simulated cluster on its virtual clock: when things show, and what they leave behind.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic, its helpers too")]

use engine::observe::{GuestStatus, NodeName, Presence, Round};
use jiff::{SignedDuration, Timestamp};
use sim::cluster::{Actor, Cluster, Verb};
use sim::script::{Command, Script};

const BEGIN: Timestamp = Timestamp::UNIX_EPOCH;

fn build(lines: &str) -> Cluster {
    Script::parse(&format!("{lines}\nat 1:00 end")).unwrap().build(BEGIN).unwrap()
}

fn seconds(n: i64) -> Timestamp {
    BEGIN + SignedDuration::from_secs(n)
}

fn node(name: &str) -> NodeName {
    name.parse().unwrap()
}

/// Presence and the guest's word, by the list of `viewer`.
fn shown(cluster: &Cluster, viewer: &str, of: &str, guest: &str) -> (Presence, GuestStatus) {
    let snapshot = cluster.snapshot(&node(viewer), Round::Critical);
    let nodes = snapshot.nodes.value().unwrap();
    let guests = snapshot.guests.value().unwrap();
    (nodes[&node(of)].presence, guests[&guest.parse().unwrap()].status.clone())
}

#[test]
fn a_killed_node_is_noticed_late_and_its_guests_are_ghosts_for_300_s() {
    let mut cluster = build("nodes pve1 pve2 pve3\nguest qemu/101 web on pve3 running");
    cluster.advance(seconds(60));
    cluster.kill_node(&node("pve3")).unwrap();
    #[rustfmt::skip]
    let table = [
        ("not noticed yet",              67, Presence::Online,  GuestStatus::Running),
        ("corosync noticed",             69, Presence::Offline, GuestStatus::Running),
        ("its guest is still running",  340, Presence::Offline, GuestStatus::Running),
        ("300 s after its last word",   361, Presence::Offline, GuestStatus::Unknown),
    ];
    for (name, at, presence, status) in table {
        cluster.advance(seconds(at));
        assert_eq!(shown(&cluster, "pve1", "pve3", "qemu/101"), (presence, status), "{name}, at {at} s");
    }
}

#[test]
fn a_clean_shutdown_is_noticed_at_once_and_leaves_tasks() {
    let mut cluster =
        build("nodes pve1 pve2 pve3\nguest qemu/101 web on pve3 running\nguest lxc/200 dns on pve3 running");
    cluster.advance(seconds(60));
    cluster.shutdown_node(&node("pve3"), false).unwrap();
    cluster.advance(seconds(66));
    assert_eq!(shown(&cluster, "pve1", "pve3", "qemu/101").0, Presence::Offline);
    let tasks: Vec<_> = cluster.nodes()[&node("pve3")].tasks.newest_first().collect();
    let kinds: Vec<_> = tasks.iter().map(|task| task.kind.as_str()).collect();
    assert_eq!(kinds, ["vzshutdown", "qmshutdown", "stopall"]);
    assert!(tasks.iter().all(|task| task.by == Actor::root() && task.ended.is_some()));
}

#[test]
fn a_boot_starts_guests_in_their_order_and_removes_stale_locks() {
    let mut cluster = build(
        "nodes pve1 pve2 pve3
         guest qemu/101 last on pve3 running onboot
         guest qemu/102 first on pve3 running onboot order=1
         guest qemu/103 second on pve3 running onboot order=2 lock=backup
         guest qemu/104 never on pve3 running",
    );
    cluster.advance(seconds(60));
    cluster.kill_node(&node("pve3")).unwrap();
    cluster.advance(seconds(90));
    cluster.start_node(&node("pve3")).unwrap();
    cluster.advance(seconds(150));
    let node = &cluster.nodes()[&node("pve3")];
    let started: Vec<_> = node
        .tasks
        .newest_first()
        .map(|task| (task.kind.as_str(), task.id.as_str(), task.by.user.as_str()))
        .collect();
    let root = "root@pam";
    assert_eq!(
        started,
        [
            ("qmstart", "101", root),
            ("qmstart", "103", root),
            ("qmstart", "102", root),
            ("startall", "", root)
        ],
        "newest first"
    );
    let running = |id: &str| cluster.guests()[&id.parse().unwrap()].process.is_some();
    assert!(running("qemu/101") && running("qemu/102") && running("qemu/103") && !running("qemu/104"));
    assert!(node.uptime(cluster.now()) < 60, "its uptime began anew");
}

#[test]
fn numbers_change_at_each_broadcast_and_only_then() {
    let mut cluster = build("nodes pve1 pve2\nguest qemu/101 web on pve1 running");
    let stats = |cluster: &Cluster| cluster.guests()[&"qemu/101".parse().unwrap()].stats.clone().unwrap();
    let mut changes = Vec::new();
    let mut last = stats(&cluster);
    for at in 1..=60 {
        cluster.advance(seconds(at));
        let now = stats(&cluster);
        if now != last {
            assert_ne!((now.numbers.cpu, now.numbers.memory), (last.numbers.cpu, last.numbers.memory));
            changes.push(at);
            last = now;
        }
    }
    assert_eq!(changes.len(), 6, "every 10 s: {changes:?}");
    assert!(changes.windows(2).all(|pair| pair[1] - pair[0] == 10), "{changes:?}");
}

/// A guest, what is asked of it, what happens by when, and how its task ends.
#[test]
fn one_row_per_thing_that_is_asked() {
    let lab = "nodes pve1 pve2
        guest qemu/101 web on pve1 running
        guest qemu/102 idle on pve1
        guest qemu/103 deaf on pve1 running deaf
        guest qemu/104 busy on pve1 running lock=backup
        guest lxc/200 dns on pve1 running
        guest qemu/105 ha on pve1 running ha=started";
    let shutdown = |timeout, force| Verb::Shutdown { timeout, force };
    #[rustfmt::skip]
    let table = [
        ("a start", "qemu/102", Verb::Start, 3, true, "qmstart", Some("OK")),
        ("a stop", "qemu/101", Verb::Stop, 2, false, "qmstop", Some("OK")),
        ("a stop of what is stopped", "qemu/102", Verb::Stop, 2, false, "qmstop", Some("OK")),
        ("a stop of a container", "lxc/200", Verb::Stop, 2, false, "vzstop", Some("OK")),
        ("a stop of a locked one", "qemu/104", Verb::Stop, 2, true, "qmstop", Some("VM is locked (backup)")),
        ("a shutdown", "qemu/101", shutdown(60, false), 5, false, "qmshutdown", Some("OK")),
        ("a shutdown that is ignored", "qemu/103", shutdown(60, false), 59, true, "qmshutdown", None),
        ("and runs out", "qemu/103", shutdown(60, false), 61, true, "qmshutdown", Some("VM quit/powerdown failed - got timeout")),
        ("or ends by force", "qemu/103", shutdown(10, true), 11, false, "qmshutdown", Some("OK")),
        ("a pause", "qemu/101", Verb::Pause, 1, true, "qmpause", Some("OK")),
        ("a move", "qemu/101", Verb::Migrate { to: node("pve2") }, 7, true, "qmigrate", Some("OK")),
        ("a stop through HA is OK before it is done", "qemu/105", Verb::Stop, 3, true, "hastop", Some("OK")),
    ];
    for (name, guest, verb, after, running, kind, status) in table {
        let mut cluster = build(lab);
        let id = guest.parse().unwrap();
        let upid = cluster.request(&Actor::parse("op@pve!t1"), &node("pve1"), id, verb).unwrap();
        cluster.advance(seconds(after));
        assert_eq!(cluster.guests()[&id].process.is_some(), running, "{name}: runs");
        let task = cluster.nodes()[&node("pve1")].tasks.get(&upid).unwrap();
        assert_eq!(task.kind, kind, "{name}");
        assert_eq!(task.ended.as_ref().map(|(_, status)| status.as_str()), status, "{name}: its end");
    }
}

#[test]
fn ha_restarts_gives_up_and_moves() {
    let mut cluster = build("nodes pve1 pve2 pve3\nguest qemu/101 web on pve1 running ha=started");
    let id = "qemu/101".parse().unwrap();
    let state = |cluster: &Cluster| {
        let guest = &cluster.guests()[&id];
        (guest.process.is_some(), guest.spec.ha.clone().unwrap(), guest.spec.node.to_string())
    };
    cluster.crash(id).unwrap();
    cluster.advance(seconds(12));
    assert_eq!(state(&cluster), (true, "started".into(), "pve1".into()), "restarted within 12 s");

    cluster.apply(&Command::parse("break qemu/101").unwrap()).unwrap();
    cluster.crash(id).unwrap();
    cluster.advance(seconds(80));
    assert_eq!(state(&cluster), (false, "error".into(), "pve2".into()), "two failures on each of two nodes");

    let mut cluster = build("nodes pve1 pve2 pve3\nguest qemu/101 web on pve1 running ha=started");
    cluster.kill_node(&node("pve1")).unwrap();
    cluster.advance(seconds(90));
    assert_eq!(state(&cluster), (false, "fence".into(), "pve1".into()));
    cluster.advance(seconds(170));
    assert_eq!(state(&cluster), (true, "started".into(), "pve2".into()), "started elsewhere");
}

/// Its name, its lines, and what is to be seen when.
type Row = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// Plays a scenario's lines and says what is to be seen of some things at some instants, as `WHAT: WORDS`.
#[track_caller]
fn story(name: &str, lines: &str, expected: &[(&str, &str)]) {
    let script = Script::parse(&format!("nodes pve1 pve2 pve3\n{lines}\nat 1:00:00 end")).unwrap();
    let mut cluster = script.build(BEGIN).unwrap();
    let mut steps = script.timed_steps().peekable();
    for (when, sights) in expected {
        let at = BEGIN + instant(when);
        while let Some((due, step)) = steps.next_if(|(due, _)| BEGIN + *due <= at) {
            cluster.advance(BEGIN + due);
            cluster.apply(&step.command).unwrap_or_else(|trouble| panic!("{name}: {trouble}"));
        }
        cluster.advance(at);
        for sight in sights.split(" | ") {
            let (what, words) = sight.split_once(": ").unwrap();
            assert_eq!(sighted(&cluster, what), words, "{name}: {what} at {when}");
        }
    }
}

/// `m:ss` or `m:ss.t`.
fn instant(text: &str) -> SignedDuration {
    let (minutes, seconds) = text.split_once(':').unwrap();
    let millis = (seconds.parse::<f64>().unwrap() * 1000.0).round() as i64;
    SignedDuration::from_mins(minutes.parse().unwrap()) + SignedDuration::from_millis(millis)
}

/// One of: `row GUEST [of NODE]` (the cluster's list, by NODE), `live GUEST` (its process), `NODE [of NODE]` (membership),
/// `quorum of NODE`, `tasks NODE`, `ha NODE`, `journal NODE`, `sensor NODE`, `service NODE NAME`.
fn sighted(cluster: &Cluster, what: &str) -> String {
    let (what, viewer) = what.split_once(" of ").unwrap_or((what, "pve1"));
    let words: Vec<&str> = what.split(' ').collect();
    let snapshot = || cluster.snapshot(&node(viewer), Round::Critical);
    match words[..] {
        ["row", id] => {
            let snapshot = snapshot();
            let Some(row) = snapshot.guests.value().unwrap().get(&id.parse().unwrap()) else {
                return "absent".into();
            };
            let mut words = vec![row.status.as_str().to_owned(), row.node.to_string()];
            words.extend(row.lock.iter().map(|lock| format!("lock={lock}")));
            words.extend(row.ha.iter().map(|ha| format!("ha={ha}")));
            words.extend((row.io == Some(0) && row.uptime > 0).then(|| "io=0".to_owned()));
            words.join(" ")
        }
        ["live", id] => {
            let Some(guest) = cluster.guests().get(&id.parse().unwrap()) else { return "absent".into() };
            let state = guest.process.as_ref().map_or("stopped", |process| &process.state);
            let lock = guest.spec.lock.as_ref().map(|lock| format!(" lock={lock}")).unwrap_or_default();
            format!("{state} {}{lock}", guest.spec.node)
        }
        ["quorum"] => snapshot().quorum.value().unwrap().quorate.to_string(),
        ["ha", name] => cluster.ha_word(&node(name)).unwrap_or("none").into(),
        ["tasks", name] => {
            let tasks = cluster.nodes()[&node(name)].tasks.newest_first().collect::<Vec<_>>();
            let task = |task: &&&sim::cluster::Task| {
                let end = task.ended.as_ref().map_or("runs", |(_, status)| status);
                format!("{}({}) {} {end}", task.kind, task.id, task.by.full())
            };
            tasks.iter().rev().map(|one| task(&one)).collect::<Vec<_>>().join(", ")
        }
        ["journal", name] => {
            let lines = cluster.nodes()[&node(name)].journal.iter().map(|line| &*line.text);
            lines.filter(|line| !line.contains("Consumed")).collect::<Vec<_>>().join("; ")
        }
        ["sensor", name] => format!("{:?}", cluster.nodes()[&node(name)].temperatures),
        ["service", name, service] => {
            let state = &cluster.nodes()[&node(name)].services[service];
            format!("{} {} {}", state.unit, state.active, state.state)
        }
        [name] => format!("{:?}", snapshot().nodes.value().unwrap()[&node(name)].presence).to_lowercase(),
        _ => panic!("{what}?"),
    }
}

#[test]
fn what_a_backup_shows() {
    #[rustfmt::skip]
    let table: [Row; 8] = [
        ("a snapshot of a running machine", "guest qemu/101 on pve1 running\nat 1:00 backup qemu/101 takes=60", &[
            ("1:02", "live qemu/101: running pve1 lock=backup"),
            ("2:03", "live qemu/101: running pve1 | tasks pve1: vzdump(101) root@pam OK"),
        ]),
        ("a running machine in mode stop", "guest qemu/101 on pve1 running\nat 1:00 backup qemu/101 mode=stop takes=60 by op@pve!t1", &[
            ("1:01", "live qemu/101: running pve1 lock=backup"),
            ("1:04", "live qemu/101: stopped pve1 lock=backup"),
            ("1:06", "live qemu/101: prelaunch pve1 lock=backup"),
            ("1:07", "live qemu/101: running pve1 lock=backup"),
            ("2:08", "live qemu/101: running pve1 | tasks pve1: vzdump(101) op@pve!t1 OK, qmshutdown(101) root@pam OK"),
        ]),
        ("a running machine in mode suspend", "guest qemu/101 on pve1 running\nat 1:00 backup qemu/101 mode=suspend takes=60", &[
            ("1:02", "live qemu/101: paused pve1 lock=backup"),
            ("1:30", "row qemu/101: paused pve1 lock=backup"),
            ("2:03", "live qemu/101: running pve1"),
        ]),
        ("a stopped machine", "guest qemu/101 on pve1\nat 1:00 backup qemu/101 takes=60", &[
            ("1:01", "live qemu/101: stopped pve1 lock=backup"),
            ("1:03", "live qemu/101: prelaunch pve1 lock=backup"),
            ("1:30", "row qemu/101: prelaunch pve1 lock=backup"),
            ("2:04", "live qemu/101: stopped pve1"),
        ]),
        ("a running container in mode stop", "guest lxc/200 on pve1 running\nat 1:00 backup lxc/200 mode=stop takes=120", &[
            ("1:01", "live lxc/200: running pve1 lock=backup"),
            ("1:04", "live lxc/200: stopped pve1 lock=backup"),
            ("3:00", "row lxc/200: stopped pve1 lock=backup"),
            ("3:06", "live lxc/200: running pve1 | tasks pve1: vzdump(200) root@pam OK"),
        ]),
        ("a running container in mode suspend", "guest lxc/200 on pve1 running\nat 1:00 backup lxc/200 mode=suspend takes=60", &[
            ("1:30", "live lxc/200: running pve1 lock=backup"),
            ("2:03", "live lxc/200: running pve1"),
        ]),
        ("a job of two guests names neither", "guest qemu/101 on pve1 running\nguest lxc/200 on pve1 running\nat 1:00 backup qemu/101 lxc/200 mode=stop takes=60", &[
            ("1:30", "tasks pve1: vzdump() root@pam runs, qmshutdown(101) root@pam OK | live lxc/200: running pve1"),
            ("2:30", "live qemu/101: running pve1 | live lxc/200: stopped pve1 lock=backup"),
            ("3:20", "live lxc/200: running pve1 | tasks pve1: vzdump() root@pam OK, qmshutdown(101) root@pam OK"),
        ]),
        ("a machine that shuts itself down meanwhile is kept", "guest qemu/101 on pve1 running\nat 1:00 backup qemu/101 takes=60\nat 1:10 poweroff qemu/101", &[
            ("1:15", "live qemu/101: shutdown pve1 lock=backup"),
            ("2:03", "live qemu/101: stopped pve1"),
        ]),
    ];
    for (name, lines, expected) in table {
        story(name, lines, expected);
    }
}

#[test]
fn what_moves_and_sleeps_and_comes_back_shows() {
    #[rustfmt::skip]
    let table: [Row; 9] = [
        ("a live migration", "guest qemu/101 on pve1 running\nat 1:00 migrate qemu/101 to pve2 by alice@pve", &[
            ("1:02", "live qemu/101: running pve1 lock=migrate | tasks pve2: qmstart(101) root@pam runs"),
            ("1:05.3", "live qemu/101: finish-migrate pve1 lock=migrate"),
            ("1:05.5", "live qemu/101: postmigrate pve1 lock=migrate"),
            ("1:05.7", "live qemu/101: inmigrate pve2 lock=migrate | row qemu/101: running pve2 lock=migrate"),
            ("1:07", "live qemu/101: running pve2 | tasks pve1: qmigrate(101) alice@pve OK | tasks pve2: qmstart(101) root@pam OK"),
        ]),
        ("a paused machine moves and stays paused", "guest qemu/101 on pve1 paused\nat 1:00 migrate qemu/101 to pve2", &[
            ("1:07", "live qemu/101: paused pve2"),
        ]),
        ("a stopped machine moves", "guest qemu/101 on pve1\nat 1:00 migrate qemu/101 to pve2", &[
            ("1:02", "live qemu/101: stopped pve1 lock=migrate"),
            ("1:04", "live qemu/101: stopped pve2 | tasks pve2: "),
        ]),
        ("a container is stopped for its move", "guest lxc/200 on pve1 running\nat 1:00 migrate lxc/200 to pve2 by alice@pve", &[
            ("1:04", "live lxc/200: stopped pve1 lock=migrate"),
            ("1:08", "live lxc/200: running pve2 | tasks pve1: vzmigrate(200) alice@pve OK | tasks pve2: vzstart(200) root@pam OK"),
        ]),
        ("a machine that dies on its way", "guest qemu/101 on pve1 running\nat 1:00 migrate qemu/101 to pve2\nat 1:03 crash qemu/101", &[
            ("1:07", "live qemu/101: stopped pve1 | tasks pve1: qmigrate(101) root@pam migration aborted"),
        ]),
        ("suspended to disk, and woken", "guest qemu/101 on pve1 running\nat 1:00 suspend qemu/101 by alice@pve\nat 2:00 start qemu/101 by alice@pve", &[
            ("1:01", "live qemu/101: running pve1 lock=suspending"),
            ("1:03", "live qemu/101: stopped pve1 lock=suspended | tasks pve1: qmsuspend(101) alice@pve OK"),
            ("1:20", "row qemu/101: stopped pve1 lock=suspended"),
            ("2:03", "live qemu/101: running pve1"),
        ]),
        ("a rollback stops it", "guest qemu/101 on pve1 running\nat 1:00 rollback qemu/101 by alice@pve", &[
            ("1:01", "live qemu/101: stopped pve1 lock=rollback"),
            ("1:03", "live qemu/101: stopped pve1 | tasks pve1: qmrollback(101) alice@pve OK"),
        ]),
        ("the same number again", "guest qemu/101 old on pve1\nat 1:00 destroy qemu/101 by alice@pve\nat 1:10 create qemu/101 new on pve1 running by bob@pve", &[
            ("1:05", "row qemu/101: absent"),
            ("1:10", "row qemu/101: unknown pve1"),
            ("1:25", "row qemu/101: running pve1 | tasks pve1: qmdestroy(101) alice@pve OK, qmcreate(101) bob@pve OK"),
        ]),
        ("a node taken out leaves its guests' rows", "guest qemu/101 on pve3 running\nat 1:00 kill-node pve3\nat 2:00 evict pve3", &[
            ("2:01", "row qemu/101: running pve3 | quorum: true"),
            ("6:10", "row qemu/101: unknown pve3"),
        ]),
    ];
    for (name, lines, expected) in table {
        story(name, lines, expected);
    }
}

#[test]
fn what_a_death_leaves_in_the_journal() {
    let begun = |kind: &str| format!("guest {kind} on pve1 running\n");
    let (vm, ct) = (begun("qemu/101"), begun("lxc/200"));
    let cleanup = "qmeventd[722]: Starting cleanup for 101; qmeventd[722]: Finished cleanup for 101";
    let scope = "systemd[1]: 101.scope: Deactivated successfully.";
    #[rustfmt::skip]
    let table = [
        ("a kill", &vm, "crash qemu/101", format!("{scope}; {cleanup}")),
        ("a segfault", &vm, "crash qemu/101 segfault", format!("kernel: kvm[100101]: segfault at 0 ip _ sp 00007ffd6a31c2e8 error 14 likely on CPU 0 (core 0, socket 0); kernel: Code: Unable to access opcode bytes at 0xffffffffffffffd6.; {scope}; {cleanup}")),
        ("out of memory", &vm, "crash qemu/101 oom", format!("kernel: kvm invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0; kernel: oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=101.scope,mems_allowed=0,oom_memcg=/qemu.slice/101.scope,task_memcg=/qemu.slice/101.scope,task=kvm,pid=100101,uid=0; kernel: Memory cgroup out of memory: Killed process 100101 (kvm) total-vm:2621440kB, anon-rss:1048576kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:2400kB oom_score_adj:0; {scope}; {cleanup}")),
        ("a power-off inside", &vm, "poweroff qemu/101", format!("qmeventd[722]: read: Connection reset by peer; {scope}; {cleanup}")),
        ("a restart inside a machine", &vm, "reboot-inside qemu/101", String::new()),
        ("a pause by fault", &vm, "state qemu/101 io-error", String::new()),
        ("lxc-start killed", &ct, "crash lxc/200", "systemd[1]: pve-container@200.service: Main process exited, code=killed, status=9/KILL; systemd[1]: pve-container@200.service: Failed with result 'signal'.".into()),
        ("a container's init killed", &ct, "crash lxc/200 init", "systemd[1]: pve-container@200.service: Deactivated successfully.".into()),
        ("a container powers itself off", &ct, "poweroff lxc/200", "systemd[1]: pve-container@200.service: Deactivated successfully.".into()),
        ("a container restarts itself", &ct, "reboot-inside lxc/200", "systemd[1]: pve-container@200.service: Deactivated successfully.; systemd[1]: Stopped pve-container@200.service; systemd[1]: Started pve-container@200.service.".into()),
    ];
    for (name, guest, command, expected) in table {
        let mut cluster = build(&format!("nodes pve1 pve2 pve3\n{guest}"));
        cluster.advance(seconds(60));
        cluster.apply(&Command::parse(command).unwrap()).unwrap();
        cluster.advance(seconds(66));
        let journal = sighted(&cluster, "journal pve1");
        let masked = journal.split(' ').map(|word| {
            if word.starts_with("00007f") && word.len() == 16 && !word.ends_with("c2e8") { "_" } else { word }
        });
        assert_eq!(masked.collect::<Vec<_>>().join(" "), expected, "{name}");
        assert_eq!(sighted(&cluster, "tasks pve1"), "", "{name}: nobody asked for it");
    }
}

#[test]
fn a_task_is_in_the_journal_and_the_journal_has_a_limit() {
    let mut cluster = build("nodes pve1 pve2\nguest qemu/101 web on pve1 running");
    let stop = "stop qemu/101 by op@pve!t1";
    cluster.apply(&Command::parse(stop).unwrap()).unwrap();
    cluster.advance(seconds(5));
    let lines = sighted(&cluster, "journal pve1");
    let upid = cluster.nodes()[&node("pve1")].tasks.newest_first().next().unwrap().upid.clone();
    assert!(lines.contains(&format!("<op@pve!t1> starting task {upid}")), "{lines}");
    assert!(lines.contains(&format!("<op@pve!t1> end task {upid} OK")), "{lines}");
    for at in 1..=1000 {
        cluster.advance(seconds(at * 10));
        let line = if at % 2 == 0 { "start qemu/101" } else { "stop qemu/101" };
        cluster.apply(&Command::parse(line).unwrap()).unwrap();
    }
    assert_eq!(cluster.nodes()[&node("pve1")].journal.len(), sim::cluster::JOURNAL_MAX);
}

#[test]
fn a_restart_inside_a_container_is_another_process() {
    let mut stopped = 0;
    for seed in 1..=20 {
        let mut cluster = build(&format!(
            "seed {seed}\nnodes pve1\nguest lxc/200 dns on pve1 running\nguest qemu/101 web on pve1 running"
        ));
        let pid = |cluster: &Cluster, id: &str| {
            cluster.guests()[&id.parse().unwrap()].process.as_ref().map(|process| process.pid)
        };
        let before = (pid(&cluster, "lxc/200"), pid(&cluster, "qemu/101"));
        cluster.advance(seconds(60));
        for id in ["lxc/200", "qemu/101"] {
            cluster.apply(&Command::parse(&format!("reboot-inside {id}")).unwrap()).unwrap();
        }
        cluster.advance(seconds(60));
        stopped += usize::from(pid(&cluster, "lxc/200").is_none());
        cluster.advance(seconds(62));
        assert!(pid(&cluster, "lxc/200").is_some() && pid(&cluster, "lxc/200") != before.0, "seed {seed}");
        assert_eq!(pid(&cluster, "qemu/101"), before.1, "a machine keeps its process");
        assert_eq!(sighted(&cluster, "tasks pve1"), "", "no task");
    }
    assert!((1..20).contains(&stopped), "by chance it is down for a second, or not at all: {stopped} of 20");
}

#[test]
fn what_faults_show() {
    #[rustfmt::skip]
    let table: [Row; 5] = [
        ("a hung QEMU reads nothing", "guest qemu/101 on pve1 running\nat 1:00 hang qemu/101\nat 2:00 unhang qemu/101", &[
            ("0:59", "row qemu/101: running pve1"),
            ("1:15", "row qemu/101: running pve1 io=0"),
            ("2:15", "row qemu/101: running pve1"),
        ]),
        ("a full storage stops writes until it has room and somebody resumes", "storage nfs shared 100GiB used 50%\nguest qemu/101 on pve1 running volume=nfs\nguest qemu/102 on pve1 running\nat 1:00 storage nfs used 100%\nat 1:30 resume qemu/101\nat 2:00 storage nfs used 60%\nat 2:30 resume qemu/101", &[
            ("1:15", "row qemu/101: io-error pve1 | row qemu/102: running pve1 | tasks pve1: "),
            ("1:35", "live qemu/101: io-error pve1"),
            ("2:20", "live qemu/101: io-error pve1"),
            ("2:45", "row qemu/101: running pve1"),
        ]),
        ("QMP's run states are shown as they are", "guest qemu/101 on pve1 running\nat 1:00 state qemu/101 guest-panicked\nat 2:00 state qemu/101 internal-error", &[
            ("1:15", "row qemu/101: guest-panicked pve1"),
            ("2:15", "row qemu/101: internal-error pve1 | tasks pve1: "),
        ]),
        ("services and sensors", "at 1:00 service pve2 chrony failed\nat 1:00 temperature pve2 cpu 91\nat 2:00 service pve2 chrony active", &[
            ("0:59", "service pve2 chrony: enabled active running | sensor pve2: {\"cpu\": 45.0} | service pve2 ksmtuned: not-found inactive dead"),
            ("1:01", "service pve2 chrony: enabled failed failed | sensor pve2: {\"cpu\": 91.0}"),
            ("2:01", "service pve2 chrony: enabled active running"),
        ]),
        ("a dead pvestatd is a stalled one", "guest qemu/101 on pve2 running\nat 1:00 service pve2 pvestatd failed", &[
            ("5:00", "pve2: online | row qemu/101: running pve2"),
            ("6:10", "pve2: unknown | row qemu/101: unknown pve2 | live qemu/101: running pve2"),
        ]),
    ];
    for (name, lines, expected) in table {
        story(name, lines, expected);
    }
}

#[test]
fn who_sees_whom() {
    #[rustfmt::skip]
    let table: [Row; 5] = [
        ("a dead cluster file system looks like a dead node to the others", "guest qemu/101 on pve3 running\nat 1:00 daemon pve3 pmxcfs down\nat 8:00 daemon pve3 pmxcfs up", &[
            ("1:00", "pve3: offline | row qemu/101: running pve3 | live qemu/101: running pve3 | quorum: true | service pve3 pve-cluster: enabled failed failed"),
            ("6:10", "row qemu/101: unknown pve3 | live qemu/101: running pve3"),
            ("8:01", "pve3: unknown"),
            ("8:15", "pve3: online | row qemu/101: running pve3"),
        ]),
        ("dead API daemons touch no membership", "guest qemu/101 on pve3 running\nat 1:00 daemon pve3 pveproxy down\nat 1:00 daemon pve3 pvedaemon down", &[
            ("8:00", "pve3: online | row qemu/101: running pve3"),
        ]),
        ("a partition: each side sees its own, and ghosts of the other", "guest qemu/101 on pve1 running\nguest qemu/103 on pve3 running\nat 1:00 side 1 pve3\nat 1:10 crash qemu/103\nat 1:20 crash qemu/101\nat 9:00 side 0 pve3", &[
            ("1:00", "pve3: offline | pve1 of pve3: offline | quorum: true | quorum of pve3: false"),
            ("1:40", "row qemu/103: running pve3 | row qemu/103 of pve3: stopped pve3"),
            ("1:40", "row qemu/101: stopped pve1 | row qemu/101 of pve3: running pve1"),
            ("6:10", "row qemu/103: unknown pve3 | row qemu/101 of pve3: unknown pve1"),
            ("9:01", "pve3: unknown | row qemu/103: unknown pve3 | quorum of pve3: true"),
            ("9:15", "pve3: online | row qemu/103: stopped pve3 | row qemu/101 of pve3: stopped pve1"),
        ]),
        ("what is made on one side is not known on the other", "at 1:00 side 1 pve3\nat 2:00 create qemu/130 new on pve1 running", &[
            ("2:20", "row qemu/130: running pve1 | row qemu/130 of pve3: absent"),
        ]),
        ("a hard reset that nobody notices", "guest qemu/101 on pve3 running onboot\nguest qemu/102 on pve3 running\nat 1:00 reset-node pve3", &[
            ("1:05", "pve3: online | live qemu/101: stopped pve3 | row qemu/102: running pve3"),
            ("1:10", "pve3: online | tasks pve3: startall() root@pam runs, qmstart(101) root@pam OK"),
            ("1:20", "row qemu/101: running pve3 | row qemu/102: stopped pve3"),
        ]),
    ];
    for (name, lines, expected) in table {
        story(name, lines, expected);
    }
}

#[test]
fn a_minority_refuses_what_writes() {
    let mut cluster =
        build("nodes pve1 pve2 pve3\nguest qemu/101 web on pve3 running\nguest qemu/102 idle on pve3");
    cluster.apply(&Command::parse("side 1 pve3").unwrap()).unwrap();
    let mut ask = |id: &str, verb| cluster.request(&Actor::root(), &node("pve3"), id.parse().unwrap(), verb);
    let refusal = "cluster not ready - no quorum?";
    assert_eq!(ask("qemu/102", Verb::Start).unwrap_err().to_string(), refusal);
    assert_eq!(ask("qemu/101", Verb::Migrate { to: node("pve1") }).unwrap_err().to_string(), refusal);
    assert!(ask("qemu/101", Verb::Stop).is_ok(), "a stop needs no quorum");
}

#[test]
fn what_ha_does_by_itself() {
    #[rustfmt::skip]
    let table: [Row; 9] = [
        ("a guest that cannot start is tried here, then there, then given up", "guest qemu/101 on pve1 running ha=started\nat 0:30 break qemu/101\nat 1:00 crash qemu/101", &[
            ("1:12", "live qemu/101: stopped pve1 | tasks pve1: qmstart(101) root@pam volume 'local:101/vm-101-disk-0.raw' does not exist"),
            ("1:20", "row qemu/101: stopped pve1 ha=relocate"),
            ("1:35", "live qemu/101: stopped pve2"),
            ("2:00", "row qemu/101: stopped pve2 ha=error"),
        ]),
        ("what is stopped by hand stays stopped", "guest qemu/101 on pve1 running ha=started\nat 1:00 ha qemu/101 disabled", &[
            ("1:01", "row qemu/101: running pve1 ha=request_stop"),
            ("1:20", "row qemu/101: stopped pve1 ha=stopped"),
        ]),
        ("what HA ignores is nobody's", "guest qemu/101 on pve1 running ha=ignored\nat 1:00 crash qemu/101", &[
            ("3:00", "row qemu/101: stopped pve1 ha=ignored"),
        ]),
        ("a node in maintenance is emptied", "guest qemu/101 on pve2 running ha=started\nguest qemu/102 on pve2 running\nat 1:00 maintenance pve2 on\nat 3:00 maintenance pve2 off", &[
            ("1:01", "ha pve2: maintenance"),
            ("1:08", "row qemu/101: running pve2 lock=migrate ha=migrate"),
            ("1:20", "live qemu/101: running pve1 | live qemu/102: running pve2 | tasks pve2: qmigrate(101) root@pam OK"),
            ("3:01", "ha pve2: online"),
        ]),
        ("nowhere to go: maintenance leaves it where it is", "guest qemu/101 on pve2 running ha=started\nat 0:10 maintenance pve1 on\nat 0:10 maintenance pve3 on\nat 1:00 maintenance pve2 on", &[
            ("2:00", "live qemu/101: running pve2"),
        ]),
        ("a reboot freezes, and thaws", "guest qemu/101 on pve3 running ha=started\nat 1:00 reboot-node pve3", &[
            ("1:03", "row qemu/101: running pve3 ha=freeze | ha pve3: restart"),
            ("1:20", "live qemu/101: stopped pve3 | pve3: offline"),
            ("2:00", "live qemu/101: running pve3 | row qemu/101: running pve3 ha=started"),
        ]),
        ("a node that is lost is fenced and its guests recovered", "guest qemu/101 on pve3 running ha=started\nat 1:00 kill-node pve3", &[
            ("1:10", "row qemu/101: running pve3 ha=started | ha pve3: online"),
            ("1:30", "ha pve3: unknown"),
            ("2:10", "row qemu/101: running pve3 ha=fence | ha pve3: fence"),
            ("3:39", "row qemu/101: running pve3 ha=recovery"),
            ("3:50", "live qemu/101: running pve1 | tasks pve1: qmstart(101) root@pam OK"),
        ]),
        ("a node that is cut off resets itself after 60 s, and boots without a quorum", "guest qemu/101 on pve3 running ha=started\nguest qemu/103 on pve3 running onboot\nat 1:00 side 1 pve3", &[
            ("1:59", "live qemu/101: running pve3"),
            ("2:01", "live qemu/101: stopped pve3 | live qemu/103: stopped pve3"),
            ("3:00", "row qemu/101: running pve3 ha=fence | tasks pve3: startall() root@pam runs"),
            ("3:40", "live qemu/101: running pve1 | live qemu/103: stopped pve3"),
        ]),
        ("a node without such guests does not", "guest qemu/103 on pve3 running\nat 1:00 side 1 pve3", &[
            ("9:00", "live qemu/103: running pve3"),
        ]),
    ];
    for (name, lines, expected) in table {
        story(name, lines, expected);
    }
}

#[test]
fn one_obstinate_guest_keeps_a_clean_reboot_waiting() {
    #[rustfmt::skip]
    story("obstinate", "guest qemu/101 on pve3 running order=1\nguest qemu/102 on pve3 running deaf\nat 1:00 reboot-node pve3", &[
        ("2:30", "pve3: online | live qemu/101: running pve3 | live qemu/102: running pve3 | tasks pve3: stopall() root@pam runs, qmshutdown(102) root@pam runs"),
        ("4:02", "live qemu/101: running pve3 | live qemu/102: stopped pve3"),
        ("4:10", "pve3: offline | live qemu/101: stopped pve3 | tasks pve3: stopall() root@pam OK, qmshutdown(102) root@pam OK, qmshutdown(101) root@pam OK"),
        ("5:00", "pve3: online"),
    ]);
}

#[test]
fn the_same_seed_gives_the_same_cluster() {
    let shot = |seed| {
        let mut cluster = Cluster::generated(4, 200, seed, BEGIN).unwrap();
        cluster.advance(seconds(3600));
        format!("{:?}", cluster.snapshot(&node("pve1"), Round::Critical))
    };
    assert_eq!(shot(7), shot(7));
    assert_ne!(shot(7), shot(8));
}

/// Something of everything at once.
const TURMOIL: &str = "nodes pve1 pve2 pve3
    guest qemu/101 a on pve1 running onboot ha=started
    guest qemu/102 b on pve2 running onboot volume=nfs
    guest qemu/103 c on pve3 running ha=started
    guest lxc/200 d on pve2 running
    guest lxc/201 e on pve3 running ha=started
    guest qemu/104 f on pve1
    storage nfs shared 100GiB used 40%
    at 0:20 crash qemu/101 segfault
    at 0:30 backup qemu/102 lxc/200 qemu/104 mode=stop takes=20
    at 0:40 reboot-inside lxc/201
    at 1:00 migrate qemu/104 to pve2
    at 1:10 crash qemu/103 oom
    at 2:00 storage nfs used 100%
    at 2:10 side 1 pve3
    at 2:30 service pve1 pvestatd failed
    at 4:00 side 0 pve3
    at 6:00 maintenance pve1 on
    at 7:00 daemon pve2 pmxcfs down
    at 7:30 reset-node pve1
    at 9:00 daemon pve2 pmxcfs up
    at 10:00 reboot-node pve2
    at 12:00 suspend qemu/102";

#[test]
fn it_does_not_matter_in_which_steps_time_passes() {
    let play = |pace: i64, seed: u64| {
        let script = Script::parse(&format!("seed {seed}\n{TURMOIL}\nat 15:00 end")).unwrap();
        let mut cluster = script.build(BEGIN).unwrap();
        let mut steps = script.timed_steps().peekable();
        let mut shots = Vec::new();
        for at in (0..=900_000).step_by(pace as usize) {
            let at = BEGIN + SignedDuration::from_millis(at as i64);
            while let Some((due, step)) = steps.next_if(|(due, _)| BEGIN + *due <= at) {
                cluster.advance(BEGIN + due);
                cluster.apply(&step.command).unwrap();
            }
            cluster.advance(at);
            if at.as_second() % 60 == 0 && at.subsec_nanosecond() == 0 {
                let views =
                    ["pve1", "pve2", "pve3"].map(|viewer| cluster.snapshot(&node(viewer), Round::Critical));
                shots.push(format!("{views:?} {:?}", cluster.truth()));
            }
        }
        shots
    };
    let (fine, coarse) = (play(250, 7), play(60_000, 7));
    assert_eq!(fine.len(), 16);
    for (minute, (fine, coarse)) in fine.iter().zip(&coarse).enumerate() {
        assert_eq!(fine, coarse, "minute {minute}");
    }
    assert_ne!(coarse, play(60_000, 8));
}

#[test]
fn time_never_runs_backwards_and_what_is_past_stays() {
    let mut cluster = build("nodes pve1");
    cluster.advance(seconds(100));
    cluster.advance(seconds(50));
    assert_eq!(cluster.now(), seconds(100));
    assert!(cluster.next_due().unwrap() > seconds(100));
}

#[test]
fn limits_are_errors() {
    let at = BEGIN;
    assert!(Cluster::generated(65, 1, 1, at).is_err(), "too many nodes");
    assert!(Cluster::generated(0, 1, 1, at).is_err(), "no node");
    assert!(Cluster::generated(1, 50_001, 1, at).is_err(), "too many guests");
    assert!(Cluster::generated(64, 10, 1, at).is_ok());
}
