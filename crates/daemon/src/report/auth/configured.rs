//! The password that the configuration gives `admin`: it counts for as long as it stands there, and is never stored as theirs. A
//! stored one rests meanwhile, and counts again when it is taken out.
//!
//! Beside the database lies the hash of the one that was configured last (`jarvis.configured`): another one, or none any
//! more, ends the logins that were made with it.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;

use super::books::Books;
use super::{ADMIN, Auth, Denied, Lane, User, UserName, hash};
use crate::record::{AccountChange, NewEntry, Operator, PasswordText};
use crate::secret_file::SecretFile;

/// The file's name, in the folder of the database.
pub(super) const FILE: &str = "jarvis.configured";

impl Auth {
    /// Makes the configured password that of `admin`, who is let in again. Costs one hash, so it runs beside the start,
    /// not in it; a login that comes earlier waits for it.
    ///
    /// # Errors
    /// [`Denied::Broken`] when the hash cannot be made.
    pub async fn settle(&self) -> Result<(), Denied> {
        self.settled.get_or_try_init(|| self.settle_once()).await.map(drop)
    }

    async fn settle_once(&self) -> Result<Option<PasswordText>, Denied> {
        let Some(password) = &self.configured else { return Ok(None) };
        // One that cannot be read is none: then it is made anew, and the logins end.
        let last = self.last_configured.read().unwrap_or_else(|error| {
            tracing::warn!("which password was configured last is not known: {error:#}");
            None
        });
        let last =
            last.map(|text| PasswordText(text.trim().into())).filter(|text| hash::check(&text.0).is_ok());
        let same = match last.clone() {
            Some(last) => self.hasher.matches(Lane::Known, password.clone(), Some(last)).await?,
            None => false,
        };
        let hash = match last.filter(|_| same) {
            Some(last) => last,
            None => self.hasher.hash(password.clone()).await?,
        };
        tracing::info!(
            "the admin's password is the configured one, for as long as it is configured; it is not stored"
        );
        let turn = self.turn().await;
        let (now, name) = (Timestamp::now(), UserName::admin());
        let (changes, enabled) = {
            let accounts = self.books.read();
            let mut changes = if same { Vec::new() } else { accounts.ends_of(&name, None) };
            let shut = accounts.user(&name).filter(|admin| admin.disabled.is_some());
            let enabled = shut.map(|admin| User { disabled: None, ..admin.clone() });
            changes.extend(enabled.iter().map(|admin| AccountChange::PutUser(admin.row())));
            (changes, enabled.is_some())
        };
        if same && !enabled {
            return Ok(Some(hash));
        }
        let did = if same { "userChanged" } else { "passwordSet" };
        let what = json!({ "user": ADMIN, "configured": true, "enabled": enabled });
        match self.books.commit(turn, changes.clone(), Some(entry(now, did, &what))).await {
            Ok(()) => {
                if let Err(error) = self.last_configured.write(&hash.0) {
                    tracing::error!("the next start will end the admin's logins once more: {error:#}");
                }
            }
            Err(error) => {
                // Whoever wants to stop something must be let in, also with a full disk. The next start tries again.
                tracing::error!(
                    "that another password is configured could not be stored; it counts all the same: {error:#}"
                );
                self.books.apply(changes);
            }
        }
        Ok(Some(hash))
    }
}

/// No password is configured any more: what was let in by one is not.
///
/// # Errors
/// The file cannot be removed.
pub(super) async fn forget(books: &Arc<Books>, file: &SecretFile) -> anyhow::Result<()> {
    if !file.is_there() {
        return Ok(());
    }
    let changes = books.read().ends_of(&UserName::admin(), None);
    let what = json!({ "user": ADMIN, "configured": false });
    let entries = vec![entry(Timestamp::now(), "passwordSet", &what)];
    let stored = books.store.change_accounts(changes.clone(), entries).await;
    books.apply(changes);
    match stored {
        Ok(()) => file.remove(),
        Err(error) => {
            tracing::error!("that no password is configured any more could not be stored: {error:#}");
            Ok(())
        }
    }
}

fn entry(now: Timestamp, did: &str, what: &serde_json::Value) -> NewEntry {
    let by = Operator { name: "configuration".into(), via: "start".into() };
    NewEntry::by_operator(now, &by, did, what)
}
