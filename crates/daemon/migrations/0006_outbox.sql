-- What people are told by mail and webhook: put in with the event that it tells of, taken out when it was accepted
-- (see record/outbox.rs).

-- To whom, and how that goes. One for each address and each webhook, so that one which fails holds up no other.
CREATE TABLE IF NOT EXISTS outbox_channels (
    -- `mail:admin@example.org`, `webhook:pager`.
    name TEXT PRIMARY KEY,
    -- mail, webhook.
    kind TEXT NOT NULL,
    -- The least severity of what goes into its reports.
    least TEXT NOT NULL,
    -- 0: not configured any more.
    in_use INTEGER NOT NULL,
    -- Tries in a row that failed, and when the next one may be. Unix milliseconds, here and below.
    failures INTEGER NOT NULL DEFAULT 0,
    failing_since_ms INTEGER,
    next_try_ms INTEGER,
    -- When the last report was accepted.
    reported_ms INTEGER,
    last_ok_ms INTEGER,
    last_error TEXT,
    last_error_ms INTEGER,
    -- Messages that were accepted; what was given up, because it was refused, too old, or too much.
    delivered INTEGER NOT NULL DEFAULT 0,
    refused INTEGER NOT NULL DEFAULT 0,
    expired INTEGER NOT NULL DEFAULT 0,
    dropped INTEGER NOT NULL DEFAULT 0,
    -- Given up, and not yet said so in a message that was accepted.
    untold INTEGER NOT NULL DEFAULT 0,
    -- The event that tells that it fails (events.id), while that is not over.
    told_event INTEGER
) STRICT;

CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    channel TEXT NOT NULL,
    -- call: a message of its own, at once. report: one of several.
    urgency TEXT NOT NULL,
    made_ms INTEGER NOT NULL,
    -- events.id.
    event INTEGER NOT NULL,
    cluster TEXT,
    incident TEXT,
    -- JSON: the event, and of a call the story of its incident as it was then.
    content TEXT NOT NULL,
    -- The row of autonomy_actions whose email_sent it decides.
    action INTEGER,
    -- The message that it goes with (a UUID): set before the first try, so that each later one is the same message.
    message TEXT,
    tries INTEGER NOT NULL DEFAULT 0,
    delivered_ms INTEGER,
    gave_up_ms INTEGER,
    last_error TEXT
) STRICT;
-- What waits: few rows among many. In the very words of the questions in record/outbox.rs.
CREATE INDEX IF NOT EXISTS idx_outbox_waiting ON outbox(channel, urgency, id)
    WHERE delivered_ms IS NULL AND gave_up_ms IS NULL;
CREATE INDEX IF NOT EXISTS idx_outbox_done ON outbox(made_ms);
