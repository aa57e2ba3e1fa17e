"""Databases on a server: make one that is missing, and look whether it answers."""

import psycopg
from psycopg import sql

from loom_platform.errors import PlatformError


class DatabaseError(PlatformError):
    """The database server is away, or its role may not do what Loom needs."""


def database_answers(database_url: str) -> bool:
    """Whether it answers `select 1` now."""
    try:
        with psycopg.connect(database_url, connect_timeout=2) as connection:
            connection.execute("select 1")
    except psycopg.OperationalError:
        return False
    return True


def ensure_database(database_url: str, extensions: tuple[str, ...] = ()) -> None:
    """Create the database of `database_url` and the extensions in it, where they are missing.

    Raises DatabaseError, which says what to run as an administrator when the role may not.
    """
    info = psycopg.conninfo.conninfo_to_dict(database_url)
    name = str(info["dbname"])
    try:
        _connect(database_url).close()
    except psycopg.OperationalError:
        _create(database_url, name)
    with _connect(database_url) as connection:
        for extension in extensions:
            try:
                connection.execute(sql.SQL("create extension if not exists {}").format(sql.Identifier(extension)))
            except psycopg.Error as error:
                raise DatabaseError(
                    f"database {name!r}: no extension {extension!r} ({str(error).strip()}); install it there and "
                    f"run `create extension {extension}` in {name!r} as an administrator"
                ) from error


def _create(database_url: str, name: str) -> None:
    try:
        with _connect(psycopg.conninfo.make_conninfo(database_url, dbname="postgres")) as connection:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    except psycopg.errors.DuplicateDatabase:
        return
    except psycopg.Error as error:
        raise DatabaseError(
            f"database {name!r} is not there and cannot be made ({str(error).strip()}); is LOOM_DATABASE_URL right? "
            f"If it is, run `create database {name}` on that server as an administrator"
        ) from error


def _connect(conninfo: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(conninfo, autocommit=True, connect_timeout=10)
