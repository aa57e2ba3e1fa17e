-- Derived topics: one table each, filled by a stage, and the places that a person saved.
-- A `<table>_current` view shows the newest computation of each answer by the promoted version of its stage, or by
-- any version where none is promoted.
-- depends: 0002.landing

CREATE TABLE device_sensor_accelerometer_windowed (
    timestamp            timestamptz NOT NULL,
    message_id           uuid        NOT NULL,
    device_id            text        NOT NULL,
    schema_version       text        NOT NULL,
    trace_id             text,
    span_id              text,
    source_message_id    uuid        NOT NULL,
    stage                text        NOT NULL,
    stage_version        text        NOT NULL,
    window_end           timestamptz NOT NULL,
    window_ms            bigint      NOT NULL,
    sample_count         bigint      NOT NULL,
    rate_hz              float8      NOT NULL,
    x_mean_mps2          float8      NOT NULL,
    y_mean_mps2          float8      NOT NULL,
    z_mean_mps2          float8      NOT NULL,
    x_std_mps2           float8      NOT NULL,
    y_std_mps2           float8      NOT NULL,
    z_std_mps2           float8      NOT NULL,
    x_min_mps2           float8      NOT NULL,
    y_min_mps2           float8      NOT NULL,
    z_min_mps2           float8      NOT NULL,
    x_max_mps2           float8      NOT NULL,
    y_max_mps2           float8      NOT NULL,
    z_max_mps2           float8      NOT NULL,
    magnitude_mean_mps2  float8      NOT NULL,
    magnitude_std_mps2   float8      NOT NULL,
    magnitude_min_mps2   float8      NOT NULL,
    magnitude_max_mps2   float8      NOT NULL,
    dynamic_rms_mps2     float8      NOT NULL,
    jerk_rms_mps3        float8,
    crossing_rate_hz     float8,
    run_id               text,
    computed_at          timestamptz NOT NULL DEFAULT now(),
    superseded_at        timestamptz,
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_sensor_accelerometer_windowed_device ON device_sensor_accelerometer_windowed (device_id, timestamp);
SELECT loom_make_timeseries('device_sensor_accelerometer_windowed');
COMMENT ON TABLE device_sensor_accelerometer_windowed IS 'Features of accelerometer samples over windows of event time.';
CREATE VIEW device_sensor_accelerometer_windowed_current AS
SELECT t.* FROM device_sensor_accelerometer_windowed t LEFT JOIN stage_promotions p ON p.stage = t.stage
WHERE t.superseded_at IS NULL AND (p.version IS NULL OR p.version = t.stage_version);

CREATE TABLE location_georegion_detected (
    timestamp               timestamptz NOT NULL,
    message_id              uuid        NOT NULL,
    device_id               text        NOT NULL,
    schema_version          text        NOT NULL,
    trace_id                text,
    span_id                 text,
    source_message_id       uuid        NOT NULL,
    stage                   text        NOT NULL,
    stage_version           text        NOT NULL,
    latitude                float8      NOT NULL,
    longitude               float8      NOT NULL,
    accuracy                float8,
    event                   text        NOT NULL,
    region_id               uuid,
    region_name             text,
    region_kind             text,
    region_revision         bigint,
    distance_m              float8,
    previous_message_id     uuid,
    previous_timestamp      timestamptz,
    seconds_since_previous  float8,
    run_id                  text,
    computed_at             timestamptz NOT NULL DEFAULT now(),
    superseded_at           timestamptz,
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX location_georegion_detected_device ON location_georegion_detected (device_id, timestamp);
CREATE INDEX location_georegion_detected_source ON location_georegion_detected (timestamp, source_message_id);
CREATE INDEX location_georegion_detected_region ON location_georegion_detected (region_id, timestamp) WHERE region_id IS NOT NULL;
SELECT loom_make_timeseries('location_georegion_detected');
COMMENT ON TABLE location_georegion_detected IS 'Presence in saved regions: home, work, and those of the person''s own.';
CREATE VIEW location_georegion_detected_current AS
SELECT t.* FROM location_georegion_detected t LEFT JOIN stage_promotions p ON p.stage = t.stage
WHERE t.superseded_at IS NULL AND (p.version IS NULL OR p.version = t.stage_version);

CREATE TABLE media_audio_vad_filtered (
    timestamp           timestamptz NOT NULL,
    message_id          uuid        NOT NULL,
    device_id           text        NOT NULL,
    schema_version      text        NOT NULL,
    trace_id            text,
    span_id             text,
    source_message_id   uuid        NOT NULL,
    stage               text        NOT NULL,
    stage_version       text        NOT NULL,
    segment_end         timestamptz NOT NULL,
    duration_ms         bigint      NOT NULL,
    sample_rate         bigint      NOT NULL,
    channels            bigint      NOT NULL,
    confidence_mean     float8      NOT NULL,
    confidence_max      float8      NOT NULL,
    chunk_count         bigint      NOT NULL,
    source_message_ids  jsonb       NOT NULL,
    audio_ref           text        NOT NULL,
    audio_sha256        text        NOT NULL,
    audio_size_bytes    bigint      NOT NULL,
    audio_format        text        NOT NULL,
    run_id              text,
    computed_at         timestamptz NOT NULL DEFAULT now(),
    superseded_at       timestamptz,
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX media_audio_vad_filtered_device ON media_audio_vad_filtered (device_id, timestamp);
SELECT loom_make_timeseries('media_audio_vad_filtered');
COMMENT ON TABLE media_audio_vad_filtered IS 'Stretches of audio that hold speech.';
CREATE VIEW media_audio_vad_filtered_current AS
SELECT t.* FROM media_audio_vad_filtered t LEFT JOIN stage_promotions p ON p.stage = t.stage
WHERE t.superseded_at IS NULL AND (p.version IS NULL OR p.version = t.stage_version);

-- Places that a person saved. Every change of one takes a new revision, which the rows made from it carry.
-- A polygon's latitude and longitude are its centroid. `polygon` is a GeoJSON geometry: Polygon or MultiPolygon.
CREATE SEQUENCE georegion_revisions;
CREATE TABLE georegions (
    id          uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    name        text        NOT NULL CHECK (length(name) BETWEEN 1 AND 256),
    kind        text        NOT NULL CHECK (kind IN ('home', 'work', 'custom')),
    shape       text        NOT NULL CHECK (shape IN ('circle', 'polygon')),
    latitude    float8      NOT NULL CHECK (latitude BETWEEN -90 AND 90),
    longitude   float8      NOT NULL CHECK (longitude BETWEEN -180 AND 180),
    radius_m    float8      CHECK (radius_m > 0),
    polygon     jsonb,
    revision    bigint      NOT NULL DEFAULT nextval('georegion_revisions'),
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    deleted_at  timestamptz,
    CHECK ((shape = 'circle') = (radius_m IS NOT NULL)),
    CHECK ((shape = 'polygon') = (polygon IS NOT NULL))
);
ALTER SEQUENCE georegion_revisions OWNED BY georegions.revision;
CREATE UNIQUE INDEX georegions_live_name ON georegions (lower(name)) WHERE deleted_at IS NULL;
COMMENT ON TABLE georegions IS 'Places that a person saved, for location.georegion.detected.';
