"""A platform is backed up in the middle of its work, destroyed and restored: it goes on, nothing is lost or twice."""

from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from loom_contracts.topics.device import AUDIO_RAW, GPS_RAW
from loom_platform.backup.offsets import Fate
from loom_platform.backup.restore import HasDataError
from loom_platform.backup.verify import verify
from loom_platform.blobs import KeyDestroyedError, destroy_key, open_blobs
from tests.backup.home import LAND_GPS, OF_GPS, USED, Home, live

pytestmark = pytest.mark.integration


def forget(home: Home) -> None:
    """The database is lost, with all that is in it."""
    with psycopg.connect(home.settings.database_url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")


def test_all_is_lost(home: Home, tmp_path: Path) -> None:
    live(home)
    manifest = home.backup(tmp_path / "backup")
    assert manifest.tables["device_sensor_gps_raw"] == 90
    # the stage that listens to audio has never run, so all of it is unprocessed
    assert manifest.unprocessed == 30 + 30 + 5 + 10
    assert manifest.spooled == 8
    assert manifest.blobs.count == 6
    assert manifest.keys == 2
    assert verify(tmp_path / "backup").faults == []

    forget(home)
    home.delete_topics()
    home.destroy_bodies()
    restored = home.restore(tmp_path / "backup")

    fates = restored.kafka.topics
    assert set(fates.values()) == {Fate.FRESH}
    assert (restored.kafka.records, restored.kafka.spooled, restored.bodies) == (75, 8, 6)
    assert home.rows("SELECT count(*) FROM device_sensor_gps_raw") == [(90,)]
    # what was processed is not processed again: of the kept ones, those that the derived stage is behind with
    assert home.rows("SELECT sum(next_offset)::int FROM stream_offsets WHERE stage = %s", LAND_GPS.name) == [(30,)]
    home.send(GPS_RAW, home.fixes(10))
    home.poison(0)
    home.run(*USED)
    home.check()
    # both letters are there, though the new one lies where the old one lay
    letters = home.rows("SELECT stage, count(*) FROM processing_errors GROUP BY stage ORDER BY 1")
    assert letters == sorted((stage.name, 2) for stage in OF_GPS)


def test_the_database_alone_is_lost_and_kafka_knows_what_came_since(home: Home, tmp_path: Path) -> None:
    live(home)
    home.backup(tmp_path / "backup")
    home.send(GPS_RAW, home.fixes(20))
    home.send(AUDIO_RAW, home.chunks(3))
    home.run(*USED)
    home.spool(GPS_RAW, home.fixes(3))
    forget(home)

    restored = home.restore(tmp_path / "backup")

    assert set(restored.kafka.topics.values()) == {Fate.SAME}
    assert restored.kafka.records == 0
    drained = home.sent["device_sensor_gps_raw"][-3:]
    home.sent["device_sensor_gps_raw"] = home.sent["device_sensor_gps_raw"][:-3]
    home.run(*USED)
    home.check()
    assert (home.settings.spool / "0").exists(), "what the spool has stays there"
    assert len(drained) == 3


def test_a_platform_that_has_lived_on_gets_what_it_had_before_and_keeps_what_it_accepted(
    home: Home, tmp_path: Path
) -> None:
    live(home)
    home.backup(tmp_path / "backup")
    forget(home)
    home.delete_topics()
    home.create()
    home.send(GPS_RAW, home.fixes(25))  # a new life began before the backup was found
    restored = home.restore(tmp_path / "backup")
    fates = restored.kafka.topics
    assert fates[f"{home.settings.kafka_topic_prefix}.{GPS_RAW.name}"] is Fate.OTHER
    assert fates[f"{home.settings.kafka_topic_prefix}.{AUDIO_RAW.name}"] is Fate.FRESH
    home.run(*USED)
    home.check()


def test_data_is_replaced_only_when_that_is_said_and_what_was_erased_stays_erased(home: Home, tmp_path: Path) -> None:
    live(home)
    home.backup(tmp_path / "backup", keys=tmp_path / "keys.json")
    ((ref,),) = home.rows("SELECT audio_ref FROM device_audio_raw WHERE device_id = 'phone-001' LIMIT 1")
    with psycopg.connect(home.settings.database_url, autocommit=True) as connection:
        destroy_key(connection, "phone-001")
    erased = uuid4()
    home.execute(
        "INSERT INTO erasures (id, devices, asked_by, asked_at, cleared_at, finished_at) "
        "VALUES (%s, '{phone-001}', 'test', now(), now(), now())",
        erased,
    )
    before = home.rows("SELECT message_id FROM device_sensor_gps_raw ORDER BY 1")
    with pytest.raises(HasDataError, match=r"device_sensor_gps_raw.*--yes"):
        home.restore(tmp_path / "backup", keys=tmp_path / "keys.json")
    assert home.rows("SELECT message_id FROM device_sensor_gps_raw ORDER BY 1") == before

    restored = home.restore(tmp_path / "backup", keys=tmp_path / "keys.json", replace=True)

    assert restored.erasures == 1
    assert restored.erased_rows > 0
    home.run(*USED)
    # neither the rows of the backup nor what Kafka has of that phone
    assert home.rows("SELECT DISTINCT device_id FROM device_sensor_gps_raw") == [("phone-000",)]
    others = [row[0] for row in home.rows("SELECT message_id FROM device_sensor_gps_raw")]
    assert len(others) == len(set(others)) == len(home.sent["device_sensor_gps_raw"]) // 2
    assert home.rows("SELECT id FROM erasures") == [(erased,)]
    with pytest.raises((KeyDestroyedError, KeyError)):
        open_blobs(home.settings).get(ref)
    assert home.rows("SELECT count(*) FROM device_keys WHERE device_id = 'phone-001' AND key IS NOT NULL") == [(0,)]
    assert home.rows("SELECT count(*) FROM device_keys WHERE key IS NOT NULL") == [(1,)]
