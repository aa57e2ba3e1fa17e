"""An erasure from beginning to end: in steps that may be repeated, so that one that was killed is finished by the next.

`on_point` is called where a kill may come: `begun`, `lineage`, `landed` and `derived` (within the transaction of each
piece), `cleared`, `removed`, `bodies`, `traces`, `proved`, `finished`.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final

import psycopg

from loom_contracts.rollups import ROLLUPS
from loom_contracts.topics.registry import DERIVED, LANDED
from loom_models.errors import DependencyError
from loom_models.flows import STAGES
from loom_platform.blobs import Blobs
from loom_platform.erasure import border, kafka, ledger, others, proof, rows, spool, traces
from loom_platform.erasure.errors import ErasureError
from loom_platform.erasure.kafka import Holding
from loom_platform.erasure.scope import BEGINNING, END, Erasure, Scope
from loom_platform.rollups import forget as forget_rollup
from loom_platform.rollups import refresh
from loom_platform.settings import Settings
from loom_platform.stream.config import StreamConfig
from loom_platform.stream.errors import DaysDroppedError
from loom_platform.stream.recompute import recompute

Connection = psycopg.Connection[Any]

SETTLE: Final = timedelta(seconds=3)
"""The ingest service writes down what it saw of a device every two seconds: a sighting from before comes by then."""

_OPTIONS: Final = "-c statement_timeout=0 -c idle_in_transaction_session_timeout=0 -c jit=off -c timezone=UTC"
_ALONE: Final = "SELECT pg_try_advisory_lock(hashtext('loom-erase'))"
_TRIES: Final = 3
_PART: Final = "SELECT part::text FROM loom_days(%s) WHERE day = %s::date"


def silent(_what: str, _count: int) -> None:
    """The default of `progress`."""


def no_point(_: str) -> None:
    """The default of `on_point`."""


@dataclass(frozen=True, slots=True)
class Place:
    """What an erasure works on. `dagster_url` None leaves Dagster's database alone."""

    settings: Settings
    config: StreamConfig
    blobs: Blobs
    dagster_url: str | None = None
    settle: timedelta = SETTLE
    progress: Callable[[str, int], None] = silent
    on_point: Callable[[str], None] = no_point


@dataclass(slots=True)
class Erased:
    """What an erasure did. `again` are the stages, days and devices that are to be computed again."""

    erasure: Erasure
    held: list[Holding] = field(default_factory=list)
    again: list[tuple[str, str, str]] = field(default_factory=list)


def reading(database_url: str) -> Connection:
    """The owner's connection, to look; raises DependencyError, and ErasureError where the tables are missing."""
    try:
        connection = psycopg.connect(
            database_url, autocommit=True, application_name="loom erase", connect_timeout=5, options=_OPTIONS
        )
    except psycopg.OperationalError as error:
        raise DependencyError(f"LOOM_DATABASE_URL: cannot connect ({error}); is the database up?") from error
    # Plans for the values that are given leave out the days that those do not touch.
    connection.prepare_threshold = None
    row = connection.execute("SELECT to_regclass('erasure_work')").fetchone()
    if row is None or row[0] is None:
        connection.close()
        raise ErasureError("the database has no table for erasures yet; run: loom db migrate")
    return connection


def connect(database_url: str) -> Connection:
    """The owner's connection, to erase; raises as `reading`, and ErasureError when another erasure is at work."""
    connection = reading(database_url)
    row = connection.execute(_ALONE).fetchone()
    if row is None or not row[0]:
        connection.close()
        raise ErasureError("another erasure is at work on this database; wait for it")
    if connection.execute("SELECT FROM pg_extension WHERE extname = 'timescaledb'").fetchone() is not None:
        connection.execute("SET timescaledb.max_tuples_decompressed_per_dml_transaction = 0")
    return connection


def count(connection: Connection, scope: Scope) -> dict[str, int]:
    """What an erasure of `scope` would take away now, by table; bodies too. Nothing is changed."""
    scope.check()
    found = proof.counts(connection, proof.as_if(connection, scope))
    return {name: rows for name, rows in found.items() if rows}


