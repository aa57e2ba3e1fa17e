"""Buckets and events in PostgreSQL. Each call may raise DatabaseUnavailableError, a 503."""

from collections.abc import AsyncGenerator, Iterable
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from psycopg.types.json import Jsonb
from pydantic_core import to_json

from loom_ingest.clients.activitywatch.buckets import Bucket, state_of_row
from loom_ingest.clients.activitywatch.events import State
from loom_ingest.database import Database

ROWS_AT_ONCE: Final = 500
MOST_TOMBSTONES: Final = 10_000

_BUCKETS: Final = """
SELECT * FROM activitywatch_buckets
WHERE (%(bucket)s::text IS NULL OR bucket_id = %(bucket)s)
  AND (%(devices)s::text[] IS NULL OR device_id = ANY (%(devices)s))
ORDER BY updated_at
"""
# A bucket whose row was never written, but whose events were.
_RECOVERED: Final = """
SELECT DISTINCT ON (device_id) device_id, bucket_id, bucket_type, client, hostname, timestamp AS created_at,
       '{}'::jsonb AS data, coalesce(generation, 0) AS generation, NULL AS deleted_at, NULL AS last_event
FROM (SELECT * FROM digital_activitywatch_raw
      WHERE bucket_id = %(bucket)s AND (%(devices)s::text[] IS NULL OR device_id = ANY (%(devices)s))
      ORDER BY timestamp DESC LIMIT 1) newest
"""
# Who only guessed what the bucket is does not overwrite what is known of it; and whatever comes undoes a deletion.
_SAVE: Final = """
INSERT INTO activitywatch_buckets AS b (
    device_id, bucket_id, bucket_type, client, hostname, data, created_at, last_event
) VALUES (
    %(device_id)s, %(bucket_id)s, %(bucket_type)s, %(client)s, %(hostname)s, %(data)s, %(created_at)s, %(last_event)s
)
ON CONFLICT (device_id, bucket_id) DO UPDATE SET
    bucket_type = CASE WHEN %(inferred)s THEN b.bucket_type ELSE EXCLUDED.bucket_type END,
    client = CASE WHEN %(inferred)s THEN b.client ELSE EXCLUDED.client END,
    hostname = CASE WHEN %(inferred)s THEN b.hostname ELSE EXCLUDED.hostname END,
    data = CASE WHEN %(inferred)s THEN b.data ELSE EXCLUDED.data END,
    created_at = CASE WHEN b.deleted_at IS NULL AND b.created_at < EXCLUDED.created_at
                      THEN b.created_at ELSE EXCLUDED.created_at END,
    last_event = CASE WHEN %(last_known)s THEN EXCLUDED.last_event ELSE b.last_event END,
    deleted_at = NULL, updated_at = now()
RETURNING *
"""
_DELETE: Final = """
UPDATE activitywatch_buckets
SET deleted_at = now(), emptied_at = now(), updated_at = now(), generation = generation + 1, last_event = NULL
WHERE (device_id, bucket_id) = (%(device)s, %(bucket)s) AND deleted_at IS NULL RETURNING *
"""
# Of years of events, until the first is found.
_PATIENTLY: Final = "SET LOCAL statement_timeout = '120s'"
_EVENTS: Final = """
SELECT timestamp, duration_seconds, data, event_id, revision FROM digital_activitywatch_events
WHERE device_id = %(device)s AND bucket_id = %(bucket)s
  AND timestamp >= %(begin)s AND timestamp <= %(end)s AND ended_at >= %(start)s
ORDER BY timestamp DESC, event_id DESC LIMIT %(limit)s
"""
_COUNT: Final = """
SELECT count(*) AS events FROM digital_activitywatch_events
WHERE device_id = %(device)s AND bucket_id = %(bucket)s
  AND timestamp >= %(begin)s AND timestamp <= %(end)s AND ended_at >= %(start)s AND event_id <> ALL (%(without)s)
"""
_ONE: Final = """
SELECT timestamp, duration_seconds, data, event_id, revision FROM digital_activitywatch_events
WHERE device_id = %(device)s AND bucket_id = %(bucket)s AND right(event_id::text, 12) = %(number)s LIMIT 1
"""
_TOMBSTONES: Final = """
SELECT DISTINCT event_id FROM digital_activitywatch_raw
WHERE bucket_id = %(bucket)s AND device_id = %(device)s AND deleted LIMIT %(limit)s
"""


