"""Counting on the way of every request: plain numbers, which Prometheus' own objects get when somebody asks.

`Counter.inc` and `Histogram.observe` take locks and cost a microsecond or two each, and a request needs five of them.
"""

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import Counter, Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

MOST_SERIES: Final = 10_000
"""Far more than there are labels; further ones are not counted."""


class Counts:
    """How often each label was counted; `child` makes the Prometheus counter of a label."""

    def __init__(self, child: Callable[[tuple[str, ...]], Counter]) -> None:
        self.numbers: dict[tuple[str, ...], int] = {}
        self._child = child
        self._told: dict[tuple[str, ...], int] = {}

    def add(self, label: tuple[str, ...]) -> None:
        """Count one."""
        number = self.numbers.get(label, 0)
        if number or len(self.numbers) < MOST_SERIES:
            self.numbers[label] = number + 1

    def tell(self) -> None:
        """Give the counters what came since the last time."""
        for label, number in list(self.numbers.items()):
            self._child(label).inc(number - self._told.get(label, 0))
            self._told[label] = number


class Durations:
    """The seconds of each observation, in the buckets of a histogram that has no labels left to give."""

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram
        self._bounds = tuple(histogram._upper_bounds)
        self._numbers = [0] * len(self._bounds)
        self._told = [0] * len(self._bounds)
        self._sum = 0.0
        self._sum_told = 0.0

    def observe(self, seconds: float) -> None:
        """Count one observation."""
        self._numbers[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def tell(self) -> None:
        """Give the histogram what came since the last time."""
        for index, number in enumerate(self._numbers):
            self._histogram._buckets[index].inc(number - self._told[index])
            self._told[index] = number
        total = self._sum
        self._histogram._sum.inc(total - self._sum_told)
        self._sum_told = total


class Tellers(Collector):
    """Has everything told before the collectors that are registered after it; scrapes come from other threads too."""

    def __init__(self) -> None:
        self.all: list[Counts | Durations] = []
        self._telling = threading.Lock()

    def collect(self) -> Iterator[Metric]:
        """No metric of its own."""
        with self._telling:
            for each in list(self.all):
                each.tell()
        yield from ()
