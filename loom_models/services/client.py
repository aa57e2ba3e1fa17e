"""An HTTP client that says who it is, gives up in time, and takes nothing but JSON. Its user keeps the distance."""

import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx

from loom_models.services.base import AwayError, ServiceError

MAX_BYTES: Final = 8 * 1024 * 1024
"""An answer that is longer is none."""

TIMEOUT_SECONDS: Final = 15.0
_AGENT: Final = "Loom/0.1 (personal data platform; {contact})"


class RefusedError(ServiceError):
    """The service says that the request itself is wrong (HTTP 400, 404, 422)."""


class Client:
    """Asks one service over one connection.

    `contact` is how its keepers can reach who runs this Loom; it is part of the agent. Redirects are not followed: they
    are how portals of hotels answer. `total_seconds` bounds a request from its beginning to the last byte; `clock`
    (seconds) is given by tests.
    """

    def __init__(
        self,
        url: str,
        *,
        contact: str = "",
        headers: Mapping[str, str] | None = None,
        total_seconds: float = TIMEOUT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        agent = _AGENT.format(contact=contact or "no contact given")
        self._http = httpx.Client(
            base_url=url,
            headers={"user-agent": agent, "accept": "application/json", **(headers or {})},
            timeout=httpx.Timeout(min(10.0, total_seconds)),
            follow_redirects=False,
            # the certificates take 50 ms to read, and nothing but https needs them
            verify=not url.startswith("http://"),
        )
        self._total, self._clock = total_seconds, clock

    def json(self, method: str, path: str, **request: Any) -> Any:
        """The JSON of an answer; `request` is httpx's (params, data, json, headers).

        Raises RefusedError where the request is wrong, and AwayError for all else that is no good answer: no
        connection, a time-out, too many requests, a fault of the server's, a page of HTML.
        """
        started = self._clock()
        try:
            with self._http.stream(method, path, **request) as response:
                body = self._body(response, started)
        except httpx.HTTPError as error:
            raise AwayError(f"no answer: {type(error).__name__}") from None
        status = response.status_code
        if status in (400, 404, 422):
            raise RefusedError(f"HTTP {status}")
        if status in (401, 402, 403):
            raise AwayError(f"HTTP {status}: the service does not let us in; see LOOM_LOOKUP_CONTACT and the key")
        if status != 200:
            raise AwayError(f"HTTP {status}", _retry_after(response.headers.get("retry-after")))
        try:
            return json.loads(body)
        except ValueError:
            kind = response.headers.get("content-type", "no type").split(";")[0][:60]
            raise AwayError(f"an answer that is not JSON ({kind})") from None

    def close(self) -> None:
        """End the connection."""
        self._http.close()

    def _body(self, response: httpx.Response, started: float) -> bytes:
        parts, size = [], 0
        for part in response.iter_bytes():
            size += len(part)
            parts.append(part)
            if size > MAX_BYTES:
                raise AwayError(f"an answer of more than {MAX_BYTES // 1024 // 1024} MiB")
            if self._clock() - started > self._total:
                raise AwayError(f"no answer: not complete after {self._total:.0f} s")
        return b"".join(parts)


def _retry_after(text: str | None) -> timedelta | None:
    """What a Retry-After header asks for: seconds, or a date (RFC 9110, 10.2.3)."""
    if text is None:
        return None
    try:
        if text.strip().isdigit():
            return timedelta(seconds=min(int(text), 7 * 86_400))
        return max(timedelta(0), parsedate_to_datetime(text) - datetime.now(UTC))
    except (ValueError, TypeError):
        return None
