"""The tables of a service's SQLite file."""

__all__ = ["APPLICATION_ID", "SCHEMA", "SCHEMA_VERSION"]

APPLICATION_ID = 0x436F6C6E
"""Tells a store from other SQLite files (`Coln`)."""

SCHEMA_VERSION = 9

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    position INTEGER PRIMARY KEY,
    stream TEXT NOT NULL,
    version INTEGER NOT NULL,
    id BLOB NOT NULL,
    name TEXT NOT NULL,
    schema INTEGER NOT NULL,
    data BLOB NOT NULL,
    time INTEGER NOT NULL,
    correlation BLOB NOT NULL,
    causation BLOB,
    principal TEXT
) STRICT;
CREATE UNIQUE INDEX events_by_stream ON events (stream, version);
CREATE INDEX events_by_name ON events (name);

CREATE TABLE snapshots (
    stream TEXT PRIMARY KEY, version INTEGER NOT NULL, schema INTEGER NOT NULL, data BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    key TEXT NOT NULL,
    id BLOB NOT NULL,
    envelope BLOB NOT NULL,
    time INTEGER NOT NULL
) STRICT;

CREATE TABLE relayed (
    topic TEXT NOT NULL, partition INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (topic, partition)
) STRICT, WITHOUT ROWID;

-- The last message of each chain that went for good
CREATE TABLE pruned (
    topic TEXT NOT NULL, partition INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (topic, partition)
) STRICT, WITHOUT ROWID;

CREATE TABLE chains (
    id INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    history BLOB NOT NULL,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    received INTEGER NOT NULL,
    UNIQUE (source, history, topic, partition)
) STRICT;

CREATE TABLE inbox (
    row INTEGER PRIMARY KEY,
    chain INTEGER NOT NULL,
    consumer TEXT NOT NULL,
    key TEXT NOT NULL,
    seq INTEGER NOT NULL,
    prev INTEGER NOT NULL,
    ready INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    sent_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    parked_at INTEGER,
    holds INTEGER NOT NULL DEFAULT 0,
    cause TEXT,
    envelope BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX inbox_by_line ON inbox (consumer, key, chain, seq);
CREATE INDEX inbox_early ON inbox (chain, seq) WHERE NOT ready;
CREATE INDEX inbox_parked ON inbox (row) WHERE parked_at IS NOT NULL;

-- One row a live line: workers look here only, however many messages wait behind
CREATE TABLE heads (
    consumer TEXT NOT NULL,
    key TEXT NOT NULL,
    chain INTEGER NOT NULL,
    row INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    sent_at INTEGER NOT NULL,
    held INTEGER NOT NULL,
    not_before INTEGER NOT NULL,
    PRIMARY KEY (consumer, key, chain)
) STRICT, WITHOUT ROWID;
CREATE INDEX heads_by_turn ON heads (consumer, not_before, sent_at, row) WHERE NOT held;

CREATE TABLE kept_aside (
    row INTEGER PRIMARY KEY,
    origin TEXT NOT NULL,
    reason TEXT NOT NULL,
    data BLOB NOT NULL,
    received_at INTEGER NOT NULL
) STRICT;

-- What is missing in a chain and will not come; a row that was passed over stays as the record of that
CREATE TABLE losses (
    row INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    history BLOB NOT NULL,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    after INTEGER NOT NULL,
    up_to INTEGER NOT NULL,
    reason TEXT NOT NULL,
    since INTEGER NOT NULL,
    passed_at INTEGER,
    passed_by TEXT,
    UNIQUE (source, history, topic, partition, after)
) STRICT;

CREATE TABLE timers (
    name TEXT PRIMARY KEY,
    due INTEGER NOT NULL,
    kind TEXT NOT NULL,
    target TEXT NOT NULL,
    key TEXT NOT NULL,
    lane TEXT NOT NULL,
    id BLOB,
    envelope BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX timers_by_due ON timers (due);

CREATE TABLE answers (
    scope TEXT PRIMARY KEY, fingerprint BLOB NOT NULL, response BLOB NOT NULL, expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX answers_by_expiry ON answers (expires);

-- One row for each who waits for an outcome
CREATE TABLE deferrals (
    key TEXT NOT NULL, reply_to TEXT NOT NULL, reply_key TEXT NOT NULL, PRIMARY KEY (key, reply_to, reply_key)
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoints (projection TEXT PRIMARY KEY, position INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- One row a projection: the build that it is read from
CREATE TABLE projections (name TEXT PRIMARY KEY, active INTEGER NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE builds (
    number INTEGER PRIMARY KEY,
    projection TEXT NOT NULL,
    shape TEXT NOT NULL,
    filling TEXT NOT NULL,
    tables TEXT NOT NULL
) STRICT;

CREATE TABLE held_streams (
    build INTEGER NOT NULL,
    stream TEXT NOT NULL,
    version INTEGER NOT NULL,
    position INTEGER NOT NULL,
    cause TEXT NOT NULL,
    PRIMARY KEY (build, stream)
) STRICT, WITHOUT ROWID;

-- The service's tables that no projection owns, and the shape in which code of a version knows them
CREATE TABLE own_tables (
    name TEXT NOT NULL, version INTEGER NOT NULL, shape TEXT NOT NULL, PRIMARY KEY (name, version)
) STRICT, WITHOUT ROWID;

-- The lines of migrations: the version of their tables. One process has the file: the oldest code that may use them is
-- the newest, and nobody need be registered.
CREATE TABLE versions (line TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- Every statement of a migration that was carried out
CREATE TABLE migrations (
    line TEXT NOT NULL,
    number INTEGER NOT NULL,
    part TEXT NOT NULL,
    statement INTEGER NOT NULL,
    sql TEXT NOT NULL,
    PRIMARY KEY (line, number, part, statement)
) STRICT, WITHOUT ROWID;

CREATE TABLE leases (
    name TEXT PRIMARY KEY, owner TEXT NOT NULL, epoch INTEGER NOT NULL, expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""
