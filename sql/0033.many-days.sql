-- Questions about a device's rows at moments that come out of a query. A table has a partition for each day, for years, and
-- a plan locks every one that values known when it is made do not rule out: so these plan for the values that they are
-- given. They may be asked anything that their caller may read.
-- depends: 0032.explained-stretches

-- The days of `loom_days` without their sizes, so that it may be asked in every batch. It locks no partition.
CREATE FUNCTION loom_stored(target regclass) RETURNS timestamptz[] LANGUAGE plpgsql STABLE AS $$
DECLARE
    name    text;
    kept_as text;
BEGIN
    SELECT s.table_name, s.kind INTO name, kept_as FROM timeseries_tables s JOIN pg_class c ON c.relname = s.table_name
    WHERE c.oid = target;
    IF kept_as = 'hypertable' THEN
        RETURN ARRAY(SELECT c.range_start FROM timescaledb_information.chunks c
                     WHERE c.hypertable_schema = current_schema() AND c.hypertable_name = name);
    ELSIF kept_as = 'native' THEN
        RETURN ARRAY(SELECT to_date(right(c.relname, 8), 'YYYYMMDD')::timestamp AT TIME ZONE 'UTC'
                     FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = target);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION loom_stored IS 'When the days begin that a table has storage for; null when it is not kept by day.';
-- Whoever reads some columns of a table, as the ingest service does, may know its days.
DO $$ BEGIN
    EXECUTE format('ALTER FUNCTION loom_stored(regclass) SECURITY DEFINER SET search_path = %I, pg_temp', current_schema());
END $$;

CREATE FUNCTION loom_kept(target regclass, OUT first timestamptz, OUT last timestamptz) LANGUAGE sql STABLE AS $$
    SELECT min(day), max(day) + interval '24 hours' FROM unnest(loom_stored(target)) day
$$;
COMMENT ON FUNCTION loom_kept IS 'From when to when (exclusive) a table has storage; nulls when it has none, or is not kept by day.';

-- From `first` to `last` (exclusive), in the order of looking, the stretches of up to five days that have storage. What is
-- not kept by day, such as a view, is one stretch.
CREATE FUNCTION loom_stretches(target regclass, first timestamptz, last timestamptz, forward boolean)
RETURNS TABLE (since timestamptz, until timestamptz) LANGUAGE plpgsql STABLE AS $$
DECLARE
    days timestamptz[] := loom_stored(target);
BEGIN
    IF days IS NULL THEN
        RETURN QUERY SELECT first, last;
        RETURN;
    END IF;
    RETURN QUERY
    SELECT greatest(min(d.day), first), least(max(d.day) + interval '24 hours', last)
    FROM (SELECT day, row_number() OVER (ORDER BY CASE WHEN forward THEN day END, day DESC) AS place
          FROM unnest(days) day WHERE day + interval '24 hours' > first AND day < last) d
    GROUP BY (d.place - 1) / 5 ORDER BY (d.place - 1) / 5;
END $$;

-- Stretches without a row give their locks back, as a subtransaction that fails does.
CREATE FUNCTION loom_between(sample anyelement, device text, first timestamptz, last timestamptz)
RETURNS SETOF anyelement LANGUAGE plpgsql STABLE AS $$
DECLARE
    query text := format('SELECT * FROM %s WHERE timestamp >= $2 AND timestamp < $3', pg_typeof(sample));
    after timestamptz := last + interval '1 microsecond';
    part  record;
BEGIN
    IF device IS NOT NULL THEN
        query := query || ' AND device_id = $1';
    END IF;
    IF isfinite(first) AND isfinite(after) AND after - first <= interval '120 hours' THEN
        RETURN QUERY EXECUTE query USING device, first, after;
        RETURN;
    END IF;
    FOR part IN SELECT * FROM loom_stretches(pg_typeof(sample)::text::regclass, first, after, true) LOOP
        BEGIN
            RETURN QUERY EXECUTE query USING device, part.since, part.until;
            IF NOT FOUND THEN
                RAISE SQLSTATE 'LM000';
            END IF;
        EXCEPTION WHEN SQLSTATE 'LM000' THEN NULL;
        END;
    END LOOP;
END $$;
COMMENT ON FUNCTION loom_between IS
    'The rows of a device (null: of all) from first to last, both included: loom_between(NULL::a_table, device, first, last).';

-- It looks at the four days beside the moment first: the answer is mostly there.
CREATE FUNCTION loom_nearest(sample anyelement, device text, moment timestamptz, forward boolean, version text DEFAULT NULL)
RETURNS SETOF anyelement LANGUAGE plpgsql STABLE ROWS 1 AS $$
DECLARE
    query text := format('SELECT * FROM %s WHERE device_id = $1 AND timestamp >= $2 AND timestamp < $3', pg_typeof(sample));
    near  interval := CASE WHEN isfinite(moment) THEN interval '96 hours' ELSE '0' END;
    since timestamptz := CASE WHEN forward THEN moment ELSE moment - near END;
    until timestamptz := CASE WHEN forward THEN moment + near ELSE moment + interval '1 microsecond' END;
    part  record;
BEGIN
    IF moment IS NULL THEN
        RETURN;
    END IF;
    IF version IS NOT NULL THEN
        query := query || ' AND superseded_at IS NULL AND stage_version = $4';
    END IF;
    query := query || ' ORDER BY timestamp' || CASE WHEN forward THEN '' ELSE ' DESC' END || ' LIMIT 1';
    IF isfinite(moment) THEN
        RETURN QUERY EXECUTE query USING device, since, until, version;
        IF FOUND THEN
            RETURN;
        END IF;
    END IF;
    IF forward THEN
        since := until;
        until := 'infinity';
    ELSE
        until := since;
        since := '-infinity';
    END IF;
    FOR part IN SELECT * FROM loom_stretches(pg_typeof(sample)::text::regclass, since, until, forward) LOOP
        BEGIN
            RETURN QUERY EXECUTE query USING device, part.since, part.until, version;
            IF NOT FOUND THEN
                RAISE SQLSTATE 'LM000';
            END IF;
            RETURN;
        EXCEPTION WHEN SQLSTATE 'LM000' THEN NULL;
        END;
    END LOOP;
END $$;
COMMENT ON FUNCTION loom_nearest IS
    'A device''s last row at or before a moment, or its first at or after it; with a stage''s version, of what stands of it.';

CREATE FUNCTION loom_nth_moment(sample anyelement, device text, moment timestamptz, reach interval, nth integer, condition text)
RETURNS timestamptz LANGUAGE plpgsql STABLE AS $$
DECLARE
    forward boolean := reach > interval '0';
    query   text := 'SELECT %s(timestamp) FROM (SELECT DISTINCT timestamp FROM %s WHERE device_id = $1 AND timestamp %s $2'
                    ' AND timestamp %s $3 AND (%s) ORDER BY timestamp %s LIMIT $4) AS near';
    found   timestamptz;
BEGIN
    query := CASE WHEN forward THEN format(query, 'max', pg_typeof(sample), '>', '<=', condition, '')
                  ELSE format(query, 'min', pg_typeof(sample), '<', '>=', condition, 'DESC') END;
    EXECUTE query INTO found USING device, moment, moment + reach, nth;
    RETURN coalesce(found, moment);
END $$;
COMMENT ON FUNCTION loom_nth_moment IS
    'When the nth moment is, after one (before it, where the reach is negative), at which a device has rows that meet a condition; else the last of them within reach, else the one given.';
