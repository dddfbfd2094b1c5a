//! Pictures: what is seen of the clusters, with when PVE was asked, and whether that is recent enough to be believed.
//!
//! What PVE did not say is absent, not 0. A list goes on by what its last row is called, so a row that comes or goes
//! meanwhile neither hides nor repeats another.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use axum::extract::{Path, State};
use engine::observe::{ClusterName, GuestStatus, Presence};
use jiff::Timestamp;

use super::answer::{Has, weak};
use super::params::{Asked, Nothing};
use super::rows::{
    Cluster, ClusterList, Count, Freshness, Guest, GuestList, GuestSeen, GuestsAsked, Node, NodeList,
    NodeSeen, NodesAsked, Picture, Quorum, Storage, StorageList, StoragesAsked, WhoseAsked,
};
use super::shape::Time;
use super::{Reply, Shared, cursor, only, seen};
use crate::record::Position;
use crate::report::caller::Caller;
use crate::report::page::{GuestRow, NodeRow, Page, Published, StorageRow};
use crate::report::problem::{Problem, Wrong};
use crate::report::web::App;

/// How often each is published at the latest while all is well; beyond that, and the rounds that may be lost, it is old.
const NODES_EVERY: Duration = Duration::from_secs(15);
const GUESTS_EVERY: Duration = Duration::from_secs(20);
const STORAGES_EVERY: Duration = Duration::from_secs(35);

/// The watched clusters, in the configuration's order.
#[utoipa::path(get, path = "/api/v1/clusters", tag = "seen", responses((status = 200, body = ClusterList)))]
pub(super) async fn clusters(State(app): Shared, caller: Caller, has: Has, _: Asked<Nothing>) -> Reply {
    let open = open_incidents(&app).await?;
    let items = seen(&app, &caller, None)?;
    let items: Vec<_> = items.into_iter().map(|(name, page)| summary(&app, name, page, &open)).collect();
    has.answer_or(&tag_of(&has, &items), || ClusterList { items })
}

/// One watched cluster.
#[utoipa::path(get, path = "/api/v1/clusters/{cluster}", tag = "seen",
    params(("cluster" = String, Path, description = "Its name")), responses((status = 200, body = Cluster)))]
pub(super) async fn cluster(
    State(app): Shared,
    caller: Caller,
    has: Has,
    Path(cluster): Path<String>,
    _: Asked<Nothing>,
) -> Reply {
    let (name, page) = only(&app, &caller, &cluster)?;
    let open = open_incidents(&app).await?;
    let cluster = summary(&app, name, page, &open);
    has.answer_or(&tag_of(&has, std::slice::from_ref(&cluster)), || cluster)
}

/// A cluster's nodes.
#[utoipa::path(get, path = "/api/v1/clusters/{cluster}/nodes", tag = "seen",
    params(("cluster" = String, Path, description = "Its name"), NodesAsked),
    responses((status = 200, body = NodeList)))]
pub(super) async fn cluster_nodes(
    State(app): Shared,
    caller: Caller,
    has: Has,
    Path(cluster): Path<String>,
    Asked(asked): Asked<NodesAsked>,
) -> Reply {
    list_nodes(&app, &caller, &has, Some(&cluster), &asked)
}

/// One node.
#[utoipa::path(get, path = "/api/v1/clusters/{cluster}/nodes/{node}", tag = "seen",
    params(("cluster" = String, Path, description = "Its cluster's name"), ("node" = String, Path, description = "Its name")),
    responses((status = 200, body = NodeSeen)))]
pub(super) async fn cluster_node(
    State(app): Shared,
    caller: Caller,
    has: Has,
    Path((cluster, node)): Path<(String, String)>,
    _: Asked<Nothing>,
) -> Reply {
    let (name, page) = only(&app, &caller, &cluster)?;
    let published = page.nodes().ok_or_else(|| not_seen(name))?;
    let picture = picture(&app, name, Some(published.seen_at), NODES_EVERY);
    let row = published.rows.iter().find(|row| row.node.as_str() == node);
    let row = row.ok_or_else(|| absent("node", &node, name))?;
    has.answer_or(&tag(&has, std::slice::from_ref(&picture), 0), || NodeSeen {
        picture: picture.clone(),
        item: node_of(name, row),
    })
}

