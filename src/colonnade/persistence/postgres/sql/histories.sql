-- Where the tables are: on which server, in which of its lives, and which copy of them. A standby that is promoted and a
-- server that is recovered to a point in time begin another timeline; what is restored from a dump is another copy.
CREATE FUNCTION whereabouts(OUT server bigint, OUT timeline bigint, OUT copy oid)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    SELECT c.system_identifier INTO server FROM pg_control_system() c;
    -- The control file tells it only after the next checkpoint
    timeline := ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint;
    copy := 'store'::regclass::oid;
END $$;

-- Whether the tables are where their history has been written until now.
CREATE FUNCTION is_continued() RETURNS boolean LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    RETURN (
        SELECT (s.server, s.timeline, s.copy) IS NOT DISTINCT FROM (w.server, w.timeline, w.copy)
        FROM store s CROSS JOIN whereabouts() w
    );
END $$;

-- Begin another history where they are not. Of several who see that, one does it.
CREATE FUNCTION begin_history(fresh uuid) RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    ended uuid;
BEGIN
    SELECT s.history INTO ended FROM store s FOR UPDATE;
    IF is_continued() THEN
        RETURN;
    END IF;
    INSERT INTO histories (history, shared) VALUES (ended, greatest(
        (SELECT coalesce(max(e.position), 0) FROM events e),
        (SELECT coalesce(max(o.seq), 0) FROM outbox o),
        (SELECT coalesce(max(r.seq), 0) FROM relayed r)
    ));
    UPDATE store s SET history = fresh, server = w.server, timeline = w.timeline, copy = w.copy FROM whereabouts() w;
END $$;
