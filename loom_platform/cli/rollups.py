"""`loom rollups`: what is kept of numeric sensors by minute and hour, bringing it up to date, checking it."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from loom_contracts.rollups import Rollup
    from loom_platform.rollups import Refreshed

app = typer.Typer(help="Numeric sensors by minute and hour.", no_args_is_help=True)

_Names = Annotated[list[str] | None, typer.Argument(metavar="[TOPIC]...", help="Topics or tables; all when left out.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_command(as_json: _Json = False) -> None:
    """Show every roll-up: what it holds, and how many stretches of it are to be counted anew."""
    import json
    from dataclasses import asdict

    from rich.filesize import decimal
    from rich.table import Column, Table

    from loom_platform.cli.output import console, reported
    from loom_platform.orchestration.platform import Platform
    from loom_platform.rollups.status import statuses

    with reported(), Platform().connect("rollups") as connection:
        found = statuses(connection)
    if as_json:
        typer.echo(json.dumps([asdict(s) for s in found], default=str))
        return
    numbers = [Column(name, justify="right") for name in ("minutes", "hours", "size", "marks")]
    frozen = ["frozen before"] if any(s.frozen_before for s in found) else []
    table = Table(Column("table", no_wrap=True), *numbers, *frozen, box=None, pad_edge=False)
    for s in found:
        told = [f"{s.minutes:,}", f"{s.hours:,}", decimal(s.bytes), f"{s.marks:,}"]
        if frozen:
            told.append(f"{s.frozen_before:%F}" if s.frozen_before else "-")
        table.add_row(s.table, *told)
    console.print(table)


@app.command("refresh")
def refresh_command(
    names: _Names = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Count everything anew, not only what has changed.")
    ] = False,
) -> None:
    """Bring what is kept up to date now; every quarter of an hour it happens by itself.

    Nothing waits for it: what is told is right before it too, only slower to read.
    """
    from loom_platform.cli.output import console, reported
    from loom_platform.orchestration.platform import Platform
    from loom_platform.rollups import refresh
    from loom_platform.rollups.refreshing import mark_all

    chosen = _chosen(names)
    with reported(), Platform().connect("rollups") as connection:
        for rollup in chosen:
            if everything:
                mark_all(connection, rollup.table)
            with console.status(rollup.table.name) as status:

                def show(done: "Refreshed") -> None:
                    status.update(f"{done.table}: {_hours(done)}, {done.rows:,} rows")

                done = refresh(connection, [rollup.table], on_progress=show)[0]
            if done.marks:
                rows = f", {done.rows:,} rows" if done.rows else ""
                console.print(f"{done.table}: {_hours(done)} counted anew{rows} in {done.seconds:.1f} s")
    console.print("up to date")


@app.command("check")
def check_command(
    names: _Names = None,
    first: Annotated[datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], metavar="YYYY-MM-DD")] = None,
    last: Annotated[datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], metavar="YYYY-MM-DD")] = None,
    as_json: _Json = False,
) -> None:
    """Compare the roll-ups with a fresh count of all their rows; exits with 1 when they differ anywhere.

    --from and --to are UTC days, both included. What is frozen is left out, because its rows may be gone.
    """
    import json
    from itertools import islice

    from loom_platform.cli.output import console, reported
    from loom_platform.orchestration.platform import Platform
    from loom_platform.rollups.status import differences

    bounds = [None if day is None else day.replace(tzinfo=UTC) for day in (first, last)]
    wrong: dict[str, int] = {}
    with reported(), Platform().connect("rollups") as connection:
        for rollup in _chosen(names):
            with console.status(f"counting {rollup.table.name}"):
                found = differences(connection, rollup, *bounds)
                examples = list(islice(found, 5))
                wrong[rollup.table.name] = len(examples) + sum(1 for _ in found)
            if not as_json:
                for d in examples:
                    console.print(f"{d.view} {d.bucket:%F %H:%MZ} {d.device_id}: tells {d.told:,}, has {d.counted:,}")
    if as_json:
        typer.echo(json.dumps(wrong))
    elif any(wrong.values()):
        console.print(f"[red]{sum(wrong.values()):,} buckets differ[/]; count them anew: loom rollups refresh --all")
    else:
        console.print(f"{len(wrong)} roll-ups tell what their rows do")
    if any(wrong.values()):
        raise typer.Exit(1)


def _chosen(names: list[str] | None) -> "list[Rollup]":
    from loom_contracts.rollups import ROLLUPS
    from loom_platform.cli.output import reported
    from loom_platform.rollups.status import rollup_named

    with reported():
        return [rollup_named(n) for n in names] if names else list(ROLLUPS)


def _hours(done: "Refreshed") -> str:
    return f"{done.counted.total_seconds() / 3600:,.1f} h"
