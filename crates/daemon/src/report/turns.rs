//! Turns: how many calls are answered at once, and how many bytes of answers wait to be read. A turn ends when its
//! answer was taken, not when it was made, and an answer that is not taken in time is cut off.
//!
//! It does not make answers smaller; whoever makes one has a limit of its own.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use tokio::sync::watch;
use tokio::time::Instant;

/// An answer is handed to its connection in pieces of so many bytes: what is handed over at once is the connection's,
/// read or not.
const PIECE: usize = 16 * 1024;
/// An answer of at most so many bytes fits into a connection's own buffer, and nobody waits for who reads it.
const SMALL: usize = super::listen::BUFFER_MAX;
/// An answer of which nobody knows how long it is has the time of a whole one for each so many bytes.
const PACE: usize = 1024 * 1024;
/// Bytes of answers that may wait to be read, together: nine scrapes of 10,000 guests.
const UNREAD_MAX: usize = 64 * 1024 * 1024;

/// All turns.
pub(super) struct Turns {
    calls: usize,
    bytes: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    all: Load,
    by: HashMap<Box<str>, Load>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Load {
    calls: usize,
    bytes: usize,
}

/// One call's turn, given back when dropped.
pub(super) struct Turn {
    turns: Arc<Turns>,
    who: Box<str>,
    /// What of its answer waits to be read.
    bytes: usize,
}

impl Turns {
    pub(super) fn new(calls: usize) -> Turns {
        Turns { calls, bytes: UNREAD_MAX, held: Mutex::default() }
    }

