//! Act: does one thing to a cluster, once, and says how it ended.
//!
//! It chooses nothing: what is done, and whether it may be, was decided by whoever calls it, and written down before.
//! One call is made. What may have been done is never asked for a second time: where the answer was lost, PVE's own
//! list of tasks is looked through for the one that the call began.
//!
//! The end of a task is not the end of what it was for: HA takes a wish, answers OK and acts later. Whether the guest
//! is then as it should be is for others to see.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use engine::observe::{GuestId, GuestKind, MacAddress, NodeName};
use jiff::{SignedDuration, Timestamp};
use pve::{Client, Error, ExitStatus, TaskQuery, TaskSource, Upid};
use tokio::net::UdpSocket;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::kill_point;

/// A task is looked at for the first time after this: most fail, and some end, within it.
const FIRST_LOOK: Duration = Duration::from_millis(300);
/// And then so often, as PVE's own programs do.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a task is followed: a guest that shuts down slowly has at most three minutes by PVE's own defaults.
const FOLLOW_MAX: Duration = Duration::from_secs(300);
/// How often a task is looked for whose answer was lost, and how long after each other: a worker that was begun is in
/// the list at once, and an endpoint that restarts is back within some seconds.
const LOST_LOOKS: u32 = 5;
const LOST_LOOK_EVERY: Duration = Duration::from_secs(2);
/// Where the packet that wakes a node goes: to everybody on our network, by the port for what is thrown away.
pub const MAGIC_PACKET_TO: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::BROADCAST), 9);
/// Tasks of ours that are known before the call: those that the list shows of one subject.
const KNOWN_MAX: u32 = 50;
/// How much earlier than we asked for it a task of ours may have begun, by its node's clock. PVE's cluster does not live
/// with clocks that differ by more; where they do, a task is not found, and a person looks.
pub(crate) const CLOCKS_DIFFER_MAX: SignedDuration = SignedDuration::from_mins(5);

/// One thing to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Something to a guest on its node.
    Guest {
        /// Where it is.
        node: NodeName,
        /// Which one.
        guest: GuestId,
        /// What.
        verb: Verb,
    },
    /// Another node sends the packet that wakes this one; where none can be asked to and the address is known, we do.
    Wake {
        /// Which one.
        node: NodeName,
        /// Its address, where it may be woken without PVE.
        mac: Option<MacAddress>,
    },
    /// A node restarts one of its services.
    RestartService {
        /// Where.
        node: NodeName,
        /// Which one, as PVE calls it.
        service: Box<str>,
    },
}

/// What can be done to a guest. PVE's words, with PVE's meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Start it.
    Start,
    /// Pull its plug.
    Stop,
    /// Ask it to shut down.
    Shutdown,
    /// Ask it to shut down, and start it again.
    Reboot,
    /// Let it go on, where it stands still.
    Resume,
}

/// How an act ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// PVE did it, by this task where there was one.
    Done {
        /// The task.
        upid: Option<String>,
        /// How the task ended, or what PVE answered.
        said: String,
    },
    /// PVE's HA took the wish and will act by itself.
    Handed {
        /// The task that asked it.
        upid: String,
    },
    /// It was not done.
    Failed {
        /// The task that failed; `None`: PVE refused, or was not reached.
        upid: Option<String>,
        /// Why.
        why: String,
    },
    /// The task still runs, after the time for which one is followed.
    Runs {
        /// The task.
        upid: String,
    },
    /// Nobody knows: it was, or may have been, sent, and nothing says what came of it.
    Unknown {
        /// What is missing.
        why: String,
    },
}

