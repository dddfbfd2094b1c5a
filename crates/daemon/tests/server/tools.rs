//! What an operator does by hand, against the simulated cluster: every refusal before a call, one call and its
//! outcome, and what becomes of an act whose answer is lost.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use daemon::act::{Act, Hands, Verb};
use daemon::clock::Clock;
use daemon::daemon::clients;
use daemon::report::Limits;
use daemon::report::auth::Password;
use daemon::report::caller::Role;
use daemon::report::live::Given;
use daemon::report::page::{GuestMarks, GuestRow, NodeRow};
use engine::observe::{GuestId, GuestKind, GuestStatus, Presence};
use engine::policy::Policy;
use serde_json::Value;
use sim::http::{Options, Server as Simulated};
use sim::script::Script;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::harness::{Fixture, Folder, PASSWORD, edge, lab};
use super::{at, cli};

const LAB: &str = "
    nodes pve1 pve2 pve3
    guest qemu/101 web01 on pve1 running
    guest qemu/104 idle on pve1
    guest qemu/105 locked on pve1 lock=backup
    guest qemu/106 managed on pve2 ha=stopped
    guest qemu/107 deaf on pve1 running deaf
    guest lxc/200 dns on pve1 running
    at 1:00:00 end";

/// A server with hands in a simulated cluster, and its picture.
pub(crate) struct Acting {
    pub(crate) fixture: Fixture,
    pub(crate) cluster: Simulated,
}

impl Acting {
    pub(crate) async fn new() -> Acting {
        Acting::with("full").await
    }

    /// With a token of these rights.
    async fn with(rights: &str) -> Acting {
        Acting::within(rights, Limits::default(), 20.0).await
    }

    /// With other limits, in a cluster that is so many times faster than the world.
    pub(crate) async fn within(rights: &str, limits: Limits, speed: f64) -> Acting {
        Acting::on(cluster(rights, speed), Folder::new(), limits).await
    }

    /// In a folder that may have been one's before.
    pub(crate) async fn on(cluster: Simulated, folder: Folder, limits: Limits) -> Acting {
        let password = Some(Password::new(PASSWORD));
        let hands = vec![(lab(), hands(&cluster))];
        let fixture = Fixture::acting(folder, limits, password, hands).await;
        fixture.live.saw(&lab(), Instant::now());
        publish(&fixture);
        Acting { fixture, cluster }
    }

