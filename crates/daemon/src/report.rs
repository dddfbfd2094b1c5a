//! Report: what the daemon tells, to people and programs. REST, Socket.IO and the page's arrays.
//!
//! | file | what it does |
//! |---|---|
//! | [`auth`], [`token`] | who may ask: users, logins, API tokens |
//! | `login`, `session`, `users` | how they log in, and are made and changed |
//! | [`caller`] | who asks, and what each call needs |
//! | `local` | the command line of the daemon's own machine |
//! | `listen`, `turns`, `tls`, `host`, `peer`, `origin`, `seats`, `bucket`, `logins` | from where, how many, how often |
//! | `web`, `refusal` | REST of the original page |
//! | `control` | what operators set: kill switch, level, preferences, events of their own |
//! | `tools` | what operators do in a cluster by hand, and how what was cut off is brought to its end |
//! | [`v1`], `problem` | REST for programs, and the document of all of it |
//! | `socket` | who is let into `/events` and `/cluster`, and until when |
//! | `follow` | `/events`: every event once and in order |
//! | `pump` | `/cluster` for the old page: whole arrays |
//! | `feeds`, `delta` | `/cluster` for our own: versions, snapshots, deltas |
//! | `metrics`, `process` | `/metrics` |
//! | `solo` | what takes long and runs once at a time |
//! | [`page`], `details`, [`live`], [`meter`] | what the observer and the loop hand in |
//!
//! It reads the store and never the cluster; what acts, by `act`, is only what an operator asked for.

pub mod auth;
mod bucket;
pub mod caller;
mod control;
mod delta;
mod details;
mod feeds;
mod follow;
mod host;
mod listen;
pub mod live;
mod local;
mod login;
mod logins;
pub mod meter;
mod metrics;
mod origin;
pub mod page;
mod peer;
mod problem;
mod process;
mod pump;
mod refusal;
mod seats;
mod session;
mod site;
mod socket;
pub(crate) mod solo;
mod switches;
mod tally;
mod tls;
pub mod token;
mod tools;
mod turns;
mod users;
pub mod v1;
mod web;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use engine::observe::ClusterName;
use jiff::Timestamp;
use socketioxide::SocketIo;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::act::Hands;
use crate::key;
use crate::open_files;
use crate::record::Store;
use crate::supervise;
use auth::Auth;
use host::Hosts;
use listen::Admission;
use live::Live;
use local::Local;
use logins::Logins;
use origin::Origins;
use page::Page;
use tls::Tls;
use tools::Tools;
use turns::Turns;
use web::App;

pub(crate) use local::{Call, SEAL_HEADER, prove};
pub use tls::TlsFiles;
pub(crate) use tls::{Useless, check as check_tls};

/// How long the sockets and the calls together may take to end.
const STOP_MAX: Duration = Duration::from_millis(800);

/// What the server needs.
pub struct ServerOptions {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Other origins whose pages may call and open sockets (`https://host:port`).
    pub allowed_origins: Vec<String>,
    /// By which names it may be asked, beside `localhost`, addresses and the hosts of those origins.
    pub names: Vec<String>,
    /// Where people reach it, if somebody said: `https://host:port/path`.
    pub public_url: Option<String>,
    /// Proxies whose word about the caller's address is believed.
    pub behind_proxy: Vec<IpAddr>,
    /// The certificate to show; `None`: no TLS.
    pub tls: Option<TlsFiles>,
    /// Where events, actions and preferences are read.
    pub store: Store,
    /// Who may ask.
    pub auth: Arc<Auth>,
    /// The loop's state.
    pub live: Arc<Live>,
    /// What is seen of each cluster, in the configuration's order; the first is the one that the old page shows.
    pub pages: Vec<(ClusterName, Arc<Page>)>,
    /// The highest autonomy level that the configuration allows, 0 to 4.
    pub autonomy_ceiling: u8,
    /// What does things in the clusters for operators; without it, nothing can be done there.
    pub hands: Vec<(ClusterName, Hands)>,
}

/// A limit on everything that a stranger can make us do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a body. The largest call has some hundred.
    pub body: usize,
    /// How long a handshake, headers or a body may take to arrive, and a connection may idle between two calls.
    pub read: Duration,
    /// How long a call may take.
    pub request: Duration,
    /// Calls at once, half of them of one caller. More would only queue at the store's few readers.
    pub requests: usize,
    /// How long an answer may take to be read: ten megabytes at 1.4 Mbit/s.
    pub answer: Duration,
    /// Failed logins of one peer at once, and the time after which it may try once more. A person mistypes a few
    /// times; a program that guesses gets 14,400 tries a day.
    pub login_burst: u32,
    /// See `login_burst`.
    pub login_every: Duration,
    /// Connections in all: below the usual 4,096 file descriptors with room for the store and the clusters.
    pub connections: usize,
    /// Connections of one peer: a browser has six per host, a wall of screens some dozens.
    pub connections_per_peer: usize,
    /// Sockets in all, two per page. Each costs some 25 KB.
    pub sockets: usize,
    /// Sockets of one peer.
    pub sockets_per_peer: usize,
    /// How long a caller waits for an act by hand, which goes on after that: most end within it, and a call as a whole
    /// has some seconds more.
    pub act: Duration,
    /// How often the certificate's files are looked at.
    pub certificate: Duration,
}

