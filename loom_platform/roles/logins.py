"""The embedded server's own logins, one for each role, and the grants of any server."""

import base64
import hashlib
import hmac
from typing import Any, Final

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

from loom_platform.roles.limits import LIMITS, Role

LOGINS: Final = (Role.INGEST, Role.STREAM, Role.READ)
"""Those that have a login; the schema is changed by the owner."""

# What tells a stream run that the holder of a lease is gone; without it every other user's session looks so.
_SEES_SESSIONS: Final = Role.STREAM


def grant(connection: psycopg.Connection[Any]) -> list[str]:
    """Put the grants right; the group roles that this user may not make. Before migration 0017 it does nothing."""
    known = connection.execute("SELECT to_regprocedure('loom_grant()') IS NOT NULL").fetchone()
    if known is None or not known[0]:
        return []
    row = connection.execute("SELECT loom_grant()").fetchone()
    return list(row[0]) if row else []


def password_of(role: Role, secret: str) -> str:
    """The login's password, which follows from the owner's: it need not be kept anywhere, and does not give it away."""
    digest = hmac.new(secret.encode(), role.value.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def login_urls(owner_url: str, secret: str) -> dict[Role, str]:
    """The URL of each role's login, beside the owner's."""
    url = make_url(owner_url)
    return {
        role: url.set(username=role.login, password=password_of(role, secret)).render_as_string(hide_password=False)
        for role in LOGINS
    }


def ensure_logins(owner_url: str, secret: str) -> None:
    """Make the logins of an embedded server, or put their passwords, limits and memberships right.

    `owner_url` is a superuser's, `secret` its password, and its database is migrated.
    """
    with psycopg.connect(owner_url, autocommit=True, connect_timeout=10) as connection:
        for role in LOGINS:
            _ensure_login(connection, role, password_of(role, secret))
        connection.execute(sql.SQL("GRANT pg_read_all_stats TO {}").format(sql.Identifier(_SEES_SESSIONS.login)))


def _ensure_login(connection: psycopg.Connection[Any], role: Role, password: str) -> None:
    login, limits = sql.Identifier(role.login), LIMITS[role]
    there = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role.login,)).fetchone()
    if there is None:
        connection.execute(sql.SQL("CREATE ROLE {}").format(login))
    # The server gets the hash and never sees the password.
    secret = connection.pgconn.encrypt_password(password.encode(), role.login.encode(), b"scram-sha-256").decode()
    connection.execute(
        sql.SQL("ALTER ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE CONNECTION LIMIT {} PASSWORD {}").format(
            login, sql.Literal(limits.connections), sql.Literal(secret)
        )
    )
    connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(role.value), login))
    for name, value in limits.settings.items():
        connection.execute(sql.SQL("ALTER ROLE {} SET {} = {}").format(login, sql.Identifier(name), sql.Literal(value)))
