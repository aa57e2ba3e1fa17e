import polars as pl
import pytest

from loom_models.speeds import speeds_near
from tests.models.motion import at, fixes

DEGREE_M = 111_195.08
"""One degree of latitude on the sphere."""


def speed(seconds: float, *rows: dict[str, float | str | None], device: str = "phone-001") -> float | None:
    moments = pl.DataFrame(
        {"device_id": [device], "at": [at(seconds)]}, schema_overrides={"at": pl.Datetime("us", "UTC")}
    )
    value = speeds_near(moments, fixes(rows))[0]
    assert value is None or isinstance(value, float)
    return value


def test_the_nearest_fix_that_tells_its_speed() -> None:
    rows: list[dict[str, float | str | None]] = [{"at": 0, "speed": 3.0}, {"at": 15, "speed": 7.0}, {"at": 16}]
    assert speed(12, *rows) == 7.0
    assert speed(-19, *rows) == 3.0
    assert speed(-21, *rows) is None
    assert speed(12, *rows, device="phone-002") is None


def test_between_two_fixes_it_is_distance_by_time() -> None:
    rows: list[dict[str, float | str | None]] = [
        {"at": 0, "latitude": 52.5},
        {"at": 60, "latitude": 52.5 + 900 / DEGREE_M},
    ]
    assert speed(30, *rows) == pytest.approx(15.0, rel=1e-3)
    assert speed(-1, *rows) is None
    assert speed(61, *rows) is None


def test_a_difference_within_the_accuracy_is_no_motion() -> None:
    moved = 52.5 + 20 / DEGREE_M
    assert speed(5, {"at": 0, "accuracy": 30.0}, {"at": 10, "latitude": moved, "accuracy": 30.0}) == 0.0
    assert speed(5, {"at": 0, "accuracy": None}, {"at": 10, "latitude": moved}) == pytest.approx(2.0, rel=1e-3)


def test_fixes_that_tell_nothing() -> None:
    near: dict[str, float | str | None] = {"at": 0, "speed": 9.0}
    assert speed(1, near | {"latitude": 0.0, "longitude": 0.0}) is None
    assert speed(1, near | {"accuracy": 400.0}) is None
    assert speed(1, near | {"speed": 180.0}) is None
    assert speed(5, {"at": 0}, {"at": 10, "latitude": 53.5}) is None
    assert speed(100, {"at": 0}, {"at": 200, "latitude": 52.6}) is None


def test_two_fixes_of_one_time_are_one() -> None:
    twice: list[dict[str, float | str | None]] = [{"at": 0, "speed": 1.0}, {"at": 0, "speed": 1.0, "latitude": 52.6}]
    assert speed(3, *twice) == 1.0
    assert speed(3, {"at": 0}, {"at": 0, "latitude": 52.6}) is None
