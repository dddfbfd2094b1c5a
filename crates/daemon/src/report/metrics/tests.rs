//! The format: escapes, families once each, no series twice; and what 10,000 guests weigh.

use std::collections::BTreeSet;
use std::io::Write as _;

use engine::observe::{GuestId, GuestKind};

use super::super::page::{ClusterInfo, GuestMarks};
use super::*;

fn page(guests: u32) -> Page {
    marked(guests, GuestMarks::default())
}

fn marked(guests: u32, marks: GuestMarks) -> Page {
    let page = Page::new();
    let at = Timestamp::from_second(1_700_000_000).unwrap();
    let guest = |vmid| GuestRow {
        id: GuestId { kind: GuestKind::Qemu, vmid },
        name: Some(format!("guest-{vmid}").into()),
        status: GuestStatus::Running,
        node: "pve1".parse().unwrap(),
        cpu: 0.25,
        maxcpu: 2.0,
        mem: 1 << 30,
        maxmem: 2 << 30,
        disk: 0,
        maxdisk: 32 << 30,
        netin: 1,
        netout: 2,
        uptime: 3,
        marks: marks.clone(),
    };
    page.publish_guests((100..100 + guests).map(guest).collect(), at);
    page.publish_quorum(Quorum { quorate: true, nodes: 3, expected: 3 }, at);
    page
}

fn text(pages: &[(&str, &Page)]) -> String {
    let clusters: Vec<Watched> = pages
        .iter()
        .map(|(name, page)| Watched {
            name: name.parse().unwrap(),
            seeing: true,
            meter: Arc::default(),
            nodes: page.nodes(),
            guests: page.guests(),
            storages: page.storages(),
            quorum: page.quorum(),
            details: page.details(),
        })
        .collect();
    let mut text = Exposition::default();
    of_clusters(&mut text, &clusters, Timestamp::from_second(1_700_000_012).unwrap());
    text.0
}

#[test]
fn labels_are_escaped_and_clusters_told_apart() {
    let tags = vec!["a\"b\\c\nd".into(), "e".into()];
    let (lab, edge) =
        (marked(1, GuestMarks { tags, ha: Some("started".into()), ..GuestMarks::default() }), page(1));
    lab.publish_details(Details {
        cluster: Some(ClusterInfo { name: "pvec".into(), nodes: 3, version: 5 }),
        ..Details::default()
    });
    let text = text(&[("lab", &lab), ("edge", &edge)]);
    #[rustfmt::skip]
    let lines = [
        r#"pve_guest_info{cluster="lab",id="qemu/100",node="pve1",name="guest-100",type="qemu",template="0",tags="a\"b\\c\nd;e"} 1"#,
        r#"pve_cluster_info{cluster="lab",id="cluster/pvec",nodes="3",quorate="1",version="5"} 1"#,
        r#"pve_up{cluster="lab",id="cluster/pvec"} 1"#,
        r#"pve_up{cluster="edge",id="cluster/edge"} 1"#,
        r#"pve_up{cluster="edge",id="qemu/100"} 1"#,
        r#"pve_cpu_usage_ratio{cluster="edge",id="qemu/100"} 0.25"#,
        r#"pve_memory_usage_bytes{cluster="lab",id="qemu/100"} 1073741824"#,
        r#"pve_ha_state{cluster="lab",id="qemu/100",state="started"} 1"#,
        r#"pve_ha_state{cluster="lab",id="qemu/100",state="error"} 0"#,
        r#"jarvis_cluster_seen{cluster="edge"} 1"#,
        r#"jarvis_picture_age_seconds{cluster="lab",part="guests"} 12"#,
    ];
    for line in lines {
        assert!(text.lines().any(|given| given == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains(r#"pve_ha_state{cluster="edge""#), "HA manages nothing there");
    let mut families = BTreeSet::new();
    let mut series = BTreeSet::new();
    for line in text.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            assert!(families.insert(family), "{family} twice");
        } else if !line.starts_with('#') {
            assert!(series.insert(line.rsplit_once(' ').unwrap().0), "{line} twice");
        }
    }
}

/// Bytes and series of a guest are bounded, whatever PVE says of it.
#[test]
fn ten_thousand_guests_weigh_no_more_than_that() {
    let page = page(10_000);
    let began = Instant::now();
    let text = text(&[("lab", &page)]);
    writeln!(std::io::stderr(), "{} bytes in {:?}", text.len(), began.elapsed()).unwrap();
    let series = text.lines().filter(|line| line.contains("qemu/")).count();
    assert_eq!(series, 110_000, "eleven of each guest");
    assert!(text.len() < 9_000_000, "{} bytes", text.len());
}

/// One text in memory, however many ask and however slowly they read; another for who may see something else.
#[tokio::test(start_paused = true)]
async fn who_may_see_the_same_shares_one_answer_for_a_second() {
    let scrapes: Arc<Scrapes> = Arc::default();
    let made = std::sync::atomic::AtomicUsize::new(0);
    let ask = |everything, clusters: &[&str]| {
        let clusters = clusters.iter().map(|name| name.parse().unwrap()).collect();
        let write = async || {
            let number = made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok(Bytes::from(format!("answer {number}")))
        };
        let scrapes = scrapes.clone();
        async move { scrapes.shared(Sight { everything, clusters }, write).await.unwrap() }
    };
    let mut all = futures_util::future::join_all((0..50).map(|_| ask(true, &["lab", "edge"]))).await;
    all.push(ask(true, &["lab", "edge"]).await);
    assert!(all.iter().all(|text| text.as_ptr() == all[0].as_ptr()), "one and the same text");
    let others = [ask(false, &["lab", "edge"]).await, ask(false, &["lab"]).await];
    assert_eq!(others.map(|text| text.to_vec()), [b"answer 1", b"answer 2"], "who may see less");
    tokio::time::sleep(2 * SHARED_FOR).await;
    assert!(scrapes.lock().is_empty(), "nothing is kept that nobody asked for within a second");
    assert_eq!(ask(true, &["lab", "edge"]).await, "answer 3");
}

/// Whoever wrote it went away: the next one writes.
#[tokio::test(start_paused = true)]
async fn an_answer_that_failed_is_nobodys() {
    let scrapes: Arc<Scrapes> = Arc::default();
    let sight = || Sight { everything: true, clusters: Vec::new() };
    let refused = || async { Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "broken")) };
    assert!(scrapes.shared(sight(), refused).await.is_err());
    let hangs = scrapes.shared(sight(), std::future::pending);
    assert!(tokio::time::timeout(Duration::from_secs(1), hangs).await.is_err());
    let written = scrapes.shared(sight(), || async { Ok(Bytes::from_static(b"well")) }).await;
    assert_eq!(written.unwrap(), "well");
}
