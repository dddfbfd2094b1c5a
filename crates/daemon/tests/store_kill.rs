//! `kill -9` at any moment: several daemons watch one simulated cluster whose guests die and return, and are killed
//! meanwhile, at moments of a seed and in the middle of telling. In the end each has told each death once and each
//! return once.
//!
//! Real processes and a real clock, as in `e2e.rs`. The cluster's time is not compressed: a guest whose uptime grows
//! faster than the daemons' clocks would seem older than its own death.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by its panic")]

mod lives;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use sim::http::{Options, Server};
use sim::script::Script;

use lives::{Home, Rng, TOKEN, ask, count, jarvis, seen_once, verify};

const GUESTS: std::ops::Range<u32> = 100..108;
/// Another one is taken with `SEED=... cargo test`.
const SEED: u64 = 20_261_123;
const DAEMONS: usize = 5;
/// Lines of a log that may wait to be looked at; more than a life has.
const LINES_MAX: usize = 10_000;
/// A phase is over when everybody told everything; this is how long that may take on a slow machine.
const PHASE_MAX: Duration = Duration::from_secs(90);

/// When a life ends.
#[derive(Clone, Copy, Debug)]
enum Death {
    After(Duration),
    /// As soon as so many lines of this kind were logged: that is before they are stored.
    AtLine(&'static str, u64),
}

/// One life of a daemon, ended by its id.
struct Life {
    child: Child,
    lines: Receiver<String>,
    log: Vec<String>,
}

impl Life {
    fn begin(home: &Home) -> Life {
        let config = home.config();
        let mut child =
            jarvis(&["run", "--config", config.to_str().unwrap()]).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = sync_channel(LINES_MAX);
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Life { child, lines, log: Vec::new() }
    }

