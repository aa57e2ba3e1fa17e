"""Who is asked when, what is kept of it, and how a person sees and forgets it: against the real database, as the
stream role would."""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import uuid4

import dagster as dg
import polars as pl
import psycopg
import pytest
from typer.testing import CliRunner

from loom_models.services.base import Address, AwayError, Found, UnbelievableError
from loom_models.services.choice import Choice, Kind
from loom_models.wakes import woken
from loom_platform.cli.main import app
from loom_platform.erasure.others import OTHERS
from loom_platform.errors import SettingsError
from loom_platform.lookups import queue, work
from loom_platform.orchestration.lookups import lookups_asset, lookups_sensor
from loom_platform.orchestration.platform import Platform
from loom_platform.settings import load_settings
from tests.lookups.fake import nominatim, ok, serve

pytestmark = pytest.mark.integration
NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
NOBODY = (Choice("address", "offline"), Choice("business", "none"))
SOMEBODY = (Choice("address", "nominatim", "http://127.0.0.1:1"), Choice("business", "none"))
_ROW = """
INSERT INTO location_address_geocoded (timestamp, message_id, device_id, schema_version, source_message_id, stage,
    stage_version, latitude, longitude, state, cell, provider, superseded_at)
VALUES (%s, %s, %s, '1.0', %s, 'geocoder', %s, 1, 2, %s, %s, %s, %s)
"""
_KEPT = "SELECT cell, state, attempts, retry_at IS NOT NULL FROM lookups ORDER BY cell"
Connection = psycopg.Connection[Any]


class Service:
    """A service whose answers are given by hand."""

    name = "nominatim"
    kind: Kind = "address"
    at_once, interval, fresh = 2, timedelta(0), timedelta(days=30)

    def ask(self, cells: Sequence[str]) -> Mapping[str, Found | UnbelievableError | None]:
        raise AwayError("not asked in these tests")

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def pending(
    connection: Connection,
    cell: str,
    minutes: float = 0,
    *,
    version: str = "1",
    state: str = "pending",
    provider: str = "nominatim",
    gone: bool = False,
) -> None:
    at = NOON + timedelta(minutes=minutes)
    connection.execute("SELECT loom_ensure_partitions('location_address_geocoded', %s, %s)", (at.date(), at.date()))
    superseded = at if gone else None
    connection.execute(_ROW, (at, uuid4(), "phone-001", uuid4(), version, state, cell, provider, superseded))


def wakes(connection: Connection) -> list[datetime]:
    """The minutes that the geocoder is woken for; forgets them."""
    rows = connection.execute("DELETE FROM stream_timers RETURNING stage, device_id, key").fetchall()
    assert {(stage, device) for stage, device, _ in rows} <= {("geocoder", "phone-001")}
    due = pl.DataFrame([row[1:] for row in rows], schema=["device_id", "key"], orient="row")
    return [] if due.is_empty() else sorted(woken(due)["first"].to_list())


