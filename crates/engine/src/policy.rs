//! The settings as used: parsed, checked, complete. The daemon makes a [`Policy`] from its configuration.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::decide::{self, Runbook};
use crate::observe::{Node, StorageId, Subject};

/// All that the engine lets itself be told about how to judge.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Marks for every subject without marks of its own.
    pub marks: BTreeMap<Metric, Marks>,
    /// Marks of single subjects; they replace the general ones.
    pub marks_for: BTreeMap<(Subject, Metric), Marks>,
    /// Guests, nodes and storages that are watched but never told about.
    pub ignore: Vec<Subject>,
    /// Guests with one of these tags are never told about.
    pub ignore_tags: Vec<Box<str>>,
    /// How long a stop waits for its task to appear (pve-crash-evidence 1: it shows 0.05-0.3 s after the POST).
    pub stop_patience: SignedDuration,
    /// How long after a node's boot a guest that has not come back yet is no news: `startall` works through its
    /// order with delays (pve-domain 9.6).
    pub boot_settle: SignedDuration,
    /// What is done about which condition; the first that fits.
    pub runbooks: Vec<Runbook>,
    /// What is watched and never acted on.
    pub protect: Vec<Subject>,
    /// Guests with one of these tags are never acted on.
    pub protect_tags: Vec<Box<str>>,
    /// The guest in which, and the node on which, Jarvis itself runs, as somebody said it; what was found out is the engine's.
    pub own: Vec<Subject>,
    /// More new incidents than this within a minute are a storm, in which nothing is done.
    pub storm: u32,
}

impl Default for Policy {
    fn default() -> Policy {
        let marks = Metric::ALL.into_iter().map(|metric| (metric, metric.default_marks())).collect();
        Policy {
            marks,
            marks_for: BTreeMap::new(),
            ignore: Vec::new(),
            ignore_tags: Vec::new(),
            stop_patience: SignedDuration::from_secs(2),
            boot_settle: SignedDuration::from_mins(5),
            runbooks: decide::built_in(),
            protect: Vec::new(),
            protect_tags: Vec::new(),
            own: Vec::new(),
            storm: STORM,
        }
    }
}

/// More than this many incidents in a minute have one cause, and starting things does not mend it.
const STORM: u32 = 10;

impl Policy {
    /// The marks that hold for one metric of one subject.
    pub fn marks(&self, subject: &Subject, metric: Metric) -> Marks {
        let own = self.marks_for.get(&(subject.clone(), metric));
        let own = own.or_else(|| self.marks_for.get(&(everywhere(subject)?, metric)));
        own.or_else(|| self.marks.get(&metric)).copied().unwrap_or_else(|| metric.default_marks())
    }

    /// Why nothing may be done to a subject, whatever is wrong with it. `own` is where Jarvis itself runs.
    pub fn protects(&self, own: &[Subject], subject: &Subject, tags: &[Box<str>]) -> Option<String> {
        let of_node =
            |node| own.contains(&Subject::Node(node)).then(|| "Jarvis runs on this node".to_owned());
        let by_node = match subject {
            Subject::Service(id) => {
                let node = Subject::Node(id.node.clone());
                let named = self.protect.contains(&node).then(|| format!("{node} is, by the configuration"));
                named.or_else(|| of_node(id.node.clone()))
            }
            Subject::Node(node) => of_node(node.clone()),
            Subject::Guest(_) => own.contains(subject).then(|| "Jarvis runs in it".to_owned()),
            Subject::Cluster | Subject::Storage(_) => None,
        };
        let tagged =
            tags.iter().find(|tag| self.protect_tags.iter().any(|named| named.eq_ignore_ascii_case(tag)));
        let named = self.protect.contains(subject).then(|| "by the configuration".to_owned());
        by_node.or(named).or_else(|| tagged.map(|tag| format!("by its tag {tag}")))
    }

