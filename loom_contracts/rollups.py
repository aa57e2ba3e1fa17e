"""Roll-ups: for each numeric sensor its samples, least, greatest, mean and last value, by minute and by hour.

A roll-up's two views are called after the table: `<table>_by_minute` and `<table>_by_hour`. That of a derived table has
a row for each stage version; its views `..._current` show the promoted one, as the table's own does.
`python -m loom_contracts.rollups` prints the statements of a migration.
"""

import json
import sys
from dataclasses import dataclass
from typing import Final, Literal

from loom_contracts.errors import ContractError
from loom_contracts.table import Column, ColumnType, Table
from loom_contracts.topic import Topic
from loom_contracts.topics.device import (
    ACCELEROMETER_RAW,
    ACCELEROMETER_WINDOWED,
    BAROMETER_RAW,
    GPS_RAW,
    GYROSCOPE_RAW,
    HEARTRATE_RAW,
    HUMIDITY_RAW,
    LIGHT_RAW,
    MAGNETOMETER_RAW,
    POWER_ENRICHED,
    POWER_RAW,
    PRESSURE_RAW,
    PROXIMITY_RAW,
    STEPS_RAW,
    TEMPERATURE_RAW,
)
from loom_contracts.topics.device_system import BLUETOOTH_RAW, WIFI_RAW
from loom_contracts.topics.phone import HEALTH_METRIC_RAW, LOCATION_REPORT_RAW, SENSOR_STATE_RAW

Unit = Literal["minute", "hour"]
UNITS: Final[tuple[Unit, ...]] = ("minute", "hour")


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of a row. `expression` is SQL over the row and gives float8; null is not counted where `optional`."""

    name: str
    expression: str
    optional: bool
    description: str

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that a roll-up has of it."""
        what = self.description.rstrip(".")
        counted = Column(f"{self.name}_count", ColumnType.INTEGER, False, f"Samples that had it: {what}.")
        return (
            *((counted,) if self.optional else ()),
            Column(f"{self.name}_min", ColumnType.FLOAT, self.optional, f"Least: {what}."),
            Column(f"{self.name}_max", ColumnType.FLOAT, self.optional, f"Greatest: {what}."),
            Column(f"{self.name}_mean", ColumnType.FLOAT, self.optional, f"Mean: {what}."),
            Column(f"{self.name}_last", ColumnType.FLOAT, self.optional, f"Last: {what}."),
            Column(f"{self.name}_sum", ColumnType.FLOAT, self.optional, f"Sum: {what}."),
        )


@dataclass(frozen=True, slots=True)
class Dimension:
    """What keeps rows apart within a device; `expression` is SQL over the row and gives text that is never null."""

    name: str
    expression: str
    description: str


