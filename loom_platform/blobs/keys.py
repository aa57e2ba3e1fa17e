"""The keys of the devices, in the table `device_keys`; a key that was destroyed stays destroyed."""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol
from uuid import UUID, uuid4

import psycopg
from nacl.utils import random

from loom_models.errors import DependencyError
from loom_platform.blobs import locks
from loom_platform.blobs.errors import BlobDamagedError, KeyDestroyedError
from loom_platform.blobs.references import Reference
from loom_platform.blobs.seal import KEY_BYTES, DeviceKey

Connection = psycopg.Connection[Any]

_LIVE: Final = """
SELECT device_id, key_id, key FROM device_keys WHERE device_id = ANY(%s) AND destroyed_at IS NULL
"""
_MAKE: Final = """
INSERT INTO device_keys (device_id, key) SELECT * FROM unnest(%s::text[], %s::bytea[])
ON CONFLICT (device_id) WHERE destroyed_at IS NULL DO NOTHING
"""
_BY_ID: Final = "SELECT key, destroyed_at FROM device_keys WHERE key_id = %s"
_DESTROY: Final = """
UPDATE device_keys SET key = NULL, destroyed_at = now() WHERE device_id = %s AND destroyed_at IS NULL
"""
_OPTIONS: Final = "-c statement_timeout=30s -c idle_in_transaction_session_timeout=120s -c timezone=UTC"
_CACHED: Final = 1_024
_TRUSTED_SECONDS: Final = 0.5


class Keys(Protocol):
    """Where the keys of a store are."""

    def live(self, connection: Connection, devices: Iterable[str]) -> dict[str, DeviceKey]:
        """The keys that the devices' bodies are encrypted with now; the caller holds the devices' locks."""
        ...

    def of(self, key_id: UUID, reference: Reference) -> DeviceKey:
        """The key that a stored body names; raises KeyDestroyedError, and BlobDamagedError for one never known."""
        ...

    def connection(self) -> Any:
        """A context with a connection of its own, which one thread has at a time."""
        ...


class DatabaseKeys:
    """Keys from the platform's database. Those that bodies were read with are trusted for half a second."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._own: Connection | None = None
        self._lock = threading.RLock()
        self._cache: OrderedDict[UUID, tuple[float, DeviceKey]] = OrderedDict()

    def live(self, connection: Connection, devices: Iterable[str]) -> dict[str, DeviceKey]:
        """As Keys.live. A key that is missing is made and committed first, so no body is ever of a key that is not."""
        wanted = set(devices)
        known = _live(connection, wanted)
        if missing := sorted(wanted - known.keys()):
            with self.connection() as own:
                own.execute(_MAKE, (missing, [random(KEY_BYTES) for _ in missing]))
            known |= _live(connection, missing)
        return known

    def of(self, key_id: UUID, reference: Reference) -> DeviceKey:
        """As Keys.of."""
        with self._lock:
            found = self._cache.get(key_id)
            if found is not None and time.monotonic() - found[0] < _TRUSTED_SECONDS:
                return found[1]
            self._cache.pop(key_id, None)
            asked_at = time.monotonic()
            with self.connection() as own:
                row = own.execute(_BY_ID, (key_id,)).fetchone()
            if row is None:
                raise BlobDamagedError(
                    f"{reference.ref}: this database has no key {key_id}: was it restored without its keys?"
                )
            if row[0] is None:
                raise KeyDestroyedError(f"{reference.ref}: its key was destroyed at {row[1]:%Y-%m-%d %H:%M:%S} UTC")
            key = DeviceKey(key_id, bytes(row[0]))
            self._cache[key_id] = asked_at, key
            if len(self._cache) > _CACHED:
                self._cache.popitem(last=False)
            return key

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """As Keys.connection, in autocommit. Raises DependencyError when the database is away."""
        with self._lock:
            try:
                if self._own is None or self._own.closed:
                    self._own = psycopg.connect(
                        self._url, autocommit=True, connect_timeout=5, application_name="loom blobs", options=_OPTIONS
                    )
                yield self._own
            except psycopg.OperationalError as error:
                if self._own is not None and self._own.closed:
                    self._own = None
                raise DependencyError(f"the keys of the bodies: the database does not answer ({error})") from error

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection back."""
        with self._lock:
            if self._own is not None:
                self._own.close()
                self._own = None


class MemoryKeys:
    """Keys that end with the process, for a store in memory."""

    def __init__(self) -> None:
        self._of_device: dict[str, DeviceKey] = {}

    def live(self, connection: Connection | None, devices: Iterable[str]) -> dict[str, DeviceKey]:  # noqa: ARG002
        """As Keys.live."""
        return {d: self._of_device.setdefault(d, DeviceKey(uuid4(), random(KEY_BYTES))) for d in devices}

    def of(self, key_id: UUID, reference: Reference) -> DeviceKey:
        """As Keys.of."""
        for key in self._of_device.values():
            if key.key_id == key_id:
                return key
        raise BlobDamagedError(f"{reference.ref}: there is no key {key_id}")


def destroy_key(connection: Connection, device_id: str) -> int:
    """Destroy the device's key: no copy of its bodies can be read any more. How many keys that were (0 or 1).

    It is part of the caller's transaction, if there is one, and final with its commit; every process heeds it within a
    second. Until then nobody stores bodies of the device. What it sends later gets a new key.
    """
    with connection.transaction():
        locks.take_alone(connection, device_id)
        return connection.execute(_DESTROY, (device_id,)).rowcount


def _live(connection: Connection, devices: Iterable[str]) -> dict[str, DeviceKey]:
    rows = connection.execute(_LIVE, (list(devices),)).fetchall()
    return {device: DeviceKey(key_id, bytes(key)) for device, key_id, key in rows}