/// A cluster's guests.
#[utoipa::path(get, path = "/api/v1/clusters/{cluster}/guests", tag = "seen",
    params(("cluster" = String, Path, description = "Its name"), GuestsAsked),
    responses((status = 200, body = GuestList)))]
pub(super) async fn cluster_guests(
    State(app): Shared,
    caller: Caller,
    has: Has,
    Path(cluster): Path<String>,
    Asked(asked): Asked<GuestsAsked>,
) -> Reply {
    list_guests(&app, &caller, &has, Some(&cluster), &asked)
}

/// One guest.
#[utoipa::path(get, path = "/api/v1/clusters/{cluster}/guests/{kind}/{vmid}", tag = "seen",
    params(
        ("cluster" = String, Path, description = "Its cluster's name"),
        ("kind" = inline(super::shape::GuestKind), Path, description = "Virtual machine or container"),
        ("vmid" = u32, Path, description = "PVE's number", minimum = 100, maximum = 999_999_999),
    ),
    responses((status = 200, body = GuestSeen)))]
pub(super) async fn cluster_guest(
    State(app): Shared,
    caller: Caller,
    has: Has,
    Path((cluster, kind, vmid)): Path<(String, String, String)>,
    _: Asked<Nothing>,
) -> Reply {
    let (name, page) = only(&app, &caller, &cluster)?;
    let published = page.guests().ok_or_else(|| not_seen(name))?;
    let picture = picture(&app, name, Some(published.seen_at), GUESTS_EVERY);
    let guest = format!("{kind}/{vmid}");
    let row = published.rows.iter().find(|row| row.id.to_string() == guest);
    let row = row.ok_or_else(|| absent("guest", &guest, name))?;
    has.answer_or(&tag(&has, std::slice::from_ref(&picture), 0), || GuestSeen {
        picture: picture.clone(),
        item: guest_of(name, row),
    })
}

/// A cluster's storages, one for each node that has it.
#[utoipa::path(get, path = "/api/v1/clusters/{cluster}/storages", tag = "seen",
    params(("cluster" = String, Path, description = "Its name"), StoragesAsked),
    responses((status = 200, body = StorageList)))]
pub(super) async fn cluster_storages(
    State(app): Shared,
    caller: Caller,
    has: Has,
    Path(cluster): Path<String>,
    Asked(asked): Asked<StoragesAsked>,
) -> Reply {
    list_storages(&app, &caller, &has, Some(&cluster), &asked)
}

/// The nodes of all clusters.
#[utoipa::path(get, path = "/api/v1/nodes", tag = "seen", params(WhoseAsked, NodesAsked),
    responses((status = 200, body = NodeList)))]
pub(super) async fn nodes(
    State(app): Shared,
    caller: Caller,
    has: Has,
    Asked((whose, asked)): Asked<(WhoseAsked, NodesAsked)>,
) -> Reply {
    list_nodes(&app, &caller, &has, whose.cluster.as_deref(), &asked)
}

/// The guests of all clusters.
#[utoipa::path(get, path = "/api/v1/guests", tag = "seen", params(WhoseAsked, GuestsAsked),
    responses((status = 200, body = GuestList)))]
pub(super) async fn guests(
    State(app): Shared,
    caller: Caller,
    has: Has,
    Asked((whose, asked)): Asked<(WhoseAsked, GuestsAsked)>,
) -> Reply {
    list_guests(&app, &caller, &has, whose.cluster.as_deref(), &asked)
}

/// The storages of all clusters.
#[utoipa::path(get, path = "/api/v1/storages", tag = "seen", params(WhoseAsked, StoragesAsked),
    responses((status = 200, body = StorageList)))]
