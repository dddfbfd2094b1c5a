//! The one task that writes, and every statement that changes something.
//!
//! **Group commit.** A commit costs one wait for the disk, whatever is in it. So the task takes everything that is
//! queued at the moment and commits it as one transaction; while it does so, the next group queues up. There is no
//! timer: waiting for a bigger group was measured to make it slower (crates.md 4).
//!
//! **One's failure is not the others'.** When anything in a group fails, the whole group is rolled back and each
//! write is tried again alone, so that each caller gets the answer to its own write. A write is plain data, so it
//! can be applied twice.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use sqlx::{SqliteConnection, SqlitePool};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::StoreError;
use super::chain::Head;
use super::damage::Damage;
use super::open::{Cause, Code, Identity, Lock};
use super::row::EventRow;
use crate::kill_point;

/// Most writes in one transaction. With one event each that is some 20 ms on the machine where it was measured.
const GROUP_MAX: usize = 256;
/// How long the end waits for readers to finish before it checkpoints without them.
const READERS_END_MAX: Duration = Duration::from_secs(2);
/// How long the end waits for the journal's head to be on the disk.
const HEAD_END_MAX: Duration = Duration::from_secs(2);

/// Something to be written, as data: applied within a transaction that somebody else commits.
pub(super) trait Write: Send + Sync + 'static {
    type Output: Send + 'static;

    fn apply(
        &self,
        conn: &mut SqliteConnection,
    ) -> impl Future<Output = Result<Self::Output, sqlx::Error>> + Send;

    /// The events in what was written, to be told once it is committed.
    fn events(_: &Self::Output) -> &[Arc<EventRow>] {
        &[]
    }

    /// Where the journal ends, if something was appended to it.
    fn head(_: &Self::Output) -> Option<Head> {
        None
    }

    /// The kinds of entries in it, for the kill points.
    fn kinds(&self) -> Vec<&'static str> {
        Vec::new()
    }
}

/// What the writer is sent.
pub(super) enum Message {
    Write(Box<dyn Job>),
    /// Take no more, finish what is queued, end.
    Close,
}

/// A write with the channel on which its caller waits.
pub(super) trait Job: Send {
    fn apply<'a>(&'a mut self, conn: &'a mut SqliteConnection) -> Applied<'a>;
    fn events(&self) -> &[Arc<EventRow>];
    fn head(&self) -> Option<Head>;
    fn kinds(&self) -> Vec<&'static str>;
    fn answer(self: Box<Self>, result: Result<(), StoreError>);
}

type Answer<T> = oneshot::Receiver<Result<T, StoreError>>;
type Applied<'a> = Pin<Box<dyn Future<Output = Result<(), sqlx::Error>> + Send + 'a>>;

struct Pending<W: Write> {
    write: W,
    output: Option<W::Output>,
    caller: oneshot::Sender<Result<W::Output, StoreError>>,
}

/// A job for the writer, and where its answer will arrive.
pub(super) fn job<W: Write>(write: W) -> (Box<dyn Job>, Answer<W::Output>) {
    let (caller, answer) = oneshot::channel();
    (Box::new(Pending { write, output: None, caller }), answer)
}

impl<W: Write> Job for Pending<W> {
    fn apply<'a>(&'a mut self, conn: &'a mut SqliteConnection) -> Applied<'a> {
        Box::pin(async move {
            self.output = Some(self.write.apply(conn).await?);
            Ok(())
        })
    }

    fn events(&self) -> &[Arc<EventRow>] {
        self.output.as_ref().map(W::events).unwrap_or_default()
    }

    fn head(&self) -> Option<Head> {
        self.output.as_ref().and_then(W::head)
    }

    fn kinds(&self) -> Vec<&'static str> {
        self.write.kinds()
    }

    fn answer(self: Box<Self>, result: Result<(), StoreError>) {
        let Pending { output, caller, .. } = *self;
        let answer = result.and_then(|()| output.ok_or(StoreError::Closed));
        // A caller that no longer waits has its write all the same.
        if caller.send(answer).is_err() {
            tracing::debug!("nobody waits for this write");
        }
    }
}

/// What the writer has done since it began.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) writes: AtomicU64,
    pub(super) commits: AtomicU64,
    /// Whether the last transaction failed.
    pub(super) failing: AtomicBool,
    /// Events by severity, from info to critical.
    pub(super) events: [AtomicU64; 4],
    /// Number of the newest row of the journal.
    pub(super) journal_head: AtomicI64,
    pub(super) damage: Damage,
}

