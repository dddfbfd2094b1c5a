//! JSON as PVE really sends it, by subject. Field names are PVE's; bytes are bytes, times are in seconds unless a
//! type says otherwise, `cpu` is a fraction of `maxcpu` or `cpus`.
//!
//! `None` means "not known": absent, null, or nothing that can be read as such a value (see `lenient`). Lists are
//! [`Rows`], which lose nothing: a row that cannot be read stands beside those that can.

mod cluster;
mod guests;
mod ha;
mod journal;
mod measures;
mod nodes;
mod resources;
mod settings;
mod tasks;

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

pub use cluster::{
    ClusterInfo, ClusterRow, ClusterStatus, LogEntry, Member, Permissions, Propagates, Version,
};
pub use guests::{GuestStatus, HaManaged, LiveGuest, Lock, Pressure};
pub use ha::{
    HaFencing, HaLrm, HaManagerStatus, HaMaster, HaNodeState, HaQuorum, HaRow, HaService, HaState, LrmStatus,
    ManagedService, ManagerQuorum, ManagerStatus,
};
pub use journal::Journal;
pub use measures::{Metric, MetricsExport, RrdPoint};
pub use nodes::{
    BootInfo, Cpuinfo, Kernel, Ksm, Load, NodeReport, NodeRow, NodeStatus, NodeTime, Service, Space,
    StorageRow, StorageState, StorageStatus,
};
pub use resources::{
    GuestResource, NetworkResource, NodeResource, PoolResource, Resource, ResourceType, StorageResource,
};
pub use settings::{GuestConfig, NodeConfig, Settings};
pub use tasks::{LogLine, Task, TaskState, TaskStatus};

use crate::answer::{excerpt, fields_of};

/// A list of which no row is lost: `rows` can be read, `unreadable` cannot.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows<T> {
    pub rows: Vec<T>,
    pub unreadable: Vec<Unreadable>,
}

/// A row that does not fit its type: PVE sent something we do not understand about this subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Where it stood in PVE's list, from 0.
    pub index: usize,
    /// What it is about, where the row at least says that: its `id`, `upid`, `sid`, ..
    pub subject: Option<Box<str>>,
    /// Empty after the first thousand.
    pub why: Box<str>,
}

impl<T> Rows<T> {
    /// How many rows PVE sent.
    pub fn total(&self) -> usize {
        self.rows.len() + self.unreadable.len()
    }
}

/// The longest list of a cluster with 10,000 guests is its metrics, 120,000 rows. Ten bytes of JSON can become a row
/// of 500 bytes, so the limit on the body alone would let a bad server take gigabytes.
const ROWS_MAX: usize = 250_000;
/// Of more than these only the number matters: if so many cannot be read, the first tell why.
const UNREADABLE_TOLD_MAX: usize = 1000;

/// One page of a longer list. `total` is how many PVE has, where it says so.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    pub rows: Rows<T>,
    pub total: Option<u64>,
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Rows<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Rows<T>, D::Error> {
        from.deserialize_seq(RowsVisitor(PhantomData))
    }
}

struct RowsVisitor<T>(PhantomData<T>);

impl<'de, T: DeserializeOwned> Visitor<'de> for RowsVisitor<T> {
    type Value = Rows<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Rows<T>, A::Error> {
        let mut read = Rows { rows: Vec::new(), unreadable: Vec::new() };
        let rows_are_objects = fields_of::<T>().is_some();
        // Each row is first found and then read, so that one which does not fit leaves the others alone.
        while let Some(raw) = list.next_element::<&'de RawValue>()? {
            let index = read.total();
            if index >= ROWS_MAX {
                return Err(serde::de::Error::custom(format_args!("a list of more than {ROWS_MAX} rows")));
            }
            match serde_json::from_str::<T>(raw.get()) {
                // serde would take a list for a struct, field by field.
                Ok(_) if rows_are_objects && raw.get().starts_with('[') => {
                    let why = "a list where an object belongs".into();
                    read.unreadable.push(Unreadable { index, subject: None, why });
                }
                Ok(row) => read.rows.push(row),
                Err(error) if read.unreadable.len() < UNREADABLE_TOLD_MAX => {
                    read.unreadable.push(unreadable::<T>(index, raw.get(), &error));
                }
                Err(_) => read.unreadable.push(Unreadable { index, subject: None, why: "".into() }),
            }
        }
        Ok(read)
    }
}

