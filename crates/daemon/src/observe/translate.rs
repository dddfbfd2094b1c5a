//! PVE's answers to rounds as the engine and the page know them. PVE's quirks die here; those of answers about single
//! nodes die in `evidence`.

use std::collections::{BTreeMap, BTreeSet};

use super::Asked;
use crate::report::page::{ClusterInfo, Details, GuestMarks, GuestRow, NodeDetails, NodeRow, StorageRow};
use crate::words::plain;
use engine::observe::{
    Blindness, Cause, Guest, GuestId, GuestKind, GuestStatus, Node, NodeName, Presence, Quorum, Seen,
    Storage, StorageName, Usage,
};
use pve::types::{
    ClusterStatus, GuestResource, NodeResource, NodeStatus, Resource, Rows, StorageResource, StorageStatus,
};

/// Every node row. A name that PVE would never give is left out, with a warning.
pub(super) fn nodes(rows: &Rows<Resource>) -> BTreeMap<NodeName, Node> {
    let mut nodes = BTreeMap::new();
    for row in node_resources(rows) {
        let Some(name) = node_name(&row.node) else { continue };
        let node = Node {
            presence: presence(&row.status),
            uptime: row.uptime,
            cpu: row.cpu,
            memory: usage(row.mem, row.maxmem),
            disk: usage(row.disk, row.maxdisk),
        };
        nodes.insert(name, node);
    }
    nodes
}

/// Every guest row.
pub(super) fn guests(rows: &Rows<Resource>) -> BTreeMap<GuestId, Guest> {
    let mut guests = BTreeMap::new();
    for row in guest_resources(rows) {
        let Some(node) = node_name(&row.node) else { continue };
        let guest = Guest {
            name: row.name.as_deref().map(|name| plain(name).into()),
            node,
            status: GuestStatus::from_pve(row.status.as_str()),
            uptime: row.uptime.unwrap_or(0),
            io: row.diskread.zip(row.diskwrite).map(|(read, write)| read.saturating_add(write)),
            template: row.template,
            lock: row.lock.as_ref().map(|lock| lock.as_str().into()),
            ha: row.hastate.as_ref().map(|state| shown(state.as_str())),
            tags: row.tags().map(Into::into).collect(),
            pool: row.pool.clone(),
        };
        guests.insert(guest_id(row.id), guest);
    }
    guests
}

/// Every storage row: one per node and storage.
pub(super) fn storages(rows: &Rows<Resource>) -> BTreeMap<(StorageName, NodeName), Storage> {
    let mut storages = BTreeMap::new();
    for row in storage_resources(rows) {
        let (Some(node), Ok(name)) = (node_name(&row.node), row.storage.parse::<StorageName>()) else {
            tracing::warn!(storage = %row.storage, "a storage whose name PVE would never give is left out");
            continue;
        };
        let available = row.status == StorageStatus::Available;
        let storage = Storage { shared: row.shared, available, usage: usage(row.disk, row.maxdisk) };
        storages.insert((name, node), storage);
    }
    storages
}

/// The vote. A node that stands alone is quorate by itself. `answers`: the endpoints answer other questions.
pub(super) fn quorum(asked: &Asked<ClusterStatus>, answers: bool) -> Seen<Quorum> {
    let (asked_at, status) = match asked {
        Ok(answer) => answer,
        Err(Blindness { cause: Cause::Unreachable | Cause::Malformed, words }) if answers => {
            let words = words.clone();
            return Seen::NotReached(Blindness { cause: Cause::NoQuorumSeen, words });
        }
        Err(blindness) => return Seen::NotReached(blindness.clone()),
    };
    let Some(quorate) = status.quorate() else {
        let words = "the answer does not say whether the cluster has quorum".into();
        return Seen::NotReached(Blindness { cause: Cause::NoQuorumSeen, words });
    };
    let count = |nodes: usize| u32::try_from(nodes).unwrap_or(u32::MAX);
    let online = count(status.nodes.iter().filter(|node| node.online == Some(true)).count());
    let expected = status.cluster.as_ref().and_then(|cluster| cluster.nodes);
    let expected = expected.unwrap_or_else(|| count(status.nodes.len()));
    Seen::At { value: Quorum { quorate, online, expected }, asked_at: *asked_at }
}

