"""What the sensors decide, as functions of what they saw. No dagster, no clock, no connection."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import takewhile

START_GRACE = timedelta(seconds=60)
"""A run may take so long to start before its leases count."""

UNLEASED_GRACE = timedelta(seconds=60)
"""A started run that held no lease for so long does not hold its stages any more."""

INHERITED_GRACE = timedelta(seconds=15)
"""The same for a run from before this watch began: its code server has ended, most likely in a crash."""

REAP_AFTER = timedelta(minutes=5)
"""After so long without a lease its process is taken for dead, and the run is marked as failed."""

LONGEST_IDLE = timedelta(minutes=16)


def idle_timeout(base: timedelta, opened_last_hour: int) -> timedelta:
    """How long a run waits for more before it ends: twice as long for each run opened in the last hour.

    A device that sends something every few minutes would otherwise open hundreds of runs a day, each with its
    events; so it keeps a few long ones open.
    """
    longer: timedelta = base * (1 << min(opened_last_hour, 16))
    return max(base, min(LONGEST_IDLE, longer))


FIRST_RETRY, LONGEST_RETRY = timedelta(seconds=2), timedelta(minutes=5)


def retry_at(ended: Sequence[tuple[bool, datetime]]) -> datetime | None:
    """When a group may be opened again after its last runs, newest first, as (whether it failed, when it ended).

    A fault that ends every run at its start would otherwise open one every 5 s for as long as there are records.
    """
    failures = list(takewhile(lambda run: run[0], ended))
    if not failures:
        return None
    longer: timedelta = FIRST_RETRY * (1 << min(len(failures) - 1, 16))
    return failures[0][1] + min(LONGEST_RETRY, longer)


@dataclass(frozen=True, slots=True)
class LiveRun:
    """A stream run that Dagster has as in progress, and the stages it was opened for."""

    run_id: str
    stages: frozenset[str]
    created_at: datetime


@dataclass
class Watch:
    """Remembers since when a run has been without any lease, between two looks."""

    unleased_since: dict[str, datetime] = field(default_factory=dict)
    began_at: datetime | None = None

    def look(self, runs: Iterable[LiveRun], leases: Mapping[str, str], now: datetime) -> "Sight":
        """`leases` maps a leased stage to the run that holds it."""
        runs = list(runs)
        self.began_at = self.began_at or now
        holders = set(leases.values())
        busy = set(leases)
        dead: list[str] = []
        for run in runs:
            inherited = run.created_at < self.began_at
            if run.run_id in holders or (not inherited and now - run.created_at < START_GRACE):
                self.unleased_since.pop(run.run_id, None)
                busy |= run.stages
                continue
            away = now - self.unleased_since.setdefault(run.run_id, now)
            if away < (INHERITED_GRACE if inherited else UNLEASED_GRACE):
                busy |= run.stages
            elif away >= REAP_AFTER:
                dead.append(run.run_id)
        for gone in self.unleased_since.keys() - {r.run_id for r in runs}:
            del self.unleased_since[gone]
        return Sight(frozenset(busy), tuple(dead))


@dataclass(frozen=True, slots=True)
class Sight:
    """What is taken: the names of busy stages, and the runs whose process is gone."""

    busy: frozenset[str]
    dead: tuple[str, ...]


def chosen(ready: Iterable[str], recent: Iterable[str], free: Iterable[str]) -> tuple[str, ...]:
    """The stages to open a run for: those with work and those that had some lately, of the free ones."""
    wanted = {*ready, *recent}
    return tuple(s for s in free if s in wanted) if set(ready) & set(free) else ()
