//! What a foreign hand can do to the journal, and what `jarvis audit verify` says of it: before the daemon's next start, and
//! after it, because that goes on.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use daemon::record::{Kind, NewEntry, Store, StoreError, verify};
use expect_test::expect;
use sha2::{Digest, Sha256};
use sqlx::{Connection, Row};

use super::super::help::{Folder, at, connect, read_column, run};

fn entry(day: usize) -> NewEntry {
    NewEntry {
        at: at(&format!("2026-11-{day:02}T12:00:00Z")),
        cluster: Some("lab".into()),
        kind: Kind::Noted,
        entry: format!("{{\"words\":\"row {day}\"}}"),
        told: None,
        about: None,
        action: None,
    }
}

async fn save(path: &Path, days: std::ops::RangeInclusive<usize>) {
    let store = Store::open(path).await.unwrap();
    store.save_turn(days.map(entry).collect(), vec![], None).await.unwrap();
    assert!(store.close().await);
}

/// Ten rows, of which three were pruned. `old` beside them holds what was there when there were eight.
async fn ten_rows(folder: &Folder) -> PathBuf {
    let path = folder.path("jarvis.db");
    save(&path, 1..=8).await;
    let store = Store::open(&path).await.unwrap();
    assert_eq!(store.cleanup_old_journal(1, at("2026-11-04T18:00:00Z")).await.unwrap(), 3);
    assert!(store.close().await);
    keep(folder);
    save(&path, 9..=10).await;
    path
}

/// Ten rows, of which the first seven are of before rows were signed, and the eighth says so. `old` holds what there was
/// with seven.
async fn ten_rows_of_two_versions(folder: &Folder) -> PathBuf {
    let path = of_before(folder).await;
    keep(folder);
    save(&path, 28..=29).await;
    path
}

/// Seven rows of a version that did not sign them.
async fn of_before(folder: &Folder) -> PathBuf {
    let path = folder.path("jarvis.db");
    run(&path, include_str!("../data/schema/3.sql")).await;
    fs::write(folder.path("jarvis.key"), include_str!("../data/schema/3.key")).unwrap();
    fs::write(folder.path("jarvis.db.head"), include_str!("../data/schema/3.head")).unwrap();
    path
}

fn keep(folder: &Folder) {
    fs::create_dir(folder.path("old")).unwrap();
    for file in ["jarvis.db", "jarvis.db.head"] {
        fs::copy(folder.path(file), folder.path("old").join(file)).unwrap();
    }
}

