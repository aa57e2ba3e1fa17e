"""The BlobStore of `loom_models.stage`: encrypted, content-addressed, checked when it is read."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import psycopg

from loom_models.stage import BlobRef, Body
from loom_platform.blobs import locks, removal
from loom_platform.blobs import sweep as sweeping
from loom_platform.blobs import usage as using
from loom_platform.blobs import verify as verifying
from loom_platform.blobs.errors import BlobError, BlobMissingError, BlobUrlError
from loom_platform.blobs.keys import DatabaseKeys, MemoryKeys, destroy_key
from loom_platform.blobs.objects import Objects
from loom_platform.blobs.references import parsed, reference_to
from loom_platform.blobs.seal import DeviceKey, checked, key_id_of, seal, unseal
from loom_platform.settings import Settings

Connection = psycopg.Connection[Any]


def open_blobs(where: Settings | str, database_url: str | None = None) -> "Blobs":
    """The object store of the settings, or at a URL, with the keys in the database at `database_url`.

    Nothing is connected to yet. Without a database only `memory://` can be opened. Raises BlobUrlError.
    """
    if isinstance(where, Settings):
        return Blobs(Objects(where.blobs), DatabaseKeys(database_url or where.database_url))
    if database_url is not None:
        return Blobs(Objects(where), DatabaseKeys(database_url))
    if not where.startswith("memory:"):
        raise BlobUrlError(f"object store {where!r}: give the database as well, which has the keys of its bodies")
    return Blobs(Objects(where), MemoryKeys())


class Blobs:
    """Bodies by reference (`references.py`), encrypted (`seal.py`), each device's with its own key (`keys.py`).

    Threads may share it.
    """

    def __init__(self, objects: Objects, keys: DatabaseKeys | MemoryKeys) -> None:
        self.objects = objects
        self._keys = keys

    @property
    def url(self) -> str:
        """Where the bodies are."""
        return self.objects.url

    def within(self, connection: Connection, devices: Iterable[str] = (), *, session: bool = False) -> "BlobWriter":
        """Stores bodies whose rows `connection` writes: no removal takes one before the transaction is over.

        `devices` are those that may come: all of them are asked for when the first body does. With `session` the bodies
        are safe until the connection is closed. To store outside a transaction raises BlobError.
        """
        return BlobWriter(self, self._keys, connection, devices, session=session)

    def put(self, body: bytes, *, device_id: str, kind: str, suffix: str = "") -> BlobRef:
        """Store `body`. A sweep leaves it alone for an hour; `within` is for bodies whose rows come at once.

        Raises DependencyError when the store or the keys are away, ValueError for an impossible device or kind.
        """
        (stored,) = self.put_all([Body(body, device_id, kind, suffix)])
        return stored

    def put_all(self, bodies: Sequence[Body]) -> list[BlobRef]:
        """As `put`, for many at once."""
        devices = {b.device_id for b in bodies}
        if isinstance(self._keys, MemoryKeys):
            return self._store_all(bodies, self._keys.live(None, devices))
        with self._keys.connection() as connection, connection.transaction():
            locks.share(connection, devices)
            return self._store_all(bodies, self._keys.live(connection, devices), afresh=True)

    def get(self, ref: str) -> bytes:
        """The body at `ref`, decrypted and checked.

        Raises BlobMissingError (a KeyError) when there is none, BlobDamagedError when it is not what was stored,
        KeyDestroyedError when nobody can read it any more, DependencyError when the store or the keys are away.
        """
        reference = parsed(ref)
        stored = None if reference is None else self.objects.read(ref)
        if reference is None or stored is None:
            raise BlobMissingError(f"object store {self.url} has no {ref!r}")
        if reference.device_id is None:
            return checked(stored, reference)
        return unseal(stored, reference, self._keys.of(key_id_of(stored, reference), reference))

    def get_all(self, refs: Sequence[str]) -> list[bytes | BlobError]:
        """As `get`, for many at once; what is wrong with a body is in its place. Raises DependencyError."""
        return list(self.objects.pool.map(self._get_or_error, refs))

    def _get_or_error(self, ref: str) -> bytes | BlobError:
        try:
            return self.get(ref)
        except BlobError as error:
            return error

    def exists(self, ref: str) -> bool:
        """Whether something is stored at `ref`; `get` tells whether it is whole."""
        return parsed(ref) is not None and self.objects.find(ref) is not None

    def remove_unreferenced(
        self, connection: Connection, refs: Iterable[str], *, on_point: Callable[[str], None] = removal.no_point
    ) -> removal.Removed:
        """Remove the bodies of `refs` that no row refers to any more. The rows' removal is committed before.

        It is done in transactions of its own, some bodies at a time, and may be repeated after a crash. Raises
        InTransactionError, and DependencyError when the store is away.
        """
        return removal.remove_unreferenced(self.objects, connection, refs, on_point)

    def sweep(
        self,
        connection: Connection,
        *,
        older_than: timedelta = sweeping.FRESH,
        dry_run: bool = False,
        progress: Callable[[sweeping.Swept], None] = sweeping.silent,
    ) -> sweeping.Swept:
        """Remove all bodies that no row refers to and that were stored before `older_than` from now.

        It lists the whole store, asks for each body, and is harmless at any time, in transactions of its own.
        """
        return sweeping.sweep(self.objects, connection, older_than=older_than, dry_run=dry_run, progress=progress)

    def verify(
        self,
        connection: Connection,
        *,
        device_id: str | None = None,
        on_problem: Callable[[verifying.Problem], None],
        progress: Callable[[verifying.Verified], None] = lambda _: None,
    ) -> verifying.Verified:
        """Read the body of every row, or of one device's, and compare it with what the row says."""
        return verifying.verify(self, connection, device_id=device_id, on_problem=on_problem, progress=progress)

    def usage(self, progress: Callable[[int], None] = lambda _: None) -> list[using.Usage]:
        """What is stored, by kind and device. It lists the whole store."""
        return using.usage(self.objects, progress)

    def destroy_key(self, connection: Connection, device_id: str) -> int:
        """As keys.destroy_key."""
        return destroy_key(connection, device_id)

    def close(self) -> None:
        """Give the connection to the keys back."""
        if isinstance(self._keys, DatabaseKeys):
            self._keys.close()

    def _store_all(
        self, bodies: Sequence[Body], keys: Mapping[str, DeviceKey], *, afresh: bool = False
    ) -> list[BlobRef]:
        references = [reference_to(*b) for b in bodies]
        # The same body twice is one object, and two writers of one object would be in each other's way.
        sealed = {r.ref: seal(b.body, r, keys[b.device_id]) for r, b in zip(references, bodies, strict=True)}
        self.objects.write_all(list(sealed.items()), afresh=afresh)
        return [BlobRef(r.ref, r.sha256, len(b.body)) for r, b in zip(references, bodies, strict=True)]


