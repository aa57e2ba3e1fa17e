"""`loom audit`: what was done to keys and devices, and whether anybody changed the record of it."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from loom_ingest.access.audit import Row, Verdict

app = typer.Typer(help="What was done to keys and devices, by whom.", no_args_is_help=True)


@app.command("list")
def list_rows(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many of the last rows.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print each row as a line of JSON.")] = False,
) -> None:
    """Show the last rows, oldest first."""
    import json

    from rich.table import Table

    from loom_ingest.access.audit import rows
    from loom_platform.cli import asking
    from loom_platform.cli.output import console

    async def work() -> "list[Row]":
        async with asking.database() as connection:
            return [row async for row in rows(connection, limit=limit)]

    found = asyncio.run(work())
    if as_json:
        for row in found:
            typer.echo(json.dumps(_as_dict(row)))
        return
    table = Table("row", "when", "who", "what", "of", "outcome", "details", box=None, pad_edge=False)
    for row in found:
        when = row.occurred_at.isoformat(sep=" ", timespec="seconds")
        cells = (str(row.sequence), when, row.actor, row.action, row.subject, row.outcome, row.details)
        table.add_row(*cells)
    console.print(table, markup=False)


@app.command()
def verify(
    head: Annotated[
        str | None, typer.Option(help="What an earlier `verify` printed, as ROW:HASH: that row must still be so.")
    ] = None,
) -> None:
    """Compute every hash again; name the first row that is broken and exit with 1, or print the head of the log.

    Keep the head somewhere else: with --head, rows that were cut off at the end are found too.
    """
    from loom_ingest.access.audit import rows
    from loom_ingest.access.audit import verify as check
    from loom_platform.cli import asking

    known = _head(head)

    async def work() -> "Verdict":
        async with asking.database() as connection:
            return await check(rows(connection), known)

    verdict = asyncio.run(work())
    if verdict.broken is not None:
        raise asking.end(
            f"audit log: row {verdict.broken} is broken: {verdict.reason}. The {verdict.rows} rows before it hold; "
            "restore the table from a backup, and find out who has access to the database"
        )
    typer.echo(f"{verdict.rows} rows hold; head {verdict.rows}:{verdict.head.hex()}")


def _head(text: str | None) -> tuple[int, bytes] | None:
    if text is None:
        return None
    sequence, _, digest = text.partition(":")
    try:
        found = (int(sequence), bytes.fromhex(digest))
    except ValueError:
        found = (0, b"")
    if len(found[1]) != 32:
        raise typer.BadParameter(f"{text[:80]!r} is not what `loom audit verify` prints: ROW:HASH", param_hint="--head")
    return found


def _as_dict(row: "Row") -> dict[str, object]:
    import json

    return {
        "sequence": row.sequence,
        "occurred_at": row.occurred_at.isoformat(),
        "actor": row.actor,
        "action": row.action,
        "subject": row.subject,
        "outcome": row.outcome,
        "details": json.loads(row.details),
        "previous": row.previous.hex(),
        "hash": row.hash.hex(),
    }
