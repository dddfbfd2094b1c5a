//! What must not be done, end to end: a call that was allowed a moment before everything was stopped or its incident dismissed,
//! the start of a guest that somebody stopped from here, and one attempt too many by whoever comes after a killed process.

use std::time::Duration;

use serde_json::{Value, json};
use sim::http::{Options, Server};
use sim::script::Script;

use super::{Folder, Jarvis, TOKEN, config, within};

const QUICK: &str = "[autonomy]\nlevel = 3\n[[runbook]]\nid = \"vm-crashed-restart\"\ngrace = \"0s\"\ncooldown = \"10s\"\n\
                     attempts = 2\nfirst_look = \"1s\"\nverify_for = \"1s\"\nverify_within = \"10s\"\n";

fn cluster() -> Server {
    let script = "nodes pve1 pve2\nguest qemu/101 web01 on pve1 running onboot\n\
                  guest qemu/102 db01 on pve1 running onboot\nat 1:00:00 end";
    let mut options = Options::script(&Script::parse(script).unwrap()).unwrap();
    options.tokens = vec![TOKEN.parse().unwrap()];
    Server::start(options).unwrap()
}

async fn jarvis(folder: &Folder, cluster: &Server) -> Jarvis {
    let text = std::fs::read_to_string(config(folder, cluster, cluster.ca_pem())).unwrap();
    let config = folder.write("jarvis.toml", &format!("{text}{QUICK}"));
    let jarvis = Jarvis::run(folder, &config).await;
    jarvis.seeing().await;
    jarvis
}

/// The starts of one guest that PVE was asked for.
fn starts(cluster: &Server, vmid: &str) -> usize {
    let count = cluster.with_cluster(|cluster| {
        let tasks = cluster.nodes()[&"pve1".parse().unwrap()].tasks.newest_first();
        tasks.filter(|task| task.kind == "qmstart" && task.id == vmid).count()
    });
    count.unwrap()
}

