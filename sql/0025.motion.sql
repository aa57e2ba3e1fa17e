-- What the accelerometer tells of the person: beginnings and ends of motion, and what they do.
-- depends: 0022.lineage

ALTER TABLE device_sensor_accelerometer_windowed ADD COLUMN rhythm_hz float8, ADD COLUMN rhythm_share float8;
CREATE OR REPLACE VIEW device_sensor_accelerometer_windowed_current AS
SELECT t.* FROM device_sensor_accelerometer_windowed t LEFT JOIN stage_promotions p ON p.stage = t.stage
WHERE t.superseded_at IS NULL AND (p.version IS NULL OR p.version = t.stage_version);

CREATE TABLE motion_events_significant (
    timestamp          timestamptz NOT NULL,
    message_id         uuid        NOT NULL,
    device_id          text        NOT NULL,
    schema_version     text        NOT NULL,
    trace_id           text,
    span_id            text,
    source_message_id  uuid        NOT NULL,
    stage              text        NOT NULL,
    stage_version      text        NOT NULL,
    event              text        NOT NULL,
    intensity_mps2     float8      NOT NULL,
    run_id             text,
    computed_at        timestamptz NOT NULL DEFAULT now(),
    superseded_at      timestamptz,
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX motion_events_significant_device ON motion_events_significant (device_id, timestamp);
SELECT loom_make_timeseries('motion_events_significant');
COMMENT ON TABLE motion_events_significant IS 'Beginnings and ends of motion, and sudden ones.';
CREATE VIEW motion_events_significant_current AS
SELECT t.* FROM motion_events_significant t LEFT JOIN stage_promotions p ON p.stage = t.stage
WHERE t.superseded_at IS NULL AND (p.version IS NULL OR p.version = t.stage_version);

CREATE TABLE motion_classification_activity (
    timestamp          timestamptz NOT NULL,
    message_id         uuid        NOT NULL,
    device_id          text        NOT NULL,
    schema_version     text        NOT NULL,
    trace_id           text,
    span_id            text,
    source_message_id  uuid        NOT NULL,
    stage              text        NOT NULL,
    stage_version      text        NOT NULL,
    window_end         timestamptz NOT NULL,
    activity           text        NOT NULL,
    confidence         float8      NOT NULL,
    run_id             text,
    computed_at        timestamptz NOT NULL DEFAULT now(),
    superseded_at      timestamptz,
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX motion_classification_activity_device ON motion_classification_activity (device_id, timestamp);
SELECT loom_make_timeseries('motion_classification_activity');
COMMENT ON TABLE motion_classification_activity IS 'What the person does: still, walking, running, cycling, in a vehicle.';
CREATE VIEW motion_classification_activity_current AS
SELECT t.* FROM motion_classification_activity t LEFT JOIN stage_promotions p ON p.stage = t.stage
WHERE t.superseded_at IS NULL AND (p.version IS NULL OR p.version = t.stage_version);
