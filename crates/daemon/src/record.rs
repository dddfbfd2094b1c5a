//! Record: the SQLite store. What is told was recorded first, and what was acknowledged is on the disk.
//!
//! One task writes, in groups (`write`); a few connections read. The four tables of the original keep their names
//! and columns, and what we add stands beside them (`migrate`): above all the journal (`journal`), which is the truth
//! and of which `events` is the projection. All SQL of the program is in this folder.
//!
//! It knows no clock: what is stored with a time is handed one.

mod chain;
mod change;
mod course;
mod damage;
mod incidents;
mod journal;
mod list;
mod look;
mod migrate;
mod mute;
mod new;
mod notice;
mod open;
mod operate;
mod outbox;
mod read;
mod remedy;
mod row;
mod scope;
mod seal;
mod time;
mod unmute;
mod users;
mod verify;
mod write;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use engine::observe::ClusterName;
use engine::report::EventKind;
use jiff::{SignedDuration, Timestamp};
use sqlx::SqlitePool;
use tokio::sync::{broadcast, mpsc, watch};

use change::{Aged, Prune, ResolveEvent, SaveAction, SaveSnapshot, SaveTurn, SetPreference, StartAnew};
use seal::Seal;
use write::{Counts, Message, Writer};

pub use chain::Misfit;
pub use course::Course;
pub use damage::Checked;
pub use incidents::{IncidentRow, Resolution, Told};
pub use journal::{JournalRow, Kind};
pub use list::{ActionFilter, EventFilter, IncidentFilter, JournalFilter, ListPage, Part, Position, Window};
pub use look::{Looked, look};
pub use mute::{Muted, Mutes, Telling};
pub use new::{Checkpoint, Kept, Marks, NewAction, NewEntry, NewEvent, Operator};
pub use notice::{NOTE_MAX, NewNotice, Notice, NoticeKind, OPEN_MAX, When, minute};
pub use open::{Cause, OpenError};
pub use operate::{
    Done, Ended, KILL_SWITCH, LEVEL, Setting, kill_switch_in_force, level_in_force, level_name,
};
pub use outbox::{ChannelKind, ChannelRow, Content, Line, NewChannel, Tried, Waiting};
pub use row::{
    ActionResult, ActionRow, EventRow, JSON_DEPTH_MAX, Preference, RestAction, RestEvent, SnapshotRow,
    SocketEvent, Source, kind_from_word, severity_from_word, sound_json, split_summary,
};
pub use scope::{Ahead, LOOKED_AT_MAX, Scope};
pub use users::{AccountChange, AccountRows, PasswordText, PeerRow, SessionRow, TokenRow, UserRow};
pub use verify::{Verified, VerifyError, verify};

/// Writes that may wait. Beyond it a caller waits for its place, so a slow disk slows the callers down and does not
/// fill the memory.
const QUEUE_MAX: usize = 1_024;
/// Events that a listener may lag behind before it has to catch up with [`Store::get_events_after_seq`].
const COMMITTED_MAX: usize = 1_024;
/// Most rows in one answer.
const ROWS_MAX: u32 = 1_000;
/// Most events in one write: every guest of the biggest cluster, at once.
const EVENTS_MAX: usize = 20_000;
/// Most entries in one write: as many, and as many again that are only written down.
const ENTRIES_MAX: usize = 40_000;
/// Most rows of the journal that an engine goes on from. Between two checkpoints there are some thousands at the worst.
const SINCE_MAX: usize = 100_000;
/// Rows of the journal in one question.
const SINCE_BATCH: i64 = 1_000;
/// Most JSON in one checkpoint or snapshot, in bytes: 20,000 guests at some 400 bytes, four times over.
const DOCUMENT_MAX: usize = 32 * 1024 * 1024;
/// Longest key of a preference, in bytes.
const KEY_MAX: usize = 200;
/// Longest value of a preference, in bytes.
const VALUE_MAX: usize = 64 * 1024;
/// Rows that one pruning takes away in one transaction, so that nobody waits behind it for long.
const PRUNE_BATCH: i64 = 500;
/// Batches of one pruning. What is left then goes at the next one, half an hour later.
const PRUNE_BATCHES_MAX: u32 = 200;
/// How long the end may take.
const CLOSE_MAX: Duration = Duration::from_secs(10);

