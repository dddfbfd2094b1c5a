//! Damage: whether the file's pages still fit each other, asked once beside the running store, and what writes find of it.
//!
//! It mends nothing: what is damaged is a person's to restore. And it is not the journal's proof (`verify`): a row that was
//! changed by somebody who knows SQLite fits.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};

use super::open::{Cause, Code};
use super::{Answer, Store};
use crate::words;

/// How long the pages are looked at: some gigabytes of a slow disk. The log cannot be cut down meanwhile, as it cannot behind any
/// reader.
const CHECK_MAX: Duration = Duration::from_secs(300);
/// Steps between two looks at the clock; SQLite counts pages here.
const STEPS: i32 = 100;
/// Longest sentence that is kept of what SQLite said, in characters.
const WORDS_MAX: usize = 300;
/// SQLite's code for what was interrupted.
const INTERRUPTED: &str = "9";

/// What the pages look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// They fit.
    Whole,
    /// They do not; what SQLite says of it.
    Damaged(String),
    /// It took too long, or was stopped.
    Unfinished,
}

/// The first damage that was seen, if any. It stays: a page that was once wrong is not mended by a write that missed it.
#[derive(Debug, Default)]
pub(super) struct Damage(Mutex<Option<String>>);

impl Damage {
    pub(super) fn words(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, said: &str) {
        let said = words::plain(said).chars().take(WORDS_MAX).collect();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(said);
    }

    /// Notes it where it is one, and says so in the log the first time.
    pub(super) fn note_error(&self, error: &sqlx::Error) {
        if is_damage(error) && self.words().is_none() {
            tracing::error!(
                "the store is damaged ({error}): restore a backup, or move it away to begin anew"
            );
            self.note(
                &error.as_database_error().map_or_else(|| error.to_string(), |error| error.message().into()),
            );
        }
    }
}

fn is_damage(error: &sqlx::Error) -> bool {
    match Code::of(error) {
        Code::Corrupt | Code::NotADatabase => true,
        Code::Busy | Code::Denied | Code::Full | Code::Other => false,
    }
}

impl Store {
    /// What SQLite said of the file's damage, if any was seen since it was opened: by [`Store::check`], or by a write.
    pub fn damage(&self) -> Option<String> {
        self.shared.counts.damage.words()
    }

    /// Looks at every page, within some minutes, on a connection of its own. `stopped` is asked now and then.
    pub async fn check(&self, stopped: impl Fn() -> bool + Send + 'static) -> Answer<Checked> {
        let options = SqliteConnectOptions::new().filename(self.path()).read_only(true);
        let mut conn = options.thread_name(|_| "store-check".to_owned()).connect().await?;
        let began = Instant::now();
        let checked = async {
            let goes_on = move || began.elapsed() < CHECK_MAX && !stopped();
            conn.lock_handle().await?.set_progress_handler(STEPS, goes_on);
            pages(&mut conn).await
        };
        let checked = checked.await;
        if let Err(error) = conn.close().await {
            tracing::debug!(%error, "the checking connection was not closed cleanly");
        }
        let checked = checked?;
        if let Checked::Damaged(words) = &checked {
            self.shared.counts.damage.note(words);
        }
        Ok(checked)
    }
}

async fn pages(conn: &mut SqliteConnection) -> Result<Checked, sqlx::Error> {
    let said = async { sqlx::query("PRAGMA quick_check(1)").fetch_one(conn).await?.try_get::<String, _>(0) };
    match said.await {
        Ok(said) if said == "ok" => Ok(Checked::Whole),
        Ok(said) => {
            let said = words::plain(&said);
            Ok(Checked::Damaged(said.trim_start_matches("*** in database main ***").trim().to_owned()))
        }
        Err(error) if is_damage(&error) => Ok(Checked::Damaged(Cause::from(error).to_string())),
        Err(error) => {
            let code = error.as_database_error().and_then(|error| error.code());
            if code.is_some_and(|code| code == INTERRUPTED) { Ok(Checked::Unfinished) } else { Err(error) }
        }
    }
}
