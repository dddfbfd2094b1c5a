//! Lists: pages of events, incidents, actions and the journal, newest first, by filters.
//!
//! A page goes on from a position (a time and a row's number), never from a count, so rows that come meanwhile neither
//! repeat nor hide any. Whatever the filters, one index is walked down: that of a filter that has one, with the time as
//! its second column, or that of the time. The other filters look at what that walk finds, at most [`EXAMINED_MAX`] rows
//! a page; a page that came to that end is short and has a next one.

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection, SqlitePool};
use tokio_stream::{Stream, StreamExt};

use super::incidents::{IncidentRow, incident_columns};
use super::journal::JournalRow;
use super::read::{action_columns, event_columns};
use super::row::{ActionResult, ActionRow, EventRow, Source};
use super::time;
use engine::report::{EventKind, Severity};

/// Rows that one page looks at: some 4 ms in a table of a million. A filter that fits none of them finds the rest on the pages after it.
pub(super) const EXAMINED_MAX: i64 = 5_000;
/// Bytes of JSON after which a page ends, however few rows it has: details and entries may have many KB each.
pub(super) const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A place in a list: what comes after it is older.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The row's time as its table orders it.
    pub time: String,
    /// The row's number.
    pub id: i64,
}

/// One page.
#[derive(Clone, Debug, PartialEq)]
pub struct ListPage<T> {
    /// Newest first.
    pub rows: Vec<T>,
    /// Where the next page begins; `None`: there is nothing older.
    pub next: Option<Position>,
}

/// The beginning of an answer, as much of it as is given.
#[derive(Clone, Debug, PartialEq)]
pub struct Part<T> {
    /// In the order that was asked for.
    pub rows: Vec<T>,
    /// Whether there is more.
    pub truncated: bool,
}

/// At most so many rows, and no more after they weigh as much as a page may. The statement must have room for one more.
pub(super) async fn part<T>(
    rows: impl Stream<Item = Result<SqliteRow, sqlx::Error>>,
    limit: i64,
    read: impl Fn(&SqliteRow) -> T,
    bytes: impl Fn(&T) -> usize,
) -> Result<Part<T>, sqlx::Error> {
    let mut rows = std::pin::pin!(rows);
    let limit = usize::try_from(limit).unwrap_or_default();
    let (mut part, mut size) = (Vec::new(), 0);
    while let Some(row) = rows.next().await {
        let row = row?;
        if part.len() == limit || size > PAGE_BYTES_MAX {
            return Ok(Part { rows: part, truncated: true });
        }
        let row = read(&row);
        size += bytes(&row);
        part.push(row);
    }
    Ok(Part { rows: part, truncated: false })
}

/// What every list can be asked for.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// Most rows, 1 to 1,000.
    pub limit: u32,
    /// Where the page begins; `None`: at the newest.
    pub after: Option<Position>,
    /// At or after.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// Only these clusters, and of events and actions what is about Jarvis as a whole; `None`: everything.
    pub within: Option<Vec<String>>,
    /// Only this cluster.
    pub cluster: Option<String>,
    /// Bytes of JSON after which the page ends; `None`, and at most: what every page has.
    pub bytes: Option<usize>,
}

/// Which events.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "each is the column of its name")]
pub struct EventFilter {
    pub kind: Option<EventKind>,
    pub severity: Option<Severity>,
    pub source: Option<Source>,
    pub node: Option<String>,
    pub subject: Option<String>,
    pub condition: Option<String>,
    pub incident: Option<String>,
    pub resolved: Option<bool>,
    /// Part of the title, whatever its case (of ASCII letters).
    pub title: Option<String>,
}

/// Which incidents.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "each is the column of its name")]
pub struct IncidentFilter {
    pub open: Option<bool>,
    pub severity: Option<Severity>,
    pub node: Option<String>,
    pub subject: Option<String>,
    pub condition: Option<String>,
    /// Part of the name, whatever its case (of ASCII letters).
    pub name: Option<String>,
}

/// Which actions.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "each is the column of its name")]
pub struct ActionFilter {
    pub key: Option<String>,
    pub incident: Option<String>,
    pub node: Option<String>,
    pub condition: Option<String>,
    pub result: Option<ActionResult>,
}