/// One thing that a hand does.
#[derive(Clone, Copy)]
enum Do {
    /// To the database.
    Sql(&'static str),
    /// Gives each row from here on the place that it has, and a hash that anybody can compute.
    Rehash(i64),
    /// Writes a row after the last one, with a hash that anybody can compute.
    Append,
    /// The same, signed with a key of one's own.
    AppendSigned,
    /// Takes a file away.
    Remove(&'static str),
    /// Puts a file back as it was.
    PutBack(&'static str),
    /// Puts other text into a file.
    Replace(&'static str, &'static str, &'static str),
    /// Another key, or another store's head.
    Anothers(&'static str),
}

impl Do {
    async fn to(self, folder: &Folder, path: &Path) {
        match self {
            Do::Sql(sql) => run(path, sql).await,
            Do::Rehash(from) => rehash(path, from).await,
            Do::Append => {
                append(path).await;
                rehash(path, i64::MAX).await;
            }
            Do::AppendSigned => {
                append(path).await;
                run(
                    path,
                    "UPDATE journal SET hash = randomblob(32) WHERE seq = (SELECT max(seq) FROM journal)",
                )
                .await;
            }
            Do::Remove(file) => fs::remove_file(folder.path(file)).unwrap(),
            Do::PutBack(file) => drop(fs::copy(folder.path("old").join(file), folder.path(file)).unwrap()),
            Do::Replace(file, from, to) => {
                let text = fs::read_to_string(folder.path(file)).unwrap();
                assert!(text.contains(from), "{text}");
                fs::write(folder.path(file), text.replace(from, to)).unwrap();
            }
            Do::Anothers(file) => {
                let other = Folder::new();
                save(&other.path("jarvis.db"), 1..=10).await;
                fs::copy(other.path(file), folder.path(file)).unwrap();
            }
        }
    }
}

async fn append(path: &Path) {
    run(
        path,
        "INSERT INTO journal SELECT seq + 1, at_ms, cluster, 'noted', '{\"words\":\"forged\"}', zeroblob(32), zeroblob(32) \
         FROM journal ORDER BY seq DESC LIMIT 1",
    )
    .await;
    rehash(path, i64::MAX).await;
}

/// The last row at least.
async fn rehash(path: &Path, from: i64) {
    let mut conn = connect(path).await;
    let rows = sqlx::query("SELECT seq, at_ms, cluster, kind, entry, prev FROM journal ORDER BY seq");
    let rows = rows.fetch_all(&mut conn).await.unwrap();
    let last: i64 = rows.last().unwrap().get("seq");
    let mut prev: Vec<u8> = rows[0].get("prev");
    for row in &rows {
        let (seq, cluster): (i64, Option<String>) = (row.get("seq"), row.get("cluster"));
        let own: Vec<u8> = if seq >= from.min(last) { prev.clone() } else { row.get("prev") };
        let mut sum = Sha256::new();
        sum.update(&own);
        sum.update(seq.to_be_bytes());
        sum.update(row.get::<i64, _>("at_ms").to_be_bytes());
        sum.update([u8::from(cluster.is_some())]);
        for text in [cluster.unwrap_or_default(), row.get("kind"), row.get("entry")] {
            sum.update((text.len() as u64).to_be_bytes());
            sum.update(text.as_bytes());
        }
        prev = sum.finalize().to_vec();
        if seq >= from.min(last) {
            let put = sqlx::query("UPDATE journal SET prev = ?2, hash = ?3 WHERE seq = ?1");
            put.bind(seq).bind(own).bind(&prev).execute(&mut conn).await.unwrap();
        }
    }
    conn.close().await.unwrap();
}

async fn verified(folder: &Folder, path: &Path) -> String {
    let said = match verify(path).await {
        Ok(verified) => folder.strip(&verified.to_string()),
        Err(error) => folder.strip(&format!("{:#}\n", anyhow::Error::from(error))),
    };
    let said = said.replace("DIR/jarvis.db: ", "").replace("the journal does not fit: ", "NO: ");
    let said =
        said.replace("the journal is whole since, but was broken before a start of the daemon: ", "BROKEN: ");
    without_times(said.trim_end())
}

/// Some rows are written at the moment of the test.
fn without_times(said: &str) -> String {
    let lines = said.lines().map(|line| {
        let mut words: Vec<&str> = Vec::new();
        for word in line.split(' ') {
            if word.starts_with("20") && word.trim_end_matches([')', ':']).ends_with('Z') {
                words.pop();
            } else {
                words.push(word);
            }
        }
        words.join(" ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A line for what is said of each attack, and one for what is said after the daemon was started again.
macro_rules! table {
    ($store:ident, $attacks:expr) => {{
        let mut said = String::new();
        for (name, deeds) in $attacks {
            let folder = Folder::new();
            let path = $store(&folder).await;
            assert!(verify(&path).await.is_ok(), "{name}");
            for deed in deeds {
                deed.to(&folder, &path).await;
            }
            writeln!(said, "{name}\n    {}", verified(&folder, &path).await.replace('\n', "\n    ")).unwrap();
            match Store::open(&path).await {
                Ok(store) => {
                    assert!(store.close().await);
                    writeln!(said, "  then  {}", verified(&folder, &path).await.replace('\n', "\n    "))
                        .unwrap();
                }
                Err(error) => writeln!(said, "  then not opened: {error}").unwrap(),
            }
        }
        said
    }};
}

const LAST_TWO: Do = Do::Sql("DELETE FROM journal WHERE seq > 8");

#[tokio::test]
async fn each_attack_on_signed_rows_and_what_is_said_of_it() {
    #[rustfmt::skip]
    let attacks: [(&str, Vec<Do>); 22] = [
        ("a row edited",                        vec![Do::Sql("UPDATE journal SET entry = '{}' WHERE seq = 6")]),
        ("a row edited, all after it rehashed", vec![Do::Sql("UPDATE journal SET entry = '{}' WHERE seq = 6"), Do::Rehash(6)]),
        ("the last row edited",                 vec![Do::Sql("UPDATE journal SET entry = '{}' WHERE seq = 10"), Do::Rehash(10)]),
        ("a row removed",                       vec![Do::Sql("DELETE FROM journal WHERE seq = 6")]),
        ("a row removed, the rest moved up",    vec![Do::Sql("DELETE FROM journal WHERE seq = 6; UPDATE journal SET seq = seq - 1 WHERE seq > 6"), Do::Rehash(6)]),
        ("a row inserted",                      vec![Do::Sql("UPDATE journal SET seq = -seq - 1 WHERE seq > 6; UPDATE journal SET seq = -seq WHERE seq < 0; INSERT INTO journal SELECT 7, at_ms, cluster, kind, entry, prev, hash FROM journal WHERE seq = 6"), Do::Rehash(7)]),
        ("two rows swapped",                    vec![Do::Sql("UPDATE journal SET seq = -6 WHERE seq = 6; UPDATE journal SET seq = 6 WHERE seq = 7; UPDATE journal SET seq = 7 WHERE seq = -6"), Do::Rehash(6)]),
        ("a signature of another row",          vec![Do::Sql("UPDATE journal SET hash = (SELECT hash FROM journal WHERE seq = 5) WHERE seq = 6")]),
        ("the tail cut",                        vec![LAST_TWO]),
        ("the tail cut and written anew",       vec![LAST_TWO, Do::Append, Do::Append]),
        ("a row forged behind the head",        vec![Do::Append]),
        ("the same, signed with another key",   vec![Do::AppendSigned]),
        ("forged behind a head that was behind", vec![Do::PutBack("jarvis.db.head"), LAST_TWO, Do::Append, Do::Append, Do::Append]),
        ("an older head",                       vec![Do::PutBack("jarvis.db.head")]),
        ("the head changed",                    vec![Do::Replace("jarvis.db.head", "\"seq\":10", "\"seq\":9")]),
        ("the head says that no row need be signed", vec![Do::Replace("jarvis.db.head", ",\"signed_from\":1", "")]),
        ("the head lost",                       vec![Do::Remove("jarvis.db.head")]),
        ("the head lost, all rewritten",        vec![Do::Remove("jarvis.db.head"), Do::Sql("DELETE FROM journal_anchor; UPDATE journal SET entry = '{}'; UPDATE journal SET prev = zeroblob(32), seq = seq - 3"), Do::Rehash(0)]),
        ("another store's head",                vec![Do::Anothers("jarvis.db.head")]),
        ("another key",                         vec![Do::Anothers("jarvis.key")]),
        ("the key lost",                        vec![Do::Remove("jarvis.key")]),
        ("an old backup of the database",       vec![Do::PutBack("jarvis.db")]),
    ];
    expect![[r#"
        a row edited
            NO: row 6 was changed after it was written, or was written with another key
          then  NO: row 6 was changed after it was written, or was written with another key
        a row edited, all after it rehashed
            NO: row 6 is not signed: it was written by somebody who does not have this store's key
          then  NO: row 6 is not signed: it was written by somebody who does not have this store's key
        the last row edited
            NO: row 10 is not signed: it was written by somebody who does not have this store's key
          then  NO: row 10 is not signed: it was written by somebody who does not have this store's key
        a row removed
            NO: row 7 follows row 5: what was between them is missing
          then  NO: row 7 follows row 5: what was between them is missing
        a row removed, the rest moved up
            NO: row 6 is not signed: it was written by somebody who does not have this store's key
          then  NO: row 6 is not signed: it was written by somebody who does not have this store's key
        a row inserted
            NO: row 7 is not signed: it was written by somebody who does not have this store's key
          then  NO: row 7 is not signed: it was written by somebody who does not have this store's key
        two rows swapped
            NO: row 6 is not signed: it was written by somebody who does not have this store's key
          then  NO: row 6 is not signed: it was written by somebody who does not have this store's key
        a signature of another row
            NO: row 6 was changed after it was written, or was written with another key
          then  NO: row 6 was changed after it was written, or was written with another key
        the tail cut
            NO: the journal ends at row 8, and the head beside the database says that it had come to row 10
          then  BROKEN: row 11 says: the journal ends at row 8, and the head beside the database says that it had come to row 10
        the tail cut and written anew
            NO: row 9 is not signed: it was written by somebody who does not have this store's key
          then  NO: row 9 is not signed: it was written by somebody who does not have this store's key
        a row forged behind the head
            NO: row 11 is not signed: it was written by somebody who does not have this store's key
          then  NO: row 11 is not signed: it was written by somebody who does not have this store's key
        the same, signed with another key
            NO: row 11 was changed after it was written, or was written with another key
          then  NO: row 11 was changed after it was written, or was written with another key
        forged behind a head that was behind
            NO: row 9 is not signed: it was written by somebody who does not have this store's key
          then  NO: row 9 is not signed: it was written by somebody who does not have this store's key
        an older head
            the journal is whole: 7 rows, 4 to 10
              oldest end: pruned up to row 3 (signed)
              newest end: the head beside the database is at row 8 (signed)
              signatures: every row is signed
          then  the journal is whole: 7 rows, 4 to 10
              oldest end: pruned up to row 3 (signed)
              newest end: the head beside the database is at row 10 (signed)
              signatures: every row is signed
        the head changed
            NO: the head beside the database, at row 9, is not signed with this store's key
          then  BROKEN: row 11 says: the head beside the database, at row 9, is not signed with this store's key
        the head says that no row need be signed
            NO: the head beside the database, at row 10, is not signed with this store's key
          then  BROKEN: row 11 says: the head beside the database, at row 10, is not signed with this store's key
        the head lost
            NO: the head beside the database is missing or cannot be read, and the journal has come to row 10
          then  BROKEN: row 11 says: the head beside the database is missing or cannot be read, and the journal has come to row 10
        the head lost, all rewritten
            NO: the head beside the database is missing or cannot be read, and the journal has come to row 7, which is not signed: anybody may have written it and all before it
          then  BROKEN: row 8 says: the head beside the database is missing or cannot be read, and the journal has come to row 7, which is not signed: anybody may have written it and all before it; of those before it, rows 1 to 7 are not signed
        another store's head
            NO: the head beside the database, at row 10, is not signed with this store's key
          then  BROKEN: row 11 says: the head beside the database, at row 10, is not signed with this store's key
        another key
            NO: jarvis.key is another key than the journal was written with: neither its head nor its last row, 10, is signed with it
          then  BROKEN: row 11 says: the anchor at row 3, from where older rows were pruned, is not signed with this store's key; row 12 says: jarvis.key is another key than the journal was written with: neither its head nor its last row, 10, is signed with it; of those before it, rows 4 to 10 are signed with another key
        the key lost
            there is no jarvis.key beside it, and without it nobody can tell who wrote the journal: put the key there that it was written with, that of the same backup. Its rows fit each other: 7 rows, 4 to 10
          then  BROKEN: row 11 says: the anchor at row 3, from where older rows were pruned, is not signed with this store's key; row 12 says: jarvis.key is another key than the journal was written with: neither its head nor its last row, 10, is signed with it; of those before it, rows 4 to 10 are signed with another key
        an old backup of the database
            NO: the journal ends at row 8, and the head beside the database says that it had come to row 10
          then  BROKEN: row 11 says: the journal ends at row 8, and the head beside the database says that it had come to row 10
    "#]].assert_eq(&table!(ten_rows, attacks));
}

#[tokio::test]
async fn each_attack_on_rows_of_before_and_what_is_said_of_it() {
    const STRIP: Do = Do::Sql("DELETE FROM journal WHERE seq >= 8");
    const HEAD: Do = Do::PutBack("jarvis.db.head");
    #[rustfmt::skip]
    let attacks: [(&str, Vec<Do>); 11] = [
        ("nothing",                             vec![]),
        ("a row of before edited",              vec![Do::Sql("UPDATE journal SET entry = '{}' WHERE seq = 5")]),
        ("all of before rehashed, up to where signed rows begin", vec![Do::Sql("UPDATE journal SET entry = '{}' WHERE seq = 5"), Do::Rehash(5)]),
        ("the last of before edited",           vec![Do::Sql("UPDATE journal SET entry = '{}' WHERE seq = 7")]),
        ("the first signed row stripped",       vec![Do::Sql("DELETE FROM journal WHERE seq = 8; UPDATE journal SET seq = seq - 1 WHERE seq > 8"), Do::Rehash(8)]),
        ("the first signed row later",          vec![Do::Sql("UPDATE journal SET seq = -8 WHERE seq = 8; UPDATE journal SET seq = 8 WHERE seq = 9; UPDATE journal SET seq = 9 WHERE seq = -8"), Do::Rehash(8)]),
        ("all signed rows stripped",            vec![STRIP]),
        ("all signed rows stripped, others written", vec![STRIP, Do::Append, Do::Append, Do::Append]),
        ("an unsigned row after the signed ones", vec![Do::Append]),
        ("the head of then, and an unsigned row after the signed ones", vec![HEAD, Do::Append]),
        ("the head lost, all rewritten",        vec![Do::Remove("jarvis.db.head"), Do::Sql("UPDATE journal SET kind = 'noted', entry = '{}'"), Do::Rehash(0)]),
    ];
    expect![[r#"
        nothing
            the journal is whole: 10 rows, 1 to 10
              oldest end: the very first row; nothing was pruned
              newest end: the head beside the database is at row 10 (signed)
              signatures: rows 1 to 7 are of an earlier version, sealed by row 8; every row since is signed
          then  the journal is whole: 10 rows, 1 to 10
              oldest end: the very first row; nothing was pruned
              newest end: the head beside the database is at row 10 (signed)
              signatures: rows 1 to 7 are of an earlier version, sealed by row 8; every row since is signed
        a row of before edited
            NO: row 5 was changed after it was written, or was written with another key
          then  NO: row 5 was changed after it was written, or was written with another key
        all of before rehashed, up to where signed rows begin
            NO: row 8 is not signed: it was written by somebody who does not have this store's key
          then  NO: row 8 is not signed: it was written by somebody who does not have this store's key
        the last of before edited
            NO: row 7 was changed after it was written, or was written with another key
          then  NO: row 7 was changed after it was written, or was written with another key
        the first signed row stripped
            NO: row 8 is not signed: it was written by somebody who does not have this store's key
          then  NO: row 8 is not signed: it was written by somebody who does not have this store's key
        the first signed row later
            NO: row 8 is not signed: it was written by somebody who does not have this store's key
          then  NO: row 8 is not signed: it was written by somebody who does not have this store's key
        all signed rows stripped
            NO: the journal ends at row 7, and the head beside the database says that it had come to row 10
          then  BROKEN: row 11 says: the journal ends at row 7, and the head beside the database says that it had come to row 10; of those before it, rows 1 to 7 are not signed
        all signed rows stripped, others written
            NO: row 8 is not signed: it was written by somebody who does not have this store's key
          then  NO: row 8 is not signed: it was written by somebody who does not have this store's key
        an unsigned row after the signed ones
            NO: row 11 is not signed: it was written by somebody who does not have this store's key
          then  NO: row 11 is not signed: it was written by somebody who does not have this store's key
        the head of then, and an unsigned row after the signed ones
            NO: row 11 is not signed: it was written by somebody who does not have this store's key
          then  NO: row 11 is not signed: it was written by somebody who does not have this store's key
        the head lost, all rewritten
            NO: the head beside the database is missing or cannot be read, and the journal has come to row 10, which is not signed: anybody may have written it and all before it
          then  BROKEN: row 11 says: the head beside the database is missing or cannot be read, and the journal has come to row 10, which is not signed: anybody may have written it and all before it; of those before it, rows 1 to 10 are not signed
    "#]].assert_eq(&table!(ten_rows_of_two_versions, attacks));
}

/// A death between the first signed rows and the next head leaves a head of then, which is no attack. Whoever can put that
/// head back may put the file of then back as well, and add to it: that is told as what nobody signed for.
#[tokio::test]
async fn a_head_of_an_earlier_version() {
    let folder = Folder::new();
    let path = of_before(&folder).await;
    let whole = expect![[r#"
        the journal is whole: 7 rows, 1 to 7
          oldest end: the very first row; nothing was pruned
          newest end: the head beside the database is at row 7 (signed)
          signatures: no row is signed; the daemon signs them from its next start on"#]];
    whole.assert_eq(&verified(&folder, &path).await);
    let is_proven = async || verify(&path).await.unwrap().is_proven();
    assert!(!is_proven().await, "no row is signed");
    keep(&folder);
    save(&path, 28..=29).await;
    let upgraded = expect![[r#"
        the journal is whole: 10 rows, 1 to 10
          oldest end: the very first row; nothing was pruned
          newest end: the head beside the database is at row 10 (signed)
          signatures: rows 1 to 7 are of an earlier version, sealed by row 8; every row since is signed"#]];
    upgraded.assert_eq(&verified(&folder, &path).await);
    for round in ["once", "twice"] {
        Do::PutBack("jarvis.db.head").to(&folder, &path).await;
        let said = verified(&folder, &path).await;
        assert!(said.contains("at row 7 (signed)") && said.contains("sealed by row 8"), "{round}: {said}");
        Store::open(&path).await.unwrap().close().await;
        upgraded.assert_eq(&verified(&folder, &path).await);
        assert!(is_proven().await, "{round}: up to the last head that version's own word is taken");
    }
    let kinds = "SELECT kind || ' ' || seq || ' ' || entry FROM journal WHERE kind = 'signed'";
    assert_eq!(read_column(&path, kinds).await, ["signed 8 {\"unproven\":null}"]);

    for file in ["jarvis.db", "jarvis.db.head"] {
        Do::PutBack(file).to(&folder, &path).await;
    }
    Do::Append.to(&folder, &path).await;
    Do::Append.to(&folder, &path).await;
    let before = expect![[r#"
        the journal is whole: 9 rows, 1 to 9
          oldest end: the very first row; nothing was pruned
          newest end: the head beside the database is at row 7 (signed)
          signatures: no row is signed; the daemon signs them from its next start on
          unproven: rows 8 to 9 came after the last head of a version that did not sign its rows; whoever could write the file may have written them"#]];
    before.assert_eq(&verified(&folder, &path).await);
    assert!(!is_proven().await, "rows behind the head");
    Store::open(&path).await.unwrap().close().await;
    let after = expect![[r#"
        the journal is whole: 10 rows, 1 to 10
          oldest end: the very first row; nothing was pruned
          newest end: the head beside the database is at row 10 (signed)
          signatures: rows 1 to 9 are of an earlier version, sealed by row 10; every row since is signed
          unproven: rows 8 to 9 came after the last head of a version that did not sign its rows; whoever could write the file may have written them"#]];
    after.assert_eq(&verified(&folder, &path).await);
    assert!(!is_proven().await, "what is written since does not prove them");
    assert_eq!(read_column(&path, kinds).await, ["signed 10 {\"unproven\":{\"from\":8,\"to\":9}}"]);
}

/// Rows that were signed with a key that is lost are held by the chain, and go when they are old.
#[tokio::test]
async fn rows_of_a_lost_key_are_pruned_as_far_as_they_fit() {
    #[rustfmt::skip]
    let table: [(&str, &str, Result<u64, &str>); 3] = [
        ("as they were",        "SELECT 1",                                             Ok(7)),
        ("one edited",          "UPDATE journal SET entry = '{}' WHERE seq = 6",        Err("row 7 was not written after row 6 as that stands: one of the two was replaced")),
        ("the last one edited", "UPDATE journal SET entry = '{}' WHERE seq = 10",       Err("row 11 was not written after row 10 as that stands: one of the two was replaced")),
    ];
    for (name, sql, expected) in table {
        let folder = Folder::new();
        let path = ten_rows(&folder).await;
        fs::remove_file(folder.path("jarvis.key")).unwrap();
        Store::open(&path).await.unwrap().close().await;
        run(&path, sql).await;
        let store = Store::open(&path).await.unwrap();
        // The rows that say what was found are of today.
        let pruned = store.cleanup_old_journal(1, at("2026-11-15T12:00:00Z")).await;
        match (pruned, expected) {
            (Ok(gone), Ok(rows)) => assert_eq!(gone, rows, "{name}"),
            (Err(StoreError::Misfit(misfit)), Err(words)) => assert_eq!(misfit.to_string(), words, "{name}"),
            (pruned, expected) => panic!("{name}: {pruned:?} and not {expected:?}"),
        }
        assert!(store.close().await);
        let said = verified(&folder, &path).await;
        let words = expected.err().unwrap_or("BROKEN: row 11 says");
        assert!(said.contains(words), "{name}: {said}");
    }
}

/// Two million rows are not written anew at an upgrade, and pruning goes on over the place where signed rows begin.
#[tokio::test]
async fn an_upgrade_adds_one_row_and_pruning_passes_it() {
    let folder = Folder::new();
    let path = of_before(&folder).await;
    let rows = "SELECT seq || hex(prev) || hex(hash) FROM journal WHERE seq <= 7 ORDER BY seq";
    let before = read_column(&path, rows).await;
    save(&path, 28..=29).await;
    assert_eq!(read_column(&path, rows).await, before);
    let store = Store::open(&path).await.unwrap();
    // Rows of before first, then the place, then signed ones: the anchor of each fits.
    let mut left = Vec::new();
    for day in ["2026-11-25T02:18:00Z", "2026-11-26T06:00:00Z", "2999-11-25T06:00:00Z"] {
        store.cleanup_old_journal(1, at(day)).await.unwrap();
        left.push(verified(&folder, &path).await);
    }
    assert!(store.close().await);
    expect![[r#"
        the journal is whole: 6 rows, 5 to 10
          oldest end: pruned up to row 4 (signed)
          newest end: the head beside the database is at row 10 (signed)
          signatures: rows 5 to 7 are of an earlier version, sealed by row 8; every row since is signed
        the journal is whole: 3 rows, 8 to 10
          oldest end: pruned up to row 7 (signed)
          newest end: the head beside the database is at row 10 (signed)
          signatures: every row is signed
        the journal is whole: no rows
          oldest end: pruned up to row 10 (signed)
          newest end: the head beside the database is at row 10 (signed)"#]]
    .assert_eq(&left.join("\n"));
    let mode = fs::metadata(folder.path("jarvis.db.head")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// Whoever cuts the newest rows off while it runs does not see others written in their place without a word.
#[tokio::test]
async fn rows_that_are_cut_off_while_it_runs_are_missed_at_the_next_write() {
    let folder = Folder::new();
    let path = folder.path("jarvis.db");
    let store = Store::open(&path).await.unwrap();
    for day in 1..=10 {
        store.save_turn(vec![entry(day)], Vec::new(), None).await.unwrap();
    }
    run(&path, "DELETE FROM journal WHERE seq > 6").await;
    store.save_turn(vec![entry(11)], Vec::new(), None).await.unwrap();
    store.save_turn(vec![entry(12)], Vec::new(), None).await.unwrap();
    assert!(store.close().await);
    let said = verified(&folder, &path).await;
    assert!(said.contains("it ended with row 10, and ends with row 6"), "{said}");
    let numbers = read_column(&path, "SELECT seq FROM journal ORDER BY seq").await;
    assert_eq!(numbers, ["1", "2", "3", "4", "5", "6", "11", "12", "13"], "no number is used twice");
}
