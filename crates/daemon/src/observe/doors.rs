//! Doors: how far a question to a node's API comes, asked through another node.
//!
//! pveproxy is asked for the node's status, which it answers by itself; of pvedaemon the live calls know most of the
//! time. What a shut door means is the engine's business.

use std::time::{Duration, Instant};

use engine::observe::{Blindness, Cause, Door, NodeName};
use pve::Error;

use super::Observer;
use super::ask::{About, Unanswered};
use super::bill::Call;

/// A live answer this young says that pvedaemon is well: a door is knocked at each 32 s, and a list comes each 2 s.
const DAEMONS_AGE: Duration = Duration::from_secs(10);
/// A live call that has waited this long says that it hangs.
const HANGS_AFTER: Duration = Duration::from_secs(5);
/// By then a call has ended, through however many endpoints it was tried; one that has not is one that was dropped.
const ENDED_AFTER: Duration = Duration::from_secs(180);

/// What the latest live call of a node says of its pvedaemon.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Daemons {
    /// It was asked then, and has not answered.
    Asked(Instant),
    /// It answered then.
    Answered(Instant),
    /// It did not.
    Failed,
}

impl Daemons {
    /// From a call that pvedaemon answers.
    pub(super) fn of<T>(listed: &Result<T, Unanswered>, now: Instant) -> Daemons {
        match listed {
            Ok(_) => Daemons::Answered(now),
            Err(_) => Daemons::Failed,
        }
    }

    /// What it says of the door, where pveproxy answers; `None` where pvedaemon had better be asked.
    fn door(self, now: Instant) -> Option<Door> {
        match self {
            Daemons::Answered(at) if now.saturating_duration_since(at) <= DAEMONS_AGE => Some(Door::Open),
            Daemons::Asked(at) if (HANGS_AFTER..ENDED_AFTER).contains(&now.saturating_duration_since(at)) => {
                Some(Door::Hung)
            }
            Daemons::Answered(_) | Daemons::Asked(_) | Daemons::Failed => None,
        }
    }
}

/// Which of a node's two servers was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Proxy,
    Daemon,
}

/// How far a question came that was not answered with what was asked for; `online` says whether the cluster counts the
/// node as a member. `Err` where nothing can be said of the node.
fn shut(server: Server, error: &Error, online: bool) -> Result<Door, Blindness> {
    let door = match error {
        // 595: no connection was made. `reason` is the operating system's word for why.
        Error::Hop { code: 595, reason, .. } if reason.contains("refused") => match server {
            Server::Proxy => Door::ProxyDown,
            Server::Daemon => Door::DaemonDown,
        },
        Error::Hop { code: 595, .. } => Door::Silent,
        Error::Hop { .. } => Door::Hung,
        Error::NoClusterFs { .. } => Door::ClusterFsDown,
        // No answer while the cluster hears of it: it takes questions. Otherwise there is nobody.
        Error::TimedOut { .. } if online => Door::Hung,
        Error::TimedOut { .. } => Door::Silent,
        // Whatever it says, somebody is there who says it.
        Error::Forbidden { .. }
        | Error::Locked { .. }
        | Error::NoQuorum { .. }
        | Error::NotFound { .. }
        | Error::Already { .. }
        | Error::Unsupported { .. }
        | Error::Rejected { .. }
        | Error::TooLarge { .. }
        | Error::Malformed { .. }
            if server == Server::Daemon =>
        {
            Door::Open
        }
        // The endpoint itself may have said so, before it asked the node.
        Error::Forbidden { .. }
        | Error::Locked { .. }
        | Error::NoQuorum { .. }
        | Error::NotFound { .. }
        | Error::Already { .. }
        | Error::Unsupported { .. }
        | Error::Rejected { .. }
        | Error::TooLarge { .. }
        | Error::Malformed { .. }
        | Error::Unreachable { .. }
        | Error::Untrusted { .. }
        | Error::Unauthorized { .. } => return Err(super::translate::blindness(error)),
    };
    Ok(door)
}

impl Observer {
    pub(super) fn note_daemons(&self, node: &NodeName, daemons: Daemons) {
        let mut all = self.daemons.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        all.insert(node.clone(), daemons);
    }

    fn daemons_of(&self, node: &NodeName) -> Option<Daemons> {
        let all = self.daemons.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        all.get(node).copied()
    }

    /// How far a question to a node comes, each step waited for `within`. `online`: the cluster counts it as a member.
    /// `again`: one call that hangs was seen before, and proves nothing twice.
    pub(super) async fn door(
        &self,
        name: &NodeName,
        node: &pve::NodeName,
        online: bool,
        again: bool,
        within: Duration,
    ) -> Result<Door, Blindness> {
        let about = About::NodeWithin(within);
        let proxy = self
            .endpoints
            .put(Call::NodeStatus, about, |client| async move { client.node_status(node).await });
        match proxy.await {
            Ok(_) => {}
            Err(Unanswered::Held(blindness)) => return Err(blindness),
            Err(Unanswered::Failed(error)) => return shut(Server::Proxy, &error, online),
        }
        let heard = self.daemons_of(name).and_then(|daemons| daemons.door(self.clock.instant()));
        if let Some(door) = heard.filter(|door| *door == Door::Open || !again) {
            return Ok(door);
        }
        let daemon =
            self.endpoints.put(Call::Qemu, about, |client| async move { client.qemu_list(node).await });
        match daemon.await {
            Ok(_) => Ok(Door::Open),
            Err(Unanswered::Held(blindness)) => Err(blindness),
            Err(Unanswered::Failed(error)) => shut(Server::Daemon, &error, online),
        }
    }
}

