-- The inbox and the heads of its lines. A line is one consumer, one key, one chain; its head is the row that is next.
--
-- Who adds to a line locks its head, or waits for who deletes it; who takes from a line locks the head before it looks,
-- in a later statement, for what follows. Else a message that comes while the last one is handled would be left
-- without a head, for ever.
--
-- These tables are nearly empty when a plan is made, and full while it is kept: `enable_seqscan` is off, so that none reads
-- a table as a whole. `LIMIT cardinality(...)` leaves none out. What is handed over counts as ten rows in a plan for all
-- values, as so many as it is in one for these, and some are joined with all of a small table; with a limit that is not
-- known they count as one, which is looked for along an index. So it is planned once, for all values.

CREATE FUNCTION advance_heads(rows bigint[], consumers text[], keys text[], chains integer[], seqs bigint[])
RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT SET enable_seqscan TO off
SET plan_cache_mode TO force_generic_plan AS $$
BEGIN
    PERFORM FROM heads h JOIN (
            SELECT * FROM unnest(consumers, keys, chains) LIMIT cardinality(chains)
        ) AS g (consumer, key, chain)
        ON h.consumer = g.consumer AND h.key = g.key AND h.chain = g.chain
        ORDER BY h.consumer, h.key, h.chain FOR UPDATE OF h;
    -- A parked row that holds its line stays its head. One that is no longer first, because an earlier one was tried
    -- again, leaves the head alone.
    WITH moves AS (
        SELECT g.id, g.consumer, g.key, g.chain, next.id AS next_id, next.seq, next.sent_at, next.holds
        FROM (
            SELECT * FROM unnest(rows, consumers, keys, chains, seqs) LIMIT cardinality(rows)
        ) AS g (id, consumer, key, chain, seq) LEFT JOIN LATERAL (
            SELECT i.id, i.seq, i.sent_at, i.holds FROM inbox i
            WHERE i.consumer = g.consumer AND i.key = g.key AND i.chain = g.chain AND i.seq > g.seq AND i.ready
                AND (i.parked_at IS NULL OR i.holds)
            ORDER BY i.seq LIMIT 1
        ) next ON true
    ), ended AS (
        DELETE FROM heads h USING moves m
        WHERE h.consumer = m.consumer AND h.key = m.key AND h.chain = m.chain AND h.id = m.id AND m.next_id IS NULL
    )
    UPDATE heads h SET id = m.next_id, seq = m.seq, sent_at = m.sent_at, held = m.holds, not_before = 0 FROM moves m
    WHERE h.consumer = m.consumer AND h.key = m.key AND h.chain = m.chain AND h.id = m.id AND m.next_id IS NOT NULL;
END $$;

