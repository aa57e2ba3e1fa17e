"""The work of asking: one session at a time asks the chosen services about what waits, at their pace."""

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg

from loom_models.services.base import AwayError, Service
from loom_models.services.choice import Choice
from loom_models.services.make import service_of
from loom_platform.lookups import queue

Connection = psycopg.Connection[Any]
IDLE: Final = timedelta(seconds=45)
"""While a person is under way new cells come all the time: so long it waits for more."""

LONGEST: Final = timedelta(minutes=30)
_LOOK_SECONDS: Final = 2.0
_REQUESTS_A_LOOK: Final = 10


@dataclass(slots=True)
class Asked:
    """What came of it: requests, cells by what became of them, and why services are left alone, by name."""

    requests: int = 0
    cells: dict[str, int] = field(default_factory=lambda: {"found": 0, "none": 0, "failed": 0})
    away: dict[str, str] = field(default_factory=dict)
    taken: bool = False
    """Whether another session was at it already, so that this one has asked nobody."""


def is_needed(connection: Connection, choices: Sequence[Choice]) -> bool:
    """Whether there is a cell to ask about, and a service for it that is not left alone.

    Stages are woken for what needs no asking.
    """
    needed = False
    for choice in choices:
        queue.wake(connection, choice.kind)
        if not choice.nobody and not queue.state_of(connection, choice.kind).paused:
            needed = needed or bool(queue.next_cells(connection, choice.kind, choice.name, 1))
    return needed


def ask(
    connection: Connection,
    choices: Sequence[Choice],
    *,
    stop: threading.Event,
    idle: timedelta = IDLE,
    longest: timedelta = LONGEST,
) -> Asked:
    """Ask until nothing has waited for `idle`, every service is away, or `longest` is over.

    `connection` is in autocommit mode: no transaction is open while a service is asked. Raises ChoiceError when a
    service could not be asked as it is chosen.
    """
    asked = Asked()
    queue.choose(connection, choices)
    services = [s for c in choices if (s := service_of(c)) is not None]
    if not queue.take(connection):
        asked.taken = True
        return asked
    with ExitStack() as ending:
        ending.callback(queue.leave, connection)
        for service in services:
            ending.callback(service.close)
        begun = last = time.monotonic()
        while not stop.is_set() and time.monotonic() - begun < longest.total_seconds():
            for choice in choices:
                queue.wake(connection, choice.kind)
            ready = [s for s in services if not queue.state_of(connection, s.kind).paused]
            if not ready:
                break
            worked = [_some(connection, service, asked, stop) for service in ready]
            if any(worked):
                last = time.monotonic()
            elif time.monotonic() - last >= idle.total_seconds():
                break
            else:
                stop.wait(min(_LOOK_SECONDS, idle.total_seconds()))
    return asked


def _some(connection: Connection, service: Service, asked: Asked, stop: threading.Event) -> bool:
    """Ask `service` about the cells that wait, a few requests; whether there were any."""
    cells = queue.next_cells(connection, service.kind, service.name, service.at_once * _REQUESTS_A_LOOK)
    for first in range(0, len(cells), service.at_once):
        _keep_distance(connection, service, stop)
        if stop.is_set():
            break
        asked.requests += 1
        queue.asking(connection, service)
        try:
            answers = service.ask(cells[first : first + service.at_once])
        except AwayError as error:
            queue.pause(connection, service, str(error), error.retry_after)
            asked.away[service.name] = str(error)
            break
        for state, number in queue.store(connection, service, answers).items():
            asked.cells[state] += number
    return bool(cells)


def _keep_distance(connection: Connection, service: Service, stop: threading.Event) -> None:
    """The time between two requests, also of two runs."""
    at = queue.state_of(connection, service.kind).asked_at
    if at is not None and (left := at + service.interval - datetime.now(UTC)) > timedelta(0):
        stop.wait(min(left, service.interval).total_seconds())
