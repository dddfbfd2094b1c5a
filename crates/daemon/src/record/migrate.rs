//! Brings a file up to our schema. Migrations only add: no column of the original is renamed, retyped or dropped,
//! so that its programs and scripts can go on reading the file.
//!
//! sqlx's own migrator is not used: SQLite cannot add a column *if it is absent*, and a file may well have one of
//! them already, from a hand or a restore.

use jiff::Timestamp;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::{incidents, time};

struct Migration {
    version: i64,
    name: &'static str,
    /// Statements end with `;` at the end of a line; there are no triggers.
    sql: &'static str,
}

const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "original", sql: include_str!("../../migrations/0001_original.sql") },
    Migration { version: 2, name: "ours", sql: include_str!("../../migrations/0002_ours.sql") },
    Migration { version: 3, name: "journal", sql: include_str!("../../migrations/0003_journal.sql") },
    Migration { version: 4, name: "users", sql: include_str!("../../migrations/0004_users.sql") },
    Migration { version: 5, name: "incidents", sql: include_str!("../../migrations/0005_incidents.sql") },
    Migration { version: 6, name: "outbox", sql: include_str!("../../migrations/0006_outbox.sql") },
    Migration { version: 7, name: "notices", sql: include_str!("../../migrations/0007_notices.sql") },
];

/// The schema that this version brings a file up to.
pub(super) fn newest() -> i64 {
    MIGRATIONS.last().map_or(0, |migration| migration.version)
}

/// The columns without which a table is not the original's, whatever it is called.
const ORIGINAL: [(&str, &[&str]); 4] = [
    (
        "events",
        &[
            "id",
            "timestamp",
            "type",
            "severity",
            "source",
            "node",
            "summary",
            "details",
            "resolved",
            "resolved_at",
            "resolved_by",
        ],
    ),
    (
        "autonomy_actions",
        &[
            "id",
            "timestamp",
            "incident_key",
            "incident_id",
            "runbook_id",
            "condition",
            "action",
            "action_args",
            "result",
            "result_details",
            "verification_result",
            "autonomy_level",
            "node",
            "attempt_number",
            "escalated",
            "email_sent",
        ],
    ),
    ("preferences", &["key", "value", "updated_at"]),
    ("cluster_snapshots", &["id", "timestamp", "snapshot"]),
];

/// Why a file was not brought up to our schema. It is then as it was.
#[derive(Debug)]
pub(super) enum Refusal {
    /// A later version has been here.
    Newer {
        found: i64,
        known: i64,
    },
    /// A table of the original's name is not the original's.
    Foreign {
        table: &'static str,
        column: &'static str,
    },
    Sqlite(sqlx::Error),
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Refusal {
        Refusal::Sqlite(error)
    }
}

/// All or nothing, in one transaction. Returns the names of the migrations that were run.
pub(super) async fn migrate(
    conn: &mut SqliteConnection,
    now: Timestamp,
) -> Result<Vec<&'static str>, Refusal> {
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *conn).await?;
    match migrate_within(conn, now).await {
        Ok(run) => {
            sqlx::query("COMMIT").execute(conn).await?;
            Ok(run)
        }
        Err(refusal) => {
            // The connection is given up in either case; SQLite itself has rolled back after a full disk.
            if let Err(error) = sqlx::query("ROLLBACK").execute(conn).await {
                tracing::debug!(%error, "nothing to roll back");
            }
            Err(refusal)
        }
    }
}

async fn migrate_within(conn: &mut SqliteConnection, now: Timestamp) -> Result<Vec<&'static str>, Refusal> {
    for (table, required) in ORIGINAL {
        let present = columns(conn, table).await?;
        let missing = required.iter().find(|column| !present.iter().any(|name| name == *column));
        if let Some(column) = missing.filter(|_| !present.is_empty()) {
            return Err(Refusal::Foreign { table, column });
        }
    }
    sqlx::query(
        "CREATE TABLE IF NOT EXISTS jarvis_schema \
         (version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at TEXT NOT NULL) STRICT",
    )
    .execute(&mut *conn)
    .await?;
    let found = sqlx::query("SELECT COALESCE(MAX(version), 0) AS version FROM jarvis_schema")
        .fetch_one(&mut *conn)
        .await?
        .try_get("version")?;
    let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default();
    if found > known {
        return Err(Refusal::Newer { found, known });
    }
    let mut run = Vec::new();
    for migration in MIGRATIONS.iter().filter(|migration| migration.version > found) {
        for statement in statements(migration.sql) {
            apply(conn, &statement).await?;
        }
        if migration.name == "incidents" {
            incidents::fill(conn).await?;
        }
        sqlx::query("INSERT INTO jarvis_schema (version, name, applied_at) VALUES (?1, ?2, ?3)")
            .bind(migration.version)
            .bind(migration.name)
            .bind(time::to_text(now))
            .execute(&mut *conn)
            .await?;
        run.push(migration.name);
    }
    Ok(run)
}

async fn apply(conn: &mut SqliteConnection, statement: &str) -> Result<(), sqlx::Error> {
    let words: Vec<&str> = statement.split_whitespace().take(6).collect();
    if let ["ALTER", "TABLE", table, "ADD", "COLUMN", column] = words[..]
        && columns(conn, table).await?.iter().any(|name| name == column)
    {
        return Ok(());
    }
    // The text comes from the files of this crate.
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(conn).await.map(drop)
}

/// The names of a table's columns; none when there is no such table.
async fn columns(conn: &mut SqliteConnection, table: &str) -> Result<Vec<String>, sqlx::Error> {
    let rows =
        sqlx::query("SELECT name FROM pragma_table_info(?1)").bind(table.to_owned()).fetch_all(conn).await?;
    rows.iter().map(|row| row.try_get("name")).collect()
}

/// The statements of a migration, without its comments.
fn statements(sql: &str) -> Vec<String> {
    let lines = sql.lines().filter(|line| !line.trim_start().starts_with("--"));
    let sql: String = lines.flat_map(|line| [line, "\n"]).collect();
    sql.split(";\n").map(str::trim).filter(|statement| !statement.is_empty()).map(str::to_owned).collect()
}