/// `why` names the field: found by reading the row once more, which only bad rows pay for.
fn unreadable<T: DeserializeOwned>(index: usize, raw: &str, error: &serde_json::Error) -> Unreadable {
    let slow = &mut serde_json::Deserializer::from_str(raw);
    let why = match serde_path_to_error::deserialize::<_, T>(slow) {
        Err(found) if found.path().to_string() != "." => format!("{}: {}", found.path(), found.inner()),
        Err(_) | Ok(_) => error.to_string(),
    };
    // Line and column of a row are nobody's business; the row has one line.
    let why = why.split(" at line ").next().unwrap_or_default();
    Unreadable { index, subject: subject_of(raw), why: excerpt(why.as_bytes(), 200) }
}

fn subject_of(raw: &str) -> Option<Box<str>> {
    let row: serde_json::Map<String, serde_json::Value> = serde_json::from_str(raw).ok()?;
    ["id", "upid", "sid", "storage", "node", "service", "vmid", "name"].iter().find_map(|key| {
        let value = row.get(*key)?;
        let text = value.as_str().map(str::to_owned).or_else(|| value.as_u64().map(|id| id.to_string()))?;
        (!text.is_empty()).then(|| excerpt(text.as_bytes(), 100))
    })
}

/// A word of a list that PVE may lengthen: those we know are variants, any other keeps its text.
macro_rules! open_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
            /// A word that PVE uses and we do not know.
            Other(Box<str>),
        }

        impl $name {
            /// As PVE writes it.
            pub fn as_str(&self) -> &str {
                match self {
                    $($name::$variant => $text,)+
                    $name::Other(text) => text,
                }
            }

            pub fn is_known(&self) -> bool {
                !matches!(self, $name::Other(_))
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> $name {
                match text {
                    $($text => $name::$variant,)+
                    other => $name::Other(other.into()),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<$name, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
                Ok($name::from(&*text))
            }
        }
    };
}
pub(crate) use open_enum;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Row {
        id: Box<str>,
        #[serde(default, deserialize_with = "crate::lenient::count")]
        mem: Option<u64>,
    }

    fn read(json: &str) -> serde_json::Result<Rows<Row>> {
        serde_json::from_str(json)
    }

    #[test]
    fn a_bad_row_leaves_the_others_alone() {
        let list = read(
            r#"[{"id":"a","mem":1}, {"id":"b","mem":{"used":1}}, 7, null, {"mem":2}, {"id":"c"}, ["d",4]]"#,
        )
        .unwrap();
        let row = |id: &str, mem| Row { id: id.into(), mem };
        assert_eq!(list.rows, [row("a", Some(1)), row("c", None)]);
        assert_eq!(list.total(), 7);
        let told: Vec<String> = list
            .unreadable
            .iter()
            .map(|row| format!("{} {}: {}", row.index, row.subject.as_deref().unwrap_or("-"), row.why))
            .collect();
        assert_eq!(
            told,
            [
                "1 b: mem: invalid type: map, expected a number, a text, a truth or null",
                "2 -: invalid type: integer `7`, expected struct Row",
                "3 -: invalid type: null, expected struct Row",
                "4 -: missing field `id`",
                "6 -: a list where an object belongs",
            ]
        );
    }

    #[test]
    fn a_list_cannot_take_more_memory_than_its_rows_deserve() {
        let list = read(&format!("[{}{{\"id\":\"last\"}}]", "{},".repeat(5000))).unwrap();
        assert_eq!((list.total(), list.rows.len()), (5001, 1), "all are counted");
        assert_eq!(list.unreadable.iter().filter(|row| !row.why.is_empty()).count(), UNREADABLE_TOLD_MAX);
        let error = read(&format!("[{}{{}}]", "{},".repeat(ROWS_MAX))).unwrap_err();
        assert!(error.to_string().starts_with("a list of more than 250000 rows"), "{error}");
        assert!(size_of::<Resource>() <= 512, "{} bytes", size_of::<Resource>());
    }

    #[test]
    fn what_is_no_list_is_no_empty_list() {
        for json in ["null", "{}", "7", r#""""#] {
            assert!(read(json).is_err(), "{json}: absence must not look like an empty cluster");
        }
        assert_eq!(read("[]").unwrap().total(), 0);
        assert!(read(r#"[{"id":"a"},"#).is_err(), "cut short");
    }

    #[test]
    fn unknown_words_keep_their_text() {
        let read = |json: &str| serde_json::from_str::<NodeStatus>(json).unwrap();
        assert_eq!(read(r#""online""#), NodeStatus::Online);
        let other = read(r#""n\u00e9w""#);
        assert_eq!((other.as_str(), other.is_known()), ("néw", false));
    }
}
