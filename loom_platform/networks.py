"""What Wi-Fi networks are to the person, as learned and as they say; and which Bluetooth devices are familiar.

What is learned are views over all that was seen (`sql/0031.networks-learned.sql`), so a category that the person sets
holds at once, for the past too.
"""

from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Any, Final, Literal, get_args

import psycopg
from psycopg.rows import class_row

from loom_platform.errors import PlatformError

Connection = psycopg.Connection[Any]
Category = Literal["home", "work", "public", "hotspot", "other"]
CATEGORIES: Final[tuple[str, ...]] = get_args(Category)

_LEARNED: Final = """
    SELECT network, category, category_by, confidence, days, nights, workdays, total_seconds, first_seen_at,
           last_seen_at, latitude, longitude, radius_m, fixes, region_name, place_confidence
    FROM networks_learned ORDER BY total_seconds DESC, network
"""
_DEVICES: Final = """
    SELECT address, name, device_class, familiarity, days, total_seconds, first_seen_at, last_seen_at
    FROM familiar_devices WHERE %(all)s OR familiarity <> 'passing' ORDER BY days DESC, total_seconds DESC, address
"""
_KNOWN: Final = """
    SELECT network FROM network_categories UNION SELECT network FROM location_network_detected_current ORDER BY 1
"""
_SET: Final = """
    INSERT INTO network_categories (network, category) VALUES (%s, %s)
    ON CONFLICT (network) DO UPDATE SET category = excluded.category, set_at = now()
"""


class NetworkError(PlatformError):
    """A network that nobody was on, or a category that there is not."""


@dataclass(frozen=True, slots=True)
class Network:
    """A network: what it is, who says so (person, region, name, movement, dwell, none), how often one was on it, and
    where it is (degrees, metres) as far as that is known. Confidences are from 0 to 1."""

    network: str
    category: str
    category_by: str
    confidence: float
    days: int
    nights: int
    workdays: int
    total_seconds: float
    first_seen_at: datetime
    last_seen_at: datetime
    latitude: float | None
    longitude: float | None
    radius_m: float | None
    fixes: int
    region_name: str | None
    place_confidence: float


@dataclass(frozen=True, slots=True)
class Device:
    """A Bluetooth device that was near: own (paired or connected), familiar (on three days or more), or passing."""

    address: str
    name: str | None
    device_class: str | None
    familiarity: str
    days: int
    total_seconds: float
    first_seen_at: datetime
    last_seen_at: datetime


def learned(connection: Connection) -> list[Network]:
    """Every network that a device was on, the most used first."""
    with connection.cursor(row_factory=class_row(Network)) as cursor:
        return cursor.execute(_LEARNED).fetchall()


def devices(connection: Connection, *, passing: bool = False) -> list[Device]:
    """The own and familiar devices, and with `passing` all others that stayed for a while."""
    with connection.cursor(row_factory=class_row(Device)) as cursor:
        return cursor.execute(_DEVICES, {"all": passing}).fetchall()


def set_category(connection: Connection, network: str, category: str) -> None:
    """The person says what `network` is; raises NetworkError for a category that is none, or an unknown network."""
    if category not in CATEGORIES:
        raise NetworkError(f"category {category!r}: must be one of {', '.join(CATEGORIES)}")
    known = [str(row[0]) for row in connection.execute(_KNOWN).fetchall()]
    if network not in known:
        near = get_close_matches(network, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(repr(n) for n in near)}?" if near else "`loom networks list` shows them all"
        raise NetworkError(f"network {network!r}: no device was on it; {hint}")
    connection.execute(_SET, (network, category))


def unset_category(connection: Connection, network: str) -> None:
    """What is learned of `network` holds again; raises NetworkError where the person has said nothing of it."""
    if not connection.execute("DELETE FROM network_categories WHERE network = %s", (network,)).rowcount:
        raise NetworkError(f"network {network!r}: no category is set; `loom networks list` shows who says what")
