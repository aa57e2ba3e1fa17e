"""`loom places`: places that the person named, and whom Loom asks about addresses and businesses."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loom_platform.cli.database import database

if TYPE_CHECKING:
    import psycopg

    from loom_platform.own_places import OwnPlace

app = typer.Typer(help="Shops and other places by your own names; and which services are asked about positions.")

Name = Annotated[str, typer.Argument(help="Name of the place, or its id.")]
Latitude = Annotated[float | None, typer.Option(help="Degrees.")]
Longitude = Annotated[float | None, typer.Option(help="Degrees.")]
Radius = Annotated[float | None, typer.Option("--radius", help="Who stays so near is there, metres. Default: 40.")]
Category = Annotated[str | None, typer.Option(help="What it is, such as cafe.")]
Address = Annotated[str | None, typer.Option(help="Its address in one line.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Sure = Annotated[bool, typer.Option("--yes", help="Do it; without it, only say what would be done, and ask.")]


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Name of the new place.")],
    latitude: Annotated[float, typer.Option(help="Degrees.")],
    longitude: Annotated[float, typer.Option(help="Degrees.")],
    radius: Radius = None,
    category: Category = None,
    address: Address = None,
) -> None:
    """Name a place. Who stays there is there, whatever a service says. Recompute a day to apply it to the past."""
    from loom_platform import own_places

    with _database() as connection:
        metres = own_places.DEFAULT_RADIUS_M if radius is None else radius
        place = own_places.add(
            connection, name, latitude, longitude, radius_m=metres, category=category, address=address
        )
        typer.echo(f"saved {place.name} ({_describe(place)})")


@app.command("list")
def list_places(as_json: AsJson = False) -> None:
    """Show every place that you named."""
    import json

    from rich.console import Console
    from rich.table import Table

    from loom_platform import own_places

    with _database() as connection:
        places = own_places.saved(connection)
    if as_json:
        typer.echo(json.dumps([_as_dict(p) for p in places]))
        return
    if not places:
        typer.echo("no place is named; try: loom places add 'Corner Cafe' --latitude=.. --longitude=.. --category=cafe")
        return
    table = Table("name", "category", "where", "changed")
    for place in places:
        table.add_row(place.name, place.category, _describe(place), place.updated_at.isoformat(timespec="seconds"))
    Console().print(table)


@app.command()
def edit(
    name: Name,
    new_name: Annotated[str | None, typer.Option("--name", help="Its new name.")] = None,
    latitude: Latitude = None,
    longitude: Longitude = None,
    radius: Radius = None,
    category: Category = None,
    address: Address = None,
) -> None:
    """Change a place. Later fixes see the change; recompute a day to apply it to the past."""
    from loom_platform import own_places

    with _database() as connection:
        place = own_places.edit(
            connection,
            own_places.find(connection, name),
            name=new_name,
            latitude=latitude,
            longitude=longitude,
            radius_m=radius,
            category=category,
            address=address,
        )
        typer.echo(f"changed {place.name} ({_describe(place)})")


@app.command()
def remove(name: Name, yes: Sure = False) -> None:
    """Forget a place. Past rows keep its name until their day is recomputed."""
    from loom_platform import own_places

    with _database() as connection:
        place = own_places.find(connection, name)
        if not yes:
            typer.confirm(f"remove {place.name} ({_describe(place)})?", abort=True)
        own_places.remove(connection, place)
        typer.echo(f"removed {place.name}")


@app.command()
def services(as_json: AsJson = False) -> None:
    """Show who is asked about positions, what they are told, and how they are doing. By default nobody is asked."""
    import json

    from loom_platform.lookups import queue
    from loom_platform.lookups.chosen import chosen
    from loom_platform.settings import load_settings

    with _database() as connection:
        told = [_service(connection, choice) for choice in chosen(load_settings())]
        answers = queue.kept(connection)
    if as_json:
        typer.echo(json.dumps({"services": told, "answers": answers}))
        return
    for service in told:
        asked = f"asks {service['host']}" if service["host"] else "asks nobody"
        typer.echo(f"{service['what']}: {service['name']}, which {asked}")
        if service["host"]:
            typer.echo(f"  it is told: {service['told']}")
            typer.echo(f"  pending: {service['pending_rows']:,} fixes in {service['pending_cells']:,} cells")
        if service["paused_until"]:
            typer.echo(f"  left alone until {service['paused_until']}: {service['error']}")
    typer.echo(f"answers kept: {answers:,} cells")


@app.command()
def forget(yes: Sure = False) -> None:
    """Remove what services have answered. Rows keep what they say; the cells of new fixes are asked about again."""
    from loom_platform.lookups import queue

    with _database() as connection:
        answers = queue.kept(connection)
        typer.echo(f"{answers:,} cells have answers, each of which tells where someone was")
        if not yes:
            typer.confirm("remove them?", abort=True)
        typer.echo(f"removed {queue.forget(connection):,} answers")


def _service(connection: "psycopg.Connection[Any]", choice: Any) -> dict[str, Any]:
    from loom_models.services.base import BUSINESS_RADIUS_M
    from loom_platform.lookups import queue

    state = queue.state_of(connection, choice.kind)
    rows, cells = queue.waiting(connection, choice.kind)
    told = {
        "address": "the middle of a cell of about 38 m by 19 m, and no time or device",
        "business": f"the middle of a cell of 150 m, a radius of {BUSINESS_RADIUS_M:.0f} m, and no time or device",
    }[choice.kind]
    contact = f"; and {choice.contact}, so that its keepers can reach you" if choice.contact else ""
    paused = state.paused_until if state.paused and state.provider == choice.name else None
    return {
        "what": {"address": "addresses", "business": "businesses"}[choice.kind],
        "name": choice.name,
        "host": choice.host,
        "told": f"{told}{contact}" if choice.host else None,
        "pending_rows": rows,
        "pending_cells": cells,
        "paused_until": paused.isoformat(timespec="seconds") if paused else None,
        "error": state.error if paused else None,
    }


def _database() -> "AbstractContextManager[psycopg.Connection[Any]]":
    return database("places", "own_places")


def _describe(place: "OwnPlace") -> str:
    return f"{place.radius_m:g} m around {place.latitude:.5f}, {place.longitude:.5f}"


def _as_dict(place: "OwnPlace") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        k: v.isoformat() if hasattr(v, "isoformat") else str(v) if k == "id" else v for k, v in asdict(place).items()
    }
