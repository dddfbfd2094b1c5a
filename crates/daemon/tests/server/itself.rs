//! Jarvis knows where it runs itself: by the machine's name and the addresses of its cards, against the recorded answers of a
//! real PVE, in which one guest is given a card.

use std::path::Path;
use std::time::{Duration, Instant};

use daemon::clock::Clock;
use daemon::machine::Machine;
use jiff::Timestamp;
use serde_json::Value;
use sim::http::{Options, Server as Simulated};

use super::checkup::{ask, found, start, token, watched};
use super::harness::Folder;

/// The daemon's clock is so many times as fast as the world.
const SPEED: f64 = 20.0;
/// By the daemon's clock: its first look comes after 6 s, and what it has not found by then it does not find.
const LOOKED: Duration = Duration::from_secs(40);
/// What is to be found is waited for longer: the world's machine may be slow.
const WAITED: Duration = Duration::from_secs(1_200);

/// The recorded answers, with a card in the configuration of web01 (qemu/100).
fn recorded(folder: &Path) {
    let answers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pve/tests/answers");
    let mut cards = 0;
    for file in std::fs::read_dir(answers).unwrap().map(|file| file.unwrap().path()) {
        let Some(name) = file.file_name().filter(|_| file.extension().is_some_and(|end| end == "json"))
        else {
            continue;
        };
        let text = std::fs::read_to_string(&file).unwrap();
        let card = r#"\"kvm\":0,\"net0\":\"virtio=BC:24:11:00:00:01,bridge=vmbr0\""#;
        let text = match name == "qemu-100-config.json" {
            true => text.replace(r#"\"kvm\":0"#, card),
            false => text,
        };
        cards += usize::from(text.contains(card));
        std::fs::write(folder.join(name), text).unwrap();
    }
    assert_eq!(cards, 1);
}

fn machine(name: &str, address: &str, is_node: bool) -> Machine {
    let addresses = [address.parse().unwrap()].into();
    Machine { name: Some(name.into()), names: Vec::new(), addresses, is_node }
}

#[tokio::test]
async fn where_jarvis_runs_is_found_by_what_its_machine_is() {
    let (ours, other) = ("bc:24:11:00:00:01", "bc:24:11:00:00:02");
    let answers = Folder::new();
    recorded(answers.path());
    let by_address = "runs in qemu/100, found by its address BC:24:11:00:00:01";
    let nothing = "not found among the nodes and guests";
    #[rustfmt::skip]
    let table = [
        ("a guest by its address",       machine("web01", ours, false),     None, 1,         "qemu/100",  "foundByAddress", by_address),
        ("with a domain",                machine("WEB01.lan", ours, false), None, 1,         "qemu/100",  "foundByAddress", by_address),
        ("called alike, another card",   machine("web01", other, false),    None, 1,         "",          "",               nothing),
        ("its card, another name",       machine("jarvis", ours, false),    None, 0,         "",          "",               nothing),
        ("a node",                       machine("pve1", other, true),      None, 0,         "node/pve1", "foundByName",    "runs on node/pve1, found by its name"),
        ("called as a node, and none",   machine("pve1", other, false),     None, 0,         "",          "",               nothing),
        ("what was said counts alone",   machine("web01", ours, false),     Some("lxc/200"), 0, "lxc/200", "configured",    "runs in lxc/200, as the configuration says"),
        ("a machine without a name",     Machine::default(),                None, 0,         "",          "",               nothing),
    ];
    for (name, machine, said, asks, own, known, says) in table {
        let cluster = Simulated::start(Options::recorded(answers.path()).unwrap()).unwrap();
        let (mut lab, folder) = (watched("lab", &cluster), Folder::new());
        lab.policy.own = said.map(|id: &str| id.parse().unwrap()).into_iter().collect();
        let (from, began) = (Timestamp::now(), Instant::now());
        // Theirs, and one that shows the same.
        let [clock, shown_by] = [(); 2].map(|()| Clock::faster(from, began, SPEED));
        let looked = from + if own.is_empty() { LOOKED } else { WAITED };
        let daemon = start(&folder, machine, vec![lab], clock).await;
        let admin = token(&daemon, "admin").await;
        let policy = async || -> Value {
            let reply = ask(&daemon, "GET /api/v1/policy", &admin, "").await;
            let said: Value = serde_json::from_str(&reply.body).unwrap();
            said["clusters"][0].clone()
        };
        let mut shown = policy().await;
        while shown["own"].as_array().is_none_or(Vec::is_empty) && shown_by.now() < looked {
            tokio::task::yield_now().await;
            shown = policy().await;
        }
        let list: Vec<&str> = shown["own"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(list.join(" "), own, "{name}");
        assert_eq!(shown["ownKnown"].as_str().unwrap_or_default(), known, "{name}");
        let counts = serde_json::to_value(cluster.counts()).unwrap();
        let calls = counts["calls"].as_object().unwrap().iter();
        let configs = calls.filter(|(call, _)| call.contains("/qemu/") && call.ends_with("/config"));
        let configs: u64 = configs.map(|(_, count)| count["count"].as_u64().unwrap()).sum();
        assert_eq!(configs, asks, "{name}: only who is called alike is asked, once");
        let checkup = found(&daemon, "lab", &admin).await;
        let findings = checkup["findings"].as_array().unwrap();
        let itself = findings.iter().find(|finding| finding["about"] == "jarvis itself");
        let itself = itself.unwrap_or_else(|| panic!("{name}: {checkup}"));
        assert!(itself["words"][0].as_str().unwrap().starts_with(says), "{name}: {itself}");
        daemon.stop().await;
        cluster.shutdown().await;
    }
}