pub(super) struct Writer {
    pub(super) conn: SqliteConnection,
    /// Where the file is to be, and which it is.
    pub(super) file: (PathBuf, Identity),
    pub(super) readers: SqlitePool,
    pub(super) queue: mpsc::Receiver<Message>,
    pub(super) committed: broadcast::Sender<Arc<EventRow>>,
    pub(super) counts: Arc<Counts>,
    pub(super) ended: watch::Sender<bool>,
    /// To the task that keeps the head of the journal beside the database.
    pub(super) heads: watch::Sender<Head>,
    pub(super) keeper: JoinHandle<()>,
    /// As long as anything may be written, nobody else may.
    pub(super) lock: Lock,
}

impl Writer {
    /// Until the store is closed, or nobody is left who could write.
    pub(super) async fn run(mut self) {
        let mut messages = Vec::with_capacity(GROUP_MAX);
        while self.queue.recv_many(&mut messages, GROUP_MAX).await > 0 {
            let mut group = Vec::with_capacity(messages.len());
            for message in messages.drain(..) {
                match message {
                    Message::Write(job) => group.push(job),
                    Message::Close => self.queue.close(),
                }
            }
            self.write(group).await;
        }
        self.end().await;
    }

    async fn write(&mut self, mut group: Vec<Box<dyn Job>>) {
        match self.commit(&mut group).await {
            Ok(()) => group.into_iter().for_each(|job| self.tell(job)),
            Err(error) if group.len() == 1 => {
                if let Some(job) = group.pop() {
                    job.answer(Err(error.into()));
                }
            }
            // Not one write's doing, and each would wait for the foreign hand again, one after the other.
            Err(error) if Code::of(&error) == Code::Busy => {
                let cause = Cause::from(error);
                group.into_iter().for_each(|job| job.answer(Err(StoreError::Busy(cause.clone()))));
            }
            Err(error) => {
                tracing::debug!(%error, writes = group.len(), "a group failed; each write is tried alone");
                for mut job in group {
                    match self.commit(std::slice::from_mut(&mut job)).await {
                        Ok(()) => self.tell(job),
                        Err(error) => job.answer(Err(error.into())),
                    }
                }
            }
        }
    }

    /// One transaction for all of them.
    async fn commit(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), sqlx::Error> {
        if group.is_empty() {
            return Ok(());
        }
        let (path, identity) = &self.file;
        let result = match identity.still_at(path) {
            Ok(()) => commit(&mut self.conn, group).await,
            Err(error) => Err(error),
        };
        self.counts.failing.store(result.is_err(), Ordering::Relaxed);
        if let Err(error) = &result {
            self.counts.damage.note_error(error);
        }
        match &result {
            Ok(()) => {
                self.counts.writes.fetch_add(group.len() as u64, Ordering::Relaxed);
                self.counts.commits.fetch_add(1, Ordering::Relaxed);
            }
            // SQLite itself has rolled back after some errors, a full disk among them; then this one fails, and
            // the connection is as good as before.
            Err(_) => {
                if let Err(error) = sqlx::query("ROLLBACK").execute(&mut self.conn).await {
                    tracing::debug!(%error, "nothing to roll back");
                }
            }
        }
        result
    }

    /// It is committed: everybody hears of it, in the order of the rows' numbers, and then its caller.
    fn tell(&self, job: Box<dyn Job>) {
        kill_point::of("turn.committed", || job.kinds());
        if let Some(head) = job.head() {
            self.counts.journal_head.store(head.seq, Ordering::Relaxed);
            self.heads.send_replace(head);
        }
        for event in job.events() {
            // An error says that nobody listens, which is nobody's fault.
            self.counts.events[event.severity as usize].fetch_add(1, Ordering::Relaxed);
            let listeners = self.committed.send(Arc::clone(event)).unwrap_or(0);
            tracing::trace!(seq = event.id, listeners, "told");
        }
        kill_point::of("turn.told", || job.kinds());
        job.answer(Ok(()));
    }

    async fn end(self) {
        let Writer { mut conn, readers, ended, heads, keeper, lock, .. } = self;
        drop(heads);
        if tokio::time::timeout(READERS_END_MAX, readers.close()).await.is_err() {
            tracing::warn!("a reader of the store has not finished");
        }
        // Readers of other processes may keep the log from being emptied; it is then read at the next opening.
        if let Err(error) = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut conn).await {
            tracing::warn!(%error, "the store's write-ahead log was not emptied");
        }
        if let Err(error) = sqlx::Connection::close(conn).await {
            tracing::warn!(%error, "the store was not closed cleanly");
        }
        if tokio::time::timeout(HEAD_END_MAX, keeper).await.is_err() {
            tracing::warn!("the journal's head was not written in time; it is brought up at the next start");
        }
        drop(lock);
        ended.send_replace(true);
    }
}

