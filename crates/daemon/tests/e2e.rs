//! The binary as its own process against the simulated cluster's HTTPS: what an operator would see.
//!
//! The only tests with a real clock. Each waits for what it expects, and only as long as that may take.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by its panic")]

#[path = "e2e/acts.rs"]
mod acts;
#[path = "e2e/held.rs"]
mod held;
#[path = "e2e/remedy.rs"]
mod remedy;
#[path = "e2e/stops.rs"]
mod stops;
#[path = "e2e/tape.rs"]
mod tape;
#[path = "e2e/temperature.rs"]
mod temperature;
#[path = "e2e/two.rs"]
mod two;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sim::http::{Options, Server};

const TOKEN: &str = "jarvis@pve!e2e=22222222-2222-2222-2222-222222222222";

/// A folder for one test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("jarvis-e2e-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Left over it is a folder in the system's temporary one; a panic here would hide the test's own.
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn cluster() -> Server {
    let mut options = Options::generated(2, 6, 1).unwrap();
    options.tokens = vec![TOKEN.parse().unwrap()];
    options.delay_401 = Duration::from_millis(100);
    Server::start(options).unwrap()
}

/// A configuration for the cluster's endpoints, polling as fast as is allowed.
fn config(folder: &Folder, cluster: &Server, ca_pem: &str) -> PathBuf {
    let ca = folder.write("ca.pem", ca_pem);
    let (id, secret) = TOKEN.split_once('=').unwrap();
    let secret = folder.write("secret", secret);
    let store = folder.0.join("jarvis.db");
    folder.write(
        "jarvis.toml",
        &format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n[store]\npath = {store:?}\n[tiers]\ncritical = \"2s\"\n\
             [[cluster]]\nname = \"lab\"\nendpoints = {:?}\ntoken_id = {id:?}\ntoken_secret_file = {secret:?}\n\
             ca_file = {ca:?}\n",
            cluster.endpoints()
        ),
    )
}

/// A running `jarvis`, ended by its id when the test ends.
struct Jarvis {
    child: Child,
    log: PathBuf,
    url: String,
    client: reqwest::Client,
    token: String,
}

impl Jarvis {
    fn command(arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jarvis"));
        command.args(arguments).env("JARVIS_PASSWORD", "e2e").env("NO_COLOR", "1").stdin(Stdio::null());
        command
    }

    async fn run(folder: &Folder, config: &Path) -> Jarvis {
        Jarvis::run_with(folder, config, &[]).await
    }

    /// With something more in its environment.
    async fn run_with(folder: &Folder, config: &Path, more: &[(&str, &Path)]) -> Jarvis {
        let log = folder.0.join("log");
        let file = std::fs::File::create(&log).unwrap();
        let config = config.to_str().unwrap();
        let mut command = Jarvis::command(&["run", "--config", config]);
        let child = command.envs(more.iter().copied()).stderr(file).spawn().unwrap();
        let client = reqwest::Client::builder().tls_backend_preconfigured(no_tls()).build().unwrap();
        let mut jarvis = Jarvis { child, log, url: String::new(), client, token: String::new() };
        let line = jarvis.logged("listening").await;
        let address = line.split("address=").nth(1).unwrap().trim();
        jarvis.url = format!("http://{address}");
        let reply = jarvis.client.post(format!("{}/api/auth/login", jarvis.url));
        let body = json!({ "password": "e2e" }).to_string();
        let reply = reply.header("content-type", "application/json").body(body).send().await.unwrap();
        let reply: Value = serde_json::from_str(&reply.text().await.unwrap()).unwrap();
        jarvis.token = reply["token"].as_str().unwrap().to_owned();
        jarvis
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// The first line of the log that holds `words`.
    async fn logged(&self, words: &str) -> String {
        let found = || self.text().lines().find(|line| line.contains(words)).map(str::to_owned);
        match within(Duration::from_secs(60), || async { found() }).await {
            Some(line) => line,
            None => panic!("no `{words}` in the log:\n{}", self.text()),
        }
    }

    async fn get(&self, path: &str) -> Value {
        let asked = self.client.get(format!("{}{path}", self.url)).bearer_auth(&self.token);
        serde_json::from_str(&asked.send().await.unwrap().text().await.unwrap()).unwrap()
    }

    /// The newest event whose title is this.
    async fn told(&self, title: &str) -> Value {
        let look = || async {
            let events = self.get("/api/memory/events?limit=100").await;
            let events = events["events"].as_array().unwrap().clone();
            events.into_iter().find(|event| event["summary"].as_str().unwrap().contains(title))
        };
        match within(Duration::from_secs(90), look).await {
            Some(event) => event,
            None => panic!("nothing told of `{title}`:\n{}", self.text()),
        }
    }

    fn signal(&self, signal: &str) {
        let killed = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(killed.success());
    }
}

impl Drop for Jarvis {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal("-KILL");
        }
        self.child.wait().ok();
    }
}

