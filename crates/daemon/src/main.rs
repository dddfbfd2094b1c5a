//! The command line: reads arguments, starts, waits for a signal, stops.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use daemon::config::{self, Config};
use daemon::daemon::{Daemon, Settings};
use daemon::{cli, core_dump, demo, doctor, open_files, ops, tape, tell};
use tracing_subscriber::EnvFilter;

/// Watches Proxmox VE clusters and tells what happens to them.
#[derive(Parser)]
#[command(
    name = "jarvis",
    version,
    about = "Watches Proxmox VE clusters and tells what happens to them",
    max_term_width = 110
)]
struct Arguments {
    /// What is logged: off, error, warn, info, debug, trace, or by module (info,daemon::observe=debug).
    #[arg(long, global = true, env = "JARVIS_LOG", value_name = "FILTER")]
    log: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Watch the configured clusters until SIGTERM or SIGINT.
    Run {
        /// The configuration.
        #[arg(long, value_name = "FILE", default_value = "jarvis.toml")]
        config: PathBuf,
    },
    /// Watch a simulated cluster to which things happen; needs nothing else.
    Demo(demo::Options),
    /// Serve a simulated cluster alone, behind PVE's HTTP API.
    Sim(ops::SimOptions),
    /// Read the configuration, print what is in force, and say what is wrong with it.
    CheckConfig {
        /// The configuration.
        #[arg(long, value_name = "FILE", default_value = "jarvis.toml")]
        config: PathBuf,
    },
    /// Ask each configured endpoint and look at the store, and print what is missing with the commands that mend it. Reads only.
    Doctor {
        /// The configuration.
        #[arg(long, value_name = "FILE", default_value = "jarvis.toml")]
        config: PathBuf,
    },
    /// Print what is on the tapes: what was seen and said, kept for a while.
    Record(tape::command::RecordOptions),
    /// Play the tapes with a policy (this configuration's, another level), and print what would be said otherwise. Reads only.
    Replay(tape::command::ReplayOptions),
    /// Send a test message to everybody who is to be told, by mail and webhook, and print what was answered.
    NotifyTest(tell::command::TestOptions),
    /// Print the OpenAPI document of all calls, for programs that make clients of it.
    Openapi,
    /// Look after the journal of what happened.
    #[command(subcommand)]
    Audit(ops::Audit),
    #[command(flatten)]
    Ask(cli::Command),
}

fn main() -> ExitCode {
    // Before anything secret is read.
    let dumps = core_dump::off();
    let matches = Arguments::command().get_matches_from(words(std::env::args_os()));
    let from = match matches.value_source("log") {
        Some(ValueSource::EnvVariable) => "JARVIS_LOG",
        Some(_) | None => "--log",
    };
    let arguments = match Arguments::from_arg_matches(&matches) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    let ended = log_to_stderr(arguments.log.as_deref(), from, &arguments.command).and_then(|()| {
        if let Err(error) = dumps {
            tracing::warn!(
                "core dumps could not be switched off ({error}): a crash may leave secrets on the disk"
            );
        }
        if let Err(error) = open_files::raise() {
            tracing::warn!(
                "the number of open files could not be raised ({error}): many sockets may be too many"
            );
        }
        run(arguments.command)
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nowhere else to say it: standard error may be closed as well.
            let said = writeln!(std::io::stderr(), "jarvis: {error:#}");
            drop(said);
            ExitCode::FAILURE
        }
    }
}

/// `jarvis help --help` asks for nothing else than `jarvis help`; the parser takes it for a command of that name.
fn words(given: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = given.collect();
    if words.get(1).is_some_and(|word| word == "help") {
        words.retain(|word| word != "--help" && word != "-h");
    }
    words
}

const OWN_DEBUG: &str = "info,daemon=debug,engine=debug,pve=debug,sim=debug,jarvis=debug";

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// `from`: what people call the filter's place.
fn log_to_stderr(filter: Option<&str>, from: &str, command: &Command) -> anyhow::Result<()> {
    let default = match command {
        Command::Run { .. } | Command::CheckConfig { .. } => "info",
        // Its terminal shows what happens to the cluster; the log would say it twice.
        Command::Demo(_) => "warn,jarvis::told=off",
        // It says in its own words what the log would.
        Command::Doctor { .. } => "error",
        Command::Sim(_)
        | Command::Audit(_)
        | Command::Record(_)
        | Command::Replay(_)
        | Command::NotifyTest(_)
        | Command::Ask(_)
        | Command::Openapi => "warn",
    };
    let filter = filter.filter(|filter| !filter.trim().is_empty()).unwrap_or(default);
    // The filter takes any word for the name of a module, and then logs nothing at all.
    for word in filter.split(',').map(str::trim) {
        let level = word.rsplit('=').next().unwrap_or(word).to_lowercase();
        if !LEVELS.contains(&&*level) {
            bail!(
                "{from} {filter}: `{word}` is no level; write one of {}, or MODULE=LEVEL",
                LEVELS.join(", ")
            );
        }
    }
    // Who asks for our rounds is not asking for every statement and connection of the libraries; `trace` shows those too.
    let filter = if filter.trim().eq_ignore_ascii_case("debug") { OWN_DEBUG } else { filter };
    let filter = EnvFilter::try_new(filter).with_context(|| format!("{from} {filter}"))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Colours are for eyes; a file or a journal is read by programs too.
    match std::io::stderr().is_terminal() {
        true => log.init(),
        false => log.with_ansi(false).init(),
    }
    Ok(())
}

fn run(command: Command) -> anyhow::Result<()> {
    if let Command::Openapi = &command {
        return ops::print(daemon::report::v1::document::text());
    }
    if let Command::CheckConfig { config } = &command {
        let config = Config::from_process(Some(config))?;
        return ops::print(&config::describe(&config));
    }
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok()
        .context("the crypto provider is set twice")?;
    // Two threads are plenty: the work is waiting. Few blocking threads: each costs memory, and hashing is one at
    // a time anyway.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(8)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match command {
            Command::Run { config } => {
                if let Some(point) = config::kill_point() {
                    daemon::kill_point::aim(&point);
                }
                watch(Config::from_process(Some(&config))?).await
            }
            Command::Demo(options) => demo::run(options).await,
            Command::Sim(options) => ops::sim(options).await,
            Command::Doctor { config } => doctor::run(Config::from_process(Some(&config))?).await,
            Command::Audit(audit) => ops::audit(audit).await,
            Command::Ask(command) => cli::run(command).await,
            Command::NotifyTest(options) => tell::command::test(options).await,
            Command::Record(options) => tape::command::record(&options),
            Command::Replay(options) => tape::command::play(&options, jiff::Timestamp::now()),
            Command::CheckConfig { .. } | Command::Openapi => Ok(()),
        }
    })
}

async fn watch(config: Config) -> anyhow::Result<()> {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let signal = ops::signal()?;
    let daemon = Daemon::start(Settings::from_config(config)?).await?;
    let address: SocketAddr = daemon.local_addr();
    tracing::info!(%address, "listening");
    signal.await;
    daemon.stop().await;
    Ok(())
}
