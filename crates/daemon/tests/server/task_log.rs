//! What a task of PVE wrote, by REST: asked of the cluster that it ran in, for those who see it.

use std::sync::Arc;
use std::time::Instant;

use daemon::Observer;
use daemon::clock::Clock;
use daemon::daemon::clients;
use daemon::report::Limits;
use daemon::report::auth::Password;
use daemon::report::caller::Role;
use serde_json::Value;
use sim::http::Server as Simulated;
use tokio::sync::mpsc;

use super::harness::{Fixture, Folder, PASSWORD, edge, lab};
use super::tools::{Acting, cluster, hands, publish};

fn observer(cluster: &Simulated) -> Arc<Observer> {
    let trust = pve::Trust::Ca(cluster.ca_pem().as_bytes().into());
    let endpoints = cluster.endpoints().into_iter();
    let endpoints = endpoints.map(|url| pve::Endpoint::new(&url, trust.clone()).unwrap()).collect();
    let token = pve::Token::new("op@pve!act", pve::Secret::new("s")).unwrap();
    let (clock, (inputs, _)) = (Arc::new(Clock::wall()), mpsc::channel(1));
    Arc::new(Observer::new(lab(), clients(endpoints, token, &clock).unwrap(), clock, inputs))
}

#[tokio::test]
async fn a_tasks_log_is_for_who_sees_its_cluster() {
    let cluster = cluster("full", 20.0);
    let both = vec![lab(), edge()];
    let (hands, password) = (vec![(lab(), hands(&cluster))], Some(Password::new(PASSWORD)));
    let fixture = Fixture::acting_in(Folder::new(), Limits::default(), password, hands, both).await;
    publish(&fixture);
    let (watch, acting) = (observer(&cluster), Acting { fixture, cluster });
    let fixture = &acting.fixture;
    fixture.live.saw(&lab(), Instant::now());
    fixture.live.open_eyes(&lab(), &watch);
    for (name, role, clusters) in [
        ("olga", Role::Operator, None),
        ("otto", Role::Operator, Some([edge()])),
        ("vera", Role::Viewer, None),
    ] {
        fixture.user(name, role, clusters.as_ref().map(|clusters| &clusters[..])).await;
    }
    let done = acting.execute("start_vm", r#"{"cluster":"lab","node":"pve1","vmid":104}"#).await;
    let upid = acting.cluster.with_cluster(|cluster| {
        let node = &cluster.nodes()[&"pve1".parse().unwrap()];
        node.tasks.newest_first().next().map(|task| task.upid.to_string())
    });
    let upid = upid.flatten().unwrap_or_else(|| panic!("it began none: {done}"));
    assert!(upid.contains(":qmstart:104:"), "{upid}: {done}");
    let other = upid.replace(":104:", ":999:");
    let ask = async |who: &str, cluster: &str, upid: &str| {
        let path = format!("/api/v1/clusters/{cluster}/tasks/{upid}/log");
        let reply = fixture.get(&path, &fixture.token_of(who).await).await;
        (reply.status, serde_json::from_str::<Value>(&reply.body).unwrap())
    };
    let (status, said) = ask("olga", "lab", &upid).await;
    assert_eq!((status, &said["upid"], &said["truncated"]), (200, &upid.as_str().into(), &false.into()));
    assert_eq!(said["lines"].as_array().unwrap().last().unwrap(), "TASK OK", "{said}");
    for (name, who, cluster, upid, status, says) in [
        ("one who does not see its cluster", "otto", "lab", &upid, 404, "no cluster `lab` is watched"),
        ("their own has no such node", "otto", "edge", &upid, 404, "there is none of that name"),
        ("another cluster than its own", "olga", "edge", &upid, 404, "there is none of that name"),
        ("a viewer", "vera", "lab", &upid, 403, ""),
        ("a task that never was", "olga", "lab", &other, 404, "PVE knows of no such task"),
    ] {
        let (answered, said) = ask(who, cluster, upid).await;
        assert_eq!(answered, status, "{name}: {said}");
        assert!(said["detail"].as_str().unwrap().contains(says), "{name}: {said}");
    }
    acting.cluster.apply("api pve1 refused").unwrap();
    acting.cluster.apply("api pve2 refused").unwrap();
    let (status, said) = ask("olga", "lab", &upid).await;
    assert_eq!(status, 502, "{said}");
    drop(watch);
    let (status, said) = ask("olga", "lab", &upid).await;
    assert_eq!((status, &said["detail"]), (404, &"lab is not watched just now".into()));
    acting.stop().await;
}
