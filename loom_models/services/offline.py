"""The town of a position, from data on board: no account, no network, and nothing leaves the machine.

A place is taken for the town of a position when it is near in relation to its size: a distance counts in units of 1 km
and half the radius that the place's inhabitants would fill, at most 6 km. Where that is a quarter, inside what the
inhabitants of a city ten times as large would fill, it is the suburb and that city is the town. Beyond 30 km from any
place the answer is that there is none.
"""

from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

NAME: Final = "offline"
REACH_M: Final = 30_000.0
"""Farther than this from a place, a position is in no town."""

CITIES: Final = Path(__file__).parent / "data" / "cities.parquet"
ADDRESS_SCHEMA: Final = pl.Schema(
    {
        "display_name": pl.String,
        "suburb": pl.String,
        "city": pl.String,
        "state_name": pl.String,
        "country": pl.String,
        "country_code": pl.String,
        "provider_place_id": pl.String,
        "distance_m": pl.Float64,
    }
)
_RADIUS_M: Final = 6_371_008.8
_CUBES: Final = 1 << 10
"""Cubes of REACH_M along an axis: 1,024 of them hold the Earth and its neighbours."""
_PEOPLE_PER_KM2: Final = 2_500
_LARGER: Final = 10
_AROUND: Final = np.array([(x * _CUBES + y) * _CUBES + z for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1)])

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class Cities:
    """The places of a file, found by cubes of 30 km: whatever is within reach of a point is in the 27 around it."""

    def __init__(self, path: Path = CITIES) -> None:
        places = pl.read_parquet(path)
        points = _points(places["latitude"], places["longitude"])
        cubes = _cubes(points)
        order = np.argsort(cubes, kind="stable")
        self._cubes, self._points = cubes[order], points[order]
        self._places = places.drop("latitude", "longitude")[order.astype(np.uint32)]
        self._people: Floats = self._places["population"].cast(pl.Float64).to_numpy()
        self._country = self._places.select(
            pl.concat_str("country_code", pl.col("state_name").fill_null("")).rank("dense")
        )["country_code"].to_numpy()
        self._radius_m = np.sqrt(self._people / (np.pi * _PEOPLE_PER_KM2)) * 1_000
        self._unit_m = 1_000 + np.minimum(self._radius_m, 10_000) / 2

    def addresses(self, latitude: pl.Series, longitude: pl.Series) -> pl.DataFrame:
        """The town of each position (degrees), in ADDRESS_SCHEMA and the same order; all null where there is none.

        `provider_place_id` is GeoNames' id of the nearest place and `distance_m` how far that is.
        """
        at = _points(latitude, longitude)
        point, row, distance_m = self._within_reach(at)
        asked = np.unique(point)
        if not len(asked):
            return pl.DataFrame(schema=ADDRESS_SCHEMA).clear(len(at))
        starts = np.searchsorted(point, asked)
        nearest = _first_least(distance_m / self._unit_m[row], point, starts)
        near, metres = row[nearest], distance_m[nearest]
        # the largest city that reaches so far, of the same country and state
        own = np.repeat(near, np.diff(np.append(starts, len(point))))
        holds = (distance_m <= self._radius_m[row]) & (self._country[row] == self._country[own])
        city = row[_first_least(np.where(holds, -self._people[row], 1.0), point, starts)]
        inside = self._people[city] >= _LARGER * np.maximum(self._people[near], 1)
        inside &= np.minimum.reduceat(np.where(holds, -1, 0), starts) < 0
        places = self._places[near.astype(np.uint32)].with_columns(
            pl.Series("larger", self._places["name"][np.where(inside, city, near).astype(np.uint32)]),
            pl.Series("inside", inside),
            pl.Series("distance_m", metres),
            pl.Series("asked", asked),
        )
        towns = places.select(
            "asked",
            pl.when("inside").then("name").alias("suburb"),
            pl.col("larger").alias("city"),
            "state_name",
            "country",
            "country_code",
            pl.col("id").cast(pl.String).alias("provider_place_id"),
            "distance_m",
        ).with_columns(
            pl.concat_str("suburb", "city", "state_name", "country", separator=", ", ignore_nulls=True).alias(
                "display_name"
            )
        )
        everyone = pl.DataFrame({"asked": np.arange(len(at))})
        return everyone.join(towns, on="asked", how="left", maintain_order="left").select(ADDRESS_SCHEMA.names())

    def _within_reach(self, at: Floats) -> tuple[Integers, Integers, Floats]:
        """Pairs of a point and a place in its reach, in order of points: the rows of both, and metres."""
        around = (_cubes(at)[:, None] + _AROUND).ravel()
        first, last = np.searchsorted(self._cubes, around), np.searchsorted(self._cubes, around, side="right")
        counts = last - first
        point = np.repeat(np.repeat(np.arange(len(at)), len(_AROUND)), counts)
        row = np.repeat(first - np.concatenate(([0], np.cumsum(counts)[:-1])), counts) + np.arange(counts.sum())
        chord = np.linalg.norm(at[point] - self._points[row], axis=1)
        distance_m = 2 * _RADIUS_M * np.arcsin(np.clip(chord / (2 * _RADIUS_M), 0, 1))
        near = distance_m <= REACH_M
        return point[near], row[near], distance_m[near]


@cache
def cities() -> Cities:
    """The places on board, read when they are first needed: 0.1 s and 60 MB."""
    return Cities()


def _points(latitude: pl.Series, longitude: pl.Series) -> Floats:
    """Metres from the Earth's centre along three axes."""
    north, east = np.radians(latitude.cast(pl.Float64).to_numpy()), np.radians(longitude.cast(pl.Float64).to_numpy())
    flat = np.cos(north)
    return np.column_stack((flat * np.cos(east), flat * np.sin(east), np.sin(north))) * _RADIUS_M


def _cubes(points: Floats) -> Integers:
    x, y, z = (np.floor(points / REACH_M).astype(np.int64) + _CUBES // 2).T
    numbers: Integers = (x * _CUBES + y) * _CUBES + z
    return numbers


def _first_least(score: Floats, point: Integers, starts: Integers) -> Integers:
    """Of each stretch of equal `point`s, which begin at `starts`, where its first least `score` is."""
    least = np.repeat(np.minimum.reduceat(score, starts), np.diff(np.append(starts, len(point))))
    where = np.flatnonzero(score == least)
    return where[np.searchsorted(point[where], point[starts])]
