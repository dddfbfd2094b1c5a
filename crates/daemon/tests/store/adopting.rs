//! A file of the original becomes ours: what is added to it, and that nothing else is.

use std::path::Path;

use daemon::record::Store;
use expect_test::expect;

use super::help::{Folder, read_column, run};

#[tokio::test]
async fn adopting_a_file_only_adds_to_it() {
    let folder = Folder::new();
    let path = folder.original().await;
    let before = layout(&path).await;
    let rows_before = rows_of_the_four(&path).await;
    Store::open(&path).await.unwrap().close().await;
    let after = layout(&path).await;
    let gone: Vec<&String> = before.iter().filter(|line| !after.contains(line)).collect();
    assert_eq!(gone, Vec::<&String>::new(), "taken away by the migration");
    assert_eq!(rows_before, rows_of_the_four(&path).await, "the original's columns of every row");
    let added: Vec<&str> = after.iter().filter(|line| !before.contains(line)).map(String::as_str).collect();
    expect![[r#"
        api_tokens.id TEXT NOT NULL KEY
        api_tokens.user TEXT NOT NULL
        api_tokens.name TEXT NOT NULL
        api_tokens.digest BLOB NOT NULL
        api_tokens.role TEXT NOT NULL
        api_tokens.clusters TEXT
        api_tokens.created_ms INTEGER NOT NULL
        api_tokens.expires_ms INTEGER
        api_tokens.last_used_ms INTEGER
        api_tokens.revoked_ms INTEGER
        autonomy_actions.cluster TEXT
        autonomy_actions.at_ms INTEGER
        checkpoints.cluster TEXT NOT NULL KEY
        checkpoints.at_ms INTEGER NOT NULL
        checkpoints.state TEXT NOT NULL
        checkpoints.journal_seq INTEGER NOT NULL DEFAULT 0
        cluster_snapshots.cluster TEXT
        cluster_snapshots.at_ms INTEGER
        events.uuid TEXT
        events.cluster TEXT
        events.condition TEXT
        events.subject TEXT
        events.incident_id TEXT
        events.title TEXT
        events.message TEXT
        events.at_ms INTEGER
        events.resolved_ms INTEGER
        incident_entries.incident INTEGER NOT NULL KEY
        incident_entries.journal_seq INTEGER NOT NULL KEY
        incidents.seq INTEGER KEY
        incidents.id TEXT NOT NULL
        incidents.cluster TEXT NOT NULL
        incidents.condition TEXT NOT NULL
        incidents.severity TEXT NOT NULL
        incidents.subject TEXT NOT NULL
        incidents.name TEXT
        incidents.node TEXT
        incidents.group_id TEXT
        incidents.opened_ms INTEGER NOT NULL
        incidents.turned_ms INTEGER
        incidents.resolved_ms INTEGER
        incidents.resolution TEXT
        incidents.details TEXT
        jarvis_schema.version INTEGER KEY
        jarvis_schema.name TEXT NOT NULL
        jarvis_schema.applied_at TEXT NOT NULL
        journal.seq INTEGER KEY
        journal.at_ms INTEGER NOT NULL
        journal.cluster TEXT
        journal.kind TEXT NOT NULL
        journal.entry TEXT NOT NULL
        journal.prev BLOB NOT NULL
        journal.hash BLOB NOT NULL
        journal_anchor.id INTEGER KEY
        journal_anchor.seq INTEGER NOT NULL
        journal_anchor.hash BLOB NOT NULL
        journal_anchor.signature BLOB NOT NULL
        known_peers.user TEXT NOT NULL KEY
        known_peers.peer TEXT NOT NULL KEY
        known_peers.seen_ms INTEGER NOT NULL
        notices.seq INTEGER KEY
        notices.id TEXT NOT NULL
        notices.kind TEXT NOT NULL
        notices.cluster TEXT
        notices.about TEXT NOT NULL
        notices.condition TEXT
        notices.note TEXT NOT NULL
        notices.made_by TEXT NOT NULL
        notices.made_ms INTEGER NOT NULL
        notices.from_ms INTEGER
        notices.until_ms INTEGER
        notices.days TEXT
        notices.at_local TEXT
        notices.minutes INTEGER
        notices.zone TEXT
        notices.ended_ms INTEGER
        notices.ended_by TEXT
        outbox.id INTEGER KEY
        outbox.channel TEXT NOT NULL
        outbox.urgency TEXT NOT NULL
        outbox.made_ms INTEGER NOT NULL
        outbox.event INTEGER NOT NULL
        outbox.cluster TEXT
        outbox.incident TEXT
        outbox.content TEXT NOT NULL
        outbox.action INTEGER
        outbox.message TEXT
        outbox.tries INTEGER NOT NULL DEFAULT 0
        outbox.delivered_ms INTEGER
        outbox.gave_up_ms INTEGER
        outbox.last_error TEXT
        outbox_channels.name TEXT NOT NULL KEY
        outbox_channels.kind TEXT NOT NULL
        outbox_channels.least TEXT NOT NULL
        outbox_channels.in_use INTEGER NOT NULL
        outbox_channels.failures INTEGER NOT NULL DEFAULT 0
        outbox_channels.failing_since_ms INTEGER
        outbox_channels.next_try_ms INTEGER
        outbox_channels.reported_ms INTEGER
        outbox_channels.last_ok_ms INTEGER
        outbox_channels.last_error TEXT
        outbox_channels.last_error_ms INTEGER
        outbox_channels.delivered INTEGER NOT NULL DEFAULT 0
        outbox_channels.refused INTEGER NOT NULL DEFAULT 0
        outbox_channels.expired INTEGER NOT NULL DEFAULT 0
        outbox_channels.dropped INTEGER NOT NULL DEFAULT 0
        outbox_channels.untold INTEGER NOT NULL DEFAULT 0
        outbox_channels.told_event INTEGER
        sessions.digest BLOB NOT NULL KEY
        sessions.user TEXT NOT NULL
        sessions.cookie INTEGER NOT NULL
        sessions.created_ms INTEGER NOT NULL
        sessions.expires_ms INTEGER NOT NULL
        users.name TEXT NOT NULL KEY
        users.role TEXT NOT NULL
        users.clusters TEXT
        users.password TEXT
        users.created_ms INTEGER NOT NULL
        users.disabled_ms INTEGER
        CREATE INDEX idx_actions_cluster_time ON autonomy_actions(cluster, timestamp) WHERE cluster IS NOT NULL
        CREATE INDEX idx_actions_condition_time ON autonomy_actions(condition, timestamp)
        CREATE INDEX idx_actions_incident_time ON autonomy_actions(incident_id, timestamp)
        CREATE INDEX idx_actions_key_time ON autonomy_actions(incident_key, timestamp)
        CREATE INDEX idx_actions_node_time ON autonomy_actions(node, timestamp) WHERE node IS NOT NULL
        CREATE INDEX idx_actions_result_time ON autonomy_actions(result, timestamp)
        CREATE INDEX idx_events_incident_id ON events(incident_id) WHERE incident_id IS NOT NULL
        CREATE INDEX idx_events_severity_time ON events(severity, timestamp)
        CREATE INDEX idx_events_source_time ON events(source, timestamp) WHERE source <> 'monitor'
        CREATE INDEX idx_events_unresolved ON events(id) WHERE coalesce(resolved, 0) = 0
            AND NOT (source = 'monitor' AND type IN ('status', 'metric') AND incident_id IS NULL)
        CREATE INDEX idx_incidents_id ON incidents(substr(id, 1, 6))
        CREATE INDEX idx_incidents_open ON incidents(opened_ms) WHERE resolved_ms IS NULL
        CREATE INDEX idx_incidents_opened ON incidents(opened_ms)
        CREATE INDEX idx_incidents_resolved ON incidents(resolved_ms) WHERE resolved_ms IS NOT NULL
        CREATE INDEX idx_journal_cluster ON journal(cluster)
        CREATE INDEX idx_journal_kind_time ON journal(kind, at_ms)
        CREATE INDEX idx_journal_time ON journal(at_ms)
        CREATE INDEX idx_notices_open ON notices(made_ms) WHERE ended_ms IS NULL
        CREATE INDEX idx_outbox_done ON outbox(made_ms)
        CREATE INDEX idx_outbox_waiting ON outbox(channel, urgency, id)
            WHERE delivered_ms IS NULL AND gave_up_ms IS NULL
        sqlite_autoindex_api_tokens_1
        sqlite_autoindex_api_tokens_2
        sqlite_autoindex_checkpoints_1
        sqlite_autoindex_known_peers_1
        sqlite_autoindex_notices_1
        sqlite_autoindex_outbox_channels_1
        sqlite_autoindex_sessions_1
        sqlite_autoindex_users_1"#]]
    .assert_eq(&added.join("\n"));
}

#[tokio::test]
async fn a_column_of_ours_that_is_there_already_is_kept() {
    let folder = Folder::new();
    let path = folder.original().await;
    run(&path, "ALTER TABLE events ADD COLUMN title TEXT; UPDATE events SET title = 'by hand' WHERE id = 2")
        .await;
    let store = Store::open(&path).await.unwrap();
    let row = &store.get_events_after_seq(1, 1).await.unwrap()[0];
    assert_eq!((row.title.as_str(), row.message.as_str()), ("by hand", "qemu/101 running to stopped"));
}

/// Every column, as SQLite itself describes it, and every index: one line each.
async fn layout(path: &Path) -> Vec<String> {
    let columns = "SELECT t.name || '.' || c.name || ' ' || c.type || iif(c.\"notnull\", ' NOT NULL', '') || \
                   coalesce(' DEFAULT ' || c.dflt_value, '') || iif(c.pk, ' KEY', '') \
                   FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table' ORDER BY t.name, c.cid";
    let indexes = "SELECT coalesce(sql, name) FROM sqlite_schema WHERE type = 'index' ORDER BY name";
    let checks = "SELECT name || ' has ' || (length(sql) - length(replace(sql, 'CHECK', ''))) / 5 || ' checks' \
                  FROM sqlite_schema WHERE type = 'table' ORDER BY name";
    let mut lines = read_column(path, columns).await;
    lines.extend(read_column(path, indexes).await);
    lines.extend(read_column(path, checks).await);
    lines
}

/// The original's columns of every row.
async fn rows_of_the_four(path: &Path) -> Vec<String> {
    let mut rows = Vec::new();
    for sql in [
        "SELECT json_array(id, timestamp, type, severity, source, node, summary, hex(details), resolved, \
         resolved_at, resolved_by) FROM events ORDER BY id",
        "SELECT json_array(id, timestamp, incident_key, incident_id, runbook_id, condition, action, action_args, \
         result, result_details, verification_result, autonomy_level, node, attempt_number, escalated, email_sent) \
         FROM autonomy_actions ORDER BY id",
        "SELECT json_array(key, value, updated_at) FROM preferences ORDER BY key",
        "SELECT json_array(id, timestamp, snapshot) FROM cluster_snapshots ORDER BY id",
    ] {
        rows.extend(read_column(path, sql).await);
    }
    assert_eq!(rows.len(), 16);
    rows
}
