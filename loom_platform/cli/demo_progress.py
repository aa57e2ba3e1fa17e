"""How far `loom demo` is, while it sends."""

import threading
from datetime import timedelta

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from loom_platform.cli.output import console
from loom_platform.demo.events import DemoConfig, Truth
from loom_platform.demo.send import SendConfig, SendReport


class Progress:
    """Shows how far sending is: a live table in a terminal, a line every ten seconds elsewhere."""

    def __init__(
        self, config: DemoConfig, target: SendConfig, report: SendReport, truth: Truth, *, quiet: bool
    ) -> None:
        self._config, self._target, self._report, self._truth, self._quiet = config, target, report, truth, quiet

    def __enter__(self) -> None:
        self._done = threading.Event()
        self._live: Live | None = None
        if self._quiet:
            return
        self._print_plan()
        if console.is_terminal:
            self._live = Live(get_renderable=self._table, console=console, refresh_per_second=4, transient=True)
            self._live.start()
        else:
            self._thread = threading.Thread(target=self._lines, daemon=True)
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._live is not None:
            self._live.stop()

    def _print_plan(self) -> None:
        day = self._truth.day
        console.print(
            f"{self._config.device} -> {self._target.url}: {day.seconds / 3_600:g} h from "
            f"{self._report.began:%Y-%m-%d %H:%M} UTC, {len(day.activities)} activities"
        )

    def _table(self) -> RenderableType:
        report, day = self._report, self._truth.day
        activity = day.activity_at(report.at)
        moment = report.began + timedelta(seconds=report.at)
        head = Text(f"{moment:%H:%M:%S} UTC  {activity.kind}", "bold")
        if report.behind_s > 2:
            head.append(f"  {report.behind_s:.0f} s behind", "yellow")
        if report.retries:
            head.append(f"  {report.retries} retries", "yellow")
        table = Table("topic", "accepted", box=None)
        for name, count in sorted(report.acknowledged.items()):
            table.add_row(name, f"{count:,}")
        return Group(head, ProgressBar(total=day.seconds, completed=report.at), table)

    def _lines(self) -> None:
        while not self._done.wait(10.0):
            share = self._report.at / self._truth.day.seconds
            console.print(f"{share:.0%} of the day, {self._report.total:,} events accepted")