/// The store. Clones are the same store.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    readers: SqlitePool,
    queue: mpsc::Sender<Message>,
    committed: broadcast::Sender<Arc<EventRow>>,
    counts: Arc<Counts>,
    seal: Seal,
    ended: watch::Receiver<bool>,
    /// How often a preference was set.
    settings: watch::Sender<u64>,
}

/// Why something was not stored, or not read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Stop.
    #[error("the store is closed")]
    Closed,
    /// Make room; the store takes up again by itself.
    #[error("the disk that holds the store is full")]
    DiskFull(#[source] Cause),
    /// Try again.
    #[error("the store is busy")]
    Busy(#[source] Cause),
    /// Ask for less.
    #[error("{what} is too large to be stored: {size}, and at most {max}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// How large, in bytes or pieces.
        size: usize,
        /// What would do.
        max: usize,
    },
    /// Have it verified: traces of a foreign hand are kept, and with them what is old.
    #[error("old rows of the journal are kept, because it does not fit: {0}; see `jarvis audit verify`")]
    Misfit(Misfit),
    /// Look at the cause.
    #[error("the store failed")]
    Sqlite(#[source] Cause),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> StoreError {
        use open::Code;
        if matches!(error, sqlx::Error::PoolClosed) {
            return StoreError::Closed;
        }
        if matches!(error, sqlx::Error::PoolTimedOut) {
            return StoreError::Busy(error.into());
        }
        match Code::of(&error) {
            Code::Full => StoreError::DiskFull(error.into()),
            Code::Busy => StoreError::Busy(error.into()),
            Code::Corrupt | Code::Denied | Code::NotADatabase | Code::Other => {
                StoreError::Sqlite(error.into())
            }
        }
    }
}

/// What the store has written since it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Writes that were committed.
    pub writes: u64,
    /// Transactions that it took; fewer when writes came together.
    pub commits: u64,
}

/// What the store has told since it was opened, and how it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// Events that were stored, from info to critical.
    pub events: [u64; 4],
    /// Writes that wait.
    pub waiting: usize,
    /// Number of the newest row of the journal; 0 before the first.
    pub journal_head: i64,
}

type Answer<T> = Result<T, StoreError>;

impl Store {
    /// Opens the file, or makes it: the folder for its owner alone (0700), the file too (0600). An existing file
    /// keeps its mode. A file of the original is brought up to our schema, which only adds to it.
    pub async fn open(path: &Path) -> Result<Store, OpenError> {
        let open::Opened { path, identity, writer, readers, seal, head_file, head, lock } =
            open::open(path).await?;
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let (committed, _) = broadcast::channel(COMMITTED_MAX);
        let (ended, has_ended) = watch::channel(false);
        let counts = Arc::new(Counts::default());
        counts.journal_head.store(head.seq, Ordering::Relaxed);
        let (heads, newest) = watch::channel(chain::Head::NONE);
        let keeper = tokio::spawn(head_file.keep(seal.clone(), newest));
        // Brought up to date: after a kill it may be some rows behind.
        heads.send_replace(head);
        let writer = Writer {
            conn: writer,
            file: (path.clone(), identity),
            readers: readers.clone(),
            queue: jobs,
            committed: committed.clone(),
            counts: Arc::clone(&counts),
            ended,
            signer: seal.signer.clone(),
            unsure: false,
            heads,
            keeper,
            lock,
        };
        tokio::spawn(writer.run());
        Ok(Store {
            shared: Arc::new(Shared {
                path,
                readers,
                queue,
                committed,
                counts,
                seal,
                ended: has_ended,
                settings: watch::channel(0).0,
            }),
        })
    }

