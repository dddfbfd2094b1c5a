//! The commands at a terminal, as processes: what they print, how they end, and who the journal says it was.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use serde_json::Value;

use super::harness::{Fixture, lab};

/// A command with the configuration of a server, and nothing of this process's environment that it goes by.
fn jarvis(config: &Path, words: &str, env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jarvis"));
    command.args(words.split_whitespace());
    if !words.contains("--url") {
        command.arg("--config").arg(config);
    }
    for name in ["JARVIS_TOKEN", "JARVIS_LOG", "SUDO_USER", "PORT", "DB_PATH"] {
        command.env_remove(name);
    }
    command.envs(env.iter().copied());
    command.output().unwrap()
}

/// Variables and their values.
type Env = [(&'static str, String)];

/// As [`jarvis`], while the server of this test goes on.
async fn ask(config: &Path, words: &str, env: &Env) -> (i32, String, String) {
    let (config, words, env) = (config.to_owned(), words.to_owned(), env.to_vec());
    let run = move || {
        let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        jarvis(&config, &words, &env)
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A configuration whose cluster nobody but the daemon could read: its secret's variable is not set here.
fn config(fixture: &Fixture) -> PathBuf {
    let path = fixture.folder.path().join("jarvis.toml");
    let text = format!(
        "[server]\nlisten = \"{}\"\n[store]\npath = \"{}\"\n[[cluster]]\nname = \"lab\"\n\
         endpoints = [\"https://a\"]\ntoken_id = \"a@pve!b\"\ntoken_secret_env = \"NOT_HERE\"\n",
        fixture.address(),
        fixture.folder.path().join("jarvis.db").display()
    );
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test]
async fn what_each_command_prints_and_how_it_ends() {
    let fixture = Fixture::new().await;
    fixture.live.saw(&lab(), Instant::now());
    let config = config(&fixture);
    let other = format!("--url http://{}", fixture.address());
    let token = || [("JARVIS_TOKEN", fixture.token())];
    let wrong = [("JARVIS_TOKEN", "nonsense".to_owned())];
    #[rustfmt::skip]
    let table: [(&str, String, &Env, i32, &str, &str); 24] = [
        ("nothing happened", "events".into(), &[], 0, "nothing happened yet\n", ""),
        ("nothing was done", "actions --limit 5".into(), &[], 0, "nothing was done yet\n", ""),
        ("nothing is open", "incidents".into(), &[], 0, "nothing is open\n", ""),
        ("how it stands", "status".into(), &[], 0, "cluster      seen\nautonomy     2 L2_RECOMMEND\nkill switch  off\n", ""),
        ("for a script", "status --json".into(), &[], 0, r#"{"health":{"components":{"#, ""),
        ("off already", "kill-switch status".into(), &[], 0, "kill switch: off\n", ""),
        ("stop", "kill-switch on".into(), &[], 0, "kill switch: on, nothing is done\n", ""),
        ("stop, for a script", "kill-switch on --json".into(), &[], 0, "{\"killSwitch\":true}\n", ""),
        ("stopped", "kill-switch status --json".into(), &[], 0, "{\"killSwitch\":true}\n", ""),
        ("let it act", "kill-switch off".into(), &token(), 0, "kill switch: off\n", ""),
        ("a lower level", "autonomy 1".into(), &[("SUDO_USER", "alice".into())], 0, "autonomy: 1 L1_ALERT\n", ""),
        ("which level", "autonomy".into(), &[], 0, "autonomy: 1 L1_ALERT\n", ""),
        ("above the ceiling", "autonomy 3".into(), &[], 1, "", "jarvis: refused: Level is limited to 2 by the configuration\n"),
        ("what happened", "events".into(), &[], 0, "TIME (UTC)           SEVERITY  NODE  WHAT\n", ""),
        ("a level that is none", "autonomy 7".into(), &[], 2, "", "error: invalid value '7' for '[LEVEL]': 7 is not in 0..=4"),
        ("a word that is none", "kill-switch maybe".into(), &[], 2, "", "error: invalid value 'maybe' for '<WHAT>'"),
        ("no rows at all", "events --limit 0".into(), &[], 2, "", "error: invalid value '0' for '--limit <COUNT>'"),
        ("a wrong token", "status".into(), &wrong, 1, "", "jarvis: refused: Invalid or expired token\n"),
        ("elsewhere without a token", format!("status {other}"), &[], 1, "", "jarvis: --url wants a token: JARVIS_TOKEN in the environment, or --token-file\n"),
        ("elsewhere", format!("kill-switch status {other}"), &token(), 0, "kill switch: off\n", ""),
        ("elsewhere in the clear", "status --url http://192.0.2.1:4000".into(), &token(), 1, "", "jarvis: --url http://192.0.2.1:4000: a token must not travel in the clear, write https://\n"),
        ("two places", "kill-switch on --offline --url https://x".into(), &token(), 2, "", "error: the argument '--offline' cannot be used with '--url <URL>'"),
        ("the store of a daemon that runs", "kill-switch off --offline".into(), &[], 1, "", "jarvis: the daemon runs: leave out --offline: "),
        ("nor its level", "autonomy 2 --offline".into(), &[], 1, "", "jarvis: the daemon runs: leave out --offline: "),
    ];
    for (name, words, env, code, out, err) in table {
        let (exit, stdout, stderr) = ask(&config, &words, env).await;
        assert_eq!(exit, code, "{name}: {stdout}{stderr}");
        assert!(stdout.starts_with(out) && stderr.starts_with(err), "{name}: {stdout}{stderr}");
    }
    let operated: Vec<_> =
        fixture.operated().iter().map(|row| row.split(" {").next().unwrap().to_owned()).collect();
    let [first, second, third, fourth] = &operated[..] else { panic!("{operated:?}") };
    let me = first.strip_suffix(" (command line) killSwitch").unwrap_or_else(|| panic!("{first}"));
    assert!(!me.is_empty() && me != "admin", "{me}");
    assert_eq!((second, third.as_str()), (first, "admin (login) killSwitch"));
    assert_eq!(fourth, "alice (sudo) (command line) autonomyLevel");
    fixture.stop().await;
}

#[tokio::test]
async fn while_the_daemon_is_down_the_store_itself_is_told() {
    let fixture = Fixture::new().await;
    let config = config(&fixture);
    let path = fixture.folder.path().join("jarvis.db");
    fixture.server.shutdown().await;
    assert!(fixture.store.close().await);
    let hint =
        "jarvis: while the daemon is down, --offline works on its store: the daemon at http://127.0.0.1:";
    #[rustfmt::skip]
    let table: [(&str, &str, i32, &str, &str); 9] = [
        ("nobody answers", "kill-switch on", 1, "", hint),
        ("nobody says", "kill-switch status", 1, "", "jarvis: the daemon at http://127.0.0.1:"),
        ("stop", "kill-switch on --offline", 0, "kill switch: on, nothing is done\n", ""),
        ("stopped", "kill-switch status --offline --json", 0, "{\"killSwitch\":true}\n", ""),
        ("above the ceiling", "autonomy 4 --offline", 1, "", "jarvis: refused: Level is limited to 2 by the configuration\n"),
        ("a level that is none", "autonomy 5 --offline", 2, "", "error: invalid value '5'"),
        ("a lower level", "autonomy 0 --offline", 0, "autonomy: 0 L0_OBSERVE\n", ""),
        ("which level", "autonomy --offline", 0, "autonomy: 0 L0_OBSERVE\n", ""),
        ("let it act", "kill-switch off --offline", 0, "kill switch: off\n", ""),
    ];
    for (name, words, code, out, err) in table {
        let (exit, stdout, stderr) = ask(&config, words, &[]).await;
        assert_eq!(exit, code, "{name}: {stdout}{stderr}");
        assert!(stdout.starts_with(out) && stderr.starts_with(err), "{name}: {stdout}{stderr}");
    }
    // The daemon of tomorrow has all of it: what is in force, who it was, and the events for those who ask.
    let sql = "SELECT entry FROM journal WHERE kind = 'operator' ORDER BY seq";
    let rows = Command::new("sqlite3").arg(&path).arg(sql).output().unwrap();
    let rows = String::from_utf8(rows.stdout).unwrap();
    let shown: Vec<_> = rows
        .lines()
        .map(|row| serde_json::from_str::<Value>(row).unwrap())
        .map(|entry| format!("{} {}", entry["via"].as_str().unwrap(), entry["did"].as_str().unwrap()))
        .collect();
    let [stop, level, resume] =
        ["killSwitch", "autonomyLevel", "killSwitch"].map(|did| format!("command line, offline {did}"));
    assert_eq!(shown, [stop, level, resume]);
    let titles =
        Command::new("sqlite3").arg(&path).arg("SELECT title FROM events ORDER BY id").output().unwrap();
    let titles = String::from_utf8(titles.stdout).unwrap();
    assert_eq!(titles, "KILL SWITCH ACTIVATED\nAutonomy level set to L0_OBSERVE\nKILL SWITCH OFF\n");
    assert!(daemon::record::verify(&path).await.is_ok(), "the chain holds");

    std::fs::remove_file(&path).unwrap();
    let (exit, _, stderr) = ask(&config, "kill-switch on --offline", &[]).await;
    assert_eq!(exit, 1);
    assert!(stderr.contains("jarvis.db: there is no store to work on"), "{stderr}");
    assert!(!path.exists(), "a stop of nothing makes no store");
    let _keep_until_here = &fixture.folder;
}
