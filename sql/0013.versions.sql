-- Every promotion there ever was, so that one can be taken back and explained.
-- depends: 0007.clients

CREATE TABLE stage_promotion_log (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stage        text        NOT NULL,
    version      text        NOT NULL,
    previous     text,
    action       text        NOT NULL CHECK (action IN ('first', 'promote', 'rollback')),
    promoted_at  timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (stage, version) REFERENCES stage_versions (stage, version)
);
CREATE INDEX stage_promotion_log_stage ON stage_promotion_log (stage, id);
INSERT INTO stage_promotion_log (stage, version, action, promoted_at)
SELECT stage, version, 'first', promoted_at FROM stage_promotions ORDER BY promoted_at;
