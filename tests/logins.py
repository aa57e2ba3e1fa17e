"""A user of the suite's server that is a member of one of Loom's roles, as `loom up` makes them for its own server."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

from loom_platform.roles.limits import LIMITS, Role
from loom_platform.roles.logins import grant


@contextmanager
def login(owner_url: str, role: Role) -> Iterator[str]:
    """URL of the database of `owner_url` as a new user that is dropped at the end; the grants are put right first."""
    name, password = f"{role.value}_{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    user, group = sql.Identifier(name), sql.Identifier(role.value)
    with psycopg.connect(owner_url, autocommit=True) as connection:
        assert grant(connection) == []
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE {}").format(user, sql.Literal(password), group)
        )
        for setting, value in LIMITS[role].settings.items():
            connection.execute(
                sql.SQL("ALTER ROLE {} SET {} = {}").format(user, sql.Identifier(setting), sql.Literal(value))
            )
        if role is Role.STREAM:
            connection.execute(sql.SQL("GRANT pg_read_all_stats TO {}").format(user))
    yield make_url(owner_url).set(username=name, password=password).render_as_string(hide_password=False)
    with psycopg.connect(owner_url, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (name,))
        connection.execute(sql.SQL("DROP ROLE {}").format(user))
