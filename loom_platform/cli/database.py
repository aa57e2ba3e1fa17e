"""A connection for a short command, and its errors as a line that a person can act on."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    import psycopg


@contextmanager
def database(command: str, table: str) -> "Iterator[psycopg.Connection[Any]]":
    """A connection to the platform's database; an error that a person can mend ends the command with its message."""
    import psycopg

    from loom_platform.errors import PlatformError
    from loom_platform.settings import load_settings

    try:
        with psycopg.connect(
            load_settings().database_url,
            autocommit=True,
            connect_timeout=5,
            application_name=f"loom {command}",
            options="-c statement_timeout=60s",
        ) as connection:
            yield connection
    except psycopg.OperationalError as error:
        raise _end(f"the database does not answer ({str(error).strip()}); is Loom up? try: loom status") from None
    except psycopg.errors.UndefinedTable:
        raise _end(f"the database has no table {table} yet; run: loom up") from None
    except PlatformError as error:
        raise _end(str(error)) from None


def _end(message: str) -> typer.Exit:
    typer.echo(f"error: {message}", err=True)
    return typer.Exit(1)
