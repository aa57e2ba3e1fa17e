-- What the person had erased. A row is a tombstone as well: what was accepted before `asked_at` and is in its scope is
-- never stored again, whatever still holds it (Kafka, a spool, a backup, an export).
-- depends: 0014.pauses

-- No devices means all; `since` is included, `until` not, both are event times. `cleared_at` is when the last landed row
-- was gone: what was derived in the scope before that goes too. An erasure without `finished_at` was broken off.
CREATE TABLE erasures (
    id           uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    devices      text[]      NOT NULL,
    since        timestamptz,
    until        timestamptz,
    forget       boolean     NOT NULL DEFAULT false,
    asked_by     text        NOT NULL,
    asked_at     timestamptz NOT NULL,
    cleared_at   timestamptz,
    finished_at  timestamptz,
    counts       jsonb       NOT NULL DEFAULT '{}',
    proof        jsonb,
    CHECK (cardinality(devices) > 0 OR since IS NOT NULL OR until IS NOT NULL),
    CHECK (since < until)
);
CREATE INDEX erasures_asked ON erasures (asked_at);
COMMENT ON TABLE erasures IS 'What the person had erased: which devices and times, when, and the proof. Applied again by every restore and import.';

-- What an erasure has still to do, so that one that was killed is finished by the next run; it goes when that is done.
CREATE TABLE erasure_work (
    erasure_id  uuid   NOT NULL REFERENCES erasures ON DELETE CASCADE,
    kind        text   NOT NULL CHECK (kind IN ('body', 'retry', 'row', 'again', 'kafka', 'day')),
    name        text   NOT NULL,
    value       jsonb  NOT NULL DEFAULT '{}',
    PRIMARY KEY (erasure_id, kind, name)
);
COMMENT ON TABLE erasure_work IS 'What an unfinished erasure has still to do.';

-- Scopes that records accepted at `accepted` or later may be in. It also holds the caller's transaction against the moment
-- in which an erasure begins: either that sees all that this one writes, or this one sees the erasure. Not SQL, and
-- volatile, so that what is read is read after the lock is there.
CREATE FUNCTION loom_erasures(accepted timestamptz)
RETURNS TABLE (devices text[], since timestamptz, until timestamptz, asked_at timestamptz) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtext('loom-erasure'), 0);
    RETURN QUERY SELECT e.devices, e.since, e.until, e.asked_at FROM erasures e WHERE e.asked_at >= accepted;
END $$;
COMMENT ON FUNCTION loom_erasures IS 'Scopes of erasures that records accepted from then on may be in; keeps new ones waiting until the transaction ends.';
