"""`loom keys`: who may send to the ingest API, and read from it."""

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from loom_ingest.access.register import KeyRow

app = typer.Typer(help="API keys: who may send to the ingest API, and read from it.", no_args_is_help=True)

KeyId = Annotated[str, typer.Argument(help="The key's id, the ten letters after `loom_`; `loom keys list` shows it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
Expires = Annotated[str | None, typer.Option(help="After how long it ends: 90d, 24h, ..; never by default.")]


@app.command()
def create(
    name: Annotated[str, typer.Option(help="What you call it, such as the device that gets it.")],
    device: Annotated[
        list[str] | None, typer.Option(help="Only for this device; may be given again. Without it, for all.")
    ] = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="ingest, read or admin; may be given again. Default: ingest.")
    ] = None,
    expires: Expires = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Make a key and show it: on standard output, this once. Only its SHA-256 is kept."""
    from loom_ingest.access.register import create as make
    from loom_platform.cli import asking

    scopes, devices = _scopes(scope), _devices(device)
    if devices is not None and "admin" in scopes:
        raise typer.BadParameter(
            "the scope admin is for all devices: leave out --device, or the scope", param_hint="--scope"
        )
    name = name.strip()
    if not 1 <= len(name) <= 256 or "\x00" in name:
        raise typer.BadParameter("must have 1 to 256 characters, without NUL", param_hint="--name")
    expires_at = _end(expires)
    if dry_run:
        typer.echo(f"would make a key {name!r}: {_what(sorted(scopes), devices, expires_at)}")
        return

    async def work() -> "tuple[str, KeyRow]":
        async with asking.database() as connection:
            key, row = await make(
                connection, asking.actor(), name=name, scopes=scopes, devices=devices, expires_at=expires_at
            )
            return key.text, row

    text, row = asyncio.run(work())
    _show_new(text, row, as_json)


@app.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """Show every key, without its secret."""
    import json

    from rich.table import Column, Table

    from loom_ingest.access.register import all_keys
    from loom_platform.cli import asking
    from loom_platform.cli.output import console

    async def work() -> "list[KeyRow]":
        async with asking.database() as connection:
            return await all_keys(connection)

    rows = asyncio.run(work())
    if as_json:
        typer.echo(json.dumps([_as_dict(row) for row in rows]))
        return
    if not rows:
        typer.echo("there is no key yet; try: loom keys create --name phone --device my-phone")
        return
    # what a person copies into the next command is never cut
    key = Column("key", no_wrap=True, overflow="ignore")
    table = Table(key, "name", "scopes", "devices", "last used", "ends", "state", box=None, pad_edge=False)
    for row in rows:
        table.add_row(
            f"loom_{row.key_id}_..",
            row.name,
            ", ".join(row.scopes),
            "all" if row.devices is None else ", ".join(row.devices),
            _moment(row.last_used_at) or "never",
            _moment(row.expires_at) or "never",
            _state(row),
        )
    console.print(table, markup=False)


@app.command()
def rotate(
    key_id: KeyId,
    overlap: Annotated[str, typer.Option(help="How long the old key still works: 24h, 7d, 0s.")] = "24h",
    expires: Expires = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Make a new key in place of one, with its name, scopes and devices; the old one works until the overlap ends.

    Without --expires the new key lives as long as the old one was to.
    """
    from loom_ingest.access.register import check_rotation, find
    from loom_ingest.access.register import rotate as replace
    from loom_platform.cli import asking

    key_id, length, expires_at = _id(key_id), asking.duration(overlap, "--overlap"), _end(expires)

    async def work() -> "tuple[str, KeyRow, KeyRow] | KeyRow":
        async with asking.database() as connection:
            if dry_run:
                old = await find(connection, key_id)
                check_rotation(old)
                return old
            key, row, old = await replace(connection, asking.actor(), key_id, overlap=length, expires_at=expires_at)
            return key.text, row, old

    done = asyncio.run(work())
    if not isinstance(done, tuple):
        typer.echo(f"would make a key in place of {key_id} ({done.name}), which would work for {overlap} more at most")
        return
    text, row, old = done
    _show_new(text, row, as_json)
    typer.echo(f"the old key {key_id} works until {_moment(old.expires_at)}", err=True)


@app.command()
def revoke(key_id: KeyId, dry_run: DryRun = False) -> None:
    """End a key now: the running service refuses it within two seconds."""
    from loom_ingest.access.register import find
    from loom_ingest.access.register import revoke as end_key
    from loom_platform.cli import asking

    key_id = _id(key_id)

    async def work() -> "tuple[KeyRow, bool]":
        async with asking.database() as connection:
            if dry_run:
                return await find(connection, key_id), False
            return await end_key(connection, asking.actor(), key_id)

    row, changed = asyncio.run(work())
    if changed:
        typer.echo(f"revoked {key_id} ({row.name}); the service refuses it within two seconds")
    elif row.revoked_at is not None:
        typer.echo(f"{key_id} ({row.name}) is revoked since {_moment(row.revoked_at)}")
    else:
        typer.echo(f"would revoke {key_id} ({row.name}), last used {_moment(row.last_used_at) or 'never'}")


def _scopes(given: list[str] | None) -> "set[Any]":
    from loom_ingest.access.principal import Scope

    known = {scope.value: scope for scope in Scope}
    names = [part.strip() for text in given or ["ingest"] for part in text.split(",")]
    for name in names:
        if name not in known:
            raise typer.BadParameter(f"{name!r} is not a scope: there are {', '.join(known)}", param_hint="--scope")
    return {known[name] for name in names}


def _devices(given: list[str] | None) -> list[str] | None:
    import re

    for device in given or ():
        if not re.fullmatch(r"[A-Za-z0-9_-]{3,64}", device):
            raise typer.BadParameter(
                f"{device[:80]!r} is not a device_id: 3 to 64 letters, digits, hyphens and underscores",
                param_hint="--device",
            )
    return sorted(set(given)) if given else None


def _end(text: str | None) -> datetime | None:
    from loom_platform.cli.asking import duration

    if text is None or text == "never":
        return None
    length = duration(text, "--expires")
    if not length:
        raise typer.BadParameter(
            "a key must live for a while; give 1d or more, or leave it out", param_hint="--expires"
        )
    return datetime.now(UTC) + length


def _id(text: str) -> str:
    """The id in what a person gives: the id itself, or the beginning of the key as `list` shows it."""
    from loom_ingest.access.keys import BEGINNING, ID_LENGTH

    text = text.strip().removeprefix(BEGINNING)
    # Whoever pastes a whole key has it neither shown nor kept.
    return text[:ID_LENGTH] if text[ID_LENGTH : ID_LENGTH + 1] == "_" else text


def _show_new(text: str, row: "KeyRow", as_json: bool) -> None:
    import json

    if as_json:
        typer.echo(json.dumps({"key": text, **_as_dict(row)}))
        return
    typer.echo(f"made {row.key_id} ({row.name}): {_what(row.scopes, row.devices, row.expires_at)}", err=True)
    typer.echo("Copy it now, it is not shown again. Send it as `Authorization: Bearer KEY`:", err=True)
    typer.echo(text)


def _what(scopes: "list[Any]", devices: list[str] | None, expires_at: datetime | None) -> str:
    whose = "all devices" if devices is None else ", ".join(devices)
    until = f"until {_moment(expires_at)}" if expires_at else "without end"
    return f"{', '.join(scopes)} for {whose}, {until}"


def _state(row: "KeyRow") -> str:
    state = row.state(datetime.now(UTC))
    return f"replaced by {row.replaced_by}" if state == "replaced" else state


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}Z"


def _as_dict(row: "KeyRow") -> dict[str, Any]:
    moments = {
        name: None if (at := getattr(row, name)) is None else at.astimezone(UTC).isoformat()
        for name in ("created_at", "expires_at", "last_used_at", "revoked_at")
    }
    return {
        "key_id": row.key_id,
        "name": row.name,
        "scopes": row.scopes,
        "devices": row.devices,
        "state": row.state(datetime.now(UTC)),
        "replaced_by": row.replaced_by,
        **moments,
    }
