"""`loom georegions`: the places that Loom looks for in GPS fixes."""

from contextlib import AbstractContextManager
from dataclasses import replace as changed
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loom_platform.cli.database import database

if TYPE_CHECKING:
    import psycopg

    from loom_platform.georegions import Draft, Georegion

app = typer.Typer(help="Places such as home and work: Loom tells when you enter, stay in and leave them.")

Name = Annotated[str, typer.Argument(help="Name of the region, or its id.")]
Kind = Annotated[str | None, typer.Option(help="home, work or custom.")]
Latitude = Annotated[float | None, typer.Option(help="Centre of a circle, degrees.")]
Longitude = Annotated[float | None, typer.Option(help="Centre of a circle, degrees.")]
Radius = Annotated[float | None, typer.Option("--radius", help="Radius of a circle, metres.")]
Shape = Annotated[Path | None, typer.Option("--polygon", help="File with a GeoJSON Polygon or MultiPolygon.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Name of the new region.")],
    kind: Kind = None,
    latitude: Latitude = None,
    longitude: Longitude = None,
    radius: Radius = None,
    polygon: Shape = None,
) -> None:
    """Save a new region: a circle (--latitude --longitude --radius) or a --polygon."""
    from loom_platform import georegions

    with _database() as connection:
        draft = _draft(name, kind or "custom", latitude, longitude, radius, polygon)
        region = georegions.add(connection, draft)
        typer.echo(f"saved {region.name} ({_describe(region)})")


@app.command("list")
def list_regions(as_json: AsJson = False) -> None:
    """Show every region."""
    import json

    from rich.console import Console
    from rich.table import Table

    from loom_platform import georegions

    with _database() as connection:
        regions = georegions.saved(connection)
    if as_json:
        typer.echo(json.dumps([_as_dict(r) for r in regions]))
        return
    table = Table("name", "kind", "shape", "revision", "changed")
    for region in regions:
        changed_at = region.updated_at.isoformat(timespec="seconds")
        table.add_row(region.name, region.kind, _describe(region), str(region.revision), changed_at)
    if regions:
        Console().print(table)
    else:
        typer.echo(
            "no georegion is saved; try: loom georegions add Home --kind home --latitude .. --longitude .. --radius 100"
        )


@app.command()
def show(name: Name) -> None:
    """Print one region as a GeoJSON Feature, which `import` takes."""
    import json

    from loom_platform import georegions

    with _database() as connection:
        typer.echo(json.dumps(_feature(georegions.find(connection, name)), indent=2))


@app.command()
def edit(
    name: Name,
    new_name: Annotated[str | None, typer.Option("--name", help="Its new name.")] = None,
    kind: Kind = None,
    latitude: Latitude = None,
    longitude: Longitude = None,
    radius: Radius = None,
    polygon: Shape = None,
) -> None:
    """Change a region. Later fixes see the change; recompute a day to apply it to the past."""
    from loom_platform import georegions

    with _database() as connection:
        region = georegions.find(connection, name)
        label, sort = new_name or region.name, kind or region.kind
        if polygon is None and region.polygon is not None and (latitude, longitude, radius) == (None, None, None):
            draft = georegions.polygon(label, sort, region.polygon)
        elif polygon is not None:
            draft = _draft(label, sort, latitude, longitude, radius, polygon)
        else:
            circle = region.shape == "circle"
            draft = _draft(
                label,
                sort,
                region.latitude if latitude is None and circle else latitude,
                region.longitude if longitude is None and circle else longitude,
                region.radius_m if radius is None else radius,
                None,
            )
        region = georegions.replace(connection, region, draft)
        typer.echo(f"changed {region.name} ({_describe(region)}), revision {region.revision}")


@app.command()
def remove(name: Name) -> None:
    """Remove a region. What was found with it before is kept."""
    from loom_platform import georegions

    with _database() as connection:
        region = georegions.find(connection, name)
        georegions.remove(connection, region)
        typer.echo(f"removed {region.name}")


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="GeoJSON FeatureCollection: polygons, or points with radius_m.")],
    replace: Annotated[bool, typer.Option(help="Change the regions whose names are there already.")] = False,
) -> None:
    """Save the regions of a GeoJSON file: all of them, or none when one is wrong."""
    from loom_platform import georegions

    with _database() as connection:
        drafts = georegions.from_geojson(_read(file))
        known = {r.name.lower(): r for r in georegions.saved(connection)}
        with connection.transaction():
            for draft in drafts:
                old = known.get(draft.name.lower()) if replace else None
                region = (
                    georegions.add(connection, draft) if old is None else georegions.replace(connection, old, draft)
                )
                known[region.name.lower()] = region
        typer.echo(f"saved {len(drafts)} georegions: {', '.join(d.name for d in drafts)}")


def _database() -> "AbstractContextManager[psycopg.Connection[Any]]":
    return database("georegions", "georegions")


def _read(path: Path) -> str:
    from loom_platform.georegions import GeoregionError

    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise GeoregionError(f"can't read {path}: {error}") from None


def _draft(
    name: str, kind: str, latitude: float | None, longitude: float | None, radius: float | None, path: Path | None
) -> "Draft":
    import json

    from loom_platform import georegions

    if path is not None:
        if (latitude, longitude, radius) != (None, None, None):
            raise georegions.GeoregionError("give --polygon, or --latitude --longitude --radius, but not both")
        text = _read(path)
        try:
            document = json.loads(text)
        except ValueError as error:
            raise georegions.GeoregionError(f"{path} is not JSON: {error}") from None
        if isinstance(document, dict) and document.get("type") in ("Feature", "FeatureCollection"):
            properties = {"name": name, "kind": kind}
            features = document.get("features", [document])
            if len(features) != 1:
                raise georegions.GeoregionError(f"{path} has {len(features)} features: give one, or use `import`")
            return changed(georegions.from_feature({**features[0], "properties": properties}), name=name)
        return georegions.polygon(name, kind, document if isinstance(document, dict) else {})
    if latitude is None or longitude is None or radius is None:
        raise georegions.GeoregionError("a circle needs --latitude, --longitude and --radius; else give --polygon")
    return georegions.circle(name, kind, latitude, longitude, radius)


def _describe(region: "Georegion") -> str:
    if region.radius_m is not None:
        return f"{region.radius_m:g} m around {region.latitude:.5f}, {region.longitude:.5f}"
    return f"polygon around {region.latitude:.5f}, {region.longitude:.5f}"


def _feature(region: "Georegion") -> dict[str, Any]:
    properties = {k: v for k, v in _as_dict(region).items() if k not in ("polygon", "latitude", "longitude")}
    point = {"type": "Point", "coordinates": [region.longitude, region.latitude]}
    return {"type": "Feature", "properties": properties, "geometry": region.polygon or point}


def _as_dict(region: "Georegion") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        k: v.isoformat() if hasattr(v, "isoformat") else str(v) if k == "id" else v for k, v in asdict(region).items()
    }
