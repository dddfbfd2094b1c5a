//! The journal: what it keeps, what a foreign hand cannot do to it unseen, and what goes with age.

#[path = "chain.rs"]
mod chain;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use daemon::record::{EventRow, JournalRow, Kind, NewEntry, NewEvent, Source, Store, StoreError, verify};
use engine::observe::ClusterName;
use expect_test::{Expect, expect};

use super::help::{Folder, at, checkpoint, event, kept, lab, read_column, run};

fn entry(time: &str, words: &str) -> NewEntry {
    let entry = serde_json::json!({ "words": words }).to_string();
    NewEntry {
        at: at(time),
        cluster: Some("lab".into()),
        kind: Kind::Noted,
        entry,
        told: None,
        about: None,
        action: None,
    }
}

fn edge() -> ClusterName {
    "edge".parse().unwrap()
}

fn of_edge(words: &str) -> NewEntry {
    NewEntry { cluster: Some("edge".into()), ..entry("2026-11-23T18:58:01.250Z", words) }
}

/// `1 one, 3 three`.
fn shown(rows: &[JournalRow]) -> String {
    let words = |row: &JournalRow| {
        let entry: serde_json::Value = serde_json::from_str(&row.entry).unwrap();
        format!("{} {}", row.seq, entry["words"].as_str().unwrap_or(&row.entry))
    };
    rows.iter().map(words).collect::<Vec<_>>().join(", ")
}

async fn verified(folder: &Folder, path: &Path) -> String {
    match verify(path).await {
        Ok(verified) => folder.strip(&verified.to_string()),
        Err(error) => folder.strip(&format!("{:#}\n", anyhow::Error::from(error))),
    }
}

// ---- What it keeps ----

#[tokio::test]
async fn an_engine_goes_on_from_what_its_checkpoint_does_not_include() {
    let folder = Folder::new();
    let path = folder.path("jarvis.db");
    let store = Store::open(&path).await.unwrap();
    let now = "2026-11-23T18:58:01.250Z";
    store.save_turn(vec![entry(now, "one"), entry(now, "two")], vec![], None).await.unwrap();
    store.save_turn(vec![of_edge("three")], vec![], None).await.unwrap();
    let with = Some(checkpoint("{\"n\":1}"));
    let told = store.save_turn(vec![entry(now, "four")], vec![event("four")], with).await.unwrap();
    assert_eq!(told[0].title, "four");
    store.save_turn(vec![of_edge("five")], vec![], None).await.unwrap();
    store.save_turn(vec![entry(now, "six")], vec![], None).await.unwrap();
    store.close().await;

    let store = Store::open(&path).await.unwrap();
    assert_eq!(store.load_checkpoint(&lab()).await.unwrap(), Some(kept("{\"n\":1}", 4)));
    assert_eq!(store.load_checkpoint(&edge()).await.unwrap(), None);
    #[rustfmt::skip]
    let table = [
        ("since the checkpoint",    lab(),  4, "6 six"),
        ("since the first row",     lab(),  1, "2 two, 4 four, 6 six"),
        ("another cluster's",       edge(), 0, "3 three, 5 five"),
        ("since the last row",      lab(),  6, ""),
    ];
    for (name, cluster, seq, expected) in table {
        assert_eq!(shown(&store.journal_since(&cluster, seq).await.unwrap()), expected, "{name}");
    }
    // A checkpoint without entries includes all that is there of its cluster.
    store.save_checkpoint(checkpoint("{}")).await.unwrap();
    assert_eq!(store.load_checkpoint(&lab()).await.unwrap(), Some(kept("{}", 6)));
    let row = &store.journal_since(&lab(), 5).await.unwrap()[0];
    assert_eq!((row.at(), &*row.kind, row.cluster.as_deref()), (at(now), "noted", Some("lab")));
}

