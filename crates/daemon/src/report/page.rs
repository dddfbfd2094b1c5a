//! Page: the arrays of `/cluster`, as the page expects them. The observer publishes rows, the sockets send text.
//!
//! Rows become text when somebody is there to read them, and then once for all readers: with 10,000 guests an array
//! is 2 to 3 MB, which an idle daemon must not pay for every 15 seconds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use super::details::{ClusterInfo, Details, GuestMarks, NodeDetails};
use engine::observe::{GuestId, GuestStatus, NodeName, Presence, StorageName};
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use tokio::sync::watch;

/// From so many rows on, making text would hold up an async thread for a millisecond.
const ROWS_INLINE: usize = 500;

/// A node. Numbers that are not known are 0: the page calculates with all of them.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeRow {
    /// Its name.
    pub node: NodeName,
    /// Where it is reached.
    pub host: Box<str>,
    /// Membership.
    pub status: Presence,
    /// Fraction of all its cores, 0 to 1.
    pub cpu: f64,
    /// Cores.
    pub maxcpu: f64,
    /// Bytes in use.
    pub mem: u64,
    /// Bytes in all.
    pub maxmem: u64,
    /// Bytes in use on the root disk.
    pub disk: u64,
    /// Bytes of the root disk.
    pub maxdisk: u64,
    /// Seconds since its boot.
    pub uptime: u64,
    /// Degrees Celsius by sensor; empty where there is no source.
    pub temperatures: BTreeMap<Box<str>, f64>,
    /// HA's word for its state, where HA is used. The old page is not told.
    pub ha: Option<Box<str>>,
}

/// A virtual machine or container. Numbers that are not known are 0.
#[derive(Clone, Debug, PartialEq)]
pub struct GuestRow {
    /// Which one.
    pub id: GuestId,
    /// Its name; its id is shown where PVE has none.
    pub name: Option<Box<str>>,
    /// Its state.
    pub status: GuestStatus,
    /// Where it is.
    pub node: NodeName,
    /// Fraction of its cores, 0 to 1.
    pub cpu: f64,
    /// Cores; a container's limit may be a fraction.
    pub maxcpu: f64,
    /// Bytes in use.
    pub mem: u64,
    /// Bytes in all.
    pub maxmem: u64,
    /// Bytes in use; 0 for a VM, whose inside PVE does not see.
    pub disk: u64,
    /// Bytes in all.
    pub maxdisk: u64,
    /// Bytes received since its start.
    pub netin: u64,
    /// Bytes sent since its start.
    pub netout: u64,
    /// Seconds since its start.
    pub uptime: u64,
    /// What else PVE says of it.
    pub marks: GuestMarks,
}

/// One storage on one node. Numbers that are not known are 0.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StorageRow {
    /// Its name.
    pub storage: StorageName,
    /// The node that sees it.
    pub node: NodeName,
    /// PVE's word for what it is (`dir`, `zfspool`, `nfs`).
    pub r#type: Box<str>,
    /// Whether the node reaches it.
    #[serde(rename = "status", serialize_with = "active")]
    pub active: bool,
    /// Bytes in all.
    pub total: u64,
    /// Bytes in use.
    pub used: u64,
    /// Bytes free.
    pub avail: u64,
    /// What may lie on it, as PVE writes it (`images,rootdir`).
    pub content: Box<str>,
    /// Whether it is the same one on every node. The old page is not told.
    #[serde(skip)]
    pub shared: bool,
}

/// The vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Quorum {
    /// Whether the answering node is on the side that may decide.
    pub quorate: bool,
    /// Votes online.
    pub nodes: u32,
    /// Votes in all.
    pub expected: u32,
}

/// A node's sensors.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Temperature {
    /// The node.
    pub node: NodeName,
    /// Degrees Celsius by sensor.
    pub zones: BTreeMap<Box<str>, f64>,
}

impl Serialize for NodeRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Wire<'a> {
            id: String,
            node: &'a NodeName,
            name: &'a NodeName,
            host: &'a str,
            status: Presence,
            cpu: f64,
            maxcpu: f64,
            mem: u64,
            maxmem: u64,
            disk: u64,
            maxdisk: u64,
            uptime: u64,
            temperatures: &'a BTreeMap<Box<str>, f64>,
        }
        let NodeRow {
            node,
            host,
            status,
            cpu,
            maxcpu,
            mem,
            maxmem,
            disk,
            maxdisk,
            uptime,
            temperatures,
            ha: _,
        } = self;
        Wire {
            id: format!("node/{node}"),
            node,
            name: node,
            host,
            status: *status,
            cpu: *cpu,
            maxcpu: *maxcpu,
            mem: *mem,
            maxmem: *maxmem,
            disk: *disk,
            maxdisk: *maxdisk,
            uptime: *uptime,
            temperatures,
        }
        .serialize(serializer)
    }
}

