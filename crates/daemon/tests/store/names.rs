//! One file by several names, and two processes: what SQLite cannot bear is refused before it is touched.

use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use daemon::record::{OpenError, Store};

use super::help::{CHILD, Folder, event};

/// A second process that has the store open until it is killed.
struct Holder(Child);

impl Holder {
    fn of(path: &Path) -> Holder {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "names::one_file_is_one_process_s_by_whatever_name", "--nocapture"])
            .env(CHILD, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut holder = Holder(child);
        let lines = BufReader::new(holder.0.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.into_iter().any(|line| line == "opened"), "the other process has it");
        holder
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // What has ended by itself need not be killed.
        drop(self.0.kill());
        self.0.wait().unwrap();
    }
}

/// What the other process does: it has it open for as long as somebody holds the other end of its input.
async fn hold(path: &Path) {
    let store = Store::open(path).await.unwrap();
    store.save_event(event("by the other process")).await.unwrap();
    println!("opened");
    std::io::stdout().flush().unwrap();
    tokio::task::spawn_blocking(|| std::io::stdin().lines().count()).await.unwrap();
}

#[tokio::test]
async fn one_file_is_one_process_s_by_whatever_name() {
    if let Some(path) = std::env::var_os(CHILD) {
        return hold(Path::new(&path)).await;
    }
    let folder = Folder::new();
    let path = folder.path("a/jarvis.db");
    fs::create_dir(folder.path("b")).unwrap();
    let other = folder.path("b/jarvis.db");
    let holder = Holder::of(&path);
    let process = holder.0.id();

    // As a bind mount of the file has it: another name, in whose folder no lock lies.
    fs::rename(&path, &other).unwrap();
    let refused = Store::open(&other).await.unwrap_err();
    assert!(matches!(refused, OpenError::InUse { .. }), "{refused:?}");
    let expected = "DIR/b/jarvis.db is in use by another jarvis (by another name of the file): stop it first, or give this one its own store";
    assert_eq!(folder.strip(&refused.to_string()), expected);
    fs::rename(&other, &path).unwrap();

    fs::hard_link(&path, &other).unwrap();
    let words = folder.strip(&Store::open(&other).await.unwrap_err().to_string());
    assert_eq!(words, expected, "a link to what is in use");
    let words = folder.strip(&Store::open(&path).await.unwrap_err().to_string());
    assert!(
        words.starts_with(&format!("DIR/a/jarvis.db is in use by another jarvis (process {process})")),
        "{words}"
    );

    drop(holder);
    for (name, path) in [("the first name", &path), ("the other", &other)] {
        let refused = Store::open(path).await.unwrap_err();
        assert!(matches!(refused, OpenError::Linked { names: 2, .. }), "{name}: {refused:?}");
        assert!(refused.to_string().contains("Remove the other name, or give this one a copy"), "{refused}");
    }
    fs::remove_file(&other).unwrap();
    let store = Store::open(&path).await.unwrap();
    let titles: Vec<_> = store.get_recent_events(5).await.unwrap().into_iter().map(|row| row.title).collect();
    assert_eq!(titles, ["by the other process"], "what was written is there");
}

#[tokio::test]
async fn nothing_is_left_beside_what_is_no_database() {
    let folder = Folder::new();
    let path = folder.path("notes.txt");
    fs::write(&path, "remember the milk\n").unwrap();
    let before = fs::read_dir(folder.path("")).unwrap().count();
    let refused = Store::open(&path).await.unwrap_err();
    assert!(matches!(refused, OpenError::NotADatabase { .. }), "{refused:?}");
    assert_eq!(fs::read_dir(folder.path("")).unwrap().count(), before);
    assert_eq!(fs::read(&path).unwrap(), b"remember the milk\n");
}
