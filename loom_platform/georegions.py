"""The regions that a person saved: checked, then kept in the table `georegions`.

Every change takes a new revision, which the rows computed from the region carry. A removed region stays in the table
with `deleted_at`; its past rows stay as they are until their day is recomputed.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, Final, Literal, get_args
from uuid import UUID

import psycopg
import shapely
from psycopg.rows import class_row
from shapely.geometry import shape
from shapely.validation import explain_validity

from loom_platform.errors import PlatformError

Kind = Literal["home", "work", "custom"]
KINDS: Final[tuple[str, ...]] = get_args(Kind)
MIN_RADIUS_M: Final = 5.0
MAX_RADIUS_M: Final = 100_000.0
MAX_VERTICES: Final = 10_000

_COLUMNS = "id, name, kind, shape, latitude, longitude, radius_m, polygon, revision, created_at, updated_at"
_ADD = f"""
    INSERT INTO georegions (name, kind, shape, latitude, longitude, radius_m, polygon)
    VALUES (%(name)s, %(kind)s, %(shape)s, %(latitude)s, %(longitude)s, %(radius_m)s, %(polygon)s) RETURNING {_COLUMNS}
"""
_EDIT = f"""
    UPDATE georegions SET name = %(name)s, kind = %(kind)s, shape = %(shape)s, latitude = %(latitude)s,
        longitude = %(longitude)s, radius_m = %(radius_m)s, polygon = %(polygon)s,
        revision = nextval('georegion_revisions'), updated_at = now()
    WHERE id = %(id)s AND deleted_at IS NULL RETURNING {_COLUMNS}
"""
_REMOVE = """
    UPDATE georegions SET deleted_at = now(), updated_at = now(), revision = nextval('georegion_revisions')
    WHERE id = %s AND deleted_at IS NULL
"""


class GeoregionError(PlatformError):
    """A region is not usable, is not there, or its name is taken."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A region before it is saved; made by `circle` or `polygon`, which check it. A polygon's point is its centroid."""

    name: str
    kind: str
    shape: str
    latitude: float
    longitude: float
    radius_m: float | None = None
    polygon: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Georegion:
    """A saved region; `polygon` is a GeoJSON geometry, `radius_m` belongs to a circle."""

    id: UUID
    name: str
    kind: str
    shape: str
    latitude: float
    longitude: float
    radius_m: float | None
    polygon: Mapping[str, Any] | None
    revision: int
    created_at: datetime
    updated_at: datetime


def circle(name: str, kind: str, latitude: float, longitude: float, radius_m: float) -> Draft:
    """A circle on the sphere, anywhere on it; raises GeoregionError that names the value that is wrong."""
    _check_point(latitude, longitude)
    if not MIN_RADIUS_M <= radius_m <= MAX_RADIUS_M:
        raise GeoregionError(f"radius_m {radius_m}: must be from {MIN_RADIUS_M:g} to {MAX_RADIUS_M:g} metres")
    return Draft(_name(name), _kind(kind), "circle", latitude, longitude, radius_m)


def polygon(name: str, kind: str, geometry: Mapping[str, Any]) -> Draft:
    """A GeoJSON Polygon or MultiPolygon; raises GeoregionError that says what is wrong with it.

    Edges are straight in degrees. One that crosses the antimeridian, or that goes round a pole, is refused.
    """
    form = geometry.get("type")
    if form not in ("Polygon", "MultiPolygon"):
        raise GeoregionError(f"geometry type {form!r}: must be Polygon or MultiPolygon, or a Point with radius_m")
    try:
        parsed = shape(dict(geometry))
        rings = list(_rings(geometry))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, shapely.errors.ShapelyError) as error:
        raise GeoregionError(f"the {form} is not valid GeoJSON: {error}") from None
    _check_rings(rings)
    if not parsed.is_valid:
        raise GeoregionError(f"the {form} is not a simple shape: {explain_validity(parsed)}; mend that point")
    if parsed.is_empty or parsed.area == 0:
        raise GeoregionError(f"the {form} has no area")
    centre = parsed.centroid
    flat = shapely.force_2d(parsed)
    return Draft(_name(name), _kind(kind), "polygon", centre.y, centre.x, None, json.loads(shapely.to_geojson(flat)))


def from_feature(feature: Mapping[str, Any]) -> Draft:
    """A GeoJSON Feature: its properties give `name`, `kind` (custom by default) and, for a Point, `radius_m`."""
    properties = feature.get("properties") or {}
    geometry = feature.get("geometry") or {}
    name, kind = str(properties.get("name") or ""), str(properties.get("kind") or "custom")
    if geometry.get("type") != "Point":
        return polygon(name, kind, geometry)
    try:
        longitude, latitude = (float(c) for c in geometry["coordinates"][:2])
        radius_m = float(properties["radius_m"])
    except (KeyError, TypeError, ValueError) as error:
        raise GeoregionError(f"feature {name!r}: a Point needs two coordinates and a radius_m ({error})") from None
    return circle(name, kind, latitude, longitude, radius_m)