/// The page's nodes. `status` knows their addresses.
pub(super) fn node_rows(rows: &Rows<Resource>, status: Option<&ClusterStatus>) -> Vec<NodeRow> {
    let host = |name: &NodeName| -> Box<str> {
        let member =
            status.and_then(|status| status.nodes.iter().find(|node| node.name.as_str() == name.as_str()));
        match member.and_then(|member| member.ip.clone()) {
            Some(address) => address,
            None => name.as_str().into(),
        }
    };
    let mut nodes: Vec<NodeRow> = node_resources(rows)
        .filter_map(|row| {
            let node = node_name(&row.node)?;
            Some(NodeRow {
                host: host(&node),
                node,
                status: presence(&row.status),
                cpu: row.cpu.unwrap_or(0.0),
                maxcpu: row.maxcpu.unwrap_or(0.0),
                mem: row.mem.unwrap_or(0),
                maxmem: row.maxmem.unwrap_or(0),
                disk: row.disk.unwrap_or(0),
                maxdisk: row.maxdisk.unwrap_or(0),
                uptime: row.uptime.unwrap_or(0),
                temperatures: BTreeMap::new(),
                ha: row.hastate.as_ref().map(|state| shown(state.as_str())),
            })
        })
        .collect();
    // PVE's order differs from answer to answer; the page's must not.
    nodes.sort_by(|a, b| a.node.cmp(&b.node));
    nodes
}

/// The page's guests. What PVE says of a guest on a node that is gone is a ghost of up to 300 s (pve-domain 1.4), and
/// the page must not show it as news.
pub(super) fn guest_rows(rows: &Rows<Resource>) -> Vec<GuestRow> {
    let gone: BTreeSet<&pve::NodeName> =
        node_resources(rows).filter(|row| row.status == NodeStatus::Offline).map(|row| &row.node).collect();
    let mut guests: Vec<GuestRow> = guest_resources(rows)
        .filter_map(|row| {
            Some(GuestRow {
                id: guest_id(row.id),
                name: row.name.as_deref().map(|name| plain(name).into()),
                status: match gone.contains(&row.node) {
                    true => GuestStatus::Unknown,
                    false => GuestStatus::from_pve(row.status.as_str()),
                },
                node: node_name(&row.node)?,
                cpu: row.cpu.unwrap_or(0.0),
                maxcpu: row.maxcpu.unwrap_or(0.0),
                mem: row.mem.unwrap_or(0),
                maxmem: row.maxmem.unwrap_or(0),
                disk: row.disk.unwrap_or(0),
                maxdisk: row.maxdisk.unwrap_or(0),
                netin: row.netin.unwrap_or(0),
                netout: row.netout.unwrap_or(0),
                uptime: row.uptime.unwrap_or(0),
                marks: GuestMarks {
                    tags: row.tags().map(shown).collect(),
                    pool: row.pool.as_deref().map(shown),
                    lock: row.lock.as_ref().map(|lock| shown(lock.as_str())),
                    ha: row.hastate.as_ref().map(|state| shown(state.as_str())),
                    template: row.template,
                },
            })
        })
        .collect();
    guests.sort_by_key(|guest| guest.id.vmid);
    guests
}

/// A word of PVE's, fit to be shown.
fn shown(word: &str) -> Box<str> {
    plain(word).into()
}

/// The page's storages, one row per node that sees it.
pub(super) fn storage_rows(rows: &Rows<Resource>) -> Vec<StorageRow> {
    let mut storages: Vec<StorageRow> = storage_resources(rows)
        .filter_map(|row| {
            let (used, total) = (row.disk.unwrap_or(0), row.maxdisk.unwrap_or(0));
            Some(StorageRow {
                storage: row.storage.parse().ok()?,
                node: node_name(&row.node)?,
                r#type: row.plugintype.clone().unwrap_or_default(),
                active: row.status == StorageStatus::Available,
                total,
                used,
                avail: total.saturating_sub(used),
                content: row.content.clone().unwrap_or_default(),
                shared: row.shared,
            })
        })
        .collect();
    storages.sort_by(|a, b| (&a.storage, &a.node).cmp(&(&b.storage, &b.node)));
    storages
}

/// What PVE says besides what a page shows.
pub(super) fn details(rows: &Rows<Resource>, status: Option<&ClusterStatus>) -> Details {
    let members = status.map(|status| &*status.nodes).unwrap_or_default();
    let nodes = node_resources(rows).filter_map(|row| {
        let member = members.iter().find(|member| member.name == row.node);
        let nodeid = member.and_then(|member| member.nodeid).map(|id| id.to_string().into());
        let details = NodeDetails {
            level: member.and_then(|member| member.level.clone()).unwrap_or_default(),
            nodeid: nodeid.unwrap_or_default(),
        };
        Some((node_name(&row.node)?, details))
    });
    let cluster = status.and_then(|status| status.cluster.as_ref());
    Details {
        nodes: nodes.collect(),
        cluster: cluster.map(|cluster| ClusterInfo {
            name: cluster.name.clone(),
            nodes: cluster.nodes.unwrap_or_default(),
            version: cluster.version.unwrap_or_default(),
        }),
    }
}

