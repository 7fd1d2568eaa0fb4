-- The tables of a service's store, or of one tenant of it: all in one schema.
--
-- Whatever is deleted from, or updated all the time, says how it is kept clean; the defaults, a fifth of a table at a
-- leisurely pace, are for tables that grow. Measured on PostgreSQL 18, a busy machine, looks for the first row:
--   * A queue (inbox, heads, timers, deferrals) is nearly empty, and a share of nothing is nothing: vacuumed after 2,000
--     dead rows, which cost a look 1 to 6 ms; 100,000 cost it 49 ms. Without rests, for there is little to do.
--   * The outbox is a queue of a million rows: its dead lie together at the low end, so that a vacuum after 2,000 passes
--     the indexes over and takes 16 to 30 ms, after 50,000 120 ms. What prunes looks there, what relays does not.
--   * A few rows that are updated many times a second (marks, checkpoints, leases, registrations) are cleaned by each
--     update itself where the new row fits on the page of the old: half of each page is left free. Of 22,400 updates of
--     56 rows all did, and 56 dead rows stayed; with full pages twice the room was taken and 144 stayed.
-- Text is compared byte by byte, as SQLite does, so that names come in one order on both engines.

CREATE TABLE store (
    history uuid NOT NULL,
    partitions integer NOT NULL,
    server bigint NOT NULL,
    timeline bigint NOT NULL,
    copy oid NOT NULL,
    one boolean PRIMARY KEY DEFAULT true CHECK (one)
);

-- The histories before the present one, each with the position up to which the next has the same
CREATE TABLE histories (
    history uuid PRIMARY KEY, shared bigint NOT NULL, number integer GENERATED ALWAYS AS IDENTITY
);

-- One sequence for the log and the outbox: one lock and one horizon for both. The first value is burnt, so that
-- last_value is always that of a position which was given out.
CREATE SEQUENCE positions AS bigint CACHE 1;
SELECT nextval('positions');

CREATE TABLE events (
    position bigint PRIMARY KEY,
    stream text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    id uuid NOT NULL,
    name text COLLATE "C" NOT NULL,
    schema integer NOT NULL,
    data bytea NOT NULL,
    time bigint NOT NULL,
    correlation uuid NOT NULL,
    causation uuid,
    principal text COLLATE "C"
);
CREATE UNIQUE INDEX events_by_stream ON events (stream, version);
CREATE INDEX events_by_name ON events (name, position);

-- A large row for each aggregate, replaced now and then: a twentieth of them may be dead
CREATE TABLE snapshots (
    stream text COLLATE "C" PRIMARY KEY, version integer NOT NULL, schema integer NOT NULL, data bytea NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.05);

CREATE TABLE outbox (
    seq bigint PRIMARY KEY,
    topic text COLLATE "C" NOT NULL,
    partition integer NOT NULL,
    key text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    envelope bytea NOT NULL,
    time bigint NOT NULL
) WITH (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 10000
);
-- A consumer asks for what it misses of one chain, among days of all others'
CREATE INDEX outbox_by_chain ON outbox (topic, partition, seq);

CREATE TABLE relayed (
    topic text COLLATE "C" NOT NULL, partition integer NOT NULL, seq bigint NOT NULL, PRIMARY KEY (topic, partition)
) WITH (fillfactor = 50);

-- The last message of each chain that went for good. Beside `relayed`, so that who prunes and who relays never wait for
-- each other.
CREATE TABLE pruned (
    topic text COLLATE "C" NOT NULL, partition integer NOT NULL, seq bigint NOT NULL, PRIMARY KEY (topic, partition)
) WITH (fillfactor = 50);

CREATE TABLE chains (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source text COLLATE "C" NOT NULL,
    history uuid NOT NULL,
    topic text COLLATE "C" NOT NULL,
    partition integer NOT NULL,
    received bigint NOT NULL,
    UNIQUE (source, history, topic, partition)
) WITH (fillfactor = 50);

-- Its first value is burnt as well: a first row that changed no last_value would be looked for in vain
CREATE SEQUENCE inbox_rows AS bigint CACHE 1;
SELECT nextval('inbox_rows');

