-- Datasets: one row set a day, computed anew as a whole whenever what they are made from has changed.
-- depends: 0003.derived

CREATE TABLE places_visited (
    day            date        NOT NULL,
    region_id      uuid        NOT NULL,
    region_name    text        NOT NULL,
    region_kind    text        NOT NULL,
    first_seen_at  timestamptz NOT NULL,
    last_seen_at   timestamptz NOT NULL,
    total_seconds  float8      NOT NULL,
    visits         bigint      NOT NULL,
    device_ids     text[]      NOT NULL,
    run_id         text,
    computed_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (day, region_id)
);
COMMENT ON TABLE places_visited IS 'For each UTC day and saved place: when the person was there first and last, for how long, and how many times.';
