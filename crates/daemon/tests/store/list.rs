//! Lists of many rows: a filter that fits little, and clusters that somebody may not see.

use daemon::record::{EventFilter, NewEvent, Store, Window};

use super::help::{Folder, event};

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
async fn what_is_of_another_cluster_or_of_none_is_not_shown_to_who_sees_one() {
    let folder = Folder::new();
    let store = Store::open(&folder.path("jarvis.db")).await.unwrap();
    let of = |cluster: &str| NewEvent { cluster: Some(cluster.into()), ..event(cluster) };
    store.save_events(vec![of("lab"), of("edge"), event("nobody's")], None).await.unwrap();
    for (name, within, cluster, expected) in [
        ("all of them", None, None, vec![3, 2, 1]),
        ("one of two", Some(vec!["edge"]), None, vec![2]),
        ("one, and asks for another", Some(vec!["edge"]), Some("lab"), vec![]),
        ("both", Some(vec!["edge", "lab"]), None, vec![2, 1]),
        ("none", Some(vec![]), None, vec![]),
    ] {
        let within = within.map(|names| names.into_iter().map(str::to_owned).collect());
        let window = Window { within, cluster: cluster.map(str::to_owned), ..first(10) };
        let page = store.list_events(window, EventFilter::default()).await.unwrap();
        assert_eq!(page.rows.iter().map(|row| row.id).collect::<Vec<_>>(), expected, "{name}");
    }
    assert!(store.close().await);
}
