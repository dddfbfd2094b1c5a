//! Daemon: everything put together, started in order and stopped in order.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use engine::decide::Autonomy;
use engine::observe::ClusterName;
use engine::policy::Policy;
use engine::report::{EventKind, Severity};
use jiff::SignedDuration;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::act::Hands;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::machine::Machine;
use crate::observe::doctor::{Patient, Ward};
use crate::observe::{Source, Tiers};
use crate::record::{self, Checked, NewEvent, Store};
use crate::report::auth::{Auth, Password};
use crate::report::live::Live;
use crate::report::page::Page;
use crate::report::{Server, ServerOptions, TlsFiles};
use crate::run::{self, Watched};
use crate::supervise::{self, Stop};
use crate::tape;
use crate::tell;

/// Actions are kept this long (contract 2).
const ACTIONS_KEPT_DAYS: u32 = 30;
/// Messages that were sent or given up are kept so long: to see what became of one.
const MESSAGES_KEPT_DAYS: u32 = 7;
/// How long a connection may take before the next endpoint is tried. A handshake takes 3 to 10 ms; this leaves room for
/// one lost packet, which is sent again after 1 s, and a part of a look at a node, which is to end within 4 s, for a second try.
const CONNECT_WITHIN: Duration = Duration::from_millis(2_500);
/// How long each part may take to stop; the whole is to take less than two seconds, and some more where something is
/// being done by hand.
const STOP_WITHIN: Duration = Duration::from_millis(1500);

/// What a daemon is made of.
pub struct Settings {
    /// Where REST and sockets listen.
    pub listen: SocketAddr,
    /// Other origins that may call.
    pub allowed_origins: Vec<String>,
    /// The machine that it runs on.
    pub machine: Machine,
    /// Proxies whose word on the caller's address is believed.
    pub behind_proxy: Vec<std::net::IpAddr>,
    /// The certificate that the server shows, where it speaks TLS itself.
    pub tls: Option<TlsFiles>,
    /// The admin's password, where one is configured.
    pub password: Option<Password>,
    /// The database.
    pub store: PathBuf,
    /// How long events are kept.
    pub retention_days: u32,
    /// Where a fresh store starts, and a ceiling.
    pub autonomy_level: u8,
    /// Whether this Jarvis only watches: another one acts, or nobody.
    pub standby: bool,
    /// Where the clusters' tapes are kept, if anywhere.
    pub tape: Option<tape::Settings>,
    /// How often each tier asks.
    pub tiers: Tiers,
    /// What is watched; the first is the one that the old page shows.
    pub clusters: Vec<ClusterSettings>,
    /// Who is told by mail and webhook.
    pub told: config::Told,
    /// The clock that everything goes by.
    pub clock: Clock,
}

/// One cluster to watch.
pub struct ClusterSettings {
    /// Its name in the configuration.
    pub name: ClusterName,
    /// Where to ask, in the order in which they are tried.
    pub endpoints: Vec<pve::Endpoint>,
    /// Who asks.
    pub token: pve::Token,
    /// Who acts, where that is another one.
    pub act_token: Option<pve::Token>,
    /// What its engine goes by.
    pub policy: Policy,
    /// Where the packets go that wake its nodes when no node can be asked to send them.
    pub magic_packet_to: SocketAddr,
    /// Where its nodes' sensors are read, if anywhere.
    pub temperature: Option<Source>,
}

/// A running daemon.
pub struct Daemon {
    server: Server,
    store: Store,
    stop: watch::Sender<bool>,
    watches: JoinSet<()>,
}

