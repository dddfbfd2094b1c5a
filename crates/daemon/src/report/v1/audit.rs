//! Audit: whether the journal is as it was written, and all of it as a file. What its rows say is in `list`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{StatusCode, Version};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use utoipa::{IntoParams, ToSchema};

use super::answer::Has;
use super::list::{Entry, JournalAsked};
use super::params::{Asked, Asks, Nothing, Params};
use super::shape::Time;
use super::{Reply, Shared, bounds};
use crate::record::{self, JournalFilter, ListPage, VerifyError};
use crate::report::caller::Caller;
use crate::report::problem::Problem;
use crate::report::refusal::Refusal;
use crate::report::solo::Known;
use crate::report::turns::Turns;
use crate::report::web::App;

/// How long a walk may take; a million rows take less than a minute. What is longer is for `jarvis audit verify`.
const WALK_MAX: Duration = Duration::from_secs(600);
/// How long what a walk found is an answer, at least: it reads the whole file, and whoever clicks twice means the same.
const WALK_HOLDS: Duration = Duration::from_secs(60);
/// And so many times as long as it took: it has a snapshot of the file, beside which nothing that is written can be put in its
/// place (a checkpoint), and whoever asks without end must not keep one for more than a small part of the time.
const WALK_RESTS: u32 = 10;
/// Rows of a file that are read at a time.
const PIECE: u32 = 500;
/// Bytes of them after which the piece ends, with the row that crosses it. Of each file three pieces are in memory: one that is
/// sent, one that waits for that, and one that is read.
const PIECE_BYTES: usize = 512 * 1024;
/// Files that are made at a time, for everybody; each caller has at most half of them, so that who reads slowly keeps only
/// themselves from another. What waits of them to be read is beside what waits of all other answers (`turns`).
pub(crate) const EXPORTS_MAX: usize = 2;
/// When it is worth another try: a whole journal is read in some seconds, by who reads on.
const EXPORT_AGAIN: Duration = Duration::from_secs(5);

/// Whether the journal is as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
enum Chain {
    /// Every row fits the one before it, and the head beside the database, and the key stands for all of them.
    Whole,
    /// They fit, and for some the key does not stand: whoever could write the file may have written them.
    Unproven,
    /// A row does not fit, or the head.
    Broken,
    /// It is whole since, and was broken before: the daemon found that, and wrote a row of it.
    BrokenBefore,
    /// The key is not beside it: nobody can tell who wrote it.
    NoKey,
    /// It could not be read, or not to its end in time.
    Unread,
}

/// What the last walk through the journal found.
#[derive(Debug)]
pub(crate) struct Walked {
    chain: Chain,
    words: String,
    at: Timestamp,
    took: Duration,
}

/// Whether the journal is as it was written.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Verification {
    /// Whether a walk through it is under way: ask again for what it finds.
    running: bool,
    /// What the last one found; null where there was none.
    state: Option<Chain>,
    /// The same for people, and where it does not fit; for those who see all clusters.
    words: Option<String>,
    /// When that was begun.
    checked_at: Option<Time>,
    /// How long it took.
    took_seconds: Option<f64>,
}

/// Walks through the whole journal and says whether it is as it was written.
///
/// A walk that takes longer than some seconds goes on, and is the answer to who asks again.
#[utoipa::path(get, path = "/api/v1/journal/verification", tag = "recorded",
    responses((status = 200, body = Verification)))]
pub(super) async fn verification(State(app): Shared, caller: Caller, has: Has, _: Asked<Nothing>) -> Reply {
    let (path, at) = (app.store.path().to_owned(), app.live.now());
    let Known { runs, last } = app.walks.ask(walk_holds, || walk(path, at)).await;
    has.answer(&Verification {
        running: runs,
        state: last.as_ref().map(|walked| walked.chain),
        // How many rows there are says how much happens in clusters that are not theirs.
        words: last.as_ref().filter(|_| caller.clusters.is_none()).map(|walked| walked.words.clone()),
        checked_at: last.as_ref().map(|walked| Time(walked.at)),
        took_seconds: last.as_ref().map(|walked| walked.took.as_secs_f64()),
    })
}

