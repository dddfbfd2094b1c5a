//! Scope: which rows somebody is shown, and the questions by number within it.
//!
//! A row without a cluster is either news of Jarvis as a whole, which is everybody's, or the original's, which never said
//! whose it was: that is for those who see everything. There is no index by cluster, which every event would pay for. So
//! a question walks down the numbers in pieces of [`EXAMINED_MAX`] rows, and ends after [`LOOKED_AT_MAX`] of them,
//! however few it found.

use engine::observe::ClusterName;
use sqlx::{Row, Sqlite, SqlitePool, Transaction};

use super::list::{EXAMINED_MAX, Part, action_bytes, event_bytes, part};
use super::read::{action_columns, event_columns, unresolved};
use super::row::{ActionRow, EventRow};

/// Rows that one question looks at: some 40 ms, in a table of any size.
pub const LOOKED_AT_MAX: i64 = 50_000;

/// Which rows somebody is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// `None`: those of all.
    clusters: Option<Vec<String>>,
    /// Whether the original's are among them.
    unknown: bool,
}

impl Scope {
    /// Everything.
    pub const ALL: Scope = Scope { clusters: None, unknown: true };

    /// What is about these clusters, and what is about Jarvis as a whole.
    pub fn of<'a>(clusters: impl IntoIterator<Item = &'a ClusterName>) -> Scope {
        Scope { clusters: Some(clusters.into_iter().map(ToString::to_string).collect()), unknown: false }
    }

    /// And what the original wrote, if so: of a cluster that nobody knows.
    pub fn and_unknown(self, unknown: bool) -> Scope {
        Scope { unknown: self.unknown || unknown, ..self }
    }

    /// Whether an event is among them.
    pub fn holds(&self, row: &EventRow) -> bool {
        match (&self.clusters, &row.cluster) {
            (None, _) => true,
            (Some(_), None) => self.unknown || row.ours,
            (Some(clusters), Some(cluster)) => clusters.contains(cluster),
        }
    }

    /// For SQL: a JSON array, or NULL for all.
    fn json(&self) -> Option<String> {
        self.clusters.as_ref().map(|clusters| serde_json::Value::from(clusters.clone()).to_string())
    }
}

/// Whether a row is within a scope: `?1` its clusters, `?2` whether the original's are. What is ours has milliseconds.
macro_rules! shown {
    () => {
        "(?1 IS NULL OR cluster IN (SELECT value FROM json_each(?1)) \
          OR (cluster IS NULL AND (?2 OR at_ms IS NOT NULL)))"
    };
}

/// A walk: the piece behind the number `?3`, `?4` rows long, and of that what is shown, at most `?5`; and the piece's
/// last number, where it is as long as it may be.
pub(super) struct Walk {
    pub(super) piece: &'static str,
    end: &'static str,
    /// Before the first row.
    from: i64,
}

macro_rules! walk {
    ($table:literal, $columns:expr, $where:expr, $order:literal, $from:expr) => {
        Walk {
            piece: concat!(
                "SELECT ",
                $columns,
                " FROM (SELECT * FROM ",
                $table,
                " WHERE ",
                $where,
                " ORDER BY ",
                $order,
                " LIMIT ?4) WHERE ",
                shown!(),
                " LIMIT ?5"
            ),
            end: concat!(
                "SELECT id FROM (SELECT id FROM ",
                $table,
                " WHERE ",
                $where,
                " ORDER BY ",
                $order,
                " LIMIT ?4) LIMIT 1 OFFSET ?4 - 1"
            ),
            from: $from,
        }
    };
}

pub(super) const RECENT: Walk = walk!("events", event_columns!(), "id < ?3", "id DESC", i64::MAX);
pub(super) const UNRESOLVED: Walk =
    walk!("events", event_columns!(), concat!("id < ?3 AND ", unresolved!()), "id DESC", i64::MAX);
pub(super) const ACTIONS: Walk = walk!("autonomy_actions", action_columns!(), "id < ?3", "id DESC", i64::MAX);
pub(super) const AFTER: Walk = walk!("events", event_columns!(), "id > ?3", "id", i64::MIN);

impl Walk {
    /// What is shown of the next piece.
    async fn piece<T>(
        &self,
        snapshot: &mut Transaction<'_, Sqlite>,
        scope: &Scope,
        from: i64,
        limit: i64,
        read: impl Fn(&sqlx::sqlite::SqliteRow) -> T,
        bytes: impl Fn(&T) -> usize,
    ) -> Result<Part<T>, sqlx::Error> {
        let rows = sqlx::query(self.piece).bind(scope.json()).bind(scope.unknown).bind(from);
        let rows = rows.bind(EXAMINED_MAX).bind(limit.saturating_add(1));
        part(rows.fetch(&mut **snapshot), limit, read, bytes).await
    }

