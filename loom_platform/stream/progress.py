"""How far a recompute has come, kept in the transactions of its rows: one that was killed goes on from there."""

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final

import polars as pl
import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from loom_contracts.topic import Topic
from loom_models.errors import DependencyError
from loom_models.stage import DUE_SCHEMA, TIMER_SCHEMA, Output, Stage
from loom_platform.rollups import mark
from loom_platform.stream.batch import Outcome
from loom_platform.stream.slices import Position, bounds

Connection = psycopg.Connection[Any]

RESUMABLE: Final = timedelta(hours=24)
"""What was broken off longer ago is begun anew: nobody waits for it any more, and much can have changed meanwhile."""

_FIND = """
SELECT id, started_at, finished_at, at_timestamp, at_message_id::text, state, timers, counts FROM recompute_progress
WHERE stage = %(stage)s AND stage_version = %(version)s AND day = %(day)s AND device_id = %(device)s AND job = %(job)s
  AND inputs = %(inputs)s AND updated_at > now() - %(resumable)s
"""
_BEGIN = """
INSERT INTO recompute_progress (stage, stage_version, day, device_id, job, inputs, run_id)
VALUES (%(stage)s, %(version)s, %(day)s, %(device)s, %(job)s, %(inputs)s, %(run_id)s)
RETURNING id, started_at, finished_at, at_timestamp, at_message_id::text, state, timers, counts
"""
_FORGET = """
WITH gone AS (
    DELETE FROM recompute_progress WHERE stage = %(stage)s AND stage_version = %(version)s
    AND day BETWEEN %(first)s AND %(last)s AND (%(device)s::text IS NULL OR device_id = %(device)s)
    AND (%(job)s::text IS NULL OR job = %(job)s) RETURNING id
) DELETE FROM recompute_confirmed c USING gone WHERE c.progress_id = gone.id
"""
_SAVE = """
UPDATE recompute_progress SET at_timestamp = %(timestamp)s, at_message_id = %(message_id)s, state = %(state)s,
    timers = %(timers)s, counts = %(counts)s, updated_at = clock_timestamp(), run_id = %(run_id)s WHERE id = %(id)s
"""
_FINISH = """
UPDATE recompute_progress SET finished_at = clock_timestamp(), state = NULL, timers = '{}', counts = %(counts)s,
    updated_at = clock_timestamp() WHERE id = %(id)s
"""
_SUPERSEDE = """
UPDATE {table} AS t SET superseded_at = now() WHERE t.device_id = %(device)s AND t.timestamp >= %(start)s
  AND t.timestamp < %(end)s AND t.stage = %(stage)s AND t.stage_version = %(version)s AND t.superseded_at IS NULL
  AND t.computed_at < %(started_at)s AND NOT EXISTS (
    SELECT 1 FROM recompute_confirmed c WHERE c.progress_id = %(id)s AND c.message_id = t.message_id)
"""


@dataclass(frozen=True, slots=True)
class Job:
    """A request for a recompute: `name` is the same for the same request, `inputs` what its answers depend on."""

    stage: Stage
    name: str
    inputs: str
    run_id: str

    def values(self, **more: Any) -> dict[str, Any]:
        """The parameters that the statements here have in common, and `more`."""
        own = {"stage": self.stage.name, "version": self.stage.version, "job": self.name, "inputs": self.inputs}
        return {**own, "run_id": self.run_id, "resumable": RESUMABLE, **more}


def inputs_of(connection: Connection, stage: Stage) -> str:
    """What the answers of `stage` depend on now, besides its source's rows."""
    row = connection.execute(f"SELECT {stage.inputs}::text".encode()).fetchone()
    if row is None:
        raise DependencyError("database: no answer to a SELECT")
    return str(row[0])