#[tokio::test]
async fn a_turn_is_stored_as_a_whole_or_not_at_all() {
    let folder = Folder::new();
    let path = folder.path("jarvis.db");
    let store = Store::open(&path).await.unwrap();
    store.save_turn(vec![entry("2026-11-23T18:58:01Z", "before")], vec![], None).await.unwrap();
    run(&path, "CREATE TRIGGER rule BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'the rule'); END")
        .await;
    let turn = || (vec![entry("2026-11-23T18:58:02Z", "after")], vec![event("after")]);
    let (entries, events) = turn();
    store.save_turn(entries, events, Some(checkpoint("{}"))).await.unwrap_err();
    assert_eq!(shown(&store.journal_since(&lab(), 0).await.unwrap()), "1 before");
    run(
        &path,
        "DROP TRIGGER rule; CREATE TRIGGER rule BEFORE INSERT ON events BEGIN SELECT RAISE(IGNORE); END",
    )
    .await;
    let (entries, events) = turn();
    let error = anyhow::Error::from(store.save_turn(entries, events, None).await.unwrap_err());
    assert!(format!("{error:#}").contains("a trigger in the store kept events out of it"), "{error:#}");
    run(&path, "DROP TRIGGER rule").await;
    let (entries, events) = turn();
    store.save_turn(entries, events, Some(checkpoint("{}"))).await.unwrap();
    assert_eq!(shown(&store.journal_since(&lab(), 0).await.unwrap()), "1 before, 2 after");
}

/// Told is not read back; it is made from what was handed in. Many at once go in by several statements.
#[tokio::test]
async fn what_is_told_of_many_events_is_what_is_read_of_them() {
    let folder = Folder::new();
    let store = Store::open(&folder.path("jarvis.db")).await.unwrap();
    let odd = [
        NewEvent { title: " ".into(), message: "a\nb\0c".into(), ..event("x") },
        NewEvent { at: at("1969-12-31T23:59:59.999999Z"), ..event("before the epoch") },
        NewEvent { at: at("-000044-03-15T12:00:00.5Z"), ..event("before our time") },
        NewEvent { node: Some("007".into()), subject: Some("1e3".into()), ..event("like numbers") },
        NewEvent { details: Some("{\"a\": 1}".into()), summary: Some(" ".into()), ..event("details") },
        NewEvent { source: Source::System, resolves: true, ..event("over with itself") },
        NewEvent { incident_id: Some("i".into()), resolves: true, ..event("an end of nothing") },
        NewEvent { message: "é".repeat(3_000), condition: Some("C".repeat(300)), ..event("long") },
    ];
    let events: Vec<NewEvent> = odd.iter().cycle().take(350).cloned().collect();
    let told = store.save_events(events, None).await.unwrap();
    let read = store.get_events_after_seq(0, 1_000).await.unwrap();
    assert_eq!((told.len(), told[0].id, told[349].id), (350, 1, 350));
    let told: Vec<EventRow> = told.iter().map(|row| EventRow::clone(row)).collect();
    for (told, read) in told.iter().zip(&read) {
        assert_eq!(told, read, "{}", told.title);
    }
}

#[tokio::test]
async fn an_incident_that_begins_and_ends_among_many_ends_where_it_ended() {
    let folder = Folder::new();
    let store = Store::open(&folder.path("jarvis.db")).await.unwrap();
    let of = |incident: &str, n: u32, resolves| NewEvent {
        incident_id: Some(incident.into()),
        cluster: Some("lab".into()),
        resolves,
        ..event(&n.to_string())
    };
    store.save_event(of("i", 0, false)).await.unwrap();
    let mut events: Vec<NewEvent> =
        (1..=250).map(|n| of(if n == 240 { "j" } else { "i" }, n, false)).collect();
    events[149].resolves = true;
    store.save_events(events, None).await.unwrap();
    let open = store.get_unresolved(1_000).await.unwrap();
    let open: Vec<u32> = open.iter().rev().map(|row| row.title.parse().unwrap()).collect();
    assert_eq!(open, (151..=250).collect::<Vec<_>>(), "what came after the end, and another incident");
}