    /// Where the piece after this one begins; `None`: there is no more.
    async fn end(
        &self,
        snapshot: &mut Transaction<'_, Sqlite>,
        from: i64,
    ) -> Result<Option<i64>, sqlx::Error> {
        // The first two are the piece's alone.
        let end = sqlx::query(self.end).bind(None::<i64>).bind(None::<i64>).bind(from).bind(EXAMINED_MAX);
        end.fetch_optional(&mut **snapshot).await?.map(|row| row.try_get("id")).transpose()
    }

    /// The first `limit` rows of a scope, or as many as may be looked for, or as a page may weigh.
    async fn first<T>(
        &self,
        pool: &SqlitePool,
        scope: &Scope,
        limit: i64,
        read: impl Fn(&sqlx::sqlite::SqliteRow) -> T,
        bytes: impl Fn(&T) -> usize,
    ) -> Result<Vec<T>, sqlx::Error> {
        // As it is now: what comes between two statements must not shift the pieces.
        let mut snapshot = pool.begin().await?;
        let (mut found, mut size, mut from) = (Vec::new(), 0, self.from);
        for _ in 0..LOOKED_AT_MAX / EXAMINED_MAX {
            let left = limit - i64::try_from(found.len()).unwrap_or(limit);
            let Part { rows, truncated } =
                self.piece(&mut snapshot, scope, from, left, &read, &bytes).await?;
            size += rows.iter().map(&bytes).sum::<usize>();
            found.extend(rows);
            if truncated || size > super::list::PAGE_BYTES_MAX {
                break;
            }
            match self.end(&mut snapshot, from).await? {
                Some(end) => from = end,
                None => break,
            }
        }
        Ok(found)
    }
}

pub(super) async fn recent_events(
    pool: &SqlitePool,
    scope: &Scope,
    limit: i64,
) -> Result<Vec<EventRow>, sqlx::Error> {
    RECENT.first(pool, scope, limit, EventRow::read, event_bytes).await
}

pub(super) async fn unresolved_events(
    pool: &SqlitePool,
    scope: &Scope,
    limit: i64,
) -> Result<Vec<EventRow>, sqlx::Error> {
    UNRESOLVED.first(pool, scope, limit, EventRow::read, event_bytes).await
}

pub(super) async fn actions(
    pool: &SqlitePool,
    scope: &Scope,
    limit: i64,
) -> Result<Vec<ActionRow>, sqlx::Error> {
    ACTIONS.first(pool, scope, limit, ActionRow::read, action_bytes).await
}

/// What of a piece behind a number somebody is shown, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Ahead {
    /// May be none, although there is more.
    pub rows: Vec<EventRow>,
    /// The number behind which to go on; `None`: there is nothing behind these yet.
    pub next: Option<i64>,
}

pub(super) async fn events_after(
    pool: &SqlitePool,
    seq: i64,
    limit: i64,
    scope: &Scope,
) -> Result<Ahead, sqlx::Error> {
    let mut snapshot = pool.begin().await?;
    let Part { rows, truncated } =
        AFTER.piece(&mut snapshot, scope, seq, limit, EventRow::read, event_bytes).await?;
    let next = match rows.last() {
        Some(last) if truncated => Some(last.id),
        Some(_) | None => AFTER.end(&mut snapshot, seq).await?,
    };
    Ok(Ahead { rows, next })
}

/// The number behind which there are at most `most` events of a scope; `seq`, where there are no more behind that. What
/// is further behind than may be looked at is not counted.
pub(super) async fn with_at_most_behind(
    pool: &SqlitePool,
    seq: i64,
    most: i64,
    scope: &Scope,
) -> Result<i64, sqlx::Error> {
    let mut snapshot = pool.begin().await?;
    let (mut from, mut left) = (RECENT.from, most);
    for _ in 0..LOOKED_AT_MAX / EXAMINED_MAX {
        let rows = sqlx::query(IDS).bind(scope.json()).bind(scope.unknown).bind(from).bind(EXAMINED_MAX);
        let rows = rows.bind(left.saturating_add(1)).fetch_all(&mut *snapshot).await?;
        for row in rows {
            let id: i64 = row.try_get("id")?;
            if id <= seq {
                return Ok(seq);
            }
            if left == 0 {
                return Ok(id);
            }
            left -= 1;
        }
        match RECENT.end(&mut snapshot, from).await? {
            Some(end) if end > seq => from = end,
            Some(_) | None => return Ok(seq),
        }
    }
    Ok((from - 1).max(seq))
}

const IDS: &str = concat!(
    "SELECT id FROM (SELECT id, cluster, at_ms FROM events WHERE id < ?3 ORDER BY id DESC LIMIT ?4) WHERE ",
    shown!(),
    " LIMIT ?5"
);

#[cfg(test)]
#[path = "scope/tests.rs"]
mod tests;
