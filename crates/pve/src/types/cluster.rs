//! The cluster as a whole: membership and quorum, rights, version, log.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use super::{Rows, Unreadable};
use crate::ids::NodeName;
use crate::lenient;

/// `/version`, `/nodes/{node}/version`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Version {
    /// `9.2.11`; in 7.x `7.4-20`.
    pub version: Box<str>,
    /// `9.2`
    #[serde(default, deserialize_with = "lenient::text")]
    pub release: Option<Box<str>>,
    #[serde(default, deserialize_with = "lenient::text")]
    pub repoid: Option<Box<str>>,
}

impl Version {
    /// Major and minor, to know what a server can do.
    pub fn number(&self) -> Option<(u32, u32)> {
        let mut parts = self.version.split(['.', '-']);
        let major = parts.next()?.parse().ok()?;
        Some((major, parts.next().map_or(Some(0), |minor| minor.parse().ok())?))
    }
}

/// `/cluster/status`: who is a member, as the contacted node sees it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(from = "Rows<ClusterRow>")]
pub struct ClusterStatus {
    /// Absent on a node that stands alone.
    pub cluster: Option<ClusterInfo>,
    pub nodes: Vec<Member>,
    pub unreadable: Vec<Unreadable>,
}

impl ClusterStatus {
    /// `None` if PVE did not say. A node that stands alone is quorate by itself.
    pub fn quorate(&self) -> Option<bool> {
        match &self.cluster {
            Some(cluster) => cluster.quorate,
            // An unreadable row may be the very one that says it; and a lone node has exactly one row, its own.
            None if self.unreadable.is_empty() && self.nodes.len() == 1 => Some(true),
            None => None,
        }
    }

    /// The node that answered.
    pub fn local(&self) -> Option<&Member> {
        self.nodes.iter().find(|node| node.local)
    }
}

/// A row of `/cluster/status`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ClusterRow {
    Cluster(ClusterInfo),
    Node(Member),
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ClusterInfo {
    pub name: Box<str>,
    #[serde(default, deserialize_with = "lenient::small")]
    pub nodes: Option<u32>,
    #[serde(default, deserialize_with = "lenient::count")]
    pub version: Option<u64>,
    #[serde(default, deserialize_with = "lenient::flag")]
    pub quorate: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Member {
    pub name: NodeName,
    #[serde(default, deserialize_with = "lenient::flag")]
    pub online: Option<bool>,
    /// This is the node that answers.
    #[serde(default, deserialize_with = "lenient::flag_or_false")]
    pub local: bool,
    /// 0 on a node that stands alone.
    #[serde(default, deserialize_with = "lenient::small")]
    pub nodeid: Option<u32>,
    #[serde(default, deserialize_with = "lenient::text")]
    pub ip: Option<Box<str>>,
    #[serde(default, deserialize_with = "lenient::text")]
    pub level: Option<Box<str>>,
}

impl From<Rows<ClusterRow>> for ClusterStatus {
    fn from(list: Rows<ClusterRow>) -> ClusterStatus {
        let mut status = ClusterStatus { cluster: None, nodes: Vec::new(), unreadable: list.unreadable };
        for row in list.rows {
            match row {
                ClusterRow::Cluster(cluster) => status.cluster = Some(cluster),
                ClusterRow::Node(node) => status.nodes.push(node),
            }
        }
        status
    }
}

/// `/access/permissions`: rights by path; the flag says whether a right also holds below the path.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Permissions {
    pub paths: BTreeMap<Box<str>, BTreeMap<Box<str>, Propagates>>,
}

/// The right also holds for everything below.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Propagates(#[serde(deserialize_with = "lenient::flag_or_false")] pub bool);

