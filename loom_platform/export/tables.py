"""A table into Parquet files: a file for each UTC day of a topic's table, one file for any other."""

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from loom_platform.export.catalogue import Exported
from loom_platform.export.columns import LiveColumn, arrow_schema, dictionary
from loom_platform.export.folder import sync
from loom_platform.export.manifest import FileEntry, TableEntry, sha256_of
from loom_platform.export.progress import Progress

COMPRESSION: Final = "zstd"


class ParquetFile:
    """One Parquet file while it is written; `done` gives its entry in the manifest."""

    def __init__(
        self, folder: Path, path: str, columns: Sequence[LiveColumn], told: dict[str, str], day: date | None = None
    ) -> None:
        self._folder, self._path, self.day = folder, path, day
        self._rows = 0
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        self._writer = pq.ParquetWriter(
            folder / path,
            arrow_schema(columns).with_metadata({f"loom.{k}": v for k, v in told.items()}),
            compression=COMPRESSION,
            use_dictionary=dictionary(columns),
        )

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows, as a row group of their own."""
        self._writer.write_batch(batch)
        self._rows += batch.num_rows

    def done(self) -> FileEntry:
        """Close it, on the disk."""
        self._writer.close()
        place = self._folder / self._path
        sync(place)
        day = None if self.day is None else self.day.isoformat()
        return FileEntry(self._path, place.stat().st_size, sha256_of(place), self._rows, day)


def write_table(
    folder: Path,
    table: Exported,
    columns: Sequence[LiveColumn],
    batches: Iterator[pa.RecordBatch],
    progress: Progress,
) -> TableEntry:
    """Write `batches` (in order of `timestamp`, where the table has days) and tell how many rows they were."""
    files: list[FileEntry] = []
    rows = 0
    current: ParquetFile | None = None
    told = {"table": table.name} | ({} if table.topic is None else {"topic": table.topic.name})
    for day, batch in _by_day(table, batches):
        if current is None or current.day != day:
            if current is not None:
                files.append(current.done())
            current = ParquetFile(folder, _path(table, day), columns, told, day)
        current.write(batch)
        rows += batch.num_rows
        progress(table.name, rows, sum(f.bytes for f in files))
    if current is not None:
        files.append(current.done())
    return TableEntry(rows, sum(f.bytes for f in files), tuple(files))


def _path(table: Exported, day: date | None) -> str:
    return f"tables/{table.name}.parquet" if day is None else f"tables/{table.name}/{day.isoformat()}.parquet"


def _by_day(table: Exported, batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[date | None, pa.RecordBatch]]:
    """The batches, cut where a UTC day ends."""
    for batch in batches:
        if table.topic is None:
            if batch.num_rows:
                yield None, batch
            continue
        runs = pc.run_end_encode(pc.cast(batch.column("timestamp"), pa.date32()))
        begin = 0
        for day, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
            yield day, batch.slice(begin, end - begin)
            begin = end
