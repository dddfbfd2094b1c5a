//! What the store's questions cost: each by an index, whatever the size of the table.

use super::*;
use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection};

/// What looks at the rows of a walk: the clusters are a list, which is searched.
macro_rules! within {
    () => {
        " / SCAN (subquery-1) / LIST SUBQUERY 2 / SCAN json_each VIRTUAL TABLE INDEX 1: / CREATE BLOOM FILTER"
    };
}

/// One incident's rows of the journal.
macro_rules! course {
    ($number:literal) => {
        concat!(
            " / CORRELATED SCALAR SUBQUERY ",
            $number,
            " / SEARCH e USING PRIMARY KEY (incident=?) / SEARCH j USING INTEGER PRIMARY KEY (rowid=?)"
        )
    };
}

/// In a table of years nearly every row has `resolved` 0, so the obvious index is as good as none.
#[tokio::test]
async fn no_frequent_statement_reads_the_whole_table() {
    let mut conn = SqliteConnection::connect("sqlite::memory:").await.unwrap();
    migrate::migrate(&mut conn, Timestamp::UNIX_EPOCH).await.unwrap();
    #[rustfmt::skip]
    let table = [
        ("unresolved", read::UNRESOLVED,        "SCAN events USING INDEX idx_events_unresolved"),
        ("unresolved of some", scope::UNRESOLVED.piece, concat!("CO-ROUTINE (subquery-1) / SEARCH events USING INDEX idx_events_unresolved (id<?)", within!())),
        ("events of some", scope::RECENT.piece, concat!("CO-ROUTINE (subquery-1) / SEARCH events USING INTEGER PRIMARY KEY (rowid<?)", within!())),
        ("events ahead", scope::AFTER.piece, concat!("CO-ROUTINE (subquery-1) / SEARCH events USING INTEGER PRIMARY KEY (rowid>?)", within!())),
        ("actions of some", scope::ACTIONS.piece, concat!("CO-ROUTINE (subquery-1) / SEARCH autonomy_actions USING INTEGER PRIMARY KEY (rowid<?)", within!())),
        ("since",      read::SINCE,             "SEARCH events USING INDEX idx_events_timestamp (timestamp>? AND timestamp<?)"),
        ("resolving",  change::RESOLVE_EARLIER, "SCAN over VIRTUAL TABLE INDEX 1: / SEARCH events USING INDEX idx_events_incident_id (incident_id=?)"),
        ("closing",    change::CLOSE_OPEN,      "SCAN events USING INDEX idx_events_unresolved"),
        ("open",       read::OPEN_INCIDENT,     "SCAN CONSTANT ROW / SCALAR SUBQUERY 1 / SCAN events USING INDEX idx_events_unresolved"),
        ("story",      incidents::EVENTS,       "SEARCH events USING INDEX idx_events_incident_id (incident_id=?) / USE TEMP B-TREE FOR ORDER BY"),
        ("entries",    incidents::ENTRIES,      "SEARCH journal USING INTEGER PRIMARY KEY (rowid=?) / LIST SUBQUERY 1 / SEARCH incident_entries USING PRIMARY KEY (incident=?) / CREATE BLOOM FILTER"),
        ("courses",    course::COURSES,         concat!("SCAN i VIRTUAL TABLE INDEX 1:", course!("1"), course!("2"))),
        ("changing",   incidents::CHANGE,       "SCAN t VIRTUAL TABLE INDEX 1: / SEARCH incidents USING INDEX idx_incidents_id (<expr>=?)"),
        ("opening",    incidents::OPEN,         "SCAN t VIRTUAL TABLE INDEX 1: / CORRELATED SCALAR SUBQUERY 1 / SEARCH i USING INDEX idx_incidents_id (<expr>=?)"),
        ("linking",    incidents::LINK,         "SCAN t VIRTUAL TABLE INDEX 1: / SEARCH i USING INDEX idx_incidents_id (<expr>=?)"),
        ("announced",  notice::OPEN,            "SCAN notices USING INDEX idx_notices_open"),
        ("a story told", outbox::STORY,         "SEARCH journal USING INTEGER PRIMARY KEY (rowid=?) / LIST SUBQUERY 1 / SEARCH incident_entries USING PRIMARY KEY (incident=?) / CREATE BLOOM FILTER"),
        ("outbox",     outbox::WAITING,         "SEARCH outbox USING INDEX idx_outbox_waiting (channel=?)"),
        ("held back",  unmute::HELD_BACK,       "SEARCH events USING INDEX idx_events_unresolved (id>?) / CORRELATED SCALAR SUBQUERY 1 / SEARCH later USING INDEX idx_events_incident_id (incident_id=? AND rowid>?)"),
        ("was told",   outbox::WAS_TOLD,        "SEARCH outbox USING INDEX idx_outbox_incident (incident=?) / LIST SUBQUERY 1 / SCAN json_each VIRTUAL TABLE INDEX 1: / CREATE BLOOM FILTER"),
        ("called",     outbox::WAS_CALLED,      "SEARCH a USING INDEX idx_actions_incident_time (incident_id=?) / LIST SUBQUERY 1 / SCAN json_each VIRTUAL TABLE INDEX 1: / CREATE BLOOM FILTER"),
        ("journal",    journal::OF_CLUSTER,     "SEARCH journal USING INDEX idx_journal_cluster (cluster=? AND rowid>?)"),
    ];
    for (name, sql, expected) in table {
        let plan = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
        let plan = sqlx::raw_sql(plan).fetch_all(&mut conn).await.unwrap();
        let plan: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
        assert_eq!(plan.join(" / "), expected, "{name}");
    }
}
