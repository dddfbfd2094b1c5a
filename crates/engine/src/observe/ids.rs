//! Names and ids: made once at the border, never parsed from prose.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a name or an id was refused at the border.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadId {
    /// A node or storage name that PVE would never give.
    #[error(
        "`{0}` is no {1} name: 1 to 100 characters, letters, digits, `-`, `_` and `.`, starting with a letter or digit"
    )]
    Name(String, &'static str),
    /// Neither `qemu/ID` nor `lxc/ID`.
    #[error("`{0}` is no guest: write `qemu/ID` or `lxc/ID` with an ID from 100 to 999999999")]
    Guest(String),
    /// None of the kinds of subject.
    #[error(
        "`{0}` is no subject: write `node/NAME`, `qemu/ID`, `lxc/ID`, `storage/NAME`, `service/NODE/NAME` or `cluster`"
    )]
    Subject(String),
    /// Not six pairs of hexadecimal digits.
    #[error("`{0}` is no MAC address: write six pairs of hexadecimal digits, like BC:24:11:00:00:03")]
    Mac(String),
}

fn checked(name: &str, what: &'static str) -> Result<Box<str>, BadId> {
    let head = name.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    let tail = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if head && tail && name.len() <= 100 {
        Ok(name.into())
    } else {
        Err(BadId::Name(name.chars().take(120).collect(), what))
    }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// The name as PVE writes it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = BadId;
            fn from_str(name: &str) -> Result<$name, BadId> {
                checked(name, $what).map($name)
            }
        }
        impl TryFrom<String> for $name {
            type Error = BadId;
            fn try_from(name: String) -> Result<$name, BadId> {
                name.parse()
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.into()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name_type!(
    /// A node of the cluster, as PVE names it (`pve1`).
    NodeName, "node"
);
name_type!(
    /// A storage as PVE names it (`local-lvm`); on several nodes the name is the same.
    StorageName, "storage"
);
name_type!(
    /// A service of a node, as PVE names it (`pvestatd`).
    ServiceName, "service"
);
name_type!(
    /// A watched cluster, as the configuration names it.
    ClusterName, "cluster"
);

/// The address of a network card, by which a node is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress([u8; 6]);

impl MacAddress {
    /// Its six bytes, as they are sent.
    pub fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl FromStr for MacAddress {
    type Err = BadId;
    fn from_str(text: &str) -> Result<MacAddress, BadId> {
        let bad = || BadId::Mac(text.chars().take(120).collect());
        let mut octets = [0; 6];
        let mut pairs = text.split(':');
        for octet in &mut octets {
            let digits = |pair: &&str| pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit());
            let pair = pairs.next().filter(digits).ok_or_else(bad)?;
            *octet = u8::from_str_radix(pair, 16).map_err(|_| bad())?;
        }
        if pairs.next().is_some() { Err(bad()) } else { Ok(MacAddress(octets)) }
    }
}

impl TryFrom<String> for MacAddress {
    type Error = BadId;
    fn try_from(text: String) -> Result<MacAddress, BadId> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> String {
        mac.to_string()
    }
}

impl fmt::Display for MacAddress {
    /// As PVE writes it: `BC:24:11:00:00:03`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        f.pad(&format!("{a:02X}:{b:02X}:{c:02X}:{d:02X}:{e:02X}:{g:02X}"))
    }
}

/// The two kinds of guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GuestKind {
    /// A virtual machine.
    Qemu,
    /// A container.
    Lxc,
}

impl GuestKind {
    /// `qemu` or `lxc`, as in PVE's paths.
    pub fn as_str(self) -> &'static str {
        match self {
            GuestKind::Qemu => "qemu",
            GuestKind::Lxc => "lxc",
        }
    }

    /// `VM` or `Container`, as in titles.
    pub fn title(self) -> &'static str {
        match self {
            GuestKind::Qemu => "VM",
            GuestKind::Lxc => "Container",
        }
    }
}

/// A guest, made once at the border and never parsed from a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GuestId {
    /// Virtual machine or container.
    pub kind: GuestKind,
    /// Unique in its cluster, across both kinds.
    pub vmid: u32,
}

impl FromStr for GuestId {
    type Err = BadId;
    fn from_str(text: &str) -> Result<GuestId, BadId> {
        let bad = || BadId::Guest(text.chars().take(120).collect());
        let (kind, vmid) = text.split_once('/').ok_or_else(bad)?;
        let kind = match kind {
            "qemu" => GuestKind::Qemu,
            "lxc" => GuestKind::Lxc,
            _ => return Err(bad()),
        };
        let plain = vmid.bytes().all(|b| b.is_ascii_digit());
        let vmid: u32 = vmid.parse().map_err(|_| bad())?;
        if plain && (100..=999_999_999).contains(&vmid) { Ok(GuestId { kind, vmid }) } else { Err(bad()) }
    }
}

