-- The power flow: rates, charging sessions, habits of charging and the battery's wear.
-- depends: 0022.lineage

CREATE TABLE device_state_power_enriched (
    timestamp              timestamptz NOT NULL,
    message_id             uuid        NOT NULL,
    device_id              text        NOT NULL,
    schema_version         text        NOT NULL,
    trace_id               text,
    span_id                text,
    source_message_id      uuid        NOT NULL,
    stage                  text        NOT NULL,
    stage_version          text        NOT NULL,
    battery_level          float8      NOT NULL,
    is_charging            boolean     NOT NULL,
    is_plugged             boolean     NOT NULL,
    power_source           text        NOT NULL,
    quality                text        NOT NULL,
    rate_percent_per_hour  float8,
    rate_seconds           float8,
    seconds_to_full        float8,
    seconds_to_empty       float8,
    run_id                 text,
    computed_at            timestamptz NOT NULL DEFAULT now(),
    superseded_at          timestamptz,
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_state_power_enriched_device ON device_state_power_enriched (device_id, timestamp);
CREATE INDEX device_state_power_enriched_source ON device_state_power_enriched (timestamp, source_message_id);
SELECT loom_make_timeseries('device_state_power_enriched');
COMMENT ON TABLE device_state_power_enriched IS 'The battery''s state with its rate of change, and the time to full or empty.';
CREATE VIEW device_state_power_enriched_current AS
SELECT t.* FROM device_state_power_enriched t LEFT JOIN stage_promotions p ON p.stage = t.stage
WHERE t.superseded_at IS NULL AND (p.version IS NULL OR p.version = t.stage_version);

CREATE TABLE device_state_charging_detected (
    timestamp              timestamptz NOT NULL,
    message_id             uuid        NOT NULL,
    device_id              text        NOT NULL,
    schema_version         text        NOT NULL,
    trace_id               text,
    span_id                text,
    source_message_id      uuid        NOT NULL,
    stage                  text        NOT NULL,
    stage_version          text        NOT NULL,
    is_open                boolean     NOT NULL,
    ended_at               timestamptz,
    ended_by               text,
    duration_seconds       float8,
    power_source           text        NOT NULL,
    start_level            float8      NOT NULL,
    end_level              float8,
    rate_percent_per_hour  float8,
    full_at                timestamptz,
    latitude               float8,
    longitude              float8,
    region_name            text,
    run_id                 text,
    computed_at            timestamptz NOT NULL DEFAULT now(),
    superseded_at          timestamptz,
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_state_charging_detected_device ON device_state_charging_detected (device_id, timestamp);
SELECT loom_make_timeseries('device_state_charging_detected');
COMMENT ON TABLE device_state_charging_detected IS 'Charging sessions: when, where, from what charge to what.';
CREATE VIEW device_state_charging_detected_current AS
SELECT t.* FROM device_state_charging_detected t LEFT JOIN stage_promotions p ON p.stage = t.stage
WHERE t.superseded_at IS NULL AND (p.version IS NULL OR p.version = t.stage_version);

CREATE TABLE device_state_power_patterns (
    timestamp                       timestamptz NOT NULL,
    message_id                      uuid        NOT NULL,
    device_id                       text        NOT NULL,
    schema_version                  text        NOT NULL,
    trace_id                        text,
    span_id                         text,
    source_message_id               uuid        NOT NULL,
    stage                           text        NOT NULL,
    stage_version                   text        NOT NULL,
    window_start                    timestamptz NOT NULL,
    pattern                         text        NOT NULL,
    confidence                      float8      NOT NULL,
    session_count                   bigint      NOT NULL,
    typical_start_hour              float8,
    start_hour_spread               float8,
    typical_duration_seconds        float8,
    mean_start_level                float8,
    mean_end_level                  float8,
    hours                           jsonb       NOT NULL,
    places                          jsonb       NOT NULL,
    cycles_per_day                  float8,
    charge_rate_percent_per_hour    float8,
    drain_rate_percent_per_hour     float8,
    charge_trend_percent_per_month  float8,
    drain_trend_percent_per_month   float8,
    battery_trend                   text        NOT NULL,
    run_id                          text,
    computed_at                     timestamptz NOT NULL DEFAULT now(),
    superseded_at                   timestamptz,
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX device_state_power_patterns_device ON device_state_power_patterns (device_id, timestamp);
SELECT loom_make_timeseries('device_state_power_patterns');
COMMENT ON TABLE device_state_power_patterns IS 'Usual hours and places of charging, and how the battery wears.';
CREATE VIEW device_state_power_patterns_current AS
SELECT t.* FROM device_state_power_patterns t LEFT JOIN stage_promotions p ON p.stage = t.stage
WHERE t.superseded_at IS NULL AND (p.version IS NULL OR p.version = t.stage_version);

SELECT loom_make_rollup('device_state_power_enriched', $$superseded_at IS NULL$$, $$[["stage", "stage"], ["stage_version", "stage_version"]]$$, $$[
    ["rate_percent_per_hour", "loom_countable(rate_percent_per_hour)", true]
]$$);

-- Where the stretch on a charger begins and ends that a reading lies in, without reading all of it. The condition is that
-- of the stage charging-sessions, word for word.
CREATE INDEX device_state_power_raw_unplugged ON device_state_power_raw (device_id, timestamp, message_id)
WHERE NOT (is_charging OR lower(coalesce(power_source, '')) IN ('usb', 'ac', 'wireless'));
CREATE INDEX os_events_system_raw_charger ON os_events_system_raw (device_id, timestamp)
WHERE event_type IN ('power_connected', 'power_disconnected');
