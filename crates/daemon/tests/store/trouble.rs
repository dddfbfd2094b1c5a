//! The store under trouble: writes that meet, writes that fail, processes that die, files that are none.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use daemon::record::{NewEvent, OpenError, Store, Written};
use expect_test::{Expect, expect};

use super::help::{CHILD, Folder, checkpoint, connect, event, ids, lab, queue, read_column, run};

// ---- Writing together ----

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_come_together_share_their_commits() {
    const TASKS: u64 = 64;
    const EACH: u64 = 20;
    let folder = Folder::new();
    let store = Store::open(&folder.path("jarvis.db")).await.unwrap();
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut last = 0;
                for n in 0..EACH {
                    let row = store.save_event(event(&format!("{task}.{n}"))).await.unwrap();
                    assert!(row.id > last, "one task's events keep their order");
                    last = row.id;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let Written { writes, commits } = store.written();
    assert_eq!(writes, TASKS * EACH);
    assert!(commits * 4 < writes, "{commits} commits for {writes} writes");
}

#[tokio::test]
async fn what_is_told_is_told_in_the_order_of_its_numbers() {
    let folder = Folder::new();
    let store = Store::open(&folder.path("jarvis.db")).await.unwrap();
    let mut listener = store.committed();
    let mut saves: Vec<_> = (0..200).map(|n| Box::pin(store.save_event(event(&n.to_string())))).collect();
    for save in &mut saves {
        queue(save.as_mut());
    }
    for (n, save) in saves.into_iter().enumerate() {
        assert_eq!(save.await.unwrap().title, n.to_string());
    }
    for id in 1..=200 {
        assert_eq!(listener.recv().await.unwrap().id, id);
    }
}

#[tokio::test]
async fn one_write_s_failure_is_not_the_others() {
    let folder = Folder::new();
    let path = folder.original().await;
    // An operator's rule that one of the events breaks.
    let rule = "CREATE TRIGGER rule BEFORE INSERT ON events WHEN NEW.node = 'bad' \
                BEGIN SELECT RAISE(ABORT, 'the rule'); END";
    run(&path, rule).await;
    let store = Store::open(&path).await.unwrap();
    let mut listener = store.committed();

    // A foreign hand holds the file, so that everything queues up behind the first write.
    let mut hand = connect(&path).await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut hand).await.unwrap();
    let on = |node: &str| NewEvent { node: Some(node.into()), ..event(node) };
    let mut saves: Vec<_> = ["first", "good", "bad", "better", "best"]
        .into_iter()
        .map(|node| Box::pin(store.save_events(vec![event("with it"), on(node)], None)))
        .collect();
    for save in &mut saves {
        queue(save.as_mut());
    }
    sqlx::query("ROLLBACK").execute(&mut hand).await.unwrap();
    let mut shown = String::new();
    for save in saves {
        match save.await {
            Ok(rows) => writeln!(shown, "{:?}", rows.iter().map(|row| row.id).collect::<Vec<_>>()).unwrap(),
            Err(error) => writeln!(shown, "{:#}", anyhow::Error::from(error)).unwrap(),
        }
    }
    expect![[r#"
        [9, 10]
        [11, 12]
        the store failed: (code: 1811) the rule
        [13, 14]
        [15, 16]
    "#]]
    .assert_eq(&shown);
    let told: Vec<i64> = std::iter::from_fn(|| listener.try_recv().ok()).map(|row| row.id).collect();
    assert_eq!(told, (9..17).collect::<Vec<_>>(), "nothing is told of what was not committed");
    assert_eq!(ids(&store.get_events_after_seq(8, 50).await.unwrap()), told);
}

#[tokio::test]
async fn events_and_checkpoint_are_stored_together_or_not_at_all() {
    let folder = Folder::new();
    let path = folder.path("jarvis.db");
    let store = Store::open(&path).await.unwrap();
    store.save_checkpoint(checkpoint("before")).await.unwrap();
    run(&path, "CREATE TRIGGER rule BEFORE UPDATE ON checkpoints BEGIN SELECT RAISE(ABORT, 'the rule'); END")
        .await;
    store.save_events(vec![event("one")], Some(checkpoint("after"))).await.unwrap_err();
    assert_eq!(store.get_recent_events(1).await.unwrap(), []);
    assert_eq!(store.load_checkpoint(&lab()).await.unwrap().unwrap().checkpoint.state, "before");
    run(&path, "DROP TRIGGER rule").await;
    store.save_events(vec![event("one")], Some(checkpoint("after"))).await.unwrap();
    assert_eq!(store.load_checkpoint(&lab()).await.unwrap().unwrap().checkpoint.state, "after");
    assert_eq!(store.load_checkpoint(&"edge".parse().unwrap()).await.unwrap(), None);
}

// ---- The end ----

#[tokio::test]
async fn closing_commits_what_is_queued_and_takes_no_more() {
    let folder = Folder::new();
    let path = folder.path("jarvis.db");
    let store = Store::open(&path).await.unwrap();
    let mut saves: Vec<_> = (0..500).map(|n| Box::pin(store.save_event(event(&n.to_string())))).collect();
    for save in &mut saves {
        queue(save.as_mut());
    }
    drop(saves); // Nobody waits for them, and they are queued all the same.
    assert!(store.close().await);
    assert!(store.close().await, "twice is no error");
    let refused = store.save_event(event("late")).await.unwrap_err();
    assert_eq!(refused.to_string(), "the store is closed");
    let refused = store.get_recent_events(1).await.unwrap_err();
    assert_eq!(refused.to_string(), "the store is closed");
    assert_eq!(read_column(&path, "SELECT COUNT(*) || '' FROM events").await, ["500"]);
}

#[tokio::test]
async fn a_store_is_one_process_s_at_a_time() {
    let folder = Folder::new();
    let path = folder.path("jarvis.db");
    let first = Store::open(&path).await.unwrap();
    let other_name = folder.path("other.db");
    symlink(&path, &other_name).unwrap();
    let process = std::process::id();
    for (name, path) in [("by its name", &path), ("by another name", &other_name)] {
        let refused = Store::open(path).await.unwrap_err();
        assert!(matches!(refused, OpenError::InUse { .. }), "{name}: {refused:?}");
        let expected = format!(
            "DIR/jarvis.db is in use by another jarvis (process {process}): stop it first, or give this one its own store"
        );
        assert_eq!(folder.strip(&refused.to_string()), expected, "{name}");
    }
    first.save_event(event("still mine")).await.unwrap();
    assert!(first.close().await);
    let second = Store::open(&path).await.unwrap();
    assert_eq!(second.get_recent_events(1).await.unwrap()[0].title, "still mine");
}

#[tokio::test]
async fn a_killed_process_leaves_what_it_was_told_is_written_and_no_lock() {
    if let Some(path) = std::env::var_os(CHILD) {
        return write_until_killed(Path::new(&path)).await;
    }
    let folder = Folder::new();
    let path = folder.path("jarvis.db");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "trouble::a_killed_process_leaves_what_it_was_told_is_written_and_no_lock",
            "--nocapture",
        ])
        .env(CHILD, &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It is read from until the end: a process that writes where nobody reads any more ends by itself.
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let written = lines.by_ref().filter_map(|line| line.strip_prefix("written ")?.parse().ok());
    let acknowledged: Vec<i64> = written.take(50).collect();
    let refused = Store::open(&path).await.unwrap_err().to_string();
    assert!(refused.contains(&format!("(process {})", child.id())), "{refused}");
    child.kill().unwrap();
    child.wait().unwrap();
    drop(lines);
    let store = Store::open(&path).await.unwrap();
    let there = ids(&store.get_events_after_seq(0, 1_000).await.unwrap());
    assert_eq!(acknowledged.len(), 50);
    assert_eq!(there[..50], acknowledged, "what was acknowledged is there");
    assert!(there.iter().zip(1..).all(|(id, n)| *id == n), "and nothing is there by half: {there:?}");
}

/// What the test above starts in a process of its own.
async fn write_until_killed(path: &Path) {
    let store = Store::open(path).await.unwrap();
    loop {
        let id = store.save_event(event("one")).await.unwrap().id;
        println!("written {id}");
        std::io::stdout().flush().unwrap();
    }
}

#[test]
fn an_aborted_runtime_leaves_what_was_acknowledged_and_no_lock() {
    let folder = Folder::new();
    let path = folder.path("jarvis.db");
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let store = first.block_on(async {
        let store = Store::open(&path).await.unwrap();
        store.save_events(vec![event("one"), event("two")], Some(checkpoint("{}"))).await.unwrap();
        let mut unfinished = Box::pin(store.save_event(event("three")));
        queue(unfinished.as_mut());
        drop(unfinished);
        store
    });
    drop(first); // The writer ends in the middle of whatever it does.
    let second = runtime();
    second.block_on(async {
        assert_eq!(store.save_event(event("late")).await.unwrap_err().to_string(), "the store is closed");
        let store = Store::open(&path).await.unwrap();
        let titles: Vec<String> =
            store.get_events_after_seq(0, 10).await.unwrap().into_iter().map(|row| row.title).collect();
        assert!(titles.len() <= 3 && titles[..2] == ["one", "two"], "{titles:?}");
    });
}

// ---- What cannot be opened ----

#[tokio::test]
async fn what_cannot_be_opened_is_said_clearly_and_left_as_it_is() {
    let folder = Folder::new();
    let original = fs::read(folder.original().await).unwrap();
    let garbage: Vec<u8> = (0..8_192_u32).map(|n| (n * 7 % 251) as u8).collect();
    let mut broken = original.clone();
    broken[100..400].fill(0xff); // The first page's tree: the schema.
    run(&folder.path("newer.db"), "CREATE TABLE jarvis_schema (version INTEGER, name TEXT, applied_at TEXT); INSERT INTO jarvis_schema VALUES (99, 'later', '')").await;
    run(&folder.path("foreign.db"), "CREATE TABLE events (id INTEGER, what TEXT)").await;
    let kept = |name: &str| fs::read(folder.path(name)).unwrap();
    #[rustfmt::skip]
    let table: [(&str, &str, Option<Vec<u8>>, Expect); 8] = [
        ("garbage",             "garbage.db",        Some(garbage),              expect!["garbage: DIR/garbage.db is no SQLite database; it was left as it is"]),
        ("a text",              "notes.txt",         Some(b"remember the milk, and much more than sixteen bytes\n".repeat(40)), expect!["a text: DIR/notes.txt is no SQLite database; it was left as it is"]),
        ("cut short",           "short.db",          Some(original[..5_000].to_vec()), expect!["cut short: DIR/short.db is damaged; it was left as it is. Restore a backup, or move it away to begin with an empty store: (code: 11) database disk image is malformed"]),
        ("a broken schema",     "broken.db",         Some(broken),               expect!["a broken schema: DIR/broken.db is damaged; it was left as it is. Restore a backup, or move it away to begin with an empty store: (code: 11) database disk image is malformed"]),
        ("a newer schema",      "newer.db",          Some(kept("newer.db")),     expect!["a newer schema: DIR/newer.db was written by a newer jarvis (schema 99, this one knows up to 7): start that one, or restore a backup from before it"]),
        ("another program's",   "foreign.db",        Some(kept("foreign.db")),   expect!["another program's: DIR/foreign.db belongs to another program: its table `events` has no column `timestamp`; it was left as it is"]),
        ("a folder",            ".",                 None,                       expect!["a folder: DIR/. is a folder: give the path of the database file in it"]),
        ("a file as a folder",  "notes.txt/x.db",    None,                       expect!["a file as a folder: DIR/notes.txt could not be opened: it is a file, and the database is to lie in it"]),
    ];
    for (name, file, content, expected) in table {
        let path = folder.path(file);
        if let Some(content) = &content {
            fs::write(&path, content).unwrap();
        }
        let error = anyhow::Error::from(Store::open(&path).await.unwrap_err());
        expected.assert_eq(&folder.strip(&format!("{name}: {error:#}")));
        if let Some(content) = content {
            let after = fs::read(&path).unwrap();
            assert!(after == content, "{name}: the file was changed");
        }
    }
}

#[tokio::test]
async fn an_empty_file_becomes_a_store() {
    let folder = Folder::new();
    let path = folder.path("empty.db");
    fs::write(&path, "").unwrap();
    Store::open(&path).await.unwrap().save_event(event("one")).await.unwrap();
}

/// Permissions do not bind root, so as root the question is put by a child that is nobody.
#[tokio::test]
async fn what_must_not_be_written_is_named() {
    if let Some(path) = std::env::var_os(CHILD) {
        return say_what_opening_says(Path::new(&path)).await;
    }
    let folder = Folder::new();
    let closed = folder.path("closed");
    fs::create_dir(&closed).unwrap();
    let file = folder.path("open/jarvis.db");
    fs::create_dir(folder.path("open")).unwrap();
    fs::write(&file, "").unwrap();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for path in [folder.0.as_path(), &folder.path("open")] {
        mode(path, 0o777);
    }
    mode(&closed, 0o555);
    mode(&file, 0o444);
    #[rustfmt::skip]
    let table = [
        ("a read-only file",             "open/jarvis.db",      "open/jarvis.db"),
        ("a file in a read-only folder", "closed/jarvis.db",    "closed/jarvis.db.lock"),
        ("a folder in such a one",       "closed/a/jarvis.db",  "closed/a"),
    ];
    for (name, path, blamed) in table {
        let words = open_as_nobody(&folder.path(path));
        let expected = format!(
            "no permission to write DIR/{blamed}: the database, its journal and its lock lie in one folder, and \
             the user that jarvis runs as must be able to write all of it: Permission denied (os error 13)"
        );
        assert_eq!(folder.strip(&words), expected, "{name}");
    }
}

fn open_as_nobody(path: &Path) -> String {
    // The test's own program may lie where nobody may not read, so that a copy of it is started.
    let program =
        path.ancestors().find(|folder| folder.ends_with("open") || folder.ends_with("closed")).unwrap();
    let program = program.parent().unwrap().join("program");
    if !program.exists() {
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    }
    let root = fs::metadata("/proc/self").map(|own| std::os::unix::fs::MetadataExt::uid(&own)).unwrap() == 0;
    let mut command = Command::new(&program);
    if root {
        std::os::unix::process::CommandExt::uid(&mut command, 65_534);
    }
    let output = command
        .args(["--exact", "trouble::what_must_not_be_written_is_named", "--nocapture"])
        .env(CHILD, path)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let words = text.lines().find_map(|line| line.split_once("opening: ")).map(|(_, words)| words.to_owned());
    words.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}

/// What the test above starts as another user.
async fn say_what_opening_says(path: &Path) {
    match Store::open(path).await {
        Ok(_) => println!("opening: nothing stood in the way"),
        Err(error) => println!("opening: {:#}", anyhow::Error::from(error)),
    }
}

#[tokio::test]
async fn pages_that_were_overwritten_show() {
    let folder = Folder::new();
    let path = folder.path("jarvis.db");
    let store = Store::open(&path).await.unwrap();
    for n in 0..400 {
        store.save_event(event(&n.to_string())).await.unwrap();
    }
    assert!(store.close().await);
    assert!(daemon::record::verify(&path).await.is_ok());
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 3000].fill(0xA5);
    fs::write(&path, bytes).unwrap();
    let error = daemon::record::verify(&path).await.unwrap_err();
    let words = format!("{:#}", anyhow::Error::from(error));
    assert!(words.contains("pages do not fit") || words.contains("malformed"), "{words}");
}

