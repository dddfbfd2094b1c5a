//! The simulated cluster behind PVE's HTTP API, on the real clock.
//!
//! One TLS listener per node (node k on the port of `listen` plus k - 1, or any with port 0), all of them views
//! of one [`Cluster`]. Everything that waits goes by the cluster's clock ([`Options::speed`]).
//!
//! A second, plain listener on the loopback breaks things and counts: `POST /script` takes lines of the scenario
//! language and this server's own levers (`fault`, `rights`, `revoke`, `token`), `GET /counters` says what the
//! clients cost, `POST /counters/reset` forgets it, `GET /faults` says which requests were made to fail.
//!
//! A third kind, one per node, is what a node's `node_exporter` says of its sensors.
//!
//! What is not simulated: the HTML pages, tickets, and writing configurations. A dead node's port refuses;
//! real networks would rather say nothing for a while.

mod access;
mod api;
mod calls;
mod clock;
mod control;
mod door;
mod dump;
mod errand;
mod exporter;
mod fault;
mod ha;
mod history;
mod hop;
mod journal;
mod node;
mod recorded;
mod rights;
mod tasks;
mod tls;
mod views;
mod wire;
mod world;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use engine::observe::NodeName;
use jiff::{SignedDuration, Timestamp};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use access::{BadToken, Token};
pub use control::{CallCount, Counts};
pub use fault::{Fault, FaultCounts};
pub use rights::{BadRights, Rights};

use crate::cluster::Cluster;
use crate::script::{Command, Script};
use recorded::Recorded;
use tls::Authority;
use world::{Manner, Shared, Source, World};

/// How long PVE holds back a 401.
pub const DELAY_401: Duration = Duration::from_secs(3);
/// How often the cluster's time is advanced when nobody asks for anything.
const TICK: Duration = Duration::from_millis(50);
/// The range of [`Options::speed`].
const SPEED_RANGE: std::ops::RangeInclusive<f64> = 0.001..=10_000.0;

/// What to serve, and where.
pub struct Options {
    /// Where the first node listens; port 0 takes any port, for each node its own.
    pub listen: SocketAddr,
    /// Where the control interface listens; it must be the loopback. `None` for none.
    pub control: Option<SocketAddr>,
    /// Where the first node's `node_exporter` listens, as [`Options::listen`]; `None` for none.
    pub exporter: Option<SocketAddr>,
    /// The tokens that are accepted. Recorded answers accept any when there is none.
    pub tokens: Vec<Token>,
    /// How many seconds pass in the cluster in one real second.
    pub speed: f64,
    /// Decides the order of keys and lists.
    pub seed: u64,
    /// How long a 401 is held back, in the cluster's time.
    pub delay_401: Duration,
    what: Served,
}

enum Served {
    Live { cluster: Box<Cluster>, steps: Vec<(SignedDuration, Command)> },
    Recorded(Recorded),
}

impl Options {
    /// A cluster that was made by hand or generated. Its time goes on from where it stands.
    pub fn new(cluster: Cluster) -> Options {
        Options::of(Served::Live { cluster: Box::new(cluster), steps: Vec::new() })
    }

    /// A scenario, which begins now.
    pub fn script(script: &Script) -> anyhow::Result<Options> {
        Options::script_at(script, Timestamp::now())
    }

    /// A scenario whose clock shows `begin` at its beginning, which is now.
    pub fn script_at(script: &Script, begin: Timestamp) -> anyhow::Result<Options> {
        let cluster = Box::new(script.build(begin)?);
        let steps = script.timed_steps().map(|(at, step)| (at, step.command.clone())).collect();
        Ok(Options::of(Served::Live { cluster, steps }))
    }

    /// A generated cluster, see [`Cluster::generated`].
    pub fn generated(nodes: usize, guests: usize, seed: u64) -> anyhow::Result<Options> {
        Ok(Options::new(Cluster::generated(nodes, guests, seed, Timestamp::now())?))
    }

    /// The recorded answers of a folder, as they are: a call that nobody recorded is 501, as in PVE.
    pub fn recorded(folder: &Path) -> anyhow::Result<Options> {
        Ok(Options::of(Served::Recorded(Recorded::load(folder)?)))
    }

    fn of(what: Served) -> Options {
        let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        Options {
            listen: any,
            control: None,
            exporter: None,
            tokens: Vec::new(),
            speed: 1.0,
            seed: 1,
            delay_401: DELAY_401,
            what,
        }
    }
}

