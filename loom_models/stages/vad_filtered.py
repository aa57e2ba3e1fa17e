"""Speech segments in a device's audio, by Silero VAD; a segment may span chunks.

A device's chunks are one stream while each begins where the last one ended, give or take `TOLERANCE`; the stream is
kept between batches. A gap ends it, and so does the first chunk of a new UTC day, so that a recompute of a day needs
nothing of the day before. (Speech that begins after midnight in a chunk that began before it belongs to the chunk's
day: a recompute of the new day alone, which does not read that chunk, marks its row as superseded.)

An open segment is also given when no chunk has followed in time, as if the audio ended there. When a chunk does follow,
the longer segment takes its place, so the pace at which chunks come does not show in the end.

A chunk that begins before the end of what was heard came out of order: it is heard alone, and its segments end with
it. A recompute, which has the day in order, joins them to their neighbours. A chunk that was delivered twice is heard
once.
"""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import polars as pl

from loom_contracts.topics.device import AUDIO_RAW
from loom_contracts.topics.media import VAD_FILTERED
from loom_models.audio import RATE, Float32, decode, to_pcm16, wav
from loom_models.bounds import bounded, bounds
from loom_models.errors import DependencyError, PoisonError
from loom_models.frames import UTC_MICROS, dtype_of
from loom_models.ids import namespace_of, uuid5_texts
from loom_models.models import silero
from loom_models.speech import Chunk, Segment, SpeechStream, restore
from loom_models.stage import TIMER_SCHEMA, BatchPolicy, BlobStore, Context, ContextQuery, Output, Stage

TOLERANCE: Final = timedelta(milliseconds=200)
"""How far a chunk may begin from the end of the one before it: clocks and encoders are not exact."""
PATIENCE: Final = timedelta(seconds=5)
"""An open segment is given when no chunk has come for twice the length of the last one, and this."""

