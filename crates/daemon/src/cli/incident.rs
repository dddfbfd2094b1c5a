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

/// The whole id of an incident, from its beginning, its key (`VM_CRASHED:101`), its subject (`qemu/101`), that one's number
/// (`101`) or its name (`web01`): of those that are open first.
async fn id(client: &Client, asked: &str) -> anyhow::Result<String> {
    let plain = asked.chars().all(|c| c.is_ascii_alphanumeric() || "-_/:.".contains(c));
    ensure!(
        plain && !asked.is_empty(),
        "`{}` is no incident: give its id, its key, its subject, or the number or name of what it is about",
        table::plain(asked)
    );
    if asked.len() == 36 && asked.bytes().filter(|byte| *byte == b'-').count() == 4 {
        return Ok(asked.to_owned());
    }
    for state in ["open", "resolved"] {
        let page = client.get(&format!("/api/v1/incidents?state={state}&limit=1000")).await?;
        let items = page["items"].as_array().context("the daemon's answer holds no list")?;
        let found = meant(items, asked);
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

/// The incidents that are meant. What names one exactly goes before what only begins like one: `1010` is rather a guest's
/// number than the beginning of another incident's id.
fn meant<'a>(items: &'a [Value], asked: &str) -> Vec<&'a Value> {
    let named = |row: &&Value| {
        let is = |key: &str| row[key].as_str() == Some(asked);
        let subject = row["subject"].as_str().unwrap_or_default();
        // Of a guest the last part is its number; of what has no name of its own, that is it.
        let last = subject.rsplit_once('/').is_some_and(|(_, last)| last == asked);
        is("id") || is("key") || is("subject") || is("target") || last
    };
    let begins =
        |row: &&Value| asked.len() >= 4 && row["id"].as_str().is_some_and(|id| id.starts_with(asked));
    let found: Vec<&Value> = items.iter().filter(named).collect();
    if found.is_empty() { items.iter().filter(begins).collect() } else { found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_incident_is_meant() {
        let row = |id: &str, key: &str, subject: &str, target: &str| json!({ "id": id, "key": key, "subject": subject, "target": target });
        let items = [
            row("01010000-89ab-8def-8123-456789abcdef", "VM_CRASHED:101", "qemu/101", "web01"),
            row("11234567-89ab-8def-8123-456789abcdef", "CT_CRASHED:0101", "lxc/0101", "dns"),
            row("21234567-89ab-8def-8123-456789abcdef", "NODE_UNREACHABLE:pve1", "node/pve1", "pve1"),
            row(
                "31234567-89ab-8def-8123-456789abcdef",
                "STORAGE_HIGH:pve1/local",
                "storage/pve1/local",
                "local",
            ),
            row("41234567-89ab-8def-8123-456789abcdef", "DISK_HIGH:pve1", "node/pve1", "pve1"),
        ];
        let table: [(&str, &str, &[usize]); 12] = [
            ("a whole id", "11234567-89ab-8def-8123-456789abcdef", &[1]),
            ("the beginning of an id", "2123", &[2]),
            ("too short a beginning", "212", &[]),
            ("a key", "VM_CRASHED:101", &[0]),
            ("a subject", "qemu/101", &[0]),
            ("a guest's number", "101", &[0]),
            ("a number before a beginning", "0101", &[1]),
            ("a guest's name", "web01", &[0]),
            ("a storage's name", "local", &[3]),
            ("a node's name, of two", "pve1", &[2, 4]),
            ("a part of a name", "web", &[]),
            ("the kind of a subject", "qemu", &[]),
        ];
        for (name, asked, wanted) in table {
            let found: Vec<&str> = meant(&items, asked).iter().filter_map(|row| row["id"].as_str()).collect();
            let wanted: Vec<&str> = wanted.iter().filter_map(|at| items[*at]["id"].as_str()).collect();
            assert_eq!(found, wanted, "{name}: {asked}");
        }
    }
}
