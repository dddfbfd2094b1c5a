//! Checkup: whether a cluster is set up so that it can be watched and put right, as `jarvis doctor` says it, and the commands
//! that mend what is not.

use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::Has;
use super::params::{Asked, Nothing};
use super::shape::Time;
use super::{Reply, Shared, only};
use crate::observe::doctor::{self, Mark};
use crate::report::caller::Caller;
use crate::report::problem::Problem;
use crate::report::solo::Known;

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum FindingMark {
    /// As it should be.
    Ok,
    /// It works; somebody may want to know.
    Note,
    /// Something does not work as it is configured.
    Missing,
}

/// What was found about one thing.
#[derive(Debug, Serialize, ToSchema)]
struct Finding {
    mark: FindingMark,
    /// What it is about.
    #[schema(example = "rights to act")]
    about: String,
    /// What was found.
    words: Vec<String>,
    /// Commands for root on a node of the cluster that mend it.
    #[schema(example = json!(["pveum acl modify / --tokens 'jarvis@pve!observe' --roles PVEAuditor"]))]
    mend: Vec<String>,
}

impl From<&doctor::Finding> for Finding {
    fn from(found: &doctor::Finding) -> Finding {
        let doctor::Finding { mark, what, words, mend, refused: _ } = found;
        let mark = match mark {
            Mark::Well => FindingMark::Ok,
            Mark::Note => FindingMark::Note,
            Mark::Missing => FindingMark::Missing,
        };
        Finding { mark, about: what.clone(), words: words.clone(), mend: mend.clone() }
    }
}

/// Whether a cluster is set up as it is to be.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Checkup {
    cluster: String,
    /// Whether it is being looked at: ask again for what is found.
    running: bool,
    /// When the last look was begun; null where there was none.
    checked_at: Option<Time>,
    /// What it found: endpoints, token, rights, nodes, guests.
    findings: Vec<Finding>,
}

/// Asks a cluster whether all that Jarvis needs is there: as `jarvis doctor`, which looks at the store, too. Reads only.
///
/// A look that takes longer than some seconds goes on, and is the answer to who asks again.
#[utoipa::path(get, path = "/api/v1/clusters/{cluster}/checkup", tag = "jarvis",
    params(("cluster" = String, Path, description = "Its name")), responses((status = 200, body = Checkup)))]
pub(super) async fn checkup(
    State(app): Shared,
    caller: Caller,
    has: Has,
    Path(cluster): Path<String>,
    _: Asked<Nothing>,
) -> Reply {
    let (name, _) = only(&app, &caller, &cluster)?;
    let ward = app
        .live
        .ward(name)
        .ok_or_else(|| Problem::not_found(format!("{cluster} is not watched just now")))?;
    let Known { runs, last } = ward.examined().await;
    has.answer(&Checkup {
        cluster,
        running: runs,
        checked_at: last.as_ref().map(|checkup| Time(checkup.at)),
        findings: last.iter().flat_map(|checkup| &checkup.found).map(Finding::from).collect(),
    })
}
