//! What went wrong, sorted by what the caller does next.
//!
//! An error prints itself and not its source; who logs prints the chain. Texts come from PVE where it gave one:
//! from the JSON `message` (since PVE 8.3), else from the HTTP reason phrase (all that older ones send).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::tls::Fingerprint;

/// The question an error belongs to: which call, to which endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// `GET /cluster/resources`, without the parameters.
    pub call: Box<str>,
    /// `pve1.lab:8006`.
    pub endpoint: Box<str>,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.call, self.endpoint)
    }
}

/// How far a request got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It waited for a seat ([`crate::Limits::in_flight_per_node`]); nothing was sent.
    Queued,
    /// No connection was made; nothing was sent.
    Connecting,
    /// It was sent, at least in part, and no answer has begun.
    Waiting,
    /// The answer has begun and did not end.
    Reading,
}

impl Step {
    /// Whether PVE may have begun to do what it was asked for.
    pub fn was_sent(self) -> bool {
        match self {
            Step::Queued | Step::Connecting => false,
            Step::Waiting | Step::Reading => true,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Queued => "waiting for earlier requests to end",
            Step::Connecting => "connecting",
            Step::Waiting => "waiting for the answer",
            Step::Reading => "reading the answer",
        })
    }
}

/// What stood between us and an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The host is up and nothing listens there: pveproxy is down or restarting.
    Refused,
    /// The host or its network is not reachable.
    NoRoute,
    /// The endpoint's name has no address.
    NoAddress,
    /// No connection within the connect timeout: the host is down, or a firewall drops packets.
    NoAnswer,
    /// The other side ended the connection.
    Closed,
    /// None of these; the error's source tells.
    Other,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Obstacle::Refused => "the connection was refused; is pveproxy running there?",
            Obstacle::NoRoute => "there is no route to it",
            Obstacle::NoAddress => "its name has no address; check the endpoint",
            Obstacle::NoAnswer => "it does not answer",
            Obstacle::Closed => "it closed the connection",
            Obstacle::Other => "the connection failed",
        })
    }
}

/// Why a call has no answer, by what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Ask another endpoint. If [`Error::may_have_acted`], look before repeating an action.
    #[error("{asked} failed while {step}: {obstacle}")]
    Unreachable { asked: Box<Asked>, step: Step, obstacle: Obstacle, source: reqwest::Error },

    /// Back off; the server may still be at work on it.
    #[error("{asked} took longer than {} while {step}", seconds(*.after))]
    TimedOut { asked: Box<Asked>, step: Step, after: Duration },

    /// Have the endpoint's certificate or our setting checked; the token was not sent.
    #[error("{asked} was not sent, because the server is not trusted: {why}{}", presented_text(.presented))]
    Untrusted { asked: Box<Asked>, presented: Option<Fingerprint>, why: Box<str> },

    /// Stop asking with this token: each try costs three seconds, and may look like an attack (fail2ban).
    #[error(
        "{asked} was refused with 401: {reason}; check that the token exists, is enabled and has not expired, and that its secret is the right one"
    )]
    Unauthorized { asked: Box<Asked>, reason: Box<str> },

    /// Have the right granted. `path` and `privilege` are there if PVE named them; several privileges are joined
    /// with `|` or `,`.
    #[error("{asked} is forbidden: {reason}{}", grant_text(.path, .privilege))]
    Forbidden { asked: Box<Asked>, path: Option<Box<str>>, privilege: Option<Box<str>>, reason: Box<str> },

    /// Ask about another node; the endpoint is alive, but it (or the node it asked) could not reach the next one.
    /// 595: no connection was made. 596 and above: the connection broke or stayed silent for 30 s.
    #[error("{asked} got no further than the endpoint: {code} {reason}")]
    Hop { asked: Box<Asked>, code: u16, reason: Box<str> },

    /// Ask another endpoint: the answering node's cluster file system (pve-cluster) is down.
    #[error("{asked} failed, because the cluster file system (pve-cluster) is down there: {reason}")]
    NoClusterFs { asked: Box<Asked>, reason: Box<str> },

    /// Wait until the lock is gone; a stale one is for a human (no token may clear it).
    #[error("{asked} failed, because the subject is locked: {reason}")]
    Locked { asked: Box<Asked>, reason: Box<str> },

    /// Wait for quorum, or ask an endpoint of the majority.
    #[error("{asked} failed, because the node has no quorum: {reason}")]
    NoQuorum { asked: Box<Asked>, reason: Box<str> },

    /// List anew: the guest was moved or destroyed, the task's log is gone, the storage or node is not there.
    #[error("{asked} found nothing: {reason}")]
    NotFound { asked: Box<Asked>, reason: Box<str> },

    /// Look at the subject: it is already in the state that was asked for.
    #[error("{asked} had nothing to do: {reason}")]
    Already { asked: Box<Asked>, reason: Box<str> },

    /// Do without: this PVE does not know the call.
    #[error("{asked} is not supported by this server: {reason}")]
    Unsupported { asked: Box<Asked>, reason: Box<str> },

    /// Tell a human: PVE refused for a reason that no other variant stands for. `errors` is by parameter.
    #[error("{asked} was rejected with {status}: {reason}{}", errors_text(.errors))]
    Rejected { asked: Box<Asked>, status: u16, reason: Box<str>, errors: Box<BTreeMap<Box<str>, Box<str>>> },

    /// Narrow the question. `seen` bytes were announced, or read before we stopped.
    #[error(
        "{asked} answered with more than {limit} bytes ({seen} announced or read); the rest was not read"
    )]
    TooLarge { asked: Box<Asked>, limit: u64, seen: u64 },

    /// Tell a human: the answer is not what PVE sends. Is the endpoint PVE's API, and of a version we know?
    /// `place` is the path of the value (`data.memory.total`), `excerpt` the bounded beginning of the answer.
    #[error("{asked} gave an answer that cannot be read at {place}: {why}; it begins with `{excerpt}`")]
    Malformed { asked: Box<Asked>, place: Box<str>, why: Box<str>, excerpt: Box<str> },
}

