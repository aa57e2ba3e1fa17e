-- What ActivityWatch's watchers see: their buckets, every state of every event, and the events as they are now.
-- depends: 0007.clients

CREATE TABLE digital_activitywatch_raw (
    timestamp          timestamptz NOT NULL,
    message_id         uuid        NOT NULL,
    device_id          text        NOT NULL,
    schema_version     text        NOT NULL,
    trace_id           text,
    span_id            text,
    bucket_id          text        NOT NULL,
    bucket_type        text        NOT NULL,
    client             text        NOT NULL,
    hostname           text        NOT NULL,
    generation         bigint,
    event_id           uuid        NOT NULL,
    revision           bigint      NOT NULL,
    deleted            boolean     NOT NULL,
    duration_seconds   float8      NOT NULL,
    pulsetime_seconds  float8,
    data               jsonb       NOT NULL,
    kafka_partition    integer     NOT NULL,
    kafka_offset       bigint      NOT NULL,
    received_at        timestamptz NOT NULL,
    stored_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX digital_activitywatch_raw_device ON digital_activitywatch_raw (device_id, timestamp);
CREATE INDEX digital_activitywatch_raw_bucket ON digital_activitywatch_raw (bucket_id, timestamp);
CREATE INDEX digital_activitywatch_raw_deleted ON digital_activitywatch_raw (bucket_id, event_id) WHERE deleted;
SELECT loom_make_timeseries('digital_activitywatch_raw');
COMMENT ON TABLE digital_activitywatch_raw IS 'Windows, presence at the keyboard and pages that ActivityWatch''s watchers saw.';

-- A deletion erases nothing: it adds one to `generation`, and events of an earlier one are no longer shown; of those whose
-- generation nobody knew, because the database was away, those that came before `emptied_at`.
CREATE TABLE activitywatch_buckets (
    device_id    text        NOT NULL,
    bucket_id    text        NOT NULL,
    bucket_type  text        NOT NULL,
    client       text        NOT NULL,
    hostname     text        NOT NULL,
    data         jsonb       NOT NULL DEFAULT '{}',
    generation   bigint      NOT NULL DEFAULT 0,
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL DEFAULT now(),
    deleted_at   timestamptz,
    emptied_at   timestamptz,
    last_event   jsonb,
    PRIMARY KEY (device_id, bucket_id)
);
CREATE INDEX activitywatch_buckets_id ON activitywatch_buckets (bucket_id);
COMMENT ON TABLE activitywatch_buckets IS 'Buckets of ActivityWatch''s watchers, and the event that the next heartbeat may extend.';

-- Of an event's states the one of the highest revision is the event, and among those the longest.
CREATE VIEW digital_activitywatch_events AS
SELECT r.timestamp, r.timestamp + r.duration_seconds * interval '1 second' AS ended_at, r.duration_seconds,
       r.device_id, r.bucket_id, r.bucket_type, r.client, r.hostname, r.data, r.event_id, r.revision, r.message_id
FROM digital_activitywatch_raw r
LEFT JOIN activitywatch_buckets b ON (b.device_id, b.bucket_id) = (r.device_id, r.bucket_id)
WHERE NOT r.deleted
  AND (b.emptied_at IS NULL OR r.generation >= b.generation OR (r.generation IS NULL AND r.received_at > b.emptied_at))
  AND NOT EXISTS (
      SELECT FROM digital_activitywatch_raw n
      WHERE n.timestamp = r.timestamp AND n.event_id = r.event_id
        AND (n.revision, n.duration_seconds, n.message_id) > (r.revision, r.duration_seconds, r.message_id)
  );
COMMENT ON VIEW digital_activitywatch_events IS 'Events of ActivityWatch''s watchers as they are now.';
