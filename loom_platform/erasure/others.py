"""What is known of a device outside the topics' tables: what stages keep of it, dead letters, the register, clients."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, Literal

import psycopg
from psycopg import sql

from loom_contracts.topics.registry import LANDED
from loom_models.speech import restore
from loom_models.stages.vad_filtered import STAGE_NAME as SILERO
from loom_platform.blobs import destroy_key
from loom_platform.days.catalogue import DATASETS
from loom_platform.days.compute import compute_day
from loom_platform.erasure import ledger
from loom_platform.erasure.scope import END, Erasure
from loom_platform.orchestration import places_visited
from loom_platform.stream.erased import event_of

Connection = psycopg.Connection[Any]

_MINE: Final = "(%(all)s OR device_id = ANY(%(devices)s))"
_UNUSED: Final = """NOT EXISTS (SELECT FROM location_address_geocoded r WHERE r.cell = lookups.cell)
AND NOT EXISTS (SELECT FROM location_business_identified r WHERE r.cell = lookups.cell)"""
_US: Final = timedelta(microseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Other:
    """Rows of `table` that `condition` finds are deleted, or changed by `change` (SET ..).

    `when`: in every erasure, in one of whole devices, in one of those that are to be known still (`kept`), or in one
    that forgets them.
    """

    table: str
    condition: str
    when: Literal["always", "whole", "kept", "forget"]
    change: str | None = None

    def applies(self, erasure: Erasure) -> bool:
        """Whether it is part of this erasure."""
        scope = erasure.scope
        return {
            "always": True,
            "whole": scope.whole,
            "kept": scope.whole and not scope.forget,
            "forget": scope.forget,
        }[self.when]


OTHERS: Final[tuple[Other, ...]] = (
    Other("device_activity", f"{_MINE} AND first_seen_at <= %(asked_at)s", "whole"),
    Other("devices", f"{_MINE} AND created_at <= %(asked_at)s AND registered_at IS NULL", "kept"),
    Other(
        "devices",
        f"{_MINE} AND first_seen_at <= %(asked_at)s AND registered_at IS NOT NULL",
        "kept",
        "first_seen_at = NULL, last_seen_at = NULL",
    ),
    Other("devices", f"{_MINE} AND created_at <= %(asked_at)s", "forget"),
    Other(
        "client_identities",
        "device_id IS NULL AND seen_device_id = ANY(%(devices)s) AND first_seen_at <= %(asked_at)s",
        "whole",
    ),
    Other(
        "client_identities",
        "device_id = ANY(%(devices)s) AND first_seen_at <= %(asked_at)s",
        "kept",
        "seen_device_id = NULL, first_seen_at = NULL, last_seen_at = NULL",
    ),
    Other(
        "client_identities",
        "device_id = ANY(%(devices)s) AND coalesce(linked_at, first_seen_at) <= %(asked_at)s",
        "forget",
    ),
    Other("homeassistant_registrations", f"{_MINE} AND created_at <= %(asked_at)s", "forget"),
    Other(
        "activitywatch_buckets",
        f"{_MINE} AND last_event IS NOT NULL AND updated_at <= %(asked_at)s AND "
        "coalesce((last_event ->> 'timestamp')::timestamptz, %(first)s) >= %(first)s AND "
        "coalesce((last_event ->> 'timestamp')::timestamptz, %(first)s) < %(after)s",
        "always",
        "last_event = NULL",
    ),
    Other("activitywatch_buckets", f"{_MINE} AND created_at <= %(asked_at)s", "forget"),
    Other(
        "learned_places",
        f"{_MINE} AND learned_at <= %(asked_at)s AND first_visit_at >= %(first)s AND first_visit_at < %(after)s",
        "always",
    ),
    # a cell tells where someone was, until no row is left that it was asked for
    Other("lookups", f"asked_at <= %(asked_at)s AND {_UNUSED}", "always"),
)
"""What a sighting that the service had still in memory brings back within seconds is found again by `remaining`."""

_LETTERS: Final = """
SELECT stage, topic, partition, "offset", device_id, value, received_at FROM processing_errors
WHERE received_at <= %(asked_at)s AND (%(all)s OR device_id = ANY(%(devices)s) OR device_id IS NULL OR EXISTS (
    SELECT FROM unnest(%(devices)s::text[]) AS d WHERE position(d::bytea IN value) > 0))
