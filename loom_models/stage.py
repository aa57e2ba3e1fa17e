"""What a stage is. The stream engine runs it live, and a recompute runs the same function over a day."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

import polars as pl

from loom_contracts.topic import Topic


class BlobStore(Protocol):
    """Content-addressed object storage."""

    def put(self, body: bytes, *, device_id: str, kind: str, suffix: str = "") -> "BlobRef":
        """Store `body` of a device under its own hash; storing it again changes nothing."""
        ...

    def put_all(self, bodies: "Sequence[Body]") -> "list[BlobRef]":
        """As `put`, for many at once, which is faster."""
        ...

    def get(self, ref: str) -> bytes:
        """The body at `ref`; raises DependencyError when the store is away, KeyError when it has none."""
        ...

    def get_all(self, refs: Sequence[str]) -> Sequence[bytes | Exception]:
        """As `get`, for many at once, which is faster; what is wrong with a body is in its place."""
        ...


class Body(NamedTuple):
    """A body to be stored, and whose it is."""

    body: bytes
    device_id: str
    kind: str
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class BlobRef:
    """Where a body lies: its reference, SHA-256 (hexadecimal) and size in bytes."""

    ref: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """How a stage gathers its batches.

    A batch ends at `max_rows`, at `max_bytes` of message values, or `max_wait` after its first message.
    `sla` is the time from acceptance to the committed row; `error_threshold` the share of dead letters that
    is still normal. A recompute makes its batches as large as `max_rows_again` allows, or else `max_rows`.
    """

    max_rows: int = 10_000
    max_rows_again: int | None = None
    max_bytes: int = 16 * 1024 * 1024
    max_wait: timedelta = timedelta(milliseconds=10)
    sla: timedelta = timedelta(seconds=1)
    error_threshold: float = 0.01


@dataclass(frozen=True, slots=True)
class ContextQuery:
    """A read of the stage's own source tables that the engine does before the transform.

    `sql` takes psycopg named parameters that `parameters(batch, due)` gives; None skips the query, and the
    frame is then empty. `schema` gives the result's columns and dtypes, in the order of the select list;
    uuid columns are selected as text (`message_id::text`).

    A query that reads no more than the records of the batch's own windows (tumbling, of length `window`, aligned to
    the epoch) may say so by `from_batch`: a recompute, whose batches hold whole windows then, takes
    `from_batch(batch, now)` in its place and does not read everything twice.
    """

    name: str
    sql: str
    parameters: Callable[[pl.DataFrame, pl.DataFrame], Mapping[str, object] | None]
    schema: pl.Schema
    window: timedelta | None = None
    from_batch: Callable[[pl.DataFrame, datetime], pl.DataFrame] | None = None


DUE_SCHEMA = pl.Schema({"device_id": pl.String(), "key": pl.String()})
SPAN_SCHEMA = pl.Schema({"device_id": pl.String(), "first": pl.Datetime("us", "UTC"), "last": pl.Datetime("us", "UTC")})
TIMER_SCHEMA = pl.Schema({"device_id": pl.String(), "key": pl.String(), "due_at": pl.Datetime("us", "UTC")})


@dataclass(frozen=True, slots=True)
class Context:
    """What a transform may know besides its batch.

    `frames` are the results of the stage's ContextQueries by name. `due` (`device_id`, `key`) are its timers
    whose time has come. `state` is what it last kept for each device of the batch. `now` is the present, given
    so that the transform needs no clock. `live` is False in a recompute, where every record of the day is
    already there.
    """

    version: str
    now: datetime
    frames: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    due: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=DUE_SCHEMA))
    state: Mapping[str, bytes] = field(default_factory=dict)
    blobs: BlobStore | None = None
    live: bool = True


@dataclass(frozen=True, slots=True)
class Output:
    """What a transform gives back.

    `rows` maps each sink to a frame that has every column of its table but those the engine adds: `stage`,
    `stage_version`, `schema_version`, `run_id`, `computed_at`, `superseded_at` (and, for landed rows,
    `stored_at`). `message_id` and `source_message_id` are text. `timers` sets timers (`device_id`, `key`,
    `due_at`), replacing those of the same key; `cleared` (`device_id`, `key`) ends some. `state` is kept for each
    device named; None forgets it. `poison` names records of the batch that can't be processed: `message_id`
    and `reason`. `spans` (SPAN_SCHEMA) are for a sink whose answers stretch over time, such as visits: the stretches of
    time, from `first` up to but without `last`, that were answered anew. Of each, every row of the device whose
    `timestamp` lies there and that is not among `rows` is no answer any more. An answer that stands already is not sent
    to such a sink's topic again, so a stage may answer more than has changed.
    """

    rows: Mapping[Topic, pl.DataFrame]
    timers: pl.DataFrame | None = None
    cleared: pl.DataFrame | None = None
    state: Mapping[str, bytes | None] = field(default_factory=dict)
    poison: Mapping[str, str] = field(default_factory=dict)
    spans: Mapping[Topic, pl.DataFrame] = field(default_factory=dict)


class Transform(Protocol):
    """A pure function: the same batch and context give the same output."""

    def __call__(self, batch: pl.DataFrame, context: Context, /) -> Output:
        """The rows, timers and state that come of `batch`; raises PoisonError or DependencyError."""
        ...


@dataclass(frozen=True, eq=False)
class Stage:
    """One enrichment: source topics -> transform -> sink topics.

    `version` is its code version with the model, its revision and the parameters that matter. The batch given to
    the transform has the payload's columns of its source (see `frames.frame_schema`), `message_id` as text,
    `timestamp` as Datetime("us", "UTC"), and `kafka_partition`, `kafka_offset`, `received_at`. A stage with
    `keyed_state` has its batches given in order of (device_id, timestamp) in a recompute. A stage whose source is a
    landed topic never runs ahead of that topic's landing, so its ContextQueries find every earlier record.
    `wakes` are further landed topics that its answers depend on: when a record of theirs is landed, the stage is given
    that minute of the device as a due timer (`loom_models.wakes.woken`).
    `inputs` is an SQL expression over what else its answers depend on (saved places, say): a recompute that was broken
    off goes on only where its value is still the same.
    """

    name: str
    source: Topic
    sinks: tuple[Topic, ...]
    version: str
    transform: Transform
    description: str = ""
    policy: BatchPolicy = BatchPolicy()
    context: tuple[ContextQuery, ...] = ()
    keyed_state: bool = False
    inputs: str = "''"
    wakes: tuple[Topic, ...] = ()

    @property
    def landing(self) -> bool:
        """Whether it stores its source as it is."""
        return self.sinks == (self.source,)

    @property
    def consumer_group(self) -> str:
        """Kafka's name for it; its offsets there are for monitors only."""
        return f"{self.name}-consumer"

    @property
    def error_topic(self) -> str:
        """Where its dead letters go."""
        return f"processing.errors.{self.name}"

    def __repr__(self) -> str:
        return f"Stage({self.name!r}, {self.version!r})"