pub(super) async fn storages(
    State(app): Shared,
    caller: Caller,
    has: Has,
    Asked((whose, asked)): Asked<(WhoseAsked, StoragesAsked)>,
) -> Reply {
    list_storages(&app, &caller, &has, whose.cluster.as_deref(), &asked)
}

fn list_nodes(app: &App, caller: &Caller, has: &Has, cluster: Option<&str>, asked: &NodesAsked) -> Reply {
    let listing = Listing {
        name: "nodes",
        every: NODES_EVERY,
        published: Page::nodes,
        wanted: |row: &NodeRow| {
            asked.status.is_none_or(|status| status == row.status.into())
                && has_part(Some(row.node.as_str()), asked.name.as_deref())
        },
        key: |row: &NodeRow| row.node.to_string(),
    };
    let answer = |items, next, pictures| NodeList { items, next, pictures };
    listing.list(app, caller, has, cluster, asked.limit, asked.cursor.as_deref(), node_of, answer)
}

fn list_guests(app: &App, caller: &Caller, has: &Has, cluster: Option<&str>, asked: &GuestsAsked) -> Reply {
    let listing = Listing {
        name: "guests",
        every: GUESTS_EVERY,
        published: Page::guests,
        wanted: |row: &GuestRow| {
            asked.kind.is_none_or(|kind| kind == row.id.kind.into())
                && asked.status.as_deref().is_none_or(|status| status == row.status.as_str())
                && asked.node.as_deref().is_none_or(|node| node == row.node.as_str())
                && asked.tag.as_deref().is_none_or(|tag| row.marks.tags.iter().any(|own| &**own == tag))
                && asked.pool.is_none_or_eq(row.marks.pool.as_deref())
                && asked.template.is_none_or(|template| template == row.marks.template)
                && has_part(row.name.as_deref(), asked.name.as_deref())
        },
        // Numbers of one width, so that they sort as numbers do.
        key: |row: &GuestRow| format!("{:010}", row.id.vmid),
    };
    let answer = |items, next, pictures| GuestList { items, next, pictures };
    listing.list(app, caller, has, cluster, asked.limit, asked.cursor.as_deref(), guest_of, answer)
}

fn list_storages(
    app: &App,
    caller: &Caller,
    has: &Has,
    cluster: Option<&str>,
    asked: &StoragesAsked,
) -> Reply {
    let listing = Listing {
        name: "storages",
        every: STORAGES_EVERY,
        published: Page::storages,
        wanted: |row: &StorageRow| {
            asked.node.as_deref().is_none_or(|node| node == row.node.as_str())
                && asked.r#type.as_deref().is_none_or(|kind| kind == &*row.r#type)
                && asked.active.is_none_or(|active| active == row.active)
                && has_part(Some(row.storage.as_str()), asked.name.as_deref())
        },
        // A blank is below every sign of a name, so the key sorts as the pair does.
        key: |row: &StorageRow| format!("{} {}", row.storage, row.node),
    };
    let answer = |items, next, pictures| StorageList { items, next, pictures };
    listing.list(app, caller, has, cluster, asked.limit, asked.cursor.as_deref(), storage_of, answer)
}

/// `None` as a filter lets everything through.
trait NoneOrEq {
    fn is_none_or_eq(&self, value: Option<&str>) -> bool;
}

impl NoneOrEq for Option<String> {
    fn is_none_or_eq(&self, value: Option<&str>) -> bool {
        self.as_deref().is_none_or(|wanted| Some(wanted) == value)
    }
}

fn has_part(name: Option<&str>, part: Option<&str>) -> bool {
    part.is_none_or(|part| name.is_some_and(|name| name.to_lowercase().contains(&part.to_lowercase())))
}

/// A list of what is seen, cluster by cluster, each in the order of its keys.
struct Listing<R, W, K> {
    name: &'static str,
    every: Duration,
    published: fn(&Page) -> Option<Published<[R]>>,
    wanted: W,
    key: K,
}

