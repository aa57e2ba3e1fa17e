"""Every table is decided upon; and an erasure is what a plain filter over the rows would be."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loom_contracts.topics.device import HEARTRATE_RAW
from loom_platform.blobs import open_blobs
from loom_platform.erasure import ledger, others, reapply, rows, spool
from loom_platform.erasure.catalogue import LEFT, TREATED
from loom_platform.erasure.scope import Scope
from loom_platform.rollups import refresh
from tests.erasure.home import MINE, Home

pytestmark = pytest.mark.integration

MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
DEVICES = ("dev-a", "dev-b", "dev-c")
_INSERT = """
INSERT INTO device_health_heartrate_raw (timestamp, message_id, device_id, schema_version, bpm, kafka_partition,
                                         kafka_offset, received_at)
VALUES (%s, %s, %s, '1.0', 60, 0, 0, %s)
"""


def test_every_table_is_decided_upon(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        found = connection.execute(
            "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace "
            "AND c.relkind IN ('r', 'p') AND NOT c.relispartition "
            "AND c.relname !~ 'yoyo' AND c.relname !~ '_by_(minute|hour)_kept$'"
        ).fetchall()
    names = {name for (name,) in found}
    assert names - TREATED - LEFT.keys() == set()
    assert (TREATED | LEFT.keys()) - names == set()
    assert TREATED & LEFT.keys() == set()


hours = st.integers(-30, 30)
scopes = st.builds(
    lambda devices, since, length: Scope(
        tuple(devices),
        None if since is None else MIDNIGHT + timedelta(hours=since),
        None if length is None else MIDNIGHT + timedelta(hours=(since if since is not None else -10) + length),
    ),
    st.lists(st.sampled_from(DEVICES), unique=True, max_size=2),
    st.none() | hours,
    st.none() | st.integers(1, 30),
).filter(lambda s: bool(s.devices) or s.since is not None or s.until is not None)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    records=st.lists(st.tuples(st.sampled_from(DEVICES), hours, st.booleans()), max_size=30),
    asked=st.lists(scopes, min_size=1, max_size=3),
)
def test_what_is_left_is_what_a_filter_would_leave(
    database_url: str, records: list[tuple[str, int, bool]], asked: list[Scope]
) -> None:
    """Rows on both sides of midnight; those accepted after the erasure stay. The ledger, applied again, is the same."""
    late = datetime.now(UTC) + timedelta(hours=1)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("TRUNCATE device_health_heartrate_raw, erasures, erasure_work")
        connection.execute("SELECT loom_ensure_partitions('device_health_heartrate_raw', '2026-02-28', '2026-03-04')")
        every = []
        for device, hour, after in records:
            row = (MIDNIGHT + timedelta(hours=hour), uuid4(), device, late if after else MIDNIGHT)
            connection.execute(_INSERT, row)
            every.append(row)

        def left() -> set[Any]:
            return {
                row[0] for row in connection.execute("SELECT message_id FROM device_health_heartrate_raw").fetchall()
            }

        expected = {row[1] for row in every}
        for scope in asked:
            erasure = ledger.begin(connection, scope, "test", others.erase_at_once)
            spool.know_retries(connection, None)
            gone = rows.erase_landed(connection, erasure, HEARTRATE_RAW, lambda _w, _n: None, lambda _: None)
            mine = {row[1] for row in every if row[3] == MIDNIGHT and erasure.span.holds(row[2], row[0])}
            assert gone == len(expected & mine)
            expected -= mine
            assert left() == expected
            assert rows.remaining(connection, erasure)[HEARTRATE_RAW.table.name] == 0
            rows.clear(connection, erasure, ())
            ledger.finish(connection, erasure, {})
        for row in every:
            connection.execute(f"{_INSERT} ON CONFLICT DO NOTHING", row)
        reapply(connection)
        assert left() == expected
        connection.execute("TRUNCATE rollup_marks")


def test_what_a_backup_brings_back_goes_again(home: Home) -> None:
    """All rows of all tables as they were before, beside a ledger that is newer; the blobs too."""
    name = home.settings.database_url.partition("?")[0].rpartition("/")[2]
    before = {path: path.read_bytes() for path in home.bodies(MINE)}
    with psycopg.connect(home.settings.database_url, autocommit=True) as connection:
        tables = [t for t in TREATED if connection.execute(f"SELECT FROM {t} LIMIT 1").fetchone() is not None]
        for table in tables:
            connection.execute(f"CREATE TABLE old_{table} AS TABLE {table}")
    home.erase(Scope((MINE,), forget=True))
    with psycopg.connect(home.settings.database_url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        for table in tables:
            connection.execute(f"DELETE FROM {table}")
            connection.execute(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM old_{table}")
            connection.execute(f"DROP TABLE old_{table}")
        connection.execute("SET session_replication_role = origin")
        for path, body in before.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
        blobs = open_blobs(home.settings)
        assert reapply(connection, blobs=blobs) > 20
        blobs.close()
        refresh(connection)
        assert connection.execute("SELECT FROM erasure_work").fetchall() == []
    assert home.of(MINE).keys() <= {"device_keys"}, name
    assert home.rows("SELECT count(*) FROM device_keys WHERE device_id = %s AND key IS NOT NULL", MINE) == [(0,)]
    assert home.bodies(MINE) == []
