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
            Ok(Engine::restore(name.clone(), policy, seed, now, state, since))
        }
        Err(reason) => {
            tracing::warn!(cluster = %name, reason, "beginning anew");
            let engine = Engine::new(name.clone(), policy, seed);
            store.start_anew(&reason, checkpoint(&engine, now)?).await?;
            Ok(engine)
        }
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

#[cfg(test)]
mod tests {
    use engine::Input;
    use engine::observe::{Round, Snapshot, Subject};
    use engine::record::{Fact, Summary};
    use engine::report::{EventKind, Severity};

    use super::*;
    use crate::record::{Kind, NewEntry, NewEvent, Source};

    struct Folder(std::path::PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap_or_default();
        }
    }

    fn open_event() -> NewEvent {
        let (kind, severity, source) = (EventKind::Alert, Severity::Error, Source::Monitor);
        let event = NewEvent::plain(Timestamp::UNIX_EPOCH, kind, severity, source, "crashed", "it is gone");
        NewEvent { cluster: Some("lab".into()), incident_id: Some("i".into()), ..event }
    }

    fn entry(text: &str) -> NewEntry {
        let entry = text.to_owned();
        NewEntry {
            at: Timestamp::UNIX_EPOCH,
            cluster: Some("lab".into()),
            kind: Kind::Noted,
            entry,
            told: None,
            about: None,
            action: None,
        }
    }

    /// Case, state, an entry since, an open event, what is said of it.
    type Row<'a> = (&'a str, Option<&'a str>, Option<&'a str>, bool, &'a str);

    #[tokio::test]
    async fn what_a_restart_makes_of_what_is_recorded() {
        let name: ClusterName = "lab".parse().unwrap();
        let mut known = Engine::new(name.clone(), Policy::default(), 7);
        // By its last round, which saw nothing, the known engine is recognised.
        let round = Snapshot::new(Round::Critical, Timestamp::UNIX_EPOCH);
        known.step(Timestamp::UNIX_EPOCH, Input::Observed(round));
        assert!(!known.seeing());
        let good = checkpoint(&known, Timestamp::UNIX_EPOCH).unwrap().state;
        let bare = serde_json::to_string(known.checkpoint()).unwrap();
        let newer = good.replacen("\"version\":1", "\"version\":99", 1);
        let (at, fact) = (Timestamp::UNIX_EPOCH, Fact::Heartbeat(Summary::default()));
        let noted = Entry { at, subject: Subject::Cluster, name: None, node: None, fact };
        let noted = serde_json::to_string(&noted).unwrap();
        #[rustfmt::skip]
        let table: [Row<'_>; 9] = [
            // what is recorded:           the state,      an entry since,  an open event,  and what comes of it
            ("nothing",                    None,           None,            false, "a new engine, silently"),
            ("a state",                    Some(&good),    None,            true,  "it goes on"),
            ("a state and an entry since", Some(&good),    Some(&noted),     true,  "it goes on"),
            ("an older state",             Some(&bare),    None,            true,  "it goes on"),
            ("a newer state",              Some(&newer),   None,            true,  "what is recorded of the cluster cannot be read (its state is of version 99, and this jarvis knows 1); 1 event that was open is closed, and what is wrong is told again"),
            ("a state cut off",            Some(&good[..40]), None,         false, "what is recorded of the cluster cannot be read (EOF while parsing a string at line 1 column 40); no event was open, and what is wrong is told again"),
            ("a state of another form",    Some("{\"version\":1,\"state\":{}}"), None, true, "what is recorded of the cluster cannot be read (missing field "),
            ("an entry of another form",   Some(&good),    Some("{}"),      true,  "what is recorded of the cluster cannot be read (row 1 of the journal: missing field "),
            ("events without a state",     None,           None,            true,  "nothing is recorded of what was known of the cluster; 1 event that was open is closed, and what is wrong is told again"),
        ];
        for (case, state, since, open, expected) in table {
            let folder =
                Folder(std::env::temp_dir().join(format!("jarvis-restore-{}", uuid::Uuid::new_v4())));
            let store = Store::open(&folder.0.join("jarvis.db")).await.unwrap();
            if let Some(state) = state {
                let (cluster, at) = (name.clone(), Timestamp::UNIX_EPOCH);
                store
                    .save_checkpoint(record::Checkpoint { cluster, at, state: state.to_owned() })
                    .await
                    .unwrap();
            }
            let events = if open { vec![open_event()] } else { Vec::new() };
            store.save_turn(since.map(entry).into_iter().collect(), events, None).await.unwrap();

            let restore = || engine(&store, &name, Policy::default(), Timestamp::UNIX_EPOCH);
            let restored = restore().await.unwrap();
            let newest = store.get_recent_events(1).await.unwrap();
            let said = newest.first().filter(|row| row.title == "Watching lab begins anew");
            let outcome = match said {
                Some(row) => row.message.as_str(),
                None if !restored.seeing() => "it goes on",
                None => "a new engine, silently",
            };
            assert!(outcome.starts_with(expected), "{case}: {outcome}");
            let left_open = store.has_open_incident(&name).await.unwrap();
            assert_eq!(left_open, open && said.is_none(), "{case}");
            // Once is enough: the new beginning is recorded in its place.
            let count = store.get_recent_events(100).await.unwrap().len();
            restore().await.unwrap();
            assert_eq!(store.get_recent_events(100).await.unwrap().len(), count, "{case}, the second time");
        }
    }
}
