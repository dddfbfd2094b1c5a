//! `[[runbook]]`: other bounds for a built-in runbook, or one more, for every cluster or for one.
//!
//! What would go on for ever is refused here: attempts must not be forgotten before the last of them has failed.

use engine::decide::{self, Autonomy, Only, Remedy, Runbook, WINDOW_MAX};
use engine::detect::Condition;
use engine::observe::Subject;
use jiff::SignedDuration;

use super::Cluster;
use super::check::{Checker, LIST_MAX};
use super::tree::{At, Place, Spot};
use super::typed;

/// Attempts within a window: a guest that dies so often is not mended by starting it.
const ATTEMPTS_MAX: i64 = 20;
const WINDOW_MIN: SignedDuration = SignedDuration::from_mins(1);
/// Less would be a second call while the first one still shows its effect.
const COOLDOWN_MIN: SignedDuration = SignedDuration::from_secs(10);
/// What is left to itself for longer is left to people.
const GRACE_MAX: SignedDuration = SignedDuration::from_hours(1);
const LOOK_MIN: SignedDuration = SignedDuration::from_secs(1);
/// A boot with all its checks of disks; after that people should know.
const WITHIN_MAX: SignedDuration = SignedDuration::from_hours(1);
const WITHIN_MIN: SignedDuration = SignedDuration::from_secs(10);
/// Longest id, name or pool.
const NAME_MAX: usize = 100;

pub(super) fn apply(checker: &mut Checker<'_, '_>, clusters: &mut [Cluster], typed: &[typed::Runbook]) {
    if typed.len() > LIST_MAX {
        let place = Place { key: "runbook".into(), spot: Spot::Nowhere };
        checker.bad(&place, format_args!("{} tables; at most {LIST_MAX} are allowed", typed.len()));
    }
    let built_in = decide::built_in();
    let is_built_in = |id: &str| built_in.iter().any(|book| &*book.id == id);
    let mut seen: Vec<(&str, Option<&str>)> = Vec::new();
    let (mut changed, mut added) = (Vec::new(), Vec::new());
    for one in typed.iter().take(LIST_MAX) {
        let Some(At { value: id, place }) = &one.id else {
            let place = Place { key: format!("{}.id", one.place.key), spot: one.place.spot };
            if !checker.problems.has(&place.key) {
                checker.bad(
                    &place,
                    "is missing: a built-in runbook's, to change it, or another one, to add one",
                );
            }
            continue;
        };
        if !plain(id) || id.len() > NAME_MAX {
            let words = format!("must be letters, digits, `-` and `_`, at most {NAME_MAX} of them");
            checker.bad(place, words);
            continue;
        }
        let cluster = one.cluster.as_ref().map(|cluster| cluster.value.as_str());
        if !known_cluster(checker, clusters, one.cluster.as_ref()) {
            continue;
        }
        // A built-in one may be changed for all and again for one; of others it could not be said which is meant.
        let same = |other: Option<&str>| match is_built_in(id) {
            true => other == cluster,
            false => other.is_none() || cluster.is_none() || other == cluster,
        };
        if seen.iter().any(|(known, other)| *known == id.as_str() && same(*other)) {
            checker.bad(place, format_args!("`{id}` is given twice: give the second one another id"));
            continue;
        }
        seen.push((id, cluster));
        if is_built_in(id) { changed.push(one) } else { added.push(one) }
    }
    let from = checker.settings.len();
    let general = |book: &Runbook| {
        let of = |one: &&typed::Runbook| {
            one.cluster.is_none() && one.id.as_ref().is_some_and(|id| *id.value == *book.id)
        };
        changed.iter().any(of)
    };
    for book in built_in.iter().filter(|book| !general(book)) {
        checker.set(format!("runbook.{}", book.id), bounds(book), None);
    }
    // For all clusters before single ones, which build on them.
    changed.sort_by_key(|one| one.cluster.is_some());
    for one in &changed {
        change(checker, clusters, one);
    }
    let mut books: Vec<(&typed::Runbook, Runbook)> = Vec::new();
    for one in added {
        books.extend(add(checker, one).map(|book| (one, book)));
    }
    for (one, book) in &books {
        let key = format!("runbook.{}", book.id);
        checker.set(key, words(one, book), Some(one.place.spot));
    }
    for cluster in clusters.iter_mut() {
        let mine = books.iter().filter(|(one, _)| is_for(one, cluster)).map(|(_, book)| book.clone());
        let mine: Vec<Runbook> = mine.collect();
        cluster.policy.runbooks.splice(..0, mine);
    }
    // As they are asked.
    let place = |setting: &super::Setting| {
        let id = setting.key.strip_prefix("runbook.").unwrap_or_default();
        built_in.iter().position(|book| &*book.id == id).map_or(0, |at| at + 1)
    };
    checker.settings[from..].sort_by_key(place);
}

