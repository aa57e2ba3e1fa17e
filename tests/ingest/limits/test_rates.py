"""Token buckets, who takes from which, and what the answers say of them."""

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from loom_ingest.access.principal import ANYONE, Principal, Scope
from loom_ingest.app import create_app
from loom_ingest.errors import ApiError
from loom_ingest.limits import MOST_BUCKETS, Buckets, RateLimits
from loom_ingest.quota import Quota, Rate, rate_headers
from loom_ingest.settings import Settings
from loom_ingest.trace import RequestContext
from tests.ingest.access.harness import make, serving
from tests.ingest.memory import MemoryProducer

GPS: dict[str, Any] = {"device_id": "phone-001", "latitude": 1.5, "longitude": 2.5}
RATE = Rate("device", 60, 3, "This device", "wait")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_empties_and_fills() -> None:
    clock = Clock()
    buckets = Buckets(RATE, clock)
    assert [buckets.take(["one"])[0].remaining for _ in range(3)] == [2, 1, 0]
    assert buckets.take(["one"]) == (Quota(RATE, 0.0), False)
    # Of a request for two, none is taken when one bucket is empty.
    assert not buckets.take(["two", "one"])[1]
    assert buckets.take(["two"])[0].remaining == 2
    clock.now = 1.0
    assert buckets.take(["one"])[1]
    assert not buckets.take(["one"])[1]
    clock.now = 1_000.0
    assert buckets.take(["one"])[0].remaining == 2


def test_buckets_are_bounded() -> None:
    buckets = Buckets(RATE, Clock())
    for n in range(MOST_BUCKETS + 5):
        buckets.take([f"device-{n}"])
    assert len(buckets) == MOST_BUCKETS


def test_the_fields_of_an_answer() -> None:
    key = Rate("key", 600, 1_000, "This key", "wait")
    fields = dict(rate_headers([Quota(RATE, 0.5), Quota(key, 900.0)]))
    assert fields == {
        b"ratelimit-policy": b'"device";q=3;w=3, "key";q=1000;w=100',
        b"ratelimit": b'"device";r=0;t=1, "key";r=900;t=10',
        b"ratelimit-limit": b"3",
        b"ratelimit-remaining": b"0",
        b"ratelimit-reset": b"1",
    }
    assert rate_headers(()) == []


def taken(limits: RateLimits, principal: Principal = ANYONE, **scope: Any) -> list[tuple[str, int]]:
    """Which buckets a request takes from, and what is left."""
    context = RequestContext([])
    context.principal = principal
    limits.request(context, {"path": "/devices", "method": "GET", "client": ("192.0.2.1", 1)} | scope)
    return [(quota.rate.name, quota.remaining) for quota in context.quotas]


def test_who_takes_from_which_bucket() -> None:
    limits = RateLimits(Settings(rate_limit_key_burst_size=3), Clock())
    bearer = Principal("one", frozenset({Scope.READ}))
    assert taken(limits, bearer) == [("key", 2)]
    assert taken(limits, bearer, method="POST", path="/sensor/gps") == [("key", 1)]
    assert taken(limits, Principal("two", frozenset())) == [("key", 2)]
    assert taken(limits) == [("address", 2)]
    # A household has the half of an IPv6 address to itself.
    assert taken(limits, client=("2001:db8:1:2:aaaa::1", 1)) == [("address", 2)]
    assert taken(limits, client=("2001:db8:1:2:bbbb::1", 1)) == [("address", 1)]
    assert taken(limits, client=("2001:db8:1:3::1", 1)) == [("address", 2)]
    # A stream's handshake has no method.
    scope = {"path": "/audio/stream/phone-001", "client": None}
    context = RequestContext([])
    limits.request(context, scope)
    assert [quota.rate.name for quota in context.quotas] == ["address"]
    # Those have no key to take from: their devices do.
    assert taken(limits, method="POST") == []
    for path in ("/healthz", "/readyz", "/metrics"):
        assert taken(limits, bearer, path=path) == []


def test_a_key_over_its_rate() -> None:
    limits = RateLimits(Settings(rate_limit_key_requests_per_minute=30, rate_limit_key_burst_size=1), Clock())
    bearer = Principal("one", frozenset({Scope.READ}))
    taken(limits, bearer)
    with pytest.raises(ApiError) as caught:
        taken(limits, bearer)
    assert (caught.value.status, caught.value.headers["Retry-After"]) == (429, "2")
    assert caught.value.details["limit"] == "key"
    context = RequestContext([])
    context.principal = bearer
    with pytest.raises(ApiError):
        limits.message(context)
    assert context.quotas[0].remaining == 0


