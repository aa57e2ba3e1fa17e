"""`loom replay`: a stage back to an earlier time or offset, from Kafka while it has it, else from the tables."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from loom_models.stage import Stage
    from loom_platform.stream.replay import Replay

app = typer.Typer()

_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]


@app.command()
def replay(
    stage_name: Annotated[str, typer.Argument(metavar="STAGE", help="A stage; `loom lag` lists them.")],
    since: Annotated[
        datetime | None,
        typer.Option("--from", formats=_FORMATS, metavar="TIME", help="What was accepted from then on, UTC."),
    ] = None,
    offset: Annotated[
        list[str] | None,
        typer.Option("--offset", metavar="[PARTITION:]OFFSET", help="From this offset on; may be repeated."),
    ] = None,
    here: Annotated[bool, typer.Option("--here", help="Compute days from tables in this process.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this, only say what would be done.")] = False,
) -> None:
    """Have STAGE process again what it was given since a time or an offset.

    What Kafka still has is read from there again: the stage's offsets go back, and the live run goes on from there.
    What retention has removed from Kafka is computed again from the tables, by whole days. Nothing is stored twice.
    """
    from loom_platform.cli.offsets import find_stage
    from loom_platform.cli.output import console, reported
    from loom_platform.orchestration.platform import Platform
    from loom_platform.stream.replay import plan, rewind

    if (since is None) == (not offset):
        raise typer.BadParameter("give --from or --offset, and not both", param_hint="--from")
    stage = find_stage(stage_name)
    with reported():
        config = Platform().stream_config("cli-replay")
        at = None if since is not None else _places(stage, offset or [], config.bootstrap_servers, config.topic_prefix)
        moment = since.replace(tzinfo=UTC) if since is not None else None
        with console.status(f"{stage.name}: looking what Kafka has") as status:
            found = plan(
                stage, config, since=moment, at=at, on_day=lambda day: status.update(f"{stage.name}: the table's {day}")
            )
        _tell(found)
        if not (found.kafka or found.days):
            console.print("nothing is to be done")
            return
        if not yes:
            console.print("nothing was changed; add --yes to do it")
            return
        if found.days:
            _compute(found, here=here)
        if found.kafka:
            rewind(found, config)
            console.print(f"{stage.name} was taken back; its run goes on from there within seconds: loom lag")


def _places(stage: "Stage", offsets: list[str], bootstrap_servers: str, prefix: str) -> dict[int, int]:
    """Partition to offset; where only an offset is given, the topic must have one partition."""
    from loom_platform.stream.source import admin_client
    from loom_platform.stream.topics import identity

    at: dict[int, int] = {}
    for text in offsets:
        first, colon, second = text.rpartition(":")
        if not second.isdigit() or (colon and not first.isdigit()):
            raise typer.BadParameter(f"{text!r} is not [PARTITION:]OFFSET, such as 0:1200", param_hint="--offset")
        if not colon:
            _, count = identity(admin_client(bootstrap_servers), stage.source.on_broker(prefix))
            if count > 1:
                says = f"{stage.source.name} has {count} partitions: say which, such as 0:{second}"
                raise typer.BadParameter(says, param_hint="--offset")
            first = "0"
        at[int(first)] = int(second)
    return at


def _tell(found: "Replay") -> None:
    from loom_platform.cli.output import console
    from loom_platform.stream.replay import stretches

    name = found.stage.source.name
    for partition, rewind in sorted(found.kafka.items()):
        kept = " (the first that Kafka still has)" if rewind.to == rewind.first_kept and rewind.to else ""
        console.print(
            f"from Kafka: {name}[{partition}] from {rewind.to:,}{kept} to {rewind.stands_at:,}, "
            f"{rewind.records:,} records",
            markup=False,
        )
    for first, last in stretches(found.days):
        days = f"{first}" if first == last else f"{first} to {last}"
        console.print(f"from the table {found.stage.source.table.name}: {days}", markup=False)
    if found.days:
        devices = f"{len(found.devices)} device" + ("s" if len(found.devices) > 1 else "")
        console.print(f"  for {found.rows:,} rows of {devices} that Kafka has no more; whole days are computed again")
    if found.missing:
        console.print(found.missing, markup=False)


def _compute(found: "Replay", *, here: bool) -> None:
    from loom_platform.cli.recompute import compute_here, submit
    from loom_platform.settings import load_settings
    from loom_platform.stream.replay import stretches

    for days in stretches(found.days):
        if here:
            compute_here(found.stage, days, found.devices)
        else:
            submit(found.stage, days, load_settings(), found.devices)
