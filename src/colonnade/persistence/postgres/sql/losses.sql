-- What is missing in chains and will not come.

CREATE FUNCTION note_losses(
    before bigint[], sources text[], histories uuid[], topics text[], partitions integer[], marks bigint[],
    ends bigint[], reasons text[], moments bigint[]
) RETURNS bigint[] LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO losses AS l (source, history, topic, partition, after, up_to, reason, since)
    SELECT * FROM unnest(sources, histories, topics, partitions, marks, ends, reasons, moments)
    ON CONFLICT (source, history, topic, partition, after) DO UPDATE SET up_to = excluded.up_to
    WHERE l.passed_at IS NULL;
    RETURN before;
END $$;

-- The chain's mark moves behind the hole, but not beyond what has come early of it meanwhile: whoever receives next
-- wakes that. Both rows are locked before that is looked at.
CREATE FUNCTION pass_over(before bigint[], unit integer, loss bigint, who text, moment bigint) RETURNS bigint[]
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    gap losses;
    chain_id integer;
BEGIN
    SELECT l.* INTO gap FROM losses l WHERE l.id = loss AND l.passed_at IS NULL FOR UPDATE;
    SELECT c.id INTO chain_id FROM chains c
    WHERE c.source = gap.source AND c.history = gap.history AND c.topic = gap.topic AND c.partition = gap.partition
        AND c.received = gap.after
    FOR UPDATE;
    gap.up_to := least(
        gap.up_to, (SELECT i.prev FROM inbox i WHERE i.chain = chain_id AND NOT i.ready ORDER BY i.seq LIMIT 1)
    );
    IF chain_id IS NULL OR gap.up_to <= gap.after THEN
        PERFORM lose_rows('CLLOS', ARRAY[unit], ARRAY[loss], '{}');
    END IF;
    UPDATE chains c SET received = gap.up_to WHERE c.id = chain_id;
    UPDATE losses l SET up_to = gap.up_to, passed_at = moment, passed_by = who WHERE l.id = loss;
    RETURN before;
END $$;
