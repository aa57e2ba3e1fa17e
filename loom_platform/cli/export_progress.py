"""How far `loom export` and `loom import` are: a line that changes on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.status import Status

from loom_platform.export.readme import size as bytes_of

EVERY_SECONDS = 10.0


class DataProgress:
    """A `Progress` of `loom_platform.export` for a person; it says nothing when `quiet`."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console, self._quiet = console, quiet
        self._status: Status | None = None
        self._told = time.monotonic()

    def __call__(self, what: str, rows: int, size: int) -> None:
        """`what` has come to `rows`."""
        if self._quiet:
            return
        text = f"{what}  {rows:,}" + (f"  {bytes_of(size)}" if size else "")
        if self._status is not None:
            self._status.update(text)
        elif time.monotonic() - self._told >= EVERY_SECONDS:
            self._told = time.monotonic()
            self._console.print(text, markup=False)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show it for as long as the context lasts."""
        if self._quiet or not self._console.is_terminal:
            yield
            return
        with self._console.status("reading") as self._status:
            yield
        self._status = None