@dataclass(frozen=True, slots=True)
class Rollup:
    """What is rolled up of one topic's table."""

    topic: Topic
    measures: tuple[Measure, ...]
    dimensions: tuple[Dimension, ...] = ()

    @property
    def table(self) -> Table:
        """The table that is rolled up."""
        return self.topic.table

    @property
    def condition(self) -> str:
        """SQL: which rows count."""
        return "superseded_at IS NULL" if self.table.derived else "true"

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of its views, in their order."""
        return (
            Column("bucket", ColumnType.TIMESTAMP, False, "When the minute or hour begins, UTC."),
            Column("device_id", ColumnType.TEXT, False, "The device."),
            *(Column(d.name, ColumnType.TEXT, False, d.description) for d in self.dimensions),
            Column("samples", ColumnType.INTEGER, False, "Rows counted."),
            *(column for measure in self.measures for column in measure.columns),
        )

    def view(self, unit: Unit) -> str:
        """Name of its view by `unit`."""
        return f"{self.table.name}_by_{unit}"


UNIT: Final = Dimension("unit", "coalesce(unit, '')", "Unit of the numbers; empty where none was told.")
_VERSIONED: Final = (
    Dimension("stage", "stage", "The stage that computed the rows."),
    Dimension("stage_version", "stage_version", "Its version."),
)


def _plain(topic: Topic, *names: str, dimensions: tuple[Dimension, ...] = ()) -> Rollup:
    """A roll-up of columns that are numbers."""
    derived = _VERSIONED if topic.table.derived else ()
    return Rollup(topic, tuple(_measure(topic.table.column(n)) for n in names), (*derived, *dimensions))


def _measure(column: Column) -> Measure:
    if column.type not in (ColumnType.FLOAT, ColumnType.INTEGER, ColumnType.INT4):
        raise ContractError(f"column {column.name!r} is {column.type.value}, not a number: it cannot be rolled up")
    return Measure(column.name, f"loom_countable({column.name})", column.nullable, column.description)


def _reading(topic: Topic, name: str, *names: str) -> Rollup:
    """A roll-up of a generic sensor with one number, which devices call by any of `names`, or have alone."""
    words = ", ".join(f"'{n}'" for n in (name, *names))
    description = f"{topic.description.rstrip('.')}, in the reading's unit."
    return Rollup(topic, (Measure(name, f"loom_reading(value, {words})", True, description),), (UNIT,))


def _axes(topic: Topic) -> Rollup:
    """A roll-up of a generic sensor with three axes."""
    return Rollup(
        topic,
        tuple(Measure(a, f"loom_number(value -> '{a}')", True, f"Along {a}, in the reading's unit.") for a in "xyz"),
        (UNIT,),
    )


ROLLUPS: Final[tuple[Rollup, ...]] = (
    _plain(GPS_RAW, "altitude", "accuracy", "speed"),
    _plain(LOCATION_REPORT_RAW, "vertical_accuracy", "speed_accuracy", "heading_accuracy"),
    _plain(ACCELEROMETER_RAW, "x", "y", "z"),
    _plain(
        ACCELEROMETER_WINDOWED,
        "rate_hz",
        "x_mean_mps2",
        "y_mean_mps2",
        "z_mean_mps2",
        "magnitude_mean_mps2",
        "magnitude_std_mps2",
        "magnitude_max_mps2",
        "dynamic_rms_mps2",
        "jerk_rms_mps3",
        "crossing_rate_hz",
    ),
    _axes(GYROSCOPE_RAW),
    _axes(MAGNETOMETER_RAW),
    _reading(TEMPERATURE_RAW, "temperature", "temp", "value"),
    _reading(HUMIDITY_RAW, "humidity", "value"),
    _reading(PRESSURE_RAW, "pressure", "value"),
    _reading(BAROMETER_RAW, "pressure", "value"),
    _reading(LIGHT_RAW, "illuminance", "light", "lux", "value"),
    _reading(PROXIMITY_RAW, "distance", "value"),
    _plain(POWER_RAW, "battery_level"),
    _plain(POWER_ENRICHED, "rate_percent_per_hour"),
    _plain(HEARTRATE_RAW, "bpm", "confidence"),
    _plain(STEPS_RAW, "steps", "distance_m", "floors_climbed"),
    _plain(
        HEALTH_METRIC_RAW,
        "value",
        "minimum",
        "average",
        "maximum",
        dimensions=(Dimension("metric", "metric", "What was measured, in the client's own words."), UNIT),
    ),
    _plain(
        SENSOR_STATE_RAW,
        "value",
        dimensions=(Dimension("sensor_id", "sensor_id", "The app's identifier of the sensor."), UNIT),
    ),
    _plain(WIFI_RAW, "signal_dbm", "frequency_mhz", "link_speed_mbps"),
    Rollup(
        BLUETOOTH_RAW,
        (
            Measure("devices", "jsonb_array_length(devices)::float8", False, "Devices found by one scan."),
            Measure("strongest_dbm", "loom_greatest(devices, 'signal_dbm')", True, "Strongest signal of a scan, dBm."),
        ),
    ),
)
"""Every numeric sensor. Courses over ground and coordinates are left out: their mean says nothing."""

_BY_TABLE: Final = {r.table.name: r for r in ROLLUPS}


def rollup_of(table: Table | str) -> Rollup | None:
    """The roll-up of a table; None where it has none."""
    return _BY_TABLE.get(table if isinstance(table, str) else table.name)


def make_rollup(rollup: Rollup) -> str:
    """The statement that makes its views, for a migration."""
    dimensions = json.dumps([[d.name, d.expression] for d in rollup.dimensions])
    measures = ",\n    ".join(json.dumps([m.name, m.expression, m.optional]) for m in rollup.measures)
    return (
        f"SELECT loom_make_rollup('{rollup.table.name}', $${rollup.condition}$$, $${dimensions}$$, "
        f"$$[\n    {measures}\n]$$);"
    )


if __name__ == "__main__":
    sys.stdout.write("\n".join(make_rollup(r) for r in ROLLUPS) + "\n")
