"""What was seen of each device: gathered in memory as messages pass, written down every few seconds."""

import asyncio
import contextlib
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from loom_ingest.devices.store import DeviceStore, Sighting
from loom_ingest.errors import ApiError, Code, DatabaseUnavailableError
from loom_ingest.logging import log

FLUSH_SECONDS: Final = 2.0
STOP_SECONDS: Final = 1.0
REFRESH_SECONDS: Final = 10.0
"""How old the known registrations may be: a deletion by another process is seen within this time."""
REFUSAL_SECONDS: Final = 2.0
"""How long a device that is not registered is refused without asking the database again."""
MOST_GATHERED: Final = 20_000
"""Pairs of device and topic in memory; with the database away, further ones are not counted."""


class Devices:
    """The register, what was seen since it was last written, and which devices are known to be registered."""

    def __init__(self, store: DeviceStore, *, require_registered: bool = False) -> None:
        self.store = store
        self._require_registered = require_registered
        self._gathered: dict[tuple[str, str], list[float]] = {}
        self._registered: set[str] = set()
        self._refused: dict[str, float] = {}
        self._refreshed = 0.0
        self._writer: asyncio.Task[None] | None = None
        self._told = False
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Begin to write."""
        self._writer = asyncio.create_task(self._write_on(), name="device-sightings")

    async def stop(self) -> None:
        """Write what is left, where the database is there."""
        self._stopping.set()
        if self._writer is not None:
            await self._writer
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._flush()
        except TimeoutError:
            self._tell(f"it did not answer within {STOP_SECONDS:g} s at the end")

    def seen(self, device_id: str, topic: str) -> None:
        """Count one message."""
        now = time.time()
        sighting = self._gathered.get((device_id, topic))
        if sighting is not None:
            sighting[1] = now
            sighting[2] += 1
        elif len(self._gathered) < MOST_GATHERED:
            self._gathered[device_id, topic] = [now, now, 1]

    async def check_registered(self, device_ids: Iterable[str]) -> None:
        """Return when all of `device_ids` are registered; raises the 403, or the 503 when nothing is known of one."""
        unknown = [d for d in device_ids if d not in self._registered]
        if not unknown:
            return
        now = time.monotonic()
        if not any(now < self._refused.get(d, 0.0) for d in unknown):
            found = await self.store.registered(unknown)
            self._registered |= found
            unknown = [d for d in unknown if d not in found]
        if not unknown:
            return
        if len(self._refused) > MOST_GATHERED:
            self._refused.clear()
        self._refused.update((d, now + REFUSAL_SECONDS) for d in unknown if now >= self._refused.get(d, 0.0))
        raise ApiError(
            403,
            Code.DEVICE_NOT_REGISTERED,
            f"Device {unknown[0]!r} is not registered; register it with POST /devices",
            details={"device_id": unknown[0]},
        )

    def changed(self, device_id: str, *, registered: bool) -> None:
        """Know at once of a registration or deletion that this process made."""
        self._refused.pop(device_id, None)
        if registered:
            self._registered.add(device_id)
        else:
            self._registered.discard(device_id)

    async def _write_on(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self._stopping.wait()
                    return
            await self._flush()
            if self._require_registered and time.monotonic() - self._refreshed > REFRESH_SECONDS:
                # With the database away, those known go on.
                with contextlib.suppress(DatabaseUnavailableError):
                    self._registered = await self.store.registered()
                    self._refreshed = time.monotonic()

    async def _flush(self) -> None:
        gathered, self._gathered = self._gathered, {}
        if not gathered:
            return
        sightings = [
            Sighting(
                device_id, topic, datetime.fromtimestamp(first, UTC), datetime.fromtimestamp(last, UTC), int(count)
            )
            for (device_id, topic), (first, last, count) in gathered.items()
        ]
        try:
            await self.store.record(sightings)
        except DatabaseUnavailableError as error:
            self._keep(gathered)
            self._tell(error.message)
        else:
            self._told = False

    def _tell(self, reason: str) -> None:
        if not self._told:
            log.warning("devices_unavailable", reason=reason, remedy="start PostgreSQL; ingest goes on")
        self._told = True

    def _keep(self, gathered: dict[tuple[str, str], list[float]]) -> None:
        """Put back what could not be written, under what has come since."""
        for key, (first, last, count) in gathered.items():
            newer = self._gathered.get(key)
            if newer is not None:
                newer[0], newer[2] = first, newer[2] + count
            elif len(self._gathered) < MOST_GATHERED:
                self._gathered[key] = [first, last, count]
