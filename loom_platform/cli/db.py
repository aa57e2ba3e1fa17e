"""`loom db`: the schema of the platform's database, and the engine that keeps its days."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from loom_platform.timeseries import Storage

app = typer.Typer(help="The database's schema.", no_args_is_help=True)

_COLOURS = {"applied": "green", "missing": "yellow", "changed": "red", "unknown": "red"}


@app.command("migrate")
def migrate_command() -> None:
    """Apply the migrations that are missing."""
    from loom_platform.cli.output import console, reported
    from loom_platform.migrate import migrate
    from loom_platform.settings import load_settings

    with reported():
        applied = migrate(load_settings().database_url)
    for name in applied:
        console.print(f"[green]applied[/] {name}")
    if not applied:
        console.print("nothing to apply")


@app.command("status")
def status_command(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the migrations, the engine and its days; exits with 1 when some are missing or are not those that ran."""
    import json
    from dataclasses import asdict

    import psycopg

    from loom_platform.cli.output import console, reported
    from loom_platform.migrate import status
    from loom_platform.settings import load_settings
    from loom_platform.timeseries import storage

    url = load_settings().database_url
    with reported():
        steps = status(url)
    ready = all(step.applied for step in steps)
    kept: Storage | None = None
    if ready:
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
            kept = storage(connection)
    if as_json:
        body = {"migrations": [asdict(s) for s in steps], "storage": asdict(kept) if kept else None}
        typer.echo(json.dumps(body, default=str))
    else:
        for step in steps:
            console.print(f"[{_COLOURS[step.state]}]{step.state}[/] {step.name}")
        if kept:
            for line in _described(kept):
                console.print(line)
    if not ready:
        raise typer.Exit(1)


def _described(kept: "Storage") -> list[str]:
    engine = f"PostgreSQL {kept.postgresql}"
    if kept.timescaledb:
        engine += f" with TimescaleDB {kept.timescaledb}: {kept.tables} hypertables"
        engine += ", compressed after 7 days" if kept.compressing else "; its Apache edition compresses nothing"
    else:
        engine += f": {kept.tables} tables in day partitions"
        if kept.timescaledb_available:
            engine += "; this server has TimescaleDB, which only a new database can use"
    lines = ["", engine]
    if kept.days:
        size = f"{kept.bytes / 1e6:,.1f} MB"
        lines.append(f"{kept.first_day} to {kept.last_day}: {kept.days} table-days, {size}")
        if kept.timescaledb:
            lines[-1] += f", {kept.compressed} compressed"
    if kept.missing_roles:
        lines.append(f"[yellow]no role {', '.join(kept.missing_roles)}[/]: see docs/how-to/roles.md")
    return lines
