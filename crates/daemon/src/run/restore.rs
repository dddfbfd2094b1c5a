//! Restore: the engine as it was when the daemon last ran, from the last checkpoint and the journal since.
//!
//! What cannot be read is given up as a whole, and said: the engine begins anew, and what the old one had told and not
//! ended is ended in its place, because nobody else ever would.

use engine::observe::ClusterName;
use engine::policy::Policy;
use engine::record::Entry;
use engine::{Checkpoint, Engine};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::record::{self, JournalRow, Kept, Store, StoreError};

/// The version of the state's form. To be raised when an old state would be read and mean something else; one that
/// cannot be read shows by itself.
const STATE_VERSION: u32 = 1;

/// A state on its way into the store.
#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    state: &'a Checkpoint,
}

/// A state from the store, whose inner part is read only by the version that wrote it.
#[derive(Deserialize)]
struct Read<'a> {
    version: u32,
    #[serde(borrow)]
    state: &'a RawValue,
}

/// Where an engine goes on after a restart, as the store keeps it.
///
/// # Errors
/// A state that has no JSON form.
pub(super) fn checkpoint(engine: &Engine, at: Timestamp) -> serde_json::Result<record::Checkpoint> {
    let state = serde_json::to_string(&Written { version: STATE_VERSION, state: engine.checkpoint() })?;
    Ok(record::Checkpoint { cluster: engine.cluster().clone(), at, state })
}

/// The engine as it was when the daemon last ran, or a new one.
///
/// # Errors
/// The store fails.
pub(super) async fn engine(
    store: &Store,
    name: &ClusterName,
    policy: Policy,
    now: Timestamp,
) -> anyhow::Result<Engine> {
    let seed = getrandom::u64()?;
    let kept = store.load_checkpoint(name).await?;
    let since = match store.journal_since(name, kept.as_ref().map_or(0, |kept| kept.seq)).await {
        Ok(rows) => entries(&rows),
        Err(error @ StoreError::TooLarge { .. }) => Err(error.to_string()),
        Err(error) => return Err(error.into()),
    };
    let state = kept.as_ref().map(|kept| state(&kept.checkpoint.state)).transpose();
    let known = match (state, since) {
        // Events of incidents that no state knows: of a time before there were states, or the state was taken away.
        (Ok(None), Ok(since)) if since.is_empty() => match store.has_open_incident(name).await? {
            true => Err("nothing is recorded of what was known of the cluster".to_owned()),
            false => return Ok(Engine::new(name.clone(), policy, seed)),
        },
        (Ok(state), Ok(since)) => Ok((state, since)),
        (Err(error), _) | (_, Err(error)) => {
            Err(format!("what is recorded of the cluster cannot be read ({error})"))
        }
    };
    match known {
        Ok((state, since)) => {
            let from = kept.map(|Kept { checkpoint, .. }| checkpoint.at);
            let from = from.map_or_else(|| "the journal alone".to_owned(), |at| at.to_string());
            tracing::info!(cluster = %name, from, entries = since.len(), "going on from the recorded state");
            Ok(restored(name.clone(), policy, seed, state, since))
        }
        Err(reason) => {
            tracing::warn!(cluster = %name, reason, "beginning anew");
            let engine = Engine::new(name.clone(), policy, seed);
            store.start_anew(&reason, checkpoint(&engine, now)?).await?;
            Ok(engine)
        }
    }
}

/// The fold over the last checkpoint and the entries since is the engine's; until it takes the entries, what happened
/// after the last checkpoint of a large cluster is found, and told, a second time.
fn restored(
    cluster: ClusterName,
    policy: Policy,
    seed: u64,
    state: Option<Checkpoint>,
    _since: Vec<Entry>,
) -> Engine {
    match state {
        Some(state) => Engine::restore(cluster, policy, state),
        None => Engine::new(cluster, policy, seed),
    }
}

fn state(text: &str) -> Result<Checkpoint, String> {
    let state = match serde_json::from_str::<Read<'_>>(text) {
        Ok(Read { version: STATE_VERSION, state }) => state.get(),
        Ok(Read { version, .. }) => {
            return Err(format!("its state is of version {version}, and this jarvis knows {STATE_VERSION}"));
        }
        // Before there were versions, the state stood alone.
        Err(_) => text,
    };
    serde_json::from_str(state).map_err(|error| error.to_string())
}

fn entries(rows: &[JournalRow]) -> Result<Vec<Entry>, String> {
    let read = |row: &JournalRow| {
        serde_json::from_str(&row.entry).map_err(|error| format!("row {} of the journal: {error}", row.seq))
    };
    rows.iter().map(read).collect()
}
