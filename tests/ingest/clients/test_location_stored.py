"""What OwnTracks and Traccar Client send is on the broker, or in the spool while that is away."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from loom_ingest.clients.identities import derived_device_id
from tests.ingest.clients.owntracks import GPS, KEPT, LOCATION, SECRET, box, post, sealed, who
from tests.ingest.conftest import Service
from tests.ingest.server import live_server

REPORT = "device.location.report.raw"
OSMAND: dict[str, Any] = {"timestamp": 1377177267, "lat": "60.25", "lon": "-30.5", "speed": "10.0", "batt": "87.0"}
TRACCAR: dict[str, Any] = {
    "location": {"timestamp": "2021-07-21T08:06:34.444Z", "coords": {"latitude": -6.1148096, "longitude": 106.6837015}},
}


def assert_taken(response: httpx.Response) -> None:
    assert (response.status_code, response.content) == (200, b""), response.text


@pytest.fixture(scope="module")
def secrets_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("secrets") / "secrets"
    path.write_text(f"# of the family\nown-sealed {SECRET}\nJane/Phone {'j' * 40}\n")
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def live_url(bootstrap_servers: str, ingest_prefix: str, secrets_file: Path) -> Iterator[str]:
    with live_server(
        bootstrap_servers, kafka_topic_prefix=ingest_prefix, owntracks_secrets_file=secrets_file
    ) as server:
        yield server.url


@pytest.fixture(autouse=True)
def known_secrets(secrets_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOM_OWNTRACKS_SECRETS_FILE", str(secrets_file))


async def test_messages_of_owntracks_are_on_the_broker_whatever_they_are(service: Service) -> None:
    """Plain and encrypted, known and unknown; each answered as the app expects."""
    await post(service, LOCATION, **who("brokered"))
    await post(service, {"_type": "of the future", "tst": 1}, **who("brokered"))
    response = await service.post("/pub", sealed(LOCATION | {"tst": 1448530461}), **who("sealed"))
    assert response.status_code == 200
    answer = response.json()
    assert answer["_type"] == "encrypted"
    assert box(SECRET).decrypt(base64.b64decode(answer["data"])) == b"[]"
    (fix,) = [json.loads(r.value) for r in service.records(GPS, derived_device_id("owntracks", "own/brokered"))]
    assert (fix["timestamp"], fix["latitude"], fix["speed"]) == ("2015-11-26T09:34:20Z", 52.5163, 10.0)
    (kept,) = [json.loads(r.value) for r in service.records(KEPT, derived_device_id("owntracks", "own/brokered"))]
    assert (kept["client"], json.loads(kept["body"])["_type"]) == ("owntracks", "of the future")
    (fix,) = [json.loads(r.value) for r in service.records(GPS, derived_device_id("owntracks", "own/sealed"))]
    assert fix["timestamp"] == "2015-11-26T09:34:21Z"


@pytest.mark.integration
def test_the_spool_has_it_when_the_broker_is_away(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    with live_server("127.0.0.1:1", spool_dir=spool, kafka_delivery_timeout_ms=300) as server:
        response = httpx.post(f"{server.url}/pub", json=LOCATION, timeout=20)
        assert (response.status_code, response.content) == (200, b"[]")
        assert httpx.get(f"{server.url}/readyz", timeout=20).json()["state"] == "spooling"
    written = b"".join(path.read_bytes() for path in spool.rglob("*") if path.is_file())
    assert written.count(b'"latitude":52.5163') == 1


async def test_positions_of_traccar_client_are_on_the_broker(service: Service) -> None:
    """As a query, as a form and as JSON; each answered with an empty success."""
    assert_taken(await service.http.post("/osmand", params=OSMAND | {"id": "osm-broker", "token": "key"}))
    assert_taken(await service.http.get("/osmand", params=OSMAND | {"id": "osm-broker", "timestamp": 1377177268}))
    assert_taken(await service.http.post("/osmand", data=OSMAND | {"id": "osm-broker", "timestamp": 1377177269}))
    assert_taken(await service.post("/osmand", TRACCAR | {"device_id": "osm-broker"}))
    fixes = [json.loads(record.value) for record in service.records(GPS, "osm-broker")]
    assert sorted(fix["timestamp"] for fix in fixes) == [
        "2013-08-22T13:14:27Z", "2013-08-22T13:14:28Z", "2013-08-22T13:14:29Z", "2021-07-21T08:06:34.444000Z",
    ]  # fmt: skip
    assert b"key" not in b"".join(record.value for record in service.records(REPORT, "osm-broker"))
