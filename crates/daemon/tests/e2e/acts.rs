//! An act by hand in whose middle the process goes: what the journal and people are told of it afterwards.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sim::http::{Options, Server};
use sim::script::Script;

use super::{Folder, Jarvis, TOKEN, config, within};

/// A cluster whose guest 101 ignores the request to shut down: PVE's task waits for it for 60 s of the cluster.
fn cluster(speed: f64) -> Server {
    let script = "nodes pve1 pve2\nguest qemu/101 web01 on pve1 running deaf\nat 1:00:00 end";
    let mut options = Options::script(&Script::parse(script).unwrap()).unwrap();
    options.tokens = vec![TOKEN.parse().unwrap()];
    options.speed = speed;
    Server::start(options).unwrap()
}

impl Jarvis {
    pub(crate) async fn seeing(&self) {
        // An act is judged by the picture, which has a round of its own.
        let sees = || async {
            let running = self.get("/api/monitor/status").await["running"] == true;
            let guests = self.get("/api/v1/guests").await;
            (running && guests["items"].as_array().is_some_and(|guests| !guests.is_empty())).then_some(())
        };
        within(Duration::from_secs(30), sees).await.expect("the first rounds see the cluster");
    }

    /// Asks the guest to shut down, and goes away.
    fn ask(&self) {
        let args = json!({ "node": "pve1", "vmid": 101, "graceful": true, "confirmed": true });
        let body = json!({ "tool": "stop_vm", "args": args }).to_string();
        let asked = self.client.post(format!("{}/api/tools/execute", self.url)).bearer_auth(&self.token);
        // How it ends is in the journal; the process that would answer is killed.
        tokio::spawn(asked.header("content-type", "application/json").body(body).send());
    }

    /// What the journal holds of acts, oldest first.
    async fn acts(&self) -> Vec<Value> {
        let rows = self.get("/api/v1/journal?kind=operator&limit=100").await;
        let rows = rows["items"].as_array().unwrap().iter().rev().map(|row| row["entry"].clone());
        rows.filter(|entry| entry["did"].as_str().is_some_and(|did| did.starts_with("tool"))).collect()
    }

    async fn acts_are(&self, expected: &[&str]) -> Vec<Value> {
        let look = || async {
            let acts = self.acts().await;
            let did: Vec<&str> = acts.iter().map(|entry| entry["did"].as_str().unwrap()).collect();
            (did == expected).then_some(acts)
        };
        match within(Duration::from_secs(60), look).await {
            Some(acts) => acts,
            None => panic!("{:?} is not {expected:?}:\n{}", self.acts().await, self.text()),
        }
    }
}

/// How often the guest was asked to shut down.
fn shutdowns(cluster: &Server) -> usize {
    let count = cluster.with_cluster(|cluster| {
        let tasks = cluster.nodes()[&"pve1".parse().unwrap()].tasks.newest_first();
        tasks.filter(|task| task.kind == "qmshutdown").count()
    });
    count.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_act_in_whose_middle_jarvis_is_killed_has_its_outcome_after_the_next_start() {
    #[rustfmt::skip]
    let table: [(&str, Option<&str>, &[&str]); 2] = [
        // the name,                  what befalls the call,              the journal when it is killed
        ("its task runs",             None,                               &["toolAsked", "toolBegun"]),
        ("its answer is on its way",  Some("fault timeout n=1 path=/nodes/pve1/qemu/101/status/shutdown"), &["toolAsked"]),
    ];
    for (name, fault, written) in table {
        let (folder, cluster) = (Folder::new(&name.replace(' ', "-")), cluster(4.0));
        let config = config(&folder, &cluster, cluster.ca_pem());
        let mut jarvis = Jarvis::run(&folder, &config).await;
        jarvis.seeing().await;
        if let Some(fault) = fault {
            cluster.apply(fault).unwrap();
        }
        jarvis.ask();
        jarvis.acts_are(written).await;
        within(Duration::from_secs(20), || async { (shutdowns(&cluster) == 1).then_some(()) }).await.unwrap();
        jarvis.signal("-KILL");
        jarvis.child.wait().unwrap();

        let jarvis = Jarvis::run(&folder, &config).await;
        jarvis.logged("an act was left in its middle").await;
        let event = jarvis.told("Shutdown of VM web01 (101) failed").await;
        let summary = event["summary"].as_str().unwrap();
        assert!(
            summary.contains("admin (login): task UPID:pve1:") && summary.contains("timeout"),
            "{summary}"
        );
        let rows: Vec<&str> = written.iter().copied().chain(["toolEnded"]).collect();
        let acts = jarvis.acts_are(&rows).await;
        let (asked, ended) = (&acts[0]["what"], &acts[rows.len() - 1]["what"]);
        assert_eq!((&ended["id"], &ended["outcome"]), (&asked["id"], &json!("failed")), "{name}");
        assert_eq!(shutdowns(&cluster), 1, "{name}: never a second call");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_some_seconds_for_an_act() {
    #[rustfmt::skip]
    let table = [
        ("it ends meanwhile", 20.0, "failed"),
        ("it takes longer",   1.0,  "runs"),
    ];
    for (name, speed, outcome) in table {
        let (folder, cluster) = (Folder::new(&name.replace(' ', "-")), cluster(speed));
        let config = config(&folder, &cluster, cluster.ca_pem());
        let mut jarvis = Jarvis::run(&folder, &config).await;
        jarvis.seeing().await;
        jarvis.ask();
        jarvis.acts_are(&["toolAsked", "toolBegun"]).await;
        let asked = Instant::now();
        jarvis.signal("-TERM");
        let status = jarvis.child.wait().unwrap();
        assert!(status.success(), "{name}: {status}\n{}", jarvis.text());
        assert!(asked.elapsed() < Duration::from_secs(9), "{name}: {:?}", asked.elapsed());

        let jarvis = Jarvis::run(&folder, &config).await;
        let acts = jarvis.acts_are(&["toolAsked", "toolBegun", "toolEnded"]).await;
        assert_eq!(acts[2]["what"]["outcome"], outcome, "{name}");
        assert!(!jarvis.text().contains("an act was left"), "{name}: {}", jarvis.text());
    }
}