impl Outcome {
    /// A word for the journal.
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Done { .. } => "done",
            Outcome::Handed { .. } => "handedToHa",
            Outcome::Failed { .. } => "failed",
            Outcome::Runs { .. } => "runs",
            Outcome::Unknown { .. } => "unknown",
        }
    }

    /// The task, where there is one.
    pub fn upid(&self) -> Option<&str> {
        match self {
            Outcome::Done { upid, .. } | Outcome::Failed { upid, .. } => upid.as_deref(),
            Outcome::Handed { upid } | Outcome::Runs { upid } => Some(upid),
            Outcome::Unknown { .. } => None,
        }
    }

    /// Whether PVE did what it was asked for, as far as its task tells.
    pub fn is_success(&self) -> bool {
        match self {
            Outcome::Done { .. } | Outcome::Handed { .. } => true,
            Outcome::Failed { .. } | Outcome::Runs { .. } | Outcome::Unknown { .. } => false,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Done { upid: Some(upid), said } => write!(f, "task {upid} ended: {said}"),
            Outcome::Done { upid: None, said } => f.write_str(said),
            Outcome::Handed { upid } => {
                write!(f, "HA manages it and was asked ({upid}); it acts by itself, within some 10 s")
            }
            Outcome::Failed { upid: Some(upid), why } => write!(f, "task {upid} failed: {why}"),
            Outcome::Failed { upid: None, why } => f.write_str(why),
            Outcome::Runs { upid } => write!(f, "task {upid} is still running"),
            Outcome::Unknown { why } => write!(f, "{why}: look at it before trying again"),
        }
    }
}

/// The hands in one cluster: its endpoints, with the token that may act.
#[derive(Clone, Debug)]
pub struct Hands {
    clients: Vec<Client>,
    /// Whether the token is one for acts, or the one that observes.
    own_token: bool,
    /// Where a packet of our own is sent.
    magic_packet_to: SocketAddr,
    /// What waits go by: the clock of those that are acted on.
    clock: Arc<Clock>,
}

/// What came of the one call.
#[derive(Debug)]
pub enum Begun {
    /// A task, whose end is to be waited for with [`Hands::follow`].
    Task(Upid),
    /// It is over already.
    Over(Outcome),
}

impl Hands {
    /// `clients` are the cluster's endpoints in the order in which they are tried; `own_token` says that their token
    /// was given for acts.
    pub fn new(clients: Vec<Client>, own_token: bool) -> Hands {
        Hands { clients, own_token, magic_packet_to: MAGIC_PACKET_TO, clock: Arc::new(Clock::wall()) }
    }

    /// The same, with another address for the packets that wake a node.
    pub fn with_magic_packet_to(self, magic_packet_to: SocketAddr) -> Hands {
        Hands { magic_packet_to, ..self }
    }

    /// The same, by a clock that may run faster than the world.
    pub fn with_clock(self, clock: Arc<Clock>) -> Hands {
        Hands { clock, ..self }
    }

    /// The one call, by the first endpoint to which it can be sent.
    pub async fn begin(&self, act: &Act) -> Begun {
        // Clocks differ between us and the nodes, so a task of ours is told from an earlier one by what is there now.
        let known = match self.own_tasks(act).await {
            Ok(known) => known,
            Err(why) => return not_tried(&why),
        };
        let mut last = String::from("no endpoint is configured");
        kill_point::at("act.known");
        for client in &self.clients {
            let error = match make(client, act).await {
                Ok(begun) => {
                    kill_point::at("act.called");
                    return begun;
                }
                Err(error) => error,
            };
            if error.may_have_acted() {
                return self.look_for(act, &known, &error).await;
            }
            last = self.words(&error);
            // A node does not wake itself; another endpoint may be another node.
            let wakes_itself = matches!(act, Act::Wake { .. }) && last.contains("is local node");
            if !error.is_endpoint_fault() && !wakes_itself {
                return Begun::Over(Outcome::Failed { upid: None, why: last });
            }
        }
        Begun::Over(match act {
            // What PVE refuses is not done behind its back; that nobody is there to be asked is no refusal.
            Act::Wake { mac: Some(mac), .. } => self.wake(*mac, &last).await,
            Act::Guest { .. } | Act::Wake { mac: None, .. } | Act::RestartService { .. } => {
                Outcome::Failed { upid: None, why: last }
            }
        })
    }

    async fn wake(&self, mac: MacAddress, why: &str) -> Outcome {
        let to = self.magic_packet_to;
        match magic_packet(mac, to).await {
            Ok(()) => Outcome::Done {
                upid: None,
                said: format!("Jarvis itself sent a packet to {mac}, as no node could be asked: {why}"),
            },
            Err(error) => Outcome::Failed {
                upid: None,
                why: format!("{why}; and Jarvis could not send a packet to {to} itself: {error}"),
            },
        }
    }

