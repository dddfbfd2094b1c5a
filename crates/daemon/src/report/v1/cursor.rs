//! Cursor: a place in a list on its way through a client, which need not understand it.
//!
//! It is checked, not signed: it grants nothing, and whoever makes one up only chooses where to begin. The check is for
//! what was cut off, mistyped or belongs to another list, which is a 400 and not an empty page.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::record::Position;

/// Bytes of the check: one in 2^48 mistakes goes unseen.
const CHECK: usize = 6;

pub(super) fn written(list: &str, at: &Position) -> String {
    let text = format!("{} {}", at.id, at.time);
    let mut bytes = check(list, &text).to_vec();
    bytes.extend(text.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn read(list: &str, cursor: &str) -> Option<Position> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (given, text) = bytes.split_at_checked(CHECK)?;
    let text = std::str::from_utf8(text).ok()?;
    if given != check(list, text) {
        return None;
    }
    let (id, time) = text.split_once(' ')?;
    Some(Position { id: id.parse().ok()?, time: time.to_owned() })
}

fn check(list: &str, text: &str) -> [u8; CHECK] {
    let sum = Sha256::new().chain_update(list).chain_update([0]).chain_update(text).finalize();
    std::array::from_fn(|at| sum[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_went_and_no_other_does() {
        let at = Position { time: "2026-11-23 18:58:01".into(), id: 42 };
        let cursor = written("events", &at);
        assert_eq!(read("events", &cursor), Some(at));
        for (name, list, cursor) in [
            ("another list's", "actions", cursor.clone()),
            ("cut off", "events", cursor[..cursor.len() - 1].to_owned()),
            ("longer", "events", format!("{cursor}A")),
            ("another sign", "events", cursor.replacen('A', "B", 1).replacen("MjA", "MjB", 1) + "="),
            ("empty", "events", String::new()),
            ("prose", "events", "the next page please".into()),
        ] {
            assert_eq!(read(list, &cursor), None, "{name}");
        }
    }
}