impl Settings {
    /// The configuration as the daemon uses it.
    ///
    /// # Errors
    /// An endpoint or token that the PVE client refuses although the configuration took it.
    pub fn from_config(config: Config) -> anyhow::Result<Settings> {
        let Config { server, store, autonomy_level, standby, tiers, clusters, told, warnings: _, .. } =
            config;
        let clusters = clusters
            .into_iter()
            .map(|cluster| {
                let name = cluster.name.clone();
                ClusterSettings::from_config(cluster).with_context(|| format!("cluster {name}"))
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let tape = tape_of(&store);
        Ok(Settings {
            tape,
            listen: server.listen,
            allowed_origins: server.allowed_origins,
            machine: Machine::read(),
            behind_proxy: server.behind_proxy,
            tls: server.tls.map(|config::Tls { cert, key }| TlsFiles { cert, key }),
            password: server.password.map(|password| Password::new(password.expose())),
            store: store.path,
            retention_days: store.retention_days,
            autonomy_level,
            standby,
            tiers: Tiers {
                live: match tiers.live {
                    config::Live::Off => None,
                    config::Live::Every(every) => Some(every),
                },
                critical: tiers.critical,
                important: tiers.important,
                routine: tiers.routine,
                background: tiers.background,
            },
            clusters,
            told,
            clock: Clock::wall(),
        })
    }
}

impl ClusterSettings {
    fn from_config(cluster: config::Cluster) -> anyhow::Result<ClusterSettings> {
        let endpoints = cluster
            .endpoints
            .iter()
            .map(|endpoint| {
                let trust = match &endpoint.trust {
                    config::Trust::System => pve::Trust::SystemRoots,
                    config::Trust::Authority { pem, .. } => pve::Trust::Ca(pem.as_slice().into()),
                    config::Trust::Fingerprint(bytes) => pve::Trust::Fingerprint(pve::Fingerprint(*bytes)),
                    config::Trust::Nobody => pve::Trust::Insecure,
                };
                Ok(pve::Endpoint::new(&endpoint.url(), trust)?)
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let token = pve::Token::new(&cluster.token_id, pve::Secret::new(cluster.token_secret.expose()))?;
        let act_token = cluster
            .act_token
            .map(|(id, secret)| pve::Token::new(&id, pve::Secret::new(secret.expose())))
            .transpose()?;
        // node_exporter's certificate is made by whoever made the nodes', if by anybody of the cluster's.
        let authority = cluster.endpoints.iter().find_map(|endpoint| match &endpoint.trust {
            config::Trust::Authority { pem, .. } => Some(pem.as_slice()),
            config::Trust::System | config::Trust::Fingerprint(_) | config::Trust::Nobody => None,
        });
        let temperature = match cluster.temperature {
            Some(config::Temperature::NodeExporter { url }) => Some(Source::node_exporter(url, authority)?),
            Some(config::Temperature::Ssh { user, key_file }) => Some(Source::ssh(user, key_file)),
            None => None,
        };
        Ok(ClusterSettings {
            name: cluster.name,
            endpoints,
            token,
            act_token,
            policy: cluster.policy,
            magic_packet_to: cluster.magic_packet_to,
            temperature,
        })
    }

    /// As it is examined, with connections of its own.
    pub(crate) fn patient(
        &self,
        clock: &Clock,
        machine: &Arc<Machine>,
        level: u8,
        standby: bool,
    ) -> anyhow::Result<Patient> {
        let level =
            Autonomy::ALL.into_iter().find(|known| known.number() == level).unwrap_or(Autonomy::Observe);
        let acting = self.act_token.as_ref().unwrap_or(&self.token).clone();
        Ok(Patient {
            name: self.name.clone(),
            endpoints: self.endpoints.clone(),
            watchers: clients(self.endpoints.clone(), self.token.clone(), clock)?,
            actors: clients(self.endpoints.clone(), acting, clock)?,
            token: self.token.id().into(),
            act_token: self.act_token.as_ref().map(|token| token.id().into()),
            runbooks: self.policy.runbooks.clone(),
            own: self.policy.own.clone(),
            machine: Arc::clone(machine),
            level,
            standby,
        })
    }
}

impl Daemon {
    /// Opens the store, listens, and begins to watch. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// What a person has to mend: the store, the address, a certificate.
    pub async fn start(settings: Settings) -> anyhow::Result<Daemon> {
        let (clock, machine) = (Arc::new(settings.clock), Arc::new(settings.machine));
        let channels = tell::channels(&settings.told)?;
        let store = Store::open(&settings.store).await?;
        let folder = settings.store.parent().filter(|folder| !folder.as_os_str().is_empty());
        let auth =
            Arc::new(Auth::open(folder.unwrap_or(Path::new(".")), store.clone(), settings.password).await?);
        let names = settings.clusters.iter().map(|cluster| cluster.name.clone());
        let round = clock.real(settings.tiers.critical);
        let live = Arc::new(Live::new(names, round, Instant::now()).with_clock(Arc::clone(&clock)));
        let pages: Vec<_> =
            settings.clusters.iter().map(|cluster| (cluster.name.clone(), Arc::new(Page::new()))).collect();
        let hands = settings.clusters.iter().map(|cluster| {
            let hands = hands(cluster, &clock).with_context(|| format!("cluster {}", cluster.name))?;
            Ok((cluster.name.clone(), hands))
        });
        let hands = hands.collect::<anyhow::Result<Vec<_>>>()?;
        let actors: Vec<Hands> = hands.iter().map(|(_, hands)| hands.clone()).collect();
        let scheme = if settings.tls.is_some() { "https" } else { "http" };
        let server = Server::start(ServerOptions {
            listen: settings.listen,
            allowed_origins: settings.allowed_origins,
            names: machine.names.clone(),
            public_url: settings.told.public_url.clone(),
            behind_proxy: settings.behind_proxy,
            tls: settings.tls,
            store: store.clone(),
            auth: Arc::clone(&auth),
            live: Arc::clone(&live),
            pages: pages.clone(),
            autonomy_ceiling: settings.autonomy_level,
            hands,
        })
        .await?;
        if let Some(code) = auth.take_setup_code() {
            // On this machine; where another one's browser is meant, this machine's own address stands before the slash.
            // What stands behind the # stays in the browser.
            let mut at = server.local_addr();
            if at.ip().is_unspecified() {
                at.set_ip(if at.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
            }
            tracing::warn!(
                "no password is set; set one within 24 hours at {scheme}://{at}/setup#code={code} or, on this machine, with: \
                 curl {scheme}://{at}/api/auth/setup -H 'content-type: application/json' -d '{{\"code\":\"{code}\",\"password\":\"...\"}}'"
            );
        }
        let (sender, stop) = supervise::stop();
        let mut watches = JoinSet::new();
        // Before anything is seen that they are to be told. A store that takes nothing keeps nobody from watching.
        let used = tell::used(&channels);
        if let Err(error) = store.use_channels(used.clone(), clock.now()).await {
            tracing::error!("nobody is told of what happens until the store takes who is: {error}");
            watches.spawn(tell::use_later(store.clone(), used, Arc::clone(&clock), stop.clone()));
        }
        // Beside the start, not in it: a hash takes as long as everything else together.
        watches.spawn(async move {
            if let Err(error) = auth.settle().await {
                tracing::error!("the configured password could not be set: {error}");
            }
        });
        let parts = settings.clusters.into_iter().zip(pages).zip(actors).enumerate();
        for (index, ((cluster, (_, page)), hands)) in parts {
            let name = cluster.name.clone();
            let patient = cluster.patient(&clock, &machine, settings.autonomy_level, settings.standby);
            let patient = patient.with_context(|| format!("cluster {name}"))?;
            live.admit(&name, Ward::new(patient, Arc::clone(&clock)));
            let watched = Watched {
                name: cluster.name,
                clients: clients(cluster.endpoints, cluster.token, &clock)
                    .with_context(|| format!("cluster {name}"))?,
                policy: cluster.policy,
                temperature: cluster.temperature,
                tiers: settings.tiers,
                clock: Arc::clone(&clock),
                store: store.clone(),
                live: Arc::clone(&live),
                page: Some(page),
                hands,
                first: index == 0,
                autonomy_ceiling: settings.autonomy_level,
                standby: settings.standby,
                machine: Arc::clone(&machine),
                tape: settings.tape.clone(),
            };
            watches.spawn(watch(watched, stop.clone()));
        }
        for channel in channels {
            let delivered = tell::deliver(Arc::new(channel), store.clone(), Arc::clone(&clock), stop.clone());
            watches.spawn(delivered);
        }
        watches.spawn(tell::unmute(store.clone(), Arc::clone(&clock), stop.clone()));
        watches.spawn(looked_through(store.clone(), Arc::clone(&clock), stop.clone()));
        watches.spawn(retention(store.clone(), clock, settings.tiers, settings.retention_days, stop));
        tracing::info!("[Monitor] Autonomous monitoring service started");
        Ok(Daemon { server, store, stop: sender, watches })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// Its store, for whoever wants to follow what it tells.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Stops in order: no more rounds, then no more callers, then the store, which takes what it was given.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let ended =
            tokio::time::timeout(STOP_WITHIN, async { while self.watches.join_next().await.is_some() {} });
        if ended.await.is_err() {
            tracing::warn!("a watch did not end in time and is cut off");
            self.watches.shutdown().await;
        }
        self.server.shutdown().await;
        if !self.store.close().await {
            tracing::warn!("the store did not close in time; what it acknowledged is on the disk");
        }
        tracing::info!("[Monitor] Autonomous monitoring service stopped");
    }
}

/// One client per endpoint, all with the same token and together within the limits per node. Their patience goes by the
/// daemon's clock, as that of whom they ask does.
///
/// # Errors
/// A certificate or token that the PVE client refuses.
pub fn clients(
    endpoints: Vec<pve::Endpoint>,
    token: pve::Token,
    clock: &Clock,
) -> anyhow::Result<Vec<pve::Client>> {
    let limits = pve::Limits::default();
    let limits = pve::Limits {
        connect: clock.real(CONNECT_WITHIN),
        cheap: clock.real(limits.cheap),
        forwarded: clock.real(limits.forwarded),
        pool_idle: clock.real(limits.pool_idle),
        ..limits
    };
    let mut clients: Vec<pve::Client> = Vec::with_capacity(endpoints.len());
    for endpoint in endpoints {
        clients.push(match clients.first() {
            Some(first) => first.beside(endpoint)?,
            None => pve::Client::new(endpoint, token.clone(), limits.clone())?,
        });
    }
    Ok(clients)
}

/// Where tapes are kept by this configuration, if they are.
pub fn tape_of(store: &config::Store) -> Option<tape::Settings> {
    (store.tape_days > 0).then(|| tape::Settings {
        folder: tape::Settings::folder_of(&store.path),
        keep: SignedDuration::from_hours(24 * i64::from(store.tape_days)),
        size_max: u64::from(store.tape_mib) << 20,
    })
}

/// What acts in a cluster. Connections and seats of its own: an operator's act does not wait behind a round of polls.
fn hands(cluster: &ClusterSettings, clock: &Arc<Clock>) -> anyhow::Result<Hands> {
    let token = cluster.act_token.as_ref().unwrap_or(&cluster.token).clone();
    let clients = clients(cluster.endpoints.clone(), token, clock)?;
    Ok(Hands::new(clients, cluster.act_token.is_some())
        .with_magic_packet_to(cluster.magic_packet_to)
        .with_clock(Arc::clone(clock)))
}

/// One cluster's watch, which survives its own panics.
async fn watch(watched: Watched, stop: Stop) {
    let name = format!("{} watch", watched.name);
    let cut = stop.clone();
    supervise::keep_alive(name, stop, move || run::watch(watched.clone(), cut.clone())).await;
}

/// Whether the store is as it was left: a damaged page may lie where nobody reads for weeks, and until then backups of it
/// push out the good ones.
async fn looked_through(store: Store, clock: Arc<Clock>, mut stop: Stop) {
    let stopping = stop.clone();
    let checked = tokio::select! {
        checked = store.check(move || stopping.is_asked()) => checked,
        () = stop.asked() => return,
    };
    let said = match checked {
        Ok(Checked::Whole) => return tracing::debug!("the store's pages fit"),
        Ok(Checked::Unfinished) => {
            return tracing::warn!(
                "the store is too large to be looked through in time; `jarvis audit verify` does it whole"
            );
        }
        Ok(Checked::Damaged(said)) => said,
        Err(error) => {
            let error = anyhow::Error::from(error);
            return tracing::error!("whether the store is whole is not known: {error:#}");
        }
    };
    tracing::error!(path = %store.path().display(), "the store is damaged ({said}): restore a backup, or move it away to begin anew");
    let message = format!(
        "its pages do not fit: {said}. What is recorded may be lost: restore a backup, or move it away to begin anew"
    );
    let (alert, critical) = (EventKind::Alert, Severity::Critical);
    let event =
        NewEvent::plain(clock.now(), alert, critical, record::Source::System, "Database damaged", &message);
    if let Err(error) = store.save_event(event).await {
        tracing::error!("its damage could not be told: {:#}", anyhow::Error::from(error));
    }
}

/// The background tier's other half: what is older than it may be goes.
async fn retention(store: Store, clock: Arc<Clock>, tiers: Tiers, events_days: u32, mut stop: Stop) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(clock.real(tiers.background)) => {}
            () = stop.asked() => return,
        }
        let now = clock.now();
        let pruned = async {
            let events = store.cleanup_old_events(events_days, now).await?;
            let incidents = store.cleanup_old_incidents(events_days, now).await?;
            let journal = store.cleanup_old_journal(events_days, now).await;
            store.cleanup_old_notices(events_days, now).await?;
            let actions = store.cleanup_old_actions(ACTIONS_KEPT_DAYS, now).await?;
            let snapshots = store.cleanup_old_snapshots(events_days, now).await?;
            let messages = store.cleanup_old_messages(MESSAGES_KEPT_DAYS, now).await?;
            anyhow::Ok((events, incidents, actions, snapshots, messages, journal?))
        };
        match pruned.await {
            Ok((events, incidents, actions, snapshots, messages, journal)) => {
                tracing::debug!(events, incidents, actions, snapshots, messages, journal, "old rows removed");
            }
            Err(error) => tracing::error!("old rows could not be removed: {error:#}"),
        }
    }
}