def erase(connection: Connection, scope: Scope, place: Place, asked_by: str) -> Erased:
    """Erase `scope` everywhere; the same again finishes one that was killed.

    Raises DependencyError when something is away, and ErasureError when something is left: the erasure stays
    unfinished, and its stages go on heeding it.
    """
    scope.check()
    spool_root = spool.directory(place.settings)
    erasure = ledger.begin(connection, scope, asked_by, others.erase_at_once)
    place.on_point("begun")
    spool.tell(connection, spool_root)
    if erasure.cleared_at is None:
        border.find(connection, erasure)
        place.on_point("lineage")
    left: dict[str, int] = {}
    for _ in range(_TRIES):
        erasure = _rows(connection, erasure, place, spool_root)
        _wait(connection, erasure, place.settle)
        others.erase_others(connection, erasure)
        others.erase_places(connection, erasure, place.progress)
        place.on_point("removed")
        _bodies(connection, erasure, place)
        spool.forget_retries(connection, erasure, spool_root)
        ledger.add(connection, erasure, "spool_files", spool.erase_aside(erasure, spool_root))
        place.on_point("bodies")
        traced = _traces(connection, erasure, place)
        _rollups(connection, erasure)
        place.on_point("traces")
        left = {n: c for n, c in proof.remaining(connection, erasure).items() if c}
        if not left:
            break
    if left:
        raise ErasureError(
            f"erasure {erasure.id}: something is left ({', '.join(f'{n}: {c}' for n, c in left.items())}); "
            "run the same command again"
        )
    erasure = ledger.again(connection, erasure)
    held = _kafka(connection, erasure, place)
    proved = proof.written(connection, erasure, held, spool.waiting(erasure, spool_root), traced)
    place.on_point("proved")
    ledger.finish(connection, erasure, proved)
    place.on_point("finished")
    return Erased(ledger.again(connection, erasure), held, _again(connection, erasure))


def _rows(connection: Connection, erasure: Erasure, place: Place, spool_root: Any) -> Erasure:
    """Landed rows, then what was derived of them."""
    spool.know_retries(connection, spool_root)
    for topic in LANDED:
        rows.erase_landed(connection, erasure, topic, place.progress, place.on_point)
    if erasure.cleared_at is None:
        rows.clear(connection, erasure, tuple(s.name for s in STAGES if not s.landing))
        erasure = ledger.again(connection, erasure)
    place.on_point("cleared")
    border.find_late(connection, erasure)
    for topic in DERIVED:
        rows.erase_derived(connection, erasure, topic, place.progress, place.on_point)
    border.remove(connection, erasure)
    return erasure


def _wait(connection: Connection, erasure: Erasure, settle: timedelta) -> None:
    row = connection.execute("SELECT extract(epoch FROM clock_timestamp() - %s)", (erasure.asked_at,)).fetchone()
    time.sleep(max(0.0, settle.total_seconds() - float(row[0] if row else 0)))


def _bodies(connection: Connection, erasure: Erasure, place: Place) -> None:
    refs = list(ledger.noted(connection, erasure, "body"))
    removed = place.blobs.remove_unreferenced(connection, refs).removed if refs else 0
    with connection.transaction():
        ledger.add(connection, erasure, "bodies", removed)
        ledger.done(connection, erasure, "body", refs)


def _traces(connection: Connection, erasure: Erasure, place: Place) -> dict[str, Any]:
    """Names of whole devices in logs and in Dagster's database."""
    if not erasure.scope.whole:
        return {}
    devices = erasure.scope.devices
    lines = traces.in_logs(traces.log_files(place.settings), devices, erase=True)
    ledger.add(connection, erasure, "log_lines", lines)
    if place.dagster_url is not None:
        try:
            own = psycopg.connect(place.dagster_url, autocommit=True, connect_timeout=5, options=_OPTIONS)
        except psycopg.OperationalError as error:
            raise DependencyError(f"LOOM_DAGSTER_DATABASE_URL: cannot connect ({error}); is it up?") from error
        with own:
            dagster = sum(traces.in_dagster(own, devices, erase=True).values())
            left = traces.in_dagster(own, devices, erase=False)
        ledger.add(connection, erasure, "dagster", dagster)
        if left:
            raise ErasureError(f"Dagster's database still names the device in {', '.join(left)}; run the command again")
    return {"not_searched": [d for d in devices if not traces.searchable(d)]}


