"""`loom zones`: in which time zone you are, which says where your days begin."""

from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import psycopg

    from loom_platform.zones import Choice

app = typer.Typer(help="Time zones of your days, where positions do not say it or say it wrong.", no_args_is_help=True)

First = Annotated[
    datetime, typer.Option("--from", formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="First day that it is about.")
]
Last = Annotated[
    datetime | None,
    typer.Option("--to", formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="Last day, included; all later ones too."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_zones(as_json: AsJson = False) -> None:
    """Show what you have said."""
    import json
    from dataclasses import asdict

    from rich.table import Table

    from loom_platform.cli.output import console, reported
    from loom_platform.orchestration.platform import Platform
    from loom_platform.roles.limits import Role
    from loom_platform.zones import chosen

    platform = Platform()
    with reported(), platform.connect("zones", Role.READ) as connection:
        found = chosen(connection)
    if as_json:
        typer.echo(json.dumps([asdict(c) for c in found], default=str))
        return
    if not found:
        default = platform.settings().time_zone
        console.print(f"nothing is set: positions say it, and {default} (LOOM_TIME_ZONE) where there are none")
        return
    table = Table("from", "to", "time zone", box=None, pad_edge=False)
    for choice in found:
        table.add_row(str(choice.first_day), str(choice.last_day or "-"), choice.time_zone)
    console.print(table)


@app.command()
def show(
    on: Annotated[
        datetime | None, typer.Argument(metavar="[DATE]", formats=["%Y-%m-%d"], help="A day; today when left out.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show when a day of yours begins and ends, in which time zone, and who says so."""
    import json
    from dataclasses import asdict
    from datetime import UTC

    from loom_platform.cli.output import console, reported
    from loom_platform.days.show import today
    from loom_platform.orchestration.platform import Platform
    from loom_platform.roles.limits import Role
    from loom_platform.zones import read_clock

    platform = Platform()
    with reported(), platform.connect("zones", Role.READ) as connection:
        zone = platform.settings().time_zone
        wanted = today(connection, datetime.now(UTC), zone) if on is None else on.date()
        day = read_clock(connection, wanted, wanted, zone).day(wanted)
    if as_json:
        typer.echo(json.dumps({**asdict(day), "hours": day.hours}, default=str))
        return
    span = f"{day.starts_at:%FT%H:%MZ} to {day.ends_at:%FT%H:%MZ}, {day.hours:g} h"
    console.print(f"{day.day}: {day.time_zone} by {day.source}; {span}")


@app.command("set")
def set_zone(
    time_zone: Annotated[str, typer.Argument(metavar="ZONE", help="Such as Europe/Zurich.")],
    first: First,
    last: Last = None,
) -> None:
    """Say in which time zone you are or were; your days of that time are told anew."""
    from loom_platform.zones import Choice

    _change(Choice(first.date(), last.date() if last else None, time_zone), remove=False)


@app.command()
def unset(first: First, last: Last = None) -> None:
    """Take back what you said of these days: positions say it again."""
    from loom_platform.zones import Choice

    _change(Choice(first.date(), last.date() if last else None, ""), remove=True)


def _change(choice: "Choice", *, remove: bool) -> None:
    from loom_platform.cli.output import console, reported
    from loom_platform.days.compute import compute_day
    from loom_platform.orchestration.platform import Platform
    from loom_platform.zones import choose

    platform = Platform()
    with reported(), platform.connect("zones") as connection:
        zone = platform.settings().time_zone
        choose(connection, choice, remove=remove)
        days = _told(connection, choice)
        with console.status("your days") as status:
            for number, day in enumerate(days, 1):
                compute_day(connection, day, "loom-zones", zone)
                status.update(f"{number} of {len(days)} days")
    span = f"{choice.first_day} to {choice.last_day}" if choice.last_day else f"{choice.first_day} on"
    said = "taken back" if remove else choice.time_zone
    console.print(f"from {span}: {said}; {len(days)} {'day' if len(days) == 1 else 'days'} told anew")


def _told(connection: "psycopg.Connection[Any]", choice: "Choice") -> list[date]:
    """The days that were told already and that a choice moves: the ones before and after it end and begin with it."""
    query = (
        "SELECT day FROM person_days WHERE day BETWEEN %s::date - 1 AND coalesce(%s::date + 1, 'infinity') ORDER BY day"
    )
    return [row[0] for row in connection.execute(query, (choice.first_day, choice.last_day)).fetchall()]
