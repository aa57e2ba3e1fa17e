"""The places that a person named: shops, doctors, friends. They win over whatever a service says is there.

A place is a circle. It is no region: nothing tells of entering and leaving it, but who stays in it is there. A removed
place stays in the table with `deleted_at`; past rows stay as they are until their day is computed again.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from loom_platform.errors import PlatformError

DEFAULT_RADIUS_M: Final = 40.0
MIN_RADIUS_M: Final = 5.0
MAX_RADIUS_M: Final = 1_000.0

_COLUMNS: Final = "id, name, category, address, latitude, longitude, radius_m, created_at, updated_at"
_ADD: Final = f"""
INSERT INTO own_places (name, category, address, latitude, longitude, radius_m)
VALUES (%(name)s, %(category)s, %(address)s, %(latitude)s, %(longitude)s, %(radius_m)s) RETURNING {_COLUMNS}
"""
_EDIT: Final = f"""
UPDATE own_places SET name = %(name)s, category = %(category)s, address = %(address)s, latitude = %(latitude)s,
    longitude = %(longitude)s, radius_m = %(radius_m)s, updated_at = now()
WHERE id = %(id)s AND deleted_at IS NULL RETURNING {_COLUMNS}
"""
_REMOVE: Final = "UPDATE own_places SET deleted_at = now(), updated_at = now() WHERE id = %s AND deleted_at IS NULL"


class OwnPlaceError(PlatformError):
    """A place is not usable, is not there, or its name is taken."""


@dataclass(frozen=True, slots=True)
class OwnPlace:
    """A named place: a circle of `radius_m` metres around a position (degrees)."""

    id: UUID
    name: str
    category: str | None
    address: str | None
    latitude: float
    longitude: float
    radius_m: float
    created_at: datetime
    updated_at: datetime


def saved(connection: psycopg.Connection[Any]) -> list[OwnPlace]:
    """Every place, by name."""
    with connection.cursor(row_factory=class_row(OwnPlace)) as cursor:
        query = f"SELECT {_COLUMNS} FROM own_places WHERE deleted_at IS NULL ORDER BY lower(name)"
        return cursor.execute(query.encode()).fetchall()


def find(connection: psycopg.Connection[Any], name: str) -> OwnPlace:
    """The place called `name`, in any case, or with that id; raises OwnPlaceError when there is none."""
    places = saved(connection)
    for place in places:
        if place.name.lower() == name.lower() or str(place.id) == name:
            return place
    known = ", ".join(p.name for p in places)
    raise OwnPlaceError(f"no place is called {name!r}; {f'there are {known}' if known else 'none is saved yet'}")


def add(
    connection: psycopg.Connection[Any],
    name: str,
    latitude: float,
    longitude: float,
    *,
    radius_m: float = DEFAULT_RADIUS_M,
    category: str | None = None,
    address: str | None = None,
) -> OwnPlace:
    """Save a new place; raises OwnPlaceError that names the value that is wrong."""
    values = {"latitude": latitude, "longitude": longitude, "radius_m": radius_m}
    return _write(connection, _ADD, values | {"name": name, "category": category, "address": address})


def edit(connection: psycopg.Connection[Any], place: OwnPlace, **changes: object) -> OwnPlace:
    """Change what is given and is not None; raises OwnPlaceError that names the value that is wrong."""
    old = {n: getattr(place, n) for n in ("name", "category", "address", "latitude", "longitude", "radius_m")}
    new = old | {name: value for name, value in changes.items() if value is not None}
    return _write(connection, _EDIT, new | {"id": place.id})


def remove(connection: psycopg.Connection[Any], place: OwnPlace) -> None:
    """Forget a place."""
    connection.execute(_REMOVE, (place.id,))


def _write(connection: psycopg.Connection[Any], statement: str, values: Mapping[str, Any]) -> OwnPlace:
    checked = {**values, "name": _text("name", values["name"])}
    for name in ("category", "address"):
        if checked[name] is not None:
            checked[name] = _text(name, checked[name])
    for name, least, most in (
        ("latitude", -90, 90),
        ("longitude", -180, 180),
        ("radius_m", MIN_RADIUS_M, MAX_RADIUS_M),
    ):
        if not math.isfinite(checked[name]) or not least <= checked[name] <= most:
            raise OwnPlaceError(f"{name} {checked[name]}: must be from {least:g} to {most:g}")
    try:
        with connection.cursor(row_factory=class_row(OwnPlace)) as cursor:
            place = cursor.execute(statement.encode(), checked).fetchone()
    except psycopg.errors.UniqueViolation:
        raise OwnPlaceError(f"a place is called {checked['name']!r} already; edit it, or give another name") from None
    if place is None:
        raise OwnPlaceError(f"place {checked['name']!r} was removed meanwhile")
    return place


def _text(name: str, value: str) -> str:
    text = value.strip()
    if not 1 <= len(text) <= 256 or "\x00" in text:
        raise OwnPlaceError(f"{name} {text[:20]!r}: must have 1 to 256 characters")
    return text
