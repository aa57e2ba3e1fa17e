"""A flood: devices that send ten times what they may, beside polite ones, and what it does to the service.

`SETTINGS` are the limits that it is made for; give them to whoever starts the service. `python -m
tests.ingest.limits.flood` starts one without a broker and prints the numbers.
"""

import asyncio
import json
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import psutil

PER_SECOND: Final = 20
SETTINGS: Final[dict[str, object]] = {
    "rate_limit_enabled": "true",
    "rate_limit_requests_per_minute": PER_SECOND * 60,
    "rate_limit_burst_size": PER_SECOND,
}
TIMES: Final = 10
_FIELDS: Final = ("retry-after", "ratelimit", "ratelimit-policy", "ratelimit-remaining")


def flood(port: int, pid: int, *, seconds: float = 3.0, devices: int = 8, connections: int = 32) -> dict[str, Any]:
    """Flood the service at `port`, whose process is `pid` and which has SETTINGS, for some seconds.

    `devices` devices send ten times their rate each, over `connections` connections; as many polite ones send half of
    theirs, and /healthz is asked all the while. Answers `offered_per_second`; `sent`, `accepted`, `limited` and `other`
    (by status, 0 for no answer) of the flood; `complete`, how many of the 429s had every field they should;
    `polite_sent` and `polite_accepted`; `health_max_ms`; `resident_before_mb` and `resident_peak_mb`, the workers
    together.
    """
    return asyncio.run(flooding(port, pid, seconds=seconds, devices=devices, connections=connections))


async def flooding(port: int, pid: int, *, seconds: float, devices: int, connections: int) -> dict[str, Any]:
    """The same, inside a running loop."""
    process = psutil.Process(pid)
    ends = time.perf_counter() + seconds
    offered = devices * PER_SECOND * TIMES
    before = peak = _resident_mb(process)
    rude, polite, health = Tally(), Tally(), Tally()
    rude_ids = [f"flood-{n:03d}" for n in range(devices)]
    senders = [
        _sender(port, rude_ids[n::connections] or rude_ids, offered / connections, ends, rude)
        for n in range(connections)
    ]
    senders += [_sender(port, [f"polite-{n:03d}"], PER_SECOND / 2, ends, polite) for n in range(devices)]
    senders.append(_sender(port, [], 20, ends, health))
    running = asyncio.gather(*senders)
    while not running.done():
        peak = max(peak, _resident_mb(process))
        await asyncio.sleep(0.05)
    await running
    return {
        "offered_per_second": offered,
        "sent": rude.sent,
        "accepted": rude.statuses.get(201, 0),
        "limited": rude.statuses.get(429, 0),
        "other": {status: count for status, count in rude.statuses.items() if status not in (201, 429)},
        "complete": rude.complete,
        "polite_sent": polite.sent,
        "polite_accepted": polite.statuses.get(201, 0),
        "health_sent": health.sent,
        "health_answered": health.statuses.get(200, 0),
        "health_max_ms": round(max(health.seconds, default=0.0) * 1e3, 1),
        "resident_before_mb": round(before),
        "resident_peak_mb": round(peak),
    }


@dataclass
class Tally:
    """What came of some requests."""

    sent: int = 0
    complete: int = 0
    statuses: dict[int, int] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)


async def _sender(port: int, device_ids: list[str], per_second: float, ends: float, tally: Tally) -> None:
    """One connection that sends at a fixed rate, late or not, until the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.perf_counter()
    n = 0
    try:
        while (now := time.perf_counter()) < ends:
            due = began + n / per_second
            if due > now:
                await asyncio.sleep(due - now)
            writer.write(_gps(device_ids[n % len(device_ids)]) if device_ids else _HEALTH)
            n += 1
            tally.sent += 1
            sent = time.perf_counter()
            status, names = await _answer(reader)
            tally.seconds.append(time.perf_counter() - sent)
            tally.statuses[status] = tally.statuses.get(status, 0) + 1
            tally.complete += status == 429 and all(name in names for name in _FIELDS)
            if not status:
                return
    finally:
        writer.close()


_HEALTH: Final = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def _gps(device_id: str) -> bytes:
    body = b'{"device_id":"%b","latitude":37.7749,"longitude":-122.4194}' % device_id.encode()
    lines = b"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    return b"POST /sensor/gps HTTP/1.1\r\n" + lines + body


async def _answer(reader: asyncio.StreamReader) -> tuple[int, set[str]]:
    """Status and names of the fields of an answer; 0 when there is none."""
    with suppress(OSError, asyncio.IncompleteReadError):
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
        fields = dict(line.partition(": ")[::2] for line in lines[1:] if line)
        await reader.readexactly(int(fields.get("content-length", 0)))
        return int(lines[0].split()[1]), set(fields)
    return 0, set()


def _resident_mb(process: psutil.Process) -> float:
    return float(sum(p.memory_info().rss for p in (process, *process.children(recursive=True)))) / 2**20


def main() -> None:
    """Flood a service without a broker, whose spool takes what is accepted."""
    from tests.ingest.server import live_server

    with (
        tempfile.TemporaryDirectory() as spool,
        live_server("127.0.0.1:1", spool_dir=spool, log_level="WARNING", **SETTINGS) as server,
    ):
        sys.stdout.write(json.dumps(flood(server.port, server.process.pid, seconds=10), indent=2) + "\n")


if __name__ == "__main__":
    main()
