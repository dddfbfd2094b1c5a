//! Waiting: what the engine said and the store has not yet taken, in pieces that are stored as a whole.
//!
//! A turn is one piece, so that a restart never finds half of it. Only a turn of more than some hundred entries with
//! events of their own is cut, after an event and before the next entry: each piece is then as true as the turn was,
//! and other writers get their turn between them. An event that stands for many entries is never parted from them.

use std::collections::VecDeque;

use crate::record::{Checkpoint, NewEntry, NewEvent, Store, StoreError};

/// Entries and events of a piece, so that nobody waits behind it for more than 50 ms. Of what a failing store left
/// waiting, so much is put into one transaction, too.
const TOGETHER_MAX: usize = 1_000;
/// Most entries of one piece, whatever belongs to them: twice the guests of the biggest cluster.
const PIECE_MAX: usize = 20_000;
/// Entries and events that may wait. Beyond it the oldest are dropped.
const WAITING_MAX: usize = 40_000;

/// See the module.
#[derive(Debug, Default)]
pub struct Waiting {
    pieces: VecDeque<Piece>,
    /// What the turn has said so far.
    turn: Piece,
}

#[derive(Clone, Debug, Default)]
struct Piece {
    entries: Vec<NewEntry>,
    events: Vec<NewEvent>,
    /// Whether the last thing in it is an event.
    told: bool,
}

impl Piece {
    fn len(&self) -> usize {
        self.entries.len() + self.events.len()
    }

    fn append(&mut self, other: &Piece) {
        self.entries.extend_from_slice(&other.entries);
        self.events.extend_from_slice(&other.events);
    }
}

/// What the store did not take.
#[derive(Debug)]
pub struct NotTaken {
    /// Why.
    pub error: StoreError,
    /// Events that had to be dropped because too much waits.
    pub dropped: usize,
}

impl Waiting {
    /// The next entry of the turn.
    pub fn record(&mut self, entry: NewEntry) {
        let full = self.turn.told && self.turn.len() >= TOGETHER_MAX;
        if full || self.turn.entries.len() >= PIECE_MAX {
            self.end_turn();
        }
        self.turn.entries.push(entry);
        self.turn.told = false;
    }

    /// The next event of the turn, after the entries that it tells of.
    pub fn tell(&mut self, event: NewEvent) {
        self.turn.events.push(event);
        self.turn.told = true;
    }

    /// The turn has said everything. Returns whether that was anything.
    pub fn end_turn(&mut self) -> bool {
        let turn = std::mem::take(&mut self.turn);
        let said = turn.len() > 0;
        if said {
            self.pieces.push_back(turn);
        }
        said
    }

    /// The kinds of the entries that wait, for the kill points.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> {
        self.pieces.iter().flat_map(|piece| &piece.entries).map(|entry| entry.kind.as_str())
    }

    /// Entries and events that wait.
    pub fn len(&self) -> usize {
        self.pieces.iter().map(Piece::len).sum()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Writes everything that waits, oldest first, and with the last of it the checkpoint, if there is one.
    ///
    /// # Errors
    /// What the store says. What it did not take goes on waiting.
    pub async fn store(&mut self, store: &Store, mut checkpoint: Option<Checkpoint>) -> Result<(), NotTaken> {
        while !self.pieces.is_empty() || checkpoint.is_some() {
            let (mut together, mut pieces) = (Piece::default(), 0);
            for piece in &self.pieces {
                if pieces > 0 && together.len() + piece.len() > TOGETHER_MAX {
                    break;
                }
                together.append(piece);
                pieces += 1;
            }
            let with = if pieces == self.pieces.len() { checkpoint.take() } else { None };
            if let Err(error) = store.save_turn(together.entries, together.events, with).await {
                return Err(NotTaken { error, dropped: self.drop_oldest() });
            }
            self.pieces.drain(..pieces);
        }
        Ok(())
    }

    fn drop_oldest(&mut self) -> usize {
        let mut over = self.len().saturating_sub(WAITING_MAX);
        let mut dropped = 0;
        while over > 0
            && let Some(piece) = self.pieces.pop_front()
        {
            over = over.saturating_sub(piece.len());
            dropped += piece.events.len();
        }
        dropped
    }
}

#[cfg(test)]
mod tests {
    use engine::report::{EventKind, Severity};
    use jiff::Timestamp;

    use super::*;
    use crate::record::{Kind, Source};

    fn entry() -> NewEntry {
        let at = Timestamp::UNIX_EPOCH;
        NewEntry {
            at,
            cluster: None,
            kind: Kind::Noted,
            entry: "{}".into(),
            told: None,
            about: None,
            action: None,
        }
    }

    fn event() -> NewEvent {
        NewEvent::plain(Timestamp::UNIX_EPOCH, EventKind::Status, Severity::Info, Source::Monitor, "a", "b")
    }

    /// `entries+events` of each piece.
    fn pieces(waiting: &Waiting) -> String {
        let piece = |piece: &Piece| format!("{}+{}", piece.entries.len(), piece.events.len());
        waiting.pieces.iter().map(piece).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn where_a_turn_is_cut() {
        #[rustfmt::skip]
        let table: [(&str, usize, usize, usize, &str); 6] = [
            // the turn,                      entries, each told by, then entries that one event tells of
            ("nothing",                       0,       1,            0,      ""),
            ("a small one",                   3,       1,            0,      "3+3"),
            ("just whole",                    500,     1,            0,      "500+500"),
            ("many, each with its event",     1_300,   1,            0,      "500+500 500+500 300+300"),
            ("many under one event",          0,       1,            5_000,  "5000+1"),
            ("some, then many under one",     700,     1,            2_000,  "500+500 2200+201"),
        ];
        for (name, entries, events, grouped, expected) in table {
            let mut waiting = Waiting::default();
            for _ in 0..entries {
                waiting.record(entry());
                (0..events).for_each(|_| waiting.tell(event()));
            }
            for _ in 0..grouped {
                waiting.record(entry());
            }
            if grouped > 0 {
                waiting.tell(event());
            }
            waiting.end_turn();
            assert_eq!(pieces(&waiting), expected, "{name}");
            assert!(!waiting.end_turn(), "{name}: a turn ends once");
        }
    }

    #[test]
    fn what_waits_is_bounded_and_the_oldest_goes_first() {
        let mut waiting = Waiting::default();
        for turn in 0..30 {
            for _ in 0..1_500 {
                waiting.record(entry());
            }
            waiting.tell(NewEvent { title: turn.to_string(), ..event() });
            waiting.end_turn();
        }
        assert_eq!(waiting.drop_oldest(), 4);
        assert!(waiting.len() <= WAITING_MAX);
        assert_eq!(waiting.pieces[0].events[0].title, "4");
    }
}
