"""What a backup, a check or a restore tells while it works."""

from typing import Protocol


class Progress(Protocol):
    """Called often, from one thread at a time."""

    def __call__(self, step: str, done: int, total: int | None = None, unit: str = "") -> None:
        """`step` has come to `done` of `total` (None: unknown) `unit`s; the unit "B" is bytes."""
        ...


def silent(step: str, done: int, total: int | None = None, unit: str = "") -> None:
    """Tell nobody."""
