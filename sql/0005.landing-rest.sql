-- The other raw topics, as they came: applications, the system, pictures, networks, the person's digital life.
-- depends: 0004.datasets

CREATE TABLE device_health_steps_raw (
    timestamp         timestamptz NOT NULL,
    message_id        uuid        NOT NULL,
    device_id         text        NOT NULL,
    schema_version    text        NOT NULL,
    trace_id          text,
    span_id           text,
    steps             bigint      NOT NULL,
    interval_seconds  float8,
    distance_m        float8,
    floors_climbed    bigint,
    kafka_partition   integer     NOT NULL,
    kafka_offset      bigint      NOT NULL,
    received_at       timestamptz NOT NULL,
    stored_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_health_steps_raw_device ON device_health_steps_raw (device_id, timestamp);
SELECT loom_make_timeseries('device_health_steps_raw');
COMMENT ON TABLE device_health_steps_raw IS 'Steps counted.';

CREATE TABLE device_image_camera_raw (
    timestamp         timestamptz NOT NULL,
    message_id        uuid        NOT NULL,
    device_id         text        NOT NULL,
    schema_version    text        NOT NULL,
    trace_id          text,
    span_id           text,
    image_ref         text        NOT NULL,
    image_sha256      text        NOT NULL,
    image_size_bytes  bigint      NOT NULL,
    format            text        NOT NULL,
    width_px          bigint,
    height_px         bigint,
    kind              text        NOT NULL,
    camera            text,
    orientation_deg   bigint,
    latitude          float8,
    longitude         float8,
    file_name         text,
    trigger           text,
    kafka_partition   integer     NOT NULL,
    kafka_offset      bigint      NOT NULL,
    received_at       timestamptz NOT NULL,
    stored_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_image_camera_raw_device ON device_image_camera_raw (device_id, timestamp);
SELECT loom_make_timeseries('device_image_camera_raw');
COMMENT ON TABLE device_image_camera_raw IS 'Photos from cameras, and screenshots.';

CREATE TABLE device_video_screen_raw (
    timestamp         timestamptz NOT NULL,
    message_id        uuid        NOT NULL,
    device_id         text        NOT NULL,
    schema_version    text        NOT NULL,
    trace_id          text,
    span_id           text,
    frame_ref         text        NOT NULL,
    frame_sha256      text        NOT NULL,
    frame_size_bytes  bigint      NOT NULL,
    format            text        NOT NULL,
    width_px          bigint,
    height_px         bigint,
    recording_id      text,
    frame_number      bigint,
    display           text,
    app_identifier    text,
    window_title      text,
    kafka_partition   integer     NOT NULL,
    kafka_offset      bigint      NOT NULL,
    received_at       timestamptz NOT NULL,
    stored_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_video_screen_raw_device ON device_video_screen_raw (device_id, timestamp);
SELECT loom_make_timeseries('device_video_screen_raw');
COMMENT ON TABLE device_video_screen_raw IS 'Keyframes of screen recordings.';

CREATE TABLE device_system_apps_macos_raw (
    timestamp             timestamptz NOT NULL,
    message_id            uuid        NOT NULL,
    device_id             text        NOT NULL,
    schema_version        text        NOT NULL,
    trace_id              text,
    span_id               text,
    running_applications  jsonb       NOT NULL,
    kafka_partition       integer     NOT NULL,
    kafka_offset          bigint      NOT NULL,
    received_at           timestamptz NOT NULL,
    stored_at             timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_system_apps_macos_raw_device ON device_system_apps_macos_raw (device_id, timestamp);
SELECT loom_make_timeseries('device_system_apps_macos_raw');
COMMENT ON TABLE device_system_apps_macos_raw IS 'Applications that run on a Mac.';

CREATE TABLE device_system_apps_android_raw (
    timestamp             timestamptz NOT NULL,
    message_id            uuid        NOT NULL,
    device_id             text        NOT NULL,
    schema_version        text        NOT NULL,
    trace_id              text,
    span_id               text,
    running_applications  jsonb       NOT NULL,
    kafka_partition       integer     NOT NULL,
    kafka_offset          bigint      NOT NULL,
    received_at           timestamptz NOT NULL,
    stored_at             timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_system_apps_android_raw_device ON device_system_apps_android_raw (device_id, timestamp);
SELECT loom_make_timeseries('device_system_apps_android_raw');
COMMENT ON TABLE device_system_apps_android_raw IS 'Applications that run on an Android device.';

CREATE TABLE device_system_apps_android_usage_raw (
    timestamp                 timestamptz NOT NULL,
    message_id                uuid        NOT NULL,
    device_id                 text        NOT NULL,
    schema_version            text        NOT NULL,
    trace_id                  text,
    span_id                   text,
    aggregation_period_start  timestamptz,
    aggregation_period_end    timestamptz,
    usage_stats               jsonb       NOT NULL,
    kafka_partition           integer     NOT NULL,
    kafka_offset              bigint      NOT NULL,
    received_at               timestamptz NOT NULL,
    stored_at                 timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_system_apps_android_usage_raw_device ON device_system_apps_android_usage_raw (device_id, timestamp);
SELECT loom_make_timeseries('device_system_apps_android_usage_raw');
COMMENT ON TABLE device_system_apps_android_usage_raw IS 'How applications were used on an Android device, as its UsageStats tell.';

CREATE TABLE device_metadata_raw (
    timestamp        timestamptz NOT NULL,
    message_id       uuid        NOT NULL,
    device_id        text        NOT NULL,
    schema_version   text        NOT NULL,
    trace_id         text,
    span_id          text,
    metadata_type    text        NOT NULL,
    metadata         jsonb       NOT NULL,
    kafka_partition  integer     NOT NULL,
    kafka_offset     bigint      NOT NULL,
    received_at      timestamptz NOT NULL,
    stored_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_metadata_raw_device ON device_metadata_raw (device_id, timestamp);
SELECT loom_make_timeseries('device_metadata_raw');
COMMENT ON TABLE device_metadata_raw IS 'Capabilities, hardware, software and settings of a device.';

CREATE TABLE device_network_wifi_raw (
    timestamp        timestamptz NOT NULL,
    message_id       uuid        NOT NULL,
    device_id        text        NOT NULL,
    schema_version   text        NOT NULL,
    trace_id         text,
    span_id          text,
    connected        boolean     NOT NULL,
    ssid             text,
    bssid            text,
    signal_dbm       float8,
    frequency_mhz    float8,
    link_speed_mbps  float8,
    ip_address       text,
    security         text,
    kafka_partition  integer     NOT NULL,
    kafka_offset     bigint      NOT NULL,
    received_at      timestamptz NOT NULL,
    stored_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_network_wifi_raw_device ON device_network_wifi_raw (device_id, timestamp);
SELECT loom_make_timeseries('device_network_wifi_raw');
COMMENT ON TABLE device_network_wifi_raw IS 'State of the Wi-Fi connection.';

CREATE TABLE device_network_bluetooth_raw (
    timestamp         timestamptz NOT NULL,
    message_id        uuid        NOT NULL,
    device_id         text        NOT NULL,
    schema_version    text        NOT NULL,
    trace_id          text,
    span_id           text,
    devices           jsonb       NOT NULL,
    scan_duration_ms  bigint,
    kafka_partition   integer     NOT NULL,
    kafka_offset      bigint      NOT NULL,
    received_at       timestamptz NOT NULL,
    stored_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_network_bluetooth_raw_device ON device_network_bluetooth_raw (device_id, timestamp);
SELECT loom_make_timeseries('device_network_bluetooth_raw');
COMMENT ON TABLE device_network_bluetooth_raw IS 'Bluetooth devices nearby.';

CREATE TABLE os_events_app_lifecycle_raw (
    timestamp         timestamptz NOT NULL,
    message_id        uuid        NOT NULL,
    device_id         text        NOT NULL,
    schema_version    text        NOT NULL,
    trace_id          text,
    span_id           text,
    app_identifier    text        NOT NULL,
    app_name          text,
    event_type        text        NOT NULL,
    duration_seconds  float8,
    metadata          jsonb,
    kafka_partition   integer     NOT NULL,
    kafka_offset      bigint      NOT NULL,
    received_at       timestamptz NOT NULL,
    stored_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX os_events_app_lifecycle_raw_device ON os_events_app_lifecycle_raw (device_id, timestamp);
SELECT loom_make_timeseries('os_events_app_lifecycle_raw');
COMMENT ON TABLE os_events_app_lifecycle_raw IS 'Applications that come, go, or change their place.';

CREATE TABLE os_events_system_raw (
    timestamp        timestamptz NOT NULL,
    message_id       uuid        NOT NULL,
    device_id        text        NOT NULL,
    schema_version   text        NOT NULL,
    trace_id         text,
    span_id          text,
    event_type       text        NOT NULL,
    event_category   text        NOT NULL,
    severity         text        NOT NULL,
    description      text,
    metadata         jsonb,
    kafka_partition  integer     NOT NULL,
    kafka_offset     bigint      NOT NULL,
    received_at      timestamptz NOT NULL,
    stored_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX os_events_system_raw_device ON os_events_system_raw (device_id, timestamp);
SELECT loom_make_timeseries('os_events_system_raw');
COMMENT ON TABLE os_events_system_raw IS 'Screen on and off, lock and unlock, charger.';

CREATE TABLE os_events_notifications_raw (
    timestamp        timestamptz NOT NULL,
    message_id       uuid        NOT NULL,
    device_id        text        NOT NULL,
    schema_version   text        NOT NULL,
    trace_id         text,
    span_id          text,
    notification_id  text        NOT NULL,
    app_identifier   text        NOT NULL,
    app_name         text,
    title            text,
    body             text,
    action           text        NOT NULL,
    priority         text,
    category         text,
    metadata         jsonb,
    kafka_partition  integer     NOT NULL,
    kafka_offset     bigint      NOT NULL,
    received_at      timestamptz NOT NULL,
    stored_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX os_events_notifications_raw_device ON os_events_notifications_raw (device_id, timestamp);
SELECT loom_make_timeseries('os_events_notifications_raw');
COMMENT ON TABLE os_events_notifications_raw IS 'Notifications that were shown or answered.';

CREATE TABLE digital_clipboard_raw (
    timestamp        timestamptz NOT NULL,
    message_id       uuid        NOT NULL,
    device_id        text        NOT NULL,
    schema_version   text        NOT NULL,
    trace_id         text,
    span_id          text,
    content          text        NOT NULL,
    content_type     text        NOT NULL,
    source_app       text,
    truncated        boolean     NOT NULL,
    kafka_partition  integer     NOT NULL,
    kafka_offset     bigint      NOT NULL,
    received_at      timestamptz NOT NULL,
    stored_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX digital_clipboard_raw_device ON digital_clipboard_raw (device_id, timestamp);
SELECT loom_make_timeseries('digital_clipboard_raw');
COMMENT ON TABLE digital_clipboard_raw IS 'What is copied.';

CREATE TABLE digital_web_analytics_raw (
    timestamp         timestamptz NOT NULL,
    message_id        uuid        NOT NULL,
    device_id         text        NOT NULL,
    schema_version    text        NOT NULL,
    trace_id          text,
    span_id           text,
    url               text        NOT NULL,
    event_type        text        NOT NULL,
    title             text,
    referrer          text,
    session_id        text,
    duration_seconds  float8,
    source            text,
    user_agent        text,
    properties        jsonb,
    kafka_partition   integer     NOT NULL,
    kafka_offset      bigint      NOT NULL,
    received_at       timestamptz NOT NULL,
    stored_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX digital_web_analytics_raw_device ON digital_web_analytics_raw (device_id, timestamp);
SELECT loom_make_timeseries('digital_web_analytics_raw');
COMMENT ON TABLE digital_web_analytics_raw IS 'Visits to web pages.';

CREATE TABLE task_url_ingest (
    timestamp        timestamptz NOT NULL,
    message_id       uuid        NOT NULL,
    device_id        text        NOT NULL,
    schema_version   text        NOT NULL,
    trace_id         text,
    span_id          text,
    url              text        NOT NULL,
    kind             text        NOT NULL,
    origin           text,
    priority         bigint      NOT NULL,
    metadata         jsonb,
    kafka_partition  integer     NOT NULL,
    kafka_offset     bigint      NOT NULL,
    received_at      timestamptz NOT NULL,
    stored_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX task_url_ingest_device ON task_url_ingest (device_id, timestamp);
SELECT loom_make_timeseries('task_url_ingest');
COMMENT ON TABLE task_url_ingest IS 'Addresses to be processed: posts, PDFs, web pages.';
