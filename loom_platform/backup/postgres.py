"""Databases out and in by PostgreSQL's own pg_dump and pg_restore, in its directory format.

https://www.postgresql.org/docs/18/app-pgdump.html. The programs come with the embedded server's wheel: version 18,
which reads every older server.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

from loom_platform.backup.errors import BackupError
from loom_platform.backup.folder import size_of
from loom_platform.embedded.postgres import wheel_binaries
from loom_platform.errors import ServiceError

JOBS: Final = 2
# Leases and locks are of sessions that will not be there; keys go into a file of their own.
NOT_DUMPED: Final = ("stream_leases", "yoyo_lock", "device_keys")
_LOCK_WAIT_MS: Final = 60_000
_LOOK_SECONDS: Final = 0.2


def dump(url: str, target: Path, told: Callable[[int], None], *, snapshot: str | None = None) -> None:
    """Dump the database of `url` into the directory `target`; `told` hears its size as it grows. Raises BackupError."""
    arguments = [
        *("--format=directory", f"--jobs={JOBS}", "--compress=gzip:3", "--no-owner", "--no-privileges", "--no-sync"),
        *(f"--lock-wait-timeout={_LOCK_WAIT_MS}", f"--file={target}"),
        *(f"--exclude-table-data=*.{name}" for name in NOT_DUMPED),
        *((f"--snapshot={snapshot}",) if snapshot else ()),
    ]
    _run("pg_dump", arguments, url, lambda: told(size_of(target)))


def restore(url: str, source: Path, told: Callable[[], None]) -> None:
    """Fill the empty database of `url`, whose extensions are there, from `source`; raises BackupError."""
    listed = _run("pg_restore", ["--list", str(source)], url, lambda: None)
    # An extension belongs to whoever made it, and only they may make or describe it.
    kept = [line for line in listed.splitlines() if " EXTENSION " not in line]
    with tempfile.NamedTemporaryFile("w", suffix=".list") as wanted:
        wanted.write("\n".join(kept) + "\n")
        wanted.flush()
        arguments = [f"--jobs={JOBS}", "--no-owner", "--no-privileges", "--exit-on-error", f"--use-list={wanted.name}"]
        _run("pg_restore", [*arguments, f"--dbname={database_of(url)}", str(source)], url, told)


def readable(source: Path) -> bool:
    """Whether pg_restore can read the table of contents of `source`."""
    try:
        _run("pg_restore", ["--list", str(source)], "", lambda: None)
    except BackupError:
        return False
    return True


def database_of(url: str) -> str:
    """The name of the database."""
    return str(psycopg.conninfo.conninfo_to_dict(url)["dbname"])


def beside(url: str, database: str) -> str:
    """The URL of another database on the same server."""
    return make_url(url).set(database=database).render_as_string(hide_password=False)


def create(url: str) -> None:
    """Make the database of `url`, anew when it is there; raises BackupError when the role may not."""
    name = sql.Identifier(database_of(url))
    try:
        with administer(url) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(name))
    except psycopg.errors.InsufficientPrivilege as error:
        raise BackupError(
            f"the database's user may not make one to restore into ({str(error).strip()}); an administrator's "
            "`ALTER ROLE <user> CREATEDB` lets it"
        ) from None


def swap(url: str, restored: str) -> None:
    """Put the database `restored` in the place of the one of `url`, in one transaction; the old one is dropped."""
    name, old = database_of(url), f"{database_of(url)}_replaced"
    rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
    with administer(url) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(old)))
        there = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone()
        query = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = ANY(%s)"
        connection.execute(query, ([name, restored],))
        with connection.transaction():
            if there is not None:
                connection.execute(rename.format(sql.Identifier(name), sql.Identifier(old)))
            connection.execute(rename.format(sql.Identifier(restored), sql.Identifier(name)))
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(old)))


def administer(url: str) -> psycopg.Connection[tuple[object, ...]]:
    """A connection beside the databases that are made and renamed."""
    try:
        return psycopg.connect(beside(url, "postgres"), autocommit=True, connect_timeout=10)
    except psycopg.OperationalError as error:
        raise BackupError(f"the database server does not answer ({str(error).strip()})") from None


def _run(name: str, arguments: Sequence[str], url: str, tick: Callable[[], None]) -> str:
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            [str(_program(name)), *arguments],
            env={k: v for k, v in os.environ.items() if not k.startswith("PG")} | (_environment(url) if url else {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=complaints,
        )
        try:
            while process.poll() is None:
                tick()
                time.sleep(_LOOK_SECONDS)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        output.seek(0)
        complaints.seek(0)
        said = complaints.read().decode(errors="replace").strip()
        if process.returncode:
            raise BackupError(f"{name} failed: {_without_rows(said) or process.returncode}")
        return output.read().decode(errors="replace")


def _without_rows(said: str) -> str:
    """What a program complained of, but for the lines that show what a row holds."""
    hidden = ("DETAIL", "CONTEXT", "QUERY", "Command was")
    return "\n".join(line for line in said.splitlines() if not any(h in line for h in hidden))[:2000]


def _environment(url: str) -> dict[str, str]:
    """The connection as libpq's variables: a password on a command line could be seen by everyone."""
    options = psycopg.pq.Conninfo.parse(url.encode())
    return {o.envvar.decode(): o.val.decode() for o in options if o.val is not None and o.envvar is not None}


def _program(name: str) -> Path:
    try:
        return wheel_binaries() / name
    except ServiceError:
        found = shutil.which(name)
    if found is None:
        raise BackupError(f"{name} is not there: install PostgreSQL's client programs, or run `make up` once")
    return Path(found)
