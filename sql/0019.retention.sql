-- How long things are kept where a person said so, since when the contract's own lengths are known here, and what went.
-- depends: 0014.pauses

-- `name` is a topic, the beginning of topics' names (`device`, `device.audio`), or a part of Dagster's database. No length
-- means for ever. The longest name that fits a topic counts.
CREATE TABLE retention_rules (
    kind    text        NOT NULL CHECK (kind IN ('table', 'rollups', 'kafka', 'dagster')),
    name    text        NOT NULL,
    kept    interval    CHECK (kept > interval '0'),
    set_at  timestamptz NOT NULL DEFAULT now(),
    set_by  text        NOT NULL,
    PRIMARY KEY (kind, name)
);
COMMENT ON TABLE retention_rules IS 'How long things are kept, where the person said so; no length means for ever.';

-- A length that came with a release removes nothing before it has been known here for that long: so a person can read of it
-- and keep what they want to.
CREATE TABLE retention_defaults (
    topic        text        PRIMARY KEY,
    kept         interval    NOT NULL,
    known_since  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE retention_defaults IS 'Since when this installation knows how long the contract keeps the rows of a topic.';

-- A day that went by retention. It is not recomputed: without its source every answer of it would be taken back.
CREATE TABLE retention_drops (
    table_name  text        NOT NULL,
    day         date        NOT NULL,
    row_count   bigint      NOT NULL,
    bytes       bigint      NOT NULL,
    dropped_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (table_name, day)
);
COMMENT ON TABLE retention_drops IS 'Days whose rows went because they had passed their retention.';
