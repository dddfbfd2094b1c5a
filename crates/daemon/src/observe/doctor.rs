//! Doctor: whether a cluster is set up so that it can be watched and put right, asked of each endpoint as the daemon would
//! ask it, and what mends what is missing. Reads only.
//!
//! What a token may do is judged in `rights`; here the questions are asked. `ward` asks them while the daemon runs.

mod rights;
mod ward;

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::decide::{Autonomy, RESTART_TAG, Remedy, Runbook};
use engine::observe::{ClusterName, Subject};
use jiff::{SignedDuration, Timestamp};
use pve::types::{ClusterStatus, GuestResource, NodeResource, NodeStatus, Resource};
use pve::{Client, Endpoint, Error, GuestKind, NodeName, Trust};

use self::rights::{Grantee, Place};
pub(crate) use self::ward::Ward;
use super::itself::{SUSPECTS_MAX, shared};
use super::skew::skew;
use crate::act::CLOCKS_DIFFER_MAX;
use crate::machine::Machine;
use crate::words::plain;

/// Guests whose configuration is read, one after the other: a question costs their node some milliseconds, and ten thousand
/// of them more than the answer is worth.
const GUESTS_MAX: usize = 200;
/// Names that are told of a list; the rest is counted.
const NAMED_MAX: usize = 8;

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// As it should be.
    Well,
    /// It works; somebody may want to know.
    Note,
    /// Something does not work as it is configured.
    Missing,
}

/// What was found about one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) mark: Mark,
    /// What it is about.
    pub(crate) what: String,
    /// What was found; a line each.
    pub(crate) words: Vec<String>,
    /// Commands that mend it, on a node of the cluster.
    pub(crate) mend: Vec<String>,
    /// Whether PVE refused a token.
    pub(crate) refused: bool,
}

impl Finding {
    pub(crate) fn new(mark: Mark, what: impl Into<String>, words: impl Into<String>) -> Finding {
        Finding { mark, what: what.into(), words: vec![words.into()], mend: Vec::new(), refused: false }
    }

    pub(crate) fn mended_by(mut self, command: impl Into<String>) -> Finding {
        self.mend.push(command.into());
        self
    }
}

/// A cluster as it is configured.
pub(crate) struct Patient {
    pub(crate) name: ClusterName,
    /// In the order of the configuration, each with who watches and who acts.
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) watchers: Vec<Client>,
    pub(crate) actors: Vec<Client>,
    pub(crate) token: Box<str>,
    /// Where a second token acts.
    pub(crate) act_token: Option<Box<str>>,
    pub(crate) runbooks: Vec<Runbook>,
    /// Where Jarvis itself runs, if somebody said.
    pub(crate) own: Vec<Subject>,
    /// The machine that this runs on.
    pub(crate) machine: Arc<Machine>,
    pub(crate) level: Autonomy,
    pub(crate) standby: bool,
}

/// All that can be found out about it.
pub(crate) async fn examine(patient: &Patient, now: impl Fn() -> Timestamp) -> Vec<Finding> {
    let mut found = Vec::new();
    let Some(door) = doors(patient, &mut found).await else { return found };
    let (watcher, actor) = (&patient.watchers[door], &patient.actors[door]);
    let rights = match watcher.permissions().await {
        Ok(rights) => rights,
        Err(error) => {
            found.push(failed("rights", &error));
            return found;
        }
    };
    match watcher.cluster_status().await {
        Ok(status) => found.push(quorum(&status)),
        // Which right that takes is told below.
        Err(Error::Forbidden { .. }) => {
            found.push(Finding::new(Mark::Note, "quorum", "not seen by this token"))
        }
        Err(error) => found.push(failed("quorum", &error)),
    }
    let watching = Grantee { token: &patient.token, rights: &rights };
    found.push(watching.watches());
    found.push(watching.reads_journals());
    let (nodes, guests) = match watcher.cluster_resources().await {
        Ok(resources) => sorted(resources.rows),
        Err(error) => {
            found.push(failed("what there is", &error));
            return found;
        }
    };
    let place = Place { nodes: &nodes, guests: &guests };
    match patient.act_token.as_deref().filter(|_| patient.acts()) {
        None => found.extend(patient.acting(&watching, &place)),
        Some(token) => match actor.permissions().await {
            Ok(rights) => {
                let acting = Grantee { token, rights: &rights };
                found.extend(acting.sees_what_it_acts_on());
                found.extend(patient.acting(&acting, &place));
            }
            Err(error) => found.push(refused("token that acts", token, &error)),
        },
    }
    for node in &nodes {
        found.push(examined(watcher, &watching, node, patient.wakes() && nodes.len() > 1, &now).await);
    }
    found.extend(of_guests(watcher, &place).await);
    found.push(patient.itself(watcher, &place).await);
    found
}

