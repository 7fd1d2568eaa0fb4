-- The other effects of units, each a statement over all units of a batch.

-- Wait for a lock no longer than this, so that a batch never stands still behind one of its units.
CREATE FUNCTION begin_units(milliseconds integer) RETURNS bigint[] LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('lock_timeout', milliseconds::text, true);
    RETURN NULL;
END $$;

-- Say which batch is about to be committed. It is refused where it has been given up meanwhile.
CREATE FUNCTION mark_batch(writer uuid, number bigint) RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE writers w SET batch = number, used = now() WHERE w.id = writer AND w.batch < number;
    IF FOUND THEN
        RETURN;
    END IF;
    INSERT INTO writers VALUES (writer, number, now()) ON CONFLICT (id) DO NOTHING;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'batch % has been given up', number;
    END IF;
END $$;

CREATE FUNCTION begin_batch(milliseconds integer, writer uuid, number bigint) RETURNS bigint[]
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM mark_batch(writer, number);
    RETURN begin_units(milliseconds);
END $$;

-- What came of a batch whose connection broke: the position of the last event if it was committed, else NULL, and then
-- it never will be, though a server that has not noticed yet may still be at work on it. It waits for that.
CREATE FUNCTION settle_batch(writer uuid, number bigint) RETURNS bigint
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    last bigint;
BEGIN
    INSERT INTO writers VALUES (writer, 0, now()) ON CONFLICT (id) DO NOTHING;
    SELECT w.batch INTO last FROM writers w WHERE w.id = writer FOR UPDATE;
    IF last = number THEN
        RETURN (SELECT coalesce(max(e.position), 0) FROM events e);
    END IF;
    UPDATE writers w SET batch = greatest(last, number) + 1, used = now() WHERE w.id = writer;
    RETURN NULL;
END $$;

-- The answer of a unit that adds no event, behind what its messages have drawn.
CREATE FUNCTION newest_position(before bigint[]) RETURNS bigint[]
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    RETURN before || (SELECT coalesce(max(e.position), 0) FROM events e);
END $$;

-- An owner that was overtaken commits nothing, and nobody overtakes before this has committed.
CREATE FUNCTION hold_leases(before bigint[], units integer[], names text[], epochs bigint[]) RETURNS bigint[]
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    losses json;
BEGIN
    PERFORM FROM leases l WHERE l.name = ANY (names) ORDER BY l.name FOR SHARE;
    SELECT json_agg(json_build_array(g.unit, g.name, g.epoch)) INTO losses
    FROM unnest(units, names, epochs) AS g (unit, name, epoch)
    WHERE NOT EXISTS (SELECT FROM leases l WHERE l.name = g.name AND l.epoch = g.epoch);
    IF losses IS NOT NULL THEN
        PERFORM lose('CLLEA', losses);
    END IF;
    RETURN before;
END $$;

CREATE TYPE new_answer AS (
    unit integer, scope text COLLATE "C", fingerprint bytea, response bytea, expires bigint, time bigint
);

-- Planned as the inbox's are (`inbox.sql`). One that has expired is looked for only where one is in the way.
CREATE FUNCTION keep_answers(before bigint[], given new_answer[]) RETURNS bigint[]
LANGUAGE plpgsql SET search_path FROM CURRENT SET enable_seqscan TO off
SET plan_cache_mode TO force_generic_plan AS $$
DECLARE
    kept text[];
    again text[];
BEGIN
    WITH added AS (
        INSERT INTO answers AS a SELECT g.scope, g.fingerprint, g.response, g.expires FROM unnest(given) g
        ORDER BY g.scope ON CONFLICT (scope) DO NOTHING RETURNING a.scope
    )
    SELECT coalesce(array_agg(d.scope), '{}') INTO kept FROM added d;
    IF cardinality(kept) = cardinality(given) THEN
        RETURN before;
    END IF;
    DELETE FROM answers a USING (SELECT * FROM unnest(given) LIMIT cardinality(given)) g
    WHERE a.scope = g.scope AND a.expires <= g.time AND g.scope <> ALL (kept);
    WITH added AS (
        INSERT INTO answers AS a SELECT g.scope, g.fingerprint, g.response, g.expires FROM unnest(given) g
        WHERE g.scope <> ALL (kept) ORDER BY g.scope ON CONFLICT (scope) DO NOTHING RETURNING a.scope
    )
    SELECT array_agg(d.scope) INTO again FROM added d;
    kept := kept || again;
    IF cardinality(kept) < cardinality(given) THEN
        PERFORM lose('CLANS', (
            SELECT json_agg(json_build_array(g.unit, g.scope, encode(a.fingerprint, 'hex'), encode(a.response, 'hex')))
            FROM (SELECT * FROM unnest(given) LIMIT cardinality(given)) g JOIN answers a ON a.scope = g.scope
            WHERE g.scope <> ALL (kept)
        ));
    END IF;
    RETURN before;
END $$;

