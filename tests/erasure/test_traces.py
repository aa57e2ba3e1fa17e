"""Where names are left behind: log files that are written to meanwhile, Dagster's database, the spool, retries."""

import json
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import dagster as dg
import psycopg
import pytest

from loom_contracts.topics.device import GPS_RAW
from loom_ingest.producer import Record
from loom_ingest.retries import Retries
from loom_ingest.spool.disk import Disk
from loom_ingest.spool.erased import Tombstone, Tombstones, covered, write
from loom_ingest.spool.log import SpoolLog
from loom_ingest.spool.record import Spooled, encode
from loom_platform.erasure import traces
from loom_platform.erasure.scope import Scope
from tests.erasure.home import MINE, OTHER, Home, at, message

pytestmark = pytest.mark.integration


def record(device: str, seconds: float) -> Record:
    body = message(GPS_RAW, device, seconds).model_dump_json().encode()
    return Record("device.sensor.gps.raw", device.encode(), body, [])


def test_lines_of_logs_go_in_place_while_they_are_written(home: Home) -> None:
    folder = home.settings.logs_dir
    folder.mkdir(parents=True)
    log = folder / "ingest.log"
    mine = json.dumps({"message": "x", "device_id": MINE})
    others = [json.dumps({"message": "x", "device_id": d}) for d in (OTHER, f"{MINE}-2", f"not-{MINE}")]
    lines = [others[0], mine, others[1], f"timer of device {MINE} failed", others[2]]
    with log.open("a") as open_already:
        open_already.write("\n".join(lines) + "\n")
        open_already.flush()
        size = log.stat().st_size
        done = home.erase(Scope((MINE,)))
        assert log.stat().st_size == size
        open_already.write("later\n")
    found = log.read_text().splitlines()
    assert [line.strip() for line in found] == [others[0], "(erased)", others[1], "(erased)", others[2], "later"]
    assert done.erasure.counts["log_lines"] == 2


def test_names_in_dagsters_database_go(home: Home, server_url: str, tmp_path: Path, empty_database_url: str) -> None:
    from tests.orchestration.conftest import ROOT

    folder = tmp_path / "dagster"
    folder.mkdir()
    (folder / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOM_DAGSTER_DATABASE_URL", empty_database_url)
        patch.setenv("DAGSTER_HOME", str(folder))
        with dg.DagsterInstance.get() as instance:
            for device in (MINE, OTHER):
                event = dg.AssetMaterialization(["device", "audio", "raw"], metadata={"note": f"of {device}", MINE: 1})
                instance.report_runless_asset_event(event)
            home.erase(Scope((MINE,)), dagster_url=empty_database_url)
            found = instance.fetch_materializations(dg.AssetKey(["device", "audio", "raw"]), limit=10).records
            notes = [r.asset_materialization.metadata["note"].value for r in found if r.asset_materialization]
    assert notes == [f"of {OTHER}", f"of {traces.ERASED}"]
    with psycopg.connect(empty_database_url) as connection:
        assert traces.in_dagster(connection, [MINE], erase=False) == {}


def test_a_word_of_looms_own_is_no_device_to_look_for() -> None:
    assert not traces.searchable("audio")
    assert traces.searchable("my-phone")


def test_the_drain_drops_what_was_erased(tmp_path: Path) -> None:
    now = int(datetime.now(UTC).timestamp() * 1000)
    spooled = [Spooled(n, now - 1_000 + n, record(d, n)) for n, d in enumerate((MINE, OTHER, MINE))]
    later = Spooled(9, now + 10_000, record(MINE, 3))
    tombstones = Tombstones(tmp_path)
    assert tombstones.now() == ()
    write(tmp_path, [Tombstone((MINE,), None, None, now)])
    assert [covered(tombstones.now(), s) for s in (*spooled, later)] == [True, False, True, False]
    since = int(at(1).timestamp() * 1_000_000)
    write(tmp_path, [Tombstone((), since, None, now)])
    assert [covered(tombstones.now(), s) for s in (*spooled, later)] == [False, True, True, False]
    (tmp_path / "erasures.json").write_text("[{")
    assert tombstones.now() == ()


def test_what_waits_in_the_spool_is_told_and_what_lies_aside_goes(home: Home) -> None:
    root = home.settings.data_dir / "spool"
    log = SpoolLog(root / "0", 1 << 20, Disk())
    log.append([(int(datetime.now(UTC).timestamp() * 1000) - 1_000, record(d, 1)) for d in (MINE, OTHER, MINE)])
    for number, device in enumerate((MINE, OTHER)):
        (root / "0" / f"{number:020d}.refused").write_bytes(encode(Spooled(1, 1, record(device, 1))))
    (root / "0" / "000000000009.damaged").write_bytes(b"torn" + record(MINE, 1).value)
    done = home.erase(Scope((MINE,)))
    assert done.erasure.proof is not None
    assert done.erasure.proof["spool_records"] == 2
    assert [covered(Tombstones(root).now(), s) for s in log.read(10, 1 << 20)] == [True, False, True]
    assert [p.name for p in sorted((root / "0").glob("*.refused"))] == [f"{1:020d}.refused"]
    assert list((root / "0").glob("*.damaged")) == []
    log.close()


def test_the_file_of_retries_forgets_the_messages(home: Home) -> None:
    root = home.settings.data_dir / "spool"
    retries = Retries(root)
    retries.start()
    mine, theirs = (
        home.rows("SELECT message_id FROM device_sensor_gps_raw WHERE device_id = %s LIMIT 1", d)[0][0]
        for d in (MINE, OTHER)
    )
    before = at(0)
    for each in (mine, theirs):
        retries.time_of(UUID(str(each)), before)
    home.erase(Scope((MINE,)))
    fresh = datetime.now(UTC)
    assert retries.time_of(UUID(str(mine)), fresh) == fresh
    assert retries.time_of(UUID(str(theirs)), fresh) == before
    assert retries.time_of(uuid4(), fresh) == fresh
