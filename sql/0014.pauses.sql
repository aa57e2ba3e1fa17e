-- Stages that stand still because they, or a person, said so; and until when one may bury what it likes.
-- depends: 0007.clients

CREATE TABLE stage_pauses (
    stage           text        PRIMARY KEY,
    paused_at       timestamptz,
    paused_by       text        CHECK (paused_by IN ('stage', 'person')),
    reason          text,
    tolerate_until  timestamptz,
    CHECK ((paused_at IS NULL) = (paused_by IS NULL) AND (paused_at IS NULL) = (reason IS NULL))
);
