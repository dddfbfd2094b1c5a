//! `guest`: what an operator does to a guest by hand, through the daemon, which writes down who it was.

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use engine::observe::ClusterName;
use serde_json::{Value, json};

use super::client::Client;
use super::{Reach, list, table};
use crate::ops::print;

/// Guests that one answer holds at most.
const PAGE: usize = 1_000;
/// Pages that are asked for: no more guests are watched than that.
const PAGES_MAX: usize = 100;

/// What is done to it.
#[derive(Debug, Subcommand)]
pub enum Guest {
    /// Start it.
    Start {
        #[command(flatten)]
        which: Which,
    },
    /// Pull its plug. Jarvis leaves it as it is then.
    Stop {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        sure: Sure,
    },
    /// Ask it to shut down. Jarvis leaves it as it is then.
    Shutdown {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        sure: Sure,
    },
    /// Ask it to restart.
    Reboot {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        sure: Sure,
    },
}

/// Which one.
#[derive(Debug, Args)]
pub struct Which {
    /// As PVE numbers it (qemu/101, lxc/102, 101), or its name.
    guest: String,
    /// Of this cluster, where another one has such a guest, too.
    #[arg(long, value_name = "NAME", value_parser = list::cluster)]
    cluster: Option<ClusterName>,
    #[command(flatten)]
    reach: Reach,
}

/// Whether it is meant.
#[derive(Debug, Args)]
pub struct Sure {
    /// It is meant: whoever works in it loses what is not saved.
    #[arg(long)]
    yes: bool,
}

/// Does it, and prints what came of it.
///
/// # Errors
/// It is not clear which guest is meant, it is not confirmed, the daemon is not reached, or refuses, or it failed.
pub(super) async fn run(command: Guest) -> anyhow::Result<()> {
    let (verb, which, yes) = match command {
        Guest::Start { which } => ("start", which, true),
        Guest::Stop { which, sure } => ("stop", which, sure.yes),
        Guest::Shutdown { which, sure } => ("shutdown", which, sure.yes),
        Guest::Reboot { which, sure } => ("reboot", which, sure.yes),
    };
    let client = Client::new(&which.reach)?;
    let all = guests(&client, which.cluster.as_ref()).await?;
    let guest = the_one(&all, &which.guest)?;
    let (cluster, node) = (text(guest, "cluster"), text(guest, "node"));
    ensure!(
        yes,
        "nothing was done: {verb} {} on {} in {} wants --yes",
        table::plain(&label(guest)),
        table::plain(node),
        table::plain(cluster)
    );
    let kind = if text(guest, "kind") == "lxc" { "container" } else { "vm" };
    let does = match verb {
        "start" => "start",
        "reboot" => "restart",
        _ => "stop",
    };
    let mut args = json!({ "cluster": cluster, "node": node, "vmid": guest["vmid"], "confirmed": yes });
    if verb == "shutdown" {
        args["graceful"] = json!(true);
    }
    let body = json!({ "tool": format!("{does}_{kind}"), "args": args });
    let answer = client.post("/api/tools/execute", &body).await?;
    if which.reach.json {
        return print(&format!("{answer}\n"));
    }
    let words = answer["result"][0]["text"].as_str().context("the daemon does not say what came of it")?;
    print(&format!("{}\n", table::plain(words)))
}

/// All that may be meant.
async fn guests(client: &Client, cluster: Option<&ClusterName>) -> anyhow::Result<Vec<Value>> {
    let of = cluster.map(|name| format!("&cluster={name}")).unwrap_or_default();
    let (mut all, mut next) = (Vec::new(), String::new());
    for _ in 0..PAGES_MAX {
        let mut page = client.get(&format!("/api/v1/guests?limit={PAGE}{of}{next}")).await?;
        let items = page["items"].as_array_mut().context("the daemon's answer holds no list")?;
        all.append(items);
        match page["next"].as_str() {
            Some(cursor) => next = format!("&cursor={cursor}"),
            None => break,
        }
    }
    Ok(all)
}

/// The guest that is meant. A number or a name may be another one's in another cluster, and names are nobody's alone.
fn the_one<'a>(all: &'a [Value], asked: &str) -> anyhow::Result<&'a Value> {
    let is = |guest: &&Value| {
        let (kind, number) = (text(guest, "kind"), guest["vmid"].to_string());
        asked == number || asked == format!("{kind}/{number}") || guest["name"].as_str() == Some(asked)
    };
    let found: Vec<&Value> = all.iter().filter(is).collect();
    match found[..] {
        [one] => Ok(one),
        [] => bail!("no guest that is seen is `{}`", table::plain(asked)),
        _ => {
            let which = found.iter().map(|guest| format!("{} in {}", label(guest), text(guest, "cluster")));
            let which = table::plain(&which.collect::<Vec<_>>().join(", "));
            bail!("several are meant by `{}`: {which}: say which, also by --cluster", table::plain(asked))
        }
    }
}

/// `web01 (qemu/101)`.
fn label(guest: &Value) -> String {
    let id = format!("{}/{}", text(guest, "kind"), guest["vmid"]);
    guest["name"].as_str().map_or_else(|| id.clone(), |name| format!("{name} ({id})"))
}

fn text<'a>(guest: &'a Value, key: &str) -> &'a str {
    guest[key].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_guest_is_meant() {
        let guest = |cluster: &str, kind: &str, vmid: u32, name: Option<&str>| json!({ "cluster": cluster, "kind": kind, "vmid": vmid, "name": name });
        let all = [
            guest("lab", "qemu", 101, Some("web01")),
            guest("lab", "lxc", 102, Some("103")),
            guest("lab", "qemu", 103, None),
            guest("edge", "qemu", 104, Some("web01")),
            guest("edge", "lxc", 102, None),
        ];
        #[rustfmt::skip]
        let table = [
            ("by its number",             "101",      Ok(0)),
            ("by its kind and number",    "qemu/103", Ok(2)),
            ("of another kind",           "lxc/101",  Err("no guest that is seen is `lxc/101`")),
            ("a part of a name",          "web",      Err("no guest that is seen is `web`")),
            ("nothing",                   "",         Err("no guest that is seen is ``")),
            ("a name of two",             "web01",    Err("several are meant by `web01`: web01 (qemu/101) in lab, web01 (qemu/104) in edge: say which, also by --cluster")),
            ("a number of two",           "lxc/102",  Err("several are meant by `lxc/102`: 103 (lxc/102) in lab, lxc/102 in edge: say which, also by --cluster")),
            ("a name that is a number",   "103",      Err("several are meant by `103`: 103 (lxc/102) in lab, qemu/103 in lab: say which, also by --cluster")),
        ];
        for (name, asked, expected) in table {
            let found = the_one(&all, asked);
            match expected {
                Ok(at) => assert_eq!(found.unwrap(), &all[at], "{name}"),
                Err(words) => assert_eq!(found.unwrap_err().to_string(), words, "{name}"),
            }
        }
    }
}
