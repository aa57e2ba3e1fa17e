-- Which fixes can be believed, stays at places, and the ways between them.
-- depends: 0022.lineage

CREATE TABLE location_gps_cleaned (
    timestamp          timestamptz NOT NULL,
    message_id         uuid        NOT NULL,
    device_id          text        NOT NULL,
    schema_version     text        NOT NULL,
    trace_id           text,
    span_id            text,
    source_message_id  uuid        NOT NULL,
    stage              text        NOT NULL,
    stage_version      text        NOT NULL,
    latitude           float8      NOT NULL,
    longitude          float8      NOT NULL,
    accepted           boolean     NOT NULL,
    reason             text,
    run_id             text,
    computed_at        timestamptz NOT NULL DEFAULT now(),
    superseded_at      timestamptz,
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX location_gps_cleaned_device ON location_gps_cleaned (device_id, timestamp);
CREATE INDEX location_gps_cleaned_source ON location_gps_cleaned (timestamp, source_message_id);
SELECT loom_make_timeseries('location_gps_cleaned');
COMMENT ON TABLE location_gps_cleaned IS 'Which positions can be believed, and why the others cannot.';
CREATE VIEW location_gps_cleaned_current AS
SELECT t.* FROM location_gps_cleaned t LEFT JOIN stage_promotions p ON p.stage = t.stage
WHERE t.superseded_at IS NULL AND (p.version IS NULL OR p.version = t.stage_version);

CREATE TABLE location_visit_detected (
    timestamp          timestamptz NOT NULL,
    message_id         uuid        NOT NULL,
    device_id          text        NOT NULL,
    schema_version     text        NOT NULL,
    trace_id           text,
    span_id            text,
    source_message_id  uuid        NOT NULL,
    stage              text        NOT NULL,
    stage_version      text        NOT NULL,
    ended_at           timestamptz,
    is_open            boolean     NOT NULL,
    duration_seconds   float8,
    latitude           float8      NOT NULL,
    longitude          float8      NOT NULL,
    radius_m           float8      NOT NULL,
    place_id           uuid        NOT NULL,
    region_id          uuid,
    region_name        text,
    region_kind        text,
    run_id             text,
    computed_at        timestamptz NOT NULL DEFAULT now(),
    superseded_at      timestamptz,
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX location_visit_detected_device ON location_visit_detected (device_id, timestamp);
CREATE INDEX location_visit_detected_place ON location_visit_detected (place_id, timestamp);
SELECT loom_make_timeseries('location_visit_detected');
COMMENT ON TABLE location_visit_detected IS 'Stays at places, saved or not.';
CREATE VIEW location_visit_detected_current AS
SELECT t.* FROM location_visit_detected t LEFT JOIN stage_promotions p ON p.stage = t.stage
WHERE t.superseded_at IS NULL AND (p.version IS NULL OR p.version = t.stage_version);

CREATE TABLE location_trip_detected (
    timestamp             timestamptz NOT NULL,
    message_id            uuid        NOT NULL,
    device_id             text        NOT NULL,
    schema_version        text        NOT NULL,
    trace_id              text,
    span_id               text,
    source_message_id     uuid        NOT NULL,
    stage                 text        NOT NULL,
    stage_version         text        NOT NULL,
    ended_at              timestamptz,
    is_open               boolean     NOT NULL,
    duration_seconds      float8,
    distance_m            float8,
    mode                  text,
    confidence            float8,
    origin_place_id       uuid,
    origin_name           text,
    destination_place_id  uuid,
    destination_name      text,
    path                  text,
    run_id                text,
    computed_at           timestamptz NOT NULL DEFAULT now(),
    superseded_at         timestamptz,
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX location_trip_detected_device ON location_trip_detected (device_id, timestamp);
SELECT loom_make_timeseries('location_trip_detected');
COMMENT ON TABLE location_trip_detected IS 'Ways between visits: how, how far, how long.';
CREATE VIEW location_trip_detected_current AS
SELECT t.* FROM location_trip_detected t LEFT JOIN stage_promotions p ON p.stage = t.stage
WHERE t.superseded_at IS NULL AND (p.version IS NULL OR p.version = t.stage_version);

-- The places that visits have found, each once for each device that was there: a visit at one takes its id. Erasing a
-- device, or the time of its first visit, erases the row; the place stays known by the others.
CREATE TABLE learned_places (
    place_id        uuid        NOT NULL,
    device_id       text        NOT NULL,
    latitude        float8      NOT NULL,
    longitude       float8      NOT NULL,
    first_visit_at  timestamptz NOT NULL,
    learned_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (place_id, device_id)
);
CREATE INDEX learned_places_where ON learned_places (latitude, longitude);
COMMENT ON TABLE learned_places IS 'Places that visits have found beside the saved ones; a place keeps its id.';

CREATE FUNCTION loom_learn_place() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO learned_places (place_id, device_id, latitude, longitude, first_visit_at)
    VALUES (NEW.place_id, NEW.device_id, NEW.latitude, NEW.longitude, NEW.timestamp)
    ON CONFLICT DO NOTHING;
    RETURN NEW;
END $$;
CREATE TRIGGER learn_place AFTER INSERT ON location_visit_detected
FOR EACH ROW WHEN (NEW.region_id IS NULL) EXECUTE FUNCTION loom_learn_place();