/// The test's client speaks plain HTTP to loopback; the library wants a TLS configuration all the same.
fn no_tls() -> rustls::ClientConfig {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}

/// Looks ten times a second until there is something to see.
async fn within<T, L: Future<Output = Option<T>>>(limit: Duration, look: impl Fn() -> L) -> Option<T> {
    let until = Instant::now() + limit;
    while Instant::now() < until {
        if let Some(found) = look().await {
            return Some(found);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_becomes_an_event_and_a_restart_goes_on() {
    let (folder, cluster) = (Folder::new("crash"), cluster());
    let config = config(&folder, &cluster, cluster.ca_pem());
    let mut jarvis = Jarvis::run(&folder, &config).await;
    jarvis.logged("[Monitor] Autonomous monitoring service started").await;
    within(Duration::from_secs(20), || async {
        (jarvis.get("/api/monitor/status").await["running"] == json!(true)).then_some(())
    })
    .await
    .expect("the first round sees the cluster");

    cluster.apply("crash qemu/100").unwrap();
    let event = jarvis.told("(100) crashed").await;
    assert_eq!((&event["severity"], &event["resolved"]), (&json!("error"), &json!(false)));
    assert_eq!(event["details"]["currentState"], "stopped");

    // Killed at any moment: what was told is there, and an open incident stays open, once.
    jarvis.signal("-KILL");
    jarvis.child.wait().unwrap();
    let jarvis = Jarvis::run(&folder, &config).await;
    jarvis.logged("going on from the recorded state").await;
    cluster.apply("start qemu/100 by alice@pve").unwrap();
    jarvis.told("Resolved- VM_CRASHED").await;
    let events = jarvis.get("/api/memory/events?limit=100").await;
    let crashed = events["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["summary"].as_str().unwrap().contains("(100) crashed"));
    let resolved: Vec<&Value> = crashed.map(|event| &event["resolved"]).collect();
    assert_eq!(resolved, [&json!(true)], "told once, and over");

    // Another process must not write beside this one.
    let second = Jarvis::command(&["run", "--config", config.to_str().unwrap()]).output().unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("another"), "the second says why it does not start: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_stops_it_in_two_seconds() {
    let (folder, cluster) = (Folder::new("signal"), cluster());
    let config = config(&folder, &cluster, cluster.ca_pem());
    for (row, signal) in ["-TERM", "-INT", "-HUP"].into_iter().enumerate() {
        let mut jarvis = Jarvis::run(&folder, &config).await;
        if row > 0 {
            // A clean stop writes down where to go on, also when nothing was told before it.
            jarvis.logged("going on from the recorded state").await;
        }
        // In the middle of a question that is never answered.
        cluster.apply("api hang").unwrap();
        tokio::time::sleep(Duration::from_secs(6)).await;
        let asked = Instant::now();
        jarvis.signal(signal);
        let status = jarvis.child.wait().unwrap();
        assert!(asked.elapsed() < Duration::from_secs(2), "{signal}: {:?}", asked.elapsed());
        assert!(status.success(), "{signal}: {status}\n{}", jarvis.text());
        assert!(jarvis.text().contains("[Monitor] Autonomous monitoring service stopped"), "{signal}");
        cluster.apply("api back").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_pve_does_it_is_told_and_the_next_good_poll_goes_on() {
    let other = cluster();
    #[rustfmt::skip]
    let table: [(&str, &str, &[&str]); 9] = [
        // the fault,    the cause,                                  what the message must say
        ("unreachable", "no endpoint answers",                      &["127.0.0.1:"]),
        ("reset",       "no endpoint answers",                      &["127.0.0.1:"]),
        ("hang",        "no endpoint answers",                      &["longer than 10"]),
        ("refused",     "no endpoint answers",                      &["refused"]),
        ("denied",      "the token is refused",                     &["401", "check that the token exists"]),
        ("empty",       "the token has no rights",                  &["is empty"]),
        ("garbage",     "the answers cannot be read",               &["cannot be read at"]),
        ("truncated",   "no endpoint answers",                      &["while reading the answer", "closed the connection"]),
        ("certificate", "the certificate is not the trusted one",   &["not trusted"]),
    ];
    let rows = table.into_iter().map(|(fault, cause, words)| {
        let wrong_ca = other.ca_pem().to_owned();
        tokio::spawn(async move {
            let (folder, cluster) = (Folder::new(fault), cluster());
            let ca = if fault == "certificate" { &wrong_ca } else { cluster.ca_pem() };
            let config = config(&folder, &cluster, ca);
            let jarvis = Jarvis::run(&folder, &config).await;
            if fault != "certificate" {
                // It has to know the cluster to see that a list is empty.
                let sees =
                    || async { (jarvis.get("/api/monitor/status").await["running"] == true).then_some(()) };
                within(Duration::from_secs(20), sees).await.unwrap();
                cluster.apply(&format!("api {fault}")).unwrap();
            }
            let event = jarvis.told("Jarvis cannot see cluster lab").await;
            let summary = event["summary"].as_str().unwrap().to_owned();
            for word in [cause].iter().chain(words) {
                assert!(summary.contains(word), "{fault}: `{word}` is not in `{summary}`");
            }
            assert_eq!(jarvis.get("/api/monitor/status").await["running"], false, "{fault}");
            if fault != "certificate" {
                cluster.apply("api back").unwrap();
                jarvis.told("Resolved- MONITOR_BLIND").await;
            }
            let events = jarvis.get("/api/memory/events?limit=100").await;
            assert!(!events.to_string().contains("crashed"), "{fault}: blindness is no crash: {events}");
            let log = jarvis.text();
            assert!(!log.contains("panicked"), "{fault}: {log}");
            let secret = TOKEN.split('=').nth(1).unwrap();
            assert!(
                !log.contains(secret) && !events.to_string().contains(secret),
                "{fault}: the secret shows"
            );
            let memory = std::fs::read_to_string(format!("/proc/{}/status", jarvis.child.id())).unwrap();
            let peak = memory.lines().find(|line| line.starts_with("VmHWM")).unwrap();
            let peak: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
            assert!(peak < 200_000, "{fault}: {peak} kB at the peak");
            cluster.shutdown().await;
        })
    });
    let rows: Vec<_> = rows.collect();
    for row in rows {
        row.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_first_endpoint_is_down_the_next_one_is_asked_within_a_poll() {
    let (folder, cluster) = (Folder::new("failover"), cluster());
    let config = config(&folder, &cluster, cluster.ca_pem());
    let first = cluster.addresses().keys().next().unwrap().clone();
    let elsewhere = cluster
        .with_cluster(|cluster| {
            let mut guests = cluster.guests().iter();
            guests
                .find(|(id, guest)| guest.spec.node != first && id.to_string().starts_with("qemu"))
                .unwrap()
                .0
                .vmid
        })
        .unwrap();
    let jarvis = Jarvis::run(&folder, &config).await;
    cluster.apply(&format!("api {first} unreachable")).unwrap();
    jarvis.logged("asking another endpoint from now on").await;
    let sees = || async { (jarvis.get("/api/monitor/status").await["running"] == true).then_some(()) };
    within(Duration::from_secs(20), sees).await.unwrap();
    cluster.apply(&format!("crash qemu/{elsewhere}")).unwrap();
    jarvis.told(&format!("({elsewhere}) crashed")).await;
    let events = jarvis.get("/api/memory/events?limit=100").await;
    assert!(!events.to_string().contains("cannot see"), "never blind: {events}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minority_is_not_believed_while_the_majority_can_be_asked() {
    // Two looks at one cluster: the first endpoint was cut off from it, the second is of the majority.
    let (folder, cut_off, majority) = (Folder::new("minority"), cluster(), cluster());
    cut_off.apply("quorum lost").unwrap();
    let config = config(&folder, &cut_off, cut_off.ca_pem());
    let first = cut_off.endpoints().remove(0);
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace(
        &format!("{:?}", cut_off.endpoints()),
        &format!("{:?}", [first, majority.endpoints().remove(0)]),
    );
    let ca = text.lines().find(|line| line.starts_with("ca_file")).unwrap().to_owned();
    std::fs::write(&config, text.replace(&ca, "insecure = true")).unwrap();
    let jarvis = Jarvis::run(&folder, &config).await;
    jarvis.logged("the endpoint has no quorum; asking the next one").await;
    let sees = || async { (jarvis.get("/api/monitor/status").await["running"] == true).then_some(()) };
    within(Duration::from_secs(20), sees).await.unwrap();
    majority.apply("crash qemu/100").unwrap();
    jarvis.told("(100) crashed").await;
    let events = jarvis.get("/api/memory/events?limit=100").await.to_string();
    assert!(!events.contains("quorum") && !events.contains("offline"), "{events}");
}

#[test]
fn a_mistyped_log_level_is_refused_and_an_empty_one_is_none() {
    let folder = Folder::new("log");
    let config = folder.write("jarvis.toml", "[tiers]\n");
    #[rustfmt::skip]
    let table = [
        ("a typo",          "trce",                       "jarvis: JARVIS_LOG trce: `trce` is no level; write one of off, error"),
        ("a level",         "warn",                       "cluster"),
        ("by module",       "info,daemon::observe=debug", "cluster"),
        ("empty",           "",                           "cluster"),
    ];
    for (row, filter, expected) in table {
        let arguments = ["check-config", "--config", config.to_str().unwrap()];
        let ended = Jarvis::command(&arguments).env("JARVIS_LOG", filter).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(said.contains(expected), "{row}: {said}");
    }
    for arguments in [["--log", "trce", "openapi"], ["openapi", "--log", "trce"]] {
        let ended = Jarvis::command(&arguments).env("JARVIS_LOG", "info").output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(said.starts_with("jarvis: --log trce: `trce` is no level"), "{said}");
    }
}

#[test]
fn help_is_given_however_it_is_asked_for() {
    let shown = |arguments: &[&str]| {
        let ended = Jarvis::command(arguments).output().unwrap();
        assert!(ended.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ended.stderr));
        String::from_utf8(ended.stdout).unwrap()
    };
    let all = shown(&["help"]);
    assert!(all.contains("check-config"), "{all}");
    assert_eq!(shown(&["help", "--help"]), all);
    assert_eq!(shown(&["help", "run", "-h"]), shown(&["help", "run"]));
}

#[test]
fn a_typo_in_the_configuration_is_named_with_its_place() {
    let folder = Folder::new("typo");
    let config = folder.write("jarvis.toml", "[tiers]\ncritcal = \"12s\"\n");
    let ended = Jarvis::command(&["check-config", "--config", config.to_str().unwrap()]).output().unwrap();
    let mut said = String::from_utf8_lossy(&ended.stderr).into_owned();
    (&ended.stdout[..]).read_to_string(&mut said).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    for words in ["jarvis.toml:2", "critcal", "critical"] {
        assert!(said.contains(words), "`{words}` is not in: {said}");
    }
}
