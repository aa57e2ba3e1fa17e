"""One transform over one batch: context, the stage's own function, and the search for the record that breaks it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import polars as pl
import psycopg

from loom_contracts.topic import Topic
from loom_models.errors import DependencyError, PoisonError
from loom_models.stage import DUE_SCHEMA, SPAN_SCHEMA, TIMER_SCHEMA, BlobStore, Context, ContextQuery, Output, Stage
from loom_platform.blobs import Blobs

Connection = psycopg.Connection[Any]

_NO_TIMERS = pl.DataFrame(schema=TIMER_SCHEMA)
_NO_SPANS = pl.DataFrame(schema=SPAN_SCHEMA)
_STATE = """
SELECT device_id, state FROM stream_state WHERE stage = %s AND stage_version = %s AND device_id = ANY(%s)
"""


@dataclass(slots=True)
class Applied:
    """The outputs of a batch: one or, where a record had to be cut out, several.

    `poison` maps positions to reasons, `broken_timers` maps (device_id, key) to reasons.
    """

    outputs: list[Output] = field(default_factory=list)
    poison: dict[int, tuple[str, str]] = field(default_factory=dict)
    broken_timers: dict[tuple[str, str], str] = field(default_factory=dict)

    def rows(self, sink: Topic) -> pl.DataFrame | None:
        """All rows for `sink`, or None."""
        frames = [o.rows[sink] for o in self.outputs if sink in o.rows and not o.rows[sink].is_empty()]
        if len(frames) == 1:
            return frames[0]
        return pl.concat(frames, how="diagonal_relaxed") if frames else None

    def spans(self, sink: Topic) -> pl.DataFrame:
        """The stretches of time that were answered anew for `sink`, in SPAN_SCHEMA."""
        frames = [o.spans[sink].match_to_schema(SPAN_SCHEMA) for o in self.outputs if sink in o.spans]
        if not frames:
            return _NO_SPANS
        return frames[0] if len(frames) == 1 and frames[0].height <= 1 else pl.concat(frames).unique()


def apply(
    connection: Connection,
    stage: Stage,
    batch: pl.DataFrame,
    due: pl.DataFrame,
    *,
    blobs: Blobs | None,
    live: bool = True,
    state: Mapping[str, bytes] | None = None,
    now: datetime | None = None,
    whole: bool = False,
) -> Applied:
    """Run `stage` over `batch` (with a `position` column) and its `due` timers (DUE_SCHEMA, and what more is known).

    A transform that raises anything but DependencyError is given its batch in halves until the records that break it
    stand alone; those are poison. Timers that break it are found in the same way. `state` overrides the stored one (a
    recompute keeps its own). `whole`: the batch holds every record of its windows.
    """
    applied = Applied()
    moment = now or datetime.now(UTC)
    # A body that is stored here stays until this transaction has written its row.
    store = None if blobs is None else blobs.within(connection, {*batch["device_id"], *due["device_id"]})
    _apply(connection, stage, batch, due, store, live, state, moment, applied, whole)
    return applied


def _apply(
    connection: Connection,
    stage: Stage,
    batch: pl.DataFrame,
    due: pl.DataFrame,
    blobs: BlobStore | None,
    live: bool,
    state: Mapping[str, bytes] | None,
    now: datetime,
    applied: Applied,
    whole: bool = False,
) -> None:
    frames = {
        q.name: q.from_batch(batch, now) if whole and q.from_batch is not None else _query(connection, q, batch, due)
        for q in stage.context
    }
    if stage.keyed_state and state is None:
        state = _load_state(connection, stage, batch, due)
    # State that an earlier half of this batch has left is newer than the stored one.
    known = dict(state or {})
    for earlier in applied.outputs:
        for device, kept in earlier.state.items():
            if kept is None:
                known.pop(device, None)
            else:
                known[device] = kept
    context = Context(stage.version, now, frames, due.select(DUE_SCHEMA.names()), known, blobs, live)
    try:
        output = stage.transform(batch.drop("position"), context)
    except DependencyError:
        raise
    except psycopg.Error:
        raise
    except Exception as error:
        reason = str(error) or type(error).__name__
        if batch.height + due.height == 1:
            if batch.height:
                kind = "poison" if isinstance(error, PoisonError) else type(error).__name__
                applied.poison[batch["position"][0]] = (kind, reason)
            else:
                applied.broken_timers[timer(due)] = reason
            return
        for records, timers in halves(batch, due):
            _apply(connection, stage, records, timers, blobs, live, state, now, applied)
        return
    if output.poison:
        positions = dict(zip(batch["message_id"].to_list(), batch["position"].to_list(), strict=True))
        for message_id, reason in output.poison.items():
            applied.poison[positions[message_id]] = ("poison", reason)
    applied.outputs.append(output)


def halves(batch: pl.DataFrame, due: pl.DataFrame) -> list[tuple[pl.DataFrame, pl.DataFrame]]:
    """`batch` and `due` in two parts that are not empty: timers apart from records, then each in halves."""
    if batch.height and due.height:
        return [(batch.clear(), due), (batch, due.clear())]
    if batch.height:
        middle = batch.height // 2
        return [(batch[:middle], due), (batch[middle:], due)]
    middle = due.height // 2
    return [(batch, due[:middle]), (batch, due[middle:])]


def _query(connection: Connection, query: ContextQuery, batch: pl.DataFrame, due: pl.DataFrame) -> pl.DataFrame:
    parameters = query.parameters(batch, due.select(DUE_SCHEMA.names()))
    if parameters is None:
        return pl.DataFrame(schema=query.schema)
    with connection.cursor(binary=True) as cursor:
        rows = cursor.execute(query.sql, parameters).fetchall()
    return pl.DataFrame(rows, schema=query.schema, orient="row")


def _load_state(connection: Connection, stage: Stage, batch: pl.DataFrame, due: pl.DataFrame) -> dict[str, bytes]:
    devices = sorted({*batch["device_id"].to_list(), *due["device_id"].to_list()})
    rows = connection.execute(_STATE, (stage.name, stage.version, devices)).fetchall()
    return {device: bytes(state) for device, state in rows}


def no_timers() -> pl.DataFrame:
    """No timer is due."""
    return _NO_TIMERS


def timer(due: pl.DataFrame) -> tuple[str, str]:
    """(device_id, key) of the first of `due`."""
    device_id, key = due.select(DUE_SCHEMA.names()).row(0)
    return device_id, key


def finish(frame: pl.DataFrame, stage: Stage, run_id: str) -> pl.DataFrame:
    """The transform's rows with what the engine adds to derived ones; an answer that was given twice is one row."""
    if stage.landing:
        return frame
    if frame.height > 1:
        # A client's retry in the same batch gives the same answer twice.
        frame = frame.unique(["timestamp", "message_id"], keep="first", maintain_order=True)
    return frame.with_columns(_added(stage.name, stage.version, run_id))


@lru_cache(maxsize=256)
def _added(stage: str, version: str, run_id: str) -> list[pl.Expr]:
    values = {"stage": stage, "stage_version": version, "schema_version": "1.0", "run_id": run_id}
    return [pl.lit(value).alias(name) for name, value in values.items()]
