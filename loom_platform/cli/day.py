"""`loom day`: what happened on a day, from all flows."""

from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def day(
    on: Annotated[str, typer.Argument(metavar="[DATE]", help="2026-11-20, today or yesterday.")] = "today",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: every dataset of the day.")] = False,
) -> None:
    """Show a day of yours in order: where you were, how you travelled, what you used, when you slept.

    From the rows as they are now, so that what was corrected a moment ago shows. Times are those of your clock.
    """
    import json
    from dataclasses import asdict
    from datetime import UTC, date, datetime, timedelta

    from rich.markup import escape
    from rich.table import Table

    from loom_platform.cli.output import console, reported
    from loom_platform.days import show
    from loom_platform.orchestration.platform import Platform
    from loom_platform.roles.limits import Role

    platform = Platform()
    with reported(), platform.connect("day", Role.READ) as connection:
        zone = platform.settings().time_zone
        if on in ("today", "yesterday"):
            wanted = show.today(connection, datetime.now(UTC), zone) - timedelta(days=int(on == "yesterday"))
        else:
            try:
                wanted = date.fromisoformat(on)
            except ValueError:
                raise typer.BadParameter(f"{on!r} is not a day; write it like 2026-11-20", param_hint="DATE") from None
        told = show.story(connection, wanted, zone)
    if as_json:
        typer.echo(json.dumps({**asdict(told.day), **told.rows}, default=_text))
        return
    bounds = f"{told.day.hours:g} h, {told.day.time_zone} by {told.day.source}"
    console.print(f"[bold]{told.day.day:%A %-d %B %Y}[/] ({escape(bounds)})")
    if not told.timeline:
        console.print("nothing is known of this day")
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    before = told.day.time_zone
    for row in told.timeline:
        if row["time_zone"] != before:
            table.add_row("", "", "", "", f"[dim]clock: {escape(row['time_zone'])}[/]")
            before = row["time_zone"]
        start, end = (show.clock_time(row[name], row["time_zone"]) for name in ("started_at", "ended_at"))
        table.add_row(start, end, f"[dim]{show.length(row)}[/]", row["kind"], escape(row["title"]))
    console.print(table)
    if numbers := show.numbers(told):
        console.print(escape("; ".join(numbers)))


def _text(value: object) -> str:
    from datetime import datetime

    return value.isoformat() if isinstance(value, datetime) else str(value)
