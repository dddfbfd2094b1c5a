//! Clock: what time it is by the clock that made all times, so that a page can say how long ago something was, whatever its
//! own clock shows. The demo's runs faster than the world.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::Has;
use super::params::{Asked, Nothing};
use super::shape::Time;
use super::{Reply, Shared};

/// What Jarvis's clock shows.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Clock {
    now: Time,
    /// How many times as fast as the world it runs: 1, but for the demo.
    pace: f64,
}

/// What time it is by Jarvis's clock.
#[utoipa::path(get, path = "/api/v1/clock", tag = "jarvis", responses((status = 200, body = Clock)))]
pub(super) async fn clock(State(app): Shared, has: Has, _: Asked<Nothing>) -> Reply {
    has.answer(&Clock { now: Time(app.live.now()), pace: app.live.pace() })
}