@pytest.fixture
async def limited(producer: MemoryProducer) -> AsyncIterator[httpx.AsyncClient]:
    """Two requests at once of a device, four reads of an address."""
    settings = Settings(
        rate_limit_enabled=True,
        rate_limit_burst_size=2,
        rate_limit_requests_per_minute=6,
        rate_limit_key_burst_size=4,
        rate_limit_key_requests_per_minute=12,
    )
    app = create_app(settings, producer)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        yield client


async def test_a_device_that_sends_too_much(limited: httpx.AsyncClient, producer: MemoryProducer) -> None:
    answers = [await limited.post("/sensor/gps", json=GPS) for _ in range(3)]
    assert [a.status_code for a in answers] == [201, 201, 429]
    assert [a.headers["ratelimit-remaining"] for a in answers] == ["1", "0", "0"]
    assert answers[0].headers["ratelimit-policy"] == '"device";q=2;w=20'
    assert answers[0].headers["ratelimit"] == '"device";r=1;t=10'
    refused = answers[2]
    assert refused.json()["code"] == "RATE_LIMITED"
    assert 1 <= int(refused.headers["retry-after"]) <= 10
    assert refused.headers["ratelimit"] == f'"device";r=0;t={refused.headers["retry-after"]}'
    assert refused.headers["ratelimit-limit"] == "2"
    reading = {"device_id": "phone-001", "sensor_type": "light", "value": {"lux": 1}}
    assert (await limited.post("/sensor/batch", json=[reading])).status_code == 429
    assert (await limited.post("/sensor/gps", json=GPS | {"device_id": "phone-002"})).status_code == 201
    assert len(producer.records) == 3


async def test_reads_of_an_address(limited: httpx.AsyncClient) -> None:
    answers = [await limited.get("/system/metadata/types") for _ in range(5)]
    assert [a.status_code for a in answers] == [200, 200, 200, 200, 429]
    assert answers[0].headers["ratelimit"] == '"address";r=3;t=5'
    assert answers[4].headers["retry-after"] == "5"
    assert (await limited.get("/healthz")).status_code == 200
    assert (await limited.post("/sensor/gps", json=GPS)).status_code == 201


async def test_a_page_may_read_the_fields(limited: httpx.AsyncClient) -> None:
    answer = await limited.post("/sensor/gps", json=GPS, headers={"Origin": "http://localhost:3000"})
    assert answer.headers["ratelimit"]
    assert {"ratelimit", "ratelimit-policy", "retry-after"} <= set(
        re.split(r", *", answer.headers["access-control-expose-headers"])
    )


async def test_nothing_is_said_when_nothing_is_limited(client: httpx.AsyncClient) -> None:
    answer = await client.post("/sensor/gps", json=GPS)
    assert not [name for name in answer.headers if name.startswith("ratelimit")]


@pytest.mark.integration
async def test_each_key_has_a_bucket_of_its_own(database_url: str) -> None:
    one, two = await make(database_url, "ingest"), await make(database_url, "ingest")
    rates = {"rate_limit_enabled": True, "rate_limit_key_burst_size": 2, "rate_limit_key_requests_per_minute": 6}
    async with serving(database_url, **rates) as served:
        answers = [await served.gps(one) for _ in range(3)]
        assert [a.status_code for a in answers] == [201, 201, 429]
        assert answers[0].headers["ratelimit-policy"] == '"key";q=2;w=20, "device";q=100;w=6'
        assert answers[0].headers["ratelimit"] == '"key";r=1;t=10, "device";r=99;t=1'
        assert answers[0].headers["ratelimit-remaining"] == "1"
        assert answers[2].headers["ratelimit"].startswith('"key";r=0;t=')
        assert answers[2].json()["details"]["limit"] == "key"
        # What is refused for its key, or sent without one, costs the device nothing.
        assert (await served.gps(None)).status_code == 401
        assert '"device";r=97' in (await served.gps(two)).headers["ratelimit"]
        # Another way to the same handler: the long one, for a page.
        assert (await served.gps(one, Origin="http://localhost:3000")).status_code == 429
        assert len(served.producer.records) == 3
