-- The person's own days: where each begins and ends, and what happened in it. Each dataset has a set of rows a day, computed
-- anew as a whole whenever what it is made from has changed.
-- depends: 0022.lineage

-- What the person says of their days; no day is in two rows. `last_day` is included; null: until they say otherwise.
CREATE TABLE person_time_zones (
    first_day  date        PRIMARY KEY,
    last_day   date        CHECK (last_day >= first_day),
    time_zone  text        NOT NULL CHECK (length(time_zone) BETWEEN 1 AND 64),
    set_at     timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE person_time_zones IS 'In which time zone the person says they are, by days.';

CREATE TABLE person_days (
    day          date        PRIMARY KEY,
    time_zone    text        NOT NULL,
    source       text        NOT NULL,
    starts_at    timestamptz NOT NULL,
    ends_at      timestamptz NOT NULL,
    hours        float8      NOT NULL,
    device_ids   text[]      NOT NULL,
    run_id       text,
    computed_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE person_days IS 'The person''s days: when each began and ended, and in which time zone.';

CREATE TABLE visits_daily (
    day            date        NOT NULL,
    place_id       uuid        NOT NULL,
    place_name     text,
    place_kind     text,
    latitude       float8      NOT NULL,
    longitude      float8      NOT NULL,
    first_seen_at  timestamptz NOT NULL,
    last_seen_at   timestamptz NOT NULL,
    total_seconds  float8      NOT NULL,
    visits         bigint      NOT NULL,
    device_ids     text[]      NOT NULL,
    run_id         text,
    computed_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (day, place_id)
);
COMMENT ON TABLE visits_daily IS 'For each day and place, saved or not: when the person was there, for how long, how many times.';

CREATE TABLE trips_daily (
    day               date        NOT NULL,
    mode              text        NOT NULL,
    trips             bigint      NOT NULL,
    distance_m        float8      NOT NULL,
    duration_seconds  float8      NOT NULL,
    first_started_at  timestamptz NOT NULL,
    last_ended_at     timestamptz NOT NULL,
    device_ids        text[]      NOT NULL,
    run_id            text,
    computed_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (day, mode)
);
COMMENT ON TABLE trips_daily IS 'For each day and mode of travel: how far, for how long, how many times.';

CREATE TABLE activity_minutes_daily (
    day          date        NOT NULL,
    activity     text        NOT NULL,
    minutes      float8      NOT NULL,
    confidence   float8      NOT NULL,
    device_ids   text[]      NOT NULL,
    run_id       text,
    computed_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (day, activity)
);
COMMENT ON TABLE activity_minutes_daily IS 'For each day and activity: for how many minutes, and how sure that is.';

CREATE TABLE app_usage_daily (
    day             date        NOT NULL,
    app_identifier  text        NOT NULL,
    app_name        text,
    app_category    text        NOT NULL,
    total_seconds   float8      NOT NULL,
    sessions        bigint      NOT NULL,
    first_used_at   timestamptz NOT NULL,
    last_used_at    timestamptz NOT NULL,
    device_ids      text[]      NOT NULL,
    run_id          text,
    computed_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (day, app_identifier)
);
COMMENT ON TABLE app_usage_daily IS 'For each day and application: for how long it was used, how many times.';

CREATE TABLE screen_time_daily (
    day                date        NOT NULL,
    total_seconds      float8      NOT NULL,
    pickups            bigint      NOT NULL,
    longest_seconds    float8      NOT NULL,
    first_on_at        timestamptz NOT NULL,
    last_off_at        timestamptz NOT NULL,
    seconds_by_device  jsonb       NOT NULL,
    device_ids         text[]      NOT NULL,
    run_id             text,
    computed_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (day)
);
COMMENT ON TABLE screen_time_daily IS 'For each day: for how long any screen was on, how many times one was turned on.';

CREATE TABLE charging_daily (
    day               date        NOT NULL,
    device_id         text        NOT NULL,
    sessions          bigint      NOT NULL,
    charging_seconds  float8      NOT NULL,
    gained_percent    float8,
    first_started_at  timestamptz NOT NULL,
    last_ended_at     timestamptz NOT NULL,
    device_ids        text[]      NOT NULL,
    run_id            text,
    computed_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (day, device_id)
);
COMMENT ON TABLE charging_daily IS 'For each day and device: for how long it was charged, how many times, how much it gained.';

CREATE TABLE sleep_estimate_daily (
    day                         date        NOT NULL,
    asleep_at                   timestamptz NOT NULL,
    woke_at                     timestamptz NOT NULL,
    asleep_uncertainty_seconds  float8      NOT NULL,
    woke_uncertainty_seconds    float8      NOT NULL,
    sleep_seconds               float8      NOT NULL,
    uncertainty_seconds         float8      NOT NULL,
    interruptions               bigint      NOT NULL,
    confidence                  float8      NOT NULL,
    evidence                    jsonb       NOT NULL,
    device_ids                  text[]      NOT NULL,
    run_id                      text,
    computed_at                 timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (day)
);
COMMENT ON TABLE sleep_estimate_daily IS 'For each day: the sleep that the person woke from in it, estimated from screens, motion and charging, with its uncertainty.';

CREATE TABLE day_timeline (
    day          date        NOT NULL,
    number       bigint      NOT NULL,
    started_at   timestamptz NOT NULL,
    ended_at     timestamptz NOT NULL,
    time_zone    text        NOT NULL,
    kind         text        NOT NULL,
    title        text        NOT NULL,
    details      jsonb       NOT NULL,
    message_id   uuid,
    device_ids   text[]      NOT NULL,
    run_id       text,
    computed_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (day, number)
);
COMMENT ON TABLE day_timeline IS 'For each day: what happened, from all flows, in order.';
