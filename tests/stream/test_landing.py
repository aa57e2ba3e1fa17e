"""Raw topics into their tables, each record once."""

from datetime import timedelta

import pytest

from loom_contracts.payloads.sensor import GpsFix
from loom_contracts.topics.device import GPS_RAW
from loom_models.stage import Context, Output, Stage
from tests.stream.bench import NOW, Bench

pytestmark = pytest.mark.integration


def land(batch, context: Context) -> Output:  # type: ignore[no-untyped-def]
    return Output({GPS_RAW: batch})


LANDING = Stage("landing-gps", GPS_RAW, (GPS_RAW,), "1", land)


def fix(n: int, **changes: object) -> GpsFix:
    return GpsFix.model_validate(
        {
            "device_id": "phone-001",
            "timestamp": NOW + timedelta(seconds=n),
            "latitude": 47.0 + n / 1e4,
            "longitude": 8.0,
        }
        | changes
    )


def test_each_record_is_stored_once_with_its_origin(bench: Bench) -> None:
    bench.create(GPS_RAW, partitions=2)
    fixes = [fix(n) for n in range(500)]
    bench.send(GPS_RAW, *fixes)
    bench.send(GPS_RAW, *fixes[:100])  # a client's retry

    (summary,) = bench.run(LANDING)

    assert (summary.records, summary.dead_letters) == (600, 0)
    rows = bench.rows(
        "SELECT message_id, timestamp, latitude, kafka_offset FROM device_sensor_gps_raw ORDER BY timestamp"
    )
    assert [r[0] for r in rows] == [f.message_id for f in fixes]
    assert [r[1] for r in rows] == [f.timestamp for f in fixes]
    assert [r[2] for r in rows] == [f.latitude for f in fixes]
    assert [r[3] for r in rows] == list(range(500))
    assert bench.rows("SELECT sum(next_offset)::int FROM stream_offsets") == [(600,)]
    (report,) = bench.reports
    assert report.rows == 600
    assert report.latency_p50_seconds is not None


def test_poison_is_kept_apart_and_its_neighbours_go_on(bench: Bench) -> None:
    bench.create(GPS_RAW, "processing.errors.landing-gps")
    good = fix(1)
    bad = [
        b"not json",
        b'{"device_id": "phone-001", "latitude": 47.0}',
        b'{"device_id": "phone-001", "latitude": "north", "longitude": 8.0}',
        b'{"device_id": "phone-001", "latitude": NaN, "longitude": 8.0}',
        b'{"device_id": "phone-001", "latitude": 91.0, "longitude": 8.0}',
        b'{"device_id": "phone-001", "latitude": 47.0, "longitude": 8.0, "schema_version": "2.0"}',
        b'{"device_id": "phone-001", "latitude": 47.0, "longitude": 8.0, "timestamp": "9999-01-01T00:00:00Z"}',
        b'{"device_id": "a\\u0000b", "latitude": 47.0, "longitude": 8.0}',
        b"",
        None,
    ]
    bench.send(GPS_RAW, good, *bad, fix(2), key="phone-001")

    (summary,) = bench.run(LANDING)

    assert (summary.rows, summary.dead_letters) == (2, len(bad))
    letters = bench.rows('SELECT "offset", value, reason FROM processing_errors ORDER BY "offset"')
    assert [(o, bytes(v) if v is not None else None) for o, v, _ in letters] == list(enumerate(bad, 1))
    assert "latitude" in letters[4][2]
    assert "91" in letters[4][2]
    assert "2.0" in letters[5][2]
    assert "clock" in letters[6][2]
