"""What a running service writes to its log at its most talkative: no key, no header that holds one, no `?token=`."""

import asyncio
import json
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from loom_ingest.access.keys import make_key
from tests.ingest.access.harness import OTHER, OWN, bearer, make, revoke
from tests.ingest.server import live_server

pytestmark = pytest.mark.integration

BODY = {"device_id": OWN, "latitude": 1.5, "longitude": 2.5}


async def test_no_key_is_in_the_log(database_url: str, tmp_path: Path) -> None:
    own, revoked, stranger = await make(database_url, devices=[OWN]), await make(database_url), make_key().text
    await revoke(database_url, revoked)
    # A key that was mistyped is one letter from a key.
    keys = (own, revoked, stranger, own[:-1], "no-key-at-all-but-a-password")
    settings = {"debug": True, "require_api_keys": True, "database_url": database_url, "spool_dir": tmp_path}
    with live_server("127.0.0.1:1", kafka_delivery_timeout_ms=100, **settings) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=20) as http:
            for key in keys:
                for headers in (bearer(key), {"X-API-Key": key}, bearer(key) | {"Origin": "https://page.example"}):
                    await http.post("/sensor/gps", json=BODY, headers=headers)
                await http.post("/sensor/gps", json=BODY, auth=("anyone", key))
                await http.post("/overland", params={"token": key}, json={"locations": []})
                await http.get("/nowhere", params={"token": key})
                await _stream(server.port, f"{OWN}?token={key}", {})
                await _stream(server.port, OTHER, bearer(key))
            assert (await http.post("/sensor/gps", json=BODY, headers=bearer(own))).status_code == 201
        await asyncio.sleep(0.2)
        log = server.log.read_text()
    assert '"request_refused"' in log
    assert '"stream_refused"' in log
    secrets = [key[16:] or key for key in keys]
    told = [line for line in log.splitlines() if any(word in line for word in (*secrets, "token=", "Bearer", "Basic "))]
    assert told == []


async def _stream(port: int, path: str, headers: dict[str, str]) -> None:
    try:
        async with connect(f"ws://127.0.0.1:{port}/audio/stream/{path}", additional_headers=headers) as socket:
            await socket.send(json.dumps({"message_type": "ping", "data": {}}))
            await socket.recv()
    except InvalidStatus:
        # Refused, as most are here.
        return
