//! Names that may stand in a request's path: made once at the border, so that a path cannot be forged.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// A node's name as PVE allows it: letters, digits and inner hyphens, at most 63 (a host name's label).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeName(Box<str>);

/// Why a text is no name that PVE would have given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a valid {what}")]
pub struct InvalidId {
    what: &'static str,
    text: Box<str>,
}

impl InvalidId {
    pub(crate) fn new(what: &'static str, text: &str) -> InvalidId {
        InvalidId { what, text: crate::answer::excerpt(text.as_bytes(), 60) }
    }
}

const NODE_NAME_MAX: usize = 63;

impl NodeName {
    pub fn new(text: &str) -> Result<NodeName, InvalidId> {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let valid = (1..=NODE_NAME_MAX).contains(&text.len())
            && text.bytes().all(inner)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if valid { Ok(NodeName(text.into())) } else { Err(InvalidId::new("node name", text)) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeName {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<NodeName, InvalidId> {
        NodeName::new(text)
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node/{}", self.0)
    }
}

impl<'de> Deserialize<'de> for NodeName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<NodeName, D::Error> {
        let text = String::deserialize(from)?;
        NodeName::new(&text).map_err(serde::de::Error::custom)
    }
}

/// A virtual machine or a container; both share one range of ids per cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GuestKind {
    Qemu,
    Lxc,
}

impl GuestKind {
    /// As PVE writes it in paths and in `type`.
    pub fn as_str(self) -> &'static str {
        match self {
            GuestKind::Qemu => "qemu",
            GuestKind::Lxc => "lxc",
        }
    }
}

impl fmt::Display for GuestKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A guest as PVE writes it: `qemu/101`, `lxc/200`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GuestId {
    pub kind: GuestKind,
    pub vmid: u32,
}

impl FromStr for GuestId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<GuestId, InvalidId> {
        let invalid = || InvalidId::new("guest id (like qemu/101)", text);
        let (kind, vmid) = text.split_once('/').ok_or_else(invalid)?;
        let kind = match kind {
            "qemu" => GuestKind::Qemu,
            "lxc" => GuestKind::Lxc,
            _ => return Err(invalid()),
        };
        // `parse` alone would take "+101".
        if !vmid.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(invalid());
        }
        Ok(GuestId { kind, vmid: vmid.parse().map_err(|_| invalid())? })
    }
}

impl fmt::Display for GuestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.vmid)
    }
}

impl fmt::Debug for GuestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_pve_allows_may_stand_in_a_path() {
        #[rustfmt::skip]
        let table = [
            ("plain", "pve1", true),
            ("inner hyphen", "pve-01-a", true),
            ("one letter", "a", true),
            ("empty", "", false),
            ("a parent directory", "..", false),
            ("a slash", "pve1/qemu", false),
            ("an escaped slash", "pve1%2Fqemu", false),
            ("a query", "pve1?x=1", false),
            ("a dot", "pve1.lab", false),
            ("a leading hyphen", "-pve1", false),
            ("a trailing hyphen", "pve1-", false),
            ("a blank", "pve 1", false),
            ("a line break", "pve1\n", false),
            ("not ASCII", "pvé1", false),
            ("too long", &"a".repeat(64), false),
        ];
        for (name, text, valid) in table {
            assert_eq!(NodeName::new(text).is_ok(), valid, "{name}: {text:?}");
        }
        assert_eq!(NodeName::new("a/b\n").unwrap_err().to_string(), "`a/b ` is not a valid node name");
    }

    #[test]
    fn guests_read_and_print_as_pve_writes_them() {
        for text in ["qemu/101", "lxc/200"] {
            assert_eq!(text.parse::<GuestId>().unwrap().to_string(), text);
        }
        for text in ["qemu/", "qemu/+1", "qemu/-1", "qemu/99999999999", "openvz/1", "101", "qemu/1/2", ""] {
            assert!(text.parse::<GuestId>().is_err(), "{text}");
        }
    }
}
