"""Loom's protocol under any ASGI application, in this process: answers of every form, and applications that fail."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from loom_ingest.metrics import Metrics
from loom_ingest.server.guard import Guard
from loom_ingest.server.run import uvicorn_options
from loom_ingest.settings import Settings

Handler = Callable[[Scope, Receive, Send], Awaitable[None]]


class App:
    """An ASGI application with the guard that the protocol looks for."""

    def __init__(self, settings: Settings, handler: Handler) -> None:
        self.state = SimpleNamespace(guard=Guard(settings, Metrics()))
        self.handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.handler(scope, receive, send)


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[int]:
    """The port of a server of `handler`."""
    settings = Settings(keep_alive_seconds=2)
    options = uvicorn_options(settings) | {"port": 0, "lifespan": "off"}
    server = uvicorn.Server(uvicorn.Config(App(settings, handler), **options))
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


async def exchange(port: int, *pieces: bytes) -> bytes:
    """What is answered to these pieces, sent one by one, until the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(0)
    data = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    return data


def start(status: int = 200, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(content: bytes = b"", *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": content, "more_body": more}


async def tell(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer what was understood of the request."""
    content = b""
    while True:
        event = await receive()
        content += event["body"]
        if not event["more_body"]:
            break
    said = {key: scope[key] for key in ("method", "path", "http_version")}
    said |= {"query": scope["query_string"].decode(), "body": content.decode()}
    text = json.dumps(said).encode()
    await send(start(200, (b"content-length", str(len(text)).encode())))
    await send(body(text))


CLOSE = b"Connection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("request_", "understood"),
    [
        (b"GET /a%20b?c=%20 HTTP/1.1\r\n" + CLOSE, {"path": "/a b", "query": "c=%20"}),
        (b"GET http://localhost/a?b HTTP/1.1\r\n" + CLOSE, {"path": "/a", "query": "b"}),
        (b"GET /a HTTP/1.0\r\n\r\n", {"path": "/a", "http_version": "1.0"}),
        (b"POST /a HTTP/1.1\r\nContent-Length: 2\r\n" + CLOSE + b"hi", {"body": "hi"}),
        (
            b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
            + CLOSE
            + b"1\r\nh\r\n1;x=y\r\ni\r\n0\r\nT: t\r\n\r\n",
            {"body": "hi"},
        ),
        (b"\r\n\r\nDELETE /a HTTP/1.1\r\n" + CLOSE, {"method": "DELETE"}),
    ],
)
async def test_forms_of_a_request(request_: bytes, understood: dict[str, str]) -> None:
    async with serving(tell) as port:
        head, _, content = (await exchange(port, request_)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert understood.items() <= json.loads(content).items()


async def test_pieces_of_any_size_are_the_same_requests() -> None:
    bodies = ["one", "", "three" * 20]
    data = b"".join(
        b"POST /%d HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (n, len(text), text.encode())
        for n, text in enumerate(bodies)
    )
    data += b"GET /last HTTP/1.1\r\n" + CLOSE
    anywhere = random.Random(8)
    async with serving(tell) as port:
        for _ in range(40):
            cuts = sorted(anywhere.randrange(len(data)) for _ in range(anywhere.randrange(20)))
            answers = await exchange(port, *(data[a:b] for a, b in pairwise([0, *cuts, len(data)])))
            said = [json.loads(answer.partition(b"}")[0] + b"}") for answer in answers.split(b"\r\n\r\n")[1:]]
            found = [(answer["path"], answer["body"]) for answer in said]
            assert found == [*((f"/{n}", text) for n, text in enumerate(bodies)), ("/last", "")], cuts


GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n"


async def answered(handler: Handler, request_: bytes = GET + CLOSE) -> tuple[bytes, bytes]:
    async with serving(handler) as port:
        head, _, content = (await exchange(port, request_)).partition(b"\r\n\r\n")
    return head, content


async def test_an_answer_in_pieces() -> None:
    async def handler(_: Scope, __: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"one", more=True))
        await send(body(more=True))
        await send(body(b"two"))

    head, content = await answered(handler)
    assert b"transfer-encoding: chunked" in head
    assert content == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 204), (b"GET", 304)])
async def test_an_answer_without_a_body(method: bytes, status: int) -> None:
    async def handler(_: Scope, __: Receive, send: Send) -> None:
        await send(start(status, *([(b"content-length", b"5")] if status == 200 else [])))
        await send(body(b"hello" if status == 200 else b""))

    head, content = await answered(handler, GET.replace(b"GET", method) + CLOSE)
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"chunked" not in head
    assert content == b""


async def fails_at_once(_: Scope, __: Receive, ___: Send) -> None:
    raise ValueError("secret")


async def says_nothing(_: Scope, __: Receive, ___: Send) -> None:
    return


async def breaks_a_line(_: Scope, __: Receive, send: Send) -> None:
    await send(start(200, (b"x-name", b"a\r\nset-cookie: b")))
    await send(body())


@pytest.mark.parametrize("handler", [fails_at_once, says_nothing, breaks_a_line])
async def test_an_application_that_fails(handler: Handler) -> None:
    head, content = await answered(handler)
    assert head.startswith(b"HTTP/1.1 500 ")
    assert b"secret" not in head + content
    assert b"set-cookie" not in head


async def stops_in_the_middle(_: Scope, __: Receive, send: Send) -> None:
    await send(start(200, (b"content-length", b"10")))
    await send(body(b"short", more=True))


async def is_too_short(_: Scope, __: Receive, send: Send) -> None:
    await send(start(200, (b"content-length", b"10")))
    await send(body(b"short"))


async def is_too_long(_: Scope, __: Receive, send: Send) -> None:
    await send(start(200, (b"content-length", b"2")))
    await send(body(b"too long"))


@pytest.mark.parametrize("handler", [stops_in_the_middle, is_too_short, is_too_long])
async def test_a_broken_answer_is_seen_to_be_broken(handler: Handler) -> None:
    async with serving(handler) as port, httpx.AsyncClient() as http:
        with pytest.raises(httpx.RemoteProtocolError):
            await http.get(f"http://127.0.0.1:{port}/")


async def test_a_client_that_leaves_is_told_of() -> None:
    told = asyncio.Event()

    async def handler(_: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        told.set()
        await send(start())

    async with serving(handler) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf")
        await asyncio.sleep(0.1)
        writer.close()
        await asyncio.wait_for(told.wait(), 5)
        await writer.wait_closed()


async def test_a_large_answer_to_a_slow_reader_is_whole() -> None:
    content = b"0123456789" * 2**20

    async def handler(_: Scope, __: Receive, send: Send) -> None:
        await send(start(200, (b"content-length", b"%d" % len(content))))
        await send(body(content))

    async def read(port: int, last: bytes) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**16)
        writer.write(GET + last + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        # Longer than an idle connection, or one that ends, is left.
        for _ in range(7):
            await reader.readexactly(2**16)
            await asyncio.sleep(0.5)
        found = 7 * 2**16 + len(await reader.readexactly(len(content) - 7 * 2**16))
        writer.close()
        await writer.wait_closed()
        return found

    async with serving(handler) as port:
        found = await asyncio.gather(read(port, b""), read(port, CLOSE[:-2]))
        assert list(found) == [len(content)] * 2