/// Open files that are not for callers: the store, the clusters' connections, the log, what the system itself needs.
const FILES_RESERVED: u64 = 256;
/// Connections in any case.
const CONNECTIONS_MIN: usize = 16;

impl Limits {
    /// With no more connections than leave files for the rest: whoever holds all of ours open must not blind us.
    fn fitting(self, files: u64) -> Limits {
        let room = usize::try_from(files.saturating_sub(FILES_RESERVED)).unwrap_or(usize::MAX);
        Limits { connections: self.connections.min(room.max(CONNECTIONS_MIN)), ..self }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            body: 64 * 1024,
            read: Duration::from_secs(10),
            request: Duration::from_secs(15),
            requests: 64,
            answer: Duration::from_secs(60),
            login_burst: 5,
            login_every: Duration::from_secs(6),
            connections: 3_500,
            connections_per_peer: 256,
            sockets: 7_000,
            sockets_per_peer: 256,
            act: Duration::from_secs(10),
            certificate: tls::LOOKED_AT_EVERY,
        }
    }
}

/// A running server.
pub struct Server {
    address: SocketAddr,
    app: Arc<App>,
    io: SocketIo,
    stop: watch::Sender<bool>,
    serving: JoinHandle<anyhow::Result<()>>,
}

impl Server {
    /// Listens and serves until [`Server::shutdown`]. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The address cannot be listened on, or an allowed origin is none.
    pub async fn start(options: ServerOptions) -> anyhow::Result<Server> {
        Server::start_within(options, Limits::default().fitting(open_files::limit())).await
    }

    /// As [`Server::start`], with other limits.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_within(options: ServerOptions, limits: Limits) -> anyhow::Result<Server> {
        let ServerOptions {
            listen,
            allowed_origins,
            names,
            public_url,
            behind_proxy,
            tls,
            store,
            auth,
            live,
            pages,
            autonomy_ceiling,
            hands,
        } = options;
        let first = pages.first().context("no cluster is watched")?.1.clone();
        let origins = Arc::new(Origins::new(&allowed_origins)?);
        let addresses: Vec<_> = allowed_origins.into_iter().chain(public_url).collect();
        let hosts = Arc::new(Hosts::new(&names, &addresses));
        let tls = tls.map(Tls::load).transpose()?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        // What was proved before that was proved to whoever had the address then.
        let started = Timestamp::now();
        let listener = listen::bind(listen)?;
        let address = listener.local_addr().context("the listening socket has no address")?;
        let (sender, stop) = supervise::stop();
        let folder = store.path().parent().unwrap_or(Path::new("."));
        let local = Local::new(key::read_or_make(folder)?, listen.ip(), started);
        let app = Arc::new(App {
            local,
            store,
            auth,
            live,
            page: first,
            pages,
            origins: origins.clone(),
            limits,
            ceiling: autonomy_ceiling,
            switching: Arc::default(),
            tools: Tools::new(hands),
            logins: Logins::new(limits.login_burst, limits.login_every),
            turns: Arc::new(Turns::new(limits.requests)),
            exports: Arc::new(Turns::new(v1::EXPORTS_MAX)),
            scrapes: Arc::default(),
            walks: Arc::default(),
            stop: stop.clone(),
            tally: tally::Tally::default(),
        });
        control::begin(&app).await;
        tools::finish_left(&app).await;
        let (sockets, io) = socket::build(app.clone())?;
        // The last layer is the outermost: what the sockets answer needs the headers too.
        let router = web::router(app.clone())
            .layer(sockets)
            .layer(axum::middleware::from_fn_with_state(app.clone(), socket::gate))
            .layer(web::cors(origins))
            .layer(axum::middleware::from_fn_with_state(hosts, host::meant))
            .layer(axum::middleware::from_fn(web::unambiguous))
            .layer(axum::middleware::from_fn(web::hardened));
        let proxies = behind_proxy.iter().map(IpAddr::to_canonical).collect();
        let admission = Admission::new(address.ip(), tls.is_some(), proxies);
        let tls = tls.map(|(tls, seen)| {
            let tls = Arc::new(tls);
            tokio::spawn(tls.clone().keep(seen, limits.certificate, stop.clone()));
            tls
        });
        let serving = tokio::spawn(listen::serve(listener, router, limits, admission, tls, stop));
        tracing::info!("[Emitter] Real-time emitter started on {scheme}://{address}");
        Ok(Server { address, app, io, stop: sender, serving })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Accepts no more, closes the sockets so that their clients come back by themselves, and lets calls end; cuts
    /// off what has not ended within a second. An act that is under way has some seconds to end and to be recorded.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        let end = async {
            self.io.close().await;
            (&mut self.serving).await
        };
        match tokio::time::timeout(STOP_MAX, end).await {
            Ok(Ok(Ok(()))) => tracing::debug!("the server ended"),
            Ok(Ok(Err(error))) => tracing::error!("the server had failed: {error:#}"),
            Ok(Err(error)) => tracing::error!("the server had failed: {error}"),
            Err(_) => {
                tracing::warn!("the server did not end in time and is cut off");
                self.serving.abort();
            }
        }
        self.app.tools.end().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_the_rest() {
        for (name, files, expected) in [
            ("as many as are wanted", 8_192, 3_500),
            ("the usual limit of a login", 1_024, 768),
            ("hardly any", 30, 16),
            ("no limit", u64::MAX, 3_500),
        ] {
            assert_eq!(Limits::default().fitting(files).connections, expected, "{name}");
        }
    }
}
