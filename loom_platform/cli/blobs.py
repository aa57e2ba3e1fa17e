"""`loom blobs`: the bodies in object storage; whether they are whole, what they take, those that nothing refers to."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from loom_platform.blobs.verify import Problem

app = typer.Typer(help="Bodies (sound, images) in object storage.", no_args_is_help=True)

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_SHOWN = 20


@app.command("verify")
def verify(
    device: Annotated[str | None, typer.Option(help="Only bodies of this device.")] = None,
    as_json: _Json = False,
) -> None:
    """Read the body of every row, decrypt it and compare it with what the row says; ends with 1 when one is wrong."""
    import json

    from loom_platform.cli.export_progress import DataProgress
    from loom_platform.cli.output import complaints, console
    from loom_platform.export.readme import size

    found: list[Problem] = []
    told = DataProgress(complaints, quiet=as_json)
    with _open() as (blobs, connection), told.shown():
        done = blobs.verify(
            connection,
            device_id=device,
            on_problem=lambda problem: found.append(problem) if len(found) < _SHOWN else None,
            progress=lambda so_far: told("bodies", so_far.bodies, so_far.bytes),
        )
    problems = sum(done.problems.values())
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "bodies": done.bodies,
                    "bytes": done.bytes,
                    "problems": dict(done.problems),
                    "examples": [problem._asdict() for problem in found],
                }
            )
        )
    else:
        for problem in found:
            console.print(f"[red]{problem.state}[/]  {problem.ref}  {problem.reason}")
        if problems > len(found):
            console.print(f"and {problems - len(found):,} more")
        console.print(f"{done.bodies:,} bodies, {size(done.bytes)}: {_told(done.problems)}")
    if problems:
        raise typer.Exit(1)


@app.command("get")
def get(
    ref: Annotated[str, typer.Argument(help="What a row's `.._ref` says, such as audio/phone/1c/1c56...wav.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Write it to this file; otherwise to standard output.")
    ] = None,
) -> None:
    """Read one body, decrypted."""
    import sys

    from loom_platform.cli.output import reported
    from loom_platform.errors import PlatformError

    with _open() as (blobs, _), reported():
        try:
            body = blobs.get(ref)
        except KeyError:
            raise PlatformError(f"there is no body {ref}; `audio_ref` of a row in device_audio_raw is one") from None
        if out is None:
            sys.stdout.buffer.write(body)
        else:
            out.write_bytes(body)


@app.command("usage")
def usage(as_json: _Json = False) -> None:
    """Show what the bodies take, by kind and device."""
    import json
    from dataclasses import asdict

    from rich.table import Column, Table

    from loom_platform.cli.export_progress import DataProgress
    from loom_platform.cli.output import complaints, console
    from loom_platform.export.readme import size

    told = DataProgress(complaints, quiet=as_json)
    with _open() as (blobs, _), told.shown():
        rows = blobs.usage(lambda seen: told("bodies", seen, 0))
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in rows]))
        return
    table = Table("kind", "device", Column("bodies", justify="right"), Column("bytes", justify="right"), box=None)
    for row in rows:
        table.add_row(row.kind or "not Loom's", row.device_id or "-", f"{row.bodies:,}", size(row.bytes))
    table.add_row("all", "", f"{sum(r.bodies for r in rows):,}", size(sum(r.bytes for r in rows)))
    console.print(table)


@app.command("sweep")
def sweep(
    older_than: Annotated[
        str,
        typer.Option("--older-than", help="Only what was stored longer ago: 1h, 2d, ..; an import may need an hour."),
    ] = "1h",
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this, only say what would be done.")] = False,
    as_json: _Json = False,
) -> None:
    """Remove bodies that no row refers to, and files that a kill left half written."""
    import json
    from dataclasses import asdict

    from loom_platform.cli.asking import duration
    from loom_platform.cli.export_progress import DataProgress
    from loom_platform.cli.output import complaints, console
    from loom_platform.export.readme import size

    age: timedelta = duration(older_than, "--older-than")
    told = DataProgress(complaints, quiet=as_json)
    with _open() as (blobs, connection), told.shown():
        done = blobs.sweep(
            connection, older_than=age, dry_run=not yes, progress=lambda so_far: told("bodies", so_far.seen, 0)
        )
    if as_json:
        typer.echo(json.dumps({"dry_run": not yes, **asdict(done)}))
        return
    what = f"{done.orphans:,} without a row and {done.leftovers:,} half written, {size(done.orphan_bytes)}"
    console.print(f"{done.seen:,} bodies; {'removed' if yes else 'would remove'} {what}")
    if done.strangers:
        console.print(f"{done.strangers:,} objects are none of Loom's and stay")
    if not yes and done.orphans + done.leftovers:
        console.print("nothing was changed; add --yes to do it")


def _open() -> Any:
    from collections.abc import Iterator
    from contextlib import contextmanager

    import psycopg

    from loom_models.errors import DependencyError
    from loom_platform.blobs import Blobs, open_blobs
    from loom_platform.cli.output import reported
    from loom_platform.settings import load_settings

    @contextmanager
    def opened() -> Iterator[tuple[Blobs, psycopg.Connection[Any]]]:
        with reported():
            settings = load_settings()
            blobs = open_blobs(settings)
            try:
                connection = psycopg.connect(
                    settings.database_url, autocommit=True, connect_timeout=5, application_name="loom blobs"
                )
            except psycopg.OperationalError as error:
                raise DependencyError(f"LOOM_DATABASE_URL: cannot connect ({error}); is the database up?") from error
            with connection:
                yield blobs, connection
            blobs.close()

    return opened()


def _told(problems: "dict[str, int]") -> str:
    return ", ".join(f"{count:,} {state}" for state, count in problems.items()) or "all are whole"
