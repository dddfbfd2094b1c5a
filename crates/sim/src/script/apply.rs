//! Does a command to a cluster.

use engine::observe::NodeName;

use super::Command;
use crate::cluster::{Api, Cluster, Trouble};

impl Cluster {
    /// Makes it happen now.
    pub fn apply(&mut self, command: &Command) -> Result<(), Trouble> {
        match command {
            Command::Jarvis(_) => Ok(()),
            Command::Crash(id, how) => self.die(*id, *how),
            Command::Hang(id, hung) => self.hang(*id, *hung),
            Command::RebootInside(id) => self.reboot_inside(*id),
            Command::Backup { guests, mode, takes, by } => self.backup(by, guests, *mode, *takes).map(drop),
            Command::ResetNode(node) => self.reset_node(node),
            Command::Evict(node) => self.evict(node),
            Command::Daemon(node, daemon, down) => self.daemon(node, *daemon, *down),
            Command::Side(side, nodes) => self.side(*side, nodes),
            Command::Service(node, service, word) => self.service(node, service, word),
            Command::ServiceBy(node, service, word, by) => self.service_by(by, node, service, word),
            Command::Temperature(node, sensor, degrees) => {
                self.node_mut(node)?.temperatures.insert(sensor.as_str().into(), *degrees);
                Ok(())
            }
            Command::Maintenance(node, on) => self.maintenance(node, *on),
            Command::PowerOff(id) => self.power_off(*id),
            Command::Ask { verb, guest, by } => {
                let node = self.guest(*guest)?.spec.node.clone();
                self.request(by, &node, *guest, verb.clone())?;
                Ok(())
            }
            Command::Create { spec, by } => self.create(by, spec.clone()).map(drop),
            Command::Destroy { guest, by } => self.destroy(by, *guest).map(drop),
            Command::Lock(id, lock) => {
                self.guest_mut(*id)?.spec.lock = lock.clone();
                Ok(())
            }
            Command::State(id, state) => self.run_state(*id, state),
            Command::Broken(id, broken) => {
                self.guest_mut(*id)?.spec.broken = *broken;
                Ok(())
            }
            Command::Ha(id, state) => self.set_ha(*id, state.as_deref()),
            Command::KillNode(node) => self.kill_node(node),
            Command::StartNode(node) => self.start_node(node),
            Command::ShutdownNode(node, again) => self.shutdown_node(node, *again),
            Command::Disk(node, fraction) => {
                self.node_mut(node)?.disk = *fraction;
                Ok(())
            }
            Command::Memory(node, fraction) => {
                let node = self.node_mut(node)?;
                (node.memory, node.pinned) = (*fraction, true);
                Ok(())
            }
            Command::Cpu(node, fraction) => {
                let node = self.node_mut(node)?;
                (node.cpu, node.pinned) = (*fraction, true);
                Ok(())
            }
            Command::StorageUsed(storage, node, fraction) => {
                self.storage_used(storage, node.as_ref(), *fraction)
            }
            Command::StorageActive(storage, node, active) => {
                self.storage_active(storage, node.as_ref(), *active)
            }
            Command::Quorum(there) => {
                self.split(!there);
                Ok(())
            }
            Command::Api(node, api) => self.set_api(node.as_ref(), *api),
            Command::Stalled(node, stalled) => {
                self.node_mut(node)?.stalled = *stalled;
                Ok(())
            }
        }
    }

    /// What is wrong with the API of one node, or of all.
    pub fn set_api(&mut self, node: Option<&NodeName>, api: Api) -> Result<(), Trouble> {
        let names: Vec<NodeName> = match node {
            Some(node) => vec![node.clone()],
            None => self.nodes().keys().cloned().collect(),
        };
        for name in &names {
            self.node_mut(name)?.api = api;
        }
        Ok(())
    }
}
