//! `kill -9` at every named point around record, call, task and verify: a guest crashes, Jarvis starts it, and dies at the
//! point. Whoever comes after it goes on: nothing is lost, nothing is told twice, and PVE is asked for one start only.
//!
//! Real processes and a real clock, as in `e2e.rs`. `CHAOS_ROUNDS=100` (`make chaos`) plays so many stories more, with deaths
//! at moments of a seed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by its panic")]

mod lives;
#[path = "kill_points/tell.rs"]
mod tell;

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sim::http::{Options, Server};
use sim::script::Script;
use tokio::sync::Semaphore;

use lives::{Home, Rng, TOKEN, ask, count, jarvis, seen_once, verify};

/// Another one is taken with `SEED=... make chaos`.
const SEED: u64 = 20_261_124;
/// Stories at a time: they mostly wait.
const TOGETHER: usize = 12;
/// How long a step of a story may take on a slow machine.
const STEP_MAX: Duration = Duration::from_secs(120);
/// How soon a daemon must serve again.
const AGAIN_WITHIN: Duration = Duration::from_secs(10);
/// Within which a life of chaos ends: until then a story is over that nobody disturbs.
const LIFE_MAX_MS: u64 = 14_000;

/// A start within some seconds, verified within some more; nothing of that is waited for longer than is allowed at least.
const RUNBOOK: &str = "[autonomy]\nlevel = 3\n[[runbook]]\nid = \"vm-crashed-restart\"\ngrace = \"0s\"\ncooldown = \"10s\"\n\
                       first_look = \"1s\"\nverify_for = \"2s\"\nverify_within = \"10s\"\n";

/// The deaths of a story, in their order, and how many attempts it takes: one that was never made is found to have failed.
const STORIES: [(&[&str], &str); 43] = [
    // What is recorded: decided and in nobody's hands, in the middle of its transaction, committed, told.
    (&["turn.stepped/opened"], "1"),
    (&["turn.entries/opened"], "1"),
    (&["turn.events/opened"], "1"),
    (&["turn.committed/opened"], "1"),
    (&["turn.told/opened"], "1"),
    (&["turn.stepped/intended"], "1"),
    (&["turn.entries/intended"], "1"),
    (&["turn.events/intended"], "1"),
    (&["turn.committed/intended"], "2"),
    (&["turn.told/intended"], "2"),
    (&["turn.stepped/acted"], "1"),
    (&["turn.entries/acted"], "1"),
    (&["turn.events/acted"], "1"),
    (&["turn.committed/acted"], "1"),
    (&["turn.told/acted"], "1"),
    (&["turn.stepped/verified"], "1"),
    (&["turn.entries/verified"], "1"),
    (&["turn.events/verified"], "1"),
    (&["turn.committed/verified"], "1"),
    (&["turn.told/verified"], "1"),
    (&["turn.stepped/resolved"], "1"),
    (&["turn.committed/resolved"], "1"),
    (&["turn.told/resolved"], "1"),
    // The call and its task.
    (&["act.redeemed"], "2"),
    (&["act.allowed"], "2"),
    (&["act.known"], "2"),
    (&["act.called"], "1"),
    (&["act.followed"], "1"),
    (&["act.exit"], "1"),
    (&["act.ended"], "1"),
    // The looks: why it stopped, whether it may be started.
    (&["look.begun/guests"], "1"),
    (&["look.answered/guests"], "1"),
    (&["look.begun/review"], "1"),
    (&["look.answered/review"], "1"),
    // A second death, on the way back from the first.
    (&["act.called", "start.restored"], "1"),
    (&["act.called", "start.controls"], "1"),
    (&["act.called", "checkpoint.made"], "1"),
    (&["act.called", "head.begun"], "1"),
    (&["act.called", "head.kept"], "1"),
    (&["act.called", "file.written"], "1"),
    (&["act.called", "turn.committed/acted"], "1"),
    (&["turn.committed/intended", "turn.committed/acted"], "2"),
    (&["act.redeemed", "act.called"], "2"),
];

