"""Who asks: request id and W3C trace context of one request (https://www.w3.org/TR/trace-context/)."""

import re
from contextvars import ContextVar
from typing import Final

from loom_contracts.randomness import random_piece
from loom_ingest.access.principal import ANYONE, Principal
from loom_ingest.quota import Quota

LONGEST_TRACESTATE: Final = 512
"""Bytes of `tracestate` that are passed on, what the recommendation asks for; entries that begin later are left out."""
KNOWN_FLAGS: Final = 0x03
"""`sampled`, and Level 2's `random`; others must not be passed on."""
_MOST_ENTRIES: Final = 32
_TRACEPARENT: Final = re.compile(rb"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_ENTRY: Final = re.compile(
    rb"[a-z0-9][a-z0-9_*/@-]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_NO_TRACE: Final = "0" * 32
_NO_SPAN: Final = b"0" * 16


class RequestContext:
    """Identity of one request: `request_id`, `trace_id`, this request's own `span_id`, and trace `flags`.

    `inherited` says whether the trace is the caller's, `parent_id` is then the caller's span and `tracestate` what
    came with it; `idempotency_key` is the header of that name; `problem_json` whether the caller asks for RFC 9457's
    media type; `principal` is whoever's key came with it; `quotas` are what it left of the buckets it took from.
    """

    __slots__ = (
        "flags",
        "idempotency_key",
        "inherited",
        "parent_id",
        "principal",
        "problem_json",
        "quotas",
        "request_id",
        "span_id",
        "trace_id",
        "tracestate",
    )

    def __init__(self, headers: list[tuple[bytes, bytes]]) -> None:
        text = (random_piece() + random_piece() + random_piece()).hex()
        self.trace_id = text[:32]
        self.span_id = text[32:48]
        self.flags = "01"
        self.inherited = False
        self.parent_id = ""
        self.tracestate = b""
        self.request_id = ""
        self.idempotency_key: bytes | None = None
        self.problem_json = False
        self.principal: Principal = ANYONE
        self.quotas: tuple[Quota, ...] = ()
        for name, value in headers:
            if name == b"traceparent":
                self._inherit(value)
            elif name == b"tracestate":
                self.tracestate += b"," + value if self.tracestate else value
            elif name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
                self.request_id = value.decode()
            elif name == b"idempotency-key":
                self.idempotency_key = value.strip().strip(b'"')
            elif name == b"accept":
                self.problem_json = b"application/problem+json" in value
        if self.tracestate:
            self.tracestate = _entries(self.tracestate) if self.inherited else b""
        if not self.request_id:
            # A version 4 UUID, without the cost of an object.
            self.request_id = f"{text[48:56]}-{text[56:60]}-4{text[61:64]}-a{text[65:68]}-{text[68:80]}"

    def _inherit(self, value: bytes) -> None:
        match = _TRACEPARENT.fullmatch(value.strip())
        if match is None or (match[1] == b"00" and match[5] is not None):
            return
        if match[2].decode() != _NO_TRACE and match[3] != _NO_SPAN:
            self.trace_id, self.parent_id, self.inherited = match[2].decode(), match[3].decode(), True
            self.flags = f"{int(match[4], 16) & KNOWN_FLAGS:02x}"

    @property
    def traceparent(self) -> bytes:
        """The header for whoever comes next."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}".encode()

    @property
    def sampled(self) -> bool:
        """Whether whoever began the trace records it."""
        return self.flags[-1] in "13579bdf"


CURRENT: Final[ContextVar[RequestContext | None]] = ContextVar("loom_request", default=None)
"""The request that is served here; every log line of it has its ids. Tasks that outlive a request begin without it."""


def _entries(value: bytes) -> bytes:
    """`tracestate` with its entries that are as the recommendation says, as far as they are passed on."""
    kept: list[bytes] = []
    size = 0
    for entry in value.split(b","):
        entry = entry.strip(b" \t")
        size += len(entry) + 1
        if size > LONGEST_TRACESTATE + 1 or len(kept) == _MOST_ENTRIES:
            break
        if entry and not _ENTRY.fullmatch(entry):
            return b""
        if entry:
            kept.append(entry)
    return b",".join(kept)