fn walk_holds(_: &Walked, took: Duration) -> Duration {
    WALK_HOLDS.max(took.saturating_mul(WALK_RESTS))
}

/// On a thread of its own: each row is hashed, and nobody else is to wait for that.
async fn walk(path: PathBuf, at: Timestamp) -> Walked {
    let began = Instant::now();
    let (say, said) = tokio::sync::oneshot::channel();
    let spawned = std::thread::Builder::new().name("journal walk".into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let found = runtime.map(|runtime| {
            runtime.block_on(async { tokio::time::timeout(WALK_MAX, record::verify(&path)).await })
        });
        // Who does not listen any more is the daemon that stops.
        drop(say.send(found));
    });
    let (chain, words) = match (spawned, said.await) {
        (Ok(_), Ok(Ok(Ok(Ok(fits))))) => {
            (if fits.is_proven() { Chain::Whole } else { Chain::Unproven }, fits.to_string())
        }
        (Ok(_), Ok(Ok(Ok(Err(error))))) => (of_error(&error), format!("{:#}", anyhow::Error::from(error))),
        (Ok(_), Ok(Ok(Err(_)))) => {
            let words = "it took longer than ten minutes; `jarvis audit verify` takes the time that it needs";
            (Chain::Unread, words.to_owned())
        }
        (Ok(_), Ok(Err(error))) | (Err(error), _) => {
            (Chain::Unread, format!("no thread could be had for it: {error}"))
        }
        (Ok(_), Err(_)) => (Chain::Unread, "it ended in the middle; the log says why".to_owned()),
    };
    match chain {
        Chain::Whole => tracing::info!("the journal was walked through: it is whole"),
        Chain::Unproven => tracing::warn!("the journal was walked through: {words}"),
        Chain::Broken | Chain::BrokenBefore | Chain::NoKey | Chain::Unread => {
            tracing::error!("the journal was walked through: {words}");
        }
    }
    Walked { chain, words: words.trim_end().to_owned(), at, took: began.elapsed() }
}

fn of_error(error: &VerifyError) -> Chain {
    match error {
        VerifyError::Misfit { .. } => Chain::Broken,
        VerifyError::Broken { .. } => Chain::BrokenBefore,
        VerifyError::NoKey { .. } => Chain::NoKey,
        VerifyError::NoStore { .. } | VerifyError::Unreadable { .. } => Chain::Unread,
    }
}

/// Which part of the journal.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PartAsked {
    /// At or after this time.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// Of this cluster only.
    #[param(min_length = 1, max_length = 200)]
    cluster: Option<String>,
}

impl Asks for PartAsked {
    fn read(params: &mut Params) -> PartAsked {
        PartAsked {
            since: params.time("since"),
            until: params.time("until"),
            cluster: params.word("cluster"),
        }
    }
}

/// The journal as a file, newest first: a row of `/api/v1/journal` on each line.
///
/// A file that ends in the middle was cut off by the server, and the client is told so by HTTP. Few are made at a time, and one
/// for each caller: 429 until then.
#[utoipa::path(get, path = "/api/v1/journal/export", tag = "recorded", params(PartAsked, JournalAsked),
    responses((status = 200, description = "A row on each line.", body = String, content_type = "application/x-ndjson")))]
