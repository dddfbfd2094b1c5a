//! Left: acts that another process asked for and of which nobody saw the end, because it was killed or its store failed.
//!
//! The journal shows them: `toolAsked` without `toolEnded`. Where the task is known it is followed to its end; where it is
//! not, PVE's list is looked through once for one that only this act can have begun. What cannot be found out is told as
//! unknown. Nothing is ever done a second time: here is nothing that acts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::deed::{ASKED, BEGUN, Deed, ENDED, read};
use super::{App, Busy, busy_as};
use crate::act::{Act, Hands, Outcome};
use crate::record::{JournalFilter, JournalRow, Kind, Operator, StoreError, Window};

/// Pages of operators' rows that are looked at. An act has ended some minutes after it was asked for, and the next start looks:
/// only those of the last minutes of the last process matter.
const PAGES_MAX: u32 = 5;
const ROWS_A_PAGE: u32 = 1_000;

/// One of them.
struct Left {
    deed: Deed,
    asked: Timestamp,
    /// Its task, if that was written down.
    upid: Option<String>,
}

/// Looks for them and brings each to its end, beside everything else. Nothing else is done to their subjects meanwhile.
/// To be called before anything can be asked for.
pub(in crate::report) async fn finish_left(app: &Arc<App>) {
    let (left, named) = match find(app).await {
        Ok(found) => found,
        Err(error) => {
            let error = anyhow::Error::from(error);
            tracing::error!("whether an act was left in its middle is not known: {error:#}");
            return;
        }
    };
    let named = Arc::new(named);
    for left in left {
        let Deed { label, cluster, .. } = &left.deed;
        tracing::warn!(cluster, subject = label, "an act was left in its middle; looking what came of it");
        // Two of one subject, by two processes that were killed: the first one's mark is enough for both.
        let busy = app.tools.mark(busy_as(label, cluster)).ok();
        tokio::spawn(finish(app.clone(), left, Arc::clone(&named), busy));
    }
}

async fn finish(app: Arc<App>, left: Left, named: Arc<BTreeSet<String>>, busy: Option<Busy>) {
    let mut stop = app.stop.clone();
    let brought_to_its_end = async {
        // As many at once as are done at once. Nobody closes it.
        let seat = app.tools.seats.acquire().await;
        let hands = app.tools.hands(&left.deed.cluster);
        left.deed.ended(&left.outcome(hands, &named).await).await;
        drop(seat);
    };
    tokio::select! {
        () = brought_to_its_end => {}
        // The next start looks again.
        () = stop.asked() => {}
    }
    drop(busy);
}

impl Left {
    async fn outcome(&self, hands: Option<Hands>, named: &BTreeSet<String>) -> Outcome {
        let unknown = |why: &str| Outcome::Unknown {
            why: format!("Jarvis was stopped while it was under way, and {why}"),
        };
        let Some(hands) = hands else {
            return unknown(&format!("the cluster {} is not watched any more", self.deed.cluster));
        };
        if let Some(upid) = &self.upid {
            return match upid.parse() {
                Ok(upid) => hands.follow(&upid).await,
                Err(error) => unknown(&format!("its task cannot be asked for ({error})")),
            };
        }
        let Some(act) = &self.deed.act else { return unknown("the journal does not say what it was") };
        match hands.find(act, self.asked, |upid| named.contains(upid.as_str())).await {
            Ok(Some(upid)) => hands.follow(&upid).await,
            Ok(None) if matches!(act, Act::Wake { .. }) => unknown("a packet to wake a node leaves no trace"),
            Ok(None) => unknown("PVE's list has no task that is surely this one"),
            Err(why) => unknown(&format!("PVE does not say whether it was done ({why})")),
        }
    }
}

/// What was left, oldest first, and the tasks that the journal names: each is of an act that is known.
async fn find(app: &App) -> Result<(Vec<Left>, BTreeSet<String>), StoreError> {
    let store = &app.store;
    let mut rows: Vec<JournalRow> = Vec::new();
    let mut window = Window { limit: ROWS_A_PAGE, ..Window::default() };
    for _ in 0..PAGES_MAX {
        let filter = JournalFilter { kind: Some(Kind::Operator.as_str().into()), by: None };
        let page = store.list_journal(window.clone(), filter).await?;
        rows.extend(page.rows);
        window.after = page.next;
        if window.after.is_none() {
            break;
        }
    }
    let mut left: BTreeMap<String, Left> = BTreeMap::new();
    let mut named = BTreeSet::new();
    for row in rows.iter().rev() {
        // A row that is no JSON is none of an act.
        let entry: Value = serde_json::from_str(&row.entry).unwrap_or_default();
        let what = &entry["what"];
        let (Some(did), Some(id)) = (entry["did"].as_str(), what["id"].as_str()) else { continue };
        let upid = what["upid"].as_str().map(str::to_owned);
        match did {
            ASKED => {
                if let Some(asked) = Left::read(app, row, &entry) {
                    left.insert(id.to_owned(), asked);
                }
            }
            BEGUN => {
                named.extend(upid.clone());
                if let Some(left) = left.get_mut(id) {
                    left.upid = upid;
                }
            }
            ENDED => {
                named.extend(upid);
                left.remove(id);
            }
            _ => {}
        }
    }
    // What Jarvis did by itself, with the same token, was nobody's order.
    let filter = JournalFilter { kind: Some(Kind::Acted.as_str().into()), by: None };
    let window = Window { limit: ROWS_A_PAGE, ..Window::default() };
    for row in store.list_journal(window, filter).await?.rows {
        let entry: Value = serde_json::from_str(&row.entry).unwrap_or_default();
        let outcome = &entry["fact"]["Remedy"]["step"]["Acted"]["outcome"];
        let upids = outcome.as_object().into_iter().flat_map(|outcome| outcome.values());
        named.extend(upids.filter_map(|of| of["upid"].as_str()).map(str::to_owned));
    }
    let mut left: Vec<Left> = left.into_values().collect();
    left.sort_by_key(|left| left.asked);
    Ok((left, named))
}

impl Left {
    /// `None`: it is no row of ours.
    fn read(app: &App, row: &JournalRow, entry: &Value) -> Option<Left> {
        let what = &entry["what"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let node = text(&what["node"])?;
        let deed = Deed {
            id: what["id"].as_str()?.parse::<Uuid>().ok()?,
            tool: text(&what["tool"])?,
            cluster: text(&what["cluster"])?,
            act: read(&node, &what["act"]),
            node,
            label: text(&what["subject"])?,
            by: Operator { name: text(&entry["by"])?, via: text(&entry["via"])? },
            store: app.store.clone(),
            live: Arc::clone(&app.live),
        };
        Some(Left { deed, asked: row.at(), upid: None })
    }
}
