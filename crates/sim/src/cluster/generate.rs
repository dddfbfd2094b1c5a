//! Large clusters for benchmarks and the swarm: plausible, and the same for the same seed.

use engine::observe::{GuestId, GuestKind, NodeName, StorageName};
use jiff::Timestamp;

use super::model::{GIB, GuestSpec, NodeSpec, StorageSpec};
use super::{Cluster, GUESTS_MAX, NODES_MAX, Trouble};
use crate::rng::Rng;

const TAGS: [&str; 6] = ["prod", "web", "db", "infra", "lab", "backup"];
const POOLS: [&str; 3] = ["prod", "dev", "test"];

impl Cluster {
    /// A cluster of `nodes` nodes (`pve1`...) and `guests` guests (from 100): one in five a container, one in ten
    /// stopped, one in fifty a template; one shared storage and two local ones.
    pub fn generated(nodes: usize, guests: usize, seed: u64, at: Timestamp) -> Result<Cluster, Trouble> {
        if nodes == 0 || nodes > NODES_MAX {
            return Err(Trouble::TooMany { what: "nodes (and 1 at least)", max: NODES_MAX });
        }
        if guests > GUESTS_MAX {
            return Err(Trouble::TooMany { what: "guests", max: GUESTS_MAX });
        }
        let mut cluster = Cluster::new(name("lab", "cluster")?, seed, at);
        let mut rng = Rng::new(seed ^ 0x9e17);
        let names: Vec<NodeName> =
            (1..=nodes).map(|k| name(&format!("pve{k}"), "node")).collect::<Result<_, _>>()?;
        for node in &names {
            cluster.add_node(NodeSpec { cores: 64, memory: 512 * GIB, ..NodeSpec::new(node.clone()) })?;
        }
        for (storage, shared) in [("local", false), ("local-lvm", false), ("nfs", true)] {
            let total = if shared { 20_000 } else { 1_000 } * GIB;
            let used = (total as f64 * (0.2 + 0.5 * rng.fraction())) as u64;
            let spec = StorageSpec::new(name::<StorageName>(storage, "storage")?, shared);
            cluster.add_storage(StorageSpec { total, used, ..spec })?;
        }
        for k in 0..guests {
            let kind = if k % 5 == 4 { GuestKind::Lxc } else { GuestKind::Qemu };
            let id = GuestId { kind, vmid: 100 + k as u32 };
            let node = names[k % nodes].clone();
            let template = k % 50 == 49;
            let mut spec = GuestSpec::new(id, format!("{}{k:05}", TAGS[k % TAGS.len()]), node);
            spec.template = template;
            spec.running = !template && k % 10 != 3;
            spec.onboot = rng.below(2) == 1;
            spec.tags = vec![TAGS[rng.below(TAGS.len())].into()];
            spec.pool = (k % 4 == 0).then(|| POOLS[rng.below(POOLS.len())].into());
            spec.cores = 1 << rng.below(4);
            spec.memory = (1 + rng.below(16) as u64) * GIB;
            spec.disk = (8 + rng.below(200) as u64) * GIB;
            cluster.add_guest(spec)?;
        }
        Ok(cluster)
    }
}

/// Names made here are always good, so the error is never seen; it is no reason to panic either.
fn name<N: std::str::FromStr>(text: &str, what: &str) -> Result<N, Trouble> {
    text.parse().map_err(|_| Trouble::NoSense(format!("`{text}` is no {what} name")))
}
