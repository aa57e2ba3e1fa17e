"""What the stage `visit-detector` reads: the fixes around those of a batch, without the inside of long visits.

What stands already says where to begin and to end: from the visit before the batch's fixes to the one after them, so
that what is answered is whole. A visit's row tells its beginning and its end, of which only the fixes nearby can change
anything; those between them are left out, so that a night at home is not read again for each fix of the morning.

How far that is comes out of the query, so no parameter can bound it (see `loom_models.bounds`): what it reads, it reads
by functions whose plans are made for the moments that they are asked about.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import polars as pl

from loom_contracts.topics.device import GPS_RAW
from loom_contracts.topics.location import TRIP_DETECTED, VISIT_DETECTED
from loom_models.cleaning import REACH, USABLE_SQL
from loom_models.stage import ContextQuery
from loom_models.stages.gps_cleaned import FIX_SCHEMA

VERSION: Final = "1"
SILENCE_TIMER: Final = "silence"
"""The key of the timer that ends what goes on, when nothing was heard for so long."""
AROUND: Final = timedelta(minutes=20)
"""So far at least a fix can change what is known; twice `REACH` moments of usable fixes, where they are rare."""
FIX, SKIPPED, ANSWERED, PLACE = range(4)
"""What a row of `FIXES` is: a fix; from `timestamp` to `received_at` the inside of a visit that was left out, or what
is to be answered; or a learned place (its id in `message_id`, when it was learned in `received_at`)."""
FIXES_SCHEMA: Final = pl.Schema({"kind": pl.Int32(), "part": pl.Int64(), **FIX_SCHEMA})

_RAW: Final = GPS_RAW.table.name
_VISITS: Final = VISIT_DETECTED.table.name
_TRIPS: Final = TRIP_DETECTED.table.name
_SAME_PART: Final = timedelta(hours=14)
_UNKNOWN: Final = "interval '14 hours'"
"""So far is read where nothing stands yet: more than a silence."""
_MORE: Final = "interval '15 minutes'"
_FORCED: Final = "interval '5 minutes'"
_AROUND: Final = f"interval '{int(AROUND.total_seconds())} seconds'"
_END: Final = "timestamptz '3000-01-01'"


def _nth(moment: str, reach: str) -> str:
    """As `nth_moment` of the stage `gps-cleaner`, at moments that the query itself gives."""
    return f"loom_nth_moment(NULL::{_RAW}, device_id, {moment}, interval '{reach}', {2 * REACH}, $${USABLE_SQL}$$)"


def _back(moment: str) -> str:
    return f"least({moment} - {_AROUND}, {_nth(moment, '-48 hours')})"


def _on(moment: str) -> str:
    return f"greatest({moment} + {_AROUND}, {_nth(moment, '48 hours')})"


_READING: Final = f"""
WITH asked AS (
    SELECT * FROM unnest(%(devices)s::text[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[]) WITH ORDINALITY
        AS t (device_id, first, last, part)
), touched AS MATERIALIZED (
    SELECT a.part, a.device_id, coalesce(a.first, l.at) AS first, coalesce(a.last, l.at) AS last, l.at AS latest
    FROM asked a CROSS JOIN LATERAL (
        SELECT timestamp AS at FROM loom_nearest(NULL::{_RAW}, a.device_id, 'infinity', false)
    ) l
), zone AS MATERIALIZED (
    SELECT part, device_id, latest, {_back("first")} - {_MORE} AS zone_from, {_on("last")} + {_MORE} AS zone_until
    FROM touched
), border AS MATERIALIZED (
    SELECT z.*, coalesce(u.timestamp, t.timestamp) AS before_from, n.timestamp AS after_from, n.ended_at AS after_until
    FROM zone z
    LEFT JOIN LATERAL loom_nearest(NULL::{_VISITS}, z.device_id, z.zone_from, false, %(version)s) u ON true
    LEFT JOIN LATERAL loom_nearest(NULL::{_TRIPS}, z.device_id, CASE WHEN u.timestamp IS NULL THEN z.zone_from END,
                                   false, %(version)s) t ON true
    LEFT JOIN LATERAL loom_nearest(NULL::{_VISITS}, z.device_id, z.zone_until, true, %(version)s) n ON true
), reading AS MATERIALIZED (
    SELECT part, device_id, latest, zone_from, zone_until,
        coalesce(before_from, zone_from - {_UNKNOWN}) AS answer_from,
        CASE WHEN after_from IS NULL THEN zone_until + {_UNKNOWN} ELSE coalesce(after_until, {_END}) END
            AS answer_until,
        CASE WHEN before_from IS NULL THEN zone_from - {_UNKNOWN}
             ELSE {_back("before_from")} - {_MORE} END AS read_from,
        CASE WHEN after_from IS NULL THEN zone_until + {_UNKNOWN} WHEN after_until IS NULL THEN {_END}
             ELSE {_on("after_until")} + {_MORE} END AS read_until
    FROM border
), long AS MATERIALIZED (
    SELECT z.*, {_on("v.timestamp")} AS settled, {_back("v.until")} AS leaving
    FROM reading z CROSS JOIN LATERAL (
        SELECT timestamp, coalesce(ended_at, z.latest) AS until
        FROM loom_between(NULL::{_VISITS}, z.device_id, z.answer_from, z.answer_until)
        WHERE timestamp < z.answer_until AND superseded_at IS NULL AND stage_version = %(version)s
    ) v
    WHERE v.until > v.timestamp + 2 * {_AROUND}
    -- and has something before or after the zone, which is cheaper to see than where
    AND (v.timestamp + {_AROUND} < z.zone_from OR v.until - {_AROUND} > z.zone_until)
), inside AS MATERIALIZED (
    SELECT * FROM (
        SELECT z.part, z.device_id, z.read_until, greatest(z.settled, side.after) AS skip_from,
            least(z.leaving, side.before) AS skip_until
        FROM long z
        CROSS JOIN LATERAL (VALUES (timestamptz '-infinity', z.zone_from), (z.zone_until, {_END})) side (after, before)
    ) s WHERE skip_from < skip_until
), kept AS MATERIALIZED (
    SELECT part, device_id, begin,
           coalesce(lead(skip_from) OVER (PARTITION BY part ORDER BY begin), read_until) AS until
    FROM (
        SELECT part, device_id, read_from AS begin, NULL::timestamptz AS skip_from, read_until FROM reading
        UNION ALL SELECT part, device_id, skip_until, skip_from, read_until FROM inside
    ) e
), fixes AS MATERIALIZED (
    SELECT k.part, r.* FROM kept k CROSS JOIN LATERAL loom_between(NULL::{_RAW}, k.device_id, k.begin, k.until) r
)
SELECT {FIX}, part, message_id::text, device_id, timestamp, received_at, trace_id, span_id, latitude, longitude,
       accuracy, speed FROM fixes
UNION ALL
SELECT {SKIPPED}, part, NULL, device_id, skip_from, skip_until, NULL, NULL, NULL, NULL, NULL, NULL FROM inside
UNION ALL
SELECT {ANSWERED}, part, NULL, device_id, answer_from, answer_until, NULL, NULL, NULL, NULL, NULL, NULL FROM reading
UNION ALL
SELECT * FROM (
    SELECT DISTINCT ON (p.place_id) {PLACE}, 0, p.place_id::text, p.device_id, p.first_visit_at, p.learned_at,
           NULL, NULL, p.latitude, p.longitude, NULL::float8, NULL::float8
    FROM learned_places p, (SELECT min(latitude) AS south, max(latitude) AS north, min(longitude) AS west,
                                   max(longitude) AS east FROM fixes) box
    WHERE p.latitude BETWEEN box.south - 0.01 AND box.north + 0.01
      AND p.longitude BETWEEN box.west - 0.1 AND box.east + 0.1
    ORDER BY p.place_id, p.learned_at, p.device_id
) place
"""
FIXES: Final = ContextQuery(
    name="fixes",
    sql=_READING,
    parameters=lambda batch, due: _asked(batch, due),
    schema=FIXES_SCHEMA,
)


def _asked(batch: pl.DataFrame, due: pl.DataFrame) -> Mapping[str, object] | None:
    """Stretches of time of the batch's fixes, by device; a device whose timer is due is asked about as it is now."""
    runs = (
        batch.select("device_id", "timestamp")
        .sort("device_id", "timestamp")
        .with_columns((pl.col("timestamp").diff().over("device_id") > _SAME_PART).fill_null(False).alias("breaks"))
        .with_columns(pl.col("breaks").cum_sum().over("device_id").alias("run"))
        .group_by("device_id", "run", maintain_order=True)
        .agg(pl.col("timestamp").min().alias("first"), pl.col("timestamp").max().alias("last"))
    )
    silent = due.filter(pl.col("key") == SILENCE_TIMER).select("device_id")
    asked = pl.concat([runs.select("device_id", "first", "last"), silent], how="diagonal")
    if asked.is_empty():
        return None
    return {
        "devices": asked["device_id"].to_list(),
        "firsts": asked["first"].to_list(),
        "lasts": asked["last"].to_list(),
        "version": VERSION,
    }
