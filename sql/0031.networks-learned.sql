-- What is known of networks and of Bluetooth devices: learned from all stays and presences at the time of asking, so that the
-- past is seen with what is known today. The person's word goes first.
-- depends: 0028.networks 0029.days

-- How a network's time is spread over nights and working hours, by the person's clock: that of `person_days`, else the sun's
-- where the network is, else UTC.
CREATE VIEW network_days AS
WITH place AS (
    SELECT network, percentile_cont(0.5) WITHIN GROUP (ORDER BY longitude) AS longitude
    FROM device_network_wifi_enriched_current
    WHERE latitude IS NOT NULL AND network IS NOT NULL
      AND timestamp > (SELECT max(timestamp) FROM device_network_wifi_enriched) - interval '90 days'
    GROUP BY network
), stay AS (
    SELECT s.network, s.hint,
           CASE WHEN d.time_zone IS NOT NULL THEN s.timestamp AT TIME ZONE d.time_zone
                ELSE s.timestamp AT TIME ZONE 'UTC' + coalesce(p.longitude, 0) * interval '4 minutes' END AS began,
           coalesce(s.ended_at, least(greatest(now(), s.timestamp), date_bin('1 day', s.timestamp, 'epoch') + interval '1 day'))
               - s.timestamp AS length
    FROM location_network_detected_current s
    LEFT JOIN place p USING (network)
    LEFT JOIN LATERAL (
        SELECT d.time_zone FROM person_days d
        WHERE d.day BETWEEN (s.timestamp AT TIME ZONE 'UTC')::date - 1 AND (s.timestamp AT TIME ZONE 'UTC')::date + 1
          AND d.starts_at <= s.timestamp AND d.ends_at > s.timestamp LIMIT 1
    ) d ON true
)
SELECT network, on_day::date AS day, max(hint) AS hint,
       sum(extract(epoch FROM least(began + length, on_day + interval '1 day') - greatest(began, on_day)))::float8 AS seconds,
       sum(greatest(0, extract(epoch FROM least(began + length, on_day + interval '6 hours')
                                        - greatest(began, on_day))))::float8 AS night_seconds,
       sum(greatest(0, extract(epoch FROM least(began + length, on_day + interval '17 hours')
                                        - greatest(began, on_day + interval '9 hours')))
           * (extract(isodow FROM on_day) < 6)::int)::float8 AS work_seconds
FROM stay CROSS JOIN LATERAL generate_series(date_trunc('day', began), greatest(began, began + length - interval '1 microsecond'),
                                              interval '1 day') AS on_day
GROUP BY network, on_day::date;
COMMENT ON VIEW network_days IS 'For each network and day of the person: seconds on it, of them by night (0 to 6) and at work (9 to 17, Monday to Friday).';

