//! Plays one scenario: the simulated cluster behind HTTP, and beside it what watches a cluster in the daemon. What is
//! told is read from the store's journal at the end.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use daemon::act::Hands;
use daemon::clock::Clock;
use daemon::operate::{Ordered, Taken};
use daemon::record::{self, IncidentFilter, NewNotice, NoticeKind, Store, When, Window};
use daemon::report::live::Live;
use daemon::run::{self, Watched};
use daemon::tape::{self, replay::replay};
use daemon::{TemperatureSource, Tiers, supervise};
use engine::observe::ClusterName;
use engine::policy::Policy;
use engine::record::{Entry, Order};
use engine::window::Span;
use jiff::SignedDuration;
use sim::cluster::Rights;
use sim::http::{Options, Server};
use sim::run::BEGIN;
use sim::script::{Command, Jarvis, Script, Step};
use tokio::net::UdpSocket;
use tokio::sync::oneshot;

const TOKEN: &str = "jarvis@pve!stories";
const SECRET: &str = "55555555-5555-5555-5555-555555555555";
/// When the daemon's critical tier first asks after its start. A script says when that is on its own clock.
const FIRST_ROUND: SignedDuration = SignedDuration::from_secs(5);
/// The cluster is there before its story begins, while the daemon is made: whole rounds of statistics, which come each
/// 10 s, so that these fall as they do in the engine's run.
const LEAD: SignedDuration = SignedDuration::from_secs(20);
/// How long after a scenario's end what is expected may still come, in the cluster's time: two rounds, and a look.
const GRACE: SignedDuration = SignedDuration::from_secs(60);
/// How often that is looked into, in the world's time.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a watch may take to stop, in the world's time: the daemon as a whole is allowed two seconds.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// A folder that goes with its owner.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("jarvis-stories-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}

/// A lever of the simulated cluster that is pulled in the middle of it.
#[derive(Clone, Debug)]
pub(crate) struct Lever {
    /// From the beginning.
    pub(crate) at: SignedDuration,
    /// `fault 595 n=3 path=/nodes/`.
    pub(crate) line: String,
}

/// What came of it.
pub(crate) struct Played {
    /// Written as `expected.log` is.
    pub(crate) log: String,
    /// Calls that were made to fail, `GET /path`.
    pub(crate) failed: Vec<String>,
}

/// Plays a scenario to its end, and a little longer if by then `done` does not hold of the log.
pub(crate) fn play(
    name: &str,
    script: &Script,
    speed: f64,
    lever: Option<&Lever>,
    standby: bool,
    done: impl Fn(&str) -> bool,
) -> Played {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = Folder::new();
        let store = Store::open(&folder.0.join("jarvis.db")).await.unwrap();
        let tape = tape::Settings {
            folder: folder.0.join("tapes"),
            keep: SignedDuration::from_hours(24),
            size_max: 1 << 30,
        };
        let cluster = Arc::new(serve(script, speed));
        // Where the cluster's nodes hear packets.
        let network = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let magic_packet_to = network.local_addr().unwrap();
        let listening = tokio::spawn(listen(network, Arc::clone(&cluster)));
        let clock = Clock::faster(cluster.now().unwrap(), Instant::now(), speed);
        let clock = Arc::new(clock);
        let watched = Watched {
            name: script.cluster.clone(),
            clients: daemon::daemon::clients(
                endpoints(script, &cluster),
                pve::Token::new(TOKEN, pve::Secret::new(SECRET)).unwrap(),
                &clock,
            )
            .unwrap(),
            policy: Policy { protect: script.protect.clone(), ..Policy::default() },
            temperature: sensors(&cluster),
            tiers: tiers(script),
            clock: Arc::clone(&clock),
            store: store.clone(),
            live: Arc::new(Live::new([script.cluster.clone()], Duration::from_secs(12), Instant::now())),
            page: None,
            hands: hands(script, &cluster, &clock).with_magic_packet_to(magic_packet_to),
            first: true,
            autonomy_ceiling: script.autonomy.number(),
            standby,
            machine: Arc::default(),
            tape: Some(tape.clone()),
        };
        let live = Arc::clone(&watched.live);
        clock.sleep_until(BEGIN + script.tiers.first - FIRST_ROUND).await;
        let (stop, stopped) = supervise::stop();
        let watch = tokio::spawn(run::watch(watched, stopped));
        let operator =
            Operator { store: store.clone(), live, clock: Arc::clone(&clock), name: script.cluster.clone() };
        let said = tokio::spawn(operator.say(script.steps.clone()));
        if let Some(Lever { at, line }) = lever {
            clock.sleep_until(BEGIN + *at).await;
            cluster.apply(line).unwrap();
        }
        let end = BEGIN + script.length;
        clock.sleep_until(end).await;
        let told = loop {
            let late = clock.now() > end + GRACE;
            let told = log(&store, script).await;
            if late || done(&told) {
                break told;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        };
        said.await.unwrap();
        stop.send_replace(true);
        let ended = tokio::time::timeout(STOP_WITHIN, watch).await;
        ended.unwrap_or_else(|_| panic!("{name}: the watch does not stop")).unwrap().unwrap();
        let said = told.lines().filter(|line| !line.contains("heartbeat")).count();
        same_again(name, script, &tape, said).await;
        assert!(store.close().await, "{name}: the store does not close");
        let failed = cluster.faults().calls.into_keys().collect();
        listening.abort();
        listening.await.ok();
        Arc::into_inner(cluster).unwrap().shutdown().await;
        Played { log: told, failed }
    })
}

