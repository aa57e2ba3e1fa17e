"""What the person does with their phone: uses of it, the applications in front, and the events that the phone tells.

An application is in front from its `foreground` event on until its `background`, `terminate` or `crash`; where the
person locks the phone at once, some phones tell of no end, and the screen going off is all there is. Times are seconds
from the beginning of the day.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from loom_platform.demo.day import Day

End = Literal["background", "terminate", "crash", "none"]
Told = tuple[float, dict[str, Any]]
"""When, and the payload without what every message has."""

APPS: Final = (
    ("com.whatsapp", "WhatsApp", 5.0, 90.0),
    ("com.android.chrome", "Chrome", 4.0, 180.0),
    ("com.google.android.gm", "Gmail", 2.5, 75.0),
    ("com.spotify.music", "Spotify", 1.5, 60.0),
    ("com.google.android.youtube", "YouTube", 1.5, 600.0),
    ("com.google.android.apps.maps", "Maps", 1.0, 120.0),
    ("com.google.android.calendar", "Calendar", 1.0, 40.0),
    ("org.mozilla.firefox", "Firefox", 0.8, 240.0),
    ("com.king.candycrushsaga", "Candy Crush Saga", 0.5, 420.0),
)
"""Identifier, name, how often it is taken compared with the others, seconds that it is in front on average."""

_PAUSE_S: Final = 1_200.0
_SHORTEST_S: Final = 12.0
_LONGEST_S: Final = 1_500.0
_SWITCH_S: Final = 0.6
_ENDS: Final[dict[End, float]] = {"background": 0.8, "terminate": 0.06, "crash": 0.02, "none": 0.12}


@dataclass(frozen=True, slots=True)
class AppSession:
    """An application in front from `start` to `end`. `launched` says that it did not run before."""

    app: str
    name: str
    start: float
    end: float
    launched: bool
    ended_by: End


@dataclass(frozen=True, slots=True)
class Use:
    """The screen is on from `start` to `end`, and the applications are used one after the other."""

    start: float
    end: float
    sessions: tuple[AppSession, ...]


def plan_uses(day: Day, rng: random.Random) -> tuple[Use, ...]:
    """The uses of the phone in a day: every 20 minutes or so, but not while asleep or at the wheel."""
    uses: list[Use] = []
    running: set[str] = set()
    at = rng.uniform(20.0, 60.0)
    while at < day.seconds:
        activity = day.activity_at(at)
        if activity.kind in ("sleep", "drive"):
            at = activity.end + rng.uniform(30.0, 300.0)
            continue
        use = _use(at, min(activity.end, day.seconds) - 5.0, running, rng)
        if use is None:
            at = activity.end + rng.uniform(30.0, 300.0)
            continue
        uses.append(use)
        at = use.end + _SHORTEST_S + rng.expovariate(1 / _PAUSE_S)
    return tuple(uses)


def _use(start: float, latest: float, running: set[str], rng: random.Random) -> Use | None:
    """One use from `start`, over before `latest`; None when there is no time for any."""
    sessions: list[AppSession] = []
    at = start + rng.uniform(1.0, 3.0)
    for number in range(rng.choice((1, 1, 2, 3))):
        app, name, _, mean = rng.choices(APPS, [a[2] for a in APPS])[0]
        if number and app == sessions[-1].app:
            continue
        length = min(max(rng.expovariate(1 / mean), _SHORTEST_S), _LONGEST_S)
        if at + length > latest:
            break
        ended_by = rng.choices(list(_ENDS), list(_ENDS.values()))[0]
        sessions.append(AppSession(app, name, at, at + length, app not in running, ended_by))
        running.add(app)
        if ended_by in ("terminate", "crash"):
            running.discard(app)
        at += length + _SWITCH_S
        if ended_by == "none":
            break
    if not sessions:
        return None
    last = sessions[-1]
    # Without an event of its end, the application was in front until the screen went off.
    end = last.end if last.ended_by == "none" else last.end + rng.uniform(0.5, 2.0)
    return Use(start, end, tuple(sessions))


def screen_events(uses: Sequence[Use]) -> Iterator[Told]:
    """Screen and lock, in order."""
    for use in uses:
        yield use.start, {"event_type": "screen_on", "event_category": "screen"}
        yield use.start + 0.5, {"event_type": "device_unlock", "event_category": "lock"}
        yield use.end, {"event_type": "screen_off", "event_category": "screen"}
        yield use.end + 0.1, {"event_type": "device_lock", "event_category": "lock"}


def charger_events(day: Day) -> Iterator[Told]:
    """The charger, in order; what was plugged in when the day began was told the day before."""
    for span in day.charging:
        if span.start > 0:
            yield span.start, {"event_type": "power_connected", "event_category": "power"}
        if span.end < day.seconds:
            yield span.end, {"event_type": "power_disconnected", "event_category": "power"}


def app_events(uses: Sequence[Use]) -> Iterator[Told]:
    """What the applications do, in order."""
    for session in (s for use in uses for s in use.sessions):
        who = {"app_identifier": session.app, "app_name": session.name}
        if session.launched:
            yield session.start - 0.4, who | {"event_type": "launch"}
        yield session.start, who | {"event_type": "foreground"}
        if session.ended_by != "none":
            length = round(session.end - session.start, 3)
            yield session.end, who | {"event_type": session.ended_by, "duration_seconds": length}


def usage(uses: Sequence[Use], start: float, end: float) -> list[tuple[str, str, float, int, float, float]]:
    """What UsageStats say of `start` to `end`: identifier, name, seconds in front, times, first and last use."""
    found: dict[str, tuple[str, float, int, float, float]] = {}
    for session in (s for use in uses for s in use.sessions):
        first, last = max(session.start, start), min(session.end, end)
        if first >= last:
            continue
        name, seconds, times, begun, _ = found.get(session.app, (session.name, 0.0, 0, first, last))
        found[session.app] = (name, seconds + last - first, times + (session.start >= start), begun, last)
    return [(app, *told) for app, told in sorted(found.items())]