class BlobWriter:
    """The store within one transaction, or one session; see Blobs.within. One thread has it."""

    def __init__(
        self,
        blobs: Blobs,
        keys: DatabaseKeys | MemoryKeys,
        connection: Connection,
        devices: Iterable[str],
        *,
        session: bool,
    ) -> None:
        self._blobs, self._keys, self._connection, self._session = blobs, keys, connection, session
        self._coming = set(devices)
        self._known: dict[str, DeviceKey] = {}

    def put(self, body: bytes, *, device_id: str, kind: str, suffix: str = "") -> BlobRef:
        """As Blobs.put; the body is safe from removals until the transaction, or the session, ends."""
        if device_id not in self._known:
            self._admit({device_id})
        (stored,) = self._blobs._store_all([Body(body, device_id, kind, suffix)], self._known)
        return stored

    def put_all(self, bodies: Sequence[Body]) -> list[BlobRef]:
        """As `put`, for many at once."""
        if missing := {b.device_id for b in bodies} - self._known.keys():
            self._admit(missing)
        return self._blobs._store_all(bodies, self._known)

    def get(self, ref: str) -> bytes:
        """As Blobs.get."""
        return self._blobs.get(ref)

    def get_all(self, refs: Sequence[str]) -> list[bytes | BlobError]:
        """As Blobs.get_all."""
        return self._blobs.get_all(refs)

    def _admit(self, devices: set[str]) -> None:
        devices = devices | self._coming
        self._coming = set()
        # First the lock, then the key: what another destroyed meanwhile is seen.
        locks.share(self._connection, devices, session=self._session)
        self._known |= self._keys.live(self._connection, devices)
