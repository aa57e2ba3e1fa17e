"""Everything that keeping takes, once: coming partitions, Kafka, expired days, roll-ups, bodies, Dagster's events.

A step that fails does not stop the others: what failed is told at the end, and tried again the next time.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg
import sqlalchemy

from loom_contracts.topic import Topic
from loom_contracts.topics.registry import TOPICS
from loom_models.errors import DependencyError, StageError
from loom_models.flows import STAGES
from loom_models.stage import Stage
from loom_platform.blobs import open_blobs
from loom_platform.errors import PlatformError
from loom_platform.orchestration.maintenance import prune
from loom_platform.retention.days import Dropped, Plan, drop, plan
from loom_platform.retention.holds import Hold, Work, open_work
from loom_platform.retention.kafka import Equalled, equal
from loom_platform.retention.rules import TABLED, Kind, Rules, read
from loom_platform.rollups import drop_before
from loom_platform.settings import Settings

Connection = psycopg.Connection[Any]

AHEAD: Final = 3
"""Partitions are made for today and so many days more, so that no stage waits for one at midnight."""

LOCK: Final = 0x4C6F6F6D_02
_ENSURE = "SELECT sum(loom_ensure_partitions(table_name, %s, %s))::int FROM timeseries_tables"
_SETTLED = "DELETE FROM processing_errors WHERE resolved_at < %s AND topic = ANY(%s)"
_AWAY = (psycopg.Error, sqlalchemy.exc.SQLAlchemyError, StageError, PlatformError)
Progress = Callable[[str], None]


@dataclass(slots=True)
class KeptUp:
    """What one keeping did, and what of it failed, by step."""

    partitions: int = 0
    dropped: list[Dropped] = field(default_factory=list)
    rollups: dict[str, int] = field(default_factory=dict)
    letters: int = 0
    kafka: Equalled = field(default_factory=Equalled)
    orphans: int = 0
    orphan_bytes: int = 0
    dagster: Mapping[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def days(self) -> int:
        """Days dropped, of all tables."""
        return sum(len(d.days) for d in self.dropped)


def silent(_: str) -> None:
    """No progress."""


@dataclass(frozen=True)
class Keeper:
    """The platform that is kept; `stages` and `topics` are all that there are."""

    settings: Settings
    stages: Sequence[Stage] = STAGES
    tabled: Sequence[Topic] = TABLED
    topics: Sequence[Topic] = TOPICS

    def plans(self, now: datetime, rules: Rules, topics: Sequence[Topic] | None = None) -> list[Plan]:
        """What would go of each topic's table that has days which are old enough. It only reads."""
        with self.connect() as connection:
            work = self.open_work()
            made = [
                plan(connection, topic, cut, self.stages, work)
                for topic in (self.tabled if topics is None else topics)
                if (cut := rules.cut(Kind.TABLE, topic, now)) is not None
            ]
        return [p for p in made if p.days]

    def keep(self, now: datetime, progress: Progress = silent, *, only_days: bool = False) -> KeptUp:
        """Do all of it, or only drop what is old enough. Raises DependencyError when the database is away, and
        PlatformError when another keeping is at work."""
        done = KeptUp()
        with self.connect() as connection:
            row = connection.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,)).fetchone()
            if not row or not row[0]:
                raise PlatformError("the keeper is at work already; try again when it has ended")
            rules = read(connection, self.tabled)
            steps: list[tuple[str, Callable[[], None]]] = [
                ("days", lambda: self._drop(connection, rules, now, done, progress)),
                ("roll-ups", lambda: self._rollups(connection, rules, now, done)),
                ("dead letters", lambda: self._letters(connection, rules, now, done)),
            ]
            if not only_days:
                steps = [
                    ("partitions", lambda: self._ahead(connection, now, done)),
                    ("kafka", lambda: self._kafka(connection, rules, now, done)),
                    *steps,
                    ("bodies", lambda: self._sweep(connection, done)),
                    ("dagster", lambda: self._dagster(rules, now, done)),
                ]
            for name, step in steps:
                progress(name)
                try:
                    step()
                except _AWAY as error:
                    done.failed[name] = str(error).strip().splitlines()[0]
        return done

    def open_work(self) -> list[Work]:
        """Recomputes that Dagster has open; none where it has no database yet."""
        try:
            with self.connect_dagster() as connection:
                return open_work(connection)
        except psycopg.errors.UndefinedTable:
            return []

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Loom's database, as its owner."""
        with _connected(self.settings.database_url, "LOOM_DATABASE_URL") as connection:
            yield connection

    @contextmanager
    def connect_dagster(self) -> Iterator[Connection]:
        """Dagster's own database."""
        url = sqlalchemy.make_url(self.settings.dagster_url_of_storage).set(drivername="postgresql")
        with _connected(url.render_as_string(hide_password=False), "LOOM_DAGSTER_DATABASE_URL") as connection:
            yield connection

    def _ahead(self, connection: Connection, now: datetime, done: KeptUp) -> None:
        today = now.astimezone(UTC).date()
        row = connection.execute(_ENSURE, (today, today + timedelta(days=AHEAD))).fetchone()
        done.partitions = row[0] or 0 if row else 0

    def _kafka(self, connection: Connection, rules: Rules, now: datetime, done: KeptUp) -> None:
        settings = self.settings
        servers, prefix = settings.kafka_bootstrap_servers, settings.kafka_topic_prefix
        done.kafka = equal(connection, servers, rules, self.stages, now, prefix=prefix, topics=self.topics)

    def _drop(self, connection: Connection, rules: Rules, now: datetime, done: KeptUp, progress: Progress) -> None:
        work = self.open_work()
        blobs = open_blobs(self.settings)
        try:
            # What is derived goes first: then nothing of it holds what it was made from.
            for topic in sorted(self.tabled, key=lambda t: not t.table.derived):
                cut = rules.cut(Kind.TABLE, topic, now)
                if cut is None:
                    continue
                progress(topic.name)
                dropped = drop(connection, topic, cut, self.stages, work, blobs)
                if dropped.days or dropped.holds or dropped.busy:
                    done.dropped.append(dropped)
        finally:
            blobs.close()

    def _rollups(self, connection: Connection, rules: Rules, now: datetime, done: KeptUp) -> None:
        for topic in self.tabled:
            cut = rules.cut(Kind.ROLLUPS, topic, now)
            if cut is not None:
                before = datetime(cut.year, cut.month, cut.day, tzinfo=UTC)
                if removed := drop_before(connection, topic.table, before):
                    done.rollups[topic.name] = removed

    def _letters(self, connection: Connection, rules: Rules, now: datetime, done: KeptUp) -> None:
        """Settled dead letters of a topic go with its rows; open ones are still to be dealt with."""
        for topic in self.tabled:
            cut = rules.cut(Kind.TABLE, topic, now)
            if cut is not None:
                before = datetime(cut.year, cut.month, cut.day, tzinfo=UTC)
                names = [topic.on_broker(self.settings.kafka_topic_prefix)]
                done.letters += connection.execute(_SETTLED, (before, names)).rowcount

    def _sweep(self, connection: Connection, done: KeptUp) -> None:
        blobs = open_blobs(self.settings)
        try:
            swept = blobs.sweep(connection)
        finally:
            blobs.close()
        done.orphans, done.orphan_bytes = swept.orphans, swept.orphan_bytes

    def _dagster(self, rules: Rules, now: datetime, done: KeptUp) -> None:
        with self.connect_dagster() as connection:
            done.dagster = {t: n for t, n in prune(connection, now, rules.dagster()).rows.items() if n}


def holds_told(holds: Sequence[Hold]) -> str:
    """Why days stay, for a person."""
    return "; ".join(sorted({h.reason for h in holds}))


@contextmanager
def _connected(url: str, variable: str) -> Iterator[Connection]:
    try:
        connection = psycopg.connect(
            url,
            autocommit=True,
            connect_timeout=10,
            application_name="loom keeper",
            options="-c timezone=UTC -c statement_timeout=600s -c idle_in_transaction_session_timeout=120s -c jit=off",
        )
    except psycopg.OperationalError as error:
        raise DependencyError(f"{variable}: cannot connect ({error}); is the database up?") from error
    with connection:
        yield connection