#[tokio::test]
async fn a_new_beginning_leaves_nothing_open_for_ever() {
    let folder = Folder::new();
    let path = folder.path("jarvis.db");
    let store = Store::open(&path).await.unwrap();
    let of = |cluster: &str, incident: Option<&str>, title: &str| NewEvent {
        cluster: Some(cluster.into()),
        incident_id: incident.map(str::to_owned),
        ..event(title)
    };
    let events = vec![
        of("lab", Some("i"), "open"),
        NewEvent { resolves: true, ..of("lab", Some("j"), "over") },
        of("lab", None, "of no incident"),
        of("edge", Some("k"), "elsewhere"),
    ];
    store.save_turn(vec![of_edge("one")], events, None).await.unwrap();
    assert!(store.has_open_incident(&lab()).await.unwrap());
    let told = store.start_anew("it cannot be read", checkpoint("{\"new\":1}")).await.unwrap();
    assert!(!store.has_open_incident(&lab()).await.unwrap());
    assert!(store.has_open_incident(&edge()).await.unwrap());
    let mut rows: Vec<String> = Vec::new();
    for row in store.get_events_after_seq(0, 50).await.unwrap() {
        let by = row.resolved_by.as_deref().unwrap_or("-");
        rows.push(format!("{} | {} | {}", row.title, row.message, by));
    }
    expect![[r#"
        open | message of open | system
        over | message of over | monitor
        of no incident | message of of no incident | -
        elsewhere | message of elsewhere | -
        Watching lab begins anew | it cannot be read; 1 event that was open is closed, and what is wrong is told again | system"#]]
    .assert_eq(&rows.join("\n"));
    assert_eq!(told[0].id, 5);
    assert_eq!(store.load_checkpoint(&lab()).await.unwrap(), Some(kept("{\"new\":1}", 2)));
    let last = &store.journal_since(&lab(), 0).await.unwrap()[0];
    assert_eq!(
        (last.seq, &*last.kind, &*last.entry),
        (2, "anew", r#"{"closed":1,"reason":"it cannot be read"}"#)
    );
}

// ---- A foreign hand ----

/// A closed store of ten rows, of which the first three were pruned.
async fn ten_rows(folder: &Folder, last: &str) -> PathBuf {
    let path = folder.path("jarvis.db");
    let store = Store::open(&path).await.unwrap();
    let entries = (1..=10).map(|n| {
        let month = if n <= 3 { 9 } else { 11 };
        entry(&format!("2026-{month:02}-{n:02}T12:00:00Z"), if n == 10 { last } else { "a row" })
    });
    store.save_turn(entries.collect(), vec![], None).await.unwrap();
    assert_eq!(store.cleanup_old_journal(30, at("2026-11-12T00:00:00Z")).await.unwrap(), 3);
    assert!(store.close().await);
    path
}

#[tokio::test]
async fn a_whole_journal_is_said_to_be_whole_beside_its_daemon_and_without() {
    let folder = Folder::new();
    let path = ten_rows(&folder, "ten").await;
    let whole = expect![[r#"
        DIR/jarvis.db: the journal is whole: 7 rows, 4 of 2026-11-04T12:00:00Z to 10 of 2026-11-10T12:00:00Z
          oldest end: pruned up to row 3 (signed)
          newest end: the head beside the database is at row 10 (signed)
          signatures: every row is signed
    "#]];
    let before = fs::read(&path).unwrap();
    whole.assert_eq(&verified(&folder, &path).await);
    assert!(before == fs::read(&path).unwrap(), "it was changed by being read");
    let store = Store::open(&path).await.unwrap();
    whole.assert_eq(&verified(&folder, &path).await);
    // Between a commit and the head's file, and after a kill, the head is behind.
    let head = fs::read(folder.path("jarvis.db.head")).unwrap();
    store.save_turn(vec![entry("2026-11-11T12:00:00Z", "eleven")], vec![], None).await.unwrap();
    store.close().await;
    fs::write(folder.path("jarvis.db.head"), head).unwrap();
    let behind = verified(&folder, &path).await;
    assert!(behind.contains("8 rows, 4 of") && behind.contains("at row 10 (signed)"), "{behind}");
    fs::remove_file(folder.path("jarvis.key")).unwrap();
    let unsigned = verified(&folder, &path).await;
    assert!(
        unsigned.contains("there is no jarvis.key beside it, and without it nobody can tell"),
        "{unsigned}"
    );
    assert!(unsigned.contains("Its rows fit each other: 8 rows, 4 of"), "{unsigned}");
    assert!(!folder.path("jarvis.key").exists(), "it makes nothing");

    let fresh = folder.path("fresh.db");
    Store::open(&fresh).await.unwrap().close().await;
    let said = verified(&folder, &fresh).await;
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        [
            "DIR/fresh.db: the journal is whole: no rows",
            "  oldest end: the very first row; nothing was pruned",
            "  newest end: nothing was written yet"
        ]
    );
    let original = folder.original().await;
    let said = verified(&folder, &original).await;
    assert_eq!(said, "DIR/original.db: no journal yet; the daemon begins one when it opens the store\n");
    assert_eq!(verified(&folder, &folder.path("none.db")).await, "DIR/none.db is not there\n");
    fs::write(folder.path("notes.txt"), "remember the milk, and more than that\n".repeat(100)).unwrap();
    let said = verified(&folder, &folder.path("notes.txt")).await;
    assert_eq!(said, "DIR/notes.txt cannot be read: (code: 26) file is not a database\n");
}

#[tokio::test]
async fn whatever_a_hand_does_to_it_shows_and_the_row_is_named() {
    #[rustfmt::skip]
    let table: [(&str, &str, Expect); 17] = [
        ("an entry changed",        "UPDATE journal SET entry = replace(entry, 'a row', 'another') WHERE seq = 6", expect!["row 6 was changed after it was written, or was written with another key"]),
        ("an entry emptied",        "UPDATE journal SET entry = '' WHERE seq = 6",              expect!["row 6 is larger than any that is written here"]),
        ("a time changed",          "UPDATE journal SET at_ms = at_ms + 1 WHERE seq = 4",       expect!["row 4 was changed after it was written, or was written with another key"]),
        ("a cluster changed",       "UPDATE journal SET cluster = NULL WHERE seq = 10",         expect!["row 10 was changed after it was written, or was written with another key"]),
        ("a kind changed",          "UPDATE journal SET kind = 'break' WHERE seq = 5",          expect!["row 5 was changed after it was written, or was written with another key"]),
        ("a hash changed",          "UPDATE journal SET hash = zeroblob(32) WHERE seq = 7",     expect!["row 7 was changed after it was written, or was written with another key"]),
        ("a hash cut",              "UPDATE journal SET prev = x'00' WHERE seq = 7",            expect!["row 7 was not written after row 6 as that stands: one of the two was replaced"]),
        ("a row taken out",         "DELETE FROM journal WHERE seq = 6",                        expect!["row 7 follows row 5: what was between them is missing"]),
        ("a row taken out, the hole closed", "DELETE FROM journal WHERE seq = 6; UPDATE journal SET seq = seq - 1 WHERE seq > 6", expect!["row 6 was not written after row 5 as that stands: one of the two was replaced"]),
        ("two rows swapped",        "UPDATE journal SET seq = -6 WHERE seq = 6; UPDATE journal SET seq = 6 WHERE seq = 7; UPDATE journal SET seq = 7 WHERE seq = -6", expect!["row 6 was not written after row 5 as that stands: one of the two was replaced"]),
        ("the oldest cut off",      "DELETE FROM journal WHERE seq <= 5",                       expect!["row 6 follows row 3: what was between them is missing"]),
        ("the oldest cut off, the anchor moved", "UPDATE journal_anchor SET seq = 5, hash = (SELECT hash FROM journal WHERE seq = 5); DELETE FROM journal WHERE seq <= 5", expect!["the anchor at row 5, from where older rows were pruned, is not signed with this store's key"]),
        ("the anchor taken out",    "DELETE FROM journal_anchor",                               expect!["row 4 follows row 0: what was between them is missing"]),
        ("the newest cut off",      "DELETE FROM journal WHERE seq > 8",                        expect!["the journal ends at row 8, and the head beside the database says that it had come to row 10"]),
        ("everything cut off",      "DELETE FROM journal; DELETE FROM journal_anchor",          expect!["the journal ends at row 0, and the head beside the database says that it had come to row 10"]),
        ("a row put in front",      "INSERT INTO journal SELECT -1, at_ms, cluster, kind, entry, prev, hash FROM journal WHERE seq = 4", expect!["row -1 follows row 3: what was between them is missing"]),
        ("the table gone",          "DROP TABLE journal",                                       expect!["the journal's table is missing"]),
    ];
    for (name, sql, expected) in table {
        let folder = Folder::new();
        let path = ten_rows(&folder, "ten").await;
        run(&path, sql).await;
        let said = verified(&folder, &path).await;
        let words = said.strip_prefix("DIR/jarvis.db: the journal does not fit: ");
        expected.assert_eq(words.unwrap_or_else(|| panic!("{name}: {said}")).trim_end());
    }
}

#[tokio::test]
async fn a_head_that_is_not_its_own_shows() {
    let folder = Folder::new();
    let path = ten_rows(&folder, "ten").await;
    let head = folder.path("jarvis.db.head");
    let own = fs::read_to_string(&head).unwrap();
    // The same journal but for its last row, made and signed elsewhere.
    let other = Folder::new();
    let others = ten_rows(&other, "another ten").await;
    let others_head = fs::read_to_string(other.path("jarvis.db.head")).unwrap();
    #[rustfmt::skip]
    let table: [(&str, Option<&str>, Expect); 4] = [
        ("taken away",          None,                   expect!["the head beside the database is missing or cannot be read, and the journal has come to row 10"]),
        ("garbage",             Some("{\"seq\": 10"),   expect!["the head beside the database is missing or cannot be read, and the journal has come to row 10"]),
        ("another store's",     Some(&others_head),     expect!["the head beside the database, at row 10, is not signed with this store's key"]),
        ("set back by hand",    Some(&own.replace("\"seq\":10", "\"seq\":9")), expect!["the head beside the database, at row 9, is not signed with this store's key"]),
    ];
    for (name, text, expected) in table {
        match text {
            Some(text) => fs::write(&head, text).unwrap(),
            None => fs::remove_file(&head).unwrap(),
        }
        let said = verified(&folder, &path).await;
        let words = said.strip_prefix("DIR/jarvis.db: the journal does not fit: ");
        expected.assert_eq(words.unwrap_or_else(|| panic!("{name}: {said}")).trim_end());
    }
    // A history rewritten with all its hashes: the chain is whole, and its end is another one.
    fs::write(&head, own).unwrap();
    let anchor = read_column(
        &path,
        "SELECT 'UPDATE journal_anchor SET signature = x''' || hex(signature) || '''' FROM journal_anchor",
    )
    .await;
    fs::copy(&others, &path).unwrap();
    run(&path, &anchor[0]).await;
    let said = verified(&folder, &path).await;
    expect![[r#"
        DIR/jarvis.db: the journal does not fit: row 4 was changed after it was written, or was written with another key
    "#]]
    .assert_eq(&said);
    // The same with the same key, as another daemon would write it that was started on a backup of the folder.
    let twin = Folder::new();
    fs::copy(folder.path("jarvis.key"), twin.path("jarvis.key")).unwrap();
    fs::copy(ten_rows(&twin, "another ten").await, &path).unwrap();
    let said = verified(&folder, &path).await;
    expect![[r#"
        DIR/jarvis.db: the journal does not fit: row 10 is not the one that the head beside the database names
    "#]]
    .assert_eq(&said);
}

#[tokio::test]
async fn the_command_says_what_it_found_and_its_exit_code_too() {
    let folder = Folder::new();
    let path = ten_rows(&folder, "ten").await;
    let config = folder.path("jarvis.toml");
    let secret = folder.path("secret");
    fs::write(&secret, "22222222-2222-2222-2222-222222222222").unwrap();
    fs::write(
        &config,
        format!(
            "[store]\npath = {path:?}\n[[cluster]]\nname = \"lab\"\nendpoints = [\"https://10.0.0.1:8006\"]\n\
             token_id = \"jarvis@pve!observe\"\ntoken_secret_file = {secret:?}\ninsecure = true\n"
        ),
    )
    .unwrap();
    let command = |arguments: [&str; 2]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jarvis"));
        let ended = command.args(["audit", "verify"]).args(arguments).output().unwrap();
        let said = String::from_utf8(ended.stdout).unwrap() + &String::from_utf8_lossy(&ended.stderr);
        (ended.status.code(), said)
    };
    let (config, store) = (config.to_str().unwrap(), path.to_str().unwrap());
    for arguments in [["--store", store], ["--config", config]] {
        let (code, said) = command(arguments);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("the journal is whole: 7 rows, 4 of"), "{said}");
    }
    let key = folder.path("jarvis.key");
    let own = fs::read(&key).unwrap();
    for (other, expected) in [
        (None, "there is no jarvis.key beside it"),
        (Some("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc"), "jarvis.key is another key than the journal"),
        (Some("no key"), "jarvis.key does not hold a key"),
    ] {
        match other {
            Some(text) => fs::write(&key, text).unwrap(),
            None => fs::remove_file(&key).unwrap(),
        }
        let (code, said) = command(["--store", store]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(expected), "{said}");
    }
    fs::write(&key, own).unwrap();
    assert_eq!(command(["--store", store]).0, Some(0), "with its own again");
    run(&path, "DELETE FROM journal WHERE seq = 6").await;
    for arguments in [["--store", store], ["--config", config]] {
        let (code, said) = command(arguments);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("jarvis.db: the journal does not fit: row 7 follows row 5"), "{said}");
    }
}

/// The daemon goes on: it cannot watch nothing because somebody cut its journal. But it says so, there too.
#[tokio::test]
async fn going_on_after_a_cut_does_not_cover_it_up() {
    #[rustfmt::skip]
    let table: [(&str, &str, Option<&str>, Expect); 3] = [
        ("the newest cut off",  "DELETE FROM journal WHERE seq > 8", None, expect![[r#"
            DIR/jarvis.db: the journal is whole since, but was broken before a start of the daemon: row 11 says: the journal ends at row 8, and the head beside the database says that it had come to row 10
            rows 4 5 6 7 8 11 12
            a checkpoint includes row 8
        "#]]),
        ("the head taken away", "DELETE FROM journal WHERE seq > 8", Some("jarvis.db.head"), expect![[r#"
            DIR/jarvis.db: the journal is whole since, but was broken before a start of the daemon: row 9 says: the head beside the database is missing or cannot be read, and the journal has come to row 8
            rows 4 5 6 7 8 9 10
            a checkpoint includes row 8
        "#]]),
        ("the key taken away",  "SELECT 1", Some("jarvis.key"), expect![[r#"
            DIR/jarvis.db: the journal is whole since, but was broken before a start of the daemon: row 11 says: the anchor at row 3, from where older rows were pruned, is not signed with this store's key; row 12 says: jarvis.key is another key than the journal was written with: neither its head nor its last row, 10, is signed with it; of those before it, rows 4 to 10 are signed with another key
            rows 4 5 6 7 8 9 10 11 12 13
            a checkpoint includes row 10
        "#]]),
    ];
    for (name, sql, removed, expected) in table {
        let folder = Folder::new();
        let path = ten_rows(&folder, "ten").await;
        run(
            &path,
            "INSERT INTO checkpoints (cluster, at_ms, state, journal_seq) VALUES ('lab', 0, '{}', 10)",
        )
        .await;
        run(&path, sql).await;
        if let Some(file) = removed {
            fs::remove_file(folder.path(file)).unwrap();
        }
        for round in ["one more", ""] {
            let store = Store::open(&path).await.unwrap();
            if !round.is_empty() {
                store.save_turn(vec![entry("2026-11-12T12:00:00Z", round)], vec![], None).await.unwrap();
            }
            store.close().await;
        }
        let said = verified(&folder, &path).await;
        let mut said: String = said.lines().map(|line| format!("{}\n", without_times(line))).collect();
        let rows =
            read_column(&path, "SELECT group_concat(seq, ' ') FROM (SELECT seq FROM journal ORDER BY seq)");
        writeln!(said, "rows {}", rows.await[0]).unwrap();
        let includes = read_column(&path, "SELECT journal_seq || '' FROM checkpoints").await;
        writeln!(said, "a checkpoint includes row {}", includes[0]).unwrap();
        println!("{name}");
        expected.assert_eq(&said);
    }
}

/// `row 11 of 2026-11-23T22:00:00Z says` is written at the moment of the test.
fn without_times(line: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    for word in line.split(' ') {
        if word.starts_with("20") && word.ends_with('Z') {
            words.pop();
        } else {
            words.push(word);
        }
    }
    words.join(" ")
}

// ---- Age ----

#[tokio::test]
async fn old_rows_go_at_the_oldest_end_in_bounded_batches_and_leave_an_anchor() {
    let folder = Folder::new();
    let path = folder.path("jarvis.db");
    let store = Store::open(&path).await.unwrap();
    let now = at("2026-11-23T12:00:00Z");
    let mut entries = vec![entry("2026-10-01T12:00:00Z", "old"); 1_200];
    entries.push(entry("2026-11-23T11:00:00Z", "young"));
    entries.push(entry("2026-10-02T12:00:00Z", "old, but after a young one"));
    store.save_turn(entries, vec![], None).await.unwrap();
    let commits = store.written().commits;
    assert_eq!(store.cleanup_old_journal(30, now).await.unwrap(), 1_200);
    assert_eq!(store.written().commits - commits, 3, "500 rows at a time");
    assert_eq!(store.cleanup_old_journal(30, now).await.unwrap(), 0);
    assert_eq!(
        shown(&store.journal_since(&lab(), 0).await.unwrap()),
        "1201 young, 1202 old, but after a young one"
    );
    assert_eq!(store.cleanup_old_journal(1, at("2026-12-23T12:00:00Z")).await.unwrap(), 2, "all of them");
    store.save_turn(vec![entry("2026-12-23T12:00:00Z", "goes on")], vec![], None).await.unwrap();
    store.close().await;
    let store = Store::open(&path).await.unwrap();
    assert_eq!(shown(&store.journal_since(&lab(), 0).await.unwrap()), "1203 goes on");
    expect![[r#"
        DIR/jarvis.db: the journal is whole: 1 row, 1203 of 2026-12-23T12:00:00Z to 1203 of 2026-12-23T12:00:00Z
          oldest end: pruned up to row 1202 (signed)
          newest end: the head beside the database is at row 1203 (signed)
          signatures: every row is signed
    "#]]
    .assert_eq(&verified(&folder, &path).await);
}

#[tokio::test]
async fn traces_of_a_foreign_hand_are_not_tidied_away() {
    let folder = Folder::new();
    let path = ten_rows(&folder, "ten").await;
    run(&path, "UPDATE journal SET entry = '{}' WHERE seq = 6").await;
    let store = Store::open(&path).await.unwrap();
    let later = at("2999-11-12T00:00:00Z");
    let refused = store.cleanup_old_journal(30, later).await.unwrap_err();
    assert!(matches!(refused, StoreError::Misfit(_)));
    assert_eq!(
        refused.to_string(),
        "old rows of the journal are kept, because it does not fit: row 6 was changed after it was written, \
         or was written with another key; \
         see `jarvis audit verify`"
    );
    assert_eq!(store.journal_since(&lab(), 0).await.unwrap().len(), 7);
}

// ---- Files of before ----

#[tokio::test]
async fn a_file_of_before_the_journal_opens_as_it_is() {
    let folder = Folder::new();
    let path = folder.path("jarvis.db");
    run(&path, include_str!("../../migrations/0001_original.sql")).await;
    run(&path, include_str!("../../migrations/0002_ours.sql")).await;
    run(
        &path,
        "CREATE TABLE jarvis_schema (version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at TEXT NOT NULL) STRICT; \
         INSERT INTO jarvis_schema VALUES (1, 'original', ''), (2, 'ours', ''); \
         INSERT INTO checkpoints VALUES ('lab', 1795460281250, '{\"n\":1}'); \
         INSERT INTO events (type, source, summary, cluster, incident_id) VALUES ('alert', 'monitor', '[Monitor] a: b', 'lab', 'i')",
    )
    .await;
    let store = Store::open(&path).await.unwrap();
    assert_eq!(store.load_checkpoint(&lab()).await.unwrap(), Some(kept("{\"n\":1}", 0)));
    assert_eq!(store.get_recent_events(10).await.unwrap()[0].title, "a");
    assert!(store.has_open_incident(&lab()).await.unwrap());
    store.save_turn(vec![entry("2026-11-23T12:00:00Z", "the first")], vec![], None).await.unwrap();
    assert_eq!(shown(&store.journal_since(&lab(), 0).await.unwrap()), "1 the first");
    store.close().await;
    assert!(verified(&folder, &path).await.contains("the journal is whole: 1 row"));
}
