-- Addresses and businesses of positions, what services have answered, and the places that the person named.
-- depends: 0022.lineage

CREATE TABLE location_address_geocoded (
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
    state              text        NOT NULL,
    cell               text,
    display_name       text,
    house_number       text,
    road               text,
    suburb             text,
    city               text,
    state_name         text,
    postcode           text,
    country            text,
    country_code       text,
    provider           text,
    provider_place_id  text,
    distance_m         float8,
    run_id             text,
    computed_at        timestamptz NOT NULL DEFAULT now(),
    superseded_at      timestamptz,
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX location_address_geocoded_device ON location_address_geocoded (device_id, timestamp);
CREATE INDEX location_address_geocoded_source ON location_address_geocoded (timestamp, source_message_id);
-- what waits for a service is few
CREATE INDEX location_address_geocoded_pending ON location_address_geocoded (cell) WHERE state = 'pending' AND superseded_at IS NULL;
SELECT loom_make_timeseries('location_address_geocoded');
COMMENT ON TABLE location_address_geocoded IS 'Addresses of positions, by the service that the person chose or from data on board.';
CREATE VIEW location_address_geocoded_current AS
SELECT t.* FROM location_address_geocoded t LEFT JOIN stage_promotions p ON p.stage = t.stage
WHERE t.superseded_at IS NULL AND (p.version IS NULL OR p.version = t.stage_version);

CREATE TABLE location_business_identified (
    timestamp          timestamptz NOT NULL,
    message_id         uuid        NOT NULL,
    device_id          text        NOT NULL,
    schema_version     text        NOT NULL,
    trace_id           text,
    span_id            text,
    source_message_id  uuid        NOT NULL,
    stage              text        NOT NULL,
    stage_version      text        NOT NULL,
    latitude           float8,
    longitude          float8,
    state              text        NOT NULL,
    cell               text,
    name               text,
    category           text,
    address            text,
    distance_m         float8,
    confidence         float8,
    provider           text,
    provider_place_id  text,
    visit_count        bigint,
    run_id             text,
    computed_at        timestamptz NOT NULL DEFAULT now(),
    superseded_at      timestamptz,
    PRIMARY KEY (timestamp, message_id)
);
CREATE INDEX location_business_identified_device ON location_business_identified (device_id, timestamp);
CREATE INDEX location_business_identified_source ON location_business_identified (timestamp, source_message_id);
CREATE INDEX location_business_identified_pending ON location_business_identified (cell) WHERE state = 'pending' AND superseded_at IS NULL;
CREATE INDEX location_business_identified_place ON location_business_identified (provider, provider_place_id, timestamp)
    WHERE state = 'identified' AND superseded_at IS NULL;
SELECT loom_make_timeseries('location_business_identified');
COMMENT ON TABLE location_business_identified IS 'Businesses and other named places that a device stays at.';
CREATE VIEW location_business_identified_current AS
SELECT t.* FROM location_business_identified t LEFT JOIN stage_promotions p ON p.stage = t.stage
WHERE t.superseded_at IS NULL AND (p.version IS NULL OR p.version = t.stage_version);

-- Who is asked, as the settings say (LOOM_GEOCODER, LOOM_BUSINESS_FINDER): stages see their settings here. A service that
-- does not answer is left alone until `paused_until`.
CREATE TABLE lookup_services (
    kind          text        PRIMARY KEY CHECK (kind IN ('address', 'business')),
    provider      text        NOT NULL,
    changed_at    timestamptz NOT NULL DEFAULT now(),
    asked_at      timestamptz,
    failures      integer     NOT NULL DEFAULT 0,
    paused_until  timestamptz,
    error         text
);
INSERT INTO lookup_services (kind, provider) VALUES ('address', 'offline'), ('business', 'none');
COMMENT ON TABLE lookup_services IS 'The service that is asked for addresses and the one for businesses.';

-- What a service said of a cell, once for all fixes in it; that is all that any service is asked. A cell has a row when it
-- was asked about. `failed` has no answer yet. `answer` is an address, or a list of businesses.
CREATE TABLE lookups (
    kind        text        NOT NULL CHECK (kind IN ('address', 'business')),
    provider    text        NOT NULL,
    cell        text        NOT NULL,
    state       text        NOT NULL CHECK (state IN ('found', 'none', 'failed')),
    answer      jsonb,
    asked_at    timestamptz NOT NULL,
    expires_at  timestamptz,
    attempts    integer     NOT NULL DEFAULT 0,
    retry_at    timestamptz,
    error       text,
    PRIMARY KEY (kind, provider, cell),
    CHECK ((state = 'found') = (answer IS NOT NULL)),
    CHECK ((state = 'failed') = (expires_at IS NULL))
);
COMMENT ON TABLE lookups IS 'Answers of geocoders and business finders, by cell (geohash).';

CREATE TABLE own_places (
    id          uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    name        text        NOT NULL CHECK (length(name) BETWEEN 1 AND 256),
    category    text        CHECK (length(category) BETWEEN 1 AND 256),
    address     text,
    latitude    float8      NOT NULL CHECK (latitude BETWEEN -90 AND 90),
    longitude   float8      NOT NULL CHECK (longitude BETWEEN -180 AND 180),
    radius_m    float8      NOT NULL CHECK (radius_m > 0 AND radius_m <= 1000),
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    deleted_at  timestamptz
);
CREATE UNIQUE INDEX own_places_live_name ON own_places (lower(name)) WHERE deleted_at IS NULL;
COMMENT ON TABLE own_places IS 'Shops, doctors, friends: places that the person named, which win over what a service says.';
