"""`loom export`: a person's data as files that stand on their own; and whether such files are whole."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from loom_platform.export.manifest import Manifest
    from loom_platform.export.selection import Selection

app = typer.Typer(help="Your data as Parquet and files, for any other program or another Loom.")

FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The directory of an export.")]


@app.callback(invoke_without_command=True)
def export_command(
    context: typer.Context,
    out: Annotated[Path | None, typer.Option(help="A directory, empty or not there yet; ./loom-export-<time>.")] = None,
    device: Annotated[list[str] | None, typer.Option(help="Of this device; may be given again.")] = None,
    first: Annotated[datetime | None, typer.Option("--from", formats=FORMATS, help="From then on, UTC.")] = None,
    last: Annotated[
        datetime | None, typer.Option("--to", formats=FORMATS, help="Until then, UTC; of a day all of it.")
    ] = None,
    topic: Annotated[list[str] | None, typer.Option(help="Of this topic; may be given again.")] = None,
    audit: Annotated[bool, typer.Option("--audit", help="With the audit log.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what there is.")] = False,
    as_json: _Json = False,
) -> None:
    """Write your data into a directory: Parquet for each table, bodies as they were sent, checksums, a README.

    All of it by default. Rows are as of one moment. It holds no keys or secrets, and is not encrypted.
    """
    if context.invoked_subcommand is not None:
        return
    from loom_platform.cli.output import reported
    from loom_platform.export.selection import Selection

    until = None if last is None else _end(last)
    wanted = Selection(tuple(device or ()), first and first.replace(tzinfo=UTC), until, tuple(topic or ()), audit=audit)
    with reported():
        wanted.check()
        if dry_run:
            _estimate(wanted, as_json)
        else:
            _write(out or Path(f"loom-export-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"), wanted, as_json)


@app.command("verify")
def verify_command(folder: _Folder, as_json: _Json = False) -> None:
    """Read every file of an export and compare its checksum; exits with 1 when one is not what was written."""
    import json

    from loom_platform.cli.export_progress import DataProgress
    from loom_platform.cli.output import complaints, console, reported
    from loom_platform.export import manifest, verify
    from loom_platform.export.readme import held

    progress = DataProgress(complaints, quiet=as_json)
    with reported(), progress.shown():
        found = manifest.read(folder)
        problems = list(verify.problems(folder, found, progress=progress))
    if as_json:
        typer.echo(json.dumps({"whole": not problems, "problems": problems, **_told(folder, found)}))
    else:
        for problem in problems:
            console.print(f"[red]{problem}[/]")
        if not problems:
            console.print(f"whole: {held(found)}")
    if problems:
        raise typer.Exit(1)


def _end(last: datetime) -> datetime:
    """A day is meant as a whole, as in `loom recompute --to`."""
    moment = last.replace(tzinfo=UTC)
    return moment + timedelta(days=1) if moment == moment.replace(hour=0, minute=0, second=0) else moment


def _estimate(wanted: "Selection", as_json: bool) -> None:
    import json

    from loom_platform.cli.output import console
    from loom_platform.export.readme import size
    from loom_platform.export.write import estimate
    from loom_platform.settings import load_settings

    found = estimate(load_settings().database_url, wanted)
    if as_json:
        typer.echo(json.dumps(found._asdict()))
        return
    for name, rows in found.rows.items():
        if rows:
            console.print(f"{name:40} {rows:>14,}")
    console.print(f"{'bodies':40} {found.bodies:>14,}  {size(found.body_bytes)}")
    console.print("nothing was written; leave out --dry-run to do it")


def _write(out: Path, wanted: "Selection", as_json: bool) -> None:
    import json
    import time

    from loom_platform.cli import asking
    from loom_platform.cli.export_progress import DataProgress
    from loom_platform.cli.output import complaints, console
    from loom_platform.export.readme import held
    from loom_platform.export.write import export
    from loom_platform.settings import load_settings

    settings = load_settings()
    progress = DataProgress(complaints, quiet=as_json)
    asking.noted(settings.database_url, "data.export", str(out.resolve()))
    began = time.monotonic()
    with progress.shown():
        done = export(settings.database_url, _stored(settings), out, wanted, progress=progress)
    if as_json:
        typer.echo(json.dumps(_told(out, done)))
    else:
        console.print(f"{out}: {held(done)}, in {time.monotonic() - began:.1f} s")
    if done.blobs.missing:
        complaints.print(
            f"[yellow]{done.blobs.missing:,} bodies could not be read; {out}/blobs.parquet says which and why[/]"
        )
        raise typer.Exit(1)


def _stored(settings: Any) -> Any:
    from loom_platform.blobs import open_blobs

    return open_blobs(settings)


def _told(folder: Path, done: "Manifest") -> dict[str, Any]:
    return {
        "directory": str(folder),
        "snapshot": done.snapshot,
        "rows": {name: t.rows for name, t in done.tables.items() if t.rows},
        "bytes": sum(t.bytes for t in done.tables.values()),
        "bodies": {"count": done.blobs.count, "bytes": done.blobs.bytes, "missing": done.blobs.missing},
    }
