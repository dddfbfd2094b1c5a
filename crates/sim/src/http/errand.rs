//! What pvedaemon does: three workers on each node, one question at a time each.
//!
//! Whoever asked and went away does not free a worker: what was begun is done to its end. pveproxy waits for 30 s
//! and then says so; the worker goes on. While pvedaemon hangs, every question keeps its worker, and the fourth
//! waits behind the first three.

use std::sync::Arc;
use std::time::Duration;

use engine::observe::{GuestKind, NodeName};
use tokio::sync::{Semaphore, oneshot};

use super::api::{self, Errand};
use super::calls::What;
use super::hop::{Lost, PATIENCE};
use super::node;
use super::wire::Answer;
use super::world::Shared;
use crate::cluster::Cluster;

/// Workers of pvedaemon on each node.
const WORKERS: usize = 3;
/// Questions that wait for pvedaemon of one node; more are refused, as its socket's backlog is full.
const BACKLOG: usize = 500;

/// A node's pvedaemon.
pub(super) struct Daemon {
    workers: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

impl Daemon {
    pub(super) fn new() -> Daemon {
        Daemon { workers: Arc::new(Semaphore::new(WORKERS)), places: Arc::new(Semaphore::new(BACKLOG)) }
    }
}

/// Has pvedaemon of the errand's node do it, and waits as long as pveproxy does.
pub(super) async fn run(shared: &Arc<Shared>, errand: Errand) -> Answer {
    let lost = |lost: Lost| Answer::bare(lost.status, lost.reason);
    let (Some(daemon), Some(mut sign)) = (shared.daemon(&errand.at), shared.sign(&errand.at)) else {
        return lost(Lost::REFUSED);
    };
    if sign.borrow_and_update().daemon_down {
        return lost(Lost::REFUSED);
    }
    let Ok(place) = daemon.places.clone().try_acquire_owned() else { return lost(Lost::REFUSED) };
    let (tell, told) = oneshot::channel();
    let workers = daemon.workers.clone();
    let (inside, mut stopped) = (shared.clone(), shared.stopped());
    let (mut awake, gone) = (sign.clone(), sign.clone());
    tokio::spawn(async move {
        let work = async {
            // The semaphore is never closed, and it serves in the order of coming.
            let Ok(_worker) = workers.acquire_owned().await else { return };
            if awake.wait_for(|sign| !sign.daemon_hung).await.is_err() {
                return;
            }
            let Some((answer, cost)) = inside.perform(&errand) else { return };
            inside.sleep(cost).await;
            // Nobody waits any more: it was abandoned.
            tell.send(answer).unwrap_or_default();
        };
        tokio::select! {
            () = work => {}
            _ = sign.wait_for(|sign| sign.daemon_down || !sign.alive) => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
        drop(place);
    });
    let waited = async {
        match told.await {
            Ok(answer) => answer,
            Err(_) if gone.borrow().daemon_down => lost(Lost::RESET),
            // The node lost its power: nobody is there to reset anything.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::time::timeout(shared.real(PATIENCE), waited).await.unwrap_or_else(|_| lost(Lost::SILENT))
}

/// How long a worker is busy with a call: medians of a real node (pve-domain 12, pve-crash-evidence 4).
pub(super) fn cost(cluster: &Cluster, at: &NodeName, what: What, errand: &Errand) -> Duration {
    let node = cluster.nodes().get(at);
    let here = |kind| {
        let guests = cluster.guests().values();
        guests.filter(|guest| guest.spec.id.kind == kind && guest.spec.node == *at).count() as u64
    };
    // One configuration takes 0.2 ms of a list of machines, and a container 10 ms of its own.
    let micros = match what {
        What::Services => 700_000,
        What::Journal => 30_000,
        What::Guests(GuestKind::Qemu) => 8_000 + 200 * here(GuestKind::Qemu),
        What::Guests(GuestKind::Lxc) => 40_000 + 10_000 * here(GuestKind::Lxc),
        What::Current(GuestKind::Qemu) => 10_000 + 100 * here(GuestKind::Qemu),
        What::Current(GuestKind::Lxc) => 50_000,
        What::Storage => 60_000,
        What::NodeTime => 60_000,
        What::ClusterStatus | What::TaskStatus | What::TaskLog | What::Empty | What::Qdevice => 2_000,
        What::NotBackedUp => 5_000,
        What::Act(..) | What::Wake | What::RestartService => 10_000,
        // Done by pveproxy itself, in a millisecond or two that nobody waits for.
        What::Index(..)
        | What::Version
        | What::Nodes
        | What::Resources
        | What::ClusterTasks
        | What::ClusterLog
        | What::Permissions
        | What::HaCurrent
        | What::HaManager
        | What::Pools
        | What::NodeStatus
        | What::NodeVersion
        | What::NodeConfig
        | What::Config(_)
        | What::History(_)
        | What::Tasks
        | What::Subscription => 0,
    };
    let storage_gone =
        what == What::Storage && node.is_some_and(|node| node::waits_for_storage(cluster, node));
    let waits = if storage_gone {
        STORAGE_GONE
    } else if api::asks_a_hung_guest(cluster, errand) {
        QMP_PATIENCE
    } else {
        Duration::ZERO
    };
    Duration::from_micros(micros) + waits
}

/// How long a node waits for a storage's server that does not answer.
const STORAGE_GONE: Duration = Duration::from_secs(10);
/// How long QEMU's monitor is waited for.
const QMP_PATIENCE: Duration = Duration::from_secs(3);
