"""`loom day` and `loom zones`, on a real database."""

import json
from collections.abc import Iterator

import psycopg
import pytest
from typer.testing import CliRunner, Result

from loom_platform.cli.main import app
from loom_platform.days.compute import compute_day
from loom_platform.days.show import today
from tests.days.test_compute import DAY, Connection, at, fill

pytestmark = pytest.mark.integration


class Loom:
    """The command line on a database with a day in it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        fill(connection)

    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def loom(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loom]:
    monkeypatch.setenv("LOOM_DATABASE_URL", database_url)
    monkeypatch.setenv("COLUMNS", "120")
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield Loom(connection)


def test_a_day_is_told_from_the_rows_as_they_are(loom: Loom) -> None:
    told = loom("day", "2026-11-20")
    assert told.exit_code == 0, told.output
    head, *lines, numbers = told.output.rstrip().splitlines()
    assert head == "Friday 20 November 2026 (24 h, Europe/Zurich by position)"
    assert [line.split()[-1] for line in lines[:1]] == ["Home"]
    assert lines[0].split()[:2] == ["00:00", "13:00"]
    assert "slept 8:00 h" in numbers
    document = json.loads(loom("day", "2026-11-20", "--json").output)
    assert document["day_timeline"][0]["title"] == "Home"
    assert document["person_days"][0]["hours"] == 24.0
    assert loom.connection.execute("SELECT count(*) FROM day_timeline").fetchone() == (0,)
    assert "nothing is known" in loom("day", "2020-01-01").output
    assert loom("day", "soon").exit_code == 2


def test_what_the_person_says_of_a_day_tells_it_anew(loom: Loom) -> None:
    compute_day(loom.connection, DAY, "run-1", "UTC")
    assert loom("zones", "show", "2026-11-20").output.startswith(
        "2026-11-20: Europe/Zurich by position; 2026-11-19T23:00Z"
    )
    said = loom("zones", "set", "Asia/Tokyo", "--from", "2026-11-20", "--to", "2026-11-21")
    assert said.output == "from 2026-11-20 to 2026-11-21: Asia/Tokyo; 1 day told anew\n"
    assert loom.connection.execute("SELECT starts_at, source FROM person_days").fetchall() == [(at(15, 19), "hand")]
    assert json.loads(loom("zones", "list", "--json").output) == [
        {"first_day": "2026-11-20", "last_day": "2026-11-21", "time_zone": "Asia/Tokyo"}
    ]
    assert loom("zones", "unset", "--from", "2026-11-01").exit_code == 0
    assert "nothing is set" in loom("zones", "list").output
    wrong = loom("zones", "set", "Mars/Olympus", "--from", "2026-11-20")
    assert wrong.exit_code == 1
    assert today(loom.connection, at(23.5), "UTC").day == 21
