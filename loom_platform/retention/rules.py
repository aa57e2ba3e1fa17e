"""How long each thing is kept: what the person said, else what the contract says. The decisions are pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import psycopg

from loom_contracts.topic import Topic
from loom_contracts.topics.registry import DERIVED, LANDED, TOPICS
from loom_platform.errors import PlatformError
from loom_platform.orchestration.maintenance import Retention

Connection = psycopg.Connection[Any]

DAY: Final = timedelta(days=1)
TABLED: Final = (*LANDED, *DERIVED)
"""Topics that have a table."""

DAGSTER: Final[dict[str, str]] = {
    "log": "events that only tell how a run went",
    "events": "what runs told of assets; the last of each day stays",
    "runs": "runs that ended, and backfills",
    "other": "ticks, evaluations, checks",
}
"""Parts of Dagster's database, as fields of `maintenance.Retention`; a rule's name is `dagster.` and one of them."""

_FOR_EVER: Final = timedelta(days=36_500)
_READ = "SELECT kind, name, kept FROM retention_rules"
_SET = """
INSERT INTO retention_rules (kind, name, kept, set_by) VALUES (%s, %s, %s, %s)
ON CONFLICT (kind, name) DO UPDATE SET kept = EXCLUDED.kept, set_by = EXCLUDED.set_by, set_at = now()
"""
_RESET = "DELETE FROM retention_rules WHERE kind = %s AND name = %s"
_LEARN = """
INSERT INTO retention_defaults (topic, kept) SELECT * FROM unnest(%s::text[], %s::interval[])
ON CONFLICT (topic) DO UPDATE SET kept = EXCLUDED.kept, known_since = now()
WHERE retention_defaults.kept <> EXCLUDED.kept
"""
_UNLEARN = "DELETE FROM retention_defaults WHERE topic <> ALL(%s)"
_KNOWN = "SELECT topic, known_since FROM retention_defaults"


class RetentionError(PlatformError):
    """A retention that can't be, or a thing that has none."""


class Kind(StrEnum):
    """What a rule is about."""

    TABLE = "table"
    ROLLUPS = "rollups"
    KAFKA = "kafka"
    DAGSTER = "dagster"


@dataclass(frozen=True, slots=True)
class Kept:
    """How long something is kept (None: for ever), and whose word that is: `contract`, `table` or a rule's name."""

    length: timedelta | None
    origin: str


@dataclass(frozen=True)
class Rules:
    """What the person said, by kind and name, and since when the contract's lengths are known here."""

    said: Mapping[tuple[Kind, str], timedelta | None] = field(default_factory=dict)
    known_since: Mapping[str, datetime] = field(default_factory=dict)

    def of(self, kind: Kind, topic: Topic) -> Kept:
        """How long the table, the roll-ups or the Kafka topic of `topic` keep what they hold.

        Kafka keeps nothing longer than the table: what is gone there must not come back by a replay.
        """
        parts = topic.name.split(".")
        names = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
        own = next((Kept(self.said[kind, n], n) for n in names if (kind, n) in self.said), None)
        if kind is Kind.TABLE:
            return own or Kept(topic.kept, "contract")
        if kind is Kind.ROLLUPS:
            return own or Kept(None, "contract")
        own = own or Kept(topic.retention, "contract")
        table = self.of(Kind.TABLE, topic)
        if table.length is not None and (own.length is None or table.length < own.length):
            return Kept(table.length, "table")
        return own

    def cut(self, kind: Kind, topic: Topic, now: datetime) -> date | None:
        """The first UTC day that `topic` keeps, None when all; a day goes as a whole, when all of it is old enough.

        A length of the contract counts only when it has been known here for as long as it is.
        """
        kept = self.of(kind, topic)
        if kept.length is None:
            return None
        if kept.origin == "contract":
            begins = self.begins(topic)
            if begins is None or begins > now:
                return None
        return (now.astimezone(UTC) - kept.length).date()

    def begins(self, topic: Topic) -> datetime | None:
        """When the contract's length of the topic's table begins to count here; None when it does not."""
        kept, known = self.of(Kind.TABLE, topic), self.known_since.get(topic.name)
        return None if kept.origin != "contract" or kept.length is None or known is None else known + kept.length

    def dagster(self) -> Retention:
        """How long Dagster's database keeps its parts."""
        said = {n: self.said[k] for n in DAGSTER if (k := (Kind.DAGSTER, f"dagster.{n}")) in self.said}
        return Retention(**{n: _FOR_EVER if length is None else length for n, length in said.items()})


def read(connection: Connection, topics: Sequence[Topic] = TABLED) -> Rules:
    """The rules as they are; also remembers the contract's lengths that are new here."""
    finite = {t.name: t.kept for t in topics if t.kept is not None}
    with connection.transaction():
        connection.execute(_UNLEARN, (list(finite),))
        connection.execute(_LEARN, (list(finite), list(finite.values())))
        said = {(Kind(kind), name): kept for kind, name, kept in connection.execute(_READ).fetchall()}
        return Rules(said, dict(connection.execute(_KNOWN).fetchall()))


def write(connection: Connection, kind: Kind, name: str, length: timedelta | None, who: str) -> None:
    """Keep what is called `name` for `length`, or for ever; nothing is removed yet. Raises RetentionError."""
    named(kind, name)
    if length is not None and kind in (Kind.TABLE, Kind.ROLLUPS) and (length < DAY or length % DAY):
        raise RetentionError(f"{name}: {length} is no number of whole days, by which tables are kept; give 1d or 30d")
    if length is not None and length < timedelta(hours=1):
        raise RetentionError(f"{name}: {length} is too short to be read by every stage; give an hour or more")
    connection.execute(_SET, (kind.value, name, length, who))


def reset(connection: Connection, kind: Kind, name: str) -> bool:
    """Forget what was said of `name`; whether anything was. Raises RetentionError."""
    named(kind, name)
    return bool(connection.execute(_RESET, (kind.value, name)).rowcount)


def named(kind: Kind, name: str, topics: Sequence[Topic] = TOPICS) -> tuple[Topic, ...]:
    """The topics that a rule of this name is about, none for Dagster's; raises RetentionError."""
    if kind is Kind.DAGSTER:
        if name.removeprefix("dagster.") not in DAGSTER or "." not in name:
            raise RetentionError(f"there is no {name!r}; there are {', '.join(f'dagster.{n}' for n in DAGSTER)}")
        return ()
    found = tuple(t for t in topics if f"{t.name}.".startswith(f"{name}."))
    if kind is not Kind.KAFKA:
        found = tuple(t for t in found if t in TABLED) if topics is TOPICS else found
    if not name or not found:
        categories = ", ".join(sorted({t.category for t in TABLED}))
        raise RetentionError(
            f"{name!r} is neither a topic with a table nor the beginning of one; categories are {categories}, and "
            "`loom topics list` shows the topics"
        )
    return found


def told(length: timedelta | None) -> str:
    """A length for a person."""
    if length is None:
        return "for ever"
    if length % DAY:
        return f"{length / timedelta(hours=1):g} hours"
    return "1 day" if length == DAY else f"{length.days:,} days"
