"""Whether every row's body is there and is what was sent."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import psycopg
from psycopg import sql

from loom_platform.blobs.errors import BlobDamagedError, KeyDestroyedError
from loom_platform.blobs.references import parsed
from loom_platform.blobs.removal import referring, unreferenced

if TYPE_CHECKING:
    from loom_platform.blobs.store import Blobs

Connection = psycopg.Connection[Any]
State = Literal["missing", "damaged", "destroyed"]

_AT_ONCE: Final = 4
_IN_FLIGHT: Final = 32
_FETCHED: Final = 1_000


class Expected(NamedTuple):
    """What a row says of its body."""

    ref: str
    sha256: str
    size_bytes: int


class Problem(NamedTuple):
    """A body that is missing, damaged, or whose key was destroyed while rows still refer to it."""

    ref: str
    state: State
    reason: str


@dataclass(slots=True)
class Verified:
    """How many bodies were checked, their bytes, and how many there are of each problem."""

    bodies: int = 0
    bytes: int = 0
    problems: Counter[str] = field(default_factory=Counter)


def verify(
    blobs: "Blobs",
    connection: Connection,
    *,
    device_id: str | None = None,
    on_problem: Callable[[Problem], None],
    progress: Callable[[Verified], None] = lambda _: None,
) -> Verified:
    """As Blobs.verify."""
    done = Verified()
    with ThreadPoolExecutor(_AT_ONCE, "verify") as pool:
        rows = _expected(connection, device_id)
        while some := list(islice(rows, _IN_FLIGHT)):
            for expected, problem in zip(some, pool.map(lambda each: _check(blobs, each), some), strict=True):
                done.bodies += 1
                done.bytes += expected.size_bytes
                if problem is not None and _still_there(connection, expected.ref):
                    done.problems[problem.state] += 1
                    on_problem(problem)
            progress(done)
    return done


def _check(blobs: "Blobs", expected: Expected) -> Problem | None:
    try:
        body = blobs.get(expected.ref)
    except KeyError:
        return Problem(expected.ref, "missing", "object storage has it no more")
    except BlobDamagedError as error:
        return Problem(expected.ref, "damaged", _reason(error, expected.ref))
    except KeyDestroyedError as error:
        return Problem(expected.ref, "destroyed", _reason(error, expected.ref))
    reference = parsed(expected.ref)
    if reference is None or (reference.sha256, len(body)) != (expected.sha256, expected.size_bytes):
        return Problem(
            expected.ref, "damaged", f"its row says {expected.size_bytes:,} bytes, SHA-256 {expected.sha256}"
        )
    return None


def _reason(error: Exception, ref: str) -> str:
    return str(error).removeprefix(f"{ref}: ")


def _still_there(connection: Connection, ref: str) -> bool:
    """Whether a row still refers to it: it may have been erased since it was listed."""
    return not unreferenced(connection, "", [ref])


def _expected(connection: Connection, device_id: str | None) -> Iterator[Expected]:
    """What rows say of their bodies, each reference once. The server keeps the list, so that no snapshot is held."""
    wanted = sql.SQL("") if device_id is None else sql.SQL(" WHERE device_id = {}").format(sql.Literal(device_id))
    each = [
        sql.SQL("SELECT {}, {}, {} FROM {}{}").format(
            sql.Identifier(column),
            sql.Identifier(f"{column.removesuffix('_ref')}_sha256"),
            sql.Identifier(f"{column.removesuffix('_ref')}_size_bytes"),
            sql.Identifier(table),
            wanted,
        )
        for table, column in referring(connection)
    ]
    if not each:
        return
    with connection.cursor("loom_blobs_verify", withhold=True) as cursor:
        cursor.itersize = _FETCHED
        cursor.execute(sql.SQL(" UNION ").join(each))
        for ref, digest, size in cursor:
            if ref is not None:
                yield Expected(ref, digest, size)
