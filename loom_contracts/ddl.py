"""The SQL of a table, for writing a migration: `python -m loom_contracts.ddl TOPIC...` prints it.

Migrations are files, and are what the database runs; a contract test holds the live schema against the tables
of the topics.
"""

import sys

from loom_contracts.table import Column, Table
from loom_contracts.topic import Topic
from loom_contracts.topics.registry import topic_named


def create_table(topic: Topic) -> str:
    """The statements that make the table of `topic`: key, index, comment, and time-series storage."""
    table = topic.table
    widths = (max(len(_quoted(c.name)) for c in table.columns), max(len(c.type.value) for c in table.columns))
    lines = [*(f"    {_column(c, widths)}" for c in table.columns), "    PRIMARY KEY (timestamp, message_id)"]
    return "\n".join(
        (
            f"CREATE TABLE {table.name} (",
            ",\n".join(lines),
            ");",
            *_indexes(table),
            f"SELECT loom_make_timeseries('{table.name}');",
            f"COMMENT ON TABLE {table.name} IS {_literal(topic.description)};",
        )
    )


def _indexes(table: Table) -> list[str]:
    return [f"CREATE INDEX {table.name}_device ON {table.name} (device_id, timestamp);"]


def _column(column: Column, widths: tuple[int, int]) -> str:
    constraint = "" if column.nullable else " NOT NULL"
    default = f" DEFAULT {column.default}" if column.default else ""
    return f"{_quoted(column.name):<{widths[0]}}  {column.type.value:<{widths[1]}}{constraint}{default}".rstrip()


def _quoted(name: str) -> str:
    return f'"{name}"' if name in _RESERVED else name


_RESERVED = frozenset({"offset", "end", "user", "order", "group", "table", "column", "from", "to", "primary", "window"})


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


if __name__ == "__main__":
    sys.stdout.write("\n\n".join(create_table(topic_named(name)) for name in sys.argv[1:]) + "\n")