/// The tape of a story, played once more with the same policy, says nothing else than was said.
async fn same_again(name: &str, script: &Script, tape: &tape::Settings, told: usize) {
    let pieces = tape::pieces(&tape.folder.join(script.cluster.as_str())).unwrap();
    assert!(!pieces.is_empty(), "{name}: no tape");
    let (began, mut said) = (Instant::now(), 0);
    for (_, piece) in pieces {
        let policy = Policy { protect: script.protect.clone(), ..Policy::default() };
        let again = loop {
            let again = replay(&piece, policy.clone(), None).unwrap_or_else(|why| panic!("{name}: {why}"));
            // The last of it is written when the watch is over.
            if !again.cut || began.elapsed() > STOP_WITHIN {
                break again;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        };
        assert!(!again.cut, "{name}: the tape has no end");
        said += again.said;
        assert_eq!(again.differences, [], "{name}: played again");
    }
    // More may have been said since the story was read.
    assert!(said >= told as u64, "{name}: {said} of {told} lines are on the tape");
}

/// The nodes' network cards: a packet of six bytes of ones and sixteen times the same address wakes whose it is.
async fn listen(network: UdpSocket, cluster: Arc<Server>) {
    let mut packet = [0; 200];
    loop {
        let (length, _) = network.recv_from(&mut packet).await.unwrap();
        let (ones, addresses) = packet[..length].split_at(6);
        assert!(length == 102 && ones == [0xff; 6], "no packet that wakes anybody: {:?}", &packet[..length]);
        let pairs: Vec<String> = addresses[..6].iter().map(|octet| format!("{octet:02x}")).collect();
        assert!(addresses.chunks(6).all(|address| *address == addresses[..6]), "one address");
        cluster.change_cluster(|cluster| cluster.packet(pairs.join(":").parse().unwrap())).unwrap();
    }
}

/// Says to the daemon what the script has somebody say, as its server would.
struct Operator {
    store: Store,
    live: Arc<Live>,
    clock: Arc<Clock>,
    name: ClusterName,
}

impl Operator {
    async fn say(self, steps: Vec<Step>) {
        for step in steps {
            let (Command::Jarvis(what), Some(at)) = (step.command, step.at) else { continue };
            self.clock.sleep_until(BEGIN + at).await;
            let now = self.clock.now();
            match what {
                Jarvis::KillSwitch(on) => {
                    self.store.set_preference(record::KILL_SWITCH, &on.to_string(), now).await.unwrap();
                }
                Jarvis::Standby(_) => panic!("standby is a setting: see `on_standby_nothing_is_done`"),
                Jarvis::Level(level) => {
                    let level = level.number().to_string();
                    self.store.set_preference(record::LEVEL, &level, now).await.unwrap();
                }
                Jarvis::Announce(about, lasts) => {
                    let from = BEGIN + at;
                    let new = NewNotice {
                        kind: NoticeKind::Maintenance,
                        cluster: Some(self.name.to_string()),
                        about,
                        condition: None,
                        note: String::new(),
                        when: When::Once(Span { from, until: from + lasts }),
                    };
                    let by = record::Operator { name: "alice".into(), via: "login".into() };
                    self.store.set_notice(new, &by, now).await.unwrap().unwrap();
                }
                Jarvis::Order(subject, by, order) => self.order(&subject.to_string(), by, order).await,
            }
        }
    }

    async fn order(&self, subject: &str, by: String, order: Order) {
        let window = Window { limit: 100, ..Window::default() };
        let filter =
            IncidentFilter { open: Some(true), subject: Some(subject.into()), ..IncidentFilter::default() };
        // A machine that is busy with something else may be late with what is to be spoken of; then the story is played again.
        let late = self.clock.now() + GRACE;
        let incident = loop {
            let open = self.store.list_incidents(window.clone(), filter.clone()).await.unwrap().rows;
            if let Some(incident) = open.into_iter().next() {
                break incident;
            }
            assert!(self.clock.now() < late, "nothing is open on {subject}");
            tokio::time::sleep(LOOK_EVERY).await;
        };
        let (reply, taken) = oneshot::channel();
        let ordered = Ordered { incident: incident.id.parse().unwrap(), by: by.into(), order, reply };
        self.live.desk(&self.name).unwrap().send(ordered).await.unwrap();
        assert!(matches!(taken.await.unwrap(), Taken::Recorded(_)));
    }
}

fn serve(script: &Script, speed: f64) -> Server {
    let rights = match script.rights {
        Rights::All => "full",
        Rights::Auditor => "auditor",
    };
    let mut led = script.clone();
    for step in &mut led.steps {
        step.at = step.at.map(|at| at + LEAD);
    }
    let mut options = Options::script_at(&led, BEGIN - LEAD).unwrap();
    options.tokens = vec![format!("{TOKEN}={SECRET}:{rights}").parse().unwrap()];
    options.exporter = Some(options.listen);
    options.speed = speed;
    options.seed = script.seed;
    Server::start(options).unwrap()
}

/// What acts: the same token, which may act unless the script gives it an auditor's rights.
fn hands(script: &Script, cluster: &Server, clock: &Arc<Clock>) -> Hands {
    let token = pve::Token::new(TOKEN, pve::Secret::new(SECRET)).unwrap();
    let clients = daemon::daemon::clients(endpoints(script, cluster), token, clock).unwrap();
    Hands::new(clients, true).with_clock(Arc::clone(clock))
}

fn endpoints(script: &Script, cluster: &Server) -> Vec<pve::Endpoint> {
    let trust = pve::Trust::Ca(cluster.ca_pem().as_bytes().into());
    let all: Vec<_> = cluster.addresses().keys().cloned().collect();
    let nodes = if script.endpoints.is_empty() { &all } else { &script.endpoints };
    let url = |node| format!("https://{}", cluster.addresses()[node]);
    nodes.iter().map(|node| pve::Endpoint::new(&url(node), trust.clone()).unwrap()).collect()
}

/// One address answers for all nodes, because a made-up name leads nowhere.
fn sensors(cluster: &Server) -> Option<TemperatureSource> {
    let address = cluster.exporters().values().next()?;
    let url = format!("http://{address}/{{node}}/metrics");
    Some(TemperatureSource::node_exporter(url, None).unwrap())
}

fn tiers(script: &Script) -> Tiers {
    let every = script.tiers;
    let real = |interval: SignedDuration| interval.unsigned_abs();
    Tiers {
        live: Some(real(every.live)).filter(|live| !live.is_zero()),
        critical: real(every.critical),
        important: real(every.important),
        routine: real(every.routine),
        background: real(every.background),
    }
}

/// What the store's journal holds, as `expected.log` is written.
async fn log(store: &Store, script: &Script) -> String {
    let rows = store.journal_since(&script.cluster, 0).await.unwrap();
    let mut log = String::new();
    for row in rows {
        let entry: Entry = serde_json::from_str(&row.entry).unwrap();
        let at = engine::record::duration(entry.at.duration_since(BEGIN));
        log.push_str(&format!("{at:>7}  {}\n", entry.to_string().trim_end()));
    }
    log
}
