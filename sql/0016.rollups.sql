-- Roll-ups of numeric sensors by minute and hour: continuous aggregates on TimescaleDB, tables elsewhere, behind views
-- that are the same on both. What is kept is brought up to date from time to time; until then a view counts the marked
-- stretches anew, so that what it tells is right at every moment.
-- depends: 0014.pauses 0011.phones

CREATE TABLE rollup_tables (
    table_name     text        PRIMARY KEY,
    kind           text        NOT NULL CHECK (kind IN ('table', 'aggregate')),
    condition      text        NOT NULL,
    dimensions     json        NOT NULL,
    measures       json        NOT NULL,
    frozen_before  timestamptz NOT NULL DEFAULT '-infinity',
    kept_from      timestamptz NOT NULL DEFAULT '-infinity'
);
COMMENT ON TABLE rollup_tables IS
    'What is rolled up: dimensions are [name, expression], measures [name, expression, optional]. Rows before frozen_before may be gone, their roll-ups stay; there are none before kept_from.';

-- Stretches of whole minutes in which rows came, changed or went since the roll-up was last brought up to date. Whoever
-- writes rows adds a mark in the same transaction, and nobody changes one: so no writer ever waits for a refresh,
-- and a mark that a refresh could not see stays for the next.
CREATE TABLE rollup_marks (
    id          bigint     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    table_name  text       NOT NULL,
    device_id   text       NOT NULL,
    span        tstzrange  NOT NULL CHECK (NOT isempty(span))
);
CREATE INDEX rollup_marks_device ON rollup_marks (table_name, device_id);
COMMENT ON TABLE rollup_marks IS 'Stretches whose roll-ups are to be counted anew.';

-- A number that sums and means of many like it can hold; null for one that is too large, 0 for one that is too small.
CREATE FUNCTION loom_countable(value float8) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN abs(value) BETWEEN 1e-290 AND 1e290 THEN value WHEN abs(value) < 1e-290 THEN 0 END
$$;

-- A JSON number as float8; null when it is none, or one that float8 cannot hold.
CREATE FUNCTION loom_number(value jsonb) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN jsonb_typeof(value) <> 'number' THEN NULL
        WHEN abs(value::numeric) BETWEEN 1e-290 AND 1e290 THEN value::float8
        WHEN abs(value::numeric) < 1e-290 THEN 0
    END
$$;

-- The reading of a sensor with one number: the first of `names` that is one, or the only number that it has.
CREATE FUNCTION loom_reading(value jsonb, VARIADIC names text[]) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
    -- bound now: TimescaleDB refreshes with a search path of its own
    RETURN coalesce(
        (SELECT loom_number(value -> n.name) FROM unnest(names) WITH ORDINALITY n (name, place)
         WHERE loom_number(value -> n.name) IS NOT NULL ORDER BY n.place LIMIT 1),
        (SELECT min(loom_number(e.value)) FROM jsonb_each(CASE WHEN jsonb_typeof(value) = 'object' THEN value END) e
         WHERE jsonb_typeof(e.value) = 'number' HAVING count(*) = 1));

-- The greatest number called `name` in a JSON array of objects.
CREATE FUNCTION loom_greatest(value jsonb, name text) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (SELECT max(loom_number(e.value -> name))
            FROM jsonb_array_elements(CASE WHEN jsonb_typeof(value) = 'array' THEN value END) e);

-- The beginning of the `size` that a moment lies in, UTC.
CREATE FUNCTION loom_bucket(size interval, moment timestamptz) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT date_bin(size, moment, timestamptz '2000-01-01 00:00:00+00')
$$;

-- The columns that are kept of a roll-up: its key first, then the others.
CREATE FUNCTION loom_rollup_columns(target text) RETURNS text[] LANGUAGE sql STABLE AS $$
    SELECT ARRAY['device_id', 'bucket']
        || ARRAY(SELECT d ->> 0 FROM json_array_elements(r.dimensions) WITH ORDINALITY e (d, place) ORDER BY place)
        || ARRAY['samples']
        || ARRAY(SELECT (m ->> 0) || '_' || part
                 FROM json_array_elements(r.measures) WITH ORDINALITY e (m, place),
                      unnest('{count,min,max,last,sum}'::text[]) WITH ORDINALITY p (part, nth)
                 WHERE part <> 'count' OR (m ->> 2)::boolean ORDER BY place, nth)
    FROM rollup_tables r WHERE r.table_name = target
