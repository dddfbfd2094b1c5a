-- The incidents: what the journal says of each, as one row (see record/incidents.rs). Rows of before this table are
-- taken from the journal, and where that does not reach, from the events.
CREATE TABLE IF NOT EXISTS incidents (
    -- In the order in which they were recorded.
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The engine's UUID; two engines may make the same one.
    id TEXT NOT NULL,
    cluster TEXT NOT NULL,
    -- As it is now, or was at the end.
    condition TEXT NOT NULL,
    severity TEXT NOT NULL,
    subject TEXT NOT NULL,
    name TEXT,
    node TEXT,
    -- The event that it was told with, where that was one for many.
    group_id TEXT,
    -- Unix milliseconds.
    opened_ms INTEGER NOT NULL,
    turned_ms INTEGER,
    resolved_ms INTEGER,
    -- How it ended: a word.
    resolution TEXT,
    -- JSON: the facts of the event that it was last told with.
    details TEXT
) STRICT;
-- By the id's beginning alone: UUIDs come in no order, so each new one dirties a page of its own, and a third of the
-- bytes are a third of the pages.
CREATE INDEX IF NOT EXISTS idx_incidents_id ON incidents(substr(id, 1, 6));
-- Each list is a walk down one of these, newest first. There are few incidents: nothing else is worth an index.
CREATE INDEX IF NOT EXISTS idx_incidents_opened ON incidents(opened_ms);
CREATE INDEX IF NOT EXISTS idx_incidents_open ON incidents(opened_ms) WHERE resolved_ms IS NULL;
-- What is old goes by when it ended.
CREATE INDEX IF NOT EXISTS idx_incidents_resolved ON incidents(resolved_ms) WHERE resolved_ms IS NOT NULL;

-- Which rows of the journal tell an incident's story.
CREATE TABLE IF NOT EXISTS incident_entries (
    -- incidents.seq: numbers that only grow cost less than UUIDs.
    incident INTEGER NOT NULL,
    journal_seq INTEGER NOT NULL,
    PRIMARY KEY (incident, journal_seq)
) STRICT, WITHOUT ROWID;

-- The lists of events: by what is rare and worth finding among a million. Each index is paid for by every event, so there
-- are few; by anything else a list walks down the time, a bounded piece a page (docs/adr/0015-v1-reads.md).
CREATE INDEX IF NOT EXISTS idx_events_severity_time ON events(severity, timestamp);
CREATE INDEX IF NOT EXISTS idx_events_source_time ON events(source, timestamp) WHERE source <> 'monitor';
-- And of the actions.
CREATE INDEX IF NOT EXISTS idx_actions_key_time ON autonomy_actions(incident_key, timestamp);
CREATE INDEX IF NOT EXISTS idx_actions_incident_time ON autonomy_actions(incident_id, timestamp);
CREATE INDEX IF NOT EXISTS idx_actions_node_time ON autonomy_actions(node, timestamp) WHERE node IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_actions_result_time ON autonomy_actions(result, timestamp);
CREATE INDEX IF NOT EXISTS idx_actions_condition_time ON autonomy_actions(condition, timestamp);
CREATE INDEX IF NOT EXISTS idx_actions_cluster_time ON autonomy_actions(cluster, timestamp) WHERE cluster IS NOT NULL;
-- And of the journal.
CREATE INDEX IF NOT EXISTS idx_journal_time ON journal(at_ms);
CREATE INDEX IF NOT EXISTS idx_journal_kind_time ON journal(kind, at_ms);
