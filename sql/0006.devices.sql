-- Devices: what the person says of each, and what was seen of it.
-- depends: 0005.landing-rest

CREATE TABLE devices (
    device_id       text        PRIMARY KEY CHECK (device_id ~ '^[A-Za-z0-9_-]{3,64}$'),
    name            text,
    device_type     text,
    platform        text,
    manufacturer    text,
    model           text,
    os_version      text,
    app_version     text,
    tags            jsonb       NOT NULL DEFAULT '[]',
    metadata        jsonb       NOT NULL DEFAULT '{}',
    registered_at   timestamptz,
    first_seen_at   timestamptz,
    last_seen_at    timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    deleted_at      timestamptz
);
COMMENT ON TABLE devices IS 'Devices; registered_at is null for one that was only seen, deleted_at is set when it is removed.';

-- Counted by the ingest service, some seconds late; a crash of it forgets what it had not written yet.
CREATE TABLE device_activity (
    device_id      text        NOT NULL,
    topic          text        NOT NULL,
    first_seen_at  timestamptz NOT NULL,
    last_seen_at   timestamptz NOT NULL,
    message_count  bigint      NOT NULL,
    PRIMARY KEY (device_id, topic)
);
COMMENT ON TABLE device_activity IS 'When each device sent to each topic first and last, and how many messages.';