    /// The file, by the one path that leads to it.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Everything that is queued is committed, the write-ahead log is moved into the file, and another process may
    /// open it. Later writes are refused. False when that took longer than 10 s; what was acknowledged is safe
    /// all the same.
    pub async fn close(&self) -> bool {
        let mut ended = self.shared.ended.clone();
        let end = async {
            // An error says that the writer has ended already.
            if self.shared.queue.send(Message::Close).await.is_err() {
                tracing::debug!("the store was closed already");
            }
            ended.wait_for(|ended| *ended).await.is_ok()
        };
        tokio::time::timeout(CLOSE_MAX, end).await.unwrap_or(false)
    }

    /// Every event after its commit, in the order of its number. Who lags behind by more than 1,024 is told so by
    /// the channel and catches up with [`Store::get_events_after_seq`].
    pub fn committed(&self) -> broadcast::Receiver<Arc<EventRow>> {
        self.shared.committed.subscribe()
    }

    /// Whether the last write failed: what happens now cannot be recorded, and so is not told.
    pub fn is_failing(&self) -> bool {
        self.shared.counts.failing.load(Ordering::Relaxed)
    }

    /// What has been written since the store was opened.
    pub fn written(&self) -> Written {
        let Counts { writes, commits, .. } = &*self.shared.counts;
        Written { writes: writes.load(Ordering::Relaxed), commits: commits.load(Ordering::Relaxed) }
    }

    /// How the store is.
    pub fn health(&self) -> Health {
        let Counts { events, journal_head, .. } = &*self.shared.counts;
        Health {
            events: std::array::from_fn(|severity| events[severity].load(Ordering::Relaxed)),
            waiting: self.shared.queue.max_capacity() - self.shared.queue.capacity(),
            journal_head: journal_head.load(Ordering::Relaxed),
        }
    }

    /// Stores one event; on the disk when this returns. One that resolves its incident is stored as resolved, and
    /// so are the incident's earlier events.
    pub async fn save_event(&self, event: NewEvent) -> Answer<Arc<EventRow>> {
        let mut rows = self.save_events(vec![event], None).await?;
        rows.pop().ok_or(StoreError::Closed)
    }

    /// Stores events in their order, and with them where the engine goes on after a restart: all or nothing.
    pub async fn save_events(
        &self,
        events: Vec<NewEvent>,
        checkpoint: Option<Checkpoint>,
    ) -> Answer<Vec<Arc<EventRow>>> {
        self.save_turn(Vec::new(), events, checkpoint).await
    }

    /// Stores what an engine wrote down and told, in its order, and where it goes on after that: all or nothing. The
    /// checkpoint must include all of its cluster's entries, those that are stored and these.
    pub async fn save_turn(
        &self,
        entries: Vec<NewEntry>,
        events: Vec<NewEvent>,
        checkpoint: Option<Checkpoint>,
    ) -> Answer<Vec<Arc<EventRow>>> {
        within("a number of entries", entries.len(), ENTRIES_MAX)?;
        within("a number of events", events.len(), EVENTS_MAX)?;
        if let Some(checkpoint) = &checkpoint {
            within("a checkpoint", checkpoint.state.len(), DOCUMENT_MAX)?;
        }
        let events = events.into_iter().map(NewEvent::fitted).collect();
        Ok(self.write(SaveTurn { signer: self.signer(), entries, events, checkpoint }).await?.rows)
    }

    /// A cluster's engine begins anew, for a reason: what it had told and not ended is ended by the system, which
    /// says so in an event and in the journal. `checkpoint` is where it begins.
    pub async fn start_anew(&self, reason: &str, checkpoint: Checkpoint) -> Answer<Vec<Arc<EventRow>>> {
        within("a checkpoint", checkpoint.state.len(), DOCUMENT_MAX)?;
        Ok(self.write(StartAnew { signer: self.signer(), reason: reason.to_owned(), checkpoint }).await?.rows)
    }

