"""Habits of charging and the battery's wear, on literal sessions."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from loom_contracts.payloads.power import ChargingPlace
from loom_contracts.topics.device import CHARGING_DETECTED, POWER_PATTERNS
from loom_models.charging_habits import TREND
from loom_models.stage import Context
from loom_models.stages.power_patterns import SESSIONS, transform
from tests.models.frames import batch, message_id, sink_columns

FIRST = datetime(2026, 1, 5, tzinfo=UTC)


def sessions(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """Sessions as the topic has them; `at` is hours after FIRST, `hours` how long it took."""
    made = []
    for number, given in enumerate(rows):
        row = dict(given)
        begin = FIRST + timedelta(hours=row.pop("at"))
        hours = row.pop("hours", 8)
        known = {"start_level": 30.0, "end_level": 100.0, "power_source": "ac", "ended_by": "unplugged"}
        ended = {"ended_at": begin + timedelta(hours=hours), "duration_seconds": hours * 3600.0} if hours else {}
        made.append(
            {"message_id": message_id(number + 1), "timestamp": begin, "is_open": not hours} | known | ended | row
        )
    return batch(CHARGING_DETECTED, made)


def answers(standing: pl.DataFrame, given: pl.DataFrame | None = None) -> list[dict[str, Any]]:
    """The rows of `given`, or of all; and of those after it, as the query finds them."""
    part = standing if given is None else given
    first, last = part["timestamp"].min(), part["timestamp"].max()
    near = standing.filter(pl.col("timestamp") > first - TREND, pl.col("timestamp") < last + TREND)  # type: ignore[operator]
    frame = near.with_columns((pl.col("timestamp") >= first).alias("target")).select(SESSIONS.schema.names())
    output = transform(part, Context("1", FIRST, {SESSIONS.name: frame}))
    rows = output.rows[POWER_PATTERNS]
    assert set(rows.columns) == sink_columns(POWER_PATTERNS)
    assert rows["timestamp"].is_between(first, last + TREND).all()  # type: ignore[operator]
    assert output.spans[POWER_PATTERNS].row(0) == ("phone-001", first, last + TREND)  # type: ignore[operator]
    return rows.sort("timestamp").to_dicts()


def nights(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"at": 24 * n + 22, **more} for n in range(count)]


def test_nights_at_home() -> None:
    home = {"latitude": 52.5, "longitude": 13.4, "region_name": "Home"}
    away = {"latitude": 48.1, "longitude": 11.6}
    rows = answers(sessions([*nights(20, **home), {"at": 24 * 20 + 12, "hours": 0.5, "start_level": 60.0, **away}]))
    assert [r["pattern"] for r in rows[:6]] == ["none"] * 4 + ["overnight"] * 2
    last = rows[-1]
    assert (last["pattern"], last["session_count"], last["confidence"]) == (
        "overnight",
        21,
        pytest.approx(20 / 21, abs=1e-3),
    )
    assert last["typical_start_hour"] == pytest.approx(22.0, abs=0.5)
    assert last["start_hour_spread"] < 0.1
    assert last["typical_duration_seconds"] == 8 * 3600
    assert (last["mean_start_level"], last["mean_end_level"]) == (31.4, 100.0)
    assert last["cycles_per_day"] == pytest.approx((20 * 0.7 + 0.4) / 19.6, abs=0.01)
    assert last["drain_rate_percent_per_hour"] == pytest.approx(-70 / 16, abs=0.01)
    hours = json.loads(last["hours"])
    assert len(hours) == 24
    assert hours[23] == pytest.approx(20 / 21, abs=1e-3)
    assert (hours[12], hours[15]) == (pytest.approx(1 / 21, abs=1e-3), 0.0)
    places = [ChargingPlace.model_validate(p) for p in json.loads(last["places"])]
    assert [(p.name, round(p.share, 2)) for p in places] == [("Home", 0.95), (None, 0.05)]
    assert last["battery_trend"] == "unknown"


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        pytest.param({"hours": 0.4}, "top_up", id="short"),
        pytest.param({"hours": 1.5}, "daytime", id="an evening hour"),
        pytest.param({"hours": 8, "longitude": 180.0, "latitude": 0.0}, "daytime", id="night is day there"),
        pytest.param({"hours": 22}, "docked", id="almost always"),
        pytest.param({"hours": None}, "none", id="all of them open"),
    ],
)
def test_kinds_of_sessions(change: dict[str, Any], pattern: str) -> None:
    assert answers(sessions(nights(8, **change)))[-1]["pattern"] == pattern


def test_any_hour_is_no_habit() -> None:
    rows = answers(sessions([{"at": 29 * n, "hours": 0.5 if n % 2 else 5} for n in range(20)]))
    assert rows[-1]["typical_start_hour"] is None
    assert rows[-1]["pattern"] == "mixed"
    assert rows[-1]["places"] == "[]"


@pytest.mark.parametrize(("growth", "said"), [(0.02, "fading"), (0.0, "steady")])
def test_a_battery_wears_out(growth: float, said: str) -> None:
    rows = []
    for day in range(0, 120, 2):
        faster = (1 + growth) ** (day / 30)
        # Another charger has another speed, which says nothing of the battery.
        rate, charger = (40 * faster, "ac") if day % 3 else (15.0, "usb")
        level = 100 - 1.5 * faster * 40
        rows.append({"at": 24 * day + 22, "rate_percent_per_hour": rate, "power_source": charger, "start_level": level})
    last = answers(sessions(rows))[-1]
    assert last["battery_trend"] == said
    assert last["charge_trend_percent_per_month"] == pytest.approx(100 * growth, abs=0.3)
    assert last["drain_trend_percent_per_month"] == pytest.approx(100 * growth, abs=0.3)
    assert answers(sessions(rows[:20]))[-1]["battery_trend"] == "unknown", "40 days say nothing"


@pytest.mark.parametrize("size", [1, 5])
def test_any_batches_give_the_answers_of_one_batch(size: int) -> None:
    """Late ones too: the last of the sessions comes first, and each later batch amends what follows it."""
    rows = [
        {"at": 37.0 * n, "hours": 1 + n % 7, "start_level": 20.0 + n, "rate_percent_per_hour": 30.0 + n % 5}
        | ({"latitude": 52.5 + n % 2, "longitude": 13.4} if n % 3 else {})
        for n in range(24)
    ]
    whole = sessions(rows)
    order = [23, *range(0, 23, 2), *range(1, 23, 2)]
    standing: dict[datetime, dict[str, Any]] = {}
    for begin in range(0, len(order), size):
        known, part = whole[sorted(order[: begin + size])], whole[order[begin : begin + size]]
        standing |= {row["timestamp"]: row for row in answers(known, part)}
    assert [standing[at] for at in sorted(standing)] == answers(whole)
