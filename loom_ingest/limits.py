"""How much one device may send: a token bucket each."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from loom_ingest.errors import ApiError, Code

MOST_BUCKETS: Final = 10_000
"""Devices that are remembered; of more, those that were quiet longest begin anew."""


class RateLimits:
    """A bucket of `burst` tokens for each device, filled at `per_minute`; a request takes one."""

    def __init__(self, per_minute: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_minute / 60
        self._per_minute = per_minute
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, device_ids: Iterable[str]) -> None:
        """Take a token of each of `device_ids`, or of none of them and raise the 429."""
        now = self._clock()
        left = {device_id: self._tokens(device_id, now) for device_id in device_ids}
        for tokens in left.values():
            if tokens < 1:
                raise self._refusal(tokens)
        for device_id, tokens in left.items():
            self._buckets[device_id] = (tokens - 1, now)
            self._buckets.move_to_end(device_id)
        while len(self._buckets) > MOST_BUCKETS:
            self._buckets.popitem(last=False)

    def _tokens(self, device_id: str, now: float) -> float:
        tokens, since = self._buckets.get(device_id, (self._burst, now))
        return min(self._burst, tokens + (now - since) * self._per_second)

    def _refusal(self, tokens: float) -> ApiError:
        wait = max(1, math.ceil((1 - tokens) / self._per_second))
        return ApiError(
            429,
            Code.RATE_LIMITED,
            f"This device may send {self._per_minute:g} requests a minute, {self._burst} of them at once; send again "
            f"after {wait} seconds, or many readings in one request to /sensor/batch",
            details={"requests_per_minute": self._per_minute, "burst_size": self._burst},
            headers={
                "Retry-After": str(wait),
                "RateLimit-Limit": f"{self._burst}",
                "RateLimit-Remaining": "0",
                "RateLimit-Reset": str(wait),
            },
        )
