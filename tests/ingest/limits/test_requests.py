"""Requests that are too large, too many at once, or no requests."""

import asyncio
import gzip
import zlib

import pytest
import zstandard

from tests.ingest.limits.raw import Answer, connected, head, metric, request, resident_mb, several
from tests.ingest.server import LiveServer


@pytest.mark.parametrize(
    "data",
    [
        head(X_Long="a" * 10_000),
        head("/" + "a" * 10_000),
        head(**{f"X-{n}": "a" for n in range(2_000)}),
        head(X_Long="a" * 2_000_000),
        b"GET /" + b"a" * 2_000_000,
        b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 100_000,
    ],
    ids=["value", "url", "many", "megabytes", "endless url", "endless headers"],
)
async def test_headers_that_are_too_large(server: LiveServer, data: bytes) -> None:
    async with connected(server) as client:
        client.send(data)
        answer = await client.answer()
        assert (answer.status, answer.code) == (431, "HEADERS_TOO_LARGE")
        await client.ended()
    assert metric(server, "connections_closed_total", reason="headers_too_large") >= 1


async def test_headers_that_are_just_small_enough(server: LiveServer) -> None:
    async with connected(server) as client:
        client.send(request(X_Long="a" * 7_500))
        assert (await client.answer()).status == 201


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        head(Content_Length="5", Transfer_Encoding="chunked") + b"0\r\n\r\n",
        head(Content_Length="-5"),
    ],
    ids=["tls", "no http", "version", "path", "smuggling", "length"],
)
async def test_what_is_no_request(server: LiveServer, data: bytes) -> None:
    async with connected(server) as client:
        client.send(data)
        answer = await client.answer()
        assert (answer.status, answer.code) == (400, "MALFORMED_REQUEST")
        await client.ended()


async def test_a_chunk_that_is_none(server: LiveServer) -> None:
    async with connected(server) as client:
        client.send(head(Transfer_Encoding="chunked", Content_Type="application/json") + b"5\r\n")
        await asyncio.sleep(0.1)
        client.send(b"{    no length\r\n")
        answer = await client.answer()
        assert (answer.status, answer.code) == (400, "MALFORMED_REQUEST")
        await client.ended()


async def test_trailers_without_end(server: LiveServer) -> None:
    async with connected(server) as client:
        client.send(head(Transfer_Encoding="chunked", Content_Type="application/json") + b"1\r\n{\r\n0\r\n")
        client.send(b"a: b\r\n" * 20_000)
        assert (await client.answer()).status == 400
        await client.ended()


async def test_an_answer_is_read_while_the_client_still_sends(server: LiveServer) -> None:
    async with connected(server) as client:
        body = b" " * (20 * 2**20)
        client.send(head(Content_Length=str(len(body)), Content_Type="application/json") + body)
        answer = await client.answer()
        assert (answer.status, answer.code) == (413, "PAYLOAD_TOO_LARGE")
        await client.ended()


# Pipelined requests


async def test_pipelined_requests_are_answered_in_order(server: LiveServer) -> None:
    async with connected(server) as client:
        client.send(b"".join(request(X_Request_Id=f"r{n}") for n in range(10)))
        answers = [await client.answer() for _ in range(10)]
        assert [a.status for a in answers] == [201] * 10
        assert [a.headers["x-request-id"] for a in answers] == [f"r{n}" for n in range(10)]
        client.send(request())
        assert (await client.answer()).status == 201


async def test_more_pipelined_requests_than_wait(server: LiveServer) -> None:
    before = resident_mb(server)
    async with several(server, 20) as clients:
        for client in clients:
            client.send(request("/sensor/gps", b"{}", "GET") * 5_000)
        for client in clients:
            data = await client.ended()
            assert data.count(b"HTTP/1.1 405") == data.count(b"HTTP/1.1 ") == 17
    assert resident_mb(server) - before < 30


async def test_a_refusal_never_overtakes_an_answer(server: LiveServer) -> None:
    async with connected(server) as client:
        client.send(request() * 2 + b"no request\r\n\r\n")
        data = await client.ended()
        assert data.count(b"HTTP/1.1 201") == data.count(b"HTTP/1.1 ") == 2


# Bombs

HOLE = b"\x00" * (128 * 2**20)
GZIP = zlib.compress(HOLE, 9, wbits=31)
ZSTD = zstandard.compress(HOLE)
FRAMES = zstandard.ZstdCompressor(write_content_size=False)
BOMBS: dict[str, tuple[str, bytes, int, str]] = {
    "gzip": ("gzip", GZIP, 413, "PAYLOAD_TOO_LARGE"),
    # One encoding is taken off, never two.
    "gzip in gzip": ("gzip", gzip.compress(GZIP), 400, "MALFORMED_JSON"),
    "gzip after gzip": ("gzip", gzip.compress(b"{}") + GZIP, 400, "MALFORMED_ENCODING"),
    "zstd": ("zstd", ZSTD, 413, "PAYLOAD_TOO_LARGE"),
    "zstd frames": ("zstd", zstandard.compress(b"\x00" * 1_000) * 20_000, 413, "PAYLOAD_TOO_LARGE"),
    "zstd empty frames": ("zstd", FRAMES.compress(b"{}") + FRAMES.compress(b"") * 80_000, 400, "MALFORMED_ENCODING"),
    "zstd window": ("zstd", b"\x28\xb5\x2f\xfd\x00\xa8" + b"\x00" * 100, 400, "MALFORMED_ENCODING"),
}


@pytest.mark.parametrize("name", BOMBS)
async def test_a_bomb(server: LiveServer, name: str) -> None:
    encoding, body, status, code = BOMBS[name]
    async with connected(server) as client:
        client.send(request("/sensor/batch", body, Content_Encoding=encoding))
        answer = await client.answer()
        assert (answer.status, answer.code) == (status, code)
        assert client.seconds < 2


async def test_fifty_bombs_at_once(server: LiveServer) -> None:
    before = resident_mb(server)

    async def throw(encoding: str, body: bytes, path: str) -> Answer:
        async with connected(server) as client:
            client.send(request(path, body, Content_Encoding=encoding))
            return await client.answer(20)

    bombs = [(("gzip", GZIP), ("zstd", ZSTD))[n % 2] for n in range(50)]
    thrown = [throw(*bomb, ("/sensor/gps", "/audio/upload")[n // 2 % 2]) for n, bomb in enumerate(bombs)]
    peak = before
    gathered = asyncio.gather(*thrown)
    while not gathered.done():
        peak = max(peak, resident_mb(server))
        await asyncio.sleep(0.02)
    assert [a.status for a in await gathered] == [413] * 50
    assert peak - before < 100