impl<R, W: Fn(&R) -> bool, K: Fn(&R) -> String> Listing<R, W, K> {
    #[expect(clippy::too_many_arguments, reason = "what is asked, by whom, and how it is written")]
    fn list<T, A: serde::Serialize>(
        &self,
        app: &App,
        caller: &Caller,
        has: &Has,
        cluster: Option<&str>,
        limit: u32,
        cursor: Option<&str>,
        item: impl Fn(&ClusterName, &R) -> T,
        answer: impl FnOnce(Vec<T>, Option<String>, Vec<Picture>) -> A,
    ) -> Reply {
        let clusters = seen(app, caller, cluster)?;
        let after = cursor.map(|cursor| place(self.name, cursor)).transpose()?;
        let limit = usize::try_from(limit).unwrap_or(1);
        let mut pictures = Vec::new();
        let mut rows = Vec::new();
        let mut versions = Vec::new();
        for (number, (name, page)) in (0_i64..).zip(clusters) {
            let published = (self.published)(page);
            pictures.push(picture(app, name, published.as_ref().map(|it| it.seen_at), self.every));
            versions.push(published.as_ref().map_or(0, |it| it.rows.as_ptr().addr()));
            rows.extend(published.map(|published| (number, name, published)));
        }
        let shown = versions.iter().fold(0_usize, |sum, version| sum.rotate_left(7) ^ version);
        let tag = tag(has, &pictures, shown);
        if let Some(response) = has.already(&tag) {
            return Ok(response);
        }
        let (mut items, mut last, mut next) = (Vec::new(), None, None);
        'all: for (number, name, published) in &rows {
            let mut keyed: Vec<(String, &R)> = published
                .rows
                .iter()
                .filter(|row| (self.wanted)(row))
                .map(|row| ((self.key)(row), row))
                .collect();
            keyed.sort_by(|a, b| a.0.cmp(&b.0));
            for (key, row) in keyed {
                let place = Position { id: *number, time: format!("{name} {key}") };
                if after.as_ref().is_some_and(|after| !behind(&place, after, &rows)) {
                    continue;
                }
                if items.len() == limit {
                    next = last;
                    break 'all;
                }
                items.push(item(name, row));
                last = Some(cursor::written(self.name, &place));
            }
        }
        let response = has.answer_as(&tag, &answer(items, next.clone(), pictures))?;
        Ok(has.linked(response, next.as_deref()))
    }
}

/// Whether a place comes after another. The cluster's place in the configuration decides; where that changed since the
/// cursor was given, its name does.
fn behind<R>(place: &Position, after: &Position, clusters: &[(i64, &ClusterName, R)]) -> bool {
    let name =
        |place: &Position| place.time.split_once(' ').map(|(name, key)| (name.to_owned(), key.to_owned()));
    let (Some((cluster, key)), Some((before, last))) = (name(place), name(after)) else { return true };
    if cluster == before {
        return key > last;
    }
    let number =
        |named: &str| clusters.iter().find(|(_, name, _)| name.as_str() == named).map(|(number, ..)| *number);
    place.id > number(&before).unwrap_or(after.id)
}

fn place(list: &str, cursor: &str) -> Result<Position, Problem> {
    cursor::read(list, cursor).ok_or_else(bad_cursor)
}

/// A cursor that is cut off, mistyped or another list's.
pub(super) fn bad_cursor() -> Problem {
    let detail = "is none of this list's; give `next` of the page before as it is";
    Problem::wrong(vec![Wrong {
        parameter: "cursor".to_owned(),
        detail: detail.to_owned(),
        allowed: Vec::new(),
    }])
}

fn not_seen(cluster: &ClusterName) -> Problem {
    Problem::not_yet(format!("nothing was seen of the cluster {cluster} yet"))
}

fn absent(what: &str, name: &str, cluster: &ClusterName) -> Problem {
    let name: String = name.chars().take(100).collect();
    Problem::not_found(format!("there is no {what} `{name}` in the cluster {cluster}"))
}