CREATE FUNCTION forget_answers(before bigint[], scopes text[]) RETURNS bigint[]
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    DELETE FROM answers a WHERE a.scope = ANY (scopes);
    RETURN before;
END $$;

CREATE FUNCTION advance_checkpoints(
    before bigint[], units integer[], names text[], expected bigint[], positions bigint[]
) RETURNS bigint[] LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    stands bigint;
BEGIN
    FOR place IN 1 .. cardinality(names) LOOP
        UPDATE checkpoints c SET position = positions[place]
        WHERE c.projection = names[place] AND c.position = expected[place];
        IF NOT FOUND AND expected[place] = 0 THEN
            INSERT INTO checkpoints VALUES (names[place], positions[place]) ON CONFLICT DO NOTHING;
        END IF;
        IF NOT FOUND THEN
            SELECT c.position INTO stands FROM checkpoints c WHERE c.projection = names[place];
            PERFORM lose('CLCHK', json_build_array(
                json_build_array(units[place], names[place], expected[place], coalesce(stands, 0))
            ));
        END IF;
    END LOOP;
    RETURN before;
END $$;

CREATE FUNCTION mark_relayed(before bigint[], topics text[], partitions integer[], seqs bigint[]) RETURNS bigint[]
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO relayed
    SELECT * FROM unnest(topics, partitions, seqs) AS g (topic, partition, seq) ORDER BY g.topic, g.partition
    ON CONFLICT (topic, partition) DO UPDATE SET seq = excluded.seq;
    RETURN before;
END $$;

-- One taken of an older version may be written late.
CREATE FUNCTION keep_snapshots(before bigint[], streams text[], versions integer[], schemas integer[], datas bytea[])
RETURNS bigint[] LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO snapshots AS s
    SELECT * FROM unnest(streams, versions, schemas, datas) AS g (stream, version, schema, data) ORDER BY g.stream
    ON CONFLICT (stream) DO UPDATE SET version = excluded.version, schema = excluded.schema, data = excluded.data
    WHERE excluded.version >= s.version;
    RETURN before;
END $$;

CREATE FUNCTION keep_aside(before bigint[], origins text[], reasons text[], datas bytea[], times bigint[]) RETURNS bigint[]
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO kept_aside (origin, reason, data, received_at)
    SELECT * FROM unnest(origins, reasons, datas, times);
    RETURN before;
END $$;

CREATE FUNCTION arm_timers(before bigint[], armed timers[]) RETURNS bigint[]
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO timers SELECT g.* FROM unnest(armed) g ORDER BY g.name
    ON CONFLICT (name) DO UPDATE SET due = excluded.due, kind = excluded.kind, target = excluded.target,
        key = excluded.key, lane = excluded.lane, id = excluded.id, envelope = excluded.envelope;
    RETURN before;
END $$;

-- With a moment the timer must be armed for it; without one it need not be armed.
CREATE FUNCTION disarm_timers(before bigint[], units integer[], names text[], moments bigint[]) RETURNS bigint[]
LANGUAGE plpgsql SET search_path FROM CURRENT SET enable_seqscan TO off
SET plan_cache_mode TO force_generic_plan AS $$
DECLARE
    there text[];
    losses json;
BEGIN
    WITH gone AS (
        DELETE FROM timers t USING (
            SELECT * FROM unnest(names, moments) LIMIT cardinality(names)
        ) AS g (name, moment)
        WHERE t.name = g.name AND (g.moment IS NULL OR t.due = g.moment) RETURNING t.name
    )
    SELECT array_agg(d.name) INTO there FROM gone d;
    SELECT json_agg(json_build_array(g.unit, g.name)) INTO losses
    FROM unnest(units, names, moments) AS g (unit, name, moment)
    WHERE g.moment IS NOT NULL AND g.name <> ALL (coalesce(there, '{}'));
    IF losses IS NOT NULL THEN
        PERFORM lose('CLTIM', losses);
    END IF;
    RETURN before;
END $$;

CREATE FUNCTION defer_replies(before bigint[], waiting_for text[], who text[], reply_keys text[]) RETURNS bigint[]
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO deferrals SELECT * FROM unnest(waiting_for, who, reply_keys) AS g (key, reply_to, reply_key)
    ORDER BY g.key, g.reply_to, g.reply_key ON CONFLICT DO NOTHING;
    RETURN before;
END $$;

CREATE FUNCTION settle_replies(before bigint[], waiting_for text[], who text[], reply_keys text[]) RETURNS bigint[]
LANGUAGE plpgsql SET search_path FROM CURRENT SET enable_seqscan TO off
SET plan_cache_mode TO force_generic_plan AS $$
BEGIN
    DELETE FROM deferrals d USING (
        SELECT * FROM unnest(waiting_for, who, reply_keys) LIMIT cardinality(who)
    ) AS g (key, reply_to, reply_key)
    WHERE d.key = g.key AND d.reply_to = g.reply_to AND d.reply_key = g.reply_key;
    RETURN before;
END $$;
