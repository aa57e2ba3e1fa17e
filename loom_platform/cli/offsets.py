"""`loom offsets`: where a stage stands in its topic, and the way on after a topic was recreated or truncated."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from loom_models.stage import Stage

app = typer.Typer(help="Where the stages stand in their topics.", no_args_is_help=True)

StageName = Annotated[str, typer.Argument(help="A stage; `loom offsets show` without one lists them all.")]


def find_stage(name: str) -> "Stage":
    """The stage called `name`; a BadParameter that lists those there are when there is none."""
    from loom_models.flows import STAGES

    for stage in STAGES:
        if stage.name == name:
            return stage
    raise typer.BadParameter(f"there is no stage {name!r}; there are {', '.join(s.name for s in STAGES)}")


@app.command("show")
def show(name: Annotated[str | None, typer.Argument(help="A stage; all when left out.")] = None) -> None:
    """Show stored offsets, the ends of the topics, and what halts a stage."""
    from rich.table import Table

    from loom_models.flows import STAGES
    from loom_platform.cli.output import console, reported
    from loom_platform.orchestration.platform import Platform
    from loom_platform.stream.api import backlog

    stages = STAGES if name is None else (find_stage(name),)
    with reported():
        lags = backlog(stages, Platform().stream_config("cli"))
    table = Table("stage", "partition", "next offset", "end of topic", "behind", "state", box=None, pad_edge=False)
    for lag in lags.values():
        state = "[red]halted[/]" if lag.halted else "running" if lag.has_live_run else "idle"
        for partition, (offset, end) in sorted(lag.offsets.items()):
            table.add_row(lag.stage, str(partition), f"{offset:,}", f"{end:,}", f"{end - offset:,}", state)
    console.print(table)
    for lag in lags.values():
        if lag.halted:
            console.print(f"[red]{lag.halted}[/]")


@app.command("reset")
def reset(
    name: StageName,
    to: Annotated[str, typer.Option(help="earliest: all that is still in the topic again; latest: skip it.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this, only say what would be done.")] = False,
) -> None:
    """Set a stage's offsets by hand. Rows that are there already stay as they are: a record is never stored twice."""
    from loom_platform.cli.output import complaints, console, reported
    from loom_platform.orchestration.platform import Platform
    from loom_platform.stream.api import backlog, reset_offsets

    if to not in ("earliest", "latest"):
        raise typer.BadParameter(f"{to!r} is not a place: use earliest or latest", param_hint="--to")
    stage = find_stage(name)
    config = Platform().stream_config("cli")
    with reported():
        lag = backlog([stage], config)[stage.name]
        if lag.has_live_run:
            complaints.print(f"[red]stage {name} is running: terminate its run in the Dagster UI first[/]")
            raise typer.Exit(1)
        if not yes:
            for partition, (offset, end) in sorted(lag.offsets.items()):
                console.print(f"{stage.source.name}[{partition}]: from {offset:,} to the {to} record (end is {end:,})")
            console.print("nothing was changed; add --yes to do it")
            return
        positions = reset_offsets(stage, config, to)
    for partition, offset in sorted(positions.items()):
        console.print(f"{stage.source.name}[{partition}] stands at {offset:,}")
