//! `[thresholds]`: marks for all, for one cluster, for one node or storage. What is not said is taken from the
//! wider one.

use std::collections::BTreeSet;

use engine::observe::Subject;
use engine::policy::{Marks, Metric, Policy, Rung};
use jiff::SignedDuration;

use super::Cluster;
use super::check::{Checker, LIST_MAX};
use super::tree::{At, Place, Spot};
use super::typed::{self, Thresholds, ThresholdsFor};

/// A value that must stay above its mark for longer than this would never be told in time.
const PENDING_MAX: SignedDuration = SignedDuration::from_hours(24);

pub(super) fn apply(
    checker: &mut Checker<'_, '_>,
    clusters: &mut [Cluster],
    general: &Thresholds,
    own: &[ThresholdsFor],
) {
    let defaults = Policy::default();
    let mut marks = defaults.marks.clone();
    for metric in Metric::ALL {
        let typed = of(general, metric);
        let base = defaults.marks(&Subject::Cluster, metric);
        if let Some(judged) = judge(checker, metric, base, typed) {
            marks.insert(metric, judged);
            let key = format!("thresholds.{}", word(metric));
            checker.set(key, words(metric, judged), typed.map(|typed| typed.place.spot));
        }
    }
    for cluster in clusters.iter_mut() {
        cluster.policy.marks.clone_from(&marks);
    }
    if own.len() > LIST_MAX {
        let place = Place { key: "thresholds.for".into(), spot: Spot::Nowhere };
        checker.bad(&place, format_args!("{} tables; at most {LIST_MAX} are allowed", own.len()));
    }
    // Whole clusters before single subjects, which build on them.
    let (subjects, whole): (Vec<_>, Vec<_>) = own.iter().partition(|own| own.subject.is_some());
    let mut seen = BTreeSet::new();
    let from = checker.settings.len();
    for own in whole.into_iter().chain(subjects) {
        apply_own(checker, clusters, own, &mut seen);
    }
    checker.settings[from..].sort_by(|a, b| a.key.cmp(&b.key));
}

/// Whose mark of which metric: a cluster's name, a subject.
type Whose = (Option<String>, Option<Subject>, Metric);

fn apply_own(
    checker: &mut Checker<'_, '_>,
    clusters: &mut [Cluster],
    own: &ThresholdsFor,
    seen: &mut BTreeSet<Whose>,
) {
    if own.subject.is_none() && own.cluster.is_none() {
        return checker.bad(&own.place, "needs a subject (`node/NAME`, `storage/NAME`), a cluster, or both");
    }
    let Some(subject) = subject(checker, own) else { return };
    if let Some(At { value, place }) = &own.cluster
        && !clusters.iter().any(|cluster| cluster.name.as_str() == value)
    {
        // A cluster with problems of its own is missing here too, but then its problems have been named.
        let names: Vec<&str> = clusters.iter().map(|cluster| cluster.name.as_str()).collect();
        return checker.bad(place, format_args!("`{value}` is no cluster; there is {}", names.join(", ")));
    }
    for metric in Metric::ALL {
        let Some(typed) = of(&own.marks, metric) else { continue };
        if let Some(subject) = &subject
            && (metric == Metric::Storage) != matches!(subject, Subject::Storage(_))
        {
            let words =
                "is not measured there: a node has disk, memory, cpu and temperature, a storage has storage";
            checker.bad(&typed.place, words);
            continue;
        }
        let cluster = own.cluster.as_ref().map(|cluster| cluster.value.clone());
        if !seen.insert((cluster.clone(), subject.clone(), metric)) {
            checker.bad(&typed.place, "is given twice for the same subject");
            continue;
        }
        let mut judged = None;
        for one in
            clusters.iter_mut().filter(|one| cluster.as_deref().is_none_or(|name| one.name.as_str() == name))
        {
            let base = one.policy.marks(&Subject::Cluster, metric);
            judged = judge(checker, metric, base, Some(typed));
            // The same table with the same problem would be named once per cluster.
            let Some(marks) = judged else { break };
            match &subject {
                Some(subject) => one.policy.marks_for.insert((subject.clone(), metric), marks),
                None => one.policy.marks.insert(metric, marks),
            };
        }
        if let Some(marks) = judged {
            let whom = subject.as_ref().map(ToString::to_string).or(cluster).unwrap_or_default();
            let shown = format!("{whom}: {}", words(metric, marks));
            checker.set(&typed.place.key, shown, Some(typed.place.spot));
        }
    }
}

