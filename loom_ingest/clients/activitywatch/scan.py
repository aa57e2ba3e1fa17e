"""Walks through JSON in a buffer that is too large to be parsed at once: where each member or element begins and ends.

Only structure is looked at; what lies between is parsed by the caller, piece by piece.
"""

import mmap
import re
from collections.abc import Iterator
from typing import Final

from pydantic_core import from_json

Buffer = mmap.mmap | bytes

_SPACE: Final = re.compile(rb"[ \t\r\n]*")
_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_STRUCTURE: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|["\[\]{}]', re.DOTALL)
_SCALAR: Final = re.compile(rb"[^\[\]{}\",:\s]+")
_RELEASE_BYTES: Final = 4 * 1024 * 1024


class ScanError(ValueError):
    """The buffer is not JSON of the expected shape; the message says where."""


def members(buffer: Buffer, position: int) -> Iterator[tuple[str, int, int]]:
    """Name of each member of the object at `position`, and where its value begins and ends."""
    position = _entered(buffer, position, b"{")
    while not _closes(buffer, position, b"}"):
        name = _STRING.match(buffer, position)
        if name is None:
            raise ScanError(f"a name is expected at byte {position}")
        colon = after_space(buffer, name.end())
        if buffer[colon : colon + 1] != b":":
            raise ScanError(f"a colon is expected at byte {colon}")
        begin = after_space(buffer, colon + 1)
        end = end_of(buffer, begin)
        yield str(from_json(name[0])), begin, end
        position = _next(buffer, end, b"}")


def elements(buffer: Buffer, position: int) -> Iterator[tuple[int, int]]:
    """Where each element of the array at `position` begins and ends."""
    position = _entered(buffer, position, b"[")
    while not _closes(buffer, position, b"]"):
        end = end_of(buffer, position)
        yield position, end
        position = _next(buffer, end, b"]")


def end_of(buffer: Buffer, position: int) -> int:
    """Where the value at `position` ends."""
    first = buffer[position : position + 1]
    if first not in (b"{", b"["):
        match = (_STRING if first == b'"' else _SCALAR).match(buffer, position)
        if match is None:
            raise ScanError(f"a value is expected at byte {position}")
        return match.end()
    depth, released = 0, position
    while True:
        match = _STRUCTURE.search(buffer, position)
        if match is None or match[0] == b'"':
            raise ScanError(f"what begins at byte {position} does not end")
        position = match.end()
        last = buffer[position - 1]
        if last in b"[{":
            depth += 1
        elif last in b"]}":
            depth -= 1
            if depth == 0:
                return position
        if position - released > _RELEASE_BYTES:
            release(buffer, position)
            released = position


def after_space(buffer: Buffer, position: int) -> int:
    """The first byte at `position` or later that is no white space."""
    match = _SPACE.match(buffer, position)
    return position if match is None else match.end()


def release(buffer: Buffer, position: int) -> None:
    """Give the memory of what lies before `position` back; it is read from the file again when it is asked for."""
    if isinstance(buffer, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        length = position // mmap.PAGESIZE * mmap.PAGESIZE
        if length:
            buffer.madvise(mmap.MADV_DONTNEED, 0, length)


def _entered(buffer: Buffer, position: int, opening: bytes) -> int:
    if buffer[position : position + 1] != opening:
        raise ScanError(f"{opening.decode()} is expected at byte {position}")
    return after_space(buffer, position + 1)


def _closes(buffer: Buffer, position: int, closing: bytes) -> bool:
    if position >= len(buffer):
        raise ScanError("it is cut short")
    return buffer[position : position + 1] == closing


def _next(buffer: Buffer, position: int, closing: bytes) -> int:
    position = after_space(buffer, position)
    if buffer[position : position + 1] == b",":
        return after_space(buffer, position + 1)
    if buffer[position : position + 1] != closing:
        raise ScanError(f"a comma or {closing.decode()} is expected at byte {position}")
    return position