/// Other bounds for a built-in one, in its place.
fn change(checker: &mut Checker<'_, '_>, clusters: &mut [Cluster], one: &typed::Runbook) {
    let Some(id) = &one.id else { return };
    let said = [one.condition.as_ref().map(|at| &at.place), one.only.as_ref().map(|at| &at.place)];
    if let Some(place) = said.into_iter().flatten().next() {
        let words = "cannot be said of a built-in runbook: give it another id, and it is asked before";
        return checker.bad(place, format_args!("{words} `{}`", id.value));
    }
    let mut shown = None;
    for cluster in clusters.iter_mut().filter(|cluster| is_for(one, cluster)) {
        let Some(base) = cluster.policy.runbooks.iter_mut().find(|book| *book.id == *id.value) else {
            continue;
        };
        // The same table with the same problem would be named once per cluster.
        let Some(book) = bounded(checker, one, base) else { return };
        *base = book.clone();
        shown = Some(book);
    }
    if let Some(book) = shown {
        checker.set(format!("runbook.{}", id.value), words(one, &book), Some(one.place.spot));
    }
}

/// One more.
fn add(checker: &mut Checker<'_, '_>, one: &typed::Runbook) -> Option<Runbook> {
    let id = &one.id.as_ref()?.value;
    let Some(condition) = &one.condition else {
        let place = Place { key: format!("{}.condition", one.place.key), spot: one.place.spot };
        let ids: Vec<String> = decide::built_in().iter().map(|book| book.id.to_string()).collect();
        let ids = ids.join(", ");
        if checker.problems.has(&place.key) {
            return None;
        }
        let words = format!("is missing: one of {}; `{id}` is no built-in runbook ({ids})", conditions());
        return checker.refuse(&place, words);
    };
    let built_in = decide::built_in();
    // Its bounds are those of the built-in one, of which the times are measured.
    let Some(base) = built_in.iter().find(|book| book.condition.as_str() == condition.value) else {
        let words = format!("must be one of {}: nothing can be done about others", conditions());
        return checker.refuse(&condition.place, words);
    };
    let judge = |text: &str| only(base.condition, text);
    let mut whom = Vec::new();
    if let Some(At { value: items, place }) = &one.only {
        if items.is_empty() || items.len() > LIST_MAX {
            let words = format!("must hold 1 to {LIST_MAX} items; leave it out, and the runbook is for all");
            return checker.refuse(place, words);
        }
        for item in items {
            match judge(&item.value) {
                Ok(only) => whom.push(only),
                Err(words) => return checker.refuse(&item.place, words),
            }
        }
    }
    let base = Runbook { id: id.as_str().into(), only: whom, ..base.clone() };
    bounded(checker, one, &base)
}

