-- The journal: what happened, in order, each row chained to the one before it by its hash (see record/journal.rs).
-- `events` is its projection for people and programs.
CREATE TABLE IF NOT EXISTS journal (
    -- Without a gap, and never used twice; given by us, so that a row that was taken away leaves a hole.
    seq INTEGER PRIMARY KEY,
    -- Unix milliseconds.
    at_ms INTEGER NOT NULL,
    -- NULL: the store itself.
    cluster TEXT,
    -- What kind of row it is, to be looked for without reading the entry.
    kind TEXT NOT NULL,
    -- JSON.
    entry TEXT NOT NULL,
    -- The hash of the row before it, and its own: 32 bytes each.
    prev BLOB NOT NULL,
    hash BLOB NOT NULL
) STRICT;
-- A cluster's engine goes on from the rows after its checkpoint.
CREATE INDEX IF NOT EXISTS idx_journal_cluster ON journal(cluster);

-- The last row that was pruned, signed: where the rest of the chain hangs. One row, or none before the first pruning.
CREATE TABLE IF NOT EXISTS journal_anchor (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL,
    signature BLOB NOT NULL
) STRICT;

-- The last row of the journal that a checkpoint includes. Those of before the journal include none.
ALTER TABLE checkpoints ADD COLUMN journal_seq INTEGER NOT NULL DEFAULT 0;
