-- Work that several share: one after the other says that it is there, and takes and gives parts.

CREATE FUNCTION share_work(of_work text, me text, lasting bigint, take integer[], give integer[])
RETURNS TABLE (owner text, parts integer[]) LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    moment bigint;
    own integer[];
BEGIN
    -- Two that see the same part free must not both take it
    LOCK TABLE sharers IN SHARE ROW EXCLUSIVE MODE;
    moment := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
    DELETE FROM sharers s WHERE s.work = of_work AND s.expires <= moment;
    SELECT coalesce(array_agg(p.part ORDER BY p.part), '{}') INTO own FROM (
        SELECT unnest(s.parts) AS part FROM sharers s WHERE s.work = of_work AND s.owner = me
        UNION SELECT unnest(take)
        EXCEPT SELECT unnest(give)
        EXCEPT SELECT unnest(s.parts) FROM sharers s WHERE s.work = of_work AND s.owner <> me
    ) p;
    INSERT INTO sharers VALUES (of_work, me, moment + lasting, own)
    ON CONFLICT (work, owner) DO UPDATE SET expires = excluded.expires, parts = excluded.parts;
    RETURN QUERY SELECT s.owner, s.parts FROM sharers s WHERE s.work = of_work ORDER BY s.owner;
END $$;
