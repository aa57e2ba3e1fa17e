"""Devices that send one record after the other and log each acknowledgement; whatever fails is sent again."""

import asyncio
import threading
import time
import uuid
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import httpx


class Load:
    """`devices` senders in a thread of their own, from the beginning of the context to its end.

    `sent` maps a device to its message ids in the order of sending, `told` to those that were acknowledged; `times` are
    those of the acknowledgements.
    """

    def __init__(self, url: str, devices: int) -> None:
        self.url = url
        self.sent: dict[str, list[str]] = {f"device-{n}": [] for n in range(devices)}
        self.told: dict[str, list[str]] = {device: [] for device in self.sent}
        self.times: list[float] = []
        self.refused: dict[int, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Send nothing more; what is on its way is sent until it is acknowledged."""
        self._stop.set()
        self._thread.join(60)

    @property
    def acknowledged(self) -> int:
        return len(self.times)

    async def _run(self) -> None:
        limits = httpx.Limits(max_connections=len(self.sent), max_keepalive_connections=len(self.sent))
        async with httpx.AsyncClient(timeout=20, limits=limits) as client:
            await asyncio.gather(*(self._device(client, device) for device in self.sent))

    async def _device(self, client: httpx.AsyncClient, device: str) -> None:
        while not self._stop.is_set():
            message_id = str(uuid.uuid4())
            now = datetime.now(UTC).isoformat()
            body = {"device_id": device, "message_id": message_id, "timestamp": now, "latitude": 1.5, "longitude": 2.5}
            self.sent[device].append(message_id)
            while not await self._post(client, device, body):
                await asyncio.sleep(0.1)

    async def _post(self, client: httpx.AsyncClient, device: str, body: dict[str, object]) -> bool:
        try:
            answer = await client.post(f"{self.url}/sensor/gps", json=body)
        except httpx.HTTPError:
            return False
        if answer.status_code != 201:
            self.refused[answer.status_code] = self.refused.get(answer.status_code, 0) + 1
            return False
        assert answer.json()["message_id"] == body["message_id"]
        self.told[device].append(str(body["message_id"]))
        self.times.append(time.monotonic())
        return True
