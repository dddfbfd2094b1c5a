//! Lists of many rows: a filter that fits little, and clusters that somebody may not see.

use daemon::record::{EventFilter, IncidentFilter, NewEntry, NewEvent, Scope, Store, Window};

use engine::detect::{Finding, Trace};
use engine::observe::{GuestKind, GuestStatus};
use engine::record::{Entry, Fact};

use super::help::{Folder, at, event, lab, run};

fn first(limit: u32) -> Window {
    Window { limit, ..Window::default() }
}

#[tokio::test]
async fn a_filter_that_fits_little_finds_it_behind_short_pages() {
    let folder = Folder::new();
    let store = Store::open(&folder.path("jarvis.db")).await.unwrap();
    let rare = NewEvent { node: Some("pve9".into()), ..event("the one") };
    let mut events = vec![rare];
    events.extend((0..11_000).map(|_| event("another")));
    store.save_events(events, None).await.unwrap();
    let filter = EventFilter { node: Some("pve9".into()), ..EventFilter::default() };
    let (mut window, mut pages) = (first(10), Vec::new());
    loop {
        let page = store.list_events(window.clone(), filter.clone()).await.unwrap();
        pages.push(page.rows.iter().map(|row| row.id).collect::<Vec<_>>());
        match page.next {
            Some(next) => window.after = Some(next),
            None => break,
        }
    }
    assert_eq!(
        pages,
        [vec![], vec![], vec![1]],
        "each page looks at 5,000 rows and says where the next begins"
    );
    assert!(store.close().await);
}

#[tokio::test]
async fn what_is_of_another_cluster_or_of_nobody_knows_which_is_not_shown_to_who_sees_one() {
    let folder = Folder::new();
    let path = folder.path("jarvis.db");
    let store = Store::open(&path).await.unwrap();
    let of = |cluster: &str| NewEvent { cluster: Some(cluster.into()), ..event(cluster) };
    store.save_events(vec![of("lab"), of("edge"), event("everybody's")], None).await.unwrap();
    assert!(store.close().await);
    run(&path, "INSERT INTO events (timestamp, type, source, summary) VALUES ('2020-01-01 00:00:00', 'alert', 'monitor', 'original')").await;
    let store = Store::open(&path).await.unwrap();
    for (name, within, cluster, expected) in [
        ("all of them", None, None, vec![3, 2, 1, 4]),
        ("one of two", Some(vec!["edge"]), None, vec![3, 2]),
        ("one, and asks for another", Some(vec!["edge"]), Some("lab"), vec![]),
        ("both", Some(vec!["edge", "lab"]), None, vec![3, 2, 1]),
        ("none", Some(vec![]), None, vec![3]),
    ] {
        let within = within.map(|names| names.into_iter().map(str::to_owned).collect());
        let window = Window { within, cluster: cluster.map(str::to_owned), ..first(10) };
        let page = store.list_events(window, EventFilter::default()).await.unwrap();
        assert_eq!(page.rows.iter().map(|row| row.id).collect::<Vec<_>>(), expected, "{name}");
    }
    assert!(store.close().await);
}

/// Rows of megabytes in all are no one answer, whichever question brings them.
#[tokio::test]
async fn what_weighs_megabytes_comes_in_part() {
    let folder = Folder::new();
    let store = Store::open(&folder.path("jarvis.db")).await.unwrap();
    let finding =
        Finding::GuestCrashed { kind: GuestKind::Qemu, previous: GuestStatus::Running, trace: Trace::Hidden };
    let opened = Entry {
        at: at("2026-11-23T18:58:01.250Z"),
        subject: "qemu/101".parse().unwrap(),
        name: None,
        node: None,
        fact: Fact::Opened { incident: serde_json::from_str("7").unwrap(), finding, group: None },
    };
    let told = NewEvent::from_engine(&lab(), &engine::report::event(&lab(), &opened));
    let written = NewEntry::from_engine(&lab(), true, &opened);
    let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    let event = |_| NewEvent { details: Some(text(64_000)), ..told.clone() };
    let entry = |_| NewEntry { entry: text(200_000), ..written.clone() };
    store.save_turn((0..50).map(entry).collect(), (0..150).map(event).collect(), None).await.unwrap();
    for key in 0..150 {
        store.set_preference(&format!("k{key:03}"), &text(64_000), opened.at).await.unwrap();
    }
    let of_lab = Scope::of([&lab()]);
    let incidents = store.list_incidents(first(10), IncidentFilter::default()).await.unwrap().rows;
    let story = store.incident_events(&incidents[0], 1_000).await.unwrap();
    let journal = store.incident_entries(&incidents[0], 1_000).await.unwrap();
    for (name, rows, bytes) in [
        ("recent", store.get_recent_events_of(&Scope::ALL, 1_000).await.unwrap().len(), 64_000),
        ("recent of one", store.get_recent_events_of(&of_lab, 1_000).await.unwrap().len(), 64_000),
        ("not over", store.get_unresolved_of(&Scope::ALL, 1_000).await.unwrap().len(), 64_000),
        ("ahead", store.get_events_after_seq_of(0, 1_000, &of_lab).await.unwrap().rows.len(), 64_000),
        ("a story's events", story.rows.len(), 64_000),
        ("a story's entries", journal.rows.len(), 200_000),
        ("preferences", store.all_preferences().await.unwrap().len(), 64_000),
    ] {
        let weight = rows * bytes;
        assert!(rows > 20 && weight <= 4 * 1024 * 1024 + bytes, "{name}: {rows} rows of {weight} bytes");
    }
    assert!(story.truncated && journal.truncated);
    let ahead = store.get_events_after_seq_of(0, 1_000, &of_lab).await.unwrap();
    assert_eq!(ahead.next, ahead.rows.last().map(|row| row.id), "who catches up goes on there");
    assert!(store.close().await);
}
