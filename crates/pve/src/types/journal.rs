//! A node's journal: lines as journalctl prints them, between two marks of where they stood.

use serde::Deserialize;

use super::{Rows, Unreadable};

/// `/nodes/{node}/journal`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "Rows<Box<str>>")]
pub struct Journal {
    /// Oldest first, as `Nov 23 22:17:07 pve1 kernel: ...`, in the node's own zone of time.
    pub lines: Vec<Box<str>>,
    /// Where the last line stood: PVE takes it as `startcursor`. Absent where nothing was found.
    pub cursor: Option<Box<str>>,
    /// What is no text.
    pub unreadable: Vec<Unreadable>,
}

impl From<Rows<Box<str>>> for Journal {
    fn from(list: Rows<Box<str>>) -> Journal {
        let Rows { rows: mut lines, unreadable } = list;
        // The first and the last are cursors; older readers leave one of them out.
        let cursor = if lines.last().is_some_and(|line| is_cursor(line)) { lines.pop() } else { None };
        if lines.first().is_some_and(|line| is_cursor(line)) {
            lines.remove(0);
        }
        Journal { lines, cursor, unreadable }
    }
}

/// systemd's cursors are fields with `;` between them, of which the first names the file (`s=...;i=...;b=...`). A line
/// of the journal begins with a date.
fn is_cursor(line: &str) -> bool {
    line.starts_with("s=") && line.contains(";i=") && line.contains(";b=")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_no_lines() {
        const FIRST: &str = "s=1a2b;i=10;b=77;m=5;t=6;x=7";
        const LAST: &str = "s=1a2b;i=12;b=77;m=8;t=9;x=0";
        let line = "Nov 23 22:17:07 pve1 systemd[1]: 100.scope: Deactivated successfully.";
        let odd = "s=1 is a line";
        #[rustfmt::skip]
        let table = [
            ("both ends", vec![FIRST, line, LAST], vec![line], Some(LAST)),
            ("only the last", vec![line, LAST],    vec![line], Some(LAST)),
            ("nothing new", vec![FIRST, LAST],     Vec::<&str>::new(),     Some(LAST)),
            ("one mark", vec![LAST],               vec![],     Some(LAST)),
            ("no marks", vec![line, odd],          vec![line, odd], None),
            ("nothing", Vec::new(),               vec![],     None),
        ];
        for (name, given, lines, cursor) in table {
            let journal: Journal = serde_json::from_str(&serde_json::to_string(&given).unwrap()).unwrap();
            let read: Vec<&str> = journal.lines.iter().map(|line| &**line).collect();
            assert_eq!((read, journal.cursor.as_deref()), (lines, cursor), "{name}");
        }
        let journal: Journal = serde_json::from_str(r#"["a", null, 7, "b"]"#).unwrap();
        assert_eq!((journal.lines.len(), journal.unreadable.len()), (2, 2), "what is no text is counted");
    }
}
