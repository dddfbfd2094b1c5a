//! Statistics: the numbers of nodes, guests and storages, and how each node tells the others of its own every 10 s.

use engine::observe::{GuestId, GuestKind, NodeName};

use super::Cluster;
use super::model::{GuestStats, NodeStats, Numbers, seconds};
use crate::rng::noise;

impl Cluster {
    pub(super) fn broadcast(&mut self, name: &NodeName) {
        let (seed, now) = (self.seed, self.now);
        let Some(node) = self.nodes.get_mut(name) else { return };
        if !node.alive() || node.stalled || node.clusterfs_down {
            return;
        }
        let shake = |which: u64, width: f64| {
            if node.pinned {
                0.0
            } else {
                (noise(seed, which + u64::from(node.number), now.as_second() as u64) - 0.5) * width
            }
        };
        node.stats = Some(NodeStats {
            at: now,
            uptime: node.uptime(now),
            cpu: (node.cpu + shake(1 << 32, 0.04)).max(0.0),
            memory: part(node.spec.memory, (node.memory + shake(2 << 32, 0.01)).clamp(0.0, 1.0)),
            disk: part(node.spec.disk, node.disk),
        });
        let here: Vec<GuestId> = self.guests_on(name).collect();
        for id in here {
            self.broadcast_guest(id);
        }
        for storage in self.storages.values_mut() {
            if let Some(place) = storage.places.get_mut(name).filter(|place| place.active) {
                place.stats = Some((place.used, now));
            }
        }
        self.touch();
    }

    pub(super) fn broadcast_guest(&mut self, id: GuestId) {
        let numbers = self.numbers(id);
        let now = self.now;
        if let Some(guest) = self.guests.get_mut(&id) {
            let status = guest.process.as_ref().map_or("stopped".into(), |process| process.word().into());
            guest.stats = Some(GuestStats { at: now, status, numbers });
        }
    }

    /// A guest's numbers at this instant, as its own node would give them.
    pub(crate) fn numbers(&self, id: GuestId) -> Numbers {
        let Some(guest) = self.guests.get(&id) else { return Numbers::default() };
        let Some(process) = &guest.process else { return Numbers::default() };
        let (vmid, now) = (u64::from(id.vmid), self.now.as_second() as u64);
        let uptime = seconds(process.since, self.now);
        let still = &*process.state != "running";
        let traffic = |which: u64| {
            let rate = (noise(self.seed, vmid, which) * 40_000.0) as u64 + 200;
            uptime * rate + (noise(self.seed, vmid ^ which, now) * rate as f64) as u64
        };
        let busy = 0.3 + 0.5 * noise(self.seed, vmid, 6) + 0.02 * noise(self.seed, vmid, now);
        let disk = match id.kind {
            GuestKind::Qemu => 0,
            GuestKind::Lxc => part(guest.spec.disk, 0.2 + 0.5 * noise(self.seed, vmid, 7)),
        };
        Numbers {
            uptime,
            cpu: if still { 0.0 } else { 0.25 * noise(self.seed, vmid ^ 0xc9, now) },
            memory: part(guest.spec.memory, busy),
            disk,
            netin: traffic(8),
            netout: traffic(9),
            diskread: if process.hung { 0 } else { traffic(10) },
            diskwrite: if process.hung { 0 } else { traffic(11) },
        }
    }
}

/// A fraction of a whole, in bytes.
pub(crate) fn part(total: u64, fraction: f64) -> u64 {
    (total as f64 * fraction) as u64
}
