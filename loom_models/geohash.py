"""Geohashes: cells of the Earth by name, a character more for a 32nd of the area (G. Niemeyer, 2008; geohash.org).

A cell of 7 characters is 153 m by 153 m at the equator, one of 8 is 38 m by 19 m; the widths shrink towards the poles.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

_ALPHABET: Final = "0123456789bcdefghjkmnpqrstuvwxyz"
_LETTERS: Final = np.frombuffer(_ALPHABET.encode(), dtype=np.uint8)
_VALUES: Final = {letter: value for value, letter in enumerate(_ALPHABET)}
_SPREAD: Final = (
    (16, 0x0000FFFF0000FFFF),
    (8, 0x00FF00FF00FF00FF),
    (4, 0x0F0F0F0F0F0F0F0F),
    (2, 0x3333333333333333),
    (1, 0x5555555555555555),
)
"""Shifts and masks that put a zero before each bit of a number of 32 bits (Morton order)."""


def cells(latitude: pl.Series, longitude: pl.Series, characters: int) -> pl.Series:
    """The cell of each position (degrees), as a String series; null where either is null. At most 12 characters."""
    known = (latitude.is_not_null() & longitude.is_not_null()).to_numpy()
    bits = 5 * characters
    north = _steps(latitude.fill_null(0.0).to_numpy(), 90.0, bits // 2)
    east = _steps(longitude.fill_null(0.0).to_numpy(), 180.0, bits - bits // 2)
    # longitude has the first bit; with an odd number of bits it has the last one too
    first, second = (_spread(east), _spread(north)) if bits % 2 else (_spread(north), _spread(east))
    code = first | (second << np.uint64(1))
    shifts = np.arange(bits - 5, -1, -5, dtype=np.uint64)
    letters = _LETTERS[((code[:, None] >> shifts) & np.uint64(31)).astype(np.intp)]
    text = np.ascontiguousarray(letters).view(f"S{characters}").ravel().astype(f"U{characters}")
    found = pl.Series(latitude.name, text.tolist(), dtype=pl.String)
    return found if known.all() else found.zip_with(pl.Series(known), pl.Series([None], dtype=pl.String))


def middles(latitude: pl.Expr, longitude: pl.Expr, characters: int) -> tuple[pl.Expr, pl.Expr]:
    """Latitude and longitude of the middle of the cell of each position; degrees."""
    bits = 5 * characters
    return _middle(latitude, 90.0, bits // 2), _middle(longitude, 180.0, bits - bits // 2)


def centre(cell: str) -> tuple[float, float]:
    """Latitude and longitude (degrees) of the middle of `cell`; raises ValueError when it is no geohash."""
    south, north, west, east = -90.0, 90.0, -180.0, 180.0
    of_longitude = True
    for letter in cell:
        if letter not in _VALUES:
            raise ValueError(f"{cell!r} is not a geohash: {letter!r} is no character of one")
        for bit in (16, 8, 4, 2, 1):
            upper = bool(_VALUES[letter] & bit)
            if of_longitude:
                middle = (west + east) / 2
                west, east = (middle, east) if upper else (west, middle)
            else:
                middle = (south + north) / 2
                south, north = (middle, north) if upper else (south, middle)
            of_longitude = not of_longitude
    return (south + north) / 2, (west + east) / 2


def _steps(degrees: npt.NDArray[np.float64], reach: float, bits: int) -> npt.NDArray[np.uint64]:
    count = 1 << bits
    return np.clip(np.floor((degrees + reach) / (2 * reach) * count), 0, count - 1).astype(np.uint64)


def _spread(number: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    for shift, mask in _SPREAD:
        number = (number | (number << np.uint64(shift))) & np.uint64(mask)
    return number


def _middle(degrees: pl.Expr, reach: float, bits: int) -> pl.Expr:
    count = 1 << bits
    step = ((degrees + reach) / (2 * reach) * count).floor().clip(0, count - 1)
    return (step + 0.5) / count * (2 * reach) - reach