def _rollups(connection: Connection, erasure: Erasure) -> None:
    """Roll-ups that outlived their rows, and a fresh count of what is left."""
    first, after = erasure.scope.bounds
    for rollup in ROLLUPS:
        table = rollup.table
        gone = 0
        for device in erasure.scope.devices or (None,):
            if rollup_left(connection, erasure, table.name):
                with connection.transaction():
                    gone += forget_rollup(connection, table, device, max(first, BEGINNING), min(after, END))
        ledger.add(connection, erasure, f"{table.name}_by_minute", gone)
    refresh(connection)


def rollup_left(connection: Connection, erasure: Erasure, table: str) -> bool:
    """Whether a roll-up of `table` tells of rows that are gone."""
    sizes = ("minute", "hour")
    return any(others.rollups_left(connection, erasure, f"{table}_by_{s}", table, s) for s in sizes)


def _kafka(connection: Connection, erasure: Erasure, place: Place) -> list[Holding]:
    known = ledger.noted(connection, erasure, "kafka")
    noted = [name.partition("/")[2] for name in ledger.noted(connection, erasure, "row")]
    return kafka.holdings(connection, place.config, erasure, known, noted, place.progress)


def remove_now(connection: Connection, done: Erased, place: Place, patience: timedelta) -> list[Holding]:
    """Remove from Kafka what it holds, once every stage has read it; what could not be removed. The proof says so."""
    left = kafka.remove(connection, place.config, done.held, patience=patience, progress=place.progress)
    gone = [holding for holding in done.held if holding not in left]
    proved = dict(done.erasure.proof or {})
    still = kafka.holdings(connection, place.config, done.erasure, {}, [])
    proved["removed_from_kafka"] = [holding.as_json() for holding in gone]
    proved["kafka"] = [holding.as_json() for holding in still]
    ledger.amend(connection, done.erasure, proved)
    return left


def vacuum(connection: Connection, erasure: Erasure, place: Place) -> int:
    """Vacuum the days that rows went from: no index names those any more, and their place is used again; how many days.

    PostgreSQL does so by itself only where it is worth while. It reads the days as a whole, beside all other work.
    """
    days = list(ledger.noted(connection, erasure, "day"))
    for number, name in enumerate(days):
        table, _, day = name.partition("/")
        for (part,) in connection.execute(_PART, (table, day)).fetchall():
            connection.execute(f"VACUUM (INDEX_CLEANUP ON, TRUNCATE OFF) {part}".encode())
        ledger.done(connection, erasure, "day", [name])
        place.progress("days vacuumed", number + 1)
    return len(days)


def again(connection: Connection, erasure: Erasure) -> Erasure:
    """The erasure as the ledger has it now."""
    return ledger.again(connection, erasure)


def compute_again(connection: Connection, erasure: Erasure, place: Place, stop: threading.Event) -> list[str]:
    """Compute what was given from both sides of the border again, from what stays; stages that are gone are told."""
    by_name = {s.name: s for s in STAGES if not s.landing}
    unknown = []
    for stage, day, device in _again(connection, erasure):
        if stage in by_name:
            each = date.fromisoformat(day)
            # Where what it was made from has gone by retention, what was given from both sides stays erased.
            with suppress(DaysDroppedError):
                config, alone = place.config, [device]
                recompute(by_name[stage], each, each, config, on_report=lambda _: None, stop=stop, devices=alone)
            if stop.is_set():
                break
        else:
            unknown.append(stage)
        ledger.done(connection, erasure, "again", [f"{stage}\t{day}\t{device}"])
    return unknown


def _again(connection: Connection, erasure: Erasure) -> list[tuple[str, str, str]]:
    found = []
    for name in ledger.noted(connection, erasure, "again"):
        stage, day, device = name.split("\t")
        found.append((stage, day, device))
    return found
