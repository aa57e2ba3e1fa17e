-- What phones' own apps tell beside their positions, and the phones that registered as Home Assistant's companion app.
-- depends: 0007.clients

CREATE TABLE device_motion_activity_raw (
    timestamp        timestamptz NOT NULL,
    message_id       uuid        NOT NULL,
    device_id        text        NOT NULL,
    schema_version   text        NOT NULL,
    trace_id         text,
    span_id          text,
    activities       jsonb       NOT NULL,
    confidence       text,
    details          jsonb,
    kafka_partition  integer     NOT NULL,
    kafka_offset     bigint      NOT NULL,
    received_at      timestamptz NOT NULL,
    stored_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_motion_activity_raw_device ON device_motion_activity_raw (device_id, timestamp);
SELECT loom_make_timeseries('device_motion_activity_raw');
COMMENT ON TABLE device_motion_activity_raw IS 'What a device takes its bearer to be doing.';

CREATE TABLE device_location_report_raw (
    timestamp          timestamptz NOT NULL,
    message_id         uuid        NOT NULL,
    device_id          text        NOT NULL,
    schema_version     text        NOT NULL,
    trace_id           text,
    span_id            text,
    event              text,
    latitude           float8,
    longitude          float8,
    vertical_accuracy  float8,
    speed_accuracy     float8,
    heading_accuracy   float8,
    place              text,
    details            jsonb,
    kafka_partition    integer     NOT NULL,
    kafka_offset       bigint      NOT NULL,
    received_at        timestamptz NOT NULL,
    stored_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_location_report_raw_device ON device_location_report_raw (device_id, timestamp);
SELECT loom_make_timeseries('device_location_report_raw');
COMMENT ON TABLE device_location_report_raw IS 'What a device said of a position besides the fix, and events of its locating.';

CREATE TABLE device_location_visit_raw (
    timestamp        timestamptz NOT NULL,
    message_id       uuid        NOT NULL,
    device_id        text        NOT NULL,
    schema_version   text        NOT NULL,
    trace_id         text,
    span_id          text,
    latitude         float8      NOT NULL,
    longitude        float8      NOT NULL,
    accuracy         float8,
    arrived_at       timestamptz,
    departed_at      timestamptz,
    details          jsonb,
    kafka_partition  integer     NOT NULL,
    kafka_offset     bigint      NOT NULL,
    received_at      timestamptz NOT NULL,
    stored_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_location_visit_raw_device ON device_location_visit_raw (device_id, timestamp);
SELECT loom_make_timeseries('device_location_visit_raw');
COMMENT ON TABLE device_location_visit_raw IS 'Stays at places, as the device found them.';

CREATE TABLE device_location_trip_raw (
    timestamp              timestamptz NOT NULL,
    message_id             uuid        NOT NULL,
    device_id              text        NOT NULL,
    schema_version         text        NOT NULL,
    trace_id               text,
    span_id                text,
    state                  text        NOT NULL,
    mode                   text,
    started_at             timestamptz,
    ended_at               timestamptz,
    duration_seconds       float8,
    distance_m             float8,
    steps                  bigint,
    stopped_automatically  boolean,
    start_latitude         float8,
    start_longitude        float8,
    end_latitude           float8,
    end_longitude          float8,
    details                jsonb,
    kafka_partition        integer     NOT NULL,
    kafka_offset           bigint      NOT NULL,
    received_at            timestamptz NOT NULL,
    stored_at              timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_location_trip_raw_device ON device_location_trip_raw (device_id, timestamp);
SELECT loom_make_timeseries('device_location_trip_raw');
COMMENT ON TABLE device_location_trip_raw IS 'Trips that the person recorded.';

CREATE TABLE device_sensor_state_raw (
    timestamp        timestamptz NOT NULL,
    message_id       uuid        NOT NULL,
    device_id        text        NOT NULL,
    schema_version   text        NOT NULL,
    trace_id         text,
    span_id          text,
    sensor_id        text        NOT NULL,
    name             text,
    kind             text,
    state            text,
    value            float8,
    unit             text,
    device_class     text,
    attributes       jsonb,
    kafka_partition  integer     NOT NULL,
    kafka_offset     bigint      NOT NULL,
    received_at      timestamptz NOT NULL,
    stored_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_sensor_state_raw_device ON device_sensor_state_raw (device_id, timestamp);
SELECT loom_make_timeseries('device_sensor_state_raw');
COMMENT ON TABLE device_sensor_state_raw IS 'States of any sensor that a phone''s app knows.';

CREATE TABLE device_health_metric_raw (
    timestamp         timestamptz NOT NULL,
    message_id        uuid        NOT NULL,
    device_id         text        NOT NULL,
    schema_version    text        NOT NULL,
    trace_id          text,
    span_id           text,
    metric            text        NOT NULL,
    unit              text,
    value             float8,
    minimum           float8,
    average           float8,
    maximum           float8,
    interval_seconds  float8,
    source            text,
    attributes        jsonb,
    kafka_partition   integer     NOT NULL,
    kafka_offset      bigint      NOT NULL,
    received_at       timestamptz NOT NULL,
    stored_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_health_metric_raw_device ON device_health_metric_raw (device_id, timestamp);
SELECT loom_make_timeseries('device_health_metric_raw');
COMMENT ON TABLE device_health_metric_raw IS 'Measurements of the body of every kind.';

CREATE TABLE device_health_workout_raw (
    timestamp               timestamptz NOT NULL,
    message_id              uuid        NOT NULL,
    device_id               text        NOT NULL,
    schema_version          text        NOT NULL,
    trace_id                text,
    span_id                 text,
    name                    text        NOT NULL,
    workout_id              text,
    ended_at                timestamptz,
    duration_seconds        float8,
    location                text,
    distance_m              float8,
    active_energy_kcal      float8,
    steps                   bigint,
    average_heart_rate_bpm  float8,
    maximum_heart_rate_bpm  float8,
    route_points            bigint,
    details                 jsonb,
    kafka_partition         integer     NOT NULL,
    kafka_offset            bigint      NOT NULL,
    received_at             timestamptz NOT NULL,
    stored_at               timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_health_workout_raw_device ON device_health_workout_raw (device_id, timestamp);
SELECT loom_make_timeseries('device_health_workout_raw');
COMMENT ON TABLE device_health_workout_raw IS 'Workouts.';

CREATE TABLE homeassistant_registrations (
    webhook_sha256  bytea       PRIMARY KEY CHECK (octet_length(webhook_sha256) = 32),
    device_id       text        NOT NULL,
    registration    jsonb       NOT NULL,
    secret          text,
    sensors         jsonb       NOT NULL DEFAULT '{}',
    created_at      timestamptz NOT NULL DEFAULT now(),
    last_used_at    timestamptz,
    deleted_at      timestamptz
);
CREATE INDEX homeassistant_registrations_device ON homeassistant_registrations (device_id);
COMMENT ON TABLE homeassistant_registrations IS
    'Phones with the Home Assistant companion app. The webhook id, which is a credential, is kept as its SHA-256 only; secret is the key of encrypted payloads.';
