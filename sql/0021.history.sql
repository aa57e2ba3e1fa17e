-- How far each recompute has come, so that one that was killed goes on where it was.
-- depends: 0014.pauses

-- One row for each day and device that a recompute has begun; they go when the whole of it is done. `job` names what was
-- asked for: only the same request goes on with it. `inputs` is what the answers depend on besides the source's rows.
-- Up to `at_timestamp`, `at_message_id` (the last source row; a null id means: all before that time) everything is
-- written, with the state and timers that the stage had there.
CREATE TABLE recompute_progress (
    id             bigint      GENERATED ALWAYS AS IDENTITY UNIQUE,
    stage          text        NOT NULL,
    stage_version  text        NOT NULL,
    day            date        NOT NULL,
    device_id      text        NOT NULL,
    job            text        NOT NULL,
    inputs         text        NOT NULL,
    run_id         text,
    started_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at    timestamptz,
    at_timestamp   timestamptz,
    at_message_id  uuid,
    state          bytea,
    timers         jsonb       NOT NULL DEFAULT '{}',
    counts         jsonb       NOT NULL DEFAULT '{}',
    PRIMARY KEY (stage, stage_version, day, device_id)
);
COMMENT ON TABLE recompute_progress IS 'How far each unfinished recompute has come, by stage version, day and device.';

-- Answers that an unfinished recompute has given: what is not among them at its end is no answer any more.
CREATE TABLE recompute_confirmed (
    progress_id  bigint  NOT NULL,
    message_id   uuid    NOT NULL,
    PRIMARY KEY (progress_id, message_id)
);
COMMENT ON TABLE recompute_confirmed IS 'Identities of the rows that an unfinished recompute has given so far.';
