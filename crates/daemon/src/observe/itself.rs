//! Itself: whether Jarvis runs in a guest of the cluster, or on a node of it, where nobody has said so.
//!
//! A name is no proof: many machines are called alike. A guest is ours when it is called as this machine and its configuration
//! gives one of its cards the address that a card of this machine has. A node is ours when it is called as this machine, and this
//! machine has PVE's file system. Nothing but names is compared until a name fits.
//!
//! What was found holds until the guest's configuration says otherwise: a guest whose node tells no numbers has no name, and is
//! ours all the same.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use engine::observe::{Blindness, Guest, GuestId, GuestStatus, MacAddress, NodeName, Round, Subject};
use jiff::{SignedDuration, Timestamp};
use pve::types::GuestConfig;
use tokio::sync::watch;

use super::aside::guest_id;
use super::ask::About;
use super::bill::Call;
use super::look::PART_WITHIN;
use super::rounds::{SLOW_AGE, no_path, path_name};
use super::{Observer, Tiers, translate};
use crate::machine::Machine;
use crate::supervise::Stop;

/// Guests whose configuration is read at a time: those that run first. More are not called as one machine but by a script.
pub(super) const SUSPECTS_MAX: usize = 8;
/// After how long they are asked again although nothing has changed in the list: a card may have been given another address.
const AGAIN: SignedDuration = SignedDuration::from_hours(1);
/// And where one was not answered.
const AGAIN_AFTER_FAILURE: SignedDuration = SignedDuration::from_mins(1);

/// How soon after the first round it looks, and again until the cluster has answered.
const AT_FIRST: SignedDuration = SignedDuration::from_secs(1);

/// By what something is known to be this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// One of its cards has this address, here and there.
    Address(MacAddress),
    /// It is called so, and has PVE's file system.
    Name,
}

/// Where Jarvis was found to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The guest in which, or the node on which.
    pub(crate) subject: Subject,
    /// How that is known.
    pub(crate) by: By,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Found { subject, by } = self;
        match by {
            By::Address(address) => write!(f, "{subject}, found by its address {address}"),
            By::Name => write!(f, "{subject}, found by its name"),
        }
    }
}

/// The address that a guest's card and one of the machine's have.
pub(super) fn shared(machine: &Machine, config: &GuestConfig) -> Option<MacAddress> {
    config
        .addresses()
        .filter_map(|text| text.parse().ok())
        .find(|address| machine.addresses.contains(address))
}

/// Which guests are asked, each with its node.
fn suspects(
    machine: &Machine,
    guests: &BTreeMap<GuestId, Guest>,
    found: &[Found],
) -> Vec<(GuestId, NodeName)> {
    let known = |id: GuestId| found.iter().any(|found| found.subject == Subject::Guest(id));
    let named = |guest: &Guest| guest.name.as_deref().is_some_and(|name| machine.may_be(name));
    let mut fit: Vec<_> = guests
        .iter()
        .filter(|(id, guest)| known(**id) || (!guest.template && named(guest)))
        .map(|(id, guest)| (!known(*id), guest.status != GuestStatus::Running, *id, guest.node.clone()))
        .collect();
    fit.sort_by_key(|(unknown, idle, id, _)| (*unknown, *idle, *id));
    fit.into_iter().take(SUSPECTS_MAX).map(|(_, _, id, node)| (id, node)).collect()
}

/// What a guest's configuration says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    /// That it is this machine, by this address.
    Ours(MacAddress),
    /// That it is none of this machine.
    Another,
    /// It was not answered.
    Nothing,
}

/// What follows from what was said now. What was found before holds where nothing else is said of it, and where it is not listed.
fn concluded(on: impl Iterator<Item = NodeName>, said: &[(GuestId, Said)], before: &[Found]) -> Vec<Found> {
    let ours = said.iter().filter_map(|(id, said)| match said {
        Said::Ours(address) => Some(Found { subject: Subject::Guest(*id), by: By::Address(*address) }),
        Said::Another | Said::Nothing => None,
    });
    let on = on.map(|node| Found { subject: Subject::Node(node), by: By::Name });
    let mut found: BTreeMap<Subject, Found> =
        ours.chain(on).map(|found| (found.subject.clone(), found)).collect();
    let another = |held: &Found| {
        said.iter().any(|(id, said)| *said == Said::Another && held.subject == Subject::Guest(*id))
    };
    for held in before.iter().filter(|held| !another(held)) {
        found.entry(held.subject.clone()).or_insert_with(|| held.clone());
    }
    found.into_values().collect()
}

