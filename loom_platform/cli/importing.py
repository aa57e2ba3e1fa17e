"""`loom import`: an export into this platform."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from loom_platform.export.load import Imported

app = typer.Typer()


@app.command("import")
def import_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The directory of an export.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check it, and say what it holds.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Read an export into this platform: same rows, same ids, same history.

    Every checksum is compared before anything is written. What is here already stays as it is, so an import that was
    interrupted is run again. What was erased here stays erased.
    """
    import dataclasses
    import json

    from loom_platform.blobs import open_blobs
    from loom_platform.cli import asking
    from loom_platform.cli.export_progress import DataProgress
    from loom_platform.cli.output import complaints, console, reported
    from loom_platform.erasure import reapply
    from loom_platform.export import load, verify
    from loom_platform.settings import load_settings

    progress = DataProgress(complaints, quiet=as_json)
    with reported(), progress.shown():
        if dry_run:
            found = verify.check(folder, progress=progress)
            done = load.Imported(new={n: t.rows for n, t in found.tables.items() if n not in load.NOT_IMPORTED})
            done.bodies = found.blobs.count
        else:
            settings = load_settings()
            asking.noted(settings.database_url, "data.import", str(folder.resolve()))
            blobs = open_blobs(settings)
            done = load.load(
                settings.database_url, blobs, folder, progress=progress, after=lambda c: reapply(c, blobs=blobs)
            )
    if as_json:
        typer.echo(json.dumps({"dry_run": dry_run, **dataclasses.asdict(done)}))
        return
    _show(done)
    if dry_run:
        console.print("every checksum is right; nothing was written; leave out --dry-run to do it")


def _show(done: "Imported") -> None:
    from rich.table import Column, Table

    from loom_platform.cli.output import console

    table = Table(
        Column("table", no_wrap=True), Column("rows", justify="right"), Column("known", justify="right"), box=None,
        pad_edge=False,
    )  # fmt: skip
    for name, new in done.new.items():
        if new or done.known.get(name):
            table.add_row(name, f"{new:,}", f"{done.known.get(name, 0):,}")
    console.print(table)
    console.print(f"{sum(done.new.values()):,} rows, {done.bodies:,} bodies")
    if done.erased:
        console.print(f"{done.erased:,} rows were not taken: they were erased here")
