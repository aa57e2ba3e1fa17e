-- Regions that are kept on phones, and which device a foreign client's identity is.
-- depends: 0007.clients

CREATE TABLE device_region_transition_raw (
    timestamp          timestamptz NOT NULL,
    message_id         uuid        NOT NULL,
    device_id          text        NOT NULL,
    schema_version     text        NOT NULL,
    trace_id           text,
    span_id            text,
    event              text        NOT NULL,
    region_name        text,
    region_id          text,
    region_created_at  timestamptz,
    trigger            text,
    latitude           float8,
    longitude          float8,
    accuracy           float8,
    details            jsonb,
    kafka_partition    integer     NOT NULL,
    kafka_offset       bigint      NOT NULL,
    received_at        timestamptz NOT NULL,
    stored_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_region_transition_raw_device ON device_region_transition_raw (device_id, timestamp);
SELECT loom_make_timeseries('device_region_transition_raw');
COMMENT ON TABLE device_region_transition_raw IS 'A device came into a region or left it.';

CREATE TABLE device_region_waypoint_raw (
    timestamp        timestamptz NOT NULL,
    message_id       uuid        NOT NULL,
    device_id        text        NOT NULL,
    schema_version   text        NOT NULL,
    trace_id         text,
    span_id          text,
    name             text        NOT NULL,
    region_id        text,
    latitude         float8,
    longitude        float8,
    radius_m         float8,
    beacon_uuid      text,
    beacon_major     bigint,
    beacon_minor     bigint,
    details          jsonb,
    kafka_partition  integer     NOT NULL,
    kafka_offset     bigint      NOT NULL,
    received_at      timestamptz NOT NULL,
    stored_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_region_waypoint_raw_device ON device_region_waypoint_raw (device_id, timestamp);
SELECT loom_make_timeseries('device_region_waypoint_raw');
COMMENT ON TABLE device_region_waypoint_raw IS 'Regions as they are on a device.';

-- device_id is the person's link and wins; seen_device_id is the device that the service last took it for.
CREATE TABLE client_identities (
    client          text        NOT NULL CHECK (length(client) BETWEEN 1 AND 64),
    identity        text        NOT NULL CHECK (length(identity) BETWEEN 1 AND 256),
    device_id       text        CHECK (device_id ~ '^[A-Za-z0-9_-]{3,64}$'),
    linked_at       timestamptz,
    seen_device_id  text,
    first_seen_at   timestamptz,
    last_seen_at    timestamptz,
    PRIMARY KEY (client, identity),
    CHECK ((device_id IS NULL) = (linked_at IS NULL))
);
COMMENT ON TABLE client_identities IS 'What foreign clients call themselves, and which device each is.';
