"""Message values to a frame, in one pass; what can't be decoded is told apart with its reason."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from uuid import NAMESPACE_URL, UUID, uuid5

import polars as pl
from pydantic import ValidationError

from loom_contracts.message import Message
from loom_contracts.table import ColumnType, type_of
from loom_models.frames import UTC_MICROS, frame_schema
from loom_platform.stream.checks import implausible, mistyped, needs_pydantic, suspects
from loom_platform.stream.source import Records

_TIME_FORMAT = "%Y-%m-%dT%H:%M:%S%.f%#z"
_ONE_BY_ONE = 64
"""Below this many values a piece that polars refuses is looked at message by message."""

_NAMESPACE = uuid5(NAMESPACE_URL, "https://github.com/loomv2/loomv2#received")
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_ODD, _REASON = "_loom_odd", "_loom_reason"
_NO_COLUMN = "value can't be put in a column: a number or text outside what the table holds"


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
    payload: type[Message]
    wire: pl.Schema
    times: tuple[str, ...]
    json: tuple[str, ...]
    """Fields whose column is JSON text; polars can't give that, because it writes nested text without escapes."""
    careful: bool
    mistyped: str | None
    suspects: pl.Expr


@lru_cache(maxsize=256)
def _codec(payload: type[Message]) -> _Codec:
    schema = frame_schema(payload)
    times = tuple(n for n, d in schema.items() if d == UTC_MICROS)
    wire = pl.Schema({n: pl.String() if n in times else d for n, d in schema.items()})
    fields = payload.model_fields.items()
    json_fields = tuple(n for n, f in fields if type_of(f.annotation, n)[0] is ColumnType.JSON)
    return _Codec(payload, wire, times, json_fields, needs_pydantic(payload), mistyped(payload), suspects(payload))


def decode(records: Records, payload: type[Message]) -> Decoded:
    """The batch as one frame of `payload`'s columns, without the records that break its contract.

    A value that is not one JSON object, has a wrong type, a NUL, a number out of its range, an unknown major schema
    version, or a time before 1970 or more than 48 h after its acceptance is poison; its neighbours are not touched.
    A record without an identity or a time gets them from its place and acceptance, the same at every reading.
    """
    codec = _codec(payload)
    if codec.careful:
        frame, odd = _empty(codec, records), list(range(len(records.values)))
    else:
        frame, odd = _at_once(records, codec)
    if not odd:
        return Decoded(frame)
    # pydantic has the last word, and gives the reason; what it accepts is taken in its canonical form.
    poison: dict[int, str] = {}
    canonical = {}
    for position in odd:
        try:
            canonical[position] = _canonical(records, position, codec)
        except ValidationError as error:
            poison[position] = describe(error)
        except (ValueError, RecursionError) as error:
            poison[position] = str(error)
    again = _frames(list(canonical), list(canonical.values()), codec, poison)
    good = [_with_origin(f, records) for f in again]
    if good:
        mended = pl.concat(good).with_columns(implausible().alias(_REASON))
        poison.update(mended.filter(pl.col(_REASON).is_not_null()).select("position", _REASON).iter_rows())
        frame = pl.concat([frame, mended.filter(pl.col(_REASON).is_null()).drop(_REASON)]).sort("position")
    return Decoded(frame, poison)


def _at_once(records: Records, codec: _Codec) -> tuple[pl.DataFrame, list[int]]:
    """What polars reads, and the positions that pydantic must look at."""
    values = records.values
    odd: list[int] = []
    pieces = [
        p.with_columns(pl.Series("position", range(s, s + p.height), dtype=pl.UInt32))
        for s, p in _pieces(values, 0, codec, odd)
    ]
    if not pieces:
        return _empty(codec, records), odd
    frame = _with_origin(pl.concat(pieces), records)
    bad = frame.select(pl.col(_ODD) | codec.suspects).to_series()
    frame = frame.drop(_ODD)
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
    elif len(values) > _ONE_BY_ONE:
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
    except (pl.exceptions.PolarsError, TypeError):
        return None
    # A value with a line feed of its own, or an empty one, would shift its neighbours' positions.
    if frame.height != len(values) or buffer.count(b"\n") != len(values) - 1:
        return None
    odd = [pl.lit(False)]
    if codec.mistyped is not None:
        text = pl.Series(values, dtype=pl.Binary).cast(pl.String)
        odd.append(pl.lit(text.str.contains(codec.mistyped)))
    times = {
        n: pl.col(n).str.to_datetime(_TIME_FORMAT, time_unit="us", strict=False).cast(UTC_MICROS) for n in codec.times
    }
    odd.extend(pl.col(n).is_not_null() & time.is_null() for n, time in times.items())
    return frame.with_columns(pl.any_horizontal(odd).alias(_ODD), **times)


def _canonical(records: Records, position: int, codec: _Codec) -> bytes:
    """The record as polars reads it: pydantic's own form, with JSON columns as text.

    Raises ValueError (ValidationError is one) with the reason when the record breaks its contract.
    """
    value = records.values[position]
    if value is None:
        raise ValueError("the message has no value")
    message = codec.payload.model_validate_json(value)
    fields = message.model_dump(mode="json")
    if "message_id" not in message.model_fields_set:
        fields["message_id"] = str(_identity(records, position))
    if "timestamp" not in message.model_fields_set:
        received: datetime = records.received_at[position]
        fields["timestamp"] = received.isoformat()
    for name in codec.json:
        if fields[name] is not None:
            fields[name] = json.dumps(fields[name], ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            if _NUL.search(fields[name]):
                raise ValueError(
                    f"{name}: text holds a NUL character, which no table can keep: remove it at the sender"
                )
    for name, item in fields.items():
        if isinstance(item, str) and "\x00" in item:
            raise ValueError(f"{name}: text holds a NUL character, which no table can keep: remove it at the sender")
        if isinstance(item, int) and not -(2**63) <= item < 2**63:
            raise ValueError(f"{name}: {item} does not fit into 64 bits")
    return json.dumps(fields, separators=(",", ":")).encode()


def _identity(records: Records, position: int) -> UUID:
    """An identity for a record that came without one: where it lies, and since when (a topic can be made again)."""
    received: datetime = records.received_at[position]
    where = f"{records.partitions[position]}\n{records.offsets[position]}\n{received.isoformat()}"
    return uuid5(_NAMESPACE, where)


def _frames(
    positions: Sequence[int], lines: Sequence[bytes], codec: _Codec, poison: dict[int, str]
) -> Iterator[pl.DataFrame]:
    """Frames of canonical `lines`, in halves where polars refuses the whole."""
    if not lines:
        return
    frame = _parse(lines, codec)
    if frame is not None:
        yield frame.drop(_ODD).with_columns(pl.Series("position", positions, dtype=pl.UInt32))
    elif len(lines) == 1:
        poison[positions[0]] = _NO_COLUMN
    else:
        middle = len(lines) // 2
        yield from _frames(positions[:middle], lines[:middle], codec, poison)
        yield from _frames(positions[middle:], lines[middle:], codec, poison)


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


def _empty(codec: _Codec, records: Records) -> pl.DataFrame:
    schema = {n: (UTC_MICROS if n in codec.times else d) for n, d in codec.wire.items()}
    return _with_origin(pl.DataFrame(schema={**schema, "position": pl.UInt32}), records)