impl TryFrom<String> for GuestId {
    type Error = BadId;
    fn try_from(text: String) -> Result<GuestId, BadId> {
        text.parse()
    }
}

impl From<GuestId> for String {
    fn from(id: GuestId) -> String {
        id.to_string()
    }
}

impl fmt::Display for GuestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.kind.as_str(), self.vmid))
    }
}

/// A storage as something to be told about: a shared one once, a local one per node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StorageId {
    /// The storage's name.
    pub name: StorageName,
    /// Its node; `None` for a shared storage.
    pub node: Option<NodeName>,
}

/// A service on one node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceId {
    /// Its node.
    pub node: NodeName,
    /// Its name.
    pub name: ServiceName,
}

/// What a thing is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Subject {
    /// The cluster as a whole: quorum, and Jarvis's own sight of it.
    Cluster,
    /// A node.
    Node(NodeName),
    /// A virtual machine or container.
    Guest(GuestId),
    /// A storage.
    Storage(StorageId),
    /// A service on a node.
    Service(ServiceId),
}

impl Subject {
    /// The short form of incident keys (`VM_CRASHED:101`): PVE's id without its kind, which the condition tells.
    pub fn key(&self) -> String {
        match self {
            Subject::Cluster => "cluster".into(),
            Subject::Node(name) => name.to_string(),
            Subject::Guest(id) => id.vmid.to_string(),
            Subject::Storage(StorageId { name, node: None }) => name.to_string(),
            Subject::Storage(StorageId { name, node: Some(node) }) => format!("{node}/{name}"),
            Subject::Service(ServiceId { node, name }) => format!("{node}/{name}"),
        }
    }
}

impl fmt::Display for Subject {
    /// As PVE writes ids: `node/pve1`, `qemu/101`, `storage/pve1/local`; a shared storage has no node.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Cluster => f.pad("cluster"),
            Subject::Node(name) => f.pad(&format!("node/{name}")),
            Subject::Guest(id) => fmt::Display::fmt(id, f),
            Subject::Storage(_) => f.pad(&format!("storage/{}", self.key())),
            Subject::Service(_) => f.pad(&format!("service/{}", self.key())),
        }
    }
}

impl FromStr for Subject {
    type Err = BadId;
    fn from_str(text: &str) -> Result<Subject, BadId> {
        let bad = || BadId::Subject(text.chars().take(120).collect());
        if text == "cluster" {
            return Ok(Subject::Cluster);
        }
        match text.split_once('/').ok_or_else(bad)? {
            ("node", name) => Ok(Subject::Node(name.parse()?)),
            ("qemu" | "lxc", _) => Ok(Subject::Guest(text.parse()?)),
            ("storage", rest) => {
                let (node, name) = match rest.split_once('/') {
                    Some((node, name)) => (Some(node.parse()?), name),
                    None => (None, rest),
                };
                Ok(Subject::Storage(StorageId { name: name.parse()?, node }))
            }
            ("service", rest) => {
                let (node, name) = rest.split_once('/').ok_or_else(bad)?;
                Ok(Subject::Service(ServiceId { node: node.parse()?, name: name.parse()? }))
            }
            (_, _) => Err(bad()),
        }
    }
}

impl TryFrom<String> for Subject {
    type Error = BadId;
    fn try_from(text: String) -> Result<Subject, BadId> {
        text.parse()
    }
}

impl From<Subject> for String {
    fn from(subject: Subject) -> String {
        subject.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_mac_address() {
        #[rustfmt::skip]
        let table = [
            ("as PVE writes it",    "BC:24:11:00:00:03",    Some("BC:24:11:00:00:03")),
            ("in small letters",    "bc:24:11:0a:0b:0c",    Some("BC:24:11:0A:0B:0C")),
            ("five pairs",          "BC:24:11:00:00",       None),
            ("seven pairs",         "BC:24:11:00:00:03:04", None),
            ("a pair of three",     "BC:24:11:00:00:003",   None),
            ("a sign",              "BC:24:11:00:00:+3",    None),
            ("other separators",    "BC-24-11-00-00-03",    None),
            ("nothing",             "",                     None),
        ];
        for (name, text, expected) in table {
            let mac = text.parse::<MacAddress>().ok();
            assert_eq!(mac.map(|mac| mac.to_string()).as_deref(), expected, "{name}");
            let stored = mac.map(|mac| serde_json::from_str(&serde_json::to_string(&mac).unwrap()).unwrap());
            assert_eq!(stored, mac, "{name}: stored and read again");
        }
    }
}
