-- What stream runs have counted of themselves, for Prometheus: a run is short, its counts go on in the next one.
-- depends: 0022.lineage

-- One row for each series of the processing-flows document. `counts` are per bucket (upper limits `bounds`, and one for
-- what is above the last), or one number where there are no buckets; `total` is the sum of what was measured.
CREATE TABLE stream_metrics (
    metric      text        NOT NULL CHECK (metric IN ('latency', 'events', 'errors', 'batch_size')),
    service     text        NOT NULL,
    label       text        NOT NULL,
    bounds      float8[]    NOT NULL DEFAULT '{}',
    counts      bigint[]    NOT NULL CHECK (cardinality(counts) = cardinality(bounds) + 1),
    total       float8      NOT NULL DEFAULT 0,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (metric, service, label)
) WITH (fillfactor = 50);
COMMENT ON TABLE stream_metrics IS 'What stream runs have counted: latencies, events, errors, sizes of batches. No records of anybody.';

-- The ingest service shows them, and may not read the engine's own tables.
CREATE FUNCTION loom_stream_metrics() RETURNS SETOF stream_metrics LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT AS $$
    SELECT * FROM stream_metrics ORDER BY metric, service, label
$$;
COMMENT ON FUNCTION loom_stream_metrics IS 'What stream runs have counted, for the metrics that the ingest service shows.';
