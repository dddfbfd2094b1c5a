//! `jarvis record` and `jarvis replay`: what is on the tapes, and what another policy would have made of it. Both only read.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, bail};
use engine::decide::Autonomy;
use engine::observe::ClusterName;
use engine::policy::Policy;
use jiff::{SignedDuration, Timestamp, Unit};

use super::replay::{Difference, go_on, replay};
use super::{PIECE_LASTS, Settings, pieces};
use crate::config::{self, Config};
use crate::ops::print;
use crate::words::plain;

/// `jarvis record`.
#[derive(Debug, clap::Args)]
pub struct RecordOptions {
    /// The configuration that names the store.
    #[arg(long, value_name = "FILE", default_value = "jarvis.toml")]
    config: PathBuf,
}

/// `jarvis replay`.
#[derive(Debug, clap::Args)]
pub struct ReplayOptions {
    /// The policy to be tried: a configuration, which may be another one than the daemon's.
    #[arg(long, value_name = "FILE", default_value = "jarvis.toml")]
    config: PathBuf,
    /// The store beside which the tapes lie, where that is another one than the configuration's.
    #[arg(long, value_name = "PATH")]
    store: Option<PathBuf>,
    /// The level to be tried, 0 to 4, instead of the one that was set then.
    #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(u8).range(0..=4))]
    level: Option<u8>,
    /// Only this cluster.
    #[arg(long, value_name = "NAME")]
    cluster: Option<ClusterName>,
    /// Only the last so many days.
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..=365))]
    days: Option<u16>,
    /// Most differences that are printed.
    #[arg(long, value_name = "COUNT", default_value_t = 200)]
    limit: usize,
}

/// Prints what tapes there are.
///
/// # Errors
/// The configuration or the folder cannot be read.
pub fn record(options: &RecordOptions) -> anyhow::Result<()> {
    let config = Config::from_process(Some(&options.config))?;
    let folder = Settings::folder_of(&config.store.path);
    let mut text = String::new();
    for cluster in &config.clusters {
        let folder = folder.join(cluster.name.as_str());
        let pieces = pieces(&folder).with_context(|| folder.display().to_string())?;
        let bytes: u64 = pieces.iter().filter_map(|(_, path)| fs::metadata(path).ok()).map(|m| m.len()).sum();
        text.push_str(&match pieces.first() {
            Some((began, _)) => format!(
                "{}: since {}, {} KiB in {} pieces, {}\n",
                cluster.name,
                short(*began),
                bytes.div_ceil(1024),
                pieces.len(),
                folder.display()
            ),
            None => format!("{}: nothing is on tape\n", cluster.name),
        });
    }
    text.push_str(&match (config.store.tape_days, config.store.tape_mib) {
        (0, _) => "no tape is kept (store.tape_days = 0)\n".to_owned(),
        (days, mib) => format!("kept: {days} days, at most {mib} MiB of each cluster\n"),
    });
    print(&text)
}

/// Plays the tapes with a policy, and prints what would be said otherwise.
///
/// # Errors
/// The configuration or a tape cannot be read, or there is none.
pub fn play(options: &ReplayOptions, now: Timestamp) -> anyhow::Result<()> {
    let config = Config::from_process(Some(&options.config))?;
    let folder = Settings::folder_of(options.store.as_ref().unwrap_or(&config.store.path));
    let level = options.level.and_then(|level| Autonomy::ALL.get(usize::from(level)).copied());
    let since = options.days.map_or(Ok(Timestamp::MIN), |days| {
        now.checked_sub(SignedDuration::from_hours(24 * i64::from(days)))
    })?;
    let wanted =
        |cluster: &&config::Cluster| options.cluster.as_ref().is_none_or(|name| *name == cluster.name);
    let clusters: Vec<_> = config.clusters.iter().filter(wanted).collect();
    if clusters.is_empty() {
        let names: Vec<_> = config.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
        bail!("no such cluster is configured: there is {}", names.join(", "));
    }
    let mut text = String::new();
    for cluster in clusters {
        let folder = folder.join(cluster.name.as_str());
        let all = pieces(&folder).with_context(|| folder.display().to_string())?;
        let late = all.into_iter().filter(|(began, _)| *began + PIECE_LASTS >= since);
        let pieces: Vec<PathBuf> = late.map(|(_, path)| path).collect();
        if pieces.is_empty() {
            bail!("nothing is on tape of cluster {}: {} holds no piece", cluster.name, folder.display());
        }
        text.push_str(&of_cluster(&cluster.name, &pieces, &cluster.policy, level, since, options.limit)?);
    }
    print(&text)
}

fn of_cluster(
    name: &ClusterName,
    pieces: &[PathBuf],
    policy: &Policy,
    level: Option<Autonomy>,
    since: Timestamp,
    limit: usize,
) -> anyhow::Result<String> {
    let (mut turns, mut said, mut span) = (0, 0, None);
    let mut differences: Vec<Difference> = Vec::new();
    for piece in pieces {
        let place = piece.display();
        let mut played = match replay(piece, policy.clone(), level) {
            Ok(played) => played,
            // The others are worth as much without it.
            Err(why) => {
                tracing::warn!("{place} is left out: {why}");
                continue;
            }
        };
        let Some((from, to)) = played.span.filter(|(_, to)| *to >= since) else { continue };
        let began = span.map_or(from, |(began, _)| began);
        (turns, said, span) = (turns + played.turns, said + played.said, Some((began, to)));
        played.differences.retain(|difference| difference.at >= since);
        go_on(&mut differences, played);
    }
    let Some((from, to)) = span else { return Ok(format!("{name}: nothing could be played\n")) };
    let mut text = format!(
        "{name}: {} to {}, {turns} turns in {} pieces, {said} lines said then\n",
        short(from),
        short(to),
        pieces.len()
    );
    for Difference { at, today, line, times } in differences.iter().take(limit) {
        let whose = if *today { "only now " } else { "only then" };
        let times = if *times > 1 { format!("  ({times} times)") } else { String::new() };
        text.push_str(&format!("  {}  {whose}  {}{times}\n", short(*at), plain(line)));
    }
    let more = differences.len().saturating_sub(limit);
    if more > 0 {
        text.push_str(&format!("  and {more} more (--limit)\n"));
    }
    let now = differences.iter().filter(|difference| difference.today).count();
    text.push_str(&match differences.len() {
        0 => format!("{name}: this policy says the same\n"),
        all => format!("{name}: {now} lines are said only now, {} only then\n", all - now),
    });
    Ok(text)
}

/// To the second: `2026-11-24T09:10:11Z`.
fn short(at: Timestamp) -> String {
    at.round(Unit::Second).unwrap_or(at).to_string()
}
