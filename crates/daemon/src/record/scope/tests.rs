//! Who sees which rows, and how many rows a question looks at.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqlitePoolOptions;

use super::*;
use crate::record::migrate;

fn cluster(name: &str) -> ClusterName {
    name.parse().unwrap()
}

async fn empty() -> SqlitePool {
    let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.unwrap();
    migrate::migrate(&mut pool.acquire().await.unwrap(), Timestamp::UNIX_EPOCH).await.unwrap();
    pool
}

async fn run(pool: &SqlitePool, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(pool).await.unwrap();
}

/// So many events of another cluster, from this number on.
async fn busy(pool: &SqlitePool, from: i64, count: i64) {
    let to = from + count;
    run(
        pool,
        &format!(
            "WITH RECURSIVE n(id) AS (SELECT {from} UNION ALL SELECT id + 1 FROM n WHERE id + 1 < {to}) \
             INSERT INTO events (id, type, source, severity, summary, cluster, at_ms) \
             SELECT id, 'alert', 'monitor', 'info', 'x', 'busy', 1 FROM n"
        ),
    )
    .await;
}

/// The same rows by each question, and by what asks about one row.
#[tokio::test]
async fn who_sees_what() {
    let pool = empty().await;
    run(
        &pool,
        "INSERT INTO events (id, type, source, summary, cluster, at_ms) VALUES \
         (1, 'alert', 'monitor', 'of lab', 'lab', 1), (2, 'alert', 'monitor', 'of edge', 'edge', 1), \
         (3, 'status', 'user', 'of Jarvis', NULL, 1), (4, 'alert', 'monitor', 'of the original', NULL, NULL), \
         (5, 'alert', 'monitor', 'of one that is not watched any more', 'gone', 1); \
         INSERT INTO autonomy_actions (id, incident_key, incident_id, runbook_id, condition, action, result, \
         autonomy_level, cluster, at_ms) SELECT id, '', '', '', '', '', '', 0, cluster, at_ms FROM events",
    )
    .await;
    let (lab, edge) = (cluster("lab"), cluster("edge"));
    let table = [
        ("everything", Scope::ALL, vec![1, 2, 3, 4, 5]),
        ("one", Scope::of([&lab]), vec![1, 3]),
        ("both", Scope::of([&lab, &edge]), vec![1, 2, 3]),
        ("none", Scope::of([]), vec![3]),
        ("one, by who sees all", Scope::of([&lab]).and_unknown(true), vec![1, 3, 4]),
        ("one, by who does not", Scope::of([&lab]).and_unknown(false), vec![1, 3]),
    ];
    let all = recent_events(&pool, &Scope::ALL, 10).await.unwrap();
    for (name, scope, expected) in table {
        let newest: Vec<i64> = expected.iter().rev().copied().collect();
        let ids = |rows: Vec<EventRow>| rows.iter().map(|row| row.id).collect::<Vec<_>>();
        assert_eq!(ids(recent_events(&pool, &scope, 10).await.unwrap()), newest, "{name}: newest first");
        assert_eq!(ids(unresolved_events(&pool, &scope, 10).await.unwrap()), newest, "{name}: not over");
        let ahead = events_after(&pool, 0, 10, &scope).await.unwrap();
        assert_eq!((ids(ahead.rows), ahead.next), (expected.clone(), None), "{name}: oldest first");
        let done = actions(&pool, &scope, 10).await.unwrap();
        assert_eq!(done.iter().map(|row| row.id).collect::<Vec<_>>(), newest, "{name}: actions");
        let held = all.iter().filter(|row| scope.holds(row)).map(|row| row.id);
        assert_eq!(held.collect::<Vec<_>>(), newest, "{name}: one by one");
        let behind = with_at_most_behind(&pool, 0, 1, &scope).await.unwrap();
        assert_eq!(behind, newest.get(1).copied().unwrap_or(0), "{name}: with one behind");
    }
}

#[tokio::test]
async fn a_quiet_cluster_is_caught_up_with_piece_by_piece() {
    let pool = empty().await;
    busy(&pool, 1, 12_000).await;
    run(&pool, "UPDATE events SET cluster = 'quiet' WHERE id IN (4, 6000, 6001, 11999)").await;
    let scope = Scope::of([&cluster("quiet")]);
    let (mut seen, mut steps, mut next) = (Vec::new(), Vec::new(), Some(0));
    while let Some(seq) = next {
        let ahead = events_after(&pool, seq, 2, &scope).await.unwrap();
        seen.extend(ahead.rows.iter().map(|row| row.id));
        next = ahead.next;
        steps.extend(next);
    }
    assert_eq!(seen, [4, 6_000, 6_001, 11_999]);
    assert_eq!(steps, [5_000, 10_000], "each piece is one statement");
    for (most, expected) in [(0, 11_999), (1, 6_001), (3, 4), (4, 0), (9, 0)] {
        assert_eq!(with_at_most_behind(&pool, 0, most, &scope).await.unwrap(), expected, "{most}");
    }
    assert_eq!(with_at_most_behind(&pool, 7_000, 3, &scope).await.unwrap(), 7_000, "no more behind that");
    let newest = recent_events(&pool, &scope, 3).await.unwrap();
    assert_eq!(newest.iter().map(|row| row.id).collect::<Vec<_>>(), [11_999, 6_001, 6_000]);
}

/// Counted in steps of SQLite's machine, thousands at a time.
#[tokio::test]
async fn no_question_costs_more_in_a_larger_table() {
    let pool = empty().await;
    let steps = Arc::new(AtomicU64::new(0));
    let count = steps.clone();
    pool.acquire().await.unwrap().lock_handle().await.unwrap().set_progress_handler(1_000, move || {
        count.fetch_add(1, Ordering::Relaxed);
        true
    });
    let scope = Scope::of([&cluster("quiet")]);
    let mut taken = Vec::new();
    let (first, more) = (LOOKED_AT_MAX + 10_000, LOOKED_AT_MAX);
    for (from, rows) in [(1, first), (1 + first, more)] {
        busy(&pool, from, rows).await;
        let mut costs = Vec::new();
        let mut note = || costs.push(steps.swap(0, Ordering::Relaxed));
        note();
        assert!(recent_events(&pool, &scope, 50).await.unwrap().is_empty());
        note();
        assert!(unresolved_events(&pool, &scope, 50).await.unwrap().is_empty());
        note();
        assert!(events_after(&pool, 0, 50, &scope).await.unwrap().rows.is_empty());
        note();
        let behind = with_at_most_behind(&pool, 0, 1_000, &scope).await.unwrap();
        assert_eq!(behind, from + rows - 1 - LOOKED_AT_MAX, "what is further behind was not looked at");
        note();
        run(&pool, "SELECT * FROM events WHERE cluster = 'quiet' ORDER BY id DESC LIMIT 50").await;
        note();
        taken.push(costs.split_off(1));
    }
    let names = ["newest first", "not over", "a piece ahead", "how many behind"];
    for (question, name) in names.into_iter().enumerate() {
        let (small, large) = (taken[0][question], taken[1][question]);
        assert!(small > 0 && large <= small + 2, "{name}: {small} and {large} thousand steps");
    }
    assert!(taken[0][2] * 8 < taken[0][0], "a piece is a piece: {taken:?}");
    assert!(taken[1][4] * 10 > taken[0][4] * 15, "a walk through all is seen as one: {taken:?}");
}
