"""What is no message of OwnTracks', or one with anything in it: the app gets its 200, and nothing is lost."""

import json
from functools import cache
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loom_ingest.app import create_app
from loom_ingest.settings import Settings
from tests.ingest.clients.owntracks import GPS, KEPT, LOCATION, post, sent
from tests.ingest.conftest import Service
from tests.ingest.memory import MemoryProducer


@pytest.fixture
def phone(client: httpx.AsyncClient, producer: MemoryProducer) -> Service:
    return Service(client, producer, "", "")


@pytest.mark.parametrize("body", [b"", b" \n", b"[]"])
async def test_nothing_is_kept_of_nothing(phone: Service, producer: MemoryProducer, body: bytes) -> None:
    await post(phone, body)
    assert producer.records == []


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"{not json", {}),
        (b"\xff\x00", {}),
        (b"17", {}),
        (b'{"_type": ["location"]}', {}),
        (b'{"_type": "location", "tst": "late", "lat": 1, "lon": 2}', {}),
        (b'{"_type": "location", "tst": 99999999999, "lat": 1, "lon": 2}', {}),
        (b'{"_type": "waypoints", "waypoints": 3}', {}),
        (b"not compressed at all", {"Content_Encoding": "gzip"}),
        (b"text", {"Content_Type": "text/plain; charset=latin-1"}),
        (b"text", {"Content_Encoding": "br"}),
        (b"[" * 1_000, {}),
    ],
)
async def test_what_cannot_be_read_is_kept(phone: Service, body: bytes, headers: dict[str, str]) -> None:
    await post(phone, body, **headers)
    (kept,) = sent(phone, KEPT)
    assert kept["client"] == "owntracks"
    if body.isascii():
        assert "".join(kept["body"].split()) == "".join(body.decode().split())


async def test_what_cannot_be_read_is_one_record_however_often_it_comes(phone: Service) -> None:
    for _ in range(2):
        await post(phone, {"_type": "of the future"})
    await post(phone, {"_type": "of a later future"})
    assert len({(m["timestamp"], m["message_id"]) for m in sent(phone, KEPT)}) == 2


async def test_what_is_too_long_for_a_field_is_kept_in_pieces_beside_the_position(phone: Service) -> None:
    note = "".join(f"{i:07}" for i in range(300_000))
    await post(phone, LOCATION | {"note": note})
    assert len(sent(phone, GPS)) == 1
    assert note in "".join(m["body"] for m in sent(phone, KEPT))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KINDS = st.sampled_from(
    ["location", "transition", "waypoint", "waypoints", "steps", "beacon", "card", "lwt", "status", "dump", "encrypted"]
)
NAMES = [*LOCATION, "wtst", "event", "desc", "rid", "rad", "uuid", "waypoints", "steps", "from", "to", "image", "data"]


@cache
def any_app() -> tuple[MemoryProducer, Any]:
    """One app for all examples: to build one takes longer than to ask it."""
    producer = MemoryProducer()
    return producer, create_app(Settings(), producer)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    kind=KINDS | VALUES,
    base=st.sampled_from([{}, LOCATION]),
    changes=st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), VALUES, max_size=5),
)
async def test_any_message_is_stored(kind: Any, base: dict[str, Any], changes: dict[str, Any]) -> None:
    """Whatever comes in place of whatever value: the app gets its 200, and the value is in some record."""
    message = base | changes | {"_type": kind}
    producer, app = any_app()
    producer.records.clear()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:8000") as http:
        response = await http.post("/pub", content=json.dumps(message))
    assert (response.status_code, response.content) == (200, b"[]"), response.text
    assert producer.records
    stored = " ".join(json.dumps(m, ensure_ascii=False) for m in producer.messages)
    left_out = {"topic", "qos", "_type"}
    texts = {v for name, v in changes.items() if name not in left_out and isinstance(v, str) and v.isalnum()}
    assert {text for text in texts if text not in stored} == set()
