"""How well what was found agrees with what is true: stretches of time, one to one, and the F1 of that.

F1 is the harmonic mean of precision and recall (https://en.wikipedia.org/wiki/F-score).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Stretch:
    """From `start` to `end`, seconds from the beginning of the day; `what` is compared by the caller."""

    start: float
    end: float
    what: Any = None


@dataclass(frozen=True, slots=True)
class Score:
    """How many are true, were found, and agree; those that do not are named."""

    true: int
    found: int
    agreed: int
    missed: tuple[Stretch, ...] = ()
    wrong: tuple[Stretch, ...] = ()

    @property
    def f1(self) -> float:
        """1 when all agree; nothing to be found and nothing found is 1, too."""
        return 2 * self.agreed / (self.true + self.found) if self.true + self.found else 1.0

    def __add__(self, other: "Score") -> "Score":
        """Both together."""
        return Score(
            self.true + other.true,
            self.found + other.found,
            self.agreed + other.agreed,
            self.missed + other.missed,
            self.wrong + other.wrong,
        )


def overlap(a: Stretch, b: Stretch) -> float:
    """The time that both have over the time that either has."""
    common = min(a.end, b.end) - max(a.start, b.start)
    return max(0.0, common) / max(1e-9, max(a.end, b.end) - min(a.start, b.start))


def score(
    true: Sequence[Stretch],
    found: Sequence[Stretch],
    same: Callable[[Any, Any], bool] = lambda a, b: bool(a == b),
    *,
    least: float = 0.5,
) -> Score:
    """Pairs of `true` and `found` whose `what` is the same and that overlap by more than `least`, best first.

    Where neither list overlaps itself, each has one partner at most from 0.5 on, so that no other pairs are better.
    """
    overlaps = [
        (overlap(a, b), i, j)
        for i, a in enumerate(true)
        for j, b in enumerate(found)
        if overlap(a, b) > least and same(a.what, b.what)
    ]
    hit: set[int] = set()
    used: set[int] = set()
    for _, i, j in sorted(overlaps, reverse=True):
        if i not in hit and j not in used:
            hit.add(i)
            used.add(j)
    return Score(
        len(true),
        len(found),
        len(hit),
        tuple(t for i, t in enumerate(true) if i not in hit),
        tuple(f for j, f in enumerate(found) if j not in used),
    )
