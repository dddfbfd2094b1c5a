//! What is in force and what comes next, through the calls that a page makes: as the engines have it, and to whom.

use daemon::report::caller::Role;
use daemon::report::live::Given;
use engine::act::{Action, Attempt};
use engine::decide::{Autonomy, Hold};
use engine::policy::Policy;
use engine::{Next, Prospect};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::harness::{Fixture, Reply, edge, lab};
use super::v1::{opened, tell};

fn body(reply: &Reply) -> Value {
    serde_json::from_str(&reply.body).unwrap_or_else(|error| panic!("{error}: {}", reply.body))
}

#[tokio::test]
async fn who_is_of_one_cluster_is_shown_its_policy_and_no_other() {
    let fixture = Fixture::of_two().await;
    let policy = Policy {
        protect: vec!["qemu/103".parse().unwrap()],
        protect_tags: vec!["db".into()],
        ..Policy::default()
    };
    fixture.live.set_policy(&lab(), Given { policy, standby: false });
    fixture.live.set_policy(&edge(), Given { policy: Policy::default(), standby: true });
    fixture.user("ed", Role::Viewer, Some(&[edge()])).await;
    let all = body(&fixture.get("/api/v1/policy", &fixture.token()).await);
    let names = |given: &Value| -> Vec<String> {
        let clusters = given["clusters"].as_array().unwrap().iter();
        clusters.map(|cluster| cluster["cluster"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&all), ["lab", "edge"]);
    let lab = &all["clusters"][0];
    assert_eq!(lab["protect"], json!(["qemu/103", "tag:db"]));
    assert_eq!((&lab["standby"], &all["clusters"][1]["standby"]), (&json!(false), &json!(true)));
    assert_eq!(lab["runbooks"][0]["id"], "vm-crashed-restart");
    assert_eq!(lab["runbooks"][0]["action"], "start");
    assert_eq!(lab["runbooks"][0]["graceSeconds"], 15);
    let disk =
        lab["marks"].as_array().unwrap().iter().find(|marks| marks["metric"] == "disk_percent").unwrap();
    assert_eq!(
        (&disk["high"], &disk["critical"], &disk["clear"]),
        (&json!(90.0), &json!(95.0), &json!(88.0))
    );

    let own = body(&fixture.get("/api/v1/policy", &fixture.token_of("ed").await).await);
    assert_eq!(names(&own), ["edge"]);
    assert!(!own.to_string().contains("qemu/103"), "{own}");
    fixture.stop().await;
}

#[tokio::test]
async fn an_open_incident_says_what_comes_next() {
    let fixture = Fixture::new().await;
    let token = fixture.token();
    tell(&fixture, "lab", vec![opened(0, 7)]).await;
    let shown =
        async || body(&fixture.get("/api/v1/incidents?state=open", &token).await)["items"][0]["next"].clone();
    assert_eq!(shown().await, Value::Null, "its engine has not said anything yet");

    let incident = "00000000-0000-0000-0000-000000000007".parse().unwrap();
    let action = Action::StartGuest { guest: "qemu/101".parse().unwrap(), node: "pve1".parse().unwrap() };
    let soon = Timestamp::now() + SignedDuration::from_secs(12);
    let attempt = Attempt {
        number: 2,
        action: action.clone(),
        runbook: "vm-crashed-restart".into(),
        at: soon,
        level: 3,
    };
    let level = Hold::Level { is: Autonomy::Alert, needs: Autonomy::ActReport };
    for (name, next, step, told, holds) in [
        ("no runbook is for it", Next::Nothing, "nothing", json!([null, null, null]), json!([])),
        (
            "a wait",
            Next::Held { action: action.clone(), holds: vec![Hold::Grace(soon)] },
            "held",
            json!(["start it on pve1", null, null]),
            json!([["grace", true]]),
        ),
        (
            "an objection",
            Next::Held { action: action.clone(), holds: vec![level] },
            "held",
            json!(["start it on pve1", null, null]),
            json!([["level", false]]),
        ),
        (
            "a proposal",
            Next::Recommended { action: action.clone() },
            "proposed",
            json!(["start it on pve1", null, null]),
            json!([]),
        ),
        ("being done", Next::Acts { attempt, of: 3 }, "acts", json!(["start it on pve1", 2, 3]), json!([])),
        ("people", Next::People, "people", json!([null, null, null]), json!([])),
    ] {
        let prospect =
            Prospect { incident, next, approved: None, dismissed: None, acknowledged: Some("alice".into()) };
        fixture.live.set_prospects(&lab(), vec![prospect]);
        let next = shown().await;
        assert_eq!(next["step"], step, "{name}: {next}");
        assert_eq!(json!([next["action"], next["attempt"], next["of"]]), told, "{name}: {next}");
        let objections = next["holds"].as_array().unwrap().iter();
        let objections: Vec<Value> = objections.map(|hold| json!([hold["word"], hold["wait"]])).collect();
        assert_eq!(Value::Array(objections), holds, "{name}: {next}");
        assert_eq!(next["until"].is_string(), name == "a wait", "{name}: {next}");
        assert_eq!(next["acknowledgedBy"], "alice", "{name}");
    }
    fixture.stop().await;
}

/// Where no cluster is watched nobody can be asked; what nobody sees is not looked for.
#[tokio::test]
async fn what_pve_is_asked_is_of_what_the_caller_sees() {
    let fixture = Fixture::of_two().await;
    super::v1::publish(&fixture, Timestamp::now());
    fixture.user("ed", Role::Viewer, Some(&[edge()])).await;
    let (admin, ed) = (fixture.token(), fixture.token_of("ed").await);
    for (path, token, words) in [
        ("/api/v1/clusters/lab/guests/qemu/101/config", &admin, "lab is not watched just now"),
        ("/api/v1/clusters/lab/guests/qemu/999/config", &admin, "there is none of that name"),
        ("/api/v1/clusters/lab/guests/qemu/101/history?over=day", &admin, "lab is not watched just now"),
        ("/api/v1/clusters/lab/nodes/pve9/history", &admin, "there is none of that name"),
        ("/api/v1/clusters/lab/nodes/pve1/history", &ed, "no cluster `lab` is watched"),
        ("/api/v1/clusters/lab/guests/qemu/101/config", &ed, "no cluster `lab` is watched"),
    ] {
        let reply = fixture.get(path, token).await;
        assert_eq!(reply.status, 404, "{path}: {}", reply.shown());
        assert!(reply.body.contains(words), "{path}: {}", reply.shown());
    }
    let wrong = fixture.get("/api/v1/clusters/lab/nodes/pve1/history?over=century", &admin).await;
    assert_eq!(wrong.status, 400, "{}", wrong.shown());
    fixture.stop().await;
}
