"""The motion stages: samples a second on one core, what a live batch costs, and how often the activities are right.

Right is measured on recordings of the US-TMD data set (Carpineti et al., 2018, http://cs.unibo.it/projects/us-tm2017),
where its raw CSV files lie in the folder that `LOOM_BENCH_US_TMD` names; the users whose recordings set the rules are
shown apart. It has cars, buses, trains, resting phones and walkers, most of them at 5 to 10 Hz, and hardly any
position, so none are used. Without it, the demo's synthetic signals take its place, which are easier, and the note
says so.
"""

import os
import random
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from loom_models.frames import UTC_MICROS
from loom_models.stage import Context, Output, Stage
from loom_models.stages import activity_classifier, motion_detector
from loom_models.stages.accelerometer_windowed import ACCELEROMETER_WINDOW, SAMPLES, WINDOW, features
from loom_models.stages.activity_classifier import ACTIVITY_CLASSIFIER, classified
from loom_models.stages.motion_detector import MOTION_DETECTOR
from loom_platform.demo.signals import acceleration
from tests.benchmarks.harness import Result

US_TMD: Final = "LOOM_BENCH_US_TMD"
RULES_WERE_SET_ON: Final = ("AndreaCarpineti", "andrea", "Claudio")
SAMPLES_PER_SECOND: Final = 50
ROUNDS: Final = 10
LIVE: Final = 200
START: Final = datetime(2026, 1, 5, 12, tzinfo=UTC)

Floats = npt.NDArray[np.float64]
_TRUTH: Final = {
    "Car": "in_vehicle",
    "Bus": "in_vehicle",
    "Train": "in_vehicle",
    "Still": "still",
    "Walking": "walking",
}
_NAME: Final = re.compile(r"sensorfile_([^_]+)_([A-Z][a-z]+)_\d+\.csv")
_NO_FIXES: Final = pl.DataFrame(schema=activity_classifier.FIXES.schema)


def run() -> list[Result]:
    """Speed, then accuracy."""
    return [*_speed(), *_accuracy()]


def _speed() -> list[Result]:
    """Batches of a recompute, as large as it makes them; ids and all. Processor time, so the threads do not matter."""
    count = ACCELEROMETER_WINDOW.policy.max_rows_again or ACCELEROMETER_WINDOW.policy.max_rows
    batches = [_day(count, first * count) for first in range(ROUNDS)]
    spent = dict.fromkeys((ACCELEROMETER_WINDOW.name, MOTION_DETECTOR.name, ACTIVITY_CLASSIFIER.name), 0.0)
    for number, batch in enumerate([batches[0], *batches]):
        began = time.process_time()
        output = _transform(ACCELEROMETER_WINDOW, batch, {SAMPLES.name: batch.select(SAMPLES.schema.names())})
        windows = next(iter(output.rows.values()))
        took = [time.process_time() - began]
        for stage in (MOTION_DETECTOR, ACTIVITY_CLASSIFIER):
            began = time.process_time()
            _transform(stage, windows, _read(windows))
            took.append(time.process_time() - began)
        # The first round loads what is loaded once.
        spent = {name: spent[name] + seconds for name, seconds in zip(spent, took, strict=True)} if number else spent
    total = count * ROUNDS
    shares = ", ".join(f"{name} {seconds / sum(spent.values()):.0%}" for name, seconds in spent.items())
    return [
        Result(
            "motion stages, batch: samples per processor second", total / sum(spent.values()), "1/s", 5e5, note=shares
        ),
        *(_live(stage) for stage in (MOTION_DETECTOR, ACTIVITY_CLASSIFIER)),
    ]


