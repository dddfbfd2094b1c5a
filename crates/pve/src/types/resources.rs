//! `GET /cluster/resources`: everything in the cluster, by type.

use serde::Deserialize;

use super::guests::{GuestStatus, Lock};
use super::ha::{HaNodeState, HaState};
use super::nodes::{NodeStatus, StorageStatus};
use super::open_enum;
use crate::ids::{GuestId, GuestKind, NodeName};
use crate::lenient;

open_enum! {
    /// The kind of a row.
    ResourceType {
        Node = "node",
        Qemu = "qemu",
        Lxc = "lxc",
        Storage = "storage",
        Pool = "pool",
        /// Until PVE 9.0.
        Sdn = "sdn",
        /// From PVE 9.1 on, instead of `sdn`.
        Network = "network",
    }
}

/// One row. What a row of its type always has is not optional; everything else may be missing.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Flat")]
pub enum Resource {
    Node(NodeResource),
    Guest(GuestResource),
    Storage(StorageResource),
    Pool(PoolResource),
    Network(NetworkResource),
    /// A type that we do not know.
    Other {
        kind: Box<str>,
        id: Box<str>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct NodeResource {
    pub node: NodeName,
    pub status: NodeStatus,
    pub hastate: Option<HaNodeState>,
    /// Seconds. Grows with the clock while pvestatd works; stands still when the node's numbers are stale.
    pub uptime: Option<u64>,
    pub cpu: Option<f64>,
    pub maxcpu: Option<f64>,
    pub mem: Option<u64>,
    pub maxmem: Option<u64>,
    pub disk: Option<u64>,
    pub maxdisk: Option<u64>,
    /// The subscription's; absent without one.
    pub level: Option<Box<str>>,
    pub cgroup_mode: Option<u32>,
}

/// A virtual machine or a container. `node`, `lock`, `tags`, `pool` are fresh even if the node is dead; `status` and
/// the numbers are what the node last told, up to 300 s ago.
#[derive(Clone, Debug, PartialEq)]
pub struct GuestResource {
    pub id: GuestId,
    pub node: NodeName,
    pub status: GuestStatus,
    /// Comes with the numbers: a guest that is `unknown` has none.
    pub name: Option<Box<str>>,
    pub template: bool,
    pub lock: Option<Lock>,
    pub hastate: Option<HaState>,
    pub pool: Option<Box<str>>,
    /// As PVE writes them, see [`GuestResource::tags`].
    pub tags: Option<Box<str>>,
    pub uptime: Option<u64>,
    pub cpu: Option<f64>,
    /// May be a fraction for a container.
    pub maxcpu: Option<f64>,
    pub mem: Option<u64>,
    pub maxmem: Option<u64>,
    /// What the guest costs its host; from PVE 9 on.
    pub memhost: Option<u64>,
    /// Always 0 for a virtual machine.
    pub disk: Option<u64>,
    pub maxdisk: Option<u64>,
    pub netin: Option<u64>,
    pub netout: Option<u64>,
    pub diskread: Option<u64>,
    pub diskwrite: Option<u64>,
}

impl GuestResource {
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        split_tags(self.tags.as_deref())
    }
}

/// PVE joins tags with `;`, and reads `,` and blanks as well.
pub(super) fn split_tags(tags: Option<&str>) -> impl Iterator<Item = &str> {
    let separates = |character: char| character == ';' || character == ',' || character.is_whitespace();
    tags.unwrap_or_default().split(separates).filter(|tag| !tag.is_empty())
}

/// A storage as one node sees it: a shared one has a row per node.
#[derive(Clone, Debug, PartialEq)]
pub struct StorageResource {
    pub node: NodeName,
    pub storage: Box<str>,
    pub status: StorageStatus,
    pub plugintype: Option<Box<str>>,
    pub shared: bool,
    /// `images,rootdir,backup`, in any order.
    pub content: Option<Box<str>>,
    /// Used bytes; absent while the storage is not available, except for its last 300 s.
    pub disk: Option<u64>,
    pub maxdisk: Option<u64>,
}

/// Sums over all members, also those the token may not see.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolResource {
    pub pool: Box<str>,
    pub uptime: Option<u64>,
    pub cpu: Option<f64>,
    pub maxcpu: Option<f64>,
    pub mem: Option<u64>,
    pub maxmem: Option<u64>,
}