/// Who was asked last, and when they are asked again.
struct Asked {
    suspects: Vec<(GuestId, NodeName)>,
    again: Timestamp,
}

impl Observer {
    /// Finds out where Jarvis itself runs, and again when the guests are others, until the daemon stops. What is found goes into
    /// `say`.
    ///
    /// # Errors
    /// None: what is not answered is asked again.
    pub(crate) async fn know_itself(
        self: Arc<Observer>,
        machine: Arc<Machine>,
        every: Duration,
        say: watch::Sender<Vec<Found>>,
        mut stop: Stop,
    ) -> anyhow::Result<()> {
        let every = SignedDuration::try_from(every)?;
        // When the first critical round is over, and before anything is done for the first time.
        let mut due = self.clock.now() + SignedDuration::try_from(Tiers::first(Round::Critical))? + AT_FIRST;
        let mut asked: Option<Asked> = None;
        loop {
            tokio::select! {
                () = self.clock.sleep_until(due) => {}
                () = stop.asked() => return Ok(()),
            }
            let before = say.borrow().clone();
            let found = self.found(&machine, &before, &mut asked).await;
            say.send_if_modified(|said| {
                *said != found && {
                    *said = found;
                    true
                }
            });
            due = self.clock.now() + if asked.is_some() { every } else { AT_FIRST };
        }
    }

    /// Where it runs, as far as anything new is known of that.
    async fn found(&self, machine: &Machine, before: &[Found], asked: &mut Option<Asked>) -> Vec<Found> {
        let Ok((_, rows)) = self.resources(SLOW_AGE).await else { return before.to_vec() };
        let nodes = translate::nodes(&rows);
        let on = nodes.into_keys().filter(|node| machine.is_node && machine.may_be(node.as_str()));
        let suspects = suspects(machine, &translate::guests(&rows), before);
        let now = self.clock.now();
        let mut said = Vec::new();
        if asked.as_ref().is_none_or(|asked| asked.suspects != suspects || now >= asked.again) {
            for (id, node) in &suspects {
                said.push((*id, self.says(machine, node, *id).await));
            }
            let answered = said.iter().all(|(_, said)| *said != Said::Nothing);
            let again = now + if answered { AGAIN } else { AGAIN_AFTER_FAILURE };
            *asked = Some(Asked { suspects, again });
        }
        concluded(on, &said, before)
    }

    async fn says(&self, machine: &Machine, node: &NodeName, guest: GuestId) -> Said {
        match self.config_of(node, guest).await {
            Ok(config) => shared(machine, &config).map_or(Said::Another, Said::Ours),
            Err(Blindness { words, .. }) => {
                tracing::debug!(cluster = %self.cluster, %guest, "whether Jarvis runs in it is not known: {words}");
                Said::Nothing
            }
        }
    }

