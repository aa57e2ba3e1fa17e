"""An export stands on its own, and an import of it gives the same rows."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import jsonschema
import polars as pl
import pyarrow.parquet as pq
import pytest

from loom_platform.export import manifest, verify
from loom_platform.export.catalogue import LEFT_BEHIND, TABLES, Exported
from loom_platform.export.selection import Selection
from tests.export.conftest import Side, platform
from tests.export.filling import DAYS, DEVICES, SECRET, TOPICS, content

pytestmark = pytest.mark.integration

NOT_SAME = {"audit_log"}
"""Tables that an import leaves alone."""


@pytest.fixture(scope="module")
def tables() -> tuple[Exported, ...]:
    return TOPICS


def asked(query: str) -> list[Any]:
    return duckdb.execute(query).fetchall()


@pytest.fixture(scope="module")
def other(
    server_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Side, dict[str, tuple[int, str | None]]]]:
    """Another platform, which the export is read into, and what it held before."""
    with contextmanager(platform)(server_url, template_database, tmp_path_factory.mktemp("other"), ()) as side:
        yield side, content(side.connection)


def test_an_import_gives_the_same_rows_and_a_second_one_changes_nothing(
    full: Side, other: tuple[Side, dict[str, tuple[int, str | None]]], exported: Path
) -> None:
    target, empty = other
    before = content(full.connection)
    done = target.load(exported)
    after = content(target.connection)
    assert {n: v for n, v in after.items() if n not in NOT_SAME} == {
        n: v for n, v in before.items() if n not in NOT_SAME
    }
    assert {n: after[n] for n in NOT_SAME} == {n: empty[n] for n in NOT_SAME}
    assert sum(done.known.values()) == 0
    for table in TOPICS:
        assert done.new[table.name] == 4 * DAYS * len(DEVICES)
    again = target.load(exported)
    assert content(target.connection) == after
    assert sum(again.new.values()) == 0
    assert again.known == {n: done.new[n] for n in again.known}
    assert target.connection.execute("SELECT nextval('georegion_revisions')").fetchone() == (42,)
    refs = set()
    for table in TOPICS:
        for column in table.bodies:
            refs |= set(target.connection.execute(f"SELECT {column} FROM {table.name}".encode()).fetchall())
    assert len(refs) > 10
    for (ref,) in refs:
        assert target.store.get(ref) == full.store.get(ref)


def test_polars_and_duckdb_read_every_table(full: Side, exported: Path) -> None:
    found = manifest.read(exported)
    assert {t.name for t in TABLES if t.rolled_up is None} <= {n for n, t in found.tables.items() if t.rows}
    for name, entry in found.tables.items():
        for file in entry.files:
            path = str(exported / file.path)
            frame = pl.read_parquet(path)
            assert frame.height == file.rows == asked(f"SELECT count(*) FROM '{path}'")[0][0]
            schema = json.loads((exported / f"schemas/{name}.json").read_text())
            assert list(schema["properties"]) == frame.columns
    gps = f"{exported}/tables/device_sensor_gps_raw/*.parquet"
    query = "SELECT timestamp, message_id::text, latitude FROM device_sensor_gps_raw ORDER BY timestamp, message_id"
    rows = full.connection.execute(query).fetchall()
    ordered = pl.scan_parquet(gps).select("timestamp", "message_id", "latitude").collect()
    # by their text, since NaN is no number's equal
    assert [tuple(map(str, row)) for row in ordered.rows()] == [tuple(map(str, row)) for row in rows]
    assert asked(f"SELECT DISTINCT device_id FROM '{gps}' ORDER BY 1") == [(d,) for d in sorted(DEVICES)]


def test_the_readme_and_the_schemas_are_true(exported: Path) -> None:
    readme = (exported / "README.md").read_text()
    for block in ("sql", "python"):
        code = (
            readme.partition(f"```{block}\n")[2]
            .partition("```")[0]
            .replace("'blobs", f"'{exported}/blobs")
            .replace("tables/", f"{exported}/tables/")
        )
        if block == "sql":
            assert asked(code)
        else:
            exec(compile(code, "README.md", "exec"), {})  # noqa: S102
    for place in (exported / "schemas").glob("*.json"):
        jsonschema.Draft202012Validator.check_schema(json.loads(place.read_text()))
    gps = json.loads((exported / "schemas/device_sensor_gps_raw.json").read_text())
    assert "metres" in gps["properties"]["accuracy"]["description"]
    done = subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=exported, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"")


def test_nothing_secret_leaves(exported: Path) -> None:
    for place in exported.rglob("*"):
        assert place.stem not in LEFT_BEHIND
        if place.suffix == ".parquet":
            assert SECRET not in str(pq.read_table(place).to_pydict())
    assert exported.stat().st_mode & 0o777 == 0o700


def test_every_table_of_the_schema_is_decided_upon(full: Side) -> None:
    """A new table goes into TABLES or LEFT_BEHIND of export/catalogue.py, with its reason."""
    names = full.connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') "
        "AND NOT relispartition AND relname NOT LIKE '%yoyo%'"
    ).fetchall()
    known = {t.name for t in TABLES} | LEFT_BEHIND.keys()
    assert sorted(n for (n,) in names if n not in known and not re.search(r"_by_(minute|hour)", n)) == []
    bytes_columns = full.connection.execute(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' "
        "AND data_type = 'bytea' AND table_name = ANY(%s) AND table_name <> 'audit_log'",
        ([t.name for t in TABLES],),
    ).fetchall()
    assert bytes_columns == [("processing_errors", "value")]


def test_two_exports_of_the_same_rows_are_the_same_files(full: Side, exported: Path, tmp_path: Path) -> None:
    again = full.export(tmp_path / "again", Selection(audit=True))
    assert again.tables == manifest.read(exported).tables
    verify.check(tmp_path / "again")
