"""In which time zone the person is, and so where their days begin and end. No dagster here.

What a person says of a day holds; else the zone of the position in which they came into the day (tzfpy, whose borders
are in the wheel); else LOOM_TIME_ZONE. A day lasts from its midnight to the next day's, each in its own zone: 23 or
25 h when the clock changes, 30 h on a flight from Zurich to New York. Every moment is of exactly one day.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from math import cos, radians
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import psycopg

from loom_contracts.topic import Topic
from loom_contracts.topics.location import GPS_CLEANED
from loom_platform.errors import PlatformError

Connection = psycopg.Connection[Any]

LOOK_BACK: Final = timedelta(days=3)
"""So long after its last fix a device is taken to be in the zone it was in."""

LOOK_AHEAD: Final = timedelta(days=2)
"""Before its first fix a device is taken to be where that was, if it comes within this of the date (UTC)."""

ONE_DAY: Final = timedelta(days=1)
SOURCE_TOPICS: Final[Mapping[Topic, tuple[int, int]]] = {GPS_CLEANED: (1, 1)}
"""What is read, by how many UTC days before and after a day its rows may lie that commonly change it."""
_EVER: Final = datetime.min.replace(tzinfo=UTC)
_NEVER: Final = datetime.max.replace(tzinfo=UTC)


class TimeZoneError(PlatformError):
    """A time zone that there is not, or days that are none."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What the person says: from `first_day` to `last_day` (included; None: until they say otherwise) they are in
    `time_zone`."""

    first_day: date
    last_day: date | None
    time_zone: str

    def holds(self, day: date) -> bool:
        """Whether `day` is one of these."""
        return self.first_day <= day and (self.last_day is None or day <= self.last_day)


@dataclass(frozen=True, slots=True)
class Sojourn:
    """From `since` (UTC) on the person was in `time_zone`, by a device's position."""

    since: datetime
    time_zone: str


@dataclass(frozen=True, slots=True)
class Day:
    """A day of the person's: [starts_at, ends_at) in UTC, the zone in which it began, and who says so: `hand`,
    `position` or `setting`. `device_ids` are those whose position it was."""

    day: date
    time_zone: str
    source: str
    starts_at: datetime
    ends_at: datetime
    device_ids: tuple[str, ...] = ()

    @property
    def hours(self) -> float:
        """Its length."""
        return (self.ends_at - self.starts_at) / timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Sample:
    """A device's position at a moment, and the zone that it lies in."""

    device_id: str
    at: datetime
    latitude: float
    longitude: float
    time_zone: str


