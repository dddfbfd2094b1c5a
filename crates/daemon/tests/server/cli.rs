//! The commands at a terminal, as processes: what they print, how they end, and who the journal says it was.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use daemon::record::{NewEvent, Source};
use daemon::report::caller::Role;
use engine::report::{EventKind, Severity};
use serde_json::Value;

use super::at;
use super::audit::touch;
use super::harness::{Fixture, Folder, days_ahead, lab, next_summer};
use super::v1::{opened, resolved, tell};

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
pub(crate) type Env = [(&'static str, String)];

/// As [`jarvis`], while the server of this test goes on.
pub(crate) async fn ask(config: &Path, words: &str, env: &Env) -> (i32, String, String) {
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
pub(crate) fn config(fixture: &Fixture) -> PathBuf {
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
    let whole = format!("{}: the journal is whole: ", fixture.folder.path().join("jarvis.db").display());
    #[rustfmt::skip]
    let table: [(&str, String, &Env, i32, &str, &str); 37] = [
        ("nothing happened", "events".into(), &[], 0, "nothing happened yet\n", ""),
        ("nothing was done", "actions --limit 5".into(), &[], 0, "Jarvis has done nothing by itself yet\nwhat operators did by hand: jarvis events, or with who it was /api/v1/journal?kind=operator\n", ""),
        ("nothing is open", "incidents".into(), &[], 0, "nothing is open\n", ""),
        ("how it stands", "status".into(), &[], 0, "cluster      lab: seen, no open incident\ncluster      edge: NOT SEEN, no open incident\nautonomy     2 L2_RECOMMEND\nkill switch  off\n", ""),
        ("for a script", "status --json".into(), &[], 0, r#"{"clusters":[{"cluster":"lab","#, ""),
        ("off already", "kill-switch status".into(), &[], 0, "kill switch: off\n", ""),
        ("stop", "kill-switch on".into(), &[], 0, "kill switch: on, Jarvis does nothing on its own\n", ""),
        ("stop, for a script", "kill-switch on --json".into(), &[], 0, "{\"killSwitch\":true}\n", ""),
        ("stopped", "kill-switch status --json".into(), &[], 0, "{\"killSwitch\":true}\n", ""),
        ("let it act", "kill-switch off".into(), &token(), 0, "kill switch: off\n", ""),
        ("a lower level", "autonomy 1".into(), &[("SUDO_USER", "alice".into())], 0, "autonomy: 1 L1_ALERT\n", ""),
        ("which level", "autonomy".into(), &[], 0, "autonomy: 1 L1_ALERT\n", ""),
        ("above the ceiling", "autonomy 3".into(), &[], 1, "", "jarvis: refused: Level is limited to 2 by the configuration\n"),
        ("what happened", "events".into(), &[], 0, "TIME (UTC)           SEVERITY  CLUSTER  NODE  WHAT\n", ""),
        ("a level that is none", "autonomy 7".into(), &[], 2, "", "error: invalid value '7' for '[LEVEL]': 7 is not in 0..=4"),
        ("a word that is none", "kill-switch maybe".into(), &[], 2, "", "error: invalid value 'maybe' for '<WHAT>'"),
        ("no rows at all", "events --limit 0".into(), &[], 2, "", "error: invalid value '0' for '--limit <COUNT>'"),
        ("a cluster that is none", "events --cluster lap".into(), &[], 1, "", "jarvis: no cluster `lap` is watched; there are lab, edge\n"),
        ("no name of a cluster", "events --cluster a&b".into(), &[], 2, "", "error: invalid value 'a&b' for '--cluster <NAME>': `a&b` is no cluster name"),
        ("a time that is none", "events --before yesterday".into(), &[], 2, "", "error: invalid value 'yesterday' for '--before <TIME>': write a time like 2026-01-31T12:00:00Z"),
        ("before all time", "events --before 2000-01-01".into(), &[], 0, "nothing happened yet before that\n", ""),
        ("nothing is open, for a script", "incidents --json".into(), &[], 0, "{\"items\":[]}\n", ""),
        ("nothing is over", "incidents --state over".into(), &[], 0, "nothing is over\n", ""),
        ("nothing ever was", "incidents --state all".into(), &[], 0, "nothing was wrong yet\n", ""),
        ("a state that is none", "incidents --state closed".into(), &[], 2, "", "error: invalid value 'closed' for '--state <STATE>'"),
        ("the journal of a daemon elsewhere", format!("audit verify {other}"), &token(), 0, whole.as_str(), ""),
        ("for a script", format!("audit verify --json {other}"), &token(), 0, r#"{"checkedAt":""#, ""),
        ("elsewhere without a token", format!("audit verify {other}"), &[], 1, "", "jarvis: --url wants a token: JARVIS_TOKEN in the environment, or --token-file\n"),
        ("of two places", format!("audit verify --store x {other}"), &token(), 2, "", "error: the argument '--store <PATH>' cannot be used with '--url <URL>'"),
        ("a token for nowhere", "audit verify --token-file x".into(), &[], 2, "", "error: the following required arguments were not provided:"),
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

/// By the word of the daemon elsewhere, with the exit code of a check of its files.
#[tokio::test]
async fn a_journal_elsewhere_that_does_not_fit_is_an_error() {
    let fixture = Fixture::new().await;
    let config = config(&fixture);
    tell(&fixture, "lab", vec![opened(0, 1)]).await;
    fixture.user("otto", Role::Operator, Some(&[lab()])).await;
    fixture.user("vera", Role::Viewer, None).await;
    let tokens = [fixture.token(), fixture.token_of("otto").await, fixture.token_of("vera").await];
    let [all, some, viewer] = tokens.map(|token| [("JARVIS_TOKEN", token)]);
    touch(
        fixture.folder.path(),
        "UPDATE journal SET entry = replace(entry, 'web01', 'web02') WHERE kind = 'opened'",
    )
    .await;
    let row = format!(
        "jarvis: {}: the journal does not fit: row 3",
        fixture.folder.path().join("jarvis.db").display()
    );
    let verify = format!("audit verify --url http://{}", fixture.address());
    let needs = "jarvis: refused: This needs the role operator; vera has the role viewer\n";
    for (name, words, token, out, err) in [
        ("for people", verify.clone(), &all, "", row.as_str()),
        ("for a script", format!("{verify} --json"), &all, "{\"checkedAt\":", row.as_str()),
        ("of a part of the clusters", verify.clone(), &some, "", "jarvis: the journal does not fit\n"),
        ("a viewer", verify.clone(), &viewer, "", needs),
    ] {
        let (exit, stdout, stderr) = ask(&config, &words, token).await;
        assert_eq!(exit, 1, "{name}: {stdout}{stderr}");
        assert!(stderr.starts_with(err) && stdout.starts_with(out), "{name}: {stdout}{stderr}");
        assert_eq!(stdout.is_empty(), out.is_empty(), "{name}: {stdout}");
    }
    fixture.stop().await;
}

#[tokio::test]
async fn lists_are_of_all_clusters_and_go_on_where_they_end() {
    let fixture = Fixture::new().await;
    let config = config(&fixture);
    tell(&fixture, "lab", vec![opened(0, 1), opened(60, 2), resolved(120, 2)]).await;
    tell(&fixture, "edge", vec![opened(30, 3)]).await;
    let none = NewEvent::plain(at(200), EventKind::Status, Severity::Info, Source::User, "Drill", "");
    fixture.store.save_event(none).await.unwrap();
    let crash = "VM web01 (101) on pve1: running to stopped, and no task asked for it: its process crashed (segmentation fault)";
    let both = "\
        SINCE (UTC)          SEVERITY  CLUSTER  NODE  CONDITION   WHAT              NEXT\n\
        2023-11-14 22:13:50  error     edge     pve1  VM_CRASHED  web01 (qemu/101)  -\n\
        2023-11-14 22:13:20  error     lab      pve1  VM_CRASHED  web01 (qemu/101)  -\n";
    let edge = "\
        SINCE (UTC)          SEVERITY  NODE  CONDITION   WHAT              NEXT\n\
        2023-11-14 22:13:50  error     pve1  VM_CRASHED  web01 (qemu/101)  -\n";
    let over = "\
        SINCE (UTC)          SEVERITY  CLUSTER  NODE  CONDITION   WHAT              NEXT\n\
        2023-11-14 22:14:20  error     lab      pve1  VM_CRASHED  web01 (qemu/101)  over since 2023-11-14 22:15:20: by itself\n";
    let all = "\
        SINCE (UTC)          SEVERITY  CLUSTER  NODE  CONDITION   WHAT              NEXT\n\
        2023-11-14 22:14:20  error     lab      pve1  VM_CRASHED  web01 (qemu/101)  over since 2023-11-14 22:15:20: by itself\n\
        there are older ones: --before 2023-11-14T22:14:20.000Z, or a higher --limit\n";
    let newest = "\
        TIME (UTC)           SEVERITY  CLUSTER  NODE  WHAT\n\
        2023-11-14 22:16:40  info      -        -     Drill\n\
        2023-11-14 22:15:20  info      lab      pve1  Resolved: VM_CRASHED on pve1: VM web01 (101) on pve1: running again after 1:00\n\
        there are older ones: --before 2023-11-14T22:15:20.000Z, or a higher --limit\n";
    let older = format!(
        "TIME (UTC)           SEVERITY  CLUSTER  NODE  WHAT\n\
         2023-11-14 22:14:20  error     lab      pve1  VM web01 (101) crashed: {crash}\n\
         2023-11-14 22:13:50  error     edge     pve1  VM web01 (101) crashed: {crash}\n\
         2023-11-14 22:13:20  error     lab      pve1  VM web01 (101) crashed: {crash}\n"
    );
    #[rustfmt::skip]
    let table = [
        ("what is open",            "incidents",                                          both),
        ("of one",                  "incidents --cluster edge",                           edge),
        ("what is over",            "incidents --state over",                             over),
        ("all of it",               "incidents --state all --limit 1",                    all),
        ("none of one is over",     "incidents --state over --cluster edge",              "nothing is over\n"),
        ("the newest",              "events --limit 2",                                   newest),
        ("and what is before them", "events --limit 3 --before 2023-11-14T22:15:20.000Z", older.as_str()),
    ];
    for (name, words, expected) in table {
        let (exit, stdout, stderr) = ask(&config, words, &[]).await;
        assert_eq!((exit, stdout.as_str()), (0, expected), "{name}: {stderr}");
    }
    let (_, stdout, _) = ask(&config, "events --json --limit 1 --cluster lab", &[]).await;
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(answer["items"][0]["title"], "Resolved: VM_CRASHED on pve1");
    assert_eq!(answer["items"].as_array().unwrap().len(), 1);
    assert!(answer["next"].is_string(), "{answer}");
    // Who sees one cluster is shown no column for it.
    fixture.user("local", Role::Viewer, Some(&[super::harness::edge()])).await;
    let token = [("JARVIS_TOKEN", fixture.token_of("local").await)];
    let (exit, stdout, stderr) = ask(&config, "incidents", &token).await;
    assert_eq!((exit, stdout.as_str()), (0, edge), "{stderr}");
    fixture.stop().await;
}

/// A relative path begins where a command is started: what was looked for, and where, is in the message.
#[tokio::test]
async fn what_was_looked_for_is_named_in_full() {
    let fixture = Fixture::new().await;
    fixture.live.saw(&lab(), Instant::now());
    let config = config(&fixture);
    let text = std::fs::read_to_string(&config).unwrap();
    let store = fixture.folder.path().join("jarvis.db");
    std::fs::write(&config, text.replace(store.to_str().unwrap(), "jarvis.db")).unwrap();
    let (empty, foreign) = (Folder::new(), Folder::new());
    std::fs::write(foreign.path().join("jarvis.key"), "A".repeat(43)).unwrap();
    let at = |folder: &Folder, name: &str| {
        std::path::absolute(folder.path()).unwrap().join(name).display().to_string()
    };
    let none = format!(
        "jarvis: there is no {}: the daemon has not run with this configuration, or was started in another folder",
        at(&empty, "jarvis.key")
    );
    let other = format!(
        "jarvis: refused: Invalid or expired token (it was asked with the key {}: is that the daemon's?)\n",
        at(&foreign, "jarvis.key")
    );
    let offline = format!("jarvis: {}: there is no store to work on", at(&empty, "jarvis.db"));
    let missing = format!("jarvis: {}: cannot be opened: No such file", at(&empty, "other.toml"));
    let full = config.to_str().unwrap();
    #[rustfmt::skip]
    let table = [
        ("in the daemon's folder", &fixture.folder, "kill-switch status", full, ""),
        ("in another",             &empty,   "kill-switch status", full, none.as_str()),
        ("beside another's key",   &foreign, "kill-switch status", full, other.as_str()),
        ("without the daemon",     &empty,   "kill-switch status --offline", full, offline.as_str()),
        ("without a configuration", &empty,  "status", "other.toml", missing.as_str()),
        ("a daemon without one",   &empty,   "run", "other.toml", missing.as_str()),
    ];
    for (name, folder, words, config, expected) in table {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jarvis"));
        command.args(words.split_whitespace()).args(["--config", config]).current_dir(folder.path());
        for name in ["JARVIS_TOKEN", "JARVIS_LOG", "PORT", "DB_PATH"] {
            command.env_remove(name);
        }
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.success(), expected.is_empty(), "{name}: {error}");
        assert!(error.contains(expected), "{name}: {error}");
    }
    fixture.stop().await;
}

/// TLS in front of a server, with a certificate for a name by which nobody asks for it here. Gives its port.
async fn in_front_of(fixture: &Fixture, own: &rcgen::CertifiedKey<rcgen::KeyPair>) -> u16 {
    let key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let tls = rustls::ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into());
    let tls = tls.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let tls = tls.with_single_cert(vec![own.cert.der().clone()], key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(tls));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, server) = (listener.local_addr().unwrap().port(), fixture.address());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut inside) = acceptor.accept(stream).await else { continue };
            let mut outside = tokio::net::TcpStream::connect(server).await.unwrap();
            // Either side may end it as it likes.
            drop(tokio::io::copy_bidirectional(&mut inside, &mut outside).await);
        }
    });
    port
}