    /// Whether something that was told of a cluster's incidents is not over.
    pub async fn has_open_incident(&self, cluster: &ClusterName) -> Answer<bool> {
        Ok(read::has_open_incident(&self.shared.readers, cluster).await?)
    }

    /// The newest, newest first. Here and below, `limit` is taken as 1 to 1,000.
    pub async fn get_recent_events(&self, limit: u32) -> Answer<Vec<EventRow>> {
        Ok(read::recent_events(&self.shared.readers, rows(limit)).await?)
    }

    /// What is not over, newest first. The monitor's news and heartbeats, which belong to no incident, are never
    /// over and do not count.
    pub async fn get_unresolved(&self, limit: u32) -> Answer<Vec<EventRow>> {
        Ok(read::unresolved_events(&self.shared.readers, rows(limit)).await?)
    }

    /// As [`Store::get_recent_events`], of what somebody is shown. Here and in the next two: fewer where they are rarer
    /// than one in some thousand, or weigh megabytes.
    pub async fn get_recent_events_of(&self, scope: &Scope, limit: u32) -> Answer<Vec<EventRow>> {
        Ok(scope::recent_events(&self.shared.readers, scope, rows(limit)).await?)
    }

    /// As [`Store::get_unresolved`], of what somebody is shown.
    pub async fn get_unresolved_of(&self, scope: &Scope, limit: u32) -> Answer<Vec<EventRow>> {
        Ok(scope::unresolved_events(&self.shared.readers, scope, rows(limit)).await?)
    }

    /// As [`Store::get_autonomy_actions`], of what somebody is shown.
    pub async fn get_autonomy_actions_of(&self, scope: &Scope, limit: u32) -> Answer<Vec<ActionRow>> {
        Ok(scope::actions(&self.shared.readers, scope, rows(limit)).await?)
    }

    /// What happened at or after a time, newest first.
    pub async fn get_events_since(&self, since: Timestamp, limit: u32) -> Answer<Vec<EventRow>> {
        Ok(read::events_since(&self.shared.readers, since, rows(limit)).await?)
    }

    /// What was recorded after a number, oldest first: for those who catch up. An empty answer is the end.
    pub async fn get_events_after_seq(&self, seq: i64, limit: u32) -> Answer<Vec<EventRow>> {
        Ok(read::events_after_seq(&self.shared.readers, seq, rows(limit)).await?)
    }

    /// As [`Store::get_events_after_seq`], of what somebody is shown, a piece at a time.
    pub async fn get_events_after_seq_of(&self, seq: i64, limit: u32, scope: &Scope) -> Answer<Ahead> {
        Ok(scope::events_after(&self.shared.readers, seq, rows(limit), scope).await?)
    }

    /// The number, `seq` or later, behind which there are at most so many events that somebody is shown.
    pub async fn seq_with_at_most_behind(&self, seq: i64, most: u32, scope: &Scope) -> Answer<i64> {
        Ok(scope::with_at_most_behind(&self.shared.readers, seq, rows(most), scope).await?)
    }

    /// What happened on a node, newest first.
    pub async fn get_events_by_node(&self, node: &str, limit: u32) -> Answer<Vec<EventRow>> {
        Ok(read::events_by_node(&self.shared.readers, node, rows(limit)).await?)
    }

    /// What is of a kind, newest first.
    pub async fn get_events_by_type(&self, kind: EventKind, limit: u32) -> Answer<Vec<EventRow>> {
        Ok(read::events_by_type(&self.shared.readers, kind, rows(limit)).await?)
    }

    /// One event by its number.
    pub async fn event(&self, seq: i64) -> Answer<Option<EventRow>> {
        Ok(read::event(&self.shared.readers, seq).await?)
    }

