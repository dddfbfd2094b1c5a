//! The commands for people and scripts at a terminal: what is the matter, and stop.
//!
//! They ask the daemon over REST, as everybody does. `--offline` works on the store instead, while no daemon runs.
//! What is printed for people may change; `--json` is what the daemon answered.

pub mod audit;
mod client;
mod guest;
mod incident;
mod list;
mod notice;
mod offline;
mod pin;
mod table;
mod tls;
mod who;

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use engine::observe::ClusterName;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::ops::print;
use crate::record::level_name;
use client::Client;
use list::List;

/// How the daemon is found, and who asks.
#[derive(Debug, Args)]
pub struct Reach {
    /// The configuration that the daemon runs with: its address, and the key beside its store.
    #[arg(long, value_name = "FILE", default_value = "jarvis.toml")]
    config: PathBuf,
    /// Another daemon's address, which wants a token: JARVIS_TOKEN in the environment, or --token-file.
    #[arg(long, value_name = "URL", conflicts_with = "config")]
    url: Option<String>,
    /// A file that holds an API token and nothing else.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The authority that made the daemon's certificate (PEM), where this machine's do not know it.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The daemon's own certificate (PEM): exactly this one is trusted, whatever name it is for.
    #[arg(long, value_name = "FILE", conflicts_with = "ca_file")]
    cert_file: Option<PathBuf>,
    /// Print what the daemon answered: JSON.
    #[arg(long)]
    json: bool,
}

/// What is asked or told.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Whether the clusters are seen, what is in force, and how Jarvis itself is.
    Status {
        #[command(flatten)]
        reach: Reach,
    },
    /// What is wrong and not over, in all clusters, newest first; with --state over what was.
    Incidents {
        #[command(flatten)]
        reach: Reach,
        /// Which ones.
        #[arg(long, value_enum, default_value_t = State::Open)]
        state: State,
        #[command(flatten)]
        rows: Rows,
    },
    /// What happened, in all clusters, newest first.
    Events {
        #[command(flatten)]
        reach: Reach,
        #[command(flatten)]
        rows: Rows,
    },
    /// What Jarvis did about incidents by itself, in all clusters, newest first. What operators did by hand is among the
    /// events.
    Actions {
        #[command(flatten)]
        reach: Reach,
        #[command(flatten)]
        rows: Rows,
    },
    /// The story of one incident: why it was told, what was decided, done and seen.
    Why {
        /// Its id or the beginning of it, its key (VM_CRASHED:101) or its subject (qemu/101).
        incident: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Have done what is recommended, or have it tried once more; every guardrail but the level still stands.
    Approve {
        /// As for `why`.
        incident: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Have nothing done about an incident.
    Dismiss {
        /// As for `why`.
        incident: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Say that an incident was seen.
    Acknowledge {
        /// As for `why`.
        incident: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Close an incident; if it is still true, it is told again.
    Resolve {
        /// As for `why`.
        incident: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Start, stop, shut down or restart a guest by hand.
    #[command(subcommand)]
    Guest(guest::Guest),
    /// Announced work, in which nothing is done and nobody is told.
    #[command(subcommand)]
    Maintenance(notice::Maintenance),
    /// What people are not told of for a while.
    #[command(subcommand)]
    Silence(notice::Silence),
    /// Stop everything that Jarvis does on its own, or let it act again.
    KillSwitch {
        /// What to do.
        what: Switch,
        #[command(flatten)]
        reach: Reach,
        /// Work on the store itself, while the daemon is down.
        #[arg(long, conflicts_with_all = ["url", "token_file", "ca_file", "cert_file"])]
        offline: bool,
    },
    /// How much Jarvis may do on its own; with a number, set it.
    Autonomy {
        /// 0 observe, 1 alert, 2 recommend, 3 act and report, 4 act silently.
        #[arg(value_parser = clap::value_parser!(u8).range(0..=4))]
        level: Option<u8>,
        #[command(flatten)]
        reach: Reach,
        /// Work on the store itself, while the daemon is down.
        #[arg(long, conflicts_with_all = ["url", "token_file", "ca_file", "cert_file"])]
        offline: bool,
    },
}

/// Which, and how many.
#[derive(Debug, Args)]
pub struct Rows {
    /// How many, at most.
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Only those of this cluster.
    #[arg(long, value_name = "NAME", value_parser = list::cluster)]
    cluster: Option<ClusterName>,
    /// Only those before this time (UTC, where it has no zone).
    #[arg(long, value_name = "TIME", value_parser = list::time)]
    before: Option<Timestamp>,
}

/// Where incidents are in their life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum State {
    /// Those that are not over.
    Open,
    /// Those that are.
    Over,
    /// Both.
    All,
}

/// What is done to the kill switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Stop everything.
    On,
    /// Let it act again.
    Off,
    /// Say which it is.
    Status,
}

/// Asks or tells, and prints the answer.
///
/// # Errors
/// The daemon is not reached, refuses, or answers what is not understood.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Status { reach } => status(&reach).await,
        Command::Incidents { reach, state, rows } => list::list(&reach, &rows, List::Incidents(state)).await,
        Command::Events { reach, rows } => list::list(&reach, &rows, List::Events).await,
        Command::Actions { reach, rows } => list::list(&reach, &rows, List::Actions).await,
        Command::Why { incident, reach } => incident::why(&reach, &incident).await,
        Command::Approve { incident, reach } => incident::order(&reach, &incident, "approve").await,
        Command::Dismiss { incident, reach } => incident::order(&reach, &incident, "dismiss").await,
        Command::Acknowledge { incident, reach } => incident::order(&reach, &incident, "acknowledge").await,
        Command::Resolve { incident, reach } => incident::order(&reach, &incident, "resolve").await,
        Command::Guest(command) => guest::run(command).await,
        Command::Maintenance(command) => notice::maintenance(command).await,
        Command::Silence(command) => notice::silence(command).await,
        Command::KillSwitch { what, reach, offline } => kill_switch(&reach, what, offline).await,
        Command::Autonomy { level, reach, offline } => autonomy(&reach, level, offline).await,
    }
}

