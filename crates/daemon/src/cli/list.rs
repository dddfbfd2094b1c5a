//! `incidents`, `events`, `actions`: what `/api/v1` lists, of all clusters that the caller sees, page by page.

use anyhow::{Context, ensure};
use engine::observe::ClusterName;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::client::Client;
use super::{Reach, Rows, State, table};
use crate::ops::print;

/// Pages that one command asks for. A filter that fits little is answered in short ones, 5,000 rows looked at each: more rows
/// than any store keeps.
const PAGES_MAX: usize = 1_000;

/// A list of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    /// What is wrong, or was.
    Incidents(State),
    Events,
    /// What Jarvis did by itself.
    Actions,
}

impl List {
    fn path(self) -> &'static str {
        match self {
            List::Incidents(State::Open) => "/api/v1/incidents?state=open&",
            List::Incidents(State::Over) => "/api/v1/incidents?state=resolved&",
            List::Incidents(State::All) => "/api/v1/incidents?",
            List::Events => "/api/v1/events?",
            List::Actions => "/api/v1/actions?",
        }
    }

    fn none(self) -> &'static str {
        match self {
            List::Incidents(State::Open) => "nothing is open",
            List::Incidents(State::Over) => "nothing is over",
            List::Incidents(State::All) => "nothing was wrong yet",
            List::Events => "nothing happened yet",
            List::Actions => "Jarvis has done nothing by itself yet",
        }
    }

    /// Where else to look, in a line of its own.
    fn elsewhere(self) -> &'static str {
        match self {
            List::Incidents(_) | List::Events => "",
            List::Actions => {
                "what operators did by hand: jarvis events, or with who it was /api/v1/journal?kind=operator\n"
            }
        }
    }

    fn table(self, rows: &[Value], with_cluster: bool) -> String {
        match self {
            List::Incidents(_) => table::incidents(rows, with_cluster),
            List::Events => table::events(rows, with_cluster),
            List::Actions => table::actions(rows, with_cluster),
        }
    }
}

/// Asks for it and prints it.
pub(super) async fn list(reach: &Reach, rows: &Rows, which: List) -> anyhow::Result<()> {
    let client = Client::new(reach)?;
    let watched = client.get("/api/v1/clusters").await?;
    let watched = watched["items"].as_array().context("the daemon does not say what it watches")?;
    let watched: Vec<&str> = watched.iter().filter_map(|cluster| cluster["cluster"].as_str()).collect();
    let (items, next) = gather(&client, rows, which).await?;
    if let (true, Some(asked)) = (items.is_empty(), &rows.cluster) {
        // One that is watched no more may have left something.
        ensure!(
            watched.contains(&asked.as_str()),
            "no cluster `{asked}` is watched; there are {}",
            table::plain(&watched.join(", "))
        );
    }
    if reach.json {
        let mut answer = json!({ "items": items });
        if let Some(next) = next {
            answer["next"] = next.into();
        }
        return print(&format!("{answer}\n"));
    }
    let Some(last) = items.last() else {
        let when = if rows.before.is_some() { " before that" } else { "" };
        return print(&format!("{}{when}\n{}", which.none(), which.elsewhere()));
    };
    // Rows of a cluster that is watched no more are not to be taken for the one that is.
    let is_other = |row: &Value| row["cluster"].as_str().is_some_and(|name| !watched.contains(&name));
    let with_cluster = rows.cluster.is_none() && (watched.len() > 1 || items.iter().any(is_other));
    let mut shown = which.table(&items, with_cluster);
    if next.is_some() {
        let at = ["at", "detectedAt"].iter().find_map(|key| last[key].as_str()).unwrap_or("TIME");
        let more = format!("there are older ones: --before {}, or a higher --limit\n", table::plain(at));
        shown.push_str(&more);
    }
    print(&shown)
}

