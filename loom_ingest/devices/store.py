"""The register of devices in PostgreSQL. Each call may raise DatabaseUnavailableError, a 503."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final, NamedTuple

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from loom_ingest.errors import DatabaseUnavailableError

POOL_TIMEOUT_SECONDS: Final = 2.0
CLOSE_TIMEOUT_SECONDS: Final = 0.5
CONNECT_TIMEOUT_SECONDS: Final = 3
STATEMENT_TIMEOUT_MS: Final = 5_000
FIELDS: Final = (
    "name", "device_type", "platform", "manufacturer", "model", "os_version", "app_version", "tags", "metadata",
)  # fmt: skip

_DEVICE: Final = "*, registered_at IS NOT NULL AS registered"

# A field that is not in `given` keeps its value, where the device is there already.
_REGISTER: Final = f"""
INSERT INTO devices (device_id, {", ".join(FIELDS)}, registered_at)
VALUES (%(device_id)s, {", ".join(f"%({f})s" for f in FIELDS)}, now())
ON CONFLICT (device_id) DO UPDATE SET
    {", ".join(f"{f} = CASE WHEN '{f}' = ANY (%(given)s) THEN EXCLUDED.{f} ELSE devices.{f} END" for f in FIELDS)},
    registered_at = now(), updated_at = now(), deleted_at = NULL
WHERE devices.registered_at IS NULL OR devices.deleted_at IS NOT NULL
RETURNING {_DEVICE}
"""
_LIST: Final = f"""
SELECT {_DEVICE}, count(*) OVER () AS total FROM devices
WHERE deleted_at IS NULL OR %(deleted)s
ORDER BY last_seen_at DESC NULLS LAST, device_id LIMIT %(limit)s OFFSET %(offset)s
"""
_COUNT: Final = "SELECT count(*) AS total FROM devices WHERE deleted_at IS NULL OR %(deleted)s"
_ACTIVITY: Final = """
SELECT a.device_id, d.name, a.topic, a.message_count, a.first_seen_at, a.last_seen_at,
       max(a.last_seen_at) OVER device > now() - %(active_seconds)s * interval '1 second' AS active
