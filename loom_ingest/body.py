"""The body of a request: read within a limit, decompressed within the same limit, JSON or a form."""

import base64
import zlib
from dataclasses import dataclass
from typing import Any, Final

import zstandard
from fastapi import Request
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from loom_ingest.errors import JSON, ApiError, Code

ENCODINGS: Final = "gzip, zstd"
LARGEST_ZSTD_WINDOW: Final = 8 * 1024 * 1024
"""What RFC 8878 asks every decoder to have; a frame that wants more is refused before it is given memory."""
MOST_FRAMES: Final = 1_000
"""Of zstd in one body; each costs a copy of those behind it."""
MOST_PARTS: Final = 64
MOST_HEADERS: Final = 16
_FORM: Final = b"multipart/form-data"


@dataclass
class Part:
    """One part of a form; `filename` is None for a plain field."""

    name: str
    filename: str | None
    content_type: str
    content: bytearray


@dataclass(frozen=True)
class Form:
    """A form: text fields by name, and its one file, if it has one."""

    fields: dict[str, str]
    file: Part | None

    def item(self, body_field: str) -> dict[str, Any]:
        """The fields, and the file in base64 as `body_field`."""
        item: dict[str, Any] = dict(self.fields)
        if self.file is not None:
            item[body_field] = base64.b64encode(self.file.content).decode()
        return item


async def read_json(request: Request, limit: int) -> bytes:
    """The body, when it is announced as JSON and no longer than `limit`; raises the 413, 415 or 400."""
    content, _ = await _read(request, limit, forms=False)
    return content


async def read_json_or_form(request: Request, limit: int) -> bytes | Form:
    """The JSON, or the form, when it is no longer than `limit`; raises the 413, 415 or 400."""
    content, content_type = await _read(request, limit, forms=True)
    return content if content_type is None else _form(content, content_type)


async def _read(request: Request, limit: int, *, forms: bool) -> tuple[bytes, bytes | None]:
    """The decompressed body, and the Content-Type where it is a form."""
    length = encoding = form = None
    for name, value in request.scope["headers"]:
        if name == b"content-type":
            if value == JSON:
                continue
            if value[:19].lower() == _FORM and forms:
                form = value
            else:
                _check_media_type(value, forms=forms)
        elif name == b"content-length":
            length = int(value)
        elif name == b"content-encoding" and value.lower() != b"identity":
            encoding = _known_encoding(value)
    if length is not None and length > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    receive = request.receive
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise ApiError(400, Code.CLIENT_DISCONNECTED, "The client left before the body was complete")
        chunk = event.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        if not event.get("more_body", False):
            body = b"".join((*chunks, chunk)) if chunks else bytes(chunk)
            return (decompressed(body, encoding, limit) if encoding else body), form
        chunks.append(chunk)


def _known_encoding(value: bytes) -> str:
    encoding = value.decode("latin-1").strip().lower()
    if encoding not in ("gzip", "x-gzip", "zstd"):
        raise ApiError(
            415,
            Code.UNSUPPORTED_MEDIA_TYPE,
            f"Content-Encoding {encoding[:32]!r} is not supported; use one of {ENCODINGS}, or send the body as it is",
            headers={"Accept-Encoding": ENCODINGS},
        )
    return encoding


def decompressed(body: bytes, encoding: str, limit: int) -> bytes:
    """`body` without its compression; never holds more than `limit` bytes of it. Raises the 400 or 413."""
    try:
        if encoding == "zstd":
            content, complete = _unzstd(body, limit)
        else:
            inflater = zlib.decompressobj(wbits=31)
            content = inflater.decompress(body, limit + 1)
            complete = inflater.eof and not inflater.unused_data
    except (zlib.error, zstandard.ZstdError) as error:
        raise _broken(encoding, str(error)) from None
    if len(content) > limit:
        raise _too_large(limit)
    if not complete or (body and not content):
        raise _broken(encoding, "it is cut short, or something follows it")
    return content


