//! Every folder of `scenarios/` is a test: what its README promises, its `expected.log` shows line by line.
//!
//! `UPDATE_EXPECT=1 cargo test -p sim` writes the logs anew. Read them before you believe them: a log that was
//! blessed without being read proves nothing.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic, its helpers too")]

use std::path::{Path, PathBuf};

use expect_test::expect_file;
use sim::run;
use sim::script::Script;

#[test]
fn every_scenario_tells_what_it_should() {
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

fn check(path: &Path) {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let readme = std::fs::read_to_string(path.join("README.md")).unwrap_or_default();
    let first = readme.lines().next().unwrap_or_default();
    assert!(
        first.len() > 20 && !first.starts_with('#'),
        "{name}: the README's first line states the outcome"
    );
    let text = std::fs::read_to_string(path.join("scenario.txt")).unwrap();
    let script = Script::parse(&text).unwrap_or_else(|error| panic!("{name}/scenario.txt, {error}"));
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
