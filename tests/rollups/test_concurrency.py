"""Writers, erasures, refreshes and a reader at the same time: every single statement sees roll-ups that are right."""

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from loom_platform.rollups import forget, refresh
from loom_platform.rollups.status import differences, pending
from tests.rollups.rows import GPS, START, Row, write

pytestmark = pytest.mark.integration
SECONDS = 2.5
NAME = GPS.table.name
# One statement sees one moment: the rows and the views of that moment must tell the same.
_AT_ONCE = f"""
SELECT (SELECT count(*) FROM {NAME}), (SELECT sum(altitude) FROM {NAME}),
       (SELECT coalesce(sum(samples), 0) FROM {NAME}_by_minute), (SELECT sum(altitude_sum) FROM {NAME}_by_minute),
       (SELECT coalesce(sum(samples), 0) FROM {NAME}_by_hour), (SELECT sum(altitude_sum) FROM {NAME}_by_hour)
"""
Connection = psycopg.Connection[Any]


def test_right_at_every_moment(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection, connection.transaction():
        # PostgreSQL looks for partitions while it plans: a day that is made just then is seen by half of a statement.
        write(connection, GPS, [Row("watch", START + timedelta(hours=h), {"altitude": 1.0}) for h in range(4)])
    stop = threading.Event()
    rounds = {"written": 0, "erased": 0, "refreshed": 0, "read": 0}

    def worker(name: str, seed: int, step: Callable[[Connection, random.Random], None]) -> None:
        rng = random.Random(seed)
        try:
            with psycopg.connect(database_url, autocommit=True) as connection:
                while not stop.is_set():
                    step(connection, rng)
                    rounds[name] += 1
        finally:
            stop.set()

    def moment(rng: random.Random) -> Any:
        return START + timedelta(seconds=rng.randrange(3 * 3600))

    def written(connection: Connection, rng: random.Random) -> None:
        device = rng.choice(("phone", "watch"))
        rows = [Row(device, moment(rng), {"altitude": float(rng.randrange(1000))}) for _ in range(rng.randrange(1, 30))]
        with connection.transaction():
            write(connection, GPS, rows)
            if rng.random() < 0.2:
                stop.wait(0.05)

    def erased(connection: Connection, rng: random.Random) -> None:
        first = moment(rng)
        last = first + timedelta(minutes=rng.randrange(40))
        with connection.transaction():
            connection.execute(
                f"DELETE FROM {NAME} WHERE device_id = 'phone' AND timestamp BETWEEN %s AND %s", (first, last)
            )
            forget(connection, NAME, "phone", first, last)
        stop.wait(0.02)

    def refreshed(connection: Connection, rng: random.Random) -> None:
        refresh(connection, [NAME])

    def read(connection: Connection, rng: random.Random) -> None:
        rows, total, *told = connection.execute(_AT_ONCE).fetchall()[0]
        assert told == [rows, total, rows, total]

    steps = [("written", written), ("written", written), ("erased", erased), ("refreshed", refreshed), ("read", read)]
    with ThreadPoolExecutor(len(steps)) as pool:
        running = [pool.submit(worker, name, seed, step) for seed, (name, step) in enumerate(steps)]
        stop.wait(SECONDS)
        stop.set()
    for one in running:
        one.result()
    assert all(rounds.values()), rounds
    with psycopg.connect(database_url, autocommit=True) as connection:
        assert list(differences(connection, GPS)) == []
        refresh(connection, [NAME])
        assert pending(connection) == {}
        assert list(differences(connection, GPS)) == []