/// A runbook with what is said of it, or nothing where that is no good.
fn bounded(checker: &mut Checker<'_, '_>, one: &typed::Runbook, base: &Runbook) -> Option<Runbook> {
    let zero = SignedDuration::ZERO;
    let book = Runbook {
        remedy: remedy(checker, one, base)?,
        level: level(checker, one, base)?,
        attempts: attempts(checker, one, base)?,
        window: time(checker, one.window.as_ref(), WINDOW_MIN, WINDOW_MAX, base.window)?,
        cooldown: time(checker, one.cooldown.as_ref(), COOLDOWN_MIN, WINDOW_MAX, base.cooldown)?,
        grace: time(checker, one.grace.as_ref(), zero, GRACE_MAX, base.grace)?,
        first_look: time(checker, one.first_look.as_ref(), LOOK_MIN, WITHIN_MAX, base.first_look)?,
        verify_for: time(checker, one.verify_for.as_ref(), zero, WITHIN_MAX, base.verify_for)?,
        verify_within: time(checker, one.verify_within.as_ref(), WITHIN_MIN, WITHIN_MAX, base.verify_within)?,
        ..base.clone()
    };
    // Where a rule between two of them is broken, the place is that of the one that was said.
    let at = |typed: [&Option<At<String>>; 2]| {
        typed.into_iter().flatten().map(|at| at.place.clone()).next().unwrap_or_else(|| one.place.clone())
    };
    let within = book.verify_within;
    for (key, typed, time) in
        [("first_look", &one.first_look, book.first_look), ("verify_for", &one.verify_for, book.verify_for)]
    {
        if time >= within {
            let words = format!("{key} ({time:#}) must be less than verify_within ({within:#})");
            return checker.refuse(&at([typed, &one.verify_within]), words);
        }
    }
    if book.cooldown >= book.window {
        let words = format!("cooldown ({:#}) must be less than window ({:#})", book.cooldown, book.window);
        return checker.refuse(&at([&one.cooldown, &one.window]), words);
    }
    let (apart, which, typed) = match book.cooldown > within {
        true => (book.cooldown, "cooldown", &one.cooldown),
        false => (within, "verify_within", &one.verify_within),
    };
    let all = i32::try_from(book.attempts).ok().and_then(|attempts| apart.checked_mul(attempts));
    if all.is_none_or(|all| all >= book.window) {
        let place = one.attempts.as_ref().map(|at| at.place.clone());
        let place = place.unwrap_or_else(|| at([&one.window, typed]));
        let words = format!(
            "{} attempts, each with {which} ({apart:#}), leave nothing of window ({:#}): the first would be forgotten \
             before the last has failed, and people never called",
            book.attempts, book.window
        );
        return checker.refuse(&place, words);
    }
    Some(book)
}

fn remedy(checker: &mut Checker<'_, '_>, one: &typed::Runbook, base: &Runbook) -> Option<Remedy> {
    let Some(At { value, place }) = &one.action else { return Some(base.remedy) };
    let fitting = Remedy::ALL.into_iter().filter(|(_, remedy)| remedy.fits(base.condition));
    let found = fitting.clone().find(|(name, _)| *name == value.as_str());
    if let Some((_, remedy)) = found {
        return Some(remedy);
    }
    let names: Vec<String> = fitting.map(|(name, _)| format!("\"{name}\"")).collect();
    checker.refuse(
        place,
        format_args!(
            "must be {}: that is what can be done about {}",
            names.join(" or "),
            base.condition.as_str()
        ),
    )
}

/// Up to "recommend" an operator decides, so no runbook may ask for so little.
fn level(checker: &mut Checker<'_, '_>, one: &typed::Runbook, base: &Runbook) -> Option<Autonomy> {
    let Some(At { value, place }) = &one.level else { return Some(base.level) };
    match value {
        3 => Some(Autonomy::ActReport),
        4 => Some(Autonomy::ActSilent),
        _ => checker.refuse(
            place,
            "must be 3 (act and report) or 4 (act silently): below that nothing is done unasked",
        ),
    }
}

fn attempts(checker: &mut Checker<'_, '_>, one: &typed::Runbook, base: &Runbook) -> Option<u32> {
    let Some(At { value, place }) = &one.attempts else { return Some(base.attempts) };
    match u32::try_from(*value).ok().filter(|_| (1..=ATTEMPTS_MAX).contains(value)) {
        Some(attempts) => Some(attempts),
        None => {
            let words = "; for none at all say action = \"nothing\"";
            checker
                .refuse(place, format_args!("{value} is not a whole number from 1 to {ATTEMPTS_MAX}{words}"))
        }
    }
}

fn time(
    checker: &mut Checker<'_, '_>,
    typed: Option<&At<String>>,
    least: SignedDuration,
    most: SignedDuration,
    base: SignedDuration,
) -> Option<SignedDuration> {
    let Some(At { value, place }) = typed else { return Some(base) };
    match value.parse::<SignedDuration>() {
        Ok(time) if (least..=most).contains(&time) => Some(time),
        Ok(_) | Err(_) => {
            checker.refuse(place, format_args!("must be a time like \"90s\", from {least:#} to {most:#}"))
        }
    }
}