    /// The answer was lost, so PVE's list is looked through for the task. A second call could do it twice.
    async fn look_for(&self, act: &Act, known: &BTreeSet<Upid>, error: &Error) -> Begun {
        // The last one, should somebody else with our token have done the same meanwhile.
        let new = |tasks: BTreeSet<Upid>| tasks.difference(known).last().cloned();
        match self.look(act, new).await {
            Ok(Some(upid)) => Begun::Task(upid),
            Ok(None) | Err(_) => Begun::Over(Outcome::Unknown {
                why: format!("the answer was lost ({}), and no task of ours is there", self.words(error)),
            }),
        }
    }

    /// The task of an act that another process asked for and did not see answered: one that began since, and that nobody
    /// knows to be another's. More than one are none: which of them it was cannot be said.
    ///
    /// # Errors
    /// What PVE said instead of its list, in words.
    pub async fn find(
        &self,
        act: &Act,
        asked: Timestamp,
        is_another: impl Fn(&Upid) -> bool,
    ) -> Result<Option<Upid>, String> {
        let since = asked.saturating_sub(CLOCKS_DIFFER_MAX).unwrap_or(Timestamp::MIN);
        let only = |tasks: BTreeSet<Upid>| {
            let mut fitting =
                tasks.into_iter().filter(|upid| upid.started_at() >= since && !is_another(upid));
            fitting.next().filter(|_| fitting.next().is_none())
        };
        self.look(act, only).await
    }

    /// Looks through PVE's list, some times, until there is what is looked for.
    async fn look(
        &self,
        act: &Act,
        found: impl Fn(BTreeSet<Upid>) -> Option<Upid>,
    ) -> Result<Option<Upid>, String> {
        // A packet to wake somebody leaves nothing to look for.
        let looks = if matches!(act, Act::Wake { .. }) { 0 } else { LOST_LOOKS };
        let mut seen = Ok(None);
        for look in 0..looks {
            if look > 0 {
                self.clock.sleep(LOST_LOOK_EVERY).await;
            }
            seen = self.own_tasks(act).await.map(&found);
            match &seen {
                Ok(Some(_)) => break,
                Ok(None) => {}
                Err(why) => tracing::debug!("a lost task is not found yet: {why}"),
            }
        }
        seen
    }

    /// The tasks of our token about what an act is about. A packet to wake somebody makes no task.
    async fn own_tasks(&self, act: &Act) -> Result<BTreeSet<Upid>, String> {
        let (node, vmid, typefilter) = match act {
            Act::Guest { node, guest, .. } => (node, Some(guest.vmid), None),
            Act::RestartService { node, .. } => (node, None, Some("srvrestart".to_owned())),
            Act::Wake { .. } => return Ok(BTreeSet::new()),
        };
        let node = path_name(node)?;
        let mut last = String::from("no endpoint is configured");
        for client in &self.clients {
            let user = client.token_id().split('!').next().map(str::to_owned);
            let source = TaskSource::All;
            let limit = Some(KNOWN_MAX);
            let query = TaskQuery {
                vmid,
                typefilter: typefilter.clone(),
                userfilter: user,
                source,
                limit,
                ..TaskQuery::default()
            };
            match client.node_tasks(&node, &query).await {
                Ok(page) => {
                    let ours = page.rows.rows.into_iter().map(|task| task.upid);
                    return Ok(ours.filter(|upid| is_of(upid, act, client.token_id())).collect());
                }
                Err(error) if error.is_endpoint_fault() => last = self.words(&error),
                Err(error) => return Err(self.words(&error)),
            }
        }
        Err(last)
    }

    /// To its end, or as long as one is followed. A question that fails is asked again: the task goes on without us.
    pub async fn follow(&self, upid: &Upid) -> Outcome {
        let until = Instant::now() + self.clock.real(FOLLOW_MAX);
        let mut wait = FIRST_LOOK;
        let mut last = Ok(());
        while Instant::now() < until {
            self.clock.sleep(wait).await;
            wait = LOOK_EVERY;
            kill_point::at("act.followed");
            last = match self.exit_of(upid).await {
                Ok(Some(exit)) => {
                    kill_point::at("act.exit");
                    return ended(upid, &exit);
                }
                Ok(None) => Ok(()),
                Err(error) => {
                    tracing::debug!(%upid, "the task's state is not known: {error}");
                    Err(error)
                }
            };
        }
        match last {
            Ok(()) => Outcome::Runs { upid: upid.to_string() },
            Err(error) => Outcome::Unknown {
                why: format!("task {upid} began, and how it ended is not known ({error})"),
            },
        }
    }