/// A running server. Dropping it stops it; [`Server::shutdown`] also waits until it has stopped.
pub struct Server {
    shared: Arc<Shared>,
    addresses: BTreeMap<NodeName, SocketAddr>,
    control: Option<SocketAddr>,
    exporters: BTreeMap<NodeName, SocketAddr>,
    ca_pem: String,
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Server {
    /// Binds all ports and begins to serve. Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// A port that is taken, an address that is not allowed, no runtime.
    pub fn start(options: Options) -> anyhow::Result<Server> {
        tokio::runtime::Handle::try_current().context("the simulated cluster needs a tokio runtime")?;
        if !SPEED_RANGE.contains(&options.speed) {
            bail!("speed {} is out of range: {SPEED_RANGE:?}", options.speed);
        }
        let (name, nodes, source) = match options.what {
            Served::Live { cluster, steps } => {
                let nodes: Vec<NodeName> = cluster.nodes().keys().cloned().collect();
                let name = cluster.name().to_string();
                let world = World::new(*cluster, steps, options.speed, options.seed);
                (name, nodes, Source::Live(Box::new(world.into())))
            }
            Served::Recorded(recorded) => {
                (recorded.cluster.clone(), vec![recorded.node.clone()], Source::Recorded(recorded))
            }
        };
        let authority = Authority::new(&name)?;
        let certificates: BTreeMap<_, _> = nodes
            .iter()
            .map(|node| Ok((node.clone(), authority.certify(node)?)))
            .collect::<anyhow::Result<_>>()?;
        let fingerprints = certificates.iter().map(|(n, c)| (n.clone(), c.fingerprint.clone())).collect();
        let manner = Manner {
            tokens: options.tokens,
            fingerprints,
            delay_401: options.delay_401,
            speed: options.speed,
        };
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared::new(source, manner, &nodes, stopped.clone()));
        let mut tasks = JoinSet::new();
        let mut addresses = BTreeMap::new();
        for (k, (node, certificate)) in certificates.into_iter().enumerate() {
            let listener = bind(nth(options.listen, k)?)?;
            addresses.insert(node.clone(), listener.local_addr().context("the port of a listener")?);
            let door = door::Door::new(shared.clone(), node, certificate.config, stopped.clone());
            tasks.spawn(door.keep(listener));
        }
        let control = match options.control {
            Some(address) => {
                if !address.ip().is_loopback() {
                    bail!("the control interface is for the loopback only, not for {address}");
                }
                let listener = bind(address)?;
                let address = listener.local_addr().context("the port of the control interface")?;
                tasks.spawn(control::serve(listener, shared.clone(), stopped.clone()));
                Some(address)
            }
            None => None,
        };
        let mut exporters = BTreeMap::new();
        for (k, node) in nodes.iter().enumerate() {
            let Some(first) = options.exporter else { break };
            let listener = bind(nth(first, k)?)?;
            exporters.insert(node.clone(), listener.local_addr().context("the port of an exporter")?);
            tasks.spawn(exporter::serve(listener, node.clone(), shared.clone(), stopped.clone()));
        }
        tasks.spawn(tick(shared.clone(), stopped));
        Ok(Server { shared, addresses, control, exporters, ca_pem: authority.pem(), tasks, stop })
    }

    /// `https://127.0.0.1:8006`, for each node in the order of their names.
    pub fn endpoints(&self) -> Vec<String> {
        self.addresses.values().map(|address| format!("https://{address}")).collect()
    }

    /// The address of each node.
    pub fn addresses(&self) -> &BTreeMap<NodeName, SocketAddr> {
        &self.addresses
    }

    /// The certificate of the cluster's own CA.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// SHA-256 of each node's certificate, as PVE prints it.
    pub fn fingerprints(&self) -> &BTreeMap<NodeName, String> {
        self.shared.fingerprints()
    }

    /// Where the control interface listens.
    pub fn control_addr(&self) -> Option<SocketAddr> {
        self.control
    }

    /// Where each node's `node_exporter` listens: `http://ADDRESS/metrics`.
    pub fn exporters(&self) -> &BTreeMap<NodeName, SocketAddr> {
        &self.exporters
    }

    /// What time it is in the cluster; `None` for recorded answers.
    pub fn now(&self) -> Option<Timestamp> {
        self.shared.now()
    }

    /// Makes one line of the scenario language happen now, or after the time that it begins with; or pulls a lever:
    /// `fault 595 n=3 path=/nodes/`, `rights mon@pve!t1 none`, `revoke mon@pve!t1`, `token ID=SECRET:RIGHTS`.
    pub fn apply(&self, line: &str) -> anyhow::Result<()> {
        self.shared.apply(line).map_err(|what| anyhow::anyhow!(what))
    }

    /// What the clients cost since the start or the last reset.
    pub fn counts(&self) -> Counts {
        self.shared.counts()
    }

    /// Begins to count anew.
    pub fn reset_counts(&self) {
        self.shared.reset_counts();
    }

    /// How many requests were made to fail since the first `fault` that was set.
    pub fn faults(&self) -> FaultCounts {
        self.shared.fault_counts()
    }

    /// Changes the cluster itself, past all that a script can do; `None` for recorded answers.
    pub fn change_cluster<R>(&self, change: impl FnOnce(&mut Cluster) -> R) -> Option<R> {
        self.shared.change_cluster(change)
    }

    /// Looks at the cluster itself, past all that its API shows; `None` for recorded answers.
    pub fn with_cluster<R>(&self, look: impl FnOnce(&Cluster) -> R) -> Option<R> {
        self.shared.with_cluster(look)
    }

    /// Stops and waits for all connections to be closed.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn tick(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            _ = ticks.tick() => shared.catch_up(),
            _ = stopped.changed() => return,
        }
    }
}

fn nth(listen: SocketAddr, k: usize) -> anyhow::Result<SocketAddr> {
    let port = match listen.port() {
        0 => 0,
        first => u16::try_from(usize::from(first) + k).context("the ports of the nodes end above 65535")?,
    };
    Ok(SocketAddr::new(listen.ip(), port))
}

/// Listeners are bound again when a node comes back, so the port must not be held by old connections.
fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener =
        std::net::TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    listener.set_nonblocking(true).context("listener")?;
    TcpListener::from_std(listener).context("listener")
}