/// When a life ends.
#[derive(Clone, Debug)]
enum Death {
    /// At this kill point, by itself.
    At(String),
    /// So long after its beginning.
    After(Duration),
}

/// One process, ended by its id.
struct Life(Child);

impl Life {
    /// The log is appended to the home's.
    fn begin(home: &Home, kill_at: Option<&str>) -> Life {
        Life::begin_with(home, kill_at, &[])
    }

    /// With something more in its environment.
    fn begin_with(home: &Home, kill_at: Option<&str>, more: &[(&str, &str)]) -> Life {
        let log = File::options().create(true).append(true).open(home.0.join("log")).unwrap();
        let mut command = jarvis(&["run", "--config", home.config().to_str().unwrap()]);
        command.stderr(log).env_remove("JARVIS_KILL_AT").envs(more.iter().copied());
        if let Some(point) = kill_at {
            command.env("JARVIS_KILL_AT", point);
        }
        Life(command.spawn().unwrap())
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        // One that has ended cannot be killed, and need not be.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

async fn within<F: Future<Output = bool>>(most: Duration, mut holds: impl FnMut() -> F) -> bool {
    let began = Instant::now();
    while !holds().await {
        if began.elapsed() > most {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    true
}

fn cluster() -> Server {
    let script = "nodes pve1 pve2\nguest qemu/101 web01 on pve1 running onboot\nat 9:00:00 end\n";
    let mut options = Options::script(&Script::parse(script).unwrap()).unwrap();
    options.tokens = vec![TOKEN.parse().unwrap()];
    Server::start(options).unwrap()
}

/// The starts that PVE was asked for, and whether the guest runs.
fn starts(cluster: &Server) -> (usize, bool) {
    let look = |cluster: &sim::cluster::Cluster| {
        let tasks = cluster.nodes()[&"pve1".parse().unwrap()].tasks.newest_first();
        let running = cluster.guests()[&"qemu/101".parse().unwrap()].process.is_some();
        (tasks.filter(|task| task.kind == "qmstart").count(), running)
    };
    cluster.with_cluster(look).unwrap()
}

const OVER: &str = "SELECT count(*) || '' FROM journal WHERE kind = 'resolved'";
const KINDS: &str = "SELECT kind || ' ' || count(*) FROM journal WHERE kind IN ('opened', 'intended', 'acted', 'verified', \
                     'resolved', 'escalated') GROUP BY kind ORDER BY kind";
const TOLD: &str = "SELECT iif(title LIKE 'Resolved%', 'return', 'death') || ' ' || resolved FROM events \
                    WHERE condition = 'VM_CRASHED' AND type = 'alert' ORDER BY id";
const ACTIONS: &str = "SELECT result || ' ' || attempt_number FROM autonomy_actions ORDER BY id";

/// One guest's story: it crashes, and who is to start it dies meanwhile. `attempts`: how many there must have been.
async fn story(name: &str, deaths: &[Death], attempts: Option<&str>) {
    let cluster = cluster();
    let home = Home::new(name, &cluster, RUNBOOK);
    let store = home.store();
    let log = || std::fs::read_to_string(home.0.join("log")).unwrap();
    let mut crashed = false;
    for death in deaths {
        let point = if let Death::At(point) = death { Some(point.as_str()) } else { None };
        let mut life = Life::begin(&home, point);
        if !crashed {
            // What is to be found gone must have been seen to be there.
            assert!(within(STEP_MAX, || seen_once(&store)).await, "{name}: no first round\n{}", log());
            cluster.apply("crash qemu/101").unwrap();
            crashed = true;
        }
        match death {
            Death::At(point) => {
                let mut status = None;
                let died = within(STEP_MAX, || {
                    status = life.0.try_wait().unwrap();
                    std::future::ready(status.is_some())
                });
                assert!(died.await, "{name}: {point} is never reached\n{}", log());
                assert_eq!(status.unwrap().signal(), Some(9), "{name}: it ended otherwise\n{}", log());
            }
            Death::After(after) => {
                tokio::time::sleep(*after).await;
                life.kill();
            }
        }
    }
    let before = log().len();
    let mut life = Life::begin(&home, None);
    let serves = within(AGAIN_WITHIN, || std::future::ready(log()[before..].contains("listening"))).await;
    assert!(serves, "{name}: no service again within {AGAIN_WITHIN:?}\n{}", log());
    let over = within(STEP_MAX, || async { count(&store, OVER).await > 0 }).await;
    assert!(over, "{name}: never over\n{}", log());
    life.kill();

    let log = log();
    assert_eq!(starts(&cluster), (1, true), "{name}: one start, and it runs\n{log}");
    assert_eq!(ask(&store, TOLD).await, ["death 1", "return 1"], "{name}: told once each\n{log}");
    let kinds = ask(&store, KINDS).await.join(", ");
    let actions = ask(&store, ACTIONS).await.join(", ");
    if let Some(attempts) = attempts {
        // One row for each attempt, and nothing about it twice.
        let n = attempts;
        let expected = format!("acted {n}, intended {n}, opened 1, resolved 1, verified {n}");
        assert_eq!(kinds, expected, "{name}\n{log}");
        let expected = if n == "1" { "success 1" } else { "failure 1, success 2" };
        assert_eq!(actions, expected, "{name}\n{log}");
    }
    assert!(kinds.contains("opened 1, resolved 1") && !kinds.contains("escalated"), "{name}: {kinds}\n{log}");
    assert_eq!(ask(&store, "PRAGMA integrity_check").await, ["ok"], "{name}");
    verify(&home).unwrap_or_else(|said| panic!("{name}: {said}\n{log}"));
    assert!(!log.contains("panicked"), "{name}\n{log}");
    cluster.shutdown().await;
}

async fn play(stories: Vec<(String, Vec<Death>, Option<&'static str>)>) {
    let seats = Arc::new(Semaphore::new(TOGETHER));
    let mut tasks = tokio::task::JoinSet::new();
    for (name, deaths, attempts) in stories {
        let seats = Arc::clone(&seats);
        tasks.spawn(async move {
            let _seat = seats.acquire_owned().await.unwrap();
            story(&name, &deaths, attempts).await;
        });
    }
    let mut failed = 0;
    while let Some(ended) = tasks.join_next().await {
        // It has said why.
        failed += u32::from(ended.is_err());
    }
    assert_eq!(failed, 0, "stories that failed, each by its own panic above");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_each_point_nothing_is_lost_and_nothing_done_twice() {
    let only = std::env::var("POINT").ok();
    let stories = STORIES.iter().enumerate().map(|(number, (points, attempts))| {
        let deaths = points.iter().map(|point| Death::At((*point).to_owned())).collect();
        (format!("{number}-{}", points.join("+").replace('/', "-")), deaths, Some(*attempts))
    });
    let wanted = |name: &str| only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    play(stories.filter(|(name, ..)| wanted(name)).collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_again_and_again_nothing_is_lost_and_nothing_done_twice() {
    let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (rounds, seed) = (variable("CHAOS_ROUNDS").unwrap_or(4), variable("SEED").unwrap_or(SEED));
    println!("SEED={seed} CHAOS_ROUNDS={rounds}");
    let mut rng = Rng(seed);
    let mut stories = Vec::new();
    for round in 0..rounds {
        let deaths: Vec<Death> =
            (0..=rng.next(3)).map(|_| Death::After(rng.millis(0, LIFE_MAX_MS))).collect();
        println!("round {round}: {deaths:?}");
        stories.push((format!("chaos-{round}"), deaths, None));
    }
    play(stories).await;
}
