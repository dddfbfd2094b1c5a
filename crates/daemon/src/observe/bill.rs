//! The bill: how often each call was made, how long it took, and what it costs the cluster.
//!
//! Counts and times are ours. The CPU is reckoned from what each call was measured to cost a real server
//! (pve-crash-evidence 4, pve-domain 12), with the TLS handshake where the connection is not kept (docs/adr/0009).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use engine::observe::ClusterName;

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Version,
    Resources,
    ClusterStatus,
    ClusterTasks,
    Permissions,
    HaManager,
    NodeStatus,
    Qemu,
    Lxc,
    Tasks,
    Journal,
    Current,
    Services,
    Time,
    Config,
    NodeConfig,
    History,
    TaskLog,
}

impl Call {
    const ALL: [Call; 18] = [
        Call::Version,
        Call::Resources,
        Call::ClusterStatus,
        Call::ClusterTasks,
        Call::Permissions,
        Call::HaManager,
        Call::NodeStatus,
        Call::Qemu,
        Call::Lxc,
        Call::Tasks,
        Call::Journal,
        Call::Current,
        Call::Services,
        Call::Time,
        Call::Config,
        Call::NodeConfig,
        Call::History,
        Call::TaskLog,
    ];

    /// Its path, for people.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Call::Version => "/version",
            Call::Resources => "/cluster/resources",
            Call::ClusterStatus => "/cluster/status",
            Call::ClusterTasks => "/cluster/tasks",
            Call::Permissions => "/access/permissions",
            Call::HaManager => "/cluster/ha/status/manager_status",
            Call::NodeStatus => "/nodes/N/status",
            Call::Qemu => "/nodes/N/qemu",
            Call::Lxc => "/nodes/N/lxc",
            Call::Tasks => "/nodes/N/tasks",
            Call::Journal => "/nodes/N/journal",
            Call::Current => "/nodes/N/qemu/ID/status/current",
            Call::Services => "/nodes/N/services",
            Call::Time => "/nodes/N/time",
            Call::Config => "/nodes/N/qemu/ID/config",
            Call::NodeConfig => "/nodes/N/config",
            Call::History => "/nodes/N/qemu/ID/rrddata",
            Call::TaskLog => "/nodes/N/tasks/UPID/log",
        }
    }

    /// CPU of one call on the servers, in milliseconds. Lists grow with the guests: these are of small clusters, and
    /// of 100 guests `/cluster/resources` takes 4 ms and a node's list 21.
    fn cpu_ms(self) -> f64 {
        match self {
            Call::Version | Call::Permissions => 0.8,
            Call::Resources => 3.5,
            // Not measured; as a call that goes through pvedaemon it is taken for 8 ms and a handshake.
            Call::ClusterStatus => 11.0,
            Call::ClusterTasks => 0.7,
            Call::HaManager => 2.5,
            // The time is not measured; it is answered by pveproxy like the status.
            Call::NodeStatus | Call::Time => 1.7,
            // Read from the cluster's memory, like its resources (pve-domain 12).
            Call::Config | Call::NodeConfig => 2.0,
            // Reads one file; some 20 ms with the handshake on the recorded hosts.
            Call::History => 8.0,
            // Not measured; another file that is read by the task's node.
            Call::TaskLog => 8.0,
            Call::Qemu => 11.3,
            Call::Lxc => 37.0,
            Call::Tasks => 2.5,
            Call::Journal => 25.0,
            Call::Current => 12.0,
            Call::Services => 706.0,
        }
    }
}

/// Counts since the last time it was told.
#[derive(Default)]
pub(super) struct Bill([Item; Call::ALL.len()]);

#[derive(Default)]
struct Item {
    calls: AtomicU64,
    failed: AtomicU64,
    took_us: AtomicU64,
}

/// What was counted of one kind of call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) call: Call,
    pub(super) calls: u64,
    pub(super) failed: u64,
    pub(super) took: Duration,
    pub(super) cpu_ms: f64,
}

impl Bill {
    pub(super) fn note(&self, call: Call, took: Duration, answered: bool) {
        let item = &self.0[call as usize];
        item.calls.fetch_add(1, Ordering::Relaxed);
        item.failed.fetch_add(u64::from(!answered), Ordering::Relaxed);
        item.took_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// What was counted, of each kind of call that was made; counting begins anew.
    pub(super) fn take(&self) -> Vec<Line> {
        let line = |call: Call| {
            let item = &self.0[call as usize];
            let calls = item.calls.swap(0, Ordering::Relaxed);
            Line {
                call,
                calls,
                failed: item.failed.swap(0, Ordering::Relaxed),
                took: Duration::from_micros(item.took_us.swap(0, Ordering::Relaxed)),
                cpu_ms: calls as f64 * call.cpu_ms(),
            }
        };
        Call::ALL.into_iter().map(line).filter(|line| line.calls > 0).collect()
    }

    /// Tells what it cost since it was told last, `since` ago on the daemon's clock.
    pub(super) fn log(&self, cluster: &ClusterName, since: Duration) {
        let lines = self.take();
        for line in &lines {
            let Line { call, calls, failed, took, cpu_ms } = *line;
            let (call, took_ms) = (call.as_str(), took.as_millis());
            tracing::debug!(%cluster, call, calls, failed, took_ms, cpu_ms = cpu_ms.round(), "bill");
        }
        let (calls, cpu_ms) = total(&lines);
        let core_percent = match since.as_secs_f64() {
            seconds if seconds > 0.0 => (cpu_ms / seconds / 10.0 * 1000.0).round() / 1000.0,
            _ => 0.0,
        };
        tracing::debug!(
            %cluster, calls, cpu_ms = cpu_ms.round(), core_percent, seconds = since.as_secs(), "bill of all calls"
        );
    }
}

/// Calls and CPU of all lines.
fn total(lines: &[Line]) -> (u64, f64) {
    lines.iter().fold((0, 0.0), |(calls, cpu), line| (calls + line.calls, cpu + line.cpu_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_counted_by_itself_and_counting_begins_anew() {
        for (index, call) in Call::ALL.into_iter().enumerate() {
            assert_eq!(call as usize, index, "{} stands in its own place", call.as_str());
        }
        let bill = Bill::default();
        for _ in 0..30 {
            bill.note(Call::Qemu, Duration::from_millis(20), true);
        }
        bill.note(Call::Services, Duration::from_millis(970), true);
        bill.note(Call::Services, Duration::from_secs(15), false);
        let lines = bill.take();
        let told: Vec<_> = lines
            .iter()
            .map(|line| {
                (line.call.as_str(), line.calls, line.failed, line.took.as_millis(), line.cpu_ms.round())
            })
            .collect();
        assert_eq!(told, [("/nodes/N/qemu", 30, 0, 600, 339.0), ("/nodes/N/services", 2, 1, 15_970, 1412.0)]);
        assert_eq!(total(&lines).0, 32);
        assert_eq!(bill.take(), [], "counting begins anew");
    }
}