/// As many rows as were asked for, and where the list goes on, if it does.
async fn gather(client: &Client, rows: &Rows, which: List) -> anyhow::Result<(Vec<Value>, Option<String>)> {
    let Rows { limit, cluster, before } = rows;
    let limit = *limit as usize;
    let (mut items, mut next): (Vec<Value>, Option<String>) = (Vec::new(), None);
    let mut unread = 0;
    for _ in 0..PAGES_MAX {
        let mut path = format!("{}limit={}", which.path(), limit - items.len() - unread);
        // Names, times and cursors are made of what a path may hold.
        cluster.iter().for_each(|cluster| path.push_str(&format!("&cluster={cluster}")));
        before.iter().for_each(|before| path.push_str(&format!("&until={before}")));
        next.iter().for_each(|next| path.push_str(&format!("&cursor={next}")));
        let bytes = client.get_bytes(&path).await?;
        let page = Page::read(&bytes).context("the daemon's answer holds no list")?;
        items.extend(page.rows);
        unread += page.unread;
        next = page.next;
        if next.is_none() || items.len() + unread >= limit {
            if unread > 0 {
                // Beside what was asked for, and not in it.
                tracing::warn!("{unread} of the rows cannot be read and are left out");
            }
            return Ok((items, next));
        }
    }
    anyhow::bail!(
        "the daemon's list does not end: ask for less with --limit, or for a part of it with --before"
    )
}

/// A page of a list. One row that cannot be read must not take the others with it.
#[derive(Debug, PartialEq)]
struct Page {
    rows: Vec<Value>,
    /// How many are left out.
    unread: usize,
    next: Option<String>,
}

impl Page {
    fn read(bytes: &[u8]) -> Option<Page> {
        #[derive(Deserialize)]
        struct Answer<'a> {
            #[serde(borrow)]
            items: Vec<&'a RawValue>,
            next: Option<String>,
        }
        let Answer { items, next } = serde_json::from_slice(bytes).ok()?;
        let rows: Vec<_> = items.iter().filter_map(|item| serde_json::from_str(item.get()).ok()).collect();
        Some(Page { unread: items.len() - rows.len(), rows, next })
    }
}

/// A cluster's name, as `--cluster` gives it.
pub(super) fn cluster(text: &str) -> Result<ClusterName, String> {
    text.parse().map_err(|error: engine::observe::BadId| error.to_string())
}

/// A time, as `--before` gives it: as the lists show it, or with a zone.
pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    // What the tables show has no zone: they are in UTC.
    let forms = [text.to_owned(), format!("{text}Z"), format!("{text}T00:00:00Z")];
    let read = forms.iter().find_map(|form| form.parse().ok());
    read.ok_or_else(|| "write a time like 2026-01-31T12:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_that_cannot_be_read_does_not_hide_the_others() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for (name, row) in [("a number", "1e99999"), ("half a character", r#""\ud800""#), ("depth", &deep)] {
            let text = format!(r#"{{"items":[{{"n":1}},{{"details":{row}}},{{"n":3}}],"next":"x"}}"#);
            let rows = vec![json!({ "n": 1 }), json!({ "n": 3 })];
            let expected = Page { rows, unread: 1, next: Some("x".into()) };
            assert_eq!(Page::read(text.as_bytes()), Some(expected), "{name}");
        }
        assert_eq!(Page::read(b"{}"), None);
        assert_eq!(Page::read(b"<html>"), None);
    }

    #[test]
    fn times_as_people_have_them() {
        for (name, text, expected) in [
            ("as a program says it", "2026-01-31T12:00:00.123Z", Some("2026-01-31T12:00:00.123Z")),
            ("as a table shows it", "2026-01-31 12:00:00", Some("2026-01-31T12:00:00Z")),
            ("with a zone", "2026-01-31T12:00:00+01:00", Some("2026-01-31T11:00:00Z")),
            ("a day", "2026-01-31", Some("2026-01-31T00:00:00Z")),
            ("words", "yesterday", None),
        ] {
            let read = time(text).ok().map(|time| time.to_string());
            assert_eq!(read.as_deref(), expected, "{name}");
        }
    }
}
