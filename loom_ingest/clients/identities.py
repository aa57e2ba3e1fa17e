"""Which device a foreign client is: what it calls itself is seldom a `device_id`.

Links that a person made are read from PostgreSQL every two seconds, and what was seen is written there. With the
database away the links known last go on; a service that starts then has them from a file beside the spool.
"""

import asyncio
import contextlib
import json
import os
import re
import time
from datetime import UTC, datetime
from hashlib import blake2s
from pathlib import Path
from typing import Final

from loom_ingest.access.principal import Principal
from loom_ingest.clients.identity_store import Key, Seen, all_links, record
from loom_ingest.database import Database
from loom_ingest.errors import DatabaseUnavailableError
from loom_ingest.logging import log

LONGEST: Final = 64
LONGEST_IDENTITY: Final = 256
REFRESH_SECONDS: Final = 2.0
FIRST_SECONDS: Final = 0.25
"""How long a service that knows no links waits for the database when it starts."""
STOP_SECONDS: Final = 1.0
SEEN_SECONDS: Final = 60.0
"""How late an identity that was seen before is written down again."""
MOST_SEEN: Final = 5_000
FILE: Final = "identities.json"
_ALLOWED: Final = re.compile(r"[A-Za-z0-9_-]{3,64}")
_OTHER: Final = re.compile(r"[^A-Za-z0-9_-]+")


class Identities:
    """Links from (client, identity) to a device.

    A link that the person made comes first; then the one device of a device's key; then a name made of the identity.
    """

    def __init__(self, database: Database | None = None, directory: Path | None = None) -> None:
        self._database = database
        self._directory = directory
        self._links: dict[Key, str] = {}
        self._written: dict[Key, str] | None = None
        self._seen: dict[Key, tuple[str, float, float]] = {}
        self._recorded: dict[Key, tuple[str, float]] = {}
        self._known = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._told = False

    async def start(self) -> None:
        """Learn the links, from the file or else from the database, and begin to follow them."""
        if self._database is None:
            return
        if self._directory is not None:
            self._written = await asyncio.to_thread(_read, self._directory)
            if self._written is not None:
                self._links = self._written
        self._worker = asyncio.create_task(self._work_on(), name="client-identities")
        if self._written is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FIRST_SECONDS):
                    await self._known.wait()

    async def stop(self) -> None:
        """Write down what is left, where the database is there."""
        if self._worker is not None:
            self._worker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._worker
        with contextlib.suppress(TimeoutError, DatabaseUnavailableError):
            async with asyncio.timeout(STOP_SECONDS):
                await self._write_down()

    def device_of(self, client: str, identity: str, principal: Principal) -> str:
        """The `device_id` of what calls itself `identity` to the endpoint of `client`."""
        device_id = self._device_of(client, identity, principal)
        self._saw((client, identity), device_id)
        return device_id

    def linked(self, client: str, identity: str) -> str | None:
        """The device that a person linked to it; None when nobody did."""
        return self._links.get((client, identity))

    def _device_of(self, client: str, identity: str, principal: Principal) -> str:
        linked = self._links.get((client, identity))
        if linked is not None:
            return linked
        if principal.devices is not None and len(principal.devices) == 1:
            (device_id,) = principal.devices
            return device_id
        return derived_device_id(client, identity)

    def _saw(self, key: Key, device_id: str) -> None:
        now = time.time()
        before = self._seen.get(key)
        if before is not None:
            self._seen[key] = (device_id, before[1], now)
            return
        recorded = self._recorded.get(key)
        if recorded is not None and recorded[0] == device_id and now - recorded[1] < SEEN_SECONDS:
            return
        if len(self._seen) < MOST_SEEN and _storable(key[1]):
            self._seen[key] = (device_id, now, now)

    async def _work_on(self) -> None:
        while True:
            try:
                await self._refresh()
                await self._write_down()
            except DatabaseUnavailableError as error:
                if not self._told and (self._links or self._seen):
                    remedy = "start PostgreSQL; links known before go on"
                    log.warning("identities_unavailable", reason=error.message, remedy=remedy, known=len(self._links))
                    self._told = True
            else:
                self._told = False
            await asyncio.sleep(REFRESH_SECONDS)

    async def _refresh(self) -> None:
        if self._database is None:
            return
        async with self._database.connection() as connection:
            self._links = await all_links(connection)
        self._known.set()
        if self._directory is None or self._links == self._written:
            return
        try:
            await asyncio.to_thread(_write, self._directory, self._links)
        except OSError as error:
            log.warning("identities_not_remembered", reason=error.strerror, remedy="check LOOM_SPOOL_DIR")
        self._written = self._links

    async def _write_down(self) -> None:
        if self._database is None or not self._seen:
            return
        gathered, self._seen = self._seen, {}
        rows = [
            Seen(client, identity, device_id, datetime.fromtimestamp(first, UTC), datetime.fromtimestamp(last, UTC))
            for (client, identity), (device_id, first, last) in gathered.items()
        ]
        try:
            async with self._database.connection() as connection:
                await record(connection, rows)
        except (DatabaseUnavailableError, asyncio.CancelledError):
            self._seen = gathered | self._seen
            raise
        if len(self._recorded) > MOST_SEEN:
            self._recorded.clear()
        self._recorded.update((key, (device_id, last)) for key, (device_id, _, last) in gathered.items())


def derived_device_id(client: str, identity: str) -> str:
    """`identity` as it is when it can be a `device_id`, else made so, with six digits that keep it apart from others.

    `derived_device_id("owntracks", "jan/phone")` is `jan-phone-` and the beginning of the identity's BLAKE2s.
    """
    if _ALLOWED.fullmatch(identity):
        return identity
    readable = _OTHER.sub("-", identity).strip("-") or client
    return f"{readable[: LONGEST - 7]}-{blake2s(identity.encode('utf-8', 'surrogatepass')).hexdigest()[:6]}"


def _storable(identity: str) -> bool:
    """Whether PostgreSQL can keep it, and a person would want to read it."""
    return 0 < len(identity) <= LONGEST_IDENTITY and identity.isprintable()


def _write(directory: Path, links: dict[Key, str]) -> None:
    """Put `links` in place of what was there, in one step; raises OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    building = directory / f".{FILE}.{os.getpid()}"
    descriptor = os.open(building, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump([[*key, device_id] for key, device_id in sorted(links.items())], file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    building.replace(directory / FILE)


def _read(directory: Path) -> dict[Key, str] | None:
    """What was written last; None when there is nothing that can be used."""
    try:
        items = json.loads((directory / FILE).read_text())
        return {(str(client), str(identity)): str(device_id) for client, identity, device_id in items}
    except (OSError, ValueError, TypeError):
        return None