    /// Blocks until the moment has come, or there is nothing left to die for.
    fn end(mut self, death: Death, over: impl Fn() -> bool) -> Vec<String> {
        let began = Instant::now();
        let mut seen = 0;
        loop {
            let (wait, line) = match death {
                Death::After(after) => (after.saturating_sub(began.elapsed()), None),
                Death::AtLine(word, count) => (Duration::from_millis(200), Some((word, count))),
            };
            match self.lines.recv_timeout(wait.min(Duration::from_millis(200))) {
                Ok(text) => {
                    seen += u64::from(line.is_some_and(|(word, _)| text.contains(word)));
                    self.log.push(text);
                    if line.is_some_and(|(_, count)| seen >= count) {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            if wait.is_zero() && line.is_none() || over() {
                break;
            }
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.log.extend(self.lines.iter());
        std::mem::take(&mut self.log)
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        // One that has ended cannot be killed, and need not be.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

const CRASHES: &str = "SELECT count(*) || '' FROM events WHERE condition = 'VM_CRASHED' AND type = 'alert' \
                       AND title NOT LIKE 'Resolved%'";
const RETURNS: &str = "SELECT count(*) || '' FROM events WHERE title LIKE 'Resolved: VM_CRASHED%'";

const TOLD: &str = "SELECT subject || ' ' || iif(title LIKE 'Resolved%', 'return', 'death') || ' ' || resolved \
                    || ' ' || incident_id FROM events WHERE condition = 'VM_CRASHED' AND type = 'alert' ORDER BY id";

/// Nothing says that the guests are to run, so nothing is done; that is told too, and once.
const BLOCKED: &str = "SELECT DISTINCT subject FROM events WHERE title = 'Remediation blocked: VM_CRASHED' \
                       GROUP BY incident_id HAVING count(*) > 1";

const ROWS: &str = "SELECT kind || ' ' || count(*) FROM journal WHERE kind IN ('opened', 'resolved') \
                    GROUP BY kind ORDER BY kind";

/// One daemon's story: lives that end badly while a phase lasts, and one that lasts until everything is told.
async fn live(home: Home, mut rng: Rng) -> (Home, Vec<String>) {
    let mut log = Vec::new();
    for (word, told, lives) in [("opened", CRASHES, 2), ("resolved", RETURNS, 1)] {
        let began = Instant::now();
        for life in 0..lives {
            let death = match (life, rng.next(3)) {
                // The first round comes 5 s after the start, and a verdict 2 s later.
                (0, 0) => Death::After(rng.millis(5_000, 8_000)),
                (1, 0) => Death::After(rng.millis(50, 4_000)),
                (_, 1) => Death::AtLine(word, 1 + rng.next(4)),
                _ => Death::After(rng.millis(6_000, 7_500)),
            };
            log.push(format!("---- {word}: until {death:?}"));
            let lived = Life::begin(&home);
            let ended = tokio::task::spawn_blocking(move || {
                lived.end(death, || began.elapsed() > Duration::from_secs(16))
            });
            log.extend(ended.await.unwrap());
        }
        log.push(format!("---- {word}: until all is told"));
        let life = Life::begin(&home);
        while count(&home.store(), told).await < GUESTS.len() && began.elapsed() < PHASE_MAX {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // In the middle of whatever it does, too.
        log.extend(
            tokio::task::spawn_blocking(move || life.end(Death::After(Duration::ZERO), || true))
                .await
                .unwrap(),
        );
        let told_count = count(&home.store(), told).await;
        assert!(told_count >= GUESTS.len(), "{told_count} {word} told:\n{}", log.join("\n"));
    }
    (home, log)
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_each_death_and_each_return_is_told_once() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(SEED);
    println!("SEED={seed}");
    let mut rng = Rng(seed);
    let guests: String =
        GUESTS.map(|id| format!("guest qemu/{id} web{id} on pve{} running\n", id % 2 + 1)).collect();
    let script = format!("nodes pve1 pve2\n{guests}every routine 2h\nat 9:00:00 end\n");
    let mut options = Options::script(&Script::parse(&script).unwrap()).unwrap();
    options.tokens = vec![TOKEN.parse().unwrap()];
    let cluster = Server::start(options).unwrap();

    // Everybody has seen the cluster once, and has it written down although there was nothing to tell.
    let homes: Vec<Home> = (0..DAEMONS).map(|number| Home::new(&number.to_string(), &cluster, "")).collect();
    let first: Vec<Life> = homes.iter().map(Life::begin).collect();
    let began = Instant::now();
    for home in &homes {
        while !seen_once(&home.store()).await {
            assert!(began.elapsed() < PHASE_MAX, "no first round");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    drop(first);

    let stores: Vec<PathBuf> = homes.iter().map(Home::store).collect();
    let daemons: Vec<_> =
        homes.into_iter().map(|home| tokio::spawn(live(home, Rng(rng.next(u64::MAX))))).collect();
    // Deaths, at seeded moments; then, when everybody has told all of them, returns.
    for guest in GUESTS {
        tokio::time::sleep(rng.millis(0, 700)).await;
        cluster.apply(&format!("crash qemu/{guest}")).unwrap();
    }
    let phase = Instant::now();
    for store in &stores {
        while count(store, CRASHES).await < GUESTS.len() && phase.elapsed() < PHASE_MAX {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    for guest in GUESTS {
        tokio::time::sleep(rng.millis(0, 700)).await;
        cluster.apply(&format!("start qemu/{guest}")).unwrap();
    }
    for daemon in daemons {
        let (home, log) = daemon.await.unwrap();
        check(&home, &log.join("\n")).await;
    }
}

async fn check(home: &Home, log: &str) {
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in ask(&home.store(), TOLD).await {
        let (subject, what) = line.split_once(' ').unwrap();
        told.entry(subject.to_owned()).or_default().push(what.to_owned());
    }
    let guests: Vec<String> = GUESTS.map(|id| format!("qemu/{id}")).collect();
    assert_eq!(told.keys().collect::<Vec<_>>(), guests.iter().collect::<Vec<_>>(), "{log}");
    for (guest, what) in told {
        let incident = what[0].rsplit(' ').next().unwrap();
        let expected = [format!("death 1 {incident}"), format!("return 1 {incident}")];
        assert_eq!(what, expected, "{guest}: told once each, and over\n{log}");
    }
    assert_eq!(
        ask(&home.store(), BLOCKED).await,
        Vec::<String>::new(),
        "told twice that nothing is done\n{log}"
    );
    let rows = ask(&home.store(), ROWS).await;
    let expected = [format!("opened {}", GUESTS.len()), format!("resolved {}", GUESTS.len())];
    assert_eq!(rows, expected, "{log}");
    assert_eq!(ask(&home.store(), "PRAGMA integrity_check").await, ["ok"]);
    verify(home).unwrap_or_else(|said| panic!("{said}\n{log}"));
    assert!(!log.contains("panicked"), "{log}");
}
