"""Ports: the defaults, the remembered, the explicit, and what happens when one is taken."""

from collections.abc import Callable
from pathlib import Path

import pytest

from loom_platform.errors import SettingsError
from loom_platform.settings import Settings, load_settings
from loom_platform.supervise.endpoints import PORTS, Endpoints, choose_ports

DEFAULTS = {
    "port": 8000,
    "dagster_port": 3000,
    "code_server_port": 4266,
    "postgres_port": 5432,
    "kafka_port": 9092,
    "kafka_controller_port": 9093,
}


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Settings]:
    for name in ("database_url", "kafka_bootstrap_servers", *PORTS):
        monkeypatch.delenv(f"LOOM_{name.upper()}", raising=False)
    monkeypatch.setenv("LOOM_DATA_DIR", str(tmp_path))
    (tmp_path / "run").mkdir()

    def load(**variables: str) -> Settings:
        for name, value in variables.items():
            monkeypatch.setenv(f"LOOM_{name.upper()}", value)
        return load_settings()

    return load


def endpoints(port: int) -> Endpoints:
    return Endpoints(port, 3000, 4266, 5432, 9092, 9093, "postgresql://loom:s@127.0.0.1:5432/loom")


def without(*taken: int) -> Callable[[int], bool]:
    return lambda port: port not in taken


def test_defaults_when_they_are_free(load: Callable[..., Settings]) -> None:
    assert choose_ports(load(), ours=False, is_free=without()) == DEFAULTS


def test_a_taken_default_gives_way_to_the_next_that_nobody_has(load: Callable[..., Settings]) -> None:
    ports = choose_ports(load(), ours=False, is_free=without(9092, 5432, 5433))
    # 9093 goes to the broker, so the controller moves on as well
    assert ports == DEFAULTS | {"postgres_port": 5434, "kafka_port": 9093, "kafka_controller_port": 9094}


def test_an_explicit_port_that_is_taken_is_an_error(load: Callable[..., Settings]) -> None:
    with pytest.raises(SettingsError, match="LOOM_PORT=8000: something else listens there"):
        choose_ports(load(port="8000"), ours=False, is_free=without(8000))


def test_the_running_platform_keeps_its_ports(load: Callable[..., Settings], tmp_path: Path) -> None:
    endpoints(port=8007).write(tmp_path)
    assert choose_ports(load(), ours=True, is_free=lambda _: False) == DEFAULTS | {"port": 8007}
    assert choose_ports(load(), ours=False, is_free=without()) == DEFAULTS | {"port": 8007}


def test_what_is_external_needs_no_port(load: Callable[..., Settings]) -> None:
    settings = load(kafka_bootstrap_servers="k:9092", database_url="postgresql://u:p@h/db")
    taken = without(5432, 9092, 9093)
    assert choose_ports(settings, ours=False, is_free=taken) == DEFAULTS


def test_written_endpoints_are_private_and_read_back(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    written = endpoints(port=8000)
    written.write(tmp_path)
    assert Endpoints.read(tmp_path) == written
    assert (tmp_path / "run/endpoints.json").stat().st_mode & 0o077 == 0
    assert Endpoints.read(tmp_path / "nowhere") is None
