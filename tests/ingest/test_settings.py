"""Settings from the environment, and what is said of wrong ones."""

import os
import subprocess
import sys

import pytest

from loom_ingest.errors import SettingsError
from loom_ingest.settings import load_settings

EVERYWHERE = "0.0.0.0"  # noqa: S104


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("LOOM_"):
            monkeypatch.delenv(name)


def test_defaults_are_for_one_person_at_home() -> None:
    settings = load_settings()
    assert (settings.host, settings.port, settings.kafka_topic_prefix) == ("127.0.0.1", 8000, "")
    assert (settings.kafka_compression_type, settings.timestamp_tolerance_hours) == ("lz4", 24.0)
    assert settings.allowed_origins == ("*",)


def test_the_guides_configuration_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = """
        LOOM_HOST=0.0.0.0 LOOM_PORT=8000 LOOM_WORKERS=1 LOOM_LOG_LEVEL=INFO LOOM_DEBUG=false LOOM_ENVIRONMENT=production
        LOOM_KAFKA_BOOTSTRAP_SERVERS=10.0.1.10:9092,10.0.1.11:9092 LOOM_KAFKA_CLIENT_ID=loom-ingestion-api
        LOOM_KAFKA_COMPRESSION_TYPE=none LOOM_KAFKA_RETRIES=3 LOOM_KAFKA_REQUEST_TIMEOUT_MS=30000
        LOOM_TOPIC_DEVICE_AUDIO_RAW=device.audio.raw LOOM_TOPIC_DEVICE_SENSOR_RAW=device.sensor.{sensor_type}.raw
        LOOM_TOPIC_DEVICE_HEALTH_RAW=device.health.{health_type}.raw
        LOOM_TOPIC_DEVICE_STATE_RAW=device.state.{state_type}.raw
        LOOM_ENABLE_METRICS=true LOOM_METRICS_PORT=8001 LOOM_ENABLE_HEALTH_CHECKS=true
        LOOM_CORS_ORIGINS=https://app.example,https://mobile.example
    """
    for word in lines.split():
        monkeypatch.setenv(*word.split("=", 1))
    settings = load_settings()
    assert settings.kafka_bootstrap_servers == "10.0.1.10:9092,10.0.1.11:9092"
    assert settings.metrics_port == 8001
    assert settings.allowed_origins == ("https://app.example", "https://mobile.example")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("LOOM_PORT", "http", "valid integer"),
        ("LOOM_PORT", "70000", "65535"),
        ("LOOM_KAFKA_BOOTSTRAP_SERVERS", "localhost", "host:port"),
        ("LOOM_KAFKA_COMPRESSION_TYPE", "brotli", "lz4"),
        ("LOOM_LOG_LEVEL", "LOUD", "WARNING"),
        ("LOOM_KAFKA_TOPIC_PREFIX", "a b", "pattern"),
        ("LOOM_TOPIC_DEVICE_AUDIO_RAW", "my.audio", "LOOM_KAFKA_TOPIC_PREFIX"),
    ],
)
def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"{name}='{value}'") as caught:
        load_settings()
    assert says in str(caught.value)


def test_workers_do_not_share_a_metrics_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOM_WORKERS", "2")
    monkeypatch.setenv("LOOM_METRICS_PORT", "8001")
    with pytest.raises(SettingsError, match="LOOM_METRICS_PORT=8001"):
        load_settings()


def test_the_largest_body_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOM_MAX_AUDIO_BODY_BYTES", str(100 * 2**20))
    with pytest.raises(SettingsError, match="LOOM_MAX_AUDIO_BODY_BYTES=104857600: more than LOOM_MAX_BUFFERED_BYTES"):
        load_settings()
    monkeypatch.setenv("LOOM_MAX_BUFFERED_BYTES", str(100 * 2**20))
    assert load_settings().max_audio_body_bytes == 100 * 2**20


@pytest.mark.parametrize(("name", "value"), [("LOOM_DEBUG", "true"), ("LOOM_CORS_ORIGINS", "*")])
def test_production_is_closed(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv("LOOM_ENVIRONMENT", "production")
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        load_settings()


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"LOOM_HOST": EVERYWHERE}, "LOOM_HOST=0.0.0.0"),
        ({"LOOM_HOST": "::"}, "LOOM_HOST=::"),
        ({"LOOM_HOST": "192.0.2.7"}, "LOOM_HOST=192.0.2.7"),
        ({"LOOM_HOST": "loom.home.arpa"}, "LOOM_HOST=loom.home.arpa"),
        ({"LOOM_HOST": EVERYWHERE, "LOOM_REQUIRE_API_KEYS": "false"}, "LOOM_HOST=0.0.0.0"),
        ({"LOOM_HOST": EVERYWHERE, "LOOM_ENVIRONMENT": "staging", "LOOM_REQUIRE_API_KEYS": "no"}, "LOOM_HOST=0.0.0.0"),
        ({"LOOM_ENVIRONMENT": "production", "LOOM_REQUIRE_API_KEYS": "false"}, "LOOM_REQUIRE_API_KEYS=false"),
    ],
)
def test_nobody_is_let_in_without_a_key(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], says: str) -> None:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert says in str(caught.value)
    assert "loom keys create" in str(caught.value)


@pytest.mark.parametrize(
    ("variables", "required"),
    [
        ({}, False),
        ({"LOOM_HOST": "::1"}, False),
        ({"LOOM_HOST": "localhost"}, False),
        ({"LOOM_HOST": "127.0.0.2"}, False),
        ({"LOOM_REQUIRE_API_KEYS": "true", "LOOM_HOST": EVERYWHERE}, True),
        ({"LOOM_ENVIRONMENT": "staging", "LOOM_HOST": EVERYWHERE}, True),
        ({"LOOM_ENVIRONMENT": "staging", "LOOM_REQUIRE_API_KEYS": "false"}, False),
        ({"LOOM_ENVIRONMENT": "production"}, True),
    ],
)
def test_when_keys_are_required(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], required: bool) -> None:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    assert load_settings().keys_required is required


def test_the_command_says_what_is_wrong_and_ends() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "loom_ingest"],
        env={**os.environ, "LOOM_PORT": "x"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "LOOM_PORT='x'" in done.stderr
    assert "Traceback" not in done.stderr


def test_importing_does_nothing() -> None:
    code = """
import os, socket, sys
socket.socket.connect = socket.socket.bind = None
os.environ.clear()
before = set(os.environ)
import loom_ingest.app, loom_ingest.producer, loom_ingest.__main__
bad = [name for name in sys.modules if name.split('.')[0] in ('dagster', 'loom_models', 'loom_platform', 'polars')]
assert not bad, bad
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