-- `confidence` rises with the share of nights or working days and with how many there were: one of one is 0.5, nine of nine
-- 0.9. A network whose positions are far apart moves with a phone, a car or a train, or there are several of its name.
CREATE VIEW networks_learned AS
WITH fix AS (
    SELECT network, latitude, longitude, bssid, region_id, region_name, region_kind
    FROM device_network_wifi_enriched_current
    WHERE latitude IS NOT NULL AND network IS NOT NULL AND abs(seconds_to_fix) <= 120 AND coalesce(accuracy, 0) <= 100
      AND timestamp > (SELECT max(timestamp) FROM device_network_wifi_enriched) - interval '90 days'
), centre AS (
    SELECT network, percentile_cont(0.5) WITHIN GROUP (ORDER BY latitude) AS latitude,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY longitude) AS longitude, count(*) AS fixes,
           count(DISTINCT bssid) AS access_points
    FROM fix GROUP BY network
), place AS (
    SELECT c.*, percentile_cont(0.8) WITHIN GROUP (ORDER BY 111195 * sqrt(
               (f.latitude - c.latitude) ^ 2 + ((f.longitude - c.longitude) * cos(radians(c.latitude))) ^ 2)) AS radius_m
    FROM centre c JOIN fix f USING (network)
    GROUP BY network, c.latitude, c.longitude, c.fixes, c.access_points
), region AS (
    SELECT DISTINCT ON (f.network) f.network, g.id AS region_id, g.name AS region_name, g.kind AS region_kind
    FROM fix f JOIN georegions g ON g.id = f.region_id AND g.deleted_at IS NULL JOIN centre c USING (network)
    GROUP BY f.network, g.id, g.name, g.kind, c.fixes
    HAVING count(*) * 2 > c.fixes ORDER BY f.network, count(*) DESC, g.id
), days AS (
    SELECT network, max(hint) AS hint, count(*) AS days, sum(seconds)::float8 AS total_seconds,
           count(*) FILTER (WHERE night_seconds >= 10800) AS nights,
           count(*) FILTER (WHERE work_seconds >= 10800) AS workdays
    FROM network_days GROUP BY network
), every AS (
    SELECT count(DISTINCT day) FILTER (WHERE night_seconds >= 10800) AS nights,
           count(DISTINCT day) FILTER (WHERE extract(isodow FROM day) < 6) AS weekdays
    FROM network_days
), known AS (
    SELECT d.*, d.nights::float8 / nullif(e.nights, 0) AS night_share, d.workdays::float8 / nullif(e.weekdays, 0) AS work_share,
           s.first_seen_at, s.last_seen_at
    FROM days d CROSS JOIN every e
    JOIN (SELECT network, min(timestamp) AS first_seen_at, max(coalesce(ended_at, timestamp)) AS last_seen_at
          FROM location_network_detected_current GROUP BY network) s USING (network)
), judged AS (
    SELECT k.*, p.latitude, p.longitude, p.radius_m, coalesce(p.fixes, 0) AS fixes, coalesce(p.access_points, 0) AS access_points,
           r.region_id, r.region_name, r.region_kind, c.category AS said,
           coalesce(p.fixes >= 3 AND p.radius_m > 1000, false) AS is_wide,
           coalesce(k.night_share >= 0.2 AND (k.nights >= 3 OR k.night_share >= 0.5), false) AS by_night,
           coalesce(k.work_share >= 0.2 AND k.nights * 4 <= k.workdays
                    AND (k.hint IS DISTINCT FROM 'public' OR k.workdays >= 5), false) AS by_work
    FROM known k LEFT JOIN place p USING (network) LEFT JOIN region r USING (network)
    LEFT JOIN network_categories c USING (network)
)
SELECT network,
       CASE WHEN said IS NOT NULL THEN said
            WHEN region_kind IN ('home', 'work') THEN region_kind
            WHEN hint = 'hotspot' THEN 'hotspot'
            WHEN is_wide THEN CASE WHEN access_points > 2 THEN 'public' ELSE 'hotspot' END
            WHEN by_night THEN 'home'
            WHEN by_work THEN 'work'
            WHEN hint IS NOT NULL THEN hint
            ELSE 'unknown' END AS category,
       CASE WHEN said IS NOT NULL THEN 'person'
            WHEN region_kind IN ('home', 'work') THEN 'region'
            WHEN hint = 'hotspot' THEN 'name'
            WHEN is_wide THEN 'movement'
            WHEN by_night OR by_work THEN 'dwell'
            WHEN hint IS NOT NULL THEN 'name'
            ELSE 'none' END AS category_by,
       CASE WHEN said IS NOT NULL THEN 1.0
            WHEN region_kind IN ('home', 'work') THEN fixes / (fixes + 1.0)
            WHEN hint = 'hotspot' THEN 0.9
            WHEN is_wide THEN fixes / (fixes + 3.0)
            WHEN by_night THEN night_share * nights / (nights + 1.0)
            WHEN by_work THEN work_share * workdays / (workdays + 1.0)
            WHEN hint IS NOT NULL THEN 0.7
            ELSE 0.0 END::float8 AS confidence,
       days, nights, workdays, total_seconds, first_seen_at, last_seen_at,
       latitude, longitude, radius_m, fixes, region_id, region_name, region_kind,
       CASE WHEN is_wide OR coalesce(said, hint, '') = 'hotspot' THEN 0.0 ELSE fixes / (fixes + 3.0) END::float8 AS place_confidence
FROM judged;
COMMENT ON VIEW networks_learned IS 'What each Wi-Fi network is to the person: home, work, public, hotspot or unknown; and where it is.';

-- Stays with what is known of their network: where the person was where no position says so. A stay over midnight (UTC) is two
-- rows, of which the second `is_continued`.
CREATE VIEW network_presence AS
SELECT s.device_id, s.timestamp AS started_at, s.ended_at, s.is_open, s.is_continued, s.duration_seconds, s.observed_share,
       s.network, l.category, l.category_by, l.confidence, l.latitude, l.longitude, l.radius_m, l.region_id, l.region_name,
       l.region_kind, l.place_confidence * coalesce(s.observed_share, 1.0) AS place_confidence,
       EXISTS (SELECT FROM device_sensor_gps_raw g WHERE g.device_id = s.device_id AND g.timestamp >= s.timestamp
               AND g.timestamp <= coalesce(s.ended_at, 'infinity')) AS has_fixes, s.message_id
FROM location_network_detected_current s LEFT JOIN networks_learned l USING (network);
COMMENT ON VIEW network_presence IS 'Stays on Wi-Fi networks with what is known of them: category and place, each with its confidence.';

CREATE VIEW familiar_devices AS
SELECT address, (array_agg(name ORDER BY timestamp DESC) FILTER (WHERE name IS NOT NULL))[1] AS name,
       (array_agg(device_class ORDER BY timestamp DESC) FILTER (WHERE device_class IS NOT NULL))[1] AS device_class,
       CASE WHEN bool_or(is_own) THEN 'own'
            WHEN count(DISTINCT (timestamp AT TIME ZONE 'UTC')::date) >= 3 THEN 'familiar' ELSE 'passing' END AS familiarity,
       count(DISTINCT (timestamp AT TIME ZONE 'UTC')::date) AS days, coalesce(sum(duration_seconds), 0)::float8 AS total_seconds,
       min(timestamp) AS first_seen_at, max(coalesce(ended_at, timestamp)) AS last_seen_at
FROM device_network_bluetooth_detected_current GROUP BY address;
COMMENT ON VIEW familiar_devices IS 'Bluetooth devices that were near for long: own (paired or connected), familiar (on three days or more) or passing.';

CREATE VIEW familiar_presence AS
SELECT p.device_id, p.timestamp AS started_at, p.ended_at, p.is_open, p.is_continued, p.duration_seconds, p.address, f.name,
       f.device_class, f.familiarity, p.message_id
FROM device_network_bluetooth_detected_current p JOIN familiar_devices f USING (address) WHERE f.familiarity <> 'passing';
COMMENT ON VIEW familiar_presence IS 'From when to when an own or familiar Bluetooth device was near.';