def _live(stage: Stage) -> Result:
    """One window more, with all around it that is read for it; without the reading."""
    around = features(_day(SAMPLES_PER_SECOND * 900).select(SAMPLES.schema.names()), "2")
    at = around["timestamp"].max()
    newest = around.filter(pl.col("timestamp") == at)
    reach = timedelta(seconds=430)
    frames = _read(around.filter(pl.col("timestamp") >= pl.lit(at) - reach))
    took = []
    for _ in range(LIVE):
        began = time.perf_counter()
        _transform(stage, newest, frames)
        took.append((time.perf_counter() - began) * 1000)
    took.sort()
    return Result(f"{stage.name}: a live batch", took[LIVE // 2], "ms", note=f"p99 {took[int(LIVE * 0.99)]:.1f} ms")


def _transform(stage: Stage, batch: pl.DataFrame, frames: dict[str, pl.DataFrame]) -> Output:
    return stage.transform(batch, Context(stage.version, START + timedelta(days=1), frames, live=False))


def _read(windows: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """What the two stages would read; they call it by one name."""
    both = {*activity_classifier.WINDOWS.schema.names(), *motion_detector.WINDOWS.schema.names()}
    return {"windows": windows.select(both), "fixes": _NO_FIXES}


def _day(count: int, first: int = 0) -> pl.DataFrame:
    """Samples of one device at 50 Hz, ten minutes of each of four things in turn; ids as a phone makes them."""
    kinds: tuple[Literal["rest", "walk", "drive", "hike"], ...] = ("rest", "walk", "drive", "hike")
    piece = SAMPLES_PER_SECOND * 600
    chance = random.Random(first)
    parts = [acceleration(kinds[n % 4], 0.0, piece, chance) for n in range(count // piece + 1)]
    values = np.concatenate(parts)[:count]
    micros = (np.arange(count) + first) * (1_000_000 // SAMPLES_PER_SECOND)
    return _samples("phone-001", micros, values, first)


def _samples(device: str, micros: npt.NDArray[np.int64], values: Floats, first: int = 0) -> pl.DataFrame:
    at = (pl.lit(START).cast(UTC_MICROS) + pl.Series(micros).cast(pl.Duration("us"))).alias("timestamp")
    ids = [f"{n:08x}-0000-4000-8000-{n * 2654435761 % 2**48:012x}" for n in range(first, first + len(micros))]
    frame = pl.DataFrame(values, schema=["x", "y", "z"], orient="row").with_columns(
        pl.Series("message_id", ids),
        pl.lit(device).alias("device_id"),
        pl.lit(None, dtype=pl.String).alias("trace_id"),
        pl.lit(None, dtype=pl.String).alias("span_id"),
        at,
    )
    return frame.with_columns(pl.col("timestamp").alias("received_at"))


def _accuracy() -> list[Result]:
    folder = os.environ.get(US_TMD)
    if not folder:
        return [_synthetic()]
    windows, truth = _recordings(Path(folder))
    rows = (
        classified(windows, _NO_FIXES, "1", None)
        .select("device_id", "activity")
        .with_columns(
            pl.col("device_id").replace_strict({d: t for d, (_, t) in truth.items()}).alias("truth"),
            pl.col("device_id")
            .replace_strict({d: u in RULES_WERE_SET_ON for d, (u, _) in truth.items()})
            .alias("seen"),
        )
    )
    return [
        *_right("activities of users that the rules have not seen", rows.filter(~pl.col("seen"))),
        *_right("activities of users that the rules were set on", rows.filter("seen")),
    ]


def _right(name: str, rows: pl.DataFrame) -> list[Result]:
    recall = rows.group_by("truth").agg((pl.col("activity") == pl.col("truth")).mean(), pl.len()).sort("truth")
    note = ", ".join(f"{truth} {share:.0%} of {n}" for truth, share, n in recall.iter_rows())
    right = rows.filter(pl.col("activity") == pl.col("truth")).height / max(rows.height, 1)
    return [Result(f"{name}: right, acceleration alone", 100.0 * right, "%", note=f"US-TMD; {note}")]


def _recordings(folder: Path) -> tuple[pl.DataFrame, dict[str, tuple[str, str]]]:
    """The windows of every recording, each as a device of its own; and (user, activity) of each."""
    truth: dict[str, tuple[str, str]] = {}
    found = []
    for path in sorted(folder.glob("*.csv")):
        name = _NAME.fullmatch(path.name)
        readings = sorted(_readings(path))
        if name is None or len(readings) < 50:
            continue
        truth[path.stem] = (name[1], _TRUTH[name[2]])
        micros = np.array([1000 * at for at, *_ in readings])
        values = np.array([xyz for _, *xyz in readings])
        found.append(features(_samples(path.stem, micros, values).select(SAMPLES.schema.names()), "2"))
    return pl.concat(found).select(activity_classifier.WINDOWS.schema.names()), truth


def _readings(path: Path) -> Iterator[tuple[int, float, float, float]]:
    """(milliseconds, x, y, z) of the accelerometer."""
    for line in path.read_text(errors="replace").splitlines():
        at, _, rest = line.partition(",")
        sensor, _, values = rest.partition(",")
        if sensor == "android.sensor.accelerometer" and at.isdigit():
            x, y, z = (float(v) for v in values.split(",")[:3])
            yield int(at), x, y, z


def _synthetic() -> Result:
    """The demo's signals, by the window."""
    wanted = {"rest": "still", "walk": "walking", "drive": "in_vehicle", "hike": "walking"}
    windows = features(_day(SAMPLES_PER_SECOND * 2_400).select(SAMPLES.schema.names()), "2")
    rows = classified(windows.select(activity_classifier.WINDOWS.schema.names()), _NO_FIXES, "1", None)
    names = [wanted[k] for k in ("rest", "walk", "drive", "hike") for _ in range(timedelta(seconds=600) // WINDOW)]
    right = rows.filter(pl.col("activity") == pl.Series(names)).height / len(names)
    note = f"the demo's synthetic signals: {US_TMD} names no folder of real ones"
    return Result("activities, acceleration alone: right", 100.0 * right, "%", note=note)
