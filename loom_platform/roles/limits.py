"""The roles of `sql/0017.roles.sql`, and what a connection of each is held to.

The embedded server's logins have these limits as their own. They are the outermost bounds: a process asks for tighter
ones when it connects, for what it knows to be short.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """A group role; the value is its name on the server."""

    INGEST = "loom_ingest"
    STREAM = "loom_stream"
    READ = "loom_read"
    MIGRATE = "loom_migrate"

    @property
    def login(self) -> str:
        """The embedded server's user that is a member of it."""
        return f"{self.value}_login"


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one role: `connections` at once; how long a statement, a wait for a lock, an idle transaction may take."""

    connections: int
    statement: timedelta
    lock: timedelta
    idle_in_transaction: timedelta
    read_only: bool = False

    @property
    def settings(self) -> dict[str, str]:
        """Names and values of PostgreSQL's settings."""
        told = {
            "statement_timeout": _ms(self.statement),
            "lock_timeout": _ms(self.lock),
            "idle_in_transaction_session_timeout": _ms(self.idle_in_transaction),
        }
        return told | ({"default_transaction_read_only": "on"} if self.read_only else {})


LIMITS: Final[dict[Role, Limits]] = {
    # 64 workers at most, a pool each
    Role.INGEST: Limits(64, timedelta(seconds=30), timedelta(seconds=5), timedelta(seconds=30)),
    # A run has a connection for each stage, and a recompute reads a day in one statement.
    Role.STREAM: Limits(120, timedelta(hours=1), timedelta(minutes=1), timedelta(minutes=5)),
    Role.READ: Limits(20, timedelta(minutes=5), timedelta(seconds=30), timedelta(minutes=5), read_only=True),
    # A migration of years of rows takes its time, but must not hold up those who write while it waits for a lock.
    Role.MIGRATE: Limits(20, timedelta(0), timedelta(minutes=1), timedelta(minutes=10)),
}


def _ms(duration: timedelta) -> str:
    return f"{duration // timedelta(milliseconds=1)}"
