//! Table: rows of named cells, what changed between two of them, and by how much a number must have moved to count.
//!
//! It knows neither guests nor sockets: which fields there are, and their steps, is the caller's table.

use std::collections::BTreeMap;

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

/// One value of a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    /// Not known, or not so.
    Nothing,
    Text(Box<str>),
    Whole(u64),
    Real(f64),
    Flag(bool),
    Zones(BTreeMap<Box<str>, f64>),
}

impl Cell {
    fn number(&self) -> Option<f64> {
        match self {
            Cell::Whole(whole) => Some(*whole as f64),
            Cell::Real(real) => Some(*real),
            Cell::Nothing | Cell::Text(_) | Cell::Flag(_) | Cell::Zones(_) => None,
        }
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Cell::Nothing => serializer.serialize_unit(),
            Cell::Text(text) => serializer.serialize_str(text),
            Cell::Whole(whole) => serializer.serialize_u64(*whole),
            Cell::Real(real) => serializer.serialize_f64(*real),
            Cell::Flag(flag) => serializer.serialize_bool(*flag),
            Cell::Zones(zones) => zones.serialize(serializer),
        }
    }
}

/// From when on a change counts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// Any change.
    Any,
    /// So much away from what was sent last.
    By(f64),
    /// So large a part of another field away from what was sent last.
    Part(f64, &'static str),
    /// So large a part of what was sent last away from it; so from nothing always.
    Ratio(f64),
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) step: Step,
}

/// A row as it comes: its id, and a cell for each field.
pub(super) type Row = (Box<str>, Box<[Cell]>);

/// What a client that got everything has.
#[derive(Debug)]
pub(super) struct Table {
    fields: &'static [Field],
    rows: BTreeMap<Box<str>, Box<[Cell]>>,
}

/// The cells of one row that are sent.
type Sent = Vec<(&'static str, Cell)>;

/// What brings a client from one state of a table to the next.
#[derive(Debug, Default)]
pub(super) struct Change {
    set: Vec<(Box<str>, Sent)>,
    gone: Vec<Box<str>>,
}

impl Table {
    pub(super) fn new(fields: &'static [Field]) -> Table {
        Table { fields, rows: BTreeMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Takes the rows that there are now and gives what is new. What moved by less than its step stays as it was sent,
    /// so that a client's rows are the same whether they came as a snapshot or as deltas.
    pub(super) fn take(&mut self, rows: impl IntoIterator<Item = Row>) -> Change {
        let mut change = Change::default();
        let mut before = std::mem::take(&mut self.rows);
        for (id, cells) in rows {
            let kept = match before.remove(&id) {
                None => {
                    let set = self.fields.iter().map(|field| field.name).zip(cells.iter().cloned()).collect();
                    change.set.push((id.clone(), set));
                    cells
                }
                Some(mut kept) => {
                    let set = self.settle(&mut kept, &cells);
                    if !set.is_empty() {
                        change.set.push((id.clone(), set));
                    }
                    kept
                }
            };
            self.rows.insert(id, kept);
        }
        change.gone = before.into_keys().collect();
        change
    }

    /// The cells that are to be sent; they become what is kept. A row whose state changed is sent exactly, with every
    /// cell that differs: a guest that stopped does not go on showing a little CPU.
    fn settle(&self, kept: &mut [Cell], cells: &[Cell]) -> Sent {
        let differ = || self.fields.iter().zip(kept.iter().zip(cells)).filter(|(_, (old, new))| old != new);
        let exactly = differ().any(|(field, _)| matches!(field.step, Step::Any));
        let whole = |of: &str| {
            let index = self.fields.iter().position(|field| field.name == of)?;
            cells.get(index)?.number()
        };
        let mut set = Vec::new();
        for ((field, old), new) in self.fields.iter().zip(kept.iter_mut()).zip(cells) {
            let step = match field.step {
                Step::Any => 0.0,
                Step::By(step) => step,
                Step::Part(part, of) => part * whole(of).unwrap_or_default(),
                Step::Ratio(ratio) => ratio * old.number().unwrap_or_default(),
            };
            if old != new && (exactly || moved(old, new, step)) {
                set.push((field.name, new.clone()));
                old.clone_from(new);
            }
        }
        set
    }
}

/// Whether a cell moved by a step. What is no number moves by any change.
fn moved(old: &Cell, new: &Cell, step: f64) -> bool {
    match (old.number(), new.number()) {
        (Some(old), Some(new)) => (old - new).abs() >= step,
        (Some(_) | None, _) => true,
    }
}

impl Change {
    pub(super) fn is_empty(&self) -> bool {
        self.set.is_empty() && self.gone.is_empty()
    }
}

/// One row on the wire: its id, and the cells that are given.
struct Wire<'a, I>(&'a str, I);

impl<'a, I: Iterator<Item = (&'a str, &'a Cell)> + Clone> Serialize for Wire<'a, I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", self.0)?;
        for (name, cell) in self.1.clone() {
            map.serialize_entry(name, cell)?;
        }
        map.end()
    }
}

