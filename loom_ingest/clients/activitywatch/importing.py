"""An import: buckets with their events, as `/export` gives them, larger than what fits into memory.

The body goes to a temporary file, compressed or as a form too; from there it is read piece by piece.
"""

import asyncio
import mmap
import tempfile
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any, Final

import zstandard
from fastapi import Request
from pydantic_core import from_json
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from loom_contracts.payloads.common import check_json
from loom_ingest.accept import services_of
from loom_ingest.body import ENCODINGS, LARGEST_ZSTD_WINDOW
from loom_ingest.clients.activitywatch.buckets import UNKNOWN, label
from loom_ingest.clients.activitywatch.events import EventError, moment_of
from loom_ingest.clients.activitywatch.scan import Buffer, ScanError, after_space, elements, members, release
from loom_ingest.clients.activitywatch.writing import AT_ONCE, Description, insert_stream, make_bucket
from loom_ingest.errors import ApiError, Code

LARGEST_EVENT: Final = 1024 * 1024
LARGEST_DESCRIPTION: Final = 64 * 1024
WRITE_BYTES: Final = 256 * 1024
_FORM: Final = b"multipart/form-data"


@dataclass(frozen=True, slots=True)
class Found:
    """A bucket in an import, and where its array of events begins; None without one."""

    bucket_id: str
    description: Description
    events: int | None


async def import_body(request: Request) -> int:
    """How many events were stored, those that were there before too. Raises the 400, 413, 415, 403 or 503."""
    with tempfile.TemporaryFile(prefix="loom-import-") as file:
        await _receive(request, file)
        await asyncio.to_thread(file.flush)
        if not file.tell():
            raise _malformed("it is empty")
        # Not closed by hand: a scan that was broken off may still hold it.
        buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        # Nothing is stored of a body that is not an import to its end.
        found = await asyncio.to_thread(_buckets, buffer)
        count = 0
        for each in found:
            bucket, _ = await make_bucket(request, each.bucket_id, each.description)
            if each.events is not None:
                count += await insert_stream(request, bucket, _chunks(buffer, each.events))
        return count


async def _receive(request: Request, file: IO[bytes]) -> None:
    """Write the body to `file`, decompressed, and of a form its files."""
    limit = services_of(request).settings.max_activitywatch_import_bytes
    headers = dict(request.scope["headers"])
    content_type = headers.get(b"content-type", b"")
    media = content_type.partition(b";")[0].strip().lower()
    if media not in (b"", b"application/json", _FORM):
        raise _unsupported(f"Content-Type {media.decode('latin-1')[:64]!r} is not supported; send application/json")
    inflate = _inflater(headers.get(b"content-encoding", b"identity").strip().lower())
    form = _Files(content_type, file) if media == _FORM else None
    write: Callable[[bytes], object] = file.write if form is None else form.write
    size, waiting, receive, more = 0, bytearray(), request.receive, True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise ApiError(400, Code.CLIENT_DISCONNECTED, "The client left before the body was complete")
        more = event.get("more_body", False)
        try:
            for chunk in inflate(event.get("body", b""), not more):
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
                waiting += chunk
                if len(waiting) >= WRITE_BYTES:
                    await asyncio.to_thread(write, bytes(waiting))
                    waiting.clear()
            if not more:
                await asyncio.to_thread(write, bytes(waiting))
        except (zlib.error, zstandard.ZstdError, EOFError) as error:
            raise ApiError(400, Code.MALFORMED_ENCODING, f"The body is not valid: {error}") from None
        except MultipartParseError as error:
            raise ApiError(400, Code.MALFORMED_FORM, f"The form is not valid: {error}") from None
    if form is not None and not form.ended:
        raise ApiError(400, Code.MALFORMED_FORM, "The form is not valid: its last boundary is missing")


def _inflater(encoding: bytes) -> Callable[[bytes, bool], Iterator[bytes]]:
    """What decompresses a body: of each piece, and whether it is the last, the content, a mebibyte at a time."""
    if encoding == b"identity":
        return lambda piece, _: iter((piece,))
    if encoding == b"zstd":
        return _unzstd()
    if encoding not in (b"gzip", b"x-gzip"):
        raise _unsupported(f"Content-Encoding {encoding.decode('latin-1')[:32]!r} is not supported; use {ENCODINGS}")
    decoder = zlib.decompressobj(wbits=31)

    def inflated(piece: bytes, last: bool) -> Iterator[bytes]:
        while piece:
            yield decoder.decompress(piece, 1024 * 1024)
            piece = decoder.unconsumed_tail
        if decoder.unused_data or (last and not decoder.eof):
            raise EOFError("it is cut short, or something follows it")

    return inflated


def _unzstd() -> Callable[[bytes, bool], Iterator[bytes]]:
    decoder = zstandard.ZstdDecompressor(max_window_size=LARGEST_ZSTD_WINDOW).decompressobj()

    def inflated(piece: bytes, last: bool) -> Iterator[bytes]:
        # A few kilobytes can stand for gigabytes: small pieces, so that the limit is noticed in time.
        for begin in range(0, len(piece), 256):
            if decoder.eof:
                raise EOFError("something follows it")
            yield decoder.decompress(piece[begin : begin + 256])
        if last and not decoder.eof:
            raise EOFError("it is cut short")

    return inflated