impl Permissions {
    /// Whether the token has `privilege` on `path` (`/vms/101`). PVE lists what each path really has; a path that is
    /// not listed has what its nearest listed ancestor hands down.
    pub fn allows(&self, path: &str, privilege: &str) -> bool {
        if let Some(rights) = self.paths.get(path) {
            return rights.contains_key(privilege);
        }
        let mut rest = path;
        while let Some((above, _)) = rest.rsplit_once('/') {
            let parent = if above.is_empty() { "/" } else { above };
            if let Some(rights) = self.paths.get(parent) {
                return rights.get(privilege).is_some_and(|propagates| propagates.0);
            }
            rest = above;
        }
        false
    }
}

/// A row of `/cluster/log`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct LogEntry {
    #[serde(deserialize_with = "lenient::count")]
    pub uid: Option<u64>,
    #[serde(deserialize_with = "lenient::time")]
    pub time: Option<Timestamp>,
    /// syslog's priority: 0 is worst, 6 is information.
    #[serde(deserialize_with = "lenient::small")]
    pub pri: Option<u32>,
    #[serde(deserialize_with = "lenient::text")]
    pub tag: Option<Box<str>>,
    #[serde(deserialize_with = "lenient::small")]
    pub pid: Option<u32>,
    #[serde(deserialize_with = "lenient::node")]
    pub node: Option<NodeName>,
    #[serde(deserialize_with = "lenient::text")]
    pub user: Option<Box<str>>,
    #[serde(deserialize_with = "lenient::text")]
    pub msg: Option<Box<str>>,
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<Box<str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_come_from_the_path_or_its_nearest_ancestor() {
        let json =
            r#"{"/":{"Sys.Audit":1,"Sys.Console":0},"/vms":{"VM.Audit":1},"/vms/101":{"VM.PowerMgmt":0}}"#;
        let rights: Permissions = serde_json::from_str(json).unwrap();
        #[rustfmt::skip]
        let table = [
            ("/", "Sys.Audit", true), ("/nodes/pve1", "Sys.Audit", true), ("/nodes", "Sys.Console", false),
            ("/vms/100", "VM.Audit", true), ("/vms/100", "Sys.Audit", false), ("/vms/101", "VM.PowerMgmt", true),
            ("/vms/101", "VM.Audit", false), ("/vms/101/x", "VM.PowerMgmt", false), ("", "Sys.Audit", false),
        ];
        for (path, privilege, expected) in table {
            assert_eq!(rights.allows(path, privilege), expected, "{privilege} on {path}");
        }
        let none: Permissions = serde_json::from_str("{}").unwrap();
        assert!(!none.allows("/", "Sys.Audit"));
    }

    #[test]
    fn quorum_is_not_assumed_when_a_row_is_unreadable() {
        let quorate = |json: &str| serde_json::from_str::<ClusterStatus>(json).unwrap().quorate();
        let node = r#"{"type":"node","name":"a","online":1,"local":1}"#;
        assert_eq!(quorate(&format!("[{node}]")), Some(true), "stands alone");
        for (quorum, expected) in
            [("1", Some(true)), (r#""""#, Some(false)), ("0", Some(false)), ("null", None)]
        {
            let cluster = format!(r#"{{"type":"cluster","name":"lab","quorate":{quorum}}}"#);
            assert_eq!(quorate(&format!("[{cluster},{node}]")), expected, "{quorum}");
        }
        assert_eq!(
            quorate(&format!(r#"[{node},{{"type":"cluster","quorate":0}}]"#)),
            None,
            "the cluster row is unreadable"
        );
        assert_eq!(quorate(&format!("[{node},{node}]")), None, "two nodes and no cluster");
        assert_eq!(quorate("[]"), None);
    }

    #[test]
    fn versions_compare_by_number() {
        let number = |text: &str| Version { version: text.into(), release: None, repoid: None }.number();
        assert_eq!(number("9.2.11"), Some((9, 2)));
        assert_eq!(number("7.4-20"), Some((7, 4)));
        assert_eq!(number("10"), Some((10, 0)));
        assert_eq!(number("x"), None);
    }
}
