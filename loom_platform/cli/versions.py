"""`loom versions`: which versions of a stage there are, which one is shown, and how two of them differ."""

from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loom_platform.cli.recompute import days_of

if TYPE_CHECKING:
    from loom_platform.versions.diff import Difference

app = typer.Typer(help="Versions of the stages, and which one is shown.", no_args_is_help=True)

_Stage = Annotated[str, typer.Argument(metavar="STAGE", help="A stage; `loom versions list` shows them.")]
_Yes = Annotated[bool, typer.Option("--yes", help="Do it; without this, only say what would be done.")]


@app.command("list")
def list_versions(
    stage: Annotated[str | None, typer.Argument(metavar="[STAGE]")] = None,
    rows: Annotated[bool, typer.Option("--rows", help="Count their rows; reads whole tables.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show every version that ever ran, and the one that the `_current` views show."""
    import json

    from loom_models.flows import STAGES
    from loom_platform.cli.offsets import find_stage
    from loom_platform.cli.output import reported
    from loom_platform.orchestration.platform import Platform
    from loom_platform.roles.limits import Role
    from loom_platform.versions import store

    if stage is not None:
        find_stage(stage)
    known = {s.name: s for s in STAGES if not s.landing}
    with reported(), Platform().connect("versions", Role.STREAM) as connection:
        # A landing stage stores what came; it has no answers that could be promoted.
        found = [v for v in store.versions(connection, stage) if v.stage in known or stage is not None]
        lines: list[dict[str, Any]] = []
        for each in found:
            line = each._asdict() | {"in_code": each.stage in known and known[each.stage].version == each.version}
            if rows and each.stage in known:
                counted = [
                    store.rows(connection, each.stage, sink).get(each.version) for sink in known[each.stage].sinks
                ]
                line["rows"] = sum(c.standing for c in counted if c)
                line["superseded"] = sum(c.superseded for c in counted if c)
            lines.append(line)
    if as_json:
        typer.echo(json.dumps(lines, default=str))
        return
    _show(lines, rows=rows)


@app.command("promote")
def promote(
    stage: _Stage,
    version: Annotated[str, typer.Argument(metavar="VERSION")],
    anyway: Annotated[bool, typer.Option("--anyway", help="Though days would be empty.")] = False,
    yes: _Yes = False,
) -> None:
    """Show VERSION of STAGE in its `_current` views, from one moment to the next."""
    from loom_platform.cli.offsets import find_stage
    from loom_platform.cli.output import complaints, console, reported
    from loom_platform.orchestration.platform import Platform
    from loom_platform.roles.limits import Role
    from loom_platform.versions import store

    found = find_stage(stage)
    with reported(), Platform().connect("versions", Role.STREAM) as connection:
        shown = store.promoted(connection, stage)
        if shown == version:
            console.print(f"{stage}: version {version} is shown already", markup=False)
            return
        missing = store.uncovered(connection, stage, version, found.sinks)
        if missing:
            says = (
                f"{stage}: on {len(missing)} days, {missing[0]} to {missing[-1]}, version {shown} has answers and "
                f"{version} has none. Compute them first: loom recompute {stage} --from {missing[0]} --to {missing[-1]}"
            )
            complaints.print(says, style="yellow", markup=False)
            if not anyway:
                complaints.print("nothing was changed; --anyway promotes it all the same", markup=False)
                raise typer.Exit(1)
        if not yes:
            console.print(f"{stage}: version {version} would be shown in place of {shown}", markup=False)
            console.print("nothing was changed; add --yes to do it")
            return
        previous = store.promote(connection, stage, version)
    console.print(f"{stage}: version {version} is shown now, in place of {previous}", markup=False)
    console.print(f"to go back: loom versions rollback {stage} --yes", markup=False)


@app.command("rollback")
def rollback(stage: _Stage, yes: _Yes = False) -> None:
    """Show the version again that was shown before the last promotion."""
    from loom_platform.cli.offsets import find_stage
    from loom_platform.cli.output import console, reported
    from loom_platform.orchestration.platform import Platform
    from loom_platform.roles.limits import Role
    from loom_platform.versions import store

    find_stage(stage)
    with reported(), Platform().connect("versions", Role.STREAM) as connection:
        if not yes:
            for line in store.history(connection, stage):
                told = f"{line.promoted_at:%Y-%m-%d %H:%M}  {line.action:9} {line.previous or '-'} -> {line.version}"
                console.print(told, markup=False)
            console.print("nothing was changed; add --yes to go back one step")
            return
        left, shown = store.rollback(connection, stage)
    console.print(f"{stage}: version {shown} is shown again, in place of {left}", markup=False)


@app.command("diff")
def diff(
    stage: _Stage,
    first: Annotated[str, typer.Argument(metavar="VERSION")],
    second: Annotated[str, typer.Argument(metavar="VERSION")],
    day: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], metavar="YYYY-MM-DD")] = None,
    start: Annotated[datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], metavar="YYYY-MM-DD")] = None,
    end: Annotated[datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], metavar="YYYY-MM-DD")] = None,
    device: Annotated[str | None, typer.Option("--device", help="Only of this device.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare the answers of two versions over UTC days: how many are the same, and what differs in the others."""
    import json

    from loom_platform.cli.offsets import find_stage
    from loom_platform.cli.output import console, reported
    from loom_platform.orchestration.platform import Platform
    from loom_platform.versions.diff import difference

    found = find_stage(stage)
    if found.landing:
        raise typer.BadParameter(f"{stage} stores what came; it has no answers to compare", param_hint="STAGE")
    days: tuple[date, date] = days_of(day, start, end)
    with reported():
        url = Platform().settings().database_url
        told = [difference(url, sink, stage, first, second, days, device) for sink in found.sinks]
    if as_json:
        typer.echo(json.dumps([each.as_json() for each in told], default=str))
        return
    for each in told:
        _show_difference(each)
    console.print(f"show one: loom versions promote {stage} {second} --yes", markup=False)


def _show(lines: list[dict[str, Any]], *, rows: bool) -> None:
    from rich.markup import escape
    from rich.table import Column, Table

    from loom_platform.cli.output import console

    if not lines:
        console.print("no stage has run yet")
        return
    numbers = [Column(name, justify="right") for name in ("rows", "superseded")] if rows else []
    table = Table(Column("stage", no_wrap=True), "version", "first run", "", *numbers, box=None, pad_edge=False)
    for line in lines:
        marks = [mark for mark, said in (("shown", line["promoted"]), ("in the code", line["in_code"])) if said]
        counts = [f"{line.get(name, 0):,}" for name in ("rows", "superseded")] if rows else []
        first = f"{line['first_run_at']:%Y-%m-%d %H:%M}"
        table.add_row(line["stage"], escape(line["version"]), first, ", ".join(marks), *counts)
    console.print(table)


def _show_difference(found: "Difference") -> None:
    from loom_platform.cli.output import console

    def say(text: str) -> None:
        console.print(text, markup=False)

    say(f"{found.topic.table.name}: {found.rows[0]:,} rows of {found.first}, {found.rows[1]:,} rows of {found.second}")
    say(f"  {found.same:,} answers are the same, {found.changed:,} differ, {found.only_first:,} only in {found.first}, "
        f"{found.only_second:,} only in {found.second}")  # fmt: skip
    for name, number in sorted(found.changed_columns.items(), key=lambda item: -item[1]):
        say(f"  {number:,} differ in {name}")
    for scope, name, one, two in found.examples:
        place = ", ".join(str(value) for value in scope.values())
        say(f"  for example {place}: {name} {one} -> {two}")
    for version, scope in found.alone:
        place = ", ".join(str(value) for value in scope.values())
        say(f"  only in {version}, for example {place}")