/// Which rows of the journal.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "each is the column of its name")]
pub struct JournalFilter {
    pub kind: Option<String>,
    /// The name of whoever did it, by whatever way.
    pub by: Option<String>,
}

/// Who a row of the journal names: an operator's own says it, and an engine's of what an operator said. With the way by which it
/// came behind the name, in parentheses, it is cut there.
macro_rules! who {
    () => {
        "iif(json_valid(entry), coalesce(entry ->> '$.by', entry ->> '$.fact.Remedy.step.Ordered.by'), NULL)"
    };
}
// A blank and a parenthesis are said by their numbers: those of a condition are counted.
const BY: &str = concat!("substr(", who!(), ", 1, instr(", who!(), " || char(32, 40), char(32, 40)) - 1) = ");

/// A value on its way into a statement.
#[derive(Clone)]
enum Bound {
    Text(String),
    Whole(i64),
    /// A JSON list.
    Any(String),
}

/// A table that is listed.
#[derive(Clone, Copy)]
struct Table {
    from: &'static str,
    columns: &'static str,
    time: Time,
    id: &'static str,
}

/// How a table orders its times.
#[derive(Clone, Copy)]
enum Time {
    /// The original's text, to the second, with milliseconds beside it.
    Text,
    /// Unix milliseconds, by the column's name.
    Whole(&'static str),
}

const EVENTS: Table =
    Table { from: "events", columns: concat!(event_columns!()), time: Time::Text, id: "id" };
const ACTIONS: Table =
    Table { from: "autonomy_actions", columns: concat!(action_columns!()), time: Time::Text, id: "id" };
const INCIDENTS: Table = Table {
    from: "incidents",
    columns: concat!(incident_columns!()),
    time: Time::Whole("opened_ms"),
    id: "seq",
};
// An entry that is longer than any of ours is not read back; see the journal's own limit.
const JOURNAL: Table = Table {
    from: "journal",
    columns: "seq, at_ms, cluster, kind, iif(octet_length(entry) <= 1048576, entry, '') AS entry, prev, hash",
    time: Time::Whole("at_ms"),
    id: "seq",
};

impl Table {
    fn time_column(self) -> &'static str {
        match self.time {
            Time::Text => "timestamp",
            Time::Whole(column) => column,
        }
    }

    /// A time as the table orders it.
    fn bound(self, text: &str) -> Bound {
        match self.time {
            Time::Text => Bound::Text(text.to_owned()),
            // A position is checked before it comes here; one that is none begins at the oldest.
            Time::Whole(_) => Bound::Whole(text.parse().unwrap_or(i64::MIN)),
        }
    }

    fn at(self, at: Timestamp) -> Bound {
        match self.time {
            Time::Text => Bound::Text(time::to_text(at)),
            Time::Whole(_) => Bound::Whole(at.as_millisecond()),
        }
    }

    fn position(self, row: &SqliteRow) -> Result<Position, sqlx::Error> {
        let time = match self.time {
            Time::Text => super::row::text(row, "timestamp").unwrap_or_default(),
            Time::Whole(column) => row.try_get::<i64, _>(column)?.to_string(),
        };
        Ok(Position { time, id: row.try_get(self.id)? })
    }
}

