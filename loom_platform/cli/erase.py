"""`loom erase`: everything that came of a device, or of some time, for good and with a proof."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from loom_platform.erasure.kafka import Holding
    from loom_platform.erasure.run import Erased, Place
    from loom_platform.erasure.scope import Erasure, Scope

app = typer.Typer(help="Erase what a device sent, or what was sensed in some time, and all that came of it.")

FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback(invoke_without_command=True)
def erase_command(
    context: typer.Context,
    device: Annotated[list[str] | None, typer.Option(help="Of this device; may be given again.")] = None,
    first: Annotated[datetime | None, typer.Option("--from", formats=FORMATS, help="Sensed from then on, UTC.")] = None,
    last: Annotated[
        datetime | None, typer.Option("--to", formats=FORMATS, help="Sensed until then, UTC; of a day all of it.")
    ] = None,
    forget: Annotated[
        bool, typer.Option("--forget", help="Also what is known of the device itself: name, links, registrations.")
    ] = False,
    now: Annotated[
        bool, typer.Option("--now", help="Remove it from Kafka too, with all records of any device that lie before it.")
    ] = False,
    wait: Annotated[str, typer.Option(help="With --now: how long to wait for stages that have not read it.")] = "5m",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what there is.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: _Json = False,
) -> None:
    """Erase rows, bodies, roll-ups, dead letters and traces of a device or a time, everywhere, with a proof.

    It counts first, and asks. What was accepted before is never stored again, also from Kafka, a backup or an export.
    Run again, the same command finishes an erasure that was broken off.
    """
    if context.invoked_subcommand is not None:
        return
    from loom_platform.cli.asking import duration
    from loom_platform.cli.output import reported
    from loom_platform.erasure.scope import Scope

    until = None if last is None else _end(last)
    scope = Scope(tuple(device or ()), first and first.replace(tzinfo=UTC), until, forget)
    with reported():
        scope.check()
        counts = _count(scope)
        if dry_run:
            _show_counts(scope, counts, as_json)
            return
        if not yes:
            _show_counts(scope, counts, as_json=False)
            typer.confirm("Erase this for good?", abort=True)
        _erase(scope, duration(wait, "--wait") if now else None, as_json)


@app.command("list")
def list_command(as_json: _Json = False) -> None:
    """Show the ledger: every erasure, the oldest first."""
    import json

    from rich.table import Table

    from loom_platform.cli.output import console, reported

    with reported():
        found = _ledger()
    if as_json:
        typer.echo(json.dumps([_as_json(e) for e in found]))
        return
    if not found:
        console.print("nothing was ever erased")
        return
    table = Table("erasure", "asked for", "of", "rows", "state", box=None, pad_edge=False)
    for e in found:
        rows = sum(e.counts.values())
        asked = f"{e.asked_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
        table.add_row(str(e.id)[:8], asked, e.scope.told(), f"{rows:,}", _state(e))
    console.print(table, markup=False)


@app.command("show")
def show_command(
    erasure: Annotated[str, typer.Argument(metavar="ID", help="The beginning of its id, as `list` shows it.")],
    as_json: _Json = False,
) -> None:
    """Show the proof of one erasure."""
    import json

    from loom_platform.cli.output import reported
    from loom_platform.erasure import ledger

    with reported(), _database() as connection:
        found = ledger.find(connection, erasure)
    if as_json:
        typer.echo(json.dumps(_as_json(found)))
        return
    _show_proof(found)


def _end(last: datetime) -> datetime:
    """A day is meant as a whole."""
    moment = last.replace(tzinfo=UTC)
    return moment + timedelta(days=1) if moment == moment.replace(hour=0, minute=0, second=0) else moment


def _count(scope: "Scope") -> dict[str, int]:
    from loom_platform.cli.output import complaints
    from loom_platform.erasure import run

    with complaints.status("counting"), _database() as connection:
        return run.count(connection, scope)


def _show_counts(scope: "Scope", counts: dict[str, int], as_json: bool) -> None:
    import json

    from loom_platform.cli.output import console

    if as_json:
        typer.echo(json.dumps({"scope": scope.as_json(), "rows": counts}))
        return
    console.print(f"{scope.told()}{', and what is known of it' if scope.forget else ''}", markup=False)
    for name, rows in counts.items():
        console.print(f"{name:44} {rows:>14,}")
    if not counts:
        console.print("nothing of it is here; it may be in Kafka or in a spool still")


def _erase(scope: "Scope", patience: timedelta | None, as_json: bool) -> None:
    import json
    import threading

    from loom_platform.cli import asking
    from loom_platform.cli.export_progress import DataProgress
    from loom_platform.cli.output import complaints
    from loom_platform.erasure import run
    from loom_platform.settings import load_settings

    settings = load_settings()
    progress = DataProgress(complaints, quiet=as_json)
    with run.connect(settings.database_url) as connection, progress.shown():
        place = _place(connection, lambda what, count: progress(what, count, 0))
        try:
            done = run.erase(connection, scope, place, asking.actor())
            kept = _now(connection, place, done, patience)
            run.vacuum(connection, done.erasure, place)
            unknown = run.compute_again(connection, done.erasure, place, threading.Event())
        finally:
            place.blobs.close()
        found = run.again(connection, done.erasure)
    if as_json:
        typer.echo(json.dumps(_as_json(found)))
    else:
        _show_proof(found)
    for stage in unknown:
        complaints.print(f"[yellow]{stage}: there is no such stage any more, so what it gave was not computed again[/]")
    if kept:
        for holding in kept:
            stages = ", ".join(f"{s} ({'never began' if o is None else f'at {o}'})" for s, o in holding.waits.items())
            complaints.print(
                f"[red]{holding.topic}[{holding.partition}] up to {holding.last} is still there: {stages} has not read "
                "it; see `loom lag`, then run this again with --now[/]"
            )
        raise typer.Exit(1)


def _now(connection: Any, place: "Place", done: "Erased", patience: timedelta | None) -> "list[Holding]":
    """With --now: Kafka's records go; those that could not."""
    from loom_platform.erasure import run

    return [] if patience is None else run.remove_now(connection, done, place, patience)


