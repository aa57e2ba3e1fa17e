"""Places of a day, on literal frames."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import psycopg
import pytest

from loom_platform.orchestration.places_visited import PRESENCE_SCHEMA, compute_day, places_visited

DAY = date(2026, 11, 20)
HOME, WORK = "3d0ba1c4-9a4e-4d64-8d57-6a3d6e7e2a01", "3d0ba1c4-9a4e-4d64-8d57-6a3d6e7e2a02"
Row = tuple[str, str, str, str, str, datetime, datetime | None]


def at(hour: int, minute: int = 0, day: int = 20) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


def row(region: str, event: str, when: datetime, previous: datetime | None = None, device: str = "phone") -> Row:
    return region, {HOME: "Home", WORK: "Office"}[region], "home", device, event, when, previous


def places(*rows: Row) -> list[dict[str, object]]:
    return places_visited(pl.DataFrame(list(rows), schema=PRESENCE_SCHEMA, orient="row"), DAY).to_dicts()


def test_a_stay_is_from_its_enter_to_its_last_dwell() -> None:
    (home,) = places(row(HOME, "enter", at(8)), row(HOME, "dwell", at(9), at(8)), row(HOME, "dwell", at(9, 30), at(9)))
    assert (home["first_seen_at"], home["last_seen_at"]) == (at(8), at(9, 30))
    assert (home["total_seconds"], home["visits"], home["device_ids"]) == (5400.0, 1, ["phone"])


def test_a_short_absence_is_the_same_visit_but_not_counted() -> None:
    (home,) = places(
        row(HOME, "enter", at(8)),
        row(HOME, "dwell", at(9), at(8)),
        row(HOME, "enter", at(9, 4)),
        row(HOME, "dwell", at(10, 4), at(9, 4)),
        row(HOME, "enter", at(12)),
    )
    assert (home["total_seconds"], home["visits"]) == (7200.0, 2)


def test_two_devices_count_once() -> None:
    (home,) = places(
        row(HOME, "enter", at(8)),
        row(HOME, "dwell", at(10), at(8)),
        row(HOME, "enter", at(9), device="watch"),
        row(HOME, "dwell", at(11), at(9), device="watch"),
        row(HOME, "dwell", at(9, 30), at(9), device="watch"),
    )
    assert (home["total_seconds"], home["visits"], home["device_ids"]) == (10_800.0, 1, ["phone", "watch"])


def test_a_stay_over_midnight_is_cut_at_both_ends_of_the_day() -> None:
    found = places(
        row(HOME, "dwell", at(6), at(22, day=19)),
        row(WORK, "enter", at(9)),
        row(HOME, "dwell", at(7, day=21), at(21)),
        row(WORK, "dwell", at(8, day=21), at(0, 30, day=21)),
    )
    home, work = found
    assert (home["first_seen_at"], home["last_seen_at"]) == (at(0), at(0, day=21))
    assert (home["total_seconds"], home["visits"]) == (9 * 3600.0, 2)
    assert (work["total_seconds"], work["visits"]) == (0.0, 1)


def test_a_day_without_any_place_is_empty() -> None:
    assert places() == []


@pytest.mark.integration
def test_a_day_is_replaced_as_a_whole(database_url: str) -> None:
    insert = """
    INSERT INTO location_georegion_detected (timestamp, message_id, device_id, schema_version, source_message_id, stage,
        stage_version, latitude, longitude, event, region_id, region_name, region_kind, previous_timestamp)
    VALUES (%s, gen_random_uuid(), 'phone', '1.0', gen_random_uuid(), 'georegion-detector', '1', 47, 8, %s, %s, 'Home',
        'home', %s)
    """
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "SELECT loom_ensure_partitions('location_georegion_detected', %s, %s)", (DAY, DAY + timedelta(days=1))
        )
        connection.execute(insert, (at(8), "enter", HOME, None))
        connection.execute(insert, (at(9), "dwell", HOME, at(8)))
        assert compute_day(connection, DAY, "run-1").height == 1
        connection.execute(insert, (at(1, day=21), "dwell", HOME, at(9)))
        compute_day(connection, DAY, "run-2")
        rows = connection.execute(
            "SELECT day, region_id::text, total_seconds, visits, device_ids, run_id FROM places_visited"
        ).fetchall()
    assert rows == [(DAY, HOME, 16 * 3600.0, 1, ["phone"], "run-2")]
