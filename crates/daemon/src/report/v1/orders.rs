//! Orders: what an operator says about an open incident. It is for the engine to follow, and the journal says who it was.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use engine::observe::ClusterName;
use engine::record::Order;
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::incident::IncidentAsked;
use super::next::Next;
use super::params::Asked;
use super::{Reply, Shared};
use crate::operate::{Ordered, Taken};
use crate::record::IncidentRow;
use crate::report::caller::{Caller, Role};
use crate::report::problem::Problem;

/// How long an engine may take: it takes milliseconds, and behind a store that is busy a second.
const TAKES_MAX: Duration = Duration::from_secs(5);

/// What can be said about an incident, in the path.
const ORDERS: [(&str, Order); 4] = [
    ("approve", Order::Approve),
    ("dismiss", Order::Dismiss),
    ("acknowledge", Order::Acknowledge),
    ("resolve", Order::Resolve),
];

/// What was taken.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OrderTaken {
    /// The incident's UUID.
    #[schema(value_type = uuid::Uuid)]
    id: String,
    /// Whose it is.
    cluster: String,
    /// What was said of it.
    #[schema(example = "approve")]
    order: &'static str,
    /// What comes next, or what holds it; null when the incident is over.
    next: Option<Next>,
}

/// Says something about an open incident: `approve` (do what is recommended, or try once more after the last attempt; every
/// guardrail but the level still stands), `dismiss` (do nothing about it), `acknowledge` (seen), `resolve` (it is over).
#[utoipa::path(post, path = "/api/v1/incidents/{id}/{order}", tag = "operators",
    params(("id" = uuid::Uuid, Path, description = "Its UUID"),
        ("order" = String, Path, description = "approve, dismiss, acknowledge or resolve", pattern = "^(approve|dismiss|acknowledge|resolve)$"),
        IncidentAsked),
    responses((status = 200, body = OrderTaken)))]
pub(super) async fn order(
    State(app): Shared,
    caller: Caller,
    Path((id, order)): Path<(String, String)>,
    Asked(asked): Asked<IncidentAsked>,
) -> Reply {
    let absent = || Problem::not_found("there is no such incident, or it is pruned");
    let (word, order) = ORDERS.into_iter().find(|(word, _)| *word == order).ok_or_else(|| {
        Problem::not_found("about an incident one says approve, dismiss, acknowledge or resolve")
    })?;
    let found = app.store.incidents_by_id(&id).await?;
    let sees = |row: &IncidentRow| row.cluster.parse().is_ok_and(|cluster| caller.sees(&cluster));
    let row = found.into_iter().find(|row| sees(row) && asked.is_of(&row.cluster)).ok_or_else(absent)?;
    let cluster: ClusterName = row.cluster.parse().map_err(|_| absent())?;
    if !caller.may(Role::Operator, Some(&cluster)) {
        let words = format!("{} may not say anything about incidents of {cluster}", caller.name);
        return Err(Problem::new(StatusCode::FORBIDDEN, words));
    }
    let over = || Problem::new(StatusCode::CONFLICT, "the incident is over");
    let incident = id.parse().map_err(|_| absent())?;
    let desk = app.live.desk(&cluster).ok_or_else(over)?;
    let by = caller.operator();
    let by = format!("{} ({})", by.name, by.via).into_boxed_str();
    let (reply, answer) = oneshot::channel();
    let late = || {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the engine does not answer; look before trying again")
    };
    let handed = timeout(TAKES_MAX, desk.send(Ordered { incident, by, order, reply })).await;
    if !matches!(handed, Ok(Ok(()))) {
        return Err(late());
    }
    match timeout(TAKES_MAX, answer).await {
        Ok(Ok(Taken::Recorded(prospect))) => {
            let next = prospect.map(|prospect| Next::of(&prospect, app.live.now()));
            let taken = OrderTaken { id, cluster: cluster.to_string(), order: word, next };
            Ok(axum::Json(taken).into_response())
        }
        Ok(Ok(Taken::NotOpen)) => Err(over()),
        Ok(Ok(Taken::NotRecorded)) => Err(Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "it holds until the next start, but the store did not take it",
        )),
        Ok(Err(_)) | Err(_) => Err(late()),
    }
}
