//! A foreign hand on the database: the cluster is watched all the same, and what happened is recorded afterwards.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use sqlx::{ConnectOptions, Connection};

use super::{Folder, Jarvis, cluster, config, remedy, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_database_does_not_blind() {
    let (folder, cluster) = (Folder::new("locked"), cluster());
    let config = config(&folder, &cluster, cluster.ca_pem());
    let jarvis = Jarvis::run(&folder, &config).await;
    let sees = || async { (jarvis.get("/api/monitor/status").await["running"] == json!(true)).then_some(()) };
    within(Duration::from_secs(20), sees).await.unwrap();

    let path = folder.0.join("jarvis.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let mut hand = options.connect().await.unwrap();
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut hand).await.unwrap();
    cluster.apply("crash qemu/100").unwrap();
    // Said at once in the log, although nothing can be recorded yet; and it goes on: the next one is seen as well.
    jarvis.logged("opened    VM_CRASHED         qemu/100").await;
    jarvis.logged("the store does not take what is to be told").await;
    cluster.apply("start qemu/100 by alice@pve").unwrap();
    jarvis.logged("resolved  VM_CRASHED         qemu/100").await;
    sqlx::query("ROLLBACK").execute(&mut hand).await.unwrap();
    hand.close().await.unwrap();

    let over = jarvis.told("Resolved- VM_CRASHED").await;
    let crash = jarvis.told("(100) crashed").await;
    assert!(crash["timestamp"].as_str().unwrap() < over["timestamp"].as_str().unwrap(), "{crash} {over}");
    assert_eq!(crash["resolved"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_taken_away_is_said_to_be_gone() {
    let (folder, cluster) = (Folder::new("taken"), cluster());
    let config = config(&folder, &cluster, cluster.ca_pem());
    let jarvis = Jarvis::run(&folder, &config).await;
    let sees = || async { (jarvis.get("/api/monitor/status").await["running"] == json!(true)).then_some(()) };
    within(Duration::from_secs(20), sees).await.unwrap();
    let (path, away) = (folder.0.join("jarvis.db"), folder.0.join("away.db"));
    std::fs::rename(&path, &away).unwrap();
    cluster.apply("crash qemu/100").unwrap();
    jarvis.logged("was removed or replaced while jarvis runs").await;
    let health = jarvis.get("/api/health").await;
    assert_eq!(health["components"]["store"]["status"], "down", "{health}");
    // The very file is back: nothing is lost.
    std::fs::rename(&away, &path).unwrap();
    jarvis.told("(100) crashed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_database_is_said_to_be_damaged() {
    let (folder, cluster) = (Folder::new("damaged"), cluster());
    let config = config(&folder, &cluster, cluster.ca_pem());
    let mut jarvis = Jarvis::run(&folder, &config).await;
    jarvis.signal("-TERM");
    jarvis.child.wait().unwrap();
    let path = folder.0.join("jarvis.db");
    let mut hand = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    let root = "SELECT rootpage FROM sqlite_schema WHERE name = 'cluster_snapshots'";
    let page: i64 = sqlx::query_scalar(root).fetch_one(&mut hand).await.unwrap();
    let size: i64 = sqlx::query_scalar("PRAGMA page_size").fetch_one(&mut hand).await.unwrap();
    hand.close().await.unwrap();
    let (page, size) = (usize::try_from(page).unwrap(), usize::try_from(size).unwrap());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[(page - 1) * size..page * size].fill(0xA5);
    std::fs::write(&path, bytes).unwrap();

    let jarvis = Jarvis::run(&folder, &config).await;
    let told = jarvis.told("Database damaged: its pages do not fit: ").await;
    assert_eq!((&told["severity"], &told["resolved"]), (&json!("critical"), &json!(false)));
    let health = jarvis.get("/api/health").await;
    assert_eq!(health["components"]["store"]["status"], "damaged", "{health}");
    assert_eq!(health["status"], "degraded");
    let own = jarvis.get("/api/v1/health").await;
    assert!(own["store"]["damage"].is_string() && own["store"]["status"] == "degraded", "{own}");
    jarvis.logged("the store is damaged (").await;
}

/// What keeps a store from being written, and how it ends.
enum Fault {
    /// Another process holds it.
    Locked(sqlx::SqliteConnection),
    /// No file may grow, as on a full disk.
    Full,
    /// It is somewhere else.
    Away,
    /// Its file system takes no writes any more, as long as this file is there.
    ReadOnly(PathBuf),
}

fn limit(jarvis: &Jarvis, bytes: &str) {
    let id = jarvis.child.id().to_string();
    let fsize = format!("--fsize={bytes}:unlimited");
    assert!(std::process::Command::new("prlimit").args(["--pid", &id, &fsize]).status().unwrap().success());
}

async fn break_store(jarvis: &Jarvis, path: &Path, what: &str) -> Fault {
    match what {
        "locked" => {
            let mut hand = sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap();
            sqlx::query("BEGIN EXCLUSIVE").execute(&mut hand).await.unwrap();
            Fault::Locked(hand)
        }
        "full" => {
            let log = std::fs::metadata(path.with_extension("db-wal")).unwrap().len();
            limit(jarvis, &log.to_string());
            Fault::Full
        }
        "away" => {
            std::fs::rename(path, path.with_extension("away")).unwrap();
            Fault::Away
        }
        "read-only" => {
            let flag = path.with_extension("read-only");
            std::fs::write(&flag, "").unwrap();
            Fault::ReadOnly(flag)
        }
        other => panic!("no such fault: {other}"),
    }
}

async fn mend_store(jarvis: &Jarvis, path: &Path, fault: Fault) {
    match fault {
        Fault::Locked(mut hand) => {
            sqlx::query("ROLLBACK").execute(&mut hand).await.unwrap();
            hand.close().await.unwrap();
        }
        Fault::Full => limit(jarvis, "unlimited"),
        Fault::ReadOnly(flag) => std::fs::remove_file(flag).unwrap(),
        Fault::Away => std::fs::rename(path.with_extension("away"), path).unwrap(),
    }
}

/// What makes a file system read-only for a program that has it open; built by the compiler that builds SQLite.
fn read_only(folder: &Folder) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/read_only.c");
    let built = folder.0.join("read_only.so");
    let mut cc = std::process::Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o"]).arg(&built).arg(&source).arg("-ldl");
    assert!(cc.status().unwrap().success(), "cc, which builds SQLite, builds this too");
    built
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_recorded_is_not_done_until_it_can_be() {
    for what in ["locked", "full", "away", "read-only"] {
        let (folder, cluster) = (Folder::new(&format!("not-recorded-{what}")), remedy::cluster());
        let config = config(&folder, &cluster, cluster.ca_pem());
        let text = std::fs::read_to_string(&config).unwrap();
        let text = format!(
            "{text}[autonomy]\nlevel = 3\n[[runbook]]\nid = \"vm-crashed-restart\"\ngrace = \"0s\"\n\
             first_look = \"1s\"\nverify_for = \"2s\"\n"
        );
        let config = folder.write("jarvis.toml", &text);
        let path = folder.0.join("jarvis.db");
        let (shim, flag) = (read_only(&folder), path.with_extension("read-only"));
        let more = [("LD_PRELOAD", shim.as_path()), ("READ_ONLY_WHEN", flag.as_path())];
        let jarvis = Jarvis::run_with(&folder, &config, &more).await;
        jarvis.seeing().await;
        let fault = break_store(&jarvis, &path, what).await;
        cluster.apply("crash qemu/101").unwrap();
        // It is said, and said why nothing is done.
        jarvis.logged("opened    VM_CRASHED         qemu/101").await;
        jarvis.logged("the store does not take what is to be told").await;
        jarvis.logged("nothing can be recorded (the store fails), so nothing is done").await;
        assert_eq!(remedy::starts(&cluster), 0, "{what}: {}", jarvis.text());
        mend_store(&jarvis, &path, fault).await;
        // By itself, and once.
        jarvis.told("Resolved- VM_CRASHED").await;
        assert_eq!(remedy::starts(&cluster), 1, "{what}: {}", jarvis.text());
        let rows = jarvis.get("/api/monitor/actions").await;
        assert_eq!(rows["actions"][0]["result"], "success", "{what}: {rows}");
    }
}