    async fn config_of(&self, node: &NodeName, guest: GuestId) -> Result<GuestConfig, Blindness> {
        let path = path_name(node).ok_or_else(|| no_path(node))?;
        let (path, guest) = (&path, guest_id(guest));
        let ask = |client: pve::Client| async move { client.guest_config(path, guest).await };
        self.endpoints.ask(Call::Config, About::NodeWithin(PART_WITHIN), ask).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(name: Option<&str>, node: &str, status: GuestStatus, template: bool) -> Guest {
        Guest {
            name: name.map(Into::into),
            node: node.parse().unwrap(),
            status,
            uptime: 0,
            io: None,
            template,
            lock: None,
            ha: None,
            tags: Vec::new(),
            pool: None,
        }
    }

    #[test]
    fn who_is_asked() {
        use GuestStatus::{Running, Stopped};
        let machine = Machine { name: Some("jarvis".into()), ..Machine::default() };
        let many =
            (0..20).map(|n| (format!("lxc/{}", 300 + n), guest(Some("jarvis"), "pve3", Stopped, false)));
        let guests: BTreeMap<GuestId, Guest> = [
            ("qemu/101".to_owned(), guest(Some("web01"), "pve1", Running, false)),
            ("qemu/102".to_owned(), guest(Some("JARVIS.lan"), "pve1", Running, false)),
            ("qemu/103".to_owned(), guest(Some("jarvis"), "pve1", Running, true)),
            ("qemu/104".to_owned(), guest(None, "pve2", Stopped, false)),
        ]
        .into_iter()
        .chain(many)
        .map(|(id, guest)| (id.parse().unwrap(), guest))
        .collect();
        let asked = |found: &[Found]| -> Vec<String> {
            suspects(&machine, &guests, found).iter().map(|(id, node)| format!("{id} {node}")).collect()
        };
        let named = asked(&[]);
        assert_eq!(named.len(), SUSPECTS_MAX, "{named:?}");
        assert_eq!(
            named[0], "qemu/102 pve1",
            "one that runs first, and none of another name, and no template"
        );
        assert!(named[1..].iter().all(|named| named.starts_with("lxc/3")), "{named:?}");
        let found = Found { subject: "qemu/104".parse().unwrap(), by: By::Name };
        assert_eq!(
            asked(&[found])[..2],
            ["qemu/104 pve2", "qemu/102 pve1"],
            "what was found, though it has no name"
        );
    }

    /// What was found before, on which nodes it is now, what each guest says, and what follows.
    type Row<'a> = (&'a str, &'a [Found], &'a [&'a str], &'a [(&'a str, Said)], &'a [&'a str]);

    #[test]
    fn what_was_found_holds_until_something_else_is_said() {
        let address: MacAddress = "BC:24:11:00:00:01".parse().unwrap();
        let other: MacAddress = "BC:24:11:00:00:02".parse().unwrap();
        let guest = |id: &str, address| Found { subject: id.parse().unwrap(), by: By::Address(address) };
        let before = [guest("qemu/101", address)];
        #[rustfmt::skip]
        let table: [Row<'_>; 9] = [
            ("for the first time",          &[],     &[],       &[("qemu/101", Said::Ours(address))],   &["qemu/101, found by its address BC:24:11:00:00:01"]),
            ("not answered at first",       &[],     &[],       &[("qemu/101", Said::Nothing)],         &[]),
            ("another at first",            &[],     &[],       &[("qemu/101", Said::Another)],         &[]),
            ("nobody was asked",            &before, &[],       &[],                                    &["qemu/101, found by its address BC:24:11:00:00:01"]),
            ("not answered",                &before, &[],       &[("qemu/101", Said::Nothing)],         &["qemu/101, found by its address BC:24:11:00:00:01"]),
            ("another now",                 &before, &[],       &[("qemu/101", Said::Another)],         &[]),
            ("by another card",             &before, &[],       &[("qemu/101", Said::Ours(other))],     &["qemu/101, found by its address BC:24:11:00:00:02"]),
            ("a copy of it with its card",  &before, &[],       &[("qemu/101", Said::Ours(address)), ("qemu/102", Said::Ours(address))],
                &["qemu/101, found by its address BC:24:11:00:00:01", "qemu/102, found by its address BC:24:11:00:00:01"]),
            ("a node",                      &[],     &["pve1"], &[],                                    &["node/pve1, found by its name"]),
        ];
        for (name, before, on, said, expected) in table {
            let said: Vec<_> = said.iter().map(|(id, said)| (id.parse().unwrap(), *said)).collect();
            let found = concluded(on.iter().map(|node| node.parse().unwrap()), &said, before);
            assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), expected, "{name}");
        }
    }

    #[test]
    fn by_an_address_of_its_own() {
        let addresses = ["BC:24:11:00:00:01".parse().unwrap()].into();
        let machine = Machine { addresses, ..Machine::default() };
        for (name, json, expected) in [
            ("a virtual machine", r#"{"net0":"virtio=bc:24:11:00:00:01,bridge=vmbr0"}"#, true),
            (
                "a container's second card",
                r#"{"net0":"hwaddr=BC:24:11:00:00:09","net1":"hwaddr=BC:24:11:00:00:01"}"#,
                true,
            ),
            ("a copy of it with another", r#"{"net0":"virtio=BC:24:11:00:00:02"}"#, false),
            ("one without a card", "{}", false),
        ] {
            let config: GuestConfig = serde_json::from_str(json).unwrap();
            assert_eq!(shared(&machine, &config).is_some(), expected, "{name}");
        }
    }
}