    /// Whether nothing is to be told of this subject.
    pub fn ignores(&self, subject: &Subject, tags: &[Box<str>]) -> bool {
        let named = self.ignore.contains(subject)
            || everywhere(subject).is_some_and(|everywhere| self.ignore.contains(&everywhere));
        // PVE keeps tags in the case in which they were typed, and compares them without it.
        named
            || tags.iter().any(|tag| self.ignore_tags.iter().any(|ignored| ignored.eq_ignore_ascii_case(tag)))
    }
}

/// `storage/local` means the storage of that name on every node; `storage/pve1/local` the one on pve1.
fn everywhere(subject: &Subject) -> Option<Subject> {
    match subject {
        Subject::Storage(StorageId { name, node: Some(_) }) => {
            Some(Subject::Storage(StorageId { name: name.clone(), node: None }))
        }
        Subject::Storage(_)
        | Subject::Cluster
        | Subject::Node(_)
        | Subject::Guest(_)
        | Subject::Service(_) => None,
    }
}

/// What is measured against a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// A node's root disk.
    Disk,
    /// A node's memory.
    Memory,
    /// A node's CPU.
    Cpu,
    /// A storage's capacity.
    Storage,
    /// A node's hottest sensor.
    Temperature,
}

impl Metric {
    /// Every metric, in the order in which they are judged.
    pub const ALL: [Metric; 5] =
        [Metric::Disk, Metric::Memory, Metric::Cpu, Metric::Storage, Metric::Temperature];

    /// The metric's name in stored details.
    pub fn as_str(self) -> &'static str {
        match self {
            Metric::Disk => "disk_percent",
            Metric::Memory => "mem_percent",
            Metric::Cpu => "cpu_percent",
            Metric::Storage => "storage_percent",
            Metric::Temperature => "temperature",
        }
    }

    /// The metric's name in titles.
    pub fn title(self) -> &'static str {
        match self {
            Metric::Disk => "Disk",
            Metric::Memory => "RAM",
            Metric::Cpu => "CPU",
            Metric::Storage => "Storage",
            Metric::Temperature => "Temperature",
        }
    }

    /// What its values and marks are counted in.
    pub fn unit(self) -> &'static str {
        match self {
            Metric::Disk | Metric::Memory | Metric::Cpu | Metric::Storage => "%",
            Metric::Temperature => "°C",
        }
    }

    /// Contract 1: what is raised when nobody says otherwise.
    fn default_marks(self) -> Marks {
        let (high, critical, clear) = match self {
            Metric::Disk => (90.0, Some(95.0), 2.0),
            Metric::Memory => (85.0, Some(95.0), 2.0),
            Metric::Cpu => (95.0, None, 10.0),
            Metric::Storage => (85.0, Some(95.0), 2.0),
            Metric::Temperature => (80.0, None, 5.0),
        };
        Marks { high, critical, clear, pending: SignedDuration::ZERO }
    }

    /// The metric's value on a node, in percent; `None` where it is not known or not among the node's own numbers.
    pub(crate) fn of(self, node: &Node) -> Option<f64> {
        match self {
            Metric::Disk => node.disk?.percent(),
            Metric::Memory => node.memory?.percent(),
            Metric::Cpu => node.cpu.map(|fraction| fraction * 100.0),
            Metric::Storage | Metric::Temperature => None,
        }
    }
}

/// One ladder: up to two marks in the metric's unit, each cleared `clear` points below where it is raised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Marks {
    high: f64,
    critical: Option<f64>,
    clear: f64,
    /// How long a value must stay above a mark before it is told.
    pub pending: SignedDuration,
}

/// Highest mark of a sensor, in degrees Celsius: what is soldered melts from about 180 on.
const DEGREES_MAX: f64 = 150.0;

