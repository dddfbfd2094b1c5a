//! The format: escapes, families once each, no series twice; and what 10,000 guests weigh.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use engine::observe::{GuestId, GuestKind};

use super::super::page::{ClusterInfo, GuestDetails, GuestMarks};
use super::*;

fn page(guests: u32) -> Page {
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
        marks: GuestMarks::default(),
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
    let (lab, edge) = (page(1), page(1));
    let details = |tags: &str| Details {
        guests: BTreeMap::from([(
            "qemu/100".parse().unwrap(),
            GuestDetails { tags: tags.into(), ha: Some("started".into()), lock: None, template: false },
        )]),
        cluster: Some(ClusterInfo { name: "pvec".into(), nodes: 3, version: 5 }),
        ..Details::default()
    };
    lab.publish_details(details("a\"b\\c\nd"));
    let text = text(&[("lab", &lab), ("edge", &edge)]);
    #[rustfmt::skip]
    let lines = [
        r#"pve_guest_info{cluster="lab",id="qemu/100",node="pve1",name="guest-100",type="qemu",template="0",tags="a\"b\\c\nd"} 1"#,
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
