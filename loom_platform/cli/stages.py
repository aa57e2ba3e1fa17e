"""`loom stages`: have a stage stand still, and have it go on."""

from datetime import timedelta
from typing import Annotated

import typer

app = typer.Typer(help="Have a stage stand still, or go on.", no_args_is_help=True)

_Stage = Annotated[str, typer.Argument(metavar="STAGE", help="A stage; `loom lag` lists them.")]


@app.command("pause")
def pause(
    stage: _Stage,
    reason: Annotated[str, typer.Option(help="Why; shown wherever the stage is.")] = "a person wanted it",
) -> None:
    """Have STAGE stand still. What comes meanwhile waits in its topic, for as long as the topic is kept."""
    from loom_platform.cli.offsets import find_stage
    from loom_platform.cli.output import console, reported
    from loom_platform.orchestration.platform import Platform
    from loom_platform.roles.limits import Role
    from loom_platform.stream import pauses

    find_stage(stage)
    with reported(), Platform().connect("stages", Role.STREAM) as connection:
        done = pauses.pause(connection, stage, "person", reason)
        told = pauses.paused(connection, [stage])[stage]
    console.print(f"{stage} stands still within some seconds" if done else told, markup=False)


@app.command("resume")
def resume(
    stage: _Stage,
    tolerate_minutes: Annotated[
        float, typer.Option("--tolerate-minutes", min=0, help="Bury whatever cannot be processed, for so long.")
    ] = 0.0,
) -> None:
    """Have STAGE go on where it stopped. One that paused itself does so again when nothing was mended."""
    from loom_platform.cli.offsets import find_stage
    from loom_platform.cli.output import console, reported
    from loom_platform.orchestration.platform import Platform
    from loom_platform.roles.limits import Role
    from loom_platform.stream import pauses

    find_stage(stage)
    with reported(), Platform().connect("stages", Role.STREAM) as connection:
        done = pauses.resume(connection, stage, timedelta(minutes=tolerate_minutes))
    console.print(f"{stage} goes on with its next run, within seconds" if done else f"{stage} is not paused")
