"""The real service object over a real PostgreSQL, the keys of every kind, and its routes as they are."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import httpx
import psycopg
from fastapi import FastAPI
from psycopg.rows import dict_row
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.types import Message

from loom_ingest.access import register
from loom_ingest.access.principal import Scope
from loom_ingest.app import create_app
from loom_ingest.settings import Settings
from tests.ingest.memory import MemoryProducer

OWN, OTHER = "phone-001", "phone-002"
GPS: dict[str, Any] = {"latitude": 1.5, "longitude": 2.5}


class Served(NamedTuple):
    """A service, its producer, and a client."""

    app: FastAPI
    producer: MemoryProducer
    http: httpx.AsyncClient

    async def gps(self, key: str | None, device_id: str = OWN, **headers: str) -> httpx.Response:
        return await self.http.post("/sensor/gps", json={"device_id": device_id, **GPS}, headers=bearer(key) | headers)


def bearer(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Authorization": f"Bearer {key}"}


@asynccontextmanager
async def serving(database_url: str, **settings: Any) -> AsyncIterator[Served]:
    """The app with its lifespan over the in-memory producer; keys are required."""
    producer = MemoryProducer()
    app = create_app(Settings(database_url=database_url, **{"require_api_keys": True} | settings), producer)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as http,
    ):
        yield Served(app, producer, http)


@asynccontextmanager
async def connected(database_url: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True, row_factory=dict_row) as connection:
        yield connection


async def make(database_url: str, *scopes: str, devices: list[str] | None = None, ended: bool = False) -> str:
    """A new key; one that has `ended` expired a minute ago."""
    async with connected(database_url) as connection:
        key, _ = await register.create(
            connection,
            "cli:test",
            name="test",
            scopes=[Scope(s) for s in scopes or ("ingest",)],
            devices=devices,
            expires_at=datetime.now(UTC) - timedelta(minutes=1) if ended else None,
        )
    return key.text


async def revoke(database_url: str, key: str) -> None:
    async with connected(database_url) as connection:
        await register.revoke(connection, "cli:test", key[5:15])


async def every_kind(database_url: str) -> dict[str, str | None]:
    """A key of each kind that the matrix has."""
    kinds: dict[str, str | None] = {
        "none": None,
        "expired": await make(database_url, "admin", ended=True),
        "revoked": await make(database_url, "admin"),
        "ingest": await make(database_url, "ingest"),
        "read": await make(database_url, "read"),
        "admin": await make(database_url, "admin"),
        "own": await make(database_url, "ingest", devices=[OWN]),
        "own-read": await make(database_url, "read", devices=[OWN]),
        "other": await make(database_url, "ingest", "read", devices=[OTHER]),
    }
    assert kinds["revoked"] is not None
    await revoke(database_url, kinds["revoked"])
    return kinds


class Endpoint(NamedTuple):
    """One method of one route; `path` has its parameters filled in with the own device."""

    method: str
    template: str
    path: str

    @property
    def key(self) -> str:
        return f"{self.method} {self.template}"


def endpoints(app: FastAPI) -> list[Endpoint]:
    """Every endpoint of the app, found by walking its routes."""
    found = []
    for route in walk(app.routes):
        template = str(getattr(route, "path", ""))
        path = template
        for name in getattr(route, "param_convertors", {}):
            value = OWN if name == "device_id" else "thing-001"
            path = path.replace(f"{{{name}}}", value).replace(f"{{{name}:path}}", value)
        if isinstance(route, Mount):
            found.append(Endpoint("GET", f"{template}/*", f"{path}/favicon.png"))
        elif methods := getattr(route, "methods", None):
            found += [Endpoint(method, template, path) for method in sorted(methods)]
        else:
            assert isinstance(route, WebSocketRoute), route
            found.append(Endpoint("WEBSOCKET", template, path))
    return found


def walk(routes: list[BaseRoute]) -> Iterator[BaseRoute]:
    """The routes, those of included routers too."""
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            assert not route.include_context.prefix, "routers have their own prefix"  # type: ignore[attr-defined]
            yield from walk(inner.routes)
        else:
            assert isinstance(route, Route | WebSocketRoute | Mount), route
            yield route


async def handshake(app: FastAPI, path: str, headers: dict[str, str], query: str = "") -> tuple[int, list[Message]]:
    """The status that a WebSocket's handshake is answered with (101 when it is accepted), and all that was sent."""
    sent: list[Message] = []
    incoming: asyncio.Queue[Message] = asyncio.Queue()
    incoming.put_nowait({"type": "websocket.connect"})
    incoming.put_nowait({"type": "websocket.disconnect", "code": 1000})

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "websocket",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
        "subprotocols": [],
        "extensions": {"websocket.http.response": {}},
    }
    await app(scope, incoming.get, send)
    first = sent[0]
    status = {"websocket.accept": 101, "websocket.close": 403}.get(first["type"])
    return status if status is not None else int(first["status"]), sent
