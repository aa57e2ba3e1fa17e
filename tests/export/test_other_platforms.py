"""What an import does that is more than rows: roll-ups, erasures, keys, promotions."""

from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import psycopg
import pytest

from loom_platform import rollups
from loom_platform.export.selection import Selection
from tests.export.conftest import Side
from tests.export.filling import FEW, FIRST, content

pytestmark = pytest.mark.integration


def test_roll_ups_come_back_with_and_without_their_rows(full: Side, fresh: Side, tmp_path: Path) -> None:
    """Those of imported rows are counted anew; those that had outlived their rows are taken over."""
    day = FIRST + timedelta(days=1)
    with psycopg.connect(full.url, autocommit=True) as connection:
        rollups.refresh(connection)
        rollups.freeze(connection, "device_sensor_gps_raw", day)
        connection.execute("DELETE FROM device_sensor_gps_raw WHERE timestamp < %s", (day,))
    done = full.export(tmp_path / "out")
    assert done.tables["device_sensor_gps_raw_by_minute_kept"].rows == 8
    loaded = fresh.load(tmp_path / "out")
    assert loaded.new["device_sensor_gps_raw_by_minute_kept"] == 8
    with psycopg.connect(fresh.url, autocommit=True) as connection:
        for _ in range(2):
            for unit in ("minute", "hour"):
                for name in ("device_sensor_gps_raw", "device_sensor_humidity_raw"):
                    query = f"SELECT * FROM {name}_by_{unit} ORDER BY bucket, device_id"
                    before, after = full.connection.execute(query), connection.execute(query)
                    assert after.fetchall() == before.fetchall()
            rollups.refresh(connection)
        assert connection.execute(
            "SELECT count(*) FROM device_sensor_gps_raw_by_hour WHERE bucket < %s", (day,)
        ).fetchone() != (0,)
    again = fresh.load(tmp_path / "out")
    assert sum(again.new.values()) == 0


def test_what_was_erased_here_stays_erased(full: Side, fresh: Side, tmp_path: Path) -> None:
    full.export(tmp_path / "out")
    fresh.connection.execute(
        "INSERT INTO erasures (devices, since, until, asked_by, asked_at) VALUES "
        "('{phone-001}', NULL, '2026-11-20Z', 'me', now() + interval '10 years')"
    )
    done = fresh.load(tmp_path / "out")
    for table in FEW:
        query = f"SELECT count(*) FROM {table.name} WHERE device_id = 'phone-001' AND timestamp < '2026-11-20Z'"
        gone, left = full.connection.execute(query).fetchone(), fresh.connection.execute(query).fetchone()
        assert (gone, left) == ((4,), (0,)) or table.name == "device_sensor_gps_raw"
    assert done.erased >= 4 * (len(FEW) - 1)
    assert fresh.load(tmp_path / "out").erased == done.erased


def test_a_day_that_retention_took_is_not_computed_again(full: Side, fresh: Side, tmp_path: Path) -> None:
    """Its answers would be taken back; where there are rows of it, it can be."""
    full.connection.execute("INSERT INTO retention_drops VALUES ('device_audio_raw', '2026-10-02', 7, 100)")
    put = (
        "SELECT loom_ensure_partitions('device_audio_raw', '2026-10-02', '2026-10-02');"
        "INSERT INTO device_audio_raw SELECT '2026-10-02 12:00Z', gen_random_uuid(), 'phone-001', '1', NULL, "
        "NULL, 'none', '', 0, 1, 1, '', 1, NULL, 0, 0, now()"
    )
    fresh.connection.execute(put.encode())
    full.export(tmp_path / "out")
    fresh.load(tmp_path / "out")
    days = fresh.connection.execute("SELECT table_name, day::text FROM retention_drops").fetchall()
    assert days == [("device_sensor_gps_raw", "2026-10-01")]


def test_the_ledger_of_an_export_is_for_an_empty_platform(full: Side, fresh: Side, tmp_path: Path) -> None:
    full.export(tmp_path / "out")
    full.connection.execute("INSERT INTO erasures (devices, asked_by, asked_at) VALUES ('{laptop_2}', 'me', now())")
    full.export(tmp_path / "later")
    fresh.load(tmp_path / "out")
    before = content(fresh.connection)
    assert before["erasures"][0] == 1
    fresh.load(tmp_path / "later")
    assert content(fresh.connection) == before
    full.connection.execute("DELETE FROM erasures WHERE '{laptop_2}' = devices")


def test_a_body_older_than_the_keys_is_encrypted_by_an_import(full: Side, fresh: Side, tmp_path: Path) -> None:
    body = b"from the days before keys"
    old = f"audio/{sha256(body).hexdigest()[:2]}/{sha256(body).hexdigest()}.wav"
    full.store.objects.write(old, body)
    full.connection.execute(
        "UPDATE device_audio_raw SET audio_ref = %s, audio_sha256 = %s WHERE device_id = 'laptop_2'",
        (old, sha256(body).hexdigest()),
    )
    full.export(tmp_path / "out", Selection(topics=("device.audio.raw",)))
    fresh.load(tmp_path / "out")
    refs = fresh.connection.execute(
        "SELECT DISTINCT audio_ref FROM device_audio_raw WHERE device_id = 'laptop_2'"
    ).fetchall()
    assert refs == [(old.replace("audio/", "audio/laptop_2/"),)]
    assert fresh.store.get(refs[0][0]) == body
    assert body not in b"".join(p.read_bytes() for p in fresh.blobs.rglob("*") if p.is_file())
    before = content(fresh.connection)
    assert sum(fresh.load(tmp_path / "out").new.values()) == 0
    assert content(fresh.connection) == before


def test_a_version_that_nobody_chose_here_gives_way(full: Side, fresh: Side, tmp_path: Path) -> None:
    """A platform that was only started shows the version of its own code."""
    fresh.connection.execute(
        "INSERT INTO stage_versions VALUES ('georegion-detector', '9'), ('vad', '1'), ('vad', '9'), ('other', '1');"
        "INSERT INTO stage_promotions VALUES ('georegion-detector', '9'), ('vad', '9'), ('other', '1');"
        "INSERT INTO stage_promotion_log (stage, version, previous, action) VALUES "
        "('georegion-detector', '9', NULL, 'first'), ('vad', '1', NULL, 'first'), ('vad', '9', '1', 'promote'), "
        "('other', '1', NULL, 'first')"
    )
    full.export(tmp_path / "out", Selection(topics=("device.sensor.gps.raw",)))
    for _ in range(2):
        fresh.load(tmp_path / "out")
        shown = dict(fresh.connection.execute("SELECT stage, version FROM stage_promotions").fetchall())
        assert shown == {"georegion-detector": "2", "vad": "9", "other": "1"}
        log = fresh.connection.execute(
            "SELECT stage, version, action FROM stage_promotion_log ORDER BY stage, id"
        ).fetchall()
        assert log == [
            ("georegion-detector", "1", "first"),
            ("georegion-detector", "2", "promote"),
            ("other", "1", "first"),
            ("vad", "1", "first"),
            ("vad", "9", "promote"),
        ]
