-- The stream engine's own tables, and the one function that hides which time-series storage is underneath.
-- depends:

CREATE EXTENSION IF NOT EXISTS vector;

-- Where each stage has got to. A batch's rows and `next_offset` change in one transaction, so this table, and not
-- Kafka's group offsets, is the truth. `topic_id` is Kafka's own identity of the topic: a recreated topic has another.
CREATE TABLE stream_offsets (
    stage        text        NOT NULL,
    topic        text        NOT NULL,
    partition    integer     NOT NULL,
    topic_id     text        NOT NULL,
    next_offset  bigint      NOT NULL CHECK (next_offset >= 0),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (stage, topic, partition)
);

-- One live run owns a (stage, shard). `backend_pid` and `backend_start` name the owner's database session: when that
-- session is gone the lease is free at once, and when the owner is merely stopped it is free at `expires_at`.
CREATE TABLE stream_leases (
    stage          text        NOT NULL,
    shard          integer     NOT NULL,
    holder         text        NOT NULL,
    run_id         text,
    backend_pid    integer     NOT NULL,
    backend_start  timestamptz NOT NULL,
    acquired_at    timestamptz NOT NULL DEFAULT now(),
    expires_at     timestamptz NOT NULL,
    PRIMARY KEY (stage, shard)
);

-- Times at which a stage wants to look at a device again, such as the end of a window that is still open.
CREATE TABLE stream_timers (
    stage          text        NOT NULL,
    stage_version  text        NOT NULL,
    device_id      text        NOT NULL,
    key            text        NOT NULL,
    due_at         timestamptz NOT NULL,
    PRIMARY KEY (stage, stage_version, device_id, key)
);
CREATE INDEX stream_timers_due ON stream_timers (stage, due_at);

-- What a stage keeps of a device between batches, such as the state of a streaming model.
CREATE TABLE stream_state (
    stage          text        NOT NULL,
    stage_version  text        NOT NULL,
    device_id      text        NOT NULL,
    state          bytea       NOT NULL,
    updated_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (stage, stage_version, device_id)
);

-- Dead letters: records that can never be processed, with the bytes as they came.
CREATE TABLE processing_errors (
    stage          text        NOT NULL,
    topic          text        NOT NULL,
    partition      integer     NOT NULL,
    "offset"       bigint      NOT NULL,
    stage_version  text        NOT NULL,
    error_type     text        NOT NULL,
    reason         text        NOT NULL,
    device_id      text,
    message_id     text,
    value          bytea,
    received_at    timestamptz NOT NULL,
    occurred_at    timestamptz NOT NULL DEFAULT now(),
    run_id         text,
    PRIMARY KEY (stage, topic, partition, "offset")
);
CREATE INDEX processing_errors_occurred ON processing_errors (occurred_at);

-- Every version of every stage that has ever run, and the one that the `_current` views show.
CREATE TABLE stage_versions (
    stage          text        NOT NULL,
    version        text        NOT NULL,
    first_run_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (stage, version)
);
CREATE TABLE stage_promotions (
    stage          text        PRIMARY KEY,
    version        text        NOT NULL,
    promoted_at    timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (stage, version) REFERENCES stage_versions (stage, version)
);

-- Which tables are kept by day, and how: 'native' partitions or a TimescaleDB 'hypertable'.
CREATE TABLE timeseries_tables (
    table_name     text        PRIMARY KEY,
    kind           text        NOT NULL CHECK (kind IN ('native', 'hypertable'))
);

-- Turns an empty plain table with a `timestamp` column into one that is kept by day.
CREATE FUNCTION loom_make_timeseries(target text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'timescaledb') THEN
        EXECUTE format('SELECT create_hypertable(%L, ''timestamp'', chunk_time_interval => interval ''1 day'')', target);
        INSERT INTO timeseries_tables VALUES (target, 'hypertable');
    ELSE
        EXECUTE format('ALTER TABLE %I RENAME TO %I', target, target || '__plain');
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL) PARTITION BY RANGE ("timestamp")', target, target || '__plain');
        EXECUTE format('DROP TABLE %I', target || '__plain');
        INSERT INTO timeseries_tables VALUES (target, 'native');
    END IF;
END $$;

-- Makes the day partitions of `target` from `first_day` to `last_day` (UTC), where they are missing. A hypertable makes
-- its own. The partition is built apart and then attached, because attaching does not stop readers; creating it in
-- place would.
CREATE FUNCTION loom_ensure_partitions(target text, first_day date, last_day date) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    day date := first_day;
    part text;
    made integer := 0;
BEGIN
    IF (SELECT kind FROM timeseries_tables WHERE table_name = target) IS DISTINCT FROM 'native' THEN
        RETURN 0;
    END IF;
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
