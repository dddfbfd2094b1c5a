//! Opening a store: its folder, its file, its lock, its schema; and every way in which that can be refused.
//!
//! **One process per store.** The holder has two advisory locks (`flock`): on a file of its own beside the database,
//! `NAME.lock`, which names the holder, and on the database itself, which is the same by whatever name the file is
//! reached (a bind mount, another link). SQLite's own locks are POSIX ones, which know nothing of these. Closing *any*
//! descriptor of a file drops all POSIX locks that the process holds on it, so ours is opened before SQLite opens the
//! file, and closed after it. A file with several names is refused: SQLite's write-ahead log goes by the name, and what
//! was written by one name is lost by the other. Weighed against the other ways:
//! - `PRAGMA locking_mode = EXCLUSIVE` would also shut out readers, and `sqlite3 data/jarvis.db` while the daemon
//!   runs is what operators' scripts do.
//! - A file with a process id in it outlives its process, and then somebody has to judge whether it is stale.
//!   The kernel drops a lock when its holder dies, however it dies, so a stale one cannot be. The process id is
//!   written into the file too, but only to name the holder in the message.
//!
//! The file is not removed at the end: between a removal and the next creation two processes could each hold the
//! lock of a different file of the same name. The lock says nothing to the original or to a `sqlite3` that writes;
//! SQLite's own locks keep those from doing harm.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, SqliteConnection, SqlitePool};

use super::chain::{Head, Signer};
use super::migrate::{Refusal, migrate};
use super::seal::{self, CheckedIn, HeadFile, Seal};
use crate::key;
use crate::secret_file::open_itself;

/// How long a statement waits for a foreign hand on the file: a `sqlite3` with an open transaction.
const BUSY_MAX: Duration = Duration::from_secs(5);
/// How long a write waits for one, once the store is open. The watch of a cluster waits with it, and a crash that is not
/// seen is worse than a write that is made again a moment later.
const WRITE_BUSY_MS: u32 = 250;
/// Readers at a time. A page's questions are answered in about a millisecond, so few are enough.
const READERS_MAX: u32 = 4;
/// How long a reader waits for its turn before it is told that the store is busy.
const READER_WAIT_MAX: Duration = Duration::from_secs(5);
/// What the write-ahead log is cut down to after a checkpoint, in bytes.
const WAL_KEPT_MAX: u32 = 64 * 1024 * 1024;