"""
_LETTER: Final = 'DELETE FROM processing_errors WHERE stage = %s AND topic = %s AND partition = %s AND "offset" = %s'
_PAUSE: Final = """
UPDATE stage_pauses SET reason = 'too many dead letters; what they said was erased'
WHERE stage = ANY(%s) AND paused_by = 'stage'
"""
_STATES: Final = f"""
SELECT stage, stage_version, device_id, state, updated_at FROM stream_state
WHERE {_MINE} AND updated_at <= %(asked_at)s
"""
_STATE: Final = "DELETE FROM stream_state WHERE stage = %s AND stage_version = %s AND device_id = %s"
_TIMERS: Final = f"SELECT stage, stage_version, device_id, key FROM stream_timers WHERE {_MINE} AND due_at <= %(due)s"
_TIMER: Final = "DELETE FROM stream_timers WHERE stage = %s AND stage_version = %s AND device_id = %s AND key = %s"
_OLD_KEYS: Final = (
    f"SELECT device_id FROM device_keys WHERE {_MINE} AND destroyed_at IS NULL AND created_at <= %(asked_at)s"
)
_CONFIRMED: Final = f"""
DELETE FROM recompute_confirmed WHERE progress_id IN (
  SELECT id FROM recompute_progress WHERE {_MINE} AND started_at <= %(asked_at)s
  AND day >= (%(first)s AT TIME ZONE 'UTC')::date AND day <= (%(after)s AT TIME ZONE 'UTC')::date)
"""
_PROGRESS: Final = f"""
DELETE FROM recompute_progress WHERE {_MINE} AND started_at <= %(asked_at)s
  AND day >= (%(first)s AT TIME ZONE 'UTC')::date AND day <= (%(after)s AT TIME ZONE 'UTC')::date
"""
# A stay of the day before may go on into the first day; a person's own day lies within three of UTC.
_DAYS: Final = """
SELECT day FROM {table} WHERE (%(all)s OR device_ids && %(devices)s)
  AND day <= (%(after)s AT TIME ZONE 'UTC')::date + {ahead} AND day >= (%(first)s AT TIME ZONE 'UTC')::date - 1
GROUP BY day
"""


def erase_at_once(connection: Connection, erasure: Erasure) -> None:
    """What stages keep of the devices between two batches, and their keys: in the transaction that begins the erasure,
    while no stage writes. What is there from after it stays, so it may be done again at any time.

    Of a part of a device's time only what is of it: an open stretch of speech, the timer of a window.
    """
    values = erasure.values
    for stage, version, device, state, updated_at in connection.execute(_STATES.encode(), values).fetchall():
        if erasure.scope.whole or _overlaps(erasure, _heard(stage, bytes(state)), updated_at):
            ledger.add(
                connection, erasure, "stream_state", connection.execute(_STATE, (stage, version, device)).rowcount
            )
            _end_timers(connection, erasure, device, stage)
    _end_timers(connection, erasure, None, None)
    connection.execute(_CONFIRMED.encode(), values)
    ledger.add(connection, erasure, "recompute_progress", connection.execute(_PROGRESS.encode(), values).rowcount)
    if erasure.scope.whole:
        old = {row[0] for row in connection.execute(_OLD_KEYS.encode(), values).fetchall()}
        keys = sum(destroy_key(connection, device) for device in sorted(old))
        ledger.add(connection, erasure, "device_keys", keys)


def erase_others(connection: Connection, erasure: Erasure) -> None:
    """Everything of OTHERS, and dead letters."""
    for other in OTHERS:
        if other.applies(erasure):
            with connection.transaction():
                query = f"UPDATE {other.table} SET {other.change}" if other.change else f"DELETE FROM {other.table}"
                done = connection.execute(f"{query} WHERE {other.condition}".encode(), erasure.values).rowcount
                ledger.add(connection, erasure, other.table, done)
    stages = set()
    for letter in letters(connection, erasure):
        with connection.transaction():
            ledger.add(connection, erasure, "processing_errors", connection.execute(_LETTER, letter).rowcount)
        stages.add(letter[0])
    connection.execute(_PAUSE, (list(stages),))


def letters(connection: Connection, erasure: Erasure) -> Iterator[tuple[str, str, int, int]]:
    """Dead letters of the scope: by what can still be read of them, else by their key and when they were accepted."""
    for stage, topic, partition, offset, device, value, received_at in connection.execute(
        _LETTERS.encode(), erasure.values
    ).fetchall():
        body = None if value is None else bytes(value)
        told, moment = event_of(device, body, received_at)
        mine = told in erasure.scope.devices or device in erasure.scope.devices or (
            device is None and told is None and body is not None
        )  # fmt: skip
        if (mine or not erasure.scope.devices) and erasure.span.holds(
            erasure.scope.devices[0] if erasure.scope.devices else None, moment
        ):
            yield stage, topic, partition, offset


def erase_places(connection: Connection, erasure: Erasure, progress: Callable[[str, int], None]) -> int:
    """Compute again the days of every dataset that the devices had a share in; how many days."""
    done = 0
    for day in _days(connection, erasure, [places_visited.TABLE], 0):
        places_visited.compute_day(connection, day, f"erasure-{erasure.id}")
        progress(places_visited.TABLE, done := done + 1)
    for day in _days(connection, erasure, [d.table for d in DATASETS], 1):
        compute_day(connection, day, f"erasure-{erasure.id}", None, whatever_is_left=True)
        progress("day_timeline", done := done + 1)
    return done


def _days(connection: Connection, erasure: Erasure, tables: list[str], ahead: int) -> list[date]:
    query = " UNION ".join(_DAYS.format(table=table, ahead=ahead) for table in tables) + " ORDER BY day"
    return [row[0] for row in connection.execute(query.encode(), erasure.values).fetchall()]


def count(connection: Connection, erasure: Erasure) -> dict[str, int]:
    """Of each table here, the rows that are still to be erased."""
    found: dict[str, int] = {}
    values = erasure.values
    for other in OTHERS:
        if other.applies(erasure):
            query = f"SELECT count(*) FROM {other.table} WHERE {other.condition}"
            row = connection.execute(query.encode(), values).fetchone()
            found[other.table] = found.get(other.table, 0) + (int(row[0]) if row else 0)
    found["processing_errors"] = sum(1 for _ in letters(connection, erasure))
    states = connection.execute(_STATES.encode(), values).fetchall()
    found["stream_state"] = sum(
        1 for s, _, _, state, at in states if at <= erasure.asked_at and _concerned(erasure, s, bytes(state), at)
    )
    if erasure.scope.whole:
        found["device_keys"] = len(connection.execute(_OLD_KEYS.encode(), values).fetchall())
        for table in (places_visited.TABLE, *(d.table for d in DATASETS)):
            query = f"SELECT count(*) FROM {table} WHERE device_ids && %(devices)s AND computed_at <= %(asked_at)s"
            row = connection.execute(query.encode(), values).fetchone()
            found[table] = int(row[0]) if row else 0
    return found


def _concerned(erasure: Erasure, stage: str, state: bytes, updated_at: datetime) -> bool:
    return erasure.scope.whole or _overlaps(erasure, _heard(stage, state), updated_at)


def _heard(stage: str, state: bytes) -> tuple[datetime, datetime] | None:
    """What time a stage's state is of; None when that cannot be told."""
    if stage != SILERO:
        return None
    stream = restore(state)
    if stream is None or not stream.chunks:
        return None
    return _EPOCH + stream.chunks[0].at_us * _US, _EPOCH + stream.end_us * _US


