"""`loom apps`: the applications that were in front, and what they are to you."""

from typing import Annotated

import typer

app = typer.Typer(help="Applications that were in front, and their categories.", no_args_is_help=True)
categories = typer.Typer(help="What applications are to you, where the list that Loom has is wrong or silent.")
app.add_typer(categories, name="categories", no_args_is_help=True)

Application = Annotated[
    str, typer.Argument(metavar="APP", help="Its identifier, in any case; com.example.* for all that begin so.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_apps(
    days: Annotated[int, typer.Option(min=1, max=3650, help="How far back.")] = 30,
    unknown: Annotated[bool, typer.Option("--unknown", help="Only those without a category.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the applications that were in front, the longest first, with the categories that they have now."""
    import json
    from dataclasses import asdict
    from datetime import timedelta

    from rich.table import Table

    from loom_models.app_categories import UNKNOWN
    from loom_platform.app_categories import used_apps
    from loom_platform.cli.output import console, reported
    from loom_platform.orchestration.platform import Platform
    from loom_platform.roles.limits import Role

    with reported(), Platform().connect("apps", Role.READ) as connection:
        found = used_apps(connection, timedelta(days=days))
    wanted = [(used, category) for used, category in found if not unknown or category == UNKNOWN]
    if as_json:
        typer.echo(json.dumps([{**asdict(used), "app_category": category} for used, category in wanted], default=str))
        return
    if not wanted:
        console.print(f"no {'unknown ' if unknown else ''}application was in front in the last {days} days")
        return
    table = Table("application", "name", "category", box=None, pad_edge=False)
    table.add_column("sessions", justify="right")
    table.add_column("hours", justify="right")
    for used, category in wanted:
        row = (used.app_identifier, used.app_name or "-", category, f"{used.sessions:,}", f"{used.hours:.1f}")
        table.add_row(*row)
    console.print(table)


@categories.command("list")
def list_categories(
    built_in: Annotated[bool, typer.Option("--built-in", help="Those that Loom knows by itself.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what you have said."""
    import json

    from rich.table import Table

    from loom_models import app_categories as known
    from loom_platform.app_categories import own_categories
    from loom_platform.cli.output import console, reported
    from loom_platform.orchestration.platform import Platform
    from loom_platform.roles.limits import Role

    if built_in:
        found = sorted((pattern, category) for pattern, category in known.built_in().items())
    else:
        with reported(), Platform().connect("apps", Role.READ) as connection:
            found = [(c.pattern, c.category) for c in own_categories(connection)]
    if as_json:
        typer.echo(json.dumps([{"application": pattern, "category": category} for pattern, category in found]))
        return
    if not found:
        console.print(f"nothing is set; Loom knows {len(known.built_in()):,} applications (--built-in)")
        return
    table = Table("application", "category", box=None, pad_edge=False)
    for pattern, category in found:
        table.add_row(pattern, category)
    console.print(table)


@categories.command("set")
def set_category(
    application: Application,
    category: Annotated[str, typer.Argument(help="Such as work, or one that Loom uses: game, social, ...")],
) -> None:
    """Say what an application is. What comes from now on has it; recompute a day to apply it to the past."""
    from loom_platform import app_categories
    from loom_platform.cli.output import console, reported
    from loom_platform.orchestration.platform import Platform

    with reported(), Platform().connect("apps") as connection:
        said = app_categories.set_category(connection, application, category)
    console.print(f"{said.pattern} is {said.category}")


@categories.command()
def unset(application: Application) -> None:
    """Take back what you said of an application."""
    from loom_models.app_categories import category_of
    from loom_platform import app_categories
    from loom_platform.cli.output import console, reported
    from loom_platform.orchestration.platform import Platform

    with reported(), Platform().connect("apps") as connection:
        app_categories.unset_category(connection, application)
        rules = {c.pattern: c.category for c in app_categories.own_categories(connection)}
    now = "" if application.endswith("*") else f"; {application} is {category_of(application, rules)}"
    console.print(f"taken back{now}")
