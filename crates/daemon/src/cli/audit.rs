//! `audit verify --url`: whether the journal of a daemon elsewhere is as it was written, by its own word. What it says is worth
//! as much as that machine: who has its files checks them with `audit verify` alone.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::Value;

use super::client::Client;
use super::{Reach, table};
use crate::ops::print;

const VERIFICATION: &str = "/api/v1/journal/verification";
/// How long a walk is waited for: the daemon gives up on one after ten minutes.
const WITHIN: Duration = Duration::from_secs(660);
/// Between two questions, beside the seconds for which each is held.
const PAUSE: Duration = Duration::from_millis(500);

/// A daemon elsewhere.
#[derive(Debug, Args)]
pub struct Elsewhere {
    /// Ask the daemon at this address instead of reading its files; it wants a token: JARVIS_TOKEN in the environment, or
    /// --token-file.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// A file that holds an API token of an operator and nothing else.
    #[arg(long, value_name = "FILE", requires = "url")]
    token_file: Option<PathBuf>,
    /// The authority that made the daemon's certificate (PEM), where this machine's do not know it.
    #[arg(long, value_name = "FILE", requires = "url")]
    ca_file: Option<PathBuf>,
    /// The daemon's own certificate (PEM): exactly this one is trusted, whatever name it is for.
    #[arg(long, value_name = "FILE", requires = "url", conflicts_with = "ca_file")]
    cert_file: Option<PathBuf>,
    /// Print what the daemon answered: JSON.
    #[arg(long, requires = "url")]
    json: bool,
}

impl Elsewhere {
    /// How it is reached, if one is named.
    fn reach(self) -> Option<Reach> {
        let Elsewhere { url, token_file, ca_file, cert_file, json } = self;
        url.map(|url| Reach { config: PathBuf::new(), url: Some(url), token_file, ca_file, cert_file, json })
    }
}

/// Asks the daemon that is named, and prints what it found. False: none is named.
///
/// # Errors
/// It does not fit, or nobody answers.
pub async fn verify(elsewhere: Elsewhere) -> anyhow::Result<bool> {
    let Some(reach) = elsewhere.reach() else { return Ok(false) };
    let client = Client::new(&reach)?;
    let began = Instant::now();
    let answer = loop {
        let answer = client.get(VERIFICATION).await?;
        if answer["running"] != true {
            break answer;
        }
        if began.elapsed() >= WITHIN {
            bail!("the daemon still walks through its journal; ask again later");
        }
        tokio::time::sleep(PAUSE).await;
    };
    let state = answer["state"].as_str().context("the daemon does not say how its journal is")?;
    let words = words(state, &answer["words"]);
    if reach.json {
        print(&format!("{answer}\n"))?;
    }
    match state {
        "whole" | "unproven" if reach.json => Ok(true),
        "whole" | "unproven" => print(&format!("{words}\n")).map(|()| true),
        _ => bail!(words),
    }
}

/// What was found, for people. Who sees a part of the clusters is told no more than the state.
fn words(state: &str, said: &Value) -> String {
    if let Some(said) = said.as_str() {
        return said.lines().map(table::plain).collect::<Vec<_>>().join("\n");
    }
    match state {
        "whole" => "the journal is whole".into(),
        "unproven" => "the journal fits, and some of its rows are not signed where they should be".into(),
        "broken" => "the journal does not fit".into(),
        "brokenBefore" => "the journal is whole since, but was broken before a start of the daemon".into(),
        "noKey" => {
            "there is no jarvis.key beside the journal, and without it nobody can tell who wrote it".into()
        }
        "unread" => "the journal cannot be read".into(),
        other => table::plain(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_in_words() {
        for (name, state, said, expected) in [
            (
                "in its own words",
                "broken",
                "a.db: the journal does not fit: row 5".into(),
                "a.db: the journal does not fit: row 5",
            ),
            ("of several lines", "whole", "a\nb".into(), "a\nb"),
            ("with an order to the terminal", "whole", "a\u{1b}[2J".into(), "a\u{fffd}[2J"),
            ("of a part of the clusters", "broken", Value::Null, "the journal does not fit"),
            ("a state of a later version", "odd\u{7}", Value::Null, "odd\u{fffd}"),
        ] {
            assert_eq!(words(state, &said), expected, "{name}");
        }
    }
}