impl Serialize for GuestRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Wire<'a> {
            vmid: u32,
            name: &'a str,
            r#type: &'a str,
            status: &'a str,
            node: &'a str,
            cpu: f64,
            maxcpu: f64,
            mem: u64,
            maxmem: u64,
            disk: u64,
            maxdisk: u64,
            netin: u64,
            netout: u64,
            uptime: u64,
        }
        let unnamed;
        let name = match &self.name {
            Some(name) => name,
            None => {
                unnamed = self.id.to_string();
                unnamed.as_str()
            }
        };
        let GuestRow {
            id,
            name: _,
            status,
            node,
            cpu,
            maxcpu,
            mem,
            maxmem,
            disk,
            maxdisk,
            netin,
            netout,
            uptime,
            marks: _,
        } = self;
        Wire {
            vmid: id.vmid,
            name,
            r#type: id.kind.as_str(),
            status: status.as_str(),
            node: node.as_str(),
            cpu: *cpu,
            maxcpu: *maxcpu,
            mem: *mem,
            maxmem: *maxmem,
            disk: *disk,
            maxdisk: *maxdisk,
            netin: *netin,
            netout: *netout,
            uptime: *uptime,
        }
        .serialize(serializer)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn active<S: Serializer>(active: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if *active { "active" } else { "inactive" })
}

/// The arrays, in the order in which a new client gets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Array {
    Nodes,
    Guests,
    Storage,
    Quorum,
    Temperature,
}

impl Array {
    pub(super) const ALL: [Array; 5] =
        [Array::Nodes, Array::Guests, Array::Storage, Array::Quorum, Array::Temperature];

    /// The message's name.
    pub(super) fn event(self) -> &'static str {
        match self {
            Array::Nodes => "nodes",
            Array::Guests => "vms",
            Array::Storage => "storage",
            Array::Quorum => "quorum",
            Array::Temperature => "temperature",
        }
    }

    /// After how long it is sent again although nothing new was published. The page calls nodes and guests stale
    /// after 30 s and storage after 60 s; the rest of that time is for slow networks.
    pub(super) fn resend(self) -> Duration {
        match self {
            Array::Nodes | Array::Guests | Array::Quorum => Duration::from_secs(20),
            Array::Storage | Array::Temperature => Duration::from_secs(40),
        }
    }
}

/// The latest of each array. One writer (the observer), one reader (the sockets).
#[derive(Debug, Default)]
pub struct Page {
    held: [Mutex<Held>; Array::ALL.len()],
    /// What only `/metrics` shows.
    details: Mutex<Arc<Details>>,
    /// What the next rows of the nodes are given.
    temperatures: Mutex<BTreeMap<NodeName, BTreeMap<Box<str>, f64>>>,
    /// How often each array was published.
    versions: watch::Sender<[u64; Array::ALL.len()]>,
    clients: watch::Sender<usize>,
}

/// The latest of one array.
#[derive(Debug, Default)]
struct Held {
    published: Option<(Timestamp, Rows)>,
    /// Made when a client of the old page wants it, and dropped with the rows.
    text: Option<Arc<RawValue>>,
}

/// What was published, and when PVE was asked for it.
#[derive(Debug)]
pub struct Published<T: ?Sized> {
    /// When PVE was asked: the picture is at least this old.
    pub seen_at: Timestamp,
    /// The rows; shared, not copied.
    pub rows: Arc<T>,
}

impl<T: ?Sized> Clone for Published<T> {
    fn clone(&self) -> Published<T> {
        Published { seen_at: self.seen_at, rows: Arc::clone(&self.rows) }
    }
}

#[derive(Clone, Debug)]
enum Rows {
    Nodes(Arc<[NodeRow]>),
    Guests(Arc<[GuestRow]>),
    Storage(Arc<[StorageRow]>),
    Quorum(Quorum),
    Temperature(Arc<[Temperature]>),
}

impl Page {
    /// Nothing published yet: a client is sent nothing rather than empty arrays, which would say that all is gone.
    pub fn new() -> Page {
        Page::default()
    }