/// All rows, each whole.
impl Serialize for Table {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rows = serializer.serialize_seq(Some(self.rows.len()))?;
        for (id, cells) in &self.rows {
            let cells = self.fields.iter().map(|field| field.name).zip(cells.iter());
            rows.serialize_element(&Wire(id, cells))?;
        }
        rows.end()
    }
}

/// `{"set": [{"id", fields that changed}], "gone": [id]}`.
impl Serialize for Change {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Set<'a>(&'a Change);
        impl Serialize for Set<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut rows = serializer.serialize_seq(Some(self.0.set.len()))?;
                for (id, cells) in &self.0.set {
                    rows.serialize_element(&Wire(id, cells.iter().map(|(name, cell)| (*name, cell))))?;
                }
                rows.end()
            }
        }
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("set", &Set(self))?;
        map.serialize_entry("gone", &self.gone)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &[Field] = &[
        Field { name: "status", step: Step::Any },
        Field { name: "cpu", step: Step::By(0.02) },
        Field { name: "mem", step: Step::Part(0.1, "maxmem") },
        Field { name: "maxmem", step: Step::Any },
        Field { name: "rate", step: Step::Ratio(0.25) },
    ];

    fn row(id: &str, status: &str, cpu: f64, mem: u64, rate: u64) -> Row {
        let cells = [
            Cell::Text(status.into()),
            Cell::Real(cpu),
            Cell::Whole(mem),
            Cell::Whole(1000),
            Cell::Whole(rate),
        ];
        (id.into(), cells.into())
    }

    #[test]
    fn what_is_sent_of_each_change() {
        let mut table = Table::new(FIELDS);
        let told = |change: &Change| serde_json::to_string(change).unwrap();
        let first = table.take([row("a", "running", 0.5, 500, 1000)]);
        assert_eq!(
            told(&first),
            r#"{"set":[{"id":"a","status":"running","cpu":0.5,"mem":500,"maxmem":1000,"rate":1000}],"gone":[]}"#
        );
        // Each row is compared with what the rows above have left with the client.
        #[rustfmt::skip]
        let table_of_changes: [(&str, Row, &str); 10] = [
            ("nothing",                       row("a", "running", 0.5,   500, 1000), r#"[]"#),
            ("less than each step",           row("a", "running", 0.519, 599, 1249), r#"[]"#),
            ("small steps add up",            row("a", "running", 0.53,  599, 1000), r#"[{"id":"a","cpu":0.53}]"#),
            ("a tenth of all memory",         row("a", "running", 0.53,  600, 1000), r#"[{"id":"a","mem":600}]"#),
            ("a quarter of the rate",         row("a", "running", 0.53,  600, 1250), r#"[{"id":"a","rate":1250}]"#),
            ("a state at once, and exactly",   row("a", "paused",  0.54,  601, 1251), r#"[{"id":"a","status":"paused","cpu":0.54,"mem":601,"rate":1251}]"#),
            ("to nothing",                    row("a", "paused",  0.0,   601, 0),    r#"[{"id":"a","cpu":0.0,"rate":0}]"#),
            ("from nothing",                  row("a", "paused",  0.01,  601, 7),    r#"[{"id":"a","rate":7}]"#),
            ("what was held back comes along", row("a", "running", 0.01, 601, 7),    r#"[{"id":"a","status":"running","cpu":0.01}]"#),
            ("another one",                   row("b", "running", 0.0,   1,   1),    r#"[{"id":"b","status":"running","cpu":0.0,"mem":1,"maxmem":1000,"rate":1}]"#),
        ];
        for (name, row, expected) in table_of_changes {
            let gone = if &*row.0 == "b" { r#"["a"]"# } else { "[]" };
            let expected = format!(r#"{{"set":{expected},"gone":{gone}}}"#);
            assert_eq!(told(&table.take([row])), expected, "{name}");
        }
        assert!(!table.take([]).is_empty());
        assert_eq!(table.len(), 0);
    }
}