/// A door that could not be knocked at in the time there was.
pub(super) fn out_of_time(what: &str, within: Duration) -> Blindness {
    let words = format!("{what} had no answer within {} s", within.as_secs());
    Blindness { cause: Cause::Unreachable, words }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pve::{Asked, Step};

    fn asked() -> Asked {
        Asked { call: "GET /nodes/pve2/status".into(), endpoint: "pve1:8006".into() }
    }

    fn refusal(status: u16, reason: &str) -> Error {
        pve::answer::understand::<()>(&asked(), status, reason, b"").err().unwrap()
    }

    #[test]
    fn how_far_a_question_came() {
        use Door::{ClusterFsDown, DaemonDown, Hung, Open, ProxyDown, Silent};
        let late = |step| Error::TimedOut { asked: Box::new(asked()), step, after: Duration::from_secs(5) };
        let fs = "RPCEnvironment init request failed: Unable to load access control list: Connection refused";
        let denied = "Permission check failed (/nodes/pve2, Sys.Audit)";
        let gone = "hostname lookup 'pve2' failed - failed to get address info";
        let (proxy, daemon) = (Server::Proxy, Server::Daemon);
        #[rustfmt::skip]
        let table = [
            ("the host lives, nobody listens",       proxy,  refusal(595, "Connection refused"), true, Ok(ProxyDown)),
            ("the same of a node that left",         proxy,  refusal(595, "Connection refused"), false, Ok(ProxyDown)),
            ("pvedaemon does not listen",            daemon, refusal(595, "Connection refused"), true, Ok(DaemonDown)),
            ("the host is off",                      proxy,  refusal(595, "No route to host"), false, Ok(Silent)),
            ("its network is gone",                  proxy,  refusal(595, "Network is unreachable"), true, Ok(Silent)),
            ("packets are dropped on the way",       proxy,  refusal(595, "Connection timed out"), false, Ok(Silent)),
            ("it takes the question and is silent",  proxy,  refusal(596, "Connection timed out"), true, Ok(Hung)),
            ("pvedaemon's workers hang",             daemon, refusal(596, "Connection timed out"), true, Ok(Hung)),
            ("pvedaemon is being restarted",         daemon, refusal(596, "Connection reset by peer"), true, Ok(Hung)),
            ("broken off in the body",               proxy,  refusal(597, "Broken pipe"), true, Ok(Hung)),
            ("its cluster file system is down",      proxy,  refusal(500, fs), true, Ok(ClusterFsDown)),
            ("the same, told by pvedaemon",          daemon, refusal(500, fs), true, Ok(ClusterFsDown)),
            ("no answer from a member",              proxy,  late(Step::Waiting), true, Ok(Hung)),
            ("our own calls hang there",             proxy,  late(Step::Queued), true, Ok(Hung)),
            ("no answer from one that left",         proxy,  late(Step::Waiting), false, Ok(Silent)),
            ("pvedaemon refuses: it is there",       daemon, refusal(403, denied), true, Ok(Open)),
            ("pvedaemon dies over it: it is there",  daemon, refusal(500, "got no worker upid"), true, Ok(Open)),
            ("a missing right",                      proxy,  refusal(403, denied), true, Err(Cause::RightsLost)),
            ("a refused token",                      daemon, refusal(401, "No ticket"), true, Err(Cause::Refused)),
            ("a node that nobody knows",             proxy,  refusal(500, gone), true, Err(Cause::Malformed)),
        ];
        for (name, server, error, online, expected) in table {
            let door = shut(server, &error, online).map_err(|blindness| blindness.cause);
            assert_eq!(door, expected, "{name}");
        }
    }

    #[test]
    fn what_live_calls_know_of_pvedaemon() {
        let start = Instant::now();
        let now = start + Duration::from_secs(600);
        let ago = |seconds| now - Duration::from_secs(seconds);
        let table = [
            ("answered just now", Daemons::Answered(ago(1)), Some(Door::Open)),
            ("answered a while ago", Daemons::Answered(ago(11)), None),
            ("asked just now", Daemons::Asked(ago(1)), None),
            ("asked a while ago", Daemons::Asked(ago(6)), Some(Door::Hung)),
            ("asked, and then forgotten", Daemons::Asked(ago(180)), None),
            ("failed", Daemons::Failed, None),
        ];
        for (name, daemons, expected) in table {
            assert_eq!(daemons.door(now), expected, "{name}");
        }
    }
}