/// When something was seen, and whether that may be believed. A cluster that is not seen now has no fresh picture.
pub(super) fn picture(
    app: &App,
    cluster: &ClusterName,
    seen_at: Option<Timestamp>,
    every: Duration,
) -> Picture {
    let age = seen_at.map(|at| Duration::try_from(app.live.now().duration_since(at)).unwrap_or_default());
    let freshness = match age {
        None => Freshness::Unseen,
        Some(age) if app.live.sees(cluster, Instant::now()) && !app.live.is_old(age, every) => {
            Freshness::Fresh
        }
        Some(_) => Freshness::Stale,
    };
    Picture {
        cluster: cluster.to_string(),
        freshness,
        seen_at: seen_at.map(Time),
        age_seconds: age.map(|age| age.as_secs()),
    }
}

/// Which pictures an answer shows, for whom, where. Its age is not in it: that is what grows by itself.
fn tag(has: &Has, pictures: &[Picture], shown: usize) -> String {
    let mut words = has.whole().to_owned();
    for Picture { cluster, freshness, seen_at, .. } in pictures {
        let at = seen_at.map(|Time(at)| at.as_nanosecond());
        words.push_str(&format!(" {cluster} {freshness:?} {at:?}"));
    }
    weak(&[words.as_bytes(), &shown.to_be_bytes(), BOOT.get_or_init(uuid::Uuid::new_v4).as_bytes()])
}

/// The same of whole clusters: their pictures, and what else of them changes.
fn tag_of(has: &Has, clusters: &[Cluster]) -> String {
    let pictures = |cluster: &Cluster| {
        let Cluster { quorum, nodes, guests, storages, .. } = cluster;
        [&quorum.picture, &nodes.picture, &guests.picture, &storages.picture].map(Clone::clone)
    };
    let shown: Vec<Picture> = clusters.iter().flat_map(pictures).collect();
    let open = clusters.iter().fold(0_u64, |sum, cluster| {
        sum.rotate_left(9) ^ cluster.open_incidents.rotate_left(1) ^ u64::from(cluster.seeing)
    });
    tag(has, &shown, usize::try_from(open).unwrap_or(usize::MAX))
}

/// This run of the daemon: what another run showed is compared with nothing.
static BOOT: std::sync::OnceLock<uuid::Uuid> = std::sync::OnceLock::new();

async fn open_incidents(app: &App) -> Result<HashMap<String, i64>, Problem> {
    Ok(app.store.open_incidents().await?.into_iter().collect())
}

fn summary(app: &App, name: &ClusterName, page: &Page, open: &HashMap<String, i64>) -> Cluster {
    let (quorum, nodes, guests, storages) = (page.quorum(), page.nodes(), page.guests(), page.storages());
    let vote = quorum.as_ref().map(|quorum| *quorum.rows);
    let count = |total: usize| u64::try_from(total).unwrap_or(u64::MAX);
    let up = |running: usize| count(running);
    Cluster {
        cluster: name.to_string(),
        seeing: app.live.sees(name, Instant::now()),
        quorum: Quorum {
            picture: picture(app, name, quorum.map(|it| it.seen_at), NODES_EVERY),
            quorate: vote.map(|vote| vote.quorate),
            votes_online: vote.map(|vote| vote.nodes),
            votes_expected: vote.map(|vote| vote.expected),
        },
        nodes: Count {
            picture: picture(app, name, nodes.as_ref().map(|it| it.seen_at), NODES_EVERY),
            total: nodes.as_ref().map(|it| count(it.rows.len())),
            up: nodes.map(|it| up(it.rows.iter().filter(|row| row.status == Presence::Online).count())),
        },
        guests: Count {
            picture: picture(app, name, guests.as_ref().map(|it| it.seen_at), GUESTS_EVERY),
            total: guests.as_ref().map(|it| count(it.rows.iter().filter(|row| !row.marks.template).count())),
            up: guests.map(|it| up(it.rows.iter().filter(|row| row.status == GuestStatus::Running).count())),
        },
        storages: Count {
            picture: picture(app, name, storages.as_ref().map(|it| it.seen_at), STORAGES_EVERY),
            total: storages.as_ref().map(|it| count(it.rows.len())),
            up: storages.map(|it| up(it.rows.iter().filter(|row| row.active).count())),
        },
        open_incidents: open.get(name.as_str()).copied().unwrap_or_default().unsigned_abs(),
    }
}

