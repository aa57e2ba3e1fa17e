"""Phones that registered as Home Assistant's companion app, in PostgreSQL.

The id of a webhook is a credential and is kept as its SHA-256 only. The key of encrypted payloads must be kept as it
is, for it opens them. Each call may raise DatabaseUnavailableError, a 503; what was known goes on without the database.
"""

import re
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from psycopg.types.json import Jsonb

from loom_ingest.access.audit import Entry, append
from loom_ingest.database import Database
from loom_ingest.errors import DatabaseUnavailableError

FRESH_SECONDS: Final = 2.0
"""How long what was read counts: how soon a deletion is seen."""
USES_SECONDS: Final = 60.0
MOST_KNOWN: Final = 1_000
WEBHOOK_ID: Final = re.compile(r"[0-9a-f]{64}")

_FIND: Final = """
SELECT r.*, r.deleted_at IS NOT NULL OR d.deleted_at IS NOT NULL AS gone
FROM homeassistant_registrations r LEFT JOIN devices d USING (device_id) WHERE webhook_sha256 = %(sha256)s
"""
# One app of one device has one webhook; a device that was deleted and returns begins anew.
_REPLACE: Final = """
UPDATE homeassistant_registrations SET deleted_at = now()
WHERE device_id = %(device)s AND deleted_at IS NULL AND registration->>'app_id' = %(app)s
"""
_END: Final = """
UPDATE homeassistant_registrations SET deleted_at = now() WHERE webhook_sha256 = %(sha256)s AND deleted_at IS NULL
"""
_ADD: Final = """
INSERT INTO homeassistant_registrations (webhook_sha256, device_id, registration, secret)
VALUES (%(sha256)s, %(device)s, %(registration)s, %(secret)s)
"""
_CHANGE: Final = """
UPDATE homeassistant_registrations SET registration = registration || %(registration)s WHERE webhook_sha256 = %(sha256)s
RETURNING registration
"""
_ENCRYPT: Final = """
UPDATE homeassistant_registrations SET secret = %(secret)s WHERE webhook_sha256 = %(sha256)s AND secret IS NULL
"""
_SENSOR: Final = """
UPDATE homeassistant_registrations SET sensors = sensors || %(sensor)s WHERE webhook_sha256 = %(sha256)s
"""
_USED: Final = "UPDATE homeassistant_registrations SET last_used_at = now() WHERE webhook_sha256 = %(sha256)s"


@dataclass
class Phone:
    """One registration. `sensors` are by their unique id; `states` are those that came last, to this process."""

    sha256: bytes
    device_id: str
    registration: dict[str, Any]
    secret: str | None
    sensors: dict[str, dict[str, Any]]
    gone: bool = False
    states: dict[str, Any] = field(default_factory=dict)
    read_at: float = 0.0
    used_at: float = 0.0


class Phones:
    """The registrations, and those that were asked for lately."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: OrderedDict[bytes, Phone] = OrderedDict()

    async def add(
        self, webhook_id: str, device_id: str, registration: dict[str, Any], secret: str | None, actor: str
    ) -> None:
        """Register a phone; an earlier registration of the same app on it ends."""
        values: dict[str, Any] = {"sha256": _digest(webhook_id), "device": device_id, "secret": secret}
        values |= {"app": registration.get("app_id"), "registration": Jsonb(registration)}
        entry = Entry(actor, "homeassistant.register", device_id, details={"app_id": registration.get("app_id")})
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute(_REPLACE, values)
            await connection.execute(_ADD, values)
            await append(connection, entry)
        self._known.clear()

    async def find(self, webhook_id: str, *, fresh: bool = False) -> Phone | None:
        """The phone of a webhook, `gone` when it was deleted; None when there was never one. `fresh`: not from memory.

        With the database away, what was known of it.
        """
        if WEBHOOK_ID.fullmatch(webhook_id) is None:
            return None
        key = _digest(webhook_id)
        known = self._known.get(key)
        if known is not None and not fresh and time.monotonic() - known.read_at < FRESH_SECONDS:
            return known
        try:
            row = await self._one(_FIND, {"sha256": key})
        except DatabaseUnavailableError:
            if known is None:
                raise
            return known
        if row is None:
            return None
        if row["gone"] and row["deleted_at"] is None:
            # Its device was deleted: the webhook does not return with it.
            await self._do(_END, {"sha256": key})
        before = self._known.pop(key, None)
        phone = Phone(key, row["device_id"], row["registration"], row["secret"], row["sensors"], row["gone"])
        phone.states = {} if before is None else before.states
        phone.used_at = 0.0 if before is None else before.used_at
        phone.read_at = time.monotonic()
        self._known[key] = phone
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return phone

    async def change(self, phone: Phone, registration: dict[str, Any]) -> None:
        """Change what the app says of itself."""
        row = await self._one(_CHANGE, {"sha256": phone.sha256, "registration": Jsonb(registration)})
        phone.registration = row["registration"] if row else phone.registration | registration

    async def encrypt(self, phone: Phone, secret: str) -> bool:
        """Have it send encrypted payloads from now on; False when it does so already."""
        async with self._database.connection() as connection:
            done = await connection.execute(_ENCRYPT, {"sha256": phone.sha256, "secret": secret})
        phone.read_at = 0.0
        return done.rowcount == 1

    async def add_sensor(self, phone: Phone, sensor_id: str, sensor: dict[str, Any]) -> None:
        """Register a sensor, or change what is known of it; nothing is written when that is the same."""
        known = phone.sensors.get(sensor_id)
        if known is not None and known == known | sensor:
            return
        merged = (known or {}) | sensor
        await self._do(_SENSOR, {"sha256": phone.sha256, "sensor": Jsonb({sensor_id: merged})})
        phone.sensors[sensor_id] = merged

    async def used(self, phone: Phone) -> None:
        """Remember that it was used; once a minute, and only if the database is there."""
        now = time.monotonic()
        if phone.used_at and now - phone.used_at < USES_SECONDS:
            return
        phone.used_at = now
        try:
            await self._do(_USED, {"sha256": phone.sha256})
        except DatabaseUnavailableError:
            phone.used_at = 0.0

    async def _one(self, query: str, values: dict[str, Any]) -> dict[str, Any] | None:
        async with self._database.connection() as connection:
            return await (await connection.execute(query.encode(), values)).fetchone()

    async def _do(self, query: str, values: dict[str, Any]) -> None:
        async with self._database.connection() as connection:
            await connection.execute(query.encode(), values)


def _digest(webhook_id: str) -> bytes:
    return sha256(webhook_id.encode()).digest()