_TIMER: Final = "open"
_ROW: Final = (
    "timestamp",
    "message_id",
    "device_id",
    "trace_id",
    "span_id",
    "source_message_id",
    "segment_end",
    "duration_ms",
    "sample_rate",
    "channels",
    "confidence_mean",
    "confidence_max",
    "chunk_count",
    "source_message_ids",
    "audio_ref",
    "audio_sha256",
    "audio_size_bytes",
    "audio_format",
)
_DAY_US: Final = 86_400_000_000
_US: Final = timedelta(microseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_AT_ONCE: Final = timedelta(0)
"""A chunk that was delivered twice has the same time both times."""
LANDED: Final = ContextQuery(
    name="landed",
    sql=f"""
        SELECT r.message_id::text, r.timestamp, r.kafka_partition, r.kafka_offset
        FROM unnest(%(ids)s::uuid[], %(timestamps)s::timestamptz[]) AS b (message_id, "timestamp")
        JOIN {bounded(AUDIO_RAW.table.name)} r ON r.message_id = b.message_id AND r.timestamp = b.timestamp
    """,
    parameters=lambda batch, due: _parameters(batch),  # noqa: ARG005
    schema=pl.Schema(
        {
            "message_id": pl.String(),
            "timestamp": UTC_MICROS,
            "landed_partition": pl.Int32(),
            "landed_offset": pl.Int64(),
        }
    ),
)


@dataclass(slots=True)
class _Result:
    version: str
    blobs: BlobStore
    rows: list[dict[str, Any]] = field(default_factory=list)
    poison: dict[str, str] = field(default_factory=dict)

    def add(self, device_id: str, segments: Iterator[Segment] | list[Segment]) -> None:
        """Store each segment's sound, and make its row."""
        self.rows += [_row(device_id, s, self.blobs, self.version) for s in segments]


def transform(batch: pl.DataFrame, context: Context, /) -> Output:
    """Hear the batch's chunks in order of (device, time). Raises ModelUnavailableError, and DependencyError."""
    if context.blobs is None:
        raise DependencyError(f"{VAD_FILTERED.name} needs object storage: give the stream run a BlobStore")
    model = silero.load().speech_probability
    result = _Result(context.version, context.blobs)
    streams: dict[str, SpeechStream] = {}
    timers: dict[str, datetime | None] = {}
    for device_id, chunks in _once(batch, context).group_by("device_id", maintain_order=True):
        device = str(device_id[0])
        stream = _kept(context.state, device)
        for row in chunks.iter_rows(named=True):
            try:
                samples = to_pcm16(_decode(row))
            except PoisonError as error:
                result.poison[row["message_id"]] = str(error)
                continue
            at_us = (row["timestamp"] - _EPOCH) // _US
            chunk = Chunk(0, at_us, row["message_id"], row["trace_id"], row["span_id"])
            if stream is not None and at_us < stream.end_us - TOLERANCE // _US:
                alone = SpeechStream()
                result.add(device, alone.feed(chunk, samples, model))
                result.add(device, _last(alone))
                continue
            if stream is not None and not _follows(stream, at_us):
                result.add(device, _last(stream))
                stream = None
            stream = stream or SpeechStream()
            result.add(device, stream.feed(_at(chunk, stream.end), samples, model))
            length = timedelta(seconds=samples.size / RATE)
            timers[device] = row["received_at"] + 2 * length + PATIENCE if stream.start is not None else None
        if stream is not None:
            streams[device] = stream
    for device in set(context.due["device_id"].to_list()) - set(timers):
        waiting = _kept(context.state, device)
        if waiting is not None:
            result.add(device, _last(waiting))
    return Output(
        {VAD_FILTERED: _frame(result.rows)},
        timers=_timers({d: at for d, at in timers.items() if at is not None}),
        cleared=_timers({d: None for d, at in timers.items() if at is None}).drop("due_at"),
        state={device: stream.dump() for device, stream in streams.items()},
        poison=result.poison,
    )


def _once(batch: pl.DataFrame, context: Context) -> pl.DataFrame:
    """The batch in order, without chunks that another record delivered first."""
    first = (pl.col("landed_partition") == pl.col("kafka_partition")) & (
        pl.col("landed_offset") == pl.col("kafka_offset")
    )
    return (
        batch.join(context.frames[LANDED.name], on=["message_id", "timestamp"], how="left")
        .filter(first.fill_null(True))
        .sort("device_id", "timestamp", "message_id")
        .unique(["timestamp", "message_id"], keep="first", maintain_order=True)
    )


def _kept(state: Mapping[str, bytes], device: str) -> SpeechStream | None:
    kept = state.get(device)
    return None if kept is None else restore(kept)


def _follows(stream: SpeechStream, at_us: int) -> bool:
    """Whether a chunk at `at_us`, which is not late, is the next one of `stream`."""
    same_day = at_us // _DAY_US == stream.chunks[-1].at_us // _DAY_US
    return same_day and at_us - stream.end_us <= TOLERANCE // _US


def _last(stream: SpeechStream) -> list[Segment]:
    segment = stream.open_segment()
    return [] if segment is None else [segment]


def _at(chunk: Chunk, start: int) -> Chunk:
    return Chunk(start, chunk.at_us, chunk.message_id, chunk.trace_id, chunk.span_id)


def _decode(row: Mapping[str, Any]) -> Float32:
    try:
        body = base64.b64decode(row["chunk_data"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise PoisonError(f"chunk_data: {error}; send the body in base64") from error
    return decode(body, row["format"], row["sample_rate"], row["channels"])


def _row(device_id: str, segment: Segment, blobs: BlobStore, version: str) -> dict[str, Any]:
    blob = blobs.put(wav(segment.samples), device_id=device_id, kind="speech", suffix=".wav")
    sources = [c.message_id for c in segment.chunks]
    start = _EPOCH + segment.at_us * _US
    name = "\n".join([device_id, str(segment.at_us), blob.sha256, *sources])
    return {
        "timestamp": start,
        "message_id": uuid5_texts(namespace_of(STAGE_NAME, version), [name])[0],
        "device_id": device_id,
        "trace_id": segment.chunks[-1].trace_id,
        "span_id": segment.chunks[-1].span_id,
        "source_message_id": sources[-1],
        "segment_end": start + timedelta(seconds=segment.samples.size / RATE),
        "duration_ms": max(1, round(segment.samples.size * 1000 / RATE)),
        "sample_rate": RATE,
        "channels": 1,
        "confidence_mean": segment.confidence_mean,
        "confidence_max": segment.confidence_max,
        "chunk_count": len(sources),
        "source_message_ids": json.dumps(sources),
        "audio_ref": blob.ref,
        "audio_sha256": blob.sha256,
        "audio_size_bytes": blob.size_bytes,
        "audio_format": "wav",
    }


def _frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    schema = {c.name: dtype_of(c.type) for c in VAD_FILTERED.table.columns}
    frame = pl.DataFrame(rows, schema={n: schema[n] for n in _ROW}, orient="row")
    return frame.unique(["timestamp", "message_id"], keep="first", maintain_order=True)


def _timers(due_at: Mapping[str, datetime | None]) -> pl.DataFrame:
    rows = [(device, _TIMER, at) for device, at in due_at.items()]
    return pl.DataFrame(rows, schema=TIMER_SCHEMA, orient="row")


def _parameters(batch: pl.DataFrame) -> Mapping[str, object] | None:
    if batch.is_empty():
        return None
    timestamps = batch["timestamp"].to_list()
    around = bounds(timestamps, _AT_ONCE, _AT_ONCE)
    return {"ids": batch["message_id"].to_list(), "timestamps": timestamps, **around}


STAGE_NAME: Final = "silero-vad"
SILERO_VAD: Final = Stage(
    name=STAGE_NAME,
    source=AUDIO_RAW,
    sinks=(VAD_FILTERED,),
    version=f"1+{silero.REVISION}",
    transform=transform,
    description="Speech segments in audio, by Silero VAD.",
    policy=BatchPolicy(
        max_rows=64, max_bytes=8 * 1024 * 1024, max_wait=timedelta(milliseconds=250), sla=timedelta(seconds=5)
    ),
    context=(LANDED,),
    keyed_state=True,
)