impl Error {
    /// Which call it was, to which endpoint.
    pub fn asked(&self) -> &Asked {
        match self {
            Error::Unreachable { asked, .. }
            | Error::TimedOut { asked, .. }
            | Error::Untrusted { asked, .. }
            | Error::Unauthorized { asked, .. }
            | Error::Forbidden { asked, .. }
            | Error::Hop { asked, .. }
            | Error::NoClusterFs { asked, .. }
            | Error::Locked { asked, .. }
            | Error::NoQuorum { asked, .. }
            | Error::NotFound { asked, .. }
            | Error::Already { asked, .. }
            | Error::Unsupported { asked, .. }
            | Error::Rejected { asked, .. }
            | Error::TooLarge { asked, .. }
            | Error::Malformed { asked, .. } => asked,
        }
    }

    /// Whether an action may have been begun although no good answer came. If so, look for its task before asking
    /// again: an action must not be done twice.
    pub fn may_have_acted(&self) -> bool {
        match self {
            Error::Unreachable { step, .. } | Error::TimedOut { step, .. } => step.was_sent(),
            // 595 means that no connection to the target was made.
            Error::Hop { code, .. } => *code != 595,
            // PVE said yes, in words that were not understood.
            Error::TooLarge { .. } | Error::Malformed { .. } => true,
            // A proxy in front of PVE gives up with one of these while PVE works on; PVE itself refused with others.
            Error::Rejected { status, .. } => [502, 503, 504].contains(status),
            Error::Untrusted { .. }
            | Error::Unauthorized { .. }
            | Error::Forbidden { .. }
            | Error::NoClusterFs { .. }
            | Error::Locked { .. }
            | Error::NoQuorum { .. }
            | Error::NotFound { .. }
            | Error::Already { .. }
            | Error::Unsupported { .. } => false,
        }
    }

    /// Whether another endpoint of the same cluster may know better. Only for questions, never for actions.
    pub fn is_endpoint_fault(&self) -> bool {
        match self {
            Error::Unreachable { .. } | Error::Untrusted { .. } | Error::NoClusterFs { .. } => true,
            // An endpoint that lives says 596 before we lose patience; but a queue is of our own making.
            Error::TimedOut { step, .. } => *step != Step::Queued,
            Error::Unauthorized { .. }
            | Error::Forbidden { .. }
            | Error::Hop { .. }
            | Error::Locked { .. }
            | Error::NoQuorum { .. }
            | Error::NotFound { .. }
            | Error::Already { .. }
            | Error::Unsupported { .. }
            | Error::Rejected { .. }
            | Error::TooLarge { .. }
            | Error::Malformed { .. } => false,
        }
    }
}

