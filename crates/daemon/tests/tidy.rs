//! The rules of ARCHITECTURE.md that a machine can check, each with its reason in the message.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by its panic")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// Every file under git's control or about to be, with its text; binary files are left out.
fn files() -> Vec<(String, String)> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    let listed = String::from_utf8(listed.stdout).unwrap();
    let read = |name: &str| Some((name.to_owned(), std::fs::read_to_string(root().join(name)).ok()?));
    let files: Vec<_> = listed.lines().filter_map(read).collect();
    assert!(files.len() > 30, "the tidy test found only {} files: it looks in the wrong place", files.len());
    files
}

/// The part of a Rust file above its tests.
fn code(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or(text)
}

fn metadata() -> serde_json::Value {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn who_may_know_whom() {
    let metadata = metadata();
    let dependencies = |crate_name: &str, kinds: &[Option<&str>]| -> BTreeSet<String> {
        let package = metadata["packages"]
            .as_array()
            .unwrap()
            .iter()
            .find(|package| package["name"] == crate_name)
            .unwrap_or_else(|| panic!("there is no crate {crate_name}"));
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        dependencies
            .filter(|dependency| kinds.contains(&dependency["kind"].as_str()))
            .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let any = [None, Some("dev"), Some("build")];
    let allowed: BTreeSet<String> = ["jiff", "serde", "thiserror"].map(String::from).into();
    let engine = dependencies("engine", &[None, Some("build")]);
    assert_eq!(engine, allowed, "the engine thinks: no runtime, no log, no socket, no file");
    #[rustfmt::skip]
    let forbidden = [
        ("pve",    "engine", "pve speaks to PVE and knows nothing of incidents"),
        ("pve",    "sim",    "pve is tested against recorded answers, not against our own idea of PVE"),
        ("sim",    "pve",    "the simulator must not share the client's understanding of PVE, or both are wrong alike"),
        ("engine", "pve",    "PVE's quirks are translated in the daemon and die there"),
        ("engine", "sim",    "nothing but tests and the demo knows the simulator"),
        ("engine", "daemon", "nobody knows the daemon"),
        ("pve",    "daemon", "nobody knows the daemon"),
        ("sim",    "daemon", "nobody knows the daemon"),
    ];
    for (from, to, why) in forbidden {
        assert!(!dependencies(from, &any).contains(to), "{from} must not depend on {to}: {why}");
    }
}

/// Where a word may stand: (what, in which files it is looked for, where it is allowed, why).
type Place = (&'static str, &'static str, &'static [&'static str], &'static str);

#[test]
fn each_thing_in_its_place() {
    #[rustfmt::skip]
    let places: [Place; 7] = [
        ("engine.step(",          "crates/",           &["crates/daemon/src/run.rs", "crates/daemon/src/observe/recorded.rs", "crates/daemon/src/tape/replay.rs", "crates/sim/src/run.rs", "crates/sim/tests/", "crates/engine/"], "one loop, one door; a replay acts on nothing"),
        ("SELECT ",         "crates/daemon/src", &["crates/daemon/src/record"], "SQL lives in record"),
        ("INSERT INTO",     "crates/daemon/src", &["crates/daemon/src/record"], "SQL lives in record"),
        ("std::env::var",   "crates/daemon/src", &["crates/daemon/src/config"], "the environment is read in config"),
        (" sim::",           "crates/daemon/src", &["crates/daemon/src/demo.rs", "crates/daemon/src/ops.rs"], "only the demo and `jarvis sim` know the simulator"),
        ("pve::types",      "crates/daemon/src", &["crates/daemon/src/observe"], "PVE's quirks die in observe"),
        ("Timestamp::now",  "crates/engine",     &["crates/engine/clippy.toml"], "time arrives as an argument"),
    ];
    for (name, text) in files() {
        for (word, within, allowed, why) in &places {
            let looked_at = name.starts_with(within) && !allowed.iter().any(|place| name.starts_with(place));
            assert!(!looked_at || !code(&text).contains(word), "`{word}` in {name}: {why}");
        }
    }
}

#[test]
fn nothing_unfinished_and_nothing_endless() {
    // Written in parts so that this file does not find itself.
    let unfinished = [concat!("#[ig", "nore"), concat!("to", "do!("), concat!("unimple", "mented!(")];
    for (name, text) in files() {
        if !name.ends_with(".rs") {
            continue;
        }
        for word in unfinished {
            assert!(!text.contains(word), "`{word}` in {name}: finish it or leave it out");
        }
        let lines = text.lines().count();
        assert!(lines <= 700, "{name} has {lines} lines: is it one thing? (700 at most)");
        assert!(text.starts_with("//!"), "{name}: the first line of a module says what it decides or does");
    }
}

#[test]
fn the_lock_files_name_only_the_public_registries() {
    for (name, text) in files() {
        if name == "Cargo.lock" {
            let sources: BTreeSet<&str> =
                text.lines().filter_map(|line| line.strip_prefix("source = ")).collect();
            let default = "\"registry+https://github.com/rust-lang/crates.io-index\"";
            assert_eq!(sources, BTreeSet::from([default]), "every crate comes from crates.io");
            assert!(!text.contains("\"aws-lc-sys\""), "one crypto provider: ring (docs/adr/0003)");
        }
        if name.ends_with("package-lock.json") {
            assert!(
                !text.contains("\"resolved\""),
                "{name}: download addresses do not belong in a lock file"
            );
        }
    }
}

/// What the page shows is text that anybody with a guest can write.
#[test]
fn the_page_makes_no_markup_of_text_and_asks_no_other_host() {
    // In parts, so that this file does not find itself.
    let markup = [
        concat!("{@", "html"),
        concat!("inner", "HTML"),
        concat!("outer", "HTML"),
        concat!("insertAdjacent", "HTML"),
    ];
    let mut looked_at = 0;
    for (name, text) in files() {
        let source = [".svelte", ".ts", ".css", ".html"].iter().any(|end| name.ends_with(end));
        if !name.starts_with("web/") || !source {
            continue;
        }
        looked_at += 1;
        for word in markup {
            assert!(!text.contains(word), "`{word}` in {name}: a name of a guest would become markup");
        }
        let hosts = text.contains("https://") || text.contains("http://") || text.contains("url(//");
        assert!(
            !hosts || name == "web/vite.config.ts",
            "{name} names a host: the page loads nothing but itself"
        );
        assert!(
            !text.contains(" style=\""),
            "{name}: the content security policy allows no style in the markup"
        );
        let lines = text.lines().count();
        assert!(lines <= 700, "{name} has {lines} lines: is it one thing? (700 at most)");
    }
    assert!(looked_at > 20, "only {looked_at} files of the page were found");
}

#[test]
fn links_between_the_documents_lead_somewhere() {
    for (name, text) in files() {
        if !name.ends_with(".md") {
            continue;
        }
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            if path.is_empty() || path.contains("://") || path.starts_with("mailto:") {
                continue;
            }
            let from = root().join(&name);
            assert!(
                from.parent().unwrap().join(path).exists(),
                "{name} links to {target}, which is not there"
            );
        }
    }
}

/// Each situation is shown by what is there: a folder of a story, or a test.
#[test]
fn what_shows_a_situation_is_there() {
    let document = std::fs::read_to_string(root().join("docs/situations.md")).unwrap();
    let sources: Vec<String> =
        files().into_iter().filter(|(name, _)| name.ends_with(".rs")).map(|(_, text)| text).collect();
    let cells =
        document.lines().filter(|line| line.starts_with("| ")).filter_map(|line| line.rsplit('|').nth(1));
    let names: Vec<&str> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert!(names.len() > 60, "the test reads docs/situations.md wrongly: {names:?}");
    for name in names {
        let story = root().join("crates/sim/scenarios").join(name).is_dir();
        let test = sources.iter().any(|text| text.contains(&format!("fn {name}()")));
        assert!(story || test, "docs/situations.md names {name}, which is neither a story nor a test");
    }
}

/// Somebody who reads why nothing was done looks the word up, and somebody who reads of a word must be able to meet it.
#[test]
fn every_objection_and_runbook_is_in_the_document() {
    let read = |name: &str| std::fs::read_to_string(root().join(name)).unwrap();
    let (hold, document) = (read("crates/engine/src/decide/hold.rs"), read("docs/runbooks.md"));
    let words = hold.split_once("pub fn as_str").unwrap().1.split_once("pub fn words").unwrap().0;
    let said: BTreeSet<&str> = words.split('"').skip(1).step_by(2).collect();
    let guardrails = document.split_once("## The guardrails").unwrap().1.split_once("\n## ").unwrap().0;
    let rows = guardrails.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let written: BTreeSet<&str> = rows.map(|(word, _)| word).collect();
    assert!(said.len() >= engine::decide::GUARDRAILS.len(), "the test reads hold.rs wrongly: {said:?}");
    assert_eq!(said, written, "the objections of decide/hold.rs, and those of docs/runbooks.md");
    for book in engine::decide::built_in() {
        let row = format!("| `{}` | `{}` |", book.id, book.condition.as_str());
        assert!(document.contains(&row), "docs/runbooks.md has no row {row}");
    }
}