@dataclass(frozen=True)
class Clock:
    """The person's clock over a stretch of time, from what is known of it; samples are in order of time.

    What a day is told from lies within LOOK_BACK before its date and LOOK_AHEAD after, so two clocks that were read for
    different stretches tell the same of a day that is in both.
    """

    default: str
    choices: Sequence[Choice] = ()
    samples: Sequence[Sample] = ()
    _starts: dict[date, datetime] = field(default_factory=dict, compare=False, repr=False)
    _known: dict[date, tuple[str | None, tuple[Sojourn, ...]]] = field(default_factory=dict, compare=False, repr=False)

    def starts_at(self, day: date) -> datetime:
        """The first moment of `day`."""
        if day not in self._starts:
            # A day that the person set may begin before the one before it, which is then empty. Clocks differ by 26 h
            # at most, so the one before that is always over.
            self._starts[day] = max(self._reached(day), self._reached(day - ONE_DAY))
        return self._starts[day]

    def day(self, day: date) -> Day:
        """`day`, with its bounds."""
        starts_at = self.starts_at(day)
        name, source = self._told(day, starts_at)
        device = self._sojourns(day)[0] if source == "position" else None
        return Day(day, name, source, starts_at, self.starts_at(day + ONE_DAY), () if device is None else (device,))

    def day_at(self, moment: datetime) -> date:
        """The day that `moment` is of."""
        utc = moment.astimezone(UTC).date()
        return next(d for d in (utc + ONE_DAY, utc, utc - ONE_DAY) if self.starts_at(d) <= moment)

    def zone_at(self, moment: datetime) -> str:
        """The zone that the person's clock showed at `moment`."""
        return self._told(self.day_at(moment), moment)[0]

    def _told(self, day: date, moment: datetime) -> tuple[str, str]:
        if (choice := self._choice(day)) is not None:
            return choice.time_zone, "hand"
        past = [s for s in self._sojourns(day)[1] if s.since <= moment]
        return (past[-1].time_zone, "position") if past else (self.default, "setting")

    def _choice(self, day: date) -> Choice | None:
        return next((c for c in self.choices if c.holds(day)), None)

    def _sojourns(self, day: date) -> tuple[str | None, tuple[Sojourn, ...]]:
        """The device whose position counts on `day`, and where it was."""
        if day not in self._known:
            begin = datetime.combine(day, time(), UTC)
            near = [s for s in self.samples if begin - LOOK_BACK <= s.at < begin + LOOK_AHEAD]
            device = carried(near)
            self._known[day] = device, tuple(stays([s for s in near if s.device_id == device]))
        return self._known[day]

    def _reached(self, day: date) -> datetime:
        """When the clock showed `day` for the first time."""
        if (choice := self._choice(day)) is not None:
            return midnight(day, choice.time_zone)
        known = self._sojourns(day)[1] or (Sojourn(_EVER, self.default),)
        ends = [*(s.since for s in known[1:]), _NEVER]
        starts = (max(midnight(day, s.time_zone), s.since) for s in known)
        return next(start for start, end in zip(starts, ends, strict=True) if start < end)


