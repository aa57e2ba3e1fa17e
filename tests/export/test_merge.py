"""An import into a platform that has answers of its own: nothing is lost, and of two answers the newer one stands."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg import sql

from loom_contracts.topics.location import GEOREGION_DETECTED
from loom_platform.export.columns import columns_of
from loom_platform.export.selection import Selection
from tests.export.conftest import Side

pytestmark = pytest.mark.integration

TABLE = GEOREGION_DETECTED.table.name
NOON = datetime(2026, 11, 19, 12, tzinfo=UTC)
ONLY = Selection(topics=(GEOREGION_DETECTED.name,))


@dataclass(frozen=True)
class Answer:
    """What one platform has for one fix: ids that stand and ids that do not, and when it computed them."""

    standing: frozenset[int]
    superseded: frozenset[int]
    computed: int


IDS = st.frozensets(st.integers(1, 4), max_size=3)
ANSWERS = st.builds(lambda a, b, at: Answer(a, b - a, at), IDS, IDS, st.integers(0, 2))
PLATFORMS = st.lists(ANSWERS, min_size=2, max_size=2)


def put(connection: psycopg.Connection[Any], answers: list[Answer]) -> None:
    connection.execute(f"DELETE FROM {TABLE}".encode())
    connection.execute("SELECT loom_ensure_partitions(%s, %s, %s)", (TABLE, NOON.date(), NOON.date()))
    for fix, answer in enumerate(answers):
        for number in answer.standing | answer.superseded:
            at = NOON - timedelta(hours=1) + timedelta(minutes=answer.computed)
            connection.execute(
                f"INSERT INTO {TABLE} (timestamp, message_id, device_id, schema_version, source_message_id, stage, "
                "stage_version, latitude, longitude, event, computed_at, superseded_at) "
                "VALUES (%s, %s, 'phone-001', '1.0', %s, 'georegion-detector', '1', 1, 1, 'enter', %s, %s)".encode(),
                (NOON + timedelta(seconds=fix), UUID(int=fix * 100 + number), UUID(int=fix), at,
                 None if number in answer.standing else at + timedelta(minutes=1)),
            )  # fmt: skip


def state(connection: psycopg.Connection[Any]) -> dict[tuple[int, int], tuple[bool, str]]:
    """By fix and number: whether the row stands, and all of it."""
    names = sql.SQL(", ").join(sql.Identifier(c.name) for c in columns_of(connection, TABLE))
    rows = connection.execute(
        sql.SQL("SELECT message_id, superseded_at, ({})::text FROM {}").format(
            sql.SQL("ROW({})").format(names), sql.Identifier(TABLE)
        )
    ).fetchall()
    return {divmod(i.int, 100): (gone is None, text) for i, gone, text in rows}


@pytest.fixture(scope="module")
def sides(server_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Side]]:
    from contextlib import ExitStack, contextmanager

    from tests.export.conftest import platform

    with ExitStack() as stack:
        yield [
            stack.enter_context(
                contextmanager(platform)(server_url, template_database, tmp_path_factory.mktemp(name), ())
            )
            for name in ("merge_a", "merge_b")
        ]


@given(there=PLATFORMS, here=PLATFORMS)
@settings(
    max_examples=15,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_the_newer_answer_stands(
    sides: list[Side], tmp_path_factory: pytest.TempPathFactory, there: list[Answer], here: list[Answer]
) -> None:
    source, target = sides
    put(source.connection, there)
    put(target.connection, here)
    out = tmp_path_factory.mktemp("merge") / "out"
    source.export(out, ONLY)
    target.load(out)
    after = state(target.connection)
    for fix, (theirs, ours) in enumerate(zip(there, here, strict=True)):
        ids = theirs.standing | theirs.superseded | ours.standing | ours.superseded
        assert {n for f, n in after if f == fix} == ids
        standing = {n for n in ids if after[fix, n][0]}
        if not theirs.standing:
            assert standing == ours.standing
        elif ours.standing:
            assert standing == (theirs if theirs.computed > ours.computed else ours).standing
        else:
            # what this platform had put aside stays aside
            assert standing == theirs.standing - ours.superseded
    target.load(out)
    assert state(target.connection) == after
    assert Path(out).exists()