/// A zone or a fabric on one node (`network`), or a zone as older versions write it (`sdn`).
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkResource {
    pub id: Box<str>,
    pub node: NodeName,
    pub name: Box<str>,
    /// `zone`, `fabric`; absent in `sdn` rows.
    pub network_type: Option<Box<str>>,
    pub status: Option<Box<str>>,
}

impl Resource {
    pub fn kind(&self) -> ResourceType {
        match self {
            Resource::Node(_) => ResourceType::Node,
            Resource::Guest(guest) => match guest.id.kind {
                GuestKind::Qemu => ResourceType::Qemu,
                GuestKind::Lxc => ResourceType::Lxc,
            },
            Resource::Storage(_) => ResourceType::Storage,
            Resource::Pool(_) => ResourceType::Pool,
            Resource::Network(network) if network.network_type.is_none() => ResourceType::Sdn,
            Resource::Network(_) => ResourceType::Network,
            Resource::Other { kind, .. } => ResourceType::Other(kind.clone()),
        }
    }
}

/// All fields of all types. Read as one flat struct and sorted afterwards, because serde's tagged enums would copy
/// each row into a tree first.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Flat {
    #[serde(rename = "type", deserialize_with = "lenient::word")]
    kind: Option<ResourceType>,
    #[serde(deserialize_with = "lenient::text")]
    id: Option<Box<str>>,
    node: Option<NodeName>,
    vmid: Option<Vmid>,
    #[serde(deserialize_with = "lenient::text")]
    status: Option<Box<str>>,
    #[serde(deserialize_with = "lenient::text")]
    name: Option<Box<str>>,
    #[serde(deserialize_with = "lenient::flag_or_false")]
    template: bool,
    #[serde(deserialize_with = "lenient::word")]
    lock: Option<Lock>,
    #[serde(deserialize_with = "lenient::text")]
    hastate: Option<Box<str>>,
    #[serde(deserialize_with = "lenient::text")]
    pool: Option<Box<str>>,
    #[serde(deserialize_with = "lenient::text")]
    tags: Option<Box<str>>,
    #[serde(deserialize_with = "lenient::count")]
    uptime: Option<u64>,
    #[serde(deserialize_with = "lenient::float")]
    cpu: Option<f64>,
    #[serde(deserialize_with = "lenient::float")]
    maxcpu: Option<f64>,
    #[serde(deserialize_with = "lenient::count")]
    mem: Option<u64>,
    #[serde(deserialize_with = "lenient::count")]
    maxmem: Option<u64>,
    #[serde(deserialize_with = "lenient::count")]
    memhost: Option<u64>,
    #[serde(deserialize_with = "lenient::count")]
    disk: Option<u64>,
    #[serde(deserialize_with = "lenient::count")]
    maxdisk: Option<u64>,
    #[serde(deserialize_with = "lenient::count")]
    netin: Option<u64>,
    #[serde(deserialize_with = "lenient::count")]
    netout: Option<u64>,
    #[serde(deserialize_with = "lenient::count")]
    diskread: Option<u64>,
    #[serde(deserialize_with = "lenient::count")]
    diskwrite: Option<u64>,
    #[serde(deserialize_with = "lenient::text")]
    level: Option<Box<str>>,
    #[serde(rename = "cgroup-mode", deserialize_with = "lenient::small")]
    cgroup_mode: Option<u32>,
    #[serde(deserialize_with = "lenient::text")]
    storage: Option<Box<str>>,
    #[serde(deserialize_with = "lenient::text")]
    plugintype: Option<Box<str>>,
    #[serde(deserialize_with = "lenient::flag_or_false")]
    shared: bool,
    #[serde(deserialize_with = "lenient::text")]
    content: Option<Box<str>>,
    #[serde(deserialize_with = "lenient::text")]
    sdn: Option<Box<str>>,
    #[serde(deserialize_with = "lenient::text")]
    network: Option<Box<str>>,
    #[serde(rename = "network-type", deserialize_with = "lenient::text")]
    network_type: Option<Box<str>>,
}

