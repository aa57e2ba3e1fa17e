"""Room for large bodies: as many as fit, in their order, and a 503 for who waits too long."""

import asyncio
from typing import Any

import pytest
from fastapi import Request

from loom_ingest.clients import large
from loom_ingest.clients.large import LargeBodies
from loom_ingest.errors import ApiError, OverloadedError

KIBI = 1024


def request(size: int, **headers: str) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"x" * size}

    lengths = {"content-length": str(size)} | {name.replace("_", "-"): value for name, value in headers.items()}
    pairs = [(name.encode(), value.encode()) for name, value in lengths.items() if value]
    return Request({"type": "http", "headers": pairs}, receive)


async def hold(room: LargeBodies, size: int, order: list[str], name: str, **headers: str) -> None:
    async with room.read(request(size, **headers), 1_000 * KIBI):
        order.append(f"+{name}")
        await asyncio.sleep(0.02)
        order.append(f"-{name}")


async def test_as_many_as_fit_and_each_in_its_turn() -> None:
    room, order = LargeBodies(1_000 * KIBI), list[str]()
    await asyncio.gather(
        hold(room, 400 * KIBI, order, "a"),
        hold(room, 400 * KIBI, order, "b"),
        hold(room, 900 * KIBI, order, "c"),
        hold(room, 100 * KIBI, order, "d"),
        hold(room, 1 * KIBI, order, "small"),
    )
    assert set(order[:3]) == {"+a", "+b", "+small"}
    assert order.index("+c") > max(order.index("-a"), order.index("-b"))
    assert order.index("+d") > order.index("+c")


@pytest.mark.parametrize("headers", [{"content_length": ""}, {"content_encoding": "gzip"}])
async def test_what_does_not_tell_its_size_may_be_as_large_as_is_allowed(headers: dict[str, str]) -> None:
    room, order = LargeBodies(1_000 * KIBI), list[str]()
    body = {"content_encoding": "identity"} if "content_encoding" in headers else {}
    await asyncio.gather(
        hold(room, 900 * KIBI, order, "a", **body),
        asyncio.wait_for(_refused_or_held(room, order, headers), 5),
    )
    assert order.index("-a") < order.index("b")


async def _refused_or_held(room: LargeBodies, order: list[str], headers: dict[str, str]) -> None:
    await asyncio.sleep(0.005)
    try:
        async with room.read(request(1, **headers), 1_000 * KIBI):
            order.append("b")
    except ApiError:
        # One byte is no gzip; it was read, though, and that is what this is about.
        order.append("b")


async def test_who_waits_too_long_is_told_and_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "PATIENCE_SECONDS", 0.05)
    room, order = LargeBodies(1_000 * KIBI), list[str]()
    async with room.read(request(900 * KIBI), 1_000 * KIBI):
        with pytest.raises(OverloadedError):
            await hold(room, 900 * KIBI, order, "late")
    await hold(room, 900 * KIBI, order, "next")
    assert order == ["+next", "-next"]