/// What each database of SQLite's begins with; https://www.sqlite.org/fileformat2.html#magic_header_string
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Why a store could not be opened. Each variant calls for another deed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Stop the other one, or use another file.
    #[error("{} is in use by another jarvis{holder}: stop it first, or give this one its own store", path.display())]
    InUse {
        /// The database.
        path: PathBuf,
        /// ` (process 1234)`, where the lock says so; ` (by another name of the file)`.
        holder: String,
    },
    /// Leave it one name.
    #[error(
        "{} is one of {names} names of the same file (hard links): SQLite would keep a log for each of them and lose what \
         is in it. Remove the other name, or give this one a copy of its own (cp)", path.display()
    )]
    Linked {
        /// The database.
        path: PathBuf,
        /// How many.
        names: u64,
    },
    /// Give the right.
    #[error(
        "no permission to write {}: the database, its journal and its lock lie in one folder, and the user \
         that jarvis runs as must be able to write all of it", path.display()
    )]
    Permission {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Name the file, not its folder.
    #[error("{} is a folder: give the path of the database file in it", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// Make room.
    #[error("the disk that holds {} is full", path.display())]
    DiskFull {
        /// The database.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Name another file.
    #[error("{} is no SQLite database; it was left as it is", path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// Restore a backup.
    #[error(
        "{} is damaged; it was left as it is. Restore a backup, or move it away to begin with an empty store",
        path.display()
    )]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: Cause,
    },
    /// Use the newer jarvis.
    #[error(
        "{} was written by a newer jarvis (schema {found}, this one knows up to {known}): start that one, or \
         restore a backup from before it", path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// The file's schema.
        found: i64,
        /// The last that this version knows.
        known: i64,
    },
    /// Name another file.
    #[error(
        "{} belongs to another program: its table `{table}` has no column `{column}`; it was left as it is",
        path.display()
    )]
    Foreign {
        /// The database.
        path: PathBuf,
        /// The table.
        table: &'static str,
        /// What it lacks.
        column: &'static str,
    },
    /// Stop the other program.
    #[error(
        "{} is held by another program (the original, or a sqlite3 with an open transaction): stop it first",
        path.display()
    )]
    Busy {
        /// The database.
        path: PathBuf,
    },
    /// Look at the cause.
    #[error("{} could not be opened", path.display())]
    Other {
        /// The database.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What SQLite said. sqlx's own error prints its cause as part of itself, and whoever logs a chain would read it
/// twice.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Cause(String);

impl From<sqlx::Error> for Cause {
    fn from(error: sqlx::Error) -> Cause {
        Cause(error.as_database_error().map_or_else(|| error.to_string(), ToString::to_string))
    }
}

/// An opened store: one connection that writes, some that read, and the right to do so.
pub(super) struct Opened {
    pub(super) path: PathBuf,
    pub(super) identity: Identity,
    pub(super) writer: SqliteConnection,
    pub(super) readers: SqlitePool,
    pub(super) seal: Seal,
    pub(super) head_file: HeadFile,
    /// Where the journal ends.
    pub(super) head: Head,
    pub(super) lock: Lock,
}

/// Which file it is, whatever its name is by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    pub(super) fn of(path: &Path) -> io::Result<Identity> {
        let about = fs::metadata(path)?;
        Ok(Identity { device: about.dev(), inode: about.ino() })
    }

    /// Linux lets a process write to a file that nobody can find any more; what is written there is lost.
    ///
    /// # Errors
    /// The file of that name is another one, or there is none.
    pub(super) fn still_at(self, path: &Path) -> Result<(), sqlx::Error> {
        if Identity::of(path).is_ok_and(|now| now == self) {
            return Ok(());
        }
        let words = format!(
            "{} was removed or replaced while jarvis runs: put the file back, or restart jarvis to begin with what is there",
            path.display()
        );
        Err(sqlx::Error::Io(io::Error::other(words)))
    }
}

/// The right to be the one process of this store, for as long as the value lives.
#[derive(Debug)]
pub(super) struct Lock {
    /// Held open, never read again: the lock ends with it.
    _file: File,
    /// The database, the same way. Not to be closed before SQLite has closed it.
    _database: File,
}

#[cfg(test)]
impl Lock {
    /// For a store that is in no file.
    pub(super) fn of_nothing() -> Lock {
        let nothing = || File::open("/dev/null").unwrap();
        Lock { _file: nothing(), _database: nothing() }
    }
}