    pub(crate) async fn execute(&self, tool: &str, args: &str) -> String {
        self.fixture.set("POST /api/tools/execute", &format!(r#"{{"tool":"{tool}","args":{args}}}"#)).await
    }

    /// Calls of this method that reached the cluster.
    pub(crate) fn calls(&self, method: &str) -> u64 {
        let counts = serde_json::to_value(self.cluster.counts()).unwrap();
        let calls = counts["calls"].as_object().cloned().unwrap_or_default();
        let of = |(name, count): (&String, &Value)| {
            name.starts_with(method).then(|| count["count"].as_u64().unwrap_or(0))
        };
        calls.iter().filter_map(of).sum()
    }

    fn runs(&self, vmid: u32) -> bool {
        let id = GuestId { kind: GuestKind::Qemu, vmid };
        self.cluster.with_cluster(|cluster| cluster.guests()[&id].process.is_some()).unwrap()
    }

    pub(crate) async fn stop(self) {
        self.fixture.stop().await;
        self.cluster.shutdown().await;
    }
}

/// The cluster, with a token of these rights.
pub(crate) fn cluster(rights: &str, speed: f64) -> Simulated {
    let mut options = Options::script(&Script::parse(LAB).unwrap()).unwrap();
    options.tokens = vec![format!("op@pve!act=s:{rights}").parse().unwrap()];
    options.speed = speed;
    let cluster = Simulated::start(options).unwrap();
    cluster.change_cluster(|cluster| {
        let name = "pve3".parse().unwrap();
        cluster.set_mac(&name, "AA:BB:CC:DD:EE:03".parse().unwrap()).unwrap();
        cluster.kill_node(&name).unwrap();
    });
    cluster
}

/// What acts there.
pub(crate) fn hands(cluster: &Simulated) -> Hands {
    // The node that is to be woken comes first: it cannot be asked, and must not be asked to wake itself.
    let trust = pve::Trust::Ca(cluster.ca_pem().as_bytes().into());
    let endpoints = cluster.endpoints().into_iter().rev();
    let endpoints = endpoints.map(|url| pve::Endpoint::new(&url, trust.clone()).unwrap()).collect();
    let token = pve::Token::new("op@pve!act", pve::Secret::new("s")).unwrap();
    Hands::new(clients(endpoints, token, &Clock::wall()).unwrap(), false)
}

pub(crate) fn publish(fixture: &Fixture) {
    let guest = |kind, vmid, name: &str, node: &str, status: &str| GuestRow {
        id: GuestId { kind, vmid },
        name: Some(name.into()),
        status: GuestStatus::from_pve(status),
        node: node.parse().unwrap(),
        cpu: 0.0,
        maxcpu: 1.0,
        mem: 0,
        maxmem: 0,
        disk: 0,
        maxdisk: 0,
        netin: 0,
        netout: 0,
        uptime: 0,
        marks: GuestMarks::default(),
    };
    use GuestKind::{Lxc, Qemu};
    let guests = vec![
        guest(Qemu, 101, "web01", "pve1", "running"),
        guest(Qemu, 104, "idle", "pve1", "stopped"),
        guest(Qemu, 105, "locked", "pve1", "stopped"),
        guest(Qemu, 106, "managed", "pve2", "stopped"),
        guest(Qemu, 107, "deaf", "pve1", "running"),
        guest(Lxc, 200, "dns", "pve1", "running"),
        // What the picture shows and the cluster does not have any more.
        guest(Qemu, 999, "gone", "pve1", "stopped"),
    ];
    fixture.page.publish_guests(guests, at(0));
    let node = |name: &str, status| NodeRow {
        node: name.parse().unwrap(),
        host: name.into(),
        status,
        cpu: 0.0,
        maxcpu: 1.0,
        mem: 0,
        maxmem: 0,
        disk: 0,
        maxdisk: 0,
        uptime: 0,
        temperatures: Default::default(),
        ha: None,
    };
    let nodes = [("pve1", Presence::Online), ("pve2", Presence::Online), ("pve3", Presence::Offline)];
    fixture.page.publish_nodes(nodes.map(|(name, status)| node(name, status)).into(), at(0));
}

#[tokio::test]
async fn the_tools_and_their_tiers() {
    let acting = Acting::new().await;
    let list = acting.fixture.get("/api/tools", &acting.fixture.token()).await.shown();
    let expected = concat!(
        r#"200 {"tools":["#,
        r#"{"name":"start_vm","tier":"yellow"},{"name":"stop_vm","tier":"red"},{"name":"restart_vm","tier":"red"},"#,
        r#"{"name":"start_container","tier":"yellow"},{"name":"stop_container","tier":"red"},"#,
        r#"{"name":"restart_container","tier":"red"},{"name":"wake_node","tier":"yellow"},"#,
        r#"{"name":"restart_service","tier":"red"}]}"#
    );
    assert_eq!(list, expected);
    acting.stop().await;
}

#[tokio::test]
async fn what_is_refused_never_reaches_the_cluster() {
    let acting = Acting::new().await;
    let no = |status: u16, error: &str| format!(r#"{status} {{"error":"{error}","success":false}}"#);
    let blocked = |tier: &str, error: &str| {
        format!(r#"403 {{"blocked":true,"error":"{error}","success":false,"tier":"{tier}"}}"#)
    };
    let own = Policy { own: vec!["qemu/107".parse().unwrap()], ..Policy::default() };
    acting.fixture.live.set_policy(&lab(), Given { policy: own, standby: false });
    let ours = "Jarvis runs in VM deaf (107): stopped from here, nobody would tell what came of it; PVE itself does it";
    let never = |service: &str| {
        blocked("black", &format!("{service} is never restarted from here: it may cost the node its cluster"))
    };
    #[rustfmt::skip]
    let table = [
        ("an unknown tool", "format_disk", r#"{"node":"pve1"}"#, no(404, "There is no such tool; there are start_vm, stop_vm, restart_vm, start_container, stop_container, restart_container, wake_node, restart_service")),
        ("no node", "start_vm", r#"{"vmid":104}"#, no(400, "node must be the name of a node")),
        ("a node as a path", "start_vm", r#"{"node":"../x","vmid":104}"#, no(400, "node must be the name of a node")),
        ("no number", "start_vm", r#"{"node":"pve1"}"#, no(400, "vmid must be the number of a guest")),
        ("a number in words", "start_vm", r#"{"node":"pve1","vmid":"web01"}"#, no(400, "vmid must be the number of a guest")),
        ("zero", "start_vm", r#"{"node":"pve1","vmid":0}"#, no(400, "vmid must be the number of a guest")),
        ("no such guest", "start_vm", r#"{"node":"pve1","vmid":98}"#, no(400, "there is no VM 98")),
        ("a container as a machine", "start_vm", r#"{"node":"pve1","vmid":200}"#, no(400, "200 is a container, not a VM")),
        ("a machine as a container", "start_container", r#"{"node":"pve1","vmid":104}"#, no(400, "104 is a VM, not a container")),
        ("on another node", "start_vm", r#"{"node":"pve2","vmid":104}"#, no(400, "VM 104 is on pve1, not on pve2")),
        ("a service of a guest", "start_vm", r#"{"node":"pve1","vmid":104,"service":"cron"}"#, no(400, "service is not for start_vm")),
        ("not confirmed", "stop_vm", r#"{"node":"pve1","vmid":101}"#, blocked("red", r#"stop_vm needs \"confirmed\": true"#)),
        ("not confirmed at all", "restart_vm", r#"{"node":"pve1","vmid":101,"confirmed":false}"#, blocked("red", r#"restart_vm needs \"confirmed\": true"#)),
        ("confirmed in words", "stop_vm", r#"{"node":"pve1","vmid":101,"confirmed":"yes"}"#, no(400, "confirmed must be true or false")),
        ("a graceful start", "start_vm", r#"{"node":"pve1","vmid":104,"graceful":true}"#, no(400, "graceful is for stop_vm and stop_container")),
        ("a service not confirmed", "restart_service", r#"{"node":"pve1","service":"pvestatd"}"#, blocked("red", r#"restart_service needs \"confirmed\": true"#)),
        ("what Jarvis runs in", "stop_vm", r#"{"node":"pve1","vmid":107,"confirmed":true}"#, blocked("black", ours)),
        ("the same, not confirmed", "stop_vm", r#"{"node":"pve1","vmid":107}"#, blocked("black", ours)),
        ("asked to shut down", "stop_vm", r#"{"node":"pve1","vmid":107,"confirmed":true,"graceful":true}"#, blocked("black", ours)),
        ("rebooted", "restart_vm", r#"{"node":"pve1","vmid":107,"confirmed":true}"#, blocked("black", ours)),
        ("corosync", "restart_service", r#"{"node":"pve1","service":"corosync","confirmed":true}"#, never("corosync")),
        ("the cluster's files", "restart_service", r#"{"node":"pve1","service":"pve-cluster","confirmed":true}"#, never("pve-cluster")),
        ("HA", "restart_service", r#"{"node":"pve1","service":"pve-ha-lrm","confirmed":true}"#, never("pve-ha-lrm")),
        ("HA by its long name", "restart_service", r#"{"node":"pve1","service":"pve-ha-crm.service","confirmed":true}"#, never("pve-ha-crm")),
        ("the watchdog", "restart_service", r#"{"node":"pve1","service":"watchdog-mux","confirmed":true}"#, never("watchdog-mux")),
        ("another watchdog", "restart_service", r#"{"node":"pve1","service":"watchdog","confirmed":true}"#, never("watchdog")),
        ("corosync, twice its suffix", "restart_service", r#"{"node":"pve1","service":"corosync.service.service","confirmed":true}"#, never("corosync")),
        ("HA, three times its suffix", "restart_service", r#"{"node":"pve1","service":"pve-ha-lrm.service.service.service","confirmed":true}"#, never("pve-ha-lrm")),
        ("nothing but suffixes", "restart_service", r#"{"node":"pve1","service":".service.service","confirmed":true}"#, no(400, "service must be the name of a service")),
        ("a dot", "restart_service", r#"{"node":"pve1","service":".","confirmed":true}"#, no(400, "service must be the name of a service")),
        ("two dots", "restart_service", r#"{"node":"pve1","service":"..","confirmed":true}"#, no(400, "service must be the name of a service")),
        ("a dot at its end", "restart_service", r#"{"node":"pve1","service":"corosync.","confirmed":true}"#, no(400, "service must be the name of a service")),
        ("an option", "restart_service", r#"{"node":"pve1","service":"-corosync","confirmed":true}"#, no(400, "service must be the name of a service")),
        ("a unit's instance", "restart_service", r#"{"node":"pve1","service":"corosync@1","confirmed":true}"#, no(400, "service must be the name of a service")),
        ("a service as a path", "restart_service", r#"{"node":"pve1","service":"../x","confirmed":true}"#, no(400, "service must be the name of a service")),
        ("capitals", "restart_service", r#"{"node":"pve1","service":"Corosync","confirmed":true}"#, no(400, "service must be the name of a service")),
        ("a node that is off", "restart_service", r#"{"node":"pve3","service":"cron","confirmed":true}"#, no(400, "node pve3 is offline")),
        ("a node that is on", "wake_node", r#"{"node":"pve1"}"#, no(400, "node pve1 is online")),
        ("no such node", "wake_node", r#"{"node":"pve9"}"#, no(400, "there is no node pve9")),
        ("another cluster", "wake_node", r#"{"node":"pve3","cluster":"edge"}"#, no(400, "no cluster `edge` is watched: there is lab")),
        ("a cluster that is no text", "wake_node", r#"{"node":"pve3","cluster":7}"#, no(400, "cluster must be the name of one: there is lab")),
    ];
    for (name, tool, args, expected) in table {
        assert_eq!(acting.execute(tool, args).await, expected, "{name}");
    }
    let shape = r#"400 {"error":"The body must be JSON: {\"tool\": NAME, \"args\": {\"node\", \"vmid\" or \"service\", \"cluster\" where there are several, and \"confirmed\": true where it is needed}}","success":false}"#;
    for body in ["", "[]", r#"{"tool":"start_vm","args":{"node":"pve1","vmid":104,"force":true}}"#] {
        assert_eq!(acting.fixture.set("POST /api/tools/execute", body).await, shape, "{body}");
    }
    let misplaced = [
        ("confirmed", r#"{"tool":"stop_vm","args":{"node":"pve1","vmid":101},"confirmed":true}"#),
        ("node", r#"{"tool":"start_vm","node":"pve1","vmid":104}"#),
    ];
    for (name, body) in misplaced {
        let answer = acting.fixture.set("POST /api/tools/execute", body).await;
        let expected = format!(r#"400 {{"error":"{name} belongs into args: {{"#);
        assert!(answer.starts_with(&expected), "{answer}");
    }
    acting.fixture.live.blind(&lab());
    let blind = no(400, "the cluster lab is not seen at the moment: what is there is not known");
    assert_eq!(acting.execute("start_vm", r#"{"node":"pve1","vmid":104}"#).await, blind);
    assert_eq!(acting.calls("POST") + acting.calls("GET"), 0, "nothing was asked of the cluster");
    assert_eq!(acting.fixture.operated(), Vec::<String>::new());
    acting.stop().await;
}

#[tokio::test]
async fn at_a_terminal() {
    let acting = Acting::new().await;
    let config = cli::config(&acting.fixture);
    let wants = "jarvis: nothing was done: stop web01 (qemu/101) on pve1 in lab wants --yes\n";
    #[rustfmt::skip]
    let table = [
        ("not confirmed",      "guest stop web01",          1, "", wants),
        ("no such guest",      "guest start 98",            1, "", "jarvis: no guest that is seen is `98`\n"),
        ("no such cluster",    "guest start 104 --cluster x", 1, "", "jarvis: refused: "),
        ("started",            "guest start idle",          0, "VM idle (104): ", ""),
        ("stopped",            "guest stop qemu/101 --yes", 0, "VM web01 (101): ", ""),
        ("asked to shut down", "guest shutdown 200 --yes",  0, "container dns (200): ", ""),
        ("it cannot be",       "guest start qemu/105",      1, "", "jarvis: refused: VM locked (105): "),
        ("for a script",       "guest start 104 --json",    1, "", "jarvis: refused: "),
    ];
    for (name, words, code, out, err) in table {
        let (exit, stdout, stderr) = cli::ask(&config, words, &[]).await;
        assert_eq!(exit, code, "{name}: {stdout}{stderr}");
        assert!(stdout.starts_with(out) && stderr.starts_with(err), "{name}: {stdout}{stderr}");
    }
    assert!(acting.runs(104) && !acting.runs(101));
    let operated = acting.fixture.operated();
    assert!(operated.iter().all(|row| row.contains("(command line) ")), "{operated:?}");
    acting.stop().await;
}

/// What is asked once more comes after all that takes long, and its no is the last word.
#[tokio::test]
async fn what_is_not_allowed_any_more_is_not_sent() {
    let acting = Acting::new().await;
    let (hands, asked) = (hands(&acting.cluster), AtomicUsize::new(0));
    let acts = [
        Act::Guest { node: "pve1".parse().unwrap(), guest: "qemu/104".parse().unwrap(), verb: Verb::Start },
        Act::RestartService { node: "pve1".parse().unwrap(), service: "cron".into() },
        Act::Wake { node: "pve3".parse().unwrap(), mac: None },
    ];
    for (before, act) in acts.iter().enumerate() {
        let allowed = || {
            asked.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Err("somebody has just stopped it"))
        };
        let refused = hands.begin_if(act, allowed).await;
        assert_eq!(refused.err(), Some("somebody has just stopped it"), "{act:?}");
        assert_eq!((asked.load(Ordering::Relaxed), acting.calls("POST")), (before + 1, 0), "{act:?}");
    }
    assert!(acting.calls("GET") > 0, "its tasks were looked at before");
    acting.stop().await;
}

/// The other cluster may have the same node and the same number: a guess would stop somebody else's guest.
#[tokio::test]
async fn with_several_clusters_an_act_names_its_own() {
    let cluster = cluster("full", 20.0);
    let (password, hands) = (Some(Password::new(PASSWORD)), vec![(lab(), hands(&cluster))]);
    let clusters = vec![lab(), edge()];
    let fixture = Fixture::acting_in(Folder::new(), Limits::default(), password, hands, clusters).await;
    fixture.live.saw(&lab(), Instant::now());
    publish(&fixture);
    fixture.user("local", Role::Operator, Some(&[edge()])).await;
    let acting = Acting { fixture, cluster };
    let (admin, local) = (acting.fixture.token(), acting.fixture.token_of("local").await);
    let no = |error: &str| format!(r#"400 {{"error":"{error}","success":false}}"#);
    let stop = r#"{"tool":"stop_vm","args":{"node":"pve1","vmid":101,"confirmed":true"#;
    let start = r#"{"tool":"start_vm","args":{"node":"pve1","vmid":104"#;
    #[rustfmt::skip]
    let table = [
        ("a stop of no cluster's",      &admin, stop,  "",                    no("cluster must be named in args: there are lab, edge")),
        ("a start, too",                &admin, start, r#","cluster":null"#,  no("cluster must be named in args: there are lab, edge")),
        ("who may see one",             &local, stop,  "",                    no("cluster must be named in args: there is edge")),
        ("one that is not watched",     &admin, stop,  r#","cluster":"moon""#, no("no cluster `moon` is watched: there are lab, edge")),
        ("one that is not the caller's", &local, stop, r#","cluster":"lab""#, no("no cluster `lab` is watched: there is edge")),
        ("another than the first",      &admin, stop,  r#","cluster":"edge""#, no("the cluster has not been seen yet: try again in some seconds")),
    ];
    for (name, token, wish, cluster, expected) in table {
        let body = format!("{wish}{cluster}}}}}");
        let answer = acting.fixture.ask("POST /api/tools/execute", token, &body).await.shown();
        assert_eq!(answer, expected, "{name}");
    }
    assert_eq!(acting.calls("POST") + acting.calls("GET"), 0, "nothing was asked of the cluster");
    let body = format!(r#"{start},"cluster":"lab"}}}}"#);
    let answer = acting.fixture.ask("POST /api/tools/execute", &admin, &body).await.shown();
    assert!(answer.starts_with("200 "), "{answer}");
    acting.stop().await;
}

/// What an act answers with its task's id, the pids and times of which differ, replaced by `UPID:KIND`.
pub(crate) fn without_upids(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(from) = rest.find("UPID:") {
        let parts: Vec<&str> = rest[from..].splitn(9, ':').collect();
        let [_, _, _, _, _, kind, _, _, after] = parts[..] else { break };
        out.push_str(&format!("{}UPID:{kind}", &rest[..from]));
        rest = after;
    }
    out + rest
}

#[tokio::test]
async fn each_thing_that_can_be_done_and_its_outcome() {
    let acting = Acting::new().await;
    let stop = r#"{"active":true}"#;
    assert!(acting.fixture.set("PUT /api/monitor/killswitch", stop).await.starts_with("200"));
    let good = |tier: &str, text: &str| {
        format!(r#"200 {{"result":[{{"text":"{text}","type":"text"}}],"success":true,"tier":"{tier}"}}"#)
    };
    let failed = |error: &str| format!(r#"400 {{"error":"{error}","success":false}}"#);
    #[rustfmt::skip]
    let table = [
        ("a start, in spite of the kill switch", "start_vm", r#"{"node":"pve1","vmid":104}"#, good("yellow", "VM idle (104): task UPID:qmstart ended: OK")),
        ("a start of what runs", "start_vm", r#"{"node":"pve1","vmid":101}"#, failed("VM web01 (101): task UPID:qmstart failed: VM 101 already running")),
        ("a start of what is locked", "start_vm", r#"{"node":"pve1","vmid":105}"#, failed("VM locked (105): task UPID:qmstart failed: VM is locked (backup)")),
        ("a start of what HA manages", "start_vm", r#"{"node":"pve2","vmid":106}"#, good("yellow", "VM managed (106): HA manages it and was asked (UPID:hastart); it acts by itself, within some 10 s")),
        ("a guest that is gone", "start_vm", r#"{"node":"pve1","vmid":999}"#, failed("VM gone (999): task UPID:qmstart failed: Configuration file 'nodes/pve1/qemu-server/999.conf' does not exist")),
        ("a stop", "stop_vm", r#"{"node":"pve1","vmid":101,"confirmed":true}"#, good("red", "VM web01 (101): task UPID:qmstop ended: OK")),
        ("a graceful stop", "stop_vm", r#"{"node":"pve1","vmid":104,"graceful":true,"confirmed":true}"#, good("red", "VM idle (104): task UPID:qmshutdown ended: OK")),
        ("one that does not obey", "restart_vm", r#"{"node":"pve1","vmid":107,"confirmed":true}"#, good("red", "VM deaf (107): task UPID:qmreboot ended: OK")),
        ("a container that runs", "start_container", r#"{"node":"pve1","vmid":200}"#, failed("container dns (200): ENDPOINT CT 200 already running")),
        ("a container's restart", "restart_container", r#"{"node":"pve1","vmid":200,"confirmed":true}"#, good("red", "container dns (200): task UPID:vzreboot ended: OK")),
        ("a service", "restart_service", r#"{"node":"pve2","service":"pvestatd","confirmed":true}"#, good("red", "service pvestatd on pve2: task UPID:srvrestart ended: OK")),
        ("a node", "wake_node", r#"{"node":"pve3"}"#, good("yellow", "node pve3: a packet to AA:BB:CC:DD:EE:03 was sent; a node takes minutes to boot")),
    ];
    let rows = table.len();
    for (name, tool, args, expected) in table {
        let answer = without_upids(&acting.execute(tool, args).await);
        let answer = match answer.find("POST /") {
            Some(from) => {
                let to = answer[from..].find("CT ").map_or(answer.len(), |to| from + to);
                format!("{}ENDPOINT {}", &answer[..from], &answer[to..])
            }
            None => answer,
        };
        assert_eq!(answer, expected, "{name}");
    }
    assert_eq!(acting.calls("POST"), rows as u64, "one call each");
    let booting = acting
        .cluster
        .with_cluster(|cluster| cluster.nodes()[&"pve3".parse().unwrap()].power != sim::cluster::Power::Off);
    assert_eq!(booting, Some(true));
    let operated = acting.fixture.operated();
    let asked: Vec<_> = operated.iter().filter(|row| row.starts_with("admin (login) toolAsked")).collect();
    let ended: Vec<_> = operated.iter().filter(|row| row.starts_with("admin (login) toolEnded")).collect();
    assert_eq!((asked.len(), ended.len()), (rows, rows), "{operated:#?}");
    assert!(operated[1].contains(r#""subject":"VM idle (104)","tool":"start_vm""#), "{}", operated[1]);
    assert!(ended[0].contains(r#""outcome":"done""#) && ended[1].contains(r#""outcome":"failed""#));
    assert!(ended[3].contains(r#""outcome":"handedToHa""#), "{}", ended[3]);
    let events = acting.fixture.get("/api/memory/events?limit=20", &acting.fixture.token()).await.body;
    for title in [
        "[User] VM idle (104) started by admin: admin (login): task UPID:",
        "[User] Start of VM locked (105) failed: admin (login): task UPID:",
        "[User] Start of VM managed (106) handed to HA by admin: ",
        "[User] node pve3 sent a wake-up packet by admin: ",
    ] {
        assert!(events.contains(title), "{title} is not in {events}");
    }
    acting.stop().await;
}

#[tokio::test]
async fn a_token_that_may_only_look_is_told_what_to_do() {
    let acting = Acting::with("auditor").await;
    let answer = acting.execute("start_vm", r#"{"node":"pve1","vmid":104}"#).await;
    assert!(answer.starts_with("400 "), "{answer}");
    let grant = "grant VM.PowerMgmt on /vms/104 to the token and to its user; or name a second token, for acts only, as act_token_id";
    assert!(answer.contains(grant), "{answer}");
    assert!(!acting.runs(104));
    acting.stop().await;
}

#[tokio::test]
async fn an_act_whose_answer_is_lost_is_found_and_never_done_twice() {
    #[rustfmt::skip]
    let table = [
        ("the connection is reset", "fault reset n=1 path=/nodes/pve1/qemu/104/status/start", "VM idle (104): task UPID:qmstart ended: OK"),
        ("the answer is cut", "fault truncated n=1 path=/nodes/pve1/qemu/104/status/start", "VM idle (104): task UPID:qmstart ended: OK"),
    ];
    for (name, fault, expected) in table {
        let acting = Acting::new().await;
        // An earlier task of ours of the same kind must not be taken for this one.
        let start = r#"{"node":"pve1","vmid":104}"#;
        acting.execute("start_vm", start).await;
        acting.execute("stop_vm", r#"{"node":"pve1","vmid":104,"confirmed":true}"#).await;
        acting.cluster.apply(fault).unwrap();
        let answer = without_upids(&acting.execute("start_vm", start).await);
        assert!(answer.contains(expected), "{name}: {answer}");
        assert_eq!(acting.cluster.faults().failed, 1, "{name}");
        assert!(acting.runs(104), "{name}");
        let starts = acting.cluster.with_cluster(|cluster| {
            let tasks = cluster.nodes()[&"pve1".parse().unwrap()].tasks.newest_first();
            tasks.filter(|task| task.kind == "qmstart").count()
        });
        assert_eq!(starts, Some(2), "{name}: the first, and this one");
        acting.stop().await;
    }
}

#[tokio::test]
async fn an_act_goes_on_when_whoever_asked_goes_away() {
    let acting = Acting::new().await;
    let mut committed = acting.fixture.store.committed();
    let body = r#"{"tool":"start_vm","args":{"node":"pve1","vmid":104}}"#;
    let head = format!(
        "POST /api/tools/execute HTTP/1.1\r\nHost: jarvis.lan\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n",
        acting.fixture.token(),
        body.len()
    );
    let mut stream = TcpStream::connect(acting.fixture.address()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    // It has been taken once its intent is written down.
    let began = Instant::now();
    while acting.fixture.operated().is_empty() {
        assert!(began.elapsed() < Duration::from_secs(20), "the intent was not written down");
        tokio::task::yield_now().await;
    }
    drop(stream);
    let told = tokio::time::timeout(Duration::from_secs(20), committed.recv()).await.unwrap().unwrap();
    assert_eq!(told.title, "VM idle (104) started by admin");
    assert_eq!(acting.fixture.operated().len(), 3, "asked, begun, ended");
    acting.stop().await;
}

#[tokio::test]
async fn who_waits_is_answered_before_a_long_act_ends_and_nothing_else_is_done_to_it_meanwhile() {
    let limits = Limits { act: Duration::from_millis(1_500), ..Limits::default() };
    let acting = Acting::within("full", limits, 10.0).await;
    let mut committed = acting.fixture.store.committed();
    // It ignores the request; PVE waits 60 s for it, which are 6 here.
    let stop = r#"{"node":"pve1","vmid":107,"graceful":true,"confirmed":true}"#;
    let answer = without_upids(&acting.execute("stop_vm", stop).await);
    let expected = "VM deaf (107): still running (UPID:qmshutdown); its end will be told as an event";
    assert!(answer.starts_with("200 ") && answer.contains(expected), "{answer}");
    let again = acting.execute("stop_vm", stop).await;
    let busy = r#"400 {"error":"something is being done to VM deaf (107) in lab already, wait for it to end","success":false}"#;
    assert_eq!(again, busy);
    let told = tokio::time::timeout(Duration::from_secs(20), committed.recv()).await.unwrap().unwrap();
    assert_eq!(told.title, "Shutdown of VM deaf (107) failed");
    assert!(told.message.contains("got timeout"), "{}", told.message);
    assert_eq!(acting.fixture.operated().len(), 3, "one intent, one task, one outcome");
    acting.stop().await;
}

#[tokio::test]
async fn an_orderly_stop_waits_for_an_act_and_not_for_ever() {
    // Whoever obeys does so in some seconds of the cluster; who does not, in 60.
    #[rustfmt::skip]
    let table = [
        ("one that ends soon", 4.0, r#"{"node":"pve1","vmid":101,"graceful":true,"confirmed":true}"#, r#""outcome":"done""#),
        ("one that does not",  1.0, r#"{"node":"pve1","vmid":107,"graceful":true,"confirmed":true}"#, r#""outcome":"runs""#),
    ];
    for (name, speed, args, outcome) in table {
        let limits = Limits { act: Duration::from_millis(1), ..Limits::default() };
        let acting = Acting::within("full", limits, speed).await;
        acting.execute("stop_vm", args).await;
        let began = Instant::now();
        while !acting.fixture.operated().iter().any(|row| row.contains("toolBegun")) {
            assert!(began.elapsed() < Duration::from_secs(20), "{name}: PVE did not answer");
            tokio::task::yield_now().await;
        }
        assert!(!acting.fixture.operated().iter().any(|row| row.contains("toolEnded")), "{name}: too soon");
        let Acting { fixture, cluster } = acting;
        let Fixture { server, store, folder, .. } = fixture;
        let stopped = Instant::now();
        server.shutdown().await;
        assert!(stopped.elapsed() < Duration::from_secs(8), "{name}: {:?}", stopped.elapsed());
        assert!(store.close().await);
        let sql = "SELECT entry FROM journal WHERE kind = 'operator' ORDER BY seq DESC LIMIT 1";
        let out =
            std::process::Command::new("sqlite3").arg(folder.path().join("jarvis.db")).arg(sql).output();
        let last = String::from_utf8(out.unwrap().stdout).unwrap();
        assert!(last.contains(r#""did":"toolEnded""#) && last.contains(outcome), "{name}: {last}");
        cluster.shutdown().await;
    }
}

#[tokio::test]
async fn nothing_is_done_that_cannot_be_recorded() {
    let acting = Acting::new().await;
    acting.fixture.store.close().await;
    let answer = acting.execute("start_vm", r#"{"node":"pve1","vmid":104}"#).await;
    let expected = r#"500 {"error":"nothing was done, because it cannot be recorded; the log says why","success":false}"#;
    assert_eq!(answer, expected);
    assert_eq!(acting.calls("POST"), 0);
    acting.fixture.server.shutdown().await;
    acting.cluster.shutdown().await;
}
