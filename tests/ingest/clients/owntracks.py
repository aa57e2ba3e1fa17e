"""What OwnTracks' apps send, and what came of it."""

import base64
import json
from typing import Any, Final

import httpx
from nacl.secret import SecretBox

from tests.ingest.conftest import Service

GPS: Final = "device.sensor.gps.raw"
KEPT: Final = "device.unrecognized.raw"
SECRET = "s3cret with a space"
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

LOCATION: dict[str, Any] = {
    "_type": "location", "lat": 52.5163, "lon": 13.3777, "alt": 35, "acc": 8, "vac": 3, "vel": 36, "cog": 180,
    "tst": 1448530460, "batt": 57, "bs": 2, "conn": "w", "SSID": "home", "BSSID": "02:00:5e:10:00:01", "p": 101.325,
    "t": "u", "m": 1, "tid": "JA", "inregions": ["Home", "Street"], "inrids": ["6da9cf", "3defa7"], "tag": "work",
    "motionactivities": ["cycling"], "_id": "5f1a2b3c", "topic": "owntracks/jane/phone",
}  # fmt: skip


def who(name: str) -> dict[str, str]:
    """Headers of the device `name`, whose derived id is `name-..`."""
    return {"X_Limit_U": "own", "X_Limit_D": name}


def sent(service: Service, topic: str) -> list[dict[str, Any]]:
    """Messages on a topic of a service in memory."""
    assert service._memory is not None
    return [json.loads(r.value) for r in service._memory.records if r.topic == topic]


async def post(service: Service, message: Any, query: str = "", **headers: str) -> httpx.Response:
    """Have `message` taken, and answered in the clear."""
    response = await service.post(f"/pub{query}", message, **headers)
    assert (response.status_code, response.content) == (200, b"[]"), response.text
    assert response.headers["content-type"] == "application/json"
    return response


def box(secret: str) -> SecretBox:
    """As libsodium has it, and the apps."""
    return SecretBox(secret.encode()[:32].ljust(32, b"\0"))


def sealed(message: Any, secret: str = SECRET) -> dict[str, str]:
    """`message`, encrypted."""
    data = box(secret).encrypt(json.dumps(message).encode())
    return {"_type": "encrypted", "data": base64.b64encode(data).decode()}