def _place(connection: Any, progress: Any) -> "Place":
    from sqlalchemy.engine import make_url

    from loom_platform.blobs import open_blobs
    from loom_platform.erasure.run import Place
    from loom_platform.orchestration.platform import Platform
    from loom_platform.settings import load_settings

    settings = load_settings()
    url = make_url(settings.dagster_url_of_storage).set(drivername="postgresql")
    dagster: str | None = url.render_as_string(hide_password=False)
    if settings.dagster_database_url is None:
        # beside Loom's own: it is there once Dagster was started
        there = connection.execute("SELECT FROM pg_database WHERE datname = %s", (url.database,)).fetchone()
        dagster = dagster if there is not None else None
    config = Platform().stream_config("erasure")
    return Place(settings, config, open_blobs(settings), dagster, progress=progress)


def _database() -> Any:
    from loom_platform.erasure import run
    from loom_platform.settings import load_settings

    return run.reading(load_settings().database_url)


def _ledger() -> "list[Erasure]":
    from loom_platform.erasure import ledger

    with _database() as connection:
        return ledger.all_erasures(connection)


def _state(erasure: "Erasure") -> str:
    if erasure.finished_at is None:
        return "broken off: run its command again"
    held = (erasure.proof or {}).get("kafka", [])
    if any(each["until"] is None for each in held):
        return "gone, but for Kafka"
    return f"gone, from Kafka by {max(each['until'] for each in held)[:10]}" if held else "gone"


def _as_json(erasure: "Erasure") -> dict[str, Any]:
    moments = {"asked_at": erasure.asked_at, "finished_at": erasure.finished_at}
    return {
        "id": str(erasure.id),
        "scope": erasure.scope.as_json(),
        "asked_by": erasure.asked_by,
        **{name: None if at is None else at.astimezone(UTC).isoformat() for name, at in moments.items()},
        "counts": dict(erasure.counts),
        "proof": erasure.proof,
    }


def _show_proof(erasure: "Erasure") -> None:
    from loom_platform.cli.output import console

    proof = erasure.proof
    console.print(f"erasure {erasure.id}: {erasure.scope.told()}", markup=False)
    for name, rows in sorted(erasure.counts.items()):
        console.print(f"  {name:44} {rows:>14,}")
    if proof is None:
        console.print("  not finished: run the same command again")
        return
    console.print(f"  remaining, of {proof['looked_into']} places counted again  {proof['remaining']:>23,}")
    if proof["spool_records"]:
        console.print(f"  in the spool, which drops them as it drains: {proof['spool_records']:,}")
    for held in proof["kafka"]:
        records = "some of" if held["records"] is None else f"{held['records']:,} records in"
        until = (
            "for ever (retention.ms is -1)" if held["until"] is None else f"until {held['until'][:16]}Z at the latest"
        )
        console.print(
            f"  Kafka has {records} {held['topic']}[{held['partition']}] {held['first']}-{held['last']} {until}; "
            f"--now would take {held['others_before']:,} other records with it",
            markup=False,
        )
    for held in proof.get("removed_from_kafka", []):
        console.print(
            f"  removed from Kafka: {held['topic']}[{held['partition']}] up to {held['last']}, and with it "
            f"{held['others_before']:,} other records",
            markup=False,
        )
    for device in proof.get("not_searched", []):
        console.print(f"  not looked for in logs and Dagster: {device!r} is a word of Loom's own", markup=False)