async fn commit(conn: &mut SqliteConnection, group: &mut [Box<dyn Job>]) -> Result<(), sqlx::Error> {
    // IMMEDIATE: the wait for a foreign hand is here, where nothing has been done yet.
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *conn).await?;
    for job in group {
        job.apply(conn).await?;
    }
    sqlx::query("COMMIT").execute(conn).await.map(drop)
}

#[cfg(test)]
mod tests {
    use engine::report::{EventKind, Severity};
    use jiff::Timestamp;
    use sqlx::Connection;

    use super::super::chain::Signer;
    use super::super::change::{SaveTurn, Saved};
    use super::super::migrate::migrate;
    use super::super::new::NewEvent;
    use super::super::row::Source;
    use super::*;

    fn event(message: &str) -> Box<dyn Job> {
        waited_for(message).0
    }

    fn waited_for(message: &str) -> (Box<dyn Job>, Answer<Saved>) {
        let (at, kind, severity) = (Timestamp::UNIX_EPOCH, EventKind::Alert, Severity::Info);
        let event = NewEvent::plain(at, kind, severity, Source::Monitor, "one", message).fitted();
        let signer = Signer::new(&[7; 32]);
        job(SaveTurn { signer, entries: Vec::new(), events: vec![event], checkpoint: None })
    }

    /// SQLite's own limit of pages gives the very error of a full disk.
    #[tokio::test]
    async fn a_full_disk_is_named_and_what_fits_is_written_again_once_there_is_room() {
        let mut conn = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        migrate(&mut conn, Timestamp::UNIX_EPOCH).await.unwrap();
        sqlx::query("PRAGMA max_page_count = 40").execute(&mut conn).await.unwrap();
        let large = "x".repeat(2_000);
        let mut written = 0;
        let error = loop {
            match commit(&mut conn, &mut [event(&large)]).await {
                Ok(()) => written += 1,
                Err(error) => break error,
            }
            assert!(written < 100, "the limit holds");
        };
        assert_eq!(StoreError::from(error).to_string(), "the disk that holds the store is full");
        // Whether SQLite has rolled back by itself or not, this leaves no transaction behind.
        let _rolled_back = sqlx::query("ROLLBACK").execute(&mut conn).await.is_ok();
        sqlx::query("PRAGMA max_page_count = 400").execute(&mut conn).await.unwrap();
        commit(&mut conn, &mut [event(&large)]).await.unwrap();
        let row = sqlx::query("SELECT COUNT(*) FROM events").fetch_one(&mut conn).await.unwrap();
        assert_eq!(sqlx::Row::get::<i64, _>(&row, 0), written + 1);
    }

    /// Each would otherwise wait its five seconds, one after the other.
    #[tokio::test]
    async fn a_foreign_hand_is_waited_for_once_by_all_of_a_group() {
        let file = std::env::temp_dir().join(format!("jarvis-busy-{}.db", uuid::Uuid::new_v4()));
        let wait = Duration::from_millis(50);
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file).create_if_missing(true);
        let options = options.busy_timeout(wait);
        let mut conn = sqlx::ConnectOptions::connect(&options).await.unwrap();
        migrate(&mut conn, Timestamp::UNIX_EPOCH).await.unwrap();
        let mut hand = sqlx::ConnectOptions::connect(&options).await.unwrap();
        sqlx::query("BEGIN IMMEDIATE").execute(&mut hand).await.unwrap();

        let mut writer = Writer {
            conn,
            file: (file.clone(), Identity::of(&file).unwrap()),
            readers: SqlitePool::connect_lazy_with(options),
            queue: mpsc::channel(1).1,
            committed: broadcast::channel(1).0,
            counts: Arc::default(),
            ended: watch::channel(false).0,
            heads: watch::channel(Head::NONE).0,
            keeper: tokio::spawn(async {}),
            lock: Lock::of_nothing(),
        };
        let (group, answers): (Vec<_>, Vec<_>) = (0..100).map(|n| waited_for(&n.to_string())).unzip();
        let began = std::time::Instant::now();
        writer.write(group).await;
        assert!(began.elapsed() < wait * 100 / 2, "{:?}", began.elapsed());
        for answer in answers {
            let Err(error) = answer.await.unwrap() else { panic!("written in spite of the hand") };
            assert_eq!(error.to_string(), "the store is busy");
        }
        sqlx::query("ROLLBACK").execute(&mut hand).await.unwrap();
        let (job, answer) = waited_for("after it");
        writer.write(vec![job]).await;
        assert_eq!(answer.await.unwrap().ok().unwrap().rows[0].id, 1);
        std::fs::remove_file(file).unwrap();
    }
}
