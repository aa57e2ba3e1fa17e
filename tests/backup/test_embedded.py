"""An installation with servers of its own is removed as a whole and comes back from a backup, offsets included."""

import shutil
from pathlib import Path

import pytest

from loom_contracts.topics.device import AUDIO_RAW, GPS_RAW
from loom_platform.backup.make import make
from loom_platform.backup.offsets import Fate
from loom_platform.backup.progress import silent
from loom_platform.backup.restore import HasDataError, restore
from loom_platform.backup.servers import standing
from loom_platform.database import ensure_database
from loom_platform.embedded.process import free_port
from loom_platform.migrate import migrate
from loom_platform.settings import Settings, load_settings
from tests.backup.home import LAND_GPS, REGIONS, USED, Home, live

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@pytest.fixture
def settings(server_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in ("database_url", "dagster_database_url", "kafka_bootstrap_servers", "spool_dir", "blob_url"):
        monkeypatch.delenv(f"LOOM_{name.upper()}", raising=False)
    for name in ("postgres_port", "kafka_port", "kafka_controller_port"):
        monkeypatch.setenv(f"LOOM_{name.upper()}", str(free_port()))
    monkeypatch.setenv("LOOM_DATA_DIR", str(server_dir / "installation"))
    return load_settings()


def at_home(settings: Settings, database_url: str, bootstrap_servers: str) -> Home:
    """The installation as its own processes see it while it runs."""
    found = load_settings(database_url=database_url, kafka_bootstrap_servers=bootstrap_servers)
    return Home(found)


def test_a_removed_installation_goes_on_at_the_old_offsets(settings: Settings, tmp_path: Path) -> None:
    source = tmp_path / "backup"
    with standing(settings, silent) as servers:
        ensure_database(servers.database_url, ("vector",))
        migrate(servers.database_url)
        home = at_home(settings, servers.database_url, servers.broker.bootstrap_servers)
        live(home)
        before = home.rows("SELECT stage, partition, next_offset FROM stream_offsets ORDER BY 1, 2")
        make(home.settings, source)
        home.run(*USED)
        offsets = "SELECT message_id, kafka_partition, kafka_offset FROM device_sensor_gps_raw ORDER BY 1"
        places = {row[0]: row[1:] for row in home.rows(offsets)}
    with pytest.raises(HasDataError):
        restore(settings, source)
    shutil.rmtree(settings.data_dir)

    restored = restore(settings, source)

    assert set(restored.kafka.topics.values()) == {Fate.FRESH}
    assert restored.kafka.letters_moved == 0
    with standing(settings, silent) as servers:
        again = at_home(settings, servers.database_url, servers.broker.bootstrap_servers)
        again.create()
        again.sent, again.count = home.sent, home.count
        assert again.rows("SELECT stage, partition, next_offset FROM stream_offsets ORDER BY 1, 2") == before
        again.send(GPS_RAW, again.fixes(7))
        again.send(AUDIO_RAW, again.chunks(2))
        again.run(*USED)
        again.check()
        # a record that was kept lies where it lay, so whatever tells of its offset stays true
        now = {row[0]: row[1:] for row in again.rows(offsets)}
        assert {k: v for k, v in now.items() if k in places} == places
        query = "SELECT sum(next_offset)::int FROM stream_offsets WHERE stage = ANY(%s) GROUP BY stage"
        assert len({row[0] for row in again.rows(query, [LAND_GPS.name, REGIONS.name])}) == 1