    /// The cluster's nodes, as PVE said when it was asked at `seen_at`. Their temperatures are those that were last published, where there are any.
    pub fn publish_nodes(&self, mut rows: Vec<NodeRow>, seen_at: Timestamp) {
        let temperatures = self.temperatures.lock().unwrap_or_else(PoisonError::into_inner);
        for row in &mut rows {
            if let Some(zones) = temperatures.get(&row.node) {
                row.temperatures.clone_from(zones);
            }
        }
        drop(temperatures);
        self.publish(Array::Nodes, Rows::Nodes(rows.into()), seen_at);
    }

    /// The cluster's guests.
    pub fn publish_guests(&self, rows: Vec<GuestRow>, seen_at: Timestamp) {
        self.publish(Array::Guests, Rows::Guests(rows.into()), seen_at);
    }

    /// The cluster's storages, one row per node that sees it.
    pub fn publish_storage(&self, rows: Vec<StorageRow>, seen_at: Timestamp) {
        self.publish(Array::Storage, Rows::Storage(rows.into()), seen_at);
    }

    /// The cluster's vote.
    pub fn publish_quorum(&self, quorum: Quorum, seen_at: Timestamp) {
        self.publish(Array::Quorum, Rows::Quorum(quorum), seen_at);
    }

    /// The cluster's sensors, where there are any: degrees Celsius by node and sensor. The rows of its nodes have
    /// them from their next time on.
    pub fn publish_temperatures(
        &self,
        by_node: BTreeMap<NodeName, BTreeMap<Box<str>, f64>>,
        seen_at: Timestamp,
    ) {
        let row = |(node, zones): (&NodeName, &BTreeMap<_, _>)| Temperature {
            node: node.clone(),
            zones: zones.clone(),
        };
        let rows = by_node.iter().map(row).collect();
        *self.temperatures.lock().unwrap_or_else(PoisonError::into_inner) = by_node;
        self.publish(Array::Temperature, Rows::Temperature(rows), seen_at);
    }

    /// The nodes; `None` before the first round.
    pub fn nodes(&self) -> Option<Published<[NodeRow]>> {
        match self.held(Array::Nodes).published.clone()? {
            (seen_at, Rows::Nodes(rows)) => Some(Published { seen_at, rows }),
            (_, Rows::Guests(_) | Rows::Storage(_) | Rows::Quorum(_) | Rows::Temperature(_)) => None,
        }
    }

    /// The guests; `None` before the first round.
    pub fn guests(&self) -> Option<Published<[GuestRow]>> {
        match self.held(Array::Guests).published.clone()? {
            (seen_at, Rows::Guests(rows)) => Some(Published { seen_at, rows }),
            (_, Rows::Nodes(_) | Rows::Storage(_) | Rows::Quorum(_) | Rows::Temperature(_)) => None,
        }
    }

    /// The storages; `None` before the first round.
    pub fn storages(&self) -> Option<Published<[StorageRow]>> {
        match self.held(Array::Storage).published.clone()? {
            (seen_at, Rows::Storage(rows)) => Some(Published { seen_at, rows }),
            (_, Rows::Nodes(_) | Rows::Guests(_) | Rows::Quorum(_) | Rows::Temperature(_)) => None,
        }
    }

    /// The vote; `None` before the first round.
    pub fn quorum(&self) -> Option<Published<Quorum>> {
        match self.held(Array::Quorum).published.clone()? {
            (seen_at, Rows::Quorum(quorum)) => Some(Published { seen_at, rows: Arc::new(quorum) }),
            (_, Rows::Nodes(_) | Rows::Guests(_) | Rows::Storage(_) | Rows::Temperature(_)) => None,
        }
    }

    /// What only `/metrics` shows.
    pub fn publish_details(&self, details: Details) {
        *self.details.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(details);
    }

    /// What only `/metrics` shows; empty before the first round.
    pub(super) fn details(&self) -> Arc<Details> {
        self.details.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many pages look.
    pub fn clients(&self) -> usize {
        *self.clients.borrow()
    }

    /// Changes whenever a page comes or goes, so that a poller may rest while nobody looks.
    pub fn watchers(&self) -> watch::Receiver<usize> {
        self.clients.subscribe()
    }

    /// Counts a client for as long as the value lives.
    pub(super) fn looking(&self) -> Looking<'_> {
        self.clients.send_modify(|clients| *clients += 1);
        Looking(self)
    }

    /// Changes whenever anything is published; the value says how often each array was.
    pub(super) fn published(&self) -> watch::Receiver<[u64; Array::ALL.len()]> {
        self.versions.subscribe()
    }

