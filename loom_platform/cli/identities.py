"""`loom identities`: which of your devices a phone's app is that has its own name for itself."""

import asyncio
import re
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from loom_ingest.clients.identity_store import IdentityRow

app = typer.Typer(
    help="Which device OwnTracks, Overland, Traccar Client and the like are, by what they call themselves.",
    no_args_is_help=True,
)

Client = Annotated[str, typer.Argument(help="owntracks, overland, osmand, ..; `loom identities list` shows it.")]
Identity = Annotated[str, typer.Argument(help="What it calls itself, such as jane/phone.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


@app.command("list")
def list_identities(as_json: AsJson = False) -> None:
    """Show what clients call themselves, and which device each is: those seen last first."""
    import json

    from rich.table import Table

    from loom_ingest.clients.identity_store import all_identities
    from loom_platform.cli import asking
    from loom_platform.cli.output import console

    async def work() -> "list[IdentityRow]":
        async with asking.database() as connection:
            return await all_identities(connection)

    rows = asyncio.run(work())
    if as_json:
        typer.echo(json.dumps([_as_dict(row) for row in rows]))
        return
    if not rows:
        typer.echo("no client of another maker has sent anything yet")
        return
    table = Table("client", "identity", "device", "by", "last seen", box=None, pad_edge=False)
    for row in rows:
        device, how = (row.device_id, "your link") if row.device_id else (row.seen_device_id or "", "its name or key")
        table.add_row(row.client, row.identity, device, how, _moment(row.last_seen_at) or "never")
    console.print(table, markup=False)


@app.command()
def link(
    client: Client,
    identity: Identity,
    device_id: Annotated[str, typer.Argument(help="Your name for the device, as in `device_id`.")],
    dry_run: DryRun = False,
) -> None:
    """Let what an app sends be of this device, from now on; the running service follows within two seconds."""
    from loom_ingest.clients.identity_store import link as connect
    from loom_platform.cli import asking

    _check(client, 64, "CLIENT")
    _check(identity, 256, "IDENTITY")
    if not re.fullmatch(r"[A-Za-z0-9_-]{3,64}", device_id):
        raise typer.BadParameter(
            f"{device_id!r} is not 3 to 64 letters, digits, hyphens and underscores", param_hint="DEVICE_ID"
        )
    if dry_run:
        typer.echo(f"would let {client} {identity} be the device {device_id}")
        return

    async def work() -> "IdentityRow":
        async with asking.database() as connection:
            return await connect(connection, asking.actor(), client, identity, device_id)

    row = asyncio.run(work())
    typer.echo(f"{row.client} {row.identity} is the device {row.device_id} from now on")
    if row.seen_device_id not in (None, device_id):
        typer.echo(f"what it sent before stays with {row.seen_device_id}")
    elif row.last_seen_at is None:
        typer.echo("it has not sent anything yet; `loom identities list` shows those that have")


@app.command()
def unlink(client: Client, identity: Identity, dry_run: DryRun = False) -> None:
    """Take a link back: the app's own name, or its key, tells the device again."""
    from loom_ingest.clients.identity_store import unlink as disconnect
    from loom_platform.cli import asking

    if dry_run:
        typer.echo(f"would take back the link of {client} {identity}")
        return

    async def work() -> "IdentityRow | None":
        async with asking.database() as connection:
            return await disconnect(connection, asking.actor(), client, identity)

    if asyncio.run(work()) is None:
        typer.echo(f"error: {client} {identity} has no link; `loom identities list` shows those that have", err=True)
        raise typer.Exit(1)
    typer.echo(f"took back the link of {client} {identity}")


def _check(value: str, longest: int, name: str) -> None:
    if not 1 <= len(value) <= longest or not value.isprintable():
        raise typer.BadParameter(f"must have 1 to {longest} printable characters", param_hint=name)


def _moment(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(sep=" ", timespec="seconds")


def _as_dict(row: "IdentityRow") -> dict[str, Any]:
    return {
        "client": row.client,
        "identity": row.identity,
        "device_id": row.device_id or row.seen_device_id,
        "linked": row.device_id is not None,
        "linked_at": _moment(row.linked_at),
        "first_seen_at": _moment(row.first_seen_at),
        "last_seen_at": _moment(row.last_seen_at),
    }
