"""What an export, a check or an import tells while it works."""

from typing import Protocol


class Progress(Protocol):
    """Called often, from one thread."""

    def __call__(self, what: str, rows: int, size: int) -> None:
        """`what` (a table, or "bodies") has come to `rows` rows or bodies, and `size` bytes."""
        ...


def silent(what: str, rows: int, size: int) -> None:
    """Tell nobody."""
