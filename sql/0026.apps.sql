-- The apps flow: events with category and session, sessions, Android's usage statistics beside them; a person's categories.
-- depends: 0022.lineage

CREATE TABLE os_events_app_lifecycle_enriched (
    timestamp                 timestamptz NOT NULL,
    message_id                uuid        NOT NULL,
    device_id                 text        NOT NULL,
    schema_version            text        NOT NULL,
    trace_id                  text,
    span_id                   text,
    source_message_id         uuid        NOT NULL,
    stage                     text        NOT NULL,
    stage_version             text        NOT NULL,
    app_identifier            text        NOT NULL,
    app_name                  text,
    event_type                text        NOT NULL,
    app_category              text        NOT NULL,
    session_id                uuid,
    session_started_at        timestamptz,
    session_duration_seconds  float8,
    previous_app_identifier   text,
    run_id                    text,
    computed_at               timestamptz NOT NULL DEFAULT now(),
    superseded_at             timestamptz,
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX os_events_app_lifecycle_enriched_device ON os_events_app_lifecycle_enriched (device_id, timestamp);
SELECT loom_make_timeseries('os_events_app_lifecycle_enriched');
COMMENT ON TABLE os_events_app_lifecycle_enriched IS 'Applications'' events with category and session.';
CREATE VIEW os_events_app_lifecycle_enriched_current AS
SELECT t.* FROM os_events_app_lifecycle_enriched t LEFT JOIN stage_promotions p ON p.stage = t.stage
WHERE t.superseded_at IS NULL AND (p.version IS NULL OR p.version = t.stage_version);

CREATE TABLE os_events_app_session_detected (
    timestamp          timestamptz NOT NULL,
    message_id         uuid        NOT NULL,
    device_id          text        NOT NULL,
    schema_version     text        NOT NULL,
    trace_id           text,
    span_id            text,
    source_message_id  uuid        NOT NULL,
    stage              text        NOT NULL,
    stage_version      text        NOT NULL,
    session_id         uuid        NOT NULL,
    app_identifier     text        NOT NULL,
    app_name           text,
    app_category       text        NOT NULL,
    is_open            boolean     NOT NULL,
    started_by         text        NOT NULL,
    ended_at           timestamptz,
    ended_by           text,
    duration_seconds   float8,
    run_id             text,
    computed_at        timestamptz NOT NULL DEFAULT now(),
    superseded_at      timestamptz,
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX os_events_app_session_detected_device ON os_events_app_session_detected (device_id, timestamp);
SELECT loom_make_timeseries('os_events_app_session_detected');
COMMENT ON TABLE os_events_app_session_detected IS 'Stretches of time with one application in front.';
CREATE VIEW os_events_app_session_detected_current AS
SELECT t.* FROM os_events_app_session_detected t LEFT JOIN stage_promotions p ON p.stage = t.stage
WHERE t.superseded_at IS NULL AND (p.version IS NULL OR p.version = t.stage_version);

CREATE TABLE device_system_apps_android_usage_reconciled (
    timestamp          timestamptz NOT NULL,
    message_id         uuid        NOT NULL,
    device_id          text        NOT NULL,
    schema_version     text        NOT NULL,
    trace_id           text,
    span_id            text,
    source_message_id  uuid        NOT NULL,
    stage              text        NOT NULL,
    stage_version      text        NOT NULL,
    app_identifier     text        NOT NULL,
    app_name           text,
    app_category       text        NOT NULL,
    period_start       timestamptz NOT NULL,
    period_end         timestamptz NOT NULL,
    usage_seconds      float8,
    events_seconds     float8,
    believed           text        NOT NULL,
    reason             text        NOT NULL,
    seconds            float8      NOT NULL,
    launch_count       bigint,
    run_id             text,
    computed_at        timestamptz NOT NULL DEFAULT now(),
    superseded_at      timestamptz,
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_system_apps_android_usage_reconciled_device ON device_system_apps_android_usage_reconciled (device_id, timestamp);
SELECT loom_make_timeseries('device_system_apps_android_usage_reconciled');
COMMENT ON TABLE device_system_apps_android_usage_reconciled IS 'How long applications were in front, by UsageStats and by events, and which of the two is believed.';
CREATE VIEW device_system_apps_android_usage_reconciled_current AS
SELECT t.* FROM device_system_apps_android_usage_reconciled t LEFT JOIN stage_promotions p ON p.stage = t.stage
WHERE t.superseded_at IS NULL AND (p.version IS NULL OR p.version = t.stage_version);

-- What an application is, where the person knows better than Loom. `pattern` is an application's identifier in lower case,
-- or the beginning of some, with `*` at its end. Every change takes a new revision.
CREATE SEQUENCE app_category_revisions;
CREATE TABLE app_categories (
    pattern     text        PRIMARY KEY CHECK (length(pattern) BETWEEN 1 AND 256 AND pattern = lower(pattern)),
    category    text        NOT NULL CHECK (length(category) BETWEEN 1 AND 64),
    revision    bigint      NOT NULL DEFAULT nextval('app_category_revisions'),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    deleted_at  timestamptz
);
ALTER SEQUENCE app_category_revisions OWNED BY app_categories.revision;
COMMENT ON TABLE app_categories IS 'Categories that the person gave to applications; deleted_at is set when taken back.';