pub(super) async fn open(path: &Path) -> Result<Opened, OpenError> {
    // Blocking calls on an async thread, but once, before anything else runs.
    let path = resolve(path)?;
    let (lock, created) = lock(&path)?;
    let options = SqliteConnectOptions::new()
        .filename(&path)
        // FULL: a commit is on the disk, not in its cache, before anyone is told.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_MAX)
        .pragma("journal_size_limit", WAL_KEPT_MAX.to_string())
        // What a turn of thousands of rows changes stays in memory until its commit, and so does what SQLite keeps to
        // undo a statement of many rows: each page is written once. A turn's size is bounded.
        .pragma("cache_spill", "OFF")
        .pragma("temp_store", "MEMORY")
        .thread_name(|id| format!("store-{id}"));
    let mut writer = options.connect().await.map_err(|error| from_sqlite(&path, error))?;
    let run = migrate(&mut writer, Timestamp::now()).await.map_err(|refusal| match refusal {
        Refusal::Newer { found, known } => OpenError::Newer { path: path.clone(), found, known },
        Refusal::Foreign { table, column } => OpenError::Foreign { path: path.clone(), table, column },
        Refusal::Sqlite(error) => from_sqlite(&path, error),
    })?;
    write_ahead(&mut writer).await.map_err(|error| from_sqlite(&path, error))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let key = key::read_or_make(folder)
        .map_err(|error| OpenError::Other { path: path.clone(), source: error.into() })?;
    let head_file = HeadFile::beside(&path);
    let CheckedIn { head, seal, missing } = check_in(&mut writer, &head_file, Signer::new(&key))
        .await
        .map_err(|error| from_sqlite(&path, error))?;
    // Before the first row, and not beside it: a new journal that loses its process at once would look robbed.
    if missing {
        head_file
            .write(&seal, head)
            .map_err(|error| OpenError::Other { path: path.clone(), source: error.into() })?;
    }
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS_MAX)
        .acquire_timeout(READER_WAIT_MAX)
        .connect_with(
            SqliteConnectOptions::new()
                .filename(&path)
                .read_only(true)
                .busy_timeout(BUSY_MAX)
                .thread_name(|id| format!("reader-{id}")),
        )
        .await
        .map_err(|error| from_sqlite(&path, error))?;
    sqlx::query(AssertSqlSafe(format!("PRAGMA busy_timeout = {WRITE_BUSY_MS}")))
        .execute(&mut writer)
        .await
        .map_err(|error| from_sqlite(&path, error))?;
    let identity = Identity::of(&path).map_err(|error| from_io(&path, error))?;
    tracing::info!(path = %path.display(), created, migrations = run.join(", "), "store opened");
    Ok(Opened { path, identity, writer, readers, seal, head_file, head, lock })
}

/// Whether the journal's ends are where they were, in one transaction with what is to be said about it.
async fn check_in(
    conn: &mut SqliteConnection,
    file: &HeadFile,
    signer: Signer,
) -> Result<CheckedIn, sqlx::Error> {
    let mut transaction = conn.begin_with("BEGIN IMMEDIATE").await?;
    let checked_in = seal::check_in(&mut transaction, file, signer, Timestamp::now()).await?;
    transaction.commit().await?;
    Ok(checked_in)
}

/// Readers go on while something is written. This changes the file for good, so it comes after every reason to
/// refuse it.
async fn write_ahead(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let mode: String = sqlx::query("PRAGMA journal_mode = WAL").fetch_one(conn).await?.try_get(0)?;
    if mode.eq_ignore_ascii_case("wal") {
        Ok(())
    } else {
        Err(sqlx::Error::Protocol(format!(
            "the file system allows no write-ahead log (journal mode is {mode})"
        )))
    }
}

/// The one path of this file, however it is reached, so that two names cannot have two locks. Its folder is made
/// if need be, for nobody else to look into.
fn resolve(path: &Path) -> Result<PathBuf, OpenError> {
    if path.is_dir() || path.file_name().is_none() {
        return Err(OpenError::Folder { path: path.to_owned() });
    }
    if let Ok(existing) = fs::canonicalize(path) {
        return Ok(existing);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if folder.exists() && !folder.is_dir() {
        return Err(from_io(folder, io::Error::other("it is a file, and the database is to lie in it")));
    }
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| from_io(folder, error))?;
    let folder = fs::canonicalize(folder).map_err(|error| from_io(folder, error))?;
    Ok(folder.join(path.file_name().unwrap_or_default()))
}

/// Both locks, and whether the database had to be made.
fn lock(path: &Path) -> Result<(Lock, bool), OpenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    // Nothing is left beside what is none of ours.
    if !name.exists() {
        look_at(path)?;
    }
    // Never through a link: whoever may write to the folder would have us write into any file that we may write to.
    let made = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&name);
    let file = match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            open_itself(&name, OpenOptions::new().read(true).write(true))
        }
        made => made,
    };
    let mut file = file.map_err(|error| from_io(&name, error))?;
    match file.try_lock() {
        Ok(()) => {
            // For the other one's message only; that it cannot be written is no reason to refuse.
            let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
            if let Err(error) = written {
                tracing::warn!(path = %name.display(), %error, "the lock does not name its holder");
            }
        }
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let id = file.take(20).read_to_string(&mut holder).ok().and(holder.trim().parse::<u32>().ok());
            let holder = id.map(|id| format!(" (process {id})")).unwrap_or_default();
            return Err(OpenError::InUse { path: path.to_owned(), holder });
        }
        Err(TryLockError::Error(error)) => return Err(from_io(&name, error)),
    }
    let (database, created) = create(path)?;
    match database.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let holder = " (by another name of the file)".to_owned();
            return Err(OpenError::InUse { path: path.to_owned(), holder });
        }
        Err(TryLockError::Error(error)) => return Err(from_io(path, error)),
    }
    // The names are counted after the lock: a name that comes later finds it locked.
    let names = database.metadata().map_err(|error| from_io(path, error))?.nlink();
    if names > 1 {
        return Err(OpenError::Linked { path: path.to_owned(), names });
    }
    Ok((Lock { _file: file, _database: database }, created))
}

