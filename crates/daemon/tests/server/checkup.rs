//! What `jarvis doctor` finds, by REST, of a daemon that watches two clusters: for the admins of each, and of no other one.

use std::time::Instant;

use daemon::clock::Clock;
use daemon::config::Told;
use daemon::daemon::{ClusterSettings, Daemon, Settings};
use daemon::machine::Machine;
use daemon::report::auth::Password;
use daemon::{Tiers, act};
use engine::policy::Policy;
use serde_json::Value;
use sim::http::Server as Simulated;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::harness::{Folder, PASSWORD, Reply};
use super::tools::cluster;

pub(crate) fn watched(name: &str, cluster: &Simulated) -> ClusterSettings {
    let trust = pve::Trust::Ca(cluster.ca_pem().as_bytes().into());
    let endpoints = cluster.endpoints().into_iter();
    ClusterSettings {
        name: name.parse().unwrap(),
        endpoints: endpoints.map(|url| pve::Endpoint::new(&url, trust.clone()).unwrap()).collect(),
        token: pve::Token::new("op@pve!act", pve::Secret::new("s")).unwrap(),
        act_token: None,
        policy: Policy::default(),
        magic_packet_to: act::MAGIC_PACKET_TO,
        temperature: None,
    }
}

pub(crate) async fn ask(daemon: &Daemon, call: &str, token: &str, body: &str) -> Reply {
    let mut stream = TcpStream::connect(daemon.local_addr()).await.unwrap();
    let length = body.len();
    let text = format!(
        "{call} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    Reply::read(stream).await
}

pub(crate) async fn token(daemon: &Daemon, user: &str) -> String {
    let login = format!(r#"{{"username":"{user}","password":"{PASSWORD}"}}"#);
    loop {
        let reply = ask(daemon, "POST /api/auth/login", "", &login).await;
        // The configured password is in force when it is hashed.
        if !matches!(reply.status, 409 | 503) {
            let said: Value = serde_json::from_str(&reply.body).unwrap();
            return said["token"].as_str().unwrap_or_else(|| panic!("{}", reply.shown())).to_owned();
        }
        tokio::task::yield_now().await;
    }
}

/// The findings, when the look has ended.
pub(crate) async fn found(daemon: &Daemon, cluster: &str, token: &str) -> Value {
    loop {
        let reply = ask(daemon, &format!("GET /api/v1/clusters/{cluster}/checkup"), token, "").await;
        assert_eq!(reply.status, 200, "{}", reply.shown());
        let said: Value = serde_json::from_str(&reply.body).unwrap();
        if said["running"] == false {
            return said;
        }
    }
}

/// A daemon on a machine, which watches these.
pub(crate) async fn start(
    folder: &Folder,
    machine: Machine,
    clusters: Vec<ClusterSettings>,
    clock: Clock,
) -> Daemon {
    let settings = Settings {
        listen: "127.0.0.1:0".parse().unwrap(),
        allowed_origins: Vec::new(),
        machine,
        behind_proxy: Vec::new(),
        tls: None,
        password: Some(Password::new(PASSWORD)),
        store: folder.path().join("jarvis.db"),
        retention_days: 30,
        autonomy_level: 2,
        standby: false,
        tape: None,
        tiers: Tiers::default(),
        clusters,
        told: Told::default(),
        clock,
    };
    Daemon::start(settings).await.unwrap()
}

#[tokio::test]
async fn a_checkup_is_for_the_admins_of_its_cluster() {
    let (lab, edge, folder) = (cluster("full", 1.0), cluster("full", 1.0), Folder::new());
    let from = lab.now().unwrap();
    let clock = Clock::faster(from, Instant::now(), 1.0);
    let clusters = vec![watched("lab", &lab), watched("edge", &edge)];
    let daemon = start(&folder, Machine::default(), clusters, clock).await;
    let admin = token(&daemon, "admin").await;
    for (name, role, clusters) in
        [("ada", "admin", "[\"edge\"]"), ("olga", "operator", "null"), ("nora", "admin", "[]")]
    {
        let user =
            format!(r#"{{"name":"{name}","role":"{role}","clusters":{clusters},"password":"{PASSWORD}"}}"#);
        let made = ask(&daemon, "POST /api/v1/users", &admin, &user).await;
        assert_eq!(made.status, 201, "{}", made.shown());
    }
    let (ada, olga, nora) =
        (token(&daemon, "ada").await, token(&daemon, "olga").await, token(&daemon, "nora").await);
    // What is found of the other one is known by then, and may not be told either.
    for name in ["lab", "edge"] {
        let said = found(&daemon, name, &admin).await;
        assert_eq!(said["cluster"], name);
        assert!(said["findings"].as_array().unwrap().len() > 3, "{said}");
    }
    let own = found(&daemon, "edge", &ada).await;
    assert!(own["findings"].as_array().unwrap().len() > 3, "{own}");
    for (who, token, cluster, status) in [
        ("an admin of another", &ada, "lab", 404),
        ("an admin of none", &nora, "edge", 404),
        ("an operator of all", &olga, "edge", 403),
        ("nobody", &String::from("x"), "edge", 401),
    ] {
        let path = format!("GET /api/v1/clusters/{cluster}/checkup");
        let reply = ask(&daemon, &path, token, "").await;
        assert_eq!(reply.status, status, "{who}: {}", reply.shown());
        assert!(!reply.body.contains("findings") && !reply.body.contains("pve1"), "{who}: {}", reply.body);
        let none = ask(&daemon, &path.replace(cluster, "nowhere"), token, "").await;
        assert_eq!(reply.shown().replace(cluster, "nowhere"), none.shown(), "{who}: as of none");
    }
    daemon.stop().await;
    lab.shutdown().await;
    edge.shutdown().await;
}