class WatcherStore:
    """Buckets and events in `database`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def buckets(self, bucket_id: str | None, devices: frozenset[str] | None) -> list[Bucket]:
        """The buckets of `devices`, or of all, called `bucket_id` or whatever; deleted ones too, the newest last."""
        values = {"bucket": bucket_id, "devices": None if devices is None else sorted(devices)}
        async with self._database.connection() as connection:
            rows = await (await connection.execute(_BUCKETS, values)).fetchall()
            if not rows and bucket_id is not None:
                rows = await (await connection.execute(_RECOVERED, values)).fetchall()
        return [Bucket.of_row(row) for row in rows]

    async def save(self, bucket: Bucket) -> None:
        """Write `bucket` as it is; it learns its generation, and what others knew of it."""
        row = bucket.row()
        last = row["last_event"]
        values = row | {"data": _jsonb(row["data"]), "last_event": None if last is None else _jsonb(last)}
        async with self._database.connection() as connection:
            (found,) = await (await connection.execute(_SAVE, values)).fetchall()
        saved = Bucket.of_row(found)
        bucket.generation = saved.generation
        if bucket.inferred:
            bucket.bucket_type, bucket.client, bucket.hostname = saved.bucket_type, saved.client, saved.hostname
            bucket.data, bucket.created_at = saved.data, saved.created_at

    async def delete(self, bucket: Bucket) -> None:
        """Count one more deletion of `bucket`, which hides its events."""
        async with self._database.connection() as connection:
            values = {"device": bucket.device_id, "bucket": bucket.bucket_id}
            found = await (await connection.execute(_DELETE, values)).fetchone()
        if found is not None:
            bucket.generation = int(found["generation"])

    async def newest(self, bucket: Bucket) -> State | None:
        """The event of `bucket` that begins last."""
        async for state in self.events(bucket, limit=1):
            return state
        return None

    async def events(
        self, bucket: Bucket, *, begin: datetime | None = None, start: datetime | None = None,
        end: datetime | None = None, limit: int | None = None,
    ) -> AsyncGenerator[State, None]:  # fmt: skip
        """Events that end at `start` or later and begin from `begin` to `end`, the newest first, a few at a time."""
        values = _range(bucket, begin, start, end) | {"limit": limit}
        async with (
            self._database.connection() as connection,
            connection.transaction(),
            connection.cursor(name="activitywatch_events") as cursor,
        ):
            await connection.execute(_PATIENTLY)
            await cursor.execute(_EVENTS, values)
            while rows := await cursor.fetchmany(ROWS_AT_ONCE):
                for row in rows:
                    yield state_of_row(row)

    async def count(
        self, bucket: Bucket, *, begin: datetime | None, start: datetime | None, end: datetime | None,
        without: Iterable[UUID],
    ) -> int:  # fmt: skip
        """How many events there are, as `events` has them, those in `without` aside."""
        values = _range(bucket, begin, start, end) | {"without": list(without)}
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute(_PATIENTLY)
            row = await (await connection.execute(_COUNT, values)).fetchone()
        return int(row["events"]) if row else 0

    async def find(self, bucket: Bucket, number: int) -> State | None:
        """The event that clients know as `number`."""
        async with self._database.connection() as connection:
            values = {"device": bucket.device_id, "bucket": bucket.bucket_id, "number": f"{number:012x}"}
            row = await (await connection.execute(_ONE, values)).fetchone()
        return None if row is None else state_of_row(row)

    async def tombstones(self, bucket: Bucket) -> set[UUID]:
        """Events of `bucket` that a client deleted, up to 10,000."""
        async with self._database.connection() as connection:
            values = {"device": bucket.device_id, "bucket": bucket.bucket_id, "limit": MOST_TOMBSTONES}
            rows = await (await connection.execute(_TOMBSTONES, values)).fetchall()
        return {row["event_id"] for row in rows}


def _jsonb(value: dict[str, Any]) -> Jsonb:
    """`value` as the broker has it: no NaN, which PostgreSQL would refuse."""
    return Jsonb(value, dumps=lambda content: to_json(content, inf_nan_mode="null"))


def _range(bucket: Bucket, begin: datetime | None, start: datetime | None, end: datetime | None) -> dict[str, Any]:
    return {
        "device": bucket.device_id,
        "bucket": bucket.bucket_id,
        "begin": begin or "-infinity",
        "start": start or "-infinity",
        "end": end or "infinity",
    }