/// A number that was said: PVE leaves out what it does not know, and then the whole is 0 too.
fn said<T: Copy + Default + PartialEq>(value: T, whole: T, known: bool) -> Option<T> {
    (known && whole != T::default()).then_some(value)
}

fn node_of(cluster: &ClusterName, row: &NodeRow) -> Node {
    // Of a node that is away nothing is known but that it is.
    let known = row.status == Presence::Online;
    Node {
        id: format!("{cluster}/node/{}", row.node),
        cluster: cluster.to_string(),
        node: row.node.to_string(),
        address: row.host.to_string(),
        status: row.status.into(),
        ha_state: row.ha.as_ref().map(ToString::to_string),
        cpu_fraction: said(row.cpu, row.maxcpu, known),
        cpu_cores: said(row.maxcpu, row.maxcpu, true),
        memory_used_bytes: said(row.mem, row.maxmem, known),
        memory_total_bytes: said(row.maxmem, row.maxmem, true),
        disk_used_bytes: said(row.disk, row.maxdisk, known),
        disk_total_bytes: said(row.maxdisk, row.maxdisk, true),
        uptime_seconds: known.then_some(row.uptime),
        temperatures_celsius: row.temperatures.iter().map(|(zone, at)| (zone.to_string(), *at)).collect(),
    }
}

fn guest_of(cluster: &ClusterName, row: &GuestRow) -> Guest {
    // Of one that is unknown, what is there is what its node last told.
    let known = row.status != GuestStatus::Unknown;
    let runs = known && row.status.has_process() == Some(true);
    let container = row.id.kind == engine::observe::GuestKind::Lxc;
    Guest {
        id: format!("{cluster}/{}", row.id),
        cluster: cluster.to_string(),
        kind: row.id.kind.into(),
        vmid: row.id.vmid,
        name: row.name.as_ref().map(ToString::to_string),
        node: row.node.to_string(),
        status: row.status.as_str().to_owned(),
        template: row.marks.template,
        tags: row.marks.tags.iter().map(ToString::to_string).collect(),
        pool: row.marks.pool.as_ref().map(ToString::to_string),
        lock: row.marks.lock.as_ref().map(ToString::to_string),
        ha_state: row.marks.ha.as_ref().map(ToString::to_string),
        cpu_fraction: said(row.cpu, row.maxcpu, runs),
        cpu_cores: said(row.maxcpu, row.maxcpu, true),
        memory_used_bytes: said(row.mem, row.maxmem, runs),
        memory_total_bytes: said(row.maxmem, row.maxmem, true),
        disk_used_bytes: said(row.disk, row.maxdisk, known && container),
        disk_total_bytes: said(row.maxdisk, row.maxdisk, true),
        network_in_bytes: runs.then_some(row.netin),
        network_out_bytes: runs.then_some(row.netout),
        uptime_seconds: runs.then_some(row.uptime),
    }
}

fn storage_of(cluster: &ClusterName, row: &StorageRow) -> Storage {
    let words = |text: &str| text.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    Storage {
        id: format!("{cluster}/storage/{}/{}", row.node, row.storage),
        cluster: cluster.to_string(),
        storage: row.storage.to_string(),
        node: row.node.to_string(),
        r#type: row.r#type.to_string(),
        active: row.active,
        shared: row.shared,
        used_bytes: said(row.used, row.total, row.active),
        free_bytes: said(row.avail, row.total, row.active),
        total_bytes: said(row.total, row.total, true),
        content: words(&row.content),
    }
}
