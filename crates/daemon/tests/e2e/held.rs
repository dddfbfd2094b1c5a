//! A foreign hand on the database: the cluster is watched all the same, and what happened is recorded afterwards.

use std::time::Duration;

use serde_json::json;
use sqlx::{ConnectOptions, Connection};

use super::{Folder, Jarvis, cluster, config, within};

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