    /// A page of the events, newest first; see [`Window`].
    pub async fn list_events(&self, window: Window, filter: EventFilter) -> Answer<ListPage<EventRow>> {
        Ok(list::events(&self.shared.readers, window, filter).await?)
    }

    /// A page of the incidents, newest first.
    pub async fn list_incidents(
        &self,
        window: Window,
        filter: IncidentFilter,
    ) -> Answer<ListPage<IncidentRow>> {
        Ok(list::incidents(&self.shared.readers, window, filter).await?)
    }

    /// A page of the actions, newest first.
    pub async fn list_actions(&self, window: Window, filter: ActionFilter) -> Answer<ListPage<ActionRow>> {
        Ok(list::actions(&self.shared.readers, window, filter).await?)
    }

    /// A page of the journal, newest first.
    pub async fn list_journal(&self, window: Window, filter: JournalFilter) -> Answer<ListPage<JournalRow>> {
        Ok(list::journal(&self.shared.readers, window, filter).await?)
    }

    /// The incidents with an id: one, unless two clusters' engines made the same.
    pub async fn incidents_by_id(&self, id: &str) -> Answer<Vec<IncidentRow>> {
        Ok(incidents::by_id(&self.shared.readers, id).await?)
    }

    /// How far what is done about incidents has come, by their numbers.
    pub async fn courses(&self, incidents: &[i64]) -> Answer<HashMap<i64, Course>> {
        Ok(course::courses(&self.shared.readers, incidents).await?)
    }

    /// What was told of an incident, oldest first.
    pub async fn incident_events(&self, incident: &IncidentRow, limit: u32) -> Answer<Part<EventRow>> {
        Ok(incidents::events(&self.shared.readers, incident, rows(limit)).await?)
    }

    /// What was written down of an incident, oldest first.
    pub async fn incident_entries(&self, incident: &IncidentRow, limit: u32) -> Answer<Part<JournalRow>> {
        Ok(incidents::entries(&self.shared.readers, incident, rows(limit)).await?)
    }

    /// How many incidents are open, by cluster; one without any is not named.
    pub async fn open_incidents(&self) -> Answer<Vec<(String, i64)>> {
        Ok(incidents::open_by_cluster(&self.shared.readers).await?)
    }

    /// Somebody says that an event is over. `None`: there is no such event. One that is over stays as it is.
    pub async fn resolve_event(&self, id: i64, by: &str, at: Timestamp) -> Answer<Option<EventRow>> {
        let mut by = by.to_owned();
        new::cut(&mut by, KEY_MAX);
        self.write(ResolveEvent { id, by, at }).await
    }

    /// As [`Store::resolve_event`], of what no incident ends, and with what the journal and everybody is told of it: all or
    /// nothing.
    pub async fn end_event(&self, id: i64, by: &Operator, at: Timestamp) -> Answer<Ended> {
        Ok(self.write(operate::EndEvent { signer: self.signer(), id, by: by.clone(), at }).await?.ended)
    }

    /// Stores an outcome of an attempt.
    pub async fn save_autonomy_action(&self, action: NewAction) -> Answer<ActionRow> {
        self.write(SaveAction(action.fitted())).await
    }

    /// The newest, newest first. The original's default is 50.
    pub async fn get_autonomy_actions(&self, limit: u32) -> Answer<Vec<ActionRow>> {
        Ok(read::actions(&self.shared.readers, rows(limit)).await?)
    }

    /// What was done about one key, newest first. The original's default is 20.
    pub async fn get_actions_by_incident_key(&self, key: &str, limit: u32) -> Answer<Vec<ActionRow>> {
        Ok(read::actions_by_incident_key(&self.shared.readers, key, rows(limit)).await?)
    }

