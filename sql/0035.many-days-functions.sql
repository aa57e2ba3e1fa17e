-- What is asked again and again, whether or not anything happens, in the partitions of a few days at a time.
-- depends: 0016.rollups 0024.geocoding 0033.many-days

-- The rows that wait for a service, of a stage's version and, where it is given, of one cell; of that only some, which tell
-- that there are any. They may be of any day, so it looks at a month after the other, the latest first. What was locked
-- of a month without such a row is given back, as a subtransaction that fails does.
CREATE FUNCTION loom_pending(target regclass, version text, asked text DEFAULT NULL)
RETURNS TABLE ("timestamp" timestamptz, device_id text, stage text, stage_version text, provider text, cell text)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    query text := format('SELECT timestamp, device_id, stage, stage_version, provider, cell FROM %s WHERE state = ''pending'' '
                         'AND superseded_at IS NULL AND stage_version = $1 AND timestamp >= $2 AND timestamp < $3', target);
    first timestamptz;
    upto  timestamptz;
    step  CONSTANT interval := '768 hours';
BEGIN
    IF asked IS NOT NULL THEN
        query := query || ' AND cell = $4';
    END IF;
    SELECT k.first, k.last INTO first, upto FROM loom_kept(target) k;
    WHILE upto > first LOOP
        BEGIN
            RETURN QUERY EXECUTE query USING version, upto - step, upto, asked;
            IF NOT FOUND THEN
                RAISE SQLSTATE 'LM000';
            END IF;
            IF asked IS NOT NULL THEN
                RETURN;
            END IF;
        EXCEPTION WHEN SQLSTATE 'LM000' THEN NULL;
        END;
        upto := upto - step;
    END LOOP;
END $$;
COMMENT ON FUNCTION loom_pending IS 'The rows of a table that wait for a service.';

-- As before (0016), but each count is planned for the days from the first stretch to the last.
CREATE OR REPLACE FUNCTION loom_recount(target text, devices text[], spans tstzrange[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    r rollup_tables := (SELECT t FROM rollup_tables t WHERE t.table_name = target);
    minutes text := loom_rollup_store(target, 'minute');
    columns text;
    same text;
    fresh text;
    counted tstzrange[];
    first timestamptz;
    last timestamptz;
    done bigint := 0;
    written bigint;
BEGIN
    PERFORM loom_lock_rollup(target);
    SELECT string_agg(quote_ident(c), ', ') INTO columns FROM unnest(loom_rollup_columns(target)) c;
    SELECT string_agg(format('k.%1$I = f.%1$I', c), ' AND ') INTO same
    FROM unnest((loom_rollup_columns(target))[1:2 + json_array_length(r.dimensions)]) c;
    fresh := 'SELECT f.* FROM unnest($1, $2) AS p (device_id, span), LATERAL ('
        || loom_rollup_of_rows(target, 'loom_bucket(interval ''1 minute'', timestamp)',
                               'device_id = p.device_id AND timestamp >= lower(p.span) AND timestamp < upper(p.span) '
                               'AND timestamp >= $3 AND timestamp < $4')
        || ') f WHERE NOT isempty(p.span)';
    IF r.kind = 'table' THEN
        counted := ARRAY(SELECT s * tstzrange(greatest(r.frozen_before, r.kept_from), NULL) FROM unnest(spans) WITH ORDINALITY e (s, n) ORDER BY n);
        SELECT min(lower(s)), max(upper(s)) INTO first, last FROM unnest(counted) s;
        EXECUTE format('DELETE FROM %s k USING unnest($1, $2) AS p (device_id, span) '
                       'WHERE k.device_id = p.device_id AND k.bucket >= lower(p.span) AND k.bucket < upper(p.span)', minutes)
        USING devices, counted;
        EXECUTE format('INSERT INTO %s (%s) SELECT %s FROM (%s) f', minutes, columns, columns, fresh)
        USING devices, counted, first, last;
        GET DIAGNOSTICS done = ROW_COUNT;
    END IF;
    IF EXISTS (SELECT FROM unnest(spans) s WHERE lower(s) < r.frozen_before) AND r.kept_from < r.frozen_before THEN
        counted := ARRAY(SELECT s * tstzrange(r.kept_from, r.frozen_before) FROM unnest(spans) WITH ORDINALITY e (s, n) ORDER BY n);
        SELECT min(lower(s)), max(upper(s)) INTO first, last FROM unnest(counted) s;
        EXECUTE format('DELETE FROM %s k USING (%s) f WHERE %s AND k.samples <= f.samples', minutes, fresh, same)
        USING devices, counted, first, last;
        EXECUTE format('INSERT INTO %s (%s) SELECT %s FROM (%s) f WHERE NOT EXISTS (SELECT FROM %s k WHERE %s)',
                       minutes, columns, columns, fresh, minutes, same)
        USING devices, counted, first, last;
        GET DIAGNOSTICS written = ROW_COUNT;
        done := done + written;
    END IF;
    IF r.kind = 'table' THEN
        -- the hours that these minutes lie in, from what is kept
        SELECT array_agg(h.device_id), array_agg(h.span) INTO devices, spans FROM (
            SELECT p.device_id, unnest(range_agg(tstzrange(
                loom_bucket(interval '1 hour', lower(p.span)),
                loom_bucket(interval '1 hour', upper(p.span) - interval '1 microsecond') + interval '1 hour'))) AS span
            FROM unnest(devices, spans) AS p (device_id, span) GROUP BY p.device_id) h;
        EXECUTE format('DELETE FROM %I k USING unnest($1, $2) AS p (device_id, span) '
                       'WHERE k.device_id = p.device_id AND k.bucket >= lower(p.span) AND k.bucket < upper(p.span)', target || '_by_hour_kept')
        USING devices, spans;
        EXECUTE format('INSERT INTO %I (%s) SELECT f.* FROM unnest($1, $2) AS p (device_id, span), LATERAL (%s) f', target || '_by_hour_kept', columns,
                       loom_rollup_of_minutes(target, 'loom_bucket(interval ''1 hour'', bucket)',
                                              'device_id = p.device_id AND bucket >= lower(p.span) AND bucket < upper(p.span)'))
        USING devices, spans;
    END IF;
    RETURN done;
END $$;