$$;

-- The query that counts the rows of `target` that `place` selects; `bucket` is the expression of their bucket.
CREATE FUNCTION loom_rollup_of_rows(target text, bucket text, place text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT format(
        'SELECT device_id, %s AS bucket, %scount(*) AS samples, %s FROM %I WHERE %s AND %s GROUP BY %s',
        bucket,
        (SELECT string_agg(format('%s AS %I, ', d ->> 1, d ->> 0), '' ORDER BY n) FROM json_array_elements(r.dimensions) WITH ORDINALITY e (d, n)),
        (SELECT string_agg(
            CASE WHEN (m ->> 2)::boolean THEN format('count(%s) AS %I, ', m ->> 1, (m ->> 0) || '_count') ELSE '' END
            || format('min(%1$s) AS %2$I, max(%1$s) AS %3$I, '
                      '(array_agg(%1$s ORDER BY timestamp DESC, message_id DESC) FILTER (WHERE %1$s IS NOT NULL))[1] AS %4$I, '
                      'sum(%1$s) AS %5$I',
                      m ->> 1, (m ->> 0) || '_min', (m ->> 0) || '_max', (m ->> 0) || '_last', (m ->> 0) || '_sum'),
            ', ' ORDER BY n) FROM json_array_elements(r.measures) WITH ORDINALITY e (m, n)),
        target, r.condition, place,
        (SELECT string_agg(n::text, ', ') FROM generate_series(1, 2 + json_array_length(r.dimensions)) n))
    FROM rollup_tables r WHERE r.table_name = target
$$;

-- The query that adds up the kept minutes of `target` that `place` selects.
CREATE FUNCTION loom_rollup_of_minutes(target text, bucket text, place text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT format(
        'SELECT device_id, %s AS bucket, %ssum(samples)::bigint AS samples, %s FROM %I WHERE %s GROUP BY %s',
        bucket,
        (SELECT string_agg(format('%I, ', d ->> 0), '' ORDER BY n) FROM json_array_elements(r.dimensions) WITH ORDINALITY e (d, n)),
        (SELECT string_agg(
            CASE WHEN (m ->> 2)::boolean THEN format('sum(%1$I)::bigint AS %1$I, ', (m ->> 0) || '_count') ELSE '' END
            || format('min(%1$I) AS %1$I, max(%2$I) AS %2$I, '
                      '(array_agg(%3$I ORDER BY bucket DESC) FILTER (WHERE %3$I IS NOT NULL))[1] AS %3$I, sum(%4$I) AS %4$I',
                      (m ->> 0) || '_min', (m ->> 0) || '_max', (m ->> 0) || '_last', (m ->> 0) || '_sum'),
            ', ' ORDER BY n) FROM json_array_elements(r.measures) WITH ORDINALITY e (m, n)),
        target || '_by_minute_kept', place,
        (SELECT string_agg(n::text, ', ') FROM generate_series(1, 2 + json_array_length(r.dimensions)) n))
    FROM rollup_tables r WHERE r.table_name = target
$$;

-- The marked stretches of `target` by device, in whole `size`s; what is frozen is not counted anew.
CREATE FUNCTION loom_marked(target text, size interval) RETURNS TABLE (device_id text, spans tstzmultirange) LANGUAGE sql STABLE AS $$
    SELECT m.device_id,
           range_agg(tstzrange(loom_bucket(size, lower(m.span)),
                               loom_bucket(size, upper(m.span) - interval '1 microsecond') + size))
           * tstzmultirange(tstzrange((SELECT greatest(frozen_before, kept_from) FROM rollup_tables WHERE table_name = target), NULL))
    FROM rollup_marks m WHERE m.table_name = target GROUP BY m.device_id
$$;

-- Makes the roll-ups of `target`: what is kept, and the views over it. What is in the table already is marked.
CREATE FUNCTION loom_make_rollup(target text, condition text, dimensions json, measures json) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    -- the Apache edition of TimescaleDB has no continuous aggregates
    hypertable boolean := coalesce(current_setting('timescaledb.license', true), '') <> 'apache'
                          AND (SELECT t.kind = 'hypertable' FROM timeseries_tables t WHERE t.table_name = target);
    size text;
    kept text;
    view text;
    columns text[];
    told text;
    place text;
BEGIN
    INSERT INTO rollup_tables (table_name, kind, condition, dimensions, measures)
    VALUES (target, CASE WHEN hypertable THEN 'aggregate' ELSE 'table' END, condition, dimensions, measures);
    columns := loom_rollup_columns(target);
    SELECT string_agg(quote_ident(c), ', ') INTO place FROM unnest(columns[1:2 + json_array_length(dimensions)]) c;
    IF hypertable THEN
        EXECUTE format('CREATE MATERIALIZED VIEW %I WITH (timescaledb.continuous, timescaledb.materialized_only = true) AS %s WITH NO DATA',
                       target || '_by_minute_kept', loom_rollup_of_rows(target, 'time_bucket(interval ''1 minute'', timestamp)', 'true'));
        EXECUTE format('CREATE MATERIALIZED VIEW %I WITH (timescaledb.continuous, timescaledb.materialized_only = true) AS %s WITH NO DATA',
                       target || '_by_hour_kept', loom_rollup_of_minutes(target, 'time_bucket(interval ''1 hour'', bucket)', 'true'));
    ELSE
        EXECUTE format('CREATE TABLE %I AS %s WITH NO DATA', target || '_by_minute_kept',
                       loom_rollup_of_rows(target, 'loom_bucket(interval ''1 minute'', timestamp)', 'true'));
        EXECUTE format('CREATE TABLE %I (LIKE %I)', target || '_by_hour_kept', target || '_by_minute_kept');
        FOREACH kept IN ARRAY ARRAY[target || '_by_minute_kept', target || '_by_hour_kept'] LOOP
            EXECUTE format('ALTER TABLE %I ADD PRIMARY KEY (%s), ALTER samples SET NOT NULL', kept, place);
        END LOOP;
    END IF;
    SELECT string_agg(CASE WHEN c LIKE '%\_last' THEN
                          format('%I / nullif(%I, 0) AS %I, %I', left(c, -4) || 'sum',
                                 CASE WHEN left(c, -4) || 'count' = ANY (columns) THEN left(c, -4) || 'count' ELSE 'samples' END,
                                 left(c, -4) || 'mean', c)
                      ELSE quote_ident(c) END, ', ' ORDER BY n)
    INTO told FROM unnest(columns[3:]) WITH ORDINALITY e (c, n);
    SELECT string_agg('k.' || quote_ident(c), ', ') INTO kept FROM unnest(columns) c;
    FOREACH size IN ARRAY ARRAY['minute', 'hour'] LOOP
        view := format('%s_by_%s', target, size);
        EXECUTE format(
            'CREATE VIEW %1$I AS SELECT bucket, device_id, %2$s FROM ('
            'SELECT %3$s FROM %4$I k LEFT JOIN loom_marked(%5$L, %6$L) m ON m.device_id = k.device_id '
            'WHERE m.device_id IS NULL OR NOT m.spans @> k.bucket UNION ALL '
            'SELECT k.* FROM loom_marked(%5$L, %6$L) m, unnest(m.spans) AS s (span), LATERAL (%7$s) k) r',
            view, told, kept, view || '_kept', target, '1 ' || size,
            loom_rollup_of_rows(target, format('loom_bucket(interval ''1 %s'', timestamp)', size),
                                'device_id = m.device_id AND timestamp >= lower(s.span) AND timestamp < upper(s.span)'));
        IF condition <> 'true' THEN
            EXECUTE format('CREATE VIEW %I AS SELECT t.* FROM %I t LEFT JOIN stage_promotions p ON p.stage = t.stage '
                           'WHERE p.version IS NULL OR p.version = t.stage_version', view || '_current', view);
        END IF;
    END LOOP;
    EXECUTE format('INSERT INTO rollup_marks (table_name, device_id, span) SELECT %L, device_id, tstzrange('
                   'loom_bucket(interval ''1 minute'', min(timestamp)), loom_bucket(interval ''1 minute'', max(timestamp)) '
                   '+ interval ''1 minute'') FROM %I GROUP BY device_id', target, target);
END $$;

-- Where the rows of `<target>_by_<size>` lie: the table itself, or what TimescaleDB keeps of the aggregate.
CREATE FUNCTION loom_rollup_store(target text, size text) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    kept text := format('%s_by_%s_kept', target, size);
    store text := quote_ident(kept);
BEGIN
    IF (SELECT kind FROM rollup_tables WHERE table_name = target) = 'aggregate' THEN
        EXECUTE 'SELECT format(''%I.%I'', materialization_hypertable_schema, materialization_hypertable_name) '
                'FROM timescaledb_information.continuous_aggregates WHERE view_schema = current_schema() AND view_name = $1'
        INTO store USING kept;
    END IF;
    RETURN store;
END $$;

-- Held by whoever changes what is kept of `target`'s roll-ups, until its transaction ends.
CREATE FUNCTION loom_lock_rollup(target text) RETURNS void LANGUAGE sql AS $$
    SELECT pg_advisory_xact_lock(hashtext('loom-rollup'), hashtext(target))
$$;

-- Counts these stretches of these devices anew, into what is kept; how many rows were written. In a frozen stretch a row
-- gives way only to one of at least as many samples, because its own may be gone. On TimescaleDB only what is
-- frozen is counted here; the rest is refresh_continuous_aggregate's.
CREATE FUNCTION loom_recount(target text, devices text[], spans tstzrange[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    r rollup_tables := (SELECT t FROM rollup_tables t WHERE t.table_name = target);
    minutes text := loom_rollup_store(target, 'minute');
    columns text;
    same text;
    fresh text;
    done bigint := 0;
    written bigint;
BEGIN
    PERFORM loom_lock_rollup(target);
    SELECT string_agg(quote_ident(c), ', ') INTO columns FROM unnest(loom_rollup_columns(target)) c;
    SELECT string_agg(format('k.%1$I = f.%1$I', c), ' AND ') INTO same
    FROM unnest((loom_rollup_columns(target))[1:2 + json_array_length(r.dimensions)]) c;
    fresh := 'SELECT f.* FROM unnest($1, $2) AS p (device_id, span), LATERAL ('
        || loom_rollup_of_rows(target, 'loom_bucket(interval ''1 minute'', timestamp)',
                               'device_id = p.device_id AND timestamp >= lower(p.span) AND timestamp < upper(p.span)')
        || ') f WHERE NOT isempty(p.span)';
    IF r.kind = 'table' THEN
        EXECUTE format('DELETE FROM %s k USING unnest($1, $2) AS p (device_id, span) '
                       'WHERE k.device_id = p.device_id AND k.bucket >= lower(p.span) AND k.bucket < upper(p.span)', minutes)
        USING devices, ARRAY(SELECT s * tstzrange(greatest(r.frozen_before, r.kept_from), NULL) FROM unnest(spans) WITH ORDINALITY e (s, n) ORDER BY n);
        EXECUTE format('INSERT INTO %s (%s) SELECT %s FROM (%s) f', minutes, columns, columns, fresh)
        USING devices, ARRAY(SELECT s * tstzrange(greatest(r.frozen_before, r.kept_from), NULL) FROM unnest(spans) WITH ORDINALITY e (s, n) ORDER BY n);
        GET DIAGNOSTICS done = ROW_COUNT;
    END IF;
    IF EXISTS (SELECT FROM unnest(spans) s WHERE lower(s) < r.frozen_before) AND r.kept_from < r.frozen_before THEN
        EXECUTE format('DELETE FROM %s k USING (%s) f WHERE %s AND k.samples <= f.samples', minutes, fresh, same)
        USING devices, ARRAY(SELECT s * tstzrange(r.kept_from, r.frozen_before) FROM unnest(spans) WITH ORDINALITY e (s, n) ORDER BY n);
        EXECUTE format('INSERT INTO %s (%s) SELECT %s FROM (%s) f WHERE NOT EXISTS (SELECT FROM %s k WHERE %s)',
                       minutes, columns, columns, fresh, minutes, same)
        USING devices, ARRAY(SELECT s * tstzrange(r.kept_from, r.frozen_before) FROM unnest(spans) WITH ORDINALITY e (s, n) ORDER BY n);
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
COMMENT ON FUNCTION loom_recount IS 'Counts stretches of devices anew into what is kept of a roll-up.';

-- What the roll-up by `size` tells otherwise than a count of the rows from `first` to `last` (whole hours), which none
-- of it may. Sums in another order differ in their last digits.
CREATE FUNCTION loom_rollup_differences(target text, size text, first timestamptz, last timestamptz)
RETURNS TABLE (bucket timestamptz, device_id text, told bigint, counted bigint) LANGUAGE plpgsql STABLE AS $$
DECLARE
    keys text[];
    unequal text;
BEGIN
    SELECT (loom_rollup_columns(target))[1:2 + json_array_length(r.dimensions)] INTO keys FROM rollup_tables r WHERE r.table_name = target;
    SELECT string_agg(CASE WHEN c LIKE '%\_sum' THEN
                          format('NOT coalesce(abs(t.%1$I - f.%1$I) <= 1e-9 * greatest(1e-290, abs(t.%1$I), abs(f.%1$I), f.samples * greatest(abs(f.%2$I), abs(f.%3$I))), '
                                 't.%1$I IS NULL AND f.%1$I IS NULL)', c, left(c, -3) || 'min', left(c, -3) || 'max')
                      ELSE format('t.%1$I IS DISTINCT FROM f.%1$I', c) END, ' OR ')
    INTO unequal FROM unnest(loom_rollup_columns(target)) c;
    RETURN QUERY EXECUTE format(
        'SELECT coalesce(t.bucket, f.bucket), coalesce(t.device_id, f.device_id), coalesce(t.samples, 0), coalesce(f.samples, 0) '
        'FROM (SELECT * FROM %I WHERE bucket >= $1 AND bucket < $2) t FULL JOIN (%s) f ON %s WHERE %s ORDER BY 1, 2',
        format('%s_by_%s', target, size),
        loom_rollup_of_rows(target, format('loom_bucket(interval ''1 %s'', timestamp)', size), 'timestamp >= $1 AND timestamp < $2'),
        (SELECT string_agg(format('t.%1$I = f.%1$I', c), ' AND ') FROM unnest(keys) c), unequal)
    USING first, last;
END $$;
COMMENT ON FUNCTION loom_rollup_differences IS 'Where a roll-up and a fresh count differ: nowhere, if all is well.';

SELECT loom_make_rollup('device_sensor_gps_raw', $$true$$, $$[]$$, $$[
    ["altitude", "loom_countable(altitude)", true],
    ["accuracy", "loom_countable(accuracy)", true],
    ["speed", "loom_countable(speed)", true]
]$$);
SELECT loom_make_rollup('device_location_report_raw', $$true$$, $$[]$$, $$[
    ["vertical_accuracy", "loom_countable(vertical_accuracy)", true],
    ["speed_accuracy", "loom_countable(speed_accuracy)", true],
    ["heading_accuracy", "loom_countable(heading_accuracy)", true]
]$$);
SELECT loom_make_rollup('device_sensor_accelerometer_raw', $$true$$, $$[]$$, $$[
    ["x", "loom_countable(x)", false],
    ["y", "loom_countable(y)", false],
    ["z", "loom_countable(z)", false]
]$$);
SELECT loom_make_rollup('device_sensor_accelerometer_windowed', $$superseded_at IS NULL$$, $$[["stage", "stage"], ["stage_version", "stage_version"]]$$, $$[
    ["rate_hz", "loom_countable(rate_hz)", false],
    ["x_mean_mps2", "loom_countable(x_mean_mps2)", false],
    ["y_mean_mps2", "loom_countable(y_mean_mps2)", false],
    ["z_mean_mps2", "loom_countable(z_mean_mps2)", false],
    ["magnitude_mean_mps2", "loom_countable(magnitude_mean_mps2)", false],
    ["magnitude_std_mps2", "loom_countable(magnitude_std_mps2)", false],
    ["magnitude_max_mps2", "loom_countable(magnitude_max_mps2)", false],
    ["dynamic_rms_mps2", "loom_countable(dynamic_rms_mps2)", false],
    ["jerk_rms_mps3", "loom_countable(jerk_rms_mps3)", true],
    ["crossing_rate_hz", "loom_countable(crossing_rate_hz)", true]
]$$);
SELECT loom_make_rollup('device_sensor_gyroscope_raw', $$true$$, $$[["unit", "coalesce(unit, '')"]]$$, $$[
    ["x", "loom_number(value -> 'x')", true],
    ["y", "loom_number(value -> 'y')", true],
    ["z", "loom_number(value -> 'z')", true]
]$$);
SELECT loom_make_rollup('device_sensor_magnetometer_raw', $$true$$, $$[["unit", "coalesce(unit, '')"]]$$, $$[
    ["x", "loom_number(value -> 'x')", true],
    ["y", "loom_number(value -> 'y')", true],
    ["z", "loom_number(value -> 'z')", true]
]$$);
SELECT loom_make_rollup('device_sensor_temperature_raw', $$true$$, $$[["unit", "coalesce(unit, '')"]]$$, $$[
    ["temperature", "loom_reading(value, 'temperature', 'temp', 'value')", true]
]$$);
SELECT loom_make_rollup('device_sensor_humidity_raw', $$true$$, $$[["unit", "coalesce(unit, '')"]]$$, $$[
    ["humidity", "loom_reading(value, 'humidity', 'value')", true]
]$$);
SELECT loom_make_rollup('device_sensor_pressure_raw', $$true$$, $$[["unit", "coalesce(unit, '')"]]$$, $$[
    ["pressure", "loom_reading(value, 'pressure', 'value')", true]
]$$);
SELECT loom_make_rollup('device_sensor_barometer_raw', $$true$$, $$[["unit", "coalesce(unit, '')"]]$$, $$[
    ["pressure", "loom_reading(value, 'pressure', 'value')", true]
]$$);
SELECT loom_make_rollup('device_sensor_light_raw', $$true$$, $$[["unit", "coalesce(unit, '')"]]$$, $$[
    ["illuminance", "loom_reading(value, 'illuminance', 'light', 'lux', 'value')", true]
]$$);
SELECT loom_make_rollup('device_sensor_proximity_raw', $$true$$, $$[["unit", "coalesce(unit, '')"]]$$, $$[
    ["distance", "loom_reading(value, 'distance', 'value')", true]
]$$);
SELECT loom_make_rollup('device_state_power_raw', $$true$$, $$[]$$, $$[
    ["battery_level", "loom_countable(battery_level)", false]
]$$);
SELECT loom_make_rollup('device_health_heartrate_raw', $$true$$, $$[]$$, $$[
    ["bpm", "loom_countable(bpm)", false],
    ["confidence", "loom_countable(confidence)", true]
]$$);
SELECT loom_make_rollup('device_health_steps_raw', $$true$$, $$[]$$, $$[
    ["steps", "loom_countable(steps)", false],
    ["distance_m", "loom_countable(distance_m)", true],
    ["floors_climbed", "loom_countable(floors_climbed)", true]
]$$);
SELECT loom_make_rollup('device_health_metric_raw', $$true$$, $$[["metric", "metric"], ["unit", "coalesce(unit, '')"]]$$, $$[
    ["value", "loom_countable(value)", true],
    ["minimum", "loom_countable(minimum)", true],
    ["average", "loom_countable(average)", true],
    ["maximum", "loom_countable(maximum)", true]
]$$);
SELECT loom_make_rollup('device_sensor_state_raw', $$true$$, $$[["sensor_id", "sensor_id"], ["unit", "coalesce(unit, '')"]]$$, $$[
    ["value", "loom_countable(value)", true]
]$$);
SELECT loom_make_rollup('device_network_wifi_raw', $$true$$, $$[]$$, $$[
    ["signal_dbm", "loom_countable(signal_dbm)", true],
    ["frequency_mhz", "loom_countable(frequency_mhz)", true],
    ["link_speed_mbps", "loom_countable(link_speed_mbps)", true]
]$$);
SELECT loom_make_rollup('device_network_bluetooth_raw', $$true$$, $$[]$$, $$[
    ["devices", "jsonb_array_length(devices)::float8", false],
    ["strongest_dbm", "loom_greatest(devices, 'signal_dbm')", true]
]$$);