    async fn exit_of(&self, upid: &Upid) -> Result<Option<ExitStatus>, String> {
        let mut last = String::new();
        for client in &self.clients {
            match client.task_status(upid).await {
                Ok(status) => return Ok(status.exit().cloned()),
                Err(error) if error.is_endpoint_fault() => last = error.to_string(),
                Err(error) => return Err(error.to_string()),
            }
        }
        Err(last)
    }

    /// An error's words, and what to do where it is the token's.
    fn words(&self, error: &Error) -> String {
        if matches!(error, Error::Forbidden { .. }) && !self.own_token {
            return format!("{error}; or name a second token, for acts only, as act_token_id");
        }
        error.to_string()
    }
}

fn not_tried(why: &str) -> Begun {
    Begun::Over(Outcome::Failed { upid: None, why: format!("not tried: {why}") })
}

fn path_name(node: &NodeName) -> Result<pve::NodeName, String> {
    pve::NodeName::new(node.as_str()).map_err(|error| error.to_string())
}

async fn make(client: &Client, act: &Act) -> Result<Begun, Error> {
    let name = |node: &NodeName| path_name(node);
    let task = match act {
        Act::Guest { node, guest, verb } => {
            let Ok(node) = name(node) else { return Ok(not_tried("no such node")) };
            let kind = match guest.kind {
                GuestKind::Qemu => pve::GuestKind::Qemu,
                GuestKind::Lxc => pve::GuestKind::Lxc,
            };
            let guest = pve::GuestId { kind, vmid: guest.vmid };
            match verb {
                Verb::Start => client.guest_start(&node, guest).await?,
                Verb::Stop => client.guest_stop(&node, guest).await?,
                Verb::Shutdown => client.guest_shutdown(&node, guest, None).await?,
                Verb::Reboot => client.guest_reboot(&node, guest, None).await?,
                Verb::Resume => client.guest_resume(&node, guest).await?,
            }
        }
        Act::Wake { node, .. } => {
            let Ok(node) = name(node) else { return Ok(not_tried("no such node")) };
            let mac = client.wake_node(&node).await?;
            let said = format!("a packet to {mac} was sent; a node takes minutes to boot");
            return Ok(Begun::Over(Outcome::Done { upid: None, said }));
        }
        Act::RestartService { node, service } => {
            let Ok(node) = name(node) else { return Ok(not_tried("no such node")) };
            client.restart_service(&node, service).await?
        }
    };
    Ok(Begun::Task(task))
}

/// One packet to everybody on the network: six bytes of ones, and the address sixteen times (AMD's white paper 20213).
async fn magic_packet(mac: MacAddress, to: SocketAddr) -> std::io::Result<()> {
    let mut packet = vec![0xff; 6];
    packet.extend(mac.octets().repeat(16));
    let from: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((from, 0)).await?;
    socket.set_broadcast(true)?;
    let sent = socket.send_to(&packet, to).await?;
    if sent == packet.len() { Ok(()) } else { Err(std::io::ErrorKind::WriteZero.into()) }
}

/// Whether a task is one that this act began, or an earlier one of the same kind of ours.
fn is_of(upid: &Upid, act: &Act, token_id: &str) -> bool {
    let (kinds, id): (&[&str], String) = match act {
        Act::Guest { guest, verb, .. } => (kinds(guest.kind, *verb), guest.vmid.to_string()),
        Act::RestartService { service, .. } => (&["srvrestart"], service.to_string()),
        Act::Wake { .. } => return false,
    };
    upid.authid() == token_id && kinds.contains(&upid.kind()) && upid.id() == Some(id.as_str())
}

