//! Every folder of `scenarios/` is a test: what its README promises, its `expected.log` shows line by line.
//!
//! `UPDATE_EXPECT=1 cargo test -p sim` writes the logs anew. Read them before you believe them: a log that was
//! blessed without being read proves nothing.
//!
//! Each is played once more with calls of the virtual daemon failing, one in each run: the same must be told.
//! `FAULTS=all` lets every call of every scenario fail in turn, which takes many minutes.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic, its helpers too")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use expect_test::expect_file;
use sim::run::{self, Fault, Faults};
use sim::script::Script;

#[test]
fn every_scenario_tells_what_it_should() {
    each(check);
}

#[test]
fn one_failing_call_changes_nothing_that_is_told() {
    each(check_with_faults);
}

/// All folders, or the ones that `SCENARIO` names a part of.
fn each(check: fn(&Path)) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut scenarios: Vec<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    scenarios.sort();
    assert!(scenarios.len() > 20, "the scenarios are somewhere else: {}", folder.display());
    let only = std::env::var("SCENARIO").ok();
    let mut failed = Vec::new();
    for path in &scenarios {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        // One that fails must not hide the others.
        if std::panic::catch_unwind(|| check(path)).is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "scenarios that failed (SCENARIO=name runs one): {failed:#?}");
}

fn read(path: &Path) -> Script {
    let text = std::fs::read_to_string(path.join("scenario.txt")).unwrap();
    Script::parse(&text).unwrap_or_else(|error| panic!("{}/scenario.txt, {error}", path.display()))
}

fn check(path: &Path) {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let readme = std::fs::read_to_string(path.join("README.md")).unwrap_or_default();
    let first = readme.lines().next().unwrap_or_default();
    assert!(
        first.len() > 20 && !first.starts_with('#'),
        "{name}: the README's first line states the outcome"
    );
    let script = read(path);
    let report = run::run(&script).unwrap_or_else(|error| panic!("{name}/scenario.txt, {error}"));
    let expected = path.join("expected.log");
    let blessing = std::env::var_os("UPDATE_EXPECT").is_some();
    assert!(blessing || expected.exists(), "{name}: expected.log is missing; UPDATE_EXPECT=1 writes it");
    expect_file![&expected].assert_eq(&report.log);
    assert!(
        report.repeated.is_empty(),
        "{name}: the same rounds once more, and the engine asks: {:#?}",
        report.repeated
    );
    let again = run::run(&script).unwrap();
    assert_eq!(report.log, again.log, "{name}: twice the same scenario, two logs");
}

/// Calls that are made to fail in each scenario, one a run; the offset keeps clear of the rhythm of the rounds.
const SAMPLE: u64 = 4;
const OFFSET: u64 = 7;

/// What is judged by tiers that come round after the end of most scenarios: a lost round of them is missed there.
const SLOW: [&str; 6] =
    ["STORAGE_HIGH", "STORAGE_CRITICAL", "SERVICE_DOWN", "TEMP_HIGH", "DISK_HIGH", "RAM_HIGH"];

fn check_with_faults(path: &Path) {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let script = read(path);
    let sound = run::run(&script).unwrap();
    let expected = opened(&sound.log);
    let all = std::env::var("FAULTS").is_ok_and(|faults| faults == "all");
    let numbers: Vec<u64> = if all {
        (1..=sound.calls).collect()
    } else {
        (0..SAMPLE).map(|k| 1 + (k * sound.calls / SAMPLE + OFFSET * k) % sound.calls).collect()
    };
    for (k, number) in numbers.into_iter().enumerate() {
        let faults: &[Fault] = if all { &Fault::ALL } else { &Fault::ALL[k % Fault::ALL.len()..][..1] };
        for fault in faults {
            let call = Faults::Call { number, fault: *fault };
            let report = run::watch_with(&script, &call, &mut |_| ()).unwrap();
            let told = opened(&report.log);
            let failed = &report.failed;
            assert_eq!(failed.len(), 1, "{name}: {call:?} did not fail");
            let lies: Vec<_> = told.difference(&expected).collect();
            assert!(
                lies.is_empty(),
                "{name}: {lies:?} is told and is not so, with {failed:?}:\n{}",
                report.log
            );
            let missed: Vec<_> = expected.difference(&told).filter(|line| !slow(line)).collect();
            assert!(missed.is_empty(), "{name}: {missed:?} is missed, with {failed:?}:\n{}", report.log);
        }
    }
}

fn slow(line: &str) -> bool {
    SLOW.iter().any(|condition| line.starts_with(condition))
}

/// Every incident of a log, as `CONDITION SUBJECT`.
fn opened(log: &str) -> BTreeSet<String> {
    log.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let told = matches!(words.next(), Some("opened" | "turned"));
            told.then(|| format!("{} {}", words.next().unwrap(), words.next().unwrap().trim_end_matches(':')))
        })
        .collect()
}
