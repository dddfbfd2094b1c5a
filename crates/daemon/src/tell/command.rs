//! `jarvis notify-test`: a message that tells nothing, over every configured channel, and what the other side said.

use std::path::PathBuf;

use anyhow::{bail, ensure};
use jiff::Timestamp;

use crate::config::Config;
use crate::ops::print;

/// `jarvis notify-test`.
#[derive(Debug, clap::Args)]
pub struct TestOptions {
    /// The configuration that names the channels.
    #[arg(long, value_name = "FILE", default_value = "jarvis.toml")]
    config: PathBuf,
    /// Only this one: `mail:ADDRESS`, or `webhook:NAME`.
    #[arg(long, value_name = "CHANNEL")]
    only: Option<String>,
}

/// Sends it, without the daemon and past its outbox.
///
/// # Errors
/// Nothing is configured, or somebody did not take it.
pub async fn test(options: TestOptions) -> anyhow::Result<()> {
    let config = Config::from_process(Some(&options.config))?;
    let channels = super::channels(&config.told)?;
    let names: Vec<&str> = channels.iter().map(super::Channel::name).collect();
    ensure!(
        !names.is_empty(),
        "nobody is told anything: the configuration has neither [mail] nor [[webhook]]"
    );
    if let Some(only) = &options.only {
        ensure!(names.contains(&only.as_str()), "`{only}` is no channel; there are {}", names.join(", "));
    }
    let asked =
        channels.iter().filter(|channel| options.only.as_deref().is_none_or(|only| only == channel.name()));
    let mut failed = 0;
    for channel in asked {
        let line = match channel.test(Timestamp::now()).await {
            Ok(sent) => format!("{}: accepted: {}\n", channel.name(), sent.said),
            Err(unsent) => {
                failed += 1;
                format!("{}: not accepted: {}\n", channel.name(), unsent.words)
            }
        };
        print(&line)?;
    }
    if failed > 0 {
        bail!("{failed} of the test messages did not go out");
    }
    Ok(())
}