def test_the_pending_rows_are_the_queue(connection: Connection) -> None:
    queue.choose(connection, SOMEBODY)
    pending(connection, "u33dc1r1", 1)
    pending(connection, "u33dc1r1", 1.5)
    pending(connection, "u33dc1r2", 5)
    pending(connection, "u33dc1r3", 9, version="0")
    pending(connection, "u33dc1r4", 9, gone=True)
    pending(connection, "u33dc1r5", 9, state="found")
    assert queue.next_cells(connection, "address", "nominatim", 9) == ["u33dc1r2", "u33dc1r1"]
    assert queue.waiting(connection, "address") == (3, 2)

    service = Service()
    told = queue.store(connection, service, {"u33dc1r1": Address(city="Berlin"), "u33dc1r9": None})
    assert told == {"found": 1, "none": 1, "failed": 0}
    # what was erased while the service was asked is not kept
    assert connection.execute(_KEPT).fetchall() == [("u33dc1r1", "found", 0, False)]
    assert wakes(connection) == [NOON + timedelta(minutes=1)]
    assert queue.next_cells(connection, "address", "nominatim", 9) == ["u33dc1r2"]

    queue.store(connection, service, {"u33dc1r2": UnbelievableError("far away")})
    assert connection.execute(_KEPT).fetchall()[1] == ("u33dc1r2", "failed", 1, True)
    assert queue.next_cells(connection, "address", "nominatim", 9) == []
    connection.execute("UPDATE lookups SET retry_at = now() WHERE cell = 'u33dc1r2'")
    assert queue.next_cells(connection, "address", "nominatim", 9) == ["u33dc1r2"]
    queue.store(connection, service, {"u33dc1r2": UnbelievableError("far away"), "u33dc1r1": UnbelievableError("x")})
    assert connection.execute(_KEPT).fetchall() == [("u33dc1r1", "found", 1, True), ("u33dc1r2", "failed", 2, True)]

    # an answer that has expired is asked for again where a row waits for it
    connection.execute("UPDATE lookups SET expires_at = now(), retry_at = NULL WHERE cell = 'u33dc1r1'")
    assert queue.next_cells(connection, "address", "nominatim", 9) == ["u33dc1r1"]
    wakes(connection)
    queue.choose(connection, NOBODY)
    assert not work.is_needed(connection, NOBODY)
    assert wakes(connection) == [NOON + timedelta(minutes=m) for m in (1, 5)]

    # what no row tells of is not kept after an erasure
    (lookups,) = [other for other in OTHERS if other.table == "lookups"]
    connection.execute("DELETE FROM location_address_geocoded WHERE cell = 'u33dc1r1'")
    values = {"asked_at": datetime.now(UTC) + timedelta(minutes=1)}
    connection.execute(f"DELETE FROM lookups WHERE {lookups.condition}".encode(), values)
    assert [row[0] for row in connection.execute(_KEPT)] == ["u33dc1r2"]


def test_a_service_that_is_away_is_left_alone(connection: Connection) -> None:
    queue.choose(connection, SOMEBODY)
    service = Service()
    waits = []
    for told in (None, None, timedelta(minutes=20), *[None] * 6):
        queue.pause(connection, service, "no answer", told)
        state = queue.state_of(connection, "address")
        assert state.paused_until is not None
        waits.append(round((state.paused_until - datetime.now(UTC)).total_seconds() / 30))
    assert waits == [1, 2, 40, 8, 16, 32, 64, 120, 120]
    assert (state.failures, state.error, state.paused) == (9, "no answer", True)
    pending(connection, "u33dc1r1")
    assert not work.is_needed(connection, SOMEBODY)
    assert work.ask(connection, SOMEBODY, stop=threading.Event(), idle=timedelta(0)).requests == 0
    queue.store(connection, service, {})
    assert queue.state_of(connection, "address").failures == 0
    assert work.is_needed(connection, SOMEBODY)
    asked = work.ask(connection, SOMEBODY, stop=threading.Event(), idle=timedelta(0))
    assert asked.away == {"nominatim": "no answer: ConnectError"}
    assert queue.kept(connection) == 0


def test_one_asks_at_a_time_and_keeps_its_distance(connection: Connection, database_url: str) -> None:
    for number in range(3):
        pending(connection, f"u33dc1r{number}")
    with psycopg.connect(database_url, autocommit=True) as other:
        assert queue.take(other)
        assert work.ask(connection, SOMEBODY, stop=threading.Event(), idle=timedelta(0)).taken
    with serve(lambda seen: ok(nominatim(float(seen.query["lat"]), float(seen.query["lon"])))) as fake:
        apart = timedelta(seconds=0.15)
        choices = (Choice("address", "nominatim", fake.url, apart=apart), NOBODY[1])
        asked = work.ask(connection, choices, stop=threading.Event(), idle=timedelta(0))
        assert (asked.requests, asked.cells["found"], len(fake.seen)) == (3, 3, 3)
        times = [seen.at for seen in fake.seen]
        assert all(later - sooner >= 0.14 for sooner, later in pairwise(times))
    stopped = threading.Event()
    stopped.set()
    pending(connection, "u33dc1r9")
    assert work.ask(connection, choices, stop=stopped).requests == 0