    /// The latest of one array as JSON; `None` if it was never published.
    pub(super) async fn text(&self, array: Array) -> Option<Arc<RawValue>> {
        let (seen_at, rows) = {
            let held = self.held(array);
            if let Some(text) = &held.text {
                return Some(text.clone());
            }
            held.published.clone()?
        };
        let text = if rows.len() > ROWS_INLINE {
            let rows = rows.clone();
            tokio::task::spawn_blocking(move || rows.text()).await.ok()??
        } else {
            rows.text()?
        };
        let mut held = self.held(array);
        // Newer rows may have come meanwhile; they wait for their own turn.
        if held.published.as_ref().is_some_and(|(at, now)| *at == seen_at && now.are(&rows)) {
            held.text = Some(text.clone());
        }
        Some(text)
    }

    fn publish(&self, array: Array, rows: Rows, seen_at: Timestamp) {
        // The old rows are freed after the lock, not under it.
        let held = Held { published: Some((seen_at, rows)), text: None };
        let old = std::mem::replace(&mut *self.held(array), held);
        self.versions.send_modify(|versions| versions[array as usize] += 1);
        drop(old);
    }

    fn held(&self, array: Array) -> MutexGuard<'_, Held> {
        self.held[array as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client that looks.
pub(super) struct Looking<'a>(&'a Page);

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        self.0.clients.send_modify(|clients| *clients -= 1);
    }
}

impl Rows {
    fn len(&self) -> usize {
        match self {
            Rows::Nodes(rows) => rows.len(),
            Rows::Guests(rows) => rows.len(),
            Rows::Storage(rows) => rows.len(),
            Rows::Quorum(_) => 1,
            Rows::Temperature(rows) => rows.len(),
        }
    }

    /// Whether both are the very same rows.
    fn are(&self, other: &Rows) -> bool {
        match (self, other) {
            (Rows::Nodes(a), Rows::Nodes(b)) => Arc::ptr_eq(a, b),
            (Rows::Guests(a), Rows::Guests(b)) => Arc::ptr_eq(a, b),
            (Rows::Storage(a), Rows::Storage(b)) => Arc::ptr_eq(a, b),
            (Rows::Quorum(a), Rows::Quorum(b)) => a == b,
            (Rows::Temperature(a), Rows::Temperature(b)) => Arc::ptr_eq(a, b),
            (
                Rows::Nodes(_) | Rows::Guests(_) | Rows::Storage(_) | Rows::Quorum(_) | Rows::Temperature(_),
                _,
            ) => false,
        }
    }