/// Why a call has no answer, by what helps.
pub(super) fn blindness(error: &pve::Error) -> Blindness {
    use pve::Error;
    let cause = match error {
        Error::Unreachable { .. }
        | Error::TimedOut { .. }
        | Error::Hop { .. }
        | Error::NoClusterFs { .. } => Cause::Unreachable,
        Error::Untrusted { .. } => Cause::Untrusted,
        Error::Unauthorized { .. } => Cause::Refused,
        Error::Forbidden { .. } => Cause::RightsLost,
        Error::Locked { .. }
        | Error::NoQuorum { .. }
        | Error::NotFound { .. }
        | Error::Already { .. }
        | Error::Unsupported { .. }
        | Error::Rejected { .. }
        | Error::TooLarge { .. }
        | Error::Malformed { .. } => Cause::Malformed,
    };
    Blindness { cause, words: error.to_string() }
}

fn node_resources(rows: &Rows<Resource>) -> impl Iterator<Item = &NodeResource> {
    rows.rows.iter().filter_map(|row| if let Resource::Node(row) = row { Some(row) } else { None })
}

fn guest_resources(rows: &Rows<Resource>) -> impl Iterator<Item = &GuestResource> {
    rows.rows.iter().filter_map(|row| if let Resource::Guest(row) = row { Some(row) } else { None })
}

fn storage_resources(rows: &Rows<Resource>) -> impl Iterator<Item = &StorageResource> {
    rows.rows.iter().filter_map(|row| if let Resource::Storage(row) = row { Some(row) } else { None })
}

fn presence(status: &NodeStatus) -> Presence {
    match status {
        NodeStatus::Online => Presence::Online,
        NodeStatus::Offline => Presence::Offline,
        // A word we do not know says nothing about membership.
        NodeStatus::Unknown | NodeStatus::Other(_) => Presence::Unknown,
    }
}

fn guest_id(id: pve::GuestId) -> GuestId {
    let kind = match id.kind {
        pve::GuestKind::Qemu => GuestKind::Qemu,
        pve::GuestKind::Lxc => GuestKind::Lxc,
    };
    GuestId { kind, vmid: id.vmid }
}

pub(super) fn node_name(name: &pve::NodeName) -> Option<NodeName> {
    let parsed = name.as_str().parse();
    if parsed.is_err() {
        tracing::warn!(node = name.as_str(), "a node whose name PVE would never give is left out");
    }
    parsed.ok()
}

fn usage(used: Option<u64>, total: Option<u64>) -> Option<Usage> {
    Some(Usage { used: used?, total: total? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use std::sync::Arc;

    #[test]
    fn what_is_known_of_the_vote() {
        let read = |json: &str| -> Asked<ClusterStatus> {
            Ok((Timestamp::UNIX_EPOCH, Arc::new(serde_json::from_str(json).unwrap())))
        };
        let failed = |cause| Err(Blindness { cause, words: "why".into() });
        let node = r#"{"type":"node","name":"pve1","online":1,"local":1}"#;
        let other = r#"{"type":"node","name":"pve2","online":0}"#;
        let cluster = |quorate: &str| {
            format!(r#"[{{"type":"cluster","name":"lab","nodes":2,{quorate}"version":1}},{node},{other}]"#)
        };
        let seen = |quorate, online, expected| Ok(Quorum { quorate, online, expected });
        #[rustfmt::skip]
        let table = [
            ("a majority",              read(&cluster(r#""quorate":1,"#)), true, seen(true, 1, 2)),
            ("a minority",              read(&cluster(r#""quorate":0,"#)), true, seen(false, 1, 2)),
            ("alone",                   read(&format!("[{node}]")),       true, seen(true, 1, 1)),
            ("it does not say",         read(&cluster("")),               true, Err(Cause::NoQuorumSeen)),
            ("only the vote is hidden", failed(Cause::Unreachable),       true, Err(Cause::NoQuorumSeen)),
            ("it cannot be read",       failed(Cause::Malformed),         true, Err(Cause::NoQuorumSeen)),
            ("nothing answers",         failed(Cause::Unreachable),       false, Err(Cause::Unreachable)),
            ("a missing right",         failed(Cause::RightsLost),        true, Err(Cause::RightsLost)),
            ("a refused token",         failed(Cause::Refused),           false, Err(Cause::Refused)),
        ];
        for (name, asked, answers, expected) in table {
            let told = match quorum(&asked, answers) {
                Seen::At { value, .. } => Ok(value),
                Seen::NotReached(blindness) => Err(blindness.cause),
                Seen::NotAsked => panic!("{name}: it was asked"),
            };
            assert_eq!(told, expected, "{name}");
        }
    }
}