#[tokio::test]
async fn what_moves_the_cursor_or_breaks_a_line_is_not_stored() {
    let folder = Folder::new();
    let store = Store::open(&folder.path("jarvis.db")).await.unwrap();
    let hostile = NewEvent { message: "a\u{1b}[2J\nFAKE: critical\u{202e}".into(), ..event("web\r01") };
    let row = store.save_event(hostile).await.unwrap();
    assert_eq!((row.title.as_str(), row.message.as_str()), ("web 01", "a\u{fffd}[2J FAKE: critical\u{fffd}"));
    assert!(!row.summary.chars().any(char::is_control), "{:?}", row.summary);
}

/// Root starts it in a folder of somebody else's, who has put a link where the lock belongs.
#[tokio::test]
async fn a_lock_that_is_a_link_is_not_followed() {
    let folder = Folder::new();
    fs::write(folder.path("precious"), "precious").unwrap();
    for (name, target) in [("a file", "precious"), ("nothing", "made")] {
        symlink(folder.path(target), folder.path("jarvis.db.lock")).unwrap();
        let error = Store::open(&folder.path("jarvis.db")).await.err().unwrap();
        let error = format!("{:#}", anyhow::Error::from(error));
        assert!(error.contains("symbolic link"), "{name}: {error}");
        fs::remove_file(folder.path("jarvis.db.lock")).unwrap();
    }
    assert_eq!(fs::read_to_string(folder.path("precious")).unwrap(), "precious");
    assert!(!folder.path("made").exists());
}
