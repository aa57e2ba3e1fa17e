"""An erasure that was killed anywhere is finished by the same command; and one beside a live stream."""

import json
import threading
import time

import psycopg
import pytest
from psycopg import sql

from loom_contracts.message import Message
from loom_contracts.topics.device import GPS_RAW
from loom_ingest.access.audit import Row, hash_of
from loom_models.flows import LANDING_STAGES
from loom_models.stages.georegion import GEOREGION_DETECTOR
from loom_platform.erasure import ledger, run
from loom_platform.erasure.errors import ErasureError
from loom_platform.erasure.scope import Scope
from loom_platform.stream.api import run_stream
from tests.erasure.home import MINE, OTHER, TABLES, Home, at, message

pytestmark = [pytest.mark.integration, pytest.mark.fault]

POINTS = (("begun", 0), ("landed", 1), ("cleared", 0), ("derived", 0), ("bodies", 0), ("proved", 0))


def test_killed_at_every_point_it_is_finished_by_the_same_command(home: Home) -> None:
    before = home.of(OTHER)
    whole = home.rows("SELECT count(*) FROM device_sensor_gps_raw WHERE device_id = %s", MINE)
    assert whole == [(5,)]
    for point, passes in POINTS:
        assert home.spawn({"devices": [MINE]}, point, passes) == -9, point
    done = home.erase(Scope((MINE,)))
    assert home.rows("SELECT id, finished_at IS NOT NULL FROM erasures") == [(done.erasure.id, True)]
    assert home.rows("SELECT count(*) FROM erasure_work WHERE kind <> 'day'") == [(0,)]
    for table in TABLES:
        query = sql.SQL("SELECT FROM {} WHERE device_id = {}").format(sql.Identifier(table), sql.Literal(MINE))
        assert home.rows(query.as_string()) == [], table
    assert home.bodies(MINE) == []
    assert done.erasure.counts["device_sensor_gps_raw"] == 5
    assert done.erasure.counts["bodies"] == 2
    assert home.of(OTHER) == before


def test_lineage_is_not_lost_by_a_kill_in_the_middle(home: Home) -> None:
    scope = {"devices": [MINE], "since": at(30).isoformat(), "until": at(90).isoformat()}
    assert home.spawn(scope, "cleared") == -9
    home.erase(Scope((MINE,), at(30), at(90)))
    query = "SELECT timestamp FROM location_georegion_detected WHERE device_id = %s ORDER BY 1"
    assert home.rows(query, MINE) == [(at(0),), (at(180),), (at(240),)]


def test_the_chain_keeps_that_it_happened_and_not_what(home: Home) -> None:
    done = home.erase(Scope((MINE,)))
    rows = home.rows(
        "SELECT sequence, occurred_at, actor, action, subject, outcome, details, previous, hash FROM audit_log "
        "ORDER BY 1"
    )
    found = [Row(*(*row[:7], bytes(row[7]), bytes(row[8]))) for row in rows]
    assert [(r.action, r.subject) for r in found] == [
        ("erasure.begin", str(done.erasure.id)),
        ("erasure.finish", str(done.erasure.id)),
    ]
    assert all(hash_of(r) == r.hash for r in found)
    assert found[1].previous == found[0].hash
    assert MINE not in json.dumps([str(r) for r in found])


def test_two_at_once_are_not_begun(home: Home) -> None:
    with run.connect(home.settings.database_url), pytest.raises(ErasureError, match="another erasure"):
        run.connect(home.settings.database_url)


def test_beside_a_live_stream_nothing_of_others_is_lost_and_nothing_comes_back(own_home: Home) -> None:
    """Both devices send on while one is erased: of that one exactly what it sent afterwards is there."""
    home, stop, sent = own_home, threading.Event(), list[Message]()
    stages = [*(s for s in LANDING_STAGES if s.source is GPS_RAW), GEOREGION_DETECTOR]
    failed: list[BaseException] = []

    def send() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            pair = [message(GPS_RAW, device, 1_000 + number) for device in (MINE, OTHER)]
            home.send(GPS_RAW, *pair)
            sent.extend(pair)
            time.sleep(0.01)

    def stream() -> None:
        try:
            run_stream(stages, home.config, on_report=lambda _: None, stop=stop, landing_stages=LANDING_STAGES)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for work in (send, stream)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    done = home.erase(Scope((MINE,)))
    time.sleep(0.5)
    stop.set()
    for thread in threads:
        thread.join(30)
    assert failed == []
    home.drain(stages)
    with psycopg.connect(home.settings.database_url, autocommit=True) as connection:
        asked = ledger.again(connection, done.erasure).asked_at
        landed = connection.execute("SELECT device_id, message_id, received_at FROM device_sensor_gps_raw").fetchall()
        derived = connection.execute(
            "SELECT source_message_id, previous_message_id FROM location_georegion_detected_current "
            "WHERE device_id = %s",
            (MINE,),
        ).fetchall()
    mine = {m for d, m, _ in landed if d == MINE}
    assert {m.message_id for m in sent if m.device_id == OTHER} <= {m for d, m, _ in landed if d == OTHER}
    assert mine
    assert all(at > asked for d, _, at in landed if d == MINE)
    last = [m.message_id for m in sent if m.device_id == MINE][-len(mine) :]
    assert set(last) == mine
    assert {m for row in derived for m in row if m is not None} <= mine
    # what was computed while it was erased is computed again
    with run.connect(home.settings.database_url) as connection:
        run.compute_again(connection, done.erasure, home.place(), threading.Event())
    query = "SELECT DISTINCT source_message_id FROM location_georegion_detected_current WHERE device_id = %s"
    assert {row[0] for row in home.rows(query, MINE)} == mine
