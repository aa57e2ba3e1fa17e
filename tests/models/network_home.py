"""A stage of the network flow on a real database: records land, it answers, and what stands is kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import psycopg

from loom_contracts.topic import Topic
from loom_contracts.topics.device import GPS_RAW
from loom_models.stage import DUE_SCHEMA, Context, Stage
from loom_models.wakes import wakes_of
from loom_platform.stream.apply import finish
from loom_platform.stream.writer import Writer
from tests.models.frames import batch, message_id, sink_columns

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
MUCH_LATER = NOON + timedelta(days=30)
NO_TIMERS = pl.DataFrame(schema=DUE_SCHEMA)


def empty(connection: psycopg.Connection[Any], *topics: Topic) -> None:
    for topic in (*topics, GPS_RAW):
        connection.execute(f"DELETE FROM {topic.table.name}".encode())
    connection.execute("DELETE FROM georegions")


@dataclass
class Home:
    """The tables, and what stands of one stage's answers."""

    connection: psycopg.Connection[Any]
    stage: Stage
    standing: dict[str, dict[str, Any]] = field(default_factory=dict)
    timers: dict[tuple[str, str], datetime] = field(default_factory=dict)
    sent: int = 0

    def land(self, rows: Sequence[tuple[float, Mapping[str, Any]]], topic: Topic | None = None) -> pl.DataFrame:
        """Records of (minutes after NOON, payload), landed."""
        filled = []
        for minutes, row in rows:
            self.sent += 1
            at = NOON + timedelta(minutes=minutes)
            filled.append({"message_id": message_id(self.sent), "timestamp": at, "received_at": at, **row})
        frame = batch(topic or self.stage.source, filled)
        with self.connection.transaction():
            Writer(self.connection).write((topic or self.stage.source).table, frame)
        return frame

    def answer(self, frame: pl.DataFrame, now: datetime = MUCH_LATER, due: pl.DataFrame = NO_TIMERS) -> int:
        """What the engine does of a batch and its due timers; how many rows were given."""
        output = self.stage.transform(frame, self.context(frame, now, due))
        (sink,) = self.stage.sinks
        rows = output.rows.get(sink, pl.DataFrame(schema=dict.fromkeys(sink_columns(sink), pl.Null)))
        assert set(rows.columns) == sink_columns(sink)
        for device_id, first, last in output.spans.get(sink, pl.DataFrame()).iter_rows():
            self.standing = {
                k: r
                for k, r in self.standing.items()
                if r["device_id"] != device_id or not first <= r["timestamp"] < last
            }
        for row in rows.iter_rows(named=True):
            scope = [row[n] for n in sink.scope]
            self.standing = {k: r for k, r in self.standing.items() if [r[n] for n in sink.scope] != scope}
            self.standing[row["message_id"]] = row
        for device_id, key in due.iter_rows():
            self.timers.pop((device_id, key), None)
        for timer in () if output.timers is None else output.timers.iter_rows(named=True):
            self.timers[timer["device_id"], timer["key"]] = timer["due_at"]
        return rows.height

    def wake(self, frame: pl.DataFrame) -> int:
        """The stage is woken by records of another topic."""
        return self.answer(self.nothing(), due=wakes_of(frame).select(DUE_SCHEMA.names()))

    def fire(self, now: datetime) -> None:
        """Every timer that is due."""
        due = [key for key, at in self.timers.items() if at <= now]
        self.answer(self.nothing(), now, pl.DataFrame(due, schema=DUE_SCHEMA, orient="row"))

    def nothing(self) -> pl.DataFrame:
        return batch(self.stage.source, [])

    def found(self) -> list[dict[str, Any]]:
        return sorted(self.standing.values(), key=lambda r: (r["device_id"], r["timestamp"], r["source_message_id"]))

    def context(self, frame: pl.DataFrame, now: datetime = MUCH_LATER, due: pl.DataFrame = NO_TIMERS) -> Context:
        """What the engine tells the stage, by the stage's own SQL."""
        frames = {}
        for query in self.stage.context:
            parameters = query.parameters(frame, due)
            frames[query.name] = pl.DataFrame(schema=query.schema)
            if parameters is not None:
                with self.connection.cursor(binary=True) as cursor:
                    rows = cursor.execute(query.sql, parameters).fetchall()
                frames[query.name] = pl.DataFrame(rows, schema=query.schema, orient="row")
        return Context("1", now, frames, due)


def answered(
    connection: psycopg.Connection[Any], rows: Sequence[tuple[float, Mapping[str, Any]]], *stages: Stage, topic: Topic
) -> None:
    """`rows` are landed, and what the stages say of them stands in the tables."""
    home = Home(connection, stages[0])
    frame = home.land(rows, topic)
    for stage in stages:
        home = Home(connection, stage)
        output = stage.transform(frame, home.context(frame))
        with connection.transaction():
            Writer(connection).write(stage.sinks[0].table, finish(output.rows[stage.sinks[0]], stage, "run"))


def minutes(moment: datetime | None) -> float | None:
    """Minutes after NOON."""
    return None if moment is None else (moment - NOON).total_seconds() / 60
