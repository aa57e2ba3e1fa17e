"""What the person had erased and is still in Kafka or a spool: no stage takes it again."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

import polars as pl
import psycopg

from loom_platform.stream.source import Records

Connection = psycopg.Connection[Any]

_ASK = "SELECT devices, since, until, asked_at FROM loom_erasures(%s)"


class Span(NamedTuple):
    """One erasure: its devices (none: all), event times (`until` is not part of it), and when it was asked for."""

    devices: list[str]
    since: datetime | None
    until: datetime | None
    asked_at: datetime

    def rows(self) -> pl.Expr:
        """Whether a record with `device_id`, `timestamp`, `received_at` is part of it."""
        inside = pl.col("received_at") <= self.asked_at
        if self.devices:
            inside &= pl.col("device_id").is_in(self.devices)
        if self.since is not None:
            inside &= pl.col("timestamp") >= self.since
        if self.until is not None:
            inside &= pl.col("timestamp") < self.until
        return inside

    def holds(self, device: str | None, moment: datetime) -> bool:
        """Whether what `device` sensed at `moment` is part of it."""
        return (
            (not self.devices or device in self.devices)
            and (self.since is None or moment >= self.since)
            and (self.until is None or moment < self.until)
        )


@dataclass(frozen=True, slots=True)
class Erased:
    """The erasures that a batch must heed; none, where its records were accepted after them."""

    spans: tuple[Span, ...]

    @classmethod
    def at(cls, connection: Connection, received_at: pl.Series) -> Self:
        """Those of records accepted at `received_at`.

        Asked inside the transaction that writes what comes of the records: no erasure begins before that ends.
        """
        first = received_at.min() if len(received_at) else None
        return cls(tuple(Span(*row) for row in connection.execute(_ASK, (first,)).fetchall()))

    def without(self, batch: pl.DataFrame) -> pl.DataFrame:
        """`batch` without its records that were erased."""
        if not self.spans or batch.is_empty():
            return batch
        return batch.filter(~pl.any_horizontal(span.rows() for span in self.spans))

    def letters(self, records: Records, poison: Mapping[int, tuple[str, str]]) -> dict[int, tuple[str, str]]:
        """The dead letters `poison` (by position) that are not of erased records."""
        if not self.spans:
            return dict(poison)
        return {position: why for position, why in poison.items() if not self._letter(records, position)}

    def _letter(self, records: Records, position: int) -> bool:
        message = records.messages[position]
        received: datetime = records.received_at[position]
        device, moment = event_of(message.key(), message.value(), received)
        return any(span.holds(device, moment) and received <= span.asked_at for span in self.spans)


def begin(connection: Connection) -> None:
    """Keep erasures from beginning until this transaction ends; before any other lock that a batch takes as well."""
    connection.execute(_ASK, (None,))


def unerased(connection: Connection, batch: pl.DataFrame) -> pl.DataFrame:
    """`batch` without records that were erased; see `Erased.at`. Rows that a stage derived are left as they are."""
    if "received_at" not in batch.columns:
        return batch
    return Erased.at(connection, batch["received_at"]).without(batch)


def event_of(key: bytes | str | None, value: bytes | None, received_at: datetime) -> tuple[str | None, datetime]:
    """Whose a record is that cannot be read as a whole, and when it was sensed: what of it can be told.

    Else the device is the record's key, and the time that of its acceptance.
    """
    device = key.decode(errors="replace") if isinstance(key, bytes) else key
    moment = received_at
    try:
        fields = json.loads(value or b"")
    except (ValueError, RecursionError):
        return device, moment
    if not isinstance(fields, dict):
        return device, moment
    if isinstance(fields.get("device_id"), str):
        device = fields["device_id"]
    try:
        told = datetime.fromisoformat(fields["timestamp"])
    except (KeyError, TypeError, ValueError):
        return device, moment
    return device, told if told.tzinfo is not None else told.replace(tzinfo=UTC)
