//! Books: what is stored of users, tokens and logins, its image in memory, and how a change gets into both.
//!
//! What gives somebody something is written first ([`Books::commit`]). What takes something away is in force first,
//! whatever the store does ([`Books::take_away`]): what of it could not be written is kept here, and written together with
//! the next change that can be. A restart before that would undo it, and whoever asked for it is told so.
//!
//! It decides nothing: which changes are to be made is its callers' affair, who have a [`Turn`] for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::{OwnedMutexGuard, watch};

use super::accounts::{self, Accounts};
use crate::record::{AccountChange, NewEntry, Store, StoreError};

/// Changes that are kept while nothing can be written: as many logins as there may be.
const UNSTORED_MAX: usize = 10_000;

/// The right to change something: one change at a time, so that what is decided on one state is not written on another.
pub(super) type Turn = OwnedMutexGuard<()>;

/// See the module.
pub(super) struct Books {
    pub(super) store: Store,
    accounts: RwLock<Accounts>,
    changes: watch::Sender<u64>,
    unstored: Mutex<Unstored>,
}

/// What is in force and could not be written, oldest first.
#[derive(Clone, Default)]
struct Unstored {
    changes: Vec<AccountChange>,
    entries: Vec<NewEntry>,
}

impl Books {
    pub(super) fn new(store: Store, accounts: Accounts) -> Books {
        Books {
            store,
            accounts: RwLock::new(accounts),
            changes: watch::Sender::new(0),
            unstored: Mutex::default(),
        }
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Accounts> {
        self.accounts.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Accounts> {
        self.accounts.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn unstored(&self) -> MutexGuard<'_, Unstored> {
        self.unstored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Turns at each change by which somebody may be let in no more, or may do less or more.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(super) fn apply(&self, changes: Vec<AccountChange>) {
        // A thousand sockets need not ask again because somebody logged in.
        let may_end = changes.iter().any(accounts::may_end);
        let mut accounts = self.write();
        changes.into_iter().for_each(|change| accounts.apply(change));
        drop(accounts);
        if may_end {
            self.changes.send_modify(|number| *number += 1);
        }
    }

    /// Writes, and then applies what was written; also when nobody waits for it any more.
    pub(super) async fn commit(
        self: &Arc<Books>,
        turn: Turn,
        changes: Vec<AccountChange>,
        entry: Option<NewEntry>,
    ) -> Result<(), StoreError> {
        let books = self.clone();
        let done = tokio::spawn(async move {
            books.store(changes.clone(), entry).await?;
            books.apply(changes);
            drop(turn);
            Ok(())
        });
        // A task that panicked has written nothing that is not read at the next start.
        done.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Applies what takes something away, and then writes it, or keeps it until something can be written.
    pub(super) async fn take_away(
        self: &Arc<Books>,
        turn: Turn,
        changes: Vec<AccountChange>,
        entry: Option<NewEntry>,
    ) -> Result<(), StoreError> {
        self.apply(changes.clone());
        let books = self.clone();
        let done = tokio::spawn(async move {
            let stored = books.store(changes.clone(), entry.clone()).await;
            if stored.is_err() {
                books.keep(changes, entry);
            }
            drop(turn);
            stored
        });
        done.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Writes what is in force and could not be written yet.
    pub(super) async fn catch_up(self: &Arc<Books>, turn: Turn) -> Result<(), StoreError> {
        if self.unstored().changes.is_empty() {
            return Ok(());
        }
        self.commit(turn, Vec::new(), None).await
    }

    /// Whether a user was removed who is still in the store.
    pub(super) fn left_in_store(&self, name: &str) -> bool {
        let gone = |change: &AccountChange| matches!(change, AccountChange::RemoveUser(gone) if gone == name);
        self.unstored().changes.iter().any(gone)
    }

    /// What could not be written before comes first. Whoever calls has the turn, so nothing comes between.
    async fn store(&self, changes: Vec<AccountChange>, entry: Option<NewEntry>) -> Result<(), StoreError> {
        let Unstored { changes: mut all, mut entries } = self.unstored().clone();
        all.extend(changes);
        entries.extend(entry);
        self.store.change_accounts(all, entries).await?;
        *self.unstored() = Unstored::default();
        Ok(())
    }

    fn keep(&self, changes: Vec<AccountChange>, entry: Option<NewEntry>) {
        let mut unstored = self.unstored();
        if unstored.changes.len() + changes.len() > UNSTORED_MAX {
            tracing::error!("too much could not be stored: the next restart undoes this change of the users");
            return;
        }
        unstored.changes.extend(changes);
        unstored.entries.extend(entry);
    }
}
