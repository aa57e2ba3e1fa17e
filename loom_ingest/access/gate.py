"""The gate: who a request is from, by the key that came with it.

Keys are looked up in memory. They are read from PostgreSQL so often that a revocation counts within two seconds, and at
once when one comes that is well-formed and not known, so a key counts as soon as it is made. With the database
away the keys known last go on; a service that starts then has them from a file beside the spool.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Final

from starlette.types import Scope as ConnectionScope

from loom_ingest.access.audit import Entry, append
from loom_ingest.access.credentials import ended, key_in_headers, key_in_query, missing, not_known
from loom_ingest.access.keys import ID, well_formed
from loom_ingest.access.policy import Rule, change_of
from loom_ingest.access.principal import ANYONE, Principal, Scope
from loom_ingest.access.register import KeyRow, all_keys, record_uses
from loom_ingest.access.remembered import read_keys, write_keys
from loom_ingest.database import Database
from loom_ingest.errors import ApiError, DatabaseUnavailableError
from loom_ingest.logging import log, where

REFRESH_SECONDS: Final = 1.5
"""A revocation counts within two seconds: this, and the half second that a reading may have to wait."""
USES_SECONDS: Final = 10.0
"""How late `last_used_at` is written."""
SOONEST_SECONDS: Final = 0.5
"""An unknown key waits until the keys were read again, which happens no more often than this."""
STOP_SECONDS: Final = 1.0
REFUSAL_SECONDS: Final = 60.0
"""The same refused change by the same key is audited once in this time."""
MOST_REFUSALS: Final = 1_000


class Known:
    """A key in memory; it counts until `ends`, in seconds since the epoch, and then `ended` says why, since `since`."""

    __slots__ = ("ended", "ends", "principal", "sha256", "since", "used")

    def __init__(self, row: KeyRow, used: float = 0.0) -> None:
        devices = None if row.devices is None else frozenset(row.devices)
        self.principal = Principal(row.key_id, frozenset(Scope(s) for s in row.scopes), devices)
        self.sha256 = row.sha256
        expires = float("inf") if row.expires_at is None else row.expires_at.timestamp()
        self.ended = "expired" if row.revoked_at is None else "revoked"
        self.since = expires if row.revoked_at is None else row.revoked_at.timestamp()
        # Whatever the database's clock says, a revoked key is revoked.
        self.ends = expires if row.revoked_at is None else 0.0
        self.used = used


class Gate:
    """The keys, who bears one, and what is written down of their use; `required` says whether all need one."""

    def __init__(self, database: Database, *, required: bool, directory: Path | None = None) -> None:
        self.required = required
        self._database = database
        self._directory = directory
        self._keys: dict[bytes, Known] = {}
        self._rows: list[KeyRow] | None = None
        self._written: list[KeyRow] | None = None
        self._refreshed = 0.0
        self._used_written = 0.0
        self._refreshing = asyncio.Lock()
        self._refusals: dict[tuple[str, str, str], float] = {}
        self._to_audit: list[Entry] = []
        self._worker: asyncio.Task[None] | None = None
        self._told = False
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Learn the keys, from the database or else from the file, and begin to follow them."""
        if self._directory is not None:
            remembered = await asyncio.to_thread(read_keys, self._directory)
            if remembered is not None:
                self._learn(remembered)
                self._written = remembered
        self._worker = asyncio.create_task(self._work_on(), name="api-keys")

    async def stop(self) -> None:
        """Write down what is left, where the database is there."""
        self._stopping.set()
        if self._worker is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._worker, STOP_SECONDS)
        if not self._told:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await self._write_down()

    async def principal(self, scope: ConnectionScope, rule: Rule) -> Principal:
        """Whoever makes this request, when `rule` lets them; raises the 401, 403 or 503.

        At a service that does not require keys, one that counts restricts its bearer; any other means nothing.
        """
        if not rule.scopes:
            return ANYONE
        key = key_in_headers(scope["headers"])
        if key is None and rule.token:
            key = key_in_query(scope["query_string"])
        if key is None:
            if self.required:
                raise missing(basic=rule.basic)
            return ANYONE
        known = self._find(key)
        if known is None and self._may_be_new(key):
            await self._refresh()
            known = self._find(key)
        if known is None and self.required and self._rows is None:
            raise DatabaseUnavailableError("the service has no list of API keys yet")
        now = time.time()
        if known is None or now >= known.ends:
            if not self.required:
                return ANYONE
            if known is None:
                raise not_known(key, basic=rule.basic)
            raise ended(known.ended, known.since, basic=rule.basic)
        known.used = now
        principal = known.principal
        if principal.scopes.isdisjoint(rule.scopes) and Scope.ADMIN not in principal.scopes:
            error = principal.lacks(*rule.scopes)
            self.refused(principal, *change_of(scope), error)
            raise error
        return principal

    def refused(self, principal: Principal, action: str, subject: str, error: ApiError) -> None:
        """Have it audited that `principal` may not do `action` to `subject`; once a minute for each of these."""
        if error.status != 403 or principal.key_id is None or not action:
            return
        now, same = time.monotonic(), (principal.key_id, action, subject)
        if now < self._refusals.get(same, 0.0):
            return
        if len(self._refusals) >= MOST_REFUSALS:
            self._refusals = {k: until for k, until in self._refusals.items() if now < until}
        if len(self._refusals) >= MOST_REFUSALS or len(self._to_audit) >= MOST_REFUSALS:
            return
        self._refusals[same] = now + REFUSAL_SECONDS
        self._to_audit.append(Entry(principal.actor, action, subject, "refused", {"code": error.code.value}))

    def _find(self, key: bytes) -> Known | None:
        """The known key that `key` is; the same work whether its id is known or not."""
        known = self._keys.get(key[ID])
        same = compare_digest(sha256(key).digest(), _NOBODY if known is None else known.sha256)
        return known if same else None

    def _may_be_new(self, key: bytes) -> bool:
        """Whether `key` may have been made since the keys were read; not so with the database away."""
        return not self._told and well_formed(key)

    def _learn(self, rows: Iterable[KeyRow]) -> None:
        known = self._keys
        self._rows = list(rows)
        self._keys = {}
        for row in self._rows:
            name = row.key_id.encode()
            before = known.get(name)
            self._keys[name] = Known(row, 0.0 if before is None else before.used)

    async def _work_on(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._refresh(always=True)
                if time.monotonic() - self._used_written > USES_SECONDS or self._to_audit:
                    self._used_written = time.monotonic()
                    await self._write_down()
            except Exception as error:
                # Without this task a revocation would never be seen.
                log.error("keys_failed", **where(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_SECONDS):
                    await self._stopping.wait()

    async def _refresh(self, *, always: bool = False) -> None:
        """Return when the keys were read by a reading that began after this was called, its own or another task's.

        Unless `always`, it does not try again where another task has just found the database away.
        """
        asked = time.monotonic()
        async with self._refreshing:
            if self._refreshed > asked or (self._told and not always):
                return
            await asyncio.sleep(max(0.0, self._refreshed + SOONEST_SECONDS - asked))
            self._refreshed = time.monotonic()
            try:
                async with self._database.connection() as connection:
                    rows = await all_keys(connection)
            except DatabaseUnavailableError as error:
                if not self._told and self.required:
                    remedy = "start PostgreSQL; keys known before go on" if self._rows else "start PostgreSQL"
                    log.warning("keys_unavailable", reason=error.message, remedy=remedy, known=len(self._keys))
                self._told = True
            else:
                if self.required and not rows and self._rows is None:
                    log.warning("no_keys", remedy="make one with `loom keys create`; until then nobody is let in")
                self._told = False
                self._learn(rows)
                await self._remember(rows)

    async def _remember(self, rows: list[KeyRow]) -> None:
        if self._directory is None or (self._written is not None and _same(rows, self._written)):
            return
        try:
            await asyncio.to_thread(write_keys, self._directory, rows)
        except OSError as error:
            log.warning("keys_not_remembered", reason=error.strerror, remedy="check LOOM_SPOOL_DIR")
        self._written = rows

    async def _write_down(self) -> None:
        uses = {name: known.used for name, known in self._keys.items() if known.used}
        try:
            if uses:
                times = {name.decode(): datetime.fromtimestamp(used, UTC) for name, used in uses.items()}
                async with self._database.connection() as connection:
                    await record_uses(connection, times)
                for name, used in uses.items():
                    known = self._keys.get(name)
                    if known is not None and known.used == used:
                        known.used = 0.0
            while self._to_audit:
                async with self._database.connection() as connection:
                    await append(connection, self._to_audit[0])
                del self._to_audit[0]
        except DatabaseUnavailableError:
            # Tried again next time; `keys_unavailable` was told.
            return


_NOBODY: Final = bytes(32)


def _same(some: list[KeyRow], others: list[KeyRow]) -> bool:
    """Whether both say the same of who may do what."""

    def told(rows: list[KeyRow]) -> list[tuple[object, ...]]:
        return [(r.key_id, r.sha256, r.scopes, r.devices, r.expires_at, r.revoked_at) for r in rows]

    return told(some) == told(others)
