"""Settings: where a value comes from, and what a wrong one says."""

import json
from pathlib import Path

import pytest

from loom_platform.errors import SettingsError
from loom_platform.settings import ENDPOINTS_FILE, load_settings


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("LOOM_DATABASE_URL", "LOOM_KAFKA_BOOTSTRAP_SERVERS", "LOOM_PORT", "LOOM_DAGSTER_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOOM_DATA_DIR", str(tmp_path))


def write_endpoints(data_dir: Path, **values: object) -> None:
    path = data_dir / ENDPOINTS_FILE
    path.parent.mkdir()
    path.write_text(json.dumps(values))


def test_defaults_are_the_guides() -> None:
    settings = load_settings()
    assert settings.database_url == "postgresql://loom:loom@localhost:5432/loom"
    assert settings.kafka_bootstrap_servers == "localhost:9092"
    assert (settings.port, settings.dagster_port) == (8000, 3000)
    assert not settings.external_database
    assert not settings.external_kafka


def test_the_running_platforms_endpoints_come_before_defaults(tmp_path: Path) -> None:
    write_endpoints(tmp_path, database_url="postgresql://loom:s@127.0.0.1:5555/loom", port=8123, external_kafka=False)
    settings = load_settings()
    assert settings.database_url == "postgresql://loom:s@127.0.0.1:5555/loom"
    assert settings.port == 8123
    assert not settings.external_database


def test_the_environment_comes_before_the_endpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_endpoints(tmp_path, kafka_bootstrap_servers="127.0.0.1:1", port=8123)
    monkeypatch.setenv("LOOM_KAFKA_BOOTSTRAP_SERVERS", "a:9092,b:9092")
    settings = load_settings()
    assert settings.kafka_bootstrap_servers == "a:9092,b:9092"
    assert settings.external_kafka
    assert settings.is_explicit("kafka_bootstrap_servers")
    assert not settings.is_explicit("port")


def test_an_empty_variable_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOM_DATABASE_URL", "")
    assert not load_settings().external_database


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("LOOM_ACTIVITY_MODEL_SHA256", "12ab", "pattern"),
        ("LOOM_PORT", "99999", "65535"),
        ("LOOM_LOG_LEVEL", "loud", "'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
        ("LOOM_KAFKA_BOOTSTRAP_SERVERS", "broker", "host:port"),
        ("LOOM_KAFKA_DEFAULT_PARTITIONS", "0", "greater than or equal to 1"),
        ("LOOM_KAFKA_TOPIC_PREFIX", "a b", "pattern"),
        ("LOOM_DATABASE_URL", "mysql://h/db", "postgresql://"),
        ("LOOM_DATABASE_URL", "nonsense", "postgresql://"),
    ],
)
def test_an_error_names_variable_value_and_remedy(
    name: str, value: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    message = str(caught.value)
    assert message.startswith(f"{name}={value!r}: ")
    assert says in message
    assert "correct or unset it" in message


def test_a_model_needs_its_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOM_ACTIVITY_MODEL", "/models/mine.onnx")
    with pytest.raises(SettingsError, match=r"LOOM_ACTIVITY_MODEL_SHA256=None: .*sha256sum"):
        load_settings()
    monkeypatch.setenv("LOOM_ACTIVITY_MODEL_SHA256", "ab" * 32)
    assert load_settings().activity_model == Path("/models/mine.onnx")


def test_each_wrong_variable_is_told_and_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOM_PORT", "x")
    monkeypatch.setenv("LOOM_DATABASE_URL", "mysql://me:geheim@h/db")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert [line.partition("=")[0] for line in str(caught.value).splitlines()] == ["LOOM_DATABASE_URL", "LOOM_PORT"]
    assert "geheim" not in str(caught.value)


def test_a_broken_endpoints_file_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / ENDPOINTS_FILE).parent.mkdir()
    (tmp_path / ENDPOINTS_FILE).write_text("{")
    with pytest.raises(SettingsError, match="remove it and run `loom up` again"):
        load_settings()


def test_dagsters_storage_lies_beside_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOM_DATABASE_URL", "postgresql://u:p@db:6000/mine?sslmode=require")
    assert load_settings().dagster_url_of_storage == "postgresql+psycopg2://u:p@db:6000/dagster?sslmode=require"
    monkeypatch.setenv("LOOM_DAGSTER_DATABASE_URL", "postgresql://u:p@other:6000/ops")
    assert load_settings().dagster_url_of_storage == "postgresql+psycopg2://u:p@other:6000/ops"
