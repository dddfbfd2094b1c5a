//! What tests of killed daemons begin with: a home with a configuration and a store, what the store holds, and chance.

#![allow(dead_code, reason = "each test uses a part")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use sim::http::Server;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Row};

pub(crate) const TOKEN: &str = "jarvis@pve!kill=33333333-3333-3333-3333-333333333333";

/// splitmix64.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    pub(crate) fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.next(to - from))
    }
}

/// A folder with a configuration and a store, removed at the end.
pub(crate) struct Home(pub(crate) PathBuf);

impl Home {
    /// `name` tells it from the others of this process; `more` goes to the end of the configuration.
    pub(crate) fn new(name: &str, cluster: &Server, more: &str) -> Home {
        let path = std::env::temp_dir().join(format!("jarvis-kill-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let (id, secret) = TOKEN.split_once('=').unwrap();
        let write = |name: &str, text: &str| {
            let file = path.join(name);
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
            file
        };
        let (ca, secret) = (write("ca.pem", cluster.ca_pem()), write("secret", secret));
        let config = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n[store]\npath = {:?}\n[tiers]\ncritical = \"2s\"\n\
             [[cluster]]\nname = \"lab\"\nendpoints = {:?}\ntoken_id = {id:?}\ntoken_secret_file = {secret:?}\n\
             ca_file = {ca:?}\n{more}",
            path.join("jarvis.db"),
            cluster.endpoints()
        );
        write("jarvis.toml", &config);
        Home(path)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.0.join("jarvis.toml")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.0.join("jarvis.db")
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// What a store holds, read from outside.
pub(crate) async fn ask(store: &Path, sql: &'static str) -> Vec<String> {
    let options = SqliteConnectOptions::new().filename(store).read_only(true);
    let mut conn = options.busy_timeout(Duration::from_secs(5)).connect().await.unwrap();
    let rows = sqlx::query(sql).fetch_all(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

pub(crate) async fn count(store: &Path, sql: &'static str) -> usize {
    ask(store, sql).await.first().unwrap().parse().unwrap()
}

pub(crate) fn jarvis(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jarvis"));
    command.args(arguments).env("JARVIS_PASSWORD", "kill").env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// Whether a daemon has seen its cluster once, and has it written down although there was nothing to tell.
pub(crate) async fn seen_once(store: &Path) -> bool {
    let tables = "SELECT count(*) || '' FROM sqlite_schema WHERE name = 'checkpoints'";
    store.exists()
        && count(store, tables).await == 1
        && count(store, "SELECT count(*) || '' FROM checkpoints").await == 1
}

/// The journal is whole, as the command says that checks it.
pub(crate) fn verify(home: &Home) -> Result<(), String> {
    let store = home.store();
    let verified = jarvis(&["audit", "verify", "--store", store.to_str().unwrap()]).output().unwrap();
    let said =
        String::from_utf8_lossy(&verified.stdout).into_owned() + &String::from_utf8_lossy(&verified.stderr);
    if verified.status.success() && said.contains("the journal is whole") { Ok(()) } else { Err(said) }
}