def _unzstd(body: bytes, limit: int) -> tuple[bytes, bool]:
    """Up to `limit` + 1 bytes of the frames in `body`, and whether the last of them is whole."""
    decoder = zstandard.ZstdDecompressor(max_window_size=LARGEST_ZSTD_WINDOW)
    with decoder.stream_reader(body, read_across_frames=True) as reader:
        content = bytes(reader.read(limit + 1))
    if len(content) > limit or zstandard.frame_content_size(body) == len(content):
        return content, True
    # The reader does not tell a frame that is cut short; now that the size is known to be small, this does.
    rest = body
    for _ in range(MOST_FRAMES):
        if not rest:
            return content, True
        frame = decoder.decompressobj()
        frame.decompress(rest)
        if not frame.eof:
            return content, False
        rest = frame.unused_data
    raise zstandard.ZstdError(f"it has more than {MOST_FRAMES} frames")


def _broken(encoding: str, reason: str) -> ApiError:
    message = f"The body is not valid {encoding}: {reason}"
    return ApiError(400, Code.MALFORMED_ENCODING, message, details={"content_encoding": encoding})


def _check_media_type(value: bytes, *, forms: bool) -> None:
    media, _, parameters = value.lower().partition(b";")
    media = media.strip()
    if media != JSON and not (media.startswith(b"application/") and media.endswith(b"+json")):
        wanted = "application/json or multipart/form-data" if forms else "application/json"
        raise ApiError(
            415,
            Code.UNSUPPORTED_MEDIA_TYPE,
            f"Content-Type {value.decode('latin-1')!r} is not supported; send {wanted}",
        )
    charset = parameters.partition(b"charset=")[2].strip().strip(b'"')
    if charset and charset not in (b"utf-8", b"utf8", b"us-ascii"):
        raise ApiError(
            415, Code.UNSUPPORTED_MEDIA_TYPE, f"Charset {charset.decode('latin-1')!r} is not supported; send UTF-8"
        )


def _too_large(limit: int) -> ApiError:
    # The rest of the body is not read: the connection cannot be used again.
    return ApiError(
        413,
        Code.PAYLOAD_TOO_LARGE,
        f"The body is larger than {limit} bytes; send less at a time",
        details={"limit_bytes": limit},
        headers={"Connection": "close"},
    )


def _form(content: bytes, content_type: bytes) -> Form:
    """The form in `content`; raises the 400."""
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise _malformed_form("its Content-Type names no boundary")
    reader = _FormReader()
    try:
        parser = MultipartParser(boundary, reader.callbacks())  # type: ignore[arg-type]
        parser.write(content)
        parser.finalize()
    except MultipartParseError as error:
        raise _malformed_form(str(error)) from None
    if not reader.ended:
        raise _malformed_form("its last boundary is missing")
    files = [part for part in reader.parts if part.filename is not None]
    if len(files) > 1:
        raise _malformed_form(f"it has {len(files)} files; send one at a time")
    try:
        fields = {part.name: part.content.decode() for part in reader.parts if part.filename is None}
    except UnicodeDecodeError:
        raise _malformed_form("a field is not UTF-8") from None
    return Form(fields, files[0] if files else None)


class _FormReader:
    """Gathers what the parser tells."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.ended = False
        self._headers: list[tuple[bytearray, bytearray]] = []

    def callbacks(self) -> dict[str, Any]:
        return {
            "on_part_begin": self._begin,
            "on_header_begin": self._header_begin,
            "on_header_field": lambda data, start, end: self._headers[-1][0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._headers[-1][1].extend(data[start:end]),
            "on_headers_finished": self._headers_finished,
            "on_part_data": lambda data, start, end: self.parts[-1].content.extend(data[start:end]),
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if len(self.parts) == MOST_PARTS:
            raise _malformed_form(f"it has more than {MOST_PARTS} parts")
        self._headers = []

    def _header_begin(self) -> None:
        if len(self._headers) == MOST_HEADERS:
            raise _malformed_form(f"a part has more than {MOST_HEADERS} headers")
        self._headers.append((bytearray(), bytearray()))

    def _headers_finished(self) -> None:
        headers = {bytes(name).lower(): bytes(value) for name, value in self._headers}
        _, options = parse_options_header(headers.get(b"content-disposition", b""))
        name, filename = options.get(b"name"), options.get(b"filename")
        if name is None:
            raise _malformed_form("a part has no name")
        content_type = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
        text = None if filename is None else filename.decode(errors="replace")
        self.parts.append(Part(name.decode(errors="replace"), text, content_type, bytearray()))

    def _end(self) -> None:
        self.ended = True


def _malformed_form(reason: str) -> ApiError:
    return ApiError(400, Code.MALFORMED_FORM, f"The form is not valid: {reason}", details={"body": reason})