class _Files:
    """Writes the content of a form's files, one after another, to `file`; fields are left out."""

    def __init__(self, content_type: bytes, file: IO[bytes]) -> None:
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary:
            raise ApiError(400, Code.MALFORMED_FORM, "The form is not valid: its Content-Type names no boundary")
        self.ended = False
        self._file = file
        self._name = b""
        self._value = b""
        self._is_file = False
        callbacks: dict[str, Any] = {
            "on_part_begin": self._begin,
            "on_header_begin": self._header,
            "on_header_field": self._field,
            "on_header_value": self._content,
            "on_header_end": self._header_end,
            "on_part_data": self._data,
            "on_end": self._end,
        }
        self._parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]

    def write(self, chunk: bytes) -> None:
        """Take the next piece of the form."""
        if chunk:
            self._parser.write(chunk)

    def _begin(self) -> None:
        self._is_file = False

    def _header(self) -> None:
        self._name = self._value = b""

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._name = (self._name + data[start:end])[:128]

    def _content(self, data: bytes, start: int, end: int) -> None:
        self._value = (self._value + data[start:end])[:4096]

    def _header_end(self) -> None:
        if self._name.lower() == b"content-disposition" and b"filename" in parse_options_header(self._value)[1]:
            if self._file.tell():
                raise MultipartParseError("it has several files; send one at a time")
            self._is_file = True

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._file.write(data[start:end])

    def _end(self) -> None:
        self.ended = True


def _buckets(buffer: Buffer) -> list[Found]:
    """The buckets in an import; raises the 400 when it is not one, to its end."""
    found: list[Found] = []
    whole = False
    try:
        begin = after_space(buffer, 0)
        end = begin
        for name, start, end in members(buffer, begin):  # noqa: B007
            if name == "buckets":
                whole = True
                found += [_bucket(buffer, bucket_id, place) for bucket_id, place, _ in members(buffer, start)]
        end = after_space(buffer, end)
        if buffer[end : end + 1024].strip() != b"}":
            raise ScanError("something follows it")
    except ValueError as error:
        raise _malformed(str(error)) from None
    if not whole:
        raise _malformed("it has no member `buckets`; send what /api/0/export gives")
    return found


def _bucket(buffer: Buffer, name: str, position: int) -> Found:
    said: dict[str, Any] = {}
    events = None
    for key, begin, end in members(buffer, position):
        if key == "events":
            if buffer[begin : begin + 1] != b"[":
                raise ScanError(f"events are an array, and at byte {begin} is none")
            events = begin
            release(buffer, end)
        elif end - begin <= LARGEST_DESCRIPTION:
            said[key] = from_json(buffer[begin:end])
    texts = {key: value for key, value in said.items() if isinstance(value, str) and value}
    try:
        created = moment_of(said.get("created"))
    except EventError:
        created = None
    try:
        data = check_json(said["data"]) if isinstance(said.get("data"), dict) else {}
    except ValueError:
        data = {}
    description = Description(
        texts.get("type", UNKNOWN),
        texts.get("client", UNKNOWN),
        texts.get("hostname", UNKNOWN),
        data,
        created,
    )
    return Found(label(texts.get("id", name)), description, events)


async def _chunks(buffer: Buffer, position: int) -> AsyncIterator[list[Any]]:
    """The events of the array at `position`, a few hundred at a time."""
    places = elements(buffer, position)
    while True:
        items, end = await asyncio.to_thread(_some, buffer, places)
        if not items:
            return
        yield items
        release(buffer, end)


def _some(buffer: Buffer, places: Iterator[tuple[int, int]]) -> tuple[list[Any], int]:
    items: list[Any] = []
    size = end = 0
    for begin, end in islice(places, AT_ONCE):
        size += end - begin
        items.append(_item(buffer[begin:end]))
        if size > LARGEST_EVENT:
            break
    return items, end


def _item(content: bytes) -> Any:
    """The event in `content`; what cannot be parsed as its text, which is then kept as no event."""
    if len(content) <= LARGEST_EVENT:
        try:
            return from_json(content)
        except ValueError:
            pass
    return content[:LARGEST_EVENT].decode(errors="replace")


def _malformed(reason: str) -> ApiError:
    return ApiError(400, Code.MALFORMED_JSON, f"The import is not valid JSON: {reason}", details={"body": reason})


def _unsupported(message: str) -> ApiError:
    return ApiError(415, Code.UNSUPPORTED_MEDIA_TYPE, message)


def _too_large(limit: int) -> ApiError:
    return ApiError(
        413,
        Code.PAYLOAD_TOO_LARGE,
        f"The import is larger than {limit} bytes; send bucket by bucket, or raise LOOM_MAX_ACTIVITYWATCH_IMPORT_BYTES",
        details={"limit_bytes": limit},
        headers={"Connection": "close"},
    )
