"""What an answer says of rates: the buckets a request took from, and what it left of them.

The fields are those of https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/ (10): a policy's
`q` is the size of the bucket and `w` the seconds in which it fills; `r` is what is left of it, and `t` the seconds
until it is full, or until there is a token again when none is left. The three fields of its older versions tell of the
bucket that is nearest to empty.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

Headers = list[tuple[bytes, bytes]]


class Rate(NamedTuple):
    """`burst` requests at once and `per_minute` in the long run, for each of what `name` names."""

    name: str
    per_minute: float
    burst: int
    whose: str
    advice: str

    @property
    def window(self) -> int:
        """Seconds in which an empty bucket fills."""
        return max(1, math.ceil(self.burst * 60 / self.per_minute))


class Quota(NamedTuple):
    """What was left of one bucket after a request."""

    rate: Rate
    tokens: float

    @property
    def remaining(self) -> int:
        """Requests that may follow at once."""
        return max(0, int(self.tokens))

    @property
    def reset(self) -> int:
        """Seconds until the bucket is full; or until there is a token, when it is empty."""
        missing = (self.rate.burst if self.tokens >= 1 else 1) - self.tokens
        return max(0, math.ceil(missing * 60 / self.rate.per_minute))


def rate_headers(quotas: Sequence[Quota]) -> Headers:
    """The fields that tell of `quotas`; none when there are none."""
    if not quotas:
        return []
    policies = ", ".join(f'"{q.rate.name}";q={q.rate.burst};w={q.rate.window}' for q in quotas)
    state = ", ".join(f'"{q.rate.name}";r={q.remaining};t={q.reset}' for q in quotas)
    nearest = min(quotas, key=lambda q: q.tokens / q.rate.burst)
    return [
        (b"ratelimit-policy", policies.encode()),
        (b"ratelimit", state.encode()),
        (b"ratelimit-limit", b"%d" % nearest.rate.burst),
        (b"ratelimit-remaining", b"%d" % nearest.remaining),
        (b"ratelimit-reset", b"%d" % nearest.reset),
    ]
