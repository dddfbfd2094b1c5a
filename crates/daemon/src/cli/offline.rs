//! `--offline`: the kill switch and the level in the store itself, while no daemon has it.
//!
//! The store's own lock says whether a daemon runs. What is changed is journalled with who it was, as by the daemon,
//! and told when it starts again: the event is in the store.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, ensure};
use jiff::Timestamp;

use super::who;
use crate::config;
use crate::record::{
    KILL_SWITCH, LEVEL, OpenError, Operator, Setting, Store, kill_switch_in_force, level_in_force,
};
use crate::report::caller::Via;

/// Sets it where a state is given, and says which is in force.
pub(super) async fn kill_switch(config: &Path, active: Option<bool>) -> anyhow::Result<bool> {
    let found = config::reach(config)?;
    let store = open(&found.store).await?;
    if let Some(active) = active {
        set(&store, Setting::KillSwitch(active)).await?;
    }
    let stored = store.get_preference(KILL_SWITCH).await?;
    ensure!(store.close().await, "the store did not close in time; what it acknowledged is on the disk");
    Ok(kill_switch_in_force(stored.as_ref().map(|row| row.value.as_str())))
}

/// As [`kill_switch`].
pub(super) async fn autonomy(config: &Path, level: Option<u8>) -> anyhow::Result<u8> {
    let found = config::reach(config)?;
    let ceiling = found.autonomy_level;
    if let Some(level) = level {
        ensure!(level <= ceiling, "refused: Level is limited to {ceiling} by the configuration");
    }
    let store = open(&found.store).await?;
    if let Some(level) = level {
        set(&store, Setting::Level { level, ceiling }).await?;
    }
    let stored = store.get_preference(LEVEL).await?;
    ensure!(store.close().await, "the store did not close in time; what it acknowledged is on the disk");
    Ok(level_in_force(stored.as_ref().map(|row| row.value.as_str()), ceiling))
}

async fn open(path: &Path) -> anyhow::Result<Store> {
    let about = std::fs::metadata(path).with_context(|| {
        format!(
            "{}: there is no store to work on (a relative store.path begins where this is started)",
            path.display()
        )
    })?;
    // What this process wrote beside it (the journal's head, SQLite's own files) would belong to its user, and the
    // daemon could not open its store any more.
    ensure!(
        who::uid() == Some(about.uid()),
        "{} belongs to another user (number {}): run this as that one, as in `sudo -u '#{}' jarvis ...`",
        path.display(),
        about.uid(),
        about.uid()
    );
    match Store::open(path).await {
        Ok(store) => Ok(store),
        Err(error @ OpenError::InUse { .. }) => {
            Err(anyhow::Error::from(error).context("the daemon runs: leave out --offline"))
        }
        Err(error) => Err(error.into()),
    }
}

async fn set(store: &Store, setting: Setting) -> anyhow::Result<()> {
    let by = Operator { name: who::name(), via: format!("{}, offline", Via::CommandLine) };
    store.set_by_operator(setting, &by, Timestamp::now()).await?;
    Ok(())
}