impl Patient {
    /// Whether anything can come to be done.
    fn acts(&self) -> bool {
        self.level >= Autonomy::Recommend && !self.standby
    }

    fn wakes(&self) -> bool {
        self.acts() && self.runbooks.iter().any(|book| book.remedy == Remedy::Wake)
    }

    /// Where Jarvis itself runs, as it is said or as the daemon would find it out.
    async fn itself(&self, watcher: &Client, place: &Place<'_>) -> Finding {
        let what = "jarvis itself";
        if let Some(own) = self.own.first() {
            return Finding::new(
                Mark::Well,
                what,
                format!("runs in {own}, as the configuration says (self)"),
            );
        }
        let machine = &self.machine;
        let on = place.nodes.iter().find(|node| machine.is_node && machine.may_be(node.node.as_str()));
        if let Some(node) = on {
            let words = format!("runs on node/{}, found by its name: nothing is done to that", node.node);
            return Finding::new(Mark::Well, what, words);
        }
        let called = |guest: &&GuestResource| guest.name.as_deref().is_some_and(|name| machine.may_be(name));
        let mut unread = Vec::new();
        let mut suspects: Vec<_> = place.guests.iter().filter(called).collect();
        // Those that run first, as the daemon asks them.
        suspects.sort_by_key(|guest| guest.status.as_str() != "running");
        for guest in suspects.into_iter().take(SUSPECTS_MAX) {
            match watcher.guest_config(&guest.node, guest.id).await {
                Ok(config) => {
                    if let Some(address) = shared(machine, &config) {
                        let words = format!(
                            "runs in {}, found by its address {address}: nothing is done to that, nor to the node that carries it",
                            guest.id
                        );
                        return Finding::new(Mark::Well, what, words);
                    }
                }
                Err(_) => unread.push(guest.id.to_string()),
            }
        }
        let words = "not found among the nodes and guests by this machine's name and addresses; if it runs in one of them, say so (self)";
        let mut finding = Finding::new(Mark::Well, what, words);
        if !unread.is_empty() {
            finding.mark = Mark::Note;
            finding.words.push(format!("called as this machine, and not readable: {}", named(&unread)));
        }
        finding
    }

    fn acting(&self, grantee: &Grantee<'_>, place: &Place<'_>) -> Vec<Finding> {
        if self.acts() {
            return grantee.acts(&self.runbooks, self.level, place);
        }
        let why = match self.standby {
            true => "standby: nothing is done here, so that no right is needed for it".to_owned(),
            false => {
                format!("level {}: nothing is done, so that no right is needed for it", self.level.number())
            }
        };
        vec![Finding::new(Mark::Well, "rights to act", why)]
    }
}

/// Each endpoint, and the first that answers.
async fn doors(patient: &Patient, found: &mut Vec<Finding>) -> Option<usize> {
    let mut open = None;
    let mut refusal = None;
    for (index, (endpoint, client)) in patient.endpoints.iter().zip(&patient.watchers).enumerate() {
        let what = format!("endpoint {}", endpoint.label());
        if refusal.is_some() {
            // Each try costs three seconds, and may look like an attack.
            found.push(Finding::new(Mark::Note, what, "not asked with a token that was refused"));
            continue;
        }
        let version = match client.version().await {
            Ok(version) => version,
            Err(error @ Error::Unauthorized { .. }) => {
                found.push(Finding::new(Mark::Well, what, format!("answers; {}", certificate(endpoint).1)));
                refusal = Some(refused("token", &patient.token, &error));
                continue;
            }
            Err(error @ Error::Untrusted { .. }) => {
                let finding = failed(what, &error);
                found.push(
                    finding
                        .mended_by("cat /etc/pve/pve-root-ca.pem      # the cluster's own CA, for ca_file"),
                );
                continue;
            }
            Err(error) => {
                found.push(failed(what, &error));
                continue;
            }
        };
        open = open.or(Some(index));
        let (mark, certificate) = certificate(endpoint);
        found.push(Finding::new(mark, what, format!("PVE {}; {certificate}", plain(&version.version))));
    }
    match refusal {
        Some(refusal) => found.push(refusal),
        None if open.is_some() => {
            let words = match &patient.act_token {
                Some(act) => format!("{} watches, {act} acts", patient.token),
                None => format!("{} watches, and acts where it may", patient.token),
            };
            found.push(Finding::new(Mark::Well, "token", words));
        }
        None => {}
    }
    open
}

