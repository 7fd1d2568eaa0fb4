-- The log and the outbox: positions are drawn under a lock that readers look for, so that they never skip one.

-- A lock that names the last position which was given out: all that are drawn under it are higher. The sequence is the
-- caller's.
CREATE FUNCTION lock_positions() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(
        'positions'::regclass::oid::bigint::bit(32)::integer, last_value::bit(32)::integer
    ) FROM positions;
END $$;

CREATE FUNCTION draw_positions(wanted integer) RETURNS bigint[] LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM lock_positions();
    -- Not of generate_series, which is taken for a thousand rows where the number is not known: planned anew each time
    RETURN ARRAY(SELECT nextval('positions') FROM unnest(array_fill(0, ARRAY[wanted])));
END $$;

CREATE FUNCTION last_position() RETURNS bigint LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    RETURN (SELECT last_value FROM positions);
END $$;

-- The lowest position that is locked, or `reached`. Locks carry 32 bits: those above `reached`, taken since that was
-- read, come out as a distance of more than half of that.
CREATE FUNCTION lowest_held(reached bigint) RETURNS bigint LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    RETURN reached - (
        SELECT coalesce(max((reached - objid::bigint) & 4294967295), 0) FROM pg_locks
        WHERE locktype = 'advisory' AND objsubid = 2 AND classid = 'positions'::regclass::oid
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND ((reached - objid::bigint) & 4294967295) < 2147483648
    );
END $$;

-- The oldest transaction that holds a lock of positions. What it ran last is told by its server to its own role only.
CREATE FUNCTION horizon_held(OUT reaches bigint, OUT session integer, OUT seconds double precision, OUT doing text)
RETURNS SETOF record LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    reached bigint := last_position();
BEGIN
    RETURN QUERY SELECT reached - ((reached - l.objid::bigint) & 4294967295), l.pid,
        coalesce(extract(epoch FROM clock_timestamp() - a.xact_start), 0)::double precision,
        coalesce(a.state || ': ' || left(a.query, 200), 'unknown')
    FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.classid = 'positions'::regclass::oid
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND ((reached - l.objid::bigint) & 4294967295) < 2147483648
    ORDER BY a.xact_start NULLS LAST LIMIT 1;
END $$;

-- Up to where everything that will ever be committed has been. The order of the two looks matters: who takes a lock
-- after the first draws above it.
CREATE FUNCTION horizon() RETURNS bigint LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    reached bigint := last_position();
BEGIN
    RETURN lowest_held(reached);
END $$;

-- A later statement than the look for the horizon: it sees all that was committed by then.
CREATE FUNCTION read_log(after bigint, wanted integer, named text[]) RETURNS SETOF events
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    reached bigint := horizon();
BEGIN
    IF named IS NULL THEN
        RETURN QUERY SELECT e.* FROM events e
            WHERE e.position > after AND e.position <= reached ORDER BY e.position LIMIT wanted;
    ELSE
        -- A short page of each name, merged: rare names are as quick as frequent ones. Pairs are compared, so that only
        -- the index by name has this order: the log is never searched for a name that is hardly in it.
        RETURN QUERY SELECT e.* FROM (
            SELECT p.position FROM unnest(named) AS wanted_name CROSS JOIN LATERAL (
                SELECT o.position FROM events o
                WHERE (o.name, o.position) > (wanted_name, after) AND (o.name, o.position) <= (wanted_name, reached)
                ORDER BY o.name, o.position LIMIT wanted
            ) p ORDER BY p.position LIMIT wanted
        ) page CROSS JOIN LATERAL (
            -- Row by row: how many there will be is not known to a plan that is kept, which would join with all events
            SELECT one.* FROM events one WHERE one.position = page.position LIMIT 1
        ) e ORDER BY e.position;
    END IF;
END $$;

-- The log's end, and whether more had been drawn by then than is decided below it.
CREATE FUNCTION log_reach(OUT reached bigint, OUT held boolean) LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    drawn bigint := last_position();
    horizon bigint := lowest_held(drawn);
BEGIN
    held := horizon < drawn;
    reached := (SELECT coalesce(max(e.position), 0) FROM events e WHERE e.position <= horizon);
END $$;

CREATE FUNCTION log_end() RETURNS bigint LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    RETURN (SELECT r.reached FROM log_reach() r);
END $$;

-- Messages, and beside them, in one row at least: up to where everything is decided, and what had been drawn by then.
-- Whoever has seen that everything is `decided` up to somewhere sees that far again: a writer that stalls before it
-- takes its lock takes the horizon back, and draws above what was seen.
CREATE FUNCTION pending_messages(
    after bigint, wanted integer, decided bigint,
    OUT reached bigint, OUT drawn bigint, OUT seq bigint, OUT topic text, OUT partition integer, OUT key text, OUT id uuid,
    OUT envelope bytea
) RETURNS SETOF record LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    drawn := last_position();
    reached := greatest(lowest_held(drawn), decided);
    RETURN QUERY SELECT pending_messages.reached, pending_messages.drawn, page.*
        FROM (SELECT) one LEFT JOIN LATERAL (
            SELECT o.seq, o.topic, o.partition, o.key, o.id, o.envelope FROM outbox o
            WHERE o.seq > after AND o.seq <= pending_messages.reached ORDER BY o.seq LIMIT wanted
        ) page ON true;
END $$;

CREATE FUNCTION messages_of_chain(of_topic text, of_partition integer, after bigint, wanted integer)
RETURNS SETOF outbox LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    reached bigint := horizon();
BEGIN
    -- As above, only the index by chain has this order
    RETURN QUERY SELECT o.* FROM outbox o
        WHERE (o.topic, o.partition, o.seq) > (of_topic, of_partition, after)
            AND (o.topic, o.partition, o.seq) <= (of_topic, of_partition, reached)
        ORDER BY o.topic, o.partition, o.seq LIMIT wanted;
