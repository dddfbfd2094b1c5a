//! `/api/v1`: reading, for programs. Typed shapes, pages by cursor, ETags, problems (RFC 9457), and the document that says so.
//!
//! | file | what it does |
//! |---|---|
//! | `picture`, `rows` | what is seen: clusters, nodes, guests, storages |
//! | `list`, `incident`, `next` | what is recorded: events, incidents, actions, journal, preferences |
//! | `audit` | whether the journal is as it was written, and all of it as a file |
//! | `orders` | what an operator says about an incident |
//! | `notices` | what operators announce: maintenance and silences |
//! | `health`, `clock` | Jarvis itself |
//! | `checkup` | whether a cluster is set up as it is to be |
//! | `policy` | what is in force |
//! | `aside` | what PVE is asked when somebody looks |
//! | `shape` | the words and times that all of them use |
//! | `params`, `cursor`, `answer` | how a call is asked and answered |
//! | [`document`] | OpenAPI, made of all calls, the old ones too |
//!
//! Only `aside` and `checkup` ask a cluster. What `orders` says to an engine, what `notices` announce, and that an event is over, is all that
//! changes anything.

mod answer;
mod aside;
mod audit;
mod checkup;
mod clock;
mod cursor;
pub mod document;
mod health;
mod incident;
mod list;
mod next;
mod notices;
mod orders;
mod params;
mod picture;
mod policy;
mod rows;
mod shape;

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use engine::observe::ClusterName;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) use audit::{EXPORTS_MAX, Walked};
pub(super) use params::{Asked, Nothing};

use super::caller::Caller;
use super::page::Page;
use super::problem::Problem;
use super::web::App;

type Shared = State<Arc<App>>;
type Reply = Result<Response, Problem>;

/// The calls under `/api/v1` that need a token.
pub(super) fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(picture::clusters))
        .routes(routes!(picture::cluster))
        .routes(routes!(picture::cluster_nodes))
        .routes(routes!(picture::cluster_node))
        .routes(routes!(picture::cluster_guests))
        .routes(routes!(picture::cluster_guest))
        .routes(routes!(picture::cluster_storages))
        .routes(routes!(picture::nodes))
        .routes(routes!(picture::guests))
        .routes(routes!(picture::storages))
        .routes(routes!(incident::incidents))
        .routes(routes!(incident::incident))
        .routes(routes!(orders::order))
        .routes(routes!(notices::maintenance, notices::set_maintenance))
        .routes(routes!(notices::end_maintenance))
        .routes(routes!(notices::silences, notices::set_silence))
        .routes(routes!(notices::end_silence))
        .routes(routes!(list::events))
        .routes(routes!(list::event))
        .routes(routes!(list::resolve_event))
        .routes(routes!(list::actions))
        .routes(routes!(list::journal))
        .routes(routes!(audit::verification))
        .routes(routes!(audit::export))
        .routes(routes!(list::preferences))
        .routes(routes!(health::health))
        .routes(routes!(checkup::checkup))
        .routes(routes!(clock::clock))
        .routes(routes!(policy::policy))
        .routes(routes!(aside::node_history))
        .routes(routes!(aside::guest_history))
        .routes(routes!(aside::guest_config))
        .routes(routes!(aside::task_log))
}

/// The document, for everybody.
pub(super) fn public() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(document::openapi))
}

/// The clusters that a caller sees, in the configuration's order, or the one that is named.
fn seen<'a>(
    app: &'a App,
    caller: &Caller,
    named: Option<&str>,
) -> Result<Vec<(&'a ClusterName, &'a Page)>, Problem> {
    let seen = app.pages.iter().filter(|(name, _)| caller.sees(name));
    let seen: Vec<_> = seen
        .filter(|(name, _)| named.is_none_or(|named| named == name.as_str()))
        .map(|(name, page)| (name, &**page))
        .collect();
    match named {
        // One that is there and not seen is not there: its name is nobody's business.
        Some(named) if seen.is_empty() => {
            let named: String = named.chars().take(100).collect();
            Err(Problem::not_found(format!("no cluster `{named}` is watched")))
        }
        Some(_) | None => Ok(seen),
    }
}

/// The one cluster of this name that the caller sees.
fn only<'a>(app: &'a App, caller: &Caller, named: &str) -> Result<(&'a ClusterName, &'a Page), Problem> {
    let mut found = seen(app, caller, Some(named))?;
    found.pop().ok_or_else(|| Problem::not_found("no such cluster is watched"))
}

/// What a list from the store is bounded to; `None`: the caller sees everything.
fn bounds(caller: &Caller) -> Option<Vec<String>> {
    caller.clusters.as_ref().map(|clusters| clusters.iter().map(ToString::to_string).collect())
}
