"""How far a backup, a check or a restore is: a bar on a terminal, a line for each step elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

_EVERY_SECONDS = 10.0


class StepProgress:
    """Takes what `loom_platform.backup` reports."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._last: tuple[str, str] | None = None
        self._told_at = self._began
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, step: str, done: int, total: int | None = None, unit: str = "") -> None:
        """`step` has come to `done`."""
        text = amount(done, unit) if total is None else f"{amount(done, unit)} of {amount(total, unit)}"
        if self._bars is not None:
            if step not in self._tasks:
                self._tasks[step] = self._bars.add_task(step, total=total, text=text)
            self._bars.update(self._tasks[step], completed=done, total=total, text=text)
            return
        now = time.monotonic()
        if self._last is not None and self._last[0] != step:
            self._tell(*self._last)
        elif self._last is not None and now - self._told_at > _EVERY_SECONDS:
            self._tell(step, text)
        self._last = step, text

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show it for as long as the context lasts."""
        if not self._console.is_terminal:
            yield
            if self._last is not None:
                self._tell(*self._last)
            return
        columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}")
        with Progress(*columns, TimeElapsedColumn(), console=self._console) as self._bars:
            yield
        self._bars = None

    def _tell(self, step: str, text: str) -> None:
        self._told_at = time.monotonic()
        seconds = self._told_at - self._began
        self._console.print(f"{seconds:6.1f} s  {step:22} {text if text != '0' else ''}".rstrip(), markup=False)


def amount(number: int, unit: str = "B") -> str:
    """A count with its unit; bytes in the unit that a person reads."""
    if unit != "B":
        return f"{number:,} {unit}".rstrip()
    size = float(number)
    for name in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:,.0f} {name}" if name == "B" else f"{size:,.1f} {name}"
        size /= 1000
    return f"{size:,.1f} TB"