/// Why marks were refused.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum BadMarks {
    /// Not a percentage.
    #[error("a mark is a percentage above 0 and at most 100, not {0}")]
    Range(f64),
    /// No temperature that anything would be alarmed at.
    #[error("a mark is a temperature above 0 and at most {max} °C, not {0}", max = DEGREES_MAX)]
    Degrees(f64),
    /// The ladder would stand on its head.
    #[error("critical ({critical}) must lie above high ({high})")]
    Order {
        /// The lower mark.
        high: f64,
        /// The upper mark.
        critical: f64,
    },
    /// The value would never clear.
    #[error(
        "clear ({clear}) is how far below a mark a value clears: more than 0 and less than high ({high})"
    )]
    Clear {
        /// The distance given.
        clear: f64,
        /// The lower mark.
        high: f64,
    },
    /// Time runs forwards.
    #[error("pending must not be negative")]
    Pending,
}

impl Marks {
    /// Marks in percent; a ladder that flaps or never clears cannot be built.
    pub fn new(
        high: f64,
        critical: Option<f64>,
        clear: f64,
        pending: SignedDuration,
    ) -> Result<Marks, BadMarks> {
        for mark in [Some(high), critical].into_iter().flatten() {
            if !(mark > 0.0 && mark <= 100.0) {
                return Err(BadMarks::Range(mark));
            }
        }
        Marks::ladder(high, critical, clear, pending)
    }

    /// The one mark of a sensor, in degrees Celsius, cleared `clear` degrees below it.
    pub fn degrees(high: f64, clear: f64, pending: SignedDuration) -> Result<Marks, BadMarks> {
        if !(high > 0.0 && high <= DEGREES_MAX) {
            return Err(BadMarks::Degrees(high));
        }
        Marks::ladder(high, None, clear, pending)
    }

    fn ladder(
        high: f64,
        critical: Option<f64>,
        clear: f64,
        pending: SignedDuration,
    ) -> Result<Marks, BadMarks> {
        if let Some(critical) = critical.filter(|critical| *critical <= high) {
            return Err(BadMarks::Order { high, critical });
        }
        if !(clear > 0.0 && clear < high) {
            return Err(BadMarks::Clear { clear, high });
        }
        if pending.is_negative() {
            return Err(BadMarks::Pending);
        }
        Ok(Marks { high, critical, clear, pending })
    }

    /// The value above which a rung is raised; `None` for a rung that this ladder lacks.
    pub fn mark(&self, rung: Rung) -> Option<f64> {
        match rung {
            Rung::Well => None,
            Rung::High => Some(self.high),
            Rung::Critical => self.critical,
        }
    }

    /// The value below which a rung is left.
    pub fn clear_mark(&self, rung: Rung) -> Option<f64> {
        self.mark(rung).map(|mark| mark - self.clear)
    }
}

/// Where a value stands on its ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rung {
    /// Below every mark.
    Well,
    /// Above the lower mark.
    High,
    /// Above the upper mark.
    Critical,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored() {
        let subject = |text: &str| text.parse::<Subject>().unwrap();
        let policy = Policy {
            ignore: ["qemu/999", "storage/local", "storage/pve1/usb"].map(subject).into(),
            ignore_tags: vec!["lab".into()],
            ..Policy::default()
        };
        #[rustfmt::skip]
        let table: [(&str, &str, &[&str], bool); 8] = [
            ("a guest by its id",                  "qemu/999",           &[],              true),
            ("a container of the same number",     "lxc/999",            &[],              false),
            ("a guest by its tag",                 "qemu/101",           &["prod", "Lab"], true),
            ("another tag",                        "qemu/101",           &["label"],       false),
            ("a storage on every node",            "storage/pve2/local", &[],              true),
            ("a storage on one node",              "storage/pve1/usb",   &[],              true),
            ("the same on another node",           "storage/pve2/usb",   &[],              false),
            ("a storage of another name",          "storage/local-lvm",  &[],              false),
        ];
        for (row, about, tags, expected) in table {
            let tags: Vec<Box<str>> = tags.iter().map(|tag| (*tag).into()).collect();
            assert_eq!(policy.ignores(&subject(about), &tags), expected, "{row}");
        }
    }
}