/// By what its certificate is known.
fn certificate(endpoint: &Endpoint) -> (Mark, &'static str) {
    match endpoint.trust() {
        Trust::SystemRoots => (Mark::Well, "its certificate is one that this machine knows"),
        Trust::Ca(_) => (Mark::Well, "its certificate is of the authority in ca_file"),
        Trust::Fingerprint(_) => {
            (Mark::Well, "its certificate is the pinned one; PVE renews it before two years are over")
        }
        Trust::Insecure => (
            Mark::Note,
            "its certificate is not checked (insecure): whoever answers at this address gets the token",
        ),
    }
}

fn failed(what: impl Into<String>, error: &Error) -> Finding {
    let refused = matches!(error, Error::Unauthorized { .. });
    Finding { refused, ..Finding::new(Mark::Missing, what, plain(&error.to_string())) }
}

fn refused(what: &str, token: &str, error: &Error) -> Finding {
    let (user, name) = token.split_once('!').unwrap_or((token, ""));
    failed(what, error)
        .mended_by(format!("pveum user token list {user}      # is {name} there, and not expired?"))
        .mended_by(format!("pveum user token remove {user} {name} && pveum user token add {user} {name} --privsep 1      # shows a new secret once; its rights have to be given anew"))
}

fn quorum(status: &ClusterStatus) -> Finding {
    let online = status.nodes.iter().filter(|node| node.online != Some(false)).count();
    let words = format!("{online} of {} online", count(status.nodes.len(), "node"));
    match status.quorate() {
        Some(true) => Finding::new(Mark::Well, "quorum", format!("the cluster can decide: {words}")),
        Some(false) => {
            let words = format!("the cluster cannot decide, and nothing is done until it can: {words}");
            Finding::new(Mark::Missing, "quorum", words)
        }
        None => {
            Finding::new(Mark::Note, "quorum", format!("the node does not say whether it has any: {words}"))
        }
    }
}

/// Nodes by name; guests by number, without templates.
fn sorted(rows: Vec<Resource>) -> (Vec<NodeResource>, Vec<GuestResource>) {
    let (mut nodes, mut guests) = (BTreeMap::new(), BTreeMap::new());
    for row in rows {
        match row {
            Resource::Node(node) => drop(nodes.insert(node.node.as_str().to_owned(), node)),
            Resource::Guest(guest) if !guest.template => drop(guests.insert(guest.id.vmid, guest)),
            Resource::Guest(_)
            | Resource::Storage(_)
            | Resource::Pool(_)
            | Resource::Network(_)
            | Resource::Other { .. } => {}
        }
    }
    (nodes.into_values().collect(), guests.into_values().collect())
}

/// A node's clock, and whether it can be woken.
async fn examined(
    watcher: &Client,
    watching: &Grantee<'_>,
    node: &NodeResource,
    wakes: bool,
    now: &impl Fn() -> Timestamp,
) -> Finding {
    let what = format!("node {}", node.node);
    if node.status == NodeStatus::Offline {
        return Finding::new(Mark::Note, what, "offline; it is not asked");
    }
    let asked = now();
    let mut finding = match watcher.node_time(&node.node).await.map(|answer| answer.time) {
        Ok(Some(theirs)) => clock(what, skew(asked, theirs, now())),
        Ok(None) => Finding::new(Mark::Note, what, "does not tell its time"),
        Err(Error::Forbidden { .. }) => return hidden(watching, what, node),
        Err(error) => return failed(what, &error),
    };
    if wakes {
        match watcher.node_config(&node.node).await.map(|config| config.wakeonlan().is_some()) {
            Ok(true) => finding.words.push("can be woken: its address is known".into()),
            Ok(false) => {
                finding.mark = if finding.mark == Mark::Well { Mark::Note } else { finding.mark };
                finding.words.push("cannot be woken when it is lost: it has no address for that".into());
                finding.mend.push(format!(
                    "pvenode config set --wakeonlan AA:BB:CC:DD:EE:FF      # on {}, with the address of its card",
                    node.node
                ));
            }
            Err(Error::Forbidden { .. }) => {
                finding.words.push("its address to be woken by is not seen".into())
            }
            Err(error) => finding.words.push(plain(&error.to_string()).into_owned()),
        }
    }
    finding
}

