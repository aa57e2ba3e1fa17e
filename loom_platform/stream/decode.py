"""Message values to a frame, in one pass; what can't be decoded is told apart with its reason."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache

import polars as pl
from pydantic import ValidationError

from loom_contracts.message import Message
from loom_models.frames import UTC_MICROS, frame_schema
from loom_platform.stream.checks import FUTURE_LIMIT_HOURS, suspects
from loom_platform.stream.source import Records

_TIME_FORMAT = "%Y-%m-%dT%H:%M:%S%.f%#z"
_ONE_BY_ONE = 64
"""Below this many values a piece that polars refuses is looked at message by message."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A batch as a frame, and its poison.

    `frame` has the payload's columns, `kafka_partition` (Int32), `kafka_offset` (Int64), `received_at` and
    `position` (UInt32, the record's place in the batch). `poison` maps a position to the reason.
    """

    frame: pl.DataFrame
    poison: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Codec:
    wire: pl.Schema
    times: tuple[str, ...]
    suspects: pl.Expr


@lru_cache(maxsize=256)
def _codec(payload: type[Message]) -> _Codec:
    schema = frame_schema(payload)
    times = tuple(n for n, d in schema.items() if d == UTC_MICROS)
    wire = pl.Schema({n: pl.String() if n in times else d for n, d in schema.items()})
    return _Codec(wire, times, suspects(payload))


def decode(records: Records, payload: type[Message]) -> Decoded:
    """The batch as one frame of `payload`'s columns, without the records that break its contract.

    A value that is not one JSON object, has a wrong type, a NUL, a number out of its range, an unknown major schema
    version or a time more than 48 h after its acceptance is poison; its neighbours are not touched.
    """
    values = records.values
    codec = _codec(payload)
    poison: dict[int, str] = {}
    pieces: list[pl.DataFrame] = []
    for start, frame in _pieces(values, 0, payload, codec, poison):
        pieces.append(frame.with_columns(pl.int_range(start, start + frame.height, dtype=pl.UInt32).alias("position")))
    frame = pl.concat(pieces) if pieces else _empty(codec)
    frame = _with_origin(frame, records)
    if frame.is_empty():
        return Decoded(frame, poison)
    bad = frame.select(codec.suspects.alias("bad")).to_series()
    if bad.any():
        # pydantic has the last word, and gives the reason; what it accepts is taken in its canonical form.
        looked_at = frame.filter(bad)["position"].to_list()
        good: list[pl.DataFrame] = [frame.filter(~bad)]
        for position in looked_at:
            canonical = _canonical(values[position], payload, position, poison)
            if canonical is None:
                continue
            one = _parse([canonical], codec)
            if one is None:
                poison[position] = "value can't be put in a column: a number or text outside what the table holds"
                continue
            one = _with_origin(one.with_columns(pl.lit(position, dtype=pl.UInt32).alias("position")), records)
            if (reason := _implausible(one, codec)) is not None:
                poison[position] = reason
            else:
                good.append(one)
        frame = pl.concat(good).sort("position")
    return Decoded(frame, poison)


def _pieces(
    values: Sequence[bytes | None], start: int, payload: type[Message], codec: _Codec, poison: dict[int, str]
) -> Iterator[tuple[int, pl.DataFrame]]:
    """Frames of the values from `start` on, in halves where polars refuses the whole."""
    if not values:
        return
    frame = _parse(values, codec)
    if frame is not None:
        yield start, frame
    elif len(values) > _ONE_BY_ONE:
        middle = len(values) // 2
        yield from _pieces(values[:middle], start, payload, codec, poison)
        yield from _pieces(values[middle:], start + middle, payload, codec, poison)
    else:
        for position, value in enumerate(values, start):
            canonical = _canonical(value, payload, position, poison)
            if canonical is None:
                continue
            one = _parse([canonical], codec)
            if one is None:
                poison[position] = "value can't be put in a column: a number or text outside what the table holds"
            else:
                yield position, one


def _parse(values: Sequence[bytes | None], codec: _Codec) -> pl.DataFrame | None:
    """The values as one frame, or None when one of them is not a plain JSON object of the payload's types."""
    try:
        buffer = b"\n".join(values)  # type: ignore[arg-type]  # a tombstone (None) raises TypeError
        frame = pl.read_ndjson(buffer, schema=codec.wire)
    except (pl.exceptions.PolarsError, TypeError):
        return None
    # A value with a line feed of its own, or an empty one, would shift its neighbours' positions.
    if frame.height != len(values) or buffer.count(b"\n") != len(values) - 1:
        return None
    return frame.with_columns(
        *(pl.col(n).str.to_datetime(_TIME_FORMAT, time_unit="us", strict=False).cast(UTC_MICROS) for n in codec.times)
    )


def _canonical(value: bytes | None, payload: type[Message], position: int, poison: dict[int, str]) -> bytes | None:
    if value is None:
        poison[position] = "the message has no value"
        return None
    try:
        text = payload.model_validate_json(value).model_dump_json()
    except ValidationError as error:
        poison[position] = describe(error)
        return None
    if "\\u0000" in text:
        poison[position] = "text holds a NUL character, which no table can keep: remove it at the sender"
        return None
    return text.encode()


def _implausible(one: pl.DataFrame, codec: _Codec) -> str | None:
    if not one.select(codec.suspects).item():
        return None
    row = one.row(0, named=True)
    if not row["schema_version"].startswith("1."):
        return f"schema_version {row['schema_version']!r} is not known: this Loom reads 1.x"
    limit = row["received_at"] + timedelta(hours=FUTURE_LIMIT_HOURS)
    if row["timestamp"] > limit:
        return f"timestamp {row['timestamp'].isoformat()} is after {limit.isoformat()}: mend the sender's clock"
    return None


def describe(error: ValidationError) -> str:
    """Every complaint of `error` as `field: what (got value)`, short, so that a person can mend the sender."""
    complaints = []
    for e in error.errors(include_url=False)[:5]:
        where = ".".join(str(part) for part in e["loc"]) or "message"
        got = "" if e["type"] in ("missing", "json_invalid") else f" (got {repr(e['input'])[:80]})"
        complaints.append(f"{where}: {e['msg']}{got}")
    return "; ".join(complaints)


def _with_origin(frame: pl.DataFrame, records: Records) -> pl.DataFrame:
    return frame.with_columns(
        records.partitions.gather(frame["position"]).alias("kafka_partition"),
        records.offsets.gather(frame["position"]).alias("kafka_offset"),
        records.received_at.gather(frame["position"]).alias("received_at"),
    )


def _empty(codec: _Codec) -> pl.DataFrame:
    schema = {n: (UTC_MICROS if n in codec.times else d) for n, d in codec.wire.items()}
    return pl.DataFrame(schema={**schema, "position": pl.UInt32})
