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
use sim::Rng;
use sim::run::{self, Fault, Faults};
use sim::script::{Command, Script};

#[test]
fn every_scenario_tells_what_it_should() {
    each(check);
}

#[test]
fn one_failing_call_changes_nothing_that_is_told() {
    each(check_with_faults);
}

/// The timelines of pve-domain 10, S1 to S22: each is a folder at least, and its README says so at the beginning.
#[test]
fn every_timeline_of_pve_is_a_scenario() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut told = BTreeSet::new();
    for scenario in std::fs::read_dir(&folder).unwrap() {
        let readme = std::fs::read_to_string(scenario.unwrap().path().join("README.md")).unwrap();
        let marks = readme.split_once(": ").map_or("", |(marks, _)| marks).split(", ");
        told.extend(marks.filter_map(|mark| mark.strip_prefix('S')?.parse::<u32>().ok()));
    }
    let missing: Vec<u32> = (1..=22).filter(|number| !told.contains(number)).collect();
    assert!(missing.is_empty(), "no scenario for S{missing:?}");
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

/// After each of a scenario's first steps so many calls are made to fail, one a run, among those of the next 30 s or so.
const STEPS: usize = 2;
const AFTER_STEP: usize = 4;
const WITHIN: usize = 60;

/// What is judged by tiers that come round after the end of most scenarios: a lost round of them is missed there.
const SLOW: [&str; 6] =
    ["STORAGE_HIGH", "STORAGE_CRITICAL", "SERVICE_DOWN", "TEMP_HIGH", "DISK_HIGH", "RAM_HIGH"];

fn check_with_faults(path: &Path) {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let script = read(path);
    let sound = run::run(&script).unwrap();
    let expected = opened(&sound.log);
    // A round lost beside one that the story itself loses is the second in a row, and that is blindness.
    let troubled = script.steps.iter().any(|step| matches!(step.command, Command::Api(..)));
    let blind = |line: &&String| troubled && line.starts_with("MONITOR_BLIND");
    let all = std::env::var("FAULTS").is_ok_and(|faults| faults == "all");
    let calls: Vec<(u64, Fault)> = if all {
        (1..=sound.calls).flat_map(|number| Fault::ALL.map(|fault| (number, fault))).collect()
    } else {
        // Other calls and other faults in each scenario, and the same in every run.
        let mut rng = Rng::new(name.bytes().fold(7, |sum, byte| sum * 31 % 1_000_003 + u64::from(byte)));
        let mut marks = sound.marks.clone();
        marks.dedup();
        marks.truncate(STEPS);
        let after = marks.iter().flat_map(|mark| [*mark; AFTER_STEP]);
        after
            .map(|mark| (mark + 1 + rng.below(WITHIN) as u64, Fault::ALL[rng.below(Fault::ALL.len())]))
            .filter(|(number, _)| *number <= sound.calls)
            .collect()
    };
    for (number, fault) in calls {
        let call = Faults::Call { number, fault };
        let report = run::watch_with(&script, &call, &mut |_| ()).unwrap();
        let told = opened(&report.log);
        let failed = &report.failed;
        assert_eq!(failed.len(), 1, "{name}: {call:?} did not fail");
        let lies: Vec<_> = told.difference(&expected).filter(|line| !blind(line)).collect();
        assert!(lies.is_empty(), "{name}: {lies:?} is told and is not so, with {failed:?}:\n{}", report.log);
        let missed: Vec<_> = expected.difference(&told).filter(|line| !slow(line)).collect();
        assert!(missed.is_empty(), "{name}: {missed:?} is missed, with {failed:?}:\n{}", report.log);
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
