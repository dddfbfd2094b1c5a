-- Who may ask: users, what their programs show instead of a password, and who is logged in (see record/users.rs).
-- No secret is in here that somebody could use: passwords as Argon2id hashes, tokens as SHA-256 of 256 random bits.
CREATE TABLE IF NOT EXISTS users (
    name TEXT PRIMARY KEY,
    -- viewer, operator, admin.
    role TEXT NOT NULL,
    -- A JSON list of names; NULL: all.
    clusters TEXT,
    -- NULL: nobody logs in with one.
    password TEXT,
    created_ms INTEGER NOT NULL,
    disabled_ms INTEGER
) STRICT;

CREATE TABLE IF NOT EXISTS api_tokens (
    id TEXT PRIMARY KEY,
    user TEXT NOT NULL,
    name TEXT NOT NULL,
    digest BLOB NOT NULL UNIQUE,
    role TEXT NOT NULL,
    clusters TEXT,
    created_ms INTEGER NOT NULL,
    -- NULL: never.
    expires_ms INTEGER,
    last_used_ms INTEGER,
    revoked_ms INTEGER
) STRICT;

CREATE TABLE IF NOT EXISTS sessions (
    digest BLOB PRIMARY KEY,
    user TEXT NOT NULL,
    -- 1: of a page, in a cookie. 0: of a program, shown as a bearer token.
    cookie INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT;

-- From where somebody has logged in before: who guesses elsewhere does not slow them down there.
CREATE TABLE IF NOT EXISTS known_peers (
    user TEXT NOT NULL,
    peer TEXT NOT NULL,
    seen_ms INTEGER NOT NULL,
    PRIMARY KEY (user, peer)
) STRICT;
