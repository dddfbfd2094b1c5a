//! `jarvis demo`: a simulated cluster of four nodes, things that happen to it, and Jarvis watching it.
//!
//! Everything is real but the cluster: the HTTPS calls, the store, the server, the sockets. The cluster's clock and
//! Jarvis's run faster than the world by the same factor, so that a round of 12 s takes 2.

use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, bail};
use engine::policy::Policy;
use engine::report::Severity;
use jiff::{SignedDuration, Timestamp};
use sim::http::{Options as SimOptions, Server, Token};
use sim::script::Script;
use tokio::sync::broadcast::error::RecvError;

use crate::clock::Clock;
use crate::daemon::{ClusterSettings, Daemon, Settings};
use crate::machine::Machine;
use crate::observe::Tiers;
use crate::ops;
use crate::record::EventRow;
use crate::report::auth::Password;

const CLUSTER: &str = include_str!("demo/cluster.txt");
const DAY: &str = include_str!("demo/day.txt");
/// How long the day is, in the cluster's time: its last event and time to see what comes of it.
const DAY_LENGTH: SignedDuration = SignedDuration::from_secs(18 * 60);
/// The token of the demo's cluster. No secret: the cluster is made up and listens on loopback.
const TOKEN_ID: &str = "jarvis@pve!demo";
const TOKEN_SECRET: &str = "00000000-0000-0000-0000-000000000000";
const PASSWORD: &str = "demo";

/// `jarvis demo`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Where the API and the sockets listen.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4000")]
    listen: SocketAddr,
    /// Another port.
    #[arg(long, env = "PORT")]
    port: Option<String>,
    /// How many times faster than the world the demo's day runs.
    #[arg(long, default_value_t = 6.0)]
    speed: f64,
}

/// Runs until a signal.
///
/// # Errors
/// What a person has to mend: the address, the database.
pub async fn run(mut options: Options) -> anyhow::Result<()> {
    if !(1.0..=100.0).contains(&options.speed) {
        bail!("--speed {}: from 1 to 100", options.speed);
    }
    let port = options.port.as_deref().map(str::trim).filter(|port| !port.is_empty());
    if let Some(port) = port {
        let number = port.parse().ok().with_context(|| format!("PORT is `{port}`: from 0 to 65535"))?;
        options.listen.set_port(number);
    }
    if !options.listen.ip().is_loopback() {
        bail!(
            "--listen {}: the demo's password is known to everybody, so it listens on loopback only",
            options.listen
        );
    }
    let stopped = ops::signal()?;
    let folder = Folder::make()?;
    let mut simulated = SimOptions::script(&Script::parse(CLUSTER)?)?;
    simulated.speed = options.speed;
    simulated.tokens = vec![format!("{TOKEN_ID}={TOKEN_SECRET}:full").parse::<Token>()?];
    let cluster = Server::start(simulated)?;
    let daemon = Daemon::start(settings(&options, &folder, &cluster)?).await?;
    let level = daemon.store().set_preference("autonomy.level", "3", Timestamp::now());
    level.await?;
    ops::print(&hello(&options, &folder, daemon.local_addr(), &cluster))?;
    tokio::select! {
        () = stopped => {}
        ended = live_through_days(&cluster, options.speed) => ended?,
        ended = scroll(&daemon) => ended?,
    }
    ops::print("\nstopping\n")?;
    daemon.stop().await;
    cluster.shutdown().await;
    Ok(())
}

/// A folder of the demo's own for its database, key and password: it begins empty each time, touches nothing of anybody
/// else's, and goes at the end.
struct Folder(PathBuf);

impl Folder {
    fn make() -> anyhow::Result<Folder> {
        let path = std::env::temp_dir().join(format!("jarvis-demo-{}", std::process::id()));
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("{}: the demo's folder cannot be made", path.display()))?;
        Ok(Folder(path))
    }

    fn store(&self) -> PathBuf {
        self.0.join("jarvis.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!("{}: {error}", self.0.display());
        }
    }
}

fn settings(options: &Options, folder: &Folder, cluster: &Server) -> anyhow::Result<Settings> {
    let trust = pve::Trust::Ca(cluster.ca_pem().as_bytes().into());
    let endpoints = cluster
        .endpoints()
        .iter()
        .map(|url| Ok(pve::Endpoint::new(url, trust.clone())?))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let from = cluster.now().context("the simulated cluster has no clock")?;
    let clusters = vec![ClusterSettings {
        name: "demo".parse()?,
        endpoints,
        token: pve::Token::new(TOKEN_ID, pve::Secret::new(TOKEN_SECRET))?,
        act_token: None,
        policy: Policy::default(),
        // The simulated nodes are woken by the simulated cluster; nothing leaves this machine.
        magic_packet_to: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), crate::act::MAGIC_PACKET_TO.port()),
        temperature: None,
    }];
    Ok(Settings {
        listen: options.listen,
        allowed_origins: Vec::new(),
        machine: Machine::read(),
        behind_proxy: Vec::new(),
        tls: None,
        password: Some(Password::new(PASSWORD)),
        store: folder.store(),
        retention_days: 30,
        autonomy_level: 3,
        tape: None,
        standby: false,
        tiers: Tiers::default(),
        clusters,
        told: crate::config::Told::default(),
        clock: Clock::faster(from, Instant::now(), options.speed),
    })
}

fn hello(options: &Options, folder: &Folder, address: SocketAddr, cluster: &Server) -> String {
    let Options { speed, .. } = options;
    let endpoints = cluster.endpoints().join(" ");
    format!(
        "Jarvis demo: a simulated cluster of 4 nodes, 15 guests and a template. Nothing here is real but Jarvis.\n\
         the page         http://{address}/login#password={PASSWORD}\n\
         API and sockets  http://{address}  (password: {PASSWORD})\n\
         the cluster      {endpoints}\n\
         the database     {} (gone when the demo ends)\n\
         time             simulated, {speed} times as fast as the world, in events too; Ctrl-C stops\n\n",
        folder.store().display()
    )
}

/// Lets the day happen, and then again.
async fn live_through_days(cluster: &Server, speed: f64) -> anyhow::Result<()> {
    let lines: Vec<&str> = DAY
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|l| !l.is_empty())
        .collect();
    loop {
        for line in &lines {
            cluster.apply(&format!("at {line}")).with_context(|| format!("the demo's day: {line}"))?;
        }
        tokio::time::sleep(std::time::Duration::try_from(DAY_LENGTH)?.div_f64(speed)).await;
    }
}

/// Shows each event as it is told.
async fn scroll(daemon: &Daemon) -> anyhow::Result<()> {
    let colour = std::io::stdout().is_terminal();
    let mut events = daemon.store().committed();
    loop {
        match events.recv().await {
            Ok(event) => ops::print(&line(&event, colour))?,
            Err(RecvError::Lagged(missed)) => ops::print(&format!("... {missed} events not shown ...\n"))?,
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}

/// `13:04:55  error     VM web01 (101) crashed` and, below it, what it means.
fn line(event: &EventRow, colour: bool) -> String {
    let time = event.timestamp.strftime("%H:%M:%S");
    let (word, code) = match event.severity {
        Severity::Info if event.title.starts_with("Resolved") => ("resolved", "32"),
        Severity::Info => ("info", "0"),
        Severity::Warning => ("warning", "33"),
        Severity::Error => ("error", "31"),
        Severity::Critical => ("critical", "1;31"),
    };
    let word = format!("{word:<8}");
    let word = if colour { format!("\x1b[{code}m{word}\x1b[0m") } else { word };
    format!("{time}  {word}  {}\n{:20}{}\n", event.title, "", event.message)
}
