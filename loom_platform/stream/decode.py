"""Message values to a frame, in one pass; what can't be decoded is told apart with its reason."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import polars as pl

from loom_contracts.message import Message
from loom_models.frames import UTC_MICROS, frame_schema
from loom_platform.stream.checks import has_body, mistyped, needs_pydantic, suspects
from loom_platform.stream.one_by_one import one_by_one
from loom_platform.stream.source import Records

_TIME_FORMAT = "%Y-%m-%dT%H:%M:%S%.f%#z"
_FEW = 200
"""Up to so many values pydantic is quicker than polars, and finds the one that polars refuses."""

_ODD, _TEXT = "_loom_odd", "_loom_text"


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
    schema: pl.Schema
    wire: pl.Schema
    times: tuple[pl.Expr, ...]
    careful: bool
    """Each record is pydantic's, however many there are."""
    whole: bool
    """A record holds a body, which pydantic would look through: even a few are polars'."""
    odd: pl.Expr
    suspects: pl.Expr


@lru_cache(maxsize=256)
def _codec(payload: type[Message]) -> _Codec:
    schema = frame_schema(payload)
    times = [n for n, d in schema.items() if d == UTC_MICROS]
    # JSON columns are never read here: polars writes nested text without escapes (`needs_pydantic`).
    wire = pl.Schema({n: pl.String() if n in times else d for n, d in schema.items()})
    parsed = {n: pl.col(n).str.to_datetime(_TIME_FORMAT, time_unit="us", strict=False).cast(UTC_MICROS) for n in times}
    odd = [pl.col(n).is_not_null() & time.is_null() for n, time in parsed.items()]
    pattern = mistyped(payload)
    if pattern is not None:
        odd.append(pl.col(_TEXT).str.contains(pattern))
    return _Codec(
        schema,
        wire,
        tuple(parsed.values()),
        needs_pydantic(payload),
        has_body(payload),
        pl.any_horizontal(odd).alias(_ODD),
        suspects(payload),
    )


def decode(records: Records, payload: type[Message]) -> Decoded:
    """The batch as one frame of `payload`'s columns, without the records that break its contract.

    A value that is not one JSON object, has a wrong type, a NUL, a number out of its range, an unknown major schema
    version, or a time before 1970 or more than 48 h after its acceptance is poison; its neighbours are not touched.
    A record without an identity or a time gets them from its place and acceptance, the same at every reading.
    """
    if not len(records):
        return _nothing(payload)
    codec = _codec(payload)
    if codec.careful or (len(records) <= _FEW and not codec.whole):
        rows = one_by_one(records, range(len(records)), payload)
        return Decoded(_with_origin(rows.frame, rows.positions, records), rows.poison)
    frame, odd = _at_once(records, codec)
    if not odd:
        return Decoded(frame)
    # pydantic has the last word, and gives the reason; what it accepts is taken in its canonical form.
    rows = one_by_one(records, sorted(odd), payload)
    mended = _with_origin(rows.frame, rows.positions, records)
    return Decoded(pl.concat([frame, mended.select(frame.columns)]).sort("position"), rows.poison)


@lru_cache(maxsize=256)
def _nothing(payload: type[Message]) -> Decoded:
    """No records: that is what most polls of a quiet topic give."""
    return Decoded(_with_origin(pl.DataFrame(schema=_codec(payload).schema), [], Records([])))


def _at_once(records: Records, codec: _Codec) -> tuple[pl.DataFrame, list[int]]:
    """What polars reads, and the positions that pydantic must look at."""
    odd: list[int] = []
    pieces = list(_pieces(records.values, 0, codec, odd))
    if not pieces:
        return _with_origin(pl.DataFrame(schema=codec.schema), [], records), odd
    positions: Sequence[int] = range(len(records))
    frame = pieces[0][1]
    if frame.height < len(records):
        positions = [p for start, piece in pieces for p in range(start, start + piece.height)]
        frame = pl.concat([piece for _, piece in pieces])
    frame = _with_origin(frame, positions, records)
    bad = frame.select(pl.col(_ODD) | codec.suspects).to_series()
    frame.drop_in_place(_ODD)
    if bad.any():
        odd.extend(frame.filter(bad)["position"])
        frame = frame.filter(~bad)
    return frame, odd


def _pieces(
    values: Sequence[bytes | None], start: int, codec: _Codec, odd: list[int]
) -> Iterator[tuple[int, pl.DataFrame]]:
    """Frames of the values from `start` on, in halves where polars refuses the whole; small ones go to `odd`."""
    if not values:
        return
    frame = _parse(values, codec)
    if frame is not None:
        yield start, frame
    elif len(values) > _FEW:
        middle = len(values) // 2
        yield from _pieces(values[:middle], start, codec, odd)
        yield from _pieces(values[middle:], start + middle, codec, odd)
    else:
        odd.extend(range(start, start + len(values)))


def _parse(values: Sequence[bytes | None], codec: _Codec) -> pl.DataFrame | None:
    """The values as one frame with a column `_ODD`, or None when one of them is not a plain JSON object."""
    try:
        buffer = b"\n".join(values)  # type: ignore[arg-type]  # a tombstone (None) raises TypeError
        frame = pl.read_ndjson(buffer, schema=codec.wire)
        # A value with a line feed of its own, or an empty one, would shift its neighbours' positions.
        if frame.height != len(values) or buffer.count(b"\n") != len(values) - 1:
            return None
        text = pl.Series(_TEXT, values, dtype=pl.Binary).cast(pl.String)
    except (pl.exceptions.PolarsError, TypeError):
        return None
    frame = frame.hstack([text]).with_columns(codec.odd, *codec.times)
    frame.drop_in_place(_TEXT)
    return frame


def _with_origin(frame: pl.DataFrame, positions: Sequence[int], records: Records) -> pl.DataFrame:
    """`frame` with the place and the acceptance of each row's record; `positions` are in order."""
    place = pl.Series("position", positions, dtype=pl.UInt32)
    origin = [records.partitions, records.offsets, records.received_at]
    if len(positions) != len(records):
        origin = [column.gather(place) for column in origin]
    return frame.hstack([place, *origin])
