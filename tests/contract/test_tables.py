"""The migrated schema is what the topics say."""

import psycopg
import pytest

from loom_contracts.ddl import create_table
from loom_contracts.message import StoredBody
from loom_contracts.table import ColumnType
from loom_contracts.topic import Topic
from loom_contracts.topics.device import ACCELEROMETER_WINDOWED, AUDIO_RAW, GPS_RAW, TEMPERATURE_RAW
from loom_contracts.topics.registry import DERIVED, LANDED, TOPICS

_COLUMNS = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid)
FROM pg_attribute a LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
_INDEXES = """
SELECT i.indisprimary, array_agg(a.attname::text ORDER BY k.position)
FROM pg_index i, unnest(i.indkey) WITH ORDINALITY k (attnum, position)
JOIN pg_attribute a ON a.attnum = k.attnum
WHERE i.indrelid = %s::regclass AND a.attrelid = i.indrelid AND i.indpred IS NULL
GROUP BY i.indexrelid, i.indisprimary
"""
_TYPES = {
    ColumnType.TEXT: "text",
    ColumnType.UUID: "uuid",
    ColumnType.TIMESTAMP: "timestamp with time zone",
    ColumnType.FLOAT: "double precision",
    ColumnType.INTEGER: "bigint",
    ColumnType.INT4: "integer",
    ColumnType.BOOLEAN: "boolean",
    ColumnType.JSON: "jsonb",
}


@pytest.mark.integration
def test_live_schema_equals_the_topics(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        for topic in (*LANDED, *DERIVED):
            table = topic.table
            live = connection.execute(_COLUMNS, (table.name,)).fetchall()
            wanted = [(c.name, _TYPES[c.type], not c.nullable, c.default) for c in table.columns]
            # A column that a later migration added is the last one there.
            assert sorted(live) == sorted(wanted), table.name
            indexes = connection.execute(_INDEXES, (table.name,)).fetchall()
            assert (True, ["timestamp", "message_id"]) in indexes, table.name
            assert (False, ["device_id", "timestamp"]) in indexes, table.name


@pytest.mark.integration
def test_every_series_in_the_database_has_a_topic(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        series = {str(row[0]) for row in connection.execute("SELECT table_name FROM timeseries_tables")}
    assert {t.table.name for t in (*LANDED, *DERIVED)} <= series
    assert series <= {t.table.name for t in TOPICS}


@pytest.mark.integration
def test_derived_tables_have_a_current_view(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        for topic in DERIVED:
            live = connection.execute(_COLUMNS, (f"{topic.table.name}_current",)).fetchall()
            assert sorted(row[0] for row in live) == sorted(c.name for c in topic.table.columns)


@pytest.mark.parametrize("topic", TOPICS, ids=lambda t: t.name)
def test_every_table_can_be_written_down(topic: Topic) -> None:
    columns = [c.name for c in topic.table.columns]
    assert len(set(columns)) == len(columns)
    assert columns[:6] == ["timestamp", "message_id", "device_id", "schema_version", "trace_id", "span_id"]
    assert create_table(topic).startswith(f"CREATE TABLE {topic.table.name} (")


def test_a_stored_body_becomes_a_reference() -> None:
    names = [c.name for c in AUDIO_RAW.table.columns]
    assert AUDIO_RAW.table.body == StoredBody(name="audio")
    assert "chunk_data" not in names
    assert names[6:9] == ["audio_ref", "audio_sha256", "audio_size_bytes"]


def test_types_of_columns() -> None:
    assert GPS_RAW.table.column("latitude").type is ColumnType.FLOAT
    assert not GPS_RAW.table.column("latitude").nullable
    assert GPS_RAW.table.column("altitude").nullable
    assert TEMPERATURE_RAW.table.column("value").type is ColumnType.JSON
    assert ACCELEROMETER_WINDOWED.table.column("window_end").type is ColumnType.TIMESTAMP
    assert ACCELEROMETER_WINDOWED.table.column("sample_count").type is ColumnType.INTEGER
