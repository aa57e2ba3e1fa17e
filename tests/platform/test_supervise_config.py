"""What is written for supervisord and for Dagster."""

from configparser import RawConfigParser
from pathlib import Path

import pytest
import yaml
from supervisor.datatypes import dict_of_key_value_pairs

from loom_platform.embedded.process import Launch
from loom_platform.errors import ServiceError, SettingsError
from loom_platform.settings import load_settings
from loom_platform.supervise.config import fingerprint, supervisord_config
from loom_platform.supervise.dagster_home import write_dagster_home
from loom_platform.supervise.endpoints import Endpoints
from loom_platform.supervise.services import Embedded, Service, all_services, child_environment

ENDPOINTS = Endpoints(
    8001, 3001, 4267, 5433, 9094, 9095, "postgresql://loom:s%40@127.0.0.1:5433/loom", "127.0.0.1:9094"
)


def parsed(text: str) -> RawConfigParser:
    parser = RawConfigParser()
    parser.read_string(text)
    return parser


def always(_: float) -> bool:
    return True


def service(**environment: str) -> Service:
    launch = Launch(("run it", "--now"), Path("/a"), environment)
    return Service("one", "", always, launch=lambda: launch)


def config(*services: Service) -> str:
    return supervisord_config(services, Path("/run"), Path("/logs"), Path("/run/s.sock"))


def test_each_service_is_a_program_that_is_restarted_and_whose_log_is_bounded() -> None:
    program = parsed(config(service(A="1")))["program:one"]
    assert program["command"] == "'run it' --now"
    assert program["autorestart"] == "true"
    assert int(program["startretries"]) > 10
    assert program["stdout_logfile_maxbytes"] == "10MB"
    assert program["killasgroup"] == "true"


@pytest.mark.parametrize("value", ["a,b=c", "100%", "it's", 'say "x" now', "postgresql://u:p%40@h/db?a=b&c=d", " "])
def test_an_environment_survives_supervisords_quoting(value: str) -> None:
    written = parsed(config(service(NAME=value, OTHER="x")))["program:one"]["environment"]
    assert dict_of_key_value_pairs(written.replace("%%", "%")) == {"NAME": value, "OTHER": "x"}


@pytest.mark.parametrize("value", ["both ' and \" in it", "two\nlines", '"quoted"'])
def test_what_supervisord_cannot_pass_on_is_refused(value: str) -> None:
    with pytest.raises(SettingsError, match="LOOM_X"):
        config(service(LOOM_X=value))


def test_an_external_service_is_no_program() -> None:
    assert "program:" not in config(Service("kafka", "k:9092", always))


def test_children_are_told_every_endpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOOM_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("LOOM_ENVIRONMENT", "staging")
    monkeypatch.delenv("LOOM_DAGSTER_DATABASE_URL", raising=False)
    monkeypatch.delenv("LOOM_SPOOL_DIR", raising=False)
    environment = child_environment(load_settings(), ENDPOINTS)
    assert environment["LOOM_ENVIRONMENT"] == "staging"
    assert environment["LOOM_PORT"] == "8001"
    assert environment["LOOM_KAFKA_BOOTSTRAP_SERVERS"] == "127.0.0.1:9094"
    assert environment["LOOM_DAGSTER_DATABASE_URL"] == "postgresql://loom:s%40@127.0.0.1:5433/dagster"
    assert environment["DAGSTER_DISABLE_TELEMETRY"] == "yes"
    assert environment["DAGSTER_HOME"] == str(tmp_path / "dagster")
    assert environment["LOOM_SPOOL_DIR"] == str(tmp_path / "spool")
    monkeypatch.setenv("LOOM_SPOOL_DIR", "/elsewhere")
    assert child_environment(load_settings(), ENDPOINTS)["LOOM_SPOOL_DIR"] == "/elsewhere"


def test_services_need_only_what_exists(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOOM_DATA_DIR", str(tmp_path))
    services = all_services(load_settings(), ENDPOINTS, Embedded())
    names = [s.name for s in services]
    assert set(names) == {"postgres", "kafka", "ingest", "code-server", "dagster-webserver", "dagster-daemon"}
    assert {need for s in services for need in s.needs} <= set(names)
    assert [s.name for s in services if s.launch is None] == ["postgres", "kafka"]
    assert all("s%40" not in s.url for s in services)


def test_dagster_home_points_at_the_code_server(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    home = tmp_path / "home"
    write_dagster_home(home, 4270, tmp_path)
    assert yaml.safe_load((home / "workspace.yaml").read_text()) == {
        "load_from": [{"grpc_server": {"host": "127.0.0.1", "port": 4270, "location_name": "loom"}}]
    }
    assert (home / "dagster.yaml").exists()
    with pytest.raises(ServiceError, match=r"dagster\.yaml is not there"):
        write_dagster_home(home, 4270, tmp_path / "elsewhere")


def test_the_fingerprint_changes_with_the_code(tmp_path: Path) -> None:
    module = tmp_path / "loom_x" / "a.py"
    module.parent.mkdir()
    module.write_text("a = 1\n")
    before = fingerprint(tmp_path)
    assert fingerprint(tmp_path) == before
    module.write_text("a = 12\n")
    assert fingerprint(tmp_path) != before
