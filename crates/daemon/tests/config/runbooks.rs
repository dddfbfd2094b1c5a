//! `[[runbook]]`: what it makes of the built-in ones, and what is wrong with it, in which words.

use daemon::config::describe;
use engine::decide::{Autonomy, Known, Remedy, runbook};
use engine::detect::Condition;
use expect_test::{Expect, expect};
use jiff::SignedDuration;

use super::help::*;

#[test]
fn runbooks_are_changed_and_added_each_for_its_clusters() {
    let edge = MINIMAL.replace("\"lab\"", "\"edge\"").replace("10.0.0.11", "10.0.1.11");
    let text = format!(
        r#"{MINIMAL}{edge}
[[runbook]]
id = "vm-crashed-restart"
cluster = "edge"
attempts = 2

[[runbook]]
id = "vm-crashed-restart"
window = "2h"
attempts = 5
level = 4

[[runbook]]
id = "service-down-restart"
action = "nothing"

[[runbook]]
id = "hands-off"
condition = "VM_CRASHED"
match = ["tag:DB", "node/pve9", "qemu/101", "pool:prod", "name:web01"]
action = "nothing"

[[runbook]]
id = "slow"
cluster = "edge"
condition = "CT_CRASHED"
verify_within = "10m"
first_look = "1m"
"#
    );
    let config = load(&text, &[]).unwrap();
    let [lab, edge] = &config.clusters[..] else { panic!("two clusters") };
    let ids = |at: usize| {
        let books = &config.clusters[at].policy.runbooks;
        books.iter().map(|book| book.id.to_string()).collect::<Vec<_>>()
    };
    let built_in = [
        "vm-crashed-restart",
        "ct-crashed-restart",
        "node-unreachable-wol",
        "service-down-restart",
        "vm-fault-resume",
    ];
    assert_eq!(ids(0), [&["hands-off"][..], &built_in].concat());
    assert_eq!(ids(1), [&["hands-off", "slow"][..], &built_in].concat());
    let bounds = |at: usize, id: &str| {
        let books = &config.clusters[at].policy.runbooks;
        let book = books.iter().find(|book| *book.id == *id).unwrap();
        (book.attempts, book.window, book.level)
    };
    let (two, act) = (SignedDuration::from_hours(2), Autonomy::ActSilent);
    assert_eq!(bounds(0, "vm-crashed-restart"), (5, two, act));
    assert_eq!(
        bounds(1, "vm-crashed-restart"),
        (2, two, act),
        "what is said for one builds on what is for all"
    );
    /// Row, its subject, condition, node, name, tags, pool, the runbook and what it does.
    type Row<'a> =
        (&'a str, &'a str, Condition, &'a str, &'a str, &'a [&'a str], Option<&'a str>, Option<&'a str>);
    #[rustfmt::skip]
    let table: [Row; 8] = [
        ("nothing special",     "qemu/102", Condition::VmCrashed,   "pve1", "a",     &[],     None,         Some("vm-crashed-restart")),
        ("its tag",             "qemu/102", Condition::VmCrashed,   "pve1", "a",     &["db"], None,         None),
        ("its node",            "qemu/102", Condition::VmCrashed,   "pve9", "a",     &[],     None,         None),
        ("its id",              "qemu/101", Condition::VmCrashed,   "pve1", "a",     &[],     None,         None),
        ("its pool",            "qemu/102", Condition::VmCrashed,   "pve1", "a",     &[],     Some("prod"), None),
        ("its name",            "qemu/102", Condition::VmCrashed,   "pve1", "web01", &[],     None,         None),
        ("another condition",   "lxc/101",  Condition::CtCrashed,   "pve9", "web01", &["db"], None,         Some("ct-crashed-restart")),
        ("one that is off",     "service/pve1/cron", Condition::ServiceDown, "pve1", "cron", &[], None,      None),
    ];
    for (row, subject, condition, node, name, tags, pool, expected) in table {
        let (subject, node) = (subject.parse().unwrap(), node.parse().unwrap());
        let tags: Vec<Box<str>> = tags.iter().map(|tag| (*tag).into()).collect();
        let known = Known { subject: &subject, node: Some(&node), name: Some(name), tags: &tags, pool };
        let found = runbook(&lab.policy.runbooks, condition, &known);
        assert_eq!(found.map(|book| &*book.id), expected, "{row}");
    }
    let slow = &edge.policy.runbooks[1];
    assert_eq!((slow.remedy, slow.verify_within), (Remedy::Start, SignedDuration::from_mins(10)));
    let shown = describe(&config);
    let shown: Vec<&str> = shown.lines().filter(|line| line.starts_with("runbook.")).collect();
    let shown: Vec<String> =
        shown.iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    expect![[r#"
        runbook.hands-off VM_CRASHED of tag:DB, node/pve9, qemu/101, pool:prod, name:web01: nothing (jarvis.toml:29:1)
        runbook.slow edge: CT_CRASHED: start from level 3, 3 in 1h, 1m apart, after 15s; looked at after 1m, well for 1m within 10m (jarvis.toml:35:1)
        runbook.vm-crashed-restart VM_CRASHED: start from level 4, 5 in 2h, 1m apart, after 15s; looked at after 15s, well for 1m within 3m (jarvis.toml:19:1)
        runbook.vm-crashed-restart edge: VM_CRASHED: start from level 4, 2 in 2h, 1m apart, after 15s; looked at after 15s, well for 1m within 3m (jarvis.toml:14:1)
        runbook.ct-crashed-restart CT_CRASHED: start from level 3, 3 in 1h, 1m apart, after 15s; looked at after 10s, well for 1m within 3m (default)
        runbook.node-unreachable-wol NODE_UNREACHABLE: wake from level 3, 3 in 1h, 2m apart, after 1m; looked at after 30s, well for 0s within 5m (default)
        runbook.service-down-restart SERVICE_DOWN: nothing (jarvis.toml:25:1)
        runbook.vm-fault-resume VM_FAULT: resume from level 3, 3 in 1h, 1m apart, after 15s; looked at after 5s, well for 30s within 2m (default)"#]].assert_eq(&shown.join("\n"));
}

#[test]
fn standby_is_said_and_shown() {
    let said = |text: &str| {
        let config = load(&format!("{text}{MINIMAL}"), &[]).unwrap();
        let shown = describe(&config);
        (config.standby, shown.contains("note: autonomy.standby: this jarvis only watches"))
    };
    assert_eq!(said(""), (false, false));
    assert_eq!(said("[autonomy]\nstandby = false\n"), (false, false));
    assert_eq!(said("[autonomy]\nstandby = true\n"), (true, true));
}

#[test]
fn a_wrong_runbook_is_named_with_its_place_and_what_is_allowed() {
    let vm = |more: &str| format!("id = \"vm-crashed-restart\"\n{more}");
    let own = |more: &str| format!("id = \"own\"\ncondition = \"VM_CRASHED\"\n{more}");
    let node = |more: &str| format!("id = \"own\"\ncondition = \"NODE_UNREACHABLE\"\n{more}");
    #[rustfmt::skip]
    let table: [(&str, String, Expect); 34] = [
        (
            "without an id",
            "attempts = 2".into(),
            expect![
                "jarvis.toml:1:1: runbook[0].id: is missing: a built-in runbook's, to change it, or another one, to add one"
            ],
        ),
        (
            "an id with a blank",
            "id = \"a b\"".into(),
            expect![
                "jarvis.toml:2:6: runbook[0].id: must be letters, digits, `-` and `_`, at most 100 of them"
            ],
        ),
        (
            "no built-in one, and no condition",
            "id = \"vm-crash-restart\"".into(),
            expect![
                "jarvis.toml:1:1: runbook[0].condition: is missing: one of VM_CRASHED, CT_CRASHED, NODE_UNREACHABLE, SERVICE_DOWN, VM_FAULT; `vm-crash-restart` is no built-in runbook (vm-crashed-restart, ct-crashed-restart, node-unreachable-wol, service-down-restart, vm-fault-resume)"
            ],
        ),
        (
            "a typo in a key",
            vm("attemps = 2"),
            expect!["jarvis.toml:3:1: runbook[0].attemps: unknown key `attemps`: did you mean `attempts`?"],
        ),
        (
            "a key of another world",
            vm("command = \"rm\""),
            expect![
                "jarvis.toml:3:1: runbook[0].command: unknown key `command`: known here are id, cluster, condition, match, action, level, attempts, window, cooldown, grace, first_look, verify_for, verify_within"
            ],
        ),
        (
            "another type",
            vm("attempts = \"3\""),
            expect!["jarvis.toml:3:12: runbook[0].attempts: must be a whole number, not a text"],
        ),
        (
            "no attempt",
            vm("attempts = 0"),
            expect![[
                r#"jarvis.toml:3:12: runbook[0].attempts: 0 is not a whole number from 1 to 20; for none at all say action = "nothing""#
            ]],
        ),
        (
            "too many attempts",
            vm("attempts = 21"),
            expect![[
                r#"jarvis.toml:3:12: runbook[0].attempts: 21 is not a whole number from 1 to 20; for none at all say action = "nothing""#
            ]],
        ),
        (
            "a window longer than what is remembered",
            vm("window = \"25h\""),
            expect![[r#"jarvis.toml:3:10: runbook[0].window: must be a time like "90s", from 1m to 24h"#]],
        ),
        (
            "a window that forgets",
            vm("window = \"9m\""),
            expect![
                "jarvis.toml:3:10: runbook[0].window: 3 attempts, each with verify_within (3m), leave nothing of window (9m): the first would be forgotten before the last has failed, and people never called"
            ],
        ),
        (
            "attempts that are forgotten",
            vm("attempts = 20"),
            expect![
                "jarvis.toml:3:12: runbook[0].attempts: 20 attempts, each with verify_within (3m), leave nothing of window (1h): the first would be forgotten before the last has failed, and people never called"
            ],
        ),
        (
            "a cooldown that is forgotten",
            vm("cooldown = \"20m\""),
            expect![
                "jarvis.toml:3:12: runbook[0].cooldown: 3 attempts, each with cooldown (20m), leave nothing of window (1h): the first would be forgotten before the last has failed, and people never called"
            ],
        ),
        (
            "a cooldown as long as the window",
            vm("cooldown = \"1h\""),
            expect!["jarvis.toml:3:12: runbook[0].cooldown: cooldown (1h) must be less than window (1h)"],
        ),
        (
            "no cooldown",
            vm("cooldown = \"0s\""),
            expect![[r#"jarvis.toml:3:12: runbook[0].cooldown: must be a time like "90s", from 10s to 24h"#]],
        ),
        (
            "no time",
            vm("grace = \"soon\""),
            expect![[r#"jarvis.toml:3:9: runbook[0].grace: must be a time like "90s", from 0s to 1h"#]],
        ),
        (
            "a first look too late",
            vm("first_look = \"3m\""),
            expect![
                "jarvis.toml:3:14: runbook[0].first_look: first_look (3m) must be less than verify_within (3m)"
            ],
        ),
        (
            "a proof that takes too long",
            vm("verify_for = \"180s\""),
            expect![
                "jarvis.toml:3:14: runbook[0].verify_for: verify_for (3m) must be less than verify_within (3m)"
            ],
        ),
        (
            "a verdict before its proof",
            vm("verify_within = \"1m\""),
            expect![
                "jarvis.toml:3:17: runbook[0].verify_within: verify_for (1m) must be less than verify_within (1m)"
            ],
        ),
        (
            "a verdict at once",
            vm("verify_within = \"1s\""),
            expect![[
                r#"jarvis.toml:3:17: runbook[0].verify_within: must be a time like "90s", from 10s to 1h"#
            ]],
        ),
        (
            "acts at the level that only proposes",
            vm("level = 2"),
            expect![
                "jarvis.toml:3:9: runbook[0].level: must be 3 (act and report) or 4 (act silently): below that nothing is done unasked"
            ],
        ),
        (
            "no level",
            vm("level = 5"),
            expect![
                "jarvis.toml:3:9: runbook[0].level: must be 3 (act and report) or 4 (act silently): below that nothing is done unasked"
            ],
        ),
        (
            "another condition for a built-in one",
            vm("condition = \"CT_CRASHED\""),
            expect![
                "jarvis.toml:3:13: runbook[0].condition: cannot be said of a built-in runbook: give it another id, and it is asked before `vm-crashed-restart`"
            ],
        ),
        (
            "a built-in one for some",
            vm("match = [\"tag:db\"]"),
            expect![
                "jarvis.toml:3:9: runbook[0].match: cannot be said of a built-in runbook: give it another id, and it is asked before `vm-crashed-restart`"
            ],
        ),
        (
            "an action that does not fit",
            vm("action = \"resume\""),
            expect![[
                r#"jarvis.toml:3:10: runbook[0].action: must be "start" or "nothing": that is what can be done about VM_CRASHED"#
            ]],
        ),
        (
            "an action of another world",
            own("action = \"reboot\""),
            expect![[
                r#"jarvis.toml:4:10: runbook[0].action: must be "start" or "nothing": that is what can be done about VM_CRASHED"#
            ]],
        ),
        (
            "a condition nothing can be done about",
            "id = \"own\"\ncondition = \"DISK_HIGH\"".into(),
            expect![
                "jarvis.toml:3:13: runbook[0].condition: must be one of VM_CRASHED, CT_CRASHED, NODE_UNREACHABLE, SERVICE_DOWN, VM_FAULT: nothing can be done about others"
            ],
        ),
        (
            "for nobody",
            own("match = []"),
            expect![
                "jarvis.toml:4:9: runbook[0].match: must hold 1 to 1000 items; leave it out, and the runbook is for all"
            ],
        ),
        (
            "for something else",
            own("match = [\"tag:db\", \"vm:101\"]"),
            expect![
                "jarvis.toml:4:20: runbook[0].match[1]: must be `tag:TAG`, `node/NAME`, `qemu/ID`, `pool:POOL` or `name:NAME` for VM_CRASHED"
            ],
        ),
        (
            "for a container's crash, a machine's runbook",
            own("match = [\"lxc/101\"]"),
            expect![
                "jarvis.toml:4:10: runbook[0].match[0]: must be `tag:TAG`, `node/NAME`, `qemu/ID`, `pool:POOL` or `name:NAME` for VM_CRASHED"
            ],
        ),
        (
            "a tag that PVE would not take",
            own("match = [\"tag:a b\"]"),
            expect![
                "jarvis.toml:4:10: runbook[0].match[0]: must be `tag:TAG`, `node/NAME`, `qemu/ID`, `pool:POOL` or `name:NAME` for VM_CRASHED"
            ],
        ),
        (
            "a node has no tags",
            node("match = [\"tag:db\"]"),
            expect!["jarvis.toml:4:10: runbook[0].match[0]: must be `node/NAME` for NODE_UNREACHABLE"],
        ),
        (
            "no such cluster",
            vm("cluster = \"lub\""),
            expect!["jarvis.toml:3:11: runbook[0].cluster: `lub` is no cluster; there is lab"],
        ),
        (
            "twice",
            format!("{}\n[[runbook]]\n{}", vm(""), vm("attempts = 2")),
            expect![
                "jarvis.toml:5:6: runbook[1].id: `vm-crashed-restart` is given twice: give the second one another id"
            ],
        ),
        (
            "two of one's own, of one id",
            format!("{}\n[[runbook]]\n{}", own(""), own("cluster = \"lab\"")),
            expect!["jarvis.toml:6:6: runbook[1].id: `own` is given twice: give the second one another id"],
        ),
    ];
    for (name, runbook, expected) in table {
        expected.assert_eq(&complaint(name, &format!("[[runbook]]\n{runbook}\n{MINIMAL}"), &[]));
    }
}