pub(super) async fn export(
    State(app): Shared,
    caller: Caller,
    version: Version,
    Asked((part, asked)): Asked<(PartAsked, JournalAsked)>,
) -> Reply {
    if version < Version::HTTP_11 {
        // Its end would be that of the connection, which comes too when the file is cut off.
        return Err(Problem::new(StatusCode::HTTP_VERSION_NOT_SUPPORTED, OLD_HTTP));
    }
    let Some(turn) = Turns::take(&app.exports, &caller.name) else {
        let words = "the journal is being sent to you already, or to as many others as it may be: try again";
        return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, words).retry_after(EXPORT_AGAIN).into());
    };
    let PartAsked { since, until, cluster } = part;
    let within = bounds(&caller);
    let bytes = Some(PIECE_BYTES);
    let window = record::Window { limit: PIECE, after: None, since, until, within, cluster, bytes };
    let filter = asked.filter();
    // The first piece before anything is said: what cannot be read is a refusal, and no empty file.
    let first = piece(&app, window.clone(), filter.clone()).await?;
    let (give, pieces) = mpsc::channel(1);
    // Whoever is shut out, or may see less from now on, is sent no more: who is meant is not asked, since asking again is cheap.
    let rights = app.auth.changes();
    let theirs = rights.clone();
    tokio::spawn(async move {
        let mut piece_of = Ok(first);
        loop {
            let next = match &piece_of {
                Ok((_, next)) => next.clone(),
                Err(_) => None,
            };
            // Who does not read it to its end takes its end of the channel along.
            if give.send(piece_of.map(|(lines, _)| lines)).await.is_err() {
                return;
            }
            let Some(window) = next else { return };
            piece_of = match (app.stop.is_asked(), theirs.has_changed().unwrap_or(true)) {
                (true, _) => Err(axum::Error::new("the daemon stops")),
                (false, true) => Err(axum::Error::new(RIGHTS_CHANGED)),
                (false, false) => piece(&app, window, filter.clone()).await.map_err(axum::Error::new),
            };
        }
    });
    let pieces = ReceiverStream::new(pieces).map(move |piece| {
        // Given back when nobody wants the rest, or there is none.
        let _turn = &turn;
        match rights.has_changed().unwrap_or(true) {
            true => Err(axum::Error::new(RIGHTS_CHANGED)),
            false => piece,
        }
    });
    let body = Body::from_stream(pieces);
    let heads = [
        (CONTENT_TYPE, "application/x-ndjson"),
        (CONTENT_DISPOSITION, "attachment; filename=\"jarvis-journal.ndjson\""),
        (CACHE_CONTROL, "no-store"),
    ];
    let response: Response = (heads, body).into_response();
    Ok(response)
}

const OLD_HTTP: &str = "by HTTP/1.0 nobody could tell a file that was cut off from a whole one: ask by HTTP/1.1; a proxy in between has to, too \
                        (nginx: proxy_http_version 1.1)";
const RIGHTS_CHANGED: &str = "somebody's rights changed meanwhile: ask again";

/// Some lines, and what is asked for those after them.
async fn piece(
    app: &Arc<App>,
    window: record::Window,
    filter: JournalFilter,
) -> Result<(Bytes, Option<record::Window>), record::StoreError> {
    let ListPage { rows, next } = app.store.list_journal(window.clone(), filter).await?;
    let mut lines = Vec::new();
    for row in rows {
        // Of text, numbers and JSON that was read: there is nothing in it that JSON could not say.
        serde_json::to_writer(&mut lines, &Entry::from(row)).unwrap_or_default();
        lines.push(b'\n');
    }
    Ok((lines.into(), next.map(|at| record::Window { after: Some(at), ..window })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_walk_found_holds_for_as_long_as_it_is_worth() {
        for (name, took, holds) in [
            ("a small journal", 1, 60),
            ("as large as a minute allows", 6, 60),
            ("a million rows", 50, 500),
            ("one that was given up", 600, 6_000),
        ] {
            let took = Duration::from_secs(took);
            let walked =
                Walked { chain: Chain::Whole, words: String::new(), at: Timestamp::UNIX_EPOCH, took };
            assert_eq!(walk_holds(&walked, took).as_secs(), holds, "{name}");
        }
    }
}
