"""What of a person's data is asked for: devices, times, topics."""

from dataclasses import dataclass
from datetime import datetime

from psycopg import sql

from loom_contracts.errors import ContractError
from loom_contracts.topics.registry import DERIVED, LANDED, topic_named
from loom_platform.export.catalogue import TABLES, Exported
from loom_platform.export.errors import ExportError


@dataclass(frozen=True, slots=True)
class Selection:
    """`devices` and `topics` empty mean all. Times are event times in UTC: `since` included, `until` not."""

    devices: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    topics: tuple[str, ...] = ()
    audit: bool = False

    def check(self) -> None:
        """Raise ExportError when something asked for cannot be there."""
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ExportError(
                f"--from {self.since:%Y-%m-%dT%H:%M:%S}: is not before --to {self.until:%Y-%m-%dT%H:%M:%S}"
            )
        kept = {t.name for t in (*LANDED, *DERIVED)}
        for name in self.topics:
            try:
                topic = topic_named(name)
            except ContractError as error:
                raise ExportError(f"--topic {name}: {error}") from None
            if topic.name not in kept:
                raise ExportError(
                    f"--topic {name}: no table keeps its messages; `loom topics list` shows which have one"
                )

    def tables(self, present: set[str]) -> list[Exported]:
        """The tables that are asked for, of those that the database has (`present`)."""
        return [
            t
            for t in TABLES
            if t.name in present
            and (t.topic is None or not self.topics or t.topic.name in self.topics)
            and (self.audit or not t.only_asked)
        ]

    def where(self, table: Exported) -> sql.Composable:
        """The condition on the rows of `table`, with its values written in: COPY takes no parameters."""
        asked: list[tuple[str | None, object]] = [
            (table.device, list(self.devices) or None),
            (table.since, self.since),
            (table.until, self.until),
            (table.topics, list(self.topics) or None),
        ]
        terms: list[sql.Composable] = [sql.SQL("true" if table.only is None else table.only)]
        terms += [
            sql.SQL(condition).format(sql.Literal(value))
            for condition, value in asked
            if condition is not None and value is not None
        ]
        return sql.SQL(" AND ").join(terms)

    def as_json(self) -> dict[str, object]:
        """In the form of the manifest."""
        return {
            "devices": list(self.devices),
            "from": None if self.since is None else self.since.isoformat(),
            "to_before": None if self.until is None else self.until.isoformat(),
            "topics": list(self.topics),
            "audit": self.audit,
        }
