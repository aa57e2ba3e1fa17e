"""Kafka's records and the spool's, in Parquet files: what the tables do not have yet.

`kafka/<topic>.parquet` has partition, offset, timestamp_ms, key, value and headers, in order of each partition;
`spool/records.parquet` has the topic in place of partition and offset.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

_BATCH_BYTES: Final = 16 * 1024 * 1024
_BATCH_ROWS: Final = 20_000
_HEADERS: Final = pa.list_(pa.struct([("name", pa.string()), ("value", pa.binary())]))
SCHEMA: Final = pa.schema(
    [
        ("topic", pa.string()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("timestamp_ms", pa.int64()),
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("headers", _HEADERS),
    ]
)


class Kept(NamedTuple):
    """One record. `partition` and `offset` are None when it never came to a broker."""

    topic: str
    partition: int | None
    offset: int | None
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


class RecordFile:
    """Writes records, some megabytes at a time."""

    def __init__(self, path: Path) -> None:
        self._writer: Any = pq.ParquetWriter(path, SCHEMA, compression="zstd")
        self._rows: list[Mapping[str, Any]] = []
        self._bytes = 0
        self.written = 0

    def add(self, record: Kept) -> None:
        """Take one record."""
        headers = [{"name": name, "value": value} for name, value in record.headers]
        self._rows.append({**record._asdict(), "headers": headers})
        self._bytes += len(record.value or b"") + len(record.key or b"")
        self.written += 1
        if self._bytes > _BATCH_BYTES or len(self._rows) >= _BATCH_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=SCHEMA))
        self._rows, self._bytes = [], 0

    def close(self) -> None:
        """Write what is left."""
        self._flush()
        self._writer.close()


@contextmanager
def record_file(path: Path) -> Iterator[RecordFile]:
    """A file that is complete when the context ends."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    file = RecordFile(path)
    try:
        yield file
    finally:
        file.close()


def read_records(path: Path) -> Iterator[Kept]:
    """The records of a file, in order; none when there is no such file."""
    if not path.exists():
        return
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=500):
            for row in batch.to_pylist():
                headers = [(header["name"], header["value"]) for header in row.pop("headers")]
                yield Kept(**row, headers=headers)