const STATUS: &str = "/api/monitor/status";

async fn status(reach: &Reach) -> anyhow::Result<()> {
    let client = Client::new(reach)?;
    let monitor = client.get(STATUS).await?;
    let health = client.health().await?;
    let mut answer = json!({ "monitor": monitor, "health": health });
    // Where the store does not answer, the rest is all the more worth being said.
    if let Ok(mut clusters) = client.get("/api/v1/clusters").await {
        answer["clusters"] = clusters["items"].take();
    }
    if reach.json { print(&format!("{answer}\n")) } else { print(&table::status(&answer)) }
}

async fn kill_switch(reach: &Reach, what: Switch, offline: bool) -> anyhow::Result<()> {
    let active = match what {
        Switch::On => Some(true),
        Switch::Off => Some(false),
        Switch::Status => None,
    };
    let answer = match (offline, active) {
        (true, _) => json!({ "killSwitch": offline::kill_switch(&reach.config, active).await? }),
        (false, Some(active)) => {
            let body = json!({ "active": active });
            Client::new(reach)?.put("/api/monitor/killswitch", &body).await.map_err(or_offline)?
        }
        (false, None) => only(&Client::new(reach)?.get(STATUS).await?, "killSwitch"),
    };
    let on =
        answer["killSwitch"].as_bool().context("the daemon does not say whether the kill switch is on")?;
    let words = if on { "kill switch: on, Jarvis does nothing on its own" } else { "kill switch: off" };
    if reach.json { print(&format!("{answer}\n")) } else { print(&format!("{words}\n")) }
}

async fn autonomy(reach: &Reach, level: Option<u8>, offline: bool) -> anyhow::Result<()> {
    let answer = match (offline, level) {
        (true, _) => json!({ "autonomyLevel": offline::autonomy(&reach.config, level).await? }),
        (false, Some(level)) => {
            let body = json!({ "level": level });
            Client::new(reach)?.put("/api/monitor/autonomy-level", &body).await.map_err(or_offline)?
        }
        (false, None) => only(&Client::new(reach)?.get(STATUS).await?, "autonomyLevel"),
    };
    let level = answer["autonomyLevel"].as_u64().and_then(|level| u8::try_from(level).ok());
    let level = level.context("the daemon does not say which level is in force")?;
    let words = format!("autonomy: {level} {}", level_name(level));
    if reach.json { print(&format!("{answer}\n")) } else { print(&format!("{words}\n")) }
}

fn only(answer: &Value, key: &str) -> Value {
    json!({ key: answer[key] })
}

/// What stops things must have a way when the daemon is down.
fn or_offline(error: client::Failure) -> anyhow::Error {
    let unreachable = matches!(error, client::Failure::Unreachable { .. });
    let error = anyhow::Error::from(error);
    if unreachable { error.context("while the daemon is down, --offline works on its store") } else { error }
}
