"""Which device a client is: by a person's link, by its key, by its name; over a real database, and without one."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from psycopg.rows import dict_row
from structlog.testing import capture_logs
from typer.testing import CliRunner

from loom_ingest.access.principal import ANYONE, Principal, Scope
from loom_ingest.app import create_app
from loom_ingest.clients import identities
from loom_ingest.clients.identities import Identities, derived_device_id
from loom_ingest.settings import Settings
from loom_platform.cli.main import app as loom
from tests.ingest.memory import MemoryProducer

NOBODY = "postgresql://nobody@127.0.0.1:1/none"
LOCATION = {"_type": "location", "lat": 52.5, "lon": 13.4, "tst": 1448530460}
DERIVED = derived_device_id("owntracks", "jane/phone")


@asynccontextmanager
async def serving(producer: MemoryProducer, database_url: str, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """The app with its lifespan, over the in-memory producer."""
    app: FastAPI = create_app(Settings(database_url=database_url, **settings), producer)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
    ):
        yield client


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Links are followed at once."""
    monkeypatch.setattr(identities, "REFRESH_SECONDS", 0.05)


@pytest.fixture
def shell(database_url: str, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("LOOM_DATABASE_URL", database_url)
    return CliRunner()


async def became(client: httpx.AsyncClient, producer: MemoryProducer) -> str:
    """The device of a position that Jane's phone sends now."""
    producer.records.clear()
    assert (await client.post("/pub?u=jane&d=phone", json=LOCATION)).status_code == 200
    return str(producer.messages[0]["device_id"])


async def eventually(client: httpx.AsyncClient, producer: MemoryProducer, wanted: str) -> None:
    for _ in range(100):
        if await became(client, producer) == wanted:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"it stayed {producer.messages[0]['device_id']}")


async def listed(shell: CliRunner) -> list[dict[str, Any]]:
    # In a thread: the command has an event loop of its own.
    result = await asyncio.to_thread(shell.invoke, loom, ["identities", "list", "--json"])
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


@pytest.mark.parametrize(
    ("identity", "wanted"),
    [
        ("my-phone", "my-phone"),
        ("jane/phone", "jane-phone-ba30e3"),
        ("jo", "jo-"),
        ("∅", "owntracks-"),
        ("x" * 300, "x" * 57 + "-"),
    ],
)
def test_a_name_made_of_an_identity(identity: str, wanted: str) -> None:
    made = derived_device_id("owntracks", identity)
    assert made.startswith(wanted)
    assert len(made) <= 64


def test_the_key_of_one_device_says_which_it_is() -> None:
    of_one = Principal("k", frozenset({Scope.INGEST}), frozenset({"my-phone"}))
    of_two = Principal("k", frozenset({Scope.INGEST}), frozenset({"my-phone", "my-watch"}))
    found = Identities()
    assert [found.device_of("owntracks", "jane/phone", p) for p in (of_one, of_two, ANYONE)] == [
        "my-phone",
        DERIVED,
        DERIVED,
    ]


@pytest.mark.integration
async def test_a_person_links_what_was_seen(database_url: str, shell: CliRunner, quick: None) -> None:
    producer = MemoryProducer()
    async with serving(producer, database_url) as client:
        assert await became(client, producer) == DERIVED
        for _ in range(100):
            if await listed(shell):
                break
            await asyncio.sleep(0.05)
        (row,) = await listed(shell)
        assert (row["client"], row["identity"], row["device_id"], row["linked"]) == (
            "owntracks",
            "jane/phone",
            DERIVED,
            False,
        )
        told = await asyncio.to_thread(
            shell.invoke, loom, ["identities", "link", "owntracks", "jane/phone", "janes-phone"]
        )
        assert told.exit_code == 0, told.output
        assert f"stays with {DERIVED}" in told.output
        await eventually(client, producer, "janes-phone")
        assert [(r["device_id"], r["linked"]) for r in await listed(shell)] == [("janes-phone", True)]
        told = await asyncio.to_thread(shell.invoke, loom, ["identities", "unlink", "owntracks", "jane/phone"])
        assert told.exit_code == 0, told.output
        await eventually(client, producer, DERIVED)
    with psycopg.connect(database_url, row_factory=dict_row) as connection:
        audit = connection.execute("SELECT action, subject FROM audit_log ORDER BY sequence").fetchall()
    assert [(row["action"], row["subject"]) for row in audit] == [
        ("identity.link", "janes-phone"),
        ("identity.unlink", "jane/phone"),
    ]


@pytest.mark.integration
async def test_links_hold_while_the_database_is_away(database_url: str, tmp_path: Path, shell: CliRunner) -> None:
    """A service that starts without it has them from a file, which its owner alone can read."""
    command = ["identities", "link", "owntracks", "jane/phone", "janes-phone"]
    assert (await asyncio.to_thread(shell.invoke, loom, command)).exit_code == 0
    producer = MemoryProducer()
    async with serving(producer, database_url, spool_dir=tmp_path) as client:
        # Without a wait: they are known before the first request.
        assert await became(client, producer) == "janes-phone"
        for _ in range(100):
            if (tmp_path / "identities.json").exists():
                break
            await asyncio.sleep(0.02)
    assert (tmp_path / "identities.json").stat().st_mode & 0o777 == 0o600
    with capture_logs() as logs:
        async with serving(producer, NOBODY, spool_dir=tmp_path) as client:
            assert await became(client, producer) == "janes-phone"
    assert "jane" not in json.dumps(logs)


async def test_without_a_database_an_identity_is_its_name(tmp_path: Path) -> None:
    (tmp_path / "identities.json").write_text('[["cut sh')
    producer = MemoryProducer()
    async with serving(producer, NOBODY, spool_dir=tmp_path) as client:
        assert await became(client, producer) == DERIVED


@pytest.mark.integration
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["link", "owntracks", "jane/phone", "no device"], "3 to 64 letters"),
        (["link", "owntracks", "", "janes-phone"], "1 to 256 printable"),
        (["unlink", "owntracks", "nobody/nothing"], "has no link"),
    ],
)
def test_what_cannot_be_linked(shell: CliRunner, words: list[str], says: str) -> None:
    result = shell.invoke(loom, ["identities", *words], env={"COLUMNS": "200"})
    assert result.exit_code != 0
    assert says in result.output


@pytest.mark.integration
def test_nothing_is_changed_by_a_dry_run(shell: CliRunner) -> None:
    for words in (["link", "owntracks", "jane/phone", "janes-phone"], ["unlink", "owntracks", "jane/phone"]):
        assert shell.invoke(loom, ["identities", *words, "--dry-run"]).stdout.startswith("would ")
    assert "no client of another maker" in shell.invoke(loom, ["identities", "list"]).stdout
