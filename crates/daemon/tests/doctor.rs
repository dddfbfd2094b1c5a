//! `jarvis doctor` against a simulated cluster: what it says of what is set up wrongly, what mends it, and with which exit code.

#![cfg(test)]

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use daemon::record::Store;
use expect_test::expect;
use sim::http::{Options, Server};
use sim::script::Script;

const WATCH: &str = "jarvis@pve!observe";
const ACT: &str = "jarvis@pve!act";
const SECRET: &str = "33333333-3333-3333-3333-333333333333";
const LAB: &str = "node pve1 mac=aa:bb:cc:00:00:01\n\
    nodes pve2 pve3\n\
    guest qemu/101 web on pve1 running onboot\n\
    guest qemu/102 db on pve2 running tags=jarvis-restart\n\
    guest qemu/103 scratch on pve2 stopped pool=lab\n\
    guest qemu/104 ours on pve3 running ha=started\n\
    guest lxc/200 dns on pve2 running\n\
    at 60:00 end\n";

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let folder = std::env::temp_dir().join(format!("jarvis-doctor-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&folder).unwrap();
        Folder(fs::canonicalize(folder).unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}

/// What is set up.
#[derive(Clone, Copy)]
struct Setup {
    name: &'static str,
    /// What the token that watches may do, as the simulator writes it.
    watch: &'static str,
    /// The same of a second one.
    act: Option<&'static str>,
    level: u8,
    /// More of the configuration, in front of the cluster and in it.
    top: &'static str,
    cluster: &'static str,
    /// Happens to the cluster before it is asked.
    happens: &'static [&'static str],
    twist: Twist,
}

/// What is wrong beside the rights.
#[derive(Clone, Copy, PartialEq)]
enum Twist {
    None,
    WrongSecret,
    /// The cluster does not know the token that acts.
    NoSuchActor,
    WrongCa,
    /// Nobody listens at the first endpoint.
    FirstIsDown,
    /// Nor at any other.
    AllAreDown,
}

const USUAL: Setup = Setup {
    name: "",
    watch: "observer",
    act: None,
    level: 2,
    top: "",
    cluster: "",
    happens: &[],
    twist: Twist::None,
};

/// What the command says, and its exit code; without what differs from run to run.
fn said(setup: &Setup) -> String {
    let folder = Folder::new();
    let mut options = Options::script(&Script::parse(LAB).unwrap()).unwrap();
    options.tokens = vec![format!("{WATCH}={SECRET}:{}", setup.watch).parse().unwrap()];
    let known = setup.act.filter(|_| setup.twist != Twist::NoSuchActor);
    options.tokens.extend(known.map(|rights| format!("{ACT}={SECRET}:{rights}").parse().unwrap()));
    options.delay_401 = Duration::from_millis(50);
    let cluster = Server::start(options).unwrap();
    for line in setup.happens {
        cluster.apply(line).unwrap();
    }
    let other = Server::start(Options::generated(1, 1, 1).unwrap()).unwrap();
    let ca = if setup.twist == Twist::WrongCa { other.ca_pem() } else { cluster.ca_pem() };
    let ca = folder.write("ca.pem", ca);
    let wrong = setup.twist == Twist::WrongSecret;
    let secret = folder.write("secret", if wrong { "44444444-4444-4444-4444-444444444444" } else { SECRET });
    let mut endpoints = cluster.endpoints();
    // A port that nobody has on a machine of today.
    let nobody = "https://127.0.0.1:1".to_owned();
    match setup.twist {
        Twist::None | Twist::WrongSecret | Twist::NoSuchActor | Twist::WrongCa => {}
        Twist::FirstIsDown => endpoints[0] = nobody,
        Twist::AllAreDown => endpoints = vec![nobody],
    }
    let act = match setup.act {
        Some(_) => format!("act_token_id = {ACT:?}\nact_token_secret_file = {secret:?}\n"),
        None => String::new(),
    };
    let Setup { level, top, cluster: more, .. } = setup;
    let store = folder.0.join("jarvis.db");
    let config = folder.write(
        "jarvis.toml",
        &format!(
            "[store]\npath = {store:?}\n[autonomy]\nlevel = {level}\n{top}\n[[cluster]]\nname = \"lab\"\n\
             endpoints = {endpoints:?}\ntoken_id = {WATCH:?}\ntoken_secret_file = {secret:?}\nca_file = {ca:?}\n{act}{more}"
        ),
    );
    let (code, said) = doctor(&config);
    let calls = cluster.counts().calls;
    assert!(calls.keys().all(|call| call.starts_with("GET ")), "it only reads: {calls:?}");
    let said = said.split_once("cluster lab\n").unwrap_or_else(|| panic!("{said}")).1.to_owned();
    let mut said = format!("== {} (exit code {code})\n{said}", setup.name);
    for (node, address) in cluster.addresses() {
        said = said.replace(&address.to_string(), &format!("{node}.lab"));
    }
    said = said.replace("127.0.0.1:1 ", "nobody.lab ");
    assert!(!said.contains(SECRET) && !said.contains("4444-4444"), "{said}");
    without_fingerprints(&said)
}

/// The certificate is made by the test.
fn without_fingerprints(said: &str) -> String {
    let words = said.split_inclusive([' ', '\n', ';', ')']);
    words
        .map(|word| {
            if word.matches(':').count() > 20 {
                format!("FINGERPRINT{}", &word[95..])
            } else {
                word.to_owned()
            }
        })
        .collect()
}

fn doctor(config: &std::path::Path) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jarvis"));
    let ended = command.arg("doctor").arg("--config").arg(config).env_clear().output().unwrap();
    let said = String::from_utf8(ended.stdout).unwrap() + &String::from_utf8_lossy(&ended.stderr);
    (ended.status.code().unwrap(), said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_and_what_mends_it() {
    const STANDBY: &str = "standby = true";
    const NO_RUNBOOKS: &str =
        "[[runbook]]\nid = \"a\"\ncondition = \"NODE_UNREACHABLE\"\naction = \"nothing\"";
    #[rustfmt::skip]
    let setups = [
        Setup { name: "everything, level 3",            watch: "full", level: 3, ..USUAL },
        Setup { name: "an auditor, level 2",            watch: "auditor", ..USUAL },
        Setup { name: "an auditor, level 3",            watch: "auditor", level: 3, ..USUAL },
        Setup { name: "an observer, level 1",           level: 1, ..USUAL },
        Setup { name: "an observer on standby",         level: 3, top: STANDBY, ..USUAL },
        Setup { name: "another token acts, on some guests and nodes", act: Some("auditor,auditor+VM.PowerMgmt@/vms/101,auditor+Sys.Modify+Sys.PowerMgmt@/nodes"), level: 3, ..USUAL },
        Setup { name: "another token acts, and may nothing", act: Some("none"), level: 3, ..USUAL },
        Setup { name: "another token acts, and is not known", act: Some(""), level: 3, twist: Twist::NoSuchActor, ..USUAL },
        Setup { name: "a pool only",                    watch: "observer,observer+VM.PowerMgmt@/pool/lab", level: 2, top: NO_RUNBOOKS, ..USUAL },
        Setup { name: "a token without rights (privsep)", watch: "none", ..USUAL },
        Setup { name: "no storages, and an entry below that replaces", watch: "observer-Datastore.Audit,none@/nodes", ..USUAL },
        Setup { name: "the wrong secret",               twist: Twist::WrongSecret, ..USUAL },
        Setup { name: "another authority's certificate", twist: Twist::WrongCa, ..USUAL },
        Setup { name: "the first endpoint is down",     twist: Twist::FirstIsDown, ..USUAL },
        Setup { name: "nobody is there",                twist: Twist::AllAreDown, ..USUAL },
        Setup { name: "without quorum, a node gone",    happens: &["kill-node pve3", "quorum lost"], ..USUAL },
    ];
    // The first is told whole, of the others what is not as there.
    let mut all = String::new();
    let mut usual: Vec<String> = Vec::new();
    for setup in &setups {
        let told = said(setup);
        let new = told.lines().filter(|line| !usual.iter().any(|usual| usual == line));
        writeln!(all, "{}\n", new.collect::<Vec<_>>().join("\n")).unwrap();
        if usual.is_empty() {
            usual = told.lines().map(str::to_owned).collect();
        }
    }
    expect![[r#"
        == everything, level 3 (exit code 0)
          ok       endpoint pve1.lab  PVE 9.2.11; its certificate is of the authority in ca_file
          ok       endpoint pve2.lab  PVE 9.2.11; its certificate is of the authority in ca_file
          ok       endpoint pve3.lab  PVE 9.2.11; its certificate is of the authority in ca_file
          ok       token                     jarvis@pve!observe watches, and acts where it may
          ok       quorum                    the cluster can decide: 3 of 3 nodes online
          ok       rights to watch           everything is seen
          ok       rights to journals        why a guest died is told
          ok       rights to act on guests   VM.PowerMgmt on every guest: vm-crashed-restart, ct-crashed-restart, vm-fault-resume
          ok       rights to act on nodes    Sys.Modify on every node: service-down-restart
          ok       rights to act on nodes    Sys.PowerMgmt on every node: node-unreachable-wol
          ok       node pve1                 its clock is ours
                                             can be woken: its address is known
          note     node pve2                 its clock is ours
                                             cannot be woken when it is lost: it has no address for that
              pvenode config set --wakeonlan AA:BB:CC:DD:EE:FF      # on pve2, with the address of its card
          note     node pve3                 its clock is ours
                                             cannot be woken when it is lost: it has no address for that
              pvenode config set --wakeonlan AA:BB:CC:DD:EE:FF      # on pve3, with the address of its card
          note     guests                    5 guests
                                             never started after a crash, as neither onboot nor the tag jarvis-restart says that it is to run: qemu/103, lxc/200
                                             without the guest agent, shut down by ACPI alone: qemu/101, qemu/102, qemu/103, qemu/104
              qm set ID --onboot 1      # pct set ID for a container; or give it the tag
          ok       jarvis itself             not found among the nodes and guests by this machine's name and addresses; if it runs in one of them, say so (self)
        the indented lines are commands for root: chmod here, the others on a node of the cluster

        == an auditor, level 2 (exit code 0)
          note     rights to journals        Sys.Syslog on /nodes is missing (PVEAuditor does not hold it): a crash is told without its cause
              pveum role add JarvisJournal --privs "Sys.Syslog"
              pveum acl modify / --users jarvis@pve --roles PVEAuditor,JarvisJournal
              pveum acl modify / --tokens 'jarvis@pve!observe' --roles PVEAuditor,JarvisJournal
          note     rights to act on guests   VM.PowerMgmt on /vms is missing, so it is proposed, and PVE refuses it when somebody approves: vm-crashed-restart, ct-crashed-restart, vm-fault-resume
              pveum role add JarvisPower --privs "VM.PowerMgmt"      # start, resume; it may stop them, too
              pveum acl modify /vms --users jarvis@pve --roles PVEAuditor,JarvisPower
              pveum acl modify /vms --tokens 'jarvis@pve!observe' --roles PVEAuditor,JarvisPower
          note     rights to act on nodes    Sys.Modify on /nodes is missing, so it is proposed, and PVE refuses it when somebody approves: service-down-restart
              pveum role add JarvisService --privs "Sys.Modify"      # restart a service; it may change much more of a node
              pveum acl modify /nodes --users jarvis@pve --roles PVEAuditor,JarvisService
              pveum acl modify /nodes --tokens 'jarvis@pve!observe' --roles PVEAuditor,JarvisService
          note     rights to act on nodes    Sys.PowerMgmt on /nodes is missing, so it is proposed, and PVE refuses it when somebody approves: node-unreachable-wol
              pveum role add JarvisWake --privs "Sys.PowerMgmt"      # wake a node; it may shut one down, too
              pveum acl modify /nodes --users jarvis@pve --roles PVEAuditor,JarvisWake
              pveum acl modify /nodes --tokens 'jarvis@pve!observe' --roles PVEAuditor,JarvisWake
        an entry on a deeper path (/vms, /nodes) replaces what is inherited: name there every role that was given on /

        == an auditor, level 3 (exit code 1)
          note     rights to journals        Sys.Syslog on /nodes is missing (PVEAuditor does not hold it): a crash is told without its cause
              pveum role add JarvisJournal --privs "Sys.Syslog"
              pveum acl modify / --users jarvis@pve --roles PVEAuditor,JarvisJournal
              pveum acl modify / --tokens 'jarvis@pve!observe' --roles PVEAuditor,JarvisJournal
          MISSING  rights to act on guests   VM.PowerMgmt on /vms is missing, so PVE refuses what is done at this level: vm-crashed-restart, ct-crashed-restart, vm-fault-resume
              pveum role add JarvisPower --privs "VM.PowerMgmt"      # start, resume; it may stop them, too
              pveum acl modify /vms --users jarvis@pve --roles PVEAuditor,JarvisPower
              pveum acl modify /vms --tokens 'jarvis@pve!observe' --roles PVEAuditor,JarvisPower
          MISSING  rights to act on nodes    Sys.Modify on /nodes is missing, so PVE refuses what is done at this level: service-down-restart
              pveum role add JarvisService --privs "Sys.Modify"      # restart a service; it may change much more of a node
              pveum acl modify /nodes --users jarvis@pve --roles PVEAuditor,JarvisService
              pveum acl modify /nodes --tokens 'jarvis@pve!observe' --roles PVEAuditor,JarvisService
          MISSING  rights to act on nodes    Sys.PowerMgmt on /nodes is missing, so PVE refuses what is done at this level: node-unreachable-wol
              pveum role add JarvisWake --privs "Sys.PowerMgmt"      # wake a node; it may shut one down, too
              pveum acl modify /nodes --users jarvis@pve --roles PVEAuditor,JarvisWake
              pveum acl modify /nodes --tokens 'jarvis@pve!observe' --roles PVEAuditor,JarvisWake
        an entry on a deeper path (/vms, /nodes) replaces what is inherited: name there every role that was given on /
        jarvis: 3 things are missing; they are marked above

        == an observer, level 1 (exit code 0)
          ok       rights to act             level 1: nothing is done, so that no right is needed for it
          ok       node pve2                 its clock is ours
          ok       node pve3                 its clock is ours

        == an observer on standby (exit code 0)
          ok       rights to act             standby: nothing is done here, so that no right is needed for it
          ok       node pve2                 its clock is ours
          ok       node pve3                 its clock is ours

        == another token acts, on some guests and nodes (exit code 0)
          ok       token                     jarvis@pve!observe watches, jarvis@pve!act acts
          note     rights to act on guests   VM.PowerMgmt on 1 of 5 guests: of the others it is only told (vm-crashed-restart, ct-crashed-restart, vm-fault-resume)

        == another token acts, and may nothing (exit code 1)
          ok       token                     jarvis@pve!observe watches, jarvis@pve!act acts
          MISSING  token that acts           it does not see what it acts on: it lacks Sys.Audit on /nodes and VM.Audit on /vms
              pveum acl modify / --users jarvis@pve --roles PVEAuditor
              pveum acl modify / --tokens 'jarvis@pve!act' --roles PVEAuditor
          MISSING  rights to act on guests   VM.PowerMgmt on /vms is missing, so PVE refuses what is done at this level: vm-crashed-restart, ct-crashed-restart, vm-fault-resume
              pveum role add JarvisPower --privs "VM.PowerMgmt"      # start, resume; it may stop them, too
              pveum acl modify /vms --users jarvis@pve --roles PVEAuditor,JarvisPower
              pveum acl modify /vms --tokens 'jarvis@pve!act' --roles PVEAuditor,JarvisPower
          MISSING  rights to act on nodes    Sys.Modify on /nodes is missing, so PVE refuses what is done at this level: service-down-restart
              pveum role add JarvisService --privs "Sys.Modify"      # restart a service; it may change much more of a node
              pveum acl modify /nodes --users jarvis@pve --roles PVEAuditor,JarvisService
              pveum acl modify /nodes --tokens 'jarvis@pve!act' --roles PVEAuditor,JarvisService
          MISSING  rights to act on nodes    Sys.PowerMgmt on /nodes is missing, so PVE refuses what is done at this level: node-unreachable-wol
              pveum role add JarvisWake --privs "Sys.PowerMgmt"      # wake a node; it may shut one down, too
              pveum acl modify /nodes --users jarvis@pve --roles PVEAuditor,JarvisWake
              pveum acl modify /nodes --tokens 'jarvis@pve!act' --roles PVEAuditor,JarvisWake
        an entry on a deeper path (/vms, /nodes) replaces what is inherited: name there every role that was given on /
        jarvis: 4 things are missing; they are marked above

        == another token acts, and is not known (exit code 1)
          ok       token                     jarvis@pve!observe watches, jarvis@pve!act acts
          MISSING  token that acts           GET /access/permissions at pve1.lab was refused with 401: Authentication failed!; check that the token exists, is enabled and has not expired, and that its secret is the right one
              pveum user token list jarvis@pve      # is act there, and not expired?
              pveum user token remove jarvis@pve act && pveum user token add jarvis@pve act --privsep 1      # shows a new secret once; its rights have to be given anew
        jarvis: one thing is missing; it is marked above

        == a pool only (exit code 0)
          note     rights to act on guests   VM.PowerMgmt on 1 of 5 guests: of the others it is only told (vm-crashed-restart, ct-crashed-restart, vm-fault-resume)
          note     rights to act on nodes    Sys.Modify on /nodes is missing, so it is proposed, and PVE refuses it when somebody approves: service-down-restart
              pveum role add JarvisService --privs "Sys.Modify"      # restart a service; it may change much more of a node
              pveum acl modify /nodes --users jarvis@pve --roles PVEAuditor,JarvisService
              pveum acl modify /nodes --tokens 'jarvis@pve!observe' --roles PVEAuditor,JarvisService
          note     rights to act on nodes    Sys.PowerMgmt on /nodes is missing, so it is proposed, and PVE refuses it when somebody approves: node-unreachable-wol
              pveum role add JarvisWake --privs "Sys.PowerMgmt"      # wake a node; it may shut one down, too
              pveum acl modify /nodes --users jarvis@pve --roles PVEAuditor,JarvisWake
              pveum acl modify /nodes --tokens 'jarvis@pve!observe' --roles PVEAuditor,JarvisWake
        an entry on a deeper path (/vms, /nodes) replaces what is inherited: name there every role that was given on /

        == a token without rights (privsep) (exit code 1)
          note     quorum                    not seen by this token
          MISSING  rights to watch           it has none at all: either its user has none, or the token was not given any (privsep)
                                             Sys.Audit on / is missing, so quorum is not seen
                                             Sys.Audit on /nodes is missing, so nodes have no numbers, and a stop's cause stays unknown
                                             VM.Audit on /vms is missing, so guests are not seen, or only those of its pools
                                             Datastore.Audit on /storage is missing, so storages are not seen, or only some
              pveum acl modify / --users jarvis@pve --roles PVEAuditor
              pveum acl modify / --tokens 'jarvis@pve!observe' --roles PVEAuditor
          note     rights to journals        Sys.Syslog on /nodes is missing (PVEAuditor does not hold it): a crash is told without its cause
              pveum role add JarvisJournal --privs "Sys.Syslog"
              pveum acl modify / --users jarvis@pve --roles PVEAuditor,JarvisJournal
              pveum acl modify / --tokens 'jarvis@pve!observe' --roles PVEAuditor,JarvisJournal
          note     rights to act on guests   VM.PowerMgmt on /vms is missing, so it is proposed, and PVE refuses it when somebody approves: vm-crashed-restart, ct-crashed-restart, vm-fault-resume
              pveum role add JarvisPower --privs "VM.PowerMgmt"      # start, resume; it may stop them, too
              pveum acl modify /vms --users jarvis@pve --roles PVEAuditor,JarvisPower
              pveum acl modify /vms --tokens 'jarvis@pve!observe' --roles PVEAuditor,JarvisPower
          note     rights to act on nodes    Sys.Modify on /nodes is missing, so it is proposed, and PVE refuses it when somebody approves: service-down-restart
              pveum role add JarvisService --privs "Sys.Modify"      # restart a service; it may change much more of a node
              pveum acl modify /nodes --users jarvis@pve --roles PVEAuditor,JarvisService
              pveum acl modify /nodes --tokens 'jarvis@pve!observe' --roles PVEAuditor,JarvisService
          note     rights to act on nodes    Sys.PowerMgmt on /nodes is missing, so it is proposed, and PVE refuses it when somebody approves: node-unreachable-wol
              pveum role add JarvisWake --privs "Sys.PowerMgmt"      # wake a node; it may shut one down, too
              pveum acl modify /nodes --users jarvis@pve --roles PVEAuditor,JarvisWake
              pveum acl modify /nodes --tokens 'jarvis@pve!observe' --roles PVEAuditor,JarvisWake
          note     node pve1                 not seen by this token
          note     node pve2                 not seen by this token
          note     node pve3                 not seen by this token
        an entry on a deeper path (/vms, /nodes) replaces what is inherited: name there every role that was given on /
        jarvis: one thing is missing; it is marked above

        == no storages, and an entry below that replaces (exit code 1)
          MISSING  rights to watch           Datastore.Audit on /storage is missing, so storages are not seen, or only some
              pveum acl modify / --users jarvis@pve --roles PVEAuditor
              pveum acl modify / --tokens 'jarvis@pve!observe' --roles PVEAuditor
          note     rights to act on guests   VM.PowerMgmt on /vms is missing, so it is proposed, and PVE refuses it when somebody approves: vm-crashed-restart, ct-crashed-restart, vm-fault-resume
              pveum role add JarvisPower --privs "VM.PowerMgmt"      # start, resume; it may stop them, too
              pveum acl modify /vms --users jarvis@pve --roles PVEAuditor,JarvisPower
              pveum acl modify /vms --tokens 'jarvis@pve!observe' --roles PVEAuditor,JarvisPower
          note     rights to act on nodes    Sys.Modify on /nodes is missing, so it is proposed, and PVE refuses it when somebody approves: service-down-restart
              pveum role add JarvisService --privs "Sys.Modify"      # restart a service; it may change much more of a node
              pveum acl modify /nodes --users jarvis@pve --roles PVEAuditor,JarvisService
              pveum acl modify /nodes --tokens 'jarvis@pve!observe' --roles PVEAuditor,JarvisService
          note     rights to act on nodes    Sys.PowerMgmt on /nodes is missing, so it is proposed, and PVE refuses it when somebody approves: node-unreachable-wol
              pveum role add JarvisWake --privs "Sys.PowerMgmt"      # wake a node; it may shut one down, too
              pveum acl modify /nodes --users jarvis@pve --roles PVEAuditor,JarvisWake
              pveum acl modify /nodes --tokens 'jarvis@pve!observe' --roles PVEAuditor,JarvisWake
          MISSING  node pve1                 not seen by this token: an entry on /nodes/pve1 or /nodes takes away Sys.Audit, which it has on /
              pveum acl modify /nodes/pve1 --users jarvis@pve --roles PVEAuditor
              pveum acl modify /nodes/pve1 --tokens 'jarvis@pve!observe' --roles PVEAuditor
          MISSING  node pve2                 not seen by this token: an entry on /nodes/pve2 or /nodes takes away Sys.Audit, which it has on /
              pveum acl modify /nodes/pve2 --users jarvis@pve --roles PVEAuditor
              pveum acl modify /nodes/pve2 --tokens 'jarvis@pve!observe' --roles PVEAuditor
          MISSING  node pve3                 not seen by this token: an entry on /nodes/pve3 or /nodes takes away Sys.Audit, which it has on /
              pveum acl modify /nodes/pve3 --users jarvis@pve --roles PVEAuditor
              pveum acl modify /nodes/pve3 --tokens 'jarvis@pve!observe' --roles PVEAuditor
        an entry on a deeper path (/vms, /nodes) replaces what is inherited: name there every role that was given on /
        jarvis: 4 things are missing; they are marked above

        == the wrong secret (exit code 1)
          ok       endpoint pve1.lab  answers; its certificate is of the authority in ca_file
          note     endpoint pve2.lab  not asked with a token that was refused
          note     endpoint pve3.lab  not asked with a token that was refused
          MISSING  token                     GET /version at pve1.lab was refused with 401: Authentication failed!; check that the token exists, is enabled and has not expired, and that its secret is the right one
              pveum user token list jarvis@pve      # is observe there, and not expired?
              pveum user token remove jarvis@pve observe && pveum user token add jarvis@pve observe --privsep 1      # shows a new secret once; its rights have to be given anew
        jarvis: one thing is missing; it is marked above

        == another authority's certificate (exit code 1)
          MISSING  endpoint pve1.lab  GET /version at pve1.lab was not sent, because the server is not trusted: none of the trusted CAs vouches for its certificate; PVE's own is vouched for by the cluster's /etc/pve/pve-root-ca.pem (ca_file); it presented FINGERPRINT
              cat /etc/pve/pve-root-ca.pem      # the cluster's own CA, for ca_file
          MISSING  endpoint pve2.lab  GET /version at pve2.lab was not sent, because the server is not trusted: none of the trusted CAs vouches for its certificate; PVE's own is vouched for by the cluster's /etc/pve/pve-root-ca.pem (ca_file); it presented FINGERPRINT
              cat /etc/pve/pve-root-ca.pem      # the cluster's own CA, for ca_file
          MISSING  endpoint pve3.lab  GET /version at pve3.lab was not sent, because the server is not trusted: none of the trusted CAs vouches for its certificate; PVE's own is vouched for by the cluster's /etc/pve/pve-root-ca.pem (ca_file); it presented FINGERPRINT
              cat /etc/pve/pve-root-ca.pem      # the cluster's own CA, for ca_file
        jarvis: 3 things are missing; they are marked above

        == the first endpoint is down (exit code 1)
          MISSING  endpoint nobody.lab      GET /version at nobody.lab failed while connecting: the connection was refused; is pveproxy running there?
          note     rights to act on guests   VM.PowerMgmt on /vms is missing, so it is proposed, and PVE refuses it when somebody approves: vm-crashed-restart, ct-crashed-restart, vm-fault-resume
              pveum role add JarvisPower --privs "VM.PowerMgmt"      # start, resume; it may stop them, too
              pveum acl modify /vms --users jarvis@pve --roles PVEAuditor,JarvisPower
              pveum acl modify /vms --tokens 'jarvis@pve!observe' --roles PVEAuditor,JarvisPower
          note     rights to act on nodes    Sys.Modify on /nodes is missing, so it is proposed, and PVE refuses it when somebody approves: service-down-restart
              pveum role add JarvisService --privs "Sys.Modify"      # restart a service; it may change much more of a node
              pveum acl modify /nodes --users jarvis@pve --roles PVEAuditor,JarvisService
              pveum acl modify /nodes --tokens 'jarvis@pve!observe' --roles PVEAuditor,JarvisService
          note     rights to act on nodes    Sys.PowerMgmt on /nodes is missing, so it is proposed, and PVE refuses it when somebody approves: node-unreachable-wol
              pveum role add JarvisWake --privs "Sys.PowerMgmt"      # wake a node; it may shut one down, too
              pveum acl modify /nodes --users jarvis@pve --roles PVEAuditor,JarvisWake
              pveum acl modify /nodes --tokens 'jarvis@pve!observe' --roles PVEAuditor,JarvisWake
        an entry on a deeper path (/vms, /nodes) replaces what is inherited: name there every role that was given on /
        jarvis: one thing is missing; it is marked above

        == nobody is there (exit code 1)
          MISSING  endpoint nobody.lab  GET /version at nobody.lab failed while connecting: the connection was refused; is pveproxy running there?
        jarvis: one thing is missing; it is marked above

        == without quorum, a node gone (exit code 1)
          MISSING  endpoint pve3.lab  GET /version at pve3.lab failed while connecting: the connection was refused; is pveproxy running there?
          MISSING  quorum                    the cluster cannot decide, and nothing is done until it can: 1 of 3 nodes online
          note     rights to act on guests   VM.PowerMgmt on /vms is missing, so it is proposed, and PVE refuses it when somebody approves: vm-crashed-restart, ct-crashed-restart, vm-fault-resume
              pveum role add JarvisPower --privs "VM.PowerMgmt"      # start, resume; it may stop them, too
              pveum acl modify /vms --users jarvis@pve --roles PVEAuditor,JarvisPower
              pveum acl modify /vms --tokens 'jarvis@pve!observe' --roles PVEAuditor,JarvisPower
          note     rights to act on nodes    Sys.Modify on /nodes is missing, so it is proposed, and PVE refuses it when somebody approves: service-down-restart
              pveum role add JarvisService --privs "Sys.Modify"      # restart a service; it may change much more of a node
              pveum acl modify /nodes --users jarvis@pve --roles PVEAuditor,JarvisService
              pveum acl modify /nodes --tokens 'jarvis@pve!observe' --roles PVEAuditor,JarvisService
          note     rights to act on nodes    Sys.PowerMgmt on /nodes is missing, so it is proposed, and PVE refuses it when somebody approves: node-unreachable-wol
              pveum role add JarvisWake --privs "Sys.PowerMgmt"      # wake a node; it may shut one down, too
              pveum acl modify /nodes --users jarvis@pve --roles PVEAuditor,JarvisWake
              pveum acl modify /nodes --tokens 'jarvis@pve!observe' --roles PVEAuditor,JarvisWake
          note     node pve2                 offline; it is not asked
          note     node pve3                 offline; it is not asked
                                             without the guest agent, shut down by ACPI alone: qemu/101
                                             whose configuration could not be read: qemu/102, qemu/103, qemu/104, lxc/200
        an entry on a deeper path (/vms, /nodes) replaces what is inherited: name there every role that was given on /
        jarvis: 2 things are missing; they are marked above

    "#]].assert_eq(&all);
}

#[tokio::test]
async fn the_store_beside_its_daemon_without_it_and_in_trouble() {
    let folder = Folder::new();
    let secret = folder.write("secret", SECRET);
    let store = folder.0.join("data/jarvis.db");
    let config = folder.write(
        "jarvis.toml",
        &format!(
            "[store]\npath = {store:?}\n[[cluster]]\nname = \"lab\"\nendpoints = [\"https://127.0.0.1:1\"]\n\
             token_id = {WATCH:?}\ntoken_secret_file = {secret:?}\nfingerprint = \"{}\"\n",
            "AA:".repeat(31) + "AA"
        ),
    );
    let mut all = String::new();
    let mut look = |name: &str| {
        let (_, said) = doctor(&config);
        let said =
            said.split_once("cluster lab\n").unwrap().0.replace(&folder.0.display().to_string(), "DIR");
        let said = said.replace(&std::process::id().to_string(), "OURS");
        let said =
            (1..100).rev().fold(said, |said, schema| said.replace(&format!("schema {schema},"), "schema N,"));
        // How much room there is differs from machine to machine.
        let lines = said.lines().filter(|line| !line.contains(" MiB "));
        writeln!(all, "== {name}\n{}\n", lines.collect::<Vec<_>>().join("\n")).unwrap();
    };
    look("before the first start");
    assert!(!folder.0.join("data").exists(), "it makes nothing");
    let opened = Store::open(&store).await.unwrap();
    look("beside a daemon");
    let by = daemon::record::Operator { name: "alice".into(), via: "command line".into() };
    let (setting, now) = (daemon::record::Setting::KillSwitch(true), jiff::Timestamp::now());
    opened.set_by_operator(setting, &by, now).await.unwrap();
    assert!(opened.close().await);
    look("after it");
    for (file, mode) in [("jarvis.db", 0o644), ("jarvis.key", 0o640)] {
        fs::set_permissions(folder.0.join("data").join(file), fs::Permissions::from_mode(mode)).unwrap();
    }
    look("open to others");
    fs::remove_file(folder.0.join("data/jarvis.key")).unwrap();
    fs::remove_file(folder.0.join("data/jarvis.db.head")).unwrap();
    look("key and head lost");
    fs::write(&store, "remember the milk, and more than that\n".repeat(100)).unwrap();
    look("no database");
    expect![[r#"
        == before the first start
        store
          ok       database        DIR/data/jarvis.db is made at the first start
          ok       key             DIR/data/jarvis.key is made at the first start
          ok       journal's head  DIR/data/jarvis.db.head is made at the first start

        == beside a daemon
        store
          ok       database        DIR/data/jarvis.db can be read: schema N, journal at row 0
                                   in use by process OURS
          ok       key             DIR/data/jarvis.key has mode 0600
          ok       journal's head  DIR/data/jarvis.db.head has mode 0600

        == after it
        store
          ok       database        DIR/data/jarvis.db can be read: schema N, journal at row 1
                                   no daemon has it open
          ok       key             DIR/data/jarvis.key has mode 0600
          ok       journal's head  DIR/data/jarvis.db.head has mode 0600

        == open to others
        store
          note     database        DIR/data/jarvis.db can be read: schema N, journal at row 1
                                   no daemon has it open
                                   others may read it
              chmod 600 'DIR/data/jarvis.db'
          MISSING  key             DIR/data/jarvis.key has mode 0640: others may have read it
              chmod 600 'DIR/data/jarvis.key'
          ok       journal's head  DIR/data/jarvis.db.head has mode 0600

        == key and head lost
        store
          note     database        DIR/data/jarvis.db can be read: schema N, journal at row 1
                                   no daemon has it open
                                   others may read it
              chmod 600 'DIR/data/jarvis.db'
          MISSING  key             DIR/data/jarvis.key is not there; put back the one of the same backup: the journal was signed with it
          MISSING  journal's head  DIR/data/jarvis.db.head is not there; was it left out of a backup? without it a cut journal does not show

        == no database
        store
          MISSING  database        DIR/data/jarvis.db cannot be read: (code: 26) file is not a database
          ok       key             DIR/data/jarvis.key is made at the first start
          ok       journal's head  DIR/data/jarvis.db.head is made at the first start

    "#]].assert_eq(&all);
}
