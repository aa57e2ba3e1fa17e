"""The register of devices in PostgreSQL. Each call may raise DatabaseUnavailableError, a 503."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, NamedTuple

from psycopg.types.json import Jsonb

from loom_ingest.access.audit import Entry, append
from loom_ingest.database import Database

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
WHERE (devices.registered_at IS NULL AND devices.deleted_at IS NULL) OR (devices.deleted_at IS NOT NULL AND %(restore)s)
RETURNING {_DEVICE}
"""
_LIST: Final = f"""
SELECT {_DEVICE}, count(*) OVER () AS total FROM devices
WHERE (deleted_at IS NULL OR %(deleted)s) AND (%(only)s::text[] IS NULL OR device_id = ANY (%(only)s))
ORDER BY last_seen_at DESC NULLS LAST, device_id LIMIT %(limit)s OFFSET %(offset)s
"""
_COUNT: Final = """
SELECT count(*) AS total FROM devices
WHERE (deleted_at IS NULL OR %(deleted)s) AND (%(only)s::text[] IS NULL OR device_id = ANY (%(only)s))
"""
_ACTIVITY: Final = """
SELECT a.device_id, d.name, a.topic, a.message_count, a.first_seen_at, a.last_seen_at,
       max(a.last_seen_at) OVER device > now() - %(active_seconds)s * interval '1 second' AS active
FROM device_activity a LEFT JOIN devices d USING (device_id)
WHERE d.deleted_at IS NULL AND (%(only)s::text[] IS NULL OR a.device_id = ANY (%(only)s))
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
    """Devices in `database`. A change and its row of the audit log, which names `actor`, are written together.

    `only` are the devices that the asker may see; None for all.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def register(
        self, device_id: str, fields: dict[str, Any], actor: str, *, restore: bool = True
    ) -> dict[str, Any] | None:
        """The device, now registered with `fields`; None when it is so already, or deleted and may not return."""
        values = {f: fields.get(f) for f in FIELDS} | {
            "tags": Jsonb(fields.get("tags") or []),
            "metadata": Jsonb(fields.get("metadata") or {}),
        }
        values |= {"device_id": device_id, "given": list(fields), "restore": restore}
        return await self._change(_REGISTER, values, Entry(actor, "device.register", device_id, details=_names(fields)))

    async def get(self, device_id: str) -> dict[str, Any] | None:
        """The device, deleted or not; None when there is none."""
        return await self._one(f"SELECT {_DEVICE} FROM devices WHERE device_id = %(id)s", {"id": device_id})

    async def update(self, device_id: str, fields: dict[str, Any], actor: str) -> dict[str, Any] | None:
        """The device with `fields` changed; None when there is none, or it is deleted."""
        names = [f for f in FIELDS if f in fields]
        values = {f: Jsonb(v) if f in ("tags", "metadata") else v for f, v in fields.items()}
        changes = ", ".join([*(f"{f} = %({f})s" for f in names), "updated_at = now()"])
        query = f"UPDATE devices SET {changes} WHERE device_id = %(id)s AND deleted_at IS NULL RETURNING {_DEVICE}"
        entry = Entry(actor, "device.update", device_id, details=_names(fields))
        return await self._change(query, {"id": device_id, **values}, entry)

    async def delete(self, device_id: str, actor: str) -> dict[str, Any] | None:
        """The device, now deleted; None when there is none, or it was deleted before. What it sent stays."""
        query = f"""UPDATE devices SET deleted_at = now(), updated_at = now()
                    WHERE device_id = %(id)s AND deleted_at IS NULL RETURNING {_DEVICE}"""
        return await self._change(query, {"id": device_id}, Entry(actor, "device.delete", device_id))

    async def page(
        self, *, deleted: bool, limit: int, offset: int, only: Iterable[str] | None = None
    ) -> tuple[list[dict[str, Any]], int]:
        """One page of devices, and how many there are in all."""
        values = {"deleted": deleted, "only": _listed(only)}
        rows = await self._all(_LIST, {"limit": limit, "offset": offset, **values})
        if rows:
            return rows, int(rows[0]["total"])
        count = await self._one(_COUNT, values)
        return [], int(count["total"]) if count else 0

    async def activity(self, active_seconds: int, only: Iterable[str] | None = None) -> list[dict[str, Any]]:
        """A row for each device and topic, those seen last first."""
        return await self._all(_ACTIVITY, {"active_seconds": active_seconds, "only": _listed(only)})

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
        async with self._database.connection() as connection:
            await connection.execute(_SEEN, {n: list(c) for n, c in zip(names, columns, strict=True)})

    async def _change(self, query: str, values: dict[str, Any], entry: Entry) -> dict[str, Any] | None:
        async with self._database.connection() as connection, connection.transaction():
            row = await (await connection.execute(query.encode(), values)).fetchone()
            if row is not None:
                await append(connection, entry)
        return row

    async def _one(self, query: str, values: dict[str, Any]) -> dict[str, Any] | None:
        async with self._database.connection() as connection:
            return await (await connection.execute(query.encode(), values)).fetchone()

    async def _all(self, query: str, values: dict[str, Any]) -> list[dict[str, Any]]:
        async with self._database.connection() as connection:
            return await (await connection.execute(query.encode(), values)).fetchall()


def _listed(devices: Iterable[str] | None) -> list[str] | None:
    return None if devices is None else list(devices)


def _names(fields: dict[str, Any]) -> dict[str, Any]:
    """What the audit log says of a change: which fields, not what they say."""
    return {"fields": sorted(fields)}