FROM device_activity a LEFT JOIN devices d USING (device_id)
WHERE d.deleted_at IS NULL
WINDOW device AS (PARTITION BY a.device_id)
ORDER BY max(a.last_seen_at) OVER device DESC, a.device_id, a.last_seen_at DESC, a.topic
"""
# In the order of the key, so that two writers never wait for each other in a circle.
_SEEN: Final = """
WITH seen AS (
    SELECT * FROM unnest(%(devices)s::text[], %(topics)s::text[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[],
                         %(counts)s::bigint[]) AS s (device_id, topic, first_at, last_at, count)
    ORDER BY 1, 2
), known AS (
    INSERT INTO devices (device_id, first_seen_at, last_seen_at)
    SELECT device_id, min(first_at), max(last_at) FROM seen GROUP BY device_id ORDER BY device_id
    ON CONFLICT (device_id) DO UPDATE SET
        first_seen_at = least(devices.first_seen_at, EXCLUDED.first_seen_at),
        last_seen_at = greatest(devices.last_seen_at, EXCLUDED.last_seen_at)
)
INSERT INTO device_activity AS a (device_id, topic, first_seen_at, last_seen_at, message_count)
SELECT * FROM seen
ON CONFLICT (device_id, topic) DO UPDATE SET
    first_seen_at = least(a.first_seen_at, EXCLUDED.first_seen_at),
    last_seen_at = greatest(a.last_seen_at, EXCLUDED.last_seen_at),
    message_count = a.message_count + EXCLUDED.message_count
"""


class Sighting(NamedTuple):
    """What one device sent to one topic since the last time it was written down."""

    device_id: str
    topic: str
    first_at: datetime
    last_at: datetime
    messages: int


class DeviceStore:
    """Devices in the database at `database_url`, through a small pool that is opened by `open`."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._pool: AsyncConnectionPool[psycopg.AsyncConnection[DictRow]] | None = None

    async def open(self) -> None:
        """Begin to connect; returns at once, with the database away too."""
        self._pool = AsyncConnectionPool(
            self._database_url,
            connection_class=psycopg.AsyncConnection[DictRow],
            kwargs={
                "autocommit": True,
                "row_factory": dict_row,
                "connect_timeout": CONNECT_TIMEOUT_SECONDS,
                "application_name": "loom-ingest",
                "options": f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c timezone=UTC",
            },
            min_size=1,
            max_size=4,
            open=False,
            timeout=POOL_TIMEOUT_SECONDS,
            check=AsyncConnectionPool.check_connection,
            name="loom-devices",
        )
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Let go of every connection."""
        if self._pool is not None:
            await self._pool.close(timeout=CLOSE_TIMEOUT_SECONDS)
            self._pool = None

    async def register(self, device_id: str, fields: dict[str, Any]) -> dict[str, Any] | None:
        """The device, now registered with `fields`; None when it is registered already."""
        values = {f: fields.get(f) for f in FIELDS} | {
            "tags": Jsonb(fields.get("tags") or []),
            "metadata": Jsonb(fields.get("metadata") or {}),
        }
        return await self._one(_REGISTER, {"device_id": device_id, "given": list(fields), **values})

    async def get(self, device_id: str) -> dict[str, Any] | None:
        """The device, deleted or not; None when there is none."""
        return await self._one(f"SELECT {_DEVICE} FROM devices WHERE device_id = %(id)s", {"id": device_id})

    async def update(self, device_id: str, fields: dict[str, Any]) -> dict[str, Any] | None:
        """The device with `fields` changed; None when there is none, or it is deleted."""
        names = [f for f in FIELDS if f in fields]
        values = {f: Jsonb(v) if f in ("tags", "metadata") else v for f, v in fields.items()}
        changes = ", ".join([*(f"{f} = %({f})s" for f in names), "updated_at = now()"])
        query = f"UPDATE devices SET {changes} WHERE device_id = %(id)s AND deleted_at IS NULL RETURNING {_DEVICE}"
        return await self._one(query, {"id": device_id, **values})

    async def delete(self, device_id: str) -> dict[str, Any] | None:
        """The device, now deleted; None when there is none, or it was deleted before. What it sent stays."""
        query = f"""UPDATE devices SET deleted_at = now(), updated_at = now()
                    WHERE device_id = %(id)s AND deleted_at IS NULL RETURNING {_DEVICE}"""
        return await self._one(query, {"id": device_id})

    async def page(self, *, deleted: bool, limit: int, offset: int) -> tuple[list[dict[str, Any]], int]:
        """One page of devices, and how many there are in all."""
        rows = await self._all(_LIST, {"deleted": deleted, "limit": limit, "offset": offset})
        if rows:
            return rows, int(rows[0]["total"])
        count = await self._one(_COUNT, {"deleted": deleted})
        return [], int(count["total"]) if count else 0

    async def activity(self, active_seconds: int) -> list[dict[str, Any]]:
        """A row for each device and topic, those seen last first."""
        return await self._all(_ACTIVITY, {"active_seconds": active_seconds})

    async def registered(self, device_ids: Iterable[str] | None = None) -> set[str]:
        """Which of `device_ids`, or of all, are registered and not deleted."""
        query = "SELECT device_id FROM devices WHERE registered_at IS NOT NULL AND deleted_at IS NULL"
        if device_ids is None:
            return {row["device_id"] for row in await self._all(query, {})}
        query += " AND device_id = ANY (%(ids)s)"
        return {row["device_id"] for row in await self._all(query, {"ids": list(device_ids)})}

    async def record(self, sightings: Iterable[Sighting]) -> None:
        """Add these sightings, and the devices that were not known."""
        columns = list(zip(*sightings, strict=True))
        if not columns:
            return
        names = ("devices", "topics", "firsts", "lasts", "counts")
        async with self._connection() as connection:
            await connection.execute(_SEEN, {n: list(c) for n, c in zip(names, columns, strict=True)})

    async def _one(self, query: str, values: dict[str, Any]) -> dict[str, Any] | None:
        async with self._connection() as connection:
            return await (await connection.execute(query.encode(), values)).fetchone()

    async def _all(self, query: str, values: dict[str, Any]) -> list[dict[str, Any]]:
        async with self._connection() as connection:
            return await (await connection.execute(query.encode(), values)).fetchall()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[psycopg.AsyncConnection[DictRow]]:
        if self._pool is None:
            raise DatabaseUnavailableError("the service has not opened it")
        try:
            async with self._pool.connection() as connection:
                yield connection
        except psycopg.errors.UndefinedTable as error:
            raise DatabaseUnavailableError("it has no table of devices; run `loom db migrate`") from error
        except (psycopg.Error, PoolTimeout, PoolClosed, OSError) as error:
            raise DatabaseUnavailableError(type(error).__name__) from error