impl Jarvis {
    async fn send(&self, method: reqwest::Method, path: &str, body: Value) {
        let asked = self.client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token);
        let asked = asked.header("content-type", "application/json").body(body.to_string());
        let reply = asked.send().await.unwrap();
        assert!(reply.status().is_success(), "{path}: {}", reply.status());
    }

    /// The newest row of the journal of this kind.
    async fn row(&self, kind: &str) -> Value {
        let look = || async {
            let rows = self.get(&format!("/api/v1/journal?kind={kind}&limit=1")).await;
            rows["items"][0].is_object().then(|| rows["items"][0].clone())
        };
        match within(Duration::from_secs(90), look).await {
            Some(row) => row,
            None => panic!("no `{kind}` in the journal:\n{}", self.text()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_allowed_is_not_called_for_once_everything_is_stopped() {
    let (folder, cluster) = (Folder::new("stopped-before-the-call"), cluster());
    let jarvis = jarvis(&folder, &cluster).await;
    // Between its intent and its call the actor lists the guest's tasks, which takes PVE two seconds now.
    cluster.apply("api slow=2000").unwrap();
    cluster.apply("crash qemu/101").unwrap();
    jarvis.row("intended").await;
    assert_eq!(starts(&cluster, "101"), 0, "too late for this test: it was called for");
    jarvis.send(reqwest::Method::PUT, "/api/monitor/killswitch", json!({ "active": true })).await;
    let acted = jarvis.row("acted").await;
    let words = acted["words"].as_str().unwrap_or_default();
    assert!(words.contains("not done: the kill switch is on"), "{acted}");
    assert_eq!(starts(&cluster, "101"), 0, "{}", jarvis.text());

    // It goes on when it may, and what was not made was no attempt.
    cluster.apply("api back").unwrap();
    jarvis.send(reqwest::Method::PUT, "/api/monitor/killswitch", json!({ "active": false })).await;
    jarvis.told("Resolved- VM_CRASHED").await;
    assert_eq!(starts(&cluster, "101"), 1, "{}", jarvis.text());
    let actions = jarvis.get("/api/monitor/actions").await;
    assert_eq!(actions["actions"][0]["attemptNumber"], 1, "{actions}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_allowed_is_not_called_for_once_somebody_dismissed_it() {
    let (folder, cluster) = (Folder::new("dismissed-before-the-call"), cluster());
    let jarvis = jarvis(&folder, &cluster).await;
    cluster.apply("api slow=2000").unwrap();
    cluster.apply("crash qemu/101").unwrap();
    jarvis.row("intended").await;
    let incidents = jarvis.get("/api/v1/incidents?limit=1").await;
    let id = incidents["items"][0]["id"].as_str().unwrap();
    jarvis.send(reqwest::Method::POST, &format!("/api/v1/incidents/{id}/dismiss"), json!({})).await;
    let acted = jarvis.row("acted").await;
    let words = acted["words"].as_str().unwrap_or_default();
    assert!(
        words.contains("not done: somebody has just set, announced, dismissed or closed something"),
        "{acted}"
    );
    // Another one is started meanwhile: there was time for this one, too.
    cluster.apply("api back").unwrap();
    cluster.apply("crash qemu/102").unwrap();
    jarvis.told("Resolved- VM_CRASHED").await;
    assert_eq!((starts(&cluster, "101"), starts(&cluster, "102")), (0, 1), "{}", jarvis.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_was_stopped_from_here_stays_so() {
    let (folder, cluster) = (Folder::new("stopped-from-here"), cluster());
    let jarvis = jarvis(&folder, &cluster).await;
    let args = json!({ "node": "pve1", "vmid": 101, "confirmed": true });
    let stop = json!({ "tool": "stop_vm", "args": args });
    jarvis.send(reqwest::Method::POST, "/api/tools/execute", stop).await;
    jarvis.told("VM web01 (101) stopped").await;
    // Whoever crashes after it is started: there was time for the other one, too.
    cluster.apply("crash qemu/102").unwrap();
    jarvis.told("Resolved- VM_CRASHED").await;
    assert_eq!((starts(&cluster, "101"), starts(&cluster, "102")), (0, 1), "{}", jarvis.text());
    let incidents = jarvis.get("/api/v1/incidents?limit=10").await;
    let of: Vec<&Value> = incidents["items"].as_array().unwrap().iter().map(|row| &row["subject"]).collect();
    assert_eq!(of, ["qemu/102"], "it is no crash that is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_counted_over_deaths_and_then_people_are_called_once() {
    let (folder, cluster) = (Folder::new("killed-between-attempts"), cluster());
    let mut first = jarvis(&folder, &cluster).await;
    cluster.apply("break qemu/101").unwrap();
    cluster.apply("crash qemu/101").unwrap();
    // Killed between the first attempt and the second, and again when people have been called.
    first.row("verified").await;
    first.signal("-KILL");
    first.child.wait().unwrap();
    drop(first);
    let mut second = jarvis(&folder, &cluster).await;
    second.row("escalated").await;
    second.signal("-KILL");
    second.child.wait().unwrap();
    drop(second);
    let third = jarvis(&folder, &cluster).await;
    // It acts, and not on that one.
    cluster.apply("crash qemu/102").unwrap();
    third.told("Resolved- VM_CRASHED").await;
    assert_eq!(starts(&cluster, "101"), 2, "{}", third.text());
    let rows = third.get("/api/v1/journal?kind=escalated&limit=10").await;
    assert_eq!(rows["items"].as_array().unwrap().len(), 1, "{rows}");
    let told = third.get("/api/memory/events?limit=200").await;
    let told = told["events"].as_array().unwrap().iter().filter_map(|event| event["summary"].as_str());
    assert_eq!(told.filter(|summary| summary.contains("Remediation escalated")).count(), 1);
}
