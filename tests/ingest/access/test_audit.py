"""The chain of the audit log: whatever is done to a row is found, and the table refuses to have it done."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_ingest.access.audit import FIRST, Entry, Row, append, hash_of, rows, verify
from tests.ingest.access.harness import connected

TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)
ENTRIES = st.lists(st.tuples(TEXT, TEXT, TEXT, st.sampled_from(["done", "refused"]), TEXT), min_size=1, max_size=8)


def chain(entries: Sequence[tuple[str, str, str, str, str]]) -> list[Row]:
    found: list[Row] = []
    previous, now = FIRST, datetime(2026, 1, 1, tzinfo=UTC)
    for number, entry in enumerate(entries, 1):
        bare = Row(number, now + timedelta(microseconds=number), *entry, previous, b"")
        found.append(replace(bare, hash=hash_of(bare)))
        previous = found[-1].hash
    return found


async def streamed(found: Sequence[Row]) -> AsyncGenerator[Row, None]:
    for row in found:
        yield row


def broken(found: Sequence[Row], head: tuple[int, bytes] | None = None) -> int | None:
    return asyncio.run(verify(streamed(found), head)).broken


@given(ENTRIES)
def test_a_chain_holds(entries: Any) -> None:
    found = chain(entries)
    assert broken(found) is None
    assert broken(found, (len(found), found[-1].hash)) is None


@given(ENTRIES, st.data())
def test_a_changed_row_is_named(entries: Any, data: st.DataObject) -> None:
    found = chain(entries)
    at = data.draw(st.integers(0, len(found) - 1))
    field = data.draw(st.sampled_from(["actor", "action", "subject", "outcome", "details", "occurred_at", "hash"]))
    value: Any = {"occurred_at": found[at].occurred_at + timedelta(seconds=1), "hash": bytes(32)}.get(
        field, getattr(found[at], field)
    )
    if isinstance(value, str):
        value += "x"
    found[at] = replace(found[at], **{field: value})
    assert broken(found) == at + 1


@given(ENTRIES, st.data())
def test_text_does_not_move_between_fields(entries: Any, data: st.DataObject) -> None:
    found = chain(entries)
    at = data.draw(st.integers(0, len(found) - 1))
    row = found[at]
    moved = replace(row, actor=row.actor + row.action[:1], action=row.action[1:])
    if moved != row:
        found[at] = moved
        assert broken(found) == at + 1


@given(ENTRIES, st.data())
def test_a_removed_row_is_named(entries: Any, data: st.DataObject) -> None:
    found = chain(entries)
    head = (len(found), found[-1].hash)
    at = data.draw(st.integers(0, len(found) - 1))
    del found[at]
    # Cut off at the end, a chain still holds; the head that was told before shows it.
    assert broken(found) == (at + 1 if at < len(found) else None)
    assert broken(found, head) == at + 1


def test_a_chain_that_was_computed_anew_has_another_head() -> None:
    entry = ("cli:jan", "key.create", "aaaaaaaaaa", "done", "{}")
    told = chain([entry, entry])[-1].hash
    forged = chain([("cli:eve", *entry[1:]), entry])
    assert broken(forged) is None
    assert broken(forged, (2, told)) == 2


@pytest.mark.integration
async def test_writers_at_once_keep_the_chain(database_url: str) -> None:
    async def write(name: str) -> None:
        async with connected(database_url) as connection:
            for number in range(10):
                await append(connection, Entry(f"cli:{name}", "key.create", f"{name}{number}", details={"a": [1, "ü"]}))

    await asyncio.gather(*(write(name) for name in "abcdef"))
    async with connected(database_url) as connection:
        verdict = await verify(rows(connection))
        assert (verdict.rows, verdict.broken) == (60, None)
        last = [row async for row in rows(connection, limit=2)]
        assert [row.sequence for row in last] == [59, 60]
        assert last[-1].hash == verdict.head


@pytest.mark.integration
async def test_the_table_is_append_only_and_a_forger_is_found(database_url: str) -> None:
    async with connected(database_url) as connection:
        for number in range(4):
            await append(connection, Entry("cli:jan", "device.delete", f"phone-{number}"))
        for statement in (
            "UPDATE audit_log SET actor = 'nobody'",
            "DELETE FROM audit_log WHERE sequence = 2",
            "TRUNCATE audit_log",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
                await connection.execute(statement.encode())
        # Whoever owns the table can switch the trigger off. The chain tells.
        await connection.execute("ALTER TABLE audit_log DISABLE TRIGGER ALL")
        await connection.execute("UPDATE audit_log SET subject = 'phone-9' WHERE sequence = 3")
        verdict = await verify(rows(connection))
        assert (verdict.rows, verdict.broken, verdict.reason) == (2, 3, "its content is not what was written")


@pytest.mark.integration
async def test_what_did_not_happen_is_not_in_the_log(database_url: str) -> None:
    async with connected(database_url) as connection:
        await append(connection, Entry("cli:jan", "key.create", "one"))
        async with connection.transaction(force_rollback=True):
            await append(connection, Entry("cli:jan", "key.create", "two"))
        await append(connection, Entry("cli:jan", "key.create", "three \ud800 \x00"))
        assert [row.subject async for row in rows(connection)] == ["one", "three ? "]
        assert (await verify(rows(connection))).broken is None
