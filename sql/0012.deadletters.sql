-- What became of a dead letter: it was replayed, or a person has put it aside. Both keep the letter.
-- depends: 0007.clients

ALTER TABLE processing_errors
    ADD COLUMN attempts     integer NOT NULL DEFAULT 1,
    ADD COLUMN resolved_at  timestamptz,
    ADD COLUMN resolution   text CHECK (resolution IN ('replayed', 'discarded')),
    ADD CONSTRAINT processing_errors_resolved CHECK ((resolved_at IS NULL) = (resolution IS NULL));
CREATE INDEX processing_errors_open ON processing_errors (stage, topic, partition, "offset") WHERE resolved_at IS NULL;
