"""The progress of `loom up` and `loom down`: a live table on a terminal, a line per change elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

_STYLES = {"ready": "green", "stopped": "green", "failed": "red", "waiting": "dim"}
_AT_REST = frozenset(_STYLES)


class ServiceProgress:
    """Takes what `supervise.platform` reports, from any thread."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._rows: dict[str, tuple[str, str, float]] = {}
        self._lock = Lock()
        self._live: Live | None = None

    def __call__(self, service: str, phase: str, detail: str) -> None:
        """A service has come to a phase."""
        seconds = time.monotonic() - self._began
        with self._lock:
            self._rows[service] = (phase, detail, seconds)
        if self._live is not None:
            self._live.update(self._render())
        else:
            self._console.print(f"{seconds:5.1f} s  {service:18} {phase:10} {detail}".rstrip(), markup=False)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the table for as long as the context lasts, when there is a terminal."""
        if not self._console.is_terminal:
            yield
            return
        with Live(self._render(), console=self._console, refresh_per_second=8) as live:
            self._live = live
            try:
                yield
            finally:
                live.update(self._render())
                self._live = None

    def _render(self) -> Group:
        table = Table.grid(padding=(0, 2))
        with self._lock:
            for service, (phase, detail, seconds) in self._rows.items():
                sign = (
                    Text({"failed": "✗", "waiting": "·"}.get(phase, "✓"), _STYLES[phase])
                    if phase in _AT_REST
                    else Spinner("dots", style="cyan")
                )
                told = f"{seconds:.1f} s" if phase in ("ready", "stopped", "failed") else ""
                table.add_row(sign, service, Text(phase, _STYLES.get(phase, "cyan")), told, Text(detail, "dim"))
        return Group(table)
