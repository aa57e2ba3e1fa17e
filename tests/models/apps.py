"""Sessions worked out plainly, one event after the other, and a table that stages answer into."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import psycopg

from loom_contracts.topics.os_events import APP_LIFECYCLE_RAW, SYSTEM_EVENTS_RAW
from loom_models.app_sessions import END, LONGEST, OFF, ON, SCREEN_ON_GRACE, START, TIMEOUT
from loom_models.stage import DUE_SCHEMA, Context, Output, Stage
from loom_platform.stream.writer import Writer
from tests.models.frames import batch

RANKS = {"launch": START, "foreground": START, "screen_off": OFF, "device_lock": OFF, "screen_on": ON}
"""Of the others END."""
Event = tuple[datetime, str, str | None, float | None]
"""When, what, which application, and for how many seconds by the event's own word."""


@dataclass
class Session:
    """One in front: since when, until when, why."""

    app: str
    started_at: datetime
    last_sign: datetime
    ended_at: datetime | None = None
    ended_by: str | None = None

    def end(self, at: datetime, by: str) -> None:
        self.ended_at, self.ended_by = at, by


def plainly(events: Sequence[Event], now: datetime) -> list[tuple[str, datetime, datetime | None, str | None]]:
    """(application, from, to, ended by) of each session; `events` have no two of one moment and rank."""
    found: list[Session] = []
    front: Session | None = None
    before: datetime | None = None
    for at, kind, app, told in sorted(events, key=lambda e: (e[0], RANKS.get(e[1], END))):
        rank = RANKS.get(kind, END)
        if front is not None and at - front.last_sign > LONGEST:
            front.end(front.last_sign, "timeout")
            front = None
        if rank == START and app is not None:
            if front is not None and at - front.last_sign > TIMEOUT:
                front.end(front.last_sign, "timeout")
                front = None
            if front is not None and front.app == app:
                front.last_sign = at
            else:
                if front is not None:
                    front.end(at, "other_app")
                front = Session(app, at, at)
                found.append(front)
        elif rank == OFF or (rank == ON and (before is None or at - before > SCREEN_ON_GRACE)):
            if front is not None:
                front.end(*((at, kind) if rank == OFF else (front.last_sign, "timeout")))
            front = None
        elif rank == END and front is not None and front.app == app:
            front.end(at, kind)
            front = None
        elif rank == END and front is None and app is not None and told is not None and told <= LONGEST.total_seconds():
            began = at - timedelta(seconds=told)
            began = max(began, before or began, at.replace(hour=0, minute=0, second=0, microsecond=0))
            if began < at:
                found.append(Session(app, began, began, at, kind))
        before = at
    if front is not None and front.last_sign + TIMEOUT <= now:
        front.end(front.last_sign, "timeout")
    return sorted((s.app, s.started_at, s.ended_at, s.ended_by) for s in found)


def records(events: Sequence[tuple[str, Event]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`events` (with their message_ids) as batches of applications' and of system events."""
    apps: list[Mapping[str, Any]] = []
    system: list[Mapping[str, Any]] = []
    for message_id, (at, kind, app, told) in events:
        row = {"message_id": message_id, "timestamp": at, "event_type": kind}
        if app is None:
            system.append(row | {"event_category": "screen", "severity": "info"})
        else:
            apps.append(row | {"app_identifier": app, "app_name": app, "duration_seconds": told})
    return batch(APP_LIFECYCLE_RAW, apps), batch(SYSTEM_EVENTS_RAW, system)


def land(connection: psycopg.Connection[Any], apps: pl.DataFrame, system: pl.DataFrame) -> None:
    """Store both as landing does."""
    with connection.transaction():
        for topic, frame in ((APP_LIFECYCLE_RAW, apps), (SYSTEM_EVENTS_RAW, system)):
            if not frame.is_empty():
                Writer(connection).write(topic.table, frame)


@dataclass
class Table:
    """What stands of a stage's answers, by the rules of spans and timers."""

    stage: Stage
    connection: psycopg.Connection[Any]
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    timers: dict[str, datetime] = field(default_factory=dict)

    def apply(self, frame: pl.DataFrame, due: pl.DataFrame, now: datetime) -> Output:
        """Answer a batch and what is due, and keep what comes out."""
        due = due.match_to_schema(DUE_SCHEMA)
        frames = {}
        for query in self.stage.context:
            parameters = query.parameters(frame, due)
            with self.connection.cursor(binary=True) as cursor:
                found = [] if parameters is None else cursor.execute(query.sql, parameters).fetchall()
            frames[query.name] = pl.DataFrame(found, schema=query.schema, orient="row")
        output = self.stage.transform(frame, Context(self.stage.version, now, frames, due))
        (topic,) = self.stage.sinks
        spans = output.spans[topic].iter_rows()
        for _, first, last in spans:
            self.rows = {i: r for i, r in self.rows.items() if not first <= r["timestamp"] < last}
        self.rows |= {r["message_id"]: r for r in output.rows[topic].iter_rows(named=True)}
        for _, key in due.iter_rows():
            self.timers.pop(key, None)
        if output.cleared is not None:
            for _, key in output.cleared.iter_rows():
                self.timers.pop(key, None)
        if output.timers is not None:
            self.timers |= {key: at for _, key, at in output.timers.iter_rows()}
        return output