/// A guest's number: an identity, so one that cannot be read is an error and not "not known". Old versions write it
/// as a text.
#[derive(Clone, Copy)]
pub(super) struct Vmid(pub(super) u32);

impl<'de> Deserialize<'de> for Vmid {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Vmid, D::Error> {
        let number = lenient::small(from)?.filter(|&vmid| vmid > 0);
        number.map(Vmid).ok_or_else(|| serde::de::Error::custom("not a guest's number"))
    }
}

/// A row lacks what its type always has.
#[derive(Debug, thiserror::Error)]
#[error("a {kind} row without `{field}`")]
struct Lacks {
    kind: ResourceType,
    field: &'static str,
}

impl TryFrom<Flat> for Resource {
    type Error = Lacks;

    fn try_from(row: Flat) -> Result<Resource, Lacks> {
        let kind =
            row.kind.clone().ok_or(Lacks { kind: ResourceType::Other("resource".into()), field: "type" })?;
        match kind {
            ResourceType::Node => row.into_node().map(Resource::Node),
            ResourceType::Qemu => row.into_guest(kind, GuestKind::Qemu).map(Resource::Guest),
            ResourceType::Lxc => row.into_guest(kind, GuestKind::Lxc).map(Resource::Guest),
            ResourceType::Storage => row.into_storage().map(Resource::Storage),
            ResourceType::Pool => row.into_pool().map(Resource::Pool),
            ResourceType::Sdn | ResourceType::Network => row.into_network(kind).map(Resource::Network),
            ResourceType::Other(kind) => Ok(Resource::Other { kind, id: row.id.unwrap_or_default() }),
        }
    }
}

impl Flat {
    fn into_node(self) -> Result<NodeResource, Lacks> {
        let lacks = |field| Lacks { kind: ResourceType::Node, field };
        Ok(NodeResource {
            node: self.node.ok_or_else(|| lacks("node"))?,
            status: NodeStatus::from(&*self.status.ok_or_else(|| lacks("status"))?),
            hastate: self.hastate.as_deref().map(HaNodeState::from),
            uptime: self.uptime,
            cpu: self.cpu,
            maxcpu: self.maxcpu,
            mem: self.mem,
            maxmem: self.maxmem,
            disk: self.disk,
            maxdisk: self.maxdisk,
            level: self.level,
            cgroup_mode: self.cgroup_mode,
        })
    }

    fn into_guest(self, resource: ResourceType, kind: GuestKind) -> Result<GuestResource, Lacks> {
        let lacks = |field| Lacks { kind: resource.clone(), field };
        let Vmid(vmid) = self.vmid.ok_or_else(|| lacks("vmid"))?;
        Ok(GuestResource {
            id: GuestId { kind, vmid },
            node: self.node.ok_or_else(|| lacks("node"))?,
            status: GuestStatus::from(&*self.status.ok_or_else(|| lacks("status"))?),
            name: self.name,
            template: self.template,
            lock: self.lock,
            hastate: self.hastate.as_deref().map(HaState::from),
            pool: self.pool,
            tags: self.tags,
            uptime: self.uptime,
            cpu: self.cpu,
            maxcpu: self.maxcpu,
            mem: self.mem,
            maxmem: self.maxmem,
            memhost: self.memhost,
            disk: self.disk,
            maxdisk: self.maxdisk,
            netin: self.netin,
            netout: self.netout,
            diskread: self.diskread,
            diskwrite: self.diskwrite,
        })
    }

    fn into_storage(self) -> Result<StorageResource, Lacks> {
        let lacks = |field| Lacks { kind: ResourceType::Storage, field };
        Ok(StorageResource {
            node: self.node.ok_or_else(|| lacks("node"))?,
            storage: self.storage.ok_or_else(|| lacks("storage"))?,
            status: StorageStatus::from(&*self.status.ok_or_else(|| lacks("status"))?),
            plugintype: self.plugintype,
            shared: self.shared,
            content: self.content,
            disk: self.disk,
            maxdisk: self.maxdisk,
        })
    }

