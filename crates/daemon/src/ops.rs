//! The commands beside `run` and `demo`, and what they share: signals and the terminal.

use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, bail};
use sim::http::{Options, Server, Token};
use sim::script::{Script, named};
use tokio::signal::unix::{SignalKind, signal as on};

use crate::cli;
use crate::config::Config;
use crate::record;

/// `jarvis sim`.
#[derive(Debug, clap::Args)]
pub struct SimOptions {
    /// Where the first node listens; the next ones take the next ports.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8006")]
    listen: SocketAddr,
    /// A scenario by its name, or a file with one.
    #[arg(long, value_name = "NAME|FILE", conflicts_with_all = ["recorded", "nodes"])]
    scenario: Option<String>,
    /// A folder of recorded answers, served as they are.
    #[arg(long, value_name = "FOLDER", conflicts_with = "nodes")]
    recorded: Option<PathBuf>,
    /// A generated cluster of so many nodes (the default: 4).
    #[arg(long, value_name = "COUNT")]
    nodes: Option<usize>,
    /// Guests of the generated cluster.
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    guests: usize,
    /// An accepted token; `:auditor` or `:none` at its end gives it fewer rights. May be given several times.
    #[arg(long, value_name = "ID=SECRET")]
    token: Vec<String>,
    /// Where the control interface listens (loopback only): POST /script, GET /counters.
    #[arg(long, value_name = "ADDRESS")]
    control: Option<SocketAddr>,
    /// Seconds that pass in the cluster in one real second.
    #[arg(long, default_value_t = 1.0)]
    speed: f64,
    /// Decides the generated cluster and the order of lists.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to write the certificate of the cluster's own CA (PEM).
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// `jarvis audit`.
#[derive(Debug, clap::Subcommand)]
pub enum Audit {
    /// Walk the journal from its oldest to its newest row, and name the first one that does not fit. Reads only;
    /// works while the daemon runs, too.
    Verify {
        /// The configuration that names the store.
        #[arg(long, value_name = "FILE", default_value = "jarvis.toml")]
        config: PathBuf,
        /// The store itself.
        #[arg(long, value_name = "PATH", conflicts_with_all = ["config", "url"])]
        store: Option<PathBuf>,
        #[command(flatten)]
        elsewhere: cli::audit::Elsewhere,
    },
}

/// Says what was checked.
///
/// # Errors
/// What does not fit, or why it cannot be read.
pub async fn audit(audit: Audit) -> anyhow::Result<()> {
    match audit {
        Audit::Verify { config, store, elsewhere } => {
            if cli::audit::verify(elsewhere).await? {
                return Ok(());
            }
            let store = match store {
                Some(store) => store,
                None => Config::from_process(Some(&config))?.store.path,
            };
            print(&record::verify(&store).await?.to_string())
        }
    }
}

/// Serves a simulated cluster until a signal.
pub async fn sim(options: SimOptions) -> anyhow::Result<()> {
    let stopped = signal()?;
    let mut served = match (&options.scenario, &options.recorded) {
        (Some(name), _) => {
            let text = match std::fs::read_to_string(name) {
                Ok(text) => text,
                Err(error) => {
                    let named = named(name)
                        .map_err(|what| anyhow::anyhow!("{name} is no file ({error}), and {what}"));
                    named?.to_owned()
                }
            };
            Options::script(&Script::parse(&text).with_context(|| name.clone())?)?
        }
        (None, Some(folder)) => Options::recorded(folder)?,
        (None, None) => Options::generated(options.nodes.unwrap_or(4), options.guests, options.seed)?,
    };
    if options.token.is_empty() && options.recorded.is_none() {
        bail!("nobody could ask this cluster anything: give --token 'user@realm!name=secret'");
    }
    served.listen = options.listen;
    served.control = options.control;
    served.speed = options.speed;
    served.seed = options.seed;
    served.tokens =
        options.token.iter().map(|token| Ok(token.parse::<Token>()?)).collect::<anyhow::Result<_>>()?;
    let server = Server::start(served)?;
    if let Some(file) = &options.ca_file {
        std::fs::write(file, server.ca_pem()).with_context(|| file.display().to_string())?;
    }
    let mut lines = String::new();
    for ((node, address), fingerprint) in server.addresses().iter().zip(server.fingerprints().values()) {
        lines.push_str(&format!("{node} https://{address} SHA-256 {fingerprint}\n"));
    }
    if let Some(control) = server.control_addr() {
        lines.push_str(&format!("control http://{control}\n"));
    }
    print(&lines)?;
    stopped.await;
    server.shutdown().await;
    Ok(())
}

/// Becomes ready at the first SIGTERM, SIGINT or SIGHUP (a terminal that was closed) after the call. SIGXFSZ ends nothing any
/// more.
///
/// # Errors
/// When the signals cannot be caught.
pub fn signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = on(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
    let mut interrupt = on(SignalKind::interrupt()).context("SIGINT cannot be caught")?;
    let mut hangup = on(SignalKind::hangup()).context("SIGHUP cannot be caught")?;
    // A file that reaches a limit on sizes is a failing store, which is told; by default it would be the end of the process.
    drop(
        on(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))
            .context("SIGXFSZ cannot be caught")?,
    );
    Ok(async move {
        tokio::select! {
            _ = hangup.recv() => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Writes to the terminal. A reader that went away (`| head`) is no error.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}
