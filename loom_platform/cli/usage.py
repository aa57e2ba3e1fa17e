"""`loom usage`: the bytes that everything takes."""

from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def usage(
    everything: Annotated[bool, typer.Option("--all", help="Also what takes almost nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what each topic takes as rows, as roll-ups and in Kafka; the bodies; Dagster; the rest."""
    import json
    from dataclasses import asdict

    from rich.table import Column, Table

    from loom_platform.cli.output import complaints, console, reported
    from loom_platform.export.readme import size
    from loom_platform.retention.keeping import Keeper
    from loom_platform.retention.usage import usage as measured
    from loom_platform.settings import load_settings

    with reported(), complaints.status("measuring") as status:
        found = measured(Keeper(load_settings()), lambda what: status.update(f"measuring {what}"))
    if as_json:
        typer.echo(json.dumps({**asdict(found), "sums": found.sums}))
        return
    rows = [t for t in found.topics if everything or t.table + t.rollups + (t.kafka or 0) >= _SMALL]
    table = Table(
        "topic", *(Column(n, justify="right") for n in ("rows", "roll-ups", "in Kafka")), box=None, pad_edge=False
    )
    for row in rows:
        table.add_row(row.topic, size(row.table), size(row.rollups), "?" if row.kafka is None else size(row.kafka))
    if rows:
        console.print(table)
    if len(rows) < len(found.topics):
        console.print(f"[dim]{len(found.topics) - len(rows)} topics of less than {size(_SMALL)}; --all shows them[/]")
    console.print()
    table = Table("", Column("size", justify="right"), "of it", box=None, pad_edge=False, show_header=False)
    told = {
        "bodies": {f"{kind} ({count:,})": taken for kind, (count, taken) in found.bodies.items()},
        "other tables": found.database,
        "Dagster": found.dagster,
        "files": found.directories,
    }
    for name, taken in found.sums.items():
        largest = sorted(told.get(name, {}).items(), key=lambda part: -part[1])[:3]
        table.add_row(name, size(taken), ", ".join(f"{what} {size(part)}" for what, part in largest))
    table.add_row("all", size(sum(found.sums.values())), "")
    console.print(table)
    for name, why in found.unknown.items():
        complaints.print(f"[yellow]{name} is not counted: {why}[/]")


_SMALL = 100_000
