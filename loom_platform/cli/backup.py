"""`loom backup` and `loom restore`: the whole platform into a directory, and back."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from loom_platform.backup.manifest import Manifest

app = typer.Typer()


class _DirectoryOrCommand(TyperGroup):
    """`loom backup DIR` is `loom backup make DIR`."""

    default_command = "make"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = [self.default_command, *args]
        return super().parse_args(ctx, args)


backup = typer.Typer(cls=_DirectoryOrCommand, no_args_is_help=True)
app.add_typer(
    backup, name="backup", help="Keep everything in a directory: databases, large bodies, what is not processed yet."
)

Directory = Annotated[Path, typer.Argument(metavar="DIR", resolve_path=True)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@backup.command("make")
def make_command(
    directory: Directory,
    keys: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            resolve_path=True,
            help="Put the keys of the large bodies there, and not into the backup, which is then of no use without it.",
        ),
    ] = None,
    dagster: Annotated[bool, typer.Option(help="Keep Dagster's database too: runs and what they materialized.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be kept.")] = False,
    json: Json = False,
) -> None:
    """Back up the running platform into DIR, which is empty or not there yet. The word `make` may be left out."""
    from loom_platform.backup.make import make, plan
    from loom_platform.cli.backup_progress import StepProgress
    from loom_platform.cli.output import complaints, reported
    from loom_platform.settings import load_settings

    progress = StepProgress(complaints)
    with reported(), progress.shown():
        settings = load_settings()
        if dry_run:
            planned = plan(settings, directory, progress)
        else:
            manifest = make(settings, directory, keys=keys, dagster=dagster, progress=progress)
    if dry_run:
        _show_plan(planned, directory, as_json=json)
    else:
        _show(manifest, f"The backup is in {directory}.", as_json=json)


@backup.command("verify")
def verify_command(directory: Directory, json: Json = False) -> None:
    """Read every byte of the backup in DIR and compare it with its checksums; exits with 1 when it is damaged."""
    from loom_platform.backup.verify import verify
    from loom_platform.cli.backup_progress import StepProgress
    from loom_platform.cli.output import complaints, console, reported

    progress = StepProgress(complaints)
    with reported(), progress.shown():
        verified = verify(directory, progress)
    if json:
        _print({"ok": not verified.faults, "faults": verified.faults} | _summary(verified.manifest))
    else:
        for fault in verified.faults:
            console.print(f"[red]damaged[/] {fault}", highlight=False)
        told = (
            f"{verified.files + verified.bodies:,} files are as they were" if not verified.faults else "do not use it"
        )
        _show(verified.manifest, f"{directory}: {told}.", as_json=False)
    if verified.faults:
        raise typer.Exit(1)


@app.command("restore")
def restore_command(
    directory: Directory,
    keys: Annotated[
        Path | None,
        typer.Option(metavar="FILE", resolve_path=True, help="Where the keys of the large bodies were kept apart."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Replace the data that is there.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check the backup and what it would do.")] = False,
    json: Json = False,
) -> None:
    """Restore the backup in DIR into LOOM_DATA_DIR, or into the servers of the settings. Loom must be down.

    It goes on from there without loss and without a duplicate. An installation that has data is left alone
    without --yes.
    """
    from loom_platform.backup.offsets import Fate
    from loom_platform.backup.restore import check, restore
    from loom_platform.cli.backup_progress import StepProgress
    from loom_platform.cli.output import complaints, console, reported
    from loom_platform.settings import load_settings

    progress = StepProgress(complaints)
    with reported(), progress.shown():
        settings = load_settings()
        if dry_run:
            manifest = check(directory, settings, keys, progress)
        else:
            done = restore(settings, directory, keys=keys, replace=yes, progress=progress)
    if dry_run:
        where = settings.database_url if settings.external_database else str(settings.data_dir)
        _show(manifest, f"Nothing was changed. It would be restored into {_hidden(where)}.", as_json=json)
        return
    if json:
        topics = {name: fate.value for name, fate in done.kafka.topics.items()}
        _print(
            _summary(done.manifest)
            | {"sent": done.kafka.records + done.kafka.spooled, "topics": topics, "erased_rows": done.erased_rows}
        )
        return
    fates = list(done.kafka.topics.values())
    _show(done.manifest, "Restored. Start it with: loom up", as_json=False)
    console.print(
        f"Kafka: {fates.count(Fate.SAME):,} topics are as they were, {fates.count(Fate.FRESH):,} go on where they "
        f"stood, {fates.count(Fate.OTHER):,} have other records, which are read too; "
        f"{done.kafka.records + done.kafka.spooled:,} records that no table had were sent to it"
    )
    if done.erased_rows:
        console.print(f"{done.erased_rows:,} rows that were erased before were in the backup; they are erased again")


def _summary(manifest: "Manifest") -> dict[str, Any]:
    return {
        "snapshot_at": manifest.snapshot_at.isoformat(),
        "rows": manifest.rows,
        "bodies": manifest.blobs.count,
        "bodies_bytes": manifest.blobs.bytes,
        "bodies_missing": manifest.blobs.missing,
        "unprocessed": manifest.unprocessed,
        "spooled": manifest.spooled,
        "keys": manifest.keys,
        "keys_apart": manifest.keys_apart,
        "bytes": manifest.blobs.bytes + sum(entry.bytes for entry in manifest.files),
    }


def _show(manifest: "Manifest", closing: str, *, as_json: bool) -> None:
    from loom_platform.cli.backup_progress import amount
    from loom_platform.cli.output import console

    if as_json:
        _print(_summary(manifest))
        return
    bodies = manifest.blobs
    missing = f", {bodies.missing:,} were not in the object storage" if bodies.missing else ""
    where = "kept apart" if manifest.keys_apart else "in it"
    size = bodies.bytes + sum(entry.bytes for entry in manifest.files)
    for what, told in (
        ("as it was at", f"{manifest.snapshot_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("rows", f"{manifest.rows:,} in {sum(1 for n in manifest.tables.values() if n):,} tables"),
        ("large bodies", f"{bodies.count:,} ({amount(bodies.bytes)}){missing}"),
        ("keys", f"{manifest.keys:,}, {where}"),
        ("not processed yet", f"{manifest.unprocessed:,} records of Kafka, {manifest.spooled:,} of the spool"),
        ("dagster", "in it" if manifest.dagster else "not in it"),
        ("size", amount(size)),
    ):
        console.print(f"{what:18} {told}", markup=False)
    console.print(closing, markup=False)


def _show_plan(planned: Any, directory: Path, *, as_json: bool) -> None:
    from dataclasses import asdict

    from loom_platform.cli.backup_progress import amount
    from loom_platform.cli.output import console

    if as_json:
        _print(asdict(planned))
        return
    for what, told in (
        ("rows", f"{sum(planned.tables.values()):,} in {sum(1 for n in planned.tables.values() if n):,} tables"),
        ("database", f"{amount(planned.database_bytes)} on the server, and Dagster's {amount(planned.dagster_bytes)}"),
        ("large bodies", f"{planned.bodies:,}"),
        ("not processed yet", f"{planned.unprocessed:,} records of Kafka, {planned.spooled:,} of the spool"),
        ("free", f"{amount(planned.free_bytes)} where {directory} would be"),
    ):
        console.print(f"{what:18} {told}", markup=False)
    console.print("Nothing was written.")


def _hidden(where: str) -> str:
    from loom_platform.supervise.services import hide_password

    return hide_password(where) if "://" in where else where


def _print(told: dict[str, Any]) -> None:
    from json import dumps

    print(dumps(told, indent=2))
