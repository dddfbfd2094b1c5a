//! What is sent when: named rows, and an outage on a clock that is moved by hand.

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

fn uuid(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// `c` a call, `r` a report; then its number, and after `=` the message that it is already.
fn waiting(text: &str) -> Vec<Waiting> {
    let one = |word: &str| {
        let (kind, rest) = word.split_at(1);
        let (number, made) = rest.split_once('@').unwrap();
        let (made, message) =
            made.split_once('=').map_or((made, None), |(made, message)| (made, Some(message)));
        Waiting {
            id: number.parse().unwrap(),
            call: kind == "c",
            made: at(made.parse().unwrap()),
            message: message.map(|message| uuid(message.parse().unwrap())),
        }
    };
    text.split_whitespace().map(one).collect()
}

fn shown(next: &Next) -> String {
    match next {
        Next::Send { ids, message, call, .. } => {
            let kind = if *call { "call" } else { "report" };
            let again = message.map(|message| format!(" again as {}", message.as_u128())).unwrap_or_default();
            format!("{kind} {ids:?}{again}")
        }
        Next::At(until) => format!("at {}", until.as_second() - 1_000_000),
        Next::Idle => "idle".into(),
    }
}

#[test]
fn what_is_sent_next() {
    let of = |next_try: Option<i64>, reported: Option<i64>| ChannelRow {
        next_try: next_try.map(at),
        reported: reported.map(at),
        ..ChannelRow::default()
    };
    #[rustfmt::skip]
    let table = [
        //                                               waits                      now   next try    reported
        ("nothing waits",                                 "",                        0,    None,       None,       "idle"),
        ("nothing waits for one that fails",              "",                        0,    Some(60),   None,       "at 60"),
        ("a call",                                        "c1@0",                    0,    None,       None,       "call [1]"),
        ("a call before older reports",                   "c2@5 r1@0",               40,   None,       None,       "call [2]"),
        ("a call right after a report",                   "c2@5",                    5,    None,       Some(4),    "call [2]"),
        ("two calls, one after the other",                "c1@0 c2@0",               0,    None,       None,       "call [1]"),
        ("a report is collected",                         "r1@0",                    0,    None,       None,       "at 30"),
        ("and goes",                                      "r1@0 r2@20",              30,   None,       None,       "report [1, 2]"),
        ("five minutes after the last one",               "r1@0 r2@20",              30,   None,       Some(-200), "at 100"),
        ("when that is long ago",                         "r1@0",                    10,   None,       Some(-900), "at 30"),
        ("a call that failed waits",                      "c1@0=7",                  10,   Some(60),   None,       "at 60"),
        ("until then",                                    "c1@0=7",                  60,   Some(60),   None,       "call [1] again as 7"),
        ("a new one does not wait for it",                "c1@0=7 c2@9",             10,   Some(60),   None,       "call [2]"),
        ("but after it where nothing fails",              "c1@0=7 c2@9",             60,   Some(60),   None,       "call [1] again as 7"),
        ("a report that failed waits",                    "r1@0=7 r2@1",             40,   Some(60),   None,       "at 60"),
        ("and stays what it was",                         "r1@0=7 r2@1 r3@2=7",      60,   Some(60),   None,       "report [1, 3] again as 7"),
        ("the rest is the next one",                      "r2@1",                    61,   None,       Some(60),   "at 360"),
        ("a clock that was ahead holds nothing up",       "r1@9000",                 0,    None,       Some(9000), "at 300"),
    ];
    for (name, waits, now, next_try, reported, expected) in table {
        let next = next(at(now), Pace::MAIL, &of(next_try, reported), &Held::default(), &waiting(waits));
        assert_eq!(shown(&next), expected, "{name}");
    }
}

#[test]
fn whose_turn_it_is_after_a_failure() {
    use Of::{Channel, Message};
    type Row = (&'static str, &'static str, &'static [(i64, u128, Of)], i64, &'static str);
    #[rustfmt::skip]
    let table: [Row; 10] = [
        //                                      waits                        failed: when, which, of     now
        ("the one that failed waits",            "c1@0=7",                    &[(0, 7, Message)],         9,   "at 10"),
        ("for itself",                           "c1@0=7",                    &[(0, 7, Message)],         10,  "call [1] again as 7"),
        ("and rarer each time",                  "c1@0=7",                    &[(0, 7, Message), (10, 7, Message)], 39, "at 40"),
        ("another call is next",                 "c1@0=7 c2@0=8",             &[(0, 7, Message)],         10,  "call [2] again as 8"),
        ("the report is next",                   "c1@0=7 r3@0",               &[(-25, 7, Message), (0, 7, Message)], 30, "report [3]"),
        ("which was begun",                      "c1@0=7 r3@0=9",             &[(0, 7, Message)],         10,  "report [3] again as 9"),
        ("not before ten seconds",               "c1@0=7 r3@-90",             &[(0, 7, Message)],         9,   "at 10"),
        ("a report that failed waits itself",    "c1@0=7 r3@0=9",             &[(0, 9, Message)],         10,  "call [1] again as 7"),
        ("then the one that waits longest",      "c1@0=7 c2@0=8",             &[(0, 7, Message), (5, 8, Message)], 90, "call [1] again as 7"),
        ("a channel that fails is held whole",   "c1@0=7 c2@0=8 r3@-90",      &[(0, 7, Channel)],         9,   "at 10"),
    ];
    for (name, waits, failed, now, expected) in table {
        let (mut held, mut row) = (Held::default(), ChannelRow::default());
        for (when, message, of) in failed {
            row.failures += 1;
            row.next_try = Some(held.failed(at(*when), uuid(*message), *of, row.failures));
        }
        assert_eq!(shown(&next(at(now), Pace::MAIL, &row, &held, &waiting(waits))), expected, "{name}");
    }
    let mut held = Held::default();
    held.failed(at(0), uuid(7), Message, 1);
    held.keep(&waiting("c1@0=7"));
    assert_eq!(held.0.len(), 1);
    held.keep(&waiting("c1@0=8"));
    assert!(held.0.is_empty(), "what does not wait any more is forgotten");
}

#[test]
fn how_many_go_together() {
    let many: Vec<Waiting> =
        (0..500).map(|id| Waiting { id, call: false, made: at(0), message: None }).collect();
    let Next::Send { ids, .. } = next(at(60), Pace::MAIL, &ChannelRow::default(), &Held::default(), &many)
    else {
        panic!("nothing is sent");
    };
    assert_eq!((ids.len(), ids.first(), ids.last()), (TOGETHER_MAX, Some(&0), Some(&199)));
}

#[test]
fn tries_become_rarer() {
    #[rustfmt::skip]
    let table = [
        ("the first failure",  1,        10),
        ("the second",         2,        30),
        ("the third",          3,        60),
        ("the fourth",         4,        120),
        ("the fifth",          5,        300),
        ("and from then on",   6,        300),
        ("for ever",           u32::MAX, 300),
        ("none, which is none", 0,       10),
    ];
    for (name, failures, seconds) in table {
        assert_eq!(again(at(0), failures), at(seconds), "{name}");
    }
}

/// A channel in the world's place: what the store would say of it, on a clock that is moved by hand.
struct World {
    now: i64,
    down: std::ops::Range<i64>,
    /// The row that is never taken.
    stuck: Option<i64>,
    row: ChannelRow,
    held: Held,
    waits: Vec<Waiting>,
    /// When each message was accepted, and what was in it.
    accepted: Vec<(i64, bool, Vec<i64>)>,
    /// When each try was, and of what.
    tries: Vec<(i64, Vec<i64>)>,
    messages: u128,
}

impl World {
    fn new(down: std::ops::Range<i64>) -> World {
        let (row, waits, accepted) = (ChannelRow::default(), Vec::new(), Vec::new());
        World {
            now: 0,
            down,
            stuck: None,
            row,
            held: Held::default(),
            waits,
            accepted,
            tries: Vec::new(),
            messages: 0,
        }
    }

    fn put(&mut self, id: i64, call: bool) {
        self.waits.push(Waiting { id, call, made: at(self.now), message: None });
        self.waits.sort_by_key(|waits| (!waits.call, waits.id));
    }

    /// Whatever is to be done until then, as the loop of a channel does it.
    fn until(&mut self, end: i64) {
        loop {
            match next(at(self.now), Pace::MAIL, &self.row, &self.held, &self.waits) {
                Next::Send { ids, message, call, .. } => self.send(&ids, message, call),
                Next::At(when) if when < at(end) => self.now = when.as_second() - 1_000_000,
                Next::At(_) | Next::Idle => break,
            }
        }
        self.now = end;
    }

    fn send(&mut self, ids: &[i64], message: Option<Uuid>, call: bool) {
        self.tries.push((self.now, ids.to_owned()));
        self.messages += 1;
        let message = message.unwrap_or(uuid(self.messages));
        for waits in self.waits.iter_mut().filter(|waits| ids.contains(&waits.id)) {
            assert!(waits.message.is_none_or(|known| known == message), "a row changes its message");
            waits.message = Some(message);
        }
        let stuck = self.stuck.is_some_and(|stuck| ids.contains(&stuck));
        let of = if stuck { Of::Message } else { Of::Channel };
        if stuck || self.down.contains(&self.now) {
            self.row.failures += 1;
            self.row.next_try = Some(self.held.failed(at(self.now), message, of, self.row.failures));
            return;
        }
        self.row = ChannelRow {
            reported: if call { self.row.reported } else { Some(at(self.now)) },
            ..ChannelRow::default()
        };
        self.waits.retain(|waits| !ids.contains(&waits.id));
        self.accepted.push((self.now, call, ids.to_owned()));
    }
}

/// Something happens each ten seconds, and each ten minutes people are called, while the mail server is away for an hour.
#[test]
fn an_outage_of_an_hour_loses_nothing_and_floods_nobody() {
    const HOUR: i64 = 3_600;
    let mut world = World::new(HOUR..2 * HOUR);
    let mut put = 0;
    for second in (0..3 * HOUR).step_by(10) {
        world.until(second);
        put += 1;
        world.put(put, second % 600 == 0);
    }
    world.until(4 * HOUR);
    let mut told: Vec<i64> = world.accepted.iter().flat_map(|(_, _, ids)| ids.clone()).collect();
    told.sort_unstable();
    assert_eq!(told, (1..=put).collect::<Vec<_>>(), "all of it, each once");

    let calls = |from: i64, to: i64| {
        world.accepted.iter().filter(|(when, call, _)| *call && (from..to).contains(when)).count()
    };
    let reports: Vec<i64> =
        world.accepted.iter().filter(|(_, call, _)| !call).map(|(when, ..)| *when).collect();
    let apart: Vec<i64> = reports.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(apart.iter().min(), Some(&300), "no two reports within five minutes: {reports:?}");
    let during = world.accepted.iter().filter(|(when, ..)| world.down.contains(when)).count();
    let after = reports.iter().filter(|when| (2 * HOUR..2 * HOUR + 600).contains(when)).count();
    // Six calls of the outage, each for itself, and one that came up as it ended; what else happened in it are two mails:
    // the one that was begun, and the rest of it.
    assert_eq!((during, calls(2 * HOUR, 2 * HOUR + 301), after), (0, 7, 2), "{:?}", world.accepted);
    assert!(world.tries.len() - world.accepted.len() < 25, "{} tries", world.tries.len());
    // Without an outage a call is there at once.
    assert!(world.accepted.iter().filter(|(_, call, _)| *call).take(6).all(|(when, ..)| when % 600 == 0));
}

/// A call that the other side chokes on: everything else is told as if it were not there, and it is not tried without end.
#[test]
fn a_call_that_is_never_taken_holds_up_nobody() {
    const HOUR: i64 = 3_600;
    let mut world = World::new(0..0);
    world.stuck = Some(1);
    let mut put = 0;
    for second in (0..3 * HOUR).step_by(10) {
        world.until(second);
        put += 1;
        world.put(put, second % 600 == 0);
    }
    world.until(3 * HOUR + 600);
    let told: usize = world.accepted.iter().map(|(_, _, ids)| ids.len()).sum();
    assert_eq!(told, usize::try_from(put).unwrap() - 1, "all of the others");
    let calls = world.accepted.iter().filter(|(_, call, _)| *call);
    assert!(calls.clone().all(|(when, ..)| when % 600 == 0), "each at once");
    let reports: Vec<i64> =
        world.accepted.iter().filter(|(_, call, _)| !call).map(|(when, ..)| *when).collect();
    let apart: Vec<i64> = reports.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(apart.iter().all(|apart| (300..=310).contains(apart)), "{apart:?}");
    let stuck: Vec<i64> = world.tries.iter().filter(|(_, ids)| ids == &[1]).map(|(when, _)| *when).collect();
    assert!((38..=42).contains(&stuck.len()), "each five minutes in the end: {stuck:?}");
}
