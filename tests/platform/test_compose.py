"""deploy/compose.yaml: what can be said of it without a container engine."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    content = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    services: dict[str, Any] = content["services"]
    assert {volume.partition(":")[0] for s in services.values() for volume in s["volumes"]} == set(content["volumes"])
    return services


def test_every_port_is_on_loopback(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service["ports"]]
    assert len(ports) == len(services)
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_image_has_a_version_and_the_broker_is_the_one_that_loom_brings(services: dict[str, Any]) -> None:
    images = {name: service["image"].rpartition(":") for name, service in services.items()}
    assert all(re.search(r"\d", tag) for _, _, tag in images.values())
    pom = (DEPLOY / "kafka/pom.xml").read_text(encoding="utf-8")
    assert f"<kafka.version>{images['broker'][2]}</kafka.version>" in pom
    assert images["database"][0] == "timescale/timescaledb-ha"


def test_no_password_is_written_down_and_nothing_is_reported_home(services: dict[str, Any]) -> None:
    environment = services["database"]["environment"]
    assert environment["POSTGRES_PASSWORD"].startswith("${POSTGRES_PASSWORD:?")
    assert environment["TIMESCALEDB_TELEMETRY"] == "off"


def test_the_broker_takes_what_the_embedded_one_takes(services: dict[str, Any]) -> None:
    from loom_platform.embedded.kafka import CONFIGURATION

    environment = services["broker"]["environment"]
    for name in ("message.max.bytes", "replica.fetch.max.bytes", "auto.create.topics.enable"):
        assert str(environment["KAFKA_" + name.upper().replace(".", "_")]) == CONFIGURATION[name]