def from_geojson(text: str) -> list[Draft]:
    """The regions of a FeatureCollection or a Feature; raises GeoregionError that names the first that is wrong."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise GeoregionError(f"the file is not JSON: {error}") from None
    form = document.get("type") if isinstance(document, dict) else None
    if form not in ("FeatureCollection", "Feature"):
        raise GeoregionError(f"the file holds a {form!r}: it must be a GeoJSON FeatureCollection or Feature")
    drafts = []
    for number, feature in enumerate(document.get("features", []) if form == "FeatureCollection" else [document], 1):
        try:
            drafts.append(from_feature(feature))
        except (GeoregionError, AttributeError) as error:
            raise GeoregionError(f"feature {number}: {error}") from None
    return drafts


def add(connection: psycopg.Connection[Any], draft: Draft) -> Georegion:
    """Save a new region; raises GeoregionError when its name is taken."""
    return _write(connection, _ADD, draft, None)


def replace(connection: psycopg.Connection[Any], region: Georegion, draft: Draft) -> Georegion:
    """Give a saved region the draft's name, kind and shape under a new revision; its id stays."""
    return _write(connection, _EDIT, draft, region.id)


def remove(connection: psycopg.Connection[Any], region: Georegion) -> None:
    """End a region: fixes that come from now on do not see it."""
    connection.execute(_REMOVE, (region.id,))


def saved(connection: psycopg.Connection[Any]) -> list[Georegion]:
    """The regions in order of name."""
    with connection.cursor(row_factory=class_row(Georegion)) as cursor:
        statement = f"SELECT {_COLUMNS} FROM georegions WHERE deleted_at IS NULL ORDER BY lower(name)"
        return cursor.execute(statement).fetchall()


def find(connection: psycopg.Connection[Any], name: str) -> Georegion:
    """The region with this name (in any case) or id; raises GeoregionError that lists those that exist."""
    regions = saved(connection)
    for region in regions:
        if region.name.lower() == name.lower() or str(region.id) == name.lower():
            return region
    known = ", ".join(r.name for r in regions) or "none yet"
    raise GeoregionError(f"there is no georegion {name!r}; saved are: {known}")


def _write(connection: psycopg.Connection[Any], statement: str, draft: Draft, region_id: UUID | None) -> Georegion:
    values = {
        "id": region_id,
        "name": draft.name,
        "kind": draft.kind,
        "shape": draft.shape,
        "latitude": draft.latitude,
        "longitude": draft.longitude,
        "radius_m": draft.radius_m,
        "polygon": None if draft.polygon is None else json.dumps(draft.polygon),
    }
    try:
        with connection.transaction(), connection.cursor(row_factory=class_row(Georegion)) as cursor:
            row = cursor.execute(statement, values).fetchone()
    except psycopg.errors.UniqueViolation:
        raise GeoregionError(
            f"a georegion called {draft.name!r} is saved already: edit it, or take another name"
        ) from None
    if row is None:
        raise GeoregionError(f"georegion {draft.name!r} was removed meanwhile")
    return row


def _name(name: str) -> str:
    name = name.strip()
    if not 1 <= len(name) <= 256 or "\x00" in name:
        raise GeoregionError(f"name {name[:40]!r}: must be 1 to 256 characters, without NUL")
    return name


def _kind(kind: str) -> str:
    if kind not in KINDS:
        raise GeoregionError(f"kind {kind!r}: must be one of {', '.join(KINDS)}")
    return kind


def _check_point(latitude: float, longitude: float) -> None:
    if not (math.isfinite(latitude) and -90 <= latitude <= 90):
        raise GeoregionError(f"latitude {latitude}: must be from -90 to 90 degrees")
    if not (math.isfinite(longitude) and -180 <= longitude <= 180):
        raise GeoregionError(f"longitude {longitude}: must be from -180 to 180 degrees")


def _rings(geometry: Mapping[str, Any]) -> Iterator[list[tuple[float, float]]]:
    parts = [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]
    for part in parts:
        for ring in part:
            yield [(float(c[0]), float(c[1])) for c in ring]


def _check_rings(rings: list[list[tuple[float, float]]]) -> None:
    if sum(map(len, rings)) > MAX_VERTICES:
        raise GeoregionError(f"the polygon has {sum(map(len, rings))} points: simplify it to at most {MAX_VERTICES}")
    for ring in rings:
        for longitude, latitude in ring:
            _check_point(latitude, longitude)
        if len(ring) < 4 or ring[0] != ring[-1]:
            raise GeoregionError("a ring of a polygon needs four points or more, and ends where it begins")
        for (west, _), (east, _) in pairwise(ring):
            if abs(east - west) > 180:
                raise GeoregionError(
                    f"the edge from longitude {west} to {east} crosses the antimeridian or goes round a pole: "
                    "draw a MultiPolygon with one part on each side of longitude 180, or use a circle"
                )
