//! What happened, tried with another policy: the tape of a daemon that was stopped, and of one that was killed.

use std::path::Path;
use std::time::Duration;

use sim::http::{Options, Server};
use sim::script::Script;

use super::{Folder, Jarvis, TOKEN, config, within};

fn say(arguments: &[&str]) -> String {
    let done = Jarvis::command(arguments).output().unwrap();
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

fn replayed(config: &Path, more: &[&str]) -> String {
    let mut arguments = vec!["replay", "--config", config.to_str().unwrap()];
    arguments.extend(more);
    say(&arguments)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_is_tried_with_another_level_and_another_policy() {
    let script = "nodes pve1 pve2\nguest qemu/101 web01 on pve1 running onboot\nat 1:00:00 end";
    let mut options = Options::script(&Script::parse(script).unwrap()).unwrap();
    options.tokens = vec![TOKEN.parse().unwrap()];
    let cluster = Server::start(options).unwrap();
    let folder = Folder::new("tape");
    let config = config(&folder, &cluster, cluster.ca_pem());
    let text = std::fs::read_to_string(&config).unwrap();

    let mut jarvis = Jarvis::run(&folder, &config).await;
    jarvis.seeing().await;
    // The level that a fresh store has is to propose.
    cluster.apply("crash qemu/101").unwrap();
    jarvis.told("Remediation recommended").await;
    jarvis.signal("-TERM");
    jarvis.child.wait().unwrap();
    // Once more, and killed when it has thought of the same incident again: its tape has no end.
    let mut jarvis = Jarvis::run(&folder, &config).await;
    jarvis.seeing().await;
    let decided = || async {
        let there = replayed(&config, &["--level", "3"]);
        there.lines().any(|line| line.contains("acting") && line.ends_with(" times)")).then_some(())
    };
    let decided = within(Duration::from_secs(90), decided).await;
    assert!(decided.is_some(), "{}", replayed(&config, &["--level", "3"]));
    jarvis.signal("-KILL");
    jarvis.child.wait().unwrap();

    let there = say(&["record", "--config", config.to_str().unwrap()]);
    assert!(there.contains("in 2 pieces") && there.contains("kept: 7 days"), "{there}");
    let same = replayed(&config, &[]);
    assert!(same.contains("lab: this policy says the same") && !same.contains("only"), "{same}");
    let higher = replayed(&config, &["--level", "3"]);
    let acts = higher.lines().filter(|line| line.contains("only now   acting")).collect::<Vec<_>>();
    // An act is told once, although each piece of the tape begins with an incident that nobody had done anything about.
    assert!(acts.len() == 1 && acts[0].contains("start it on pve1, attempt 1 of 3"), "{higher}");
    assert!(higher.contains("only then  advised"), "{higher}");
    let protected = folder.write("protected.toml", &format!("{text}protect = [\"qemu/101\"]\n"));
    let less = replayed(&protected, &["--level", "3", "--cluster", "lab", "--days", "1"]);
    assert!(less.contains("protected: ") && !less.contains("acting"), "{less}");
    assert_eq!(
        replayed(&protected, &["--level", "3", "--limit", "0"]).matches("only n").count(),
        1,
        "its sum"
    );

    let none = folder.write("none.toml", &text.replace("name = \"lab\"", "name = \"edge\""));
    let done = Jarvis::command(&["replay", "--config", none.to_str().unwrap()]).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(!done.status.success() && said.contains("nothing is on tape of cluster edge"), "{said}");
}
