"""Where a device's name may have been left behind: log files, and Dagster's database.

Loom logs no payloads, and Dagster is told of days, counts and offsets, never of devices. But an exception's text, a
line of a log or a check's description may hold a name, or a part of a record with it. So each text that has the name of
an erased device is made unreadable: in files whole lines in place, because they are being written to, in Dagster's
database the name.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql

from loom_contracts.topics.registry import TOPICS
from loom_models.flows import STAGES
from loom_platform.erasure.errors import ErasureError
from loom_platform.settings import Settings

Connection = psycopg.Connection[Any]

ERASED: Final = "erased-device"
_TEXTS: Final = """
SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND NOT a.attisdropped AND a.attnum > 0
  AND a.atttypid IN ('text'::regtype, 'varchar'::regtype) AND c.relname NOT LIKE 'alembic%' ORDER BY 1, 2
"""
# In JSON a name is followed by a colon only where it is a field's.
_NAME: Final = r'(?<![A-Za-z0-9_-]){device}(?![A-Za-z0-9_-]|\\*"\s*:)'
_WORDS: Final = frozenset(
    word
    for name in (*(t.name for t in TOPICS), *(s.name for s in STAGES))
    for word in (name, name.replace(".", "_"), *name.split("."))
)
"""What Dagster calls assets and stages: a device of such a name cannot be told from them."""


def searchable(device: str) -> bool:
    """Whether a text that has the name of this device is about it."""
    return device not in _WORDS


def in_dagster(connection: Connection, devices: Iterable[str], *, erase: bool) -> dict[str, int]:
    """Rows of Dagster's database that name one of the devices, by table and column; with `erase` they do so no more."""
    found: dict[str, int] = {}
    names = [d for d in devices if searchable(d)]
    for table, column in connection.execute(_TEXTS).fetchall():
        for device in names:
            where = sql.SQL("strpos({column}, {device}) > 0 AND {column} ~ {token}").format(
                column=sql.Identifier(column), device=sql.Literal(device), token=sql.Literal(_token(device))
            )
            if erase:
                statement = sql.SQL(
                    "UPDATE {table} SET {column} = regexp_replace({column}, {token}, {by}, 'g') WHERE {where}"
                )
            else:
                statement = sql.SQL("SELECT FROM {table} WHERE {where}")
            count = connection.execute(
                statement.format(
                    table=sql.Identifier(table), column=sql.Identifier(column), where=where,
                    token=sql.Literal(_token(device)), by=sql.Literal(ERASED),
                )
            ).rowcount  # fmt: skip
            if count:
                found[f"{table}.{column}"] = found.get(f"{table}.{column}", 0) + count
    return found


def log_files(settings: Settings) -> list[Path]:
    """The logs of the services, rotated ones as well, and what runs wrote."""
    found = [p for p in settings.logs_dir.rglob("*") if p.is_file()]
    home = settings.dagster_home
    return sorted({*found, *home.rglob("*.err"), *home.rglob("*.out"), *home.rglob("*.log")})


def in_logs(files: Iterable[Path], devices: Iterable[str], *, erase: bool) -> int:
    """Lines that name one of the devices; with `erase` each is overwritten in place, with blanks of the same length."""
    names = [d for d in devices if searchable(d)]
    if not names:
        return 0
    pattern = re.compile("|".join(rf"(?<![A-Za-z0-9_-]){re.escape(d)}(?![A-Za-z0-9_-])" for d in names).encode())
    lines = 0
    for path in files:
        if path.suffix in (".gz", ".zst"):
            continue
        try:
            with path.open("r+b" if erase else "rb") as file:
                for offset, length in list(_lines(file, pattern)):
                    lines += 1
                    if erase:
                        file.seek(offset)
                        file.write(b"(erased)"[:length].ljust(length))
        except FileNotFoundError:
            continue  # it was rotated away
        except PermissionError as error:
            raise ErasureError(f"{path} cannot be written to: run this as the user that owns it, or as root") from error
    return lines


def _lines(file: Any, pattern: "re.Pattern[bytes]") -> Iterator[tuple[int, int]]:
    """Offset and length, without the line feed, of each line that has what is looked for."""
    offset = 0
    for line in file:
        if pattern.search(line):
            yield offset, len(line.rstrip(b"\n"))
        offset += len(line)


def _token(device: str) -> str:
    return _NAME.format(device=re.escape(device).replace(r"\-", "-"))
