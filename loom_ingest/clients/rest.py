"""A message that is taken apart field by field, so that what nobody takes is kept beside it."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from pydantic_core import to_json

from loom_ingest.clients.loose import count, label, number, storable
from loom_ingest.clients.taking import Draft, unrecognized_pieces

LONGEST_DETAILS: Final = 200_000
"""Bytes of what is kept beside a position; more is kept by itself, so that the position is stored whatever comes."""
_NUMBER: Final = re.compile(r"[+-]?(\d{1,20}(\.\d{0,20})?|\.\d{1,20})([eE][+-]?\d{1,3})?")


class Rest:
    """What of a message was not taken yet, by name in `left`.

    A value that is not what it should be stays, and so is kept as it came.
    """

    def __init__(self, client: str, message: dict[str, Any], without: Iterable[str] = ()) -> None:
        self.left = {name: value for name, value in message.items() if name not in without}
        self._client = client

    def _take(self, name: str, value: Any) -> Any:
        if value is not None:
            del self.left[name]
        return value

    def number(self, name: str, least: float, most: float) -> float | None:
        """A number in this range, or text that spells one."""
        found: float | None = self._take(name, number(_spelled(self.left.get(name)), least, most))
        return found

    def label(self, name: str) -> str | None:
        """Text of 1 to 256 characters."""
        found: str | None = self._take(name, label(self.left.get(name)))
        return found

    def count(self, name: str) -> int | None:
        """A whole number from 0."""
        found: int | None = self._take(name, count(self.left.get(name)))
        return found

    def time(self, name: str) -> datetime | None:
        """Unix seconds after 1970 began."""
        seconds = number(_spelled(self.left.get(name)), 1.0, 253_402_300_799.0)
        return None if seconds is None else self._take(name, datetime.fromtimestamp(seconds, UTC))

    def details(self) -> tuple[dict[str, Any] | None, list[Draft]]:
        """What is left, for a field of that name; of a size that no such field should have, as drafts of its own."""
        if not self.left:
            return None, []
        if len(to_json(self.left, inf_nan_mode="strings")) > LONGEST_DETAILS:
            return None, unrecognized_pieces(self._client, "more than details can hold", self.left)
        return storable(self.left), []


def spelled(text: str) -> float | None:
    """The number that `text` spells in digits."""
    if not _NUMBER.fullmatch(text.strip()):
        return None
    return float(text)


def _spelled(value: Any) -> Any:
    return spelled(value) if isinstance(value, str) else value
