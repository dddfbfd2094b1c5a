//! About: what an operator means with announced work or a silence: one thing and what is on it, or all of a kind.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::decide::Known;
use crate::observe::Subject;

/// Longest tag, pool or name, in bytes: PVE's own are shorter.
const WORD_MAX: usize = 120;

/// What is meant, as people write it: `cluster`, `node/pve1`, `qemu/101`, `tag:web`, `pool:prod`, `name:web01`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum About {
    /// This one. A node means its guests, services and storages too, and the cluster everything.
    Subject(Subject),
    /// Guests with this tag.
    Tag(Box<str>),
    /// Guests of this pool.
    Pool(Box<str>),
    /// What is called this.
    Name(Box<str>),
}

/// Why a text means nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is nothing that can be meant: write cluster, node/pve1, qemu/101, lxc/102, storage/local, \
     service/pve1/NAME, tag:NAME, pool:NAME or name:NAME"
)]
pub struct BadAbout(String);

impl About {
    /// Whether a subject is meant, or is part of what is.
    pub fn means(&self, known: &Known) -> bool {
        match self {
            About::Subject(Subject::Cluster) => true,
            About::Subject(Subject::Node(node)) => {
                *known.subject == Subject::Node(node.clone()) || known.node == Some(node)
            }
            About::Subject(subject) => known.subject == subject || everywhere(known.subject, subject),
            // PVE keeps tags in the case in which they were typed, and compares them without it.
            About::Tag(tag) => known.tags.iter().any(|own| own.eq_ignore_ascii_case(tag)),
            About::Pool(pool) => known.pool == Some(&**pool),
            About::Name(name) => known.name == Some(&**name),
        }
    }

    /// Whether it may mean things of several clusters: the same id is another thing in another cluster.
    pub fn spans_clusters(&self) -> bool {
        match self {
            About::Subject(subject) => *subject == Subject::Cluster,
            About::Tag(_) | About::Pool(_) | About::Name(_) => true,
        }
    }
}

/// `storage/local` means the storage of that name on every node.
fn everywhere(one: &Subject, meant: &Subject) -> bool {
    match (one, meant) {
        (Subject::Storage(one), Subject::Storage(meant)) => meant.node.is_none() && one.name == meant.name,
        (
            Subject::Cluster
            | Subject::Node(_)
            | Subject::Guest(_)
            | Subject::Storage(_)
            | Subject::Service(_),
            _,
        ) => false,
    }
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            About::Subject(subject) => fmt::Display::fmt(subject, f),
            About::Tag(tag) => write!(f, "tag:{tag}"),
            About::Pool(pool) => write!(f, "pool:{pool}"),
            About::Name(name) => write!(f, "name:{name}"),
        }
    }
}

impl FromStr for About {
    type Err = BadAbout;
    fn from_str(text: &str) -> Result<About, BadAbout> {
        let bad = || BadAbout(text.chars().take(WORD_MAX).collect());
        let word = |word: &str| {
            let fits = (1..=WORD_MAX).contains(&word.len());
            // A name may have spaces in it, not around it, and nothing that no terminal shows.
            let plain = word.trim() == word && !word.chars().any(char::is_control);
            if fits && plain { Ok(word.into()) } else { Err(bad()) }
        };
        match text.split_once(':') {
            Some(("tag", tag)) => Ok(About::Tag(word(tag)?)),
            Some(("pool", pool)) => Ok(About::Pool(word(pool)?)),
            Some(("name", name)) => Ok(About::Name(word(name)?)),
            Some(_) | None => text.parse().map(About::Subject).map_err(|_| bad()),
        }
    }
}

impl TryFrom<String> for About {
    type Error = BadAbout;
    fn try_from(text: String) -> Result<About, BadAbout> {
        text.parse()
    }
}

impl From<About> for String {
    fn from(about: About) -> String {
        about.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::NodeName;

    #[test]
    fn what_is_meant() {
        let pve1: NodeName = "pve1".parse().unwrap();
        let tags: [Box<str>; 2] = ["Web".into(), "prod".into()];
        let known = |subject: &'static str| {
            let subject: &'static Subject = Box::leak(Box::new(subject.parse().unwrap()));
            Known { subject, node: Some(&pve1), name: Some("web01"), tags: &tags, pool: Some("shop") }
        };
        let elsewhere =
            |known: Known<'static>| Known { node: None, name: None, tags: &[], pool: None, ..known };
        let bare = |subject: &'static str| {
            let subject: &'static Subject = Box::leak(Box::new(subject.parse().unwrap()));
            elsewhere(Known { subject, node: None, name: None, tags: &[], pool: None })
        };
        #[rustfmt::skip]
        let table = [
            ("itself",                          "qemu/101",           known("qemu/101"),            true),
            ("another guest",                   "qemu/102",           known("qemu/101"),            false),
            ("a container of that number",      "lxc/101",            known("qemu/101"),            false),
            ("a guest on its node",             "node/pve1",          known("qemu/101"),            true),
            ("a guest on another node",         "node/pve2",          known("qemu/101"),            false),
            ("the node itself",                 "node/pve1",          bare("node/pve1"),            true),
            ("another node",                    "node/pve2",          bare("node/pve1"),            false),
            ("a service of its node",           "node/pve1",          known("service/pve1/chrony"), true),
            ("a storage of its node",           "node/pve1",          known("storage/pve1/local"),  true),
            ("a guest does not mean its node",  "qemu/101",           bare("node/pve1"),            false),
            ("everything, a guest",             "cluster",            known("qemu/101"),            true),
            ("everything, the cluster",         "cluster",            bare("cluster"),              true),
            ("a node is not the cluster",       "node/pve1",          bare("cluster"),              false),
            ("a storage on every node",         "storage/local",      known("storage/pve1/local"),  true),
            ("a storage on one node",           "storage/pve2/local", known("storage/pve1/local"),  false),
            ("a shared storage",                "storage/nfs",        bare("storage/nfs"),          true),
            ("by a tag, whatever its case",     "tag:WEB",            known("qemu/101"),            true),
            ("by a tag that it has not",        "tag:we",             known("qemu/101"),            false),
            ("by its pool",                     "pool:shop",          known("qemu/101"),            true),
            ("by a pool that is not its",       "pool:Shop",          known("qemu/101"),            false),
            ("by its name",                     "name:web01",         known("qemu/101"),            true),
            ("by another name",                 "name:web0",          known("qemu/101"),            false),
            ("by a tag, what has none",         "tag:web",            bare("node/pve1"),            false),
            ("by a pool, what has none",        "pool:shop",          bare("node/pve1"),            false),
        ];
        for (name, about, known, expected) in table {
            let about: About = about.parse().unwrap();
            assert_eq!(about.means(&known), expected, "{name}");
            let again: About = serde_json::from_str(&serde_json::to_string(&about).unwrap()).unwrap();
            assert_eq!(again, about, "{name}: written and read again");
        }
    }

    #[test]
    fn what_means_nothing() {
        let long = format!("tag:{}", "x".repeat(WORD_MAX + 1));
        for text in
            ["", "pve1", "guest/101", "qemu/1", "tag:", "tag: web", "pool:a\nb", "node/", "host:pve1", &long]
        {
            let error = text.parse::<About>().unwrap_err().to_string();
            assert!(error.contains("write cluster, node/pve1"), "{text}: {error}");
            assert!(error.len() < 300, "{text}: {error}");
        }
    }
}
