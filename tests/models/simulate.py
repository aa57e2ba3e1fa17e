"""The engine in memory, for property tests of stages: landing runs ahead, timers fire, answers are superseded."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from loom_models.stage import DUE_SCHEMA, BlobStore, Context, Output, Stage

Frames = Callable[[pl.DataFrame, pl.DataFrame, pl.DataFrame, datetime], Mapping[str, pl.DataFrame]]
"""(landed rows, batch, due timers, now) -> the frames that the stage's ContextQueries would give."""


@dataclass
class Simulation:
    """One stage over a landed table in memory."""

    stage: Stage
    frames: Frames
    blobs: BlobStore | None = None
    landed: pl.DataFrame | None = None
    live: bool = True
    timers: dict[tuple[str, str], datetime] = field(default_factory=dict)
    state: dict[str, bytes] = field(default_factory=dict)
    rows: dict[str, dict[str, object]] = field(default_factory=dict)
    answers: int = 0

    def land(self, batch: pl.DataFrame) -> None:
        """What is there already stays as it is."""
        both = batch if self.landed is None else pl.concat([self.landed, batch])
        self.landed = both.unique(["timestamp", "message_id"], keep="first", maintain_order=True)

    def run(self, batch: pl.DataFrame, now: datetime) -> Output:
        """One batch, and the timers that are due."""
        fired = [k for k, at in self.timers.items() if at <= now]
        due = pl.DataFrame(fired, schema=DUE_SCHEMA, orient="row")
        landed = batch.clear() if self.landed is None else self.landed
        state = {d: self.state[d] for d in {*batch["device_id"], *due["device_id"]} if d in self.state}
        frames = self.frames(landed, batch, due, now)
        output = self.stage.transform(
            batch, Context(self.stage.version, now, frames, due, state, self.blobs, self.live)
        )
        for key in fired:
            del self.timers[key]
        self._keep(output)
        return output

    def _keep(self, output: Output) -> None:
        if output.cleared is not None:
            for device, key in output.cleared.iter_rows():
                self.timers.pop((device, key), None)
        if output.timers is not None:
            self.timers |= {(device, key): at for device, key, at in output.timers.iter_rows()}
        for device, state in output.state.items():
            if state is None:
                self.state.pop(device, None)
            else:
                self.state[device] = state
        for topic, spans in output.spans.items():
            given = set(output.rows[topic]["message_id"].to_list()) if topic in output.rows else set()
            for device, first, last in spans.iter_rows():
                for old, row in list(self.rows.items()):
                    if row["device_id"] == device and first <= row["timestamp"] < last and old not in given:
                        del self.rows[old]
        for topic, frame in output.rows.items():
            missing = {c.name for c in topic.table.columns} - set(frame.columns)
            assert missing == {"stage", "stage_version", "schema_version", "run_id", "computed_at", "superseded_at"}
            assert frame["message_id"].is_unique().all()
            scopes = set(frame.select(topic.scope).rows())
            for old in [k for k, row in self.rows.items() if tuple(row[c] for c in topic.scope) in scopes]:
                del self.rows[old]
            self.rows |= {row["message_id"]: row for row in frame.iter_rows(named=True)}
            self.answers += frame.height

    def finish(self, batch: pl.DataFrame, step: Callable[[], datetime]) -> None:
        """Let time pass until no timer is left."""
        while self.timers:
            self.run(batch.clear(), max(step(), *self.timers.values()))