END $$;

-- Everything up to here has left, so that who relays need not pass over what is kept. From one chain to the next through
-- the index. Not above the horizon: a message below what is seen may still be committed.
CREATE FUNCTION all_left_up_to() RETURNS bigint LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    reached bigint := horizon();
BEGIN
    RETURN (
        WITH RECURSIVE chain (topic, partition) AS (
            (SELECT o.topic, o.partition FROM outbox o ORDER BY o.topic, o.partition LIMIT 1)
            UNION ALL
            SELECT next.topic, next.partition FROM chain c CROSS JOIN LATERAL (
                SELECT o.topic, o.partition FROM outbox o WHERE (o.topic, o.partition) > (c.topic, c.partition)
                ORDER BY o.topic, o.partition LIMIT 1
            ) next
        )
        SELECT least(reached, min(first.seq) - 1)
        FROM chain c LEFT JOIN relayed r ON r.topic = c.topic AND r.partition = c.partition CROSS JOIN LATERAL (
            SELECT o.seq FROM outbox o
            WHERE (o.topic, o.partition, o.seq) > (c.topic, c.partition, coalesce(r.seq, 0))
                AND (o.topic, o.partition) <= (c.topic, c.partition)
            ORDER BY o.topic, o.partition, o.seq LIMIT 1
        ) first
    );
END $$;

-- What lies in the outbox above `after`: the last of up to `wanted` messages, how many they are, and their envelopes'
-- bytes.
CREATE FUNCTION weigh_messages(after bigint, wanted integer, OUT last bigint, OUT messages bigint, OUT bytes bigint)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    reached bigint := horizon();
BEGIN
    SELECT coalesce(max(page.seq), after), count(*), coalesce(sum(page.bytes), 0) INTO last, messages, bytes FROM (
        SELECT o.seq, octet_length(o.envelope) AS bytes FROM outbox o
        WHERE o.seq > after AND o.seq <= reached ORDER BY o.seq LIMIT wanted
    ) page;
END $$;

-- A unit of the batch has lost: what it lost by is told as JSON, and the whole batch is rolled back.
CREATE FUNCTION lose(code text, losses json) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a unit of work has lost' USING ERRCODE = code, DETAIL = losses::text;
END $$;

-- Streams that a unit only read must still be at these versions.
CREATE FUNCTION expect_versions(before bigint[], units integer[], streams text[], expected integer[]) RETURNS bigint[]
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    losses json;
BEGIN
    SELECT json_agg(json_build_array(g.unit, g.stream, g.expected, at.version)) INTO losses
    FROM unnest(units, streams, expected) AS g (unit, stream, expected) CROSS JOIN LATERAL (
        SELECT coalesce(max(e.version), 0) AS version FROM events e WHERE e.stream = g.stream
    ) at WHERE at.version <> g.expected;
    IF losses IS NOT NULL THEN
        PERFORM lose('CLVER', losses);
    END IF;
    RETURN before;
END $$;

-- Rows are handed over whole: an array a column would be walked through by itself, at both ends.
CREATE TYPE new_event AS (
    unit integer,
    stream text COLLATE "C",
    -- The version before the append's first event
    expected integer,
    version integer,
    id uuid,
    name text,
    schema integer,
    data bytea,
    time bigint,
    correlation uuid,
    causation uuid,
    principal text
);
CREATE TYPE new_message AS (topic text, partition integer, key text, id uuid, envelope bytea, time bigint);

-- Add events where their streams are at the expected versions; one that another transaction adds at the same time is met
-- at the index and raises a unique violation, and whoever tries again is told by what it has lost. Rows go in by stream,
-- so that two batches that meet wait for each other in one order. It returns the positions.
CREATE FUNCTION append_events(before bigint[], appended new_event[]) RETURNS bigint[]
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    drawn bigint[] := draw_positions(cardinality(appended));
    added integer;
BEGIN
    INSERT INTO events
    SELECT drawn[g.place], g.stream, g.version, g.id, g.name, g.schema, g.data, g.time, g.correlation, g.causation,
        g.principal
    FROM unnest(appended) WITH ORDINALITY AS g (
        unit, stream, expected, version, id, name, schema, data, time, correlation, causation, principal, place
    )
    WHERE g.expected = (SELECT coalesce(max(e.version), 0) FROM events e WHERE e.stream = g.stream)
    ORDER BY g.stream, g.version;
    GET DIAGNOSTICS added = ROW_COUNT;
    IF added < cardinality(appended) THEN
        PERFORM lose('CLVER', (
            SELECT json_agg(json_build_array(g.unit, g.stream, g.expected, at.version))
            FROM unnest(appended) AS g CROSS JOIN LATERAL (
                SELECT coalesce(max(e.version), 0) AS version FROM events e
                WHERE e.stream = g.stream AND e.position <> ALL (drawn)
            ) at WHERE g.version = g.expected + 1 AND at.version <> g.expected
        ));
    END IF;
    RETURN drawn;
END $$;

CREATE FUNCTION publish_messages(before bigint[], published new_message[]) RETURNS bigint[]
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    drawn bigint[] := draw_positions(cardinality(published));
BEGIN
    INSERT INTO outbox
    SELECT drawn[g.place], g.topic, g.partition, g.key, g.id, g.envelope, g.time
    FROM unnest(published) WITH ORDINALITY AS g (topic, partition, key, id, envelope, time, place);
    RETURN before || drawn;
END $$;