    fn into_pool(self) -> Result<PoolResource, Lacks> {
        let pool = self.pool.ok_or(Lacks { kind: ResourceType::Pool, field: "pool" })?;
        let Flat { uptime, cpu, maxcpu, mem, maxmem, .. } = self;
        Ok(PoolResource { pool, uptime, cpu, maxcpu, mem, maxmem })
    }

    fn into_network(self, kind: ResourceType) -> Result<NetworkResource, Lacks> {
        let lacks = |field| Lacks { kind: kind.clone(), field };
        // A `network` row must say what it is; an `sdn` row is always a zone.
        let network_type = if kind == ResourceType::Network {
            Some(self.network_type.ok_or_else(|| lacks("network-type"))?)
        } else {
            None
        };
        Ok(NetworkResource {
            id: self.id.ok_or_else(|| lacks("id"))?,
            node: self.node.ok_or_else(|| lacks("node"))?,
            name: self.network.or(self.sdn).ok_or_else(|| lacks("network"))?,
            network_type,
            status: self.status,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Rows;

    #[test]
    fn rows_that_lack_their_identity_are_kept_as_unreadable() {
        #[rustfmt::skip]
        let table = [
            ("no type", r#"{"id":"qemu/1"}"#, "a resource row without `type`"),
            ("no number", r#"{"type":"qemu","node":"a","status":"running"}"#, "a qemu row without `vmid`"),
            ("no node", r#"{"type":"lxc","vmid":1,"status":"running"}"#, "a lxc row without `node`"),
            ("no status", r#"{"type":"qemu","vmid":1,"node":"a"}"#, "a qemu row without `status`"),
            ("a list as number", r#"{"type":"qemu","vmid":[1],"node":"a","status":"running"}"#,
                "vmid: invalid type: sequence, expected a number, a text, a truth or null"),
            ("a word as number", r#"{"type":"qemu","vmid":"abc","node":"a","status":"running"}"#,
                "vmid: not a guest's number"),
            ("a forged node", r#"{"type":"node","node":"../x","status":"online"}"#,
                "node: `../x` is not a valid node name"),
            ("a storage without name", r#"{"type":"storage","node":"a","status":"available"}"#,
                "a storage row without `storage`"),
            ("a pool without name", r#"{"type":"pool","id":"/pool/x"}"#, "a pool row without `pool`"),
        ];
        for (name, row, why) in table {
            let rows: Rows<Resource> = serde_json::from_str(&format!("[{row}]")).unwrap();
            assert_eq!(rows.rows, [], "{name}");
            assert_eq!(&*rows.unreadable[0].why, why, "{name}");
        }
    }

    #[test]
    fn rows_of_other_versions() {
        let read = |row: &str| serde_json::from_str::<Resource>(row).unwrap();
        let sdn = read(r#"{"id":"sdn/a/z","sdn":"z","node":"a","type":"sdn","status":"ok"}"#);
        assert_eq!(sdn.kind(), ResourceType::Sdn);
        let future = read(r#"{"id":"gpu/1","type":"gpu","status":1}"#);
        assert_eq!(future, Resource::Other { kind: "gpu".into(), id: "gpu/1".into() });
        let Resource::Guest(guest) = read(
            r#"{"id":"qemu/7","vmid":"7","type":"qemu","node":"a","status":"io-error","template":"","lock":"new-lock",
                "maxdisk":1.46366987889541e+15,"cpu":"0.25","maxcpu":"1.5","tags":"a;b,c d;;","mem":"N/A"}"#,
        ) else {
            panic!("a guest");
        };
        assert_eq!(guest.id.vmid, 7);
        assert_eq!(guest.status, GuestStatus::IoError);
        assert!(!guest.template);
        assert_eq!(guest.lock, Some(Lock::Other("new-lock".into())));
        assert_eq!(guest.maxdisk, Some(1_463_669_878_895_410));
        assert_eq!((guest.cpu, guest.maxcpu, guest.mem), (Some(0.25), Some(1.5), None));
        assert_eq!(guest.tags().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    }
}
