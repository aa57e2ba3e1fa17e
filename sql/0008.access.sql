-- Who may use the API, and what was done to keys and devices.
-- depends: 0007.clients

CREATE TABLE api_keys (
    key_id        text        PRIMARY KEY CHECK (key_id ~ '^[a-z2-7]{10}$'),
    name          text        NOT NULL CHECK (length(name) BETWEEN 1 AND 256),
    sha256        bytea       NOT NULL UNIQUE CHECK (octet_length(sha256) = 32),
    scopes        text[]      NOT NULL CHECK (cardinality(scopes) > 0 AND scopes <@ '{ingest,read,admin}'),
    devices       text[]      CHECK (cardinality(devices) > 0),
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz,
    last_used_at  timestamptz,
    revoked_at    timestamptz,
    replaced_by   text        REFERENCES api_keys
);
COMMENT ON TABLE api_keys IS 'API keys; only the SHA-256 of each is kept. devices is null for a person''s key.';

-- Each row has the hash of the one before, so that nobody changes the past unnoticed; `loom audit verify` computes
-- them again. sequence has no gaps: rows are appended one at a time, under an advisory lock.
CREATE TABLE audit_log (
    sequence     bigint      PRIMARY KEY CHECK (sequence > 0),
    occurred_at  timestamptz NOT NULL,
    actor        text        NOT NULL,
    action       text        NOT NULL,
    subject      text        NOT NULL,
    outcome      text        NOT NULL CHECK (outcome IN ('done', 'refused')),
    details      text        NOT NULL,
    previous     bytea       NOT NULL UNIQUE CHECK (octet_length(previous) = 32),
    hash         bytea       NOT NULL UNIQUE CHECK (octet_length(hash) = 32)
);
COMMENT ON TABLE audit_log IS 'What was done to keys and devices, by whom; append-only and hash-chained.';

CREATE FUNCTION audit_log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit_log is append-only: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_log_rows BEFORE UPDATE OR DELETE ON audit_log
    FOR EACH ROW EXECUTE FUNCTION audit_log_is_append_only();
CREATE TRIGGER audit_log_whole BEFORE TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_log_is_append_only();