/// Whom it is for; what can never fit is refused.
fn only(condition: Condition, text: &str) -> Result<Only, String> {
    let (of_guests, form) = match condition {
        Condition::VmCrashed | Condition::VmFault => {
            (true, "`tag:TAG`, `node/NAME`, `qemu/ID`, `pool:POOL` or `name:NAME`")
        }
        Condition::CtCrashed => (true, "`tag:TAG`, `node/NAME`, `lxc/ID`, `pool:POOL` or `name:NAME`"),
        Condition::NodeUnreachable => (false, "`node/NAME`"),
        Condition::ServiceDown => (false, "`node/NAME` or `service/NODE/NAME`"),
        Condition::MonitorBlind
        | Condition::QuorumLost
        | Condition::DiskHigh
        | Condition::DiskCritical
        | Condition::RamHigh
        | Condition::RamCritical
        | Condition::CpuHigh
        | Condition::StorageHigh
        | Condition::StorageCritical
        | Condition::StorageOffline
        | Condition::StatsStale
        | Condition::NodeApiDown
        | Condition::HaError
        | Condition::TempHigh => (false, "nothing"),
    };
    let bad = || format!("must be {form} for {}", condition.as_str());
    let named = |name: &str| !name.is_empty() && name.len() <= NAME_MAX && !name.contains(char::is_control);
    if let Some((kind @ ("tag" | "pool" | "name"), name)) = text.split_once(':') {
        let tag = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '+' | '.');
        return match kind {
            "tag" if of_guests && named(name) && name.chars().all(tag) => {
                Ok(Only::Tag(name.to_ascii_lowercase().into()))
            }
            "pool" if of_guests && named(name) => Ok(Only::Pool(name.into())),
            "name" if of_guests && named(name) => Ok(Only::Name(name.into())),
            _ => Err(bad()),
        };
    }
    match text.parse::<Subject>().map_err(|_| bad())? {
        // Of a node it is the subject, of all else the place.
        Subject::Node(node) if condition == Condition::NodeUnreachable => {
            Ok(Only::Subject(Subject::Node(node)))
        }
        Subject::Node(node) => Ok(Only::Node(node)),
        subject @ Subject::Guest(_) => {
            let kind = if condition == Condition::CtCrashed { "lxc/" } else { "qemu/" };
            if of_guests && text.starts_with(kind) { Ok(Only::Subject(subject)) } else { Err(bad()) }
        }
        subject @ Subject::Service(_) if condition == Condition::ServiceDown => Ok(Only::Subject(subject)),
        Subject::Service(_) | Subject::Cluster | Subject::Storage(_) => Err(bad()),
    }
}

fn known_cluster(checker: &mut Checker<'_, '_>, clusters: &[Cluster], typed: Option<&At<String>>) -> bool {
    let Some(At { value, place }) = typed else { return true };
    let known = clusters.iter().any(|cluster| cluster.name.as_str() == value);
    if !known {
        // A cluster with problems of its own is missing here too, but then its problems have been named.
        let names: Vec<&str> = clusters.iter().map(|cluster| cluster.name.as_str()).collect();
        checker.bad(place, format_args!("`{value}` is no cluster; there is {}", names.join(", ")));
    }
    known
}

fn is_for(one: &typed::Runbook, cluster: &Cluster) -> bool {
    one.cluster.as_ref().is_none_or(|name| cluster.name.as_str() == name.value)
}

fn plain(id: &str) -> bool {
    !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

fn conditions() -> String {
    let built_in = decide::built_in();
    built_in.iter().map(|book| book.condition.as_str()).collect::<Vec<_>>().join(", ")
}

fn words(one: &typed::Runbook, book: &Runbook) -> String {
    let cluster = one.cluster.as_ref().map(|cluster| format!("{}: ", cluster.value)).unwrap_or_default();
    let whom = one.only.as_ref().map(|only| {
        let items: Vec<&str> = only.value.iter().map(|item| item.value.as_str()).collect();
        format!(" of {}", items.join(", "))
    });
    let text = bounds(book);
    let (condition, rest) = text.split_once(':').unwrap_or(("", &text));
    format!("{cluster}{condition}{}:{rest}", whom.unwrap_or_default())
}

/// As `check-config` shows it.
fn bounds(book: &Runbook) -> String {
    let Runbook { attempts, window, cooldown, grace, first_look, verify_for, verify_within, .. } = book;
    let condition = book.condition.as_str();
    let remedy =
        Remedy::ALL.into_iter().find(|(_, remedy)| *remedy == book.remedy).map_or("", |(name, _)| name);
    if book.remedy == Remedy::Nothing {
        return format!("{condition}: nothing");
    }
    format!(
        "{condition}: {remedy} from level {}, {attempts} in {window:#}, {cooldown:#} apart, after {grace:#}; looked at \
         after {first_look:#}, well for {verify_for:#} within {verify_within:#}",
        book.level.number()
    )
}
