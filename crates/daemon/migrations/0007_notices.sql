-- What operators announce: work on something (maintenance), and of what people are not to be told (silences). See
-- record/notice.rs. A row stays when it is over: what was announced is part of the story of what happened then.
CREATE TABLE IF NOT EXISTS notices (
    -- In the order in which they were made.
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    -- A UUID.
    id TEXT NOT NULL UNIQUE,
    -- maintenance or silence.
    kind TEXT NOT NULL,
    -- NULL: every cluster.
    cluster TEXT,
    -- What is meant: node/pve1, qemu/101, tag:web, cluster.
    about TEXT NOT NULL,
    -- The condition that a silence is for; NULL: all of them.
    condition TEXT,
    note TEXT NOT NULL,
    made_by TEXT NOT NULL,
    -- Unix milliseconds.
    made_ms INTEGER NOT NULL,
    -- Once: from here until there. Each week: neither.
    from_ms INTEGER,
    until_ms INTEGER,
    -- Each week: mon,thu at 02:00 of this zone's clocks for so many minutes.
    days TEXT,
    at_local TEXT,
    minutes INTEGER,
    zone TEXT,
    -- When somebody ended it before its time, and who.
    ended_ms INTEGER,
    ended_by TEXT
) STRICT;
-- What lasts or is to come is asked for each few seconds; what is over stays out of the way.
CREATE INDEX IF NOT EXISTS idx_notices_open ON notices(made_ms) WHERE ended_ms IS NULL;