/// What PVE's prose means, where its meaning changes what to do next. The same texts come in two places: as the
/// message of a 500, and as the exit status of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Locked,
    NoQuorum,
    NotFound,
    Already,
    NoClusterFs,
    Other,
}

impl Refusal {
    /// PVE classifies by text only, so there is no better way. Order matters: a text that names a lock *and* the
    /// missing quorum is about quorum.
    pub fn of(text: &str) -> Refusal {
        if text.contains("RPCEnvironment init request failed")
            || text.contains("Connection refused: ipcc_send_rec")
        {
            return Refusal::NoClusterFs;
        }
        // Without quorum /etc/pve can only be read, which older and deeper code reports as a denied open.
        let read_only = text.contains("file '/etc/pve/") && text.contains("Permission denied");
        if text.contains("no quorum") || read_only {
            return Refusal::NoQuorum;
        }
        let locked = ["VM is locked", "CT is locked", "can't lock file", "cfs-lock '", "can't aquire lock"];
        if locked.iter().any(|part| text.contains(part)) || text.contains("can't acquire lock") {
            return Refusal::Locked;
        }
        let configuration_gone = text.contains("Configuration file '") && text.contains("does not exist");
        let gone = ["hostname lookup '", "no such cluster node '", "no such task", "No such storage"];
        if configuration_gone || gone.iter().any(|part| text.contains(part)) {
            return Refusal::NotFound;
        }
        let guest = text.starts_with("VM ") || text.starts_with("CT ");
        if guest && (text.contains(" already running") || text.contains(" not running")) {
            return Refusal::Already;
        }
        Refusal::Other
    }
}

fn seconds(duration: Duration) -> String {
    if duration.subsec_millis() == 0 {
        format!("{} s", duration.as_secs())
    } else {
        format!("{} ms", duration.as_millis())
    }
}

fn presented_text(presented: &Option<Fingerprint>) -> String {
    presented.map_or(String::new(), |fingerprint| format!("; it presented {fingerprint}"))
}

fn grant_text(path: &Option<Box<str>>, privilege: &Option<Box<str>>) -> String {
    match (path, privilege) {
        (Some(path), Some(privilege)) if !path.is_empty() => {
            format!("; grant {privilege} on {path} to the token and to its user")
        }
        _ => String::new(),
    }
}

fn errors_text(errors: &BTreeMap<Box<str>, Box<str>>) -> String {
    if errors.is_empty() {
        return String::new();
    }
    let list: Vec<String> = errors.iter().map(|(parameter, why)| format!("{parameter}: {why}")).collect();
    format!(" ({})", list.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_sorted_by_what_to_do() {
        use Refusal::{Already, Locked, NoClusterFs, NoQuorum, NotFound, Other};
        #[rustfmt::skip]
        let table = [
            (NoQuorum, "cluster not ready - no quorum?"),
            (NoQuorum, "cfs-lock 'file-ha/resources_cfg' error: no quorum!"),
            (NoQuorum, "unable to open file '/etc/pve/nodes/a/qemu-server/1.conf.tmp.7' - Permission denied"),
            (Other, "unable to open file '/var/lib/vz/x' - Permission denied"),
            (Locked, "cfs-lock 'domain-ha' error: got lock request timeout"),
            (Locked, "VM is locked (backup)"),
            (Locked, "CT is locked (snapshot-delete)"),
            (Locked, "can't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout"),
            (NotFound, "Configuration file 'nodes/pve1/qemu-server/999.conf' does not exist"),
            (NotFound, "hostname lookup 'nonode' failed - failed to get address info"),
            (NotFound, "no such cluster node 'pve9'"),
            (Other, "volume 'local:100/vm-100-disk-0.qcow2' does not exist"),
            (Already, "CT 200 already running"),
            (Already, "VM 100 already running"),
            (Already, "CT 101 not running"),
            (Other, "QEMU guest agent is not running"),
            (NoClusterFs, "RPCEnvironment init request failed: Unable to load access control list: Connection refused"),
            (Other, "start failed: QEMU exited with code 1"),
            (Other, ""),
        ];
        for (expected, text) in table {
            assert_eq!(Refusal::of(text), expected, "{text}");
        }
    }

    #[test]
    fn errors_stay_small_enough_to_return() {
        assert!(size_of::<Error>() <= 64, "{} bytes", size_of::<Error>());
    }
}
