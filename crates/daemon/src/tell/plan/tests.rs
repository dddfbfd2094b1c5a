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
        let next = next(at(now), Pace::MAIL, &of(next_try, reported), &waiting(waits));
        assert_eq!(shown(&next), expected, "{name}");
    }
}

#[test]
fn how_many_go_together() {
    let many: Vec<Waiting> =
        (0..500).map(|id| Waiting { id, call: false, made: at(0), message: None }).collect();
    let Next::Send { ids, .. } = next(at(60), Pace::MAIL, &ChannelRow::default(), &many) else {
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
    row: ChannelRow,
    waits: Vec<Waiting>,
    /// When each message was accepted, and what was in it.
    accepted: Vec<(i64, bool, Vec<i64>)>,
    tries: u32,
    messages: u128,
}

impl World {
    fn new(down: std::ops::Range<i64>) -> World {
        let (row, waits, accepted) = (ChannelRow::default(), Vec::new(), Vec::new());
        World { now: 0, down, row, waits, accepted, tries: 0, messages: 0 }
    }

    fn put(&mut self, id: i64, call: bool) {
        self.waits.push(Waiting { id, call, made: at(self.now), message: None });
        self.waits.sort_by_key(|waits| (!waits.call, waits.id));
    }

    /// Whatever is to be done until then, as the loop of a channel does it.
    fn until(&mut self, end: i64) {
        loop {
            match next(at(self.now), Pace::MAIL, &self.row, &self.waits) {
                Next::Send { ids, message, call, .. } => self.send(&ids, message, call),
                Next::At(when) if when < at(end) => self.now = when.as_second() - 1_000_000,
                Next::At(_) | Next::Idle => break,
            }
        }
        self.now = end;
    }

    fn send(&mut self, ids: &[i64], message: Option<Uuid>, call: bool) {
        self.tries += 1;
        self.messages += 1;
        let message = message.unwrap_or(uuid(self.messages));
        for waits in self.waits.iter_mut().filter(|waits| ids.contains(&waits.id)) {
            assert!(waits.message.is_none_or(|known| known == message), "a row changes its message");
            waits.message = Some(message);
        }
        if self.down.contains(&self.now) {
            self.row.failures += 1;
            self.row.next_try = Some(again(at(self.now), self.row.failures));
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
    assert!(world.tries - u32::try_from(world.accepted.len()).unwrap() < 25, "{} tries", world.tries);
    // Without an outage a call is there at once.
    assert!(world.accepted.iter().filter(|(_, call, _)| *call).take(6).all(|(when, ..)| when % 600 == 0));
}