def _overlaps(erasure: Erasure, heard: tuple[datetime, datetime] | None, updated_at: datetime) -> bool:
    """Whether state of the time `heard` may hold something of the scope; what is not known may.

    It holds nothing that was sensed after it was written, apart from clocks that are wrong.
    """
    first, after = erasure.scope.bounds
    if heard is not None:
        return heard[0] < after and heard[1] >= first
    return updated_at + 2 * _DAY >= first


def _end_timers(connection: Connection, erasure: Erasure, device: str | None, stage: str | None) -> None:
    """The timers of a device's stage; without one those of the scope: a window's is called by its start."""
    # Later, one that is not due yet may be of newer records.
    due = erasure.asked_at if erasure.cleared_at and _sends_on(connection, erasure) else END
    for name, version, owner, key in connection.execute(_TIMERS.encode(), erasure.values | {"due": due}).fetchall():
        if device is not None:
            concerned = (owner, name) == (device, stage)
        else:
            concerned = erasure.scope.whole or (
                key.lstrip("-").isdecimal() and erasure.span.holds(owner, _EPOCH + int(key) * _US)
            )
        if concerned:
            done = connection.execute(_TIMER, (name, version, owner, key)).rowcount
            ledger.add(connection, erasure, "stream_timers", done)


def _sends_on(connection: Connection, erasure: Erasure) -> bool:
    """Whether there is any landed row of the devices, so that a stage may be waiting for them."""
    query = sql.SQL(" UNION ALL ").join(
        sql.SQL("(SELECT 1 FROM {} WHERE {} LIMIT 1)").format(
            sql.Identifier(topic.table.name), erasure.scope.of_device()
        )
        for topic in LANDED
    )
    return connection.execute(sql.SQL("{} LIMIT 1").format(query)).fetchone() is not None


def rollups_left(connection: Connection, erasure: Erasure, view: str, table: str, size: str) -> int:
    """Buckets of a roll-up in the scope that no row stands behind any more."""
    query = sql.SQL(
        "SELECT count(*) FROM {view} AS v WHERE {device} AND v.bucket >= {first} AND v.bucket < {after} "
        "AND NOT EXISTS (SELECT FROM {table} AS t WHERE t.device_id = v.device_id AND t.timestamp >= v.bucket "
        "AND t.timestamp < v.bucket + {size}::interval)"
    ).format(
        view=sql.Identifier(view),
        table=sql.Identifier(table),
        device=erasure.scope.of_device("v."),
        first=sql.Literal(erasure.scope.bounds[0]),
        after=sql.Literal(erasure.scope.bounds[1]),
        size=sql.Literal(f"1 {size}"),
    )
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0
