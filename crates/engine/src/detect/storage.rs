//! Storages: a shared one is judged once, a local one per node.

use std::collections::{BTreeMap, BTreeSet};

use crate::observe::{NodeName, Storage, StorageId, StorageName, Usage};

/// One storage as a thing to be told about.
#[derive(Debug, PartialEq)]
pub(crate) struct Grouped {
    /// The nodes that miss it although they had it; `None` while no node can be judged, which is no sign of recovery.
    pub(crate) missing: Option<Vec<NodeName>>,
    /// Its capacity, from the first node that knows it: on every node it is the same storage.
    pub(crate) usage: Option<Usage>,
}

/// Shared storages once, local ones per node.
///
/// `had` are those that were seen available before: one that was never there is not lost. `judged` tells whether
/// a node that misses a storage can be believed (it lives, and has lived long enough to have told of its storages).
pub(crate) fn group(
    storages: &BTreeMap<(StorageName, NodeName), Storage>,
    had: &BTreeSet<(StorageName, NodeName)>,
    judged: impl Fn(&NodeName) -> bool,
) -> BTreeMap<StorageId, Grouped> {
    let mut groups: BTreeMap<StorageId, Grouped> = BTreeMap::new();
    for (key, storage) in storages {
        let (name, node) = key;
        let id = StorageId { name: name.clone(), node: (!storage.shared).then(|| node.clone()) };
        let group = groups.entry(id).or_insert_with(|| Grouped { missing: None, usage: None });
        if storage.available {
            group.usage = group.usage.or(storage.usage);
        }
        if judged(node) {
            let missing = group.missing.get_or_insert_default();
            if !storage.available && had.contains(key) {
                missing.push(node.clone());
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, node: &str) -> (StorageName, NodeName) {
        (name.parse().unwrap(), node.parse().unwrap())
    }

    #[test]
    fn shared_once_local_per_node() {
        let up = |shared, used| Storage { shared, available: true, usage: Some(Usage { used, total: 100 }) };
        let down = |shared| Storage { shared, available: false, usage: None };
        let storages = BTreeMap::from([
            (key("local", "pve1"), up(false, 10)),
            (key("local", "pve2"), down(false)),
            (key("nfs", "pve1"), down(true)),
            (key("nfs", "pve2"), up(true, 96)),
            (key("nfs", "pve3"), down(true)),
            (key("usb", "pve1"), down(false)),
            (key("zfs", "pve3"), down(false)),
        ]);
        // pve3 does not live; usb was never there.
        let had = BTreeSet::from([
            key("local", "pve1"),
            key("local", "pve2"),
            key("nfs", "pve1"),
            key("nfs", "pve2"),
            key("nfs", "pve3"),
            key("zfs", "pve3"),
        ]);
        let groups = group(&storages, &had, |node| node.as_str() != "pve3");
        let rows: Vec<String> = groups
            .iter()
            .map(|(id, group)| {
                let node = id.node.as_ref().map_or("all", NodeName::as_str);
                let names = |nodes: &Vec<NodeName>| nodes.iter().map(NodeName::to_string).collect::<Vec<_>>();
                let missing = group.missing.as_ref().map(names);
                format!("{} on {node}: {:?} missing {missing:?}", id.name, group.usage.map(|u| u.used))
            })
            .collect();
        expect_test::expect![[r#"
            local on pve1: Some(10) missing Some([])
            local on pve2: None missing Some(["pve2"])
            nfs on all: Some(96) missing Some(["pve1"])
            usb on pve1: None missing Some([])
            zfs on pve3: None missing None"#]]
        .assert_eq(&rows.join("\n"));
    }
}