    /// `None` when there is none left. One caller has at most half of them: whoever does not read their answers keeps
    /// nobody else from theirs. Those before the login are one caller.
    pub(super) fn take(turns: &Arc<Turns>, who: &str) -> Option<Turn> {
        let mut held = turns.held();
        let own = held.by.get(who).copied().unwrap_or_default();
        if held.all.calls >= turns.calls || own.calls >= half(turns.calls) {
            return None;
        }
        held.all.calls += 1;
        held.by.entry(who.into()).or_default().calls += 1;
        Some(Turn { turns: turns.clone(), who: who.into(), bytes: 0 })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn half(all: usize) -> usize {
    all.div_ceil(2)
}

impl Turn {
    /// Whether an answer of so many bytes may wait to be read. Where none waits it may, whatever it weighs.
    fn weigh(&mut self, bytes: usize) -> bool {
        let mut held = self.turns.held();
        let own = held.by.get(&self.who).copied().unwrap_or_default();
        let fits = |held: usize, most: usize| held == 0 || held.saturating_add(bytes) <= most;
        if !fits(held.all.bytes, self.turns.bytes) || !fits(own.bytes, half(self.turns.bytes)) {
            return false;
        }
        held.all.bytes += bytes;
        if let Some(own) = held.by.get_mut(&self.who) {
            own.bytes += bytes;
        }
        self.bytes = bytes;
        true
    }

    /// So many bytes wait no longer.
    fn lighten(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        let mut held = self.turns.held();
        held.all.bytes -= bytes;
        if let Some(own) = held.by.get_mut(&self.who) {
            own.bytes -= bytes;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.lighten(self.bytes);
        let mut held = self.turns.held();
        held.all.calls -= 1;
        if let Some(own) = held.by.get_mut(&self.who) {
            own.calls -= 1;
            if own.calls == 0 {
                held.by.remove(&self.who);
            }
        }
    }
}

/// Until when the answer on a connection must have been taken; the connection ends then ([`overdue`]).
#[derive(Clone, Debug)]
pub(super) struct Until(Arc<watch::Sender<Option<Instant>>>);

impl Until {
    /// For one connection, with what its keeper waits on.
    pub(super) fn of_connection() -> (Until, watch::Receiver<Option<Instant>>) {
        let (sender, receiver) = watch::channel(None);
        (Until(Arc::new(sender)), receiver)
    }
}

/// Returns when an answer was not taken in time.
pub(super) async fn overdue(mut until: watch::Receiver<Option<Instant>>) {
    loop {
        let due = *until.borrow_and_update();
        let changed = match due {
            None => until.changed().await,
            Some(due) => match tokio::time::timeout_at(due, until.changed()).await {
                Ok(changed) => changed,
                Err(_) => return,
            },
        };
        if changed.is_err() {
            // The connection is about to end by itself.
            return std::future::pending().await;
        }
    }
}

/// The answer with its turn in it. `None`: too much waits to be read already.
pub(super) fn hold(
    response: Response,
    mut turn: Turn,
    until: Option<Until>,
    within: Duration,
) -> Option<Response> {
    let size = response.body().size_hint().exact().and_then(|size| usize::try_from(size).ok());
    match size {
        Some(size) if size <= SMALL => return Some(response),
        Some(size) if !turn.weigh(size) => return None,
        Some(_) | None => {}
    }
    if let Some(until) = &until {
        until.0.send_replace(Some(Instant::now() + within));
    }
    let paced = size.is_none().then_some(Paced { within, taken: 0, left: None });
    Some(response.map(|body| Body::new(Taken { body, rest: Bytes::new(), turn, until, paced })))
}

/// A body that goes in pieces, and keeps its turn until the last of them went or nobody wants it.
struct Taken {
    body: Body,
    rest: Bytes,
    turn: Turn,
    until: Option<Until>,
    /// Of one that is made while it is read.
    paced: Option<Paced>,
}

/// How far a body is of which nobody knows how long it is.
struct Paced {
    /// The time for each part of it.
    within: Duration,
    /// What was taken of this part.
    taken: usize,
    /// While it is made and there is nothing to take: what is left of this part's time, which stands still.
    left: Option<Duration>,
}

impl Taken {
    /// So many bytes of it were taken.
    fn pace(&mut self, bytes: usize) {
        let Some(paced) = &mut self.paced else { return };
        paced.taken += bytes;
        if paced.taken >= PACE {
            paced.taken = 0;
            if let Some(until) = &self.until {
                until.0.send_replace(Some(Instant::now() + paced.within));
            }
        }
    }

    /// Whether there is something to take now. What the making takes is not the reader's time; and it is given back no
    /// more than it took, or who takes a little of each piece would have a part's time for each.
    fn offer(&mut self, something: bool) {
        let (Some(paced), Some(until)) = (&mut self.paced, &self.until) else { return };
        match (something, paced.left) {
            (false, None) => {
                let due = until.0.send_replace(None);
                paced.left = due.map(|due| due.saturating_duration_since(Instant::now()));
            }
            (true, Some(left)) => {
                paced.left = None;
                until.0.send_replace(Some(Instant::now() + left));
            }
            (false, Some(_)) | (true, None) => {}
        }
    }
}

impl HttpBody for Taken {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        while self.rest.is_empty() {
            let made = Pin::new(&mut self.body).poll_frame(cx);
            self.offer(made.is_ready());
            match std::task::ready!(made) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                end => return Poll::Ready(end),
            }
        }
        let size = self.rest.len().min(PIECE);
        // A copy: a piece of the whole would keep the whole for as long as the connection has it.
        let piece = Bytes::copy_from_slice(&self.rest.split_to(size));
        self.turn.lighten(size);
        self.pace(size);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (of_body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        if let Some(upper) = of_body.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(of_body.lower().saturating_add(rest));
        hint
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(until) = &self.until {
            until.0.send_replace(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt;

    use super::*;

    fn load(turns: &Turns) -> (usize, usize) {
        let held = turns.held();
        let (calls, bytes) = held.by.values().fold((0, 0), |sum, own| (sum.0 + own.calls, sum.1 + own.bytes));
        assert_eq!((calls, bytes), (held.all.calls, held.all.bytes), "what each has is what all have");
        (calls, bytes)
    }

    #[test]
    fn one_caller_has_at_most_half() {
        let turns = Arc::new(Turns::new(5));
        let taken = ["a", "a", "a", "a", "b", "", "b"].map(|who| Turns::take(&turns, who));
        assert_eq!(taken.each_ref().map(Option::is_some), [true, true, true, false, true, true, false]);
        drop(taken);
        assert_eq!(load(&turns), (0, 0));
        assert!(turns.held().by.is_empty(), "who has none is forgotten");
    }

    #[test]
    fn answers_that_wait_weigh_only_so_much() {
        let turns = Arc::new(Turns { bytes: 1_000, ..Turns::new(64) });
        let answer = |who: &str, bytes| {
            let mut turn = Turns::take(&turns, who).unwrap();
            turn.weigh(bytes).then_some(turn)
        };
        let first = answer("a", 400);
        let table = [
            ("half of it is one caller's", "a", 101, false),
            ("what is left of the half", "a", 100, true),
            ("more than is left", "b", 501, false),
            ("another caller's", "b", 500, true),
            ("there is no more", "c", 1, false),
        ];
        let mut kept = vec![first];
        for (name, who, bytes, expected) in table {
            let given = answer(who, bytes);
            assert_eq!(given.is_some(), expected, "{name}");
            kept.push(given);
        }
        assert_eq!(load(&turns), (3, 1_000));
        drop(kept);
        assert_eq!(load(&turns), (0, 0));
        assert!(answer("a", 5_000).is_some(), "nothing waits: it would never be answered otherwise");
    }

    #[tokio::test]
    async fn a_body_goes_in_pieces_and_its_turn_with_it() {
        let turns = Arc::new(Turns::new(64));
        let whole = Bytes::from(vec![7; 5 * PIECE + 1]);
        let (until, due) = Until::of_connection();
        let turn = Turns::take(&turns, "a").unwrap();
        let response = Response::new(Body::from(whole.clone()));
        let held = hold(response, turn, Some(until), Duration::from_secs(1)).unwrap();
        assert!(due.borrow().is_some());
        let mut body = held.into_body();
        let (mut left, mut pieces) = (whole.len(), Vec::new());
        while left > 0 {
            assert_eq!(body.size_hint().exact(), Some(left as u64));
            let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.unwrap().unwrap();
            let piece = frame.into_data().unwrap();
            left -= piece.len();
            assert_eq!(load(&turns), (1, left));
            pieces.push(piece);
        }
        assert_eq!(pieces.len(), 6);
        assert!(body.is_end_stream());
        drop(body);
        assert_eq!((load(&turns), *due.borrow()), ((0, 0), None));
        assert!(whole.is_unique(), "no piece keeps the whole");
    }

    /// Of a file nobody knows how long it is: who goes on reading has the time for each megabyte of it, who does not is overdue.
    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_read_slowly_is_read_to_its_end() {
        const MIB: usize = 1024 * 1024;
        let turns = Arc::new(Turns::new(64));
        let (until, due) = Until::of_connection();
        let keeper = tokio::spawn(overdue(due));
        let parts = (0..4).map(|_| Ok::<_, axum::Error>(Bytes::from(vec![7; MIB])));
        let response = Response::new(Body::from_stream(tokio_stream::iter(parts)));
        let turn = Turns::take(&turns, "a").unwrap();
        let within = Duration::from_secs(60);
        let mut body = hold(response, turn, Some(until), within).unwrap().into_body();
        let mut read = async |bytes: usize| {
            for _ in 0..bytes / PIECE {
                let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
                assert_eq!(frame.unwrap().unwrap().into_data().unwrap().len(), PIECE);
            }
        };
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(50)).await;
            read(MIB).await;
        }
        assert!(!keeper.is_finished(), "150 s, and a megabyte in each of them");
        read(MIB - PIECE).await;
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert!(keeper.is_finished(), "nobody reads on");
        assert_eq!(load(&turns).0, 1, "its turn is held for as long");
    }

    /// A filter that fits little: what the server needs to find the next line is not the time of who reads.
    #[tokio::test(start_paused = true)]
    async fn the_time_stands_still_while_there_is_nothing_to_take() {
        let turns = Arc::new(Turns::new(64));
        let (until, due) = Until::of_connection();
        let keeper = tokio::spawn(overdue(due));
        let parts = tokio_stream::iter(0..3).then(|_| async {
            tokio::time::sleep(Duration::from_secs(600)).await;
            Ok::<_, axum::Error>(Bytes::from_static(b"a line"))
        });
        let turn = Turns::take(&turns, "a").unwrap();
        let response = Response::new(Body::from_stream(parts));
        let mut body = hold(response, turn, Some(until), Duration::from_secs(60)).unwrap().into_body();
        for _ in 0..2 {
            let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap().as_ref(), b"a line");
            assert!(!keeper.is_finished(), "it was taken as soon as it was there");
            tokio::time::sleep(Duration::from_secs(25)).await;
        }
        assert!(!keeper.is_finished(), "50 s of the reader's own");
        std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.unwrap().unwrap();
        tokio::time::sleep(Duration::from_secs(11)).await;
        assert!(keeper.is_finished(), "61 s: a line is no megabyte");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_taken_in_time_is_overdue() {
        let turns = Arc::new(Turns::new(64));
        let (until, due) = Until::of_connection();
        let keeper = tokio::spawn(overdue(due));
        let answer = |bytes| {
            let turn = Turns::take(&turns, "a").unwrap();
            let response = Response::new(Body::from(vec![0; bytes]));
            hold(response, turn, Some(until.clone()), Duration::from_secs(60)).unwrap()
        };
        drop(answer(SMALL + 1));
        drop(answer(SMALL));
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!(!keeper.is_finished(), "nothing is asked for");
        let unread = answer(SMALL + 1);
        tokio::time::sleep(Duration::from_secs(59)).await;
        assert!(!keeper.is_finished(), "there is time");
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(keeper.is_finished());
        drop(unread);
    }
}