    /// How often something was done about one key at or after a time. Blocked and escalated ones are no attempts.
    pub async fn get_attempt_count_since(&self, key: &str, since: Timestamp) -> Answer<u64> {
        Ok(read::attempt_count_since(&self.shared.readers, key, since).await?)
    }

    /// Takes away events older than so many days (at least one). Returns how many, as do the next two.
    pub async fn cleanup_old_events(&self, days: u32, now: Timestamp) -> Answer<u64> {
        self.prune(Aged::Events, days, now).await
    }

    /// Takes away incidents that ended so many days ago (at least one); what is open stays.
    pub async fn cleanup_old_incidents(&self, days: u32, now: Timestamp) -> Answer<u64> {
        self.prune(Aged::Incidents, days, now).await
    }

    /// Takes away actions older than so many days (at least one). The original's default is 30.
    pub async fn cleanup_old_actions(&self, days: u32, now: Timestamp) -> Answer<u64> {
        self.prune(Aged::Actions, days, now).await
    }

    /// Takes away snapshots older than so many days (at least one).
    pub async fn cleanup_old_snapshots(&self, days: u32, now: Timestamp) -> Answer<u64> {
        self.prune(Aged::Snapshots, days, now).await
    }

    /// `autonomy.killSwitch` and the like.
    pub async fn get_preference(&self, key: &str) -> Answer<Option<Preference>> {
        Ok(read::preference(&self.shared.readers, key).await?)
    }

    /// Sets or replaces one.
    pub async fn set_preference(&self, key: &str, value: &str, at: Timestamp) -> Answer<Preference> {
        within("a preference's key", key.len(), KEY_MAX)?;
        within("a preference's value", value.len(), VALUE_MAX)?;
        let set = self.write(SetPreference { key: key.to_owned(), value: value.to_owned(), at }).await;
        self.shared.settings.send_modify(|changes| *changes += 1);
        set
    }

    /// Whoever waits to do something asks anew: somebody has said that it is not to be done.
    pub fn withdraw(&self) {
        self.shared.settings.send_modify(|changes| *changes += 1);
    }

    /// Tells that a preference was set through this store, the kill switch and the level among them, that work was announced, or
    /// that something was withdrawn.
    pub fn settings_changed(&self) -> watch::Receiver<u64> {
        self.shared.settings.subscribe()
    }

    /// Sets one for somebody: the preference, its row of the journal and, where something is different now, the event
    /// that tells everybody, all or nothing. `None`: there are too many preferences already.
    pub async fn set_by_operator(
        &self,
        setting: Setting,
        by: &Operator,
        at: Timestamp,
    ) -> Answer<Option<Done>> {
        if let Setting::Other { key, value } = &setting {
            within("a preference's key", key.len(), KEY_MAX)?;
            within("a preference's value", value.len(), VALUE_MAX)?;
        }
        let done =
            self.write(operate::Operate { signer: self.signer(), setting, by: by.clone(), at }).await?.done;
        self.shared.settings.send_modify(|changes| *changes += 1);
        Ok(done)
    }

    /// All of them, by key; at most 1,000, and no more after 4 MiB.
    pub async fn all_preferences(&self) -> Answer<Vec<Preference>> {
        Ok(read::preferences(&self.shared.readers, rows(ROWS_MAX)).await?)
    }

    /// Keeps what a cluster looked like: JSON text.
    pub async fn save_cluster_snapshot(
        &self,
        cluster: &ClusterName,
        snapshot: String,
        at: Timestamp,
    ) -> Answer<SnapshotRow> {
        within("a snapshot", snapshot.len(), DOCUMENT_MAX)?;
        self.write(SaveSnapshot { cluster: cluster.to_string(), at, snapshot }).await
    }

    /// The last one of a cluster. The original's are of no cluster and of another shape: they are never given.
    pub async fn latest_cluster_snapshot(&self, cluster: &ClusterName) -> Answer<Option<SnapshotRow>> {
        Ok(read::latest_snapshot(&self.shared.readers, cluster).await?)
    }

