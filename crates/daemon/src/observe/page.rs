//! Page: what the old page shows, as often as the contract says while anybody looks.
//!
//! While nobody does, it takes what the critical rounds bring and asks for nothing of its own.

use std::sync::Arc;
use std::time::Duration;

use engine::observe::Seen;
use jiff::{SignedDuration, Timestamp};

use super::{Observer, translate};
use crate::report::page::{self, Page};
use crate::supervise::Stop;

/// The page takes what is there rather than ask for its own.
const PAGE_AGE: SignedDuration = SignedDuration::from_secs(8);
/// How often each array of the page is shown (contract 2), and how often that is looked into.
const NODES_EVERY: SignedDuration = SignedDuration::from_secs(10);
const GUESTS_EVERY: SignedDuration = SignedDuration::from_secs(15);
const STORAGES_EVERY: SignedDuration = SignedDuration::from_secs(30);
const PAGE_STEP: Duration = Duration::from_secs(5);
/// A step that wakes a moment early must not wait for the next one.
const PAGE_SLACK: SignedDuration = SignedDuration::from_millis(500);

impl Observer {
    /// Shows the page what it shows, until the daemon stops.
    pub(crate) async fn page(self: Arc<Observer>, page: Arc<Page>, mut stop: Stop) -> anyhow::Result<()> {
        let mut watchers = page.watchers();
        let mut shown = Shown::default();
        loop {
            self.show(&page, &mut shown).await;
            tokio::select! {
                () = tokio::time::sleep(self.clock.real(PAGE_STEP)) => {}
                came = watchers.changed() => came?,
                () = stop.asked() => return Ok(()),
            }
        }
    }

    async fn show(&self, page: &Page, shown: &mut Shown) {
        let looked_at = page.clients() > 0;
        let now = self.clock.now();
        self.sensors.show(page, now);
        // First, because it knows the nodes' addresses.
        let status = if looked_at { self.status(PAGE_AGE).await.ok() } else { self.status.latest().await };
        if let Some((asked_at, status)) = status.clone()
            && due(&mut shown.quorum, asked_at, now, NODES_EVERY)
            && let Seen::At { value: quorum, .. } = translate::quorum(&Ok((asked_at, status)), true)
        {
            let engine::observe::Quorum { quorate, online, expected } = quorum;
            page.publish_quorum(page::Quorum { quorate, nodes: online, expected }, asked_at);
        }
        let rows =
            if looked_at { self.resources(PAGE_AGE).await.ok() } else { self.resources.latest().await };
        let Some((asked_at, rows)) = rows else { return };
        if due(&mut shown.nodes, asked_at, now, NODES_EVERY) {
            page.publish_nodes(
                translate::node_rows(&rows, status.as_ref().map(|(_, status)| &**status)),
                asked_at,
            );
        }
        if due(&mut shown.guests, asked_at, now, GUESTS_EVERY) {
            page.publish_guests(translate::guest_rows(&rows), asked_at);
            page.publish_details(translate::details(&rows, status.as_ref().map(|(_, status)| &**status)));
        }
        if due(&mut shown.storages, asked_at, now, STORAGES_EVERY) {
            page.publish_storage(translate::storage_rows(&rows), asked_at);
        }
    }
}

/// What of the page was published, and from which answer: (published at, asked at).
#[derive(Default)]
struct Shown {
    nodes: Option<(Timestamp, Timestamp)>,
    guests: Option<(Timestamp, Timestamp)>,
    storages: Option<(Timestamp, Timestamp)>,
    quorum: Option<(Timestamp, Timestamp)>,
}

/// Whether an array's time has come and there is a newer answer to show; if so it counts as shown.
fn due(
    shown: &mut Option<(Timestamp, Timestamp)>,
    asked_at: Timestamp,
    now: Timestamp,
    every: SignedDuration,
) -> bool {
    let due = shown.is_none_or(|(at, from)| asked_at > from && now.duration_since(at) >= every - PAGE_SLACK);
    if due {
        *shown = Some((now, asked_at));
    }
    due
}
