"""Keys in a running service: made, replaced, revoked, with the database away, and what is written down of them."""

import asyncio
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from loom_ingest import database
from loom_ingest.access import gate, register
from loom_ingest.access.audit import rows, verify
from loom_ingest.access.keys import CHECKSUM_LENGTH, checksum, make_key
from loom_ingest.access.policy import SENDING
from loom_ingest.access.principal import ANYONE, Scope
from loom_ingest.access.remembered import FILE
from tests.ingest.access.harness import OTHER, OWN, Served, bearer, connected, handshake, make, revoke, serving

pytestmark = pytest.mark.integration

NOBODY = "postgresql://nobody@127.0.0.1:1/none"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "REFRESH_SECONDS", 0.05)
    monkeypatch.setattr(gate, "USES_SECONDS", 0.05)
    monkeypatch.setattr(gate, "SOONEST_SECONDS", 0.05)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that is away is given up soon."""
    monkeypatch.setattr(database, "POOL_TIMEOUT_SECONDS", 0.2)


async def until(served: Served, key: str, status: int, seconds: float = 5.0) -> dict[str, Any]:
    """Send until the answer has this status; its body."""
    deadline = time.monotonic() + seconds
    while (answer := await served.gps(key)).status_code != status:
        assert time.monotonic() < deadline, f"still {answer.status_code} {answer.text}"
        await asyncio.sleep(0.02)
    body: dict[str, Any] = answer.json()
    return body


async def test_a_key_counts_as_soon_as_it_is_made(database_url: str) -> None:
    async with serving(database_url) as served:
        await asyncio.sleep(gate.SOONEST_SECONDS)
        key = await make(database_url)
        assert (await served.gps(key)).status_code == 201


async def test_a_revoked_key_ends_within_two_seconds(database_url: str) -> None:
    assert gate.REFRESH_SECONDS + gate.SOONEST_SECONDS <= 2
    key = await make(database_url)
    async with serving(database_url) as served:
        assert (await served.gps(key)).status_code == 201
        await revoke(database_url, key)
        body = await until(served, key, 401, 3.0)
        assert body["details"] == {"reason": "revoked"}
        assert "was revoked at" in body["message"]


@pytest.mark.usefixtures("quick")
async def test_both_keys_of_a_rotation_work_until_the_overlap_ends(database_url: str) -> None:
    old = await make(database_url, "ingest", devices=[OWN])
    async with serving(database_url) as served:
        async with connected(database_url) as connection:
            new, row, replaced = await register.rotate(
                connection, "cli:test", old[5:15], overlap=timedelta(seconds=1), expires_at=None
            )
            assert (row.scopes, row.devices, row.expires_at) == (["ingest"], [OWN], None)
            assert (replaced.replaced_by, replaced.state(datetime.now(UTC))) == (new.key_id, "replaced")
            with pytest.raises(register.KeyRefusedError, match=f"replaced by {new.key_id}"):
                await register.rotate(connection, "cli:test", old[5:15], overlap=timedelta(), expires_at=None)
        assert (await served.gps(new.text)).status_code == 201
        assert (await served.gps(old)).status_code == 201
        body = await until(served, old, 401)
        assert body["details"] == {"reason": "expired"}
        assert (await served.gps(new.text)).status_code == 201


@pytest.mark.usefixtures("impatient")
async def test_a_key_expires_without_the_database(database_url: str, tmp_path: Path) -> None:
    async with connected(database_url) as connection:
        key, _ = await register.create(
            connection, "cli:test", name="x", scopes=[Scope.INGEST], devices=None,
            expires_at=datetime.now(UTC) + timedelta(seconds=1.5),
        )  # fmt: skip
    async with serving(database_url, spool_dir=tmp_path) as served:
        assert (await served.gps(key.text)).status_code == 201
    async with serving(NOBODY, spool_dir=tmp_path) as served:
        assert (await until(served, key.text, 401))["details"] == {"reason": "expired"}


@pytest.mark.usefixtures("impatient")
async def test_a_restart_without_the_database_knows_the_keys(database_url: str, tmp_path: Path) -> None:
    good, revoked = await make(database_url), await make(database_url)
    await revoke(database_url, revoked)
    async with serving(database_url, spool_dir=tmp_path) as served:
        assert (await served.gps(good)).status_code == 201
    file = tmp_path / FILE
    assert file.stat().st_mode & 0o777 == 0o600
    assert good[16:] not in file.read_text()
    async with serving(NOBODY, spool_dir=tmp_path) as served:
        assert (await served.gps(good)).status_code == 201
        assert (await served.gps(revoked)).json()["details"] == {"reason": "revoked"}
        began = time.monotonic()
        assert (await served.gps(make_key().text)).json()["details"] == {"reason": "unknown"}
        assert time.monotonic() - began < 4
    file.write_text(file.read_text().replace('"ingest"', '"everything"'))
    async with serving(NOBODY, spool_dir=tmp_path) as served:
        answer = await served.gps(good)
        # Clients throw away what is refused with a 401, so a service that cannot know says so.
        assert (answer.status_code, answer.json()["code"]) == (503, "DATABASE_UNAVAILABLE")
        assert int(answer.headers["retry-after"]) > 0


async def test_an_unknown_key_and_a_wrong_secret_are_answered_alike(database_url: str) -> None:
    known, stranger = await make(database_url), make_key().text
    forged = make_key().text
    forged = known[:16] + forged[16:]
    forged = forged[:-CHECKSUM_LENGTH] + checksum(forged[:-CHECKSUM_LENGTH].encode())
    async with serving(database_url) as served:
        answers = [(await served.gps(key)) for key in (stranger, forged)]
        said = [{k: v for k, v in a.json().items() if k not in ("request_id", "timestamp")} for a in answers]
        assert said[0] == said[1]
        assert answers[0].headers["www-authenticate"] == answers[1].headers["www-authenticate"]
        assert 'error="invalid_token"' in answers[0].headers["www-authenticate"]
        mistyped = await served.gps(known[:-1] + ("A" if known[-1] != "A" else "B"))
        assert mistyped.json()["details"] == {"reason": "malformed"}
        missing = await served.gps(None)
        assert missing.headers["www-authenticate"] == 'Bearer realm="loom"'
        assert all(key not in a.text for key in (known, stranger, forged) for a in answers)


async def test_where_a_key_may_be(database_url: str) -> None:
    key = await make(database_url)
    async with serving(database_url) as served:
        assert (await served.gps(None, **{"X-API-Key": key})).status_code == 201
        post = served.http.post
        body = {"device_id": OWN, "latitude": 1.5, "longitude": 2.5}
        assert (await post("/sensor/gps", json=body, auth=("anyone", key))).status_code == 201
        # An address is kept by logs and histories, so it carries a key only where a client cannot do otherwise.
        assert (await post(f"/sensor/gps?token={key}", json=body)).status_code == 401
        # The long way, which has an Origin, and its answer is one that a page may read.
        page = {"Origin": "https://page.example"}
        assert (await post("/sensor/gps", json=body, headers=page | bearer(key))).status_code == 201
        refused = await post("/sensor/gps", json=body, headers=page)
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "*")
        asked = page | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        assert (await served.http.options("/sensor/gps", headers=asked)).status_code == 200


async def test_an_open_service_honours_a_key_and_needs_none(database_url: str) -> None:
    own = await make(database_url, "ingest", devices=[OWN])
    revoked = await make(database_url)
    await revoke(database_url, revoked)
    async with serving(database_url, require_api_keys=False) as served:
        for key in (None, own, revoked, make_key().text, "anything"):
            assert (await served.gps(key)).status_code == 201
        assert (await served.gps(own, OTHER)).json()["code"] == "DEVICE_NOT_ALLOWED"


async def test_a_device_comes_in_by_no_other_way(database_url: str) -> None:
    key = await make(database_url, "ingest", "read", devices=[OWN])
    admin = await make(database_url, "admin")
    async with serving(database_url) as served:
        for device in (OWN, OTHER):
            await served.http.post("/devices", json={"device_id": device}, headers=bearer(admin))
            assert (await served.gps(admin, device)).status_code == 201
        get = served.http.get
        listed = (await get("/devices", headers=bearer(key))).json()
        assert ([d["device_id"] for d in listed["devices"]], listed["total"]) == ([OWN], 1)
        assert (await get("/devices?offset=5", headers=bearer(key))).json()["total"] == 1
        assert (await get(f"/devices/{OTHER}", headers=bearer(key))).json()["code"] == "DEVICE_NOT_ALLOWED"
        for _ in range(100):
            activity = (await get("/devices/activity", headers=bearer(admin))).json()
            if activity["total_devices"] == 2:
                break
            await asyncio.sleep(0.05)
        activity = (await get("/devices/activity", headers=bearer(key))).json()
        assert [d["device_id"] for d in activity["devices"]] == [OWN]
        # Deleted by the person, a device does not bring itself back.
        await served.http.delete(f"/devices/{OWN}", headers=bearer(admin))
        back = await served.http.post("/devices", json={"device_id": OWN}, headers=bearer(key))
        assert (back.status_code, back.json()["code"]) == (403, "INSUFFICIENT_SCOPE")
        back = await served.http.post("/devices", json={"device_id": OWN}, headers=bearer(admin))
        assert back.status_code == 201


@pytest.mark.usefixtures("quick")
async def test_uses_are_written_down_in_batches(database_url: str) -> None:
    used, unused = await make(database_url), await make(database_url)

    async def last() -> dict[str, Any]:
        async with connected(database_url) as connection:
            return {row.key_id: row.last_used_at for row in await register.all_keys(connection)}

    async with serving(database_url) as served:
        began = datetime.now(UTC)
        for _ in range(20):
            assert (await served.gps(used)).status_code == 201
        for _ in range(100):
            if (await last())[used[5:15]] is not None:
                break
            await asyncio.sleep(0.02)
        found = await last()
        assert found[used[5:15]] >= began - timedelta(seconds=1)
        assert found[unused[5:15]] is None
        assert (await served.gps(unused)).status_code == 201
    assert (await last())[unused[5:15]] is not None


async def test_what_is_done_to_devices_is_audited(database_url: str) -> None:
    admin, own = await make(database_url, "admin"), await make(database_url, "ingest", devices=[OWN])
    async with serving(database_url) as served:
        as_admin, as_own = bearer(admin), bearer(own)
        http = served.http
        await http.post("/devices", json={"device_id": OWN, "name": "secret name"}, headers=as_own)
        await http.patch(f"/devices/{OWN}", json={"tags": ["x"]}, headers=as_admin)
        for _ in range(3):
            assert (await http.delete(f"/devices/{OWN}", headers=as_own)).status_code == 403
            assert (await http.post("/devices", json={"device_id": OTHER}, headers=as_own)).status_code == 403
        await http.delete(f"/devices/{OWN}", headers=as_admin)
        assert (await http.delete(f"/devices/{OWN}", headers=as_admin)).status_code == 404
    async with connected(database_url) as connection:
        found = [row async for row in rows(connection)]
        assert (await verify(rows(connection))).broken is None
    told = [(r.actor, r.action, r.subject, r.outcome) for r in found if not r.action.startswith("key.")]
    key_admin, key_own = f"key:{admin[5:15]}", f"key:{own[5:15]}"
    assert sorted(told) == sorted(
        [
            (key_own, "device.register", OWN, "done"),
            (key_admin, "device.update", OWN, "done"),
            (key_admin, "device.delete", OWN, "done"),
            (key_own, "device.delete", OWN, "refused"),
            (key_own, "device.register", OTHER, "refused"),
        ]
    )
    text = json.dumps([r.details for r in found])
    assert "secret name" not in text
    assert admin not in text


async def test_a_handshake_is_refused_before_the_stream_is_open(database_url: str) -> None:
    own = await make(database_url, "ingest", devices=[OWN])
    reader = await make(database_url, "read")
    async with serving(database_url) as served:
        for headers, query, status in (
            ({}, "", 401),
            (bearer(make_key().text), "", 401),
            (bearer(reader), "", 403),
            (bearer(own), "", 101),
            ({}, f"token={own}", 101),
            ({"X-API-Key": own}, "", 101),
        ):
            answered, sent = await handshake(served.app, f"/audio/stream/{OWN}", headers, query)
            assert answered == status, sent
        answered, sent = await handshake(served.app, f"/audio/stream/{OTHER}", bearer(own))
        assert (answered, json.loads(sent[1]["body"])["code"]) == (403, "DEVICE_NOT_ALLOWED")
        # Nobody's connection is taken over by a stranger.
        assert served.app.state.streams.connections(ANYONE).connected_devices == []


@pytest.mark.usefixtures("quick")
async def test_a_stream_ends_with_its_key(database_url: str) -> None:
    key = await make(database_url)
    async with serving(database_url) as served:
        sent: list[Any] = []
        incoming: asyncio.Queue[Any] = asyncio.Queue()
        incoming.put_nowait({"type": "websocket.connect"})

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "websocket", "path": f"/audio/stream/{OWN}", "root_path": "", "query_string": b"",
            "headers": [(b"authorization", f"Bearer {key}".encode())], "subprotocols": [],
        }  # fmt: skip
        task = asyncio.create_task(served.app(scope, incoming.get, send))
        ping = {"type": "websocket.receive", "text": '{"message_type": "ping", "data": {}}'}
        incoming.put_nowait(ping)
        await _eventually(lambda: len(sent) == 2)
        await revoke(database_url, key)
        while not task.done():
            incoming.put_nowait(ping)
            await asyncio.sleep(0.02)
        assert json.loads(sent[-2]["text"])["code"] == "UNAUTHENTICATED"
        assert (sent[-1]["type"], sent[-1]["code"]) == ("websocket.close", 1008)


async def _eventually(condition: Callable[[], bool]) -> None:
    for _ in range(200):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not happen")


async def test_a_look_up_costs_microseconds(database_url: str) -> None:
    """Of 4 ms or so that a request takes; a look-up in the database, or a slow hash, would show here."""
    key = await make(database_url)
    async with serving(database_url) as served:
        assert (await served.gps(key)).status_code == 201
        the_gate = served.app.state.services.gate
        scope = {"headers": [(b"host", b"x"), (b"authorization", f"Bearer {key}".encode())], "query_string": b""}
        best = 1.0
        for _ in range(20):
            began = time.perf_counter()
            for _ in range(200):
                await the_gate.principal(scope, SENDING)
            best = min(best, (time.perf_counter() - began) / 200)
        assert best < 20e-6


async def test_a_flood_of_unknown_keys_reads_the_keys_seldom(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = 0

    async def counted(connection: Any) -> list[register.KeyRow]:
        nonlocal readings
        readings += 1
        return await register.all_keys(connection)

    monkeypatch.setattr(gate, "all_keys", counted)
    key = await make(database_url)
    async with serving(database_url) as served:
        assert (await served.gps(key)).status_code == 201
        began, before = time.monotonic(), readings
        answers = await asyncio.gather(*(served.gps(make_key().text) for _ in range(200)))
        assert {answer.status_code for answer in answers} == {401}
        allowed = (time.monotonic() - began) / gate.SOONEST_SECONDS + 2
        assert readings - before <= allowed
        assert (await served.gps(key)).status_code == 201


async def test_other_makers_clients_send_their_key_as_they_can(database_url: str) -> None:
    own = await make(database_url, "ingest", devices=[OWN])
    point = {"_type": "location", "lat": 1.5, "lon": 2.5, "tst": 1_767_225_600}
    async with serving(database_url) as served:
        asked = await served.http.post("/pub", json=point)
        # Some send Basic authentication only when they are asked for it.
        assert asked.headers["www-authenticate"] == 'Bearer realm="loom", Basic realm="loom", charset="UTF-8"'
        assert asked.status_code == 401
        headers = {"X-Limit-U": "someone", "X-Limit-D": "elsewhere"}
        sent = await served.http.post("/pub", json=point, headers=headers, auth=("someone", own))
        assert sent.status_code == 200
        query: dict[str, Any] = {"token": own, "id": "another", "lat": 1.5, "lon": 2.5, "timestamp": 1_767_225_601}
        assert (await served.http.get("/osmand", params=query)).status_code == 200
        # Whatever they call themselves, the key is of one device.
        assert {record.key.decode() for record in served.producer.records} == {OWN}