CREATE FUNCTION lose_rows(code text, units integer[], rows bigint[], there bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM lose(code, (
        SELECT json_agg(json_build_array(g.unit, g.id)) FROM unnest(units, rows) AS g (unit, id)
        WHERE g.id <> ALL (coalesce(there, '{}'))
    ));
END $$;

CREATE FUNCTION handle_messages(before bigint[], units integer[], rows bigint[]) RETURNS bigint[]
LANGUAGE plpgsql SET search_path FROM CURRENT SET enable_seqscan TO off
SET plan_cache_mode TO force_generic_plan AS $$
DECLARE
    done record;
BEGIN
    WITH gone AS (
        DELETE FROM inbox i WHERE i.id = ANY (rows) AND i.parked_at IS NULL
        RETURNING i.id, i.consumer, i.key, i.chain, i.seq
    )
    SELECT array_agg(g.id) AS ids, array_agg(g.consumer) AS consumers, array_agg(g.key) AS keys,
        array_agg(g.chain) AS chains, array_agg(g.seq) AS seqs
    INTO done FROM gone g;
    IF coalesce(cardinality(done.ids), 0) < cardinality(rows) THEN
        PERFORM lose_rows('CLHAN', units, rows, done.ids);
    END IF;
    PERFORM advance_heads(done.ids, done.consumers, done.keys, done.chains, done.seqs);
    RETURN before;
END $$;

CREATE FUNCTION retry_messages(
    before bigint[], units integer[], rows bigint[], tried integer[], moments bigint[], causes text[]
) RETURNS bigint[] LANGUAGE plpgsql SET search_path FROM CURRENT SET enable_seqscan TO off
SET plan_cache_mode TO force_generic_plan AS $$
DECLARE
    there bigint[];
BEGIN
    WITH failed AS (
        UPDATE inbox i SET attempts = g.attempts, cause = g.cause
        FROM (SELECT * FROM unnest(rows, tried, causes) LIMIT cardinality(rows)) AS g (id, attempts, cause)
        WHERE i.id = g.id AND i.parked_at IS NULL RETURNING i.id
    )
    SELECT array_agg(f.id) INTO there FROM failed f;
    IF coalesce(cardinality(there), 0) < cardinality(rows) THEN
        PERFORM lose_rows('CLHAN', units, rows, there);
    END IF;
    UPDATE heads h SET not_before = g.moment
    FROM (SELECT * FROM unnest(rows, moments) LIMIT cardinality(rows)) AS g (id, moment) JOIN inbox i ON i.id = g.id
    WHERE h.consumer = i.consumer AND h.key = i.key AND h.chain = i.chain AND h.id = i.id;
    RETURN before;
END $$;

CREATE FUNCTION park_message(
    before bigint[], unit integer, message bigint, tried integer, why text, hold boolean, moment bigint
) RETURNS bigint[] LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    parked inbox;
BEGIN
    UPDATE inbox i SET attempts = tried, cause = why, parked_at = moment, holds = hold
    WHERE i.id = message AND i.parked_at IS NULL RETURNING * INTO parked;
    IF parked.id IS NULL THEN
        PERFORM lose_rows('CLHAN', ARRAY[unit], ARRAY[message], '{}');
    END IF;
    IF hold THEN
        UPDATE heads h SET held = true
        WHERE h.consumer = parked.consumer AND h.key = parked.key AND h.chain = parked.chain AND h.id = message;
    ELSE
        PERFORM advance_heads(
            ARRAY[message], ARRAY[parked.consumer], ARRAY[parked.key], ARRAY[parked.chain], ARRAY[parked.seq]
        );
    END IF;
    RETURN before;
END $$;

CREATE FUNCTION unpark_message(before bigint[], unit integer, message bigint, edited bytea) RETURNS bigint[]
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    again inbox;
BEGIN
    UPDATE inbox i SET attempts = 0, cause = NULL, parked_at = NULL, holds = false, envelope = coalesce(edited, i.envelope)
    WHERE i.id = message AND i.parked_at IS NOT NULL RETURNING * INTO again;
    IF again.id IS NULL THEN
        PERFORM lose_rows('CLPRK', ARRAY[unit], ARRAY[message], '{}');
    END IF;
    INSERT INTO heads AS h VALUES (again.consumer, again.key, again.chain, message, again.seq, again.sent_at, false, 0)
    ON CONFLICT (consumer, key, chain) DO UPDATE
        SET id = excluded.id, seq = excluded.seq, sent_at = excluded.sent_at, held = false, not_before = 0
        WHERE excluded.seq <= h.seq;
    RETURN before;
END $$;

CREATE FUNCTION discard_message(before bigint[], unit integer, message bigint) RETURNS bigint[]
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    gone inbox;
BEGIN
    DELETE FROM inbox i WHERE i.id = message AND i.parked_at IS NOT NULL RETURNING * INTO gone;
    IF gone.id IS NULL THEN
        PERFORM lose_rows('CLPRK', ARRAY[unit], ARRAY[message], '{}');
    END IF;
    PERFORM advance_heads(ARRAY[message], ARRAY[gone.consumer], ARRAY[gone.key], ARRAY[gone.chain], ARRAY[gone.seq]);
    RETURN before;
END $$;

-- Messages of the service to itself that are done at once: nothing may wait before them.
CREATE FUNCTION expect_free_lines(before bigint[], units integer[], consumers text[], keys text[]) RETURNS bigint[]
LANGUAGE plpgsql SET search_path FROM CURRENT SET enable_seqscan TO off
SET plan_cache_mode TO force_generic_plan AS $$
DECLARE
    losses json;
BEGIN
    SELECT json_agg(json_build_array(g.unit, g.consumer, g.key)) INTO losses
    FROM (
        SELECT * FROM unnest(units, consumers, keys) LIMIT cardinality(units)
    ) AS g (unit, consumer, key)
    WHERE EXISTS (SELECT FROM inbox i WHERE i.consumer = g.consumer AND i.key = g.key AND i.chain = 0);
    IF losses IS NOT NULL THEN
        PERFORM lose('CLLIN', losses);
    END IF;
    RETURN before;
END $$;

CREATE TYPE own_message AS (
    chain integer, consumer text COLLATE "C", key text COLLATE "C", envelope bytea, time bigint
);

-- Messages of the service to itself: a row's number is also its place in its line.
CREATE FUNCTION deliver_messages(before bigint[], delivered own_message[]) RETURNS bigint[]
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    WITH numbered AS MATERIALIZED (
        SELECT nextval('inbox_rows') AS id, g.* FROM unnest(delivered) g
    ), added AS (
        INSERT INTO inbox (id, chain, consumer, key, seq, prev, ready, received_at, sent_at, envelope)
        SELECT n.id, n.chain, n.consumer, n.key, n.id, 0, true, n.time, n.time, n.envelope FROM numbered n
    )
    INSERT INTO heads AS h
    SELECT DISTINCT ON (n.consumer, n.key, n.chain) n.consumer, n.key, n.chain, n.id, n.id, n.time, false, 0 FROM numbered n
    ORDER BY n.consumer, n.key, n.chain, n.id
    ON CONFLICT (consumer, key, chain) DO UPDATE SET id = excluded.id, seq = excluded.seq, sent_at = excluded.sent_at
        WHERE excluded.seq < h.seq;
    RETURN before;
END $$;

CREATE TYPE chain_mark AS (
    unit integer, source text, history uuid, topic text, partition integer, expected bigint, received bigint
);
-- `of_chain` is the place of the mark among the marks
CREATE TYPE new_inbox_row AS (
    of_chain integer,
    seq bigint,
    prev bigint,
    consumer text COLLATE "C",
    key text COLLATE "C",
    ready boolean,
    envelope bytea,
    sent_at bigint,
    time bigint
);
CREATE TYPE chain_place AS (of_chain integer, seq bigint);
CREATE TYPE chain_line AS (of_chain integer, consumer text COLLATE "C", key text COLLATE "C");

-- Messages of chains: each chain's mark moves from where it is expected; what was early is woken. Lines whose next message
-- is done at once must be free: with the chain's row locked, nobody else adds to them.
CREATE FUNCTION receive_messages(
    before bigint[], marks chain_mark[], messages new_inbox_row[], completed chain_place[], at_once chain_line[]
) RETURNS bigint[] LANGUAGE plpgsql SET search_path FROM CURRENT SET enable_seqscan TO off
SET plan_cache_mode TO force_generic_plan AS $$
DECLARE
    mark chain_mark;
    known integer[] := '{}';
    chain_id integer;
    stands bigint;
    losses json;
BEGIN
    FOREACH mark IN ARRAY marks LOOP
        UPDATE chains c SET received = mark.received
        WHERE c.source = mark.source AND c.history = mark.history AND c.topic = mark.topic
            AND c.partition = mark.partition AND c.received = mark.expected
        RETURNING c.id INTO chain_id;
        IF chain_id IS NULL AND mark.expected = 0 THEN
            INSERT INTO chains AS c (source, history, topic, partition, received)
            VALUES (mark.source, mark.history, mark.topic, mark.partition, mark.received)
            ON CONFLICT DO NOTHING RETURNING c.id INTO chain_id;
        END IF;
        IF chain_id IS NULL THEN
            SELECT c.received INTO stands FROM chains c
            WHERE c.source = mark.source AND c.history = mark.history AND c.topic = mark.topic
                AND c.partition = mark.partition;
            PERFORM lose('CLCHN', json_build_array(json_build_array(
                mark.unit, mark.source, mark.history, mark.topic, mark.partition, mark.expected, coalesce(stands, 0)
            )));
        END IF;
        known := known || chain_id;
    END LOOP;
    IF cardinality(at_once) > 0 THEN
        SELECT json_agg(json_build_array(marks[g.of_chain].unit, g.consumer, g.key)) INTO losses
        FROM (SELECT * FROM unnest(at_once) LIMIT cardinality(at_once)) g
        WHERE EXISTS (
            SELECT FROM inbox i WHERE i.consumer = g.consumer AND i.key = g.key AND i.chain = known[g.of_chain]
        );
        IF losses IS NOT NULL THEN
            PERFORM lose('CLLIN', losses);
        END IF;
    END IF;
    IF cardinality(messages) + cardinality(completed) = 0 THEN
        RETURN before;
    END IF;
    WITH added AS (
        INSERT INTO inbox AS i (id, chain, consumer, key, seq, prev, ready, received_at, sent_at, envelope)
        SELECT nextval('inbox_rows'), known[g.of_chain], g.consumer, g.key, g.seq, g.prev, g.ready, g.time, g.sent_at,
            g.envelope
        FROM unnest(messages) g
        ON CONFLICT (consumer, key, chain, seq) DO NOTHING
        RETURNING i.id, i.consumer, i.key, i.chain, i.seq, i.sent_at, i.ready
    )
    INSERT INTO heads AS h
    SELECT DISTINCT ON (a.consumer, a.key, a.chain) a.consumer, a.key, a.chain, a.id, a.seq, a.sent_at, false, 0
    FROM added a WHERE a.ready ORDER BY a.consumer, a.key, a.chain, a.seq
    ON CONFLICT (consumer, key, chain) DO UPDATE SET id = excluded.id, seq = excluded.seq, sent_at = excluded.sent_at
        WHERE excluded.seq < h.seq;
    -- Received early, and now that all before them have come, ready; one that came again may be ready by now as well
    WITH woken AS (
        UPDATE inbox i SET ready = true FROM (
            SELECT known[g.of_chain] AS chain, g.seq FROM unnest(completed) g
            UNION
            SELECT known[g.of_chain], g.seq FROM unnest(messages) g WHERE g.ready
            LIMIT cardinality(completed) + cardinality(messages)
        ) late
        WHERE i.chain = late.chain AND i.seq = late.seq AND NOT i.ready
        RETURNING i.id, i.consumer, i.key, i.chain, i.seq, i.sent_at
    )
    INSERT INTO heads AS h
    SELECT DISTINCT ON (w.consumer, w.key, w.chain) w.consumer, w.key, w.chain, w.id, w.seq, w.sent_at, false, 0
    FROM woken w ORDER BY w.consumer, w.key, w.chain, w.seq
    ON CONFLICT (consumer, key, chain) DO UPDATE SET id = excluded.id, seq = excluded.seq, sent_at = excluded.sent_at
        WHERE excluded.seq < h.seq;
    RETURN before;
END $$;

-- A chain goes on in another history of its producer: what it has beyond the fork is another message there.
CREATE FUNCTION succeed_chains(
    before bigint[], sources text[], histories uuid[], topics text[], partitions integer[], presents uuid[],
    shared bigint[], reasons text[], times bigint[]
) RETURNS bigint[] LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    chain_id integer;
    gone record;
BEGIN
    FOR place IN 1 .. cardinality(sources) LOOP
        UPDATE chains c SET history = presents[place], received = least(c.received, shared[place])
        WHERE c.source = sources[place] AND c.history = histories[place] AND c.topic = topics[place]
            AND c.partition = partitions[place]
        RETURNING c.id INTO chain_id;
        CONTINUE WHEN chain_id IS NULL;
        WITH taken AS (
            DELETE FROM inbox i WHERE i.chain = chain_id AND i.seq > shared[place]
            RETURNING i.id, i.consumer, i.key, i.chain, i.seq, i.envelope
        ), kept AS (
            INSERT INTO kept_aside (origin, reason, data, received_at)
            SELECT DISTINCT ON (t.seq) concat_ws('/', sources[place], topics[place], partitions[place], t.seq),
                reasons[place], t.envelope, times[place]
            FROM taken t ORDER BY t.seq
        )
        SELECT array_agg(t.id) AS ids, array_agg(t.consumer) AS consumers, array_agg(t.key) AS keys,
            array_agg(t.chain) AS chains, array_agg(t.seq) AS seqs
        INTO gone FROM taken t;
        IF gone.ids IS NOT NULL THEN
            PERFORM advance_heads(gone.ids, gone.consumers, gone.keys, gone.chains, gone.seqs);
        END IF;
    END LOOP;
    RETURN before;
END $$;
