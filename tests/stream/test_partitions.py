"""Day partitions are made by whoever comes first, also when many come at once."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

import pytest

from loom_platform.stream.database import connect
from tests.stream.bench import Bench

pytestmark = pytest.mark.integration


def test_many_sessions_make_the_same_partitions_at_once(bench: Bench) -> None:
    first = date(2031, 1, 1)
    made = "SELECT loom_ensure_partitions('test_number_raw', %s, %s)"

    def make(_: int) -> int:
        with connect(bench.config.database_url, "partitions") as connection:
            total = 0
            for day in (first + timedelta(days=n) for n in range(12)):
                (count,) = connection.execute(made, (day, day)).fetchone() or (0,)
                total += count
            return total

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(make, range(6))) == 12
