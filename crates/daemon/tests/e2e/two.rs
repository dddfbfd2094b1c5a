//! Two Jarvises that know nothing of each other, both allowed to act on one cluster: a guest is started once.

use std::time::Duration;

use super::remedy::cluster;
use super::{Folder, Jarvis, config, within};

#[tokio::test(flavor = "multi_thread")]
async fn two_that_act_on_one_cluster_start_a_guest_once() {
    let cluster = cluster();
    let folders = [Folder::new("first-of-two"), Folder::new("second-of-two")];
    let mut both = Vec::new();
    for folder in &folders {
        let text = std::fs::read_to_string(config(folder, &cluster, cluster.ca_pem())).unwrap();
        let config = folder.write("jarvis.toml", &format!("[autonomy]\nlevel = 3\n{text}"));
        both.push(Jarvis::run(folder, &config).await);
    }
    for jarvis in &both {
        jarvis.seeing().await;
    }
    cluster.apply("crash qemu/101").unwrap();
    for jarvis in &both {
        jarvis.told("Resolved- VM_CRASHED").await;
    }
    // What PVE was asked for, oldest first, and what came of it.
    let ends = || {
        let ends = cluster.with_cluster(|cluster| {
            let tasks = cluster.nodes()[&"pve1".parse().unwrap()].tasks.newest_first();
            let starts = tasks.filter(|task| task.kind == "qmstart");
            let ends: Vec<String> = starts
                .map(|task| task.ended.as_ref().map_or("it runs".into(), |(_, status)| status.clone()))
                .collect();
            ends
        });
        ends.unwrap()
    };
    let over = || async { Some(ends()).filter(|ends| !ends.contains(&"it runs".to_owned())) };
    let ends = within(Duration::from_secs(20), over).await.unwrap();
    let effective = ends.iter().filter(|end| *end == "OK").count();
    let logs: Vec<String> = both.iter().map(Jarvis::text).collect();
    assert_eq!(effective, 1, "{ends:?}\n{}\n----\n{}", logs[0], logs[1]);
    // The one that came second says what it saw, not that it helped twice.
    let mended = logs.iter().filter(|log| log.contains("mended by Jarvis")).count();
    assert!((1..=ends.len()).contains(&mended), "{mended} say that they mended it; {ends:?}");
}