/// What PVE calls the tasks; of a guest under HA, starting and stopping are wishes.
fn kinds(kind: GuestKind, verb: Verb) -> &'static [&'static str] {
    match (kind, verb) {
        (GuestKind::Qemu, Verb::Start) => &["qmstart", "hastart"],
        (GuestKind::Qemu, Verb::Stop) => &["qmstop", "hastop"],
        (GuestKind::Qemu, Verb::Shutdown) => &["qmshutdown", "hastop"],
        (GuestKind::Qemu, Verb::Reboot) => &["qmreboot"],
        (GuestKind::Qemu, Verb::Resume) => &["qmresume"],
        (GuestKind::Lxc, Verb::Start) => &["vzstart", "hastart"],
        (GuestKind::Lxc, Verb::Stop) => &["vzstop", "hastop"],
        (GuestKind::Lxc, Verb::Shutdown) => &["vzshutdown", "hastop"],
        (GuestKind::Lxc, Verb::Reboot) => &["vzreboot"],
        (GuestKind::Lxc, Verb::Resume) => &["vzresume"],
    }
}

fn ended(upid: &Upid, exit: &ExitStatus) -> Outcome {
    let task = upid.to_string();
    match exit {
        ExitStatus::Ok | ExitStatus::Warnings(_) if upid.kind().starts_with("ha") => {
            Outcome::Handed { upid: task }
        }
        ExitStatus::Ok | ExitStatus::Warnings(_) => {
            Outcome::Done { upid: Some(task), said: exit.to_string() }
        }
        ExitStatus::Error(_) | ExitStatus::Unknown(_) => {
            Outcome::Failed { upid: Some(task), why: exit.to_string() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_task_is_ours_by_token_kind_and_subject() {
        let guest = |verb| Act::Guest {
            node: "pve1".parse().unwrap(),
            guest: GuestId { kind: GuestKind::Qemu, vmid: 104 },
            verb,
        };
        let service = Act::RestartService { node: "pve1".parse().unwrap(), service: "pvestatd".into() };
        let wake = Act::Wake { node: "pve1".parse().unwrap(), mac: None };
        #[rustfmt::skip]
        let table = [
            ("ours",                       guest(Verb::Start),  "qmstart:104:op@pve!act",        true),
            ("taken by HA",                guest(Verb::Start),  "hastart:104:op@pve!act",        true),
            ("another guest",              guest(Verb::Start),  "qmstart:105:op@pve!act",        false),
            ("another thing",              guest(Verb::Start),  "qmstop:104:op@pve!act",         false),
            ("another token of the user",  guest(Verb::Start),  "qmstart:104:op@pve!observe",    false),
            ("the user's own",             guest(Verb::Start),  "qmstart:104:op@pve",            false),
            ("a reboot is HA's never",     guest(Verb::Reboot), "hastop:104:op@pve!act",         false),
            ("a service",                  service.clone(),     "srvrestart:pvestatd:op@pve!act", true),
            ("another service",            service,             "srvrestart:cron:op@pve!act",    false),
            ("a packet makes no task",     wake,                "qmstart:104:op@pve!act",        false),
        ];
        for (name, act, task, expected) in table {
            let upid: Upid = format!("UPID:pve1:00000AA8:00041356:6B0473EA:{task}:").parse().unwrap();
            assert_eq!(is_of(&upid, &act, "op@pve!act"), expected, "{name}");
        }
    }

    #[test]
    fn how_a_task_ended() {
        let upid = |kind: &str| -> Upid {
            format!("UPID:pve1:00000AA8:00041356:6B0473EA:{kind}:104:op@pve!act:").parse().unwrap()
        };
        #[rustfmt::skip]
        let table = [
            ("qmstart",  "OK",                     "done"),
            ("qmstart",  "WARNINGS: 1",            "done"),
            ("qmstart",  "VM is locked (backup)",  "failed"),
            ("qmstart",  "unexpected status",      "failed"),
            ("hastart",  "OK",                     "handedToHa"),
            ("hastart",  "command failed",         "failed"),
        ];
        for (kind, status, expected) in table {
            let outcome = ended(&upid(kind), &ExitStatus::parse(status));
            assert_eq!(outcome.word(), expected, "{kind} {status}");
        }
    }
}