@lru_cache(maxsize=64)
def zone(name: str) -> ZoneInfo:
    """The zone called `name`; raises TimeZoneError when there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise TimeZoneError(f"time zone {name!r}: there is none of that name; write it like Europe/Zurich") from None


@lru_cache(maxsize=4096)
def midnight(day: date, name: str) -> datetime:
    """The first moment (UTC) of `day` in the zone `name`, also where the clock is put forward at midnight."""
    return datetime.combine(day, time(), zone(name)).astimezone(UTC)


def stays(samples: Sequence[Sample]) -> Iterator[Sojourn]:
    """The stretches in one zone, from one device's samples in order; a single sample between two of another zone is a
    stray. Before the first it was where the first is."""
    names = [s.time_zone for s in samples]
    for n in range(1, len(names) - 1):
        if names[n - 1] == names[n + 1]:
            names[n] = names[n - 1]
    known = None
    for sample, name in zip(samples, names, strict=True):
        if name != known:
            yield Sojourn(_EVER if known is None else sample.at, name)
        known = name


def carried(samples: Sequence[Sample]) -> str | None:
    """The device that moves most: the person has it on them, while a tablet lies at home. None without any sample."""
    reach: dict[str, float] = {}
    for device in sorted({s.device_id for s in samples}):
        own = [s for s in samples if s.device_id == device]
        north = [s.latitude for s in own]
        east = [s.longitude * cos(radians(s.latitude)) for s in own]
        reach[device] = max(north) - min(north) + max(east) - min(east)
    return max(reach, key=lambda d: reach[d], default=None)


def zone_of_position(latitude: float, longitude: float) -> str | None:
    """The zone at a position (WGS 84 degrees), at sea like Etc/GMT+3; None where this machine knows no such zone."""
    import tzfpy  # 20 MB and 0.1 s, for those who need it

    name = tzfpy.get_tz(longitude, latitude)
    try:
        return zone(name).key if name else None
    except TimeZoneError:
        return None


_CLEANED: Final = f"{GPS_CLEANED.table.name}_current"
# One fix an hour and device, by the index: a phone may send one a second.
_FIXES: Final = f"""
WITH RECURSIVE devices AS (
  (SELECT device_id FROM {_CLEANED} WHERE timestamp >= %(since)s AND timestamp < %(until)s
   ORDER BY device_id LIMIT 1)
  UNION ALL
  SELECT (SELECT f.device_id FROM {_CLEANED} f
          WHERE f.timestamp >= %(since)s AND f.timestamp < %(until)s AND f.device_id > d.device_id
          ORDER BY f.device_id LIMIT 1)
  FROM devices d WHERE d.device_id IS NOT NULL
)
SELECT d.device_id, f.timestamp, f.latitude, f.longitude
FROM devices d, generate_series(%(since)s, %(until)s - interval '1 hour', interval '1 hour') h (hour), LATERAL (
  SELECT timestamp, latitude, longitude FROM {_CLEANED}
  WHERE device_id = d.device_id AND timestamp >= h.hour AND timestamp < h.hour + interval '1 hour'
    AND timestamp >= %(since)s AND timestamp < %(until)s AND accepted ORDER BY timestamp DESC LIMIT 1
) f WHERE d.device_id IS NOT NULL ORDER BY f.timestamp, d.device_id
"""
_CHOICES: Final = "SELECT first_day, last_day, time_zone FROM person_time_zones ORDER BY first_day"


def read_clock(connection: Connection, first: date, last: date, default: str) -> Clock:
    """The clock that is right for the days from `first` to `last`, both included."""
    since = datetime.combine(first - 2 * ONE_DAY, time(), UTC) - LOOK_BACK
    until = datetime.combine(last + 2 * ONE_DAY, time(), UTC) + LOOK_AHEAD
    fixes = connection.execute(_FIXES.encode(), {"since": since, "until": until}).fetchall()
    samples = tuple(
        Sample(device, at, latitude, longitude, name)
        for device, at, latitude, longitude in fixes
        if (name := zone_of_position(latitude, longitude)) is not None
    )
    return Clock(default, tuple(chosen(connection)), samples)


def chosen(connection: Connection) -> list[Choice]:
    """What the person said, in order; no day is in two of them."""
    return [Choice(*row) for row in connection.execute(_CHOICES).fetchall()]


def choose(connection: Connection, choice: Choice | Mapping[str, Any], *, remove: bool = False) -> list[Choice]:
    """Note a choice in place of whatever was said of its days, or only forget that (`remove`); gives what holds then.

    Raises TimeZoneError for a zone that there is not, and for days in the wrong order.
    """
    choice = choice if isinstance(choice, Choice) else Choice(**choice)
    if choice.last_day is not None and choice.last_day < choice.first_day:
        raise TimeZoneError(f"{choice.first_day} is after {choice.last_day}; give the first day first")
    if not remove:
        zone(choice.time_zone)
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("LOCK TABLE person_time_zones IN SHARE ROW EXCLUSIVE MODE")
        held = replaced(chosen(connection), choice, remove=remove)
        cursor.execute("DELETE FROM person_time_zones")
        cursor.executemany(
            "INSERT INTO person_time_zones (first_day, last_day, time_zone) VALUES (%s, %s, %s)",
            [(c.first_day, c.last_day, c.time_zone) for c in held],
        )
    return held


def replaced(known: Sequence[Choice], choice: Choice, *, remove: bool = False) -> list[Choice]:
    """`known` with `choice` in place of what it says of the same days; with `remove`, without those days."""
    held = [] if remove else [choice]
    for old in known:
        if old.first_day < choice.first_day:
            before = choice.first_day - ONE_DAY
            held.append(Choice(old.first_day, min(old.last_day or before, before), old.time_zone))
        if choice.last_day is not None and (old.last_day is None or old.last_day > choice.last_day):
            held.append(Choice(max(old.first_day, choice.last_day + ONE_DAY), old.last_day, old.time_zone))
    return sorted(held, key=lambda c: c.first_day)
