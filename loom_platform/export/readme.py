"""The README of an export: what the files are and how to read them, for someone who has nothing else."""

from typing import Final

from loom_platform.export.manifest import Manifest

_HEAD: Final = """\
# Your data from Loom

Exported on {finished} UTC: {held}. The rows are as of {snapshot}.
{selection}

Everything here can be read without Loom. Nothing is encrypted, so keep this directory as private as the data in it.
It holds no API keys, passwords or encryption keys.

| what | where |
| --- | --- |
| tables | `tables/`: Parquet, compressed with zstd. What devices sent and what came of it in a file a UTC day |
| bodies: sound, images | `blobs/<first two digits>/<SHA-256 of the body>.<format>`, as they were sent |
| which row has which body | `blobs.parquet`: `ref` is what the rows call it (`audio_ref`), `path` is its file |
| what the columns are | `schemas/<table>.json`: JSON Schema, with units and meanings |
| checksums | `SHA256SUMS`, for `sha256sum -c SHA256SUMS`; and `manifest.json`, with rows and days |

Times are UTC, in microseconds. Ids are text. Columns whose schema says `contentMediaType: application/json` hold JSON
as text. In a computed table `source_message_id` is the row that an answer was made from, `stage` and `stage_version`
say by what, and `superseded_at` is set on answers that a later computation replaced: leave those out for what holds
now.

With DuckDB:

```sql
{duckdb}
```

With polars:

```python
{polars}
```

To put it into another Loom, with the same rows and ids: `loom import DIRECTORY`. To see that it is whole:
`loom export verify DIRECTORY`.

## Tables

| table | rows | what |
| --- | --- | --- |
"""


_BODIES: Final = """
SELECT a.timestamp, b.path
FROM 'tables/device_audio_raw/*.parquet' AS a JOIN 'blobs.parquet' AS b ON b.ref = a.audio_ref;"""


def text(manifest: Manifest, descriptions: dict[str, str]) -> str:
    """The text of README.md; `descriptions` are the tables' own."""
    filled = {name: t for name, t in manifest.tables.items() if t.rows}
    daily = [name for name, t in filled.items() if t.files[0].day]
    example = max(daily, key=lambda name: filled[name].rows, default=None)
    head = _HEAD.format(
        finished=manifest.finished_at[:16].replace("T", " "),
        held=held(manifest),
        snapshot=manifest.snapshot[:19].replace("T", " "),
        selection=_selection(manifest.selection),
        duckdb=_duckdb(example) + (_BODIES if "device_audio_raw" in filled and manifest.blobs.count else ""),
        polars=_polars(example),
    )
    lines = [f"| `{name}` | {t.rows:,} | {descriptions[name]} |" for name, t in filled.items()]
    if manifest.blobs.missing:
        lines += ["", f"{manifest.blobs.missing:,} bodies could not be read; `blobs.parquet` says why (`problem`)."]
    return head + "\n".join(lines) + "\n"


def held(manifest: Manifest) -> str:
    """How much an export holds, for a person."""
    filled = [t for t in manifest.tables.values() if t.rows]
    blobs = manifest.blobs
    return (
        f"{manifest.rows:,} rows of {_number(len(filled), 'table', 'tables')} ({size(sum(t.bytes for t in filled))}), "
        f"{_number(blobs.count, 'body', 'bodies')} ({size(blobs.bytes)})"
    )


def _number(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def size(count: int) -> str:
    """Bytes for a person."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def _selection(asked: dict[str, object]) -> str:
    names = {
        "devices": "devices {}",
        "topics": "topics {}",
        "from": "from {}",
        "to_before": "before {}",
    }
    parts = []
    for key, form in names.items():
        value = asked.get(key)
        if value:
            parts.append(form.format(", ".join(value) if isinstance(value, list) else value))
    return f"It is a part of the data: {'; '.join(parts)}." if parts else "It is all of the data."


def _duckdb(table: str | None) -> str:
    if table is None:
        return "SELECT * FROM 'tables/devices.parquet';"
    return (
        f"SELECT device_id, timestamp::date AS day, count(*) FROM 'tables/{table}/*.parquet' GROUP BY ALL ORDER BY ALL;"
    )


def _polars(table: str | None) -> str:
    if table is None:
        return 'import polars as pl\npl.read_parquet("tables/devices.parquet")'
    return f'import polars as pl\npl.scan_parquet("tables/{table}/*.parquet").group_by("device_id").len().collect()'