/// `None`: not good. `Some(None)`: not given.
fn subject(checker: &mut Checker<'_, '_>, own: &ThresholdsFor) -> Option<Option<Subject>> {
    let Some(At { value, place }) = &own.subject else { return Some(None) };
    match value.parse() {
        Ok(subject @ (Subject::Node(_) | Subject::Storage(_))) => Some(Some(subject)),
        Ok(Subject::Guest(_) | Subject::Cluster | Subject::Service(_)) => checker
            .refuse(place, "must be `node/NAME` or `storage/NAME`: nothing else is measured by this version"),
        Err(_) => checker.refuse(place, "must be `node/NAME`, `storage/NAME` or `storage/NODE/NAME`"),
    }
}

fn judge(
    checker: &mut Checker<'_, '_>,
    metric: Metric,
    base: Marks,
    typed: Option<&typed::Marks>,
) -> Option<Marks> {
    let Some(typed) = typed else { return Some(base) };
    if one_mark(metric)
        && let Some(critical) = &typed.critical
    {
        let words = format!("{} has one mark: take `critical` out", word(metric));
        return checker.refuse(&critical.place, words);
    }
    let high = typed.high.as_ref().map(|at| at.value).or(base.mark(Rung::High))?;
    let clear = base.mark(Rung::High)? - base.clear_mark(Rung::High)?;
    let clear = typed.clear.as_ref().map_or(clear, |at| at.value);
    let critical = typed.critical.as_ref().map(|at| at.value).or(base.mark(Rung::Critical));
    let pending = match &typed.pending {
        Some(at) => pending(checker, at)?,
        None => base.pending,
    };
    let marks = match metric {
        Metric::Temperature => Marks::degrees(high, clear, pending),
        Metric::Disk | Metric::Memory | Metric::Cpu | Metric::Storage => {
            Marks::new(high, critical, clear, pending)
        }
    };
    match marks {
        Ok(marks) => Some(marks),
        Err(error) => checker.refuse(&typed.place, error),
    }
}

/// Contract 1 knows one condition of it, so a second mark would tell nothing.
fn one_mark(metric: Metric) -> bool {
    match metric {
        Metric::Cpu | Metric::Temperature => true,
        Metric::Disk | Metric::Memory | Metric::Storage => false,
    }
}

fn pending(checker: &mut Checker<'_, '_>, at: &At<String>) -> Option<SignedDuration> {
    match at.value.parse::<SignedDuration>() {
        Ok(pending) if (SignedDuration::ZERO..=PENDING_MAX).contains(&pending) => Some(pending),
        Ok(_) | Err(_) => {
            checker.refuse(&at.place, format_args!("must be a time like \"90s\", from 0s to {PENDING_MAX:#}"))
        }
    }
}

fn of(thresholds: &Thresholds, metric: Metric) -> Option<&typed::Marks> {
    match metric {
        Metric::Disk => thresholds.disk.as_ref(),
        Metric::Memory => thresholds.memory.as_ref(),
        Metric::Cpu => thresholds.cpu.as_ref(),
        Metric::Storage => thresholds.storage.as_ref(),
        Metric::Temperature => thresholds.temperature.as_ref(),
    }
}

/// The metric's key.
fn word(metric: Metric) -> &'static str {
    match metric {
        Metric::Disk => "disk",
        Metric::Memory => "memory",
        Metric::Cpu => "cpu",
        Metric::Storage => "storage",
        Metric::Temperature => "temperature",
    }
}

fn words(metric: Metric, marks: Marks) -> String {
    let unit = metric.unit();
    let part = |rung, name| match (marks.mark(rung), marks.clear_mark(rung)) {
        (Some(mark), Some(clear)) => format!("{name} above {mark} {unit} until below {clear} {unit}, "),
        (_, _) => String::new(),
    };
    let pending = marks.pending;
    format!("{}{}after {pending:#}", part(Rung::High, "high"), part(Rung::Critical, "critical"))
}
