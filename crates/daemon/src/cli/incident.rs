//! One incident at the terminal: why it is as it is, and what an operator says about it.

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::client::Client;
use super::{Reach, table};
use crate::ops::print;

/// Prints an incident's story, as the journal has it, oldest first.
pub(super) async fn why(reach: &Reach, incident: &str) -> anyhow::Result<()> {
    let client = Client::new(reach)?;
    let id = id(&client, incident).await?;
    let story = client.get(&format!("/api/v1/incidents/{id}")).await?;
    if reach.json {
        return print(&format!("{story}\n"));
    }
    print(&table::story(&story))
}

/// Says something about it.
pub(super) async fn order(reach: &Reach, incident: &str, order: &str) -> anyhow::Result<()> {
    let client = Client::new(reach)?;
    let id = id(&client, incident).await?;
    let answer = client.post(&format!("/api/v1/incidents/{id}/{order}"), &json!({})).await?;
    match reach.json {
        true => print(&format!("{answer}\n")),
        false => {
            let next = table::next(&answer["next"]).map(|words| format!("; {words}")).unwrap_or_default();
            print(&format!("{order}: taken{next}; `jarvis why {id}` tells what comes of it\n"))
        }
    }
}

/// The whole id of an incident, from its beginning, its key (`VM_CRASHED:101`) or its subject (`qemu/101`): of those that are
/// open first.
async fn id(client: &Client, asked: &str) -> anyhow::Result<String> {
    let plain = asked.chars().all(|c| c.is_ascii_alphanumeric() || "-_/:.".contains(c));
    ensure!(
        plain && !asked.is_empty(),
        "`{}` is no incident: give its id, its key or its subject",
        table::plain(asked)
    );
    if asked.len() == 36 && asked.bytes().filter(|byte| *byte == b'-').count() == 4 {
        return Ok(asked.to_owned());
    }
    for state in ["open", "resolved"] {
        let page = client.get(&format!("/api/v1/incidents?state={state}&limit=1000")).await?;
        let items = page["items"].as_array().context("the daemon's answer holds no list")?;
        let fits = |row: &&Value| {
            let is = |key: &str| row[key].as_str() == Some(asked);
            let begins = asked.len() >= 4 && row["id"].as_str().is_some_and(|id| id.starts_with(asked));
            is("key") || is("subject") || begins
        };
        let found: Vec<&Value> = items.iter().filter(fits).collect();
        // The newest comes first; of those that are over it is the one that is meant.
        let one = match (state, &found[..]) {
            (_, []) => continue,
            ("open", [_, _, ..]) => None,
            (_, [first, ..]) => first["id"].as_str(),
        };
        return one
            .map(str::to_owned)
            .with_context(|| format!("`{asked}` is several open incidents; `jarvis incidents` names them"));
    }
    anyhow::bail!("no incident is `{asked}`; `jarvis incidents` names those that are open")
}
