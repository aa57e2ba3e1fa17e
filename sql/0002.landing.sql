-- Raw topics, as they came: one table each, filled by its landing stage.
-- depends: 0001.engine

CREATE TABLE device_audio_raw (
    timestamp         timestamptz NOT NULL,
    message_id        uuid        NOT NULL,
    device_id         text        NOT NULL,
    schema_version    text        NOT NULL,
    trace_id          text,
    span_id           text,
    audio_ref         text        NOT NULL,
    audio_sha256      text        NOT NULL,
    audio_size_bytes  bigint      NOT NULL,
    sample_rate       bigint      NOT NULL,
    channels          bigint      NOT NULL,
    format            text        NOT NULL,
    duration_ms       bigint      NOT NULL,
    file_id           uuid,
    kafka_partition   integer     NOT NULL,
    kafka_offset      bigint      NOT NULL,
    received_at       timestamptz NOT NULL,
    stored_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_audio_raw_device ON device_audio_raw (device_id, timestamp);
SELECT loom_make_timeseries('device_audio_raw');
COMMENT ON TABLE device_audio_raw IS 'Microphone audio, in chunks.';

CREATE TABLE device_sensor_gps_raw (
    timestamp        timestamptz NOT NULL,
    message_id       uuid        NOT NULL,
    device_id        text        NOT NULL,
    schema_version   text        NOT NULL,
    trace_id         text,
    span_id          text,
    latitude         float8      NOT NULL,
    longitude        float8      NOT NULL,
    altitude         float8,
    accuracy         float8,
    heading          float8,
    speed            float8,
    kafka_partition  integer     NOT NULL,
    kafka_offset     bigint      NOT NULL,
    received_at      timestamptz NOT NULL,
    stored_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_sensor_gps_raw_device ON device_sensor_gps_raw (device_id, timestamp);
SELECT loom_make_timeseries('device_sensor_gps_raw');
COMMENT ON TABLE device_sensor_gps_raw IS 'Positions with their accuracy.';

CREATE TABLE device_sensor_accelerometer_raw (
    timestamp        timestamptz NOT NULL,
    message_id       uuid        NOT NULL,
    device_id        text        NOT NULL,
    schema_version   text        NOT NULL,
    trace_id         text,
    span_id          text,
    x                float8      NOT NULL,
    y                float8      NOT NULL,
    z                float8      NOT NULL,
    kafka_partition  integer     NOT NULL,
    kafka_offset     bigint      NOT NULL,
    received_at      timestamptz NOT NULL,
    stored_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_sensor_accelerometer_raw_device ON device_sensor_accelerometer_raw (device_id, timestamp);
SELECT loom_make_timeseries('device_sensor_accelerometer_raw');
COMMENT ON TABLE device_sensor_accelerometer_raw IS 'Motion on three axes, gravity included.';

CREATE TABLE device_health_heartrate_raw (
    timestamp        timestamptz NOT NULL,
    message_id       uuid        NOT NULL,
    device_id        text        NOT NULL,
    schema_version   text        NOT NULL,
    trace_id         text,
    span_id          text,
    bpm              bigint      NOT NULL,
    confidence       float8,
    kafka_partition  integer     NOT NULL,
    kafka_offset     bigint      NOT NULL,
    received_at      timestamptz NOT NULL,
    stored_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_health_heartrate_raw_device ON device_health_heartrate_raw (device_id, timestamp);
SELECT loom_make_timeseries('device_health_heartrate_raw');
COMMENT ON TABLE device_health_heartrate_raw IS 'Pulse measurements.';

CREATE TABLE device_state_power_raw (
    timestamp        timestamptz NOT NULL,
    message_id       uuid        NOT NULL,
    device_id        text        NOT NULL,
    schema_version   text        NOT NULL,
    trace_id         text,
    span_id          text,
    battery_level    float8      NOT NULL,
    is_charging      boolean     NOT NULL,
    power_source     text,
    kafka_partition  integer     NOT NULL,
    kafka_offset     bigint      NOT NULL,
    received_at      timestamptz NOT NULL,
    stored_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_state_power_raw_device ON device_state_power_raw (device_id, timestamp);
SELECT loom_make_timeseries('device_state_power_raw');
COMMENT ON TABLE device_state_power_raw IS 'Battery level and charging.';

CREATE TABLE device_sensor_temperature_raw (
    timestamp        timestamptz NOT NULL,
    message_id       uuid        NOT NULL,
    device_id        text        NOT NULL,
    schema_version   text        NOT NULL,
    trace_id         text,
    span_id          text,
    sensor_type      text        NOT NULL,
    value            jsonb       NOT NULL,
    unit             text,
    accuracy         float8,
    kafka_partition  integer     NOT NULL,
    kafka_offset     bigint      NOT NULL,
    received_at      timestamptz NOT NULL,
    stored_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_sensor_temperature_raw_device ON device_sensor_temperature_raw (device_id, timestamp);
SELECT loom_make_timeseries('device_sensor_temperature_raw');
COMMENT ON TABLE device_sensor_temperature_raw IS 'Temperature readings.';

CREATE TABLE device_sensor_humidity_raw (
    timestamp        timestamptz NOT NULL,
    message_id       uuid        NOT NULL,
    device_id        text        NOT NULL,
    schema_version   text        NOT NULL,
    trace_id         text,
    span_id          text,
    sensor_type      text        NOT NULL,
    value            jsonb       NOT NULL,
    unit             text,
    accuracy         float8,
    kafka_partition  integer     NOT NULL,
    kafka_offset     bigint      NOT NULL,
    received_at      timestamptz NOT NULL,
    stored_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_sensor_humidity_raw_device ON device_sensor_humidity_raw (device_id, timestamp);
SELECT loom_make_timeseries('device_sensor_humidity_raw');
COMMENT ON TABLE device_sensor_humidity_raw IS 'Relative humidity.';

CREATE TABLE device_sensor_pressure_raw (
    timestamp        timestamptz NOT NULL,
    message_id       uuid        NOT NULL,
    device_id        text        NOT NULL,
    schema_version   text        NOT NULL,
    trace_id         text,
    span_id          text,
    sensor_type      text        NOT NULL,
    value            jsonb       NOT NULL,
    unit             text,
    accuracy         float8,
    kafka_partition  integer     NOT NULL,
    kafka_offset     bigint      NOT NULL,
    received_at      timestamptz NOT NULL,
    stored_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_sensor_pressure_raw_device ON device_sensor_pressure_raw (device_id, timestamp);
SELECT loom_make_timeseries('device_sensor_pressure_raw');
COMMENT ON TABLE device_sensor_pressure_raw IS 'Pressure readings.';

CREATE TABLE device_sensor_light_raw (
    timestamp        timestamptz NOT NULL,
    message_id       uuid        NOT NULL,
    device_id        text        NOT NULL,
    schema_version   text        NOT NULL,
    trace_id         text,
    span_id          text,
    sensor_type      text        NOT NULL,
    value            jsonb       NOT NULL,
    unit             text,
    accuracy         float8,
    kafka_partition  integer     NOT NULL,
    kafka_offset     bigint      NOT NULL,
    received_at      timestamptz NOT NULL,
    stored_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_sensor_light_raw_device ON device_sensor_light_raw (device_id, timestamp);
SELECT loom_make_timeseries('device_sensor_light_raw');
COMMENT ON TABLE device_sensor_light_raw IS 'Intensity of light.';

CREATE TABLE device_sensor_proximity_raw (
    timestamp        timestamptz NOT NULL,
    message_id       uuid        NOT NULL,
    device_id        text        NOT NULL,
    schema_version   text        NOT NULL,
    trace_id         text,
    span_id          text,
    sensor_type      text        NOT NULL,
    value            jsonb       NOT NULL,
    unit             text,
    accuracy         float8,
    kafka_partition  integer     NOT NULL,
    kafka_offset     bigint      NOT NULL,
    received_at      timestamptz NOT NULL,
    stored_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_sensor_proximity_raw_device ON device_sensor_proximity_raw (device_id, timestamp);
SELECT loom_make_timeseries('device_sensor_proximity_raw');
COMMENT ON TABLE device_sensor_proximity_raw IS 'Whether something is near the device.';

CREATE TABLE device_sensor_gyroscope_raw (
    timestamp        timestamptz NOT NULL,
    message_id       uuid        NOT NULL,
    device_id        text        NOT NULL,
    schema_version   text        NOT NULL,
    trace_id         text,
    span_id          text,
    sensor_type      text        NOT NULL,
    value            jsonb       NOT NULL,
    unit             text,
    accuracy         float8,
    kafka_partition  integer     NOT NULL,
    kafka_offset     bigint      NOT NULL,
    received_at      timestamptz NOT NULL,
    stored_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_sensor_gyroscope_raw_device ON device_sensor_gyroscope_raw (device_id, timestamp);
SELECT loom_make_timeseries('device_sensor_gyroscope_raw');
COMMENT ON TABLE device_sensor_gyroscope_raw IS 'Rates of rotation.';

CREATE TABLE device_sensor_magnetometer_raw (
    timestamp        timestamptz NOT NULL,
    message_id       uuid        NOT NULL,
    device_id        text        NOT NULL,
    schema_version   text        NOT NULL,
    trace_id         text,
    span_id          text,
    sensor_type      text        NOT NULL,
    value            jsonb       NOT NULL,
    unit             text,
    accuracy         float8,
    kafka_partition  integer     NOT NULL,
    kafka_offset     bigint      NOT NULL,
    received_at      timestamptz NOT NULL,
    stored_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_sensor_magnetometer_raw_device ON device_sensor_magnetometer_raw (device_id, timestamp);
SELECT loom_make_timeseries('device_sensor_magnetometer_raw');
COMMENT ON TABLE device_sensor_magnetometer_raw IS 'Magnetic field.';

CREATE TABLE device_sensor_barometer_raw (
    timestamp        timestamptz NOT NULL,
    message_id       uuid        NOT NULL,
    device_id        text        NOT NULL,
    schema_version   text        NOT NULL,
    trace_id         text,
    span_id          text,
    sensor_type      text        NOT NULL,
    value            jsonb       NOT NULL,
    unit             text,
    accuracy         float8,
    kafka_partition  integer     NOT NULL,
    kafka_offset     bigint      NOT NULL,
    received_at      timestamptz NOT NULL,
    stored_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_sensor_barometer_raw_device ON device_sensor_barometer_raw (device_id, timestamp);
SELECT loom_make_timeseries('device_sensor_barometer_raw');
COMMENT ON TABLE device_sensor_barometer_raw IS 'Atmospheric pressure.';