def test_dagster_asks_when_something_waits(connection: Connection, database_url: str) -> None:
    with serve(lambda seen: ok(nominatim(float(seen.query["lat"]), float(seen.query["lon"])))) as fake:
        settings = load_settings(
            database_url=database_url, geocoder="nominatim", geocoder_url=fake.url, lookup_interval_seconds=0
        )
        platform = Platform(lambda: settings)
        sensor = lookups_sensor()

        def look() -> list[dg.RunRequest]:
            with dg.build_sensor_context(resources={"platform": platform}) as context:
                return list(sensor.evaluate_tick(context).run_requests or [])

        assert look() == []
        assert queue.state_of(connection, "address").provider == "nominatim"
        pending(connection, "u33dc1r4")
        assert len(look()) == 1
        short = dg.materialize([lookups_asset(timedelta(0))], resources={"platform": platform}, raise_on_error=True)
        (event,) = short.asset_materializations_for_node("lookups")
        assert event.metadata["requests"].value == 1
        assert event.metadata["cells"].value == {"found": 1, "none": 0, "failed": 0}


def test_a_person_sees_who_is_asked_and_can_forget_the_answers(
    connection: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOM_DATABASE_URL", database_url)
    run = CliRunner()
    told = run.invoke(app, ["places", "services"]).output
    assert "addresses: offline, which asks nobody" in told
    assert "businesses: none, which asks nobody" in told

    monkeypatch.setenv("LOOM_GEOCODER", "nominatim")
    with pytest.raises(SettingsError, match=r"LOOM_LOOKUP_CONTACT.*nominatim\.openstreetmap\.org wants to know"):
        load_settings()
    monkeypatch.setenv("LOOM_LOOKUP_CONTACT", "ada@example.org")
    service = Service()
    queue.choose(connection, (Choice("address", "nominatim"),))
    pending(connection, "u33dc1r1")
    pending(connection, "u33dc1r2")
    queue.store(connection, service, {"u33dc1r1": None})
    queue.pause(connection, service, "HTTP 500", None)
    document = json.loads(run.invoke(app, ["places", "services", "--json"]).output)
    address = document["services"][0]
    assert (address["host"], address["pending_rows"], address["error"]) == (
        "nominatim.openstreetmap.org",
        2,
        "HTTP 500",
    )
    assert "ada@example.org" in address["told"]
    assert document["answers"] == 1
    assert "left alone until" in run.invoke(app, ["places", "services"]).output

    assert run.invoke(app, ["places", "forget"], input="n\n").exit_code == 1
    assert queue.kept(connection) == 1
    assert "removed 1 answers" in run.invoke(app, ["places", "forget", "--yes"]).output
    assert queue.kept(connection) == 0

    monkeypatch.setenv("LOOM_BUSINESS_FINDER", "foursquare")
    with pytest.raises(SettingsError, match="LOOM_BUSINESS_FINDER_KEY"):
        load_settings()
    monkeypatch.setenv("LOOM_BUSINESS_FINDER_KEY", "secret-key")
    assert "secret-key" not in repr(load_settings())
    monkeypatch.setenv("LOOM_GEOCODER_URL", "ftp://x")
    with pytest.raises(SettingsError, match="must look like https"):
        load_settings()


def test_places_by_ones_own_names(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOM_DATABASE_URL", database_url)
    run = CliRunner()

    def places(*words: str) -> str:
        return run.invoke(app, ["places", *words]).output

    assert "no place is named" in places("list")
    at = ("--latitude=47.377", "--longitude=8.5417")
    assert places("add", "Café", *at, "--category=cafe") == "saved Café (40 m around 47.37700, 8.54170)\n"
    assert "already" in places("add", "café", *at)
    assert "latitude 95.0: must be from -90 to 90" in places("add", "Pole", "--latitude=95", "--longitude=0")
    assert "radius_m nan" in places("add", "Pole", *at, "--radius=nan")
    assert places("edit", "CAFÉ", "--name=Bar", "--radius=60") == "changed Bar (60 m around 47.37700, 8.54170)\n"
    (place,) = json.loads(places("list", "--json"))
    assert (place["name"], place["category"], place["radius_m"]) == ("Bar", "cafe", 60.0)
    assert "no place is called 'Café'" in places("remove", "Café", "--yes")
    assert places("remove", "Bar", "--yes") == "removed Bar\n"
    assert json.loads(places("list", "--json")) == []
    assert places("add", "Bar", *at).startswith("saved")