/// A node of which the token sees nothing. PVE does not list a path on which it has no rights, so an entry there that takes
/// away what is inherited shows here first.
fn hidden(watching: &Grantee<'_>, what: String, node: &NodeResource) -> Finding {
    let path = format!("/nodes/{}", node.node);
    if !watching.rights.allows(&path, "Sys.Audit") {
        return Finding::new(Mark::Note, what, "not seen by this token");
    }
    let words = format!(
        "not seen by this token: an entry on {path} or /nodes takes away Sys.Audit, which it has on /"
    );
    let mut finding = Finding::new(Mark::Missing, what, words);
    finding.mend.extend(watching.grant(&path, "PVEAuditor"));
    finding
}

fn clock(what: String, skew: SignedDuration) -> Finding {
    let seconds = skew.abs().as_secs();
    let way = if skew.is_negative() { "behind" } else { "ahead" };
    let (mark, words) = match seconds {
        0 => (Mark::Well, "its clock is ours".to_owned()),
        _ if skew.abs() < CLOCKS_DIFFER_MAX => (
            Mark::Note,
            format!("its clock is {seconds} s {way} of ours, or ours is wrong; that is allowed for"),
        ),
        _ => (
            Mark::Missing,
            format!(
                "its clock is {seconds} s {way} of ours, or ours is wrong: tasks of ours are not found again"
            ),
        ),
    };
    let finding = Finding::new(mark, what, words);
    if mark == Mark::Well {
        finding
    } else {
        finding.mended_by("timedatectl      # there and here: is the time synchronized?")
    }
}

/// Which guests are never started, and which are asked to shut down without an agent.
async fn of_guests(watcher: &Client, place: &Place<'_>) -> Option<Finding> {
    let Place { nodes, guests } = place;
    if guests.is_empty() {
        return None;
    }
    let (mut idle, mut deaf, mut unread) = (Vec::new(), Vec::new(), Vec::new());
    // A node that hangs is waited for once, and not for each of its guests.
    let mut lost: Vec<&NodeName> =
        nodes.iter().filter(|node| node.status == NodeStatus::Offline).map(|node| &node.node).collect();
    for guest in guests.iter().take(GUESTS_MAX) {
        if lost.contains(&&guest.node) {
            unread.push(guest.id.to_string());
            continue;
        }
        match watcher.guest_config(&guest.node, guest.id).await {
            Ok(config) => {
                let tagged = config.tags().any(|tag| tag.eq_ignore_ascii_case(RESTART_TAG));
                // HA starts its own.
                if !config.onboot() && !tagged && guest.hastate.is_none() {
                    idle.push(guest.id.to_string());
                }
                if guest.id.kind == GuestKind::Qemu && !config.agent() {
                    deaf.push(guest.id.to_string());
                }
            }
            Err(error) => {
                unread.push(guest.id.to_string());
                // Moved or destroyed meanwhile, or hidden: that says nothing of the node's others.
                if !matches!(error, Error::NotFound { .. } | Error::Forbidden { .. }) {
                    lost.push(&guest.node);
                }
            }
        }
    }
    let mut finding = Finding::new(Mark::Well, "guests", count(guests.len(), "guest"));
    if guests.len() > GUESTS_MAX {
        finding.words.push(format!("the first {GUESTS_MAX} of them were looked at"));
    }
    if !idle.is_empty() {
        finding.mark = Mark::Note;
        finding.words.push(format!(
            "never started after a crash, as neither onboot nor the tag {RESTART_TAG} says that it is to run: {}",
            named(&idle)
        ));
        finding
            .mend
            .push("qm set ID --onboot 1      # pct set ID for a container; or give it the tag".into());
    }
    if !deaf.is_empty() {
        finding.words.push(format!("without the guest agent, shut down by ACPI alone: {}", named(&deaf)));
    }
    if !unread.is_empty() {
        finding.mark = Mark::Note;
        finding.words.push(format!("whose configuration could not be read: {}", named(&unread)));
    }
    Some(finding)
}

fn named(names: &[String]) -> String {
    let told =
        names.iter().take(NAMED_MAX).map(|name| plain(name).into_owned()).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED_MAX) {
        0 => told,
        more => format!("{told} and {more} more"),
    }
}

fn count(n: usize, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}
