"""Values out of JSON that follows no schema of ours: each reader gives the value, or None for what it is not."""

import math
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

_LONGEST_LABEL: Final = 256
_MILLISECONDS_FROM: Final = 1e11
"""Unix times above it are in milliseconds: in seconds it would be the year 5138."""
_WORDS: Final = re.compile(
    # 2026-01-31 8:30:00 PM +0100, as Apple's formatter writes it on a phone with a 12-hour clock.
    r"(\d{4})-(\d{1,2})-(\d{1,2})(?:[T\s]+(\d{1,2}):(\d{2})(?::(\d{2})(\.\d{1,9})?)?)?"
    r"(?:\s*([AaPp])\.?\s?[Mm]\.?)?\s*(Z|UTC|GMT|[+-]\d{2}:?\d{2})?"
)


def number(value: Any, least: float = -math.inf, most: float = math.inf) -> float | None:
    """A finite number between `least` and `most`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) and least <= found <= most else None


def count(value: Any) -> int | None:
    """A whole number from 0 on that a bigint can hold; a fraction is rounded."""
    found = number(value, 0.0, 2.0**62)
    return None if found is None else round(found)


def label(value: Any) -> str | None:
    """Text of 1 to 256 characters, without NUL, that is not blank."""
    if not isinstance(value, str) or not value.strip() or "\x00" in value or len(value) > _LONGEST_LABEL:
        return None
    return value


def moment(value: Any) -> datetime | None:
    """A time in UTC: of ISO 8601, of Apple's `yyyy-MM-dd HH:mm:ss Z`, or of Unix seconds or milliseconds.

    A time without a zone is UTC.
    """
    try:
        if isinstance(value, str):
            return _moment(value)
        seconds = number(value, 0.0, 1e14)
        if seconds is None:
            return None
        return datetime.fromtimestamp(seconds / 1000 if seconds > _MILLISECONDS_FROM else seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _moment(text: str) -> datetime:
    text = text.strip()
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = _spelled(text)
    if found.tzinfo is None:
        return found.replace(tzinfo=UTC)
    return found.astimezone(UTC)


def _spelled(text: str) -> datetime:
    match = _WORDS.fullmatch(text)
    if match is None:
        raise ValueError(text)
    year, month, day, hour, minute, second, fraction, half, zone = match.groups()
    hours = int(hour or 0)
    if half is not None:
        hours = hours % 12 + (12 if half in "Pp" else 0)
    microsecond = int(float(fraction or 0) * 1_000_000)
    return datetime(
        int(year), int(month), int(day), hours, int(minute or 0), int(second or 0), microsecond, tzinfo=_zone(zone)
    )


def _zone(text: str | None) -> timezone:
    if text is None or text[0] not in "+-":
        return UTC
    minutes = int(text[1:3]) * 60 + int(text[-2:])
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))


def storable(value: Any) -> Any:
    """`value` with what PostgreSQL's jsonb cannot hold put into other words: NUL, and numbers that are not finite."""
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd") if "\x00" in value else value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {storable(key): storable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [storable(item) for item in value]
    return value


def present(fields: dict[str, Any]) -> dict[str, Any]:
    """`fields` without those that are None or an empty object."""
    return {name: value for name, value in fields.items() if value is not None and value != {}}
