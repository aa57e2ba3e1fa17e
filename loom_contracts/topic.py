"""A topic: its name gives the asset key, the table and the JSON Schema of what it carries."""

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any, Literal

from loom_contracts.message import Message
from loom_contracts.table import Table, table_of

Compression = Literal["producer", "lz4", "zstd", "gzip", "snappy", "uncompressed"]
DEFAULT_RETENTION = timedelta(days=30)


@dataclass(frozen=True, eq=False)
class Topic:
    """One Kafka topic.

    `name` is the contract's name; the name on a broker has the installation's prefix (`on_broker`). `retention` is how
    long Kafka keeps its messages, `kept` how long its table keeps their rows where the person says nothing: None, which
    is for ever, for all but what would fill a disk and lives on in what is made of it (docs/how-to/retention.md).
    `partitions` None means the installation's default. `producers` and `consumers` are names of services
    and stages. `example` is the JSON object of one valid message. `scope` is the table's (see Table).
    """

    name: str
    payload: type[Message]
    description: str
    example: dict[str, Any]
    retention: timedelta = DEFAULT_RETENTION
    kept: timedelta | None = None
    compression: Compression = "producer"
    partitions: int | None = None
    producers: tuple[str, ...] = ("ingest",)
    consumers: tuple[str, ...] = ()
    scope: tuple[str, ...] = ()
    major_version: int = 1

    @property
    def parts(self) -> tuple[str, ...]:
        """The dot-separated parts of the name, which are the Dagster asset key."""
        return tuple(self.name.split("."))

    @property
    def category(self) -> str:
        """The first part of the name."""
        return self.parts[0]

    @property
    def schema_path(self) -> str:
        """Path of its JSON Schema below `loom_contracts/schemas`."""
        return "/".join((*self.parts, f"v{self.major_version}.json"))

    @cached_property
    def table(self) -> Table:
        """The table that keeps its messages."""
        return table_of(self.payload, self.name.replace(".", "_"), self.scope)

    def on_broker(self, prefix: str = "") -> str:
        """The name on a broker where `LOOM_KAFKA_TOPIC_PREFIX` is `prefix`."""
        return f"{prefix}.{self.name}" if prefix else self.name

    def __repr__(self) -> str:
        return f"Topic({self.name!r})"
