//! `maintenance` and `silence`: announce work, or ask for quiet; list what is announced, and end it.
//!
//! What was typed is sent as it is: the daemon knows the zones and says what it does not understand.

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use engine::observe::ClusterName;
use serde_json::{Value, json};

use super::client::Client;
use super::{Reach, list, table};
use crate::ops::print;

/// What is done about announced work.
#[derive(Debug, Subcommand)]
pub enum Maintenance {
    /// Announce work: nothing is done about what it is on, and people are not told of it.
    Add {
        /// On what: cluster, node/pve1, qemu/101, lxc/102, storage/local, tag:NAME, pool:NAME or name:NAME. A node means
        /// what is on it, the cluster everything.
        subject: String,
        #[command(flatten)]
        what: What,
        /// From then on: 2026-12-01T22:00, by the clocks of --zone; now, where it is left out.
        #[arg(long, value_name = "TIME", conflicts_with_all = ["weekly", "at"])]
        from: Option<String>,
        /// Each week on these days: sun, or mon,thu. With --at and --for.
        #[arg(long, value_name = "DAYS", requires = "at", requires = "lasts", conflicts_with = "until")]
        weekly: Option<String>,
        /// From this time on: 02:00, by the clocks of --zone.
        #[arg(long, value_name = "HH:MM", requires = "weekly")]
        at: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// What is announced, newest first.
    List {
        #[command(flatten)]
        rows: Rows,
        #[command(flatten)]
        reach: Reach,
    },
    /// End it now; of a weekly one none comes any more.
    End {
        /// Its id, or the beginning of it.
        id: String,
        #[command(flatten)]
        reach: Reach,
    },
}

/// What is done about silences.
#[derive(Debug, Subcommand)]
pub enum Silence {
    /// Ask that people are not told of something until a time. What can be done about it is done.
    Add {
        /// About what: cluster, node/pve1, qemu/101, lxc/102, storage/local, tag:NAME, pool:NAME or name:NAME.
        subject: String,
        /// Only this condition: DISK_HIGH. MONITOR_BLIND, QUORUM_LOST, and that Jarvis calls people, are told unless they are
        /// named.
        #[arg(long, value_name = "CONDITION")]
        condition: Option<String>,
        #[command(flatten)]
        what: What,
        #[command(flatten)]
        reach: Reach,
    },
    /// What is silenced, newest first.
    List {
        #[command(flatten)]
        rows: Rows,
        #[command(flatten)]
        reach: Reach,
    },
    /// End it now.
    End {
        /// Its id, or the beginning of it.
        id: String,
        #[command(flatten)]
        reach: Reach,
    },
}

/// What both are announced with.
#[derive(Debug, Args)]
pub struct What {
    /// For so long: 2h, 90m, 1h30m, 3d.
    #[arg(long = "for", id = "lasts", value_name = "TIME", value_parser = minutes, conflicts_with = "until", required_unless_present = "until")]
    lasts: Option<u32>,
    /// Until then: 2026-12-02T01:00, by the clocks of --zone.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// By which clocks times are meant: Europe/Berlin; by this machine's, where it is left out.
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// What for.
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// In which cluster, where there are several.
    #[arg(long, value_name = "NAME", value_parser = list::cluster)]
    cluster: Option<ClusterName>,
}

/// Which of them.
#[derive(Debug, Args)]
pub struct Rows {
    /// Also those that are over.
    #[arg(long)]
    all: bool,
    /// Only those about things of this cluster.
    #[arg(long, value_name = "NAME", value_parser = list::cluster)]
    cluster: Option<ClusterName>,
}

const MAINTENANCE: &str = "/api/v1/maintenance";
const SILENCES: &str = "/api/v1/silences";

pub(super) async fn maintenance(command: Maintenance) -> anyhow::Result<()> {
    match command {
        Maintenance::Add { subject, what, from, weekly, at, reach } => {
            let mut body = what.body(&subject);
            let days = weekly.map(|days| json!(days.split(',').map(str::trim).collect::<Vec<_>>()));
            put(&mut body, [("from", from.map(Value::from)), ("days", days), ("at", at.map(Value::from))]);
            add(&reach, MAINTENANCE, &body).await
        }
        Maintenance::List { rows, reach } => listed(&reach, MAINTENANCE, &rows).await,
        Maintenance::End { id, reach } => end(&reach, MAINTENANCE, &id).await,
    }
}

pub(super) async fn silence(command: Silence) -> anyhow::Result<()> {
    match command {
        Silence::Add { subject, condition, what, reach } => {
            let mut body = what.body(&subject);
            put(&mut body, [("condition", condition.map(Value::from))]);
            add(&reach, SILENCES, &body).await
        }
        Silence::List { rows, reach } => listed(&reach, SILENCES, &rows).await,
        Silence::End { id, reach } => end(&reach, SILENCES, &id).await,
    }
}

fn put<const N: usize>(body: &mut Value, given: [(&str, Option<Value>); N]) {
    for (key, value) in given {
        if let Some(value) = value {
            body[key] = value;
        }
    }
}

impl What {
    fn body(&self, subject: &str) -> Value {
        let What { lasts, until, zone, note, cluster } = self;
        let text = |text: &Option<String>| text.as_deref().map(Value::from);
        let cluster = cluster.as_ref().map(|cluster| Value::from(cluster.as_str()));
        let mut body = json!({ "subject": subject });
        let minutes = lasts.map(Value::from);
        let zone = zone.clone().unwrap_or_else(own_zone);
        let given =
            [("minutes", minutes), ("until", text(until)), ("zone", Some(zone.into())), ("note", text(note))];
        put(&mut body, given);
        put(&mut body, [("cluster", cluster)]);
        body
    }
}

async fn add(reach: &Reach, path: &str, body: &Value) -> anyhow::Result<()> {
    let client = Client::new(reach)?;
    let made = client.post(path, body).await?;
    if reach.json {
        return print(&format!("{made}\n"));
    }
    let mut words = table::notice(path == SILENCES, &made);
    if made["means"] == 0 {
        words.push_str(
            "nothing that is seen now is meant by that: look whether it is written as you mean it\n",
        );
    }
    print(&words)
}

async fn listed(reach: &Reach, path: &str, rows: &Rows) -> anyhow::Result<()> {
    let client = Client::new(reach)?;
    let Rows { all, cluster } = rows;
    let mut asked = format!("{path}?state={}", if *all { "all" } else { "open" });
    cluster.iter().for_each(|cluster| asked.push_str(&format!("&cluster={cluster}")));
    let answer = client.get(&asked).await?;
    if reach.json {
        return print(&format!("{answer}\n"));
    }
    let items = answer["items"].as_array().context("the daemon's answer holds no list")?;
    match (items.is_empty(), path) {
        (true, SILENCES) => print("nothing is silenced\n"),
        (true, _) => print("no maintenance is announced\n"),
        (false, _) => print(&table::notices(path == SILENCES, items)),
    }
}

async fn end(reach: &Reach, path: &str, asked: &str) -> anyhow::Result<()> {
    let client = Client::new(reach)?;
    let answer = client.get(&format!("{path}?state=open")).await?;
    let items = answer["items"].as_array().context("the daemon's answer holds no list")?;
    let hex = asked.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let list = if path == SILENCES { "jarvis silence list" } else { "jarvis maintenance list" };
    ensure!(hex && asked.len() >= 4, "give the id, or at least four signs of its beginning: {list}");
    let ids = items.iter().filter_map(|item| item["id"].as_str());
    let found: Vec<&str> = ids.filter(|id| id.starts_with(&asked.to_lowercase())).collect();
    let id = match found[..] {
        [id] => id,
        [] => bail!("none that lasts or is to come has the id {}: {list}", table::plain(asked)),
        _ => bail!("several begin with {}: {list}", table::plain(asked)),
    };
    let ended = client.delete(&format!("{path}/{id}")).await?;
    match reach.json {
        true => print(&format!("{ended}\n")),
        false => print(&table::notice(path == SILENCES, &ended)),
    }
}

/// This machine's zone; UTC, where it has none or one without a name.
fn own_zone() -> String {
    let zone = jiff::tz::TimeZone::system();
    let known = zone.iana_name().filter(|name| crate::zone::find(name).is_some());
    known.unwrap_or("UTC").to_owned()
}

/// `2h`, `90m`, `1h30m`, `3d`, in minutes.
fn minutes(text: &str) -> Result<u32, String> {
    let wrong = || "write a time like 2h, 90m, 1h30m or 3d".to_owned();
    let (mut rest, mut sum) = (text, 0_u32);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (count, unit) = rest.split_at(digits);
        let each = match unit.chars().next() {
            Some('d') => 24 * 60,
            Some('h') => 60,
            Some('m') => 1,
            Some(_) | None => return Err(wrong()),
        };
        let count = count.parse::<u32>().ok().and_then(|count| count.checked_mul(each));
        sum = count.and_then(|count| sum.checked_add(count)).ok_or_else(wrong)?;
        rest = &unit[1..];
    }
    if sum == 0 { Err(wrong()) } else { Ok(sum) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long() {
        #[rustfmt::skip]
        let table = [
            ("hours",           "2h",                 Some(120)),
            ("minutes",         "90m",                Some(90)),
            ("both",            "1h30m",              Some(90)),
            ("days",            "3d",                 Some(3 * 24 * 60)),
            ("nothing",         "",                   None),
            ("no time at all",  "0h",                 None),
            ("no unit",         "90",                 None),
            ("no number",       "h",                  None),
            ("seconds",         "90s",                None),
            ("in words",        "two hours",          None),
            ("signed",          "-2h",                None),
            ("too much",        "99999999999h",       None),
            ("another sign",    "2µ",                 None),
        ];
        for (name, text, expected) in table {
            assert_eq!(minutes(text).ok(), expected, "{name}");
        }
    }
}
