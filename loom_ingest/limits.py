"""How much one device, one key or one address may send: token buckets.

Every request takes a token of its key. One that carries no key takes one of its address, unless it is a POST: an open
service hears devices, which have buckets of their own, perhaps all of them through one proxy. What brings data takes a
token of each device in it, and so does each chunk on a stream. Probes take none.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Final

from loom_ingest.errors import ApiError, Code
from loom_ingest.quota import Quota, Rate
from loom_ingest.server.guard import PROBES
from loom_ingest.settings import Settings
from loom_ingest.trace import RequestContext

MOST_BUCKETS: Final = 10_000
"""Devices, keys and addresses that are remembered; of more, those that were quiet longest begin anew."""


class Buckets:
    """A bucket for each name, all of one rate."""

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._per_second = rate.per_minute / 60
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, names: Iterable[str]) -> tuple[Quota, bool]:
        """Take a token of each of `names`, or none when one has none; the least quota, and whether they were taken."""
        now = self._clock()
        left = {name: self._tokens(name, now) for name in names}
        least = min(left.values(), default=float(self._rate.burst))
        if least < 1:
            return Quota(self._rate, least), False
        for name, tokens in left.items():
            self._buckets[name] = (tokens - 1, now)
            self._buckets.move_to_end(name)
        while len(self._buckets) > MOST_BUCKETS:
            self._buckets.popitem(last=False)
        return Quota(self._rate, least - 1), True

    def _tokens(self, name: str, now: float) -> float:
        tokens, since = self._buckets.get(name, (self._rate.burst, now))
        return min(self._rate.burst, tokens + (now - since) * self._per_second)


class RateLimits:
    """The buckets of one worker process."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        many = "send many readings in one request to /sensor/batch"
        device = settings.rate_limit_requests_per_minute, settings.rate_limit_burst_size
        key = settings.rate_limit_key_requests_per_minute, settings.rate_limit_key_burst_size
        self._devices = Buckets(Rate("device", *device, "This device", many), clock)
        self._keys = Buckets(Rate("key", *key, "This key", "use a key for each device"), clock)
        self._peers = Buckets(Rate("address", *key, "Your address", "send an API key"), clock)

    def admit(self, context: RequestContext, device_ids: Iterable[str]) -> None:
        """Take a token of each of these devices; raises the 429."""
        self._take(self._devices, context, device_ids)

    def request(self, context: RequestContext, scope: Any) -> None:
        """Take a token of the key, or of the address, that this request or stream comes from; raises the 429."""
        key_id = context.principal.key_id
        if scope["path"] in PROBES:
            return
        if key_id is not None:
            self._take(self._keys, context, (key_id,))
        elif scope.get("method") != "POST":
            self._take(self._peers, context, (_network(scope.get("client")),))

    def message(self, context: RequestContext) -> None:
        """Take a token of the key of a stream for one message on it; raises the 429."""
        key_id = context.principal.key_id
        if key_id is not None:
            self._take(self._keys, context, (key_id,))

    def _take(self, buckets: Buckets, context: RequestContext, names: Iterable[str]) -> None:
        quota, taken = buckets.take(names)
        context.quotas = (*(q for q in context.quotas if q.rate.name != quota.rate.name), quota)
        if not taken:
            raise _refusal(quota)


def _refusal(quota: Quota) -> ApiError:
    rate, wait = quota.rate, max(1, quota.reset)
    return ApiError(
        429,
        Code.RATE_LIMITED,
        f"{rate.whose} may make {rate.per_minute:g} requests a minute, {rate.burst} of them at once; send again after "
        f"{wait} seconds, or {rate.advice}",
        details={"limit": rate.name, "requests_per_minute": rate.per_minute, "burst_size": rate.burst},
        headers={"Retry-After": str(wait)},
    )


def _network(client: Any) -> str:
    """The address a request comes from; of IPv6 the half that a household has, for it has the other half to itself."""
    host = str(client[0]) if client else ""
    return ":".join(host.split(":")[:4]) if ":" in host else host
