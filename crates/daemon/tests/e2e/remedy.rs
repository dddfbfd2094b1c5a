//! A crash, what is advised, an operator's word, and a process that is killed in the middle of the act: what the journal,
//! the cluster and the commands say of it.

use std::time::Duration;

use serde_json::Value;
use sim::http::{Options, Server};
use sim::script::Script;

use super::{Folder, Jarvis, TOKEN, config, within};

/// Guest 101 is to run. The cluster's time runs faster than the daemon's, so that a minute of uptime is soon over.
pub(super) fn cluster() -> Server {
    let script = "nodes pve1 pve2\nguest qemu/101 web01 on pve1 running onboot\n\
                  guest qemu/102 db01 on pve2 running\nat 1:00:00 end";
    let mut options = Options::script(&Script::parse(script).unwrap()).unwrap();
    options.tokens = vec![TOKEN.parse().unwrap()];
    options.speed = 4.0;
    Server::start(options).unwrap()
}

/// The starts that PVE was asked for.
pub(super) fn starts(cluster: &Server) -> usize {
    let count = cluster.with_cluster(|cluster| {
        let tasks = cluster.nodes()[&"pve1".parse().unwrap()].tasks.newest_first();
        tasks.filter(|task| task.kind == "qmstart").count()
    });
    count.unwrap()
}

impl Jarvis {
    /// What the journal holds of remedies, oldest first, by its kinds.
    async fn steps(&self) -> Vec<String> {
        let rows = self.get("/api/v1/journal?limit=200").await;
        let rows = rows["items"].as_array().unwrap().iter().rev();
        let kinds = rows.filter_map(|row| row["kind"].as_str());
        let of_remedies = ["advised", "ordered", "intended", "acted", "verified", "escalated", "resolved"];
        kinds.filter(|kind| of_remedies.contains(kind)).map(str::to_owned).collect()
    }

    async fn steps_end_with(&self, kind: &str) -> Vec<String> {
        let look =
            || async { Some(self.steps().await).filter(|steps| steps.iter().any(|step| step == kind)) };
        match within(Duration::from_secs(90), look).await {
            Some(steps) => steps,
            None => panic!("no `{kind}` among {:?}:\n{}", self.steps().await, self.text()),
        }
    }
}

/// A command at the terminal, and what it prints.
fn say(config: &std::path::Path, arguments: &[&str]) -> String {
    let mut all = arguments.to_vec();
    all.extend(["--config", config.to_str().unwrap()]);
    let done = Jarvis::command(&all).output().unwrap();
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approved_start_in_whose_middle_jarvis_is_killed_is_verified_and_never_made_again() {
    let (folder, cluster) = (Folder::new("remedy"), cluster());
    let text = std::fs::read_to_string(config(&folder, &cluster, cluster.ca_pem())).unwrap();
    // Commands find the daemon by its configuration, so its port must be there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = folder.write("jarvis.toml", &text.replace("127.0.0.1:0", &format!("127.0.0.1:{port}")));
    let mut jarvis = Jarvis::run(&folder, &config).await;
    jarvis.seeing().await;
    cluster.apply("crash qemu/101").unwrap();

    jarvis.steps_end_with("advised").await;
    assert_eq!(starts(&cluster), 0, "nothing is done at level 2 before somebody says so");
    let story = say(&config, &["why", "qemu/101"]);
    for words in
        ["VM_CRASHED:101: qemu/101 (web01) on pve1", "opened", "start it on pve1, if somebody approves"]
    {
        assert!(story.contains(words), "no `{words}` in:\n{story}");
    }
    say(&config, &["approve", "VM_CRASHED:101"]);
    jarvis.steps_end_with("intended").await;
    within(Duration::from_secs(20), || async { (starts(&cluster) == 1).then_some(()) }).await.unwrap();
    jarvis.signal("-KILL");
    jarvis.child.wait().unwrap();

    let jarvis = Jarvis::run(&folder, &config).await;
    let steps = jarvis.steps_end_with("resolved").await;
    let expected = ["advised", "ordered", "intended", "acted", "verified", "resolved"];
    assert_eq!(steps, expected, "{}", jarvis.text());
    assert_eq!(starts(&cluster), 1, "never a second call");
    let actions = jarvis.get("/api/monitor/actions").await;
    let action = &actions["actions"][0];
    let of = |key: &str| action[key].clone();
    assert_eq!(
        (of("incidentKey"), of("runbookId"), of("action"), of("result"), of("attemptNumber")),
        ("VM_CRASHED:101".into(), "vm-crashed-restart".into(), "start".into(), "success".into(), 1.into()),
        "{action}"
    );
    let story = say(&config, &["why", "VM_CRASHED:101"]);
    assert!(story.contains("approved by ") && story.contains("mended by Jarvis"), "{story}");
    let told = jarvis.get("/api/memory/events?limit=100").await;
    let told: Vec<&str> =
        told["events"].as_array().unwrap().iter().filter_map(|e| e["summary"].as_str()).collect();
    for title in ["Remediation recommended- vm-crashed-restart", "Remediation starting- vm-crashed-restart"] {
        assert!(told.iter().any(|summary| summary.contains(title)), "no `{title}` in {told:#?}");
    }
    assert_eq!(jarvis.get("/api/monitor/status").await["activeRemediations"], Value::from(0));
}
