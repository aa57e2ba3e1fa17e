"""OwnTracks' encrypted messages, and the file of secrets."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from loom_ingest.app import create_app
from loom_ingest.settings import Settings
from tests.ingest.clients.owntracks import GPS, KEPT, LOCATION, SECRET, post, sealed, sent, who
from tests.ingest.conftest import Service
from tests.ingest.memory import MemoryProducer


@pytest.fixture
def secrets_file(tmp_path: Path) -> Path:
    path = tmp_path / "secrets"
    path.write_text(f"# of the family\nown-sealed {SECRET}\nJane/Phone {'j' * 40}\nnothing\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def phone(secrets_file: Path, producer: MemoryProducer) -> Service:
    app = create_app(Settings(owntracks_secrets_file=secrets_file), producer)
    http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:8000")
    return Service(http, producer, "", "")


async def test_secrets_are_looked_up_as_the_recorder_does_and_cut_at_32_bytes(phone: Service) -> None:
    response = await phone.post("/pub", sealed(LOCATION, "j" * 32), X_Limit_U="JANE", X_Limit_D="phone")
    assert response.json()["_type"] == "encrypted"
    assert len(sent(phone, GPS)) == 1
    # Nobody says who it is: whatever secret opens it is the one.
    response = await phone.post("/pub", sealed([LOCATION, LOCATION], "j" * 32))
    assert response.json()["_type"] == "encrypted"
    assert len(sent(phone, GPS)) == 3


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (sealed(LOCATION, "another secret"), "is not the one on the phone"),
        ({"_type": "encrypted", "data": "!"}, "not base64"),
        ({"_type": "encrypted", "data": "AAAA"}, "is not the one on the phone"),
        ({"_type": "encrypted", "data": 17}, "not base64"),
        ({"_type": "encrypted"}, "not base64"),
    ],
)
async def test_what_cannot_be_opened_is_kept_and_read_when_it_is_sent_again(
    phone: Service, message: dict[str, Any], says: str
) -> None:
    with capture_logs() as logs:
        await post(phone, message, **who("sealed"))
    (kept,) = sent(phone, KEPT)
    assert says in kept["reason"]
    assert json.loads(kept["body"]) == message
    assert SECRET not in json.dumps(logs) + kept["reason"]


async def test_a_secret_counts_as_soon_as_it_is_in_the_file(tmp_path: Path, producer: MemoryProducer) -> None:
    path = tmp_path / "secrets"
    app = create_app(Settings(owntracks_secrets_file=path), producer)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
        assert (await http.post("/pub", json=sealed(LOCATION))).content == b"[]"
        assert "has none for this phone" in producer.messages[0]["reason"]
        path.write_text(f"* {SECRET}\n")
        assert (await http.post("/pub", content=producer.messages[0]["body"])).json()["_type"] == "encrypted"
        # What is not encrypted is answered in the clear.
        assert (await http.post("/pub", json=LOCATION)).content == b"[]"
    assert [m["latitude"] for m in producer.messages if "latitude" in m and "accuracy" in m] == [52.5163] * 2


async def test_in_a_box_there_may_be_anything_but_another_box(phone: Service) -> None:
    for inner in (sealed(LOCATION), {"_type": "new"}, "text"):
        response = await phone.post("/pub", sealed(inner), **who("sealed"))
        assert response.json()["_type"] == "encrypted"
    assert len(sent(phone, KEPT)) == 3
    assert sent(phone, GPS) == []


async def test_a_file_that_others_can_read_is_told_of_without_its_content(secrets_file: Path, phone: Service) -> None:
    secrets_file.chmod(0o644)
    with capture_logs() as logs:
        await phone.post("/pub", sealed(LOCATION), **who("sealed"))
    assert "owntracks_secrets_readable" in {entry["event"] for entry in logs}
    assert "owntracks_secret_left_out" in {entry["event"] for entry in logs}
    assert SECRET not in json.dumps(logs)


async def test_without_a_file_nothing_can_be_opened(client: httpx.AsyncClient, producer: MemoryProducer) -> None:
    assert (await client.post("/pub", json=sealed(LOCATION))).content == b"[]"
    assert "LOOM_OWNTRACKS_SECRETS_FILE" in producer.messages[0]["reason"]
