"""Dagster's storage over one pool."""

import os
import re
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy
from dagster_postgres import PostgresEventLogStorage, PostgresRunStorage, PostgresScheduleStorage

from loom_platform.orchestration.storage import psycopg2_url

pytestmark = pytest.mark.integration


def engine_in(instance: dg.DagsterInstance) -> sqlalchemy.Engine:
    storage = instance.run_storage
    assert isinstance(storage, PostgresRunStorage)
    engine = storage._engine
    assert isinstance(engine, sqlalchemy.Engine)
    return engine


def backend_pid(engine: sqlalchemy.Engine) -> int:
    with engine.connect() as connection:
        pid = connection.execute(sqlalchemy.text("SELECT pg_backend_pid()")).scalar_one()
    assert isinstance(pid, int)
    return pid


def test_the_three_parts_share_the_pool_of_the_database_of_the_settings(
    instance: dg.DagsterInstance, empty_database_url: str
) -> None:
    engine = engine_in(instance)
    assert engine.url.database == sqlalchemy.make_url(empty_database_url).database
    assert engine.url.drivername == "postgresql+psycopg2"
    for part in (instance.event_log_storage, instance.schedule_storage):
        assert isinstance(part, PostgresEventLogStorage | PostgresScheduleStorage)
        assert part._engine is engine
    instance.report_runless_asset_event(dg.AssetMaterialization("a"))
    assert instance.get_latest_materialization_event(dg.AssetKey("a")) is not None
    assert backend_pid(engine) == backend_pid(engine)


def test_it_travels_to_a_run_as_an_instance_ref(instance: dg.DagsterInstance) -> None:
    with dg.DagsterInstance.from_ref(instance.get_ref()) as again:
        assert engine_in(again) is engine_in(instance)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own_and_leaves_the_parents_alone(instance: dg.DagsterInstance) -> None:
    engine = engine_in(instance)
    before = backend_pid(engine)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, str(backend_pid(engine)).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert int(os.read(read, 100)) != before
    assert backend_pid(engine) == before
    os.close(read)
    os.close(write)


def test_a_connection_that_the_server_dropped_is_found_before_it_is_used(instance: dg.DagsterInstance) -> None:
    engine = engine_in(instance)
    before = backend_pid(engine)
    killer = sqlalchemy.create_engine(engine.url, poolclass=sqlalchemy.NullPool)
    with killer.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT pg_terminate_backend(:pid)"), {"pid": before})
    instance.report_runless_asset_event(dg.AssetMaterialization("a"))
    assert backend_pid(engine) != before


def test_the_url_gets_the_driver_utc_and_limits() -> None:
    url = sqlalchemy.make_url(psycopg2_url("postgresql://u:p@h:1/d"))
    assert url.drivername == "postgresql+psycopg2"
    options = str(url.query["options"])
    assert options.startswith("-c timezone=UTC ")
    assert {"statement_timeout", "idle_in_transaction_session_timeout"} <= set(re.findall(r"\w+(?==)", options))
    assert sqlalchemy.make_url(psycopg2_url("postgresql://u:p@h/d?options=-c%20a%3Db")).query["options"] == "-c a=b"


def test_the_workspace_names_the_definitions() -> None:
    text = (Path(__file__).parents[2] / "workspace.yaml").read_text()
    assert "module_name: loom_platform.orchestration.definitions" in text
