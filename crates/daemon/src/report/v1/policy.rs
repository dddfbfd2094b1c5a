//! Policy: what is in force: what Jarvis may do by itself, what it does about what, which values are too high, and what
//! it never touches. As the engines were given it, not as the configuration was typed.

use axum::extract::State;
use engine::decide::{Only, Remedy, Runbook};
use engine::observe::Subject;
use engine::policy::{Marks, Metric, Policy, Rung};
use jiff::SignedDuration;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::Has;
use super::params::{Asked, Nothing};
use super::{Reply, Shared, seen};
use crate::observe::itself::{By, Found};
use crate::report::caller::Caller;
use crate::report::control;

/// What is in force.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct InForce {
    /// What Jarvis may do by itself, 0 to 4.
    level: u8,
    /// The highest level that the configuration allows.
    ceiling: u8,
    /// Whether everything is stopped.
    kill_switch: bool,
    /// Those that the caller sees, in the configuration's order.
    clusters: Vec<ClusterPolicy>,
}

/// What is in force for one cluster.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ClusterPolicy {
    cluster: String,
    /// Whether this Jarvis only watches, whatever the level.
    standby: bool,
    /// In the order in which they are asked; the first that fits is followed.
    runbooks: Vec<RunbookInForce>,
    marks: Vec<MarksInForce>,
    /// What is told about and never acted on.
    protect: Vec<String>,
    /// What is not told about.
    ignore: Vec<String>,
    /// Where Jarvis itself runs: never acted on, nor is the node that carries it.
    own: Vec<String>,
    /// How that is known; null where it is not.
    own_known: Option<OwnKnown>,
    /// So many new incidents within a minute are a storm, in which nothing is done.
    storm: u32,
}

/// How it is known where Jarvis itself runs.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
enum OwnKnown {
    /// The configuration says so.
    Configured,
    /// Found by its address: a card of the guest has that of one of this machine.
    FoundByAddress,
    /// Found by its name: the node is called as this machine, which is a node of PVE.
    FoundByName,
}

/// What is done about a condition.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RunbookInForce {
    id: String,
    #[schema(example = "VM_CRASHED")]
    condition: &'static str,
    /// Whom it is for; empty: everybody.
    r#match: Vec<String>,
    #[schema(example = "start")]
    action: &'static str,
    /// The level from which on it is done unasked.
    level: u8,
    attempts: u32,
    window_seconds: i64,
    cooldown_seconds: i64,
    grace_seconds: i64,
    first_look_seconds: i64,
    verify_for_seconds: i64,
    verify_within_seconds: i64,
}

impl RunbookInForce {
    fn of(book: &Runbook) -> RunbookInForce {
        let Runbook { id, condition, only, remedy, level, attempts, .. } = book;
        let seconds = |span: SignedDuration| span.as_secs();
        let action = Remedy::ALL.into_iter().find(|(_, named)| named == remedy);
        RunbookInForce {
            id: id.to_string(),
            condition: condition.as_str(),
            r#match: only.iter().map(whom).collect(),
            action: action.map_or("nothing", |(name, _)| name),
            level: level.number(),
            attempts: *attempts,
            window_seconds: seconds(book.window),
            cooldown_seconds: seconds(book.cooldown),
            grace_seconds: seconds(book.grace),
            first_look_seconds: seconds(book.first_look),
            verify_for_seconds: seconds(book.verify_for),
            verify_within_seconds: seconds(book.verify_within),
        }
    }
}

/// As the configuration writes it.
fn whom(only: &Only) -> String {
    match only {
        Only::Tag(tag) => format!("tag:{tag}"),
        Only::Node(node) => format!("node/{node}"),
        Only::Pool(pool) => format!("pool:{pool}"),
        Only::Subject(subject) => subject.to_string(),
        Only::Name(name) => format!("name:{name}"),
    }
}

/// From which value on something is told.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct MarksInForce {
    #[schema(example = "disk_percent")]
    metric: &'static str,
    /// Of this one only, instead of the general ones; null: of all.
    subject: Option<String>,
    high: Option<f64>,
    critical: Option<f64>,
    /// Below this it is over again.
    clear: Option<f64>,
    /// So long it must last.
    pending_seconds: i64,
}

impl MarksInForce {
    fn of(metric: Metric, subject: Option<String>, marks: &Marks) -> MarksInForce {
        MarksInForce {
            metric: metric.as_str(),
            subject,
            high: marks.mark(Rung::High),
            critical: marks.mark(Rung::Critical),
            clear: marks.clear_mark(Rung::High),
            pending_seconds: marks.pending.as_secs(),
        }
    }
}

fn of(cluster: String, policy: &Policy, standby: bool, own: &[Subject], found: &[Found]) -> ClusterPolicy {
    let own_known = match (&policy.own[..], found) {
        ([_, ..], _) => Some(OwnKnown::Configured),
        ([], found) => found.first().map(|first| match first.by {
            By::Address(_) => OwnKnown::FoundByAddress,
            By::Name => OwnKnown::FoundByName,
        }),
    };
    let named = |subjects: &[Subject], tags: &[Box<str>]| -> Vec<String> {
        let tags = tags.iter().map(|tag| format!("tag:{tag}"));
        subjects.iter().map(ToString::to_string).chain(tags).collect()
    };
    let general = policy.marks.iter().map(|(metric, marks)| MarksInForce::of(*metric, None, marks));
    let single = policy.marks_for.iter();
    let single =
        single.map(|((subject, metric), marks)| MarksInForce::of(*metric, Some(subject.to_string()), marks));
    ClusterPolicy {
        cluster,
        standby,
        runbooks: policy.runbooks.iter().map(RunbookInForce::of).collect(),
        marks: general.chain(single).collect(),
        protect: named(&policy.protect, &policy.protect_tags),
        ignore: named(&policy.ignore, &policy.ignore_tags),
        own: named(own, &[]),
        own_known,
        storm: policy.storm,
    }
}

/// What is in force, for the clusters that the caller sees.
#[utoipa::path(get, path = "/api/v1/policy", tag = "jarvis", responses((status = 200, body = InForce)))]
pub(super) async fn policy(State(app): Shared, caller: Caller, has: Has, _: Asked<Nothing>) -> Reply {
    let control::InForce { level, kill_switch } = control::in_force(&app).await;
    let clusters = seen(&app, &caller, None)?.into_iter().filter_map(|(name, _)| {
        let given = app.live.policy(name)?;
        Some(of(name.to_string(), &given.policy, given.standby, &app.live.own(name), &app.live.found(name)))
    });
    has.answer(&InForce { level, ceiling: app.ceiling, kill_switch, clusters: clusters.collect() })
}
