//! A file of each schema that was ever shipped (6 was not, without 7): it opens, is brought up to date, and keeps every value that it had.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use daemon::record::{Store, verify};
use sqlx::{AssertSqlSafe, Connection, Row};

use super::help::{Folder, connect, lab, read_column, run};

/// Level, its file, the key and the journal's head beside it, its events, and its kill switch.
type Level = (u8, &'static str, Option<(&'static str, &'static str)>, usize, Option<&'static str>);

const LEVELS: [Level; 7] = [
    (0, include_str!("../data/original.sql"), None, 0, None),
    (1, include_str!("../data/schema/1.sql"), None, 0, None),
    (2, include_str!("../data/schema/2.sql"), None, 6, None),
    (
        3,
        include_str!("../data/schema/3.sql"),
        Some((include_str!("../data/schema/3.key"), include_str!("../data/schema/3.head"))),
        6,
        Some("true"),
    ),
    (
        4,
        include_str!("../data/schema/4.sql"),
        Some((include_str!("../data/schema/3.key"), include_str!("../data/schema/3.head"))),
        6,
        Some("true"),
    ),
    (
        5,
        include_str!("../data/schema/5.sql"),
        Some((include_str!("../data/schema/5.key"), include_str!("../data/schema/5.head"))),
        6,
        Some("true"),
    ),
    (
        7,
        include_str!("../data/schema/7.sql"),
        Some((include_str!("../data/schema/7.key"), include_str!("../data/schema/7.head"))),
        7,
        Some("true"),
    ),
];

/// Every table's columns and rows; each row as one text of all its values, as SQLite quotes them.
type Contents = BTreeMap<String, (Vec<String>, Vec<String>)>;

/// Of these columns, or of all that there are.
async fn contents(path: &Path, of: Option<&Contents>) -> Contents {
    let mut conn = connect(path).await;
    let tables =
        sqlx::query("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'");
    let tables: Vec<String> =
        tables.fetch_all(&mut conn).await.unwrap().iter().map(|row| row.get(0)).collect();
    let mut found = Contents::new();
    for table in tables {
        let columns = match of {
            Some(of) => match of.get(&table) {
                Some((columns, _)) => columns.clone(),
                None => continue,
            },
            None => {
                let columns = AssertSqlSafe(format!("SELECT name FROM pragma_table_info('{table}')"));
                let columns = sqlx::raw_sql(columns).fetch_all(&mut conn).await.unwrap();
                columns.iter().map(|row| row.get(0)).collect()
            }
        };
        let values: Vec<_> = columns.iter().map(|column| format!("quote(\"{column}\")")).collect();
        let rows = format!("SELECT {} FROM \"{table}\" ORDER BY 1", values.join(" || ' ' || "));
        let rows = sqlx::raw_sql(AssertSqlSafe(rows)).fetch_all(&mut conn).await.unwrap();
        found.insert(table, (columns, rows.iter().map(|row| row.get(0)).collect()));
    }
    conn.close().await.unwrap();
    found
}

#[tokio::test]
async fn a_file_of_each_schema_opens_and_keeps_what_it_had() {
    let newest = {
        let folder = Folder::new();
        let path = folder.path("fresh.db");
        Store::open(&path).await.unwrap().close().await;
        read_column(&path, "SELECT MAX(version) FROM jarvis_schema").await
    };
    // A migration that is added brings the fixture of what it finds, or this says so.
    let last = LEVELS.map(|(level, ..)| level.to_string()).into_iter().next_back();
    assert_eq!(last.as_slice(), newest, "each schema has its file");
    for (level, sql, beside, ours, kill_switch) in LEVELS {
        let folder = Folder::new();
        let path = folder.path("jarvis.db");
        run(&path, sql).await;
        if let Some((key, head)) = beside {
            fs::write(folder.path("jarvis.key"), key).unwrap();
            fs::write(folder.path("jarvis.db.head"), head).unwrap();
        }
        let before = contents(&path, None).await;
        assert!(before["events"].1.len() > ours, "schema {level} has rows");

        let store = Store::open(&path).await.unwrap();
        let events = store.get_recent_events(1_000).await.unwrap();
        assert_eq!(events.len(), before["events"].1.len(), "schema {level}");
        let of_us = events.iter().filter(|event| event.cluster.is_some());
        assert_eq!(of_us.count(), ours, "schema {level}: those of a cluster are ours");
        let preference = store.get_preference("autonomy.killSwitch").await.unwrap();
        if let Some(kill_switch) = kill_switch {
            assert_eq!(preference.map(|row| row.value).as_deref(), Some(kill_switch), "schema {level}");
        }
        let kept = store.load_checkpoint(&lab()).await.unwrap();
        assert_eq!(kept.is_some(), level >= 2, "schema {level}: where the engine goes on");
        assert!(store.close().await);

        let after = contents(&path, Some(&before)).await;
        for (table, (_, rows)) in &before {
            let now = &after[table].1;
            let gone: Vec<&String> = rows.iter().filter(|row| !now.contains(row)).collect();
            assert!(gone.is_empty(), "schema {level}: of {table} is gone or changed: {gone:#?}");
            // What was not signed is sealed by one row.
            let sealed = table == "journal" && now.len() == rows.len() + 1;
            let grew = table == "jarvis_schema" || sealed;
            assert!(grew || now.len() == rows.len(), "schema {level}: nothing was added to {table}");
        }
        let version = read_column(&path, "SELECT MAX(version) FROM jarvis_schema").await;
        assert_eq!(version, newest, "schema {level}");
        assert!(verify(&path).await.is_ok(), "schema {level}: the journal's chain holds");

        // The second start has nothing left to do.
        let store = Store::open(&path).await.unwrap();
        store.close().await;
        assert_eq!(contents(&path, Some(&before)).await, after, "schema {level}, opened again");
    }
}
