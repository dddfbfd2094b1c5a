-- What we add: columns beside the original's, which NULL leaves as they were, and a table of our own.
-- A column that is there already stays as it is (see record/migrate.rs).

-- Identity on the wire, and what it is about. The original's rows have none of it.
ALTER TABLE events ADD COLUMN uuid TEXT;
ALTER TABLE events ADD COLUMN cluster TEXT;
ALTER TABLE events ADD COLUMN condition TEXT;
ALTER TABLE events ADD COLUMN subject TEXT;
ALTER TABLE events ADD COLUMN incident_id TEXT;
-- The summary's two parts as they were before a colon became a dash.
ALTER TABLE events ADD COLUMN title TEXT;
ALTER TABLE events ADD COLUMN message TEXT;
-- Unix milliseconds beside the original's seconds (see record/time.rs).
ALTER TABLE events ADD COLUMN at_ms INTEGER;
ALTER TABLE events ADD COLUMN resolved_ms INTEGER;
-- Resolving an incident looks for its earlier events.
CREATE INDEX IF NOT EXISTS idx_events_incident_id ON events(incident_id) WHERE incident_id IS NOT NULL;
-- What waits to be over: few rows among many. In the very words of the question in record/read.rs, or SQLite would
-- not use it.
CREATE INDEX IF NOT EXISTS idx_events_unresolved ON events(id) WHERE coalesce(resolved, 0) = 0
    AND NOT (source = 'monitor' AND type IN ('status', 'metric') AND incident_id IS NULL);

ALTER TABLE autonomy_actions ADD COLUMN cluster TEXT;
ALTER TABLE autonomy_actions ADD COLUMN at_ms INTEGER;

ALTER TABLE cluster_snapshots ADD COLUMN cluster TEXT;
ALTER TABLE cluster_snapshots ADD COLUMN at_ms INTEGER;

-- Where the engine goes on after a restart: one row per cluster, replaced each time.
CREATE TABLE IF NOT EXISTS checkpoints (
    cluster TEXT PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    state TEXT NOT NULL
) STRICT;
