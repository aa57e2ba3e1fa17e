"""Run the benchmarks: all, or those named on the command line."""

import argparse
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks import (
    drain,
    erase,
    export,
    flows,
    ingest,
    landing,
    location,
    microbatch,
    motion,
    platform,
    recompute,
    storage,
    vad,
    years,
)
from tests.benchmarks.harness import Result, Servers, save, servers

WITH_SERVERS: dict[str, Callable[[Servers], list[Result]]] = {
    "drain": drain.run,
    "landing": landing.run,
    "microbatch": microbatch.run,
    "ingest": ingest.run,
    "export": export.run,
    "erase": erase.run,
    "recompute": recompute.run,
    "storage": storage.run,
    "location": location.run,
    "flows": flows.run,
    "years": years.run,
}
ALONE: dict[str, Callable[[], list[Result]]] = {"vad": vad.run, "motion": motion.run, "platform": platform.run}
FOLDER = Path(__file__).parents[2] / "bench-results"


def main() -> int:
    """Print the table and keep it as JSON; 1 when a promise is not kept."""
    parser = argparse.ArgumentParser(prog="make bench", description="Measure what the issues promise.")
    parser.add_argument("names", nargs="*", choices=[*WITH_SERVERS, *ALONE, []], help="which; all when left out")
    wanted = parser.parse_args().names or [*WITH_SERVERS, *ALONE]
    results: list[Result] = []
    if any(n in WITH_SERVERS for n in wanted):
        with servers() as started:
            for name, bench in WITH_SERVERS.items():
                if name in wanted:
                    results += bench(started)
    for name, alone in ALONE.items():
        if name in wanted:
            results += alone()
    path = FOLDER / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    save(results, path)
    show(results)
    print(f"kept in {path}")  # noqa: T201
    return 0 if all(r.reached is not False for r in results) else 1


def show(results: list[Result]) -> None:
    """The results as a table."""
    table = Table("what", "measured", "to reach", "", "note", box=None, pad_edge=False)
    marks = {True: "[green]reached[/]", False: "[red]not reached[/]", None: ""}
    for r in results:
        target = "" if r.target is None else f"{'>=' if r.sense == 'at least' else '<='} {r.target:,g} {r.unit}"
        table.add_row(r.name, f"{r.value:,.2f} {r.unit}", target, marks[r.reached], r.note)
    Console(width=200).print(table)


if __name__ == "__main__":
    sys.exit(main())