#[tokio::test]
async fn the_daemon_s_own_certificate_is_enough_and_no_other_is() {
    let fixture = Fixture::new().await;
    let config = config(&fixture);
    let made = || rcgen::generate_simple_self_signed(vec!["jarvis.example".to_owned()]).unwrap();
    let (own, other) = (made(), made());
    for (name, certificate) in [("own.pem", &own), ("other.pem", &other)] {
        std::fs::write(fixture.folder.path().join(name), certificate.cert.pem()).unwrap();
    }
    let port = in_front_of(&fixture, &own).await;
    let token = [("JARVIS_TOKEN", fixture.token())];
    #[rustfmt::skip]
    let table = [
        ("its own", "--cert-file own.pem", 0),
        ("another of the same name", "--cert-file other.pem", 1),
        ("as an authority, for another name", "--ca-file own.pem", 1),
        ("none that this machine knows", "", 1),
        ("both", "--cert-file own.pem --ca-file own.pem", 2),
    ];
    for (name, trust, code) in table {
        let folder = fixture.folder.path().display();
        let trust = trust.replace("-file ", &format!("-file {folder}/"));
        let words = format!("kill-switch status --url https://127.0.0.1:{port} {trust}");
        let (exit, out, err) = ask(&config, &words, &token).await;
        assert_eq!(exit, code, "{name}: {out}{err}");
        assert!(code != 0 || out == "kill switch: off\n", "{name}: {out}");
        assert!(code != 1 || err.contains("does not answer: its certificate "), "{name}: {err}");
    }
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
        ("stop", "kill-switch on --offline", 0, "kill switch: on, Jarvis does nothing on its own\n", ""),
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
    let sql = "SELECT entry FROM journal WHERE kind = 'operator' AND entry ->> 'via' <> 'start' ORDER BY seq";
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

/// Where root calls it in a folder of somebody else's: it writes nothing there, and follows nothing out of it.
#[tokio::test]
async fn a_command_changes_nothing_beside_the_store_and_follows_no_link() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let fixture = Fixture::new().await;
    let config = config(&fixture);
    let key = fixture.folder.path().join("jarvis.key");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (exit, said, _) = ask(&config, "kill-switch status", &[]).await;
    assert_eq!((exit, said.as_str(), mode(&key)), (0, "kill switch: off\n", 0o644));
    let elsewhere = fixture.folder.path().join("elsewhere");
    std::fs::rename(&key, &elsewhere).unwrap();
    symlink(&elsewhere, &key).unwrap();
    let (exit, _, said) = ask(&config, "kill-switch status", &[]).await;
    assert!(exit == 1 && said.contains("symbolic link"), "{exit} {said}");
    assert_eq!(mode(&elsewhere), 0o644);
    fixture.stop().await;
}

