"""Versions of a stage: promoted in one step, taken back, guarded against days that would be empty, and compared."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql
from typer.testing import CliRunner, Result

from loom_contracts.topics.location import GEOREGION_DETECTED
from loom_platform.cli.main import app
from loom_platform.versions import store
from loom_platform.versions.diff import difference

pytestmark = pytest.mark.integration

Connection = psycopg.Connection[Any]
STAGE = "georegion-detector"
TABLE = GEOREGION_DETECTED.table.name
NOON = datetime(2026, 11, 19, 12, tzinfo=UTC)
DAYS = (NOON.date(), NOON.date() + timedelta(days=1))


@pytest.fixture
def connection(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    monkeypatch.setenv("LOOM_DATABASE_URL", database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        for version in ("1", "2"):
            connection.execute("INSERT INTO stage_versions (stage, version) VALUES (%s, %s)", (STAGE, version))
        store.promote(connection, STAGE, "1")
        connection.execute("SELECT loom_ensure_partitions(%s, %s, %s)", (TABLE, *DAYS))
        yield connection


def answer(connection: Connection, version: str, seconds: int, **changes: object) -> None:
    """A row of `version` for the fix `seconds` after noon."""
    fields = {
        "timestamp": NOON + timedelta(seconds=seconds),
        "device_id": "phone-001",
        "schema_version": "1.0",
        "source_message_id": f"00000000-0000-4000-8000-{seconds:012d}",
        "stage": STAGE,
        "stage_version": version,
        "latitude": 52.5,
        "longitude": 13.4,
        "event": "dwell",
        "region_name": "Home",
    } | changes
    names = sql.SQL(", ").join(map(sql.Identifier, fields))
    query = sql.SQL("INSERT INTO {} (message_id, {}) VALUES (gen_random_uuid(), {})").format(
        sql.Identifier(TABLE), names, sql.SQL(", ").join([sql.Placeholder()] * len(fields))
    )
    connection.execute(query, list(fields.values()))


def loom(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["versions", *arguments])


def current(connection: Connection) -> list[tuple[object, ...]]:
    query = sql.SQL("SELECT stage_version, event FROM {} ORDER BY timestamp")
    return connection.execute(query.format(sql.Identifier(f"{TABLE}_current"))).fetchall()


def test_a_promotion_changes_what_is_shown_and_can_be_taken_back(
    connection: Connection,
) -> None:
    answer(connection, "1", 0)
    answer(connection, "2", 0, event="enter")
    assert current(connection) == [("1", "dwell")]
    assert "would be shown" in loom("promote", STAGE, "2").output
    assert current(connection) == [("1", "dwell")]
    assert "in place of 1" in loom("promote", STAGE, "2", "--yes").output
    assert current(connection) == [("2", "enter")]
    assert "promote" in loom("rollback", STAGE).output
    assert "version 1 is shown again" in loom("rollback", STAGE, "--yes").output
    assert current(connection) == [("1", "dwell")]
    refused = loom("rollback", STAGE, "--yes")
    assert refused.exit_code == 1
    assert "nothing was promoted before" in refused.output
    assert [(p.previous, p.version, p.action) for p in store.history(connection, STAGE)] == [
        (None, "1", "promote"),
        ("1", "2", "promote"),
        ("2", "1", "rollback"),
    ]


def test_two_rollbacks_go_back_two_promotions(connection: Connection) -> None:
    connection.execute("INSERT INTO stage_versions (stage, version) VALUES (%s, '3')", (STAGE,))
    for version in ("2", "3"):
        store.promote(connection, STAGE, version)
    assert store.rollback(connection, STAGE) == ("3", "2")
    assert store.rollback(connection, STAGE) == ("2", "1")
    store.promote(connection, STAGE, "3")
    assert store.rollback(connection, STAGE) == ("3", "1")


def test_days_that_would_be_empty_are_named_first(connection: Connection) -> None:
    answer(connection, "1", 0)
    answer(connection, "1", 86_400)
    answer(connection, "2", 0)
    refused = loom("promote", STAGE, "2", "--yes")
    assert refused.exit_code == 1
    assert f"loom recompute {STAGE} --from 2026-11-20 --to 2026-11-20" in refused.output
    assert store.promoted(connection, STAGE) == "1"
    assert loom("promote", STAGE, "2", "--anyway", "--yes").exit_code == 0
    assert store.promoted(connection, STAGE) == "2"


def test_a_version_that_never_ran_is_refused(connection: Connection) -> None:
    refused = loom("promote", STAGE, "9", "--yes")
    assert refused.exit_code == 1
    assert "those that ran are 1, 2" in refused.output


def test_promotions_at_once_leave_one_line_of_history(connection: Connection, database_url: str) -> None:
    def promote(version: str) -> None:
        with psycopg.connect(database_url, autocommit=True) as own:
            for _ in range(10):
                store.promote(own, STAGE, version)

    threads = [threading.Thread(target=promote, args=(version,)) for version in ("1", "2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = store.history(connection, STAGE)
    assert [line.previous for line in lines[1:]] == [line.version for line in lines[:-1]]
    assert store.promoted(connection, STAGE) == lines[-1].version


def test_the_list_tells_what_runs_and_what_is_shown(connection: Connection) -> None:
    answer(connection, "2", 0)
    answer(connection, "2", 1, superseded_at=NOON)
    listed = json.loads(loom("list", "--rows", "--json").output)
    assert [(v["version"], v["promoted"], v["in_code"], v.get("rows"), v.get("superseded")) for v in listed] == [
        ("1", True, True, 0, 0),
        ("2", False, False, 1, 1),
    ]
    assert "shown, in the code" in loom("list").output


def test_a_difference_counts_answers_and_names_columns(connection: Connection, database_url: str) -> None:
    for version in ("1", "2"):
        answer(connection, version, 0, distance_m=10.0 if version == "1" else 10.000000001)
        answer(connection, version, 60, event="dwell" if version == "1" else "enter")
        answer(connection, version, 86_400, region_name="Home")
    answer(connection, "1", 120)
    answer(connection, "2", 180)
    # An answer of two rows against one of one row.
    answer(connection, "1", 240)
    answer(connection, "2", 240)
    answer(connection, "2", 240, region_name="Park")
    # What was superseded is no answer any more.
    answer(connection, "2", 300, superseded_at=NOON)
    found = difference(database_url, GEOREGION_DETECTED, STAGE, "1", "2", DAYS)
    assert found.rows == (5, 6)
    assert (found.same, found.changed, found.only_first, found.only_second) == (2, 2, 1, 1)
    assert found.changed_columns == {"event": 1}
    assert [(name, one, two) for _, name, one, two in found.examples] == [("event", "dwell", "enter")]
    told = loom("diff", STAGE, "1", "2", "--from", "2026-11-19", "--to", "2026-11-20")
    assert "2 answers are the same, 2 differ, 1 only in 1, 1 only in 2" in told.output
    assert "event dwell -> enter" in told.output
    assert "only in 2, for example" in told.output
    both_days = ("diff", STAGE, "1", "2", "--from", "2026-11-19", "--to", "2026-11-20")
    (as_json,) = json.loads(loom(*both_days, "--json").output)
    assert (as_json["same"], as_json["changed"], as_json["first"]["only"], as_json["second"]["only"]) == (2, 2, 1, 1)
    assert [each["version"] for each in as_json["only_one_has"]] == ["1", "2"]
    nobody = loom(*both_days, "--device", "nobody")
    assert "0 answers are the same, 0 differ" in nobody.output


def test_a_difference_of_nothing(connection: Connection, database_url: str) -> None:
    empty = date(2020, 1, 1)
    assert difference(database_url, GEOREGION_DETECTED, STAGE, "1", "2", (empty, empty)).answers == 0
