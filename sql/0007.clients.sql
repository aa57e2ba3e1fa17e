-- What clients of other makers send and Loom cannot read.
-- depends: 0006.devices

CREATE TABLE device_unrecognized_raw (
    timestamp        timestamptz NOT NULL,
    message_id       uuid        NOT NULL,
    device_id        text        NOT NULL,
    schema_version   text        NOT NULL,
    trace_id         text,
    span_id          text,
    client           text        NOT NULL,
    reason           text        NOT NULL,
    body             text        NOT NULL,
    kafka_partition  integer     NOT NULL,
    kafka_offset     bigint      NOT NULL,
    received_at      timestamptz NOT NULL,
    stored_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_unrecognized_raw_device ON device_unrecognized_raw (device_id, timestamp);
SELECT loom_make_timeseries('device_unrecognized_raw');
COMMENT ON TABLE device_unrecognized_raw IS 'What clients of other makers sent and Loom could not read.';
