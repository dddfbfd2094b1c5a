//! The language by tables: what is read, and what is refused with which words.

use super::*;

#[test]
fn errors_name_the_line_and_what_is_allowed() {
    let good = "nodes pve1\nguest qemu/101 on pve1\n";
    #[rustfmt::skip]
    let table = [
        ("a misspelt command", "at 1:00 crsh qemu/101", "line 3: `crsh` is no command; did you mean `crash`? It is written `crash KIND/ID [killed|segfault|oom|init]`"),
        ("a bad time", "at 60 crash qemu/101", "line 3: `60` is no time: write m:ss or h:mm:ss, as 1:05 or 2:00:00"),
        ("61 seconds", "at 1:61 crash qemu/101", "line 3: `1:61` is no time: write m:ss or h:mm:ss, as 1:05 or 2:00:00"),
        ("a bad guest", "at 1:00 crash vm/101", "line 3: `vm/101` is no guest: write `qemu/ID` or `lxc/ID` with an ID from 100 to 999999999"),
        ("a missing word", "at 1:00 migrate qemu/101 pve2", "line 3: it is written `migrate KIND/ID to NODE [by USER]`"),
        ("a user without a realm", "at 1:00 stop qemu/101 by alice", "line 3: `alice` is no user: write alice@pve or op@pve!token"),
        ("a share above the whole", "disk node/pve1 120%", "line 3: `120%` is no share: write 97% or 97.5%"),
        ("an unknown option", "guest qemu/102 on pve1 runing", "line 3: `runing`? it is written `guest KIND/ID NAME on NODE [running|paused|stopped] [onboot] [template] [broken] [deaf] [order=N] [up=N] [tags=A,B] [ha=STATE] [lock=WORD] [pool=NAME] [volume=STORAGE] [cores=N] [memory=SIZE] [disk=SIZE]`"),
        ("a way to die that there is not", "at 1:00 crash qemu/101 bored", "line 3: `bored`? it is written `crash KIND/ID [killed|segfault|oom|init]`"),
        ("a mode that there is not", "at 1:00 backup qemu/101 mode=fast", "line 3: `mode=fast`? it is written `backup KIND/ID KIND/ID... [mode=snapshot|suspend|stop] [takes=S] [by USER]`"),
        ("a backup of nothing", "at 1:00 backup mode=stop", "line 3: it is written `backup KIND/ID KIND/ID... [mode=snapshot|suspend|stop] [takes=S] [by USER]`"),
        ("a daemon that there is not", "daemon pve1 pvestatd down", "line 3: `pvestatd`? it is written `daemon NODE pveproxy|pvedaemon|pmxcfs|hang down|up`"),
        ("a service's word that there is not", "service pve1 chrony ill", "line 3: it is written `service NODE NAME active|failed|inactive|activating|disabled, or active|inactive by USER`"),
        ("a side without a node", "side 1", "line 3: it is written `side N NODE NODE...`"),
        ("an end without a time", "end", "line 3: `end` needs a time: `at 9:00 end`"),
        ("no end", "", "line 2: no end: `at 9:00 end`"),
    ];
    for (name, line, expected) in table {
        let error = Script::parse(&format!("{good}{line}")).map(drop).unwrap_err();
        assert_eq!(error.to_string(), expected, "{name}");
    }
}

#[test]
fn every_form_is_read() {
    let text = "
        cluster lab # a comment
        seed 7
        first 0:05
        every critical 12s
        node pve1 cores=8 memory=64GiB disk=500GiB
        nodes pve2 pve3
        guest qemu/101 web01 on pve1 running onboot tags=a,b ha=started lock=backup order=2
        guest lxc/200 on pve2 paused memory=512MiB cores=2 disk=2TiB pool=prod
        guest qemu/900 tmpl on pve1 template
        storage nfs shared 1000GiB used 40%
        storage local local 100GiB on pve1 pve2
        storage nfs used 50%
        api slow=200
        every live off
        endpoints pve1 pve2
        rights auditor
        service pve1 chrony failed
        temperature pve1 cpu 91
        side 1 pve3
        daemon pve2 pveproxy down
        maintenance pve2 on
        at 0:40 hang qemu/101
        at 0:41 unhang qemu/101
        at 0:42 reboot-inside lxc/200
        at 0:43 crash qemu/101 segfault
        at 0:44 backup qemu/101 lxc/200 mode=stop takes=30 by op@pve!t1
        at 0:45 suspend qemu/101 by alice@pve
        at 0:46 rollback qemu/101
        at 0:47 reset-node pve1
        at 0:48 evict pve3
        at 1:10 crash qemu/101
        at 0:30 shutdown lxc/200 force timeout=5 by op@pve!t1
        at 1:00:00 storage nfs on pve2 offline
        at 1:00:00 create qemu/130 new on pve2 running by alice@pve
        at 2:00:00 end";
    let script = Script::parse(text).unwrap();
    assert_eq!((script.seed, script.nodes.len(), script.guests.len(), script.storages.len()), (7, 3, 3, 2));
    let times: Vec<_> = script.timed_steps().map(|(at, _)| at.as_secs()).collect();
    assert_eq!(times, [30, 40, 41, 42, 43, 44, 45, 46, 47, 48, 70, 3600, 3600], "in the order of time");
    assert_eq!((script.tiers.live.as_secs(), script.endpoints.len()), (0, 2));
    assert_eq!(script.length.as_hours(), 2);
    assert!(script.build(jiff::Timestamp::UNIX_EPOCH).is_ok());
}

#[test]
fn named_scenarios_are_read_and_others_are_named() {
    for (name, script) in crate::script::NAMED {
        Script::parse(script).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let error = crate::script::named("dmo").unwrap_err();
    assert!(error == "there is no scenario `dmo`; did you mean `demo`?", "{error}");
}

#[test]
fn a_script_that_names_what_is_not_there_says_so() {
    let error = Script::parse("nodes pve1\nguest qemu/101 on pve9\nat 1:00 end")
        .unwrap()
        .build(jiff::Timestamp::UNIX_EPOCH)
        .map(drop)
        .unwrap_err();
    assert_eq!(error.to_string(), "line 2: there is no node `pve9`");
}