CREATE TABLE inbox (
    id bigint PRIMARY KEY,
    chain integer NOT NULL,
    consumer text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    prev bigint NOT NULL,
    ready boolean NOT NULL,
    received_at bigint NOT NULL,
    sent_at bigint NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    parked_at bigint,
    holds boolean NOT NULL DEFAULT false,
    cause text,
    envelope bytea NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
CREATE UNIQUE INDEX inbox_by_line ON inbox (consumer, key, chain, seq);
CREATE INDEX inbox_early ON inbox (chain, seq) WHERE NOT ready;
CREATE INDEX inbox_parked ON inbox (id) WHERE parked_at IS NOT NULL;

-- One row a live line: workers look here only, however many messages wait behind
CREATE TABLE heads (
    consumer text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    chain integer NOT NULL,
    id bigint NOT NULL,
    seq bigint NOT NULL,
    sent_at bigint NOT NULL,
    held boolean NOT NULL,
    not_before bigint NOT NULL,
    -- What instances of the service divide among them, as many as `persistence.slots` says
    slot smallint NOT NULL GENERATED ALWAYS AS (hashtext(key) & 15) STORED,
    PRIMARY KEY (consumer, key, chain)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
-- Who handles all lines looks by turn, who handles some of them in each slot: what is left to others is not walked over
CREATE INDEX heads_by_turn ON heads (consumer, not_before, sent_at, id) WHERE NOT held;
CREATE INDEX heads_by_slot ON heads (consumer, slot, not_before, sent_at, id) WHERE NOT held;
CREATE INDEX heads_held ON heads (consumer) WHERE held;

CREATE TABLE kept_aside (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    origin text NOT NULL,
    reason text NOT NULL,
    data bytea NOT NULL,
    received_at bigint NOT NULL
);

-- What is missing in a chain and will not come; a row that was passed over stays as the record of that
CREATE TABLE losses (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source text COLLATE "C" NOT NULL,
    history uuid NOT NULL,
    topic text COLLATE "C" NOT NULL,
    partition integer NOT NULL,
    after bigint NOT NULL,
    up_to bigint NOT NULL,
    reason text NOT NULL,
    since bigint NOT NULL,
    passed_at bigint,
    passed_by text,
    UNIQUE (source, history, topic, partition, after)
);

CREATE TABLE timers (
    name text COLLATE "C" PRIMARY KEY,
    due bigint NOT NULL,
    kind text NOT NULL,
    target text NOT NULL,
    key text NOT NULL,
    lane text NOT NULL,
    id uuid,
    envelope bytea NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX timers_by_due ON timers (due);

-- Two days of answers, as many of them gone each minute as come
CREATE TABLE answers (
    scope text COLLATE "C" PRIMARY KEY, fingerprint bytea NOT NULL, response bytea NOT NULL, expires bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX answers_by_expiry ON answers (expires);

-- One row for each who waits for an outcome
CREATE TABLE deferrals (
    key text COLLATE "C" NOT NULL,
    reply_to text COLLATE "C" NOT NULL,
    reply_key text COLLATE "C" NOT NULL,
    PRIMARY KEY (key, reply_to, reply_key)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

CREATE TABLE checkpoints (
    projection text COLLATE "C" PRIMARY KEY, position bigint NOT NULL
) WITH (fillfactor = 50);

-- One row a projection: the build that it is read from
CREATE TABLE projections (name text COLLATE "C" PRIMARY KEY, active integer NOT NULL);

CREATE TABLE builds (
    number integer PRIMARY KEY,
    projection text COLLATE "C" NOT NULL,
    shape text NOT NULL,
    filling text NOT NULL,
    tables text NOT NULL
);

CREATE TABLE held_streams (
    build integer NOT NULL,
    stream text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    position bigint NOT NULL,
    cause text NOT NULL,
    PRIMARY KEY (build, stream)
);

-- One row a writing connection of an instance: the number of the last batch that it committed. Whoever lost a connection
-- in the middle of a batch finds out here what came of it, and others see that something was committed.
CREATE TABLE writers (
    id uuid PRIMARY KEY, batch bigint NOT NULL, used timestamptz NOT NULL
) WITH (fillfactor = 25, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- The service's tables that no projection owns, and the shape in which code of a version knows them
CREATE TABLE own_tables (
    name text COLLATE "C" NOT NULL, version integer NOT NULL, shape text NOT NULL, PRIMARY KEY (name, version)
);

-- The lines of migrations: how far they are, and the oldest code that may use their tables
CREATE TABLE versions (
    line text COLLATE "C" PRIMARY KEY,
    version integer NOT NULL,
    oldest_code integer NOT NULL,
    contracted integer NOT NULL
);

-- Who uses the store, with code of which version; by this database's clock
CREATE TABLE instances (
    id text COLLATE "C" NOT NULL,
    line text COLLATE "C" NOT NULL,
    code integer NOT NULL,
    place text NOT NULL,
    expires bigint NOT NULL,
    PRIMARY KEY (id, line)
) WITH (fillfactor = 50);

-- Every statement of a migration that was carried out
CREATE TABLE migrations (
    line text COLLATE "C" NOT NULL,
    number integer NOT NULL,
    part text NOT NULL,
    statement integer NOT NULL,
    sql text NOT NULL,
    done_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (line, number, part, statement)
);

CREATE TABLE leases (
    name text COLLATE "C" PRIMARY KEY, owner text NOT NULL, epoch bigint NOT NULL, expires bigint NOT NULL
) WITH (fillfactor = 50);

-- Who shares some work with others, until when, and which parts of it are its own
CREATE TABLE sharers (
    work text COLLATE "C" NOT NULL,
    owner text COLLATE "C" NOT NULL,
    expires bigint NOT NULL,
    parts integer[] NOT NULL,
    PRIMARY KEY (work, owner)
) WITH (fillfactor = 50);