/// Whether a file that is there can be a database at all: what SQLite says of it comes only after the lock is made.
fn look_at(path: &Path) -> Result<(), OpenError> {
    // A pipe would be waited for.
    if fs::metadata(path).is_ok_and(|about| !about.is_file()) {
        return Err(OpenError::NotADatabase { path: path.to_owned() });
    }
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(from_io(path, error)),
    };
    let mut head = [0; MAGIC.len()];
    match file.read_exact(&mut head) {
        Ok(()) if head == *MAGIC => Ok(()),
        // An empty one becomes a store.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            let empty = file.metadata().map_err(|error| from_io(path, error))?.len() == 0;
            if empty { Ok(()) } else { Err(OpenError::NotADatabase { path: path.to_owned() }) }
        }
        Ok(()) => Err(OpenError::NotADatabase { path: path.to_owned() }),
        Err(error) => Err(from_io(path, error)),
    }
}

/// The database, and whether it had to be made. SQLite would make it readable for others, and its journals take after it.
///
/// An existing file is opened for writing, because SQLite would silently fall back to reading.
fn create(path: &Path) -> Result<(File, bool), OpenError> {
    match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path) {
        Ok(made) => Ok((made, true)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let there = OpenOptions::new().read(true).write(true).open(path);
            Ok((there.map_err(|error| from_io(path, error))?, false))
        }
        Err(error) => Err(from_io(path, error)),
    }
}

fn from_io(path: &Path, error: io::Error) -> OpenError {
    let path = path.to_owned();
    let kind = error.kind();
    if matches!(kind, io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) {
        OpenError::Permission { path, source: error.into() }
    } else if matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        OpenError::DiskFull { path, source: error.into() }
    } else if kind == io::ErrorKind::IsADirectory {
        OpenError::Folder { path }
    } else {
        OpenError::Other { path, source: error.into() }
    }
}

fn from_sqlite(path: &Path, error: sqlx::Error) -> OpenError {
    let path = path.to_owned();
    match Code::of(&error) {
        Code::NotADatabase => OpenError::NotADatabase { path },
        Code::Corrupt => OpenError::Damaged { path, source: error.into() },
        Code::Denied => OpenError::Permission { path, source: Cause::from(error).into() },
        Code::Full => OpenError::DiskFull { path, source: Cause::from(error).into() },
        Code::Busy => OpenError::Busy { path },
        Code::Other => OpenError::Other { path, source: Cause::from(error).into() },
    }
}

/// SQLite's result codes, as far as they call for different deeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    Busy,
    Corrupt,
    Denied,
    Full,
    NotADatabase,
    Other,
}

impl Code {
    pub(super) fn of(error: &sqlx::Error) -> Code {
        let code = error.as_database_error().and_then(|error| error.code()?.parse::<i32>().ok());
        // The low byte is the primary code; https://www.sqlite.org/rescode.html
        match code.map(|code| code & 0xff) {
            Some(5 | 6) => Code::Busy,
            Some(11) => Code::Corrupt,
            Some(3 | 8 | 14 | 23) => Code::Denied,
            Some(13) => Code::Full,
            Some(26) => Code::NotADatabase,
            Some(_) | None => Code::Other,
        }
    }
}
