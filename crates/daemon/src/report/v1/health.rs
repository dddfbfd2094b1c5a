//! Health: of Jarvis itself. Which clusters it sees, how old each picture is, and whether the store takes what it is given.
//!
//! `/api/health` is for strangers and names no cluster; this one is for those who may look.

use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::Has;
use super::params::{Asked, Nothing};
use super::picture::picture;
use super::rows::{Freshness, Picture};
use super::shape::Time;
use super::{Reply, Shared, seen};
use crate::record::ChannelRow;
use crate::report::caller::Caller;

/// How long the store may take to show that it is alive.
const STORE_WAIT: Duration = Duration::from_secs(2);
/// How late a picture may be; see `picture`.
const LATE: Duration = Duration::from_secs(35);

/// Whether something works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// All of it.
    Ok,
    /// Not all of it.
    Degraded,
}

/// How Jarvis is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Health {
    /// All of what follows together.
    status: Status,
    version: &'static str,
    uptime_seconds: u64,
    store: StoreHealth,
    /// Those that the caller sees, in the configuration's order.
    clusters: Vec<ClusterHealth>,
    sockets: SocketsHealth,
    /// Who is told by mail and webhook; only for those who see all clusters.
    #[serde(skip_serializing_if = "Option::is_none")]
    channels: Option<Vec<ChannelHealth>>,
}

/// How somebody is told.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ChannelHealth {
    /// `mail:ADDRESS` or `webhook:NAME`.
    #[schema(example = "mail:admin@example.org")]
    channel: String,
    /// Whether the last try was accepted.
    status: Status,
    /// Events that wait.
    waiting: u64,
    /// Messages that were accepted.
    delivered: u64,
    /// Events given up: refused by the other side.
    refused: u64,
    /// Events given up: they waited for too long.
    expired: u64,
    /// Events given up: too much waited.
    dropped: u64,
    /// When the last message was accepted.
    last_delivered_at: Option<Time>,
    /// Since when nothing was.
    failing_since: Option<Time>,
    /// What went wrong last.
    last_error: Option<String>,
    /// When that was.
    last_error_at: Option<Time>,
}

impl From<ChannelRow> for ChannelHealth {
    fn from(row: ChannelRow) -> ChannelHealth {
        ChannelHealth {
            status: if row.is_failing() { Status::Degraded } else { Status::Ok },
            channel: row.name,
            waiting: row.waiting,
            delivered: row.delivered,
            refused: row.refused,
            expired: row.expired,
            dropped: row.dropped,
            last_delivered_at: row.last_ok.map(Time),
            failing_since: row.failing_since.map(Time),
            last_error: row.last_error,
            last_error_at: row.last_error_at.map(Time),
        }
    }
}

/// How the store is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct StoreHealth {
    /// Whether it can be read, took the last write, and is whole as far as is known.
    status: Status,
    /// What SQLite says of its damage, once any was seen: restore a backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<String>,
    /// Writes since the start; of all clusters, so only for those who see all.
    #[serde(skip_serializing_if = "Option::is_none")]
    writes: Option<u64>,
    /// Transactions that they took.
    #[serde(skip_serializing_if = "Option::is_none")]
    commits: Option<u64>,
}

/// How a cluster is seen.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ClusterHealth {
    /// The cluster.
    cluster: String,
    /// Whether the last rounds saw it.
    seeing: bool,
    nodes: Picture,
    guests: Picture,
    storages: Picture,
    quorum: Picture,
}

/// Who listens.
#[derive(Debug, Serialize, ToSchema)]
struct SocketsHealth {
    /// Pages that look at the clusters that the caller sees.
    clients: u64,
}

/// How Jarvis itself is. Always 200: a part that is ill is what is asked for.
#[utoipa::path(get, path = "/api/v1/health", tag = "jarvis", responses((status = 200, body = Health)))]
pub(super) async fn health(State(app): Shared, caller: Caller, has: Has, _: Asked<Nothing>) -> Reply {
    let now = Instant::now();
    let read = tokio::time::timeout(STORE_WAIT, app.store.get_preference("autonomy.level")).await;
    // One that can be read but not written tells nothing any more, and nobody else would say so.
    let damage = app.store.damage();
    let stored = matches!(read, Ok(Ok(_))) && !app.store.is_failing() && damage.is_none();
    let clusters = seen(&app, &caller, None)?;
    let clusters: Vec<_> = clusters
        .into_iter()
        .map(|(name, page)| ClusterHealth {
            cluster: name.to_string(),
            seeing: app.live.sees(name, now),
            nodes: picture(&app, name, page.nodes().map(|it| it.seen_at), LATE),
            guests: picture(&app, name, page.guests().map(|it| it.seen_at), LATE),
            storages: picture(&app, name, page.storages().map(|it| it.seen_at), LATE),
            quorum: picture(&app, name, page.quorum().map(|it| it.seen_at), LATE),
        })
        .collect();
    let fresh = |picture: &Picture| picture.freshness == Freshness::Fresh;
    let well = clusters.iter().all(|cluster| {
        let ClusterHealth { nodes, guests, storages, quorum, .. } = cluster;
        cluster.seeing && [nodes, guests, storages, quorum].into_iter().all(fresh)
    });
    let channels = match (caller.clusters.is_none(), stored) {
        (true, true) => Some(app.store.channels().await?.into_iter().map(ChannelHealth::from).collect()),
        (true, false) | (false, _) => None,
    };
    let told = channels.iter().flatten().all(|channel: &ChannelHealth| channel.status == Status::Ok);
    let word = |well| if well { Status::Ok } else { Status::Degraded };
    let written = caller.clusters.is_none().then(|| app.store.written());
    let pages = app.pages.iter().filter(|(name, _)| caller.sees(name));
    let clients: usize = pages.map(|(_, page)| page.clients()).sum();
    let answer: Response = has.answer(&Health {
        status: word(stored && well && told),
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: app.live.uptime(now).as_secs(),
        store: StoreHealth {
            status: word(stored),
            damage,
            writes: written.map(|written| written.writes),
            commits: written.map(|written| written.commits),
        },
        clusters,
        sockets: SocketsHealth { clients: u64::try_from(clients).unwrap_or(u64::MAX) },
        channels,
    })?;
    Ok(answer)
}