/// The answer is a refusal, and yet everything stopped.
#[tokio::test]
async fn a_stop_that_could_not_be_stored_is_said_to_be_in_force() {
    let fixture = Fixture::new().await;
    let config = config(&fixture);
    super::unwritable::refuse_writes(fixture.folder.path()).await;
    let (exit, _, said) = ask(&config, "kill-switch on", &[]).await;
    assert_eq!(exit, 1);
    assert!(said.starts_with("jarvis: The kill switch is on, until the next restart"), "{said}");
    let (exit, said, _) = ask(&config, "status", &[]).await;
    assert!(exit == 0 && said.contains("kill switch  ON"), "{said}");
    fixture.stop().await;
}

#[tokio::test]
async fn work_and_silences_are_announced_listed_and_ended() {
    let fixture = Fixture::new().await;
    let config = config(&fixture);
    super::v1::publish(&fixture, jiff::Timestamp::now());
    tell(&fixture, "lab", vec![opened(0, 1)]).await;
    let me = "node/pve1 in lab, ";
    let summer = next_summer();
    let in_summer = format!(
        "maintenance add cluster --cluster lab --from {summer}T22:00 --until {}T01:00 --zone Europe/Berlin",
        summer.tomorrow().unwrap()
    );
    let to_come = format!("maintenance to come: cluster in lab, {summer} 20:00 UTC to {summer} 23:00 UTC\n");
    // Given in another order than it is shown.
    let [early, late] = days_ahead();
    let weekly =
        format!("maintenance add tag:web --weekly {late},{early} --at 02:00 --for 3h --zone Europe/Berlin");
    let each_week = format!(
        "maintenance to come: tag:web in all clusters, {early},{late} at 02:00 Europe/Berlin for 3 h 0 min; next 20"
    );
    #[rustfmt::skip]
    let table: [(&str, &str, i32, &str, &str); 24] = [
        ("nothing yet",              "maintenance list", 0, "no maintenance is announced\n", ""),
        ("nothing is silenced",      "silence list", 0, "nothing is silenced\n", ""),
        ("for so long",              "maintenance add node/pve1 --cluster lab --for 2h --note memory", 0, "maintenance in force: node/pve1 in lab, until 20", ""),
        ("which of them",            "maintenance add node/pve1 --for 2h", 1, "", "jarvis: refused: cluster: is missing: it is another thing in each; there are lab, edge\n"),
        ("to come",                  &in_summer, 0, &to_come, ""),
        ("each week",                &weekly, 0, &each_week, ""),
        ("a guest that is not seen", "maintenance add qemu/999 --cluster lab --for 1h30m", 0, "maintenance in force: qemu/999 in lab, until 20", ""),
        ("a silence",                "silence add qemu/101 --cluster lab --for 3d --condition VM_CRASHED", 0, "silence in force: VM_CRASHED of qemu/101 in lab, until 20", ""),
        ("no end",                   "silence add qemu/101", 2, "", "error: the following required arguments were not provided:\n  --for <TIME>\n"),
        ("no end of work",           "maintenance add qemu/101", 2, "", "error: the following required arguments were not provided:\n  --for <TIME>\n"),
        ("two ends",                 "silence add qemu/101 --for 1h --until 2027-01-01T00:00", 2, "", "error: the argument '--for <TIME>' cannot be used with '--until <TIME>'"),
        ("days without a time",      "maintenance add qemu/101 --weekly sun --for 1h", 2, "", "error: the following required arguments were not provided:\n  --at <HH:MM>\n"),
        ("no time",                  "maintenance add qemu/101 --for soon", 2, "", "error: invalid value 'soon' for '--for <TIME>': write a time like 2h, 90m, 1h30m or 3d\n"),
        ("too long",                 "silence add qemu/101 --for 31d --cluster lab", 1, "", "jarvis: refused: minutes: must be a whole number from 1 to 43200, 30 days\n"),
        ("no such day",              "maintenance add cluster --weekly sonntag --at 02:00 --for 1h", 1, "", "jarvis: refused: days: days are mon, tue, wed, thu, fri, sat, sun, several of them with commas\n"),
        ("no such subject",          "maintenance add pve1 --for 1h", 1, "", "jarvis: refused: subject: `pve1` is nothing that can be meant: write cluster, node/pve1,"),
        ("no such condition",        "silence add cluster --for 1h --condition VM_CRASH", 1, "", "jarvis: refused: condition: must be one of MONITOR_BLIND,"),
        ("no such zone",             "maintenance add cluster --for 1h --zone Mars/Base", 1, "", "jarvis: refused: zone: there is no such time zone; write one of the IANA database, like Europe/Berlin or UTC\n"),
        ("the list",                 "maintenance list", 0, "ID        STATE     CLUSTER  SUBJECT    BY", ""),
        ("for a script",             "maintenance list --json --cluster edge", 0, "{\"items\":[{", ""),
        ("it shows",                 "incidents", 0, "SINCE (UTC)          SEVERITY  CLUSTER  NODE  CONDITION   WHAT              NEXT\n2023-11-14 22:13:20  error     lab      pve1  VM_CRASHED  web01 (qemu/101)  maintenance until 20", ""),
        ("no such id",               "maintenance end ffffffff-ffff", 1, "", "jarvis: none that lasts or is to come has the id ffffffff-ffff: jarvis maintenance list\n"),
        ("no id",                    "silence end x", 1, "", "jarvis: give the id, or at least four signs of its beginning: jarvis silence list\n"),
        ("nothing of one",           "silence end 00000000-0000", 1, "", "jarvis: none that lasts"),
    ];
    for (name, words, code, out, err) in table {
        let (exit, stdout, stderr) = ask(&config, words, &[]).await;
        assert_eq!(exit, code, "{name}: {stdout}{stderr}");
        assert!(stdout.starts_with(out) && stderr.starts_with(err), "{name}: {stdout}{stderr}");
        let unseen = stdout.contains("nothing that is seen now is meant by that");
        // Of the other cluster nothing is seen, so nobody counts what a tag means everywhere.
        assert_eq!(unseen, name == "a guest that is not seen", "{name}: {stdout}");
    }
    let (_, why, _) = ask(&config, "why qemu/101", &[]).await;
    assert!(
        why.contains("\nmaintenance until 20") && why.contains(": nothing is done, and nobody is told\n"),
        "{why}"
    );
    assert!(why.contains("\nsilence until 20"), "{why}");
    for (list, end, before) in
        [("maintenance list --json", "maintenance end", 4), ("silence list --json", "silence end", 1)]
    {
        let ids = async || {
            let (_, stdout, _) = ask(&config, list, &[]).await;
            let answer: Value = serde_json::from_str(&stdout).unwrap();
            let items = answer["items"].as_array().unwrap().clone();
            items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let all = ids().await;
        assert_eq!(all.len(), before);
        let newest = &all[0];
        let (exit, stdout, stderr) = ask(&config, &format!("{end} {}", &newest[..8]), &[]).await;
        assert_eq!(
            (exit, stdout.contains(" ended: "), stdout.contains(newest)),
            (0, true, true),
            "{stdout}{stderr}"
        );
        assert!(!ids().await.contains(newest));
    }
    let operated = fixture.operated();
    assert_eq!(operated.len(), 7, "five made, two ended: {operated:?}");
    assert!(operated.iter().all(|row| row.contains("(command line) ")), "{operated:?}");
    assert!(operated[0].contains(me.split(' ').next().unwrap()), "{operated:?}");
    fixture.stop().await;
}
