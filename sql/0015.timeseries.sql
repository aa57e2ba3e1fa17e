-- Days as a unit, on both engines: which there are, what each takes, and dropping them. On TimescaleDB days are compressed
-- when they are a week old. No table has a default partition, so nothing can fill one unseen: a row whose day is
-- missing is refused, and whoever writes calls `loom_ensure_partitions` first.
-- depends: 0014.pauses

-- Has TimescaleDB compress the days of `target` that are more than a week old; false where its licence (Apache 2) does not
-- let it. A device's rows of a day lie together, so that reading or erasing one device leaves the others packed.
CREATE FUNCTION loom_compress(target text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('timescaledb.license', true) IS DISTINCT FROM 'timescale' THEN
        RETURN false;
    END IF;
    EXECUTE format('ALTER TABLE %I SET (timescaledb.compress, timescaledb.compress_segmentby = %L, timescaledb.compress_orderby = %L)',
                   target, 'device_id', '"timestamp", message_id');
    PERFORM add_compression_policy(target::regclass, interval '7 days', if_not_exists => true);
    RETURN true;
END $$;

-- Turns an empty plain table with `timestamp` and `device_id` columns into one that is kept by day.
CREATE OR REPLACE FUNCTION loom_make_timeseries(target text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        -- its own index on the time alone would cost every insert, and the primary key begins with the time
        PERFORM create_hypertable(target::regclass, 'timestamp', chunk_time_interval => interval '1 day',
                                  create_default_indexes => false);
        PERFORM loom_compress(target);
        INSERT INTO timeseries_tables VALUES (target, 'hypertable');
    ELSE
        EXECUTE format('ALTER TABLE %I RENAME TO %I', target, target || '__plain');
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL) PARTITION BY RANGE ("timestamp")', target, target || '__plain');
        EXECUTE format('DROP TABLE %I', target || '__plain');
        INSERT INTO timeseries_tables VALUES (target, 'native');
    END IF;
END $$;

-- Makes the day partitions of `target` from `first_day` to `last_day` (UTC), where they are missing; how many it made. A
-- hypertable makes its own. No day of the table can be dropped from here to the end of the transaction. The partition
-- is built apart and then attached, because attaching does not stop readers; creating it in place would.
CREATE OR REPLACE FUNCTION loom_ensure_partitions(target text, first_day date, last_day date)
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    day date := first_day;
    part text;
    made integer := 0;
BEGIN
    IF (SELECT kind FROM timeseries_tables WHERE table_name = target) IS DISTINCT FROM 'native' THEN
        RETURN 0;
    END IF;
    -- what an insert takes anyway; a drop of a day takes the exclusive one
    EXECUTE format('LOCK TABLE ONLY %I IN ROW EXCLUSIVE MODE', target);
    WHILE day <= last_day LOOP
        part := target || '_p' || to_char(day, 'YYYYMMDD');
        IF to_regclass(quote_ident(part)) IS NULL THEN
            PERFORM pg_advisory_xact_lock(hashtext('loom_ensure_partitions'), hashtext(target));
            -- not to_regclass again: waiting for the lock does not refresh the cache that it answers from
            IF NOT EXISTS (SELECT FROM pg_class WHERE relname = part AND relnamespace = current_schema()::regnamespace) THEN
                EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', part, target);
                EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', target, part,
                               day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
                made := made + 1;
            END IF;
        END IF;
        day := day + 1;
    END LOOP;
    RETURN made;
END $$;

-- The days (UTC) that `target` has storage for, oldest first: where each is, what it takes with its indexes, and whether
-- it is compressed.
CREATE FUNCTION loom_days(target text)
RETURNS TABLE (day date, part regclass, bytes bigint, compressed boolean) LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF (SELECT kind FROM timeseries_tables WHERE table_name = target) = 'hypertable' THEN
        RETURN QUERY
        SELECT (c.range_start AT TIME ZONE 'UTC')::date, format('%I.%I', c.chunk_schema, c.chunk_name)::regclass,
               s.total_bytes, c.is_compressed
        FROM timescaledb_information.chunks c
        JOIN chunks_detailed_size(target::regclass) s ON (s.chunk_schema, s.chunk_name) = (c.chunk_schema, c.chunk_name)
        WHERE c.hypertable_schema = current_schema() AND c.hypertable_name = target ORDER BY 1;
    ELSE
        RETURN QUERY
        SELECT to_date(right(c.relname, 8), 'YYYYMMDD'), c.oid::regclass, pg_total_relation_size(c.oid), false
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = target::regclass ORDER BY 1;
    END IF;
END $$;
COMMENT ON FUNCTION loom_days IS 'The days that a table has storage for, with their bytes.';

-- Drops the days of `target` before `before` (UTC), oldest first, and at most `at_most` of them; which they were, how many
-- rows each had and how many bytes it took. A drop keeps readers and writers of the table out until the transaction ends,
-- so a caller with many days commits between them. It waits for others no longer than two seconds: then it fails
-- with lock_not_available, and nothing of that transaction is dropped.
CREATE FUNCTION loom_drop_days(target text, before date, at_most integer DEFAULT NULL)
RETURNS TABLE (day date, row_count bigint, bytes bigint) LANGUAGE plpgsql SET lock_timeout = '2s' AS $$
DECLARE
    kept_as text := (SELECT kind FROM timeseries_tables WHERE table_name = target);
    part regclass;
BEGIN
    IF kept_as IS NULL THEN
        RAISE EXCEPTION '% is not kept by day', target USING HINT = 'timeseries_tables lists the tables that are.';
    END IF;
    IF NOT EXISTS (SELECT FROM loom_days(target) d WHERE d.day < before) THEN
        RETURN;
    END IF;
    -- before counting, so that the count is of what goes
    EXECUTE format('LOCK TABLE ONLY %I IN ACCESS EXCLUSIVE MODE', target);
    FOR day, part, bytes IN
        SELECT d.day, d.part, d.bytes FROM loom_days(target) d WHERE d.day < before ORDER BY d.day LIMIT at_most
    LOOP
        EXECUTE format('SELECT count(*) FROM %s', part) INTO row_count;
        IF kept_as = 'hypertable' THEN
            PERFORM drop_chunks(target::regclass, older_than => (day + 1)::timestamp AT TIME ZONE 'UTC',
                                newer_than => day::timestamp AT TIME ZONE 'UTC');
        ELSE
            EXECUTE format('DROP TABLE %s', part);
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;
COMMENT ON FUNCTION loom_drop_days IS 'Drops a table''s days before a date; each day''s rows and bytes.';

DO $$
DECLARE
    target text;
BEGIN
    FOR target IN SELECT table_name FROM timeseries_tables WHERE kind = 'hypertable' LOOP
        EXECUTE format('DROP INDEX IF EXISTS %I', target || '_timestamp_idx');
        PERFORM loom_compress(target);
    END LOOP;
END $$;