/// A list's question: the filter that is walked by, and those that look at what the walk finds.
struct Question {
    table: Table,
    window: Window,
    walk: Option<(&'static str, Option<Bound>)>,
    look: Vec<(&'static str, Option<Bound>)>,
}

impl Question {
    /// `filters` in the order of how little each leaves: the first that is given is walked by. One that has no index
    /// is only looked at.
    fn new(
        table: Table,
        window: Window,
        filters: Vec<(bool, &'static str, Option<Option<Bound>>)>,
    ) -> Question {
        let mut question = Question { table, window, walk: None, look: Vec::new() };
        for (indexed, sql, bound) in filters {
            match bound {
                None => {}
                Some(bound) if indexed && question.walk.is_none() => question.walk = Some((sql, bound)),
                Some(bound) => question.look.push((sql, bound)),
            }
        }
        if let Time::Text = table.time {
            // Within the second that the text names, the milliseconds decide; a row without them is given.
            let exact =
                |sql, at: Option<Timestamp>| at.map(|at| (sql, Some(Bound::Whole(at.as_millisecond()))));
            question.look.extend(exact("(at_ms IS NULL OR at_ms >= ", question.window.since));
            question.look.extend(exact("(at_ms IS NULL OR at_ms < ", question.window.until));
        }
        if let Some(within) = &question.window.within {
            let list = serde_json::to_string(within).unwrap_or_else(|_| "[]".to_owned());
            // As `Scope` has it. What the journal says of no cluster is about who may what, and nobody else's.
            let within = match table.time {
                Time::Text => {
                    "(cluster IS NULL AND at_ms IS NOT NULL OR cluster IN (SELECT value FROM json_each("
                }
                Time::Whole(_) => "cluster IN (SELECT value FROM json_each(",
            };
            question.look.push((within, Some(Bound::Any(list))));
        }
        question
    }

    /// The rows of the walk, as many as may be looked at.
    fn walk(&self, query: &mut QueryBuilder<Sqlite>, columns: &str, most: i64) {
        let Table { from, id, .. } = self.table;
        let time = self.table.time_column();
        query.push("SELECT ").push(columns).push(" FROM ").push(from).push(" WHERE ");
        if let Some((sql, bound)) = &self.walk {
            condition(query, sql, bound.clone());
            query.push(" AND ");
        }
        if let Some(since) = self.window.since {
            query.push(time).push(" >= ");
            bind(query, self.table.at(since));
            query.push(" AND ");
        }
        // The index is searched by the time; of rows of the same one, those that were given are passed over.
        query.push("(").push(time).push(", ").push(id).push(") < (");
        let (from, before) = self.begin();
        bind(query, from);
        query.push(", ").push_bind(before).push(") ORDER BY ");
        query.push(time).push(" DESC, ").push(id).push(" DESC LIMIT ").push_bind(most);
    }

    /// The place before which the walk begins: the position, or the end of the time asked for, or the newest.
    fn begin(&self) -> (Bound, i64) {
        match (&self.window.after, self.window.until) {
            (Some(Position { time, id }), _) => (self.table.bound(time), *id),
            // Of a text's second, the milliseconds are looked at afterwards.
            (None, Some(until)) => match self.table.time {
                Time::Text => (self.table.at(until), i64::MAX),
                Time::Whole(_) => (self.table.at(until), i64::MIN),
            },
            (None, None) => match self.table.time {
                // Behind every text, also those that are no times.
                Time::Text => (Bound::Text("\u{10ffff}".into()), i64::MAX),
                Time::Whole(_) => (Bound::Whole(i64::MAX), i64::MAX),
            },
        }
    }

    fn statement(&self, limit: i64) -> QueryBuilder<Sqlite> {
        let mut query = QueryBuilder::new("");
        if self.look.is_empty() {
            self.walk(&mut query, self.table.columns, limit);
            return query;
        }
        query.push("SELECT ").push(self.table.columns).push(" FROM (");
        self.walk(&mut query, "*", EXAMINED_MAX);
        query.push(") WHERE ");
        for (number, (sql, bound)) in self.look.iter().enumerate() {
            if number > 0 {
                query.push(" AND ");
            }
            condition(&mut query, sql, bound.clone());
        }
        // No second ORDER BY: it would have SQLite read all that may be looked at before it gives the first row.
        query.push(" LIMIT ").push_bind(limit);
        query
    }

    /// Where a page goes on that looked at all it may and is not full; `None`: it came to the oldest.
    async fn end_of_walk(&self, conn: &mut SqliteConnection) -> Result<Option<Position>, sqlx::Error> {
        let (time, id) = (self.table.time_column(), self.table.id);
        let mut query = QueryBuilder::new("SELECT * FROM (");
        self.walk(&mut query, &format!("{time}, {id}"), EXAMINED_MAX);
        query.push(") LIMIT 1 OFFSET ").push_bind(EXAMINED_MAX - 1);
        let last = query.build().fetch_optional(conn).await?;
        last.as_ref().map(|row| self.table.position(row)).transpose()
    }

    async fn ask<T>(
        self,
        pool: &SqlitePool,
        read: impl Fn(&SqliteRow) -> T,
        bytes: impl Fn(&T) -> usize,
    ) -> Result<ListPage<T>, sqlx::Error> {
        let limit = usize::try_from(self.window.limit.clamp(1, super::ROWS_MAX)).unwrap_or(1);
        let bytes_max = self.window.bytes.map_or(PAGE_BYTES_MAX, |most| most.min(PAGE_BYTES_MAX));
        let mut query = self.statement(i64::try_from(limit + 1).unwrap_or(i64::MAX));
        // As it is now: what comes between the two statements must not shift where the walk ends.
        let mut snapshot = pool.begin().await?;
        let mut rows = query.build().fetch(&mut *snapshot);
        let (mut page, mut size, mut last) = (Vec::new(), 0, None);
        while let Some(row) = rows.next().await {
            let row = row?;
            if page.len() == limit || size > bytes_max {
                return Ok(ListPage { rows: page, next: last });
            }
            last = Some(self.table.position(&row)?);
            let row = read(&row);
            size += bytes(&row);
            page.push(row);
        }
        drop(rows);
        let next = if self.look.is_empty() { None } else { self.end_of_walk(&mut snapshot).await? };
        Ok(ListPage { rows: page, next })
    }
}

/// `node = ` and its value, with the brackets closed that the text opens.
fn condition(query: &mut QueryBuilder<Sqlite>, sql: &'static str, bound: Option<Bound>) {
    query.push(sql);
    if let Some(bound) = bound {
        bind(query, bound);
    }
    for _ in 0..sql.matches('(').count() - sql.matches(')').count() {
        query.push(")");
    }
}

fn bind(query: &mut QueryBuilder<Sqlite>, bound: Bound) {
    match bound {
        Bound::Text(text) | Bound::Any(text) => query.push_bind(text),
        Bound::Whole(number) => query.push_bind(number),
    };
}

fn word(word: Option<impl Into<String>>) -> Option<Option<Bound>> {
    word.map(|word| Some(Bound::Text(word.into())))
}

/// A condition without a value.
fn flag(given: bool) -> Option<Option<Bound>> {
    given.then_some(None)
}

fn events_question(window: Window, filter: EventFilter) -> Question {
    let EventFilter { kind, severity, source, node, subject, condition, incident, resolved, title } = filter;
    let cluster = window.cluster.clone();
    // The monitor's are nearly all of them and have no index; that of the others is found by its own words.
    let (monitor, others): (Vec<Source>, _) =
        source.into_iter().partition(|source| *source == Source::Monitor);
    let [monitor, others] = [monitor, others].map(|one| word(one.first().map(|source| source.as_str())));
    Question::new(
        EVENTS,
        window,
        vec![
            (true, "incident_id = ", word(incident)),
            (true, "source <> 'monitor' AND source = ", others),
            (true, "severity = ", word(severity.map(Severity::as_str))),
            (false, "source = ", monitor),
            (false, "subject = ", word(subject)),
            (false, "node = ", word(node)),
            (false, "condition = ", word(condition)),
            (false, "type = ", word(kind.map(EventKind::as_str))),
            (false, "cluster = ", word(cluster)),
            (false, "coalesce(resolved, 0) = 0", flag(resolved == Some(false))),
            (false, "coalesce(resolved, 0) <> 0", flag(resolved == Some(true))),
            (false, "instr(lower(coalesce(title, summary)), lower(", word(title)),
        ],
    )
}

fn incidents_question(window: Window, filter: IncidentFilter) -> Question {
    let IncidentFilter { open, severity, node, subject, condition, name } = filter;
    let cluster = window.cluster.clone();
    Question::new(
        INCIDENTS,
        window,
        vec![
            (true, "resolved_ms IS NULL", flag(open == Some(true))),
            (false, "subject = ", word(subject)),
            (false, "node = ", word(node)),
            (false, "condition = ", word(condition)),
            (false, "severity = ", word(severity.map(Severity::as_str))),
            (false, "cluster = ", word(cluster)),
            (false, "resolved_ms IS NOT NULL", flag(open == Some(false))),
            (false, "instr(lower(name), lower(", word(name)),
        ],
    )
}

fn actions_question(window: Window, filter: ActionFilter) -> Question {
    let ActionFilter { key, incident, node, condition, result } = filter;
    let cluster = window.cluster.clone();
    Question::new(
        ACTIONS,
        window,
        vec![
            (true, "incident_id = ", word(incident)),
            (true, "incident_key = ", word(key)),
            (true, "node = ", word(node)),
            (true, "condition = ", word(condition)),
            (true, "result = ", word(result.map(ActionResult::as_str))),
            (true, "cluster = ", word(cluster)),
        ],
    )
}

fn journal_question(window: Window, filter: JournalFilter) -> Question {
    let cluster = window.cluster.clone();
    Question::new(
        JOURNAL,
        window,
        vec![
            (true, "kind = ", word(filter.kind)),
            (false, "cluster = ", word(cluster)),
            (false, BY, word(filter.by)),
        ],
    )
}

pub(super) fn event_bytes(row: &EventRow) -> usize {
    row.summary.len() + row.title.len() + row.message.len() + length(row.details.as_ref())
}

pub(super) fn action_bytes(row: &ActionRow) -> usize {
    length(row.action_args.as_ref()) + length(row.result_details.as_ref())
}

fn length(text: Option<&String>) -> usize {
    text.map_or(0, String::len)
}

pub(super) async fn events(
    pool: &SqlitePool,
    window: Window,
    filter: EventFilter,
) -> Result<ListPage<EventRow>, sqlx::Error> {
    events_question(window, filter).ask(pool, EventRow::read, event_bytes).await
}

pub(super) async fn incidents(
    pool: &SqlitePool,
    window: Window,
    filter: IncidentFilter,
) -> Result<ListPage<IncidentRow>, sqlx::Error> {
    let bytes = |row: &IncidentRow| length(row.details.as_ref());
    incidents_question(window, filter).ask(pool, IncidentRow::read, bytes).await
}

pub(super) async fn actions(
    pool: &SqlitePool,
    window: Window,
    filter: ActionFilter,
) -> Result<ListPage<ActionRow>, sqlx::Error> {
    actions_question(window, filter).ask(pool, ActionRow::read, action_bytes).await
}

pub(super) async fn journal(
    pool: &SqlitePool,
    window: Window,
    filter: JournalFilter,
) -> Result<ListPage<JournalRow>, sqlx::Error> {
    let bytes = |row: &JournalRow| row.entry.len();
    journal_question(window, filter).ask(pool, JournalRow::read, bytes).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::migrate;
    use sqlx::{AssertSqlSafe, Connection};

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn of(cluster: &str) -> Window {
        Window { cluster: text(cluster), limit: 50, ..Window::default() }
    }

    /// Each list by each filter, and by none: a search down one index, with no sorting and no other table.
    #[tokio::test]
    async fn every_list_is_a_walk_down_one_index() {
        let mut conn = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        migrate::migrate(&mut conn, Timestamp::UNIX_EPOCH).await.unwrap();
        let events = |filter| events_question(Window::default(), filter);
        let incidents = |filter| incidents_question(Window::default(), filter);
        let actions = |filter| actions_question(Window::default(), filter);
        let (event, incident, action) =
            (EventFilter::default(), IncidentFilter::default(), ActionFilter::default());
        let time = Some(Timestamp::UNIX_EPOCH);
        let since = Window { since: time, until: time, ..Window::default() };
        let within = Window { within: Some(vec!["lab".into()]), ..Window::default() };
        #[rustfmt::skip]
        let table = [
            ("events",             events(event.clone()), "idx_events_timestamp (timestamp<?)"),
            ("events of a time",   events_question(since.clone(), event.clone()), "idx_events_timestamp (timestamp>? AND timestamp<?)"),
            ("within",             events_question(within, event.clone()), "idx_events_timestamp (timestamp<?)"),
            ("by type",            events(EventFilter { kind: Some(EventKind::Alert), ..event.clone() }), "idx_events_timestamp (timestamp<?)"),
            ("by severity",        events(EventFilter { severity: Some(Severity::Info), ..event.clone() }), "idx_events_severity_time (severity=? AND timestamp<?)"),
            ("by source",          events(EventFilter { source: Some(Source::User), ..event.clone() }), "idx_events_source_time (source=? AND timestamp<?)"),
            ("by node",            events(EventFilter { node: text("pve1"), ..event.clone() }), "idx_events_timestamp (timestamp<?)"),
            ("by subject",         events(EventFilter { subject: text("qemu/101"), ..event.clone() }), "idx_events_timestamp (timestamp<?)"),
            ("by condition",       events(EventFilter { condition: text("VM_CRASHED"), ..event.clone() }), "idx_events_timestamp (timestamp<?)"),
            ("by cluster",         events_question(of("lab"), event.clone()), "idx_events_timestamp (timestamp<?)"),
            ("by resolved",        events(EventFilter { resolved: Some(true), ..event.clone() }), "idx_events_timestamp (timestamp<?)"),
            ("by title",           events(EventFilter { title: text("web"), ..event.clone() }), "idx_events_timestamp (timestamp<?)"),
            ("node and severity",  events(EventFilter { node: text("pve1"), severity: Some(Severity::Info), ..event.clone() }), "idx_events_severity_time (severity=? AND timestamp<?)"),
            ("incidents",          incidents(incident.clone()), "idx_incidents_opened (opened_ms<?)"),
            ("incidents' time",    incidents_question(since, incident.clone()), "idx_incidents_opened (opened_ms>? AND opened_ms<?)"),
            ("open ones",          incidents(IncidentFilter { open: Some(true), ..incident.clone() }), "idx_incidents_open (opened_ms<?)"),
            ("of a subject",       incidents(IncidentFilter { subject: text("qemu/101"), ..incident.clone() }), "idx_incidents_opened (opened_ms<?)"),
            ("of a node",          incidents(IncidentFilter { node: text("pve1"), ..incident.clone() }), "idx_incidents_opened (opened_ms<?)"),
            ("of a condition",     incidents(IncidentFilter { condition: text("X"), ..incident.clone() }), "idx_incidents_opened (opened_ms<?)"),
            ("of a severity",      incidents(IncidentFilter { severity: Some(Severity::Info), ..incident.clone() }), "idx_incidents_opened (opened_ms<?)"),
            ("of a cluster",       incidents_question(of("lab"), incident.clone()), "idx_incidents_opened (opened_ms<?)"),
            ("actions",            actions(action.clone()), "idx_autonomy_actions_timestamp (timestamp<?)"),
            ("actions of a key",   actions(ActionFilter { key: text("X:1"), ..action.clone() }), "idx_actions_key_time (incident_key=? AND timestamp<?)"),
            ("of an incident",     actions(ActionFilter { incident: text("i"), ..action.clone() }), "idx_actions_incident_time (incident_id=? AND timestamp<?)"),
            ("on a node",          actions(ActionFilter { node: text("pve1"), ..action.clone() }), "idx_actions_node_time (node=? AND timestamp<?)"),
            ("with a result",      actions(ActionFilter { result: Some(ActionResult::Failure), ..action.clone() }), "idx_actions_result_time (result=? AND timestamp<?)"),
            ("against",            actions(ActionFilter { condition: text("X"), ..action.clone() }), "idx_actions_condition_time (condition=? AND timestamp<?)"),
            ("in a cluster",       actions_question(of("lab"), action), "idx_actions_cluster_time (cluster=? AND timestamp<?)"),
            ("journal",            journal_question(Window::default(), JournalFilter::default()), "idx_journal_time (at_ms<?)"),
            ("journal's kind",     journal_question(Window::default(), JournalFilter { kind: text("opened"), by: None }), "idx_journal_kind_time (kind=? AND at_ms<?)"),
            ("journal's who",      journal_question(Window::default(), JournalFilter { kind: None, by: text("olga") }), "idx_journal_time (at_ms<?)"),
            ("journal's cluster",  journal_question(of("lab"), JournalFilter::default()), "idx_journal_time (at_ms<?)"),
        ];
        for (name, question, expected) in table {
            let plan = format!("EXPLAIN QUERY PLAN {}", question.statement(51).sql().as_str());
            let plan = sqlx::raw_sql(AssertSqlSafe(plan)).fetch_all(&mut conn).await.unwrap();
            let plan: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
            let table = question.table.from;
            let walk = format!("SEARCH {table} USING INDEX {expected}");
            let looked = format!("CO-ROUTINE (subquery-1) / {walk} / SCAN (subquery-1)");
            // The clusters of somebody's right are a list, which is searched, not read.
            let plan = plan.join(" / ").replace(
                " / LIST SUBQUERY 2 / SCAN json_each VIRTUAL TABLE INDEX 1: / CREATE BLOOM FILTER",
                "",
            );
            let plan = plan.replace(" / LIST SUBQUERY 2 / SCAN json_each VIRTUAL TABLE INDEX 1:", "");
            assert!(plan == walk || plan == looked, "{name}: {plan}");
        }
    }
}