    fn text(&self) -> Option<Arc<RawValue>> {
        let text = match self {
            Rows::Nodes(rows) => serde_json::value::to_raw_value(&**rows),
            Rows::Guests(rows) => serde_json::value::to_raw_value(&**rows),
            Rows::Storage(rows) => serde_json::value::to_raw_value(&**rows),
            Rows::Quorum(quorum) => serde_json::value::to_raw_value(quorum),
            Rows::Temperature(rows) => serde_json::value::to_raw_value(&**rows),
        };
        match text {
            Ok(text) => Some(text.into()),
            Err(error) => {
                tracing::error!("an array of the page could not be written: {error}");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn node(name: &str) -> NodeName {
        name.parse().unwrap()
    }

    async fn check(page: &Page, array: Array, expected: &str) {
        assert_eq!(page.text(array).await.as_deref().map_or("nothing", RawValue::get), expected);
    }

    #[tokio::test]
    async fn each_array_has_exactly_the_shape_of_the_contract() {
        let page = Page::new();
        check(&page, Array::Nodes, "nothing").await;
        page.publish_nodes(
            vec![NodeRow {
                node: node("pve1"),
                host: "10.0.0.11".into(),
                status: Presence::Online,
                cpu: 0.25,
                maxcpu: 8.0,
                mem: 1,
                maxmem: 2,
                disk: 3,
                maxdisk: 4,
                uptime: 5,
                temperatures: BTreeMap::new(),
                ha: Some("online".into()),
            }],
            NOW,
        );
        let guest = GuestRow {
            id: "lxc/200".parse().unwrap(),
            name: Some("db".into()),
            status: GuestStatus::Running,
            node: node("pve1"),
            cpu: 0.5,
            maxcpu: 1.5,
            mem: 1,
            maxmem: 2,
            disk: 3,
            maxdisk: 4,
            netin: 5,
            netout: 6,
            uptime: 7,
            marks: GuestMarks { tags: vec!["prod".into()], template: true, ..GuestMarks::default() },
        };
        let unnamed = GuestRow { id: "qemu/101".parse().unwrap(), name: None, ..guest.clone() };
        page.publish_guests(vec![guest, unnamed], NOW);
        page.publish_storage(
            vec![StorageRow {
                storage: "local".parse().unwrap(),
                node: node("pve1"),
                r#type: "dir".into(),
                active: false,
                total: 3,
                used: 1,
                avail: 2,
                content: "iso,backup".into(),
                shared: true,
            }],
            NOW,
        );
        page.publish_quorum(Quorum { quorate: true, nodes: 2, expected: 3 }, NOW);
        page.publish_temperatures(
            BTreeMap::from([(node("pve1"), BTreeMap::from([("cpu".into(), 54.5)]))]),
            NOW,
        );

        check(
            &page,
            Array::Nodes,
            r#"[{"id":"node/pve1","node":"pve1","name":"pve1","host":"10.0.0.11","status":"online","cpu":0.25,"maxcpu":8.0,"mem":1,"maxmem":2,"disk":3,"maxdisk":4,"uptime":5,"temperatures":{}}]"#,
        )
        .await;
        check(
            &page,
            Array::Guests,
            r#"[{"vmid":200,"name":"db","type":"lxc","status":"running","node":"pve1","cpu":0.5,"maxcpu":1.5,"mem":1,"maxmem":2,"disk":3,"maxdisk":4,"netin":5,"netout":6,"uptime":7},{"vmid":101,"name":"qemu/101","type":"qemu","status":"running","node":"pve1","cpu":0.5,"maxcpu":1.5,"mem":1,"maxmem":2,"disk":3,"maxdisk":4,"netin":5,"netout":6,"uptime":7}]"#,
        )
        .await;
        check(
            &page,
            Array::Storage,
            r#"[{"storage":"local","node":"pve1","type":"dir","status":"inactive","total":3,"used":1,"avail":2,"content":"iso,backup"}]"#,
        )
        .await;
        check(&page, Array::Quorum, r#"{"quorate":true,"nodes":2,"expected":3}"#).await;
        check(&page, Array::Temperature, r#"[{"node":"pve1","zones":{"cpu":54.5}}]"#).await;
    }

    #[tokio::test]
    async fn a_node_shows_its_temperatures_and_no_others() {
        let row = |name: &str| NodeRow {
            node: node(name),
            host: name.into(),
            status: Presence::Online,
            cpu: 0.0,
            maxcpu: 0.0,
            mem: 0,
            maxmem: 0,
            disk: 0,
            maxdisk: 0,
            uptime: 0,
            temperatures: BTreeMap::new(),
            ha: None,
        };
        let page = Page::new();
        let shown = async || {
            page.publish_nodes(vec![row("pve1"), row("pve2")], NOW);
            let text = page.text(Array::Nodes).await.unwrap();
            let rows: serde_json::Value = serde_json::from_str(text.get()).unwrap();
            format!("{} {}", rows[0]["temperatures"], rows[1]["temperatures"])
        };
        let zones = |celsius| BTreeMap::from([("cpu".into(), celsius)]);
        assert_eq!(shown().await, "{} {}");
        page.publish_temperatures(
            BTreeMap::from([(node("pve2"), zones(41.5)), (node("pve9"), zones(90.0))]),
            NOW,
        );
        assert_eq!(shown().await, r#"{} {"cpu":41.5}"#);
        page.publish_temperatures(BTreeMap::new(), NOW);
        assert_eq!(shown().await, "{} {}", "what is too old is gone from the nodes too");
        check(&page, Array::Temperature, "[]").await;
    }

    #[tokio::test]
    async fn text_is_made_once_and_only_when_asked_for() {
        let page = Page::new();
        let mut published = page.published();
        let quorum = |nodes| Quorum { quorate: true, nodes, expected: 3 };
        page.publish_quorum(quorum(3), NOW);
        assert!(page.held(Array::Quorum).text.is_none(), "nobody asked");
        assert!(published.has_changed().unwrap());
        assert_eq!(*published.borrow_and_update(), [0, 0, 0, 1, 0]);

        let first = page.text(Array::Quorum).await.unwrap();
        let second = page.text(Array::Quorum).await.unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        page.publish_quorum(quorum(2), NOW);
        assert_eq!(
            page.text(Array::Quorum).await.unwrap().get(),
            r#"{"quorate":true,"nodes":2,"expected":3}"#
        );
    }

    #[tokio::test]
    async fn a_poller_learns_that_somebody_looks() {
        let page = Page::new();
        let mut watchers = page.watchers();
        let looking = page.looking();
        watchers.changed().await.unwrap();
        assert_eq!(page.clients(), 1);
        drop(looking);
        watchers.changed().await.unwrap();
        assert_eq!(page.clients(), 0);
    }
}
