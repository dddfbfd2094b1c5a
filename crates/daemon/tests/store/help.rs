//! Folders, files and rows for the tests of the store.

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, Waker};

use daemon::record::{ActionResult, Checkpoint, EventRow, Kept, NewAction, NewEvent, Source};
use engine::observe::ClusterName;
use engine::report::{EventKind, Severity};
use jiff::Timestamp;
use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection};

/// The database of a test that starts itself in a process of its own; set, it plays that process's part.
pub(crate) const CHILD: &str = "STORE_OF_THE_CHILD";

const ORIGINAL: &str = include_str!("../data/original.sql");

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn lab() -> ClusterName {
    "lab".parse().unwrap()
}

pub(crate) fn checkpoint(state: &str) -> Checkpoint {
    Checkpoint { cluster: lab(), at: at("2026-11-23T18:58:01.250Z"), state: state.into() }
}

pub(crate) fn kept(state: &str, seq: i64) -> Kept {
    Kept { checkpoint: checkpoint(state), seq }
}

pub(crate) fn event(title: &str) -> NewEvent {
    NewEvent {
        node: Some("pve1".into()),
        ..NewEvent::plain(
            at("2026-11-23T18:58:01.250Z"),
            EventKind::Alert,
            Severity::Warning,
            Source::Monitor,
            title,
            &format!("message of {title}"),
        )
    }
}

pub(crate) fn action() -> NewAction {
    NewAction {
        at: at("2026-11-23T18:58:01.250Z"),
        incident_key: "VM_CRASHED:9999".into(),
        incident_id: "5f0c7d2e-0d3b-4a51-9c8e-2b1f6a7d9e10".into(),
        runbook_id: "vm-crashed-restart".into(),
        condition: "VM_CRASHED".into(),
        action: "start_vm".into(),
        action_args: Some("{\"vmid\":9999}".into()),
        result: ActionResult::Success,
        result_details: Some("started".into()),
        verification_result: None,
        autonomy_level: 3,
        node: Some("pve1".into()),
        attempt_number: 1,
        escalated: false,
        email_sent: false,
        cluster: Some("lab".into()),
    }
}

pub(crate) fn ids(rows: &[EventRow]) -> Vec<i64> {
    rows.iter().map(|row| row.id).collect()
}

/// Puts a write into the queue without waiting for it. Unconstrained: after 128 of them tokio would have the test
/// give way first.
pub(crate) fn queue<T>(write: std::pin::Pin<&mut impl Future<Output = T>>) {
    let write = std::pin::pin!(tokio::task::unconstrained(write));
    assert!(matches!(write.poll(&mut Context::from_waker(Waker::noop())), Poll::Pending));
}

/// A folder that goes with the test.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        let folder = std::env::temp_dir().join(format!("jarvis-store-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&folder).unwrap();
        Folder(fs::canonicalize(folder).unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A file of the original, with its rows.
    pub(crate) async fn original(&self) -> PathBuf {
        let path = self.path("original.db");
        run(&path, ORIGINAL).await;
        path
    }

    /// The words without this folder's name.
    pub(crate) fn strip(&self, words: &str) -> String {
        words.replace(&self.0.display().to_string(), "DIR")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}

pub(crate) async fn connect(path: &Path) -> SqliteConnection {
    SqliteConnection::connect(&format!("sqlite://{}?mode=rwc", path.display())).await.unwrap()
}

pub(crate) async fn run(path: &Path, sql: &str) {
    let mut hand = connect(path).await;
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut hand).await.unwrap();
    hand.close().await.unwrap();
}

pub(crate) async fn read_column(path: &Path, sql: &'static str) -> Vec<String> {
    let mut hand = connect(path).await;
    let rows = sqlx::query(sql).fetch_all(&mut hand).await.unwrap();
    hand.close().await.unwrap();
    rows.iter()
        .map(|row| row.try_get_unchecked::<Option<String>, _>(0).unwrap().unwrap_or("NULL".into()))
        .collect()
}

/// Overwrites the first page of a table. Nobody may have the file open.
pub(crate) async fn damage(path: &Path, table: &str) {
    let mut conn = connect(path).await;
    let page = format!(
        "SELECT rootpage || ' ' || (SELECT page_size FROM pragma_page_size) FROM sqlite_schema WHERE name = '{table}'"
    );
    let row = sqlx::query(AssertSqlSafe(page)).fetch_one(&mut conn).await.unwrap();
    let numbers: Vec<usize> = row.get::<String, _>(0).split(' ').map(|n| n.parse().unwrap()).collect();
    conn.close().await.unwrap();
    let [page, size] = numbers[..] else { panic!("{numbers:?}") };
    let mut bytes = fs::read(path).unwrap();
    bytes[(page - 1) * size..page * size].fill(0xA5);
    fs::write(path, bytes).unwrap();
}
