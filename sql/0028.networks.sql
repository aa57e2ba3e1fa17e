-- The network flow: Wi-Fi and Bluetooth with what changed, stays on networks, devices that were near, and what the person says
-- of networks.
-- depends: 0022.lineage

CREATE TABLE device_network_wifi_enriched (
    timestamp               timestamptz NOT NULL,
    message_id              uuid        NOT NULL,
    device_id               text        NOT NULL,
    schema_version          text        NOT NULL,
    trace_id                text,
    span_id                 text,
    source_message_id       uuid        NOT NULL,
    stage                   text        NOT NULL,
    stage_version           text        NOT NULL,
    event                   text        NOT NULL,
    network                 text,
    bssid                   text,
    signal_quality          float8,
    band                    text,
    channel                 bigint,
    is_open                 boolean,
    hint                    text,
    seconds_since_previous  float8,
    latitude                float8,
    longitude               float8,
    accuracy                float8,
    seconds_to_fix          float8,
    region_id               uuid,
    region_name             text,
    region_kind             text,
    run_id                  text,
    computed_at             timestamptz NOT NULL DEFAULT now(),
    superseded_at           timestamptz,
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_network_wifi_enriched_device ON device_network_wifi_enriched (device_id, timestamp);
CREATE INDEX device_network_wifi_enriched_source ON device_network_wifi_enriched (timestamp, source_message_id);
SELECT loom_make_timeseries('device_network_wifi_enriched');
COMMENT ON TABLE device_network_wifi_enriched IS 'States of the Wi-Fi connection with what changed, and where the device was.';
CREATE VIEW device_network_wifi_enriched_current AS
SELECT t.* FROM device_network_wifi_enriched t LEFT JOIN stage_promotions p ON p.stage = t.stage
WHERE t.superseded_at IS NULL AND (p.version IS NULL OR p.version = t.stage_version);

CREATE TABLE device_network_bluetooth_enriched (
    timestamp          timestamptz NOT NULL,
    message_id         uuid        NOT NULL,
    device_id          text        NOT NULL,
    schema_version     text        NOT NULL,
    trace_id           text,
    span_id            text,
    source_message_id  uuid        NOT NULL,
    stage              text        NOT NULL,
    stage_version      text        NOT NULL,
    device_count       bigint      NOT NULL,
    connected_count    bigint      NOT NULL,
    paired_count       bigint      NOT NULL,
    named_count        bigint      NOT NULL,
    arrived_count      bigint      NOT NULL,
    left_count         bigint      NOT NULL,
    nearest_name       text,
    nearest_dbm        float8,
    connected_names    jsonb       NOT NULL,
    run_id             text,
    computed_at        timestamptz NOT NULL DEFAULT now(),
    superseded_at      timestamptz,
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_network_bluetooth_enriched_device ON device_network_bluetooth_enriched (device_id, timestamp);
CREATE INDEX device_network_bluetooth_enriched_source ON device_network_bluetooth_enriched (timestamp, source_message_id);
SELECT loom_make_timeseries('device_network_bluetooth_enriched');
COMMENT ON TABLE device_network_bluetooth_enriched IS 'Scans for Bluetooth devices with what is new in them.';
CREATE VIEW device_network_bluetooth_enriched_current AS
SELECT t.* FROM device_network_bluetooth_enriched t LEFT JOIN stage_promotions p ON p.stage = t.stage
WHERE t.superseded_at IS NULL AND (p.version IS NULL OR p.version = t.stage_version);

CREATE TABLE device_network_bluetooth_detected (
    timestamp          timestamptz NOT NULL,
    message_id         uuid        NOT NULL,
    device_id          text        NOT NULL,
    schema_version     text        NOT NULL,
    trace_id           text,
    span_id            text,
    source_message_id  uuid        NOT NULL,
    stage              text        NOT NULL,
    stage_version      text        NOT NULL,
    address            text        NOT NULL,
    name               text,
    device_class       text,
    ended_at           timestamptz,
    is_open            boolean     NOT NULL,
    is_continued       boolean     NOT NULL,
    duration_seconds   float8,
    is_own             boolean     NOT NULL,
    run_id             text,
    computed_at        timestamptz NOT NULL DEFAULT now(),
    superseded_at      timestamptz,
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_network_bluetooth_detected_device ON device_network_bluetooth_detected (device_id, timestamp);
SELECT loom_make_timeseries('device_network_bluetooth_detected');
COMMENT ON TABLE device_network_bluetooth_detected IS 'From when to when a Bluetooth device was near.';
CREATE VIEW device_network_bluetooth_detected_current AS
SELECT t.* FROM device_network_bluetooth_detected t LEFT JOIN stage_promotions p ON p.stage = t.stage
WHERE t.superseded_at IS NULL AND (p.version IS NULL OR p.version = t.stage_version);

CREATE TABLE location_network_detected (
    timestamp          timestamptz NOT NULL,
    message_id         uuid        NOT NULL,
    device_id          text        NOT NULL,
    schema_version     text        NOT NULL,
    trace_id           text,
    span_id            text,
    source_message_id  uuid        NOT NULL,
    stage              text        NOT NULL,
    stage_version      text        NOT NULL,
    network            text        NOT NULL,
    bssid              text,
    ended_at           timestamptz,
    is_open            boolean     NOT NULL,
    is_continued       boolean     NOT NULL,
    duration_seconds   float8,
    observed_share     float8,
    hint               text,
    run_id             text,
    computed_at        timestamptz NOT NULL DEFAULT now(),
    superseded_at      timestamptz,
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX location_network_detected_device ON location_network_detected (device_id, timestamp);
SELECT loom_make_timeseries('location_network_detected');
COMMENT ON TABLE location_network_detected IS 'Stays on a Wi-Fi network: from when to when, which tells of a place without a position.';
CREATE VIEW location_network_detected_current AS
SELECT t.* FROM location_network_detected t LEFT JOIN stage_promotions p ON p.stage = t.stage
WHERE t.superseded_at IS NULL AND (p.version IS NULL OR p.version = t.stage_version);

CREATE TABLE network_categories (
    network   text        PRIMARY KEY CHECK (length(network) BETWEEN 1 AND 256),
    category  text        NOT NULL CHECK (category IN ('home', 'work', 'public', 'hotspot', 'other')),
    set_at    timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE network_categories IS 'What networks are to the person, by name or by address of the access point.';
