"""What `loom keys` and `loom audit` share: a connection to the platform's database, errors as sentences, durations."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import typer

if TYPE_CHECKING:
    import psycopg

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_OPTIONS: Final = "-c timezone=UTC -c statement_timeout=60s -c idle_in_transaction_session_timeout=120s"
LONGEST: Final = timedelta(days=36_500)


@asynccontextmanager
async def database() -> "AsyncIterator[psycopg.AsyncConnection[Any]]":
    """A connection in autocommit; an error that a person can mend ends the command with its message."""
    import psycopg

    from loom_ingest.errors import IngestError
    from loom_platform.errors import PlatformError
    from loom_platform.settings import load_settings

    try:
        url = load_settings().database_url
        connection = await psycopg.AsyncConnection.connect(
            url,
            autocommit=True,
            connect_timeout=5,
            application_name="loom",
            options=_OPTIONS,
        )
        async with connection:
            yield connection
    except psycopg.OperationalError as error:
        raise end(f"the database does not answer ({str(error).strip()}); is Loom up? try: loom status") from None
    except psycopg.errors.UndefinedTable:
        raise end("the database has no table for this yet; run: loom db migrate") from None
    except (PlatformError, IngestError) as error:
        raise end(str(error)) from None


def end(message: str) -> typer.Exit:
    """Say what is wrong, on standard error; the exception to raise."""
    typer.echo(f"error: {message}", err=True)
    return typer.Exit(1)


def actor() -> str:
    """Who the audit log says it was."""
    import getpass

    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return "cli"


def noted(database_url: str, action: str, subject: str) -> None:
    """Write into the audit log that the person does this now; raises ServiceError when the database is away."""
    import psycopg

    from loom_platform.erasure.ledger import audit
    from loom_platform.errors import ServiceError

    try:
        with psycopg.connect(database_url, connect_timeout=5, application_name="loom audit") as connection:
            audit(connection, actor(), action, subject)
    except psycopg.Error as error:
        raise ServiceError(
            f"the audit log did not take {action} ({str(error).strip()}), so it is not done; is the database up, and "
            "migrated? try: loom db status"
        ) from None


def duration(text: str, option: str) -> timedelta:
    """`90d`, `24h`, `30m`, `2w`, `0s`; raises BadParameter."""
    found = re.fullmatch(r"(\d{1,6})([smhdw])", text.strip().lower())
    length = timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else None
    if length is None or length > LONGEST:
        raise typer.BadParameter(
            f"{text!r} is not a length of time: give a number and s, m, h, d or w, such as 90d", param_hint=option
        )
    return length