@dataclass(slots=True)
class Progress:
    """One device's day in a recompute: how far it is, and the state and timers there, in the stage's own place."""

    job: Job
    day: date
    device_id: str
    id: int
    started_at: datetime
    finished: bool
    position: Position | None
    state: dict[str, bytes] = field(default_factory=dict)
    timers: dict[tuple[str, str], datetime] = field(default_factory=dict)
    counted: Outcome = field(default_factory=lambda: Outcome(0))

    @classmethod
    def begin(cls, connection: Connection, job: Job, day: date, device_id: str) -> "Progress":
        """Where the same request was broken off, or else the day's beginning."""
        values = job.values(day=day, device=device_id)
        row = connection.execute(_FIND, values).fetchone()
        if row is None:
            with connection.transaction():
                forget(connection, job, day, day, device_id, any_job=True)
                row = connection.execute(_BEGIN, values).fetchone()
        if row is None:
            raise DependencyError("database: a recompute could not be begun")
        identity, started_at, finished_at, at, message_id, state, timers, counts = row
        return cls(
            job,
            day,
            device_id,
            identity,
            started_at,
            finished_at is not None,
            None if at is None else Position(at, message_id),
            {} if state is None else {device_id: bytes(state)},
            {(device_id, key): datetime.fromisoformat(due) for key, due in timers.items()},
            _outcome(counts, job.stage),
        )

    def keep(self, output: Output) -> None:
        """Remember the state and timers that `output` sets, and forget what it ends."""
        for device, state in output.state.items():
            if state is None:
                self.state.pop(device, None)
            else:
                self.state[device] = state
        if output.cleared is not None:
            for device, key in output.cleared.select(DUE_SCHEMA.names()).iter_rows():
                self.timers.pop((device, key), None)
        if output.timers is not None:
            self.timers.update({(d, k): at for d, k, at in output.timers.select(TIMER_SCHEMA.names()).iter_rows()})

    def due(self, now: datetime) -> pl.DataFrame:
        """The timers whose time has come by `now`."""
        return pl.DataFrame([k for k, at in self.timers.items() if at <= now], schema=DUE_SCHEMA, orient="row")

    def save(self, connection: Connection, position: Position) -> None:
        """Everything up to `position` is written."""
        self.position = position
        values = {
            "id": self.id,
            "timestamp": position.timestamp,
            "message_id": position.message_id,
            "state": self.state.get(self.device_id),
            "timers": Jsonb({key: at.isoformat() for (_, key), at in self.timers.items()}),
            "counts": Jsonb(_counts(self.counted)),
            "run_id": self.job.run_id,
        }
        connection.execute(_SAVE, values)

    def finish(self, connection: Connection) -> None:
        """Supersede what this recompute did not answer again and the live run has not answered since; it is done."""
        start, end = bounds(self.day)
        values = self.job.values(device=self.device_id, start=start, end=end, started_at=self.started_at, id=self.id)
        for sink in self.job.stage.sinks:
            query = sql.SQL(_SUPERSEDE).format(table=sql.Identifier(sink.table.name))
            if connection.execute(query, values).rowcount:
                mark(connection, sink.table, self.device_id, start, end)
        connection.execute(_FINISH, {"id": self.id, "counts": Jsonb(_counts(self.counted))})
        self.finished = True


def forget(
    connection: Connection, job: Job, first: date, last: date, device_id: str | None = None, *, any_job: bool = False
) -> None:
    """Remove what is kept of `job` over these days: it is done, or to be begun anew."""
    values = job.values(first=first, last=last, device=device_id)
    connection.execute(_FORGET, values | {"job": None} if any_job else values)


def _counts(outcome: Outcome) -> dict[str, Any]:
    rows = {t.name: {d.isoformat(): n for d, n in days.items()} for t, days in outcome.rows_by_day.items()}
    return {"records": outcome.records, "dead_letters": outcome.dead_letters, "rows": rows}


def _outcome(counts: dict[str, Any], stage: Stage) -> Outcome:
    topics: dict[str, Topic] = {t.name: t for t in stage.sinks}
    outcome = Outcome(counts.get("records", 0), dead_letters=counts.get("dead_letters", 0))
    for name, days in counts.get("rows", {}).items():
        outcome.count(topics[name], {date.fromisoformat(day): rows for day, rows in days.items()})
    return outcome
