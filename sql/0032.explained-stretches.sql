-- What explains answers that stretch over time, such as visits, trips and sessions: also when they end. In a landed row
-- `ended_at` is what a device says, which the ingest service need not read.
-- depends: 0031.networks-learned

DO $$
DECLARE
    granted text := pg_get_functiondef('loom_grant()'::regprocedure);
    before  text := 'attname = ANY (loom_ingest_columns())';
    after   text := '(attname = ANY (loom_ingest_columns()) OR target.kind = ''derived'' AND attname = ''ended_at'')';
BEGIN
    ASSERT position(before IN granted) > 0;
    EXECUTE replace(granted, before, after);
END $$;