    /// Where a cluster's engine goes on after a restart; see [`Store::save_events`] for both at once.
    pub async fn save_checkpoint(&self, checkpoint: Checkpoint) -> Answer<()> {
        self.save_events(Vec::new(), Some(checkpoint)).await.map(drop)
    }

    /// The last one of a cluster, and which row of the journal is the last that it includes.
    pub async fn load_checkpoint(&self, cluster: &ClusterName) -> Answer<Option<Kept>> {
        Ok(read::checkpoint(&self.shared.readers, cluster).await?)
    }

    /// What was written down of a cluster after a row of the journal, oldest first: what its last checkpoint does not
    /// include.
    pub async fn journal_since(&self, cluster: &ClusterName, seq: i64) -> Answer<Vec<JournalRow>> {
        let mut since: Vec<JournalRow> = Vec::new();
        loop {
            let after = since.last().map_or(seq, |row| row.seq);
            let rows = journal::rows_of(&self.shared.readers, cluster.as_str(), after, SINCE_BATCH).await?;
            if rows.is_empty() {
                return Ok(since);
            }
            since.extend(rows);
            within("what happened since the last checkpoint", since.len(), SINCE_MAX)?;
        }
    }

    /// Takes away the journal's rows older than so many days (at least one), at its oldest end only. The last one that
    /// goes is kept as a signed anchor.
    pub async fn cleanup_old_journal(&self, days: u32, now: Timestamp) -> Answer<u64> {
        let Some(before) = before(days, now) else { return Ok(0) };
        let mut gone = 0;
        for _ in 0..PRUNE_BATCHES_MAX {
            let seal = self.shared.seal.clone();
            let pruned = self.write(journal::Prune { before, batch: PRUNE_BATCH, seal }).await?;
            let batch = pruned.map_err(StoreError::Misfit)?;
            gone += batch;
            if batch < PRUNE_BATCH.unsigned_abs() {
                break;
            }
        }
        Ok(gone)
    }

    /// Every user, token, login and known peer: read once, at the start.
    pub async fn accounts(&self) -> Answer<AccountRows> {
        Ok(users::all(&self.shared.readers).await?)
    }

    /// Changes to them, with what the journal says about it: all or nothing.
    pub async fn change_accounts(&self, changes: Vec<AccountChange>, entries: Vec<NewEntry>) -> Answer<()> {
        self.write(users::ChangeAccounts { signer: self.signer(), changes, entries }).await.map(drop)
    }

    async fn prune(&self, aged: Aged, days: u32, now: Timestamp) -> Answer<u64> {
        let Some(before) = before(days, now) else { return Ok(0) };
        let mut gone = 0;
        for _ in 0..PRUNE_BATCHES_MAX {
            let batch = self.write(Prune { aged, before, batch: PRUNE_BATCH }).await?;
            gone += batch;
            if batch < PRUNE_BATCH.unsigned_abs() {
                break;
            }
        }
        Ok(gone)
    }

    /// What appends to the journal signs its rows.
    fn signer(&self) -> chain::Signer {
        self.shared.seal.signer.clone()
    }

    async fn write<W: write::Write>(&self, write: W) -> Answer<W::Output> {
        let (job, answer) = write::job(write);
        self.shared.queue.send(Message::Write(job)).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

fn rows(limit: u32) -> i64 {
    i64::from(limit.clamp(1, ROWS_MAX))
}

/// So many days ago, at least one. `None`: before the beginning of time there is nothing to take away.
fn before(days: u32, now: Timestamp) -> Option<Timestamp> {
    now.checked_sub(SignedDuration::from_hours(24 * i64::from(days.max(1)))).ok()
}

fn within(what: &'static str, size: usize, max: usize) -> Result<(), StoreError> {
    if size <= max { Ok(()) } else { Err(StoreError::TooLarge { what, size, max }) }
}

#[cfg(test)]
mod tests;
