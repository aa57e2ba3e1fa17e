"""A roll-up equals a fresh recount after any sequence of late data, duplicates, recompute, erasure and promotion."""

import itertools
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from loom_contracts.rollups import UNITS
from loom_platform.rollups import forget, mark, refresh
from tests.rollups.rows import GPS, START, STATES, WINDOWS, Row, assert_same, counted, told, write

_EXAMPLES = itertools.count()
seconds = st.integers(0, 3 * 3600)
numbers = st.one_of(st.none(), st.floats(-1000, 1000))
versions = st.sampled_from(("1", "2"))


class RollUps(RuleBasedStateMachine):
    """Two devices, a landed table, one with dimensions, and a derived one whose answers are replaced."""

    connection: psycopg.Connection[Any]

    @initialize()
    def begin(self) -> None:
        example = next(_EXAMPLES)
        self.devices = [f"phone-{example}", f"watch-{example}"]
        self.stage = f"stage-{example}"
        self.rows: dict[str, dict[str, Row]] = {r.table.name: {} for r in (GPS, STATES, WINDOWS)}
        self.promoted: str | None = None
        for version in ("1", "2"):
            self.connection.execute(
                "INSERT INTO stage_versions (stage, version) VALUES (%s, %s)", (self.stage, version)
            )

    @rule(device=st.integers(0, 1), data=st.lists(st.tuples(seconds, numbers, numbers), min_size=1, max_size=6))
    def positions(self, device: int, data: list[tuple[int, float | None, float | None]]) -> None:
        """Fixes of any time, in any order."""
        rows = [
            Row(self.devices[device], START + timedelta(seconds=s), {"altitude": a, "accuracy": b, "speed": 1.0})
            for s, a, b in data
        ]
        self._land(GPS.table.name, rows)
        with self.connection.transaction():
            write(self.connection, GPS, rows)

    @rule(data=st.data())
    def again(self, data: st.DataObject) -> None:
        """A client's retry: some that are there, and a new one."""
        known = list(self.rows[GPS.table.name].values())
        if known:
            row = data.draw(st.sampled_from(known))
            new = Row(row.device_id, row.timestamp, {"altitude": 7.0})
            self._land(GPS.table.name, [new])
            with self.connection.transaction():
                write(self.connection, GPS, [row, new])

    @rule(data=st.lists(st.tuples(seconds, numbers, st.sampled_from("ab"), st.sampled_from(("W", None))), max_size=4))
    def states(self, data: list[tuple[int, float | None, str, str | None]]) -> None:
        """States of sensors, which are kept apart by sensor and unit."""
        rows = [
            Row(self.devices[0], START + timedelta(seconds=s), {"value": v}, {"sensor_id": i, "unit": u})
            for s, v, i, u in data
        ]
        self._land(STATES.table.name, rows)
        if rows:
            with self.connection.transaction():
                write(self.connection, STATES, rows)

    @rule(version=versions, data=st.lists(st.tuples(st.integers(0, 40), st.floats(0, 50)), min_size=1, max_size=4))
    def answers(self, version: str, data: list[tuple[int, float]]) -> None:
        """A version's answers for some windows: those that it gave for them before are superseded."""
        keys = {"stage": self.stage, "stage_version": version}
        rows = [
            Row(self.devices[1], START + timedelta(minutes=m), {n.name: x for n in WINDOWS.measures}, keys)
            for m, x in dict(data).items()
        ]
        times = {r.timestamp for r in rows}
        known = self.rows[WINDOWS.table.name]
        gone = [i for i, r in known.items() if r.timestamp in times and r.keys == keys]
        for message_id in gone:
            del known[message_id]
        self._land(WINDOWS.table.name, rows)
        with self.connection.transaction():
            write(self.connection, WINDOWS, rows)

    @rule(first=seconds, length=st.integers(0, 7200), device=st.sampled_from((0, 1, None)), whole=st.booleans())
    def erase(self, first: int, length: int, device: int | None, whole: bool) -> None:
        """Rows go, and with them their share of the roll-ups: by `forget`, as an erasure, or by `mark`."""
        start, end = START + timedelta(seconds=first), START + timedelta(seconds=first + length)
        chosen = self.devices if device is None else [self.devices[device]]
        for rollup in (GPS, STATES, WINDOWS):
            name = rollup.table.name
            with self.connection.transaction():
                self.connection.execute(
                    f"DELETE FROM {name} WHERE device_id = ANY(%s) AND timestamp >= %s AND timestamp <= %s",
                    (chosen, start, end),
                )
                for one in chosen:
                    (forget if whole else mark)(self.connection, name, one, start, end)
            known = self.rows[name]
            gone = [i for i, r in known.items() if r.device_id in chosen and start <= r.timestamp <= end]
            for message_id in gone:
                del known[message_id]

    @rule(version=versions)
    def promote(self, version: str) -> None:
        self.connection.execute(
            "INSERT INTO stage_promotions (stage, version) VALUES (%s, %s) "
            "ON CONFLICT (stage) DO UPDATE SET version = EXCLUDED.version",
            (self.stage, version),
        )
        self.promoted = version

    @rule()
    def refresh(self) -> None:
        refresh(self.connection, [r.table for r in (GPS, STATES, WINDOWS)])

    @invariant()
    def equal_a_recount(self) -> None:
        if not hasattr(self, "rows"):
            return
        for rollup in (GPS, STATES, WINDOWS):
            rows = self.rows[rollup.table.name].values()
            for unit in UNITS:
                assert_same(told(self.connection, rollup, unit, self.devices), counted(rollup, rows, unit))
        shown = [r for r in self.rows[WINDOWS.table.name].values() if self.promoted in (None, r.keys["stage_version"])]
        current = told(self.connection, WINDOWS, "minute", self.devices, "_current")
        assert_same(current, counted(WINDOWS, shown, "minute"))

    def teardown(self) -> None:
        """What is kept is right too, and the check agrees."""
        if hasattr(self, "rows"):
            self.refresh()
            self.equal_a_recount()
            for rollup in (GPS, STATES, WINDOWS):
                for unit in UNITS:
                    assert not differences(self.connection, rollup.table.name, unit)

    def _land(self, table: str, rows: list[Row]) -> None:
        self.rows[table].update((r.message_id, r) for r in rows)


def differences(connection: psycopg.Connection[Any], table: str, unit: str) -> list[tuple[Any, ...]]:
    values = (table, unit, START.replace(minute=0), START + timedelta(days=2))
    return connection.execute("SELECT * FROM loom_rollup_differences(%s, %s, %s, %s)", values).fetchall()


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True, options="-c timezone=Asia/Kolkata") as connection:
        yield connection


@pytest.mark.integration
def test_roll_ups_equal_a_recount(connection: psycopg.Connection[Any]) -> None:
    machine = type("RollUps", (RollUps,), {"connection": connection})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=20,
            stateful_step_count=10,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
