"""One record as bytes of a segment, and segments' bytes as records.

`magic(4) size(4) crc(4) seq(8) accepted_ms(8) topic(4) key(4) headers(4) | topic key headers value`, big-endian.
`size` is of everything behind the crc; the crc (CRC-32 as zlib has it) is over the size and everything behind the crc.
A damaged place costs only the records it lies in: reading goes on at the next magic whose record is whole. No value
can pretend to be one, for values are JSON and the magic has a control character.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from loom_ingest.producer import Record

MAGIC: Final = b"LSR\x01"
_FRAME: Final = struct.Struct(">4sII")
_SIZE: Final = struct.Struct(">I")
_HEAD: Final = struct.Struct(">QQIII")
_PAIR: Final = struct.Struct(">II")
OVERHEAD: Final = _FRAME.size + _HEAD.size
LARGEST: Final = 64 * 1024 * 1024
"""No record is longer; a size above it is damage."""


class Spooled(NamedTuple):
    """A record in the spool: `seq` counts up by one, `accepted_ms` is the Unix time of its acceptance."""

    seq: int
    accepted_ms: int
    record: Record


class Damage(NamedTuple):
    """Bytes from `start` to `end` hold no whole record."""

    start: int
    end: int


def size_of(record: Record) -> int:
    """Bytes of `record` in a segment."""
    pairs = sum(len(name.encode()) + len(value) + _PAIR.size for name, value in record.headers)
    return OVERHEAD + len(record.topic.encode()) + len(record.key) + len(record.value) + pairs


def encode(spooled: Spooled) -> bytes:
    """The bytes of one record."""
    seq, accepted_ms, record = spooled
    topic = record.topic.encode()
    parts = [_HEAD.pack(seq, accepted_ms, len(topic), len(record.key), len(record.headers)), topic, record.key]
    for name, value in record.headers:
        text = name.encode()
        parts += (_PAIR.pack(len(text), len(value)), text, value)
    parts.append(record.value)
    body = b"".join(parts)
    size = _SIZE.pack(len(body))
    return b"".join((MAGIC, size, _SIZE.pack(zlib.crc32(body, zlib.crc32(size))), body))


def scan(data: bytes, after_seq: int = 0) -> Iterator[tuple[Spooled, int] | Damage]:
    """Records of `data` in order, each with the offset behind it, and the damaged places between and behind them.

    A record whose `seq` is not above the last one's is old bytes that came back, and counts as damage.
    """
    offset = 0
    while offset < len(data):
        found = _whole(data, offset, after_seq)
        if found is None:
            start = offset
            while found is None and offset >= 0:
                offset = data.find(MAGIC, offset + 1)
                found = _whole(data, offset, after_seq) if offset >= 0 else None
            if found is None:
                yield Damage(start, len(data))
                return
            yield Damage(start, offset)
        yield found
        after_seq, offset = found[0].seq, found[1]


def announced_size(data: bytes) -> int:
    """Bytes of the record that `data` begins with, as its frame tells; 0 when it tells nothing."""
    if len(data) < _FRAME.size or not data.startswith(MAGIC):
        return 0
    return _FRAME.size + int(_FRAME.unpack_from(data)[1])


def _whole(data: bytes, offset: int, after_seq: int) -> tuple[Spooled, int] | None:
    if len(data) - offset < OVERHEAD:
        return None
    magic, size, crc = _FRAME.unpack_from(data, offset)
    start = offset + _FRAME.size
    end = start + size
    if magic != MAGIC or not _HEAD.size <= size <= LARGEST or end > len(data):
        return None
    body = memoryview(data)[start:end]
    if zlib.crc32(body, zlib.crc32(_SIZE.pack(size))) != crc:
        return None
    spooled = _decode(bytes(body))
    return (spooled, end) if spooled.seq > after_seq else None


def _decode(body: bytes) -> Spooled:
    seq, accepted_ms, topic_size, key_size, header_count = _HEAD.unpack_from(body)
    at = _HEAD.size
    topic = body[at : at + topic_size].decode()
    at += topic_size
    key = body[at : at + key_size]
    at += key_size
    headers = []
    for _ in range(header_count):
        name_size, value_size = _PAIR.unpack_from(body, at)
        at += _PAIR.size
        name = body[at : at + name_size].decode()
        at += name_size
        headers.append((name, body[at : at + value_size]))
        at += value_size
    return Spooled(seq, accepted_ms, Record(topic, key, body[at:], headers))
