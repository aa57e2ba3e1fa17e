-- Charging sessions of half a year, for the stage power-patterns.
-- depends: 0027.power 0032.explained-stretches

-- The charging sessions that stand of `devices` and lie between `reach` before the first and after the last of a stretch;
-- each once, and maybe some that lie a few days beyond. Each query is planned for the days of a week, not for all that
-- there are, and what it has locked is released at once, as PostgreSQL does when a block ends by an error: a transaction
-- that held the days of half a year, with their indexes, would take a large part of the locks that a server has.
CREATE FUNCTION loom_charging_sessions(devices text[], firsts timestamptz[], lasts timestamptz[], reach interval)
RETURNS SETOF device_state_charging_detected_current LANGUAGE plpgsql STABLE AS $$
DECLARE
    width CONSTANT interval := interval '7 days';
    begins timestamptz;
    whose  text[];
    found  device_state_charging_detected_current[];
BEGIN
    FOR begins, whose IN
        SELECT week, array_agg(DISTINCT device_id)
        FROM unnest(devices, firsts, lasts) AS stretch (device_id, first, last)
        CROSS JOIN generate_series(date_bin(width, first - reach, 'epoch'), last + reach, width) AS week
        GROUP BY week
    LOOP
        BEGIN
            EXECUTE 'SELECT array_agg(s) FROM device_state_charging_detected_current s
                     WHERE s.device_id = ANY ($1) AND s.timestamp >= $2 AND s.timestamp < $3'
            INTO found USING whose, begins, begins + width;
            RAISE SQLSTATE 'LM000';
        EXCEPTION WHEN SQLSTATE 'LM000' THEN NULL; -- variables keep their values, locks end
        END;
        RETURN QUERY SELECT * FROM unnest(found);
    END LOOP;
END $$;
COMMENT ON FUNCTION loom_charging_sessions IS 'Charging sessions around stretches of time, read without holding the locks of their days.';
