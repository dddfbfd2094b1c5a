//! Damaged pages: found beside the running store, or by a write that meets one, and not forgotten.

use daemon::record::{Checked, Store, StoreError};

use super::help::{Folder, action, damage, event};

#[tokio::test]
async fn a_damaged_page_is_found_where_nobody_reads() {
    let folder = Folder::new();
    let path = folder.path("jarvis.db");
    let store = Store::open(&path).await.unwrap();
    store.save_event(event("one")).await.unwrap();
    assert_eq!(store.check(|| false).await.unwrap(), Checked::Whole);
    assert_eq!(store.damage(), None);
    assert!(store.close().await);

    damage(&path, "autonomy_actions").await;
    let store = Store::open(&path).await.unwrap();
    store.save_event(event("two")).await.unwrap();
    assert_eq!(store.damage(), None, "nothing has met it");
    assert_eq!(store.check(|| true).await.unwrap(), Checked::Unfinished, "who stops waits for nothing");
    assert_eq!(store.damage(), None);
    let Checked::Damaged(said) = store.check(|| false).await.unwrap() else { panic!("not found") };
    assert!(!said.is_empty());
    assert_eq!(store.damage(), Some(said));
    store.save_event(event("three")).await.unwrap();
    assert!(store.damage().is_some() && !store.is_failing(), "a write beside it mends nothing");
}

#[tokio::test]
async fn a_write_that_meets_damage_says_so() {
    let folder = Folder::new();
    let path = folder.path("jarvis.db");
    assert!(Store::open(&path).await.unwrap().close().await);
    damage(&path, "autonomy_actions").await;
    let store = Store::open(&path).await.unwrap();
    let refused = store.save_autonomy_action(action()).await.unwrap_err();
    assert!(matches!(refused, StoreError::Sqlite(_)), "{refused:?}");
    assert_eq!(store.damage().as_deref(), Some("database disk image is malformed"));
    store.save_event(event("one")).await.unwrap();
    assert!(store.damage().is_some(), "the next write is well, the file is not");
}
