"""What each role may do, tried on every table as a user that has only that role."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql

from loom_contracts.topics.registry import DERIVED, LANDED
from loom_platform.roles.limits import Role
from loom_platform.roles.logins import LOGINS, ensure_logins, grant, login_urls, password_of
from loom_platform.settings import load_settings
from loom_platform.supervise.endpoints import Endpoints
from loom_platform.supervise.services import child_environment, ingest_environment
from tests.conftest import fresh_database
from tests.logins import login

pytestmark = pytest.mark.integration

CHANGES = ("INSERT", "UPDATE", "DELETE", "TRUNCATE")
INGEST_OWNS = {
    *("devices", "device_activity", "client_identities", "activitywatch_buckets"),
    *("api_keys", "audit_log", "homeassistant_registrations"),
}
SECRET = {"api_keys", "audit_log", "homeassistant_registrations", "device_keys"}


@pytest.fixture(scope="module")
def database(server_url: str, template_database: str) -> Iterator[str]:
    with fresh_database(server_url, "loom_roles", template_database) as url:
        yield url


@pytest.fixture(scope="module")
def owner(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def ingest(database: str) -> Iterator[psycopg.Connection[Any]]:
    with login(database, Role.INGEST) as url, psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def read(database: str) -> Iterator[psycopg.Connection[Any]]:
    with login(database, Role.READ) as url, psycopg.connect(url, autocommit=True) as connection:
        # what a server's own setting forbids must not be what the grants rest on
        connection.execute("SET default_transaction_read_only = off")
        yield connection


def tables(connection: psycopg.Connection[Any]) -> dict[str, list[str]]:
    """Every table and its columns, partitions apart."""
    rows = connection.execute(
        "SELECT c.relname, array_agg(a.attname::text ORDER BY a.attnum) FROM pg_class c "
        "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
        "WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition "
        "AND c.relname NOT LIKE '%%yoyo%%' GROUP BY c.relname"
    )
    return dict(rows.fetchall())


def may(connection: psycopg.Connection[Any], statement: str, *names: str) -> bool:
    """Whether the server lets it through; whatever it does is taken back."""
    composed = sql.SQL(statement).format(*map(sql.Identifier, names))
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(composed)
    except errors.InsufficientPrivilege:
        return False
    except psycopg.Error:
        return True  # it was let through, and failed at what it tried
    return True


def changes(connection: psycopg.Connection[Any], table: str, column: str) -> set[str]:
    """Which of CHANGES a connection may do to a table."""
    statements = {
        "INSERT": "INSERT INTO {0} DEFAULT VALUES",
        "UPDATE": "UPDATE {0} SET {1} = DEFAULT",
        "DELETE": "DELETE FROM {0}",
        "TRUNCATE": "TRUNCATE {0}",
    }
    return {name for name, statement in statements.items() if may(connection, statement, table, column)}


def test_ingest_changes_its_own_tables_and_no_others(
    owner: psycopg.Connection[Any], ingest: psycopg.Connection[Any]
) -> None:
    changed = {name: done for name, columns in tables(owner).items() if (done := changes(ingest, name, columns[0]))}
    assert set(changed) == INGEST_OWNS
    assert changed.pop("audit_log") == {"INSERT"}
    assert all(done == {"INSERT", "UPDATE"} for done in changed.values())
    assert not may(ingest, "CREATE TABLE mine (n int)")
    assert not may(ingest, "CREATE TEMPORARY TABLE mine (n int)")
    assert not may(ingest, "SELECT loom_ensure_partitions('device_sensor_gps_raw', '2026-01-01', '2026-01-01')")


def test_ingest_sees_where_rows_came_from_and_not_what_they_say(ingest: psycopg.Connection[Any]) -> None:
    for topic in (*LANDED, *DERIVED):
        table = topic.table
        names = {c.name for c in table.columns if may(ingest, "SELECT {1} FROM {0}", table.name, c.name)}
        if table.name == "digital_activitywatch_raw":  # its clients ask back what they sent
            assert names == {c.name for c in table.columns}
            continue
        own = set(topic.payload.model_fields) - {"timestamp", "message_id", "device_id", "trace_id", "span_id"}
        links = {"source_message_id", "source_message_ids", "previous_message_id", "stage", "stage_version"}
        links |= {"window_end", "segment_end", "previous_timestamp"} | ({"ended_at"} if table.derived else set())
        refs = {c.name for c in table.columns if c.name.endswith(("_ref", "_sha256", "_size_bytes"))}
        assert names & own <= links | refs, table.name
        assert {"message_id", "device_id"} <= names, table.name
    assert not may(ingest, "SELECT 1 FROM stream_offsets")
    assert not may(ingest, "SELECT value FROM processing_errors")
    assert not may(ingest, "SELECT * FROM location_georegion_detected_current")
    assert may(ingest, "SELECT * FROM digital_activitywatch_events")


def test_who_only_reads_changes_nothing_and_sees_no_secret(
    owner: psycopg.Connection[Any], read: psycopg.Connection[Any]
) -> None:
    for name, columns in tables(owner).items():
        assert changes(read, name, columns[0]) == set(), name
        assert may(read, "SELECT * FROM {0}", name) == (name not in SECRET), name
    for statement in (
        *("CREATE TABLE mine (n int)", "CREATE TEMPORARY TABLE mine (n int)", "CREATE SCHEMA mine"),
        "SELECT loom_ensure_partitions('device_sensor_gps_raw', '2026-01-01', '2026-01-01')",
        "SELECT nextval('georegion_revisions')",
    ):
        assert not may(read, statement), statement
    assert may(read, "SELECT * FROM location_georegion_detected_current")


def test_nobody_but_the_stream_engine_writes_what_is_derived(owner: psycopg.Connection[Any]) -> None:
    def holders(table: str, privilege: str) -> set[Role]:
        query = "SELECT has_table_privilege(%s, %s, %s)"
        return {r for r in LOGINS if owner.execute(query, (r.value, table, privilege)).fetchone() == (True,)}

    for topic in DERIVED:
        assert holders(topic.table.name, "INSERT") == holders(topic.table.name, "UPDATE") == {Role.STREAM}
    for topic in LANDED:
        assert holders(topic.table.name, "INSERT") == {Role.STREAM}
        assert holders(topic.table.name, "UPDATE") == set()
    for topic in (*DERIVED, *LANDED):
        assert holders(topic.table.name, "DELETE") == holders(topic.table.name, "TRUNCATE") == set()


def test_a_new_table_has_its_grants_and_what_is_right_is_left_alone(owner: psycopg.Connection[Any]) -> None:
    acls = "SELECT relname, relacl, xmin::text FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
    assert grant(owner) == []
    before = owner.execute(acls).fetchall()
    assert grant(owner) == []
    assert owner.execute(acls).fetchall() == before
    with owner.transaction(force_rollback=True):
        owner.execute("CREATE TABLE brand_new_raw (timestamp timestamptz, body text, kafka_offset bigint)")
        owner.execute("CREATE TABLE brand_new (n int, superseded_at timestamptz)")
        owner.execute("GRANT UPDATE ON brand_new TO loom_read")
        grant(owner)
        held = "SELECT has_table_privilege(%s, %s, %s)"
        for role, table, privilege, wanted in (
            *(("loom_stream", "brand_new_raw", "INSERT", True), ("loom_stream", "brand_new", "UPDATE", True)),
            *(("loom_read", "brand_new_raw", "SELECT", True), ("loom_read", "brand_new", "UPDATE", False)),
            ("loom_ingest", "brand_new_raw", "SELECT", False),
        ):
            assert owner.execute(held, (role, table, privilege)).fetchone() == (wanted,), (role, table, privilege)
        query = "SELECT has_column_privilege('loom_ingest', 'brand_new_raw', %s, 'SELECT')"
        assert owner.execute(query, ("kafka_offset",)).fetchone() == (True,)
        assert owner.execute(query, ("body",)).fetchone() == (False,)


def test_the_logins_of_an_embedded_server_are_held_to_their_limits(database: str) -> None:
    ensure_logins(database, "secret")
    ensure_logins(database, "a better secret")
    try:
        for role, url in login_urls(database, "a better secret").items():
            with psycopg.connect(url, autocommit=True) as connection:
                assert connection.execute("SELECT current_user").fetchone() == (role.login,)
                query = "SELECT rolsuper OR rolcreaterole OR rolcreatedb, rolconnlimit FROM pg_roles WHERE rolname = %s"
                row = connection.execute(query, (role.login,)).fetchone()
                assert row is not None
                assert row[0] is False
                assert row[1] > 0
                assert connection.execute("SHOW statement_timeout").fetchone() not in (("0",), None)
        read_only = login_urls(database, "a better secret")[Role.READ]
        with psycopg.connect(read_only) as connection, pytest.raises(errors.ReadOnlySqlTransaction):
            connection.execute("CREATE TABLE mine (n int)")
    finally:
        with psycopg.connect(database, autocommit=True) as connection:
            for role in LOGINS:
                connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role.login)))
    assert len({password_of(role, "secret") for role in Role}) == len(Role)


def test_each_process_is_told_only_what_it_connects_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOOM_DATA_DIR", str(tmp_path))
    for name in ("DATABASE_URL", "DAGSTER_DATABASE_URL", "STREAM_DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS"):
        monkeypatch.delenv(f"LOOM_{name}", raising=False)
    urls = {name: f"postgresql://{name}:p@127.0.0.1:5433/loom" for name in ("loom", "ingest", "stream", "read")}
    endpoints = Endpoints(
        *(8001, 3001, 4267, 5433, 9094, 9095),
        database_url=urls["loom"],
        kafka_bootstrap_servers="127.0.0.1:9094",
        ingest_database_url=urls["ingest"],
        stream_database_url=urls["stream"],
        read_database_url=urls["read"],
    )
    environment = child_environment(load_settings(), endpoints)
    told = {n: v for n, v in ingest_environment(environment, endpoints).items() if n.endswith("DATABASE_URL")}
    assert told == {"LOOM_DATABASE_URL": urls["ingest"]}
    assert environment["LOOM_STREAM_DATABASE_URL"] == urls["stream"]

    # A command finds the running platform's; one that is told another database does not take its roles for that one's.
    (tmp_path / "run").mkdir()
    endpoints.write(tmp_path)
    assert load_settings().stream_url == urls["stream"]
    assert load_settings().read_url == urls["read"]
    elsewhere = "postgresql://me:p@db:5432/loom"
    assert load_settings(database_url=elsewhere).stream_url == elsewhere
    monkeypatch.setenv("LOOM_DATABASE_URL", elsewhere)
    assert load_settings().read_url == elsewhere
